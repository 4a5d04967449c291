"""How long commands take that compute nothing, against starting Python with the two libraries of every command line.

    python benchmarks/startup.py [ROUNDS]

Every round runs all commands once, one after another, so that other work on the machine meets them alike. What counts is
processor time (user and system) of the process; the table has medians and the ratio to `import typer, rich`. The runs of
the last two commands are made first, with the nano models, whose weights have to be on the machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from diva_bench import provenance
from diva_bench.specs.spec_file import builtin_folder

PUBLISHED = str(builtin_folder() / "results" / "mini-v1")
ASKED = ["run", "-m", "diva", "--model-edition", "nano", "-t", "covost2-de", "--limit", "4", "-o"]
COMMANDS: dict[str, list[str]] = {
    "--help": ["--help"],
    "list tasks": ["list", "tasks"],
    "list models": ["list", "models"],
    "leaderboard": ["leaderboard", PUBLISHED],
    "leaderboard --overview": ["leaderboard", PUBLISHED, "--overview"],
    "run --dry-run": ["run", "-m", "diva", "-t", "covost2", "--dry-run", "-o"],
    "run, nothing left": ASKED,
}
GOALS = {
    "--help": 2,
    "list tasks": 6,
    "list models": 6,
    "leaderboard": 10,
    "leaderboard --overview": 10,
    "run --dry-run": 15,
}


def seconds(command: list[str]) -> float:
    """Processor seconds of a process that has to end well."""
    # compiled modules are kept from one process to the next, as for a user
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    with tempfile.TemporaryDirectory() as place:
        output = str(Path(place) / "results")
        ours = {
            name: [sys.executable, "-m", "diva_bench", *words, *([output] if words[-1] == "-o" else [])]
            for name, words in COMMANDS.items()
        }
        bare = [sys.executable, "-c", "import typer, rich"]
        seconds(ours["run, nothing left"])
        every = {"import typer, rich": bare, **ours}
        times: dict[str, list[float]] = {name: [] for name in every}
        for _ in range(rounds):
            for name, command in every.items():
                times[name].append(seconds(command))
    base = median(times["import typer, rich"])
    print(f"{provenance.processor()}, Python {sys.version.split()[0]}; benchmarks/startup.py; medians of {rounds}")
    print(f"{'command':<24}{'CPU s':>8}{'ratio':>8}{'goal':>6}")
    for name, took in times.items():
        print(f"{name:<24}{median(took):>8.3f}{median(took) / base:>8.1f}{GOALS.get(name, '-'):>6}")


if __name__ == "__main__":
    main()
