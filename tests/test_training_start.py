"""Training that goes on from a connector somebody trained before: what it starts with, what it records, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_llm
from training_tools import config, make_place
from training_tools import prepared as prepared_anew

from diva_bench.diva import checkpoint
from diva_bench.errors import AssetError, UserError
from diva_bench.training import run as running
from diva_bench.training import train
from diva_bench.types import Silent


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models and clips, and in `before/export` a connector trained between them."""
    folder = make_place(tmp_path_factory.mktemp("start"))
    train.train(prepared_anew(folder, folder / "before", folder / "cache"), Silent())
    return folder


def prepared(place: Path, output: Path, start: Path, llm: str = "llm", **changes: Any) -> running.TrainingRun:
    return running.prepare_training(
        config(**{"start_from": str(start), "align_steps": 0} | changes), whisper_dir=place / "whisper",
        llm_dir=place / llm, start_dir=start, sources=[str(place)], output=output, cache=place / "cache",
        progress=Silent(),
    )  # fmt: skip


def test_training_starts_with_the_stored_weights_and_moves_them(place: Path, tmp_path: Path) -> None:
    run = prepared(place, tmp_path / "out", place / "before" / "export", steps=2)
    stored = checkpoint.load(place / "before" / "export").state_dict()
    begun = {name: value.clone() for name, value in run.trained.connector.state_dict().items()}
    assert all(torch.equal(begun[name], stored[name]) for name in stored)
    train.train(run, Silent())
    assert any(not torch.equal(begun[name], value) for name, value in run.trained.connector.state_dict().items())


def test_the_record_names_the_start_and_no_folder_of_somebodys_machine(place: Path, tmp_path: Path) -> None:
    train.train(prepared(place, tmp_path / "out", place / "before" / "export", steps=1), Silent())
    folder = tmp_path / "out" / "export"
    about = json.loads((folder / "config.json").read_text())
    assert about["start"]["weights"] == "export"
    assert about["start"]["fingerprint"] == running.whole(place / "before" / "export")["connector.safetensors"][:16]
    record, first = (json.loads((f / "training.json").read_text()) for f in (folder, place / "before" / "export"))
    assert record["config"]["start_from"] == "export"
    assert record["before"] == first  # the ledger of a connector is that of all its trainings
    assert (
        str(place)
        not in (folder / "config.json").read_text() + (folder / "training.json").read_text().split('"data"')[0]
    )


def test_a_training_is_resumed_from_the_same_start_wherever_it_lies_and_from_no_other(
    place: Path, tmp_path: Path
) -> None:
    train.train(prepared(place, tmp_path / "out", place / "before" / "export", steps=1), Silent())
    moved = tmp_path / "moved"
    moved.symlink_to(place / "before" / "export")
    train.train(prepared(place, tmp_path / "out", moved, steps=2), Silent())
    with pytest.raises(UserError, match="start"):
        train.train(prepared(place, tmp_path / "out", tmp_path / "out" / "export", steps=3), Silent())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": 1}, r"start_from .*export: its connector has layers 2, not 1"),
        ({"max_queries": 10}, r"its connector has max_queries 12, not 10"),
        ({"window_seconds": 30.0}, r"window_seconds None, not 30.0"),
    ],
)
def test_a_start_of_another_size_is_refused_with_both_sizes(
    place: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        prepared(place, tmp_path / "out", place / "before" / "export", **changes)


def test_a_start_trained_between_other_models_is_refused(place: Path, tmp_path: Path) -> None:
    make_llm(place / "other", seed=7)
    with pytest.raises(AssetError, match="trained with llm"):
        prepared(place, tmp_path / "out", place / "before" / "export", llm="other")
