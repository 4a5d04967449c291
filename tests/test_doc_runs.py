"""The Python of README.md and of the notebook in docs/ runs as it stands, in an empty folder, with `echo` for a model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from doc_pages import ROOT, blocks


def run(code: str, place: Path) -> str:
    """What a fresh Python prints for this code in a folder of its own."""
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_eight_lines_of_the_readme(tmp_path: Path) -> None:
    [code] = [
        b.text for b in blocks("python") if b.where.startswith("README.md") and "import diva_bench as db" in b.text
    ]
    assert len([line for line in code.splitlines() if line]) == 8
    shutil.copy(ROOT / "tasks" / "mini-v1" / "audio" / "heysquad" / "heysquad-002.ogg", tmp_path / "clip.wav")
    said = run(code.replace('"cascade"', '"echo"') + "print(len(frame), [run.task for run in again])", tmp_path)
    assert said.splitlines()[-1] == "1 ['rows', 'heysquad']"
    assert "heysquad-limit8-" in said


def test_the_adapter_of_the_page_on_models_keeps_the_contract(tmp_path: Path) -> None:
    [code] = [b.text for b in blocks("python") if b.where.startswith("docs/models.md") and "check_adapter" in b.text]
    assert len(code.splitlines()) in range(36, 45)
    run(code, tmp_path)
    spoilt = code.replace("for label in request.choices or ()", "for label in (request.choices or ())[1:]")
    done = subprocess.run([sys.executable, "-c", spoilt], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "BrokenContract: adapter Loudness breaks 1 rule of the contract of adapters:\n- choices: " in done.stderr


def test_the_notebook(tmp_path: Path) -> None:
    notebook = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells), "store it without outputs"
    code = "\n".join("".join(cell["source"]) for cell in cells)
    said = run(code + "\nprint(len(db.load_runs('out')), numbers[1].score, own[0].summary.n)", tmp_path)
    assert said.splitlines()[-1] == "4 0.0 4"
