"""The clips of `clips.jsonl` as a task of inspect_ai, and Whisper as a model provider: its own providers for local models
take no audio. One clip at a time, as its examples of providers do."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import faults
import jiwer
import numpy as np
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser, ContentAudio, ContentText, GenerateConfig, ModelAPI, ModelOutput, modelapi
from inspect_ai.scorer import Score, mean, scorer
from inspect_ai.solver import generate


@modelapi(name="whisper")
def provider() -> type[ModelAPI]:
    import soundfile
    import torch
    from transformers import AutoProcessor, WhisperForConditionalGeneration

    class WhisperAPI(ModelAPI):
        def __init__(self, model_name: str, *args: Any, folder: str, **kwargs: Any) -> None:
            super().__init__(model_name, config=kwargs.get("config", GenerateConfig()))
            self._processor = AutoProcessor.from_pretrained(folder)
            self._model = WhisperForConditionalGeneration.from_pretrained(folder, dtype="float32").eval()
            self._broken = [soundfile.read(faults.CLIPS / f"{name}.wav", dtype="float32")[0] for name in faults.RAISE]

        async def generate(self, input: list[Any], *args: Any, **kwargs: Any) -> ModelOutput:
            [sound] = [part for part in input[-1].content if isinstance(part, ContentAudio)]
            if sound.audio.startswith("data:"):
                source: Any = io.BytesIO(base64.b64decode(sound.audio.partition(",")[2]))
            else:
                source = sound.audio
            faults.note(1)
            wave, rate = soundfile.read(source, dtype="float32")
            if any(np.array_equal(wave, one) for one in self._broken):
                raise RuntimeError("made to fail")
            text = await anyio.to_thread.run_sync(self._transcribe, wave, rate)  # scores and stores meanwhile
            return ModelOutput.from_content(self.model_name, text)

        @torch.inference_mode()
        def _transcribe(self, wave: Any, rate: int) -> str:
            inputs = self._processor(wave, sampling_rate=rate, return_tensors="pt")
            ids = self._model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=224)
            return str(self._processor.batch_decode(ids, skip_special_tokens=True)[0]).strip()

        def max_connections(self) -> int:
            return 1

    return WhisperAPI


@scorer(metrics=[mean()])
def word_errors() -> Any:
    async def score(state: Any, target: Any) -> Score:
        return Score(value=jiwer.wer(target.text.lower(), state.output.completion.lower()))

    return score


@task
def clips(folder: str) -> Task:
    rows = [json.loads(line) for line in (Path(folder) / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    prompt = "Write down what is said."
    samples = [
        Sample(
            id=row["id"],
            input=[ChatMessageUser(content=[ContentText(text=prompt), ContentAudio(audio=row["audio"], format="wav")])],
            target=row["text"],
        )
        for row in rows
    ]
    return Task(dataset=samples, solver=generate(), scorer=word_errors())
