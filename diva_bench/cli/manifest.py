"""The manifest of `import`: many files, tasks and models at once.

A manifest is a table with commas or tabs, or JSON lines, with one row per set of answers. The columns `file`, `task` and
`model_name` are required; every other option of `import` may be a column, by its name with underscores, and replaces the value
from the command line where it is not empty. Paths are relative to the manifest. `file` may be a pattern (part-*.jsonl), in JSON
lines also a list, and "{subset}" in it stands for each subset of the task:

    file,task,model_name
    DiVA/heysquad.txt,paper-heysquad,diva
    DiVA/meld.txt,paper-meld,diva
    DiVA/{subset}_outs.txt,paper-sdqa-all,diva
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diva_bench import textfile
from diva_bench.errors import PredictionError, UserError, unknown
from diva_bench.evaluation.importing import SUBSET, Import
from diva_bench.predictions import FORMATS
from diva_bench.predictions.imported import ERRORS

_NAMES = {"model": "model_name", "name": "model_name", "files": "file"}
"""Other common names of columns."""
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")


def entries(manifest: Path, defaults: Import) -> list[tuple[str, Import]]:
    """(file:line, options) of every row.

    Raises:
        PredictionError: The manifest is empty, or rows are wrong; the message names all of them.
    """
    rows_of_manifest: list[tuple[str, Import]] = []
    wrong: list[str] = []
    for where, row in _rows(manifest):
        try:
            rows_of_manifest.append((where, _entry(row, manifest.parent, defaults)))
        except UserError as err:
            wrong.append(f"{where}: {err}")
    if wrong:
        raise PredictionError("\n".join(wrong))
    if not rows_of_manifest:
        raise PredictionError(f"{manifest}: has no rows.")
    return rows_of_manifest


def _rows(manifest: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    text = textfile.read(manifest, PredictionError)
    lines = textfile.split(text)
    rows: Iterator[tuple[int, Mapping[str, Any]]]
    if text.lstrip().startswith("{"):
        rows = textfile.json_rows(lines, str(manifest), PredictionError)
    else:
        table = textfile.DelimitedTable(lines, str(manifest), PredictionError)
        for column in table.header:
            _name(column, f"{manifest}:1")
        rows = iter(table)
    return ((f"{manifest}:{line}", row) for line, row in rows)


def _name(column: str, where: str) -> str:
    """The option of a column. Raises UnknownName."""
    name = column.strip().replace("-", "_")
    name = _NAMES.get(name, name)
    if name not in _READERS:
        raise unknown("column", column, _READERS, where)
    return name


def _entry(row: Mapping[str, Any], folder: Path, defaults: Import) -> Import:
    values: dict[str, Any] = {}
    for column, value in row.items():
        name = _name(column, "this row")
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        if name in values:
            raise PredictionError(f"{name} is given twice.")
        values[name] = _READERS[name](value, folder)
    files = values.pop("file", [])
    options = replace(defaults, files=files, **values)
    for missing, there in (("file", files), ("task", options.task), ("model_name", options.model_name)):
        if not there:
            raise PredictionError(f"no {missing}. A row needs file, task and model_name.")
    return options


def _files(value: Any, folder: Path) -> list[Path]:
    files: list[Path] = []
    for name in value if isinstance(value, list) else [value]:
        path = folder / _text(name, "file")
        matching = sorted(Path(match) for match in glob.glob(str(path))) if not path.exists() else []
        if not matching and not path.exists() and SUBSET not in str(path):
            raise PredictionError(f"{path}: no such file (paths are relative to the manifest).")
        files += matching or [path]
    return files


def _text(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise PredictionError(f"{column} is {value!r}, not text.")
    return value.strip()


def _one_of(value: Any, column: str, allowed: tuple[str, ...]) -> str:
    text = str(value).strip()
    if text not in allowed:
        raise PredictionError(f"{column} is {text!r}. Allowed: {', '.join(allowed)}.")
    return text


_READERS: dict[str, Callable[[Any, Path], Any]] = {
    "file": _files,
    "task": lambda value, _: _text(value, "task"),
    "model_name": lambda value, _: _text(value, "model_name"),
    "format": lambda value, _: _one_of(value, "format", ("auto", *FORMATS)),
    "columns": lambda value, _: value if isinstance(value, dict) else _text(value, "columns"),
    "labels": lambda value, _: value if isinstance(value, dict) else _text(value, "labels"),
    "only": lambda value, _: str(value).strip(),
    "top": lambda value, _: int(_one_of(value, "top", ("1", "100"))),
    "errors": lambda value, _: _one_of(value, "errors", tuple(ERRORS)),
    "gold": lambda value, _: _one_of(str(value).lower(), "gold", (*_YES, *_NO)) in _YES,
    "clusters": lambda value, folder: folder / _text(value, "clusters"),
    "edition": lambda value, _: _one_of(value, "edition", ("full", "mini", "mini-v1")),
    "data_dir": lambda value, folder: folder / _text(value, "data_dir"),
}
"""Column -> what makes its value, and the manifest's folder, an option of `import`."""
