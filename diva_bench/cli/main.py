"""The command line. Parsing only: each command imports what it needs when it is called, so that --help is fast."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

app = typer.Typer(
    name="diva-bench",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Run speech language models on spoken benchmarks and get numbers that can be trusted.",
)

Editions = Literal["auto", "full", "mini", "nano"]
Formats = Literal["rich", "md", "csv", "latex", "json"]
Paths = Annotated[
    Optional[list[Path]],  # noqa: UP045 (typer reads the annotation)
    typer.Option("--path", help="Folder of your own task and model YAML files; may be repeated."),
]
Models = Annotated[list[str], typer.Option("--model", "-m", help="Model name or YAML file; may be repeated.")]
Tasks = Annotated[
    list[str], typer.Option("--task", "-t", help="Task, subset, suite (emotion, qa, all, ...) or YAML file.")
]
Edition = Annotated[
    Editions, typer.Option("--edition", help="full: real data and weights; mini: small, embedded; nano: for tests.")
]
Results = Annotated[Path, typer.Option("--output", "-o", help="Where runs are kept.")]


@app.callback()
def _root() -> None:
    """Run speech language models on spoken benchmarks and get numbers that can be trusted."""


@app.command()
def run(
    model: Models,
    task: Tasks,
    edition: Edition = "auto",
    output: Results = Path("results"),
    limit: Annotated[Optional[int], typer.Option(min=1, help="Ask only so many samples; a run of its own.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(min=0, help="Of sampling, of --limit and of the random baseline.")] = 0,
    batch_budget: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.1, help="Padded audio seconds per batch (default: the model's)."),
    ] = None,
    device: Annotated[Optional[str], typer.Option(help="auto, cpu, cuda, cuda:1 (default: the model's).")] = None,  # noqa: UP045
    dtype: Annotated[
        Optional[Literal["float32", "bfloat16", "float16"]],  # noqa: UP045
        typer.Option(help="Number format; part of a run's identity (default: the model's)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked, and stop.")] = False,
    path: Paths = None,
) -> None:
    """Ask models the questions of tasks, judge the answers, print the scores. Run again to resume."""
    from diva_bench.cli.run import Options, run_command

    options = Options(
        models=model,
        tasks=task,
        edition=edition,
        output=output,
        limit=limit,
        seed=seed,
        batch_budget=batch_budget,
        device=device,
        dtype=dtype,
        dry_run=dry_run,
        paths=path or [],
    )
    raise typer.Exit(run_command(options))


@app.command()
def score(
    runs: Annotated[list[Path], typer.Argument(help="Run folders: results/<task>/<run>.")],
    path: Paths = None,
) -> None:
    """Judge stored answers again, with today's scorers; no model is asked."""
    from diva_bench.cli.results import score_command

    raise typer.Exit(score_command(runs, path or []))


@app.command()
def leaderboard(
    results: Annotated[Path, typer.Argument(help="Folder of runs.")] = Path("results"),
    task: Annotated[Optional[list[str]], typer.Option("--task", "-t", help="Only these tasks.")] = None,  # noqa: UP045
    format: Annotated[Formats, typer.Option(help="How to print it.")] = "rich",
) -> None:
    """Rank the runs of a folder, one table per task."""
    from diva_bench.cli.results import leaderboard_command

    raise typer.Exit(leaderboard_command(results, task or [], format))


@app.command(name="list")
def list_(
    kind: Annotated[Literal["tasks", "models", "metrics"], typer.Argument(help="What to list.")],
    path: Paths = None,
) -> None:
    """List what there is."""
    from diva_bench.cli.browse import list_command

    list_command(kind, path or [])


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A task, a model, or a YAML file.")],
    edition: Edition = "auto",
    path: Paths = None,
) -> None:
    """Print a task or a model as it resolves, with its identity hash."""
    from diva_bench.cli.browse import show_command

    show_command(name, edition, path or [])


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(help="Task, model or weights YAML files.")],
    path: Paths = None,
) -> None:
    """Check YAML files and everything they name."""
    from diva_bench.cli.browse import validate_command

    raise typer.Exit(validate_command(files, path or []))


@app.command()
def pull(
    model: Annotated[Optional[list[str]], typer.Option("--model", "-m", help="Only these models.")] = None,  # noqa: UP045
    task: Annotated[Optional[list[str]], typer.Option("--task", "-t", help="Only these tasks.")] = None,  # noqa: UP045
    edition: Edition = "mini",
    path: Paths = None,
) -> None:
    """Fetch weights and check data ahead of a run."""
    from diva_bench.cli.weights import pull_command

    pull_command(model or [], task or [], edition, path or [])


@app.command()
def train(
    preset: Annotated[str, typer.Option(help="mini or nano.")],
    data: Annotated[Path, typer.Option(help="Folder of train-*.parquet with columns audio and text.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoints, metrics and the connector.")],
    steps: Annotated[Optional[int], typer.Option(min=1, help="All steps (default: the preset's).")] = None,  # noqa: UP045
    align_steps: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="Steps of token alignment alone; both losses after them."),
    ] = None,
    batch: Annotated[Optional[int], typer.Option(min=1, help="Clips per alignment step.")] = None,  # noqa: UP045
    both_batch: Annotated[Optional[int], typer.Option(min=1, help="Clips per step of both losses.")] = None,  # noqa: UP045
    warmup: Annotated[Optional[int], typer.Option(min=0, help="Steps.")] = None,  # noqa: UP045
    lr: Annotated[Optional[float], typer.Option(help="Peak learning rate, alignment.")] = None,  # noqa: UP045
    both_lr: Annotated[Optional[float], typer.Option(help="Peak learning rate, both losses.")] = None,  # noqa: UP045
) -> None:
    """Train a DiVA connector from transcripts alone. Run again to go on from the last checkpoint."""
    from diva_bench.cli.train import train_command

    changes = {
        "steps": steps,
        "align_steps": align_steps,
        "batch": batch,
        "both_batch": both_batch,
        "warmup": warmup,
        "lr": lr,
        "both_lr": both_lr,
    }
    train_command(preset, data, output, changes)


@app.command()
def doctor(
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--model", "-m", help="Also load this model and measure its bf16 flip rate."),
    ] = None,
    edition: Edition = "auto",
    verify: Annotated[bool, typer.Option("--verify", help="Hash every file in the cache again.")] = False,
    path: Paths = None,
) -> None:
    """Say what is here, what is missing, how large it is, and on which device models would run."""
    from diva_bench.cli.weights import doctor_command

    raise typer.Exit(doctor_command(model, edition, verify, path or []))


def main() -> None:
    """Entry point: what the user can mend is said in words, exit code 2; Ctrl-C says how to go on, 130."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # tokenizers warns on every fork otherwise
    try:
        app()
    except KeyboardInterrupt:
        print("\nstopped; what was answered is kept: run the same command again to resume.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `diva-bench list tasks | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as err:
        from diva_bench.errors import UserError

        if not isinstance(err, UserError):
            raise
        print(f"diva-bench: {err}", file=sys.stderr)
        sys.exit(2)
