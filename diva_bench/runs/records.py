"""summary.json of a run as reports read it, checked, and all of a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from diva_bench.errors import UnreadableRun, unknown
from diva_bench.runs import schemas
from diva_bench.runs.store import RunFolder, located, read_json
from diva_bench.tables import Score


class MetricSummary(schemas.Metric):
    """One metric of one run, as tables show it."""

    @property
    def score(self) -> Score:
        return Score(self.value, self.low, self.high)


class RunSummary(schemas.Summary):
    """summary.json of one run, with what tables call it."""

    metrics: Mapping[str, MetricSummary]
    _folder: Path = PrivateAttr(default=Path())
    _admitted: bool = PrivateAttr(default=False)

    @property
    def folder(self) -> Path:
        """The run folder that the summary was read from."""
        return self._folder

    @property
    def made_by(self) -> str:
        """Whose the scores are that came with imported answers: a metric's, "another" (none of this task's, or of other
        weights), "" where that is not known."""
        return "" if self.agreement is None else self.agreement.metric if self.agreement.whole else "another"

    @property
    def measured(self) -> bool:
        """Whether all of its answers have a value of the primary metric."""
        return self.complete and self.primary in self.metrics

    @property
    def ranked(self) -> bool:
        """Whether it has a rank among others: one whose model is in memory only where that was asked for."""
        return self.measured and (self.weights_hashed or self._admitted)

    def admitted(self) -> RunSummary:
        """The same, ranked also where its model is in memory."""
        copy = self.model_copy()
        copy._folder, copy._admitted = self._folder, True
        return copy

    @property
    def plain(self) -> bool:
        """Whether the task was asked as it is: all samples, its own prompt and settings, the clips as they are."""
        return self.limit is None and not (self.audio or self.variant or self.overrides)

    def doubted(self, reason: str) -> RunSummary:
        """The same, no longer complete for this reason."""
        return self.model_copy(update={"complete": False, "reason": reason})

    def by(self, metric: str) -> RunSummary:
        """As one of `metric`: whether a run is at chance was found out for its primary metric only."""
        if metric == self.primary:
            return self
        return self.model_copy(update={"primary": metric, "at_chance": None, "baseline": None})

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
        how += [self.changes] if self.overrides else []
        how += [self.audio] if self.audio else []
        return f"{self.task} ({', '.join(how)})" if how else self.task

    @property
    def changes(self) -> str:
        """What of the task was changed, in words: "changed: prompt, max_new_tokens 8"; "" for nothing."""
        parts = [key if isinstance(value, str) else f"{key} {value}" for key, value in self.overrides.items()]
        return f"changed: {', '.join(parts)}" if parts else ""


def synthetic_note(edition: str) -> str:
    """What must stand beside every number of an edition whose clips are synthetic speech."""
    return f"{edition}: synthetic speech, shows that the pipeline works, not how good a model is"


def synthetic_notes(editions: Iterable[tuple[str, bool]]) -> list[str]:
    """`synthetic_note` of each edition that is synthetic, once; of pairs (edition, whether its clips are synthetic)."""
    return list(dict.fromkeys(synthetic_note(edition) for edition, synthetic in editions if synthetic))


_REMEDY = "Delete it and run `diva-bench score` on the folder to write it again."


def summary_of(raw: dict[str, Any], file: Path) -> RunSummary:
    """The content of the summary.json `file`, checked. Raises UnreadableRun naming file and key where something is
    missing, unknown or of a wrong type, or where the file does not lie in the folder its run was written to."""
    summary = schemas.checked(RunSummary, raw, str(file), _REMEDY)
    summary._folder, place = file.parent, located(file.parent)
    for key, value, expected in (
        ("task_id", summary.task_id, place.parent.name),
        ("run_id", summary.run_id, place.name),
    ):
        if value != expected:
            raise UnreadableRun(f"{file}: {key}: {value!r} does not belong here, expected {expected!r}. {_REMEDY}")
    return summary


_OF_A_RUN = ("run.json", "summary.json", "responses*.jsonl")


def is_run(folder: Path) -> bool:
    """Whether a folder is that of one run: it has one of its files."""
    return any(path.is_file() for name in _OF_A_RUN for path in folder.glob(name))


def folders_in(place: Path) -> list[Path]:
    """The run folders in a folder of runs, in the order of their paths: on the first level below it that has one.

    A folder with none of a run's files is no run. A link to a run that is there as well is not a second one.
    """
    for level in ("*", "*/*", "*/*/*"):
        if any(place.glob(f"{level}/run.json")):
            break
    else:
        level = "*/*"  # runs that lost their run.json
    folders: dict[Path, Path] = {}
    for path in sorted(path for name in _OF_A_RUN for path in place.glob(f"{level}/{name}")):
        folders.setdefault(located(path.parent), path.parent)
    return list(folders.values())


def of_folder(folder: Path) -> RunSummary:
    """One run, scored or not; UnreadableRun where its records or its summary are not what they must be. A run without
    summary.json is still being asked, or was killed."""
    if not (folder / "run.json").exists() and any(path for name in _OF_A_RUN for path in folder.glob(name)):
        raise UnreadableRun(f"{folder}: run.json is missing. Restore it from a copy, or move the folder away.")
    if not (folder / "run.json").exists() or read_json(folder / "run.json").get("schema", 1) != 1:
        RunFolder(folder).check()  # records of schema 1 had less to be held against
    file = folder / "summary.json"
    return summary_of(read_json(file), file) if file.exists() else _unjudged(folder / "run.json")


def is_of(run: RunSummary, name: str) -> bool:
    """Whether a run is of the task of this name: with its subset, without it, or the id of the task folder."""
    return name in (run.task, run.task_id) or run.task.startswith(f"{name}-")


def of_tasks(runs: Sequence[RunSummary], names: Sequence[str]) -> list[RunSummary]:
    """The runs of some tasks, see `is_of`; without names all runs. UnknownName for a name that none of the runs is of."""
    for name in names if runs else ():
        if not any(is_of(run, name) for run in runs):
            raise unknown("task", name, {run.task for run in runs}, "these runs")
    return [run for run in runs if not names or any(is_of(run, name) for name in names)]


def comparable(runs: Sequence[RunSummary]) -> tuple[list[RunSummary], str]:
    """Of the runs of one task those that are ranked, and the metric that ranks them."""
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
    """What a leaderboard needs of run.json, which has much more."""

    task: _Task
    model: _Model
    limit: int | None
    seed: int
    variant: int = 0
    audio: str | None = None
    overrides: dict[str, str | int | None] = Field(default_factory=dict)
    weights_hashed: bool = True


def _unjudged(file: Path) -> RunSummary:
    """What run.json says of a run that has no summary."""
    run = schemas.checked(_Run, read_json(file), str(file))
    place = located(file.parent)
    values: dict[str, Any] = {
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
        "overrides": run.overrides,
        "weights_hashed": run.weights_hashed,
        "primary": run.task.primary,
        "repeatable": True,
        "complete": False,
        "reason": "no summary.json yet",
        "data_faults": [],
    }
    values |= dict.fromkeys(("n", "scored", "clusters", "errors", "unsupported"), 0)
    values |= dict.fromkeys(("dtype", "unparsed", "baseline", "at_chance"))
    summary = RunSummary.model_validate(values | {key: {} for key in ("signature", "metrics", "groups")})
    summary._folder = file.parent
    return summary


def flag(run: RunSummary) -> str:
    """What speaks against taking a run's number at its face."""
    main = run.metrics.get(run.primary)
    flags = [
        "imported" if run.imported else "",
        "" if run.weights_hashed else "weights not hashed",
        "at chance" if run.at_chance else "",
        f"{main.clusters} clusters" if main and main.few_clusters else "",
        "" if run.repeatable else "not repeatable",
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
    """What was done with the answers that failed at their source; "" where none did, or nothing was done."""
    done = {"wrong": "scored as empty answers", "drop": "left out"}
    return f"{run.errors} failed: {done[run.errors_as]}" if run.errors_as else ""
