"""Judged runs of one task, lined up sample by sample: what compare, trio, ablate and rank intervals start from.

Everything comes from the run folders: scores.jsonl has the statistics, the cluster, the groups and the references of
every sample; run folders judged by an older version lack the last three, and then the task's data is read for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from diva_bench import data
from diva_bench.catalog import Catalog
from diva_bench.errors import StoreError, UserError
from diva_bench.runs import asked, former, rows
from diva_bench.runs.agreement import in_words
from diva_bench.runs.records import RunSummary, comparable, summary_of
from diva_bench.runs.store import Json, RunFolder, expected
from diva_bench.scorers import rises
from diva_bench.scorers.given import METRIC
from diva_bench.scorers.given import NAME as GIVEN
from diva_bench.specs import TaskSpec
from diva_bench.stats import Reduce, totals
from diva_bench.stats.significance import line_up
from diva_bench.types import Progress, Row, Scorer
from diva_bench.weights import assets


@dataclass(frozen=True, slots=True)
class Run:
    """One judged run: `rows`, scorer -> the statistics of every sample, in the order of the sheet."""

    name: str
    path: Path
    summary: RunSummary
    rows: Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class Sheet:
    """Runs of one task on the same samples, in the order of the data; `clusters`, `groups` and `references` by sample."""

    task: TaskSpec
    task_id: str
    ids: Sequence[str]
    clusters: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    references: Sequence[Sequence[str]]
    runs: Sequence[Run]
    scorers: Mapping[str, Scorer]
    """Those by which the runs were judged and that are here in the same version and setting."""
    left_out: Sequence[str] = ()
    """Those by which the runs were judged and that are not."""

    def reduce(self, scorer: str) -> Reduce:
        return self.scorers[scorer].reduce

    @cached_property
    def metrics(self) -> Mapping[str, str]:
        """metric -> scorer, of what every run has."""
        owners: dict[str, str] = {}
        for scorer in self.scorers:
            offers = [list(self._scores(run.rows[scorer], scorer)) for run in self.runs]
            owners |= {name: scorer for name in offers[0] if all(name in other for other in offers)}
        if self.unlike:
            del owners[METRIC]
        return owners

    @property
    def unlike(self) -> str:
        """Why the scores that the runs came with cannot be compared: they are of different metrics, or of other weights or
        another version of one. "" where nothing is known against it."""
        if GIVEN not in self.scorers or len({run.summary.made_by for run in self.runs}) < 2:
            return ""
        reasons = [f"{run.name}: {in_words(run.summary.agreement)}" for run in self.runs if run.summary.agreement]
        return f"{METRIC} is not one metric in these runs. {'; '.join(reasons)}"

    def _scores(self, rows: Sequence[Row], scorer: str) -> Mapping[str, Any]:
        return self.reduce(scorer)(totals([row for row in rows if row]))

    def rises(self, metric: str) -> bool:
        """Whether higher is better."""
        scorer = self.metrics[metric]
        return rises(scorer, self.scorers[scorer], metric)

    @property
    def single_clusters(self) -> bool:
        """Every sample is its own cluster: resampling clusters is resampling samples."""
        return len(set(self.clusters)) == len(self.ids)


def ranks(
    summaries: Sequence[RunSummary], catalog: Catalog, progress: Progress
) -> dict[tuple[str, str], tuple[int, int]]:
    """(task id, run id) -> the 95 % interval of its rank, for every task that two runs or more are ranked by. A task whose
    runs cannot be lined up sample by sample is named and left out."""
    intervals: dict[tuple[str, str], tuple[int, int]] = {}
    for task_id in dict.fromkeys(s.task_id for s in summaries if not s.variant):
        ranked, primary = comparable([s for s in summaries if s.task_id == task_id])
        if len(ranked) < 2:
            continue
        try:
            lineup = sheet([s.folder for s in ranked], catalog, progress)
            scorer = lineup.metrics[primary]
        except UserError as err:
            progress.note(f"{task_id}: no ranks: {err}")
            continue
        except KeyError:
            progress.note(f"{task_id}: no ranks: {primary} cannot be computed for all runs.")
            continue
        draws = line_up([run.rows[scorer] for run in lineup.runs], lineup.clusters, lineup.reduce(scorer))
        ends = draws.ranks(primary, higher_is_better=lineup.rises(primary))
        intervals |= {(task_id, s.run_id): both for s, both in zip(ranked, ends, strict=True)}
    return intervals


def summary_at(path: Path) -> RunSummary:
    """The summary of a run folder that can be compared; StoreError says why another cannot, and what to do."""
    if not (path / "run.json").is_file():
        raise StoreError(f"{path}: is no run folder. {expected(path)}")
    again = f"Run `diva-bench score {path}`."
    if (path / "summary.json").is_file() and not (path / "scores.jsonl").is_file():
        raise StoreError(
            f"{path}: scores.jsonl is missing, which comparisons need (published runs come without it). To make it again "
            f"from the answers, run `diva-bench score {path.parent.parent}/*/*/`."
        )
    if not (path / "summary.json").is_file():
        raise StoreError(f"{path}: is not scored. {again} If the run is not finished, wait for it.")
    summary = summary_of(RunFolder(path).summary(), path / "summary.json")
    if summary.partial:
        raise StoreError(f"{path}: {summary.reason}. Only runs on all data of a task can be compared.")
    if not summary.complete:
        raise StoreError(
            f"{path}: is not complete: {summary.reason} of {summary.n}. Only complete runs are compared; run the same "
            f"command again to complete it."
        )
    return summary


def sheet(paths: Sequence[Path], catalog: Catalog, progress: Progress) -> Sheet:
    """Read runs of one task and line them up.

    Raises StoreError for a folder that is no complete judged run, and UserError for runs of different tasks, samples or
    judgings, and for a run that is given twice.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("a run is given twice; a run does not differ from itself.")
    summaries = [summary_at(path) for path in paths]
    _same_task(paths, summaries)
    folder = RunFolder(paths[0])
    task = _task_of(folder, catalog)
    signed = {name: summaries[0].signature[name] for name in _shared(summaries)}
    there = catalog.scorers(task, lenient=True)
    scorers = {name: scorer for name, scorer in there.items() if name in signed and _is_of(scorer, signed[name])}
    if not scorers:
        raise StoreError(
            f"{paths[0]}: was scored by another version or setting of the scorers than there is now "
            f"({', '.join(signed.values())}). Run `diva-bench score {' '.join(str(path) for path in paths)}`."
        )
    tables = [_table(path, summary) for path, summary in zip(paths, summaries, strict=True)]
    ids = list(tables[0])
    for path, table in zip(paths[1:], tables[1:], strict=True):
        if table.keys() != tables[0].keys():
            raise UserError(_other_samples(paths[0], tables[0], path, table))
    facts = _facts(folder, tables, task, progress)
    names = _names(paths, summaries)
    return Sheet(
        task=task,
        task_id=summaries[0].task_id,
        ids=ids,
        clusters=[facts[i]["cluster"] for i in ids],
        groups={g: [facts[i]["groups"].get(g, "") for i in ids] for g in facts[ids[0]]["groups"]},
        references=[facts[i]["references"] for i in ids],
        runs=[
            Run(name, path, summary, {scorer: [table[i][scorer] for i in ids] for scorer in scorers})
            for name, path, summary, table in zip(names, paths, summaries, tables, strict=True)
        ],
        scorers=scorers,
        left_out=sorted({name for s in summaries for name in s.signature} - scorers.keys()),
    )


