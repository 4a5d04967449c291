"""lmms-eval, inspect_ai, a plain loop and diva-bench at the same work, in turns, on one core. See README.md.

python benchmarks/peers/peers.py install WORK
python benchmarks/peers/peers.py measure WORK asr failures nano --repeats 5
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import install
import work as given
from failures import measure as failures
from report import asr_table, failures_table, pairs_table
from systems import COMMANDS, HERE, LMMS, OURS, environment, lmms, run, transcripts

from diva_bench import provenance

PARTS = ("asr", "nano", "mini", "failures")
MODELS = ("cascade", "diva")
BUSY = 1.5  # load before the first process of a part; the part before it leaves a load of one behind


def medians(rows: list[dict[str, Any]], *keys: str) -> dict[str, Any]:
    """Median CPU and wall seconds of the rows that have the same `keys`, in the order in which they came."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    numbers = [name for name, value in rows[0].items() if isinstance(value, float)]
    return {
        " ".join(map(str, group)): {name: statistics.median(row[name] for row in some) for name in numbers}
        for group, some in groups.items()
    }


def asr(folder: Path, sizes: list[int], repeats: int, batched: int) -> dict[str, Any]:
    """Every harness transcribes every set of clips, in turns; transcripts are compared after each round."""
    commands: dict[str, Any] = dict(COMMANDS)
    if batched > 1:
        commands[f"{LMMS}, batches of {batched}"] = lambda where, out: lmms(where, out, batch=batched)
    rows: list[dict[str, Any]] = []
    for repeat in range(repeats):
        for size in sizes:
            answers: dict[str, dict[str, str]] = {}
            for name, command in commands.items():
                out = folder / "runs" / "asr" / name
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir(parents=True)
                taken = run(
                    command(folder / str(size), out), folder / str(size), environment(folder), out / "printed.txt"
                )
                if taken.code:
                    sys.exit(f"{name} ended with {taken.code}:\n{taken.printed[-2000:]}")
                answers[name] = transcripts(name.split(",")[0], folder / str(size), out)
                rows.append({"system": name, "clips": size, "cpu": taken.cpu, "wall": taken.wall})
                print(f"asr {repeat + 1}/{repeats} {name}, {size} clips: {taken.cpu:.1f} s CPU", flush=True)
            check(folder, size, answers)
    return {"rows": rows, "medians": medians(rows, "system", "clips"), "sizes": sizes}


def check(folder: Path, size: int, answers: dict[str, dict[str, str]]) -> None:
    """Ends the program where transcripts differ. lmms-eval keeps them only in Whisper's normal form."""
    from transformers import WhisperTokenizer

    normal = WhisperTokenizer.from_pretrained(folder / "whisper").normalize
    for name, found in answers.items():
        form = normal if name.startswith(LMMS) else str
        expected = {clip: form(text) for clip, text in answers[OURS].items()}
        if len(expected) != size or found != expected:
            different = [(clip, text, found.get(clip)) for clip, text in expected.items() if found.get(clip) != text]
            sys.exit(f"{name}: {len(found)} of {size} transcripts, and these are not those of {OURS}: {different[:3]}")


def pairs(folder: Path, edition: str, clips: int, repeats: int) -> dict[str, Any]:
    """diva-bench and the plain loop, in turns, for both models; answers are compared."""
    rows: list[dict[str, Any]] = []
    differing: dict[str, list[str]] = {}
    for repeat in range(repeats):
        for model in MODELS:
            answers = {}
            for who in ("our_run", "plain_loop"):
                out = folder / "runs" / f"{who}-{model}-{edition}.json"
                words = [sys.executable, str(HERE / f"{who}.py"), model, edition, str(folder / str(clips)), str(out)]
                taken = run(words, folder, environment(folder), out.with_suffix(".txt"))
                if taken.code:
                    sys.exit(f"{who} {model} {edition} ended with {taken.code}:\n{taken.printed[-2000:]}")
                made = json.loads(out.read_text(encoding="utf-8"))
                answers[who] = made["answers"]
                rows.append({"who": who, "model": model, "cpu": made["cpu"], "wall": made["wall"],
                             "whole_cpu": taken.cpu, "whole_wall": taken.wall})  # fmt: skip
                print(f"{edition} {repeat + 1}/{repeats} {model} {who}: {made['cpu']:.1f} s CPU", flush=True)
            plain = answers["plain_loop"]
            differing[model] = [clip for clip, text in answers["our_run"].items() if plain.get(clip) != text]
    return {"rows": rows, "medians": medians(rows, "model", "who"), "clips": clips, "different answers": differing}


