"""Train a DiVA connector from transcripts alone (arXiv 2410.02678): token alignment and output distillation.

    diva-bench train --preset nano --data DIR --output DIR
    torchrun --nproc-per-node N -m diva_bench train ...     several GPUs or nodes: every process takes its share of a batch
                                                            (as with accelerate launch --multi_gpu --num_processes N)

First run.prepare_training() runs the frozen models once, then train() is the loop. After a kill, the same command
resumes from the last checkpoint and ends with the same bits.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diva_bench import provenance
from diva_bench.decoding import memory
from diva_bench.diva import losses
from diva_bench.diva.config import TrainConfig
from diva_bench.diva.model import AnyConnector
from diva_bench.diva.reading import contents
from diva_bench.errors import UserError
from diva_bench.specs import digest
from diva_bench.training import evaluate, export, state
from diva_bench.training.batch import Ahead, Batch, complete, read_step
from diva_bench.training.frozen import Frozen
from diva_bench.training.meter import Meter
from diva_bench.training.run import TrainingRun
from diva_bench.types import Progress

_RELEASE_EVERY = 10  # steps
# ---------------------------------------------------------------- one step


def schedule(step: int, config: TrainConfig) -> float:
    """Learning rate of a step: linear warm-up, then decay; once for alignment only, and once for the rest."""
    if step < config.align_steps:
        at, length, peak = step, config.align_steps, config.lr
    else:
        at, length = step - config.align_steps, config.steps - config.align_steps
        peak = config.both_lr if config.distill or config.align_steps else config.lr
    if at < config.warmup:
        return peak * (at + 1) / config.warmup
    done = (at - config.warmup) / max(1, length - config.warmup)
    if config.schedule == "constant":
        return peak
    return peak * (1 - done if config.schedule == "linear" else 0.55 + 0.45 * math.cos(math.pi * done))


@dataclass(frozen=True, slots=True)
class Student:
    """The trained side: `trained` in the form that is called (compiled, or shared by several processes), its connector,
    and the frozen LLM that reads the virtual tokens."""

    trained: nn.Module
    connector: AnyConnector
    frozen: Frozen


def losses_of(
    batch: Batch, student: Student, config: TrainConfig, scale: Mapping[str, float]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The contribution of a batch to the loss of the step, and its sums. It depends only on its arguments.

    Every sum is divided by the count of the whole step (`batch.whole`), so that parts and processes add up to the same
    gradient. `scale`: mean length of each loss's targets, see `TrainingRun.scale`.
    """
    frozen = student.frozen
    virtual, counts = student.trained(batch.states, batch.mask)
    loss, sums = alignment(virtual, counts, batch, student, config, scale)
    if batch.teacher is not None:
        inputs, _ = contents(student.connector, virtual, counts, frozen.llm.embeddings)
        states = torch.cat(frozen.student_states(inputs, batch.answers, batch.frame))
        away = distillation(states, batch.teacher, frozen, config)
        loss = loss + away * (config.distill / (batch.whole.positions * scale["distill"]))
        sums["distill"] = away.detach() / batch.whole.positions
    return loss, sums


