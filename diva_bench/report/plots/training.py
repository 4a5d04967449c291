"""The plots of training records: held-out scores during trainings, and at their end by the operations that they needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from diva_bench.report.plots.canvas import Plot, axes, below, grid, legend, not_drawn, style
from diva_bench.report.training_cost import recorded_files, seedless
from diva_bench.runs.store import read_json

_PANELS = (
    ("dev_nearest", "nearest token right, held out, %", True),
    ("dev_first_token", "first answer token as from text, %", True),
    ("dev_kl", "KL to the answer from text, nats", False),
)
"""Name in a curve, label of the axis, and whether more is better."""
_MOST = 7
"""Variants in one plot; those with most seeds come first."""
_POINTS = 12
"""Variants in one plot of operations."""


@dataclass(frozen=True)
class Variant:
    """The trainings of one variant: their curves, one for every seed."""

    name: str
    curves: Sequence[Sequence[Mapping[str, float]]]

    def last(self, key: str) -> list[tuple[float, float]]:
        """(operations, value) at the end of every training that has both."""
        ends = [[(p["flops"], p[key]) for p in curve if key in p and "flops" in p] for curve in self.curves]
        return [end[-1] for end in ends if end]


def variants(results: Path) -> dict[str, list[Variant]]:
    """Folder -> the variants of its training records, those with most seeds first."""
    found: dict[str, dict[str, list[list[dict[str, float]]]]] = {}
    for path in recorded_files(results):
        folder = path.parent.parent.resolve().name
        found.setdefault(folder, {}).setdefault(seedless(path), []).append(_curve(read_json(path)))
    return {
        folder: sorted((Variant(name, curves) for name, curves in some.items()), key=lambda v: (-len(v.curves), v.name))
        for folder, some in found.items()
    }


def _curve(record: Mapping[str, Any]) -> list[dict[str, float]]:
    """The points of a curve: finite numbers only."""
    points = record.get("curve")
    return [
        {k: float(v) for k, v in point.items() if isinstance(v, int | float) and math.isfinite(v)}
        for point in (points if isinstance(points, list) else ())
        if isinstance(point, dict)
    ]


def _spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds; one value alone has none."""
    if len(values) < 2:
        return f"{fmean(values):.1f} % (one seed)"
    return f"{fmean(values):.1f} ± {stdev(values):.1f} %"


def _best(some: Sequence[Variant], key: str) -> str:
    """The two best variants at the end, as text."""
    ends = [(fmean(values), v.name, values) for v in some if (values := [value for _, value in v.last(key)])]
    best = sorted(ends, reverse=True)[:2]
    return " and ".join(f"{name} {_spread(values)}" for _, name, values in best)


def curves(results: Path) -> Iterator[Plot]:
    """Held-out scores by examples, a line for every variant: the mean over seeds, and a thin line for every seed."""
    for folder, every in variants(results).items():
        known = [v for v in every if v.last("dev_nearest")]
        some = known[:_MOST]
        if not some:
            continue
        title = (
            f"{folder}: most tokens right at the end: {_best(known, 'dev_nearest')} (± standard deviation over seeds)"
        )
        figure, (row,) = axes(title, 10.2, 3.0, 1, len(_PANELS))
        for axis, (key, label, _) in zip(row, _PANELS, strict=True):
            for k, variant in enumerate(some):
                _lines(axis, variant, key, k)
            axis.set_xlabel("examples, thousands")
            axis.set_ylabel(label)
            axis.set_ylim(bottom=0)
            grid(axis)
        legend(row[-1])
        below(figure, not_drawn([v.name for v in known[_MOST:]]))
        yield Plot(f"training-{folder}", title, figure)


def _lines(axis: Any, variant: Variant, key: str, number: int) -> None:
    look = style(number)
    seeds = [
        [(p["examples"] / 1000, p[key]) for p in curve if key in p and "examples" in p] for curve in variant.curves
    ]
    seeds = [points for points in seeds if points]
    for points in seeds if len(seeds) > 1 else ():
        axis.plot(*zip(*points, strict=True), color=look["color"], linewidth=0.6, alpha=0.5)
    if seeds:
        length = min(map(len, seeds))
        mean = [(seeds[0][i][0], fmean([points[i][1] for points in seeds])) for i in range(length)]
        axis.plot(*zip(*mean, strict=True), label=variant.name, **look)


def costs(results: Path) -> Iterator[Plot]:
    """Held-out scores at the end of trainings by their operations, a point for every seed."""
    for folder, every in variants(results).items():
        some = [v for v in every if v.last("dev_nearest")]
        if len(some) >= 2:
            yield _by_cost(folder, some)


def _by_cost(folder: str, some: Sequence[Variant]) -> Plot:
    means = {
        v.name: (fmean([f for f, _ in v.last("dev_nearest")]), fmean([y for _, y in v.last("dev_nearest")]))
        for v in some
    }
    cheap = min(means, key=lambda name: means[name][0])
    best = max(means, key=lambda name: means[name][1])
    ratio = means[cheap][0] / means[best][0]
    shares = f"{100 * ratio:.0f} % of the operations of {best}"
    values = {v.name: [y for _, y in v.last("dev_nearest")] for v in some}
    both = f"{_spread(values[cheap])} of the tokens right, {best} {_spread(values[best])}"
    title = f"{folder}: {cheap} needs {shares} and gets {both}"
    if cheap == best:
        title = f"{folder}: {best} needs the fewest operations and gets the most tokens right, {_spread(values[best])}"
    figure, (row,) = axes(title, 9.0, 3.2, 1, 2)
    for axis, (key, label, _) in zip(row, (_PANELS[0], _PANELS[2]), strict=True):
        for k, variant in enumerate(some[:_POINTS]):
            points = [(flops / 1e12, value) for flops, value in variant.last(key)]
            if points:
                look = style(k) | {
                    "linestyle": "none",
                    "markersize": 7,
                    "markerfacecolor": "none" if k > 6 else style(k)["color"],
                }
                axis.plot(*zip(*points, strict=True), label=variant.name, clip_on=False, **look)
        axis.set_xlabel("operations of the training, TFLOP (ledger)")
        axis.set_ylabel(label)
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        grid(axis, "both")
    legend(row[-1])
    below(figure, not_drawn([v.name for v in some[_POINTS:]]))
    return Plot(f"compute-{folder}", title, figure)
