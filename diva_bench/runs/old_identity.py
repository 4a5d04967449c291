"""Runs of older versions: by which rules they were identified until 2026-11-29, and what may be said of their questions now.

Then the fingerprint of the data held ids, sound and references, in the order of the file, and nothing else of the
samples; a run's identity held no chat frame. `diva-bench migrate` moves such runs to the ids that they have now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diva_bench.specs import FIELD, TaskSpec, digest, digest_of_rows
from diva_bench.types import Sample

COMMAND = "diva-bench migrate"
_TASK = ("task", "subset", "edition", "version", "prompt", "system", "choices", "decode", "fields", "variant")
_MORE = ("fingerprint", "limit", "seed", "audio", "partial")
_SHIPPED = {
    "mini/covost2.jsonl": "f52f29235c5d95834ba043e3090847a4f4f18f9043f58f2e5ee065c260c5dcb4",
    "mini/heysquad.jsonl": "f5522b6fe12a501af6a52db103825b045d73b700ab76afe00e5dccfd6e9792ec",
    "mini/iemocap.jsonl": "86d5bbcfd307605e9a9c12c982ce5bddde19774dbfc1f14cae21bf6411d71b22",
    "mini/meld.jsonl": "3b393dafb4955cc729a66db4e0230061f121ab087dafd5b4e59645a21c53772f",
    "mini/mustard.jsonl": "73ab89ea692d1bfc3bc97ffdedf844ef76cf831dd2cccd9e27f39a63c1390879",
    "mini/sdqa.jsonl": "32c6c273e6a0083c705c9b5bc963abe8d2613622b2a0ba8940c8011ebbc52cfe",
    "mini/urfunny.jsonl": "6a39d7d9d56dda9437f966e1dc585e02463ff58ad06f34127c257c239b54d58a",
}
"""Data file that ships -> hash of its ids and transcripts, which no version changed (the history of tasks/mini has it)."""


def is_former(task_record: Mapping[str, Any]) -> bool:
    """Whether a task.json was written by the rules of before."""
    return "rules" not in task_record


def moved(run: Path) -> str:
    """What to do about a run folder of an older version."""
    return (
        f"{run}: was made by an older version and has an old id. `{COMMAND} "
        f"{run.parent.parent}` moves it to its current id; no model is run."
    )


# ---------------------------------------------------------------- identities


def task_hash(record: Mapping[str, Any]) -> str:
    """What the hash of a task.json was, by what it says."""
    return digest(identity(record))


def identity(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a task.json was hashed."""
    return {key: record[key] for key in (*_TASK, *_MORE) if key in record}


def run_hash(task: str, model: Mapping[str, Any], adapter_version: str) -> str:
    """What the hash of a run.json was. `task`: the hash of its task.json; `model`: the resolved spec, as JSON."""
    weights = {
        role: {"format": asset["format"], "files": {file["path"]: file["sha256"] for file in asset["files"]}}
        for role, asset in model["weights"].items()
    }
    identity = {
        "name": model["name"],
        "edition": model["edition"],
        "adapter": model["adapter"],
        "args": model["args"],
        "weights": weights,
        "dtype": model["runtime"]["dtype"],
    }
    return digest({"task": task, "model": identity, "adapter_version": adapter_version})


# ---------------------------------------------------------------- what they said nothing of


def untold(task: TaskSpec, samples: Sequence[Sample], accepts: frozenset[str], shuffled: bool) -> list[str]:
    """What the questions to one adapter take from the data that its identity said nothing of; empty where it said all."""
    shown = set(FIELD.findall(f"{task.prompt} {task.system or ''}"))
    columns = sorted(name for name in shown if any(name in sample.fields for sample in samples))
    return [
        *(f"the column {name!r} that the prompt shows" for name in columns),
        *(["the transcripts"] if "text" in accepts or shuffled else []),
        *(["who speaks"] if "speaker" in accepts else []),
        *(["the clusters, which say whose clip is heard"] if shuffled else []),
    ]


def shipped(data: str | None, samples: Sequence[Sample]) -> bool:
    """Whether the transcripts of a data file of ours are those that it has had in every version."""
    return data in _SHIPPED and _SHIPPED[data] == spoken(samples)


def spoken(samples: Sequence[Sample]) -> str:
    """Hash of ids and transcripts, in the order of the ids."""
    return digest_of_rows([sample.id, sample.transcript] for sample in sorted(samples, key=lambda s: s.id))
