"""Checked summaries of runs for reports, of one run or of all runs of a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from diva_bench.errors import UnreadableRun, unknown
from diva_bench.runs import old_identity, schemas
from diva_bench.runs.store import OF_A_RUN, RunFolder, located, read_json
from diva_bench.specs import Edition, models_of
from diva_bench.tables import Score


class MetricSummary(schemas.Metric):
    """One metric of one run, as in tables."""

    @property
    def score(self) -> Score:
        return Score(self.value, self.low, self.high)


class RunSummary(schemas.Summary):
    """summary.json of one run, with the names that tables use."""

    metrics: Mapping[str, MetricSummary]
    _folder: Path = PrivateAttr(default=Path())
    _admitted: bool = PrivateAttr(default=False)

    @property
    def folder(self) -> Path:
        """The run folder of the summary."""
        return self._folder

    @property
    def made_by(self) -> str:
        """The metric of the scores that came with imported answers: its name, "another" (no metric of this task, or other
        weights), or "" if unknown."""
        return "" if self.agreement is None else self.agreement.metric if self.agreement.whole else "another"

    @property
    def measured(self) -> bool:
        """Whether all its answers have a value of the primary metric."""
        return self.complete and self.primary in self.metrics

    @property
    def ranked(self) -> bool:
        """Whether it is ranked. A run of a model in memory is ranked only on request."""
        return self.measured and (self.weights_hashed or self._admitted)

    def admitted(self) -> RunSummary:
        """The same, ranked also if its model is in memory."""
        copy = self.model_copy()
        copy._folder, copy._admitted = self._folder, True
        return copy

    @property
    def plain(self) -> bool:
        """Whether the task is unchanged: all samples, its own prompt and settings, unchanged clips."""
        return self.limit is None and not (self.audio or self.variant or self.overrides)

    def doubted(self, reason: str) -> RunSummary:
        """The same, incomplete for this reason."""
        return self.model_copy(update={"complete": False, "reason": reason})

    def by(self, metric: str) -> RunSummary:
        """The same with `metric` as primary metric; whether a run is at chance is known only for its own primary metric."""
        if metric == self.primary:
            return self
        return self.model_copy(update={"primary": metric, "at_chance": None, "baseline": None})

    @property
    def synthetic(self) -> bool:
        """Whether synthetic voices speak. If the summary does not say it, whether the data is of the mini edition."""
        return self.speech == "synthetic" if "speech" in self.model_fields_set else self.edition != "full"

    @property
    def name(self) -> str:
        """The model's name, with the rule for its failed answers if its score depends on one."""
        return f"{self.model} (errors {self.errors_as})" if self.errors_as else self.model

    @property
    def label(self) -> str:
        """The name, with the model's edition if it differs from the task's."""
        other = self.model_edition not in (None, models_of(cast(Edition, self.edition)))
        return f"{self.name} ({self.model_edition})" if other else self.name

    @property
    def dropped(self) -> int:
        """Number of samples in scores.jsonl that are in no score."""
        return self.errors if self.errors_as == "drop" else 0

    @property
    def title(self) -> str:
        """The task's name, with prompt variant and audio condition if they are not the default."""
        how = [f"prompt {self.variant}"] if self.variant else []
        how += [self.changes] if self.overrides else []
        how += [self.audio] if self.audio else []
        return f"{self.task} ({', '.join(how)})" if how else self.task

    @property
    def changes(self) -> str:
        """The changed settings as text: "changed: prompt, max_new_tokens 8"; "" if there are none."""
        parts = [key if isinstance(value, str) else f"{key} {value}" for key, value in self.overrides.items()]
        return f"changed: {', '.join(parts)}" if parts else ""


def synthetic_note(edition: str) -> str:
    """The note for numbers of an edition with synthetic speech."""
    return f"{edition}: synthetic speech, shows that the pipeline works, not how good a model is"


def synthetic_notes(editions: Iterable[tuple[str, bool]]) -> list[str]:
    """`synthetic_note` of each synthetic edition, once; from pairs (edition, whether its clips are synthetic)."""
    return list(dict.fromkeys(synthetic_note(edition) for edition, synthetic in editions if synthetic))


_REMEDY = "Delete it and run `diva-bench score` on the folder to write it again."


def summary_of(raw: dict[str, Any], file: Path) -> RunSummary:
    """The checked content of the summary.json `file`.

    Raises:
        UnreadableRun: A key is missing, unknown or of a wrong type, or the file is not in the folder of its run.
    """
    summary, place = schemas.checked(RunSummary, raw, str(file), _REMEDY), located(file.parent)
    summary = summary.model_copy(update={"edition": _edition(place, summary.edition)})
    summary._folder = file.parent
    for key, value, expected in (
        ("task_id", summary.task_id, place.parent.name),
        ("run_id", summary.run_id, place.name),
    ):
        if value != expected:
            raise UnreadableRun(f"{file}: {key}: {value!r} does not belong here, expected {expected!r}. {_REMEDY}")
    return summary


def _edition(place: Path, name: str) -> str:
    """The edition of the run in `place` by its present name."""
    task = place.parent / "task.json"
    return old_identity.edition(name, read_json(task)) if name == "mini" and task.is_file() else name


