"""Whisper written out by hand, against transformers; windows, masks and batches."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tiny_models import ENGLISH_ONLY, MULTILINGUAL, make_whisper
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from diva_bench.decoding import whisper as module
from diva_bench.decoding.whisper import FULL, RATE, Wave, Whisper
from diva_bench.errors import AssetError

MINI = Path(__file__).parents[1] / "tasks" / "mini-v1"


def noise(seconds: float, seed: int = 0) -> Wave:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(int(seconds * RATE))).astype(np.float32)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Random weights rarely come to an end; 24 tokens show as much as 224."""
    if "weights" not in request.keywords:
        monkeypatch.setattr(module, "_MAX_NEW", 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Whisper:
    return Whisper.load(folder)


@pytest.mark.parametrize("seconds", [0.5, 3.21, 30.0])
def test_log_mel_is_that_of_transformers(tiny: Whisper, seconds: float) -> None:
    wave = noise(seconds)
    extract: Any = WhisperFeatureExtractor
    theirs = extract(feature_size=80)(wave, sampling_rate=RATE, return_tensors="pt").input_features[0]
    torch.testing.assert_close(tiny.mel(wave, FULL), theirs, atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("vocabulary", "language", "start"),
    [
        (ENGLISH_ONLY, "en", [257, 261]),
        (MULTILINGUAL, "en", [257, 258, 260, 261]),
        (MULTILINGUAL, "fr", [257, 262, 260, 261]),
        (MULTILINGUAL, "cmn", [257, 263, 260, 261]),
    ],
)
def test_encoder_and_greedy_decoding_are_those_of_transformers(
    tmp_path: Path, vocabulary: int, language: str, start: list[int]
) -> None:
    ours = Whisper.load(make_whisper(tmp_path, vocabulary))
    theirs: Any = WhisperForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32).eval()
    waves = [noise(2.0), noise(5.0, 1)]
    mel = torch.stack([ours.mel(w, FULL) for w in waves])
    with torch.inference_mode():
        states = theirs.model.encoder(mel).last_hidden_state
        torch.testing.assert_close(ours.encoder(mel, None), states, atol=1e-4, rtol=1e-4)
        prompt = torch.tensor([start] * 2)
        tokens = prompt
        for _ in range(20):
            logits = theirs(encoder_outputs=(states,), decoder_input_ids=tokens).logits[:, -1]
            logits[:, [1, 2, 7, *range(257, vocabulary)]] = -torch.inf
            if tokens.shape == prompt.shape:
                logits[:, [220, 256]] = -torch.inf
            tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], 1)
    for row, answer in enumerate(ours.decode(states, language=language)):
        wanted = tokens[row, prompt.shape[1] :].tolist()
        wanted = wanted[: wanted.index(256)] if 256 in wanted else wanted
        assert answer[:20] == wanted


def test_a_language_is_known_if_the_tokenizer_has_it_and_english_alone_is_without_one(tmp_path: Path) -> None:
    both, english = Whisper.load(make_whisper(tmp_path / "m", MULTILINGUAL)), Whisper.load(make_whisper(tmp_path / "e"))
    codes = ("en", "fr", "fr-CA", "zh-CN", "cmn", "de", "French")
    assert [code for code in codes if both.knows(code)] == ["en", "fr", "fr-CA", "zh-CN", "cmn"]
    assert [code for code in codes if english.knows(code)] == ["en"]
    wave = noise(1.0)
    assert both.transcribe([wave], "fr") == both.transcribe([wave, wave], "fr-CA")[:1] != both.transcribe([wave])


