"""What a task may say of its data: where the rows of an edition are, and what they must be. Part of the task's YAML."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from diva_bench.errors import nearest
from diva_bench.specs.schema import Number, Spec, Truth, Whole

Speech = Literal["synthetic", "human"]
"""Who speaks in the clips: a synthetic voice, or people."""


def _wanted(value: Any) -> Any:
    several = value if isinstance(value, list | tuple) else [value]
    if not several or not all(isinstance(one, str | bool | int | float) for one in several):
        raise ValueError("must be text, a number, true or false, or a list of them that is not empty")
    return value


Wanted = Annotated[str | bool | int | float | tuple[str | bool | int | float, ...], BeforeValidator(_wanted)]
"""A value of `where`, or several of which one must be there; none is turned into another type."""


class Access(Spec):
    """How licensed data is had: nobody but the user may fetch it."""

    url: str
    """Where to ask."""
    note: str
    """What it takes, and what the folder must then hold."""


class Hub(Spec):
    """A data set of the Hugging Face hub that is stored as parquet."""

    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    """owner/name."""
    revision: str = "main"
    """The commit; "main" where none could be pinned: the run then records which one it was."""


ROLES = ("id", "audio", "transcript", "cluster", "reference")
"""What a column can be of a sample."""


def _known_roles(columns: dict[str, str] | None) -> dict[str, str] | None:
    if strange := [role for role in columns or {} if role not in ROLES]:
        raise ValueError(
            f"unknown role {strange[0]!r}.{nearest(strange[0], ROLES)} A column can be: {', '.join(ROLES)} (role: column)"
        )
    return columns


Columns = Annotated[dict[str, str], AfterValidator(_known_roles)]
"""Role -> column."""


class DataChange(Spec):
    """What a subset changes in the data of one edition; None: nothing."""

    path: str | None = None
    config: str | None = None
    split: str | None = None
    rows: Whole | None = Field(default=None, gt=0)
    total: tuple[Whole, ...] | None = None
    labels: dict[str, Whole] | None = None
    where: dict[str, Wanted] | None = None
    columns: Columns | None = None


class DataSpec(Spec):
    """Where the rows of one edition are and what they must be.

    In path, config, split, columns and `where`, "{subset}" stands for the name of the subset.
    """

    source: str
    """The reader: that of a form of data of one's own, parquet, or that of a corpus; see `diva_bench.data.readers.READERS`."""
    path: str | None = None
    """Of data of one's own (csv, jsonl, audiofolder, kaldi, ...): the file or folder, relative to the task's YAML file, or
    absolute. Of a corpus: the folder's name in the data folder (`--data-dir` or DIVA_BENCH_DATA), or absolute; the data
    folder may also be that folder itself."""
    speech: Speech | None = None
    """Whether the clips are synthetic or human speech; tables say of synthetic speech what its numbers are worth. None: the
    task does not say."""
    layout: tuple[str, ...] = ()
    """Glob patterns below that folder; one of them at least must match, else it is not this data."""
    hub: Hub | None = None
    """Where the same files may be fetched from (`diva-bench pull --task`)."""
    config: str | None = None
    split: str | None = None
    rows: Whole | None = Field(default=None, gt=0)
    """How many rows there must be, after `where`, those under `exclude` included: a wrong count is an error. None: any
    number, and the run says so."""
    rows_from_memory: Truth = False
    """The count was never seen in the data: a wrong one is a warning."""
    total: tuple[Whole, ...] = ()
    """How many rows the owners' files have before `where`: one of these, or an error."""
    labels: dict[str, Whole] | None = None
    """With label tasks: how many rows each label must have."""
    columns: Columns = Field(default_factory=dict)
    """Role -> column: id, audio, transcript, cluster, and (unless `reference` is set) reference. Without a column `cluster`
    every sample is its own cluster."""
    groups: tuple[str, ...] | None = None
    """Columns that results of this edition are broken down by, in place of the task's."""
    where: dict[str, Wanted] = Field(default_factory=dict)
    """Column -> value or values: other rows are not asked; they are counted and named. A value is compared as it is written
    (1 is "1", not true); one with a point as a number."""
    exclude: dict[str, str] = Field(default_factory=dict)
    """Id -> reason: known bad clips, left out for every model and listed in the run. A row that is not there is no error."""
    rate: tuple[Whole, ...] = ()
    """Hz: what the files are sampled at, one of these; another rate is an error."""
    seconds: tuple[Number, Number] | None = None
    """Shortest and longest clip, seconds: another length is a data fault."""
    access: Access | None = None
    """With licensed data: where to ask."""

    def changed(self, change: DataChange, subset: str | None) -> DataSpec:
        """With the subset's changes, and its name for {subset}."""
        values = {**self.model_dump(), **change.model_dump(exclude_none=True)}
        for key in ("path", "config", "split", "columns", "where"):
            values[key] = _named(values[key], subset or "")
        return DataSpec.model_validate(values)


def _named(value: Any, subset: str) -> Any:
    """`value` with {subset} replaced in every string of it."""
    if isinstance(value, str):
        return value.replace("{subset}", subset)
    if isinstance(value, dict):
        return {key: _named(inner, subset) for key, inner in value.items()}
    return [_named(inner, subset) for inner in value] if isinstance(value, tuple | list) else value
