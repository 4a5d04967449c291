"""The signs of failure that stored answers can show: how each is measured, its threshold, and its source in the paper.

A sign is a percentage of answers with a cluster bootstrap interval. Its verdict is `fits` if the whole interval lies
beyond the threshold, and `perhaps` if the value does but the interval does not. `why` names the source of each
threshold; many are our own judgement. `threshold_of` adapts the threshold to a task: if half of the correct answers
have one label, half of the answers may have it. A sign that cannot be measured in a run is not reported as absent;
`unmeasured` gives the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from diva_bench.scorers import answer, cleaned
from diva_bench.scorers.adherence import Adherence, split, tokens
from diva_bench.scorers.labels import UNPARSED, Labels, scorer_of
from diva_bench.specs import TaskSpec
from diva_bench.text import BASIC, words
from diva_bench.types import Response, Row, Sample

Verdict = Literal["fits", "perhaps", ""]
Points = Literal["alignment", "distillation", "hearing", ""]


@dataclass(frozen=True, slots=True)
class Sign:
    """One sign of failure.

    Attributes:
        name: Name of the sign in tables.
        what: Description of the answers that show it.
        threshold: Threshold in per cent.
        why: Source of the threshold.
        points: Part of the training to which the sign points, according to the paper.
        above: True if a higher value is worse.
        share: Name of the measured share, if it differs from `name`.
    """

    name: str
    what: str
    threshold: float
    why: str
    points: Points = ""
    above: bool = True
    share: str = ""


DEAF = "does not hear"
SIGNS = (
    Sign(
        "wrong language",
        "not in the language of the task",
        26,
        "paper: DiVA answers 74 % in the right language",
        "alignment",
    ),
    Sign(
        "transcribes",
        "repeats the words of the clip, no answer",
        8,
        "SALMONN on HeySQuAD, counted by hand",
        "alignment",
    ),
    Sign(
        "wrong form",
        "not one sentence or word as the task asks, or a translation with remarks",
        50,
        "ours",
        "alignment",
    ),
    Sign("refuses", "refusal phrases", 10, "ours"),
    Sign("says nothing", "no word in the answer", 10, "ours", "distillation"),
    Sign(
        "one character",
        "the answer is one character, for example because a list of answers was stored as one text",
        10,
        "ours; paper: 98 to 99.6 % of the released translations of the model without Whisper initialisation",
    ),
    Sign(
        "repeats itself",
        "repeats a phrase or sentence, or has a zlib compression ratio above 2.4",
        10,
        "ours; the ratio is that of Whisper",
        "distillation",
    ),
    Sign("cut off", "as many tokens as max_new_tokens allows", 10, "ours"),
    Sign(
        "all the same",
        "has the most common label; open answers: equals the answer to another question",
        85,
        "labels: Qwen 2 Audio answers Neutral for 85 to 87 % of IEMOCAP and MELD; open answers: 25, ours; higher if "
        "correct answers are equal, too",
    ),
    Sign(
        "off the subject",
        "has no content word of the transcript or of a reference",
        20,
        "ours; oracle: 0 to 6 %",
        "hearing",
    ),
    Sign(
        DEAF,
        "share of answers that fit their own clip, minus the share that fit another clip; a low value is bad",
        20,
        "ours; oracle, open answers: 85 to 97; labels: a fifth of the value of correct labels, if not above chance",
        "hearing",
        above=False,
        share="fits its own clip",
    ),
)
"""All signs, in the order of the tables. Values of the oracle are measured on the open tasks of the mini edition."""

SAME_OPEN = 25.0
"""Threshold in per cent of open answers that also occur for another question: two questions seldom share an answer."""
_COMMON = 0.1  # a word in more than this share of the clusters is not a content word
_OTHERS = 32  # number of clips of other clusters with which an answer is compared
_AGAIN = 0.25  # an answer repeats itself if at least this share of its 4-grams occur earlier in it
_ON_END = 4  # so many equal words in a row are a repetition


@dataclass(frozen=True)
class Answers:
    """The answers of one run that can be analysed; samples and responses have the same order.

    Attributes:
        task: The task.
        samples: Samples, n of them.
        responses: The response to each sample, n of them.
        gold: False if the correct answers are unknown; references and transcripts then carry no information.
    """

    task: TaskSpec
    samples: Sequence[Sample]
    responses: Sequence[Response]
    gold: bool = True

    @cached_property
    def texts(self) -> list[str]:
        """Text of each answer: the label that the task's scorer selects, otherwise the words; "" if unsupported."""
        labels = scorer_of(self.task)
        return [_answer_text(r, labels) for r in self.responses]

    @cached_property
    def worded(self) -> list[bool]:
        """Whether each answer is text (possibly empty), as opposed to a label given only by scores or by name."""
        selection = [bool(r.choices) or r.label is not None for r in self.responses]
        return [bool(r.text.strip()) or not label for r, label in zip(self.responses, selection, strict=True)]

    @cached_property
    def contexts(self) -> list[frozenset[str]]:
        """Content words of the transcript and the references of each sample."""
        words = [_pieces(" ".join([s.transcript or "", *s.references])) for s in self.samples]
        clusters: dict[str, set[str]] = {}
        for sample, pieces in zip(self.samples, words, strict=True):
            clusters.setdefault(sample.cluster, set()).update(pieces)
        counts = Counter(piece for pieces in clusters.values() for piece in pieces)
        most = max(2.0, _COMMON * len(clusters))
        return [frozenset(p for p in pieces if counts[p] <= most) for pieces in words]


