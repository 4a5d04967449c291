"""What the scorer tests share: small specs, samples and responses, and seeded sentences."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from diva_bench.decoding.from_pedants import Weights
from diva_bench.specs import DataSpec, Decode, TaskSpec
from diva_bench.types import LabelScore, Response, Sample


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
