"""Times of the stages of a batch: encode or transcribe, prefill, labels, decode.

Stages in run records: `encode`, the speech encoder and the connector; `transcribe`, the recogniser of a cascade;
`reuse`, either of them read from the memo; `prefill`, reading the prompts; `labels`, scoring labels; `decode`,
generating the answers.
"""

from __future__ import annotations

import time
from typing import Any

import torch


class Clock:
    """Seconds of one batch by stage.

    A GPU runs asynchronously. So on CUDA a lap records an event in the queue of the device, and only `seconds` waits
    for the device: measuring does not interrupt its work.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._cuda = torch.device(device) if torch.device(device).type == "cuda" else None
        self._marks: list[tuple[str, Any]] = [("", self._mark())]

    def lap(self, stage: str) -> None:
        """Assign the time since the last lap, or since the creation of the clock, to `stage`."""
        self._marks.append((stage, self._mark()))

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> seconds of all its laps."""
        if self._cuda is not None:
            self._marks[-1][1].synchronize()
        spent: dict[str, float] = {}
        for (_, before), (stage, after) in zip(self._marks, self._marks[1:], strict=False):
            took = after - before if self._cuda is None else before.elapsed_time(after) / 1000  # events measure ms
            spent[stage] = spent.get(stage, 0.0) + took
        return spent

    def _mark(self) -> Any:
        if self._cuda is None:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._cuda))
        return event
