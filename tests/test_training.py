"""Training: what is skipped and why, the schedule, the batches, the optimiser's groups, resume."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
import torch
from tiny_models import make_llm, make_whisper

from diva_bench.diva.config import ConnectorConfig, TrainConfig
from diva_bench.diva.model import Connector
from diva_bench.training import data, train
from diva_bench.types import Silent

CONFIG = TrainConfig(queries=4, layers=1, batch=4, both_batch=2, steps=40, align_steps=30, warmup=5)


def clip(seconds: float, level: float = 0.3) -> bytes:
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    soundfile.write(file, level * rng.uniform(-1, 1, int(16_000 * seconds)).astype(np.float32), 16_000, format="WAV")
    return file.getvalue()


def by_word(text: str, add_special_tokens: bool) -> dict[str, list[int]]:
    return {"input_ids": [len(word) for word in text.split()]}


@pytest.fixture
def clips() -> data.Clips:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 30, size=50)
    return data.Clips(
        states=rng.normal(size=(int(lengths.sum()), 8)).astype(np.float16),
        starts=np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        lengths=lengths,
        tokens=[[1, 2]] * 50,
        dev=np.zeros(50, dtype=bool),
        skipped={},
        seconds=1.0,
    )


def test_clips_are_skipped_for_a_reason() -> None:
    cases = {
        "": (clip(1.0), "two words"),
        "empty text": (clip(1.0), "  "),
        "cannot be decoded": (b"not sound", "two words"),
        "silent": (clip(1.0, level=0.0), "two words"),
        "over 2 s": (clip(2.5), "two words"),
        "over 4 tokens": (clip(1.0), "one two three four five"),
    }
    for reason, (encoded, text) in cases.items():
        found, wave, ids = data._usable(encoded, text, by_word, queries=4, max_seconds=2.0)
        assert found == reason
        assert (wave is None) == bool(reason)
        assert ids == ([3, 5] if not reason else [])


def test_a_text_is_held_out_with_all_its_clips() -> None:
    texts = [f"sentence number {i}" for i in range(4000)]
    kept = Counter(data.is_dev(t, 50) for t in texts)
    assert 40 < kept[True] < 130
    assert all(data.is_dev(t, 50) == data.is_dev(f" {t.upper()} ", 50) for t in texts[:200])


def test_a_batch_holds_each_clips_own_states_and_a_mask(clips: data.Clips) -> None:
    states, mask = clips.batch([3, 7])
    for row, i in enumerate((3, 7)):
        start, length = clips.starts[i], clips.lengths[i]
        assert int(mask[row].sum()) == length
        own = clips.states[start : start + length].astype(np.float32)
        np.testing.assert_array_equal(states[row, :length].numpy(), own)
        assert not states[row, length:].any()


def test_batches_depend_on_step_and_seed_alone(clips: data.Clips) -> None:
    everything = list(range(50))
    first = [train.batch_of(s, clips, everything, CONFIG) for s in range(40)]
    again = [train.batch_of(s, clips, everything, CONFIG) for s in reversed(range(40))][::-1]
    assert first == again
    assert [len(b) for b in first] == [4] * 30 + [2] * 10
    assert first != [train.batch_of(s, clips, everything, replace(CONFIG, seed=1)) for s in range(40)]


def test_the_learning_rate_warms_up_and_decays_to_a_tenth_in_each_phase() -> None:
    rates = [train.schedule(s, CONFIG) for s in range(40)]
    assert rates[0] == pytest.approx(CONFIG.lr / 5)
    assert max(rates[:30]) == pytest.approx(CONFIG.lr)
    assert rates[29] < 0.12 * CONFIG.lr
    assert rates[30] == pytest.approx(CONFIG.both_lr / 5)
    assert max(rates[30:]) == pytest.approx(CONFIG.both_lr)


def tiny() -> Connector:
    torch.manual_seed(0)
    return Connector(ConnectorConfig(width=8, heads=2, layers=1, ffn=16, queries=4, llm_width=6))


def test_the_projection_steps_in_proportion_to_its_weights() -> None:
    connector = tiny()
    with torch.no_grad():
        connector.projection.weight.mul_(1e-3)
    groups = train.build_optimiser(connector, CONFIG).param_groups
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(p.numel() for p in connector.parameters())
    projection = next(g for g in groups if any(p is connector.projection.weight for p in g["params"]))
    assert 1e-3 < projection["factor"] < 2e-2
    assert {g["factor"] for g in groups if g is not projection} == {1.0}


def run(steps: int, connector: Connector, optimiser: torch.optim.Optimizer, clips: data.Clips, start: int) -> None:
    targets = torch.randn(2, 6, generator=torch.Generator().manual_seed(5))
    for step in range(start, steps):
        chosen = train.batch_of(step, clips, list(range(50)), CONFIG)
        virtual = connector(*clips.batch(chosen))
        loss = train.losses.token_alignment(virtual, [targets] * len(chosen))
        for group in optimiser.param_groups:
            group["lr"] = train.schedule(step, CONFIG) * group["factor"]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def test_a_resumed_run_ends_with_the_same_weights(clips: data.Clips, tmp_path: Path) -> None:
    folder = tmp_path
    whole = tiny()
    run(12, whole, train.build_optimiser(whole, CONFIG), clips, 0)

    first = tiny()
    optimiser = train.build_optimiser(first, CONFIG)
    run(5, first, optimiser, clips, 0)
    train._save(folder, first, optimiser, step=5, spent=1.5, log=[{"step": 5}], mean={"align": 2.0})
    (folder / "resume.tmp").write_bytes(b"a second save that was killed half way")

    second = tiny()
    optimiser = train.build_optimiser(second, CONFIG)
    assert train._resume(folder, second, optimiser) == (5, 1.5, [{"step": 5}], {"align": 2.0})
    run(12, second, optimiser, clips, 5)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


# ---------------------------------------------------------------- all of it, with models of a few kilobytes

SCRIPT = """
import sys
from pathlib import Path
import torch
from diva_bench.diva.config import TrainConfig
from diva_bench.training import train
from diva_bench.types import Silent
torch.set_num_threads(1)
place, output = Path(sys.argv[1]), Path(sys.argv[2])
config = TrainConfig(queries=40, layers=2, batch=4, both_batch=2, steps=14, align_steps=8, warmup=2, held_out=4,
                     evaluate_every=5, save_every=3)
