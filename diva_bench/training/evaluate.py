"""Measure a connector: on clips with transcripts, and during training on a few samples of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

from diva_bench import audio, stats
from diva_bench.adapters.diva import Diva
from diva_bench.decoding.generate import generate
from diva_bench.diva import losses, reading
from diva_bench.diva.model import AnyConnector
from diva_bench.scorers import cleaned
from diva_bench.specs import TaskSpec, prompt
from diva_bench.training import connector_eval
from diva_bench.training.run import TrainingRun, text_key
from diva_bench.types import Floats, Request, Response, Sample, Scorer

_BATCH = 32


@dataclass(frozen=True)
class TaskSet:
    """A few samples of tasks: (task, its scorers, samples)."""

    tasks: Sequence[tuple[TaskSpec, dict[str, Scorer], Sequence[Sample]]]


def all_of(run: TrainingRun, tasks: TaskSet | None) -> dict[str, float]:
    """For metrics.jsonl: scores on held-out clips, and the primary metrics of tasks."""
    scores = {f"dev_{name}": value for name, value in dev_scores(run, run.trained.connector).items()}
    return scores | (task_scores(run, tasks) if tasks else {})


def dev_scores(run: TrainingRun, connector: AnyConnector) -> dict[str, float]:
    """Scores on the held-out clips, see `reduce`; empty if there are none."""
    rows = clip_rows(run, connector, looked_at(run))
    return {k: round(float(v), 4) for k, v in reduce(stats.totals(rows)).items()} if rows else {}


def looked_at(run: TrainingRun) -> list[int]:
    """The held-out clips, or an even selection if there are very many."""
    held = run.clips.dev
    return held[:: max(1, -(-len(held) // run.config.evaluate_clips))]


def reduce(totals: Mapping[str, Floats]) -> dict[str, Floats]:
    """Scores from summed rows, as far as they were measured:

    align: alignment loss. nearest: % of virtual tokens whose nearest embedding is that of their token; with ctc, 100
    minus the token error rate of the decoded text. read_wer: word error rate of the decoded text (ctc). length,
    distance: length of the virtual tokens that reach the LLM, and their distance to the nearest embedding, in lengths
    of an embedding (ctc). distill: distance of the last hidden states. kl: nats. first_token: % of clips for which the
    LLM begins its answer to the speech with the same token as its answer to the text.
    """
    clips = totals["clips"]
    read: dict[str, Floats] = {}
    if "tokens" in totals:
        near = stats.dense(totals, ["align", "hits"]) / np.maximum(totals["tokens"], 1)[..., None]
        read = {"align": near[..., 0], "nearest": 100 * near[..., 1]}
    if "words" in totals:
        sums = stats.dense(totals, ["word_errors", "words", "length", "distance", "kept"])
        errors, words, length, distance, counts = np.moveaxis(sums, -1, 0)
        read |= {
            "read_wer": 100 * stats.ratio(errors, words),
            "length": stats.ratio(length, counts),
            "distance": stats.ratio(distance, counts),
        }
    return {
        **read,
        "distill": stats.ratio(totals["distill"], clips),
        "kl": stats.ratio(totals["kl"], clips),
        "first_token": 100 * stats.ratio(totals["agree"], clips),
    }


@torch.no_grad()
def constant_scores(run: TrainingRun, selection: Sequence[int]) -> dict[str, float]:
    """The scores of a connector with the same output for every clip: `first_token` of the teacher's most common first
    token, `kl` of its mean distribution. Scores that are not better show no use of the audio."""
    firsts = [run.teacher_cache[text_key(run.clips.items[i].tokens)][0].astype(np.float32) for i in selection]
    counts: dict[int, int] = {}
    total, entropy = torch.zeros((), device=run.device), 0.0
    for start in range(0, len(firsts), _BATCH):
        states = torch.from_numpy(np.stack(firsts[start : start + _BATCH])).to(run.device)
        logs = torch.log_softmax(run.frozen.logits(states), -1)  # (B, V)
        total = total + logs.exp().sum(0)
        entropy -= float((logs.exp() * logs).sum())
        for token in logs.argmax(-1).tolist():
            counts[token] = counts.get(token, 0) + 1
    mean = total / len(firsts)
    # mean over clips of KL(p_i || mean) = entropy of the mean - mean entropy
    kl = float(-(mean * mean.clamp(min=1e-30).log()).sum()) - entropy / len(firsts)
    return {"first_token": round(100 * max(counts.values()) / len(firsts), 4), "kl": round(kl, 4)}


@torch.no_grad()
def clip_rows(run: TrainingRun, connector: AnyConnector, selection: Sequence[int]) -> list[dict[str, float]]:
    """One row of additive statistics per clip, in the order of `selection`, for `reduce`."""
    order = sorted(selection, key=lambda i: (int(run.clips.lengths[i]), i))
    rows: dict[int, dict[str, float]] = {}
    was = connector.training
    connector.eval()
    for start in range(0, len(order), _BATCH):
        part = order[start : start + _BATCH]
        with run.autocast():
            states, mask = run.hear(part)
            if run.trained.encoder is not None:
                states = run.trained.encoder(states, mask)
            virtual, counts = connector(states, mask)
            rows |= zip(part, _rows(run, connector, virtual, counts, part), strict=True)
    connector.train(was)
    return [rows[i] for i in selection]


def _rows(
    run: TrainingRun, connector: AnyConnector, virtual: torch.Tensor, counts: torch.Tensor, part: Sequence[int]
) -> list[dict[str, float]]:
    """Rows for the clips in `part`, with virtual (B, Q, E) and counts (B,)."""
    if run.config.alignment == "ctc":
        reading_rows, inputs = _read_rows(run, connector, virtual, counts, part)
    else:
        anchored = connector.config.queries == "time"  # and without ctc, nothing determines which token is where
        reading_rows = [{} for _ in part] if anchored else _aligned_rows(run, virtual, part)
        inputs = reading.contents(connector, virtual, counts, run.frozen.llm.embeddings)[0]
    answers = run.answers(part)
    student, teacher = run.frozen.student_states(inputs, answers), run.teacher(part).to(run.device)
    # only the states that predict the first token of the answer
    firsts = torch.tensor([0, *[1 + len(a) for a in answers[:-1]]], device=run.device).cumsum(0)
    ours, theirs = torch.stack([states[0] for states in student]), teacher[firsts].to(student[0].dtype)
    log_p, log_q = (torch.log_softmax(run.frozen.logits(s), -1) for s in (ours, theirs))  # (B, V)
    kl = (log_q.exp() * (log_q - log_p)).sum(-1)
    agree = log_p.argmax(-1) == log_q.argmax(-1)
    distances = (ours - theirs).float().norm(dim=-1)
    return [
        {"clips": 1.0, **row, "distill": float(distances[b]), "kl": float(kl[b]), "agree": float(agree[b])}
        for b, row in enumerate(reading_rows)
    ]


def _aligned_rows(run: TrainingRun, virtual: torch.Tensor, part: Sequence[int]) -> list[dict[str, float]]:
    """Distances of virtual tokens to the tokens that they stand for (l2 and ce)."""
    side, embeddings = run.config.aligned, run.frozen.llm.embeddings
    ids = [run.frozen.shifted(run.clips.items[i].tokens, run.config.shift) for i in part]
    states = [losses.aligned(virtual, b, len(row), side) for b, row in enumerate(ids)]
    nearest = torch.split(losses.nearest_tokens(torch.cat(states), embeddings), [len(row) for row in ids])
    rows = []
    for b, row in enumerate(ids):
        targets = torch.tensor(row, device=run.device)
        rows.append(
            {
                "tokens": float(len(targets)),
                "align": float((states[b] - embeddings[targets]).float().norm(dim=-1).sum()),
                "hits": float((nearest[b] == targets).sum()),
            }
        )
    return rows


def _read_rows(
    run: TrainingRun, connector: AnyConnector, virtual: torch.Tensor, counts: torch.Tensor, part: Sequence[int]
) -> tuple[list[dict[str, float]], list[torch.Tensor]]:
    """(decoded texts compared with their transcripts (ctc), the LLM's input for each clip)."""
    embeddings, vocabulary = run.frozen.llm.embeddings, connector.vocabulary
    assert vocabulary is not None
    read = reading.read(connector, virtual, counts, embeddings)
    inputs = [reading.llm_input(connector, virtual[b], one, embeddings) for b, one in enumerate(read)]
    totals = torch.nn.utils.rnn.pad_sequence([one.normaliser for one in read], batch_first=True)
    rows, scorer = [], connector_eval.scorer()
    for b, (i, one) in enumerate(zip(part, read, strict=True)):
        clip = run.clips.items[i]
        targets = torch.tensor(clip.tokens, device=run.device)
        nats, _, _ = losses.ctc_alignment(
            virtual[b : b + 1], counts[b : b + 1], [targets], embeddings, vocabulary, torch.unique(targets),
            normaliser=totals[b : b + 1, : virtual.shape[1]],
        )  # fmt: skip
        sample = Sample(clip.key, (clip.text,), clip.key)
        words = scorer.measure(sample, Response(clip.key, run.frozen.llm.text(one.tokens)))
        nearest = embeddings[torch.tensor(one.tokens, dtype=torch.long, device=run.device)].float()
        rows.append(
            {
                "tokens": float(len(targets)),
                "align": float(nats),
                "hits": float(len(targets) - Levenshtein.distance(one.tokens, clip.tokens)),
                "word_errors": words["wer.errors"],
                "words": words["wer.length"],
                "kept": float(len(one.tokens)),
                "length": float(inputs[b].float().norm(dim=-1).sum()) / run.scale["pull"],
                "distance": float((inputs[b].float() - nearest).norm(dim=-1).sum()) / run.scale["pull"],
            }
        )
    return rows, inputs


def task_scores(run: TrainingRun, tasks: TaskSet) -> dict[str, float]:
    """{task}_{metric}: the primary metric on the task's samples with audio; {task}_failed: the number of failed samples,
    if there are any, which are left out."""
    adapter = Diva.of(run.whisper, run.frozen.llm, run.trained.connector, full=run.config.window_seconds is not None)
    results: dict[str, float] = {}
    for task, scorers, samples in tasks.tasks:
        pairs: list[tuple[Sample, Request]] = [
            (s, prompt.build(task, s, adapter.accepts, audio=audio.decode(s.read()), prior=None, seed=0))
            for s in samples
            if s.read is not None
        ]
        requests = [request for _, request in pairs]
        with run.autocast():
            parts = [requests[k : k + 8] for k in range(0, len(requests), 8)]
            answers = [response for part in parts for response in generate(adapter, part, "diva")]
        scored = [(s, cleaned(r)) for (s, _), r in zip(pairs, answers, strict=True) if r.status != "error"]
        if failed := len(pairs) - len(scored):
            results[f"{task.name}_failed"] = failed
        for scorer in scorers.values() if scored else ():
            scores = scorer.reduce(stats.totals([scorer.measure(s, r) for s, r in scored]))
            if task.primary in scores:
                results[f"{task.name}_{task.primary}"] = round(float(scores[task.primary]), 2)
    return results
