"""What all schemas share: strict values, names, and the canonical hash of a value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Strict, StringConstraints

Edition = Literal["full", "mini", "nano"]
Json = dict[str, Any]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]


class Spec(BaseModel):
    """What all schemas share: nothing can be changed, unknown keys are errors, a field's docstring is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Truth = Annotated[bool, Strict()]
"""Of a YAML file each is what was written: `true` is no 1, "1" is no number, and 1 is not true."""


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of a value: sorted keys, no spaces, UTF-8; half a surrogate pair, which JSON can say
    and UTF-8 cannot, has a hash too."""
    return hashlib.sha256(_canonical(value)).hexdigest()


def digest_of_rows(rows: Iterable[Any]) -> str:
    """`digest` of a list of which no more than one row is in memory as JSON."""
    state = hashlib.sha256(b"[")
    for number, row in enumerate(rows):
        state.update(b"," * (number > 0) + _canonical(row))
    state.update(b"]")
    return state.hexdigest()


def _canonical(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")
