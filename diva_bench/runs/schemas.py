"""Schemas of the files in a run folder. Every file is checked when it is read and before it is written.

run.json, task.json, summary.json and the first line of scores.jsonl have the number of their schemas (SCHEMA);
responses, timing and events have that of the run.json beside them. A file without a number is of version 1. `store`
opens the files. The schema of responses.jsonl is in decoding/response.py, because adapters must follow it.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Annotated, Any, Literal, NotRequired, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic requires this one before Python 3.12

from diva_bench.errors import UnreadableRun
from diva_bench.specs import Json, ModelSpec, Speech, digest
from diva_bench.specs.problems import words

SCHEMA = 3
"""Bump it when the content of a file changes. 1: rows without a round, files without a number; 2: no rows.jsonl, so that
every scores.jsonl repeats clusters, groups and references."""

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]


# ---------------------------------------------------------------- lines


@with_config(_STRICT)
class Machine(TypedDict):
    """What a model ran on. `device`: "cpu", or the name of the GPU; missing for a model in memory, which may be anywhere.
    `threads`: of torch."""

    device: NotRequired[str]
    processor: str
    cores: Number
    threads: NotRequired[Number]


@with_config(_STRICT)
class Timing(TypedDict):
    """A line of timing.jsonl: one batch.

    `memory`: peak memory in bytes until then, of the GPU if the model is on one, else of the process. The first batch of
    every process that asked also has `machine`, and `first`: seconds from the start of asking, with the model loaded, until
    its answers were there. Older versions wrote neither of the three.
    """

    rows: _Count
    audio: _Seconds
    wall: _Seconds
    stages: dict[str, _Seconds]
    memory: NotRequired[_Count]
    first: NotRequired[_Seconds]
    machine: NotRequired[Machine]


@with_config(_STRICT)
class _Budget(TypedDict):
    event: Literal["budget"]
    seconds: _Seconds
    rows: NotRequired[_Count]


@with_config(_STRICT)
class _Split(TypedDict):
    event: Literal["split"]
    rows: _Count
    into: _Count
    first: str
    why: str


@with_config(_STRICT)
class _Served(TypedDict):
    """What one process sent to the servers of a model: addresses, requests, how many were sent again, most in flight."""

    event: Literal["server"]
    urls: list[str]
    sent: _Count
    again: _Count
    in_flight: _Count


Event = Annotated[_Budget | _Split | _Served, Field(discriminator="event")]


@with_config(_STRICT)
class ScoresHead(TypedDict):
    """The first line of scores.jsonl: scorer -> signature, sha256 of the measured answers, and sha256 of their rows;
    without `rows` every line has its own."""

    signature: dict[str, str]
    schema: NotRequired[Number]
    answers: NotRequired[str]
    rows: NotRequired[str]


@with_config(_STRICT)
class RowsHead(TypedDict):
    """The first line of rows.jsonl: hash of the task, number of rows, sha256 of the other lines, the column of the
    speaker, and prompt and system message if they are the same for all samples."""

    schema: Number
    task: str
    rows: _Count
    sha256: str
    speaker: NotRequired[str]
    prompt: NotRequired[str]
    system: NotRequired[str | None]


@with_config(_STRICT)
class RowLine(TypedDict):
    """Another line of rows.jsonl: a sample, or with `left_out` a row on which no model is run.

    Attributes:
        audio: sha256 of the clip, "" without one.
        note: How the clip was decoded, or why the row is left out.
        seconds: Length of the clip.
    """

    id: str
    audio: str
    references: list[str]
    note: NotRequired[str]
    left_out: NotRequired[Literal[True]]
    transcript: NotRequired[str]
    cluster: NotRequired[str]
    groups: NotRequired[dict[str, str]]
    fields: NotRequired[dict[str, str]]
    seconds: NotRequired[_Seconds]
    prompt: NotRequired[str]
    system: NotRequired[str]


@lru_cache(32)
def scores_line(scorers: tuple[str, ...]) -> TypeAdapter[Any]:
    """The schema of the other lines of a scores.jsonl: what a comparison needs of a sample (older versions wrote only the
    id), and the statistics of its answer for every scorer."""
    sheet = {"cluster": NotRequired[str], "groups": NotRequired[dict[str, str]], "references": NotRequired[list[str]]}
    # the keys are known only at run time, which the functional form of TypedDict allows and mypy does not support
    line = TypedDict("ScoresLine", {"id": str, **sheet, **dict.fromkeys(scorers, dict[str, float])})  # type: ignore[misc]
    return TypeAdapter(with_config(_STRICT)(line))


# ---------------------------------------------------------------- whole files


class _Record(BaseModel):
    """A record has more keys than are read: hardware, command line."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    number: Number = Field(default=1, alias="schema")
    id: str
    hash: Annotated[str, Field(min_length=6)]
    limit: int | None
    seed: int
    fingerprint: str


