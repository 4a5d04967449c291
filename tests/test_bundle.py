"""`diva-bench bundle`: the same bytes for the same runs, a way back that changes nothing, and hostile files that are refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mini_task
import pytest
from command_line import call
from stored import two_runs

from diva_bench.errors import StoreError
from diva_bench.runs import bundle
from diva_bench.runs.records import folders_in
from diva_bench.runs.run import load_runs


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one task in `results`, its task in `specs`, and the bundle of both with clips."""
    folder = two_runs(tmp_path_factory.mktemp("original"))
    got = call(folder, "bundle", "results", "-o", "runs.zip", "--with-audio", "--path", "specs")
    assert got.returncode == 0, got.stderr
    assert "runs.zip has 2 runs and 4 clips in" in got.stdout
    assert "`diva-bench verify runs.zip` checks it" in got.stdout
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """Only the bundle, as somebody else gets it."""
    shutil.copy(original / "runs.zip", tmp_path)
    return tmp_path


def test_the_same_runs_give_the_same_bytes_wherever_they_are(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original / "results", tmp_path / "elsewhere")
    shutil.copytree(original / "specs", tmp_path / "specs")
    for path in (tmp_path / "elsewhere").rglob("*"):
        path.touch()
    got = call(tmp_path, "bundle", "elsewhere", "-o", "again.zip", "--with-audio", "--path", "specs")
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "again.zip").read_bytes() == (original / "runs.zip").read_bytes()


def test_unpacked_files_are_those_of_the_runs(original: Path, tmp_path: Path) -> None:
    bundle.unpack(original / "runs.zip", tmp_path)
    names = {p.relative_to(original / "results") for p in (original / "results").rglob("*.json*")}
    assert {p.relative_to(tmp_path) for p in tmp_path.rglob("*.json*")} == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (original / "results" / name).read_bytes(), name
    assert len(list((tmp_path / "clips").iterdir())) == 4


def test_a_bundle_is_verified_and_read_by_the_commands_for_runs_without_the_task(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got = call(folder, "verify", "runs.zip", "--format", "json")
    assert got.returncode == 0, got.stdout + got.stderr
    assert [row["agrees"] for row in json.loads(got.stdout)[0]["rows"]] == [2] * 9
    assert "echo" in call(folder, "leaderboard", "runs.zip").stdout
    got = call(folder, "compare", "runs.zip")
    assert (got.returncode, "contains" in got.stdout) == (0, True), got.stderr
    got = call(folder, "report", "runs.zip", "--html", "out")
    assert got.returncode == 0, got.stderr
    assert len(list((folder / "out").rglob("*.opus"))) == 4, got.stderr
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(folder / "cache"))
    assert [run.model for run in load_runs([folder / "runs.zip"])] == ["echo", "other"]


def test_a_bundle_can_be_bundled_again_and_a_part_of_it(folder: Path) -> None:
    assert call(folder, "bundle", "runs.zip", "-o", "again.zip", "--with-audio").returncode == 0
    assert (folder / "again.zip").read_bytes() == (folder / "runs.zip").read_bytes()
    got = call(folder, "bundle", "runs.zip", "-o", "silent.zip", "-t", "toy")
    assert "silent.zip has 2 runs in" in got.stdout
    assert not [name for name in zipfile.ZipFile(folder / "silent.zip").namelist() if name.startswith("clips")]
    got = call(folder, "bundle", "runs.zip", "-o", "none.zip", "-t", "toi")
    assert (got.returncode, "unknown task 'toi'" in got.stderr) == (2, True), got.stderr


def test_licensed_runs_are_packed_only_with_the_flag(original: Path, tmp_path: Path) -> None:
    specs = shutil.copytree(original / "specs", tmp_path / "specs")
    text = (
        (specs / "toy.yaml")
        .read_text()
        .replace("rows: 6", "rows: 6, access: {note: ask the owners, url: https://example.org}")
    )
    (specs / "toy.yaml").write_text(text)
    assert call(tmp_path, "run", "--path", "specs", "-m", "echo", "-t", "toy").returncode == 0
    got = call(tmp_path, "bundle", "results", "-o", "runs.zip", "--path", "specs")
    assert (got.returncode, (tmp_path / "runs.zip").exists()) == (2, False)
    assert "the data of toy is licensed, so that nothing is left to pack. With --with-licensed" in got.stderr
    mini_task.write(tmp_path / "more", count=4, name="free")
    assert call(tmp_path, "run", "--path", "more", "-m", "echo", "-t", "free").returncode == 0
    got = call(tmp_path, "bundle", "results", "-o", "runs.zip", "--path", "specs")
    assert "Runs of licensed data are left out (toy); --with-licensed packs them too." in got.stderr
    assert not [name for name in zipfile.ZipFile(tmp_path / "runs.zip").namelist() if name.startswith("toy")]
    got = call(tmp_path, "bundle", "results", "-o", "runs.zip", "--path", "specs", "--with-licensed", "--force")
    assert got.returncode == 0, got.stderr
    names = zipfile.ZipFile(tmp_path / "runs.zip").namelist()
    assert [name for name in names if name.startswith("toy") and name.endswith("rows.jsonl")]


