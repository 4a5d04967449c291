"""Bytes that are no sound file are refused by any name, in silence; files that macOS and Windows leave about are no data."""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from sound_files import tone, written

from diva_bench import audio
from diva_bench.audio import containers
from diva_bench.data import detect
from diva_bench.disk import listed
from diva_bench.errors import ClipError

MP3 = written(tone(2.0), format="MP3", subtype="MPEG_LAYER_III")
APPLE = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(100)
SEEDS = range(6)


def raw(form: str, loud: float, seed: int) -> bytes:
    """A second of sound without a header; quiet big-endian sound begins as MPEG frames do."""
    noise = np.random.default_rng(seed).normal(0, loud, 16_000)
    return np.clip(noise, -32_768, 32_767).astype(form).tobytes()


def png(seed: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    lines = zlib.compress(b"".join(b"\0" + random.Random(seed).randbytes(192) for _ in range(64)))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def packed(seed: int) -> bytes:
    place = io.BytesIO()
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("a.bin", random.Random(seed).randbytes(9_000))
    return place.getvalue()


KINDS: dict[str, Callable[[int], bytes]] = {
    "random": lambda seed: random.Random(seed).randbytes(20_000),
    "text": lambda seed: f"clip {seed} is at https://example.org/clip.mp3\n".encode() * 500,
    "web page": lambda _: b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 40,
    "PDF": lambda seed: b"%PDF-1.7\n" + random.Random(seed).randbytes(9_000) + b"\n%%EOF\n",
    "PNG": png,
    "JPEG": lambda seed: b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0H\0H\0\0" + random.Random(seed).randbytes(9_000),
    "zip": packed,
    "program": lambda _: Path(sys.executable).read_bytes()[:200_000],
    "zeros": lambda seed: bytes(1_000 * (seed + 1)),
    "ones": lambda seed: b"\xff" * 1_000 * (seed + 1),
    "UTF-16": lambda seed: f"clip {seed}\n".encode("utf-16") * 500,
    "16 bit, big-endian, loud": lambda seed: raw(">i2", 5_000, seed),
    "16 bit, big-endian, next to silence": lambda seed: raw(">i2", 2, seed),
    "16 bit, little-endian": lambda seed: raw("<i2", 900, seed),
    "32 bit floats": lambda seed: raw("<f4", 0.2, seed),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_sound_file_is_refused(kind: str, seed: int) -> None:
    with pytest.raises(ClipError, match=f"^{containers.UNKNOWN}$"):
        audio.decode(KINDS[kind](seed))


FIRST = [b"\xff\xfb\x90\x64", b"\xff\xf3\x40\xc4", b"\xff\xfd\0\3", b"\xff\xfe", b"ID3\3\0\0\0\0\0\x0a" + bytes(10)]


@pytest.mark.parametrize("kind", ["random", "text", "16 bit, big-endian, loud", "16 bit, little-endian"])
@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("seed", SEEDS)
def test_what_only_begins_as_an_mp3_is_refused(first: bytes, kind: str, seed: int) -> None:
    with pytest.raises(ClipError, match=f"^{containers.UNKNOWN}$"):
        audio.decode(first + KINDS[kind](seed + 2))


def test_a_whole_mp3_is_heard_behind_a_tag_that_states_a_wrong_size() -> None:
    tag = b"ID3\3\0\0\0\0\0\x05" + b"T" * 300
    assert audio.decode(tag + MP3).seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("rest", [b"", b"TAG" + bytes(125), bytes(4_000)])
def test_an_mp3_of_one_frame_is_one(rest: bytes) -> None:
    length = containers._frame(MP3, 0)
    second = MP3[length : length + containers._frame(MP3, length)]
    assert containers.look(second + rest).fault == ""


STAND_INS = {
    APPLE: r"is a macOS AppleDouble file, not audio. The clip has the same name without ._",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n": "is a Git LFS pointer, not audio. Fetch the",
}


@pytest.mark.parametrize("content", STAND_INS)
def test_what_lies_in_a_clips_place_is_called_by_its_name(content: bytes) -> None:
    with pytest.raises(ClipError, match=STAND_INS[content]):
        audio.decode(content)


def test_decoders_print_nothing_whatever_they_are_given(tmp_path: Path) -> None:
    """A real process, for they print past Python's streams; what Python prints meanwhile stays."""
    dice = random.Random(5)
    for number in range(12):
        spoilt = bytearray(MP3)
        for _ in range(40):
            spoilt[dice.randrange(400, len(spoilt))] = dice.randrange(256)
        (tmp_path / f"{number}.mp3").write_bytes(spoilt)
    program = """if True:
        import sys
        from concurrent.futures import ThreadPoolExecutor
        from pathlib import Path
        from diva_bench import audio
        from diva_bench.errors import ClipError
        def heard(path):
            sys.stderr.write(path.stem + "\\n")
            try:
                return audio.decode(path.read_bytes()).seconds
            except ClipError:
                return 0
        with ThreadPoolExecutor(4) as pool:
            print(sum(1 for one in pool.map(heard, sorted(Path().glob("*.mp3"))) if one))
    """
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 0
    assert sorted(map(int, done.stderr.split())) == list(range(12))


# ---------------------------------------------------------------- what macOS and Windows leave about

LEFT = {
    "._": APPLE,
    ".AppleDouble": None,
    ".DS_Store": b"\0\0\0\1Bud1",
    "Thumbs.db": b"\xd0\xcf\x11\xe0",
    "desktop.ini": b"[x]\r\n",
}


def litter(folder: Path) -> None:
    """What is left in a folder, and an AppleDouble file beside each of its files."""
    for place in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        for path in [p for p in place.iterdir() if p.is_file()]:
            (place / f"._{path.name}").write_bytes(APPLE)
        for name, content in LEFT.items():
            if content is None:
                (place / name).mkdir()
            else:
                (place / name).write_bytes(content)


@pytest.mark.parametrize("left", ["._", ".AppleDouble"])
def test_an_mp3_is_heard_whatever_lies_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """libsndfile 1.2.2 takes them for the resource fork of a clip without a name, and the clip for SD2."""
    if LEFT[left] is None:
        (tmp_path / left).mkdir()
    else:
        (tmp_path / left).write_bytes(APPLE)
    monkeypatch.chdir(tmp_path)
    assert audio.decode(MP3).seconds == pytest.approx(2.0, abs=0.1)
    with pytest.raises(ClipError, match=containers.UNKNOWN):
        audio.decode(raw(">i2", 900, 1))


def clips(folder: Path, count: int = 4) -> list[str]:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"c{number}.mp3").write_bytes(
            written(tone(0.5 + number / 10), format="MP3", subtype="MPEG_LAYER_III")
        )
    return [f"c{number}.mp3" for number in range(count)]


def audio_folder(place: Path) -> None:
    lines = [json.dumps({"file_name": name, "text": name, "answers": name}) for name in clips(place)]
    (place / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def label_folders(place: Path) -> None:
    clips(place / "yes")
    clips(place / "no")


def kaldi(place: Path) -> None:
    names = clips(place)
    (place / "wav.scp").write_text("".join(f"{name[:-4]} {name}\n" for name in names))
    (place / "text").write_text("".join(f"{name[:-4]} the words\n" for name in names))
    (place / "segments").write_text("".join(f"{name[:-4]} {name[:-4]} 0 0.4\n" for name in names))


def table(place: Path) -> None:
    names = clips(place)
    (place / "list.csv").write_text("audio,text\n" + "".join(f"{name},the words\n" for name in names))


FORMS = {"audio folder": audio_folder, "folders of labels": label_folders, "kaldi": kaldi, "table": table}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_left_in_a_folder_of_data_is_no_data(tmp_path: Path, form: str) -> None:
    """`new task`, then two runs in a littered folder: what the first finds out is remembered."""
    FORMS[form](tmp_path / "clean" / "data")
    shutil.copytree(tmp_path / "clean", tmp_path / "littered")
    litter(tmp_path / "littered")
    seen = []
    for place in (tmp_path / "clean", tmp_path / "littered"):
        made = call(place, "new", "task", "data")
        assert made.returncode == 0, made.stderr + made.stdout
        (task,) = place.glob("*.yaml")
        for _ in range(2):
            got = call(place, "run", "-m", "echo", "-t", task.name)
            assert got.returncode == 0, got.stdout
        (summary,) = (json.loads(path.read_text()) for path in place.glob("results/*/*/summary.json"))
        (asked,) = (json.loads(path.read_text()) for path in place.glob("results/*/task.json"))
        seen.append((asked["fingerprint"], summary["n"], summary["data_faults"]))
    assert seen[0] == seen[1]
    assert seen[0][1] in (4, 8)
    assert seen[0][2] == []


def test_hidden_files_match_no_pattern(tmp_path: Path) -> None:
    for name in ("a.parquet", "._a.parquet", ".hidden/b.parquet", "inner/c.parquet", "inner/._c.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [path.relative_to(tmp_path).as_posix() for path in listed(tmp_path, "**/*.parquet")]
    assert names == ["a.parquet", "inner/c.parquet"]


def test_a_folder_of_parquet_is_known_by_what_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "._train-0.parquet").write_bytes(APPLE)
    table(tmp_path / "data")
    shutil.move(tmp_path / "._train-0.parquet", tmp_path / "data")
    assert detect.detect(tmp_path / "data").source == "csv"
