"""The mean over tasks: what it is, when there is none, and its intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored import collect
from test_leaderboard import run

from diva_bench.report import aggregate
from diva_bench.report.leaderboard import leaderboard, screen
from diva_bench.runs.aligned import Drawn
from diva_bench.runs.records import RunSummary
from diva_bench.tables import Score


def means(place: Path) -> aggregate.Means:
    return aggregate.means(collect(place))


def two_tasks(place: Path, model: str, first: float, second: float, **changes: Any) -> None:
    """Intervals of 3 to both sides; constant answers with 20 and 0.3."""
    baselines = {"baseline": 20.0, "baseline_of": "constant", "baselines": {"constant": 20.0, "prior": 25.0}}
    run(place, model, first, "meld-111111", primary="weighted_f1", **baselines, **changes)
    run(place, model, second, "covost2-de-222222", **changes)


@pytest.mark.parametrize(
    ("value", "constant", "rises", "expected"),
    [
        (60, 20, True, 50), (100, 20, True, 100), (20, 20, True, 0), (10, 20, True, -12.5),
        (30, 60, False, 50), (0, 60, False, 100), (60, 60, False, 0), (90, 60, False, -50),
    ],
)  # fmt: skip
def test_a_constant_answer_has_0_and_the_best_score_100(
    value: float, constant: float, rises: bool, expected: float
) -> None:
    assert aggregate.rescaled(value, constant, rises) == pytest.approx(expected)


def test_the_mean_is_of_rescaled_scores_and_its_interval_that_of_independent_data_sets(tmp_path: Path) -> None:
    two_tasks(tmp_path, "diva", 60.0, 50.15)
    score = means(tmp_path).scores["diva"]
    first, second = 300 / 80, 300 / 99.7  # half widths of the rescaled intervals
    assert score.value == pytest.approx((50 + 50) / 2)
    assert score.low == pytest.approx(50 - np.hypot(first, second) / 2)
    assert score.high == pytest.approx(50 + np.hypot(first, second) / 2)


def test_tasks_of_one_data_set_count_as_if_they_erred_together(tmp_path: Path) -> None:
    for task in ("covost2-de-111111", "covost2-ja-222222"):
        run(tmp_path, "diva", 50.0, task)
    score = means(tmp_path).scores["diva"]
    assert score.high is not None
    assert score.high - score.value == pytest.approx(300 / 99.7)


def test_a_lower_error_rate_is_a_higher_mean(tmp_path: Path) -> None:
    for model, wer in (("good", 10.0), ("bad", 40.0)):
        two_tasks(tmp_path, model, 60.0, 50.0)
        run(tmp_path, model, wer, "asr-333333", primary="wer", baseline=100.0, baseline_of="constant")
    scores = means(tmp_path).scores
    assert scores["good"].value - scores["bad"].value == pytest.approx(30 / 3)
    assert all(s.low is not None and s.high is not None and s.low < s.value < s.high for s in scores.values())


def test_a_model_without_one_of_the_tasks_has_no_mean(tmp_path: Path) -> None:
    two_tasks(tmp_path, "diva", 60.0, 50.0)
    run(tmp_path, "half", 90.0, "covost2-de-222222")
    found = means(tmp_path)
    assert list(found.scores) == ["diva"]
    assert "no mean for half: it lacks meld" in aggregate.notes(found)
    (table,) = screen(collect(tmp_path))
    last = dict(zip([c.heading for c in table.columns], table.rows[-1], strict=True))
    assert (last["task"], last["half"]) == ("mean of 2", None)
    assert isinstance(last["diva"], Score)


def test_a_task_without_a_constant_answer_is_in_no_mean(tmp_path: Path) -> None:
    two_tasks(tmp_path, "diva", 60.0, 50.0)
    run(tmp_path, "diva", 30.0, "heard-333333", primary="wer", baseline=None)
    found = means(tmp_path)
    assert found.left_out == ["heard"]
    assert len(found.tasks) == 2
    assert "not in the mean, because there is no constant answer to compare with: heard" in aggregate.notes(found)


@pytest.mark.parametrize("changes", [{"limit": 4}, {"audio": "silence"}, {"complete": False, "reason": "3 failed"}])
def test_runs_that_are_not_ranked_or_not_plain_are_in_no_mean(tmp_path: Path, changes: dict[str, Any]) -> None:
    two_tasks(tmp_path, "diva", 60.0, 50.0, **changes)
    assert aggregate.tables(collect(tmp_path), {}) == []
    assert not any("mean" in str(row[0]) for table in screen(collect(tmp_path)) for row in table.rows)


def test_two_runs_of_a_model_at_a_task_give_it_no_mean(tmp_path: Path) -> None:
    two_tasks(tmp_path, "diva", 60.0, 50.0)
    run(tmp_path, "diva", 70.0, "covost2-de-222222", hash="aaaaaa")
    assert not means(tmp_path).scores


def test_editions_have_means_of_their_own(tmp_path: Path) -> None:
    two_tasks(tmp_path, "diva", 60.0, 50.0)
    for task in ("meld-555555", "covost2-de-666666"):
        run(tmp_path, "diva", 20.0, task, edition="full", model_edition="full", speech="human")
    titles = [table.title for table in leaderboard(collect(tmp_path)) if table.title.startswith("mean over tasks")]
    assert [title.split(", ")[1].partition(":")[0] for title in titles] == ["full", "mini"]


# ---------------------------------------------------------------- ranks


def resamples(summaries: list[RunSummary], spread: float) -> dict[str, Drawn]:
    """Scores in 2,000 resamples: normal around each run's score, all runs of a task with the same error."""
    found = {}
    for id in {s.task_id for s in summaries}:
        here = [s for s in summaries if s.task_id == id]
        error = np.random.default_rng(len(found)).normal(0, spread, 2000)
        own = np.random.default_rng(7).normal(0, 0.5, (len(here), 2000))
        values = np.array([[s.metrics[s.primary].value] for s in here]) + error + own
        found[id] = Drawn([s.run_id for s in here], values, rises=True)
    return found


def test_ranks_by_the_mean_use_that_all_models_have_the_same_questions(tmp_path: Path) -> None:
    for model, shift in (("best", 4.0), ("near", 0.2), ("other", 0.0)):
        two_tasks(tmp_path, model, 60.0 + shift, 50.0 + shift)
    summaries = collect(tmp_path)
    between = aggregate.ranks(summaries, resamples(summaries, spread=20.0))  # of the questions, the same for all models
    assert between == {"best": (1, 1), "near": (2, 3), "other": (2, 3)}
    table = next(t for t in leaderboard(summaries, resamples(summaries, 20.0)) if t.title.startswith("mean over"))
    assert [row[4] for row in table.rows] == ["1", "2 to 3", "2 to 3"]
    assert aggregate.RANKED in table.notes


def test_there_are_no_ranks_if_a_task_was_not_resampled(tmp_path: Path) -> None:
    for model in ("a", "b"):
        two_tasks(tmp_path, model, 60.0, 50.0)
    summaries = collect(tmp_path)
    drawn = resamples(summaries, 1.0)
    drawn.popitem()
    assert aggregate.ranks(summaries, drawn) == {}
    assert "rank" not in [c.name for c in aggregate.tables(summaries, drawn)[0].columns]
