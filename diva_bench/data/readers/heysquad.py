"""Reader of HeySQuAD, human voices (Wu et al., arXiv 2304.13689): spoken SQuAD questions with their passages.

Two formats: parquet on the hub (yijingwu/HeySQuAD_human, or the copy of fixie-ai: audio, question, context, answers,
id, ...), and the JSON of the authors' repository in SQuAD format, which has only labels. With the JSON beside the
parquet, rows also have the article of their passage. The cluster is the passage, because its questions depend on the
same knowledge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diva_bench import textfile
from diva_bench.data.readers import Raw
from diva_bench.data.readers.parquet import ParquetTable, split_files
from diva_bench.disk import listed
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec

LABELS = "dev-common-original-1002.json"
"""The questions with answers, as SQuAD has them; the repository has it in HeySQuAD_json/HeySQuAD_test/."""
_NO_ARTICLE = "not known"
_COLUMNS = ("audio", "question", "context", "answers", "id")


def read(folder: Path, task: TaskSpec) -> Iterator[Raw]:
    """Every question. `answerable` is true if it has an answer; `article` is the Wikipedia article."""
    labels = _labels(folder)
    if folder.is_dir() and split_files(folder, task.data.config, task.data.split):
        articles = {values["id"]: values["article"] for _, values in _json(labels)} if labels else {}
        yield from _parquet(ParquetTable.find(folder, task), articles)
    elif labels:
        for where, values in _json(labels):
            yield Raw(where, values)
    else:
        raise DataError(
            f"{folder}: neither parquet files (such as data/{task.data.split}-00000-of-00001.parquet) nor {LABELS} in it."
        )


def _labels(folder: Path) -> Path | None:
    if folder.is_file():
        return folder
    return next((path for path in listed(folder, f"**/*{LABELS}") if path.is_file()), None)


def _parquet(table: ParquetTable, articles: Mapping[str, str]) -> Iterator[Raw]:
    table.need(_COLUMNS)
    for row in table.rows(sound=["audio"]):
        texts = [str(answer["text"]) for answer in row.values["answers"] or ()]
        ident = str(row.values["id"])
        values = _row(ident, row.values["question"], row.values["context"], texts, articles.get(ident, _NO_ARTICLE))
        if transcript := row.values.get("transcription"):
            values["transcription"] = str(transcript)
        yield Raw(row.where, values, row.clip("audio"))


def _json(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, values) of every question of a file in the form of SQuAD."""
    tree = textfile.json_file(path)
    try:
        articles = tree["data"]
        for number, article in enumerate(articles, start=1):
            # this file truncates titles, so that different ones may be equal
            name = f"{number:02}: {article['title']}"
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    texts = [str(answer["text"]) for answer in question["answers"]]
                    where = f"{path}, question {question['id']}"
                    yield where, _row(str(question["id"]), question["question"], paragraph["context"], texts, name)
    except (KeyError, TypeError, AttributeError) as err:
        raise DataError(f"{path}: is not in the form of SQuAD (data, paragraphs, qas, answers): {err!r}.") from err


def _row(ident: str, question: str, context: str, answers: list[str], article: str) -> dict[str, Any]:
    return {
        "id": ident,
        "question": question,
        "text": question,
        "context": context,
        "answers": list(dict.fromkeys(answers)),
        "answerable": bool(answers),
        "article": article,
        "cluster": f"passage-{hashlib.sha256(context.encode()).hexdigest()[:12]}",
    }
