"""The connector's two kinds: padding, causality, resampling, how each starts, and how each is stored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import make_llm, make_whisper
from torch import Tensor
from training_tools import config

from diva_bench.decoding.llm import LLM
from diva_bench.decoding.whisper import Whisper
from diva_bench.diva import checkpoint, model
from diva_bench.diva.config import ConnectorConfig
from diva_bench.diva.model import AnyConnector, Connector, StackedFrames, build, from_whisper, resampled, sized
from diva_bench.errors import AssetError

QFORMER = ConnectorConfig(width=16, heads=2, layers=2, ffn=32, max_queries=6, llm_width=10)
MLP = ConnectorConfig(kind="mlp", width=16, heads=0, layers=0, ffn=24, max_queries=6, llm_width=10, stack=3)
KINDS = [pytest.param(QFORMER, id="qformer"), pytest.param(MLP, id="mlp")]
NANO = Path(__file__).parents[1] / "models" / "diva-nano"


def made(size: ConnectorConfig) -> AnyConnector:
    torch.manual_seed(0)
    return build(size).eval()


def heard(*lengths: int, padded: float = 0.0) -> tuple[Tensor, Tensor]:
    """States (B, T, 16) and mask of clips of so many positions."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    states = torch.randn(len(lengths), max(lengths), 16, generator=torch.Generator().manual_seed(2))
    return torch.where(mask[..., None], states, torch.tensor(padded)), mask


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    return Whisper.load(make_whisper(tmp_path_factory.mktemp("whisper")))


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return LLM.load(make_llm(tmp_path_factory.mktemp("llm")))


TIME = replace(QFORMER, queries="time", max_queries=300, stride=5, locality=4.0, alignment="ctc")
BOTH_WAYS = replace(TIME, causal=False)
FRAMES = replace(MLP, queries="time", max_queries=300, stride=5, stack=1, alignment="ctc")


# ---------------------------------------------------------------- time queries


@pytest.mark.parametrize("size", [TIME, BOTH_WAYS, FRAMES])
@pytest.mark.parametrize(("length", "count"), [(1, 1), (5, 1), (6, 2), (100, 20), (1500, 300)])
def test_the_number_of_time_queries_follows_the_clip(size: ConnectorConfig, length: int, count: int) -> None:
    found, counts = made(size)(*heard(length))
    assert (found.shape, counts.tolist()) == ((1, count, 10), [count])
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("size", [TIME, BOTH_WAYS, FRAMES])
def test_a_row_of_time_queries_does_not_depend_on_what_it_is_padded_with(size: ConnectorConfig) -> None:
    connector = made(size)
    states, mask = heard(19, 8, 1)
    together, counts = connector(states, mask)
    assert counts.tolist() == [4, 2, 1]
    for b, length in enumerate((19, 8, 1)):
        alone, _ = connector(states[b : b + 1, :length], mask[b : b + 1, :length])
        torch.testing.assert_close(together[b : b + 1, : counts[b]], alone, atol=1e-5, rtol=1e-5)
    padded, _ = connector(*heard(19, 8, 1, padded=100.0))
    for b, count in enumerate(counts.tolist()):
        torch.testing.assert_close(padded[b, :count], together[b, :count])


@pytest.mark.parametrize("size", [TIME, BOTH_WAYS])
def test_time_queries_attend_to_earlier_ones_and_to_later_ones_only_where_they_are_not_causal(
    size: ConnectorConfig,
) -> None:
    connector = made(size)
    assert isinstance(connector, Connector)
    states, mask = heard(40)  # eight queries
    before, _ = connector(states, mask)
    with torch.no_grad():
        connector.embed_positions.weight[5] += torch.randn(16)
    moved = (connector(states, mask)[0] - before)[0].abs().amax(-1) > 1e-5
    assert moved.tolist() == [not size.causal] * 5 + [True] * 3


def test_a_stretch_starts_as_the_mean_of_its_frames() -> None:
    connector = made(TIME)
    assert isinstance(connector, Connector)
    frames = torch.randn(2, 5 * 16)
    wanted = 0.05 * frames.reshape(2, 5, 16).mean(1)
    torch.testing.assert_close(connector.stretch(frames), wanted, atol=1e-6, rtol=1e-5)


