"""tasks/mini-languages: what its README states about texts, languages, clusters, voices and answers is so."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from test_mini_data import SETS, make, rows

from diva_bench.catalog import Catalog
from diva_bench.data import dataset
from diva_bench.scorers import primary, short
from diva_bench.scorers.language import scripts
from diva_bench.specs import prompt

__all__ = ["make"]  # the fixture

LANGUAGES = {  # language -> its main script, and the signs with which a sentence may end
    "es": ("LATIN", ".?"),
    "fr": ("LATIN", ".?"),
    "hi": ("DEVANAGARI", "।?"),
    "it": ("LATIN", ".?"),
    "ja": ("KANA", "。"),
    "pt-BR": ("LATIN", ".?"),
    "zh": ("HAN", "。？"),
    "sw": ("LATIN", ".?"),
    "ta": ("TAMIL", ".?"),
    "cy": ("LATIN", ".?"),
}
PARTS = ("questions", "translation")


def of(part: str, language: str) -> list[dict[str, Any]]:
    return [row for row in rows("mini-languages", part) if row["language"] == language]


@pytest.mark.parametrize("part", PARTS)
def test_rows_have_their_columns_a_balance_and_voices_of_their_language(make, part: str) -> None:
    faults = list(make.set_faults("mini-languages", part, rows("mini-languages", part)))
    assert faults == []
    assert {row["licence"] for row in rows("mini-languages", part)} == {"CC0-1.0"}
    assert set(make.LANGUAGES) == set(LANGUAGES)


def test_a_wrong_voice_or_mark_is_a_fault(make) -> None:
    spec = make.SETS["mini-languages"]["questions"]
    row = of("questions", "sw")[0]
    assert list(make.row_faults(row, "questions", spec)) == []
    assert list(make.row_faults(row | {"voice": "ef_dora"}, "questions", spec)) == [
        "language sw spoken by ef_dora",
        "ef_dora marked as robotic",
    ]


@pytest.mark.parametrize(("part", "mark"), [("questions", "q"), ("translation", "s")])
def test_every_language_has_the_same_24_clusters_with_the_same_english(part: str, mark: str) -> None:
    english = "english" if part == "questions" else "en"
    first = {row["cluster"]: (row[english], row.get("answers")) for row in of(part, "es")}
    assert list(first) == [f"{mark}{i:02}" for i in range(1, 25)]
    for language in LANGUAGES:
        assert {row["cluster"]: (row[english], row.get("answers")) for row in of(part, language)} == first
        ids = [row["id"] for row in of(part, language)]
        assert ids == [f"{part}-{language}-{cluster}" for cluster in first]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("part", PARTS)
def test_a_text_is_in_the_script_of_its_language_and_can_be_spoken(part: str, language: str) -> None:
    script, ends = LANGUAGES[language]
    for row in of(part, language):
        text = row["text"]
        counts = scripts(text)
        allowed = {"HAN", "KANA"} if language == "ja" else {script}
        assert set(counts) <= allowed, row["id"]
        assert not re.search(r"\d", text), row["id"]
        assert text[-1] in ends, row["id"]
        assert text == " ".join(text.split()), row["id"]
    assert not any(row["text"].endswith(("?", "？")) for row in of("translation", language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_accepted_answer_stands_in_its_question(language: str) -> None:
    for row in of("questions", language):
        for asked in (row["text"], row["english"]):
            reading = short.read(asked)
            assert not [a for a in row["answers"] if short.contains(asked, reading, short.read(a))], row["id"]


def test_answers_are_different_and_numbers_have_both_forms() -> None:
    for row in of("questions", "es"):
        assert len(set(row["answers"])) == len(row["answers"])
        figures = [answer for answer in row["answers"] if answer.isdecimal()]
        assert not figures or len(row["answers"]) >= 2


def test_no_text_is_in_both_parts_or_twice_or_in_the_english_mini_sets() -> None:
    texts = [row["text"] for part in PARTS for row in rows("mini-languages", part)]
    assert [text for text, count in Counter(texts).items() if count > 1] == []

    def plain(text: str) -> str:
        return " ".join(re.findall(r"\w+", text.lower()))

    ours = {plain(row["english"]) for row in of("questions", "es")} | {
        plain(row["en"]) for row in of("translation", "es")
    }
    assert len(ours) == 48
    theirs = {plain(row["text"]) for edition in ("mini", "mini-v1") for name in SETS for row in rows(edition, name)}
    assert ours & theirs == set()


@pytest.mark.parametrize(("name", "part"), [("languages-questions", "questions"), ("languages-to-en", "translation")])
def test_the_tasks_fit_the_data_their_metric_ranks_and_recognisers_are_told_the_language(name: str, part: str) -> None:
    catalog = Catalog()
    for leaf in (name, *(f"{name}-{language}" for language in LANGUAGES)):
        task = catalog.task(leaf, "mini")
        samples = dataset.check(task)
        assert len(samples) == task.data.rows == (240 if leaf == name else 24)
        assert len({sample.cluster for sample in samples}) == 24
        primary.check_primary(task, catalog.scorers(task), samples[:2])
        for sample in samples:
            assert prompt.build(task, sample, frozenset()).speech_language == sample.fields["language"]
    assert len(samples) == len(of(part, "cy"))
