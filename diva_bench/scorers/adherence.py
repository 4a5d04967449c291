"""Does an answer follow the instruction? Right language, one sentence or word, no transcript, no refusal, no loop.

The ablations of the DiVA paper depend on this: translations are in the right language in 1.4 % with distillation alone
and in 74 % with both losses; without the alignment, answers have 45 words instead of 18. Shares are in per cent of all
answers, lengths in words. Whether an answer is right is measured by other scorers.

Fluent nonsense cannot be detected without a language model: `looping`, `compressible` and `repeated_4grams` only find
repetitions.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jiwer
import numpy as np
import regex

from diva_bench.errors import SpecError
from diva_bench.scorers import answer, cleaned, language, refusals, settings
from diva_bench.specs import TaskSpec
from diva_bench.stats import dense, ratio
from diva_bench.text import BASIC, contains, words
from diva_bench.types import Floats, Response, Sample

VERSION = 2

TRANSCRIBES = 0.3
"""Largest word error rate against the question at which an answer counts as its transcript. Whisper base has 0.35 on the
hardest speech at hand. In the released HeySQuAD answers this finds 0 of DiVA's and 2 of Qwen 2 Audio's 1,002; the
paper's authors found, by eye, 0 and 2 of 50 (Qwen Audio 15, SALMONN 4)."""
SPOKEN = 3
"""Words: a shorter question may be repeated by a correct answer."""
COMPRESSION = 2.4
"""zlib ratio above which Whisper treats its text as a loop (compression_ratio_threshold of its transcribe.py)."""
COMPRESSIBLE = 50
"""Characters: for shorter texts the ratio has no meaning."""
REPEATS, LOOP = 3, 8
"""A phrase that is repeated REPEATS times in a row, with LOOP words in all, is a loop. Our own definition: no reference of
the mini tasks and none of 37,174 English training texts has one."""
_PERIOD = 64  # words of the longest phrase that is searched; answers have a few hundred words

_SPACELESS = regex.compile(
    r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|(?=\p{L})[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*)"
)
_FORMS = {"sentence": "one_sentence", "word": "one_word", "translation": "no_remark"}
"""Setting `form` -> metric."""
_TRANSLATION = frozenset({"bleu", "chrf", "sentence_bleu", "comet"})
"""Scorers that make a task a translation task, whatever its form."""
_CHARACTERS = ("ja", "zh")  # languages in which length is counted in characters
_ORDINALS = ("de", "et", "lv", "sl", "tr")  # languages that write "3." for 3rd
# a match never begins inside a run of marks, which would make the search quadratic
_END = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’»)\]]*\s+|[。！？]+[」』”’）]*\s*|(?<![.!?])[.!?]*؟\s*|\n+")
_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|rev|pres|st|mt|sr|jr|vs|etc|e\.g|i\.e|no|gen|sen|rep|capt|lt|col|approx|dept|inc|ltd|co|u\.s|a\.m|p\.m|"
    r"bzw|z\.b|usw|ca|nr|str|hr|fr)|\b[^\W\d_])\.$",
    re.IGNORECASE,
)
_ORDINAL = re.compile(r"\b\d{1,2}\.$")
_WH = ("what", "which", "who", "whom", "whose", "when", "where", "why", "how")
_AUXILIARIES = ("is", "are", "was", "were", "do", "does", "did", "has", "have", "had", "can", "could", "will", "would")
_QUESTION = frozenset((*_WH, *_AUXILIARIES))


