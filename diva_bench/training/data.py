"""Training clips: read, filter, tokenise, encode once. What is skipped is counted by reason."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diva_bench import audio
from diva_bench.decoding.whisper import Whisper
from diva_bench.errors import ClipError, DataError
from diva_bench.specs import digest
from diva_bench.types import Progress

_SILENT = 1e-4  # peak amplitude below which a clip holds nothing to learn from
_ENCODE_BATCH = 32


@dataclass(frozen=True, slots=True)
class Clips:
    """Encoder states of all kept clips end to end on disk, (sum of T, D) float16, and what belongs to each."""

    states: NDArray[np.float16]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    """Encoder positions of each clip."""
    tokens: list[list[int]]
    """Transcript in the LLM's tokens."""
    dev: NDArray[np.bool_]
    skipped: dict[str, int]
    seconds: float

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """states (B, T, D) float32 and mask (B, T)."""
        longest = max(int(self.lengths[i]) for i in indices)
        states = torch.zeros(len(indices), longest, self.states.shape[1])
        mask = torch.zeros(len(indices), longest, dtype=torch.bool)
        for row, i in enumerate(indices):
            start, length = int(self.starts[i]), int(self.lengths[i])
            states[row, :length] = torch.from_numpy(self.states[start : start + length].astype(np.float32))
            mask[row, :length] = True
        return states, mask


def rows(folder: Path) -> Iterator[tuple[bytes, str]]:
    """(encoded audio, text) of every row of every train-*.parquet in the folder, in name order."""
    import pyarrow.parquet  # type: ignore[import-untyped]

    files = sorted(folder.glob("train-*.parquet"))
    if not files:
        raise DataError(f"{folder}: no train-*.parquet with columns `audio` and `text`.")
    for file in files:
        for group in pyarrow.parquet.ParquetFile(file).iter_batches(64, columns=["audio", "text"]):
            for row in group.to_pylist():
                yield row["audio"]["bytes"], row["text"]


def hashes(folder: Path) -> dict[str, str]:
    """File name -> sha256, for the training record."""
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.glob("train-*.parquet"))}


def is_dev(text: str, one_in: int) -> bool:
    """Whether a text is held out, with all its clips: decided by its hash, the same in every run."""
    return int.from_bytes(hashlib.sha256(text.strip().lower().encode()).digest()[:4], "big") % one_in == 0


def prepare(
    folder: Path,
    whisper: Whisper,
    tokenizer: Any,
    *,
    made_of: Any,
    queries: int,
    max_seconds: float,
    held_out: int,
    cache: Path,
    progress: Progress,
) -> Clips:
    """Decode, filter, tokenise and encode everything once; the outcome is kept under `cache`, whole or not at all.

    `made_of`: what tells this encoder and tokenizer from others; with the data and the limits it names the outcome.
    """
    place = cache / f"states-{digest([hashes(folder), made_of, queries, max_seconds, held_out])[:16]}"
    if not (place / "done.json").exists():
        place.mkdir(parents=True, exist_ok=True)
        _encode_all(
            folder,
            whisper,
            tokenizer,
            queries=queries,
            max_seconds=max_seconds,
            held_out=held_out,
            place=place,
            progress=progress,
        )
    info = json.loads((place / "done.json").read_text(encoding="utf-8"))
    lengths = np.array(info["lengths"], dtype=np.int64)
    shape = (int(lengths.sum()), whisper.config["d_model"])
    return Clips(
        states=np.memmap(place / "states.f16", dtype=np.float16, mode="r", shape=shape),
        starts=np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        lengths=lengths,
        tokens=info["tokens"],
        dev=np.array(info["dev"], dtype=bool),
        skipped=info["skipped"],
        seconds=info["seconds"],
    )


def _encode_all(
    folder: Path,
    whisper: Whisper,
    tokenizer: Any,
    *,
    queries: int,
    max_seconds: float,
    held_out: int,
    place: Path,
    progress: Progress,
) -> None:
    skipped: Counter[str] = Counter()
    lengths: list[int] = []
    tokens: list[list[int]] = []
    dev: list[bool] = []
    total = 0.0
    pending: list[NDArray[np.float32]] = []
    with (place / "states.f16").open("wb") as file, progress.bar("encoding clips", None, "clips") as bar:

        def flush() -> None:
            if not pending:
                return
            states, mask = whisper.encode(pending)
            for row in range(len(pending)):
                kept = states[row][mask[row]].to(torch.float16).cpu().numpy()
                lengths.append(len(kept))
                file.write(kept.tobytes())
            bar.advance(len(pending))
            pending.clear()

        for encoded, text in rows(folder):
            reason, wave, ids = _usable(encoded, text, tokenizer, queries, max_seconds)
            if wave is None:
                skipped[reason] += 1
                continue
            pending.append(wave)
            tokens.append(ids)
            dev.append(is_dev(text, held_out))
            total += len(wave) / audio.RATE
            if len(pending) == _ENCODE_BATCH:
                flush()
        flush()
    info = {"lengths": lengths, "tokens": tokens, "dev": dev, "skipped": dict(skipped), "seconds": total}
    aside = place / "done.json.tmp"
    aside.write_text(json.dumps(info), encoding="utf-8")
    aside.replace(place / "done.json")


def _usable(
    encoded: bytes, text: str, tokenizer: Any, queries: int, max_seconds: float
) -> tuple[str, NDArray[np.float32] | None, list[int]]:
    """("", waveform, token ids) of a clip to train on, or (reason, None, [])."""
    if not text.strip():
        return "empty text", None, []
    try:
        sound = audio.decode(encoded)
    except ClipError:
        return "cannot be decoded", None, []
    if np.abs(sound.samples).max() < _SILENT:
        return "silent", None, []
    if sound.seconds > max_seconds:
        return f"over {max_seconds:.0f} s", None, []
    ids = tokenizer(text.strip(), add_special_tokens=False)["input_ids"]
    if len(ids) > queries:
        return f"over {queries} tokens", None, []
    return "", sound.samples, ids
