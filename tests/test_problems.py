"""What is wrong with a YAML file or a stored record is said in our words: no phrase of pydantic's, no name of a class."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core.core_schema import ErrorType

from diva_bench.decoding import response
from diva_bench.errors import SpecError
from diva_bench.runs import schemas
from diva_bench.runs.records import RunSummary
from diva_bench.specs import AssetSpec, ModelFile, ModelSpec, TaskFile, TaskSpec, problems
from diva_bench.specs.published import Published
from diva_bench.specs.yamlfile import read_yaml

FOREIGN = re.compile(
    r"Input |should be|should have|valid (string|integer|number|boolean|tuple|list|dict\w*|type)|instance of|Value error|"
    r"validation error|pydantic|unable to|_type|\b_?[A-Z][a-z]+(Spec|File|Record|Change|Named|Part|Edition|Summary|Dict)\b|"
    r"\bNone\b|\bTrue\b|\bFalse\b|dictionary|tuple"
)
DATA = {"source": "jsonl", "path": "a.jsonl", "rows": 3, "labels": {"a": 3}, "columns": {"id": "id"}, "where": {"x": 1}}
DATA |= {"hub": {"repo": "a/b"}, "access": {"url": "u", "note": "n"}, "seconds": [1.0, 2.0], "rate": [16_000]}
DATA |= {"layout": ["*.wav"], "exclude": {"q": "bad"}, "total": [3], "speech": "human", "groups": ["g"]}
TASK = {
    "name": "toy",
    "version": 1,
    "description": "d",
    "prompt": "Say it.",
    "prompts": ["Tell it."],
    "choices": ["a", "b"],
}
TASK |= {"scorers": {"qa": {}}, "primary": "contains", "editions": {"mini": DATA}, "decode": {"max_new_tokens": 4}}
TASK |= {"subsets": {"de": {"editions": {"mini": {"rows": 2}}, "fields": {"l": "German"}}}, "default": ["de"]}
TASK |= {"synonyms": {"c": "a"}, "suites": ["s"], "whole": False, "contrast": {"g": "x"}, "system": "Be good."}
RESOLVED = {k: v for k, v in TASK.items() if k not in ("editions", "subsets", "default", "whole")} | {
    "task": "toy",
    "data": DATA,
}
RESOLVED |= {
    "edition": "mini",
    "subset": None,
    "citation": "",
    "licence": "",
    "reference": "r",
    "groups": ["g"],
    "fields": {},
}
RESOLVED |= {"home": "."}
FILE = {"path": "a.bin", "sha256": "0" * 64, "bytes": 5, "sources": [{"hf": "a/b/c", "revision": "r"}]}
ASSET = {"name": "w", "format": "gguf", "description": "d", "licence": "l", "files": [FILE], "instead": {"x": "1" * 64}}
TRAINING = {"source": "s", "audio_hours": 2.0, "steps": 5, "device_hours": 1}
EDITION = {"args": {"a": 1}, "weights": {"llm": "w"}, "runtime": {"dtype": "float32"}, "training": TRAINING}
MODEL = {
    "name": "m",
    "adapter": "echo",
    "description": "d",
    "runtime": {"batch_seconds": 5},
    "editions": {"mini": EDITION},
}
SPEC = {
    "name": "m",
    "edition": "mini",
    "adapter": "echo",
    "description": "d",
    "citation": "",
    "licence": "",
    "args": {},
}
SPEC |= {"weights": {"llm": ASSET}, "runtime": {}, "training": TRAINING}
METRIC = {"value": 1.0, "low": 0.5, "high": 2.0, "n": 3, "clusters": 2, "few_clusters": True, "higher_is_better": True}
SUMMARY: dict[str, Any] = dict.fromkeys(("task", "task_id", "model", "run_id", "edition", "primary", "reason"), "x")
SUMMARY |= {"model_edition": None, "dtype": None, "limit": None, "seed": 0, "repeatable": True, "unparsed": None}
SUMMARY |= dict.fromkeys(("n", "scored", "clusters", "errors", "unsupported"), 1) | {
    "complete": True,
    "data_faults": [],
}
SUMMARY |= {"signature": {"qa": "s"}, "metrics": {"em": METRIC}, "groups": {}, "baseline": 1.0, "at_chance": None}
SUMMARY |= {
    "agreement": {"metric": "m", "alike": 1, "of": 2, "most": 0.5, "released": 1.0, "ours": 1.0, "apart": ["q"]}
}
RECORD = {"id": "x", "hash": "abcdef", "limit": None, "seed": 0, "fingerprint": "f"}
RUN = RECORD | {
    "task_id": "t",
    "adapter_version": "1",
    "model": {"name": "m", "edition": None, "adapter": "a", "args": {}},
}
RUN |= {
    "task": {"name": "t", "edition": "mini", "primary": "em", "scorers": {"qa": {}}},
    "faults": [{"id": "q", "reason": "r"}],
}
RUN |= {"imported": {"clusters": {"q": "c"}}, "training": {}}
ANSWER = {"id": "q", "status": "ok", "text": "t", "choices": {"a": (-1.0, 1, -1.0)}, "tokens": {"new": 1}, "round": 1}
SCHEMAS: dict[str, tuple[type[BaseModel] | TypeAdapter[Any], dict[str, Any]]] = {
    "task": (TaskFile, TASK),
    "resolved task": (TaskSpec, RESOLVED),
    "model": (ModelFile, MODEL),
    "resolved model": (ModelSpec, SPEC),
    "weights": (AssetSpec, ASSET),
    "summary.json": (RunSummary, SUMMARY),
    "run.json": (schemas.RunRecord, RUN),
    "task.json": (schemas.TaskRecord, RECORD | {"name": "t", "edition": "mini", "audio": {}}),
    "answer": (response.ANSWER, ANSWER | {"label": "a", "heard": "h", "detail": "d", "scores": {"given": 1.0}}),
    "timing": (schemas.TIMING, {"rows": 1, "audio": 1.0, "wall": 1.0, "stages": {"decode": 1.0}}),
    "budget": (schemas.EVENT, {"event": "budget", "seconds": 3.0}),
    "split": (schemas.EVENT, {"event": "split", "rows": 2, "into": 2, "first": "q", "why": "memory"}),
    "scores, first line": (schemas.SCORES_HEAD, {"signature": {"qa": "s"}, "schema": 2, "answers": "x"}),
    "scores, a line": (
        schemas.scores_line(("qa",)),
        {"id": "q", "qa": {"qa.em": 1.0}, "groups": {"g": "x"}, "references": ["a"]},
    ),
}
STRANGE = (
    None,
    True,
    -1,
    0,
    7,
    0.5,
    10**30,
    math.nan,
    math.inf,
    "",
    "x",
    "9",
    "x" * 300,
    "{ ",
    "\ud800",
    [],
    ["x"],
    [1, 2, 3, 4, 5],
)
STRANGE += ({}, {"x": 1}, {"x": {"y": []}}, {5: 6}, b"bytes", {1, 2}, object())


def spoilt(value: Any) -> Iterator[tuple[Any, ...]]:
    """The way to every place in a value."""
    yield ()
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from ((key, *way) for way in spoilt(part))


def changed(whole: Any, way: tuple[Any, ...], new: Any) -> Any:
    if not way:
        return new
    whole = copy.deepcopy(whole)
    place = whole
    for key in way[:-1]:
        place = place[key]
    if new is ...:
        del place[way[-1]]
    else:
        place[way[-1]] = new
    return whole


def wrong(schema: type[BaseModel] | TypeAdapter[Any], value: Any) -> list[Any]:
    try:
        schema.model_validate(value) if isinstance(schema, type) else schema.validate_python(value)
    except ValidationError as err:
        return err.errors(include_url=False)
    return []


@pytest.mark.parametrize("name", SCHEMAS)
def test_whatever_is_wrong_with_a_value_is_said_in_our_words(name: str) -> None:
    schema, right = SCHEMAS[name]
    assert not wrong(schema, right)
    seen: dict[str, str] = {}
    for way in spoilt(right):
        for new in (*STRANGE, *([...] if way else [])):
            if new == "\ud800" and name == "task":  # no YAML file can say it, see SLIPS
                continue
            value = changed(right, way, new)
            for problem in wrong(schema, value):
                said = f"{problems.dotted(problems.place(problem, value))}: {problems.message(problem)}"
                seen[problem["type"]] = said.partition(" (found ")[0]
    assert len(seen) > 5
    assert seen.keys() <= problems.MESSAGES.keys(), "each kind of error has words of its own"
    assert not [said for said in seen.values() if FOREIGN.search(said)], seen


@pytest.mark.parametrize("kind", get_args(ErrorType))
def test_no_kind_of_error_is_told_in_pydantics_words(kind: str) -> None:
    said = problems.message(
        {"type": kind, "loc": ("a",), "msg": "Input should be a valid _Named", "input": 5, "ctx": {}}
    )
    assert said
    assert not FOREIGN.search(said)


YAML = """\
name: toy
version: 1
description: a test
prompt: Say it.
reference: answers
scorers: {qa: {}}
primary: contains
editions:
  mini: {source: jsonl, path: toy.jsonl}
