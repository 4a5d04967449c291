"""The cost of a training: FLOPs by formula before it runs, and a ledger of its computation while it runs.

FLOPs are those of matrix products, convolutions and attention; a multiply-add counts 2, as in torch's FlopCounterMode
(tests/test_compute.py compares the formulas with it). Norms, activations, softmax and the optimiser are left out.
Attention counts as the full rectangle of queries x keys, also if it is causal, and its backward pass as twice its
forward pass, whatever a kernel skips or recomputes. Unless stated otherwise, numbers are per clip (B = 1), without the
padding of a batch. Arguments may be means over clips; because attention is quadratic, means slightly underestimate
clips of unequal length.

Shapes: T encoder positions (20 ms), Q queries, D width of Whisper, E width of the LLM, V vocabulary, N transcript
tokens.
"""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from diva_bench.diva.config import ConnectorConfig, TrainConfig, connector_config

Parts = dict[str, float]
"""FLOPs by part, always these four."""
PARTS = ("encoder", "teacher", "student", "connector")
"""FLOPs by part, always these four."""

_POSITIONS_PER_SECOND = 50  # two hops of 10 ms: the second convolution has stride 2
_WINDOW_POSITIONS = 1500  # in the 30 s window of Whisper
_CONVOLUTION = 3  # taps of both of Whisper's convolutions


# ---------------------------------------------------------------- shapes


@dataclass(frozen=True, slots=True)
class WhisperShape:
    """Sizes of a Whisper encoder."""

    width: int
    heads: int
    layers: int
    ffn: int
    mel_bins: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> WhisperShape:
        """`config`: Whisper's config.json."""
        names = ("d_model", "encoder_attention_heads", "encoder_layers", "encoder_ffn_dim", "num_mel_bins")
        return cls(*(int(config[name]) for name in names))


@dataclass(frozen=True, slots=True)
class LLMShape:
    """Sizes of a decoder with grouped keys and values and a gated MLP of three matrices (Llama, Qwen2, SmolLM)."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    ffn: int
    vocabulary: int

    @classmethod
    def from_config(cls, config: Any) -> LLMShape:
        """`config`: of transformers. Some families do not store their number of key heads or the width of a head."""
        width, heads = config.hidden_size, config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        head_width = getattr(config, "head_dim", None) or width // heads
        sizes = config.num_hidden_layers, heads, kv_heads, head_width, config.intermediate_size, config.vocab_size
        return cls(width, *sizes)


# config.json of openai/whisper-large-v3 and of meta-llama/Meta-Llama-3-8B-Instruct
WHISPER_LARGE_V3 = WhisperShape(width=1280, heads=20, layers=32, ffn=5120, mel_bins=128)
LLAMA_3_8B = LLMShape(width=4096, layers=32, heads=32, kv_heads=8, head_width=128, ffn=14_336, vocabulary=128_256)


# ---------------------------------------------------------------- parts, per clip


def _linear(rows: float, inputs: float, outputs: float) -> float:
    """(rows, inputs) @ (inputs, outputs); also one of the two products of its backward pass."""
    return 2.0 * rows * inputs * outputs


def _attention(rows: float, keys: float, width: float) -> float:
    """Attention scores and the sums over values; `width` of all heads together."""
    return 2 * _linear(rows, width, keys)


def encoder_forward(shape: WhisperShape, positions: float) -> float:
    """T = `positions`; the first convolution runs over 2T mel frames."""
    width = shape.width
    block = 4 * _linear(positions, width, width) + _attention(positions, positions, width)
    block += 2 * _linear(positions, width, shape.ffn)
    second = _linear(positions, _CONVOLUTION * width, width)
    return _first_convolution(shape, positions) + second + shape.layers * block


def encoder_backward(shape: WhisperShape, positions: float) -> float:
    """If the encoder is trained: gradients of all weights and inputs, except the mel frames."""
    return 2 * encoder_forward(shape, positions) - _first_convolution(shape, positions)


def _first_convolution(shape: WhisperShape, positions: float) -> float:
    return _linear(2 * positions, _CONVOLUTION * shape.mel_bins, shape.width)


def virtual_tokens(config: ConnectorConfig, positions: float) -> float:
    """Q of a clip with T = `positions`."""
    return config.max_queries if config.queries == "learned" else math.ceil(positions / config.stride)


def connector_forward(config: ConnectorConfig, positions: float) -> float:
    """A qformer over T = `positions`, or an mlp, whose cost with learned queries does not depend on T, because it
    resamples to Q x stack positions."""
    queries, width = virtual_tokens(config, positions), config.width
    if config.kind == "mlp":
        return _reads_states(config, positions) + _linear(queries, config.ffn, config.llm_width)
    block = 6 * _linear(queries, width, width) + 2 * _linear(queries, width, config.ffn)
    block += _attention(queries, queries, width) + _attention(queries, positions, width)
    projection = _linear(queries, width, config.llm_width)
    if config.queries == "time":
        projection += _linear(queries, config.stride * width, width)  # of the frames of a segment
    return _reads_states(config, positions) + config.layers * block + projection


def connector_backward(config: ConnectorConfig, positions: float, train_encoder: bool = False) -> float:
    """Gradients of all weights and inputs; of the encoder's states only if the encoder is trained too."""
    both = 2 * connector_forward(config, positions)
    return both if train_encoder else both - _reads_states(config, positions)


