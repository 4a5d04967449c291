"""Twins of the released outputs of the DiVA paper's ablations: the files' shapes and the systems' failings, our own words.

Three tasks with the specs and owners' files of the paper's (HeySQuAD, MELD, MUStARD), smaller; five systems: `DiVA`;
`distill-only`, which ignores the form that was asked for; `align-only`, which repeats itself; `MLP`, which collapsed to a
word and a label; `no-init`, which is nearly as good. Answers stand in files as github.com/SALT-NLP/DiVA-Eval has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import corpora
import numpy as np
import yaml

SYSTEMS = ("DiVA", "distill-only", "align-only", "MLP", "no-init")
TASKS = ("twin-heysquad", "twin-meld", "twin-mustard")
EMOTIONS = {"neutral": 48, "joy": 16, "anger": 14, "surprise": 11, "sadness": 8, "disgust": 3, "fear": 2}
QUESTIONS, REMARKS = 120, 60
MEANS = {"DiVA": 0.55, "distill-only": 0.525, "align-only": 0.35, "MLP": 0.29, "no-init": 0.48}
SAID = {
    "DiVA": "The answer is number {i}.",
    "distill-only": "That is a good question, and there is much to say. " * 4 + "It may be {i}.",
    "align-only": "number {i} " * 20,
    "MLP": "I",
    "no-init": "It is number {i}, I think.",
}
_SHIPPED = Path(__file__).parents[1] / "tasks" / "paper"


def write(folder: Path) -> Path:
    """specs/, data/, <system>/<task>.txt and all.csv, which names the fifteen files."""
    _specs(folder / "specs")
    questions = [
        {"id": f"57096{i:03}", "question": f"Which is {i}?", "answers": [{"text": f"number {i}"}]}
        for i in range(QUESTIONS)
    ]
    passages = [{"context": f"Passage {k}.", "qas": questions[k::30]} for k in range(30)]
    tree = {"data": [{"title": "The", "paragraphs": passages}]}
    corpora.put(folder / "data/HeySQuAD/dev-common-original-1002.json", json.dumps(tree))
    labels = emotions()
    corpora.meld(folder / "data/MELD.Raw", [(i // 4, i % 4, "Joey", e) for i, e in enumerate(labels)], sound="")
    remarks = {f"1_{i}": ("BBT", f"P{i // 3}", i % 2 == 0) for i in range(REMARKS)}
    corpora.mustard(folder / "data/MUStARD", remarks, sound="")
    lines = ["file,task,model_name"]
    for system in SYSTEMS:
        for task, rows in answers(system).items():
            text = "".join(f'{ident}[SEP_DIAL]"""{said}"""[SEP_DIAL]{score}\n' for ident, said, score in rows)
            corpora.put(folder / system / f"{task}.txt", text)
            lines.append(f"{system}/{task}.txt,{task},{system}")
    corpora.put(folder / "all.csv", "\n".join(lines) + "\n")
    return folder


def _specs(folder: Path) -> None:
    """The paper's own tasks by another name, with counts of ours and without the scorer that looks at the language."""
    changes: dict[str, dict[str, Any]] = {
        "heysquad": {"rows": QUESTIONS, "total": [QUESTIONS]},
        "meld": {
            "rows": sum(EMOTIONS.values()),
            "labels": {k.capitalize(): n for k, n in EMOTIONS.items()},
            "exclude": {},
        },
        "mustard": {"rows": REMARKS, "labels": {"Yes": REMARKS // 2, "No": REMARKS // 2}},
    }
    for name, change in changes.items():
        spec = yaml.safe_load((_SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"))
        spec["name"] = f"twin-{name}"
        spec["scorers"].pop("adherence")
        spec["editions"]["full"] |= change
        corpora.put(folder / f"twin-{name}.yaml", yaml.safe_dump(spec))


def emotions() -> list[str]:
    """The right label of every row of twin-meld."""
    rng = np.random.default_rng(0)
    return list(rng.permutation([e for e, n in EMOTIONS.items() for _ in range(n)]))


def answers(system: str) -> Mapping[str, list[tuple[str, str, float]]]:
    """Task -> (id, text, score) of every row, as the system's files have them."""
    rng = np.random.default_rng(SYSTEMS.index(system) + 1)
    scores = np.clip(rng.normal(MEANS[system], 0.2, QUESTIONS), 0, 1)
    quiz = [(f"57096{i:03}", SAID[system].format(i=i), float(scores[i])) for i in range(QUESTIONS)]
    gold = emotions()
    right = {"DiVA": 0.55, "no-init": 0.5, "distill-only": 0.1, "align-only": 0.05, "MLP": 0.0}[system]
    one = {"align-only": "Dis", "MLP": "J"}.get(
        system
    )  # the label that a collapsed system always takes, by its first token
    mood: list[tuple[str, str, float]] = []
    for i, emotion in enumerate(gold):
        said = emotion if rng.random() < right else one or str(rng.choice(list(EMOTIONS)))
        token = {"joy": "J", "disgust": "Dis", "anger": "Ang", "neutral": "Ne"}.get(said, said).capitalize()
        mood.append((str(i), token, float(emotion.capitalize().startswith(token))))
    yes = {"MLP": 0.95, "DiVA": 0.68}.get(system, 0.5)
    remarks: list[tuple[str, str, float]] = []
    for i in range(REMARKS):
        said = "Yes" if rng.random() < yes else "No"
        remarks.append((str(i), said, float((said == "Yes") == (i % 2 == 0))))
    return dict(zip(TASKS, (quiz, mood, remarks), strict=True))
