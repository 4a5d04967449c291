"""inspect: evaluation logs of inspect_ai (inspect.aisi.org.uk/eval-logs.html), as .json or as .eval (a zip archive).

.json   One object with `eval` (which has `task` and `model`), `status` and `samples`.
.eval   A zip archive with header.json (_journal/start.json if the run did not end) and one file for each sample,
        samples/<id>_epoch_<n>.json. If a name occurs twice, the last file counts. Files are compressed with deflate, or
        with zstd (method 93, since 2025). zipfile reads zstd only from Python 3.14 on, so pyarrow unpacks it.

A sample has these keys:

- `id`: text or a number; 1, 2, ... if the data has no ids.
- `epoch`: a number. With several epochs, a sample has several answers, and --only N chooses one.
- `target`: text or a list of texts.
- `output`: `choices` (the answer is `content` of the `message` of the first one: a text, or parts, of which those of type
  "text" count), `completion`, `error`.
- `error`: an object if the sample failed. If the sample or its output has an error, the status here is `error`, and there
  is no answer.
- `attachments`: long texts, which other keys name as "attachment://<hash>".

If the ids are 1 to n and the task has other ids, they are row numbers, and `target` is compared with the references.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow  # type: ignore[import-untyped]

from diva_bench import textfile
from diva_bench.errors import PredictionError
from diva_bench.predictions import AnswerFile, Prediction, ReadOptions

_MEMBER = 256 << 20  # bytes of one unpacked sample
_ALL = 4 << 30  # bytes of all samples, because a small archive may unpack to any size
_CHUNK = 1 << 20
_ZSTD = 93  # zipfile.ZIP_ZSTANDARD from Python 3.14 on
_SAMPLE = re.compile(r"samples/.+_epoch_\d+\.json")  # an id can have slashes
_CONVERT = "Convert it with `inspect log convert --to json`."


def fits_inspect(source: AnswerFile, options: ReadOptions) -> bool:
    if source.zipped:
        try:
            names = zipfile.ZipFile(io.BytesIO(source.data)).namelist()
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
            return False
        return "header.json" in names or "_journal/start.json" in names
    if not source.text.lstrip().startswith("{") or source.first:  # an object on one line is also JSON lines
        tree: Any = source.first
    else:
        try:
            tree = source.tree
        except PredictionError:
            return False
    return isinstance(tree, dict) and isinstance(tree.get("eval"), dict) and "samples" in tree


def read_inspect(source: AnswerFile, options: ReadOptions) -> list[Prediction]:
    samples = _unpacked(source) if source.zipped else _listed(source)
    # a later file replaces an earlier one of the same name; only the answers are kept, because samples are large
    predictions = {where: (_epoch(sample, where), _prediction(sample, where)) for where, sample in samples}
    if not predictions and source.zipped:
        raise PredictionError(
            f"{source.path}: has no samples; it was written with --no-log-samples, or nothing was asked."
        )
    epochs = sorted({epoch for epoch, _ in predictions.values()})
    if options.only is not None and options.only not in map(str, epochs):
        raise PredictionError(f"{source.path}: no epoch {options.only}; available: {', '.join(map(str, epochs))}.")
    if options.only is None and len(epochs) > 1:
        raise PredictionError(
            f"{source.path}: every sample was answered in epochs {', '.join(map(str, epochs))}; choose one with --only."
        )
    rows = [row for epoch, row in predictions.values() if options.only in (None, str(epoch))]
    if {row.id for row in rows} == {str(i + 1) for i in range(len(rows))}:
        return [replace(row, row=int(str(row.id)) - 1) for row in rows]
    return rows


def _listed(source: AnswerFile) -> Iterator[tuple[str, dict[str, Any]]]:
    tree = source.tree
    samples = tree.get("samples") if isinstance(tree, dict) else None
    if not isinstance(samples, list):
        raise PredictionError(f"{source.path}: not an inspect log with samples (a list `samples` is missing).")
    for i, sample in enumerate(samples):
        where = f"{source.path}, sample {i}"
        yield where, _sample(sample, where)


def _unpacked(source: AnswerFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """The samples of an .eval archive. Members are read in memory, never written, and at most `_ALL` bytes."""
    budget = _ALL
    try:
        with zipfile.ZipFile(io.BytesIO(source.data)) as archive:
            for member in archive.infolist():
                if not member.filename.startswith("samples/") or member.is_dir():
                    continue
                where = f"{source.path}, {member.filename}"
                if not _SAMPLE.fullmatch(member.filename):
                    raise PredictionError(f"{where}: samples in several parts are not read. {_CONVERT}")
                limit = min(_MEMBER, budget)
                data = b"" if member.file_size > limit else _content(source, archive, member, limit)
                if max(len(data), member.file_size) > limit:  # the size in the directory may be wrong
                    raise PredictionError(f"{where}: unpacks to more than {limit:,} bytes; refused.")
                budget -= len(data)
                text = textfile.decode(data, where, PredictionError)
                yield where, _sample(textfile.json_value(text, where, PredictionError, mend=True), where)
    except (zipfile.BadZipFile, zlib.error, EOFError) as err:
        raise PredictionError(f"{source.path}: is not a whole zip archive ({err}). Was the file cut off?") from err
    except (NotImplementedError, RuntimeError) as err:  # an unsupported compression, or a password
        raise PredictionError(f"{source.path}: cannot be unpacked ({err}). {_CONVERT}") from err
    except (OSError, ValueError) as err:  # an impossible name or size in the directory
        raise PredictionError(f"{source.path}: is not a right zip archive ({err}).") from err


def _content(source: AnswerFile, archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
    """The unpacked content of a member, at most `limit` + 1 bytes. Raises BadZipFile if it is damaged."""
    if member.compress_type != _ZSTD or member.flag_bits & 1:  # encrypted: zipfile refuses it
        with archive.open(member) as file:
            return file.read(limit + 1)
    # the local header is 30 bytes, the last four of which are the lengths of the name and the extra field after it
    start = member.header_offset + 30
    header = source.data[member.header_offset : start]
    if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile(f"{member.filename} is not where the archive says")
    start += int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    packed = pyarrow.py_buffer(memoryview(source.data)[start : start + member.compress_size])
    data = bytearray()
    try:
        with pyarrow.CompressedInputStream(pyarrow.BufferReader(packed), "zstd") as stream:
            while len(data) <= limit and (part := stream.read(_CHUNK)):
                data += part
    except (OSError, pyarrow.ArrowException) as err:
        raise zipfile.BadZipFile(f"{member.filename}: {err}") from err
    if len(data) <= limit and zlib.crc32(data) != member.CRC:
        raise zipfile.BadZipFile(f"{member.filename}: another checksum than the archive says")
    return bytes(data)


def _sample(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or "id" not in value:
        raise PredictionError(f"{where}: not a sample of an inspect log (no `id`).")
    return value


def _epoch(sample: dict[str, Any], where: str) -> int:
    epoch = sample.get("epoch", 1)
    if not isinstance(epoch, int):
        raise PredictionError(f"{where}: epoch is {epoch!r}, not a number.")
    return epoch


def _prediction(sample: dict[str, Any], where: str) -> Prediction:
    if not isinstance(sample["id"], str | int):
        raise PredictionError(f"{where}: the id must be text or a number, found {sample['id']!r}.")
    output = sample.get("output")
    output = output if isinstance(output, dict) else {}
    failed = _reason(sample.get("error")) or _reason(output.get("error"))
    text = None if failed else _completion(output, sample)
    target = sample.get("target")
    targets = target if isinstance(target, list) else [target]
    return Prediction(
        where,
        text or "",
        id=str(sample["id"]),
        status="ok" if text is not None else "error",
        detail=(f"their run: {failed}" if failed else "" if text is not None else "the log has no answer")[:500],
        reference=json.dumps(targets) if all(isinstance(t, str) and t.strip() for t in targets) else None,
    )


def _reason(error: Any) -> str:
    if not error:
        return ""
    return str(error.get("message") or "error") if isinstance(error, dict) else str(error)


def _completion(output: dict[str, Any], sample: dict[str, Any]) -> str | None:
    """The text of the answer; None if the log has none."""
    choices = output.get("choices")
    content: Any = None
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        message = choices[0].get("message")
        content = message.get("content") if isinstance(message, dict) else None
    if content is None:
        content = output.get("completion")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(_attached(part.get("text"), sample) for part in parts)
    return _attached(content, sample) if isinstance(content, str) else None


def _attached(text: Any, sample: dict[str, Any]) -> str:
    """A text, or its entry in `attachments`."""
    content, attachments = str(text or ""), sample.get("attachments")
    if content.startswith("attachment://") and isinstance(attachments, dict):
        return str(attachments.get(content.removeprefix("attachment://"), content))
    return content