def test_clips_that_are_not_here_are_told(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original / "results", tmp_path / "results")
    got = call(tmp_path, "bundle", "results", "-o", "runs.zip", "--with-audio")
    assert got.returncode == 0, got.stderr
    assert "No clips of toy: 4 of 4 are missing: unknown task 'toy'" in got.stderr


def test_a_place_where_no_file_can_be_is_told_before_anything_is_packed(folder: Path) -> None:
    (folder / "there").mkdir()
    for place, why in (("there", "there: is a folder"), ("none/runs.zip", "there is no folder none")):
        got = call(folder, "bundle", "runs.zip", "-o", place)
        assert (got.returncode, why in got.stderr) == (2, True), got.stderr


def test_an_existing_file_is_replaced_only_with_force_and_the_name_must_end_in_zip(folder: Path) -> None:
    (folder / "old.zip").write_text("old")
    got = call(folder, "bundle", "runs.zip", "-o", "old.zip")
    assert (got.returncode, "old.zip: already exists. Give another name, or --force" in got.stderr) == (2, True), (
        got.stderr
    )
    assert (folder / "old.zip").read_text() == "old"
    assert call(folder, "bundle", "runs.zip", "-o", "old.zip", "--force").returncode == 0
    assert zipfile.is_zipfile(folder / "old.zip")
    got = call(folder, "bundle", "runs.zip", "-o", "runs.tar")
    assert (got.returncode, "Give a name that ends in .zip" in got.stderr) == (2, True), got.stderr


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_bundle_that_cannot_be_written_is_named_as_the_user_typed_it(folder: Path) -> None:
    (folder / "here").mkdir()
    bundle.unpack(folder / "runs.zip", folder / "here")
    with pytest.raises(StoreError, match=r"^/proc/x\.zip: cannot be written \(nothing can be made there\)"):
        bundle.pack(folders_in(folder / "here"), Path("/proc/x.zip"))


def test_a_run_whose_answers_changed_since_they_were_scored_is_packed_with_a_note(
    original: Path, tmp_path: Path
) -> None:
    shutil.copytree(original / "results", tmp_path / "results")
    run = folders_in(tmp_path / "results")[0]
    lines = (run / "responses.jsonl").read_text().splitlines(keepends=True)
    (run / "responses.jsonl").write_text("".join([*lines[:-1], lines[-1].replace('"text":"', '"text":"no ')]))
    got = call(tmp_path, "bundle", "results", "-o", "runs.zip")
    assert got.returncode == 0, got.stderr
    assert f"results/{run.parent.name}/{run.name}: answers changed since they were scored" in got.stderr
    assert got.stderr.count("Packed all the same") == 1


def test_a_bundle_that_is_not_there_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    for words in (("leaderboard", "nope.zip"), ("verify", "nope.zip")):
        got = call(tmp_path, *words)
        assert (got.returncode, "nope.zip: no such file. Give the file that `diva-bench bundle" in got.stderr) == (
            2,
            True,
        )


@pytest.mark.parametrize("damage", ["a byte", "another file", "a missing file", "a link"])
def test_a_copy_in_the_cache_that_changed_is_unpacked_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(folder / "cache"))
    path = next(bundle.opened(folder / "runs.zip").rglob("summary.json"))
    content = path.read_bytes()
    if damage == "a byte":
        path.write_bytes(content.replace(b'"complete": true', b'"complete": null'))
    elif damage == "another file":
        path.with_name("scores.jsonl.more").write_text("x")
    else:
        path.unlink()
    if damage == "a link":
        (folder / "elsewhere").write_bytes(content)
        path.symlink_to(folder / "elsewhere")
    bundle.opened(folder / "runs.zip")
    assert (path.read_bytes(), path.is_symlink()) == (content, False)
    assert not path.with_name("scores.jsonl.more").exists()
    assert [p.name for p in path.parents[3].iterdir()] == [path.parents[2].name]


