"""Rows, samples and what a fingerprint covers, in little memory: sequences of `diva_bench.packed`.

The clip of a row stays in memory as an object, because only its reader knows how it is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from diva_bench.data.readers import ClipSource, Raw
from diva_bench.packed import Packing, packed
from diva_bench.types import Sample

Covered = Sequence[object]
"""The entry of one row in `Dataset.covered`."""


def raws(rows: Iterable[Raw]) -> Sequence[Raw]:
    """The rows of a reader."""
    clips: dict[int, ClipSource] = {}
    foreign: dict[int, Mapping[str, Any]] = {}  # values that JSON cannot keep

    def dump(place: int, row: Raw) -> bytes:
        if row.clip is not None:
            clips[place] = row.clip
        values: Mapping[str, Any] = row.values if isinstance(row.values, dict) else dict(row.values)
        try:
            exact = json.loads(json.dumps(values)) == values
        except (TypeError, ValueError):
            exact = False
        if not exact:
            foreign[place], values = values, {}
        return json.dumps([row.where, values, row.fault]).encode()

    def load(place: int, content: bytes) -> Raw:
        where, values, fault = json.loads(content)
        return Raw(where, foreign.get(place, values), clips.get(place), fault)

    return packed(rows, dump, load)


def samples() -> Packing[Sample]:
    """For the samples of a data set."""
    reads: dict[int, Callable[[], bytes]] = {}

    def dump(place: int, s: Sample) -> bytes:
        if s.read is not None:
            reads[place] = s.read
        row = [s.id, s.references, s.cluster, s.seconds, s.transcript, dict(s.fields), dict(s.groups)]
        return json.dumps(row).encode()

    def load(place: int, content: bytes) -> Sample:
        ident, references, cluster, seconds, transcript, fields, groups = json.loads(content)
        return Sample(ident, tuple(references), cluster, reads.get(place), seconds, transcript, fields, groups)

    return Packing(dump, load)


def covered() -> Packing[Covered]:
    """For `Dataset.covered`."""
    return Packing(lambda place, row: json.dumps(row).encode(), lambda place, content: list(json.loads(content)))
