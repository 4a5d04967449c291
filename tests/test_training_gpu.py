"""Trainings on CUDA devices, each in a process of its own: `pytest -m gpu` where there are some.

All other tests see no GPU (conftest.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_tools import DEATHS, EVERYTHING, in_processes, job, make_place, rows_of

pytestmark = pytest.mark.gpu

Gpus = Callable[[int], dict[str, str]]
LONGER = {"steps": 20, "align_steps": 12, "evaluate_every": 10, "both_batch": 4}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("gpu"), clips=40)


def device_of(output: Path) -> str:
    record = json.loads((output / "export" / "training.json").read_text(encoding="utf-8"))
    return str(record["compute"]["device"])


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "float32"}, {"dtype": "bfloat16"}, {"dtype": "bfloat16", "distillation": "kl"},
        {"dtype": "bfloat16", "checkpointing": True}, EVERYTHING,
    ],
    ids=["float32", "bfloat16", "kl", "checkpointing", "everything"],
)  # fmt: skip
def test_on_cuda_a_training_killed_at_any_moment_ends_with_the_same_curve_and_the_same_bytes(
    gpus: Gpus, place: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    shown = gpus(1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    jobs = [job(place, whole, tmp_path / "cache of one", **changes)]
    jobs += [job(place, killed, tmp_path / "cache", death, **changes) for death in [*DEATHS, None]]
    assert in_processes(tmp_path, jobs, shown=shown) == [0, *[-9] * len(DEATHS), 0]
    assert "threads" not in device_of(whole), "this ran on a CPU"
    assert rows_of(killed) == rows_of(whole)
    for file in sorted((whole / "export").glob("*.safetensors")):
        assert (killed / "export" / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("changes", [{}, {"compile": True}], ids=["as it is", "compiled"])
def test_on_cuda_a_training_has_the_curve_it_has_on_a_cpu(
    gpus: Gpus, place: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    shown, there, here = gpus(1), tmp_path / "there", tmp_path / "here"
    assert in_processes(tmp_path, [job(place, there, tmp_path / "cache", **LONGER, **changes)], shown=shown) == [0]
    assert in_processes(tmp_path, [job(place, here, tmp_path / "cache here", **LONGER)]) == [0]
    assert "threads" in device_of(here)
    assert "threads" not in device_of(there)
    ours, theirs = rows_of(there), rows_of(here)
    assert len(ours) == len(theirs) == LONGER["steps"]
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for name in {"align", "distill"} & b.keys():
            assert a[name] == pytest.approx(b[name], rel=2e-3), (b["step"], name)


def test_two_gpus_have_the_curve_of_one_with_the_same_batches(gpus: Gpus, place: Path, tmp_path: Path) -> None:
    shown, one, two = gpus(2), tmp_path / "one", tmp_path / "two"
    changes = {**LONGER, "accumulate": 2}
    assert in_processes(tmp_path, [job(place, one, tmp_path / "cache of one", **changes)], shown=shown) == [0]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--log-dir", str(tmp_path)]
    in_processes(tmp_path, [job(place, two, tmp_path / "cache", **changes)], *launcher, shown=shown)
    ours, theirs = rows_of(two), rows_of(one)
    assert len(ours) == LONGER["steps"]
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-4)
