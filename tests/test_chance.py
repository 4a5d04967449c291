"""Audio-blind baselines: what they know, what they score, and which one a model is compared with."""

from __future__ import annotations

import csv
import json
import math
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import mini_task
import pytest
from scoring import task
from typer.testing import CliRunner

from diva_bench import stats
from diva_bench.adapters.baseline import SpeakerPrior
from diva_bench.catalog import Catalog
from diva_bench.cli.main import app
from diva_bench.data import Dataset
from diva_bench.errors import SpecError
from diva_bench.report.leaderboard import AT_CHANCE
from diva_bench.runs import chance
from diva_bench.scorers.asr import Wer
from diva_bench.scorers.labels import Labels
from diva_bench.scorers.qa import QA
from diva_bench.stats import priors
from diva_bench.types import Request, Response, Sample

SHARED = Path(__file__).parents[2] / "shared" / "data" / "gold"
CHOICES = ("sarcastic", "sincere")
TASK = """\
name: tone
version: 1
description: a test
prompt: Is it {choices}?
choices: [sarcastic, sincere]
reference: label
speaker: who
scorers: {labels: {}}
primary: accuracy
editions:
  mini: {source: jsonl, path: tone.jsonl, rows: 24}
"""


def samples(*pairs: tuple[str, str]) -> list[Sample]:
    """(speaker, label) each."""
    return [Sample(f"s{i:03}", (label,), who, groups={"who": who}) for i, (who, label) in enumerate(pairs)]


def dataset(found: list[Sample]) -> Dataset:
    return Dataset(tuple(found), (), "made up")


# ---------------------------------------------------------------- what may be known


def test_a_sample_is_left_out_of_what_its_speaker_says() -> None:
    found = priors.of_speakers(
        samples(("ann", "a"), ("ann", "a"), ("ann", "b"), ("bob", "b"), ("bob", "b")), "who", ("a", "b")
    )
    assert found["s000"] == {"a": 0.5, "b": 0.5}
    assert found["s002"] == {"a": 1.0}
    assert found["s003"] == {"b": 1.0}


def test_who_speaks_once_or_has_no_name_is_judged_by_all_others() -> None:
    found = priors.of_speakers(samples(("ann", "a"), ("bob", "b"), ("bob", "b"), ("", "b")), "who", ("a", "b"))
    assert found["s000"] == {"b": 1.0}
    assert found["s003"] == {"a": pytest.approx(1 / 3), "b": pytest.approx(2 / 3)}


@pytest.mark.parametrize(
    ("column", "choices", "speakers"),
    [(None, ("a", "b"), "ab"), ("who", None, "ab"), ("who", ("a", "b"), "aa"), ("voice", ("a", "b"), "ab")],
)
def test_without_speakers_or_labels_there_is_no_speaker_prior(column: Any, choices: Any, speakers: str) -> None:
    assert priors.of_speakers(samples(*((who, "a") for who in speakers)), column, choices) == {}


def test_a_field_can_name_the_speaker_too() -> None:
    found = [Sample(str(i), ("a",), "c", fields={"speaker": "xy"[i % 2]}) for i in range(4)]
    assert list(priors.of_speakers(found, "speaker", ("a", "b"))) == ["0", "1", "2", "3"]


def test_ties_go_to_the_label_that_stands_last() -> None:
    assert priors.most_common({"yes": 0.5, "no": 0.5}, ("yes", "no")) == "no"
    assert priors.most_common({"yes": 0.6, "no": 0.4}, ("yes", "no")) == "yes"
    assert priors.most_common({}, ("yes", "no")) == "no"


# ---------------------------------------------------------------- the verdict


def verdict(found: list[Sample], answers: list[str], **more: Any) -> chance.Chance:
    spec = task(choices=CHOICES, primary="accuracy", speaker="who", **more)
    scorer = Labels(spec)
    rows = [scorer.measure(s, Response(s.id, a)) for s, a in zip(found, answers, strict=True)]
    return chance.verdict(spec, dataset(found), found, rows, scorer, True, 0)


