"""Scorers by name, the meaning of every metric, and checks of what a scorer returns. Importing this module imports no
metric library.

Statistics of an answer are finite Python numbers by name. Scores are finite, have the shape of the sums, and are on the
scale of their metric. If a scorer (of a plugin, for example) returns anything else, the message names it with the
sample or the metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from diva_bench.errors import ScorerError, SpecError, nearest
from diva_bench.scorers import cleaning
from diva_bench.specs import TaskSpec
from diva_bench.types import Floats, Response, Sample, Scorer

BUILTIN = {
    "bleu": "diva_bench.scorers.translation:Bleu",
    "chrf": "diva_bench.scorers.translation:Chrf",
    "qa": "diva_bench.scorers.qa:QA",
    "labels": "diva_bench.scorers.labels:Labels",
    "wer": "diva_bench.scorers.asr:Wer",
    "given": "diva_bench.scorers.source_score:SourceScore",
    "adherence": "diva_bench.scorers.adherence:Adherence",
    "pedants": "diva_bench.scorers.pedants:Pedants",
    "sentence_bleu": "diva_bench.scorers.translation:SentenceBleu",
    "hf_evaluate": "diva_bench.scorers.hf_evaluate:HFEvaluate",
    "comet": "diva_bench.scorers.comet:Comet",
    "llm_judge": "diva_bench.scorers.llm_judge:Judge",
}

Args = dict[str, Any]
NOT_SCORED = "not scored, "
"""Part of the signature of a scorer that cannot score here; the reason and the advice follow it."""
PREDICTED = "predicted_"
"""Prefix of the metrics that are the histogram of the predicted labels."""


Ends = tuple[float | None, float | None]
"""The lowest and the highest value; None: no limit."""


def range_in_words(low: float | None, high: float | None) -> str:
    if low is None:
        return "any"
    return f"{low:g} to {high:g}" if high is not None else f"{low:g} and up"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a scorer. `needs`: what it needs besides an answer as text."""

    scorer: str
    name: str
    meaning: str
    low: float | None = 0
    high: float | None = 100
    higher_is_better: bool = True
    needs: str = ""

    @property
    def range(self) -> str:
        return range_in_words(self.low, self.high)

    @property
    def better(self) -> str:
        return "higher" if self.higher_is_better else "lower"


_CHOICES = "task with choices"
_SCORED = "task with choices and a model that scores them"
_SPOKEN = "data set with transcripts"
_COUNTED = "model that counts its tokens"
_LOCAL = "checkout of its module, or the Hub"
_COMET = "data set with transcripts, unbabel-comet and its weights"
_JUDGE = "second model as judge"
_HEARD: Args = {"high": None, "higher_is_better": False, "needs": "model that writes a transcript"}

