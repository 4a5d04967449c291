"""The batch of a training step: the choice of its clips, and all their data that does not depend on trained weights.

A thread reads the batch of the next step from the caches while a step trains. If a frozen model must run on the batch
(the encoder, if its states are not stored; the teacher, in a turn with an instruction), `complete` runs it, which the
training loop calls: two threads never share a model.

Shapes: B rows, T encoder positions of the longest clip, D width of the encoder, E width of the LLM, M rows of teacher's
states.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diva_bench.decoding.whisper import Wave
from diva_bench.diva.config import TrainConfig
from diva_bench.training.data import Clips
from diva_bench.training.run import TrainingRun


@dataclass(frozen=True, slots=True)
class Whole:
    """Counts over all clips of a step in all processes, by which the sums of its losses are divided."""

    clips: int
    tokens: int
    """Tokens of the transcripts."""
    positions: int
    """Positions of the teacher's answers."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some clips of a step."""

    states: Tensor
    """(B, T, D) encoder states; (B, bins, 2T) features if the encoder is trained."""
    mask: Tensor
    """(B, T): which positions are real."""
    tokens: list[list[int]]
    """The N_b token ids of each row for the alignment."""
    answers: list[list[int]]
    """The teacher's answer of each row, without its first token."""
    teacher: Tensor | None
    """(M, E): the teacher's states of all rows, concatenated; None in a step of alignment only."""
    candidates: Tensor | None
    """(C,): the vocabulary of the step, sorted; None if the alignment has no classes."""
    frame: int
    """The turn that teacher and student read, see `Frozen`."""
    whole: Whole
    selection: Sequence[int] = ()
    waves: Sequence[Wave] = ()
    """Before `complete`: clips whose states are not stored."""


def batch_of(step: int, clips: Clips, train: list[int], config: TrainConfig) -> tuple[list[int], list[int]]:
    """(clips, variants) of one step. It is a function of only the step and the seed, so that a resumed run, and any number
    of processes, get the same batch. `every_batch` of the clips are from the first source, the rest from the other
    sources."""
    size = min(config.batch_at(step), len(train))
    first = [i for i in train if clips.items[i].source == 0] if config.every_batch else []
    rest = [i for i in train if clips.items[i].source != 0] if first else train
    few = min(max(config.every_batch, size - len(rest)), len(first), size)
    parts = [(some, count) for some, count in ((first, few), (rest, size - few)) if count]
    # batches' worth of random clips: one of them is taken
    pool = min(8, *(len(some) // count for some, count in parts))
    draws = random.Random(f"{config.seed}-{step}")
    rng = random.Random(f"{config.seed}-{step}-at")
    # clips of similar length: aligned windows, so that the shortest and longest clips are drawn as often as others
    at, selection = rng.randrange(pool), []
    for some, count in parts:
        drawn = draws.sample(some, pool * count)
        drawn.sort(key=lambda i: (clips.lengths[i], i))
        selection += drawn[count * at : count * (at + 1)]
    return selection, [rng.randint(0, config.variants) for _ in selection]


def read_step(run: TrainingRun, step: int) -> tuple[list[int], list[Batch]]:
    """(the clips of a step, this process's share of them in `accumulate` parts, which `complete` completes)."""
    config, accelerator = run.config, run.accelerator
    whole, variants = batch_of(step, run.clips, run.clips.train, config)
    pairs = list(zip(whole, variants, strict=True))[accelerator.process_index :: accelerator.num_processes]
    parts = [pairs[k :: config.accumulate] for k in range(min(config.accumulate, len(pairs)))]
    return whole, [read(run, [i for i, _ in part], [v for _, v in part], whole, step) for part in parts]


def read(run: TrainingRun, selection: Sequence[int], variants: Sequence[int], whole: Sequence[int], step: int) -> Batch:
    """The stored data of some of the `whole` clips of a step. No model runs."""
    config, frozen, items = run.config, run.frozen, run.clips.items
    distilled = config.runs_llm(step)
    frame = frozen.frame_of(step) if distilled else 0
    stored = distilled and not frame
    nothing = torch.empty(0)
    return Batch(
        *(run.clips.batch(selection, variants) if config.cache_states else (nothing, nothing)),
        tokens=[frozen.shifted(items[i].tokens, config.shift) for i in selection],
        answers=run.answers(selection) if stored else [],
        teacher=run.teacher(selection) if stored else None,
        candidates=run.candidates(step, whole) if config.alignment != "l2" else None,
        frame=frame,
        whole=Whole(len(whole), sum(len(items[i].tokens) for i in whole), run.positions(whole) if distilled else 0),
        selection=selection,
        waves=() if config.cache_states else run.clips.waves(selection, variants),
    )


def complete(run: TrainingRun, batch: Batch) -> Batch:
    """The batch on the device of the training, with the outputs of frozen models."""
    device, teacher, answers = run.device, batch.teacher, batch.answers
    states, mask = run.encode(batch.waves) if batch.waves else (batch.states, batch.mask)
    if batch.frame:
        with run.autocast():
            answers, teacher = run.lesson(batch.selection, batch.frame)
    return replace(
        batch,
        states=states.to(device),
        mask=mask.to(device),
        answers=answers,
        teacher=None if teacher is None else teacher.to(device),
        candidates=None if batch.candidates is None else batch.candidates.to(device),
        waves=(),
    )


class Ahead:
    """Reads the batch of the next step in a thread while a step trains."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._thread = ThreadPoolExecutor(1, "next-batch")
        self._next: tuple[int, Future[tuple[list[int], list[Batch]]]] | None = None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def take(self, step: int) -> tuple[list[int], list[Batch]]:
        """`read_step` of a step; the thread then begins with the next step. Raises the exceptions of reading."""
        ready = self._next if self._next is not None and self._next[0] == step else None
        parts = ready[1].result() if ready else read_step(self._run, step)
        following = step + 1
        if following < self._run.config.steps:
            self._next = (following, self._thread.submit(read_step, self._run, following))
        return parts
