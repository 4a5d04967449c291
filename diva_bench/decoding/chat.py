"""The chat frame: what a model's chat template puts around a question.

Some templates (Llama 3.2, Granite) write the day into the system turn. Asked so, one run would have two prompts on two
days; here every template is told the same day, the one that Llama's own takes where it is told none.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from string import ascii_letters
from typing import Any

from diva_bench.errors import AssetError, one_line

_TODAY = datetime(2024, 7, 26, tzinfo=UTC)
TODAY = "26 Jul 2024"
"""As templates that ask for a `date_string` have it."""
_LETTERS = ascii_letters.replace("s", "")  # %s is the time in seconds where the machine stands, no day
_MARK = "DIVABENCHSPOKENHERE"  # stands for what was said while the template is rendered


def around(tokenizer: Any, prompt: str, system: str | None, with_date: bool = True) -> tuple[str, str]:
    """The text before and after what was said: the rendered template, cut where a mark stands for it. The instruction
    stands in the user's turn, before what was said.

    `tokenizer`: of transformers. `with_date`: the day; False as older versions rendered it, by the clock. AssetError where the
    template takes no such turns, or does not show the user's words once.
    """
    turns = [{"role": "user", "content": f"{prompt}\n\n{_MARK}" if prompt else _MARK}]
    if system:
        turns.insert(0, {"role": "system", "content": system})
    name = Path(str(tokenizer.name_or_path)).name
    try:
        text = tokenizer.apply_chat_template(
            turns,
            chat_template=(_told_the_day() if with_date else "") + tokenizer.get_chat_template(),
            tokenize=False,
            add_generation_prompt=True,
            **({"date_string": TODAY} if with_date else {}),
        )
    except Exception as err:  # a template is a program of its own: TemplateError, TypeError, ...
        what = "a system message and a question" if system else "a question"
        raise AssetError(
            f"{name}: its chat template refuses {what} ({one_line(err)}). "
            + ("Use a task without `system`, or another LLM." if system else "Use another LLM.")
        ) from err
    before, mark, after = str(text).partition(_MARK)
    if not mark or _MARK in after:
        raise AssetError(f"{name}: its chat template does not show the user's words once. Use another LLM.")
    return before, after


@lru_cache(maxsize=1)
def _told_the_day() -> str:
    """A macro that hides the clock of transformers' `strftime_now`: on one day, what a format says is a replacement of
    letters. (A function of ours does not reach the template: what it is given is made plain data first.)"""
    texts = {f"%{flag}{letter}": _TODAY.strftime(f"%{flag}{letter}") for letter in _LETTERS for flag in ("", "-")}
    date_texts = {code: text for code, text in texts.items() if text and not text.startswith("%")}
    replaced = "".join(f"|replace({code!r}, {text!r})" for code, text in {"%%": "\0", **date_texts, "\0": "%"}.items())
    return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}\n"


@lru_cache(maxsize=64)
def frame(folder: Path, system: bool, with_date: bool = True) -> str:
    """The template of the LLM in `folder` as rendered around a question, with names in place of what a task says:
    "<|user|>{prompt}\\n\\n{speech}<|assistant|>", with `system` also "{system}". Reads the tokenizer, not the weights.

    Raises AssetError where the tokenizer cannot be read, and as `around` does.
    """
    before, after = around(tokenizer_of(folder), "{prompt}", "{system}" if system else None, with_date)
    return f"{before}{{speech}}{after}"


@lru_cache(maxsize=2)
def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of the model in a folder; AssetError where it cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as err:  # safetensors and tokenizers raise their own kinds, some of them plain Exception
        raise AssetError(
            f"{folder}: its tokenizer cannot be loaded ({one_line(err)}). Remove the folder and pull it again."
        ) from err
