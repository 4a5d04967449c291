"""A model in a process of its own, so that the page of a study never waits for it, and a model that hangs or crashes can be
ended and started again without harm to the others.

The process imports this module, so it imports little: it starts in a second or two, and then loads its model.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from diva_bench.catalog import Catalog
from diva_bench.decoding.generate import generate
from diva_bench.errors import DivaBenchError, Stop
from diva_bench.specs import ModelSpec
from diva_bench.types import Request, Response, Silent

_SPAWN = multiprocessing.get_context("spawn")  # a fork of a process with threads or CUDA can hang
_END = 5.0  # seconds that a process has to end


class ModelProcess:
    """One model in a process of its own. `ask` is called by one thread at a time."""

    def __init__(self, spec: ModelSpec, paths: Sequence[Path]) -> None:
        self.spec, self._paths = spec, paths
        self._start()

    def _start(self) -> None:
        self._loaded = self._ended = False
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_answer, args=(theirs, self.spec, self._paths), daemon=True)
        self._process.start()
        theirs.close()

    def loaded(self, seconds: float | None = None) -> str:
        """Wait until the model is loaded. Returns why it cannot be used; "" if it can."""
        if self._loaded:
            return ""
        try:
            if not self._pipe.poll(seconds):
                return "it is still being loaded"
            problem = str(self._pipe.recv())
        except (EOFError, OSError):
            problem = "its process ended while it was loaded"
        self._loaded, self._ended = not problem, bool(problem)
        return problem

    def ask(self, request: Request, seconds: float) -> Response:
        """The answer, or an error with the reason. After a time-out or a crash the model is loaded again."""
        until = time.monotonic() + seconds
        if self._ended:
            self._again()
        if problem := self.loaded(seconds):
            return Response(request.id, status="error", detail=problem)
        try:
            self._pipe.send(request)
            if self._pipe.poll(max(0.0, until - time.monotonic())):
                found = self._pipe.recv()
                assert isinstance(found, Response)
                return found
            problem = f"no answer within {seconds:g} s (timeout); the model was started again"
        except (EOFError, OSError):
            problem = "its process ended; the model was started again"
        self._again()
        return Response(request.id, status="error", detail=problem)

    def _again(self) -> None:
        self.end()
        self._start()

    def end(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join(_END)


def _answer(pipe: Connection[Any, Any], spec: ModelSpec, paths: Sequence[Path]) -> None:
    """The work of a model's process: load, then answer until the study ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this process
    _end_with_parent()
    try:
        adapter = Catalog(paths).load(spec, Silent())
    except Exception as err:  # any exception of a model is told in words, in the other process
        pipe.send(str(err) if isinstance(err, DivaBenchError) else f"{type(err).__name__}: {err}")
        return
    pipe.send("")
    while True:
        try:
            request = pipe.recv()
        except (EOFError, OSError):
            break
        try:
            [response] = generate(adapter, [request], spec.name)
        except Stop as stop:
            response = Response(request.id, status="error", detail=str(stop))
        pipe.send(response)
    adapter.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
