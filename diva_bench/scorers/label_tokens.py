"""A text as the label parser compares it: its words, and what stands between them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from diva_bench import script
from diva_bench.scorers import negation
from diva_bench.text import APOSTROPHES

_NUMBER = re.compile(r"[+\-−]?\d+(?:[.,]\d+)+|(?<![^\W_])[\-−]\d+")
_WRAPPED = re.compile(r"(?<=[^\W\d_])[ \t]*\r?\n(?=[a-z])")  # a sentence that goes on in the next line
# Arabic vowel signs and the stretching letter, Hebrew points, the dot of a Turkish i: the word is the same without
_LIGHT = re.compile("[\u064b-\u0652\u0670\u0640\u0591-\u05c7\u0307]")


@dataclass(frozen=True, slots=True)
class Token:
    """One word, or one character of a script without spaces. `gap`: what stands between it and the token before; `raw`: as
    it was written; `touches`: whether nothing, no space either, parts it from the token before."""

    text: str
    gap: str
    raw: str

    @property
    def touches(self) -> bool:
        return self.gap == ""


def tokens(text: str) -> tuple[list[Token], str]:
    """(the tokens of a text, what follows the last one). NFKC, typographic apostrophes as "'", case folded, format characters
    dropped; 3.5 and -1 are one token, "l'ironie" is two."""
    text = _WRAPPED.sub(" ", unicodedata.normalize("NFKC", text.translate(APOSTROPHES)))
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    found: list[Token] = []
    gap, i = "", 0
    while i < len(text):
        end = _word_end(text, i)
        if end == i:
            gap += text[i]
            i += 1
            continue
        word = text[i:end].strip("'")
        for part in _parts(word):
            found.append(Token(_LIGHT.sub("", unicodedata.normalize("NFC", part.casefold())), gap, part))
            gap = ""
        i = end
    return found, gap


def _word_end(text: str, start: int) -> int:
    """Where the word that begins at `start` ends; `start` itself if none does."""
    number = _NUMBER.match(text, start)
    if number:
        return number.end()
    i = start
    while i < len(text) and (_in_word(text[i]) or (text[i] == "'" and i > start and _in_word(text[i + 1 : i + 2]))):
        i += 1
    return i


def _in_word(character: str) -> bool:
    return character != "" and unicodedata.category(character)[0] in "LMN"


def _parts(word: str) -> list[str]:
    """A word as tokens: cut in scripts without spaces, and behind an article or pronoun that has lost its vowel."""
    head, apostrophe, rest = word.partition("'")
    if apostrophe and rest and head.casefold() in negation.ELISIONS:
        return [head, *_parts(rest)]
    return script.cut(word) if script.spaceless(word) else [word]


def key_of(phrase: str) -> tuple[str, ...]:
    """What a phrase is compared by; () where it has no letter or digit."""
    return tuple(token.text for token in tokens(phrase)[0])


class Phrases:
    """Phrases of tokens, each with a value; the longest one that stands at a place is found."""

    def __init__(self) -> None:
        self.table: dict[tuple[str, ...], str] = {}
        self._longest = 0

    def add(self, phrase: str, value: str) -> tuple[str, ...]:
        """The key of a phrase; () where it has no letter or digit. What was there before stays."""
        key = key_of(phrase)
        if key:
            self.table.setdefault(key, value)
            self._longest = max(self._longest, len(key))
        return key

    def at(self, words: Sequence[str], start: int) -> int:
        """Length of the longest phrase at `start`, 0 for none."""
        sizes = range(min(self._longest, len(words) - start), 0, -1)
        return next((n for n in sizes if tuple(words[start : start + n]) in self.table), 0)
