"""What the scorer tests share: small specs, samples and responses, sentences of many kinds, and what a judge was asked."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from diva_bench.specs import DataSpec, Decode, TaskSpec
from diva_bench.types import LabelScore, Response, Sample
from diva_bench.weights.from_pedants import Weights

MILK = {
    "ar": "ذهبت إلى السوق لشراء الخبز والحليب.",
    "ca": "Vaig anar al mercat a comprar pa i llet.",
    "cy": "Es i i'r farchnad i brynu bara a llaeth.",
    "de": "Ich bin auf den Markt gegangen, um Brot und Milch zu kaufen.",
    "en": "I went to the market to buy bread and milk.",
    "et": "Ma läksin turule leiba ja piima ostma.",
    "fa": "من به بازار رفتم تا نان و شیر بخرم.",
    "id": "Saya pergi ke pasar untuk membeli roti dan susu.",
    "ja": "私はパンと牛乳を買いに市場へ行きました。",
    "lv": "Es devos uz tirgu pirkt maizi un pienu.",
    "mn": "Би зах руу талх, сүү авахаар явсан.",
    "sl": "Šel sem na tržnico kupit kruh in mleko.",
    "sv": "Jag gick till marknaden för att köpa bröd och mjölk.",
    "ta": "நான் ரொட்டியும் பாலும் வாங்க சந்தைக்குச் சென்றேன்.",
    "tr": "Ekmek ve süt almak için pazara gittim.",
    "zh": "我去市场买面包和牛奶。",
}
"""The same sentence in every language that can be asked for."""


def task(**changes: Any) -> TaskSpec:
    known: dict[str, Any] = {
        "name": "trial-de",
        "task": "trial",
        "subset": "de",
        "edition": "mini",
        "version": 1,
        "prompt": "Translate.",
        "system": None,
        "choices": None,
        "synonyms": {},
        "decode": Decode(),
        "reference": "de",
        "scorers": {},
        "primary": "bleu",
        "data": DataSpec(source="jsonl", path="rows.jsonl", rows=1),
        "home": Path(),
        "fields": {},
        **dict.fromkeys(("description", "citation", "licence"), ""),
        **dict.fromkeys(("suites", "groups"), ()),
    }
    return TaskSpec(**known | changes)


def sample(*references: str, id: str = "a", **more: Any) -> Sample:
    return Sample(id=id, references=references, cluster=id, **more)


@cache
def pedants_folder() -> Path:
    """Weights of a PEDANTS that knows four words, for tests that do not look at its number."""
    folder = Path(tempfile.mkdtemp(prefix="pedants-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    weights = Weights(("cls", "joy", "anger", "sep"), np.ones(4), np.array([0, -0.5, 0.5, 0, -3, -1, -1.0]), 1.0)
    weights.save(folder)
    return folder


def said(text: str = "", **more: Any) -> Response:
    return Response(id="a", text=text, **more)


def scored(totals: Sequence[float], choices: Sequence[str], text: str = "") -> Response:
    """A response with whole-label log-likelihoods; each label has one token."""
    return said(text, choices={c: LabelScore(t, 1, t) for c, t in zip(choices, totals, strict=True)})


def sentences(rng: np.random.Generator, n: int, words: Sequence[str], longest: int = 14) -> list[str]:
    """Random sentences, the empty one and short ones among them."""
    return [" ".join(rng.choice(words, rng.integers(0, longest))) for _ in range(n)]


def asked(specs: Path) -> list[str]:
    """Whom a judge that logs to asked.log in `specs` was asked about (key[:16] of each prompt)."""
    log = specs / "asked.log"
    return log.read_text(encoding="utf-8").split() if log.exists() else []


def judge_lines(folder: Path) -> list[dict[str, object]]:
    """The file of replies in a run folder, its head first."""
    (file,) = folder.glob("judge-*.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
