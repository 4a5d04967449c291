"""The LLM judge: asked through the catalog, replies kept, verdicts never guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import mini_task
import numpy as np
import pytest
from scoring import asked, judge_lines, said, sample, task

from diva_bench import stats
from diva_bench.adapters.echo import Echo
from diva_bench.catalog import Catalog
from diva_bench.errors import DataError, SpecError, StoreError, UnknownName
from diva_bench.scorers.llm_judge import PROMPTS, Judge
from diva_bench.scorers.reply_cache import ReplyCache, key
from diva_bench.types import Response, Sample, Scorer, Silent, WholeScorer

SHORT = "Q {question} R {reference} A {answer}"


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the models of a test; the catalog has no others, so that it is read fast."""
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DIVA_BENCH_PATH", raising=False)
    monkeypatch.setattr("diva_bench.catalog.builtin_folder", lambda: tmp_path / "nothing")
    (tmp_path / "specs").mkdir()
    return tmp_path / "specs"


def judge(specs: Path, reply: str = "yes", *, name: str = "judge", **settings: object) -> Judge:
    """A judge that always replies the same and logs whom it was asked about (key[:16] of each prompt)."""
    if not (specs / f"{name}.yaml").exists():
        mini_task.model(specs, name, reply=reply, log=str(specs / "asked.log"))
    wanted = {"llm_judge": {"model": name, "prompt": SHORT, **settings}}
    made = Catalog([specs]).scorers(task(scorers=wanted))["llm_judge"]
    assert isinstance(made, Judge)
    return made


def about(*answers: str) -> tuple[list[Sample], list[Response]]:
    samples = [sample("right", id=f"s{i}", transcript="who?") for i in range(len(answers))]
    return samples, [Response(s.id, text=a) for s, a in zip(samples, answers, strict=True)]


# ---------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("scale", "reply", "worth"),
    [
        ("yes-no", "yes", 100),
        ("yes-no", "No.", 0),
        ("yes-no", "**Yes**, it names the town.", 100),
        ("yes-no", "Yes or no?", None),
        ("yes-no", "not yes", None),
        ("yes-no", "The answers agree.", None),
        ("yes-no", "", None),
        ("1-5", "5", 100),
        ("1-5", "Grade: 4", 75),
        ("1-5", "1", 0),
        ("1-5", "between 3 and 4", None),
        ("1-5", "6", None),
        ("1-5", "five", None),
    ],
)
def test_a_verdict_is_read_strictly_or_counted_as_unparsed(
    specs: Path, tmp_path: Path, scale: str, reply: str, worth: float | None
) -> None:
    scorer = judge(specs, reply, scale=scale)
    rows = scorer.measure_all(*about("a"), tmp_path, Silent())
    scores = scorer.reduce(stats.totals(rows))
    assert scores["judge_unparsed"] == (100 if worth is None else 0)
    assert scores.get("judge") == worth


def test_scores_are_over_the_verdicts_read_and_keep_their_shape(specs: Path) -> None:
    scorer = judge(specs)
    assert isinstance(scorer, Scorer)
    assert isinstance(scorer, WholeScorer)
    rows = [
        {"judge.n": 1.0, "judge.read": 1.0, "judge.sum": 1.0},
        {"judge.n": 1.0, "judge.read": 1.0},
        {"judge.n": 1.0},
    ]
    point = scorer.reduce(stats.totals(rows))
    assert {k: float(v) for k, v in point.items()} == {"judge": 50, "judge_unparsed": pytest.approx(100 / 3)}
    many = scorer.reduce({k: np.full((2, 3), v) for k, v in stats.totals(rows).items()})
    assert many["judge"].shape == many["judge_unparsed"].shape == (2, 3)
    assert scorer.reduce({}) == {}


# ---------------------------------------------------------------- what is asked, and what is kept


def test_the_filled_prompt_is_the_whole_turn_and_nothing_in_an_answer_is_filled_in(specs: Path, tmp_path: Path) -> None:
    scorer = judge(specs, "transcript")  # says what it reads
    samples = [sample("a", "b", id="s", transcript="who?")]
    scorer.measure_all(samples, [Response("s", text="{question} {x}")], tmp_path, Silent())
    assert judge_lines(tmp_path)[1]["reply"] == "Q who? R a / b A {question} {x}"


def test_replies_are_kept_and_scoring_again_asks_nobody(specs: Path, tmp_path: Path) -> None:
    scorer, (samples, answers) = judge(specs), about("a", "b", "a")
    first = scorer.measure_all(samples, answers, tmp_path, Silent())
    assert len(asked(specs)) == 2  # the same words are asked about once
    head, *rows = judge_lines(tmp_path)
    assert head["judge"]["prompt"] == SHORT
    assert [r["id"] for r in rows] == ["s0", "s2", "s1"]
    assert rows[0] == {
        "id": "s0",
        "key": key("Q who? R right A a"),
        "reply": "yes",
        "verdict": "yes",
        "model": head["judge"]["identity"][:8],
    }
    assert judge(specs).measure_all(samples, answers, tmp_path, Silent()) == first
    assert len(asked(specs)) == 2