METRICS = (
    Metric("bleu", "bleu", "corpus BLEU by sacreBLEU; setting: tokenize"),
    Metric("chrf", "chrf2", "character n-gram F2 of sacreBLEU; needs no tokenizer"),
    Metric("chrf", "chrf++", "chrF2 with word 1- and 2-grams; setting: word_order 2, or [0, 2] for both"),
    Metric(
        "sentence_bleu", "mean_sentence_bleu", "BLEU of each sentence, averaged, as in the DiVA paper; no corpus BLEU"
    ),
    Metric("qa", "contains", "an accepted answer is in the reply, as whole words"),
    Metric("qa", "em", "the reply is an accepted answer, word for word (SQuAD)"),
    Metric("qa", "f1", "F1 of the words shared with the most similar accepted answer (SQuAD)"),
    Metric(
        "pedants",
        "pedants",
        "P(right) by the PEDANTS classifier of April 2024, averaged: the paper's QA score. Its released answers to HeySQuAD "
        "get 46.22 for Qwen 2 Audio, as published, and 51.52 for DiVA, whose published 55.17 are by other weights. An empty "
        "answer gets 28.9, the repeated question 47.3",
    ),
    Metric("pedants", "pedants_rate", "answers with such a P of at least .5; setting: threshold"),
    Metric("labels", "accuracy", "share of correct labels", needs=_CHOICES),
    Metric("labels", "weighted_f1", "F1 of each label, weighted by its share of the gold labels", needs=_CHOICES),
    Metric("labels", "macro_f1", "F1 of each label, averaged over the labels", needs=_CHOICES),
    Metric("labels", "uar", "recall of each label, averaged; chance level: 100 / number of labels", needs=_CHOICES),
    Metric("labels", "mcc", "Matthews correlation; chance level: 0", low=-100, needs=_CHOICES),
    Metric("labels", "binary_f1", "F1 of one label; setting: positive", needs=_CHOICES),
    Metric("labels", "accuracy_norm", "accuracy by nats per token of the label", needs=_SCORED),
    Metric("labels", "accuracy_first", "accuracy by the label's first token alone", needs=_SCORED),
    Metric("labels", "weighted_f1_first", "weighted_f1 by the label's first token alone", needs=_SCORED),
    Metric("labels", "binary_f1_first", "binary_f1 by the label's first token alone", needs=_SCORED),
    Metric("labels", "accuracy_text", "accuracy by the label found in the reply", needs=_CHOICES),
    Metric("labels", "unparsed", "replies in which no one label is found", higher_is_better=False, needs=_CHOICES),
    Metric("labels", "predicted_<label>", "share of answers with this predicted label, correct or not", needs=_CHOICES),
    Metric("wer", "wer", "word errors per 100 words; setting: of", high=None, higher_is_better=False),
    Metric("wer", "cer", "the same for characters; setting: unit char", high=None, higher_is_better=False),
    Metric("wer", "wer_heard", "WER of the model's own transcript, beside wer; setting: of [text, heard]", **_HEARD),
    Metric("wer", "cer_heard", "CER of the model's own transcript, beside cer", **_HEARD),
    Metric("hf_evaluate", "hf.<metric>", "any metric of the evaluate library, per answer", high=None, needs=_LOCAL),
    Metric("comet", "comet", "COMET of source, answer and reference, x 100", low=None, high=None, needs=_COMET),
    Metric("llm_judge", "judge", "verdict of another model of the catalog; settings: model, scale", needs=_JUDGE),
    Metric("llm_judge", "judge_unparsed", "its replies without a verdict", higher_is_better=False, needs=_JUDGE),
    Metric("given", "released", "mean of the scores that came with imported answers; setting: top", needs="import"),
    Metric("adherence", "right_language", "answers in the requested language; setting: language"),
    Metric("adherence", "one_sentence", "answers that are one sentence; setting: form sentence"),
    Metric("adherence", "one_word", "answers that are one word; setting: form word"),
    Metric("adherence", "no_remark", "answers of no more sentences than the reference; setting: form translation"),
    Metric("adherence", "answer_words", "words of an answer, on average", high=None, higher_is_better=False),
    Metric("adherence", "answer_characters", "the same for zh and ja", high=None, higher_is_better=False),
    Metric(
        "adherence",
        "transcribes",
        "answers that are a transcript of the question",
        higher_is_better=False,
        needs=_SPOKEN,
    ),
    Metric("adherence", "refused", "refusals (by a list of phrases)", higher_is_better=False),
    Metric("adherence", "empty", "answers without a word", higher_is_better=False),
    Metric(
        "adherence",
        "truncated",
        "answers that reached max_new_tokens, or whose reasoning never ends",
        higher_is_better=False,
        needs=_COUNTED,
    ),
    Metric("adherence", "looping", "answers that repeat a phrase three times in a row", higher_is_better=False),
    Metric("adherence", "compressible", "answers that zlib shrinks by more than 2.4 (Whisper)", higher_is_better=False),
    Metric("adherence", "repeated_4grams", "4-grams that occur earlier in the answer", higher_is_better=False),
)

DIAGNOSTIC = tuple(m.name for m in METRICS if m.scorer == "adherence")
"""Metrics of how a model answers, not of how well; see `diva-bench diagnose`."""
_RISES = {(m.scorer, m.name): m.higher_is_better for m in METRICS}


def rises(name: str, scorer: Scorer, metric: str) -> bool:
    """Whether a higher value of a metric is better: by METRICS; for other metrics by the scorer, with `falls` as its
    exceptions."""
    return _RISES.get((name, metric), scorer.higher_is_better and metric not in getattr(scorer, "falls", ()))


def cleaned(response: Response) -> Response:
    """A response for scorers: without reasoning and special tokens, and without text if it is `unsupported`."""
    if response.status == "unsupported":
        return Response(response.id, status="unsupported")
    text = cleaning.clean(response.text)
    if text == response.text:
        return response
    if not cleaning.reasons(response.text):
        return replace(response, text=text)
    return replace(response, text=text, reasoning="cut off" if cleaning.unfinished(response.text) else "ended")


def answer(response: Response) -> str:
    """The cleaned text of an answer. Raises ValueError for an `error`, which has no answer."""
    if response.status == "error":
        raise ValueError(f"response {response.id} is an error ({response.detail}): errors are not scored")
    return cleaned(response).text


