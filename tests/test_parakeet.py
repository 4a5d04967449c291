"""Recognisers beside Whisper: tiny random Parakeets, stored as the published ones are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_models import byte_tokenizer, make_llm, make_whisper

from diva_bench.adapters.asr import Asr
from diva_bench.adapters.cascade import Cascade
from diva_bench.decoding.memo import Memo
from diva_bench.decoding.parakeet import ARCHITECTURES, Parakeet, load_recogniser
from diva_bench.decoding.whisper import RATE, Whisper
from diva_bench.errors import AssetError
from diva_bench.specs import ModelSpec, Runtime
from diva_bench.types import Audio, Request

WAVES = [np.random.default_rng(k).normal(0, 0.1, n).astype(np.float32) for k, n in enumerate((24_000, 800, 160_000))]


def make_parakeet(folder: Path, architecture: str) -> Path:
    inner = byte_tokenizer()
    inner.add_special_tokens(["<pad>", "<blank>"])
    pad, blank = inner.token_to_id("<pad>"), inner.token_to_id("<blank>")
    ctc = architecture == "ParakeetForCTC"
    tokenizer = transformers.ParakeetTokenizer(tokenizer_object=inner, pad_token="<pad>")
    extractor = transformers.ParakeetFeatureExtractor(feature_size=80)
    kinds = {"ParakeetForCTC": "ctc", "ParakeetForRNNT": "rnnt", "ParakeetForTDT": "tdt"}
    processor = transformers.ParakeetProcessor(extractor, tokenizer, decoder_type=kinds[architecture])
    encoder = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
        "subsampling_conv_channels": 8, "num_mel_bins": 80, "initializer_range": 0.3,
    }  # fmt: skip
    kind = getattr(transformers, f"{architecture.replace('For', '')}Config")
    more: dict[str, Any] = {} if ctc else {"decoder_hidden_size": 24, "num_decoder_layers": 1, "blank_token_id": blank}
    torch.manual_seed(1)
    model = getattr(transformers, architecture)(
        kind(vocab_size=blank + 1, pad_token_id=pad, encoder_config=encoder, **more)
    )
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1 or not ctc:  # random biases would outweigh the audio, and CTC write one token
                value.normal_(0, 0.3)
    if not ctc:
        model.generation_config.decoder_start_token_id = blank  # as its converter writes it
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_parakeet(tmp_path_factory.mktemp("asr") / "parakeet", request.param)


def test_a_transcript_is_that_of_transformers_and_does_not_depend_on_the_batch(folder: Path) -> None:
    ours = load_recogniser(folder, "cpu", "float32")
    assert isinstance(ours, Parakeet)
    texts = ours.transcribe(WAVES)
    assert texts == [ours.transcribe([wave])[0] for wave in WAVES]
    processor = transformers.AutoProcessor.from_pretrained(folder)
    model = getattr(transformers, json.loads((folder / "config.json").read_text())["architectures"][0])
    alone = model.from_pretrained(folder, dtype=torch.float32).eval()
    for wave, text in list(zip(WAVES, texts, strict=True))[::2]:
        most = {} if "CTC" in type(alone).__name__ else {"max_new_tokens": 10_000}
        written = alone.generate(**processor([wave], sampling_rate=RATE), **most)
        ids = getattr(written, "sequences", written)
        assert text == processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
    assert len(texts[2]) > 3 * len(texts[0]) > 0  # ten seconds are not cut


def test_a_clip_over_its_limit_is_unsupported_and_a_short_one_is_heard(folder: Path, tmp_path: Path) -> None:
    spec = ModelSpec(
        name="toy", edition=None, adapter="asr", description="", citation="", licence="", args={}, weights={},
        runtime=Runtime(dtype="float32"), training=None,
    )  # fmt: skip
    asr = Asr(spec, {"asr": folder}, "cpu")
    long = np.zeros(601 * RATE, np.float32)
    answers = asr.generate([Request(str(k), "", Audio(wave, RATE)) for k, wave in enumerate([*WAVES, long])])
    assert [answer.status for answer in answers] == ["ok", "ok", "ok", "unsupported"]
    assert "takes at most 600 s" in answers[3].detail
    cascade = Cascade(spec, {"asr": folder, "llm": make_llm(tmp_path / "llm")}, "cpu")
    [response] = cascade.generate([Request("a", "", Audio(WAVES[1], RATE), max_new_tokens=2)])
    assert response.heard == answers[1].text  # the transcript is stored with the answer


def test_a_memo_keeps_its_transcripts(folder: Path, tmp_path: Path) -> None:
    with Memo().keeping(tmp_path) as memo:
        first = memo.transcribe(load_recogniser(folder, "cpu", "float32"), WAVES[:1])
        assert memo.transcribe(load_recogniser(folder, "cpu", "float32"), WAVES[:1]) == first
        assert memo.hits == 1


def test_the_architecture_decides_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    assert isinstance(load_recogniser(make_whisper(tmp_path / "w"), "cpu", "float32"), Whisper)
    with pytest.raises(AssetError, match=r"LlamaForCausalLM is no recogniser that is known here. Allowed: Whisper"):
        load_recogniser(make_llm(tmp_path / "llm"), "cpu", "float32")
    (tmp_path / "w" / "config.json").write_text('{"architectures": ["ParakeetForCTC"]}')
    with pytest.raises(AssetError, match="this ParakeetForCTC cannot be loaded"):
        load_recogniser(tmp_path / "w", "cpu", "float32")
