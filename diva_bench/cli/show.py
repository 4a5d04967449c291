"""Print tables in the chosen format."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from diva_bench.cli.streams import check_file, say, say_json, write_file
from diva_bench.errors import UserError
from diva_bench.tables import Table


def print_table(table: Table, format: str = "rich") -> None:
    if format == "rich":
        console = Console(highlight=False)
        if not console.is_terminal and not os.environ.get("COLUMNS", "").isdecimal():
            console = Console(highlight=False, width=max(console.width, 120))  # a log file has no width
        console.print(table.to_rich(console.width))
        return
    if format == "json":
        say_json(json.loads(table.to_json()))
        return
    text = {"md": table.to_markdown, "csv": table.to_csv, "latex": table.to_latex}[format]()
    print(text, end="" if format == "csv" else "\n")  # a blank line is not a CSV row


_ENDINGS = {".md": "md", ".csv": "csv", ".tex": "latex", ".json": "json", ".txt": "rich"}
_WIDE = 160  # characters per line of a text file


def check_report(file: Path | None) -> None:
    """Raises UserError if tables cannot be written to this file. Call it before the tables are computed."""
    if file is None:
        return
    if file.is_dir():
        raise UserError(f"--output {file}: this is a folder. Give a file in it, such as {file / 'tables.md'}.")
    if file.suffix not in _ENDINGS:
        raise UserError(f"--output {file}: its ending names no format. Allowed: {', '.join(_ENDINGS)}.")
    check_file(file, "--output")


def write_tables(
    tables: Sequence[Table],
    file: Path | None,
    page: Callable[[Sequence[Table]], str] | None = None,
    every: bool = False,
) -> None:
    """Write to a file what `print_tables` prints; nothing without a file. `page`: makes the Markdown, if it is more than
    the tables."""
    if file is None:
        return
    text = io.StringIO()
    form = _ENDINGS[file.suffix]
    tables = _of_form(tables, form, every)
    if form == "json":
        text.write(json.dumps([json.loads(table.to_json()) for table in tables], indent=1, ensure_ascii=False) + "\n")
    elif form == "rich":
        console = Console(file=text, width=_WIDE, highlight=False)
        for number, table in enumerate(tables):
            console.print(*([""] if number else []), table.to_rich(_WIDE), sep="\n")
    elif form == "md" and page:
        text.write(page(tables))
    else:
        ways = ({"md": table.to_markdown, "csv": table.to_csv, "latex": table.to_latex} for table in tables)
        text.write("\n".join(way[form]() for way in ways))
    write_file(file, text.getvalue(), "--output")


def _of_form(tables: Sequence[Table], format: str, every: bool) -> Sequence[Table]:
    """The tables that a format can hold: for CSV the first, unless `every` is set; a message on stderr names the others."""
    if format != "csv" or len(tables) < 2 or every:
        return tables
    titles = "; ".join(table.title for table in tables[1:])
    say(f"csv: the first of {len(tables)} tables; --all-tables also prints: {titles}", error=True)
    return tables[:1]


def print_tables(tables: Sequence[Table], format: str = "rich", every: bool = False) -> None:
    """Print several tables with blank lines between them; as JSON one list. As CSV only the first, so that other programs
    can read it, unless `every` is set; a message on stderr names the others."""
    tables = _of_form(tables, format, every)
    if format == "json":
        say_json([json.loads(table.to_json()) for table in tables])
        return
    for number, table in enumerate(tables):
        if number and format in ("rich", "csv"):
            print()
        print_table(table, format)
