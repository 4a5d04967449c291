"""Two small tasks without sound, files of answers to them, and the runs that `diva-bench import` makes of these."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from diva_bench.cli.import_ import import_all
from diva_bench.evaluation.importing import Import
from diva_bench.runs.store import RunFolder

QA = """\
name: quiz
version: 1
description: a test
prompt: Answer.
reference: answers
groups: [voice]
scorers: {qa: {}}
primary: contains
editions:
  full: {source: jsonl, path: quiz.jsonl, rows: 6}
"""
MOOD = """\
name: mood
version: 1
description: a test
prompt: "One of {choices}."
choices: [anger, joy, neutral]
reference: label
scorers: {labels: {}}
primary: accuracy
editions:
  full: {source: jsonl, path: mood.jsonl, rows: 6}
"""
GOLD_LABELS = ("anger", "joy", "neutral", "joy", "anger", "neutral")


def two_tasks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tasks of six rows, labels and answers only: no sound is at hand."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(folder / "cache"))
    monkeypatch.setenv("DIVA_BENCH_PATH", "")
    monkeypatch.setenv("COLUMNS", "200")
    specs = folder / "specs"
    specs.mkdir()
    for name, text in (("quiz", QA), ("mood", MOOD)):
        (specs / f"{name}.yaml").write_text(text)
        rows = [
            {"id": f"{name[0]}{i}", "answers": [f"right {i}"], "label": GOLD_LABELS[i], "voice": "ab"[i % 2]}
            | {"cluster": f"c{i // 2}"}
            for i in range(6)
        ]
        (specs / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Path(name)


def answers(right: int = 3, count: int = 6) -> list[dict[str, Any]]:
    return [{"id": f"q{i}", "text": f"It is right {i}." if i < right else "no"} for i in range(count)]


def diva_eval(name: str, rows: Sequence[tuple[object, str, object]]) -> Path:
    Path(name).write_text("".join(f'{i}[SEP_DIAL]"""{text}"""[SEP_DIAL]{score}\n' for i, text, score in rows))
    return Path(name)


def load(*files: Path, **changes: Any) -> int:
    known: dict[str, Any] = {"task": "quiz", "model_name": "other", "paths": [Path("specs")]} | changes
    paths = known.pop("paths")
    return import_all([("", Import(files=list(files), **known))], paths)


def only(task: str = "*", run: str = "*", where: str = "results") -> RunFolder:
    (path,) = [p.parent for p in Path(where).glob(f"{task}/{run}/run.json")]
    return RunFolder(path)


def value(folder: RunFolder, metric: str) -> float:
    return float(folder.summary()["metrics"][metric]["value"])
