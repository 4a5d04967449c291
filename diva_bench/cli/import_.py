"""`diva-bench import`: answers of another system or harness -> a run folder that is scored, ranked and compared as any."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from diva_bench import assets, data, imported, judge, predictions, provenance
from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.show import print_table
from diva_bench.errors import UserError
from diva_bench.predictions import Prediction, Source
from diva_bench.predictions.match import Matched, listed, match
from diva_bench.report.runs import Finished, results_table
from diva_bench.runner import Job
from diva_bench.scorers.given import NAME as GIVEN
from diva_bench.specs import Edition, TaskSpec
from diva_bench.store import RunFolder
from diva_bench.types import Response


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `import`. `gold`: whether the task's own labels are at hand; `top`: a perfect score, 1 or 100."""

    files: list[Path]
    task: str
    model_name: str
    format: str = "auto"
    columns: str | None = None
    labels: str | None = None
    only: str | None = None
    top: int | None = None
    edition: str = "full"
    data_dir: Path | None = None
    gold: bool = True
    clusters: Path | None = None
    output: Path = Path("results")
    paths: list[Path] = field(default_factory=list)


def import_command(options: Options) -> int:
    """Exit code: 0 every sample has an answer; 1 some are missing or failed, and the run is not ranked."""
    catalog, progress = Catalog(options.paths), Terminal()
    if options.clusters is not None and options.gold:
        raise UserError("--clusters goes with --no-gold: with gold labels the clusters are the task's.")
    task = _task(catalog, options)
    labels = pairs(options.labels, "--labels")
    reading = predictions.Options(pairs(options.columns, "--columns", ("id", "text", "score")), options.only)
    sources = _sources(options.files)
    format, rows = predictions.read(sources, options.format, reading)
    if options.gold:
        dataset = data.load(task, assets.cache_folder(), progress, data_dir=options.data_dir, need_audio=False)
        matched = match(task, dataset, rows, labels)
        clusters: Any = None
    else:
        task = imported.without_gold(task)
        dataset, matched, clusters = _without_gold(task, options, rows)
    task = imported.with_given(task, matched.responses, options.top)
    if not options.gold and GIVEN not in task.scorers:
        raise UserError("--no-gold: no row of the file has a score, so there is nothing to keep.")
    record = imported.record(sources, format, len(rows), matched.how) | ({} if options.gold else {"clusters": clusters})
    job = imported.job(
        task,
        imported.model(options.model_name, sources, format, reading, labels),
        dataset,
        catalog,
        {**provenance.collect(sys.argv), "imported": record},
    )
    _report(job, format, matched, progress)
    if not options.gold:
        progress.note(f"no gold labels: the samples are the ids of the file (the task says {task.data.rows} rows)")
    with job.folder(options.output) as folder:
        _write(folder, matched.responses, progress)
        summary = judge.judge(job, folder, progress)
        print_table(results_table([Finished(summary, folder.path, folder.timing())]))
        if said := imported.agreement(job, folder.scores()[1]):
            progress.note(said)
    progress.note(f"kept in {folder.path}")
    return 0 if summary["complete"] else 1


def pairs(text: str | None, option: str, allowed: Sequence[str] = ()) -> dict[str, str]:
    """ "a=x,b=y" as a mapping; UserError where it is anything else, names a key twice or one that is not allowed."""
    found: dict[str, str] = {}
    for part in text.split(",") if text else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not key or not equals or not value:
            raise UserError(f"{option} {text!r}: expected NAME=VALUE, with commas between them; found {part!r}.")
        if allowed and key not in allowed:
            raise UserError(f"{option}: {key!r} is no role. Allowed: {', '.join(allowed)}.")
        if key in found:
            raise UserError(f"{option}: {key!r} is given twice.")
        found[key] = value
    return found


def _task(catalog: Catalog, options: Options) -> TaskSpec:
    edition = cast(Edition, options.edition)
    names = catalog.subsets(options.task, edition)
    if len(names) != 1:
        raise UserError(f"{options.task} is several tasks; import into one of {', '.join(names) or 'none'}.")
    return catalog.task(names[0], edition)


def _sources(files: Sequence[Path]) -> list[Source]:
    sources = [Source(path) for path in files]
    seen: dict[str, Path] = {}
    for source in sources:
        other = seen.setdefault(source.sha256, source.path)
        if other is not source.path:
            raise UserError(f"{source.path} is the same file as {other}; its answers would stand twice.")
    return sources


def _without_gold(
    task: TaskSpec, options: Options, rows: Sequence[Prediction]
) -> tuple[data.Dataset, Matched, dict[str, str] | None]:
    """The file's own ids as the data, and the clusters where they are not the ids."""
    known = None
    if options.clusters is not None:
        columns = predictions.Options({"id": "id", "text": "cluster"})
        known = {str(p.id): p.text for p in predictions.read([Source(options.clusters)], "auto", columns)[1]}
    dataset = imported.ids_as_data(rows, known)
    clusters = {s.id: s.cluster for s in dataset.samples} if known is not None else None
    return dataset, match(task, dataset, rows), clusters


def _report(job: Job, format: str, matched: Matched, progress: Terminal) -> None:
    """What was read and what is lacking, before anything is written."""
    failed = [r.id for r in matched.responses if r.status == "error"]
    progress.note(
        f"{job.title}: {len(matched.responses)} of {len(job.samples)} samples, read as {format}, by {matched.how}"
    )
    if matched.missing:
        progress.note(f"missing: {len(matched.missing)}: {listed(matched.missing)}: the run is not ranked")
    if failed:
        progress.note(f"failed at their source: {len(failed)}: {listed(failed)}: not scored, the run is not ranked")
    if matched.left_out:
        progress.note(f"left out for every model: {len(matched.left_out)}: {listed(matched.left_out)}")
    if matched.nameless:
        progress.note(f"name none of the labels: {matched.nameless} answers: counted as wrong")
    if 2 * matched.unparsed > len(matched.responses):
        progress.note(
            f"no one label of {', '.join(job.task.choices or ())} can be read in {matched.unparsed} of "
            f"{len(matched.responses)} answers: counted as wrong. If the file calls them otherwise: --labels TEXT=CHOICE,..."
        )


def _write(folder: RunFolder, responses: Sequence[Response], progress: Terminal) -> None:
    """Only what is not there yet: the run is of this very file."""
    there = folder.statuses()
    fresh = [response for response in responses if response.id not in there]
    if there and not fresh:
        progress.note(f"imported before, in {folder.path}")
    folder.append(fresh, None)
