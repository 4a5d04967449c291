"""Arrays on disk: what was appended comes back, whatever kills the writer, however many there are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diva_bench.errors import StoreError, UserError
from diva_bench.training.caches import Array, ArrayCache, Group, place

WIDTH, PLENTY = 3, 10**6


_OPENED: list[ArrayCache] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    for cache in _OPENED:
        cache.close()
    _OPENED.clear()


def opened(folder: Path, dtype: str = "float32", limit: int = PLENTY) -> ArrayCache:
    """A cache that is closed at the end of the test."""
    _OPENED.append(ArrayCache(folder, WIDTH, dtype, limit))
    return _OPENED[-1]


def array(rows: int, seed: int = 0, dtype: str = "float32") -> Array:
    return np.random.default_rng(seed).normal(scale=50, size=(rows, WIDTH)).astype(dtype)


def group(*names: str, seed: int = 0) -> list[tuple[str, Array | None, dict[str, Any]]]:
    """An array of one row more for each further name."""
    return [(name, array(1 + k, seed + k), {"n": k, "said": f"{name} é"}) for k, name in enumerate(names)]


def same(cache: ArrayCache, given: Group) -> None:
    for key, wanted, facts in given:
        assert key in cache
        assert cache.facts(key) == facts
        assert cache.rows(key) == (0 if wanted is None else len(wanted))
        if wanted is not None:
            found = cache[key]
            assert found.dtype == wanted.dtype
            assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_arrays_come_back_bit_for_bit_now_and_when_opened_again(tmp_path: Path, dtype: str) -> None:
    first = [("a", array(2, 1, "float32").astype(dtype), {"seconds": 0.123}), ("b", array(7, 2).astype(dtype), {})]
    later = [("c", array(1, 3).astype(dtype), {"answer": [1, 2]})]
    cache = opened(tmp_path, dtype)
    cache.append(first)
    same(cache, first)
    cache.append(later)
    same(cache, [*first, *later])  # also what was read before the file grew
    cache.close()
    again = opened(tmp_path, dtype)
    assert len(again) == 3
    assert "d" not in again
    same(again, [*first, *later])


def test_a_closed_cache_goes_on_in_a_new_segment(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.append(group("a", "b"))
    cache.close()
    cache.append(group("c", seed=5))
    for found in (cache, opened(tmp_path)):
        same(found, [*group("a", "b"), *group("c", seed=5)])


def test_facts_without_an_array_and_arrays_without_rows_are_kept(tmp_path: Path) -> None:
    given: Group = [("skipped", None, {"skip": "silent"}), ("none", array(0), {"n": 0}), ("some", array(2), {})]
    cache = opened(tmp_path)
    cache.append(given[:2])
    same(cache, given[:2])  # while the segment has no bytes at all
    cache.append(given[2:])
    same(cache, given)
    same(opened(tmp_path), given)
    assert cache["none"].shape == cache["skipped"].shape == (0, WIDTH)


def test_keys_of_one_group_and_of_two_keep_their_first_value(tmp_path: Path) -> None:
    first, second = array(2, 1), array(3, 2)
    cache = opened(tmp_path)
    cache.append([("a", first, {"n": 1}), ("a", second, {"n": 2}), ("b", second, {})])
    cache.append([("b", first, {"n": 3}), ("c", first, {})])
    for found in (cache, opened(tmp_path)):
        same(found, [("a", first, {"n": 1}), ("b", second, {}), ("c", first, {})])


def test_a_cache_whose_file_was_cut_is_refused_in_words_and_reading_one_maps_no_memory(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.append(group("a", "b"))
    same(cache, group("a", "b"))
    mapped = Path("/proc/self/maps")
    assert not mapped.exists() or str(tmp_path) not in mapped.read_text()
    with (tmp_path / "000000.bin").open("r+b") as file:
        file.truncate(5)
    with pytest.raises(StoreError, match=r"000000.bin: is shorter than 000000.jsonl .* Delete the folder"):
        cache["b"]


# ---------------------------------------------------------------- kills


def test_a_writer_killed_at_any_byte_leaves_the_whole_groups_before_it(tmp_path: Path) -> None:
    """Data comes before its index line: a kill cuts the data, or leaves all of it and cuts the index."""
    before, last, after = group("a", "b"), group("c", "d", seed=5), group("c", "e", seed=9)
    whole = tmp_path / "whole"
    cache = opened(whole)
    cache.append(before)
    bin_file, index = whole / "000000.bin", whole / "000000.jsonl"
    data, lines = bin_file.stat().st_size, index.stat().st_size
    cache.append(last)
    cache.close()
    ends = (bin_file.stat().st_size, index.stat().st_size)
    moments = [(size, lines) for size in range(data, ends[0] + 1)] + [(ends[0], s) for s in range(lines, ends[1])]
    assert len(moments) > 100
    for size, length in moments:
        killed = tmp_path / "killed"
        shutil.copytree(whole, killed)
        for name, kept in (("000000.bin", size), ("000000.jsonl", length)):
            with (killed / name).open("r+b") as file:
                file.truncate(kept)
        found = opened(killed)
        assert len(found) == 2
        same(found, before)
        found.append(after)
        same(found, [*before, *after])
        found.close()
        same(opened(killed), [*before, *after])
        shutil.rmtree(killed)


def test_a_writer_killed_before_its_first_index_leaves_nothing_and_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "000000.bin").write_bytes(b"\0" * 5)  # no index beside it
    cache = opened(tmp_path)
    assert len(cache) == 0
    cache.append(group("a"))
    same(opened(tmp_path), group("a"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000.bin", "000001.bin", "000001.jsonl"]


# ---------------------------------------------------------------- several writers


def test_two_writers_take_two_segments_and_see_each_other_once_refreshed(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.append(group("a", "b"))
    two.append(group("c", seed=5))
    one.append(group("d", seed=7))
    assert sorted(p.name for p in tmp_path.glob("*.bin")) == ["000000.bin", "000001.bin"]
    assert "c" not in one
    for cache in (one, two):
        cache.refresh()
        same(cache, [*group("a", "b"), *group("c", seed=5), *group("d", seed=7)])
    two.append(group("e", seed=8))  # after a refresh it still knows where it was
    same(two, group("e", seed=8))
    same(opened(tmp_path), group("e", seed=8))


def test_of_two_segments_with_one_key_the_older_counts(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.append(group("first"))
    two.append(group("a", seed=5))
    one.append(group("a", seed=6))
    for cache in (one, two, opened(tmp_path)):
        cache.refresh()
        same(cache, group("a", seed=6))
    assert len(opened(tmp_path)) == 2


def test_a_segment_whose_number_is_taken_meanwhile_is_not_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both looked before either had written: the second one finds the number gone."""
    one, two = opened(tmp_path), opened(tmp_path)
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()) if pattern == "*.bin" else glob(self, pattern))
    one.append(group("a"))
    two.append(group("b", seed=5))
    monkeypatch.undo()
    assert sorted(p.name for p in tmp_path.glob("*.bin")) == ["000000.bin", "000001.bin"]
    same(opened(tmp_path), [*group("a"), *group("b", seed=5)])


