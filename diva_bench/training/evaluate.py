"""How good a connector is: on clips with transcripts, and, while it trains, on a few samples of real tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from diva_bench import audio, prompt, stats
from diva_bench.adapters.diva import Diva
from diva_bench.diva import losses
from diva_bench.diva.model import AnyConnector
from diva_bench.scorers import cleaned
from diva_bench.specs import TaskSpec
from diva_bench.training.run import Run, text_key
from diva_bench.types import Floats, Request, Sample, Scorer

_BATCH = 32


@dataclass(frozen=True)
class TaskSet:
    """Some samples of some tasks: (task, its scorers, samples)."""

    tasks: Sequence[tuple[TaskSpec, dict[str, Scorer], Sequence[Sample]]]


def all_of(run: Run, tasks: TaskSet | None) -> dict[str, float]:
    """For metrics.jsonl: scores on the held-out clips, and with tasks their primary metrics."""
    found = {f"dev_{name}": value for name, value in dev_scores(run, run.trained.connector).items()}
    return found | (task_scores(run, tasks) if tasks else {})


def dev_scores(run: Run, connector: AnyConnector) -> dict[str, float]:
    """On the held-out clips; see `reduce`. Empty where there are none."""
    rows = clip_rows(run, connector, looked_at(run))
    return {k: round(float(v), 4) for k, v in reduce(stats.totals(rows)).items()} if rows else {}


def looked_at(run: Run) -> list[int]:
    """The held-out clips, or every so-manieth of them where there are very many."""
    held = run.clips.dev
    return held[:: max(1, -(-len(held) // run.config.evaluate_clips))]


def reduce(totals: Mapping[str, Floats]) -> dict[str, Floats]:
    """Scores from summed rows: align, alignment loss; nearest, % of virtual tokens nearest to the token they were aligned
    with; distill, distance of the last hidden states; kl, nats; first_token, % of clips where the LLM would begin its
    answer to the speech with the token that it begins its answer to the text with."""
    clips, tokens = totals["clips"], totals["tokens"]
    return {
        "align": stats.ratio(totals["align"], tokens),
        "nearest": 100 * stats.ratio(totals["hits"], tokens),
        "distill": stats.ratio(totals["distill"], clips),
        "kl": stats.ratio(totals["kl"], clips),
        "first_token": 100 * stats.ratio(totals["agree"], clips),
    }


@torch.no_grad()
def constant_scores(run: Run, chosen: Sequence[int]) -> dict[str, float]:
    """What a connector would score that says the same for every clip: `first_token` of the teacher's commonest first
    token, `kl` of its mean distribution. A score that does not beat these has heard nothing that matters."""
    firsts = [run.taught[text_key(run.clips.items[i].tokens)][0].astype(np.float32) for i in chosen]
    counts: dict[int, int] = {}
    total, entropy = torch.zeros(len(run.frozen.output), device=run.device), 0.0
    for start in range(0, len(firsts), _BATCH):
        states = torch.from_numpy(np.stack(firsts[start : start + _BATCH])).to(run.frozen.output)
        logs = torch.log_softmax((states @ run.frozen.output.T).float(), -1)  # (B, V)
        total += logs.exp().sum(0)
        entropy -= float((logs.exp() * logs).sum())
        for token in logs.argmax(-1).tolist():
            counts[token] = counts.get(token, 0) + 1
    mean = total / len(firsts)
    # mean over clips of KL(p_i || mean) = entropy of the mean - mean entropy
    kl = float(-(mean * mean.clamp(min=1e-30).log()).sum()) - entropy / len(firsts)
    return {"first_token": round(100 * max(counts.values()) / len(firsts), 4), "kl": round(kl, 4)}


@torch.no_grad()
def clip_rows(run: Run, connector: AnyConnector, chosen: Sequence[int]) -> list[dict[str, float]]:
    """One row of additive statistics per clip, in the order of `chosen`: what `reduce` takes."""
    order = sorted(chosen, key=lambda i: (int(run.clips.lengths[i]), i))
    rows: dict[int, dict[str, float]] = {}
    was = connector.training
    connector.eval()
    for start in range(0, len(order), _BATCH):
        part = order[start : start + _BATCH]
        with run.autocast():
            heard, mask = run.hear(part)
            if run.trained.encoder is not None:
                heard = run.trained.encoder(heard, mask)
            rows |= zip(part, _rows(run, connector(heard, mask), part), strict=True)
    connector.train(was)
    return [rows[i] for i in chosen]


def _rows(run: Run, virtual: torch.Tensor, part: Sequence[int]) -> list[dict[str, float]]:
    """virtual (B, Q, E) of the clips in `part`."""
    side, embeddings = run.config.aligned, run.frozen.llm.embeddings
    answers = run.answers(part)
    student, teacher = run.frozen.study(virtual, answers), run.teacher(part)
    ids = [run.frozen.shifted(run.clips.items[i].tokens, run.config.shift) for i in part]
    found = [losses.aligned(virtual, b, len(row), side) for b, row in enumerate(ids)]
    nearest = torch.split(losses.nearest_tokens(torch.cat(found), embeddings), [len(row) for row in ids])
    # the states that predict the first token of the answer, whatever follows was distilled too
    firsts = torch.tensor([0, *[1 + len(a) for a in answers[:-1]]], device=run.device).cumsum(0)
    ours, theirs = torch.stack([states[0] for states in student]), teacher[firsts].to(student[0].dtype)
    found_p, wanted_p = (torch.log_softmax((s @ run.frozen.output.T).float(), -1) for s in (ours, theirs))  # (B, V)
    kl = (wanted_p.exp() * (wanted_p - found_p)).sum(-1)
    agree = found_p.argmax(-1) == wanted_p.argmax(-1)
    distances = (ours - theirs).float().norm(dim=-1)
    rows = []
    for b in range(len(part)):
        wanted = torch.tensor(ids[b], device=run.device)
        rows.append(
            {
                "clips": 1.0,
                "tokens": float(len(wanted)),
                "align": float((found[b] - embeddings[wanted]).float().norm(dim=-1).sum()),
                "hits": float((nearest[b] == wanted).sum()),
                "distill": float(distances[b]),
                "kl": float(kl[b]),
                "agree": float(agree[b]),
            }
        )
    return rows


def task_scores(run: Run, tasks: TaskSet) -> dict[str, float]:
    """{task}_{metric}: the primary metric on the task's few samples that have audio; {task}_failed: how many of them
    failed and are not in it, where any did."""
    adapter = Diva.of(run.whisper, run.frozen.llm, run.trained.connector, full=run.config.window_seconds is not None)
    found: dict[str, float] = {}
    for task, scorers, samples in tasks.tasks:
        pairs: list[tuple[Sample, Request]] = [
            (s, prompt.build(task, s, adapter.accepts, audio=audio.decode(s.read()), prior=None, seed=0))
            for s in samples
            if s.read is not None
        ]
        requests = [request for _, request in pairs]
        with run.autocast():
            answers = [r for k in range(0, len(requests), 8) for r in adapter.generate(requests[k : k + 8])]
        scored = [(s, cleaned(r)) for (s, _), r in zip(pairs, answers, strict=True) if r.status != "error"]
        if failed := len(pairs) - len(scored):
            found[f"{task.name}_failed"] = failed
        for scorer in scorers.values() if scored else ():
            scores = scorer.reduce(stats.totals([scorer.measure(s, r) for s, r in scored]))
            if task.primary in scores:
                found[f"{task.name}_{task.primary}"] = round(float(scores[task.primary]), 2)
    return found
