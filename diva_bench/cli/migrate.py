"""`diva-bench migrate`: print which runs of older versions moved to their current ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.evaluation.migration import migrate


def migrate_command(
    results: Path, vouched: bool = False, data_dir: Path | None = None, paths: Sequence[Path] = ()
) -> int:
    """Exit code: 0 no run of an older version is left; 1 some are left, and the output says why."""
    moved, left = 0, 0
    for run, target in migrate(Catalog(paths), results, Terminal(), vouched=vouched, data_dir=data_dir):
        moved, left = moved + (target is not None), left + (target is None)
        if target is not None:
            print(f"{run.parent.name}/{run.name} -> {target.parent.name}/{target.name}")
    print(f"{results}: {moved} moved, {left} left" + ("" if moved or left else "; it has no run of an older version"))
    return 1 if left else 0
