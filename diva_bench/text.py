"""Named, versioned text normalisers. A change that can alter a score raises the version, which is part of signatures."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Normaliser:
    """A function str -> str with a name and a version."""

    name: str
    version: int
    apply: Callable[[str], str]

    def __call__(self, text: str) -> str:
        return self.apply(text)

    @property
    def signature(self) -> str:
        return f"{self.name}.v{self.version}"


class _ByCategory(dict[int, str]):
    """Translation table that maps a character by its Unicode category when the character first occurs.

    Punctuation (P), symbols (S), white space and controls become a space; invisible format characters (Cf: soft hyphen,
    joiners) are removed. Letters, digits and marks (M) stay, because without its marks a Tamil or Arabic word is
    another word.
    """

    def __missing__(self, code: int) -> str:
        kind = unicodedata.category(chr(code))
        self[code] = "" if kind == "Cf" else " " if kind[0] in "PSZ" or kind == "Cc" else chr(code)
        return self[code]


APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ´`′", "'"))
"""Characters that are used as an apostrophe."""
_STRIP = _ByCategory({ord("'"): "'"})


def _basic(text: str) -> str:
    # Apostrophes first: NFKC would turn an acute accent that stands for one into a space and a combining mark.
    # casefold, not lower: "Straße" is "STRASSE"; it can undo a composition, so that NFKC comes again.
    folded = unicodedata.normalize("NFKC", text.translate(APOSTROPHES)).casefold()
    folded = unicodedata.normalize("NFKC", folded).translate(_STRIP)
    return " ".join(word for word in (w.strip("'") for w in folded.split()) if word)


BASIC = Normaliser("basic", 2, _basic)
"""Unicode NFKC, case folded, punctuation and symbols to spaces except apostrophes inside words, collapse white space.
Numbers are not spelled out: "1,000" is two words."""


def words(text: str) -> tuple[str, ...]:
    """The words of a text after the normaliser BASIC."""
    return tuple(BASIC(text).split())


def contains(tokens: tuple[str, ...], run: tuple[str, ...]) -> bool:
    """Whether the tokens `run` (at least one) occur in `tokens` one after another."""
    size = len(run)
    return size > 0 and any(tokens[i : i + size] == run for i in range(len(tokens) - size + 1))
