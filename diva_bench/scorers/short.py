"""Normalisation of short answers: that of the SQuAD v1.1 script, extended to other kinds of text.

For plain English it equals `normalize_answer` of that script: lower case, without ASCII punctuation, without a, an,
the. Differences:

    signs       Typographic quotes, dashes, dots and full-width forms become ASCII; other punctuation separates words;
                composed and decomposed letters are equal; format characters are removed.
    numbers     1,000 is 1000, 3,5 is 3.5, .5 is 0.5. A sign inside a number stays: 3.5 is not 35, 9/11 not 911, -5 not 5.
    C++, A-     A plus or hash after a letter or digit stays, and a minus after one letter or two capitals: C++ is not C,
                A- not A, AB- not AB, 18+ not 18. The hyphen of "A- Paris" at the beginning of a line is removed, and so is
                one after a longer word.
    scripts     In scripts without spaces between words (zh, ja, th, lo, km, my, bo) and in Korean, a token is a character
                with its marks, as in the scripts of MLQA and KorQuAD. So 東京 contains 京: word boundaries need a
                dictionary, and `script.whole` excludes only some places.
    nothing     A reference that the script would empty ("A", "The", "+") keeps its words, else its signs.

`spread` is the form for `contains`, which the script does not have: there "London/Paris" is two words, and a percent or
dollar sign equals the word "percent" or "dollars".
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
"""Bump it when the normalisation of a text changes."""
SIGNATURE: Final = f"norm:squad.v{VERSION}.{script.VERSION}"

_ARTICLES = frozenset({"a", "an", "the"})
_ASCII = frozenset(string.punctuation)
_QUOTES = frozenset("“”„‟«»‹›‚‛″❝❞")
_PLACEHOLDERS = {
    sign: chr(0xF8D0 + i) for i, sign in enumerate("./:-,+#")
}  # placeholders of signs inside words while other signs are removed
_MINUS = chr(0xF8CF)
_SPACES = "\u00a0\u202f\u2009'"  # separators of thousands

_THOUSANDS = re.compile(rf"(?<![\w.,])\d{{1,3}}(?:(?:,\d{{2,3}})*,\d{{3}}|(?:[{_SPACES}]\d{{3}})+)(?!\d)")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
_BARE_POINT = re.compile(r"(?<![\w.])\.(?=\d)")
_IN_NUMBER = re.compile(r"(?<=\d)[./:\-](?=\d)")
_WIDE = re.compile(r"(?<=\d)[．，：／－](?=\d)")  # full-width forms, which separate words elsewhere
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
_SENTENCE = frozenset(".,;:!?'\"()-*_`")  # ordinary signs of a sentence
_VERBS = "is|was|because|seems|would|must|or|and"


@dataclass(frozen=True, slots=True)
class Reading:
    """The tokens of one text.

    Attributes:
        plain: As in the SQuAD script.
        full: With articles.
        signs: With punctuation.
        spread: For `contains`: (token, whether it touches the previous one).
    """

    plain: tuple[str, ...]
    full: tuple[str, ...]
    signs: tuple[str, ...]
    spread: tuple[tuple[str, bool], ...]


@lru_cache(1 << 14)
def read(text: str) -> Reading:
    """The normalised forms of a text."""
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
    """Whether an answer equals the reference; false if both are empty."""
    if reference.plain:
        return reading.plain == reference.plain
    if reference.full:
        return reading.full == reference.full
    return bool(reference.signs) and reading.signs in (reference.signs, (*reference.signs, "."))


def contains(text: str, reading: Reading, reference: Reading) -> bool:
    """Whether the tokens of the reference occur in the answer `text` one after another."""
    if exact(reading, reference):
        return True
    if reference.plain:
        return _stands(reading.spread, tuple(token for token, _ in reference.spread))
    if len(reference.full) == 1:
        return _no_article(reference.full[0], _folded(text))
    run, tokens = (reference.full, reading.full) if reference.full else (reference.signs, reading.signs)
    if not run or _SENTENCE.issuperset(run):
        return False  # every answer may have a full stop
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
    """Whether a word such as "A" in a text is an answer: no word follows it, it is a capital inside a sentence, or a verb
    follows it ("A is right")."""
    alone = rf"\b{word}\b(?!['’]\w)(?=[\s*_\"]*(?:$|\n|[^\w\s*_\"'#(+]))"
    capital = rf"(?<![.!?\n] )(?<![.!?\n])(?<!^)\b{word.capitalize()}\b(?= \w)"
    verb = rf"\b{word.capitalize()}\b(?=[*_\"]* (?:{_VERBS})\b)"
    return bool(re.search(alone, text, re.IGNORECASE) or re.search(capital, text) or re.search(verb, text))


# ---------------------------------------------------------------- from text to tokens


def _folded(text: str) -> str:
    """The text with ASCII signs; case is kept."""
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
    """Percent and currency signs as words after their numbers, as if they were spelled out."""
    text = _PERCENT.sub(f" {_UNITS['%']}", text)
    for spelled, sign in _SPELLED:
        text = spelled.sub(rf"\1 {_UNITS[sign]}", text)
    return _CURRENCY.sub(lambda m: f"{m[2].rstrip('.,;:!?')} {_UNITS[m[1]]} ", text)


def _tokens(text: str) -> list[tuple[str, bool]]:
    """(token, whether it touches the previous one). ASCII punctuation is deleted, except inside numbers and after
    letters."""
    text = _NEGATIVE.sub(_MINUS, _BARE_POINT.sub("0.", _DECIMAL_COMMA.sub(".", text)))
    text = _IN_NUMBER.sub(lambda m: _PLACEHOLDERS[m[0]], text)
    text = _BULLET.sub(r"\1 ", text)
    text = _ATTACHED.sub(lambda m: "".join(_PLACEHOLDERS[c] for c in m[0]), text)
    text = "".join(c for c in text if c not in _ASCII)
    text = unicodedata.normalize("NFC", text.casefold()).replace(
        "i\u0307", "i"
    )  # the Turkish capital İ becomes two characters
    result: list[tuple[str, bool]] = []
    for word in text.split():
        parts = script.cut(word) if script.spaceless(word) else [word]
        result += [(part, i > 0) for i, part in enumerate(parts)]
    return result
