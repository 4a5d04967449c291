"""Weights: what is remembered, converted, shared between processes, and survives a kill."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from asset_tools import CONTENT, Recorder, Web, asset, file, sha, web_server

from diva_bench.disk import size, stamp
from diva_bench.errors import AssetError, SpecError
from diva_bench.specs import AssetSpec
from diva_bench.specs.yamlfile import read_yaml
from diva_bench.types import Silent
from diva_bench.weights import assets, fetch


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


@pytest.fixture
def elsewhere(tmp_path: Path) -> AssetSpec:
    """A toy asset whose file lies under another name, so that it is copied into the cache."""
    (tmp_path / "origin").write_bytes(CONTENT)
    return asset({"file": "origin"})


def leftovers(cache: Path) -> list[str]:
    """Whatever is in the cache beside ready folders and locks."""
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if "raw/" in str(p) or ".making" in str(p))


def test_the_cache_is_where_the_environment_says_else_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIVA_BENCH_CACHE", "somewhere")
    assert assets.cache_folder() == Path.cwd() / "somewhere"
    monkeypatch.delenv("DIVA_BENCH_CACHE")
    assert assets.cache_folder().name == "diva-bench"


def test_an_asset_is_fetched_once_and_then_found(elsewhere: AssetSpec, tmp_path: Path, cache: Path) -> None:
    assert assets.locate(elsewhere, tmp_path) is None
    before = assets.state(elsewhere, tmp_path)
    assert (before.status, before.download_bytes) == ("missing", len(CONTENT))
    assert before.needed_bytes == len(CONTENT) + assets.MARGIN

    seen = Recorder()
    folder = assets.ready(elsewhere, tmp_path, seen)
    assert (folder / "weights.bin").read_bytes() == CONTENT
    assert seen.bars["fetch toy"] == [len(CONTENT), len(CONTENT)]

    (tmp_path / "origin").unlink()
    assert assets.ready(elsewhere, tmp_path, Silent()) == assets.locate(elsewhere, tmp_path) == folder
    after = assets.state(elsewhere, tmp_path)
    assert (after.status, after.download_bytes, after.needed_bytes) == ("ready", 0, 0)
    assert len(CONTENT) < after.disk_bytes < len(CONTENT) + 1000
    assert leftovers(cache) == []


def test_nothing_is_read_again_while_size_and_time_stay(
    elsewhere: AssetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = assets.ready(elsewhere, tmp_path, Silent())
    hashed: list[Path] = []
    monkeypatch.setattr(assets, "sha256", lambda path, each=None: hashed.append(path) or sha(path.read_bytes()))
    assert assets.locate(elsewhere, tmp_path) == folder
    assert hashed == []

    os.utime(folder / "weights.bin")  # as a copy of the cache may do
    assert assets.locate(elsewhere, tmp_path) == assets.locate(elsewhere, tmp_path) == folder
    assert hashed == [folder / "weights.bin"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: p.write_bytes(CONTENT[:-1]), "has 1023999 bytes, expected 1024000"),
        (lambda p: p.write_bytes(b"x" + CONTENT[1:]), "has changed: its sha256 is not"),
        (lambda p: p.unlink(), "is missing"),
        (lambda p: (p.parent / assets.MANIFEST).unlink(), "is missing or unreadable"),
        (lambda p: (p.parent / assets.MANIFEST).write_text('{"weights.bin": ['), "is missing or unreadable"),
    ],
)
def test_a_damaged_asset_is_noticed_and_fetched_again(
    elsewhere: AssetSpec, tmp_path: Path, spoil: object, said: str
) -> None:
    folder = assets.ready(elsewhere, tmp_path, Silent())
    spoil(folder / "weights.bin")  # type: ignore[operator]
    assert assets.locate(elsewhere, tmp_path) is None
    damaged = assets.state(elsewhere, tmp_path)
    assert damaged.status == "damaged"
    assert said in damaged.detail
    seen = Recorder()
    assert (assets.ready(elsewhere, tmp_path, seen) / "weights.bin").read_bytes() == CONTENT
    assert "toy is damaged" in seen.notes[0]
    assert said in seen.notes[0]


@pytest.mark.parametrize("moved", [False, True])
def test_a_change_that_keeps_size_and_time_is_noticed(elsewhere: AssetSpec, tmp_path: Path, moved: bool) -> None:
    path = assets.ready(elsewhere, tmp_path, Silent()) / "weights.bin"
    times, target = path.stat(), tmp_path / "other" if moved else path
    target.write_bytes(b"x" + CONTENT[1:])
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    target.replace(path)
    assert assets.state(elsewhere, tmp_path).status == "damaged"
    assert assets.locate(elsewhere, tmp_path) is None


def test_a_manifest_of_an_older_version_is_not_believed_and_written_anew(elsewhere: AssetSpec, tmp_path: Path) -> None:
    folder = assets.ready(elsewhere, tmp_path, Silent())
    manifest, now = folder / assets.MANIFEST, (folder / "weights.bin").stat()
    manifest.write_text(json.dumps({"weights.bin": [now.st_size, now.st_mtime_ns, sha(CONTENT)]}))
    assert assets.locate(elsewhere, tmp_path) == folder
    assert json.loads(manifest.read_text())["weights.bin"] == [*stamp(folder / "weights.bin"), sha(CONTENT)]
    (folder / "weights.bin").write_bytes(b"x" + CONTENT[1:])
    os.utime(folder / "weights.bin", ns=(now.st_atime_ns, now.st_mtime_ns))
    manifest.write_text(json.dumps({"weights.bin": [now.st_size, now.st_mtime_ns, sha(CONTENT)]}))
    assert assets.locate(elsewhere, tmp_path) is None


def test_what_no_stamp_shows_is_found_by_reading_everything(
    elsewhere: AssetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = assets.ready(elsewhere, tmp_path, Silent()) / "weights.bin"
    known = {name: tuple(entry[:-1]) for name, entry in json.loads((path.parent / assets.MANIFEST).read_text()).items()}
    path.write_bytes(b"x" + CONTENT[1:])
    monkeypatch.setattr(assets, "stamp", lambda file: known[file.name])  # a disk that lost bits
    assert assets.state(elsewhere, tmp_path).status == "ready"
    seen = Recorder()
    assert assets.state(elsewhere, tmp_path, rehash=True, progress=seen).status == "damaged"
    assert seen.bars["check toy"][0] == len(CONTENT)


# ---------------------------------------------------------------- files that ship beside their YAML


def test_files_beside_their_yaml_are_used_in_place_and_need_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "weights.bin").write_bytes(CONTENT)
    (tmp_path / "blocked").write_text("a file where the cache folder should be: it cannot be written")
    toy = asset({"file": "mini/weights.bin"})
    assert assets.locate(toy, tmp_path) == tmp_path / "mini"
    assert assets.state(toy, tmp_path).disk_bytes == len(CONTENT)
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "blocked"))
    assert assets.ready(toy, tmp_path, Silent()) == tmp_path / "mini"


def test_a_changed_file_beside_its_yaml_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(CONTENT)
    toy = asset({"file": "weights.bin"})
    assert assets.locate(toy, tmp_path) == tmp_path
    (tmp_path / "weights.bin").write_bytes(b"x" + CONTENT[1:])
    assert "install the package or check it out again" in assets.state(toy, tmp_path).detail
    with pytest.raises(AssetError, match=r"(?s)file weights.bin: gave 1024000 bytes with sha256 .* expected"):
        assets.ready(toy, tmp_path, Silent())


# ---------------------------------------------------------------- conversion


def test_downloads_are_converted_and_removed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, web: Web
) -> None:
    def convert(format: str, source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        (target / "model.safetensors").write_bytes((source / "weights.bin").read_bytes()[::-1])

    monkeypatch.setattr("diva_bench.weights.convert.convert", convert)
    web.files["/w"] = CONTENT
    toy = asset({"url": f"{web.address}/w"}, kind="gguf")
    seen = Recorder()
    folder = assets.ready(toy, tmp_path, seen)
    assert seen.notes == ["converting toy to safetensors (once)"]
    assert (folder / "model.safetensors").read_bytes() == CONTENT[::-1]
    assert leftovers(cache) == []

    monkeypatch.setattr(assets, "CONVERSION", assets.CONVERSION + 1)
    assert assets.locate(toy, tmp_path) is None, "another conversion is another folder"
    assert assets.ready(toy, tmp_path, Silent()) != folder


def test_a_conversion_that_fails_leaves_the_download_and_nothing_ready(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(format: str, source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        (target / "model.safetensors").write_bytes(b"half")
        raise AssetError("weights.bin: not a GGUF file")

    monkeypatch.setattr("diva_bench.weights.convert.convert", convert)
    (tmp_path / "origin").write_bytes(CONTENT)
    toy = asset({"file": "origin"}, kind="gguf")
    with pytest.raises(AssetError, match="not a GGUF file"):
        assets.ready(toy, tmp_path, Silent())
    assert assets.locate(toy, tmp_path) is None
    assert [Path(p).name for p in leftovers(cache)][1:] == ["weights.bin"]
    assert assets.state(toy, tmp_path).download_bytes == 0


# ---------------------------------------------------------------- disk


def test_too_little_space_is_said_before_anything_is_fetched(
    elsewhere: AssetSpec, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(
        AssetError, match=r"needs 201 MB of free space in .*cache; 1.0 kB are free\. Free some, or set DIVA_BENCH"
    ):
        assets.ready(elsewhere, tmp_path, Silent())
    assert leftovers(cache) == []


def test_a_disk_that_fills_up_is_an_error_in_words_and_is_cleaned(
    elsewhere: AssetSpec, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_copy", full)
    with pytest.raises(AssetError, match=r"the disk is full.* needs 201 MB of free space"):
        assets.ready(elsewhere, tmp_path, Silent())
    assert leftovers(cache) == []


def test_a_cache_that_cannot_be_written_is_an_error_in_words(
    elsewhere: AssetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blocked").write_text("")
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "blocked" / "cache"))
    with pytest.raises(
        AssetError, match=r"cannot be made ready in the cache folder .*set DIVA_BENCH_CACHE to one that"
    ):
        assets.ready(elsewhere, tmp_path, Silent())


@pytest.mark.parametrize(
    ("count", "words"), [(7, "7 B"), (1200, "1.2 kB"), (1_117_320_768, "1.1 GB"), (2e12, "2.0 TB")]
)
def test_byte_counts_are_written_for_people(count: float, words: str) -> None:
    assert size(count) == words


# ---------------------------------------------------------------- processes

CHILD = """
import sys, time
from pathlib import Path
from diva_bench.weights import assets, convert
from asset_tools import Recorder, asset

