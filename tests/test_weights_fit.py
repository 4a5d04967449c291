"""What does not fit into the memory of a device is refused before it is fetched or loaded, with numbers."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from diva_bench import provenance
from diva_bench.catalog import Catalog
from diva_bench.decoding import loading
from diva_bench.errors import UserError
from diva_bench.specs import AssetSpec, ModelSpec, Runtime
from diva_bench.weights import fit

GB = 1_000_000_000


def model(weights: dict[str, dict[str, int]], edition: Any = "full", **runtime: Any) -> ModelSpec:
    found = {
        role: AssetSpec(
            name=role, format="transformers", description="", licence="", hub=f"a/{role}", parameters=counts
        )
        for role, counts in weights.items()
    }
    return ModelSpec(
        name="big", edition=edition, adapter="diva", description="", citation="", licence="", args={}, weights=found,
        runtime=Runtime(**runtime), training=None,
    )  # fmt: skip


DIVA = {
    "encoder": {"encoder": 637_000_000, "asr": 1_543_000_000},
    "llm": {"llm": 8_030_000_000},
    "connector": {"connector": 845_000_000},
}


def machine(monkeypatch: pytest.MonkeyPatch, **memory: tuple[float, float]) -> None:
    """Device -> (total, free) in GB; `gpus`: of all together."""
    held = {name.replace("_", ":"): (int(a * GB), int(b * GB)) for name, (a, b) in memory.items()}
    monkeypatch.setattr(fit, "device_memory", lambda device: held.get(device or "gpus", (0, 0)))


def test_the_published_diva_on_a_gpu_of_16_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda_0=(15.9, 15.4), gpus=(15.9, 15.4))
    assert fit.problem(model(DIVA), {}, "cuda:0", ["full", "mini", "nano"]) == (
        "model big (full) needs 19.0 GB for its weights (encoder 1.3 GB, llm 16.1 GB, connector 1.7 GB; bfloat16); cuda:0 has "
        "15.9 GB. Try a YAML with `extends: big` and `runtime: {bits: 8}` (11.0 GB); or --model-edition mini."
    )
    assert fit.problem(model(DIVA, bits=8), {}, "cuda:0", []) == ""


@pytest.mark.parametrize(
    ("memory", "device", "runtime", "said"),
    [
        ({"cuda_0": (24, 23)}, "cuda:0", {}, ""),
        ({"cuda_0": (24, 3)}, "cuda:0", {}, "cuda:0 has 24.0 GB, of which 3.0 GB are free"),
        ({"cuda_0": (16, 15), "gpus": (32, 30)}, "cuda:0", {}, "device_map: auto"),
        ({"cuda_0": (16, 15), "gpus": (32, 30)}, "cuda:0", {"device_map": "auto"}, ""),
        ({"cuda_0": (8, 8), "gpus": (16, 16)}, "cuda:0", {"device_map": "auto"}, "all GPUs together have 16.0 GB"),
        ({"cuda_0": (24, 23)}, "cuda:0", {"dtype": "float32"}, "needs 38.0 GB .* Try --dtype bfloat16 .19.0 GB"),
        ({"cpu": (16, 12)}, "cpu", {}, "cpu has 16.0 GB, of which 12.0 GB are free. Try --model-edition mini."),
        ({"cpu": (16, 12), "cuda_0": (24, 23)}, "cpu", {}, "--device cuda:0"),
        ({"cuda_0": (4, 4), "gpus": (4, 4)}, "cuda:0", {"bits": 4}, "llm in 4 bit"),
        ({}, "mps", {}, ""),  # nothing is known
    ],
)
def test_what_is_tried_fits_by_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch, memory: Any, device: str, runtime: dict[str, Any], said: str
) -> None:
    import re

    machine(monkeypatch, **memory)
    text = fit.problem(model(DIVA, **runtime), {}, device, ["full", "mini"])
    assert re.search(said, text) if said else text == ""


def stored(folder: Path, shapes: dict[str, list[int]]) -> Path:
    folder.mkdir(parents=True)
    header = {name: {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    return folder


def test_files_that_are_here_are_counted_by_what_a_role_reads(tmp_path: Path) -> None:
    folders = {
        "encoder": stored(tmp_path / "e", {"model.encoder.a": [10, 10], "model.decoder.a": [99, 99]}),
        "llm": stored(tmp_path / "l", {"model.embed_tokens.weight": [10, 4], "model.layers.0.a": [10, 8], "norm": [5]}),
        "connector": stored(
            tmp_path / "c",
            {
                "connector.layers.0.a": [2, 2],
                "connector.embed_tokens.weight": [9, 9],
                "query_tokens": [3, 1],
                "decoder.a": [9],
            },
        ),
    }
    assert fit.needs(model(DIVA), folders) == {"encoder": 200, "llm": 250, "connector": 14}
    assert fit.needs(model(DIVA, bits=8), folders)["llm"] == 2 * (40 + 5) + 80
    (tmp_path / "l" / "model.safetensors").write_bytes(b"\xff" * 20)
    assert "llm" not in fit.needs(model(DIVA), folders)  # loading tells what is wrong with it


@pytest.mark.parametrize("name", ["oracle", "cascade", "diva", "diva-3.2-1b", "diva-layout-paper", "whisper-large-v3"])
def test_every_shipped_full_model_states_what_it_needs(name: str) -> None:
    spec = Catalog().model(name, "full")
    assert fit.needs(spec, {}).keys() == spec.weights.keys()
    assert all(asset.download_bytes for asset in spec.weights.values())


def test_bits_are_part_of_the_identity_and_the_spread_is_not() -> None:
    plain = model(DIVA)
    assert plain.hash != model(DIVA, bits=8).hash != model(DIVA, bits=4).hash
    assert plain.hash == model(DIVA, device_map="auto").hash


def test_bits_without_their_package_and_a_spread_without_a_gpu_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"diva-bench\[bits\]"):
        loading.from_folder(None, Path(), "cpu", "bfloat16", bits=8)
    with pytest.raises(UserError, match="device_map: auto spreads an LLM over GPUs, and there is none"):
        loading.from_folder(None, Path(), "cpu", "bfloat16", device_map="auto")


def test_the_memory_of_the_processor_is_known_and_of_a_missing_gpu_it_is_zero() -> None:
    total, free = provenance.device_memory("cpu")
    assert 0 < free <= total
    assert provenance.device_memory("cuda:7") == provenance.device_memory(None) == (0, 0)


def test_the_list_of_models_says_what_each_takes_and_what_is_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from diva_bench.cli import browse

    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path))
    table = browse._models(Catalog())
    rows = {(row[0], row[1]): row[2:] for row in table.rows}
    assert rows["oracle", "full"][:4] == ["text, choices", "no", "16.07 GB", None]
    assert rows["diva", "full"][:3] == ["audio, choices", "no", "29.11 GB"]
    assert "Llama 3 Community (gated)" in str(rows["diva", "full"][4])
    assert rows["diva-kl", "mini"][:3] == ["audio, choices", "train", None]
    assert rows["majority", "any"][:2] == ["choices", "yes"]
    assert rows["server", "any"][:2] == ["audio, choices", "server"]
    told = [row[0] for row in browse._told_once(table.rows) if row[-1]]
    assert len(told) == len(set(told)) == len({row[0] for row in table.rows})
