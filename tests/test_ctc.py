"""Alignment over the vocabulary: CTC and cross entropy against plain restatements in float64, values and gradients, on
rows of unequal length."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from diva_bench.diva import losses
from diva_bench.diva.config import ConnectorConfig
from diva_bench.diva.model import Vocabulary

WIDTH, WORDS = 5, 9
SIZE = ConnectorConfig(
    width=4, heads=2, layers=1, ffn=8, queries="time", max_queries=8, llm_width=WIDTH, alignment="ctc"
)
ROWS: list[tuple[int, list[int]]] = [  # (virtual tokens, transcript), some with a token twice in a row
    (4, [2, 5]),
    (6, [3, 3]),
    (5, [7, 1, 7]),
    (3, [4, 4]),  # just fits: the second needs a blank before it
    (2, []),
    (1, [8]),
]


def vocabulary(seed: int = 0) -> Vocabulary:
    made = Vocabulary(SIZE)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        made.blank.copy_(torch.randn(WIDTH, generator=rng))
        made.blank_bias.fill_(0.3)
        made.sharpness.fill_(0.7)
    return made.double()


def batch(rows: list[tuple[int, list[int]]], seed: int = 1) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
    """(virtual (B, Q, E) with numbers also where a row has none, counts, tokens, embeddings)."""
    rng = torch.Generator().manual_seed(seed)
    longest = max(count for count, _ in rows)
    virtual = torch.randn(len(rows), longest, WIDTH, generator=rng, dtype=torch.float64)
    embeddings = torch.randn(WORDS, WIDTH, generator=rng, dtype=torch.float64)
    tokens = [torch.tensor(t, dtype=torch.long) for _, t in rows]
    return virtual.requires_grad_(True), torch.tensor([c for c, _ in rows]), tokens, embeddings


def plain_logits(virtual: Tensor, made: Vocabulary, table: Tensor) -> Tensor:
    """Minus half the squared distance to each class, one by one; what all classes of a row share is left in."""
    out = []
    for row in virtual:
        scores = [-made.sharpness * (row - e).square().sum() / 2 for e in [*table, made.blank]]
        scores[-1] = scores[-1] + made.blank_bias
        out.append(torch.stack(scores))
    return torch.stack(out)


def enumerated(logs: Tensor, wanted: list[int], blank: int) -> Tensor:
    """-log of the summed probability of every labelling of logs (Q, C) that collapses to `wanted`."""
    ways = []
    for labels in itertools.product(sorted({*wanted, blank}), repeat=len(logs)):
        merged = [k for k, _ in itertools.groupby(labels)]
        if [k for k in merged if k != blank] == wanted:
            ways.append(torch.stack([logs[q, label] for q, label in enumerate(labels)]).sum())
    return -torch.stack(ways).logsumexp(0)


def test_ctc_is_the_sum_over_every_labelling_and_so_is_its_gradient() -> None:
    made, (virtual, counts, tokens, embeddings) = vocabulary(), batch(ROWS)
    candidates = torch.tensor([1, 2, 3, 4, 5, 7, 8])  # without 0 and 6, which nobody says
    loss, _, count = losses.ctc_alignment(virtual, counts, tokens, embeddings, made, candidates)
    wanted = torch.zeros((), dtype=torch.float64)
    for b, (length, said) in enumerate(ROWS):
        logs = plain_logits(virtual[b, :length], made, embeddings[candidates]).log_softmax(-1)
        wanted = wanted + enumerated(logs, [candidates.tolist().index(t) for t in said], len(candidates))
    assert count == sum(len(said) for _, said in ROWS)
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)  # logits are float32 in the loss
    parameters = (virtual, made.blank, made.blank_bias)
    for ours, plain in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(wanted, parameters), strict=True
    ):  # fmt: skip
        torch.testing.assert_close(ours, plain, atol=2e-6, rtol=1e-5)
    unreal = torch.arange(virtual.shape[1])[None] >= counts[:, None]
    assert float(torch.autograd.grad(
        losses.ctc_alignment(virtual, counts, tokens, embeddings, made, candidates)[0], virtual
    )[0][unreal].abs().max()) == 0  # fmt: skip


def test_a_clip_that_is_too_short_for_its_words_counts_as_nothing() -> None:
    made, (virtual, counts, tokens, embeddings) = vocabulary(), batch([(4, [2, 5]), (2, [3, 3])])
    every = torch.arange(WORDS)
    both, _, _ = losses.ctc_alignment(virtual, counts, tokens, embeddings, made, every)
    one, _, _ = losses.ctc_alignment(virtual[:1], counts[:1], tokens[:1], embeddings, made, every)
    assert float(both.detach()) == pytest.approx(float(one.detach()))
    assert math.isfinite(float(both.detach()))


@pytest.mark.parametrize(
    ("tokens", "count", "fits"),
    [([], 1, True), ([1], 1, True), ([1, 2], 1, False), ([1, 1], 2, False), ([1, 1], 3, True), ([1, 2, 1], 3, True)],
)
def test_equal_neighbours_need_a_blank_between_them(tokens: list[int], count: int, fits: bool) -> None:
    assert losses.fits(tokens, count) is fits


def test_a_measurement_is_over_the_whole_vocabulary_though_only_a_clips_own_tokens_are_looked_up() -> None:
    made, (virtual, counts, tokens, embeddings) = vocabulary(), batch(ROWS)
    every = torch.arange(WORDS)
    whole, _, _ = losses.ctc_alignment(virtual, counts, tokens, embeddings, made, every)
    totals = made.logits(virtual.flatten(0, 1), embeddings).logsumexp(-1).unflatten(0, virtual.shape[:2])
    own = torch.cat(tokens).unique()
    some, pulled, _ = losses.ctc_alignment(virtual, counts, tokens, embeddings, made, own, normaliser=totals)
    assert float(some.detach()) == pytest.approx(float(whole.detach()), rel=1e-6)
    assert float(pulled.detach()) == 0


def plain_pull(virtual: Tensor, made: Vocabulary, table: Tensor) -> Tensor:
    with torch.no_grad():
        shares = plain_logits(virtual, made, table).softmax(-1)
        aims = shares @ torch.cat([table, made.blank[None]])
    return ((virtual - aims).norm(dim=-1) * (1.1 - shares[:, -1])).sum()


def test_virtual_tokens_are_pulled_to_the_mean_embedding_of_what_they_say() -> None:
    made, (virtual, counts, tokens, embeddings) = vocabulary(), batch(ROWS)
    candidates = torch.arange(1, WORDS)
    _, pulled, _ = losses.ctc_alignment(virtual, counts, tokens, embeddings, made, candidates)
    wanted = sum(plain_pull(virtual[b, :length], made, embeddings[candidates]) for b, (length, _) in enumerate(ROWS))
    assert float(pulled.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    (ours,), (plain,) = (torch.autograd.grad(loss, virtual) for loss in (pulled, wanted))
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)
    assert torch.autograd.grad(pulled_again(made), made.blank, allow_unused=True)[0] is None


def pulled_again(made: Vocabulary) -> Tensor:
    virtual, counts, tokens, embeddings = batch(ROWS)
    return losses.ctc_alignment(virtual, counts, tokens, embeddings, made, torch.arange(1, WORDS))[1]


@pytest.mark.parametrize("side", ["last", "first"])
def test_cross_entropy_is_taken_at_the_virtual_tokens_that_stand_for_the_words(side: Any) -> None:
    made, (virtual, _, tokens, embeddings) = vocabulary(), batch([(6, [2, 5]), (6, [3, 3, 4]), (6, [8])])
    candidates = torch.tensor([1, 2, 3, 4, 5, 8])
    loss, pulled, count = losses.token_entropy(virtual, tokens, embeddings, made, candidates, side)
    wanted, pull = torch.zeros((), dtype=torch.float64), 0.0
    for b, said in enumerate(tokens):
        own = virtual[b, 6 - len(said) :] if side == "last" else virtual[b, : len(said)]
        logs = plain_logits(own, made, embeddings[candidates]).log_softmax(-1)
        for n, token in enumerate(said.tolist()):
            wanted = wanted - logs[n, candidates.tolist().index(token)]
        pull += float(plain_pull(own, made, embeddings[candidates]).detach())
    assert count == 6
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
    assert float(pulled.detach()) == pytest.approx(pull, rel=1e-5)
    (ours,), (plain,) = (torch.autograd.grad(x, virtual) for x in (loss, wanted))
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-5)


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    made, (virtual, counts, tokens, embeddings) = vocabulary(), batch(ROWS)
    candidates = torch.arange(WORDS)
    whole = losses.ctc_alignment(virtual, counts, tokens, embeddings, made, candidates)
    parts = [
        losses.ctc_alignment(virtual[p], counts[p], tokens[p], embeddings, made, candidates)
        for p in (slice(0, 2), slice(2, 5), slice(5, 6))
    ]
    assert float(whole[0].detach()) == pytest.approx(sum(float(p[0].detach()) for p in parts), rel=1e-6)
    assert float(whole[1].detach()) == pytest.approx(sum(float(p[1].detach()) for p in parts), rel=1e-6)
    assert whole[2] == sum(p[2] for p in parts)


def test_a_vocabulary_starts_with_the_blank_at_the_mean_and_the_sharpness_of_its_spread() -> None:
    embeddings, made = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(3)), Vocabulary(SIZE)
    known = torch.tensor([3, 7, 20, 21, 40])
    made.start(embeddings, known, 20.0)
    torch.testing.assert_close(made.blank.detach(), embeddings.mean(0))
    spread = (embeddings[known] - embeddings[known].mean(0)).square().sum(1).mean()
    assert float(made.sharpness) == pytest.approx(20 / float(spread), rel=1e-6)
    assert float(made.blank_bias.detach()) == 0