def test_messages_name_the_bundle_and_not_the_copy_in_the_cache(folder: Path) -> None:
    members = members_of(folder / "runs.zip")
    name = next(name for name in members if name.endswith("responses.jsonl"))
    pack(folder / "b.zip", {**members, name: b"x\n"})
    run = name.removesuffix("/responses.jsonl")
    for words in (("verify", "b.zip"), ("verify", "b.zip", "--format", "json"), ("leaderboard", "b.zip")):
        got = call(folder, *words, COLUMNS="400")
        assert f"b.zip: {run}" in got.stdout, got.stdout + got.stderr
        assert "/bundles/" not in got.stdout + got.stderr
        assert "is not valid JSON" in got.stdout
        assert "is not valid JSON" not in got.stderr  # told once


def test_a_command_that_is_advised_for_a_run_in_a_bundle_can_be_typed(folder: Path) -> None:
    members = members_of(folder / "runs.zip")
    name = next(name for name in members if name.endswith("responses.jsonl"))
    pack(folder / "my runs.zip", {**members, name: members[name].replace(b'"text":"q001"', b'"text":"q009"')})
    run = name.removesuffix("/responses.jsonl")
    got = call(folder, "leaderboard", "my runs.zip", "--details", COLUMNS="600")
    assert f"run `unzip 'my runs.zip' -d unpacked` and `diva-bench score unpacked/{run}`" in got.stdout, got.stdout
    zipfile.ZipFile(folder / "my runs.zip").extractall(folder / "unpacked")
    again = call(folder, "score", f"unpacked/{run}", "--path", "specs")
    assert again.returncode == 0, again.stderr
    assert "answers changed" not in call(folder, "leaderboard", "unpacked").stdout


def test_two_versions_of_one_run_do_not_fit_into_one_bundle(original: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(original / "results", tmp_path / name)
    run = folders_in(tmp_path / "two")[0]
    (run / "events.jsonl").write_text('{"event": "budget", "seconds": 9.0}\n')
    got = call(tmp_path, "bundle", "one", "two", "-o", "runs.zip")
    assert (got.returncode, "are both" in got.stderr) == (2, True), got.stderr
    assert list(tmp_path.glob(".*.tmp")) == []


# ---------------------------------------------------------------- hostile bundles

Members = dict[str, bytes]


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != bundle.MANIFEST}


def manifest(members: Members) -> dict[str, Any]:
    files = {name: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in members.items()}
    runs = [name.removesuffix("/run.json") for name in members if name.endswith("/run.json")]
    return {"diva_bench_bundle": 1, "runs": runs, "files": files}


