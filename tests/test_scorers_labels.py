"""Labels: decisions, and agreement with scikit-learn. What a text names: see test_label_parser.py."""

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from scoring import said, sample, scored, task
from sklearn import metrics

from diva_bench import stats
from diva_bench.errors import DataError, SpecError
from diva_bench.scorers.labels import HISTOGRAM, UNPARSED, Labels
from diva_bench.types import LabelScore

EMOTIONS = ("angry", "happy", "neutral", "sad")


def labels(choices: tuple[str, ...] = EMOTIONS, **args: object) -> Labels:
    return Labels(task(choices=choices, synonyms={}), **args)


def row_of(gold: str, predicted: str, choices: tuple[str, ...]) -> dict[str, float]:
    """The row of a model that scores labels and prefers one; UNPARSED: a text-only model that names none."""
    if predicted == UNPARSED:
        return labels(choices).measure(sample(gold), said("hm"))
    return labels(choices).measure(sample(gold), scored([float(c == predicted) for c in choices], choices, predicted))


# ---------------------------------------------------------------- decisions


def test_the_three_ways_of_comparing_likelihoods_are_kept_apart() -> None:
    given = {"a": LabelScore(-3.0, 1, -3.0), "b": LabelScore(-4.0, 4, -2.0), "c": LabelScore(-6.0, 2, -0.5)}
    row = Labels(task(choices=("a", "b", "c"))).measure(sample("a"), said("It is c", choices=given))
    assert row == {"label:a>a": 1, "norm:a>b": 1, "first:a>c": 1, "text:a>c": 1}


def test_equal_likelihoods_go_to_the_first_choice_of_the_task() -> None:
    choices = ("b", "a", "c")
    response = said(choices={c: LabelScore(-1.0, 1, -1.0) for c in ("c", "a", "b")})
    assert "label:a>b" in Labels(task(choices=choices)).measure(sample("a"), response)


def test_a_model_that_scores_no_labels_is_judged_by_its_text() -> None:
    scorer = labels()
    rows = [scorer.measure(sample("sad"), said(text)) for text in ("sad", "happy", "who knows", "Sad!")]
    assert rows[0] == {"label:sad>sad": 1, "text:sad>sad": 1}
    assert rows[2] == {"label:sad>unparsed": 1, "text:sad>unparsed": 1}
    out = scorer.reduce(stats.totals(rows))
    assert (out["accuracy"], out["accuracy_text"], out["unparsed"]) == (50, 50, 25)
    assert not {"accuracy_norm", "accuracy_first"} & set(out)


def test_an_unsupported_item_is_wrong_in_every_way() -> None:
    scorer = labels()
    refused = scorer.measure(sample("sad"), said("sad", status="unsupported"))
    assert refused == {f"{kind}:sad>unparsed": 1 for kind in ("label", "norm", "first", "text")}
    right = scorer.measure(sample("sad"), scored([0, 0, 0, 1], EMOTIONS, "sad"))
    out = scorer.reduce(stats.totals([refused, right]))
    assert all(out[m] == 50 for m in ("accuracy", "accuracy_norm", "accuracy_first", "accuracy_text", "unparsed"))
    texts = scorer.reduce(stats.totals([refused, scorer.measure(sample("sad"), said("sad"))]))
    assert texts["accuracy"] == 50
    assert "accuracy_norm" not in texts  # nobody ever scored a label


@pytest.mark.parametrize("broken", [{"angry": 0.0}, dict.fromkeys(EMOTIONS, float("nan"))])
def test_half_a_set_of_likelihoods_is_an_error_not_a_guess(broken: dict[str, float]) -> None:
    response = said(choices={c: LabelScore(v, 1, v) for c, v in broken.items()})
    with pytest.raises(DataError, match="response a: needs a log-likelihood for each of angry, happy, neutral, sad"):
        labels().measure(sample("sad"), response)


