"""News from inside a batch for the progress bar of a run: the current stage, and how many clips or answers are done.

An adapter returns the answers of a batch all at once, which takes minutes with 64 samples on a CPU. So the code that
encodes, transcribes and decodes reports its progress here, and the run listens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int], None]
"""Called with a stage of `decoding/phases.py` and the number of rows that have just finished it; 0: the stage begins."""

DECODE = "decode"
"""The last stage: a row that finishes it is an answer."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` for all reports inside the `with` block, in this thread."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def report(stage: str, rows: int = 0) -> None:
    """Tell the listener, if there is one."""
    if (listener := _listener.get()) is not None:
        listener(stage, rows)
