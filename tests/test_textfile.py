"""Text files of others: what is read, and what is refused in words with the line, whoever reads it."""

from __future__ import annotations

import csv
import gzip
import json
import os
import tracemalloc
from pathlib import Path

import pytest

from diva_bench import textfile
from diva_bench.errors import DataError, PredictionError

ROWS = [{"id": "a", "text": "één"}, {"id": "b", "text": "x\u2028y\x85z"}]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
CSV = "id,text\na,één\nb,two\n"


def written(folder: Path, content: bytes | str) -> Path:
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(path: Path) -> list[dict[str, object]]:
    return [row for _, row in textfile.json_rows(textfile.lines(path), "file")]


def table(path: Path, literal: bool = False) -> list[tuple[int, dict[str, str]]]:
    return list(textfile.DelimitedTable(textfile.lines(path), "file", literal=literal))


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_encoding_with_a_mark_and_every_line_end_give_the_same_rows(tmp_path, codec, end):
    assert rows(written(tmp_path, JSONL.replace("\n", end).encode(codec))) == ROWS
    got = table(written(tmp_path, CSV.replace("\n", end).encode(codec)))
    assert got == [(2, {"id": "a", "text": "één"}), (3, {"id": "b", "text": "two"})]
    got = table(written(tmp_path, CSV.replace(",", "\t").replace("\n", end).encode(codec)), literal=True)
    assert [row["text"] for _, row in got] == ["één", "two"]


def test_a_file_that_is_read_whole_and_one_that_is_read_by_lines_have_the_same_lines(tmp_path):
    for content in ("", "\n", "a", "a\n\nb", "a\r\nb\rc\n", "a\rb\r", "\r", "\r\n\r\n", "a\u2028b\n"):
        path = written(tmp_path, content)
        assert list(textfile.lines(path)) == list(textfile.split(textfile.read(path))), content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"a\nb\xefc\n",
            r"file:2: is not UTF-8 \(byte 0xef\); it may be Latin-1 or Windows-1252. Save the file as UTF-8",
        ),
        (b"\xff\xfea", r"file: begins as UTF-16 but is not"),
        (
            "a\n".encode("utf-16-le"),
            r"file:1: is binary, not text \(it has a NUL\), or UTF-16 without a byte order mark",
        ),
        (b"a\n" * 9000 + b"\0\n", r"file:9001: is binary"),
        ("a\n\0".encode("utf-16"), r"file:2: is binary"),
        (gzip.compress(b"{}\n", mtime=0), r"file: is binary: it is packed \(gzip\). Unpack it first"),
        (b"PK\x03\x04", r"packed \(zip\)"),
    ],
)
def test_bytes_that_are_no_text_are_refused_in_words_however_they_are_read(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=message):
        list(textfile.lines(path))
    with pytest.raises(PredictionError, match=message):
        textfile.read(path, PredictionError)


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer for ever
    for path, said in (
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "pipe", "is a pipe or a device, not a file"),
        (Path("/dev/zero"), "is a pipe or a device"),
        (tmp_path / "none", r"cannot be read \(No such file"),
        (tmp_path / "a\0b", r"cannot be read \(embedded null byte"),
    ):
        for reads in (textfile.read, lambda path: list(textfile.lines(path))):
            with pytest.raises(DataError, match=said):
                reads(path)


def test_files_lines_and_fields_have_a_largest_size(tmp_path, monkeypatch):
    monkeypatch.setattr(textfile, "_LONGEST", 10)
    monkeypatch.setattr(textfile, "LARGEST", 20)
    path = written(tmp_path, "short\nfar too long\n")
    with pytest.raises(DataError, match=r"file:2: is longer than 0 MiB"):
        list(textfile.lines(path))
    with pytest.raises(DataError, match=r"is larger than 0 MiB.*Split it"):
        textfile.read(written(tmp_path, "x" * 21))
    monkeypatch.setattr(csv, "field_size_limit", lambda _, real=csv.field_size_limit: real(4))
    try:
        with pytest.raises(DataError, match=r"file:2: is not a valid table \(a field of more than"):
            table(written(tmp_path, "id,text\nabcdefg,x\n"))
    finally:
        monkeypatch.undo()
    assert len(table(written(tmp_path, f"id,text\na,{'x' * 900_000}\n"))[0][1]["text"]) == 900_000


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,', r"file:3: is not valid JSON \(.*Was the file cut off\?"),
        ('{"a": "b', r"file:3: is not valid JSON \(Unterminated.*Was the file cut off\?"),
        ("{'a': 1}", r"file:3: is not valid JSON \(.*column 2\)\.$"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "file:3: key 'c' is given twice; which one is meant is unknown"),
        ('{"a": %s}' % ("9" * 5000), "file:3: has a number of too many digits"),
        ("[" * 100_000 + "]" * 100_000, "file:3: is nested too deeply"),
        ('{"a":' * 201 + "1" + "}" * 201, "file:3: is nested too deeply"),
        (r'{"a": "x\ud83d"}', r"file:3: '\\ud83d' is half a surrogate pair, which is not a character"),
        (r'{"x\uDE00": 1}', "half a surrogate pair"),
        (r'{"a": [{"b": "\ude00\ud83d"}]}', "half a surrogate pair"),
    ],
)
def test_json_that_is_wrong_is_told_with_its_line(text, message):
    with pytest.raises(DataError, match=message):
        textfile.json_value(text, "file", line=3)


