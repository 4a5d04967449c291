"""Lines of JSON in a run folder: read, check and write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from diva_bench.disk import size
from diva_bench.errors import UnreadableRun
from diva_bench.runs import schemas
from diva_bench.specs import Json
from diva_bench.specs.problems import words

REMOVE = "Remove that line to continue."
"""The advice for a damaged line of answers."""
LONGEST = 1 << 24
"""Bytes of the longest line; a longer one is neither an answer nor a row, and would fill the memory."""


def read_lines(path: Path, remedy: str = "Is this a run folder?") -> Iterator[tuple[int, int, bytes]]:
    """(number from 1, byte offset, bytes) of every complete line; an incomplete last line is skipped. Raises UnreadableRun
    for a line of more than LONGEST bytes."""
    offset, number = 0, 0
    try:
        with path.open("rb") as file:
            while line := file.readline(LONGEST + 1):
                number += 1
                if len(line) > LONGEST:
                    raise UnreadableRun(f"{path}:{number}: is longer than {size(LONGEST)}. {remedy}")
                if not line.endswith(b"\n"):
                    return
                yield number, offset, line
                offset += len(line)
    except OSError as err:
        raise UnreadableRun(f"{path}: cannot be read ({err.strerror}). {remedy}") from err


def parsed(line: bytes, schema: TypeAdapter[Any], where: str, remedy: str, *, newer: bool = False) -> Any:
    """A line that was checked against its schema.

    Args:
        newer: A newer version wrote it, so unknown keys are left out. A line with a schema number of its own does not
            need this.
    """
    try:
        return schema.validate_json(line)
    except ValidationError as err:
        problem = err.errors(include_url=False)[0]
        if problem["type"] == "json_invalid":
            raise UnreadableRun(f"{where}: is not valid JSON ({problem['ctx']['error']}). {remedy}") from err
        raw = json.loads(line)
        lenient = isinstance(raw, dict) and (newer or schemas.is_newer(raw))
        if lenient and (rest := schemas.without_unknown(raw, err)) is not None:
            return parsed(line_of(rest), schema, where, remedy)
        raise UnreadableRun(f"{where}: {words(err)}. {remedy}") from err


_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def line_of(row: Json) -> bytes:
    return _COMPACT.encode(row).encode("utf-8") + b"\n"
