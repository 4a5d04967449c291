"""`diva-bench probe`: which clips, what is measured of them, what is compared with what; with models of a few kilobytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from training_tools import TIME, make_place, parquet, prepared, wav

from diva_bench import disk
from diva_bench.catalog import Catalog
from diva_bench.cli.connector_eval import connector_eval_command
from diva_bench.errors import AssetError, DataError, UserError
from diva_bench.evaluation.jobs import Settings
from diva_bench.training import connector_eval, evaluate, export, train
from diva_bench.training.data import audio_key
from diva_bench.types import Response, Sample, Silent

TEXTS = [f"text {k}" for k in range(10)]


def weights(folder: Path, name: str, target: Path) -> None:
    files = [
        {"path": f.name, "sha256": disk.sha256(f), "bytes": f.stat().st_size, "sources": [{"file": str(f)}]}
        for f in sorted(folder.iterdir())
        if f.is_file() and f.name != "training.json"
    ]
    spec = {"name": name, "format": "safetensors", "description": name, "licence": "none", "files": files}
    (target / f"{name}.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")


def model(target: Path, name: str, adapter: str, **roles: str) -> None:
    edition = {"weights": roles, "runtime": {"dtype": "float32", "device": "cpu"}}
    spec = {"name": name, "adapter": adapter, "description": name, "editions": {"nano": edition}}
    (target / f"{name}.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of YAML: an oracle, a cascade, and DiVA with two connectors, the second with fewer queries."""
    place = make_place(tmp_path_factory.mktemp("probe"))
    target = place / "specs"
    target.mkdir()
    weights(place / "whisper", "w", target)
    weights(place / "llm", "l", target)
    settings = {"wide": {}, "narrow": {"max_queries": 6}, "first": {"aligned": "first", "shift": 2}, "time": TIME}
    for name, changes in settings.items():
        run = prepared(place, place / name, cache=place / "cache", **changes)
        train.train(run, Silent())
        weights(place / name / "export", f"c-{name}", target)
        model(target, f"diva-{name}-toy", "diva", encoder="w", llm="l", connector=f"c-{name}")
    model(target, "oracle-toy", "oracle", llm="l")
    model(target, "cascade-toy", "cascade", asr="w", llm="l")
    return target


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Ten clips; the last has no sound in it, and one of the texts has seven tokens (a byte is a token)."""
    rows = [(wav(0.3 + 0.05 * k, seed=100 + k), text) for k, text in enumerate(TEXTS[:-1])]
    rows[3] = (rows[3][0], "text 33")
    return parquet(tmp_path / "held.parquet", [*rows, (wav(0.4, level=0.0), TEXTS[-1])])


def asked(specs: Path, clips: Path, target: Path, *models: str, repeat: bool = True, **options: Any) -> dict[str, Any]:
    settings = Settings(edition="nano", **options)
    assert connector_eval_command(models, [str(clips)], settings, repeat, target, "md", [specs]) == 0
    return dict(json.loads(target.read_text(encoding="utf-8")))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))


def test_every_model_repeats_the_same_clips_and_a_connector_is_measured(
    specs: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(specs, clips, tmp_path / "p.json", "oracle-toy", "cascade-toy", "diva-wide-toy")
    assert found["clips"] == 9
    assert found["skipped"] == {"silent": 1}
    assert {name: set(part) & {"wer", "tokens"} for name, part in found["models"].items()} == {
        "oracle-toy": {"wer"},
        "cascade-toy": {"wer"},
        "diva-wide-toy": {"wer", "tokens"},
    }
    assert {part["wer"]["all"]["wer"]["n"] for part in found["models"].values()} == {9}
    scores = found["models"]["diva-wide-toy"]["tokens"]["all"]
    assert scores.keys() == {"nearest", "align", "distill", "kl", "first_token"}
    assert all(s["low"] <= s["value"] <= s["high"] and s["n"] == 9 for s in scores.values())
    assert "a connector with the same output for every clip: first token" in capsys.readouterr().out


def test_a_connector_aligned_by_ctc_is_measured_by_what_its_clips_read_as(
    specs: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(specs, clips, tmp_path / "p.json", "diva-wide-toy", "diva-time-toy", repeat=False)
    scores = found["models"]["diva-time-toy"]["tokens"]["all"]
    assert scores.keys() >= {"nearest", "read_wer", "align", "distill", "kl", "first_token"}
    assert all(s["n"] == 9 for s in scores.values())
    shown = capsys.readouterr().out
    assert "read wer" in shown
    assert "difference to diva-wide-toy, paired by clip" in shown


def test_connectors_are_compared_over_the_clips_that_both_can_take(
    specs: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(specs, clips, tmp_path / "p.json", "diva-wide-toy", "diva-narrow-toy", repeat=False)
    wide, narrow = (found["models"][f"diva-{name}-toy"] for name in ("wide", "narrow"))
    assert "wer" not in wide
    assert "differences" not in wide
    assert narrow["skipped"] == {"over 6 tokens": 1, "silent": 1}
    assert narrow["differences"]["nearest"]["n"] == narrow["tokens"]["all"]["nearest"]["n"] == 8
    assert "difference to diva-wide-toy, paired by clip" in capsys.readouterr().out


@pytest.mark.parametrize("limit", [None, 1])
def test_where_no_transcript_fits_the_words_are_still_repeated_and_it_is_said(
    limit: int | None, specs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(wav(0.4, seed=1), "a text of more than six tokens")]
    rows += [(wav(0.5, seed=2), "text 1")] if limit else []  # one that fits, and is not asked about
    data, target = parquet(tmp_path / "long.parquet", rows), tmp_path / "p.json"
    found = asked(specs, data, target, "diva-narrow-toy", "diva-wide-toy", limit=limit)
    narrow = found["models"]["diva-narrow-toy"]
    assert (narrow["tokens"], narrow["wer"]["all"]["wer"]["n"]) == ({}, 1)
    assert "diva-narrow-toy: none of the 1 transcripts fits its virtual tokens" in capsys.readouterr().err.replace(
        "\n", " "
    )
    settings = Settings(edition="nano", limit=limit)
    assert connector_eval_command(["diva-narrow-toy"], [str(data)], settings, False, None, "md", [specs]) == 1


def test_a_connector_that_is_replaced_while_others_are_probed_is_refused_when_its_turn_comes(
    specs: Path, tmp_path: Path
) -> None:
    """Its words would be measured with one connector and its tokens with another, under one name."""
    mine = tmp_path / "mine"
    shutil.copytree(specs, mine)
    shutil.copytree(specs.parent / "wide" / "export", tmp_path / "connector")
    weights(tmp_path / "connector", "c-wide", mine)
    catalog = Catalog([mine])
    model = catalog.model("diva-wide-toy", "nano")
    catalog.load(model, Silent()).close()
    shutil.copy(specs.parent / "first" / "export" / "connector.safetensors", tmp_path / "connector")
    with pytest.raises(AssetError, match=r"c-wide.*connector\.safetensors"):
        catalog.load(model, Silent())


def test_a_limit_takes_the_same_clips_for_every_model(specs: Path, clips: Path, tmp_path: Path) -> None:
    found = asked(specs, clips, tmp_path / "p.json", "diva-wide-toy", "diva-narrow-toy", limit=5)
    wide, narrow = (found["models"][f"diva-{name}-toy"] for name in ("wide", "narrow"))
    assert found["clips"] == wide["wer"]["all"]["wer"]["n"] == wide["tokens"]["all"]["kl"]["n"] == 5
    assert narrow["tokens"]["all"]["kl"]["n"] == 4  # the fourth clip has too many tokens for it


def test_a_connector_is_measured_against_what_it_was_aligned_with(specs: Path, clips: Path, tmp_path: Path) -> None:
    place = specs.parent
    about = json.loads((place / "first" / "export" / "config.json").read_text(encoding="utf-8"))
    assert about["alignment"] == {"aligned": "first", "shift": 2}
    found = asked(specs, clips, tmp_path / "p.json", "diva-first-toy", repeat=False)
    settings = {"aligned": "first", "shift": 2, "held_out": 1}
    run = prepared(place, tmp_path / "out", given=clips, **settings)
    stored = export.checkpoint.load(place / "first" / "export")
    wanted = evaluate.reduce(evaluate.stats.totals(evaluate.clip_rows(run, stored, run.clips.dev)))
    scores = found["models"]["diva-first-toy"]["tokens"]["all"]
    assert scores["align"]["value"] == pytest.approx(float(wanted["align"]), rel=1e-4)
    assert scores["nearest"]["value"] == pytest.approx(float(wanted["nearest"]), abs=1e-3)


def test_differences_are_joined_by_clip_and_not_by_place() -> None:
    def heard(names: str) -> list[connector_eval.EvalClip]:
        return [connector_eval.EvalClip(Sample(n, (n,), n), "s") for n in names]

    def reduce(totals: Any) -> Any:
        return {"score": evaluate.stats.ratio(totals["x"], totals["n"])}

    values = dict(zip("abcdef", np.arange(6.0), strict=True))
    rows = {names: [{"x": values[n], "n": 1.0} for n in names] for names in ("abcdef", "fedc")}
    ours, base = ((rows[names], heard(names)) for names in ("fedc", "abcdef"))
    found = connector_eval.differences(ours, base, reduce)
    assert found["score"]["value"] == 0.0
    assert found["score"]["n"] == 4


class Failing:
    """Answers the first clip of a batch and fails at the rest."""

    accepts = frozenset({"audio"})
    version = "1"

    def generate(self, requests: Any) -> list[Response]:
        return [
            Response(r.id, text="text 0") if k == 0 else Response(r.id, status="error", detail="no")
            for k, r in enumerate(requests)
        ]

    def close(self) -> None:
        pass


def test_what_failed_is_counted_and_is_no_answer(clips: Path) -> None:
    heard, _ = connector_eval.clips([str(clips)], 30.0)
    rows, failed = connector_eval.repeat(Failing(), connector_eval.scorer(), heard, Silent(), "failing")
    assert failed == len(heard) - 1
    assert [bool(row) for row in rows].count(True) == 1
    assert connector_eval.estimates(rows, heard, connector_eval.scorer().reduce)["all"]["wer"]["n"] == 1


def test_a_clip_is_known_by_its_sound(clips: Path) -> None:
    heard, _ = connector_eval.clips([str(clips)], 30.0)
    assert heard[0].sample.id == audio_key(wav(0.3, seed=100))
    assert len({h.sample.id for h in heard}) == 9


def test_what_cannot_be_probed_is_refused(specs: Path, tmp_path: Path) -> None:
    silent = parquet(tmp_path / "silent.parquet", [(wav(0.4, level=0.0), "words")])
    with pytest.raises(DataError, match=r"no clip that can be used; skipped: \{'silent': 1\}"):
        connector_eval.clips([str(silent)], 30.0)
    settings = Settings(edition="nano", dtype="float16")
    with pytest.raises(UserError, match="bfloat16 or float32, as training does"):
        connector_eval_command(["oracle-toy"], [str(silent)], settings, True, None, "md", [specs])


def test_clips_are_broken_down_by_source_and_by_the_words_of_their_texts_where_these_differ() -> None:
    def heard(words: int, source: str) -> connector_eval.EvalClip:
        text = " ".join(["word"] * words)
        return connector_eval.EvalClip(Sample(f"{source} {words}", (text,), text), source)

    def hits(totals: Any) -> Any:
        return {"nearest": 100 * totals["hits"] / totals["tokens"]}

    lengths = [17, 8, 9, 12, 13, 16, 8, 40]
    clips = [heard(n, "b" if k < 4 else "a") for k, n in enumerate(lengths)]
    rows: list[Any] = [{"hits": float(n < 10), "tokens": 1.0} for n in lengths]
    found = connector_eval.estimates(rows, clips, hits)
    seen = {name: (part["nearest"]["n"], part["nearest"]["value"]) for name, part in found.items()}
    assert list(seen.items()) == [
        ("all", (8, 37.5)), ("b", (4, 50.0)), ("a", (4, 25.0)), ("1 to 8 words", (2, 100.0)),
        ("9 to 12 words", (2, 50.0)), ("13 to 16 words", (2, 0.0)), ("17 words and more", (2, 0.0)),
    ]  # fmt: skip
    assert list(connector_eval.estimates(rows[1:2], clips[1:2], hits)) == ["all"]
    assert "1 to 8 words" not in connector_eval.estimates([rows[0], {}], clips[:2], hits)  # asking that one failed
