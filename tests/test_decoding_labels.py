"""Label scores from a tree of tokens: what is shared, what is bounded, caches that forget."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tiny_models import make_llm
from torch import Tensor
from transformers import MistralConfig, MistralForCausalLM

from diva_bench.decoding import labels as module
from diva_bench.decoding.labels import score_labels, tree_of
from diva_bench.decoding.llm import LLM

HUNDRED = tuple(f"{begin}{end}" for begin in ("an", "anger", "sad", "happi", "sur") for end in "abcdefghijklmnopqrst")
SAID = ("a", "why is it so", "", "there were four of them", "no")


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return LLM.load(make_llm(tmp_path_factory.mktemp("llm")))


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    """A Mistral that attends to the last 24 positions alone."""
    folder = make_llm(tmp_path_factory.mktemp("mistral"))
    torch.manual_seed(0)
    config = MistralConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=270, bos_token_id=1, eos_token_id=2, pad_token_id=2, max_position_embeddings=512, sliding_window=24,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(folder)
    return LLM.load(folder)


def prompts(llm: LLM) -> list[Tensor]:
    before, after = llm.frame("Answer.", None)
    return [llm.embed([*before, *llm.tokens(text), *after]) for text in SAID]


@torch.inference_mode()
def one_by_one(llm: LLM, prompt: Tensor, label: str) -> float:
    """One full forward for one label."""
    ids = llm.tokens(label)
    logits = llm.model(inputs_embeds=torch.cat([prompt, llm.embed(ids)])[None]).logits[0]
    steps = torch.log_softmax(logits[len(prompt) - 1 : -1].float(), -1)
    return float(sum(steps[k, i] for k, i in enumerate(ids)))


def check(llm: LLM, labels: Sequence[str]) -> None:
    batch = prompts(llm)
    start = llm.prefill(batch)
    got = score_labels(llm, start, labels)
    for scores, prompt in zip(got, batch, strict=True):
        assert [scores[label].total for label in labels] == pytest.approx(
            [one_by_one(llm, prompt, label) for label in labels], abs=1e-4
        )
    assert llm.generate(start, 12) == llm.generate(llm.prefill(batch), 12)  # the prompts are as they were read


@pytest.mark.parametrize(
    ("labels", "tokens", "above", "depth", "paths"),
    [
        ([[7]], [], [], [], [[]]),
        ([[7, 8, 9], [7, 8, 6], [5, 8, 9]], [7, 8, 5, 8], [-1, 0, -1, 2], [0, 1, 0, 1], [[0, 1], [0, 1], [2, 3]]),
        ([[7, 8], [7, 8]], [7], [-1], [0], [[0], [0]]),
        ([[7], [7, 8], [7, 8, 9]], [7, 8], [-1, 0], [0, 1], [[], [0], [0, 1]]),
    ],
)
def test_labels_that_begin_alike_share_nodes(labels, tokens, above, depth, paths) -> None:
    tree = tree_of(labels)
    assert (tree.tokens, tree.above, tree.depth, tree.paths) == (tokens, above, depth, paths)


@pytest.mark.parametrize("positions", [1, 50, 4096])
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_a_hundred_labels_are_scored_as_one_by_one_whatever_the_bounds(
    llm: LLM, monkeypatch: pytest.MonkeyPatch, positions: int, chunk: int
) -> None:
    monkeypatch.setattr(module, "_POSITIONS", positions)
    monkeypatch.setattr(module, "_CHUNK", chunk)
    check(llm, HUNDRED if (positions, chunk) == (4096, 64) else HUNDRED[::9])


def test_a_cache_that_forgets_positions_gives_the_same_labels_and_answers(forgetful: LLM) -> None:
    assert not forgetful.prefill(prompts(forgetful)).keeps_all
    check(forgetful, ("angry", "anger", "sad", "happiness", "an"))


def test_a_cache_that_forgets_positions_is_not_read_in_parts(forgetful: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = forgetful.generate(forgetful.prefill(prompts(forgetful)), 12)
    monkeypatch.setattr("diva_bench.decoding.llm._PREFILL", 1)
    assert forgetful.generate(forgetful.prefill(prompts(forgetful)), 12) == whole