def test_a_clips_states_do_not_depend_on_the_batch(tiny: Whisper) -> None:
    waves = [noise(s, i) for i, s in enumerate((1.0, 0.33, 2.71, 0.01))]
    states, mask = tiny.encode(waves)
    assert mask.sum(1).tolist() == [50, 17, 136, 5]
    for row, wave in enumerate(waves):
        alone, all_seen = tiny.encode([wave])
        assert bool(all_seen.all())
        torch.testing.assert_close(states[row, : alone.shape[1]], alone[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_transcripts_do_not_depend_on_the_batch(tiny: Whisper, rows: int) -> None:
    waves = [noise(s, i) for i, s in enumerate((1.0, 0.3, 2.0, 0.0, 4.0, 0.5))]
    assert [t for i in range(0, 6, rows) for t in tiny.transcribe(waves[i : i + rows])] == tiny.transcribe(waves)


def test_decoding_does_not_look_at_masked_states(tiny: Whisper) -> None:
    torch.manual_seed(0)
    states, mask = torch.randn(2, 12, 16), torch.ones(2, 12, dtype=torch.bool)
    mask[0, 5:] = False
    longer = states.clone()
    longer[0, 5:] = 100.0
    assert tiny.decode(longer, mask) == tiny.decode(states, mask)
    assert tiny.decode(states, mask)[0] == tiny.decode(states[:1, :5])[0]


def test_a_row_that_does_not_end_is_cut_and_one_that_ends_leaves_the_batch(tiny: Whisper) -> None:
    torch.manual_seed(0)
    states = torch.randn(6, 12, 16) * 3
    answers = tiny.decode(states)
    assert all(len(ids) <= module._MAX_NEW for ids in answers)
    assert [tiny.decode(states[i : i + 1])[0] for i in range(6)] == answers


def test_no_clips_give_no_transcripts(tiny: Whisper) -> None:
    assert tiny.transcribe([]) == []


@pytest.mark.parametrize("length", [0, 1, 160, 1600])
def test_very_short_clips_are_padded(tiny: Whisper, length: int) -> None:
    wave = np.zeros(length, np.float32)
    states, mask = tiny.encode([wave])
    assert states.shape == (1, 5, 16)
    assert mask.shape == (1, 5)
    assert bool(torch.isfinite(states).all())
    assert len(tiny.transcribe([wave])) == 1


def test_thirty_seconds_are_heard_and_a_sample_more_is_refused(tiny: Whisper) -> None:
    assert tiny.encode([np.zeros(FULL, np.float32)])[0].shape[1] == 1500
    for ask in (tiny.encode, tiny.transcribe):
        with pytest.raises(ValueError, match="over Whisper's 30 s"):
            ask([np.zeros(FULL + 1, np.float32)])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_folder_is_an_asset_error_that_names_it(tmp_path: Path, name: str, damage: str) -> None:
    path = make_whisper(tmp_path) / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AssetError, match=f"{tmp_path.name}: this Whisper cannot be loaded"):
        Whisper.load(tmp_path)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["whisper-base", "whisper-tiny.en"])
def test_real_weights_write_down_what_is_said(weights: Callable[[str], Path], name: str) -> None:
    data = (MINI / "audio" / "covost2" / "covost2-001.ogg").read_bytes()
    wave, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == RATE
    heard = Whisper.load(weights(name)).transcribe([wave, np.zeros(160, np.float32)])
    assert heard[0] in (f"The bakery on the corner opens at {six} in the morning." for six in ("six", "6"))


@pytest.mark.parametrize("kind", ["no mask", "causal", "which positions", "added to the scores"])
def test_attention_with_gradients_is_torchs_own(kind: str) -> None:
    """Forward and backward, in float64: 3 rows, 2 heads, 5 queries, 7 positions."""
    torch.manual_seed(0)
    positions = 5 if kind == "causal" else 7
    query, key, value = (
        torch.randn(3, 2, n, 4, dtype=torch.float64, requires_grad=True) for n in (5, positions, positions)
    )
    seen = torch.tensor([[True] * 7, [True] * 4 + [False] * 3, [True] + [False] * 6])[:, None, None]
    added = torch.where(seen, torch.randn(5, 7, dtype=torch.float64), -torch.inf)
    mask = {"which positions": seen, "added to the scores": added}.get(kind)
    got = module._attention(query, key, value, mask, kind == "causal")
    theirs = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, is_causal=kind == "causal")
    torch.testing.assert_close(got, theirs)
    weight = torch.randn_like(got)
    for mine, other in zip(
        torch.autograd.grad((got * weight).sum(), (query, key, value)),
        torch.autograd.grad((theirs * weight).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


def test_a_model_that_waits_for_its_weights_draws_no_values_and_loads_no_compiler() -> None:
    code = """
import sys
from torch import nn
from diva_bench.decoding import tensors
with tensors.shapes_only():
    made = nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 2), nn.Conv1d(2, 2, 3), nn.LayerNorm(2))
assert {p.device.type for p in made.parameters()} == {"meta"}, made
assert [tuple(p.shape) for p in made[:2].parameters()] == [(7, 3), (2, 3), (2,)]
assert nn.Linear(64, 64).weight.abs().max() > 0, "outside, values are drawn again"
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr
