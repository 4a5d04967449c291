"""`report` and `view`: stored runs as pages for a browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diva_bench.cli.options import Commands, OnlyTasks, Paths
from diva_bench.cli.streams import say
from diva_bench.errors import StoreError, UserError

if TYPE_CHECKING:
    from diva_bench.runs.run import Runs

app = Commands()


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Folder of runs, or a bundle.")] = Path("results"),
    html: Annotated[
        Path | None, typer.Option(help="Folder for the pages; a new or empty one, or that of an earlier report.")
    ] = None,
    single_file: Annotated[
        Path | None, typer.Option("--single-file", help="Write everything into this one HTML file, for a mail.")
    ] = None,
    task: OnlyTasks = None,
    with_licensed: Annotated[
        bool,
        typer.Option(
            "--with-licensed",
            help="Also texts and sound of licensed data. For your own use: the licences forbid to pass them on.",
        ),
    ] = False,
    audio_mb: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Limit of the sound in megabytes (default: 500; with --single-file 20); 0: no sound."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Model from which differences are shown (default: a trained model).")
    ] = None,
    path: Paths = None,
) -> None:
    """Write runs as pages for a browser. The pages are a leaderboard, samples with sound and all answers, comparisons. No
    network is needed."""
    raise typer.Exit(
        report_command(
            results, html, single_file, task or [], path or [], licensed=with_licensed, audio_mb=audio_mb, base=base
        )
    )


@app.command()
def view(
    results: Annotated[Path, typer.Argument(help="Folder of runs, or a bundle.")] = Path("results"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0: any free one.")] = 8710,
    task: OnlyTasks = None,
    with_licensed: Annotated[
        bool, typer.Option("--with-licensed", help="Also texts and sound of licensed data, for your own use.")
    ] = False,
    base: Annotated[
        str | None, typer.Option(help="Model from which differences are shown (default: a trained model).")
    ] = None,
    path: Paths = None,
) -> None:
    """Serve the pages of `report` on this machine alone. They are up to date while runs go on. Ctrl-C stops it."""
    from diva_bench.report.html.server import HOST, serving
    from diva_bench.report.html.site import Settings
    from diva_bench.runs.run import load_runs

    settings = Settings(with_licensed, float("inf"), base, live=True, paths=tuple(path or ()))
    chosen(results, task or [])  # says which folder it is, once
    with serving(lambda: _selected(load_runs([results]), task or []), results, settings, port) as server:
        say(f"http://{HOST}:{server.server_port}/ shows {results}. Ctrl-C stops it.")
        try:
            server.serve_forever()
        except KeyboardInterrupt as err:
            err.add_note("the pages are no longer served; the runs are as they were")
            raise


def report_command(
    results: Path,
    html: Path | None,
    single: Path | None,
    tasks: Sequence[str],
    paths: Sequence[Path],
    *,
    licensed: bool = False,
    audio_mb: float | None = None,
    base: str | None = None,
) -> int:
    """Write the report.

    Args:
        html: The folder of pages.
        single: The one HTML file.
        audio_mb: Limit of the sound, in megabytes; None: AUDIO_MB in a folder, SINGLE_MB in a file.

    Returns:
        Exit code: 1 if runs cannot be read or have changed answers; the report names them.
    """
    from diva_bench.report.html.site import AUDIO_MB, SINGLE_MB, Settings, single_file, write_folder

    if html is None and single is None:
        raise UserError("report needs --html FOLDER, or --single-file FILE.")
    from diva_bench import disk
    from diva_bench.cli.progress import Terminal

    runs = chosen(results, tasks)
    if html is not None:
        settings = Settings(licensed, (AUDIO_MB if audio_mb is None else audio_mb) * 1e6, base, paths=tuple(paths))
        _say(write_folder(runs, html, settings, Terminal()), html / "index.html")
    if single is not None:
        settings = Settings(licensed, (SINGLE_MB if audio_mb is None else audio_mb) * 1e6, base, paths=tuple(paths))
        content, notes = single_file(runs, settings, Terminal())
        try:
            single.write_bytes(content)
        except OSError as err:
            raise StoreError(f"{single}: cannot be written ({disk.reason(err)}). Give another file.") from err
        _say([*notes, f"{single} has {disk.size(len(content))}."], single)
    for run in runs:
        if run.changed:
            say(f"{run.path}: no scores in the pages: {run.summary.reason}", error=True)
    return 1 if runs.unreadable or any(run.changed for run in runs) else 0


def chosen(results: Path, tasks: Sequence[str]) -> Runs:
    """The runs of some tasks of a folder; without names of all. Raises UserError if there are none."""
    from diva_bench.cli.stored import stored_runs

    runs = stored_runs(results)
    if not runs:
        raise UserError(
            f"{results}: no runs that can be read. Give the folder that `diva-bench run --output` wrote to."
        )
    return _selected(runs, tasks)


def _selected(runs: Runs, tasks: Sequence[str]) -> Runs:
    from diva_bench.runs.records import of_tasks
    from diva_bench.runs.run import Runs

    folders = {summary.folder for summary in of_tasks([run.summary for run in runs], tasks)}
    return Runs([run for run in runs if run.path in folders], runs.unreadable)


def _say(notes: Sequence[str], place: Path) -> None:
    for note in notes:
        say(note, error=True)
    say(f"Open {place} in a browser.")
