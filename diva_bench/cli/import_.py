"""`diva-bench import`: call the import, and print the table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from diva_bench import provenance
from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.show import print_table
from diva_bench.evaluation.importing import Import, import_entries
from diva_bench.predictions.match import listed
from diva_bench.report.runs import results_table


def import_all(entries: Sequence[tuple[str, Import]], paths: Sequence[Path]) -> int:
    """Exit code: 0 every sample of every run has an answer; 1 answers are missing or failed, or a file does not exist."""
    progress = Terminal()
    runs, missing = import_entries(entries, Catalog(paths), progress, provenance.command_line(sys.argv))
    print_table(results_table(runs))
    if missing:
        progress.note(f"no such file: {len(missing)}: {listed(missing)}")
    return 1 if missing or not all(run.summary.complete for run in runs) else 0