class Adherence:
    """Follows-the-instruction metrics: empty, refused, transcribes (if the data set has transcripts), looping,
    compressible, truncated (if tokens were counted or reasoning was shown; reasoning without an end is truncated),
    repeated_4grams, answer_words (answer_characters in zh and ja), right_language, one_sentence, one_word or no_remark.

    An `unsupported` answer is an empty one. Statistics: counts with the prefix "adh.".

    Settings:
    - `language`: the requested language, or "subset" for the language in the name of the task's subset (zh-CN: zh).
    - `form`: the requested form: "sentence", "word", "translation" (at most as many sentences as the reference), or
      none.
    - `transcribes`: false for a task that asks for the transcript.
    """

    higher_is_better = False
    counted: Final = {"transcribes": ("adh.transcribes.n",), "truncated": ("adh.truncated.n",)}
    """Metric -> the statistics whose sum is its n, if that is not the number of rows."""

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        allowed = {
            "language": (None, "subset", *language.REQUESTABLE),
            "form": (None, *_FORMS),
            "transcribes": (True, False),
        }
        options = settings("adherence", task, args, allowed)
        self._language = _requested_language(task) if options["language"] == "subset" else options["language"]
        self.form: str | None = options["form"]
        self._transcribes: bool = options["transcribes"]
        self._translation = self.form == "translation" or not _TRANSLATION.isdisjoint(task.scorers)
        self._limit = task.decode.max_new_tokens
        letters = "|letters" if self._translation else ""
        signature_parts = (
            [f"lang:{self._language}|{language.signature(self._language)}{letters}"] if self._language else []
        )
        signature_parts += [f"form:{self.form}"] if self.form else []
        signature_parts += [f"transcribes:wer<={TRANSCRIBES:g}"] if self._transcribes else []
        parts = [
            "adherence",
            f"v{VERSION}",
            *signature_parts,
            f"refusals:v{refusals.VERSION}",
            f"norm:{BASIC.signature}",
        ]
        self.signature = "|".join(parts)

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        response = cleaned(response)
        text = answer(response)
        words = tokens(text)
        row: dict[str, float] = {"adh.n": 1.0, "adh.length": float(len(words))}
        features = {
            "empty": not words,
            "refused": refusals.refuses(text),
            "looping": loops(words),
            "compressible": compression(text) > COMPRESSION,
        }
        if self._language:
            row["adh.lang.n"] = 1.0
            features["lang"] = language.is_in(text, self._language) and self._translates(text, sample)
        if self.form:
            row["adh.form.n"] = 1.0
            features["form"] = self._keeps_form(text, sample)
        if self._transcribes and sample.transcript:
            row["adh.transcribes.n"] = 1.0
            features["transcribes"] = transcribes(text, sample)
        if "new" in response.tokens or response.reasoning:
            row["adh.truncated.n"] = 1.0
            features["truncated"] = response.tokens.get("new", 0) >= self._limit or response.reasoning == "cut off"
        grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
        row |= {"adh.4grams": float(len(grams)), "adh.4grams.again": float(len(grams) - len(set(grams)))}
        row |= {f"adh.{name}": 1.0 for name, true in features.items() if true}
        return {key: value for key, value in row.items() if value}

    def _translates(self, text: str, sample: Sample) -> bool:
        """False for a translation without a letter ("12!"), unless a reference has none either, because such a text has no
        language."""
        if not self._translation or language.lettered(text):
            return True
        return not all(language.lettered(reference) for reference in sample.references)

    def _keeps_form(self, text: str, sample: Sample) -> bool:
        if self.form == "word":
            return len(tokens(text)) == 1
        count = sentences(text, self._language)
        if count <= 1 or self.form != "translation":
            return count == 1
        return any(count <= sentences(r, self._language) for r in sample.references)

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Per cent, but the length: its mean over answers. A metric without an answer it could be counted of is missing."""
        if not totals:
            return {}
        unit = "characters" if self._language in _CHARACTERS else "words"
        scores = {name: _share(totals, name, "n") for name in ("empty", "refused", "looping", "compressible")}
        scores["repeated_4grams"] = _share(totals, "4grams.again", "4grams")
        scores[f"answer_{unit}"] = _share(totals, "length", "n") / 100
        if self.form:
            scores[_FORMS[self.form]] = _share(totals, "form", "form.n")
        named = {"right_language": "lang", "transcribes": "transcribes", "truncated": "truncated"}
        scores |= {name: _share(totals, key, f"{key}.n") for name, key in named.items() if f"adh.{key}.n" in totals}
        return scores


def _requested_language(task: TaskSpec) -> str:
    code = (task.subset or "").split("-")[0]
    if code not in language.REQUESTABLE:
        raise SpecError(
            f"task {task.name}: scorers.adherence.language is 'subset', but subset {task.subset!r} is not called after a "
            f"language that can be told. Available: {', '.join(language.REQUESTABLE)}."
        )
    return code


def _share(totals: Mapping[str, Floats], part: str, whole: str) -> Floats:
    sums = dense(totals, [f"adh.{part}", f"adh.{whole}"])
    return np.asarray(100 * ratio(sums[..., 0], sums[..., 1]))


# ---------------------------------------------------------------- what an answer is


def tokens(text: str) -> tuple[str, ...]:
    """Words after BASIC. In scripts without spaces every character is a word: Han, kana, and a letter with its marks
    in Thai, Lao, Khmer and Burmese."""
    return words(_SPACELESS.sub(r" \1 ", text))


def sentences(text: str, lang: str | None = None) -> int:
    """Number of sentences: parts with a letter or digit, split after final punctuation before white space, and at line
    ends. Initials, titles and, in languages that write them so, ordinals ("am 3. Mai") do not end a sentence."""
    return len(split(text, lang))


def split(text: str, lang: str | None = None) -> list[str]:
    """The sentences of a text."""
    parts, start = [], 0
    for end in _END.finditer(text):
        before = text[start : end.end()].rstrip()
        inside = "\n" not in end.group() and end.group().strip() == "."
        if inside and (_ABBREVIATION.search(before) or (lang in _ORDINALS and _ORDINAL.search(before))):
            continue
        parts.append(text[start : end.end()].strip())
        start = end.end()
    parts.append(text[start:].strip())
    return [part for part in parts if words(part)]


def transcribes(text: str, sample: Sample) -> bool:
    """Whether an answer, or one of its sentences, is a transcript of the question, with at most TRANSCRIBES word errors
    per word.

    An answer may repeat the question as a statement ("The Nile flows through Cairo." for "Which river flows through
    Cairo?") with few errors. So a transcript must have the question words of the question and, if the question begins
    with one or with a verb, begin with the same word; and it must not contain an accepted answer that is not in the
    question.
    """
    spoken = words(sample.transcript or "")
    if len(spoken) < SPOKEN:
        return False
    return any(_same(words(part), spoken, sample.references) for part in dict.fromkeys([text, *split(text)]))


def _same(answer_words: tuple[str, ...], spoken: tuple[str, ...], references: Sequence[str]) -> bool:
    if not answer_words or abs(len(answer_words) - len(spoken)) > TRANSCRIBES * len(spoken):
        return False
    if (spoken[0] in _QUESTION and answer_words[0] != spoken[0]) or not set(spoken) & set(_WH) <= set(answer_words):
        return False
    accepted = [words(reference) for reference in references]
    if any(contains(answer_words, run) and not contains(spoken, run) for run in accepted if run != spoken):
        return False
    return bool(jiwer.wer(" ".join(spoken), " ".join(answer_words)) <= TRANSCRIBES)


def loops(words: Sequence[str]) -> bool:
    """Whether a phrase of up to 64 words occurs at least REPEATS times in a row, with at least LOOP words in all."""
    if max(Counter(words).values(), default=0) < REPEATS:
        return False  # each word of such a phrase occurs as often
    numbers = {token: i for i, token in enumerate(dict.fromkeys(words))}
    coded = np.array([numbers[token] for token in words], dtype=np.int64)
    return any(
        _longest(coded[period:] == coded[:-period]) + period >= max(REPEATS * period, LOOP)
        for period in range(1, min(_PERIOD, len(coded) // REPEATS) + 1)
    )


def _longest(true: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
    """Length of the longest run of true values, shape (n,)."""
    ends = np.flatnonzero(np.diff(np.concatenate(([0], true.astype(np.int8), [0]))))
    return int((ends[1::2] - ends[::2]).max(initial=0))


def compression(text: str) -> float:
    """Length divided by zlib-compressed length, as in Whisper, but with the characters of the text numbered first: in
    UTF-8 a Tamil letter has three bytes of which two repeat, and plain Tamil would count as a loop. 0 for a short text."""
    if len(text) < COMPRESSIBLE:
        return 0.0
    numbers = {character: i for i, character in enumerate(dict.fromkeys(text))}
    width = 1 if len(numbers) <= 256 else 2
    coded = b"".join(numbers[character].to_bytes(width, "big") for character in text)
    return len(coded) / len(zlib.compress(coded))
