"""What trainings needed: measured costs add up over stages and are means over seeds; cited ones are as their sources have
them; and the claim of 100 times less is one about hours of audio."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import call

from diva_bench.catalog import Catalog
from diva_bench.diva.config import PRESETS
from diva_bench.errors import UnreadableRun
from diva_bench.report import training_cost
from diva_bench.runs.run import load_runs
from diva_bench.specs.published import published

ROOT = Path(__file__).parents[1]
COMPUTE = {
    "examples": 100, "audio_seconds": 7200.0, "flops": {"encoder": 1e15, "student": 2e15}, "device_seconds": 1800.0,
    "device": "a core",
}  # fmt: skip


def record(place: Path, name: str, **changes: Any) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{name}.json"
    file.write_text(json.dumps({"compute": COMPUTE | changes.pop("compute", {}), **changes}))
    return file


def test_stages_are_added_and_seeds_are_averaged(tmp_path: Path) -> None:
    record(tmp_path / "nano" / "training", "kl-s0", before={"compute": COMPUTE})
    record(tmp_path / "nano" / "training", "kl-s1", before={"compute": COMPUTE | {"examples": 300}})
    record(tmp_path / "training", "alone")
    mine = training_cost.recorded(tmp_path)
    table = training_cost.tables(published(), mine, PRESETS["paper"]())[0]
    assert [list(row) for row in table.rows] == [
        ["nano kl (2 seeds)", 4.0, 300, 6.0, 1.0, None],
        [f"{tmp_path.name} alone", 2.0, 100, 3.0, 0.5, None],
    ]


def test_a_connector_has_the_cost_of_all_its_trainings(tmp_path: Path) -> None:
    folder = next((ROOT / "results" / "mini-v1").glob("sdqa-*"))
    shutil.copytree(folder, tmp_path / folder.name)
    (diva,) = training_cost.trained(load_runs([tmp_path]), Catalog())
    assert sum(stage.examples for stage in diva.stages) == 60_800  # two stages of 30,400, docs/results.md
    assert diva.score is None, "one task has no mean"
    assert not diva.lacks


def test_a_run_that_lacks_an_earlier_training_says_so(tmp_path: Path) -> None:
    folder = next((ROOT / "results" / "mini-v1").glob("sdqa-*"))
    shutil.copytree(folder, tmp_path / folder.name)
    file = next((tmp_path / folder.name).glob("diva-*/run.json"))
    changed = json.loads(file.read_text())
    changed["training"]["compute"]["examples"] = 5  # another connector than the one on this machine
    file.write_text(json.dumps(changed))
    (diva,) = training_cost.trained(load_runs([tmp_path]), Catalog())
    assert diva.lacks == "diva: without the training of diva-mini-time-try, from which it was begun"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected a JSON object"),
        ("{", "is not valid JSON"),
        ("{}", "compute is missing"),
        (json.dumps({"compute": COMPUTE | {"examples": -1}}), "compute.examples must be 0 or more"),
        (json.dumps({"compute": COMPUTE | {"flops": {"encoder": "many"}}}), "compute.flops.encoder must be a number"),
        (
            '{"compute": {"examples": 1, "audio_seconds": NaN, "flops": {}, "device_seconds": 1}}',
            "must be a finite number",
        ),
    ],
)
def test_a_file_that_is_no_training_record_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "x.json").write_text(content)
    with pytest.raises(UnreadableRun) as caught:
        training_cost.recorded(tmp_path)
    text = str(caught.value).replace(": ", " ")
    assert "x.json" in text
    assert message.replace(": ", " ") in text


def test_what_is_cited_is_what_the_file_has_and_flops_are_an_estimate() -> None:
    cited, claim = training_cost.tables(published(), [], PRESETS["paper"]())
    names = [c.heading for c in cited.columns]
    rows = [dict(zip(names, row, strict=True)) for row in cited.rows]
    qwen = next(row for row in rows if row["system"] == "Qwen 2 Audio")
    assert (qwen["hours of audio"], qwen["hours of audio, most"]) == (350_000, 370_000)
    assert (qwen["meld"], qwen["heysquad"], qwen["covost2-de"]) == (37.72, 46.22, 30.19)
    assert [round(row["PFLOP (estimate)"]) for row in rows if row["PFLOP (estimate)"]] == [54_904]
    assert qwen["PFLOP (estimate)"] is None
    assert [[round(value) for value in row[4:]] for row in claim.rows] == [[100, 106], [110, 116], [220, 233]]
    numbers = [cell for table in (cited, claim) for row in table.rows for cell in row if isinstance(cell, str)]
    assert not [cell for cell in numbers if cell.replace(",", "").isdecimal()], "a number is a number, not text"
    assert any("not known: FLOPs" in note for note in claim.notes)


def test_the_command_fits_into_a_terminal_and_needs_no_runs(tmp_path: Path) -> None:
    shown = call(tmp_path, "leaderboard", "--compute", COLUMNS="80")
    assert shown.returncode == 0, shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "system: " not in shown.stdout, "a table, not a block for every row"
    tables = json.loads(call(tmp_path, "leaderboard", "--compute", "--format", "json").stdout)
    assert [table["title"] for table in tables] == [
        "what trainings needed: reported elsewhere",
        'what "100 times less compute" rests on',
    ]
