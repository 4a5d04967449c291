"""Decoding with a cache of fixed size gives the answers of decoding with one that grows; here without CUDA graphs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_llm
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from diva_bench.decoding.llm import LLM
from diva_bench.decoding.static import StaticDecoder
from diva_bench.errors import AssetError

COUNT = 40  # tokens of an answer: prompts and answers together cross several sizes of the cache


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="module")
def dynamic(folder: Path) -> LLM:
    return LLM.load(folder)


@pytest.fixture
def static(folder: Path) -> LLM:
    return LLM.load(folder, decode="static")


def prompts(llm: LLM, rows: int, longest: int = 90) -> list[Tensor]:
    """Words of random tokens, of unequal lengths."""
    chance = random.Random(rows)
    return [llm.embed([chance.randrange(256) for _ in range(chance.randint(3, longest))]) for _ in range(rows)]


def stop_at(llms: Sequence[LLM], token: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for llm in llms:
        monkeypatch.setattr(llm, "_stops", llm._stops | {token})


def decoded(llm: LLM, batch: Sequence[Tensor], count: int = COUNT, **how: Any) -> list[list[int]]:
    return llm.generate(llm.prefill(batch), count, **how)


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 13, 64])
def test_static_answers_are_the_dynamic_ones(dynamic: LLM, static: LLM, rows: int) -> None:
    assert decoded(static, prompts(static, rows)) == decoded(dynamic, prompts(dynamic, rows))


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_rows_that_stop_early_change_no_other_answer(
    dynamic: LLM, static: LLM, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    whole = decoded(dynamic, prompts(dynamic, rows))
    for token in (whole[0][0], whole[0][7], whole[-1][20]):  # the last ends answers at many lengths, the first at none
        stop_at([dynamic, static], token, monkeypatch)
        wanted = decoded(dynamic, prompts(dynamic, rows))
        assert decoded(static, prompts(static, rows)) == wanted
    assert rows == 1 or len({len(answer) for answer in wanted}) > 1


def test_the_rows_of_a_step_follow_the_answers_that_are_left(static: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, decoder = prompts(static, 13), static._static
    assert decoder is not None
    monkeypatch.setattr(static, "_ends", lambda row, answer, token: len(answer) >= 1 + row)
    assert [len(answer) for answer in decoded(static, batch)] == list(range(1, 14))
    assert {rows for rows, _ in decoder._steps} == {16, 8, 4, 2, 1}


@pytest.mark.parametrize("count", [1, 2, 9])
def test_answers_are_no_longer_than_asked_for(dynamic: LLM, static: LLM, count: int) -> None:
    got = decoded(static, prompts(static, 5), count)
    assert got == decoded(dynamic, prompts(dynamic, 5), count)
    assert max(len(answer) for answer in got) == count


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_drawn_tokens_are_the_dynamic_ones_too(
    dynamic: LLM, static: LLM, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    how = {"temperature": 1.3, "seeds": list(range(100, 100 + rows))}
    whole = decoded(dynamic, prompts(dynamic, rows), **how)
    assert decoded(static, prompts(static, rows), **how) == whole
    stop_at([dynamic, static], whole[0][5], monkeypatch)
    assert decoded(static, prompts(static, rows), **how) == decoded(dynamic, prompts(dynamic, rows), **how)


def test_nothing_of_a_batch_is_left_for_the_next(dynamic: LLM, static: LLM) -> None:
    sizes = [(5, 90), (64, 20), (2, 7), (9, 200), (64, 90), (1, 3)]  # buffers grow, and are larger than needed
    for rows, longest in sizes:
        got = decoded(static, prompts(static, rows, longest))
        assert got == decoded(dynamic, prompts(dynamic, rows, longest))
    assert static._static is not None
    with torch.inference_mode():
        for buffers in static._static._layers:
            for buffer in buffers:
                buffer.fill_(torch.nan)  # as a model leaves them whose numbers overflow
    assert decoded(static, prompts(static, 3)) == decoded(dynamic, prompts(dynamic, 3))


def test_prompts_read_in_parts_and_behind_a_shared_beginning_are_answered_alike(
    dynamic: LLM, static: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(llm: LLM) -> list[list[int]]:
        head = llm.embed(list(range(12)))
        return llm.generate(llm.prefill([torch.cat([head, p]) for p in prompts(llm, 9)], shared=12), COUNT)

    wanted = asked(dynamic)
    assert asked(static) == wanted
    monkeypatch.setattr("diva_bench.decoding.llm._PREFILL", 150)
    assert asked(static) == wanted


def test_a_batch_that_fails_frees_the_buffers_and_the_next_is_answered(
    dynamic: LLM, static: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bool:
        raise torch.OutOfMemoryError("out of memory")

    decoder = static._static
    assert decoder is not None
    with monkeypatch.context() as broken:
        broken.setattr(static, "_ends", fails)
        with pytest.raises(torch.OutOfMemoryError):
            decoded(static, prompts(static, 4))
    assert (decoder._layers, decoder._steps) == ([], {})
    assert decoded(static, prompts(static, 4)) == decoded(dynamic, prompts(dynamic, 4))


class Log(TorchDispatchMode):
    """Names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_step_asks_the_device_for_nothing_and_brings_it_nothing(static: LLM) -> None:
    """What a CUDA graph cannot record: reading a value, sizes that depend on values, tensors made from numbers."""
    decoder = static._static
    assert decoder is not None
    start = static.prefill(prompts(static, 4))
    decoder.begin(start.cache, start.mask, COUNT)
    decoder.advance()
    with Log() as log, torch.inference_mode():
        decoder.advance()
    assert "aten.index_copy_.default" in log.names
    forbidden = ("_local_scalar_dense", "nonzero", "lift_fresh", "equal", "masked_select")
    assert not [name for name in log.names if any(word in name for word in forbidden)]


