"""Identities by the rules of older versions (until 2026-11-29), which `diva-bench migrate` needs.

Then the fingerprint of the data had only ids, audio and references, in the order of the file, and the identity of a run
had no chat frame. `diva-bench migrate` moves such runs to their current ids.
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
"""Shipped data file -> hash of its ids and transcripts, which no version changed (see the history of tasks/mini)."""


def is_former(task_record: Mapping[str, Any]) -> bool:
    """Whether a task.json was written by the old rules."""
    return "rules" not in task_record


def moved(run: Path) -> str:
    """The message about a run folder of an older version."""
    return (
        f"{run}: was made by an older version and has an old id. `{COMMAND} "
        f"{run.parent.parent}` moves it to its current id; no model is run."
    )


# ---------------------------------------------------------------- identities


def task_hash(record: Mapping[str, Any]) -> str:
    """The old hash of a task.json."""
    return digest(identity(record))


def identity(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a task.json that was hashed."""
    return {key: record[key] for key in (*_TASK, *_MORE) if key in record}


def run_hash(task: str, model: Mapping[str, Any], adapter_version: str) -> str:
    """The old hash of a run.json.

    Args:
        task: The hash of its task.json.
        model: The resolved spec, as JSON.
    """
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
    """Everything that the questions to one adapter use of the data, but that its old identity did not cover; empty if it
    covered all."""
    fields_in_prompt = set(FIELD.findall(f"{task.prompt} {task.system or ''}"))
    columns = sorted(name for name in fields_in_prompt if any(name in sample.fields for sample in samples))
    return [
        *(f"the column {name!r} that the prompt shows" for name in columns),
        *(["the transcripts"] if "text" in accepts or shuffled else []),
        *(["who speaks"] if "speaker" in accepts else []),
        *(["the clusters, which decide the exchange of clips"] if shuffled else []),
    ]


def shipped(data: str | None, samples: Sequence[Sample]) -> bool:
    """Whether the transcripts of a shipped data file are those of every version."""
    return data in _SHIPPED and _SHIPPED[data] == transcripts_hash(samples)


def transcripts_hash(samples: Sequence[Sample]) -> str:
    """Hash of ids and transcripts, in the order of the ids."""
    return digest_of_rows([sample.id, sample.transcript] for sample in sorted(samples, key=lambda s: s.id))
