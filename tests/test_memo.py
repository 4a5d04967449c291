"""The memo of encoder states: what is the same, what is not, what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import make_whisper

from diva_bench.decoding.memo import Memo
from diva_bench.decoding.whisper import Whisper

RNG = np.random.default_rng(0)
WAVES = [RNG.normal(0, 0.1, n).astype(np.float32) for n in (4000, 6000)]
OTHERS = [RNG.normal(0, 0.1, n).astype(np.float32) for n in (5000, 3000)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture
def encoder(folder: Path) -> Whisper:
    return Whisper.load(folder, "cpu", "float32")


def test_a_second_asking_gives_what_encoding_anew_gives_to_the_bit(encoder: Whisper) -> None:
    memo = Memo()
    first, second, anew = memo.encode(encoder, WAVES), memo.encode(encoder, WAVES), encoder.encode(WAVES)
    assert memo.hits == 1
    for kept, again, wanted in zip(first, second, anew, strict=True):
        assert torch.equal(kept, wanted)
        assert torch.equal(again, wanted)
        assert (again.dtype, again.device) == (wanted.dtype, wanted.device)


def test_the_same_encoder_loaded_again_hits(folder: Path) -> None:
    memo = Memo()
    for _ in range(2):
        memo.encode(Whisper.load(folder, "cpu", "float32"), WAVES)
    assert memo.hits == 1


def test_another_type_misses(folder: Path) -> None:
    memo = Memo()
    for dtype in ("float32", "bfloat16"):
        states, _ = memo.encode(Whisper.load(folder, "cpu", dtype), WAVES)
        assert str(states.dtype) == f"torch.{dtype}"
    assert memo.hits == 0


def test_another_window_misses(encoder: Whisper) -> None:
    memo = Memo()
    memo.encode(encoder, WAVES)
    assert torch.equal(memo.encode(encoder, WAVES, full=True)[0], encoder.encode(WAVES, full=True)[0])
    assert memo.hits == 0


def test_an_encoder_that_differs_in_its_last_layer_alone_misses(folder: Path) -> None:
    memo, changed = Memo(), Whisper.load(folder, "cpu", "float32")
    memo.encode(Whisper.load(folder, "cpu", "float32"), WAVES)
    with torch.no_grad():
        changed.encoder.layer_norm.bias[0] += 1
    assert torch.equal(memo.encode(changed, WAVES)[0], changed.encode(WAVES)[0])
    assert memo.hits == 0


@pytest.mark.parametrize(
    "batch",
    [
        WAVES[::-1],
        WAVES[:1],
        [np.concatenate(WAVES)],
        [np.concatenate([WAVES[0], WAVES[1][:1000]]), WAVES[1][1000:]],
        [WAVES[0], WAVES[1] + np.float32(1e-4)],
    ],
)
def test_other_clips_order_or_cuts_miss(encoder: Whisper, batch: list[np.ndarray]) -> None:
    memo = Memo()
    memo.encode(encoder, WAVES)
    assert torch.equal(memo.encode(encoder, batch)[0], encoder.encode(batch)[0])
    assert memo.hits == 0


def test_the_bound_is_kept_and_what_was_used_last_stays(encoder: Whisper) -> None:
    size = sum(t.nbytes for t in encoder.encode(WAVES))
    memo = Memo(limit=2 * size)
    memo.encode(encoder, WAVES)
    memo.encode(encoder, OTHERS)
    memo.encode(encoder, WAVES)  # so OTHERS are the ones not asked for longest
    memo.encode(encoder, WAVES[::-1])
    assert memo.bytes <= memo.limit
    assert (len(memo), memo.hits) == (2, 1)
    memo.encode(encoder, WAVES)
    assert memo.hits == 2
    memo.encode(encoder, OTHERS)
    assert memo.hits == 2


def test_a_batch_over_the_bound_is_encoded_and_drives_nothing_out(encoder: Whisper) -> None:
    memo = Memo(limit=sum(t.nbytes for t in encoder.encode(WAVES[:1])))
    memo.encode(encoder, WAVES[:1])
    assert torch.equal(memo.encode(encoder, WAVES)[0], encoder.encode(WAVES)[0])
    memo.encode(encoder, WAVES[:1])
    assert (len(memo), memo.hits) == (1, 1)


def test_an_encoder_that_is_gone_is_not_held(folder: Path) -> None:
    memo, encoder = Memo(), Whisper.load(folder, "cpu", "float32")
    memo.encode(encoder, WAVES)
    assert len(memo._known) == 1
    del encoder
    assert len(memo._known) == 0
