"""Find out the format of an audio file, and whether the file is complete, from its container; nothing is decoded.

A decoder reads the first half of a truncated file without an error, and then half a question is scored as a whole one.
So the length in the header is compared with the number of bytes, format by format. `Container.promised` is False where
the file does not store its length. Files that were written as a stream have a size field of 0 or of the largest value;
the real size is written there before decoding.

Sources: RFC 3533 (Ogg), 9559 (Matroska), 9639 (FLAC); ISO/IEC 11172-3 and 13818-3 (MPEG audio), 14496-12 (MP4); EBU
Tech 3306 (RF64); Apple's AIFF and CAF specifications; for other formats the source of libsndfile 1.2.2 and ffmpeg 9.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

SNDFILE, FFMPEG, EITHER = "libsndfile", "ffmpeg", "libsndfile, else ffmpeg"
"""The program that decodes a container."""

UNKNOWN = "no audio format is recognised in it"
"""The fault of bytes that are not audio, or have no header from which the format can be known."""

SLACK = 0.02
"""Allowed share of surplus bytes, and of missing ones in an MP3: some encoders count a frame that they do not write."""
_NOTES = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"LIST", b"id3 ", b"bext", b"iXML", b"axml", b"_PMX")
_ZEROS = re.compile(rb"\0*")
_FAR = 4_096  # bytes in which the first frame is searched
_PARTS = 1_000_000  # limit of chunks, boxes, blocks or frames that are read; three hours of MP3 have 413,000 frames


@dataclass(frozen=True, slots=True)
class Container:
    """The format of a file and whether it is complete.

    Attributes:
        encoded: The bytes of the file, with the real size in the header.
        name: Name of the format for messages; "" if the first bytes match no known format.
        decoder: The program that decodes it.
        fault: Why the file is not complete; "" if no fault is visible.
        promised: Whether the file stores its length (for formats that ffmpeg decodes: whether the format stores it).
    """

    encoded: bytes
    name: str = ""
    decoder: str = SNDFILE
    fault: str = ""
    promised: bool = False


def look(encoded: bytes) -> Container:
    """The format of a file, and whether it is complete."""
    start = after_tags(encoded)
    if start > len(encoded):
        return Container(encoded, "MP3", fault=_short("the ID3 tag", start, len(encoded)))
    head = encoded[start : start + 256]
    for kind in _KINDS:
        if kind.pattern.match(head):
            container = Container(encoded, kind.name, kind.decoder, promised=kind.promised)
            return kind.check(container, start) if kind.check else container
    if start and (at := _first_frame(encoded, start)):  # some tags have a wrong size
        return _mpeg(Container(encoded, "MP3"), at)
    return Container(encoded, fault=next((message for mark, message in _STAND_INS if encoded.startswith(mark)), ""))


def after_tags(encoded: bytes) -> int:
    """Offset of the audio after ID3v2 tags and their padding. It is beyond the end of the file if a tag is incomplete."""
    start = 0
    while encoded[start : start + 3] == b"ID3" and len(encoded) >= start + 10:
        size = 0
        for byte in encoded[start + 6 : start + 10]:
            size = size << 7 | byte & 0x7F
        start += 10 + size + (10 if encoded[start + 5] & 0x10 else 0)
    if not 0 < start < len(encoded):
        return start
    padding = _ZEROS.match(encoded, start)  # padding between a tag and the first frame is common
    return padding.end() if padding else start


def _short(what: str, promised: int, there: int) -> str:
    return f"is cut short: {what} promises {promised} bytes, the file has {there}"


def _check_end(container: Container, end: int, what: str = "") -> Container:
    """Compare the end of the audio by the header with the end of the file."""
    there = len(container.encoded)
    if end > there:
        return replace(container, fault=_short(f"the {what or container.name} header", end, there), promised=True)
    rest = container.encoded[end:]
    if len(rest) > SLACK * end and not _harmless(rest):
        fault = f"does not end where its {container.name} header says: {len(rest)} more bytes follow, which no decoder plays"
        return replace(container, fault=fault, promised=True)
    return replace(container, promised=True)


def _harmless(rest: bytes) -> bool:
    """Whether the bytes after the audio can be ignored: none, padding, tags, or incomplete chunks of metadata."""
    return rest.startswith(_NOTES) or not rest.strip(b"\0")


# ---------------------------------------------------------------- chunks: WAV, RF64, AIFF, SVX, CAF, W64


class _Form(NamedTuple):
    """The layout of chunks in a format.

    Attributes:
        ident: Bytes of the chunk identifier.
        size: Struct format of the size field.
        align: Chunks are padded to a multiple of this number of bytes.
        first: Offset of the first chunk.
        sound: Identifiers of the chunk with the audio.
        whole: Whether the size includes the chunk's own header.
    """

    sound: tuple[bytes, ...]
    size: str
    first: int = 12
    ident: int = 4
    align: int = 2
    whole: bool = False


_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_FORMS = {
    b"RIFF": _Form((b"data",), "<I"),
    b"RIFX": _Form((b"data",), ">I"),
    b"RF64": _Form((b"data",), "<I"),
    b"BW64": _Form((b"data",), "<I"),
    b"FORM": _Form((b"SSND", b"BODY"), ">I"),
    b"caff": _Form((b"data",), ">Q", first=8, align=1),
    b"riff": _Form((_W64_DATA,), "<Q", first=40, ident=16, align=8, whole=True),
}


def _chunked(container: Container, start: int) -> Container:
    """Read chunk headers up to the audio chunk, and check the end of the audio."""
    encoded, form = container.encoded, _FORMS[container.encoded[start : start + 4]]
    header = form.ident + struct.calcsize(form.size)
    at, large = start + form.first, 0
    for _ in range(_PARTS):
        if at + header > len(encoded):
            break
        ident, field = encoded[at : at + form.ident], at + form.ident
        size = struct.unpack_from(form.size, encoded, field)[0] - (header if form.whole else 0)
        at += header
        if ident == b"ds64" and at + 16 <= len(encoded):
            large = struct.unpack_from("<Q", encoded, at + 8)[0]
        if ident in form.sound:
            if large and size == 0xFFFFFFFF:
                size = large
            elif _unknown(form, size, encoded, at):
                return _streamed(container, form, field, at)
            if at + size - len(encoded) in (
                8,
                at - start - 8,
                at - start,
            ):  # a known mistake of some programs: the size includes the header, or part of it
                size = len(encoded) - at
            return _behind(_check_chunk_end(container, at + size), form, at + size, start)
        at += max(size, 0)
        at += -(at - start) % form.align
    return replace(container, fault=f"is cut short: the {container.name} file ends before its sound begins")


def _unknown(form: _Form, size: int, encoded: bytes, at: int) -> bool:
    """Whether a size field means "unknown": 0, or for 32 bits 0x7F000000 and more (sox, arecord, ffmpeg) in a smaller
    file. A file without audio also has a size of 0; then other chunks or nothing follow."""
    if size <= 0:
        return at < len(encoded) and not _is_chunk(form, encoded, at)
    endless = 0x7F000000 if form.size.endswith("I") else 1 << 62
    return size >= endless and at + size > len(encoded)


def _streamed(container: Container, form: _Form, field: int, at: int) -> Container:
    """The audio goes on to the end of the file: write the real size into the header."""
    rest = len(container.encoded) - at
    size = struct.pack(form.size, rest + (at - field + form.ident if form.whole else 0))
    return replace(container, encoded=_overwritten(container.encoded, field, size), promised=False)


def _overwritten(encoded: bytes, at: int, field: bytes) -> bytes:
    return encoded[:at] + field + encoded[at + len(field) :]


def _check_chunk_end(container: Container, end: int) -> Container:
    there = len(container.encoded)
    fault = _short(f"the {container.name} header", end, there) if end > there else ""
    return replace(container, fault=fault, promised=True)


def _behind(container: Container, form: _Form, end: int, start: int) -> Container:
    """Check the bytes after the audio chunk: other chunks may follow; anything else is audio that the header does not
    count. Some programs forget the padding."""
    at = end
    for _ in range(_PARTS):
        padded = at + -(at - start) % form.align
        at = padded if _is_chunk(form, container.encoded, padded) else at
        if not _is_chunk(form, container.encoded, at):
            break
        header = form.ident + struct.calcsize(form.size)
        size = struct.unpack_from(form.size, container.encoded, at + form.ident)[0]
        at += max(size, header) if form.whole else header + size
    return container if container.fault else _check_end(container, min(at, len(container.encoded)))


def _is_chunk(form: _Form, encoded: bytes, at: int) -> bool:
    """Whether a chunk begins here: four printable letters that do not begin another file, and a size that fits."""
    if at + form.ident + struct.calcsize(form.size) > len(encoded):
        return False
    ident, size = encoded[at : at + 4], struct.unpack_from(form.size, encoded, at + form.ident)[0]
    printable = all(0x20 <= byte < 0x7F for byte in ident)
    return printable and ident not in _FORMS and at + size <= len(encoded)


def _avi(container: Container, start: int) -> Container:
    size = struct.unpack_from("<I", container.encoded, start + 4)[0]
    if size in (0, 0xFFFFFFFF):
        return replace(container, promised=False)
    end = start + 8 + size
    fault = _short("the AVI header", end, len(container.encoded)) if end > len(container.encoded) + 1 else ""
    return replace(container, fault=fault)


# ---------------------------------------------------------------- a header with a size: AU, SPHERE, VOC, MAT, ...


def _au(container: Container, start: int) -> Container:
    order = ">" if container.encoded[start : start + 1] == b"." else "<"
    at, size = _fields(container, f"{order}II", start + 4)
    at += start
    if size == 0xFFFFFFFF or (size == 0 and at < len(container.encoded)):
        rest = struct.pack(f"{order}I", max(0, len(container.encoded) - at))
        return replace(container, encoded=_overwritten(container.encoded, start + 8, rest), promised=False)
    return _check_end(container, at + size)


def _sphere(container: Container, start: int) -> Container:
    """SPHERE has a text header: its length on the second line, then `name -i number`. Audio packed by shorten has no size."""
    head = container.encoded[start : start + 65_536].split(b"end_head", 1)[0]
    counts = {k: int(v) for k, v in re.findall(rb"^(\w+) -i (\d{1,12})\s*$", head, re.MULTILINE)}
    length = re.match(rb"NIST_1A\r?\n\s*(\d{1,6})\s", head)
    needed = [counts.get(name) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    if length is None or None in needed[:1] or re.search(rb"^sample_coding .*shorten", head, re.MULTILINE):
        return container
    count, channels, width = (n or 1 for n in needed)
    return _check_end(container, start + int(length[1]) + count * channels * width)


def _voc(container: Container, start: int) -> Container:
    """VOC has blocks of a type, a length of three bytes and content, up to a block of type 0. libsndfile decodes the
    headers of all blocks but the first as audio."""
    encoded, at, sounds = container.encoded, start + _fields(container, "<H", start + 20)[0], 0
    for _ in range(_PARTS):
        if at + 4 > len(encoded):
            break
        kind, size = encoded[at], int.from_bytes(encoded[at + 1 : at + 4], "little")
        if kind == 0:
            break
        sounds += kind in (1, 2, 9)
        at += 4 + size
    container = replace(container, decoder=FFMPEG if sounds > 1 else container.decoder)
    if at > len(encoded):
        return _check_end(container, at)
    return (
        _check_end(container, at + 1) if encoded[at : at + 1] == b"\0" else container
    )  # whether a last block is missing cannot be detected


def _mat4(container: Container, start: int) -> Container:
    """MATLAB 4 has matrices: type, rows, columns, imaginary flag, length of the name; the name; the values."""
    widths = (8, 4, 4, 2, 2, 1)
    order, at, encoded = "<" if container.encoded[start + 2] == 0 else ">", start, container.encoded
    for _ in range(_PARTS):
        if at + 20 > len(encoded):
            break
        kind, rows, columns, imaginary, name = struct.unpack_from(f"{order}5I", encoded, at)
        width = widths[min(kind // 10 % 10, 5)]
        at += 20 + name + rows * columns * width * (2 if imaginary else 1)
    return _check_end(container, at)


def _mat5(container: Container, start: int) -> Container:
    """MATLAB 5 has a header of 128 bytes, then elements of type, size and content. A matrix is an element with four
    elements in it: flags, dimensions, name and values. libsndfile writes a total size that is 8 too large."""
    order = "<" if container.encoded[start + 126 : start + 128] == b"IM" else ">"
    at, end = start + 128, 0
    for _ in range(_PARTS):
        if at + 8 > len(container.encoded):
            break
        kind, size = _fields(container, f"{order}II", at)
        end, inner = at + 8 + size, at + 8
        for _part in range(4 if kind == 14 else 0):
            small, length = _fields(container, f"{order}II", inner)
            end = inner + 8 + (0 if small >> 16 else length)  # a small element stores its content in its header
            inner = end + -end % 8
        at += 8 + size
    return _check_end(container, end)


def _avr(container: Container, start: int) -> Container:
    """Audio Visual Research: stereo flag at byte 12, bits at 14, frames at 26; the sound begins at 128."""
    stereo, bits = _fields(container, ">HH", start + 12)
    return _check_end(
        container, start + 128 + _fields(container, ">I", start + 26)[0] * (bits // 8) * (2 if stereo else 1)
    )


def _mpc2k(container: Container, start: int) -> Container:
    """Akai MPC 2000: stereo flag at byte 21, frames of 16 bits at 30; the sound begins at 42."""
    (stereo,), (frames,) = _fields(container, "<B", start + 21), _fields(container, "<I", start + 30)
    return _check_end(container, start + 42 + frames * 2 * (2 if stereo else 1))


def _wve(container: Container, start: int) -> Container:
    """Psion: bytes of A-law at 18; the sound begins at 32."""
    return _check_end(container, start + 32 + _fields(container, ">I", start + 18)[0])


def _no_clip(container: Container, _: int) -> Container:
    """Sampler files have no sampling rate, and libsndfile prints every block of a damaged one to the program's output."""
    return replace(container, fault=f"is a sampler file ({container.name}), which is not supported: save it as WAV")


