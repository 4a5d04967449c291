"""The losses of DiVA (arXiv 2410.02678, section 2) and of its ablations, as pure functions.

Each returns a sum and how many terms it has, not a mean: a batch that is cut into parts, or shared out among processes,
then has the gradient of the whole one whatever the parts' sizes.

B batch, Q virtual tokens, N_b transcript tokens of row b, E width of the LLM, V vocabulary, M rows of states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Side = Literal["last", "first"]
_CHUNK = 64  # rows whose distributions over the vocabulary exist at once: 64 x 128,256 x 4 bytes = 33 MB


def aligned(virtual: Tensor, row: int, tokens: int, side: Side = "last") -> Tensor:
    """The virtual tokens (N_b, E) of one row that stand for its `tokens` = N_b transcript tokens.

    The last N: attention being causal, they have seen all queries (paper). The first N: an ablation; reviewers found
    the choice unjustified.
    """
    return virtual[row, virtual.shape[1] - tokens :] if side == "last" else virtual[row, :tokens]


def token_alignment(virtual: Tensor, targets: Sequence[Tensor], side: Side = "last") -> tuple[Tensor, int]:
    """Sum over rows b and tokens n < N_b of || virtual[b, Q - N_b + n] - targets[b][n] ||_2, and the number of tokens.

    virtual (B, Q, E); targets: per row (N_b, E), the LLM's input embeddings of the transcript, N_b <= Q. A norm, not
    its square (levanter will/distill, via.py)."""
    distances = [(aligned(virtual, b, len(t), side) - t).float().norm(dim=-1) for b, t in enumerate(targets)]
    joined = torch.cat(distances)
    return joined.sum(), len(joined)


def free_tokens(virtual: Tensor, lengths: Sequence[int], neutral: Tensor, side: Side = "last") -> tuple[Tensor, int]:
    """Sum over rows and the Q - N_b virtual tokens that alignment leaves free of || virtual - neutral ||_2, and their
    number. neutral (E,): the mean input embedding. Not in the paper: alignment alone leaves these tokens untrained."""
    queries = virtual.shape[1]
    free = [
        virtual[b, : queries - n] if side == "last" else virtual[b, n:] for b, n in enumerate(lengths) if n < queries
    ]
    if not free:
        return virtual.sum() * 0.0, 0
    distances = (torch.cat(free) - neutral).float().norm(dim=-1)
    return distances.sum(), len(distances)


def state_distance(student: Tensor, teacher: Tensor) -> tuple[Tensor, int]:
    """Sum over rows of || student[m] - teacher[m] ||_2, and their number; both (M, E): the LLM's last hidden state,
    after its final norm, at the position that predicts a token of the answer.

    Student and teacher share the output matrix, so equal states are equal distributions (paper, section 2.2)."""
    return (student - teacher).float().norm(dim=-1).sum(), len(student)


def kl_divergence(
    student: Tensor, teacher: Tensor, output: Tensor, temperature: float = 1.0, chunk: int = _CHUNK
) -> tuple[Tensor, int]:
    """Sum over rows of KL(p_teacher || p_student) x temperature^2 (Hinton et al., arXiv 1503.02531, section 2), and
    their number; p = softmax(state @ output.T / temperature).

    Both states (M, E), output (V, E). Cut into `chunk` rows, each recomputed in the backward pass: nothing of shape
    (M, V) ever exists."""

    def part(ours: Tensor, theirs: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = torch.log_softmax((theirs @ output.T).float() / temperature, -1)
        found = torch.log_softmax((ours @ output.T).float() / temperature, -1)
        return torch.nn.functional.kl_div(found, wanted, reduction="sum", log_target=True)

    total = student.new_zeros((), dtype=torch.float32)
    for ours, theirs in zip(torch.split(student, chunk), torch.split(teacher, chunk), strict=True):
        kept = checkpoint(part, ours, theirs, use_reentrant=False) if student.requires_grad else part(ours, theirs)
        total = total + kept
    return total * temperature**2, len(student)


def nearest_tokens(found: Tensor, embeddings: Tensor) -> Tensor:
    """(M, E) vectors -> (M,) ids of the nearest (L2) of the LLM's embeddings (V, E)."""
    # ||v - e||^2 = ||v||^2 - 2 v.e + ||e||^2, the first term equal for all e
    lengths = (embeddings.float() ** 2).sum(1).to(embeddings.dtype)
    return (found.to(embeddings.dtype) @ embeddings.T - 0.5 * lengths).argmax(-1)


def nearest_token_hits(
    virtual: Tensor, tokens: Sequence[Tensor], embeddings: Tensor, side: Side = "last"
) -> tuple[int, int]:
    """(hits, tokens): how often the LLM embedding nearest (L2) to an aligned virtual token is the transcript's own.

    virtual (B, Q, E); tokens: per row (N_b,) ids; embeddings (V, E).
    """
    found = torch.cat([aligned(virtual, b, len(t), side) for b, t in enumerate(tokens)])
    wanted = torch.cat(list(tokens))
    return int((nearest_tokens(found, embeddings) == wanted).sum()), len(wanted)
