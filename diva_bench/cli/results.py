"""`score` and `leaderboard`: what can be said of runs that are on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diva_bench import assets, controls, data, former, imported, judge, yamlfile
from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.show import check_file, print_tables, write_tables
from diva_bench.cli.streams import say
from diva_bench.errors import OtherQuestion, SpecError, StoreError, UnreadableRun
from diva_bench.report import scored, unchanged
from diva_bench.report.leaderboard import leaderboard, page
from diva_bench.report.prompts import families, spread_table
from diva_bench.report.runs import Finished, results_table, unreadable_table
from diva_bench.report.summaries import collect, of_tasks, summary_of
from diva_bench.report.tables import Cell, Column, Table
from diva_bench.runner import Job
from diva_bench.scorers import offered
from diva_bench.specs import Json, ModelSpec
from diva_bench.store import RunFolder, digest_of
from diva_bench.types import Progress


def score_command(
    runs: list[Path], paths: list[Path], scorers: Sequence[str] = (), data_dir: Path | None = None
) -> int:
    """Measure, reduce and print again what the runs' answers are worth. `scorers`: more of them, for this time."""
    catalog, progress, more = Catalog(paths), Terminal(), more_scorers(scorers)
    finished: list[Finished] = []
    unreadable: list[str] = []
    changed = False
    for path in runs:
        folder = RunFolder(path)
        try:
            job = job_of(catalog, folder, progress, more, data_dir)
            if imported.needs_data(folder.record()):
                offered.check_primary(job.task, job.scorers, job.samples[: offered.ENOUGH])
            with folder:
                finished.append(Finished(judge.judge(job, folder, progress), path, folder.timing()))
        except OtherQuestion as err:
            finished.append(_as_stored(folder, err))
            progress.note(
                f"{err} Its stored scores are shown: the data of today differ from those that it was asked about."
            )
            changed = True
        except UnreadableRun as err:
            if len(runs) == 1:
                raise
            unreadable.append(str(err))
    shown = [results_table(finished), *([metrics_table(finished)] if more else [])] if finished else []
    print_tables([*shown, *unreadable_table(unreadable)])
    faulty = ("unjudged", "lost")
    whole = all(f.summary["complete"] and not any(map(f.summary.get, faulty)) for f in finished)
    return 0 if whole and not (unreadable or changed) else 1


def _as_stored(folder: RunFolder, why: OtherQuestion) -> Finished:
    """A run as it was judged when its data were what it was asked about, if it has the same answers still; else `why`."""
    try:
        summary = summary_of(folder.summary(), folder.path / "summary.json")
        head, _ = folder.scores()
    except UnreadableRun:
        raise why from None
    same = head["signature"] == summary.signature and summary.answers == digest_of(folder.responses())
    if not same or head.get("answers") != summary.answers:
        raise why
    return Finished(folder.summary(), folder.path, folder.timing())


def more_scorers(given: Sequence[str]) -> dict[str, Json]:
    """What `--scorer` says: name -> settings. Each is YAML, as it would stand under a task's `scorers:`; a name alone has
    no settings."""
    found: dict[str, Json] = {}
    for text in given:
        where = f"--scorer {text!r}"
        value = yamlfile.value(text, where)
        table = {value: {}} if isinstance(value, str) else value
        if not isinstance(table, dict) or not all(isinstance(v, dict | None) for v in table.values()):
            raise SpecError(
                f"{where}: expected a scorer and its settings, such as 'wer' or 'llm_judge: {{model: oracle}}'."
            )
        for name, settings in table.items():
            if name in found:
                raise SpecError(
                    f"{where}: scorer {name} is given twice; its metrics have one name. Score twice instead."
                )
            found[str(name)] = settings or {}
    return found


def metrics_table(finished: Sequence[Finished]) -> Table:
    """All metrics of the runs, a row each: what `--scorer` added stands beside the task's own."""
    rows: list[list[Cell]] = []
    for f in finished:
        for name, metric in summary_of(dict(f.summary), f.path / "summary.json").metrics.items():
            better = "higher" if metric.higher_is_better else "lower"
            rows.append([f.summary["task"], f.summary["model"], name, metric.score, metric.n, better, metric.corpus])
    columns = [Column("task"), Column("model"), Column("metric"), Column("score [95 %]"), Column("n"), Column("better")]
    notes = ["whole: by the metric's own library over all answers together, where that is no mean of answers"]
    if all(row[-1] is None for row in rows):
        return Table("metrics", columns, [row[:-1] for row in rows], [])
    return Table("metrics", [*columns, Column("whole")], rows, notes)


