"""Runs on disk as Python objects."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, SupportsIndex, overload

from diva_bench import data, stats
from diva_bench.catalog import Catalog
from diva_bench.errors import StoreError, UnreadableRun, UserError
from diva_bench.runs import freshness, old_identity, stored_task
from diva_bench.runs import rows as rows_
from diva_bench.runs.records import RunSummary, flag, folders_in, is_run, of_folder, summary_of
from diva_bench.runs.runner import Job
from diva_bench.runs.store import RunFolder, read_json
from diva_bench.scorers import cleaned
from diva_bench.scorers.labels import UNPARSED, Labels, scorer_of
from diva_bench.specs import TaskSpec, prompt
from diva_bench.tables import Cell, Column, Score, Table
from diva_bench.types import Response, Sample, Scorer, Silent
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
    changed: bool = field(default=False, compare=False)
    """Whether other answers or rows lie there than those that were scored, when it was loaded with others."""
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
        return cls(path, record, question=(job.task, job.samples, job.scorers) if job else None)

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

    # ---- comparing

    @property
    def gap(self) -> str:
        """Why no run can be compared with this one sample by sample, and what to do; "" where one can."""
        path, summary, again = self.path, self.summary, f"Run `diva-bench score {self.path}`."
        if not (path / "summary.json").is_file():
            return f"{path}: is not scored. {again} If the run is not finished, wait for it."
        if not (path / "scores.jsonl").is_file():
            return (
                f"{path}: scores.jsonl is missing, which comparisons need (published runs come without it). To make it again "
                f"from the answers, run `diva-bench score {path.parent.parent}/*/*/`."
            )
        if summary.partial:
            return f"{path}: {summary.reason}. Only runs on all data of a task can be compared."
        if not summary.complete and not self.changed:
            return (
                f"{path}: is not complete: {summary.reason} of {summary.n}. Only complete runs are compared; run the same "
                "command again to complete it."
            )
        return f"{path}: {summary.reason}." if self.changed else ""

    def why_not_comparable(self, other: Run) -> str:
        """Why this run and another cannot be compared sample by sample, and what to do; "" where they can: they were asked the
        same, scored in the same way, and have answers to the same samples."""
        try:
            return (
                self.gap
                or other.gap
                or asked_otherwise(self, other)
                or scored_otherwise(self, other)
                or other_samples(self, self.scores(), other, other.scores())
            )
        except (StoreError, UnreadableRun) as err:
            return str(err)

    def scores(self) -> dict[str, Any]:
        """Sample id -> line of scores.jsonl. StoreError where it is not of the summary, or of other answers or rows."""
        header, table = self.folder.scores_of_now()
        again = f"Run `diva-bench score {self.path}`."
        if header["signature"] != self.summary.signature:
            raise StoreError(f"{self.path}: scores.jsonl and summary.json are from different scorings. {again}")
        if len(table) != self.summary.scored + self.summary.dropped:
            raise StoreError(
                f"{self.path}: scores.jsonl has {len(table)} samples and summary.json says {self.summary.scored}. {again}"
            )
        if header.get("rows"):
            stored_path = rows_.path_of(self.folder.above, self.folder.task_record()["hash"])
            if stored_path is not None and rows_.digest(stored_path) != header["rows"]:
                raise StoreError(f"{self.path}: the rows of its task changed since it was scored. {again}")
        return table

    # ---- tables

    def table(self) -> Table:
        """Every metric of the run."""
        return Runs([self]).table(every=True)

    def records(self) -> list[dict[str, Any]]:
        """One record a sample that has an answer: id, groups, prompt, transcript, reference, answer, label (which the parser
        read in the answer; None for none and in open tasks), status, detail, the log-likelihood (nats) of every label, every
        metric of this answer alone, every statistic that a scorer measured. A group with the name of another column is
        called `group.NAME`.

        Prompt, transcript and metrics are None or left out where no rows are stored with the run, and its data is not on this
        machine or has changed. BLEU and other metrics that are no means are not the mean of theirs.
        """
        header, rows = self.folder.scores() if (self.path / "scores.jsonl").is_file() else ({"signature": {}}, {})
        task, samples, scorers = self.question or self._looked_up()
        there = {sample.id: sample for sample in samples}
        of_scorers = {name: {ident: row.get(name, {}) for ident, row in rows.items()} for name in header["signature"]}
        current = {name: s for name, s in scorers.items() if s.signature == header["signature"].get(name)}
        numbers = [_metrics(of_scorers[name], scorer) for name, scorer in current.items()]
        numbers += [_statistics(name, measured) for name, measured in of_scorers.items()]
        parser = scorer_of(task or stored_task.recorded(self.folder.record()))  # labels can be read without rows
        pairs = []
        for response in self.folder.responses():
            row, sample = rows.get(response.id, {}), there.get(response.id)
            references = sample.references if sample else tuple(row.get("references", ()))
            record: dict[str, Any] = {"id": response.id}
            record["prompt"] = prompt.build(task, sample, frozenset()).prompt if task and sample else None
            record["transcript"] = sample.transcript if sample else None
            record["reference"] = references[0] if len(references) == 1 else list(references) or None
            record["answer"] = response.text if response.status == "ok" else None
            record["label"] = _label(parser, response)
            record |= {"status": response.status, "detail": response.detail or None}
            record |= {f"logprob {label}": score.total for label, score in (response.choices or {}).items()}
            for table in numbers:
                record |= table.get(response.id, {})
            pairs.append((record, sample.groups if sample else row.get("groups", {})))
        names = {name for record, _ in pairs for name in record}
        every = [_with_groups(record, groups, names) for record, groups in pairs]
        order = {ident: place for place, ident in enumerate(there or rows)}
        return sorted(every, key=lambda record: order.get(record["id"], len(order)))

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for every sample that has an answer; see `records`."""
        import pandas

        return pandas.DataFrame(self.records())

    def _looked_up(self) -> Asked:
        """Task, samples and scorers by the stored rows and the catalog of today; by the data of today where no rows are stored,
        and nothing where that is not the data of the run."""
        catalog, folder = Catalog(), self.folder
        try:
            task, dataset = stored_task.task_of(folder, catalog), stored_task.stored(folder)
            if dataset is not None and stored_task.changed(task, folder.task_record()):
                task = stored_task.recorded(folder.record())
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
_RECORD = (
    *(
        "task",
        "model",
        "edition",
        "metric",
        "score",
        "low",
        "high",
        "n",
        "limit",
        "seed",
        "errors",
        "samples/s",
        "date",
    ),
    *("settings", "complete", "remarks", "path"),
)
"""What `Runs.records` says of a run."""
_ALWAYS = ("task", "model", "metric", "score", "n", "path")
"""Columns that no narrow terminal leaves out; nor are errors and remarks left out, where there are any."""


