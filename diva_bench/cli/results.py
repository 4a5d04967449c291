"""`score` and `leaderboard`: scores and ranks of stored runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.show import check_report, print_table, print_tables, write_tables
from diva_bench.cli.stored import DEFAULT, stored_runs
from diva_bench.cli.streams import say
from diva_bench.errors import OtherQuestion, SpecError, StoreError, UnreadableRun, UserError
from diva_bench.report import published as cited
from diva_bench.report.leaderboard import leaderboard, no_overview, overviews, page, screen, signatures
from diva_bench.report.prompts import families, spread_table
from diva_bench.report.runs import results_table, unreadable_table
from diva_bench.report.speed import no_speed, speed_tables
from diva_bench.runs import aligned
from diva_bench.runs.records import folders_in, of_tasks
from diva_bench.runs.run import Run, Runs
from diva_bench.runs.store import RunFolder
from diva_bench.specs import Json, yamlfile
from diva_bench.specs.published import published
from diva_bench.tables import Cell, Column, Table


def score_command(
    runs: list[Path],
    paths: list[Path],
    scorers: Sequence[str] = (),
    data_dir: Path | None = None,
    *,
    share: bool = False,
) -> int:
    """Score stored answers again, and print the scores.

    Args:
        runs: Run folders, or folders of runs.
        scorers: Additional scorers for this scoring.
        share: See `rescoring.score`.

    Returns:
        Exit code: 1 if a run is incomplete or cannot be read; in a folder of runs also if one cannot be scored.
    """
    from diva_bench.evaluation.rescoring import score

    catalog, progress, more = Catalog(paths), Terminal(), more_scorers(scorers)
    finished: list[Run] = []
    unreadable: list[str] = []
    problems: dict[str, list[Path]] = {}  # an unknown task is one problem for all its runs
    changed = False
    inside = [folder for path in runs for folder in ([] if (path / "run.json").is_file() else folders_in(path))]
    runs = [folder for path in runs for folder in (inside_of(path, inside) or [path])]
    for path in runs:
        try:
            finished.append(score(catalog, path, progress, more, data_dir, share=share))
        except OtherQuestion as err:
            finished.append(_as_stored(RunFolder(path), err))
            progress.note(f"{err} Its stored scores are shown: the current data differ from the data of the run.")
            changed = True
        except UnreadableRun as err:
            if len(runs) == 1:
                raise
            unreadable.append(str(err))
        except UserError as err:
            if path not in inside:
                raise
            problems.setdefault(str(err), []).append(path)
    for problem, places in problems.items():
        named = [str(place) for place in places if str(place) not in problem]
        progress.note(f"not scored: {': '.join([', '.join(named), problem] if named else [problem])}")
    shown = [results_table(finished), *([metrics_table(finished)] if more else [])] if finished else []
    print_tables([*shown, *unreadable_table(unreadable)])
    whole = all(run.summary.complete and not (run.summary.unjudged or run.summary.lost) for run in finished)
    return 0 if whole and not (unreadable or changed or problems) else 1


def inside_of(place: Path, folders: Sequence[Path]) -> list[Path]:
    """The folders that are inside `place`."""
    return [folder for folder in folders if place in folder.parents]


def _as_stored(folder: RunFolder, why: OtherQuestion) -> Run:
    """The run with its stored scores, if its answers have not changed since; else raises `why`."""
    try:
        run = Run.open(folder.path)
        run.scores()
    except StoreError:
        raise why from None
    if run.summary.answers is None:
        raise why
    return run


def more_scorers(texts: Sequence[str]) -> dict[str, Json]:
    """Parse --scorer: name -> settings. Each value is YAML as under a task's `scorers:`; a bare name has no settings."""
    scorers: dict[str, Json] = {}
    for text in texts:
        where = f"--scorer {text!r}"
        value = yamlfile.value(text, where)
        table = {value: {}} if isinstance(value, str) else value
        if not isinstance(table, dict) or not all(isinstance(v, dict | None) for v in table.values()):
            raise SpecError(
                f"{where}: expected a scorer and its settings, such as 'wer' or 'llm_judge: {{model: oracle}}'."
            )
        for name, settings in table.items():
            if name in scorers:
                raise SpecError(
                    f"{where}: scorer {name} is given twice; its metrics have one name. Score twice instead."
                )
            scorers[str(name)] = settings or {}
    return scorers


def metrics_table(finished: Sequence[Run]) -> Table:
    """All metrics of the runs, one row each, including those of `--scorer`."""
    rows: list[list[Cell]] = []
    for run in finished:
        for name, metric in run.summary.metrics.items():
            better = "higher" if metric.higher_is_better else "lower"
            names = (run.summary.task, run.summary.model)
            rows.append([*names, name, metric.score, metric.n, better, metric.corpus])
    columns = [Column("task"), Column("model"), Column("metric"), Column("score [95 %]"), Column("n"), Column("better")]
    notes = ["whole: the metric's own library over all answers together, for metrics that are not a mean over answers"]
    if all(row[-1] is None for row in rows):
        return Table("metrics", columns, [row[:-1] for row in rows], [])
    return Table("metrics", [*columns, Column("whole")], rows, notes)


_BELONGS: Mapping[str, frozenset[str]] = {
    "--details": frozenset(),
    "--ranks": frozenset(),
    "--in-memory": frozenset({"--overview"}),
    "--task": frozenset({"--overview", "--signatures", "--speed", "--published"}),
}
"""Option -> the options for other tables than the ranking that it goes with."""


