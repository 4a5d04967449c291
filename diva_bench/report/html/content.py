"""What each page of the report shows: tables and numbers from the readers and tables of the package, as plain values.

A number is taken from a summary, or from a table that a command prints too; nothing is computed for the page alone
except counts. Intervals by group and paired differences need resampling: a task whose runs have more than RESAMPLED
answers together has none, and the page names the command that prints them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, get_args

from diva_bench.catalog import Catalog
from diva_bench.errors import UnreadableRun, UserError
from diva_bench.evaluation.jobs import training_of
from diva_bench.report import aggregate
from diva_bench.report.ablation import Block, Outcome, Variant
from diva_bench.report.ablation_grid import Part, compared, grid
from diva_bench.report.aggregate import Means
from diva_bench.report.compare import Comparison, by_group
from diva_bench.report.html.samples import Answers, Question, answers_of, confusion, question_of
from diva_bench.report.leaderboard import Standing, caption, leaderboard, standings
from diva_bench.report.runs import reasons
from diva_bench.runs.aligned import Sheet
from diva_bench.runs.records import RunSummary, flag, synthetic_note
from diva_bench.runs.run import Run, Runs
from diva_bench.scorers import DIAGNOSTIC, METRICS, PREDICTED
from diva_bench.scorers.labels import UNPARSED
from diva_bench.specs import Edition, Json
from diva_bench.specs.prompt import filled
from diva_bench.stats import holm, significance
from diva_bench.tables import Cell, Column, Score, Table

RESAMPLED = 100_000
"""Answers of all runs of a task together, up to which the page has intervals by group and paired differences."""
_MOST_LABELS = 24
"""Labels of a confusion matrix that is shown."""
_MOST_VALUES = 24
"""Values of a group that is shown, as in `compare`."""
_SAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MEANINGS = {metric.name: metric.meaning for metric in METRICS}
_EDITIONS = get_args(Edition)


def slug(name: str) -> str:
    """A name for files and addresses: the same, if it has only safe characters; else with a hash that keeps it unique."""
    safe = _SAFE.sub("-", name).strip(".-")
    return safe if safe == name else f"{safe or 'x'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


# ---------------------------------------------------------------- runs


@dataclass(frozen=True)
class Shown:
    """A run as the pages name it. `label`: unique among the runs of its task."""

    run: Run
    label: str
    standing: Standing = ""

    @property
    def summary(self) -> RunSummary:
        return self.run.summary

    @property
    def key(self) -> str:
        """The name of its page and its data files."""
        return f"{slug(self.summary.task_id)}.{slug(self.summary.run_id)}"

    @property
    def stale(self) -> bool:
        """Whether its scores and counts are of other answers or rows than those in its folder now."""
        return self.run.changed

    @property
    def main(self) -> Score | None:
        """The primary score; None without one, or if it is of other answers."""
        if self.stale:
            return None
        metric = self.summary.metrics.get(self.summary.primary)
        return metric.score if metric else None

    @property
    def coverage(self) -> float | None:
        """Percentage of the samples that the model answered and that are scored; None before the first scoring, or if that is
        of other answers."""
        s = self.summary
        return 100 * max(0, s.scored - s.unsupported) / s.n if s.n and not self.stale else None

    @property
    def remarks(self) -> str:
        s = self.summary
        return ", ".join(filter(None, ["" if s.complete else f"not ranked: {s.reason}", flag(s)]))


def shown(runs: Sequence[Run]) -> list[Shown]:
    """The runs of one task, the best first, then those without a rank."""
    labels = [run.summary.label for run in runs]
    stand = standings([run.summary for run in runs])
    named = [
        Shown(run, label if labels.count(label) == 1 else run.summary.run_id, stand.get(run.summary.run_id, ""))
        for run, label in zip(runs, labels, strict=True)
    ]

    def order(one: Shown) -> tuple[bool, float]:
        metric = one.summary.metrics.get(one.summary.primary)
        if metric is None or not one.summary.complete:
            return True, 0.0
        return False, -metric.value if metric.higher_is_better else metric.value

    return sorted(named, key=order)


# ---------------------------------------------------------------- tasks


@dataclass
class TaskView:
    """A task folder: its runs, samples, and what its pages show."""

    task_id: str
    runs: list[Shown]
    question: Question

    @cached_property
    def key(self) -> str:
        return slug(self.task_id)

    @cached_property
    def summary(self) -> RunSummary:
        return self.runs[0].summary

    @cached_property
    def title(self) -> str:
        return self.summary.title

    @cached_property
    def captions(self) -> str:
        """What a reader must know of all its numbers; "" for nothing."""
        return caption(self.summary).strip(" ()")

    @property
    def small(self) -> bool:
        """Whether its runs are resampled for the page."""
        return len(self.question.samples) * len(self.runs) <= RESAMPLED

    @cached_property
    def higher_is_better(self) -> bool:
        mains = [metric for one in self.runs if (metric := one.summary.metrics.get(one.summary.primary))]
        return mains[0].higher_is_better if mains else True

    def tables(self) -> list[Table]:
        """The tables of the task in `diva-bench leaderboard`; for a prompt variant that of `list runs`."""
        summaries = [one.summary for one in self.runs]
        return leaderboard(summaries)[:2] or [Runs([one.run for one in self.runs]).table()]

    def facts(self) -> list[tuple[str, str]]:
        """Settings of the question, name and value; without texts that licensed data could be in."""
        record = self.runs[0].run.folder.record()
        task = record["task"]
        first = self.summary
        decode = task.get("decode") or {}
        same = {
            **(task.get("fields") or {}),
            **({"choices": ", ".join(task["choices"])} if task.get("choices") else {}),
        }
        facts = [
            ("Prompt", filled(str(task.get("prompt", "")), same)),
            ("System message", filled(str(task.get("system") or ""), same)),
            ("Labels", ", ".join(task.get("choices") or ())),
            ("Primary metric", f"{first.primary}: {_MEANINGS.get(first.primary, 'a metric of a plugin')}"),
            ("Samples", f"{len(self.question.samples):,}"),
            ("Decoding", ", ".join(f"{key} {value}" for key, value in decode.items())),
            ("Audio condition", first.audio or ""),
            ("Speech", first.speech or ""),
            ("Licence", str(task.get("licence") or "")),
            ("Source", str(task.get("citation") or "")),
            ("Task folder", self.task_id),
            ("Fingerprint of the data", str(record.get("fingerprint", ""))),
        ]
        return [(name, value) for name, value in facts if value]


def task_views(runs: Sequence[Run], catalog: Catalog, licensed: bool) -> Iterator[TaskView]:
    """One view for every task folder, in the order of the leaderboard."""

    def order(run: Run) -> tuple[object, ...]:
        s = run.summary
        edition = _EDITIONS.index(s.edition) if s.edition in _EDITIONS else len(_EDITIONS)
        return s.limit is not None, not s.plain, edition, s.task, s.task_id

    for task_id in dict.fromkeys(run.summary.task_id for run in sorted(runs, key=order)):
        here = shown([run for run in runs if run.summary.task_id == task_id])
        yield TaskView(task_id, here, question_of([one.run for one in here], catalog, licensed))


@dataclass
class Details:
    """What the answers of a task give: computed once, from the answers of all runs of a small task."""

    groups: Sequence[Table] = ()
    lengths: Sequence[Table] = ()
    confusions: Sequence[tuple[Shown, Confusion]] = ()
    pairs: Sequence[Json] = ()
    note: str = ""


@dataclass(frozen=True)
class Confusion:
    """Counts by gold and predicted label; `shades`: share of a gold label's answers in steps of 1/9."""

    labels: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]

    @property
    def shades(self) -> list[list[int]]:
        return [[round(9 * n / max(sum(row), 1)) for n in row] for row in self.counts]


