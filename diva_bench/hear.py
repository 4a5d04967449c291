"""Clips of one's own, without references: what a model hears in each, and what it answers."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diva_bench import audio
from diva_bench.errors import ClipError, UserError
from diva_bench.generate import generate
from diva_bench.printable import csv_cell
from diva_bench.readers.audiofolder import SUFFIXES
from diva_bench.types import Adapter, Progress, Request, Response

_BATCH = 8  # clips asked together


@dataclass(frozen=True, slots=True)
class Reply:
    """What one model made of one clip.

    `clip`: its file as it was named. `seconds`: its length, 0 where it cannot be decoded. `took`: wall time of the answer
    in seconds, an equal share of its batch; None where there is no answer. `response`: its status and text; `heard` is
    None for a model that writes no transcript on its way.
    """

    clip: str
    model: str
    seconds: float
    took: float | None
    response: Response


def files(given: Sequence[Path]) -> list[Path]:
    """The clips: files as they are named, and of folders every audio file in and below them, by name.

    Raises UserError where a path does not exist, or a folder has no audio file.
    """
    found: list[Path] = []
    for path in given:
        if not path.exists():
            raise UserError(f"{path}: there is no such file or folder. Give audio files, or folders of them.")
        inside = [path] if not path.is_dir() else sorted(p for p in path.rglob("*") if _is_clip(p))
        if not inside:
            raise UserError(f"{path}: has no audio file (looked for {', '.join(SUFFIXES)}, also in its folders).")
        found += inside
    return list(dict.fromkeys(found))


def _is_clip(path: Path) -> bool:
    hidden = path.name.startswith(".")  # AppleDouble files are called ._clip.wav
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def requests(
    clips: Sequence[Path], prompt: str, system: str | None, max_new_tokens: int
) -> tuple[list[Request], list[Response]]:
    """(what a model is asked, errors of clips that cannot be decoded); ids are the paths."""
    asked: list[Request] = []
    faults: list[Response] = []
    for path in clips:
        try:
            if not path.is_file():
                raise ClipError("is not a regular file")
            sound = audio.decode(path.read_bytes())
        except (OSError, ClipError) as err:
            faults.append(Response(str(path), status="error", detail=str(err)))
            continue
        asked.append(Request(str(path), prompt, audio=sound, system=system, max_new_tokens=max_new_tokens))
    return asked, faults


def replies(adapter: Adapter, model: str, asked: Sequence[Request], progress: Progress) -> Iterator[Reply]:
    """Answers in the order of `asked`, as they come. Raises UserError where the model does not take audio."""
    if "audio" not in adapter.accepts:
        takes = ", ".join(sorted(adapter.accepts)) or "nothing"
        raise UserError(
            f"model {model} does not take audio (it takes {takes}). Choose one that does: -m diva, -m cascade."
        )
    with progress.bar(f"hear x {model}", len(asked), "clips") as bar:
        for start in range(0, len(asked), _BATCH):
            part = asked[start : start + _BATCH]
            began = time.perf_counter()
            answers = generate(adapter, part, model)
            took = (time.perf_counter() - began) / len(part)
            for request, response in zip(part, answers, strict=True):
                assert request.audio is not None
                answered = None if response.status == "error" else took
                yield Reply(request.id, model, request.audio.seconds, answered, response)
            bar.advance(len(part))


def write_csv(target: Path, rows: Sequence[Reply]) -> None:
    """One line a reply: clip, model, seconds, heard, answer, status, detail, took. Raises UserError where it cannot be
    written."""
    names = ["clip", "model", "seconds", "heard", "answer", "status", "detail", "took"]
    aside = target.with_name(f".{target.name}.part")
    try:
        with aside.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(names)
            for row in rows:
                one = row.response
                texts = [csv_cell(t) for t in (one.heard or "", one.text, one.status, one.detail)]
                took = "" if row.took is None else f"{row.took:.3f}"
                writer.writerow([csv_cell(row.clip), row.model, f"{row.seconds:.3f}", *texts, took])
        aside.replace(target)
    except OSError as err:
        aside.unlink(missing_ok=True)
        raise UserError(f"{target}: cannot be written ({err.strerror}). Choose another file with --csv.") from err


def record(seconds: float, target: Path, progress: Progress) -> Path:
    """Record the default microphone into a WAV file, 16 kHz mono.

    Raises UserError where the package sounddevice is not installed, or there is no microphone.
    """
    import soundfile

    try:
        import sounddevice
    except ImportError as err:
        raise UserError("--record needs the package sounddevice: pip install 'diva-bench[record]'.") from err
    except OSError as err:  # the package is there, the system's PortAudio is not
        raise UserError(f"--record needs the library PortAudio ({err}): apt install libportaudio2.") from err
    frames = round(seconds * audio.RATE)
    try:
        progress.note(f"recording {seconds:g} s: speak now")
        sound = sounddevice.rec(frames, samplerate=audio.RATE, channels=1, dtype="float32", blocking=True)
    except sounddevice.PortAudioError as err:
        raise UserError(f"--record: no microphone can be used ({err}). Give an audio file instead.") from err
    soundfile.write(target, sound, audio.RATE)
    return target


def failed(faults: Sequence[Response], model: str) -> list[Reply]:
    """Clips that cannot be decoded, as replies."""
    return [Reply(one.id, model, 0.0, None, replace(one)) for one in faults]