# ---------------------------------------------------------------- what cannot be decoded so


SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 270, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip


def test_an_llm_with_a_sliding_window_is_refused(tmp_path: Path) -> None:
    make_llm(tmp_path)
    MistralForCausalLM(MistralConfig(**SIZES, sliding_window=8)).save_pretrained(tmp_path)
    assert LLM.load(tmp_path).context
    said = r"MistralForCausalLM forgets positions behind a sliding window; .* Set `decode: dynamic` in the `runtime`"
    with pytest.raises(AssetError, match=f"{tmp_path.name}: {said}"):
        LLM.load(tmp_path, decode="static")


def test_an_llm_whose_static_steps_differ_or_fail_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_llm(tmp_path)
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(tmp_path)

    def wrong(self: StaticDecoder, *_: object) -> None:
        self.logits += 1.0

    def fails(self: StaticDecoder, *_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(StaticDecoder, "_run", wrong)
    with pytest.raises(AssetError, match=r"static decoding gives logits that are up to \S+ from those of dynamic"):
        LLM.load(tmp_path, decode="static")
    monkeypatch.setattr(StaticDecoder, "_run", fails)
    said = r"LlamaForCausalLM cannot be decoded statically \(RuntimeError: operation not permitted .*\)\. Set `decode: dynamic`"
    with pytest.raises(AssetError, match=said):
        LLM.load(tmp_path, decode="static")


# ---------------------------------------------------------------- a real model


@pytest.mark.weights
def test_static_answers_of_a_real_llm_are_the_dynamic_ones(weights: Callable[[str], Path]) -> None:
    folder = weights("smollm2-135m-instruct")
    static, dynamic = LLM.load(folder, decode="static"), LLM.load(folder)
    said = ["What is the capital of Norway?", "Count to ten.", "Say hello in German, French and Danish.", "Why?", "Hm."]

    def asked(llm: LLM, **how: Any) -> list[list[int]]:
        before, after = llm.frame("Answer in one short sentence.", None)
        batch = [llm.embed([*before, *llm.tokens(text), *after]) for text in said]
        return llm.generate(llm.prefill(batch, len(before)), 16, **how)

    answers = asked(static)
    assert answers == asked(dynamic)
    assert len({len(answer) for answer in answers}) > 1
    sampling = {"temperature": 0.8, "seeds": list(range(len(said)))}
    assert asked(static, **sampling) == asked(dynamic, **sampling)
