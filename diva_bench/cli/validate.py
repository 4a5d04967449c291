"""`diva-bench validate`: print what YAML files define, or what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.streams import say
from diva_bench.errors import UserError
from diva_bench.evaluation.validation import validate


def validate_command(files: Sequence[Path], paths: Sequence[Path], data_dir: Path | None = None) -> int:
    """Exit code: 0 every file is valid; 2 one is not. All files are read, so that all mistakes are reported at once."""
    catalog, wrong = Catalog(paths), 0
    for file in files:
        try:
            lines, problems = validate(catalog, file, Terminal(), data_dir)
        except UserError as err:
            lines, problems = [], [str(err)]
        for problem in dict.fromkeys(problems):
            say(problem, error=True)
        if problems:
            wrong += 1
        else:
            say("\n".join([f"{file}: {lines[0]}", *(f"  {line}" for line in lines[1:])]))
    return 2 if wrong else 0
