"""What two short answers are compared by: the normalisation of the SQuAD v1.1 script, carried over to text it was not made for.

For plain English it is that script's `normalize_answer`, word for word: lower case, ASCII punctuation deleted, a, an, the
dropped. What differs, and why:

    signs       Typographic quotes, dashes, dots and full-width forms are read as what ASCII has for them; other punctuation parts
                words; composed and decomposed letters are the same; format characters vanish.
    numbers     1,000 is 1000, 3,5 is 3.5, .5 is 0.5. A sign inside a number stays: 3.5 is not 35, 9/11 not 911, -5 not 5.
    C++, A-     A plus or hash right behind a letter or digit stays, and a minus behind one letter or two capitals: C++ is not C,
                A- not A, AB- not AB, 18+ not 18. Not the hyphen of "A- Paris", which begins a line, nor one behind a longer word.
    scripts     Without spaces between words (zh, ja, th, lo, km, my, bo) and in Korean, a token is a character with its marks, as
                in the scripts of MLQA and KorQuAD. So 東京 contains 京: where words meet cannot be told without a dictionary,
                and `script.whole` refuses only what it can see.
    nothing     A reference of which the script leaves nothing ("A", "The", "+") keeps its words, then its signs.

`spread` is the reading for `contains`, which the script does not have: "London/Paris" is two words there, a percent or dollar
sign is a word that "percent" and "dollars" are too.
"""

from __future__ import annotations

import re
import string
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from diva_bench.scorers import script
from diva_bench.text import APOSTROPHES

VERSION: Final = 3
"""Bumped when a text would be read otherwise."""
SIGNATURE: Final = f"norm:squad.v{VERSION}.{script.VERSION}"

_ARTICLES = frozenset({"a", "an", "the"})
_ASCII = frozenset(string.punctuation)
_QUOTES = frozenset("“”„‟«»‹›‚‛″❝❞")
_KEPT = {
    sign: chr(0xF8D0 + i) for i, sign in enumerate("./:-,+#")
}  # signs that are part of a word, until all others are gone
_MINUS = chr(0xF8CF)
_SPACES = "\u00a0\u202f\u2009'"  # that some put between thousands

_THOUSANDS = re.compile(rf"(?<![\w.,])\d{{1,3}}(?:(?:,\d{{2,3}})*,\d{{3}}|(?:[{_SPACES}]\d{{3}})+)(?!\d)")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
_BARE_POINT = re.compile(r"(?<![\w.])\.(?=\d)")
_IN_NUMBER = re.compile(r"(?<=\d)[./:\-](?=\d)")
_WIDE = re.compile(r"(?<=\d)[．，：／－](?=\d)")  # of full width; elsewhere they part words
_NEGATIVE = re.compile(r"(?<![\w.)\]])-(?=\d)|\bminus (?=\d)", re.IGNORECASE)
_ATTACHED = re.compile(r"(?<=[^\W_])[+#]+(?!\w)|(?:(?<=\b[^\W\d_])|(?<=\b[A-Z]{2}))-(?![\w\-])")
_BULLET = re.compile(r"^(\W*[^\W\d_])- +(?=\w)", re.MULTILINE)
_EN_DASH = re.compile(r"(?<=\w)[‐‑‒–](?=\w)")
_DASHES = re.compile(r"[‐‑‒–—―⸺⸻]")

_AMOUNT = r"\d[^\s]*(?: (?:thousand|million|billion|trillion))?"
_PERCENT = re.compile(r"(?<=\d) ?(?:%|per ?cent\b)", re.IGNORECASE)
_CURRENCY = re.compile(rf"([$€£¥₹]) ?({_AMOUNT})", re.IGNORECASE)
_SPELLED = (
    (re.compile(rf"({_AMOUNT}) (?:us )?dollars?\b", re.IGNORECASE), "$"),
    (re.compile(rf"({_AMOUNT}) euros?\b", re.IGNORECASE), "€"),
    (re.compile(rf"({_AMOUNT}) yen\b", re.IGNORECASE), "¥"),
    (re.compile(rf"({_AMOUNT}) rupees?\b", re.IGNORECASE), "₹"),
)
_UNITS = dict(zip("%$€£¥₹", map(chr, range(0xF8E0, 0xF8E6)), strict=True))
_RUN_ON = re.compile(r"(?<=[^\W\d_])/(?=[^\W\d_])|--+|(?<=[^\W\d_A-Z])[.!?,;:](?=[A-Z])")
_SENTENCE = frozenset(".,;:!?'\"()-*_`")  # signs that any sentence may have
_VERBS = "is|was|because|seems|would|must|or|and"


@dataclass(frozen=True, slots=True)
class Reading:
    """The tokens of one text. `plain`: as the script has them; `full`: with the articles; `signs`: with the punctuation;
    `spread`: for `contains`, each with whether it touches the one before."""

    plain: tuple[str, ...]
    full: tuple[str, ...]
    signs: tuple[str, ...]
    spread: tuple[tuple[str, bool], ...]


