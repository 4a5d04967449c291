"""What the package says: every option that a text names exists, and no text has a phrase that is hard to read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from test_doc_snippets import COMMANDS, leaves, options

from diva_bench.cli.main import app

ROOT = Path(__file__).parents[1]
OF_OTHERS = {  # pip, hf, git, torchrun, accelerate, sacrebleu, inspect, lm-eval, tensorboard
    *("--no-deps", "--only-binary", "--no-cache-dir", "--no-input", "--progress-bar", "--retries", "--disable-pip-version-check"),
    *("--no-build-isolation", "--no-index", "--dest", "--porcelain", "--untracked-files", "--depth", "--branch", "--revision"),
    *("--nproc-per-node", "--multi_gpu", "--num_processes", "--paired-bs", "--to", "--log_samples", "--no-log-samples"),
    "--logdir",
}  # fmt: skip
HARD = (
    *("is not to be had", "can be had", "so-manieth", "hears nothing", "hear nothing", "There is:", "so many wordings"),
    *("drawn by how common", "Judge stored answers", "not to be told from", "are told apart", "nobody would have to listen"),
    *("have nothing in common", "of no metric here", "for who has", "whoever gave", "judged by scorers", "not been judged"),
    *("nothing for certain", "stands in line", "runs of nobody", "in no table", "where is the gap", "is no run folder, and"),
    *("of one judging", "goes on where", "to go on from", "A run of its own", "a run of its own each", "what hears"),
)  # fmt: skip
"""Phrases that texts of this package had once, and that a reader does not understand at once."""


@cache
def texts(docstrings: bool) -> tuple[tuple[str, str], ...]:
    """(place, text) of every string in the package, with docstrings or without them."""
    return tuple(_texts(docstrings))


def _texts(docstrings: bool) -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "diva_bench").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            if docstrings or id(node) not in bare:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", " ".join(node.value.split())


def helps(group: Any = None) -> Iterator[tuple[str, str]]:
    """(command, text) of every help text of the command line."""
    group = group or typer.main.get_command(app)
    yield group.name, group.help or ""
    yield from ((f"{group.name} {parameter.name}", getattr(parameter, "help", "") or "") for parameter in group.params)
    for command in getattr(group, "commands", {}).values():
        yield from helps(command)


def test_every_option_that_a_text_names_exists() -> None:
    every = {option for command in (COMMANDS, *leaves(COMMANDS)) for option in options(command)} | OF_OTHERS
    named = re.compile(r"(?<![\w-])--[a-z][\w-]*[a-z]")
    wrong = [f"{place}: {name}" for place, text in texts(True) for name in named.findall(text) if name not in every]
    assert not wrong, "\n".join(wrong)


@cache
def everything() -> tuple[tuple[str, str], ...]:
    """(place, text) of all that people read."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    written = [(str(page.relative_to(ROOT)), " ".join(page.read_text("utf-8").split())) for page in pages]
    return (*texts(False), *helps(), *written)


@pytest.mark.parametrize("phrase", HARD)
def test_no_text_has_a_phrase_that_is_hard_to_read(phrase: str) -> None:
    found = [place for place, text in everything() if phrase in text]
    assert not found, f"{phrase!r} in {', '.join(found)}"


def test_the_check_of_texts_sees_help_and_messages() -> None:
    assert any("Number of prompt variants" in text for _, text in helps())
    assert any("is not available (" in text for _, text in texts(False))
    assert not any(text.startswith("What the package") for _, text in texts(False))
