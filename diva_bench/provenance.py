"""What a run record says about where it came from: versions, commit, hardware, command line, time; and the device and the
number format that a machine computes in."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from diva_bench import __version__
from diva_bench.errors import UserError

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "soundfile", "soxr", "sacrebleu", "scikit-learn", "jiwer")


def collect(command: str) -> dict[str, Any]:
    """Not part of any identity: the same answers on another machine are the same run. `command`: how the run was started,
    see `command_line`."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "versions": {"diva-bench": __version__, "python": platform.python_version(), **_versions()},
        "git": _git(),
        "machine": {"system": platform.platform(), "processor": processor(), "cores": os.cpu_count()},
    }


def command_line(argv: Sequence[str]) -> str:
    """What was typed. Absolute paths are cut to their last part: a record says what was done, not where on whose machine."""
    return " ".join(["diva-bench", *map(_bare, argv[1:])])


def _bare(word: str) -> str:
    """A word of the command line: also -o/abs, --NAME=/abs, name=/abs,name=/abs, and paths inside longer texts."""
    short = _SHORT_OPTION.match(word)
    option, rest = (short[1], short[2]) if short else ("", word)
    pieces = [_last(piece) if piece.startswith(("/", "~/")) else piece for piece in re.split("([=,])", rest)]
    return without_folders(option + "".join(pieces)).encode(errors="backslashreplace").decode()


def without_folders(text: str) -> str:
    """A text, such as what an exception says, with every absolute path cut to its last part: a record that is published
    says nothing of where on whose machine. Addresses (https://...) stay."""
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
    """Commit and dirty flag of the checkout that this package runs from; None for an installed one."""
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


def processor() -> str:
    """Model name of the CPU, as far as the system tells."""
    named = next((line for line in _cpuinfo() if line.startswith("model name")), "")
    if named:
        return named.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device(name: str) -> str:
    """The torch device for a spec's `device`: auto is CUDA where there is one. UserError where it is not available."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
        return "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as err:
        have = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        reason = str(err).splitlines()[0]
        raise UserError(f"device {name!r} is not available ({reason}). Available: {', '.join(have)}.") from err
    return name


def dtype(name: str, device: str) -> str:
    """The number format for a setting's `dtype`: auto is bfloat16 where the device has instructions for it, else float32,
    which is several times faster there."""
    if name != "auto":
        return name
    return "bfloat16" if bfloat16(device).startswith("native") else "float32"


def bfloat16(device: str) -> str:
    """How a torch device multiplies bfloat16 matrices: "native", "native (AMX)", "slow (...)" or "unknown"."""
    if not device.startswith("cuda"):
        return _cpu_bfloat16() if device == "cpu" else "unknown"
    import torch

    # Ampere was the first to compute in it
    return "native" if torch.cuda.get_device_capability(device)[0] >= 8 else "slow (emulated)"


def _cpu_bfloat16() -> str:
    """By the flags that the CPU reports."""
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
    """Lines of /proc/cpuinfo; none where there is no such file."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
