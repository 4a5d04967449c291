"""`compare` and `trio`: what runs that exist say about each other."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.show import check_file, print_tables, write_tables
from diva_bench.cli.stored import stored_runs
from diva_bench.errors import UnreadableRun, UserError
from diva_bench.report.compare import (
    Comparison,
    chosen,
    compare,
    differences_table,
    groups_tables,
    items_table,
    most,
    parts_of,
    scores_table,
    tests_table,
)
from diva_bench.report.runs import unreadable_table
from diva_bench.report.trio import Trio, find, trio, trio_tables
from diva_bench.runs.aligned import sheet
from diva_bench.runs.records import of_tasks, summary_of
from diva_bench.runs.store import RunFolder
from diva_bench.tables import Table

_OTHERS = 34  # columns of a terminal that ids and numbers take in the table of samples


def compare_command(
    runs: list[Path],
    metrics: list[str],
    items: int,
    references: list[str],
    format: str,
    paths: list[Path],
    output: Path | None = None,
    every: bool = False,
) -> int:
    """Print everything there is to say about two or more runs of one task; `every`: as CSV too."""
    if len(runs) < 2:
        raise UserError(f"compare needs two runs or more, got {len(runs)}. Give folders such as results/<task>/<run>.")
    check_file(output)
    held = _references(references)
    runs, unreadable = _readable(runs)
    lineup = sheet(runs, Catalog(paths), Terminal())
    comparison = compare(lineup, chosen(lineup, metrics))
    tables = [
        scores_table(comparison),
        differences_table(comparison),
        tests_table(comparison),
        *groups_tables(comparison, held),
    ]
    if items:
        tables.append(_items(comparison, items, format))
    tables += unreadable_table(unreadable)
    write_tables(tables, output)
    print_tables(tables, format, every)
    return 1 if unreadable else 0


def _readable(runs: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The runs whose files are what they must be, and what is wrong with each of the others. UnreadableRun where fewer than
    two are left."""
    readable, unreadable = [], []
    for path in runs:
        try:
            folder = RunFolder(path)
            if (path / "run.json").is_file():  # that a folder is no run at all is told in other words
                folder.check()
                if (path / "summary.json").is_file() and (path / "scores.jsonl").is_file():
                    summary_of(folder.summary(), path / "summary.json")
                    folder.scores()
            readable.append(path)
        except UnreadableRun as err:
            unreadable.append(str(err))
    if unreadable and len(readable) < 2:
        raise UnreadableRun("\n".join(unreadable))
    return readable, unreadable


def _references(words: Sequence[str]) -> dict[str, str]:
    """accent=usa -> {"accent": "usa"}."""
    references = {}
    for word in words:
        group, equals, value = word.partition("=")
        if not group or not equals or not value:
            raise UserError(f"--reference {word!r} is not GROUP=VALUE, such as accent=usa.")
        references[group] = value
    return references


def _items(comparison: Comparison, count: int, format: str) -> Table:
    """The table of samples; only their answers are kept."""
    parts = parts_of(comparison)
    places = most(parts, count)
    ids = {comparison.sheet.ids[i] for i in places}
    answers = [RunFolder(run.path).answers(ids) for run in comparison.sheet.runs[:2]]
    cut = None if format in ("json", "csv") else 80
    if format == "rich":
        cut = max(shutil.get_terminal_size().columns, 80) - _OTHERS  # three texts side by side: three lines of each
    return items_table(comparison, parts, places, answers, cut)


def trio_command(
    results: Path,
    oracle: str,
    cascade: str,
    models: list[str],
    tasks: list[str],
    format: str,
    paths: list[Path],
    output: Path | None = None,
    every: bool = False,
) -> int:
    """Exit code: 0 every task that has an oracle or a cascade has all runs; 1 some are missing, and named."""
    check_file(output)
    unreadable: list[str] = []
    stored = stored_runs(results, unreadable)
    runs = [s for s in stored if s.plain]
    trials = len(stored) - len(runs)
    selection = of_tasks(stored, tasks)
    runs = [s for s in runs if s in selection]
    catalog, progress = Catalog(paths), Terminal()
    trios: list[Trio] = []
    missing: dict[str, list[str]] = {}
    for task_id in dict.fromkeys(s.task_id for s in runs):
        here = [s for s in runs if s.task_id == task_id]
        for model in models:
            trio_names = (oracle, cascade, model)
            matches = [find(here, name) for name in trio_names]
            absent = [name for name, path in zip(trio_names, matches, strict=True) if path is None]
            if len(absent) == len(trio_names):
                continue
            if absent:
                missing.setdefault(", ".join(absent), []).append(here[0].task)
            else:
                trios.append(trio(sheet([path for path in matches if path], catalog, progress)))
    if not trios:
        raise UserError(
            f"{results}: no task has complete runs of {oracle}, {cascade} and {' or '.join(models)}. "
            f"There are runs of {', '.join(sorted({s.model for s in runs})) or 'nobody'}"
            + (
                f"; {trials} runs with --limit, --audio, another prompt or other settings are not used."
                if trials
                else "."
            )
        )
    tables = [*trio_tables(trios, missing), *unreadable_table(unreadable)]
    write_tables(tables, output)
    print_tables(tables, format, every)
    return 1 if missing or unreadable else 0
