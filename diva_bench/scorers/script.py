"""Scripts without spaces between words: their tokens, and where a word may begin and end.

Chinese, Japanese, Thai, Lao, Khmer, Burmese and Tibetan are split into characters with their marks. Korean has spaces
between words, but a word includes its particles and endings, so it is split into syllables. Word boundaries cannot be
found without a dictionary; `whole` finds places that cannot be one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

VERSION = 1
"""Bump it when the tokens of a text change."""

_RANGES = (
    ("han", 0x3005, 0x3007),
    ("hiragana", 0x3041, 0x309F),
    ("katakana", 0x30A1, 0x30FF),
    ("katakana", 0x31F0, 0x31FF),
    ("han", 0x3400, 0x4DBF),
    ("han", 0x4E00, 0x9FFF),
    ("han", 0xF900, 0xFAFF),
    ("han", 0x20000, 0x3FFFF),
    ("thai", 0x0E00, 0x0E7F),
    ("lao", 0x0E80, 0x0EFF),
    ("tibetan", 0x0F00, 0x0FFF),
    ("burmese", 0x1000, 0x109F),
    ("khmer", 0x1780, 0x17FF),
    ("hangul", 0x1100, 0x11FF),
    ("hangul", 0x3130, 0x318F),
    ("hangul", 0xAC00, 0xD7FF),
)
_LEADING_VOWELS = frozenset("เแโใไເແໂໃໄ")  # written before the consonant after which they are spoken
# continuations of a Korean noun or of a verb made from one: particles, the copula, "to do", "to become"
_ENDINGS = tuple(
    re.findall(
        r"\S+",
        "이 가 은 는 을 를 의 에 로 으로 와 과 도 만 요 야 아 여 랑 부터 까지 보다 처럼 께 한테 이다 입 인 이었 였 예 에요 "
        "하 합 해 했 한 함 할 히 되 된 됨 될 돼 됐 스러 스럽 롭 로운 적 님 들 뿐 밖 조차 마저 이나 나 라 이라 란 이란 지만",
    )
)
# Han characters that are a separate word before another one in Japanese; any other single one forms a compound
_JAPANESE_WORDS = frozenset("今超皆彼私僕俺君時人方者的度毎各最")


@cache
def script(character: str) -> str:
    """The script of a character, if it is written without spaces; "" for other characters."""
    code = ord(character)
    if unicodedata.category(character)[0] not in "LMN":
        return ""
    return next((name for name, first, last in _RANGES if first <= code <= last), "")


def spaceless(text: str) -> bool:
    """Whether a text has a character of such a script."""
    return any(script(c) for c in text)


def cut(word: str) -> list[str]:
    """A run of letters, marks and digits as tokens: whole runs of other scripts, single characters of these scripts, each
    with the marks after it."""
    pieces: list[str] = []
    before = ""
    for character in word:
        now = script(character)
        mark = unicodedata.category(character)[0] == "M"
        if pieces and (mark or (not now and not before)):
            pieces[-1] += character
            continue
        pieces.append(character)
        before = now
    return pieces


def whole(before: Sequence[str], run: Sequence[str], after: Sequence[str], *, japanese: bool = False) -> bool:
    """Whether a run of tokens may be separate words. It is not: within katakana; from the second syllable of a Korean word
    on, or before anything but a particle or an ending; after a Thai or Lao vowel that is written first; in Japanese
    next to a single Han character with which it forms a compound (大喜び, 不愉快, 幸福感).

    Args:
        before: Tokens that touch the run from the left, without a space or a sign between.
        run: The tokens.
        after: Tokens that touch it from the right.
        japanese: The text has kana.
    """
    first, last = script(run[0][0]), script(run[-1][0])
    if before and (previous := script(before[-1][0])):
        if first == previous and first in ("katakana", "hangul"):
            return False
        if before[-1][-1] in _LEADING_VOWELS:
            return False
        if japanese and first == "han" == previous and _alone(before[::-1]):
            return False
    if after and (following := script(after[0][0])):
        if last == following == "katakana":
            return False
        if last == following == "hangul" and not "".join(after).startswith(_ENDINGS):
            return False
        if japanese and last == "han" == following and _alone(after):
            return False
    return True


def _alone(tokens: Sequence[str]) -> bool:
    """Whether the first token is a single Han character that is not a word by itself."""
    if tokens[0] in _JAPANESE_WORDS:
        return False
    return len(tokens) < 2 or script(tokens[1][0]) != "han"
