"""`ablate --runs`: which runs a word means, what is compared with what, and what is told where something is lacking"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answer_files import answers, diva_eval, load, only, two_tasks, write
from command_line import Command, call, here


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three models at two tasks, imported: `base` is right on 3 of 6 questions and 6 of 6 moods."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        two_tasks(folder, patch)
        _imported()
        yield folder


def _imported() -> None:
    labels = ("anger", "joy", "neutral", "joy", "anger", "neutral")
    for name, right, mood in (("base", 3, labels), ("good", 6, labels), ("bad", 0, ("joy",) * 6)):
        load(write(f"{name}.jsonl", answers(right)), model_name=name)
        load(
            write(f"{name}-mood.jsonl", [{"id": f"m{i}", "text": m} for i, m in enumerate(mood)]),
            task="mood",
            model_name=name,
        )


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in a copy of them."""
    shutil.copytree(made, tmp_path / "copy")
    return here(tmp_path / "copy", monkeypatch)


def ablated(run: Command, *words: str) -> Any:
    return run("ablate", "--runs", *words, "--path", "specs", "--format", "json")


def rows(done: Any) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in json.loads(done.stdout)["rows"]}


def folder(name: str, task: str = "quiz") -> str:
    return str(only(f"{task}-*", f"{name}-*").path)


def test_names_are_rows_in_the_order_given_and_differences_are_to_the_first(run: Command) -> None:
    done = ablated(run, "base", "good", "bad")
    assert done.returncode == 0, done.stderr
    found = rows(done)
    assert list(found) == ["base", "good", "bad"]
    assert [(r["quiz contains"], r["mood accuracy"]) for r in found.values()] == [
        (50, 100),
        (100, 100),
        (0, pytest.approx(100 / 3)),
    ]
    assert found["good"]["quiz difference"]["value"] == 50
    assert found["bad"]["mood difference"]["value"] == pytest.approx(100 / 3 - 100)
    again = rows(ablated(run, "good", "bad", "base"))
    assert list(again) == ["good", "bad", "base"]
    assert again["base"]["quiz difference"]["value"] == -50


