"""Training in one process: schedule, batches, gradients, what every ablation measures, and what stops a run."""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_tools import FIRST, SECOND, TIME, config, make_place, prepared, rows_of

from diva_bench.diva import losses
from diva_bench.diva.config import ABLATIONS, ConnectorConfig
from diva_bench.diva.model import Connector
from diva_bench.errors import StoreError, UserError
from diva_bench.training import train
from diva_bench.training.batch import Ahead, batch_of, complete, read, read_step
from diva_bench.training.frozen import INSTRUCTIONS
from diva_bench.training.run import Trained, text_key
from diva_bench.types import Silent

PLAN = config(steps=40, align_steps=30, warmup=5)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models and 32 clips; the caches of the frozen parts are kept beside them for the whole file."""
    return make_place(tmp_path_factory.mktemp("training"))


def run_of(place: Path, output: Path, **changes: Any) -> Any:
    return prepared(place, output, place / "cache", **changes)


# ---------------------------------------------------------------- schedule and batches


def cosine(done: float) -> float:
    return 0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2


@pytest.mark.parametrize(
    ("shape", "down"), [("cosine", cosine), ("linear", lambda done: 1 - done), ("constant", lambda done: 1.0)]
)
def test_the_learning_rate_warms_up_and_comes_down_once_in_each_phase(shape: Any, down: Any) -> None:
    plan = replace(PLAN, schedule=shape)
    rates = [train.schedule(s, plan) for s in range(40)]
    wanted = [plan.lr * (s + 1) / 5 for s in range(5)] + [plan.lr * down((s - 5) / 25) for s in range(5, 30)]
    wanted += [plan.both_lr * (s + 1) / 5 for s in range(5)] + [plan.both_lr * down((s - 5) / 5) for s in range(5, 10)]
    assert rates == pytest.approx(wanted)
    assert max(rates) == plan.lr


@pytest.mark.parametrize(
    ("changes", "peak"),
    [
        ({"align_steps": 0}, PLAN.both_lr),
        ({"align_steps": 0, "align": 0.0}, PLAN.both_lr),
        ({"align_steps": 0, "distill": 0.0}, PLAN.lr),
    ],
)
def test_a_run_of_one_phase_has_the_rate_of_what_it_trains(changes: dict[str, Any], peak: float) -> None:
    rates = [train.schedule(s, replace(PLAN, **changes)) for s in range(40)]
    assert max(rates) == rates[4] == peak
    assert rates == rates[:5] + sorted(rates[5:], reverse=True)


def test_without_a_warm_up_the_first_step_has_the_peak() -> None:
    plan = replace(PLAN, warmup=0)
    assert train.schedule(0, plan) == plan.lr
    assert train.schedule(30, plan) == plan.both_lr


def clips(count: int = 50) -> Any:
    return SimpleNamespace(lengths=np.random.default_rng(0).integers(3, 30, size=count))


def test_batches_depend_on_step_and_seed_alone() -> None:
    plan, held = replace(PLAN, variants=2), clips()
    first = [batch_of(s, held, list(range(50)), plan) for s in range(40)]
    again = [batch_of(s, held, list(range(50)), plan) for s in reversed(range(40))][::-1]
    assert first == again
    assert first != [batch_of(s, held, list(range(50)), replace(plan, seed=1)) for s in range(40)]
    assert [len(chosen) for chosen, _ in first] == [4] * 30 + [2] * 10
    assert all(len(set(chosen)) == len(chosen) == len(variants) for chosen, variants in first)
    assert {v for _, variants in first for v in variants} == {0, 1, 2}


def test_batches_take_every_clip_as_often_and_neighbours_in_length_together() -> None:
    held = clips()
    drawn = [batch_of(s, held, list(range(50)), replace(PLAN, steps=10**4, align_steps=10**4)) for s in range(3000)]
    seen = Counter(i for chosen, _ in drawn for i in chosen)
    assert set(seen) == set(range(50))
    assert 0.75 * 240 < min(seen.values()) <= max(seen.values()) < 1.25 * 240  # of 4 x 3000 / 50; 4 standard deviations
    by_length = sorted(range(50), key=lambda i: held.lengths[i])
    for end in (by_length[:5], by_length[-5:]):  # those with neighbours on one side only
        assert 0.9 * 240 < np.mean([seen[i] for i in end]) < 1.1 * 240
    spread = np.mean([np.ptp(held.lengths[chosen]) for chosen, _ in drawn])
    assert spread < 0.5 * np.mean([np.ptp(np.random.default_rng(s).choice(held.lengths, 4)) for s in range(3000)])


def test_a_batch_has_clips_to_train_on_only_and_no_more_than_there_are() -> None:
    assert sorted(batch_of(0, clips(), [7, 40, 3], PLAN)[0]) == [3, 7, 40]


@pytest.mark.parametrize(
    ("real", "asked", "of_first", "size"),
    [
        (10, 1, 1, 4),
        (10, 3, 3, 4),
        (2, 3, 2, 4),
        (10, 4, 4, 4),
        (0, 1, 0, 4),
        (50, 1, 4, 4),
    ],
)
def test_every_batch_has_as_many_clips_of_the_first_data_as_is_set(
    real: int, asked: int, of_first: int, size: int
) -> None:
    held, plan = clips(), replace(PLAN, every_batch=asked, both_batch=4)
    held.items = [SimpleNamespace(source=0 if i < real else 1 + i % 2) for i in range(50)]
    seen: set[int] = set()
    for step in range(30):
        chosen, variants = batch_of(step, held, list(range(50)), plan)
        assert len(set(chosen)) == len(chosen) == len(variants) == size
        assert sum(i < real for i in chosen) == of_first
        seen |= set(chosen)
    assert len(seen) >= 10  # not the same ones each time


@pytest.mark.parametrize("changes", [{}, {"cache_states": False, "variants": 1}, TIME], ids=["stored", "audio", "time"])
def test_the_next_batch_is_read_while_a_step_trains_and_is_the_same(
    place: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = run_of(place, tmp_path, accumulate=2, **changes)
    with Ahead(run) as ahead:
        for step in (0, 1, 2, FIRST, FIRST + 1):  # FIRST is not the one behind 2: it is read when it is asked for
            whole, parts = ahead.take(step)
            again, same = read_step(run, step)
            assert whole == again
            assert [str(complete(run, part)) for part in parts] == [str(complete(run, part)) for part in same]
            for part, other in zip(parts, same, strict=True):
                assert (part.tokens, part.answers, part.whole) == (other.tokens, other.answers, other.whole)
                assert torch.equal(part.states, other.states)
                assert all(np.array_equal(a, b) for a, b in zip(part.waves, other.waves, strict=True))
                assert (part.teacher is None) == (step < FIRST)


def test_a_cache_that_is_cut_while_a_step_trains_stops_the_next_one(tmp_path: Path) -> None:
    run = run_of(make_place(tmp_path), tmp_path / "out")
    with Ahead(run) as ahead:
        ahead.take(0)
        for file in run.clips.store.folder.glob("*.bin"):
            os.truncate(file, 10)
        with contextlib.suppress(StoreError):
            ahead.take(1)  # may have been read before the file was cut
        with pytest.raises(StoreError, match="is shorter than"):
            ahead.take(2)


# ---------------------------------------------------------------- optimiser


def small() -> Trained:
    torch.manual_seed(0)
    return Trained(Connector(ConnectorConfig(width=8, heads=2, layers=1, ffn=16, max_queries=4, llm_width=6)))


@pytest.mark.parametrize("boost", [4.0, None])
def test_every_weight_is_in_one_group_and_only_matrices_decay(boost: float | None) -> None:
    trained = small()
    optimiser = train.build_optimiser(trained, replace(PLAN, projection_boost=boost))
    names = {id(p): n for n, p in trained.named_parameters()}
    groups = [sorted(names[id(p)] for p in g["params"]) for g in optimiser.param_groups]
    assert sorted(n for group in groups for n in group) == sorted(names.values())
    own_rate = boost is not None
    assert [g["weight_decay"] for g in optimiser.param_groups] == [0.1, 0.0, *([0.0] if own_rate else [0.1, 0.0])]
    assert all(dict(trained.named_parameters())[n].ndim > 1 for n in groups[0])
    assert all(n.endswith("bias") or "layer_norm" in n for n in groups[1])
    projection = ["connector.projection.bias", "connector.projection.weight"]
    assert groups[2:] == ([projection] if own_rate else [[projection[1]], [projection[0]]])
    connector = trained.connector
    assert isinstance(connector, Connector)
    size = [
        float(w.detach().square().mean().sqrt()) for w in (connector.projection.weight, connector.layers[0].fc1.weight)
    ]
    factor = 1.0 if boost is None else boost * size[0] / size[1]
    factors = [1.0, 1.0, *[pytest.approx(factor)] * (1 if own_rate else 2)]
    assert [g["factor"] for g in optimiser.param_groups] == factors
    assert optimiser.defaults["betas"] == (0.9, 0.999)


# ---------------------------------------------------------------- gradients


def gradients(run: Any, step: int) -> tuple[dict[str, Tensor], dict[str, float]]:
    optimiser = torch.optim.SGD(run.trained.parameters(), lr=0.0)
    for group in optimiser.param_groups:
        group["factor"] = 0.0
    seen, _ = train.update(run, run.trained, optimiser, step)
    return {n: p.grad.clone() for n, p in run.trained.named_parameters() if p.grad is not None}, seen


def losses_of(run: Any, chosen: list[int], step: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The losses of a step whose batch has some clips, as they are."""
    batch = complete(run, read(run, chosen, [0] * len(chosen), chosen, step))
    return train.losses_of(batch, train.Student(run.trained, run.trained.connector, run.frozen), run.config, run.scale)


