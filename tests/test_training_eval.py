"""What a training measures of itself: held-out clips against plain loops, tasks while it trains, curves drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mini_task
import pytest
import torch
from training_tools import FIRST, make_place, prepared, rows_of

from diva_bench import data as task_data
from diva_bench.catalog import Catalog
from diva_bench.errors import DataError, UserError
from diva_bench.training import evaluate, train
from diva_bench.training.evaluate import TaskSet
from diva_bench.training.plot import plot
from diva_bench.types import Silent


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("eval"))


# ---------------------------------------------------------------- held-out clips


@pytest.mark.parametrize(
    "changes", [{}, {"aligned": "first"}, {"shift": 5}, {"distill_positions": 2}, {"distill": 0.0}]
)
def test_scores_on_held_out_clips_are_those_of_a_loop_over_them(
    place: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = prepared(place, tmp_path, cache=place / "cache", **changes)
    found = evaluate.all_of(run, None)
    llm, embeddings = run.frozen.llm, run.frozen.llm.embeddings
    before, after = llm.frame("", None)
    distances, hits, away, divergences, agree = [], [], [], [], []
    with torch.no_grad():
        for i in run.clips.dev:
            ids = list(run.clips.items[i].tokens)
            virtual = run.trained.connector(*run.hear([i]))[0][0]
            wanted = [*before[-5:], *ids][: len(ids)] if "shift" in changes else ids
            own = virtual[: len(ids)] if "aligned" in changes else virtual[-len(ids) :]
            for token, vector in zip(wanted, own, strict=True):
                distances.append(float((vector - embeddings[token]).norm()))
                hits.append(int((embeddings - vector).norm(dim=1).argmin()) == token)
            states = []
            for content in (virtual, llm.embed(ids)):
                given = torch.cat([llm.embed(before), content, llm.embed(after)])[None]
                states.append(llm.model.base_model(inputs_embeds=given).last_hidden_state[0, -1])
            away.append(float((states[0] - states[1]).norm()))
            ours, theirs = (torch.log_softmax(s.double() @ embeddings.T.double(), 0) for s in states)
            divergences.append(float((theirs.exp() * (theirs - ours)).sum()))
            agree.append(int(ours.argmax()) == int(theirs.argmax()))
    assert len(away) == len(run.clips.dev) > 4
    assert found == {
        "dev_align": pytest.approx(mean(distances), abs=1e-3),
        "dev_nearest": pytest.approx(100 * mean(hits), abs=1e-2),
        "dev_distill": pytest.approx(mean(away), abs=1e-3),
        "dev_kl": pytest.approx(mean(divergences), abs=1e-3),
        "dev_first_token": pytest.approx(100 * mean(agree), abs=1e-2),
    }


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def test_looking_changes_nothing_of_what_is_trained(place: Path, tmp_path: Path) -> None:
    seldom, often = tmp_path / "seldom", tmp_path / "often"
    for output, every in ((seldom, 100), (often, 1)):
        train.train(prepared(place, output, cache=place / "cache", evaluate_every=every), Silent())
    plain = [{k: v for k, v in row.items() if not k.startswith("dev_")} for row in rows_of(often)]
    assert plain == [{k: v for k, v in row.items() if not k.startswith("dev_")} for row in rows_of(seldom)]
    assert (often / "export" / "connector.safetensors").read_bytes() == (
        seldom / "export" / "connector.safetensors"
    ).read_bytes()


# ---------------------------------------------------------------- tasks


def task_set(folder: Path, names: Sequence[str] = ("toy",)) -> TaskSet:
    catalog = Catalog([folder])
    chosen = []
    for name in names:
        task = catalog.task(name, "mini")
        chosen.append((task, catalog.scorers(task), task_data.load(task, folder, Silent()).limited(4, 0)))
    return TaskSet(chosen)


@pytest.mark.parametrize("changes", [{}, {"checkpointing": True}, {"train_encoder": True, "cache_states": False}])
def test_tasks_are_asked_while_training_and_change_nothing_of_it(
    place: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    tasks = task_set(mini_task.write(tmp_path / "tasks", 6))
    with_tasks, without = tmp_path / "with", tmp_path / "without"
    train.train(prepared(place, with_tasks, cache=place / "cache", **changes), Silent(), tasks)
    train.train(prepared(place, without, cache=place / "cache", **changes), Silent())
    rows = rows_of(with_tasks)
    assert [row["step"] for row in rows if "toy_contains" in row] == [5, FIRST, 10]
    assert all(0 <= row["toy_contains"] <= 100 for row in rows if "toy_contains" in row)
    assert [{k: v for k, v in row.items() if k != "toy_contains"} for row in rows] == rows_of(without)
    record = json.loads((with_tasks / "export" / "training.json").read_text(encoding="utf-8"))
    assert record["curve"][-1]["toy_contains"] == rows[-1]["toy_contains"]


def test_a_task_score_is_the_scorers_own(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared(place, tmp_path, cache=place / "cache")
    tasks = task_set(mini_task.write(tmp_path / "tasks", 6))
    right = "q001 q003 q005, nothing like it"
    monkeypatch.setattr(run.frozen.llm, "text", lambda ids: right)
    assert evaluate.task_scores(run, tasks) == {"toy_contains": 100.0}
    monkeypatch.setattr(run.frozen.llm, "text", lambda ids: "zzz")
    assert evaluate.task_scores(run, tasks) == {"toy_contains": 0.0}


def test_samples_without_audio_are_left_out(place: Path, tmp_path: Path) -> None:
    run = prepared(place, tmp_path, cache=place / "cache")
    [(task, scorers, samples)] = task_set(mini_task.write(tmp_path / "tasks", 6)).tasks
    mute = [replace(s, read=None) for s in samples[:2]]
    found, alone = (
        evaluate.task_scores(run, TaskSet([(task, scorers, given)])) for given in ([*mute, *samples[2:]], samples[2:])
    )
    assert found == alone
    assert found.keys() == {"toy_contains"}
    assert evaluate.task_scores(run, TaskSet([(task, scorers, mute)])) == {}


# ---------------------------------------------------------------- curves

PNG = b"\x89PNG\r\n\x1a\n"


def curves(folder: Path, rows: list[dict[str, float]]) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_the_curves_of_a_training_are_drawn(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    train.train(prepared(place, tmp_path / "out", cache=place / "cache"), Silent())
    assert plot([tmp_path / "out"]) == tmp_path / "out" / "curves.png"
    assert (tmp_path / "out" / "curves.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("against", ["step", "examples", "flops", "device_seconds"])
def test_several_trainings_are_drawn_into_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, against: str
) -> None:
    """Also where a run lacks a curve, and where two folders are called the same."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    rows = [{"step": s, "examples": 4 * s, "flops": 1e9 * s, "device_seconds": s / 2, "align": 2 / s} for s in (1, 2)]
    both = [row | {"distill": 3.0, "dev_kl": 1.0} for row in rows]
    folders = [curves(tmp_path / "a" / "run", rows), curves(tmp_path / "b" / "run", both), curves(tmp_path / "c", both)]
    drawn: list[dict[str, int]] = []
    monkeypatch.setattr(
        pyplot,
        "close",
        lambda f: drawn.append({a.get_title(): len([x for x in a.lines if len(x.get_xdata())]) for a in f.axes}),
    )
    assert plot(folders, tmp_path / "all.png", against) == tmp_path / "all.png"
    monkeypatch.undo()
    pyplot.close("all")
    assert (tmp_path / "all.png").read_bytes().startswith(PNG)
    assert drawn[0]["token alignment, train"] == 3
    assert drawn[0]["output distillation, train"] == drawn[0]["KL to the teacher, held out"] == 2
    assert not (folders[0] / "curves.png").exists()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (None, r"metrics\.jsonl: no such file; give the --output folder"),
        ([], "no curve to draw yet"),
        ([{"step": 1.0}], "no curve"),
    ],
)
def test_where_there_is_nothing_to_draw_it_is_said(
    tmp_path: Path, rows: list[dict[str, float]] | None, said: str
) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "none" if rows is None else curves(tmp_path / "some", rows)
    with pytest.raises(DataError, match=said):
        plot([folder])
    assert not list(tmp_path.rglob("*.png"))


def test_without_matplotlib_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"pip install 'diva-bench\[train\]'"):
        plot([curves(tmp_path / "a", [{"step": 1.0, "align": math.pi}])])
