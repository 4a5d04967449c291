"""PEDANTS: the probability that an answer is right, by a small classifier over words (Li et al. 2024, arXiv 2402.11161;
github.com/zli12321/qa_metrics). It needs only numpy: no scikit-learn, and no download while scoring.

The DiVA paper scores questions with it (SALT-NLP/DiVA-Eval, eval/qa_eval.py: `CFMatcher.get_scores`). The score depends
on the version of its weights. With those of April 2024 (commit 86c01fc: `pedants-2024-04`) this scorer reproduces all
1,002 released scores of Qwen 2 Audio on HeySQuAD bit by bit, mean .4622. For the released answers of DiVA it gives
.5152; the published .5517 is from other weights, so the paper's table mixes versions.

For one accepted answer, with norm(t) = t in lower case, ASCII punctuation deleted, a, an, the dropped:

    words    TF-IDF of "[CLS] answer [SEP] norm(reference) [SEP] norm(question) [SEP]" in lower case: words of two and
             more letters or digits, l2 norm. The answer keeps its punctuation and articles here.
    overlap  of the sets of words of norm(answer) and norm(reference), S shared: F1, S / reference, S / answer
    P        1 / (1 + exp(w . [words, overlap] + b))

With several accepted answers the largest P counts. P is not a share of right answers, and a useless answer does not get
0: over the 1,002 questions of HeySQuAD the mean is .289 for an empty answer and for "I don't know.", .473 for the
repeated question, .921 for the accepted answer, and .420 for answers of Qwen 2 Audio without an accepted answer. Read
it beside `contains`. Later versions of the package also count an answer as right if the reference is anywhere in it
("no" in "know"); the version of the paper does not.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import regex

from diva_bench.errors import DataError, SpecError
from diva_bench.scorers import NOT_SCORED, answer, settings
from diva_bench.specs import TaskSpec
from diva_bench.stats import dense, ratio
from diva_bench.types import Floats, Response, Sample
from diva_bench.weights.from_pedants import Weights, load

WEIGHTS = "pedants-2024-04"
_VERSION = 2  # bump when the same weights give another number
_CACHED = 1 << 16  # texts in the cache: questions and references repeat for every model, dialect and constant answer
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# The two modules differ on what a letter is (a combining mark, "²", "½"). The package drops articles with regex;
# scikit-learn's vectorizer finds words with re.
_ARTICLES = regex.compile(r"\b(a|an|the)\b")
_WORD = re.compile(r"\b\w\w+\b")


class Pedants:
    """The PEDANTS score. Statistics: pedants.n, and the sums pedants.p and pedants.right. An `unsupported` response has P
    0; an empty answer gets the P of the classifier.

    Settings:
    - `weights`: their name.
    - `threshold`: the P from which an answer counts as right in pedants_rate.
    - `question`: the field with the question (default: the transcript of the sample).

    Attributes:
        lacks: What is missing if the weights (`folders`: name -> folder or None) are not on this machine. Then nothing
            is measured.
        would_sign: Pattern of the signature with these settings if the weights were here.
    """

    higher_is_better = True

    def __init__(self, task: TaskSpec, folders: Mapping[str, Path | None] | None = None, **args: Any) -> None:
        args = {**args}
        name = args.pop("weights", WEIGHTS)
        self._threshold = _threshold(task, args.pop("threshold", 0.5))
        self._field = _field(task, args.pop("question", None))
        settings("pedants", task, args, dict.fromkeys(("weights", "threshold", "question"), (None,)))  # none but these
        folder = (folders or {}).get(name)
        self._classifier = Classifier(load(folder)) if folder else None
        if self._classifier is None:
            self.lacks = f"weights {name} are missing: diva-bench pull --task {task.name}"
            self.signature = f"pedants: {NOT_SCORED}{self.lacks}"
            self.would_sign = f"pedants|weights:{name}|sha:*{self._settings()}*"
            return
        self.signature = f"pedants|weights:{name}|sha:{self._classifier.weights.content[:8]}{self._settings()}"

    def _settings(self) -> str:
        return f"|refs:max|threshold:{self._threshold:g}|question:{self._field or 'transcript'}|v{_VERSION}"

    @staticmethod
    def needs(args: Mapping[str, Any]) -> tuple[str, ...]:
        """The weights for these settings."""
        return (str(args.get("weights", WEIGHTS)),)

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        text = answer(response)
        if self._classifier is None:
            return {}
        row = {"pedants.n": 1.0}
        if response.status == "unsupported":
            return row
        question = self._question(sample)
        best = max(self._classifier.probability(text, r, question) for r in sample.references)
        return row | {"pedants.p": best} | ({"pedants.right": 1.0} if best >= self._threshold else {})

    def _question(self, sample: Sample) -> str:
        question = sample.fields.get(self._field) if self._field else sample.transcript
        if question is None or not question.strip():
            where = f"field {self._field!r}" if self._field else "transcript"
            raise DataError(
                f"sample {sample.id} has no {where}, and PEDANTS needs the question in words. Name the column that has "
                "it with scorers.pedants.question, or leave the scorer out of the task."
            )
        return question

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """{"pedants": 100 times the mean P, "pedants_rate": 0 to 100}."""
        if not totals:
            return {}
        sums = dense(totals, ["pedants.n", "pedants.p", "pedants.right"])
        return {
            "pedants": 100 * ratio(sums[..., 1], sums[..., 0]),
            "pedants_rate": 100 * ratio(sums[..., 2], sums[..., 0]),
        }


class Classifier:
    """P(right) by one version of the weights, with caches for references and questions."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._column = {word: i for i, word in enumerate(weights.vocabulary)}
        self._cached_columns = lru_cache(_CACHED)(self._columns)

    def probability(self, text: str, reference: str, question: str) -> float:
        """The probability that the answer `text` means `reference`."""
        weights, reference = self.weights, normalised(reference)
        counts = Counter(self._columns(text))
        for text_tokens in (_FRAME, reference, normalised(question)):
            counts.update(self._cached_columns(text_tokens))
        columns = np.fromiter(sorted(counts), dtype=np.int64)
        tfidf = np.array([counts[c] for c in columns.tolist()]) * weights.idf[columns]
        x = float(tfidf @ weights.coef[columns]) / (float(np.sqrt(tfidf @ tfidf)) or 1.0)
        x += float(np.dot(_overlap(text, reference), weights.coef[-3:])) + weights.intercept
        return 1 / (1 + math.exp(x)) if x < 0 else math.exp(-x) / (1 + math.exp(-x))

    def _columns(self, text: str) -> list[int]:
        """The column of every word in the vocabulary."""
        columns = (self._column.get(word) for word in tokens(text))
        return [column for column in columns if column is not None]