class Runs(list[Run]):
    """Runs, in the order that they were asked in or lie on disk. `unreadable`: path and reason of each run that lies beside
    them and cannot be read, one text a run."""

    def __init__(self, runs: Iterable[Run] = (), unreadable: Iterable[str] = ()) -> None:
        super().__init__(runs)
        self.unreadable = list(unreadable)

    @overload
    def __getitem__(self, place: SupportsIndex) -> Run: ...
    @overload
    def __getitem__(self, place: slice) -> Runs: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Run | Runs:
        """A run, or for a slice those runs."""
        if isinstance(place, slice):
            return Runs(super().__getitem__(place), self.unreadable)
        return super().__getitem__(place)

    def __add__(self, others: Iterable[Run]) -> Runs:  # type: ignore[override]  # any runs can be joined
        """These runs, then the others."""
        more = others.unreadable if isinstance(others, Runs) else []
        return Runs([*self, *others], [*self.unreadable, *more])

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
        shown = (*_ALWAYS, *(name for name in ("errors", "remarks") if any(row[_COLUMNS.index(name)] for row in rows)))
        columns = [Column(name, optional=name not in shown) for name in _COLUMNS]
        return Table(
            "runs", columns, rows, ["score [95 % interval]; the first metric of a run is the task's primary one"]
        )

    def to_pandas(self) -> Any:
        """A pandas DataFrame of `records`; without runs it has the same columns, and no row."""
        import pandas

        return pandas.DataFrame(self.records(), columns=list(_RECORD))

    def to_latex(self) -> str:
        return self.table().to_latex()

    def _shown(self) -> Table:
        """The table, with the runs that cannot be read in its notes."""
        table = self.table()
        return replace(table, notes=[*table.notes, *(f"cannot be read, left out: {text}" for text in self.unreadable)])

    def __repr__(self) -> str:
        return f"Runs({super().__repr__()}, unreadable={self.unreadable!r})" if self.unreadable else super().__repr__()

    def __str__(self) -> str:
        return str(self._shown())

    def _repr_html_(self) -> str:
        return self._shown()._repr_html_()


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


def _label(parser: Labels | None, response: Response) -> str | None:
    """The label that the parser reads in an answer; None for none."""
    if parser is None or response.status != "ok":
        return None
    label = parser.decided(cleaned(response))["label"]
    return None if label == UNPARSED else label


def _with_groups(record: dict[str, Any], groups: Mapping[str, str], names: Set[str]) -> dict[str, Any]:
    """A record with its groups behind the id; one whose name is `names` by another column is called `group.NAME`."""
    named = {f"group.{name}" if name in names else name: value for name, value in groups.items()}
    return {"id": record["id"], **named, **record}


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


