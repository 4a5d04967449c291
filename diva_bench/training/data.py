"""Training clips: read, filter, tokenise and encode once. Skipped clips are counted by reason.

Shapes: T encoder positions of a clip (20 ms), D width of Whisper.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diva_bench import audio
from diva_bench.decoding import memory
from diva_bench.decoding.whisper import PER_POSITION, RATE, Wave, Whisper
from diva_bench.diva import losses
from diva_bench.diva.config import TrainConfig
from diva_bench.errors import DataError
from diva_bench.training import sources
from diva_bench.training.augment import GAIN, SNR, SPEED, augment
from diva_bench.training.caches import ArrayCache, place
from diva_bench.types import Progress

_GROUP = 32  # clips encoded together; always the same groups, so that a resumed first pass gives the same bits

Share = Callable[[list[Any]], list[Any]]
"""Gathers lists: list of this process -> lists of all processes, in the order of their ranks."""


@dataclass(frozen=True, slots=True)
class TrainingClip:
    id: str
    key: str
    """The first half of the sha256 of its encoded audio."""
    tokens: tuple[int, ...]
    """The transcript in tokens of the LLM."""
    text: str
    seconds: float
    dev: bool
    source: int = 0
    """Number of its source."""


@dataclass(frozen=True)
class Clips:
    """All usable clips, and the cache of their encoder states."""

    items: list[TrainingClip]
    skipped: dict[str, int]
    store: ArrayCache
    """Encoder states (T, D), or, if the encoder runs in every step, encoded audio (bytes, 1)."""
    config: TrainConfig
    first_pass_seconds: float = 0.0
    """The computation to fill the cache in this process."""

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each clip, by which batches are grouped: encoder positions, or milliseconds."""
        if self.config.cache_states:
            return np.array([self.store.rows(variant_key(c.key, 0)) for c in self.items])
        return np.array([int(1000 * c.seconds) for c in self.items])

    @property
    def train(self) -> list[int]:
        return [i for i, c in enumerate(self.items) if not c.dev]

    @property
    def dev(self) -> list[int]:
        return [i for i, c in enumerate(self.items) if c.dev]

    @cached_property
    def training_tokens(self) -> Tensor:
        """(n,): sorted ids of the tokens in the training texts."""
        return torch.tensor(sorted({t for i in self.train for t in self.items[i].tokens}), dtype=torch.long)

    @property
    def seconds(self) -> float:
        return sum(c.seconds for c in self.items)

    def words(self) -> dict[str, int]:
        """Lengths of the training texts; a connector fails on longer ones."""
        counts = sorted(len(self.items[i].text.split()) for i in self.train) or [0]
        quantile = {f"{p} %": counts[(len(counts) - 1) * p // 100] for p in (5, 50, 95)}
        return {**quantile, "most": counts[-1]}

    def batch(self, selection: Sequence[int], variants: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Stored states (B, T, D) float32 and mask (B, T)."""
        variants = variants or [0] * len(selection)
        rows = [self.store[variant_key(self.items[i].key, v)] for i, v in zip(selection, variants, strict=True)]
        states = torch.zeros(len(rows), max(len(r) for r in rows), self.store.width)
        mask = torch.zeros(states.shape[:2], dtype=torch.bool)
        for b, row in enumerate(rows):
            states[b, : len(row)] = torch.from_numpy(row.astype(np.float32))
            mask[b, : len(row)] = True
        return states, mask

    def waves(self, selection: Sequence[int], variants: Sequence[int] | None = None) -> list[Wave]:
        """Waveforms of clips whose encoded audio is stored."""
        variants = variants or [0] * len(selection)
        out = []
        for i, v in zip(selection, variants, strict=True):
            clip = self.items[i]
            sound = audio.decode(self.store[clip.key].tobytes())
            out.append(augment(sound, clip.key, self.config.seed, v).samples)
        return out


def audio_key(encoded: bytes) -> str:
    """The identity of a clip: the first half of the sha256 of its encoded audio."""
    return hashlib.sha256(encoded).hexdigest()[:32]


def variant_key(key: str, variant: int) -> str:
    """The key of the states of a clip, or of an augmented copy."""
    return f"{key}:{variant}" if variant else key


def is_dev(text: str, one_in: int) -> bool:
    """Whether a text is held out, with all its clips. Decided by its hash, so it is the same in every run."""
    return int.from_bytes(hashlib.sha256(text.strip().lower().encode()).digest()[:4], "big") % one_in == 0


def read_clips(
    sources: Sequence[str],
    config: TrainConfig,
    whisper: Whisper,
    tokenize: Callable[[str], list[int]],
    *,
    made_of: Any,
    cache: Path,
    limit: int,
    progress: Progress,
    shard: int = 0,
    shards: int = 1,
    share: Share = list,
) -> Clips:
    """Read all sources; decode and encode what the cache does not have; the same clips in every process.

    `made_of` identifies the encoder in the cache; `limit` is the maximum size of the cache in bytes. Raises DataError if
    no clip is left.
    """
    _say_what_is_left_out(sources, progress)
    store = _store(config, whisper, made_of, cache, limit)
    began, skipped, mine = time.perf_counter(), Counter[str](), []
    pending: list[tuple[str, str, Any]] = []
    cached = len(store)
    with progress.bar("reading and encoding clips", None, "clips") as bar:
        for position, example in _numbered(sources, shard, shards):
            bar.advance(1)
            if not example.text.strip():
                skipped["empty text"] += 1
                continue
            ids = tokenize(example.text.strip())
            if config.queries == "learned" and len(ids) > config.max_queries:
                skipped[f"over {config.max_queries} tokens"] += 1
                continue
            key = audio_key(example.audio)
            mine.append((position, key, ids, example.id, example.text.strip()))
            pending.append((key, example.id, example))
            if len(pending) == _GROUP:
                _fill(store, pending, config, whisper)
        _fill(store, pending, config, whisper)
    store.close()
    spent = time.perf_counter() - began if len(store) > cached else 0.0
    counts = share([skipped])
    everything = sorted(share(mine))
    store.refresh()
    items: list[TrainingClip] = []
    skipped = sum(counts, Counter[str]())
    for (source, _), key, ids, ident, text in everything:
        facts = store.facts(key)
        if reason := facts.get("skip"):
            skipped[reason] += 1
            continue
        if config.alignment == "ctc" and not losses.fits(ids, _virtual_tokens(config, facts["seconds"])):
            skipped["more tokens than virtual tokens"] += 1
            continue
        held = is_dev(text, config.held_out)
        items.append(TrainingClip(ident, key, tuple(ids), text, facts["seconds"], held, source))
    clips = Clips(items, dict(sorted(skipped.items())), store, config, spent)
    if not items:
        raise DataError(f"{', '.join(sources)}: no clip that can be used; skipped: {clips.skipped or 'none'}.")
    return clips


def _virtual_tokens(config: TrainConfig, seconds: float) -> int:
    """Number of virtual tokens of a clip."""
    if config.queries == "learned":
        return config.max_queries
    positions = (
        int((config.window_seconds or seconds) * RATE) // PER_POSITION
    )  # rounded down, so that it is never one too many
    return -(-positions // config.stride)


def _say_what_is_left_out(places: Sequence[str], progress: Progress) -> None:
    for source in places:
        if others := sources.left_out(source):
            some = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
            progress.note(
                f"{source}: train-*.parquet alone are read; {len(others)} not: {some}. To train on them, too, name each "
                "with --data."
            )


def _numbered(places: Sequence[str], shard: int, shards: int) -> Iterator[tuple[tuple[int, int], sources.Example]]:
    """((source, number of the row), example) of this process's share."""
    for s, source in enumerate(places):
        for k, example in enumerate(sources.read(source, shard=shard, shards=shards)):
            yield (s, k * shards + shard), example


def _store(config: TrainConfig, whisper: Whisper, made_of: Any, cache: Path, limit: int) -> ArrayCache:
    if not config.cache_states:
        return ArrayCache(place(cache, "audio", [config.max_seconds, audio.VERSION]), 1, "uint8", limit)
    about = [made_of, config.dtype, config.window_seconds, config.max_seconds, audio.VERSION]
    about += [config.seed, config.variants, SPEED, GAIN, SNR] if config.variants else []
    # float16 has more digits than bfloat16, and normalised states are far from its limits
    dtype = "float16" if config.dtype == "bfloat16" else "float32"
    return ArrayCache(place(cache, "states", about), whisper.config["d_model"], dtype, limit)


def _fill(store: ArrayCache, pending: list[tuple[str, str, Any]], config: TrainConfig, whisper: Whisper) -> None:
    """Encode a complete group if the cache lacks any of it, and empty `pending`."""
    if any(key not in store for key, _, _ in pending):
        group: list[tuple[str, Any, dict[str, Any]]] = []
        waves: list[Wave] = []
        names: list[tuple[str, float]] = []
        for key, _, example in pending:
            reason, sound = sources.usable(example, max_seconds=config.max_seconds)
            if sound is None:
                group.append((key, None, {"skip": reason}))
            elif not config.cache_states:
                raw = np.frombuffer(example.audio, dtype=np.uint8)[:, None]
                group.append((key, raw, {"seconds": round(sound.seconds, 3)}))
            else:
                for v in range(config.variants + 1):
                    waves.append(augment(sound, key, config.seed, v).samples)
                    names.append((variant_key(key, v), round(sound.seconds, 3)))
        for start in range(0, len(waves), _GROUP):
            states, mask = whisper.encode(waves[start : start + _GROUP], full=config.window_seconds is not None)
            for b, (key, seconds) in enumerate(names[start : start + _GROUP]):
                group.append((key, states[b][mask[b]].float().cpu().numpy(), {"seconds": seconds}))
        store.append(group)
        memory.release()
    pending.clear()