def test_a_model_is_held_against_the_best_answer_that_hears_nothing() -> None:
    found = samples(*[("ann", "sarcastic")] * 18, *[("ann", "sincere")] * 2, *[("bob", "sincere")] * 20)
    right = [s.references[0] for s in found]
    said = verdict(found, right)
    assert said.best == "speaker prior"
    assert said.scores == {"constant": 55.0, "prior": pytest.approx(50.5), "speaker prior": 95.0}
    assert said.at_chance  # 100 is not surely more than 95, of 40
    three_quarters = [
        ("sincere" if s.references[0] == "sarcastic" else "sarcastic") if i % 4 == 0 else s.references[0]
        for i, s in enumerate(found)
    ]
    assert verdict(found, three_quarters).at_chance
    assert verdict(found, three_quarters).record()["baseline_of"] == "speaker prior"


def test_without_speakers_a_constant_is_what_it_was_before() -> None:
    found = [Sample(f"s{i}", (CHOICES[i % 3 == 0],), str(i)) for i in range(60)]
    said = verdict(found, [s.references[0] for s in found])
    assert (said.best, set(said.scores)) == ("constant", {"constant", "prior"})
    assert said.scores["constant"] == pytest.approx(100 * 40 / 60)
    assert not said.at_chance


def test_the_expected_score_of_a_random_label_is_that_of_many_draws() -> None:
    found = [Sample(f"s{i}", (CHOICES[i % 3 == 0],), str(i)) for i in range(60)]
    spec = task(choices=CHOICES, primary="macro_f1")
    scorer = Labels(spec)

    def value(rows: Any) -> float:
        return float(scorer.reduce(stats.totals(rows))["macro_f1"])

    expected = value(chance.baselines(spec, dataset(found), found, scorer, value, 1, 0)["prior"])
    assert expected == pytest.approx(50, abs=0.5)  # labels drawn without looking agree by their shares
    assert expected > value(chance.baselines(spec, dataset(found), found, scorer, value, 1, 0)["constant"])


