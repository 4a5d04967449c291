"""Commands about runs that exist: compare, trio, diagnose, leaks, import. Parsing only, as in main.py."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
