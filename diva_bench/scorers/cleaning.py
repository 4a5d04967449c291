"""Remove what a server leaves around an answer: reasoning, special tokens of a chat template, a role header. Every scorer
gets the cleaned text, and has the version of this step in its signature (`SIGNATURE`).

The run folder keeps the raw answer. A text without any of these is returned unchanged.
"""

from __future__ import annotations

import re
from functools import lru_cache

VERSION = 1
"""Bump it when the result for a text changes."""
SIGNATURE = f"answer:clean.v{VERSION}"

_REASONING = r"(?:[a-z_]+:)?(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad)"
_OPENS = rf"<{_REASONING}>|\[think\]|◁think▷|<\|begin_of_thought\|>|<\|start_thinking\|>|<unused94>thought"
_CLOSES = rf"</{_REASONING}>|\[/think\]|◁/think▷|<\|end_of_thought\|>|<\|end_thinking\|>|<unused95>"
_TAG = re.compile(rf"(?P<opens>{_OPENS})|(?P<closes>{_CLOSES})", re.IGNORECASE)
# gpt-oss: <|channel|>analysis<|message|>... <|channel|>final<|message|>the answer
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w*)[^<]*<\|message\|>")

_TURN_ENDS = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|end_of_text|endoftext|end|return|end_of_turn|end_of_turn_token|endofprompt)\|>"
    r"|</s>|<end_of_turn>|<eos>|<eot>|<｜end▁of▁sentence｜>|<\|eos\|>|<turn\|>|\[eos\]",
    re.IGNORECASE,
)
_SPECIAL = re.compile(
    r"<\|im_start\|>\s*(?:assistant|system|user)?"
    r"|<\|start_header_id\|>\s*\w*\s*<\|end_header_id\|>"
    r"|<start_of_turn>\s*(?:model|user)?"
    r"|<\|start\|>\s*(?:assistant|system|user)?"
    r"|<\|[^<>|\s][^<>|\n]{0,40}\|>"
    r"|<｜[^<>｜\n]{1,40}｜>"
    r"|</?s>|<(?:bos|eos|pad|unk|eot|mask|end_of_turn)>|<turn\|>|<\|turn>\s*(?:model|user)?"
    r"|\[/?inst\]|<</?sys>>|\[(?:bos|eos|pad)\]|<extra_id_\d+>|<unused\d+>",
    re.IGNORECASE,
)
# the repeated prompt: from a header of the system or the user to the first header of the assistant
_ECHO = re.compile(
    r"\s*(?:<s>|<bos>|<\|begin_of_text\|>|<\|endoftext\|>|\s)*"
    r"(?:<\|im_start\|>\s*(?:system|user)|<\|start_header_id\|>\s*(?:system|user)|<start_of_turn>user|<\|(?:system|user)\|>|\[inst\])"
    r".*?(?:<\|im_start\|>\s*assistant|<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>|<start_of_turn>model"
    r"|<\|assistant\|>|\[/inst\])",
    re.IGNORECASE | re.DOTALL,
)
_ROLE = re.compile(r"\s*(?:<\|)?assistant(?:\|>)?[ \t]*(?::|\r?\n)\s*")


_NESTED = 100  # limit of nested tokens, so that a malicious text cannot take hours


@lru_cache(1 << 12)
def clean(text: str) -> str:
    """The answer in the output of a model.

    1. Reasoning is removed: everything between an opening and a closing tag (<think>, <thinking>, [THINK],
    <|channel|>analysis, ...), and everything before a closing tag without an opening one (the template may contain
    that). Reasoning without an end leaves an empty answer: see `unfinished`.

    2. A repeated prompt is removed, up to the header of the assistant.

    3. Everything after the token that ends the turn is removed (<|im_end|>, </s>, <|eot_id|>, <end_of_turn>, ...).

    4. Other special tokens are removed, with the role name in a header; so is "assistant:" at the beginning.
    """
    for _ in range(_NESTED):
        text_once = _once(text)
        if text_once == text:
            break
        text = text_once  # removing a token may form a new one
    return text


def _once(text: str) -> str:
    answer = _answer(text)
    if answer is None:
        return ""
    answer = _ECHO.sub("", answer, count=1) if _ECHO.match(answer) else answer
    turn = answer
    if _SPECIAL.search(answer):
        turn = next((part for part in _TURN_ENDS.split(answer) if _SPECIAL.sub("", part).strip()), "")
    plain = _SPECIAL.sub("", turn)
    role = _ROLE.match(plain)
    plain = plain[role.end() :] if role else plain
    return text if plain == text else plain.strip()


def unfinished(text: str) -> bool:
    """Whether a text ends inside its reasoning: the model was cut off before it answered."""
    return _answer(text) is None


def reasons(text: str) -> bool:
    """Whether a text contains reasoning, finished or not."""
    return _TAG.search(text) is not None or _CHANNEL.search(text) is not None


def _answer(text: str) -> str | None:
    """The text without its reasoning; None if the reasoning has no end."""
    channels = list(_CHANNEL.finditer(text))
    if channels:
        last = channels[-1]
        if last[1].lower() != "final":
            return None
        text = text[last.end() :]
    parts: list[str] = []
    start, inside = 0, False
    for tag in _TAG.finditer(text):
        if tag.lastgroup == "opens":
            if not inside:
                parts.append(text[start : tag.start()])
            inside = True
            continue
        if not inside:
            parts.clear()  # the opening tag was before the beginning of the text
        start, inside = tag.end(), False
    return None if inside else "".join([*parts, text[start:]])
