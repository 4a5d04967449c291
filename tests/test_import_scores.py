"""Scores that came with imported answers: kept as a metric, compared, alone where there is no gold, and as released."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from answer_files import answers, diva_eval, load, only, two_tasks, value, write

from diva_bench.cli.compare import compare_command
from diva_bench.cli.results import leaderboard_command, score_command
from diva_bench.errors import PredictionError, UserError
from diva_bench.runs.store import RunFolder

SHARED = Path(__file__).parents[2] / "shared" / "data"
GOLD, RELEASED = SHARED / "gold", SHARED / "diva-eval"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return two_tasks(tmp_path, monkeypatch)


# ---------------------------------------------------------------- kept and checked


def test_it_is_said_whether_the_scores_that_came_are_a_metric_of_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    for right, said in (
        (3, "the scores in the file are contains, answer by answer (6 answers, at most 0.0e+00 of 1 apart)"),
        (5, "match no metric of this task: 4 of 6 answers have the same contains; their means are 83.33 and 50.00."),
    ):
        rows = [row | {"score": int(i < right)} for i, row in enumerate(answers(right=3))]
        assert load(write(f"{right}.jsonl", rows), columns="score=score", top=1) == 0
        assert said in " ".join(capsys.readouterr().err.split())


def came_with(name: str, right: int) -> RunFolder:
    """Answers of which three are right, and scores by which `right` are."""
    rows = [row | {"score": int(i < right)} for i, row in enumerate(answers(right=3))]
    assert load(write(f"{name}.jsonl", rows), columns="score=score", model_name=name, top=1) == 0
    return only(run=f"{name}-*")


def test_what_was_found_out_about_the_scores_stays_with_the_run_and_stands_in_its_tables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    same, other = came_with("same", 3), came_with("other", 5)
    assert same.summary()["agreement"] == {
        "metric": "contains", "alike": 6, "of": 6, "most": 0.0, "released": 50.0, "ours": 50.0, "apart": [],
    }  # fmt: skip
    found = other.summary()["agreement"]
    assert (found["alike"], found["of"], found["apart"]) == (4, 6, ["q3", "q4"])
    before = (other.path / "summary.json").read_bytes()
    capsys.readouterr()
    assert score_command([other.path], [Path("specs")]) == 0
    assert (other.path / "summary.json").read_bytes() == before
    capsys.readouterr()
    assert leaderboard_command(Path("results"), [], "md") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "released: 4 of 6 are contains" in shown
    assert "match no metric of this task: 4 of 6 answers have the same contains" in shown
    assert "They differ on q3, q4" in shown
    assert "the scores in the file are contains, answer by answer" in shown


def test_scores_by_other_weights_of_a_metric_are_not_compared_as_equals(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [came_with("same", 3).path, came_with("other", 5).path]
    capsys.readouterr()
    assert compare_command(runs, [], 0, [], "md", [Path("specs")]) == 0
    shown = capsys.readouterr().out
    assert "| contains | same |" in shown
    assert "| released |" not in shown
    assert "left out: released is not one metric in these runs. same: the scores in the file are contains" in shown
    with pytest.raises(UserError, match=r"released is not one metric .* Compare by a metric that is measured here\."):
        compare_command(runs, ["released"], 0, [], "md", [Path("specs")])
    third = came_with("third", 4).path
    capsys.readouterr()
    assert compare_command([runs[1], third], ["released"], 0, [], "md", [Path("specs")]) == 0
    assert "whether they are the same for all runs is unknown" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scores", "top", "expected"),
    [
        ((0, 0.5, 1, 1, 1, 1), None, 75),
        ((0, 50, 100, 100, 100, 100), 100, 75),
        ((0, 0, 0, 0, 0, 1), 100, 1 / 6),
        ((0, 0, 0, 0, 0, 1.5), 100, 1 / 4),
        ((0, 0, 0, 0, 0, 0), None, 0),
        ((0, 0, 0, 100.00000000000004, 0, 50), 100, 25),
    ],
)
def test_scores_of_0_to_1_and_of_0_to_100_are_on_one_scale(
    scores: tuple[float, ...], top: int | None, expected: float
) -> None:
    load(diva_eval("outs.txt", [(f"q{i}", "x", s) for i, s in enumerate(scores)]), top=top)
    assert value(only(), "released") == pytest.approx(expected)


@pytest.mark.parametrize("top", ["50", "0", "1.0"])
def test_a_perfect_score_that_no_source_has_is_refused(
    top: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from diva_bench.cli.main import main

    monkeypatch.setattr("sys.argv", ["diva-bench", "import", "a.jsonl", "-t", "quiz", "-n", "x", "--top", top])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"'{top}' is not one of '1', '100'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("score", "top"), [(-0.5, None), (1.5, None), (101, 100), (50, 1)])
def test_a_score_outside_the_scale_is_refused(score: float, top: int | None) -> None:
    with pytest.raises(PredictionError, match=r"go from -?[\d.]+ to [\d.]+; here they are read as 0 to 1(00)?\."):
        load(diva_eval("outs.txt", [(f"q{i}", "x", score if i == 3 else 0.5) for i in range(6)]), top=top)
    assert not Path("results").exists()


def low_scores() -> Path:
    """Scores that may be fractions or per cent: nobody can tell by looking at them."""
    return write("low.jsonl", [row | {"score": 0.1 * i} for i, row in enumerate(answers())])


def test_a_scale_that_nothing_tells_is_asked_for_in_words() -> None:
    with pytest.raises(
        PredictionError, match=r"the score of a perfect answer is not known: give --top 1 .* or --top 100"
    ):
        load(low_scores(), columns="score=score")
    assert not Path("results").exists()


@pytest.mark.parametrize(("written", "said", "expected"), [(100, None, 0.25), (1, None, 25), (100, 1, 25)])
def test_the_task_may_say_the_scale_and_the_command_line_decides(
    written: int, said: int | None, expected: float
) -> None:
    spec = Path("specs/quiz.yaml")
    spec.write_text(spec.read_text().replace("scorers: {qa: {}}", f"scorers: {{qa: {{}}, given: {{top: {written}}}}}"))
    load(low_scores(), columns="score=score", top=said)
    assert value(only(), "released") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scorer", "primary", "top"), [("sentence_bleu", "mean_sentence_bleu", 100), ("bleu", "bleu", 100), ("qa", "f1", 1)]
)
def test_what_the_paper_s_own_files_count_to_is_known_by_the_task(scorer: str, primary: str, top: int) -> None:
    spec = Path("specs/quiz.yaml")
    spec.write_text(spec.read_text().replace("qa: {}", f"{scorer}: {{}}").replace("contains", primary))
    for name, scores in (("low", (0.5, 0.7, 0.1)), ("zero", (0, 0, 0))):
        load(diva_eval(f"{name}.txt", [(f"q{i}", "x", s) for i, s in enumerate(2 * scores)]), model_name=name)
        run = only(run=f"{name}-*")
        assert run.record()["task"]["scorers"]["given"] == {"top": top}
        assert value(run, "released") == pytest.approx(sum(scores) / 3 * 100 / top)


# ---------------------------------------------------------------- what follows


def test_scoring_again_gives_the_same_bytes_also_from_another_place() -> None:
    load(diva_eval("outs.txt", [(f"q{i}", f"right {i}" if i % 2 else "", i / 8) for i in range(6)]))
    folder = only().path
    before = {name: (folder / name).read_bytes() for name in ("summary.json", "scores.jsonl")}
    for name in before:
        (folder / name).unlink()
    Path("outs.txt").unlink()
    assert score_command([folder], [Path("specs")]) == 0
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_two_imported_runs_are_compared_also_by_the_scores_they_came_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, shift in (("one", 0.25), ("two", 0.0)):
        load(diva_eval(f"{name}.txt", [(f"q{i}", "x", i / 10 + shift) for i in range(6)]), model_name=name)
    runs = [only(run=f"{name}-*").path for name in ("one", "two")]
    capsys.readouterr()
    assert compare_command(runs, ["released"], 0, [], "csv", [Path("specs")]) == 0
    assert "25.0" in capsys.readouterr().out


def test_a_run_with_scores_is_compared_with_one_without_by_what_both_have(capsys: pytest.CaptureFixture[str]) -> None:
    load(diva_eval("one.txt", [(f"q{i}", f"right {i}", 0.5) for i in range(6)]), model_name="one")
    load(write("two.jsonl", answers()), model_name="two")
    for order in (("one", "two"), ("two", "one")):
        capsys.readouterr()
        runs = [only(run=f"{name}-*").path for name in order]
        assert compare_command(runs, [], 0, [], "csv", [Path("specs")]) == 0
        out = capsys.readouterr().out
        assert "contains" in out
        assert not any(line.startswith("released,") for line in out.splitlines())


# ---------------------------------------------------------------- without gold labels


def test_without_gold_the_scores_alone_are_a_run_of_a_task_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[tuple[object, str, object]] = [(-5 + i, "x", i / 10) for i in range(6)]
    assert load(diva_eval("outs.txt", rows), gold=False) == 0
    assert load(diva_eval("turned.txt", [(i, "y", s) for i, _, s in rows[::-1]]), gold=False, model_name="two") == 0
    load(write("a.jsonl", answers()))
    (task,) = Path("results").glob("quiz-scores-only-*")
    runs = sorted(task.glob("*/"))
    assert [p.name.partition("-")[0] for p in runs] == ["other", "two"]
    summary = RunFolder(runs[0]).summary()
    assert (summary["primary"], summary["clusters"], summary["baseline"]) == ("released", 6, None)
    assert list(summary["metrics"]) == ["released"]
    assert value(RunFolder(runs[0]), "released") == pytest.approx(25)
    capsys.readouterr()
    leaderboard_command(Path("results"), ["quiz-scores-only"], "md")
    page = capsys.readouterr().out
    assert "contains" not in page
    before = (runs[0] / "summary.json").read_bytes()
    assert score_command(runs, [Path("specs")]) == 0
    assert (runs[0] / "summary.json").read_bytes() == before
    assert compare_command(runs, [], 2, [], "rich", [Path("specs")]) == 0


def test_clusters_of_scores_alone_come_from_a_file_and_are_kept() -> None:
    file = diva_eval("outs.txt", [(f"x{i}", "x", i / 10) for i in range(6)])
    Path("clusters.csv").write_text("id,cluster\n" + "".join(f"x{i},talk{i // 2}\n" for i in range(6)))
    load(file, gold=False, clusters=Path("clusters.csv"))
    folder = only()
    assert folder.summary()["clusters"] == 3
    before = (folder.path / "summary.json").read_bytes()
    Path("clusters.csv").write_text("id,cluster\nx0,talk\n")
    assert score_command([folder.path], [Path("specs")]) == 0
    assert (folder.path / "summary.json").read_bytes() == before
    with pytest.raises(PredictionError, match="--clusters has no cluster for 5 ids: x1, x2, x3, x4, x5"):
        load(file, gold=False, clusters=Path("clusters.csv"), output=Path("more"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "x", 1), ("a", "y", 0)], "more than once: 1: a"),
        ([("a", "ERROR IN PROCESSING", "NA")], "no row of the file has a score"),
    ],
)
def test_scores_alone_are_checked(rows: list[tuple[object, str, object]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(diva_eval("outs.txt", rows), gold=False)
    assert not Path("results").exists()


@pytest.mark.parametrize("count", [5, 7])
def test_scores_alone_of_another_number_of_ids_than_the_task_has_rows_are_not_ranked(
    count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(diva_eval("outs.txt", [(f"x{i}", "x", i / 10) for i in range(count)]), gold=False) == 1
    said = f"{count} ids in the file, but task quiz says there are 6 rows"
    assert f"not whole: {said}: the run is not ranked" in capsys.readouterr().err
    folder = only("quiz-scores-only-partial-*")
    assert (folder.summary()["complete"], folder.summary()["reason"]) == (False, f"partial data: {said}")
    leaderboard_command(Path("results"), [], "md")
    assert f"not ranked: partial data: {said}" in capsys.readouterr().out
    before = (folder.path / "summary.json").read_bytes()
    assert score_command([folder.path], [Path("specs")]) == 1
    assert (folder.path / "summary.json").read_bytes() == before


def test_clips_that_the_task_leaves_out_need_not_be_in_the_file() -> None:
    spec = Path("specs/quiz.yaml")
    spec.write_text(spec.read_text().replace("rows: 6}", "rows: 6, exclude: {x0: broken}}"))
    for first in (0, 1):
        rows: list[tuple[object, str, object]] = [(f"x{i}", "x", i / 10) for i in range(first, 6)]
        assert load(diva_eval("outs.txt", rows), gold=False, output=Path(f"results{first}")) == 0


def test_where_the_labels_are_not_here_no_gold_is_named() -> None:
    Path("specs/quiz.jsonl").unlink()
    with pytest.raises(UserError, match=r"--no-gold needs no data of the task.*\(6 of 6 have one\)"):
        load(diva_eval("outs.txt", [(f"q{i}", "x", i / 10) for i in range(6)]))
    with pytest.raises(UserError, match="The answers came without scores, so --no-gold would keep nothing of them"):
        load(write("a.jsonl", answers()))
    meld = {"task": "paper-meld", "data_dir": None}
    with pytest.raises(UserError, match=r"its data is not on this machine[\s\S]*--no-gold needs no data of the task"):
        load(diva_eval("meld.txt", [(i, "Ang", 1) for i in range(6)]), **meld)
    Path("specs/quiz.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="is missing") as raised:
        load(write("a.jsonl", answers()))
    assert "--no-gold" not in str(raised.value)


def test_scores_alone_need_ids() -> None:
    with pytest.raises(PredictionError, match="--no-gold needs a file with ids"):
        load(write("vb.jsonl", [{"prompt": "q", "response": "x"}]), gold=False)


# ---------------------------------------------------------------- the released outputs


def released(file: str, task: str, name: str, **changes: Any) -> RunFolder:
    if not GOLD.is_dir() or not (RELEASED / file).is_file():
        pytest.skip(f"the released outputs and gold labels are not here ({SHARED})")
    load(RELEASED / file, task=task, model_name=name, **{"data_dir": GOLD, "paths": []} | changes)
    return only(run=f"{name}-*")


def test_released_meld_has_the_published_figures() -> None:
    folder = released("MELD_emotion_recognition_Results/e2e_DiVA/default_outs.txt", "paper-meld", "diva")
    assert folder.summary()["n"] == 2608
    expected = {"accuracy": 39.0, "weighted_f1": 41.3, "macro_f1": 29.4, "uar": 32.7, "released": 39.0}
    assert {metric: round(value(folder, metric), 1) for metric in expected} == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("e2e_DiVA", {"accuracy": 52.6, "binary_f1": 59.8, "macro_f1": 51.1, "mcc": 5.6, "released": 52.6}),
        ("e2e_qwen2", {"accuracy": 55.5, "binary_f1": 63.1, "macro_f1": 53.6, "mcc": 12.1, "released": 55.5}),
    ],
)
def test_released_mustard_has_the_published_figures(model: str, expected: dict[str, float]) -> None:
    folder = released(f"Mustard_sarcasm_Results/{model}/default_outs.txt", "paper-mustard", model)
    assert {metric: round(value(folder, metric), 1) for metric in expected} == expected
    assert "sorted ids" in folder.record()["imported"]["matched"]


@pytest.mark.weights
@pytest.mark.parametrize(("model", "pedants", "came"), [("e2e_qwen2", 46.22, 46.22), ("e2e_DiVA", 51.52, 55.17)])
def test_released_heysquad_by_one_version_of_pedants_and_as_released(
    model: str, pedants: float, came: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DIVA_BENCH_CACHE")
    folder = released(f"non_social_HeySquad_QA_Results/{model}/default_outs.txt", "paper-heysquad", model)
    metrics = folder.summary()["metrics"]
    assert round(metrics["released"]["value"], 2) == came
    assert metrics["released"]["clusters"] == 311
    if "pedants" not in metrics:
        pytest.skip(f"the scores as released are as published; {folder.summary()['signature']['pedants']}")
    assert round(metrics["pedants"]["value"], 2) == pedants
    said = " ".join(capsys.readouterr().err.split())
    assert ("are pedants, answer by answer" if pedants == came else "match no metric of this task") in said


@pytest.mark.parametrize(
    ("dialect", "expected"), [("usa", (54.58, 494)), ("ind_n", (51.91, 494)), ("kenya", (52.06, 481))]
)
def test_released_sdqa_keeps_its_means_without_gold_labels(dialect: str, expected: tuple[float, int]) -> None:
    file = f"Spoken_Dialect_QA_Results/e2e_DiVA/{dialect}_outs.txt"
    metric = released(file, f"paper-sdqa-{dialect}", dialect, gold=False).summary()["metrics"]["released"]
    assert (round(metric["value"], 2), metric["n"]) == expected
