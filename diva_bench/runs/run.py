"""Runs on disk as Python objects."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from diva_bench import data, stats
from diva_bench.catalog import Catalog
from diva_bench.errors import StoreError, UnreadableRun, UserError
from diva_bench.runs import bundle, freshness, old_identity, stored_task
from diva_bench.runs import rows as rows_
from diva_bench.runs.records import RunSummary, flag, folders_in, is_run, of_folder, summary_of
from diva_bench.runs.store import RunFolder, absent, read_json
from diva_bench.scorers import cleaned
from diva_bench.specs import TaskSpec, prompt
from diva_bench.tables import Cell, Column, Score, Table
from diva_bench.types import Response, Sample, Scorer, Silent
from diva_bench.weights import assets

if TYPE_CHECKING:
    from diva_bench.runs.runner import Job
    from diva_bench.scorers.labels import Labels


@dataclass(frozen=True, slots=True)
class Speed:
    """Throughput per second of wall time: `samples`, and seconds of `audio`."""

    samples: float
    audio: float


Inputs = tuple[TaskSpec | None, Sequence[Sample], Mapping[str, Scorer]]
"""Task, samples and scorers of a run."""


@dataclass(frozen=True, repr=False)
class Run:
    """The answers of one model to one task in the folder `path`, with their scores."""

    path: Path
    summary: RunSummary
    changed: bool = field(default=False, compare=False)
    """Whether answers or rows changed after they were scored; known if the run was loaded by `load_runs`."""
    question: Inputs | None = field(default=None, repr=False, compare=False)
    """Task, samples and scorers if the run was made in this process; None: they are loaded when they are needed."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open the run in a folder.

        Raises:
            UserError: `path` is not a path.
            UnreadableRun: The files of the run are damaged.
        """
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
        """The primary metric, `summary.primary`; None if there is none. `summary.metrics` has all metrics with intervals."""
        metric = self.summary.metrics.get(self.summary.primary)
        return metric.value if metric else None

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.path)

    @cached_property
    def timing(self) -> Sequence[Mapping[str, Any]]:
        """One record per batch: rows, audio seconds, wall seconds, and wall seconds by stage. It is read once, as `summary`."""
        return self.folder.timing()

    @property
    def speed(self) -> Speed | None:
        """Throughput over all batches in which a model computed everything; None if there is none (baselines compute
        nothing, and clips may have been encoded for another run of the same command), or if the record is unreadable,
        which does not affect the answers."""
        try:
            computed = [batch for batch in self.timing if batch["stages"] and "reuse" not in batch["stages"]]
        except UnreadableRun:
            return None
        wall = sum(batch["wall"] for batch in computed)
        if not wall:
            return None
        return Speed(sum(b["rows"] for b in computed) / wall, sum(b["audio"] for b in computed) / wall)

    @property
    def reused(self) -> bool:
        """Whether clips of this run were encoded for another run of the same command."""
        try:
            return any("reuse" in batch["stages"] for batch in self.timing)
        except UnreadableRun:
            return False

    @property
    def date(self) -> str:
        """When the run began, in UTC as ISO 8601; "" if unknown."""
        return str(read_json(self.path / "run.json").get("started", ""))

    # ---- comparing

    @property
    def gap(self) -> str:
        """Why this run cannot be compared sample by sample, and what to do; "" if it can."""
        path, summary, again = self.path, self.summary, f"Run `diva-bench score {self.path}`."
        if not (path / "summary.json").is_file():
            return f"{path}: is not scored. {again} If the run is not finished, wait for it."
        if not (path / "scores.jsonl").is_file():
            return (
                f"{path}: scores.jsonl is missing, which comparisons need. To make it again from the answers, run "
                f"`diva-bench score {path.parent.parent}/*/*/`."
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
        """Why this run and another cannot be compared sample by sample, and what to do; "" if they can: both have the same
        questions, scorers and samples."""
        try:
            return (
                self.gap
                or other.gap
                or question_differences(self, other)
                or scoring_differences(self, other)
                or other_samples(self, self.scores(), other, other.scores())
            )
        except (StoreError, UnreadableRun) as err:
            return str(err)

    def scores(self) -> dict[str, Any]:
        """Sample id -> line of scores.jsonl. Raises StoreError if it does not belong to the summary, the answers or the
        rows."""
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
        """A table of all metrics of the run."""
        return Runs([self]).table(every=True)

    def records(self) -> list[dict[str, Any]]:
        """One record per answered sample: id, groups, prompt, transcript, reference, answer, label (by the parser; None
        for none and in open tasks), status, detail, the log-likelihood (nats) of every label, every metric of this
        answer alone, every statistic of the scorers. A group with the name of another column becomes `group.NAME`.

        Prompt, transcript and metrics are None or missing if the run has no stored rows, and its data is not on this
        machine or has changed. BLEU and other metrics are not means of their values for single answers.
        """
        header, rows = self.folder.scores() if (self.path / "scores.jsonl").is_file() else ({"signature": {}}, {})
        task, samples, scorers = self.inputs()
        there = {sample.id: sample for sample in samples}
        of_scorers = {name: {ident: row.get(name, {}) for ident, row in rows.items()} for name in header["signature"]}
        current = {name: s for name, s in scorers.items() if s.signature == header["signature"].get(name)}
        numbers = [_metrics(of_scorers[name], scorer) for name, scorer in current.items()]
        numbers += [_statistics(name, measured) for name, measured in of_scorers.items()]
        from diva_bench.scorers.labels import scorer_of  # the tables of the parser take long to load

        parser = scorer_of(task or stored_task.recorded(self.folder.record()))  # labels can be parsed without rows
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
        """A pandas DataFrame with one row per answered sample; see `records`."""
        import pandas

        return pandas.DataFrame(self.records())

    def inputs(self, catalog: Catalog | None = None) -> Inputs:
        """Task, samples and scorers from the stored rows and the catalog (default: without other folders); without stored
        rows from the current data; nothing if that has changed."""
        if self.question is not None:
            return self.question
        catalog, folder = catalog or Catalog(), self.folder
        try:
            task, dataset = stored_task.task_of(folder, catalog), stored_task.stored(folder)
            if dataset is not None and stored_task.changed(task, folder.task_record()):
                task = stored_task.recorded(folder.record())
            if dataset is None:
                dataset = data.load(task, assets.cache_folder(), Silent(), need_audio=False, allow_partial=True)
            if dataset.fingerprint == folder.task_record()["fingerprint"]:
                samples = dataset.limited(self.summary.limit, self.summary.seed)
                return task, samples, catalog.scorers(task, lenient=True)
            why: object = f"the data of task {task.name} on this machine is not the data of the run"
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
"""Columns of `Runs.records`."""
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
"""Columns that are shown at any width; errors and remarks are too, if there are any."""


class Runs(list[Run]):
    """A list of runs, in the order of the request or of their paths.

    Attributes:
        unreadable: Path and reason of each run beside them that cannot be read, one text per run.
        every: Whether the printed table has all metrics, or only the primary one.
    """

    def __init__(self, runs: Iterable[Run] = (), unreadable: Iterable[str] = (), every: bool = False) -> None:
        super().__init__(runs)
        self.unreadable = list(unreadable)
        self.every = every

    @overload
    def __getitem__(self, place: SupportsIndex) -> Run: ...
    @overload
    def __getitem__(self, place: slice) -> Runs: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Run | Runs:
        """A run, or the runs of a slice."""
        if isinstance(place, slice):
            return Runs(super().__getitem__(place), self.unreadable, self.every)
        return super().__getitem__(place)

    def __add__(self, others: Iterable[Run]) -> Runs:  # type: ignore[override]  # any runs can be joined
        """These runs, then the others."""
        more, every = (others.unreadable, others.every) if isinstance(others, Runs) else ([], False)
        return Runs([*self, *others], [*self.unreadable, *more], self.every or every)

    def records(self, every: bool = True) -> list[dict[str, Any]]:
        """One record per run and metric, the primary metric first; a run without a score has one record with None.

        `settings` has prompt variant, audio condition and changes if they are not the default; `samples/s` is per
        second of wall time.

        Args:
            every: False: only the primary metric.
        """
        return [record for run in self for record in list(_records(run))[: None if every else 1]]

    def table(self, every: bool = False) -> Table:
        """A table of `records`, with intervals."""
        rows: list[list[Cell]] = []
        for record in self.records(every):
            value, low, high = (record[key] for key in ("score", "low", "high"))
            date = record["date"][:16].replace("T", " ")  # to the minute, UTC
            cells = {**record, "score": None if value is None else Score(value, low, high), "date": date}
            rows.append([cells[name] for name in _COLUMNS])
        columns_shown = (
            *_ALWAYS,
            *(name for name in ("errors", "remarks") if any(row[_COLUMNS.index(name)] for row in rows)),
        )
        columns = [Column(name, optional=name not in columns_shown) for name in _COLUMNS]
        notes = ["score [95 % interval]; the first metric of a run is the task's primary one"]
        if len({row[-1] for row in rows}) == 1:  # one path in every row would only make the table wide
            notes.append(f"path: {rows[0][-1]}")
            columns, rows = columns[:-1], [row[:-1] for row in rows]
        return Table("runs", columns, rows, notes)

    def to_pandas(self) -> Any:
        """A pandas DataFrame of `records`. Without runs it has the same columns and no row."""
        import pandas

        return pandas.DataFrame(self.records(), columns=list(_RECORD))

    def to_latex(self) -> str:
        return self.table(self.every).to_latex()

    def _with_faults(self) -> Table:
        """The table, with the unreadable runs in its notes."""
        table = self.table(self.every)
        return replace(table, notes=[*table.notes, *(f"cannot be read, left out: {text}" for text in self.unreadable)])

    def __repr__(self) -> str:
        return f"Runs({super().__repr__()}, unreadable={self.unreadable!r})" if self.unreadable else super().__repr__()

    def __str__(self) -> str:
        return str(self._with_faults())

    def _repr_html_(self) -> str:
        return self._with_faults()._repr_html_()


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
    """The label that the parser finds in an answer; None if it finds none."""
    from diva_bench.scorers.labels import UNPARSED

    if parser is None or response.status != "ok":
        return None
    label = parser.decided(cleaned(response))["label"]
    return None if label == UNPARSED else label


def _with_groups(record: dict[str, Any], groups: Mapping[str, str], names: Set[str]) -> dict[str, Any]:
    """A record with its groups after the id; a group with a name in `names` becomes `group.NAME`."""
    named = {f"group.{name}" if name in names else name: value for name, value in groups.items()}
    return {"id": record["id"], **named, **record}


def _metrics(rows: Mapping[str, Mapping[str, float]], scorer: Scorer) -> dict[str, dict[str, float]]:
    """Sample id -> every metric of a scorer, for that answer alone."""
    ids = [ident for ident, row in rows.items() if row]
    if not ids:
        return {}
    metrics = stats.row_by_row(*stats.stack([rows[ident] for ident in ids]), scorer.reduce)
    return {ident: {name: float(values[i]) for name, values in metrics.items()} for i, ident in enumerate(ids)}


def _statistics(scorer: str, rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Sample id -> every statistic of a scorer, with the scorer in its name; missing ones are 0."""
    keys = list(dict.fromkeys(key for row in rows.values() for key in row))
    names = {key: key if key.startswith(f"{scorer}.") else f"{scorer}.{key}" for key in keys}
    return {ident: {names[key]: row.get(key, 0.0) for key in keys} for ident, row in rows.items() if row}


