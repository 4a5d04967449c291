"""Whole clips of every container are taken at their right length; those that were cut short are refused, or said to be of
a container that does not say how long it is."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import sound_files
from sound_files import tone, written

from diva_bench import audio
from diva_bench.audio import containers
from diva_bench.errors import ClipError
from diva_bench.types import UNPROMISED

SILENT_HEADERS = {"HTK", "IRCAM", "PAF", "PVF"}
"""libsndfile's formats whose headers hold no length that it keeps to; a whole HTK file is as long as its header says, or
libsndfile does not know it."""


def check(encoded: bytes, promised: bool, delay: float = 0.12) -> None:
    """`delay`: seconds that a codec may put before or behind the sound."""
    whole = audio.decode(encoded)
    assert whole.seconds == pytest.approx(1.0, abs=delay)
    assert np.sqrt((whole.samples**2).mean()) == pytest.approx(0.212, abs=0.03)
    assert (UNPROMISED not in whole.notes) == promised
    for share in (0.3, 0.6, 0.9):
        part = encoded[: int(len(encoded) * share)]
        if promised:
            with pytest.raises(ClipError):
                audio.decode(part)
        else:
            assert heard(part) in ("", UNPROMISED)


def heard(encoded: bytes) -> str:
    """The notes on a clip, "" where it is refused."""
    try:
        return " ".join(audio.decode(encoded).notes) or "promised"
    except ClipError:
        return ""


@pytest.mark.parametrize(("form", "coding"), sound_files.by_libsndfile())
def test_what_libsndfile_reads_is_taken_whole_and_not_in_part(form, coding):
    laws = (form, coding) in (("VOC", "ULAW"), ("VOC", "ALAW"))  # libsndfile leaves out their last block
    check(written(tone(), format=form, subtype=coding), promised=form not in SILENT_HEADERS and not laws)


@pytest.mark.parametrize("name", sound_files.BY_FFMPEG)
def test_what_ffmpeg_reads_is_taken_whole_and_not_in_part(name):
    check(sound_files.by_ffmpeg()[name], promised=name not in sound_files.UNPROMISED)


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64", "AIFF", "AU", "W64", "NIST", "SVX", "MAT5", "MAT4", "AVR"])
def test_one_byte_less_than_the_header_promises_is_cut_short(form):
    with pytest.raises(ClipError, match=r"is cut short: the \w+ header promises \d+ bytes, the file has \d+"):
        audio.decode(written(tone(), format=form, subtype="PCM_16")[:-1])


@pytest.mark.parametrize(("form", "coding"), [("SDS", "PCM_16"), ("XI", "DPCM_16")])
def test_files_of_samplers_are_no_clips(form, coding):
    with pytest.raises(ClipError, match=rf"is a sampler file \({form}\), which is not supported: save it as WAV"):
        audio.decode(written(tone(), format=form, subtype=coding))


# ---------------------------------------------------------------- WAV: sizes that are not right

WAV = written(tone())
BODY = WAV[44:]


def sizes(riff: int, data: int, body: bytes = BODY) -> bytes:
    return WAV[:4] + struct.pack("<I", riff) + WAV[8:40] + struct.pack("<I", data) + body


@pytest.mark.parametrize(
    "encoded",
    [
        sizes(0, 0),
        sizes(36, 0),
        sizes(len(BODY) + 36, 0),
        sizes(0xFFFFFFFF, 0xFFFFFFFF),
        sizes(0x7FFFFFFF, 0x7FFFFFFF - 36),
        sizes(0x7FFFF024, 0x7FFFF000),
    ],
    ids=["zeros", "an empty file's", "data of 0", "ffmpeg to a pipe", "arecord", "sox to a pipe"],
)
def test_a_wav_that_was_written_as_a_stream_is_heard_to_its_end_and_noted(encoded):
    got = audio.decode(encoded)
    assert got.seconds == 1.0
    assert got.notes == (UNPROMISED,)


@pytest.mark.parametrize("form", ["AIFF", "AU", "W64", "CAF"])
def test_other_streams_are_heard_to_their_end_too(form):
    encoded = written(tone(), format=form, subtype="PCM_16")
    ident, size, unknown = {
        "AIFF": (b"SSND", ">I", 0),
        "AU": (b".snd\0\0\0\x18", ">I", 0xFFFFFFFF),
        "W64": (b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", "<Q", 0),
        "CAF": (b"data", ">q", -1),
    }[form]
    at = encoded.index(ident) + len(ident)
    stream = encoded[:at] + struct.pack(size, unknown) + encoded[at + struct.calcsize(size) :]
    got = audio.decode(stream)
    assert (got.seconds, got.notes) == (1.0, (UNPROMISED,))


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (sizes(len(BODY) + 36, 2 * len(BODY)), "is cut short: the WAV header promises 64044 bytes, the file has 32044"),
        (sizes(len(BODY) // 2 + 36, len(BODY), BODY[: len(BODY) // 2]), "is cut short"),  # a mended RIFF size
        (sizes(len(BODY) // 2 + 36, len(BODY) // 2), "does not end where its WAV header says: 16000 more bytes"),
        (sizes(len(BODY) + 36, len(BODY) // 2), "does not end where its WAV header says: 16000 more bytes"),
        (WAV + WAV, "does not end where its WAV header says: 32044 more bytes"),
        (WAV[:36] + b"LIST" + struct.pack("<I", 4000) + b"\0" * 20, "the WAV file ends before its sound begins"),
        (sizes(36, 0, b""), "has no samples"),
    ],
)
def test_a_wav_whose_sizes_do_not_fit_its_sound_is_refused(encoded, reason):
    with pytest.raises(ClipError, match=reason):
        audio.decode(encoded)


def chunk(ident: bytes, content: bytes) -> bytes:
    return ident + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


@pytest.mark.parametrize(
    "encoded",
    [
        WAV + chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"),
        WAV + chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 13) + b"Lavf58.29.100"),
        sizes(0, 31_999, BODY[:-1]) + chunk(b"LIST", b"x" * 4000),  # no padding behind an odd number of bytes
        b"ID3\x03\0\0\0\0\0\x0b" + b"\0" * 11 + WAV + chunk(b"LIST", b"x" * 4001) + chunk(b"bext", b"x" * 4000),
        WAV + chunk(b"LIST", b"x" * 4000)[:1000],  # the sound is whole, its description is not
        WAV + chunk(b"id3 ", b"ID3" + b"x" * 4001),
        WAV + b"TAG" + b"x" * 125,
        WAV + b"\0" * 4096,
        WAV + b"?",
        WAV[:12] + chunk(b"JUNK", b"\0" * 28) + WAV[12:],
        WAV[:4] + struct.pack("<I", len(WAV)) + WAV[8:],  # counts its own 8 bytes
        sizes(len(WAV), len(BODY) + 8),
        sizes(len(WAV), len(BODY) + 36),
        sizes(len(WAV), len(WAV)),
        b"ID3\x03\0\0\0\0\0\x0a" + b"\0" * 10 + WAV,
    ],
)
def test_what_lies_around_the_sound_does_not_matter(encoded):
    got = audio.decode(encoded)
    assert got.seconds == pytest.approx(1.0, abs=0.001)
    assert got.notes == ()


# ---------------------------------------------------------------- MP3: tags, covers, counts

MP3 = written(tone(2.0), format="MP3", subtype="MPEG_LAYER_III")


def syncsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def tagged(ident: bytes, content: bytes, version: int = 3) -> bytes:
    """An ID3v2 tag of one frame."""
    frame = ident + struct.pack(">I", len(content)) + b"\0\0" + content
    return b"ID3" + bytes([version, 0, 0]) + syncsafe(len(frame)) + frame


TAGS = {
    "none": b"",
    "title": tagged(b"TIT2", b"\0Info for speakers"),
    "title, v2.4": tagged(b"TIT2", b"\0Xing of Nepal", version=4),
    "comment": tagged(b"COMM", b"\0eng\0Info: recorded at home"),
    "artist": tagged(b"TPE1", b"\0Info Bureau Nepal"),
    "cover of 9 kB": tagged(b"APIC", b"\0image/png\0\3\0\x89PNG" + b"\x55" * 9000),
    "cover of 2 MB": tagged(b"APIC", b"\0image/png\0\3\0\x89PNG" + b"\xff\xfb" * (1 << 20)),
    "padding": tagged(b"TIT2", b"\0x") + b"\0" * 2048,
    "two tags": tagged(b"TIT2", b"\0Info") + tagged(b"TPE1", b"\0Xing"),
}


@pytest.mark.parametrize("tag", TAGS.values(), ids=TAGS)
def test_tags_and_covers_neither_refuse_a_whole_mp3_nor_hide_a_cut(tag):
    for behind in (b"", b"TAG" + b"Info" + b"x" * 121):
        assert audio.decode(tag + MP3 + behind).seconds == pytest.approx(2.0, abs=0.1)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(ClipError, match=r"is cut short: the MP3 header promises \d+ bytes, the file has \d+"):
            audio.decode(tag + MP3[: int(len(MP3) * share)])


def test_an_id3_tag_that_is_cut_short_itself_says_so():
    with pytest.raises(ClipError, match="is cut short: the ID3 tag promises 9037 bytes, the file has 4000"):
        audio.decode(TAGS["cover of 9 kB"][:4000])


def frames(encoded: bytes) -> list[int]:
    """Where the MPEG frames begin, and where the last one ends."""
    places = [containers.after_tags(encoded)]
    while length := containers._frame(encoded, places[-1]):
        places.append(places[-1] + length)
    return places


def test_an_mp3_without_a_count_is_refused_where_its_last_frame_is_cut_and_noted_where_none_is():
    whole = sound_files.by_ffmpeg()["noxing.mp3"]
    places = frames(whole)
    assert places[-1] == len(whole), "the walk ends where the file does"
    assert audio.decode(whole[: places[20]]).notes == (UNPROMISED,)
    with pytest.raises(ClipError, match="is cut short: the last MPEG frame is incomplete"):
        audio.decode(whole[: places[20] - 1])


def test_an_mp3_with_a_count_is_refused_where_whole_frames_lack():
    places = frames(MP3)
    no_bytes = bytearray(MP3)  # an encoder that counts frames alone
    at = MP3.index(b"Xing") if b"Xing" in MP3 else MP3.index(b"Info")
    no_bytes[at + 7] &= ~2
    assert audio.decode(bytes(no_bytes)).notes == ()
    with pytest.raises(ClipError, match=r"the MP3 header promises \d+ frames, the file has 30"):
        audio.decode(bytes(no_bytes[: places[30]]))


@pytest.mark.parametrize(
    ("header", "length"),
    [  # by the formulas of ISO/IEC 11172-3, 2.4.3.1, and 13818-3
        ("fffb9064", 417),  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz
        ("fffb9264", 418),  # with padding
        ("fff38000", 208),  # MPEG 2, layer III, 64 kbit/s, 22.05 kHz
        ("ffe348c4", 288),  # MPEG 2.5, layer III, 32 kbit/s, 8 kHz
        ("fffd8404", 384),  # MPEG 1, layer II, 128 kbit/s, 48 kHz
        ("ffff1800", 48),  # MPEG 1, layer I, 32 kbit/s, 32 kHz
        ("fffb00c4", 0),  # free format: it does not say
        ("fffbf0c4", 0),  # no such bit rate
        ("fff19064", 0),  # ADTS
    ],
)
def test_the_length_of_a_frame_is_what_its_header_says(header, length):
    assert containers._frame(bytes.fromhex(header), 0) == length


# ---------------------------------------------------------------- FLAC, VOC


def flac(total: int) -> bytes:
    encoded = bytearray(written(tone(), format="FLAC"))
    field = int.from_bytes(encoded[18:26], "big")
    encoded[18:26] = (field >> 36 << 36 | total).to_bytes(8, "big")
    return bytes(encoded)


def test_a_flac_that_does_not_say_how_long_it_is_is_heard_and_noted():
    sound_files.by_ffmpeg()  # skips where there is no ffmpeg
    got = audio.decode(flac(0))
    assert (got.seconds, got.notes) == (1.0, (UNPROMISED,))


def test_a_flac_that_has_fewer_samples_than_it_says_is_refused():
    with pytest.raises(ClipError, match="cannot be decoded"):
        audio.decode(flac(16_001))


def test_a_voc_of_one_byte_a_sample_is_read_by_ffmpeg():
    sound_files.by_ffmpeg()
    assert audio.decode(written(tone(), format="VOC", subtype="PCM_U8")).seconds == pytest.approx(1.0, abs=0.01)
