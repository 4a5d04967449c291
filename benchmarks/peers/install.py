"""Environments of their own for the peers, with pinned versions, and a check that each one starts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SHARED = ("torch==2.13.0", "transformers==5.23.0", "soundfile==0.14.0", "jiwer==4.0.0")
"""What does the work, in the versions of `constraints.txt`, so that the harnesses alone differ."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What to install, what to remove afterwards, and a module whose import shows that it starts."""

    package: str
    pins: tuple[str, ...]
    unwanted: tuple[str, ...]
    starts: str


PEERS = {
    # its file locks need filelock before 3.30; PyPI's torchvision is built for a torch with CUDA, and beside a torch for
    # CPUs its import fails ("operator torchvision::nms does not exist") and takes lmms-eval with it
    "lmms-eval": Peer("lmms-eval[audio]==0.7.3", ("filelock<3.30",), ("torchvision",), "lmms_eval.__main__"),
    "inspect-ai": Peer("inspect-ai==0.3.285", (), (), "inspect_ai"),
}


def python(work: Path, name: str) -> Path:
    """The interpreter of a peer's environment in the folder `work`."""
    return work / name / "bin" / "python"


def install(work: Path) -> None:
    """Make what is missing. pip asks the index that this machine is set up with.

    Raises:
        subprocess.CalledProcessError: pip fails, or a peer does not start.
    """
    for name, peer in PEERS.items():
        place, done = work / name, work / name / "installed"
        if done.is_file():
            print(f"{name}: is there")
            continue
        print(f"{name}: installing {peer.package} into {place}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        pip = [python(work, name), "-m", "pip", "--quiet"]
        subprocess.run([*pip, "install", peer.package, *SHARED, *peer.pins], cwd=work, check=True)
        if peer.unwanted:
            subprocess.run([*pip, "uninstall", "--yes", *peer.unwanted], cwd=work, check=True)
        subprocess.run([python(work, name), "-c", f"import {peer.starts}"], cwd=work, check=True)
        done.touch()


def versions(work: Path) -> dict[str, dict[str, str]]:
    """Peer -> package -> version, of what does the work."""
    code = (
        "import sys\nfrom importlib.metadata import version\n"
        "for name in sys.argv[1:]:\n    print(name, version(name))\n"
    )
    table = {}
    for name in PEERS:
        asked = [python(work, name), "-c", code, name, "torch", "transformers"]
        lines = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
        table[name] = dict(line.split() for line in lines)
    return table
