"""`diva-bench export`: scores for the Hub's model cards, TensorBoard and Weights & Biases, read back by their own parsers."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import call
from huggingface_hub import EvalResult, ModelCard
from stored import run_of, two_runs

from diva_bench.runs.run import Run

PUBLISHED = Path(__file__).parents[1] / "results" / "mini-v1"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_runs(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original / "results", tmp_path / "results")
    return tmp_path


def results_of(yaml: str) -> list[EvalResult]:
    """The results in the metadata of a model card, by the Hub's own parser."""
    found = ModelCard(f"---\n{yaml}---\n# A model\n").data.eval_results
    assert found
    return list(found)


def test_the_hubs_parser_reads_the_scores_of_the_published_runs(tmp_path: Path) -> None:
    words = ("export", str(PUBLISHED), "--to", "model-index", "-m", "diva", "--source", "https://example.org/runs")
    got = call(tmp_path, *words)
    assert got.returncode == 0, got.stderr
    results = results_of(got.stdout)
    for folder in sorted(PUBLISHED.glob("*/diva-*")):
        summary = json.loads((folder / "summary.json").read_text())
        mine = [one for one in results if one.dataset_config == summary["task_id"]]
        primary = next(one for one in mine if one.metric_args and one.metric_args["primary"])
        metric = summary["metrics"][summary["primary"]]
        assert primary.metric_type == summary["primary"]
        assert primary.metric_value == pytest.approx(metric["value"], abs=1e-6)
        assert primary.metric_args
        assert primary.metric_args["interval_95"] == pytest.approx([metric["low"], metric["high"]], abs=1e-6)
        assert primary.metric_args["n"] == metric["n"]
        assert primary.metric_args["run"] == f"{folder.parent.name}/{folder.name}"
        assert "synthetic speech" in primary.dataset_name
        assert (primary.source_url, primary.task_type) == ("https://example.org/runs", "audio-text-to-text")


def test_without_a_source_there_is_none_and_a_message_says_so(folder: Path) -> None:
    got = call(folder, "export", "results", "--to", "model-index", "-m", "echo", "-o", "card.yaml", "--name", "mine")
    assert got.returncode == 0, got.stderr
    assert "There is no source in it: --source URL adds" in got.stderr
    text = (folder / "card.yaml").read_text()
    assert {one.source_url for one in results_of(text)} == {None}
    assert "name: mine" in text


