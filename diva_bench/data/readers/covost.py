"""Reader of CoVoST 2, English into 15 languages and 21 languages into English (Wang et al., arXiv 2007.10310).

Two formats: the published tables (`covost_v2.en_de.test.tsv`, which get_covost_splits.py makes from their table and
that of Common Voice, and the clips/ of Common Voice), and parquet on the hub with the same columns (fixie-ai/covost2,
WillHeld/covost2). `config` is the language pair, en_de or de_en. Clips have the names of Common Voice, so that both
formats give the same ids. The cluster is the speaker (client_id).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diva_bench import textfile
from diva_bench.data.readers import ClipSource, Raw, file_clip
from diva_bench.data.readers.parquet import ParquetTable, split_files
from diva_bench.disk import listed
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec

_TSV = ("path", "sentence", "translation", "client_id")
_PARQUET = ("client_id", "audio", "sentence", "translation", "id")
_SPLITS = {"validation": ("dev", "validation")}  # "validation" on the hub is "dev" in the published files
_WITHDRAWN = "REMOVE"  # translators marked sentences for removal with this word; some are still in the data


def read(folder: Path, task: TaskSpec) -> Iterator[Raw]:
    """Every sentence of a split. An empty or withdrawn translation is a fault of its row."""
    pair, split = task.data.config or "", task.data.split or "test"
    names = [f"covost_v2.{pair}.{name}.tsv" for name in _SPLITS.get(split, (split,))]
    path_of_table = next((path for name in names for path in listed(folder, f"**/{name}")), None)
    if path_of_table:
        yield from _tsv(path_of_table, _clips(path_of_table, folder))
    elif split_files(folder, pair, split):
        yield from _parquet(ParquetTable.find(folder, task))
    else:
        raise DataError(
            f"{folder}: neither {' nor '.join(names)} (get_covost_splits.py makes it) nor parquet files in {pair}/ in it."
        )


def _clips(tsv: Path, folder: Path) -> Path | None:
    """The clips folder of Common Voice: beside the table, above it, or in the first levels of the data folder."""
    near = [place / "clips" for place in (tsv.parent, *tsv.parents[:3]) if place.is_relative_to(folder)]
    near += sorted(path for pattern in ("*/clips", "*/*/clips") for path in listed(folder, pattern))
    return next((path for path in near if path.is_dir()), None)


def _tsv(path: Path, clips: Path | None) -> Iterator[Raw]:
    """Rows of a Common Voice table, in which quotes are literal."""
    table = textfile.DelimitedTable(textfile.lines(path), str(path), literal=True)
    table.need(_TSV)
    for number, values in table:
        name = values["path"]
        clip = file_clip(clips, name if Path(name).suffix else f"{name}.mp3") if clips else None
        yield _row(f"{path}:{number}", Path(name).stem, values, clip)


def _parquet(table: ParquetTable) -> Iterator[Raw]:
    table.need(_PARQUET)
    for row in table.rows(sound=["audio"]):
        yield _row(row.where, Path(str(row.values["id"])).stem, row.values, row.clip("audio"))


def _row(where: str, ident: str, cells: Mapping[str, Any], clip: ClipSource | None) -> Raw:
    sentence, translation = str(cells["sentence"] or ""), str(cells["translation"] or "")
    values = {
        "id": ident,
        "text": sentence,
        "sentence": sentence,
        "translation": translation,
        "cluster": str(cells["client_id"]),
    }
    bare = translation.strip()
    fault = (
        ""
        if bare and bare.upper() != _WITHDRAWN
        else f"its translation is {f'withdrawn ({bare})' if bare else 'empty'}"
    )
    return Raw(where, values, clip, fault)