def question_differences(run: Run, other: Run) -> str:
    """How the questions of two runs differ; "" if they have the same task id."""
    first, second = run.folder.task_record(), other.folder.task_record()
    if first["hash"] == second["hash"]:
        return ""
    if old_identity.is_former(first) != old_identity.is_former(second):
        return old_identity.moved(run.path if old_identity.is_former(first) else other.path)
    keys = ["name", *(key for key in first if key not in ("id", "hash", "name", "schema", "edition"))]
    editions = (each.folder.record()["task"]["edition"] for each in (run, other))
    differ = [*_differences("edition", *editions)]
    differ += [text for key in keys for text in _differences(key, first.get(key), second.get(key))]
    return (
        f"{run.path} and {other.path} are not comparable: {'; '.join(differ)}. Only runs of one task folder can be "
        "compared sample by sample."
    )


_SHORT = 40  # longest value that a message quotes, in characters


def _differences(key: str, ours: object, theirs: object) -> Iterator[str]:
    """The differences between two values of a task.json, by key; with both values if they are short."""
    if ours == theirs:
        return
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for inner in dict.fromkeys([*ours, *theirs]):
            yield from _differences(f"{key}.{inner}", ours.get(inner), theirs.get(inner))
    elif key == "fingerprint":  # a hash does not help the user
        yield "the data (other clips or references, or one run had labels without audio)"
    elif max(len(repr(ours)), len(repr(theirs))) > _SHORT:
        yield f"other {key}" if key == "questions" else f"another {key}"
    else:
        yield f"{key} {ours!r} and {theirs!r}"


