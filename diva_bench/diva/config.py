"""Sizes of a connector and settings of its training, as frozen dataclasses. A preset is a function; an ablation is a
function from a preset to the same preset with one change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

from diva_bench.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorConfig:
    """The part between Whisper's encoder and the LLM (paper section 2)."""

    kind: Literal["qformer", "mlp"] = "qformer"
    """qformer: a Whisper decoder whose input is queries instead of words. mlp: stacked frames through two matrices."""
    width: int
    """Width of the Whisper model: 1280 large-v3, 512 base, 384 tiny."""
    heads: int
    layers: int
    """qformer: number of layers of the Whisper decoder that are used, from the first. mlp: 0."""
    ffn: int
    """Width between the two matrices of the feed-forward part of a block, or of the mlp."""
    queries: Literal["learned", "time"] = "learned"
    """learned: `max_queries` vectors, the same for every clip (the paper). time: one for each segment of the clip, so that
    their number follows its length."""
    max_queries: int
    """learned: virtual tokens per clip, 448 in the paper. time: the number for the longest clip."""
    llm_width: int
    stack: int = 1
    """mlp with learned queries: frames side by side in one virtual token, after resampling to max_queries x stack."""
    stride: int = 6
    """time: encoder positions (20 ms) in one segment."""
    causal: bool = True
    """qformer: a query attends to itself and to earlier ones only (the paper); otherwise to all of its clip."""
    locality: float | None = None
    """time: width, in encoder positions, of a prior with which a query attends mostly to its own segment; None: no prior."""
    alignment: Literal["l2", "ce", "ctc"] = "l2"
    """The alignment loss of the training. ctc: most virtual tokens are blank or repeat the previous one, and only the
    others reach the LLM. l2 and ce: all reach it."""
    readout: Literal["raw", "snapped", "residual"] = "raw"
    """ctc: the LLM's input for a virtual token: the token itself, its nearest embedding, or a mixture of embeddings with a
    part of the residual."""


