"""Encoder states kept from one model to the next: variants that share an encoder hear every batch once.

A hit is bit for bit what encoding anew would give: the key is all that the states depend on, the whole encoder and the
whole batch, since outside float32 a row depends on its neighbours. It pays where the same batches come again, as with
the variants of an ablation and the target languages of a translation task; the time of stage "encode" is then none.

B batch, T encoder positions, D width.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from diva_bench.decoding.whisper import Wave, Whisper

LIMIT = 1 << 30  # bytes: nine mini tasks take a fifth of it

Key = tuple[str, str, str, str]
"""Encoder, dtype, device, batch."""


class Memo:
    """Encoder states in main memory, at most `limit` bytes of them; those not asked for longest go first."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit, self.bytes, self.hits = limit, 0, 0
        self._kept: OrderedDict[Key, tuple[Tensor, Tensor]] = OrderedDict()
        self._known: WeakKeyDictionary[Whisper, str] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._kept)

    def encode(self, encoder: Whisper, waves: Sequence[Wave], full: bool = False) -> tuple[Tensor, Tensor]:
        """What `encoder.encode(waves, full)` gives: states (B, T, D) and mask (B, T). Not to be written into."""
        if not self.limit:
            return encoder.encode(waves, full)
        key = (self._identity(encoder), str(encoder.dtype), str(encoder.device), _digest(waves) + "30s" * full)
        if key in self._kept:
            self.hits += 1
            self._kept.move_to_end(key)
            states, mask = self._kept[key]
            return states.to(encoder.device), mask.to(encoder.device)
        made = encoder.encode(waves, full)
        self._keep(key, (made[0].cpu(), made[1].cpu()))  # not on the device: there every byte is the LLM's
        return made

    def _keep(self, key: Key, value: tuple[Tensor, Tensor]) -> None:
        if _bytes(value) > self.limit:
            return  # it would drive out all others and not fit itself
        self._kept[key] = value
        self.bytes += _bytes(value)
        while self.bytes > self.limit:
            self.bytes -= _bytes(self._kept.popitem(last=False)[1])

    def _identity(self, encoder: Whisper) -> str:
        """Hash of the whole encoder, made once per load. `checkpoint.fingerprint` looks at the first convolution only,
        which an encoder that was trained further may share with the one it came from."""
        if encoder not in self._known:
            state = hashlib.sha256(json.dumps(encoder.config, sort_keys=True).encode())
            for name, tensor in sorted(encoder.encoder.state_dict().items()):
                state.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
                state.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
            self._known[encoder] = state.hexdigest()
        return self._known[encoder]


ENCODED = Memo(limit=0)
"""One for the process, so that it outlives the adapter of one model. It keeps nothing until somebody sets its limit, as
`ablate` does: a plain run measures speed, and its encoding is part of that."""


def _digest(waves: Sequence[Wave]) -> str:
    """sha256 of the batch's waves, in order; lengths too, so that no two batches read the same end to end."""
    state = hashlib.sha256()
    for wave in waves:
        state.update(len(wave).to_bytes(8, "little"))
        state.update(wave.tobytes())
    return state.hexdigest()


def _bytes(value: tuple[Tensor, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in value)
