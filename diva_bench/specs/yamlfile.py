"""From a YAML file to a validated spec, or a SpecError that names file, line, what was allowed and the nearest key.

Files follow the core schema of YAML 1.2: `no`, `on`, `2024-13-45` and `1:30` are text, only `true` and `false` are
Booleans, and numbers are decimal (`010` is 10). Keys keep their spelling (`no: 4`, `1: 3`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from diva_bench import textfile
from diva_bench.errors import SpecError, nearest
from diva_bench.specs import problems

S = TypeVar("S", bound=BaseModel)

_DEEPEST = 100  # mappings and lists in one another
_MOST = 100_000  # values of one file, those behind aliases counted wherever they stand: a few lines can name billions
_STEEP = re.compile(
    rf"^[ \t?:-]{{{_DEEPEST // 2},}}", re.MULTILINE
)  # how a line begins that is so deep without a bracket
_HALF = re.compile("[\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"
_SCALARS = {"str", "int", "float", "bool", "null", "merge"}
_MERGE = f"{_TAG}merge"

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, eight times as fast, where PyYAML has it


class _Loader(_Parser):  # type: ignore[misc]
    """YAML loader for the core schema only: no dates, sets or objects. A repeated key is an error."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML fills it below
    yaml_constructors: dict[Any, Any] = {}  # noqa: RUF012

    def read_bool(self, node: yaml.ScalarNode) -> bool:
        if node.value.lower() not in ("true", "false"):
            raise _wrong(f"{node.value!r} is neither true nor false", node)
        return bool(node.value.lower() == "true")

    def read_int(self, node: yaml.ScalarNode) -> int:
        try:
            return int(node.value, 10 if node.value.lstrip("+-").isdigit() else 0)
        except ValueError as err:
            raise _wrong(f"{node.value[:40]!r} is not a whole number that can be read", node) from err

    def read_float(self, node: yaml.ScalarNode) -> float:
        try:
            number = float(node.value)
        except ValueError:
            number = math.inf
        if not math.isfinite(number):  # no setting is infinite, and no record may say so: it is no JSON
            raise _wrong(f"{node.value[:40]!r} is not a finite number", node)
        return number

    def read_none(self, node: yaml.ScalarNode) -> None:
        return None

    def read_text(self, node: yaml.ScalarNode) -> str:
        return str(self.construct_scalar(node))

    def read_list(self, node: yaml.SequenceNode) -> list[Any]:
        return [self.construct_object(inner, deep=True) for inner in node.value]

    def read_mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong("a key is a list or a mapping; put text that begins with { or [ in quotes", key)
            if key.tag == _MERGE:
                for under in reversed(value.value if isinstance(value, yaml.SequenceNode) else [value]):
                    if not isinstance(under, yaml.MappingNode):
                        raise _wrong("`<<` takes a mapping, or a list of them", key)
                    merged |= self.construct_object(under, deep=True)
            elif key.value in mapping:
                raise _wrong(f"key {key.value!r} is given twice", key)
            else:
                mapping[key.value] = self.construct_object(value, deep=True)
        return {**merged, **mapping}


def _wrong(problem: str, node: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


for _tag, _pattern, _first, _read in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF", _Loader.read_bool),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789", _Loader.read_int),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
        _Loader.read_float,
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""], _Loader.read_none),
    ("merge", "<<", "<", _Loader.read_text),
    ("str", None, None, _Loader.read_text),
    ("seq", None, None, _Loader.read_list),
    ("map", None, None, _Loader.read_mapping),
):
    if _pattern is not None:
        _Loader.add_implicit_resolver(_TAG + _tag, re.compile(f"^(?:{_pattern})$"), list(_first or ""))
    _Loader.add_constructor(_TAG + _tag, _read)


def value(text: str, where: str) -> Any:
    """Parse a text as YAML. Raises SpecError, with the line number if the text has several lines."""
    return _parsed(text, where)[1]


def _parsed(text: str, where: str) -> tuple[yaml.Node | None, Any]:
    """Parse a text into (root node, value)."""
    try:
        _refuse_depth(text)
        loader = _Loader(text)
        try:
            tree = loader.get_single_node()
            if tree is None:
                return None, None
            _count(tree, {})
            return tree, loader.construct_document(tree)
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as err:
        place = _place(where, text, text.count("\n", 0, err.position))
        raise SpecError(f"{place}: not valid YAML: a character that YAML does not allow.") from err
    except yaml.YAMLError as err:
        place = _place(where, text, getattr(getattr(err, "problem_mark", None), "line", 0))
        raise SpecError(f"{place}: not valid YAML: {getattr(err, 'problem', None) or err}.") from err
    except RecursionError as err:
        raise SpecError(f"{where}: not valid YAML: nested too deeply.") from err


