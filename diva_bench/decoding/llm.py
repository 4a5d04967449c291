"""A frozen causal LLM that is asked with embeddings: chat framing, greedy decoding, label scoring.

B batch, P prompt positions (the longest of the batch; shorter prompts are padded on the left), L labels, E width, V vocabulary.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diva_bench.errors import AssetError
from diva_bench.types import LabelScore

_MARK = "DIVABENCHSPOKENHERE"  # stands for what was said while the chat template is rendered


@dataclass(slots=True)
class Prefilled:
    """A batch of prompts that has been read once: what follows, labels or an answer, starts from here."""

    cache: Any
    mask: Tensor
    """(B, P), 1 where a prompt has a token."""
    logits: Tensor
    """(B, V) float32, of the first answer token."""


class LLM:
    """One instruct LLM. Deterministic; holds no state between calls."""

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer, logging

        logging.disable_progress_bar()
        self.device = torch.device(device)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(self.device).eval()
        except (OSError, ValueError, RuntimeError) as err:
            raise AssetError(f"{folder}: this LLM cannot be loaded ({err}). `diva-bench doctor --verify` checks it.") from err
        self.model.requires_grad_(False)
        self.embeddings: Tensor = self.model.get_input_embeddings().weight  # (V, E)
        stops = self.model.generation_config.eos_token_id
        self._stops = set(stops if isinstance(stops, list) else [stops]) | {self.tokenizer.eos_token_id}

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", dtype: str = "float32") -> LLM:
        """`folder`: as convert.py writes it. `dtype`: float32, bfloat16 or float16."""
        return cls(folder, device, getattr(torch, dtype))

    # ---- framing

    def frame(self, prompt: str, system: str | None) -> tuple[list[int], list[int]]:
        """Token ids before and after what was said.

        The chat template is rendered once with a mark as the spoken content and cut there; both sides are tokenised on
        their own, so that an oracle, a cascade and DiVA differ in the content alone. The instruction stands in the
        user's turn, before what was said.
        """
        turns = [{"role": "user", "content": f"{prompt}\n\n{_MARK}"}]
        if system:
            turns.insert(0, {"role": "system", "content": system})
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        before, after = text.split(_MARK)
        return self.tokens(before), self.tokens(after)

    def tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def embed(self, ids: Sequence[int]) -> Tensor:
        """(n,) ids -> (n, E)."""
        return self.embeddings[torch.tensor(list(ids), dtype=torch.long, device=self.device)]

    # ---- reading

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Tensor]) -> Prefilled:
        """Read prompts of embeddings (n_b, E) in one pass."""
        longest = max(len(p) for p in prompts)
        batch = torch.zeros(len(prompts), longest, self.embeddings.shape[1], device=self.device, dtype=self.model.dtype)
        mask = torch.zeros(len(prompts), longest, dtype=torch.long, device=self.device)
        for row, prompt in enumerate(prompts):
            batch[row, longest - len(prompt) :] = prompt.to(self.model.dtype)
            mask[row, longest - len(prompt) :] = 1
        out = self.model(
            inputs_embeds=batch,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=True,
            logits_to_keep=1,
        )
        return Prefilled(out.past_key_values, mask, out.logits[:, -1].float())

    # ---- answering

    @torch.inference_mode()
    def generate(
        self, start: Prefilled, max_new_tokens: int, temperature: float = 0.0, seeds: Sequence[int] = ()
    ) -> list[list[int]]:
        """Answer token ids of each row, without the stop token. Uses up `start.cache`.

        `temperature` 0 is greedy; otherwise row b is sampled with its own generator, seeded seeds[b]. A row that has
        stopped leaves the batch.
        """
        rows = list(range(len(start.mask)))
        generators = [torch.Generator().manual_seed(seed) for seed in seeds] if temperature > 0 else []
        answers: list[list[int]] = [[] for _ in rows]
        mask, logits, cache = start.mask, start.logits, start.cache
        for _ in range(max_new_tokens):
            chosen = self._choose(logits, temperature, [generators[r] for r in rows] if generators else [])
            keep = [k for k, token in enumerate(chosen) if token not in self._stops]
            for k in keep:
                answers[rows[k]].append(chosen[k])
            if not keep:
                break
            if len(keep) < len(rows):
                index = torch.tensor(keep, device=self.device)
                cache.batch_select_indices(index)
                mask, rows, chosen = mask[index], [rows[k] for k in keep], [chosen[k] for k in keep]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            out = self.model(
                input_ids=torch.tensor(chosen, device=self.device)[:, None],
                attention_mask=mask,
                position_ids=mask.sum(1, keepdim=True) - 1,
                past_key_values=cache,
                use_cache=True,
            )
            logits = out.logits[:, -1].float()
        return answers

    def _choose(self, logits: Tensor, temperature: float, generators: Sequence[torch.Generator]) -> list[int]:
        if temperature == 0:
            return [int(i) for i in logits.argmax(-1)]
        shares = torch.softmax(logits / temperature, -1).cpu()
        return [int(torch.multinomial(s, 1, generator=g)) for s, g in zip(shares, generators, strict=True)]

    def text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    # ---- labels

    @torch.inference_mode()
    def score_labels(self, start: Prefilled, labels: Sequence[str]) -> list[dict[str, LabelScore]]:
        """Log-likelihood of every label string as the whole answer so far, per row. Leaves `start` as it was.

        The prompt is not read again: its cache is repeated once per label and the labels' tokens follow in one pass.
        """
        ids = [self.tokens(label) for label in labels]
        first = torch.log_softmax(start.logits, -1)  # (B, V)
        sums = first[:, [i[0] for i in ids]]  # (B, L)
        firsts = sums.clone()
        longest = max(len(i) for i in ids)
        if longest > 1:
            sums = sums + self._rest(start, ids, longest)
        return [
            {
                label: LabelScore(float(sums[b, k]), len(ids[k]), float(firsts[b, k]))
                for k, label in enumerate(labels)
            }
            for b in range(len(sums))
        ]

    def _rest(self, start: Prefilled, ids: Sequence[Sequence[int]], longest: int) -> Tensor:
        """(B, L): log-likelihood of each label's second to last token."""
        rows, count = len(start.mask), len(ids)
        cache = copy.deepcopy(start.cache)
        cache.batch_repeat_interleave(count)
        given = torch.tensor([[*i[:-1], *[0] * (longest - len(i))] for i in ids], device=self.device)  # (L, longest-1)
        wanted = torch.tensor([[*i[1:], *[0] * (longest - len(i))] for i in ids], device=self.device)
        real = torch.tensor([[k < len(i) - 1 for k in range(longest - 1)] for i in ids], device=self.device)
        mask = start.mask.repeat_interleave(count, 0)  # (B*L, P)
        positions = mask.sum(1, keepdim=True) + torch.arange(longest - 1, device=self.device)
        out = self.model(
            input_ids=given.repeat(rows, 1),
            attention_mask=torch.cat([mask, mask.new_ones(rows * count, longest - 1)], 1),  # causal: later pads unseen
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        steps = torch.log_softmax(out.logits.float(), -1)  # (B*L, longest-1, V)
        got = steps.gather(-1, wanted.repeat(rows, 1)[..., None])[..., 0] * real.repeat(rows, 1)
        return got.sum(1).view(rows, count)


class Clock:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
