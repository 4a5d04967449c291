"""`diva-bench ablate`: check the options, and print one table of differences."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from diva_bench import provenance
from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.show import print_table
from diva_bench.errors import UserError
from diva_bench.evaluation.jobs import Settings, shard_of_process
from diva_bench.report.ablation import ablation_table
from diva_bench.report.ablation_blocks import blocks_of
from diva_bench.report.ablation_grid import grid
from diva_bench.report.ablation_parts import parts_of


def ablate_command(
    models: Sequence[str],
    tasks: Sequence[str],
    settings: Settings,
    metric: str | None,
    ask: bool,
    format: str,
    paths: Sequence[Path] = (),
) -> int:
    """Run or read the models and print their differences.

    Args:
        models: The base, then its variants.

    Returns:
        Exit code: 0 all were compared; 1 something is missing, and the output names it.
    """
    shard, command = shard_of_process(os.environ), provenance.command_line(sys.argv)
    blocks = blocks_of(
        Catalog(paths), models, tasks, settings, Terminal(), metric=metric, ask=ask, shard=shard, command=command
    )
    if blocks is None:
        return 0  # the first process has the table
    print_table(ablation_table(blocks), format)
    return 1 if any(gap for block in blocks for gap in block.gaps) else 0


def ablate_runs_command(
    words: Sequence[str], tasks: Sequence[str], metrics: Sequence[str], results: Path, format: str, paths: list[Path]
) -> int:
    """Print the differences of stored runs.

    Args:
        words: Run folders, or names of models or runs in `results`; the first is the base.
        metrics: Names, or TASK=NAME.

    Returns:
        Exit code: 0 all were compared; 1 something is missing, and the output names it.
    """
    unreadable: list[str] = []
    parts = parts_of(Catalog(paths), words, tasks, metrics, results, Terminal(), unreadable)
    print_table(grid(parts), format)
    return 1 if unreadable or any(gap for part in parts for gap in part.gaps) else 0


def check_words(
    names: Sequence[str], runs: bool, asking: Mapping[str, object], tasks: Sequence[str], metrics: Sequence[str]
) -> None:
    """Check that the two forms of the command are not mixed.

    Args:
        asking: Options for running models, with their values.

    Raises:
        UserError: They are mixed, or something is missing.
    """
    if runs:
        if options := [option for option, value in asking.items() if value]:
            raise UserError(
                f"--runs compares stored runs and cannot be combined with {', '.join(options)}; leave one of them out."
            )
        if len(names) < 2:
            raise UserError(
                "ablate --runs needs a base and others: ablate --runs BASE OTHER..., by run folder or by name."
            )
        return
    if names:
        raise UserError(
            f"ablate {' '.join(names)}: to compare stored runs, use ablate --runs {' '.join(names)}; to run models, use "
            f"--base NAME --against NAME."
        )
    if lacks := [option for option in ("--base", "--against") if not asking[option]] + ([] if tasks else ["--task"]):
        raise UserError(f"ablate needs {', '.join(lacks)}, or --runs BASE OTHER... to compare stored runs.")
    if len(metrics) > 1:
        raise UserError(f"--metric is given {len(metrics)} times; without --runs a table has one metric.")


def models_of(base: str, against: Sequence[str]) -> list[str]:
    """The base, then the variants. Each element of `against` may be several names with commas between them."""
    others = list(dict.fromkeys(name.strip() for word in against for name in word.split(",") if name.strip()))
    if not others:
        raise UserError("--against names no model. Give at least one, such as --against diva-kl,diva-mlp.")
    if base in others:
        raise UserError(f"--against names {base!r}, which is the --base itself: a model does not differ from itself.")
    return [base, *others]
