"""Simulated raters: a metric and a judge vote on what people voted on, are labelled, and are compared with the people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from chat_server import completion, model, serving
from command_line import call
from study_server import yaml_file

from diva_bench.study.store import Store
from diva_bench.study.votes import Vote

ECHO = {"adapter": "echo", "description": "d", "runtime": {"dtype": "float32"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a model that repeats the question and of one that does not, and people who mostly prefer the first."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "specs").mkdir()
    for name, reply in (("alpha", "transcript"), ("beta", "nothing to say")):
        yaml_file(folder / "specs" / f"{name}.yaml", {**ECHO, "name": name, "args": {"reply": reply}})
    words = ("-t", "transcribe", "--edition", "mini", "--limit", "6", "--path", "specs")
    done = call(folder, "run", "-m", "alpha,beta", *words)
    assert done.returncode == 0, done.stderr
    runs = {name: str(next((folder / "results").rglob(f"{name}-*"))) for name in ("alpha", "beta")}
    yaml_file(folder / "study.yaml", {"name": "s", "title": "t", "consent": "c", "systems": runs, "sound": False})
    return folder


def voted(place: Path, database: str, choices: Mapping[int, str]) -> list[str]:
    """People's votes in a database; returns the ids of the items."""
    from diva_bench.specs.yamlfile import read_yaml
    from diva_bench.study.items import of_runs
    from diva_bench.study.spec import StudyFile

    items, _ = of_runs(read_yaml(place / "study.yaml", StudyFile), place)
    names = sorted(items)
    with Store(place / database, create=True) as store:
        store.enrol(rater := store.hashed("ann"))
        store.add_answers((n, s, t, None, "") for n, item in items.items() for s, t in item.answers.items())
        store.add(Vote(f"v{n}", names[n], ("alpha", "beta"), choice, rater) for n, choice in choices.items())
    return names


def test_a_metric_votes_once_on_what_people_voted_on_and_the_report_has_its_agreement(place: Path) -> None:
    voted(place, "m.sqlite", {0: "alpha", 1: "alpha", 2: "alpha", 3: "beta"})
    words = ("study", "simulate", "study.yaml", "--metric", "wer", "--database", "m.sqlite")
    assert "4 votes added, 0 were there, 0 questions" in call(place, *words).stdout
    assert "0 votes added, 4 were there" in call(place, *words).stdout
    with Store(place / "m.sqlite") as store:
        mine = [vote for vote in store.votes() if vote.simulated]
    assert {(vote.simulated, vote.choice) for vote in mine} == {("wer", "alpha")}, "the lower error rate is better"
    assert mine[0].versions["simulated"].startswith("wer")
    report = call(place, "study", "report", "m.sqlite", "--format", "md").stdout
    assert "| wer | 4 | 0 | 4 | 75.0" in report
    assert "gave 4 votes" in report


def test_votes_of_other_settings_are_not_mixed_and_can_be_replaced(place: Path) -> None:
    names = voted(place, "old.sqlite", {0: "alpha"})
    with Store(place / "old.sqlite") as store:
        store.enrol(rater := store.hashed("old"), simulated="wer")
        store.add([Vote("o", names[0], ("alpha", "beta"), "beta", rater, versions={"simulated": "wer|v0"})])
    words = ("study", "simulate", "study.yaml", "--metric", "wer", "--database", "old.sqlite")
    done = call(place, *words)
    assert done.returncode == 2
    told = f"To replace them: diva-bench study withdraw old.sqlite {rater} --yes, then this command again."
    assert "the simulated rater wer that were made with other settings" in done.stderr
    assert told in " ".join(done.stderr.split())
    assert call(place, "study", "withdraw", "old.sqlite", rater, "--yes").returncode == 0
    assert "1 votes added" in call(place, *words).stdout


def test_a_judge_that_names_the_same_answer_in_every_order_votes_and_one_that_names_a_place_ties(place: Path) -> None:
    names = voted(place, "j.sqlite", dict.fromkeys(range(3), "alpha"))

    def answer(body: dict[str, Any], _: int) -> Any:
        said = body["messages"][-1]["content"]
        if "You compare answers" not in said:  # the first question of the adapter, which checks the server
            return completion("yes")
        calm = "Answer 1: nothing to say" in said
        return completion(replies[next(n for n, item in enumerate(names[:3]) if questions[item] in said)][calm])

    replies = [("2", "1"), ("1", "1"), ("cheese", "1")]
    with Store(place / "j.sqlite") as store:
        questions = {item: store.answers(item)[item, "alpha"] for item in names[:3]}
    with serving(answer) as server:
        model(place / "specs", server.url, name="far")
        words = ("--judge", "far", "--database", "j.sqlite", "--path", "specs")
        done = call(place, "study", "simulate", "study.yaml", *words)
        assert done.returncode == 0, done.stderr
    assert "judge far: 2 votes added, 0 were there, 1 questions without a clear verdict" in done.stdout
    with Store(place / "j.sqlite") as store:
        assert [vote.choice for vote in store.votes() if vote.simulated == "judge far"] == ["beta", "tie"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give one of --metric and --judge"),
        (("--metric", "wer", "--judge", "oracle"), "give one of --metric and --judge"),
        (("--metric", "wre"), "unknown metric 'wre' in the scorers of the task"),
        (("--metric", "wer", "--database", "no.sqlite"), "there is no such file"),
        (("--metric", "wer", "--database", "empty.sqlite"), "people have not voted yet"),
        (("--judge", "whisper"), "does not take text, which a judge needs"),
    ],
)
def test_a_simulation_that_is_not_possible_is_refused_in_words(
    place: Path, words: tuple[str, ...], message: str
) -> None:
    voted(place, "s.sqlite", {0: "alpha"})
    voted(place, "empty.sqlite", {})
    done = call(place, "study", "simulate", "study.yaml", *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_recordings_whose_words_nobody_knows_are_not_simulated(place: Path) -> None:
    systems = {"a": {"model": "echo"}, "b": {"model": "echo"}}
    study = {"name": "r", "title": "t", "consent": "c", "systems": systems, "task": "heysquad", "record": {}}
    yaml_file(place / "r.yaml", study)
    done = call(place, "study", "simulate", "r.yaml", "--metric", "contains")
    assert (done.returncode, "raters recorded their own questions" in done.stderr) == (2, True), done.stderr
