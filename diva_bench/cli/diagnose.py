"""`diagnose`: print which signs of failure the stored answers of runs show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.show import check_report, print_table, print_tables, write_tables
from diva_bench.cli.streams import say_json
from diva_bench.errors import StoreError, UnreadableRun
from diva_bench.evaluation.rescoring import job_of
from diva_bench.predictions import imported
from diva_bench.report.diagnose import RunSigns, as_record, diagnose, long_table, tables
from diva_bench.report.signs import Answers, counted
from diva_bench.runs.answers import digest_of
from diva_bench.runs.records import RunSummary
from diva_bench.runs.run import Run
from diva_bench.runs.runner import Job
from diva_bench.runs.store import RunFolder, located
from diva_bench.scorers.adherence import Adherence
from diva_bench.specs import digest
from diva_bench.types import Response


def diagnose_command(
    runs: Sequence[Path],
    examples: int,
    format: str,
    paths: list[Path],
    data_dir: Path | None = None,
    output: Path | None = None,
) -> int:
    """Print the signs of failure in the runs' answers.

    Raises:
        StoreError: A run has no answers yet.
    """
    check_report(output)
    catalog, progress = Catalog(paths), Terminal()
    folders = [RunFolder(path) for path in {located(path): path for path in reversed(runs)}.values()][::-1]
    names = _labels(folders)
    shown = progress.track(folders, "reading runs", total=len(folders))
    all_signs: list[RunSigns] = []
    unreadable: list[str] = []
    for folder in shown:
        try:
            job = job_of(catalog, folder, progress, data_dir=data_dir)
            all_signs.append(_run_signs(job, folder, names[folder.place], catalog))
        except UnreadableRun as err:
            unreadable.append(str(err))
    unreadable = list(dict.fromkeys(unreadable))  # a fault of a task is reported for each of its runs
    if not all_signs:
        raise UnreadableRun("\n".join(unreadable))
    for problem in unreadable:
        progress.note(problem)
    diagnoses = diagnose(all_signs)
    csv = output is not None and output.suffix == ".csv"
    write_tables([long_table(diagnoses)] if csv else tables(diagnoses, examples), output)
    if format == "json":
        say_json(as_record(diagnoses, examples))
    elif format == "csv":
        print_table(long_table(diagnoses), "csv")
    else:
        print_tables(tables(diagnoses, examples), format)
    return 1 if unreadable else 0


def _labels(folders: Sequence[RunFolder]) -> dict[Path, str]:
    """Run folder -> model name with edition, or the name of the folder if two runs of a task would have the same label."""
    names = {folder.place: folder.place.name.rsplit("-", 1)[0] for folder in folders}
    places = [(place.parent, name) for place, name in names.items()]
    return {place: name if places.count((place.parent, name)) == 1 else place.name for place, name in names.items()}


def _run_signs(job: Job, folder: RunFolder, label: str, catalog: Catalog) -> RunSigns:
    """Count the signs of a run by the current rules. A run that was imported with scores but without gold labels keeps its
    task."""
    responses = {r.id: r for r in folder.responses()}
    answered = [s for s in job.samples if s.id in responses and responses[s.id].status in ("ok", "unsupported")]
    if not answered:
        raise StoreError(f"{folder.path}: no answers yet; there is nothing to diagnose. Run the model first.")
    record = folder.record()
    gold = imported.needs_data(record)
    task = job.task if gold else imported.whole_task(catalog, record, job.task)
    answers = Answers(task, answered, [responses[s.id] for s in answered], gold)
    scorer = Adherence(task, **(task.scorers.get("adherence") or {}))
    summary = _summary(folder, responses.values())
    main = summary.metrics.get(summary.primary) if summary else None
    llm = job.model.weights.get("llm")
    return RunSigns(
        label=f"{label} (errors {summary.errors_as})" if summary and summary.errors_as else label,
        task_id=folder.place.parent.name,
        adapter=job.model.adapter,
        llm=digest({f.path: f.sha256 for f in llm.files}) if llm else "",
        answers=answers,
        counts=counted(answers, scorer),
        score=(summary.primary, main.score) if summary and main else None,
        at_chance=summary.at_chance if summary else None,
        signature=scorer.signature,
        failed=len(job.samples) - len(answered),
        model=job.model.hash,
        summary=summary,
    )


def _summary(folder: RunFolder, answers: Iterable[Response]) -> RunSummary | None:
    """The summary of a run; None if its answers are not scored yet."""
    if not (folder.path / "summary.json").exists():
        return None
    summary = Run.open(folder.path).summary
    return summary if summary.answers in (None, digest_of(answers)) else None
