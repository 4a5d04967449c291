"""Where the instruction stands in DiVA's prompt: in our layout, and in the two of the authors' code.

    clean    the chat template of the LLM around one user turn: instruction, then speech (decoding/chat.py)
    paper    DiVA-Eval, eval/models/via.py, which made the paper's numbers: the instruction in a system header that no
             <|eot_id|> closes, then a second <|begin_of_text|> and the user turn with the speech
    release  modeling_diva.py beside the published weights: the first line of the template before the user's words, the
             instruction, and the last line; with the template of Llama 3 a user header that nothing closes

The pieces of the authors' layouts are tokenised one by one, as theirs are, and an answer ends at <|eot_id|> alone.
"""

from __future__ import annotations

from typing import Any, Literal

from diva_bench.decoding import chat
from diva_bench.errors import AssetError, unknown

Layout = Literal["clean", "paper", "release"]
LAYOUTS = ("clean", "paper", "release")
END = "<|eot_id|>"
_SYSTEM = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n"
_USER = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
_ASSISTANT = f"{END}<|start_header_id|>assistant<|end_header_id|>\n\n"


def check(layout: str, model: str) -> None:
    """Raises SpecError for a layout that does not exist."""
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS, f"args of model {model}")


def pieces(layout: str, tokenizer: Any, prompt: str, system: str | None) -> tuple[list[str], list[str]]:
    """(texts before, texts after the speech), each tokenised on its own.

    Raises:
        AssetError: The LLM does not have the control tokens of Llama 3, or as `chat.around`.
    """
    if layout == "clean":
        before, after = chat.around(tokenizer, prompt, system)
        return [before], [after]
    known = tokenizer.get_vocab()
    if lost := [token for token in ("<|begin_of_text|>", "<|start_header_id|>", END) if token not in known]:
        raise AssetError(
            f"{tokenizer.name_or_path}: layout {layout} is made of the control tokens of Llama 3, and this LLM has no {lost[0]}. "
            "Use layout clean."
        )
    instruction = "\n".join(text for text in (system, prompt) if text)
    if layout == "paper":
        return [_SYSTEM, instruction, _USER] if instruction else [_USER], [_ASSISTANT]
    prefix, suffix = chat.around(tokenizer, "", None)
    lines = [line for line in prefix.split("\n") if line]
    return [f"{lines[0]}\n", instruction, f"\n{lines[-1]}\n"] if instruction else [prefix], [suffix]


def frame(layout: str, tokenizer: Any, system: bool) -> str:
    """As `chat.frame`: the prompt with names in place of texts."""
    before, after = pieces(layout, tokenizer, "{prompt}", "{system}" if system else None)
    return f"{''.join(before)}{{speech}}{''.join(after)}"
