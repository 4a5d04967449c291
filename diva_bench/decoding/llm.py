"""A frozen causal LLM with embeddings as input: chat frame, prefill of prompts, greedy decoding.

Its own embedding module makes the embeddings and its own head the logits, because some models do more there than look up and
multiply: Gemma scales embeddings and caps logits, Granite and Cohere scale logits.

B batch, P prompt positions (of the longest prompt of the batch; shorter ones have unseen padding), E width, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diva_bench.decoding import chat, loading, news
from diva_bench.decoding.parts import even
from diva_bench.errors import AssetError, UserError, one_line

if TYPE_CHECKING:
    from diva_bench.decoding.static import Draw, StaticDecoder
    from diva_bench.specs import Runtime

_PREFILL = 4096  # padded positions that are read in one pass
_WORDS = "What did she say to them?"
_LOOKED_AT = 3  # tokens of it that are checked: each costs two passes, seconds on a CPU that emulates bfloat16
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 8e-3, torch.bfloat16: 6e-2}
"""Share of the largest logit that two ways to the same logits may be apart: eight units in the last place of the two short
formats; of float32, in which there is room, a thousand."""


@dataclass(slots=True)
class Prefilled:
    """A batch of prompts after prefill, from which labels are scored or answers are generated."""

    cache: Any
    """Keys and values of transformers, B rows of P positions."""
    mask: Tensor
    """(B, P), 1 where a prompt has a token."""
    logits: Tensor
    """(B, V) float32, for the first answer token."""

    @property
    def keeps_all(self) -> bool:
        """Whether the cache has all positions of every layer, without a sliding window."""
        return _keeps_all(self.cache)


class LLM:
    """An instruct LLM. It is deterministic and has no state between calls."""

    def __init__(self, model: Any, tokenizer: Any, name: str, decode: str = "dynamic", base: Any = None) -> None:
        """`model`, a causal LM, and `tokenizer`: of transformers. `name`: for messages. `decode`: dynamic, or static, see
        static.py. `base`: the part of the model that reads embeddings, where it is not the whole base model."""
        self.model, self.tokenizer = model.eval().requires_grad_(False), tokenizer
        self.base = model.base_model if base is None else base  # from embeddings to last hidden states
        self.weight: Tensor = model.get_input_embeddings().weight  # (V, E)
        self.device: torch.device = self.weight.device
        self.context = int(model.config.get_text_config().max_position_embeddings)  # tokens, prompt and answer together
        self._head = head_of(model)
        self._stops = self._stop_ids()
        self._static: StaticDecoder | None = None
        self._whole = self._check_path(name)
        if decode == "static":
            from diva_bench.decoding.static import StaticDecoder

            self._static = StaticDecoder(self.base, self.logits, self.weight)
            self._check_static(name, self._static)

    @classmethod
    def load(
        cls,
        folder: Path,
        device: str = "cpu",
        dtype: str = "float32",
        decode: str = "dynamic",
        *,
        bits: int | None = None,
        device_map: str | None = None,
    ) -> LLM:
        """`folder`: as transformers writes it, in one file or in shards. The other settings: see `Runtime`."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = loading.from_folder(AutoModelForCausalLM, folder, device, dtype, bits=bits, device_map=device_map)
        except (torch.OutOfMemoryError, UserError):
            raise  # the former is a RuntimeError too, but not a fault of the folder
        except Exception as err:  # safetensors and tokenizers raise their own kinds, some of them plain Exception
            raise AssetError(
                f"{folder}: this LLM cannot be loaded ({err}). Remove the folder and pull it again."
            ) from err
        return cls(model, tokenizer, str(folder), decode)

    @classmethod
    def of(cls, folder: Path, device: str, runtime: Runtime) -> LLM:
        """The LLM in a folder as a model's runtime wants it."""
        how = {"bits": runtime.bits, "device_map": runtime.device_map}
        return cls.load(folder, device, runtime.dtype, runtime.decode, **how)  # type: ignore[arg-type]

    def _stop_ids(self) -> frozenset[int]:
        """Any control token ends an answer, because models often declare only some of their end tokens."""
        declared = self.model.generation_config.eos_token_id
        ends = declared if isinstance(declared, list) else [declared]
        added = getattr(self.tokenizer, "added_tokens_decoder", {})  # Mistral's own tokenizer has none
        control = [i for i, token in added.items() if token.special]
        return frozenset(i for i in (*ends, *control, *self.tokenizer.all_special_ids) if i is not None)

    def stop_only_at(self, token: str) -> None:
        """End answers at this token alone, as code of others does."""
        self._stops = frozenset({int(self.tokenizer.convert_tokens_to_ids(token))})

    @torch.inference_mode()
    def _check_path(self, where: str) -> bool:
        """Whether the cache has all positions of every layer. Raises AssetError if the logits for embeddings are not those
        that the LLM gives for the same tokens: it would silently read another prompt (Gemma 3n adds embeddings in every
        layer)."""
        ids = self.tokens(_WORDS)[:_LOOKED_AT]
        name = f"{where}: {type(self.model).__name__} cannot be asked with embeddings, as speech is"
        other = "Take another LLM: Llama, Qwen, Gemma 2 and 3, Mistral, Phi, Granite and SmolLM can be asked so."
        try:
            theirs = self.model(input_ids=torch.tensor([ids], device=self.device), use_cache=False).logits.float()
            ours, cache = self._forward(every=True, inputs_embeds=self.embed(ids)[None])
        except torch.OutOfMemoryError:
            raise
        except Exception as err:  # the code of a model may raise anything
            raise AssetError(f"{name} ({type(err).__name__}: {one_line(err)}). {other}") from err
        apart, largest = float((ours - theirs).abs().max()), float(theirs.abs().max())
        if not apart <= ROUNDING[self.weight.dtype] * largest:
            raise AssetError(
                f"{name}: its logits are up to {apart:.2g} from those that it gives for the same words as tokens (the largest "
                f"of them is {largest:.2g}). {other}"
            )
        return _keeps_all(cache)

    @torch.inference_mode()
    def _check_static(self, where: str, static: StaticDecoder) -> None:
        """AssetError for an LLM whose static steps fail, or give other logits than dynamic ones for the same tokens."""
        other = "Set `decode: dynamic` in the `runtime` of the model."
        first, *rest = self.tokens(_WORDS)[: 1 + _LOOKED_AT]
        prompt = self.embed([first])[None]
        try:
            _, cache = self._forward(inputs_embeds=prompt)
            if not _keeps_all(cache):
                raise AssetError(
                    f"{where}: {type(self.model).__name__} forgets positions behind a sliding window; static decoding keeps "
                    f"all of them. {other}"
                )
            static.begin(self._forward(inputs_embeds=prompt)[1], torch.ones(1, 1, device=self.device), len(rest) + 1)
            apart = largest = 0.0
            for token in rest:
                step = torch.tensor([[token]], device=self.device)
                theirs, cache = self._forward(input_ids=step, past_key_values=cache)
                static.tokens[:1] = step
                static.advance()
                apart = max(apart, float((static.logits[:1] - theirs).abs().max()))
                largest = max(largest, float(theirs.abs().max()))
        except (AssetError, torch.OutOfMemoryError):
            raise
        except Exception as err:  # of a model that asks the device for a value while its step is recorded, for example
            raise AssetError(
                f"{where}: {type(self.model).__name__} cannot be decoded statically "
                f"({type(err).__name__}: {one_line(err)}). {other}"
            ) from err
        # a wrong step is as far off as the logits are large; in bfloat16 a right one was 2.7 % off (SmolLM2 135M)
        if not apart <= 4 * ROUNDING[self.weight.dtype] * largest:
            raise AssetError(
                f"{where}: static decoding gives logits that are up to {apart:.2g} from those of dynamic decoding (the "
                f"largest of them is {largest:.2g}). {other}"
            )

    # ---- framing

    def frame(self, prompt: str, system: str | None) -> tuple[list[int], list[int]]:
        """(token ids before, token ids after the spoken content) by the chat template. Each side is tokenised separately,
        so that oracle, cascade and DiVA differ only in the content."""
        before, after = chat.around(self.tokenizer, prompt, system)
        return self.tokens(before), self.tokens(after)

    def tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def embed(self, ids: Sequence[int]) -> Tensor:
        """(n,) ids -> (n, E), what the layers read for these tokens."""
        return self._embed(torch.tensor(list(ids), dtype=torch.long, device=self.device))

    def _embed(self, ids: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(ids)  # type: ignore[no-any-return]

    @cached_property
    def embeddings(self) -> Tensor:
        """(V, E): `embed` of every token. A second matrix only where it is not `weight` (Gemma)."""
        first = torch.arange(min(len(self.weight), _LOOKED_AT), device=self.device)
        with torch.no_grad():
            if torch.equal(self._embed(first), self.weight[first]):
                return self.weight
            return self._embed(torch.arange(len(self.weight), device=self.device))

    # ---- reading

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Tensor], shared: int = 0) -> Prefilled:
        """Read prompts of embeddings (n_b, E), n_b > shared. Rows are in the order of `prompts`.

        Prompts are read in parts of similar length, so that a short prompt is not padded to the longest of the batch,
        and memory does not grow with the number of rows. The first `shared` positions are equal in all prompts: each
        part reads them once, not once per row; not where a sliding window counts the padding behind them.
        """
        shared = shared if self._whole else 0
        order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
        parts = even([len(prompts[row]) - shared for row in order], _PREFILL)
        if len(parts) == 1:
            return self._read(prompts, shared)
        read = [self._read([prompts[row] for row in order[part]], shared) for part in parts]
        if not all(part.keeps_all for part in read):
            return self._read(prompts, shared)
        return _joined(read, [order[part] for part in parts])

    def _read(self, prompts: Sequence[Tensor], shared: int) -> Prefilled:
        """`prefill` in one pass. Prompts are padded on the left, so that all rows end where the answer begins."""
        rows = len(prompts)
        shared = shared if rows > 1 else 0  # nothing to save
        cache: Any = None
        if shared:
            _, cache = self._forward(inputs_embeds=prompts[0][None, :shared])
            cache.batch_repeat_interleave(rows)
        longest = max(len(p) for p in prompts)
        batch = self.weight.new_zeros(rows, longest - shared, self.weight.shape[1])
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

        The head is applied here to a contiguous slice: on the slice that transformers' own logits_to_keep takes, torch
        copies the 151,936 x 1,536 matrix once per row, nine tenths of the time of a prefill on a CPU.
        """
        out = self.base(use_cache=True, **inputs)
        states = out.last_hidden_state if every else out.last_hidden_state[:, -1].contiguous()
        return self.logits(states), out.past_key_values

    def states(self, **inputs: Any) -> Tensor:
        """(B, N, E): the last hidden states of a pass; its `past_key_values` grow by N positions."""
        return self.base(use_cache=True, **inputs).last_hidden_state  # type: ignore[no-any-return]

    def logits(self, states: Tensor) -> Tensor:
        """(..., E) last hidden states -> (..., V) float32."""
        logits = self._head(states.reshape(1, -1, states.shape[-1])).float()
        return logits.view(*states.shape[:-1], -1)

    # ---- answering

    @torch.inference_mode()
    def generate(
        self, start: Prefilled, max_new_tokens: int, temperature: float = 0.0, seeds: Sequence[int] = ()
    ) -> list[list[int]]:
        """Answer token ids of each row, without the stop token. It uses up `start.cache`.

        `temperature` 0 is greedy; otherwise row b is sampled with its own generator, seeded with seeds[b].
        """
        generators = [torch.Generator().manual_seed(seed) for seed in seeds] if temperature > 0 else []

        def draw(logits: Tensor, rows: Sequence[int]) -> list[int]:
            return self._choose(logits, temperature, [generators[row] for row in rows] if generators else [])

        if self._static is not None:
            return self._static.generate(
                start.cache, start.mask, start.logits, max_new_tokens, self._ends, draw if generators else None
            )
        return self._dynamic(start, max_new_tokens, draw)

    def _ends(self, row: int, answer: Sequence[int], token: int) -> bool:
        """Whether `token`, which is not part of it, ends the answer of a row."""
        end = token in self._stops
        if end:
            news.report(news.DECODE, 1)
        return end

    def _dynamic(self, start: Prefilled, count: int, draw: Draw) -> list[list[int]]:
        """`generate` with a cache that grows by a position a step; a row that has stopped leaves the batch."""
        rows = list(range(len(start.mask)))
        answers: list[list[int]] = [[] for _ in rows]
        mask, logits, cache = start.mask, start.logits, start.cache
        for left in range(count, 0, -1):
            selection = draw(logits, rows)
            keep = [k for k, token in enumerate(selection) if not self._ends(rows[k], answers[rows[k]], token)]
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


class Given(nn.Module):
    """Stands in for the layers of a model: its output is its input. All else is theirs."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.__dict__["layers"] = layers  # not as a part of this one

    def forward(self, inputs_embeds: Tensor, **_: Any) -> _States:
        return _States(inputs_embeds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["layers"], name)


