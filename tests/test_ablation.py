"""`diva-bench ablate` over real runs: what is asked, what is compared, what is not and why, and every format."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mini_task
import pytest

from diva_bench.catalog import Catalog
from diva_bench.cli.ablate import models_of
from diva_bench.cli.main import main
from diva_bench.errors import UserError
from diva_bench.report.ablation_blocks import variant
from diva_bench.runs.records import synthetic_note

LEAST = 2 / 2**5  # the smallest p of five clusters
CONFIG = {"connector": "qformer", "from_whisper": True, "align": 1.0, "distill": 1.0, "align_steps": 2200, "seed": 0}
COMPUTE = {"examples": 76800, "flops": {"encoder": 1e15, "llm": 2.5e15}, "device_seconds": 1288.4}

Done = tuple[int, str, str]  # exit code, stdout, stderr


@pytest.fixture
def ablate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command in this process, over the tasks and models in tmp_path/specs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DIVA_BENCH_PATH", str(tmp_path / "specs"))

    def call(*words: str, command: Sequence[str] = ("ablate", "--base", "echo", "-t", "toy")) -> Done:
        monkeypatch.setattr(sys, "argv", ["diva-bench", *command, *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, " ".join(err.split())

    return call


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    """Task toy: ten questions, two to a cluster, the second of which echo answers rightly.

    mute answers none: -50 in every cluster, so in every resample. twin answers the other one of each cluster: 0 in
    every resample, although no single answer is as right as echo's.
    """
    folder = mini_task.write(tmp_path / "specs")
    mini_task.model(folder, "mute", reply="no")
    mini_task.model(folder, "twin", reply="nothing like it")
    return folder


def connector(specs: Path, name: str, training: Any = None) -> None:
    """A model whose answers come from echo and which has a connector with this training.json beside it."""
    (specs / name).mkdir()
    (specs / name / "connector.safetensors").write_bytes(name.encode())
    if training is not None:
        (specs / name / "training.json").write_text(json.dumps(training))
    sha, size = hashlib.sha256(name.encode()).hexdigest(), len(name)
    (specs / f"weights-{name}.yaml").write_text(
        f"name: {name}\nformat: safetensors\ndescription: x\nlicence: x\nfiles:\n"
        f"  - {{path: connector.safetensors, sha256: {sha}, bytes: {size}, "
        f"sources: [{{file: {name}/connector.safetensors}}]}}\n"
    )
    (specs / f"{name}.yaml").write_text(
        f"name: {name}\nadapter: echo\ndescription: what {name} is\nruntime: {{dtype: float32}}\n"
        f"editions: {{mini: {{weights: {{connector: {name}}}}}}}\n"
    )


def rows(text: str) -> list[dict[str, Any]]:
    """The rows of a table printed with --format json."""
    return json.loads(text)["rows"]


# ---------------------------------------------------------------- real runs


def test_missing_runs_are_asked_and_differences_are_those_worked_out_by_hand(ablate, specs) -> None:
    code, out, err = ablate("--against", "mute,twin", "--format", "json")
    assert code == 0, err
    base, mute, twin = rows(out)
    assert (base["model"], base["changed"], base["n"], base["difference"]) == ("echo", "the base", 10, None)
    assert base["score"] == {"value": 50, "low": 50, "high": 50}
    assert mute["difference"] == {"value": -50, "low": -50, "high": -50}
    assert (mute["p"], mute["p (Holm)"]) == pytest.approx((LEAST, 2 * LEAST))
    assert twin["difference"] == {"value": 0, "low": 0, "high": 0}
    assert (twin["p"], twin["p (Holm)"]) == (1, 1)


def test_what_is_complete_is_not_asked_again(ablate, specs, tmp_path) -> None:
    ablate("--against", "mute")
    before = {p: p.read_bytes() for p in tmp_path.glob("results/*/*/responses.jsonl")}
    code, _, err = ablate("--against", "mute", "--against", "twin")
    assert code == 0
    assert "toy x mute: all 10 answered before" in err
    assert len(before) == 2
    assert all(path.read_bytes() == text for path, text in before.items())


def test_the_runs_are_those_of_the_run_command(ablate, specs) -> None:
    ablate("-m", "echo", "-m", "mute", command=("run", "-t", "toy"))
    code, out, _ = ablate("--against", "mute", "--no-ask", "--format", "json")
    assert code == 0
    assert rows(out)[1]["difference"]["value"] == -50


def test_all_tasks_of_a_table_are_one_family(ablate, specs) -> None:
    mini_task.write(specs, count=8, name="toy2")
    code, out, _ = ablate("-t", "toy2", "--against", "mute,twin", "--format", "json")
    assert code == 0
    assert [(r["task"], r["model"]) for r in rows(out)] == [
        (task, model) for task in ("toy", "toy2") for model in ("echo", "mute", "twin")
    ]
    assert [r["p (Holm)"] for r in rows(out)] == pytest.approx([None, 4 * LEAST, 1, None, 3 * 2 / 2**4, 1])
    assert "adjusted for all 4 comparisons of this table" in " ".join(json.loads(out)["notes"])


def test_without_asking_a_missing_run_is_named_and_the_rest_compared(ablate, specs, tmp_path) -> None:
    ablate("--against", "mute")
    before = sorted(tmp_path.glob("results/**/*"))
    code, out, err = ablate("--against", "mute,twin", "--no-ask", "--format", "json")
    assert code == 1
    assert "toy x twin: never asked (results/toy-" in err
    assert sorted(tmp_path.glob("results/**/*")) == before
    _, mute, twin = rows(out)
    assert mute["p (Holm)"] == pytest.approx(LEAST), "what is not compared is not in the family"
    assert twin["difference"] is None
    assert twin["remarks"] == "not compared: never asked"


def test_an_incomplete_run_is_not_compared(ablate, specs) -> None:
    mini_task.model(specs, "flaky", fail_ids=["q003"])
    code, out, _ = ablate("--against", "flaky,mute", "--format", "json")
    assert code == 1
    _, flaky, mute = rows(out)
    assert (flaky["score"], flaky["difference"], flaky["p"]) == (None, None, None)
    assert flaky["remarks"] == "not compared: incomplete: 1 failed of 10"
    assert mute["difference"]["value"] == -50
    assert "not compared: flaky at toy: incomplete: 1 failed of 10" in json.loads(out)["notes"]


def test_an_incomplete_base_compares_with_nobody(ablate, specs) -> None:
    mini_task.model(specs, "flaky", fail_ids=["q003"])
    code, out, _ = ablate("--base", "flaky", "--against", "mute", "--format", "json")
    assert code == 1
    base, mute = rows(out)
    assert base["remarks"] == "no score: incomplete: 1 failed of 10"
    assert (mute["score"]["value"], mute["difference"]) == (0, None)
    assert mute["remarks"] == "not compared: flaky: incomplete: 1 failed of 10"


def test_another_metric_than_the_primary_one(ablate, specs) -> None:
    code, out, _ = ablate("--against", "mute", "--metric", "em", "--format", "json")
    assert code == 0
    assert [r["metric"] for r in rows(out)] == ["em", "em"]
    assert "em (toy): higher is better" in json.loads(out)["notes"]


def test_a_trial_says_so(ablate, specs) -> None:
    code, out, _ = ablate("--against", "mute", "--limit", "4", "--format", "json")
    assert code == 0
    assert json.loads(out)["title"] == f"ablations of echo ({synthetic_note('mini')}; trial on 4 items, not a result)"


# ---------------------------------------------------------------- runs that do not fit together


def _edit(name: str, change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: change(folder / name)


def _resigned(path: Path) -> None:
    summary = json.loads(path.read_text())
    summary["signature"] = {"qa": "qa|of:another|version"}
    path.write_text(json.dumps(summary))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            _edit("summary.json", Path.unlink),
            "not scored: the run is not finished, or run `diva-bench score results/toy-",
        ),
        (
            _edit("scores.jsonl", Path.unlink),
            "not scored: the run is not finished, or run `diva-bench score results/toy-",
        ),
        (
            _edit("summary.json", _resigned),
            "scored by another version or setting of the scorers: run `diva-bench score",
        ),
        (
            _edit("scores.jsonl", lambda p: p.write_text("".join(p.read_text().splitlines(True)[:-1]))),
            "scores.jsonl and summary.json are from different scorings: run `diva-bench score results/toy-",
        ),
    ],
)
def test_files_that_do_not_fit_are_not_compared(ablate, specs, tmp_path, spoil, said) -> None:
    ablate("--against", "mute")
    spoil(next(tmp_path.glob("results/*/mute-*")))
    code, out, _ = ablate("--against", "mute", "--no-ask", "--format", "json")
    assert code == 1
    assert rows(out)[1]["remarks"].startswith(f"not compared: {said}")
    assert ablate("--against", "mute")[0] == 0, "asking, it is judged again"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{\n", "scores.jsonl:1: is not valid JSON"),
        ("", "scores.jsonl: is empty."),
        ('{"id": "q"}\n', "scores.jsonl:1: signature: is missing."),
    ],
)
def test_scores_that_cannot_be_read_are_an_error_that_names_the_file(ablate, specs, tmp_path, text, said) -> None:
    ablate("--against", "mute")
    next(tmp_path.glob("results/*/mute-*/scores.jsonl")).write_text(text)
    code, _, err = ablate("--against", "mute", "--no-ask")
    assert code == 1
    assert said in err
    assert "Run `diva-bench score results/toy-" in err


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--against", "mtue"], "unknown model 'mtue'. Did you mean 'mute'?"),
        (["--against", ","], "--against names no model. Give at least one"),
        (["--against", "mute,echo"], "--against names 'echo', which is the --base itself"),
        (["--against", "mute", "--against", "specs/mute.yaml"], "model 'mute' is given twice, by name and by file"),
        (
            ["--against", "mute", "--metric", "contians"],
            "unknown metric 'contians' in any of toy. Did you mean 'contains'",
        ),
    ],
)
def test_a_mistake_is_told_in_words_before_anybody_is_asked(ablate, specs, tmp_path, words, said) -> None:
    code, _, err = ablate(*words)
    assert code == 2
    assert said in err
    assert not (tmp_path / "results").exists()


def test_names_may_be_repeated_or_stand_between_commas() -> None:
    assert models_of("a", ["b,c", "d", "b"]) == ["a", "b", "c", "d"]
    with pytest.raises(UserError, match="names no model"):
        models_of("a", [])


# ---------------------------------------------------------------- training records


def test_rows_are_labelled_by_the_changed_setting_and_carry_what_training_took(ablate, specs) -> None:
    connector(specs, "own", {"config": CONFIG, "compute": COMPUTE})
    connector(specs, "own-align-only", {"config": {**CONFIG, "distill": 0.0}, "compute": COMPUTE | {"examples": 5}})
    connector(specs, "own-older", {"config": CONFIG, "examples": 7})
    connector(specs, "own-bare")
    against = "own-align-only,own-older,own-bare"
    code, out, err = ablate("--base", "own", "--against", against, "--format", "json")
    assert code == 0, err
    found = [tuple(r[c] for c in ("changed", "examples", "PFLOP", "device s")) for r in rows(out)]
    assert found == [
        ("the base", 76800, 3.5, 1288.4),
        ("distill 1 -> 0", 5, 3.5, 1288.4),
        ("what own-older is", None, None, None),
        ("what own-bare is", None, None, None),
    ]


def test_shipped_connectors_have_their_record() -> None:
    queries = {}
    for name in ("diva", "diva-learned"):
        found = variant(Catalog(), Catalog().model(name, "nano"))
        assert found.config is not None
        queries[name] = found.config["queries"]
    assert queries == {"diva": "time", "diva-learned": 32}
    assert variant(Catalog(), Catalog().model("cascade", "nano")).config is None


@pytest.mark.parametrize(
    ("text", "said"), [("{", "cannot be read as JSON"), ("[]", "expected a JSON object, found list")]
)
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, text: str, said: str) -> None:
    connector(tmp_path, "own")
    (tmp_path / "own" / "training.json").write_text(text)
    catalog = Catalog([tmp_path])
    with pytest.raises(UserError) as err:
        variant(catalog, catalog.model("own", "mini"))
    assert f"{tmp_path / 'own' / 'training.json'}: {said}" in str(err.value)
    assert "or remove it" in str(err.value)


# ---------------------------------------------------------------- formats


def test_every_format_has_every_number(ablate, specs, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")  # at 80 columns the table leaves p out, and says so
    ablate("--against", "mute,twin")
    for format in ("rich", "md", "latex", "csv"):
        code, out, _ = ablate("--against", "mute,twin", "--no-ask", "--format", format)
        assert code == 0
        for number in ("-50", "0.0625", "0.1250") if format != "csv" else ("-50.0", str(LEAST), str(2 * LEAST)):
            assert number in out, format
    found = list(csv.DictReader(io.StringIO(out)))
    assert [r["difference low"] for r in found] == ["", "-50.0", "0.0"]
    assert [r["p (Holm)"] for r in found] == ["", str(2 * LEAST), "1.0"]


def test_full_data_is_looked_for_where_the_command_line_says(ablate, specs, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("DIVA_BENCH_DATA", raising=False)
    (tmp_path / "corpora").mkdir()
    full = ("ablate", "--base", "majority", "--against", "prior", "-t", "mustard", "--edition", "full")
    for given, said in (((), "no --data-dir is given"), (("--data-dir", "corpora"), "sarcasm_data.json in")):
        code, _, err = ablate(*given, command=full)
        assert code == 2
        assert said in err
