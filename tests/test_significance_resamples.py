"""Scores of resamples are those that sacreBLEU and scikit-learn give to the same resamples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sacrebleu.significance
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest
from scoring import said, sample, sentences, task
from sklearn import metrics as sklearn

from diva_bench import stats
from diva_bench.scorers.labels import Labels
from diva_bench.scorers.translation import Bleu, Chrf
from diva_bench.stats import significance

WORDS = ["der", "Hund", "geht", "über", "die", "Brücke"]


def adversarial(rng: np.random.Generator) -> dict[str, tuple[list[str], list[str], list[str]]]:
    """Name -> two systems' hypotheses and the references."""
    random = [sentences(rng, 50, WORDS) for _ in range(3)]
    return {
        "random": (random[0], random[1], random[2]),
        "all empty": ([""] * 9, sentences(rng, 9, WORDS), sentences(rng, 9, WORDS)),
        "one item": (["der Hund geht über die Brücke"], ["der Hund geht"], ["der Hund geht über die Brücke heute"]),
        "short": (["der"] * 6, ["der Hund"] * 6, ["der Hund geht"] * 6),
        "perfect": (
            ["der Hund geht über die Brücke"] * 7,
            sentences(rng, 7, WORDS),
            ["der Hund geht über die Brücke"] * 7,
        ),
    }


@pytest.mark.parametrize("name", ["random", "all empty", "one item", "short", "perfect"])
@pytest.mark.parametrize(("ours", "theirs"), [(Bleu, BLEU), (Chrf, CHRF)])
def test_corpus_scores_of_resamples_are_sacrebleus_own(name: str, ours: type, theirs: type) -> None:
    rng = np.random.default_rng(3)
    hypotheses, _, references = adversarial(rng)[name]
    scorer, metric = ours(task()), theirs()
    rows = [scorer.measure(sample(r or " "), said(h)) for r, h in zip(references, hypotheses, strict=True)]
    indices = rng.integers(0, len(rows), (20, len(rows)))
    keys, matrix = stats.stack(rows)
    drawn = next(iter(scorer.reduce(stats.unstack(keys, matrix.toarray()[indices].sum(axis=1))).values()))
    for mine, picked in zip(drawn, indices, strict=True):
        own = metric.corpus_score([hypotheses[i] for i in picked], [[references[i] or " " for i in picked]]).score
        assert mine == pytest.approx(own, abs=1e-9)


class Wide:
    """numpy as sacreBLEU's significance module sees it, but that its float32 are float64: it rounds sums to seven digits."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def array(self, values: Any, dtype: Any = None) -> Any:
        return np.array(values, dtype="float64" if dtype == "float32" else dtype)


@pytest.mark.parametrize("name", ["random", "all empty", "one item", "short", "perfect"])
@pytest.mark.parametrize(("ours", "theirs"), [(Bleu, BLEU), (Chrf, CHRF)])
def test_the_paired_bootstrap_of_sacrebleu_is_had_again(
    name: str, ours: type, theirs: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    first, second, references = adversarial(np.random.default_rng(4))[name]
    references = [r or " " for r in references]
    scorer = ours(task())
    systems = [
        [scorer.measure(sample(r), said(h)) for r, h in zip(references, hs, strict=True)] for hs in (first, second)
    ]
    indices = np.random.default_rng(12345).choice(len(first), size=(200, len(first)), replace=True)
    drawn, scores = [], []
    for rows in systems:
        keys, matrix = stats.stack(rows)
        scores.append(float(next(iter(scorer.reduce(stats.totals(rows)).values()))))
        drawn.append(next(iter(scorer.reduce(stats.unstack(keys, matrix.toarray()[indices].sum(axis=1))).values())))
    mine = next(iter(significance.sacrebleu_bootstrap(*systems, scorer.reduce, samples=200).values()))

    def own() -> list[Any]:
        test = PairedTest([("a", first), ("b", second)], {"m": theirs()}, [references], "bs", n_samples=200)
        return next(found for key, found in test()[1].items() if key != "System")

    as_shipped = own()
    assert [one.mean() for one in drawn] == pytest.approx([result.mean for result in as_shipped], rel=1e-6)
    if scores[0] == pytest.approx(scores[1], abs=1e-9):  # of equal scores sacreBLEU's p is an accident of its formula
        assert mine == 1
        return
    assert mine == pytest.approx(as_shipped[1].p_value, abs=1.5 / 201)  # float32 may break a tie the other way
    monkeypatch.setattr(sacrebleu.significance, "np", Wide())
    exact = own()
    assert [one.mean() for one in drawn] == pytest.approx([result.mean for result in exact], abs=1e-9)
    assert mine == pytest.approx(exact[1].p_value, abs=1e-9)


SKLEARN = {
    "accuracy": lambda g, p, c: sklearn.accuracy_score(g, p),
    "weighted_f1": lambda g, p, c: sklearn.f1_score(g, p, labels=c, average="weighted", zero_division=0),
    "macro_f1": lambda g, p, c: sklearn.f1_score(g, p, labels=c, average="macro", zero_division=0),
    "uar": lambda g, p, c: sklearn.recall_score(g, p, labels=sorted(set(g)), average="macro", zero_division=0),
    "mcc": lambda g, p, c: sklearn.matthews_corrcoef(g, p),
}
LABELS = ("anger", "joy", "neutral")


@pytest.mark.parametrize(
    ("golds", "answers"),
    [
        (["anger", "joy", "neutral", "joy"] * 8, ["joy", "joy", "neutral", "anger"] * 8),
        (["joy"] * 10, ["joy"] * 10),  # one class only
        (["joy"] * 10, ["neutral"] * 10),
        (["joy"], ["anger"]),  # one item
        (["joy", "anger", "neutral"] * 5, ["", "no idea", "joy"] * 5),  # labels that there are not
        (["joy", "anger"] * 6, [""] * 12),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_label_metrics_of_resamples_are_scikit_learns(golds: list[str], answers: list[str]) -> None:
    scorer = Labels(task(choices=LABELS))
    rows = [scorer.measure(sample(g), said(a)) for g, a in zip(golds, answers, strict=True)]
    predicted = [a if a in LABELS else "unparsed" for a in answers]
    keys, matrix = stats.stack(rows)
    indices = np.random.default_rng(1).integers(0, len(rows), (40, len(rows)))
    drawn = scorer.reduce(stats.unstack(keys, matrix.toarray()[indices].sum(axis=1)))
    for at, picked in enumerate(indices):
        gold, answer = [golds[i] for i in picked], [predicted[i] for i in picked]
        for name, own in SKLEARN.items():
            assert drawn[name][at] / 100 == pytest.approx(own(gold, answer, list(LABELS)), abs=1e-9), name
