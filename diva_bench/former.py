"""Runs of older versions: by which rules they were identified until 2026-11-29, and how they are known.

Then the fingerprint of the data held ids, sound and references, in the order of the file, and nothing else of the
samples; a run's identity held no chat frame. `diva-bench migrate` moves such runs to the ids that they have now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diva_bench.specs import digest, digest_of_rows

COMMAND = "diva-bench migrate"
_TASK = ("task", "subset", "edition", "version", "prompt", "system", "choices", "decode", "fields", "variant")
_MORE = ("fingerprint", "limit", "seed", "audio", "partial")


def is_former(task_record: Mapping[str, Any]) -> bool:
    """Whether a task.json was written by the rules of before."""
    return "rules" not in task_record


def moved(run: Path) -> str:
    """What to do about a run folder of an older version."""
    return (
        f"{run}: was asked by an older version, and has the id that its question had then. `{COMMAND} "
        f"{run.parent.parent}` moves it to the id that it has now; nothing is asked again."
    )


def fingerprint(rows: Iterable[Sequence[object]]) -> str:
    """Of a data set, by the rows that its fingerprint covers now: their first four entries were all."""
    return digest_of_rows(row[:4] for row in rows)


def task_hash(record: Mapping[str, Any]) -> str:
    """What the hash of a task.json was, by what it says."""
    return digest({key: record[key] for key in (*_TASK, *_MORE) if key in record})


def run_hash(task: str, model: Mapping[str, Any], adapter_version: str) -> str:
    """What the hash of a run.json was. `task`: the hash of its task.json; `model`: the resolved spec, as JSON."""
    weights = {
        role: {"format": asset["format"], "files": {file["path"]: file["sha256"] for file in asset["files"]}}
        for role, asset in model["weights"].items()
    }
    asked = {
        "name": model["name"],
        "edition": model["edition"],
        "adapter": model["adapter"],
        "args": model["args"],
        "weights": weights,
        "dtype": model["runtime"]["dtype"],
    }
    return digest({"task": task, "model": asked, "adapter_version": adapter_version})
