"""The plots of stored runs: what is drawn, and the finding in its title. The numbers are those of the tables."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from diva_bench.audio.perturbations import parse
from diva_bench.catalog import Catalog
from diva_bench.errors import UserError
from diva_bench.report.ablation import SURE
from diva_bench.report.ablation_grid import Part
from diva_bench.report.html import content
from diva_bench.report.html.content import Confusion, TaskView, slug
from diva_bench.report.html.samples import Answers
from diva_bench.report.leaderboard import AT_CHANCE
from diva_bench.report.plots.canvas import Plot, axes, below, ends, grid, hatch, legend, not_drawn, seen, style
from diva_bench.runs.aligned import Sheet
from diva_bench.runs.records import RunSummary
from diva_bench.runs.run import Run
from diva_bench.scorers.labels import UNPARSED
from diva_bench.stats import P_NOTE, bootstrap, holm, significance
from diva_bench.stats.resampling import interval
from diva_bench.tables import Score

_MOST = 7
"""Series in one plot: so many can be told apart."""


@dataclass
class Study:
    """The runs of a folder; answers are read and measured once, when a plot needs them."""

    runs: Sequence[Run]
    catalog: Catalog
    base: str | None = None
    _views: list[TaskView] = field(default_factory=list)
    _read: dict[str, tuple[list[Answers], Sheet | None]] = field(default_factory=dict)

    @property
    def views(self) -> list[TaskView]:
        """The tasks with unchanged data, prompt and clips."""
        if not self._views:
            every = list(content.task_views(self.runs, self.catalog, licensed=True))
            self._views = [view for view in every if view.summary.plain]
        return self._views

    def read(self, view: TaskView) -> tuple[list[Answers], Sheet | None]:
        if not view.small:
            return [], None
        if view.task_id not in self._read:
            self._read[view.task_id] = content.answers_and_sheet(view)
            for one in self._read[view.task_id][0]:
                if one.damaged:
                    logging.getLogger("diva_bench").warning("not drawn: %s", one.note)
        return self._read[view.task_id]


def _name(*parts: str) -> str:
    return "-".join(slug(part) for part in parts)


def _edition(view: TaskView) -> str:
    return f"{view.title} ({view.summary.edition})"


def _blind(run: Run) -> bool:
    """Whether it is a baseline, which does not use the clip."""
    return str(run.folder.record()["model"].get("adapter")) == "baseline"


def _chosen(names: Sequence[str], reasons: Mapping[str, Collection[str]]) -> tuple[Sequence[str], list[str]]:
    """(the models that are drawn, lines that say which are not, and why). Those of `reasons` (why -> models) are drawn only if
    there are no others."""
    weak = {name for some in reasons.values() for name in some}
    drawn = ([name for name in names if name not in weak] or names)[:_MOST]
    left_out = [name for name in names if name not in drawn]
    lines = []
    for why, which in reasons.items():
        for here, what in ((drawn, why), (left_out, f"{why}, not drawn")):
            some = [name for name in here if name in which]
            lines += [f"{what}: {', '.join(some)}"] if some else []
    return drawn, [*lines, *not_drawn([name for name in left_out if name not in weak])]


def _explained(lines: Sequence[str]) -> list[str]:
    """The lines, and what "at chance" means if one says it."""
    return [*lines, *([AT_CHANCE] if any("at chance" in line for line in lines) else [])]


def _baseline(summaries: Iterable[RunSummary]) -> float | None:
    """The best audio-blind baseline of the runs of a task; None if none is known."""
    ranked = [s for s in summaries if s.ranked]
    known = [s.baseline for s in ranked if s.baseline is not None]
    rises = all(s.metrics[s.primary].higher_is_better for s in ranked)
    return (max if rises else min)(known) if known else None


# ---------------------------------------------------------------- accents


def accents(study: Study) -> Iterator[Plot]:
    """A profile for every group of a task that the task contrasts (accents): scores by value, and the largest gap."""
    for view in study.views:
        task = view.question.task
        for group, reference in (task.contrast if task else {}).items():
            _, sheet = study.read(view)
            if sheet is None or all(_blind(run) for run in sheet.runs):  # the profile of a baseline says nothing
                continue
            if group in sheet.groups and view.summary.primary in sheet.metrics:
                yield _profile(view, sheet, group, reference)


def _profile(view: TaskView, sheet: Sheet, group: str, reference: str) -> Plot:
    metric, values = view.summary.primary, sheet.groups[group]
    scorer = sheet.metrics[metric]
    names = sorted(set(values))
    runs = dict(zip(sheet.names, sheet.runs, strict=True))
    drawn, lines = _chosen(sheet.names, {"a baseline": [name for name, run in runs.items() if _blind(run)]})
    weak = [name for name in drawn if runs[name].summary.at_chance]  # over all values, which says little of one value
    lines += [f"at chance: {', '.join(weak)}"] if weak else []
    models = [sheet.names.index(name) for name in drawn]
    gaps = []
    for i in models:
        found = significance.gaps(sheet.rows[i][scorer], values, sheet.clusters, sheet.reduce(scorer), reference)
        gaps += [(abs(one[metric].value), sheet.names[i], value, one[metric]) for value, one in found.items()]
    _, model, value, gap = max(gaps, key=lambda one: one[0])
    difference = seen(Score(gap.value, gap.low, gap.high))
    title = f"{_edition(view)}: the largest gap is that of {model}, {value} minus {reference}, {difference}"
    figure, (row,) = axes(title, 7.2, 0.42 * len(names) + 1.1)
    (axis,) = row
    for k, i in enumerate(models):
        offset = 0.6 * ((k + 0.5) / len(models) - 0.5)
        for y, name in enumerate(names):
            at = [n for n, v in enumerate(values) if v == name]
            estimate = bootstrap(
                [sheet.rows[i][scorer][n] for n in at], [sheet.clusters[n] for n in at], sheet.reduce(scorer)
            )[metric]
            score = Score(estimate.value, estimate.low, estimate.high)
            look = style(k) | {"linestyle": "none", "label": sheet.names[i] if y == 0 else None}
            axis.errorbar([score.value], [y + offset], xerr=ends(score), capsize=2, **look)
    counts = {name: sum(v == name for v in values) for name in names}
    axis.set_yticks(range(len(names)), [f"{name} (n {counts[name]})" for name in names])
    axis.invert_yaxis()
    axis.set_xlabel(f"{metric}, 0 to 100 (95 % interval over {len(set(sheet.clusters))} clusters)")
    axis.set_xlim(-2, 102)
    if (baseline := _baseline(one.summary for one in view.runs)) is not None:
        axis.axvline(baseline, color="#333333", linestyle=":", linewidth=1.2, label="best audio-blind baseline")
    below(figure, _explained(lines))
    grid(axis, "x")
    legend(axis)
    return Plot(_name("accents", view.task_id), title, figure)


# ---------------------------------------------------------------- languages


def languages(study: Study) -> Iterator[Plot]:
    """Bars for the subsets of a task (languages), and the difference of two models over all of them."""
    families: dict[tuple[str, str], list[TaskView]] = {}
    for view in study.views:
        task = view.question.task
        if task is not None and task.subset and view.summary.ranked:
            families.setdefault((task.task, view.summary.edition), []).append(view)
    for (name, edition), views in families.items():
        if len(views) > 1 and len({view.summary.primary for view in views}) == 1:
            yield _bars(study, name, edition, views)


def _bars(study: Study, name: str, edition: str, views: Sequence[TaskView]) -> Plot:
    metric = views[0].summary.primary
    cells = {
        (one.summary.label, view.task_id): one.summary for view in views for one in view.runs if one.summary.ranked
    }
    every = sorted({label for label, _ in cells})
    models, lines = _chosen(
        every,
        {
            "at chance in a language": {label for (label, _), s in cells.items() if s.at_chance},
            "without a score in every language": {
                label for label in every if any((label, view.task_id) not in cells for view in views)
            },
        },
    )
    title = _over_languages(study, name, edition, views, models)
    figure, (row,) = axes(title, 7.2, 3.0)
    (axis,) = row
    width = 0.8 / len(models)
    for k, model in enumerate(models):
        for x, view in enumerate(views):
            s = cells.get((model, view.task_id))
            if s is not None:
                score = s.metrics[metric].score
                axis.bar(
                    x + (k - (len(models) - 1) / 2) * width,
                    score.value,
                    width * 0.92,
                    yerr=ends(score),
                    capsize=2,
                    ecolor="#333333",
                    error_kw={"elinewidth": 1},
                    label=model if not x else None,
                    **hatch(k),
                )
    baselines = [
        (x, value) for x, view in enumerate(views) if (value := _baseline(one.summary for one in view.runs)) is not None
    ]
    if baselines:
        xs = np.array([x for x, _ in baselines])
        look = {"colors": "#333333", "linestyles": ":", "linewidth": 1.2, "label": "best audio-blind baseline"}
        axis.hlines([value for _, value in baselines], xs - 0.42, xs + 0.42, **look)
    below(figure, _explained(lines))
    axis.set_xticks(
        range(len(views)),
        [f"{(v.question.task.subset if v.question.task else '') or v.title}\n(n {v.summary.scored:,})" for v in views],
    )
    axis.set_ylabel(f"{metric} (95 % interval)")
    axis.set_ylim(bottom=0)
    grid(axis)
    legend(axis)
    return Plot(_name("languages", name, edition), title, figure)


def _over_languages(study: Study, name: str, edition: str, views: Sequence[TaskView], models: Sequence[str]) -> str:
    """The difference of the two models with the lowest and the highest mean. The same clips have the same draws in all
    languages, so the mean of their differences is taken in each draw."""
    metric, draws, points = views[0].summary.primary, [], []
    for view in views:
        _, sheet = study.read(view)
        if sheet is None or metric not in sheet.metrics or not set(models) <= set(sheet.names):
            return f"{name} ({edition}): {metric} by language"
        scorer = sheet.metrics[metric]
        lineup = significance.line_up([rows[scorer] for rows in sheet.rows], sheet.clusters, sheet.reduce(scorer))
        order = [sheet.names.index(model) for model in models]
        draws.append(lineup.drawn[metric][order])
        points.append(lineup.point[metric][order])
    mean, drawn = np.mean(points, axis=0), np.mean(draws, axis=0)
    first, last = int(np.argmax(mean)), int(np.argmin(mean))
    ends_ = interval(drawn[last] - drawn[first])
    difference = seen(Score(float(mean[last] - mean[first]), ends_.low, ends_.high))
    return f"{name} ({edition}), mean of {len(views)} languages: {models[last]} minus {models[first]} is {difference} {metric}"


# ---------------------------------------------------------------- forest


_PANELS = 6
"""Models in one forest plot."""


@dataclass(frozen=True)
class _Test:
    """The difference of one model from the base at one task."""

    model: str
    task: str
    score: Score
    p: float


def forest(study: Study) -> Iterator[Plot]:
    """Every model minus the base at every task, a panel for every model, by edition. Baselines are drawn only if there is
    nothing else; Holm's correction is over the differences that are drawn."""
    if len({run.summary.label for run in study.runs}) < 2:
        return
    base = content.base_of(study.views, study.base)
    blind = {run.summary.label for run in study.runs if _blind(run)}
    for edition in dict.fromkeys(view.summary.edition for view in study.views):
        compared: list[Part] = []
        for view in (view for view in study.views if view.summary.edition == edition):
            _, sheet = study.read(view)
            part = content.part_of(view, sheet, base) if sheet else None
            compared += [part] if part else []
        there = list(
            dict.fromkeys(
                outcome.variant.name
                for part in compared
                for outcome, difference in zip(part.block.against, part.differences, strict=True)
                if difference
            )
        )
        models = [name for name in there if name not in blind] or there
        drawn = models[:_PANELS]
        left_out = [name for name in there if name not in drawn]
        tests = [test for part in compared for test in _tests(part, drawn)]
        if tests:
            yield _forest(drawn, tests, base, edition, left_out)


