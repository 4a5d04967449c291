"""A memo of the outputs of encoders and recognisers for batches of clips, because the same batch often comes again: for
other target languages of a translation task, prompt variants, or models with the same encoder.

A stored output is bit-identical to a new one: the key covers the whole model and the whole batch, because outside
float32 a row depends on its neighbours.

B batch, T encoder positions, D width.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from diva_bench.decoding.whisper import Recogniser, Wave, Whisper
from diva_bench.types import ENGLISH

LIMIT = 32 << 30  # bytes of states on disk: 15,531 clips of CoVoST 2 at the size of Whisper large are 11 GB

Key = tuple[str, str, str, str]
"""Model, dtype, device, batch."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a tensor in the file."""

    at: int
    bytes: int
    shape: tuple[int, ...]
    dtype: torch.dtype


class Memo:
    """Encoder states in a file without a name, which disappears with the process, and transcripts in memory.

    It stores nothing outside `keeping`. States beyond the limit, or beyond half of the free disk, are not stored; the
    first ones stay, because the same batches come again in the same order.
    """

    def __init__(self) -> None:
        self.limit, self.bytes, self.hits = 0, 0, 0
        self._file: Any = None
        self._states: dict[Key, list[_Place]] = {}
        self._transcripts: dict[Key, list[str]] = {}
        self._identities: WeakKeyDictionary[Recogniser, str] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._states)

    @contextlib.contextmanager
    def keeping(self, folder: Path, limit: int = LIMIT) -> Iterator[Memo]:
        """Store outputs inside the context, at most `limit` bytes of states, in a file in `folder`. If contexts are
        nested, only the outer one counts."""
        if self.limit:
            yield self
            return
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, prefix="states-") as self._file:
            self.limit, self.bytes = min(limit, shutil.disk_usage(folder).free // 2), 0
            try:
                yield self
            finally:
                self.limit, self.bytes = 0, 0
                self._states.clear()
                self._transcripts.clear()

    def encode(self, encoder: Whisper, waves: Sequence[Wave], full: bool = False) -> tuple[Tensor, Tensor]:
        """`encoder.encode(waves, full)`: states (B, T, D) and mask (B, T)."""
        if not self.limit:
            return encoder.encode(waves, full)
        key = self._key(encoder, waves, "30s" if full else "")
        if key in self._states:
            self.hits += 1
            states, mask = (self._read(place).to(encoder.device) for place in self._states[key])
            return states, mask
        made = encoder.encode(waves, full)
        size = sum(tensor.nbytes for tensor in made)
        if self.bytes + size <= self.limit:
            with contextlib.suppress(OSError):  # a full disk: outputs that are not stored are computed again
                self._states[key] = [self._write(tensor) for tensor in made]
        return made

    def transcribe(self, recogniser: Recogniser, waves: Sequence[Wave], language: str = ENGLISH) -> list[str]:
        """`recogniser.transcribe(waves, language)`."""
        if not self.limit:
            return recogniser.transcribe(waves, language)
        key = self._key(recogniser, waves, f"text {language}")
        if key in self._transcripts:
            self.hits += 1
        else:
            self._transcripts[key] = recogniser.transcribe(waves, language)
        return list(self._transcripts[key])

    def _write(self, tensor: Tensor) -> _Place:
        array = tensor.cpu().contiguous().view(torch.uint8).numpy()
        place = _Place(self.bytes, array.nbytes, tuple(tensor.shape), tensor.dtype)
        self._file.seek(place.at)
        self._file.write(array.data)
        self.bytes += array.nbytes
        return place

    def _read(self, place: _Place) -> Tensor:
        array = np.empty(place.bytes, np.uint8)
        self._file.seek(place.at)
        self._file.readinto(array.data)
        return torch.from_numpy(array).view(place.dtype).view(place.shape)

    def _key(self, model: Recogniser, waves: Sequence[Wave], purpose: str) -> Key:
        return self._identity(model), str(model.dtype), str(model.device), _digest(waves) + purpose

    def _identity(self, model: Recogniser) -> str:
        """Hash of the whole model, computed once per load. `checkpoint.fingerprint` covers only the first convolution,
        which an encoder may share with the one from which it was trained further."""
        if model not in self._identities:
            state = hashlib.sha256(json.dumps(model.config, sort_keys=True).encode())
            for part in model.parts:
                for name, tensor in sorted(part.state_dict().items()):
                    state.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
                    state.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
            self._identities[model] = state.hexdigest()
        return self._identities[model]


ENCODED = Memo()
"""One for the process, so that it outlives the adapter of one model."""


def _digest(waves: Sequence[Wave]) -> str:
    """sha256 of the waves of a batch, in order, with their lengths, so that two batches with the same concatenation
    differ."""
    state = hashlib.sha256()
    for wave in waves:
        state.update(len(wave).to_bytes(8, "little"))
        state.update(wave.tobytes())
    return state.hexdigest()
