"""The clock of the stages of a batch."""

from __future__ import annotations

import time

import pytest
import torch

from diva_bench.decoding.phases import Clock


def test_laps_of_one_stage_add_up_and_all_stages_together_are_the_time_that_passed() -> None:
    began = time.perf_counter()
    clock = Clock()
    for stage in ("encode", "prefill", "decode", "prefill"):
        time.sleep(0.01)
        clock.lap(stage)
    passed = time.perf_counter() - began
    assert list(clock.seconds) == ["encode", "prefill", "decode"]
    assert clock.seconds["prefill"] >= 0.02
    assert 0.04 <= sum(clock.seconds.values()) <= passed


def test_a_clock_without_laps_has_no_stages() -> None:
    assert Clock().seconds == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_work_of_a_stage_is_counted_to_it_although_the_program_runs_ahead() -> None:
    square = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    clock = Clock("cuda")
    for _ in range(50):
        square = square @ square / 4096
    clock.lap("encode")
    clock.lap("decode")
    assert clock.seconds["encode"] > 10 * clock.seconds["decode"]
