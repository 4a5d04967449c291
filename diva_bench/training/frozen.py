"""The frozen LLM in training: what the teacher makes of a transcript, and the student's pass over virtual tokens.

Both read the same user turn of the chat template, without any instruction (paper, section 2): template tokens, content,
template tokens; the teacher's content is the transcript, the student's the virtual tokens of its clip.

B batch, Q virtual tokens, K further tokens of the teacher's answer, E width.
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


class Frozen:
    """An LLM with its template read. Its weights get no gradients: the backward pass goes through to its input only."""

    def __init__(self, llm: LLM, checkpointing: bool = False) -> None:
        self.llm, self.device = llm, llm.device
        self.before, self.after = llm.frame("", None)
        self.template = digest([self.before, self.after])[:16]
        self._checkpointing = checkpointing
        if checkpointing:
            llm.model.activation_checkpointing_enable({"use_reentrant": False})
        with torch.no_grad():
            self._head = llm.model.base_model(inputs_embeds=self._embed(self.before)[None], use_cache=True)

    def _embed(self, ids: Sequence[int]) -> Tensor:
        return self.llm.embed(ids).detach()

    @cached_property
    def neutral(self) -> Tensor:
        """(E,): the mean input embedding."""
        return self.llm.embeddings.mean(0, dtype=torch.float32)

    def shifted(self, ids: Sequence[int], shift: int = 0) -> list[int]:
        """The N token ids to align with: the transcript's own, or with `shift` as in TrainConfig."""
        return [*self.before[-shift:], *ids][: len(ids)] if shift else list(ids)

    def targets(self, ids: Sequence[int], shift: int = 0) -> Tensor:
        """(N,) token ids -> (N, E) input embeddings to align with."""
        return self._embed(self.shifted(ids, shift))

    # ---- teacher

    @torch.inference_mode()
    def answers(self, transcripts: Sequence[Sequence[int]], positions: int) -> list[list[int]]:
        """The first K = `positions` tokens (fewer where it ends) of the greedy answer to each transcript."""
        if not positions:
            return [[] for _ in transcripts]
        prompts = [torch.cat([self._embed(self.before), self._embed(t), self._embed(self.after)]) for t in transcripts]
        return self.llm.generate(self.llm.prefill(prompts, shared=len(self.before)), positions)

    @torch.inference_mode()
    def teach(self, transcripts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[Tensor]:
        """Per transcript (1 + K_b, E): the last hidden state, after the final norm, at the last prompt position and
        behind each token of the answer."""
        parts = [
            torch.cat([self._embed(t), self._embed([*self.after, *a])])
            for t, a in zip(transcripts, answers, strict=True)
        ]
        padded = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)  # right padding: causal, so it is not seen
        states = self._read(padded)
        return [states[b, len(p) - 1 - len(a) : len(p)] for b, (p, a) in enumerate(zip(parts, answers, strict=True))]

    # ---- student

    def study(self, virtual: Sequence[Tensor], answers: Sequence[Sequence[int]]) -> list[Tensor]:
        """virtual: per row (Q_b, E), Q_b may be 0 -> per row (1 + K_b, E), as `teach`, with a gradient to `virtual`."""
        parts = [
            torch.cat([v.to(self.llm.embeddings.dtype), self._embed([*self.after, *a])])
            for v, a in zip(virtual, answers, strict=True)
        ]
        states = self._read(torch.nn.utils.rnn.pad_sequence(parts, batch_first=True))  # right padding, as in `teach`
        return [states[b, len(p) - 1 - len(a) : len(p)] for b, (p, a) in enumerate(zip(parts, answers, strict=True))]

    def _read(self, content: Tensor) -> Tensor:
        """Final states (B, n, E) of content (B, n, E) behind the template's beginning, which was read once."""
        # on a CPU the backward pass of the fused kernel takes four times as long as plain matrix products
        plain = self.device.type == "cpu" and content.requires_grad
        plain = plain and not self._checkpointing  # what is recomputed comes after this, and must be the same kernel
        with sdpa_kernel(SDPBackend.MATH) if plain else contextlib.nullcontext():
            return self._states(content)

    def _states(self, content: Tensor) -> Tensor:
        rows = len(content)
        if self._checkpointing:  # which transformers does without a cache only
            whole = torch.cat([self._embed(self.before).expand(rows, -1, -1), content], dim=1)
            # transformers checkpoints in training mode only, and then keeps no cache, which answers need; no dropout is on
            self.llm.model.train()
            out = self.llm.model.base_model(inputs_embeds=whole, use_cache=False)
            self.llm.model.eval()
            return out.last_hidden_state[:, len(self.before) :]  # type: ignore[no-any-return]
        cache: Any = copy.deepcopy(self._head.past_key_values)
        cache.batch_repeat_interleave(rows)
        out = self.llm.model.base_model(inputs_embeds=content, past_key_values=cache, use_cache=True)
        return out.last_hidden_state  # type: ignore[no-any-return]

    @property
    def output(self) -> Tensor:
        """(V, E): what turns a state into the logits of the vocabulary."""
        return self.llm.model.get_output_embeddings().weight.detach()  # type: ignore[no-any-return]