@lru_cache(1 << 14)
def read(text: str) -> Reading:
    """A text as it is compared."""
    folded = _folded(text)
    full = _tokens(folded)
    spread = _tokens(_RUN_ON.sub(" ", _with_units(folded)))
    return Reading(
        plain=tuple(token for token, _ in full if token not in _ARTICLES),
        full=tuple(token for token, _ in full),
        signs=tuple(re.findall(r"\w+|[^\w\s]", unicodedata.normalize("NFC", text).casefold())),
        spread=tuple(token for token in spread if token[0] not in _ARTICLES),
    )


def exact(reading: Reading, reference: Reading) -> bool:
    """Whether an answer is the reference, neither of them nothing."""
    if reference.plain:
        return reading.plain == reference.plain
    if reference.full:
        return reading.full == reference.full
    return bool(reference.signs) and reading.signs in (reference.signs, (*reference.signs, "."))


def contains(text: str, reading: Reading, reference: Reading) -> bool:
    """Whether the reference stands in an answer, `text`, as consecutive whole tokens."""
    if exact(reading, reference):
        return True
    if reference.plain:
        return _stands(reading.spread, tuple(token for token, _ in reference.spread))
    if len(reference.full) == 1:
        return _no_article(reference.full[0], _folded(text))
    run, tokens = (reference.full, reading.full) if reference.full else (reference.signs, reading.signs)
    if not run or _SENTENCE.issuperset(run):
        return False  # a full stop stands in every answer
    return any(tokens[i : i + len(run)] == run for i in range(len(tokens) - len(run) + 1))


def _stands(tokens: tuple[tuple[str, bool], ...], run: tuple[str, ...]) -> bool:
    size, texts = len(run), tuple(token for token, _ in tokens)
    for i in range(len(texts) - size + 1) if size else ():
        if texts[i : i + size] == run:
            before = texts[i - 1 : i] if tokens[i][1] else ()
            end = i
            while end + 1 < len(tokens) and tokens[end + 1][1] and end < i + size + 8:
                end += 1
            if script.whole(before, run, texts[i + size : end + 1]):
                return True
    return False


def _no_article(word: str, text: str) -> bool:
    """Whether a word such as "A" stands in a text as an answer: no word follows it, or it is a capital inside a sentence, or
    one that a verb follows ("A is right")."""
    alone = rf"\b{word}\b(?!['’]\w)(?=[\s*_\"]*(?:$|\n|[^\w\s*_\"'#(+]))"
    capital = rf"(?<![.!?\n] )(?<![.!?\n])(?<!^)\b{word.capitalize()}\b(?= \w)"
    verb = rf"\b{word.capitalize()}\b(?=[*_\"]* (?:{_VERBS})\b)"
    return bool(re.search(alone, text, re.IGNORECASE) or re.search(capital, text) or re.search(verb, text))


# ---------------------------------------------------------------- from text to tokens


def _folded(text: str) -> str:
    """Signs as ASCII has them, case kept."""
    text = unicodedata.normalize("NFC", text.translate(APOSTROPHES))
    text = _WIDE.sub(lambda m: unicodedata.normalize("NFKC", m[0]), text)
    text = _THOUSANDS.sub(lambda m: re.sub(rf"[,{_SPACES}]", "", m[0]), text)
    text = _DASHES.sub(" ", _EN_DASH.sub("-", text.replace("−", "-")))
    return unicodedata.normalize("NFC", "".join(map(_plain, text)))


@lru_cache(1 << 16)
def _plain(character: str) -> str:
    kind = unicodedata.category(character)
    if character in _ASCII or character.isascii():
        return character
    if kind == "Cf" or character == "\ufe0f":
        return ""
    if character in _QUOTES:
        return '"'
    if character == "·":
        return ""
    if kind[0] == "P" or kind in ("Zs", "Zl", "Zp"):
        compatible = unicodedata.normalize("NFKC", character)
        return compatible if compatible in ("%", "#", "/") else " "
    if unicodedata.decomposition(character).startswith(("<super>", "<sub>", "<fraction>")):
        return character  # 10² is not 102
    return unicodedata.normalize("NFKC", character)


def _with_units(text: str) -> str:
    """Percent and currency signs as words behind their numbers, as they are where they are spelled."""
    text = _PERCENT.sub(f" {_UNITS['%']}", text)
    for spelled, sign in _SPELLED:
        text = spelled.sub(rf"\1 {_UNITS[sign]}", text)
    return _CURRENCY.sub(lambda m: f"{m[2].rstrip('.,;:!?')} {_UNITS[m[1]]} ", text)


def _tokens(text: str) -> list[tuple[str, bool]]:
    """(token, whether it touches the one before): ASCII punctuation is deleted but inside numbers and right behind letters."""
    text = _NEGATIVE.sub(_MINUS, _BARE_POINT.sub("0.", _DECIMAL_COMMA.sub(".", text)))
    text = _IN_NUMBER.sub(lambda m: _KEPT[m[0]], text)
    text = _BULLET.sub(r"\1 ", text)
    text = _ATTACHED.sub(lambda m: "".join(_KEPT[c] for c in m[0]), text)
    text = "".join(c for c in text if c not in _ASCII)
    text = unicodedata.normalize("NFC", text.casefold()).replace(
        "i\u0307", "i"
    )  # Turkish: a capital İ is two characters then
    result: list[tuple[str, bool]] = []
    for word in text.split():
        parts = script.cut(word) if script.spaceless(word) else [word]
        result += [(part, i > 0) for i, part in enumerate(parts)]
    return result
