"""What a GPU makes of the models: prefill and decode against what the card can do, whole runs, and whether answers agree.

    python benchmarks/gpu.py --output FOLDER                        a CUDA device; planned for under eight minutes on an H200
    python benchmarks/gpu.py --size tiny --output FOLDER            a trial on one CPU core, of about a minute

The shapes are those of `diva` mini (Whisper base, Qwen2.5 1.5B) and of the paper's DiVA (Whisper large-v3, Llama 3 8B), with
random weights that are made on the device: nothing is read or fetched. It needs torch, transformers, tokenizers and NumPy.
Clips are noise of lengths as English Common Voice has them (log-normal, median 5.2 s). Random weights never end an answer, so
each has a length given by its clip (3.2 tokens a second, spread by a third), as a translation has; connectors say
noise, so a connector that drops blanks is given the number of tokens of its clip, too.

gpu.json and gpu.txt in FOLDER are written anew after every section: what ends early keeps what it has measured. Ceilings are
measured on the same card: a copy (bytes read and written) and a large bfloat16 product of random matrices. Random weights have
smaller distances between the best two tokens than trained ones, so that flip rates here are too high rather than too low.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.audio_utils import mel_filter_bank

from diva_bench.decoding.llm import LLM, Prefilled
from diva_bench.decoding.parts import even
from diva_bench.decoding.phases import Clock
from diva_bench.decoding.static import StaticDecoder
from diva_bench.decoding.whisper import _N_FFT, RATE, WINDOW_SECONDS, Encoder, Whisper
from diva_bench.diva import compute
from diva_bench.diva.compute import LLAMA_3_8B, WHISPER_LARGE_V3, LLMShape, WhisperShape
from diva_bench.diva.config import TrainConfig, connector_config, mini_time, paper
from diva_bench.diva.model import AnyConnector, build
from diva_bench.diva.reading import contents
from diva_bench.errors import AssetError

SEED = 0
BEFORE, AFTER = 40, 6  # tokens of the chat frame and the instruction around a clip
LONGEST = 96  # new tokens, as covost2 allows
TOKENS_PER_SECOND = 3.2
Answers = list[list[int]]


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model. `train`: the preset whose connector it has."""

    name: str
    whisper: WhisperShape
    llm: LLMShape
    train: TrainConfig
    qwen: bool

    @property
    def full(self) -> bool:
        """Whether the encoder always gets a window of 30 s."""
        return self.train.window_seconds is not None


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    clips: int
    rows: int
    released: int  # clips of the batch-1 loop
    alone: int  # answers that are also decoded alone
    steps: int  # timed decode steps
    tokens: int  # of an answer whose tokens are compared
    repeats: int
    matrix: int
    copied: int  # bytes
    shapes: tuple[Shape, ...]


MINI = Shape(
    "mini", WhisperShape(512, 8, 6, 2048, 80), LLMShape(1536, 28, 12, 2, 128, 8960, 151_936), mini_time(), qwen=True
)
DIVA_8B = Shape("diva-8b", WHISPER_LARGE_V3, LLAMA_3_8B, paper(), qwen=False)
_SMALL = WhisperShape(64, 2, 2, 128, 80), LLMShape(64, 2, 4, 2, 16, 128, 600)
TINY = (
    Shape("tiny-time", *_SMALL, replace(mini_time(), layers=2), qwen=True),
    Shape("tiny-learned", *_SMALL, replace(paper(), layers=2, max_queries=48), qwen=False),
)
SIZES = {
    "full": Size(512, 64, 24, 16, 64, 32, 3, 8192, 4 << 30, (MINI, DIVA_8B)),
    "tiny": Size(24, 8, 4, 3, 8, 8, 2, 512, 32 << 20, TINY),
}


