"""YAML files of tasks, models and weights on disk: where they are, how they are read, and which names they define."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from diva_bench.disk import Stamp, listed, stamp
from diva_bench.errors import SpecError
from diva_bench.specs.model import AssetSpec, InlineWeights, ModelFile
from diva_bench.specs.task import TaskFile
from diva_bench.specs.yamlfile import read_yaml

KINDS = {"task": TaskFile, "model": ModelFile, "weights": AssetSpec}
"""Kind of a spec file -> the schema of its content."""
BUILT_IN = "built in"
"""Origin of the files that ship."""
BY_PATH = "given by path"
"""Origin of a file that the user names in place of a task or model."""
TRAINED = "trained here"
"""Origin of connectors that `diva-bench train` installed."""
_FOLDERS = ("", "tasks", "tasks/paper", "models", "models/weights")  # subfolders in which YAML files are searched
_NAME = re.compile(r"""^name:[ \t]*["']?([^\s"'#]+)""", re.MULTILINE)
_SETTLED = 2_000_000_000  # ns after the last change: two changes within one tick of the clock can have one stamp
_HEAD = 1 << 16  # characters at the beginning of a file in which its name is searched


def builtin_folder() -> Path:
    """The folder of the shipped `tasks/` and `models/`: inside an installed wheel, or beside the package in a checkout."""
    package = Path(str(files("diva_bench")))
    inside = package / "_builtin"
    return inside if inside.is_dir() else package.parent


@dataclass(frozen=True, slots=True)
class SpecFile:
    """A spec file.

    Attributes:
        spec: Its content.
        path: The file.
        origin: BUILT_IN, BY_PATH, TRAINED, a folder, or a package.
    """

    spec: TaskFile | ModelFile | AssetSpec
    path: Path
    origin: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A YAML file that cannot be used.

    Attributes:
        path: The file.
        names: Names that the file may define.
        error: Why it cannot be used.
    """

    path: Path
    names: frozenset[str]
    error: SpecError
    foreign: bool = False
    """True if the file is not a spec, and so defines no name."""


class Clash(SpecError):
    """One name in two places."""

    def __init__(self, kind: str, one: SpecFile, other: SpecFile) -> None:
        self.kind, self.name = kind, one.spec.name
        remedy = (
            f"Remove {other.path.parent}, or rename the other." if other.origin == TRAINED else "Rename one of them."
        )
        super().__init__(
            f"{kind} {self.name!r} is defined in two places: {one.path} ({one.origin}) and {other.path} ({other.origin}). "
            f"{remedy}"
        )


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files of a folder, sorted by name."""
    return sorted(path for pattern in ("*.yaml", "*.yml") for path in listed(folder, pattern) if path.is_file())


def spec_files(place: Path, origin: str) -> Iterator[Path]:
    """The YAML files of a place and of its folders for tasks and models."""
    # in a checkout the built-in place is the whole checkout, so only its own folders are searched
    for folder in _FOLDERS[1:] if origin == BUILT_IN else _FOLDERS:
        yield from yaml_files(place / folder)


def spec_names(path: Path) -> frozenset[str]:
    """The names that a file may define, even if it is not valid: its `name:` and its file name; empty if it has no such
    line."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            match = _NAME.search(file.read(_HEAD))
    except OSError:
        return frozenset()
    return frozenset({match[1], path.stem}) if match else frozenset()


def read_spec(path: Path, origin: str = BY_PATH) -> tuple[str, SpecFile]:
    """Read and validate a spec file.

    Returns:
        Its kind ("task", "model" or "weights"), and the file.

    Raises:
        SpecError: The file is not valid.
    """
    try:
        known = stamp(path)
        settled = time.time_ns() - max(known[1:3]) > _SETTLED
    except OSError:  # told by whoever reads it
        settled = False
    spec = _placed(_valid(path, path.absolute(), known) if settled else read_yaml(path, _schema_of), path.parent)
    return next(kind for kind, schema in KINDS.items() if isinstance(spec, schema)), SpecFile(spec, path, origin)


@lru_cache(maxsize=4096)
def _valid(path: Path, absolute: Path, known: Stamp) -> TaskFile | ModelFile | AssetSpec:
    """The content of a file with this stamp. Every catalog reads all files that ship, and a process can make many."""
    return read_yaml(path, _schema_of)


def _placed(spec: TaskFile | ModelFile | AssetSpec, home: Path) -> TaskFile | ModelFile | AssetSpec:
    """The spec with absolute folders of weights. In a file they are relative to `home`, the folder of the file."""

    def absolute(folder: str | None) -> str | None:
        return str((home / Path(folder).expanduser()).absolute()) if folder else None

    def moved(weights: Mapping[str, str | InlineWeights]) -> dict[str, str | InlineWeights]:
        return {
            role: asset if isinstance(asset, str) else asset.model_copy(update={"folder": absolute(asset.folder)})
            for role, asset in weights.items()
        }

    if isinstance(spec, AssetSpec):
        return spec.model_copy(update={"folder": absolute(spec.folder)})
    if isinstance(spec, ModelFile):
        editions = {k: e.model_copy(update={"weights": moved(e.weights)}) for k, e in spec.editions.items()}
        return spec.model_copy(update={"weights": moved(spec.weights), "editions": editions})
    return spec


def _schema_of(keys: Set[str]) -> type[TaskFile | ModelFile | AssetSpec]:
    """Keys decide the kind: weights have `files`, tasks a `prompt`, models an adapter or a parent."""
    if keys & {"files", "format"}:
        return AssetSpec
    return ModelFile if keys & {"adapter", "extends"} else TaskFile