def asked_otherwise(run: Run, other: Run) -> str:
    """What two runs were not asked alike; "" where they are of one task id."""
    first, second = run.folder.task_record(), other.folder.task_record()
    if first["hash"] == second["hash"]:
        return ""
    if old_identity.is_former(first) != old_identity.is_former(second):
        return old_identity.moved(run.path if old_identity.is_former(first) else other.path)
    keys = ["name", *(key for key in first if key not in ("id", "hash", "name"))]
    differ = [text for key in keys for text in _differences(key, first.get(key), second.get(key))]
    return (
        f"{run.path} and {other.path} are not comparable: {'; '.join(differ)}. Only runs of one task folder can be "
        "compared sample by sample."
    )


_SHORT = 40  # characters of a value that a message quotes


def _differences(key: str, ours: object, theirs: object) -> Iterator[str]:
    """What differs between two values in a task.json, by its keys; both values where they are short."""
    if ours == theirs:
        return
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for inner in dict.fromkeys([*ours, *theirs]):
            yield from _differences(f"{key}.{inner}", ours.get(inner), theirs.get(inner))
    elif key == "fingerprint":  # a hash tells nobody what to do
        yield "the data (other clips or references, or one run had labels without audio)"
    elif max(len(repr(ours)), len(repr(theirs))) > _SHORT:
        yield f"another {key}"
    else:
        yield f"{key} {ours!r} and {theirs!r}"


def scored_otherwise(run: Run, other: Run) -> str:
    """What to do where a scorer of both runs has another setting or version in each; "" where none has."""
    ours, theirs = run.summary.signature, other.summary.signature
    if all(theirs[name] == text for name, text in ours.items() if name in theirs):
        return ""
    return (
        f"{run.path} and {other.path} were scored with different settings or versions of the scorers. Run `diva-bench score "
        f"{run.path} {other.path}`."
    )


def other_samples(run: Run, table: Mapping[str, Any], other: Run, others: Mapping[str, Any]) -> str:
    """Which samples one of two runs has alone; "" where they have the same. `table`, `others`: their scores."""
    only, their = sorted(table.keys() - others.keys()), sorted(others.keys() - table.keys())
    if not only and not their:
        return ""
    parts = [
        f"{len(ids)} only in {where} ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})"
        for where, ids in ((run.path, only), (other.path, their))
        if ids
    ]
    return f"the runs do not have the same samples: {'; '.join(parts)}. Run `diva-bench score` on both."


def load_runs(paths: Iterable[Path]) -> Runs:
    """The runs in folders, each a run's, a task's, one of runs, or one with such folders in it. A run with other answers than
    those that were scored is incomplete, and its reason says so.

    A run in a folder of runs that cannot be read is in `unreadable`, and a warning in the log names it. Raises StoreError where
    there is no such folder, and UnreadableRun for the folder of a run that cannot be read.
    """
    log, runs = logging.getLogger("diva_bench"), Runs()
    for path in paths:
        if not path.is_dir():
            raise no_folder(path)
        alone = is_run(path)
        here: list[Run] = []
        unreadable: list[str] = []
        for folder in [path] if alone else folders_in(path):
            try:
                run = Run.open(folder)
                if not alone:
                    run.folder.check()
                here.append(run)
            except UnreadableRun as err:
                unreadable.append(str(err))
        runs += _unchanged(here, path, unreadable)
        if alone and unreadable:
            raise UnreadableRun(unreadable[0])
        for problem in unreadable:
            log.warning("left out: %s", problem)
        runs.unreadable += unreadable
    return runs


def no_folder(path: Path) -> StoreError:
    """What to say of a folder of runs that does not exist."""
    return StoreError(f"{path}: no such folder. Give the folder that runs were written to (`output`).")


def _unchanged(runs: Sequence[Run], place: Path, unreadable: list[str]) -> Iterator[Run]:
    """The runs, see `unchanged.checked`."""
    summaries, _ = freshness.checked([run.summary for run in runs], place, assets.cache_folder(), unreadable)
    current = {summary.folder: summary for summary in summaries}
    for run in runs:
        if run.path in current:
            yield replace(run, summary=current[run.path], changed=current[run.path] is not run.summary)


def no_changes(runs: Sequence[Run]) -> Runs:
    """Runs that were loaded a while ago, as their files are now."""
    unreadable = list(runs.unreadable) if isinstance(runs, Runs) else []
    place = runs[0].path.parent.parent if runs else Path()
    return Runs(_unchanged(runs, place, unreadable), unreadable)
