"""Two real servers: `transformers serve` with a random Qwen2Audio and a random Whisper, and llama.cpp with SmolLM2 as the LLM of
a cascade."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from command_line import call

ENOUGH = 240  # seconds for a server to start


@contextmanager
def process(words: list[str], folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server, with its output in server.log."""
    with (folder / "server.log").open("wb") as log:
        known = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment}
        with subprocess.Popen(words, cwd=folder, env=known, stdout=log, stderr=subprocess.STDOUT) as server:
            try:
                yield server
            finally:
                server.kill()


def started(folder: Path, server: subprocess.Popen[bytes], pattern: str) -> str:
    """The address that a server prints."""
    end = time.monotonic() + ENOUGH
    while time.monotonic() < end:
        text = (folder / "server.log").read_text(encoding="utf-8", errors="replace")
        if match := re.search(pattern, text):
            return match[1]
        assert server.poll() is None, text[-2000:]
        time.sleep(0.2)
    raise AssertionError(f"not started: {text[-2000:]}")


def needs(*modules: str) -> None:
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'diva-bench[dev]'")


def answers(folder: Path, model: str) -> dict[str, dict[str, str]]:
    [file] = folder.glob(f"results/*/{model}-*/responses.jsonl")
    return {row["id"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}


def make_qwen2_audio(folder: Path) -> None:
    """Random weights of width 64 in the layout of Qwen2-Audio-7B-Instruct."""
    import torch
    from tiny_models import byte_tokenizer
    from tokenizers import AddedToken
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer(words=()), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    encoder = {"model_type": "qwen2_audio_encoder", "num_mel_bins": 128, "d_model": 32, "encoder_layers": 2}
    encoder |= {"encoder_attention_heads": 2, "encoder_ffn_dim": 64}
    text = {"model_type": "qwen2", "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128}
    text |= {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
    }
    place = tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    model = Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(audio_config=encoder, text_config=text, audio_token_index=place)
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # at their usual size random weights give the same answer to everything
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 1.2 / parameter.shape[-1] ** 0.5)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids("<|im_end|>")
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=128), tokenizer).save_pretrained(folder)


def test_transformers_serve_answers_a_translation_task(tmp_path):
    needs("fastapi", "uvicorn", "multipart")
    make_qwen2_audio(tmp_path / "tiny" / "qwen2_audio")
    words = [sys.executable, "-m", "transformers.cli.transformers", "serve", "tiny/qwen2_audio"]
    spec = {"name": "served", "extends": "server", "description": "a test", "args": {"model": "tiny/qwen2_audio"}}
    with process([*words, "--host", "127.0.0.1", "--port", "0", "--device", "cpu"], tmp_path) as server:
        url = started(tmp_path, server, r"Uvicorn running on (http://127\.0\.0\.1:\d+)")
        spec["server"] = {"urls": [f"{url}/v1"], "in_flight": 3}
        (tmp_path / "served.yaml").write_text(yaml.safe_dump(spec))
        asked = ["run", "-m", "served.yaml", "-t", "covost2-de", "--limit", "4", "--max-new-tokens", "8"]
        got = call(tmp_path, *asked, "--edition", "mini")
    assert got.returncode == 0, got.stderr
    rows = answers(tmp_path, "served")
    assert [row["status"] for row in rows.values()] == ["ok"] * 4
    assert len({row["text"] for row in rows.values()}) > 1, "the answer depends on the clip"


def test_transformers_serve_is_the_recogniser_of_a_model(tmp_path):
    needs("fastapi", "uvicorn", "multipart")
    from tiny_models import make_whisper, spoil_json
    from transformers import WhisperFeatureExtractor

    folder = make_whisper(tmp_path / "tiny" / "whisper")
    told = {"decoder_start_token_id": 257, "bos_token_id": 256, "pad_token_id": 256, "no_timestamps_token_id": 261}
    spoil_json(folder / "generation_config.json", **told, max_length=24, is_multilingual=False)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    words = [sys.executable, "-m", "transformers.cli.transformers", "serve", "tiny/whisper"]
    spec = {"name": "ear", "adapter": "asr", "description": "a test", "asr": {"model": "tiny/whisper"}}
    with process([*words, "--host", "127.0.0.1", "--port", "0", "--device", "cpu"], tmp_path) as server:
        url = started(tmp_path, server, r"Uvicorn running on (http://127\.0\.0\.1:\d+)")
        spec["asr"]["server"] = {"urls": [f"{url}/v1"], "in_flight": 3}
        (tmp_path / "ear.yaml").write_text(yaml.safe_dump(spec))
        got = call(tmp_path, "run", "-m", "ear.yaml", "-t", "transcribe", "--limit", "4", "--edition", "mini")
    assert got.returncode == 0, got.stderr + (tmp_path / "server.log").read_text()[-2000:]
    rows = answers(tmp_path, "ear")
    assert [(row["status"], row["heard"]) for row in rows.values()] == [("ok", row["text"]) for row in rows.values()]
    assert len({row["text"] for row in rows.values()}) > 1, "the transcript depends on the clip"


@pytest.mark.weights
def test_llama_cpp_is_the_llm_of_a_cascade_and_answers_as_it_does_when_asked_directly(tmp_path, weights):
    needs("xllamacpp")
    model = gguf()
    weights("whisper-tiny.en")
    program = (
        "import sys, time, xllamacpp as x\n"
        "p = x.CommonParams(); p.model.path = sys.argv[1]; p.n_ctx = 4096; p.n_parallel = 2; p.warmup = False\n"
        "p.cpuparams.n_threads = 1; p.hostnames = ['127.0.0.1']; s = x.Server(p)\n"
        "print('at', s.listening_address, flush=True); time.sleep(3600)\n"
    )
    with process([sys.executable, "-c", program, str(model)], tmp_path) as server:
        url = started(tmp_path, server, r"at (http://127\.0\.0\.1:\d+)")
        spec = {"name": "far-llm", "extends": "server", "description": "a test", "args": {"model": "smollm2"}}
        spec |= {"weights": {"asr": "whisper-tiny.en"}, "server": {"urls": [f"{url}/v1"], "in_flight": 2}}
        (tmp_path / "far-llm.yaml").write_text(yaml.safe_dump(spec))
        known = {"DIVA_BENCH_CACHE": os.environ.get("DIVA_BENCH_CACHE", str(Path.home() / ".cache/diva-bench"))}
        asked = ["run", "-m", "far-llm.yaml", "-t", "heysquad", "--limit", "3", "--edition", "mini"]
        got = call(tmp_path, *asked, **known)
        assert got.returncode == 0, got.stderr
        task = json.loads(next(tmp_path.glob("results/*/far-llm-*/run.json")).read_text())["task"]
        rows = answers(tmp_path, "far-llm")
        assert {i: row["text"] for i, row in rows.items()} == {
            i: direct(url, task, row["heard"]) for i, row in rows.items()
        }


def direct(url: str, task: dict[str, dict[str, int]], transcript: str) -> str:
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": f"{task['prompt']}\n\n{transcript}"}],
        "max_tokens": task["decode"]["max_new_tokens"],
        "temperature": 0,
    }
    asked = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"]).strip()


def gguf() -> Path:
    """The GGUF file from which the weights smollm2-135m-instruct were converted; skips where there is none."""
    file = Path(os.environ.get("DIVA_BENCH_TEST_GGUF", "")).expanduser()
    if not file.is_file():
        pytest.skip("DIVA_BENCH_TEST_GGUF does not name a GGUF file of SmolLM2 135M Instruct")
    return file
