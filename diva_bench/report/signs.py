"""The signs of failure that stored answers can show: what is counted, from where on it counts, what the paper says of it.

A sign is a share of answers, in per cent, with a cluster bootstrap interval. It `fits` where the whole interval lies
beyond the sign's threshold, `perhaps` where the value does and the interval does not. Every threshold is a judgement;
`why` says whose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from diva_bench.scorers import answer
from diva_bench.scorers.adherence import Adherence, tokens
from diva_bench.scorers.labels import UNPARSED, Labels, scorer_of
from diva_bench.specs import TaskSpec
from diva_bench.text import BASIC
from diva_bench.types import Response, Row, Sample

Verdict = Literal["fits", "perhaps", ""]
Points = Literal["alignment", "distillation", "hearing", ""]


@dataclass(frozen=True, slots=True)
class Sign:
    """`threshold` in per cent; `above`: whether more is worse. `points`: to which part of training, by the paper."""

    name: str
    what: str
    threshold: float
    why: str
    points: Points = ""
    above: bool = True


SIGNS = (
    Sign("wrong language", "not in the language asked for", 26, "the paper's own model: 74 % right", "alignment"),
    Sign("transcribes", "the words spoken, not an answer", 8, "SALMONN on HeySQuAD, by hand", "alignment"),
    Sign("wrong form", "not one sentence or word as asked, or a translation with remarks", 50, "ours", "alignment"),
    Sign("refuses", "phrases that refuse", 10, "ours"),
    Sign("says nothing", "no word in the answer", 10, "ours", "distillation"),
    Sign("loops", "a phrase over and over, or zlib ratio above 2.4", 10, "ours; the ratio: Whisper", "distillation"),
    Sign("cut off", "stopped by max_new_tokens", 10, "ours"),
    Sign("all the same", "the commonest label, or an answer that another question got too", 85, "see signs.py"),
    Sign(
        "off the subject",
        "no content word of what was said, nor of a reference",
        20,
        "ours; oracle: 0 to 6 %",
        "hearing",
    ),
    Sign("hears", "fits its own clip, minus fits another's", 20, "ours; oracle: 85 to 97", "hearing", above=False),
)
"""In the order of the tables. "all the same": Qwen 2 Audio says Neutral to 85 to 87 % of IEMOCAP and MELD, Qwen Audio Sad to
98 %; for open answers the threshold is `SAME_OPEN`. What the oracle has: of the mini edition's open tasks."""

SAME_OPEN = 25.0
"""Per cent of open answers that something else was answered with too: two questions seldom have one answer."""
_COMMON = 0.1  # share of clusters from which a word is no content word
_OTHERS = 32  # clips of other clusters that an answer is held against


@dataclass(frozen=True)
class Answers:
    """The answers of one run that can be judged: samples and responses in the same order."""

    task: TaskSpec
    samples: Sequence[Sample]
    responses: Sequence[Response]

    @cached_property
    def texts(self) -> list[str]:
        """What was answered: the label that was decided on, as the task scores it, else the words, "" where unsupported."""
        labels = scorer_of(self.task)
        return [_said(r, labels) for r in self.responses]

    @cached_property
    def contexts(self) -> list[frozenset[str]]:
        """The content words of what was said and of the references, of every sample."""
        found = [_pieces(" ".join([s.transcript or "", *s.references])) for s in self.samples]
        clusters: dict[str, set[str]] = {}
        for sample, pieces in zip(self.samples, found, strict=True):
            clusters.setdefault(sample.cluster, set()).update(pieces)
        seen = Counter(piece for pieces in clusters.values() for piece in pieces)
        most = max(2.0, _COMMON * len(clusters))
        return [frozenset(p for p in pieces if seen[p] <= most) for pieces in found]


def _said(response: Response, labels: Labels | None) -> str:
    label = labels.decided(response)["label"] if labels else UNPARSED
    return answer(response) if label == UNPARSED else label


def _pieces(text: str) -> set[str]:
    """What texts are compared by: words of three letters or more, numbers, and pairs of Han or kana characters."""
    said = tokens(text)
    wide = [len(token) == 1 and "\u3040" <= token <= "\u9fff" for token in said]
    pairs = {a + b for a, b, x, y in zip(said, said[1:], wide, wide[1:], strict=False) if x and y}
    return pairs | {t for t in said if len(t) >= 3 or t.isdigit()}