def test_only_a_changed_answer_is_asked_about_again(specs: Path, tmp_path: Path) -> None:
    samples, answers = about("a", "b")
    judge(specs).measure_all(samples, answers, tmp_path, Silent())
    answers[1] = Response("s1", text="c")
    judge(specs).measure_all(samples, answers, tmp_path, Silent())
    assert asked(specs) == [key(f"Q who? R right A {a}")[:16] for a in "abc"]
    assert len(list(tmp_path.glob("judge-*.jsonl"))) == 1


@pytest.mark.parametrize(
    "change", [{"prompt": "{answer}?"}, {"scale": "1-5"}, {"max_new_tokens": 3}, {"name": "other", "reply": "yes "}]
)
def test_another_judge_or_prompt_is_another_file_and_another_signature(
    specs: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    first, second = judge(specs), judge(specs, **change)
    for scorer in (first, second):
        scorer.measure_all(*about("a"), tmp_path, Silent())
    assert len(asked(specs)) == 2
    assert len(list(tmp_path.glob("judge-*.jsonl"))) == 2
    assert first.signature != second.signature


def test_an_answer_that_says_nothing_is_wrong_without_asking(specs: Path, tmp_path: Path) -> None:
    samples, answers = about(" ", "")
    answers[1] = Response("s1", text="right", status="unsupported")
    rows = judge(specs).measure_all(samples, answers, tmp_path, Silent())
    assert rows == [{"judge.n": 1, "judge.read": 1}] * 2
    assert asked(specs) == []


@pytest.mark.parametrize("how", ["raise", "error"])
def test_a_judge_that_fails_gives_no_verdict_is_on_record_and_is_asked_again(
    specs: Path, tmp_path: Path, how: str
) -> None:
    bad = key("Q who? R right A b")[:16]
    log = str(specs / "asked.log")
    mini_task.model(specs, "judge", reply="yes", log=log, fail_ids=[bad], fail_how=how)
    notes: list[str] = []
    progress = Silent()
    progress.note = notes.append  # type: ignore[method-assign]
    samples, answers = about("a", "b", "c")
    rows = judge(specs).measure_all(samples, answers, tmp_path, progress)
    assert [bool(row) for row in rows] == [True, False, True]
    assert "the judge failed on 1 of 3 answers" in notes[-1]
    assert [(r["id"], "on request" in str(r["failed"])) for r in judge_lines(tmp_path) if "failed" in r] == [
        ("s1", True)
    ]
    (specs / "asked.log").unlink()
    mini_task.model(specs, "judge", reply="yes", log=log, fail_ids=[bad], fail_how=how)
    judge(specs).measure_all(samples, answers, tmp_path, Silent())
    assert set(asked(specs)) == {bad}


def test_a_single_answer_is_not_worth_asking(specs: Path) -> None:
    with pytest.raises(SpecError, match="a judge scores whole runs, not single answers"):
        judge(specs).measure(sample("x"), said("y"))


def test_a_training_and_an_ablation_do_not_ask_it(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diva_bench.cli import train
    from diva_bench.report import ablation_blocks as ablate

    mini_task.write(specs)
    text = (specs / "toy.yaml").read_text(encoding="utf-8")
    judged = text.replace("scorers: {qa: {}}", "scorers: {qa: {}, llm_judge: {model: judge}}")
    (specs / "toy.yaml").write_text(judged, encoding="utf-8")
    mini_task.model(specs, "judge", reply="yes", log=str(specs / "asked.log"))
    notes: list[str] = []
    progress = Silent()
    monkeypatch.setattr(progress, "note", notes.append)
    catalog = Catalog([specs])
    ((_, scorers, samples),) = train._tasks(catalog, ["toy"], 8, progress).tasks
    assert (list(scorers), notes) == (["qa"], ["toy: llm_judge uses another model and is not computed during training"])
    job = SimpleNamespace(samples=samples, scorers=catalog.scorers(catalog.task("toy", "mini")))
    assert ablate._names(job) == ["contains", "em", "f1"]
    assert ablate._owner(job, "judge") == "llm_judge"
    assert asked(specs) == []


def test_an_error_is_never_judged(specs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"response s0 is an error \(timeout\): errors are not scored"):
        judge(specs).measure_all(about("a")[0], [Response("s0", status="error", detail="timeout")], tmp_path, Silent())


def test_a_prompt_with_the_question_needs_the_words_spoken(specs: Path, tmp_path: Path) -> None:
    samples, answers = [sample("right")], [said("a")]
    with pytest.raises(DataError, match="sample a has no transcript, which the judge's prompt shows as"):
        judge(specs).measure_all(samples, answers, tmp_path, Silent())
    assert judge(specs, prompt="{answer}").measure_all(samples, answers, tmp_path, Silent())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": None}, "scorers.llm_judge needs `model`, the name of the model that judges"),
        ({"model": 3}, "scorers.llm_judge needs `model`"),
        (
            {"model": "deaf"},
            "model is 'deaf', whose adapter takes choices, prior; a judge needs text: name a model whose",
        ),
        (
            {"modell": "oracle"},
            "has no setting 'modell'. Did you mean 'model'? Allowed: model, edition, scale, prompt, max",
        ),
        ({"scale": "1-10"}, "scorers.llm_judge.scale is '1-10'. Did you mean '1-5'? Allowed: yes-no, 1-5."),
        ({"prompt": "Right? {reference}"}, "prompt does not show the judge the answer: put {answer} into it"),
        ({"prompt": "{anwser}"}, "the prompt asks for {anwser}; the fields there are: answer, question, reference."),
        ({"prompt": 3}, "scorers.llm_judge.prompt is 3; it is text with {answer} in it."),
        ({"max_new_tokens": 0}, "scorers.llm_judge.max_new_tokens is 0; it is a number of tokens, from 1."),
        ({"models": "x"}, "scorer llm_judge does not take"),
    ],
)
def test_a_wrong_setting_is_told_before_anybody_is_asked(
    specs: Path, settings: dict[str, object], message: str
) -> None:
    (specs / "deaf.yaml").write_text("name: deaf\nadapter: baseline\ndescription: a test\n")
    with pytest.raises(SpecError) as err:
        judge(specs, **settings)
    assert message in str(err.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "jugde"}, "unknown model 'jugde'. Did you mean 'judge'"),
        ({"model": "small", "edition": "full"}, "unknown edition 'full' in model small. Available: mini"),
    ],
)
def test_an_unknown_judge_is_told(specs: Path, settings: dict[str, object], message: str) -> None:
    (specs / "small.yaml").write_text("name: small\nadapter: echo\ndescription: a test\neditions: {mini: {}}\n")
    with pytest.raises(UnknownName, match=message):
        judge(specs, **settings)