def settings(scorer: str, task: TaskSpec, arguments: Mapping[str, Any], allowed: Mapping[str, tuple[Any, ...]]) -> Args:
    """The checked settings of a scorer. `allowed`: setting -> its allowed values, the default first.

    Raises:
        SpecError: A name or value is unknown; the message has the allowed ones and the nearest one.
    """
    where = f"task {task.name}: scorers.{scorer}"
    for name, value in arguments.items():
        if name not in allowed:
            takes = f"Allowed: {', '.join(allowed)}." if allowed else "It takes none."
            raise SpecError(f"{where} has no setting {name!r}.{nearest(name, list(allowed))} {takes}")
        if not any(value == v and type(value) is type(v) for v in allowed[name]):
            values = [str(v) for v in allowed[name]]
            raise SpecError(f"{where}.{name} is {value!r}.{nearest(str(value), values)} Allowed: {', '.join(values)}.")
    return {name: arguments.get(name, values[0]) for name, values in allowed.items()}


class Absent:
    """Takes the place of a scorer that cannot be built on this machine, so that a stored run is scored by the others. It
    measures nothing.

    Attributes:
        lacks: What is missing and how to get it. The results of an earlier scoring of the same answers stay.
    """

    higher_is_better = True
    reads_answers = False

    def __init__(self, name: str, lacks: str) -> None:
        self.lacks = lacks
        self.signature = f"{name}: {NOT_SCORED}something that it needs is missing on this machine"

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        return {}

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        return {}


# ---------------------------------------------------------------- checks of what a scorer returns

_ROUNDING: Final = 1e-6
"""Rounding error that a score may have beyond its scale, from sums of thousands of statistics."""
_LISTED: Final[Mapping[tuple[str, str], Ends]] = {(m.scorer, m.name): (m.low, m.high) for m in METRICS}


def scale(name: str, scorer: Scorer, metric: str) -> Ends:
    """The lowest and highest value of a metric: by METRICS; for other metrics by the scorer's `ranges`, metric -> (lowest,
    highest), else 0 to 100. None: no limit."""
    if (name, metric) in _LISTED:
        return _LISTED[name, metric]
    if name == "hf_evaluate":  # foreign metrics have unknown scales
        return None, None
    ends: Ends = getattr(scorer, "ranges", {}).get(metric, (0, 100))
    return ends


def check_row(task: str, name: str, sample: str, row: dict[str, float]) -> dict[str, float]:
    """The statistics of one answer. Raises ScorerError if they are not finite Python numbers by name."""
    wrong = f"row {row!r}, not a dict" if not isinstance(row, dict) else ""
    for key, value in row.items() if isinstance(row, dict) else ():
        if not isinstance(key, str):
            wrong = f"a statistic named {key!r}, which is no string"
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            wrong = f"{key} = {value!r} ({type(value).__name__}), not a finite Python number"
    if wrong:
        raise ScorerError(
            f"task {task}: scorer {name} gave for sample {sample} {wrong}. Nothing was written; the scorer must be mended."
        )
    return row


def checked_reduce(task: str, name: str, scorer: Scorer) -> Callable[[Mapping[str, Floats]], dict[str, Floats]]:
    """`reduce` of a scorer with checks: it raises ScorerError if it does not return finite numbers on the scale of their
    metric, in the shape of the sums."""

    import numpy as np

    def reduce(totals: Mapping[str, Floats]) -> dict[str, Floats]:
        scores, shape = scorer.reduce(totals), np.shape(next(iter(totals.values()), 0.0))
        wrong = f"{type(scores).__name__}, not a dict of scores" if not isinstance(scores, dict) else ""
        for metric, values in scores.items() if isinstance(scores, dict) else ():
            wrong = wrong or _strange(metric, values, shape, scale(name, scorer, metric))
        if wrong:
            raise ScorerError(
                f"task {task}: scorer {name} gave {wrong}. Nothing was written; the scorer must be mended."
            )
        return scores

    return reduce


def _strange(metric: object, values: object, shape: tuple[int, ...], ends: Ends) -> str:
    """What is wrong with the values of one metric; "" if nothing is."""
    if not isinstance(metric, str):
        return f"a metric named {metric!r}, which is no string"
    import numpy as np

    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.dtype == np.float32:
        return f"{metric} of type {array.dtype}, not numbers in double precision"
    if array.shape != shape:
        return f"{metric} of shape {array.shape} for sums of shape {shape}"
    if not np.isfinite(array).all():
        return f"{metric} = {array[~np.isfinite(array)].flat[0]}, which is no number"
    low, high = ends
    outside = (array < (-np.inf if low is None else low - _ROUNDING)) | (
        array > (np.inf if high is None else high + _ROUNDING)
    )
    if outside.any():
        return f"{metric} = {array[outside].flat[0]:g}, outside its scale ({range_in_words(low, high)})"
    return ""
