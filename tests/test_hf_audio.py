"""Audio LLMs of random weights in the layout of the published ones, by the YAML files that ship: answers and labels are those
of the model's own code, whatever else is in the batch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import fake_torchaudio
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_audio_models import BUILDERS
from torch import Tensor

from diva_bench.adapters.hf_audio import HfAudio
from diva_bench.catalog import Catalog
from diva_bench.errors import AssetError, SpecError, UnknownName
from diva_bench.types import Audio, Request, Response, Silent

LENGTHS = (1.3, 3.7, 0.4, 0.1, 0.05)
"""Seconds."""
LABELS = ("happiness", "happy", "sad", "anger")
MODELS = {  # models that ship -> the layout of their weights
    "qwen2-audio": "qwen2-audio",
    "qwen2.5-omni-7b": "qwen2.5-omni",
    "qwen2.5-omni-3b": "qwen2.5-omni",
    "qwen3-omni-30b": "qwen3-omni",
    "voxtral-mini-3b": "voxtral",
    "voxtral-small-24b": "voxtral",
    "audio-flamingo-3": "audio-flamingo-3",
    "glm-asr-nano": "glm-asr",
    "granite-speech-3.3-2b": "granite-speech",
    "granite-speech-3.3-8b": "granite-speech",
    "phi-4-multimodal": "phi-4-multimodal",
}
ONE_EACH = {kind: name for name, kind in reversed(MODELS.items())}


@pytest.fixture(scope="module", autouse=True)
def torchaudio() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        fake_torchaudio.install(patch)
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind -> folder, built when it is first asked for."""

    class Built(dict[str, Path]):
        def __missing__(self, kind: str) -> Path:
            self[kind] = BUILDERS[kind](tmp_path_factory.mktemp(kind))
            return self[kind]

    return Built()


def load(tmp_path: Path, model: str, folder: Path, **args: Any) -> Any:
    """The model that ships, with the weights of a folder; a long limit is a shorter one, which is tried faster."""
    limit = min(Catalog().model(model, "full").args["max_seconds"], 40.0)
    args = {"max_seconds": limit, **args}
    text = (
        f"name: tiny\nextends: {model}\ndescription: d\nruntime: {{dtype: float32}}\nargs: {json.dumps(args)}\n"
        f"editions: {{full: {{weights: {{model: {{folder: {folder}}}}}}}}}\n"
    )
    (tmp_path / "tiny.yaml").write_text(text)
    catalog = Catalog([tmp_path])
    return catalog.load(catalog.model("tiny", "full"), Silent())


@pytest.fixture(scope="module", params=ONE_EACH)
def adapter(request: pytest.FixtureRequest, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(tmp_path_factory.mktemp("specs"), ONE_EACH[request.param], folders[request.param])


def clip(seconds: float, seed: int = 0) -> Audio:
    draws = np.random.default_rng(seed)
    return Audio((0.1 * draws.standard_normal(int(seconds * 16_000))).astype(np.float32), 16_000)


def requests(choices: bool = False, system: str | None = None) -> list[Request]:
    return [
        Request(
            f"r{k}", "Which emotion?", system=system, audio=clip(s, k), choices=LABELS if choices else None,
            max_new_tokens=6,
        )
        for k, s in enumerate(LENGTHS)
    ]  # fmt: skip


@torch.inference_mode()
def logits_of(adapter: HfAudio, request: Request, more: list[int]) -> Tensor:
    """(1 + len(more), V): the model's own logits after the prompt and behind each of further tokens, without a cache."""
    model = adapter._model
    inputs = model._inputs([adapter._complete(request)])
    for name, value in {"input_ids": more, "attention_mask": [1] * len(more)}.items():
        inputs[name] = torch.cat([inputs[name], torch.tensor([value], dtype=torch.long)], 1)
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], torch.zeros(1, len(more), dtype=torch.long)], 1)
    logits: Tensor = model._model(**inputs, use_cache=False).logits[0]
    return logits[-1 - len(more) :].float()


def test_answers_are_those_of_the_models_own_code(adapter: HfAudio) -> None:
    for request in requests()[1:4]:
        (answer,) = adapter.generate([request])
        assert answer.status == "ok"
        ids: list[int] = []
        for _ in range(request.max_new_tokens):
            token = int(logits_of(adapter, request, ids)[-1].argmax())
            if token in adapter._model.llm._stops:
                break
            ids.append(token)
        assert answer.text == adapter._model.llm.text(ids)
        assert answer.tokens["new"] == len(ids)


def test_labels_are_scored_as_by_one_pass_each(adapter: HfAudio) -> None:
    for request in requests(choices=True)[:2]:
        (answer,) = adapter.generate([request])
        assert answer.choices is not None
        for label in LABELS:
            ids = adapter._model.llm.tokens(label)
            logs = torch.log_softmax(logits_of(adapter, request, ids), -1)[:-1]
            wanted = float(logs.gather(1, torch.tensor(ids)[:, None]).sum())
            assert answer.choices[label].total == pytest.approx(wanted, abs=1e-5)


