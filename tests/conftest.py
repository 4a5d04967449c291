"""Real weights for the tests that are marked `weights`; everything else makes its own tiny models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from diva_bench import assets
from diva_bench.catalog import Catalog


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
