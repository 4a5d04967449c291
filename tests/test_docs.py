"""The pages of docs/ say what is true: generated pages are equal to what their script makes now."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py, which is a script and no part of the package."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_generated_pages_are_up_to_date(generate: ModuleType) -> None:
    try:
        pages = generate.pages()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: there is no list of the project's files")
    for name, text in pages.items():
        committed = (ROOT / "docs" / name).read_text(encoding="utf-8")
        lines = sorted(set(committed.splitlines()) ^ set(text.splitlines()))[:20]
        assert committed == text, f"docs/{name} is out of date. Run: {generate.COMMAND}\n" + "\n".join(lines)


def test_a_file_without_a_description_is_named(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "a/x.py": '"""Does this, and that. More words.\n\nA second paragraph."""\n',
        "a/empty.py": "",
        "a/bare.py": "x = 1\n",
        "a/y.yaml": "name: y\ndescription: A | B\n",
        "a/bare.yaml": "name: y\n",
        "z.md": "words\n# A title\n",
        "tasks/mini/clip.ogg": "clip",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    page, missing = generate.files_page(sorted(files))
    assert missing == ["a/bare.py", "a/bare.yaml"]
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [
        "| `z.md` | A title |",
        "| `x.py` | Does this, and that |",
        "| `y.yaml` | A \\| B |",
        f"| `tasks/mini/` | {generate.FOLDERS['tasks/mini/']} |",
    ]


@pytest.mark.parametrize(
    ("docstring", "line"),
    [
        ("One sentence.", "One sentence"),
        ("Two lines\nof one sentence: with more.\n\nRest.", "Two lines of one sentence: with more"),
        ("First. Second.", "First"),
        ("Reads `a.b`, e.g. from 3.5 on. Then `x`.", "Reads `a.b`, e.g. from 3.5 on"),
        ("Version 2. Not a sentence of its own.", "Version 2"),
    ],
)
def test_the_first_sentence_of_a_docstring(generate: ModuleType, docstring: str, line: str) -> None:
    assert generate.first_sentence(docstring) == line
