"""Training clips: what is skipped and why, what is held out, what a batch holds, and that a store is filled but once."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import make_whisper
from training_tools import Notes, config, parquet, wav

from diva_bench import audio
from diva_bench.decoding.whisper import Whisper
from diva_bench.errors import DataError, UserError
from diva_bench.training import data
from diva_bench.training.augment import augment
from diva_bench.training.caches import ArrayCache
from diva_bench.training.data import Clips, variant_key
from diva_bench.types import Silent


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    return Whisper.load(make_whisper(tmp_path_factory.mktemp("whisper")))


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 clips of unequal length: more than one group of 32."""
    file = tmp_path_factory.mktemp("speech") / "train.parquet"
    return parquet(file, [(wav(0.1 + 0.01 * (k * 7 % 40), seed=k), f"text number {k}") for k in range(40)])


def by_word(text: str) -> list[int]:
    return [len(word) for word in text.split()]


def prepare(given: Path, whisper: Whisper, cache: Path, limit: int = 10**8, **changes: Any) -> Clips:
    options = {"progress": Silent()} | {
        k: changes.pop(k) for k in ("shard", "shards", "share", "progress") if k in changes
    }
    return data.read_clips(
        [str(given)], config(**changes), whisper, by_word, made_of="w", cache=cache, limit=limit, **options
    )


def content(store: ArrayCache, clips: Clips) -> dict[str, tuple[bytes, dict[str, Any]]]:
    return {key: (store[key].tobytes(), store.facts(key)) for key in (c.key for c in clips.items)}


# ---------------------------------------------------------------- what is kept


def test_files_of_a_folder_that_are_not_read_are_named(whisper: Whisper, tmp_path: Path) -> None:
    for name in ("train-000", "joined-000", "joined-001"):
        parquet(tmp_path / f"{name}.parquet", [(wav(0.3, seed=k), f"{name} {k}") for k in range(4)])
    notes = Notes()
    clips = prepare(tmp_path, whisper, tmp_path / "cache", progress=notes)
    assert len(clips.items) == 4
    (said,) = [note for note in notes.all if "joined" in note]
    assert "2 not: joined-000.parquet, joined-001.parquet. To train on them, too, name each with --data." in said
    alone = Notes()
    prepare(tmp_path / "joined-000.parquet", whisper, tmp_path / "cache", progress=alone)
    assert not any("--data" in note for note in alone.all)


def test_clips_are_skipped_for_a_reason_and_each_reason_is_counted(whisper: Whisper, tmp_path: Path) -> None:
    file = parquet(
        tmp_path / "train.parquet",
        [
            (wav(0.30, seed=1), "two words"), (wav(0.31, seed=2), " spaces around "),
            (wav(0.32, seed=3), ""), (wav(0.33, seed=4), "  \n"),
            (b"not sound", "two words"), (b"", "two words"),
            (wav(0.34, level=0.0), "two words"),
            (wav(1.01, seed=5), "two words"), (wav(1.0, seed=6), "just fits"),
            (wav(0.35, seed=7), "one two three four five"), (wav(0.36, seed=8), "one two three four"),
        ],
    )  # fmt: skip
    settings: dict[str, Any] = {"max_queries": 4, "max_seconds": 1.0, "held_out": 10**9}
    for time in ("filled", "found"):
        clips = prepare(file, whisper, tmp_path / "cache", **settings)
        assert clips.skipped == {
            "cannot be decoded": 2,
            "empty text": 2,
            "over 1 s": 1,
            "over 4 tokens": 1,
            "silent": 1,
        }
        kept = [(c.id, c.tokens, c.text, c.seconds) for c in clips.items]
        assert kept == [
            ("train.parquet:0", (3, 5), "two words", 0.3),
            ("train.parquet:1", (6, 6), "spaces around", 0.31),
            ("train.parquet:8", (4, 4), "just fits", 1.0),
            ("train.parquet:10", (3, 3, 5, 4), "one two three four", 0.36),
        ]
        assert clips.seconds == pytest.approx(1.97)
        assert (clips.first_pass_seconds > 0) == (time == "filled")


def test_where_nothing_is_left_the_source_and_the_reasons_are_named(whisper: Whisper, tmp_path: Path) -> None:
    file = parquet(tmp_path / "train.parquet", [(wav(0.3), ""), (b"x", "words")])
    with pytest.raises(DataError, match=r"train\.parquet: no clip .*; skipped: .*cannot be decoded.*empty text"):
        prepare(file, whisper, tmp_path / "cache")