def _fields(container: Container, form: str, at: int) -> tuple[int, ...]:
    """Numbers from a header; zeros if the file ends before them."""
    size = struct.calcsize(form)
    return struct.unpack(form, container.encoded[at : at + size].ljust(size, b"\0"))


# ---------------------------------------------------------------- FLAC, Ogg, MP4


def _flac(container: Container, start: int) -> Container:
    """The first block has 36 bits for the number of samples, 0 if the encoder did not know it; libsndfile then reports the
    largest 64-bit number. Whether all samples are there is checked by decoding."""
    unknown = not int.from_bytes(container.encoded[start + 18 : start + 26], "big") & (1 << 36) - 1
    return replace(container, decoder=FFMPEG, promised=False) if unknown else container


_OGG_END_OF_STREAM = 0x04  # header_type bit of the last page, RFC 3533 section 6


def _ogg(container: Container, _: int) -> Container:
    """Find the last Ogg page: it must be complete and have the end-of-stream flag."""
    encoded = container.encoded
    start = encoded.rfind(b"OggS")
    while start > 0 and not _page_fits(encoded, start):
        if _page_plausible(encoded, start):
            return replace(container, fault="is cut short: the last Ogg page is incomplete")
        start = encoded.rfind(b"OggS", 0, start)  # these four letters were inside a packet
    if start + 6 > len(encoded) or not encoded[start + 5] & _OGG_END_OF_STREAM:
        return replace(container, fault="is cut short: the Ogg stream has no last page")
    return container