def is_run(folder: Path) -> bool:
    """Whether a folder has a file of a run."""
    return any(path.is_file() for name in OF_A_RUN for path in folder.glob(name))


def folders_in(place: Path) -> list[Path]:
    """The run folders in a folder of runs, sorted by path: those on the first level that has any.

    A folder without files of a run is skipped, and so is a link to a run that is listed too.
    """
    for level in ("*", "*/*", "*/*/*"):
        if any(place.glob(f"{level}/run.json")):
            break
    else:
        level = "*/*"  # runs without run.json
    folders: dict[Path, Path] = {}
    for path in sorted(path for name in OF_A_RUN for path in place.glob(f"{level}/{name}")):
        folders.setdefault(located(path.parent), path.parent)
    return list(folders.values())


def of_folder(folder: Path) -> RunSummary:
    """The summary of one run; a run without summary.json is in progress or was killed.

    Raises:
        UnreadableRun: The records or the summary are damaged.
    """
    if not (folder / "run.json").exists() or read_json(folder / "run.json").get("schema", 1) != 1:
        RunFolder(folder).check()  # records of schema 1 have fewer checks
    file = folder / "summary.json"
    return summary_of(read_json(file), file) if file.exists() else _unscored(folder / "run.json")


def is_of(run: RunSummary, name: str) -> bool:
    """Whether a run is of this task: its name with or without the subset, or the id of the task folder."""
    return name in (run.task, run.task_id) or run.task.startswith(f"{name}-")


def of_tasks(runs: Sequence[RunSummary], names: Sequence[str]) -> list[RunSummary]:
    """The runs of some tasks, see `is_of`; without names all runs. Raises UnknownName for a name without runs."""
    for name in names if runs else ():
        if not any(is_of(run, name) for run in runs):
            raise unknown("task", name, {run.task for run in runs}, "these runs")
    return [run for run in runs if not names or any(is_of(run, name) for name in names)]


def comparable(runs: Sequence[RunSummary]) -> tuple[list[RunSummary], str]:
    """(the ranked runs of one task, the metric that ranks them)."""
    primaries = Counter(s.primary for s in runs if s.complete) or Counter(s.primary for s in runs)
    primary = primaries.most_common(1)[0][0]
    return [s for s in runs if s.ranked and s.primary == primary], primary


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
    """The part of run.json that a leaderboard needs."""

    task: _Task
    model: _Model
    limit: int | None
    seed: int
    variant: int = 0
    audio: str | None = None
    overrides: dict[str, str | int | None] = Field(default_factory=dict)
    weights_hashed: bool = True


def _unscored(file: Path) -> RunSummary:
    """The summary of a run that is not scored, from its run.json."""
    run = schemas.checked(_Run, read_json(file), str(file))
    place = located(file.parent)
    values: dict[str, Any] = {
        "task": run.task.name,
        "task_id": place.parent.name,
        "model": run.model.name,
        "run_id": place.name,
        "edition": _edition(place, run.task.edition),
        "model_edition": run.model.edition,
        "limit": run.limit,
        "seed": run.seed,
        "variant": run.variant,
        "audio": run.audio,
        "overrides": run.overrides,
        "weights_hashed": run.weights_hashed,
        "primary": run.task.primary,
        "repeatable": True,
        "complete": False,
        "reason": f"not scored yet: `diva-bench score {file.parent}` scores the answers that there are",
        "data_faults": [],
    }
    values |= dict.fromkeys(("n", "scored", "clusters", "errors", "unsupported"), 0)
    values |= dict.fromkeys(("dtype", "unparsed", "baseline", "at_chance"))
    summary = RunSummary.model_validate(values | {key: {} for key in ("signature", "metrics", "groups")})
    summary._folder = file.parent
    return summary


def flag(run: RunSummary) -> str:
    """Remarks on a run that limit the meaning of its score."""
    main = run.metrics.get(run.primary)
    flags = [
        "imported" if run.imported else "",
        "" if run.weights_hashed else "weights not hashed",
        "at chance" if run.at_chance else "",
        f"{main.clusters} clusters" if main and main.few_clusters else "",
        "" if run.repeatable else "not repeatable",
        f"labels by first token: {run.first_token:,} of {run.scored:,}" if run.first_token else "",
        f"data faults: {len(run.data_faults)}" if run.data_faults else "",
        failures(run),
        f"{run.unparsed:,} of {run.scored:,} answers name no label"
        if 2 * (run.unparsed or 0) >= max(run.scored, 1)
        else "",
        f"released: {a.alike:,} of {a.of:,} are {a.metric}" if (a := run.agreement) and not a.whole else "",
        f"{', '.join(run.kept)} kept from an earlier scoring" if run.kept else "",
    ]
    return ", ".join(text for text in flags if text)


def failures(run: RunSummary) -> str:
    """What was done with answers that failed at their source; "" if none failed, or no rule was given."""
    done = {"wrong": "scored as empty answers", "drop": "left out"}
    return f"{run.errors} failed: {done[run.errors_as]}" if run.errors_as else ""
