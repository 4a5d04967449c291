"""Logs of inspect_ai: as one JSON object and as .eval archives, deflated and zstd; what is damaged, a bomb or another shape"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow
import pytest

from diva_bench.errors import PredictionError
from diva_bench.predictions import AnswerFile, Prediction, ReadOptions, read

STORED, DEFLATED, ZSTD = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, 93


def rows(tmp_path: Path, content: str | bytes, **options: Any) -> list[Prediction]:
    path = tmp_path / "log.eval"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read([AnswerFile(path)], "auto" if isinstance(content, bytes) else "inspect", ReadOptions(**options))[1]


def said(predictions: list[Prediction]) -> list[tuple[str | None, int | None, str]]:
    return [(p.id, p.row, p.text) for p in predictions]


def sample(ident: Any, text: Any = "one", **changes: Any) -> dict[str, Any]:
    message = {"content": text, "role": "assistant"}
    output = {"model": "m", "choices": [{"message": message, "stop_reason": "stop"}], "completion": text}
    return {"id": ident, "epoch": 1, "input": "Say.", "target": " x", "output": output, "scores": {}} | changes


def log_json(*samples: dict[str, Any], indent: int | None = 2) -> str:
    return json.dumps(
        {"version": 2, "status": "success", "eval": {"task": "t"}, "samples": list(samples)}, indent=indent
    )


class Frames:
    """A compressor as zipfile wants one, which begins a frame anew every 1,000 bytes, as inspect does every 200 MiB."""

    def __init__(self) -> None:
        self.data = b""

    def compress(self, data: bytes) -> bytes:
        self.data += data
        return b""

    def flush(self) -> bytes:
        pieces = [self.data[i : i + 1000] for i in range(0, len(self.data), 1000)] or [b""]
        return b"".join(pyarrow.compress(piece, codec="zstd", asbytes=True) for piece in pieces)


def log_eval(*samples: dict[str, Any], how: int = DEFLATED, **members: bytes) -> bytes:
    """An archive as inspect writes it, packed by the method `how`."""
    file, known = io.BytesIO(), zipfile._get_compressor  # type: ignore[attr-defined]
    with (
        mock.patch.object(zipfile, "_check_compression"),
        mock.patch.object(zipfile, "_get_compressor", lambda m, level=None: Frames() if m == ZSTD else known(m)),
        zipfile.ZipFile(file, "w", how) as archive,
    ):
        archive.writestr("_journal/start.json", json.dumps({"version": 2, "eval": {"task": "t"}}))
        for one in samples:
            archive.writestr(f"samples/{one['id']}_epoch_{one['epoch']}.json", json.dumps(one))
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def directory_says(data: bytes, name: str, offset: int, value: int) -> bytes:
    """With four bytes of a member's entry in the archive's directory overwritten: at 16 its checksum, at 24 its size."""
    start = data.rindex(name.encode()) - 46 + offset
    return data[:start] + value.to_bytes(4, "little") + data[start + 4 :]


@pytest.mark.parametrize("indent", [None, 2])
def test_inspect_json_gives_ids_text_and_errors(tmp_path: Path, indent: int | None) -> None:
    parts = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "to"}, {"type": "text", "text": "tal"}]
    log = log_json(
        sample("a"),
        sample("b", parts),
        sample("c", error={"message": "timeout", "traceback": "..."}),
        sample("d", "attachment://7f", attachments={"7f": "a long answer"}),
        sample("e", output={"model": "m", "choices": []}),
        indent=indent,
    )
    found = rows(tmp_path, log)
    assert [p.text for p in found] == ["one", "total", "", "a long answer", ""]
    assert [p.status for p in found] == ["ok", "ok", "error", "ok", "error"]
    assert found[2].detail == "their run: timeout"


def test_inspect_archives_are_read_and_the_last_member_of_a_name_counts(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = log_eval(sample(2, "two"), sample(1, "old"), sample(1, "one"))
    assert said(rows(tmp_path, data)) == [("2", 1, "two"), ("1", 0, "one")]


def test_inspect_epochs_are_told_apart(tmp_path: Path) -> None:
    log = log_json(sample("a", "one"), sample("a", "two", epoch=2))
    with pytest.raises(PredictionError, match="answered in epochs 1, 2; choose one with --only"):
        rows(tmp_path, log)
    with pytest.raises(PredictionError, match="no epoch 3; available: 1, 2"):
        rows(tmp_path, log, only="3")
    assert said(rows(tmp_path, log, only="2")) == [("a", None, "two")]


@pytest.mark.parametrize("how", [STORED, DEFLATED, ZSTD])
def test_archives_are_read_however_they_are_packed(tmp_path: Path, how: int) -> None:
    long = "and on " * 1000
    data = log_eval(sample("a", long), sample("clips/b.wav", "two"), sample("c", ""), how=how)
    assert said(rows(tmp_path, data)) == [("a", None, long), ("clips/b.wav", None, "two"), ("c", None, "")]


# ---------------------------------------------------------------- what is not right


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ('{"eval": {}, "samples": 3}', "not an inspect log with samples"),
        ('{"eval": {}, "samples": [{"epoch": 1}]}', "sample 0: not a sample"),
        ('{"eval": {}, "samples": [{"id": 1, "epoch": "1"}]}', "sample 0: epoch is '1', not a number"),
        ('{"eval": {}, "samples": [{"id": 1.5}]}', "the id must be text or a number, found 1.5"),
    ],
)
def test_a_log_of_another_shape_is_refused_with_the_place(tmp_path: Path, log: str, message: str) -> None:
    with pytest.raises(PredictionError, match=message):
        rows(tmp_path, log)


@pytest.mark.parametrize("how", [DEFLATED, ZSTD])
def test_archives_that_are_cut_off_damaged_or_of_another_shape_are_refused(tmp_path: Path, how: int) -> None:
    whole = log_eval(sample("a"), sample("b", "two"), how=how)
    middle = whole.index(b"samples/b_epoch_1.json") + 40
    for data, message in (
        (whole[:-30], "fits none|not a whole zip"),
        (whole[:middle] + bytes(8) + whole[middle + 8 :], "not a whole zip archive .*Was the file cut off"),
        (directory_says(whole, "samples/b_epoch_1.json", 16, 7), "not a whole zip archive"),
        (directory_says(whole, "samples/b_epoch_1.json", 42, 7), "not a whole zip archive"),
        (log_eval(how=how), "has no samples"),
        (log_eval(how=how, **{"samples/1_epoch_1/events.json": b"[]"}), "samples in several parts are not read"),
        (log_eval(how=how, **{"samples/1_epoch_1.json": b"{"}), "samples/1_epoch_1.json:1: is not valid JSON"),
        (log_eval(how=how, **{"samples/1_epoch_1.json": b"[" * 100_000}), "is nested too deeply"),
        (b"PK\x03\x04" + bytes(40), "fits none"),
    ):
        with pytest.raises(PredictionError, match=message):
            rows(tmp_path, data)


@pytest.mark.parametrize("how", [DEFLATED, ZSTD])
def test_a_member_that_unpacks_to_more_than_a_sample_is_refused_whatever_the_directory_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: int
) -> None:
    monkeypatch.setattr("diva_bench.predictions.inspect_ai._MEMBER", 1 << 20)
    bomb = log_eval(sample(1, "x" * (8 << 20)), how=how)
    lying = directory_says(bomb, "samples/1_epoch_1.json", 24, 2000)
    for data in (bomb, lying):
        with pytest.raises(
            PredictionError, match=r"unpacks to more than 1,048,576 bytes; refused|not a whole zip archive"
        ):
            rows(tmp_path, data)
    monkeypatch.setattr("diva_bench.predictions.inspect_ai._ALL", 3 << 19)
    with pytest.raises(PredictionError, match=r"b_epoch_1.json: unpacks to more than [\d,]{7} bytes; refused"):
        rows(tmp_path, log_eval(sample("a", "x" * (3 << 17)), sample("b", "x" * (1 << 19)), how=how))


def test_what_no_python_can_unpack_is_told_with_the_command_that_converts_it(tmp_path: Path) -> None:
    data = log_eval(sample("a"))
    for offset, value, said in ((10, 99, "compression"), (8, 1, "password")):
        start = data.rindex(b"samples/a_epoch_1.json") - 46 + offset
        local = data.index(b"samples/a_epoch_1.json") - 30 + offset - 2
        odd = bytearray(data)
        odd[start], odd[local] = value, value
        with pytest.raises(PredictionError, match=rf"cannot be unpacked .*{said}.*inspect log convert --to json"):
            rows(tmp_path, bytes(odd))
