"""The losses of DiVA (arXiv 2410.02678, section 2) and of its ablations, as pure functions.

Each returns a sum and the number of its terms, not a mean, so that a batch in parts, or shared by processes, has the
same gradient whatever the sizes of the parts.

Shapes: B batch, Q virtual tokens, N_b transcript tokens of row b, E width of the LLM, V vocabulary, C candidate tokens of a
step, M rows of states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diva_bench.diva.model import Vocabulary

Side = Literal["last", "first"]
_CHUNK = 64  # rows whose distributions over the vocabulary exist at once: 64 x 128,256 x 4 bytes = 33 MB


def aligned(virtual: Tensor, row: int, tokens: int, side: Side = "last") -> Tensor:
    """The virtual tokens (N_b, E) of one row that stand for its `tokens` = N_b transcript tokens.

    The last N (paper): with causal attention they depend on all queries. The first N: an ablation, because reviewers
    found the choice unjustified.
    """
    return virtual[row, virtual.shape[1] - tokens :] if side == "last" else virtual[row, :tokens]


def token_alignment(virtual: Tensor, targets: Sequence[Tensor], side: Side = "last") -> tuple[Tensor, int]:
    """Sum over rows b and tokens n < N_b of || virtual[b, Q - N_b + n] - targets[b][n] ||_2, and the number of tokens.

    virtual (B, Q, E); targets: per row (N_b, E), the LLM's input embeddings of the transcript, N_b <= Q. A norm, not
    its square (levanter will/distill, via.py)."""
    distances = [(aligned(virtual, b, len(t), side) - t).float().norm(dim=-1) for b, t in enumerate(targets)]
    joined = torch.cat(distances)
    return joined.sum(), len(joined)


def token_entropy(
    virtual: Tensor, tokens: Sequence[Tensor], embeddings: Tensor, vocabulary: Vocabulary, candidates: Tensor,
    side: Side = "last",
) -> tuple[Tensor, Tensor, int]:  # fmt: skip
    """(sum of -log p of each transcript token at its virtual token, sum of `pulls`, number of tokens).

    Args:
        virtual: (B, Q, E).
        tokens: Per row (N_b,) ids.
        embeddings: (V, E).
        candidates: (C,) sorted ids that include all tokens: the classes of p, besides the blank.
    """
    states = torch.cat([aligned(virtual, b, len(t), side) for b, t in enumerate(tokens)])  # (M, E)
    table = embeddings[candidates]
    logs = vocabulary.logits(states, table).log_softmax(-1)  # (M, C + 1)
    targets = torch.searchsorted(candidates, torch.cat(list(tokens)))
    loss = -logs.gather(1, targets[:, None]).sum()
    return loss, pulls(states, logs.detach(), table, vocabulary.blank).sum(), len(targets)


def ctc_alignment(
    virtual: Tensor, counts: Tensor, tokens: Sequence[Tensor], embeddings: Tensor, vocabulary: Vocabulary,
    candidates: Tensor, normaliser: Tensor | None = None,
) -> tuple[Tensor, Tensor, int]:  # fmt: skip
    """(sum over rows of -log of the probability of all alignments to the transcript, sum of `pulls`, number of tokens).

    Connectionist temporal classification (Graves et al., ICML 2006): the virtual tokens in order stand for the
    transcript's tokens, each at least once, with blanks between. A row with more tokens than fit into its virtual
    tokens counts as 0.

    Args:
        virtual: (B, Q, E), of which row b has counts[b] real ones.
        tokens: Per row (N_b,) ids.
        embeddings: (V, E).
        candidates: (C,) sorted ids that include all tokens: the classes, besides the blank.
        normaliser: (B, Q): logarithm of the sum of the exponentials of all classes if these are more than the
            candidates (a measurement over
            the whole vocabulary); the second result is then 0.
    """
    table = embeddings[candidates]
    logits = vocabulary.logits(virtual.flatten(0, 1), table).view(*virtual.shape[:2], -1)  # (B, Q, C + 1)
    logs = logits.log_softmax(-1) if normaliser is None else logits - normaliser[..., None]
    targets = torch.searchsorted(candidates, torch.cat(list(tokens)))
    # the CUDA kernel's backward pass is not deterministic, which torch refuses; the CPU's is
    at = torch.device("cpu") if torch.are_deterministic_algorithms_enabled() else virtual.device
    loss: Tensor = torch.nn.functional.ctc_loss(
        logs.transpose(0, 1).to(at), targets.to(at), counts.to(at), torch.tensor([len(t) for t in tokens], device=at),
        blank=len(candidates), reduction="sum", zero_infinity=True,
    ).to(virtual.device)  # fmt: skip
    if normaliser is not None:
        return loss, loss.new_zeros(()), len(targets)
    real = torch.arange(virtual.shape[1], device=virtual.device) < counts[:, None]  # (B, Q)
    return loss, pulls(virtual[real], logs.detach()[real], table, vocabulary.blank).sum(), len(targets)


def pulls(virtual: Tensor, logs: Tensor, table: Tensor, blank: Tensor) -> Tensor:
    """(M,): distance of virtual tokens (M, E) to the mean of the classes' embeddings under their own distribution, exp of
    logs (M, C + 1), the blank last. A virtual token with a token counts 1.1, one with the blank 0.1. table (C, E)."""
    shares = logs.exp()
    aims = (shares.to(table.dtype) @ torch.cat([table, blank.detach()[None].to(table.dtype)])).float()
    away: Tensor = (virtual.float() - aims).norm(dim=-1) * (1.1 - shares[:, -1])
    return away


def fits(tokens: Sequence[int], count: int) -> bool:
    """Whether ctc can align these tokens to `count` virtual tokens: equal neighbours need a blank between them."""
    return len(tokens) + sum(a == b for a, b in pairwise(tokens)) <= count


def free_tokens(virtual: Tensor, lengths: Sequence[int], neutral: Tensor, side: Side = "last") -> tuple[Tensor, int]:
    """(sum over rows and the Q - N_b virtual tokens without an alignment target of || virtual - neutral ||_2, their
    number). neutral (E,): the mean input embedding. Not in the paper, where alignment alone leaves these tokens
    untrained."""
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
    student: Tensor, teacher: Tensor, logits: Callable[[Tensor], Tensor], temperature: float = 1.0, chunk: int = _CHUNK
) -> tuple[Tensor, int]:
    """(sum over rows of KL(p_teacher || p_student) x temperature^2, their number) with p = softmax(logits(state) /
    temperature). Source: Hinton et al., arXiv 1503.02531, section 2.

    Both states (M, E); `logits`: (m, E) -> (m, V) float32. Computed in parts of `chunk` rows, which are recomputed in the
    backward pass, so that nothing has the shape (M, V).
    """

    def part(ours: Tensor, theirs: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_logs = torch.log_softmax(logits(theirs) / temperature, -1)
        student_logs = torch.log_softmax(logits(ours) / temperature, -1)
        return torch.nn.functional.kl_div(student_logs, teacher_logs, reduction="sum", log_target=True)

    total = student.new_zeros((), dtype=torch.float32)
    for ours, theirs in zip(torch.split(student, chunk), torch.split(teacher, chunk), strict=True):
        values = checkpoint(part, ours, theirs, use_reentrant=False) if student.requires_grad else part(ours, theirs)
        total = total + values
    return total * temperature**2, len(student)


def nearest_tokens(states: Tensor, embeddings: Tensor) -> Tensor:
    """(M, E) vectors -> (M,) ids of the nearest (L2) of the LLM's embeddings (V, E)."""
    # ||v - e||^2 = ||v||^2 - 2 v.e + ||e||^2, the first term equal for all e
    lengths = (embeddings.float() ** 2).sum(1).to(embeddings.dtype)
    return (states.to(embeddings.dtype) @ embeddings.T - 0.5 * lengths).argmax(-1)


def nearest_token_hits(
    virtual: Tensor, tokens: Sequence[Tensor], embeddings: Tensor, side: Side = "last"
) -> tuple[int, int]:
    """(number of hits, number of tokens): a hit is an aligned virtual token whose nearest LLM embedding (L2) is that of
    the transcript's token.

    virtual (B, Q, E); tokens: per row (N_b,) ids; embeddings (V, E).
    """
    states = torch.cat([aligned(virtual, b, len(t), side) for b, t in enumerate(tokens)])
    targets = torch.cat(list(tokens))
    return int((nearest_tokens(states, embeddings) == targets).sum()), len(targets)
