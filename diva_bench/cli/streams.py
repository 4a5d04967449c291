"""stdout and stderr as they may be: closed, full, a pipe that nobody reads any more, in an encoding without our characters;
and the signals that stop a command."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO, cast

from diva_bench.printable import as_json, message

_STOPS = ("SIGTERM", "SIGHUP")  # SIGINT is Python's own KeyboardInterrupt


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end. What is kept of its work stands in the notes of the exception."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Unwritable(Exception):
    """stdout cannot be written; `broken`: nobody reads it any more, which is no fault."""

    def __init__(self, err: OSError) -> None:
        super().__init__(err.strerror or str(err))
        self.broken = isinstance(err, BrokenPipeError)


def say(text: object = "", *, error: bool = False) -> None:
    """Print a message of ours, whatever of others is in it: line breaks stay, what a terminal obeys does not."""
    print(message(str(text)), file=sys.stderr if error else sys.stdout, flush=error)


def say_json(value: Any) -> None:
    """Print JSON, in ASCII where stdout has no other characters: an escape of Python's would be no JSON."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("_", "-")
    print(as_json(value, ascii_only=not encoding.startswith(("utf-8", "utf8"))))


class _Notes(logging.Handler):
    """What the library logs, on the terminal; the same text once, since what is wrong with a task is so in all its runs."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if text not in self._said:
            self._said.add(text)
            say(text, error=True)


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Inside, what the library tells its logger from INFO on stands on stderr."""
    logger, handler = logging.getLogger("diva_bench"), _Notes(logging.INFO)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


_LACKS = ("cannot allocate memory", "can't allocate memory", "can't start new thread", "failed to map segment")


def lack_of_memory(err: BaseException) -> str:
    """What to say where an exception, or what it came of, is a lack of memory; "" where it is not."""
    cause: BaseException | None = err
    while cause is not None:
        if isinstance(cause, MemoryError) or any(lack in str(cause).lower() for lack in _LACKS):
            reason = " ".join(str(cause).split())[:200] or "MemoryError"
            return f"not enough memory ({reason}). Free some, raise the limit (`ulimit -v`), or ask a smaller model."
        cause = cause.__cause__ or cause.__context__
    return ""


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Inside, stdout and stderr take all characters, a stderr that fails is passed over (a run goes on without its
    progress), a stdout that fails raises Unwritable, also what was not written when the block ends; SIGTERM and SIGHUP raise
    Stopped."""
    _open_closed()
    out, err = sys.stdout, sys.stderr
    for stream in (out, err):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    before = {}
    for name in _STOPS:
        number = getattr(signal, name)
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP: then so do we
            before[number] = signal.signal(number, _stop)
    sys.stdout, sys.stderr = cast(TextIO, _Out(out)), cast(TextIO, _Err(err))
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout, sys.stderr = out, err
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def _open_closed() -> None:
    """Whoever starts us with a closed stream gets nowhere in its place: else the next file that is opened would be taken
    for it, and what libraries write to stderr would stand in a run folder."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # as long as the process


class _Stream:
    """Everything of a stream but how it fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as err:
            return self._failed(err, len(text))

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as err:
            self._failed(err, 0)

    def _failed(self, err: OSError, length: int) -> int:
        """Whatever else is written, and what is left in the buffer when Python ends, goes nowhere."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        return length


class _Err(_Stream):
    pass


class _Out(_Stream):
    def _failed(self, err: OSError, length: int) -> int:
        super()._failed(err, length)
        raise Unwritable(err) from err
