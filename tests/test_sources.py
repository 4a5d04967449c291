"""Where training speech comes from: every form of source gives the same examples, and says what is wrong with it."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from pathlib import Path
from unittest.mock import Mock

import datasets
import huggingface_hub
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from diva_bench.data import readers
from diva_bench.errors import DataError
from diva_bench.training import sources
from diva_bench.training.sources import Example, fingerprint, read, usable

MINI = sorted((Path(__file__).parents[1] / "tasks").glob("mini*/*.jsonl"))


def wav(seconds: float = 0.1, level: float = 0.3, **how: str) -> bytes:
    file = io.BytesIO()
    tone = level * np.sin(2 * np.pi * 440 * np.arange(int(seconds * 16_000)) / 16_000)
    soundfile.write(file, tone, 16_000, **({"format": "WAV"} | how))
    return file.getvalue()


OGG = wav(format="OGG", subtype="OPUS")


def parquet(file: Path, texts: list[str | None], text: str = "text", **more: list) -> Path:
    cells = [{"bytes": wav(0.01 * (i + 1)), "path": f"{i}.wav"} for i in range(len(texts))]
    table = pyarrow.table({"audio": cells, text: pyarrow.array(texts, pyarrow.string())} | more)
    pyarrow.parquet.write_table(table, file)
    return file


def common_voice(folder: Path, lines: list[str]) -> Path:
    (folder / "clips").mkdir(parents=True)
    file = folder / "train.tsv"
    header = "client_id\tpath\tsentence_id\tsentence\tup_votes"
    file.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return file


def manifest(file: Path, *rows: object) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def texts(source: str | Path, **how: int) -> list[str]:
    return [example.text for example in read(str(source), **how)]


def test_a_folder_of_parquet_is_read_in_name_order_with_ids_that_count_within_each_file(tmp_path):
    parquet(tmp_path / "b.parquet", ["third"], speaker_id=[7])
    parquet(tmp_path / "a.parquet", ["first", "second"], speaker_id=[5, None])
    assert [(e.id, e.text, e.voice) for e in read(str(tmp_path))] == [
        ("a.parquet:0", "first", "5"),
        ("a.parquet:1", "second", ""),
        ("b.parquet:0", "third", "7"),
    ]
    assert next(read(str(tmp_path))).audio == wav(0.01)


def test_train_files_are_taken_alone_where_there_are_such(tmp_path):
    parquet(tmp_path / "test-000.parquet", ["held out"])
    parquet(tmp_path / "train-001.parquet", ["later"])
    parquet(tmp_path / "train-000.parquet", ["earlier"])
    assert texts(tmp_path) == ["earlier", "later"]
    assert list(fingerprint(str(tmp_path))) == ["train-000.parquet", "train-001.parquet"]
    assert texts(tmp_path / "test-000.parquet") == ["held out"]
    assert sources.left_out(str(tmp_path)) == ["test-000.parquet"]
    assert sources.left_out(str(tmp_path / "test-000.parquet")) == sources.left_out("hub:owner/name") == []


@pytest.mark.parametrize("name", sources.TEXT)
def test_every_name_of_the_text_column_is_found(tmp_path, name):
    assert texts(parquet(tmp_path / "a.parquet", ["words", None], text=name)) == ["words", ""]


@pytest.mark.parametrize("name", sources.VOICE)
def test_every_name_of_the_voice_column_is_found(tmp_path, name):
    assert next(read(str(parquet(tmp_path / "a.parquet", ["words"], **{name: ["anna"]})))).voice == "anna"


def test_audio_may_be_plain_binary_and_may_be_null(tmp_path):
    table = pyarrow.table({"audio": pyarrow.array([OGG, None], pyarrow.binary()), "text": ["heard", "lost"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert [e.audio for e in read(str(tmp_path))] == [OGG, b""]


def test_a_path_without_bytes_is_read_beside_the_parquet_and_a_lost_file_does_not_stop_the_stream(tmp_path):
    (tmp_path / "one.ogg").write_bytes(OGG)
    cells = [{"bytes": None, "path": path} for path in ("one.ogg", "lost.ogg", "bad\0name.ogg", "", None)]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table({"audio": pyarrow.array([*cells, None], kind), "text": ["x"] * 6})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert [e.audio for e in read(str(tmp_path))] == [OGG, b"", b"", b"", b"", b""]


def test_only_the_columns_that_are_needed_are_read(tmp_path):
    row = next(sources._rows(str(parquet(tmp_path / "a.parquet", ["x"], duration=[1.0]))))
    assert row.args[0].schema.names == ["audio", "text"]


STRINGS = pyarrow.array(["x"])
STRUCT = pyarrow.array([{"bytes": b"x"}])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"sound": STRINGS, "text": STRINGS}, r"no audio column; the columns are sound, text\. Name .* audio\."),
        (
            {"audio": STRUCT, "words": STRINGS},
            r"no text column; the columns are audio, words\. Name .* text or sentence",
        ),
        ({"audio": STRINGS, "text": STRINGS}, r"column 'audio' is string; it must hold encoded files"),
        ({"audio": pyarrow.array([{"array": [0.1]}]), "text": STRINGS}, r"column 'audio' is struct<array: list"),
        ({"audio": STRUCT, "text": pyarrow.array([3])}, r"column 'text' is int64; it must be string"),
    ],
)
def test_a_table_without_the_columns_is_refused_before_a_row_of_any_file_is_read(tmp_path, table, message):
    parquet(tmp_path / "train-000.parquet", ["fine"])
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "train-001.parquet")
    with pytest.raises(DataError, match=rf"train-001\.parquet: {message}"):
        next(read(str(tmp_path)))


@pytest.mark.parametrize(
    "harm", [lambda b: b[:-20], lambda b: b[:4] + b"\xff" * 300 + b[304:]], ids=["torn", "garbled"]
)
def test_a_parquet_that_is_torn_or_garbled_is_named(tmp_path, harm):
    file = parquet(tmp_path / "a.parquet", ["x"] * 50)
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read as parquet \(.+\)\. Fetch the file again\."):
        list(read(str(file)))


def test_common_voice_is_read_as_shipped_with_literal_quotes_and_long_fields(tmp_path):
    long = "word " * 40_000  # over the field limit of the csv module
    file = common_voice(
        tmp_path,
        [
            'anna\ta.mp3\t1\t"Stop, she said.\t2',
            f"ben\tb.mp3\t2\t{long}\t2",
            "\tc.mp3\t3\tWith a\u2028separator and a\rreturn\t0",
        ],
    )
    (tmp_path / "clips" / "a.mp3").write_bytes(OGG)
    want = [
        Example("clips/a.mp3", OGG, '"Stop, she said.', "anna"),
        Example("clips/b.mp3", b"", long, "ben"),
        Example("clips/c.mp3", b"", "With a\u2028separator and a\rreturn", ""),
    ]
    assert list(read(str(file))) == want
    assert list(read(str(tmp_path))) == want


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path\tsentence\na.mp3\tx\n",
            r":1: column 'client_id' is missing; available: path, sentence\. Common Voice has path",
        ),
        ("", r": is empty: it has no header"),
        ("path\tsentence\tclient_id\na.mp3\tx\n", r":2: 2 fields, but the header has 3"),
        ("path\tsentence\tclient_id\na\tx\tb\ty\n", r":2: 4 fields, but the header has 3\."),
        ("path\tsentence\tclient_id\na\tx\tb\na\ty\tc\n", r":3: id 'clips/a' is already used in line 2\. .* drop one"),
    ],
)
def test_a_tsv_that_is_not_common_voice_is_refused_by_file_and_line(tmp_path, text, message):
    file = common_voice(tmp_path, [])
    file.write_text(text)
    with pytest.raises(DataError, match=rf"train\.tsv{message}"):
        list(read(str(tmp_path)))


def test_common_voice_without_its_clips_is_refused(tmp_path):
    file = common_voice(tmp_path, ["anna\ta.mp3\t1\tHello.\t2"])
    (tmp_path / "clips").rmdir()
    with pytest.raises(DataError, match=r"train\.tsv: there is no folder clips/ beside it\. Put the clips there"):
        list(read(str(file)))


def test_a_manifest_takes_relative_and_absolute_paths_and_names_lines_without_an_id(tmp_path):
    (tmp_path / "one.ogg").write_bytes(OGG)
    rows = [
        {"audio": "one.ogg", "text": "One.", "voice": "anna", "id": "first"},
        {"audio": str(tmp_path / "one.ogg"), "text": "One again.", "voice": 3, "id": 2},
        {"audio": "lost.ogg", "text": ""},
    ]
    file = tmp_path / "clips.jsonl"
    file.write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert list(read(str(file))) == [
        Example("first", OGG, "One.", "anna"),
        Example("2", OGG, "One again.", "3"),
        Example("clips.jsonl:5", b"", "", ""),
    ]


@pytest.mark.parametrize("file", MINI, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_the_mini_tasks_are_manifests(file):
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    examples = list(read(str(file)))
    assert [(e.id, e.text, e.voice) for e in examples] == [(r["id"], r["text"], r["voice"]) for r in rows]
    assert usable(examples[0], max_seconds=15)[0] == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"audio": ', r"is not valid JSON \(.+\)"),
        ("[1]", r"expected a JSON object, found an array"),
        ("{}", r"found no keys; every row must have a clip .* Correct or remove the row\."),
        ('{"audio": "a.wav", "text": null}', r"found audio \(str\), text \(NoneType\); every row"),
        (
            '{"audio": "a.wav", "text": "x", "id": "first"}',
            r"id 'first' is already used in line 1\. Ids must be unique",
        ),
    ],
)
def test_a_line_that_is_no_example_is_refused_by_file_and_line(tmp_path, line, message):
    file = manifest(tmp_path / "clips.jsonl", {"audio": "a.wav", "text": "x", "id": "first"})
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(DataError, match=rf"clips\.jsonl:2: {message}"):
        list(read(str(file)))


def test_a_manifest_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "clips.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"clips\.jsonl: begins as UTF-16 but is not\. Save the file as UTF-8\."):
        list(read(str(tmp_path / "clips.jsonl")))


def streamed(file: Path, **how: object) -> list[Example]:
    """What a hub source gives, from a local parquet file."""

    def load() -> object:
        return datasets.load_dataset("parquet", data_files=str(file), split="train", streaming=True, **how)

    return [row() for row in sources._streamed(load, "hub:owner/name", "train")]


def test_a_hub_data_set_gives_what_its_parquet_file_gives(tmp_path):
    file = parquet(tmp_path / "a.parquet", ["one", None], text="sentence", speaker_id=[1, 2], duration=[0.1, 0.2])
    assert streamed(file) == [Example(f"train:{i}", e.audio, e.text, e.voice) for i, e in enumerate(read(str(file)))]


def test_audio_of_a_hub_data_set_is_never_decoded(tmp_path):
    features = datasets.Features({"audio": datasets.Audio(), "text": datasets.Value("string")})
    cells = [{"bytes": b"no sound at all", "path": None}, {"bytes": None, "path": str(tmp_path / "a.ogg")}]
    cells.append({"bytes": None, "path": str(tmp_path / "lost.ogg")})
    (tmp_path / "a.ogg").write_bytes(OGG)
    table = pyarrow.table({"audio": cells, "text": ["x"] * 3}, schema=features.arrow_schema)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert [e.audio for e in streamed(tmp_path / "a.parquet")] == [b"no sound at all", OGG, b""]


def test_a_hub_data_set_follows_the_column_rules(tmp_path):
    with pytest.raises(DataError, match=r"hub:owner/name: no text column; the columns are audio, words\."):
        streamed(parquet(tmp_path / "a.parquet", ["x"], text="words"))


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("hub:owner/name", ("owner/name", None, "train")),
        ("hub:owner/some.name-1:en", ("owner/some.name-1", "en", "train")),
        ("hub:owner/name:en:validation", ("owner/name", "en", "validation")),
        ("hub:owner/name::test", ("owner/name", None, "test")),
    ],
)
def test_a_hub_source_names_data_set_config_and_split(tmp_path, monkeypatch, source, asked):
    file, real, calls = parquet(tmp_path / "a.parquet", ["x", "y"]), datasets.load_dataset, []

    def load(name: str, config: str | None, *, split: str, streaming: bool) -> object:
        calls.append((name, config, split))
        return real("parquet", data_files=str(file), split="train", streaming=streaming)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [e.id for e in read(source, shard=1, shards=2)] == [f"{asked[2]}:1"]
    assert calls == [asked]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (ConnectionError("Couldn't reach the Hub."), r"Couldn't reach the Hub"),
        (datasets.exceptions.DatasetNotFoundError("doesn't exist"), r"doesn't exist"),
        (ValueError("Config name is missing.\nPick one of\n - en"), r"Config name is missing\. Pick one of - en"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_hub_that_fails_says_what_to_do(monkeypatch, failure, words):
    monkeypatch.setattr(datasets, "load_dataset", Mock(side_effect=failure))
    todo = (
        r"Check the name, the config and the split .* the network, .* download its parquet files and give their folder"
    )
    with pytest.raises(DataError, match=rf"^hub:owner/name:en: cannot be read from the hub \({words}\)\. {todo}\.$"):
        next(read("hub:owner/name:en"))


def test_a_clip_that_the_hub_cannot_give_now_is_an_outage_and_not_a_lost_clip(tmp_path):
    with pytest.raises(DataError, match=r"^hub:owner/name: cannot be read from the hub \(.*nowhere.*\)\. Check"):
        sources._remote("hub:owner/name", "nowhere://a.wav")


def make(kind: str, folder: Path, count: int) -> str:
    """A source of some kind with the texts "0", "1", ..."""
    words = [str(i) for i in range(count)]
    if kind == "parquet":
        parquet(folder / "a.parquet", words[:70])
        parquet(folder / "b.parquet", words[70:])
        return str(folder)
    if kind == "common voice":
        common_voice(folder / "cv", [f"anna\t{i}.mp3\t{i}\t{i}\t2" for i in words])
        return str(folder / "cv")
    return str(manifest(folder / "a.jsonl", *({"audio": f"{i}.wav", "text": i} for i in words)))


@pytest.mark.parametrize("kind", ["parquet", "common voice", "manifest"])
@pytest.mark.parametrize("shards", [1, 3, 200])
def test_the_shards_together_are_the_whole_each_row_once(tmp_path, kind, shards):
    source = make(kind, tmp_path, 150)
    parts = [list(read(source, shard=shard, shards=shards)) for shard in range(shards)]
    dealt = [e for turn in itertools.zip_longest(*parts) for e in turn if e is not None]
    assert [e.text for e in dealt] == [str(i) for i in range(150)]
    assert len({e.id for e in dealt}) == 150
    assert dealt == list(read(source))


def test_a_shard_opens_only_its_own_clips(tmp_path, monkeypatch):
    source, opened = make("manifest", tmp_path, 10), []
    monkeypatch.setattr(readers, "read_plain", lambda file: opened.append(file.name) or b"")
    list(read(source, shard=1, shards=4))
    assert opened == ["1.wav", "5.wav", "9.wav"]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("nowhere/at/all", r"'nowhere/at/all' is no file or folder"),
        ("empty", "'.*empty' is a folder with no list of clips in it"),
        ("clips.txt", r"'.*clips\.txt' has the suffix '\.txt', not \.csv, \.tsv, \.jsonl"),
        ("hub:name", "'hub:name' does not name a data set of the hub"),
        ("hub:owner/name:en:train:more", "does not name a data set of the hub"),
    ],
)
def test_anything_else_is_refused_at_once_with_the_forms_there_are(tmp_path, source, why):
    (tmp_path / "empty").mkdir()
    (tmp_path / "clips.txt").write_text("audio,text\n")
    place = str(tmp_path / source) if (tmp_path / source).exists() else source
    for ask in (read, fingerprint):
        with pytest.raises(DataError, match=why) as caught:
            ask(place)
        assert str(caught.value).endswith(f"It must be one of:\n{sources.FORMS}")


@pytest.mark.parametrize("kind", ["parquet", "common voice", "manifest"])
def test_a_fingerprint_is_of_the_files_and_names_no_folder(tmp_path, kind):
    source = make(kind, tmp_path, 80)
    files = {file.name: file for file in tmp_path.rglob("*") if file.is_file()}
    assert fingerprint(source) == {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}


def test_the_fingerprint_of_a_hub_source_is_its_revision_or_latest(monkeypatch):
    def info(self: object, name: str, **_: object) -> object:
        return {"owner/name": huggingface_hub.hf_api.DatasetInfo(id=name, sha="0123abc", tags=[])}[name]

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    assert fingerprint("hub:owner/name:en") == {"hub:owner/name:en": "0123abc"}
    assert fingerprint("hub:owner/other") == {"hub:owner/other": "latest"}


@pytest.mark.parametrize(
    ("encoded", "text", "reason"),
    [
        (wav(1.0), "Hello.", ""),
        (OGG, "Hello.", ""),
        (wav(1.5), "just as long as allowed", ""),
        (wav(1.0), " \n", "empty text"),
        (b"", "Hello.", "cannot be decoded"),
        (wav(1.0)[:-400], "Hello.", "cannot be decoded"),
        (wav(1.0, level=0.00005), "Hello.", "silent"),
        (wav(1.6), "Hello.", "over 1.5 s"),
    ],
)
def test_what_cannot_be_trained_on_says_why(encoded, text, reason):
    assert usable(Example("a", wav(15.1), "x", ""), max_seconds=15.0) == ("over 15 s", None)
    why, sound = usable(Example("a", encoded, text, ""), max_seconds=1.5)
    assert why == reason
    assert (sound is None) == bool(reason)
    if sound is not None:
        assert (sound.rate, sound.samples.dtype, sound.samples.ndim) == (16_000, np.float32, 1)
