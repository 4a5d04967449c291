"""From virtual tokens to the LLM's input: which virtual tokens reach the LLM, and in which form.

A connector aligned by CTC assigns blank to most virtual tokens, and may repeat a token. Blanks are dropped, and of a
run of one token only the virtual token with the highest probability is used, so that the LLM gets about as many as the
transcript has tokens. For other connectors all virtual tokens are used.

Shapes: B batch, Q virtual tokens, E width of the LLM, V vocabulary, M rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diva_bench.diva.model import AnyConnector, Vocabulary

_CHUNK = 256  # rows whose logits over the whole vocabulary exist at once: 256 x 151,937 x 4 bytes = 156 MB
_RESIDUAL = 0.3  # weight of the residual between a virtual token and its mixture of embeddings


@dataclass(frozen=True, slots=True)
class Reading:
    """The reading of one clip over the whole vocabulary.

    Attributes:
        tokens: Ids of its K tokens.
        kept: (K,) positions of their virtual tokens.
        normaliser: (Q,) logarithm of the sum of the exponentials of all classes.
    """

    tokens: list[int]
    positions: Tensor
    normaliser: Tensor


@torch.no_grad()
def scan(vocabulary: Vocabulary, virtual: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """virtual (M, E) -> (label, V for the blank; its logit; logarithm of the sum of exponentials of all logits): (M,)
    each."""
    parts = []
    classes = vocabulary.classes(embeddings)
    for rows in torch.split(virtual, _CHUNK):
        logits = vocabulary.logits(rows, embeddings, classes)  # (m, V + 1)
        best, label = logits.max(-1)
        parts.append((label, best, logits.logsumexp(-1)))
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]), torch.cat([p[2] for p in parts])


def read(connector: AnyConnector, virtual: Tensor, counts: Tensor, embeddings: Tensor) -> list[Reading]:
    """The reading of each row of virtual (B, Q, E), of which counts[b] are real; for connectors aligned by ctc."""
    assert connector.vocabulary is not None
    real = torch.arange(virtual.shape[1], device=virtual.device) < counts[:, None]
    scan_result = scan(connector.vocabulary, virtual[real], embeddings)
    rows = zip(*(torch.split(part, counts.tolist()) for part in scan_result), strict=True)
    return [_collapsed(label, best - total, total, len(embeddings)) for label, best, total in rows]


def _collapsed(label: Tensor, sure: Tensor, normaliser: Tensor, blank: int) -> Reading:
    """The reading without blanks and repeats. `sure`: log-probability of each label."""
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
    return Reading(tokens, torch.tensor(positions, dtype=torch.long, device=label.device), normaliser)


def contents(
    connector: AnyConnector, virtual: Tensor, counts: Tensor, embeddings: Tensor
) -> tuple[list[Tensor], list[list[int]] | None]:
    """(LLM input (K_b, E) for each row of virtual (B, Q, E), without rows if a clip has no token; the K_b token ids of
    each row, None for a connector that is not aligned by ctc)."""
    if connector.config.alignment != "ctc":
        return [row[:count] for row, count in zip(virtual, counts.tolist(), strict=True)], None
    reading = read(connector, virtual, counts, embeddings)
    return [llm_input(connector, virtual[b], one, embeddings) for b, one in enumerate(reading)], [
        f.tokens for f in reading
    ]


def llm_input(connector: AnyConnector, virtual: Tensor, reading: Reading, embeddings: Tensor) -> Tensor:
    """virtual (Q, E) of one clip -> (K, E) in the connector's readout."""
    raw, how = virtual[reading.positions], connector.config.readout
    if how == "raw" or not reading.tokens:
        return raw
    if how == "snapped":
        return embeddings[torch.tensor(reading.tokens, device=virtual.device)].to(raw.dtype)
    assert connector.vocabulary is not None
    shares = connector.vocabulary.logits(raw, embeddings)[:, :-1].softmax(-1)  # (K, V)
    mixture = (shares.to(embeddings.dtype) @ embeddings).to(raw.dtype)
    return mixture + _RESIDUAL * (raw - mixture)
