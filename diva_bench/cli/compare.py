"""`compare` and `trio`: tables that compare stored runs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.show import check_report, print_tables, write_tables
from diva_bench.cli.stored import stored_runs
from diva_bench.errors import UnknownName, UnreadableRun, UserError, nearest, unknown
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
from diva_bench.report.gap_attribution import GapAttribution, attribute, by_group, find, gap_tables
from diva_bench.report.runs import unreadable_table
from diva_bench.runs.aligned import sheet
from diva_bench.runs.bundle import opened
from diva_bench.runs.records import folders_in, of_tasks
from diva_bench.runs.run import Run, Runs
from diva_bench.tables import Table

_OTHERS = 34  # characters that ids and numbers take in the table of samples


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
    """Print all comparisons of two or more runs of one task. `runs`: run folders, or a bundle for the runs in it.
    `every`: all tables, as CSV too."""
    runs = [folder for path in runs for folder in (folders_in(opened(path)) if path.is_file() else [path])]
    if len(runs) < 2:
        raise UserError(f"compare needs two runs or more, got {len(runs)}. Give folders such as results/<task>/<run>.")
    check_report(output)
    references_by_group = _references(references)
    readable = _readable(runs)
    lineup = sheet(readable, Catalog(paths), Terminal())
    comparison = compare(lineup, chosen(lineup, metrics))
    tables = [
        scores_table(comparison),
        differences_table(comparison),
        tests_table(comparison),
        *groups_tables(comparison, references_by_group),
    ]
    if items:
        tables.append(_items(comparison, items, format))
    tables += unreadable_table(readable.unreadable)
    write_tables(tables, output, every=every)
    print_tables(tables, format, every)
    return 1 if readable.unreadable else 0


def _readable(paths: Sequence[Path]) -> Runs:
    """The runs that can be read; `unreadable` has the faults of the others. Raises UnreadableRun if fewer than two are
    left."""
    runs = Runs()
    for path in paths:
        try:
            run = Run.open(path)
            if not run.gap:
                run.folder.scores()
            runs.append(run)
        except UnreadableRun as err:
            runs.unreadable.append(str(err))
    if runs.unreadable and len(runs) < 2:
        raise UnreadableRun("\n".join(dict.fromkeys(runs.unreadable)))
    return runs


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
    """The table of samples. In a terminal, texts are cut to fit."""
    parts = parts_of(comparison)
    places = most(parts, count)
    ids = {comparison.sheet.ids[i] for i in places}
    answers = [run.folder.answers(ids) for run in comparison.sheet.runs[:2]]
    cut = None if format in ("json", "csv") else 80
    if format == "rich":
        cut = (
            max(shutil.get_terminal_size().columns, 80) - _OTHERS
        )  # three texts side by side, at most three lines of each
    return items_table(comparison, parts, places, answers, cut)


def gap_attribution_command(
    results: Path,
    oracle: str,
    cascade: str,
    models: list[str],
    tasks: list[str],
    format: str,
    paths: list[Path],
    output: Path | None = None,
    every: bool = False,
    by: str | None = None,
) -> int:
    """`by`: a group; every task that has it also gets a row for each value.

    Exit code: 0 every task with an oracle or a cascade has all three runs; 1 some runs are missing, and the output
    names them."""
    check_report(output)
    stored = stored_runs(results, listed=True)
    runs = [run for run in stored if run.summary.plain]
    trials = len(stored) - len(runs)
    named = {summary.task_id for summary in of_tasks([run.summary for run in stored], tasks)}
    runs = [run for run in runs if run.summary.task_id in named]
    _check_roles(results, runs, oracle, cascade, models)
    catalog, progress = Catalog(paths), Terminal()
    attributions: list[GapAttribution] = []
    missing: dict[str, list[str]] = {}
    groups: dict[str, None] = {}
    for task_id in dict.fromkeys(run.summary.task_id for run in runs):
        here = [run for run in runs if run.summary.task_id == task_id]
        for model in models:
            roles = (oracle, cascade, model)
            matches = [find(here, name) for name in roles]
            absent = [name for name, run in zip(roles, matches, strict=True) if run is None]
            if len(absent) == len(roles):
                continue
            if absent:
                missing.setdefault(", ".join(absent), []).append(here[0].task)
            else:
                lined_up = sheet([run for run in matches if run], catalog, progress)
                attributions.append(attribute(lined_up))
                groups |= dict.fromkeys(lined_up.groups)
                attributions += by_group(lined_up, by) if by is not None and by in lined_up.groups else []
    if not attributions:
        raise UserError(
            f"{results}: no task has complete runs of {oracle}, {cascade} and {' or '.join(models)}. "
            f"There are runs of {', '.join(sorted({run.model for run in runs})) or 'no model'}"
            + (
                f"; {trials} runs with --limit, --audio, another prompt or other settings are not used."
                if trials
                else "."
            )
            + f" Run what is missing: diva-bench run -m {oracle},{cascade},{','.join(models)} -t TASK"
        )
    if by is not None and by not in groups:
        there = ", ".join(groups) or "none"
        raise UnknownName(f"no task of these runs has the group {by!r}. Their groups: {there}.{nearest(by, groups)}")
    split = {one.task for one in attributions if one.group}
    without = [one.task for one in attributions if one.task not in split] if by is not None else []
    notes = [f"without the group {by}: {', '.join(dict.fromkeys(without))}"] if without else []
    tables: list[Table] = []
    for edition in dict.fromkeys(one.edition for one in attributions):  # each is a family of its own for Holm
        some = [one for one in attributions if one.edition == edition]
        tables += gap_tables(some, *(() if tables else (missing, notes)))
    tables += unreadable_table(stored.unreadable)
    write_tables(tables, output, every=every)
    print_tables(tables, format, every)
    return 1 if missing or stored.unreadable else 0


def _check_roles(results: Path, runs: Sequence[Run], oracle: str, cascade: str, models: Sequence[str]) -> None:
    """Raise UserError for a model in two roles, and UnknownName for a role without any run. Where one of several models has
    runs, the table notes the others."""
    for model in models:
        if model in (oracle, cascade):
            role = "oracle" if model == oracle else "cascade"
            raise UserError(
                f"--model {model}: {model} already is the {role} of this table. Name an end-to-end model, such as diva, or "
                f"another {role} with --{role}."
            )
    there = {name for run in runs for name in (run.model, run.summary.label, run.summary.run_id)}
    known = any(model in there for model in models)
    for name in (oracle, cascade, *(() if known else models)) if runs else ():
        if name not in there:
            raise unknown("model", name, {run.summary.label for run in runs}, f"the runs in {results}")
