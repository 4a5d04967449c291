"""Connectors as a training leaves them, without the training: their records, and their installation."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from diva_bench.catalog import Catalog
from diva_bench.cli.main import main
from diva_bench.cli.train import install, resolve, weights_name

CONFIG = {"align": 1.0, "distill": 1.0, "distillation": "l2", "align_steps": 2200, "max_queries": 32, "seed": 0}
COMPUTE = {
    "examples": 76800,
    "steps": 3000,
    "device": "some CPU, 2 threads",
    "devices": 1,
    "audio_hours_unique": 12.58,
    "audio_seconds": 271_800.0,
    "flops": {"encoder": 1e15, "student": 2.5e15},
    "device_seconds": 1288.4,
    "peak_memory_bytes": 2_100_000_000,
}
Done = tuple[int, str, str]  # exit code, stdout, stderr with one space for every white space


def own_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache in `folder`, where the test is then as well."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(folder / "cache"))
    monkeypatch.delenv("DIVA_BENCH_PATH", raising=False)
    return folder / "cache"


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """diva-bench in this process."""

    def command(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["diva-bench", *words])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        return int(code or 0), out, " ".join(err.split())

    return command


def exported(folder: Path, record: Any = None, content: str = "a connector") -> Path:
    """What a training leaves in its export folder, with bytes that no adapter could load."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "connector.safetensors").write_text(content)
    (folder / "config.json").write_text("{}")
    if record is not None:
        (folder / "training.json").write_text(json.dumps(record))
    return folder


def trained(
    folder: Path,
    *changes: str,
    content: str = "a connector",
    preset: str = "nano",
    ablation: str | None = None,
    name: str | None = None,
    paths: Sequence[Path] = (),
) -> str:
    """Install a connector as `diva-bench train` does at its end; what it prints."""
    config, catalog = resolve(preset, ablation, changes), Catalog(paths)
    chosen = weights_name(catalog, name, config, preset, ablation)
    record = {"config": CONFIG, "compute": COMPUTE}
    return install(catalog, chosen, config, preset, ablation, exported(folder / "export", record, content))
