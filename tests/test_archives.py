"""Members of zip and tar files: read as they are, and the archive refused where one of them is not what it should be."""

from __future__ import annotations

import io
import os
import random
import stat
import struct
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from corpora import add_to_tar

from diva_bench.data.readers import archives
from diva_bench.errors import DataError

FILES = {"clips/1.wav": b"one" * 50, "clips/deep/2.wav": b"two", "3.wav": b""}
KINDS = ("a.zip", "a.tar", "a.tar.gz")
BAD_NAMES = ("../evil.wav", "clips/../../evil.wav", "/etc/evil.wav", "C:/evil.wav", "clips\\..\\evil.wav")


def archive(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for name, content in files.items():
                out.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, content in files.items():
            add_to_tar(tar, name, content)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_read_as_they_are(kind: str, tmp_path: Path) -> None:
    found = archives.members(archive(tmp_path / kind, FILES), tmp_path / "cache")
    assert {name: (member.size, member.read()) for name, member in found.items()} == {
        name: (len(content), content) for name, content in FILES.items()
    }
    assert found["clips/1.wav"].read() == FILES["clips/1.wav"]  # and again


def test_what_macos_puts_into_a_zip_beside_the_files_is_no_member(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", FILES | {"__MACOSX/clips/._1.wav": b"\0\5\x16\7"})
    assert archives.members(path, tmp_path).keys() == FILES.keys()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leads_out_of_the_archive_is_refused_and_nothing_is_written(
    kind: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    path = archive(tmp_path / "in" / kind, {"ok.wav": b"x", name: b"y"})
    with pytest.raises(DataError, match="is refused: its name leads out of the archive"):
        archives.members(path, tmp_path / "in" / "cache")
    assert not list(tmp_path.rglob("*evil*"))
    assert not list((tmp_path / "in").rglob("ok.wav"))


@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz"])
@pytest.mark.parametrize(
    ("type_", "said"),
    [(tarfile.SYMTYPE, "a link to /etc/passwd"), (tarfile.LNKTYPE, "a link"), (tarfile.CHRTYPE, "no ordinary file")],
)
def test_links_and_devices_in_a_tar_are_refused(kind: str, type_: bytes, said: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / kind, "w:gz" if kind.endswith("gz") else "w") as tar:
        add_to_tar(tar, "1.wav", b"", type=type_, linkname="/etc/passwd")
    with pytest.raises(DataError, match=rf"member '1.wav' is refused: it is {said}"):
        archives.members(tmp_path / kind, tmp_path / "cache")


@pytest.mark.parametrize(("mode", "said"), [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "no ordinary file")])
def test_links_and_devices_in_a_zip_are_refused(mode: int, said: str, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("1.wav")
    info.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match=rf"member '1.wav' is refused: it is {said}; only plain files are read"):
        archives.members(tmp_path / "a.zip", tmp_path)


def test_a_sparse_member_and_a_name_with_a_nul_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        add_to_tar(tar, "1.wav", b"x", type=tarfile.GNUTYPE_SPARSE)
    with pytest.raises(DataError, match=r"member '1.wav' is refused: it is no ordinary file"):
        archives.members(tmp_path / "a.tar", tmp_path)
    with tarfile.open(tmp_path / "b.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        add_to_tar(tar, "1.wav", b"x", pax_headers={"path": "1\0.wav"})
    with pytest.raises(DataError, match=r"member '1\\x00.wav' is refused: its name leads out of the archive"):
        archives.members(tmp_path / "b.tar", tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_members_that_are_too_much_together_are_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / kind, FILES)
    monkeypatch.setattr(archives, "TOTAL_LIMIT", 152)
    with pytest.raises(DataError, match="unpacks to more than 152 B"):
        archives.members(path, tmp_path / "cache")


def test_a_tar_that_lost_its_end_has_a_fault_where_it_ends(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", FILES)
    found = archives.members(path, tmp_path)
    path.write_bytes(path.read_bytes()[:520])  # a header has 512 bytes
    with pytest.raises(OSError, match="cut short: the archive ends before it"):
        found["clips/1.wav"].read()


@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_a_compressed_tar_that_is_cut_short_or_changed_is_refused_and_leaves_nothing(harm: str, tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(100_000)
    path = archive(tmp_path / "a.tar.gz", {"1.wav": noise, "2.wav": noise[::-1]})
    whole = path.read_bytes()
    path.write_bytes(whole[:150_000] if harm == "cut" else whole[:50_000] + bytes(100) + whole[50_100:])
    with pytest.raises(DataError, match=r"a.tar.gz: cannot be read as a tar file \(.*get it again"):
        archives.members(path, tmp_path / "cache")
    assert list((tmp_path / "cache" / "unpacked").iterdir()) == []


def test_a_compressed_tar_for_which_there_is_no_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.tar.gz", FILES)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: SimpleNamespace(free=149))
    with pytest.raises(DataError, match=r"no room to unpack it in .*unpacked; clips/1.wav needs 150 B"):
        archives.members(path, tmp_path / "cache")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("1.wav", b"x")
        out.writestr("1.wav", b"y")
    with pytest.raises(DataError, match=r"member '1.wav' occurs twice in the archive"):
        archives.members(tmp_path / "a.zip", tmp_path)


def test_a_zip_bomb_is_refused_before_anything_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        out.writestr("1.wav", bytes(20 * archives.RATIO_FROM // 16))
    with pytest.raises(DataError, match=r"member '1.wav' is refused: .* kB that unpack to 21.0 MB"):
        archives.members(tmp_path / "a.zip", tmp_path)


def test_a_member_that_is_longer_than_declared_is_not_read_on(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"1.wav": bytes(100_000)})
    encoded = path.read_bytes()
    path.write_bytes(encoded.replace(struct.pack("<I", 100_000), struct.pack("<I", 10)))
    member = archives.members(path, tmp_path)["1.wav"]
    assert member.size == 10
    with pytest.raises(OSError, match=r"archive"):
        member.read()


def test_a_member_that_is_declared_too_large_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"1.wav": bytes(100_000)})
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 100_000), struct.pack("<I", 2**32 - 2)))
    with pytest.raises(DataError, match=r"member '1.wav' is refused: 4.3 GB; the limit is 1.1 GB"):
        archives.members(path, tmp_path)


def test_a_compressed_tar_that_grows_too_much_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", {f"{i}.wav": bytes(archives.RATIO_FROM // 2) for i in range(3)})
    with pytest.raises(DataError, match=r"kB that unpack to more than 200 times as much"):
        archives.members(path, tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_a_compressed_tar_that_another_process_unpacked_meanwhile_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, unpack = archive(tmp_path / "a.tar.gz", FILES), archives._unpack

    def slow(*given: Any) -> None:
        monkeypatch.setattr(archives, "_unpack", unpack)
        archives.unpacked(path, tmp_path / "cache")
        unpack(*given)

    monkeypatch.setattr(archives, "_unpack", slow)
    folder = archives.unpacked(path, tmp_path / "cache")
    assert sorted(p.name for p in folder.parent.iterdir()) == [folder.name]


def test_a_compressed_tar_is_unpacked_once_and_again_where_it_changed(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", FILES)
    folder = archives.unpacked(path, tmp_path / "cache")
    assert archives.unpacked(path, tmp_path / "cache") == folder
    os.utime(path, ns=(0, 0))  # as long, but not the same file
    assert archives.unpacked(path, tmp_path / "cache") != folder
    archive(path, {"4.wav": b"four"})
    assert archives.unpacked(path, tmp_path / "cache") != folder
    known, times = archives.unpacked(path, tmp_path / "cache"), path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(DataError, match="cannot be read as a tar file"):  # looked at again, though size and time stayed
        archives.unpacked(path, tmp_path / "cache")
    assert known.is_dir()
    assert sorted(p.name for p in (tmp_path / "cache" / "unpacked").iterdir() if p.name.startswith(".")) == []


def test_a_damaged_member_is_a_fault_of_its_own_and_a_damaged_archive_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as out:
        out.writestr("1.wav", b"a sound that was")
        out.writestr("2.wav", b"another")
    path.write_bytes(path.read_bytes().replace(b"a sound that was", b"a sound that is "))
    found = archives.members(path, tmp_path)
    with pytest.raises(OSError, match="damaged in the archive"):
        found["1.wav"].read()
    assert found["2.wav"].read() == b"another"
    for kind in KINDS:
        (tmp_path / kind).write_bytes(b"neither one nor the other" * 50)
        with pytest.raises(DataError, match=r"cannot be read as a (zip|tar) file"):
            archives.members(tmp_path / kind, tmp_path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive_:
        archive_.writestr("1.wav", b"x")
    encoded = bytearray(out.getvalue())
    encoded[encoded.index(b"PK\x01\x02") + 8] |= 1  # flag bit 0 in the central directory
    (tmp_path / "a.zip").write_bytes(encoded)
    with pytest.raises(DataError, match="it is encrypted"):
        archives.members(tmp_path / "a.zip", tmp_path)
