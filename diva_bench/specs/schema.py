"""Shared by all schemas: strict values, names, and the canonical hash of a value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Strict, StringConstraints

Edition = Literal["full", "mini", "mini-v1", "nano"]
"""Data has full, mini and mini-v1 (the first mini data, 48 clips per task); models have full, mini and nano."""


def models_of(data: Edition) -> Edition:
    """The edition of models that belongs to an edition of data."""
    return "mini" if data == "mini-v1" else data


Json = dict[str, Any]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]


class Spec(BaseModel):
    """Base of all schemas: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Truth = Annotated[bool, Strict()]
"""Values of YAML files are not converted: `true` is not 1, "1" is not a number, and 1 is not true."""


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of a value: sorted keys, no spaces, UTF-8. Half a surrogate pair, which JSON can
    contain and UTF-8 cannot, has a hash too."""
    return hashlib.sha256(_canonical(value)).hexdigest()


def digest_of_rows(rows: Iterable[Any]) -> str:
    """`digest` of a list, with at most one row in memory as JSON."""
    state = hashlib.sha256(b"[")
    for number, row in enumerate(rows):
        state.update(b"," * (number > 0) + _canonical(row))
    state.update(b"]")
    return state.hexdigest()


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _canonical(value: Any) -> bytes:
    return _CANONICAL.encode(value).encode("utf-8", "surrogatepass")
