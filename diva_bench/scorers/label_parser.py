"""The strict label parser: which label of a closed set a text names, for label tasks, LLM judges and imported answers.

In doubt between a label and none, the result is none: such an answer is unparsed, which is counted and shown.

1.  Cleaning. `chat` removes what names no label. Whole words are compared, case folded, after NFKC, without vowel
    signs. Of JSON with one key such as "answer" or "label", its value is read; after "answer:" or "the final answer
    is", the rest.
2.  Matching. The longest label wins. In scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Korean) a
    label matches inside a sentence if `script.whole` finds no longer word; a single such character only if it stands
    alone. A single Latin letter must not be an article or pronoun ("A dog"). Signs next to a letter distinguish labels
    (C, C++; A+, A-).
3.  Offered labels. Labels in a list after "options", "one of", "between", or before a question mark do not count.
4.  Unknown. "I don't know", "cannot determine": no label, unless a "but" follows with a label that is not only
    possible. "I'm not sure" alone does not withdraw a guess.
5.  Negation before a label. A negation (`negation`, about 40 languages) denies what follows, to the end of its clause:
    a full stop, a "but" or "because", a colon or a new line after something denied, a comma there unless the list goes
    on to an "or", a new subject and verb. "I don't think ..." denies the clause that follows.
6.  Negation after a label. It denies the label if the language puts it there (değil, ない, 않), if the label is its
    subject ("sarcasm is absent"), and if it ends the clause ("sarcastic it is not", "sarcasm-free"). A clause that is
    only a denial denies the one before it ("Sarcastic? No.", "I don't think so"). A negation that denies something
    after it denies nothing before it. "Sarcastic or not" says nothing.
7.  Labels that are negations. A negation that is a label (negative, false, none, not X) denies no other label. A yes or
    no is a label if it stands alone or opens the text; before a noun "no" denies it, and is a label if the noun is one
    ("no sarcasm"). It denies what it answers: after a question mark, and, if it is only a synonym of its label, after a
    colon.
8.  Withdrawn. "I first thought sad, but ..."; part of a longer label after "not only" ("very happy, not just happy").
9.  Decision. A yes or no that opens the text decides, unless another one stands alone. Otherwise exactly one label must
    remain: two or more, none, or a label that is both stated and denied give None.
10. Opposites. If only plain denials remain and their opposite is a label ("not sarcastic", "non-humorous"), that one
    counts.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from diva_bench.scorers import chat, negation, script
from diva_bench.scorers.label_tokens import (
    STRONG,
    VALUE,
    WEAK,
    WRAP,
    LabelPhrases,
    Token,
    answer_start,
    parts_clauses,
    phrases,
    tokens,
    value,
)

VERSION: Final = 4
"""Bump it when the result for a text changes."""
SIGNATURE: Final = f"parser:v{VERSION}.{negation.VERSION}.{script.VERSION}"

_HARD = re.compile(r"[:()=>→—–‒―：（）]|--|\s-|-\s")  # a list also ends here
_UNITED = re.compile(r"[/|]")
_ASKS = re.compile(r"[?？؟]")
_QUOTED = re.compile(r"[\"“”„«»「『]")
_ENDS = re.compile(
    r"[!?？؟…;:：=>→。]|[)\]],|\.(?!\s*\Z)|\n[ \t]*\r?\n|" + WRAP
)  # no list of labels continues after these
_SHORT = 3  # words of a member of a list
_NEAR = 8  # words between "options" and the first option
_SPACED = frozenset({"thai", "lao", "khmer", "burmese"})  # scripts in which a space separates clauses, not words

_FORWARD, _BACKWARD = phrases(negation.FORWARD), phrases(negation.BACKWARD)
_IDIOMS, _MERELY = phrases(negation.IDIOMS), phrases(negation.MERELY)
_BREAKS, _BUT, _JOINS = phrases(negation.BREAKS), phrases(negation.BUT), phrases(negation.JOINS)
_YES, _NO = phrases(negation.YES), phrases(negation.NO)
_UNKNOWING, _KNOWING = phrases(negation.UNKNOWING), phrases(negation.KNOWING)
_ONCE, _OFFERS = phrases(negation.ONCE), phrases(negation.OFFERS)
_LONGEST_NO = max(len(key) for key in _NO.table)


@dataclass(slots=True)
class Mention:
    """A label in a text: tokens `start` to `end`."""

    start: int
    end: int
    key: tuple[str, ...]
    label: str
    denied: bool = False
    contrary: bool = False
    """Denied in plain words, so that its opposite is stated: "not sarcastic", but not "hardly sarcastic"."""
    answers: bool = False
    """It is a yes or a no that stands alone."""


@dataclass(slots=True)
class _Scope:
    """What a negation denies from here on."""

    plain: bool
    wide: bool
    own: bool = False
    """Opened by a label: "no sarcasm"."""
    denied: int = 0
    words: int = 0
    aside: bool = False
    """Between two commas: "not, I think, happy"."""
    opened: bool = False
    """After "think", "say", ...: the denied clause has no verb yet."""


class Parser:
    """Finds the label that a text names, or None, by the rules above."""

    def __init__(self, choices: Sequence[str], synonyms: Mapping[str, str]) -> None:
        self._labels = LabelPhrases(choices, synonyms)

    def parse(self, text: str) -> str | None:
        """The label, in its spelling among the choices."""
        plain_text = chat.plain(value(text))
        return chat.opening(plain_text, self._read, self._labels.is_label) or self._read(plain_text)

    def _read(self, text: str) -> str | None:
        words, tail = tokens(text)
        start = answer_start(words)
        answer = _Reading(self._labels, words[start:], tail)
        label = answer.label()
        return label if label or not start or answer.mentions else _Reading(self._labels, words, tail).label()


# ---------------------------------------------------------------- one text


class _Reading:
    """One text: read from left to right for negations that deny what follows, then from its negations backwards."""

    def __init__(self, labels: LabelPhrases, words: Sequence[Token], tail: str) -> None:
        self._labels, self._words, self._tail = labels, words, tail
        self._texts = [token.text for token in words]
        self._japanese = any(script.script(t[0]) in ("hiragana", "katakana") for t in self._texts)
        self.mentions: list[Mention] = []
        self._negations: list[tuple[int, int, _Scope]] = []  # (start, end, what it denies)
        self._behind: list[tuple[int, int]] = []  # negations that deny what precedes them
        self._unknowing: list[tuple[int, int]] = []
        self._breaks: set[int] = set()
        self._buts: list[int] = []
        self._ends: list[int] = []  # ends of words that break a clause
        self._merely: set[int] = set()  # ends of "not only"
        self._scope: _Scope | None = None
        self._tentative: list[tuple[Mention, _Scope]] = []  # "no sarcasm": the label no, if it denies something
        joins = (range(i, i + _JOINS.at(self._texts, i)) for i in range(len(words)))
        self._joins = {i for place in joins for i in place}  # tokens of an "or" or "nor"

    def label(self) -> str | None:
        self._forward()
        self._leave_offered()
        if self._unknowing and not self._stated_after_all():
            return None
        decided, label = self._leading()
        if decided:
            return label
        self._backward()
        self._take_back()
        stated = [m for m in self.mentions if not m.denied]
        stated = [m for m in stated if m.start not in self._merely or not any(set(m.key) < set(n.key) for n in stated)]
        denied = [m for m in self.mentions if m.denied]
        if stated:
            label = stated[0].label
            return label if {m.label for m in stated} == {label} and all(m.label != label for m in denied) else None
        contraries = {self._labels.contrary(m.key) if m.contrary else None for m in denied}
        return contraries.pop() if len(contraries) == 1 else None

    def _gap(self, i: int) -> str:
        """The text before token i, or after the last token."""
        return self._words[i].gap if i < len(self._words) else self._tail

    def _label_at(self, i: int) -> tuple[int, str]:
        """(length of the label at token i, that label); (0, "") for none."""
        return self._labels.match(self._words, self._texts, i, self._tail, self._japanese)

    def _parted(self, i: int) -> bool:
        """Whether a clause ends before token i; the end of the text counts too."""
        return i >= len(self._words) or parts_clauses(self._gap(i))

    # ---- from left to right

    def _forward(self) -> None:
        i = 0
        while i < len(self._words):
            gap = self._gap(i)
            if self._scope and i and (STRONG.search(gap) or self._line_ends(i)):
                self._scope = None
            kind, size, label = self._at(i)
            if self._scope and i and WEAK.search(gap) and self._sign_ends(i, kind == "label"):
                self._scope = None
            match kind:
                case "label":
                    self._mention(i, size, label)
                case "negation":
                    self._negate(i, size)
                case "unknowing":
                    self._unknowing.append((i, i + size))
                    self._negate(i, size)
                case "behind":
                    self._behind.append((i, i + size))
                case "break":
                    self._break(i, size)
                case "idiom" if _MERELY.at(self._texts, i) == size:
                    self._merely.add(i + size)
                case "word":
                    self._word(i)
            i += size
        self.mentions = [m for m in self.mentions if all(m is not t or s.denied for t, s in self._tentative)]

    def _at(self, i: int) -> tuple[str, int, str]:
        """(kind of what begins at token i, its number of tokens, its label): the longest match; of equal ones the first."""
        size, label = self._label_at(i)
        sizes = {
            "idiom": _IDIOMS.at(self._texts, i),
            "label": size,
            "unknowing": self._unknowing_at(i),
            "negation": self._negation_at(i),
            "behind": self._behind_at(i),
            "break": _BREAKS.at(self._texts, i),
            "word": _JOINS.at(self._texts, i),
        }
        kind = max(sizes, key=lambda k: sizes[k])
        if kind == "label" and sizes["negation"] == size and not (self._answers(i, size) or self._opens(i)):
            kind = "negation" if tuple(self._texts[i : i + size]) in _NO.table else kind
        elif kind == "label" and self._labels.is_spoken(self._texts[i : i + size]) and not self._answers(i, size):
            kind = "negation" if sizes["negation"] == size else "word"
        if kind == "negation" and sizes["break"] == sizes[kind] and self._scope and self._scope.denied:
            kind = "break"  # Swedish "utan": "without", but "but" after a negation
        return (kind, sizes[kind], label) if sizes[kind] else ("word", 1, "")

    def _negation_at(self, i: int) -> int:
        text, size = self._texts[i], _FORWARD.at(self._texts, i)
        if text in negation.PREFIXES and size == 1:
            return 1 if i + 1 < len(self._texts) and self._gap(i + 1) == "-" else 0
        if self._japanese and size == 1 and script.script(text[0]) == "han":
            return 0
        if not size and text.endswith("n't") and len(text) > 3:
            return 1
        before = self._clause_before(i, 5)
        if (text == "to" and "too" in before) or negation.COMPARED.get(text, frozenset()) & set(before):
            return 1
        return size

    def _clause_before(self, i: int, most: int) -> list[str]:
        """Up to `most` tokens before token i, in its clause."""
        words: list[str] = []
        while len(words) < most and i > 0 and not self._parted(i):
            i -= 1
            words.append(self._texts[i])
        return words

    def _behind_at(self, i: int) -> int:
        size = _BACKWARD.at(self._texts, i)
        return size if size and (self._texts[i] not in ("보", "よ") or self._words[i].touches) else 0

    def _unknowing_at(self, i: int) -> int:
        """Length of an "I don't know" at token i. One of another person, in quotes, or before "why" does not count."""
        size = _UNKNOWING.at(self._texts, i) or self._unable_at(i)
        before = self._clause_before(i, 5)
        start = i - len(before)
        quoted = any(_QUOTED.search(self._gap(j)) for j in range(max(start, 1), i + 1))
        reason = i + size < len(self._texts) and self._texts[i + size] == "why"
        return 0 if quoted or reason or negation.OTHERS & set(before) else size

    def _unable_at(self, i: int) -> int:
        """Length of "nobody can tell", "haven't any idea" at token i: a negation, and soon after it a verb of knowing."""
        if not (self._texts[i] in negation.UNABLE or self._texts[i].endswith("n't")) or _IDIOMS.at(self._texts, i):
            return 0
        for j in range(i + 1, min(i + 5, len(self._texts))):
            if self._parted(j):
                return 0
            if size := _KNOWING.at(self._texts, j):
                return j + size - i
        return 0

    def _opens(self, i: int) -> bool:
        """Whether only words such as "answer" are before token i."""
        return all(text in negation.HEADS for text in self._texts[:i])

    def _answers(self, i: int, size: int) -> bool:
        """Whether the label at token i is a yes or a no that stands alone or opens the text."""
        key, end = tuple(self._texts[i : i + size]), i + size
        if key not in _YES.table and key not in _NO.table:
            return False
        if self._parted(end) or end in self._joins or self._texts[end] in negation.AND:
            return True
        following = (self._texts[end],)
        named = self._label_at(end)[0] > 0
        if (named and (following in _YES.table or following in _NO.table)) or self._texts[end] == "because":
            return True
        if i and self._texts[i - 1] in negation.NAMED and not self._parted(i) and not named:
            return True
        if not self._opens(i) or self._gap(end) == "-":
            return False
        return key in _YES.table or self._texts[end] in negation.CLAUSE_HEADS

    def _mention(self, i: int, size: int, label: str) -> None:
        key = tuple(self._texts[i : i + size])
        mention = Mention(i, i + size, key, label, answers=self._answers(i, size))
        self.mentions.append(mention)
        if self._scope and not (self._scope.own and (key in _YES.table or key in _NO.table)):
            mention.denied, mention.contrary = True, self._scope.plain
            self._scope.denied += 1
        if mention.answers or self._negation_at(i) != size:
            return
        if key in _NO.table:
            self._negate(i, size)
            if self._scope:
                mention.answers = self._scope.own = True
                self._tentative.append((mention, self._scope))
        elif " ".join(key) in negation.WIDE and {"of", "nor"} & set(self._texts[i + size : i + size + 8]):
            self._negate(i, size)  # "neither happy nor sad", if "neither" is a label

    def _negate(self, i: int, size: int) -> None:
        phrase = " ".join(self._texts[i : i + size])
        before = self._scope
        follows = self.mentions and self.mentions[-1].end == i and not self._parted(i)
        if before and phrase in negation.EXCEPTIONS and not before.denied:
            self._scope = None
            return
        if follows and (
            _BACKWARD.at(self._texts, i) == size
            or (phrase in negation.EXCEPTIONS and not before and _FORWARD.at(self.mentions[-1].key, 0))
        ):  # "खुश नहीं"; "no emotion other than joy", where "no emotion" is a label
            self.mentions[-1].denied = True
            return
        plain = before is None and phrase not in negation.UNSURE and not self._or_before(i)
        goes_on = bool(before and before.wide) and i not in self._joins
        self._scope = _Scope(plain, wide=phrase in negation.WIDE or goes_on)
        self._negations.append((i, i + size, self._scope))
        opens = i == 0 or self._parted(i) or bool(self._ends and self._ends[-1] == i)
        if opens and self._parted(i + size) and tuple(self._texts[i : i + size]) in _NO.table:
            self._scope = None  # an answer that stands alone: "No, she is happy"

    def _or_before(self, i: int) -> bool:
        """Whether an "or" is shortly before token i in its clause: "sarcastic or not", "may or may not be sarcastic"."""
        return any(j in self._joins for j in range(i - len(self._clause_before(i, 3)), i))

    def _break(self, i: int, size: int) -> None:
        if self._scope and not self._scope.denied:
            inside = self._texts[i] in negation.SOFT and not WEAK.search(self._gap(i))
            if inside or (WEAK.search(self._gap(i)) and WEAK.search(self._gap(i + size))):
                return  # "not yet", "not, however, ..."
        self._scope = None
        self._breaks.add(i)
        self._ends.append(i + size)
        if _BUT.at(self._texts, i) == size:
            self._buts.append(i)

    def _word(self, i: int) -> None:
        """Any other word: it may end or extend what is denied."""
        scope, text = self._scope, self._texts[i]
        if scope is None:
            return
        follows = self._texts[i + 1] if i + 1 < len(self._texts) else ""
        if scope.denied and i - 1 not in self._joins and self._texts[i - 1] != "that":
            joined = text == "and" and (follows in negation.SUBJECTS | negation.CONTRACTIONS | negation.VERBS)
            if joined or text in ("是", "thus") or self._clause_at(i):
                self._scope = None
                return
        if text == "as" and {"so", "much"} <= set(self._clause_before(i, 8)):
            self._scope = None
            return
        scope.words += 1
        scope.wide = scope.wide and i not in self._joins
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

    def _line_ends(self, i: int) -> bool:
        """Whether a new line, or a space in Thai, before token i ends what is denied."""
        if not self._scope or not self._scope.denied or {i - 1, i} & self._joins:
            return False
        gap = self._gap(i)
        return WRAP in gap or (gap.isspace() and script.script(self._texts[i - 1][0]) in _SPACED)

    def _sign_ends(self, i: int, label: bool) -> bool:
        """Whether a comma, colon, dash or bracket before token i ends what is denied."""
        scope, gap = self._scope, self._gap(i)
        assert scope is not None
        if scope.denied and (_UNITED.search(gap) or i in self._joins):
            return False
        if _HARD.search(gap) and (scope.denied or self._subject_before(i)):
            return True
        if scope.aside or not (scope.words or scope.denied):
            scope.aside = not scope.aside
            return False
        if scope.opened or self._listed(i, scope.wide):
            return False
        return scope.denied > 0 or self._clause_at(i) or (label and scope.words > 0)

    def _subject_before(self, i: int) -> bool:
        """Whether token i follows a negation of a label before it: "joy is ruled out: ..."."""
        start, end, _ = self._negations[-1]
        first = self._clause_start(start)
        return end == i and self._texts[start - 1] in negation.VERBS and any(m.start >= first for m in self.mentions)

    def _listed(self, i: int, wide: bool) -> bool:
        """Whether a list continues at token i: short members, and an "or" before the last."""
        length = 0
        for j in range(i, min(i + 40, len(self._texts))):
            if j > i and STRONG.search(self._gap(j)):
                return wide
            if j in self._joins:
                return True
            if j > i and WEAK.search(self._gap(j)):
                length = 0
            length += 1
            if (
                self._texts[j] in negation.SUBJECTS
                or length > _SHORT
                or _BREAKS.at(self._texts, j)
                or self._clause_at(j)
            ):
                return False
        return wide

    # ---- labels that count

    def _leave_offered(self) -> None:
        """Drop labels in lists of possible answers."""
        runs: list[list[Mention]] = []
        closing = False
        for mention in self.mentions:
            joined = self._joined(runs[-1][-1].end, mention.start) if runs else ""
            if runs and joined and not mention.denied and not (closing and joined == "sign"):
                runs[-1].append(mention)
                closing = closing or joined == "word"
            else:
                runs.append([mention])
                closing = False
        offered: set[int] = set()
        for run in runs:
            several = len({mention.label for mention in run}) > 1
            if several and (_ASKS.search(self._gap(run[-1].end)) or self._offers(run[0].start)):
                offered.update(mention.start for mention in run)
        self.mentions = [m for m in self.mentions if m.start not in offered]

    def _joined(self, i: int, end: int) -> str:
        """How a label that ends before token i and one at `end` are joined in a list: "word", "sign", or "" if they are
        not."""
        between = range(i, end)
        if len(between) > 4 or any(_ENDS.search(self._gap(j)) for j in range(i, end + 1)):
            return ""
        if any(j in self._joins or self._texts[j] in negation.AND for j in between):
            return "word"
        return "sign" if all(len(self._texts[j]) == 1 for j in between) else ""

    def _offers(self, start: int) -> bool:
        """Whether an "options" is shortly before token `start`."""
        for i in range(start - 1, max(start - 1 - _NEAR, -1), -1):
            if _OFFERS.at(self._texts, i) or (i == 0 and self._texts[i] == "of"):
                return True
            if re.search(r"[.!?。！？]", self._gap(i)) and not (self._texts[i].isdigit() or len(self._texts[i]) == 1):
                return False
        return False

    def _stated_after_all(self) -> bool:
        """Whether a label is stated although the answer is called unknown: after a "but", and not only as possible."""
        start, end = self._unknowing[-1]
        conceded = negation.CONCEDES & set(self._clause_before(start, 8))
        places = filter(self._parted, range(end, len(self._texts))) if conceded else (j for j in self._buts if j >= end)
        after = next(iter(places), None)
        if after is None or negation.MAYBE & set(self._texts[after:]):
            return False
        self.mentions = [m for m in self.mentions if m.start >= after]
        return True

    def _leading(self) -> tuple[bool, str | None]:
        """(whether the text opens with a yes or no that is a label, that label; None if another one stands alone)."""
        answers = [m for m in self.mentions if m.answers and not m.denied]
        if not answers or not self._opens(answers[0].start) or _ASKS.search(self._gap(answers[0].end)):
            return False, None
        labels = {m.label for m in answers}
        return True, labels.pop() if len(labels) == 1 else None

    def _take_back(self) -> None:
        """Deny the labels in a clause with "at first" if a "but" with a label follows."""
        last = max((m.start for m in self.mentions if not m.denied), default=-1)
        for i in range(len(self._texts)):
            place = bisect_right(self._buts, i) if _ONCE.at(self._texts, i) else len(self._buts)
            if place < len(self._buts) and self._buts[place] <= last:
                self._deny(self._clause_start(i), self._buts[place], plain=False)

    # ---- from negations backwards

    def _backward(self) -> None:
        for start, end in self._behind:
            self._deny(self._clause_start(start), start, "보" if self._texts[start] == "보" else "")
            if end < len(self._texts):
                self._breaks.add(end)
        for start, end, scope in self._negations:
            if scope.denied:
                continue
            self._deny_subject(start)
            if self._parted(end) and (not self._parted(start) or self._or_before(start)):
                plain = not self._or_before(start)
                first = self._clause_start(start)
                self._deny(first if plain or not first else self._clause_start(first - 1), start, plain=plain)
        for i, text in enumerate(self._texts):
            if text in negation.PREDICATES:
                self._deny_subject(i, needs_verb=True)
            if text in ("free", "less") and i and self._gap(i) == "-":
                self._deny(i - 1, i)
        self._deny_before_clauses()

    def _deny(self, first: int, end: int, nearest: str = "", *, plain: bool = True) -> None:
        """Deny the labels in the tokens from `first` to before `end`; with `nearest`, only one that ends there."""
        for i in range(bisect_left(self.mentions, first, key=lambda m: m.start), len(self.mentions)):
            mention = self.mentions[i]
            if mention.start >= end:
                break
            if mention.end <= end and (not nearest or mention.end == end):
                mention.contrary = plain and not mention.denied and not nearest
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
        """Deny a label that is the subject of the negation at token i: "sarcasm is not", "sarcasm isn't", "sarcasm is
        absent"."""
        verb = needs_verb or not self._texts[i].endswith(("n't", "nt", "not"))
        j = i
        while j > 0 and not self._parted(j):
            ending = [m for m in self.mentions if m.end == j]
            if ending:
                if j < i or not (verb or self._texts[i] == "not"):
                    self._deny(ending[0].start, j)
                return
            if self._texts[j - 1] not in negation.AUXILIARIES:
                return
            j -= 1

    def _deny_before_clauses(self) -> None:
        """A clause that is only a denial denies the clause before it; after a question mark, the question."""
        starts = [i for i in range(len(self._texts)) if i == 0 or self._parted(i)]
        denials = dict([(s, e) for s, e, scope in self._negations if not scope.denied] + self._behind)
        named = {m.start: m for m in self.mentions}
        question = 0
        for before, start, end in zip(starts[:-1], starts[1:], [*starts[2:], len(self._texts)], strict=False):
            gap = self._gap(start)
            tag = _ASKS.search(self._gap(end)) and not STRONG.search(gap)  # "sarcastic, no?"
            if not tag and self._only_denies(start, end, denials, named):
                plain = not negation.MAYBE & set(self._texts[start:end])
                self._deny(question if _ASKS.search(gap) else before, start, plain=plain)
            if STRONG.search(gap):
                question = start

    def _only_denies(self, start: int, end: int, denials: Mapping[int, int], named: Mapping[int, Mention]) -> bool:
        """Whether tokens `start` to `end` are only a denial; after a full stop only one that begins with it.

        Args:
            denials: start -> end of every negation that denies nothing after it.
            named: Where labels begin.
        """
        gap = self._gap(start)
        is_question = bool(_ASKS.search(gap))
        full_stop = bool(STRONG.search(gap)) and not is_question
        start += _BREAKS.at(self._texts, start)  # "but no"
        key = tuple(self._texts[start:end]) if end - start <= _LONGEST_NO else ()
        if start in named:
            answered = (is_question and not _ASKS.search(self._gap(end))) or (
                VALUE.search(gap) and self._labels.is_name(key)
            )
            return bool(answered) and " ".join(key) in negation.VALUES
        if key in _NO.table or (len(key) == 1 and key[0] in negation.PREDICATES and not full_stop):
            return True
        if full_stop and start not in denials and self._texts[start] not in negation.MAYBE:
            return False
        has_label, i = False, start
        while i < end:
            if i in named or (i not in denials and self._texts[i] not in negation.FILLERS):
                return False
            has_label = has_label or i in denials or (is_question and self._texts[i] in negation.MAYBE)
            i = denials.get(i, i + 1)
        return has_label
