"""Word and character error rate."""

from importlib.metadata import version

import jiwer
import numpy as np
import pytest
from scoring import said, sample, sentences, task

from diva_bench import stats
from diva_bench.runs import scoring
from diva_bench.scorers.asr import Wer
from diva_bench.text import BASIC


def rate(scorer: Wer, *pairs: tuple[str, str]) -> float:
    rows = [scorer.measure(sample(reference), said(hypothesis)) for reference, hypothesis in pairs]
    return float(next(iter(scorer.reduce(stats.totals(rows)).values())))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "wanted"),
    [
        ("Hello, world!", "hello world", 0),
        ("one two three four", "one two five four", 25),
        ("one two three four", "", 100),
        ("one", "one two three", 200),  # above 100 where more is wrong than was said
        ("don't go", "don’t go", 0),
        ("...", "", 0),
        ("...", "two words", 200),  # as jiwer: no word in the reference
    ],
)
def test_word_error_rate(reference: str, hypothesis: str, wanted: float) -> None:
    assert rate(Wer(task()), (reference, hypothesis)) == wanted


def test_rates_of_random_transcripts_are_jiwers() -> None:
    rng = np.random.default_rng(3)
    words = ["the", "cat", "Cat.", "sat", "on", "it's", "mats"]
    references = [s or "the" for s in sentences(rng, 200, words)]
    hypotheses = sentences(rng, 200, words)
    left, right = [BASIC(r) for r in references], [BASIC(h) for h in hypotheses]
    pairs = list(zip(references, hypotheses, strict=True))
    assert rate(Wer(task()), *pairs) == pytest.approx(100 * jiwer.wer(left, right), abs=1e-9)
    joined = [[s.replace(" ", "") for s in side] for side in (left, right)]
    assert rate(Wer(task(), unit="char"), *pairs) == pytest.approx(100 * jiwer.cer(*joined), abs=1e-9)


def test_characters_are_counted_without_white_space() -> None:
    assert rate(Wer(task(), unit="char"), ("六点开门。", "六 点 关门")) == 25


def test_of_several_references_the_nearest_counts() -> None:
    row = Wer(task()).measure(sample("a b c d", "a b"), said("a b"))
    assert row == {"wer.errors": 0, "wer.length": 2}


def test_what_was_heard_is_compared_with_what_was_said_to_the_model() -> None:
    scorer = Wer(task(), of="heard")
    asked = sample("Der Hund", transcript="The dog barks")
    assert scorer.measure(asked, said("x", heard="the dog")) == {"wer.errors": 1, "wer.length": 3}
    assert scorer.measure(asked, said("x", heard="")) == {"wer.errors": 3, "wer.length": 3}


def test_a_model_that_hears_nothing_has_no_statistics() -> None:
    scorer = Wer(task(), of="heard")
    assert scorer.measure(sample("x", transcript="the dog"), said("x")) == {}
    assert scorer.measure(sample("x"), said("x", heard="the dog")) == {}
    assert scorer.measure(sample("x", transcript="the dog"), said(status="unsupported")) == {}


@pytest.mark.parametrize(("unit", "name"), [("word", "wer"), ("char", "cer")])
def test_answer_and_what_was_heard_can_be_scored_side_by_side(unit: str, name: str) -> None:
    scorer = Wer(task(), unit=unit, of=["text", "heard"])
    asked = sample("der Hund", transcript="the dog barks")
    rows = [scorer.measure(asked, said("der Hund", heard="the dog")), scorer.measure(asked, said("ein Hund"))]
    alone = [Wer(task(), unit=unit), Wer(task(), unit=unit, of="heard")]
    heard = [alone[1].measure(asked, said("der Hund", heard="the dog"))]
    out = scorer.reduce(stats.totals(rows))
    assert float(out[name]) == rate(alone[0], ("der Hund", "der Hund"), ("der Hund", "ein Hund"))
    assert float(out[f"{name}_heard"]) == float(alone[1].reduce(stats.totals(heard))[name])
    summed = stats.totals(rows)
    assert {m: scoring._counted(summed, keys) for m, keys in scorer.counted.items()} == {name: 2, f"{name}_heard": 1}
    assert scorer.reduce(stats.totals(rows[1:])).keys() == {name}
    assert scorer.signature.startswith(f"{name}|of:text+heard|")


def test_the_signature_names_unit_source_normaliser_and_library() -> None:
    assert Wer(task(), of="heard").signature == f"wer|of:heard|norm:basic.v2|jiwer:{version('jiwer')}"
    assert Wer(task(), unit="char").signature.startswith("cer|of:text|")
