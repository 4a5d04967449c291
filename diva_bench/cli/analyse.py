"""Commands for stored runs: compare, trio, diagnose, leaks, import. This module only parses, as main.py does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from diva_bench.cli.options import AllTables, Commands, DataDir, Format, OnlyTasks, Paths, Report, Results, Tasks, names

app = Commands()
"""main.py adds these commands to the command line."""


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Two or more run folders of one task: results/<task>/<run>; or a bundle."),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare only this metric; may be repeated (default: with two runs all metrics, with more the primary one)."
        ),
    ] = None,
    items: Annotated[int, typer.Option(min=0, help="Number of samples with the largest differences to show.")] = 10,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP=VALUE",
            help="Reference value of a group, with which its other values are compared: accent=usa.",
        ),
    ] = None,
    format: Format = "rich",
    output: Report = None,
    all_tables: AllTables = False,
    path: Paths = None,
) -> None:
    """Compare runs of one task sample by sample. The tables have differences, intervals, tests, groups, and the samples with
    the largest differences."""
    from diva_bench.cli.compare import compare_command

    raise typer.Exit(
        compare_command(runs, metric or [], items, reference or [], format, path or [], output, every=all_tables)
    )


@app.command()
def trio(
    results: Annotated[Path, typer.Argument(help="Folder of runs.")] = Path("results"),
    oracle: Annotated[str, typer.Option(help="The model that gets the gold transcript.")] = "oracle",
    cascade: Annotated[str, typer.Option(help="The model that gets the transcript of a recogniser.")] = "cascade",
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            callback=names,
            help="The end-to-end model (default: diva); several with commas between them.",
        ),
    ] = None,
    task: OnlyTasks = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="GROUP", help="Add a row for each value of this group (language, accent)."),
    ] = None,
    format: Format = "rich",
    output: Report = None,
    all_tables: AllTables = False,
    path: Paths = None,
) -> None:
    """Attribute the gap between the oracle and an end-to-end model.

    The gap has two parts: what the recogniser of the cascade loses, and what the end-to-end model gains or loses compared
    with the cascade."""
    from diva_bench.cli.compare import gap_attribution_command

    models = model or ["diva"]
    raise typer.Exit(
        gap_attribution_command(
            results, oracle, cascade, models, task or [], format, path or [], output, every=all_tables, by=by
        )
    )


@app.command(name="import")
def import_(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files of answers; several files are parts of one set. {subset} in a name stands for every subset of the task."
        ),
    ] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="The task or subset that was answered.")] = None,
    model_name: Annotated[
        str | None, typer.Option("--model-name", "-n", help="Name of the system that gave the answers.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Instead of FILES: a csv or jsonl file with one row per set of answers: file, task, model_name, and "
                "any of the options below by name (model_name, data_dir, ...). Paths are relative to it; all sets are "
                "imported, or none."
            )
        ),
    ] = None,
    format: Annotated[
        Literal["auto", "jsonl", "csv", "diva-eval", "lmms-eval", "lm-eval", "voicebench", "audiobench", "inspect"],
        typer.Option(help="auto: detected from the content."),
    ] = "auto",
    columns: Annotated[
        str | None,
        typer.Option(metavar="ROLE=NAME,...", help="For jsonl and csv: the columns, as id=NAME,text=NAME,score=NAME."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT=CHOICE,...", help="Label in the file = label of the task: yes=sarcastic,no=sincere."
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Which answer to use where there are several: a filter of lm-eval, an epoch of inspect."),
    ] = None,
    top: Annotated[
        Literal["1", "100"] | None,
        typer.Option(help="Score of a perfect answer in the file (default: as the task or format says)."),
    ] = None,
    errors: Annotated[
        Literal["wrong", "drop"] | None,
        typer.Option(
            help="Rank a run although answers failed in the other system. wrong: score them as empty answers; drop: leave them "
            "out; every table says so (default: such a run is not ranked)."
        ),
    ] = None,
    gold: Annotated[
        bool,
        typer.Option("--gold/--no-gold", help="--no-gold: use no gold labels, and keep only the scores of the file."),
    ] = True,
    clusters: Annotated[
        Path | None,
        typer.Option(help="With --no-gold: csv or jsonl with id and cluster (default: every id is its own cluster)."),
    ] = None,
    data_dir: DataDir = None,
    edition: Annotated[
        Literal["full", "mini", "mini-v1"], typer.Option("--edition", help="Edition of the task.")
    ] = "full",
    output: Results = Path("results"),
    path: Paths = None,
) -> None:
    """Import answers of another system or harness as a run.

    It can be scored, ranked and compared like every other run."""
    from diva_bench.cli.import_ import import_all
    from diva_bench.cli.manifest import entries
    from diva_bench.errors import UserError
    from diva_bench.evaluation.importing import Import

    if bool(files) == bool(manifest):
        raise UserError("import takes FILES with --task and --model-name, or --manifest FILE; give one of the two.")
    if files and not (task and model_name):
        raise UserError("import needs --task and --model-name.")
    options = Import(
        files=files or [],
        task=task or "",
        model_name=model_name or "",
        format=format,
        columns=columns,
        labels=labels,
        only=only,
        top=int(top) if top else None,
        errors=errors,
        edition=edition,
        data_dir=data_dir,
        gold=gold,
        clusters=clusters,
        output=output,
    )
    rows = entries(manifest, options) if manifest else [("", options)]
    raise typer.Exit(import_all(rows, path or []))


@app.command()
def diagnose(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders: results/<task>/<run>; also give the run of an oracle, if there is one."),
    ],
    examples: Annotated[int, typer.Option(min=0, help="Number of example answers for every sign.")] = 3,
    data_dir: DataDir = None,
    format: Format = "rich",
    output: Report = None,
    path: Paths = None,
) -> None:
    """Print which signs of failure stored answers show. Such signs are a wrong language, transcripts, loops, unused audio."""
    from diva_bench.cli.diagnose import diagnose_command

    raise typer.Exit(diagnose_command(runs, examples, format, path or [], data_dir, output))


@app.command()
def leaks(
    train: Annotated[
        list[str],
        typer.Option(help="Training data, as for train --data: any form of data, or hub:owner/name; may be repeated."),
    ],
    task: Tasks,
    edition: Annotated[
        Literal["auto", "full", "mini", "mini-v1"],
        typer.Option("--edition", help="auto: mini, or full with --data-dir."),
    ] = "auto",
    data_dir: DataDir = None,
    text_only: Annotated[bool, typer.Option("--text-only", help="Compare only transcripts; decode no audio.")] = False,
    drop_list: Annotated[
        Path | None,
        typer.Option(
            "--drop-list",
            help="Write the training rows to remove to this file, one per line, with the id of the row first.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write the whole report to this file, as JSON."),
    ] = None,
    format: Format = "rich",
    path: Paths = None,
) -> None:
    """Find samples of tasks in training data. They are found by file, sound and words. The exit code is 1 if there are any."""
    from diva_bench.cli.contamination import contamination_command

    raise typer.Exit(
        contamination_command(
            train,
            task,
            edition=edition,
            data_dir=data_dir,
            text_only=text_only,
            drop_list=drop_list,
            output=output,
            format=format,
            paths=path or [],
        )
    )
