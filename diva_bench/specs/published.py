"""The schema of `results/published.yaml`: scores and training costs that other sources report, each with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from diva_bench.errors import nearest
from diva_bench.specs.schema import Name, Number, Spec, Truth, Whole
from diva_bench.specs.spec_file import builtin_folder
from diva_bench.specs.yamlfile import read_yaml

Text = Annotated[str, StringConstraints(min_length=1)]
Date = Annotated[str, StringConstraints(pattern=r"^\d{4}(-\d{2}){0,2}$")]


class Source(Spec):
    """Where numbers stand. `date`: of the version that was read; None: the source does not say it."""

    title: Text
    date: Date | None
    note: str = ""


class CitedSet(Spec):
    """Scores of one source, data set, split, prompt and metric. None: the source does not say it."""

    id: Name | None = None
    source: Name
    data: Text
    """A task of diva-bench, without its subset, or another benchmark."""
    subset: Text | None = None
    split: Text | None
    prompt: Text | None
    metric: Text
    """A metric of `list metrics` where it is one."""
    n: Annotated[Whole, Field(ge=1)] | None
    same_as: Name | None = None
    """The task with the same data, split, prompt and metric, whose runs of the full edition can stand beside the scores."""
    lower_is_better: Truth = False
    note: str = ""
    scores: dict[str, Number | None] = Field(min_length=1)
    """System -> score."""

    @property
    def name(self) -> str:
        """Data set and subset."""
        return f"{self.data}-{self.subset}" if self.subset else self.data


class CitedTraining(Spec):
    """What the training of a system needed, as its source reports it. None: the source does not say it."""

    system: Text
    source: Name
    data: Text | None = None
    audio_hours: Annotated[Number, Field(gt=0)] | None = None
    audio_hours_most: Annotated[Number, Field(gt=0)] | None = None
    """Where the source gives a range: its end."""
    steps: Annotated[Whole, Field(ge=1)] | None = None
    examples: Annotated[Whole, Field(ge=1)] | None = None
    device: Text | None = None
    hours: Annotated[Number, Field(gt=0)] | None = None
    """Wall hours on `device`."""
    estimate: Literal["paper"] | None = None
    """paper: the FLOPs of `train --preset paper --dry-run` are an estimate for it."""
    scores: tuple[Name, ...] = ()
    """Sets in which the system has a score."""
    note: str = ""


class Published(Spec):
    """The content of `results/published.yaml`."""

    sources: dict[Name, Source]
    trainings: tuple[CitedTraining, ...]
    sets: tuple[CitedSet, ...]

    @model_validator(mode="after")
    def _names_exist(self) -> Published:
        ids = [one.id for one in self.sets if one.id]
        for kind, place, name, allowed in (
            *(("source", f"sets: number {i}", one.source, self.sources) for i, one in enumerate(self.sets, 1)),
            *(
                ("source", f"trainings: number {i}", one.source, self.sources)
                for i, one in enumerate(self.trainings, 1)
            ),
            *(
                ("set", f"trainings: number {i}", id, ids)
                for i, one in enumerate(self.trainings, 1)
                for id in one.scores
            ),
        ):
            if name not in allowed:
                raise ValueError(f"{place}: unknown {kind} {name!r}.{nearest(name, allowed)}")
        if again := next((id for id in ids if ids.count(id) > 1), None):
            raise ValueError(f"sets: the id {again!r} is given twice")
        facts = [(one.source, one.name, one.split, one.prompt, one.metric, one.note) for one in self.sets]
        if twice := next((i for i, one in enumerate(facts, 1) if facts.index(one) != i - 1), None):
            raise ValueError(f"sets: number {twice} has the source, data, split, prompt and metric of an earlier one")
        for i, training in enumerate(self.trainings, 1):
            if lack := next((id for id in training.scores if training.system not in self.by_id(id).scores), None):
                raise ValueError(f"trainings: number {i}: set {lack!r} has no score of {training.system!r}")
        return self

    def by_id(self, id: str) -> CitedSet:
        """The set with this id. Raises StopIteration if there is none."""
        return next(one for one in self.sets if one.id == id)


def path() -> Path:
    """The file that ships."""
    return builtin_folder() / "results" / "published.yaml"


def published(file: Path | None = None) -> Published:
    """The checked content of `file`; None: of the one that ships.

    Raises:
        SpecError: The file is not valid; the message has file, line, and what was allowed.
    """
    return read_yaml(file or path(), Published)
