"""Train a DiVA connector from transcripts alone: token alignment first, then both losses (arXiv 2410.02678).

    python -m diva_bench.training.train --preset nano --data DIR --output DIR

The encoder runs once per clip (training/data.py); the LLM is not run while only its embeddings are matched. One script,
read top to bottom. Killed and started again it goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diva_bench.decoding.whisper import Whisper
from diva_bench.diva import checkpoint, losses, model
from diva_bench.diva.config import PRESETS, TrainConfig
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

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.llm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval().requires_grad_(False)
        self.embeddings: Tensor = self.llm.get_input_embeddings().weight  # (V, E)
        mark = "DIVABENCHMARK"
        turn = [{"role": "user", "content": mark}]
        text = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
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


def evaluate(connector: model.Connector, clips: Clips, frozen: Frozen, dev: list[int]) -> dict[str, float]:
    """Alignment loss and nearest-token accuracy (%) on held-out texts."""
    total, hits, count = 0.0, 0, 0
    connector.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(dev), 32):
            chosen = dev[start : start + 32]
            virtual = connector(*clips.batch(chosen))
            ids = [torch.tensor(clips.tokens[i]) for i in chosen]
            hit, n = losses.nearest_token_hits(virtual, ids, frozen.embeddings)
            total += float(losses.token_alignment(virtual, [frozen.embeddings[i] for i in ids])) * n
            hits, count = hits + hit, count + n
    connector.train()
    return {"dev_align": total / count, "dev_nearest": 100.0 * hits / count}


def train_step(connector: model.Connector, clips: Clips, chosen: list[int], frozen: Frozen, both: bool, scale: dict[str, float]) -> tuple[Tensor, dict[str, float]]:
    """The loss of one batch. Each loss is divided by the typical length of its target, so that 1 : 1 means something:
    an LLM's embeddings and its final states differ in length by two orders of magnitude."""
    ids = [torch.tensor(clips.tokens[i]) for i in chosen]
    targets = [frozen.embeddings[i] for i in ids]
    with torch.autocast("cpu", torch.bfloat16):
        virtual = connector(*clips.batch(chosen))
        align = losses.token_alignment(virtual, targets)
        loss, seen = align / scale["align"], {"align": float(align.detach())}
        if both:
            with torch.no_grad():
                teacher = frozen.last_state(targets)
            distill = losses.output_distillation(frozen.last_state(list(virtual)), teacher)
            loss, seen["distill"] = loss + distill / scale["distill"], float(distill.detach())
    return loss, seen


