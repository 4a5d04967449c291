"""Tables, printed in the format that was asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console

from diva_bench.cli.streams import say_json
from diva_bench.report.tables import Table


def print_table(table: Table, format: str = "rich") -> None:
    if format == "rich":
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=max(console.width, 120))  # a log has no right edge
        console.print(table.to_rich(console.width))
        return
    if format == "json":
        say_json(json.loads(table.to_json()))
        return
    print({"md": table.to_markdown, "csv": table.to_csv, "latex": table.to_latex}[format]())


def print_tables(tables: Sequence[Table], format: str = "rich") -> None:
    """Several tables: with lines between them, as JSON in one list."""
    if format == "json":
        say_json([json.loads(table.to_json()) for table in tables])
        return
    for number, table in enumerate(tables):
        if number and format == "rich":
            print()
        print_table(table, format)