class _States:
    """The output of a model's layers that has states alone: what else a head looks for is None."""

    def __init__(self, states: Tensor) -> None:
        self.last_hidden_state = states

    def __getitem__(self, index: int) -> Tensor:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def head_of(model: Any) -> Callable[[Tensor], Tensor]:
    """The head of a causal LM, (B, N, E) last hidden states -> (B, N, V) logits: its own `forward` without its layers, with
    all that it does to logits."""
    ask = forward_with(model, {model.base_model_prefix: Given(model.base_model)})
    return lambda states: ask(inputs_embeds=states).logits


def forward_with(model: nn.Module, parts: Mapping[str, nn.Module]) -> Callable[..., Any]:
    """`forward` of a model in which some of its direct parts are others. The model is not changed."""
    other = copy.copy(model)  # of the module alone: its weights are those of `model`
    other._modules = {**model._modules, **parts}
    forward = type(model).forward  # not the instance's, which may be bound to the whole model (device_map)
    return lambda **inputs: forward(other, **inputs)


def _keeps_all(cache: Any) -> bool:
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _joined(parts: Sequence[Prefilled], rows: Sequence[Sequence[int]]) -> Prefilled:
    """Parts of a batch as one batch; rows[k] are the places of the rows of parts[k]. Shorter parts are padded on the left.
    The cache of the first part becomes that of all; the others are emptied."""
    count, longest = sum(len(part) for part in rows), max(part.mask.shape[1] for part in parts)
    places = [torch.tensor(part, device=parts[0].mask.device) for part in rows]

    def joined(tensors: Sequence[Tensor]) -> Tensor:
        """(b, ..., p, d) each -> (B, ..., P, d), with zeros ahead."""
        whole = tensors[0].new_zeros(count, *tensors[0].shape[1:-2], longest, tensors[0].shape[-1])
        for place, tensor in zip(places, tensors, strict=True):
            whole[place, ..., longest - tensor.shape[-2] :, :] = tensor
        return whole

    cache = parts[0].cache
    for index, layer in enumerate(cache.layers):
        every = [part.cache.layers[index] for part in parts]
        keys, values = joined([one.keys for one in every]), joined([one.values for one in every])
        for one in every:
            one.keys = one.values = (
                None  # freed layer by layer, because both caches together would need twice the memory
            )
        layer.keys, layer.values = keys, values
    mask = joined([part.mask[..., None] for part in parts])[..., 0]
    logits = parts[0].logits.new_empty(count, parts[0].logits.shape[1])
    for place, part in zip(places, parts, strict=True):
        logits[place] = part.logits
    return Prefilled(cache, mask, logits)
