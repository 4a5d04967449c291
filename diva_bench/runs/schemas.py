"""What the files of a run folder may hold: one schema for each, checked whenever one is read and before one is written.

run.json, task.json, summary.json and the first line of scores.jsonl say the number of the schemas (SCHEMA) that they were
written by; responses, timing and events go by the run.json beside them. A file without a number is of version 1. Nothing
here opens a file: `store` does. The lines of responses.jsonl are in decoding/response.py, since adapters are held to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Annotated, Any, Literal, NotRequired, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from diva_bench.errors import UnreadableRun
from diva_bench.specs import Json, ModelSpec, Speech, digest
from diva_bench.specs.problems import words

SCHEMA = 3
"""Bumped where a file of a run folder would hold something else. 1: rows without a round, files without a number; 2: no
rows.jsonl, so that every scores.jsonl repeats clusters, groups and references."""

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]


# ---------------------------------------------------------------- lines


@with_config(_STRICT)
class Timing(TypedDict):
    """A line of timing.jsonl: one batch."""

    rows: _Count
    audio: _Seconds
    wall: _Seconds
    stages: dict[str, _Seconds]


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


Event = Annotated[_Budget | _Split, Field(discriminator="event")]


@with_config(_STRICT)
class ScoresHead(TypedDict):
    """The first line of scores.jsonl: signature by scorer, and the sha256 of the answers that were measured and of the rows
    that they were held against; without `rows` every line has its own."""

    signature: dict[str, str]
    schema: NotRequired[Number]
    answers: NotRequired[str]
    rows: NotRequired[str]


@with_config(_STRICT)
class RowsHead(TypedDict):
    """The first line of rows.jsonl: hash of the task, number of rows and sha256 of the lines below; the column that says who
    speaks; and prompt and system message where they are the same for all samples."""

    schema: Number
    task: str
    rows: _Count
    sha256: str
    speaker: NotRequired[str]
    prompt: NotRequired[str]
    system: NotRequired[str | None]


@with_config(_STRICT)
class RowLine(TypedDict):
    """Any other line of rows.jsonl: one sample, or, with `left_out`, one that no model is run on. `audio`: sha256 of the
    clip, "" without one. `note`: how the clip was decoded, or why the sample is left out. `seconds`: length of the clip."""

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
    """The schema of the other lines of a scores.jsonl: what comparing runs needs of a sample (older versions wrote the id
    alone), and for every scorer the statistics of its answer."""
    sheet = {"cluster": NotRequired[str], "groups": NotRequired[dict[str, str]], "references": NotRequired[list[str]]}
    # built from names that are known only now, which the functional form of TypedDict allows and mypy does not follow
    line = TypedDict("ScoresLine", {"id": str, **sheet, **dict.fromkeys(scorers, dict[str, float])})  # type: ignore[misc]
    return TypeAdapter(with_config(_STRICT)(line))


# ---------------------------------------------------------------- whole files


class _Record(BaseModel):
    """A record has more than is read of it: what it ran on, what was typed."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    number: Number = Field(default=1, alias="schema")
    id: str
    hash: Annotated[str, Field(min_length=6)]
    limit: int | None
    seed: int
    fingerprint: str


class TaskRecord(_Record):
    """task.json. All but the id, the hash, the name and the number is what was hashed."""

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
    """One metric of one run: its value, the 95 % interval, and the answers and clusters it is about."""

    value: float
    low: float
    high: float
    n: _Count
    clusters: _Count
    few_clusters: bool
    higher_is_better: bool
    scorer: str = ""
    """Whose it is; summaries of older versions do not say."""
    corpus: float | None = None
    """The metric's own value over all answers together, where `value`, a mean over answers, is not that."""


class Agreement(_Part):
    """What was found out about the scores that came with imported answers: `metric`, the one of this run's that gives most
    of them, gives `alike` of `of`; at most `most` (of 1) apart. `released`, `ours`: means of both, 0 to 100. `apart`: ids of
    the first answers on which they differ."""

    metric: str
    alike: _Count
    of: _Count
    most: float
    released: float
    ours: float
    apart: list[str]

    @property
    def whole(self) -> bool:
        """The scores are those of the metric, every one."""
        return self.alike == self.of


