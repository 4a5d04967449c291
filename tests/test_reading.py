"""From virtual tokens to what the LLM is given: blanks and repeats, readouts, clips that say nothing, batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import make_llm, make_whisper
from torch import Tensor

from diva_bench.adapters.diva import Diva
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.whisper import Whisper
from diva_bench.diva import model, reading
from diva_bench.diva.config import ConnectorConfig
from diva_bench.types import Audio, Request

SIZE = ConnectorConfig(
    width=16, heads=2, layers=2, ffn=32, queries="time", max_queries=250, llm_width=32, alignment="ctc", locality=3.0
)
BLANK = None


def connector(sharpness: float = 50.0, **changes: Any) -> model.AnyConnector:
    torch.manual_seed(0)
    made = model.build(replace(SIZE, **changes)).eval().requires_grad_(False)
    assert made.vocabulary is not None
    made.vocabulary.sharpness.fill_(sharpness)
    made.vocabulary.blank.copy_(torch.full((32,), 2.0))
    return made


def says(made: model.AnyConnector, embeddings: Tensor, labels: list[int | None], near: list[float]) -> Tensor:
    """Virtual tokens (1, Q, E) that say these labels, each that share of the way from there to the blank (a blank: to
    token 0)."""
    assert made.vocabulary is not None
    blank = made.vocabulary.blank
    ways = [(blank, embeddings[0]) if label is None else (embeddings[label], blank) for label in labels]
    return torch.stack([start + d * (end - start) for (start, end), d in zip(ways, near, strict=True)])[None]


@pytest.fixture(scope="module")
def embeddings() -> Tensor:
    return torch.randn(40, 32, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(
    ("labels", "near", "tokens", "kept"),
    [
        ([BLANK, 3, BLANK, 4], [0.1] * 4, [3, 4], [1, 3]),
        ([3, 3, 3, 5], [0.3, 0.01, 0.2, 0.1], [3, 5], [1, 3]),  # of a run the surest
        ([3, BLANK, 3], [0.1] * 3, [3, 3], [0, 2]),  # a blank between: said twice
        ([BLANK, BLANK], [0.1] * 2, [], []),
        ([3, 4, 3], [0.1] * 3, [3, 4, 3], [0, 1, 2]),
    ],
)
def test_blanks_are_dropped_and_repeats_merged(
    embeddings: Tensor, labels: list[int | None], near: list[float], tokens: list[int], kept: list[int]
) -> None:
    made = connector(sharpness=0.2)
    virtual = says(made, embeddings, labels, near)
    [found] = reading.read(made, virtual, torch.tensor([len(labels)]), embeddings)
    assert (found.tokens, found.positions.tolist()) == (tokens, kept)
    [given], _ = reading.contents(made, virtual, torch.tensor([len(labels)]), embeddings)
    assert torch.equal(given, virtual[0, kept])


def test_virtual_tokens_behind_a_clips_end_say_nothing(embeddings: Tensor) -> None:
    made = connector()
    virtual = says(made, embeddings, [3, 4, 5], [0.1] * 3).repeat(2, 1, 1)
    found = reading.read(made, virtual, torch.tensor([3, 1]), embeddings)
    assert [f.tokens for f in found] == [[3, 4, 5], [3]]
    assert [len(f.normaliser) for f in found] == [3, 1]


def test_readouts(embeddings: Tensor) -> None:
    labels, near = [3, BLANK, 4], [0.2] * 3
    raw, snapped, residual = (
        reading.contents(made, says(made, embeddings, labels, near), torch.tensor([3]), embeddings)[0][0]
        for made in (connector(readout=r) for r in ("raw", "snapped", "residual"))
    )
    assert torch.equal(snapped, embeddings[[3, 4]])
    away = [(given - snapped).norm(dim=1) for given in (raw, residual)]
    torch.testing.assert_close(away[1], 0.3 * away[0], atol=1e-3, rtol=1e-2)  # each says its word with certainty


def test_the_label_is_the_one_of_the_largest_logit_whatever_the_chunk(
    embeddings: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = connector(sharpness=1.0)
    assert made.vocabulary is not None
    virtual = torch.randn(23, 32, generator=torch.Generator().manual_seed(5))
    logits = made.vocabulary.logits(virtual, embeddings)
    for chunk in (256, 5, 1):
        monkeypatch.setattr(reading, "_CHUNK", chunk)
        label, best, total = reading.scan(made.vocabulary, virtual, embeddings)
        assert torch.equal(label, logits.argmax(1))
        torch.testing.assert_close(best, logits.amax(1))
        torch.testing.assert_close(total, logits.logsumexp(1))


# ---------------------------------------------------------------- asked as a model


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Whisper, LLM]:
    folder = tmp_path_factory.mktemp("models")
    return Whisper.load(make_whisper(folder / "whisper")), LLM.load(make_llm(folder / "llm"))


def ask(ident: str, seconds: float, choices: tuple[str, ...] | None = None) -> Request:
    wave = np.random.default_rng(len(ident)).uniform(-0.3, 0.3, int(16_000 * seconds)).astype(np.float32)
    return Request(ident, "Answer.", audio=Audio(wave, 16_000), choices=choices, max_new_tokens=6)


@pytest.mark.parametrize("readout", ["raw", "snapped", "residual"])
@pytest.mark.parametrize("choices", [None, ("happy", "sad")])
def test_answers_do_not_depend_on_the_batch_though_clips_have_unequal_numbers_of_tokens(
    parts: tuple[Whisper, LLM], readout: str, choices: tuple[str, ...] | None
) -> None:
    whisper, llm = parts
    made = connector(readout=readout)
    assert made.vocabulary is not None
    made.vocabulary.start(llm.embeddings, torch.arange(200), 20.0)
    adapter = Diva.of(whisper, llm, made, full=False)
    asked = [ask("a", 0.3, choices), ask("bb", 2.0, choices), ask("ccc", 0.1, choices), ask("dddd", 1.1, choices)]
    together = adapter.generate(asked)
    alone = [adapter.generate([request])[0] for request in asked]
    assert [r.text for r in together] == [r.text for r in alone]
    assert len({r.tokens["virtual"] for r in together}) > 1
    assert [r.tokens["virtual"] for r in together] == [r.tokens["virtual"] for r in alone]
    for one, other in zip(together, alone, strict=True):
        for label, score in (one.choices or {}).items():
            assert other.choices is not None
            assert score.total == pytest.approx(other.choices[label].total, abs=1e-4)


def test_a_clip_that_says_nothing_is_asked_with_the_instruction_alone(parts: tuple[Whisper, LLM]) -> None:
    whisper, llm = parts
    made = connector()
    assert made.vocabulary is not None
    made.vocabulary.start(llm.embeddings, torch.arange(200), 20.0)
    made.vocabulary.blank_bias.fill_(1e6)
    adapter = Diva.of(whisper, llm, made, full=False)
    before, after = llm.frame("Answer.", None)
    wanted = llm.generate(llm.prefill([torch.cat([llm.embed(before), llm.embed(after)])]), 6)
    [response] = adapter.generate([ask("a", 0.5)])
    assert (response.status, response.tokens["virtual"], response.text) == ("ok", 0, llm.text(wanted[0]))
