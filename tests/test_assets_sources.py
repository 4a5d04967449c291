"""The four places a file can come from, and what is said when none has it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from asset_tools import CONTENT, Recorder, Web, asset, file, sha, web_server, wheel
from huggingface_hub import constants

from diva_bench.errors import AssetError
from diva_bench.specs import AssetSpec
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
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip knows of."""
    pytest.importorskip("pip", reason="this environment has no pip")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


@pytest.fixture
def hub(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Web:
    """A Hub that has one file, and no local Hub cache."""
    content = {"/owner/repo/resolve/" + "a" * 40 + "/sub/weights.bin": CONTENT}
    web.files = {"/": b"", **content}
    web.headers = {"X-Repo-Commit": "a" * 40, "ETag": f'"{sha(CONTENT)}"'}
    monkeypatch.setattr(constants, "ENDPOINT", web.address)
    template = web.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    fetch.hub_problem.cache_clear()
    return web


HUB = {"hf": "owner/repo/sub/weights.bin", "revision": "a" * 40}


def content_of(toy: AssetSpec, home: Path, progress: Recorder | None = None) -> bytes:
    return (assets.ready(toy, home, progress or Silent()) / "weights.bin").read_bytes()


# ---------------------------------------------------------------- in order, with reasons


def test_sources_are_tried_in_order_and_a_wrong_hash_is_passed_over(web: Web, tmp_path: Path) -> None:
    web.files = {"/wrong": b"x" * 10, "/right": CONTENT}
    toy = asset({"url": f"{web.address}/none"}, {"url": f"{web.address}/wrong"}, {"url": f"{web.address}/right"})
    seen = Recorder()
    assert content_of(toy, tmp_path, seen) == CONTENT
    assert seen.bars["fetch toy"] == [len(CONTENT), len(CONTENT)], "a source that failed is not counted twice"


def test_a_source_may_have_other_bytes_under_its_own_hash(web: Web, tmp_path: Path) -> None:
    other = b"the same model, packed otherwise" * 9
    web.files = {"/other": other}
    toy = asset({"url": f"{web.address}/other", "sha256": sha(other)})
    assert content_of(toy, tmp_path) == other
    assert assets.state(toy, tmp_path, rehash=True).status == "ready"


def test_when_all_sources_fail_every_one_is_named_with_its_reason_and_what_to_do(
    web: Web, index: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    web.files = {"/wrong": b"x" * 10}
    toy = asset(
        HUB,
        {"pypi": ["no-such==1.0", "other==1.0"], "members": ["a", "b"]},
        {"url": f"{web.address}/none"},
        {"url": f"{web.address}/wrong"},
        {"url": "ftp-no-such:x"},
        {"file": "gone.bin"},
    )
    with pytest.raises(AssetError) as caught:
        assets.ready(toy, tmp_path, Silent())
    lines = str(caught.value).splitlines()
    target = next(line for line in lines if line.startswith("or put the file there by hand"))
    wanted = [
        "toy: weights.bin (1.0 MB) could not be fetched. Tried, in this order:",
        "Hub owner/repo/sub/weights.bin at aaaaaaaaaaaa: not in the Hub's local cache, and HF_HUB_OFFLINE is set",
        "pip no-such==1.0 and 1 more: no-such==1.0: ERROR: Could not find a version that satisfies the requirement",
        f"{web.address}/none: HTTP Error 404: Not Found",
        f"{web.address}/wrong: gave 10 bytes with sha256 {sha(b'x' * 10)}, expected 1024000 with {sha(CONTENT)}",
        "ftp-no-such:x: only http and https addresses are read",
        "file gone.bin: [Errno 2] No such file or directory",
        "What to do: give this machine a network, or a package index that pip can use, and run the command again",
        "or put the file there by hand: ",
        "or copy the cache folder of a machine that has it, and set DIVA_BENCH_CACHE to the copy.",
    ]
    assert len(lines) == len(wanted)
    for line, part in zip(lines, wanted, strict=True):
        assert part in line

    by_hand = Path(target.removeprefix("or put the file there by hand: ").split(" (sha256")[0])
    assert cache in by_hand.parents
    by_hand.write_bytes(CONTENT)
    assert content_of(toy, tmp_path) == CONTENT, "a file put there by hand is taken"


# ---------------------------------------------------------------- web


def test_a_connection_that_breaks_is_taken_up_again(web: Web, tmp_path: Path) -> None:
    web.files, web.cut = {"/w": CONTENT}, 2
    assert content_of(asset({"url": f"{web.address}/w"}), tmp_path) == CONTENT
    assert [r[2] for r in web.requests] == [None, "bytes=512000-", "bytes=768000-"]


def test_a_connection_that_keeps_breaking_is_given_up_with_the_bytes_it_gave(web: Web, tmp_path: Path) -> None:
    web.files, web.cut = {"/w": CONTENT}, 9
    with pytest.raises(AssetError, match="the connection ended after 896000 of 1024000 bytes"):
        assets.ready(asset({"url": f"{web.address}/w"}), tmp_path, Silent())


def test_a_spoilt_rest_of_an_earlier_download_is_thrown_away(web: Web, tmp_path: Path) -> None:
    web.files, web.cut = {"/w": CONTENT}, 9
    toy = asset({"url": f"{web.address}/w"})
    with pytest.raises(AssetError):
        assets.ready(toy, tmp_path, Silent())
    rest = next((tmp_path / "cache").rglob("joined"))
    rest.write_bytes(b"\0" * rest.stat().st_size)  # as a power cut may leave it
    web.cut = 0
    assert content_of(toy, tmp_path) == CONTENT


# ---------------------------------------------------------------- pip


def test_members_of_several_wheels_are_joined_in_order(index: Path, tmp_path: Path, cache: Path) -> None:
    for part in (1, 2):
        wheel(index, f"toy-part{part}", {f"data/{part}.bin": CONTENT[part - 1 :: 2]})
    whole = CONTENT[::2] + CONTENT[1::2]
    source = {"pypi": ["toy-part1==1.0", "toy-part2==1.0"], "members": ["data/1.bin", "data/2.bin"]}
    seen = Recorder()
    assert content_of(asset(source, content=whole), tmp_path, seen) == whole
    assert seen.bars["fetch toy"] == [len(whole), len(whole)]
    assert not list(cache.rglob("*.whl"))


def test_a_download_of_many_parts_goes_on_with_the_part_it_was_at(index: Path, tmp_path: Path) -> None:
    wheel(index, "toy-part1", {"a.bin": CONTENT})
    source = {"pypi": ["toy-part1==1.0", "toy-part2==1.0"], "members": ["a.bin", "b.bin"]}
    toy = asset(source, content=CONTENT + b"end")
    with pytest.raises(AssetError, match=r"toy-part2==1.0: ERROR: Could not find a version"):
        assets.ready(toy, tmp_path, Silent())
    for gone in index.iterdir():
        gone.unlink()
    wheel(index, "toy-part2", {"b.bin": b"end"})
    assert content_of(toy, tmp_path) == CONTENT + b"end"


def test_files_of_one_wheel_download_it_once(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(index, "toy", {"a": CONTENT, "b": b"small", "c": b"smaller"})
    files = [
        file({"pypi": ["toy==1.0"], "members": [name]}, content=content, path=name)
        for name, content in (("c", b"smaller"), ("a", CONTENT), ("b", b"small"))
    ]
    toy = AssetSpec(name="toy", format="safetensors", description="", licence="", files=tuple(files))
    calls: list[str] = []
    real = fetch.Download._download_wheel
    monkeypatch.setattr(fetch.Download, "_download_wheel", lambda *a: calls.append(a[1]) or real(*a))
    folder = assets.ready(toy, tmp_path, Silent())
    assert calls == ["toy==1.0"]
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.name in "abc"} == {
        "a": CONTENT,
        "b": b"small",
        "c": b"smaller",
    }


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (
            {"other.bin": b"x"},
            "toy-1.0-py3-none-any.whl has no member a.bin; it has other.bin, toy-1.0.dist-info/METADATA",
        ),
        ({"../a.bin": b"x"}, "has no member a.bin"),
    ],
)
def test_a_wheel_without_the_member_is_refused(
    index: Path, tmp_path: Path, members: dict[str, bytes], said: str
) -> None:
    wheel(index, "toy", members)
    with pytest.raises(AssetError, match=said):
        assets.ready(asset({"pypi": ["toy==1.0"], "members": ["a.bin"]}), tmp_path, Silent())


