"""Classification: choose one of the task's labels, by log-likelihood or by the text of the answer.

Each answer is decided in up to four ways, with a confusion matrix for each:

    label   the one that counts: the choice with the highest log-likelihood of all its tokens, or as the setting `decide`
            says; for a model without label scores, the label found in its text
    norm    the highest log-likelihood per token
    first   the highest log-likelihood of the first token (as in DiVA-Eval)
    text    the label that the strict parser finds in the text

Of equal log-likelihoods the first choice of the task wins. An `unsupported` response, and a text without a label, count
as wrong: their predicted label is "unparsed".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

from diva_bench.errors import DataError, SpecError
from diva_bench.scorers import PREDICTED, answer, settings
from diva_bench.scorers.label_parser import SIGNATURE as PARSER
from diva_bench.scorers.label_parser import Parser
from diva_bench.scorers.label_tokens import key_of, signs_of
from diva_bench.specs import TaskSpec, digest
from diva_bench.stats import ratio
from diva_bench.types import Floats, LabelScore, Response, Sample

UNPARSED: Final = "unparsed"
_SCORES: dict[str, Callable[[LabelScore], float]] = {
    "label": lambda score: score.total,
    "norm": lambda score: score.mean,
    "first": lambda score: score.first,
}
KINDS = (*_SCORES, "text")
HISTOGRAM = 100
"""Largest number of labels for which the share of each predicted label is a metric."""
_DECIDE = {"total": "label", "norm": "norm", "first": "first"}


class Labels:
    """Classification metrics. Statistics: "<kind>:<gold>><predicted>", counts.

    Settings:
    - `positive`: the label of `binary_f1`.
    - `decide`: the log-likelihood that chooses the label: of all its tokens (total), per token (norm), or of its first
      token (first: the code of the DiVA paper takes the largest logit among the labels' first tokens).
    """

    higher_is_better = True

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        where = f"task {task.name}: scorers.labels"
        if not task.choices:
            raise SpecError(f"{where} needs a task with choices; this one has none.")
        options = settings("labels", task, args, {"positive": (None, *task.choices), "decide": tuple(_DECIDE)})
        self._choices = task.choices
        self._places = {label: i for i, label in enumerate(task.choices)}
        self._positive: str | None = options["positive"]
        self._scores = {**_SCORES, "label": _SCORES[_DECIDE[options["decide"]]]}
        bad = [c for c in task.choices if ">" in c or c == UNPARSED]
        if bad or len(set(task.choices)) < len(task.choices):
            raise SpecError(f"{where}: choices must be distinct, without '>', and not {UNPARSED!r}: {task.choices}.")
        missing = sorted(set(task.synonyms.values()) - set(task.choices))
        if missing:
            raise SpecError(f"task {task.name}: synonyms lead to {', '.join(missing)}, not a choice: {task.choices}.")
        try:
            self._parser = parser_of(task)
        except SpecError as err:
            raise SpecError(f"task {task.name}: choices and synonyms: {err}") from err
        # The order of the choices is a setting: it decides ties.
        table = digest([list(task.choices), task.synonyms])[:8]
        positive = f"|positive:{self._positive}" if self._positive else ""
        decide = f"|decide:{options['decide']}" if options["decide"] != "total" else ""
        parser = f"{PARSER}|table:{table}"
        self.signature = f"labels|ties:first|{parser}{positive}{decide}"
        self.counted = {"accuracy_norm": ("norm:",), "accuracy_text": ("text:",), "unparsed": ("text:",)}
        """Metric -> prefixes of the statistics whose sum is its n: imported answers may be partly labels and partly text."""
        self.counted |= dict.fromkeys(("accuracy_first", "weighted_f1_first", "binary_f1_first"), ("first:",))
        """Metric -> how the statistics begin whose sum is its n: of imported answers some may come as labels, others as
        text."""

    def check(self, sample: Sample) -> None:
        """Raises DataError if a sample does not have exactly one gold label among the choices."""
        if len(sample.references) != 1 or sample.references[0] not in self._places:
            raise DataError(
                f"sample {sample.id}: a label task needs one reference out of {', '.join(self._choices)}; "
                f"found {', '.join(sample.references)}."
            )

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        self.check(sample)
        return {f"{kind}:{sample.references[0]}>{label}": 1.0 for kind, label in self.decided(response).items()}

    def decided(self, response: Response) -> dict[str, str]:
        """Kind -> predicted label, or "unparsed"; "label" is always there."""
        label = self._parser.parse(answer(response))
        if response.status == "unsupported":
            # Which kinds this model has is unknown here; `reduce` drops those without any label.
            return dict.fromkeys(KINDS, UNPARSED)
        if response.label is not None:  # imported answer, chosen by the first token of each label
            return dict.fromkeys(("label", "first"), response.label or UNPARSED)
        if response.choices is None:
            return dict.fromkeys(("label", "text"), label or UNPARSED)
        return {kind: self._best(response, score) for kind, score in self._scores.items()} | {"text": label or UNPARSED}

    def _best(self, response: Response, score: Callable[[LabelScore], float]) -> str:
        label_scores = response.choices or {}
        scores = [score(label_scores[label]) for label in self._choices if label in label_scores]
        if label_scores.keys() != self._places.keys() or math.isnan(sum(scores)):
            raise DataError(f"response {response.id}: needs a log-likelihood for each of {', '.join(self._choices)}.")
        return self._choices[scores.index(max(scores))]  # of equal scores the first

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Scores from 0 to 100, except mcc (-100 to 100). Metrics with _norm and _first exist only if labels were scored.
        `predicted_<label>` is the share of answers with this predicted label; the rest up to 100 named no label."""
        if not totals:
            return {}
        decided = self._counts(totals)
        counts = decided["label"]
        scores = {
            "accuracy": accuracy(counts),
            "weighted_f1": weighted_f1(counts),
            "macro_f1": macro_f1(counts),
            "uar": uar(counts),
            "mcc": mcc(counts),
        }
        if self._positive:
            scores["binary_f1"] = f1(counts)[counts.places[self._positive]]
        for kind in ("norm", "first"):
            if any(key.startswith(f"{kind}:") and not key.endswith(f">{UNPARSED}") for key in totals):
                scores[f"accuracy_{kind}"] = accuracy(decided[kind])
        if "accuracy_first" in scores:
            first = decided["first"]
            scores["weighted_f1_first"] = weighted_f1(first)
            if self._positive:
                scores["binary_f1_first"] = f1(first)[first.places[self._positive]]
        if len(self._choices) <= HISTOGRAM:
            predicted = ratio(counts.predicted, counts.gold.sum(axis=0))
            scores |= {f"{PREDICTED}{label}": predicted[i] for label, i in counts.places.items()}
        if "text" in decided:
            text_counts = decided["text"]
            scores["accuracy_text"] = accuracy(text_counts)
            scores["unparsed"] = ratio(text_counts.unparsed, text_counts.gold.sum(axis=0))
        return {name: np.asarray(100 * score) for name, score in scores.items()}

    def _counts(self, totals: Mapping[str, Floats]) -> dict[str, Counts]:
        """Kind -> its confusion counts; "label" is always there.

        Only pairs of labels that occur are stored, and with more than HISTOGRAM labels only labels that occur, and the
        positive one.
        """
        pairs: dict[str, list[tuple[str, str, str]]] = {"label": []}
        for key in totals:
            kind, _, pair = key.partition(":")
            gold, _, predicted = pair.partition(">")
            pairs.setdefault(kind, []).append((key, gold, predicted))
        labels: Sequence[str] = self._choices
        if len(labels) > HISTOGRAM:
            occur = {label for counts in pairs.values() for _, *both in counts for label in both}
            labels = sorted(occur & self._places.keys() | ({self._positive} if self._positive else set()))
        places = {label: i for i, label in enumerate(labels)}
        return {kind: _margins(totals, counts, places, len(self._choices)) for kind, counts in pairs.items()}


def parser_of(task: TaskSpec) -> Parser:
    """The parser of a task with choices. Synonyms from the source of imported answers come before those of the task.

    Raises:
        SpecError: A word stands for two labels.
    """
    own = {(key_of(name), signs_of(name)) for name in task.names}
    synonyms = {
        phrase: label for phrase, label in task.synonyms.items() if (key_of(phrase), signs_of(phrase)) not in own
    }
    return Parser(task.choices or (), {**synonyms, **task.names})


def scorer_of(task: TaskSpec) -> Labels | None:
    """The label scorer of a task with choices, with its settings; None for an open task."""
    return Labels(task, **(task.scorers.get("labels") or {})) if task.choices else None


# ---------------------------------------------------------------- from confusion counts; K choices


@dataclass(frozen=True, slots=True)
class Counts:
    """Confusion counts of k of the K choices: how often each was gold, predicted, and both, shapes (k, ...); the other
    choices never occur. `none`: how often no choice was predicted, (...). `places`: label -> its index in k."""

    gold: Floats
    predicted: Floats
    right: Floats
    unparsed: Floats
    places: Mapping[str, int]
    choices: int


def _margins(
    totals: Mapping[str, Floats], pairs: Sequence[tuple[str, str, str]], places: Mapping[str, int], choices: int
) -> Counts:
    """`pairs`: (statistic, gold label, predicted label)."""
    count = len(places)
    shape = np.shape(next(iter(totals.values())))
    table = np.stack([totals[key] for key, _, _ in pairs]) if pairs else np.zeros((0, *shape))
    gold = np.array([places[label] for _, label, _ in pairs], dtype=np.intp)
    predicted = np.array([places.get(label, count) for _, _, label in pairs], dtype=np.intp)
    hit = gold == predicted
    decided = _added(table, predicted, count + 1)
    return Counts(
        gold=_added(table, gold, count),
        predicted=decided[:-1],
        right=_added(table[hit], gold[hit], count),
        unparsed=decided[-1],
        places=places,
        choices=choices,
    )


def _added(table: Floats, places: NDArray[np.intp], count: int) -> Floats:
    """The rows of `table` (F, ...) summed by place: (count, ...)."""
    rows = len(places)
    adds = scipy.sparse.csr_array((np.ones(rows), (places, np.arange(rows))), shape=(count, rows))
    return np.asarray(adds @ table.reshape(rows, math.prod(table.shape[1:]))).reshape(count, *table.shape[1:])


def accuracy(counts: Counts) -> Floats:
    """Right answers / all answers."""
    return ratio(counts.right.sum(axis=0), counts.gold.sum(axis=0))


def f1(counts: Counts) -> Floats:
    """F1 of every stored choice, (k, ...): 2 right / (gold + predicted), 0 for a choice in neither (scikit-learn's
    f1_score(average=None, labels=choices, zero_division=0))."""
    return ratio(2 * counts.right, counts.gold + counts.predicted)


def macro_f1(counts: Counts) -> Floats:
    """Mean F1 over all choices; 0 for a choice that never occurs (f1_score(average="macro", labels=choices))."""
    return np.asarray(f1(counts).sum(axis=0) / counts.choices)


def weighted_f1(counts: Counts) -> Floats:
    """F1 of every choice, weighted by its share of the gold labels (f1_score(average="weighted"))."""
    return ratio((counts.gold * f1(counts)).sum(axis=0), counts.gold.sum(axis=0))


def uar(counts: Counts) -> Floats:
    """Unweighted average recall over the gold labels that occur (balanced_accuracy_score)."""
    occur = (counts.gold > 0).sum(axis=0).astype(np.float64)
    return ratio(ratio(counts.right, counts.gold).sum(axis=0), occur)


def mcc(counts: Counts) -> Floats:
    """Matthews correlation of several classes (Gorodkin 2004), with "unparsed" as another predicted class; 0 if all gold
    labels or all predictions are equal (matthews_corrcoef)."""
    n, right = counts.gold.sum(axis=0), counts.right.sum(axis=0)
    covariance = right * n - (counts.gold * counts.predicted).sum(axis=0)
    squares = (counts.predicted**2).sum(axis=0) + counts.unparsed**2
    return ratio(covariance, np.sqrt((n**2 - (counts.gold**2).sum(axis=0)) * (n**2 - squares)))
