"""Recordings of raters: what is accepted, and what is kept.

The page sends one form alone: WAV, 16 kHz, mono, 16 bit. Other files are refused by their header, before anything is decoded.
"""

from __future__ import annotations

import os
from pathlib import Path

import soundfile

from diva_bench import audio
from diva_bench.audio import containers
from diva_bench.errors import ClipError, StoreError, UserError
from diva_bench.study.spec import Recording
from diva_bench.types import Audio

_HEADER = 4_096  # bytes of a WAV file besides its samples
_PAGE = "Record with the page of the study."


def largest(rule: Recording) -> int:
    """Bytes of the longest recording."""
    return int(rule.most * audio.RATE) * 2 + _HEADER


def checked(content: bytes, rule: Recording) -> Audio:
    """The sound of a recording.

    Args:
        content: The bytes that were sent.
        rule: Allowed lengths.

    Raises:
        UserError: It is no 16 kHz mono WAV file of 16 bit, too short, too long, damaged or silent.
    """
    container = containers.look(content)
    if container.name != "WAV":
        raise UserError(
            f"the recording is no WAV file ({container.name or container.fault or 'unknown format'}). {_PAGE}"
        )
    try:
        with audio.opened(content) as file:
            form, seconds = (file.samplerate, file.channels, file.subtype), file.frames / max(file.samplerate, 1)
    except (soundfile.SoundFileError, OSError, RuntimeError, ValueError, TypeError) as err:
        raise UserError(f"the recording cannot be read: its WAV header is damaged. {_PAGE}") from err
    if form != (audio.RATE, 1, "PCM_16"):
        raise UserError(
            f"the recording has {form[0]:,} Hz, {form[1]} channels, {form[2]}; allowed: {audio.RATE:,} Hz, 1 channel, "
            f"PCM_16. {_PAGE}"
        )
    if not rule.least <= seconds <= rule.most:
        raise UserError(
            f"the recording is {seconds:.1f} s long; allowed: {rule.least:g} to {rule.most:g} s. Record again."
        )
    try:
        sound = audio.decode(content)
    except ClipError as err:
        raise UserError(f"the recording {err}. Record again.") from err
    if audio.silent(sound):
        raise UserError("the recording is silent. Check the microphone, then record again.")
    return sound


def store(folder: Path, name: str, content: bytes) -> None:
    """Write a recording that only the owner of the process can read. Raises StoreError, and leaves no part of it."""
    path = folder / f"{name}.wav"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as err:
        path.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written ({err.strerror}). Free some space.") from err
