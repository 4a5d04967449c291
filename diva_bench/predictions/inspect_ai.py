"""inspect: evaluation logs of inspect_ai (inspect.aisi.org.uk/eval-logs.html), as .json or as .eval (a zip archive).

.json   one object: `eval` (with `task`, `model`), `status`, `samples`.
.eval   members header.json (or _journal/start.json of a run that did not end), samples/<id>_epoch_<n>.json, one sample
        each; a sample logged again is a second member of that name, and the last one counts.

A sample has `id` (text or a number; from 1 where the data gave none), `epoch`, `target` (text or a list), `output`
({`choices`: [{`message`: {`content`: text, or parts of which those with type "text" are the answer}}], `completion`,
`error`}) and `error` (an object where the sample failed). A sample or output with an error is status error here, never an
answer. Long texts may be kept once in `attachments` and named "attachment://<hash>".
Several epochs are several answers to a sample: --only N says which is meant. Ids that are exactly 1 to n, and not ids of
the task, are row numbers, checked against `target`.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import replace
from typing import Any

from diva_bench.errors import PredictionError
from diva_bench.predictions import Options, Prediction, Source

_MEMBER = 256 << 20  # bytes of one unpacked sample
_ALL = 4 << 30  # bytes of all of them: a small archive may unpack to anything
_CONVERT = "Convert it with `inspect log convert --to json`."


def fits_inspect(source: Source, options: Options) -> bool:
    if source.zipped:
        try:
            names = zipfile.ZipFile(io.BytesIO(source.data)).namelist()
        except zipfile.BadZipFile:
            return False
        return "header.json" in names or "_journal/start.json" in names
    if not source.text.lstrip().startswith("{") or source.first:  # an object on one line is JSON lines as well
        tree: Any = source.first
    else:
        try:
            tree = source.tree
        except PredictionError:
            return False
    return isinstance(tree, dict) and isinstance(tree.get("eval"), dict) and "samples" in tree


def read_inspect(source: Source, options: Options) -> list[Prediction]:
    samples = _unpacked(source) if source.zipped else _listed(source)
    found = [(_epoch(sample, where), _prediction(sample, where)) for where, sample in samples]
    epochs = sorted({epoch for epoch, _ in found})
    if options.only is not None and options.only not in map(str, epochs):
        raise PredictionError(f"{source.path}: no epoch {options.only}; there is {', '.join(map(str, epochs))}.")
    if options.only is None and len(epochs) > 1:
        raise PredictionError(
            f"{source.path}: every sample was answered in epochs {', '.join(map(str, epochs))}; say which with --only."
        )
    rows = [row for epoch, row in found if options.only in (None, str(epoch))]
    if {row.id for row in rows} == {str(i + 1) for i in range(len(rows))}:
        return [replace(row, row=int(str(row.id)) - 1) for row in rows]
    return rows


def _listed(source: Source) -> list[tuple[str, dict[str, Any]]]:
    tree = source.tree
    samples = tree.get("samples") if isinstance(tree, dict) else None
    if not isinstance(samples, list):
        raise PredictionError(f"{source.path}: not an inspect log with samples (a list `samples` is missing).")
    return [(f"{source.path}, sample {i}", _sample(s, f"{source.path}, sample {i}")) for i, s in enumerate(samples)]


def _unpacked(source: Source) -> list[tuple[str, dict[str, Any]]]:
    """The samples of an .eval archive; members are read in memory, never written, and no more than `_ALL` bytes."""
    found: dict[str, dict[str, Any]] = {}
    budget = _ALL
    try:
        with zipfile.ZipFile(io.BytesIO(source.data)) as archive:
            for member in archive.infolist():
                if not member.filename.startswith("samples/") or member.is_dir():
                    continue
                where = f"{source.path}, {member.filename}"
                if not member.filename.endswith(".json") or member.filename.count("/") > 1:
                    raise PredictionError(f"{where}: samples in several parts are not read. {_CONVERT}")
                with archive.open(member) as file:  # the size in the directory may lie
                    data = file.read(min(_MEMBER, budget) + 1)
                if len(data) > min(_MEMBER, budget):
                    raise PredictionError(f"{where}: unpacks to more than {min(_MEMBER, budget) >> 20} MiB; refused.")
                budget -= len(data)
                found[where] = _sample(json.loads(data), where)
    except (zipfile.BadZipFile, zlib.error, EOFError) as err:
        raise PredictionError(f"{source.path}: is not a whole zip archive ({err}). Was the file cut off?") from err
    except (NotImplementedError, RuntimeError) as err:  # a compression this Python does not have, or a password
        raise PredictionError(f"{source.path}: cannot be unpacked ({err}). {_CONVERT}") from err
    except ValueError as err:
        raise PredictionError(f"{source.path}: a sample in it is not valid JSON ({err}).") from err
    if not found:
        raise PredictionError(
            f"{source.path}: has no samples; it was written with --no-log-samples, or nothing was asked."
        )
    return list(found.items())


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
    """What the model said; None where the log has no answer."""
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
    """A text, or what `attachments` keeps for it."""
    said, kept = str(text or ""), sample.get("attachments")
    if said.startswith("attachment://") and isinstance(kept, dict):
        return str(kept.get(said.removeprefix("attachment://"), said))
    return said