def _answer_text(response: Response, labels: Labels | None) -> str:
    response = cleaned(response)
    label = labels.decided(response)["label"] if labels else UNPARSED
    return answer(response) if label == UNPARSED else label


def _pieces(text: str) -> set[str]:
    """The units for comparing texts: words of at least three letters, numbers, and pairs of Han or kana characters."""
    words = tokens(text)
    wide = [len(token) == 1 and "\u3040" <= token <= "\u9fff" for token in words]
    pairs = {a + b for a, b, x, y in zip(words, words[1:], wide, wide[1:], strict=False) if x and y}
    return pairs | {t for t in words if len(t) >= 3 or t.isdigit()}


# ---------------------------------------------------------------- counts: sign -> one value per answer


def counted(answers: Answers, scorer: Adherence) -> dict[str, list[float | None]]:
    """Measure every sign that these answers allow.

    Returns:
        Sign -> one value per answer: 0 or 1 (DEAF: -1 to 1), or None if the sign cannot be determined for that answer.
    """
    rows = [scorer.measure(s, r) for s, r in zip(answers.samples, answers.responses, strict=True)]
    table: dict[str, list[float | None]] = {}
    for name, count in _COUNTS.items():
        table[name] = [count(row) if worded else None for row, worded in zip(rows, answers.worded, strict=True)]
    labels, open_ = bool(answers.task.choices), not answers.task.choices
    texts = [cleaned(r).text for r in answers.responses]
    again = [_repeats(row, text) for row, text in zip(rows, texts, strict=True)]
    table["repeats itself"] = [loop if worded else None for loop, worded in zip(again, answers.worded, strict=True)]
    if open_:
        pairs = zip(answers.samples, texts, strict=True)
        table["one character"] = [_single(s if answers.gold else None, text) for s, text in pairs]
    if labels or len({s.cluster for s in answers.samples}) > 1:
        table["all the same"] = list(_same(answers, answers.texts))
    if answers.gold and labels:
        table[DEAF] = _hears_labels(answers)
    elif answers.gold and any(answers.contexts):
        own = [bool(_pieces(t) & context) for t, context in zip(answers.texts, answers.contexts, strict=True)]
        loop = [bool(tokens(t)) and bool(c) for t, c in zip(answers.texts, answers.contexts, strict=True)]
        table["off the subject"] = [float(not o) if t else None for o, t in zip(own, loop, strict=True)]
        table[DEAF] = _hears(answers, own)
    if not answers.gold:  # without references, nobody can tell whether a translation has extra sentences
        table |= {"transcribes": [], "wrong form": []} if scorer.form == "translation" else {"transcribes": []}
    measured = {name for name, values in table.items() if any(value is not None for value in values)}
    return {sign.name: table[sign.name] for sign in SIGNS if sign.name in measured}


def unmeasured(answers: Answers, counts: Mapping[str, object]) -> dict[str, str]:
    """Sign -> the reason why it was not measured, for every sign that is not in `counts`."""
    return {sign.name: _why_not(sign.name, answers) for sign in SIGNS if sign.name not in counts}


def _why_not(name: str, answers: Answers) -> str:
    if answers.task.choices and name in ("off the subject", "one character"):
        return "the answers are labels"
    if not answers.gold and name in ("transcribes", "wrong form", "off the subject", DEAF):
        return "the correct answers are unknown"
    if name in ("wrong language", "wrong form") and any(tokens(cleaned(r).text) for r in answers.responses):
        setting = "language" if name == "wrong language" else "form"
        return f"the task names no {setting} (`adherence: {{{setting}: ...}}` among its scorers)"
    return {
        "transcribes": "the data has no transcripts, or the task asks for them",
        "cut off": "the answers have no token counts",
        "all the same": "there is only one cluster",
        "off the subject": "neither transcripts nor references have a content word",
        DEAF: "there is no clip of another cluster for comparison",
    }.get(name, "no answer came in words")