def test_json_that_is_right_is_read(tmp_path):
    assert textfile.json_value(r'{"a": "\ud83d\ude00 \\ud83d"}', "file") == {"a": "😀 \\ud83d"}
    assert textfile.json_value("[" * 200 + "]" * 200, "file") is not None
    assert textfile.json_value("[" + "[]," * 999 + "[]]", "file") == [[]] * 1000
    assert textfile.json_value(f'{{"a": {10**400}}}', "file") == {"a": 10**400}
    with pytest.raises(DataError, match="file:2: is not valid JSON"):
        textfile.json_file(written(tmp_path, "{\n'a'}"))


def test_half_a_pair_that_a_model_said_is_a_replacement_character():
    assert textfile.json_value(r'{"a": ["x\ud83d"]}', "file", mend=True) == {"a": ["x\ufffd"]}
    with pytest.raises(DataError, match="given twice"):  # once they are mended
        textfile.json_value(r'{"\ud83d": 1, "\ude00": 2}', "file", mend=True)


@pytest.mark.parametrize(
    ("line", "kind"),
    [("[1]", "an array"), ("null", "null"), ("1", "a number"), ("true", "true or false"), ('"a"', "a string")],
)
def test_lines_that_are_no_objects_are_told(line, kind):
    with pytest.raises(DataError, match=f"file:2: expected a JSON object, found {kind}"):
        list(textfile.json_rows(enumerate(["\n", line], start=1), "file"))


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file: is empty: it has no header"),
        ("\n", "file: is empty"),
        ("id;text\na;b\n", "file:1: the delimiter is ';'. Save the table with commas or tabs"),
        ("id|text\na|b\n", r"file:1: the delimiter is '\|'"),
        ("id,text,text\na,b,c\n", "file:1: column 'text' occurs twice in the header"),
        ("id,text\n\na\n", "file:3: 1 field, but the header has 2"),
        ("id,text\na,b,c\n", "file:2: 3 fields, but the header has 2"),
        (
            'id,text\na,b\nb,"open\nc,d\n',
            r"file:3: is not a valid table \(a quote that is opened in this row is never closed",
        ),
        ('id,text\na,"Paris" I say\n', r"file:2: is not a valid table \(more text after a closing quote"),
        ("id,text\na,b\rc\n", r"file:2: is not a valid table \(a carriage return in a field without quotes"),
    ],
)
def test_a_table_that_is_wrong_is_told_with_its_line(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        table(written(tmp_path, content))


def test_lines_of_a_table_are_counted_where_a_row_begins_and_quotes_may_hold_anything(tmp_path):
    got = table(written(tmp_path, 'id,text\na,"one\n\ntwo, ""three"""\n\nb;,c\n'))
    assert got == [(2, {"id": "a", "text": 'one\n\ntwo, "three"'}), (6, {"id": "b;", "text": "c"})]
    got = table(written(tmp_path, 'id\ttext\na\t"one\n'), literal=True)
    assert got == [(2, {"id": "a", "text": '"one'})]


def test_columns_without_a_name_are_not_read_and_those_that_lack_are_told(tmp_path):
    found = textfile.DelimitedTable(textfile.lines(written(tmp_path, ",,id\n0,0,a\n")), "file")
    assert list(found) == [(2, {"id": "a"})]
    with pytest.raises(DataError, match=r"file:1: column 'text' is missing; available: id\. Add it\."):
        found.need(["id", "text"], "Add it.")


def test_a_small_file_is_read_without_reserving_the_memory_of_the_largest(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("name: a")
    tracemalloc.start()
    assert textfile.read(tmp_path / "small.yaml") == "name: a"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
