"""Golden curves: twenty steps on the committed speech of tasks/mini-v1/heysquad.jsonl give the losses they always gave.

What is meant to change no number reproduces tests/golden_training.json; what is meant to change one comes with a new
file, made by

    OMP_NUM_THREADS=1 python tests/test_golden.py tiny "tiny time" nano     (nano needs real weights: diva-bench pull -m diva)
"""

from __future__ import annotations

import json
import math
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_llm, make_whisper
from training_tools import rows_of

from diva_bench.diva.config import TrainConfig
from diva_bench.training import run as running
from diva_bench.training import train
from diva_bench.types import Silent

SPEECH = Path(__file__).parents[1] / "tasks" / "mini-v1" / "heysquad.jsonl"
GOLDEN = Path(__file__).with_name("golden_training.json")
# a percentage of a few clips jumps when one of them tips over, so it says little of how near two runs are
LOSSES = ("align", "pull", "distill", "dev_align", "dev_distill", "dev_kl")
TOLERANCE = {"tiny": 1e-3, "tiny time": 1e-3, "nano": 2e-3}
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"encoder": "w", "llm": "l", "max_queries": 80, "layers": 2, "batch": 8, "both_batch": 4, "lr": 5e-3,
             "both_lr": 2e-3},
    "tiny time": {"encoder": "w", "llm": "l", "queries": "time", "stride": 2, "locality": 6.0, "alignment": "ctc", "pull": 1.0,
                  "negatives": 120, "layers": 2, "batch": 8, "both_batch": 4, "lr": 5e-3, "both_lr": 2e-3},
    "nano": {"encoder": "whisper-tiny.en", "llm": "smollm2-135m-instruct", "max_queries": 32, "layers": 4, "batch": 4,
             "both_batch": 2},
}  # fmt: skip


def curve(name: str, folder: Path, whisper: Path, llm: Path) -> list[dict[str, float]]:
    """Losses of 12 steps of alignment and 8 of both losses, in float32."""
    config = TrainConfig(
        steps=20,
        align_steps=12,
        warmup=4,
        held_out=6,
        dtype="float32",
        log_every=1,
        evaluate_every=20,
        **SETTINGS[name],
    )
    run = running.prepare_training(
        config, whisper_dir=whisper, llm_dir=llm, sources=[str(SPEECH)], output=folder / "out", cache=folder / "cache",
        progress=Silent(),
    )  # fmt: skip
    train.train(run, Silent())
    return [{k: row[k] for k in ("step", *LOSSES) if k in row} for row in rows_of(folder / "out")]


def same(name: str, found: list[dict[str, float]]) -> None:
    wanted = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    assert [row.keys() for row in found] == [row.keys() for row in wanted]
    assert len(wanted) == 20
    for mine, golden in zip(found, wanted, strict=True):
        assert mine == pytest.approx(golden, rel=TOLERANCE[name]), f"step {golden['step']}"
    assert all(math.isfinite(v) for row in wanted for v in row.values())


@pytest.mark.parametrize("name", ["tiny", "tiny time"])
def test_tiny_models_train_as_they_always_did(name: str, tmp_path: Path) -> None:
    same(name, curve(name, tmp_path, make_whisper(tmp_path / "w"), make_llm(tmp_path / "l")))


@pytest.mark.weights
def test_the_nano_models_train_as_they_always_did(weights: Callable[[str], Path], tmp_path: Path) -> None:
    same("nano", curve("nano", tmp_path, weights("whisper-tiny.en"), weights("smollm2-135m-instruct")))


def made_by() -> str:
    from importlib.metadata import version

    parts = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "numpy"))
    return (
        f"OMP_NUM_THREADS=1 python tests/test_golden.py tiny 'tiny time' nano; {parts}, {platform.machine()}; running means "
        f"of the losses of 12 steps of alignment and 8 of both, float32, on {SPEECH.name}; compared with relative {TOLERANCE}"
    )


if __name__ == "__main__":
    from diva_bench.catalog import Catalog
    from diva_bench.weights import assets

    held = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    for asked in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            if asked.startswith("tiny"):
                given = make_whisper(folder / "w"), make_llm(folder / "l")
            else:
                found = (assets.locate(*Catalog().weights(SETTINGS["nano"][part])) for part in ("encoder", "llm"))
                given = tuple(path for path in found if path)  # type: ignore[assignment]
            held[asked] = curve(asked, folder, *given)
    held = {"made_by": made_by(), **{name: held[name] for name in SETTINGS if name in held}}
    GOLDEN.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
