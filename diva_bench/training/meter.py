"""The compute ledger of a running training (formulas in diva/compute.py)."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from diva_bench import provenance
from diva_bench.diva.compute import (
    Ledger,
    LLMShape,
    WhisperShape,
    Work,
    first_pass_flops,
    peak_memory_bytes,
    step_flops,
)
from diva_bench.training.run import TrainingRun


class Meter:
    """Adds every step to the ledger: its FLOPs by formula, its time by the clock.

    FLOPs include the first pass over the data, whoever computed it; seconds are only of steps, because all ablations
    share the caches of the first pass.
    """

    def __init__(self, run: TrainingRun, before: Mapping[str, Any] | None) -> None:
        self._run, self._work = run, work_of(run)
        count = torch.get_num_threads()
        threads = f", {count} thread{'s' if count > 1 else ''}" if run.device.type == "cpu" else ""
        name = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else provenance.processor()
        self.ledger = Ledger(
            device=(name or platform.machine()) + threads,
            devices=run.accelerator.num_processes,
            audio_hours_unique=round(run.clips.seconds / 3600, 3),
        )
        if before:
            self.ledger = Ledger.from_json({**before, "device": self.ledger.device, "devices": self.ledger.devices})
        else:
            self.ledger.add_work(first_pass_flops(self._work, len(run.clips.items)), 0.0)
        self._marked = (0.0, 0.0, 0)  # (audio seconds, wall seconds, steps) since the last row

    def step(self, step: int, whole: Sequence[int], seconds: float) -> None:
        """`whole`: the clips of all processes; `seconds`: wall time."""
        clips = [self._run.clips.items[i] for i in whole]
        audio_seconds, tokens = sum(c.seconds for c in clips), sum(len(c.tokens) for c in clips)
        before, after = self._run.frozen.frames[self._run.frozen.frame_of(step)]
        mean = replace(
            self._work, clip_seconds=audio_seconds / len(clips), transcript_tokens=tokens / len(clips),
            prefix=len(before), suffix=len(after),
        )  # fmt: skip
        flops = step_flops(mean, len(clips), runs_llm=self._run.config.runs_llm(step))
        self.ledger.add_step(
            clips=len(clips),
            audio_seconds=audio_seconds,
            flops=flops,
            seconds=seconds,
            peak_bytes=peak_memory_bytes(str(self._run.device)),
        )
        audio, wall, steps = self._marked
        self._marked = (audio + audio_seconds, wall + seconds, steps + 1)

    @property
    def speed(self) -> float:
        """Seconds of audio per second of wall time since the last row."""
        audio, wall, _ = self._marked
        return audio / wall if wall else 0.0

    def row(self) -> dict[str, float]:
        """For metrics.jsonl; resets the counters. Times have separate names, because all other values of a row are
        reproducible."""
        audio, wall, steps = self._marked
        self._marked = (0.0, 0.0, 0)
        return {
            "examples": self.ledger.clips,
            "flops": self.ledger.total_flops,
            "device_seconds": round(self.ledger.device_seconds, 2),
            "s_per_step": round(wall / max(steps, 1), 4),
            "audio_s_per_s": round(audio / wall, 1) if wall else 0.0,
        }

    def record(self) -> dict[str, Any]:
        """`compute` of training.json."""
        held = self.ledger.to_json()
        return {
            "examples": held.pop("clips"),
            **held,
            "first_pass_seconds": round(self._run.clips.first_pass_seconds, 1),
        }


def work_of(run: TrainingRun) -> Work:
    """This run on its mean clip."""
    items = run.clips.items
    return Work(
        config=run.config,
        whisper=WhisperShape.from_config(run.whisper.config),
        llm=LLMShape.from_config(run.frozen.llm.model.config),
        connector=run.trained.connector.config,
        clip_seconds=run.clips.seconds / len(items),
        transcript_tokens=sum(len(c.tokens) for c in items) / len(items),
        prefix=len(run.frozen.before),
        suffix=len(run.frozen.after),
    )
