"""The command line. This module only parses: each command imports its code when it is called, so that --help is fast."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from diva_bench.cli import analyse, new, plot, report, share, streams, study
from diva_bench.cli.options import (
    AllTables,
    BatchBudget,
    BatchRows,
    Commands,
    DataDir,
    Details,
    Device,
    Dtype,
    Edition,
    EditionOfModels,
    Format,
    InMemory,
    Limit,
    MaxCost,
    MaxRequests,
    ModelEdition,
    Models,
    NumberFormat,
    OnlyTasks,
    Overview,
    Paths,
    Prompts,
    PublishedScores,
    Ranks,
    Report,
    Results,
    Signatures,
    SpeedTables,
    Tasks,
    TrainingCosts,
    WeightsFiles,
    WeightsFolders,
    names,
)


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as err:
            raise streams.Interrupted(str(ctx.invoked_subcommand)) from err


app = Commands(
    name="diva-bench",
    cls=_Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Run speech language models on spoken benchmarks and get numbers that can be trusted.",
)


def _version(requested: bool) -> None:
    if requested:
        from diva_bench import __version__

        streams.say(f"diva-bench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and stop.")
    ] = False,
) -> None:
    """Run speech language models on spoken benchmarks and get numbers that can be trusted."""


@app.command()
def run(
    model: Models,
    task: Tasks,
    edition: Edition = "auto",
    model_edition: ModelEdition = None,
    output: Results = Path("results"),
    limit: Limit = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of sampling, of --limit and of the random baseline.")] = 0,
    batch_budget: BatchBudget = None,
    batch_rows: BatchRows = None,
    device: Device = None,
    dtype: Dtype = None,
    audio: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                "Change the clips (audio condition): silence, noise, shuffled, an SNR in dB (10), speed=0.9, "
                "codec=opus-16k. Every condition is a separate run, compared with the run on the unchanged clips. May be "
                "repeated."
            )
        ),
    ] = None,
    prompts: Prompts = 1,
    prompt: Annotated[
        str | None,
        typer.Option(help="Use this prompt instead of the task's; {field} is replaced. The run gets another task id."),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(help='Use this system message instead of the task\'s; "" for none. The run gets another task id.'),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="Maximum length of an answer in tokens, instead of the task's. The run gets another task id."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be run, and stop.")] = False,
    max_requests: MaxRequests = None,
    max_cost: MaxCost = None,
    data_dir: DataDir = None,
    allow_partial: Annotated[
        bool,
        typer.Option(
            "--allow-partial", help="Run although rows of the data are missing; such a run is left out of all tables."
        ),
    ] = False,
    path: Paths = None,
) -> None:
    """Run models on tasks, score the answers, print the scores. Run the same command again to resume."""
    from diva_bench.cli.run import run_command
    from diva_bench.evaluation.jobs import Settings

    settings = Settings(
        edition=edition,
        model_edition=model_edition,
        output=output,
        limit=limit,
        seed=seed,
        batch_seconds=batch_budget,
        batch_rows=batch_rows,
        device=device,
        dtype=dtype,
        audio=tuple(audio or ()),
        prompts=prompts,
        data_dir=data_dir,
        allow_partial=allow_partial,
        prompt=prompt,
        system=system,
        max_new_tokens=max_new_tokens,
        max_requests=max_requests,
        max_cost=max_cost,
    )
    raise typer.Exit(run_command(model, task, settings, path or [], dry_run))


@app.command()
def score(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of runs: results/<task>/<run>, results.")],
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="YAML",
            help=(
                "An additional scorer for this scoring: 'llm_judge: {model: oracle}'. May be repeated. The next "
                "`score` without it removes its metric; the replies of a judge and of COMET stay in the run folder."
            ),
        ),
    ] = None,
    share_rows: Annotated[
        bool,
        typer.Option(
            "--share-rows",
            help="Store references and transcripts among the results even if the data of the task is licensed; otherwise they "
            "stay in the cache folder.",
        ),
    ] = False,
    data_dir: DataDir = None,
    path: Paths = None,
) -> None:
    """Score stored answers again with the scorers of this version. No model is run."""
    from diva_bench.cli.results import score_command

    raise typer.Exit(score_command(runs, path or [], scorer or [], data_dir, share=share_rows))


@app.command()
def leaderboard(
    results: Annotated[Path, typer.Argument(help="Folder of runs, or a bundle.")] = Path("results"),
    task: OnlyTasks = None,
    format: Format = "rich",
    details: Details = False,
    signatures: Signatures = False,
    ranks: Ranks = False,
    output: Report = None,
    overview: Overview = False,
    speed: SpeedTables = False,
    published: PublishedScores = False,
    compute: TrainingCosts = False,
    in_memory: InMemory = False,
    all_tables: AllTables = False,
    path: Paths = None,
) -> None:
    """Rank the runs of a folder. Tasks by models on one screen; with --details, --task or another format, a table for each
    task. As CSV: one table, a row for every run and metric."""
    from diva_bench.cli.results import check_tables, costs_command, leaderboard_command, published_command

    check_tables(
        {"--overview": overview, "--signatures": signatures, "--speed": speed, "--published": published,
         "--compute": compute},
        {"--details": details, "--ranks": ranks, "--in-memory": in_memory, "--task": bool(task)},
    )  # fmt: skip
    if published:
        raise typer.Exit(published_command(results, task or [], format, output, every=all_tables))
    if compute:
        raise typer.Exit(costs_command(results, format, path or [], output, every=all_tables))
    raise typer.Exit(
        leaderboard_command(
            results,
            task or [],
            format,
            ranks,
            path or [],
            output,
            details=details,
            signed=signatures,
            overview=overview,
            speed=speed,
            in_memory=in_memory,
            every=all_tables,
        )
    )


@app.command()
def migrate(
    results: Annotated[Path, typer.Argument(help="Folder of runs.")] = Path("results"),
    data_unchanged: Annotated[
        bool,
        typer.Option(
            "--data-unchanged",
            help="Confirm that transcripts and prompt columns have not changed since the runs were made; old ids cannot show it.",
        ),
    ] = False,
    data_dir: DataDir = None,
    path: Paths = None,
) -> None:
    """Give run folders of older versions their ids of today. No model is run."""
    from diva_bench.cli.migrate import migrate_command

    raise typer.Exit(migrate_command(results, data_unchanged, data_dir, path or []))


@app.command()
def ablate(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BASE OTHER...]", help="With --runs: run folders, or names of models that have runs in --output."
        ),
    ] = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="Compare stored runs, also imported ones, with one column per task.")
    ] = False,
    base: Annotated[str | None, typer.Option(help="The model that the variants are compared with.")] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="Variants of the base, with commas between them; may be repeated.")
    ] = None,
    task: OnlyTasks = None,
    edition: Edition = "auto",
    model_edition: ModelEdition = None,
    output: Results = Path("results"),
    format: Format = "rich",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Metric to compare (default: the task's primary metric). With --runs also TASK=NAME; may be repeated.",
        ),
    ] = None,
    ask: Annotated[bool, typer.Option("--ask/--no-ask", help="Run what is missing, or use only stored runs.")] = True,
    limit: Limit = None,
    device: Device = None,
    dtype: Dtype = None,
    data_dir: DataDir = None,
    path: Paths = None,
) -> None:
    """Compare a model with its variants, sample by sample. Tables: differences, p-values, training compute.

    Either --base and --against, for which missing runs are made, or --runs BASE OTHER... for stored runs.
    """
    from diva_bench.cli.ablate import ablate_command, ablate_runs_command, check_words, models_of
    from diva_bench.evaluation.jobs import Settings

    asking: dict[str, object] = {"--base": base, "--against": against, "--limit": limit}
    asking |= {"--model-edition": model_edition, "--device": device, "--dtype": dtype, "--data-dir": data_dir}
    asking |= {"--edition": None if edition == "auto" else edition, "--no-ask": None if ask else "no"}
    check_words(words or [], runs, asking, task or [], metric or [])
    if runs:
        raise typer.Exit(ablate_runs_command(words or [], task or [], metric or [], output, format, path or []))
    settings = Settings(
        edition=edition,
        model_edition=model_edition,
        output=output,
        limit=limit,
        device=device,
        dtype=dtype,
        data_dir=data_dir,
    )
    models = models_of(base or "", against or [])
    raise typer.Exit(
        ablate_command(models, task or [], settings, metric[0] if metric else None, ask, format, path or [])
    )


@app.command(name="list")
def list_(
    kind: Annotated[Literal["tasks", "models", "metrics", "runs"], typer.Argument(help="What to list.")],
    folder: Annotated[Path | None, typer.Argument(help="With `runs`: the folder of the runs, as --output.")] = None,
    output: Results = Path("results"),
    format: Format = "rich",
    path: Paths = None,
) -> None:
    """List tasks, models or metrics, or the runs of a folder."""
    from diva_bench.cli.browse import list_command

    if folder is not None and kind != "runs":
        raise typer.BadParameter(f"list {kind} takes no folder; list runs does.", param_hint="FOLDER")
    raise typer.Exit(list_command(kind, path or [], folder or output, format))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A task, a model, or a YAML file.")],
    edition: Edition = "auto",
    path: Paths = None,
) -> None:
    """Print all settings of a task or a model. Defaults are filled in, and the identity hash is printed."""
    from diva_bench.cli.browse import show_command

    show_command(name, edition, path or [])


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(help="Task, model or weights YAML files.")],
    data_dir: DataDir = None,
    path: Paths = None,
) -> None:
    """Check YAML files and everything they refer to. For a task, its data, scorers and prompt are checked too."""
    from diva_bench.cli.validate import validate_command

    raise typer.Exit(validate_command(files, path or [], data_dir))


@app.command()
def pull(
    model: Annotated[list[str] | None, typer.Option("--model", "-m", callback=names, help="Only these models.")] = None,
    task: OnlyTasks = None,
    edition: Edition = "auto",
    model_edition: ModelEdition = None,
    data_dir: DataDir = None,
    weights_file: WeightsFiles = None,
    weights_folder: WeightsFolders = None,
    path: Paths = None,
) -> None:
    """Download weights and data before a run. For licensed data, print where to request it and where to put it."""
    from diva_bench.cli.weights import pull_command

    mine = weights_file or [], weights_folder or []
    raise typer.Exit(pull_command(model or [], task or [], edition, model_edition, data_dir, *mine, path or []))


@app.command()
def train(
    preset: Annotated[str, typer.Option(help="Preset: nano, mini, nano-time, mini-time or paper.")] = "nano",
    data: Annotated[
        list[str] | None,
        typer.Option(help="Training data in any form that `new task` takes, or hub:owner/name; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for checkpoints, metrics and the connector.")
    ] = None,
    ablation: Annotated[
        str | None,
        typer.Option(
            help="Ablation, one change to the preset: align_only, distill_only, scratch, mlp, kl, released, ..."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a setting that --dry-run lists; may be repeated."),
    ] = None,
    eval_task: Annotated[
        list[str] | None,
        typer.Option("--eval-task", help="Also evaluate on a few samples of these tasks during the training."),
    ] = None,
    eval_limit: Annotated[int, typer.Option(min=1, help="Number of samples for each --eval-task.")] = 8,
    cache: Annotated[
        Path | None, typer.Option(help="Cache folder for outputs of the frozen parts, shared by all trainings.")
    ] = None,
    cache_gb: Annotated[
        float, typer.Option(min=0.0, help="Limit of the cache for each kind of output, in gigabytes.")
    ] = 20.0,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the weights that are installed (default: diva-PRESET[-ABLATION])."),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard events.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the curves of --output as PNG, and stop.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print all settings, and stop.")] = False,
    path: Paths = None,
) -> None:
    """Train a DiVA connector from transcripts alone. Run the same command again to continue from the last checkpoint."""
    from diva_bench.cli.train import train_command

    code = train_command(
        preset, output, data or [], ablation=ablation, changes=set_ or [], eval_tasks=eval_task or [],
        eval_limit=eval_limit, cache=cache, cache_gb=cache_gb, name=name, tensorboard=tensorboard, plot=plot,
        dry_run=dry_run, paths=path or [],
    )  # fmt: skip
    raise typer.Exit(code)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="An exported connector's folder, or a published file or folder.")],
    target: Annotated[Path, typer.Argument(help="A .safetensors file (published) or a folder (diva-bench).")],
    encoder: Annotated[str | None, typer.Option(help="Whisper: name of weights, or folder.")] = None,
    llm: Annotated[str | None, typer.Option(help="LLM: name of weights, or folder; only with --to diva-bench.")] = None,
    to: Annotated[
        Literal["published", "diva-bench"] | None,
        typer.Option(help="Target format (default: the other format than that of SOURCE)."),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Write a checkpoint with fewer layers than Whisper; the reference code cannot load it."
        ),
    ] = False,
    path: Paths = None,
) -> None:
    """Convert a connector to or from the published form. That is the form of the published DiVA checkpoints."""
    from diva_bench.cli.convert import convert_command

    raise typer.Exit(
        convert_command(source, target, encoder=encoder, llm=llm, to=to, partial=partial, paths=path or [])
    )


@app.command()
def probe(
    model: Models,
    data: Annotated[list[str], typer.Option(help="Clips with transcripts, as for train; may be repeated.")],
    edition: Annotated[
        Literal["mini", "nano", "full"], typer.Option("--model-edition", "--edition", help="Edition of the models.")
    ] = "mini",
    repeat: Annotated[
        bool, typer.Option(help="Also ask the models to repeat the words; otherwise evaluate only the virtual tokens.")
    ] = True,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the whole report to this file, as JSON.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N clips.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, ... (default: the model's).")] = None,
    dtype: Annotated[Literal["float32", "bfloat16"] | None, typer.Option(help="Number format.")] = None,
    format: Format = "rich",
    path: Paths = None,
) -> None:
    """Measure how well models repeat held-out clips. Also how close virtual tokens are to the transcript."""
    from diva_bench.cli.connector_eval import connector_eval_command
    from diva_bench.evaluation.jobs import Settings

    settings = Settings(edition=edition, limit=limit, device=device, dtype=dtype)
    raise typer.Exit(connector_eval_command(model, data, settings, repeat, output, format, path or []))


@app.command()
def hear(
    clips: Annotated[list[Path] | None, typer.Argument(help="Audio files, or folders; no transcripts needed.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", callback=names, help="Model names or YAML files, with commas between them (default: diva)."
        ),
    ] = None,
    prompt: Annotated[str, typer.Option(help="Instruction for every clip (default: none; the clip asks).")] = "",
    system: Annotated[str | None, typer.Option(help="System message (default: none).")] = None,
    language: Annotated[str, typer.Option(help="Language code of the clips, such as fr or zh-CN.")] = "en",
    max_new_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Longest answer, in tokens.")] = 64,
    record: Annotated[
        float | None, typer.Option(min=0.5, max=30, help="Seconds to record from the microphone (diva-bench[record]).")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the replies to this CSV file.")] = None,
    edition: EditionOfModels = None,
    device: Device = None,
    dtype: NumberFormat = None,
    format: Format = "rich",
    path: Paths = None,
) -> None:
    """Print what models hear and answer in your own clips."""
    from diva_bench.cli.hear import hear_command
    from diva_bench.evaluation.jobs import Settings

    settings = Settings(model_edition=edition, device=device, dtype=dtype)
    code = hear_command(
        model or ["diva"], clips or [], settings, record=record, prompt=prompt, system=system,
        language=language, max_new_tokens=max_new_tokens, csv=csv, format=format, paths=path or [],
    )  # fmt: skip
    raise typer.Exit(code)


@app.command()
def doctor(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Also check this model: contract of adapters, bfloat16.")
    ] = None,
    edition: Annotated[
        Literal["auto", "full", "mini", "nano"],
        typer.Option("--model-edition", "--edition", help="Edition of that model."),
    ] = "auto",
    verify: Annotated[bool, typer.Option("--verify", help="Verify the sha256 of every file in the cache.")] = False,
    path: Paths = None,
) -> None:
    """Print what this machine has, and what is missing. Also sizes, and the device on which models run."""
    from diva_bench.cli.weights import doctor_command

    raise typer.Exit(doctor_command(model, edition, verify, path or []))


app.add_typer(analyse.app)
app.add_typer(report.app)
app.add_typer(plot.app)
app.add_typer(share.app)
app.add_typer(new.app, name="new")
app.add_typer(study.app, name="study")


def main() -> None:
    """Entry point.

    Exit code: 2 after a mistake that the user can correct; 128 + the number of a signal that stopped the command (a
    message says what is kept); 1 if stdout cannot be written or memory is missing.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # without it, tokenizers warns at every fork
    code = 0
    try:
        with streams.guarded(), streams.logged():
            code = _answer()
    except streams.Unwritable as err:
        if not err.broken:  # `diva-bench list tasks | head` is not an error
            print(
                f"diva-bench: stdout cannot be written ({err}). Runs are kept in their folders: `diva-bench score` and "
                "`leaderboard` print them again.",
                file=sys.stderr,
            )
            code = 1
    sys.exit(code)


def _plain(usage: str) -> str:
    """A usage error without tabs, and without the phrases of the validation library."""
    text = usage.rstrip().expandtabs(2).replace("Value error, ", "")
    return text.replace("Input should be a valid ", "it must be a valid ").replace("Input should be ", "it must be ")


def _answer() -> int:
    """Run the command line and return its exit code."""
    try:
        return int(app(standalone_mode=False) or 0)
    except streams.Interrupted as err:
        streams.say(f"\nstopped; {err.notes}.", error=True)
        return err.code
    except Exception as err:
        from diva_bench.errors import Stop, UserError

        if hasattr(err, "show") and hasattr(err, "exit_code"):  # a usage error; its class is private to typer
            usage = io.StringIO()
            err.show(file=usage)
            streams.say(_plain(usage.getvalue()), error=True)
            return int(err.exit_code)
        if isinstance(err, UserError):
            streams.say(f"diva-bench: {err}", error=True)
            return 2
        if isinstance(err, Stop):
            streams.say(f"diva-bench: stopped: {str(err).rstrip('.')}.", error=True)
            return 1
        if lack := streams.lack_of_memory(err):
            streams.say(f"diva-bench: {lack}", error=True)
            return 1
        raise
