"""Small copies of HeySQuAD, SD-QA and CoVoST 2 with the files, columns and types of the real ones, in every form that
they come in; sentences of our own, tones for speech."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from corpora import put, tone

from diva_bench.catalog import Catalog
from diva_bench.data.readers.sdqa import DIALECTS
from diva_bench.specs import TaskSpec

AUDIO = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
ANSWERS = pyarrow.list_(pyarrow.struct([("answer_start", pyarrow.int64()), ("text", pyarrow.string())]))

SQUAD = (  # id, question, passage, answers
    ("a1", "Where does the river start?", "The river starts in the hills. It is long.", ["the hills", "in the hills"]),
    ("a2", "How long is it?", "The river starts in the hills. It is long.", ["long"]),
    ("b1", "Who built the mill?", "Anna built the mill.", ["Anna", "Anna"]),
    ("b2", "Who sold the mill?", "Anna built the mill.", []),
)
QUESTIONS = (  # id, words, answers
    ("7957609454319724623", "When was the mill built?", ["1820", "in 1820"]),
    ("-7626086140492595775", "Is the river long?", []),
    ("-9041575374418655524", "Who lives there?", ["Anna"]),
)
SENTENCES = (  # clip, speaker, English, German
    ("common_voice_en_1", "speaker-a", 'He said "go".', 'Er sagte "geh".'),
    ("common_voice_en_2", "speaker-a", "It rains.", "Es regnet."),
    ("common_voice_en_3", "speaker-b", "It rains.", "REMOVE"),
    ("common_voice_en_4", "speaker-c", "The sun shines.", "Die Sonne scheint."),
)


@functools.cache
def _catalog() -> Catalog:
    return Catalog()


def small(name: str, rows: int, **changes: Any) -> TaskSpec:
    """A shipped full task that asserts other counts."""
    task = _catalog().task(name, "full")
    changes = {"rows": rows, "total": (), "rows_from_memory": False, **changes}
    return task.model_copy(update={"data": task.data.model_copy(update=changes)})


def sound(number: int) -> dict[str, Any]:
    return {"bytes": tone(0.2 + 0.05 * (number % 5), 200 + 10 * number), "path": f"{number}.wav"}


def table(path: Path, columns: dict[str, Any], group: int = 2) -> Path:
    """Parquet in row groups of `group` rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=group)
    return path


# ---------------------------------------------------------------- HeySQuAD


def heysquad(folder: Path, rows: Sequence[tuple[str, str, str, list[str]]] = SQUAD) -> Path:
    """data/validation-0000i-of-00002.parquet of yijingwu/HeySQuAD_human."""
    half = len(rows) // 2
    for number, part in enumerate((rows[:half], rows[half:])):
        answers = [[{"answer_start": 0, "text": text} for text in row[3]] for row in part]
        columns = {
            "audio": pyarrow.array([sound(half * number + i) for i in range(len(part))], AUDIO),
            "transcription": [row[1].lower() for row in part],
            "question": [row[1] for row in part],
            "context": [row[2] for row in part],
            "answers": pyarrow.array(answers, ANSWERS),
            "is_impossible": [not row[3] for row in part],
            "id": [row[0] for row in part],
            "plausible_answers": pyarrow.array([[] for _ in part], ANSWERS),
        }
        table(folder / f"data/validation-{number:05}-of-00002.parquet", columns)
    return folder


def heysquad_json(folder: Path) -> Path:
    """The owners' JSON: questions with answers alone, titles cut short."""
    passages: dict[str, list[Any]] = {}
    for ident, question, context, answers in SQUAD:
        if answers:
            texts = [{"text": text, "answer_start": 0} for text in answers]
            passages.setdefault(context, []).append({"answers": texts, "question": question, "id": ident})
    articles = [{"title": "The", "paragraphs": [{"context": c, "qas": q}]} for c, q in passages.items()]
    put(
        folder / "HeySQuAD_json/HeySQuAD_test/dev-common-original-1002.json",
        json.dumps({"data": articles}),
    )
    return folder


# ---------------------------------------------------------------- SD-QA


def sdqa(folder: Path, split: str = "test") -> Path:
    """data/test-00000-of-00001.parquet of WillHeld/SD-QA; nobody in kenya read the last question."""
    columns: dict[str, Any] = {"id": [q[0] for q in QUESTIONS]}
    for number, dialect in enumerate(DIALECTS):
        cells: list[Any] = [sound(10 * number + i) for i in range(len(QUESTIONS))]
        if dialect == "kenya":
            cells[-1] = None
        columns[dialect] = pyarrow.array(cells, AUDIO)
    columns["answers"] = pyarrow.array([q[2] or None for q in QUESTIONS], pyarrow.list_(pyarrow.string()))
    columns["question"] = [q[1] for q in QUESTIONS]
    table(folder / f"data/{split}-00000-of-00001.parquet", columns)
    return folder


