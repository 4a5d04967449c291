"""The look of all plots, and how they are written: colours that colour-blind readers tell apart, and for grey print another
marker, line and hatch for every series; SVG and PNG with the same bytes for the same numbers."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diva_bench.errors import StoreError, UserError
from diva_bench.printable import visible
from diva_bench.tables import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo")
_NARROWEST = 5.0
_LETTERS = 11
"""Bold letters of a title per inch."""
_SMALL_LETTERS = 13
"""Letters of the lines below the axes per inch."""
_LINE = 0.17
"""Height of such a line in inches."""
_INCH = 110
"""Pixels of PNG per inch."""
_SETTINGS: Any = {
    "svg.hashsalt": "diva-bench",  # ids in SVG are random otherwise
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.6,
}


@dataclass(frozen=True)
class Plot:
    """A drawn plot.

    Attributes:
        name: Of its files, without an ending.
        finding: What it shows, in one sentence; it is the title.
    """

    name: str
    finding: str
    figure: Figure

    def save(self, folder: Path, formats: Sequence[str]) -> list[Path]:
        """Write the files. Raises StoreError if that fails."""
        import matplotlib

        paths = []
        for form in formats:
            path = folder / f"{self.name}.{form}"
            content = io.BytesIO()
            metadata: dict[str, Any] = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
            with matplotlib.rc_context(_SETTINGS):
                self.figure.savefig(content, format=form, dpi=_INCH, metadata=metadata, facecolor="white")
            try:
                path.write_bytes(content.getvalue())
            except OSError as err:
                raise StoreError(f"{path}: cannot be written ({err.strerror or err}). Give another folder.") from err
            paths.append(path)
        return paths


def check() -> None:
    """Raises UserError if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as err:
        raise UserError("drawing needs matplotlib: pip install 'diva-bench[train]'.") from err


def axes(
    title: str, width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """A figure with its finding as title, and an array (rows, columns) of axes. `width`, `height`: inches, without the title."""
    import matplotlib
    from matplotlib.figure import Figure

    width = max(width, _NARROWEST)
    lines = textwrap.wrap(visible(title), int(width * _LETTERS))
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height + 0.22 * len(lines) + 0.1), layout="constrained")
        figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        return figure, figure.subplots(rows, columns, squeeze=False, **options)


def below(figure: Figure, lines: Sequence[str]) -> None:
    """Lines below the axes, wrapped to the width of the figure, which grows by their height."""
    width, height = figure.get_size_inches()
    wrapped = [part for line in lines for part in textwrap.wrap(visible(line), int(width * _SMALL_LETTERS))]
    figure.supxlabel("\n".join(wrapped), fontsize=9)
    figure.set_size_inches(width, height + _LINE * len(wrapped))


def not_drawn(names: Sequence[str]) -> list[str]:
    """A line for `below` that names what is left out; none if nothing is."""
    return [f"not drawn: {', '.join(names)}"] if names else []


def style(number: int) -> dict[str, Any]:
    """Colour, marker and line of a series."""
    i = number % len(_COLOURS)
    return {"color": _COLOURS[i], "marker": _MARKERS[i], "linestyle": _LINES[i], "markersize": 5, "linewidth": 1.3}


def hatch(number: int) -> dict[str, Any]:
    """Colour and hatch of bars."""
    i = number % len(_COLOURS)
    return {"facecolor": _COLOURS[i], "hatch": _HATCHES[i], "edgecolor": "white", "linewidth": 0.5}


def ends(score: Score) -> list[list[float]]:
    """The distances from a score to the ends of its interval, as matplotlib takes them; 0 without an interval."""
    low = score.value if score.low is None else score.low
    high = score.value if score.high is None else score.high
    return [[max(0.0, score.value - low)], [max(0.0, high - score.value)]]


def grid(axis: Any, which: str = "y") -> None:
    axis.grid(axis=which, alpha=0.3, linewidth=0.6)
    axis.set_axisbelow(True)


def legend(axis: Any, **options: Any) -> None:
    """A legend beside the axes, where it hides nothing."""
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8.5, **options)


def seen(score: Score, digits: int = 1) -> str:
    """A difference with its interval, and whether the interval includes 0: "-4.2 [-8.3, -0.5]"."""
    low, high = score.low, score.high
    if low is None or high is None:
        return f"{score.value:+.{digits}f} (no interval)"
    text = f"{score.value:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    return text if low > 0 or high < 0 else f"{text}: not significant"
