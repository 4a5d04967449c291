"""A report for tests: a small task with sound, three systems' answers to it, one of them hostile."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import mini_task
from command_line import call

COUNT = 12
HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "javascript:alert(1)",
    "answer \u202egnp.exe\u202c \u2066x\u2069 \x1b[2J",
    "<!-- --><![CDATA[ ]]> ${7*7} {{7*7}}",
    "\u2028\u2029 \U000e0041 \u200b",
    "answer 6 <b onmouseover=alert(1)>&lt;&amp;</b>",
)
"""Answers that would do harm if a page took them as HTML, as JavaScript or as an order of the terminal."""


VOICE = "<svg onload=x>\u202e"
"""A value of a group, which pages show outside of data files."""


def rows() -> list[dict[str, object]]:
    return [
        {
            "id": f"q{i:03}",
            "audio": f"audio/q{i:03}.wav",
            "text": f"What is the number of sample {i}?",
            "answers": [f"answer {i}", f"number {i}"],
            "voice": VOICE if i == COUNT - 1 else "ab"[i % 2],
            "cluster": f"c{i // 2}",
        }
        for i in range(COUNT)
    ]


def answers(name: str, folder: Path, texts: list[str], *more: str) -> None:
    """Import a system's answers to the samples, in their order."""
    lines = [json.dumps({"id": row["id"], "text": text}) for row, text in zip(rows(), texts, strict=False)]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    asked = (
        "import",
        f"{name}.jsonl",
        "--task",
        "toy",
        "--model-name",
        name,
        "--edition",
        "mini",
        "--path",
        ".",
        *more,
    )
    done = call(folder, *asked, "--output", "results")
    assert done.returncode in (0, 1), done.stderr


def prepared(folder: Path, licensed: bool = False) -> Path:
    """A folder with the task `toy` and runs of it in `results`."""
    mini_task.write(folder, table=rows())
    if licensed:
        spec = folder / "toy.yaml"
        access = "access: {url: 'https://example.org/', note: ask there}"
        spec.write_text(spec.read_text(encoding="utf-8").replace(f"rows: {COUNT}", f"rows: {COUNT}, {access}"), "utf-8")
    right = [str(row["answers"][0]) for row in rows()]  # type: ignore[index]
    answers("good", folder, right)
    answers("middle", folder, [text if i % 3 else "no idea" for i, text in enumerate(right)])
    answers("hostile", folder, [*HOSTILE, *right[len(HOSTILE) :]])
    return folder


class Cells(HTMLParser):
    """The tables of a page: for every table a list of rows, each a list of texts of its cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._text: list[str] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._text = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._text is not None:
            self.tables[-1][-1].append(" ".join("".join(self._text).split()))
            self._text = None

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)


def data_file(path: Path) -> object:
    """The value in a data file of a report."""
    found = re.fullmatch(r'Report\.put\("[^"]+",(.*)\);\n', path.read_text(encoding="ascii"), re.DOTALL)
    assert found, path
    return json.loads(found[1])
