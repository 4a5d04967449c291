"""Which language a text is in: the script of its letters first, then py3langid on what a script leaves open.

py3langid (Barbaresi, a naive Bayes classifier over byte n-grams, after langid.py by Lui and Baldwin 2012) is asked for
one out of `LANGUAGES` instead of all 140 it knows: on short texts the many languages that nobody asks for win by chance.
Right answers, in per cent, on runs of n words cut from English sentences (n = 2, 3, 4, 5, 6: 6,793 to 1,660 runs) and from
German ones (245 to 60 runs):

    words                            2     3     4     5     6
    en, out of `LANGUAGES`          76    93    95   99.5  99.8
    de, out of `LANGUAGES`          92    98    99   100   100
    en, out of all 140              63    84    91    98   99.4

Of 37,174 English sentences 75 are called another language, as are 3 of 192 right answers to the mini questions: mostly
names ("Leonardo da Vinci painted the Mona Lisa."). Simplified and traditional Chinese are not told apart.
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
"""The languages that can be asked for, the 15 targets of CoVoST 2 and English, with the script each is written in. KANA
stands for Japanese as it is written: Han and kana together."""

# Others that models answer in. Near twins of a target (ms of id, da and no of sv, hr of sl, az of tr) are left out: a
# short sentence is told from its twin no better than by a coin.
_OTHERS = ("el", "es", "fr", "he", "hi", "it", "ko", "nl", "pl", "pt", "ru", "th", "uk", "vi")
LANGUAGES = (*SCRIPTS, *_OTHERS)

SHORT = (
    4  # words: of fewer, only the language asked for and English are weighed against each other (2 words: 95 % right)
)
_ALONE = {"TAMIL": "ta", "HAN": "zh", "MONGOLIAN": "mn"}  # scripts that one language here is written in
_NAMES = ("LATIN", "CYRILLIC", "ARABIC", "TAMIL", "GREEK", "HEBREW", "DEVANAGARI", "HANGUL", "THAI", "MONGOLIAN")
_HAN = ("CJK", "IDEOGRAPHIC")
_KANA = ("HIRAGANA", "KATAKANA")
_NOTHING = -1e38  # below every score: what py3langid gives a text without a feature
_JAPANESE = 0.05  # share of kana among Han and kana from which a text is Japanese; Chinese has none


_VERSION = 2  # bumped when a text would be taken for another language


def signature() -> str:
    """Which py3langid, and of how many languages it chooses."""
    return f"v{_VERSION}|py3langid:{version('py3langid')}|of:{len(LANGUAGES)}"


@cache
def script_of(character: str) -> str:
    """The script of a letter or mark: a name of Unicode ("LATIN"), "HAN", "KANA", "OTHER"; "" for what is no letter, and for
    a mark that any script may have."""
    name = unicodedata.name(character, "")
    if unicodedata.category(character)[0] not in "LM" or name.startswith(("COMBINING", "VARIATION")):
        return ""
    if name.startswith(_HAN):
        return "HAN"
    if name.startswith(_KANA) or character == "ー":
        return "KANA"
    return next((script for script in _NAMES if name.startswith(script)), "OTHER")


def scripts(text: str) -> Counter[str]:
    """How many letters of a text are of which script; letters of full or half width, or of Arabic in its written forms, count
    as what they stand for."""
    counts = Counter(script_of(c) for c in unicodedata.normalize("NFKC", text))
    del counts[""]
    return counts


def is_in(text: str, language: str) -> bool:
    """Whether a text is in `language`, a key of SCRIPTS.

    The script that most letters are of must be the language's; what Tamil, Han, kana or the Mongolian script do not decide,
    py3langid does. Of fewer than SHORT words it chooses between the language and English alone, and where English is asked
    for, Latin letters will do. A text of numbers alone ("1989.") is in any language, one without letter or number in none; where
    numbers will not do, see `lettered`.
    """
    text = unicodedata.normalize("NFKC", text)
    counts = scripts(text)
    if not counts:
        return any(unicodedata.category(c)[0] == "N" for c in text)
    script = _main_script(counts)
    if script in _ALONE:
        return _ALONE[script] == language
    if script != SCRIPTS[language]:
        return False
    if script == "KANA":
        return True
    few = len(text.split()) < SHORT
    return identify(text, tuple(sorted({language, "en"})) if few else LANGUAGES) == language


def lettered(text: str) -> bool:
    """Whether a text has a letter of any script."""
    return bool(scripts(text))


def _main_script(counts: Counter[str]) -> str:
    """The script of most letters; Han counts as KANA where there is kana among it."""
    east = counts["HAN"] + counts["KANA"]
    rest = {script: n for script, n in counts.items() if script not in ("HAN", "KANA")}
    if east > max(rest.values(), default=0):
        return "KANA" if counts["KANA"] >= _JAPANESE * east else "HAN"
    return max(sorted(rest), key=lambda script: rest[script])


def identify(text: str, among: tuple[str, ...] = LANGUAGES) -> str:
    """The likeliest of some languages; English for a text in which py3langid finds nothing to go by ("I", "Oslo").

    No random numbers: the same text gives the same language. Scores are float32, so two languages that are equal to six
    digits may change places between machines.
    """
    language, score = _identifier(among).classify(text)
    return str(language) if score > _NOTHING else "en"


@cache
def _identifier(among: tuple[str, ...]) -> Any:
    identifier = copy(_model())
    identifier.set_languages(list(among))  # replaces the copy's tables, leaves the model's alone
    return identifier


@cache
def _model() -> Any:
    """0.6 s the first time: the model is in the package, compressed."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)
