"""COMET in a process of its own: the logic with a stand-in library, and the real one where it is installed.

A stand-in `comet` answers in `load_from_checkpoint(path).predict(samples, batch_size, gpus, progress_bar)`; the real one
(unbabel-comet, in the environment that DIVA_BENCH_COMET_PYTHON names) reads a RegressionMetric of a few kilobytes.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scoring import said, sample, task

from diva_bench import stats
from diva_bench.errors import AssetError, DataError, SpecError, UserError
from diva_bench.scorers import comet
from diva_bench.scorers.comet import PYTHON, Comet
from diva_bench.types import Response, Sample, Scorer, Silent, WholeScorer

LIBRARY = """\
import json, os, sys

class Model:
    def predict(self, samples, batch_size, gpus, progress_bar):
        print("noise on stdout")
        with open(os.environ["COMET_LOG"], "a") as log:
            log.write(json.dumps([batch_size, gpus, [s["mt"] for s in samples]]) + "\\n")
        if any(s["mt"] == "crash" for s in samples):
            print("out of memory, they say", file=sys.stderr)
            os._exit(7)
        if any(s["mt"] == "raise" for s in samples):
            raise RuntimeError("cannot read this")
        worth = lambda s: float("nan") if s["mt"] == "nan" else len(set(s["mt"]) & set(s["ref"] + s["src"])) / 10
        return {"scores": [worth(s) for s in samples]}

def load_from_checkpoint(path):
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    if "bad" in open(path).read():
        raise ValueError("no such encoder")
    return Model()
"""
TORCH = "class cuda:\n    is_available = staticmethod(lambda: False)\n"


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint as COMET stores one, and an interpreter that has the stand-in."""
    site = tmp_path / "site"
    for name, text in (("comet/__init__.py", LIBRARY), ("torch.py", TORCH)):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")
    (site / "unbabel_comet-9.9.dist-info").mkdir()
    (site / "unbabel_comet-9.9.dist-info" / "METADATA").write_text("Name: unbabel-comet\nVersion: 9.9\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(PYTHON, str(python))
    monkeypatch.setenv("COMET_LOG", str(tmp_path / "asked.log"))
    (tmp_path / "model" / "checkpoints").mkdir(parents=True)
    (tmp_path / "model" / "hparams.yaml").write_text("class_identifier: regression_metric\n")
    path = tmp_path / "model" / "checkpoints" / "model.ckpt"
    path.write_text("weights")
    return path


def about(*answers: str) -> tuple[list[Sample], list[Response]]:
    samples = [sample("ab", id=f"s{i}", transcript="cd") for i in range(len(answers))]
    return samples, [Response(s.id, text=a) for s, a in zip(samples, answers, strict=True)]


def asked(checkpoint: Path) -> list[list[object]]:
    log = checkpoint.parents[2] / "asked.log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_scores_are_means_times_100_and_an_empty_answer_is_0_without_asking(checkpoint: Path, tmp_path: Path) -> None:
    scorer = Comet(task(), checkpoint=str(checkpoint), batch=4)
    assert isinstance(scorer, Scorer)
    assert isinstance(scorer, WholeScorer)
    samples, answers = about("abc", "A", "", "x")
    answers[3] = Response("s3", text="ab", status="unsupported")
    rows = scorer.measure_all(samples, answers, tmp_path, Silent())
    assert rows == [{"comet.n": 1, "comet.score": 0.3}, {"comet.n": 1}, {"comet.n": 1}, {"comet.n": 1}]
    assert scorer.reduce(stats.totals(rows)) == {"comet": pytest.approx(7.5)}
    assert scorer.reduce({k: np.full((2, 3), v) for k, v in stats.totals(rows).items()})["comet"].shape == (2, 3)
    assert scorer.reduce({}) == {}
    assert asked(checkpoint) == [[4, 0, ["abc", "A"]]]  # as it was said: nothing is normalised


def test_answers_go_in_chunks_and_scoring_again_asks_only_what_changed(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comet, "_CHUNK", 2)
    samples, answers = about("a", "b", "a", "c", "d")
    first = Comet(task(), checkpoint=str(checkpoint)).measure_all(samples, answers, tmp_path, Silent())
    assert [row[2] for row in asked(checkpoint)] == [["a", "b"], ["c", "d"]]
    assert Comet(task(), checkpoint=str(checkpoint)).measure_all(samples, answers, tmp_path, Silent()) == first
    assert len(asked(checkpoint)) == 2
    answers[1] = Response("s1", text="ba")
    Comet(task(), checkpoint=str(checkpoint)).measure_all(samples, answers, tmp_path, Silent())
    assert [row[2] for row in asked(checkpoint)][2:] == [["ba"]]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("crash", r"it ended \(7\).*out of memory, they say"),
        ("raise", "RuntimeError: cannot read this"),
        ("nan", "or one that is not a number"),
    ],
)
def test_a_comet_that_fails_is_told_and_what_was_scored_is_kept(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, message: str
) -> None:
    monkeypatch.setattr(comet, "_CHUNK", 1)
    scorer = Comet(task(), checkpoint=str(checkpoint))
    with pytest.raises(UserError, match=f"(?s){message}"):
        scorer.measure_all(*about("a", answer), tmp_path, Silent())
    scorer.measure_all(*about("a", "b"), tmp_path, Silent())
    assert [row[2] for row in asked(checkpoint)] == [["a"], [answer], ["b"]]


