"""Identities by the rules of older versions (until 2026-11-29), which `diva-bench migrate` needs, and editions by their
former names.

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
    "mini-v1/covost2.jsonl": "f52f29235c5d95834ba043e3090847a4f4f18f9043f58f2e5ee065c260c5dcb4",
    "mini-v1/heysquad.jsonl": "f5522b6fe12a501af6a52db103825b045d73b700ab76afe00e5dccfd6e9792ec",
    "mini-v1/iemocap.jsonl": "86d5bbcfd307605e9a9c12c982ce5bddde19774dbfc1f14cae21bf6411d71b22",
    "mini-v1/meld.jsonl": "3b393dafb4955cc729a66db4e0230061f121ab087dafd5b4e59645a21c53772f",
    "mini-v1/mustard.jsonl": "73ab89ea692d1bfc3bc97ffdedf844ef76cf831dd2cccd9e27f39a63c1390879",
    "mini-v1/sdqa.jsonl": "32c6c273e6a0083c705c9b5bc963abe8d2613622b2a0ba8940c8011ebbc52cfe",
    "mini-v1/urfunny.jsonl": "6a39d7d9d56dda9437f966e1dc585e02463ff58ad06f34127c257c239b54d58a",
}
"""Shipped data file -> hash of its ids and transcripts, which no version changed (see the history of tasks/mini)."""

_FIRST_MINI = {
    "aedad821c1b7062e69ae8f52d416cdc2ec656af75e442516becef3d4b4227e19",  # covost2-de
    "df5b090d89a61a07856207ef2f7119176004e4ffe4aee620d95ebd1b5f6f72bf",
    "b9849d550e36fc1bcc4426d19e77669c5a088d45bfaf8300440861401344a13f",  # covost2-ja
    "b2899d1882b2e2960ebc8be9bff348a311afcdff55402a4e048c4ff0e5ec8e68",
    "2d333e5f215df9e43b2e835867cfc9b8cfb8fb45d5c52d9d5a45e0ab50dcaf04",  # covost2-zh-CN
    "4c3be45b32d7911ab6a40c5c848972a86c88eebdc84e2e5f26a564c3af09432e",
    "190c8164cbd2223294d794ee693c05985b912a66028e717acc2a5602d4a00fa9",  # heysquad
    "ee9c0e920328b2727a1eefc108f3f57e886ee278dff5b82585bf4e3b4f61f2a5",
    "c0c9a68cc52f0ea1da119d1340a65de74950af09e42efe7b9ef78c7834322836",  # iemocap
    "7a03b721324fa5846522f28e8dcdda39193698a62c4ece0fac99150c28141baa",
    "02e0a606eccba327a633c1226cbe44ca38f8887d2c207f9b63c421a62ca66d4c",  # meld
    "4b896ed162c76c1613825e4b77b0d20b73820c008a04040d6882236bb431bedc",
    "fecf8f4089e9b5fa2336a0e8da074baf363503b95dd7c4743d6cb7686c243afc",  # mustard
    "e05125be01e861a122bb8860b110d9cca02c4a257431a315c88929c57ded1623",
    "937897c56a05a6fe5d9fce0b7a7815e961c0a3c13d6620c60d3a20cafa407d24",  # sdqa
    "44dcb497e07d91a5c248d81be8310ec6b942e2b19a9a0c1771ccf0c5e17107b2",
    "281aa5f6c670dfe1627c1195797cfe615410e55e7ec31e4586d184873d22ead8",  # transcribe
    "eaff03148df024c62bbb79e0937330b6ee300794bda9bf478441bdad1e12b0a0",
    "2a50efbec1d3501f90afe307615766c4a3c20b29df20b47057346837ac0b7882",  # urfunny
    "e70fd8c8dc46e382c2f028b99f70b511b9178273d019cf942d19aa5469aa9f6e",
}
"""Fingerprints of the first mini data, by the rules of today and by those before."""


def edition(recorded: str, task_record: Mapping[str, Any]) -> str:
    """The present name of the edition that a record of a run has. The data of mini-v1 was called mini before mini had a
    second version."""
    return "mini-v1" if recorded == "mini" and task_record.get("fingerprint") in _FIRST_MINI else recorded


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
