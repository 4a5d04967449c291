"""`diva-bench ...` inside the test's own process: what a real one prints and returns, without a second to start it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from diva_bench.cli.main import main

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def call(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command line in `folder`, with a cache of its own there, on a screen of 160 columns."""
    known = {"DIVA_BENCH_CACHE": str(folder / "cache"), "DIVA_BENCH_PATH": "", "COLUMNS": "160"}
    said, told = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, known | environment),
        mock.patch.object(sys, "argv", ["diva-bench", *words]),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(told),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return subprocess.CompletedProcess(words, int(ended.value.code or 0), said.getvalue(), told.getvalue())


def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`call` in `folder`, where the test itself is then as well, and has the same cache."""
    for name, value in (("DIVA_BENCH_CACHE", str(folder / "cache")), ("DIVA_BENCH_PATH", "")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    return lambda *words: call(folder, *words)