def test_weights_that_do_not_load_are_told_with_the_reason(checkpoint: Path, tmp_path: Path) -> None:
    checkpoint.write_text("bad")
    with pytest.raises(UserError, match="ValueError: no such encoder"):
        Comet(task(), checkpoint=str(checkpoint)).measure_all(*about("a"), tmp_path, Silent())


def test_the_signature_has_the_weights_the_batch_and_the_version(checkpoint: Path) -> None:
    first = Comet(task(), checkpoint=str(checkpoint)).signature
    assert first.startswith("comet|local@")
    assert first.endswith("|batch:16|norm:none|empty:0|unbabel-comet:9.9")
    assert Comet(task(), checkpoint=str(checkpoint), batch=8).signature != first
    checkpoint.write_text("other weights")
    assert Comet(task(), checkpoint=str(checkpoint)).signature != first


def test_the_checkpoint_may_be_relative_to_the_task(checkpoint: Path) -> None:
    assert Comet(task(home=checkpoint.parents[2]), checkpoint="model/checkpoints/model.ckpt").signature


def test_what_is_kept_is_of_the_same_source_answer_and_reference() -> None:
    row = {"src": "a", "mt": "b", "ref": "c"}
    others = [{**row, name: "z"} for name in row] + [{"src": "b", "mt": "a", "ref": "c"}]
    assert len({comet._key(one) for one in (row, *others)}) == 5


def test_what_comet_cannot_read_is_told(checkpoint: Path, tmp_path: Path) -> None:
    scorer = Comet(task(), checkpoint=str(checkpoint))
    with pytest.raises(
        DataError, match=r"sample a has no transcript, and task trial-de: scorers.comet takes the words"
    ):
        scorer.measure_all([sample("x")], [said("y")], tmp_path, Silent())
    with pytest.raises(DataError, match=r"sample a has 2 references; task trial-de: scorers.comet takes one"):
        scorer.measure_all([sample("x", "z", transcript="t")], [said("y")], tmp_path, Silent())
    with pytest.raises(SpecError, match="COMET scores whole runs, not single answers"):
        scorer.measure(sample("x"), said("y"))
    with pytest.raises(ValueError, match=r"is an error \(timeout\)"):
        scorer.measure_all([sample("x")], [said(status="error", detail="timeout")], tmp_path, Silent())


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        (
            {},
            SpecError,
            "scorers.comet needs `checkpoint`, a model.ckpt on this machine, or `revision`, the Hub commit of",
        ),
        ({"checkpoint": "a", "revision": "b"}, SpecError, "scorers.comet needs `checkpoint`"),
        ({"checkpont": "a"}, SpecError, "Did you mean 'checkpoint'? Allowed: checkpoint, model, revision, batch."),
        ({"checkpoint": "a", "batch": 0}, SpecError, "scorers.comet.batch is 0; it is a number of answers, from 1."),
        (
            {"checkpoint": "none/model.ckpt"},
            AssetError,
            "none/model.ckpt is not there. It is the file checkpoints/model",
        ),
        ({"checkpoint": "bare/c/model.ckpt"}, AssetError, "bare has no hparams.yaml, which COMET needs"),
        ({"revision": "f" * 40}, AssetError, f"hf download Unbabel/wmt22-comet-da --revision {'f' * 40} (2.3 GB)"),
        ({"checkpoint": "far/c/model.ckpt"}, AssetError, "encoder no/such-encoder is not on this machine; of it the"),
        ({"checkpoint": "odd/c/model.ckpt"}, AssetError, "hparams.yaml is not a mapping in YAML"),
        ({"revision": "a", "model": "x y"}, AssetError, "x y at a is not on this machine: hf download"),
    ],
)
def test_what_is_missing_is_told_before_anybody_is_asked(
    checkpoint: Path, tmp_path: Path, settings: dict[str, object], kind: type[UserError], message: str
) -> None:
    for name, text in (("bare", None), ("far", "pretrained_model: no/such-encoder"), ("odd", "[1]")):
        (tmp_path / name / "c").mkdir(parents=True)
        (tmp_path / name / "c" / "model.ckpt").write_text("weights")
        if text is not None:
            (tmp_path / name / "hparams.yaml").write_text(text)
    with pytest.raises(kind) as err:
        Comet(task(home=tmp_path), **settings)
    assert message in str(err.value)
    assert not asked(checkpoint)


