"""Which one label of a closed set a text names: the strict parser of label tasks, of judges and of imported answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from diva_bench import script
from diva_bench.errors import SpecError
from diva_bench.scorers import negation
from diva_bench.scorers.label_tokens import Phrases, Token, tokens

VERSION: Final = 2
"""Bumped when the same text would be read otherwise."""
SIGNATURE: Final = f"parser:v{VERSION}.{negation.VERSION}.{script.VERSION}"

_STRONG = re.compile(r"[.!?;…\n\r\u2028\u2029。！？｡؟۔।॥։]")
_WEAK = re.compile(r"[,:()/|=>→—–‒―、，：（）・،؛]|--|\s-|-\s")
_ASKS = re.compile(r"[?？؟]")
_ANSWER_KEYS = (
    "answer",
    "final_answer",
    "label",
    "emotion",
    "sentiment",
    "class",
    "category",
    "prediction",
    "result",
    "choice",
)
_FENCE = re.compile(r"\A\s*```\w*\s*\n(.*?)\n?```\s*\Z", re.DOTALL)
_SHORT = 3  # words of a member of a list
_COPULAS = frozenset("是为為はがも:：")
_AFTER_ONE = frozenset("的だでな")


def _phrases(entries: Iterable[str]) -> Phrases:
    made: Phrases = Phrases()
    for entry in entries:
        if entry.strip():
            made.add(entry, entry.strip())
    return made


_FORWARD, _BACKWARD = _phrases(negation.FORWARD), _phrases(negation.BACKWARD)
_IDIOMS, _BREAKS = _phrases(negation.IDIOMS), _phrases(negation.BREAKS)
_YES, _NO = _phrases(negation.YES), _phrases(negation.NO)
_LONGEST_NO = max(len(key) for key in _NO.table)


@dataclass(slots=True)
class Mention:
    """A label that stands in a text: tokens `start` to `end`."""

    start: int
    end: int
    key: tuple[str, ...]
    denied: bool = False
    contrary: bool = False
    """Denied in plain words, so that its contrary is said: "not sarcastic", and not "hardly sarcastic"."""
    answers: bool = False
    """It is a yes or a no that stands by itself."""


@dataclass(slots=True)
class _Scope:
    """What a negation denies from here on."""

    plain: bool
    wide: bool
    denied: int = 0
    words: int = 0
    aside: bool = False
    """Between two commas: "not, I think, happy"."""
    opened: bool = False
    """Behind "think", "say", ...: the clause that is denied has no verb yet."""


class Parser:
    """Finds the one label that a text names, or None.

    How labels are found. Words are compared whole, case folded, after NFKC, without accents of Arabic or Hebrew vowels; a
    label of several words must stand as such, and the longest one wins. In scripts without spaces (Chinese, Japanese, Thai,
    Lao, Khmer, Burmese, Korean) a label is found inside a sentence where `script.whole` does not see a longer word; a label
    of one such character only where it stands alone. A label of one Latin letter is no article and no pronoun ("A dog").

    What denies. A label in the scope of a negation is not counted (see `negation` for the words, in some 40 languages):
    1. A negation ("not", "isn't", "hardly", "rather than", "不", "ไม่") denies what follows, to the end of its clause: a full
       stop, a "but" or "because", a comma behind something denied, a new subject and verb. A list that ends in "or" is denied
       whole. "I don't think ..." denies the clause that follows.
    2. A negation behind its label denies it where the language has it so (değil, ない, 않), where the label is its subject
       ("sarcasm is absent"), and where it ends the clause ("sarcastic it is not", "sarcastic or not", "sarcasm-free").
    3. A clause of nothing but a denial denies the one before it: "Sarcastic? No.", "sarcastic: no", "I don't think so."
    4. "no doubt", "not only", "不仅" deny nothing; "anything but" and "too serious to be" do.

    What counts. A yes or no that is a label (or a synonym) and opens the text decides ("No, the speaker isn't sarcastic");
    elsewhere it counts where it stands by itself. Then exactly one label must be left: two and more, none, or one that is
    both said and denied are None. Where only a denial is left and its contrary is a label ("not sarcastic",
    "non-humorous"), that is named. Of a JSON object with one key such as "answer" or "label", its value is read.
    """

    def __init__(self, choices: Sequence[str], synonyms: Mapping[str, str]) -> None:
        self._labels: Phrases = Phrases()
        self._loose: set[tuple[str, ...]] = set()  # labels with a sign inside, which a text may part likewise
        for phrase, label in [(c, c) for c in choices] + list(synonyms.items()):
            key = self._labels.add(phrase, label)
            if not key:
                raise SpecError(f"{phrase!r} has no letters, so it cannot be found in an answer.")
            if self._labels.table[key] != label:
                raise SpecError(f"{phrase!r} stands for two labels: {self._labels.table[key]} and {label}.")
            if any(_WEAK.search(t.gap) or _STRONG.search(t.gap) for t in tokens(phrase.strip())[0][1:]):
                self._loose.add(key)
            if key[0] == "non" and len(key) > 1:
                self._labels.add("non" + " ".join(key[1:]), label)

    def parse(self, text: str) -> str | None:
        """The label, as it stands among the choices."""
        return _Reading(self, *tokens(_value(text))).label()

    def named(self, key: tuple[str, ...]) -> str:
        """The label of a key."""
        return self._labels.table[key]

    def contrary(self, key: tuple[str, ...]) -> str | None:
        """The label that says no more than that this one is denied."""
        ways = ((word, *key) for word in ("not", "non", "no", "不", "kein", "nicht", "non"))
        joined = ("non" + key[0], *key[1:])
        return next((self._labels.table[way] for way in (*ways, joined) if way in self._labels.table), None)

    def found(self, words: Sequence[Token], texts: Sequence[str], start: int, japanese: bool) -> int:
        """Length of the label at `start`, 0 for none."""
        size = self._labels.at(texts, start)
        while size:
            if self._stands(words, start, size, japanese):
                return size
            size = next((n for n in range(size - 1, 0, -1) if tuple(texts[start : start + n]) in self._labels.table), 0)
        return 0

    def _stands(self, words: Sequence[Token], start: int, size: int, japanese: bool) -> bool:
        run = words[start : start + size]
        key = tuple(token.text for token in run)
        if key not in self._loose and any(_WEAK.search(t.gap) or _STRONG.search(t.gap) for t in run[1:]):
            return False
        before, after = _touching(words, start, -1), _touching(words, start + size, 1)
        if size == 1 and script.script(run[0].text[0]) not in ("", "hangul"):
            return (not before or before[-1] in _COPULAS) and (not after or after[0] in _AFTER_ONE)
        if size == 1 and len(run[0].raw) == 1 and run[0].raw.isascii() and run[0].raw.isalpha():
            return _letter(words, start)
        return script.whole(before, [token.text for token in run], after, japanese=japanese)


def _touching(words: Sequence[Token], place: int, step: int) -> list[str]:
    """The tokens next to a place, in the order of the text, up to the first gap (ten of them: no rule looks further)."""
    found: list[str] = []
    i = place - 1 if step < 0 else place
    while 0 <= i < len(words) and len(found) < 10:
        edge = i + 1 if step < 0 else i
        if edge >= len(words) or not words[edge].touches:
            break
        found.append(words[i].text)
        i += step
    return found[::step]


def _letter(words: Sequence[Token], i: int) -> bool:
    """Whether a single Latin letter is an answer and not an article or "I"."""
    following = words[i + 1] if i + 1 < len(words) else None
    if following is None or _parts_clauses(following.gap):
        return True
    if words[i].text == "i" or words[i].raw.islower():
        return False
    opens = i == 0 or bool(_STRONG.search(words[i].gap))
    return not opens or not following.raw[0].islower() or following.text in negation.NO_NOUNS


def _parts_clauses(gap: str) -> bool:
    return bool(_WEAK.search(gap) or _STRONG.search(gap))


def _value(text: str) -> str:
    """The text, or of a JSON object that has one answer among its keys, that."""
    fenced = _FENCE.match(text)
    body = (fenced[1] if fenced else text).strip()
    if not body.startswith("{"):
        return text
    try:
        tree: Any = json.loads(body)
    except (ValueError, RecursionError):
        return text
    said = [v for k, v in tree.items() if k.casefold() in _ANSWER_KEYS] if isinstance(tree, dict) else []
    return str(said[0]) if len(said) == 1 and isinstance(said[0], str | int | float) else text


# ---------------------------------------------------------------- one text


class _Reading:
    """One text, read once from left to right (what denies what follows), then looked at again from its negations back."""

    def __init__(self, parser: Parser, words: Sequence[Token], tail: str) -> None:
        self._parser, self._words, self._tail = parser, words, tail
        self._texts = [token.text for token in words]
        self._japanese = any(script.script(t[0]) in ("hiragana", "katakana") for t in self._texts)
        self._mentions: list[Mention] = []
        self._negations: list[tuple[int, int, _Scope]] = []  # start, end, and what it denies
        self._behind: list[tuple[int, int]] = []  # negations that deny what precedes them
        self._breaks: set[int] = set()
        self._ends: list[int] = []  # where the words end that break a clause
        self._scope: _Scope | None = None
        self._tentative: list[tuple[Mention, _Scope]] = []  # "no sarcasm": the label no, if it denies something

    def label(self) -> str | None:
        self._forward()
        decided, label = self._leading()
        if decided:
            return label
        self._backward()
        said = {self._parser.named(m.key) for m in self._mentions if not m.denied}
        denied = [m for m in self._mentions if m.denied]
        if said:
            label = said.pop()
            contradicted = any(self._parser.named(m.key) == label for m in denied)
            return None if said or contradicted else label
        contraries = {self._parser.contrary(m.key) if m.contrary else None for m in denied}
        return contraries.pop() if len(contraries) == 1 else None

    def _gap(self, i: int) -> str:
        """What stands before token i, or behind the last one."""
        return self._words[i].gap if i < len(self._words) else self._tail

    def _parted(self, i: int) -> bool:
        """Whether a clause ends before token i; the text ends so, too."""
        return i >= len(self._words) or _parts_clauses(self._gap(i))

    # ---- from left to right

    def _forward(self) -> None:
        i = 0
        while i < len(self._words):
            gap = self._gap(i)
            if self._scope and i and _STRONG.search(gap):
                self._scope = None
            kind, size = self._at(i)
            if self._scope and i and _WEAK.search(gap) and self._comma_ends(i, kind == "label"):
                self._scope = None
            match kind:
                case "label":
                    self._mention(i, size)
                case "negation":
                    self._negate(i, size)
                case "behind":
                    self._behind.append((i, i + size))
                case "break":
                    self._break(i, size)
                case "word":
                    self._word(i)
            i += size
        self._mentions = [m for m in self._mentions if all(m is not t or s.denied for t, s in self._tentative)]

    def _at(self, i: int) -> tuple[str, int]:
        """(what begins at token i, how many tokens it has): the longest; of equals the first."""
        label = self._parser.found(self._words, self._texts, i, self._japanese)
        sizes = {
            "idiom": _IDIOMS.at(self._texts, i),
            "label": label,
            "negation": self._negation_at(i),
            "behind": self._behind_at(i),
            "break": _BREAKS.at(self._texts, i),
        }
        kind = max(sizes, key=lambda k: sizes[k])
        if kind == "label" and sizes["negation"] == label and not (self._answers(i, label) or self._opens(i)):
            kind = "negation" if self._only_no(i, label) else kind
        return (kind, sizes[kind]) if sizes[kind] else ("word", 1)

    def _only_no(self, i: int, size: int) -> bool:
        """Whether the label at token i is a "no" that before a noun is no answer."""
        return tuple(self._texts[i : i + size]) in _NO.table and self._texts[i] not in negation.PLAIN_LABELS

    def _negation_at(self, i: int) -> int:
        text, size = self._texts[i], _FORWARD.at(self._texts, i)
        if text in negation.PREFIXES and size == 1:
            return 1 if i + 1 < len(self._texts) and self._gap(i + 1) == "-" else 0
        if self._japanese and size == 1 and script.script(text[0]) == "han":
            return 0
        if not size and text.endswith("n't") and len(text) > 3:
            return 1
        before = self._clause_before(i, 5)
        if (text == "to" and "too" in before) or (text == "than" and "more" in before):
            return 1
        return size

    def _clause_before(self, i: int, most: int) -> list[str]:
        """Up to `most` tokens before token i, of its own clause."""
        found: list[str] = []
        while len(found) < most and i > 0 and not self._parted(i):
            i -= 1
            found.append(self._texts[i])
        return found

    def _behind_at(self, i: int) -> int:
        size = _BACKWARD.at(self._texts, i)
        attached = script.script(self._texts[i][0]) in ("hangul", "hiragana") and self._texts[i] in ("보", "よ")
        return size if size and (not attached or self._words[i].touches) else 0

    def _opens(self, i: int) -> bool:
        """Whether only such words as "answer" stand before token i."""
        return all(text in negation.HEADS for text in self._texts[:i])

    def _answers(self, i: int, size: int) -> bool:
        """Whether the label at token i is a yes or a no that stands by itself, or opens the text."""
        key, end = tuple(self._texts[i : i + size]), i + size
        if key not in _YES.table and key not in _NO.table:
            return False
        if self._parted(end):
            return True
        following = self._texts[end]
        if not self._opens(i) or self._gap(end) == "-" or following in negation.LISTS or following == "and":
            return False
        return key in _YES.table or following in negation.CLAUSE_HEADS

    def _mention(self, i: int, size: int) -> None:
        mention = Mention(i, i + size, tuple(self._texts[i : i + size]), answers=self._answers(i, size))
        self._mentions.append(mention)
        if self._scope:
            mention.denied, mention.contrary = True, self._scope.plain
            self._scope.denied += 1
        if mention.answers or self._negation_at(i) != size:
            return
        self._negate(i, size)  # "neither happy nor sad", where neither is a label
        if self._only_no(i, size) and self._scope:
            mention.answers = True
            self._tentative.append((mention, self._scope))

    def _negate(self, i: int, size: int) -> None:
        phrase = " ".join(self._texts[i : i + size])
        before = self._scope
        if before and phrase in negation.EXCEPTIONS and not before.denied:
            self._scope = None
            return
        if phrase.startswith("नही") and self._mentions and self._mentions[-1].end == i and not self._parted(i):
            self._mentions[-1].denied = True
            return
        if phrase in negation.EXCEPTIONS and self._mentions and self._mentions[-1].end == i and not before:
            last = self._mentions[-1]
            if _FORWARD.at(last.key, 0):  # "no emotion other than joy", where "no emotion" is a label
                last.denied = True
                return
        plain = before is None and phrase not in negation.UNSURE
        self._scope = _Scope(plain, wide=phrase in negation.WIDE or bool(before and before.wide))
        self._negations.append((i, i + size, self._scope))
        opens = i == 0 or self._parted(i) or bool(self._ends and self._ends[-1] == i)
        alone = opens and self._parted(i + size)
        if alone and phrase != "not" and tuple(self._texts[i : i + size]) in _NO.table:
            self._scope = None  # an answer by itself: "No, she is happy"

    def _break(self, i: int, size: int) -> None:
        if self._scope and not self._scope.denied:
            inside = self._texts[i] in negation.SOFT and not _WEAK.search(self._gap(i))
            if inside or (_WEAK.search(self._gap(i)) and _WEAK.search(self._gap(i + size))):
                return  # "not yet", "not, however, ..."
        self._scope = None
        self._breaks.add(i)
        self._ends.append(i + size)

    def _word(self, i: int) -> None:
        """A word that is nothing else: it may end what is denied, or widen it."""
        scope, text = self._scope, self._texts[i]
        if scope is None:
            return
        before = self._texts[i - 1] if i else ""
        follows = self._texts[i + 1] if i + 1 < len(self._texts) else ""
        if scope.denied and before not in negation.LISTS and before != "that":
            joined = text == "and" and (follows in negation.SUBJECTS | negation.CONTRACTIONS | negation.VERBS)
            if joined or text in ("是", "thus") or self._clause_at(i):
                self._scope = None
                return
        if text == "as" and {"so", "much"} <= set(self._clause_before(i, 8)):
            self._scope = None
            return
        scope.words += 1
        scope.plain = scope.plain and text not in negation.UNSURE
        if text in negation.OPENERS:
            scope.opened = True
        elif text == "so" or text in negation.VERBS or text in negation.CONTRACTIONS:
            scope.opened = False

    def _clause_at(self, i: int) -> bool:
        """Whether a subject and its verb begin at token i."""
        text = self._texts[i]
        if text in negation.CONTRACTIONS or text in negation.CLAUSE_STARTS:
            return True
        if text not in negation.SUBJECTS and text not in ("the", "der", "die", "le", "la", "el"):
            return False
        return any(word in negation.VERBS for word in self._texts[i + 1 : i + 4])

    def _comma_ends(self, i: int, label: bool) -> bool:
        """Whether a comma, colon, dash or bracket before token i ends what is denied."""
        scope = self._scope
        assert scope is not None
        if scope.aside or not (scope.words or scope.denied):
            scope.aside = not scope.aside
            return False
        if scope.opened or self._listed(i, scope.wide):
            return False
        return scope.denied > 0 or self._clause_at(i) or (label and scope.words > 0)

    def _listed(self, i: int, wide: bool) -> bool:
        """Whether a list goes on at token i: short members, and an "or" before the last."""
        length = 0
        for j in range(i, min(i + 40, len(self._texts))):
            text = self._texts[j]
            if j > i and _STRONG.search(self._gap(j)):
                return wide
            if text in negation.LISTS:
                return True
            if j > i and _WEAK.search(self._gap(j)):
                length = 0
            length += 1
            if length > _SHORT or _BREAKS.at(self._texts, j) or self._clause_at(j) or text in negation.SUBJECTS:
                return False
        return wide

    # ---- a yes or no that decides

    def _leading(self) -> tuple[bool, str | None]:
        """(whether the text opens with a yes or no that is a label, that label; None where another one stands by itself)."""
        answers = [m for m in self._mentions if m.answers and not m.denied]
        if not answers or not self._opens(answers[0].start):
            return False, None
        said = {self._parser.named(m.key) for m in answers}
        return True, said.pop() if len(said) == 1 else None

    # ---- from a negation back

    def _backward(self) -> None:
        for start, end in self._behind:
            self._deny(self._clause_start(start), start, "보" if self._texts[start] == "보" else "")
            if end < len(self._texts):
                self._breaks.add(end)
        for start, end, scope in self._negations:
            if scope.denied:
                continue
            self._deny_subject(start)
            if self._parted(end) and not self._parted(start):
                self._deny(self._clause_start(start), start)
        for i, text in enumerate(self._texts):
            if text in negation.PREDICATES:
                self._deny_subject(i, needs_verb=True)
            if text in ("free", "less") and i and self._gap(i) == "-":
                self._deny(i - 1, i)
        self._deny_before_clauses()

    def _deny(self, first: int, end: int, nearest: str = "") -> None:
        """Deny the labels among the tokens from `first` to before `end`; with `nearest`, only one that ends there."""
        for mention in self._mentions:
            if first <= mention.start and mention.end <= end and (not nearest or mention.end == end):
                mention.contrary = not mention.denied and not nearest
                mention.denied = True

    def _clause_start(self, i: int) -> int:
        """Where the clause of token i begins: at a sign, a break, or an earlier negation of the same kind."""
        while i > 0 and not self._parted(i) and i not in self._breaks:
            i -= 1
            if self._texts[i] == "and":
                return i
        if i > 0 and "、" in self._gap(i) and self._texts[i] in ("と", "で", "じ", "わ", "の", "は"):
            return self._clause_start(i - 1)  # 嬉しい、とは言えません
        return i

    def _deny_subject(self, i: int, needs_verb: bool = False) -> None:
        """Deny a label that is the subject of what token i denies: sarcasm is not, sarcasm isn't, sarcasm is absent."""
        verb = needs_verb or not self._texts[i].endswith(("n't", "nt", "not"))
        j = i
        while j > 0 and not self._parted(j):
            ending = [m for m in self._mentions if m.end == j]
            if ending:
                if j < i or not (verb or self._texts[i] == "not"):
                    self._deny(ending[0].start, j)
                return
            if self._texts[j - 1] not in negation.AUXILIARIES:
                return
            j -= 1

    def _deny_before_clauses(self) -> None:
        """A clause that is a denial and nothing else denies the clause before it; behind a question mark, the question."""
        starts = [i for i in range(len(self._texts)) if i == 0 or self._parted(i)]
        denials = dict([(s, e) for s, e, _ in self._negations] + self._behind)
        named = {m.start for m in self._mentions}
        question = 0
        ends = [*starts[1:], len(self._texts)]
        for before, start, end in zip(starts[:-1], starts[1:], ends[1:], strict=True):
            gap = self._gap(start)
            tag = _ASKS.search(self._gap(end)) and not _STRONG.search(gap)  # "sarcastic, no?"
            if not tag and self._only_denies(start, end, gap, denials, named):
                self._deny(question if _ASKS.search(gap) else before, start)
            if _STRONG.search(gap):
                question = start

    def _only_denies(self, start: int, end: int, gap: str, denials: Mapping[int, int], named: set[int]) -> bool:
        """Whether tokens `start` to `end` are a denial and nothing else; behind a full stop only one that begins with it.
        `denials`: start -> end of every negation; `named`: where labels begin."""
        start += _BREAKS.at(self._texts, start)  # "but no"
        if end - start <= _LONGEST_NO and tuple(self._texts[start:end]) in _NO.table:
            return True
        full_stop = _STRONG.search(gap) and not _ASKS.search(gap)
        if full_stop and start not in denials:
            return False
        found, i = False, start
        while i < end:
            if i in named or (i not in denials and self._texts[i] not in negation.FILLERS):
                return False
            found = found or i in denials
            i = denials.get(i, i + 1)
        return found
