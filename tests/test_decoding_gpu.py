"""Decoding on a CUDA device, in a process of its own: `pytest -m gpu` where there is one.

All other tests see no GPU (conftest.py)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

PROGRAM = Path(__file__).with_name("gpu_decoding.py")


@pytest.mark.parametrize(
    "check",
    [
        pytest.param("greedy", id="greedy answers of recorded steps are the dynamic ones"),
        pytest.param("stops", id="rows that stop early change no other answer"),
        pytest.param("sampled", id="drawn tokens are the dynamic ones"),
        pytest.param("half", id="bfloat16 decodes"),
        pytest.param("as_on_a_cpu", id="answers are those of a CPU"),
        pytest.param("clips", id="features of clips are those of a CPU"),
    ],
)
def test_on_cuda(gpus: Callable[[int], dict[str, str]], tmp_path: Path, check: str) -> None:
    shown = gpus(1)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), check, "cuda", str(tmp_path)],
        env=shown,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
