"""The losses against plain loops in float64: values and gradients, on rows of unequal length."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor

from diva_bench.diva import losses
from diva_bench.diva.losses import Side

QUERIES, WIDTH, VOCABULARY, STATES = 6, 5, 11, 7
RAGGED = [(1, 6, 4), (6, 6), (1,), (2, 3, 1, 5)]  # N = 1, N = Q and between
SIDES: list[Side] = ["last", "first"]
Array = NDArray[np.float64]

# autograd in float32 against central differences of the reference in float64
VALUE, GRADIENT, H = 1e-6, 2e-5, 1e-5


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def targets_of(lengths: Sequence[int]) -> list[Array]:
    return [drawn(n, WIDTH, seed=10 + b) for b, n in enumerate(lengths)]


def tensor(array: Array, grad: bool = False) -> Tensor:
    return torch.tensor(array, dtype=torch.float32, requires_grad=grad)


def slope(of: Callable[[Array], float], at: Array) -> Array:
    """Central differences of a function of an array."""
    found = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[index] += H
        down[index] -= H
        found[index] = (of(up) - of(down)) / (2 * H)
    return found


def held_to(wanted: Callable[[Array], float], loss: Callable[[Tensor], Tensor], at: Array) -> None:
    """A loss has the value and the gradient of its reference."""
    given = tensor(at, grad=True)
    value = loss(given)
    value.backward()  # type: ignore[no-untyped-call]
    assert given.grad is not None
    assert float(value.detach()) == pytest.approx(wanted(at), rel=VALUE)
    np.testing.assert_allclose(given.grad.numpy(), slope(wanted, at), atol=GRADIENT, rtol=GRADIENT)


# ---------------------------------------------------------------- references


def distance(a: Sequence[float], b: Sequence[float]) -> float:
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def stands_for(length: int, side: Side) -> list[int]:
    """Numbers of the virtual tokens that stand for the tokens of a transcript, in its order."""
    return [QUERIES - length + n if side == "last" else n for n in range(length)]


def alignment(virtual: Array, targets: Sequence[Array], side: Side) -> float:
    total = 0.0
    for b, target in enumerate(targets):
        for n, q in enumerate(stands_for(len(target), side)):
            total += distance(virtual[b, q], target[n])
    return total


def freedom(virtual: Array, lengths: Sequence[int], neutral: Array, side: Side) -> float:
    total = 0.0
    for b, length in enumerate(lengths):
        for q in set(range(QUERIES)) - set(stands_for(length, side)):
            total += distance(virtual[b, q], neutral)
    return total


def softmax(scores: Sequence[float]) -> list[float]:
    high = max(scores)
    parts = [math.exp(s - high) for s in scores]
    return [p / sum(parts) for p in parts]


def divergence(student: Array, teacher: Array, output: Array, temperature: float) -> float:
    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        p, q = (
            softmax([sum(s * w for s, w in zip(state, word, strict=True)) / temperature for word in output])
            for state in (theirs, ours)
        )
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total * temperature**2


# ---------------------------------------------------------------- token alignment


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("lengths", RAGGED)
def test_alignment_is_the_summed_distance_and_its_gradient_is_that_of_the_sum(
    lengths: tuple[int, ...], side: Side
) -> None:
    virtual, targets = drawn(len(lengths), QUERIES, WIDTH), targets_of(lengths)
    given = [tensor(t) for t in targets]
    held_to(lambda v: alignment(v, targets, side), lambda v: losses.token_alignment(v, given, side)[0], virtual)
    assert losses.token_alignment(tensor(virtual), given, side)[1] == sum(lengths)


def test_the_last_tokens_are_aligned_unless_the_first_are_asked_for() -> None:
    virtual, targets = tensor(drawn(2, QUERIES, WIDTH)), [tensor(t) for t in targets_of((2, 3))]
    plain, last, first = (
        float(losses.token_alignment(virtual, targets, *side)[0]) for side in ([], ["last"], ["first"])
    )
    assert plain == last != first


@pytest.mark.parametrize(
    ("side", "used"),
    [("last", [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]), ("first", [[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]])],
)
def test_alignment_leaves_the_other_virtual_tokens_free(side: Side, used: list[list[int]]) -> None:
    virtual = tensor(drawn(2, QUERIES, WIDTH), grad=True)
    losses.token_alignment(virtual, [tensor(t) for t in targets_of((2, 3))], side)[0].backward()  # type: ignore[no-untyped-call]
    assert virtual.grad is not None
    assert (virtual.grad.abs().sum(-1) > 0).int().tolist() == used


@pytest.mark.parametrize("loss", ["alignment", "states", "free"])
def test_a_distance_of_nothing_has_no_gradient_and_no_nan(loss: str) -> None:
    """The norm has a kink there; what is perfect must not break the run."""
    same = tensor(drawn(1, 3, WIDTH))
    virtual = same.clone().requires_grad_(True)
    value = {
        "alignment": lambda: losses.token_alignment(virtual, [same[0]])[0],
        "states": lambda: losses.state_distance(virtual[0], same[0])[0],
        "free": lambda: losses.free_tokens(virtual[:, :1], [0], same[0, 0])[0],
    }[loss]()
    value.backward()  # type: ignore[no-untyped-call]
    assert virtual.grad is not None
    assert float(value.detach()) == 0.0
    assert torch.equal(virtual.grad, torch.zeros_like(virtual))


# ---------------------------------------------------------------- free tokens


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("lengths", [r for r in RAGGED if set(r) != {QUERIES}])
def test_free_tokens_are_those_that_alignment_does_not_touch(lengths: tuple[int, ...], side: Side) -> None:
    virtual, neutral = drawn(len(lengths), QUERIES, WIDTH), drawn(WIDTH, seed=5)
    held_to(
        lambda v: freedom(v, lengths, neutral, side),
        lambda v: losses.free_tokens(v, lengths, tensor(neutral), side)[0],
        virtual,
    )
    count = losses.free_tokens(tensor(virtual), lengths, tensor(neutral), side)[1]
    assert count == QUERIES * len(lengths) - sum(lengths)


def test_where_no_token_is_free_the_loss_is_nothing_and_can_still_be_differentiated() -> None:
    virtual = tensor(drawn(2, QUERIES, WIDTH), grad=True)
    value, count = losses.free_tokens(virtual, [QUERIES, QUERIES], tensor(drawn(WIDTH)))
    value.backward()  # type: ignore[no-untyped-call]
    assert virtual.grad is not None
    assert (float(value.detach()), count, float(virtual.grad.abs().max())) == (0.0, 0, 0.0)


# ---------------------------------------------------------------- distillation


def test_state_distance_is_the_norm_and_not_its_square() -> None:
    student = torch.zeros(2, 4)
    teacher = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    value, count = losses.state_distance(student, teacher)
    assert (float(value), count) == (pytest.approx(5.0 + 1.0), 2)


@pytest.mark.parametrize("rows", [1, STATES])
def test_state_distance_and_its_gradient_are_those_of_a_loop(rows: int) -> None:
    student, teacher = drawn(rows, WIDTH), drawn(rows, WIDTH, seed=1)
    held_to(
        lambda s: sum(distance(a, b) for a, b in zip(s, teacher, strict=True)),
        lambda s: losses.state_distance(s, tensor(teacher))[0],
        student,
    )


def head(output: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda states: (states @ output.T).float()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_kl_and_its_gradient_are_those_of_a_loop(temperature: float) -> None:
    student, teacher, output = drawn(STATES, WIDTH), drawn(STATES, WIDTH, seed=1), drawn(VOCABULARY, WIDTH, seed=2)
    held_to(
        lambda s: divergence(s, teacher, output, temperature),
        lambda s: losses.kl_divergence(s, tensor(teacher), head(tensor(output)), temperature)[0],
        student,
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_kl_is_scipys_relative_entropy_from_the_teacher(temperature: float) -> None:
    student, teacher, output = drawn(STATES, WIDTH), drawn(STATES, WIDTH, seed=1), drawn(VOCABULARY, WIDTH, seed=2)
    p, q = (scipy.special.softmax(s @ output.T / temperature, axis=1) for s in (teacher, student))
    value, count = losses.kl_divergence(tensor(student), tensor(teacher), head(tensor(output)), temperature)
    assert float(value) == pytest.approx(scipy.special.rel_entr(p, q).sum() * temperature**2, rel=VALUE)
    assert float(value) != pytest.approx(scipy.special.rel_entr(q, p).sum() * temperature**2, rel=1e-2)  # not symmetric
    assert count == STATES


@pytest.mark.parametrize("chunk", [1, 3, STATES, STATES + 5])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_kl_does_not_depend_on_how_it_is_cut(chunk: int, temperature: float) -> None:
    teacher, output = tensor(drawn(STATES, WIDTH, seed=1)), tensor(drawn(VOCABULARY, WIDTH, seed=2))
    found = []
    for rows in (chunk, STATES):
        student = tensor(drawn(STATES, WIDTH), grad=True)
        value, _ = losses.kl_divergence(student, teacher, head(output), temperature, chunk=rows)
        value.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            assert float(losses.kl_divergence(student, teacher, head(output), temperature, rows)[0]) == float(value)
        found.append((value.detach(), student.grad))
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-6)


def test_kl_of_a_student_that_is_its_teacher_is_nothing() -> None:
    state, output = tensor(drawn(STATES, WIDTH)), tensor(drawn(VOCABULARY, WIDTH, seed=2))
    assert float(losses.kl_divergence(state, state.clone(), head(output))[0]) == pytest.approx(0.0, abs=1e-6)


def test_kl_gives_no_gradient_to_the_teacher() -> None:
    student, teacher = tensor(drawn(STATES, WIDTH), grad=True), tensor(drawn(STATES, WIDTH, seed=1), grad=True)
    losses.kl_divergence(student, teacher, head(tensor(drawn(VOCABULARY, WIDTH, seed=2))))[0].backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad.any()
    assert teacher.grad is None


# ---------------------------------------------------------------- parts


def every_loss(side: Side) -> dict[str, Callable[[Tensor, list[int]], tuple[Tensor, int]]]:
    """Loss of some rows of virtual tokens (B, Q, E); the rows' numbers choose their targets."""
    lengths = (1, 6, 4, 2)
    targets = [tensor(t) for t in targets_of(lengths)]
    neutral, output = tensor(drawn(WIDTH, seed=5)), tensor(drawn(VOCABULARY, WIDTH, seed=2))
    teacher = tensor(drawn(len(lengths), WIDTH, seed=1))
    return {
        "align": lambda v, rows: losses.token_alignment(v, [targets[b] for b in rows], side),
        "free": lambda v, rows: losses.free_tokens(v, [lengths[b] for b in rows], neutral, side),
        "states": lambda v, rows: losses.state_distance(v[:, 0], teacher[rows]),
        "kl": lambda v, rows: losses.kl_divergence(v[:, 0], teacher[rows], head(output), 2.0, 2),
    }


