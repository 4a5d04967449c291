"""A frozen causal LLM that is asked with embeddings: chat framing, greedy decoding, label scoring.

B batch, P prompt positions (of the longest prompt of the batch; shorter ones have unseen padding), L labels,
K positions of the longest label, E width, V vocabulary.
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

from diva_bench.decoding import chat
from diva_bench.errors import AssetError, one_line
from diva_bench.types import LabelScore

_WORDS = "What did she say to them?"
_LOOKED_AT = 3  # tokens of it: each costs two passes, seconds where a CPU emulates bfloat16
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 8e-3, torch.bfloat16: 6e-2}
"""Share of the largest logit that two ways to the same logits may be apart: eight units in the last place of the two short
formats; of float32, in which there is room, a thousand."""


@dataclass(slots=True)
class Prefilled:
    """A batch of prompts that has been read once: what follows, labels or an answer, starts from here."""

    cache: Any
    """Keys and values of transformers, B rows of P positions."""
    mask: Tensor
    """(B, P), 1 where a prompt has a token."""
    logits: Tensor
    """(B, V) float32, of the first answer token."""


class LLM:
    """One instruct LLM. Deterministic; holds no state between calls."""

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer, logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self.device = torch.device(device)
        loader: Any = AutoModelForCausalLM  # its own types do not fit its use
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.model = loader.from_pretrained(folder, dtype=dtype).to(self.device).eval()
        except torch.OutOfMemoryError:
            raise  # a RuntimeError too, but not the folder's fault
        except Exception as err:  # safetensors and tokenizers raise their own kinds, some of them plain Exception
            raise AssetError(
                f"{folder}: this LLM cannot be loaded ({err}). Remove the folder and pull it again."
            ) from err
        self.model.requires_grad_(False)
        self.embeddings: Tensor = self.model.get_input_embeddings().weight  # (V, E)
        self.context = int(self.model.config.max_position_embeddings)  # tokens, prompt and answer together
        self._stops = self._stop_ids()
        self._check_path(folder)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", dtype: str = "float32") -> LLM:
        """`folder`: as convert.py writes it. `dtype`: float32, bfloat16 or float16."""
        return cls(folder, device, getattr(torch, dtype))

    def _stop_ids(self) -> frozenset[int]:
        """Any control token ends an answer: which of them a model's files declare as its end is often incomplete."""
        declared = self.model.generation_config.eos_token_id
        ends = declared if isinstance(declared, list) else [declared]
        control = [i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special]
        return frozenset(i for i in (*ends, *control, *self.tokenizer.all_special_ids) if i is not None)

    @torch.inference_mode()
    def _check_path(self, folder: Path) -> None:
        """AssetError for an LLM that is not what this class takes it for: a matrix of embeddings, layers, and an output
        matrix. Gemma scales embeddings in their module and caps logits behind the output matrix, Granite divides them:
        they would read another prompt than the one that is meant, and say so nowhere.
        """
        ids = self.tokens(_WORDS)[:_LOOKED_AT]
        name = f"{folder}: {type(self.model).__name__} cannot be asked with embeddings, as speech is"
        other = "Take an LLM without such steps, as Llama, Qwen2, Mistral and SmolLM2 are."
        try:
            theirs = self.model(input_ids=torch.tensor([ids], device=self.device), use_cache=False).logits.float()
            ours, _ = self._forward(every=True, inputs_embeds=self.embed(ids)[None])
        except torch.OutOfMemoryError:
            raise
        except Exception as err:  # whatever a model's own code raises
            raise AssetError(f"{name} ({type(err).__name__}: {one_line(err)}). {other}") from err
        apart, largest = float((ours - theirs).abs().max()), float(theirs.abs().max())
        if not apart <= _ROUNDING[self.embeddings.dtype] * largest:
            raise AssetError(
                f"{name}: its logits are up to {apart:.2g} from those that it gives for the same words as tokens (the largest "
                f"of them is {largest:.2g}). It scales embeddings or logits outside its two matrices. {other}"
            )

    # ---- framing

    def frame(self, prompt: str, system: str | None) -> tuple[list[int], list[int]]:
        """Token ids before and after what was said, by the chat template: each side is tokenised on its own, so that an
        oracle, a cascade and DiVA differ in the content alone."""
        before, after = chat.around(self.tokenizer, prompt, system)
        return self.tokens(before), self.tokens(after)

    def tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def embed(self, ids: Sequence[int]) -> Tensor:
        """(n,) ids -> (n, E)."""
        return self.embeddings[torch.tensor(list(ids), dtype=torch.long, device=self.device)]

    # ---- reading

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Tensor], shared: int = 0) -> Prefilled:
        """Read prompts of embeddings (n_b, E), n_b > shared.

        The first `shared` positions are the same in all prompts: they are read once, not once per row. The rest is
        padded on its left, so that every row ends where its answer begins.
        """
        rows = len(prompts)
        shared = shared if rows > 1 else 0  # nothing to save
        cache: Any = None
        if shared:
            _, cache = self._forward(inputs_embeds=prompts[0][None, :shared])
            cache.batch_repeat_interleave(rows)
        longest = max(len(p) for p in prompts)
        batch = self.embeddings.new_zeros(rows, longest - shared, self.embeddings.shape[1])
        mask = torch.zeros(rows, longest, dtype=torch.long, device=self.device)
        mask[:, :shared] = 1
        for row, prompt in enumerate(prompts):
            start = longest - len(prompt)
            batch[row, start:] = prompt[shared:]
            mask[row, shared + start :] = 1
        logits, cache = self._forward(
            inputs_embeds=batch,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, shared:],
            past_key_values=cache,
        )
        return Prefilled(cache, mask, logits)

    def _forward(self, *, every: bool = False, **inputs: Any) -> tuple[Tensor, Any]:
        """(logits float32 of the last position, (B, V), or of every one, (B, N, V); cache).

        The output matrix is applied here to a contiguous slice: on the slice that transformers' own logits_to_keep
        takes, torch copies the 151,936 x 1,536 matrix once per row, nine tenths of the time of a prefill on a CPU.
        """
        out = self.model.base_model(use_cache=True, **inputs)
        states = out.last_hidden_state if every else out.last_hidden_state[:, -1].contiguous()
        return self.model.get_output_embeddings()(states).float(), out.past_key_values

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
        for left in range(max_new_tokens, 0, -1):
            selection = self._choose(logits, temperature, [generators[r] for r in rows] if generators else [])
            keep = [k for k, token in enumerate(selection) if token not in self._stops]
            for k in keep:
                answers[rows[k]].append(selection[k])
            if not keep or left == 1:
                break
            if len(keep) < len(rows):
                index = torch.tensor(keep, device=self.device)
                cache.batch_select_indices(index)
                mask, rows, selection = mask[index], [rows[k] for k in keep], [selection[k] for k in keep]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            logits, cache = self._forward(
                input_ids=torch.tensor(selection, device=self.device)[:, None],
                attention_mask=mask,
                position_ids=mask.sum(1, keepdim=True) - 1,
                past_key_values=cache,
            )
        return answers

    def _choose(self, logits: Tensor, temperature: float, generators: Sequence[torch.Generator]) -> list[int]:
        if temperature == 0:
            return [int(i) for i in logits.argmax(-1).tolist()]
        shares = torch.softmax(logits / temperature, -1).cpu()
        return [int(torch.multinomial(s, 1, generator=g)) for s, g in zip(shares, generators, strict=True)]

    # ---- labels

    @torch.inference_mode()
    def score_labels(self, start: Prefilled, labels: Sequence[str]) -> list[dict[str, LabelScore]]:
        """Log-likelihood of every label string as the beginning of the answer, per row. Leaves `start` as it was.

        The prompt is not read again: its cache is repeated for every label of several tokens, and the labels' tokens
        follow in one pass.
        """
        ids = [self.tokens(label) for label in labels]
        first = torch.log_softmax(start.logits, -1)[:, [i[0] for i in ids]]  # (B, L)
        total = first.clone()
        several = [k for k, i in enumerate(ids) if len(i) > 1]
        if several:
            total[:, several] += self._rest(start, [ids[k] for k in several])
        sums, firsts = total.tolist(), first.tolist()
        return [
            {label: LabelScore(sums[b][k], len(ids[k]), firsts[b][k]) for k, label in enumerate(labels)}
            for b in range(len(sums))
        ]

    def _rest(self, start: Prefilled, ids: Sequence[Sequence[int]]) -> Tensor:
        """(B, L): log-likelihood of each label's tokens from the second on."""
        rows, count, width = len(start.mask), len(ids), max(len(i) for i in ids) - 1
        inputs = torch.tensor([[*i[:-1], *[0] * (width + 1 - len(i))] for i in ids], device=self.device)  # (L, K-1)
        targets = torch.tensor([[*i[1:], *[0] * (width + 1 - len(i))] for i in ids], device=self.device)
        real = torch.tensor([[k < len(i) - 1 for k in range(width)] for i in ids], device=self.device)
        cache = copy.deepcopy(start.cache)
        cache.batch_repeat_interleave(count)
        mask = start.mask.repeat_interleave(count, 0)  # (B*L, P)
        logits, _ = self._forward(
            every=True,
            input_ids=inputs.repeat(rows, 1),
            attention_mask=torch.cat([mask, mask.new_ones(rows * count, width)], 1),  # fillers come last: never seen
            position_ids=mask.sum(1, keepdim=True) + torch.arange(width, device=self.device),
            past_key_values=cache,
        )
        steps = torch.log_softmax(logits, -1)  # (B*L, K-1, V)
        got = steps.gather(-1, targets.repeat(rows, 1)[..., None])[..., 0] * real.repeat(rows, 1)
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
