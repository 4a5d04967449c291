"""Task + Sample -> Request, with plain {field} substitution; and the prompt variants of a task."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diva_bench.errors import SpecError, UserError
from diva_bench.packed import in_order
from diva_bench.specs import FIELD, TaskSpec, digest_of_rows
from diva_bench.types import SPEECH_LANGUAGE, Audio, Request, Sample


def fill(template: str, fields: Mapping[str, str], where: str) -> str:
    """Replace every {field}. Raises SpecError, which names a missing field and the available ones."""

    def value(match: re.Match[str]) -> str:
        key = match.group(1)
        if key not in fields:
            raise SpecError(
                f"{where}: the prompt asks for {{{key}}}; the fields there are: {', '.join(sorted(fields))}."
            )
        return fields[key]

    return FIELD.sub(value, template)


def filled(template: str, fields: Mapping[str, str]) -> str:
    """The text for readers: fields with one value for all samples are replaced, and others stay as {field}."""
    return FIELD.sub(lambda match: str(fields.get(match.group(1), match.group())), template)


def check(task: TaskSpec, samples: Iterable[Sample]) -> None:
    """Raises SpecError if a sample lacks a field of the prompt or of a prompt variant."""
    written = [task.prompt, task.system or "", *task.prompts]
    texts = [*written, task.fields.get(SPEECH_LANGUAGE, "")]
    fields = {name for text in texts for name in FIELD.findall(text)} - task.fields.keys()
    fields -= {"choices"} if task.choices else set()
    for sample in samples if fields else ():
        if missing := sorted(fields - sample.fields.keys()):
            asks = "the prompt" if missing[0] in FIELD.findall(" ".join(written)) else f"fields.{SPEECH_LANGUAGE}"
            raise SpecError(
                f"task {task.name}: {asks} asks for {{{missing[0]}}}, which sample {sample.id!r} does not have as text; "
                f"the fields there are: {', '.join(sorted({**task.fields, **sample.fields}.keys() - {SPEECH_LANGUAGE}))}."
            )


def build(
    task: TaskSpec,
    sample: Sample,
    accepts: frozenset[str],
    *,
    audio: Audio | None = None,
    prior: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Request:
    """The request about one sample, with only the inputs that the adapter `accepts`."""
    fields = {**task.fields, **sample.fields}
    if task.choices:
        fields.setdefault("choices", ", ".join(task.choices))
    facts = {"language_code": language} if (language := task.target_language) else {}
    if SPEECH_LANGUAGE in task.fields:
        facts[SPEECH_LANGUAGE] = fill(task.fields[SPEECH_LANGUAGE], fields, f"task {task.name}")
    return Request(
        id=sample.id,
        prompt=fill(task.prompt, fields, f"task {task.name}").strip(),
        system=fill(task.system, fields, f"task {task.name}").strip() if task.system else None,
        audio=audio if "audio" in accepts else None,
        transcript=sample.transcript if "text" in accepts else None,
        choices=task.choices if "choices" in accepts else None,
        prior=prior if accepts & {"prior", "speaker"} else None,
        max_new_tokens=task.decode.max_new_tokens,
        temperature=task.decode.temperature,
        seed=seed,
        fields=facts,
    )


def questions(task: TaskSpec, samples: Sequence[Sample]) -> str:
    """sha256 of the rendered prompts and system messages of all samples, in the order of ids."""
    requests = (build(task, sample, frozenset()) for sample in in_order(samples, lambda s: s.id))
    return digest_of_rows([request.id, request.prompt, request.system] for request in requests)


# ---------------------------------------------------------------- prompt variants


def changed(task: TaskSpec, text: str | None, system: str | None, max_new_tokens: int | None) -> TaskSpec:
    """The task with another prompt, system message ("": none) or limit of answer tokens; None keeps the task's.
    `TaskSpec.overrides` has the changes."""
    values = {
        "prompt": task.prompt if text is None else text,
        "system": task.system if system is None else system or None,
        "max_new_tokens": task.decode.max_new_tokens if max_new_tokens is None else max_new_tokens,
    }
    own = {"prompt": task.prompt, "system": task.system, "max_new_tokens": task.decode.max_new_tokens}
    return again(task, {key: value for key, value in values.items() if value != own[key]})


def again(task: TaskSpec, overrides: Mapping[str, Any]) -> TaskSpec:
    """The task with the changes in a run.json."""
    if not overrides:
        return task
    changes: dict[str, Any] = {key: overrides[key] for key in ("prompt", "system") if key in overrides}
    if "max_new_tokens" in overrides:
        length = {"max_new_tokens": overrides["max_new_tokens"]}
        changes["decode"] = task.decode.model_copy(update=length)
    if "prompt" in overrides:
        changes["prompts"] = ()  # its prompt variants belong to another prompt
    return task.model_copy(update={**changes, "overrides": dict(overrides)})


def variants(task: TaskSpec, count: int) -> list[TaskSpec]:
    """The first `count` prompt variants of a task, the main prompt first. Raises UserError if there are fewer."""
    have = 1 + len(task.prompts)
    if count > have:
        raise UserError(
            f"--prompts {count}: task {task.name} has {have} (its prompt and {have - 1} paraphrases). Ask for fewer, "
            "or add to `prompts:` in its YAML file."
        )
    return [variant(task, number) for number in range(count)]


def variant(task: TaskSpec, number: int) -> TaskSpec:
    """Prompt variant `number` of a task: 0 is the task itself, other numbers a paraphrase with another order of labels.

    The order is that of {choices} in the prompt and of the choices (which decides ties of scores). It depends only on
    the task's name and the number; all orders occur before one repeats.

    Raises:
        UserError: There is no such variant.
    """
    if number == 0:
        return task
    if not 0 < number <= len(task.prompts):
        raise UserError(f"task {task.name} has no paraphrase {number}; it has {len(task.prompts)}.")
    choices = label_orders(task.choices, number + 1, task.task)[number] if task.choices else None
    return task.model_copy(update={"prompt": task.prompts[number - 1], "choices": choices, "variant": number})


def label_orders(choices: tuple[str, ...], count: int, seed: str) -> list[tuple[str, ...]]:
    """`count` orders of labels, the given one first; all orders occur equally often, up to one."""
    orders, draw = [choices], 0
    while len(orders) < count:
        draws = tuple(sorted(choices, key=lambda c: hashlib.sha256(f"{seed}:{draw}:{c}".encode()).digest()))
        draw += 1
        if orders.count(draws) <= len(orders) // math.factorial(len(choices)):
            orders.append(draws)
    return orders
