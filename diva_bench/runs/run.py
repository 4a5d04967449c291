"""Runs on disk as Python objects."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diva_bench import data, stats
from diva_bench.catalog import Catalog
from diva_bench.errors import StoreError, UnreadableRun, UserError
from diva_bench.runs import asked, unchanged
from diva_bench.runs.records import RunSummary, flag, of_folder, summary_of
from diva_bench.runs.runner import Job
from diva_bench.runs.store import RunFolder, read_json
from diva_bench.specs import TaskSpec, prompt
from diva_bench.tables import Cell, Column, Score, Table
from diva_bench.types import Sample, Scorer, Silent
from diva_bench.weights import assets


@dataclass(frozen=True, slots=True)
class Speed:
    """Per wall second of asking: `samples`, and seconds of `audio`."""

    samples: float
    audio: float


Asked = tuple[TaskSpec | None, Sequence[Sample], Mapping[str, Scorer]]
"""What the answers of a run are to, and what measures them."""


@dataclass(frozen=True, repr=False)
class Run:
    """One model's answers to one task, in the folder `path`, and what they are worth."""

    path: Path
    summary: RunSummary
    question: Asked | None = field(default=None, repr=False, compare=False)
    """Task, samples and scorers, where the run was made in this process; None: they are looked for when they are needed."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """The run in a folder. UserError for what is no path; UnreadableRun where its files do not hold what they must."""
        if not isinstance(path, str | os.PathLike):
            kind = type(path).__name__
            raise UserError(f"Run.open: {path!r} ({kind}) is not allowed. Allowed: the path of a run folder.")
        return cls(Path(path), of_folder(Path(path)))

    @classmethod
    def of(cls, path: Path, summary: Mapping[str, Any], job: Job | None = None) -> Run:
        """The run whose summary.json was just written."""
        record = summary_of(dict(summary), path / "summary.json")
        return cls(path, record, (job.task, job.samples, job.scorers) if job else None)

    @property
    def task(self) -> str:
        """The task's name, with its subset."""
        return self.summary.task

    @property
    def model(self) -> str:
        return self.summary.model

    @property
    def score(self) -> float | None:
        """The primary metric, `summary.primary`; None where there is none. `summary.metrics` has all, with intervals."""
        metric = self.summary.metrics.get(self.summary.primary)
        return metric.value if metric else None

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.path)

    @property
    def timing(self) -> Sequence[Mapping[str, Any]]:
        """One record a batch: rows, audio seconds, wall seconds, and wall seconds by stage."""
        return self.folder.timing()

    @property
    def speed(self) -> Speed | None:
        """Over all batches in which a model computed; None where none did (a baseline answers from a table), and where the
        record of it cannot be read, which is no fault of the answers."""
        try:
            computed = [batch for batch in self.timing if batch["stages"]]
        except UnreadableRun:
            return None
        wall = sum(batch["wall"] for batch in computed)
        if not wall:
            return None
        return Speed(sum(b["rows"] for b in computed) / wall, sum(b["audio"] for b in computed) / wall)

    @property
    def date(self) -> str:
        """When it was begun, UTC, in ISO 8601; "" where its record does not say."""
        return str(read_json(self.path / "run.json").get("started", ""))

    # ---- tables

    def table(self) -> Table:
        """Every metric of the run."""
        return Runs([self]).table(every=True)

    def records(self) -> list[dict[str, Any]]:
        """One record a sample that has an answer: id, groups, prompt, transcript, reference, answer, status, detail, the
        log-likelihood (nats) of every label, every metric of this answer alone, every statistic that a scorer measured.

        Prompt, transcript and metrics are left out where the run's task or its data is not on this machine any more, or
        has changed. BLEU and other metrics that are no means are not the mean of theirs.
        """
        header, rows = self.folder.scores() if (self.path / "scores.jsonl").is_file() else ({"signature": {}}, {})
        task, samples, scorers = self.question or self._looked_up()
        there = {sample.id: sample for sample in samples}
        of_scorers = {name: {ident: row.get(name, {}) for ident, row in rows.items()} for name in header["signature"]}
        current = {name: s for name, s in scorers.items() if s.signature == header["signature"].get(name)}
        numbers = [_metrics(of_scorers[name], scorer) for name, scorer in current.items()]
        numbers += [_statistics(name, measured) for name, measured in of_scorers.items()]
        records = []
        for response in self.folder.responses():
            row, sample = rows.get(response.id, {}), there.get(response.id)
            references = sample.references if sample else tuple(row.get("references", ()))
            record = {"id": response.id, **(sample.groups if sample else row.get("groups", {}))}
            record["prompt"] = prompt.build(task, sample, frozenset()).prompt if task and sample else None
            record["transcript"] = sample.transcript if sample else None
            record["reference"] = references[0] if len(references) == 1 else list(references) or None
            record["answer"] = response.text if response.status == "ok" else None
            record |= {"status": response.status, "detail": response.detail or None}
            record |= {f"logprob {label}": score.total for label, score in (response.choices or {}).items()}
            for table in numbers:
                record |= table.get(response.id, {})
            records.append(record)
        order = {ident: place for place, ident in enumerate(there or rows)}
        return sorted(records, key=lambda record: order.get(record["id"], len(order)))

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for every sample that has an answer; see `records`."""
        import pandas

        return pandas.DataFrame(self.records())

    def _looked_up(self) -> Asked:
        """Task, samples and scorers by the stored rows and the catalog of today; by the data of today where no rows are stored,
        and nothing where that is not the data of the run."""
        catalog, folder = Catalog(), self.folder
        try:
            task, dataset = asked.task_of(folder, catalog), asked.stored(folder)
            if dataset is not None and asked.changed(task, folder.task_record()):
                task = asked.recorded(folder.record())
            if dataset is None:
                dataset = data.load(task, assets.cache_folder(), Silent(), need_audio=False, allow_partial=True)
            if dataset.fingerprint == folder.task_record()["fingerprint"]:
                samples = dataset.limited(self.summary.limit, self.summary.seed)
                return task, samples, catalog.scorers(task, lenient=True)
            why: object = f"the data of task {task.name} on this machine is not what was asked about"
        except UserError as err:
            why = err
        logging.getLogger("diva_bench").info("%s: no prompts, transcripts and metrics by sample: %s", self.path, why)
        return None, (), {}

    def __repr__(self) -> str:
        s, score = self.summary, "None" if self.score is None else f"{self.score:.1f}"
        return f"Run({str(self.path)!r}, {s.primary}={score}, n={s.scored}, errors={s.errors}, complete={s.complete})"

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


_COLUMNS = (
    *("task", "model", "metric", "score", "n", "edition", "limit", "date", "settings", "remarks", "errors", "seed"),
    *("samples/s", "path"),
)
_ALWAYS = ("task", "model", "metric", "score", "n", "path")  # columns that no narrow terminal leaves out, nor errors


class Runs(list[Run]):
    """Runs, in the order that they were asked in or lie on disk."""

    def records(self, every: bool = True) -> list[dict[str, Any]]:
        """One record a run and metric, the primary one first; a run without a score has one, with None for it. `every`
        False: of the primary metric alone.

        `settings`: prompt, audio condition and changes where they are not the task's own. `samples/s`: per wall second.
        """
        return [record for run in self for record in list(_records(run))[: None if every else 1]]

    def table(self, every: bool = False) -> Table:
        """As `records`: the numbers with their intervals, for people and for CSV."""
        rows: list[list[Cell]] = []
        for record in self.records(every):
            value, low, high = (record[key] for key in ("score", "low", "high"))
            date = record["date"][:16].replace("T", " ")  # to the minute, UTC
            cells = {**record, "score": None if value is None else Score(value, low, high), "date": date}
            rows.append([cells[name] for name in _COLUMNS])
        shown = (*_ALWAYS, *(["errors"] if any(run.summary.errors for run in self) else []))
        columns = [Column(name, optional=name not in shown) for name in _COLUMNS]
        return Table(
            "runs", columns, rows, ["score [95 % interval]; the first metric of a run is the task's primary one"]
        )

    def to_pandas(self) -> Any:
        """A pandas DataFrame of `records`."""
        import pandas

        return pandas.DataFrame(self.records())

    def to_latex(self) -> str:
        return self.table().to_latex()

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def _records(run: Run) -> Iterator[dict[str, Any]]:
    s, speed = run.summary, run.speed
    first = [s.primary] if s.primary in s.metrics else []
    remarks = [f"not ranked: {s.reason}" if s.reason else "", flag(s)]
    settings = [f"prompt {s.variant}" if s.variant else "", s.changes, s.audio or ""]
    for name in dict.fromkeys([*first, *s.metrics]) or [s.primary]:
        metric = s.metrics.get(name)
        yield {
            "task": s.task,
            "model": s.label,
            "edition": s.edition,
            "metric": name,
            "score": metric.value if metric else None,
            "low": metric.low if metric else None,
            "high": metric.high if metric else None,
            "n": metric.n if metric else s.scored,
            "limit": s.limit,
            "seed": s.seed,
            "errors": s.errors,
            "samples/s": speed.samples if speed else None,
            "date": run.date,
            "settings": ", ".join(filter(None, settings)),
            "complete": s.complete,
            "remarks": ", ".join(filter(None, remarks)),
            "path": str(run.path),
        }


def _metrics(rows: Mapping[str, Mapping[str, float]], scorer: Scorer) -> dict[str, dict[str, float]]:
    """Sample id -> every metric of a scorer, of that answer alone."""
    ids = [ident for ident, row in rows.items() if row]
    if not ids:
        return {}
    metrics = stats.row_by_row(*stats.stack([rows[ident] for ident in ids]), scorer.reduce)
    return {ident: {name: float(values[i]) for name, values in metrics.items()} for i, ident in enumerate(ids)}


def _statistics(scorer: str, rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Sample id -> every statistic of a scorer, named after it; one that an answer lacks is 0."""
    keys = list(dict.fromkeys(key for row in rows.values() for key in row))
    names = {key: key if key.startswith(f"{scorer}.") else f"{scorer}.{key}" for key in keys}
    return {ident: {names[key]: row.get(key, 0.0) for key in keys} for ident, row in rows.items() if row}


