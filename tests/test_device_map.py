"""Models that are spread over devices: the hooks of accelerate move tensors from part to part, here from the CPU to the CPU, as
they do between GPUs; and parts that GPUs have no room for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import accelerate
import fake_torchaudio
import pytest
import torch
from test_asr_server import spec
from test_bits import REQUESTS
from test_hf_audio import ONE_EACH, load, requests
from tiny_audio_models import BUILDERS
from tiny_models import make_llm

from diva_bench.adapters.oracle import Oracle
from diva_bench.decoding import loading
from diva_bench.decoding.llm import LLM
from diva_bench.errors import UserError
from diva_bench.specs import Runtime
from diva_bench.types import Response


@pytest.fixture
def spread(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every model that is loaded from now on is spread, by an explicit map of all its parts; the list has them."""
    made: list[Any] = []
    whole = loading.from_folder

    def from_folder(*given: Any, **how: Any) -> Any:
        model = whole(*given, **how)
        parts = {name.rpartition(".")[0] for name in model.state_dict()}
        made.append(accelerate.dispatch_model(model, dict.fromkeys(parts, "cpu"), force_hooks=True))
        return made[-1]

    monkeypatch.setattr(loading, "from_folder", from_folder)
    return made


def told(responses: list[Response]) -> list[Any]:
    return [(r.status, r.text, r.tokens, r.choices) for r in responses]


def hooked(model: Any) -> int:
    return sum(hasattr(part, "_hf_hook") for part in model.modules())


def test_an_llm_that_is_spread_answers_and_scores_labels_as_in_one_place(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = {"llm": make_llm(tmp_path / "llm")}
    whole = told(Oracle(spec("oracle", None), folder, "cpu").generate(REQUESTS))
    made = request.getfixturevalue("spread")
    assert told(Oracle(spec("oracle", None), folder, "cpu").generate(REQUESTS)) == whole
    assert hooked(made[0]) > 10


@pytest.mark.parametrize("kind", ["qwen2-audio", "granite-speech", "phi-4-multimodal"])  # the last two with a LoRA
def test_an_audio_llm_that_is_spread_answers_and_scores_labels_as_in_one_place(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    fake_torchaudio.install(monkeypatch)
    folder = BUILDERS[kind](tmp_path / "weights")
    whole = [told(load(tmp_path, ONE_EACH[kind], folder).generate(requests(choices))) for choices in (False, True)]
    made = request.getfixturevalue("spread")
    adapter = load(tmp_path, ONE_EACH[kind], folder)
    assert [told(adapter.generate(requests(choices))) for choices in (False, True)] == whole
    assert hooked(made[0]) > 20


def test_an_llm_for_which_the_gpus_have_no_room_is_not_left_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU has room for it")
    folder = make_llm(tmp_path / "llm")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # of zero GPUs
    with pytest.raises(UserError) as err:
        LLM.of(folder, "cpu", Runtime(dtype="float32", device_map="auto"))
    assert str(err.value) == (
        "device_map: auto found no room on the GPUs for 20 of the 20 tensors of llm, such as model.embed_tokens.weight, and left "
        "them on the CPU or on the disk, where they cannot be used. Free memory of the GPUs, set `bits: 8` or `bits: 4` in the "
        "`runtime` of the model, or take a smaller model."
    )
