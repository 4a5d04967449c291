"""Scorers by name, and what every metric means. Importing this imports no metric library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from diva_bench.errors import SpecError, nearest
from diva_bench.scorers import cleaning
from diva_bench.specs import TaskSpec
from diva_bench.types import Response, Scorer

BUILTIN = {
    "bleu": "diva_bench.scorers.translation:Bleu",
    "chrf": "diva_bench.scorers.translation:Chrf",
    "qa": "diva_bench.scorers.qa:QA",
    "labels": "diva_bench.scorers.labels:Labels",
    "wer": "diva_bench.scorers.asr:Wer",
    "given": "diva_bench.scorers.given:Given",
    "adherence": "diva_bench.scorers.adherence:Adherence",
    "pedants": "diva_bench.scorers.pedants:Pedants",
    "sentence_bleu": "diva_bench.scorers.sentences:SentenceBleu",
    "hf_evaluate": "diva_bench.scorers.hf_evaluate:HFEvaluate",
    "comet": "diva_bench.scorers.comet:Comet",
    "llm_judge": "diva_bench.scorers.llm_judge:Judge",
}

Args = dict[str, Any]
NOT_SCORED = "not scored, "
"""What stands in the signature of a scorer that cannot score here, before the reason and what to do."""
PREDICTED = "predicted_"
"""What the names of the metrics begin with that are the histogram of the predicted labels."""


Ends = tuple[float | None, float | None]
"""The least and the most that something can be; None: nothing holds it there."""


def range_in_words(low: float | None, high: float | None) -> str:
    if low is None:
        return "any"
    return f"{low:g} to {high:g}" if high is not None else f"{low:g} and up"


@dataclass(frozen=True, slots=True)
class Metric:
    """One number a scorer gives. `needs`: what must be there for it beside an answer in words."""

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
_JUDGE = "second model, to judge"
_HEARD: Args = {"high": None, "higher_is_better": False, "needs": "model that says what it heard"}

METRICS = (
    Metric("bleu", "bleu", "corpus BLEU as sacreBLEU counts it; setting: tokenize"),
    Metric("chrf", "chrf2", "character n-gram F2 of sacreBLEU; needs no tokenizer"),
    Metric("chrf", "chrf++", "chrF2 with word 1- and 2-grams; setting: word_order 2, or [0, 2] for both"),
    Metric(
        "sentence_bleu", "mean_sentence_bleu", "BLEU of each sentence, averaged, as in the DiVA paper; no corpus BLEU"
    ),
    Metric("qa", "contains", "an accepted answer stands in the reply, as whole words"),
    Metric("qa", "em", "the reply is an accepted answer, word for word (SQuAD)"),
    Metric("qa", "f1", "words shared with the nearest accepted answer (SQuAD)"),
    Metric(
        "pedants",
        "pedants",
        "P(right) by the PEDANTS classifier of April 2024, averaged: the paper's QA score. Its released answers to HeySQuAD "
        "get 46.22 for Qwen 2 Audio, as published, and 51.52 for DiVA, whose published 55.17 are by other weights. An empty "
        "answer gets 28.9, the question said back 47.3",
    ),
    Metric("pedants", "pedants_rate", "answers with such a P of at least .5; setting: threshold"),
    Metric("labels", "accuracy", "share of right labels", needs=_CHOICES),
    Metric("labels", "weighted_f1", "F1 of each label, weighted by its share of the gold labels", needs=_CHOICES),
    Metric("labels", "macro_f1", "F1 of each label, all labels alike", needs=_CHOICES),
    Metric("labels", "uar", "recall of each label, averaged: 100 / number of labels by chance", needs=_CHOICES),
    Metric("labels", "mcc", "Matthews correlation: 0 by chance", low=-100, needs=_CHOICES),
    Metric("labels", "binary_f1", "F1 of one label; setting: positive", needs=_CHOICES),
    Metric("labels", "accuracy_norm", "accuracy by nats per token of the label", needs=_SCORED),
    Metric("labels", "accuracy_first", "accuracy by the label's first token alone", needs=_SCORED),
    Metric("labels", "weighted_f1_first", "weighted_f1 by the label's first token alone", needs=_SCORED),
    Metric("labels", "binary_f1_first", "binary_f1 by the label's first token alone", needs=_SCORED),
    Metric("labels", "accuracy_text", "accuracy by the label found in the reply", needs=_CHOICES),
    Metric("labels", "unparsed", "replies in which no one label is found", higher_is_better=False, needs=_CHOICES),
    Metric("labels", "predicted_<label>", "share of answers that were decided so, right or wrong", needs=_CHOICES),
    Metric("wer", "wer", "word errors per 100 words; setting: of", high=None, higher_is_better=False),
    Metric("wer", "cer", "the same for characters; setting: unit char", high=None, higher_is_better=False),
    Metric("wer", "wer_heard", "the same of what was heard, beside wer; setting: of [text, heard]", **_HEARD),
    Metric("wer", "cer_heard", "the same of what was heard, beside cer", **_HEARD),
    Metric("hf_evaluate", "hf.<metric>", "any metric of the evaluate library, per answer", high=None, needs=_LOCAL),
    Metric("comet", "comet", "COMET of source, answer and reference, x 100", low=None, high=None, needs=_COMET),
    Metric("llm_judge", "judge", "what another model of the catalog says; settings: model, scale", needs=_JUDGE),
    Metric("llm_judge", "judge_unparsed", "its replies without a verdict", higher_is_better=False, needs=_JUDGE),
    Metric("given", "released", "mean of the scores that came with imported answers; setting: top", needs="import"),
    Metric("adherence", "right_language", "answers in the language asked for; setting: language"),
    Metric("adherence", "one_sentence", "answers that are one sentence; setting: form sentence"),
    Metric("adherence", "one_word", "answers that are one word; setting: form word"),
    Metric("adherence", "no_remark", "answers of no more sentences than the reference; setting: form translation"),
    Metric("adherence", "answer_words", "words of an answer, on average", high=None, higher_is_better=False),
    Metric("adherence", "answer_characters", "the same for zh and ja", high=None, higher_is_better=False),
    Metric("adherence", "transcribes", "answers that repeat the words spoken", higher_is_better=False, needs=_SPOKEN),
    Metric("adherence", "refused", "answers that refuse (a list of phrases)", higher_is_better=False),
    Metric("adherence", "empty", "answers without a word", higher_is_better=False),
    Metric(
        "adherence",
        "truncated",
        "answers that reached max_new_tokens, or whose reasoning never ends",
        higher_is_better=False,
        needs=_COUNTED,
    ),
    Metric("adherence", "looping", "answers with a phrase three times on end", higher_is_better=False),
    Metric("adherence", "compressible", "answers that zlib shrinks by more than 2.4 (Whisper)", higher_is_better=False),
    Metric("adherence", "repeated_4grams", "4-grams that stood in the answer before", higher_is_better=False),
)

DIAGNOSTIC = tuple(m.name for m in METRICS if m.scorer == "adherence")
"""Metrics that say how a model answers, not how well: see `diva-bench diagnose`."""
_RISES = {(m.scorer, m.name): m.higher_is_better for m in METRICS}


def rises(name: str, scorer: Scorer, metric: str) -> bool:
    """Whether more of a metric is better: as METRICS has it; of one that is not listed, as its scorer says of all of its
    metrics but those in `falls`, if it has that."""
    return _RISES.get((name, metric), scorer.higher_is_better and metric not in getattr(scorer, "falls", ()))


def cleaned(response: Response) -> Response:
    """A response as scorers see it: without reasoning and special tokens, and without a word where it is `unsupported`."""
    if response.status == "unsupported":
        return Response(response.id, status="unsupported")
    text = cleaning.clean(response.text)
    if text == response.text:
        return response
    if not cleaning.reasons(response.text):
        return replace(response, text=text)
    return replace(response, text=text, reasoning="cut off" if cleaning.unfinished(response.text) else "ended")


def answer(response: Response) -> str:
    """The words to judge, cleaned. An `error` has no answer and must not come here."""
    if response.status == "error":
        raise ValueError(f"response {response.id} is an error ({response.detail}): errors are not scored")
    return cleaned(response).text


def settings(scorer: str, task: TaskSpec, given: Mapping[str, Any], allowed: Mapping[str, tuple[Any, ...]]) -> Args:
    """The settings of a scorer, checked: for every name its allowed values, the default first.

    Raises SpecError for an unknown name or value; says what was allowed and what is nearest.
    """
    where = f"task {task.name}: scorers.{scorer}"
    for name, value in given.items():
        if name not in allowed:
            takes = f"Allowed: {', '.join(allowed)}." if allowed else "It takes none."
            raise SpecError(f"{where} has no setting {name!r}.{nearest(name, list(allowed))} {takes}")
        if not any(value == v and type(value) is type(v) for v in allowed[name]):
            values = [str(v) for v in allowed[name]]
            raise SpecError(f"{where}.{name} is {value!r}.{nearest(str(value), values)} Allowed: {', '.join(values)}.")
    return {name: given.get(name, values[0]) for name, values in allowed.items()}
