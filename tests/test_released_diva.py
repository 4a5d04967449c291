"""The published DiVA: our adapter against a restatement of the released code, on random weights in the published layout."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from released_diva import LLAMA_3, LLAMA_3_1, Released, make_llama_3
from safetensors.torch import save_file
from tiny_models import make_llm, make_whisper

from diva_bench.adapters.diva import Diva
from diva_bench.decoding import chat
from diva_bench.decoding.whisper import RATE, Whisper
from diva_bench.diva import layouts, published
from diva_bench.diva.config import ConnectorConfig
from diva_bench.diva.model import Connector, from_whisper
from diva_bench.errors import AssetError, UserError
from diva_bench.specs import AssetSpec, ModelSpec, Runtime
from diva_bench.types import Audio, Request

QUERIES, WIDE = 448, 32
PROMPT = "Respond whether the input is sarcastic."
REFERENCES = {
    "reference_encoder": "openai/whisper-large-v3",
    "reference_decoder": "meta-llama/Meta-Llama-3-8B-Instruct",
}


def make_checkpoint(folder: Path, whisper: Whisper, references: dict[str, str] = REFERENCES) -> Path:
    torch.manual_seed(5)
    size = ConnectorConfig(width=16, heads=2, layers=2, ffn=32, max_queries=QUERIES, llm_width=WIDE)
    connector = from_whisper(whisper, size)
    with torch.no_grad():
        connector.query_tokens.normal_(0, 1)
        connector.projection.weight.normal_(0, 0.3)
        connector.projection.bias.normal_(0, 0.3)
    folder.mkdir()
    fat = {"encoder.conv1.weight": torch.zeros(3), "decoder.model.norm.weight": torch.zeros(3)}
    save_file({**published.to_published(connector, whisper), **fat}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(references))
    return folder


@pytest.fixture(scope="module", params=[LLAMA_3, LLAMA_3_1], ids=["llama 3", "llama 3.1"])
def paths(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("diva")
    encoder = make_whisper(place / "encoder")
    return {
        "encoder": encoder,
        "llm": make_llama_3(place / "llm", request.param),
        "connector": make_checkpoint(place / "connector", Whisper.load(encoder)),
    }


def spec(args: dict[str, Any], hubs: dict[str, str] | None = None) -> ModelSpec:
    hubs = hubs or {"encoder": REFERENCES["reference_encoder"], "llm": REFERENCES["reference_decoder"]}
    weights = {
        role: AssetSpec(name=role, format="transformers", description="", licence="", hub=hub)
        for role, hub in hubs.items()
    }
    return ModelSpec(
        name="toy", edition="full", adapter="diva", description="", citation="", licence="", args=args, weights=weights,
        runtime=Runtime(dtype="float32"), training=None,
    )  # fmt: skip


def wave(seconds: float, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def ask(samples: Any, count: int = 12, **more: Any) -> Request:
    return Request("a", PROMPT, Audio(samples, RATE), max_new_tokens=count, **more)


@pytest.mark.parametrize("layout", ["paper", "release"])
@pytest.mark.parametrize("seconds", [0.4, 7.0, 30.0])
def test_logits_and_tokens_are_those_of_the_released_code(paths: dict[str, Path], layout: str, seconds: float) -> None:
    released = Released(paths["connector"], paths["encoder"], paths["llm"])
    logits, tokens = released.generate(wave(seconds), PROMPT, layout, 12)
    adapter = Diva(spec({"layout": layout}), paths, "cpu")
    llm, first, written = adapter._llm, [], []
    prefill, generate = llm.prefill, llm.generate

    def reading(*given: Any, **named: Any) -> Any:
        first.append(prefill(*given, **named))
        first[-1] = type(first[-1])(first[-1].cache, first[-1].mask, first[-1].logits.clone())
        return first[-1]

    def writing(*given: Any, **named: Any) -> Any:
        written.append(generate(*given, **named))
        return written[-1]

    llm.prefill, llm.generate = reading, writing  # type: ignore[method-assign]
    response = adapter.generate([ask(wave(seconds))])[0]
    assert float((first[0].logits[0] - logits[0]).abs().max()) <= 1e-5 * float(logits[0].abs().max())
    assert written == [[tokens]]
    assert len(tokens) > 0
    assert response.tokens["virtual"] == QUERIES


def test_the_authors_layouts_of_a_prompt(paths: dict[str, Path]) -> None:
    tokenizer = chat.tokenizer_of(paths["llm"])
    before, after = layouts.pieces("paper", tokenizer, "P", None)
    head = "<|begin_of_text|><|start_header_id|>{}<|end_header_id|>\n"
    assert before == [head.format("system"), "P", head.format("user") + "\n"]
    assert after == ["<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"]
    assert layouts.pieces("paper", tokenizer, "P", "S")[0][1] == "S\nP"
    assert layouts.pieces("paper", tokenizer, "", None)[0] == [head.format("user") + "\n"]
    plain = "Cutting" not in tokenizer.get_chat_template()
    first = head.format("user" if plain else "system")
    last = (first if plain else "<|eot_id|><|start_header_id|>user<|end_header_id|>\n").strip()
    assert layouts.pieces("release", tokenizer, "P", None)[0] == [first, "P", f"\n{last}\n"]
    assert layouts.frame("clean", tokenizer, False) == chat.frame(paths["llm"], False)


def test_a_layout_of_llama_3_needs_its_tokens(paths: dict[str, Path], tmp_path: Path) -> None:
    other = {**paths, "llm": make_llm(tmp_path / "llm")}
    adapter = Diva(spec({"layout": "clean"}), other, "cpu")
    assert adapter.generate([ask(wave(1.0))])[0].status in ("ok", "unsupported")
    with pytest.raises(AssetError, match=r"this LLM has no <\|begin_of_text\|>. Use layout clean"):
        layouts.pieces("paper", chat.tokenizer_of(other["llm"]), "P", None)
    with pytest.raises(UserError, match="Did you mean 'paper'"):
        layouts.check("papr", "toy")


@pytest.mark.parametrize(
    ("args", "hubs", "said"),
    [
        (
            {},
            {"encoder": "openai/whisper-large-v3", "llm": "own/llama"},
            "names meta-llama/Meta-Llama-3-8B-Instruct as its llm",
        ),
        ({}, {"encoder": "openai/whisper-large-v2", "llm": "meta-llama/Llama-3-8B-Instruct"}, "as its encoder"),
        ({"reference_decoder": "x/y"}, None, "the model has x/y"),
        (
            {"reference_decoder": REFERENCES["reference_decoder"]},
            {"encoder": "openai/whisper-large-v3", "llm": "own/llama"},
            "",
        ),
        ({}, {"encoder": "openai/whisper-large-v3", "llm": "meta-llama/Llama-3-8B-Instruct"}, ""),  # only renamed
    ],
)
def test_a_checkpoint_of_other_models_is_refused_before_anything_is_loaded(
    paths: dict[str, Path], args: dict[str, Any], hubs: dict[str, str] | None, said: str
) -> None:
    if not said:
        Diva(spec(args, hubs), paths, "cpu").close()
        return
    with pytest.raises(AssetError, match=said):
        Diva(spec(args, hubs), {**paths, "llm": Path("none"), "encoder": Path("none")}, "cpu")


_MEASURE = """
import sys
from pathlib import Path
import torch
from diva_bench.diva.config import ConnectorConfig
from diva_bench.diva.model import build
from diva_bench.diva.published import from_published

