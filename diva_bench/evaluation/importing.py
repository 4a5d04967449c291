"""Import answers of another system as a run folder, which is scored, ranked and compared like any other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from diva_bench import data, predictions, provenance
from diva_bench.catalog import Catalog
from diva_bench.data.place import locate
from diva_bench.errors import DataError, PredictionError, UserError
from diva_bench.predictions import AnswerFile, Prediction, imported
from diva_bench.predictions.match import Matched, listed, match
from diva_bench.runs import schemas, scoring
from diva_bench.runs.agreement import in_words
from diva_bench.runs.run import Run
from diva_bench.runs.runner import Job
from diva_bench.runs.store import RunFolder
from diva_bench.scorers import primary
from diva_bench.scorers.source_score import NAME as GIVEN
from diva_bench.specs import Edition, TaskSpec
from diva_bench.types import Progress, Response
from diva_bench.weights import assets

SUBSET = "{subset}"
"""In the name of a file: stands for every subset of the task."""


@dataclass(frozen=True, slots=True)
class Import:
    """The options of `import`, or one row of a manifest.

    Attributes:
        gold: Whether gold labels of the task are available.
        top: The score of a perfect answer, 1 or 100; None: as the task or the format defines it.
        errors: What is done with answers that failed at their source (`imported.ERRORS`); None: the run is not ranked.
        subsets: The subset of the task for each file, if they are all imported into one task.
    """

    files: list[Path]
    task: str
    model_name: str
    format: str = "auto"
    columns: str | Mapping[str, str] | None = None
    labels: str | Mapping[str, str] | None = None
    only: str | None = None
    top: int | None = None
    errors: str | None = None
    edition: str = "full"
    data_dir: Path | None = None
    gold: bool = True
    clusters: Path | None = None
    output: Path = Path("results")
    subsets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ready:
    """A run that can be written: everything was read and fits."""

    job: Job
    matched: Matched
    format: str
    options: Import


def import_entries(
    entries: Sequence[tuple[str, Import]], catalog: Catalog, progress: Progress, command: str
) -> tuple[list[Run], list[str]]:
    """Import everything or nothing.

    Args:
        entries: (place, options) of each set of answers; the place is file:line of a manifest, or "" for a single set.
        command: How the import was started.

    Returns:
        The runs, and the files of subsets that do not exist.

    Raises:
        PredictionError: It names every entry that cannot be imported. Nothing was written.
    """
    importer = Importer(catalog, progress, command)
    imports: list[tuple[str, Import]] = []
    missing: list[str] = []
    faults: list[str] = []
    for where, options in entries:
        try:
            each, gone = expanded(options, catalog)
        except UserError as err:
            faults.append(_placed(where, err))
            continue
        imports += [(where, one) for one in each]
        missing += gone
    if len(imports) > 1 or any(where for where, _ in imports):
        faults += _faults(importer, imports)
    if faults:
        several = f"{len(faults)} cannot be imported; nothing was written.\n" if len(entries) > 1 else ""
        raise PredictionError(several + "\n".join(faults))
    return [importer.keep(importer.prepare(options)) for _, options in imports], missing


def _placed(where: str, err: UserError) -> str:
    return f"{where}: {err}" if where else str(err)


def _faults(importer: Importer, imports: Sequence[tuple[str, Import]]) -> list[str]:
    """The faults of all entries. Everything is read and matched, but not kept, because the answers of many systems may not
    fit into memory."""
    problems: list[str] = []
    seen: dict[tuple[str, str], str] = {}
    for where, options in imports:
        try:
            job = importer.prepare(options).job
        except UserError as err:
            problems.append(_placed(where, err))
            continue
        other = seen.setdefault((str(job.task_record["id"]), job.model.name), where)
        if other != where:
            problems.append(
                f"{where}: model {job.model.name} at task {job.task.name} is also in {other}. The files of one set of "
                "answers go into one row (file: part-*.jsonl); two sets of answers need two model names."
            )
    return problems


def expanded(options: Import, catalog: Catalog) -> tuple[list[Import], list[str]]:
    """(`options` for every task, files that do not exist). "{subset}" in the name of a file stands for every subset of the
    task: each becomes an import (covost2, sdqa-all), or all become one (sdqa; then ids end in the subset's name, as
    those of the task do)."""
    edition = cast(Edition, options.edition)
    names = catalog.subsets(options.task, edition)
    if not any(SUBSET in str(file) for file in options.files):
        if len(names) != 1:
            raise UserError(
                f"{options.task} is several tasks; import into one of {', '.join(names) or 'none'}, or write {SUBSET} in the "
                "file's name where each has a file of its own."
            )
        return [replace(options, task=names[0])], []
    tasks = [catalog.task(name, edition) for name in names]
    whole = len(tasks) == 1 and tasks[0].subset is None
    subsets = catalog.parts(options.task, edition) if whole else [task.subset or "" for task in tasks]
    files = {
        subset: [Path(str(file).replace(SUBSET, subset)) for file in options.files] for subset in subsets if subset
    }
    if not files:
        raise UserError(f"{SUBSET} in {options.files[0]} stands for nothing: task {options.task} has no subsets.")
    there = {subset: paths for subset, paths in files.items() if any(file.exists() for file in paths)}
    missing = [str(file) for paths in files.values() for file in paths if not file.exists()]
    if not there:
        raise UserError(f"none of the files exists: {listed(missing)}.")
    if whole:
        pairs_ = [(file, subset) for subset, paths in there.items() for file in paths if file.exists()]
        one = replace(options, files=[file for file, _ in pairs_], subsets=tuple(subset for _, subset in pairs_))
        return [replace(one, task=names[0])], missing
    named = {task.subset: task.name for task in tasks}
    return [
        replace(options, files=[file for file in paths if file.exists()], task=named[subset])
        for subset, paths in there.items()
    ], missing


class Importer:
    """Prepares and writes runs; the data of a task is read once."""

    def __init__(self, catalog: Catalog, progress: Progress, command: str) -> None:
        self.catalog, self.progress, self.command = catalog, progress, command
        self._gold: dict[tuple[str, str, Path | None], data.Dataset] = {}

    def prepare(self, options: Import) -> Ready:
        """Read the files and match them with the task. Nothing is written. Raises UserError if something does not fit."""
        if options.clusters is not None and options.gold:
            raise UserError("--clusters goes with --no-gold: with gold labels the clusters are the task's.")
        task = self.catalog.task(options.task, cast(Edition, options.edition))
        labels = pairs(options.labels, "--labels")
        reading = predictions.ReadOptions(pairs(options.columns, "--columns", ("id", "text", "score")), options.only)
        sources = _sources(options.files)
        format, rows = _rows(sources, options, reading)
        top = imported.scale(task, format, options.top)
        clusters: Any = None
        task = imported.with_names(task, labels)
        if options.gold:
            dataset = self._labels(task, options, rows)
            matched = match(task, dataset, rows, labels)
        else:
            task = imported.without_gold(task)
            dataset, matched, clusters = _without_gold(task, options, rows)
        task = imported.with_source_score(task, matched.responses, top)
        if not options.gold and GIVEN not in task.scorers:
            raise UserError("--no-gold: no row of the file has a score, so there is nothing to keep.")
        record = imported.record(sources, format, len(rows), matched.how)
        record |= {} if options.gold else {"clusters": clusters}
        failed = any(response.status == "error" for response in matched.responses)
        spec = imported.model(
            options.model_name, sources, format, reading, labels,
            subsets=options.subsets, errors=options.errors if failed else None,
        )  # fmt: skip
        job = Job(
            task=task,
            model=spec,
            dataset=dataset,
            scorers=self.catalog.scorers(task),
            accepts=frozenset(),
            adapter_version=imported.VERSION,
            provenance={**provenance.collect(self.command), "imported": record},
        )
        if options.gold:
            primary.check_primary(task, job.scorers, dataset.samples[: primary.ENOUGH])
        job.check_former(options.output)
        return Ready(job, matched, format, options)

    def keep(self, ready: Ready) -> Run:
        """Write the run and score it."""
        matched, progress = ready.matched, self.progress
        job = ready.job.settled(ready.options.output)
        _report(ready, progress)
        with job.folder(ready.options.output) as folder:
            _write(folder, matched.responses, progress)
            summary = scoring.score(job, folder, progress)
            if agreement := schemas.checked(schemas.Summary, folder.summary(), str(folder.path)).agreement:
                progress.note(in_words(agreement))
        progress.note(f"stored in {folder.path}")
        return Run.of(folder.path, summary)

    def _labels(self, task: TaskSpec, options: Import, rows: Sequence[Prediction]) -> data.Dataset:
        """The task's samples. If they are not on this machine, the error says what is possible without them."""
        key = (task.name, task.edition, options.data_dir)
        if key not in self._gold:
            try:
                cache = assets.cache_folder()
                self._gold[key] = data.load(task, cache, self.progress, data_dir=options.data_dir, need_audio=False)
            except DataError as err:
                place = locate(task, options.data_dir)
                if place is not None and place.exists():
                    raise
                scored = sum(row.source_score is not None for row in rows)
                hint = (
                    "--no-gold needs no data of the task, and keeps the scores that came with the answers "
                    f"({scored:,} of {len(rows):,} have one)."
                    if scored
                    else "The answers came without scores, so --no-gold would keep nothing of them."
                )
                raise DataError(f"{err}\n{hint}") from err
        return self._gold[key]


