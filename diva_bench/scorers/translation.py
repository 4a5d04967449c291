"""BLEU and chrF by sacreBLEU: its statistics for one answer, its formula for the sum, and its signature.

Post 2018 (sacreBLEU), Papineni et al. 2002 (BLEU), Popović 2015 and 2017 (chrF2, chrF++). Case-sensitive, without
normalisation. Both range from 0 to 100 and are corpus scores; only `SentenceBleu`, the score in the DiVA paper,
averages sentence scores.

The tokenizer is a setting and not guessed from a language code: for "zh-CN" sacreBLEU silently falls back to 13a.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from diva_bench.errors import DataError, SpecError
from diva_bench.scorers import answer, settings
from diva_bench.specs import TaskSpec
from diva_bench.stats import dense, ratio
from diva_bench.types import Floats, Response, Sample

_ORDERS = range(1, 5)
_NGRAMS = [f"bleu.{kind}{n}" for kind in "ct" for n in _ORDERS]
# sacreBLEU's spm, flores101 and flores200 tokenizers download a model when they are built, so they are not here.
_TOKENIZERS = ("13a", "zh", "ja-mecab", "ko-mecab", "char", "intl", "none")
# The number of references of every sample, which is part of sacreBLEU's signature and must be known before measuring.
_REFERENCES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "var")


class Bleu:
    """Corpus BLEU-4: 100 BP exp(mean of log precisions), smoothing "exp", no effective order.

    Statistics: bleu.c1..c4 matched n-grams, bleu.t1..t4 n-grams of the hypothesis, bleu.sys and bleu.ref lengths in
    tokens (with several references that of the closest length).

    Settings:
    - `tokenize`: a tokenizer of sacreBLEU.
    - `references`: the number of references of every sample, or "var".
    """

    higher_is_better = True

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        self._bleu, self._references = sacre_bleu("bleu", task, args)
        self.signature = f"bleu|{sacre_signature(self._bleu, self._references)}"

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        references = checked(sample, self._references, "bleu")
        counts = _bleu_counts(self._bleu, answer(response), references)
        lengths, ngrams = counts[:2], zip(_NGRAMS, counts[2:], strict=True)
        row = {key: float(count) for key, count in ngrams if count}
        row |= {"bleu.sys": float(lengths[0])} if lengths[0] else {}
        return row | {"bleu.ref": float(lengths[1])}

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """{"bleu": 0 to 100}. Of one sum it is sacreBLEU's own result to the last bit; of many, to 1e-9."""
        if not totals:
            return {}
        matched = dense(totals, [f"bleu.c{n}" for n in _ORDERS])
        possible = dense(totals, [f"bleu.t{n}" for n in _ORDERS])
        lengths = dense(totals, ["bleu.sys", "bleu.ref"])
        if matched.ndim > 1:
            return {"bleu": _bleu(matched, possible, lengths[..., 0], lengths[..., 1])}
        score = BLEU.compute_bleu(
            [int(c) for c in matched],
            [int(t) for t in possible],
            sys_len=int(lengths[0]),
            ref_len=int(lengths[1]),
            smooth_method="exp",
        )
        return {"bleu": np.asarray(score.score, dtype=np.float64)}


class SentenceBleu:
    """The mean of one BLEU per sentence, which the DiVA paper calls BLEU (arXiv 2410.02678; SALT-NLP/DiVA-Eval,
    eval/translation_eval.py). Use it only to compare with the numbers of the paper.

    Every sentence is scored as a corpus, smoothing "exp", without effective order: a sentence of fewer than four tokens
    scores 0 even if it is right, and a long sentence counts as much as a short one. The same output can have 42 in
    corpus BLEU and 18 here.

    The paper's code chooses sacreBLEU's tokenizer by the language code before the hyphen: `tokenize: zh` for zh-CN,
    `ja-mecab` for ja, `13a` for every other target of CoVoST 2 (ar, ca, cy, de, et, fa, id, lv, mn, sl, sv-SE, ta, tr).

    Settings: `tokenize` and `references`, as for BLEU. Statistics: sentence_bleu.n, and the sum sentence_bleu.score.
    """

    higher_is_better = True

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        self._bleu, self._references = sacre_bleu("sentence_bleu", task, args)
        self.signature = f"sentence_bleu|mean|{sacre_signature(self._bleu, self._references)}"

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        references = checked(sample, self._references, "sentence_bleu")
        score = self._bleu.corpus_score([answer(response)], [[r] for r in references]).score
        return {"sentence_bleu.n": 1.0} | ({"sentence_bleu.score": float(score)} if score else {})

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """{"mean_sentence_bleu": 0 to 100}."""
        if not totals:
            return {}
        sums = dense(totals, ["sentence_bleu.n", "sentence_bleu.score"])
        return {"mean_sentence_bleu": ratio(sums[..., 1], sums[..., 0])}


