"""Decoding with a cache of fixed size, so that a step can be recorded once as a CUDA graph and then replayed.

A decode step is hundreds of short kernels: a GPU is done with one before the host has started the next. A CUDA graph starts
them all at once, but always with the same addresses and shapes. So keys and values lie in buffers that are allocated
once, and a step attends to a number of rows and positions that is rounded up to one of a few sizes: there is one graph for
each pair of sizes. A row that has stopped is decoded on, unread, until the others fit the next smaller number of rows.

Where there is no CUDA, the same steps run without graphs.

B rows of the batch, R rows of a step, P prompt positions, L positions that a step attends to, H heads, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

_POSITIONS = 64  # L is a multiple of it: attention kernels want a mask whose rows are aligned, too

Ends = Callable[[int, Sequence[int], int], bool]
"""Whether a token, which is not part of the answer, ends it: (row of the batch, the answer so far, token)."""
Draw = Callable[[Tensor, Sequence[int]], list[int]]
"""Next tokens from logits (n, V) of some rows of the batch."""


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, each (R, H, L, width), of which a step overwrites one position."""

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
    """The step of one pair of sizes. Its first run is not recorded: libraries allocate and choose kernels in it."""

    cache: Cache
    graph: Any = None
    ran: bool = False


class StaticDecoder:
    """Buffers and graphs of one LLM. Between calls nothing of a batch is read again; the buffers stay, as large as the
    largest batch so far needed."""

    def __init__(self, base: Any, head: Callable[[Tensor], Tensor], weights: Tensor) -> None:
        """`base`: the layers of an LLM of transformers, without sliding windows. `head`: (R, E) last states -> (R, V) float32.
        `weights`: (., E) of its embeddings."""
        self._base, self._head = base, head
        self._weights = weights
        with torch.inference_mode():
            self._vocabulary = head(weights.new_zeros(1, weights.shape[1])).shape[1]
        self._cuda = self._weights.device.type == "cuda"
        self._stream: Any = None  # that graphs are recorded on
        if self._cuda:
            self._stream = torch.cuda.Stream(self._weights.device)  # type: ignore[no-untyped-call]
        self.reset()

    def reset(self) -> None:
        """Free buffers and graphs."""
        self._steps: dict[tuple[int, int], _Step] = {}
        self._pool: Any = None  # of the graphs: one runs at a time, so they share their memory
        self._layers: list[tuple[Tensor, Tensor]] = []  # of each layer (R, H, L, width), the largest R and L
        self._largest = (0, 0)
        self._rows = self._used = 0  # R, and positions that are written

    # ---- a batch

    @torch.inference_mode()
    def generate(
        self, cache: Any, mask: Tensor, logits: Tensor, count: int, ends: Ends, draw: Draw | None = None
    ) -> list[list[int]]:
        """Answers of at most `count` tokens behind prompts that have been read.

        Args:
            cache: Keys and values of the prompts, B rows of P positions in every layer. It is emptied.
            mask: (B, P), 1 where a prompt has a token; prompts end at the last position.
            logits: (B, V) float32, of the first answer token.
            count: Tokens of the longest answer, at least 1.
            ends: What ends an answer.
            draw: How tokens are chosen; None: the likeliest.
        """
        try:
            self.begin(cache, mask, count)
            return self._decoded(logits, count, ends, draw)
        except BaseException:
            self.reset()  # what failed, for lack of memory above all, may have left a graph half made
            raise

    def begin(self, cache: Any, mask: Tensor, count: int) -> None:
        """Copy the prompts into the buffers; arguments as in `generate`."""
        rows, prompt = mask.shape
        self._rows, self._used = _power(rows), prompt
        longest = _rounded(prompt + count)
        if self._rows > self._largest[0] or longest > self._largest[1]:
            self._allocate(cache, max(self._rows, self._largest[0]), max(longest, self._largest[1]))
        for buffers, layer in zip(self._layers, cache.layers, strict=True):
            for buffer, prompts in zip(buffers, (layer.keys, layer.values), strict=True):
                part = buffer[: self._rows, :, :longest]
                part.zero_()  # a number that is not finite would get through the mask, as 0 x NaN
                part[:rows, :, :prompt] = prompts
            layer.keys = layer.values = None  # freed layer by layer: all of both would be twice the memory
        self._mask.fill_(torch.finfo(self._mask.dtype).min)
        self._mask[:rows, 0, 0, :prompt].masked_fill_(mask.bool(), 0.0)
        self._positions.zero_()
        self._positions[:rows, 0] = mask.sum(1)
        self._place.fill_(prompt)
        self.tokens.zero_()

    def _allocate(self, cache: Any, rows: int, positions: int) -> None:
        self._steps, self._layers, self._pool = {}, [], None  # freed before the larger ones are made
        some = self._weights
        for layer in cache.layers:
            sizes = [(rows, part.shape[1], positions, part.shape[3]) for part in (layer.keys, layer.values)]
            self._layers.append((some.new_empty(sizes[0]), some.new_empty(sizes[1])))
        self._mask = some.new_empty(rows, 1, 1, positions)  # added to attention scores
        self._positions = torch.zeros(rows, 1, dtype=torch.long, device=some.device)
        self._place = torch.zeros(1, dtype=torch.long, device=some.device)
        self.tokens = torch.zeros(rows, 1, dtype=torch.long, device=some.device)  # that the next step reads
        self.logits = torch.zeros(rows, self._vocabulary, device=some.device)  # of the last step
        self._host = torch.zeros(rows, dtype=torch.long, pin_memory=self._cuda)
        self._pool = torch.cuda.graph_pool_handle() if self._cuda else None
        self._largest = (rows, positions)

    def _decoded(self, first: Tensor, count: int, ends: Ends, draw: Draw | None) -> list[list[int]]:
        answers: list[list[int]] = [[] for _ in first]
        live = {place: place for place in range(len(first))}  # place in the buffers -> row of the batch
        self.logits[: len(first)] = first
        self.tokens[: len(first)] = first.argmax(-1, keepdim=True)
        ahead = self._cuda and draw is None  # the next step starts before the host has seen the tokens of this one
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
        """Tokens start on their way to the host; what to wait for."""
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
        """The rows that go on move together to the front; a smaller number of rows is computed from now on."""
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
        """Read `tokens`, and put the likeliest next ones in their place; `logits` are those of the tokens that follow."""
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
        """A step on the stream that graphs are recorded on."""
        current = torch.cuda.current_stream(self._weights.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._run(cache, rows, length)
        current.wait_stream(self._stream)

    def _recorded(self, cache: Cache, rows: int, length: int) -> Any:
        graph = torch.cuda.CUDAGraph()
        # other threads may pin memory meanwhile, which an unrestricted recording would not survive
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            self._run(cache, rows, length)
        return graph

    def _run(self, cache: Cache, rows: int, length: int) -> None:
        """Nothing in here may ask the device for a value, or bring it one: a recorded step runs without the host."""
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
    """The smallest power of two that is not smaller."""
    return 1 << (count - 1).bit_length()


def _rounded(positions: int) -> int:
    return -(-positions // _POSITIONS) * _POSITIONS
