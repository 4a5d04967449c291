"""`train`: resolve the preset's weights, then hand over to the training script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from diva_bench import assets
from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.diva.compute import estimate_paper
from diva_bench.diva.config import ABLATIONS, PRESETS, TrainConfig
from diva_bench.errors import UserError, unknown


@dataclass(frozen=True, slots=True)
class Options:
    preset: str
    output: Path | None
    data: Sequence[str] = ()
    ablation: str | None = None
    changes: Sequence[str] = ()
    """FIELD=VALUE of TrainConfig."""
    eval_tasks: Sequence[str] = ()
    eval_limit: int = 8
    cache: Path | None = None
    cache_gb: float = 20.0
    name: str | None = None
    tensorboard: bool = False
    dry_run: bool = False
    plot: bool = False
    paths: Sequence[Path] = ()


def train_command(options: Options) -> int:
    config = resolve(options)
    if options.dry_run:
        return _dry_run(options, config)
    if options.output is None:
        raise UserError("--output is missing: the folder of checkpoints, metrics and the connector.")
    if options.plot:
        from diva_bench.training.plot import plot

        print(f"drawn: {plot([options.output])}")
        return 0
    if not options.data:
        raise UserError(
            "--data is missing: a folder of parquet, a .tsv beside clips/, a .jsonl manifest or hub:owner/name."
        )
    from diva_bench.training import export, train
    from diva_bench.training.run import prepare

    catalog, progress = Catalog(list(options.paths)), Terminal()
    whisper, llm = (_weights(catalog, name, progress) for name in (config.encoder, config.llm))
    run = prepare(
        config,
        whisper_dir=whisper,
        llm_dir=llm,
        given=options.data,
        output=options.output,
        cache=options.cache or assets.cache_folder() / "training",
        cache_bytes=int(options.cache_gb * 1e9),
        progress=progress,
        tracker=options.tensorboard,
    )
    train.train(run, progress, _tasks(catalog, options, progress))
    if run.team.is_main_process:
        name = options.name or weights_name(options)
        said = f"{options.preset}, {options.ablation or 'both losses'}; trained here (see export/training.json)."
        export.weights_yaml(options.output, name, f"DiVA connector, {said}")
        print(f"stored: {options.output / 'export'}; as weights {name!r}: --path {options.output}")
    return 0


def weights_name(options: Options) -> str:
    """What a trained connector is called where models name it: diva-nano, diva-nano-align-only."""
    return "-".join(["diva", options.preset, *([options.ablation.replace("_", "-")] if options.ablation else [])])


def resolve(options: Options) -> TrainConfig:
    """Preset, then ablation, then single fields."""
    if options.preset not in PRESETS:
        raise unknown("preset", options.preset, PRESETS)
    config = PRESETS[options.preset]()
    changes = [_field(change) for change in options.changes]
    names = {name for name, _ in changes}
    if "steps" in names and "align_steps" not in names and dict(changes)["steps"] < config.align_steps:
        changes.append(("align_steps", dict(changes)["steps"]))
    config = replace(config, **dict(changes))
    if options.ablation:
        if options.ablation not in ABLATIONS:
            raise unknown("ablation", options.ablation, ABLATIONS)
        config = ABLATIONS[options.ablation](config)
    return config


def _field(change: str) -> tuple[str, Any]:
    """ "lr=3e-4" -> ("lr", 0.0003), read as the field's type has it."""
    import yaml

    name, equals, text = change.partition("=")
    known = {f.name: f for f in fields(TrainConfig)}
    if not equals:
        raise UserError(f"--set {change}: expected FIELD=VALUE, as in --set lr=3e-4.")
    if name not in known:
        raise unknown("training setting", name, known)
    wanted = str(known[name].type)
    value = yaml.safe_load(text)
    try:
        if wanted.startswith("float") and value is not None:
            value = float(value)
        elif wanted == "int":
            value = int(value) if not isinstance(value, bool) and int(value) == float(value) else _wrong()
        elif (wanted == "bool" and not isinstance(value, bool)) or (
            wanted.startswith("Literal") and repr(value) not in wanted.replace('"', "'")
        ):
            _wrong()
    except (TypeError, ValueError) as err:
        raise UserError(f"--set {change}: {name} is of type {wanted}.") from err
    return name, value


def _wrong() -> int:
    raise ValueError


def _weights(catalog: Catalog, name: str, progress: Terminal) -> Path:
    """Weights by name, or a folder of your own that transformers can read."""
    if Path(name).is_dir():
        return Path(name)
    return assets.ready(*catalog.weights(name), progress)


def _tasks(catalog: Catalog, options: Options, progress: Terminal) -> Any:
    """A few samples of each task to look at while training."""
    if not options.eval_tasks:
        return None
    from diva_bench import data
    from diva_bench.training.evaluate import TaskSet

    chosen = []
    for name in dict.fromkeys(leaf for task in options.eval_tasks for leaf in catalog.subsets(task)):
        task = catalog.task(name, "mini")
        samples = data.load(task, assets.cache_folder(), progress).limited(options.eval_limit, 0)
        chosen.append((task, catalog.scorers(task), samples))
    return TaskSet(chosen)


def _dry_run(options: Options, config: TrainConfig) -> int:
    """What a run would be, and for the paper's preset what it would cost."""
    for field in fields(config):
        print(f"{field.name}: {getattr(config, field.name)}")
    if options.preset == "paper":
        print()
        print("\n".join(estimate_paper(config)))
    return 0
