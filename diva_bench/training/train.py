"""Train a DiVA connector from transcripts alone: token alignment first, then both losses (arXiv 2410.02678).

    diva-bench train --preset nano --data DIR --output DIR

The encoder runs once per clip (training/data.py); the LLM is not run while only its embeddings are matched. One script,
read top to bottom. Killed and started again it goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diva_bench import provenance
from diva_bench.decoding.whisper import Whisper
from diva_bench.diva import checkpoint, losses, model
from diva_bench.diva.config import TrainConfig
from diva_bench.training import data
from diva_bench.training.data import Clips
from diva_bench.types import Progress

WEIGHTS = {
    "mini": ("whisper-base", "qwen2.5-coder-1.5b-instruct"),
    "nano": ("whisper-tiny.en", "smollm2-135m-instruct"),
}


def schedule(step: int, config: TrainConfig) -> float:
    """Learning rate of a step: linear warm-up, cosine to a tenth, once for alignment and once for both losses."""
    if step < config.align_steps:
        at, length, peak = step, config.align_steps, config.lr
    else:
        at, length, peak = step - config.align_steps, config.steps - config.align_steps, config.both_lr
    if at < config.warmup:
        return peak * (at + 1) / config.warmup
    return peak * (0.55 + 0.45 * math.cos(math.pi * (at - config.warmup) / max(1, length - config.warmup)))


def batch_of(step: int, clips: Clips, train: list[int], config: TrainConfig) -> list[int]:
    """The clips of one step: a function of the step and the seed alone, so that a resumed run sees the same."""
    size = config.batch if step < config.align_steps else config.both_batch
    drawn = random.Random(f"{config.seed}-{step}").sample(train, min(len(train), 8 * size))
    # of eight batches' worth, the neighbours in length of a random one: little padding, still random
    drawn.sort(key=lambda i: clips.lengths[i])
    start = random.Random(f"{config.seed}-{step}-at").randrange(len(drawn) - size + 1)
    return drawn[start : start + size]


class Frozen:
    """The LLM with its template: input embeddings, and the last hidden state behind a user turn. Never trained."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        llm: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        self.tokenizer, self.llm = tokenizer, llm.eval().requires_grad_(False)
        self.embeddings: Tensor = self.llm.get_input_embeddings().weight  # (V, E)
        mark = "DIVABENCHMARK"
        turn = [{"role": "user", "content": mark}]
        text: str = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        before, after = text.split(mark)
        self._before = self._embed(self.tokenizer(before, add_special_tokens=False)["input_ids"])
        self._after = self._embed(self.tokenizer(after, add_special_tokens=False)["input_ids"])

    def _embed(self, ids: list[int]) -> Tensor:
        return self.embeddings[ids]

    def last_state(self, contents: list[Tensor]) -> Tensor:
        """User turns of embeddings (n_b, E) -> (B, E): the final-norm hidden state at the last prompt position."""
        parts = [torch.cat([self._before, c.to(self._before.dtype), self._after]) for c in contents]
        lengths = torch.tensor([len(p) for p in parts])
        padded = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)  # right padding: causal, so it is not seen
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        out = self.llm.model(inputs_embeds=padded, attention_mask=mask.long(), use_cache=False).last_hidden_state
        return out[torch.arange(len(parts)), lengths - 1]  # type: ignore[no-any-return]

    def first_token(self, states: Tensor) -> Tensor:
        """Last states (B, E) -> (B,): the likeliest first token of the answer."""
        return self.llm.get_output_embeddings()(states).argmax(-1)  # type: ignore[no-any-return]


def evaluate(connector: model.Connector, clips: Clips, frozen: Frozen, dev: list[int], both: bool) -> dict[str, float]:
    """On held-out texts: alignment loss and nearest-token accuracy (%); with `both` also the distillation loss, and how
    often (%) the LLM would begin its answer to the speech with the token that it begins its answer to the text with."""
    total, hits, count, distance, agree = 0.0, 0, 0, 0.0, 0
    connector.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(dev), 32):
            chosen = dev[start : start + 32]
            virtual = connector(*clips.batch(chosen))
            ids = [torch.tensor(clips.tokens[i]) for i in chosen]
            targets = [frozen.embeddings[i] for i in ids]
            hit, n = losses.nearest_token_hits(virtual, ids, frozen.embeddings)
            total += float(losses.token_alignment(virtual, targets)) * n
            hits, count = hits + hit, count + n
            if both:
                student, teacher = frozen.last_state(list(virtual)), frozen.last_state(targets)
                distance += float(losses.output_distillation(student, teacher)) * len(chosen)
                agree += int((frozen.first_token(student) == frozen.first_token(teacher)).sum())
    connector.train()
    found = {"dev_align": total / count, "dev_nearest": 100.0 * hits / count}
    if both:
        found |= {"dev_distill": distance / len(dev), "dev_first_token": 100.0 * agree / len(dev)}
    return found


