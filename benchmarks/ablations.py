"""Do the ablations of nano differ beyond the noise of training? Tables of trainings and of a probe, as Markdown.

    python benchmarks/ablations.py results/nano/training results/nano/probe.json > results/nano/TRAINING.md

`training/` holds the training.json of every training, named <variant>-s<seed>.json; probe.json is what `diva-bench probe`
wrote of the same connectors, named diva-nano-<variant>-s<seed>. A difference between variants is tested twice: over
seeds (Welch's t-test on the three final values of each: the noise of training), and over clips (paired cluster bootstrap
of one seed, which `diva-bench probe` and `diva-bench ablate` give).
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from scipy.stats import ttest_ind

from diva_bench.stats import holm
from diva_bench.tables import Cell, Column, Table

METRICS = ("nearest", "align", "distill", "kl", "first_token")
DIGITS = {"nearest": 1, "align": 3, "distill": 2, "kl": 3, "first_token": 1}
BASE = "base"

Record = dict[str, Any]


def load(folder: Path) -> dict[str, list[Record]]:
    """variant -> its trainings by seed; base first."""
    found: dict[str, list[Record]] = {}
    for path in sorted(folder.glob("*-s*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(path.stem.rsplit("-s", 1)[0], []).append(record | {"seed": path.stem.rsplit("-s", 1)[1]})
    order = sorted(found, key=lambda name: (name != BASE, -len(found[name]), name))
    return {name: found[name] for name in order}


def spread(values: Sequence[float], digits: int) -> str:
    """ "43.1 ± 0.2" (mean and standard deviation over seeds), or the one value there is."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def cost(trainings: dict[str, list[Record]]) -> Table:
    """What every variant took: means over its seeds."""
    rows: list[list[Cell]] = []
    for name, runs in trainings.items():
        config = runs[0]["config"]
        work = [run["compute"] for run in runs]
        mean = [statistics.mean(w[k] for w in work) for k in ("examples", "device_seconds")]
        rows.append(
            [
                name,
                len(runs),
                f"{config['align_steps']} + {config['steps'] - config['align_steps']}",
                round(mean[0]),
                sum(work[0]["flops"].values()) / 1e12,
                round(mean[1]),
                max(w["peak_memory_bytes"] for w in work) / 1e9,
            ]
        )
    names = ("variant", "seeds", "steps: alignment + rest", "examples", "TFLOP")
    columns = [Column(n) for n in (*names, "device-seconds", "peak GB")]
    note = (
        "TFLOP: with the first pass over the data, whose outputs all variants share; device-seconds: of the steps alone"
    )
    return Table("what each training took", columns, rows, [note])


def ends(trainings: dict[str, list[Record]], pick: str = "dev_float32") -> Table:
    """Held-out scores at the end; mean and standard deviation over seeds; p against base over seeds."""
    ps: dict[tuple[str, str], float] = {}
    base = trainings[BASE]
    for name, runs in trainings.items():
        if name != BASE and len(runs) > 1:
            for metric in METRICS:
                got = ttest_ind(
                    [r[pick][metric] for r in runs], [r[pick][metric] for r in base], equal_var=False
                ).pvalue
                ps[name, metric] = float(got) if not math.isnan(got) else 1.0
    adjusted = dict(zip(ps, holm(list(ps.values())), strict=True))
    rows: list[list[Cell]] = []
    for name, runs in trainings.items():
        cells: list[Cell] = []
        for metric in METRICS:
            text = spread([r[pick][metric] for r in runs], DIGITS[metric])
            cells.append(f"{text} *" if adjusted.get((name, metric), 1.0) < 0.05 else text)
        rows.append([name, len(runs), *cells])
    columns = [Column("variant"), Column("seeds"), *(Column(m.replace("_", " "), number=True) for m in METRICS)]
    clips = base[0]["clips_held_out"]
    note = (
        f"held-out texts, {clips} clips; ± standard deviation over seeds; * differs from base: Welch's t-test over seeds, "
        f"below 0.05 after Holm over {len(ps)} comparisons"
    )
    return Table("held-out clips at the end of training", columns, rows, [note])