def threshold_of(sign: Sign, answers: Answers) -> float:
    """Threshold of the sign for this task, in per cent; higher if the correct answers themselves show the sign."""
    labels = bool(answers.task.choices)
    if sign.name == "all the same":
        right = 100 * _mean(_same(answers, [s.references[0] for s in answers.samples])) if answers.gold else 0.0
        if labels:
            return max(sign.threshold, (100 + right) / 2)
        return SAME_OPEN + (100 - SAME_OPEN) * right / 100
    if sign.name == DEAF and labels:
        golds = Counter(s.references[0] for s in answers.samples)
        by_chance = sum((n / golds.total()) ** 2 for n in golds.values())
        return sign.threshold * (1 - by_chance)
    return sign.threshold


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def _flag(key: str, whole: str = "n", *, wrong: bool = False) -> Callable[[Row], float | None]:
    """Count a flag of the adherence scorer. An empty answer cannot be wrong here: it has a sign of its own."""

    def count(row: Row) -> float | None:
        if f"adh.{whole}" not in row or (wrong and "adh.empty" in row):
            return None
        return float((f"adh.{key}" in row) != wrong)

    return count


def _repeats(row: Row, text: str) -> float:
    """1.0 if an answer repeats a phrase or a sentence, otherwise 0.0.

    Any of these is a repetition: the scorer's rule (a phrase three times in a row, or a high zlib ratio), a quarter of
    the 4-grams repeated, a sentence twice, a word four times in a row, or few different words.
    """
    answer_words = tokens(text)
    sentences = [words(part) for part in split(text)]
    return float(
        "adh.looping" in row
        or "adh.compressible" in row
        or row.get("adh.4grams.again", 0.0) >= max(1.0, _AGAIN * row.get("adh.4grams", 0.0))
        or len(set(sentences)) < len(sentences)
        or (len(answer_words) >= _ON_END and 3 * len(set(answer_words)) <= len(answer_words))
        or any(len(set(answer_words[i : i + _ON_END])) == 1 for i in range(len(answer_words) - _ON_END + 1))
    )


def _single(sample: Sample | None, text: str) -> float | None:
    """Whether the answer is one character; None where that may be right ("5")."""
    if sample is not None and any(len(reference.strip()) <= 1 for reference in sample.references):
        return None
    return float(len(text.strip()) == 1)


_COUNTS: Mapping[str, Callable[[Row], float | None]] = {
    "wrong language": _flag("lang", "lang.n", wrong=True),
    "transcribes": _flag("transcribes", "transcribes.n"),
    "wrong form": _flag("form", "form.n", wrong=True),
    "refuses": _flag("refused"),
    "says nothing": _flag("empty"),
    "cut off": _flag("truncated", "truncated.n"),
}


def _same(answers: Answers, texts: Sequence[str]) -> list[float]:
    """Labels: 1.0 if a text is the most common one. Open answers: 1.0 if a sample of another cluster has the same answer;
    empty answers are equal."""
    texts_ = [BASIC(text) for text in texts]
    if answers.task.choices:
        commonest = max(sorted(set(texts_)), key=Counter(texts_).__getitem__)
        return [float(text == commonest) for text in texts_]
    clusters: dict[str, set[str]] = {}
    for text, sample in zip(texts_, answers.samples, strict=True):
        clusters.setdefault(text, set()).add(sample.cluster)
    return [float(len(clusters[text]) > 1) for text in texts_]


def _hears(answers: Answers, own: Sequence[bool]) -> list[float | None]:
    """1 or 0 for a content word shared with the answer's own context, minus the share of other contexts that share one."""
    values: list[float | None] = []
    for i, text in enumerate(answers.texts):
        pieces = _pieces(text)
        others = [bool(pieces & answers.contexts[j]) for j in _others(answers.samples, i)]
        values.append(own[i] - sum(others) / len(others) if others else None)
    return values


def _hears_labels(answers: Answers) -> list[float | None]:
    """1 or 0 for a correct label, minus the share of other samples for which the label would be correct."""
    labels = [BASIC(text) for text in answers.texts]
    gold = [{BASIC(r) for r in s.references} for s in answers.samples]
    values: list[float | None] = []
    for i, text in enumerate(labels):
        others = [text in gold[j] for j in _others(answers.samples, i)]
        values.append((text in gold[i]) - sum(others) / len(others) if others else None)
    return values


def _others(samples: Sequence[Sample], i: int) -> list[int]:
    """Up to 2 * _OTHERS indices of samples of other clusters, evenly spaced and the same on every machine."""
    n = len(samples)
    step = max(1, (n - 1) // _OTHERS)
    around = [(i + k) % n for k in range(1, n, step)]
    return [j for j in around if samples[j].cluster != samples[i].cluster][: 2 * _OTHERS]
