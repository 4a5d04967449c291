"""stdout and stderr that may be closed, full, a closed pipe, or in a limited encoding; and signals that stop a command."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, cast

from diva_bench.disk import reason
from diva_bench.errors import UserError
from diva_bench.printable import as_json, message

_STOPS = ("SIGTERM", "SIGHUP")  # Python itself turns SIGINT into KeyboardInterrupt
_AGAIN = 0.05  # seconds until a signal is sent again


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end. The notes of the exception say what is kept."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interrupted(Exception):
    """A signal, the cause of this exception, stopped a command. typer would end silently on the cause itself."""

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self._command = command

    @property
    def code(self) -> int:
        """The exit code."""
        return 128 + int(getattr(self.__cause__, "number", signal.SIGINT))

    @property
    def notes(self) -> str:
        """What is kept and what to do: the notes of the cause, else by the kind of command."""
        kept = "what was written is kept: run the same command again to continue"
        usual = kept if self._command in _CONTINUE else "run the same command again"
        return "; ".join(getattr(self.__cause__, "__notes__", None) or [usual])


_CONTINUE = ("run", "ablate", "train", "pull", "import", "score")
"""Commands that continue their work when they are started again; the others begin it anew."""


class Unwritable(Exception):
    """stdout cannot be written. `broken`: the reader of the pipe has ended, which is not an error."""

    def __init__(self, err: OSError) -> None:
        super().__init__(err.strerror or str(err))
        self.broken = isinstance(err, BrokenPipeError)


def say(text: object = "", *, error: bool = False) -> None:
    """Print one of our messages. Foreign text in it is escaped; line breaks stay."""
    print(message(str(text)), file=sys.stderr if error else sys.stdout, flush=error)


def say_json(value: Any) -> None:
    """Print JSON; in ASCII if the encoding of stdout is limited, because Python's own escapes are not JSON."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("_", "-")
    print(as_json(value, ascii_only=not encoding.startswith(("utf-8", "utf8"))))


def check_file(path: Path | None, option: str) -> None:
    """Raises UserError if a file cannot be written. Call it before the content is computed. The file does not change."""
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder. Give the path of a file.")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}. Make it, or choose another file.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{option} {path}: cannot be written. Choose a file in a folder that you may write to.")


def write_file(path: Path, text: str, option: str) -> None:
    """Replace a file in one step. Raises UserError if that fails; the file then has its former content."""
    plain = path.is_file() or not path.exists()  # /dev/stdout is a device: nothing may take its place
    aside = path.with_name(f".{path.name}.part") if plain else path
    try:
        aside.write_text(text, encoding="utf-8", newline="")
        if plain:
            aside.replace(path)
    except OSError as err:
        if plain:
            aside.unlink(missing_ok=True)
        raise UserError(f"{option} {path}: cannot be written ({reason(err)}). Choose another file.") from err


class _Notes(logging.Handler):
    """Prints the log messages of the library; equal messages only once, because a fault of a task is reported for each of
    its runs."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if text not in self._printed:
            self._printed.add(text)
            say(text, error=True)


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Context in which log messages of the library from level INFO are printed on stderr."""
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
    """A message if an exception or one of its causes is a lack of memory; else ""."""
    cause: BaseException | None = err
    while cause is not None:
        if isinstance(cause, MemoryError) or any(lack in str(cause).lower() for lack in _LACKS):
            reason = " ".join(str(cause).split())[:200] or "MemoryError"
            return f"not enough memory ({reason}). Free some, raise the limit (`ulimit -v`), or run a smaller model."
        cause = cause.__cause__ or cause.__context__
    return ""


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Context in which stdout and stderr accept all characters. A failing stderr is ignored, so that a run goes on without
    its progress; a failing stdout raises Unwritable, also for buffered output at the end. SIGTERM and SIGHUP raise
    Stopped."""
    _open_closed()
    out, err = sys.stdout, sys.stderr
    for stream in (out, err):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    before = {}
    for name in _STOPS:
        number = getattr(signal, name)
        if signal.getsignal(number) is signal.SIG_DFL:  # with nohup SIGHUP is ignored, and stays so
            before[number] = signal.signal(number, _stop)
    sys.stdout, sys.stderr = cast(TextIO, _Out(out)), cast(TextIO, _Err(err))
    sys.unraisablehook, unraisable = _send_again, sys.unraisablehook
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout, sys.stderr, sys.unraisablehook = out, err, unraisable
        for number, handler in before.items():
            signal.signal(number, handler)


def _send_again(lost: sys.UnraisableHookArgs) -> None:
    """Send a signal again whose exception was raised where Python discards all of them, such as in a function that a C
    library calls while it reads a clip."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        number = getattr(lost.exc_value, "number", signal.SIGINT)
        again = threading.Timer(_AGAIN, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(lost)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def _open_closed() -> None:
    """Open /dev/null in place of a closed stream. Otherwise the next opened file would get its number, and libraries that
    write to stderr would write into a run folder."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # open as long as the process


class _Stream:
    """Wraps a stream, and decides what a failed write does."""

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
        """Redirect further output, and what is left in the buffer, to /dev/null."""
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
