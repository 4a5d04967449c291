"""Formulas of FLOPs against torch's own counter, a step's parts, the paper's estimate, and the ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import whisper_config
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache
from transformers.models.llama import LlamaConfig, LlamaForCausalLM

from diva_bench.decoding.whisper import Encoder
from diva_bench.diva import compute, losses
from diva_bench.diva.compute import LLAMA_3_8B, PARTS, WHISPER_LARGE_V3, Ledger, LLMShape, WhisperShape, Work
from diva_bench.diva.config import ConnectorConfig, align_only, mini, paper
from diva_bench.diva.model import Connector, build

# no size is a multiple of another one's, so that a wrong term cannot hide; heads x head_dim is not the width
LLM_CONFIG: dict[str, Any] = {
    "vocab_size": 517, "hidden_size": 96, "intermediate_size": 168, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 20, "attn_implementation": "eager",
}  # fmt: skip
WHISPER_CONFIG = whisper_config().to_dict() | {
    "d_model": 60, "encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 140, "num_mel_bins": 80,
}  # fmt: skip
QFORMER = ConnectorConfig(width=60, heads=4, layers=2, ffn=140, max_queries=11, llm_width=96)
TIME = replace(QFORMER, queries="time", max_queries=250, alignment="l2", locality=12.0)
FRAMES = ConnectorConfig(
    kind="mlp", queries="time", width=60, heads=0, layers=0, ffn=140, max_queries=250, llm_width=96, stride=6
)
MLP = ConnectorConfig(kind="mlp", width=60, heads=0, layers=0, ffn=140, max_queries=11, llm_width=96, stack=3)
LIKE_TORCH = 1e-3  # relative; what other versions of transformers count more, such as rotary angles, is below it


def count(work: Callable[[], Tensor]) -> tuple[int, int]:
    """FLOPs that torch sees in the forward pass and in the backward pass of the sum of its result."""
    # the fused kernel of a CPU is not counted, its parts are
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = work()
        forward = counter.get_total_flops()
        if out.requires_grad:
            out.sum().backward()  # type: ignore[no-untyped-call]
        return forward, counter.get_total_flops() - forward


@pytest.fixture(scope="module")
def llm() -> LlamaForCausalLM:
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(LlamaConfig(**LLM_CONFIG))
    return model.eval().requires_grad_(False)


SHAPE = LLMShape(width=96, layers=3, heads=6, kv_heads=2, head_width=20, ffn=168, vocabulary=517)
WHISPER = WhisperShape.from_config(WHISPER_CONFIG)


def student(llm: Any, rows: int, new: int, past: int, logits: int) -> Tensor:
    """Reads `new` trained embeddings behind `past` constant ones, read once and repeated for every row."""
    cache = None
    if past:
        with torch.no_grad():
            cache = llm.base_model(inputs_embeds=torch.randn(1, past, 96), use_cache=True).past_key_values
        assert isinstance(cache, DynamicCache)
        cache.batch_repeat_interleave(rows)
    inputs = torch.randn(rows, new, 96, requires_grad=True)
    states = llm.base_model(inputs_embeds=inputs, past_key_values=cache, use_cache=bool(past)).last_hidden_state
    return llm.lm_head(states[:, -logits:]) if logits else states[:, -1]  # type: ignore[no-any-return]


# ---------------------------------------------------------------- shapes


def test_shapes_are_read_from_the_models_own_configs() -> None:
    assert LLMShape.from_config(LlamaConfig(**LLM_CONFIG)) == SHAPE
    assert WhisperShape.from_config(WHISPER_CONFIG) == WhisperShape(60, heads=4, layers=3, ffn=140, mel_bins=80)


def test_key_heads_and_head_width_that_a_config_does_not_name_follow_from_the_heads() -> None:
    class Old:
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, vocab_size = 64, 2, 4, 128, 100

    assert LLMShape.from_config(Old()) == LLMShape(64, 2, heads=4, kv_heads=4, head_width=16, ffn=128, vocabulary=100)


# ---------------------------------------------------------------- formulas against torch


@pytest.mark.parametrize("positions", [8, 150])
def test_encoder_costs_what_torch_counts(positions: int) -> None:
    encoder = Encoder(WHISPER_CONFIG)
    forward, backward = count(lambda: encoder(torch.randn(1, 80, 2 * positions), None))
    assert compute.encoder_forward(WHISPER, positions) == pytest.approx(forward, rel=LIKE_TORCH)
    assert compute.encoder_backward(WHISPER, positions) == pytest.approx(backward, rel=LIKE_TORCH)


@pytest.mark.parametrize("train_encoder", [False, True])
@pytest.mark.parametrize(
    ("config", "positions"), [(QFORMER, 7), (QFORMER, 200), (MLP, 200), (TIME, 7), (TIME, 200), (FRAMES, 200)]
)
def test_connector_costs_what_torch_counts(config: ConnectorConfig, positions: int, train_encoder: bool) -> None:
    connector = build(config)
    states = torch.randn(1, positions, 60, requires_grad=train_encoder)
    forward, backward = count(lambda: connector(states, torch.ones(1, positions, dtype=torch.bool))[0])
    assert compute.connector_forward(config, positions) == pytest.approx(forward, rel=LIKE_TORCH)
    assert compute.connector_backward(config, positions, train_encoder) == pytest.approx(backward, rel=LIKE_TORCH)


@pytest.mark.parametrize(
    ("rows", "new", "past", "logits"),
    [(1, 9, 0, 0), (1, 160, 0, 0), (1, 9, 60, 0), (3, 40, 7, 0), (3, 40, 7, 1), (2, 20, 0, 5)],
)
def test_llm_costs_what_torch_counts(llm: LlamaForCausalLM, rows: int, new: int, past: int, logits: int) -> None:
    prefix = count(lambda: student(llm, 1, past, 0, 0).detach())[0] if past else 0  # read once, whatever the rows
    forward, backward = count(lambda: student(llm, rows, new, past, logits))
    expected = rows * compute.llm_forward(SHAPE, new, past, logits)
    assert expected == pytest.approx(forward - prefix, rel=LIKE_TORCH)
    assert rows * compute.llm_backward(SHAPE, new, past, logits) == pytest.approx(backward, rel=LIKE_TORCH)


def test_checkpointing_recomputes_all_but_the_last_matrix_of_a_layer() -> None:
    model: Any = LlamaForCausalLM(LlamaConfig(**LLM_CONFIG)).requires_grad_(False)
    model.train()  # transformers checkpoints in training mode only
    for module in model.modules():  # what gradient_checkpointing_enable does, which warns of its own end
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = True
            module._gradient_checkpointing_func = partial(torch.utils.checkpoint.checkpoint, use_reentrant=False)
    _, backward = count(lambda: student(model, 1, 50, 0, 0))
    expected = compute.llm_backward(SHAPE, 50) + compute.llm_recompute(SHAPE, 50)
    assert expected == pytest.approx(backward, rel=LIKE_TORCH)


# ---------------------------------------------------------------- steps

WORK = Work(
    config=replace(mini(), max_queries=11, layers=2), whisper=WHISPER, llm=SHAPE, connector=QFORMER, clip_seconds=3.0,
    transcript_tokens=8, prefix=5, suffix=4,
)  # fmt: skip


def set_up(**changes: Any) -> Work:
    return replace(WORK, config=replace(WORK.config, **changes))


def test_what_a_plain_step_costs_is_what_torch_counts_over_all_its_parts(llm: LlamaForCausalLM) -> None:
    encoder, connector, model = Encoder(WHISPER_CONFIG).requires_grad_(False), Connector(QFORMER), llm.base_model

    def step() -> Tensor:
        states = encoder(torch.randn(2, 80, 300), None)
        before, after = torch.randn(2, 5, 96), torch.randn(2, 4, 96)
        teacher = model(inputs_embeds=torch.cat([before, torch.randn(2, 8, 96), after], 1), use_cache=False)
        virtual, _ = connector(states, torch.ones(2, 150, dtype=torch.bool))
        ours = model(inputs_embeds=torch.cat([before, virtual, after], 1), use_cache=False)
        return losses.state_distance(ours.last_hidden_state[:, -1], teacher.last_hidden_state[:, -1])[0]

    assert sum(compute.step_flops(WORK, 2, runs_llm=True, cached=False).values()) == pytest.approx(
        sum(count(step)), rel=LIKE_TORCH
    )


def test_ctc_adds_what_torch_counts_in_its_loss() -> None:
    size = replace(TIME, alignment="ctc")
    made, embeddings, classes = build(size).vocabulary, torch.randn(517, 96), torch.arange(0, 400, 2)
    assert made is not None
    virtual = torch.randn(1, 17, 96, requires_grad=True)  # of 100 encoder positions

    def loss() -> Tensor:
        nats, away, _ = losses.ctc_alignment(
            virtual, torch.tensor([17]), [torch.tensor([2, 4])], embeddings, made, classes
        )
        return nats + away

    assert compute.vocabulary_cost(size, 100, len(classes)) == pytest.approx(sum(count(loss)), rel=LIKE_TORCH)


def test_a_step_with_ctc_has_its_vocabulary_and_asks_the_llm_with_the_kept_tokens_alone() -> None:
    plain = set_up(align_steps=0, distill=1.0)
    ctc = replace(plain, connector=replace(TIME, alignment="ctc"), config=replace(plain.config, alignment="ctc"))
    l2 = replace(plain, connector=TIME)
    ours, theirs = (compute.step_flops(work, 3, runs_llm=True) for work in (ctc, l2))
    extra = 3 * compute.vocabulary_cost(TIME, ctc.encoder_positions, compute.candidates(ctc, 3))
    assert ours["connector"] - theirs["connector"] == pytest.approx(extra)
    assert compute.virtual_tokens(TIME, ctc.encoder_positions) == 25
    scan = 3 * 2.0 * 25 * SHAPE.width * (SHAPE.vocabulary + 1)
    fewer = replace(l2, connector=replace(QFORMER, max_queries=int(ctc.transcript_tokens)))
    assert ours["student"] - scan == pytest.approx(compute.step_flops(fewer, 3, runs_llm=True)["student"])


def test_kl_adds_what_torch_counts_in_its_loss() -> None:
    rows = 1 + 2
    states, output = torch.randn(rows, 96, requires_grad=True), torch.randn(517, 96)
    counted = sum(count(lambda: losses.kl_divergence(states, torch.randn(rows, 96), lambda s: s @ output.T)[0]))
    with_kl, without = (
        sum(compute.step_flops(set_up(distillation=d, distill_positions=2), 1, runs_llm=True).values())
        for d in ("kl", "l2")
    )
    assert with_kl - without == pytest.approx(counted, rel=LIKE_TORCH)


def test_with_instructions_the_teacher_is_paid_in_every_step_and_not_in_the_first_pass() -> None:
    work = set_up(instructions="mixed", distill_positions=2)
    made = compute.llm_forward(SHAPE, 8 + 4 + 1, past=5, logits=2)
    read = compute.llm_forward(SHAPE, 8 + 4 + 2, past=5)
    assert compute.step_flops(work, 3, runs_llm=True)["teacher"] == pytest.approx(
        3 * (made + read) + compute.llm_forward(SHAPE, 5)
    )
    assert compute.first_pass_flops(work, 10)["teacher"] == 0
    assert compute.step_flops(work, 3, runs_llm=True, cached=False) == compute.step_flops(
        set_up(distill_positions=2), 3, runs_llm=True, cached=False
    )


@pytest.mark.parametrize(
    ("changes", "runs_llm", "cached", "running"),
    [
        ({}, False, True, {"connector"}),
        ({}, True, True, {"connector", "student"}),
        ({}, False, False, {"connector", "encoder"}),
        ({}, True, False, {"connector", "encoder", "teacher", "student"}),
        ({"cache_states": False}, True, True, {"connector", "student", "encoder"}),
        ({"cache_states": False, "train_encoder": True}, False, True, {"connector", "encoder"}),
        ({"instructions": "mixed"}, False, True, {"connector"}),
        ({"instructions": "mixed"}, True, True, {"connector", "student", "teacher"}),
        ({"distillation": "kl"}, False, True, {"connector"}),
        ({"distillation": "kl"}, True, True, {"connector", "teacher", "student"}),
    ],
)
def test_a_step_pays_for_the_parts_it_runs(
    changes: dict[str, Any], runs_llm: bool, cached: bool, running: set[str]
) -> None:
    parts = compute.step_flops(set_up(**changes), 4, runs_llm=runs_llm, cached=cached)
    assert tuple(parts) == PARTS
    assert {name for name, value in parts.items() if value} == running


@pytest.mark.parametrize(
    ("cached", "checkpointing", "past"), [(True, False, 5), (True, True, 0), (False, False, 0), (False, True, 0)]
)
def test_the_student_does_not_read_its_prefix_where_it_is_kept(cached: bool, checkpointing: bool, past: int) -> None:
    work = set_up(distill_positions=3, checkpointing=checkpointing)
    at = (5 - past) + 11 + 4 + 3, past
    expected = compute.llm_forward(SHAPE, *at) + compute.llm_backward(SHAPE, *at)
    if checkpointing:
        expected += compute.llm_recompute(SHAPE, *at)
    assert compute.step_flops(work, 6, runs_llm=True, cached=cached)["student"] == pytest.approx(6 * expected)


def test_a_trained_encoder_is_paid_forward_and_backward_and_gives_nothing_to_cache() -> None:
    work = set_up(train_encoder=True, cache_states=False)
    whole = compute.encoder_forward(WHISPER, 150) + compute.encoder_backward(WHISPER, 150)
    for cached in (True, False):
        assert compute.step_flops(work, 1, runs_llm=False, cached=cached)["encoder"] == pytest.approx(whole)
    assert compute.first_pass_flops(work, 100)["encoder"] == 0
    assert compute.plain_over_cached(work, runs_llm=False) == 1.0


def test_a_fixed_window_counts_in_place_of_the_clip() -> None:
    assert WORK.encoder_positions == 150
    assert set_up(window_seconds=30.0).encoder_positions == 1500


def test_plain_over_cached_is_the_ratio_of_all_parts() -> None:
    plain, cached = (sum(compute.step_flops(WORK, 1, runs_llm=True, cached=c).values()) for c in (False, True))
    assert compute.plain_over_cached(WORK, runs_llm=True) == pytest.approx(plain / cached)
    assert plain > cached


def test_a_run_is_its_steps_and_one_first_pass() -> None:
    work = set_up(steps=10, align_steps=7, batch=6, both_batch=2, variants=1)
    first = compute.first_pass_flops(work, 50)
    assert first["encoder"] == 2 * 50 * compute.encoder_forward(WHISPER, 150)
    assert first["teacher"] == 50 * compute.llm_forward(SHAPE, 8 + 4, past=5)
    assert first["student"] == compute.llm_forward(SHAPE, 5)
    alone, both = (compute.step_flops(work, n, runs_llm=r) for n, r in ((6, False), (2, True)))
    assert compute.run_flops(work, 50) == pytest.approx({n: first[n] + 7 * alone[n] + 3 * both[n] for n in PARTS})
    alone, both = (compute.step_flops(work, n, runs_llm=r, cached=False) for n, r in ((6, False), (2, True)))
    assert compute.run_flops(work, 50, cached=False) == pytest.approx({n: 7 * alone[n] + 3 * both[n] for n in PARTS})


def test_the_first_pass_makes_an_answer_of_several_tokens_and_reads_it() -> None:
    made, read = compute.llm_forward(SHAPE, 8 + 4 + 2, past=5, logits=3), compute.llm_forward(SHAPE, 8 + 4 + 3, past=5)
    assert compute.first_pass_flops(set_up(distill_positions=3), 10)["teacher"] == pytest.approx(10 * (made + read))


def test_a_run_of_alignment_alone_never_pays_for_the_llm() -> None:
    work = replace(WORK, config=align_only(WORK.config))
    for cached in (True, False):
        parts = compute.run_flops(work, 50, cached=cached)
        assert parts["teacher"] == parts["student"] == 0


@pytest.mark.parametrize(("kind", "heads", "layers", "stack"), [("qformer", 4, 6, 1), ("mlp", 0, 0, 4)])
def test_the_connector_of_a_run_has_the_sizes_of_both_models(kind: Any, heads: int, layers: int, stack: int) -> None:
    config = replace(mini(), connector=kind, from_whisper=kind == "qformer")
    assert compute.connector_of(config, WHISPER, SHAPE) == ConnectorConfig(
        kind=kind, width=60, heads=heads, layers=layers, ffn=140, max_queries=32, llm_width=96, stack=stack
    )


# ---------------------------------------------------------------- the paper


def test_the_papers_models_cost_what_torch_counts_on_their_real_sizes() -> None:
    with torch.device("meta"):  # shapes without numbers
        model: Any = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32,
                num_attention_heads=32, num_key_value_heads=8, attn_implementation="eager",
            )
        ).requires_grad_(False)  # fmt: skip
        assert LLMShape.from_config(model.config) == LLAMA_3_8B
        inputs, mask = torch.randn(1, 458, 4096, requires_grad=True), torch.zeros(1, 1, 458, 458)
        forward, backward = count(
            lambda: model.base_model(inputs_embeds=inputs, attention_mask=mask, use_cache=False).last_hidden_state
        )
    assert compute.llm_forward(LLAMA_3_8B, 458) == pytest.approx(forward, rel=LIKE_TORCH)
    assert compute.llm_backward(LLAMA_3_8B, 458) == pytest.approx(backward, rel=LIKE_TORCH)


def test_the_papers_estimate_carries_its_figures_and_says_what_is_inferred() -> None:
    lines = compute.estimate_paper(paper())
    text = "\n".join(lines)
    for figure in ("1,500 encoder positions", "458 positions for the teacher", "458 for the student"):
        assert figure in lines[0]
    assert "mean 5.2 s (inference" in lines[1]
    # 4300 x 512 = 2,201,600 clips x 5.2 s = 3,180 h
    assert "2,201,600 clips seen, 3,180 h; 1,100,000 unique, 1,589 h" in lines[2]
    # 350,000 / 3,500; / 3,180; / 1,589
    for ratio in ("100 to 106 times the 3,500 h", "110 to 116 times the 3,180 h", "220 to 233 times the 1,589 h"):
        assert ratio in text
    assert "not of FLOPs" in lines[-1]


def test_an_estimate_follows_a_changed_config() -> None:
    changed = compute.estimate_paper(replace(paper(), steps=100, both_batch=64, window_seconds=None))
    assert "260 encoder positions" in changed[0]
    assert "100 steps, batch 64" in changed[1]
    assert "6,400 clips seen, 9 h" in changed[2]


def test_the_papers_estimate_names_every_part_of_both_loops() -> None:
    lines = compute.estimate_paper(paper())
    work = Work(
        config=paper(), whisper=WHISPER_LARGE_V3, llm=LLAMA_3_8B, clip_seconds=5.2, transcript_tokens=448, prefix=5,
        suffix=5, connector=compute.connector_of(paper(), WHISPER_LARGE_V3, LLAMA_3_8B),
    )  # fmt: skip
    for name, cached in (("plain loop:", False), ("with caches, first pass included:", True)):
        (line,) = (x for x in lines if x.strip().startswith(name))
        parts = compute.run_flops(work, 1_100_000, cached=cached)
        assert f"{sum(parts.values()):.3g} = " in line
        for part in PARTS:
            assert f"{part} {parts[part]:.3g}" in line
    # by hand: 8.0 G weights less 1.05 G of embeddings and output matrix, three passes over 458 positions, 2.2 M clips
    parts = compute.run_flops(work, 1_100_000, cached=False)
    assert parts["student"] + parts["teacher"] == pytest.approx(2 * 7.0e9 * 3 * 458 * 2_201_600, rel=0.1)


# ---------------------------------------------------------------- the ledger


def test_a_ledger_adds_up_and_survives_json() -> None:
    ledger = Ledger(device="two cards", devices=2, audio_hours_unique=1.5)
    ledger.add_work({"encoder": 100.0, "teacher": 50.0}, seconds=3.0, peak_bytes=70)
    ledger.add_step(clips=4, audio_seconds=12.5, flops={"connector": 7.0}, seconds=0.5, peak_bytes=90)
    ledger.add_step(clips=2, audio_seconds=5.0, flops={"connector": 3.0, "student": 20.0}, seconds=1.0, peak_bytes=80)
    assert (ledger.steps, ledger.clips, ledger.audio_seconds) == (2, 6, 17.5)
    assert ledger.flops == {"encoder": 100.0, "teacher": 50.0, "student": 20.0, "connector": 10.0}
    assert ledger.total_flops == 180.0
    assert ledger.device_seconds == 2 * (3.0 + 0.5 + 1.0)
    assert ledger.peak_memory_bytes == 90
    read = Ledger.from_json(json.loads(json.dumps(ledger.to_json())))
    assert read == ledger


def test_a_ledger_read_back_does_not_share_its_sums() -> None:
    stored = Ledger().to_json()
    again = Ledger.from_json(stored)
    again.add_work({"student": 1.0}, seconds=0.0)
    assert stored["flops"]["student"] == 0.0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel's own figure is read from Linux' /proc")
def test_peak_memory_of_a_cpu_is_this_process_in_bytes() -> None:
    found = compute.peak_memory_bytes("cpu")
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM:"))
    assert found == pytest.approx(1024 * int(line.split()[1]), rel=0.05)


def test_the_formulas_need_no_torch() -> None:
    code = "import sys, diva_bench.diva.compute; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
