"""diva-bench's recogniser as an adapter of a plugin that can be made to fail (`faults`)."""

from __future__ import annotations

from collections.abc import Sequence

import faults

from diva_bench.adapters.asr import Asr
from diva_bench.types import Request, Response


class FailingAsr(Asr):
    def generate(self, requests: Sequence[Request]) -> list[Response]:
        faults.note(len(requests))
        if any(r.id in faults.RAISE for r in requests):
            raise RuntimeError("made to fail")
        return super().generate(requests)