_QUOTED = r'"(?:[^"]|"")*"'
_PAIR = re.compile(rf"""\s*({_QUOTED}|[^,="\s][^,=]*)\s*=\s*({_QUOTED}|[^,"\s][^,]*)\s*(?:,|$)""")


def pairs(text: str | Mapping[str, str] | None, option: str, allowed: Sequence[str] = ()) -> dict[str, str]:
    """ "a=x,b=y" as a mapping; a side in double quotes may contain commas and "=", and "" for a quote.

    Raises:
        UserError: The text has another form, or a key is repeated or not allowed.
    """
    parts = list(text.items()) if isinstance(text, Mapping) else _split(text or "", option)
    mapping: dict[str, str] = {}
    for key, value in parts:
        if allowed and key not in allowed:
            raise UserError(f"{option}: {key!r} is not a role. Allowed: {', '.join(allowed)}.")
        if key in mapping:
            raise UserError(f"{option}: {key!r} is given twice.")
        mapping[key] = value
    return mapping


def _split(text: str, option: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None:
            raise UserError(
                f"{option} {text!r}: expected NAME=VALUE, with commas between them; found {text[at:].strip()!r}. A name or "
                'value with a comma or "=" must be in double quotes, as in text="model, output".'
            )
        yield _unquoted(pair[1]), _unquoted(pair[2])
        at = pair.end()


def _unquoted(side: str) -> str:
    side = side.strip()
    return side[1:-1].replace('""', '"') if side.startswith('"') else side


def _sources(files: Sequence[Path]) -> list[AnswerFile]:
    sources = [AnswerFile(path) for path in files]
    seen: dict[str, Path] = {}
    for source in sources:
        other = seen.setdefault(source.sha256, source.path)
        if other is not source.path:
            raise UserError(f"{source.path} is the same file as {other}; its answers would count twice.")
    return sources


def _rows(
    sources: Sequence[AnswerFile], options: Import, reading: predictions.ReadOptions
) -> tuple[str, list[Prediction]]:
    """(format, all rows). In files of single subsets the name of the subset is added to the ids."""
    if not options.subsets:
        return predictions.read(sources, options.format, reading)
    formats, rows = set(), []
    for source, subset in zip(sources, options.subsets, strict=True):
        format, read = predictions.read([source], options.format, reading)
        formats.add(format)
        if lacks := next((row for row in read if row.id is None), None):
            raise PredictionError(f"{lacks.where}: has no id; files of the subsets of one task need them.")
        rows += [replace(row, id=f"{row.id}-{subset}", row=None) for row in read]
    if len(formats) > 1:
        raise PredictionError(f"the files are of several formats ({', '.join(sorted(formats))}); import one at a time.")
    return formats.pop(), rows


def _without_gold(
    task: TaskSpec, options: Import, rows: Sequence[Prediction]
) -> tuple[data.Dataset, Matched, dict[str, str] | None]:
    """The ids of the file as the data, the matched rows, and the clusters if they differ from the ids."""
    cluster_of = None
    if options.clusters is not None:
        columns = predictions.ReadOptions({"id": "id", "text": "cluster"})
        cluster_of = {str(p.id): p.text for p in predictions.read([AnswerFile(options.clusters)], "auto", columns)[1]}
    dataset = imported.ids_as_data(rows, cluster_of, task)
    clusters = {s.id: s.cluster for s in dataset.samples} if cluster_of is not None else None
    return dataset, match(task, dataset, rows), clusters


def _report(ready: Ready, progress: Progress) -> None:
    """Report what was read and what is missing, before anything is written."""
    job, matched = ready.job, ready.matched
    failed = [r.id for r in matched.responses if r.status == "error"]
    progress.note(
        f"{job.title}: {len(matched.responses)} of {len(job.samples)} samples, read as {ready.format}, by {matched.how}"
    )
    if not ready.options.gold:
        size = f"{job.task.data.rows:,} rows" if job.task.data.rows else "not how many rows there are"
        progress.note(f"no gold labels: the samples are the ids of the file (the task says {size})")
    if job.dataset.partial:
        progress.note(f"not whole: {job.dataset.partial}: the run is not ranked")
    if matched.missing:
        progress.note(f"missing: {len(matched.missing)}: {listed(matched.missing)}: the run is not ranked")
    if failed:
        rule = imported.rule(job.model)
        done = (
            f"{imported.ERRORS[rule]}, as --errors {rule} says; every table marks the run"
            if rule
            else "not scored, the run is not ranked (--errors wrong or drop ranks it by a rule that every table names)"
        )
        progress.note(f"failed at their source: {len(failed)}: {listed(failed)}: {done}")
    if matched.left_out:
        progress.note(f"left out for every model: {len(matched.left_out)}: {listed(matched.left_out)}")
    if matched.nameless:
        progress.note(f"answers that name no label: {matched.nameless}: counted as wrong")
    if 2 * matched.unparsed > len(matched.responses):
        progress.note(
            f"no single label of {', '.join(job.task.choices or ())} was found in {matched.unparsed} of "
            f"{len(matched.responses)} answers: counted as wrong. If the file has other names for them: --labels TEXT=CHOICE,..."
        )


def _write(folder: RunFolder, responses: Sequence[Response], progress: Progress) -> None:
    """Write only answers that do not exist yet: the run is of this very file."""
    there = folder.statuses()
    fresh = [response for response in responses if response.id not in there]
    if there and not fresh:
        progress.note(f"imported before, in {folder.path}")
    folder.append(fresh, None)
