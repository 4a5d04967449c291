"""`new task`: write a task file for the user's data, and print the guesses. `new adapter`: write a package with an adapter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diva_bench.cli.options import Commands, Paths
from diva_bench.cli.streams import check_file, say, write_file
from diva_bench.errors import UserError
from diva_bench.printable import visible

if TYPE_CHECKING:
    from diva_bench.catalog import Catalog
    from diva_bench.specs import Speech

app = Commands(
    no_args_is_help=True, rich_markup_mode=None, help="Write a task for your data, or a package for your model."
)


@app.callback()
def _root() -> None:
    """Write a task for your data, or a package for your model."""


@app.command()
def task(
    data: Annotated[
        Path,
        typer.Argument(
            help="CSV, JSON lines, AudioFolder, save_to_disk, Common Voice, Kaldi, NeMo, Lhotse or parquet: file or folder."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the task (default: the name of the data).")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write (default: NAME.yaml).")] = None,
    reference: Annotated[str | None, typer.Option(help="Column with the accepted answer.")] = None,
    split: Annotated[str | None, typer.Option(help="Split, where the data has several.")] = None,
    speech: Annotated[
        Literal["synthetic", "human"] | None, typer.Option(help="Whether people or synthetic voices speak.")
    ] = None,
    path: Paths = None,
) -> None:
    """Write a task file for your own data, which can be run at once. The guesses are printed: check them."""
    raise typer.Exit(
        new_task(data, name=name, output=output, reference=reference, split=split, speech=speech, paths=path or [])
    )


@app.command()
def adapter(
    name: Annotated[str, typer.Argument(help="Name of the adapter and its model: small letters, digits, hyphens.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write (default: diva-bench-NAME).")
    ] = None,
    path: Paths = None,
) -> None:
    """Write an installable package for your own model. It has an adapter, a model YAML and a test, to be filled in."""
    from diva_bench.cli.adapter_package import new_adapter

    new_adapter(name, output or Path(f"diva-bench-{name}"), path or [])


def new_task(
    data: Path,
    *,
    name: str | None = None,
    output: Path | None = None,
    reference: str | None = None,
    split: str | None = None,
    speech: Speech | None = None,
    paths: Sequence[Path] = (),
) -> int:
    """Exit code: 0 the file passes `validate`; 1 the file is written but does not pass, and the output says why."""
    from diva_bench.catalog import Catalog
    from diva_bench.cli.validate import validate_command
    from diva_bench.data.detect import detect
    from diva_bench.data.draft import draft, name_of

    form = detect(data)
    name = name or _free(Catalog(paths), name_of(data.resolve()))
    file = output or Path(f"{name}.yaml")
    if file.exists():
        raise UserError(f"{file}: already exists. Give --output or --name, or move it away.")
    check_file(file, "--output")
    split = _split(form.path, form.splits, split)
    drafted = draft(form, name, _place(form.path, file), split=split, reference=reference, speech=speech)
    write_file(file, drafted.text(f"diva-bench new task {visible(str(data))}"), "--output")
    say(f"{file}: written. What was guessed:")
    width = max(map(len, drafted.guesses))
    for what, guess in drafted.guesses.items():
        say(f"  {what:{width}}  {visible(guess)}")
    wrong = validate_command([file], list(paths))
    say(
        f"Run a model: diva-bench run -m cascade -t {file}"
        if not wrong
        else f"Correct {file}, then: diva-bench validate {file}"
    )
    return 1 if wrong else 0


def _free(catalog: Catalog, name: str) -> str:
    """The name, or a similar one if there is a task of this name."""
    names = set(catalog.suites())
    while name in names or catalog.has("task", name):
        name = f"my-{name}"
    return name


def _split(path: Path, splits: list[str], split: str | None) -> str | None:
    """The given split; else test, else the only split. Raises UserError if several are left."""
    if split is not None and splits and split not in splits:
        raise UserError(f"{path}: has no split {split!r}; available: {', '.join(splits)}.")
    if split is not None or not splits:
        return split
    if "test" in splits or len(splits) == 1:
        return "test" if "test" in splits else splits[0]
    raise UserError(f"{path}: has the splits {', '.join(splits)}; name one with --split.")


def _place(data: Path, file: Path) -> str:
    """The path of the data for the task file: relative if the data is in the folder of the file, else absolute."""
    whole, home = data.resolve(), file.parent.resolve()
    return os.path.relpath(whole, home) if whole.is_relative_to(home) else str(whole)