def confusion_of(answers: Answers, choices: Sequence[str]) -> Confusion | None:
    """The confusion matrix of a run; None for an open task, no scores, or too many labels."""
    pairs = confusion(answers)
    if not pairs or len(choices) > _MOST_LABELS:
        return None
    columns = [*choices, *([UNPARSED] if any(predicted == UNPARSED for _, predicted in pairs) else [])]
    return Confusion(choices, columns, [[pairs.get((gold, label), 0) for label in columns] for gold in choices])


def sheet_of(view: TaskView, answers: Sequence[Answers]) -> Sheet | None:
    """The runs that can be compared sample by sample: complete, ranked by one metric, of one version of its scorer; None
    if there is none."""
    primary = view.summary.primary
    owner = next((a.run.summary.metrics[primary].scorer for a in answers if a.rows and primary in a.scores), "")
    able = [a for a in answers if a.rows.get(owner) and a.run.summary.complete and primary in a.scores]
    signed = {a.run.summary.signature[owner] for a in able}
    if not able or view.question.task is None or len(signed) > 1:
        return None
    labels = {id(one.run): one.label for one in view.runs}
    question = view.question
    return Sheet(
        task=question.task,  # type: ignore[arg-type]  # checked above
        task_id=view.task_id,
        ids=[s.id for s in question.samples],
        clusters=[s.cluster for s in question.samples],
        groups=question.groups,
        references=[s.references for s in question.samples],
        runs=[a.run for a in able],
        names=[labels[id(a.run)] for a in able],
        rows=[{owner: a.rows[owner]} for a in able],
        scorers={owner: question.scorers[owner]},
    )


