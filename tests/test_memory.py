"""Memory that was freed goes back to the system: real memory of a real process."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from diva_bench.decoding import memory

SCRIPT = """
import re
from pathlib import Path
from diva_bench.decoding import memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

before = resident()
pieces = [bytes([k % 255 + 1]) * 100_000 for k in range(2_000)]  # 200 MB in pieces that malloc keeps in its heap
last = pieces[-1]
del pieces
kept = resident()
memory.release()
print(kept - before, resident() - before)
"""


@pytest.mark.skipif(
    not (sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "malloc_trim")), reason="needs glibc"
)
def test_what_the_allocator_keeps_below_a_piece_in_use_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    kept, left = map(float, done.stdout.split())
    assert kept > 150  # MB: or the test says nothing
    assert left < 20


def test_where_the_c_library_cannot_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    memory._glibc.cache_clear()
    assert memory._glibc() is None
    memory.release()
    memory._glibc.cache_clear()