run = train.prepare(config, whisper_dir=place / "whisper", llm_dir=place / "llm", names=("w", "l"), folder=place,
                    output=output, progress=Silent())
step = train.losses_of
def slow(*args, **kwargs):
    print("step", flush=True)
    return step(*args, **kwargs)
train.losses_of = slow
train.train(run, Silent())
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models and 32 clips of noise with texts."""
    folder = tmp_path_factory.mktemp("training")
    make_whisper(folder / "whisper")
    make_llm(folder / "llm")
    rows = [{"audio": {"bytes": clip(0.2 + 0.02 * k), "path": None}, "text": f"text {k}"} for k in range(32)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "train-000.parquet")
    return folder


def start(place: Path, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(place), str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def curve(output: Path) -> list[dict[str, float]]:
    lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "s_per_step"} for line in lines]


def test_training_killed_at_any_step_ends_with_the_same_curve_and_connector(place: Path, tmp_path: Path) -> None:
    """A real process, SIGKILLed twice: in the alignment phase and in the phase of both losses."""
    whole, killed = tmp_path / "a" / "whole", tmp_path / "b" / "killed"
    with start(place, whole) as process:
        assert process.wait() == 0 or pytest.fail("training failed")
    for steps in (5, 8):
        with start(place, killed) as process:
            assert process.stdout is not None
            for _ in range(steps):
                assert process.stdout.readline() == "step\n"
            process.send_signal(signal.SIGKILL)
        assert not (killed / "export").exists(), "it ended before it could be killed: the test proves nothing"
    with start(place, killed) as process:
        assert process.wait() == 0
    assert curve(killed) == curve(whole)
    assert {"align", "distill", "dev_align", "dev_nearest", "dev_distill", "dev_first_token"} <= curve(whole)[-1].keys()
    stored = [(out / "export" / "connector.safetensors").read_bytes() for out in (whole, killed)]
    assert stored[0] == stored[1]


def prepared(place: Path, output: Path) -> train.Run:
    config = TrainConfig(queries=40, layers=2, batch=4, both_batch=2, steps=4, align_steps=2, warmup=1, held_out=4)
    return train.prepare(
        config, whisper_dir=place / "whisper", llm_dir=place / "llm", names=("w", "l"), folder=place, output=output,
        progress=Silent(),
    )  # fmt: skip


def test_gradients_reach_every_part_of_the_connector_and_nothing_else(place: Path, tmp_path: Path) -> None:
    run = prepared(place, tmp_path / "out")
    before = {n: p.clone() for n, p in run.frozen.llm.state_dict().items()}
    loss, seen = train.losses_of(run, run.train[:2], both=True)
    loss.backward()  # type: ignore[no-untyped-call]
    assert seen.keys() == {"align", "distill"}
    without = [n for n, p in run.connector.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert all(p.grad is None and not p.requires_grad for p in run.frozen.llm.parameters())
    assert all(torch.equal(before[n], p) for n, p in run.frozen.llm.state_dict().items())


def test_virtual_tokens_that_equal_the_embeddings_leave_nothing_to_distil(place: Path, tmp_path: Path) -> None:
    """Student and teacher are asked in the same words, whatever the batch pads them to."""
    run = prepared(place, tmp_path / "out")
    texts = [run.frozen.embeddings[run.clips.tokens[i]] for i in run.train[:3]]
    alone = torch.cat([run.frozen.last_state([t]) for t in texts])
    torch.testing.assert_close(run.frozen.last_state(texts), alone, atol=2e-2, rtol=2e-2)
    assert float(train.losses.output_distillation(run.frozen.last_state(texts), run.frozen.last_state(texts))) == 0.0


def test_a_loss_that_is_not_finite_stops_with_the_clips_it_came_from(place: Path, tmp_path: Path) -> None:
    run = prepared(place, tmp_path / "out")
    with torch.no_grad():
        run.connector.query_tokens[0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match=rf"on clips \[{run.train[0]}, {run.train[1]}\]"):
        train.losses_of(run, run.train[:2], both=False)


def test_the_record_says_what_was_trained_on_what(place: Path, tmp_path: Path) -> None:
    run = prepared(place, tmp_path / "out")
    train.train(run, Silent())
    config = json.loads((tmp_path / "out" / "export" / "config.json").read_text(encoding="utf-8"))
    record = json.loads((tmp_path / "out" / "export" / "training.json").read_text(encoding="utf-8"))
    assert config["encoder"].keys() == {"weights", "fingerprint", "window"}
    assert config["llm"].keys() == {"weights", "fingerprint"}
    assert record["data"].keys() == {"train-000.parquet"}
    assert record["losses"] == "token alignment, then both"
    assert record["examples"] == 2 * 4 + 2 * 2
    assert record["clips"] + record["clips_held_out"] == 32
    assert str(place) not in json.dumps(record)