def _reads_states(config: ConnectorConfig, positions: float) -> float:
    """The matrices whose input is the encoder's states: keys and values of cross-attention, or the first one of the mlp."""
    if config.kind == "mlp":
        side = config.stack if config.queries == "learned" else config.stride
        return _linear(virtual_tokens(config, positions), side * config.width, config.ffn)
    return config.layers * 2 * _linear(positions, config.width, config.width)


def vocabulary_cost(config: ConnectorConfig, positions: float, classes: float) -> float:
    """Alignment ce or ctc, forward and backward: the logits of every virtual token over `classes` tokens and the blank,
    whose gradient goes to both sides, and the mean embedding to which a virtual token is pulled, which has no gradient."""
    return 4 * _linear(virtual_tokens(config, positions), config.llm_width, classes + 1)


def llm_forward(shape: LLMShape, new: float, past: float = 0, logits: float = 0) -> float:
    """`new` positions after `past` cached ones; the output matrix at `logits` of them."""
    return _llm_matrices(shape, new) + _llm_attention(shape, new, past) + output_matrix(shape, logits)


def llm_backward(shape: LLMShape, new: float, past: float = 0, logits: float = 0) -> float:
    """Only to the inputs: no weight has a gradient, so a matrix costs one product, as in the forward pass.

    Attention costs two products for each of its two. Cached keys and values need no gradient, but autograd computes it
    for the full rectangle and drops it at the torch.cat of old and new: nothing is saved.
    """
    return _llm_matrices(shape, new) + 2 * _llm_attention(shape, new, past) + output_matrix(shape, logits)


def llm_recompute(shape: LLMShape, new: float, past: float = 0) -> float:
    """The extra cost of checkpointing every layer: a forward pass without the last matrix of each layer, whose result the
    backward pass does not need."""
    last = shape.layers * _linear(new, shape.ffn, shape.width)
    return llm_forward(shape, new, past) - last


def output_matrix(shape: LLMShape, positions: float) -> float:
    return _linear(positions, shape.width, shape.vocabulary)


def _llm_matrices(shape: LLMShape, new: float) -> float:
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    block = 2 * _linear(new, shape.width, queries) + 2 * _linear(new, shape.width, keys)
    return shape.layers * (block + 3 * _linear(new, shape.width, shape.ffn))


def _llm_attention(shape: LLMShape, new: float, past: float) -> float:
    return shape.layers * _attention(new, past + new, shape.heads * shape.head_width)


# ---------------------------------------------------------------- steps and runs