def test_a_text_is_held_out_with_all_its_clips(whisper: Whisper, tmp_path: Path) -> None:
    texts = [f"sentence number {k % 20}" for k in range(40)]
    file = parquet(tmp_path / "t.parquet", [(wav(0.1 + 0.01 * k, seed=k), t) for k, t in enumerate(texts)])
    clips = prepare(file, whisper, tmp_path / "cache", held_out=3)
    held, rest = ({clips.items[i].text for i in part} for part in (clips.dev, clips.train))
    assert held
    assert rest
    assert not held & rest
    assert held == {t for t in texts if data.is_dev(t, 3)}
    assert sorted([*clips.dev, *clips.train]) == list(range(40))


def test_about_one_text_in_so_many_is_held_out_however_it_is_written() -> None:
    texts = [f"sentence number {i}" for i in range(4000)]
    kept = Counter(data.is_dev(t, 50) for t in texts)
    assert 40 < kept[True] < 130
    assert all(data.is_dev(t, 50) == data.is_dev(f" {t.upper()} ", 50) for t in texts)


def test_the_lengths_of_the_texts_that_are_trained_on_are_told(tmp_path: Path) -> None:
    items = [data.TrainingClip(str(k), str(k), (1,), " ".join(["word"] * k), 1.0, k > 101) for k in range(1, 200)]
    clips = Clips(items, {}, ArrayCache(tmp_path, 4, "float32", 10**6), config())
    assert clips.words() == {"5 %": 6, "50 %": 51, "95 %": 96, "most": 101}


# ---------------------------------------------------------------- what a batch holds


