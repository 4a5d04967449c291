"""From virtual tokens to what the LLM is given: which are kept, and in which form.

A connector aligned by CTC says blank most of the time and may say one token several times in a row. Blanks are dropped,
of a run of one token the virtual token that is surest of it is kept, and so the LLM gets about as many as the transcript
has tokens. All virtual tokens of any other connector are kept.

B batch, Q virtual tokens, E width of the LLM, V vocabulary, M rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diva_bench.diva.model import AnyConnector, Vocabulary

_CHUNK = 256  # rows whose logits over the whole vocabulary exist at once: 256 x 151,937 x 4 bytes = 156 MB
_RESIDUAL = 0.3  # of what is left beside the mixture of embeddings that a virtual token says


@dataclass(frozen=True, slots=True)
class Read:
    """One clip, read over the whole vocabulary. `tokens`: ids of the K tokens that it says; `kept`: the virtual tokens
    that say them, (K,) positions; `normaliser` (Q,): logarithm of the sum of all classes' exponentials."""

    tokens: list[int]
    kept: Tensor
    normaliser: Tensor


@torch.no_grad()
def scan(vocabulary: Vocabulary, virtual: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """virtual (M, E) -> (label, V for the blank; its logit; logarithm of the sum of exponentials of all logits): (M,) each."""
    parts = []
    for rows in torch.split(virtual, _CHUNK):
        logits = vocabulary.logits(rows, embeddings)  # (m, V + 1)
        best, label = logits.max(-1)
        parts.append((label, best, logits.logsumexp(-1)))
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]), torch.cat([p[2] for p in parts])


def read(connector: AnyConnector, virtual: Tensor, counts: Tensor, embeddings: Tensor) -> list[Read]:
    """What each row of virtual (B, Q, E), counts[b] of them real, says; for connectors aligned by ctc."""
    assert connector.vocabulary is not None
    real = torch.arange(virtual.shape[1], device=virtual.device) < counts[:, None]
    scan_result = scan(connector.vocabulary, virtual[real], embeddings)
    rows = zip(*(torch.split(part, counts.tolist()) for part in scan_result), strict=True)
    return [_collapsed(label, best - total, total, len(embeddings)) for label, best, total in rows]


def _collapsed(label: Tensor, sure: Tensor, normaliser: Tensor, blank: int) -> Read:
    """Without blanks and repeats. `sure`: log-probability of each label."""
    tokens: list[int] = []
    positions: list[int] = []
    before, certain = blank, sure.tolist()
    for position, token in enumerate(label.tolist()):
        if token not in (blank, before):
            tokens.append(token)
            positions.append(position)
        elif token != blank and certain[position] > certain[positions[-1]]:
            positions[-1] = position
        before = token
    return Read(tokens, torch.tensor(positions, dtype=torch.long, device=label.device), normaliser)


def contents(
    connector: AnyConnector, virtual: Tensor, counts: Tensor, embeddings: Tensor
) -> tuple[list[Tensor], list[list[int]] | None]:
    """What the LLM is given for each row of virtual (B, Q, E): (K_b, E), with no rows where a clip says nothing; and the
    K_b tokens that the row reads as, None for a connector that is not aligned by ctc."""
    if connector.config.alignment != "ctc":
        return [row[:count] for row, count in zip(virtual, counts.tolist(), strict=True)], None
    reading = read(connector, virtual, counts, embeddings)
    return [given(connector, virtual[b], one, embeddings) for b, one in enumerate(reading)], [f.tokens for f in reading]


def given(connector: AnyConnector, virtual: Tensor, reading: Read, embeddings: Tensor) -> Tensor:
    """virtual (Q, E) of one clip -> (K, E) in the connector's readout."""
    raw, how = virtual[reading.kept], connector.config.readout
    if how == "raw" or not reading.tokens:
        return raw
    if how == "snapped":
        return embeddings[torch.tensor(reading.tokens, device=virtual.device)].to(raw.dtype)
    assert connector.vocabulary is not None
    shares = connector.vocabulary.logits(raw, embeddings)[:, :-1].softmax(-1)  # (K, V)
    mixture = (shares.to(embeddings.dtype) @ embeddings).to(raw.dtype)
    return mixture + _RESIDUAL * (raw - mixture)
