"""The clips of `clips.jsonl` as a task of lmms-eval, scored by the word error rate of its LibriSpeech tasks."""

from __future__ import annotations

from typing import Any

import soundfile
from lmms_eval.tasks.librispeech.utils import librispeech_wer


def audio(doc: dict[str, Any]) -> list[dict[str, Any]]:
    wave, rate = soundfile.read(doc["audio"], dtype="float32")
    return [{"array": wave, "sampling_rate": rate}]


def prompt(doc: dict[str, Any], lmms_eval_specific_kwargs: Any = None) -> str:
    return "Please recognize the speech and only output the recognized content:"


def scored(doc: dict[str, Any], result: list[str]) -> dict[str, Any]:
    return {"wer": {"gt": doc["text"], "pred": result[0] if result else "", "task": "asr_en"}}


def error_rate(results: list[dict[str, str]], args: Any = None) -> float:
    return float(librispeech_wer(results, args))
