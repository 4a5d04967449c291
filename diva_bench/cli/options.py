"""Options that several commands have, with their names and help texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from typer.core import TyperCommand

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Command(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        typed = self.make_parser(ctx).parse_args(args=list(args))[0]
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            words, values = typed.get(parameter.name), ctx.params.get(parameter.name)
            words, values = (each if isinstance(each, list | tuple) else [each] for each in (words, values))
            for word, value in zip(words, values, strict=False):
                if isinstance(value, Path) and isinstance(word, str) and not word.strip():
                    raise typer.BadParameter(
                        "the path is empty. Give a path, or leave the option out.", param_hint=parameter.opts[0]
                    )
        return rest


class Commands(typer.Typer):
    """Commands that refuse an empty path. Python reads an empty path as the current folder, and an unset shell variable
    must not select that folder."""

    def command(self, *args: Any, **settings: Any) -> Callable[[_Function], _Function]:
        return super().command(*args, **{"cls": _Command, **settings})


def names(words: list[str] | None) -> list[str]:
    """Split arguments such as "a" and "b,c" into names. The path of a file is one name. An empty name is an error."""
    parts = [[word] if Path(word).is_file() else word.split(",") for word in words or ()]
    name_groups = [[name for one in some if (name := one.strip())] for some in parts]
    if not all(name_groups):  # an unset shell variable must not mean "all"
        raise typer.BadParameter("the name is empty. Give a name, or leave the option out.")
    return [name for some in name_groups for name in some]


def _models(incomplete: str) -> list[str]:
    """Shell completion of model names."""
    from diva_bench.catalog import Catalog

    return _completed(incomplete, [entry.spec.name for entry in Catalog().models()])


def _tasks(incomplete: str) -> list[str]:
    """Shell completion of task names."""
    from diva_bench.catalog import Catalog

    catalog = Catalog()
    every = [*catalog.suites(), *(entry.spec.name for entry in catalog.tasks())]
    return _completed(
        incomplete, [*every, *(leaf for task in catalog.suites()["all"] for leaf in catalog.subsets(task))]
    )


def _completed(incomplete: str, every: list[str]) -> list[str]:
    """Completions of the last name in a list with commas."""
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
    Literal["auto", "full", "mini", "mini-v1", "nano"],
    typer.Option(
        "--edition",
        help="Edition of the data. full: the real data; mini: small, included; mini-v1: its smaller first "
        "version; nano: mini data with nano models.",
    ),
]
ModelEdition = Annotated[
    Literal["full", "mini", "nano"] | None,
    typer.Option(
        "--model-edition",
        help="Edition of the models (default: the edition of the data if the model has it, else mini).",
    ),
]
EditionOfModels = Annotated[
    Literal["full", "mini", "nano"] | None,
    typer.Option("--model-edition", "--edition", help="Edition of the models (default: mini if the model has it)."),
]
Results = Annotated[Path, typer.Option("--output", "-o", help="Folder of runs.")]
Limit = Annotated[
    int | None,
    typer.Option(min=1, help="Use only this number of samples; such a run is a trial, separate from full runs."),
]
BatchBudget = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        help="Audio that the encoder reads at once: number of clips times the longest clip, in seconds "
        "(default: the model's).",
    ),
]
BatchRows = Annotated[
    int | None,
    typer.Option(min=1, help="Samples that are answered together; fewer need less memory (default: the model's)."),
]
Prompts = Annotated[
    int,
    typer.Option(
        min=1,
        help="Number of prompt variants, each with its own wording and label order; the first is the task's prompt.",
    ),
]
MaxRequests = Annotated[
    int | None,
    typer.Option(min=1, help="Largest number of requests to servers; the same command later continues the run."),
]
MaxCost = Annotated[
    float | None,
    typer.Option(min=0.0, help="Largest cost of these requests, by the prices in the models' YAML files."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 (default: the model's).")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option(help="Number format; part of a run's identity (default: the model's)."),
]
NumberFormat = Annotated[
    Literal["float32", "bfloat16", "float16"] | None, typer.Option(help="Number format (default: the model's).")
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the full tasks' corpora, or one corpus (default: DIVA_BENCH_DATA)."),
]
Format = Annotated[
    Literal["rich", "md", "markdown", "csv", "latex", "json"],
    typer.Option(
        callback=lambda format: "md" if format == "markdown" else format, help="Output format; markdown is md."
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Also write the tables to this file; its ending sets the format: .md, .csv, .tex, .json or .txt.",
    ),
]
Overview = Annotated[bool, typer.Option("--overview", help="Print only the overview tables, tasks by models.")]
Ranks = Annotated[bool, typer.Option("--ranks", help="Also print the interval of every rank (slower: reads all rows).")]
InMemory = Annotated[
    bool,
    typer.Option("--in-memory", help="Also rank in-memory models of the Python API, whose weights are not hashed."),
]
Details = Annotated[
    bool, typer.Option("--details", help="Print a table for every task, with all metrics; --task prints it for one.")
]
Signatures = Annotated[bool, typer.Option("--signatures", help="Print only the signatures of the scorers.")]
SpeedTables = Annotated[
    bool,
    typer.Option(
        "--speed", help="Print speeds instead: samples/s, RTFx, first answer, peak memory, stages; a table per machine."
    ),
]
TrainingCosts = Annotated[
    bool,
    typer.Option(
        "--compute",
        help="Print what trainings needed instead: hours of audio, examples, operations, device-hours, and the scores; also "
        'those that other sources report, and what "100 times less compute" rests on.',
    ),
]
PublishedScores = Annotated[
    bool,
    typer.Option(
        "--published",
        help="Print the scores that other sources report instead, each with its source; runs stand beside them where data, "
        "split, prompt and metric are the same. Without --task, a terminal shows what there is.",
    ),
]
AllTables = Annotated[
    bool,
    typer.Option(
        "--all-tables", help="With --format csv: print every table, not only the first, with blank lines between them."
    ),
]
Paths = Annotated[
    list[Path] | None, typer.Option("--path", help="Folder of your own task and model YAML files; may be repeated.")
]
WeightsFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--weights-file", help="A weights file that you already have; it is identified by its sha256. May be repeated."
    ),
]
WeightsFolders = Annotated[
    list[str] | None,
    typer.Option(
        "--weights-folder",
        metavar="NAME=FOLDER",
        help="Use a folder for weights that are otherwise fetched from the Hub; NAME is their name or owner/name. May be "
        "repeated.",
    ),
]
