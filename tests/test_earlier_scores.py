"""To judge again deletes nothing that cannot be measured again: what an earlier judging found is kept, or said to be dropped."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mini_task
import pytest
import yaml
from command_line import call
from pedants_twin import twin
from test_from_pedants import npz_of
from test_scorers_comet import checkpoint  # noqa: F401 (a fixture)
from test_scorers_hf_evaluate import EXACT, module

from diva_bench.runs.store import RunFolder
from diva_bench.scorers.comet import PYTHON
from diva_bench.types import Response
from diva_bench.weights.from_pedants import convert, load

Case = tuple[str, dict[str, Any], str, Callable[[], object]]
"""Scorer, its settings, one of its metrics, and how its means are taken away."""


@pytest.fixture(params=["pedants", "comet", "comet weights", "llm_judge", "hf_evaluate"])
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """One scorer with all that it takes, in a folder that has the task `toy` with it."""
    specs = mini_task.write(tmp_path / "specs", count=6)
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    made: Case
    if request.param == "pedants":
        made = _pedants(tmp_path)
    elif request.param.startswith("comet"):
        weights: Path = request.getfixturevalue("checkpoint")
        lost = weights.unlink if "weights" in request.param else lambda: monkeypatch.setenv(PYTHON, "/no/python")
        made = "comet", {"checkpoint": str(weights)}, "comet", lost
    elif request.param == "llm_judge":
        made = _judge(tmp_path)
    else:
        monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
        name = module(specs, "exact", EXACT)
        lost = lambda: shutil.rmtree(specs / name)  # noqa: E731
        made = "hf_evaluate", {"metric": "exact", "path": name}, "hf.exact", lost
    path = specs / "toy.yaml"
    task = yaml.safe_load(path.read_text()) | {"scorers": {"qa": {}, made[0]: made[1]}}
    path.write_text(yaml.safe_dump(task))
    return made


def _pedants(base: Path) -> Case:
    convert(twin().write(base / "pickles"), base / "converted")
    npz_of(load(base / "converted"), base / "mine.npz")
    spec = {"name": "twin", "format": "pedants", "description": "toy", "licence": "none"}
    spec |= {"files": [{"path": "lr", "bytes": 9000, "sources": [{"file": str(base / "web" / "lr")}]}]}
    spec |= {"instead": {"twin.npz": hashlib.sha256((base / "mine.npz").read_bytes()).hexdigest()}}
    spec |= {"content": load(base / "converted").content}
    (base / "specs" / "twin.yaml").write_text(yaml.safe_dump(spec))
    assert call(base, "pull", "--weights-file", str(base / "mine.npz"), "--path", "specs").returncode == 0
    return "pedants", {"weights": "twin"}, "pedants", lambda: shutil.rmtree(base / "cache" / "ready")


def _judge(base: Path) -> Case:
    (base / "web").mkdir()
    (base / "web" / "jury.bin").write_bytes(b"weights")
    file = {"path": "jury.bin", "bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}
    spec = {"name": "jury", "format": "safetensors", "description": "toy", "licence": "none"}
    spec |= {"files": [file | {"sources": [{"file": str(base / "web" / "jury.bin")}]}]}
    (base / "specs" / "jury.yaml").write_text(yaml.safe_dump(spec))
    model = {"name": "grader", "adapter": "echo", "description": "toy", "args": {"reply": "yes"}}
    model |= {"runtime": {"dtype": "float32", "device": "cpu"}, "weights": {"llm": "jury"}}
    (base / "specs" / "grader.yaml").write_text(yaml.safe_dump(model))

    def lost() -> None:
        shutil.rmtree(base / "web")
        shutil.rmtree(base / "cache" / "ready")
        for kept in base.glob("results/*/*/judge-*.jsonl"):
            kept.unlink()

    return "llm_judge", {"model": "grader"}, "judge", lost


def asked(base: Path) -> RunFolder:
    got = call(base, "run", "--path", "specs", "-m", "echo", "-t", "toy")
    assert got.returncode == 0, got.stderr
    (found,) = base.glob("results/*/*/run.json")
    return RunFolder(found.parent)


def score(base: Path, folder: RunFolder) -> tuple[int, str, str]:
    got = call(base, "score", "--path", "specs", str(folder.path))
    return got.returncode, " ".join(got.stdout.split()), " ".join(got.stderr.split())


def test_what_cannot_be_measured_here_is_kept_with_its_signature_and_said(case: Case, tmp_path: Path) -> None:
    name, _, metric, lose = case
    folder = asked(tmp_path)
    before, (_, rows) = folder.summary(), folder.scores()
    lose()
    code, shown, told = score(tmp_path, folder)
    after = folder.summary()
    assert code == 0, told
    assert after == before | {"kept": [name]}
    assert metric in after["metrics"]
    assert folder.scores()[1] == rows, "so that the run can still be compared by it"
    assert f"{name} cannot be measured here (" in told
    assert f"its stored value is kept: {before['signature'][name]}" in told
    assert f"{name} kept from an earlier scoring" in shown
    assert score(tmp_path, folder)[0] == 0
    assert folder.summary() == after, "kept again"


def test_what_is_of_other_answers_is_dropped_and_said(case: Case, tmp_path: Path) -> None:
    name, _, metric, lose = case
    folder = asked(tmp_path)
    lose()
    with folder:
        folder.append([Response("q003", text="something else")], None)
    code, shown, told = score(tmp_path, folder)
    after = folder.summary()
    assert code == 1, "a metric of the task is lost"
    assert metric not in after["metrics"]
    assert "contains" in after["metrics"]
    assert (after["lost"], after.get("kept")) == ([name], None)
    assert "its stored value is dropped: the answers have changed since it measured them" in told
    assert f"{name} dropped: of other answers" in shown


def test_a_published_run_without_scores_jsonl_of_an_older_version_keeps_its_value(tmp_path: Path) -> None:
    base = tmp_path
    mini_task.write(base / "specs", count=6)
    name, args, metric, lose = _pedants(base)
    path = base / "specs" / "toy.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"scorers": {"qa": {}, name: args}}))
    folder = asked(base)
    (folder.path / "scores.jsonl").unlink()
    older = folder.summary()
    for key in ("answers", "schema"):
        del older[key]
    for entry in older["metrics"].values():
        del entry["scorer"]
    older["signature"][name] = older["signature"][name].replace("|v2", "|v1")
    (folder.path / "summary.json").write_text(json.dumps(older))
    lose()
    code, _, told = score(base, folder)
    assert code == 0
    assert folder.summary()["metrics"][metric] == older["metrics"][metric]
    assert folder.summary()["signature"][name] == older["signature"][name]
    assert (
        "its summary is older, so only the numbers of answers could be compared; it is of another version "
        "or setting of the scorer than there is now." in told
    )
    (folder.path / "summary.json").write_text(json.dumps(older | {"scored": 5}))
    assert score(base, folder)[0] == 1
    assert metric not in folder.summary()["metrics"]


def test_a_scorer_that_never_measured_is_an_error_where_the_task_needs_it(tmp_path: Path) -> None:
    mini_task.write(tmp_path / "specs", count=6)
    folder = asked(tmp_path)
    before = (folder.path / "summary.json").read_bytes()
    path = tmp_path / "specs" / "toy.yaml"
    task = yaml.safe_load(path.read_text()) | {"scorers": {"qa": {}, "comet": {"checkpoint": "nowhere/model.ckpt"}}}
    path.write_text(yaml.safe_dump(task))
    code, _, told = score(tmp_path, folder)
    assert code == 2
    assert "unbabel-comet is not installed" in told or "is not there" in told
    assert (folder.path / "summary.json").read_bytes() == before


def test_a_run_whose_data_changed_since_is_shown_as_it_was_judged_and_said(tmp_path: Path) -> None:
    mini_task.write(tmp_path / "specs", count=6)
    folder = asked(tmp_path)
    (folder.path.parent / "rows.jsonl").unlink()  # as older versions left it
    before = {p.name: p.read_bytes() for p in folder.path.glob("*.json*")}
    mini_task.clip(tmp_path / "specs" / "audio" / "q000.wav", 0.4, pitch=900)
    code, shown, told = score(tmp_path, folder)
    assert code == 1
    assert "toy echo contains 50.0" in shown
    assert "has changed since this run (fingerprint" in told
    assert "Its stored scores are shown: the current data differ from the data of the run." in told
    assert {p.name: p.read_bytes() for p in folder.path.glob("*.json*")} == before
    with folder:
        folder.append([Response("q003", text="something else")], None)
    assert score(tmp_path, folder)[0] == 2, "what was judged is no longer what was answered"
