"""Sizes of a connector and settings of its training, as frozen dataclasses; presets are functions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectorConfig:
    """The Q-Former: a Whisper decoder whose input is learned queries (paper section 2)."""

    width: int
    """Of the Whisper model: 512 base, 384 tiny."""
    heads: int
    layers: int
    """How many of the Whisper decoder's layers are used, from the first."""
    ffn: int
    queries: int
    """Virtual tokens per clip: 448 in the paper; fewer where clips are short."""
    llm_width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run. Times are in steps; lengths in seconds."""

    queries: int
    layers: int
    batch: int = 32
    steps: int
    align_steps: int
    """Steps of token alignment alone, before the LLM is run at all; after them both losses."""
    both_batch: int = 8
    """Batch once the LLM is run: its backward pass is what costs."""
    lr: float = 5e-4
    """Peak. The paper's 5e-5 is for batch 512 and 2.2 M clips; here there are 16 k clips."""
    both_lr: float = 1e-4
    projection_boost: float = 4.0
    """Step of the projection relative to its weights, in units of the other layers' relative step."""
    warmup: int = 100
    weight_decay: float = 0.1
    clip: float = 1.0
    max_seconds: float = 15.0
    held_out: int = 50
    """One text in so many is kept for development, with all its clips."""
    seed: int = 0
    evaluate_every: int = 250
    save_every: int = 100


def mini() -> TrainConfig:
    """Whisper base, Qwen2.5-Coder-1.5B-Instruct: about 35 minutes of alignment and 30 of both losses on two CPU cores."""
    return TrainConfig(queries=32, layers=6, steps=4350, align_steps=4000)


def nano() -> TrainConfig:
    """Whisper tiny.en, SmolLM2-135M-Instruct."""
    return TrainConfig(queries=32, layers=4, steps=3000, align_steps=2200)


PRESETS = {"mini": mini, "nano": nano}
