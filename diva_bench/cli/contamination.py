"""`leaks`: search samples of tasks in training data. The exit code is 0 if none is found, else 1."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from diva_bench import data
from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.show import print_table, print_tables
from diva_bench.cli.streams import check_file, say_json, write_file
from diva_bench.errors import UserError
from diva_bench.printable import as_json
from diva_bench.report.contamination import ContaminationSearch, as_record, counts_table, matches_table
from diva_bench.specs import Edition
from diva_bench.training import sources
from diva_bench.types import Sample
from diva_bench.weights import assets


def contamination_command(
    train: Sequence[str],
    tasks: Sequence[str],
    *,
    edition: str = "auto",
    data_dir: Path | None = None,
    text_only: bool = False,
    drop_list: Path | None = None,
    output: Path | None = None,
    format: str = "rich",
    paths: Sequence[Path] = (),
) -> int:
    """Read all training data once, and print and write the matches.

    Args:
        train: Sources, in the forms of `training.sources.read`.
        edition: auto, full or mini.

    Raises:
        UserError, DataError: An option or a source is wrong. Nothing was read.
    """
    progress = Terminal()
    if not train:
        raise UserError(f"--train is missing: the training data. Allowed:\n{sources.FORMS}")
    check_file(output, "--output")  # before the data is read, which may take an hour
    check_file(drop_list, "--drop-list")
    rows = [(source, sources.read(source)) for source in train]  # raises here if a source is wrong
    search = ContaminationSearch(_samples(tasks, edition, data_dir, paths, progress), progress, sound=not text_only)
    began = time.perf_counter()
    with _lines(drop_list) as on_match:
        for source, stream in rows:
            search.scan(stream, source, progress, on_match)
    seconds = time.perf_counter() - began
    report = search.report
    progress.note(f"{report.rows:,} rows in {seconds:.0f} s, {report.rows / max(seconds, 1e-9):.0f} rows/s")
    whole = as_record(report, train, seconds)
    if output is not None:
        write_file(output, as_json(whole) + "\n", "--output")
    if format == "json":
        say_json(whole)
    elif format == "csv":
        print_table(matches_table(report, None), "csv")
    else:
        shown = [counts_table(report, train)]
        if report.matched:
            shown.append(matches_table(report) if format == "rich" else matches_table(report, None))
        print_tables(shown, format)
    return 1 if report.matched else 0


def _samples(
    names: Sequence[str], edition: str, data_dir: Path | None, paths: Sequence[Path], progress: Terminal
) -> dict[str, Sequence[Sample]]:
    """Task -> its samples. The edition `auto` is mini, or full with --data-dir. Tasks without the edition are left out
    with a note."""
    catalog = Catalog(paths)
    if edition == "auto":
        edition = "full" if data_dir else "mini"
    leaves = list(dict.fromkeys(leaf for name in names for leaf in catalog.subsets(name)))
    missing = [leaf for leaf in leaves if edition not in catalog.task_editions(leaf)]
    if missing and len(missing) < len(leaves):
        progress.note(f"no edition {edition}, left out: {', '.join(missing)}")
        leaves = [leaf for leaf in leaves if leaf not in missing]
    tasks: dict[str, Sequence[Sample]] = {}
    for leaf in leaves:
        task = catalog.task(leaf, cast(Edition, edition))
        loaded = data.load(
            task, assets.cache_folder(), progress, data_dir=data_dir, allow_partial=True, need_audio=False
        )
        tasks[leaf] = loaded.samples
    return tasks


@contextmanager
def _lines(path: Path | None) -> Iterator[Callable[[str], None]]:
    """A function that writes lines to the file; without a file it discards them."""
    if path is None:
        yield lambda line: None
        return
    try:
        with path.open("w", encoding="utf-8") as file:
            print("row\tsource\tkind\ttask\tsample", file=file)
            yield lambda line: print(line, file=file)
    except OSError as err:
        raise UserError(f"--drop-list {path}: cannot be written ({err.strerror or err}). Choose another file.") from err
