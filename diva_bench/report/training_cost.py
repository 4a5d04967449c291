"""What trainings needed, and how their models score: measured ones from training records, and those that other sources report.

A record is `training` of a run, or a training.json below a folder `training` beside the runs (as in results/nano). Its
FLOPs are those of the ledger (diva/compute.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict

from diva_bench.catalog import Catalog
from diva_bench.diva import compute
from diva_bench.diva.config import TrainConfig
from diva_bench.report import aggregate
from diva_bench.runs import schemas
from diva_bench.runs.records import RunSummary
from diva_bench.runs.run import Run
from diva_bench.runs.store import read_json
from diva_bench.specs import ModelSpec
from diva_bench.specs.published import CitedTraining, Published
from diva_bench.tables import Cell, Column, Score, Table

_HOUR = 3600.0
_SEED = re.compile(r"-s\d+$")
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Cost(BaseModel):
    """`compute` of a training record."""

    model_config = ConfigDict(extra="ignore")
    examples: Annotated[int, Strict(), Field(ge=0)]
    audio_seconds: _Amount
    flops: dict[str, _Amount]
    device_seconds: _Amount
    device: str = ""
    devices: Annotated[int, Strict(), Field(ge=1)] = 1

    @property
    def total_flops(self) -> float:
        return sum(self.flops.values())


class _Record(BaseModel):
    """The part of a training.json that the table needs. `before`: the training that it was started from."""

    model_config = ConfigDict(extra="ignore")
    compute: Cost
    before: _Record | None = None


@dataclass(frozen=True)
class Trained:
    """A model with the stages of its training, and its score; `stages` may be of several trainings with other seeds.

    Attributes:
        score: The mean, rescaled, over `tasks` tasks of `edition`.
        lacks: A part of the training that no record has; "" if none is known.
    """

    name: str
    stages: Sequence[Cost]
    seeds: int = 1
    score: Score | None = None
    edition: str = ""
    tasks: int = 0
    lacks: str = ""


def trained(runs: Iterable[Run], catalog: Catalog) -> list[Trained]:
    """The trained models among runs, each once."""
    every = list(runs)
    plain = [run.summary for run in every if run.summary.plain]
    found: dict[tuple[str, str], Trained] = {}
    for run in every:
        s = run.summary
        record = run.folder.record().get("training")
        if not s.plain or (s.label, s.edition) in found or not isinstance(record, dict) or "compute" not in record:
            continue
        own = schemas.checked(_Record, record, f"{run.path / 'run.json'}: training")
        whole = catalog.training(ModelSpec.model_validate(run.folder.record()["model"]))
        if whole.get("compute") == record["compute"]:  # only this has the trainings before the last one
            own = schemas.checked(_Record, whole, f"{s.label}: training.json")
        began = (record.get("config") or {}).get("start_from")
        lacks = (
            f"{s.label}: without the training of {began}, from which it was begun" if began and not own.before else ""
        )
        found[s.label, s.edition] = _scored(s, [x for x in plain if x.edition == s.edition], _stages(own), lacks)
    return list(found.values())


def _scored(run: RunSummary, runs: Sequence[RunSummary], stages: Sequence[Cost], lacks: str) -> Trained:
    found = aggregate.means(runs)
    score = found.scores.get(run.label)
    return Trained(run.label, stages, 1, score, run.edition, len(found.tasks) if score else 0, lacks)


def _stages(record: _Record) -> list[Cost]:
    return [*(_stages(record.before) if record.before else ()), record.compute]


def recorded(results: Path) -> list[Trained]:
    """The trainings in folders `training` of a folder of results or of its subfolders. Those that differ in the seed alone
    (`-s0`, `-s1`) are one.

    Raises:
        UnreadableRun: A file is no training record.
    """
    files: dict[tuple[Path, str], list[Path]] = {}
    for path in recorded_files(results):
        files.setdefault((path.parent, seedless(path)), []).append(path)
    made = []
    for (folder, name), some in files.items():
        stages = [stage for path in some for stage in _stages(schemas.checked(_Record, read_json(path), str(path)))]
        made.append(
            Trained(f"{folder.parent.resolve().name} {name}", stages, len(some), edition=folder.parent.resolve().name)
        )
    return made


def recorded_files(results: Path) -> list[Path]:
    """The training records in folders `training` of a folder of results and of its subfolders, sorted."""
    return sorted({*results.glob("training/*.json"), *results.glob("*/training/*.json")})


def seedless(path: Path) -> str:
    """The name of a training record without its seed."""
    return _SEED.sub("", path.stem)


def tables(known: Published, mine: Sequence[Trained], preset: TrainConfig) -> list[Table]:
    """What trainings needed, here and elsewhere, and what "100 times less compute" rests on. `preset`: of the paper."""
    return [*([_measured(mine)] if mine else []), _reported(known, preset), _claim(preset)]


def _measured(mine: Sequence[Trained]) -> Table:
    devices = dict.fromkeys(device for one in mine for device in _devices(one))
    editions = ", ".join(dict.fromkeys(f"{one.tasks} {one.edition} tasks" for one in mine if one.score))
    notes = [
        "hours of audio, examples: seen, with repeats; of all stages of a training; a mean over seeds",
        "PFLOP: 1e15 operations of matrix products, convolutions and attention, counted while training; a multiply-add is 2",
        f"device-hours: on {'; '.join(devices) or 'unknown devices'}; other work may have shared them",
        *([f"mean, rescaled: of the scores over {editions} (`leaderboard`)"] if editions else []),
        *(["-: no runs of all tasks in this folder"] if any(one.score is None for one in mine) else []),
        *(one.lacks for one in mine if one.lacks),
    ]
    columns = [Column("system"), Column("hours of audio"), Column("examples"), Column("PFLOP", digits=2)]
    columns += [Column("device-hours", digits=2), Column(aggregate.NAME)]
    return Table("what trainings needed: measured here", columns, [_row(one) for one in mine], notes)


def _devices(one: Trained) -> list[str]:
    named = [
        (s.devices, s.device.replace(", 1 threads", ", 1 thread")) for s in one.stages if s.device
    ]  # older records
    return [f"{count} x {device}" if count > 1 else device for count, device in named]


def _row(one: Trained) -> list[Cell]:
    def each(values: Iterable[float]) -> float:
        """The sum over stages, and the mean over seeds."""
        return sum(values) / one.seeds

    return [
        f"{one.name} ({one.seeds} seeds)" if one.seeds > 1 else one.name,
        each(s.audio_seconds for s in one.stages) / _HOUR,
        round(each(s.examples for s in one.stages)),
        each(s.total_flops for s in one.stages) / 1e15,
        each(s.device_seconds for s in one.stages) / _HOUR,
        one.score,
    ]


_CITED = ("heysquad-released", "meld-figure", "covost2-figure-de")
"""Sets whose scores stand in the table."""


def _reported(known: Published, preset: TrainConfig) -> Table:
    work = compute.paper_work(preset)
    estimate = sum(compute.run_flops(work, compute.PAPER_UNIQUE_CLIPS, cached=False).values())
    keys = [f"[{key}]" for key, _ in zip(ascii_lowercase, known.trainings, strict=False)]
    columns = [Column("system"), Column("hours of audio", digits=0), Column("hours of audio, most", digits=0)]
    columns += [Column("examples"), Column("PFLOP (estimate)", digits=0), Column("hours", digits=0), Column("device")]
    columns += [Column(known.by_id(id).name, digits=2, optional=True) for id in _CITED]
    columns += [Column("source")]
    notes = [
        "PFLOP: no source gives it; an estimate for a plain loop, with these assumptions:",
        *compute.assumptions(work),
        "hours: of wall time, as the source gives them. It does not say how many devices there were, so device-hours are not "
        "known",
        "; ".join(f"{known.by_id(id).name}: {known.by_id(id).metric.partition(',')[0]}" for id in _CITED)
        + " (`leaderboard --published`); of the full data, so no run of the mini edition can be compared with them",
        "-: the source does not say it",
        *(
            "; ".join(filter(None, (f"{key} {known.sources[one.source].title}", one.data, one.note)))
            for key, one in zip(keys, known.trainings, strict=True)
        ),
    ]
    rows = [_cited(known, one, estimate, key) for key, one in zip(keys, known.trainings, strict=True)]
    return Table("what trainings needed: reported elsewhere", columns, rows, notes)


def _cited(known: Published, one: CitedTraining, estimate: float, key: str) -> list[Cell]:
    values = [known.by_id(id).scores.get(one.system) if id in one.scores else None for id in _CITED]
    return [
        one.system,
        one.audio_hours,
        one.audio_hours_most,
        one.examples,
        estimate / 1e15 if one.estimate else None,
        None if one.hours is None else float(one.hours),
        one.device,
        *(None if value is None else float(value) for value in values),
        key,
    ]


_UNKNOWN = (
    "not known: FLOPs, device-hours, hardware, epochs and lengths of clips of Qwen 2 Audio; how many devices trained DiVA",
    "so the claim is one about hours of audio. Whether it holds for operations or device-hours, these sources cannot show",
    "the training of Whisper and of the LLM, from which DiVA starts, is in none of these numbers",
    'hours "seen" count repeats for DiVA; for Qwen 2 Audio the page does not say whether its hours do',
)


def _claim(preset: TrainConfig) -> Table:
    fewest, most = compute.QWEN_2_AUDIO_HOURS
    rows: list[list[Cell]] = [
        [f"{basis}", hours, fewest, most, fewest / hours, most / hours]
        for basis, hours in compute.paper_hours(preset).items()
    ]
    columns = [Column("hours of audio"), Column("DiVA", digits=0), Column("Qwen 2 Audio, least", digits=0)]
    columns += [Column("Qwen 2 Audio, most", digits=0), Column("ratio, least", digits=0)]
    columns += [Column("ratio, most", digits=0)]
    return Table('what "100 times less compute" rests on', columns, rows, _UNKNOWN)