@dataclass(frozen=True, slots=True)
class Run:
    """What stays the same from the first step to the last."""

    config: TrainConfig
    folder: Path
    """Of the training data."""
    output: Path
    about: dict[str, dict[str, str]]
    """`encoder` and `llm`: their names and fingerprints."""
    connector: model.Connector
    clips: Clips
    frozen: Frozen
    train: list[int]
    dev: list[int]
    scale: dict[str, float]
    """Mean length of each loss's targets."""


def losses_of(run: Run, chosen: list[int], both: bool) -> tuple[Tensor, dict[str, float]]:
    """The loss of one batch. Each loss is divided by the typical length of its target, so that 1 : 1 means something:
    an LLM's embeddings and its final states differ in length by two orders of magnitude."""
    ids = [torch.tensor(run.clips.tokens[i]) for i in chosen]
    targets = [run.frozen.embeddings[i] for i in ids]
    with torch.autocast("cpu", torch.bfloat16):
        virtual = run.connector(*run.clips.batch(chosen))
        align = losses.token_alignment(virtual, targets)
        loss, seen = align / run.scale["align"], {"align": float(align.detach())}
        if both:
            with torch.no_grad():
                teacher = run.frozen.last_state(targets)
            distill = losses.output_distillation(run.frozen.last_state(list(virtual)), teacher)
            loss, seen["distill"] = loss + distill / run.scale["distill"], float(distill.detach())
    if not math.isfinite(seen["align"] + seen.get("distill", 0.0)):
        raise FloatingPointError(f"the loss is {seen} on clips {chosen}")
    return loss, seen