def test_scores_reach_tensorboard(folder: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is in the extra `train`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    got = call(folder, "export", "results", "--to", "tensorboard", "-o", "events")
    assert (got.returncode, "2 runs are in events: tensorboard --logdir events" in got.stdout) == (0, True), got.stderr
    run = Run.open(run_of(folder))
    events = EventAccumulator(str(folder / "events" / run.summary.task_id / run.summary.run_id))
    events.Reload()
    for name, metric in run.summary.metrics.items():
        assert events.Scalars(f"toy/{name}")[0].value == pytest.approx(metric.value)
        assert events.Scalars(f"toy/{name}/high")[0].value == pytest.approx(metric.high)
    again = call(folder, "export", "results", "--to", "tensorboard", "-o", "events")
    assert (again.returncode, "has events of an earlier export" in again.stderr) == (2, True)


def records_in(path: Path) -> Iterator[bytes]:
    """The records of a short file of wandb: a header of 7 bytes, then checksum, length, kind (1: whole) and content."""
    content, place = path.read_bytes(), 7
    assert content.startswith(b":W&B")
    assert len(content) < 1 << 15  # longer ones have blocks
    while place < len(content):
        _, length, kind = struct.unpack_from("<IHB", content, place)
        assert kind == 1
        yield content[place + 7 : place + 7 + length]
        place += 7 + length


def test_scores_reach_weights_and_biases_and_nothing_is_sent(folder: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is in the extra `wandb`")
    from wandb.proto.wandb_internal_pb2 import Record

    words = ("export", "results", "--to", "wandb", "-o", "out", "-m", "echo")
    got = call(folder, *words, WANDB_MODE="online", WANDB_API_KEY="0" * 40, WANDB_BASE_URL="http://127.0.0.1:9")
    assert got.returncode == 0, got.stderr
    assert "1 run is in out; nothing was sent. To send them: wandb sync out/wandb/offline-run-*" in got.stdout
    summary, config = {}, {}
    for data in records_in(next((folder / "out" / "wandb").glob("offline-run-*/*.wandb"))):
        record = Record()
        record.ParseFromString(data)
        for item in record.summary.update:
            summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        for item in record.run.config.update:
            config[item.key] = json.loads(item.value_json)
    run = Run.open(run_of(folder))
    for name, metric in run.summary.metrics.items():
        assert summary[name] == pytest.approx(metric.value)
    assert config["run_id"] == run.summary.run_id


def incomplete(summary: dict[str, Any]) -> None:
    summary.update(complete=False, reason="2 failed")


WRONG: dict[str, tuple[list[str], int, str]] = {
    "two models on one card": (
        ["--to", "model-index"],
        2,
        "these runs are of 2: echo, other. Choose one with --model.",
    ),
    "an unknown model": (["--to", "model-index", "-m", "ecco"], 2, "unknown model 'ecco'"),
    "an unknown task": (["--to", "model-index", "-t", "toi"], 2, "unknown task 'toi'"),
    "no folder": (["--to", "wandb"], 2, "export --to wandb needs --output FOLDER"),
    "a file for a folder": (["--to", "tensorboard", "-o", "file"], 2, "export --to tensorboard needs --output FOLDER"),
    "a source that is no address": (
        ["--to", "model-index", "-m", "echo", "--source", "javascript:x"],
        2,
        "--source 'javascript:x' is not allowed. Allowed: a web address",
    ),
    "a source for another tool": (
        ["--to", "wandb", "-o", "out", "--source", "https://example.org"],
        2,
        "Allowed: a web address, with --to model-index",
    ),
    "no folder for a file": (["--to", "model-index", "-m", "echo", "-o", "none/x.yaml"], 2, "none"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_told(folder: Path, case: str) -> None:
    words, code, why = WRONG[case]
    (folder / "file").write_text("")
    got = call(folder, "export", "results", *words)
    assert (got.returncode, why in got.stderr) == (code, True), got.stderr


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (incomplete, "left out: 2 failed."),
        (lambda summary: summary["metrics"].pop("contains"), "left out: no value for contains."),
        (lambda summary: summary.update(answers="0" * 64), "left out: answers changed since they were scored"),
    ],
)
def test_a_run_whose_scores_do_not_stand_is_left_out(folder: Path, change: Callable[[Any], object], why: str) -> None:
    path = run_of(folder, "other") / "summary.json"
    summary = json.loads(path.read_text())
    change(summary)
    path.write_text(json.dumps(summary))
    got = call(folder, "export", "results", "--to", "model-index")
    assert (got.returncode, why in got.stderr) == (1, True), got.stderr
    assert {one.metric_args["run"] for one in results_of(got.stdout) if one.metric_args} == {
        f"{Run.open(run_of(folder)).summary.task_id}/{Run.open(run_of(folder)).summary.run_id}"
    }
    got = call(folder, "export", "results", "--to", "model-index", "-m", "other")
    assert (got.returncode, "no run has scores that can be exported" in got.stderr) == (2, True), got.stderr


@pytest.mark.parametrize(
    ("module", "to", "extra"), [("wandb", "wandb", "wandb"), ("torch.utils.tensorboard", "tensorboard", "train")]
)
def test_a_library_that_is_missing_is_told_with_its_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, to: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    got = call(folder, "export", "results", "--to", to, "-o", "out")
    assert (got.returncode, f"pip install 'diva-bench[{extra}]'" in got.stderr) == (2, True), got.stderr


def test_two_runs_of_one_model_at_one_task_are_not_one_card(folder: Path) -> None:
    run = Run.open(run_of(folder))
    record = json.loads((run.path / "run.json").read_text())
    assert call(folder, "export", str(run.path), "--to", "model-index").returncode == 0
    got = call(folder, "export", str(run.path), str(run.path), "--to", "model-index")
    assert (got.returncode, "two runs of echo are of one task" in got.stderr) == (2, True), record["id"]
