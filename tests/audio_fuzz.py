"""Damaged clips for decoders: `python audio_fuzz.py SEED SECONDS` decodes as many as fit into the time, each made from a clip
of one container, and prints a line for each that ended in anything but sound or a ClipError.

In a process of its own, so that a decoder that crashes, hangs or takes all memory fails a test and does not end it.
"""

from __future__ import annotations

import random
import re
import resource
import struct
import sys
import time
from collections.abc import Callable

import numpy as np
from sound_files import by_ffmpeg, by_libsndfile, tone, written

from diva_bench import audio
from diva_bench.errors import ClipError

MEMORY = 3 << 30  # bytes of addresses: the libraries take one of them
SLOWEST = 20.0  # seconds for one clip of one second

Mutation = Callable[[random.Random, bytearray], bytearray]


def cut(rng: random.Random, clip: bytearray) -> bytearray:
    return clip[: rng.randrange(len(clip))]


def flip(rng: random.Random, clip: bytearray) -> bytearray:
    for _ in range(rng.choice((1, 4, 32))):
        clip[rng.randrange(len(clip))] ^= 1 << rng.randrange(8)
    return clip


def header(rng: random.Random, clip: bytearray) -> bytearray:
    """A number of the header, or of what looks like one, becomes one that nobody expects."""
    at = rng.randrange(min(len(clip), rng.choice((64, 512))))
    form, most = rng.choice((("<I", 32), (">I", 32), ("<H", 16), (">H", 16), ("B", 8), ("<Q", 64), (">Q", 64)))
    number = rng.choice((0, 1, 2**most - 1, 2 ** (most - 1), 2 ** (most - 1) - 1, rng.getrandbits(most)))
    content = struct.pack(form, number)
    return clip[:at] + content + clip[at + len(content) :]


def lose(rng: random.Random, clip: bytearray) -> bytearray:
    at = rng.randrange(len(clip))
    return clip[:at] + clip[at + rng.choice((1, 8, 512)) :]


def repeat(rng: random.Random, clip: bytearray) -> bytearray:
    start = rng.randrange(len(clip))
    piece = clip[start : start + rng.choice((4, 64, 2048))]
    at = rng.randrange(len(clip))
    return clip[:at] + piece * rng.choice((1, 2, 100)) + clip[at:]


def tag(rng: random.Random, clip: bytearray) -> bytearray:
    return bytearray(b"ID3\x03\0\0" + rng.randbytes(4) + rng.randbytes(rng.choice((0, 10, 300)))) + clip


def noise(rng: random.Random, clip: bytearray) -> bytearray:
    return clip[: rng.choice((4, 12, 44))] + rng.randbytes(rng.choice((0, 20, 4000)))


MUTATIONS: tuple[Mutation, ...] = (cut, flip, header, header, header, lose, repeat, tag, noise)


def damaged(rng: random.Random, clips: dict[str, bytes]) -> tuple[str, bytes]:
    """(what it is made from and how, the clip)."""
    name = rng.choice(list(clips))
    clip, how = bytearray(clips[name]), []
    for _ in range(rng.choice((1, 1, 2, 3))):
        mutation = rng.choice(MUTATIONS)
        how.append(mutation.__name__)
        clip = mutation(rng, clip) or bytearray(b"\0")
    return f"{name} {'+'.join(how)}", bytes(clip)


def wrong(clip: bytes) -> str:
    """What is wrong with how a clip is decoded, "" where nothing is."""
    began = time.monotonic()
    try:
        sound, rate = audio.read(clip)
    except ClipError as err:
        if err.passing:
            return f"said to pass: {err}"
        if not str(err) or "\n" in str(err) or re.search("0x[0-9a-f]{7}", str(err)):
            return f"no line for people: {str(err)!r}"
    except Exception as err:
        return f"{type(err).__name__}: {err}"
    else:
        if not len(sound.samples) or not np.isfinite(sound.samples).all() or rate <= 0:
            return f"no sound: {len(sound.samples)} samples at {rate} Hz"
    took = time.monotonic() - began
    return f"took {took:.1f} s" if took > SLOWEST else ""


def main(seed: int, seconds: float) -> int:
    """Prints what is wrong, and at last how many were decoded; 1 where anything is wrong."""
    sound = tone(0.25)
    clips = {f"{form}/{coding}": written(sound, format=form, subtype=coding) for form, coding in by_libsndfile()}
    foreign = by_ffmpeg()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    ends, count, found = time.monotonic() + seconds, 0, 0
    while time.monotonic() < ends:
        rng = random.Random(f"{seed}:{count}")
        what, clip = damaged(rng, foreign if count % 40 == 0 else clips)  # ffmpeg takes forty times as long
        if said := wrong(clip):
            print(f"{seed}:{count} {what}: {said}", flush=True)
            found += 1
        count += 1
    print(f"decoded {count}")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