def build_optimiser(connector: model.Connector, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (paper: b1 .9, b2 .999, decay .1), with a smaller learning rate for the projection.

    Adam moves every weight by about the learning rate, whatever its size. Whisper's last LayerNorm is large (|h| about
    210) and an LLM's embeddings are small (0.7 for Qwen 1.5B), so projection weights are some 1e-4: a step of 5e-4 on
    each would move a virtual token by many times its own length. Its rate is scaled to the size of its weights instead.
    """
    ahead = [p for n, p in connector.named_parameters() if n.startswith("projection.")]
    rest = [p for n, p in connector.named_parameters() if not n.startswith("projection.")]
    size = float(connector.projection.weight.detach().square().mean().sqrt())
    usual = float(connector.get_parameter("layers.0.fc1.weight").detach().square().mean().sqrt())
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay, "factor": 1.0},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0, "factor": 1.0},
        {"params": ahead, "weight_decay": 0.0, "factor": config.projection_boost * size / usual},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=True)


def prepare(
    config: TrainConfig,
    *,
    whisper_dir: Path,
    llm_dir: Path,
    names: tuple[str, str],
    folder: Path,
    output: Path,
    progress: Progress,
) -> Run:
    """Load what is frozen, encode what was not encoded yet, and start the connector from Whisper's decoder.

    `names`: of Whisper and the LLM, for the record.
    """
    torch.manual_seed(config.seed)
    output.mkdir(parents=True, exist_ok=True)
    whisper, frozen = Whisper.load(whisper_dir, "cpu", "bfloat16"), Frozen(llm_dir)
    prints = checkpoint.fingerprint(whisper), checkpoint.fingerprint(frozen.embeddings)
    encoder, llm = ({"weights": n, "fingerprint": f} for n, f in zip(names, prints, strict=True))
    about = {"encoder": {**encoder, "window": "the clip's own length"}, "llm": llm}
    clips = data.prepare(
        folder,
        whisper,
        frozen.tokenizer,
        made_of=about,
        queries=config.queries,
        max_seconds=config.max_seconds,
        held_out=config.held_out,
        cache=output.parent / "cache",
        progress=progress,
    )
    train_set = [int(i) for i in (~clips.dev).nonzero()[0]]
    dev_set = [int(i) for i in clips.dev.nonzero()[0]]
    progress.note(f"{len(train_set)} clips to train on, {len(dev_set)} held out, skipped {clips.skipped or 'none'}")
    connector = model.from_whisper(whisper, config.queries, config.layers, frozen.embeddings.shape[1])
    vocabularies = whisper._tokenizer.get_vocab(), frozen.tokenizer.get_vocab()
    shared = model.warm_projection(connector, whisper, *vocabularies, llm_embeddings=frozen.embeddings)
    with torch.no_grad():
        some = [frozen.embeddings[clips.tokens[i]] for i in train_set[:8]]
        scale = {
            "align": float(torch.cat(some).float().norm(dim=-1).mean()),
            "distill": float(frozen.last_state(some).float().norm(dim=-1).mean()),
        }
    progress.note(f"the projection starts from {shared} shared tokens; target lengths {scale}")
    return Run(config, folder, output, about, connector, clips, frozen, train_set, dev_set, scale)


def train(run: Run, progress: Progress) -> None:
    """The loop. Every 25 steps a line, every `evaluate_every` a look at the held-out texts, every `save_every` a
    checkpoint; the connector is stored at the end (of a run that was stopped: `--steps` of its last checkpoint)."""
    config, connector = run.config, run.connector
    optimiser = build_optimiser(connector, config)
    step, spent, log, mean = _resume(run.output, connector, optimiser)
    connector.train()
    began = mark = time.time()
    marked = step
    while step < config.steps:
        for group in optimiser.param_groups:
            group["lr"] = schedule(step, config) * group["factor"]
        chosen = batch_of(step, run.clips, run.train, config)
        loss, seen = losses_of(run, chosen, both=step >= config.align_steps)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(connector.parameters(), config.clip)
        optimiser.step()
        step += 1
        mean = {k: 0.95 * mean.get(k, v) + 0.05 * v for k, v in seen.items()}
        # also at the end of alignment, to tell what both losses add
        evaluated = step % config.evaluate_every == 0 or step in (config.align_steps, config.steps)
        if step % 25 == 0 or evaluated:
            row: dict[str, Any] = {"step": step, **{k: round(v, 4) for k, v in mean.items()}}
            row["s_per_step"] = round((time.time() - mark) / (step - marked), 3)
            if evaluated:
                both = config.align_steps <= step and config.align_steps < config.steps
                found = evaluate(connector, run.clips, run.frozen, run.dev, both)
                row |= {k: round(v, 4) for k, v in found.items()}
            log.append(row)
            _write_log(run.output, log)
            progress.note(" ".join(f"{k}={v}" for k, v in row.items()))
            mark, marked = time.time(), step
        seconds = spent + time.time() - began
        if step % config.save_every == 0 or step == config.steps:
            _save(run.output, connector, optimiser, step=step, spent=seconds, log=log, mean=mean)
    export(run, step, spent + time.time() - began, log)


def export(run: Run, step: int, seconds: float, log: list[dict[str, Any]]) -> None:
    """Store the connector as it ships, and measure what the storage format costs."""
    config, target = run.config, run.output / "export"
    where = provenance.collect([])
    both = step > config.align_steps
    last = {k: v for k, v in log[-1].items() if k.startswith("dev_")} if log else {}
    record: dict[str, Any] = {
        "losses": "token alignment, then both" if both else "token alignment",
        "config": asdict(config),
        "steps": step,
        "examples": min(step, config.align_steps) * config.batch
        + max(0, step - config.align_steps) * config.both_batch,
        "audio_hours_unique": round(run.clips.seconds / 3600, 2),
        "clips": len(run.train),
        "clips_held_out": len(run.dev),
        "skipped": run.clips.skipped,
        "seconds": round(seconds),
        "device": f"{where['machine']['processor']}, {torch.get_num_threads()} threads",
        "versions": where["versions"],
        "git": where["git"],
        "dtype": "float32 weights, bfloat16 autocast; frozen parts bfloat16",
        "data": data.hashes(run.folder),
        "curve": log,
        "dev_float32": last or evaluate(run.connector, run.clips, run.frozen, run.dev, both),
    }
    checkpoint.save(run.connector, target, run.about, record)
    stored = evaluate(checkpoint.load(target), run.clips, run.frozen, run.dev, both)
    record["dev_stored"] = {k: round(v, 4) for k, v in stored.items()}
    checkpoint.save(run.connector, target, run.about, record)


def _write_log(output: Path, log: list[dict[str, Any]]) -> None:
    """The whole of it: what a killed run wrote after its last checkpoint is not said twice."""
    aside = output / "metrics.tmp"
    aside.write_text("".join(json.dumps(row) + "\n" for row in log), encoding="utf-8")
    aside.replace(output / "metrics.jsonl")


def _save(output: Path, connector: model.Connector, optimiser: Any, **rest: Any) -> None:
    """`rest`: step, spent, log, mean."""
    aside = output / "resume.tmp"
    torch.save({"connector": connector.state_dict(), "optimiser": optimiser.state_dict(), **rest}, aside)
    aside.replace(output / "resume.pt")  # whole or not at all: a kill leaves the last checkpoint


def _resume(
    output: Path, connector: model.Connector, optimiser: Any
) -> tuple[int, float, list[dict[str, Any]], dict[str, float]]:
    """(steps done, seconds spent, log, running means of the losses)."""
    path = output / "resume.pt"
    if not path.exists():
        return 0, 0.0, [], {}
    state = torch.load(path, weights_only=True)
    connector.load_state_dict(state["connector"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"], state["spent"], state["log"], state["mean"]
