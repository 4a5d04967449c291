"""An adapter without a model for tests: it answers at once, and fails when its settings say so."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diva_bench.specs import ModelSpec
from diva_bench.types import LabelScore, Request, Response

_DEFAULTS: Mapping[str, Any] = {
    "reply": "id",
    "delay": 0.0,
    "fail_ids": [],
    "fail_how": "raise",
    "memory_rows": 0,
    "log": "",
}


class Echo:
    """Answers from the request itself.

    Args of the model spec:
    - `reply`: "id", "prompt", "transcript", "audio" (a hash of the audio samples), or any other text, which is then the
      answer.
    - `delay`: seconds per request.
    - `fail_ids`, `fail_how`: ids of requests that fail, and how: "raise" an exception, or answer with status "error".
    - `memory_rows`: batches with more requests than this raise MemoryError.
    - `log`: a file that gets one line with the ids of every batch.
    """

    accepts = frozenset({"audio", "text", "choices"})
    version = "1"
    settings = _DEFAULTS

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        args = {**_DEFAULTS, **spec.args}
        self._reply, self._delay, self._how = str(args["reply"]), float(args["delay"]), str(args["fail_how"])
        self._fail, self._rows, self._log = set(args["fail_ids"]), int(args["memory_rows"]), str(args["log"])

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        if self._log:
            with Path(self._log).open("a", encoding="utf-8") as file:
                file.write(" ".join(r.id for r in requests) + "\n")
        if self._rows and len(requests) > self._rows:
            raise MemoryError(f"out of memory at {len(requests)} rows")
        if self._delay:
            time.sleep(self._delay * len(requests))
        return [self._one(r) for r in requests]

    def _one(self, request: Request) -> Response:
        if request.id in self._fail:
            if self._how == "raise":
                raise RuntimeError(f"failure on request at {request.id}")
            return Response(request.id, status="error", detail="failure on request")
        replies = {"id": request.id, "prompt": request.prompt, "transcript": request.transcript or ""}
        if self._reply == "audio" and request.audio is not None:
            replies["audio"] = hashlib.sha256(request.audio.samples.tobytes()).hexdigest()[:16]
        choices = None
        if request.choices:
            # deterministic, and different for every sample
            score = {c: -1.0 - zlib.crc32(f"{request.id}:{c}".encode()) / 2**32 for c in request.choices}
            choices = {c: LabelScore(s, 1, s) for c, s in score.items()}
        return Response(request.id, text=replies.get(self._reply, self._reply), choices=choices)

    def close(self) -> None:
        return None
