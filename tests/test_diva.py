"""DiVA: losses against plain loops, masks, gradients, storage, and the adapter at any batch size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import make_llm, make_whisper
from torch import Tensor

from diva_bench.adapters.diva import Diva
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.whisper import Whisper
from diva_bench.diva import checkpoint, losses
from diva_bench.diva.config import ConnectorConfig
from diva_bench.diva.model import Connector, from_whisper
from diva_bench.errors import AssetError
from diva_bench.specs import ModelSpec, Runtime
from diva_bench.types import Audio, Request

CONFIG = ConnectorConfig(width=16, heads=2, layers=2, ffn=32, queries=6, llm_width=10)


@pytest.fixture
def connector() -> Connector:
    torch.manual_seed(0)
    return Connector(CONFIG).eval()


def ragged(lengths: tuple[int, ...], width: int) -> list[Tensor]:
    return [torch.randn(n, width) for n in lengths]


def test_alignment_is_the_mean_distance_of_the_last_n_tokens() -> None:
    torch.manual_seed(1)
    virtual, targets = torch.randn(3, 6, 10), ragged((1, 6, 4), 10)
    total, count = 0.0, 0
    for b, target in enumerate(targets):
        for n in range(len(target)):
            difference = [float(x) - float(y) for x, y in zip(virtual[b, 6 - len(target) + n], target[n], strict=True)]
            total += math.sqrt(sum(d * d for d in difference))
            count += 1
    assert float(losses.token_alignment(virtual, targets)) == pytest.approx(total / count, rel=1e-6)


def test_alignment_leaves_the_first_virtual_tokens_free() -> None:
    virtual = torch.randn(2, 6, 10, requires_grad=True)
    losses.token_alignment(virtual, ragged((2, 3), 10)).backward()
    assert virtual.grad is not None
    used = virtual.grad.abs().sum(-1) > 0
    assert used.tolist() == [[False] * 4 + [True] * 2, [False] * 3 + [True] * 3]


def test_distillation_is_the_norm_and_not_its_square() -> None:
    student = torch.zeros(2, 4)
    teacher = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert float(losses.output_distillation(student, teacher)) == pytest.approx((5.0 + 1.0) / 2)


def test_nearest_token_counts_only_the_transcripts_own_token() -> None:
    embeddings = torch.eye(5)
    virtual = torch.zeros(1, 4, 5)
    virtual[0, 2, 3] = virtual[0, 3, 1] = 0.9
    assert losses.nearest_token_hits(virtual, [torch.tensor([3, 2])], embeddings) == (1, 2)


def test_a_row_does_not_depend_on_what_it_is_padded_with(connector: Connector) -> None:
    torch.manual_seed(2)
    states = torch.randn(2, 9, 16)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 5:] = False
    both = connector(states, mask)
    alone = connector(states[1:, :5], mask[1:, :5])
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-5)
    other = states.clone()
    other[1, 5:] = 100.0
    torch.testing.assert_close(connector(other, mask), both)


def test_queries_are_causal(connector: Connector) -> None:
    states, mask = torch.randn(1, 7, 16), torch.ones(1, 7, dtype=torch.bool)
    before = connector(states, mask)
    with torch.no_grad():
        connector.query_tokens[3] += torch.randn(16)  # a constant would be taken out by the LayerNorms
    after = connector(states, mask)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert (after[:, 3:] - before[:, 3:]).abs().amax(-1).min() > 1e-4


def test_a_stored_connector_comes_back_within_half_a_step(connector: Connector, tmp_path: Path) -> None:
    checkpoint.save(connector, tmp_path, {"whisper": "w", "llm": "l"}, {"steps": 1})
    back = checkpoint.load(tmp_path)
    assert back.config == CONFIG
    stored = back.state_dict()
    for name, value in connector.state_dict().items():
        if value.ndim == 2 and name != "query_tokens":
            bound = value.abs().amax(1, keepdim=True) / 127 * 0.5 + 1e-6
        else:
            bound = value.abs() * 2**-10 + 1e-6
        assert bool(((stored[name] - value).abs() <= bound).all()), name
    assert not any(p.requires_grad for p in back.parameters())


def test_tiny_rows_survive_storage(connector: Connector, tmp_path: Path) -> None:
    with torch.no_grad():
        connector.projection.weight.mul_(1e-3)  # a projection into small embeddings has weights like these
    checkpoint.save(connector, tmp_path, {}, {})
    back, own = checkpoint.load(tmp_path).projection.weight, connector.projection.weight.detach()
    assert float((back - own).norm() / own.norm()) < 0.01


@pytest.mark.parametrize("file", ["connector.safetensors", "config.json"])
def test_a_damaged_folder_is_named(connector: Connector, tmp_path: Path, file: str) -> None:
    checkpoint.save(connector, tmp_path, {}, {})
    (tmp_path / file).write_bytes(b"{")
    with pytest.raises(AssetError, match="not a connector that can be loaded"):
        checkpoint.load(tmp_path)


# ---------------------------------------------------------------- the adapter

QUERIES = 6


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Whisper, an LLM and a connector between them, all of them small and random."""
    place = tmp_path_factory.mktemp("weights")
    paths = {"llm": make_llm(place / "llm"), "encoder": make_whisper(place / "encoder"), "connector": place / "diva"}
    whisper, llm = Whisper.load(paths["encoder"]), LLM.load(paths["llm"])
    torch.manual_seed(0)
    connector = from_whisper(whisper, QUERIES, 2, llm.embeddings.shape[1])
    with torch.no_grad():
        connector.query_tokens.normal_(0, 1)  # so that two clips are told apart
    about = {
        part: {"weights": part, "fingerprint": checkpoint.fingerprint(given)}
        for part, given in (("encoder", whisper), ("llm", llm.embeddings))
    }
    checkpoint.save(connector, paths["connector"], about, {})
    return paths


def diva(folders: dict[str, Path]) -> Diva:
    made = ModelSpec(
        name="toy", edition=None, adapter="diva", description="", citation="", licence="", args={}, weights={},
        runtime=Runtime(dtype="float32"), training=None,
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


def test_the_adapter_asks_with_the_connectors_virtual_tokens_and_no_other_content(folders: dict[str, Path]) -> None:
    adapter = diva(folders)
    request = ask("a", 0.7)
    assert request.audio is not None
    states, mask = adapter._encoder.encode([request.audio.samples])
    virtual = adapter._connector(states, mask)[0]
    before, after = adapter._llm.frame("Answer.", None)
    whole = torch.cat([adapter._llm.embed(before), virtual, adapter._llm.embed(after)])
    wanted = adapter._llm.generate(adapter._llm.prefill([whole]), 8, 0.0, [0])
    [response] = adapter.generate([request])
    assert response.text == adapter._llm.text(wanted[0])
    assert response.tokens["virtual"] == QUERIES


def test_clips_it_cannot_hear_are_unsupported_in_their_place_and_tiny_ones_are_asked(folders: dict[str, Path]) -> None:
    asked = [ask("long", 612.0), ask("fits", 0.01), Request("none", "Answer."), ask("also", 1.0)]
    assert [(r.id, r.status, r.detail) for r in diva(folders).generate(asked)] == [
        ("long", "unsupported", "audio is 612.0 s, this model hears 30 s"),
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