@pytest.mark.parametrize("parts", [[[0, 1, 2, 3]], [[0], [1], [2], [3]], [[2], [0, 3, 1]]])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", ["align", "free", "states", "kl"])
def test_parts_of_a_batch_add_up_to_the_whole(name: str, side: Side, parts: list[list[int]]) -> None:
    loss = every_loss(side)[name]
    whole = tensor(drawn(4, QUERIES, WIDTH), grad=True)
    value, count = loss(whole, [0, 1, 2, 3])
    value.backward()  # type: ignore[no-untyped-call]
    cut = tensor(drawn(4, QUERIES, WIDTH), grad=True)
    found = [loss(cut[rows], rows) for rows in parts]
    for part, _ in found:
        part.backward()  # type: ignore[no-untyped-call]
    assert sum(float(part.detach()) for part, _ in found) == pytest.approx(float(value.detach()), rel=1e-6)
    assert sum(n for _, n in found) == count
    torch.testing.assert_close(cut.grad, whole.grad, atol=1e-6, rtol=1e-6)


# ---------------------------------------------------------------- nearest token


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("lengths", RAGGED)
def test_the_nearest_token_is_found_as_by_looking_at_each(lengths: tuple[int, ...], side: Side) -> None:
    embeddings = drawn(VOCABULARY, WIDTH, seed=3) * (1 + np.arange(VOCABULARY))[:, None]  # of unequal lengths
    virtual = drawn(len(lengths), QUERIES, WIDTH, seed=4) * 4
    tokens = [np.random.default_rng(b).integers(VOCABULARY, size=n) for b, n in enumerate(lengths)]
    wanted = 0
    for b, ids in enumerate(tokens):
        for n, q in enumerate(stands_for(len(ids), side)):
            nearest = min(range(VOCABULARY), key=lambda v: distance(virtual[b, q], embeddings[v]))
            if n % 2 == 0:
                ids[n] = nearest  # so that there are both hits and misses
            wanted += int(nearest == ids[n])
    found = losses.nearest_token_hits(tensor(virtual), [torch.tensor(t) for t in tokens], tensor(embeddings), side)
    assert found == (wanted, sum(lengths))
    assert wanted > 0


def test_only_the_transcripts_own_token_counts_as_a_hit() -> None:
    virtual = torch.zeros(1, 4, 5)
    virtual[0, 2, 3] = virtual[0, 3, 1] = 0.9
    assert losses.nearest_token_hits(virtual, [torch.tensor([3, 2])], torch.eye(5)) == (1, 2)


def test_a_long_embedding_is_not_nearer_for_being_long() -> None:
    """The largest product is not the smallest distance."""
    embeddings = torch.tensor([[1.0, 0.0], [9.0, 0.0]])
    assert losses.nearest_token_hits(torch.tensor([[[1.5, 0.0]]]), [torch.tensor([0])], embeddings) == (1, 1)
