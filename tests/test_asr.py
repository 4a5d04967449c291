"""A recogniser alone: its answer is the transcript, whatever it is asked with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command_line import call
from tiny_models import MULTILINGUAL, make_llm, make_whisper, store

import diva_bench as db
from diva_bench.adapters.asr import Asr
from diva_bench.adapters.cascade import Cascade
from diva_bench.catalog import Catalog
from diva_bench.decoding.memo import ENCODED
from diva_bench.decoding.whisper import Whisper
from diva_bench.specs import ModelSpec, Runtime
from diva_bench.types import Adapter, Audio, Request

SECONDS = (0.3, 2.5, 1.1)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights rarely come to an end; 12 tokens of a transcript show as much as 224."""
    monkeypatch.setattr("diva_bench.decoding.whisper._MAX_NEW", 12)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("weights")
    return {"llm": make_llm(place / "llm"), "asr": make_whisper(place / "asr")}


def spec(adapter: str) -> ModelSpec:
    return ModelSpec(
        name="toy", edition=None, adapter=adapter, description="", citation="", licence="", args={}, weights={},
        runtime=Runtime(dtype="float32"), training=None,
    )  # fmt: skip


def sound(seconds: float, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    return Audio((0.1 * rng.standard_normal(round(seconds * 16_000))).astype(np.float32), 16_000)


def asked(prompt: str = "") -> list[Request]:
    return [Request(str(k), prompt, audio=sound(seconds, k), max_new_tokens=1) for k, seconds in enumerate(SECONDS)]


def test_the_answer_is_what_a_cascade_with_the_same_recogniser_hears(folders: dict[str, Path]) -> None:
    asr, cascade = Asr(spec("asr"), folders, "cpu"), Cascade(spec("cascade"), folders, "cpu")
    assert isinstance(asr, Adapter)
    got = asr.generate(asked())
    assert [r.text for r in got] == [r.heard for r in got] == [r.heard for r in cascade.generate(asked())]
    assert len({r.text for r in got}) == len(SECONDS)  # random weights, but no constant
    assert all(r.status == "ok" and set(r.seconds) == {"transcribe"} for r in got)
    assert asr.generate([]) == []
    asr.close()


def test_prompt_and_length_limit_change_no_transcript_and_nor_does_the_batch(folders: dict[str, Path]) -> None:
    asr = Asr(spec("asr"), folders, "cpu")
    texts = [r.text for r in asr.generate(asked())]
    assert [r.text for r in asr.generate(asked("Translate into German."))] == texts
    assert [asr.generate([one])[0].text for one in asked()] == texts


@pytest.fixture(scope="module")
def multilingual(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {**folders, "asr": make_whisper(tmp_path_factory.mktemp("multilingual"), MULTILINGUAL)}


@pytest.mark.parametrize("adapter", [Asr, Cascade])
def test_each_clip_is_transcribed_in_its_own_language(multilingual: dict[str, Path], adapter: Any) -> None:
    languages = ["fr", "en", "", "zh-CN", "fr"]
    requests = [
        replace(asked()[k % len(SECONDS)], fields={"speech_language": code} if code else {})
        for k, code in enumerate(languages)
    ]
    made = adapter(spec("asr" if adapter is Asr else "cascade"), multilingual, "cpu")
    with ENCODED.keeping(multilingual["asr"].parent / "memo"):
        heard = [r.heard for r in made.generate(requests)]
    whisper = Whisper.load(multilingual["asr"])
    waves = [r.audio.samples for r in requests if r.audio is not None]
    assert heard == [whisper.transcribe([w], code or "en")[0] for w, code in zip(waves, languages, strict=True)]
    assert heard[0] != whisper.transcribe(waves[:1])[0]


@pytest.mark.parametrize("adapter", [Asr, Cascade])
def test_a_language_that_the_recogniser_does_not_know_is_unsupported_in_its_place(
    folders: dict[str, Path], adapter: Any
) -> None:
    made = adapter(spec("asr" if adapter is Asr else "cascade"), folders, "cpu")
    requests = [
        Request("fr", "", audio=sound(1.0), fields={"speech_language": "fr"}),
        Request("en", "", audio=sound(1.0)),
    ]
    got = made.generate(requests)
    assert [(r.id, r.status) for r in got] == [("fr", "unsupported"), ("en", "ok")]
    assert got[0].detail == "the recogniser does not know the language of the clip, 'fr'"


def test_a_clip_that_whisper_cannot_take_is_unsupported_in_its_place(folders: dict[str, Path]) -> None:
    asr = Asr(spec("asr"), folders, "cpu")
    requests = [Request("long", "", audio=sound(30.5)), Request("fits", "", audio=sound(0.01)), Request("none", "")]
    assert [(r.id, r.status, r.detail) for r in asr.generate(requests)] == [
        ("long", "unsupported", "audio is 30.5 s; this model takes at most 30 s"),
        ("fits", "ok", ""),
        ("none", "unsupported", "this sample has no audio"),
    ]


def test_clips_that_were_heard_in_this_run_are_not_transcribed_again(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asr = Asr(spec("asr"), folders, "cpu")
    with ENCODED.keeping(tmp_path):
        first = asr.generate(asked())
        monkeypatch.setattr(Whisper, "transcribe", None)
        again = asr.generate(asked())
    assert [r.text for r in again] == [r.text for r in first]
    assert [set(r.seconds) for r in again] == [{"reuse"}] * len(SECONDS)


def test_a_task_that_is_not_transcription_is_told_before_anything_is_asked(
    tmp_path: Path,
) -> None:
    done = call(tmp_path, "run", "-m", "whisper", "-t", "covost2-all", "--dry-run")
    assert done.returncode == 0
    assert (
        "whisper has no language model: it writes what is said, and cannot translate, answer or classify. The prompts of "
        "covost2-de, covost2-zh-CN, covost2-ja do not reach it." in " ".join(done.stderr.split())
    )
    assert "no language model" not in call(tmp_path, "run", "-m", "cascade", "-t", "covost2", "--dry-run").stderr


@pytest.mark.parametrize(
    ("edition", "weights", "dtype"), [("mini", "whisper-base", "bfloat16"), ("nano", "whisper-tiny.en", "float32")]
)
def test_whisper_ships_with_the_recognisers_of_the_cascade(edition: str, weights: str, dtype: str) -> None:
    model, cascade = (Catalog().model(name, edition) for name in ("whisper", "cascade"))  # type: ignore[arg-type]
    assert (model.adapter, model.runtime.dtype, set(model.weights)) == ("asr", dtype, {"asr"})
    assert model.weights["asr"].name == weights
    assert model.weights["asr"] == cascade.weights["asr"]


def test_a_run_of_it_has_a_word_error_rate(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    store(folders["asr"], tmp_path, "toy-asr")
    (tmp_path / "toy.yaml").write_text(
        "name: toy\nadapter: asr\ndescription: d\nweights: {asr: toy-asr}\nruntime: {dtype: float32}\n"
    )
    for k, seconds in enumerate(SECONDS):
        soundfile.write(f"{k}.wav", sound(seconds, k).samples, 16_000, subtype="FLOAT")
    rows = [{"audio": f"{k}.wav", "text": "one two three"} for k in range(len(SECONDS))]
    task = db.Task.from_rows(
        rows, name="speech", prompt="Write what is said.", reference="text", scorers={"wer": {"of": ["text", "heard"]}}
    )
    [run] = db.run("toy", [task], paths=[tmp_path])
    texts = [r.text for r in Asr(spec("asr"), folders, "cpu").generate(asked())]
    assert list(run.to_pandas()["answer"]) == texts
    assert run.summary.metrics["wer"].score.value == run.summary.metrics["wer_heard"].score.value > 0
    stored = [json.loads(line) for line in (run.path / "responses.jsonl").read_text().splitlines()]
    assert sorted((row["text"], row["heard"]) for row in stored) == sorted(zip(texts, texts, strict=True))