def job_of(
    catalog: Catalog,
    folder: RunFolder,
    progress: Terminal,
    more: Mapping[str, Json] | None = None,
    data_dir: Path | None = None,
) -> Job:
    """The Job a stored run came from, with the scorers the catalog has now, and `more` of them.

    Raises StoreError where the task or its data have changed since, in anything that would have changed the question.
    """
    asked = folder.task_record()
    if former.is_former(asked):
        raise StoreError(former.moved(folder.path))
    job = stored_job(catalog, folder, progress, more, data_dir)
    if job.task_record["hash"] != asked["hash"]:
        changed = sorted(k for k, v in job.task_record.items() if k not in ("id", "hash") and asked.get(k) != v)
        raise OtherQuestion(
            f"{folder.path}: task {job.task.name} has changed since this was asked ({', '.join(changed)}); "
            "answers to another question cannot be scored. Run the model again."
        )
    return job


def stored_job(
    catalog: Catalog,
    folder: RunFolder,
    progress: Progress,
    more: Mapping[str, Json] | None = None,
    data_dir: Path | None = None,
) -> Job:
    """The model of a stored run, and its task and data as they are now: `job_of` without the check that they are still
    what was asked."""
    record, asked = folder.record(), folder.task_record()
    elsewhere = imported.is_imported(record)
    task = scored.task_of(folder, catalog)
    if twice := sorted(set(more or ()) & set(task.scorers)):
        raise SpecError(
            f"task {task.name} has scorer {twice[0]} of its own, and its metrics have one name: change its settings in the "
            "task's YAML (of which a copy under another name may be given with --path)."
        )
    task = task.model_copy(update={"scorers": {**task.scorers, **(more or {})}})
    return Job(
        task=task,
        model=ModelSpec.model_validate(record["model"]),
        dataset=imported.dataset_of(folder, task, progress, data_dir)
        if elsewhere
        else data.load(task, assets.cache_folder(), progress, data_dir=data_dir, allow_partial="partial" in asked),
        scorers=catalog.scorers(task, lenient=True),
        accepts=frozenset({"audio"}),
        adapter_version=record["adapter_version"],
        limit=record["limit"],
        seed=record["seed"],
        control=controls.of_record(asked.get("audio")),
        frame=record.get("frame"),
    )


def _has_records(folder: Path, unreadable: list[str]) -> bool:
    """Whether the records of a run can be read, which a summary does not tell of an older version's; else says why not."""
    try:
        RunFolder(folder).task_record()
    except UnreadableRun as err:
        unreadable.append(str(err))
        return False
    return True


def leaderboard_command(
    results: Path,
    tasks: list[str],
    format: str,
    ranks: bool = False,
    paths: Sequence[Path] = (),
    output: Path | None = None,
) -> int:
    """Print one table per task, and the spread over prompts; `ranks`: with the interval of every rank. Exit code: 1
    without runs, and where some cannot be read or have other answers than were scored: they are listed, and the others
    ranked."""
    check_file(output)
    if not results.is_dir():
        raise StoreError(f"{results}: no such folder. Give the folder that `diva-bench run --output` wrote to.")
    unreadable: list[str] = []
    found = [s for s in of_tasks(collect(results, unreadable), tasks) if _has_records(s.folder, unreadable)]
    summaries, changed = unchanged.checked(found, results, assets.cache_folder(), unreadable)
    if not summaries and not unreadable:
        say(f"{results}: no runs" + (f" of {', '.join(tasks)}" if tasks else "") + ".", error=True)
        return 1
    between = scored.ranks(summaries, Catalog(list(paths)), Terminal()) if ranks else {}
    tables = leaderboard(summaries, ranks=between)
    spread = families((s.folder for s in summaries), {s.folder: s for s in summaries})
    tables += [spread_table(spread)] if spread else []
    tables += unreadable_table(unreadable)
    write_tables(tables, output, page)
    if format == "md":
        print(page(tables), end="")
    else:
        print_tables(tables, format)
    return 1 if unreadable or changed else 0
