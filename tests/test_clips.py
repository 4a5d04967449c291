"""The clips of a data set: which files are read at all, how they are found, and what is remembered and said of them."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import mini_task
import numpy as np
import pytest
import soundfile
from sound_files import tone, written

from diva_bench import audio, data
from diva_bench.audio import clip
from diva_bench.catalog import Catalog
from diva_bench.data.readers import file_clip
from diva_bench.disk import read_plain
from diva_bench.errors import ClipError, UserError
from diva_bench.types import Silent

WAV = written(tone(0.2))


def load(folder: Path, table: list[dict[str, Any]] | None = None, cache: str = "cache") -> data.Dataset:
    mini_task.write(folder, count=4, table=table)
    return data.load(Catalog([folder]).task("toy", "mini"), folder.parent / cache, Silent())


# ---------------------------------------------------------------- what is read


def strange(path: Path, kind: str) -> Path:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to a fifo":
        os.mkfifo(path.with_name("fifo"))
        path.symlink_to("fifo")
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "as large as no clip":
        with path.open("wb") as file:
            file.truncate((1 << 30) + 1)  # no byte of it is on the disk
    else:
        path.symlink_to(f"/dev/{kind}")
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("fifo", "a named pipe, not a file"),
        ("link to a fifo", "a named pipe, not a file"),
        ("socket", "a socket, not a file"),
        ("zero", "a device, not a file"),
        ("tty", "a device, not a file"),
        ("folder", "Is a directory"),
        ("link to itself", "Too many levels of symbolic links"),
        ("as large as no clip", "1.1 GB; a clip has at most 1.1 GB"),
    ],
)
def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path, kind, reason):
    path, said = strange(tmp_path / "x.wav", kind), []

    def read() -> None:
        with pytest.raises(OSError) as caught:
            read_plain(path)
        said.append(caught.value.strerror)

    thread = threading.Thread(target=read, daemon=True)  # where it blocks, the test fails and does not hang
    thread.start()
    thread.join(20)
    assert said == [reason]


def test_a_named_pipe_among_the_clips_leaves_the_others_to_be_asked(tmp_path):
    mini_task.write(tmp_path / "toy", count=4)
    (tmp_path / "toy/audio/q001.wav").unlink()
    os.mkfifo(tmp_path / "toy/audio/q001.wav")
    got = load(tmp_path / "toy")
    assert [fault.reason for fault in got.faults] == ["audio/q001.wav: cannot be read (a named pipe, not a file)"]
    assert len(got.samples) == 3


@pytest.mark.parametrize(
    ("named", "there"),
    [
        ("clips/n\u00e9.wav", "clips/ne\u0301.wav"),
        ("clips/ne\u0301.wav", "clips/n\u00e9.wav"),
        ("clips\\a.wav", "clips/a.wav"),
        ("clips\\n\u00e9.wav", "clips/ne\u0301.wav"),
        (".\\clips\\..\\clips\\a.wav", "clips/a.wav"),
        ("clips/a\\b.wav", "clips/a\\b.wav"),
    ],
    ids=["NFC for NFD", "NFD for NFC", "from Windows", "both", "with dots", "a name with a backslash"],
)
def test_a_file_is_found_by_the_name_that_another_system_gave_it(tmp_path, named, there):
    (tmp_path / "clips").mkdir()
    (tmp_path / there).write_bytes(WAV)
    found = file_clip(tmp_path, named)
    assert (found.name, found.read()) == (named, WAV)


def test_a_name_as_it_is_written_comes_first(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.wav").write_bytes(b"the folder's")
    (tmp_path / "a\\b.wav").write_bytes(b"as written")
    assert file_clip(tmp_path, "a\\b.wav").read() == b"as written"


@pytest.mark.parametrize("name", ["a\0b.wav", "x" * 5000, "none.wav", "n\u00e9.wav"])
def test_a_name_of_no_file_is_a_fault_of_its_row(tmp_path, name):
    with pytest.raises((OSError, ValueError)):
        file_clip(tmp_path, name).read()


# ---------------------------------------------------------------- what is said and remembered


def stereo(path: Path, left: float, right: float) -> None:
    sound = tone(0.3)
    soundfile.write(path, np.stack([left * sound, right * sound], 1), 16_000)


def test_notes_on_clips_stand_with_the_data_from_the_cache_too(tmp_path):
    folder = mini_task.write(tmp_path / "toy", count=4)
    stereo(folder / "audio/q001.wav", 1, -1)
    (folder / "audio/q002.wav").write_bytes(WAV[:40] + b"\xff\xff\xff\xff" + WAV[44:])
    for _ in range(2):
        got = load(folder)
        assert [note.split(" (")[0] for note in got.notes] == [
            "length not promised: 1 of 4 clips, the first audio/q002.wav",
            "channels cancel each other: 1 of 4 clips, the first audio/q001.wav",
        ]
        assert not got.faults


@pytest.mark.parametrize(("left", "right", "changes"), [(1, -1, True), (1, 1, False), (0, 1, False)])
def test_answers_to_a_clip_that_was_heard_as_silence_are_not_served_for_its_louder_channel(
    tmp_path, monkeypatch, left, right, changes
):
    folder = mini_task.write(tmp_path / "toy", count=4)
    stereo(folder / "audio/q001.wav", left, right)
    now = load(folder, cache="now").fingerprint
    monkeypatch.setattr(clip, "_CANCELLED", 0.0)
    assert (load(folder, cache="before").fingerprint != now) == changes


def test_a_fault_that_may_pass_is_not_remembered(tmp_path, monkeypatch):
    folder, real = mini_task.write(tmp_path / "toy", count=4), audio.read

    def short_of_memory(encoded: bytes) -> Any:
        if encoded == (folder / "audio/q001.wav").read_bytes():
            raise ClipError("needs more memory than is available", passing=True)
        return real(encoded)

    monkeypatch.setattr(audio, "read", short_of_memory)
    assert [f.reason for f in load(folder).faults] == ["audio/q001.wav: needs more memory than is available"]
    monkeypatch.setattr(audio, "read", real)
    assert load(folder).faults == ()


def test_a_clip_that_asks_for_256_gib_does_not_stop_the_others(tmp_path):
    folder = mini_task.write(tmp_path / "toy", count=4)
    encoded = bytearray(written(tone(), format="FLAC"))
    encoded[18:26] = (int.from_bytes(encoded[18:26], "big") | (1 << 36) - 1).to_bytes(8, "big")
    (folder / "audio/q001.wav").write_bytes(encoded)
    got = load(folder)
    assert [f.reason.split(" samples")[0] for f in got.faults] == [
        "audio/q001.wav: is refused: its header says 68,719,476,735"
    ]
    assert len(got.samples) == 3


def test_the_clip_that_takes_an_ffmpeg_is_named_where_there_is_none(tmp_path, monkeypatch):
    folder = mini_task.write(tmp_path / "toy", count=4)
    (folder / "audio/q001.wav").write_bytes(b"\0\0\0\x08ftyp")
    monkeypatch.setattr(clip, "ffmpeg", lambda: None)
    with pytest.raises(UserError, match=r"^audio/q001.wav: MP4 files need ffmpeg .*'diva-bench\[video\]'"):
        load(folder)
