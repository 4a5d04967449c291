"""README.md, docs/ and results/questions.md as data for tests: their code blocks, inline code, links and headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUESTIONS = ROOT / "results" / "questions.md"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", QUESTIONS, *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: `where` is "file:line", `language` what stands behind the fence."""

    where: str
    language: str
    text: str


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(language: str) -> list[Block]:
    """All fenced blocks of a language, of all pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            line = text[: match.start()].count("\n") + 1
            found.append(Block(f"{name_of(page)}:{line}", match[2], match[3]))
    return [block for block in found if block.language == language]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def inline_code() -> Iterator[tuple[str, str]]:
    """(page, text between backticks) of all pages."""
    for page in PAGES:
        for code in re.findall(r"`([^`\n]+)`", prose(page)):
            yield name_of(page), code


def shell_commands() -> Iterator[tuple[str, list[str]]]:
    """(where, words) of every command in the shell blocks, comments left out."""
    for block in blocks("sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words: list[str] = []
            for word in [*shlex.split(line, comments=True), "&&"]:
                if word != "&&":
                    words.append(word)
                elif words:
                    yield f"{block.where}: {line.strip()}", words
                    words = []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Python-Markdown and GitHub make them."""
    found = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", heading).strip().lower()
        found.add(re.sub(r"[-\s]+", "-", plain))
    return found