def check_tables(instead: Mapping[str, bool], more: Mapping[str, bool]) -> None:
    """Check options of `leaderboard`.

    Args:
        instead: Options that print other tables than the ranking, and whether each was given.
        more: As `instead`, for the options in _BELONGS.

    Raises:
        UserError: Two options exclude each other.
    """
    chosen = [name for name, given in instead.items() if given]
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)} print different tables. Give one of {', '.join(instead)}.")
    for name, given in more.items():
        if given and chosen and chosen[0] not in _BELONGS[name]:
            fits = ", ".join(["the default table", *(one for one in instead if one in _BELONGS[name])])
            raise UserError(f"{name} has no effect on {chosen[0]}. Leave one out. {name} goes with {fits}.")


def leaderboard_command(
    results: Path,
    tasks: list[str],
    format: str,
    ranks: bool = False,
    paths: Sequence[Path] = (),
    output: Path | None = None,
    *,
    details: bool = False,
    signed: bool = False,
    overview: bool = False,
    speed: bool = False,
    in_memory: bool = False,
    every: bool = False,
) -> int:
    """Print tasks by models on one screen; with `details`, for chosen tasks, with ranks and in other formats than a terminal's
    one table per task, and the spread over prompts; as CSV one table of all runs.

    Args:
        signed: Only the signatures of the scorers.
        ranks: Also the interval of every rank.
        overview: Only tasks by models.
        speed: Only the speeds.
        in_memory: Also rank models in memory of the Python API.
        every: As CSV all tables.

    Returns:
        Exit code: 1 if there are no runs, or if runs cannot be read or have changed answers; these are listed, and the
            others ranked.
    """
    check_report(output)
    stored = stored_runs(results, listed=True)
    unreadable = stored.unreadable
    summaries = of_tasks([run.summary for run in stored], tasks)
    if not summaries and not unreadable:
        say(f"{results}: no runs" + (f" of {', '.join(tasks)}" if tasks else "") + ".", error=True)
        return 1
    folders = {summary.folder for summary in summaries}
    changed = any(run.changed and run.path in folders for run in stored)
    if in_memory:
        summaries = [summary.admitted() for summary in summaries]
    glance: list[Table] = []
    if signed:
        tables = [signatures(summaries)]
    elif speed:
        tables = speed_tables(Run(s.folder, s) for s in summaries)
    elif overview:
        tables = overviews(summaries)
    else:
        drawn = aligned.drawn(summaries, Catalog(list(paths)), Terminal()) if ranks else {}
        tables = leaderboard(summaries, drawn=drawn)
        spread = families(Run(s.folder, s) for s in summaries)
        tables += [spread_table(spread)] if spread else []
        if format == "rich" and not (details or tasks or ranks):
            glance = [*screen(summaries, len(unreadable)), *cited.at_a_glance(summaries)]
        tables += cited.block(summaries)
    if not tables and not unreadable:
        say(no_speed(results) if speed else no_overview(summaries), error=True)
        return 1
    tables += unreadable_table(unreadable)

    def one() -> Table:
        """The numbers of all runs in one table."""
        return Runs(Run(s.folder, s) for s in summaries).table(every=True)

    alone = not (every or overview or speed or signed)
    write_tables([one()] if alone and output and output.suffix == ".csv" else tables, output, page, every)
    if format == "csv" and alone:
        print_table(one(), format)
        for text in unreadable:
            say(text, error=True)
    elif format == "md":
        print(page(tables), end="")
    else:
        print_tables([*glance, *unreadable_table(unreadable)] if glance else tables, format, every)
    return 1 if unreadable or changed else 0


def published_command(
    results: Path, tasks: list[str], format: str, output: Path | None = None, *, every: bool = False
) -> int:
    """Print the scores that other sources report: on a terminal, without tasks, only what there is; as CSV one table with a row
    for every score. Runs of `results` stand beside them where the protocol is the same; the folder may be missing if it is
    the default one.

    Returns:
        Exit code: 0.
    """
    check_report(output)
    known, runs = published(), _there(results)
    sets = cited.chosen(known, tasks)
    tables = cited.tables(known, sets, [run.summary for run in runs])
    rows = cited.every_score(known, sets)
    write_tables([rows] if output and output.suffix == ".csv" and not every else tables, output, every=every)
    if format == "csv" and not every:
        print_table(rows, format)
    elif format == "rich" and not tasks:
        print_tables([cited.contents(known, sets)], format)
    else:
        print_tables(tables, format, every)
    return 0


def _there(results: Path) -> Runs:
    """The runs of a folder; none if it is the default one, and missing."""
    return stored_runs(results, listed=True) if results.is_dir() or results != DEFAULT else Runs()


def costs_command(
    results: Path, format: str, paths: Sequence[Path] = (), output: Path | None = None, *, every: bool = False
) -> int:
    """Print what trainings needed, of models with runs in `results`, of training records there, and of other sources.

    Returns:
        Exit code: 1 if runs cannot be read.
    """
    from diva_bench.diva.config import PRESETS
    from diva_bench.report.training_cost import recorded, tables, trained

    check_report(output)
    runs = _there(results)
    mine = [*trained(runs, Catalog(list(paths))), *recorded(results)]
    shown = [*tables(published(), mine, PRESETS["paper"]()), *unreadable_table(runs.unreadable)]
    write_tables(shown, output, every=every)
    print_tables(shown, format, every)
    return 1 if runs.unreadable else 0
