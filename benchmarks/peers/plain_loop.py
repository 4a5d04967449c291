"""The code that a researcher would write: load the parts, then one clip after another.

    python plain_loop.py cascade nano WORK/48 answers.json

Whisper's transcripts and the LLM's answers are those of transformers' `generate`; the encoder and the connector of DiVA
are ours, a clip at a time, because only they know the connector. Prompt, template and limits are those of the task.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, WhisperForConditionalGeneration, WhisperProcessor
from work import weights

from diva_bench.decoding.whisper import Whisper
from diva_bench.diva import checkpoint
from diva_bench.diva.reading import contents


def recogniser(edition: str) -> Callable[[Any], str]:
    folder = weights("asr", "cascade", edition)
    processor = WhisperProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    language = {"language": "en", "task": "transcribe"} if edition == "mini" else {}  # tiny.en knows English only

    def transcribe(wave: Any) -> str:
        features = processor(wave, sampling_rate=16_000, return_tensors="pt").input_features
        ids = model.generate(features, do_sample=False, num_beams=1, **language)
        return str(processor.batch_decode(ids, skip_special_tokens=True)[0]).strip()

    return transcribe


def connected(edition: str, embeddings: torch.Tensor) -> Callable[[Any], torch.Tensor]:
    path = weights("connector", "diva", edition)
    encoder = Whisper.load(weights("encoder", "diva", edition), "cpu", "float32")
    full = checkpoint.fits(path, encoder, embeddings)
    checkpoint.load_encoder(path, encoder)
    connector = checkpoint.load(path).to(torch.device("cpu"), torch.float32)

    def listen(wave: Any) -> torch.Tensor:
        states, mask = encoder.encode([wave], full)
        virtual, counts = connector(states, mask)
        return contents(connector, virtual, counts, embeddings)[0][0]

    return listen


@torch.inference_mode()
def main(model: str, edition: str, folder: Path, target: Path) -> None:
    task = yaml.safe_load((folder / "translate.yaml").read_text(encoding="utf-8"))
    llm_folder = weights("llm", model, edition)
    tokenizer = AutoTokenizer.from_pretrained(llm_folder)
    llm = AutoModelForCausalLM.from_pretrained(llm_folder, dtype=torch.float32).eval()
    embed = llm.get_input_embeddings()

    def ids(text: str) -> torch.Tensor:
        return tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids[0]

    turns = [{"role": "user", "content": f"{task['prompt']}\n\nHERE"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    before, after = (embed(ids(part)) for part in text.split("HERE"))
    if model == "cascade":
        transcribe = recogniser(edition)
        listen = lambda wave: embed(ids(transcribe(wave)))  # noqa: E731
    else:
        listen = connected(edition, embed.weight)

    rows = [json.loads(line) for line in (folder / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    answers = {}
    cpu, wall = time.process_time(), time.perf_counter()
    for row in rows:
        wave, _ = soundfile.read(row["audio"], dtype="float32")
        prompt = torch.cat([before, listen(wave), after])[None]
        attention = torch.ones(prompt.shape[:2], dtype=torch.long)
        out = llm.generate(
            inputs_embeds=prompt, attention_mask=attention, do_sample=False,
            max_new_tokens=task["decode"]["max_new_tokens"],
        )  # fmt: skip
        answers[row["id"]] = tokenizer.decode(out[0], skip_special_tokens=True).strip()
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    target.write_text(json.dumps({**spent, "answers": answers}, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
