"""Scorers by name, and what every metric means. Importing this imports no metric library."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from diva_bench.errors import SpecError
from diva_bench.specs import TaskSpec
from diva_bench.types import Response, Scorer

BUILTIN = {
    "bleu": "diva_bench.scorers.translation:Bleu",
    "chrf": "diva_bench.scorers.translation:Chrf",
    "qa": "diva_bench.scorers.qa:QA",
    "labels": "diva_bench.scorers.labels:Labels",
    "wer": "diva_bench.scorers.asr:Wer",
}


def builtin(name: str) -> Callable[..., Scorer] | None:
    """The class of a built-in scorer, imported now; None for a name that is not built in."""
    if name not in BUILTIN:
        return None
    module, _, attribute = BUILTIN[name].partition(":")
    return cast(Callable[..., Scorer], getattr(import_module(module), attribute))


Args = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number a scorer gives. `needs`: what must be there for it beside an answer in words."""

    scorer: str
    name: str
    meaning: str
    low: float = 0
    high: float | None = 100
    higher_is_better: bool = True
    needs: str = ""

    @property
    def range(self) -> str:
        return f"{self.low:g} to {self.high:g}" if self.high is not None else f"{self.low:g} and up"

    @property
    def better(self) -> str:
        return "higher" if self.higher_is_better else "lower"


_CHOICES = "task with choices"
_SCORED = "task with choices and a model that scores them"

METRICS = (
    Metric("bleu", "bleu", "corpus BLEU as sacreBLEU counts it; setting: tokenize"),
    Metric("chrf", "chrf2", "character n-gram F2 of sacreBLEU; needs no tokenizer"),
    Metric("chrf", "chrf++", "chrF2 with word 1- and 2-grams; setting: word_order 2"),
    Metric("qa", "contains", "an accepted answer stands in the reply, as whole words"),
    Metric("qa", "em", "the reply is an accepted answer, word for word (SQuAD)"),
    Metric("qa", "f1", "words shared with the nearest accepted answer (SQuAD)"),
    Metric("labels", "accuracy", "share of right labels", needs=_CHOICES),
    Metric("labels", "weighted_f1", "F1 of each label, weighted by its share of the gold labels", needs=_CHOICES),
    Metric("labels", "macro_f1", "F1 of each label, all labels alike", needs=_CHOICES),
    Metric("labels", "uar", "recall of each label, averaged: 100 / number of labels by chance", needs=_CHOICES),
    Metric("labels", "mcc", "Matthews correlation: 0 by chance", low=-100, needs=_CHOICES),
    Metric("labels", "binary_f1", "F1 of one label; setting: positive", needs=_CHOICES),
    Metric("labels", "accuracy_norm", "accuracy by nats per token of the label", needs=_SCORED),
    Metric("labels", "accuracy_first", "accuracy by the label's first token alone", needs=_SCORED),
    Metric("labels", "accuracy_text", "accuracy by the label found in the reply", needs=_CHOICES),
    Metric("labels", "unparsed", "replies in which no one label is found", higher_is_better=False, needs=_CHOICES),
    Metric("wer", "wer", "word errors per 100 words; setting: of", high=None, higher_is_better=False),
    Metric("wer", "cer", "the same for characters; setting: unit char", high=None, higher_is_better=False),
)


def answer(response: Response) -> str:
    """The words to judge: none for an `unsupported` response. An `error` has no answer and must not come here."""
    if response.status == "error":
        raise ValueError(f"response {response.id} is an error ({response.detail}): errors are not scored")
    return "" if response.status == "unsupported" else response.text


def settings(scorer: str, task: TaskSpec, given: Mapping[str, Any], allowed: Mapping[str, tuple[Any, ...]]) -> Args:
    """The settings of a scorer, checked: for every name its allowed values, the default first.

    Raises SpecError for an unknown name or value; says what was allowed and what is nearest.
    """
    where = f"task {task.name}: scorers.{scorer}"
    for name, value in given.items():
        if name not in allowed:
            takes = f"Allowed: {', '.join(allowed)}." if allowed else "It takes none."
            raise SpecError(f"{where} has no setting {name!r}.{_nearest(name, list(allowed))} {takes}")
        if not any(value == v and type(value) is type(v) for v in allowed[name]):
            values = [str(v) for v in allowed[name]]
            raise SpecError(f"{where}.{name} is {value!r}.{_nearest(str(value), values)} Allowed: {', '.join(values)}.")
    return {name: given.get(name, values[0]) for name, values in allowed.items()}


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