def test_another_version_of_the_judge_s_adapter_is_another_judge(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = judge(specs).signature
    assert judge(specs).signature == before
    monkeypatch.setattr(Echo, "version", "next")
    assert judge(specs).signature != before


@pytest.mark.parametrize("scale", list(PROMPTS))
def test_the_shipped_prompts_show_all_three(specs: Path, scale: str) -> None:
    scorer = judge(specs, prompt=None, scale=scale)
    assert all(f"{{{name}}}" in PROMPTS[scale] for name in ("question", "reference", "answer"))
    assert f"|scale:{scale}|prompt:v1@" in scorer.signature


# ---------------------------------------------------------------- the file


def test_a_torn_last_line_is_cut_off_and_the_rest_is_known(tmp_path: Path) -> None:
    with ReplyCache(tmp_path, "judge", {"a": 1}) as kept:
        kept.add([{"id": "x", "key": "k", "reply": "é"}])
    whole = kept.path.read_bytes()
    kept.path.write_bytes(whole + b'{"id": "y", "key"')
    with ReplyCache(tmp_path, "judge", {"a": 1}) as again:
        assert set(again.rows) == {"k"}
        again.add([{"id": "z", "key": "l", "reply": "no"}])
    assert kept.path.read_bytes() == whole + b'{"id": "z", "key": "l", "reply": "no"}\n'
    kept.path.write_bytes(whole[:5])  # torn in the first line
    with ReplyCache(tmp_path, "judge", {"a": 1}) as fresh:
        assert fresh.rows == {}
    assert whole.startswith(kept.path.read_bytes())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"judge": {"a": 1}}\nnonsense\n', r"jsonl:2: is not valid JSON \(.*Remove that line to continue."),
        ('{"judge": {"a": 1}}\n[1]\n', "jsonl:2: expected a JSON object"),
        ('{"judge": {"a": 2}}\n', "jsonl:1: has replies of {'judge': {'a': 2}}, not of {'judge': {'a': 1}}"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = ReplyCache(tmp_path, "judge", {"a": 1}).path
    path.write_text(text)
    with pytest.raises(StoreError, match=message), ReplyCache(tmp_path, "judge", {"a": 1}):
        pass


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"), ReplyCache(tmp_path / "none", "judge", {}):
        pass


# ---------------------------------------------------------------- with a real model


@pytest.mark.weights
def test_a_real_model_judges(weights: Callable[[str], Path], tmp_path: Path) -> None:
    weights("smollm2-135m-instruct")
    settings = {"model": "oracle", "edition": "nano", "prompt": "Reply with one word.\n{answer}"}
    scorer = Catalog().scorers(task(scorers={"llm_judge": settings}))["llm_judge"]
    assert isinstance(scorer, Judge)
    samples, answers = about("Say yes.", "Say no.")
    rows = scorer.measure_all(samples, answers, tmp_path, Silent())
    replies = [row["reply"] for row in judge_lines(tmp_path)[1:]]
    assert len(replies) == 2
    assert all(isinstance(reply, str) and reply for reply in replies)
    assert [row["judge.n"] for row in rows] == [1, 1]
    assert scorer.measure_all(samples, answers, tmp_path, Silent()) == rows
