"""`verify`, `bundle` and `export`: check stored runs, pack them for others, and write their scores for other tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diva_bench.cli.options import Commands, DataDir, Format, OnlyTasks, Paths, Report, names
from diva_bench.cli.streams import say
from diva_bench.errors import StoreError, UserError

if TYPE_CHECKING:
    from diva_bench.evaluation.verification import Finding
    from diva_bench.runs.run import Runs
    from diva_bench.tables import Cell, Table

app = Commands()
"""main.py adds these commands to the command line."""


@app.command()
def verify(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, folders of runs, or bundles.")],
    scorer: Annotated[
        list[str] | None,
        typer.Option(metavar="YAML", help="A scorer that `score --scorer` added to the runs; may be repeated."),
    ] = None,
    format: Format = "rich",
    output: Report = None,
    data_dir: DataDir = None,
    path: Paths = None,
) -> None:
    """Check that stored runs are whole and unchanged. Every hash is computed again, and the stored answers are scored again.
    No model is run, and nothing is written to the runs."""
    raise typer.Exit(verify_command(runs, scorer or [], path or [], format, output, data_dir))


@app.command()
def bundle(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, folders of runs, or bundles.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, such as runs.zip.")],
    task: OnlyTasks = None,
    with_audio: Annotated[
        bool, typer.Option("--with-audio", help="Also the clips that the models heard, if the data is on this machine.")
    ] = False,
    with_licensed: Annotated[
        bool,
        typer.Option(
            "--with-licensed",
            help="Also runs of licensed data, with texts, answers and, with --with-audio, clips. The licences forbid to pass "
            "them on.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    data_dir: DataDir = None,
    path: Paths = None,
) -> None:
    """Pack runs into one file for others. `verify`, `leaderboard`, `compare`, `report` and `view` take the file in place of
    a folder."""
    from diva_bench import disk
    from diva_bench.catalog import Catalog
    from diva_bench.cli.progress import Terminal
    from diva_bench.cli.streams import check_file
    from diva_bench.evaluation.bundling import write

    check_file(output, "--output")
    if output.suffix.lower() != ".zip":
        raise UserError(
            f"--output {output}: a bundle is a zip archive. Give a name that ends in .zip, such as runs.zip."
        )
    if output.exists() and not force:
        raise UserError(f"--output {output}: already exists. Give another name, or --force to replace it.")
    folders = of_tasks(run_folders(runs), task or [])
    made = write(
        Catalog(path or []),
        folders,
        output,
        Terminal(),
        audio=with_audio,
        licensed=with_licensed,
        data_dir=data_dir,
    )
    for note in made.notes:
        say(note, error=True)
    counts = f"{made.packed.runs:,} run{'s' * (made.packed.runs != 1)}" + (
        f" and {made.packed.clips:,} clips" if with_audio else ""
    )
    say(f"{output} has {counts} in {disk.size(made.packed.bytes)}. `diva-bench verify {output}` checks it.")


@app.command()
def export(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, folders of runs, or bundles.")],
    to: Annotated[
        Literal["model-index", "tensorboard", "wandb"],
        typer.Option(
            help="model-index: YAML for the model card on the Hub. tensorboard, wandb (Weights & Biases): a folder on this "
            "machine; nothing is sent."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="model-index: a file (default: print it). tensorboard, wandb: a folder."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", callback=names, help="Only these models; several with commas between them."),
    ] = None,
    task: OnlyTasks = None,
    name: Annotated[
        str | None,
        typer.Option(help="model-index: name of the model; wandb: name of the project (default: diva-bench)."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="URL", help="model-index: where the results or a bundle of the runs can be seen."),
    ] = None,
) -> None:
    """Write the scores of stored runs for other tools."""
    raise typer.Exit(export_command(runs, to, output, model or [], task or [], name, source))


def export_command(
    runs: Sequence[Path],
    to: str,
    output: Path | None,
    models: Sequence[str],
    tasks: Sequence[str],
    name: str | None,
    source: str | None,
) -> int:
    """Write the scores of runs.

    Returns:
        Exit code: 1 if a run was left out because it is not complete, not scored or has changed answers.
    """
    from diva_bench.cli.streams import check_file, write_file
    from diva_bench.report import export as exports

    if to != "model-index" and (output is None or output.is_file()):
        raise UserError(f"export --to {to} needs --output FOLDER, a folder to write to.")
    if source is not None and (to != "model-index" or not source.startswith(("https://", "http://"))):
        raise UserError(f"--source {source!r} is not allowed. Allowed: a web address, with --to model-index.")
    kept, notes = exports.chosen(_chosen_runs(runs, models, tasks))
    for note in notes:
        say(note, error=True)
    if to == "model-index":
        if output:
            check_file(output, "--output")
        text = exports.model_index(kept, name, source)
        if output is None:
            print(text, end="")
        else:
            write_file(output, text, "--output")
        if source is None:
            say("There is no source in it: --source URL adds where the results can be seen.", error=True)
    elif to == "tensorboard" and output:
        exports.tensorboard(kept, output)
        say(f"{counted(kept)} in {output}: tensorboard --logdir {output}")
    elif output:
        exports.wandb(kept, output, name or "diva-bench")
        say(f"{counted(kept)} in {output}; nothing was sent. To send them: wandb sync {output}/wandb/offline-run-*")
    return 1 if notes else 0


def counted(runs: Sequence[object]) -> str:
    return f"{len(runs):,} run is" if len(runs) == 1 else f"{len(runs):,} runs are"


def _chosen_runs(paths: Sequence[Path], models: Sequence[str], tasks: Sequence[str]) -> Runs:
    """Runs of some models and tasks; without names of all. Raises UnknownName for a name without runs."""
    from diva_bench.errors import unknown
    from diva_bench.runs.records import of_tasks
    from diva_bench.runs.run import Runs, load_runs

    loaded = load_runs(paths, listed=True)
    for problem in loaded.unreadable:
        say(f"left out: {problem}", error=True)
    known = {run.summary.label for run in loaded} | {run.summary.model for run in loaded}
    for model in models:
        if model not in known:
            raise unknown("model", model, known, "these runs")
    folders = {summary.folder for summary in of_tasks([run.summary for run in loaded], tasks)}
    wanted = [run for run in loaded if not models or {run.summary.label, run.summary.model} & set(models)]
    return Runs([run for run in wanted if run.path in folders], loaded.unreadable)


def of_tasks(folders: Sequence[Path], wanted: Sequence[str]) -> list[Path]:
    """The run folders of some tasks; without names all. Raises UnknownName for a name without runs."""
    from diva_bench.runs import records

    if not wanted:
        return list(folders)
    return [summary.folder for summary in records.of_tasks([records.of_folder(folder) for folder in folders], wanted)]


def verify_command(
    runs: Sequence[Path],
    scorers: Sequence[str],
    paths: Sequence[Path],
    format: str,
    output: Path | None,
    data_dir: Path | None,
) -> int:
    """Print what was checked, what differs and what could not be checked.

    Returns:
        Exit code: 1 if anything differs.
    """
    from diva_bench.catalog import Catalog
    from diva_bench.cli.progress import Terminal
    from diva_bench.cli.results import more_scorers
    from diva_bench.cli.show import check_report, print_tables, write_tables
    from diva_bench.evaluation.verification import verified
    from diva_bench.evaluation.verification import verify as verify_run

    check_report(output)
    catalog, progress, more = Catalog(list(paths)), Terminal(), more_scorers(scorers)
    folders = run_folders(runs)
    shown = progress.track(folders, "verifying", total=len(folders))
    findings = [one for folder in shown for one in verify_run(catalog, folder, more, data_dir, progress)]
    tables = findings_tables(findings, len(folders))
    write_tables(tables, output)
    print_tables(tables, format)
    return 0 if verified(findings) else 1


def run_folders(paths: Sequence[Path]) -> list[Path]:
    """The run folders at some paths, each of which is one or has some.

    Raises:
        StoreError: A folder has no runs.
    """
    from diva_bench.runs.bundle import opened
    from diva_bench.runs.records import folders_in, is_run
    from diva_bench.runs.run import no_folder

    found: dict[Path, None] = {}
    for path in map(opened, paths):
        if not path.is_dir():
            raise no_folder(path)
        here = [path] if is_run(path) else folders_in(path)
        if not here:
            raise StoreError(
                f"{path}: has no runs. Give run folders, or the folder that `diva-bench run --output` wrote to."
            )
        found |= dict.fromkeys(here)
    return list(found)


def findings_tables(findings: Sequence[Finding], runs: int) -> list[Table]:
    """What was checked; errors and differences, if there are any; what could not be checked, if anything."""
    from diva_bench.evaluation.verification import CHECKS
    from diva_bench.tables import Column, Table

    counts = Counter(_outcomes(findings))
    kinds = ("agrees", "in part", "differs", "not checked")
    parts: dict[str, dict[str, None]] = {}
    for one in findings:
        parts.setdefault(one.what, {}).update(dict.fromkeys(one.parts))
    checked: list[list[Cell]] = [
        [what, *(counts[what, kind] or None for kind in kinds), ", ".join(parts.get(what, ()))]
        for what in CHECKS
        if any(counts[what, kind] for kind in kinds)
    ]
    columns = [Column(head) for head in ("check", *kinds, "parts not checked")]
    if not any(parts.values()):
        columns, checked = columns[:-1], [row[:-1] for row in checked]
    plural = "run" if runs == 1 else "runs"
    notes = [
        f"numbers of runs; {runs:,} {plural}: {_verdict(findings)}",
        "hashes show that the files belong together and that the scores are those of the answers, not who made them",
    ]
    tables = [Table("verification", columns, checked, notes)]
    apart = [one for one in findings if one.outcome == "differs"]
    errors: list[list[Cell]] = [
        [str(one.run), one.what.partition(":")[0], one.detail] for one in apart if not (one.stored or one.found)
    ]
    if errors:
        columns = [Column(head) for head in ("run", "check", "what is wrong")]
        tables.append(Table("errors", columns, errors, []))
    differences: list[list[Cell]] = [
        [str(one.run), one.what.partition(":")[0], one.detail, one.stored, one.found]
        for one in apart
        if one.stored or one.found
    ]
    if differences:
        columns = [Column(head) for head in ("run", "check", "what differs", "stored", "computed")]
        tables.append(Table("differences", columns, differences, []))
    alike: dict[tuple[str, str], list[Path]] = {}
    for one in findings:
        if one.outcome == "not checked":
            alike.setdefault((one.what.partition(":")[0], one.detail), []).append(one.run)
    skipped: list[list[Cell]] = [
        [what, why, len(where), str(where[0]) if len(where) < runs else "all"] for (what, why), where in alike.items()
    ]
    if skipped:
        columns = [Column(head) for head in ("check", "why not", "runs", "first run")]
        tables.append(Table("not checked", columns, skipped, []))
    return tables


def _outcomes(findings: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    """(check, outcome) of every check of every run: a check that agrees, but was not made in all its parts, agrees in
    part."""
    outcomes: dict[tuple[Path, str], set[str]] = {}
    for one in findings:
        outcomes.setdefault((one.run, one.what), set()).add(one.outcome)
    for (_, what), found in outcomes.items():
        if "differs" in found:
            yield what, "differs"
        elif "agrees" in found:
            yield what, "in part" if "not checked" in found else "agrees"
        else:
            yield what, "not checked"


def _verdict(findings: Sequence[Finding]) -> str:
    """What differs, and what was not checked: metrics first, then checks that were made for no run or not for all."""
    differ = len({one.run for one in findings if one.outcome == "differs"})
    skipped = [one for one in findings if one.outcome == "not checked"]
    parts = [part for one in skipped for part in one.parts]
    checks = [one.what.partition(":")[0] for one in skipped if not one.parts]
    lacking = ", ".join(dict.fromkeys([*parts, *checks]))
    if not lacking:
        return f"something differs in {differ:,}" if differ else "nothing differs"
    verdict = f"something differs in {differ:,}" if differ else "nothing that was checked differs"
    return f"{verdict}; not checked: {lacking}"
