"""The table of scorers and what all of them have in common."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scoring import pedants_folder, said, sample, scored, task

from diva_bench import catalog, scorers
from diva_bench.errors import SpecError
from diva_bench.runs import scoring
from diva_bench.scorers.pedants import WEIGHTS
from diva_bench.stats import RowTable, totals
from diva_bench.types import Scorer

CHOICES = ("joy", "anger")
BOTH = ["text", "heard"]
SETTINGS = {
    "chrf": [{}, {"word_order": 2}],
    "labels": [{"positive": "joy"}],
    "wer": [{"of": BOTH}, {"of": BOTH, "unit": "char"}],
}
# These take another model, a checkout or somebody's scores, or look at no reference; they have tests of their own.
OTHERS = {"hf_evaluate", "comet", "llm_judge", "given", "adherence"}
NAMES = [name for name in scorers.BUILTIN if name not in OTHERS]


def make(name: str, **settings: object) -> Scorer:
    folders = {"folders": {WEIGHTS: pedants_folder()}} if name == "pedants" else {}
    made: Scorer = catalog.class_of("scorer", name, scorers.BUILTIN)(task(choices=CHOICES), **folders, **settings)
    return made


def test_every_built_in_scorer_can_be_built_and_is_a_scorer() -> None:
    assert set(scorers.BUILTIN) > OTHERS
    for name in NAMES:
        scorer = make(name)
        assert isinstance(scorer, Scorer)
        assert scorer.signature


def test_every_metric_that_a_scorer_gives_is_described_and_in_its_range() -> None:
    given = set()
    for name in NAMES:
        for settings in SETTINGS.get(name, [{}]):
            scorer = make(name, **settings)
            answered = replace(scored([-2, -1], CHOICES, "anger"), heard="Who?")
            row = scorer.measure(sample("joy", transcript="How?"), answered)
            metrics = scorer.reduce(totals([row]))
            given |= {(name, m) for m in metrics if not m.startswith(scorers.PREDICTED)}
            predicted = {m for m in metrics if m.startswith(scorers.PREDICTED)}
            assert predicted == ({f"{scorers.PREDICTED}{c}" for c in CHOICES} if name == "labels" else set())
    described = {(m.scorer, m.name) for m in scorers.METRICS if m.scorer in NAMES}
    assert given == described - {("labels", f"{scorers.PREDICTED}<label>")}


def test_two_scorers_of_a_task_that_give_one_metric_are_refused() -> None:
    twice = {"qa": make("qa"), "mine": make("qa")}
    rows = {name: RowTable([scorer.measure(sample("joy"), said("joy"))]) for name, scorer in twice.items()}
    job: Any = SimpleNamespace(task=task(), scorers=twice)
    with pytest.raises(SpecError, match=r"two of its scorers \(qa, mine\) give a metric '\w+'. Leave one of them out"):
        scoring._metrics(job, [sample("joy")], rows, [said("joy")])


def test_measures_are_plain_numbers_and_sparse() -> None:
    for name in NAMES:
        scorer = make(name)
        row = scorer.measure(sample("joy", transcript="How?"), scored([-2, -1], CHOICES, "no idea"))
        assert row
        assert all(type(value) is float for value in row.values())
        assert sum(value == 0 for value in row.values()) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_an_error_is_never_scored(name: str) -> None:
    scorer = make(name)
    with pytest.raises(ValueError, match=r"response a is an error \(timeout\): errors are not scored"):
        scorer.measure(sample("joy"), said("joy", status="error", detail="timeout"))


@pytest.mark.parametrize("name", NAMES)
def test_an_unsupported_item_scores_worst_whatever_text_it_carries(name: str) -> None:
    scorer = make(name)
    row = scorer.measure(sample("joy"), said("joy", status="unsupported"))
    value = next(iter(scorer.reduce(totals([row])).values()))
    assert value == (0 if scorer.higher_is_better else 100)


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_give_no_scores(name: str) -> None:
    assert make(name).reduce({}) == {}


@pytest.mark.parametrize("name", NAMES)
def test_scores_keep_the_shape_of_the_totals(name: str) -> None:
    scorer = make(name)
    row = scorer.measure(sample("joy", transcript="How?"), scored([-1, -2], CHOICES, "it is joy"))
    point = scorer.reduce({key: np.asarray(value) for key, value in row.items()})
    many = scorer.reduce({key: np.full((2, 3), value) for key, value in row.items()})
    for metric, value in point.items():
        assert value.shape == ()
        assert many[metric].shape == (2, 3)
        assert many[metric] == pytest.approx(float(value), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("bleu", {"tokenise": "zh"}, "scorers.bleu has no setting 'tokenise'. Did you mean 'tokenize'? Allowed: tok"),
        ("bleu", {"tokenize": "zh-CN"}, "scorers.bleu.tokenize is 'zh-CN'. Did you mean 'zh'? Allowed: 13a, zh, "),
        ("bleu", {"tokenize": "flores200"}, "Allowed: 13a, zh, ja-mecab, ko-mecab, char, intl, none."),
        ("chrf", {"word_order": 1}, "scorers.chrf.word_order is 1. Allowed: 0, 2, [0, 2]."),
        ("chrf", {"word_order": False}, "scorers.chrf.word_order is False."),
        ("qa", {"mode": "strict"}, "scorers.qa has no setting 'mode'. It takes none."),
        ("labels", {"positive": "yoy"}, "scorers.labels.positive is 'yoy'. Did you mean 'joy'?"),
        (
            "labels",
            {"decide": "frist"},
            "scorers.labels.decide is 'frist'. Did you mean 'first'? Allowed: total, norm, f",
        ),
        ("sentence_bleu", {"tokenize": "zh-CN"}, "scorers.sentence_bleu.tokenize is 'zh-CN'. Did you mean 'zh'?"),
        ("wer", {"unit": "words"}, "scorers.wer.unit is 'words'. Did you mean 'word'? Allowed: word, char."),
    ],
)
def test_a_wrong_setting_is_told_with_what_is_allowed(name: str, args: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError) as err:
        make(name, **args)
    assert message in str(err.value)
    assert str(err.value).startswith("task trial-de: ")


def test_metrics_say_their_range_and_which_way_is_better() -> None:
    here = [m for m in scorers.METRICS if m.scorer in NAMES]
    assert {m.name for m in here if m.better == "lower"} == {"wer", "cer", "wer_heard", "cer_heard", "unparsed"}
    assert {m.range for m in here} == {"0 to 100", "-100 to 100", "0 and up"}


def test_naming_scorers_imports_no_metric_library() -> None:
    code = (
        "import sys, diva_bench.scorers; print(sorted({'sacrebleu', 'jiwer', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