def sdqa_repository(folder: Path, split: str = "test", tydi: bool = False, recordings: bool = True) -> Path:
    """The clone of the owners' repository; `tydi`: only the gzipped files that its triples are made of."""
    base = folder / split / "eng"
    lines = ["ID\tin XOR dev\tsentence", *(f"{ident}\tFalse\t{words}" for ident, words, _ in QUESTIONS)]
    put(base / f"english.{split}.txt", "\n".join(lines) + "\n")
    for number, dialect in enumerate(DIALECTS):
        there = QUESTIONS[:-1] if dialect == "kenya" else QUESTIONS
        people = ",example_id,user_id,region,language,gender,age,device,lang_spoken,mother_tongue,audio_file\n"
        for i, (ident, _, _) in enumerate(there):
            people += f"{i},{ident},{i % 2 + 1},{dialect},eng,{'male' if i % 2 else 'female'},20,X,['eng'],eng,x.wav\n"
            if recordings:
                put(base / dialect / "wav_eng" / f"{ident}.wav", tone(0.2, 200 + 10 * number + i))
        put(base / dialect / "metadata.csv", people)
        stem = base / dialect / f"english.{split}.{dialect}-en-US"
        if tydi:
            text = "".join(json.dumps(_tydi(*question)) + "\n" for question in there)
            put(stem.with_name(f"{stem.name}.jsonl.gz"), gzip.compress(text.encode()))
        else:
            rows = [
                {"example_id": int(i), "question": "heard", "answer": (a or ["-1"])[0], "answers": a}
                for i, _, a in there
            ]
            put(stem.with_name(f"{stem.name}.triples.jsonl"), "".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _tydi(ident: str, words: str, answers: list[str]) -> dict[str, Any]:
    """A TyDi row: spans are bytes of the article, which begins with letters of more than one byte. The first answer is a
    minimal one, the others are passages; the last annotator found none."""
    article, annotations, candidates = "Älteste Mühle. ", [], []
    none = {"plaintext_start_byte": -1, "plaintext_end_byte": -1}
    for number, answer in enumerate(answers):
        start = len(article.encode())
        article += answer + ". "
        span = {"plaintext_start_byte": start, "plaintext_end_byte": start + len(answer.encode())}
        minimal, passage = (none, len(candidates)) if number else (span, -1)
        candidates += [span] if number else []
        annotations.append({"minimal_answer": minimal, "passage_answer": {"candidate_index": passage}})
    annotations.append({"minimal_answer": none, "passage_answer": {"candidate_index": -1}})
    return {
        "example_id": int(ident),
        "question_text": words.lower(),
        "document_plaintext": article,
        "passage_answer_candidates": candidates,
        "annotations": annotations,
    }


def voicebench(folder: Path) -> Path:
    """sd-qa/<dialect>-00000-of-00001.parquet of hlt-lab/voicebench: no ids, one reference."""
    for number, dialect in enumerate(DIALECTS):
        rows = [q for q in QUESTIONS if q[2]]
        columns = {
            "audio": pyarrow.array([sound(10 * number + i) for i in range(len(rows))], AUDIO),
            "prompt": [q[1] for q in rows],
            "reference": [q[2][0] for q in rows],
        }
        table(folder / f"sd-qa/{dialect}-00000-of-00001.parquet", columns)
    return folder


# ---------------------------------------------------------------- CoVoST 2


def covost(
    folder: Path,
    split: str = "test",
    clips: bool = True,
    lines: Sequence[str] | None = None,
    pair: str = "en_de",
) -> Path:
    """What get_covost_splits.py writes, beside Common Voice's clips/; the last clip has no bytes, as 504 once had none."""
    rows = ["path\tsentence\ttranslation\tclient_id"]
    rows += [f"{clip}.mp3\t{english}\t{german}\t{speaker}" for clip, speaker, english, german in SENTENCES]
    put(folder / f"covost_v2.{pair}.{split}.tsv", "\n".join(lines or rows) + "\n")
    for number, (clip, *_) in enumerate(SENTENCES if clips else ()):
        put(folder / "clips" / f"{clip}.mp3", b"" if number == len(SENTENCES) - 1 else tone(0.3, 200 + 10 * number))
    return folder


def covost_parquet(folder: Path, split: str = "test", pair: str = "en_de") -> Path:
    """en_de/test-0000i-of-00002.parquet of fixie-ai/covost2."""
    for number, part in enumerate((SENTENCES[:2], SENTENCES[2:])):
        columns = {
            "client_id": [row[1] for row in part],
            "file": [f"clips/{row[0]}.mp3" for row in part],
            "audio": pyarrow.array([sound(2 * number + i) for i in range(len(part))], AUDIO),
            "sentence": [row[2] for row in part],
            "translation": [row[3] for row in part],
            "id": [row[0] for row in part],
        }
        table(folder / f"{pair}/{split}-{number:05}-of-00002.parquet", columns)
    return folder
