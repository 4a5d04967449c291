"""The end of a training: the connector as it ships, its record, and YAML files that name it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from diva_bench import disk, provenance
from diva_bench.diva import checkpoint
from diva_bench.training import evaluate, sources
from diva_bench.training.meter import Meter
from diva_bench.training.run import Run

FILES = ("connector.safetensors", "config.json")  # what a model needs; training.json is for people


def export(run: Run, log: list[dict[str, Any]], meter: Meter) -> Path:
    """Store the connector, and measure what the storage format costs."""
    config, target = run.config, run.output / "export"
    where = provenance.collect([])
    last = {k: v for k, v in log[-1].items() if k.startswith("dev_")} if log else {}
    record: dict[str, Any] = {
        "config": asdict(config),
        "compute": meter.record(),
        "clips": len(run.clips.train),
        "clips_held_out": len(run.clips.dev),
        "skipped": run.clips.skipped,
        "versions": where["versions"],
        "git": where["git"],
        "scale": run.scale,
        "data": [sources.fingerprint(source) for source in run.sources],
        "curve": log,
        "dev_float32": {k.removeprefix("dev_"): v for k, v in last.items()},
    }
    checkpoint.save(run.trained.connector, target, run.about, record)
    stored = checkpoint.load(target).to(run.device)
    record["dev_stored"] = evaluate.dev_scores(run, stored)
    checkpoint.save(run.trained.connector, target, run.about, record)
    if run.trained.encoder is not None:
        checkpoint.save_encoder(run.trained.encoder, target)
    return target


def weights_yaml(folder: Path, name: str, description: str) -> Path:
    """Write <folder>/<name>.yaml: weights that a model can name, of the connector in <folder>/export."""
    found = [f for f in (*FILES, checkpoint.ENCODER) if (folder / "export" / f).exists()]
    files = [
        {
            "path": f,
            "sha256": disk.sha256(folder / "export" / f),
            "bytes": (folder / "export" / f).stat().st_size,
            "sources": [{"file": f"export/{f}"}],
        }
        for f in found
    ]
    spec = {"name": name, "format": "safetensors", "description": description, "licence": "your own", "files": files}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def record_of(folder: Path) -> dict[str, Any]:
    """training.json of an exported connector."""
    return dict(json.loads((folder / "training.json").read_text(encoding="utf-8")))