@pytest.mark.parametrize("references", [("joy",), ("sad", "happy")])
def test_a_gold_label_outside_the_choices_is_an_error(references: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="sample a: a label task needs one reference out of angry, happy, neutral, sad"):
        labels().measure(sample(*references), said("sad"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": None}, "scorers.labels needs a task with choices"),
        ({"choices": ("a", "unparsed")}, "not 'unparsed'"),
        ({"choices": ("a>b", "c")}, "without '>'"),
        ({"choices": ("a", "a")}, "must be distinct"),
        ({"choices": ("Joy", "joy")}, "'joy' stands for two labels: Joy and joy"),
        ({"choices": ("a", "!!")}, "'!!' has no letters"),
        ({"choices": ("a", "b"), "synonyms": {"c": "d"}}, "synonyms lead to d, not a choice"),
        ({"choices": ("a", "b"), "synonyms": {"A!": "b"}}, "'A!' stands for two labels: a and b"),
    ],
)
def test_choices_that_cannot_be_told_apart_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError) as err:
        Labels(task(**changes))
    assert message in str(err.value)
    assert "task trial-de" in str(err.value)


# ---------------------------------------------------------------- metrics


def sklearn_scores(gold: list[str], predicted: list[str], choices: tuple[str, ...]) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # balanced_accuracy warns of predicted labels that nobody has
        f1 = {
            kind: metrics.f1_score(gold, predicted, labels=list(choices), average=kind, zero_division=0)
            for kind in ("weighted", "macro")
        }
        each = metrics.f1_score(gold, predicted, labels=list(choices), average=None, zero_division=0)
        return {
            "accuracy": metrics.accuracy_score(gold, predicted),
            "weighted_f1": f1["weighted"],
            "macro_f1": f1["macro"],
            "uar": metrics.balanced_accuracy_score(gold, predicted),
            "mcc": metrics.matthews_corrcoef(gold, predicted),
            "binary_f1": each[0],
        }


def test_random_predictions_score_as_in_scikit_learn() -> None:
    rng = np.random.default_rng(11)
    for trial in range(60):
        choices = EMOTIONS[: rng.integers(2, 5)]
        n = int(rng.integers(1, 40))
        gold = [str(g) for g in rng.choice(choices[: rng.integers(1, len(choices) + 1)], n)]
        predicted = [str(p) for p in rng.choice([*choices, UNPARSED], n)]
        if trial % 5 == 0:
            predicted = list(gold)
        scorer = Labels(task(choices=choices), positive=choices[0])
        out = scorer.reduce(stats.totals([row_of(g, p, choices) for g, p in zip(gold, predicted, strict=True)]))
        for name, wanted in sklearn_scores(gold, predicted, choices).items():
            assert float(out[name]) == pytest.approx(100 * wanted, abs=1e-9), (name, gold, predicted)


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ("aaaa", "aaaa"),  # one gold label
        ("abab", "aaaa"),  # one prediction
        ("aaaa", "bbbb"),
        ("ab", "ba"),  # all wrong: mcc -100
        ("ab", "ab"),
        ("aabb", "????"),  # nothing parsed
        ("a", "?"),
    ],
)
def test_degenerate_confusions_score_as_in_scikit_learn(gold: str, predicted: str) -> None:
    choices, said_ = ("a", "b", "c"), [UNPARSED if p == "?" else p for p in predicted]
    scorer = Labels(task(choices=choices), positive="a")
    out = scorer.reduce(stats.totals([row_of(g, p, choices) for g, p in zip(gold, said_, strict=True)]))
    for name, wanted in sklearn_scores(list(gold), said_, choices).items():
        assert float(out[name]) == pytest.approx(100 * wanted, abs=1e-9), name
    assert np.isfinite([float(v) for v in out.values()]).all()


def test_resampled_scores_are_those_of_the_resampled_answers() -> None:
    rng = np.random.default_rng(2)
    gold, predicted = rng.choice(EMOTIONS, 20), rng.choice([*EMOTIONS, UNPARSED], 20)
    scorer = labels(positive="angry")
    keys, matrix = stats.stack([row_of(str(g), str(p), EMOTIONS) for g, p in zip(gold, predicted, strict=True)])
    drawn = rng.integers(0, 20, (25, 5))
    out = scorer.reduce(stats.unstack(keys, matrix.toarray()[drawn].sum(axis=1)))
    for i, picked in enumerate(drawn):
        wanted = sklearn_scores(list(gold[picked]), list(predicted[picked]), EMOTIONS)
        assert {n: float(out[n][i]) for n in wanted} == pytest.approx({n: 100 * w for n, w in wanted.items()}, abs=1e-9)


