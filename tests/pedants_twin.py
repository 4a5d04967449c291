"""A small PEDANTS of our own: scikit-learn's vectorizer and classifier, trained on made-up answers, and its files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

WORDS = ["river", "lake", "mountain", "Paris", "Berlin", "1945", "twelve", "know", "no", "the", "an", "a", "It's"]
WORDS += ["e-mail", "U.S.", "naïve", "Straße", "Σίσυφος"]
WORDS += ["北京", "Król", "don't", "x", "10,000", "ten", "tent", "I", "हिन्दी", "The", "(see)", "_under_", "cls", "SEP"]
PUNCTUATION = r"""!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"""


def sentence(rng: np.random.Generator, longest: int = 9) -> str:
    return " ".join(rng.choice(WORDS, int(rng.integers(0, longest))))


def plain(text: str) -> str:
    """The package's normaliser, written another way."""
    kept = "".join(" " if c.isspace() else c for c in text.lower() if c not in PUNCTUATION)
    return " ".join(word for word in kept.split(" ") if word not in ("", "a", "an", "the"))


def features(answer: str, reference: str) -> list[float]:
    said, wanted = set(plain(answer).split()), set(plain(reference).split())
    recall, precision = (len(said & wanted) / len(s) if s else 0.0 for s in (said, wanted))
    both = precision + recall
    return [2 * precision * recall / both if both else 0.0, precision, recall]


def text(answer: str, reference: str, question: str) -> str:
    return f"[CLS] {answer} [SEP] {plain(reference)} [SEP] {plain(question)} [SEP]"


@dataclass(frozen=True)
class Twin:
    vectorizer: Any
    model: Any

    def probability(self, answer: str, reference: str, question: str) -> float:
        """As the package computes it, with scikit-learn."""
        words = self.vectorizer.transform([text(answer, reference, question)])
        return float(self.model.predict_proba(hstack([words, [features(answer, reference)]]))[0, 0])

    def write(self, folder: Path, dump: Callable[[Any, Any], Any] = pickle.dump) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in (("lr_classifier", self.model), ("tf-idf_vectorizer", self.vectorizer)):
            with (folder / name).open("wb") as file:
                dump(value, file)
        return folder


@cache
def twin(objects: bool = False) -> Twin:
    """`objects`: trained on labels in an array of Python strings, as they come from a table."""
    rng = np.random.default_rng(0)
    items = [(sentence(rng), sentence(rng, 4), sentence(rng, 7)) for _ in range(300)]
    labels = np.array(["correct" if features(a, r)[0] > 0.2 else "incorrect" for a, r, _ in items])
    vectorizer = TfidfVectorizer()
    words = vectorizer.fit_transform([text(*item) for item in items])
    table = hstack([words, np.array([features(a, r) for a, r, _ in items])])
    return Twin(vectorizer, LogisticRegression(C=10).fit(table, labels.astype(object) if objects else labels))
