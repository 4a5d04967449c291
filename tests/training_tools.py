"""A training small enough to run in a test: tiny models, seconds of noise with words, a run over them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile
from tiny_models import make_llm, make_whisper

from diva_bench.diva.config import TrainConfig
from diva_bench.training import run as running
from diva_bench.types import Progress, Silent

CLOCK = ("device_seconds", "s_per_step", "audio_s_per_s")  # what a clock says in a row of metrics.jsonl
FIRST, SECOND = 6, 4  # steps of alignment, then of both losses
SETTINGS: dict[str, Any] = {
    "encoder": "w", "llm": "l", "max_queries": 12, "layers": 2, "batch": 4, "both_batch": 2, "steps": FIRST + SECOND,
    "align_steps": FIRST, "warmup": 2, "held_out": 4, "dtype": "float32", "log_every": 1, "evaluate_every": 5,
    "save_every": 3,
}  # fmt: skip

DEATHS = [  # moments of SCRIPT, one after another, until a training is over
    ("encoded", 1), ("encoded", 2),  # nothing stored; one group of clips of two
    ("taught", 1), ("encoded", 2),  # the held-out transcripts; when those are stored, the others
    ("step", 1), ("step", 3), ("saved", 1),  # before there is a checkpoint
    ("saved", 2), ("step", 2), ("saved", 1),  # in the first phase
    ("step", 5), ("step", 4),  # in the second one
]  # fmt: skip
EVERYTHING: dict[str, Any] = {
    "cache_states": False, "train_encoder": True, "variants": 1, "distill_positions": 2, "pad": 1.0
}  # fmt: skip


TIME: dict[str, Any] = {
    "queries": "time", "stride": 1, "locality": 3.0, "alignment": "ctc", "pull": 1.0, "negatives": 60
}  # fmt: skip
"""Time queries aligned by CTC; every encoder position has a query, since the clips are short for their words."""


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**(SETTINGS | changes))


def wav(seconds: float, level: float = 0.3, seed: int = 0) -> bytes:
    """White noise as a 16 kHz WAV file."""
    file = io.BytesIO()
    noise = level * np.random.default_rng(seed).uniform(-1, 1, int(16_000 * seconds))
    soundfile.write(file, noise.astype(np.float32), 16_000, format="WAV")
    return file.getvalue()


def parquet(file: Path, rows: list[tuple[bytes, str]]) -> Path:
    table = [{"audio": {"bytes": sound, "path": None}, "text": text} for sound, text in rows]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), file)
    return file


def make_place(folder: Path, clips: int = 32) -> Path:
    """Tiny models in whisper/ and llm/, and clips of 0.2 s and more with texts in train-000.parquet."""
    make_whisper(folder / "whisper")
    make_llm(folder / "llm")
    parquet(folder / "train-000.parquet", [(wav(0.2 + 0.02 * k, seed=k), f"text {k}") for k in range(clips)])
    return folder


def prepared(
    place: Path, output: Path, cache: Path | None = None, given: Path | None = None, progress: Progress | None = None,
    **changes: Any,
) -> Any:  # fmt: skip
    """A run over a place, its caches in `cache` (beside the output unless given)."""
    return running.prepare_training(
        config(**changes), whisper_dir=place / "whisper", llm_dir=place / "llm", sources=[str(given or place)],
        output=output, cache=cache or output.parent / "cache", progress=progress or Silent(),
    )  # fmt: skip


class Notes(Silent):
    """Progress that keeps what is said once."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def note(self, text: str) -> None:
        self.all.append(text)


def rows_of(output: Path) -> list[dict[str, float]]:
    """metrics.jsonl without what a clock says."""
    lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in lines]


# ---------------------------------------------------------------- in processes of their own

SCRIPT = """
import json, os, signal, sys, traceback
from pathlib import Path
from training_tools import prepared
from diva_bench.training import caches, frozen, state, train
from diva_bench.types import Silent

def doomed(holder, name, _, at):
    # SIGKILL before the at-th call
    work, calls = getattr(holder, name), []
    def call(*args, **kwargs):
        calls.append(1)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*args, **kwargs)
    setattr(holder, name, call)

MOMENTS = {
    "encoded": (caches.ArrayCache, "append"),  # a group of clips is encoded, or one of transcripts taught, not stored
    "taught": (frozen.Frozen, "teacher_states"),
    "step": (train, "update"),
    "saved": (state.disk, "sync"),             # a checkpoint is written aside, not in its place
}

def job(place, output, cache, changes, kill):
    if kill:
        doomed(*MOMENTS[kill[0]], *kill)
    train.train(prepared(Path(place), Path(output), Path(cache), **changes), Silent())

for given in json.loads(sys.argv[1]):
    if len(sys.argv) > 2:  # one of several processes
        job(**given)
        continue
    child = os.fork()  # a process of its own, without the seconds that importing takes
    if not child:
        try:
            job(**given)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def job(place: Path, output: Path, cache: Path, kill: tuple[str, int] | None = None, **changes: Any) -> dict[str, Any]:
    """A training for `in_processes`; `kill`: SIGKILL before the n-th call of a kind in SCRIPT's MOMENTS."""
    return {"place": str(place), "output": str(output), "cache": str(cache), "changes": changes, "kill": kill}


def in_processes(
    folder: Path, jobs: list[dict[str, Any]], *launcher: str, shown: dict[str, str] | None = None
) -> list[int]:
    """Run trainings one after another, each in a process of its own; their exit codes, -9 for a killed one.

    `launcher`: words between python and the script that start several processes, which share the jobs. `shown`: the
    environment that shows them GPUs (conftest.py); else they see none."""
    script = folder / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, *launcher, str(script), json.dumps(jobs), *(["shared"] if launcher else [])]
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    environment = {**(shown or os.environ), "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "PYTHONWARNINGS": "default"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=600 if shown else 120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
    assert process.returncode == 0, err[-3000:]
    return [int(line) for line in out.split()] if not launcher else []
