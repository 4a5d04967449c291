"""The schema of a response, from an adapter or from a line of responses.jsonl, its conversion to and from JSON, and the
reason of the most common `unsupported` one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NotRequired, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic requires this one before Python 3.12

from diva_bench.specs import Json
from diva_bench.specs.problems import words
from diva_bench.types import LabelScore, Request, Response, Status

STATUSES = ("ok", "unsupported", "error")

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0)]


@with_config(_STRICT)
class Answer(TypedDict):
    """A line of responses.jsonl.

    Attributes:
        status: One of STATUSES. A line with another status is read as an error, so that it is counted and run again.
        choices: Label -> [log-likelihood of all its tokens, their number, log-likelihood of the first].
    """

    id: str
    status: str
    text: str
    detail: NotRequired[str]
    choices: NotRequired[dict[str, tuple[float, int, float]]]
    heard: NotRequired[str]
    tokens: NotRequired[dict[str, _Count]]
    label: NotRequired[str]
    scores: NotRequired[dict[str, float]]
    round: NotRequired[_Count]


_ALWAYS = frozenset(("id", "status", "text", "choices", "heard", "label"))
_FILLED = frozenset(("detail", "tokens", "scores"))
"""Keys of a line; these are left out if they are empty."""
ANSWER: TypeAdapter[Any] = TypeAdapter(Answer)
STAGES: TypeAdapter[Any] = TypeAdapter(dict[str, _Seconds], config=_STRICT)


def problem_of(response: Response) -> str:
    """Why a response cannot be stored; "" if it can. Responses of adapters are checked with it before they count as
    answers."""
    try:
        row, seconds = to_json(response), dict(response.seconds)
        if strange := _foreign(row) or _foreign(seconds, "seconds"):
            return strange
        ANSWER.validate_python(row)
        if seconds:
            STAGES.validate_python(seconds)
    except ValidationError as err:
        return words(err)
    except Exception as err:  # an adapter may return anything
        return f"{type(err).__name__}: {err}"
    return "" if response.status in STATUSES else f"status: {response.status!r} is none of {', '.join(STATUSES)}"


_PLAIN = frozenset({str, int, float, bool, type(None)})


def _foreign(value: Any, where: str = "") -> str:
    """The part of a value that is neither text nor a Python number and so cannot be JSON; "" if there is none. Schemas
    accept numbers of NumPy."""
    if isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            if type(part) not in _PLAIN and (strange := _foreign(part, f"{where}.{key}".lstrip("."))):
                return strange
        return ""
    if value is None or isinstance(value, str | int | float):
        return ""
    return f"{where}: is {value!r}, of type {type(value).__name__}, not text or a Python number"


def _whole(text: Any) -> Any:
    """A text without half surrogate pairs, which a model may emit and UTF-8 cannot encode; other values are unchanged."""
    return text.encode("utf-8", "replace").decode("utf-8") if isinstance(text, str) else text


def to_json(response: Response) -> Json:
    """A response as a line of responses.jsonl."""
    row: Json = {"id": response.id, "status": response.status, "text": _whole(response.text)}
    if response.detail:
        row["detail"] = _whole(response.detail)
    if response.choices is not None:
        row["choices"] = {k: (v.total, v.tokens, v.first) for k, v in response.choices.items()}
    if response.heard is not None:
        row["heard"] = _whole(response.heard)
    if response.tokens:
        row["tokens"] = dict(response.tokens)
    if response.label is not None:
        row["label"] = response.label
    if response.scores:
        row["scores"] = dict(response.scores)
    return row


def from_json(row: Mapping[str, Any]) -> Response:
    """A line of responses.jsonl as a response."""
    choices = row.get("choices")
    return Response(
        id=row["id"],
        status=cast(Status, row["status"]),
        text=row["text"],
        detail=row.get("detail", ""),
        choices={k: LabelScore(*v) for k, v in choices.items()} if choices is not None else None,
        heard=row.get("heard"),
        tokens=row.get("tokens", {}),
        label=row.get("label"),
        scores=row.get("scores", {}),
    )


def as_stored(row: Mapping[str, Any]) -> Json:
    """`to_json` of `from_json` of a line, without the way over a response."""
    return {key: value for key, value in row.items() if key in _ALWAYS or (value and key in _FILLED)}


def unheard(limit: float) -> Callable[[Request], str]:
    """A function that tells why a model with a limit in seconds cannot take a request's audio; "" if it can."""

    def reason(request: Request) -> str:
        if request.audio is None:
            return "this sample has no audio"
        if request.audio.seconds > limit:
            return f"audio is {request.audio.seconds:.1f} s; this model takes at most {limit:.0f} s"
        return ""

    return reason
