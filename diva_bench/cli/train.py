"""`train`: find the weights of the preset, call the training, and install the connector."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from diva_bench.catalog import CONNECTOR, Catalog, trained_folder
from diva_bench.cli.progress import Terminal
from diva_bench.cli.streams import say
from diva_bench.diva.compute import estimate_paper
from diva_bench.diva.config import ABLATIONS, PRESETS, TrainConfig
from diva_bench.errors import UserError, unknown
from diva_bench.evaluation.jobs import keeping, shard_of_process
from diva_bench.specs import AssetSpec, ModelFile, yamlfile
from diva_bench.specs.spec_file import TRAINED
from diva_bench.types import Progress, Silent, WholeScorer
from diva_bench.weights import assets


def train_command(
    preset: str,
    output: Path | None,
    data: Sequence[str],
    *,
    ablation: str | None,
    changes: Sequence[str],
    eval_tasks: Sequence[str],
    eval_limit: int,
    cache: Path | None,
    cache_gb: float,
    name: str | None,
    tensorboard: bool,
    plot: bool,
    dry_run: bool,
    paths: Sequence[Path],
) -> int:
    """Exit code 0.

    Args:
        changes: FIELD=VALUE of TrainConfig.
        name: Name of the weights, and of the model if no built-in model uses them.
    """
    config = resolve(preset, ablation, changes)
    if not 0 <= cache_gb < 1e9:
        raise UserError(f"--cache-gb {cache_gb}: must be a number of gigabytes from 0.")
    shard_of_process(os.environ)  # raises our message instead of one of the library
    catalog = Catalog(paths)
    if output is None and not dry_run:
        raise UserError("--output is missing: the folder of checkpoints, metrics and the connector.")
    place = output or Path()
    if plot and not dry_run:
        from diva_bench.training.plot import plot as draw

        say(f"drawn: {draw([place])}")
        return 0
    if not data and not dry_run:
        raise UserError(
            "--data is missing: a folder of parquet, a .tsv beside clips/, a .jsonl manifest or hub:owner/name."
        )
    default_name, name = name is None, weights_name(catalog, name, config, preset, ablation)
    names, plain = ({c.encoder, c.llm, c.start_from} for c in (config, PRESETS[preset]()))
    # a dry run of the paper's preset tells what it would cost, although its LLM does not ship
    _check(catalog, names - plain if dry_run else names, config, data, place)
    if default_name and output is not None:
        _check_replaced(catalog, name, place)
    if dry_run:
        return _dry_run(preset, config)
    progress: Progress = Terminal() if os.environ.get("RANK", "0") == "0" else Silent()  # only the first process prints
    from diva_bench.training import train
    from diva_bench.training.run import prepare_training

    whisper, llm = (_weights(catalog, part, progress) for part in (config.encoder, config.llm))
    start = _exported(_weights(catalog, config.start_from, progress)) if config.start_from else None
    run = prepare_training(
        config,
        whisper_dir=whisper,
        llm_dir=llm,
        start_dir=start,
        sources=data,
        output=place,
        cache=cache or assets.cache_folder() / "training",
        cache_bytes=int(cache_gb * 1e9),
        progress=progress,
        tracker=tensorboard,
    )
    with keeping(lambda: f"the last checkpoint is kept in {place}: run the same command again to continue"):
        train.train(run, progress, _tasks(catalog, eval_tasks, eval_limit, progress))
    if run.accelerator.is_main_process:
        say(f"stored: {place / 'export'}")
        say(install(catalog, name, config, preset, ablation, place / "export"))
    return 0


def _check(catalog: Catalog, names: set[str | None], config: TrainConfig, data: Sequence[str], output: Path) -> None:
    """UserError for weights and data that do not exist, before anything is fetched or written."""
    from diva_bench.training import sources

    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output}: is a file. Give a folder.")
    for part in names - {None}:
        _asset(catalog, str(part))
    sources.check(data, config.every_batch)


def _check_replaced(catalog: Catalog, name: str, output: Path) -> None:
    """UserError if a new training would replace the weights of another one, only because nobody named either."""
    owner = catalog.has("weights", name)
    begun = output.is_dir() and any(output.glob("*.safetensors"))
    if owner and owner.origin == TRAINED and not begun:
        raise UserError(
            f"weights {name} were trained before (in {owner.path.parent}), and this training would replace them. Keep them with "
            f"--name NEW-NAME, or replace them with --name {name}."
        )


# ---------------------------------------------------------------- what the connector is called, and who uses it


def weights_name(
    catalog: Catalog, name: str | None, config: TrainConfig, preset: str, ablation: str | None = None
) -> str:
    """The name of the connector: --name, else diva-PRESET[-ABLATION], with -own if built-in models use that name for
    another one.

    Raises:
        UserError: The name is not allowed, or is taken by something other than an earlier training.
    """
    if name is None:
        name = "-".join(["diva", preset, *([ablation.replace("_", "-")] if ablation else [])])
        owner = catalog.has("weights", name)
        if (owner and owner.origin == "built in") or not _as_preset(config, preset, ablation):
            name += "-own"
    if len(name) > 64 or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(
            f"--name {name!r}: a name has at most 64 letters, digits, '.', '_' and '-', and begins with a letter or digit."
        )
    for kind in ("weights", "model"):
        owner = catalog.has(kind, name)
        if owner and owner.origin != TRAINED:
            what = "weights" if kind == "weights" else "a model"
            raise UserError(
                f"--name {name}: {owner.path} ({owner.origin}) has {what} of this name already. Choose another, such as "
                f"--name {name}-own."
            )
    return name


def _as_preset(config: TrainConfig, preset: str, ablation: str | None) -> bool:
    """Whether all settings that decide the result of the training are those of the preset and the ablation."""
    plain = resolve(preset, ablation)
    free = ("log_every", "evaluate_every", "evaluate_clips", "save_every", "accumulate", "checkpointing", "compile")
    return config == replace(plain, **{name: getattr(config, name) for name in free})


def install(catalog: Catalog, name: str, config: TrainConfig, preset: str, ablation: str | None, exported: Path) -> str:
    """Put an exported connector where every command finds it, with a model YAML if no built-in model uses these weights.
    Returns one line on how to use it."""
    from diva_bench.training import export

    edition = "full" if preset == "paper" else preset.split("-", maxsplit=1)[0]
    description = f"{preset}, {ablation or 'both losses'}; trained here (see training.json)."
    specs = {f"{name}.yaml": export.weights_spec(exported, name, f"DiVA connector, {description}")}
    model = _built_in(catalog, name, edition) if _as_preset(config, preset, ablation) else None
    folders = {part: getattr(config, part) for part in ("encoder", "llm") if Path(getattr(config, part)).is_dir()}
    if model is None and not folders:
        model = name
        weights = {"encoder": config.encoder, "llm": config.llm, CONNECTOR: name}
        specs[f"{name}.model.yaml"] = {
            "name": name,
            "extends": "diva",
            "description": f"DiVA, {description}",
            "editions": {edition: {"weights": weights}},
        }
    place = trained_folder() / name
    before = export.install(exported, place, specs)
    done = f"installed as weights {name!r}" + (", replacing the ones trained before" if before else "")
    if model:
        return f"{done}: diva-bench run -m {model} --edition {edition} -t all"
    folder_names = " and ".join(f"{part} {path}" for part, path in folders.items())
    return f"{done}, in {place}; no model YAML is written: {folder_names}: a folder, and a model names weights by their names"


def _built_in(catalog: Catalog, name: str, edition: str) -> str | None:
    """The built-in model that uses these weights in this edition."""
    for entry in catalog.models():
        editions = {str(e): m for e, m in cast(ModelFile, entry.spec).editions.items()}
        if entry.origin == "built in" and edition in editions and editions[edition].weights.get(CONNECTOR) == name:
            return entry.spec.name
    return None


# ---------------------------------------------------------------- settings


def resolve(preset: str, ablation: str | None = None, changes: Sequence[str] = ()) -> TrainConfig:
    """Apply preset, ablation and single fields. `align_steps` is at most `steps`, and equals it if it did in the preset."""
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    config = PRESETS[preset]()
    if ablation is not None:
        if ablation not in ABLATIONS:
            raise unknown("ablation", ablation, ABLATIONS)
        base, config = config, ABLATIONS[ablation](config)
        if config == base:
            raise UserError(
                f"--ablation {ablation}: preset {preset} is not changed by it. It means: {ABLATIONS[ablation].__doc__} "
                f"Leave the option out, or choose another preset with --preset ({', '.join(PRESETS)})."
            )
    values = dict(_field(change) for change in changes)
    if "align_steps" not in values:
        steps = values.get("steps", config.steps)
        values["align_steps"] = steps if config.align_steps == config.steps else min(config.align_steps, steps)
    return replace(config, **values)


def _field(change: str) -> tuple[str, Any]:
    """ "lr=3e-4" -> ("lr", 0.0003), parsed by the type of the field."""
    name, equals, text = change.partition("=")
    fields_by_name = {f.name: f for f in fields(TrainConfig)}
    if not equals:
        raise UserError(f"--set {change}: expected FIELD=VALUE, as in --set lr=3e-4.")
    if name not in fields_by_name:
        raise unknown("training setting", name, fields_by_name)
    type_name = str(fields_by_name[name].type)
    value = yamlfile.value(text, f"--set {change}")
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    fits = {
        "int": number and float(value) == int(value),
        "float": number,
        "float | None": number or value is None,
        "bool": isinstance(value, bool),
        "str": isinstance(value, str) and bool(value),
        "str | None": (isinstance(value, str) and bool(value)) or value is None,
    }
    if not fits.get(type_name, repr(value) in type_name.replace('"', "'")):
        raise UserError(f"--set {change}: {name} must be {_allowed(type_name)}.")
    return name, int(value) if type_name == "int" else float(value) if number else value


def _allowed(type_name: str) -> str:
    """The type of a setting as text."""
    words = {"int": "a whole number", "float": "a finite number", "bool": "true or false", "str": "a text"}
    base, optional = type_name.removesuffix(" | None"), type_name.endswith(" | None")
    choices = ", ".join(text.strip(" \"'") for text in base.removeprefix("Literal[").removesuffix("]").split(","))
    return words.get(base, f"one of {choices}") + (" or null" if optional else "")


def _weights(catalog: Catalog, name: str, progress: Progress) -> Path:
    """Weights by name, or a folder that transformers can read. A folder may have the same name as weights (the --output of
    a training): the bare name means the weights, ./name the folder."""
    asset = _asset(catalog, name)
    return assets.ready(*asset, progress) if asset else Path(name)


def _asset(catalog: Catalog, name: str) -> tuple[AssetSpec, Path] | None:
    """The weights of this name, None for a folder. UserError where it is neither."""
    if catalog.has("weights", name):
        return catalog.weights(name)
    if not Path(name).is_dir():
        raise UserError(
            f"{name}: neither weights (`models/weights/` has those that ship) nor a folder. A folder that transformers can "
            f"read is also allowed: --set encoder=FOLDER --set llm=FOLDER."
        )
    return None


def _exported(folder: Path) -> Path:
    """The folder of a connector; for the --output of a training, the folder of its exported connector."""
    inside = folder / "export"
    return inside if not (folder / "config.json").exists() and (inside / "config.json").exists() else folder


def _tasks(catalog: Catalog, tasks: Sequence[str], limit: int, progress: Progress) -> Any:
    """`limit` samples of each task for evaluations during the training."""
    if not tasks:
        return None
    from diva_bench import data
    from diva_bench.training.evaluate import TaskSet

    selection = []
    for name in dict.fromkeys(leaf for task in tasks for leaf in catalog.subsets(task, "mini")):
        task = catalog.task(name, "mini")
        samples = data.load(task, assets.cache_folder(), progress).limited(limit, 0)
        scorers = catalog.scorers(task)
        asking = [name for name, scorer in scorers.items() if isinstance(scorer, WholeScorer)]
        if asking:
            progress.note(f"{name}: {', '.join(asking)} uses another model and is not computed during training")
        selection.append((task, {k: v for k, v in scorers.items() if k not in asking}, samples))
    return TaskSet(selection)


def _dry_run(preset: str, config: TrainConfig) -> int:
    """Print all settings in the words that --set takes, the number of clips, and for the paper's preset its cost."""
    for field in fields(config):
        value = getattr(config, field.name)
        say(f"{field.name}: {json.dumps(value) if value is None or isinstance(value, bool) else value}")
    both = config.steps - config.align_steps
    say()
    say(
        f"clips: {config.examples(config.steps):,} with repetitions, in {config.align_steps:,} steps of alignment with "
        f"{config.batch} clips each and {both:,} steps of both losses with {config.both_batch} clips each"
    )
    if preset == "paper":
        say()
        say("\n".join(estimate_paper(config)))
    else:
        say("time: shown after the first steps; docs/training.md has measured times for every preset")
    return 0