def details_of(view: TaskView, answers: Sequence[Answers], sheet: Sheet | None) -> Details:
    """Breakdowns and paired differences of a small task."""
    choices = (view.question.task.choices or ()) if view.question.task else ()
    found = [
        (one, matrix)
        for one in view.runs
        for mine in answers
        if mine.run is one.run and (matrix := confusion_of(mine, choices))
    ]
    details = Details(confusions=found)
    details.note = "; ".join(dict.fromkeys(mine.note for mine in answers if mine.note))
    if sheet is None:
        return details
    metric = view.summary.primary
    own = {name for sample in view.question.samples[:1] for name in sample.groups}
    parts = [{n: v for n, v in sheet.groups.items() if (n in own) is wanted} for wanted in (True, False)]
    details.groups, details.lengths = (_grouped(replace(sheet, groups=some), metric) for some in parts)
    details.pairs = _pairs(sheet, metric)
    return details


def _grouped(sheet: Sheet, metric: str) -> list[Table]:
    """The table of `compare` by group: scores with intervals."""
    groups = {name: values for name, values in sheet.groups.items() if 1 < len(set(values)) <= _MOST_VALUES}
    return [by_group(Comparison(sheet, [metric], {}, {}, {}, (), ()), metric, groups)] if groups else []


def _pairs(sheet: Sheet, metric: str) -> list[Json]:
    """Every two runs: the difference that `compare` prints, and p after Holm over the pairs of the task."""
    scorer = sheet.metrics.get(metric)
    if scorer is None or len(sheet.runs) < 2:
        return []
    lineup = significance.line_up([rows[scorer] for rows in sheet.rows], sheet.clusters, sheet.reduce(scorer))
    both = list(combinations(range(len(sheet.runs)), 2))
    differences = [lineup.difference(metric, i, j) for i, j in both]
    adjusted = holm([d.p for d in differences])
    return [
        {
            "a": sheet.names[i],
            "b": sheet.names[j],
            "value": d.value,
            "low": d.low,
            "high": d.high,
            "p": d.p,
            "holm": p,
            "n": d.n,
            "few": d.few_clusters,
        }
        for (i, j), d, p in zip(both, differences, adjusted, strict=True)
    ]


# ---------------------------------------------------------------- run pages


def metric_tables(run: Run) -> list[tuple[str, Table]]:
    """All metrics of a run in three tables: quality, how it answers, and predicted labels."""
    kinds: dict[str, list[list[Cell]]] = {"Quality": [], "How it answers": [], "Predicted labels": []}
    names = sorted(run.summary.metrics, key=lambda name: name != run.summary.primary)
    for name in names:
        metric = run.summary.metrics[name]
        kind = "How it answers" if name in DIAGNOSTIC else "Quality"
        kind = "Predicted labels" if name.startswith(PREDICTED) else kind
        meaning = _MEANINGS.get(name, "") if not name.startswith(PREDICTED) else "share of answers with this label"
        better = "higher" if metric.higher_is_better else "lower"
        if kind != "Quality":
            better = "-"
        kinds[kind].append([name, metric.score, metric.n, metric.clusters, better, meaning])
    columns = [Column("metric"), Column("score [95 %]"), Column("n"), Column("clusters"), Column("better")]
    columns.append(Column("meaning"))
    return [(kind, Table("", columns, rows)) for kind, rows in kinds.items() if rows]


def group_table(run: Run) -> Table | None:
    """The quality metrics of a run for every value of every group, from its summary; None without groups."""
    s = run.summary
    metrics = [m for m in s.metrics if m not in DIAGNOSTIC and not m.startswith(PREDICTED) and m != "unparsed"]
    metrics = sorted(metrics, key=lambda name: name != s.primary)[:5]
    rows: list[list[Cell]] = [
        [group, value, int(scores["n"]), *(scores.get(metric) for metric in metrics)]
        for group, values in s.groups.items()
        for value, scores in values.items()
    ]
    columns = [Column("group"), Column("value"), Column("n"), *(Column(metric) for metric in metrics)]
    return Table("", columns, rows) if rows else None