@pytest.mark.parametrize("labels", [HISTOGRAM, HISTOGRAM + 1])
@pytest.mark.parametrize("positive", [0, -1])
def test_of_many_labels_scores_are_those_of_scikit_learn(labels: int, positive: int) -> None:
    choices = tuple(f"intent {i}" for i in range(labels))
    choices = (choices[positive], *(c for c in choices if c != choices[positive]))
    rng = np.random.default_rng(labels)
    gold = [f"intent {i}" for i in rng.integers(0, 60, 400)]  # most labels never occur, nor does the last
    predicted = [g if rng.random() < 0.4 else [*choices[:60], UNPARSED][rng.integers(61)] for g in gold]
    scorer = Labels(task(choices=choices), positive=choices[0])
    out = scorer.reduce(stats.totals([row_of(g, p, choices) for g, p in zip(gold, predicted, strict=True)]))
    wanted = sklearn_scores(gold, predicted, choices)
    assert {n: float(out[n]) for n in wanted} == pytest.approx({n: 100 * w for n, w in wanted.items()}, abs=1e-9)
    histogram = [name for name in out if name.startswith("predicted_")]
    assert len(histogram) == (labels if labels <= HISTOGRAM else 0)


def test_the_signature_changes_with_choices_synonyms_and_positive() -> None:
    made = [
        Labels(task(choices=("a", "b"))),
        Labels(task(choices=("b", "a"))),
        Labels(task(choices=("a", "b"), synonyms={"c": "a"})),
        Labels(task(choices=("a", "b")), positive="a"),
    ]
    assert len({scorer.signature for scorer in made}) == 4
    assert made[0].signature.startswith("labels|ties:first|parser:v4.3.1|table:")


# ---------------------------------------------------------------- by the first token, and what was predicted

GIVEN = {"a": LabelScore(-3.0, 1, -3.0), "b": LabelScore(-4.0, 4, -2.0), "c": LabelScore(-6.0, 2, -0.5)}


@pytest.mark.parametrize(("decide", "label"), [("total", "a"), ("norm", "b"), ("first", "c")])
def test_the_setting_decides_which_likelihood_counts_and_the_other_ways_stay(decide: str, label: str) -> None:
    scorer = Labels(task(choices=("a", "b", "c")), decide=decide)
    row = scorer.measure(sample("a"), said("It is c", choices=GIVEN))
    assert row == {f"label:a>{label}": 1, "norm:a>b": 1, "first:a>c": 1, "text:a>c": 1}
    assert ("|decide:" in scorer.signature) == (decide != "total")


def test_a_model_that_scores_no_labels_is_judged_by_its_text_whatever_decides() -> None:
    row = Labels(task(choices=EMOTIONS), decide="first").measure(sample("sad"), said("Happy."))
    assert row == {"label:sad>happy": 1, "text:sad>happy": 1}


def test_the_first_token_metrics_are_scikit_learns() -> None:
    rng = np.random.default_rng(5)
    gold = [str(g) for g in rng.choice(EMOTIONS, 80)]
    firsts = rng.normal(size=(80, 4))
    scorer = labels(positive="sad")
    rows = []
    for g, first in zip(gold, firsts, strict=True):
        given = {c: LabelScore(-1.0, 2, float(f)) for c, f in zip(EMOTIONS, first, strict=True)}
        rows.append(scorer.measure(sample(g), said("x", choices=given)))
    out = scorer.reduce(stats.totals(rows))
    chosen = [EMOTIONS[i] for i in firsts.argmax(axis=1)]
    assert out["accuracy_first"] == pytest.approx(100 * metrics.accuracy_score(gold, chosen), abs=1e-9)
    weighted = metrics.f1_score(gold, chosen, average="weighted", labels=EMOTIONS, zero_division=0)
    assert out["weighted_f1_first"] == pytest.approx(100 * weighted, abs=1e-9)
    sad = metrics.f1_score(gold, chosen, average=None, labels=["sad"], zero_division=0)[0]
    assert out["binary_f1_first"] == pytest.approx(100 * sad, abs=1e-9)
    assert out["accuracy"] != out["accuracy_first"]  # by the whole label all are equal: the first choice