_POSITIVE = (
    *(
        "max_queries",
        "stack",
        "stride",
        "sharpness",
        "steps",
        "batch",
        "both_batch",
        "accumulate",
        "lr",
        "both_lr",
        "temperature",
        "clip",
    ),
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
    "every_batch",
    "pull",
    "negatives",
    "seed",
)
_LARGEST = 2**32 - 1  # largest whole number of a setting: the largest seed of numpy


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of one training. Times are in steps unless the name says seconds; a step is one update of the weights."""

    encoder: str
    """Weights of Whisper, by their name in `models/weights/`."""
    llm: str
    """Weights of the instruct LLM, by their name in `models/weights/`."""
    train_encoder: bool = False
    """Also train Whisper's encoder; its states are then computed in every step, never taken from the cache."""
    cache_states: bool = True
    """Store the encoder's states on disk; otherwise the encoder runs in every step (3.8 MB per clip at the paper's size)."""
    window_seconds: float | None = None
    """The encoder's input: the clip with its own length (None), or a window padded with silence (the paper: 30)."""

    # ---- connector
    connector: Literal["qformer", "mlp"] = "qformer"
    from_whisper: bool = True
    """Start the qformer from Whisper's decoder, and the projection from the tokens that both vocabularies share; otherwise
    from small random numbers."""
    start_from: str | None = None
    """A trained connector to start from, by the name of its weights or its folder; `from_whisper` then has no effect. The
    record of its training is stored under `before` in the new one, whose compute is only its own."""
    queries: Literal["learned", "time"] = "learned"
    """As `ConnectorConfig` has it, and so are the next six."""
    max_queries: int = 448
    """learned: virtual tokens per clip. time: not looked at, since the longest clip decides."""
    stride: int = 6
    causal: bool = True
    locality: float | None = None
    readout: Literal["raw", "snapped", "residual"] = "raw"
    layers: int
    stack: int = 4

    # ---- losses
    align: float = 1.0
    """Weight of token alignment."""
    alignment: Literal["l2", "ce", "ctc"] = "l2"
    """l2: distance of the last N virtual tokens to the embeddings of the N transcript tokens (the paper). ce: cross
    entropy of these over the vocabulary, with logits from distances to the embeddings. ctc: the same logits and a
    learned blank, summed over all monotonic alignments (Graves et al., ICML 2006)."""
    sharpness: float = 20.0
    """ce and ctc: logits are minus half the squared distance, times this, divided by the mean squared distance of the
    training tokens' embeddings from their mean."""
    negatives: int = 3000
    """ce and ctc: tokens of the training texts in the vocabulary of a step, besides those of the batch, and a sixth as
    many of all tokens; measurements use the whole vocabulary."""
    pull: float = 0.0
    """ce and ctc: weight of the distance from a virtual token to the mean embedding under its own distribution. With
    logits alone, virtual tokens grow to three times the length of an embedding, which an LLM cannot read."""
    distill: float = 1.0
    """Weight of output distillation."""
    distillation: Literal["l2", "kl"] = "l2"
    """l2: distance of the last hidden states (the paper's); kl: KL divergence of the distributions over the vocabulary."""
    temperature: float = 1.0
    """Temperature of both distributions, with kl."""
    distill_positions: int = 0
    """Number of further tokens of the teacher's greedy answer that are distilled, after the first one."""
    instructions: Literal["none", "mixed"] = "none"
    """none: teacher and student read only the words (the paper). mixed: each step has one of four instructions before them
    (repeat, answer, translate, name the emotion), and the teacher runs in the step."""
    aligned: Literal["last", "first"] = "last"
    """Which virtual tokens stand for the N tokens of the transcript."""
    shift: int = 0
    """The fault of the released code: targets are this many tokens of the chat template, then the transcript without the
    same number of last tokens (5 for Llama 3; fixed upstream in e26412d3)."""
    pad: float = 0.0
    """Weight of a third loss that pulls virtual tokens without an alignment target to the mean embedding."""
    scaled: bool = True
    """Divide each distance by the mean length of its targets, so that weights of 1 : 1 are meaningful: an LLM's embeddings
    and its final states differ in length by two orders of magnitude. The paper adds them unscaled."""

    # ---- schedule
    steps: int
    align_steps: int = 0
    """Number of first steps with only token alignment, in which the LLM does not run."""
    batch: int = 32
    """Clips of each of the first `align_steps` steps."""
    both_batch: int = 8
    """Clips of each step after them; fewer, because the LLM's backward pass is expensive."""
    accumulate: int = 1
    """Number of parts of a batch, computed one after another to save memory; the gradient is the same."""
    lr: float = 5e-4
    """Peak learning rate. The paper's 5e-5 is for batch 512 and 2.2 M clips; here there are 16 k clips."""
    both_lr: float = 1e-4
    """Peak learning rate after `align_steps`."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Schedule after the warm-up. The sources disagree: the yaml of the training code has cosine to a tenth, the model card
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
    """One in this number of texts is held out, with all its clips."""
    every_batch: int = 0
    """Clips of every batch that are from the first --data, such as real speech beside much synthetic speech; the others
    are from the other data. 0: clips are drawn from all data alike."""
    variants: int = 0
    """Number of augmented copies of every clip (speed, gain, noise), besides the clip itself; seeded, so always the same."""

    # ---- the run
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Number format of the frozen parts and of autocast; trained weights and the optimiser are float32. auto: bfloat16 if
    the device has instructions for it, else float32, because without them a step takes many times as long."""
    checkpointing: bool = False
    """Recompute the LLM's activations in the backward pass: less memory, a third more computation."""
    compile: bool = False
    """Compile the connector with torch.compile."""
    deterministic: bool = True
    """On CUDA: deterministic algorithms, so that a resumed run ends with the same bits (a CPU always does)."""
    seed: int = 0
    log_every: int = 25
    evaluate_every: int = 250
    evaluate_clips: int = 1000
    """Largest number of held-out clips in an evaluation."""
    save_every: int = 100

    def __post_init__(self) -> None:
        for name, value in ((field.name, getattr(self, field.name)) for field in fields(self)):
            if (name in _POSITIVE and value <= 0) or (name in _NOT_NEGATIVE and value < 0):
                bound = "be above 0" if name in _POSITIVE else "not be below 0"
                raise UserError(f"training: {name} is {value}; it must {bound}.")
            if isinstance(value, int) and value > _LARGEST:
                raise UserError(f"training: {name} is {value}; it must not be above {_LARGEST}.")
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
        self._check_alignment()
        self._check_batches()
        if self.connector == "qformer" and self.layers <= 0:
            raise UserError(f"training: layers is {self.layers}; a qformer has at least 1.")
        if self.align == 0 and self.align_steps:
            raise UserError(f"training: align_steps is {self.align_steps}, but alignment has weight 0; set it to 0.")
        if self.align == 0 and self.distill == 0:
            raise UserError("training: both losses have weight 0; nothing would be learnt.")
        if self.align_steps > self.steps:
            raise UserError(f"training: align_steps is {self.align_steps}, of {self.steps} steps in all; lower it.")

    def _check_batches(self) -> None:
        if self.every_batch > min(self.batch, self.both_batch if self.distill else self.batch):
            raise UserError(
                f"training: every_batch is {self.every_batch}; a batch has {self.batch} clips"
                f"{f' and then {self.both_batch}' if self.distill else ''}. Set every_batch to no more than that."
            )
        if self.instructions != "none" and not self.distill:
            raise UserError(
                f"training: instructions is {self.instructions}, but nothing is distilled (distill is 0). Set distill above 0, "
                "or instructions to none."
            )

    def _check_alignment(self) -> None:
        if self.alignment == "ctc" and (self.shift or self.pad or self.aligned != "last"):
            raise UserError(
                "training: shift, pad and aligned choose which virtual token stands for which word; with alignment ctc the "
                "loss finds that itself. Set alignment to l2 or ce, or leave the three at 0, 0 and last."
            )
        if self.queries == "time" and self.alignment != "ctc" and self.align:
            raise UserError(
                f"training: queries time need alignment ctc, not {self.alignment}: their number is that of a clip's "
                "stretches, and only ctc finds which of them stands for which word."
            )
        if self.readout != "raw" and self.alignment != "ctc":
            raise UserError(
                f"training: readout {self.readout} is of virtual tokens that say a word; only alignment ctc has them. Set "
                "readout to raw, or alignment to ctc."
            )
        if self.alignment == "l2" and self.pull:
            raise UserError("training: pull goes with alignment ce or ctc; l2 is a distance itself. Set pull to 0.")
        if self.locality is not None and (self.locality <= 0 or self.queries != "time" or self.connector != "qformer"):
            raise UserError(
                f"training: locality is {self.locality}; it is a width above 0 around the stretch of a time query of a "
                "qformer. Set it to null, or queries to time."
            )

    @property
    def stores_teacher(self) -> bool:
        """Whether the teacher's states of all transcripts are computed once and stored; otherwise it runs in every step."""
        return self.distill > 0 and self.instructions == "none"

    def runs_llm(self, step: int) -> bool:
        """Whether a step runs the LLM."""
        return step >= self.align_steps and self.distill > 0

    def batch_at(self, step: int) -> int:
        """Number of clips of a step."""
        return self.batch if step < self.align_steps else self.both_batch

    def examples(self, steps: int) -> int:
        """Number of clips in the first `steps` steps."""
        alone = min(steps, self.align_steps)
        return alone * self.batch + (steps - alone) * self.both_batch