def _tests(part: Part, models: Sequence[str]) -> Iterator[_Test]:
    """The differences of `models` at one task."""
    block = part.block
    for outcome, difference in zip(block.against, part.differences, strict=True):
        name = outcome.variant.name
        if difference and name in models:
            score = Score(difference.value, difference.low, difference.high)
            yield _Test(name, f"{block.task}\n{block.metric}", score, difference.p)


def _forest(models: Sequence[str], tests: Sequence[_Test], base: str, edition: str, left_out: Sequence[str]) -> Plot:
    from matplotlib.ticker import MaxNLocator

    adjusted = holm([test.p for test in tests])
    sure = [test for test, p in zip(tests, adjusted, strict=True) if p < SURE]
    higher, lower = (sum(sign * test.score.value > 0 for test in sure) for sign in (1, -1))
    title = f"{edition}: none of {len(tests)} differences from {base} is significant (Holm)"
    if sure:
        most = max(sure, key=lambda one: abs(one.score.value))
        verb = "is" if len(sure) == 1 else "are"
        title = (
            f"{edition}: {len(sure)} of {len(tests)} differences from {base} {verb} significant (Holm): {lower} below 0, "
            f"{higher} above 0; the largest is that of {most.model} at {most.task.partition(chr(10))[0]}, {seen(most.score)}"
        )
    tasks = list(dict.fromkeys(test.task for test in tests))
    figure, (panels,) = axes(
        title, 2.0 + 1.75 * len(models), 0.42 * len(tasks) + 0.4, 1, len(models), sharey=True, sharex=True
    )
    for axis, model in zip(panels, models, strict=True):
        for test in (test for test in tests if test.model == model):
            filled = {"markerfacecolor": style(0)["color"] if test in sure else "white"}
            axis.errorbar(
                [test.score.value], [tasks.index(test.task)], xerr=ends(test.score), capsize=2, **style(0) | filled
            )
        axis.axvline(0, color="#333333", linewidth=0.9)
        axis.set_title(model, fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        grid(axis, "x")
    panels[0].set_yticks(range(len(tasks)), tasks, fontsize=7.5)
    panels[0].set_ylim(len(tasks) - 0.5, -0.5)
    lines = [
        f"points above or below {base} (95 % interval)",
        f"filled: significant, p < {SURE} after Holm's correction over the {len(tests)} differences here; {P_NOTE}",
        *([f"not drawn, and not tested: {', '.join(left_out)}"] if left_out else []),
    ]
    below(figure, lines)
    return Plot(_name("forest", edition), title, figure)


# ---------------------------------------------------------------- confusion matrices


def confusions(study: Study) -> Iterator[Plot]:
    """The confusion matrices of the models at a task with labels."""
    for view in study.views:
        choices = (view.question.task.choices or ()) if view.question.task else ()
        if not choices:
            continue
        answers, _ = study.read(view)
        found = [
            (mine.run.summary, matrix)
            for mine in answers
            if mine.run.summary.ranked and (matrix := content.confusion_of(mine, choices)) and not _blind(mine.run)
        ]
        found.sort(key=lambda one: bool(one[0].at_chance))
        if found:
            yield _matrices(view, found[:4], [s.label for s, _ in found[4:]])


def _matrices(view: TaskView, found: Sequence[tuple[RunSummary, Confusion]], left_out: Sequence[str]) -> Plot:
    metric = view.summary.primary
    best, matrix = max(found, key=lambda one: one[0].metrics[metric].value)
    wrong = [
        (count, gold, said)
        for gold, row in zip(matrix.labels, matrix.counts, strict=True)
        for said, count in zip(matrix.columns, row, strict=True)
        if gold != said
    ]
    count, gold, said = max(wrong)
    main = best.metrics[metric]
    title = f"{_edition(view)}: {best.label} has {metric} {main.value:.1f} [{main.low:.1f}, {main.high:.1f}]"
    title += " (at chance)" if best.at_chance else ""
    of = sum(matrix.counts[matrix.labels.index(gold)])
    answer = "names no label" if said == UNPARSED else f"answers '{said}'"
    title += f"; it {answer} for {count} of {of} clips labelled '{gold}'" if count else "; no errors"
    size, letters = 0.42 * len(matrix.columns), max(map(len, matrix.columns))
    height = size + 0.075 * letters + 0.8  # the labels stand on end
    figure, (panels,) = axes(title, (size + 0.4) * len(found) + 0.075 * letters + 0.6, height, 1, len(found))
    for k, (axis, (s, one)) in enumerate(zip(panels, found, strict=True)):
        counts = np.array(one.counts, dtype=float)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for y, x in np.ndindex(*counts.shape):
            if counts[y, x]:
                colour = "white" if shares[y, x] > 0.55 else "black"
                axis.text(x, y, f"{int(counts[y, x])}", ha="center", va="center", fontsize=7.5, color=colour)
        axis.set_xticks(range(len(one.columns)), one.columns, rotation=90, fontsize=8)
        axis.set_yticks(range(len(one.labels)), one.labels if not k else [""] * len(one.labels), fontsize=8)
        axis.set_title(f"{s.label}\n{metric} {s.metrics[metric].value:.1f}", fontsize=9)
        for spine in axis.spines.values():
            spine.set_visible(True)
    panels[0].set_ylabel("gold label")
    lines = [
        "label in the answer",
        "number of samples; darker: a larger share of the gold label",
        *not_drawn(left_out),
    ]
    below(figure, [*lines, *([AT_CHANCE] if best.at_chance else [])])
    return Plot(_name("confusion", view.task_id), title, figure)


# ---------------------------------------------------------------- recogniser


_BINS = ((0.0, 0.0, "none"), (0.0, 20.0, "up to 20 %"), (20.0, math.inf, "over 20 %"))
_FEWEST = 5
"""Samples of a point; fewer are not drawn."""


_Bins = list[tuple[str, Score, int]]
"""(word errors, score, number of samples)."""
_Panel = tuple[str, str, list[tuple[str, _Bins]]]
"""Task, metric, and the bins of every model."""


def recogniser(study: Study) -> Iterator[Plot]:
    """Scores of samples by the word error rate of what the model heard: the transcript of its recogniser, or the words of its
    connector. One figure for an edition."""
    panels: dict[str, list[_Panel]] = {}
    for view in study.views:
        answers, sheet = study.read(view)
        metric = view.summary.primary
        if sheet is None or metric not in sheet.metrics or not view.summary.metrics[metric].higher_is_better:
            continue  # the score of a transcription is itself the errors of what was heard
        models = []
        for mine in answers:
            if mine.run in sheet.runs and any(r is not None and r.heard for r in mine.responses):
                bins = _by_errors(view, sheet, sheet.runs.index(mine.run), mine)
                models += [(mine.run.summary.label, bins)] if len(bins) > 1 else []
        if models:
            panels.setdefault(view.summary.edition, []).append((view.title, metric, models))
    for edition, some in panels.items():
        yield _errors(edition, some[:12], [task for task, *_ in some[12:]])


def _by_errors(view: TaskView, sheet: Sheet, number: int, answers: Answers) -> _Bins:
    """The bins with at least `_FEWEST` samples."""
    from diva_bench.scorers.asr import Wer

    assert view.question.task is not None  # `sheet_of` checked it
    heard = Wer(view.question.task, of="heard")
    scorer, metric = sheet.metrics[view.summary.primary], view.summary.primary
    found: dict[str, list[int]] = {}
    for n, (sample, response) in enumerate(zip(view.question.samples, answers.responses, strict=True)):
        counts = {} if response is None else heard.measure(sample, response)
        if not counts:
            continue
        rate = 100 * counts["wer.errors"] / max(counts["wer.length"], 1)
        name = next(name for low, high, name in _BINS if rate == low == high or (rate > low and rate <= high))
        found.setdefault(name, []).append(n)
    bins = []
    for _, _, name in _BINS:
        if len(at := found.get(name, [])) >= _FEWEST:
            estimate = bootstrap(
                [sheet.rows[number][scorer][n] for n in at], [sheet.clusters[n] for n in at], sheet.reduce(scorer)
            )[metric]
            ends_ = (estimate.low, estimate.high) if estimate.clusters > 2 else (None, None)
            bins.append((name, Score(estimate.value, *ends_), len(at)))
    return bins


def _errors(edition: str, panels: Sequence[_Panel], left_out: Sequence[str] = ()) -> Plot:
    drops, lower = [], set()
    for task, metric, models in panels:
        for model, bins in models:
            (first_name, first, _), (name, last, _) = bins[0], bins[-1]
            if first_name == _BINS[0][2] and first.low is not None and last.low is not None:
                gap = _minus(last, first)
                drops.append(((gap.high or 0) < 0, -gap.value, f"{model} at {task}", metric, name, gap))
                lower |= {(task, model)} if (gap.high or 0) < 0 else set()
    finding = f"{edition}: score by word errors of what was heard"
    if drops:
        *_, where, metric, name, gap = max(drops, key=lambda drop: drop[:2])
        finding = (
            f"{edition}: clips with the most word errors have a significantly lower score than clips without for {len(lower)} of "
            f"{len(drops)} pairs of task and model (filled); the largest difference {'of these ' if lower else ''}is that of "
            f"{where}: clips with word errors {name} minus clips with none, {metric} {seen(gap)}"
        )
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid_ = axes(finding, 2.6 * columns + 1.2, 1.9 * rows, rows, columns, sharey=True)
    names = [name for _, _, name in _BINS]
    order = list(dict.fromkeys(model for _, _, models in panels for model, _ in models))
    for axis, (task, metric, models) in zip(grid_.flat, panels, strict=False):
        for model, bins in models:
            k = order.index(model)
            look = style(k) | {"linestyle": "none"} | ({} if (task, model) in lower else {"markerfacecolor": "white"})
            for name, score, n in bins:
                x = names.index(name) + 0.5 * ((k + 0.5) / len(order) - 0.5)
                axis.errorbar([x], [score.value], yerr=ends(score), capsize=2, **look)
                axis.annotate(f"{n}", (x, -1), fontsize=6.5, ha="center", va="top", color=style(k)["color"])
        axis.set_title(f"{task}, {metric}", fontsize=8.5)
        axis.set_xlim(-0.5, len(names) - 0.5)
        axis.set_ylim(-12, 105)
        axis.set_xticks(range(len(names)), names, fontsize=8)
        grid(axis)
    for axis in list(grid_.flat)[len(panels) :]:
        axis.set_visible(False)
    for k, model in enumerate(order):
        grid_[0][-1].plot([], [], label=model, **style(k) | {"linestyle": "none"})
    legend(grid_[0][-1])
    lines = [
        "word error rate of what the recogniser heard, or of the words of the connector",
        f"small numbers: clips; points with fewer than {_FEWEST} clips are not drawn",
        "filled: the score with the most word errors is lower than that with none (95 % interval below 0, not corrected for the "
        "number of pairs)",
    ]
    below(figure, [*lines, *not_drawn(left_out)])
    figure.supylabel("score, 0 to 100 (95 % interval)", fontsize=9)
    return Plot(_name("recogniser", edition), finding, figure)


def _minus(score: Score, other: Score) -> Score:
    """The difference of two scores on other samples; its interval combines the distances to their ends (MOVER)."""
    (below, above), (their_below, their_above) = ([side[0] for side in ends(one)] for one in (score, other))
    value = score.value - other.value
    return Score(value, value - math.hypot(below, their_above), value + math.hypot(above, their_below))


# ---------------------------------------------------------------- noise


def noise(study: Study) -> Iterator[Plot]:
    """Scores under white noise by signal-to-noise ratio, from runs with `--audio`, beside the runs on unchanged clips."""
    found: dict[tuple[str, str, str], dict[str, dict[float, Score]]] = {}
    for run in study.runs:
        s = run.summary
        if (
            s.ranked
            and s.limit is None
            and not s.variant
            and not s.overrides
            and (ratio := _ratio(s.audio)) is not None
        ):
            places = found.setdefault((s.task, s.edition, s.primary), {})
            places.setdefault(s.label, {})[ratio] = s.metrics[s.primary].score
    for (task, edition, metric), models in found.items():
        noisy = {model: some for model, some in models.items() if any(math.isfinite(ratio) for ratio in some)}
        if noisy:
            yield _sweep(task, edition, metric, noisy)


def _ratio(audio: str | None) -> float | None:
    """The ratio in dB of an audio condition; infinity for unchanged clips, None for other conditions."""
    if audio is None:
        return math.inf
    try:
        control = parse(audio)
    except UserError:  # a condition of another version
        return None
    return control.value if control.kind == "snr" else None


def _sweep(task: str, edition: str, metric: str, models: Mapping[str, Mapping[float, Score]]) -> Plot:
    ratios = sorted({r for some in models.values() for r in some if math.isfinite(r)})
    drops = []
    for model, some in models.items():
        worst = min(r for r in some)
        if math.inf in some:
            gap = _minus(some[worst], some[math.inf])  # the samples are the same, so this interval is too wide
            drops.append((gap.value, model, worst, gap))
    title = f"{task} ({edition}): {metric} in white noise"
    if drops:
        _, model, worst, gap = max(drops, key=lambda drop: abs(drop[0]))
        most = f", the largest change of {len(drops)} models" if len(drops) > 1 else ""
        title = f"{task} ({edition}): at {worst:g} dB {metric} of {model} changes by {seen(gap)}{most}"
    figure, (row,) = axes(title, 6.6, 3.0)
    (axis,) = row
    clean = len(ratios)
    for k, (model, some) in enumerate(list(models.items())[:_MOST]):
        order = sorted(some)
        x = [ratios.index(r) if math.isfinite(r) else clean for r in order]
        shift = 0.08 * (k - (len(models) - 1) / 2)
        scores = [some[r] for r in order]
        error = np.hstack([np.array(ends(score)) for score in scores])
        axis.errorbar(np.array(x) + shift, [s.value for s in scores], yerr=error, capsize=2, label=model, **style(k))
    axis.set_xticks(range(clean + 1), [*(f"{r:g}" for r in ratios), "no noise"])
    axis.set_xlabel("signal-to-noise ratio, dB")
    axis.set_ylabel(f"{metric} (95 % interval)")
    axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
    grid(axis)
    legend(axis)
    return Plot(_name("noise", task, edition), title, figure)