def _page_plausible(encoded: bytes, start: int) -> bool:
    return start + 5 >= len(encoded) or (encoded[start + 4] == 0 and encoded[start + 5] < 8)


def _page_fits(encoded: bytes, start: int) -> bool:
    """Whether a complete page (header, lacing table and packets) begins at `start`."""
    if start + 27 > len(encoded) or not _page_plausible(encoded, start):
        return False
    segments = encoded[start + 26]
    table = encoded[start + 27 : start + 27 + segments]
    return len(table) == segments and start + 27 + segments + sum(table) <= len(encoded)


def _mp4(container: Container, start: int) -> Container:
    """Read boxes of a size and a type. The number of boxes in a fragmented file is not known, unless an index (mfra) ends
    it."""
    encoded, at, kinds = container.encoded, start, set()
    for _ in range(_PARTS):
        if at + 8 > len(encoded):
            break
        size, kind = struct.unpack_from(">I4s", encoded, at)
        kinds.add(kind)
        if size == 1 and at + 16 <= len(encoded):
            size = struct.unpack_from(">Q", encoded, at + 8)[0]
        if size < 8:  # size 0 means up to the end of the file
            break
        at += size
    if at > len(encoded):
        return replace(container, fault=_short("the MP4 header", at, len(encoded)))
    return replace(container, promised=b"moof" not in kinds or b"mfra" in kinds)


