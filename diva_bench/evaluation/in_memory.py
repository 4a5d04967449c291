"""Tasks made in Python from rows in memory: `Task.from_rows`, `Task.from_pandas`, `Task.from_dataset`.

A mistake in a setting or a row is a UserError when the task is made; it names the setting, or the number of the row.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Required, TypedDict, TypeVar, Unpack

from pydantic import ValidationError

from diva_bench import data
from diva_bench.audio import containers, decode
from diva_bench.catalog import Catalog
from diva_bench.data.readers import ABSENT, locate
from diva_bench.errors import ClipError, DataError, SpecError, UserError, nearest
from diva_bench.scorers import BUILTIN, Absent
from diva_bench.scorers.primary import ENOUGH, check_primary
from diva_bench.specs import MEMORY, TaskSpec, problems, prompt
from diva_bench.specs.rows import NUMBER, Rows, rows_of, rows_of_dataset, rows_of_frame

Read = Callable[[str, Sequence[str]], Rows]
"""(column of the clip, columns whose numbers are converted to text) -> the rows."""
M = TypeVar("M", bound=Callable[..., Any])


class TaskSettings(TypedDict, total=False):
    """The settings of `Task.from_rows`, which describes them."""

    prompt: Required[str]
    reference: Required[str]
    scorers: Required[str | Iterable[str] | Mapping[str, Mapping[str, Any] | None]]
    name: str
    primary: str
    system: str | None
    choices: Iterable[str] | None
    synonyms: Any
    max_new_tokens: int
    audio: str
    id: str
    transcript: str
    cluster: str
    groups: Iterable[str]
    speaker: str | None
    fields: Any
    speech: Literal["synthetic", "human"] | None
    description: str


def _values(
    read: Read,
    *,
    prompt: str,
    reference: str,
    scorers: str | Iterable[str] | Mapping[str, Mapping[str, Any] | None],
    name: str = "rows",
    primary: str = "",
    system: str | None = None,
    choices: Iterable[str] | None = None,
    synonyms: Any = None,
    max_new_tokens: int = 64,
    audio: str = "audio",
    id: str = "id",
    transcript: str = "text",
    cluster: str = "cluster",
    groups: Iterable[str] = (),
    speaker: str | None = None,
    fields: Any = None,
    speech: Literal["synthetic", "human"] | None = None,
    description: str = "",
) -> dict[str, Any]:
    """The fields of a TaskSpec; `read` gives the rows."""
    columns = {"audio": audio, "id": id, "transcript": transcript, "cluster": cluster, "reference": reference}
    if wrong := next((role for role, column in columns.items() if not isinstance(column, str)), None):
        raise SpecError(
            f"task {name!r}: {wrong}: must be the name of a column (found {problems.shown(columns[wrong])})."
        )
    rows = read(audio, [id, cluster, reference])
    for setting, value in (("scorers", scorers), ("choices", choices), ("groups", groups)):
        if isinstance(value, set | frozenset):
            raise SpecError(f"task {name!r}: {setting}: a set has no order, which counts here. Give a list.")
    table: Any = {scorers: {}} if isinstance(scorers, str) else _sequence(scorers)
    if not isinstance(table, tuple | Mapping):
        raise SpecError(
            f"task {name!r}: scorers: must be the name of a scorer, a list of names, or a mapping, name -> settings (found "
            f"{problems.shown(scorers)})."
        )
    table = dict.fromkeys(table, None) if isinstance(table, tuple) else table
    if isinstance(table, Mapping):
        table = {scorer: {} if settings is None else settings for scorer, settings in table.items()}
    columns = {"id": id if rows.has(id) else NUMBER, "audio": audio, "transcript": transcript}
    columns |= {"cluster": cluster} if rows.has(cluster) else {}
    return {
        "name": name,
        "task": name,
        "subset": None,
        "edition": "full",
        "version": 1,
        "description": description,
        "citation": "",
        "licence": "",
        "suites": (),
        "prompt": prompt,
        "system": system,
        "choices": _sequence(choices),
        "synonyms": {} if synonyms is None else synonyms,
        "decode": {"max_new_tokens": max_new_tokens},
        "reference": reference,
        "groups": (groups,) if isinstance(groups, str) else _sequence(groups),
        "speaker": speaker,
        "scorers": table,
        "primary": primary,
        "fields": {} if fields is None else fields,
        "data": {"source": MEMORY, "rows": len(rows.rows), "columns": columns, "speech": speech},
        "home": Path(),
        "rows": rows,
    }


_SETTINGS = {name: p for name, p in inspect.signature(_values).parameters.items() if name != "read"}


def _with_settings(method: M) -> M:
    """A signature with the names and defaults of all settings, for `help` and the completion of notebooks. A missing or
    unknown setting is still our own error."""
    shown = inspect.signature(method)
    first = [p for p in shown.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    method.__signature__ = shown.replace(parameters=[*first, *_SETTINGS.values()])  # type: ignore[attr-defined]
    return method


class Task(TaskSpec):
    """A task made in Python by `from_rows`, `from_pandas` or `from_dataset`."""

    def __init__(self, *values: Any, **settings: Any) -> None:
        """Raises SpecError: use one of the class methods instead."""
        raise SpecError(
            "Task(...) makes no task. Allowed: Task.from_rows(rows, prompt=..., reference=..., scorers=...), "
            "Task.from_pandas(frame, ...), Task.from_dataset(dataset, ...); db.run also takes the name of a task or the path "
            "of its YAML file."
        )

    # pydantic builds a validated task without calling `__init__`, as it does for its own base class
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    @_with_settings
    def from_rows(cls, rows: Iterable[Mapping[str, Any]] = (), **settings: Unpack[TaskSettings]) -> Task:
        """Build a task from rows in memory.

        The same rows and settings give the same task, so a run of it continues where it stopped. A clip that cannot be
        decoded is left out for every model; a warning in the log names its row.

        Args:
            rows: Mappings, column -> value. A clip is a path, encoded bytes, (array, sampling rate in Hz), {"array":
                ..., "sampling_rate": ...}, {"bytes": ...}, {"path": ...} or None. Arrays are mono, shape (n,), with
                floats in [-1, 1] or int16.
            **settings: Required: `prompt`, the instruction, in which {column} is replaced by the row's text;
                `reference`, the column of the accepted answer or answers; `scorers`, their names, or name -> settings.
                Optional: `name` ("rows"), `primary` (the metric that ranks; default: the first metric of the first
                scorer), `system`, `choices` (labels), `synonyms`, `max_new_tokens` (64), `audio`, `id`, `transcript`,
                `cluster` (columns, if they are not called "audio", "id", "text", "cluster"), `groups` (columns for
                breakdowns), `speaker` (column), `fields`, `speech` ("human" or "synthetic"), `description`.

        Returns:
            The task.

        Raises:
            SpecError: A setting is missing, unknown or wrong.
            DataError: A row is wrong; the message has its number. The first row is row 0.
        """
        return cls._build("from_rows", lambda audio, text: rows_of(rows, audio, text), settings)

    @classmethod
    @_with_settings
    def from_dataset(cls, dataset: Any = None, **settings: Unpack[TaskSettings]) -> Task:
        """A task of a `datasets.Dataset` (one split); settings as in `from_rows`. Clips stay in the data set's own files."""
        return cls._build("from_dataset", lambda audio, text: rows_of_dataset(dataset, audio, text), settings)

    @classmethod
    @_with_settings
    def from_pandas(cls, frame: Any = None, **settings: Unpack[TaskSettings]) -> Task:
        """A task of a pandas DataFrame; settings as in `from_rows`. The index of the frame is not read."""
        return cls._build("from_pandas", lambda audio, text: rows_of_frame(frame, audio, text), settings)

    @classmethod
    def _build(cls, method: str, read: Read, settings: Mapping[str, Any]) -> Task:
        """Build the task. Raises SpecError if a setting is unknown or wrong."""
        _check_names(method, settings)
        values = _values(read, **settings)
        try:
            task = cls.model_validate(values)
        except ValidationError as err:
            problem = err.errors(include_url=False)[0]
            key = problems.dotted(problems.place(problem)).removeprefix("decode.").removeprefix("data.")
            raise SpecError(f"task {values['name']!r}: {key}: {problems.message(problem)}.") from err
        samples = data.check(task)
        prompt.check(task, samples)
        _check_clips(task)
        if not task.scorers:
            raise SpecError(f"task {task.name!r}: scorers: the list is empty. Allowed: {', '.join(sorted(BUILTIN))}.")
        scorers = Catalog().scorers(task, lenient=True)  # what is missing on this machine, `run` reports
        if task.primary and not any(isinstance(scorer, Absent) for scorer in scorers.values()):
            check_primary(task, scorers, samples[:ENOUGH])
        return task