def status(key):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(key))

with torch.device("meta"):  # what its first use loads is no part of a connector
    build(ConnectorConfig(width=4, heads=2, layers=1, ffn=4, max_queries=2, llm_width=4))
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = status("VmRSS")
connector = from_published(Path(sys.argv[1]), heads=2, dtype=getattr(torch, sys.argv[2]))
held = sum(p.nbytes for p in connector.parameters())
print(held, status("VmHWM") - before)
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_of_a_file_of_ten_gigabytes_only_the_connector_is_in_memory(tmp_path: Path, dtype: str) -> None:
    width, wide, ffn, layers = 512, 1024, 2048, 16
    shapes: dict[str, tuple[int, ...]] = {"query_tokens": (QUERIES, width)}
    shapes |= {"projection.weight": (width, wide), "projection.bias": (wide,)}
    with torch.device("meta"):
        whole = Connector(
            ConnectorConfig(width=width, heads=2, layers=layers, ffn=ffn, max_queries=QUERIES, llm_width=wide)
        )
    for name, value in whole.state_dict().items():
        if name not in shapes and not name.startswith("projection"):
            shapes[f"connector.{name}"] = tuple(value.shape)
    shapes["connector.embed_tokens.weight"] = (51_866, width)
    shapes["decoder.model.embed_tokens.weight"] = (4096, 600_000)
    header, at = {}, 0
    for name, shape in shapes.items():
        count = int(np.prod(shape)) * 4
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + count]}
        at += count
    text = json.dumps(header).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)  # no byte of it is on the disk
    assert (tmp_path / "model.safetensors").stat().st_size > 9.9e9
    command = [sys.executable, "-c", _MEASURE, str(tmp_path), dtype]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    held, peak = map(int, ran.stdout.split())
    assert held > 150e6 / (1 if dtype == "float32" else 2)
    assert peak < 1.2 * held, (peak, held)
