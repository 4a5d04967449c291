"""The chat frame: the text of a chat template around a question.

Some templates (Llama 3.2, Granite) write the date into the system turn, so that one run would have different prompts on
two days. Here every template gets the same date, the default of Llama's template.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from string import ascii_letters
from typing import Any

from diva_bench import disk
from diva_bench.errors import AssetError, one_line

_TODAY = datetime(2024, 7, 26, tzinfo=UTC)
TODAY = "26 Jul 2024"
"""In the format of templates with a `date_string`."""
_FRAME = 2  # bump when `frame` renders the same template differently
_LETTERS = ascii_letters.replace("s", "")  # %s is a time zone dependent time in seconds, not a date
_MARK = "DIVABENCHSPOKENHERE"  # takes the place of the spoken content while the template is rendered


def around(tokenizer: Any, prompt: str, system: str | None, with_date: bool = True) -> tuple[str, str]:
    """(text before, text after the spoken content) of the rendered template. The instruction is in the user's turn, before
    the content; so is the system message, before the instruction, where the template has no place for it (Gemma, Mistral).
    A template that can switch its model's reasoning off does so (Qwen3): an answer of 64 tokens has no room for it.

    Args:
        tokenizer: Of transformers.
        with_date: Use the fixed date; False: the clock, as older versions did.

    Raises:
        AssetError: The template does not accept these turns, or does not contain the user's words exactly once.
    """
    question = f"{prompt}\n\n{_MARK}" if prompt else _MARK
    if system:
        with contextlib.suppress(AssetError):
            text = rendered(tokenizer, [turn("system", system), turn("user", question)], with_date=with_date)
            if system in text:
                return _cut(tokenizer, text)
        question = f"{system}\n\n{question}"
    return _cut(tokenizer, rendered(tokenizer, [turn("user", question)], with_date=with_date))


Turn = dict[str, Any]
"""Role and content; content is text, or a list of parts."""


def turn(role: str, content: Any) -> Turn:
    return {"role": role, "content": content}


def rendered(tokenizer: Any, turns: list[Turn], template: str | None = None, with_date: bool = True) -> str:
    """The text of a template, that of the tokenizer if None, up to the beginning of the answer. Raises AssetError."""
    try:
        return str(
            tokenizer.apply_chat_template(
                turns,
                chat_template=(_fixed_date() if with_date else "") + (template or tokenizer.get_chat_template()),
                tokenize=False,
                add_generation_prompt=True,
                **({"date_string": TODAY, "enable_thinking": False} if with_date else {}),
            )
        )
    except Exception as err:  # a template is a program and may raise anything: TemplateError, TypeError, ...
        raise AssetError(
            f"{_name(tokenizer)}: its chat template refuses a question ({one_line(err)}). Use another LLM."
        ) from err


def _cut(tokenizer: Any, text: str) -> tuple[str, str]:
    before, mark, after = text.partition(_MARK)
    if not mark or _MARK in after:
        raise AssetError(f"{_name(tokenizer)}: its chat template does not show the user's words once. Use another LLM.")
    return before, after


def _name(tokenizer: Any) -> str:
    return Path(str(tokenizer.name_or_path)).name


@lru_cache(maxsize=1)
def _fixed_date() -> str:
    """A macro that replaces `strftime_now` of transformers: for a fixed date, formatting is a replacement of letters.
    (Functions of ours do not reach the template, because its arguments are converted to plain data.)"""
    texts = {f"%{flag}{letter}": _TODAY.strftime(f"%{flag}{letter}") for letter in _LETTERS for flag in ("", "-")}
    date_texts = {code: text for code, text in texts.items() if text and not text.startswith("%")}
    replaced = "".join(f"|replace({code!r}, {text!r})" for code, text in {"%%": "\0", **date_texts, "\0": "%"}.items())
    return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}\n"


@lru_cache(maxsize=64)
def frame(folder: Path, system: bool, with_date: bool = True) -> str:
    """The rendered template of the LLM in `folder` around a question, with names in place of texts:
    "<|user|>{prompt}\\n\\n{speech}<|assistant|>", with `system` also "{system}". It reads the tokenizer, not the
    weights.

    Raises:
        AssetError: The tokenizer cannot be read, or as `around`.
    """
    before, after = around(tokenizer_of(folder), "{prompt}", "{system}" if system else None, with_date)
    return f"{before}{{speech}}{after}"


def kept_frame(folder: Path, system: bool, cache: Path) -> str:
    """`frame`, kept in a cache folder: to read it again needs no tokenizer, and a dry run loads no transformers.

    It is rendered again where a file of the tokenizer or the version of transformers has changed.
    """
    files = sorted(path for pattern in ("*.json", "*.jinja", "*.model") for path in folder.glob(pattern))
    signs = [[path.name, *disk.stamp(path)] for path in files]
    key = json.dumps([_FRAME, str(folder.resolve()), signs, system, version("transformers")])
    file = cache / "frames" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    kept = disk.read_json(file)
    if isinstance(kept, str) and kept.count("{speech}") == 1:
        return kept
    rendered = frame(folder, system)
    with contextlib.suppress(OSError):  # where nothing can be kept, it is rendered again
        file.parent.mkdir(parents=True, exist_ok=True)
        disk.write_json(file, rendered)
    return rendered


@lru_cache(maxsize=2)
def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of the model in a folder. Raises AssetError if it cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as err:  # safetensors and tokenizers raise their own kinds, some of them plain Exception
        raise AssetError(
            f"{folder}: its tokenizer cannot be loaded ({one_line(err)}). Remove the folder and pull it again."
        ) from err