_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _asf(container: Container, start: int) -> Container:
    """The size of the file is 40 bytes after the identifier of the file properties; it is 0 in a broadcast."""
    at = container.encoded.find(_ASF_PROPERTIES, start, start + 65_536)
    size = _fields(container, "<Q", at + 40)[0] if at >= 0 else 0
    if size > len(container.encoded):
        return replace(container, fault=_short("the ASF header", size, len(container.encoded)))
    return replace(container, promised=size > 0)


# ---------------------------------------------------------------- MPEG audio

_RATES = (44_100, 48_000, 32_000)  # Hz in MPEG 1; half of it in MPEG 2, a quarter in MPEG 2.5
_BITRATES = {  # (MPEG 1, layer) -> kbit/s by index
    (True, 1): tuple(range(0, 449, 32)),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _frame(encoded: bytes, at: int) -> int:
    """Length in bytes of the MPEG frame whose header (4 bytes) is here; 0 if there is no frame, or it does not give its
    length."""
    if at + 4 > len(encoded) or encoded[at] != 0xFF or encoded[at + 1] & 0xE0 != 0xE0:
        return 0
    version, layer = encoded[at + 1] >> 3 & 3, 4 - (encoded[at + 1] >> 1 & 3)
    index, rate, padding = encoded[at + 2] >> 4, encoded[at + 2] >> 2 & 3, encoded[at + 2] >> 1 & 1
    if version == 1 or layer == 4 or index in (0, 15) or rate == 3:
        return 0
    bits = 1000 * _BITRATES[version == 3, layer if version == 3 else min(layer, 2)][index]
    hertz = _RATES[rate] >> (0, 0, 1, 0)[version] >> (2 if version == 0 else 0)
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding


_IN_A_ROW = 3  # frames; fewer would match raw audio by chance, in which libmpg123 then searches for frames


def _is_mpeg(encoded: bytes, start: int) -> bool:
    """Whether frames of one version, layer and rate follow each other here: three, or all up to the end of the file."""

    def of(place: int) -> list[int]:
        return [byte & mask for byte, mask in zip(encoded[place : place + 3], b"\xff\xfe\x0c", strict=False)]

    at = start
    for _ in range(_IN_A_ROW):
        size = _frame(encoded, at) if of(at) == of(start) else 0
        if not size:
            return at > start and _harmless(encoded[at:])
        at += size
    return True


def _first_frame(encoded: bytes, start: int) -> int:
    """Offset of the first MPEG frame that other frames follow, near `start`; 0 if there is none."""
    near = re.compile(rb"\xff[\xe2-\xff]").finditer(encoded, start, start + _FAR)
    return next((match.start() for match in near if _is_mpeg(encoded, match.start())), 0)


def _mpeg(container: Container, start: int) -> Container:
    """Check an MP3 by the count that most encoders write in the first frame (Xing, Info or VBRI), and by its last frame."""
    encoded = container.encoded
    if not _is_mpeg(encoded, start):
        return replace(container, fault=UNKNOWN)
    frames, size = _counted(encoded, start)
    if size and size * (1 - SLACK) > len(encoded) - start:
        return replace(container, fault=_short("the MP3 header", start + size, len(encoded)))
    at, count = start, 0
    while count < _PARTS and (length := _frame(encoded, at)):
        if at + length > len(encoded):
            return replace(container, fault="is cut short: the last MPEG frame is incomplete")
        at, count = at + length, count + 1
    if frames and count < frames * (1 - SLACK) and _harmless(encoded[at:]):
        return replace(container, fault=f"is cut short: the MP3 header promises {frames} frames, the file has {count}")
    return replace(
        container, encoded=encoded[start:], promised=bool(size or frames)
    )  # libsndfile does not skip padding


def _counted(encoded: bytes, start: int) -> tuple[int, int]:
    """(frames, bytes) that the first frame promises; 0 for each that it does not give.

    The Xing or Info header follows the side information, whose length depends on version and channels, and has flags
    for the counts that it contains. The VBRI header is 32 bytes after the frame header.
    """
    old, mono = encoded[start + 1] >> 3 & 3 == 3, encoded[start + 3] >> 6 == 3
    at = start + 4 + ((17 if mono else 32) if old else (9 if mono else 17))
    for tag in (at, at + 2):  # a checksum of two bytes may come first
        if encoded[tag : tag + 4] in (b"Xing", b"Info") and len(encoded) >= tag + 16:
            flags, first, second = struct.unpack_from(">3I", encoded, tag + 4)
            frames = first if flags & 1 else 0
            return frames, (second if frames else first) if flags & 2 else 0
    if encoded[start + 36 : start + 40] == b"VBRI" and len(encoded) >= start + 54:
        size, frames = struct.unpack_from(">2I", encoded, start + 46)
        return frames, size
    return 0, 0


# ---------------------------------------------------------------- by the first bytes

_STAND_INS = (
    (b"\0\x05\x16\x07", "is a macOS AppleDouble file, not audio. The clip has the same name without ._"),
    (b"version https://git-lfs", "is a Git LFS pointer, not audio. Fetch the clip: `git lfs pull`"),
)
"""Files that are sometimes found in place of clips: their first bytes, and the message."""


class _Kind(NamedTuple):
    pattern: re.Pattern[bytes]
    name: str
    decoder: str
    promised: bool = False
    check: Callable[[Container, int], Container] | None = None


def _kind(pattern: bytes, *rest: object) -> _Kind:
    return _Kind(re.compile(pattern, re.DOTALL), *rest)  # type: ignore[arg-type]


_KINDS = (
    _kind(rb"(RIFF|RIFX)....WAVE", "WAV", EITHER, True, _chunked),
    _kind(rb"(RF64|BW64)....WAVE", "RF64", EITHER, True, _chunked),
    _kind(rb"RIFF....AVI ", "AVI", FFMPEG, True, _avi),
    _kind(rb"OggS", "Ogg", EITHER, True, _ogg),
    _kind(rb"fLaC", "FLAC", SNDFILE, True, _flac),
    _kind(rb"FORM....(AIFF|AIFC)", "AIFF", EITHER, True, _chunked),
    _kind(rb"FORM....(8SVX|16SV)", "SVX", EITHER, True, _chunked),
    _kind(rb"caff", "CAF", EITHER, True, _chunked),
    _kind(rb"riff\x2e\x91\xcf\x11", "W64", EITHER, True, _chunked),
    _kind(rb"\.snd|dns\.", "AU", EITHER, True, _au),
    _kind(rb"NIST_1A", "SPHERE", EITHER, False, _sphere),
    _kind(rb"Creative Voice File\x1a", "VOC", EITHER, False, _voc),
    _kind(rb"MATLAB 5\.0", "MAT5", SNDFILE, False, _mat5),
    _kind(rb"\0\0(\0\0\x01\0\0\0\x01\0\0\0|\x03\xe8\0\0\0\x01\0\0\0\x01)\0\0\0\0", "MAT4", SNDFILE, False, _mat4),
    _kind(rb"2BIT", "AVR", SNDFILE, False, _avr),
    _kind(rb"\x01\x04.{16}", "MPC2K", SNDFILE, False, _mpc2k),
    _kind(rb"ALawSoundFile", "WVE", SNDFILE, False, _wve),
    _kind(rb"\xf0\x7e", "SDS", SNDFILE, False, _no_clip),
    _kind(rb"Extended Instrument: ", "XI", SNDFILE, False, _no_clip),
    _kind(rb"....(ftyp|moov|mdat|wide|free|skip|styp)", "MP4", FFMPEG, True, _mp4),
    _kind(rb"\x1aE\xdf\xa3", "Matroska or WebM", FFMPEG, True),
    _kind(rb"0&\xb2u", "ASF (WMA)", FFMPEG, True, _asf),
    _kind(rb"FLV", "FLV", FFMPEG, True),
    _kind(rb"TTA1", "TTA", FFMPEG, True),
    _kind(rb"wvpk", "WavPack", FFMPEG, True),
    _kind(rb"MAC ", "Monkey's Audio", FFMPEG, True),
    _kind(rb"MP\+|MPCK", "Musepack", FFMPEG, True),
    _kind(rb"tBaK", "TAK", FFMPEG, True),
    _kind(rb"DSD ", "DSF", FFMPEG, True),
    _kind(rb"\.RMF", "RealMedia", FFMPEG, True),
    _kind(rb"#!AMR", "AMR", FFMPEG),
    _kind(rb"\0\0\x01\xba", "MPEG", FFMPEG),
    _kind(rb"G.{187}G", "MPEG-TS", FFMPEG),
    _kind(rb".{4}G.{191}G", "MPEG-TS", FFMPEG),
    _kind(rb"\x0bw.{3}[\0-\x87]", "AC-3", FFMPEG),
    _kind(rb"\x7f\xfe\x80\x01", "DTS", FFMPEG),
    _kind(rb"\xff[\xf0\xf1\xf8\xf9]", "AAC", FFMPEG),
    _kind(rb"V[\xe0-\xff]", "LATM (AAC)", FFMPEG),
    _kind(rb"\xff[\xe2-\xff]", "MP3", SNDFILE, False, _mpeg),
)
