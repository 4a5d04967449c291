"""LLMs in 8 and 4 bit: loaded by bitsandbytes on a CPU, asked through the same code as any other."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from test_asr_server import spec
from tiny_models import make_llm

from diva_bench.adapters.oracle import Oracle
from diva_bench.decoding.llm import LLM
from diva_bench.specs import Runtime
from diva_bench.types import Request

REQUESTS = [
    Request(str(k), "Say it again.", transcript=f"happy words {k}", choices=("yes", "no"), max_new_tokens=6)
    for k in range(3)
]


@pytest.mark.parametrize(("bits", "kind", "far"), [(8, "Linear8bitLt", 0.5), (4, "Linear4bit", 3.0)])
def test_a_quantised_llm_answers_and_scores_labels_near_the_whole_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bits: int, kind: str, far: float
) -> None:
    folder = {"llm": make_llm(tmp_path / "llm")}
    whole = spec("oracle", None)
    small = whole.model_copy(update={"runtime": Runtime(dtype="float32", bits=bits)})  # type: ignore[arg-type]
    assert small.hash != whole.hash
    with caplog.at_level(logging.WARNING):
        adapter = Oracle(small, folder, "cpu")
        got = adapter.generate(REQUESTS)
    assert "MatMul8bitLt" not in caplog.text, "it would be said at every product of matrices"
    assert {type(part).__name__ for part in adapter._llm.model.modules()} >= {kind, "Embedding"}
    assert all(r.status == "ok" for r in got)
    for one, other in zip(got, Oracle(whole, folder, "cpu").generate(REQUESTS), strict=True):
        assert one.choices is not None
        assert other.choices is not None
        for label in ("yes", "no"):
            assert 0 < abs(one.choices[label].total - other.choices[label].total) < far


def test_an_llm_is_not_spread_over_gpus_that_are_not_there(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(Exception, match="spreads an LLM over GPUs, and there is none"):
        LLM.of(make_llm(tmp_path / "llm"), "cpu", Runtime(dtype="float32", device_map="auto"))
