"""Metrics of the evaluate library: real modules, written here and loaded by evaluate.load(path)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import mini_task
import numpy as np
import pytest
from command_line import call
from scoring import said, sample, scored, task
from sklearn.metrics import f1_score

from diva_bench import stats
from diva_bench.errors import DataError, MissingMeans, SpecError
from diva_bench.scorers.hf_evaluate import HFEvaluate
from diva_bench.types import CorpusScorer, Scorer

MODULE = """\
import datasets
import evaluate
{imports}

TEXT = {{"predictions": datasets.Value("string"), "references": datasets.Value("string")}}
SEVERAL = {{**TEXT, "references": datasets.Sequence(datasets.Value("string"))}}
LABEL = {{"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}}
SOURCE = {{"sources": datasets.Value("string"), **TEXT}}
SOUND = {{**TEXT, "sounds": datasets.Value("string")}}
SQUAD = {{
    "predictions": {{"id": datasets.Value("string"), "prediction_text": datasets.Value("string")}},
    "references": {{
        "id": datasets.Value("string"),
        "answers": datasets.Sequence({{"text": datasets.Value("string"), "answer_start": datasets.Value("int32")}}),
    }},
}}


class Made(evaluate.Metric):
    def _info(self):
        features = [datasets.Features(f) for f in {features}]
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="", features=features if len(features) > 1 else features[0]
        )

    def _compute(self, {takes}):
        {body}
"""


@pytest.fixture(autouse=True, scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> None:
    """evaluate copies every module it loads: not into the user's cache. It reads this when it is first imported."""
    os.environ.setdefault("HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))


def module(
    folder: Path,
    name: str,
    body: str,
    features: str = "[TEXT]",
    takes: str = "predictions, references",
    imports: str = "",
) -> str:
    """A metric module on disk; gives its path, relative to `folder`."""
    (folder / name).mkdir(exist_ok=True)
    text = MODULE.format(body=body, features=features, takes=takes, imports=imports)
    (folder / name / f"{name}.py").write_text(text, encoding="utf-8")
    return name


EXACT = 'return {"exact": sum(p == r for p, r in zip(predictions, references)) / len(predictions)}'
LENGTHS = (
    'a, b = sum(map(len, predictions)), sum(map(len, references)); return {"share": a / b, "chars": a, "words": ["x"]}'
)
SHARED = 'return {"best": [max(len(set(p) & set(r)) for r in rs) / 10 for p, rs in zip(predictions, references)]}'
MACRO = (
    'return {"f1": f1_score(references, predictions, labels=[0, 1], average=average, zero_division=0) if len(references) '
    "> 1 else float(references[0] == predictions[0])}"
)


def made(folder: Path, *, on: object = None, **settings: object) -> HFEvaluate:
    return HFEvaluate(on or task(home=folder), **settings)


def test_an_exact_match_is_the_mean_of_answers_and_the_same_as_of_all(tmp_path: Path) -> None:
    path = module(tmp_path, "exact", EXACT)
    scorer = made(tmp_path, metric="exact", path=path)
    assert isinstance(scorer, Scorer)
    assert isinstance(scorer, CorpusScorer)
    samples, answers = [sample("a"), sample("b"), sample("c")], [said("a"), said("x"), said("", status="unsupported")]
    rows = [scorer.measure(s, a) for s, a in zip(samples, answers, strict=True)]
    assert rows == [{"hf.exact#n": 1, "hf.exact": 1}, {"hf.exact#n": 1}, {"hf.exact#n": 1}]
    assert scorer.reduce(stats.totals(rows)) == {"hf.exact": pytest.approx(100 / 3)}
    assert scorer.corpus(samples, answers) == {"hf.exact": pytest.approx(100 / 3)}
    assert scorer.reduce({}) == {}


def test_several_keys_are_several_metrics_with_their_scale_and_direction(tmp_path: Path) -> None:
    path = module(tmp_path, "lengths", LENGTHS)
    settings = {"metric": "lengths", "path": path, "keys": ["share", "chars"], "scale": 1, "higher_is_better": False}
    scorer = made(tmp_path, **settings)
    samples, answers = [sample("ab"), sample("abcd")], [said("abcd"), said("ab")]
    rows = [scorer.measure(s, a) for s, a in zip(samples, answers, strict=True)]
    assert scorer.reduce(stats.totals(rows)) == {"hf.lengths.share": 1.25, "hf.lengths.chars": 3}
    assert scorer.corpus(samples, answers) == {"hf.lengths.share": 1, "hf.lengths.chars": 6}
    assert scorer.falls == {"hf.lengths.share", "hf.lengths.chars"}
    drawn = scorer.reduce({key: np.full((2, 3), value) for key, value in stats.totals(rows).items()})
    assert drawn["hf.lengths.share"].shape == (2, 3)


def test_a_run_has_the_mean_with_its_interval_and_the_value_of_all_answers_beside_it(tmp_path: Path) -> None:
    specs = mini_task.write(tmp_path / "specs")
    module(specs, "lengths", LENGTHS)
    assert call(tmp_path, "run", "-m", "echo", "-t", "toy", "--path", "specs").returncode == 0
    (folder,) = (path.parent for path in tmp_path.glob("results/*/*/summary.json"))
    scorer = "hf_evaluate: {metric: lengths, path: lengths, keys: [share], higher_is_better: false}"
    got = call(tmp_path, "score", str(folder), "--scorer", scorer, "--path", "specs")
    assert got.returncode == 0, got.stderr
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    share = metrics["hf.lengths.share"]  # five answers as long as the reference, five of 4 characters for 15
    assert share["value"] == pytest.approx(100 * (5 + 5 * 4 / 15) / 10)
    assert share["corpus"] == pytest.approx(100 * 40 / 95)
    assert share["higher_is_better"] is False
    assert "corpus" not in metrics["em"]


def test_compare_knows_of_which_metrics_less_is_better(tmp_path: Path) -> None:
    specs = mini_task.write(tmp_path / "specs")
    module(specs, "lengths", LENGTHS)
    mini_task.model(specs, "wordy", reply="prompt")
    scorers = "{qa: {}, hf_evaluate: {metric: lengths, path: lengths, keys: [share], higher_is_better: false}}"
    spec = specs / "toy.yaml"
    spec.write_text(spec.read_text().replace("{qa: {}}", scorers))
    assert call(tmp_path, "run", "-m", "echo", "-m", "wordy", "-t", "toy", "--path", "specs").returncode == 0
    runs = sorted(str(path.parent) for path in tmp_path.glob("results/*/*/summary.json"))
    got = call(tmp_path, "compare", *runs, "--path", "specs", "--format", "md")
    assert got.returncode == 0, got.stderr
    assert [line for line in got.stdout.splitlines() if "lower is better" in line] == [
        "- hf.lengths.share: lower is better"
    ]


def test_several_metrics_stand_in_one_scorer_and_the_primary_one_gives_the_direction(tmp_path: Path) -> None:
    exact, lengths = module(tmp_path, "exact", EXACT), module(tmp_path, "lengths", LENGTHS)
    listed = [
        {"metric": "exact", "path": exact},
        {"metric": "exact", "path": exact, "name": "again"},
        {"metric": "lengths", "path": lengths, "keys": ["share"], "higher_is_better": False},
    ]
    scorer = made(tmp_path, on=task(home=tmp_path, primary="hf.lengths.share"), metrics=listed)
    assert not scorer.higher_is_better
    assert scorer.falls == {"hf.lengths.share"}
    row = scorer.measure(sample("ab"), said("ab"))
    assert scorer.reduce(stats.totals([row])) == {"hf.exact": 100, "hf.again": 100, "hf.lengths.share": 100}
    assert made(tmp_path, metrics=listed).higher_is_better


def test_several_references_go_to_the_metric_together_or_the_best_one_counts(tmp_path: Path) -> None:
    one, many = module(tmp_path, "exact", EXACT), module(tmp_path, "shared", SHARED, "[TEXT, SEVERAL]")
    exact = made(tmp_path, metric="exact", path=one)
    assert exact.measure(sample("x", "a"), said("a"))["hf.exact"] == 1
    assert exact.corpus([sample("x", "a")], [said("a")]) == {}
    shared = made(tmp_path, metric="shared", path=many, keys=["best"])
    assert shared.measure(sample("xy", "ab"), said("abc"))["hf.shared.best"] == 0.2
    assert shared.corpus([sample("xy", "ab")], [said("abc")]) == {"hf.shared.best": pytest.approx(20)}


def test_labels_go_as_numbers_and_an_answer_without_one_as_minus_one(tmp_path: Path) -> None:
    imports = "from sklearn.metrics import f1_score"
    path = module(tmp_path, "f1", MACRO, "[LABEL]", 'predictions, references, average="macro"', imports)
    choices = ("joy", "anger")
    scorer = made(tmp_path, on=task(home=tmp_path, choices=choices), metric="f1", path=path)
    samples = [sample("joy"), sample("anger"), sample("anger"), sample("joy")]
    answers = [said("joy"), scored([-2, -1], choices), said("joy"), said("no idea")]
    rows = [scorer.measure(s, a) for s, a in zip(samples, answers, strict=True)]
    assert float(scorer.reduce(stats.totals(rows))["hf.f1"]) == 50
    wanted = f1_score([0, 1, 1, 0], [0, 1, 0, -1], labels=[0, 1], average="macro")
    assert scorer.corpus(samples, answers) == {"hf.f1": pytest.approx(100 * wanted)}
    assert f"|scikit-learn:{__import__('sklearn').__version__}" in scorer.signature
    assert "|labels|ties:first|" in scorer.signature


def test_sources_and_squads_own_shape_are_served(tmp_path: Path) -> None:
    heard = module(
        tmp_path,
        "heard",
        "return {'heard': float(sources == predictions)}",
        "[SOURCE]",
        "sources, predictions, references",
    )
    scorer = made(tmp_path, metric="heard", path=heard)
    assert scorer.measure(sample("x", transcript="hi"), said("hi"))["hf.heard"] == 1
    with pytest.raises(DataError, match="sample a has no transcript"):
        scorer.measure(sample("x"), said("hi"))
    body = (
        "hit = [p['prediction_text'] in r['answers']['text'] for p, r in zip(predictions, references)];"
        " return {'exact': 100 * sum(hit) / len(hit)}"
    )
    squad = made(tmp_path, metric="squad", path=module(tmp_path, "squad", body, "[SQUAD]"), scale=1)
    assert squad.measure(sample("a", "b"), said("b"))["hf.squad"] == 100
    assert squad.corpus([sample("a", "b"), sample("c")], [said("b"), said("d")]) == {"hf.squad": 50}


def test_the_signature_changes_with_the_code_and_every_setting(tmp_path: Path) -> None:
    path = module(tmp_path, "exact", EXACT, takes="predictions, references, strict=True")
    first = made(tmp_path, metric="exact", path=path).signature
    assert first.startswith("hf_evaluate|hf.exact@")
    assert "|local|" in first
    assert "|agg:mean of answers|evaluate:" in first
    assert made(tmp_path, metric="exact", path=path, args={"strict": False}).signature != first
    assert made(tmp_path, metric="exact", path=path, scale=1).signature != first
    assert made(tmp_path, metric="exact", path=path).signature == first
    module(tmp_path, "exact", EXACT + "  # changed", takes="predictions, references, strict=True")
    assert made(tmp_path, metric="exact", path=path).signature != first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "scorers.hf_evaluate needs `metric`, the name of a metric of the evaluate library."),
        (
            {"metric": "exact", "key": ["a"]},
            "has no setting 'key'. Did you mean 'keys'? Allowed: metric, path, revision",
        ),
        ({"metric": "exact", "path": "exact", "scale": 7}, "scorers.hf_evaluate.scale is 7. Allowed: 100, 1."),
        ({"metric": "exact", "path": "exact", "keys": "a"}, "scorers.hf_evaluate.keys is 'a'; it is of type list."),
        ({"metric": "exact", "path": "exact", "args": []}, "scorers.hf_evaluate.args is []; it is of type dict."),
        ({"metric": "exact"}, "needs `path`, its module on this machine (git clone"),
        (
            {"metric": "exact", "path": "none/such"},
            "none/such is no metric module (a .py file, or a folder with such.py",
        ),
        ({"metrics": []}, "give either `metrics`, a list of {metric: NAME, ...}, or one metric's settings."),
        ({"metrics": [{"metric": "exact", "path": "exact"}], "scale": 1}, "give either `metrics`, a list"),
        ({"metrics": ["exact"]}, "scorers.hf_evaluate.metrics[0] is 'exact'; it is the settings of one metric"),
        (
            {"metrics": [{"metric": "exact", "path": "exact"}] * 2},
            "two metrics are called 'hf.exact'; give one another",
        ),
        ({"metric": "exact", "path": "exact", "args": {"x": 1}}, "has no argument 'x'; `args`: none."),
        ({"metric": "sound", "path": "sound"}, "a task has answers in words or labels, references"),
        ({"metric": "label", "path": "label"}, "compares labels (whole numbers), and this task has no choices."),
        ({"metric": "lacking", "path": "lacking"}, "needs packages that are not installed: To be able to use lacking"),
        ({"metric": "broken", "path": "broken"}, "cannot be loaded (SyntaxError"),
    ],
)
def test_a_wrong_setting_is_told_before_anybody_is_asked(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    module(tmp_path, "exact", EXACT)
    module(tmp_path, "sound", EXACT, "[SOUND]")
    module(tmp_path, "label", EXACT, "[LABEL]")
    module(tmp_path, "lacking", EXACT, imports="import no_such_package_at_all")
    module(tmp_path, "broken", "return {")
    with pytest.raises((SpecError, MissingMeans)) as err:
        made(tmp_path, **settings)
    assert message in str(err.value)
    assert str(err.value).startswith("task trial-de: scorers.hf_evaluate")


@pytest.mark.parametrize(
    ("body", "keys", "message"),
    [
        (LENGTHS, None, "gives share, chars, words: name those to report in `keys`."),
        (LENGTHS, ["shares"], "gives no number 'shares'; it gives share, chars, words."),
        (LENGTHS, ["words"], "gives no number 'words'"),
        ("return {}", None, "gives nothing: name those to report"),
        (
            'return {"r": float("nan")}',
            None,
            "gives no finite number for one answer (a): it is a metric of many answers",
        ),
        ('raise ZeroDivisionError("empty")', None, "failed at a (ZeroDivisionError: empty)."),
    ],
)
def test_what_cannot_be_had_of_one_answer_is_told(
    tmp_path: Path, body: str, keys: list[str] | None, message: str
) -> None:
    scorer = made(tmp_path, metric="odd", path=module(tmp_path, "odd", body), keys=keys)
    with pytest.raises(SpecError) as err:
        scorer.measure(sample("x"), said("y"))
    assert message in str(err.value)


def test_a_name_without_a_network_says_how_to_go_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises((SpecError, MissingMeans)) as err:
        made(tmp_path, metric="rouge_of_nobody", revision="v0.4.6")
    assert "metric 'rouge_of_nobody' cannot be loaded (" in str(err.value)
    assert "then path: evaluate/metrics/rouge_of_nobody" in str(err.value)


def test_an_answer_that_comes_again_is_computed_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    body = f"file = open({str(log)!r}, 'a'); file.write('x'); file.close(); return {{'n': 1.0}}"
    scorer = made(tmp_path, metric="slow", path=module(tmp_path, "slow", body))
    for _ in range(3):
        scorer.measure(sample("x"), said("y"))
    scorer.measure(sample("x"), said("z"))
    assert log.read_text() == "xx"
