"""Question answering: contains, exact match, F1."""

import re
import string
from collections import Counter

import numpy as np
import pytest
from scoring import said, sample, sentences, task

from diva_bench import stats
from diva_bench.scorers.qa import QA


def scores(text: str, *references: str) -> tuple[float, float, float]:
    scorer = QA(task())
    out = scorer.reduce(stats.totals([scorer.measure(sample(*references), said(text))]))
    return tuple(round(float(out[m]), 2) for m in ("contains", "em", "f1"))


@pytest.mark.parametrize(
    ("text", "references", "wanted"),
    [
        ("The Nile.", ["Nile"], (100, 100, 100)),
        ("It flows through Cairo: the Nile River!", ["Nile", "the Nile River"], (100, 0, 50)),
        ("I know it", ["no"], (0, 0, 0)),  # not inside a word
        ("in 1945", ["1"], (0, 0, 0)),
        ("New old York", ["New York"], (0, 0, 80)),  # not consecutive
        ("York New", ["New York"], (0, 0, 100)),  # F1 does not mind the order
        ("Paris", ["Rome", "Oslo"], (0, 0, 0)),
        ("", ["Nile"], (0, 0, 0)),
        ("  \n", ["The"], (0, 0, 0)),  # an empty answer is never right
        ("the", ["the"], (0, 100, 0)),  # as SQuAD: equal, with nothing to share
    ],
)
def test_cases(text: str, references: list[str], wanted: tuple[float, float, float]) -> None:
    assert scores(text, *references) == wanted


def official(prediction: str, truths: list[str]) -> tuple[float, float]:
    """Exact match and F1 as the SQuAD v1.1 evaluation script defines them, written down a second time."""

    def normalise(s: str) -> str:
        s = "".join(c for c in s.lower() if c not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())

    def f1(truth: str) -> float:
        p, t = normalise(prediction).split(), normalise(truth).split()
        same = sum((Counter(p) & Counter(t)).values())
        return 2 * (same / len(p)) * (same / len(t)) / (same / len(p) + same / len(t)) if same else 0.0

    return max(float(normalise(prediction) == normalise(t)) for t in truths), max(f1(t) for t in truths)


def test_random_answers_score_as_in_the_squad_script() -> None:
    rng = np.random.default_rng(7)
    words = ["The", "a", "Nile,", "river", "RIVER", "an", "Cairo!", "U.S."]
    scorer = QA(task())
    rows, wanted = [], []
    for _ in range(300):
        text = sentences(rng, 1, words, 5)[0] or "x"
        references = sentences(rng, 3, words, 5)
        rows.append(scorer.measure(sample(*references), said(text)))
        wanted.append(official(text, references))
    out = scorer.reduce(stats.totals(rows))
    em, f1 = 100 * np.mean(wanted, axis=0)
    assert float(out["em"]) == pytest.approx(em, abs=1e-9)
    assert float(out["f1"]) == pytest.approx(f1, abs=1e-9)


def test_the_signature_names_the_normaliser() -> None:
    assert QA(task()).signature == "qa|norm:squad.v1|refs:max"
