"""Small corpora with the folders, files and columns of the real ones, made of tones and of sentences of our own."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import soundfile

from diva_bench.specs import DataSpec, TaskSpec

MELD_HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
MELD_ROWS = (  # dialogue, utterance, speaker, emotion
    (0, 0, "Mark", "surprise"),
    (0, 1, "Rachel", "anger"),
    (1, 0, "Ross", "neutral"),
    (38, 4, "Joey", "neutral"),
)
MUSTARD_ROWS = {  # id: show, speaker, sarcasm
    "1_60": ("BBT", "SHELDON", True),
    "1_70": ("BBT", "PERSON", False),
    "2_12": ("FRIENDS", "PERSON", False),
    "2_13": ("FRIENDS", "CHANDLER", True),
}
IEMOCAP_TURNS = (  # dialogue, who and number, emotion
    ("Ses01F_impro01", "F000", "neu"),
    ("Ses01F_impro01", "M000", "fru"),
    ("Ses01F_impro01", "F001", "ang"),
    ("Ses01M_script02_1", "M000", "exc"),
    ("Ses05F_impro03", "F000", "hap"),
    ("Ses05F_impro03", "M000", "sad"),
    ("Ses05F_impro03", "M001", "xxx"),
)


def task(source: str, reference: str = "label", choices: Iterable[str] | None = None, **data: object) -> TaskSpec:
    """A task whose data are read by the reader `source`."""
    return TaskSpec(
        name=source,
        task=source,
        subset=None,
        edition="full",
        version=1,
        description="a test",
        citation="",
        licence="",
        suites=(),
        prompt="What is it?",
        system=None,
        choices=tuple(choices) if choices else None,
        synonyms={},
        decode={},  # type: ignore[arg-type]
        reference=reference,
        groups=(),
        scorers={},
        primary="accuracy",
        fields={},
        data=DataSpec.model_validate({"source": source, "rows": 1, **data}),
        home=Path(),
    )


def tone(seconds: float = 0.3, pitch: float = 200.0) -> bytes:
    """A WAV file of 16 kHz."""
    out = io.BytesIO()
    wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * 16_000)) / 16_000)
    soundfile.write(out, wave.astype(np.float32), 16_000, format="WAV", subtype="PCM_16")
    return out.getvalue()


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def iemocap(folder: Path, turns: Iterable[tuple[str, str, str]] = IEMOCAP_TURNS, sound: bool = True) -> Path:
    """IEMOCAP_full_release: sentences/wav, dialog/transcriptions, dialog/EmoEvaluation, with its other files beside."""
    dialogues: dict[str, list[tuple[str, str]]] = {}
    for dialogue, who, emotion in turns:
        dialogues.setdefault(dialogue, []).append((f"{dialogue}_{who}", emotion))
    for dialogue, utterances in dialogues.items():
        session = folder / f"Session{dialogue[4]}"
        sheet, script = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"], []
        for i, (ident, emotion) in enumerate(utterances):
            times = f"[{i}.2901 - {i + 1}.2357]"
            sheet.append(f"{times}\t{ident}\t{emotion}\t[2.5000, 2.5000, 2.5000]\n")
            sheet.append("C-E2:\tNeutral;\t()\nC-F1:\tAnger; Neutral;\t(curious)\nA-E3:\tval 3; act 2; dom  2;\t()\n")
            script.append(f"{ident} [00{i}.2901-00{i + 1}.2357]: This is {ident}.\n")
            if sound:
                put(session / "sentences" / "wav" / dialogue / f"{ident}.wav", tone(0.2 + 0.01 * i))
        evaluation = session / "dialog" / "EmoEvaluation"
        put(evaluation / f"{dialogue}.txt", "\n".join(sheet))
        put(evaluation / f"._{dialogue}.txt", b"\x00\x05\x16\x07")  # what macOS left in the real release
        put(evaluation / "Categorical" / f"{dialogue}_e1_cat.txt", f"{utterances[0][0]} :Neutral; ()\n")
        put(session / "dialog" / "transcriptions" / f"{dialogue}.txt", "".join(["M: [BREATHING]\n", *script]))
        put(session / "dialog" / "wav" / f"{dialogue}.wav", tone())
    return folder


def meld(folder: Path, rows: Iterable[tuple[int, int, str, str]] = MELD_ROWS, sound: str = "wav") -> Path:
    """MELD.Raw, its test split; `sound`: suffix of the clips, "" for the table alone, "tar.gz" for the owners' archive."""
    rows = list(rows)
    lines = [
        f'{i},"Well, it\u0092s {d} and {u}.",{who},{emotion},neutral,{d},{u},3,19,"00:14:38,127","00:14:40,378"\n'
        for i, (d, u, who, emotion) in enumerate(rows, start=1)
    ]
    put(folder / "test_sent_emo.csv", MELD_HEADER + "".join(lines))
    names = [f"output_repeated_splits_test/dia{d}_utt{u}" for d, u, *_ in rows]
    names.append("output_repeated_splits_test/final_videos_testdia0_utt0")
    if sound == "tar.gz":
        with tarfile.open(folder / "test.tar.gz", "w:gz") as archive:
            for name in names:
                add_to_tar(archive, f"{name}.wav", tone())
    elif sound:
        for name in names:
            put(folder / f"{name}.{sound}", tone())
        put(folder / "output_repeated_splits_test" / "._dia0_utt0.wav", b"\x00\x05\x16\x07")
        put(folder / "train_splits" / "dia0_utt0.wav", tone(0.5))  # the same name as in test
    return folder


