"""Speed of stored runs. Runs of one table were made on one machine: speeds of different machines are not comparable."""

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
    "samples/s, RTFx (seconds of audio per second): over all batches of the run on this machine, without loading the model; -: "
    "clips were encoded for another run of the same command",
    "first answer: seconds from the start of asking, with the model loaded, until the answers of the first batch",
    "peak memory: of the GPU; on a CPU of the whole process, and so at least that of every model that the command ran before",
    "stages: share of that time in %; encode: speech encoder and connector, transcribe: recogniser of a cascade, reuse: "
    "either of them read back instead of computed, other: all else",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What speeds must share to be comparable. None: an older version did not record it."""

    device: str | None
    processor: str
    cores: int | None
    threads: int | None
    dtype: str

    @property
    def title(self) -> str:
        """In words."""
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
    """One run on one machine: sums over its batches."""

    run: Run
    rows: int = 0
    audio: float = 0.0
    wall: float = 0.0
    first: float | None = None
    memory: int | None = None
    stages: dict[str, float] = field(default_factory=dict)

    def add(self, batch: dict[str, Any]) -> None:
        self.rows += batch["rows"]
        self.audio += batch["audio"]
        self.wall += batch["wall"]
        if self.first is None:
            self.first = batch.get("first")
        self.memory = max(self.memory or 0, batch["memory"]) if "memory" in batch else self.memory
        for stage, seconds in batch["stages"].items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds

    def share(self, stage: str) -> float | None:
        """Per cent of the wall time; None for a stage that the run does not have."""
        if stage == _OTHER:
            return 100 * max(0.0, self.wall - sum(self.stages.values())) / self.wall
        return 100 * self.stages[stage] / self.wall if stage in self.stages else None


def measured(runs: Iterable[Run]) -> dict[Machine, list[Measured]]:
    """The speeds of runs in which a model computed, by machine. A run that was continued on another machine has a part on
    each; a run whose timing cannot be read is left out.
    """
    by_machine: dict[Machine, list[Measured]] = {}
    for run in runs:
        try:
            batches, machine = run.folder.timing(), _of_older(run)
        except UnreadableRun:  # a speed that is lost is no fault of the answers
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
    """What run.json says of the machine on which a run was begun."""
    recorded = run.folder.record().get("machine")
    recorded = recorded if isinstance(recorded, dict) else {}
    cores = recorded.get("cores")
    processor = str(recorded.get("processor", ""))
    return Machine(None, processor, cores if isinstance(cores, int) else None, None, run.summary.dtype or "")


def speed_tables(runs: Iterable[Run]) -> list[Table]:
    """One table for every machine; in it the runs of a task stand together, the fastest first."""
    found = measured(runs)
    return [_table(machine, found[machine]) for machine in sorted(found, key=lambda machine: machine.title)]


def no_speed(results: Path) -> str:
    """Why there is no table of speeds."""
    return f"{results}: no speeds: in none of these runs a model computed, or their timing.jsonl cannot be read."


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
