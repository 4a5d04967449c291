"""Tables of the speed of stored runs, one for each machine, because speeds of different machines cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diva_bench.disk import size
from diva_bench.errors import UnreadableRun
from diva_bench.runs.run import Run
from diva_bench.tables import Cell, Column, Table

_STAGES = ("encode", "transcribe", "reuse", "prefill", "labels", "decode")
_OTHER = "other"
_NOTES = (
    "samples/s, RTFx (seconds of audio per second): all batches of the run on this machine; the time to load the model does not "
    "count; -: not measured, because clips had been encoded for another run of the same command",
    "first answer: seconds from the start of asking, with the model loaded, until the answers of the first batch",
    "peak memory: of the GPU; on a CPU of the process, which includes models that the same command ran before",
    "stages: share of the time in %; encode: speech encoder and connector; transcribe: recogniser of a cascade; reuse: "
    "stored results of either are read; other: the rest",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine and settings of a run. Speeds can be compared if all of them are equal. None: not recorded, in runs of older
    versions."""

    device: str | None
    processor: str
    cores: int | None
    threads: int | None
    dtype: str

    @property
    def title(self) -> str:
        """The machine as text, for the title of a table."""
        parts = [
            f"device {self.device}" if self.device else "device not recorded",
            self.processor or "processor not recorded",
            f"{self.cores} cores" if self.cores else "cores not recorded",
            f"{self.threads} threads" if self.threads else "threads not recorded",
            self.dtype or "number format not recorded",
        ]
        return ", ".join(
            "1 core" if part == "1 cores" else "1 thread" if part == "1 threads" else part for part in parts
        )


@dataclass(slots=True)
class Measured:
    """The speed of one run on one machine.

    Attributes:
        run: The run.
        rows: Samples.
        audio: Seconds of audio.
        wall: Seconds of asking.
        first: Seconds until the answers of the first batch.
        memory: Peak memory in bytes.
        stages: Stage -> seconds.
    """

    run: Run
    rows: int = 0
    audio: float = 0.0
    wall: float = 0.0
    first: float | None = None
    memory: int | None = None
    stages: dict[str, float] = field(default_factory=dict)

    def add(self, batch: dict[str, Any]) -> None:
        """Add a batch, a line of timing.jsonl."""
        self.rows += batch["rows"]
        self.audio += batch["audio"]
        self.wall += batch["wall"]
        if self.first is None:
            self.first = batch.get("first")
        self.memory = max(self.memory or 0, batch["memory"]) if "memory" in batch else self.memory
        for stage, seconds in batch["stages"].items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds

    def share(self, stage: str) -> float | None:
        """Share of a stage in the wall time, in per cent; None if the run does not have the stage."""
        if stage == _OTHER:
            return 100 * max(0.0, self.wall - sum(self.stages.values())) / self.wall
        return 100 * self.stages[stage] / self.wall if stage in self.stages else None


def measured(runs: Iterable[Run]) -> dict[Machine, list[Measured]]:
    """Machine -> speeds of runs. Runs without a model that computes, and runs whose timing cannot be read, are left out. A
    run that was continued on another machine has an entry for each machine.
    """
    by_machine: dict[Machine, list[Measured]] = {}
    for run in runs:
        try:
            batches, machine = run.folder.timing(), _of_older(run)
        except UnreadableRun:  # the answers of such a run can still be used
            continue
        parts: dict[Machine, Measured] = {}
        for batch in batches:
            if "machine" in batch:
                recorded = {"device": None, "threads": None, **batch["machine"]}
                machine = Machine(dtype=run.summary.dtype or "", **recorded)
            if batch["stages"] and batch["wall"]:
                parts.setdefault(machine, Measured(run)).add(batch)
        for machine, part in parts.items():
            by_machine.setdefault(machine, []).append(part)
    return by_machine


def _of_older(run: Run) -> Machine:
    """The machine on which a run began, from run.json; for runs of older versions, which do not record it for each batch."""
    recorded = run.folder.record().get("machine")
    recorded = recorded if isinstance(recorded, dict) else {}
    cores = recorded.get("cores")
    processor = str(recorded.get("processor", ""))
    return Machine(None, processor, cores if isinstance(cores, int) else None, None, run.summary.dtype or "")


def speed_tables(runs: Iterable[Run]) -> list[Table]:
    """One table for each machine. Its rows are sorted by task, and then by speed, the fastest run first."""
    found = measured(runs)
    return [_table(machine, found[machine]) for machine in sorted(found, key=lambda machine: machine.title)]


def no_speed(results: Path) -> str:
    """The message if there is no table of speeds."""
    return f"{results}: no speeds: no model computed in these runs, or their timing.jsonl cannot be read."


def _table(machine: Machine, parts: Sequence[Measured]) -> Table:
    stages = [s for s in _STAGES if any(s in part.stages for part in parts)]
    stages += sorted({s for part in parts for s in part.stages} - {*stages})
    stages.append(_OTHER)
    rows: list[list[Cell]] = []
    for part in sorted(parts, key=lambda p: (p.run.summary.title, -p.rows / p.wall, p.run.summary.run_id)):
        summary = part.run.summary
        memory = size(part.memory) if part.memory else None
        rates = [None, None] if "reuse" in part.stages else [part.rows / part.wall, part.audio / part.wall]
        cells: list[Cell] = [summary.title, summary.label, part.rows, *rates]
        rows.append([*cells, part.first, memory, *(part.share(stage) for stage in stages), summary.run_id])
    columns = [Column(name) for name in ("task", "model", "samples")]
    columns += [Column("samples/s", digits=2), Column("RTFx")]
    columns += [Column("first answer", digits=2, optional=True), Column("peak memory", number=True, optional=True)]
    columns += [Column(f"{stage} %", digits=0, optional=True) for stage in stages]
    return Table(f"speed: {machine.title}", [*columns, Column("run", optional=True)], rows, list(_NOTES))
