"""Systems that fail as the DiVA paper's released variants do: each is recognised; what cannot be measured is named."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from answer_files import diva_eval, load, only, two_tasks
from scoring import said, sample, task
from test_diagnose import (
    EMOTIONS,
    GERMAN,
    QA,
    QUESTIONS,
    SENTENCES,
    emotions,
    questions,
    run_signs,
    sentences,
    verdicts,
)

from diva_bench.cli.diagnose import diagnose_command
from diva_bench.report import diagnose as d
from diva_bench.report.signs import SIGNS, Answers, counted, threshold_of
from diva_bench.scorers.adherence import Adherence
from diva_bench.specs import TaskSpec
from diva_bench.types import Response, Sample

EMOTION = task(name="iemocap", subset=None, choices=("angry", "happy", "neutral", "sad"), primary="accuracy")
YES_NO = task(name="iemocap", subset=None, choices=("sarcastic", "sincere"), primary="accuracy")
LONG = (
    "{answer} is what you are looking for. When people speak of {about}, they mostly think of something else first, and "
    "that is no wonder. There is a long story behind it, of which I will gladly tell you more. Shall I go on?"
)


def topic(text: str) -> str:
    return max(text.rstrip("?.").split(), key=len)


def one_of(words: Sequence[str], count: int) -> list[str]:
    return [words[i % len(words)] for i in range(count)]


def mostly(label: str, others: Sequence[str], share: float = 0.95) -> list[str]:
    draw = random.Random(1)
    return [label if draw.random() < share else draw.choice(list(others)) for _ in EMOTIONS]


DISTILLED = [LONG.format(answer=r["answers"][0], about=topic(r["text"])) for r in QUESTIONS]
TWINS = {
    "distillation only ignores the form": (
        QA, questions(), DISTILLED,
        "poor adherence (wrong form), coherent, as with distillation alone: points to the alignment",
    ),
    "distillation only answers in English": (
        GERMAN, sentences(), [f"{r['text'].rstrip('.')}, and that is all." for r in SENTENCES],
        "poor adherence (wrong language), coherent, as with distillation alone: points to the alignment",
    ),
    "distillation only has one label": (
        EMOTION, emotions(), mostly("happy", ("angry", "neutral", "sad"), 0.97),
        "no sign that it uses the audio: its labels fit its own clips no better than other clips; beside that: all the same",
    ),
    "alignment only says a word again and again": (
        QA, questions(), [f"It is {topic(r['text'])} {r['answers'][0]}" + f" {topic(r['text'])}" * 4 for r in QUESTIONS],
        "incoherence (repeats itself), no sign of poor adherence: points to the distillation",
    ),
    "alignment only says a sentence twice": (
        GERMAN, sentences(), [f"{r['de']} {r['de']}" for r in SENTENCES],
        "poor adherence (wrong form) and incoherence (repeats itself): either loss may be at fault",
    ),
    "alignment only hears nothing and repeats itself": (
        QA, questions(), [f"This is number {i}. This is number {i}." for i in range(48)],
        "no sign that it gets the words; beside that: wrong form, repeats itself",
    ),
    "alignment only writes no word": (
        GERMAN, sentences(), ["! ? ! ? ! ?"] * 48,
        "incoherence (says nothing), no sign of poor adherence: points to the distillation",
    ),
    "a collapsed connector has three answers": (
        QA, questions(), one_of(("That", "It", "That is"), 48),
        "no sign that it gets the words; beside that: all the same",
    ),
    "a collapsed connector has three translations": (
        GERMAN, sentences(), one_of(("I", "That", "It"), 48),
        "no sign that it gets the words; beside that: wrong language, one character, all the same",
    ),
    "without Whisper initialisation an answer is one character": (
        GERMAN, sentences(), [r["de"][0] for r in SENTENCES],
        "no sign that it gets the words; beside that: wrong language, one character, all the same",
    ),
}  # fmt: skip


@pytest.mark.parametrize("twin", list(TWINS))
def test_a_twin_of_every_released_variant_is_recognised(twin: str) -> None:
    spec, samples, texts, reading = TWINS[twin]
    (found,) = d.diagnose([run_signs(spec, samples, texts)])
    assert found.reading[0] == reading


def test_right_answers_of_every_mini_language_do_not_repeat_themselves() -> None:
    texts = [r[lang] for r in SENTENCES for lang in r if lang not in ("id", "audio", "voice", "cluster")]
    samples = [sample("x", id=f"s{i}") for i in range(len(texts))]
    (found,) = d.diagnose([run_signs(GERMAN, samples, texts)])
    assert "repeats itself" not in verdicts(found)
    share = next(f.estimate.value for f in found.findings if f.sign.name == "repeats itself")
    assert share == 0


# ---------------------------------------------------------------- thresholds come from the task


def labelled(right: int, count: int, spec: TaskSpec = YES_NO) -> d.Diagnosis:
    """`count` samples, half of either label, of which so many are right, and as many of one label as of the other."""
    labels = spec.choices or ()
    samples = [sample(labels[i % 2], id=f"s{i:04}", transcript=f"line {i}") for i in range(count)]
    turn = {labels[0]: labels[1], labels[1]: labels[0]}
    texts = [s.references[0] if i < right else turn[s.references[0]] for i, s in enumerate(samples)]
    (found,) = d.diagnose([run_signs(spec, samples, texts)])
    return found


@pytest.mark.parametrize(("right", "verdict"), [(345, "fits"), (383, ""), (414, ""), (320, "fits")])
def test_of_labels_only_who_is_at_chance_shows_no_sign_of_hearing(right: int, verdict: str) -> None:
    """MUStARD has 690 samples: 383 right (55.5 %) are few, and still more than chance."""
    found = labelled(right, 690)
    assert verdicts(found).get(d.DEAF, "") == verdict
    assert any("no sign that it uses the audio" in line for line in found.reading) is bool(verdict)


def test_of_few_labels_nothing_is_certain() -> None:
    found = labelled(14, 24)
    assert verdicts(found)[d.DEAF] == "perhaps"
    assert found.reading[0] == f"no sign is certain; possible signs: {d.DEAF}"


@pytest.mark.parametrize(
    ("golds", "spec", "threshold"),
    [
        (["happy"] * 5 + ["sad"] * 5, EMOTION, 85),
        (["happy"] * 9 + ["sad"], EMOTION, 95),
        ([f"answer {i}" for i in range(10)], QA, 25),
        (["yes"] * 6 + [f"answer {i}" for i in range(4)], QA, 25 + 75 * 0.6),
    ],
)
def test_what_right_answers_have_in_common_is_no_collapse(golds: list[str], spec: TaskSpec, threshold: float) -> None:
    samples = [sample(gold, id=f"s{i}") for i, gold in enumerate(golds)]
    answers = Answers(spec, samples, [said(gold) for gold in golds])
    same = next(s for s in SIGNS if s.name == "all the same")
    assert threshold_of(same, answers) == pytest.approx(threshold)
    (found,) = d.diagnose([run_signs(spec, samples, golds)])
    assert "all the same" not in verdicts(found)


# ---------------------------------------------------------------- what was not measured


def reasons(
    spec: TaskSpec, samples: Sequence[Sample], responses: Sequence[Response], **settings: Any
) -> dict[str, str]:
    answers = Answers(spec, samples, responses)
    scorer = Adherence(spec, **settings)
    return d.RunSigns("x", spec.name, "diva", "", answers, counted(answers, scorer)).unmeasured


def test_a_task_that_asks_for_nothing_in_particular_has_its_signs_named_as_not_measured() -> None:
    samples = [sample(f"answer {i}", id=f"s{i}") for i in range(4)]
    found = reasons(QA, samples, [said(f"word {i}") for i in range(4)])
    assert found == {
        "wrong language": "the task names no language (`adherence: {language: ...}` among its scorers)",
        "wrong form": "the task names no form (`adherence: {form: ...}` among its scorers)",
        "transcribes": "the data has no transcripts, or the task asks for them",
        "cut off": "the answers have no token counts",
    }


def test_labels_that_came_without_words_are_no_silence() -> None:
    chosen = [Response(s.id, label=s.references[0]) for s in emotions()]
    found = reasons(EMOTION, emotions(), chosen, language="en", form="word")
    assert {name for name, why in found.items() if why == "no answer came in words"} >= {
        "says nothing", "refuses", "repeats itself", "wrong language", "wrong form",
    }  # fmt: skip
    assert "all the same" not in found
    assert d.DEAF not in found


def test_one_cluster_alone_says_nothing_of_hearing() -> None:
    samples = [Sample(f"s{i}", (f"answer {i}",), "one", transcript="line") for i in range(4)]
    found = reasons(QA, samples, [said(f"answer {i}") for i in range(4)])
    assert found["all the same"] == "there is only one cluster"
    assert found[d.DEAF] == "there is no clip of another cluster for comparison"


def test_every_word_on_a_sign_is_for_readers_and_none_points_to_source_code() -> None:
    found = d.diagnose([run_signs(spec, samples, texts) for spec, samples, texts, _ in TWINS.values()])
    notes = " ".join(note for table in d.tables(found, 0) for note in table.notes)
    assert ".py" not in notes
    assert "perhaps hears" not in notes


# ---------------------------------------------------------------- without gold labels


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return two_tasks(tmp_path, monkeypatch)


def diagnosed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert diagnose_command([only().path], 1, "json", [Path("specs")]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    return dict(run)


def test_of_an_import_without_gold_labels_are_labels_and_what_needs_gold_is_not_measured(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["neutral"] * 20 + ["anger", "joy"] * 10
    load(diva_eval("outs.txt", [(i, t, 1) for i, t in enumerate(texts)]), task="mood", gold=False)
    run = diagnosed(capsys)
    same = next(sign for sign in run["signs"] if sign["sign"] == "all the same")
    assert (same["share"]["value"], same["threshold"], same["verdict"]) == (50, 85, "")
    assert run["not measured"] == {
        "wrong language": "the task names no language (`adherence: {language: ...}` among its scorers)",
        "transcribes": "the correct answers are unknown",
        "wrong form": "the correct answers are unknown",
        "one character": "the answers are labels",
        "cut off": "the answers have no token counts",
        "off the subject": "the answers are labels",
        d.DEAF: "the correct answers are unknown",
    }
    assert run["reading"][0] == "none of the 4 signs that were measured"
    assert run["reading"][1].startswith("not measured: wrong language, transcribes, ")


def test_of_an_import_without_gold_the_form_that_the_task_asks_for_is_measured(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = Path("specs/quiz.yaml")
    spec.write_text(spec.read_text().replace("{qa: {}}", "{qa: {}, adherence: {language: en, form: sentence}}"))
    rows = [(i, f"It is number {i}, or so they say. They may know better.", 1) for i in range(30)]
    load(diva_eval("outs.txt", rows), gold=False)
    run = diagnosed(capsys)
    assert run["reading"][0].startswith("poor adherence (wrong form), coherent")
    assert run["examples"][0]["said"] == "(unknown)"
    assert {"wrong language", "wrong form"} <= {sign["sign"] for sign in run["signs"]}
