"""Plot the curves in metrics.jsonl of one or more trainings as PNG."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diva_bench.errors import DataError, UserError

_PANELS = (
    ("align", "token alignment, train", "distance / token"),
    ("distill", "output distillation, train", "distance or nats"),
    ("dev_align", "token alignment, held out", "distance / token"),
    ("dev_nearest", "nearest token right, held out", "%"),
    ("dev_kl", "KL to the teacher, held out", "nats"),
    ("dev_first_token", "first answer token as from text, held out", "%"),
)


def plot(folders: Sequence[Path], target: Path | None = None, against: str = "step") -> Path:
    """Draw all curves in metrics.jsonl of the folders.

    Args:
        target: The PNG; None: curves.png in the first folder.
        against: step, examples, flops or device_seconds.

    Returns:
        The PNG.

    Raises:
        DataError: There is no curve.
    """
    try:
        import matplotlib
    except ImportError as err:
        raise UserError("drawing needs matplotlib: pip install 'diva-bench[train]'.") from err
    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = [(folder.resolve().name, _rows(folder)) for folder in folders]
    shown = [p for p in _PANELS if any(p[0] in row for _, rows in runs for row in rows)]
    if not shown:
        raise DataError(
            f"{', '.join(map(str, folders))}: metrics.jsonl has no curve to draw yet; train some steps first."
        )
    figure, axes = pyplot.subplots(-(-len(shown) // 2), 2, figsize=(11, 3.2 * -(-len(shown) // 2)), squeeze=False)
    for axis, (name, title, unit) in zip(axes.flat, shown, strict=False):
        for run, rows in runs:
            points = [(row[against], row[name]) for row in rows if name in row and against in row]
            axis.plot(
                *zip(*points, strict=True), label=run, marker="." if name.startswith("dev_") else "", linewidth=1.2
            )
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(against.replace("_", " "), fontsize=9)
        axis.set_ylabel(unit, fontsize=9)
        axis.grid(alpha=0.3)
        axis.margins(y=0.12)
        axis.set_ylim(bottom=0)
    for axis in list(axes.flat)[len(shown) :]:
        axis.set_visible(False)
    if len(runs) > 1:
        axes.flat[0].legend(fontsize=8)
    figure.tight_layout()
    path = target or folders[0] / "curves.png"
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _rows(folder: Path) -> list[dict[str, Any]]:
    file = folder / "metrics.jsonl"
    if not file.exists():
        raise DataError(f"{file}: no such file; give the --output folder of a training that has begun.")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
