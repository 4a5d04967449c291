"""The DiVA adapter: any batch size, what it asks with, what it refuses, and what a connector says about itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import make_llm, make_whisper
from torch import Tensor

from diva_bench.adapters.diva import Diva
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.whisper import Whisper
from diva_bench.diva import checkpoint
from diva_bench.diva.config import ConnectorConfig
from diva_bench.diva.model import AnyConnector, StackedFrames, build, from_whisper
from diva_bench.errors import AssetError
from diva_bench.specs import ModelSpec, Runtime
from diva_bench.types import Audio, Request

QUERIES = 6
SIZE = ConnectorConfig(width=16, heads=2, layers=2, ffn=32, max_queries=QUERIES, llm_width=32)
MLP = ConnectorConfig(kind="mlp", width=16, heads=0, layers=0, ffn=32, max_queries=QUERIES, llm_width=32, stack=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Whisper, an LLM and a connector between them, all of them small and random."""
    place = tmp_path_factory.mktemp("weights")
    paths = {"llm": make_llm(place / "llm"), "encoder": make_whisper(place / "encoder"), "connector": place / "diva"}
    whisper, llm = Whisper.load(paths["encoder"]), LLM.load(paths["llm"])
    torch.manual_seed(0)
    connector = from_whisper(whisper, SIZE)
    with torch.no_grad():
        connector.query_tokens.normal_(0, 1)  # so that two clips are told apart
    checkpoint.save(connector, paths["connector"], about(whisper, llm), {})
    return paths


def about(whisper: Whisper, llm: LLM, **encoder: str) -> dict[str, dict[str, str]]:
    found = {
        part: {"weights": part, "fingerprint": checkpoint.fingerprint(given)}
        for part, given in (("encoder", whisper), ("llm", llm.embeddings))
    }
    return {"encoder": found["encoder"] | encoder, "llm": found["llm"]}


def diva(folders: dict[str, Path], batch_seconds: float = 60.0) -> Diva:
    made = ModelSpec(
        name="toy", edition=None, adapter="diva", description="", citation="", licence="", args={}, weights={},
        runtime=Runtime(dtype="float32", batch_seconds=batch_seconds), training=None,
    )  # fmt: skip
    return Diva(made, folders, "cpu")


def ask(name: str, seconds: float, choices: tuple[str, ...] | None = None) -> Request:
    rng = np.random.default_rng(len(name) + int(100 * seconds))
    wave = (0.1 * rng.standard_normal(round(seconds * 16_000))).astype(np.float32)
    return Request(name, "Answer.", audio=Audio(wave, 16_000), choices=choices, max_new_tokens=8)


@pytest.mark.parametrize("rows", [1, 4])
def test_answers_and_label_scores_in_float32_do_not_depend_on_the_batch(folders: dict[str, Path], rows: int) -> None:
    adapter = diva(folders)
    asked = [ask(str(k), 0.2 + 0.4 * k, ("happy", "happiness")) for k in range(16)]
    together = adapter.generate(asked)
    apart = [r for k in range(0, 16, rows) for r in adapter.generate(asked[k : k + rows])]
    assert [r.text for r in apart] == [r.text for r in together]
    assert len({r.text for r in together}) > 1  # or the test could not fail
    for one, other in zip(apart, together, strict=True):
        assert one.choices is not None
        assert other.choices is not None
        assert all(one.choices[c].total == pytest.approx(other.choices[c].total, abs=1e-4) for c in one.choices)


