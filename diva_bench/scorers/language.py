"""Language identification: first by the script of the letters, then, if that is ambiguous, by py3langid.

py3langid (Barbaresi, a naive Bayes classifier over byte n-grams, after langid.py by Lui and Baldwin 2012) chooses among
`LANGUAGES` instead of its 140 languages, because on short texts one of the many others often wins by chance. Accuracy
in per cent on runs of n words from English sentences (n = 2, 3, 4, 5, 6: 6,793 to 1,660 runs) and German ones (245 to
60 runs):

    words                            2     3     4     5     6
    en, out of `LANGUAGES`          76    93    95   99.5  99.8
    de, out of `LANGUAGES`          92    98    99   100   100
    en, out of all 140              63    84    91    98   99.4

Of 37,174 English sentences 75 are assigned another language, and of 192 correct answers to the mini questions 3: mostly
names ("Leonardo da Vinci painted the Mona Lisa."). Simplified and traditional Chinese are not distinguished.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from copy import copy
from functools import cache
from importlib.metadata import version
from typing import Any

SCRIPTS = {
    "ar": "ARABIC",
    "ca": "LATIN",
    "cy": "LATIN",
    "de": "LATIN",
    "en": "LATIN",
    "et": "LATIN",
    "fa": "ARABIC",
    "id": "LATIN",
    "ja": "KANA",
    "lv": "LATIN",
    "mn": "CYRILLIC",
    "sl": "LATIN",
    "sv": "LATIN",
    "ta": "TAMIL",
    "tr": "LATIN",
    "zh": "HAN",
}
"""The languages that a task can request (the 15 targets of CoVoST 2, and English) with their scripts. KANA stands for
Japanese: Han and kana together."""

ALSO = {"bn": "BENGALI", "ko": "HANGUL", "sw": "LATIN"}
"""More languages that a task can request, with their scripts. They are told from others only if they are requested, so that
the languages of other tasks' answers are what they were."""
REQUESTABLE = dict(sorted((SCRIPTS | ALSO).items()))

# Other languages of models' answers. Close relatives of a target (ms of id, da and no of sv, hr of sl, az of tr) are left out,
# because short sentences of both cannot be distinguished.
_OTHERS = ("el", "es", "fr", "he", "hi", "it", "ko", "nl", "pl", "pt", "ru", "th", "uk", "vi")
LANGUAGES = (*SCRIPTS, *_OTHERS)

SHORT = 4  # words; for fewer, only the requested language and English are compared (2 words: 95 % correct)
_ALONE = {
    "TAMIL": "ta",
    "HAN": "zh",
    "MONGOLIAN": "mn",
    "HANGUL": "ko",
    "BENGALI": "bn",
}  # scripts of only one language here
_NAMES = (
    "LATIN",
    "CYRILLIC",
    "ARABIC",
    "TAMIL",
    "GREEK",
    "HEBREW",
    "DEVANAGARI",
    "HANGUL",
    "THAI",
    "MONGOLIAN",
    "BENGALI",
)
_HAN = ("CJK", "IDEOGRAPHIC")
_KANA = ("HIRAGANA", "KATAKANA")
_NOTHING = -1e38  # below every score; py3langid gives it to a text without features
_JAPANESE = 0.05  # minimum share of kana among Han and kana in Japanese; Chinese has none


_VERSION = 2  # bump when the language of a text changes


def signature(language: str) -> str:
    """The version of py3langid, and the number of languages among which it chooses where `language` is requested."""
    return f"v{_VERSION}|py3langid:{version('py3langid')}|of:{len(_among(language))}"


@cache
def script_of(character: str) -> str:
    """The script of a letter or mark: a Unicode name ("LATIN"), "HAN", "KANA", "OTHER"; "" for other characters, and for
    marks of any script."""
    name = unicodedata.name(character, "")
    if unicodedata.category(character)[0] not in "LM" or name.startswith(("COMBINING", "VARIATION")):
        return ""
    if name.startswith(_HAN):
        return "HAN"
    if name.startswith(_KANA) or character == "ー":
        return "KANA"
    return next((script for script in _NAMES if name.startswith(script)), "OTHER")


def scripts(text: str) -> Counter[str]:
    """Script -> number of letters in a text. Full-width and half-width letters and Arabic presentation forms count as the
    letters that they stand for."""
    counts = Counter(script_of(c) for c in unicodedata.normalize("NFKC", text))
    del counts[""]
    return counts


def is_in(text: str, language: str) -> bool:
    """Whether a text is in `language`, a key of REQUESTABLE.

    The script of most letters must be that of the language. If the script is not that of one language (Tamil, Han,
    kana, Mongolian, Hangul, Bengali are), py3langid decides. For fewer than SHORT words it chooses only between the language and
    English, and for English, Latin letters are enough. A text with only numbers ("1989.") is in any language, one
    without letters and numbers in none; see `lettered` for tasks in which numbers are not enough.
    """
    text = unicodedata.normalize("NFKC", text)
    counts = scripts(text)
    if not counts:
        return any(unicodedata.category(c)[0] == "N" for c in text)
    script = _main_script(counts)
    if script in _ALONE:
        return _ALONE[script] == language
    if script != REQUESTABLE[language]:
        return False
    if script == "KANA":
        return True
    few = len(text.split()) < SHORT
    return identify(text, tuple(sorted({language, "en"})) if few else _among(language)) == language


def _among(language: str) -> tuple[str, ...]:
    """The languages of which one is chosen where `language` is requested."""
    return LANGUAGES if language in LANGUAGES else (*LANGUAGES, language)


def lettered(text: str) -> bool:
    """Whether a text has a letter of any script."""
    return any(map(script_of, unicodedata.normalize("NFKC", text)))


def _main_script(counts: Counter[str]) -> str:
    """The script of most letters; Han counts as KANA if the text has kana."""
    east = counts["HAN"] + counts["KANA"]
    rest = {script: n for script, n in counts.items() if script not in ("HAN", "KANA")}
    if east > max(rest.values(), default=0):
        return "KANA" if counts["KANA"] >= _JAPANESE * east else "HAN"
    return max(sorted(rest), key=lambda script: rest[script])


def identify(text: str, among: tuple[str, ...] = LANGUAGES) -> str:
    """The most likely of some languages; English for a text without features ("I", "Oslo").

    It is deterministic. Scores are float32, so two languages that are equal to six digits may change places between
    machines.
    """
    language, score = _identifier(among).classify(text)
    return str(language) if score > _NOTHING else "en"


@cache
def _identifier(among: tuple[str, ...]) -> Any:
    identifier = copy(_model())
    identifier.set_languages(list(among))  # changes only the copy, not the model
    return identifier


@cache
def _model() -> Any:
    """Loading takes 0.6 s: the model is in the package, compressed."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)