def pack(
    path: Path,
    members: Members,
    change: Callable[[dict[str, Any]], object] = lambda _: None,
    *,
    mode: int = stat.S_IFREG | 0o644,
    method: int = zipfile.ZIP_DEFLATED,
) -> None:
    """An archive of these members with a manifest that fits, before `change`. `mode`: of the last member."""
    listed = manifest(members)
    change(listed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(bundle.MANIFEST, json.dumps(listed))
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = method
            member.create_system, member.external_attr = 3, (mode if name == list(members)[-1] else 0) << 16
            archive.writestr(member, content)


def with_member(name: str, content: bytes = b"x", **more: Any) -> Callable[[Path], None]:
    return lambda path: pack(path, {**members_of(path), name: content}, **more)


def with_manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda path: pack(path, members_of(path), change)


def patched(find: bytes, offset: int, value: bytes, last: bool = True) -> Callable[[Path], None]:
    """Overwrite bytes behind a signature of the zip format."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        place = (content.rfind if last else content.find)(find) + offset
        content[place : place + len(value)] = value
        path.write_bytes(bytes(content))

    return change


def twice(path: Path) -> None:
    members = members_of(path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(next(iter(members)), b"other")


def without_manifest(path: Path) -> None:
    members = members_of(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def overlapping(path: Path) -> None:
    """Many directory entries that share the bytes of one member."""
    content = b"a" * 1_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(bundle.MANIFEST, "{}")
        archive.writestr("task-1/task.json", content)
        first = archive.infolist()[-1]
        for number in range(2, 400):
            member = zipfile.ZipInfo(f"task-{number}/task.json")
            for key in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "create_system"):
                setattr(member, key, getattr(first, key))
            archive.filelist.append(member)
            archive.NameToInfo[member.filename] = member


LINK = stat.S_IFLNK | 0o777
CENTRAL, END = b"PK\x01\x02", b"PK\x05\x06"
HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a path out of the folder": (
        with_member("../../outside/task.json"),
        "Cannot unpack runs.zip: it contains the unsafe name '../../outside/task.json'",
    ),
    "a path out of the folder, inside": (with_member("toy-1/../../task.json"), "it contains the unsafe name"),
    "an absolute path": (with_member("/tmp/task.json"), "it contains the unsafe name '/tmp/task.json'"),
    "a path of Windows": (with_member("C:\\task.json"), "it contains the unsafe name"),
    "a hidden file": (with_member(".ssh/task.json"), "it contains the unsafe name '.ssh/task.json'"),
    "a program": (with_member("toy-1/evil.py"), "it contains the unsafe name 'toy-1/evil.py'"),
    "a line end in a name": (with_member("toy-1/task.json\n"), "it contains the unsafe name"),
    "a folder": (with_member("toy-1/"), "it contains the unsafe name"),
    "a link": (with_member("toy-1/task.json", b"/etc/passwd", mode=LINK), "is a link, or not a plain file"),
    "a device": (with_member("toy-1/task.json", mode=stat.S_IFCHR), "is a link, or not a plain file"),
    "a name twice": (twice, "twice"),
    "a name twice on a system without case": (
        lambda path: pack(path, {"toy-1/task.json": b"{}", "TOY-1/task.json": b"{}"}),
        "twice",
    ),
    "an encrypted member": (patched(CENTRAL, 8, b"\x01\x00"), "is encrypted"),
    "another method": (with_member("toy-1/task.json", method=zipfile.ZIP_BZIP2), "by a method that bundles do not use"),
    "a member that is listed as short": (patched(CENTRAL, 24, struct.pack("<I", 3)), "says"),
    "a bomb": (with_member("toy-1/task.json", b"0" * 200_000_000), "would unpack to 200 MB"),
    "members that share bytes": (overlapping, "its members overlap"),
    "a directory of many members": (patched(END, 10, struct.pack("<HI", 9, 0xFFFFFFF0)), "its directory has"),
    "no manifest": (without_manifest, "it does not contain bundle.json"),
    "a manifest that is no JSON": (
        lambda path: zipfile.ZipFile(path, "w").writestr(bundle.MANIFEST, "{"),
        "bundle.json: is not valid JSON",
    ),
    "a manifest without files": (with_manifest(lambda m: m.pop("files")), "bundle.json: files"),
    "a newer format": (with_manifest(lambda m: m.update(diva_bench_bundle=2)), "has format 2; this version"),
    "a file that is not listed": (with_manifest(lambda m: m["files"].popitem()), "but bundle.json does not list it"),
    "a file that is only listed": (
        with_manifest(lambda m: m["files"].update({"toy-1/task.json": {"bytes": 1, "sha256": "0" * 64}})),
        "bundle.json lists 'toy-1/task.json', but the archive does not contain it",
    ),
    "another size": (with_manifest(lambda m: next(iter(m["files"].values())).update(bytes=7)), "bundle.json says 7"),
    "another content": (
        lambda path: pack(
            path,
            members_of(path),
            lambda m: next(v for k, v in m["files"].items() if k.endswith("summary.json")).update(sha256="0" * 64),
        ),
        f"listed {'0' * 64})",
    ),
    "other runs": (with_manifest(lambda m: m["runs"].append("toy-1/echo-1")), "the runs in bundle.json are not those"),
    "a clip under another name": (
        lambda path: pack(path, {**members_of(path), f"clips/{'0' * 64}": b"x"}),
        "has another sha256 in bundle.json",
    ),
    "no archive": (lambda path: path.write_text("{}") and None, "it is not a zip archive"),
    "an empty file": (lambda path: path.write_bytes(b"") and None, "it is not a zip archive"),
    "a torn archive": (lambda path: path.write_bytes(path.read_bytes()[:-30]) and None, "it is not a zip archive"),
    "a damaged directory": (patched(CENTRAL, 0, b"XXXX", last=False), "the archive is damaged"),
    "a damaged member": (patched(b"PK\x03\x04", 60, b"\xff" * 40, last=False), "the archive is damaged"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_bundle_is_refused_and_leaves_nothing(folder: Path, case: str) -> None:
    make, why = HOSTILE[case]
    path = folder / "runs.zip"
    make(path)
    before = {p for p in folder.parent.rglob("*") if p.is_file()}
    got = call(folder, "verify", "runs.zip")
    assert (got.returncode, why in got.stderr) == (2, True), got.stderr + got.stdout
    left = {p for p in folder.parent.rglob("*") if p.is_file()} - before
    assert not [p for p in left if "log" not in p.name], left


def test_a_bomb_is_refused_without_memory_for_it(folder: Path) -> None:
    path = folder / "runs.zip"
    with_member("toy-1/task.json", b"0" * 200_000_000)(path)
    tracemalloc.start()
    with pytest.raises(StoreError, match="would unpack to"):
        bundle.unpack(path, folder)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_bundle_that_is_too_large_for_the_disk_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StoreError, match=r"needs .* kB, and 100 B are free in the cache folder"):
        bundle.unpack(folder / "runs.zip", folder)