def in_float64(place: Path, output: Path, **changes: Any) -> Any:
    """A run whose sums say nothing of the CPU that adds them: in float32 their order alone is worth 1e-6 on some."""
    run = run_of(place, output, dtype="float64", **changes)
    run.trained.double()
    stored = run.clips.batch

    def batch(*chosen: Any) -> tuple[Tensor, Tensor]:
        states, mask = stored(*chosen)
        return states.double(), mask

    object.__setattr__(run.clips, "batch", batch)
    return run


PARTS: list[dict[str, Any]] = [
    {}, {"pad": 1.0}, {"aligned": "first"}, {"distillation": "kl", "temperature": 2.0}, {"distill_positions": 2}
]  # fmt: skip


@pytest.mark.parametrize("changes", PARTS, ids=lambda c: " ".join(c) or "plain")
@pytest.mark.parametrize("step", [0, FIRST], ids=["alignment", "both"])
def test_a_batch_in_parts_has_the_gradient_and_the_losses_of_the_whole(
    place: Path, tmp_path: Path, changes: dict[str, Any], step: int
) -> None:
    settings = {"batch": 7, "both_batch": 7, "clip": 1e9, **changes}
    whole, seen = gradients(in_float64(place, tmp_path, **settings), step)
    length = torch.cat([v.flatten() for v in whole.values()]).norm()
    for parts in (4, 99):  # 99: a clip at a time
        cut, heard = gradients(in_float64(place, tmp_path, accumulate=parts, **settings), step)
        assert heard == pytest.approx(seen, rel=1e-5)
        assert cut.keys() == whole.keys()
        for name, value in whole.items():
            assert float((cut[name] - value).norm() / length) < 1e-12, name


