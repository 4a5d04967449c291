"""Small copies of FLEURS and of SD-QA in Korean with the files, columns and types of the real ones; sentences of our own,
tones for speech."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow
from corpora import put, tone
from hub_data import AUDIO, table

THAI = (  # number of the sentence, file, as written, normalised, gender
    ("1", "100", "แมวนอนอยู่บนเก้าอี้", "แมวนอนอยู่บนเก้าอี้", "MALE"),
    ("1", "101", "แมวนอนอยู่บนเก้าอี้", "แมวนอนอยู่บนเก้าอี้", "FEMALE"),
    ("2", "102", 'เขาพูดว่า "ฝนตก"', "เขาพูดว่า ฝนตก", "FEMALE"),
    ("9", "103", "เรือลำนี้เก่ามาก", "เรือลำนี้เก่ามาก", "OTHER"),
)
ENGLISH = (  # no sentence 9
    ("2", "201", 'He said "it is raining".', "he said it is raining", "MALE"),
    ("1", "202", "The cat is sleeping on the chair.", "the cat is sleeping on the chair", "FEMALE"),
)
KOREAN = (  # id, words, answers
    ("1049651009612803531", "아일랜드의 수도는 어디인가요?", ["더블린", "아일랜드의 수도는 더블린이다."]),
    ("-2688491513767382857", "누가 이 시를 썼나요?", []),
    ("578028813972370092", "전쟁은 언제 끝났나요?", ["1953년"]),
)
Rows = Sequence[tuple[str, str, str, str, str]]


def _sound(file: str) -> bytes:
    return tone(0.2 + 0.01 * (int(file) % 10), 200 + int(file))


def fleurs(folder: Path, language: str = "th_th", rows: Rows = THAI, unpacked: bool = False) -> Path:
    """data/th_th/test.tsv and audio/test.tar.gz of google/fleurs, or the archive unpacked."""
    base = folder / "data" / language
    lines = [
        "\t".join((number, f"{file}.wav", raw, plain, " ".join(plain), "3200", gender))
        for number, file, raw, plain, gender in rows
    ]
    put(base / "test.tsv", "\n".join(lines) + "\n")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for file in dict.fromkeys(row[1] for row in rows):
            content = _sound(file)
            info = tarfile.TarInfo(f"test/{file}.wav")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
            if unpacked:
                put(base / "audio" / "test" / f"{file}.wav", content)
    if not unpacked:
        put(base / "audio" / "test.tar.gz", packed.getvalue())
    return folder


def fleurs_parquet(folder: Path, language: str = "th_th", rows: Rows = THAI) -> Path:
    """th_th/test/0000.parquet and 0001.parquet, as the hub makes them of the owners' files."""
    half = len(rows) // 2
    for number, part in enumerate((rows[:half], rows[half:])):
        columns = {
            "id": pyarrow.array([int(row[0]) for row in part], pyarrow.int32()),
            "num_samples": pyarrow.array([3200 for _ in part], pyarrow.int32()),
            "path": [f"/tmp/extracted/5f0c/{row[1]}.wav" for row in part],
            "audio": pyarrow.array([{"bytes": _sound(row[1]), "path": f"test/{row[1]}.wav"} for row in part], AUDIO),
            "transcription": [row[3] for row in part],
            "raw_transcription": [row[2] for row in part],
            "gender": pyarrow.array([("MALE", "FEMALE", "OTHER").index(row[4]) for row in part], pyarrow.int64()),
            "lang_id": pyarrow.array([90 for _ in part], pyarrow.int64()),
            "language": ["Thai" for _ in part],
            "lang_group_id": pyarrow.array([5 for _ in part], pyarrow.int64()),
        }
        table(folder / language / "test" / f"{number:04}.parquet", columns)
    return folder


def sdqa_korean(folder: Path) -> Path:
    """test/kor/ of the owners' repository; nobody in kors read the last question."""
    base = folder / "test" / "kor"
    lines = ["ID\tin XOR dev\tsentence", *(f"{ident}\tTrue\t{words}" for ident, words, _ in KOREAN)]
    put(base / "korean.test.txt", "\n".join(lines) + "\n")
    for number, dialect in enumerate(("korn", "kors")):
        there = KOREAN[: len(KOREAN) - number]
        people = ",example_id,user_id,region,language,gender,age,device,lang_spoken,mother_tongue,audio_file\n"
        for i, (ident, _, _) in enumerate(there):
            people += f"{i},{ident},{i + 1},{dialect},kor,female,25,X,[],,x.wav\n"
            put(base / dialect / "wav_kor" / f"{ident}.wav", tone(0.2, 200 + 10 * number + i))
        put(base / dialect / "metadata.csv", people)
        rows = [
            {"example_id": int(ident), "question": "heard", "answer": (answers or ["-1"])[0], "answers": answers}
            for ident, _, answers in there
        ]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        put(base / dialect / f"korean.test.{dialect}-ko-KR.triples.jsonl", text)
    return folder