class Report:
    """Results in the order they were measured, on the disk after each."""

    def __init__(self, folder: Path, seconds: float, facts: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._json, self._text = folder / "gpu.json", folder / "gpu.txt"
        self._end, self._began = time.monotonic() + seconds, time.monotonic()
        self.results: dict[str, Any] = {"facts": facts, "sections": {}}
        self._lines = [f"{key}: {value}" for key, value in facts.items()]
        self._write()

    def section(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `measure` gives, or why it gives nothing; skipped when time is up."""
        began = time.monotonic()
        if began > self._end:
            found: dict[str, Any] = {"skipped": "no time left"}
        else:
            try:
                found = measure()
            except Exception as err:  # the sections after it are worth having
                found = {"error": f"{type(err).__name__}: {err}"[:500], "trace": traceback.format_exc()[-2000:]}
        found["took_s"] = round(time.monotonic() - began, 2)
        self.results["sections"][name] = found
        told = "  ".join(f"{k} {_short(v)}" for k, v in found.items() if k != "trace")
        self._lines.append(f"[{time.monotonic() - self._began:5.0f} s] {name}: {told}")
        self._write()
        return found

    def _write(self) -> None:
        self._json.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
        self._text.write_text("\n".join(self._lines) + "\n", encoding="utf-8")
        print(self._lines[-1], flush=True)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} {_short(v)}" for k, v in value.items()) + "}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# ---------------------------------------------------------------- models with random weights


class Ears(Whisper):
    """A Whisper without a decoder or tokenizer."""

    def __init__(self, shape: WhisperShape, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.config = {
            "d_model": shape.width, "num_mel_bins": shape.mel_bins, "max_source_positions": 1500,
            "encoder_attention_heads": shape.heads, "encoder_ffn_dim": shape.ffn, "encoder_layers": shape.layers,
        }  # fmt: skip
        with device:
            self.encoder = Encoder(self.config).to(dtype).eval().requires_grad_(False)
        bank = mel_filter_bank(1 + _N_FFT // 2, shape.mel_bins, 0.0, 8000.0, RATE, norm="slaney", mel_scale="slaney")
        self._filters = torch.from_numpy(bank).float().T.contiguous().to(device)
        self._hann = torch.hann_window(_N_FFT, device=device)


class FixedLengths(LLM):
    """An LLM whose answers end after a given number of tokens each."""

    lengths: Sequence[int] = ()

    def _ends(self, row: int, answer: Sequence[int], token: int) -> bool:
        return len(answer) >= self.lengths[row]


def causal_lm(shape: Shape, device: torch.device, dtype: torch.dtype) -> Any:
    size = shape.llm
    kind, config = (Qwen2ForCausalLM, Qwen2Config) if shape.qwen else (LlamaForCausalLM, LlamaConfig)
    sizes: Any = {
        "hidden_size": size.width, "num_hidden_layers": size.layers, "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads, "intermediate_size": size.ffn, "vocab_size": size.vocabulary,
        "max_position_embeddings": 8192, "tie_word_embeddings": shape.qwen, "eos_token_id": 2, "bos_token_id": 1,
        "initializer_range": 1.3 / size.width**0.5,  # so that an answer depends on its prompt at every width
    }  # fmt: skip
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            return kind(config(**sizes))
    finally:
        torch.set_default_dtype(usual)


def tokenizer() -> Any:
    """Any one: prompts here are made of token ids, and answers stay token ids."""
    letters = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=letters, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=made)


@dataclass(slots=True)
class Rig:
    """One model on one device, and what it is asked."""

    shape: Shape
    size: Size
    device: torch.device
    ears: Ears
    connector: AnyConnector
    waves: list[Any]
    said: list[int]  # tokens of each clip's transcript
    lengths: list[int]  # tokens of each clip's answer
    llms: dict[str, FixedLengths]

    def sync(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def rig(shape: Shape, size: Size, device: torch.device) -> Rig:
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    seconds = np.clip(rng.lognormal(np.log(5.2), 0.32, size.clips), 1.2, 14.0)
    seconds.sort()
    waves = [(0.1 * rng.standard_normal(int(s * RATE))).astype(np.float32) for s in seconds]
    said, lengths = (
        np.clip(seconds * TOKENS_PER_SECOND * rng.lognormal(0, 0.33, size.clips), 4, LONGEST).astype(int).tolist()
        for _ in range(2)
    )
    whisper = shape.whisper
    config = connector_config(
        shape.train,
        width=whisper.width,
        heads=whisper.heads,
        ffn=whisper.ffn,
        positions=1500,
        llm_width=shape.llm.width,
    )
    with device:
        connector = build(config).to(torch.bfloat16).eval().requires_grad_(False)
    model, words = causal_lm(shape, device, torch.bfloat16), tokenizer()
    connector.projection.weight.normal_(0, 1.3 / (shape.llm.width * whisper.width) ** 0.5)  # as far apart as embeddings
    ears = Ears(whisper, device, torch.bfloat16)
    made = Rig(shape, size, device, ears, connector, waves, said, lengths, {})
    made.llms["dynamic"] = FixedLengths(model, words, shape.name, "dynamic")
    return made


# ---------------------------------------------------------------- asking


@torch.inference_mode()
def prompts(rig: Rig, llm: LLM, clips: Sequence[int], budget: float) -> list[Tensor]:
    """Embeddings (n, E) of each clip's prompt: encoder, connector, reading, chat frame; as `adapters/diva.py` does it. The
    tokens after a clip are its own, because random connectors make much the same of all clips."""
    full = rig.shape.full
    waves = [rig.waves[k] for k in clips]
    seconds = [WINDOW_SECONDS if full else max(len(wave) / RATE, 1.0) for wave in waves]
    inputs: list[Tensor] = []
    for part in even(seconds, budget):
        states, mask = rig.ears.encode(waves[part], full)
        virtual, counts = rig.connector(states, mask)
        some, tokens = contents(rig.connector, virtual, counts, llm.embeddings)
        if tokens is not None:  # of blanks and repeats nobody learned anything
            some = [row[: rig.said[k]] for row, k in zip(virtual, clips[part], strict=True)]
        inputs += some
    before = llm.embed(range(3, 3 + BEFORE))
    after = [llm.embed(np.random.default_rng(k).integers(3, 250, AFTER).tolist()) for k in clips]
    return [torch.cat([before, one.to(before), own]) for one, own in zip(inputs, after, strict=True)]


def ask(rig: Rig, llm: FixedLengths, clips: Sequence[int], budget: float) -> tuple[Answers, dict[str, float]]:
    clock = Clock(rig.device)
    asked = prompts(rig, llm, clips, budget)
    clock.lap("encode")
    start = llm.prefill(asked, BEFORE)
    clock.lap("prefill")
    llm.lengths = [rig.lengths[k] for k in clips]
    answers = llm.generate(start, LONGEST)
    clock.lap("decode")
    return answers, clock.seconds


def same_length(rig: Rig, llm: FixedLengths, clips: Sequence[int], rows: int, count: int) -> Answers:
    """Answers of `count` tokens, `rows` at a time."""
    answers: Answers = []
    for at in range(0, len(clips), rows):
        some = clips[at : at + rows]
        llm.lengths = [count] * len(some)
        answers += llm.generate(llm.prefill(prompts(rig, llm, some, 960.0), BEFORE), count)
    return answers


@torch.inference_mode()
def released(rig: Rig, clip: int) -> list[int]:
    """The loop of the released DiVA (modeling_diva.py, `generate`), written out: one clip, a greedy token at a time whose
    value the host looks at, logits of all positions, a cache that grows; here in bfloat16 and without its faults. The shape
    says whether the encoder gets 30 s, as the released one does."""
    llm = rig.llms["dynamic"]
    inputs: Any = {"inputs_embeds": prompts(rig, llm, [clip], 60.0)[0][None]}
    cache, answer = None, []
    for _ in range(LONGEST):
        out = llm.model(**inputs, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        token = out.logits[0, -1].argmax()
        answer.append(int(token))  # the released loop compares it with 128009 here
        if len(answer) == rig.lengths[clip]:
            break
        inputs = {"inputs_embeds": llm.embeddings[token][None, None]}
    return answer


# ---------------------------------------------------------------- sections


def median(size: Size, run: Callable[[], float]) -> float:
    return statistics.median(run() for _ in range(size.repeats))


def took(rig: Rig, call: Callable[[], Any]) -> float:
    """Wall seconds, the device's work included."""
    rig.sync()
    began = time.perf_counter()
    call()
    rig.sync()
    return time.perf_counter() - began


def ceilings(size: Size, device: torch.device) -> dict[str, Any]:
    """Bytes a second of a copy, both ways counted, and FLOP a second of a bfloat16 product."""
    source = torch.randint(0, 255, (size.copied,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    left, right = (torch.randn(size.matrix, size.matrix, device=device, dtype=torch.bfloat16) for _ in range(2))

    def seconds(call: Callable[[], Any]) -> float:
        clock = Clock(device)
        for lap in ("warm", *["timed"] * 10):
            call()
            clock.lap(lap)
        return clock.seconds["timed"] / 10

    copy, product = seconds(lambda: target.copy_(source)), seconds(lambda: left @ right)
    return {"copy_bytes_per_s": 2 * size.copied / copy, "product_flop_per_s": 2 * size.matrix**3 / product}


def static(rig: Rig) -> dict[str, Any]:
    """Loading compares static with dynamic logits, and records a step. A refusal is noted, and static decoding measured all
    the same: the logits of random weights may be farther apart than those of trained ones."""
    plain = rig.llms["dynamic"]
    found: dict[str, Any] = {"graphs": rig.device.type == "cuda"}
    try:
        rig.llms["static"] = FixedLengths(plain.model, plain.tokenizer, rig.shape.name, "static")
    except AssetError as err:
        rig.llms["static"] = FixedLengths(plain.model, plain.tokenizer, rig.shape.name, "dynamic")
        rig.llms["static"]._static = StaticDecoder(plain.base, plain.logits, plain.weight)
        return {**found, "refused": str(err)}
    return found


def prefill(rig: Rig, ceiling: dict[str, Any]) -> dict[str, Any]:
    """Model FLOPs of real positions, padding left out, over time and the measured product rate."""
    llm, clips = rig.llms["dynamic"], range(rig.size.rows)
    asked = prompts(rig, llm, clips, 960.0)
    flops = sum(compute.llm_forward(rig.shape.llm, len(one), logits=1) for one in asked)
    llm.prefill(asked)
    seconds = median(rig.size, lambda: took(rig, lambda: llm.prefill(asked)))
    found = {"tokens_per_s": sum(map(len, asked)) / seconds, "mfu": flops / seconds / ceiling["product_flop_per_s"]}
    found["encoder"] = {f"budget {b:.0f} s": encoder(rig, ceiling, b) for b in (60.0, 960.0)}
    return found


def encoder(rig: Rig, ceiling: dict[str, Any], budget: float) -> dict[str, float]:
    llm, clips = rig.llms["dynamic"], range(rig.size.rows)
    heard = [1500 if rig.shape.full else len(rig.waves[k]) / RATE * 50 for k in clips]
    config = rig.connector.config
    flops = sum(compute.encoder_forward(rig.shape.whisper, t) + compute.connector_forward(config, t) for t in heard)
    prompts(rig, llm, clips, budget)
    seconds = median(rig.size, lambda: took(rig, lambda: prompts(rig, llm, clips, budget)))
    return {"clips_per_s": len(clips) / seconds, "mfu": flops / seconds / ceiling["product_flop_per_s"]}


def decode(rig: Rig, how: str, rows: int, ceiling: dict[str, Any]) -> dict[str, Any]:
    """A step, from the difference of a long and a short answer, and the bytes that it has to read: weights (but no input
    embeddings, where they are a matrix of their own) and the keys and values of all rows."""
    llm, size = rig.llms[how], rig.shape.llm
    asked = prompts(rig, llm, range(rows), 960.0)

    def seconds(count: int) -> float:
        start: Prefilled = llm.prefill(asked, BEFORE)
        llm.lengths = [count] * rows
        return took(rig, lambda: llm.generate(start, count))

    short, long = 8, 8 + rig.size.steps
    for count in (long, long) if how == "static" else (short,):  # a size is recorded the second time that it comes
        seconds(count)
    step = (median(rig.size, lambda: seconds(long)) - median(rig.size, lambda: seconds(short))) / rig.size.steps
    width = llm.embeddings.dtype.itemsize
    weights = sum(p.nbytes for p in llm.model.parameters()) - (0 if rig.shape.qwen else llm.embeddings.nbytes)
    position = 2 * size.layers * size.kv_heads * size.head_width * width
    read = weights + rows * position * (max(map(len, asked)) + (short + long) / 2)
    found: dict[str, Any] = {"ms_per_step": 1000 * step, "tokens_per_s": rows / step, "bytes_per_step": read}
    return {**found, "bytes_per_s": read / step, "of_copy": read / step / ceiling["copy_bytes_per_s"]}


def whole(rig: Rig, how: str, budget: float) -> dict[str, Any]:
    """All clips, in batches of neighbours in length."""
    llm, rows, count = rig.llms[how], rig.size.rows, rig.size.clips
    stages: dict[str, float] = {}
    ask(rig, llm, range(count - rows, count), budget)  # the largest shapes
    if rig.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(rig.device)

    def every() -> None:
        for at in range(0, count, rows):
            answers, seconds = ask(rig, llm, range(at, min(at + rows, count)), budget)
            assert [len(a) for a in answers] == rig.lengths[at : at + rows]
            for stage, spent in seconds.items():
                stages[stage] = stages.get(stage, 0.0) + spent

    wall = took(rig, every)
    audio = sum(map(len, rig.waves)) / RATE
    found: dict[str, Any] = {"samples_per_s": count / wall, "rtfx": audio / wall, "wall_s": wall, "stages_s": stages}
    if rig.device.type == "cuda":
        found["peak_bytes"] = torch.cuda.max_memory_allocated(rig.device)
    return found


def one_by_one(rig: Rig) -> dict[str, Any]:
    """The released loop on clips spread over all lengths."""
    clips = [round(k * (rig.size.clips - 1) / (rig.size.released - 1)) for k in range(rig.size.released)]
    released(rig, clips[0])
    wall = took(rig, lambda: [released(rig, clip) for clip in clips])
    return {"samples_per_s": len(clips) / wall, "rtfx": sum(len(rig.waves[k]) for k in clips) / RATE / wall}


def ratios(rig: Rig, report: Report) -> dict[str, Any]:
    found = report.results["sections"]
    plain = found[f"{rig.shape.name} released loop"]["samples_per_s"]
    runs = {name: value for name, value in found.items() if name.startswith(f"{rig.shape.name} whole")}
    return {name: value["samples_per_s"] / plain for name, value in runs.items() if "samples_per_s" in value}


def differing(some: Answers, other: Answers) -> dict[str, Any]:
    """Answers that differ, and tokens that differ of those compared up to the first such of an answer."""
    pairs = list(zip(some, other, strict=True))
    first = [next((k for k, (a, b) in enumerate(zip(x, y, strict=True)) if a != b), None) for x, y in pairs]
    compared = sum(len(x) if k is None else k + 1 for k, (x, _) in zip(first, pairs, strict=True))
    flipped = sum(k is not None for k in first)
    return {"answers": flipped, "of": len(pairs), "per_token": flipped / compared}


def agreement(rig: Rig, rows: int) -> dict[str, Any]:
    """Which greedy answers of the same clips differ: by batch, and between the two ways of decoding."""
    alone, count = rig.size.alone, rig.size.tokens
    clips = range(rig.size.clips - rows, rig.size.clips)
    plain = same_length(rig, rig.llms["dynamic"], clips, rows, count)
    found: dict[str, Any] = {"distinct": len({tuple(a) for a in plain})}
    found["dynamic, batch 1"] = differing(plain[:alone], same_length(rig, rig.llms["dynamic"], clips[:alone], 1, count))
    if "static" in rig.llms:
        fixed = same_length(rig, rig.llms["static"], clips, rows, count)
        found["static"] = differing(plain, fixed)
        found["static, batch 1"] = differing(fixed, same_length(rig, rig.llms["static"], clips, 1, count))
    return found


def in_float32(rig: Rig) -> dict[str, Any]:
    """`agreement` of the same weights in float32, where nothing may differ but near ties."""
    plain = rig.llms["dynamic"]
    model = plain.model.float()
    rig.llms.clear()  # graphs and buffers of the short format
    rig.llms["dynamic"] = FixedLengths(model, plain.tokenizer, rig.shape.name, "dynamic")
    rig.ears.encoder.float()
    rig.ears.dtype = torch.float32
    rig.connector.float()
    static(rig)
    return agreement(rig, rig.size.rows // 2)


def measure(shape: Shape, size: Size, device: torch.device, report: Report, ceiling: dict[str, Any]) -> None:
    made: list[Rig] = []

    def built() -> dict[str, Any]:
        made.append(rig(shape, size, device))
        return {"llm_parameters": sum(p.numel() for p in made[0].llms["dynamic"].model.parameters())}

    report.section(f"{shape.name} built", built)
    if not made:
        return
    it = made.pop()
    sections: list[tuple[str, Callable[[], dict[str, Any]]]] = [("static loads", lambda: static(it))]
    for rows in (size.rows, 1):
        for how in ("static", "dynamic"):
            sections.append((f"decode {how} {rows}", lambda how=how, rows=rows: decode(it, how, rows, ceiling)))
    sections.append(("prefill", lambda: prefill(it, ceiling)))
    for how, budget in (("static", 960.0), ("dynamic", 960.0)):
        sections.append((f"whole {how} {budget:.0f} s", lambda how=how, budget=budget: whole(it, how, budget)))
    sections += [("released loop", lambda: one_by_one(it)), ("ratio to the released loop", lambda: ratios(it, report))]
    sections += [("answers that differ in bfloat16", lambda: agreement(it, size.rows))]
    sections += [("answers that differ in float32", lambda: in_float32(it))]
    for name, section in sections:
        report.section(f"{shape.name} {name}", section)


def facts(device: torch.device, size: str) -> dict[str, Any]:
    cuda = device.type == "cuda"
    return {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "size": size,
        "device": torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cuda": torch.version.cuda,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=7.0, help="no section begins later")
    parser.add_argument("--output", type=Path, default=Path())
    asked = parser.parse_args()
    if asked.size == "full" and asked.device == "cpu":
        parser.error("the full size is for a GPU; --size tiny is the trial on a CPU")
    size, device = SIZES[asked.size], torch.device(asked.device)
    report = Report(asked.output, 60 * asked.minutes, facts(device, asked.size))
    ceiling = report.section("ceilings", lambda: ceilings(size, device))
    for shape in size.shapes:
        measure(shape, size, device, report, ceiling)
        if device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
