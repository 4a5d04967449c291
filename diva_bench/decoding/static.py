"""Decoding with a cache of fixed size, so that a step can be recorded once as a CUDA graph and then replayed.

A decode step starts hundreds of short kernels. A GPU finishes a kernel before the host has started the next one. A CUDA
graph starts all kernels of a step at once, but always with the same addresses and shapes. Therefore:

- Keys and values are in buffers that are allocated once.
- The number of rows and the number of positions of a step are rounded up to one of a few sizes, and each pair of sizes has
  its own graph.
- A row whose answer has ended is still computed, and its tokens are ignored, until the other rows fit into the next
  smaller number of rows.

Without CUDA the same steps run without graphs.

Shapes: B rows of the batch, R rows of a step, P prompt positions, L positions that a step attends to, H heads, E width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

_POSITIONS = 64  # L is a multiple of 64, also because attention kernels need aligned rows in a mask

Ends = Callable[[int, Sequence[int], int], bool]
"""(row of the batch, answer so far, token) -> whether this token ends the answer. The token is not part of the answer."""
Draw = Callable[[Tensor, Sequence[int]], list[int]]
"""(logits (n, V), the n rows of the batch to which they belong) -> the next token of each row."""


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, each (R, H, L, width of a head). A step overwrites one position of them."""

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor, place: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values, self.place = keys, values, place
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.keys.index_copy_(2, self.place, key_states)
        self.values.index_copy_(2, self.place, value_states)
        return self.keys, self.values


@dataclass(slots=True)
class _Step:
    """The step for one pair of sizes. Its first run is not recorded: libraries allocate memory and choose kernels in it."""

    cache: Cache
    graph: Any = None
    ran: bool = False


