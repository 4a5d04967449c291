"""Which answer of a file is to which sample: by ids, by row numbers that are checked, and by which label it names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import scoring

from diva_bench.data import Dataset, Fault
from diva_bench.errors import PredictionError
from diva_bench.predictions import Prediction
from diva_bench.predictions.match import Matched, match
from diva_bench.types import LabelScore, Sample

LABELS = ("anger", "joy", "neutral")


def data(*references: str, ids: str = "q") -> Dataset:
    samples = [Sample(f"{ids}{i}", (r,), f"c{i}", transcript=f"what is {i}") for i, r in enumerate(references)]
    return Dataset(samples=tuple(samples), faults=(), fingerprint="f")


def matched(references: tuple[str, ...], predictions: list[Prediction], **how: Any) -> Matched:
    labels = how.pop("labels", None)
    return match(scoring.task(**how), data(*references), predictions, labels)


def at(i: int, text: str = "x", **more: Any) -> Prediction:
    return Prediction(f"f:{i}", text, row=i, **more)


def named(ident: str, text: str = "x", **more: Any) -> Prediction:
    return Prediction("f:1", text, id=ident, **more)


def test_answers_come_in_the_order_of_the_data() -> None:
    got = matched(("a", "b", "c"), [named("q2", "2"), named("q0", "0")])
    assert [(r.id, r.text) for r in got.responses] == [("q0", "0"), ("q2", "2")]
    assert got.missing == ("q1",)
    assert got.how == "ids"


def test_extra_and_doubled_ids_are_counted_and_listed() -> None:
    rows = [named("q0"), named("q0"), *(named(f"z{i}") for i in range(12))]
    with pytest.raises(PredictionError) as caught:
        matched(("a", "b"), rows)
    message = str(caught.value)
    assert "extra (not in the task): 12: z0, z1, z2, z3, z4, z5, z6, z7, z8, z9 and 2 more" in message
    assert "more than once: 1: q0" in message
    assert "missing: 1: q1" in message


def test_rows_about_samples_that_the_task_leaves_out_are_left_out_and_named() -> None:
    faults, excluded = (Fault("q7", "cannot be decoded"),), (Fault("q8", "wrongly cut"),)
    dataset = replace(data("a", "b"), faults=faults, excluded=excluded)
    got = match(scoring.task(), dataset, [named("q7"), named("q0"), named("q8"), named("q1")])
    assert [r.id for r in got.responses] == ["q0", "q1"]
    assert (got.left_out, got.missing) == (("q7", "q8"), ())
    alone = match(scoring.task(), dataset, [named("q8")])
    assert (alone.left_out, alone.missing) == (("q8",), ("q0", "q1"))


def test_ids_of_another_data_set_are_told_with_what_ids_look_like() -> None:
    with pytest.raises(PredictionError, match=r"id 'z1' is not an id of the task, .* ids of the task look like q0, q1"):
        matched(("a", "b"), [named("z1")])


def test_numbers_that_are_the_ids_of_the_data_are_ids() -> None:
    dataset = Dataset(tuple(Sample(str(i), ("a",), "c") for i in (2, 1, 0)), (), "f")
    rows = [Prediction(f"f:{i}", f"said {i}", id=str(i), row=i) for i in range(3)]
    got = match(scoring.task(), dataset, rows)
    assert [(r.id, r.text) for r in got.responses] == [("2", "said 2"), ("1", "said 1"), ("0", "said 0")]


def test_row_numbers_are_checked_against_the_references() -> None:
    rows = [at(0, reference="Alpha"), at(1, reference="['x', 'b']"), at(2, reference="It must be c, they say.")]
    assert matched(("alpha", "b", "c"), rows).how == "row numbers, checked against the references"
    with pytest.raises(
        PredictionError, match="f:1: row 1 of the data is q1, but the file's reference is 'c', the task's"
    ):
        matched(("a", "b", "c"), [at(0, reference="a"), at(1, reference="c"), at(2, reference="b")])


def test_a_label_as_a_number_counts_from_0_in_the_order_of_the_task() -> None:
    assert (
        "the references" in matched(("joy", "anger"), [at(0, reference="1"), at(1, reference="0")], choices=LABELS).how
    )
    with pytest.raises(PredictionError, match="the file's reference is '2', the task's 'anger'"):
        matched(("joy", "anger"), [at(0, reference="1"), at(1, reference="2")], choices=LABELS)


@pytest.mark.parametrize("place", ["total", "first"])
def test_a_log_likelihood_that_is_not_finite_is_refused(place: str) -> None:
    good = LabelScore(-1.0, 1, -1.0)
    row = named("q0", choices={"anger": good, "joy": good, "neutral": replace(good, **{place: float("-inf")})})
    with pytest.raises(PredictionError, match="needs a finite log-likelihood for each of anger, joy, neutral"):
        matched(("joy",), [row], choices=LABELS)


def test_row_numbers_are_checked_against_the_questions_where_there_is_no_reference() -> None:
    assert "the questions" in matched(("a", "b"), [at(0, question="What is 0?"), at(1, question="What is 1?")]).how
    with pytest.raises(PredictionError, match="the file asks 'What is 0'"):
        matched(("a", "b"), [at(0, question="what is 0"), at(1, question="What is 0")])


def test_row_numbers_with_nothing_to_check_them_by_say_so() -> None:
    assert matched(("a",), [at(0)]).how == "row numbers, which nothing in the file could confirm"


def test_a_row_number_beyond_the_data_is_another_split() -> None:
    with pytest.raises(
        PredictionError, match=r"row 1 of the data, which has 1 .* the file has 2 rows. Is it another split"
    ):
        matched(("a",), [at(0), at(1)])


@pytest.mark.parametrize(
    ("text", "label"),
    [("Ang", "anger"), ("Ne", "neutral"), (" J", "joy"), ("Joy.", "joy"), ("angry", "anger"), ("xyz", ""), ("", "")],
)
def test_a_first_token_is_the_one_choice_that_begins_so(text: str, label: str) -> None:
    how = {"choices": LABELS, "synonyms": {"angry": "anger"}}
    rows = [named("q0", text, first_token=True), named("q1", "Joy", first_token=True)]
    got = matched(("anger", "joy"), rows, **how)
    assert (got.responses[0].label, got.responses[0].text) == (label, text)
    assert got.nameless == (label == "")


def test_free_text_is_left_to_the_parser_and_first_tokens_that_two_choices_share_name_none() -> None:
    free = matched(("anger",), [named("q0", "Ang")], choices=LABELS).responses[0]
    assert free.label is None
    rows = [named(f"q{i}", text, first_token=True) for i, text in enumerate(("s", "sa"))]
    got = matched(("sad", "sad"), rows, choices=("sad", "surprised"))
    assert [r.label for r in got.responses] == ["", "sad"]


def test_labels_that_mostly_name_no_choice_are_of_another_task() -> None:
    rows = [named("q0", "Yes", first_token=True), named("q1", "No", first_token=True)]
    with pytest.raises(
        PredictionError, match=r"2 of 2 answers name none of .* they say Yes, No. .* --labels Yes=CHOICE"
    ):
        matched(("joy", "anger"), rows, choices=LABELS)
    mixed = [named(f"q{i}", "Joy" if i < 2 else "No", first_token=True) for i in range(5)]
    assert matched(("joy",) * 4, mixed[:4], choices=LABELS).nameless == 2
    with pytest.raises(PredictionError, match="3 of 5 answers name none of"):
        matched(("joy",) * 5, mixed, choices=LABELS)


def test_what_came_with_an_answer_that_failed_is_no_label_and_no_score() -> None:
    rows = [
        named("q0", "Joy", first_token=True, source_score=1.0),
        named("q1", "Joy", first_token=True, source_score=1.0, status="error"),
    ]
    good, bad = matched(("joy", "joy"), rows, choices=LABELS).responses
    assert (good.label, dict(good.scores)) == ("joy", {"given": 1.0})
    assert (bad.label, dict(bad.scores)) == (None, {})


def test_labels_by_other_names_are_mapped_and_a_choice_must_be_one() -> None:
    got = matched(("joy",), [named("q0", " Yes ")], choices=LABELS, labels={"yes": "joy"})
    assert got.responses[0].label == "joy"
    with pytest.raises(PredictionError, match="--labels leads to fun; task trial-de has anger, joy, neutral"):
        matched(("joy",), [named("q0")], choices=LABELS, labels={"yes": "fun"})


def test_the_order_of_first_tokens_is_checked_by_which_were_right() -> None:
    rows = [at(0, "Ang", first_token=True, source_score=1.0), at(1, "J", first_token=True, source_score=0.0)]
    assert "which labels were right" in matched(("anger", "neutral"), rows, choices=LABELS).how
    with pytest.raises(PredictionError, match=r"f:1: row 1 .* the file says that joy was wrong, and the label is joy"):
        matched(("anger", "joy"), rows, choices=LABELS)


def test_scores_are_kept_for_all_answers_or_not_at_all() -> None:
    rows = [named("q0", source_score=0.5), named("q1", status="error")]
    assert [dict(r.scores) for r in matched(("a", "b"), rows).responses] == [{"given": 0.5}, {}]
    with pytest.raises(PredictionError, match="1 of the answers have no score, the others have: q1"):
        matched(("a", "b"), [named("q0", source_score=0.5), named("q1")])