def about(folder: Path, core: int, repeats: int) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "machine": f"{provenance.processor()}, one core of {os.cpu_count()}, Python {platform.python_version()}",
        "load": os.getloadavg()[0],
        "commit": commit.stdout.strip(),
        "core": core,
        "repeats": repeats,
        "versions": install.versions(folder),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure lmms-eval, inspect_ai, a plain loop and diva-bench.")
    parser.add_argument("what", choices=("install", "measure"))
    parser.add_argument("work", type=Path, help="a folder outside the checkout, for environments, clips and runs")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all but mini")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; tables show medians (default: 5)")
    parser.add_argument("--clips", type=int, nargs=2, default=[16, 48], help="two numbers of clips (default: 16 48)")
    parser.add_argument("--batched", type=int, default=0, help="also lmms-eval with batches of so many clips")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core that all run on")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the results, PART.json and PART.txt")
    options = parser.parse_args()
    folder = options.work.resolve()
    if folder.is_relative_to(HERE.parents[1]):
        parser.error(f"{folder} is inside the checkout; name a folder outside it.")
    if strange := set(options.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(strange))}: no such part. Parts: {', '.join(PARTS)}.")
    if not 0 < options.clips[0] < options.clips[1] <= 48 or options.repeats < 1:
        parser.error("--clips takes two numbers, the smaller first, up to 48; --repeats a number from 1.")
    if options.what == "install":
        folder.mkdir(parents=True, exist_ok=True)
        install.install(folder)
        return
    if not all((folder / name / "installed").is_file() for name in install.PEERS):
        parser.error(f"{folder} has no environments of the peers. First: python {sys.argv[0]} install {folder}")
    os.sched_setaffinity(0, {options.core})
    measure(folder, options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Each part writes a file of its own, so that it can be measured again alone."""
    given.prepare(folder, tuple(sorted({*options.clips, 16})))
    for part in dict.fromkeys(options.parts or [part for part in PARTS if part != "mini"]):
        seen = about(folder, options.core, options.repeats)
        if part == "asr":
            found = asr(folder, options.clips, options.repeats, options.batched)
            lines = asr_table(found, OURS)
        elif part == "failures":
            found = failures(folder, 16)
            lines = failures_table(found)
        else:
            found = pairs(folder, part, options.clips[1], options.repeats)
            lines = pairs_table(found, part)
        seen["load after"] = os.getloadavg()[0]
        text = "\n".join([*heading(part, seen), "", *lines]) + "\n"
        print(text, flush=True)
        options.output.mkdir(parents=True, exist_ok=True)
        path = options.output / f"{part}.json"
        path.write_text(json.dumps({"about": seen, **found}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        path.with_suffix(".txt").write_text(text, encoding="utf-8")


def heading(part: str, seen: dict[str, Any]) -> list[str]:
    """Machine, date and versions; times that were taken on a busy machine are preliminary."""
    versions = [", ".join(f"{name} {number}" for name, number in one.items()) for one in seen["versions"].values()]
    lines = [f"{seen['date']}; benchmarks/peers/peers.py, {part}; {seen['machine']}", "; ".join(versions)]
    if part == "failures":
        return lines
    load = f"load {seen['load']:.1f} before, {seen['load after']:.1f} after"
    lines.append(f"medians of {seen['repeats']}; {load}")
    if seen["load"] > BUSY:
        lines.append("PRELIMINARY: other programs were running, so the times are too high and uneven.")
    return lines


if __name__ == "__main__":
    main()