def test_an_sdist_is_never_taken_since_its_setup_would_run(index: Path, tmp_path: Path) -> None:
    (index / "toy-1.0.tar.gz").write_bytes(b"whatever")
    with pytest.raises(AssetError, match=r"No matching distribution found for toy==1.0"):
        assets.ready(asset({"pypi": ["toy==1.0"], "members": ["a.bin"]}), tmp_path, Silent())


def test_an_environment_without_pip_is_told_how_to_get_it(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = SimpleNamespace(returncode=1, stderr=f"{sys.executable}: No module named pip\n")
    monkeypatch.setattr(fetch.subprocess, "run", lambda *a, **k: refused)
    with pytest.raises(AssetError, match="this Python environment has no pip; `python -m ensurepip` adds it"):
        assets.ready(asset({"pypi": ["toy==1.0"], "members": ["a.bin"]}), tmp_path, Silent())


def test_a_disk_that_fills_up_under_pip_is_a_full_disk(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = SimpleNamespace(returncode=1, stderr="ERROR: [Errno 28] No space left on device\n")
    monkeypatch.setattr(fetch.subprocess, "run", lambda *a, **k: refused)
    with pytest.raises(AssetError, match="the disk is full; the unfinished files were removed"):
        assets.ready(asset({"pypi": ["toy==1.0"], "members": ["a.bin"]}), tmp_path, Silent())


# ---------------------------------------------------------------- the Hub


def test_a_file_comes_from_the_hub_at_its_revision(hub: Web, tmp_path: Path, cache: Path) -> None:
    seen = Recorder()
    assert content_of(asset(HUB), tmp_path, seen) == CONTENT
    assert seen.bars["fetch toy"][0] == len(CONTENT)
    assert not list(cache.rglob("raw/*"))


def test_the_users_own_hub_cache_is_used_first_and_offline_too(
    hub: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tmp_path / "hub" / "models--owner--repo" / "snapshots" / ("a" * 40) / "sub"
    known.mkdir(parents=True)
    (known / "weights.bin").write_bytes(CONTENT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert content_of(asset(HUB), tmp_path) == CONTENT
    assert hub.requests == []
    assert (known / "weights.bin").is_file()


def test_a_hub_that_lacks_the_file_is_passed_over(hub: Web, tmp_path: Path) -> None:
    hub.files = {"/": b""}
    (tmp_path / "origin").write_bytes(CONTENT)
    assert content_of(asset(HUB, {"file": "origin"}), tmp_path) == CONTENT


def test_a_hub_that_cannot_be_reached_costs_little_and_is_asked_once(
    hub: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(AssetError, match=r"Hub owner/repo/sub/weights.bin .* the Hub cannot be reached \(.*refused"):
        assets.ready(asset(HUB), tmp_path, Silent())
    assert time.monotonic() - began < fetch.PROBE_SECONDS


def test_a_hub_that_is_silent_is_given_up_after_the_probe(hub: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*args: object, **kwargs: object) -> None:
        time.sleep(0.5)
        raise OSError

    monkeypatch.setattr(fetch, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(fetch.urllib.request, "urlopen", silent)
    began = time.monotonic()
    assert fetch.hub_problem("http://silent") == "no answer in 0.2 s"
    assert fetch.hub_problem("http://silent") == "no answer in 0.2 s", "asked once per process"
    assert time.monotonic() - began < 0.4
    fetch.hub_problem.cache_clear()
    time.sleep(0.5)