@pytest.mark.parametrize("window", [None, 30.0])
def test_a_batch_holds_each_clips_own_states_and_a_mask(
    speech: Path, whisper: Whisper, tmp_path: Path, window: float | None
) -> None:
    clips = prepare(speech, whisper, tmp_path, window_seconds=window)
    chosen = [3, 17, 0]
    states, mask = clips.batch(chosen)
    assert states.dtype == torch.float32
    assert mask.shape == states.shape[:2] == (3, max(clips.lengths[chosen]))
    for b, i in enumerate(chosen):
        length = int(clips.lengths[i])
        sound = audio.decode(wav(0.1 + 0.01 * (i * 7 % 40), seed=i)).samples
        wanted, real = whisper.encode([sound], full=window is not None)
        assert length == int(real.sum()) == (1500 if window else -(-len(sound) // 320))
        assert mask[b].tolist() == [True] * length + [False] * (mask.shape[1] - length)
        torch.testing.assert_close(states[b, :length], wanted[0], atol=1e-4, rtol=1e-4)
        assert not states[b, length:].any()


@pytest.mark.parametrize(("dtype", "kept"), [("float32", np.float32), ("bfloat16", np.float16)])
def test_states_are_kept_in_enough_digits(whisper: Whisper, tmp_path: Path, dtype: str, kept: type) -> None:
    file = parquet(tmp_path / "t.parquet", [(wav(0.2, seed=k), f"a text {k}") for k in range(3)])
    half = Whisper.load(make_whisper(tmp_path / "w"), dtype=dtype)
    clips = prepare(file, half, tmp_path / "cache", dtype=dtype, held_out=10**9)
    assert clips.store[clips.items[0].key].dtype == kept
    wanted = half.encode([audio.decode(wav(0.2, seed=0)).samples])[0][0].float()
    torch.testing.assert_close(clips.batch([0])[0][0], wanted, atol=1e-2, rtol=1e-2)


def test_where_states_are_not_kept_the_encoded_audio_is_and_gives_the_waves(
    speech: Path, whisper: Whisper, tmp_path: Path
) -> None:
    clips = prepare(speech, whisper, tmp_path, cache_states=False, variants=1)
    assert [p.name.split("-")[0] for p in tmp_path.iterdir()] == ["audio"]
    assert clips.store[clips.items[5].key].tobytes() == wav(0.1 + 0.01 * 35, seed=5)
    sound = audio.decode(wav(0.1 + 0.01 * 35, seed=5))
    plain, varied = clips.waves([5, 5], [0, 1])
    np.testing.assert_array_equal(plain, sound.samples)
    np.testing.assert_array_equal(varied, augment(sound, clips.items[5].key, 0, 1).samples)
    np.testing.assert_array_equal(clips.waves([5])[0], plain)
    assert clips.lengths.tolist() == [int(1000 * c.seconds) for c in clips.items]


def test_an_augmented_copy_has_states_of_its_own(speech: Path, whisper: Whisper, tmp_path: Path) -> None:
    clips = prepare(speech, whisper, tmp_path, variants=2)
    assert len(clips.store) == 3 * 40
    key, sound = clips.items[4].key, audio.decode(wav(0.1 + 0.01 * 28, seed=4))
    found = [clips.batch([4], [v])[0][0] for v in range(3)]
    for v in range(3):
        wanted = whisper.encode([augment(sound, key, 0, v).samples])[0][0]
        assert variant_key(key, v) in clips.store
        torch.testing.assert_close(found[v], wanted, atol=1e-4, rtol=1e-4)
    assert len({len(f) for f in found} | {float(f.sum()) for f in found}) > 3
    together, mask = clips.batch([4, 4, 4], [0, 1, 2])
    assert all(torch.equal(together[v, : int(mask[v].sum())], found[v]) for v in range(3))


@pytest.mark.parametrize("change", [{"variants": 1, "seed": 1}, {"max_seconds": 9.0}, {"window_seconds": 30.0}])
def test_what_changes_the_states_has_a_store_of_its_own(
    speech: Path, whisper: Whisper, tmp_path: Path, change: dict[str, Any]
) -> None:
    stores = [prepare(speech, whisper, tmp_path, **c).store.folder for c in ({}, {"lr": 1.0, "steps": 99}, change)]
    assert stores[0] == stores[1] != stores[2]


# ---------------------------------------------------------------- the first pass


def test_a_first_pass_is_made_once(
    speech: Path, whisper: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(speech, whisper, tmp_path)
    monkeypatch.setattr(whisper, "encode", None)
    again = prepare(speech, whisper, tmp_path)
    assert again.items == first.items
    assert content(again.store, again) == content(first.store, first)


@pytest.mark.parametrize("groups", [0, 1])
@pytest.mark.parametrize("cached", [True, False])
def test_a_first_pass_that_was_stopped_and_taken_up_again_stores_the_same(
    speech: Path, whisper: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: int, cached: bool
) -> None:
    whole = prepare(speech, whisper, tmp_path / "whole", cache_states=cached)
    append, done = ArrayCache.append, []

    def until(self: ArrayCache, group: Any) -> None:
        if len(done) == groups:
            self.close()
            raise KeyboardInterrupt
        done.append(group)
        append(self, group)

    monkeypatch.setattr(ArrayCache, "append", until)
    with pytest.raises(KeyboardInterrupt):
        prepare(speech, whisper, tmp_path / "cut", cache_states=cached)
    monkeypatch.undo()
    resumed = prepare(speech, whisper, tmp_path / "cut", cache_states=cached)
    assert resumed.items == whole.items
    assert content(resumed.store, resumed) == content(whole.store, whole)


def test_several_shards_make_the_clips_and_the_store_of_one(speech: Path, whisper: Whisper, tmp_path: Path) -> None:
    whole = prepare(speech, whisper, tmp_path / "whole")
    shards, told = 3, [[], [], []]  # what each of them shares, in order

    def run(shard: int, replies: Sequence[list[Any]] | None) -> Clips | None:
        turn = iter(range(2))

        def share(mine: list[Any]) -> list[Any]:
            k = next(turn)
            told[shard].append(mine)
            if replies is None:
                return mine
            return [item for other in told for item in other[k]]

        return prepare(speech, whisper, tmp_path / "cut", shard=shard, shards=shards, share=share)

    for shard in range(shards):
        run(shard, None)  # fills its part of the store, as processes do side by side
    assert sum(len(t[1]) for t in told) == 40
    for shard in range(shards):
        found = run(shard, told)
        assert found is not None
        assert found.items == whole.items
        assert found.skipped == whole.skipped
        states, mask = found.batch(list(range(40)))
        wanted, real = whole.batch(list(range(40)))
        assert torch.equal(mask, real)
        torch.testing.assert_close(states, wanted, atol=1e-4, rtol=1e-4)  # other groups are padded to other lengths


def test_a_store_over_its_limit_says_so_and_keeps_what_it_has(speech: Path, whisper: Whisper, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"would grow to .*, over its limit of 10.0 kB"):
        prepare(speech, whisper, tmp_path, limit=10_000)
    shutil.rmtree(tmp_path)
    assert len(prepare(speech, whisper, tmp_path, limit=100_000).items) == 40
