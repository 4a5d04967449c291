"""Options that several commands have, each with its names and its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Models = Annotated[list[str], typer.Option("--model", "-m", help="Model name or YAML file; may be repeated.")]
Tasks = Annotated[
    list[str], typer.Option("--task", "-t", help="Task, subset, suite (emotion, qa, all, ...) or YAML file.")
]
OnlyTasks = Annotated[list[str] | None, typer.Option("--task", "-t", help="Only these tasks.")]
Edition = Annotated[
    Literal["auto", "full", "mini", "nano"],
    typer.Option(
        "--edition", help="Of the data. full: the real data; mini: small, embedded; nano: mini, asked of nano models."
    ),
]
ModelEdition = Annotated[
    Literal["full", "mini", "nano"] | None,
    typer.Option("--model-edition", help="Of the models (default: that of the data where they have it, else mini)."),
]
Results = Annotated[Path, typer.Option("--output", "-o", help="Where runs are kept.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Ask only so many samples; a run of its own.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 (default: the model's).")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option(help="Number format; part of a run's identity (default: the model's)."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the full tasks' corpora, or one corpus (default: DIVA_BENCH_DATA)."),
]
Format = Annotated[Literal["rich", "md", "csv", "latex", "json"], typer.Option(help="How to print it.")]
Report = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Also write the tables to this file, in the format that its ending names: .md, .csv, .tex, .json or .txt.",
    ),
]
Paths = Annotated[
    list[Path] | None, typer.Option("--path", help="Folder of your own task and model YAML files; may be repeated.")
]
