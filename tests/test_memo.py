"""The memo of encoder states: what is the same, what is not, what is kept."""

from __future__ import annotations

from collections.abc import Iterator
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
def memo(tmp_path: Path) -> Iterator[Memo]:
    with Memo().keeping(tmp_path) as memo:
        yield memo


@pytest.fixture
def encoder(folder: Path) -> Whisper:
    return Whisper.load(folder, "cpu", "float32")


def test_a_second_asking_gives_what_encoding_anew_gives_to_the_bit(memo: Memo, encoder: Whisper) -> None:
    first, second, anew = memo.encode(encoder, WAVES), memo.encode(encoder, WAVES), encoder.encode(WAVES)
    assert memo.hits == 1
    for kept, again, wanted in zip(first, second, anew, strict=True):
        assert torch.equal(kept, wanted)
        assert torch.equal(again, wanted)
        assert (again.dtype, again.device) == (wanted.dtype, wanted.device)


def test_the_same_encoder_loaded_again_hits(memo: Memo, folder: Path) -> None:
    for _ in range(2):
        memo.encode(Whisper.load(folder, "cpu", "float32"), WAVES)
    assert memo.hits == 1


def test_another_type_misses(memo: Memo, folder: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        states, _ = memo.encode(Whisper.load(folder, "cpu", dtype), WAVES)
        assert str(states.dtype) == f"torch.{dtype}"
    assert memo.hits == 0


def test_another_window_misses(memo: Memo, encoder: Whisper) -> None:
    memo.encode(encoder, WAVES)
    assert torch.equal(memo.encode(encoder, WAVES, full=True)[0], encoder.encode(WAVES, full=True)[0])
    assert memo.hits == 0


def test_an_encoder_that_differs_in_its_last_layer_alone_misses(memo: Memo, folder: Path) -> None:
    changed = Whisper.load(folder, "cpu", "float32")
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
def test_other_clips_order_or_cuts_miss(memo: Memo, encoder: Whisper, batch: list[np.ndarray]) -> None:
    memo.encode(encoder, WAVES)
    assert torch.equal(memo.encode(encoder, batch)[0], encoder.encode(batch)[0])
    assert memo.hits == 0


def test_the_bound_is_kept_and_what_came_first_stays(encoder: Whisper, tmp_path: Path) -> None:
    size = sum(t.nbytes for t in encoder.encode(WAVES))
    with Memo().keeping(tmp_path, limit=size) as memo:
        for batch in (WAVES, OTHERS, WAVES[::-1], WAVES, OTHERS):
            for got, wanted in zip(memo.encode(encoder, batch), encoder.encode(batch), strict=True):
                assert torch.equal(got, wanted)
        assert (memo.bytes <= size, len(memo), memo.hits) == (True, 1, 1)


def test_nothing_is_kept_outside_and_no_file_is_left(encoder: Whisper, tmp_path: Path) -> None:
    memo = Memo()
    with memo.keeping(tmp_path), memo.keeping(tmp_path / "inner"):
        memo.encode(encoder, WAVES)
        memo.encode(encoder, WAVES)
    assert memo.hits == 1
    for _ in range(2):
        memo.encode(encoder, WAVES)
    assert (len(memo), memo.hits, list(tmp_path.iterdir())) == (0, 1, [])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_costs_time_not_answers(encoder: Whisper, tmp_path: Path) -> None:
    with Memo().keeping(tmp_path) as memo, open("/dev/full", "r+b", buffering=0) as full:
        memo._file, kept = full, memo._file
        for _ in range(2):
            assert torch.equal(memo.encode(encoder, WAVES)[0], encoder.encode(WAVES)[0])
        assert (len(memo), memo.hits) == (0, 0)
        memo._file = kept


def test_transcripts_are_kept_too(memo: Memo, encoder: Whisper) -> None:
    first, again = memo.transcribe(encoder, WAVES), memo.transcribe(encoder, WAVES)
    assert first == again == encoder.transcribe(WAVES)
    assert memo.hits == 1
    assert memo.transcribe(encoder, WAVES[::-1]) == first[::-1]
    assert memo.hits == 1


def test_an_encoder_that_is_gone_is_not_held(memo: Memo, folder: Path) -> None:
    encoder = Whisper.load(folder, "cpu", "float32")
    memo.encode(encoder, WAVES)
    assert len(memo._identities) == 1
    del encoder
    assert len(memo._identities) == 0
