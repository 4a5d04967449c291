"""The frozen LLM in training: the teacher's pass over transcripts, and the student's pass over virtual tokens.

Both read the same user turn of the chat template: template tokens, content, template tokens. The content is the
transcript for the teacher, and the virtual tokens of the clip for the student. The turn has no instruction (paper,
section 2), or with `instructions: mixed` one of INSTRUCTIONS before the content.

Shapes: B batch, Q virtual tokens, K further tokens of the teacher's answer, E width.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diva_bench.decoding.llm import LLM
from diva_bench.specs import digest

INSTRUCTIONS = (
    "Repeat word for word what the user says. Answer with the user's words only.",
    "Answer the question or reply to the statement in one short sentence.",
    "Translate what the user says into German. Answer with the translation only.",
    "Which emotion do the words of the user express? Answer with one word.",
)
"""For `instructions: mixed`: one for each kind of task; none is the prompt of an evaluated task."""


class Frozen:
    """An LLM with the keys and values of its chat template. Its weights get no gradients; the backward pass only goes
    through to its input.

    `frame` in its methods: 0 for the turn without an instruction, k for the turn with the k-th of `instructions`.
    """

    def __init__(self, llm: LLM, checkpointing: bool = False, instructions: Sequence[str] = ()) -> None:
        self.llm, self.device = llm, llm.device
        self.frames = [llm.frame(text, None) for text in ("", *instructions)]
        self.template = digest([list(part) for part in self.frames[0]])[:16]
        self._checkpointing = checkpointing
        if checkpointing:
            llm.model.activation_checkpointing_enable({"use_reentrant": False})
        with torch.no_grad():  # keys and values of the beginning of each frame
            self._heads = [
                llm.base(inputs_embeds=self._embed(before)[None], use_cache=True).past_key_values
                for before, _ in self.frames
            ]

    def frame_of(self, step: int) -> int:
        """The frame of a training step: the instructions alternate."""
        instructions = len(self.frames) - 1
        return 1 + step % instructions if instructions else 0

    @property
    def before(self) -> list[int]:
        """Token ids of the template before the content, without an instruction."""
        return self.frames[0][0]

    @property
    def after(self) -> list[int]:
        """Token ids of the template after the content, without an instruction."""
        return self.frames[0][1]

    def _embed(self, ids: Sequence[int]) -> Tensor:
        return self.llm.embed(ids).detach()

    @cached_property
    def neutral(self) -> Tensor:
        """(E,): the mean input embedding."""
        return self.llm.embeddings.mean(0, dtype=torch.float32)

    def shifted(self, ids: Sequence[int], shift: int = 0) -> list[int]:
        """The N token ids for the alignment: those of the transcript, or with `shift` as in TrainConfig."""
        return [*self.before[-shift:], *ids][: len(ids)] if shift else list(ids)

    def targets(self, ids: Sequence[int], shift: int = 0) -> Tensor:
        """(N,) token ids -> (N, E) input embeddings for the alignment."""
        return self._embed(self.shifted(ids, shift))

    # ---- teacher

    @torch.inference_mode()
    def answers(self, transcripts: Sequence[Sequence[int]], positions: int, frame: int = 0) -> list[list[int]]:
        """The first K = `positions` tokens of the greedy answer to each transcript, or fewer if it ends."""
        if not positions:
            return [[] for _ in transcripts]
        before, after = self.frames[frame]
        prompts = [self._embed([*before, *t, *after]) for t in transcripts]
        return self.llm.generate(self.llm.prefill(prompts, shared=len(before)), positions)

    @torch.inference_mode()
    def teacher_states(
        self, transcripts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], frame: int = 0
    ) -> list[Tensor]:
        """Per transcript (1 + K_b, E): the last hidden state, after the final norm, at the last prompt position and after
        each token of the answer."""
        return self._final([self._embed(t) for t in transcripts], answers, frame)

    # ---- student

    def student_states(
        self, virtual: Sequence[Tensor], answers: Sequence[Sequence[int]], frame: int = 0
    ) -> list[Tensor]:
        """virtual: per row (Q_b, E), Q_b may be 0 -> per row (1 + K_b, E), as `teacher_states`, with a gradient to
        `virtual`."""
        return self._final([v.to(self.llm.weight.dtype) for v in virtual], answers, frame)

    def _final(self, contents: Sequence[Tensor], answers: Sequence[Sequence[int]], frame: int) -> list[Tensor]:
        """Per row (1 + K_b, E): the final states that predict the answer, after contents (n_b, E) in their frame."""
        after = self.frames[frame][1]
        parts = [torch.cat([c, self._embed([*after, *a])]) for c, a in zip(contents, answers, strict=True)]
        padded = torch.nn.utils.rnn.pad_sequence(
            parts, batch_first=True
        )  # right padding, which causal attention never uses
        states = self._read(padded, frame)
        return [states[b, len(p) - 1 - len(a) : len(p)] for b, (p, a) in enumerate(zip(parts, answers, strict=True))]

    def _read(self, content: Tensor, frame: int) -> Tensor:
        """Final states (B, n, E) of content (B, n, E) after the beginning of the template, whose keys and values are
        stored."""
        # on a CPU the backward pass of the fused kernel takes four times as long as plain matrix products
        plain = self.device.type == "cpu" and content.requires_grad
        plain = (
            plain and not self._checkpointing
        )  # recomputation happens outside this block and must use the same kernel
        with sdpa_kernel(SDPBackend.MATH) if plain else contextlib.nullcontext():
            return self._states(content, frame)

    def _states(self, content: Tensor, frame: int) -> Tensor:
        rows, before = len(content), self.frames[frame][0]
        if self._checkpointing:  # transformers supports it only without a cache
            whole = torch.cat([self._embed(before).expand(rows, -1, -1), content], dim=1)
            # transformers checkpoints only in training mode, and then has no cache, which answers need; there is no dropout
            self.llm.model.train()
            out = self.llm.base(inputs_embeds=whole, use_cache=False)
            self.llm.model.eval()
            return out.last_hidden_state[:, len(before) :]  # type: ignore[no-any-return]
        cache: Any = copy.deepcopy(self._heads[frame])
        cache.batch_repeat_interleave(rows)
        out = self.llm.base(inputs_embeds=content, past_key_values=cache, use_cache=True)
        return out.last_hidden_state  # type: ignore[no-any-return]

    def logits(self, states: Tensor) -> Tensor:
        """(M, E) final states -> (M, V) float32, with a gradient to `states`."""
        return self.llm.logits(states.to(self.llm.weight.dtype))