@pytest.mark.parametrize("settings", [{}, {"connector": "mlp", "from_whisper": False}], ids=["qformer", "mlp"])
@pytest.mark.parametrize("step", [0, FIRST], ids=["alignment", "both"])
def test_gradients_reach_every_part_of_the_connector_and_neither_llm_nor_encoder(
    place: Path, tmp_path: Path, settings: dict[str, Any], step: int
) -> None:
    run = run_of(place, tmp_path, **settings)
    frozen: list[nn.Module] = [run.frozen.llm.model, run.whisper.encoder, run.whisper.decoder]
    before = [v.clone() for part in frozen for v in part.state_dict().values()]
    found, _ = gradients(run, step)
    assert [n for n, _ in run.trained.named_parameters() if n not in found or not found[n].any()] == []
    assert all(n.startswith("connector.") for n in found)
    assert all(p.grad is None and not p.requires_grad for part in frozen for p in part.parameters())
    now = [v for part in frozen for v in part.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, now, strict=True))


@pytest.mark.parametrize("window", [None, 30.0])
def test_gradients_reach_an_encoder_that_is_trained_too(place: Path, tmp_path: Path, window: float | None) -> None:
    run = run_of(place, tmp_path, train_encoder=True, cache_states=False, window_seconds=window)
    found, _ = gradients(run, FIRST)
    without = [n for n, _ in run.trained.named_parameters() if n not in found or not found[n].any()]
    assert without == []
    assert len([n for n in found if n.startswith("encoder.")]) == len(list(run.whisper.encoder.parameters()))
    assert not any(p.requires_grad for p in run.frozen.llm.model.parameters())


