"""A program of test_decoding_gpu.py, in a process that sees the GPU: static decoding with graphs against dynamic decoding.

    python tests/gpu_decoding.py CHECK DEVICE FOLDER

DEVICE cpu runs the same checks without graphs.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import torch
from tiny_models import make_llm, make_whisper
from torch import Tensor

from diva_bench.decoding.llm import LLM
from diva_bench.decoding.whisper import Whisper

COUNT = 40


def both(folder: Path, device: str, dtype: str = "float32") -> tuple[LLM, LLM]:
    make_llm(folder)
    return LLM.load(folder, device, dtype), LLM.load(folder, device, dtype, "static")


def prompts(llm: LLM, rows: int, longest: int = 90) -> list[Tensor]:
    chance = random.Random(rows)
    return [llm.embed([chance.randrange(256) for _ in range(chance.randint(3, longest))]) for _ in range(rows)]


def decoded(llm: LLM, rows: int, longest: int = 90, **how: Any) -> list[list[int]]:
    return llm.generate(llm.prefill(prompts(llm, rows, longest)), COUNT, **how)


def greedy(folder: Path, device: str) -> None:
    """Graphs recorded for one batch serve the next; growing buffers make new ones."""
    dynamic, static = both(folder, device)
    for rows, longest in [(1, 90), (5, 90), (5, 90), (64, 20), (2, 7), (9, 200), (64, 90), (64, 90), (1, 3)]:
        assert decoded(static, rows, longest) == decoded(dynamic, rows, longest), (rows, longest)
    assert static._static is not None
    if device != "cpu":
        assert any(step.graph is not None for step in static._static._steps.values()), "no step was recorded"


def stops(folder: Path, device: str) -> None:
    dynamic, static = both(folder, device)
    whole = decoded(dynamic, 64)
    for token in (whole[0][0], whole[0][7], whole[-1][20]):
        dynamic._stops = static._stops = dynamic._stops | {token}
        wanted = decoded(dynamic, 64)
        assert decoded(static, 64) == wanted
        assert len({len(answer) for answer in wanted}) > 1


def sampled(folder: Path, device: str) -> None:
    dynamic, static = both(folder, device)
    for rows in (1, 7, 64):
        how = {"temperature": 1.3, "seeds": list(range(rows))}
        assert decoded(static, rows, **how) == decoded(dynamic, rows, **how), rows


def half(folder: Path, device: str) -> None:
    """In bfloat16 answers may differ; loading has compared the logits, and lengths are right."""
    _, static = both(folder, device, "bfloat16")
    answers = decoded(static, 64)
    assert len(answers) == 64
    assert max(len(answer) for answer in answers) == COUNT


def as_on_a_cpu(folder: Path, device: str) -> None:
    make_llm(folder)
    here, there = LLM.load(folder), LLM.load(folder, device, "float32", "static")
    assert decoded(there, 13) == decoded(here, 13)


def clips(folder: Path, device: str) -> None:
    """Features of clips that are copied from pinned memory while earlier ones are computed."""
    import numpy as np

    make_whisper(folder)
    here, there = Whisper.load(folder), Whisper.load(folder, device)
    rng = np.random.default_rng(0)
    waves = [(0.1 * rng.standard_normal(int(16_000 * s))).astype(np.float32) for s in (0.05, 3.1, 9.0, 0.4, 15.2)] * 8
    (mel, mask), (other, other_mask) = here.features(waves), there.features(waves)
    assert torch.equal(mask, other_mask.cpu())
    torch.testing.assert_close(mel, other.cpu(), atol=2e-3, rtol=2e-3)


if __name__ == "__main__":
    check, where, place = sys.argv[1:]
    torch.set_num_threads(1)
    globals()[check](Path(place), where)