def test_a_batch_is_answered_as_each_clip_alone(adapter: HfAudio) -> None:
    together = adapter.generate(requests(choices=True))
    alone = [adapter.generate([request])[0] for request in requests(choices=True)]
    assert [r.text for r in together] == [r.text for r in alone]
    assert len({str(r.choices) for r in alone}) == len(alone)  # otherwise no mix-up could show
    for one, other in zip(together, alone, strict=True):
        assert one.status == "ok"
        assert one.tokens == other.tokens
        assert one.choices is not None
        assert other.choices is not None
        for label in LABELS:
            assert one.choices[label].total == pytest.approx(other.choices[label].total, abs=2e-5)


def test_a_clip_over_the_limit_is_unsupported_and_never_cut(adapter: HfAudio) -> None:
    longest = adapter.max_seconds
    over, within = adapter.generate([Request("over", "q", audio=clip(longest + 0.1), max_new_tokens=2), requests()[0]])
    assert over == Response(
        "over", status="unsupported", detail=f"audio is {longest + 0.1:.1f} s; this model takes at most {longest:.0f} s"
    )
    assert within.status == "ok"


def test_the_prompt_shows_system_message_and_question_and_one_clip(adapter: HfAudio) -> None:
    text = adapter._model.text("Which emotion?", "Be brief.")
    assert text.count(adapter._model._token) == 1
    assert text.index("Be brief.") < text.index("Which emotion?")
    first = text.index(adapter._model._token) < text.index("Which emotion?")
    assert first == adapter._model._audio_first


@pytest.mark.parametrize("model", MODELS)
def test_every_yaml_that_ships_says_how_its_model_is_asked(model: str) -> None:
    spec = Catalog().model(model, "full")
    settings = {**HfAudio.settings, **spec.args}
    assert settings["encode"] == ("batch" if MODELS[model] in BATCHED else "one")
    assert settings["lora"] == ("speech-lora" if MODELS[model] == "phi-4-multimodal" else "")
    assert (settings["max_seconds"], spec.adapter) == (pytest.approx(settings["max_seconds"]), "hf_audio")
    assert Catalog().adapter_for(spec).roles == ("model",)


BATCHED = ("qwen2-audio", "qwen2.5-omni", "voxtral", "audio-flamingo-3", "glm-asr")


@pytest.mark.parametrize("kind", BATCHED)
def test_models_that_encode_a_batch_get_the_embeddings_of_each_clip_alone(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    model = load(tmp_path, ONE_EACH[kind], folders[kind])._model
    asked = [r for r in requests() if r.audio is not None and r.audio.seconds >= 0.1]
    together = model.prompts(asked, 60.0)
    model._together = False
    for one, other in zip(together, model.prompts(asked, 60.0), strict=True):
        torch.testing.assert_close(one.whole, other.whole, atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("args", "kind", "said"),
    [
        ({"order": "audio last"}, UnknownName, "unknown order 'audio last' in args of model tiny"),
        ({"encode": "all"}, UnknownName, "unknown encode 'all' in args of model tiny"),
        ({"min_seconds": 31.0}, SpecError, "min_seconds 31 and max_seconds 30 must be 0 < min <= max"),
        (
            {"max_seconds": 45.0},
            AssetError,
            "750 audio tokens of 30 s, but only 750 of 45 s: it cuts clips. Lower max_seconds.",
        ),
        ({"lora": "speech-lora"}, AssetError, "this audio LLM cannot be loaded"),
    ],
)
def test_settings_that_cannot_be_are_told(
    folders: dict[str, Path], tmp_path: Path, args: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        load(tmp_path, "qwen2-audio", folders["qwen2-audio"], **args)


def test_a_model_that_hears_only_with_its_lora_is_refused_without(folders: dict[str, Path], tmp_path: Path) -> None:
    bare = tmp_path / "granite"
    shutil.copytree(folders["granite-speech"], bare)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (bare / name).unlink()
    said = (
        r"GraniteSpeechForConditionalGeneration hears only with its LoRA \(adapter_config.json\), which was not loaded"
    )
    with pytest.raises(AssetError, match=said):
        load(tmp_path, "granite-speech-3.3-2b", bare)


def test_a_lora_is_active(folders: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("phi-4-multimodal", "granite-speech"):
        adapter = load(tmp_path, ONE_EACH[kind], folders[kind])
        before = adapter.generate(requests(choices=True)[:1])[0]
        adapter._model._model.disable_adapters()
        after = adapter.generate(requests(choices=True)[:1])[0]
        assert before.choices != after.choices


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"architectures": ["KimiAudio"]},
            "KimiAudio is not an audio LLM that can be asked here. Those that can: AudioFl",
        ),
        ({}, "config.json does not name an architecture"),
    ],
)
def test_other_architectures_are_told(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(AssetError, match=said):
        load(tmp_path, "qwen2-audio", tmp_path)


def test_a_template_without_a_place_for_audio_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    shutil.copytree(folders["qwen2-audio"], deaf)
    (deaf / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}{% endfor %}")
    with pytest.raises(AssetError, match="chat template does not show the question, the system message and one clip"):
        load(tmp_path, "qwen2-audio", deaf)
