"""Published DiVA checkpoints: there and back, what the authors' loader makes of ours, and the convert command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import make_llm, make_whisper, whisper_config
from torch import Tensor, nn

from diva_bench.cli.convert import convert_command, first_embeddings
from diva_bench.cli.main import main
from diva_bench.decoding import tensors as tensor_files
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.whisper import Whisper
from diva_bench.diva import checkpoint, published
from diva_bench.diva.config import ConnectorConfig
from diva_bench.diva.model import Connector, build, from_whisper
from diva_bench.diva.published import from_published, to_published
from diva_bench.errors import AssetError, UserError

CONFIG = ConnectorConfig(width=16, heads=2, layers=2, ffn=32, max_queries=6, llm_width=32)
POSITIONS = 448


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("weights")
    return {"encoder": make_whisper(place / "encoder"), "llm": make_llm(place / "llm")}


@pytest.fixture(scope="module")
def whisper(folders: dict[str, Path]) -> Whisper:
    return Whisper.load(folders["encoder"])


def made(whisper: Whisper, **changes: Any) -> Connector:
    """A connector no part of which is as Whisper had it."""
    torch.manual_seed(3)
    connector = from_whisper(whisper, replace(CONFIG, **changes))
    with torch.no_grad():
        for value in connector.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return connector.eval().requires_grad_(False)


def renamed(connector: Connector) -> dict[str, Tensor]:
    """Under the published names, whatever the sizes."""
    state = connector.state_dict()
    state["projection.weight"] = state["projection.weight"].T.contiguous()
    return {k if k in published._OWN else f"connector.{k}": v for k, v in state.items()}


def stored_as_published(folder: Path, tensors: dict[str, Tensor]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return folder


# ---------------------------------------------------------------- tensors


@pytest.mark.parametrize("queries", [1, 6, POSITIONS])
def test_there_and_back_is_exact(whisper: Whisper, queries: int, tmp_path: Path) -> None:
    connector = made(whisper, max_queries=queries)
    tensors = to_published(connector, whisper)
    save_file(tensors, tmp_path / "out.safetensors")
    for source in (tensors, tmp_path / "out.safetensors"):
        back = from_published(source, heads=2)
        assert back.config == connector.config
        for name, value in connector.state_dict().items():
            assert torch.equal(back.state_dict()[name], value), name


def test_the_layout_is_the_published_one(whisper: Whisper) -> None:
    connector = made(whisper)
    tensors = to_published(connector, whisper)
    shapes = {name: tuple(value.shape) for name, value in tensors.items() if ".layers." not in name}
    assert shapes == {
        "query_tokens": (6, 16),
        "projection.weight": (16, 32),
        "projection.bias": (32,),
        "connector.embed_tokens.weight": (400, 16),
        "connector.embed_positions.weight": (POSITIONS, 16),
        "connector.layer_norm.weight": (16,),
        "connector.layer_norm.bias": (16,),
    }
    assert "connector.layers.1.self_attn.q_proj.weight" in tensors
    assert "connector.layers.1.encoder_attn.k_proj.weight" in tensors
    assert torch.equal(tensors["connector.embed_positions.weight"][6:], whisper.decoder.embed_positions.weight[6:])
    assert all(value.dtype == torch.float32 for value in tensors.values())


@pytest.mark.parametrize("queries", [6, POSITIONS])
def test_the_reference_loader_takes_ours_and_makes_the_same_virtual_tokens(whisper: Whisper, queries: int) -> None:
    """As modeling_diva.py of WillHeld/DiVA-llama-3-v0-8b has it: strict WhisperDecoder, transposed nn.Linear."""
    from transformers.models.whisper.modeling_whisper import WhisperDecoder

    connector = made(whisper, max_queries=queries)
    tensors = to_published(connector, whisper)
    prefix = "connector."
    decoder = WhisperDecoder(whisper_config()).eval()
    decoder.load_state_dict(
        {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}, strict=True
    )
    projection = nn.Linear(16, 32)
    projection.weight = nn.Parameter(tensors["projection.weight"].T)
    projection.bias = nn.Parameter(tensors["projection.bias"])

    def reference(query_tokens: Tensor, states: Tensor) -> Tensor:
        inputs = query_tokens.unsqueeze(0).expand(len(states), -1, -1)
        with torch.no_grad():
            out: Tensor = projection(decoder(inputs_embeds=inputs, encoder_hidden_states=states).last_hidden_state)
        return out

    torch.manual_seed(4)
    states = torch.randn(2, 50, 16)
    wanted = reference(tensors["query_tokens"], states)
    ours, _ = connector(states, torch.ones(2, 50, dtype=torch.bool))
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)
    assert float((wanted[0] - wanted[1]).abs().mean()) > 1e-3  # or the states were not looked at
    other = tensors["query_tokens"].clone()
    other[3:] += torch.randn(queries - 3, 16)
    changed = (reference(other, states) - wanted).abs().amax((0, 2))
    assert float(changed[:3].max()) < 1e-6  # causal, as ours is
    assert float(changed[3:].min()) > 1e-4


def test_half_precision_files_come_back_as_float32(whisper: Whisper) -> None:
    tensors = {name: value.bfloat16() for name, value in to_published(made(whisper), whisper).items()}
    assert {v.dtype for v in from_published(tensors, heads=2).state_dict().values()} == {torch.float32}


def test_heads_are_64_wide_unless_given() -> None:
    tensors = renamed(Connector(replace(CONFIG, width=128, layers=1)))
    assert from_published(tensors).config.heads == 2
    assert from_published(tensors, heads=4).config.heads == 4
    with pytest.raises(AssetError, match=r"width of 128 is not made of 3 heads\. Give the heads of the Whisper"):
        from_published(tensors, heads=3)


# ---------------------------------------------------------------- refusals


def test_what_is_no_whole_whisper_decoder_is_not_published(whisper: Whisper) -> None:
    mlp = build(ConnectorConfig(kind="mlp", width=16, heads=0, layers=0, ffn=32, max_queries=6, llm_width=32, stack=2))
    with pytest.raises(UserError, match="kind mlp has no published form"):
        to_published(mlp, whisper)
    fewer = made(whisper, layers=1)
    with pytest.raises(
        UserError, match=r"has 1 layers, the Whisper decoder 2: .* layers=2, or write it with --partial"
    ):
        to_published(fewer, whisper)
    assert from_published(to_published(fewer, whisper, partial=True), heads=2).config.layers == 1
    with pytest.raises(UserError, match="has 3 layers, the Whisper decoder 2"):
        to_published(Connector(replace(CONFIG, layers=3)), whisper, partial=True)
    with pytest.raises(UserError, match=r"does not have the sizes of this Whisper: it has .*'ffn': 48.*'ffn': 32"):
        to_published(Connector(replace(CONFIG, ffn=48)), whisper)
    with pytest.raises(UserError, match="449 queries; a WhisperDecoder has 448"):
        to_published(Connector(replace(CONFIG, max_queries=449)), whisper)


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("query_tokens", "It has no weight of query_tokens, only connector.*, projection.*."),
        ("projection.bias", "It has of projection: projection.weight."),
        ("connector.layers.0.fc1.weight", "It has of connector: connector.embed_positions.weight, .* and 4. more."),
    ],
)
def test_a_missing_weight_is_named_with_what_is_there(whisper: Whisper, tmp_path: Path, name: str, there: str) -> None:
    tensors = to_published(made(whisper), whisper)
    del tensors[name]
    folder = stored_as_published(tmp_path / "in", tensors)
    with pytest.raises(AssetError, match=f"{folder}: no weight '{name}'; this is not a whole published.*{there}"):
        from_published(folder, heads=2)


def test_a_projection_the_other_way_round_is_refused(whisper: Whisper) -> None:
    tensors = to_published(made(whisper), whisper)
    tensors["projection.weight"] = tensors["projection.weight"].T
    with pytest.raises(AssetError, match=r"is \(32, 16\), expected \(16, 32\).*other way round.*store its transpose"):
        from_published(tensors, heads=2)
    tensors["projection.weight"] = torch.zeros(16, 31)
    with pytest.raises(AssetError, match=r"is \(16, 31\), expected \(16, 32\).*projection\.bias\.$"):
        from_published(tensors, heads=2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "connector.layers.1.fc2.weight",
            torch.zeros(16, 8),
            "shapes do not fit each other: size mismatch for layers.1.fc2.weight",
        ),
        ("connector.embed_positions.weight", torch.zeros(5, 16), "6 query_tokens, but only 5 embed_positions"),
        ("query_tokens", torch.zeros(16), r"expected matrices and a vector.*'query_tokens': \(16,\)"),
        ("connector.layers.0.fc3.weight", torch.zeros(1), "connector.layers.0.fc3.weight is in no WhisperDecoder"),
    ],
)
def test_weights_of_another_shape_or_name_are_refused(whisper: Whisper, name: str, value: Tensor, message: str) -> None:
    with pytest.raises(AssetError, match=message):
        from_published({**to_published(made(whisper), whisper), name: value}, heads=2)
    with pytest.raises(AssetError, match="width of 16 is not made of 64 wide heads"):
        from_published(to_published(made(whisper), whisper))


# ---------------------------------------------------------------- files


def test_only_the_connectors_weights_are_read(
    whisper: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = made(whisper)
    tensors = to_published(connector, whisper)
    fat = {**tensors, "encoder.conv1.weight": torch.zeros(3), "decoder.model.norm.weight": torch.zeros(3)}
    folder = stored_as_published(tmp_path / "in", fat)
    seen: list[str] = []
    original = tensor_files.safe_open

    class Watched:
        def __init__(self, *given: Any, **named: Any) -> None:
            self.inner = original(*given, **named)

        def __enter__(self) -> Watched:
            self.inner.__enter__()
            return self

        def __exit__(self, *error: object) -> None:
            self.inner.__exit__(*error)

        def keys(self) -> list[str]:
            return list(self.inner.keys())

        def get_tensor(self, name: str) -> Tensor:
            seen.append(name)
            return self.inner.get_tensor(name)

    monkeypatch.setattr(tensor_files, "safe_open", Watched)
    from_published(folder, heads=2)
    assert sorted(seen) == sorted(tensors.keys() - {"connector.embed_tokens.weight"})


def test_a_folder_of_shards_needs_only_those_that_have_the_connector(whisper: Whisper, tmp_path: Path) -> None:
    connector = made(whisper)
    tensors = to_published(connector, whisper)
    first = {k: v for k, v in tensors.items() if k != "query_tokens"}
    save_file(first, tmp_path / "model-00001-of-00003.safetensors")
    save_file({"query_tokens": tensors["query_tokens"]}, tmp_path / "model-00002-of-00003.safetensors")
    with pytest.raises(AssetError, match="no weight 'query_tokens'"):  # no index: the first shard, as the reference
        from_published(tmp_path, heads=2)
    table = dict.fromkeys(first, "model-00001-of-00003.safetensors")
    table |= {"query_tokens": "model-00002-of-00003.safetensors", "decoder.norm": "model-00003-of-00003.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": table}))
    assert torch.equal(from_published(tmp_path, heads=2).query_tokens, connector.query_tokens)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(AssetError, match=r"model-00002-of-00003\.safetensors: no such file.*all files that it names"):
        from_published(tmp_path, heads=2)
    index.write_text("{}")
    with pytest.raises(AssetError, match=r"index\.json: this is not an index of safetensors files"):
        from_published(tmp_path, heads=2)
    save_file(tensors, tmp_path / "model.safetensors")  # the index is of before it was renamed
    assert from_published(tmp_path, heads=2).config == connector.config


def test_what_is_no_safetensors_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"no weights in this folder\. It needs model\.safetensors, .*00001"):
        from_published(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(AssetError, match=r"model\.safetensors: this is not a whole safetensors file"):
        from_published(tmp_path)
    with pytest.raises(AssetError, match=r"none\.safetensors: no such file"):
        from_published(tmp_path / "none.safetensors")


# ---------------------------------------------------------------- 16 bits


def test_sixteen_bits_keep_matrices_as_float16(whisper: Whisper, tmp_path: Path) -> None:
    connector = made(whisper)
    checkpoint.save(connector, tmp_path, {}, {}, bits=16)
    assert {v.dtype for v in load_file(tmp_path / "connector.safetensors").values()} == {torch.float16}
    back = checkpoint.load(tmp_path).state_dict()
    for name, value in connector.state_dict().items():
        assert torch.equal(back[name], value.half().float()), name


# ---------------------------------------------------------------- the command


def export(to: Path, connector: Connector, whisper: Whisper, folders: dict[str, Path], window: str = "30 s") -> Path:
    prints = checkpoint.fingerprint(whisper)
    about = {
        "encoder": {"weights": str(folders["encoder"]), "fingerprint": prints, "window": window},
        "llm": {"weights": "llm", "fingerprint": "0" * 16},
    }
    checkpoint.save(connector, to, about, {})
    return to


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["diva-bench", "convert", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_the_command_goes_there_and_back(
    whisper: Whisper,
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = export(tmp_path / "export", made(whisper), whisper, folders)
    file, back = tmp_path / "a/b.safetensors", tmp_path / "back"
    assert command(monkeypatch, source, file) == 0
    assert [p.name for p in file.parent.iterdir()] == ["b.safetensors"]
    assert command(monkeypatch, file, back, "--encoder", folders["encoder"], "--llm", folders["llm"]) == 0
    said = capsys.readouterr()
    assert f"stored: {file} (55 tensors, float32, " in said.out
    assert f"stored: {back} (6 queries, 2 layers, 16 -> 32, float16)" in said.out
    assert "padded" not in said.err
    assert checkpoint.fits(back, whisper, LLM.load(folders["llm"]).embeddings)  # and hears 30 s
    first, last = checkpoint.load(source).state_dict(), checkpoint.load(back).state_dict()
    for name, value in first.items():
        assert torch.equal(last[name], value.half().float()), name
    assert json.loads((back / "training.json").read_text()) == {"imported": str(file)}


def test_what_the_reference_would_do_otherwise_is_said(
    whisper: Whisper, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = export(tmp_path / "export", made(whisper), whisper, folders, window="the clip's own length")
    convert_command(source, tmp_path / "out.safetensors")
    assert "the reference code pads every clip to 30 s" in capsys.readouterr().err


def test_the_command_refuses_in_words(whisper: Whisper, folders: dict[str, Path], tmp_path: Path) -> None:
    source, file = export(tmp_path / "export", made(whisper), whisper, folders), tmp_path / "out.safetensors"
    encoder, llm = str(folders["encoder"]), str(folders["llm"])

    def refused(message: str, *given: Path, **named: Any) -> None:
        with pytest.raises(UserError, match=message):
            convert_command(*given, **named)

    refused("none: no such file or folder", tmp_path / "none", file)
    refused(
        "this is a connector of diva-bench, so it cannot be converted --to diva-bench", source, file, to="diva-bench"
    )
    refused("name that ends in .safetensors", source, tmp_path / "folder")
    refused(
        "trained with .*, but another Whisper was given",
        source,
        file,
        encoder=str(make_whisper(tmp_path / "w", seed=1)),
    )
    refused("unknown weights 'whisper-bas'", source, file, encoder="whisper-bas")
    convert_command(source, file)
    refused("already exists", source, file)
    refused("no folder with connector.safetensors and config.json", file, tmp_path / "x.safetensors", to="published")
    refused("Give both with --encoder .* and --llm", file, tmp_path / "back", encoder=encoder)
    convert_command(file, tmp_path / "back", encoder=encoder, llm=llm)
    refused(r"back/connector\.safetensors: already exists", file, tmp_path / "back", encoder=encoder, llm=llm)
    narrow = stored_as_published(tmp_path / "narrow", to_published(made(whisper, llm_width=10), whisper))
    refused("made for an LLM of width 10, but .* has 32", narrow, tmp_path / "b", encoder=encoder, llm=llm)
    wider = stored_as_published(tmp_path / "wider", renamed(Connector(replace(CONFIG, width=32))))
    refused("made for an encoder of width 32, but .* has 16", wider, tmp_path / "b", encoder=encoder, llm=llm)
    assert not (tmp_path / "b").exists()
    checkpoint.save_encoder(whisper.encoder, source)
    refused("trained with an encoder of its own", source, tmp_path / "y.safetensors")
    checkpoint.save(made(whisper), tmp_path / "bare", {}, {})
    refused("does not say which Whisper", tmp_path / "bare", tmp_path / "y.safetensors")


def test_fewer_layers_are_published_only_when_asked(whisper: Whisper, folders: dict[str, Path], tmp_path: Path) -> None:
    source, file = export(tmp_path / "export", made(whisper, layers=1), whisper, folders), tmp_path / "out.safetensors"
    with pytest.raises(UserError, match="has 1 layers"):
        convert_command(source, file)
    assert convert_command(source, file, partial=True) == 0
    assert from_published(file, heads=2).config.layers == 1


def test_an_llm_is_told_by_its_first_embeddings_without_loading_it(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LLM.load(folders["llm"]).embeddings
    with monkeypatch.context() as patched:
        patched.setattr(LLM, "load", None)
        some = first_embeddings(folders["llm"])
    assert some.shape == (16, 32)
    assert checkpoint.fingerprint(some) == checkpoint.fingerprint(whole)
    save_file({"transformer.wte.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    monkeypatch.setattr(LLM, "load", lambda folder: LLM.__new__(LLM))
    monkeypatch.setattr(LLM, "weight", whole, raising=False)
    assert torch.equal(first_embeddings(tmp_path), whole[:16])  # of another architecture: the LLM itself is asked