def test_of_open_answers_the_prior_is_many_seeded_draws_where_samples_are_few() -> None:
    found = [Sample(f"s{i}", (f"answer {i % 4}",), str(i)) for i in range(40)]
    spec = task(primary="em", choices=None)
    scorer = QA(spec)

    def value(rows: Any) -> float:
        return float(scorer.reduce(stats.totals(rows))["em"])

    drawn = [
        value(chance.baselines(spec, dataset(found), found, scorer, value, 1, seed)["prior"]) for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(20 < value < 30 for value in drawn)  # four answers, 40 samples: one draw has 11 to 40
    mostly = [Sample(f"s{i}", (f"answer {max(i - 36, 0)}",), str(i)) for i in range(40)]
    common = value(chance.baselines(spec, dataset(mostly), mostly, scorer, value, 1, 0)["prior"])
    assert 83 < common < 88  # 37 of 40 are alike: (37 / 40)^2, if draws follow the shares


def test_of_a_metric_that_falls_the_best_constant_has_the_lowest() -> None:
    found = [Sample(f"s{i}", (CHOICES[i % 3 == 0],), str(i)) for i in range(60)]
    spec = task(choices=CHOICES, primary="accuracy")
    scorer = Labels(spec)

    def wrong(rows: Any) -> float:
        return 100 - float(scorer.reduce(stats.totals(rows))["accuracy"])

    constant = chance.baselines(spec, dataset(found), found, scorer, wrong, -1, 0)["constant"]
    assert wrong(constant) == pytest.approx(100 * 20 / 60)


@pytest.mark.parametrize(("right", "at_chance"), [(True, False), (False, True)])
def test_of_an_error_rate_the_lower_one_is_better(right: bool, at_chance: bool) -> None:
    found = [Sample(f"s{i}", (f"say {i} and {i * i}",), str(i)) for i in range(30)]
    spec = task(primary="wer")
    scorer = Wer(spec)
    rows = [scorer.measure(s, Response(s.id, s.references[0] if right else "hm")) for s in found]
    assert chance.verdict(spec, dataset(found), found, rows, scorer, False, 0).at_chance is at_chance


# ---------------------------------------------------------------- many labels


def test_of_many_labels_the_common_ones_are_tried_and_the_prior_is_drawn() -> None:
    labels = tuple(f"intent {i}" for i in range(chance.MANY + 8))
    found = [Sample(f"s{i}", (labels[-1] if i % 2 else labels[i % len(labels)],), str(i)) for i in range(200)]
    spec = task(choices=labels, primary="accuracy")
    scorer = Labels(spec)
    rows = [scorer.measure(s, Response(s.id, s.references[0])) for s in found]
    said = chance.verdict(spec, dataset(found), found, rows, scorer, True, 0)
    assert said.scores["constant"] == 50  # the last label of all, which is the most common one
    shares = Counter(s.references[0] for s in found)
    expected = 100 * sum((n / len(found)) ** 2 for n in shares.values())
    assert said.scores["prior"] == pytest.approx(expected, abs=3)


def test_many_labels_cost_what_occurs_and_not_labels_by_labels() -> None:
    """600 labels: K x K counts of 10,000 resamples would be 29 GB."""
    labels = tuple(f"intent {i}" for i in range(600))
    found = [Sample(f"s{i}", (labels[i],), str(i), groups={"who": str(i % 30)}) for i in range(120)]
    spec = task(choices=labels, primary="macro_f1", speaker="who")
    scorer = Labels(spec)
    rows = [scorer.measure(s, Response(s.id, labels[i * 4])) for i, s in enumerate(found)]
    tracemalloc.start()
    said = chance.verdict(spec, dataset(found), found, rows, scorer, True, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(said.scores) == {"constant", "prior", "speaker prior"}
    assert peak < 300 << 20


# ---------------------------------------------------------------- no baseline


class Whims:
    """A plugin's scorer: `spoilt` says what it does at the answers that nobody gave (those it was not `taught`)."""

    signature, higher_is_better = "whims", True

    def __init__(self, spoilt: str) -> None:
        self.spoilt = spoilt

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        real = response.tokens.get("new") is not None
        if not real and self.spoilt == "raises":
            return {"n": 1.0, "y": {}["y"]}
        if not real and self.spoilt == "is silent":
            return {}
        return {"n": 1.0, "y": math.nan if not real and self.spoilt == "is not a number" else float(len(response.text))}

    def reduce(self, totals: Any) -> dict[str, Any]:
        return {"whims": totals["y"] / totals["n"]} if totals else {}


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        ("raises", "the scorer of whims failed at a made-up answer (KeyError: 'y')"),
        ("is silent", "whims has no value for an answer that is made up without the clip"),
        ("is not a number", "whims has no value for an answer that is made up without the clip"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("choices", [None, CHOICES])
def test_a_metric_without_a_value_for_made_up_answers_has_no_baseline(spoilt: str, why: str, choices: Any) -> None:
    found = [Sample(f"s{i}", (CHOICES[i % 2],), str(i)) for i in range(8)]
    spec = task(choices=choices, primary="whims")
    scorer = Whims(spoilt)
    rows = [scorer.measure(s, Response(s.id, "right", tokens={"new": 1})) for s in found]
    said = chance.verdict(spec, dataset(found), found, rows, scorer, True, 0)
    assert said.why == why
    assert (said.record()["baseline"] is None, said.at_chance is None) == (bool(why), bool(why))
    assert said.record().get("no_baseline", "") == why


def test_no_sample_that_both_have_a_value_on_is_no_baseline() -> None:
    found = [Sample(f"s{i}", ("a",), str(i)) for i in range(4)]
    spec = task(choices=None, primary="whims")
    said = chance.verdict(spec, dataset(found), found, [{}] * 4, Whims(""), True, 0)
    assert "on no sample together" in said.why


def test_a_run_ranked_by_what_was_heard_ends_and_says_that_it_has_no_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    mini_task.write(tmp_path)
    spec = (tmp_path / "toy.yaml").read_text()
    spec = spec.replace("scorers: {qa: {}}", "scorers: {wer: {of: [text, heard]}}")
    (tmp_path / "toy.yaml").write_text(spec.replace("primary: contains", "primary: wer_heard"))
    rows = [{"id": f"q{i:03}", "text": "x"} for i in range(10)]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    here = ["--path", str(tmp_path)]
    words = ["import", str(tmp_path / "answers.jsonl"), "-t", "toy", "--model-name", "x", "--edition", "mini"]
    CliRunner().invoke(app, [*words, *here, "-o", str(tmp_path / "results")], catch_exceptions=False)
    (run,) = (tmp_path / "results").glob("*/x-*")
    heard = [row | {"status": "ok", "heard": f"question {i}"} for i, row in enumerate(rows)]
    (run / "responses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in heard))
    done = CliRunner().invoke(app, ["score", str(run), *here], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    why = "no baseline: wer_heard has no value for an answer that is made up without the clip"
    assert why in " ".join(done.output.split())
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["metrics"]["wer_heard"]["value"], summary["baseline"], summary["at_chance"]) == (0, None, None)
    board = CliRunner().invoke(app, ["leaderboard", str(tmp_path / "results"), "--format", "md"])
    assert why in " ".join(board.output.split())


# ---------------------------------------------------------------- the model


def test_the_adapter_answers_with_the_speakers_usual_label() -> None:
    adapter = SpeakerPrior(Catalog().model("speaker-prior", "mini"), {}, "cpu")
    request = Request("a", "?", choices=CHOICES, prior={"sarcastic": 0.7, "sincere": 0.3})
    (found,) = adapter.generate([request])
    assert (found.text, max(found.choices or {}, key=lambda c: (found.choices or {})[c].total)) == ("sarcastic",) * 2
    spec = Catalog().model("speaker-prior", "mini").model_copy(update={"args": {"kind": "prior"}})
    with pytest.raises(
        SpecError, match="model speaker-prior: adapter speaker-prior has no argument 'kind'; it takes none"
    ):
        Catalog().adapter_for(spec)


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """24 clips of three speakers: ann is mostly sarcastic, bob and cec mostly sincere."""
    labels = ["sarcastic"] * 7 + ["sincere"] + (["sincere"] * 7 + ["sarcastic"]) * 2
    rows = [
        {
            "id": f"q{i:03}",
            "audio": "audio/one.wav",
            "text": "hm",
            "label": label,
            "who": "abc"[i // 8],
            "cluster": f"c{i}",
        }
        for i, label in enumerate(labels)
    ]
    mini_task.clip(tmp_path / "audio" / "one.wav", 0.2)
    (tmp_path / "tone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tone.yaml").write_text(TASK)
    return tmp_path


def test_a_run_of_the_speaker_prior_scores_what_speakers_usually_say(
    spoken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(spoken / "cache"))
    words = ["run", "-t", "tone", "--edition", "mini", "--path", str(spoken), "-o", str(spoken / "results")]
    done = CliRunner().invoke(app, [*words, "-m", "speaker-prior", "-m", "majority"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = {}
    for path in (spoken / "results").glob("*/*/summary.json"):
        summary = json.loads(path.read_text())
        found[summary["model"]] = summary
    assert found["speaker-prior"]["metrics"]["accuracy"]["value"] == pytest.approx(100 * 21 / 24)
    assert found["speaker-prior"]["baseline_of"] == found["majority"]["baseline_of"] == "speaker prior"
    assert found["majority"]["baselines"]["speaker prior"] == pytest.approx(87.5)
    assert all(summary["at_chance"] for summary in found.values())
    board = CliRunner().invoke(
        app, ["leaderboard", str(spoken / "results"), "--ranks", "--path", str(spoken), "--format", "md"]
    )
    assert "accuracy of a speaker's most common answer elsewhere: 87.5" in board.output
    assert AT_CHANCE in board.output
    assert "| rank |" in board.output


def test_a_task_without_speakers_refuses_the_model(tmp_path: Path) -> None:
    mini_task.write(tmp_path)
    words = [
        "run",
        "-t",
        "toy",
        "-m",
        "speaker-prior",
        "--edition",
        "mini",
        "--path",
        str(tmp_path),
        "-o",
        str(tmp_path / "r"),
    ]
    done = CliRunner().invoke(app, words)
    assert "answers by who speaks, but task toy has no labels" in str(done.exception)


# ---------------------------------------------------------------- what is published


@pytest.mark.skipif(not SHARED.is_dir(), reason="the gold labels are not beside this checkout")
def test_who_knows_only_the_speaker_gets_63_9_on_mustard() -> None:
    gold = json.loads((SHARED / "mustard-sarcasm_data.json").read_text(encoding="utf-8"))
    found = samples(*((row["speaker"], CHOICES[not row["sarcasm"]]) for row in gold.values()))
    said = verdict(found, [s.references[0] for s in found])
    assert said.scores == {"constant": 50.0, "prior": 50.0, "speaker prior": pytest.approx(63.913043478)}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the gold labels are not beside this checkout")
def test_always_neutral_has_48_2_on_meld() -> None:
    with (SHARED / "meld-test_sent_emo.csv").open(encoding="utf-8-sig") as file:
        counts = Counter(row["Emotion"] for row in csv.DictReader(file))
    assert round(counts["neutral"] / counts.total(), 3) == 0.481  # of all 2,610; .482 of the 2,608 that can be heard
