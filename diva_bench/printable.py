"""Escape texts from elsewhere before they are shown in a terminal, Markdown, HTML, LaTeX, CSV or JSON.

Answers, ids, names and foreign messages may contain terminal commands (escape sequences), characters that change the
text direction (bidi overrides), invisible characters (zero width, half of a surrogate pair), and syntax of a format (a
formula, a link). `visible` writes such characters as escapes, so that two different texts always look different. The
other functions do the same, and then escape what their format needs.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from functools import lru_cache
from html import escape
from typing import Any

_HIDDEN = frozenset(
    {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
)  # control, format, surrogate, private, unassigned, separators
_JOINERS = "\u200c\u200d"  # allowed, because some scripts and emoji need them
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BEGINS_ESCAPE = frozenset("xuUnrt\\")


@lru_cache(maxsize=65536)
def _hidden(char: str) -> bool:
    return char not in _JOINERS and unicodedata.category(char) in _HIDDEN


_names: dict[str, str] = {}  # path of a folder in the cache -> the file of the user that was unpacked there


def rename(folder: str, name: str) -> None:
    """From now on write `name: ...` in place of `folder/...` in all texts that are shown."""
    _names[folder] = name


_TYPED = re.compile(r"`diva-bench [^`]*`")


def _named(text: str) -> str:
    for folder, name in _names.items():
        text = _instead(text, folder, name)
    return text


def _instead(text: str, folder: str, name: str) -> str:
    """The text with the name for the folder. A command line that we advise gets a path that can be typed: that of the unpacked
    file."""
    if folder not in text:
        return text

    def typed(found: re.Match[str]) -> str:
        command = found[0].replace(f"{folder}/", "unpacked/")
        return command if command == found[0] else f"`unzip {shlex.quote(name)} -d unpacked` and {command}"

    return _TYPED.sub(typed, text).replace(f"{folder}/", f"{name}: ").replace(folder, name)


def visible(text: str) -> str:
    """The text with an escape (`\\x1b`, `\\u202e`) in place of every character that is invisible or has an effect. A
    backslash that would look like the beginning of an escape is doubled, so that different texts stay different."""
    text = _named(text)
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    out: list[str] = []
    for char, following in zip(text, f"{text[1:]} ", strict=True):
        if char == "\\":
            out.append("\\\\" if following in _BEGINS_ESCAPE or _hidden(following) else "\\")
        else:
            out.append(_escape(char) if _hidden(char) else char)
    return "".join(out)


def message(text: str) -> str:
    """One of our messages that contains foreign text: as `visible`, but line breaks and backslashes stay (Python's own
    escapes)."""
    return "".join(_escape(char) if char != "\n" and _hidden(char) else char for char in _named(text))


def _escape(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# ---------------------------------------------------------------- files

_FORMULA = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_PLAIN = re.compile(r"[-+]?(\d[\d.,]*)?%?|-+")  # begins like a formula, but is a number or a dash
_MARKS = re.compile(r"([\\|*`])|(?<!\w)(_)|(_)(?!\w)|(~)(?=~)|(\])(?=[(\[:])|(!)(?=\[)|(?<=www)(\.)")
_ADDRESS = re.compile(r"(?<=[A-Za-z]):(?=//)")
_BLOCK = re.compile(r"^([#>+=-])(?=\s|[#>+=-]|$)|^(\d+)([.)])(?=\s)")


_COMMAND = re.compile(r"`[a-z]+(?:[ -][a-z]+)*`")


def markdown(text: str, *, item: bool = False) -> str:
    """Text of a cell or heading in Markdown, without code, emphasis, links or HTML.

    Args:
        text: The text.
        item: It is a list item: no block elements either, but code of lower-case words stays, because our notes name
            commands so.
    """
    if item and (code := _COMMAND.search(text)):
        before, after = text[: code.start()], text[code.end() :]
        return markdown(before, item=True) + code[0] + (markdown(f"x{after}", item=True)[1:] if after else "")
    text = _MARKS.sub(r"\\\g<0>", visible(text))
    text = _ADDRESS.sub("&#58;", text.replace("&", "&amp;").replace("<", "&lt;"))
    return _BLOCK.sub(lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", text) if item else text


def csv_cell(text: str) -> str:
    """Text of a CSV cell that no spreadsheet evaluates: an apostrophe is put before a formula, as spreadsheets do it.
    Numbers stay."""
    text = visible(text)
    return f"'{text}" if _FORMULA.match(text) and not _PLAIN.fullmatch(text) else text


def html(text: str) -> str:
    """Text of an element or of a quoted attribute in HTML."""
    return escape(visible(text), quote=True)


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}",
}


def latex(text: str) -> str:
    """Text of a cell in LaTeX. A leading bracket or star is put in braces, because the line end before it would take it as
    an argument."""
    text = "".join(_LATEX.get(c, c) for c in visible(text))
    return f"{{{text[0]}}}{text[1:]}" if text.startswith(("[", "*")) else text


def as_json(value: Any, *, indent: int | None = 1, ascii_only: bool = False) -> str:
    """JSON of the same value, with escapes for the characters that `visible` escapes."""
    text = _in_json(json.dumps(value, indent=indent, ensure_ascii=ascii_only, allow_nan=False), ascii_only)
    return text if text.isascii() and "\x7f" not in text else "".join(_json_char(c) for c in text)


def _in_json(text: str, ascii_only: bool) -> str:
    """As `_named`, for text that is JSON."""
    for folder, name in _names.items():
        there, instead = (json.dumps(part, ensure_ascii=ascii_only)[1:-1] for part in (folder, name))
        text = _instead(text, there, instead)
    return text


def _json_char(char: str) -> str:
    if char == "\n" or not _hidden(char):
        return char
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


# ---------------------------------------------------------------- numbers


def duration(seconds: float) -> str:
    """75 -> "1:15"."""
    whole = int(seconds + 0.5)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"
