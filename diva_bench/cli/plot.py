"""`plot`: plots of stored runs and training records, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diva_bench.cli.options import Commands, OnlyTasks, Paths, names
from diva_bench.cli.streams import say
from diva_bench.errors import UserError, unknown

if TYPE_CHECKING:
    from diva_bench.report.plots.canvas import Plot
    from diva_bench.report.plots.draw import Study

app = Commands()

KINDS: dict[str, str] = {
    "accents": "it needs runs of a task that contrasts a group, such as sdqa, by models that are not baselines",
    "languages": "it needs runs of two or more subsets of a task, such as covost2-de and covost2-ja",
    "forest": "it needs runs of two or more models at one task",
    "confusion": "it needs runs of a task with labels",
    "recogniser": "it needs runs of a cascade, and transcripts",
    "training": "it needs training records with curves, in a folder `training`",
    "compute": "it needs training records of two or more variants, in a folder `training`",
    "noise": "it needs runs with `--audio` and a signal-to-noise ratio, such as `run --audio 10`",
}
"""Kind of plot -> what it is drawn from."""
_OF_TRAININGS = ("training", "compute")


@app.command()
def plot(
    results: Annotated[Path, typer.Argument(help="Folder of runs, or a bundle.")] = Path("results"),
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the plots.")] = Path("plots"),
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            "-k",
            callback=names,
            help="Only these kinds of plots, with commas between them: accents, languages, forest, confusion, recogniser, "
            "training, compute, noise (default: all).",
        ),
    ] = None,
    format: Annotated[Literal["both", "svg", "png"], typer.Option(help="Format of the files.")] = "both",
    task: OnlyTasks = None,
    base: Annotated[
        str | None, typer.Option(help="Model from which differences are shown (default: a trained model).")
    ] = None,
    path: Paths = None,
) -> None:
    """Draw stored runs and training records. The plots are profiles by accent and language, differences, confusion matrices,
    word errors of the recogniser, noise, training. Every title says what the plot shows, with the interval."""
    raise typer.Exit(plot_command(results, output, kind or [], format, task or [], base, path or []))


def plot_command(
    results: Path,
    output: Path,
    kinds: Sequence[str],
    format: str,
    tasks: Sequence[str] = (),
    base: str | None = None,
    paths: Sequence[Path] = (),
) -> int:
    """Draw the plots and print their files and findings.

    Returns:
        Exit code: 1 if nothing could be drawn, or a kind that was asked for could not.
    """
    from diva_bench.report.plots.canvas import FORMATS, check
    from diva_bench.runs.bundle import opened

    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS, "plots")
    check()
    results = opened(results)
    if not results.is_dir():
        raise UserError(f"{results}: no such folder. Give the folder that `diva-bench run --output` wrote to.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise UserError(f"--output {output}: cannot be made ({err.strerror or err}). Give another folder.") from err
    study = _study(results, tasks, base, paths) if any(kind not in _OF_TRAININGS for kind in kinds or KINDS) else None
    lacking = []
    for kind in kinds or KINDS:
        drawn = 0
        for one in _drawn(kind, study, results):
            files = one.save(output, FORMATS if format == "both" else [format])
            say(f"{', '.join(map(str, files))}: {one.finding}")
            drawn += 1
        if not drawn:
            lacking.append(kind)
            say(f"{kind}: nothing to draw; {KINDS[kind]}.", error=True)
    return 1 if len(lacking) == len(kinds or KINDS) or (kinds and lacking) else 0


def _study(results: Path, tasks: Sequence[str], base: str | None, paths: Sequence[Path]) -> Study:
    from diva_bench.catalog import Catalog
    from diva_bench.cli.stored import stored_runs
    from diva_bench.report.plots.draw import Study
    from diva_bench.runs.records import of_tasks

    runs = stored_runs(results)
    folders = {summary.folder for summary in of_tasks([run.summary for run in runs], tasks)}
    return Study([run for run in runs if run.path in folders], Catalog(list(paths)), base)


def _drawn(kind: str, study: Study | None, results: Path) -> Iterator[Plot]:
    from diva_bench.report.plots import draw, training

    if kind in _OF_TRAININGS:
        yield from {"training": training.curves, "compute": training.costs}[kind](results)
    elif study is not None and study.runs:
        ways = {
            "accents": draw.accents,
            "languages": draw.languages,
            "forest": draw.forest,
            "confusion": draw.confusions,
            "recogniser": draw.recogniser,
            "noise": draw.noise,
        }
        yield from ways[kind](study)