def _check_names(method: str, settings: Mapping[str, Any]) -> None:
    """Raises SpecError if a setting is unknown or missing."""
    allowed = f"Allowed: {', '.join(_SETTINGS)}."
    if strange := next((name for name in settings if name not in _SETTINGS), None):
        raise SpecError(f"Task.{method}: unknown setting {strange!r}.{nearest(strange, _SETTINGS)} {allowed}")
    needed = [name for name, parameter in _SETTINGS.items() if parameter.default is inspect.Parameter.empty]
    if missing := [name for name in needed if name not in settings]:
        raise SpecError(
            f"Task.{method}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing. Needed: prompt=..., "
            f"reference=..., scorers=.... {allowed}"
        )


def _sequence(value: Any) -> Any:
    """Any iterable as a tuple; text, mappings and what is no iterable stay, and the schema says what is wrong with them."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping) else value


def _check_clips(task: TaskSpec) -> None:
    """DataError for a clip whose file does not exist. A warning for each whose bytes, in memory, are no whole audio file."""
    column = task.data.columns["audio"]
    if task.rows and not any(row.sound for row in task.rows.rows):
        others = ", ".join(dict.fromkeys(name for row in task.rows.rows for name in row.values if name != NUMBER))
        raise DataError(
            f"task {task.name}: no row has a clip in column {column!r}; the other columns are {others}. Name the column with "
            "clips: audio=...; a clip is a path, bytes, or (array, sampling rate)."
        )
    for number, row in enumerate(task.rows.rows if task.rows else ()):
        where = f"task {task.name}, row {number}: {column}"
        if row.sound is None:
            logging.getLogger("diva_bench").warning("%s: has no clip; it is left out for every model", where)
            continue
        if row.sound.read is None and locate(Path("/"), row.sound.name)[1] == ABSENT:
            raise DataError(
                f"{where}: {row.sound.name}: there is no such file. Give the path of a file, or take the row out."
            )
        if row.sound.encoded is not None and (fault := _fault(row.sound.encoded)):
            log = logging.getLogger("diva_bench")
            log.warning("%s: the clip %s; it is left out for every model", where, fault)


def _fault(encoded: bytes) -> str:
    """Why the bytes are not a complete audio file; "" if they seem to be one. Only bytes of an unknown container are
    decoded."""
    container = containers.look(encoded)
    if container.fault or container.name:
        return container.fault
    try:
        decode(encoded)
    except (ClipError, UserError) as err:
        return str(err)
    return ""
