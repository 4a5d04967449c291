"""`score` and `leaderboard`: what can be said of runs that are on disk."""

from __future__ import annotations

import sys
from pathlib import Path

from diva_bench import assets, data, judge
from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.show import print_table
from diva_bench.errors import StoreError
from diva_bench.report.leaderboard import collect, leaderboard, page
from diva_bench.report.runs import Finished, results_table
from diva_bench.runner import Job
from diva_bench.specs import ModelSpec
from diva_bench.store import RunFolder


def score_command(runs: list[Path], paths: list[Path]) -> int:
    """Measure, reduce and print again what the runs' answers are worth."""
    catalog, progress = Catalog(paths), Terminal()
    finished = []
    for path in runs:
        folder = RunFolder(path)
        job = job_of(catalog, folder, progress)
        with folder:
            finished.append(Finished(judge.judge(job, folder, progress), path, folder.timing()))
    print_table(results_table(finished))
    return 0 if all(f.summary["complete"] for f in finished) else 1


def job_of(catalog: Catalog, folder: RunFolder, progress: Terminal) -> Job:
    """The Job a stored run came from, with the scorers the catalog has now.

    Raises StoreError where the task or its data have changed since, in anything that would have changed the question.
    """
    record, asked = folder.record(), folder.task_record()
    task = catalog.task(asked["name"], asked["edition"])
    job = Job(
        task=task,
        model=ModelSpec.model_validate(record["model"]),
        dataset=data.load(task, assets.cache_folder(), progress),
        scorers=catalog.scorers(task),
        accepts=frozenset({"audio"}),
        adapter_version=record["adapter_version"],
        limit=record["limit"],
        seed=record["seed"],
    )
    if job.task_record["hash"] != asked["hash"]:
        changed = sorted(k for k, v in job.task_record.items() if k not in ("id", "hash") and asked.get(k) != v)
        raise StoreError(
            f"{folder.path}: task {task.name} has changed since this was asked ({', '.join(changed)}); "
            "answers to another question cannot be scored. Run the model again."
        )
    return job


def leaderboard_command(results: Path, tasks: list[str], format: str) -> int:
    if not results.is_dir():
        raise StoreError(f"{results}: no such folder. Give the folder that `diva-bench run --output` wrote to.")
    summaries = collect(results)
    if tasks:
        summaries = [s for s in summaries if any(s.task == t or s.task.startswith(f"{t}-") for t in tasks)]
    if not summaries:
        print(f"{results}: no runs" + (f" of {', '.join(tasks)}" if tasks else "") + ".", file=sys.stderr)
        return 1
    tables = leaderboard(summaries)
    if format == "md":
        print(page(tables), end="")
        return 0
    for table in tables:
        print_table(table, format)
        print()
    return 0
