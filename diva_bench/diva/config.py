"""Sizes of a connector and settings of its training, as frozen dataclasses. A preset is a function; an ablation is a
function from a preset to the same preset with one thing changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from diva_bench.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorConfig:
    """What stands between Whisper's encoder and the LLM (paper section 2)."""

    kind: Literal["qformer", "mlp"] = "qformer"
    """qformer: a Whisper decoder whose input is learned queries. mlp: stacked frames through two matrices."""
    width: int
    """Of the Whisper model: 1280 large-v3, 512 base, 384 tiny."""
    heads: int
    layers: int
    """qformer: how many of the Whisper decoder's layers are used, from the first. mlp: 0."""
    ffn: int
    """Width between the two matrices of a block's (or of the mlp's) feed-forward part."""
    queries: int
    """Virtual tokens per clip: 448 in the paper; fewer where clips are short."""
    llm_width: int
    stack: int = 1
    """mlp: frames side by side in one virtual token."""


_POSITIVE = (
    *("queries", "stack", "steps", "batch", "both_batch", "accumulate", "lr", "both_lr", "temperature", "clip"),
    *("max_seconds", "held_out", "log_every", "evaluate_every", "evaluate_clips", "save_every"),
)
_NOT_NEGATIVE = (
    "align",
    "distill",
    "distill_positions",
    "shift",
    "pad",
    "align_steps",
    "warmup",
    "weight_decay",
    "variants",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run. Times are in steps unless the name says seconds; a step is one update of the weights."""

    encoder: str
    """Weights of Whisper, by their name in `models/weights/`."""
    llm: str
    """Weights of the instruct LLM, likewise."""
    train_encoder: bool = False
    """Also train Whisper's encoder; its states are then made anew in every step, never taken from the cache."""
    cache_states: bool = True
    """Keep the encoder's states on disk; else the encoder runs in every step (3.8 MB a clip at the paper's size)."""
    window_seconds: float | None = None
    """What the encoder sees: the clip's own length (None), or a window padded with silence (the paper: 30)."""

    # ---- connector
    connector: Literal["qformer", "mlp"] = "qformer"
    from_whisper: bool = True
    """Start the qformer from Whisper's decoder and the projection from the vocabularies that both models share; else
    from small random numbers."""
    start_from: str | None = None
    """A trained connector to go on from, by its weights' name or its folder; `from_whisper` then says nothing. The record
    of its own training is kept under `before` of the new one, which counts its own compute alone."""
    queries: int
    layers: int
    stack: int = 4

    # ---- losses
    align: float = 1.0
    """Weight of token alignment."""
    distill: float = 1.0
    """Weight of output distillation."""
    distillation: Literal["l2", "kl"] = "l2"
    """l2: distance of the last hidden states (the paper's); kl: KL divergence of the distributions over the vocabulary."""
    temperature: float = 1.0
    """Of both distributions, with kl."""
    distill_positions: int = 0
    """How many further tokens of the teacher's own greedy answer are distilled, after the first one."""
    aligned: Literal["last", "first"] = "last"
    """Which virtual tokens stand for the N tokens of the transcript."""
    shift: int = 0
    """The released code's fault: targets are this many tokens of the chat template, then the transcript without as many
    of its last tokens (5 for Llama 3; fixed upstream in e26412d3)."""
    pad: float = 0.0
    """Weight of a third loss that pulls the virtual tokens which alignment leaves free to the mean embedding."""
    scaled: bool = True
    """Divide each distance by the mean length of its targets, so that weights of 1 : 1 mean something: an LLM's
    embeddings and its final states differ in length by two orders of magnitude. The paper adds them as they are."""

    # ---- schedule
    steps: int
    align_steps: int = 0
    """The first steps are of token alignment alone, before the LLM is run at all."""
    batch: int = 32
    """Clips of each of the first `align_steps` steps."""
    both_batch: int = 8
    """Clips of each step after them; fewer, for where the LLM is run its backward pass is what costs."""
    accumulate: int = 1
    """Parts that a batch is cut into, one after another, for less memory; the same gradient."""
    lr: float = 5e-4
    """Peak. The paper's 5e-5 is for batch 512 and 2.2 M clips; here there are 16 k clips."""
    both_lr: float = 1e-4
    """Peak after `align_steps`."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """After the warm-up. The sources disagree: the yaml of the training code has cosine to a tenth, the model card
    linear to zero."""
    warmup: int = 100
    projection_boost: float | None = 4.0
    """Step of the projection relative to its weights, in units of the other layers' relative step; None: one rate for
    all, as the paper."""
    weight_decay: float = 0.1
    clip: float = 1.0

    # ---- data
    max_seconds: float = 15.0
    held_out: int = 50
    """One text in so many is kept for development, with all its clips."""
    variants: int = 0
    """Augmented copies of every clip (speed, gain, noise), beside the clip itself; seeded, so always the same."""

    # ---- the run
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of the frozen parts and of autocast; trained weights and the optimiser are float32. auto: bfloat16 where the device
    has instructions for it, else float32: without them a step takes many times as long."""
    checkpointing: bool = False
    """Recompute the LLM's activations in the backward pass: less memory, a third more work."""
    compile: bool = False
    """torch.compile the connector."""
    deterministic: bool = True
    """On CUDA: deterministic algorithms, so that a resumed run ends with the same bits (a CPU always does)."""
    seed: int = 0
    log_every: int = 25
    evaluate_every: int = 250
    evaluate_clips: int = 1000
    """At most so many of the held-out clips are looked at."""
    save_every: int = 100

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise UserError(f"training: {name} is {getattr(self, name)}; it must be above 0.")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise UserError(f"training: {name} is {getattr(self, name)}; it must not be below 0.")
        if self.window_seconds not in (None, 30.0):
            raise UserError(
                f"training: window_seconds is {self.window_seconds}; Whisper hears the clip (null) or 30 s."
            )
        if self.train_encoder and self.cache_states:
            raise UserError("training: a trained encoder's states change in every step; set cache_states to false.")
        if self.variants and self.max_seconds > 27:
            raise UserError(
                f"training: max_seconds is {self.max_seconds}; an augmented clip may be a ninth longer than its original "
                "and Whisper hears 30 s: 27 at most with variants."
            )
        if self.connector == "mlp" and self.from_whisper:
            raise UserError("training: an mlp cannot start from Whisper's decoder; set from_whisper to false.")
        if self.connector == "qformer" and self.layers <= 0:
            raise UserError(f"training: layers is {self.layers}; a qformer has at least 1.")
        if self.align == 0 and self.align_steps:
            raise UserError(f"training: align_steps is {self.align_steps}, but alignment has weight 0; set it to 0.")
        if self.align == 0 and self.distill == 0:
            raise UserError("training: both losses have weight 0; nothing would be learnt.")
        if self.align_steps > self.steps:
            raise UserError(f"training: align_steps is {self.align_steps}, of {self.steps} steps in all; lower it.")

    def runs_llm(self, step: int) -> bool:
        """Whether a step runs the LLM."""
        return step >= self.align_steps and self.distill > 0

    def batch_at(self, step: int) -> int:
        """Clips of a step."""
        return self.batch if step < self.align_steps else self.both_batch

    def examples(self, steps: int) -> int:
        """Clips seen in the first `steps` steps."""
        alone = min(steps, self.align_steps)
        return alone * self.batch + (steps - alone) * self.both_batch


# ---------------------------------------------------------------- presets


def paper() -> TrainConfig:
    """Held et al., section 3: Whisper large-v3, Llama-3-8B-Instruct, 2.2 M clips of Common Voice, both losses at once."""
    return TrainConfig(
        encoder="whisper-large-v3",
        llm="llama-3-8b-instruct",
        window_seconds=30.0,
        queries=448,
        layers=32,
        steps=4300,
        batch=512,
        both_batch=512,
        accumulate=64,
        lr=5e-5,
        both_lr=5e-5,
        warmup=43,
        projection_boost=None,
        scaled=False,
        cache_states=False,
        max_seconds=30.0,
        evaluate_every=500,
    )


def mini() -> TrainConfig:
    """Whisper base, Qwen2.5-Coder-1.5B-Instruct: about 35 minutes of alignment and 30 of both losses on two CPU cores."""
    return TrainConfig(
        encoder="whisper-base",
        llm="qwen2.5-coder-1.5b-instruct",
        queries=32,
        layers=6,
        steps=4350,
        align_steps=4000,
    )


def nano() -> TrainConfig:
    """Whisper tiny.en, SmolLM2-135M-Instruct: once the caches are filled, about seven minutes on one CPU core that
    computes in bfloat16, half an hour on one that does not."""
    return TrainConfig(
        encoder="whisper-tiny.en",
        llm="smollm2-135m-instruct",
        queries=32,
        layers=4,
        steps=850,
        align_steps=600,
    )


PRESETS: dict[str, Callable[[], TrainConfig]] = {"paper": paper, "mini": mini, "nano": nano}


# ---------------------------------------------------------------- ablations: one thing changed


def align_only(base: TrainConfig) -> TrainConfig:
    """Token alignment without distillation (the paper's first experiment)."""
    return replace(base, distill=0.0)


def distill_only(base: TrainConfig) -> TrainConfig:
    """Output distillation without token alignment."""
    return replace(base, align=0.0, align_steps=0)


def scratch(base: TrainConfig) -> TrainConfig:
    """The connector starts from random numbers, not from Whisper's decoder."""
    return replace(base, from_whisper=False)


def mlp(base: TrainConfig) -> TrainConfig:
    """Stacked encoder frames through two matrices instead of a Q-Former."""
    return replace(base, connector="mlp", from_whisper=False)


def kl(base: TrainConfig) -> TrainConfig:
    """KL divergence over the vocabulary instead of the distance of the hidden states."""
    return replace(base, distillation="kl")


def released(base: TrainConfig) -> TrainConfig:
    """Alignment targets shifted by five tokens of the chat template, as the released training code has it."""
    return replace(base, shift=5)


def align_first(base: TrainConfig) -> TrainConfig:
    """The first N virtual tokens are aligned instead of the last N."""
    return replace(base, aligned="first")


def align_pad(base: TrainConfig) -> TrainConfig:
    """The virtual tokens that alignment leaves free are pulled to a neutral embedding."""
    return replace(base, pad=1.0)


ABLATIONS: dict[str, Callable[[TrainConfig], TrainConfig]] = {
    f.__name__: f for f in (align_only, distill_only, scratch, mlp, kl, released, align_first, align_pad)
}
