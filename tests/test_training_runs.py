"""Whole trainings: killed, resumed, out of room, on two processes; what they leave on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from training_tools import (
    DEATHS,
    EVERYTHING,
    FIRST,
    SECOND,
    TIME,
    config,
    in_processes,
    job,
    make_place,
    parquet,
    prepared,
    rows_of,
    wav,
)

from diva_bench.diva import checkpoint
from diva_bench.errors import StoreError, UserError
from diva_bench.training import run as running
from diva_bench.training import state, train
from diva_bench.types import Silent

STEPS = FIRST + SECOND


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("runs"), clips=40)  # more than one group


def trained(place: Path, output: Path, **changes: Any) -> None:
    train.train(prepared(place, output, **changes), Silent())


# ---------------------------------------------------------------- killed

SETTINGS: dict[str, dict[str, Any]] = {"plain": {}, "everything": EVERYTHING, "time": TIME}


@pytest.fixture(scope="module")
def dead(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each of SETTINGS a training that ran through, in <name>/whole, and one that was killed, in <name>/killed."""
    folder, jobs = tmp_path_factory.mktemp("dead"), []
    for name, changes in SETTINGS.items():
        jobs.append(job(place, folder / name / "whole", folder / name / "cache of one", **changes))
        rest = [*DEATHS, None]
        jobs += [job(place, folder / name / "killed", folder / name / "cache", death, **changes) for death in rest]
    assert in_processes(folder, jobs) == len(SETTINGS) * [0, *[-9] * len(DEATHS), 0]
    return folder


@pytest.mark.parametrize("name", SETTINGS)
def test_training_killed_at_any_moment_ends_with_the_same_curve_and_the_same_bytes(dead: Path, name: str) -> None:
    """Real processes, real SIGKILLs: while the caches are filled, in both phases, and between a checkpoint's being written
    and its taking the place of the one before."""
    whole, killed = dead / name / "whole", dead / name / "killed"
    assert len(rows_of(whole)) == STEPS
    assert rows_of(killed) == rows_of(whole)
    assert {"align", "distill", "dev_align", "dev_nearest", "dev_distill", "dev_first_token"} <= rows_of(whole)[
        -1
    ].keys()
    names = [
        "connector.safetensors",
        "config.json",
        *(["encoder.safetensors"] if SETTINGS[name].get("train_encoder") else []),
    ]
    for file in names:
        assert (killed / "export" / file).read_bytes() == (whole / "export" / file).read_bytes(), file
    ours, theirs = (json.loads((o / "export" / "training.json").read_text()) for o in (killed, whole))
    for key in ("config", "scale", "data", "dev_float32", "dev_stored", "clips", "skipped"):
        assert ours[key] == theirs[key], key
    for key in ("examples", "flops", "steps", "audio_hours_unique"):
        assert ours["compute"][key] == theirs["compute"][key], key


INSTRUCTED = {**TIME, "instructions": "mixed", "distill_positions": 2}


def test_a_training_with_instructions_goes_on_in_its_turn(place: Path, tmp_path: Path) -> None:
    trained(place, tmp_path / "whole", **INSTRUCTED)
    trained(place, tmp_path / "parts", **INSTRUCTED, steps=FIRST + 1)  # in the middle of the turns
    trained(place, tmp_path / "parts", **INSTRUCTED)
    assert rows_of(tmp_path / "parts")[-1] == rows_of(tmp_path / "whole")[-1]


@pytest.mark.parametrize("more", [{}, INSTRUCTED], ids=["learned", "time with instructions"])
def test_two_processes_have_the_curve_of_one_with_the_same_batches(
    place: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    changes = {"steps": 10, "align_steps": 6, "evaluate_every": 5, "accumulate": 2, "both_batch": 4, **more}
    one, two = tmp_path / "one", tmp_path / "two"
    train.train(prepared(place, one, tmp_path / "cache of one", **changes), Silent())
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--log-dir", str(tmp_path)]
    in_processes(tmp_path, [job(place, two, tmp_path / "cache", **changes)], *launcher)
    ours, theirs = rows_of(two), rows_of(one)
    assert len(theirs) == 10
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-4)
    record = json.loads((two / "export" / "training.json").read_text())
    assert record["compute"]["devices"] == 2
    assert len(list((tmp_path / "cache").glob("states-*/*.bin"))) == 2  # each has encoded its share


