"""Validation errors of pydantic in our own words, for YAML files, stored records and their lines.

pydantic's messages name Python types and our classes. Here every kind of error says what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from diva_bench.errors import nearest

_NUMBER, _WHOLE, _TRUTH = "must be a number", "must be a whole number", "must be true or false"
_TEXT, _LIST, _KEYS = "must be text", "must be a list", "must be a mapping (key: value)"
MESSAGES: Mapping[str, str] = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "string_type": _TEXT,
    "string_sub_type": _TEXT,
    "string_unicode": "must be text of whole characters",
    "string_too_short": "must have {min_length} characters or more",
    "string_too_long": "must have {max_length} characters or fewer",
    "string_pattern_mismatch": "{allowed}",
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": "must be a whole number of fewer digits",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "none_required": "must be empty",
    "list_type": _LIST,
    "tuple_type": _LIST,
    "iterable_type": _LIST,
    "too_short": "must have {min_length} entries or more, and has {actual_length}",
    "too_long": "must have {max_length} entries or fewer",
    "dict_type": _KEYS,
    "mapping_type": _KEYS,
    "model_type": _KEYS,
    "model_attributes_type": _KEYS,
    "dataclass_type": _KEYS,
    "typed_dict_type": _KEYS,
    "invalid_key": "has a key that is not text",
    "union_tag_invalid": "must have {discriminator} as one of {expected_tags}",
    "union_tag_not_found": "must have the key {discriminator}",
    "path_type": "must be the path of a file or folder",
    "recursion_loop": "is part of itself",
    "json_invalid": "is not valid JSON ({error})",
    "json_type": "must be JSON",
    "value_error": "{error}",
    "assertion_error": "{error}",
}
"""Type of a pydantic error -> message, with values from the error's context in braces."""

_NAME = "must begin with a letter or digit, and have only letters, digits, '.', '_' and '-'"
PATTERNS: Mapping[str, str] = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": _NAME,
    r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$": (
        "must be a relative path; each part of it must begin with a letter or digit, and have only letters, digits, "
        "'.', '_' and '-'"
    ),
    r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+$": "must be a package with its version, such as numpy==2.1.0",
    r"^\d{4}(-\d{2}){0,2}$": "must be a date: 2025, 2025-06 or 2025-06-30; null if the source does not say it",
    r"^[0-9a-f]{64}$": "must have 64 hexadecimal digits (0 to 9, a to f)",
    r"^[A-Z]{3}$": "must be a currency of three capital letters, such as USD",
    r"^[\w.-]+/[\w.-]+$": "must be OWNER/NAME; both have only letters, digits, '.', '_' and '-'",
}
"""Regular expression of a field -> the rule as text."""

_LONGEST = 80  # longest value in a message, in characters
_QUOTED = re.compile(r"'([^']*)'")
_KEY = "[key]"
"""pydantic's mark for an error in a key of a mapping."""


def words(err: ValidationError) -> str:
    """The first error with its key: "tokens.new: must be a whole number (found 'x')"."""
    problem = err.errors(include_url=False)[0]
    key = dotted(place(problem))
    return f"{key}: {message(problem)}" if key else message(problem)


def message(problem: Mapping[str, Any]) -> str:
    """What is wrong with a value and what is allowed, without the key and the full stop. `problem`: an element of
    `ValidationError.errors()`."""
    kind, context = problem["type"], dict(problem.get("ctx") or {})
    context["allowed"] = PATTERNS.get(context.get("pattern", ""), "has characters that are not allowed here")
    words = MESSAGES.get(kind, "is not allowed here").format_map(_Plain(context))
    whole = kind == "value_error" and isinstance(problem["input"], Mapping)  # the error names its subject itself
    if kind in ("missing", "extra_forbidden") or whole:
        return words.removesuffix(".")
    word = problem["input"] if kind == "literal_error" else None
    near = nearest(word, _QUOTED.findall(words)) if isinstance(word, str) else ""
    return f"{words} (found {shown(problem['input'])}){f'.{near}' if near else ''}".removesuffix(".")


def shown(value: Any) -> str:
    """A value as in JSON or YAML, cut if it is long."""
    plain = {None: "nothing", True: "true", False: "false"}
    text = plain[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def place(problem: Mapping[str, Any], raw: Any = None) -> tuple[str | int, ...]:
    """The keys that lead to the value, without parts that pydantic adds: [key], and members of unions, which do not occur
    in `raw`, the whole value."""
    keys: list[str | int] = []
    last = len(problem["loc"]) - 1
    for number, part in enumerate(problem["loc"]):
        if part == _KEY:
            continue
        there = _has(raw, part)
        if raw is not None and not there and not (number == last and problem["type"] == "missing"):
            continue
        keys.append(part)
        raw = raw[part] if there else raw
    return tuple(keys)


def dotted(keys: Iterable[str | int]) -> str:
    return ".".join(str(key) for key in keys)


def _has(raw: Any, part: str | int) -> bool:
    return (isinstance(raw, Mapping) and part in raw) or (
        isinstance(raw, list | tuple) and isinstance(part, int) and part < len(raw)
    )


class _Plain(dict[str, Any]):
    """The context of an error for `format_map`: missing keys have a default, and numbers are short."""

    def __missing__(self, key: str) -> str:
        return "another"

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return f"{value:g}" if isinstance(value, float) else value
