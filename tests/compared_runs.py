"""Three systems' answers to 30 questions in two voices, made runs by `diva-bench import`: to be compared, or spoilt."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import mini_task
import numpy as np
from command_line import call

from diva_bench.catalog import Catalog
from diva_bench.runs import Run
from diva_bench.runs.aligned import Sheet, sheet
from diva_bench.types import Silent

QUESTIONS = 30
RIGHT = {"good": {0: 0.9, 1: 0.8}, "bad": {0: 0.5, 1: 0.2}, "middle": {0: 0.6, 1: 0.5}}


def table() -> list[dict[str, object]]:
    """Every question asked by two voices; what is right is the question's number."""
    return [
        {
            "id": f"q{i:03}",
            "audio": "audio/one.wav",
            "text": f"question {i // 2}",
            "answers": [f"answer {i // 2}", "another"],
            "voice": "ab"[i % 2],
            "cluster": f"c{i // 2:02}",
        }
        for i in range(2 * QUESTIONS)
    ]


def imported(folder: Path) -> Path:
    """A task of 30 questions in two voices, and three systems' answers to it, imported by the command."""
    mini_task.write(folder, table=table())
    rng = np.random.default_rng(0)
    for name, share in RIGHT.items():
        lines = []
        for i, row in enumerate(table()):
            text = row["answers"][0] if rng.random() < share[i % 2] else "the answer\nis unknown"  # type: ignore[index]
            lines.append(json.dumps({"id": row["id"], "text": text}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        asked = ("import", f"{name}.jsonl", "--task", "toy", "--model-name", name, "--edition", "mini", "--path", ".")
        done = command(folder, *asked, "--output", "results")
        assert done.returncode == 0, done.stderr
    return folder


def command(folder: Path, *words: str, width: int = 120) -> subprocess.CompletedProcess[str]:
    return call(folder, *words, COLUMNS=str(width))


def run_of(folder: Path, name: str) -> Path:
    (found,) = (folder / "results").glob(f"*/{name}-*")
    return found


def lined(folder: Path, *names: str) -> Sheet:
    return sheet([Run.open(run_of(folder, name)) for name in names], Catalog([folder]), Silent())


def copied(folder: Path, to: Path, name: str) -> Path:
    """A run in another results folder, to be spoilt."""
    source = run_of(folder, name)
    target = to / source.parent.name / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source.parent / "task.json", target.parent / "task.json")
    return Path(shutil.copytree(source, target))
