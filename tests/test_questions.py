"""results/questions.md: every number of a table stands in the source that its row names."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from command_line import call
from doc_pages import QUESTIONS, ROOT

TEXT = QUESTIONS.read_text(encoding="utf-8")
COMPUTE = "leaderboard --compute"


def rows() -> Iterator[tuple[str, list[str], str]]:
    """(first cell, other cells, source) of every row that names a source."""
    for line in TEXT.splitlines():
        if (match := re.fullmatch(r"\| (.*) \| `(.+?)` \|", line)) and "---" not in line:
            cells = [cell.strip() for cell in match[1].split("|")]
            yield cells[0], cells[1:], match[2]


def numbers(text: str) -> set[float]:
    return {float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3})", "", text))}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    table = call(
        tmp_path_factory.mktemp("questions"),
        "leaderboard",
        str(ROOT / "results" / "mini-v1"),
        "--compute",
        "--format",
        "md",
    )
    files = {source: (QUESTIONS.parent / source) for _, _, source in rows() if source != COMPUTE}
    return {name: path.read_text(encoding="utf-8") for name, path in files.items()} | {COMPUTE: table.stdout}


def test_every_number_of_a_row_stands_in_its_source(sources: dict[str, str]) -> None:
    seen = 0
    for name, cells, source in rows():
        for cell in cells:
            assert numbers(cell) <= numbers(sources[source]), f"{name}: {cell} is not in {source}"
            seen += len(numbers(cell))
            if "[" in cell or "±" in cell:
                assert cell in sources[source].replace("† ", "").replace("\\* ", ""), (
                    f"{name}: {cell} is not in {source}"
                )
    assert seen > 100


def test_there_are_nine_entries_and_each_has_commands_and_says_what_is_missing() -> None:
    entries = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
    assert [entry.split(".")[0] for entry in entries] == [str(number) for number in range(1, 10)]
    for entry in entries:
        assert "```sh\n" in entry
        assert "**Missing:**" in entry or "**Not measured.**" in entry
        assert entry.count("\n") < 45, "one screen each"


def test_the_check_of_numbers_sees_a_wrong_one() -> None:
    assert not numbers("21.5 ± 0.4") <= numbers("21.6 ± 0.4")
    assert numbers("2,201,600") == {2_201_600.0}
