"""Signs of failure: runs made to fail in one known way each, and what is said of them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mini_task
import numpy as np
import pytest
from scoring import said, sample, task

from diva_bench.errors import StoreError
from diva_bench.report import diagnose as d
from diva_bench.report.signs import SIGNS, Answers, Sign, counted
from diva_bench.scorers.adherence import Adherence
from diva_bench.specs import Json, TaskSpec
from diva_bench.stats import Difference, Estimate, Interval
from diva_bench.types import LabelScore, Response, Sample

ROOT = Path(__file__).parents[1]
QUESTIONS = [
    json.loads(line) for line in (ROOT / "tasks/mini-v1/heysquad.jsonl").read_text(encoding="utf-8").splitlines()
]
SENTENCES = [
    json.loads(line) for line in (ROOT / "tasks/mini-v1/covost2.jsonl").read_text(encoding="utf-8").splitlines()
]
EMOTIONS = [
    json.loads(line) for line in (ROOT / "tasks/mini-v1/iemocap.jsonl").read_text(encoding="utf-8").splitlines()
]

QA = task(name="heysquad", subset=None, primary="contains")
GERMAN = task(name="covost2-de")
EMOTION = task(name="iemocap", subset=None, choices=("angry", "happy", "neutral", "sad"), primary="accuracy")
SETTINGS: dict[str, Json] = {
    "heysquad": {"language": "en", "form": "sentence"},
    "covost2-de": {"language": "de", "form": "translation"},
    "iemocap": {"language": "en", "form": "word"},
}


LOOPING = [r["de"].rstrip(".") + " und dann die Frau der Frau" * 8 for r in SENTENCES]


def questions() -> list[Sample]:
    return [sample(*r["answers"], id=r["id"], transcript=r["text"]) for r in QUESTIONS]


def sentences() -> list[Sample]:
    return [sample(r["de"], id=r["id"], transcript=r["text"]) for r in SENTENCES]


def emotions() -> list[Sample]:
    return [sample(r["label"], id=r["id"], transcript=r["text"]) for r in EMOTIONS]


def run_signs(
    spec: TaskSpec, samples: Sequence[Sample], texts: Sequence[str], label: str = "diva", new: int = 9, **more: object
) -> d.RunSigns:
    responses = [replace(said(t, tokens={"new": new}), id=s.id) for s, t in zip(samples, texts, strict=True)]
    answers = Answers(spec, samples, responses)
    scorer = Adherence(spec, **SETTINGS[spec.name])
    known = {"task_id": spec.name, "adapter": label, "llm": "llm", "signature": scorer.signature}
    return d.RunSigns(label=label, answers=answers, counts=counted(answers, scorer), **(known | more))


def right_answers() -> list[str]:
    return [f"It is {r['answers'][0]}, as far as {r['text'].rstrip('?').split()[-1]} goes." for r in QUESTIONS]


def verdicts(found: d.Diagnosis) -> dict[str, str]:
    return {f.sign.name: f.verdict for f in found.findings if f.verdict}


FAILURES = {
    "German for English": (
        QA,
        questions(),
        ["Das weiß ich leider nicht so ganz genau, mein lieber Freund." + " Ja" * i for i in range(48)],
        "wrong language",
    ),
    "English for German": (GERMAN, sentences(), [r["text"] + " Indeed." for r in SENTENCES], "wrong language"),
    "transcribes": (QA, questions(), [r["text"] for r in QUESTIONS], "transcribes"),
    "two sentences": (QA, questions(), [f"{t} There is more to say of it." for t in right_answers()], "wrong form"),
    "refuses": (QA, questions(), [f"I'm sorry, I cannot answer: {r['text']}" for r in QUESTIONS], "refuses"),
    "says nothing": (QA, questions(), [""] * 48, "says nothing"),
    "repeats itself": (GERMAN, sentences(), LOOPING, "repeats itself"),
    "the same to all": (QA, questions(), ["I'm ready to help, what is it?"] * 48, "all the same"),
    "the same label": (EMOTION, emotions(), ["sad"] * 48, "all the same"),
    "another's answers": (QA, questions(), right_answers()[7:] + right_answers()[:7], "off the subject"),
    "hears nothing": (QA, questions(), right_answers()[7:] + right_answers()[:7], d.DEAF),
    "one character": (GERMAN, sentences(), [r["de"][0] for r in SENTENCES], "one character"),
}


@pytest.mark.parametrize("failure", list(FAILURES))
def test_a_run_made_to_fail_in_one_way_shows_that_sign(failure: str) -> None:
    spec, samples, texts, sign = FAILURES[failure]
    (found,) = d.diagnose([run_signs(spec, samples, texts)])
    assert verdicts(found)[sign] == "fits"


@pytest.mark.parametrize(
    ("spec", "samples", "texts"),
    [
        (QA, questions(), right_answers()),
        (GERMAN, sentences(), [r["de"] for r in SENTENCES]),
        (EMOTION, emotions(), [r["label"] for r in EMOTIONS]),
    ],
)
def test_right_answers_show_none(spec: TaskSpec, samples: list[Sample], texts: list[str]) -> None:
    (found,) = d.diagnose([run_signs(spec, samples, texts)])
    assert verdicts(found) == {}
    if spec is EMOTION:
        assert found.reading == [
            "none of the 9 signs that were measured",
            "not measured: one character, off the subject",
        ]
    else:
        assert found.reading == ["none of the signs"]


def test_answers_stopped_by_the_limit_are_cut_off() -> None:
    (found,) = d.diagnose([run_signs(QA, questions(), right_answers(), new=64)])
    assert verdicts(found) == {"cut off": "fits"}
    assert found.reading == ["cut off: see the examples"]


@pytest.mark.parametrize(
    ("texts", "reading"),
    [
        (
            [f"{r['text'].replace('.', '')} and that in English. More." for r in SENTENCES],
            "poor adherence (wrong language, wrong form), coherent, as with distillation alone: points to the alignment",
        ),
        (
            LOOPING,
            "incoherence (repeats itself), no sign of poor adherence: points to the distillation",
        ),
        (
            [f"The sentence {r['de'].rstrip('.')} " + "and then the same again " * 8 for r in SENTENCES],
            "poor adherence (wrong language) and incoherence (repeats itself): either loss may be at fault",
        ),
    ],
)
def test_the_reading_is_the_paper_s(texts: list[str], reading: str) -> None:
    scorer_sees_words = [sample(r["de"], id=r["id"], transcript=r["text"]) for r in SENTENCES]
    (found,) = d.diagnose([run_signs(GERMAN, scorer_sees_words, texts)])
    assert found.reading[0] == reading


def test_a_run_that_hears_nothing_is_not_blamed_on_a_loss() -> None:
    loop = "die Frau der Frau " * 8
    (found,) = d.diagnose([run_signs(GERMAN, sentences(), [loop] * 48, at_chance=True)])
    assert found.reading == [
        "no sign that it gets the words, its score is at chance; beside that: repeats itself, all the same"
    ]


def test_what_the_oracle_does_too_is_the_llm_s_own() -> None:
    runs = [run_signs(GERMAN, sentences(), LOOPING, label) for label in ("diva", "cascade", "oracle")]
    ours, cascade, oracle = d.diagnose(runs)
    assert (ours.reference, cascade.reference, oracle.reference) == (runs[2], runs[2], None)
    shared = "the reference shows these signs too, so they are not its own: repeats itself"
    assert ours.reading == ["none of the signs", shared]
    assert oracle.reading == ["repeats itself"]
    others = [run_signs(GERMAN, sentences(), [r["de"] for r in SENTENCES], "oracle", llm="another"), runs[0]]
    assert [found.reference for found in d.diagnose(others)] == [None, None]
    fewer = run_signs(GERMAN, sentences()[:40], LOOPING[:40], "oracle")
    assert [found.reference for found in d.diagnose([fewer, runs[0]])] == [None, None]


def test_answers_without_a_word_are_in_no_wrong_language() -> None:
    (found,) = d.diagnose([run_signs(GERMAN, sentences(), [""] * 40 + [r["de"] for r in SENTENCES[40:]])])
    share = {f.sign.name: (f.estimate.value, f.estimate.n) for f in found.findings}
    assert (share["wrong language"], share["wrong form"], share["says nothing"][1]) == ((0, 8), (0, 8), 48)
    assert found.reading[0] == "incoherence (says nothing), no sign of poor adherence: points to the distillation"


@pytest.mark.parametrize(("spec", "samples", "threshold"), [(QA, questions(), 25), (EMOTION, emotions(), 85)])
def test_open_answers_are_alike_sooner_than_labels(spec: TaskSpec, samples: list[Sample], threshold: float) -> None:
    (found,) = d.diagnose([run_signs(spec, samples, ["sad"] * 48)])
    assert [f.threshold for f in found.findings if f.sign.name == "all the same"] == [threshold]


def test_few_answers_make_a_perhaps_of_a_fits() -> None:
    texts = ["The sentence is in English now." if i % 2 else r["de"] for i, r in enumerate(SENTENCES)][:6]
    (found,) = d.diagnose([run_signs(GERMAN, sentences()[:6], texts)])
    assert verdicts(found)["wrong language"] == "perhaps"
    assert found.reading[0].startswith("no sign is certain; possible signs: wrong language")


def test_a_sign_counts_what_it_says() -> None:
    texts = [r["de"] for r in SENTENCES[:36]] + [r["text"] for r in SENTENCES[36:]]
    (found,) = d.diagnose([run_signs(GERMAN, sentences(), texts)])
    share = {f.sign.name: f.estimate.value for f in found.findings}
    assert share["wrong language"] == 25
    assert share["transcribes"] == 25
    assert {f.estimate.n for f in found.findings} == {48}
    assert set(share) == {s.name for s in SIGNS}


def test_labels_that_were_scored_are_what_counts() -> None:
    scores = {c: LabelScore(0.0 if c == "sad" else -5.0, 1, -1.0) for c in EMOTION.choices or ()}
    responses = [Response(r["id"], text=f"word{i}", choices=scores) for i, r in enumerate(EMOTIONS)]
    answers = Answers(EMOTION, emotions(), responses)
    counts = counted(answers, Adherence(EMOTION, **SETTINGS["iemocap"]))
    assert counts["all the same"] == [1.0] * 48
    assert abs(np.mean([v for v in counts[d.DEAF] if v is not None])) < 0.05
    assert "off the subject" not in counts


@pytest.mark.parametrize("decide", ["total", "first"])
def test_the_label_that_counts_is_the_one_that_the_task_decides_on(decide: str) -> None:
    spec = EMOTION.model_copy(update={"scorers": {"labels": {"decide": decide}}})
    scores = {"sad": LabelScore(-1.0, 1, -2.0), "happy": LabelScore(-2.0, 1, -1.0)}
    scores |= {c: LabelScore(-9.0, 1, -9.0) for c in ("angry", "neutral")}
    spoken = [Response("a", "whatever", choices=scores), Response("b", "I think she is neutral."), Response("c", "Hm.")]
    answers = Answers(spec, emotions()[:3], spoken)
    assert answers.texts == ["sad" if decide == "total" else "happy", "neutral", "Hm."]


def test_questions_of_one_cluster_may_have_one_answer() -> None:
    twins = [replace(s, id=f"{s.id}-{accent}") for s in questions()[:24] for accent in ("usa", "gbr")]
    answers = [text for text in right_answers()[:24] for _ in range(2)]
    (found,) = d.diagnose([run_signs(QA, twins, answers)])
    assert verdicts(found) == {}
    assert found.findings[0].estimate.clusters == 24


# ---------------------------------------------------------------- tables


def failing() -> list[d.Diagnosis]:
    good = [r["de"] for r in SENTENCES]
    return d.diagnose([run_signs(GERMAN, sentences(), LOOPING), run_signs(GERMAN, sentences(), good, "oracle")])


def test_runs_stand_side_by_side_with_examples_that_nobody_picked() -> None:
    signs, examples = d.tables(failing(), 3)
    assert [column.name for column in signs.columns] == ["% of answers", "diva", "oracle", "counts from"]
    loops = next(row for row in signs.rows if row[0] == "repeats itself")
    assert (loops[1].mark, loops[1].value, loops[2].mark, loops[3]) == ("* ", 100, "", ">= 10")
    assert [row[2] for row in examples.rows] == ["covost2-001", "covost2-002", "covost2-003"]
    assert examples.rows[0][3] == SENTENCES[0]["text"]
    assert all(len(str(cell)) <= 72 for row in examples.rows for cell in row)
    assert any("reference of diva: oracle" in note for note in signs.notes)
    assert any("n: 48 answers, 48 clusters" in note for note in signs.notes)
    assert len(d.tables(failing(), 0)) == 1


def test_what_every_sign_is_stands_once_and_last() -> None:
    other = d.diagnose([run_signs(QA, questions(), right_answers())])
    tables = d.tables([*failing(), *other], 0)
    said = [sum(note.startswith("fits its own clip: ") for note in table.notes) for table in tables]
    assert said == [0, 1]


@pytest.mark.parametrize(
    ("above", "low", "high", "verdict"),
    [
        (True, 10, 30, "fits"),
        (True, 9, 11, "perhaps"),
        (True, 5, 14, ""),
        (False, -5, 10, "fits"),
        (False, -1, 11, "perhaps"),
        (False, 1, 11, ""),
    ],
)
def test_a_sign_fits_where_its_whole_interval_is_beyond_the_threshold(
    above: bool, low: float, high: float, verdict: str
) -> None:
    estimate = Estimate((low + high) / 2, Interval(low, high), 40, 40)
    assert d._verdict(Sign("it", "", 10, "", above=above), estimate, 10) == verdict


@pytest.mark.parametrize(
    ("above", "low", "high", "inherited"),
    [(True, -1, 3, True), (True, 1, 3, False), (False, -3, 1, True), (False, -3, -1, False)],
)
def test_a_sign_that_the_reference_shows_as_surely_is_inherited(
    above: bool, low: float, high: float, inherited: bool
) -> None:
    more = Difference((low + high) / 2, Interval(low, high), 40, 40, p=0.5)
    found = d.Finding(Sign("it", "", 10, "", above=above), Estimate(50, Interval(40, 60), 40, 40), 10, "fits", more)
    assert found.inherited is inherited
    assert not replace(found, verdict="").inherited
    assert not replace(found, gap=None).inherited


def test_eight_clusters_are_too_few_to_be_sure() -> None:
    few = [replace(s, cluster=f"c{i % 8}") for i, s in enumerate(sentences())]
    (found,) = d.diagnose([run_signs(GERMAN, few, LOOPING)])
    assert verdicts(found)["repeats itself"] == "perhaps"


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_the_terminal(width: int) -> None:
    from rich.console import Console

    for table in d.tables(failing(), 3):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(table.to_rich(width))
        assert max(len(line) for line in console.export_text().splitlines()) <= width


def test_programs_get_every_sign_with_its_numbers() -> None:
    found = failing()
    rows = d.long_table(found).to_csv().splitlines()
    assert rows[0].startswith("task,task low") is False
    assert len(rows) == 1 + sum(len(f.findings) for f in found)
    whole = d.as_record(found, 2)["runs"]
    loops = next(s for s in whole[0]["signs"] if s["sign"] == "repeats itself")
    assert (loops["share"]["value"], loops["n"], loops["verdict"], loops["inherited"]) == (100, 48, "fits", "false")
    assert loops["minus reference"]["value"] == 100
    assert [e["id"] for e in whole[0]["examples"]] == ["covost2-001", "covost2-002"]


# ---------------------------------------------------------------- the command


def test_the_command_reads_runs_on_disk_and_needs_no_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diva_bench.cli.diagnose import diagnose_command
    from diva_bench.cli.run import run_command
    from diva_bench.evaluation.jobs import Settings

    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    toy = mini_task.write(tmp_path / "toy", count=6)
    mini_task.model(toy, "parrot")
    assert run_command(["parrot"], ["toy"], Settings(edition="mini", output=tmp_path / "results"), [toy]) == 0
    (run,) = (tmp_path / "results").glob("*/parrot-*")
    for file in ("summary.json", "scores.jsonl"):
        (run / file).unlink()
    for form in ("rich", "md", "latex", "csv", "json"):
        assert diagnose_command([run], 2, form, [toy]) == 0
    assert not (run / "summary.json").exists()  # it reads, and writes nothing
    (run / "responses.jsonl").write_text("")
    with pytest.raises(StoreError, match="no answers yet; there is nothing to diagnose"):
        diagnose_command([run], 2, "rich", [toy])


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "diva_bench", "diagnose", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is not a run folder: it has none of a run's files" in done.stderr


def test_the_published_mini_runs_of_heysquad_show_no_sign() -> None:
    from diva_bench.catalog import Catalog
    from diva_bench.cli.diagnose import _labels, _run_signs
    from diva_bench.cli.progress import Terminal
    from diva_bench.evaluation.rescoring import job_of
    from diva_bench.runs.store import RunFolder

    paths = [p for m in ("diva", "cascade", "oracle") for p in (ROOT / "results/mini-v1").glob(f"heysquad-*/{m}-*")]
    folders = [RunFolder(path) for path in paths]
    names = _labels(folders)
    runs = [_run_signs(job_of(Catalog(), f, Terminal()), f, names[f.path], Catalog()) for f in folders]
    ours, cascade, oracle = d.diagnose(runs)
    assert [run.label for run in runs] == ["diva", "cascade", "oracle"]
    assert verdicts(ours) == verdicts(cascade) == verdicts(oracle) == {}
