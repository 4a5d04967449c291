"""The end of a training: export the connector with its record, and install it for models."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from diva_bench import disk
from diva_bench.diva import checkpoint
from diva_bench.errors import AssetError
from diva_bench.training import evaluate, sources
from diva_bench.training.meter import Meter
from diva_bench.training.run import TrainingRun

FILES = ("connector.safetensors", "config.json")  # files that a model needs; training.json is only information


def export(run: TrainingRun, log: list[dict[str, Any]], meter: Meter, where: Mapping[str, Any]) -> Path:
    """Store the connector, and measure the loss by the storage format. `where`: versions and commit at the start."""
    config, target = run.config, run.output / "export"
    about = {**run.about, "alignment": {"aligned": config.aligned, "shift": config.shift}}
    last = {k: v for k, v in log[-1].items() if k.startswith("dev_")} if log else {}
    record: dict[str, Any] = {
        "config": {**asdict(config), **_named(run)},
        "compute": meter.record(),
        "clips": len(run.clips.train),
        "clips_held_out": len(run.clips.dev),
        "words": run.clips.words(),
        "skipped": run.clips.skipped,
        **where,
        "scale": run.scale,
        **({"before": run.before} if run.before else {}),  # the training of the connector from which this one started
        "data": [sources.fingerprint(source) for source in run.sources],
        "curve": log,
        "dev_constant": evaluate.constant_scores(run, evaluate.looked_at(run)) if run.clips.dev else {},
        "dev_float32": {k.removeprefix("dev_"): v for k, v in last.items()},
    }
    checkpoint.save(run.trained.connector, target, about, record)
    stored = checkpoint.load(target).to(run.device)
    record["dev_stored"] = evaluate.dev_scores(run, stored)
    checkpoint.save(run.trained.connector, target, about, record)
    if run.trained.encoder is not None:
        checkpoint.save_encoder(run.trained.encoder, target)
    return target


def _named(run: TrainingRun) -> dict[str, str | None]:
    """The models and data of the training, by names without folders of this machine."""
    fields = {"encoder": "encoder", "llm": "llm", "start_from": "start"}
    return {field: run.about[part]["weights"] if part in run.about else None for field, part in fields.items()}


def weights_spec(folder: Path, name: str, description: str) -> dict[str, Any]:
    """The content of a weights YAML beside an exported connector."""
    files = [
        {"path": f, "sha256": disk.sha256(folder / f), "bytes": (folder / f).stat().st_size, "sources": [{"file": f}]}
        for f in (*FILES, checkpoint.ENCODER)
        if (folder / f).exists()
    ]
    return {"name": name, "format": "safetensors", "description": description, "licence": "your own", "files": files}


def install(folder: Path, place: Path, specs: Mapping[str, Mapping[str, Any]]) -> bool:
    """Copy an exported connector to `place`, with YAML files (name -> content) beside it.

    The old connector stays until the new one is completely written and flushed.

    Returns:
        Whether there was one before.

    Raises:
        AssetError: `place` cannot be written. The export is not changed.
    """
    making, old = (place.with_name(f".{kind}-{place.name}") for kind in ("making", "old"))
    try:
        for left in (making, old):  # left by a killed process
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(folder, making)  # and the folders above it
        for file, spec in specs.items():
            text = yaml.safe_dump(dict(spec), sort_keys=False, allow_unicode=True, width=120)
            (making / file).write_text(text, encoding="utf-8")
        for path in [*making.iterdir(), making]:
            disk.sync(path)
        if before := place.exists():
            os.replace(place, old)
        os.replace(making, place)
        disk.sync(place.parent)
    except OSError as err:
        shutil.rmtree(making, ignore_errors=True)
        raise AssetError(
            f"{place}: the trained connector cannot be installed ({err}). It is kept in {folder}: free some space, or set "
            "DIVA_BENCH_CACHE to a folder that can be written, and run the same command again."
        ) from err
    shutil.rmtree(old, ignore_errors=True)
    return before
