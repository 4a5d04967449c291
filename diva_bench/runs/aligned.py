"""Scored runs of one task, aligned sample by sample, for compare, trio, ablate and rank intervals.

The data comes from the run folders: scores.jsonl has the statistics, cluster, groups and references of every sample.
Run folders scored by an older version have only the statistics; then the task's data is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, TypeVar

from diva_bench import data, stats
from diva_bench.catalog import Catalog
from diva_bench.errors import StoreError, UserError
from diva_bench.runs import old_identity, rows, stored_task
from diva_bench.runs.agreement import in_words
from diva_bench.runs.records import RunSummary, comparable
from diva_bench.runs.run import Run, other_samples, question_differences, scoring_differences
from diva_bench.runs.store import Json, RunFolder
from diva_bench.scorers import rises
from diva_bench.scorers.source_score import METRIC
from diva_bench.scorers.source_score import NAME as GIVEN
from diva_bench.specs import TaskSpec
from diva_bench.types import Floats, Progress, Row, Scorer
from diva_bench.weights import assets

T = TypeVar("T")


@dataclass(frozen=True)
class Sheet:
    """Runs of one task on the same samples, in the order of the data.

    Attributes:
        ids: Sample ids.
        clusters: Cluster of every sample.
        groups: Group -> its value for every sample.
        references: References of every sample.
    """

    task: TaskSpec
    task_id: str
    ids: Sequence[str]
    clusters: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    references: Sequence[Sequence[str]]
    runs: Sequence[Run]
    names: Sequence[str]
    """The shortest names that differ between the runs."""
    rows: Sequence[Mapping[str, Sequence[Row]]]
    """For every run: scorer -> the statistics of every sample, in the order of `ids`."""
    scorers: Mapping[str, Scorer]
    """The scorers of the runs that exist here in the same version and setting."""
    left_out: Sequence[str] = ()
    """The scorers of the runs that do not."""

    def reduce(self, scorer: str) -> stats.Reduce:
        return self.scorers[scorer].reduce

    @cached_property
    def metrics(self) -> Mapping[str, str]:
        """Metric -> scorer, for metrics that every run has."""
        owners: dict[str, str] = {}
        for scorer in self.scorers:
            offers = [list(self._scores(rows[scorer], scorer)) for rows in self.rows]
            owners |= {name: scorer for name in offers[0] if all(name in other for other in offers)}
        if self.unlike:
            del owners[METRIC]
        return owners

    @property
    def unlike(self) -> str:
        """Why the scores from the sources of the runs cannot be compared: they are of different metrics, weights or
        versions; "" if nothing is known against it."""
        if GIVEN not in self.scorers or len({run.summary.made_by for run in self.runs}) < 2:
            return ""
        both = zip(self.names, self.runs, strict=True)
        reasons = [f"{name}: {in_words(run.summary.agreement)}" for name, run in both if run.summary.agreement]
        return f"{METRIC} is not one metric in these runs. {'; '.join(reasons)}"

    def _scores(self, rows: Sequence[Row], scorer: str) -> Mapping[str, Any]:
        return self.reduce(scorer)(stats.totals([row for row in rows if row]))

    def rises(self, metric: str) -> bool:
        """Whether higher is better."""
        scorer = self.metrics[metric]
        return rises(scorer, self.scorers[scorer], metric)

    def part(self, places: Sequence[int]) -> Sheet:
        """The same runs on some of the samples."""

        def some(values: Sequence[T]) -> list[T]:
            return [values[place] for place in places]

        return replace(
            self,
            ids=some(self.ids),
            clusters=some(self.clusters),
            groups={name: some(values) for name, values in self.groups.items()},
            references=some(self.references),
            rows=[{name: some(rows) for name, rows in one.items()} for one in self.rows],
        )

    @property
    def single_clusters(self) -> bool:
        """Whether every sample is its own cluster, so that resampling clusters is resampling samples."""
        return len(set(self.clusters)) == len(self.ids)


@dataclass(frozen=True)
class Drawn:
    """The primary scores of the ranked runs of a task in every resample.

    Attributes:
        values: (runs, resamples), the same resamples for all runs.
        rises: Whether higher is better.
    """

    run_ids: Sequence[str]
    values: Floats
    rises: bool


def drawn(summaries: Sequence[RunSummary], catalog: Catalog, progress: Progress) -> dict[str, Drawn]:
    """Task id -> the resampled scores of its ranked runs, for every task with two or more of them. A task whose runs cannot
    be aligned is left out with a note."""
    found: dict[str, Drawn] = {}
    for task_id in dict.fromkeys(s.task_id for s in summaries if not s.variant):
        ranked, primary = comparable([s for s in summaries if s.task_id == task_id])
        if len(ranked) < 2:
            continue
        try:
            lineup = sheet([Run(s.folder, s) for s in ranked], catalog, progress)
            scorer = lineup.metrics[primary]
        except UserError as err:
            progress.note(f"{task_id}: no ranks: {err}")
            continue
        except KeyError:
            progress.note(f"{task_id}: no ranks: {primary} cannot be computed for all runs.")
            continue
        from diva_bench.stats.significance import line_up  # it loads numpy

        draws = line_up([rows[scorer] for rows in lineup.rows], lineup.clusters, lineup.reduce(scorer))
        found[task_id] = Drawn([s.run_id for s in ranked], draws.drawn[primary], lineup.rises(primary))
    return found


def ranks(drawn: Mapping[str, Drawn]) -> dict[tuple[str, str], tuple[int, int]]:
    """(task id, run id) -> the 95 % interval of its rank."""
    intervals: dict[tuple[str, str], tuple[int, int]] = {}
    for task_id, one in drawn.items():
        from diva_bench.stats.significance import rank_intervals  # it loads numpy

        ends = rank_intervals(one.values, higher_is_better=one.rises)
        intervals |= {(task_id, run_id): both for run_id, both in zip(one.run_ids, ends, strict=True)}
    return intervals


def sheet(runs: Sequence[Run], catalog: Catalog, progress: Progress) -> Sheet:
    """Read runs of one task and align them.

    Raises:
        StoreError: A run is not complete or not scored.
        UserError: The runs have different tasks, samples or scorers, or a run is given twice.
    """
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise UserError("a run is given twice; a run does not differ from itself.")
    if gap := next((run.gap for run in runs if run.gap), ""):
        raise StoreError(gap)
    first, *others = runs
    if differ := next((text for run in others if (text := question_differences(first, run))), ""):
        raise UserError(differ)
    shared = [name for name in first.summary.signature if all(name in run.summary.signature for run in others)]
    if differ := next((text for run in others if (text := scoring_differences(first, run))), ""):
        raise UserError(differ)
    task = _task_of(first.folder, catalog)
    signed = {name: first.summary.signature[name] for name in shared}
    there = catalog.scorers(task, lenient=True)
    scorers = {name: scorer for name, scorer in there.items() if name in signed and _is_of(scorer, signed[name])}
    if not scorers:
        raise StoreError(
            f"{first.path}: was scored by another version or setting of the scorers than there is now "
            f"({', '.join(signed.values())}). Run `diva-bench score {' '.join(str(run.path) for run in runs)}`."
        )
    tables = [run.scores() for run in runs]
    for run, table in zip(others, tables[1:], strict=True):
        if differ := other_samples(first, tables[0], run, table):
            raise UserError(differ)
    ids = list(tables[0])
    facts = _facts(first.folder, tables, task, progress)
    return Sheet(
        task=task,
        task_id=first.summary.task_id,
        ids=ids,
        clusters=[facts[i]["cluster"] for i in ids],
        groups={g: [facts[i]["groups"].get(g, "") for i in ids] for g in facts[ids[0]]["groups"]},
        references=[facts[i]["references"] for i in ids],
        runs=runs,
        names=_names(runs),
        rows=[{scorer: [table[i][scorer] for i in ids] for scorer in scorers} for table in tables],
        scorers=scorers,
        left_out=sorted({name for run in runs for name in run.summary.signature} - scorers.keys()),
    )


def _is_of(scorer: Scorer, signature: str) -> bool:
    """Whether rows with this signature are from this scorer. A scorer without its weights can still sum rows that were
    measured with them."""
    return signature == scorer.signature or fnmatchcase(signature, getattr(scorer, "would_sign", "\0"))


def _task_of(folder: RunFolder, catalog: Catalog) -> TaskSpec:
    """The task by the catalog; by the run if the catalog has changed it."""
    task = stored_task.task_of(folder, catalog)
    stored = rows.path_of(folder.above, folder.task_record()["hash"])
    return stored_task.recorded(folder.record()) if stored and stored_task.changed(task, folder.task_record()) else task


def _facts(
    folder: RunFolder, tables: Sequence[Mapping[str, Json]], task: TaskSpec, progress: Progress
) -> dict[str, Json]:
    """Sample id -> cluster, groups and references: from the stored rows, else from the scores, else from the task's data."""
    dataset = stored_task.stored(folder)
    for table in tables if dataset is None else ():
        if all("cluster" in row for row in table.values()):
            return dict(table)
    dataset = dataset or data.load(task, assets.cache_folder(), progress)
    record = folder.task_record()
    if record["fingerprint"] != (dataset.former if old_identity.is_former(record) else dataset.fingerprint):
        raise StoreError(
            f"{folder.path}: the rows of task {task.name} are not stored with it, and its data has changed since it was asked. "
            "Run the model again."
        )
    return {
        s.id: {"cluster": s.cluster, "groups": dict(s.groups), "references": list(s.references)}
        for s in dataset.samples
    }


def _names(runs: Sequence[Run]) -> list[str]:
    """The shortest names that differ between the runs: of the model, with its edition, of the run, or the path."""
    ways: list[Callable[[Run], str]] = [
        lambda run: run.summary.name,
        lambda run: run.summary.label,
        lambda run: run.summary.run_id,
    ]
    for way in ways:
        names = [way(run) for run in runs]
        if len(set(names)) == len(names):
            return names
    return [str(run.path) for run in runs]