def provenance(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Heading -> names and values from run.json: model, decoding, machine, versions."""
    record = run.folder.record()
    model, s = record["model"], run.summary
    speed, versions, machine = run.speed, record.get("versions") or {}, record.get("machine") or {}
    git = record.get("git") or {}
    weights = [
        (f"Weights, {role}", f"{spec.get('name', '')} ({spec.get('licence', 'licence unknown')})")
        for role, spec in (model.get("weights") or {}).items()
        if isinstance(spec, Mapping)
    ]
    changed = ", with uncommitted changes" if git.get("dirty") else ""
    parts = [
        (
            "Model",
            [
                ("Model", s.label),
                ("Description", str(model.get("description") or "")),
                ("Adapter", f"{model.get('adapter')} (version {record.get('adapter_version')})"),
                ("Settings", ", ".join(f"{k}: {v}" for k, v in (model.get("args") or {}).items())),
                *weights,
                ("Number format", s.dtype or ""),
                ("Runtime", ", ".join(f"{k}: {v}" for k, v in (model.get("runtime") or {}).items())),
                ("Chat frame", str(record.get("frame") or "")),
            ],
        ),
        (
            "Run",
            [
                ("Started", run.date.replace("T", " ").replace("+00:00", " UTC")),
                ("Command", str(record.get("command") or "")),
                ("Seed", str(s.seed)),
                ("Limit", str(s.limit or "")),
                ("Speed", f"{speed.samples:.2f} samples/s, {speed.audio:.1f} s of audio per second" if speed else ""),
                ("diva-bench commit", f"{git['commit']}{changed}" if git.get("commit") else ""),
                ("Run folder", f"{s.task_id}/{s.run_id}"),
                ("sha256 of the answers", s.answers or ""),
            ],
        ),
        ("Machine", [(str(key), str(value)) for key, value in machine.items()]),
        ("Versions", [(str(key), str(value)) for key, value in versions.items()]),
    ]
    return [
        (title, [(name, value) for name, value in rows if value]) for title, rows in parts if any(v for _, v in rows)
    ]


def training(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Heading -> names and values of the connector's training record; empty without one."""
    record = run.folder.record().get("training")
    parts = training_of(record) if isinstance(record, dict) else {}
    compute = dict(parts.get("compute") or {})
    flops = compute.pop("flops", None)
    if isinstance(flops, Mapping):
        compute |= {"flops in all": sum(flops.values())} | {f"flops, {name}": value for name, value in flops.items()}
    elif flops is not None:
        compute["flops"] = flops
    tables = [("Compute", compute), ("Settings", parts.get("config") or {})]
    return [
        (title, [(str(key).replace("_", " "), _value(value)) for key, value in table.items()])
        for title, table in tables
        if table
    ]


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if value and not 1e-3 <= abs(value) < 1e7 else f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def failures(run: Run) -> list[tuple[str, str, int]]:
    """(status, reason, number) of answers that failed, the most common first."""
    s = run.summary
    if not s.errors and not s.unsupported:
        return []
    try:
        found = reasons(run.path)
    except UnreadableRun:  # `answers_of` tells it
        return []
    return [(status, why, n) for status, counts in found.items() for why, n in counts.most_common(20)]


# ---------------------------------------------------------------- leaderboard


@dataclass(frozen=True)
class Board:
    """Models by tasks of one edition. `cells`: (model, task id) -> the runs, usually one. `means`: over the tasks."""

    edition: str
    note: str
    models: Sequence[str]
    tasks: Sequence[TaskView]
    cells: Mapping[tuple[str, str], Sequence[Shown]]
    means: Means

    @property
    def few(self) -> list[str]:
        """Tasks with too few clusters for their intervals, with the number of clusters."""
        found = [
            (task.title, one.summary.metrics[one.summary.primary])
            for task in self.tasks
            for one in task.runs
            if one.main
        ]
        return list(dict.fromkeys(f"{title} has {main.clusters}" for title, main in found if main.few_clusters))

    def sizes(self, task: TaskView) -> str:
        """The number of scored samples of a task: one number, or a range."""
        sizes = sorted({one.summary.metrics[one.summary.primary].n for one in task.runs if one.summary.ranked})
        return f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}" if sizes else "0"


