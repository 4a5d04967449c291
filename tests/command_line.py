"""`diva-bench ...` inside the test's own process: what a real one prints and returns, without a second to start it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diva_bench.cli.main import main

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A function that runs one command line in `folder`, with a cache of its own there, on a screen of 160 columns."""
    for name, value in (("DIVA_BENCH_CACHE", str(folder / "cache")), ("DIVA_BENCH_PATH", ""), ("COLUMNS", "160")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["diva-bench", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said, told = capsys.readouterr()
        return subprocess.CompletedProcess(words, int(ended.value.code or 0), said, told)

    return run
