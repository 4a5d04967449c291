"""The same five clips, words and speakers in every form that people have: three clips of 16 kHz, of which two are parts of
one recording where the form knows parts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import soundfile

WORDS = ["one apple", "two pears", "three plums", "four figs", "five dates"]
SPEAKERS = ["anna", "ben", "anna", "ben", "carl"]
RATE = 16_000


def tone(number: int, seconds: float = 0.3) -> np.ndarray:
    """Samples of int16: exact in every form."""
    wave = 0.3 * np.sin(2 * np.pi * (200 + 50 * number) * np.arange(int(seconds * RATE)) / RATE)
    return (wave * 32767).astype(np.int16)


def clips(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(WORDS)):
        soundfile.write(folder / f"{number}.wav", tone(number), RATE, subtype="PCM_16")


def recording(file: Path) -> None:
    """All clips one after the other, a second apart, in the second of two channels; noise in the first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    sound = np.zeros((RATE * len(WORDS), 2), np.int16)
    sound[:, 0] = 1000
    for number in range(len(WORDS)):
        sound[number * RATE : number * RATE + len(tone(number)), 1] = tone(number)
    soundfile.write(file, sound, RATE, subtype="PCM_16")


def lines(file: Path, rows: list[dict[str, object]], packed: bool = False) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file.write_bytes(gzip.compress(text) if packed else text)
    return file


def rows(**columns: Callable[[int], object]) -> list[dict[str, object]]:
    return [{name: of(i) for name, of in columns.items()} for i in range(len(WORDS))]


def csv(folder: Path) -> Path:
    clips(folder / "wav")
    table = ["id,audio,text,speaker", *(f"c{i},wav/{i}.wav,{w},{SPEAKERS[i]}" for i, w in enumerate(WORDS))]
    (folder / "list.csv").write_text("\n".join(table) + "\n")
    return folder / "list.csv"


def jsonl(folder: Path) -> Path:
    clips(folder / "wav")
    return lines(
        folder / "list.jsonl",
        rows(
            id=lambda i: f"c{i}", audio=lambda i: f"wav/{i}.wav", text=WORDS.__getitem__, speaker=SPEAKERS.__getitem__
        ),
    )


def audiofolder_csv(folder: Path) -> Path:
    clips(folder / "wav")
    table = ["file_name,transcription,speaker", *(f"wav/{i}.wav,{w},{SPEAKERS[i]}" for i, w in enumerate(WORDS))]
    (folder / "metadata.csv").write_text("\n".join(table) + "\n")
    return folder


def audiofolder_jsonl(folder: Path) -> Path:
    clips(folder / "train")
    lines(
        folder / "train" / "metadata.jsonl",
        rows(file_name=lambda i: f"{i}.wav", text=WORDS.__getitem__, speaker=SPEAKERS.__getitem__),
    )
    return folder


def common_voice(folder: Path) -> Path:
    clips(folder / "clips")
    table = ["client_id\tpath\tsentence", *(f"{SPEAKERS[i]}\t{i}.wav\t{w}" for i, w in enumerate(WORDS))]
    (folder / "train.tsv").write_text("\n".join(table) + "\n")
    return folder


def arrow(folder: Path) -> Path:
    clips(folder / "wav")
    cells = [{"bytes": (folder / "wav" / f"{i}.wav").read_bytes(), "path": None} for i in range(len(WORDS))]
    names = sorted(set(SPEAKERS))
    columns = {"audio": cells, "text": WORDS, "speaker": [names.index(speaker) for speaker in SPEAKERS]}
    kinds = datasets.Features(
        {"audio": datasets.Audio(), "text": datasets.Value("string"), "speaker": datasets.ClassLabel(names=names)}
    )
    # not `from_dict`: it would encode the clips again
    table = datasets.table.InMemoryTable(pyarrow.table(columns, kinds.arrow_schema))
    datasets.Dataset(table, info=datasets.DatasetInfo(features=kinds)).save_to_disk(folder / "saved")
    return folder / "saved"