@pytest.mark.parametrize("python", ["/no/such/python", sys.executable])
def test_without_the_library_the_way_to_it_is_told(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    """The same environment can never have it: its requirements exclude ours."""
    monkeypatch.setenv(PYTHON, python)
    with pytest.raises(UserError) as err:
        Comet(task(), checkpoint=str(checkpoint))
    assert f"unbabel-comet is not installed for {python}" in str(err.value)
    assert 'comet-env/bin/pip install unbabel-comet==2.2.7 "setuptools<81" && export DIVA_BENCH_COMET' in str(err.value)


# ---------------------------------------------------------------- the real library

TINY = """\
import sys
from pathlib import Path

import pytorch_lightning
import torch
import yaml
from comet.models import RegressionMetric
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import XLMRobertaConfig, XLMRobertaTokenizerFast

folder = Path(sys.argv[1])
words = ["<s>", "<pad>", "</s>", "<unk>", *"\\u2581abcdefghijklmnopqrstuvwxyz", "<mask>"]
inner = Tokenizer(models.Unigram([(w, -1.0) for w in words], unk_id=3))
inner.pre_tokenizer = pre_tokenizers.Metaspace()
inner.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
XLMRobertaTokenizerFast(tokenizer_object=inner).save_pretrained(folder / "encoder")
XLMRobertaConfig(
    vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
).save_pretrained(folder / "encoder")
torch.manual_seed(0)
model = RegressionMetric(
    pretrained_model=str(folder / "encoder"), load_pretrained_weights=False, local_files_only=True, hidden_sizes=[16]
)
(folder / "checkpoints").mkdir()
version = {"pytorch-lightning_version": pytorch_lightning.__version__}
settings = dict(model.hparams)
torch.save({"state_dict": model.state_dict(), "hyper_parameters": settings, **version}, folder / "checkpoints/model.ckpt")
(folder / "hparams.yaml").write_text(yaml.safe_dump({**settings, "class_identifier": "regression_metric"}))
data = [{"src": "hello there", "mt": "hallo da", "ref": "hallo dort"}, {"src": "a", "mt": "b", "ref": "c"}]
print(*model.predict(data, batch_size=16, gpus=0, progress_bar=False)["scores"])
"""


def test_the_real_library_gives_what_it_gives_by_hand(tmp_path: Path) -> None:
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"unbabel-comet needs an environment of its own: {comet.INSTALL}")
    done = subprocess.run([python, "-c", TINY, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300)
    wanted = [float(score) for score in done.stdout.split()[-2:]]
    scorer = Comet(task(), checkpoint=str(tmp_path / "checkpoints" / "model.ckpt"))
    samples = [sample("hallo dort", id="s0", transcript="hello there"), sample("c", id="s1", transcript="a")]
    rows = scorer.measure_all(samples, [Response("s0", text="hallo da"), Response("s1", text="b")], tmp_path, Silent())
    assert [row["comet.score"] for row in rows] == pytest.approx(wanted, abs=1e-6)
    assert wanted[0] != wanted[1]