# ---------------------------------------------------------------- counting: sign -> its number for every answer


def counted(answers: Answers, scorer: Adherence) -> dict[str, list[float | None]]:
    """For every sign that means something for this task, 0 or 1 for each answer (hears: -1 to 1); None where it cannot be
    told of this one."""
    rows = [scorer.measure(s, r) for s, r in zip(answers.samples, answers.responses, strict=True)]
    table: dict[str, list[float | None]] = {}
    for name, count in _COUNTS.items():
        values = [count(row) for row in rows]
        if any(value is not None for value in values):
            table[name] = values
    table["all the same"] = list(_same(answers))
    if answers.task.choices:
        table["hears"] = _hears_labels(answers)
    elif any(answers.contexts):
        own = [bool(_pieces(t) & context) for t, context in zip(answers.texts, answers.contexts, strict=True)]
        told = [bool(tokens(t)) and bool(c) for t, c in zip(answers.texts, answers.contexts, strict=True)]
        table["off the subject"] = [float(not o) if t else None for o, t in zip(own, told, strict=True)]
        table["hears"] = _hears(answers, own)
    return {sign.name: table[sign.name] for sign in SIGNS if sign.name in table}


def _flag(key: str, whole: str = "n", *, wrong: bool = False) -> Callable[[Row], float | None]:
    """Of an answer without a word nothing can be wrong: it has a sign of its own."""

    def count(row: Row) -> float | None:
        if f"adh.{whole}" not in row or (wrong and "adh.empty" in row):
            return None
        return float((f"adh.{key}" in row) != wrong)

    return count


def _incoherent(row: Row) -> float | None:
    return float("adh.looping" in row or "adh.compressible" in row)


_COUNTS: Mapping[str, Callable[[Row], float | None]] = {
    "wrong language": _flag("lang", "lang.n", wrong=True),
    "transcribes": _flag("transcribes", "transcribes.n"),
    "wrong form": _flag("form", "form.n", wrong=True),
    "refuses": _flag("refused"),
    "says nothing": _flag("empty"),
    "loops": _incoherent,
    "cut off": _flag("truncated", "truncated.n"),
}


def _same(answers: Answers) -> list[float]:
    """Of labels: whether it is the commonest one. Of open answers: whether a sample of another cluster got it too."""
    said = [BASIC(text) for text in answers.texts]
    if answers.task.choices:
        commonest = max(sorted(set(said)), key=Counter(said).__getitem__)
        return [float(text == commonest) for text in said]
    clusters: dict[str, set[str]] = {}
    for text, sample in zip(said, answers.samples, strict=True):
        clusters.setdefault(text, set()).add(sample.cluster)
    return [float(len(clusters[text]) > 1) for text in said]


def _hears(answers: Answers, own: Sequence[bool]) -> list[float | None]:
    """Whether an answer shares a content word with its own context, minus the share of others' contexts with which it does."""
    values: list[float | None] = []
    for i, text in enumerate(answers.texts):
        pieces = _pieces(text)
        others = [bool(pieces & answers.contexts[j]) for j in _others(answers.samples, i)]
        values.append(own[i] - sum(others) / len(others) if others else None)
    return values


def _hears_labels(answers: Answers) -> list[float | None]:
    """Whether a label is right, minus the share of others' gold labels that it would have been right for."""
    said = [BASIC(text) for text in answers.texts]
    gold = [{BASIC(r) for r in s.references} for s in answers.samples]
    values: list[float | None] = []
    for i, text in enumerate(said):
        others = [text in gold[j] for j in _others(answers.samples, i)]
        values.append((text in gold[i]) - sum(others) / len(others) if others else None)
    return values


def _others(samples: Sequence[Sample], i: int) -> list[int]:
    """Up to _OTHERS samples of other clusters, evenly spread, the same on every machine."""
    n = len(samples)
    step = max(1, (n - 1) // _OTHERS)
    around = [(i + k) % n for k in range(1, n, step)]
    return [j for j in around if samples[j].cluster != samples[i].cluster][: 2 * _OTHERS]
