"""What installed packages bring: a class or function by name, from a built-in table or an entry point."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from diva_bench.errors import UserError, unknown


def folder(entry: EntryPoint) -> Path:
    """The folder of a package that brings YAML files."""
    try:
        module = entry.load()
    except Exception as err:  # a broken plugin may raise anything; it must be named, not skipped
        raise UserError(
            f"plugin {entry.name} ({entry.value}) cannot be imported: {type(err).__name__}: {err}."
        ) from err
    return Path(str(files(module)))


def load(kind: str, name: str, builtin: dict[str, str]) -> Any:
    """A class by name, from the built-in table or an entry point; two of one name are an error."""
    plugins = {e.name: e for e in entry_points(group=f"diva_bench.{kind}s")}
    clash = sorted(set(plugins) & set(builtin))
    if clash:
        raise UserError(f"{kind} {clash[0]!r} is built in and in {plugins[clash[0]].value}; rename the plugin's.")
    if name in plugins:
        try:
            return plugins[name].load()
        except Exception as err:  # as in folder
            where = plugins[name].value
            raise UserError(f"{kind} {name!r} ({where}) cannot be imported: {type(err).__name__}: {err}.") from err
    if name not in builtin:
        raise unknown(kind, name, [*builtin, *plugins])
    module, _, attribute = builtin[name].partition(":")
    return getattr(import_module(module), attribute)