def test_the_locality_prior_is_a_capped_parabola_around_the_middle_of_a_stretch() -> None:
    found = model.locality_prior(3, 20, 5, 4.0, torch.device("cpu"))
    for q in range(3):
        for t in range(20):
            assert float(found[q, t]) == pytest.approx(-min(4.0, 0.5 * ((t - (5 * q + 2)) / 4.0) ** 2), abs=1e-6)


def test_what_decides_the_token_of_a_virtual_token_is_stored_exactly(tmp_path: Path) -> None:
    connector = made(TIME)
    assert connector.vocabulary is not None
    with torch.no_grad():
        connector.vocabulary.blank.normal_()
        connector.vocabulary.blank_bias.fill_(0.123456789)
        connector.vocabulary.sharpness.fill_(51.2345678)
    checkpoint.save(connector, tmp_path, {}, {})
    back = checkpoint.load(tmp_path)
    assert back.config == TIME
    for name, value in connector.state_dict().items():
        if name.startswith("vocabulary."):
            assert torch.equal(back.state_dict()[name], value), name


# ---------------------------------------------------------------- what they make of a clip


@pytest.mark.parametrize("size", KINDS)
@pytest.mark.parametrize("length", [1, 2, 17, 18, 19, 100, 1500])
def test_a_clip_of_any_length_becomes_the_same_number_of_virtual_tokens(size: ConnectorConfig, length: int) -> None:
    found, counts = made(size)(*heard(length))
    assert counts.tolist() == [6]
    assert found.shape == (1, 6, 10)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("size", KINDS)
