"""Options that several commands have, each with its names and its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def names(words: list[str] | None) -> list[str]:
    """The names in words such as "a" and "b,c"; the path of a file is one, whatever is in it."""
    found = [[word] if Path(word).is_file() else word.split(",") for word in words or ()]
    return [name for some in found for one in some if (name := one.strip())]


def _models(incomplete: str) -> list[str]:
    """For the shell's completion."""
    from diva_bench.catalog import Catalog

    return _completed(incomplete, [found.spec.name for found in Catalog().models()])


def _tasks(incomplete: str) -> list[str]:
    """For the shell's completion."""
    from diva_bench.catalog import Catalog

    catalog = Catalog()
    every = [*catalog.suites(), *(found.spec.name for found in catalog.tasks())]
    return _completed(
        incomplete, [*every, *(leaf for task in catalog.suites()["all"] for leaf in catalog.subsets(task))]
    )


def _completed(incomplete: str, every: list[str]) -> list[str]:
    """The names that a word may become, of which the last one after a comma is not whole yet."""
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in dict.fromkeys(every) if name.startswith(last)]


Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        callback=names,
        autocompletion=_models,
        help="Model name or YAML file; several with commas between them, or repeat the option.",
    ),
]
Tasks = Annotated[
    list[str],
    typer.Option(
        "--task",
        "-t",
        callback=names,
        autocompletion=_tasks,
        help="Task, subset, suite (emotion, qa, all, ...) or YAML file; several with commas between them.",
    ),
]
OnlyTasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        "-t",
        callback=names,
        autocompletion=_tasks,
        help="Only these tasks; several with commas between them.",
    ),
]
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
AllTables = Annotated[
    bool,
    typer.Option("--all-tables", help="With --format csv: every table, not only the first; a blank line between them."),
]
Paths = Annotated[
    list[Path] | None, typer.Option("--path", help="Folder of your own task and model YAML files; may be repeated.")
]
