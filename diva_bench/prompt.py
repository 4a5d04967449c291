"""Task + Sample -> Request. Plain {field} substitution, nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from diva_bench.errors import SpecError
from diva_bench.specs import TaskSpec
from diva_bench.types import Audio, Request, Sample

_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def fill(template: str, fields: Mapping[str, str], where: str) -> str:
    """Replace every {field}; SpecError names the field that is missing and those there are."""

    def value(match: re.Match[str]) -> str:
        key = match.group(1)
        if key not in fields:
            raise SpecError(
                f"{where}: the prompt asks for {{{key}}}; the fields there are: {', '.join(sorted(fields))}."
            )
        return fields[key]

    return _FIELD.sub(value, template)


def build(
    task: TaskSpec,
    sample: Sample,
    accepts: frozenset[str],
    *,
    audio: Audio | None = None,
    prior: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Request:
    """What an adapter that `accepts` these things is asked about one sample; it gets nothing else."""
    fields = {**task.fields, **sample.fields}
    if task.choices:
        fields.setdefault("choices", ", ".join(task.choices))
    return Request(
        id=sample.id,
        prompt=fill(task.prompt, fields, f"task {task.name}").strip(),
        system=fill(task.system, fields, f"task {task.name}").strip() if task.system else None,
        audio=audio if "audio" in accepts else None,
        transcript=sample.transcript if "text" in accepts else None,
        choices=task.choices if "choices" in accepts else None,
        prior=prior if "prior" in accepts else None,
        max_new_tokens=task.decode.max_new_tokens,
        temperature=task.decode.temperature,
        seed=seed,
    )
