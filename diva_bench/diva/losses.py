"""The two losses of DiVA (arXiv 2410.02678, section 2), as pure functions.

B batch, Q virtual tokens, N_b transcript tokens of row b, E width of the LLM.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def token_alignment(virtual: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """Sum over rows b and tokens n < N_b of || virtual[b, Q - N_b + n] - targets[b][n] ||_2, divided by the sum of N_b.

    virtual (B, Q, E); targets: per row (N_b, E), the LLM's input embeddings of the transcript, N_b <= Q. The last N
    virtual tokens are the ones aligned because, attention being causal, they have seen all queries.
    """
    queries = virtual.shape[1]
    distances = [(virtual[b, queries - len(t) :] - t).float().norm(dim=-1) for b, t in enumerate(targets)]
    return torch.cat(distances).mean()


def output_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over rows of || student[b] - teacher[b] ||_2, both (B, E): the LLM's last hidden state, after its final
    norm, at the last position of the prompt, where the first answer token is predicted.

    Student and teacher share the output matrix, so equal states are equal distributions (paper, section 2.2)."""
    distances: Tensor = (student - teacher).float().norm(dim=-1)
    return distances.mean()


def nearest_token_hits(virtual: Tensor, tokens: Sequence[Tensor], embeddings: Tensor) -> tuple[int, int]:
    """(hits, tokens): how often the LLM embedding nearest (L2) to an aligned virtual token is the transcript's own.

    virtual (B, Q, E); tokens: per row (N_b,) ids; embeddings (V, E).
    """
    last = torch.cat([virtual[b, virtual.shape[1] - len(t) :] for b, t in enumerate(tokens)]).to(embeddings.dtype)
    wanted = torch.cat(list(tokens))
    # ||v - e||^2 = ||v||^2 - 2 v.e + ||e||^2, the first term equal for all e
    scores = last @ embeddings.T - 0.5 * (embeddings.float() ** 2).sum(1).to(embeddings.dtype)
    return int((scores.argmax(-1) == wanted).sum()), len(wanted)
