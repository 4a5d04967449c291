"""Models that can only translate: SeamlessM4T v2, and a recogniser with NLLB; tiny random weights in the published layouts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
import yaml
from chat_server import FAST, said, serving, transcript
from command_line import call
from mini_task import write
from test_parakeet import make_parakeet
from tiny_models import enlarged, make_whisper, spoil_json, store

from diva_bench.adapters.translation import Seamless, TranslationCascade
from diva_bench.catalog import Catalog
from diva_bench.errors import AssetError
from diva_bench.specs import ModelSpec, Runtime, ServedAsr, Server, prompt
from diva_bench.testing import check_adapter
from diva_bench.types import Adapter, Audio, Request, Response, Sample

LETTERS = [chr(code) for code in (*range(97, 123), *range(65, 91))]
SPEECH = {"de": "deu", "ja": "jpn", "zh-CN": "cmn"}
TEXT = {"de": "deu_Latn", "ja": "jpn_Jpan", "zh-CN": "zho_Hans", "en": "eng_Latn"}
SECONDS = (0.1, 3.0, 1.2, 2.1)


def vocabulary(first: Sequence[str]) -> dict[str, int]:
    return {word: number for number, word in enumerate([*first, "\u2581", *LETTERS])}


def make_seamless(folder: Path, architecture: str = "SeamlessM4Tv2Model") -> Path:
    """All parts of SeamlessM4T v2 large, also those for speech, as the published folder has them."""
    tokenizer = transformers.SeamlessM4TTokenizer(
        vocabulary(["<pad>", "<unk>", "<s>", "</s>"]), additional_special_tokens=[f"__{c}__" for c in SPEECH.values()]
    )
    extractor = transformers.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, stride=2)
    width = {"hidden_size": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2}
    width |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    speech = {"speech_encoder_layers": 2, "speech_encoder_attention_heads": 2, "speech_encoder_intermediate_size": 48}
    units = {f"t2u_{key}": value for key, value in width.items() if key != "hidden_size"}
    sound = {"unit_hifi_gan_vocab_size": 20, "unit_embed_dim": 16, "lang_embed_dim": 8, "spkr_embed_dim": 8}
    sound |= {"upsample_initial_channel": 32, "vocoder_num_langs": 3, "vocoder_num_spkrs": 2, "t2u_vocab_size": 24}
    config = transformers.SeamlessM4Tv2Config(
        vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=3,
        feature_projection_input_dim=160, char_vocab_size=30, variance_predictor_embed_dim=16,
        variance_predictor_hidden_dim=16, **width, **speech, **units, **sound,
    )  # fmt: skip
    model = enlarged(transformers.SeamlessM4Tv2Model(config), 3)
    codes = {code: tokenizer.convert_tokens_to_ids(f"__{code}__") for code in SPEECH.values()}
    model.generation_config = transformers.GenerationConfig(
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, text_decoder_lang_to_code_id=codes
    )  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    transformers.SeamlessM4TProcessor(extractor, tokenizer).save_pretrained(folder)
    if architecture != "SeamlessM4Tv2Model":
        spoil_json(folder / "config.json", architectures=[architecture])
    return folder


def make_nllb(folder: Path) -> Path:
    tokenizer = transformers.NllbTokenizer(
        vocabulary(["<s>", "<pad>", "</s>", "<unk>"]), additional_special_tokens=[*TEXT.values()]
    )
    config = transformers.M2M100Config(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, scale_embedding=True,
    )  # fmt: skip
    enlarged(transformers.M2M100ForConditionalGeneration(config), 5).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("weights")
    made = {"model": make_seamless(place / "model"), "mt": make_nllb(place / "mt")}
    return made | {"asr": make_parakeet(place / "asr", "ParakeetForCTC")}


def spec(adapter: str, languages: dict[str, str], asr: ServedAsr | None = None, **args: Any) -> ModelSpec:
    return ModelSpec(
        name="toy", edition=None, adapter=adapter, description="", citation="", licence="", weights={}, training=None,
        args={"languages": languages, **args}, runtime=Runtime(dtype="float32"), asr=asr,
    )  # fmt: skip


def load(kind: str, folders: dict[str, Path], **args: Any) -> Adapter:
    languages = args.pop("languages", SPEECH if kind == "seamless" else TEXT)
    return (Seamless if kind == "seamless" else TranslationCascade)(spec(kind, languages, **args), folders, "cpu")


def clip(seconds: float, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    return Audio((0.1 * rng.standard_normal(round(seconds * 16_000))).astype(np.float32), 16_000)


def asked(*codes: str, limit: int = 12) -> list[Request]:
    return [
        Request(f"{k}{code}", "Translate.", audio=clip(s, k), max_new_tokens=limit, fields={"language_code": code})
        for code in codes
        for k, s in enumerate(SECONDS)
    ]


KINDS = ["seamless", "translation_cascade"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_translated_as_each_clip_alone_whatever_their_lengths(kind: str, folders: dict[str, Path]) -> None:
    adapter = load(kind, folders)
    together = adapter.generate(asked("de", "ja"))
    assert [(r.status, r.text) for r in together] == [
        (r.status, r.text) for q in asked("de", "ja") for r in adapter.generate([q])
    ]
    assert all(r.status == "ok" and r.tokens["new"] <= 12 for r in together)
    assert len({r.text for r in together}) > 2, "clip and language change the translation"
    if kind == "translation_cascade":
        assert [r.heard for r in together[:4]] == [r.heard for r in together[4:]]
    adapter.close()
    adapter.close()


def test_a_translation_of_speech_is_that_of_the_models_own_code(folders: dict[str, Path]) -> None:
    model = transformers.SeamlessM4Tv2ForSpeechToText.from_pretrained(folders["model"]).eval()
    processor = transformers.AutoProcessor.from_pretrained(folders["model"])
    adapter = load("seamless", folders)
    for code, theirs in SPEECH.items():
        for request, got in zip(asked(code), adapter.generate(asked(code)), strict=True):
            inputs = processor.feature_extractor([request.audio.samples], sampling_rate=16_000, return_tensors="pt")  # type: ignore[union-attr]
            ids = model.generate(**inputs, tgt_lang=theirs, max_new_tokens=12, do_sample=False, num_beams=1)
            assert got.text == processor.tokenizer.decode(ids[0], skip_special_tokens=True).strip()


def test_a_translation_of_a_transcript_is_that_of_the_models_own_code(folders: dict[str, Path]) -> None:
    model = transformers.M2M100ForConditionalGeneration.from_pretrained(folders["mt"]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["mt"], src_lang="eng_Latn")
    with serving(lambda body, before: transcript(said(body).replace("ms", "mm"))) as server:
        asr = ServedAsr(model="w", server=Server(urls=(server.url,), **{**FAST, "timeout": 30.0}))
        adapter = TranslationCascade(spec("translation_cascade", TEXT, asr), folders, "cpu")
        got = adapter.generate(asked("zh-CN"))
        adapter.close()
    assert [r.heard for r in got] == ["clip of 100 mm", "clip of 3000 mm", "clip of 1200 mm", "clip of 2100 mm"]
    for response in got:
        inputs = tokenizer(response.heard, return_tensors="pt")
        start = tokenizer.convert_tokens_to_ids("zho_Hans")
        ids = model.generate(**inputs, forced_bos_token_id=start, max_new_tokens=13, do_sample=False, num_beams=1)
        assert response.text == tokenizer.decode(ids[0], skip_special_tokens=True).strip()


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_translated_is_unsupported_in_its_place(kind: str, folders: dict[str, Path]) -> None:
    adapter = load(kind, folders)
    de = {"language_code": "de"}
    long = adapter.max_seconds + 1.0  # type: ignore[attr-defined]
    requests = [
        Request("long", "", audio=clip(long), fields=de),
        Request("fits", "", audio=clip(0.3), fields=de, max_new_tokens=4),
        Request("none", "", fields=de),
        Request("question", "Who was he?", audio=clip(0.3)),
        Request("welsh", "", audio=clip(0.3), fields={"language_code": "cy"}),
    ]
    got = {r.id: (r.status, r.detail) for r in adapter.generate(requests)}
    assert got["long"] == ("unsupported", f"audio is {long:.1f} s; this model takes at most {long - 1:.0f} s")
    assert got["fits"] == ("ok", "")
    assert got["none"] == ("unsupported", "this sample has no audio")
    assert "this model only translates, and the request names no language" in got["question"][1]
    known = ", ".join(SPEECH if kind == "seamless" else TEXT)
    assert got["welsh"][1] == f"this model does not translate into 'cy'; it knows {known}"


def test_a_transcript_in_a_language_that_the_translator_does_not_know_is_unsupported(folders: dict[str, Path]) -> None:
    adapter = load("translation_cascade", folders)
    fields = {"language_code": "de", "speech_language": "cy"}
    [got] = adapter.generate([Request("a", "", audio=clip(0.3), fields=fields)])
    assert (got.status, got.detail) == (
        "unsupported",
        f"this model does not translate from 'cy'; it knows {', '.join(TEXT)}",
    )


def test_a_transcript_that_is_too_long_for_the_translator_is_unsupported(folders: dict[str, Path]) -> None:
    def answer(body: Any, before: int) -> Any:
        return transcript("word " * 40 if said(body) == "clip of 3000 ms" else "yes")

    with serving(answer) as server:
        asr = ServedAsr(model="w", server=Server(urls=(server.url,), **{**FAST, "timeout": 30.0}))
        adapter = TranslationCascade(spec("translation_cascade", TEXT, asr), folders, "cpu")
        got = adapter.generate(asked("de"))
        adapter.close()
    assert [r.status for r in got] == ["ok", "unsupported", "ok", "ok"]
    assert "this model takes at most 64" in got[1].detail
    assert got[1].heard == ("word " * 40).strip()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_lack_a_language_or_are_another_model_are_refused(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(AssetError, match=r"the model does not know 'xxx', which args.languages of model toy names"):
        load(kind, folders, languages={"de": "xxx"})
    other = {**folders, "model": make_whisper(tmp_path / "w"), "mt": tmp_path / "w"}
    with pytest.raises(AssetError, match="WhisperForConditionalGeneration is no translation model that is known here"):
        load(kind, other)


@pytest.mark.parametrize("model", ["seamless-m4t-v2", "whisper-nllb"])
def test_every_other_task_is_refused_before_anything_is_asked(tmp_path: Path, model: str) -> None:
    asked = ["run", "-m", model, "--model-edition", "full", "--edition", "mini", "--dry-run"]
    got = call(tmp_path, *asked, "-t", "heysquad")
    assert got.returncode == 2
    assert (
        f"model {model} only translates speech; it follows no prompt. Task heysquad is no translation: it has neither `fields: "
        "{language_code: CODE}` nor the scorer adherence with `form: translation`. Leave the model or the task out."
        in " ".join(got.stderr.split())
    )
    assert not list(tmp_path.glob("results/*"))
    assert call(tmp_path, *asked, "-t", "covost2").returncode == 0


def test_the_shipped_models_know_every_language_of_covost2() -> None:
    catalog = Catalog()
    for name in ("seamless-m4t-v2", "whisper-nllb"):
        model = catalog.model(name, "full")
        for task in (catalog.task(leaf, "full") for leaf in catalog.subsets("covost2-all", "full")):
            assert not catalog.adapter_for(model).refuses(task, model)  # type: ignore[attr-defined]
        for task in (catalog.task(leaf, "full") for leaf in catalog.subsets("covost2-to-en", "full")):
            assert not catalog.adapter_for(model).refuses(task, model)  # type: ignore[attr-defined]
    kamba = catalog.task("fleurs-to-en-kam_ke", "full")
    assert "does not translate from 'kam' (task fleurs-to-en-kam_ke)" in catalog.adapter_for(model).refuses(
        kamba, model
    )  # type: ignore[attr-defined]
    hot = catalog.task("covost2-de", "mini").model_copy(update={"fields": {"language_code": "xx"}})
    assert "does not translate into 'xx' (task covost2-de)" in catalog.adapter_for(model).refuses(hot, model)  # type: ignore[attr-defined]


def test_a_request_carries_the_language_and_the_question_keeps_its_identity() -> None:
    catalog = Catalog()
    sample = Sample("a", ("x",), "a")
    carried = {
        name: prompt.build(catalog.task(name, "mini"), sample, frozenset()).fields
        for name in ("covost2-zh-CN", "heysquad")
    }
    assert carried == {"covost2-zh-CN": {"language_code": "zh-CN"}, "heysquad": {}}
    assert "language_code" not in json.dumps(catalog.task("covost2-zh-CN", "mini").identity())


def test_a_run_of_a_task_of_mine_that_names_its_language(folders: dict[str, Path], tmp_path: Path) -> None:
    place = write(tmp_path / "specs", 4)
    task = yaml.safe_load((place / "toy.yaml").read_text())
    (place / "toy.yaml").write_text(yaml.safe_dump({**task, "fields": {"what": "it", "language_code": "ja"}}))
    store(folders["model"], place, "toy-seamless")
    model = {"name": "toy-model", "adapter": "seamless", "description": "d", "args": {"languages": SPEECH}}
    model |= {"weights": {"model": "toy-seamless"}, "runtime": {"dtype": "float32"}}
    (place / "toy-model.yaml").write_text(yaml.safe_dump(model))
    got = call(tmp_path, "run", "-m", "toy-model", "-t", "toy", "--path", "specs", "--max-new-tokens", "5")
    assert got.returncode == 0, got.stderr
    [file] = tmp_path.glob("results/*/toy-model-*/responses.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["status"] for row in rows} == {"ok"}
    assert len(rows) == 4


class Told:
    """A translator whose requests all name German, for the rules of adapters."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter, self.accepts, self.version = adapter, adapter.accepts, adapter.version
        self.max_seconds = adapter.max_seconds  # type: ignore[attr-defined]

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return self._adapter.generate([replace(r, fields={"language_code": "de"}) for r in requests])

    def close(self) -> None:
        self._adapter.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_contract_of_adapters_holds(kind: str, folders: dict[str, Path]) -> None:
    args = {"max_seconds": 31.0} if kind == "seamless" else {}
    check_adapter(Told(load(kind, folders, **args)), skip=["memory", "30 s", "over-long"])
