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
    lined = sheet(runs, Catalog(paths), Terminal())
    found = compare(lined, chosen(lined, metrics))
    tables = [scores_table(found), differences_table(found), tests_table(found), *groups_tables(found, held)]
    if items:
        tables.append(_items(found, items, format))
    tables += unreadable_table(unreadable)
    write_tables(tables, output)
    print_tables(tables, format, every)
    return 1 if unreadable else 0


def _readable(runs: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The runs whose files are what they must be, and what is wrong with each of the others. UnreadableRun where fewer than
    two are left."""
    kept, unreadable = [], []
    for path in runs:
        try:
            folder = RunFolder(path)
            if (path / "run.json").is_file():  # that a folder is no run at all is told in other words
                folder.check()
                if (path / "summary.json").is_file() and (path / "scores.jsonl").is_file():
                    summary_of(folder.summary(), path / "summary.json")
                    folder.scores()
            kept.append(path)
        except UnreadableRun as err:
            unreadable.append(str(err))
    if unreadable and len(kept) < 2:
        raise UnreadableRun("\n".join(unreadable))
    return kept, unreadable


def _references(words: Sequence[str]) -> dict[str, str]:
    """accent=usa -> {"accent": "usa"}."""
    found = {}
    for word in words:
        group, equals, value = word.partition("=")
        if not group or not equals or not value:
            raise UserError(f"--reference {word!r} is not GROUP=VALUE, such as accent=usa.")
        found[group] = value
    return found


def _items(found: Comparison, count: int, format: str) -> Table:
    """The table of samples; only their answers are kept."""
    parts = parts_of(found)
    places = most(parts, count)
    ids = {found.sheet.ids[i] for i in places}
    answers = [RunFolder(run.path).answers(ids) for run in found.sheet.runs[:2]]
    cut = None if format in ("json", "csv") else 80
    if format == "rich":
        cut = max(shutil.get_terminal_size().columns, 80) - _OTHERS  # three texts side by side: three lines of each
    return items_table(found, parts, places, answers, cut)


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
    chosen = of_tasks(stored, tasks)
    runs = [s for s in runs if s in chosen]
    catalog, progress = Catalog(paths), Terminal()
    trios: list[Trio] = []
    missing: dict[str, list[str]] = {}
    for task_id in dict.fromkeys(s.task_id for s in runs):
        here = [s for s in runs if s.task_id == task_id]
        for model in models:
            wanted = (oracle, cascade, model)
            found = [find(here, name) for name in wanted]
            absent = [name for name, path in zip(wanted, found, strict=True) if path is None]
            if len(absent) == len(wanted):
                continue
            if absent:
                missing.setdefault(", ".join(absent), []).append(here[0].task)
            else:
                trios.append(trio(sheet([path for path in found if path], catalog, progress)))
    if not trios:
        raise UserError(
            f"{results}: no task has complete runs of {oracle}, {cascade} and {' or '.join(models)}. "
            f"There are runs of {', '.join(sorted({s.model for s in runs})) or 'nobody'}"
            + (
                f"; {trials} with --limit, --audio, another wording or other settings are not looked at."
                if trials
                else "."
            )
        )
    tables = [*trio_tables(trios, missing), *unreadable_table(unreadable)]
    write_tables(tables, output)
    print_tables(tables, format, every)
    return 1 if missing or unreadable else 0
