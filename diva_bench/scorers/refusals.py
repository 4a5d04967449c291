"""Phrases with which assistants refuse to answer. The list has a version, because changing it changes scores.

A refusal names the refused thing (help, an answer, a translation) or an AI: "I'm sorry, I can't come tonight" is an
ordinary sentence, whose translation or transcript is not a refusal. "I don't know" is an answer. Languages: English,
German, Chinese and Japanese, because models mostly refuse in English, whatever language was requested.
"""

from __future__ import annotations

import re

VERSION = 1

_CANNOT = (
    r"(?:can ?not|can't|could not|couldn't|won't|will not|not able to|unable to|"
    r"(?:'m|am|are|'re|is) (?:currently )?(?:unable|not able) to)"
)
_WORK = (
    r"(?:assist|help (?:you )?(?:with|you)|help\b[.!]?$|answer|provide|respond|fulfil|translate|process|hear\b|listen|"
    r"access|comply|complete|determine|identify|transcribe|engage in|discuss|understand (?:the|your|what you)|"
    r"do that\b[.!]?$|(?:continue|create|generate|give|offer|perform|play|see|share|support|write)(?: with| you)? "
    r"(?:an?|any|such|that|this|your)\b)"
)
_AI = r"(?:an? )?(?:ai\b|a\.i\.|artificial intelligence|(?:large |ai )?language model|(?:text|voice)-based|virtual assistant)"
_NOT = r"(?:can ?not|can't|don't|do not|unable|not able|not capable|am not|'m not|lack|no access|not have)"
_SORRY = r"\b(?:sorry|afraid|apologi[sz]e|apologies|unfortunately|regret)\b"
_NICHT = r"\bnicht\b.{0,40}\b(?:helfen|beantworten|übersetzen|bereitstellen)\b"

PATTERNS = (
    # I can't assist with that; I'm sorry, but I am unable to provide ...; Unfortunately, we cannot ...
    rf"^(?:.{{0,40}}{_SORRY}.{{0,60}}?)?\b(?:i|we) ?{_CANNOT} (?:\w+ )?{_WORK}",
    rf"^(?:i'm |i am )?(?:very |really )?(?:sorry|afraid),? (?:but )?(?:i |that )*{_CANNOT}(?: do (?:that|this))?[.!]?$",
    # As an AI language model, I don't have ...
    rf"\bas {_AI}\b.{{0,60}}?\b{_NOT}\b",
    rf"^.{{0,30}}\bi(?:'m| am) (?:just |only )?{_AI}\b.{{0,60}}?\b{_NOT}\b",
    # I don't have access to audio; I do not have the ability to hear
    r"\bi (?:do not|don't) have (?:the |any )?(?:access|ability|capability|capacity|enough (?:information|context))\b",
    r"\b(?:against|violates?) my (?:guidelines|programming|policy|policies)\b",
    # German
    rf"\b(?:tut mir leid|leider|bedaure|entschuldigung)\b.{{0,60}}\b(?:ich|wir)\b.{{0,60}}{_NICHT}",
    r"\bals (?:ki|künstliche intelligenz|sprachmodell)\b.{0,60}\b(?:nicht|kein)",
    # Chinese, Japanese
    r"(?:抱歉|对不起|很遗憾).{0,6}(?:我|本)?.{0,6}(?:无法|不能|没办法).{0,10}(?:回答|提供|帮助|协助|翻译|处理|理解)",
    r"作为(?:一个|一名)?(?:ai|人工智能|语言模型).{0,20}(?:无法|不能|没有)",
    r"申し訳(?:ありません|ございません).{0,40}(?:できません|お答え|いたしかね|出来ません)",
    r"(?:ai|人工知能|言語モデル)(?:である)?(?:として|ですので|なので).{0,40}(?:できません|ありません)",
)
_REFUSES = re.compile("|".join(f"(?:{pattern})" for pattern in PATTERNS), re.DOTALL)
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ´`′", "'"))
_OPENING = 200  # characters; a refusal is at the beginning


def refuses(text: str) -> bool:
    """Whether an answer is a refusal, by its first 200 characters."""
    plain = " ".join(text.translate(_APOSTROPHES).lower().split())
    return _REFUSES.search(plain[:_OPENING]) is not None