def slow(format, source, target):
    target.mkdir(exist_ok=True)
    (target / "model.safetensors").write_bytes(b"half a conver")
    time.sleep(float(sys.argv[2]))

convert.convert = slow
class Say(Recorder):
    def note(self, message):
        print(message, flush=True)
print(assets.ready(asset({"url": sys.argv[1]}, kind=sys.argv[3]), Path("."), Say()), flush=True)
"""


@contextmanager
def child(web: Web, convert_seconds: float = 0, kind: str = "safetensors") -> Iterator[subprocess.Popen[str]]:
    """Another process that asks for the toy asset; killed at the end of the block if it still runs."""
    command = [sys.executable, "-c", CHILD, f"{web.address}/w", str(convert_seconds), kind]
    root = str(Path(__file__).parent)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": root}) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_a_killed_download_is_not_taken_for_whole_and_goes_on_where_it_was(
    web: Web, tmp_path: Path, cache: Path
) -> None:
    web.files["/w"] = CONTENT
    web.hold.clear()
    toy = asset({"url": f"{web.address}/w"})
    with child(web):
        until(lambda: any(p.stat().st_size > 0 for p in cache.rglob("joined")))

    assert assets.locate(toy, tmp_path) is None
    assert assets.state(toy, tmp_path).status == "missing"
    web.hold.set()
    folder = assets.ready(toy, tmp_path, Silent())  # and the dead process's lock does not block
    assert (folder / "weights.bin").read_bytes() == CONTENT
    assert str(web.requests[-1][2]).startswith("bytes="), "the second process asked for the rest only"
    assert leftovers(cache) == []


def test_a_killed_conversion_is_never_used(
    web: Web, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files["/w"] = CONTENT
    toy = asset({"url": f"{web.address}/w"}, kind="gguf")
    with child(web, convert_seconds=60, kind="gguf"):
        until(lambda: list(cache.rglob("model.safetensors")))
    assert assets.locate(toy, tmp_path) is None

    def convert(format: str, source: Path, target: Path) -> None:
        assert not list(target.iterdir()), "the conversion starts from nothing"
        (target / "model.safetensors").write_bytes(b"whole")

    monkeypatch.setattr("diva_bench.weights.convert.convert", convert)
    assert (assets.ready(toy, tmp_path, Silent()) / "model.safetensors").read_bytes() == b"whole"
    assert len(web.requests) == 1, "the checked download of the dead process is used"
    assert leftovers(cache) == []


def test_two_processes_fetch_once_and_the_second_says_that_it_waits(web: Web, cache: Path) -> None:
    web.files["/w"] = CONTENT
    web.hold.clear()
    with child(web) as first:
        until(lambda: web.requests)
        with child(web) as second:
            assert second.stdout
            assert second.stdout.readline() == "another process is fetching toy; waiting for it\n"
            web.hold.set()
            assert first.communicate()[0] == second.communicate()[0]
    assert len(web.requests) == 1


# ---------------------------------------------------------------- the shipped weights files


def test_the_shipped_weights_files_are_valid_and_pin_every_source() -> None:
    found = sorted((Path(__file__).parents[1] / "models" / "weights").glob("*.yaml"))
    assert len(found) >= 4
    for path in found:
        spec = read_yaml(path, AssetSpec)
        assert spec.name == path.stem
        for entry in spec.files:
            for source in entry.sources:
                assert not source.hf or len(source.revision or "") == 40, f"{path}: a Hub source pins a commit"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hf: owner/repo/weights.bin", "with a revision"),
        ("hf: owner/repo\n        revision: main", "owner/repo/path/in/repo"),
        ("pypi: [package]\n        members: [x]", "must be a package with its version, such as numpy==2.1.0"),
        ("pypi: [--index-url=x]\n        members: [x]", "must be a package with its version, such as numpy==2.1.0"),
        ("pypi: [a==1, b==1]\n        members: [x]", "one member per distribution"),
        ("url: https://a\n        file: b", "exactly one of hf, pypi, url, file"),
    ],
)
def test_a_source_that_is_not_pinned_or_not_clear_is_refused(tmp_path: Path, line: str, said: str) -> None:
    head = "name: toy\nformat: gguf\ndescription: d\nlicence: l\nfiles:\n"
    text = f"{head}  - path: weights.bin\n    sha256: {'0' * 64}\n    bytes: 1\n    sources:\n      - {line}\n"
    (tmp_path / "toy.yaml").write_text(text)
    with pytest.raises(SpecError, match=said):
        read_yaml(tmp_path / "toy.yaml", AssetSpec)


@pytest.mark.parametrize("path", ["../out", "/etc/x", ".hidden", "a/../b", ""])
def test_a_file_name_cannot_lead_out_of_its_folder(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        file({"file": "x"}, path=path)