def connector_of(config: TrainConfig, whisper: WhisperShape, llm: LLMShape) -> ConnectorConfig:
    """The connector of a training, with the sizes of Whisper's decoder, which equal those of its encoder; an mlp has its
    ffn."""
    return connector_config(
        config, width=whisper.width, heads=whisper.heads, ffn=whisper.ffn, positions=_WINDOW_POSITIONS,
        llm_width=llm.width,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A training on its mean clip."""

    config: TrainConfig
    whisper: WhisperShape
    llm: LLMShape
    connector: ConnectorConfig
    clip_seconds: float
    """Of the clip, not of the encoder's window."""
    transcript_tokens: float
    """N."""
    prefix: int
    """Tokens of the chat template before the clip."""
    suffix: int

    @property
    def encoder_positions(self) -> float:
        """T."""
        return _POSITIONS_PER_SECOND * (self.config.window_seconds or self.clip_seconds)


def step_flops(work: Work, clips: int, *, runs_llm: bool, cached: bool = True) -> Parts:
    """One training step.

    Args:
        clips: Number of clips.
        runs_llm: Whether the step runs the LLM.
        cached: As diva_bench/training does it: the teacher's states come from the disk (unless instructions alternate),
            with `cache_states` the
            encoder's too, and the student's constant prefix is stored as keys and values. False: a plain loop that computes
            everything for
            every clip.
    """
    parts, positions, trained = dict.fromkeys(PARTS, 0.0), work.encoder_positions, work.config.train_encoder
    parts["connector"] = connector_forward(work.connector, positions)
    parts["connector"] += connector_backward(work.connector, positions, trained)
    if work.config.alignment != "l2":
        parts["connector"] += vocabulary_cost(work.connector, positions, candidates(work, clips))
    if not (cached and work.config.cache_states):
        parts["encoder"] = encoder_forward(work.whisper, positions)
    if trained:
        parts["encoder"] += encoder_backward(work.whisper, positions)
    if runs_llm:
        parts["student"] = _student(work, cached)
        if work.connector.alignment == "ctc":  # the choice of virtual tokens uses the whole vocabulary
            parts["student"] += _linear(
                virtual_tokens(work.connector, positions), work.llm.width, work.llm.vocabulary + 1
            )
        if not cached:
            parts["teacher"] = _teacher(work)
        elif not work.config.stores_teacher:
            parts["teacher"] = _teacher_behind_prefix(work)
            if (
                work.config.distill_positions
            ):  # the answers' prefix is computed once per step; that of the states is stored
                parts["teacher"] += llm_forward(work.llm, work.prefix) / clips
        if work.config.distillation == "kl":
            # losses.kl_divergence recomputes both distributions in the backward pass; only states are cached
            matrix = output_matrix(work.llm, 1 + work.config.distill_positions)
            parts["teacher"] += 2 * matrix
            parts["student"] += 3 * matrix
    return {name: clips * value for name, value in parts.items()}


def candidates(work: Work, clips: int) -> float:
    """Tokens in the vocabulary of a step (training/run.py), if none were drawn twice."""
    draws = work.config.negatives + work.config.negatives // 6
    return min(work.llm.vocabulary, draws + clips * work.transcript_tokens)


def _teacher(work: Work) -> float:
    """The prompt and the distilled part of the answer in one pass; the output matrix only chooses the tokens."""
    further = work.config.distill_positions
    return llm_forward(work.llm, work.prefix + work.transcript_tokens + work.suffix + further, logits=further)


def _teacher_behind_prefix(work: Work) -> float:
    """A greedy answer is generated, if one is distilled, and read; the beginning of the template is stored."""
    further = work.config.distill_positions
    new = work.transcript_tokens + work.suffix + further
    answer = llm_forward(work.llm, new - 1, work.prefix, logits=further) if further else 0.0
    return llm_forward(work.llm, new, work.prefix) + answer


def _student(work: Work, cached: bool) -> float:
    """Forward and backward to the last hidden states, without the output matrix."""
    ctc = work.connector.alignment == "ctc"
    content = work.transcript_tokens if ctc else virtual_tokens(work.connector, work.encoder_positions)
    new, past = content + work.suffix + work.config.distill_positions, work.prefix
    if work.config.checkpointing or not cached:  # transformers cannot checkpoint with cached keys and values
        new, past = past + new, 0
    cost = llm_forward(work.llm, new, past) + llm_backward(work.llm, new, past)
    return cost + (llm_recompute(work.llm, new, past) if work.config.checkpointing else 0.0)


def plain_over_cached(work: Work, *, runs_llm: bool) -> float:
    """FLOPs of a plain step divided by those of a cached step, without the first pass that fills the caches, to compare
    with measured throughputs."""
    plain, cached = (step_flops(work, 1, runs_llm=runs_llm, cached=c) for c in (False, True))
    return sum(plain.values()) / sum(cached.values())


def first_pass_flops(work: Work, unique_clips: int) -> Parts:
    """Filling the caches: the encoder once per clip and augmented copy, the prefix once, and after it the teacher once per
    clip, if all texts differ; a greedy answer for distillation is first generated and then read."""
    parts = dict.fromkeys(PARTS, 0.0)
    if work.config.cache_states:
        copies = unique_clips * (1 + work.config.variants)
        parts["encoder"] = copies * encoder_forward(work.whisper, work.encoder_positions)
    if work.config.distill > 0:
        parts["student"] = llm_forward(work.llm, work.prefix)
    if work.config.stores_teacher:
        parts["teacher"] = unique_clips * _teacher_behind_prefix(work)
    return parts


def run_flops(work: Work, unique_clips: int, *, cached: bool = True) -> Parts:
    """All steps and, if cached, the first pass; evaluations on held-out clips are left out."""
    config = work.config
    total = first_pass_flops(work, unique_clips) if cached else dict.fromkeys(PARTS, 0.0)
    for first, end in ((0, config.align_steps), (config.align_steps, config.steps)):
        if end > first:
            step = step_flops(work, config.batch_at(first), runs_llm=config.runs_llm(first), cached=cached)
            total = {name: total[name] + (end - first) * step[name] for name in PARTS}
    return total


# ---------------------------------------------------------------- before a run


# The training code: levanter, branch will/distill, via.py and config/via_commonvoice.yaml. Page: diva-audio.github.io
PAPER_PREFIX, PAPER_SUFFIX = 5, 5  # tokens of Llama 3's template before and after the clip (via.py)
PAPER_PADDED = 448  # transcripts are padded to this: teacher and student both have 458 positions (via.py)
PAPER_UNIQUE_CLIPS = 1_100_000  # rows of Common Voice 17 en, train, rounded; the yaml's 4300 x 512 are two epochs
PAPER_CLIP_SECONDS = 5.2  # inference: the mean in the statistics of Common Voice 11, assumed for 17
PAPER_STATED_HOURS = 3_500  # project page; looks like the whole release, not the train split (inference)
QWEN_2_AUDIO_HOURS = (350_000, 370_000)  # both on the project page of DiVA; not checked in Qwen's own report


def estimate(work: Work, unique_clips: int) -> list[str]:
    """The data and cost of a training as text, before it runs."""
    examples = work.config.examples(work.config.steps)
    hours, unique = (clips * work.clip_seconds / 3600 for clips in (examples, unique_clips))
    lines = [
        f"audio: {examples:,} clips seen, {hours:,.0f} h; {unique_clips:,} unique, {unique:,.0f} h",
        "FLOPs (matrix products, convolutions, attention; a multiply-add is 2; no padding, no evaluation):",
    ]
    totals = []
    for name, cached in (("plain loop", False), ("with caches, first pass included", True)):
        parts = run_flops(work, unique_clips, cached=cached)
        totals.append(sum(parts.values()))
        lines.append(f"  {name}: {totals[-1]:.3g} = " + ", ".join(f"{part} {parts[part]:.3g}" for part in PARTS))
    return [*lines, f"  the plain loop has {totals[0] / totals[1]:.2f} times the FLOPs"]


def paper_work(config: TrainConfig) -> Work:
    """The paper preset or an ablation of it with the paper's models and data, which need not be on this machine."""
    return Work(
        config=config,
        whisper=WHISPER_LARGE_V3,
        llm=LLAMA_3_8B,
        connector=connector_of(config, WHISPER_LARGE_V3, LLAMA_3_8B),
        clip_seconds=PAPER_CLIP_SECONDS,
        transcript_tokens=PAPER_PADDED,
        prefix=PAPER_PREFIX,
        suffix=PAPER_SUFFIX,
    )


def assumptions(work: Work) -> list[str]:
    """What the estimate for the paper's training assumes, with where each number is from."""
    config, queries = work.config, work.config.max_queries
    teacher, student = (work.prefix + n + work.suffix for n in (PAPER_PADDED, queries))
    return [
        f"models: Whisper large-v3, {work.encoder_positions:,.0f} encoder positions a clip; Llama 3 8B, {teacher} "
        f"positions for the teacher (transcripts padded to {PAPER_PADDED}), {student} for the student (training code)",
        f"data: Common Voice 17 en, train, {PAPER_UNIQUE_CLIPS:,} clips (rounded), mean {PAPER_CLIP_SECONDS} s "
        f"(inference, from Common Voice 11); {config.steps:,} steps, batch {config.both_batch}",
    ]


def paper_hours(config: TrainConfig) -> dict[str, float]:
    """What the hours of audio of DiVA's training can mean -> hours."""
    return {
        "that the project page gives for DiVA": PAPER_STATED_HOURS,
        "seen by this run, repeats included (inference)": config.examples(config.steps) * PAPER_CLIP_SECONDS / 3600,
        "unique (inference)": PAPER_UNIQUE_CLIPS * PAPER_CLIP_SECONDS / 3600,
    }


def estimate_paper(config: TrainConfig) -> list[str]:
    """The cost of the paper preset or an ablation of it. It says what is cited, what is inferred, and what "100 times less"
    than Qwen 2 Audio compares."""
    work = paper_work(config)
    fewest, most = QWEN_2_AUDIO_HOURS
    return [
        *assumptions(work),
        *estimate(work, PAPER_UNIQUE_CLIPS),
        "cited for the paper's own run: 11 h on a TPU v4-256 (model card), 12 h on a TPU v4 pod (project page)",
        f'"100 times less compute": the project page gives Qwen 2 Audio {fewest:,} to {most:,} h of audio, that is',
        *(
            f"  {fewest / h:.0f} to {most / h:.0f} times the {h:,.0f} h {basis}"
            for basis, h in paper_hours(config).items()
        ),
        "  a ratio of hours of audio, not of FLOPs: the sources read say nothing of Qwen 2 Audio's epochs or lengths",
    ]


# ---------------------------------------------------------------- during a run


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The computation of a training so far. A resumed run continues the ledger of its checkpoint."""

    device: str = ""
    """Name of the processor, as information."""
    devices: int = 1
    audio_hours_unique: float = 0.0
    clips: int = 0
    """Seen, repeats included; like all sums here, of all devices together."""
    audio_seconds: float = 0.0
    """With repeats. All sums here are over all devices."""
    steps: int = 0
    flops: Parts = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    """With the first pass that filled the caches."""
    device_seconds: float = 0.0
    """Wall seconds times devices."""
    peak_memory_bytes: int = 0
    """Of the first process since its start, with the first pass and evaluations on held-out clips."""

    @property
    def total_flops(self) -> float:
        return sum(self.flops.values())

    def add_step(
        self, *, clips: int, audio_seconds: float, flops: Mapping[str, float], seconds: float, peak_bytes: int = 0
    ) -> None:
        """`clips`, `audio_seconds`, `flops`: of all devices; `seconds`: wall time."""
        self.steps += 1
        self.clips += clips
        self.audio_seconds += audio_seconds
        self.add_work(flops, seconds, peak_bytes)

    def add_work(self, flops: Mapping[str, float], seconds: float, peak_bytes: int = 0) -> None:
        """Work that is not a step: mainly filling the caches."""
        self.flops = {name: self.flops.get(name, 0.0) + flops.get(name, 0.0) for name in PARTS}
        self.device_seconds += seconds * self.devices
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_bytes)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Ledger:
        return cls(**{**value, "flops": dict(value["flops"])})


def peak_memory_bytes(device: str) -> int:
    """Peak memory so far: of a CUDA device, as torch allocated it, or of this process."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS reports bytes, Linux KiB
