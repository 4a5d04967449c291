"""The record of a training: shown, kept by runs, taken by the ablation table; and runs whose connector is gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mini_task
import pytest
from trained_connectors import COMPUTE, CONFIG, Done, exported, in_process, own_cache, trained

from diva_bench.catalog import Catalog
from diva_bench.cli.browse import training_lines
from diva_bench.training import export


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return own_cache(tmp_path, monkeypatch)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    return in_process(monkeypatch, capsys)


# ---------------------------------------------------------------- the record of a training


def test_show_says_what_training_took(call, tmp_path: Path) -> None:
    trained(tmp_path / "out", ablation="align_only")
    code, out, _ = call("show", "diva-align-only", "--edition", "nano")
    assert code == 0
    assert out.split("# training of ")[1].splitlines() == [
        "the connector, diva-nano-align-only (its training.json has all of it)",
        "losses: 1 x token alignment, 1 x output distillation (l2)",
        "steps: 3,000, the first 2,200 of token alignment alone",
        "examples: 76,800",
        "operations: 3.5 PFLOP",
        "device time: 1,288 s (21:28)",
        "device: some CPU, 2 threads",
        "peak memory: 2.10 GB",
        "audio: 12.6 h, 75.5 h with repeats",
        "",
    ]
    assert "# training" not in call("show", "cascade", "--edition", "nano")[1]


@pytest.mark.parametrize(
    ("record", "lines"),
    [
        (
            {"losses": "in words", "config": {"steps": 9}, "steps": 9, "seconds": 61, "audio_hours_unique": 2.0},
            {"losses": "in words", "steps": "9", "device time": "61 s (1:01)", "audio": "2.0 h"},
        ),
        (
            {"config": {"align": 0.0, "distill": 0.5, "distillation": "kl"}},
            {"losses": "0.5 x output distillation (kl)"},
        ),
        (
            {"compute": {"devices": 2, "device": "H100", "device_seconds": 20.0, "flops": 1.5e18}},
            {
                "operations": "1,500 PFLOP",
                "device time": "20 s (0:20) of all devices together",
                "device": "2 x H100",
            },
        ),
        ({}, {}),
    ],
)
def test_of_an_older_record_what_there_is_is_shown(record: dict[str, Any], lines: dict[str, str]) -> None:
    assert training_lines(record) == lines


def test_the_record_of_another_connector_of_the_same_name_says_nothing(tmp_path: Path) -> None:
    trained(tmp_path / "one", ablation="kl")
    before = Catalog().model("diva-kl", "nano")
    assert Catalog().training(before)["compute"] == COMPUTE
    trained(tmp_path / "two", ablation="kl", content="another connector")
    assert Catalog().training(before) == {}


# ---------------------------------------------------------------- runs


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    """Task toy, and the model tuned: what echo answers, with a connector `tuned` that has to be trained."""
    folder = mini_task.write(tmp_path / "specs")
    (folder / "tuned.yaml").write_text(
        "name: tuned\nadapter: echo\ndescription: what tuned is\nruntime: {dtype: float32}\n"
        "editions: {mini: {weights: {connector: tuned-mini}, trained_by: diva-bench train --preset mini --name tuned-mini}}\n"
    )
    return folder


def tune(content: str = "tuned", record: Any = None) -> Path:
    """Install weights `tuned-mini` alone."""
    source = exported(Path("tuned-export"), record, content)
    place = Path("cache/trained/tuned-mini")
    export.install(source, place.absolute(), {"w.yaml": export.weights_spec(source, "tuned-mini", "d")})
    return place


def drop(place: Path) -> None:
    for file in place.iterdir():
        file.unlink()
    place.rmdir()


def asked(call: Callable[..., Done], *words: str) -> dict[str, Any]:
    """run.json of tuned, after asking it."""
    code, _, err = call("run", "--path", "specs", "-t", "toy", "-m", "tuned", *words)
    assert code == 0, err
    found = sorted(Path("results").glob("*/tuned-*/run.json"), key=lambda p: p.stat().st_mtime_ns)
    return dict(json.loads(found[-1].read_text()))


ABLATE = ("ablate", "--path", "specs", "-t", "toy", "--base", "echo", "--against", "tuned", "--format", "json")


def tuned_row(out: str) -> dict[str, Any]:
    return dict(json.loads(out)["rows"][1])


def test_a_run_keeps_the_record_of_the_training_outside_its_identity(call, specs) -> None:
    tune()
    without = asked(call)
    assert "training" not in without
    for folder in Path("results").iterdir():
        folder.rename(f"other-{folder.name}")
    tune(record={"config": CONFIG, "compute": COMPUTE, "curve": [1, 2, 3]})
    with_record = asked(call)
    assert with_record["training"] == {"config": CONFIG, "compute": COMPUTE}
    assert (with_record["id"], with_record["hash"]) == (without["id"], without["hash"])
    assert asked(call, "--limit", "4")["training"]["compute"] == COMPUTE


def test_the_ablation_table_takes_the_record_from_the_run_and_else_from_the_catalog(call, specs) -> None:
    tune(record={"config": CONFIG, "compute": COMPUTE})
    assert call(*ABLATE)[0] == 0
    tune(record={"config": CONFIG, "compute": {**COMPUTE, "examples": 5}})
    assert tuned_row(call(*ABLATE)[1])["examples"] == 76800
    path = next(Path("results").glob("*/tuned-*/run.json"))
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "training"}))
    assert tuned_row(call(*ABLATE)[1])["examples"] == 5


def test_published_runs_are_compared_without_the_connectors(call, specs) -> None:
    place = tune(record={"config": CONFIG, "compute": COMPUTE})
    before = call(*ABLATE)
    assert before[0] == 0
    drop(place)
    for model in ("tuned", "specs/tuned.yaml"):
        code, out, _ = call(*[model if w == "tuned" else w for w in ABLATE], "--no-ask")
        assert (code, out) == (0, before[1])
    code, _, err = call(*ABLATE)
    assert code == 2, "who wants it asked needs its weights"
    assert "They are trained, not downloaded: diva-bench train --preset mini --name tuned-mini" in err


def test_without_connector_and_run_it_is_said_that_both_are_missing(call, specs) -> None:
    code, _, err = call(*ABLATE, "--no-ask")
    assert code == 2
    assert "weights 'tuned-mini' are not on this machine" in err
    assert "Nor has results a run of it. Give the folder of its runs with --output." in err


def test_runs_of_two_connectors_of_one_name_are_not_guessed_between(call, specs) -> None:
    tune("one")
    asked(call)
    asked(call, "--dtype", "bfloat16")
    drop(tune("two"))
    code, _, err = call(*ABLATE, "--no-ask")
    assert code == 2
    assert "2 different weights: results/toy-" in err
    assert "Move all runs but those of one away, or give --dtype where the dtype differs." in err
    call("run", "--path", "specs", "-t", "toy", "-m", "echo")
    assert call(*ABLATE, "--no-ask", "--dtype", "float32")[0] == 0
    assert "Nor has results a run of it in float16." in call(*ABLATE, "--no-ask", "--dtype", "float16")[2]


def test_a_run_whose_model_cannot_be_read_is_named(call, specs) -> None:
    place = tune()
    asked(call)
    drop(place)
    path = next(Path("results").glob("*/tuned-*/run.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "model": {"name": "tuned"}}))
    code, _, err = call(*ABLATE, "--no-ask")
    assert code == 2
    assert f"{path}: model.edition: is missing. Restore it from a copy" in err