def matched(trainings: dict[str, list[Record]], by: str) -> Table:
    """Every variant's last look at the held-out clips beside base's at the same `by` (examples, flops), between two looks
    on a straight line; and beside the other way round where the variant goes on for longer."""
    rows: list[list[Cell]] = []
    curve = _looks(trainings[BASE][0])
    for name, runs in trainings.items():
        if name == BASE:
            continue
        theirs = _looks(runs[0])
        at = min(curve[-1][by], theirs[-1][by])
        pair = [_at(looks, by, at) for looks in (theirs, curve)]
        if pair[0] is None or pair[1] is None:
            continue
        cells: list[Cell] = [f"{pair[0][m]:.{DIGITS[m]}f} / {pair[1][m]:.{DIGITS[m]}f}" for m in METRICS]
        rows.append([name, f"{at / 1e12:.0f} T" if by == "flops" else f"{at:.0f}", *cells])
    columns = [Column("variant"), Column(by), *(Column(m.replace("_", " "), number=True) for m in METRICS)]
    return Table(f"variant / base at equal {by} (seed 0)", columns, rows)


def _looks(run: Record) -> list[dict[str, float]]:
    return [
        {"examples": row["examples"], "flops": row["flops"], "seconds": row["device_seconds"], "step": row["step"]}
        | {m: row[f"dev_{m}"] for m in METRICS}
        for row in run["curve"]
        if "dev_nearest" in row
    ]


def _at(looks: list[dict[str, float]], by: str, value: float) -> dict[str, float] | None:
    """Scores at `value`, on a straight line between the looks around it; None before the first look."""
    for before, after in pairwise(looks):
        if before[by] <= value <= after[by]:
            part = (value - before[by]) / max(after[by] - before[by], 1e-9)
            return {m: before[m] + part * (after[m] - before[m]) for m in METRICS}
    return {m: looks[-1][m] for m in METRICS} if looks[-1][by] == value else None


def steps(trainings: dict[str, list[Record]]) -> Table:
    """Base's scores against steps, mean over seeds."""
    looks = [_looks(run) for run in trainings[BASE]]
    rows: list[list[Cell]] = []
    for same in zip(*looks, strict=True):
        cells: list[Cell] = [spread([look[m] for look in same], DIGITS[m]) for m in METRICS]
        rows.append([round(same[0]["step"]), round(same[0]["examples"]), *cells])
    columns = [Column("step"), Column("examples"), *(Column(m.replace("_", " "), number=True) for m in METRICS)]
    return Table("base: held-out scores against steps", columns, rows)


def probed(record: Record, prefix: str = "diva-nano-") -> list[Table]:
    """Probe scores of all connectors, for every source of clips, mean and standard deviation over seeds."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, model in record["models"].items():
        if "tokens" not in model or not name.startswith(prefix):
            continue
        variant = name.removeprefix(prefix).rsplit("-s", 1)[0].replace("-", "_")
        for source, scores in model["tokens"].items():
            found.setdefault(source, {}).setdefault(variant, []).append(scores)
    tables = []
    for source, variants in found.items():
        if source.endswith(".jsonl"):
            continue  # a part of what stands under the name of its folder, or under all
        rows: list[list[Cell]] = []
        order = sorted(variants, key=lambda name: (name != BASE, -len(variants[name]), name))
        for name in order:
            cells: list[Cell] = [spread([s[m]["value"] for s in variants[name]], DIGITS[m]) for m in METRICS]
            rows.append([name, len(variants[name]), *cells])
        first = variants[order[0]][0]["nearest"]
        columns = [Column("variant"), Column("seeds"), *(Column(m.replace("_", " "), number=True) for m in METRICS)]
        tables.append(Table(f"probe, {source}: {first['n']} clips, {first['clusters']} texts", columns, rows))
    return tables


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    trainings = load(Path(sys.argv[1]))
    tables = [
        cost(trainings),
        ends(trainings),
        steps(trainings),
        matched(trainings, "examples"),
        matched(trainings, "flops"),
    ]
    if len(sys.argv) == 3:
        tables += probed(json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    print("<!-- Generated by benchmarks/ablations.py. Do not edit. -->\n\n# Trainings of nano and its ablations\n")
    print("\n".join(table.to_markdown() for table in tables))


if __name__ == "__main__":
    main()
