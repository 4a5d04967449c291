"""LLMs of every family, stored as published ones are, are asked with embeddings as they answer to tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import CHAT, enlarged, make_llm
from torch import Tensor

from diva_bench.decoding import chat
from diva_bench.decoding.labels import score_labels
from diva_bench.decoding.llm import LLM
from diva_bench.errors import AssetError
from diva_bench.training.frozen import Frozen

SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 270, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    "max_position_embeddings": 512, "tie_word_embeddings": True,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Llama 3": ("LlamaConfig", "LlamaForCausalLM", {"tie_word_embeddings": False}),
    "Llama 3.1": ("LlamaConfig", "LlamaForCausalLM", {"tie_word_embeddings": False, "rope_parameters": LLAMA3}),
    "Llama 3.2": ("LlamaConfig", "LlamaForCausalLM", {"rope_parameters": LLAMA3 | {"factor": 32.0}}),
    "Qwen2.5": ("Qwen2Config", "Qwen2ForCausalLM", {}),
    "Qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {"head_dim": 16}),
    "Gemma": ("GemmaConfig", "GemmaForCausalLM", {"head_dim": 8}),
    "Gemma 2": ("Gemma2Config", "Gemma2ForCausalLM", {"head_dim": 8, "sliding_window": 16}),
    "Gemma 3": ("Gemma3TextConfig", "Gemma3ForCausalLM", {"head_dim": 8, "sliding_window": 16}),
    "Mistral": ("MistralConfig", "MistralForCausalLM", {"tie_word_embeddings": False, "sliding_window": None}),
    "Mistral 0.1": ("MistralConfig", "MistralForCausalLM", {"sliding_window": 16}),
    "Phi": ("PhiConfig", "PhiForCausalLM", {"tie_word_embeddings": False}),
    "Phi 3": ("Phi3Config", "Phi3ForCausalLM", {"sliding_window": 16}),
    "Granite": ("GraniteConfig", "GraniteForCausalLM", {"embedding_multiplier": 12.0, "logits_scaling": 8.0}),
    "Cohere": ("CohereConfig", "CohereForCausalLM", {"logit_scale": 0.25}),
    "SmolLM3": ("SmolLM3Config", "SmolLM3ForCausalLM", {}),
}
WINDOWED = ("Gemma 2", "Gemma 3", "Mistral 0.1", "Phi 3")
SCALED = ("Gemma", "Gemma 2", "Gemma 3")
"""Embeddings that are not rows of the matrix."""
SAID = ("why", "there were four of them, and one was blue", "", "no")
LABELS = ("happiness", "happy", "sad", "anger")


def store(folder: Path, family: str) -> Path:
    config, model, more = FAMILIES[family]
    make_llm(folder)
    torch.manual_seed(0)
    made = getattr(transformers, model)(getattr(transformers, config)(**(SIZES | more)))
    enlarged(made).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def llm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return LLM.load(store(tmp_path_factory.mktemp("llm"), request.param))


def family_of(llm: LLM, request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["llm"])


def prompts(llm: LLM) -> list[list[int]]:
    before, after = llm.frame("Answer.", "Be brief.")
    return [[*before, *llm.tokens(text), *after] for text in SAID]


@torch.inference_mode()
def logits_of(llm: LLM, ids: Sequence[int]) -> Tensor:
    """(N, V): what the model itself gives for tokens, without a cache."""
    return llm.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float()


def test_the_logits_for_embeddings_are_those_for_tokens_alone_and_in_a_batch(llm: LLM) -> None:
    ids = prompts(llm)
    wanted = torch.stack([logits_of(llm, one)[-1] for one in ids])
    shared = len(llm.frame("Answer.", "Be brief.")[0])
    for got in (llm.prefill([llm.embed(i) for i in ids]), llm.prefill([llm.embed(i) for i in ids], shared)):
        torch.testing.assert_close(got.logits, wanted, atol=1e-4, rtol=1e-5)
    assert float(wanted.std()) > 0.1  # otherwise no difference could show


def test_labels_are_scored_as_by_one_pass_each(llm: LLM) -> None:
    ids = prompts(llm)
    got = score_labels(llm, llm.prefill([llm.embed(i) for i in ids]), LABELS)
    for scores, prompt in zip(got, ids, strict=True):
        for label in LABELS:
            tokens = llm.tokens(label)
            logs = torch.log_softmax(logits_of(llm, [*prompt, *tokens]), -1)[len(prompt) - 1 : -1]
            assert scores[label].total == pytest.approx(
                float(logs.gather(1, torch.tensor(tokens)[:, None]).sum()), abs=1e-5
            )


def test_answers_are_those_of_reading_all_tokens_again(llm: LLM) -> None:
    ids = prompts(llm)
    got = llm.generate(llm.prefill([llm.embed(i) for i in ids]), 8)
    for answer, prompt in zip(got, ids, strict=True):
        whole = list(prompt)
        for token in answer:
            assert token == int(logits_of(llm, whole)[-1].argmax())
            whole.append(token)


def test_static_steps_are_taken_where_no_window_slides(llm: LLM, request: pytest.FixtureRequest) -> None:
    folder = Path(llm.tokenizer.name_or_path)
    if family_of(llm, request) in WINDOWED:
        with pytest.raises(AssetError, match="sliding window"):
            LLM.load(folder, decode="static")
        return
    ids = prompts(llm)
    static = LLM.load(folder, decode="static")
    wanted = llm.generate(llm.prefill([llm.embed(i) for i in ids]), 8)
    assert static.generate(static.prefill([static.embed(i) for i in ids]), 8) == wanted


def test_training_pulls_to_embeddings_that_the_layers_read_and_sees_the_heads_logits(
    llm: LLM, request: pytest.FixtureRequest
) -> None:
    frozen = Frozen(llm)
    ids = llm.tokens("sad and blue")
    assert torch.equal(llm.embeddings[torch.tensor(ids)], llm.embed(ids))
    assert torch.equal(frozen.targets(ids), llm.embed(ids))
    assert (llm.embeddings is not llm.weight) == (family_of(llm, request) in SCALED)

    virtual = llm.embed(ids).clone().requires_grad_(True)
    answer = llm.tokens("oh")
    states = frozen.student_states([virtual, virtual[:3]], [answer, []])
    logits = [frozen.logits(one) for one in states]
    for one, said, reply in zip(logits, (ids, ids[:3]), (answer, []), strict=True):
        prompt = [*frozen.before, *said, *frozen.after, *reply]
        torch.testing.assert_close(one.detach(), logits_of(llm, prompt)[-1 - len(reply) :], atol=1e-4, rtol=1e-5)
    torch.cat(logits).square().sum().backward()  # type: ignore[no-untyped-call]
    assert virtual.grad is not None
    assert virtual.grad.abs().min(1).values.gt(0).all()


# ---------------------------------------------------------------- what cannot be asked so


def test_a_model_that_reads_more_than_embeddings_is_refused(tmp_path: Path) -> None:
    """As Gemma 3n does, which adds another embedding of the token in every layer."""
    llm = LLM.load(store(tmp_path, "Llama 3"))
    whole = llm.model.forward

    def adds(*args: Any, input_ids: Tensor | None = None, **more: Any) -> Any:
        out = whole(*args, input_ids=input_ids, **more)
        if input_ids is not None:
            out.logits = out.logits + input_ids.sum()
        return out

    llm.model.forward = adds
    said = f"{tmp_path.name}: LlamaForCausalLM cannot be asked with embeddings, as speech is: its logits are up to "
    with pytest.raises(AssetError, match=said) as told:
        LLM(llm.model, llm.tokenizer, tmp_path.name)
    assert "Take another LLM: Llama, Qwen, Gemma 2 and 3, Mistral, Phi, Granite and SmolLM" in str(told.value)


# ---------------------------------------------------------------- chat templates

TURNS = CHAT
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
DROPS = TURNS.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
THINKS = TURNS + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"


@pytest.mark.parametrize(
    ("template", "system", "before"),
    [
        (NO_SYSTEM, "Be brief.", "<|start|>user\nBe brief.\n\nAnswer.\n\n"),
        (NO_SYSTEM, None, "<|start|>user\nAnswer.\n\n"),
        (DROPS, "Be brief.", "<|start|>user\nBe brief.\n\nAnswer.\n\n"),
        (TURNS, "Be brief.", "<|start|>system\nBe brief.<|end|>\n<|start|>user\nAnswer.\n\n"),
    ],
    ids=["refuses", "refuses, none given", "leaves it out", "has a place for it"],
)
def test_a_system_message_reaches_every_model(tmp_path: Path, template: str, system: str | None, before: str) -> None:
    head, tail = chat.around(chat.tokenizer_of(make_llm(tmp_path, template=template)), "Answer.", system)
    assert (head, tail) == (before, "<|end|>\n<|start|>assistant\n")


def test_reasoning_is_switched_off_where_the_template_can(tmp_path: Path) -> None:
    _, tail = chat.around(chat.tokenizer_of(make_llm(tmp_path, template=THINKS)), "Answer.", None)
    assert tail.endswith("<|start|>assistant\n<think>\n\n</think>\n\n")


def test_a_template_that_refuses_any_question_is_told(tmp_path: Path) -> None:
    tokenizer = chat.tokenizer_of(make_llm(tmp_path, template="{{ raise_exception('closed') }}"))
    with pytest.raises(AssetError, match=r"its chat template refuses a question \(closed\). Use another LLM."):
        chat.around(tokenizer, "Answer.", "Be brief.")