OTHER = """
import sys
from pathlib import Path
import numpy as np
from diva_bench.training.caches import ArrayCache
cache = ArrayCache(Path(sys.argv[1]), 3, "float32", 10**6)
for k in range(2):
    cache.append([(f"other {k}", np.full((2, 3), k + 0.1, dtype=np.float32), {"k": k})])
    print(len(cache), flush=True)
    input()
cache.close()
"""


def test_the_groups_of_another_process_are_seen_as_it_writes_them(tmp_path: Path) -> None:
    mine = opened(tmp_path)
    mine.append(group("mine"))
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for k in range(2):
            assert process.stdout.readline() == f"{k + 2}\n"  # it has begun with what was mine
            assert f"other {k}" not in mine
            mine.refresh()
            same(mine, [(f"other {k}", np.full((2, 3), k + 0.1, dtype=np.float32), {"k": k}), *group("mine")])
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0


# ---------------------------------------------------------------- limits


def test_an_append_over_the_limit_names_both_sizes_and_writes_nothing(tmp_path: Path) -> None:
    cache = opened(tmp_path, limit=100)
    cache.append([("a", array(8), {})])  # 96 bytes
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"would grow to 108 B, over its limit of 100 B.*--cache-gb"):
        cache.append([("b", array(1), {}), ("c", None, {})])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert "b" not in cache
    assert "c" not in cache
    cache.append([("d", None, {})])
    same(opened(tmp_path), [("a", array(8), {}), ("d", None, {})])


def test_the_limit_is_that_of_all_segments_together(tmp_path: Path) -> None:
    opened(tmp_path).append([("a", array(8), {})])
    with pytest.raises(UserError, match="would grow to 192 B"):
        opened(tmp_path, limit=150).append([("b", array(8), {})])


class Full:
    """A file on a disk that has no room for half of what is written."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def write(self, data: bytes) -> None:
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        raise OSError(28, "No space left on device")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("torn", [1, 2], ids=["data", "index"])
def test_a_full_disk_keeps_what_there_was_and_later_groups_are_right(tmp_path: Path, torn: int) -> None:
    cache = opened(tmp_path)
    cache.append(group("a"))
    assert cache._own is not None
    own: list[Any] = list(cache._own)
    own[torn] = Full(own[torn])
    cache._own = (own[0], own[1], own[2])
    with pytest.raises(StoreError, match=r"cannot be written .*No space left.*kept; make room"):
        cache.append(group("b", "c", seed=5))
    assert "b" not in cache
    cache.append(group("d", seed=7))
    for found in (cache, opened(tmp_path)):
        same(found, [*group("a"), *group("d", seed=7)])
        assert len(found) == 2


def test_a_folder_is_named_after_what_its_arrays_were_made_by(tmp_path: Path) -> None:
    folders = {place(tmp_path, kind, about) for kind in ("a", "b") for about in ([1, "x"], [1, "y"], {"k": 1})}
    assert len(folders) == 6
    assert place(tmp_path, "states", [1, {"k": 2}]) == place(tmp_path, "states", [1, {"k": 2}])
    assert all(f.parent == tmp_path for f in folders)