def test_a_row_does_not_depend_on_what_it_is_padded_with(size: ConnectorConfig) -> None:
    connector = made(size)
    states, mask = heard(9, 5, 1)
    together = connector(states, mask)[0]
    for b, length in enumerate((9, 5, 1)):
        alone = connector(states[b : b + 1, :length], mask[b : b + 1, :length])[0]
        torch.testing.assert_close(together[b : b + 1], alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(connector(*heard(9, 5, 1, padded=100.0))[0], together)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_queries_are_causal() -> None:
    connector = made(QFORMER)
    states, mask = heard(7)
    before = connector(states, mask)[0]
    with torch.no_grad():
        connector.query_tokens[3] += torch.randn(16)  # a constant would be taken out by the LayerNorms
    after = connector(states, mask)[0]
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert (after[:, 3:] - before[:, 3:]).abs().amax(-1).min() > 1e-4


def test_an_mlp_token_hears_its_part_of_the_clip_and_nothing_else() -> None:
    connector = made(MLP)
    states, mask = heard(18 * 4)  # twelve positions for each of six tokens
    before = connector(states, mask)[0]
    states = states.clone()
    states[:, 24:36] += torch.randn(12, 16)
    changed = (connector(states, mask)[0] - before).abs().amax(-1)[0] > 1e-6
    assert changed.tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize("lengths", [(1,), (2,), (5, 12), (12, 1, 3), (40, 12)])
@pytest.mark.parametrize("count", [1, 4, 12])
def test_resampling_is_numpys_interpolation_at_the_middles_of_equal_parts(lengths: tuple[int, ...], count: int) -> None:
    states, mask = heard(*lengths, padded=1e6)  # what is padded must not leak in
    found = resampled(states, mask.sum(1), count)
    for b, length in enumerate(lengths):
        at = (np.arange(count) + 0.5) / count * length - 0.5
        for d in range(16):
            wanted = np.interp(at, np.arange(length), states[b, :length, d].double().numpy())
            np.testing.assert_allclose(found[b, :, d].numpy(), wanted, atol=1e-5)


# ---------------------------------------------------------------- how they start


def test_a_qformer_starts_as_whispers_decoder(whisper: Whisper) -> None:
    size = sized(config(), whisper, 10)
    own, decoder = from_whisper(whisper, size).state_dict(), whisper.decoder.state_dict()
    taken = [n for n in own if n.startswith(("layers.", "layer_norm."))]
    assert len(taken) == 2 * 26 + 2 - 2 * 2  # two blocks; keys have no bias
    assert all(torch.equal(own[n], decoder[n]) for n in taken)
    assert torch.equal(own["embed_positions.weight"], decoder["embed_positions.weight"][: size.max_queries])
    assert size == ConnectorConfig(width=16, heads=2, layers=2, ffn=32, max_queries=12, llm_width=10)


def test_fewer_layers_are_whispers_first_ones(whisper: Whisper) -> None:
    own = from_whisper(whisper, sized(config(layers=1), whisper, 10))
    assert len(own.layers) == 1
    assert torch.equal(own.layers[0].fc1.weight, whisper.decoder.blocks[0].fc1.weight)


def test_an_mlp_takes_its_sizes_from_whisper(whisper: Whisper) -> None:
    size = sized(config(connector="mlp", from_whisper=False, stack=3), whisper, 10)
    assert size == ConnectorConfig(
        kind="mlp", width=16, heads=0, layers=0, ffn=32, max_queries=12, llm_width=10, stack=3
    )
    assert isinstance(build(size), StackedFrames)
    assert isinstance(build(QFORMER), Connector)


@pytest.mark.parametrize("size", KINDS)
def test_from_scratch_virtual_tokens_start_around_the_mean_embedding(size: ConnectorConfig) -> None:
    connector = made(size)
    embeddings = 3 + 2 * torch.randn(400, 10, generator=torch.Generator().manual_seed(1))
    model.cold_projection(connector, embeddings)
    assert torch.equal(connector.projection.bias, embeddings.mean(0))
    virtual = connector(*heard(*range(10, 60)))[0].detach()
    spread = float((virtual - embeddings.mean(0)).square().mean().sqrt())
    assert spread == pytest.approx(float((embeddings - embeddings.mean(0)).square().mean().sqrt()), rel=0.3)


def test_a_warm_projection_maps_whispers_tokens_near_the_llms(whisper: Whisper, llm: LLM) -> None:
    connector = from_whisper(whisper, sized(config(), whisper, 32))
    ours, theirs = whisper.vocabulary(), llm.tokenizer.get_vocab()
    shared = sorted(ours.keys() & theirs.keys())
    assert model.warm_projection(connector, whisper, ours, theirs, llm_embeddings=llm.embeddings) == len(shared) == 256
    x = torch.nn.functional.normalize(whisper.decoder.embed_tokens.weight[[ours[t] for t in shared]], dim=1)
    x = x * whisper.decoder.layer_norm.weight.norm()
    y = llm.embeddings[[theirs[t] for t in shared]]
    projected = connector.projection(x).detach()
    assert float((projected - y).square().mean()) < float((y - y.mean(0)).square().mean())  # than one vector for all
    # what a regression with an intercept leaves has the mean 0
    torch.testing.assert_close(projected.mean(0), y.mean(0), atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- stored


@pytest.mark.parametrize("size", KINDS)
def test_a_stored_connector_comes_back_within_half_a_step(size: ConnectorConfig, tmp_path: Path) -> None:
    connector = made(size)
    checkpoint.save(connector, tmp_path, {"encoder": {}, "llm": {}}, {"steps": 1})
    back = checkpoint.load(tmp_path)
    assert back.config == size
    assert type(back) is type(connector)
    assert not back.training
    assert not any(p.requires_grad for p in back.parameters())
    stored = back.state_dict()
    for name, value in connector.state_dict().items():
        if value.ndim == 2 and name != "query_tokens":
            bound = value.abs().amax(1, keepdim=True) / 127 * 0.5 + 1e-6
        else:
            bound = value.abs() * 2**-10 + 1e-6
        assert bool(((stored[name] - value).abs() <= bound).all()), name
    own = connector(*heard(9, 4))[0].detach()
    assert 0 < float((back(*heard(9, 4))[0] - own).norm() / own.norm()) < 0.03


def test_tiny_rows_survive_storage(tmp_path: Path) -> None:
    connector = made(QFORMER)
    with torch.no_grad():
        connector.projection.weight.mul_(1e-3)  # a projection into small embeddings has weights like these
    checkpoint.save(connector, tmp_path, {}, {})
    back, own = checkpoint.load(tmp_path).projection.weight, connector.projection.weight.detach()
    assert float((back - own).norm() / own.norm()) < 0.01


@pytest.mark.parametrize("file", ["connector.safetensors", "config.json"])
def test_a_damaged_folder_is_named(tmp_path: Path, file: str) -> None:
    checkpoint.save(made(QFORMER), tmp_path, {}, {})
    (tmp_path / file).write_bytes(b"{")
    with pytest.raises(AssetError, match="not a connector that can be loaded"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("change", [{"kind": "mlp"}, {"max_queries": 7}, {"unknown": 1}])
def test_weights_that_do_not_fit_their_config_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    checkpoint.save(made(QFORMER), tmp_path, {}, {})
    held = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    held["connector"] |= change
    (tmp_path / "config.json").write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(AssetError, match="not a connector that can be loaded"):
        checkpoint.load(tmp_path)


FIRST_NANO = {"width": 384, "heads": 6, "layers": 4, "ffn": 1536, "queries": 32, "llm_width": 576}


def test_a_config_from_before_there_were_two_kinds_is_a_qformers() -> None:
    """models/diva-nano/config.json, as it was published first."""
    size = checkpoint.sizes(FIRST_NANO)
    assert (size.kind, size.stack) == ("qformer", 1)
    assert (size.queries, size.max_queries, size.alignment) == ("learned", 32, "l2")
    assert isinstance(build(size), Connector)


def test_the_published_nano_connector_loads() -> None:
    found = checkpoint.load(NANO)
    assert found(torch.randn(1, 9, 384), torch.ones(1, 9, dtype=torch.bool))[0].shape == (1, 32, 576)


def test_a_folder_from_before_there_were_two_kinds_loads(tmp_path: Path) -> None:
    connector = made(QFORMER)
    checkpoint.save(connector, tmp_path, {}, {})
    held = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    del held["connector"]["kind"], held["connector"]["stack"]
    (tmp_path / "config.json").write_text(json.dumps(held), encoding="utf-8")
    back = checkpoint.load(tmp_path)
    assert back.config == QFORMER
    torch.testing.assert_close(back(*heard(9))[0], connector(*heard(9))[0], atol=0.05, rtol=0.05)


# ---------------------------------------------------------------- a trained encoder


def test_a_trained_encoder_is_stored_in_half_precision_under_transformers_names(tmp_path: Path) -> None:
    trained = Whisper.load(make_whisper(tmp_path / "trained", seed=1))
    fresh = Whisper.load(make_whisper(tmp_path / "fresh"))
    decoder = {n: v.clone() for n, v in fresh.decoder.state_dict().items()}
    checkpoint.save_encoder(trained.encoder, tmp_path)
    stored = load_file(tmp_path / "encoder.safetensors")
    original = load_file(tmp_path / "trained" / "model.safetensors")
    assert stored.keys() == {n.removeprefix("model.encoder.") for n in original if n.startswith("model.encoder.")}
    assert {v.dtype for v in stored.values()} == {torch.float16}
    checkpoint.load_encoder(tmp_path, fresh)
    for name, value in fresh.encoder.state_dict().items():
        assert torch.equal(value, trained.encoder.state_dict()[name].half().float()), name
    assert all(torch.equal(decoder[n], v) for n, v in fresh.decoder.state_dict().items())


def test_without_a_trained_encoder_whisper_stays_as_it_is(tmp_path: Path) -> None:
    whisper = Whisper.load(make_whisper(tmp_path / "w"))
    before = checkpoint.fingerprint(whisper)
    checkpoint.load_encoder(tmp_path, whisper)
    assert checkpoint.fingerprint(whisper) == before


def test_an_encoder_of_another_whisper_or_a_torn_file_is_refused(tmp_path: Path) -> None:
    whisper = Whisper.load(make_whisper(tmp_path / "w"))
    checkpoint.save_encoder(torch.nn.Linear(2, 2), tmp_path)
    with pytest.raises(AssetError, match=r"encoder\.safetensors: this is not the encoder of this Whisper"):
        checkpoint.load_encoder(tmp_path, whisper)
    (tmp_path / "encoder.safetensors").write_bytes(b"torn")
    with pytest.raises(AssetError, match="not the encoder of this Whisper"):
        checkpoint.load_encoder(tmp_path, whisper)