def kaldi(folder: Path) -> Path:
    clips(folder / "wav")
    (folder / "wav.scp").write_text("".join(f"c{i} {folder}/wav/{i}.wav\n" for i in range(len(WORDS))))
    (folder / "text").write_text("".join(f"c{i} {w}\n" for i, w in enumerate(WORDS)))
    (folder / "utt2spk").write_text("".join(f"c{i} {s}\n" for i, s in enumerate(SPEAKERS)))
    return folder


def kaldi_segments(folder: Path) -> Path:
    """Parts of a recording; of its two channels both, as Kaldi would have them."""
    recording(folder / "wav" / "all.wav")
    sound, _ = soundfile.read(folder / "wav" / "all.wav", dtype="int16")
    soundfile.write(folder / "wav" / "all.wav", sound[:, 1], RATE, subtype="PCM_16")
    (folder / "wav.scp").write_text("rec wav/all.wav\n")
    (folder / "segments").write_text("".join(f"c{i} rec {i}.0 {i}.3\n" for i in range(len(WORDS))))
    (folder / "text").write_text("".join(f"c{i}\t{w}\n" for i, w in enumerate(WORDS)))
    (folder / "utt2spk").write_text("".join(f"c{i} {s}\n" for i, s in enumerate(SPEAKERS)))
    return folder


def nemo(folder: Path) -> Path:
    clips(folder / "wav")
    table = rows(audio_filepath=lambda i: f"wav/{i}.wav", duration=lambda i: 0.3, text=WORDS.__getitem__)
    return lines(folder / "manifest.json", [row | {"speaker": s} for row, s in zip(table, SPEAKERS, strict=True)])


def nemo_offsets(folder: Path) -> Path:
    kaldi_segments(folder / "kaldi")
    table = rows(
        audio_filepath=lambda i: "kaldi/wav/all.wav",
        offset=float,
        duration=lambda i: 0.3,
        text=WORDS.__getitem__,
        speaker=SPEAKERS.__getitem__,
    )
    return lines(folder / "manifest.jsonl", table)


def _recording(name: str, channels: list[int]) -> dict[str, object]:
    source = {"type": "file", "channels": channels, "source": name}
    return {"id": "rec", "sources": [source], "sampling_rate": RATE, "num_samples": RATE * 5, "duration": 5.0}


def _supervision(i: int, start: float) -> dict[str, object]:
    said = {"id": f"c{i}", "recording_id": "rec", "start": start, "duration": 0.3, "channel": 1}
    return said | {"text": WORDS[i], "language": "English", "speaker": SPEAKERS[i]}


def lhotse(folder: Path, packed: bool = True) -> Path:
    recording(folder / "all.wav")
    cuts = [
        {"id": f"c{i}", "start": float(i), "duration": 0.3, "channel": 1, "type": "MonoCut"}
        | {"supervisions": [_supervision(i, 0.0)], "recording": _recording("all.wav", [0, 1])}
        for i in range(len(WORDS))
    ]
    return lines(folder / ("cuts.jsonl.gz" if packed else "cuts.jsonl"), cuts, packed)


def lhotse_folder(folder: Path) -> Path:
    recording(folder / "all.wav")
    lines(folder / "x_recordings_test.jsonl.gz", [_recording("all.wav", [0, 1])], packed=True)
    lines(folder / "x_supervisions_test.jsonl.gz", [_supervision(i, float(i)) for i in range(len(WORDS))], packed=True)
    return folder


ALL: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "csv": ("csv", csv),
    "jsonl": ("jsonl", jsonl),
    "AudioFolder, csv": ("audiofolder", audiofolder_csv),
    "AudioFolder, a split, jsonl": ("audiofolder", audiofolder_jsonl),
    "Common Voice": ("common_voice", common_voice),
    "save_to_disk": ("arrow", arrow),
    "Kaldi": ("kaldi", kaldi),
    "Kaldi, segments": ("kaldi", kaldi_segments),
    "NeMo": ("nemo", nemo),
    "NeMo, offsets": ("nemo", nemo_offsets),
    "Lhotse, cuts": ("lhotse", lhotse),
    "Lhotse, folder": ("lhotse", lhotse_folder),
}
"""Name -> (source, what makes it in a folder and says where it is)."""