class TaskRecord(_Record):
    """task.json. Everything but id, hash, name and schema was hashed."""

    name: str
    edition: str
    audio: dict[str, Any] | None = None


class _Task(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    name: str
    edition: str
    primary: str
    scorers: dict[str, dict[str, Any]]


class _Imported(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    clusters: dict[str, str] | None = None


class _Fault(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    id: str
    reason: str


class _Named(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    name: str
    edition: str | None
    adapter: str
    args: dict[str, Any]


class RunRecord(_Record):
    """run.json."""

    task_id: str
    task: _Task
    model: _Named
    adapter_version: str
    frame: str | None = None
    variant: int = 0
    audio: str | None = None
    overrides: dict[str, str | int | None] = Field(default_factory=dict)
    weights_hashed: bool = True
    faults: list[_Fault] = Field(default_factory=list)
    excluded: list[_Fault] = Field(default_factory=list)
    data_notes: list[str] = Field(default_factory=list)
    training: dict[str, Any] | None = None
    imported: _Imported | None = None


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, **_STRICT)


class Metric(_Part):
    """One metric of one run: value, 95 % interval, and numbers of answers and clusters."""

    value: float
    low: float
    high: float
    n: _Count
    clusters: _Count
    few_clusters: bool
    higher_is_better: bool
    scorer: str = ""
    """Its scorer; missing in summaries of older versions."""
    corpus: float | None = None
    """The metric's value over all answers together, if `value`, a mean over answers, differs from it."""


class Agreement(_Part):
    """Comparison of the scores that came with imported answers with `metric`, the metric of this run that equals most of
    them.

    Attributes:
        alike: Number of equal scores.
        of: Number of scores.
        most: Largest difference of equal scores (of 1).
        released, ours: Means of both, 0 to 100.
        apart: Ids of the first answers that differ.
    """

    metric: str
    alike: _Count
    of: _Count
    most: float
    released: float
    ours: float
    apart: list[str]

    @property
    def whole(self) -> bool:
        """Whether all scores equal the metric."""
        return self.alike == self.of


class Summary(_Part):
    """summary.json of one run. Missing and unknown keys are errors."""

    number: Number = Field(default=1, alias="schema")
    task: str
    task_id: str
    model: str
    run_id: str
    edition: str
    """Edition of the task."""
    speech: Speech | None = None
    """Kind of speech in the task's data. Older summaries lack it; then `synthetic` depends on the edition."""
    model_edition: str | None
    """Models of the edition nano run the mini task; a model without weights has no edition."""
    imported: bool = False
    """The answers come from another system (`diva-bench import`)."""
    weights_hashed: bool = True
    """False: the model was given in Python, and only its name and version are known."""
    dtype: str | None
    limit: int | None
    seed: int
    variant: int = 0
    """Number of the prompt variant; 0 is the main prompt. Older summaries lack it."""
    audio: str | None = None
    """The audio condition (`run --audio`); None for unchanged clips."""
    overrides: dict[str, str | int | None] = Field(default_factory=dict)
    """Settings of the task that the run changed: prompt, system, max_new_tokens."""
    primary: str
    repeatable: bool
    n: _Count
    scored: _Count
    clusters: _Count
    errors: _Count
    unsupported: _Count
    unparsed: _Count | None
    first_token: _Count = 0
    """Answers whose label was chosen by the first token of each label, because a server told no more."""
    complete: bool
    reason: str
    data_faults: list[dict[str, str]]
    signature: dict[str, str]
    metrics: Mapping[str, Metric]
    groups: dict[str, dict[str, dict[str, float]]]
    baseline: float | None
    at_chance: bool | None
    baseline_of: str | None = None
    """The best audio-blind baseline. Older summaries lack it and know only constant answers."""
    baselines: dict[str, float] | None = None
    """Baseline -> its primary metric."""
    no_baseline: str = ""
    """Why there is no baseline."""
    partial: str = ""
    """How the counts of the data differ from the task (`--allow-partial`); such a run is not complete."""
    excluded: list[dict[str, str]] = Field(default_factory=list)
    """Samples that the task excludes, with reasons."""
    data_notes: list[str] = Field(default_factory=list)
    errors_as: Literal["wrong", "drop"] | None = None
    """What was done with answers that failed at their source (`import --errors`)."""
    unjudged: dict[str, int] = Field(default_factory=dict)
    """Scorer -> number of answers for which its model failed."""
    answers: str | None = None
    """sha256 of the scored answers; None in summaries of older versions."""
    kept: list[str] = Field(default_factory=list)
    """Scorers that lacked something in the last scoring: their metrics are from an earlier one of the same answers."""
    lost: list[str] = Field(default_factory=list)
    """Scorers whose earlier metrics were dropped because the answers had changed."""
    agreement: Agreement | None = None
    """None if no scores came with the answers, or no metric of the task can be compared with them."""


# ---------------------------------------------------------------- checks

TIMING: TypeAdapter[Any] = TypeAdapter(Timing)
EVENT: TypeAdapter[Any] = TypeAdapter(Event)
SCORES_HEAD: TypeAdapter[Any] = TypeAdapter(ScoresHead)
ROWS_HEAD: TypeAdapter[Any] = TypeAdapter(RowsHead)
ROW: TypeAdapter[Any] = TypeAdapter(RowLine)

M = TypeVar("M", bound=BaseModel)


def checked(schema: type[M], raw: Mapping[str, Any], where: str, remedy: str = "") -> M:
    """A record that was checked against its schema. Unknown keys of a newer version are left out.

    Raises:
        UnreadableRun: The message has the file (`where`), the key, and `remedy`.
    """
    try:
        return schema.model_validate(raw)
    except (ValidationError, RecursionError) as err:
        newer = is_newer(raw)
        if newer and isinstance(err, ValidationError) and (rest := without_unknown(raw, err)) is not None:
            return checked(schema, rest, where, remedy)
        problem = words(err) if isinstance(err, ValidationError) else "is nested too deep"
        if newer:
            remedy = (
                f"A newer version of diva-bench wrote it (schema {raw['schema']}; this one knows up to {SCHEMA}). Update "
                "diva-bench."
            )
        raise UnreadableRun(f"{where}: {problem}. {remedy}".rstrip()) from err


def is_newer(raw: Mapping[str, Any]) -> bool:
    """Whether a record has a later schema number than this version."""
    number = raw.get("schema", 1)
    return type(number) is int and number > SCHEMA


def without_unknown(raw: Mapping[str, Any], err: ValidationError) -> Json | None:
    """A copy of a record without unknown keys, if nothing else is wrong with it; else None."""
    problems_ = err.errors(include_url=False)
    if any(problem["type"] != "extra_forbidden" for problem in problems_):
        return None
    copy: Json = deepcopy(dict(raw))
    for problem in problems_:
        *way, key = problem["loc"]
        place: Any = copy
        try:
            for step in way:
                place = place[step]
            del place[key]
        except (KeyError, IndexError, TypeError):  # the path goes through a union of schemas
            return None
    return copy


def check_identity(task: Json, run: Json, where: str) -> None:
    """Check that both records hash to their ids. Raises UnreadableRun if one was edited."""
    hashed = digest({k: v for k, v in task.items() if k not in ("id", "hash", "name", "schema")})
    if hashed != task["hash"]:
        raise UnreadableRun(
            f"{where}: task.json above it was edited: its hash is not that of its content "
            f"({_both(task['hash'], hashed)}). {_RESTORE}"
        )
    try:
        model = ModelSpec.model_validate(run["model"])
    except ValidationError as err:
        raise UnreadableRun(f"{where}/run.json: model.{words(err)}. {_RESTORE}") from err
    framed = {"frame": run["frame"]} if run.get("frame") is not None else {}
    hashed = digest(
        {"task": task["hash"], "model": model.identity(), "adapter_version": run["adapter_version"], **framed}
    )
    if hashed != run["hash"]:
        raise UnreadableRun(
            f"{where}: run.json was edited: its hash is not that of its content ({_both(run['hash'], hashed)}). {_RESTORE}"
        )
    differ = [
        f"{key} ({run[key]} and {task[key]})" for key in ("limit", "seed", "fingerprint") if run[key] != task[key]
    ]
    if differ:
        raise UnreadableRun(f"{where}: run.json and task.json differ in {', '.join(differ)}. {_RESTORE}")


def _both(stored: object, found: str) -> str:
    """Two hashes, as text."""
    return f"stored {str(stored)[:64]}, computed {found}"


_RESTORE = "Restore it from a copy, or move the folder away."