# ---------------------------------------------------------------- resumed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lr": 1e-3}, "lr 0.0005 -> 0.001"),
        ({"seed": 1, "warmup": 3}, "seed 0 -> 1, warmup 2 -> 3"),
        ({"align_steps": 0}, "align_steps 6 -> 0"),
        ({"max_queries": 10}, "max_queries 12 -> 10"),
        ({"distillation": "kl"}, "distillation l2 -> kl"),
        ({**TIME, "pull": 0.5}, "alignment l2 -> ctc, locality None -> 3.0, negatives 3000 -> 60, pull 0.0 -> 0.5, .*"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(
    place: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    trained(place, tmp_path / "out")
    before = (tmp_path / "out" / "resume.safetensors").read_bytes()
    with pytest.raises(StoreError, match=rf"begun with other settings \({said}\)\. Give another --output"):
        trained(place, tmp_path / "out", **changes)
    assert (tmp_path / "out" / "resume.safetensors").read_bytes() == before


def test_a_run_is_not_resumed_to_fewer_steps_than_it_had(place: Path, tmp_path: Path) -> None:
    trained(place, tmp_path / "out")
    with pytest.raises(UserError, match=rf"{STEPS} steps were trained here, more than the {STEPS - 1} asked for"):
        trained(place, tmp_path / "out", steps=STEPS - 1)


def test_a_run_is_not_resumed_with_other_clips(place: Path, tmp_path: Path) -> None:
    trained(place, tmp_path / "out")
    other = parquet(tmp_path / "other.parquet", [(wav(0.3 + 0.02 * k, seed=99 - k), f"text {k}") for k in range(32)])
    with pytest.raises(StoreError, match=r"begun with other settings \(clips [0-9a-f]{16} -> [0-9a-f]{16}\)"):
        train.train(prepared(place, tmp_path / "out", given=other), Silent())


def test_a_run_that_is_over_may_be_made_longer_and_told_more_often(place: Path, tmp_path: Path) -> None:
    trained(place, tmp_path / "out", log_every=5)
    trained(place, tmp_path / "out", steps=STEPS + 3, accumulate=2, save_every=1, evaluate_every=100)
    steps = [row["step"] for row in rows_of(tmp_path / "out")]
    assert steps == [5, FIRST, STEPS, STEPS + 1, STEPS + 2, STEPS + 3]


def test_a_run_of_alignment_alone_may_be_made_longer(place: Path, tmp_path: Path) -> None:
    for steps in (3, 5):
        trained(place, tmp_path / "out", steps=steps, align_steps=steps, distill=0.0, log_every=1)
    assert [row["step"] for row in rows_of(tmp_path / "out")] == [1, 2, 3, 4, 5]


def test_the_readout_that_is_set_is_stored_with_the_connector(place: Path, tmp_path: Path) -> None:
    trained(place, tmp_path / "out", **TIME, steps=2, align_steps=2, distill=0.0, readout="snapped")
    stored = json.loads((tmp_path / "out" / "export" / "config.json").read_text(encoding="utf-8"))
    assert stored["connector"]["readout"] == "snapped"


def test_a_run_that_is_over_is_exported_again_and_not_trained(place: Path, tmp_path: Path) -> None:
    trained(place, tmp_path / "out")
    rows, export = rows_of(tmp_path / "out"), tmp_path / "out" / "export" / "connector.safetensors"
    before = export.read_bytes()
    export.unlink()
    trained(place, tmp_path / "out")
    assert rows_of(tmp_path / "out") == rows
    assert export.read_bytes() == before


@pytest.mark.parametrize("kept", [0, 7, 5000])
def test_a_torn_checkpoint_is_named(place: Path, tmp_path: Path, kept: int) -> None:
    trained(place, tmp_path / "out")
    with (tmp_path / "out" / "resume.safetensors").open("r+b") as file:
        file.truncate(kept)
    with pytest.raises(
        StoreError, match=r"resume\.safetensors: this checkpoint cannot be read.*delete it to start anew"
    ):
        trained(place, tmp_path / "out")


def test_a_full_disk_keeps_the_checkpoint_before_and_says_so(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out, save = tmp_path / "whole", tmp_path / "out", state.save_file
    trained(place, whole)

    def until_full(tensors: Any, path: Path, facts: dict[str, str]) -> None:
        if json.loads(facts["facts"])["step"] > 3:
            path.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        save(tensors, path, facts)

    monkeypatch.setattr(state, "save_file", until_full)
    with pytest.raises(
        StoreError, match=r"the checkpoint of step 6 cannot be written .*No space left.*before it is kept"
    ):
        trained(place, out)
    monkeypatch.undo()
    assert sorted(p.name for p in out.iterdir()) == ["metrics.jsonl", "resume.safetensors"]
    facts = state.load(out, *fresh(prepared(place, out)))
    assert facts is not None
    assert facts["step"] == 3
    trained(place, out)  # there is room again
    assert rows_of(out) == rows_of(whole)
    assert (out / "export" / "connector.safetensors").read_bytes() == (
        whole / "export" / "connector.safetensors"
    ).read_bytes()


def fresh(run: Any) -> tuple[Any, torch.optim.Optimizer, dict[str, Any]]:
    return run.trained, train.build_optimiser(run.trained, run.config), train._decides(run)


def test_a_checkpoint_has_weights_moments_and_random_state_bit_for_bit(place: Path, tmp_path: Path) -> None:
    run = prepared(place, tmp_path)
    trained_, optimiser, decides = fresh(run)
    assert state.load(tmp_path, trained_, optimiser, decides) is None
    for step in range(3):
        train.update(run, trained_, optimiser, step)
    torch.manual_seed(5)
    state.save(tmp_path, trained_, optimiser, {"step": 3, "config": decides})
    following = torch.rand(3)
    other = prepared(place, tmp_path)
    again, held, _ = fresh(other)
    facts = state.load(tmp_path, again, held, decides)
    assert facts == {"step": 3, "config": decides}
    assert torch.equal(torch.rand(3), following)
    for name, parameter in trained_.named_parameters():
        mine = dict(again.named_parameters())[name]
        assert torch.equal(mine, parameter)
        assert held.state[mine].keys() == optimiser.state[parameter].keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(held.state[mine][k], v) for k, v in optimiser.state[parameter].items())


# ---------------------------------------------------------------- what is left


def test_nothing_on_the_disk_is_pickled(place: Path, tmp_path: Path) -> None:
    trained(place, tmp_path / "out", cache_states=False, train_encoder=True)
    suffixes = {p.suffix for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert suffixes == {".safetensors", ".json", ".jsonl"}
    names = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert names == [
        "export/config.json", "export/connector.safetensors", "export/encoder.safetensors", "export/training.json",
        "metrics.jsonl", "resume.safetensors",
    ]  # fmt: skip
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        head = path.read_bytes()[:4]
        assert head[:2] not in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"), path  # zip or pickle
    for file in (tmp_path / "out").rglob("*.json"):
        json.loads(file.read_text(encoding="utf-8"))


def test_the_record_says_what_was_trained_on_what_and_at_what_cost(place: Path, tmp_path: Path) -> None:
    run = prepared(place, tmp_path / "out")
    train.train(run, Silent())
    made, record = (
        json.loads((tmp_path / "out" / "export" / n).read_text(encoding="utf-8"))
        for n in ("config.json", "training.json")
    )
    assert made.keys() == {"connector", "encoder", "llm", "alignment"}
    assert made["alignment"] == {"aligned": "last", "shift": 0}
    assert made["encoder"] == {
        "weights": "w", "fingerprint": checkpoint.fingerprint(run.whisper), "window": "the clip's own length"
    }  # fmt: skip
    assert made["llm"] == {"weights": "l", "fingerprint": checkpoint.fingerprint(run.frozen.llm.embeddings)}
    assert {"config", "compute", "data", "curve", "dev_float32", "dev_stored", "versions", "scale"} <= record.keys()
    compute = record["compute"]
    assert compute.keys() >= {
        "examples", "flops", "device_seconds", "device", "devices", "peak_memory_bytes", "audio_hours_unique", "steps"
    }  # fmt: skip
    assert compute["examples"] == 4 * FIRST + 2 * SECOND == run.config.examples(STEPS)
    assert compute["steps"] == STEPS
    assert compute["devices"] == 1
    assert compute["device"]
    assert compute["device_seconds"] > 0
    assert compute["peak_memory_bytes"] > 10**6
    assert compute["audio_hours_unique"] == round(run.clips.seconds / 3600, 3)
    assert record["config"]["max_queries"] == 12
    assert record["config"]["align_steps"] == FIRST
    assert [sorted(d) for d in record["data"]] == [["train-000.parquet"]]
    assert record["curve"] == [
        json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    ]
    assert record["clips"] + record["clips_held_out"] == 40
    assert record["words"] == {"5 %": 2, "50 %": 2, "95 %": 2, "most": 2}  # text 0, text 1, ...
    assert (
        record["dev_float32"].keys()
        == record["dev_stored"].keys()
        == {"align", "nearest", "distill", "kl", "first_token"}
    )
    assert record["dev_stored"]["align"] == pytest.approx(record["dev_float32"]["align"], rel=0.05)
    text = json.dumps([made, record])
    assert not [part for part in (place, tmp_path, Path.home(), Path.cwd()) if str(part) in text]


def test_tensorboard_events_are_written_when_they_are_asked_for(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = running.prepare_training(
        config(steps=2, align_steps=1, warmup=1), whisper_dir=place / "whisper", llm_dir=place / "llm",
        sources=[str(place)], output=tmp_path / "out", cache=tmp_path / "cache", progress=Silent(), tracker=True,
    )  # fmt: skip
    train.train(run, Silent())
    events = [p for p in (tmp_path / "out").rglob("events.out.tfevents*") if p.stat().st_size > 100]
    assert events


def test_clips_in_every_batch_need_a_second_data(place: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"every_batch is 1, but there is only one --data .* Name the data that every batch"
    ):
        prepared(place, tmp_path / "out", every_batch=1)


def test_fewer_clips_in_a_batch_than_processes_are_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", 3)
    with pytest.raises(UserError, match=r"fewer clips than there are processes \(3\); raise `batch` \(--set batch=N\)"):
        prepared(place, tmp_path / "out")
