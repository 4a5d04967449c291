"""YAML files: words stay words, and what cannot be meant is told with its line; no file takes the process down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mini_task
import pytest
import yaml

from diva_bench import data
from diva_bench.catalog import Catalog
from diva_bench.errors import DataError, SpecError
from diva_bench.specs.yamlfile import value
from diva_bench.types import Silent

ROOT = Path(__file__).parents[1]
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[no, yes, on, off, y, n]", ["no", "yes", "on", "off", "y", "n"]),
        ("[true, True, FALSE]", [True, True, False]),
        ("[010, 0x1f, 0o17, +7, -0]", [10, 31, 15, 7, 0]),
        ("[1e-4, 3E5, .5, 5., -1.5]", [1e-4, 3e5, 0.5, 5.0, -1.5]),
        ("[1:30, 2024-13-45, 2024-01-01, 1_000, 3,4]", ["1:30", "2024-13-45", "2024-01-01", "1_000", 3, 4]),
        ("{no: 4, 1: 3, 1.0: 2, true: 1, ~: 0}", {"no": 4, "1": 3, "1.0": 2, "true": 1, "~": 0}),
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        ("", None),
        ("!!str 5", "5"),
    ],
)
def test_what_is_written_is_what_is_read(text: str, said: object) -> None:
    found = value(text, "x")
    assert (found, json.dumps(found)) == (said, json.dumps(said))  # 1 is not True


def test_the_files_that_ship_say_what_they_said_to_a_reader_of_yaml_1_1() -> None:
    files = [*ROOT.glob("tasks/**/*.yaml"), *ROOT.glob("models/**/*.yaml")]
    assert len(files) > 30
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert value(text, str(file)) == yaml.safe_load(text), file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "prompt: {{text}}",
            "x: not valid YAML: a key is a list or a mapping; put text that begins with { or [ in quotes",
        ),
        ("a: 1\nb: !!int foo", "x:2: not valid YAML: 'foo' is not a whole number"),
        ("a: !!bool maybe", "'maybe' is neither true nor false"),
        ("a: 1\na: 2", "x:2: not valid YAML: key 'a' is given twice"),
        ("a: " + "9" * 5000, "is not a whole number that can be read"),
        ("a: .nan", "'.nan' is not a finite number"),
        ("a: 1e999", "'1e999' is not a finite number"),
        ("a: !!timestamp 2024-13-45", "tag '!!timestamp' is not read here; allowed: !!bool, !!float"),
        (
            "a: !!python/object/apply:os.getcwd []",
            "tag '!!python/object/apply:os.getcwd' is not read here; allowed: !!seq",
        ),
        ("a: !!map [1]", "tag '!!map' is not read here"),
        ("a: !mine x", "tag '!mine' is not read here"),
        ("a: &a [*a]", "an alias that is part of what it names"),
        (BOMB, "more than 100,000 values"),
        ("[" * 100_000, "more than 100 lists and mappings in one another"),
        ("- " * 5000 + "x", "more than 100 lists"),
        ("\n".join(" " * i + "a:" for i in range(3000)), "x:101: not valid YAML: more than 100 lists"),
        ("a: b\n\x07", "x:2: not valid YAML: a character that YAML does not allow"),
        ('a: "\\ud83d"', "invalid Unicode character"),
        ("\tx: 1", "cannot start any token"),
        ("<<: 1", "`<<` takes a mapping"),
    ],
)
def test_slips_and_traps_are_told(text: str, message: str) -> None:
    with pytest.raises(SpecError) as err:
        value(text, "x")
    assert message in str(err.value)


def test_the_encodings_of_a_spec_are_those_of_every_text_file(tmp_path: Path) -> None:
    mini_task.write(tmp_path)
    file = tmp_path / "toy.yaml"
    text = file.read_text()
    for codec in ("utf-8-sig", "utf-16"):
        file.write_bytes(text.encode(codec))
        assert Catalog([tmp_path]).task("toy", "mini").prompt == "Say {what}."
    file.write_bytes(text.replace("a test", "un été").encode("latin-1"))
    with pytest.raises(SpecError, match=r"toy\.yaml:3: is not UTF-8"):
        Catalog([tmp_path]).task("toy", "mini")


@pytest.mark.parametrize("slip", ["{text}", "[text]", "no: x", "5", "true", "~"])
def test_a_prompt_that_is_no_text_is_told_to_stand_in_quotes(tmp_path: Path, slip: str) -> None:
    mini_task.write(tmp_path)
    file = tmp_path / "toy.yaml"
    file.write_text(file.read_text().replace("prompt: Say {what}.", f"prompt: {slip}"))
    with pytest.raises(
        SpecError, match=r"toy\.yaml:4: .*(prompt: must be text [(]found .*[)]; put it in quotes|not valid YAML)"
    ):
        Catalog([tmp_path]).task("toy", "mini")


# ---------------------------------------------------------------- where, and what cells may be


ROWS = [
    {"id": f"s{i}", "text": "t", "answers": ["x"], "voice": "a", "cluster": "c", **more}
    for i, more in enumerate(
        [
            {"season": 1, "funny": "yes", "snr": 0.5},
            {"season": "1", "funny": "no", "snr": "0.50"},
            {"season": True, "funny": False, "snr": 1},
            {"season": 0, "funny": "false", "snr": None},
        ]
    )
]


def loaded(folder: Path, rows: list[dict[str, Any]], where: str = "{}") -> list[Any]:
    mini_task.write(folder, table=rows)
    file = folder / "toy.yaml"
    file.write_text(file.read_text().replace("rows:", f"where: {where}, rows:"))
    task = Catalog([folder]).task("toy", "mini")
    return list(data.load(task, folder / "cache", Silent(), need_audio=False, allow_partial=True).samples)


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("{season: 1}", ["s0", "s1"]),
        ('{season: "1"}', ["s0", "s1"]),
        ("{season: 0}", ["s3"]),
        ("{season: true}", ["s2"]),
        ("{season: [0, true]}", ["s2", "s3"]),
        ("{funny: no}", ["s1"]),
        ('{funny: "no"}', ["s1"]),
        ("{funny: false}", ["s2", "s3"]),
        ("{snr: 0.50}", ["s0", "s1"]),
        ("{snr: 1.0}", ["s2"]),
        ("{season: 1, funny: yes}", ["s0"]),
    ],
)
def test_where_compares_as_it_is_written_and_turns_no_number_into_a_truth_value(tmp_path, where, ids) -> None:
    assert [sample.id for sample in loaded(tmp_path, ROWS, where)] == ids


def test_where_that_leaves_nothing_says_what_there_is(tmp_path) -> None:
    with pytest.raises(DataError, match=r"`where` selects no row: .* season is 2; in the data season is 0, 1, true"):
        loaded(tmp_path, ROWS, "{season: 2}")


@pytest.mark.parametrize("where", ["{season: {a: 1}}", "{season: []}", "{season: [[1]]}", "{season: ~}"])
def test_where_takes_values_and_lists_of_them(tmp_path, where) -> None:
    with pytest.raises(
        SpecError, match=r"toy\.yaml:11: .*where.season: must be text, a number, true or false, or a list"
    ):
        loaded(tmp_path, ROWS, where)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"text": ["a"]}, r"toy\.jsonl:2: the transcript \(text\) is \['a'\], not text"),
        ({"text": 5}, r"the transcript \(text\) is 5, not text"),
        ({"voice": ["a"]}, r"toy\.jsonl:2: the group 'voice' is \['a'\], not a word or a number"),
        ({"voice": {"a": 1}}, "the group 'voice' is"),
        ({"audio": ["a"]}, r"toy\.jsonl:2: audio is \['a'\], not the name of a file"),
        ({"answers": [5]}, r"the reference \(answers\) is empty or not text"),
    ],
)
def test_cells_of_another_type_are_refused_and_never_written_out(tmp_path, cell, message) -> None:
    rows = [ROWS[0], {**ROWS[1], **cell}]
    with pytest.raises(DataError, match=message):
        loaded_table(tmp_path, rows)


def loaded_table(folder: Path, rows: list[dict[str, Any]]) -> list[Any]:
    found = loaded(folder, ROWS[:2])
    assert len(found) == 2
    (folder / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = Catalog([folder]).task("toy", "mini")
    return list(data.load(task, folder / "cache", Silent(), need_audio=False).samples)


def test_groups_may_be_numbers_and_gaps(tmp_path) -> None:
    rows = [{**ROWS[0], "voice": 3}, {**ROWS[1], "voice": None}]
    assert [sample.groups["voice"] for sample in loaded_table(tmp_path, rows)] == ["3", "not known"]


# ---------------------------------------------------------------- args of adapters


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"delay": "x"}, "model m: adapter echo: argument delay is 'x', not of type float"),
        ({"delay": True}, "argument delay is True, not of type float"),
        ({"fail_ids": 5}, "argument fail_ids is 5, not of type list"),
        ({"memory_rows": 1.5}, "argument memory_rows is 1.5, not of type int"),
        ({"reply": 5}, "argument reply is 5, not of type str"),
        ({"replies": "x"}, "has no argument 'replies'; it takes reply, delay"),
    ],
)
def test_args_of_a_wrong_type_are_told_before_anything_is_asked(tmp_path, args, message) -> None:
    mini_task.model(tmp_path, "m", **args)
    catalog = Catalog([tmp_path])
    with pytest.raises(SpecError, match=message):
        catalog.adapter_for(catalog.model("m", "mini"))


def test_args_of_the_right_type_and_all_shipped_models_are_taken(tmp_path) -> None:
    mini_task.model(tmp_path, "m", delay=1, fail_ids=["a"], memory_rows=3, reply="x")
    catalog = Catalog([tmp_path])
    for name in ("m", "cascade", "oracle", "majority", "prior", "speaker-prior", "echo"):
        catalog.adapter_for(catalog.model(name, "mini"))


def test_weights_that_an_adapter_needs_are_asked_for(tmp_path) -> None:
    (tmp_path / "m.yaml").write_text("name: m\nadapter: cascade\ndescription: d\n")
    catalog = Catalog([tmp_path])
    with pytest.raises(SpecError, match="adapter cascade needs weights of the role asr; the model names none"):
        catalog.adapter_for(catalog.model("m", "mini"))