def _is_of(scorer: Scorer, signature: str) -> bool:
    """Whether rows of a signature are those of this scorer; one that lacks its weights here can still add up what was
    measured with them."""
    return signature == scorer.signature or fnmatchcase(signature, getattr(scorer, "would_sign", "\0"))


def _same_task(paths: Sequence[Path], summaries: Sequence[RunSummary]) -> None:
    first, *others = [RunFolder(path).task_record() for path in paths]
    for path, other in zip(paths[1:], others, strict=True):
        if other["hash"] == first["hash"]:
            continue
        if former.is_former(first) != former.is_former(other):
            old = paths[0] if former.is_former(first) else path
            raise StoreError(former.moved(old))
        keys = ["name", *(k for k in first if k not in ("id", "hash", "name"))]
        differ = [_difference(k, first.get(k), other.get(k)) for k in keys if first.get(k) != other.get(k)]
        raise UserError(
            f"{paths[0]} and {path} are not comparable: {'; '.join(differ)[:300]}. Only runs of one task folder "
            "can be compared sample by sample."
        )
    shared = _shared(summaries)
    for path, summary in zip(paths[1:], summaries[1:], strict=True):
        if any(summary.signature[name] != summaries[0].signature[name] for name in shared):
            raise UserError(
                f"{paths[0]} and {path} were scored with different settings or versions of the scorers. "
                f"Run `diva-bench score {paths[0]} {path}`."
            )