def test_the_encoder_reads_at_most_its_budget_at_once_and_no_answer_depends_on_it(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [ask(str(k), 0.2 + 0.4 * k) for k in range(8)]  # 3 s the longest; a row counts a second at least
    whole = [r.text for r in diva(folders).generate(questions)]
    read: list[list[float]] = []
    encode = Whisper.encode

    def noted(self: Whisper, waves: Sequence[np.ndarray], full: bool = False) -> tuple[Tensor, Tensor]:
        read.append([len(wave) / 16_000 for wave in waves])
        return encode(self, waves, full)

    monkeypatch.setattr(Whisper, "encode", noted)
    assert [r.text for r in diva(folders, batch_seconds=6.0).generate(questions)] == whole
    assert all(len(part) * max(1.0, *part) <= 6.0 for part in read)
    assert sum(map(len, read)) == 8
    assert len(read) == 3


def test_the_adapter_asks_with_the_connectors_virtual_tokens_and_no_other_content(folders: dict[str, Path]) -> None:
    adapter = diva(folders)
    request = ask("a", 0.7)
    assert request.audio is not None
    states, mask = adapter._encoder.encode([request.audio.samples])
    virtual = adapter._connector(states, mask)[0][0]
    before, after = adapter._llm.frame("Answer.", None)
    whole = torch.cat([adapter._llm.embed(before), virtual, adapter._llm.embed(after)])
    wanted = adapter._llm.generate(adapter._llm.prefill([whole]), 8, 0.0, [0])
    [response] = adapter.generate([request])
    assert response.text == adapter._llm.text(wanted[0])
    assert response.tokens["virtual"] == QUERIES


def test_clips_it_cannot_hear_are_unsupported_in_their_place_and_tiny_ones_are_asked(folders: dict[str, Path]) -> None:
    asked = [ask("long", 612.0), ask("fits", 0.01), Request("none", "Answer."), ask("also", 1.0)]
    assert [(r.id, r.status, r.detail) for r in diva(folders).generate(asked)] == [
        ("long", "unsupported", "audio is 612.0 s; this model takes at most 30 s"),
        ("fits", "ok", ""),
        ("none", "unsupported", "this sample has no audio"),
        ("also", "ok", ""),
    ]


@pytest.mark.parametrize("part", ["encoder", "llm"])
def test_a_connector_between_other_models_is_refused(folders: dict[str, Path], tmp_path: Path, part: str) -> None:
    other = (make_whisper if part == "encoder" else make_llm)(tmp_path / "other", seed=1)
    with pytest.raises(
        AssetError, match=rf"trained with {part} {part} \([0-9a-f]{{16}}\), but is given another .*YAML"
    ):
        diva({**folders, part: other})


def test_a_connector_that_does_not_say_what_it_was_trained_with_is_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    checkpoint.save(checkpoint.load(folders["connector"]), tmp_path, {}, {})
    with pytest.raises(AssetError, match="does not say what it was trained with"):
        diva({**folders, "connector": tmp_path})


def test_a_fingerprint_is_the_same_in_every_number_format(folders: dict[str, Path]) -> None:
    prints = {checkpoint.fingerprint(Whisper.load(folders["encoder"], dtype=d)) for d in ("float32", "bfloat16")}
    assert len(prints) == 1


# ---------------------------------------------------------------- 30 s, trained encoders, parts in memory


def seen(adapter: Diva, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes (B, T, D) of the states that the connector is given from now on."""
    found: list[tuple[int, ...]] = []
    forward = adapter._connector.forward

    def looked(states: Tensor, mask: Tensor) -> Tensor:
        found.append((*states.shape, int(mask.sum())))
        out: Tensor = forward(states, mask)
        return out

    monkeypatch.setattr(adapter._connector, "forward", looked)
    return found


@pytest.mark.parametrize(
    ("said", "positions", "real"),
    [
        ({"window": "30 s"}, 1500, 3000),
        ({"window": "the clip's own length"}, 40, 40 + 20),
        ({}, 40, 40 + 20),  # connectors from before there was a choice
    ],
)
def test_the_encoder_sees_30_seconds_where_the_connector_was_trained_so(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, str], positions: int,
    real: int,
) -> None:  # fmt: skip
    parts = Whisper.load(folders["encoder"]), LLM.load(folders["llm"])
    checkpoint.save(checkpoint.load(folders["connector"]), tmp_path, about(*parts, **said), {})
    adapter = diva({**folders, "connector": tmp_path})
    shapes = seen(adapter, monkeypatch)
    assert [r.status for r in adapter.generate([ask("a", 0.8), ask("b", 0.4)])] == ["ok", "ok"]
    assert shapes == [(2, positions, 16, real)]


def test_a_trained_encoder_beside_the_connector_is_the_one_that_hears(folders: dict[str, Path], tmp_path: Path) -> None:
    """The fingerprint is of what it was trained from; its weights come after that was checked."""
    parts = Whisper.load(folders["encoder"]), LLM.load(folders["llm"])
    checkpoint.save(checkpoint.load(folders["connector"]), tmp_path, about(*parts), {})
    other = Whisper.load(make_whisper(tmp_path / "other", seed=1))
    checkpoint.save_encoder(other.encoder, tmp_path)
    adapter = diva({**folders, "connector": tmp_path})
    assert torch.equal(adapter._encoder.encoder.conv1.weight, other.encoder.conv1.weight.half().float())
    requests = [ask(str(k), 0.5 + 0.1 * k) for k in range(8)]
    changed, plain = ([r.text for r in made.generate(requests)] for made in (adapter, diva(folders)))
    assert changed != plain


def connectors() -> list[AnyConnector]:
    torch.manual_seed(3)
    return [build(SIZE).eval(), build(MLP).eval()]


@pytest.mark.parametrize("kind", [0, 1], ids=["qformer", "mlp"])
@pytest.mark.parametrize("full", [False, True])
def test_parts_in_memory_answer_as_the_stored_ones_do(
    folders: dict[str, Path], tmp_path: Path, kind: int, full: bool
) -> None:
    whisper, llm = Whisper.load(folders["encoder"]), LLM.load(folders["llm"])
    window = {"window": "30 s"} if full else {}
    checkpoint.save(connectors()[kind], tmp_path, about(whisper, llm, **window), {})
    stored = checkpoint.load(tmp_path)
    assert isinstance(stored, StackedFrames) == (kind == 1)
    requests = [ask(str(k), 0.3 + 0.2 * k, ("happy", "sad")) for k in range(4)]
    ours = Diva.of(whisper, llm, stored, full=full).generate(requests)
    theirs = diva({**folders, "connector": tmp_path}).generate(requests)
    assert [(r.text, r.choices) for r in ours] == [(r.text, r.choices) for r in theirs]


def test_parts_in_memory_are_asked_anew_when_they_have_changed(folders: dict[str, Path]) -> None:
    """Nothing is remembered of an encoder that may have been trained in between."""
    whisper, llm = Whisper.load(folders["encoder"]), LLM.load(folders["llm"])
    adapter = Diva.of(whisper, llm, checkpoint.load(folders["connector"]), full=False)
    requests = [ask(str(k), 0.5, ("happy", "sad")) for k in range(3)]
    before = [r.choices for r in adapter.generate(requests)]
    with torch.no_grad():
        whisper.encoder.layer_norm.weight.mul_(-1)
    assert [r.choices for r in adapter.generate(requests)] != before


def test_a_connector_of_other_widths_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    parts = Whisper.load(folders["encoder"]), LLM.load(folders["llm"])
    wide = ConnectorConfig(width=16, heads=2, layers=1, ffn=32, max_queries=2, llm_width=20)
    checkpoint.save(build(wide), tmp_path, about(*parts), {})
    with pytest.raises(AssetError, match="made for widths 16 and 20, but the encoder has 16 and the LLM 32"):
        diva({**folders, "connector": tmp_path})


def test_config_json_says_what_the_connector_is(folders: dict[str, Path]) -> None:
    held = json.loads((folders["connector"] / "config.json").read_text(encoding="utf-8"))
    assert held["connector"] == {
        "kind": "qformer", "width": 16, "heads": 2, "layers": 2, "ffn": 32, "max_queries": 6, "llm_width": 32, "stack": 1,
        "queries": "learned", "stride": 6, "causal": True, "locality": None, "alignment": "l2", "readout": "raw",
    }  # fmt: skip