def scoring_differences(run: Run, other: Run) -> str:
    """The command to run if a scorer of both runs has different settings or versions; "" if none has."""
    ours, theirs = run.summary.signature, other.summary.signature
    if all(theirs[name] == text for name, text in ours.items() if name in theirs):
        return ""
    return (
        f"{run.path} and {other.path} were scored with different settings or versions of the scorers. Run `diva-bench score "
        f"{run.path} {other.path}`."
    )


def other_samples(run: Run, table: Mapping[str, Any], other: Run, others: Mapping[str, Any]) -> str:
    """The samples that only one of two runs has; "" if they have the same. `table`, `others`: their scores."""
    only, their = sorted(table.keys() - others.keys()), sorted(others.keys() - table.keys())
    if not only and not their:
        return ""
    parts = [
        f"{len(ids)} only in {where} ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})"
        for where, ids in ((run.path, only), (other.path, their))
        if ids
    ]
    return f"the runs do not have the same samples: {'; '.join(parts)}. Run `diva-bench score` on both."


def load_runs(paths: Iterable[Path], *, listed: bool = False, processes: int = 1) -> Runs:
    """Load the runs in folders.

    Args:
        listed: The caller shows `unreadable`, so that no warning is needed.
        processes: See `freshness.checked`.
        paths: Each is a run folder, a task folder, a folder of runs, a folder with such folders, or a bundle.

    Returns:
        The runs. A run whose answers changed after they were scored is incomplete, and its reason says so. Unreadable
            runs in a folder of
        runs are in `unreadable`, and a warning in the log names them.

    Raises:
        StoreError: There is no such folder.
        UnreadableRun: A path is the folder of a run that cannot be read.
    """
    log, runs = logging.getLogger("diva_bench"), Runs()
    for path in map(bundle.opened, paths):
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
        runs += _unchanged(here, path, unreadable, processes)
        if alone and unreadable:
            raise UnreadableRun(unreadable[0])
        for problem in () if listed else unreadable:
            log.warning("left out: %s", problem)
        runs.unreadable += unreadable
    if newer := [run.path for run in runs if run.folder.newer]:
        log.warning(
            "A newer version of diva-bench wrote %d of these runs, such as %s. What this version does not know of them is "
            "left out: update diva-bench.",
            len(newer),
            newer[0],
        )
    return runs


def no_folder(path: Path) -> StoreError:
    """The error for a folder of runs, or a bundle, that does not exist."""
    wanted = "the file that `diva-bench bundle --output` wrote, or the" if path.suffix.lower() == ".zip" else "the"
    return StoreError(f"{path}: {absent(path)}. Give {wanted} folder that `diva-bench run --output` wrote to.")


def _unchanged(runs: Sequence[Run], place: Path, unreadable: list[str], processes: int = 1) -> Iterator[Run]:
    """The runs after `freshness.checked`."""
    summaries, _ = freshness.checked([run.summary for run in runs], place, assets.cache_folder(), unreadable, processes)
    current = {summary.folder: summary for summary in summaries}
    for run in runs:
        if run.path in current:
            yield replace(run, summary=current[run.path], changed=current[run.path] is not run.summary)


def no_changes(runs: Sequence[Run]) -> Runs:
    """Runs that were loaded earlier, checked against their current files."""
    unreadable = list(runs.unreadable) if isinstance(runs, Runs) else []
    place = runs[0].path.parent.parent if runs else Path()
    return Runs(_unchanged(runs, place, unreadable), unreadable)