def _difference(key: str, ours: object, theirs: object) -> str:
    if key == "fingerprint":  # a hash tells nobody what to do
        return "the data (other clips or references, or one run had labels without audio)"
    return f"{key} {ours!r} and {theirs!r}"


def _shared(summaries: Sequence[RunSummary]) -> list[str]:
    """The scorers that all runs were judged by: only imported answers have scores that came with them."""
    return [name for name in summaries[0].signature if all(name in s.signature for s in summaries)]


def _table(path: Path, summary: RunSummary) -> dict[str, Json]:
    """Sample id -> line of scores.jsonl, checked against the summary."""
    header, table = RunFolder(path).scores_of_now()
    again = f"Run `diva-bench score {path}`."
    if header["signature"] != summary.signature:
        raise StoreError(f"{path}: scores.jsonl and summary.json are from different scorings. {again}")
    if len(table) != summary.scored + summary.dropped:
        raise StoreError(
            f"{path}: scores.jsonl has {len(table)} samples and summary.json says {summary.scored}. {again}"
        )
    return table


def _other_samples(path: Path, table: Mapping[str, Json], other: Path, others: Mapping[str, Json]) -> str:
    only, their = sorted(table.keys() - others.keys()), sorted(others.keys() - table.keys())
    parts = [
        f"{len(ids)} only in {where} ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})"
        for where, ids in ((path, only), (other, their))
        if ids
    ]
    return f"the runs do not have the same samples: {'; '.join(parts)}. Run `diva-bench score` on both."


def _task_of(folder: RunFolder, catalog: Catalog) -> TaskSpec:
    """The task as the catalog has it; as it is stored with the run where the catalog has another one now."""
    task = asked.task_of(folder, catalog)
    stored = rows.path_of(folder.above, folder.task_record()["hash"])
    return asked.recorded(folder.record()) if stored and asked.changed(task, folder.task_record()) else task


def _facts(
    folder: RunFolder, tables: Sequence[Mapping[str, Json]], task: TaskSpec, progress: Progress
) -> dict[str, Json]:
    """Sample id -> cluster, groups and references: by the stored rows, else by the scores, else by the data of the task."""
    dataset = asked.stored(folder)
    for table in tables if dataset is None else ():
        if all("cluster" in row for row in table.values()):
            return dict(table)
    dataset = dataset or data.load(task, assets.cache_folder(), progress)
    record = folder.task_record()
    if record["fingerprint"] != (dataset.former if former.is_former(record) else dataset.fingerprint):
        raise StoreError(
            f"{folder.path}: the rows of task {task.name} are not stored with it, and its data has changed since it was asked. "
            "Run the model again."
        )
    return {
        s.id: {"cluster": s.cluster, "groups": dict(s.groups), "references": list(s.references)}
        for s in dataset.samples
    }


def _names(paths: Sequence[Path], summaries: Sequence[RunSummary]) -> list[str]:
    """The shortest names that tell the runs apart: the model's, with its edition, else the run's, else the path."""
    ways: list[Callable[[int], str]] = [
        lambda i: summaries[i].name,
        lambda i: summaries[i].label,
        lambda i: summaries[i].run_id,
        lambda i: str(paths[i]),
    ]
    for way in ways:
        names = [way(i) for i in range(len(paths))]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