@pytest.mark.parametrize("window", [None, 30.0])
def test_what_is_heard_does_not_depend_on_where_the_states_come_from(
    place: Path, tmp_path: Path, window: float | None
) -> None:
    settings = {"window_seconds": window, "variants": 1}
    chosen, variants = [2, 9, 4], [0, 1, 1]
    runs = [
        run_of(place, tmp_path, **settings),
        run_of(place, tmp_path, cache_states=False, **settings),
        run_of(place, tmp_path, cache_states=False, train_encoder=True, **settings),
    ]
    virtual = [run.trained(*run.hear(chosen, variants))[0].detach() for run in runs]
    torch.testing.assert_close(virtual[1], virtual[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(virtual[2], virtual[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scaled", [False, True])
def test_the_loss_is_the_weighted_sum_of_means_over_tokens_and_states(
    place: Path, tmp_path: Path, scaled: bool
) -> None:
    run = run_of(place, tmp_path, scaled=scaled, align=0.5, distill=3.0, distill_positions=2)
    chosen = run.clips.train[:3]
    loss, sums = losses_of(run, chosen, FIRST)
    texts = [run.clips.items[i].tokens for i in chosen]
    virtual, _ = run.trained(*run.hear(chosen))
    align, tokens = losses.token_alignment(virtual, [run.frozen.targets(t) for t in texts])
    answers = run.frozen.answers(texts, 2)
    away, states = losses.state_distance(
        torch.cat(run.frozen.student_states(list(virtual), answers)),
        torch.cat(run.frozen.teacher_states(texts, answers)),
    )
    assert tokens == sum(map(len, texts))
    assert states == sum(1 + len(a) for a in answers) > 3
    assert float(sums["align"]) == pytest.approx(float(align.detach()) / tokens, rel=1e-5)
    assert float(sums["distill"]) == pytest.approx(float(away.detach()) / states, rel=1e-4)
    wanted = 0.5 * float(sums["align"]) / run.scale["align"] + 3.0 * float(sums["distill"]) / run.scale["distill"]
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)
    assert (run.scale == {"align": 1.0, "distill": 1.0}) == (not scaled)


def test_with_instructions_the_teacher_reads_the_transcript_with_the_same_instruction_as_the_student(
    tmp_path: Path,
) -> None:
    # a cache of its own, in which no other test's teacher has answered
    run = run_of(make_place(tmp_path), tmp_path / "out", distill_positions=2, instructions="mixed")
    chosen = run.clips.train[:3]
    texts = [run.clips.items[i].tokens for i in chosen]
    virtual, _ = run.trained(*run.hear(chosen))
    seen = []
    for step in range(FIRST, FIRST + 4):
        frame = run.frozen.frame_of(step)
        _, sums = losses_of(run, chosen, step)
        answers = run.frozen.answers(texts, 2, frame)
        away, _ = losses.state_distance(
            torch.cat(run.frozen.student_states(list(virtual), answers, frame)),
            torch.cat(run.frozen.teacher_states(texts, answers, frame)),
        )
        assert float(sums["distill"]) == pytest.approx(float(away.detach()) / (3 * 3), rel=1e-4)
        seen.append(float(away.detach()))
    assert len({round(value, 4) for value in seen}) == len(INSTRUCTIONS) == 4
    assert all(text_key(run.clips.items[i].tokens) in run.teacher_cache for i in run.clips.dev)
    assert not any(text_key(run.clips.items[i].tokens) in run.teacher_cache for i in chosen)


def test_the_released_shift_aligns_with_the_template_and_loses_the_last_tokens(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, given = run_of(place, tmp_path, shift=5), []
    work = losses.token_alignment
    monkeypatch.setattr(losses, "token_alignment", lambda v, t, *side: given.append(t) or work(v, t, *side))
    chosen = run.clips.train[:2]
    losses_of(run, chosen, 0)
    for found, i in zip(given[0], chosen, strict=True):
        ids = run.clips.items[i].tokens
        wanted = [*run.frozen.before[-5:], *ids[: len(ids) - 5]]
        assert len(wanted) == len(ids) > 5
        assert torch.equal(found, run.frozen.llm.embeddings[torch.tensor(wanted)])


# ---------------------------------------------------------------- ablations and settings

OTHERS: dict[str, dict[str, Any]] = {
    "both": {},
    "trained encoder": {"train_encoder": True, "cache_states": False},
    "no cache": {"cache_states": False},
    "30 s": {"window_seconds": 30.0},
    "augmented": {"variants": 1},
    "answers": {"distill_positions": 2},
    "checkpointing": {"checkpointing": True, "distill_positions": 2},
    "bfloat16": {"dtype": "bfloat16"},
    "as the paper": {"projection_boost": None, "scaled": False, "align_steps": 0, "schedule": "linear"},
    "kl, answers": {"distillation": "kl", "distill_positions": 2, "temperature": 2.0},
    "time": TIME,
    "time, bfloat16, both ways": {**TIME, "dtype": "bfloat16", "causal": False},
    "time, instructions": {**TIME, "distill_positions": 2, "instructions": "mixed", "distillation": "kl"},
    "instructions, first tokens": {"instructions": "mixed"},
    "time, answers, encoder": {**TIME, "distill_positions": 2, "cache_states": False, "train_encoder": True},
}
DEV = {"dev_align", "dev_nearest", "dev_distill", "dev_kl", "dev_first_token"}
TIME_ABLATIONS = ("align_only", "distill_only", "scratch", "mlp", "learned", "learned_ctc", "no_locality", "no_pull")


@pytest.mark.parametrize(
    ("name", "ablation"),
    [*((name, name) for name in ABLATIONS), *((name, None) for name in OTHERS), *(("time", a) for a in TIME_ABLATIONS)],
)
def test_every_ablation_and_setting_trains_and_measures_what_is_finite(
    place: Path, tmp_path: Path, name: str, ablation: str | None
) -> None:
    base = config(**({"steps": 3, "align_steps": 1, "warmup": 1} | OTHERS.get(name, {})))
    plan = ABLATIONS[ablation](base) if ablation else base
    changes = {f: getattr(plan, f) for f in plan.__dataclass_fields__}
    run = run_of(place, tmp_path / "out", **changes)
    before = [p.detach().clone() for p in run.trained.parameters()]
    train.train(run, Silent())
    rows = rows_of(tmp_path / "out")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(math.isfinite(v) for row in rows for v in row.values())
    measured = plan.queries == "learned" or plan.alignment == "ctc"
    assert rows[-1].keys() >= (DEV if measured else DEV - {"dev_align", "dev_nearest"})
    assert ("dev_read_wer" in rows[-1]) == (plan.alignment == "ctc")
    assert ("distill" in rows[-1]) == (ablation != "align_only")
    assert ("distill" in rows[0]) == (plan.align_steps == 0)
    assert all(("pad" in row) == (ablation == "align_pad") for row in rows)
    assert all(("pull" in row) == (plan.alignment != "l2") for row in rows)
    moved = [not torch.equal(b, p) for b, p in zip(before, run.trained.parameters(), strict=True)]
    assert all(moved)
    assert (tmp_path / "out" / "export" / "connector.safetensors").exists()
    assert (tmp_path / "out" / "export" / "encoder.safetensors").exists() == plan.train_encoder


def test_training_brings_virtual_tokens_to_their_targets(place: Path, tmp_path: Path) -> None:
    """That the losses fall at all, on the clips that are trained on."""
    run = run_of(place, tmp_path, steps=60, align_steps=50, batch=16, both_batch=8, lr=5e-3, both_lr=2e-3, save_every=60,
                 evaluate_every=60)  # fmt: skip
    train.train(run, Silent())
    rows = rows_of(tmp_path)
    assert rows[49]["align"] < 0.9 * rows[0]["align"]
    assert rows[59]["distill"] < rows[50]["distill"]


# ---------------------------------------------------------------- what stops a run


@pytest.mark.parametrize("step", [0, FIRST])
def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched_and_names_step_and_clips(
    place: Path, tmp_path: Path, step: int
) -> None:
    run = run_of(place, tmp_path)
    with torch.no_grad():
        run.trained.connector.query_tokens[0, 0] = float("nan")
    before = [p.detach().clone() for p in run.trained.parameters()]
    chosen, _ = batch_of(step, run.clips, run.clips.train, run.config)
    named = ", ".join(run.clips.items[i].id for i in chosen)
    assert named.startswith("train-000.parquet:")
    with pytest.raises(UserError) as told:
        train.update(run, run.trained, train.build_optimiser(run.trained, run.config), step)
    assert str(told.value).startswith(f"step {step + 1}: the loss is not finite")
    assert f"on clips {named}. The last checkpoint" in str(told.value)
    assert str(tmp_path) in str(told.value)
    assert all(
        torch.equal(b.nan_to_num(), p.nan_to_num()) for b, p in zip(before, run.trained.parameters(), strict=True)
    )


def test_where_all_clips_are_held_out_nothing_can_be_trained(place: Path, tmp_path: Path) -> None:
    run = run_of(place, tmp_path, held_out=1)
    with pytest.raises(UserError, match=r"0 clips to train on for 1 process.*32 are held out: change `held_out`"):
        train.train(run, Silent())


def test_steps_and_examples_of_the_two_phases(place: Path, tmp_path: Path) -> None:
    train.train(run_of(place, tmp_path), Silent())
    rows = rows_of(tmp_path)
    assert [row["examples"] for row in rows] == [
        4 * min(s, FIRST) + 2 * max(0, s - FIRST) for s in range(1, FIRST + SECOND + 1)
    ]
    assert [row["step"] for row in rows if row.keys() >= DEV] == [5, FIRST, FIRST + SECOND]