@pytest.mark.parametrize("inside", [".", "results", "results/quiz"])
def test_folders_names_and_run_ids_mean_the_same_runs(
    run: Command, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [folder(name, task) for task in ("quiz", "mood") for name in ("base", "good")]
    expected = rows(ablated(run, *every))
    assert list(expected) == ["base", "good"]
    assert expected["good"]["mood difference"]["value"] == 0
    assert rows(ablated(run, "base", "good", "-t", "quiz", "-t", "mood")) == expected
    one = rows(ablated(run, Path(folder("base")).name, Path(folder("good")).name))
    assert one[Path(folder("good")).name]["quiz difference"]["value"] == 50
    place = Path(folder("base")).parent if inside == "results/quiz" else Path(inside)
    specs, chosen = Path("specs").resolve(), [Path(folder(name)).resolve() for name in ("base", "good")]
    monkeypatch.chdir(place)
    words = [f"{path.relative_to(Path.cwd())}/" for path in chosen]
    done = call(Path(), "ablate", "--runs", *words, "--path", str(specs), "--format", "json")
    assert rows(done)["good"]["quiz difference"]["value"] == 50


def test_tasks_are_columns_in_the_order_asked_for_and_metrics_are_chosen_by_task(run: Command) -> None:
    done = ablated(run, "base", "bad", "-t", "quiz", "-t", "mood", "--metric", "mood=macro_f1", "--metric", "em")
    assert done.returncode == 0, done.stderr
    columns = json.loads(done.stdout)["columns"]
    assert [c for c in columns if "difference" not in c and "Holm" not in c] == ["model", "quiz em", "mood macro_f1"]
    done = ablated(run, "base", "bad", "-t", "mood")
    assert json.loads(done.stdout)["columns"][1] == "mood accuracy"


def test_what_a_model_lacks_is_a_gap_that_is_named_and_the_exit_code_1(run: Command) -> None:
    shutil.rmtree(folder("bad", "mood"))
    load(write("part.jsonl", answers()[:4]), model_name="part")
    assert "not shown: base at mood: no other model has a comparable run" in ablated(run, "base", "bad").stderr
    done = ablated(run, "base", "bad", "part", "good")
    assert done.returncode == 1
    found = rows(done)
    assert found["bad"]["mood difference"] is None
    assert found["bad"]["quiz difference"]["value"] == -50
    assert (found["part"]["quiz contains"], found["part"]["quiz difference"]) == (None, None)
    told = " ".join(done.stderr.split())
    assert "mood x bad: no run" in told
    assert "quiz x part: incomplete: 2 missing from the file of 6" in told
    notes = json.loads(done.stdout)["notes"]
    assert "not compared: no run: bad at mood; part at mood" in notes
    assert "adjusted for all 3 differences" in " ".join(notes)


def test_a_run_of_other_data_or_judged_otherwise_is_not_compared(run: Command) -> None:
    gold = Path("specs/quiz.jsonl")
    gold.write_text(gold.read_text().replace("right 0", "wrong 0"))
    load(Path("good.jsonl"), model_name="other")
    done = ablated(run, "base", "other", "good")
    assert done.returncode == 1
    assert "quiz x other: its run is of quiz-" in done.stderr
    assert "which has other data, another prompt or another limit" in " ".join(done.stderr.split())
    assert rows(done)["good"]["quiz difference"]["value"] == 50
    spec = Path("specs/mood.yaml")
    spec.write_text(spec.read_text().replace("{labels: {}}", "{labels: {positive: joy}}"))
    done = ablated(run, "base", "good", "-t", "mood")
    assert done.returncode == 1
    assert "scored by another version or setting of the scorers than there is now" in " ".join(done.stderr.split())


def test_runs_with_and_without_scores_of_their_own_are_compared_by_what_both_have(run: Command) -> None:
    load(diva_eval("scored.txt", [(f"q{i}", f"right {i}", 0.5) for i in range(6)]), model_name="scored")
    done = ablated(run, "base", "scored")
    assert done.returncode == 0, done.stderr
    assert rows(done)["scored"]["quiz difference"]["value"] == 50
    done = ablated(run, "scored", "base", "--metric", "released")
    assert done.returncode == 1, done.stderr
    assert "quiz x base: no released; it has contains, em, f1 (choose with --metric)" in " ".join(done.stderr.split())


def test_failures_that_a_rule_counts_are_marked(run: Command) -> None:
    failed = [*answers(6)[:5], {"id": "q5", "text": "", "status": "error"}]
    for rule in ("wrong", "drop"):
        load(write("failed.jsonl", failed), model_name="failed", errors=rule)
    done = run("ablate", "--runs", "base", "failed", "--path", "specs")
    assert done.returncode == 2
    assert "several runs are called failed" in done.stderr
    done = ablated(run, "base", "failed (errors wrong)", "failed (errors drop)", "-t", "quiz")
    assert done.returncode == 0, done.stderr
    found, notes = rows(done), json.loads(done.stdout)["notes"]
    assert found["failed (errors wrong)"]["quiz difference"]["value"] == pytest.approx(100 * 5 / 6 - 50)
    assert found["failed (errors drop)"]["quiz difference"]["value"] == pytest.approx(100 - 60)
    assert "1 failed: left out: failed (errors drop) at quiz" in notes
    assert "errors drop: answers that failed in the other system are left out of the scores" in notes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--runs",), "ablate --runs needs a base and others: ablate --runs BASE OTHER"),
        (("--runs", "base"), "ablate --runs needs a base and others"),
        (("--runs", "base", "goood"), "unknown run folder, model or run 'goood' in results. Did you mean 'good'?"),
        (("--runs", "base", "base"), "is given twice"),
        (("--runs", "base", "good", "-o", "nowhere"), "base: is not a run folder, and nowhere has no runs"),
        (("--runs", "base", "good", "-t", "quizz"), "unknown task 'quizz' in the runs of base. Did you mean 'quiz'?"),
        (
            ("--runs", "base", "good", "--metric", "contians"),
            "unknown metric 'contians' in any of these runs. Did you mean",
        ),
        (("--runs", "base", "good", "--metric", "quizz=em"), "unknown task 'quizz' in --metric"),
        (("--runs", "base", "good", "--metric", "=em"), "--metric '=em': expected NAME, or TASK=NAME"),
        (("--runs", "base", "good", "--limit", "3"), "--runs compares stored runs and cannot be combined with --limit"),
        (("--runs", "base", "good", "--against", "x"), "cannot be combined with --against"),
        (("base", "good"), "to compare stored runs, use ablate --runs base good"),
        (("--base", "base"), "ablate needs --against, --task, or --runs BASE OTHER"),
        ((), "ablate needs --base, --against, --task, or --runs BASE OTHER"),
        (
            ("--base", "a", "--against", "b", "-t", "quiz", "--metric", "em", "--metric", "f1"),
            "--metric is given 2 times",
        ),
    ],
)
def test_a_mistake_is_told_in_words(run: Command, words: tuple[str, ...], said: str) -> None:
    done = run("ablate", *words, "--path", "specs")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())


def test_a_run_that_cannot_be_read_is_named_and_the_rest_compared(run: Command) -> None:
    (Path(folder("bad")) / "summary.json").write_text("{")
    done = ablated(run, "base", "good")
    assert done.returncode == 1
    assert "not read: " in done.stderr
    assert rows(done)["good"]["quiz difference"]["value"] == 50