def boards(views: Sequence[TaskView]) -> list[Board]:
    """A board for every edition, from runs of unchanged tasks."""
    plain = [view for view in views if view.summary.plain]
    found = []
    for edition in dict.fromkeys(view.summary.edition for view in plain):
        tasks = [view for view in plain if view.summary.edition == edition]
        cells: dict[tuple[str, str], list[Shown]] = {}
        for view in tasks:
            for one in view.runs:
                if one.summary.ranked and one.summary.primary == view.summary.primary:
                    cells.setdefault((one.summary.label, view.task_id), []).append(one)
        models = sorted({model for model, _ in cells}, key=lambda model: (_level(cells, model), model))
        note = synthetic_note(edition) if any(view.summary.synthetic for view in tasks) else ""
        if models:
            means = aggregate.means([one.summary for view in tasks for one in view.runs])
            found.append(Board(edition, note, models, tasks, cells, means))
    return found


def _level(cells: Mapping[tuple[str, str], Sequence[Shown]], model: str) -> float:
    """For the order of models: minus the number of tasks at which it is the best or tied with the best."""
    return -sum(one.standing in ("best", "tied") for (name, _), some in cells.items() if name == model for one in some)


# ---------------------------------------------------------------- differences from a base


def base_of(views: Sequence[TaskView], wanted: str | None) -> str:
    """The model that the others are compared with: the one asked for; else the trained model with the shortest name; else
    the first.

    Raises:
        UserError: No run has the name that was asked for.
    """
    labels = list(dict.fromkeys(one.summary.label for view in views for one in view.runs))
    if wanted is not None and wanted not in labels:
        raise UserError(f"--base {wanted!r}: no run of such a model. Allowed: {', '.join(labels)}.")
    trained = [one.summary.label for view in views for one in view.runs if "training" in _record(one.run)]
    return wanted or min(trained, key=lambda name: (len(name), name), default=labels[0])


def _record(run: Run) -> Json:
    record = run.folder.record()
    return record if isinstance(record.get("training"), dict) else {}


def part_of(view: TaskView, sheet: Sheet, base: str) -> Part | None:
    """The differences of all models from the base at one task, as in `diva-bench ablate --runs`; None without the base."""
    metric = view.summary.primary
    outcomes: dict[str, Outcome] = {}
    for run, rows in zip(sheet.runs, sheet.rows, strict=True):
        scorer = next(iter(rows))
        trained = training_of(_record(run).get("training") or {})
        variant = Variant(run.summary.label, run.summary.label, edition=run.summary.model_edition, **trained)
        outcomes.setdefault(
            variant.name, Outcome(variant, "", run.summary, dict(zip(sheet.ids, rows[scorer], strict=True)))
        )
    if base not in outcomes or len(outcomes) < 2 or not view.summary.plain:
        return None
    return compared(
        Block(
            task=view.title,
            metric=metric,
            clusters=dict(zip(sheet.ids, sheet.clusters, strict=True)),
            reduce=sheet.reduce(scorer),
            base=outcomes[base],
            against=[outcome for name, outcome in outcomes.items() if name != base],
            scorer=scorer,
            edition=view.summary.edition,
            synthetic=view.summary.synthetic,
            limit=view.summary.limit,
        )
    )


def ablation(parts: Sequence[Part]) -> Table | None:
    """The table of `ablate --runs` for the tasks at which the same models were compared; None for no part."""
    names = list(dict.fromkeys(o.variant.name for part in parts for o in part.block.against))
    whole = [_with(part, names) for part in parts]
    return grid(whole) if whole and names else None


def _with(part: Part, names: Sequence[str]) -> Part:
    """The part with an empty column for every model that it lacks, in the order of `names`."""
    there = {o.variant.name: (o, d, g) for o, d, g in zip(part.block.against, part.differences, part.gaps, strict=True)}
    filled = [there.get(name, (Outcome(Variant(name, name), "no run"), None, "no run")) for name in names]
    outcomes, differences, gaps = zip(*filled, strict=True)
    return Part(replace(part.block, against=outcomes), differences, gaps)


def answers_and_sheet(view: TaskView) -> tuple[list[Answers], Sheet | None]:
    """The answers of all runs of a small task, and its comparable runs."""
    answers = [answers_of(one.run, view.question) for one in view.runs]
    return answers, sheet_of(view, answers)


def forest(table: Table) -> list[tuple[str, list[tuple[str, str, Score, Cell]]]]:
    """The differences in the table of `ablate --runs`: (model, [(task, metric, difference, p)])."""
    found = []
    for row in table.rows[1:]:
        cells = [
            (column.group, table.columns[i - 1].name, value, row[i + 1])
            for i, (column, value) in enumerate(zip(table.columns, row, strict=True))
            if column.name == "difference" and isinstance(value, Score)
        ]
        if cells:
            found.append((str(row[0]), cells))
    return found
