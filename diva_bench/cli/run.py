"""`diva-bench run`: call the evaluation, and print the tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from diva_bench import provenance
from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal, amount
from diva_bench.cli.show import print_tables
from diva_bench.cli.streams import say
from diva_bench.errors import StoreError
from diva_bench.evaluation.jobs import Settings, framed, prepare, ready, run_jobs, shard_of_process
from diva_bench.printable import duration
from diva_bench.report.controls import listening_table
from diva_bench.report.prompts import families, spread_table, wordings_table
from diva_bench.report.runs import results_table
from diva_bench.runs.runner import Job
from diva_bench.runs.store import RunFolder
from diva_bench.server.budget import estimated
from diva_bench.specs import AssetSpec, prompt
from diva_bench.weights import assets
from diva_bench.weights.folders import State


def run_command(
    models: Sequence[str], tasks: Sequence[str], settings: Settings, paths: Sequence[Path] = (), dry_run: bool = False
) -> int:
    """Exit code: 0 all answered; 1 something is missing or faulty, and the output says so."""
    progress, output = Terminal(), settings.output
    shard = shard_of_process(os.environ)
    catalog = Catalog(paths)
    jobs = prepare(catalog, models, tasks, settings, progress, command=provenance.command_line(sys.argv))
    if dry_run:
        return _dry_run(catalog, framed(catalog, jobs), output, progress)
    jobs = ready(catalog, jobs, output, progress)
    runs = run_jobs(catalog, jobs, output, progress, shard)
    if runs is None:
        return 0  # failures are in the run folder, and the first process reports them
    tables = [results_table(runs)]
    if settings.prompts > 1:
        variant_families = families(runs)
        tables += [wordings_table(variant_families), spread_table(variant_families)]
    if settings.audio:
        tables.append(listening_table(jobs, output))
    print_tables(tables)
    return 0 if all(run.summary.complete and not run.summary.data_faults for run in runs) else 1


# ---------------------------------------------------------------- --dry-run


def _left(asset: AssetSpec, state: State) -> str:
    """What is left to do for weights that are not ready."""
    if state.status == "not hashed":
        return f"its files are here ({amount(state.disk_bytes, 'bytes')}) and are hashed once"
    count = asset.bytes or asset.download_bytes
    return f"{amount(count, 'bytes')} to fetch" if count else f"to fetch from {asset.hub or asset.folder}"


def _dry_run(catalog: Catalog, jobs: Sequence[Job], output: Path, progress: Terminal) -> int:
    """Print what would be run, its size, the estimated time, and what is missing. Nothing is written or downloaded."""
    for job in jobs:
        path = job.find(output)
        statuses = RunFolder(path).statuses() if path and path.is_dir() else {}
        try:
            job.check_former(output)
        except StoreError as err:
            progress.note(str(err))
        done = sum(statuses.get(s.id) in ("ok", "unsupported") for s in job.samples)
        seconds = sum(s.seconds for s in job.samples)
        say(f"{job.title}: {len(job.samples)} samples, {duration(seconds)} of audio, {done} answered")
        say(f"  time:   {_estimate(job, output, len(job.samples) - done)}")
        left = [s for s in job.samples if statuses.get(s.id) not in ("ok", "unsupported")]
        asked = ((prompt.build(job.task, s, job.adapter_inputs), s.seconds) for s in left)
        if costs := estimated(job.model, asked) if left else "":
            say(f"  server: {costs}")
        say(f"  folder: {path or f'in {job.task_path(output)}; its name is known when the weights are here'}")
        request = prompt.build(job.task, job.samples[0], job.adapter_inputs)
        say(f"  prompt: {request.prompt}")
        if job.task.variant and job.task.choices:
            say(f"  labels: {', '.join(job.task.choices)}")
        for fault in job.dataset.faults:
            say(f"  left out: {fault.id}: {fault.reason}")
    missing = catalog.missing([job.model for job in jobs])
    for asset in missing:
        say(f"missing: weights {asset.name}, {_left(asset, assets.state(asset, catalog.home(asset)))}")
    if not missing:
        say("missing: nothing")
    return 0


def _estimate(job: Job, results: Path, left: int) -> str:
    """Time left, estimated from earlier runs of the same model in the same results folder; or that it is unknown."""
    rows, wall = 0, 0.0
    for run in results.glob(f"{job.task.name}-*/{job.model.name}-*"):
        for line in RunFolder(run).timing():
            rows, wall = rows + line["rows"], wall + line["wall"]
    if left == 0:
        return "nothing left to run"
    return (
        f"about {duration(left * wall / rows)}"
        if rows and wall
        else "unknown: no earlier run of this model in this folder"
    )
