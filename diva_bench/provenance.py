"""The origin of a run in its record (versions, commit, hardware, command line, time), and the device and number format of
a machine."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from diva_bench import __version__
from diva_bench.errors import UserError

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "soundfile", "soxr", "sacrebleu", "scikit-learn", "jiwer")


def collect(command: str) -> dict[str, Any]:
    """The origin of a run. It is not part of any identity: the same answers from another machine are the same run.

    Args:
        command: How the run was started, see `command_line`.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "versions": {"diva-bench": __version__, "python": platform.python_version(), **_versions()},
        "git": _git(),
        "machine": {"system": platform.platform(), "processor": processor(), "cores": os.cpu_count()},
    }


def compute(device: str | None) -> dict[str, Any]:
    """The machine that a model runs on, for speeds: device, processor, cores of this process, and threads of torch, if the
    model uses torch.

    Args:
        device: The torch device; None if it is not known.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found: dict[str, Any] = {"processor": processor(), "cores": cores}
    if torch := sys.modules.get("torch"):
        found["threads"] = torch.get_num_threads()
    if device is not None:
        found["device"] = torch.cuda.get_device_name(device) if torch and device.startswith("cuda") else device
    return found


def peak_memory(device: str | None) -> int:
    """Bytes: the peak of torch on a GPU (on Apple's what is held now), else the peak resident memory of this process."""
    if device and device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    if device and device.startswith("mps"):
        import torch

        return int(torch.mps.driver_allocated_memory())  # torch keeps no peak there: what is held now
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def command_line(argv: Sequence[str]) -> str:
    """The command as it was typed, with absolute paths cut to their last part: records must not show folders of a machine."""
    return " ".join(["diva-bench", *map(_bare, argv[1:])])


def _bare(word: str) -> str:
    """One word of the command line with absolute paths cut, also in -o/abs, --NAME=/abs, name=/abs,name=/abs, and in
    longer texts."""
    short = _SHORT_OPTION.match(word)
    option, rest = (short[1], short[2]) if short else ("", word)
    pieces = [_last(piece) if piece.startswith(("/", "~/")) else piece for piece in re.split("([=,])", rest)]
    return without_folders(option + "".join(pieces)).encode(errors="backslashreplace").decode()


def without_folders(text: str) -> str:
    """A text, such as an exception message, with every absolute path cut to its last part, because records are published.
    Addresses (https://...) stay."""
    text = _QUOTED_PATH.sub(lambda m: f"{m[1]}{_last(m[2])}{m[1]}", text)
    return _PATH.sub(lambda m: _last(m[0]), text)


_SHORT_OPTION = re.compile(r"(-[A-Za-z])([/~].*)", re.DOTALL)
_QUOTED_PATH = re.compile(r"""(['"])((?:file://)?~?/[^'"\n]+)\1""")
_PATH = re.compile(r"""(?<![\w.~/-])(?:file://)?~?(?:/[^\s/'"`,;:()\[\]{}<>|=]+){2,}/?""")


def _last(path: str) -> str:
    return Path(path).name


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _git() -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that this package runs from; None for an installed package."""
    folder = Path(__file__).parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changed.strip())}


CGROUP = Path("/sys/fs/cgroup/memory.max")
"""File with the memory limit of a container, which the memory count of the system does not include."""


def memory() -> tuple[int, int]:
    """(total, free) bytes of memory, within the limit of a container if there is one; free is 0 if unknown."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lines = _lines(Path("/proc/meminfo"))
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
    limit = "".join(_lines(CGROUP)).strip()
    if limit.isdigit():
        total = min(total, int(limit))
    return total, min(free, total)


def device_memory(device: str | None) -> tuple[int, int]:
    """(total, free) bytes of a torch device; of all GPUs together for None; (0, 0) if there is no such device. Where the
    system does not say what is free, all of it counts as free."""
    import torch

    if device is None:
        each = [torch.cuda.mem_get_info(index) for index in range(torch.cuda.device_count())]
        return sum(total for _, total in each), sum(free for free, _ in each)
    if device.startswith("cuda"):
        if not torch.cuda.is_available() or (torch.device(device).index or 0) >= torch.cuda.device_count():
            return 0, 0
        free, total = torch.cuda.mem_get_info(device)
        return total, free
    total, free = memory()  # that of Apple's GPUs is the machine's
    return total, free or total


def processor() -> str:
    """Model name of the CPU, if the system reports it."""
    named = next((line for line in _cpuinfo() if line.startswith("model name")), "")
    if named:
        return named.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device(name: str) -> str:
    """The torch device for a spec's `device`; "auto" is CUDA if there is one.

    Raises:
        UserError: The device is not available.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
        return "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as err:
        have = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count())), *["mps"] * has_mps()]
        reason = str(err).splitlines()[0]
        raise UserError(f"device {name!r} is not available ({reason}). Available: {', '.join(have)}.") from err
    return name


def has_mps() -> bool:
    """Whether there is a GPU of Apple that torch can use. `auto` never takes it: nobody has tested it yet."""
    import torch

    return bool(torch.backends.mps.is_available())


def dtype(name: str, device: str) -> str:
    """The number format for a setting `dtype`. "auto" is bfloat16 if the device has instructions for it, else float32,
    because bfloat16 is several times slower without them."""
    if name != "auto":
        return name
    return "bfloat16" if bfloat16(device).startswith("native") else "float32"


def bfloat16(device: str) -> str:
    """How a torch device multiplies bfloat16 matrices: "native", "native (AMX)", "slow (...)" or "unknown"."""
    if not device.startswith("cuda"):
        return _cpu_bfloat16() if device == "cpu" else "unknown"
    import torch

    # Ampere is the first generation with bfloat16
    return "native" if torch.cuda.get_device_capability(device)[0] >= 8 else "slow (emulated)"


def _cpu_bfloat16() -> str:
    """The support of bfloat16 by the flags of the CPU."""
    flags: set[str] = set()
    for line in _cpuinfo():
        if line.startswith(("flags", "Features")):
            flags = set(line.partition(":")[2].split())
            break
    if not flags:
        return "unknown"
    for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16"), ("bf16", "Arm BF16")):
        if flag in flags:
            return f"native ({name})"
    return "slow (no instructions for it)"


def _cpuinfo() -> list[str]:
    return _lines(Path("/proc/cpuinfo"))


def _lines(path: Path) -> list[str]:
    """The lines of a system file; empty if there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