def _bleu(matched: Floats, possible: Floats, hypothesis: Floats, reference: Floats) -> Floats:
    """BLEU.compute_bleu on arrays: n-gram counts (..., 4), lengths (...)."""
    # The m-th order without a match, counted from the lowest, has precision 1 / (2^m possible n-grams).
    missed = (matched == 0) & (possible > 0)
    smoothed = np.where(missed, 0.5 ** np.cumsum(missed, axis=-1), matched)
    precision = ratio(smoothed, possible)
    scored = np.asarray((matched > 0).any(axis=-1) & (possible > 0).all(axis=-1))
    logs = np.log(np.where(scored[..., None], precision, 1.0)).mean(axis=-1)
    brevity = np.minimum(0.0, 1 - ratio(reference, np.maximum(hypothesis, 1)))
    return np.asarray(np.where(scored, 100 * np.exp(logs + brevity), 0.0))


def sacre_bleu(scorer: str, task: TaskSpec, args: Mapping[str, Any]) -> tuple[BLEU, int | str]:
    """(sacreBLEU's BLEU with a scorer's settings `tokenize` and `references`, number of expected references)."""
    options = settings(scorer, task, args, {"tokenize": _TOKENIZERS, "references": _REFERENCES})
    try:
        return BLEU(tokenize=options["tokenize"]), options["references"]
    except (ImportError, RuntimeError) as err:
        extra = "ja" if options["tokenize"] == "ja-mecab" else "ko"
        raise SpecError(
            f"task {task.name}: scorers.{scorer}.tokenize {options['tokenize']!r} needs a package that is not installed: "
            f'pip install "sacrebleu[{extra}]".'
        ) from err


class Chrf:
    """Corpus chrF2 (`word_order` 0), chrF++ (2), or both ([0, 2]): the F-score, beta 2, of the mean precision and the mean
    recall over character 1- to 6-grams, and for chrF++ word 1- and 2-grams. Orders without n-grams in hypothesis or
    reference are left out.

    Settings: `word_order`; `references`, as for BLEU. Statistics: chrf.h, chrf.r, chrf.m (chrf++.h, ...) and order:
    n-grams of the hypothesis, of the reference, and of both (with several references those of the best F-score).
    """

    higher_is_better = True

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        options = settings("chrf", task, args, {"word_order": (0, 2, [0, 2]), "references": _REFERENCES})
        self._references = options["references"]
        orders = options["word_order"] if isinstance(options["word_order"], list) else [options["word_order"]]
        self._metrics = {("chrf++" if order else "chrf2"): CHRF(word_order=order) for order in orders}
        self._keys = {
            name: [f"{name.removesuffix('2')}.{kind}{n}" for n in range(1, chrf.order + 1) for kind in "hrm"]
            for name, chrf in self._metrics.items()
        }
        signed = [f"{name}|{sacre_signature(chrf, self._references)}" for name, chrf in self._metrics.items()]
        self.signature = "; ".join(signed)

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        references = checked(sample, self._references, "chrf")
        row: dict[str, float] = {}
        every: list[int] = []
        for name, chrf in reversed(self._metrics.items()):
            # With one reference, what chrF++ counts begins with what chrF2 counts; of several, each has its own best one.
            if not every or len(references) > 1:
                every = _chrf_counts(chrf, answer(response), references)
            counts = every[: len(self._keys[name])]
            counts_by_key = {key: float(count) for key, count in zip(self._keys[name], counts, strict=True) if count}
            row = {self._keys[name][1]: 0.0} | counts_by_key | row
        return row

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """{"chrf2", "chrf++"}, as requested, 0 to 100, exact as for BLEU."""
        return {name: self._score(name, totals) for name in self._metrics} if totals else {}

    def _score(self, name: str, totals: Mapping[str, Floats]) -> Floats:
        counts = dense(totals, self._keys[name])
        if counts.ndim > 1:
            return _chrf(counts.reshape(*counts.shape[:-1], -1, 3), CHRF.BETA)
        score = self._metrics[name]._compute_score_from_stats([int(c) for c in counts])
        return np.asarray(score.score, dtype=np.float64)


