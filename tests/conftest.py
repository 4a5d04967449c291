"""Real weights for the tests that are marked `weights`, GPUs for those marked `gpu`; everything else makes its own tiny
models and runs on the CPU, also where there is a GPU: its numbers and bits are a CPU's."""

from __future__ import annotations

import functools
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main

from diva_bench.catalog import Catalog
from diva_bench.weights import assets

_SHOWN = os.environ.get("CUDA_VISIBLE_DEVICES")
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before anything asks CUDA what there is


# Typer reads the signatures of all commands at every call, 0.07 s, and a process has one call, but a test process has
# thousands. The commands themselves are made anew, because they keep what a call has set.
typer.main.get_params_from_function = functools.cache(typer.main.get_params_from_function)


@pytest.fixture(scope="module", autouse=True)
def _imports_are_not_garbage() -> None:
    """What was imported before is not looked at again: a full collection, which some tests ask for, takes 0.3 s less with
    torch loaded, and test_contract.py 15 s instead of 38."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def gpus() -> Callable[[int], dict[str, str]]:
    """How many are needed -> environment of a process that sees them; skips where there are fewer."""
    shown = {**os.environ, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}  # asking does not start CUDA, which outlives no fork
    del shown["CUDA_VISIBLE_DEVICES"]
    shown |= {} if _SHOWN is None else {"CUDA_VISIBLE_DEVICES": _SHOWN}
    ask = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    count: list[int] = []

    def find(needed: int) -> dict[str, str]:
        if not count:
            count.append(int(subprocess.run(ask, env=shown, capture_output=True, text=True, check=True).stdout))
        if count[0] < needed:
            pytest.skip(f"needs {needed} CUDA device(s); there are {count[0]}")
        return shown

    return find


@pytest.fixture(scope="session")
def weights() -> Callable[[str], Path]:
    """Name of a weights file -> its folder in the cache, or under DIVA_BENCH_TEST_WEIGHTS; skips where there is none.

    Nothing is downloaded: `diva-bench pull` does that.
    """

    def find(name: str) -> Path:
        folder = os.environ.get("DIVA_BENCH_TEST_WEIGHTS")
        if folder and (Path(folder) / name).is_dir():
            return Path(folder) / name
        spec, home = Catalog().weights(name)
        if found := assets.locate(spec, home):
            return found
        pytest.skip(f"weights {name} are not here; set DIVA_BENCH_TEST_WEIGHTS, or pull a model that uses them")

    return find
