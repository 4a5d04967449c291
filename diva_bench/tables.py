"""Tables in five formats: terminal (rich), Markdown, LaTeX, CSV, JSON.

All texts in cells, headings and notes are escaped, see printable.py. A cell is text, a number, a Score (number with
interval) or None. Numbers are never cut and words never broken. In a narrow terminal, texts wrap at spaces, hyphens and
bars; then optional columns are left out, and a note names them; then intervals go below their numbers; and if even that
does not fit, every row becomes a block of lines.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from diva_bench.printable import as_json, csv_cell, html, latex, markdown, visible

_NONE = "-"
_STYLES = {"": "", "strong": "bold", "faint": "bright_black"}
_GAP = 2  # characters between two columns of a table


@dataclass(frozen=True, slots=True)
class Score:
    """A number with its interval, if it has one.

    Attributes:
        mark: Text before the number; numbers stay aligned with and without it.
    """

    value: float
    low: float | None = None
    high: float | None = None
    mark: str = ""
    brief: bool = False
    """Shown without its interval in terminal, Markdown and LaTeX; CSV and JSON have the interval."""
    tone: Literal["", "strong", "faint"] = ""
    """Bold or grey in a terminal with colours. `mark` says the same to everyone."""


Cell = str | int | float | Score | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        optional: May be left out in a narrow terminal; the last optional column goes first.
        digits: Digits after the decimal point.
        number: Align right although the cells are text. Columns of numbers are always aligned right.
        group: A heading above this column and its neighbours with the same group.
    """

    name: str
    optional: bool = False
    number: bool = False
    digits: int = 1
    group: str = ""

    @property
    def heading(self) -> str:
        """Group and name on one line."""
        return f"{self.group} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        rows: One cell per column.
        notes: What a reader must know, one line each.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: {len(row)} cells in a row of {len(self.columns)} columns")

    @property
    def numeric(self) -> list[bool]:
        """For every column whether it is aligned right: it has numbers, or is declared so."""
        return [_numeric(column, [row[i] for row in self.rows]) for i, column in enumerate(self.columns)]

    # ---- terminal

    def to_rich(self, width: int = 80) -> Group:
        """The table for a terminal of `width` columns."""
        groups = [""] + [
            column.group for column in self.columns
        ]  # the heading of a group stands above its first column
        filled = [
            _Filled(c, [row[i] for row in self.rows], c.heading if c.group != groups[i] else c.name)
            for i, c in enumerate(self.columns)
        ]
        grids = _fit_groups(filled, width)
        hidden = [f.column.heading for f in filled if not any(f in shown for shown, _ in grids)]
        notes = [*self.notes, *([f"not shown at this width: {', '.join(hidden)}"] if hidden and grids else [])]
        lines = [_packed(_pieces(visible(note)), width) for note in notes]
        title = _packed(_pieces(visible(self.title)), width)
        title.stylize("bold")
        body = [part for shown, widths in grids for part in (Text(), self._grid(shown, widths))][1:]
        return Group(
            *([title, Text()] if self.title else []),
            *(body or [self._blocks(width)]),
            *([Text()] if lines else []),
            *lines,
        )

    def _grid(self, shown: Sequence[_Filled], widths: Sequence[int]) -> RichTable:
        table = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
        for column, wide in zip(shown, widths, strict=True):
            side: Literal["left", "right"] = "right" if column.numeric else "left"
            table.add_column(_packed(column.heading, wide), justify=side, min_width=wide)
        for i in range(len(self.rows)):
            cells = [_packed(c.pieces[i], wide) for c, wide in zip(shown, widths, strict=True)]
            for cell, column in zip(cells, shown, strict=True):
                cell.stylize(_STYLES[column.tones[i]])
            table.add_row(*cells)
        return table

    def _blocks(self, width: int) -> Text:
        """Every row as lines "column: cell", for a terminal that is too narrow for a grid."""
        names = [column.heading for column in self.columns]
        blocks = [
            "\n".join(
                str(_packed(_pieces(visible(f"{name}: {cell}")), width))
                for name, cell in zip(names, texts, strict=True)
            )
            for texts in self._texts()
        ]
        return Text("\n\n".join(blocks))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.to_rich(options.max_width)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """The table as in a terminal without colours, at its width (COLUMNS, or 80)."""
        file = io.StringIO()
        console = Console(file=file, width=shutil.get_terminal_size().columns, highlight=False, color_system=None)
        console.print(self)
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())

    # ---- notebooks

    def to_html(self) -> str:
        """An HTML table with a caption, and its notes below, one per line. Cells are escaped."""
        # plaintext: a text in Arabic has its own direction, and its full stop is at its end
        sides = ["right" if right else "left; unicode-bidi: plaintext" for right in self.numeric]
        align = [f' style="text-align: {side}"' for side in sides]
        heads = zip(self.columns, align, strict=True)
        head = "".join(f"<th{style}>{html(column.heading)}</th>" for column, style in heads)
        body = [
            "".join(f"<td{style}>{html(text)}</td>" for text, style in zip(row, align, strict=True))
            for row in self._texts()
        ]
        caption = f"<caption>{html(self.title)}</caption>" if self.title else ""
        rows = "".join(f"<tr>{row}</tr>\n" for row in body)
        notes = "".join(f"<div><small>{html(note)}</small></div>\n" for note in self.notes)
        return f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table>\n{notes}"

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_pandas(self) -> Any:
        """A pandas DataFrame with all digits. A column with intervals becomes three columns: name, name low, name high; and
        name mark if a cell has a mark, such as * for at chance."""
        import pandas

        names, *rows = self._wide()
        return pandas.DataFrame(rows, columns=names)

    def _wide(self) -> Iterator[list[Cell]]:
        """Names and rows of the columns of `to_csv` and `to_pandas`: all that a person sees in a cell of the table."""
        scores = [[cell for row in self.rows if isinstance(cell := row[i], Score)] for i in range(len(self.columns))]
        wide = [3 + any(cell.mark for cell in some) if some else 1 for some in scores]
        yield [
            name
            for column, count in zip(self.columns, wide, strict=True)
            for name in [column.heading, *(f"{column.heading} {part}" for part in ("low", "high", "mark"))][:count]
        ]
        for row in self.rows:
            yield [value for cell, count in zip(row, wide, strict=True) for value in _ends(cell)[:count]]

    # ---- files

    def to_markdown(self) -> str:
        """A GitHub table under a third-level heading; notes as a list."""
        lines = [[markdown(c.heading) for c in self.columns], ["---:" if right else "---" for right in self.numeric]]
        lines += [[markdown(text) for text in row] for row in self._texts()]
        parts = [f"### {markdown(self.title)}\n"] if self.title else []
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
        if self.notes:
            parts.append("\n".join(f"- {markdown(note, item=True)}" for note in self.notes) + "\n")
        return "\n".join(parts)

    def to_latex(self) -> str:
        """A table float with booktabs rules. With groups of columns it has the width of the page and small print, and
        intervals are below their numbers."""
        grouped = any(column.group for column in self.columns)
        kind = "table*" if grouped else "table"
        lines = [
            rf"\begin{{{kind}}}[t]",
            r"\centering",
            *([r"\footnotesize\setlength{\tabcolsep}{3pt}"] if grouped else []),
            rf"\caption{{{latex(self.title)}}}",
            rf"\begin{{tabular}}{{{''.join('r' if right else 'l' for right in self.numeric)}}}",
            r"\toprule",
            *self._groups(),
            " & ".join(latex(c.name) for c in self.columns) + r" \\",
            r"\midrule",
            *(self._stacked() if grouped else (" & ".join(map(latex, row)) + r" \\" for row in self._texts())),
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\smallskip{{\footnotesize {latex(note)}}}" for note in self.notes),
            rf"\end{{{kind}}}",
        ]
        return "\n".join(lines) + "\n"

    def _stacked(self) -> Iterator[str]:
        """The rows in LaTeX, each with a second line for its intervals."""
        for row in self.rows:
            cells = [_parts(cell, column.digits) for cell, column in zip(row, self.columns, strict=True)]
            yield " & ".join(latex(parts[0]) for parts in cells) + r" \\"
            if any(len(parts) > 1 for parts in cells):
                below = [rf"{{\scriptsize {latex(parts[1])}}}" if len(parts) > 1 else "" for parts in cells]
                yield " & ".join(below) + r" \\"

    def _groups(self) -> Iterator[str]:
        """The line with the group headings, and a rule below every group; nothing if there are no groups."""
        runs = [(name, len(list(some))) for name, some in groupby(column.group for column in self.columns)]
        if not any(name for name, _ in runs):
            return
        yield (
            " & ".join(rf"\multicolumn{{{n}}}{{c}}{{{latex(name)}}}" if name else " & " * (n - 1) for name, n in runs)
            + r" \\"
        )
        ends = list(accumulate(n for _, n in runs))
        yield " ".join(
            rf"\cmidrule(lr){{{end - n + 1}-{end}}}" for (name, n), end in zip(runs, ends, strict=True) if name
        )

    def to_csv(self) -> str:
        """CSV with all digits and the columns of `to_pandas`. Notes are left out."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows([csv_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in self._wide())
        return out.getvalue()

    def to_json(self) -> str:
        """{"title", "columns", "rows": [{column: cell}], "notes"} with all digits; a Score is {"value", "low", "high"}, and
        has "mark" if it is marked in the table."""
        names = [c.heading for c in self.columns]
        rows = [{name: _plain(cell) for name, cell in zip(names, row, strict=True)} for row in self.rows]
        table = {"title": self.title, "columns": names, "rows": rows, "notes": list(self.notes)}
        return as_json(table) + "\n"

    def _texts(self) -> Iterator[list[str]]:
        for row in self.rows:
            yield [write(cell, column.digits) for cell, column in zip(row, self.columns, strict=True)]


class Tables(list[Table]):
    """Several tables, which are printed one below the other."""

    def to_pandas(self) -> list[Any]:
        """A list with a pandas DataFrame for each table."""
        return [table.to_pandas() for table in self]

    def to_latex(self) -> str:
        return "\n".join(table.to_latex() for table in self)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n\n".join(map(str, self))

    def _repr_html_(self) -> str:
        return "\n".join(table.to_html() for table in self)


def cut_to(text: str, width: int | None) -> str:
    """The text on one line, cut with an ellipsis to `width` characters of a terminal; None: not cut."""
    line = " ".join(text.split())
    return line if width is None or cell_len(line) <= width else set_cell_size(line, width - 1).rstrip() + "…"


def write(cell: Cell, digits: int = 1) -> str:
    """A cell as text: "22.4 [19.1, 25.7]" for a Score, "-" for None."""
    return " ".join(_parts(cell, digits))


# ---------------------------------------------------------------- cells


_LEAST = 4  # with this many digits a number is a probability, which is never shown as 0


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    if digits >= _LEAST and value > 0 and not text.strip("0."):
        return f"<{10**-digits:.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text  # no "-0.0"


def _parts(cell: Cell, digits: int) -> list[str]:
    """The parts of a cell that must not be broken: a number, an interval, a text."""
    if cell is None:
        return [_NONE]
    if isinstance(cell, Score):
        value = cell.mark + _number(cell.value, digits)
        if cell.brief or cell.low is None or cell.high is None:
            return [value]
        return [value, f"[{_number(cell.low, digits)}, {_number(cell.high, digits)}]"]
    if isinstance(cell, float):
        return [_number(cell, digits)]
    return [str(cell)]


def _numeric(column: Column, cells: Sequence[Cell]) -> bool:
    """Whether a column is aligned right: it has numbers, and nothing else except empty cells."""
    there = [cell for cell in cells if cell not in (None, "", _NONE)]
    return column.number or (bool(there) and all(isinstance(cell, int | float | Score) for cell in there))


def _plain(cell: Cell) -> Any:
    if not isinstance(cell, Score):
        return cell
    return {"value": cell.value, "low": cell.low, "high": cell.high} | (
        {"mark": cell.mark.strip()} if cell.mark else {}
    )


def _ends(cell: Cell) -> list[Cell]:
    if isinstance(cell, Score):
        return [cell.value, cell.low, cell.high, cell.mark.strip() or None]
    return [cell, None, None, None]


# ---------------------------------------------------------------- fitting into a width

# A line may break after a space or a bar, or after a hyphen inside a word; not after the sign of a number, and not
# inside an interval.
_BREAKS = re.compile(r"(?<= )(?!-?[\d.]+\])|(?<=\|)|(?<=\w-)(?=\w)")


def _pieces(text: str) -> list[str]:
    return [piece for piece in _BREAKS.split(text) if piece]


def _packed(pieces: Sequence[str], width: int) -> Text:
    """Pieces of text on as few lines as possible; a piece that is longer than the width gets its own line."""
    lines = [""]
    for piece in pieces:
        if lines[-1] and cell_len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return Text("\n".join(line.rstrip() for line in lines))


class _Filled:
    """A column with heading and cells split into pieces: at least as wide as the longest piece, at most as wide as the
    longest cell."""

    def __init__(self, column: Column, cells: Sequence[Cell], heading: str) -> None:
        self.column = column
        self.numeric = _numeric(column, cells)
        self.heading = _pieces(visible(heading))
        self.pieces = [self._cut(cell) for cell in cells]
        self.tones = [cell.tone if isinstance(cell, Score) else "" for cell in cells]
        every = [self.heading, *self.pieces]
        self.least = max(cell_len(piece.strip()) for pieces in every for piece in pieces or [""])
        whole = self.pieces if column.group else every  # group names are long and may wrap
        self.most = max([self.least, *(cell_len("".join(pieces).rstrip()) for pieces in whole)])

    def _cut(self, cell: Cell) -> list[str]:
        if isinstance(cell, str):
            return _pieces(visible(cell))
        value, *interval = _parts(cell, self.column.digits)
        return [f"{value} ", *interval] if interval else [value]


def _fit_groups(columns: list[_Filled], width: int) -> list[tuple[list[_Filled], list[int]]]:
    """(columns, widths) of the grids that fit: one grid, or several with the groups of columns below each other, each
    after the columns without a group; empty if not even one group fits."""
    if (whole := _fit(columns, width))[0]:
        return [whole]
    heads = [column for column in columns if not column.column.group]
    groups = [list(some) for name, some in groupby(columns, lambda column: column.column.group) if name]
    grids: list[tuple[list[_Filled], list[int]]] = []
    while groups:
        for count in range(len(groups), 0, -1):
            fitting = _fit([*heads, *(column for group in groups[:count] for column in group)], width)
            if fitting[0]:
                break
        else:
            return []
        grids.append(fitting)
        groups = groups[count:]
    return grids


def _fit(columns: list[_Filled], width: int) -> tuple[list[_Filled], list[int]]:
    """(columns that fit, width of each); empty if no choice of columns fits.

    Space that is left goes to the columns that need the least, so that as many columns as possible do not wrap; the
    last two share it.
    """
    for rigid in (True, False):  # first with intervals beside their numbers, then below
        shown = list(columns)
        while True:
            widths = [c.most if rigid and c.numeric else c.least for c in shown]
            left = width - sum(widths) - _GAP * (len(shown) - 1)
            optional = [c for c in shown if c.column.optional]
            if left >= 0 or not optional:
                break
            shown.remove(optional[-1])
        if left >= 0:
            break
    else:
        return [], []
    narrow = sorted(range(len(shown)), key=lambda i: shown[i].most - widths[i])
    for others, i in zip(range(len(shown) - 1, -1, -1), narrow, strict=True):
        fair = left // 2 if others == 1 else left
        more = min(fair, shown[i].most - widths[i])
        widths[i] += more
        left -= more
    return shown, widths
