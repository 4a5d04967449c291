"""The paper's ablation table from files as they were released: one import of a manifest, one `ablate --runs`"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import paper_twins
import pytest
from command_line import call
from paper_twins import SYSTEMS, TASKS
from rich.cells import cell_len
from sklearn.metrics import f1_score

LABELS = {"J": "joy", "Dis": "disgust", "Ang": "anger", "Ne": "neutral"}
RELEASED = ("--metric", "twin-heysquad=released")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = paper_twins.write(tmp_path_factory.mktemp("twins"))
    done = call(folder, "import", "--manifest", "all.csv", "--data-dir", "data", "--path", "specs")
    assert done.returncode == 0, done.stderr
    return folder


def ablated(place: Path, *words: str, code: int = 0, **environment: str) -> str:
    done = call(place, "ablate", "--runs", *words, "--path", "specs", **environment)
    assert done.returncode == code, done.stderr
    return done.stdout


def tree(text: str) -> Any:
    return json.loads(text)


def test_the_table_has_the_systems_as_given_and_every_task_as_columns(place: Path) -> None:
    table = tree(ablated(place, *SYSTEMS, *RELEASED, "--format", "json"))
    assert [row["model"] for row in table["rows"]] == list(SYSTEMS)
    metrics = ("released", "weighted_f1", "accuracy")
    assert table["columns"] == ["model"] + [
        f"{task} {name}"
        for task, metric in zip(TASKS, metrics, strict=True)
        for name in (metric, "difference", "p (Holm)")
    ]
    base, *others = table["rows"]
    scores = {
        row["model"]: [row[f"{task} {m}"] for task, m in zip(TASKS, metrics, strict=True)] for row in table["rows"]
    }
    for system in SYSTEMS:
        quiz, mood, remarks = paper_twins.answers(system).values()
        said = [LABELS.get(text, text.lower()) for _, text, _ in mood]
        assert scores[system] == [
            pytest.approx(100 * sum(score for *_, score in quiz) / len(quiz)),
            pytest.approx(100 * f1_score(paper_twins.emotions(), said, average="weighted", zero_division=0)),
            pytest.approx(100 * sum(score for *_, score in remarks) / len(remarks)),
        ]
    assert all(base[f"{task} difference"] is None for task in TASKS)
    for row in others:
        for i, task in enumerate(TASKS):
            between = row[f"{task} difference"]
            assert between["value"] == pytest.approx(scores[row["model"]][i] - scores["DiVA"][i])
            assert between["low"] < between["value"] < between["high"]
            sure = row[f"{task} p (Holm)"] < 0.05
            assert not (sure and between["low"] <= 0 <= between["high"]), "Holm can only raise a p-value"
    assert "adjusted for all 12 differences of this table" in " ".join(table["notes"])


def test_what_collapsed_is_told_from_what_is_nearly_as_good(place: Path) -> None:
    rows = {
        row["model"]: row for row in csv.DictReader(io.StringIO(ablated(place, *SYSTEMS, *RELEASED, "--format", "csv")))
    }
    sure = {
        name: [task for task in TASKS if row[f"{task} p (Holm)"] and float(row[f"{task} p (Holm)"]) < 0.05]
        for name, row in rows.items()
    }
    assert sure["MLP"] == sure["align-only"] == ["twin-heysquad", "twin-meld"]
    assert "twin-meld" in sure["distill-only"]
    assert "twin-meld" not in sure["no-init"]
    assert not [name for name, tasks in sure.items() if "twin-mustard" in tasks]


def test_markdown_is_one_table_with_the_marks_and_the_notes(place: Path) -> None:
    text = ablated(place, *SYSTEMS, *RELEASED, "--format", "md")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines[2:]] == list(SYSTEMS)
    assert {line.count("|") for line in lines} == {11}
    assert re.search(r"\| MLP \| [\d.]+ \| † -\d+\.\d \[-\d+\.\d, -\d+\.\d\] \| 0\.00\d\d \|", text)
    for note in (
        "- difference: the model minus DiVA, paired by sample",
        "- twin-heysquad: released, higher is better; 120 samples in 30 clusters",
        "- twin-meld: weighted_f1, higher is better; 102 samples in 26 clusters",
        "- imported: DiVA; distill-only; align-only; MLP; no-init",
        "- given\\|top:1\\|as released",
    ):
        assert note in text, note


def test_latex_is_a_table_with_the_rules_of_booktabs(place: Path, tmp_path: Path) -> None:
    text = ablated(place, *SYSTEMS, *RELEASED, "--format", "latex")
    body = text[text.index(r"\begin{tabular}") : text.index(r"\end{tabular}")]
    assert r"\begin{tabular}{lrrrrrrrrr}" in body
    lines = body.splitlines()[1:]
    assert [line.split("{")[0] for line in lines if line.startswith("\\")] == [
        r"\toprule",
        r"\cmidrule(lr)",
        r"\midrule",
        r"\bottomrule",
    ]
    groups, rules, heads = lines[1:4]
    assert groups == r" & " + " & ".join(rf"\multicolumn{{3}}{{c}}{{{task}}}" for task in TASKS) + r" \\"
    assert rules == r"\cmidrule(lr){2-4} \cmidrule(lr){5-7} \cmidrule(lr){8-10}"
    assert r"weighted\_f1" in heads
    rows = lines[5:14]  # the base has no interval, the others have a second line each
    assert {line.count("&") for line in [heads, *rows]} == {9}
    assert [line.split(" & ")[0] for line in rows] == [
        "DiVA",
        "distill-only",
        "",
        "align-only",
        "",
        "MLP",
        "",
        "no-init",
        "",
    ]
    assert all(line.count(r"{\scriptsize ") == 3 for line in rows[2::2])
    assert "|" not in body
    if shutil.which("pdflatex") is None:
        return
    wide = r"\documentclass[twocolumn]{article}\usepackage[width=16cm]{geometry}\usepackage{booktabs}\begin{document}"
    (tmp_path / "table.tex").write_text(wide + text + r"\end{document}")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout, "it is as wide as a page of a conference, and no wider"


@pytest.mark.parametrize("width", [80, 160])
def test_in_a_terminal_every_score_and_difference_is_there(place: Path, width: int) -> None:
    from diva_bench.tables import Column, Score, Table

    found = tree(ablated(place, *SYSTEMS, *RELEASED, "--format", "json"))
    shown = [
        [Score(**{**cell, "mark": "† "}) if isinstance(cell, dict) else cell for cell in row.values()]
        for row in found["rows"]
    ]
    groups = ["", *(task for task in TASKS for _ in range(3))]
    columns = [
        Column(name.removeprefix(f"{group} "), optional="Holm" in name, digits=4 if "Holm" in name else 1, group=group)
        for name, group in zip(found["columns"], groups, strict=True)
    ]
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, legacy_windows=False)
    console.print(Table(found["title"], columns, shown, found["notes"]).to_rich(width))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= width
    for row in shown:
        for cell in row:
            if isinstance(cell, Score):
                assert f"{cell.value:.1f}" in text
                assert f"[{cell.low:.1f}, {cell.high:.1f}]" in text
    assert "model: DiVA" not in text, "a grid, not blocks of lines"
    assert text.count("model") >= (2 if width == 80 else 1)