def alignment(
    virtual: Tensor, counts: Tensor, batch: Batch, student: Student, config: TrainConfig, scale: Mapping[str, float]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The contribution of a batch to the alignment loss of the step, and its sums. Row b of virtual (B, Q, E) has
    counts[b] real tokens."""
    frozen, vocabulary = student.frozen, student.connector.vocabulary
    if config.queries == "time" and config.alignment != "ctc":
        return (
            virtual.sum() * 0.0,
            {},
        )  # only distillation: nothing determines which virtual token stands for which word
    tokens, ids = batch.whole.tokens, batch.tokens
    if config.alignment == "l2":
        distance, _ = losses.token_alignment(virtual, [frozen.targets(i) for i in ids], config.aligned)
        loss, sums = distance * (config.align / (tokens * scale["align"])), {"align": distance.detach() / tokens}
    else:
        assert vocabulary is not None
        assert batch.candidates is not None
        targets = [torch.tensor(i, device=virtual.device) for i in ids]
        if config.alignment == "ctc":
            nats, away, _ = losses.ctc_alignment(
                virtual, counts, targets, frozen.llm.embeddings, vocabulary, batch.candidates
            )
        else:
            nats, away, _ = losses.token_entropy(
                virtual, targets, frozen.llm.embeddings, vocabulary, batch.candidates, config.aligned
            )
        pulled = away / (tokens * scale["pull"])
        loss = nats * (config.align / tokens) + pulled * (config.align * config.pull)
        sums = {"align": nats.detach() / tokens, "pull": pulled.detach()}
    if config.pad:
        away, _ = losses.free_tokens(virtual, [len(i) for i in ids], frozen.neutral, config.aligned)
        free = virtual.shape[1] * batch.whole.clips - tokens
        loss = loss + away * (config.pad / (max(1, free) * scale["align"]))
        sums["pad"] = away.detach() / max(1, free)
    return loss, sums


def distillation(student: Tensor, teacher: Tensor, frozen: Frozen, config: TrainConfig) -> Tensor:
    """The sum over states (M, E)."""
    if config.distillation == "kl":
        return losses.kl_divergence(student, teacher, frozen.logits, config.temperature)[0]
    return losses.state_distance(student, teacher)[0]


def build_optimiser(trained: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (paper: b1 .9, b2 .999, decay .1), with a smaller learning rate for the projection.

    Adam changes every weight by about the learning rate, whatever its size. Whisper's last LayerNorm is large (|h|
    about 210) and an LLM's embeddings are small (0.7 for Qwen 1.5B), so projection weights are about 1e-4: a step of
    5e-4 would change a virtual token by many times its length. So the rate of the projection is scaled to the size of
    its weights.
    """
    named = dict(trained.named_parameters())
    ahead = {n: p for n, p in named.items() if "projection." in n}
    rest = {n: p for n, p in named.items() if n not in ahead}
    factor = 1.0
    if config.projection_boost is not None:
        size = _rms(next(p for n, p in ahead.items() if n.endswith("weight")))
        factor = config.projection_boost * size / _rms(next(p for n, p in rest.items() if n.endswith("fc1.weight")))
    groups = [
        {"params": [p for p in rest.values() if p.ndim > 1], "weight_decay": config.weight_decay, "factor": 1.0},
        {"params": [p for p in rest.values() if p.ndim <= 1], "weight_decay": 0.0, "factor": 1.0},
        *_ahead(ahead, factor, config),
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=True)


def _ahead(named: dict[str, nn.Parameter], factor: float, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameter groups of the projection. With its own rate it has no decay, because its weights are as small as its
    targets require."""
    if config.projection_boost is not None:
        return [{"params": list(named.values()), "weight_decay": 0.0, "factor": factor}]
    decays = {True: config.weight_decay, False: 0.0}
    return [
        {"params": [p for p in named.values() if (p.ndim > 1) is matrix], "weight_decay": decay, "factor": 1.0}
        for matrix, decay in decays.items()
    ]


def _rms(weight: Tensor) -> float:
    return float(weight.detach().float().square().mean().sqrt())


def update(
    run: TrainingRun, trained: nn.Module, optimiser: torch.optim.Optimizer, step: int, ahead: Ahead | None = None
) -> tuple[dict[str, float], list[int]]:
    """One step: every process takes its share of the batch, in `accumulate` parts.

    Args:
        ahead: Has read the batch already.

    Returns:
        The losses, and the clips of the whole batch.

    Raises:
        UserError: A loss is not finite. The weights were not changed.
    """
    config, accelerator = run.config, run.accelerator
    whole, parts = ahead.take(step) if ahead else read_step(run, step)
    student = Student(trained, run.trained.connector, run.frozen)
    for group in optimiser.param_groups:
        group["lr"] = schedule(step, config) * group["factor"]
    optimiser.zero_grad()
    total: dict[str, Tensor] = {}
    for k, part in enumerate(parts):
        last = k == len(parts) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(trained):
            batch = complete(run, part)
            with run.autocast():
                loss, sums = losses_of(batch, student, config, run.scale)
            # data parallel training averages gradients over processes; ours are parts of one sum
            (loss * accelerator.num_processes).backward()
        total = {name: total.get(name, 0.0) + value for name, value in sums.items()}
    if accelerator.num_processes > 1:
        total = {name: accelerator.reduce(value.float(), "sum") for name, value in total.items()}
    loss_values = {name: float(value) for name, value in total.items()}
    norm = nn.utils.clip_grad_norm_(trained.parameters(), config.clip)
    if not math.isfinite(sum(loss_values.values()) + float(norm)):
        names = ", ".join(run.clips.items[i].id for i in whole)
        raise UserError(
            f"step {step + 1}: the loss is not finite ({loss_values}, gradient {float(norm):.3g}) on clips {names}. The last "
            f"checkpoint in {run.output} is kept; lower the learning rate (--set lr=X), or remove these clips."
        )
    optimiser.step()
    return loss_values, whole


# ---------------------------------------------------------------- the loop


def train(run: TrainingRun, progress: Progress, tasks: evaluate.TaskSet | None = None) -> None:
    """The training loop: every 25 steps a row in metrics.jsonl, every `evaluate_every` steps an evaluation on held-out
    texts (and `tasks`), every `save_every` steps a checkpoint; at the end the connector is stored."""
    config, accelerator = run.config, run.accelerator
    if len(run.clips.train) < accelerator.num_processes:
        raise UserError(
            f"{', '.join(run.sources)}: {len(run.clips.train)} clips to train on for {accelerator.num_processes} process(es); "
            f"{len(run.clips.dev)} are held out: change `held_out` (--set held_out=X), or give more data."
        )
    optimiser = build_optimiser(run.trained, config)
    facts = state.load(run.output, run.trained, optimiser, _decides(run)) or {}
    if facts.get("step", 0) > config.steps:
        raise UserError(
            f"{run.output}: {facts['step']} steps were trained here, more than the {config.steps} asked for."
        )
    step, log, mean = facts.get("step", 0), facts.get("log", []), facts.get("mean", {})
    meter = Meter(run, facts.get("compute"))
    where = facts.get("where") or {k: v for k, v in provenance.collect("").items() if k in ("versions", "git")}
    ready: Any = torch.compile(run.trained, dynamic=True) if config.compile else run.trained
    ready = accelerator.prepare_model(ready) if accelerator.num_processes > 1 else ready
    run.trained.train()
    with progress.bar("training", config.steps, "steps", step) as bar, Ahead(run) as ahead:
        while step < config.steps:
            began = time.perf_counter()
            loss_values, whole = update(run, ready, optimiser, step, ahead)
            meter.step(step, whole, time.perf_counter() - began)
            step += 1
            mean = {k: 0.95 * mean.get(k, v) + 0.05 * v for k, v in loss_values.items()}
            losses_now = {k: round(v, 4) for k, v in mean.items()}
            lr = schedule(step - 1, config)
            bar.advance(1, " ".join(f"{k} {v:.4g}" for k, v in losses_now.items()) + f" lr {lr:.2g} {meter.speed:.0f}x")
            # also at the end of alignment, to see the effect of both losses
            looked = step % config.evaluate_every == 0 or step in (config.align_steps, config.steps)
            if step % _RELEASE_EVERY == 0:
                memory.release()
            if (step % config.log_every == 0 or looked) and accelerator.is_main_process:
                row: dict[str, Any] = {"step": step, **losses_now, "lr": lr, **meter.row()}
                row |= evaluate.all_of(run, tasks) if looked else {}
                log.append(row)
                state.write_log(run.output, log)
                accelerator.log({k: v for k, v in row.items() if k != "step"}, step=step)
                if looked:
                    progress.note(" ".join(f"{k}={v}" for k, v in row.items()))
            if (step % config.save_every == 0 or step == config.steps) and accelerator.is_main_process:
                held = {"step": step, "log": log, "mean": mean, "compute": meter.ledger.to_json()}
                held |= {"config": _decides(run), "where": where}
                state.save(run.output, run.trained, optimiser, held)
            accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        export.export(run, log, meter, where)
    accelerator.end_training()


def _decides(run: TrainingRun) -> dict[str, Any]:
    """Settings and clips that a resumed run must share with its checkpoint. More steps are allowed, so that a run can be
    extended."""
    free = (
        "steps",
        "log_every",
        "evaluate_every",
        "evaluate_clips",
        "save_every",
        "accumulate",
        "checkpointing",
        "compile",
    )
    settings = {name: value for name, value in asdict(run.config).items() if name not in (*free, "start_from")}
    if run.config.align_steps == run.config.steps:  # a longer run of only alignment has more of these too
        settings["align_steps"] = "all"
    models = {f"{part} weights": record["fingerprint"] for part, record in run.about.items()}
    return {**settings, **models, "clips": digest([[clip.key, clip.tokens] for clip in run.clips.items])[:16]}