_FRAME = "[CLS] [SEP] [SEP] [SEP]"


def tokens(text: str) -> list[str]:
    """The words of a text as in scikit-learn's TfidfVectorizer: lower case, two or more letters or digits."""
    return _WORD.findall(text.lower())


@lru_cache(_CACHED)
def normalised(text: str) -> str:
    """The package's `normalize_answer`: lower case, ASCII punctuation deleted, articles dropped, white space single."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _overlap(text: str, reference: str) -> tuple[float, float, float]:
    """For the sets of words: F1, shared / words of the reference, shared / words of the answer (the package calls the last
    two precision and recall)."""
    answer_words, reference_words = set(normalised(text).split()), set(reference.split())
    shared = len(answer_words & reference_words)
    if not shared:
        return 0.0, 0.0, 0.0
    precision, recall = shared / len(reference_words), shared / len(answer_words)
    return 2 * (precision * recall) / (precision + recall), precision, recall


def _threshold(task: TaskSpec, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise SpecError(
            f"task {task.name}: scorers.pedants.threshold is {value!r}; a probability above 0 and up to 1 is needed."
        )
    return float(value)


def _field(task: TaskSpec, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise SpecError(
            f"task {task.name}: scorers.pedants.question is {value!r}; the name of a field is needed, or nothing for the "
            "transcript."
        )
    return value