class StaticDecoder:
    """Decodes with one LLM, whose buffers and graphs it keeps. The buffers have the size of the largest batch so far; a call
    reads nothing that an earlier batch wrote into them."""

    def __init__(self, base: Any, head: Callable[[Tensor], Tensor], weights: Tensor) -> None:
        """A decoder without buffers.

        Args:
            base: The layers of an LLM of transformers. All of them attend to all positions (no sliding window).
            head: (R, E) last states -> (R, V) float32.
            weights: (V, E), the embeddings of the LLM.
        """
        self._base, self._head = base, head
        self._weights = weights
        with torch.inference_mode():
            self._vocabulary = head(weights.new_zeros(1, weights.shape[1])).shape[1]
        self._cuda = self._weights.device.type == "cuda"
        self._stream: Any = None  # graphs are recorded on it
        if self._cuda:
            self._stream = torch.cuda.Stream(self._weights.device)  # type: ignore[no-untyped-call]
        self.reset()

    def reset(self) -> None:
        """Free buffers and graphs."""
        self._steps: dict[tuple[int, int], _Step] = {}
        self._pool: Any = None  # memory that all graphs share, because only one runs at a time
        self._layers: list[tuple[Tensor, Tensor]] = []  # keys and values of each layer, for the largest R and L
        self._largest = (0, 0)
        self._rows = self._used = 0  # R, and the number of positions that are written

    # ---- a batch

    @torch.inference_mode()
    def generate(
        self, cache: Any, mask: Tensor, logits: Tensor, count: int, ends: Ends, draw: Draw | None = None
    ) -> list[list[int]]:
        """Decode answers after prompts that the LLM has read.

        Args:
            cache: Keys and values of the prompts, B rows of P positions in every layer. It is empty afterwards.
            mask: (B, P), 1 where a prompt has a token; prompts end at the last position.
            logits: (B, V) float32, the logits of the first answer token.
            count: The largest number of tokens in an answer, at least 1.
            ends: Decides whether a token ends an answer.
            draw: Chooses the next tokens; None: the most probable ones.

        Returns:
            The tokens of each answer, B of them.
        """
        try:
            self.begin(cache, mask, count)
            return self._decoded(logits, count, ends, draw)
        except BaseException:
            self.reset()  # an error, such as a lack of memory, can leave an incomplete graph
            raise

    def begin(self, cache: Any, mask: Tensor, count: int) -> None:
        """Copy the prompts into the buffers. Arguments as in `generate`."""
        rows, prompt = mask.shape
        self._rows, self._used = _power(rows), prompt
        longest = _rounded(prompt + count)
        if self._rows > self._largest[0] or longest > self._largest[1]:
            self._allocate(cache, max(self._rows, self._largest[0]), max(longest, self._largest[1]))
        for buffers, layer in zip(self._layers, cache.layers, strict=True):
            for buffer, prompts in zip(buffers, (layer.keys, layer.values), strict=True):
                part = buffer[: self._rows, :, :longest]
                part.zero_()  # the mask does not remove NaN and infinite numbers, because 0 x NaN is NaN
                part[:rows, :, :prompt] = prompts
            layer.keys = layer.values = None  # each layer is freed at once, so that prompts are not in memory twice
        self._mask.fill_(torch.finfo(self._mask.dtype).min)
        self._mask[:rows, 0, 0, :prompt].masked_fill_(mask.bool(), 0.0)
        self._positions.zero_()
        self._positions[:rows, 0] = mask.sum(1)
        self._place.fill_(prompt)
        self.tokens.zero_()

    def _allocate(self, cache: Any, rows: int, positions: int) -> None:
        self._steps, self._layers, self._pool = {}, [], None  # free the old buffers before larger ones are allocated
        some = self._weights
        for layer in cache.layers:
            sizes = [(rows, part.shape[1], positions, part.shape[3]) for part in (layer.keys, layer.values)]
            self._layers.append((some.new_empty(sizes[0]), some.new_empty(sizes[1])))
        self._mask = some.new_empty(rows, 1, 1, positions)  # added to attention scores
        self._positions = torch.zeros(rows, 1, dtype=torch.long, device=some.device)
        self._place = torch.zeros(1, dtype=torch.long, device=some.device)
        self.tokens = torch.zeros(rows, 1, dtype=torch.long, device=some.device)  # input of the next step
        self.logits = torch.zeros(rows, self._vocabulary, device=some.device)  # output of the last step
        self._host = torch.zeros(rows, dtype=torch.long, pin_memory=self._cuda)
        self._pool = torch.cuda.graph_pool_handle() if self._cuda else None
        self._largest = (rows, positions)

    def _decoded(self, first: Tensor, count: int, ends: Ends, draw: Draw | None) -> list[list[int]]:
        answers: list[list[int]] = [[] for _ in first]
        live = {place: place for place in range(len(first))}  # place in the buffers -> row of the batch
        self.logits[: len(first)] = first
        self.tokens[: len(first)] = first.argmax(-1, keepdim=True)
        ahead = self._cuda and draw is None  # start the next step before the host has the tokens of this one
        for left in range(count, 0, -1):
            arrived = self._fetch() if draw is None else None
            if ahead and left > 1:
                self.advance()
            selection = self._fetched(arrived, live) if draw is None else self._drawn(draw, live)
            for (place, row), token in zip(list(live.items()), selection, strict=True):
                if ends(row, answers[row], token):
                    del live[place]
                else:
                    answers[row].append(token)
            if not live or left == 1:
                break
            if _power(len(live)) < self._rows:
                live = self._keep(live)
            if not ahead:
                self.advance()
        return answers

    def _fetch(self) -> Any:
        """Start copying the tokens to the host. Returns the event that ends the copy; None without CUDA."""
        self._host[: self._rows].copy_(self.tokens[: self._rows, 0], non_blocking=True)
        if not self._cuda:
            return None
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._weights.device))
        return event

    def _fetched(self, arrived: Any, live: dict[int, int]) -> list[int]:
        if arrived is not None:
            arrived.synchronize()
        tokens = self._host[: self._rows].tolist()
        return [tokens[place] for place in live]

    def _drawn(self, draw: Draw, live: dict[int, int]) -> list[int]:
        places = torch.tensor(list(live), device=self.tokens.device)
        selection = draw(self.logits[places], list(live.values()))
        self.tokens[places, 0] = torch.tensor(selection, device=self.tokens.device)
        return selection

    def _keep(self, live: dict[int, int]) -> dict[int, int]:
        """Move the rows that are not finished to the front, so that the next steps have fewer rows."""
        index = torch.tensor(list(live), device=self.tokens.device)
        count = len(live)
        for buffers in self._layers:
            for buffer in buffers:
                part = buffer[:, :, : self._used]
                part[:count] = part[index]
        for part in (self._mask, self._positions, self.tokens, self.logits):
            part[:count] = part[index]
        self._rows = _power(count)
        return dict(enumerate(live.values()))

    # ---- a step

    def advance(self) -> None:
        """One step: it reads `tokens`, writes `logits` of the next token, and replaces `tokens` by the most probable ones."""
        length = _rounded(self._used + 1)
        key = (self._rows, length)
        if key not in self._steps:
            layers: Any = [
                _Layer(keys[: self._rows, :, :length], values[: self._rows, :, :length], self._place)
                for keys, values in self._layers
            ]
            self._steps[key] = _Step(Cache(layers=layers))
        step = self._steps[key]
        if not self._cuda:
            self._run(step.cache, *key)
        elif not step.ran:
            self._warm(step.cache, *key)
        else:
            if step.graph is None:
                step.graph = self._recorded(step.cache, *key)
            step.graph.replay()
        step.ran = True
        self._used += 1

    def _warm(self, cache: Cache, rows: int, length: int) -> None:
        """One step without a graph, on the stream on which graphs are recorded."""
        current = torch.cuda.current_stream(self._weights.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._run(cache, rows, length)
        current.wait_stream(self._stream)

    def _recorded(self, cache: Cache, rows: int, length: int) -> Any:
        graph = torch.cuda.CUDAGraph()
        # other threads may pin memory during the recording, which would end it with an error in the other modes
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            self._run(cache, rows, length)
        return graph

    def _run(self, cache: Cache, rows: int, length: int) -> None:
        """The kernels of a step. No value may be copied between host and device here, because a graph runs without the host."""
        mask = self._mask[:rows, :, :, :length]
        mask.index_fill_(3, self._place, 0.0)
        out = self._base(
            input_ids=self.tokens[:rows],
            attention_mask=mask,
            position_ids=self._positions[:rows],
            past_key_values=cache,
            use_cache=True,
        )
        logits = self.logits[:rows]
        logits.copy_(self._head(out.last_hidden_state[:, -1].contiguous()))
        torch.argmax(logits, -1, keepdim=True, out=self.tokens[:rows])
        self._positions[:rows] += 1
        self._place += 1


def _power(count: int) -> int:
    """The smallest power of two that is at least `count`."""
    return 1 << (count - 1).bit_length()


def _rounded(positions: int) -> int:
    return -(-positions // _POSITIONS) * _POSITIONS
