"""What each harness does with a model that raises, and what it asks again after a SIGKILL: 16 clips, Whisper tiny.en.

Two faults: one clip raises, the eighth; all clips raise from the eighth on. Then a run that is killed when eight clips
have been asked about, and the same command again (lmms-eval: with its cache; inspect_ai: `log recover` and `eval-retry`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from install import python
from systems import INSPECT, LMMS, OURS, environment, inspect, lmms, ours, run, start

AT = 8  # the clip, from 1, at which something happens
PATIENCE = 600  # seconds until a run that never gets there is given up


def command(system: str, folder: Path, out: Path) -> list[str]:
    if system == OURS:
        return [*ours(folder, out, model="failing.yaml")]
    return lmms(folder, out, cache=out / "cache") if system == LMMS else inspect(folder, out)


def asked(log: Path) -> int:
    return len(log.read_text(encoding="utf-8").splitlines()) if log.is_file() else 0


def fresh(work: Path, system: str, what: str) -> Path:
    out = work / "runs" / "failures" / f"{system}-{what}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    return out


def raising(work: Path, folder: Path, system: str, names: list[str], what: str) -> dict[str, Any]:
    """What a run prints, scores and exits with whose model raises at `names`."""
    out = fresh(work, system, what)
    variables = environment(work, PEERS_RAISE=",".join(names), PEERS_CLIPS=str(work / "wav"))
    taken = run(command(system, folder, out), folder, variables, out / "printed.txt")
    printed = re.sub(r"\x1b\[[0-9;]*m", "", taken.printed)
    said = [line.strip().replace(f"{out}/", "") for line in printed.splitlines() if "made to fail" in line]
    return {
        "system": system,
        "fault": what,
        "exit": taken.code,
        "said": said[-1] if said else "",
        **stored(system, out),
    }


def stored(system: str, out: Path) -> dict[str, Any]:
    """The score that a run left on disk, and how many clips it counts; None where there is no score."""
    if system == OURS:
        paths = list(out.glob("*/*/summary.json"))
        if not paths:
            return {"score": None, "scored": 0, "failed": None}
        summary = json.loads(paths[0].read_text(encoding="utf-8"))
        value = summary["metrics"].get("wer", {}).get("value") if summary["metrics"] else None
        return {
            "score": value,
            "scored": summary["scored"],
            "failed": summary["errors"],
            "complete": summary["complete"],
        }
    if system == LMMS:
        paths = sorted(out.glob("*/*_results.json"))
        if not paths:
            return {"score": None, "scored": 0, "failed": None}
        results = json.loads(paths[-1].read_text(encoding="utf-8"))
        score = next(v for k, v in results["results"]["clips"].items() if k.startswith("wer,"))
        return {"score": score, "scored": results["n-samples"]["clips"]["effective"], "failed": None}
    code = (
        "import json, sys\nfrom inspect_ai.log import read_eval_log\nlog = read_eval_log(sys.argv[1])\n"
        "metrics = log.results.scores[0].metrics if log.results and log.results.scores else {}\n"
        "print(json.dumps({'score': metrics['mean'].value if 'mean' in metrics else None, 'complete': log.status,\n"
        "    'scored': log.results.completed_samples if log.results else 0,\n"
        "    'failed': sum(s.error is not None for s in log.samples or [])}))\n"
    )
    words = [str(python(out.parents[2], INSPECT)), "-c", code, str(max(out.glob("*.eval")))]
    taken = run(words, out, environment(out.parents[2]), out / "read.txt")
    found: dict[str, Any] = json.loads(taken.printed.strip().splitlines()[-1])
    return found


def killed(work: Path, folder: Path, system: str, count: int) -> dict[str, Any]:
    """How many clips are asked again by the run that follows a SIGKILL."""
    out = fresh(work, system, "killed")
    log = out / "asked.txt"
    variables = environment(work, PEERS_LOG=str(log))
    process = start(command(system, folder, out), folder, variables, out / "killed.txt")
    until = time.monotonic() + PATIENCE
    while asked(log) < AT and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = asked(log)
    again = command(system, folder, out)
    if system == INSPECT:
        crashed = str(max(out.glob("*.eval")))
        tool = [str(python(work, INSPECT)), "-m", "inspect_ai"]
        run([*tool, "log", "recover", "--overwrite", crashed], folder, variables, out / "recovered.txt")
        again = [*tool, "eval-retry", crashed, "--max-connections", "1", "--log-dir", str(out), "--display", "plain"]
    taken = run(again, folder, variables, out / "printed.txt")
    more = asked(log) - before
    return {"system": system, "clips": count, "asked before": before, "asked again": more,
            "lost": before + more - count, "exit": taken.code}  # fmt: skip


def measure(work: Path, size: int) -> dict[str, list[dict[str, Any]]]:
    folder = work / str(size)
    ids = [json.loads(line)["id"] for line in (folder / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    faults = {"one clip raises": ids[AT - 1 : AT], f"all raise from clip {AT} on": ids[AT - 1 :]}
    found: dict[str, list[dict[str, Any]]] = {"raising": [], "killed": []}
    for system in (OURS, LMMS, INSPECT):
        for what, names in faults.items():
            found["raising"].append(raising(work, folder, system, names, what))
        found["killed"].append(killed(work, folder, system, len(ids)))
    return found