"""
SLIPS = [
    ("version: 1", "version: true", "2: version: must be a whole number (found true)."),
    ("version: 1", "version: '1'", "2: version: must be a whole number (found '1')."),
    ("version: 1", "version: 0", "2: version: must be more than 0 (found 0)."),
    ("a test", "5", "3: description: must be text (found 5); put it in quotes."),
    ("Say it.", '""', "4: prompt: must not be empty (found '')."),
    ("Say it.", "'Say { '", "4: prompt: has a brace that belongs to no {field}: a field is a name in braces, without"),
    (
        "Say it.",
        "'Say { it }.'",
        "4: prompt: has a brace that belongs to no {field}: a field is a name in braces, without",
    ),
    ("Say it.", "'Say {}.'", "4: prompt: has a brace that belongs to no {field}: a field is a name in braces, without"),
    ("Say it.", "'Say {it'", "4: prompt: has a brace that belongs to no {field}: a field is a name in braces, without"),
    ("Say it.", "Say it.\nsystem: ' '", "5: system: must not be empty (found ' ')."),
    (
        "Say it.",
        "Say it.\nsynonyms: {a: b}",
        "the file: synonyms are other words for choices, and the task has none: add",
    ),
    ("Say it.", '"\\ud800"', "4: not valid YAML: "),
    ("Say it.", "Say it.\nchoices: a", "5: choices: must be a list (found 'a')."),
    ("Say it.", "Say it.\nwhole: 1", "5: whole: must be true or false (found 1)."),
    ("{qa: {}}", "[qa]", "6: scorers: must be a mapping (key: value) (found ['qa'])."),
    (
        "{source: jsonl, path: toy.jsonl}",
        "toy.jsonl",
        "9: editions.mini: must be a mapping (key: value) (found 'toy.jsonl'). Its keys: ",
    ),
    (
        "  mini:",
        "  midi:",
        "9: editions.midi: must be 'full', 'mini', 'mini-v1' or 'nano' (found 'midi'). Did you mean 'mini'?",
    ),
    ("toy.jsonl}", "toy.jsonl, seconds: [1]}", "9: key 'editions.mini.seconds.1' is missing."),
    ("toy.jsonl}", "toy.jsonl, rows: true}", "9: editions.mini.rows: must be a whole number (found true)."),
    (
        "toy.jsonl}",
        "toy.jsonl, where: {a: {b: c}}}",
        "9: editions.mini.where.a: must be text, a number, true or false,",
    ),
    (
        "toy.jsonl}",
        "toy.jsonl, speech: humans}",
        "must be 'synthetic' or 'human' (found 'humans'). Did you mean 'human'?",
    ),
    (
        "toy.jsonl}",
        "toy.jsonl, rwos: 3}",
        "9: unknown key 'editions.mini.rwos'. Did you mean 'rows'? Allowed here: access,",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), SLIPS)
def test_a_slip_in_a_task_file_is_told_with_its_line_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    (tmp_path / "toy.yaml").write_text(YAML.replace(old, new, 1))
    with pytest.raises(SpecError) as told:
        read_yaml(tmp_path / "toy.yaml", TaskFile)
    assert said in str(told.value)
    assert not FOREIGN.search(str(told.value))
    assert str(told.value).endswith((".", "?"))
    assert ".." not in str(told.value).replace(str(tmp_path), "")


@pytest.mark.parametrize("prompt", ['Answer as {"label": 1}.', 'Say {"a": {"b": "c"}} of {what}.', "Say {what}."])
def test_json_that_an_answer_is_to_have_is_no_slip(tmp_path: Path, prompt: str) -> None:
    (tmp_path / "toy.yaml").write_text(YAML.replace("Say it.", f"'{prompt}'"))
    assert read_yaml(tmp_path / "toy.yaml", TaskFile).prompt == prompt


def regular_expressions(schema: Any) -> Iterator[str]:
    """Every `pattern` of a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for value in schema.values():
            yield from regular_expressions(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from regular_expressions(value)


def test_every_regular_expression_of_a_field_has_its_rule_as_text() -> None:
    used = {
        p for file in (TaskFile, ModelFile, AssetSpec, Published) for p in regular_expressions(file.model_json_schema())
    }
    assert used == set(problems.PATTERNS)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (
            "-toy",
            "name: must begin with a letter or digit, and have only letters, digits, '.', '_' and '-' (found '-toy')",
        ),
        ("to y", "must begin with a letter or digit"),
    ],
)
def test_a_name_with_other_characters_is_answered_with_the_rule(tmp_path: Path, name: str, rule: str) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text(f"name: '{name}'\n", encoding="utf-8")
    with pytest.raises(SpecError) as info:
        read_yaml(file, TaskFile)
    assert rule in str(info.value)
    assert "[A-Za-z" not in str(info.value)