def build_optimiser(connector: model.Connector, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (paper: b1 .9, b2 .999, decay .1), with a smaller learning rate for the projection.

    Adam moves every weight by about the learning rate, whatever its size. Whisper's last LayerNorm is large (|h| about
    210) and an LLM's embeddings are small (0.7 for Qwen 1.5B), so projection weights are some 1e-4: one step of 5e-4 on each
    would move a virtual token by many times its own length. Its rate is scaled to the size of its weights instead.
    """
    ahead = [p for n, p in connector.named_parameters() if n.startswith("projection.")]
    rest = [p for n, p in connector.named_parameters() if not n.startswith("projection.")]
    size = float(connector.projection.weight.detach().square().mean().sqrt())
    usual = float(connector.layers[0].fc1.weight.detach().square().mean().sqrt())
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay, "factor": 1.0},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0, "factor": 1.0},
        {"params": ahead, "weight_decay": 0.0, "factor": config.projection_boost * size / usual},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=True)


def train(config: TrainConfig, preset: str, whisper_dir: Path, llm_dir: Path, folder: Path, output: Path, progress: Progress) -> None:
    torch.manual_seed(config.seed)
    output.mkdir(parents=True, exist_ok=True)
    whisper = Whisper.load(whisper_dir, "cpu", "bfloat16")
    frozen = Frozen(llm_dir)
    clips = data.prepare(
        folder, whisper, frozen.tokenizer, queries=config.queries, max_seconds=config.max_seconds,
        held_out=config.held_out, cache=output.parent / "cache", progress=progress,
    )
    train_set = [int(i) for i in (~clips.dev).nonzero()[0]]
    dev_set = [int(i) for i in clips.dev.nonzero()[0]]
    progress.note(f"{len(train_set)} clips to train on, {len(dev_set)} held out, skipped {clips.skipped or 'none'}")

    connector = model.from_whisper(whisper, config.queries, config.layers, frozen.embeddings.shape[1])
    shared = model.warm_projection(
        connector, whisper, whisper._tokenizer.get_vocab(), frozen.tokenizer.get_vocab(), frozen.embeddings
    )
    with torch.no_grad():
        some = [frozen.embeddings[clips.tokens[i]] for i in train_set[:8]]
        scale = {
            "align": float(torch.cat(some).float().norm(dim=-1).mean()),
            "distill": float(frozen.last_state(some).float().norm(dim=-1).mean()),
        }
    optimiser = build_optimiser(connector, config)
    step, spent, log = _resume(output, connector, optimiser)
    progress.note(f"projection starts from {shared} shared tokens; scales {scale}; from step {step}")
    connector.train()
    began, mark, mean = time.time() - spent, time.time(), {}  # type: ignore[var-annotated]
    while step < config.steps:
        both = step >= config.align_steps
        for group in optimiser.param_groups:
            group["lr"] = schedule(step, config) * group["factor"]
        loss, seen = train_step(connector, clips, batch_of(step, clips, train_set, config), frozen, both, scale)
        if not math.isfinite(float(loss.detach())):
            raise FloatingPointError(f"step {step}: the loss is {float(loss.detach())}; clips {batch_of(step, clips, train_set, config)}")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(connector.parameters(), config.clip)
        optimiser.step()
        step += 1
        mean = {k: 0.95 * mean.get(k, v) + 0.05 * v for k, v in seen.items()}
        if step % 25 == 0:
            rate = (time.time() - mark) / 25
            mark = time.time()
            row: dict[str, Any] = {"step": step, **{k: round(v, 4) for k, v in mean.items()}, "s_per_step": round(rate, 3)}
            if step % config.evaluate_every == 0:
                row |= {k: round(v, 4) for k, v in evaluate(connector, clips, frozen, dev_set).items()}
            log.append(row)
            with (output / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            progress.note(" ".join(f"{k}={v}" for k, v in row.items()))
        if step % config.save_every == 0 or step == config.steps:
            _save(output, connector, optimiser, step, time.time() - began, log)
            mark = time.time()
        if step % config.evaluate_every == 0 and step < config.steps:  # something to use, should this run be killed
            export(config, preset, connector, clips, frozen, dev_set, folder, output, time.time() - began, step, log)
            connector.train()
            mark = time.time()
    export(config, preset, connector, clips, frozen, dev_set, folder, output, time.time() - began, step, log)


def export(config: TrainConfig, preset: str, connector: model.Connector, clips: Clips, frozen: Frozen, dev: list[int], folder: Path, output: Path, spent: float, step: int, log: list[dict[str, Any]]) -> None:  # fmt: skip
    """Store the connector as it ships, and measure what the storage format costs."""
    before = evaluate(connector, clips, frozen, dev)
    whisper_name, llm_name = WEIGHTS[preset]
    record = {
        "preset": preset,
        "config": asdict(config),
        "steps": step,
        "examples": min(step, config.align_steps) * config.batch + max(0, step - config.align_steps) * config.both_batch,
        "audio_hours_unique": round(clips.seconds / 3600, 2),
        "clips": len(clips.tokens),
        "skipped": clips.skipped,
        "seconds": round(spent),
        "device": "CPU, 2 cores",
        "data": data.hashes(folder),
        "dev_float32": before,
        "curve": [row for row in log if "dev_align" in row],
    }
    target = output / "export"
    checkpoint.save(connector, target, {"whisper": whisper_name, "llm": llm_name}, record)
    record["dev_stored"] = evaluate(checkpoint.load(target), clips, frozen, dev)
    checkpoint.save(connector, target, {"whisper": whisper_name, "llm": llm_name}, record)


def _save(output: Path, connector: model.Connector, optimiser: Any, step: int, spent: float, log: list[Any]) -> None:
    aside = output / "resume.tmp"
    state = {"connector": connector.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "spent": spent, "log": log}
    torch.save(state, aside)
    aside.replace(output / "resume.pt")


def _resume(output: Path, connector: model.Connector, optimiser: Any) -> tuple[int, float, list[Any]]:
    path = output / "resume.pt"
    if not path.exists():
        return 0, 0.0, []
    state = torch.load(path, weights_only=True)
    connector.load_state_dict(state["connector"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"], state["spent"], state["log"]


def _parse() -> Iterator[Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of train-*.parquet")
    parser.add_argument("--whisper", type=Path, required=True, help="converted Whisper")
    parser.add_argument("--llm", type=Path, required=True, help="converted LLM")
    parser.add_argument("--output", type=Path, required=True)
    for name in ("steps", "align-steps", "batch", "both-batch"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("lr", "both-lr"):
        parser.add_argument(f"--{name}", type=float)
    yield parser.parse_args()


def main() -> None:
    from diva_bench.cli.progress import Terminal

    args = next(_parse())
    names = ("steps", "align_steps", "batch", "both_batch", "lr", "both_lr")
    changes = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    train(replace(PRESETS[args.preset](), **changes), args.preset, args.whisper, args.llm, args.data, args.output, Terminal())


if __name__ == "__main__":
    main()
