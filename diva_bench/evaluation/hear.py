"""Transcripts and answers of models for clips without references."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from diva_bench import audio
from diva_bench.data.readers.audiofolder import SUFFIXES
from diva_bench.decoding.generate import generate
from diva_bench.errors import ClipError, UserError
from diva_bench.tables import Cell, Column, Table
from diva_bench.types import ENGLISH, SPEECH_LANGUAGE, Adapter, Progress, Request, Response


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of one model to one clip.

    Attributes:
        clip: Its file, as it was given.
        model: Name of the model.
        seconds: Length of the clip, 0 if it cannot be decoded.
        took: Wall time of the answer in seconds; None if there is no answer.
        response: Status and text; `heard` is the transcript of a recogniser inside the model, if it has one.
        remarks: What a reader must know about the clip or the answer: a silent clip, an answer cut at the length limit.
    """

    clip: str
    model: str
    seconds: float
    took: float | None
    response: Response
    remarks: tuple[str, ...] = ()


def check_takes_audio(model: str, accepts: Collection[str]) -> None:
    """Raises UserError if a model does not take audio. `accepts`: the inputs of its adapter."""
    if "audio" not in accepts:
        takes = ", ".join(sorted(accepts)) or "nothing"
        raise UserError(
            f"model {model} does not take audio (it takes {takes}). Choose a model that does: -m diva, -m cascade."
        )


def files(paths: Sequence[Path]) -> list[Path]:
    """The clips: files as they are given, and every audio file in and below given folders, sorted by name.

    Raises:
        UserError: A path does not exist, or a folder has no audio file.
    """
    clips: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: there is no such file or folder. Give audio files, or folders of them.")
        inside = [path] if not path.is_dir() else sorted(p for p in path.rglob("*") if _is_clip(p))
        if not inside:
            raise UserError(f"{path}: has no audio file (looked for {', '.join(SUFFIXES)}, also in its folders).")
        clips += inside
    return list(dict.fromkeys(clips))


def _is_clip(path: Path) -> bool:
    hidden = path.name.startswith(".")  # AppleDouble files are called ._clip.wav
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def requests(
    clips: Sequence[Path], prompt: str, system: str | None, max_new_tokens: int, language: str = ENGLISH
) -> tuple[list[Request], list[Response]]:
    """(requests for a model, error responses of clips that cannot be decoded); ids are the paths."""
    fields = {} if language == ENGLISH else {SPEECH_LANGUAGE: language}
    requests_: list[Request] = []
    faults: list[Response] = []
    for path in clips:
        try:
            if not path.is_file():
                raise ClipError("is not a regular file")
            sound = audio.decode(path.read_bytes())
        except (OSError, ClipError) as err:
            faults.append(Response(str(path), status="error", detail=str(err)))
            continue
        made = Request(str(path), prompt, audio=sound, system=system, max_new_tokens=max_new_tokens, fields=fields)
        requests_.append(made)
    return requests_, faults


def replies(
    adapter: Adapter, model: str, requests: Sequence[Request], faults: Sequence[Response], progress: Progress
) -> Iterator[Reply]:
    """A reply to every request, then one for every clip in `faults`.

    Clips are run one at a time, so that each has its own time and no answer depends on other clips.
    """
    with progress.bar(f"hear x {model}", len(requests), "clips") as bar:
        for request in requests:
            assert request.audio is not None
            began = time.perf_counter()
            [response] = generate(adapter, [request], model)
            took = time.perf_counter() - began if response.status == "ok" else None
            yield Reply(request.id, model, request.audio.seconds, took, response, _remarks(request, response))
            bar.advance(1)
    for fault in faults:
        yield Reply(fault.id, model, 0.0, None, fault)


def _remarks(request: Request, response: Response) -> tuple[str, ...]:
    assert request.audio is not None
    silent = ["the clip is silent"] if audio.silent(request.audio) else []
    cut = response.status == "ok" and response.tokens.get("new", 0) >= request.max_new_tokens
    limit = f"the answer was cut at {request.max_new_tokens} tokens (--max-new-tokens)"
    return (*silent, *([limit] if cut else []))


def table(clips: Sequence[Path], rows: Sequence[Reply], prompt: str) -> Table:
    """One row per reply, in the order of `clips`; `seconds` is the length of the clip, `answer_seconds` the wall time."""
    order = {str(path): place for place, path in enumerate(clips)}
    cells: list[list[Cell]] = [
        [
            reply.clip,
            reply.seconds,
            reply.model,
            reply.response.heard,
            reply.response.text if reply.response.status == "ok" else None,
            reply.response.status,
            reply.response.detail,
            "; ".join(reply.remarks),
            reply.took,
        ]
        for reply in sorted(rows, key=lambda reply: order[reply.clip])
    ]
    columns = [
        *(Column("clip"), Column("seconds", digits=2), Column("model"), Column("transcript"), Column("answer")),
        *(Column("status"), Column("detail"), Column("remarks"), Column("answer_seconds", digits=2)),
    ]
    return Table("", columns, cells, [f"prompt: {prompt}"] if prompt else [])


def record(seconds: float, target: Path, progress: Progress) -> Path:
    """Record the default microphone into a WAV file, 16 kHz mono.

    Raises:
        UserError: The package sounddevice is not installed, or there is no microphone.
    """
    import soundfile

    try:
        import sounddevice
    except ImportError as err:
        raise UserError("--record needs the package sounddevice: pip install 'diva-bench[record]'.") from err
    except OSError as err:  # the package is installed, but not PortAudio
        raise UserError(f"--record needs the library PortAudio ({err}): apt install libportaudio2.") from err
    frames = round(seconds * audio.RATE)
    try:
        progress.note(f"recording {seconds:g} s: speak now")
        sound = sounddevice.rec(frames, samplerate=audio.RATE, channels=1, dtype="float32", blocking=True)
    except sounddevice.PortAudioError as err:
        raise UserError(f"--record: no microphone can be used ({err}). Give an audio file instead.") from err
    soundfile.write(target, sound, audio.RATE)
    return target
