"""From a YAML file to a validated spec, or a SpecError that names file, line, what was allowed and the nearest key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from diva_bench.errors import SpecError, nearest

S = TypeVar("S", bound=BaseModel)


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, eight times as fast, where PyYAML has it


class _UniqueKeyLoader(_Loader):  # type: ignore[misc]
    """SafeLoader that refuses a key given twice: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep))


def peek(path: Path) -> set[str]:
    """The keys of a file's mapping, to tell what sort of file it is; empty where it has none or cannot be read."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return set()  # read_yaml says what is wrong, with the line
    return set(raw) if isinstance(raw, dict) else set()


def read_yaml(path: Path, schema: type[S]) -> S:
    """Parse and validate one file; SpecError names file, line, what was allowed and the nearest key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise SpecError(f"{path}: cannot be read ({err}).") from err
    try:
        tree = yaml.compose(text, Loader=_UniqueKeyLoader)
        raw = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise SpecError(f"{path}{line}: not valid YAML: {getattr(err, 'problem', None) or err}.") from err
    if not isinstance(raw, dict):
        raise SpecError(f"{path}:1: expected a mapping of keys, found {type(raw).__name__}.")
    try:
        return schema.model_validate(raw)
    except ValidationError as err:
        lines = [_explain(path, tree, schema, problem) for problem in err.errors()]
        raise SpecError("\n".join(lines)) from err


def _explain(path: Path, tree: yaml.Node | None, schema: type[BaseModel], problem: Mapping[str, Any]) -> str:
    """One pydantic problem as file:line: key: what is wrong, and what was allowed."""
    loc = tuple(problem["loc"])
    where = f"{path}:{_line(tree, loc)}"
    key = ".".join(str(part) for part in loc) or "the file"
    if problem["type"] == "extra_forbidden":
        allowed = _allowed(schema, loc[:-1])
        return f"{where}: unknown key {key!r}.{nearest(str(loc[-1]), allowed)} Allowed here: {', '.join(allowed)}."
    if problem["type"] == "missing":
        return f"{where}: key {key!r} is missing."
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {key}: {message} (found {problem['input']!r})."[:600]


def _line(node: yaml.Node | None, loc: tuple[Any, ...]) -> int:
    """1-based line of the deepest part of `loc` that stands in the file."""
    line = 1
    for part in loc:
        step: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, step = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            step = node.value[part]
            line = step.start_mark.line + 1
        if step is None:
            break
        node = step
    return line


def _allowed(schema: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """The keys allowed at `loc` inside `schema`, found by walking the annotations."""
    models: list[type[BaseModel]] = [schema]
    for part in loc:
        found = [
            inner
            for model in models
            for inner in _models_in(model.model_fields[part].annotation if part in model.model_fields else None)
        ]
        models = found or models
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Every pydantic model mentioned in a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]
