"""Generated pages are equal to what docs/generate.py makes now; the site and the citation know all of it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import diva_bench

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
        committed = (ROOT / name).read_text(encoding="utf-8")
        lines = sorted(set(committed.splitlines()) ^ set(text.splitlines()))[:20]
        assert committed == text, f"{name} is out of date. Run: {generate.COMMAND}\n" + "\n".join(lines)


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


def test_a_section_is_replaced_between_its_marks_and_nowhere_else(generate: ModuleType) -> None:
    page = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"
    assert generate.with_section(page, "x", "new") == "a\n<!-- x:begin -->\n\nnew\n\n<!-- x:end -->\nb\n"
    with pytest.raises(SystemExit, match="no section"):
        generate.with_section(page, "y", "new")


def test_the_table_of_scores_has_whole_runs_of_mini_models(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(folder: str, **changes: Any) -> None:
        metric = {"value": 50.04, "low": 40.0, "high": 60.0}
        run = {"task": "t", "model": "diva", "model_edition": "mini", "primary": "acc", "n": 48, "clusters": 8}
        run |= {"complete": True, "limit": None, "metrics": {"acc": metric}, "at_chance": True}
        run |= {"baseline": 33.3, "baseline_of": "prior", **changes}
        path = tmp_path / "results" / "mini-v1" / folder / "summary.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(run), encoding="utf-8")

    put("t-1/diva-1")
    put("t-1/oracle-1", model="oracle", at_chance=False)
    put("t-1/diva-nano-1", model_edition="nano", metrics={})
    put("t-2/diva-1", limit=4, metrics={})
    put("t-3/diva-1", audio="silence", metrics={})
    put("t-4/diva-1", complete=False, metrics={})
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.scores_table().splitlines()[2:] == [
        r"| t | acc | 48 | 50.0 [40.0, 60.0] | - | \* 50.0 [40.0, 60.0] | 33.3 (prior) |",
        "",
        "t has 8 clusters, too few for a reliable interval.",
    ]
    put("t-5/diva-2")
    with pytest.raises(SystemExit, match="two whole runs of diva on t"):
        generate.scores_table()


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for inner in (entry.values() if isinstance(entry, dict) else entry) for page in pages(inner)]

    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    there = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert sorted(pages(settings["nav"])) == sorted(there)


def test_the_citation_names_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == diva_bench.__version__
