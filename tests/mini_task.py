"""Small real tasks on disk for tests: a few WAV clips, a jsonl, a task YAML, an echo model YAML."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

TASK = """\
name: {name}
version: 1
description: a test
prompt: Say {{what}}.
reference: answers
groups: [voice]
fields: {{what: it}}
scorers: {{qa: {{}}}}
primary: contains
editions:
  mini: {{speech: synthetic, source: jsonl, path: {name}.jsonl, rows: {rows}}}
"""


def clip(path: Path, seconds: float, pitch: float = 200.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * 16_000)) / 16_000)
    soundfile.write(path, wave.astype(np.float32), 16_000)


def rows(count: int) -> list[dict[str, object]]:
    return [
        {
            "id": f"q{i:03}",
            "audio": f"audio/q{i:03}.wav",
            "text": f"question {i}",
            "answers": [f"q{i:03}" if i % 2 else "nothing like it"],
            "voice": "ab"[i % 2],
            "cluster": f"c{i // 2}",
        }
        for i in range(count)
    ]


def write(folder: Path, count: int = 10, name: str = "toy", table: list[dict[str, object]] | None = None) -> Path:
    """A folder for --path: echo answers with the id, so half of the answers are right."""
    folder.mkdir(parents=True, exist_ok=True)
    table = rows(count) if table is None else table
    for i, row in enumerate(table):
        if not (folder / str(row.get("audio", "audio/none.wav"))).exists() and "audio" in row:
            clip(folder / str(row["audio"]), 0.2 + 0.05 * (i % 4))
    lines = "".join(json.dumps(row) + "\n" for row in table)
    (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    (folder / f"{name}.yaml").write_text(TASK.format(name=name, rows=len(table)), encoding="utf-8")
    return folder


def model(folder: Path, name: str, **args: object) -> None:
    lines = [f"name: {name}", "adapter: echo", "description: a test", "args: " + json.dumps(args)]
    lines.append("runtime: {dtype: float32, batch_seconds: 3}")
    (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
