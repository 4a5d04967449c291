"""The numbers of a table are the same in terminal, Markdown, LaTeX, CSV, JSON and HTML, parsed back from each; and TeX takes the
LaTeX of all of them."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from stored import collect

from diva_bench.diva.config import PRESETS
from diva_bench.report import published as cited
from diva_bench.report import training_cost
from diva_bench.report.leaderboard import leaderboard, screen
from diva_bench.specs.published import published
from diva_bench.tables import Cell, Column, Score, Table, write

RESULTS = Path(__file__).parents[1] / "results"
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def every_table() -> dict[str, Table]:
    """Tables of all kinds that people publish: by title."""
    summaries, known = collect(RESULTS / "mini-v1"), published()
    costs = training_cost.tables(known, training_cost.recorded(RESULTS), PRESETS["paper"]())
    names = ["heysquad", "meld", "covost2-ta", "Mind the Gap", "similarity of speech and text inputs"]
    found = [
        *screen(summaries),
        *leaderboard(summaries)[:6],
        *cited.tables(known, cited.chosen(known, names), []),
        *costs,
    ]
    odd = [["a & b_c % $ # { } ~ ^ \\", Score(-0.04, -1.0, 2.0, "* "), 1_234, 0.00001, None, "größer → ±"]]
    columns = [Column("text"), Column("score"), Column("count"), Column("p", digits=4), Column("none"), Column("more")]
    return {table.title: table for table in [*found, Table("odd", columns, odd)]}


TABLES = every_table()


def expected(table: Table) -> list[list[str]]:
    """The numbers of every row, sorted, as they are written."""
    return [
        sorted(_NUMBER.findall(" ".join(write(cell, c.digits) for cell, c in zip(row, table.columns, strict=True))))
        for row in table.rows
    ]


def of_terminal(table: Table) -> list[str]:
    """Row by row; so wide that no cell wraps."""
    out = io.StringIO()
    Console(file=out, width=3000, highlight=False).print(table.to_rich(3000))
    lines = out.getvalue().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("───")) + 1
    return lines[start : start + len(table.rows)]


def of_markdown(table: Table) -> list[str]:
    lines = [line for line in table.to_markdown().splitlines() if line.startswith("| ")]
    return [html.unescape(line.replace("\\", "")) for line in lines[2:]]


def of_latex(table: Table) -> list[str]:
    """With groups a row has two lines, the second with intervals, and starts without a text."""
    body = table.to_latex().partition("\\midrule\n")[2].partition("\\bottomrule")[0]
    rows: list[str] = []
    for line in body.splitlines():
        if line.startswith((" & ", "{\\scriptsize")) and rows:
            rows[-1] += line.replace("\\scriptsize", "")
        else:
            rows.append(line)
    return [re.sub(r"\\text\w+", "", row) for row in rows]


def of_html(table: Table) -> list[str]:
    body = table.to_html().partition("<tbody>")[2].partition("</tbody>")[0]
    return [html.unescape(re.sub(r"<[^>]*>", " ", row)) for row in re.findall(r"<tr>(.*?)</tr>", body)]


def of_json(table: Table) -> list[str]:
    rows = json.loads(table.to_json())["rows"]
    return [
        _line(table, [_cell(value, own) for value, own in zip(row.values(), ours, strict=True)])
        for row, ours in zip(rows, table.rows, strict=True)
    ]


def _cell(value: object, own: Cell) -> Cell:
    """A cell from its JSON. Whether the interval is shown to people is not in JSON."""
    if isinstance(value, dict):
        brief = isinstance(own, Score) and own.brief
        return Score(value["value"], value["low"], value["high"], value.get("mark", ""), brief)
    assert value is None or isinstance(value, str | int | float)
    return value


def _line(table: Table, cells: list[Cell]) -> str:
    return " ".join(write(cell, c.digits) for cell, c in zip(cells, table.columns, strict=True))


def of_csv(table: Table) -> list[str]:
    """The parts of a score are columns of their own."""
    names, *rows = csv.reader(io.StringIO(table.to_csv()))
    lines = []
    for row, ours in zip(rows, table.rows, strict=True):
        parts = iter(row)
        cells: list[Cell] = []
        for i, own in enumerate(ours):
            values = [next(parts) for _ in range(_wide(table, i))]
            if isinstance(own, Score):
                low, high = (float(text) if text else None for text in values[1:3])
                cells.append(Score(float(values[0]), low, high, "", own.brief))
            else:
                cells.append(float(values[0]) if isinstance(own, float) else values[0])
        assert next(parts, None) is None, names
        lines.append(_line(table, cells))
    return lines


def _wide(table: Table, place: int) -> int:
    scores = [row[place] for row in table.rows if isinstance(row[place], Score)]
    return 3 + any(isinstance(s, Score) and bool(s.mark) for s in scores) if scores else 1


FORMATS: list[Callable[[Table], list[str]]] = [of_terminal, of_markdown, of_latex, of_html, of_json, of_csv]


@pytest.mark.parametrize("title", TABLES)
@pytest.mark.parametrize("parse", FORMATS)
def test_numbers_are_the_same_in_every_format(parse: Callable[[Table], list[str]], title: str) -> None:
    table = TABLES[title]
    assert [sorted(_NUMBER.findall(line)) for line in parse(table)] == expected(table)


def test_tex_takes_the_latex_of_every_table(tmp_path: Path) -> None:
    tex = shutil.which("pdflatex")
    if tex is None:
        pytest.skip("no pdflatex on this machine: apt-get install texlive-latex-base texlive-latex-recommended")
    head = "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{booktabs}\n\\begin{document}\n"
    body = "\\clearpage\n".join(table.to_latex() for table in TABLES.values())
    (tmp_path / "tables.tex").write_text(f"{head}{body}\\end{{document}}\n", encoding="utf-8")
    command = [tex, "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 10_000
