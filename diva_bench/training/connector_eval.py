"""Evaluation of a connector on held-out clips with transcripts, also by letting the LLM repeat the words.

There are two separate measurements: how close virtual tokens are to the transcript's tokens (evaluate.reduce; needs a
connector), and whether an answer has the words (word error rate; any model). A clip that is `unsupported` counts as an
empty answer; a failed one is left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diva_bench import stats
from diva_bench.audio import decode
from diva_bench.decoding.generate import generate
from diva_bench.errors import DataError
from diva_bench.scorers.asr import Wer
from diva_bench.specs import DataSpec, Decode, TaskSpec
from diva_bench.stats import Estimate
from diva_bench.training import sources
from diva_bench.training.data import audio_key
from diva_bench.training.run import TrainingRun
from diva_bench.types import Adapter, Progress, Request, Response, Row, Sample

PROMPT = "Repeat word for word what the user says. Answer with the user's words only."
_NEW = 32  # tokens: evaluation clips are single, shorter sentences; longer answers are cut off
_BATCH = 16  # clips
_WORDS = (8, 12, 16)  # upper end of each range except the last
_LENGTHS = ("1 to 8 words", "9 to 12 words", "13 to 16 words", "17 words and more")


_TASK = TaskSpec(
    name="repeat",
    task="repeat",
    subset=None,
    edition="mini",
    version=1,
    description="Repeat what was said.",
    citation="",
    licence="",
    suites=(),
    prompt=PROMPT,
    system=None,
    choices=None,
    synonyms={},
    decode=Decode(max_new_tokens=_NEW),
    reference="text",
    groups=(),
    scorers={"wer": {}},
    primary="wer",
    fields={},
    data=DataSpec(source="jsonl", path="probe", rows=1),
    home=Path(),
)


@dataclass(frozen=True, slots=True)
class EvalClip:
    """One clip of the evaluation. `source` is its origin, for the breakdown."""

    sample: Sample
    source: str


def clips(places: Sequence[str], max_seconds: float) -> tuple[list[EvalClip], dict[str, int]]:
    """(clips, reason -> number of skipped clips). One text is one cluster, whoever speaks it."""
    result: list[EvalClip] = []
    skipped: dict[str, int] = {}
    for source in places:
        for example in sources.read(source):
            reason, sound = sources.usable(example, max_seconds=max_seconds)
            if sound is None:
                skipped[reason] = skipped.get(reason, 0) + 1
                continue
            text = example.text.strip()
            sample = Sample(
                audio_key(example.audio), (text,), text.lower(), read=_reader(example.audio), seconds=sound.seconds,
                transcript=text,
            )  # fmt: skip
            result.append(EvalClip(sample, _name(source)))
    if not result:
        raise DataError(f"{', '.join(places)}: no clip that can be used; skipped: {skipped or 'none'}.")
    return result, skipped


def transcribed(run: TrainingRun) -> list[EvalClip]:
    """The clips of a training run."""
    return [
        EvalClip(Sample(c.key, (c.text,), c.text.lower(), seconds=c.seconds), _name(run.sources[c.source]))
        for c in run.clips.items
    ]


def scorer() -> Wer:
    """Word error rate by scorers/asr.py."""
    return Wer(_TASK)


def _reader(encoded: bytes) -> Any:
    return lambda: encoded


def _name(source: str) -> str:
    """The name of a source: the folder for mini/heysquad.jsonl and similar files."""
    path = Path(source).absolute()
    return path.parent.name if path.suffix == ".jsonl" else path.name


def repeat(
    adapter: Adapter, scorer: Wer, clips: Sequence[EvalClip], progress: Progress, label: str
) -> tuple[list[Row], int]:
    """(rows of word errors in the order of `clips`, {} for failures; number of failures). Clips of similar length are in
    one batch."""
    order = sorted(range(len(clips)), key=lambda i: (clips[i].sample.seconds, clips[i].sample.id))
    rows: list[Row] = [{} for _ in clips]
    failed = 0
    with progress.bar(f"repeat x {label}", len(clips), "clips") as bar:
        for start in range(0, len(order), _BATCH):
            part = order[start : start + _BATCH]
            answers = generate(adapter, [_request(clips[i].sample, adapter.accepts) for i in part], label)
            for i, answer in zip(part, answers, strict=True):
                failed += answer.status == "error"
                blank = answer if answer.status == "ok" else Response(answer.id, status="unsupported")
                rows[i] = {} if answer.status == "error" else scorer.measure(clips[i].sample, blank)
            bar.advance(len(part))
    return rows, failed


def _request(sample: Sample, accepts: frozenset[str]) -> Request:
    assert sample.read is not None
    return Request(
        sample.id,
        PROMPT,
        audio=decode(sample.read()) if "audio" in accepts else None,
        transcript=sample.transcript if "text" in accepts else None,
        max_new_tokens=_NEW,
    )


def estimates(
    rows: Sequence[Row], clips: Sequence[EvalClip], reduce: stats.Reduce
) -> dict[str, dict[str, dict[str, float]]]:
    """Group -> metric -> {value, low, high, n, clusters}. Groups: "all", and if there are several, every source and every
    range of words (a connector fails beyond the lengths in its training)."""
    members: dict[str, list[int]] = {"all": list(range(len(clips)))}
    sources, lengths = [h.source for h in clips], [_length(h) for h in clips]
    for names in (sources, lengths):
        if len(set(names)) > 1:
            for name in sorted(set(names), key=names.index if names is sources else _LENGTHS.index):
                members[name] = [i for i, other in enumerate(names) if other == name]
    out: dict[str, dict[str, dict[str, float]]] = {}
    for name, group in members.items():
        selection = [i for i in group if rows[i]]
        if not selection:
            continue
        got = stats.bootstrap([rows[i] for i in selection], [clips[i].sample.cluster for i in selection], reduce)
        out[name] = {metric: _numbers(estimate) for metric, estimate in got.items()}
    return out


def _length(clip: EvalClip) -> str:
    words = len(clip.sample.references[0].split())
    return _LENGTHS[sum(words > most for most in _WORDS)]


def differences(
    ours: tuple[Sequence[Row], Sequence[EvalClip]], base: tuple[Sequence[Row], Sequence[EvalClip]], reduce: stats.Reduce
) -> dict[str, dict[str, float]]:
    """metric -> {value, low, high, n, clusters, p} of a connector minus the base, over the clips that both have (which
    clips are too long depends on queries and tokenizer); empty if there are none."""
    ours_by_id, theirs = ({h.sample.id: row for row, h in zip(*side, strict=True)} for side in (ours, base))
    clusters = {h.sample.id: h.sample.cluster for h in base[1]}
    ids = sorted(ours_by_id.keys() & theirs.keys())
    if not ids:
        return {}
    got = stats.paired([ours_by_id[i] for i in ids], [theirs[i] for i in ids], [clusters[i] for i in ids], reduce)
    return {metric: {**_numbers(estimate), "p": estimate.p} for metric, estimate in got.items()}


def _numbers(estimate: Estimate) -> dict[str, float]:
    numbers: Mapping[str, float] = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {**{k: round(v, 4) for k, v in numbers.items()}, "n": estimate.n, "clusters": estimate.clusters}