def _chrf(counts: Floats, beta: int) -> Floats:
    """CHRF._compute_f_score on arrays: (..., order, [hypothesis, reference, match]) -> (...)."""
    hypothesis, reference, match = counts[..., 0], counts[..., 1], counts[..., 2]
    used = (hypothesis > 0) & (reference > 0)
    orders = used.sum(axis=-1).astype(np.float64)
    precision = ratio(np.where(used, ratio(match, hypothesis), 0.0).sum(axis=-1), orders)
    recall = ratio(np.where(used, ratio(match, reference), 0.0).sum(axis=-1), orders)
    return 100 * ratio((1 + beta**2) * precision * recall, beta**2 * precision + recall)


# ---------------------------------------------------------------- counts of one answer


def _bleu_counts(bleu: BLEU, text: str, references: Sequence[str]) -> list[int]:
    """sacreBLEU's statistics: both lengths in tokens, matched n-grams by order, n-grams of the answer by order."""
    if len(references) > 1:
        # sacreBLEU has no public function for these counts; its own significance tests use this one
        return list(map(int, bleu._extract_corpus_statistics([text], [[r] for r in references])[0]))
    ours, theirs = (tuple(bleu._preprocess_segment(line).split()) for line in (text, references[0]))
    counts = _matches(ours, theirs, len(_ORDERS))
    return [len(ours), len(theirs), *(matched for _, _, matched in counts), *(own for own, _, _ in counts)]


def _chrf_counts(chrf: CHRF, text: str, references: Sequence[str]) -> list[int]:
    """sacreBLEU's statistics: for every order the n-grams of the answer, of the reference and of both; of several
    references those of the first one with the best F-score."""
    ours = _chrf_units(chrf, text)
    every = []
    for reference in references:
        counts: list[int] = []
        for mine, theirs, orders in zip(
            ours, _chrf_units(chrf, reference), (chrf.char_order, chrf.word_order), strict=True
        ):
            for own, other, matched in _matches(mine, theirs, orders):
                counts += (own if other else 0, other, matched)  # no n-gram counts that could not match
        every.append(counts)
    return max(every, key=chrf._compute_f_score) if len(every) > 1 else every[0]


def _chrf_units(chrf: CHRF, text: str) -> tuple[str, tuple[str, ...]]:
    """The characters of a text without white space, and its words."""
    return "".join(text.split()), tuple(chrf._remove_punctuation(text)) if chrf.word_order else ()


def _matches(ours: Sequence[str], theirs: Sequence[str], orders: int) -> list[tuple[int, int, int]]:
    """For the orders from 1: number of n-grams in `ours`, in `theirs`, and in both, where an n-gram counts at most as often as
    it is in either. The numbers are sacreBLEU's, in half of the time: nothing is counted behind an order without a
    match, because a longer n-gram contains shorter ones."""
    counts: list[tuple[int, int, int]] = []
    matched = 1
    for n in range(1, orders + 1):
        here, there = max(len(ours) - n + 1, 0), max(len(theirs) - n + 1, 0)
        left: dict[Sequence[str], int] = {}
        if matched and here and there:
            for ngram in [theirs[i : i + n] for i in range(there)]:
                left[ngram] = left.get(ngram, 0) + 1
        matched = 0
        for ngram in [ours[i : i + n] for i in range(here)] if left else ():
            if left.get(ngram):
                left[ngram] -= 1
                matched += 1
        counts.append((here, there, matched))
    return counts


def sacre_signature(metric: Metric, references: int | str) -> str:
    """sacreBLEU's signature, with the number of references, which sacreBLEU itself knows only after scoring."""
    empty: list[list[Any]] = [["", ""], ["", None]] if references == "var" else [[""]] * int(references)
    metric.corpus_score(["", ""][: len(empty[0])], empty)
    return str(metric.get_signature())


def checked(sample: Sample, expected: int | str, scorer: str) -> tuple[str, ...]:
    count = len(sample.references)
    if expected not in ("var", count):
        raise DataError(
            f"sample {sample.id} has {count} references, but scorers.{scorer} of its task is set for {expected}. "
            f"Set scorers.{scorer}.references to the number that all samples have, or to var."
        )
    return sample.references