def load_runs(paths: Iterable[Path]) -> Runs:
    """The runs in folders, each a run's, a task's, one of runs, or one with such folders in it. StoreError where there is
    no such folder; a run that cannot be read is named in the log."""
    log, runs = logging.getLogger("diva_bench"), Runs()
    for path in paths:
        if not path.is_dir():
            raise StoreError(f"{path}: no such folder. Give the folder that runs were written to (`output`).")
        if (path / "run.json").is_file():
            runs += _unchanged([Run.open(path)], path)
            continue
        here: list[Run] = []
        for pattern in ("*", "*/*", "*/*/*"):
            if folders := sorted({file.parent for file in path.glob(f"{pattern}/run.json")}):
                break
        for folder in folders:
            try:
                here.append(Run.open(folder))
            except UnreadableRun as err:
                log.warning("left out: %s", err)
        runs += _unchanged(here, path)
    return runs


def _unchanged(runs: Sequence[Run], place: Path) -> Iterator[Run]:
    """The runs; one whose answers are not those that were scored is incomplete, and its reason says so. One whose answers
    cannot be read is left out and named in the log."""
    unreadable: list[str] = []
    summaries, _ = unchanged.checked([run.summary for run in runs], place, assets.cache_folder(), unreadable)
    for problem in unreadable:
        logging.getLogger("diva_bench").warning("left out: %s", problem)
    current = {summary.folder: summary for summary in summaries}
    return (replace(run, summary=current[run.path]) for run in runs if run.path in current)
