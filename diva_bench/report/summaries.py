"""summary.json of a run, as the judge writes it and reports read it: the schema, checked, and all of a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from diva_bench.dataspec import Speech
from diva_bench.errors import StoreError
from diva_bench.report.tables import Score
from diva_bench.store import located


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class MetricSummary(_File):
    """One metric of one run: its value, the 95 % interval, and the answers and clusters it is about."""

    value: float
    low: float
    high: float
    n: int
    clusters: int
    few_clusters: bool
    higher_is_better: bool
    corpus: float | None = None
    """The metric's own value over all answers together, where `value`, a mean over answers, is not that."""

    @property
    def score(self) -> Score:
        return Score(self.value, self.low, self.high)


class RunSummary(_File):
    """summary.json of one run, as the judge writes it. Missing and unknown keys are errors."""

    task: str
    task_id: str
    model: str
    run_id: str
    edition: str
    """Of the task."""
    speech: Speech | None = None
    """Of the task's data. A summary without the key is older: `synthetic` then goes by the edition."""
    model_edition: str | None
    """A nano model is asked the mini task; a model without weights has no edition."""
    imported: bool = False
    """The answers were given elsewhere (`diva-bench import`)."""
    dtype: str | None
    limit: int | None
    seed: int
    variant: int = 0
    """The wording of the prompt: 0 the main one; a summary without the key is older, or of that."""
    audio: str | None = None
    """The audio condition (`run --audio`), None for clips as they are."""
    primary: str
    repeatable: bool
    n: int
    scored: int
    clusters: int
    errors: int
    unsupported: int
    unparsed: int | None
    complete: bool
    reason: str
    data_faults: list[dict[str, str]]
    signature: dict[str, str]
    metrics: dict[str, MetricSummary]
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
    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """The run folder that the summary was read from."""
        return self._folder

    @property
    def ranked(self) -> bool:
        return self.complete and self.primary in self.metrics

    @property
    def synthetic(self) -> bool:
        """Whether synthetic voices speak; of a summary that does not say, whether its data are of the mini edition."""
        return self.speech == "synthetic" if "speech" in self.model_fields_set else self.edition != "full"

    @property
    def name(self) -> str:
        """The model's name, with the rule for its failures where its score rests on one."""
        return f"{self.model} (errors {self.errors_as})" if self.errors_as else self.model

    @property
    def label(self) -> str:
        """The name, with the model's edition where that is not the task's."""
        other = self.model_edition not in (None, self.edition)
        return f"{self.name} ({self.model_edition})" if other else self.name

    @property
    def dropped(self) -> int:
        """Samples that are in scores.jsonl and in no score."""
        return self.errors if self.errors_as == "drop" else 0

    @property
    def title(self) -> str:
        """The task's name, with the wording and the audio condition where they are not the plain ones."""
        how = [f"prompt {self.variant}"] if self.variant else []
        how += [self.audio] if self.audio else []
        return f"{self.task} ({', '.join(how)})" if how else self.task


def synthetic_note(edition: str) -> str:
    """What must stand beside every number of an edition whose clips are synthetic speech."""
    return f"{edition}: synthetic speech, shows that the pipeline works, not how good a model is"


def synthetic_notes(found: Iterable[tuple[str, bool]]) -> list[str]:
    """`synthetic_note` of each edition that is synthetic, once; of pairs (edition, whether its clips are synthetic)."""
    return list(dict.fromkeys(synthetic_note(edition) for edition, synthetic in found if synthetic))


_REMEDY = "Delete it and run `diva-bench score` on the folder to have it written again."


def summary_of(raw: dict[str, Any], file: Path) -> RunSummary:
    """The content of the summary.json `file`, checked. Raises StoreError naming file and key where something is
    missing, unknown or of a wrong type, or where the file does not lie in the folder its run was written to."""
    summary = _checked(RunSummary, raw, file, _REMEDY)
    summary._folder, place = file.parent, located(file.parent)
    for key, found, wanted in (
        ("task_id", summary.task_id, place.parent.name),
        ("run_id", summary.run_id, place.name),
    ):
        if found != wanted:
            raise StoreError(f"{file}: {key}: {found!r} does not belong here, expected {wanted!r}. {_REMEDY}")
    return summary


def collect(results: Path) -> list[RunSummary]:
    """Every run under <results>/<task id>/<run id>/, in the order of the paths.

    A folder without run.json is no run; one without summary.json is a run still being asked, or killed. A link to a run
    that is there as well is not a second one.
    """
    found: dict[Path, Path] = {}
    for path in sorted(results.glob("*/*/run.json")):
        found.setdefault(located(path.parent), path.parent)
    runs = []
    for folder in found.values():
        file = folder / "summary.json"
        runs.append(summary_of(_read(file), file) if file.exists() else _unjudged(folder / "run.json"))
    return runs


def of_tasks(runs: Sequence[RunSummary], names: Sequence[str]) -> list[RunSummary]:
    """Those of some tasks, each a task's name, its name without the subset, or its id; all of them where none is named."""
    return [r for r in runs if not names or any(n in (r.task, r.task_id) or r.task.startswith(f"{n}-") for n in names)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Task(_Part):
    name: str
    edition: str
    primary: str


class _Model(_Part):
    name: str
    edition: str | None


class _Run(_Part):
    """What a leaderboard needs of run.json, which has much more."""

    task: _Task
    model: _Model
    limit: int | None
    seed: int
    variant: int = 0
    audio: str | None = None


def _unjudged(file: Path) -> RunSummary:
    """What run.json says of a run that has no summary."""
    run = _checked(_Run, _read(file), file)
    place = located(file.parent)
    known: dict[str, Any] = {
        "task": run.task.name,
        "task_id": place.parent.name,
        "model": run.model.name,
        "run_id": place.name,
        "edition": run.task.edition,
        "model_edition": run.model.edition,
        "limit": run.limit,
        "seed": run.seed,
        "variant": run.variant,
        "audio": run.audio,
        "primary": run.task.primary,
        "repeatable": True,
        "complete": False,
        "reason": "no summary.json yet",
        "data_faults": [],
    }
    known |= dict.fromkeys(("n", "scored", "clusters", "errors", "unsupported"), 0)
    known |= dict.fromkeys(("dtype", "unparsed", "baseline", "at_chance"))
    summary = RunSummary.model_validate(known | {key: {} for key in ("signature", "metrics", "groups")})
    summary._folder = file.parent
    return summary


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise StoreError(f"{path}: cannot be read as JSON ({err}).") from err
    if not isinstance(raw, dict):
        raise StoreError(f"{path}: expected an object, found {type(raw).__name__}.")
    return raw


M = TypeVar("M", bound=BaseModel)


def _checked(schema: type[M], raw: dict[str, Any], file: Path, remedy: str = "") -> M:
    """`raw` as `schema`; StoreError tells the first problem in words."""
    try:
        return schema.model_validate(raw)
    except ValidationError as err:
        problem = err.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        what = {"missing": "is missing", "extra_forbidden": "is not a known key"}
        message = what.get(problem["type"]) or f"{problem['msg']} (found {problem['input']!r})"
        raise StoreError(f"{file}: {key}: {message}. {remedy}".rstrip()) from err