def mustard(folder: Path, rows: Mapping[str, tuple[str, str, bool]] = MUSTARD_ROWS, sound: str = "wav") -> Path:
    """sarcasm_data.json and utterances_final/; `sound`: "wav", "zip" for the owners' archive, "" for the labels alone."""
    table = {
        ident: {
            "utterance": f"This is {ident}.",
            "speaker": speaker,
            "context": ["Before."],
            "context_speakers": ["SOMEBODY"],
            "show": show,
            "sarcasm": sarcasm,
        }
        for ident, (show, speaker, sarcasm) in rows.items()
    }
    put(folder / "sarcasm_data.json", json.dumps(table, indent=4))
    files = {f"utterances_final/{ident}.wav": tone() for ident in rows}
    files |= {f"context_final/{ident}_c.wav": tone(0.5) for ident in rows}
    put_files(folder, files, "mmsd_raw_data.zip" if sound == "zip" else "") if sound else None
    return folder


def urfunny(folder: Path, count: int = 6, sound: str = "wav") -> Path:
    """data_folds, humor_label_sdk and language_sdk pickles and the videos; ids are numbers, odd ones are funny."""
    folds = {"train": list(range(count - 1, 0, -1)), "dev": [100], "test": list(range(200, 200 + count))}
    ids = [ident for fold in folds.values() for ident in fold]
    put(folder / "data_folds.pkl", pickle.dumps(folds))
    put(folder / "humor_label_sdk.pkl", pickle.dumps({ident: ident % 2 for ident in ids}))
    language = {
        ident: {
            "punchline_embedding_indexes": [1, 2],
            "context_embedding_indexes": [[3], [4]],
            "punchline_sentence": f"and that is {ident}",
            "context_sentences": ["first this", "then that"],
            "punchline_intervals": np.array([[2.0, 2.2], [2.2, 2.5]]),
            "context_intervals": [[[0.0, 0.5]], [[0.5, 1.0]]],
        }
        for ident in ids
    }
    put(folder / "language_sdk.pkl", pickle.dumps(language, protocol=2))
    files = {f"urfunny2_videos/{ident}.wav": tone(0.2 + ident / 1000) for ident in ids}
    put_files(folder, files, "urfunny2_videos.zip" if sound == "zip" else "") if sound else None
    return folder


def put_files(folder: Path, files: Mapping[str, bytes], archive: str = "") -> None:
    """Files in a folder, or as members of a zip there."""
    if not archive:
        for name, content in files.items():
            put(folder / name, content)
        return
    with zipfile.ZipFile(folder / archive, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(name, content)


def add_to_tar(archive: tarfile.TarFile, name: str, content: bytes, **changes: object) -> None:
    """A member with `changes` to what tar would say of it (type, linkname, size)."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(content))
