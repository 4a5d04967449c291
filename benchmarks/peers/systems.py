"""The three harnesses as commands that transcribe the same clips, and what each of them has answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from install import python

HERE = Path(__file__).resolve().parent
OURS, LMMS, INSPECT = "diva-bench", "lmms-eval", "inspect-ai"
READ_LOG = """\
import json, sys
from inspect_ai.log import read_eval_log
log = read_eval_log(sys.argv[1])
print(json.dumps({s.id: s.output.completion for s in log.samples or [] if s.output and s.output.choices}))
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process took: CPU seconds (its own and its children's), wall seconds; its exit code and all that it printed."""

    cpu: float
    wall: float
    code: int
    printed: str


def environment(work: Path, **more: str) -> dict[str, str]:
    """One thread, nothing from the Hub, and the files of this folder importable."""
    variables = {
        "PYTHONPATH": f"{HERE}{os.pathsep}{work / 'plugin'}",
        "LMMS_EVAL_PLUGINS": "lmms_side",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(work / "hub"),
        "NO_COLOR": "1",
        "COLUMNS": "400",
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    }
    return {**os.environ, **variables, **more}


def start(words: list[str], folder: Path, variables: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """The command in a session of its own, so that its children can be ended with it; all that it prints goes to `log`."""
    with log.open("wb") as file:
        return subprocess.Popen(
            words, cwd=folder, env=variables, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )


def run(words: list[str], folder: Path, variables: Mapping[str, str], log: Path) -> Taken:
    began = time.perf_counter()
    process = start(words, folder, variables, log)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
    return Taken(used.ru_utime + used.ru_stime, wall, process.returncode, log.read_text(errors="replace"))


def ours(folder: Path, out: Path, model: str = "whisper") -> list[str]:
    words = [sys.executable, "-m", "diva_bench", "run", "--model", model, "--task", "asr.yaml"]
    words += ["--edition", "mini", "--output", str(out)]
    return words + (["--model-edition", "nano"] if model == "whisper" else [])


def lmms(folder: Path, out: Path, batch: int = 1, cache: Path | None = None) -> list[str]:
    words = [str(python(folder.parent, LMMS)), "-m", "lmms_eval", "--model", "whisper_cpu"]
    words += ["--model_args", f"pretrained={folder.parent / 'whisper'}", "--batch_size", str(batch)]
    words += ["--tasks", "clips", "--include_path", str(HERE / "lmms_side" / "tasks")]
    words += ["--output_path", str(out), "--log_samples"]
    return words + (["--use_cache", str(cache)] if cache else [])


def inspect(folder: Path, out: Path) -> list[str]:
    words = [str(python(folder.parent, INSPECT)), "-m", "inspect_ai", "eval", f"{HERE / 'inspect_side.py'}@clips"]
    words += ["-T", f"folder={folder}", "--model", "whisper/tiny.en", "-M", f"folder={folder.parent / 'whisper'}"]
    return [*words, "--max-connections", "1", "--log-dir", str(out), "--display", "plain"]


COMMANDS = {OURS: ours, LMMS: lmms, INSPECT: inspect}


def transcripts(system: str, folder: Path, out: Path) -> dict[str, str]:
    """Clip -> what a run of `system` with its results in `out` has answered. lmms-eval writes Whisper's normal form."""
    if system == OURS:
        [path] = out.glob("*/*/responses.jsonl")
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {row["id"]: row["text"] for row in rows if row["status"] == "ok"}
    if system == INSPECT:
        latest = max(out.glob("*.eval"))
        asked = [str(python(folder.parent, INSPECT)), "-c", READ_LOG, str(latest)]
        found: dict[str, str] = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
        return found
    ids = [json.loads(line)["id"] for line in (folder / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    latest = max(out.glob("*/*_samples_clips.jsonl"))
    rows = [json.loads(line) for line in latest.read_text(encoding="utf-8").splitlines()]
    return {ids[row["doc_id"]]: row["filtered_resps"] for row in rows}
