"""`train`: resolve the preset's weights, then hand over to the training script."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from diva_bench import assets
from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.diva.config import PRESETS
from diva_bench.errors import UserError, unknown
from diva_bench.training.train import WEIGHTS, prepare, train


def train_command(preset: str, data: Path, output: Path, changes: dict[str, Any]) -> None:
    """`changes`: fields of TrainConfig that the command line sets; None leaves the preset's."""
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    if not data.is_dir():
        raise UserError(f"{data}: no such folder (--data names a folder of train-*.parquet with `audio` and `text`).")
    config = replace(PRESETS[preset](), **{k: v for k, v in changes.items() if v is not None})
    if config.align_steps > config.steps:
        config = replace(config, align_steps=config.steps)
    catalog, progress = Catalog(), Terminal()
    names = WEIGHTS[preset]
    whisper, llm = (assets.ready(*catalog.weights(name), progress) for name in names)
    run = prepare(config, whisper_dir=whisper, llm_dir=llm, names=names, folder=data, output=output, progress=progress)
    train(run, progress)
    print(f"stored: {output / 'export'}")