def connector_config(
    config: TrainConfig, *, width: int, heads: int, ffn: int, positions: int, llm_width: int
) -> ConnectorConfig:
    """The connector of a training for a Whisper and an LLM of these widths.

    Args:
        heads, ffn: Of Whisper's decoder.
        positions: Encoder positions of Whisper's longest clip, 1,500.
    """
    former, learned = config.connector == "qformer", config.queries == "learned"
    return ConnectorConfig(
        kind=config.connector,
        width=width,
        heads=heads if former else 0,
        layers=config.layers if former else 0,
        ffn=ffn,
        queries=config.queries,
        max_queries=config.max_queries if learned else -(-positions // config.stride),
        llm_width=llm_width,
        stack=1 if former or not learned else config.stack,
        stride=config.stride,
        causal=config.causal,
        locality=config.locality,
        alignment=config.alignment,
        readout=config.readout,
    )


# ---------------------------------------------------------------- presets


def paper() -> TrainConfig:
    """Held et al., section 3: Whisper large-v3, Llama-3-8B-Instruct, 2.2 M clips of Common Voice, both losses at once."""
    return TrainConfig(
        encoder="whisper-large-v3",
        llm="llama-3-8b-instruct",
        window_seconds=30.0,
        max_queries=448,
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


def mini_time() -> TrainConfig:
    """Whisper base, Qwen2.5-Coder-1.5B-Instruct; time queries aligned by CTC, no distillation. 3 s per step with filled
    caches, on one CPU core with bfloat16 instructions."""
    return TrainConfig(
        encoder="whisper-base",
        llm="qwen2.5-coder-1.5b-instruct",
        queries="time",
        locality=12.0,
        alignment="ctc",
        pull=1.0,
        layers=6,
        distill=0.0,
        steps=12_500,
        align_steps=12_500,
        warmup=300,
    )


def nano_time() -> TrainConfig:
    """Whisper tiny.en, SmolLM2-135M-Instruct; otherwise as mini_time."""
    return TrainConfig(
        encoder="whisper-tiny.en",
        llm="smollm2-135m-instruct",
        queries="time",
        locality=12.0,
        alignment="ctc",
        pull=1.0,
        layers=4,
        distill=0.0,
        steps=3_000,
        align_steps=3_000,
    )


def mini() -> TrainConfig:
    """Whisper base, Qwen2.5-Coder-1.5B-Instruct; the paper's queries and losses. About 35 minutes of alignment and 30 of
    both losses on two CPU cores."""
    return TrainConfig(
        encoder="whisper-base",
        llm="qwen2.5-coder-1.5b-instruct",
        max_queries=32,
        layers=6,
        steps=4350,
        align_steps=4000,
    )


def nano() -> TrainConfig:
    """Whisper tiny.en, SmolLM2-135M-Instruct; the paper's queries and losses. With filled caches about seven minutes on
    one CPU core with bfloat16 instructions, half an hour on one without."""
    return TrainConfig(
        encoder="whisper-tiny.en",
        llm="smollm2-135m-instruct",
        max_queries=32,
        layers=4,
        steps=850,
        align_steps=600,
    )


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "paper": paper,
    "mini": mini,
    "nano": nano,
    "mini-time": mini_time,
    "nano-time": nano_time,
}


# ---------------------------------------------------------------- ablations: one change each

_LEARNED = 64  # queries of an ablation with learned queries, enough for 28 words


def align_only(base: TrainConfig) -> TrainConfig:
    """Token alignment without distillation (the paper's first experiment)."""
    return replace(base, distill=0.0)


def distill_only(base: TrainConfig) -> TrainConfig:
    """Output distillation without token alignment; the LLM gets every virtual token."""
    return replace(base, align=0.0, align_steps=0, alignment="l2", pull=0.0, distill=base.distill or 1.0)


def scratch(base: TrainConfig) -> TrainConfig:
    """The connector starts from random numbers, not from Whisper's decoder."""
    return replace(base, from_whisper=False)


def mlp(base: TrainConfig) -> TrainConfig:
    """Stacked encoder frames through two matrices instead of a Q-Former."""
    return replace(base, connector="mlp", from_whisper=False, locality=None)


def kl(base: TrainConfig) -> TrainConfig:
    """KL divergence over the vocabulary instead of the distance of the hidden states."""
    return replace(base, distillation="kl")


def learned(base: TrainConfig) -> TrainConfig:
    """Learned queries whose last N are aligned by their distance to the transcript's N embeddings (the paper's)."""
    return replace(learned_ctc(base), alignment="l2", pull=0.0)


def learned_ctc(base: TrainConfig) -> TrainConfig:
    """Learned queries instead of one query for each segment of time."""
    if base.queries == "learned":
        return base
    return replace(base, queries="learned", max_queries=_LEARNED, locality=None)


def ce_first(base: TrainConfig) -> TrainConfig:
    """Learned queries whose first N stand for the transcript's N tokens, by cross entropy."""
    return replace(learned_ctc(base), alignment="ce", aligned="first")


def no_locality(base: TrainConfig) -> TrainConfig:
    """A time query may attend to the whole clip from the start."""
    return replace(base, locality=None)


def no_pull(base: TrainConfig) -> TrainConfig:
    """Virtual tokens are not pulled to the embeddings of their tokens."""
    return replace(base, pull=0.0)


def bidirectional(base: TrainConfig) -> TrainConfig:
    """A query also attends to later queries."""
    return replace(base, causal=False)


def released(base: TrainConfig) -> TrainConfig:
    """Alignment targets shifted by five tokens of the chat template, as in the released training code."""
    return replace(learned(base), shift=5)


def align_first(base: TrainConfig) -> TrainConfig:
    """The first N virtual tokens are aligned instead of the last N."""
    return replace(learned(base), aligned="first")


def align_pad(base: TrainConfig) -> TrainConfig:
    """Virtual tokens without an alignment target are pulled to a neutral embedding."""
    return replace(learned(base), pad=1.0)


ABLATIONS: dict[str, Callable[[TrainConfig], TrainConfig]] = {
    f.__name__: f
    for f in (
        *(align_only, distill_only, scratch, mlp, kl, learned, learned_ctc, ce_first, no_locality, no_pull),
        *(bidirectional, released, align_first, align_pad),
    )
}
"""The last three are about the paper's alignment, to which they first change any other preset."""
