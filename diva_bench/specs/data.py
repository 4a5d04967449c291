"""The part of a task file about data: where the rows of an edition are, and what is required of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from diva_bench.errors import nearest
from diva_bench.specs.schema import Number, Spec, Truth, Whole

Speech = Literal["synthetic", "human"]
"""Who speaks in the clips: synthetic voices, or people."""


def _allowed_value(value: Any) -> Any:
    several = value if isinstance(value, list | tuple) else [value]
    if not several or not all(isinstance(one, str | bool | int | float) for one in several):
        raise ValueError("must be text, a number, true or false, or a list of them that is not empty")
    return value


Allowed = Annotated[str | bool | int | float | tuple[str | bool | int | float, ...], BeforeValidator(_allowed_value)]
"""A value of `where`, or several allowed values; types are not converted."""


class Access(Spec):
    """How to get licensed data, which only the user may download."""

    url: str
    """Where to request it."""
    note: str
    """The conditions, and the content of the folder."""


class Hub(Spec):
    """A data set of the Hugging Face hub in parquet."""

    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    """owner/name."""
    revision: str = "main"
    """The commit; "main" if none could be pinned: the run then records the commit."""


ROLES = ("id", "audio", "transcript", "cluster", "reference")
"""The roles that a column can have."""


def _checked_roles(columns: dict[str, str] | None) -> dict[str, str] | None:
    if strange := [role for role in columns or {} if role not in ROLES]:
        raise ValueError(
            f"unknown role {strange[0]!r}.{nearest(strange[0], ROLES)} A column can be: {', '.join(ROLES)} (role: column)"
        )
    return columns


Columns = Annotated[dict[str, str], AfterValidator(_checked_roles)]
"""Role -> column."""


class DataChange(Spec):
    """What a subset changes in the data of one edition; None: nothing."""

    path: str | None = None
    config: str | None = None
    split: str | None = None
    rows: Whole | None = Field(default=None, gt=0)
    total: tuple[Whole, ...] | None = None
    labels: dict[str, Whole] | None = None
    where: dict[str, Allowed] | None = None
    columns: Columns | None = None


class DataSpec(Spec):
    """The place of the rows of one edition, and what is required of them.

    In path, config, split, columns and `where`, "{subset}" stands for the name of the subset.
    """

    source: str
    """The reader: a format of the user's own data, parquet, or a corpus; see `diva_bench.data.readers.READERS`."""
    path: str | None = None
    """For the user's own data (csv, jsonl, audiofolder, kaldi, ...): the file or folder, relative to the task file, or
    absolute. For a corpus: the name of its folder in the data folder (`--data-dir` or DIVA_BENCH_DATA), or an absolute
    path; the data folder may also be that folder."""
    speech: Speech | None = None
    """Whether the speech is synthetic or human; tables have a caption for synthetic speech. None: unknown."""
    layout: tuple[str, ...] = ()
    """Glob patterns in that folder; at least one must match, otherwise it is not this data."""
    hub: Hub | None = None
    """Where the same files can be downloaded (`diva-bench pull --task`)."""
    config: str | None = None
    reference_config: str | None = Field(default=None, exclude_if=lambda config: config is None)
    """A second config of the same data, if the references are there: FLEURS has a config for each language, and the English
    sentences are in en_us."""
    split: str | None = None
    default: tuple[str, ...] = Field(default=(), exclude_if=lambda subsets: not subsets)
    """With subsets: those that the task's name stands for in this edition, instead of the task's `default`."""
    rows: Whole | None = Field(default=None, gt=0)
    """The required number of rows, after `where` and with those under `exclude`; another number is an error. None: any
    number, with a note in the run."""
    rows_from_memory: Truth = False
    """The number was not verified in the data: another one is a warning."""
    total: tuple[Whole, ...] = ()
    """The number of rows in the published files before `where`: one of these, otherwise an error."""
    labels: dict[str, Whole] | None = None
    """For label tasks: the required number of rows for each label."""
    columns: Columns = Field(default_factory=dict)
    """Role -> column: id, audio, transcript, cluster, and (unless `reference` is set) reference. Without a column
    `cluster` every sample is its own cluster."""
    groups: tuple[str, ...] | None = None
    """Columns for breakdowns of this edition, instead of those of the task."""
    where: dict[str, Allowed] = Field(default_factory=dict)
    """Column -> value or values: other rows are left out, counted and named. A value is compared as text (1 equals "1",
    not true); one with a decimal point as a number."""
    exclude: dict[str, str] = Field(default_factory=dict)
    """Id -> reason: known bad clips, left out for every model and listed in the run. An id without a row is not an error."""
    rate: tuple[Whole, ...] = ()
    """Allowed sampling rates of the files in Hz; another rate is an error."""
    seconds: tuple[Number, Number] | None = None
    """Shortest and longest clip in seconds; another length is a data fault."""
    access: Access | None = None
    """For licensed data: where to request it."""

    def changed(self, change: DataChange, subset: str | None) -> DataSpec:
        """With the subset's changes, and its name for {subset}."""
        values = {**self.model_dump(exclude={"default"}), **change.model_dump(exclude_none=True)}
        for key in ("path", "config", "split", "columns", "where"):
            values[key] = _named(values[key], subset or "")
        return DataSpec.model_validate(values)


def _named(value: Any, subset: str) -> Any:
    """`value` with {subset} replaced in all its strings."""
    if isinstance(value, str):
        return value.replace("{subset}", subset)
    if isinstance(value, dict):
        return {key: _named(inner, subset) for key, inner in value.items()}
    return [_named(inner, subset) for inner in value] if isinstance(value, tuple | list) else value
