"""Normalisers: what counts as the same text."""

import pytest

from diva_bench.text import BASIC, contains, words


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Hello, World!", "hello world"),
        ("don't DON’T don´t don`t", "don't don't don't don't"),
        ("'quoted' rock 'n' roll students'", "quoted rock n roll students"),
        ("well-known 3.5", "well known 3 5"),
        ("ﬁne ＡＢＣ", "fine abc"),  # compatibility forms
        ("cafe\u0301", "café"),
        ("soft\u00adhyphen می\u200cخواهم", "softhyphen میخواهم"),  # invisible characters are not word ends
        ("தமிழ் மொழி", "தமிழ் மொழி"),  # vowel signs and the virama are marks and stay
        ("a_b **c** $5 €6", "a b c 5 6"),
        ("街角的 面包店。", "街角的 面包店"),
        ("Straße", "strasse"),
        ("STRASSE", "strasse"),
        ("ΟΔΟΣ", "οδοσ"),
        ("οδος", "οδοσ"),
        ("\t\n ", ""),
    ],
)
def test_basic_keeps_words_and_drops_punctuation(text: str, wanted: str) -> None:
    assert BASIC(text) == wanted
    assert BASIC(wanted) == wanted


def test_words_are_those_of_the_basic_normaliser() -> None:
    assert words("It's **Not** sarcastic/sincere!") == ("it's", "not", "sarcastic", "sincere")


@pytest.mark.parametrize(
    ("run", "wanted"), [("b c", True), ("a", True), ("c d", True), ("a c", False), ("", False), ("a b c d e", False)]
)
def test_contains_wants_consecutive_whole_tokens(run: str, wanted: bool) -> None:
    assert contains(("a", "b", "c", "d"), tuple(run.split())) is wanted


def test_the_signature_carries_name_and_version() -> None:
    assert BASIC.signature == "basic.v2"