class Summary(_Part):
    """summary.json of one run, as the judge writes it. Missing and unknown keys are errors."""

    number: Number = Field(default=1, alias="schema")
    task: str
    task_id: str
    model: str
    run_id: str
    edition: str
    """Edition of the task."""
    speech: Speech | None = None
    """Of the task's data. A summary without the key is older: `synthetic` then goes by the edition."""
    model_edition: str | None
    """A nano model is asked the mini task; a model without weights has no edition."""
    imported: bool = False
    """The answers were given elsewhere (`diva-bench import`)."""
    weights_hashed: bool = True
    """False: the model was given in Python, and nothing but its name and version is known of it."""
    dtype: str | None
    limit: int | None
    seed: int
    variant: int = 0
    """The wording of the prompt: 0 the main one; a summary without the key is older, or of that."""
    audio: str | None = None
    """The audio condition (`run --audio`), None for clips as they are."""
    overrides: dict[str, str | int | None] = Field(default_factory=dict)
    """What the run asked otherwise than the task says: prompt, system, max_new_tokens."""
    primary: str
    repeatable: bool
    n: _Count
    scored: _Count
    clusters: _Count
    errors: _Count
    unsupported: _Count
    unparsed: _Count | None
    complete: bool
    reason: str
    data_faults: list[dict[str, str]]
    signature: dict[str, str]
    metrics: Mapping[str, Metric]
    groups: dict[str, dict[str, dict[str, float]]]
    baseline: float | None
    at_chance: bool | None
    baseline_of: str | None = None
    """Which answer that hears nothing was the best; a summary without the key is older and knows constant ones only."""
    baselines: dict[str, float] | None = None
    """The primary metric of each of them."""
    no_baseline: str = ""
    """Why there is none, where one was looked for."""
    partial: str = ""
    """How the data differed from what the task says (`--allow-partial`): such a run is not complete."""
    excluded: list[dict[str, str]] = Field(default_factory=list)
    """Samples that the task itself leaves out, and why."""
    data_notes: list[str] = Field(default_factory=list)
    errors_as: Literal["wrong", "drop"] | None = None
    """What was done with the answers that failed at their source (`import --errors`), where some did."""
    unjudged: dict[str, int] = Field(default_factory=dict)
    """Scorer -> the answers on which the model it asks failed."""
    answers: str | None = None
    """sha256 of the answers that this is about; None in a summary of an older version."""
    kept: list[str] = Field(default_factory=list)
    """Scorers that lacked something in the last judging: their metrics are those of an earlier one, of the same answers."""
    lost: list[str] = Field(default_factory=list)
    """Those whose earlier metrics were dropped, because the answers had changed."""
    agreement: Agreement | None = None
    """None where no scores came with the answers, or no metric of the task can be held against them."""


# ---------------------------------------------------------------- checks

TIMING: TypeAdapter[Any] = TypeAdapter(Timing)
EVENT: TypeAdapter[Any] = TypeAdapter(Event)
SCORES_HEAD: TypeAdapter[Any] = TypeAdapter(ScoresHead)
ROWS_HEAD: TypeAdapter[Any] = TypeAdapter(RowsHead)
ROW: TypeAdapter[Any] = TypeAdapter(RowLine)

M = TypeVar("M", bound=BaseModel)


def checked(schema: type[M], raw: Mapping[str, Any], where: str, remedy: str = "") -> M:
    """A record as its schema; UnreadableRun says where (`where`: the file), which key, and what to do. What a newer version
    wrote is read without the keys that are not known here."""
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
    """Whether a record says that it is of a later schema than those known here."""
    number = raw.get("schema", 1)
    return type(number) is int and number > SCHEMA


def without_unknown(raw: Mapping[str, Any], err: ValidationError) -> Json | None:
    """A copy of a record without the keys that its schema does not know, where nothing else is wrong with it; else None."""
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
        except (KeyError, IndexError, TypeError):  # the way leads over one of several schemas
            return None
    return copy


def check_identity(task: Json, run: Json, where: str) -> None:
    """Whether both records say what was hashed into their ids. UnreadableRun where one was edited."""
    hashed = digest({k: v for k, v in task.items() if k not in ("id", "hash", "name", "schema")})
    if hashed != task["hash"]:
        raise UnreadableRun(f"{where}: task.json above it was edited: its hash is not that of its content. {_RESTORE}")
    try:
        model = ModelSpec.model_validate(run["model"])
    except ValidationError as err:
        raise UnreadableRun(f"{where}/run.json: model.{words(err)}. {_RESTORE}") from err
    framed = {"frame": run["frame"]} if run.get("frame") is not None else {}
    hashed = digest({"task": task["hash"], "model": model.asked(), "adapter_version": run["adapter_version"], **framed})
    if hashed != run["hash"]:
        raise UnreadableRun(f"{where}: run.json was edited: its hash is not that of its content. {_RESTORE}")
    differ = [key for key in ("limit", "seed", "fingerprint") if run[key] != task[key]]
    if differ:
        raise UnreadableRun(f"{where}: run.json and task.json differ in {', '.join(differ)}. {_RESTORE}")


_RESTORE = "Restore it from a copy, or move the folder away."
