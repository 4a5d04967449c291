"""A text for the label parser: its words, the gaps between them, and the labels in it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diva_bench.errors import SpecError
from diva_bench.scorers import negation, script
from diva_bench.text import APOSTROPHES

STRONG = re.compile(r"[.!?;…\n\r\u2028\u2029。！？｡؟۔।॥։]")
WEAK = re.compile(r"[,:()/|=>→—–‒―、，：（）・،؛]|--|\s-|-\s")
VALUE = re.compile(r"[:：=]")
"""Signs that end a sentence, signs that may separate clauses, and signs before a value."""
_NUMBER = re.compile(r"[+\-]?\d+(?:[.,]\d+)+|(?<![^\W_])-\d+")
_WRAPPED = re.compile(r"(?<=[^\W\d_])(?<!\? [Nn]o)[ \t]*\r?\n(?=[a-z])(?![^\n:=]{0,40}[:=])")
WRAP = "\v"
"""In a gap: a line break inside a sentence, which does not separate clauses but ends what is denied."""
_SIGNS = r"[+\-#*%&@<>=~^°$€£¥]+"  # can distinguish two labels: C++ and C#, A+ and A-
_LEAD, _TRAIL = re.compile(_SIGNS + r"\Z"), re.compile(_SIGNS)
_ANSWER_KEYS = frozenset(
    ("answer", "final_answer", "label", "emotion", "sentiment", "class", "category", "prediction", "result", "choice")
)
_FENCE = re.compile(r"\A\s*```\w*\s*\n(.*?)\n?```\s*\Z", re.DOTALL)
_COPULAS = frozenset("是为為はがも:：")
_AFTER_ONE = frozenset("的だでな")
# Arabic vowel signs and the stretching letter, Hebrew points, the dot of a Turkish i: the word is the same without
_LIGHT = re.compile("[\u064b-\u0652\u0670\u0640\u0591-\u05c7\u0307]")


@dataclass(frozen=True, slots=True)
class Token:
    """One word, or one character of a script without spaces.

    Attributes:
        gap: The text between the previous token and this one.
        raw: Its spelling in the text.
        touches: Whether nothing separates it from the previous token, not even a space.
    """

    text: str
    gap: str
    raw: str

    @property
    def touches(self) -> bool:
        return self.gap == ""


def value(text: str) -> str:
    """The text; if it is a JSON object with one answer among its keys, that answer."""
    fenced = _FENCE.match(text)
    body = (fenced[1] if fenced else text).strip()
    if not body.startswith("{"):
        return text
    try:
        tree: Any = json.loads(body)
    except (ValueError, RecursionError):
        return text
    values = [v for k, v in tree.items() if k.casefold() in _ANSWER_KEYS] if isinstance(tree, dict) else []
    return str(values[0]) if len(values) == 1 and isinstance(values[0], str | int | float) else text


def tokens(text: str) -> tuple[list[Token], str]:
    """(tokens of a text, the rest after the last one). NFKC, typographic apostrophes as "'", case folded, without format
    characters; 3.5 and -1 are one token, "l'ironie" is two."""
    text = _WRAPPED.sub(WRAP, unicodedata.normalize("NFKC", text.translate(APOSTROPHES)).replace("−", "-"))
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    result: list[Token] = []
    gap, i = "", 0
    while i < len(text):
        end = _word_end(text, i)
        if end == i:
            gap += text[i]
            i += 1
            continue
        word = text[i:end].strip("'")
        for part in _parts(word):
            result.append(Token(_LIGHT.sub("", unicodedata.normalize("NFC", part.casefold())), gap, part))
            gap = ""
        i = end
    return result, gap


def _word_end(text: str, start: int) -> int:
    """End of the word that begins at `start`; `start` itself if there is none."""
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
    """A word as tokens: split in scripts without spaces, and after an article or pronoun with an apostrophe."""
    head, apostrophe, rest = word.partition("'")
    if apostrophe and rest and head.casefold() in negation.ELISIONS:
        return [head, *_parts(rest)]
    return script.cut(word) if script.spaceless(word) else [word]


def parts_clauses(gap: str) -> bool:
    """Whether the gap between two tokens ends a clause."""
    return bool(WEAK.search(gap) or STRONG.search(gap))


def touching(words: Sequence[Token], place: int, step: int) -> list[str]:
    """The tokens next to a place, in the order of the text, up to the first gap, at most ten."""
    result: list[str] = []
    i = place - 1 if step < 0 else place
    while 0 <= i < len(words) and len(result) < 10:
        edge = i + 1 if step < 0 else i
        if edge >= len(words) or not words[edge].touches:
            break
        result.append(words[i].text)
        i += step
    return result[::step]


def key_of(phrase: str) -> tuple[str, ...]:
    """The form in which a phrase is compared; () if it has no letter or digit."""
    return tuple(token.text for token in tokens(phrase)[0])


def signs_of(phrase: str) -> tuple[str, str, str]:
    """The signs before the first letter or digit of a phrase, after the last one, and between its words: ("", "++", "")
    for C++."""
    words, tail = tokens(phrase.strip())
    lead, trail = _LEAD.search(words[0].gap if words else ""), _TRAIL.match(tail)
    return lead[0] if lead else "", trail[0] if trail else "", _inner(words)


def _inner(words: Sequence[Token]) -> str:
    return " ".join(token.gap.strip() for token in words[1:])


class Phrases:
    """Phrases of tokens, each with a value; the longest one at a place matches."""

    def __init__(self) -> None:
        self.table: dict[tuple[str, ...], str] = {}
        self._longest: dict[str, int] = {}  # first word -> length of its longest phrase

    def add(self, phrase: str, value: str) -> tuple[str, ...]:
        """The key of a phrase; () if it has no letter or digit. An existing entry stays."""
        key = key_of(phrase)
        if key:
            self.table.setdefault(key, value)
            self._longest[key[0]] = max(self._longest.get(key[0], 0), len(key))
        return key

    def at(self, words: Sequence[str], start: int) -> int:
        """Length of the longest phrase at `start`, 0 for none."""
        sizes = range(min(self._longest.get(words[start], 0), len(words) - start), 0, -1)
        return next((n for n in sizes if tuple(words[start : start + n]) in self.table), 0)


def phrases(entries: Iterable[str]) -> Phrases:
    """Entries of a table, each with itself as its value."""
    made: Phrases = Phrases()
    for entry in entries:
        made.add(entry, entry)
    return made


_ANSWERS, _LEADS = phrases(negation.ANSWERS), phrases(negation.LEADS)


def answer_start(words: Sequence[Token]) -> int:
    """Where an announced answer begins: after the last "final answer", else after the first "answer"."""
    texts = [token.text for token in words]
    for table, places in ((_LEADS, range(len(texts) - 1, -1, -1)), (_ANSWERS, range(len(texts)))):
        for i in places:
            end = i + (table.at(texts, i) or len(texts))
            if end < len(texts) and (VALUE.search(words[end].gap) or texts[end] in ("is", "是", "は")):
                return end if VALUE.search(words[end].gap) else end + 1
    return 0


class LabelPhrases:
    """The labels of a task and their synonyms as phrases. Raises SpecError if two of them are equal."""

    def __init__(self, choices: Sequence[str], synonyms: Mapping[str, str]) -> None:
        self._labels: Phrases = Phrases()
        self._forms: dict[tuple[str, ...], dict[tuple[str, str, str], str]] = {}  # key -> signs at its ends -> label
        self._loose: set[tuple[str, ...]] = set()  # labels with a sign inside
        self._names: set[tuple[str, ...]] = set()  # synonyms of labels
        for phrase, label in [(c, c) for c in choices] + list(synonyms.items()):
            key = self._labels.add(phrase, label)
            if not key:
                raise SpecError(f"{phrase!r} has no letters, so it cannot be found in an answer.")
            label_there = self._forms.setdefault(key, {}).setdefault(signs_of(phrase), label)
            if label_there != label:
                raise SpecError(f"{phrase!r} stands for two labels: {label_there} and {label}.")
            if phrase != label:
                self._names.add(key)
            if any(WEAK.search(t.gap) or STRONG.search(t.gap) for t in tokens(phrase.strip())[0][1:]):
                self._loose.add(key)
            if key[0] == "non" and len(key) > 1:
                self._labels.add("non" + " ".join(key[1:]), label)
        self._spoken: set[tuple[str, ...]] = set()  # yes and no in other languages
        self._add_spoken()

    def _add_spoken(self) -> None:
        """If yes and no are labels or synonyms of two labels, every yes and no in `negation` is another synonym."""
        labels_of_words = [self._labels.table.get((word,)) for word in ("yes", "no")]
        if None in labels_of_words or labels_of_words[0] == labels_of_words[1]:
            return
        for entries, label in zip((negation.YES, negation.NO), labels_of_words, strict=True):
            for entry in entries:
                if key_of(entry) not in self._labels.table:
                    self._spoken.add(self._labels.add(entry, str(label)))
        self._names |= self._spoken

    def is_label(self, text: str) -> bool:
        """Whether a text is a label and nothing else."""
        words, tail = tokens(text)
        return bool(words) and self.match(words, [t.text for t in words], 0, tail, japanese=False)[0] == len(words)

    def is_spoken(self, key: Sequence[str]) -> bool:
        """Whether a key is a yes or a no that the task does not list."""
        return tuple(key) in self._spoken

    def is_name(self, key: tuple[str, ...]) -> bool:
        """Whether a key is a synonym, not the label itself."""
        return key in self._names

    def contrary(self, key: tuple[str, ...]) -> str | None:
        """The label that means only that this one is denied."""
        ways = ((word, *key) for word in ("not", "non", "no", "不", "kein", "nicht"))
        joined = ("non" + key[0], *key[1:])
        return next((self._labels.table[way] for way in (*ways, joined) if way in self._labels.table), None)

    def match(
        self, words: Sequence[Token], texts: Sequence[str], start: int, tail: str, japanese: bool
    ) -> tuple[int, str]:
        """(length of the label at token `start`, that label); (0, "") for none.

        Args:
            words: The tokens.
            texts: Their texts.
            tail: The text after the last one.
            japanese: Whether the text has kana.
        """
        size = self._labels.at(texts, start)
        while size:
            key = tuple(texts[start : start + size])
            after = words[start + size].gap if start + size < len(words) else tail
            label, signed = self._by_signs(words[start : start + size], after, start + size < len(words))
            if label and self._stands(words, start, size, signed, japanese):
                return size, label
            size = next((n for n in range(size - 1, 0, -1) if key[:n] in self._labels.table), 0)
        return 0, ""

    def _by_signs(self, run: Sequence[Token], after: str, goes_on: bool) -> tuple[str | None, bool]:
        """(the label of a run of tokens by the signs that touch it, whether there are any signs).

        Args:
            after: The text after the run.
            goes_on: Whether another token follows.
        """
        key = tuple(token.text for token in run)
        forms = self._forms.get(key) or {("", "", ""): self._labels.table[key]}
        leads, trails = ("".join(form[side] for form in forms) for side in (0, 1))
        before = run[0].gap
        lead = before[len(before.rstrip(leads)) :] if leads else ""
        trail = after[: len(after) - len(after.lstrip(trails))] if trails else ""
        if trail and after == trail and goes_on:
            return None, False  # C++Builder, A-level
        fit = {inner: label for (first, last, inner), label in forms.items() if (first, last) == (lead, trail)}
        alone = len(set(forms.values())) == 1 and not (lead or trail)
        if not fit and alone and key[0][0].isdigit() and key[-1][-1].isdigit():
            fit = {inner: label for (_, _, inner), label in forms.items()}  # 50 for 50%
        only = next(iter(fit.values())) if len(set(fit.values())) == 1 else None
        return fit.get(_inner(run), only), bool(lead or trail)

    def _stands(self, words: Sequence[Token], start: int, size: int, signed: bool, japanese: bool) -> bool:
        run = words[start : start + size]
        key = tuple(token.text for token in run)
        if key not in self._loose and any(WEAK.search(t.gap) or STRONG.search(t.gap) for t in run[1:]):
            return False
        before, after = touching(words, start, -1), touching(words, start + size, 1)
        if size == 1 and script.script(run[0].text[0]) not in ("", "hangul"):
            copula = not before or (before[-1] in _COPULAS and before[-2:-1] not in (["还"], ["還"]))
            return copula and (not after or after[0] in _AFTER_ONE)
        if size == 1 and len(run[0].raw) == 1 and run[0].raw.isascii() and run[0].raw.isalpha():
            return signed or _letter(words, start)
        return script.whole(before, [token.text for token in run], after, japanese=japanese)


def _letter(words: Sequence[Token], i: int) -> bool:
    """Whether a single Latin letter is an answer and not an article or "I"."""
    following = words[i + 1] if i + 1 < len(words) else None
    if following is None or parts_clauses(following.gap):
        return True
    if words[i].text == "i" or words[i].raw.islower():
        return False
    opens = i == 0 or bool(STRONG.search(words[i].gap))
    return not opens or not following.raw[0].islower() or following.text in negation.NO_NOUNS