def _place(where: str, text: str, line: int) -> str:
    """Location with its line number (`line` counts from 0), without it for a text of one line."""
    return f"{where}:{line + 1}" if "\n" in text else where


def _refuse_depth(text: str) -> None:
    """Refuse deep nesting before nodes are built: the C library recurses, and a deep file would crash the process."""
    if text.count("[") + text.count("{") <= _DEEPEST and not _STEEP.search(text):
        return
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise _wrong(f"more than {_DEEPEST} lists and mappings in one another", event)


def _count(node: yaml.Node, counts: dict[int, int]) -> int:
    """Number of values in a node. Raises if there are too many, if a node contains itself, or if its tag is not plain
    data."""
    if id(node) not in counts:
        counts[id(node)] = _MOST + 1  # provisional: a node that contains itself has no finite count
        inner: list[yaml.Node] = []
        kinds = _SCALARS
        if isinstance(node, yaml.ScalarNode) and not node.value.isascii() and _HALF.search(node.value):
            raise _wrong("half a surrogate pair, which is no character", node)
        if isinstance(node, yaml.MappingNode):
            inner, kinds = [part for pair in node.value for part in pair], {"map"}
        elif isinstance(node, yaml.SequenceNode):
            inner, kinds = node.value, {"seq"}
        if node.tag.removeprefix(_TAG) not in kinds:
            tag = node.tag.replace(_TAG, "!!")
            raise _wrong(
                f"tag {tag!r} is not read here; allowed: {', '.join(sorted(f'!!{kind}' for kind in kinds))}", node
            )
        counts[id(node)] = 1 + sum(_count(part, counts) for part in inner)
    if counts[id(node)] > _MOST:
        raise _wrong(f"more than {_MOST:,} values, or an alias that is part of what it names", node)
    return counts[id(node)]


def read_yaml(path: Path, schema: type[S] | Callable[[Set[str]], type[S]]) -> S:
    """Parse and validate one file.

    Args:
        path: The file.
        schema: Its schema, or what chooses one by the keys of its mapping.

    Raises:
        SpecError: Something is wrong with it; the message has file, line, what was allowed and the nearest key.
    """
    tree, raw = _parsed(textfile.read(path, SpecError), str(path))
    if not isinstance(raw, dict):
        raise SpecError(f"{path}:1: expected a mapping of keys, found {'nothing' if raw is None else repr(raw)[:80]}.")
    expected: type[S] = cast("type[S]", schema) if isinstance(schema, type) else schema(raw.keys())
    try:
        return expected.model_validate(raw)
    except ValidationError as err:
        lines = [_explain(path, tree, expected, problem, raw) for problem in err.errors(include_url=False)]
        raise SpecError("\n".join(dict.fromkeys(lines))) from err


def _explain(
    path: Path, tree: yaml.Node | None, schema: type[BaseModel], problem: Mapping[str, Any], raw: Mapping[str, Any]
) -> str:
    """One pydantic problem as file:line: key: what is wrong, and what was allowed."""
    keys = problems.place(problem, raw)
    where = f"{path}:{_line(tree, keys)}"
    key = problems.dotted(keys) or "the file"
    if problem["type"] == "extra_forbidden":
        allowed = _allowed(schema, keys[:-1])
        return f"{where}: unknown key {key!r}.{nearest(str(keys[-1]), allowed)} Allowed here: {', '.join(allowed)}."
    if problem["type"] == "missing":
        return f"{where}: key {key!r} is missing."
    explanation = problems.message(problem)
    if problem["type"] == "string_type":
        explanation += "; put it in quotes"
    if problem["type"] == "model_type":
        explanation += f". Its keys: {', '.join(_allowed(schema, keys))}"
    return f"{where}: {key}: {explanation[:600].removesuffix('.').removesuffix('?')}{'?' if explanation.endswith('?') else '.'}"


def _line(node: yaml.Node | None, loc: tuple[Any, ...]) -> int:
    """1-based line of the deepest part of `loc` that the file contains."""
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
        names = [
            inner
            for model in models
            for inner in _models_in(model.model_fields[part].annotation if part in model.model_fields else None)
        ]
        models = names or models
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Every pydantic model mentioned in a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]
