"""tasks/mini and tasks/mini-v1: what their READMEs state about texts, labels, clusters, voices and clips is so."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SETS = ("covost2", "heysquad", "sdqa", "iemocap", "meld", "mustard", "urfunny")
EDITIONS = ("mini", "mini-v1")


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_mini", ROOT / "tasks" / "mini" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def rows(edition: str, name: str) -> list[dict[str, Any]]:
    lines = (ROOT / "tasks" / edition / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("edition", EDITIONS)
def test_rows_have_their_columns_a_balance_and_voices_that_are_shared_out(
    make: ModuleType, edition: str, name: str
) -> None:
    assert list(make.set_faults(edition, name, rows(edition, name))) == []


@pytest.mark.parametrize("name", ["iemocap", "meld", "mustard", "urfunny"])
def test_labels_are_the_choices_of_the_task_equally_often(name: str) -> None:
    choices = yaml.safe_load((ROOT / "tasks" / f"{name}.yaml").read_text(encoding="utf-8"))["choices"]
    counts = Counter(row["label"] for row in rows("mini", name))
    assert set(counts) == set(choices)
    assert len(set(counts.values())) == 1


@pytest.mark.parametrize("name", ["mustard", "urfunny"])
def test_a_pair_has_both_labels_and_one_voice(name: str) -> None:
    pairs: dict[str, list[dict[str, Any]]] = {}
    for row in rows("mini", name):
        pairs.setdefault(row["cluster"], []).append(row)
    assert len(pairs) == 60
    for pair in pairs.values():
        assert len({row["label"] for row in pair}) == 2
        assert len({row["voice"] for row in pair}) == 1


def test_the_first_answer_stands_in_its_passage() -> None:
    questions = rows("mini", "heysquad")
    assert [row["id"] for row in questions if row["answers"][0] not in row["context"]] == []
    assert set(Counter(row["context"] for row in questions).values()) == {4}


def test_a_question_of_sdqa_is_the_same_in_every_accent() -> None:
    for edition, count in (("mini-v1", 8), ("mini", 24)):
        asked: dict[str, list[dict[str, Any]]] = {}
        for row in rows(edition, "sdqa"):
            asked.setdefault(row["question"], []).append(row)
        assert len(asked) == count
        for same in asked.values():
            assert len({(row["text"], *row["answers"]) for row in same}) == 1
            assert len({row["accent"] for row in same}) == 6


@pytest.mark.parametrize(("language", "ends"), [("de", ".!?"), ("zh-CN", "。！？"), ("ja", "。！？")])
def test_translations_end_as_sentences_of_their_language(language: str, ends: str) -> None:
    for row in rows("mini", "covost2"):
        text = row[language]
        assert text.rstrip('“”"»«」』')[-1] in ends, row["id"]
        if language != "de":
            assert not re.search("[A-Za-z]", text), row["id"]


def test_no_text_is_in_both_versions_or_twice_in_one() -> None:
    def spoken(edition: str) -> list[str]:
        one_accent = [row for name in SETS for row in rows(edition, name) if row.get("accent", "usa") == "usa"]
        return [" ".join(re.findall(r"\w+", row["text"].lower())) for row in one_accent]

    first, second = spoken("mini-v1"), spoken("mini")
    assert len(set(second)) == len(second) > 1000
    assert set(first) & set(second) == set()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("edition", EDITIONS)
def test_a_task_has_as_many_rows_and_labels_as_its_data(edition: str, name: str) -> None:
    data = yaml.safe_load((ROOT / "tasks" / f"{name}.yaml").read_text(encoding="utf-8"))["editions"][edition]
    assert data["path"] == f"{edition}/{name}.jsonl"
    assert data["rows"] == len(rows(edition, name))
    assert data.get("labels", {}) == Counter(row["label"] for row in rows(edition, name) if "label" in row)
