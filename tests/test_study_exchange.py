"""Votes of others come in, ours go out and come back, and a file that is not right is refused in words."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from command_line import call

from diva_bench.errors import PredictionError, UserError
from diva_bench.study.exchange import as_document, into, read_votes
from diva_bench.study.store import Store
from diva_bench.study.votes import Vote

PUBLIC = Path(__file__).parents[2] / "shared" / "data" / "diva-eval" / "user_study.json"
SMALL = {"_default": {"1": {"audio_hash": "d538", "best": "qwen2"}, "2": {"audio_hash": "d538", "best": "diva"}}}


def written(folder: Path, content: Any, name: str = "votes.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_votes_of_the_diva_study_are_read_and_the_same_file_adds_nothing_twice(tmp_path: Path) -> None:
    written(tmp_path, SMALL, "user_study.json")
    first = call(tmp_path, "study", "import", "user_study.json", "s.sqlite")
    assert "2 of 2 votes added (the DiVA paper's study)" in first.stdout
    assert "0 of 2 votes added" in call(tmp_path, "study", "import", "user_study.json", "s.sqlite").stdout
    with Store(tmp_path / "s.sqlite") as store:
        assert [(v.item, v.systems, v.choice, v.rater, v.shown) for v in store.votes()] == [
            ("d538", ("diva", "qwen2"), "qwen2", None, None),
            ("d538", ("diva", "qwen2"), "diva", None, None),
        ]


def test_the_public_votes_are_374_of_522() -> None:
    if not PUBLIC.is_file():
        pytest.skip(f"the public votes are not here ({PUBLIC})")
    votes = read_votes(PUBLIC).votes
    assert Counter(vote.choice for vote in votes) == {"diva": 374, "qwen2": 148}


ROWS = [
    {"question_id": "q1", "model_a": "y", "model_b": "x", "winner": "model_a", "judge": "arena_user_1"},
    {"question_id": "q2", "model_a": "x", "model_b": "y", "winner": "tie (bothbad)", "judge": "arena_user_1"},
    {"question_id": "q3", "model_a": "x", "model_b": "z", "winner": "tie", "judge": "arena_user_2"},
]


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_pairs_as_chatbot_arena_publishes_them_are_read(tmp_path: Path, form: str) -> None:
    lines = [",".join(ROWS[0]), *(",".join(row.values()) for row in ROWS)]
    texts = {"json": json.dumps(ROWS), "jsonl": "\n".join(map(json.dumps, ROWS)), "csv": "\n".join(lines)}
    votes = read_votes(written(tmp_path, texts[form], f"arena.{form}")).votes
    assert [(v.item, v.shown, v.choice) for v in votes] == [
        ("q1", ("y", "x"), "y"),
        ("q2", ("x", "y"), "both_bad"),
        ("q3", ("x", "z"), "tie"),
    ]
    assert votes[0].rater == votes[1].rater != votes[2].rater
    assert "arena_user" not in str(votes)


def example(path: Path) -> Store:
    store = Store(path, create=True)
    store.enrol("a" * 32)
    store.enrol("b" * 32, simulated="qa")
    store.add([
        Vote("v1", "=1+2", ("x", "y"), "x", "a" * 32, ("y", "x"), None, "2026-01-01T00:00:00.000+00:00",
             "2026-01-01T00:00:04.500+00:00", versions={"diva-bench": "0.1"}),
        Vote("v2", "check", ("right", "wrong"), "wrong", "a" * 32, ("right", "wrong"), "right"),
        Vote("v3", "i", ("x", "y"), "tie", "b" * 32, ("x", "y"), simulated="qa"),
    ])  # fmt: skip
    store.add_answers([("i", "x", "Oslo <b>", None, ""), ("i", "y", "", None, "")])
    store.add_failures([("j", "x", "hangs <b>", "2026-01-01T00:00:00.000+00:00")])
    return store


def test_our_own_export_comes_back_with_nothing_lost(tmp_path: Path) -> None:
    with example(tmp_path / "a.sqlite") as store, Store(tmp_path / "b.sqlite", create=True) as other:
        assert into(other, read_votes(written(tmp_path, as_document(store)))) == 3
        assert other.votes() == store.votes()
        assert other.answers() == store.answers()
        assert into(other, read_votes(written(tmp_path, as_document(store)))) == 0
        query = "SELECT item, system, reason, at FROM failures"
        assert other.rows(query) == store.rows(query)


def test_the_csv_has_a_row_for_every_vote_that_no_spreadsheet_evaluates(tmp_path: Path) -> None:
    example(tmp_path / "a.sqlite").close()
    done = call(tmp_path, "study", "export", "a.sqlite", "-o", "a.csv")
    assert done.stdout == "a.csv: 3 votes.\n"
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [row["item"] for row in rows] == ["'=1+2", "check", "i"]
    assert [row["check"] for row in rows] == ["", "failed", ""]
    assert rows[0]["seconds"] == "4.5"
    assert rows[2]["simulated"] == "qa"


def test_votes_of_a_rater_who_withdrew_do_not_come_back_by_an_import(tmp_path: Path) -> None:
    with example(tmp_path / "a.sqlite") as store:
        found = read_votes(written(tmp_path, as_document(store)))
        store.withdraw("a" * 32)
        assert into(store, found) == 0
        assert [vote.id for vote in store.votes()] == ["v3"]


def test_another_vote_with_the_same_id_is_refused_and_nothing_of_the_file_is_added(tmp_path: Path) -> None:
    with example(tmp_path / "a.sqlite") as store:
        changed = json.loads(as_document(store))
        changed["votes"][0]["id"] = "new"
        changed["votes"][2]["choice"] = "x"
        with pytest.raises(UserError, match="another vote with the id 'v3'"):
            into(store, read_votes(written(tmp_path, changed)))
        assert len(store.votes()) == 3


GOOD = {"id": "1", "item": "i", "systems": ["x", "y"], "choice": "x"}
OWN: dict[str, Any] = {"format": "diva-bench study", "version": 1, "answers": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ([1, 2], "is no file of votes that is known. Allowed: an export"),
        ({"votes": []}, "is no file of votes that is known"),
        ({"_default": {}}, "best names 0 systems"),
        (
            {"_default": {"1": {"audio_hash": 3, "best": "x"}, "2": {"audio_hash": "h", "best": "y"}}},
            "row '1' must have",
        ),
        (OWN | {"version": 7, "votes": []}, "version 7 of the export; this diva-bench reads 1"),
        (OWN | {"votes": []}, "has no votes"),
        (OWN | {"votes": {}}, "votes must be a list"),
        (OWN | {"votes": [GOOD | {"extra": 1}]}, "vote 1: extra is not a known key"),
        (OWN | {"votes": [GOOD | {"id": 5}]}, "vote 1: id must be text"),
        (OWN | {"votes": [GOOD | {"choice": "z\x1b"}]}, "x1b' is none of its systems"),
        (OWN | {"votes": [GOOD | {"systems": ["y", "x"]}]}, "two or more different names, sorted"),
        (OWN | {"votes": [GOOD | {"shown": ["x", "z"]}]}, "shown must have the same systems"),
        (OWN | {"votes": [GOOD | {"rater": "Ann Smith"}]}, "rater must be 32 hexadecimal digits"),
        (OWN | {"votes": [GOOD | {"item": "i" * 300}]}, "text of 1 to 200 characters"),
        (OWN | {"votes": [GOOD | {"shown_at": "yesterday", "at": "today"}]}, "times in ISO 8601"),
        (OWN | {"votes": [GOOD, GOOD]}, "two votes have the id '1'"),
        (OWN | {"votes": [GOOD], "answers": [{"item": "i"}]}, "answer 1: must have the texts"),
        (
            OWN | {"votes": [GOOD], "failures": [{"item": "i"}]},
            "failure 1: must have the texts item, system, reason and at",
        ),
        ([{"model_a": "x", "model_b": "y", "winner": "z"}], "winner is 'z' for 'x' and 'y'"),
        ([{"model_a": "x", "model_b": "x", "winner": "model_a"}], "two different models"),
        ([{"model_a": "tie", "model_b": "y", "winner": "tie"}], "model_a must be text"),
    ],
)
def test_a_file_that_is_not_right_is_refused_in_words(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(PredictionError, match=message):
        read_votes(written(tmp_path, content))


def test_a_rater_is_withdrawn_by_name_or_hash_only_with_yes(tmp_path: Path) -> None:
    with example(tmp_path / "a.sqlite") as store:
        store.enrol(store.hashed("ann"))
    asked = call(tmp_path, "study", "withdraw", "a.sqlite", "ann")
    assert asked.returncode == 2
    assert "has 0 votes of this rater. Nothing was deleted. Deletion cannot be undone: give --yes" in asked.stderr
    for words, said in ((("ann", "--yes"), "0 votes"), (("a" * 32, "--yes"), "2 votes"), (("eve", "--yes"), "")):
        done = call(tmp_path, "study", "withdraw", "a.sqlite", *words)
        assert said in done.stdout
        assert done.returncode == (0 if said else 2)


def test_an_export_with_another_ending_is_refused(tmp_path: Path) -> None:
    example(tmp_path / "a.sqlite").close()
    assert "Allowed: .json, .csv" in call(tmp_path, "study", "export", "a.sqlite", "-o", "a.xlsx").stderr
