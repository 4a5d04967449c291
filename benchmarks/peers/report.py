"""Results of `peers.py` as text tables."""

from __future__ import annotations

from typing import Any


def asr_table(found: dict[str, Any], ours: str) -> list[str]:
    """CPU and wall seconds of whole processes; per clip and start-up come from the difference between the two sizes."""
    few, many = found["sizes"]
    rows: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(row["system"] for row in found["rows"]):
        small, large = found["medians"][f"{name} {few}"], found["medians"][f"{name} {many}"]
        clip = (large["cpu"] - small["cpu"]) / (many - few)
        rows[name] = {"few": small["cpu"], "many": large["cpu"], "wall": large["wall"], "clip": clip,
                      "start": small["cpu"] - few * clip}  # fmt: skip
    head = f"{few} clips, {many} clips: CPU seconds of the whole process; per clip: without start-up; x: of {ours}"
    lines = [f"Transcribing with Whisper tiny.en, float32. {head}. Same transcripts in all.",
             f"{'':<26}{few:>9}{'x':>6}{many:>9}{'x':>6}{'wall':>9}{'start-up':>10}{'per clip':>10}{'x':>6}"]  # fmt: skip
    base = rows[ours]
    for name, row in rows.items():
        lines.append(
            f"{name:<26}{row['few']:>9.2f}{row['few'] / base['few']:>6.2f}{row['many']:>9.2f}"
            f"{row['many'] / base['many']:>6.2f}{row['wall']:>9.2f}{row['start']:>10.2f}{row['clip']:>10.3f}"
            f"{row['clip'] / base['clip']:>6.2f}"
        )
    return lines


def pairs_table(found: dict[str, Any], edition: str) -> list[str]:
    lines = [
        f"A plain loop, one clip at a time, against diva-bench: {found['clips']} clips, {edition}, float32, at most 32 new",
        "tokens. CPU and wall seconds without start-up; whole: CPU seconds of the whole process.",
        f"{'':<10}{'ours':>9}{'loop':>9}{'x':>6}{'ours wall':>11}{'loop wall':>11}{'ours whole':>12}{'loop whole':>12}"
        f"{'x':>6}  answers that differ",
    ]
    for model, different in found["different answers"].items():
        ours, loop = (found["medians"][f"{model} {who}"] for who in ("our_run", "plain_loop"))
        lines.append(
            f"{model:<10}{ours['cpu']:>9.2f}{loop['cpu']:>9.2f}{loop['cpu'] / ours['cpu']:>6.2f}{ours['wall']:>11.2f}"
            f"{loop['wall']:>11.2f}{ours['whole_cpu']:>12.2f}{loop['whole_cpu']:>12.2f}"
            f"{loop['whole_cpu'] / ours['whole_cpu']:>6.2f}  {len(different)}"
        )
    return lines


def failures_table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = [
        "A model that raises, 16 clips. scored: clips that the score counts.",
        f"{'':<12}{'fault':<30}{'exit':>5}{'score':>8}{'scored':>8}{'failed':>8}  what it prints about the failure",
    ]
    for row in found["raising"]:
        score = "none" if row["score"] is None else f"{row['score']:.3g}"
        failed = "" if row["failed"] is None else str(row["failed"])
        lines.append(
            f"{row['system']:<12}{row['fault']:<30}{row['exit']:>5}{score:>8}{row['scored']:>8}{failed:>8}  "
            + (row["said"][:90] or "nothing")
        )
    lines += ["", "Killed (SIGKILL) after about half of 16 clips, then the same again.",
              f"{'':<12}{'asked before':>13}{'asked again':>13}{'lost':>6}{'exit':>6}"]  # fmt: skip
    for row in found["killed"]:
        lines.append(
            f"{row['system']:<12}{row['asked before']:>13}{row['asked again']:>13}{row['lost']:>6}{row['exit']:>6}"
        )
    return lines