def test_the_histogram_counts_what_was_decided_right_or_wrong() -> None:
    scorer = labels()
    rows = [scorer.measure(sample("sad"), said(text)) for text in ("sad", "happy", "happy", "who knows")]
    out = scorer.reduce(stats.totals(rows))
    assert {name: float(value) for name, value in out.items() if name.startswith("predicted_")} == {
        "predicted_angry": 0,
        "predicted_happy": 50,
        "predicted_neutral": 0,
        "predicted_sad": 25,
    }


# ---------------------------------------------------------------- the paper's released labels

DATA = Path(__file__).parents[2] / "shared" / "data"
MELD = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")


def released(task_folder: str, model: str) -> list[str]:
    """The labels of a file of DiVA-Eval, in its order: the first token of each, so "Sur" is surprise."""
    text = (DATA / "diva-eval" / task_folder / model / "default_outs.txt").read_text(encoding="utf-8")
    return [line.split("[SEP_DIAL]")[1].strip('"') for line in text.splitlines()]


def scores_of(scorer: Labels, gold: list[str], said_labels: list[str]) -> dict[str, float]:
    pairs = zip(gold, said_labels, strict=True)
    rows = [scorer.measure(sample(g), said(text)) for g, text in pairs]
    return {name: round(float(value) / 100, 3) for name, value in scorer.reduce(stats.totals(rows)).items()}


@pytest.mark.skipif(not (DATA / "gold").is_dir(), reason=f"the released outputs are not in {DATA}")
@pytest.mark.parametrize(("model", "accuracy", "weighted"), [("e2e_DiVA", 0.390, 0.413), ("e2e_qwen2", 0.500, 0.377)])
def test_the_released_labels_of_meld(model: str, accuracy: float, weighted: float) -> None:
    with (DATA / "gold" / "meld-test_sent_emo.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    broken = {("38", "4"), ("220", "0")}  # wrongly cut clips, which the paper's copy of the data lacks
    gold = [r["Emotion"] for r in rows if (r["Dialogue_ID"], r["Utterance_ID"]) not in broken]
    cut = {label[:3]: label for label in MELD if label not in ("fear", "joy", "neutral")}
    out = scores_of(Labels(task(choices=MELD, synonyms=cut)), gold, released("MELD_emotion_recognition_Results", model))
    assert (len(gold), out["accuracy"], out["weighted_f1"]) == (2608, accuracy, weighted)


@pytest.mark.skipif(not (DATA / "gold").is_dir(), reason=f"the released outputs are not in {DATA}")
@pytest.mark.parametrize(
    ("model", "accuracy", "f1", "mcc", "yes"),
    [("e2e_DiVA", 0.526, 0.598, 0.056, 0.68), ("e2e_qwen2", 0.555, 0.631, 0.121, 0.70)],
)
def test_the_released_labels_of_mustard(model: str, accuracy: float, f1: float, mcc: float, yes: float) -> None:
    rows = json.loads((DATA / "gold" / "mustard-sarcasm_data.json").read_text(encoding="utf-8"))
    gold = ["Yes" if rows[ident]["sarcasm"] else "No" for ident in sorted(rows)]  # the order of the paper's copy
    out = scores_of(labels(("Yes", "No"), positive="Yes"), gold, released("Mustard_sarcasm_Results", model))
    assert (len(gold), out["accuracy"], out["binary_f1"], out["mcc"]) == (690, accuracy, f1, mcc)
    assert round(out["predicted_Yes"], 2) == yes
