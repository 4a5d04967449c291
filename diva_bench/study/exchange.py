"""Votes out of a study, for other programs, and into one, from the vote files of others.

`read_votes` reads these forms:

- our own export (JSON), with nothing lost;
- the votes of the DiVA paper's study (TinyDB: `{"_default": {"1": {"audio_hash": ..., "best": ...}}}`). They do not tell
  raters apart and do not say which answer stood first;
- rows with `model_a`, `model_b` and `winner` (`model_a`, `model_b`, `tie`, `tie (bothbad)`), as Chatbot Arena publishes them,
  as JSON, JSON lines or CSV; `judge` or `rater` names the rater, and `question_id` or `item` the item.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from diva_bench import textfile
from diva_bench.errors import PredictionError
from diva_bench.printable import as_json, visible
from diva_bench.specs import problems
from diva_bench.study.store import Store
from diva_bench.study.votes import BOTH_BAD, RESERVED, TIE, Vote, now
from diva_bench.tables import Column, Table

FORMAT = "diva-bench study"
VERSION = 1
_LONGEST = 200  # characters of a name or an id
_FORMS = (
    "Allowed: an export of `diva-bench study export`, the DiVA study's user_study.json, or rows with model_a, model_b and "
    "winner (JSON, JSON lines, CSV)."
)
_WINNERS = {"tie": TIE, "tie (bothbad)": BOTH_BAD, "bothbad": BOTH_BAD, "both_bad": BOTH_BAD}


@dataclass(frozen=True, slots=True)
class Imported:
    """The content of a vote file.

    Attributes:
        form: What kind of file it is, for people.
        votes: The votes.
        raters: Hash of the rater -> scorer or judge that voted under it, "" for a person; only of our own export.
        answers: (item, system, text).
        failures: (item, system, reason, time) of questions that a system did not answer; only of our own export.
    """

    form: str
    votes: list[Vote]
    raters: Mapping[str, str] = field(default_factory=dict)
    answers: Sequence[tuple[str, str, str]] = ()
    failures: Sequence[tuple[str, str, str, str]] = ()


class _Stored(BaseModel):
    """A vote of our own export."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    item: str
    systems: list[str]
    choice: str
    rater: str | None = None
    shown: list[str] | None = None
    expected: str | None = None
    shown_at: str = ""
    at: str = ""
    simulated: str = ""
    versions: dict[str, str] = {}


# ---------------------------------------------------------------- out


def as_document(store: Store) -> str:
    """A study as JSON: votes, raters, answers, failures, withdrawals, and the names of kept recordings, whose sound stays in
    its folder."""
    raters = [
        {"rater": r, "simulated": s, "started": b, "finished": f, "keeps": bool(k), "questions": json.loads(q)}
        for r, s, b, f, k, q in store.rows("SELECT rater, simulated, started, finished, keeps, questions FROM raters")
    ]
    answers = [{"item": i, "system": s, "text": t} for (i, s), t in store.answers().items()]
    recordings = [
        {"file": f"{n}.wav", "rater": r, "item": i, "seconds": s}
        for n, r, i, s in store.rows("SELECT id, rater, item, seconds FROM recordings")
    ]
    failures = [
        {"item": i, "system": s, "reason": why, "at": at}
        for i, s, why, at in store.rows("SELECT item, system, reason, at FROM failures")
    ]
    withdrawals = [
        {"rater": r, "at": at, "votes": v, "recordings": n}
        for r, at, v, n in store.rows("SELECT rater, at, votes, recordings FROM withdrawals")
    ]
    return (
        as_json(
            {
                "format": FORMAT,
                "version": VERSION,
                "exported": now(),
                "votes": [_plain(vote) for vote in store.votes()],
                "raters": raters,
                "answers": answers,
                "recordings": recordings,
                "failures": failures,
                "withdrawals": withdrawals,
            }
        )
        + "\n"
    )


def _plain(vote: Vote) -> dict[str, Any]:
    return asdict(vote)


def as_table(votes: Iterable[Vote]) -> Table:
    """A row for every vote; its CSV is safe for spreadsheets."""
    names = [
        "id",
        "rater",
        "simulated",
        "item",
        "systems",
        "shown",
        "choice",
        "check",
        "shown_at",
        "at",
        "seconds",
        "versions",
    ]
    rows = [
        [
            vote.id, vote.rater, vote.simulated, vote.item, " | ".join(vote.systems),
            None if vote.shown is None else " | ".join(vote.shown), vote.choice,
            "" if vote.expected is None else "passed" if vote.choice == vote.expected else "failed",
            vote.shown_at, vote.at, vote.seconds, json.dumps(dict(vote.versions), sort_keys=True),
        ]
        for vote in votes
    ]  # fmt: skip
    return Table("", [Column(name, digits=3) for name in names], rows)


# ---------------------------------------------------------------- in


def read_votes(path: Path) -> Imported:
    """The votes of a file.

    Raises:
        PredictionError: The file is of none of these forms, or a vote in it is not valid; the message names it.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        table = textfile.DelimitedTable(textfile.lines(path, PredictionError), str(path), PredictionError)
        table.need(["model_a", "model_b", "winner"], _FORMS)
        return _checked(path, Imported("pairs", list(_pairs(table, path))))
    if path.suffix.lower() == ".jsonl":
        rows = textfile.json_rows(textfile.lines(path, PredictionError), str(path), PredictionError)
        return _checked(path, Imported("pairs", list(_pairs(rows, path))))
    content = textfile.json_file(path, PredictionError)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        return _checked(path, _own(content, path))
    if isinstance(content, dict) and isinstance(content.get("_default"), dict):
        return _checked(path, Imported("the DiVA paper's study", list(_diva(content["_default"], path))))
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        return _checked(path, Imported("pairs", list(_pairs(enumerate(content, 1), path, "row "))))
    raise PredictionError(f"{path}: is no file of votes that is known. {_FORMS}")


def into(store: Store, found: Imported) -> int:
    """Add the votes of a file to a study. Returns how many were not there before."""
    for rater, simulated in found.raters.items():
        if not store.withdrawn(rater):
            store.enrol(rater, simulated=simulated)
    store.add_answers((item, system, text, None, "") for item, system, text in found.answers)
    store.add_failures(found.failures)
    return store.add(found.votes)


def _own(content: Mapping[str, Any], path: Path) -> Imported:
    if content.get("version") != VERSION:
        raise PredictionError(
            f"{path}: version {content.get('version')!r} of the export; this diva-bench reads {VERSION}."
        )
    votes, raters = [], {}
    for number, row in enumerate(_list(content, "votes", path), 1):
        try:
            stored = _Stored.model_validate(row)
        except ValidationError as err:
            problem = err.errors(include_url=False)[0]
            where = problems.dotted(problems.place(problem, row if isinstance(row, dict) else {})) or "the vote"
            raise PredictionError(f"{path}: vote {number}: {where} {problems.message(problem)}.") from err
        fields = stored.model_dump() | {
            "systems": tuple(stored.systems),
            "shown": None if stored.shown is None else tuple(stored.shown),
        }
        votes.append(Vote(**fields))
        if stored.rater is not None:
            raters[_name(stored.rater, f"{path}: vote {number}", "rater", hexadecimal=True)] = stored.simulated
    answers = [(i, s, t) for i, s, t in _texts(content, "answers", ("item", "system", "text"), path)]
    told = ("item", "system", "reason", "at")
    failures = (
        [(i, s, r, at) for i, s, r, at in _texts(content, "failures", told, path)] if "failures" in content else []
    )
    return Imported("an export of diva-bench", votes, raters, answers, failures)


def _texts(content: Mapping[str, Any], key: str, names: Sequence[str], path: Path) -> Iterator[list[str]]:
    """The texts of these names in every row of a list."""
    for number, row in enumerate(_list(content, key, path), 1):
        texts = [row.get(name) for name in names] if isinstance(row, dict) else []
        if not texts or not all(isinstance(text, str) for text in texts):
            raise PredictionError(
                f"{path}: {key.removesuffix('s')} {number}: must have the texts {', '.join(names[:-1])} and {names[-1]}."
            )
        yield [str(text) for text in texts]


def _list(content: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    rows = content.get(key)
    if not isinstance(rows, list):
        raise PredictionError(f"{path}: {key} must be a list.")
    return rows


def _diva(rows: Mapping[str, Any], path: Path) -> Iterator[Vote]:
    """The same audio may have several votes, so the number of the row is part of the id."""
    bests = sorted({row.get("best") for row in rows.values() if isinstance(row, dict)} - {None}, key=str)
    if not all(isinstance(best, str) for best in bests) or len(set(bests) - RESERVED) != 2:
        raise PredictionError(
            f"{path}: best names {len(bests)} systems ({', '.join(visible(str(best)) for best in bests[:5])}); two are compared."
        )
    systems = tuple(str(best) for best in bests if best not in RESERVED)
    for number, row in rows.items():
        if not (isinstance(row, dict) and isinstance(row.get("audio_hash"), str) and isinstance(row.get("best"), str)):
            raise PredictionError(f"{path}: row {visible(number)!r} must have the texts audio_hash and best.")
        yield Vote(_id("diva", number, row["audio_hash"], row["best"]), row["audio_hash"], systems, row["best"])


def _pairs(rows: Iterable[tuple[int, Mapping[str, Any]]], path: Path, unit: str = "") -> Iterator[Vote]:
    for number, row in rows:
        where = f"{path}:{unit}{number}"
        first, second = (_name(row.get(key), where, key) for key in ("model_a", "model_b"))
        winner = str(row.get("winner", "")).strip()
        choice = {"model_a": first, "model_b": second, **_WINNERS}.get(winner, winner)
        if first == second or choice not in (first, second, *RESERVED):
            raise PredictionError(
                f"{where}: winner is {visible(winner)[:80]!r} for {visible(first)!r} and {visible(second)!r}; allowed: model_a, "
                "model_b, tie, tie (bothbad), and two different models."
            )
        rater = row.get("rater", row.get("judge"))
        item = row.get("item", row.get("question_id"))
        name = _name(item if isinstance(item, str) else str(number if item is None else item), where, "item")
        hashed = (
            None if rater in (None, "") else hashlib.sha256(str(rater).encode("utf-8", "surrogatepass")).hexdigest()
        )
        systems = (min(first, second), max(first, second))
        yield Vote(
            _id("pairs", str(number), name, first, second, winner, str(rater)), name, systems, choice,
            None if hashed is None else hashed[:32], (first, second),
        )  # fmt: skip


def _id(*parts: str) -> str:
    """The same row has the same id in every import."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _name(value: object, where: str, what: str, *, hexadecimal: bool = False) -> str:
    """A text that is short enough for a name."""
    good = isinstance(value, str) and 0 < len(value) <= _LONGEST and value not in RESERVED
    if good and hexadecimal:
        good = len(str(value)) == 32 and set(str(value)) <= set("0123456789abcdef")
    if not good:
        rule = (
            "32 hexadecimal digits"
            if hexadecimal
            else f"text of 1 to {_LONGEST} characters, and not {' or '.join(RESERVED)}"
        )
        raise PredictionError(f"{where}: {what} must be {rule}.")
    return str(value)


def _checked(path: Path, found: Imported) -> Imported:
    """The votes, if there are some and each fits its systems."""
    if not found.votes:
        raise PredictionError(f"{path}: has no votes.")
    for number, vote in enumerate(found.votes, 1):
        where = f"{path}: vote {number}"
        for text in (vote.id, vote.item, *vote.systems):
            _name(text, where, "id, item and system")
        if (
            len(set(vote.systems)) != len(vote.systems)
            or len(vote.systems) < 2
            or list(vote.systems) != sorted(vote.systems)
        ):
            raise PredictionError(f"{where}: systems must be two or more different names, sorted.")
        if vote.shown is not None and sorted(vote.shown) != list(vote.systems):
            raise PredictionError(f"{where}: shown must have the same systems, in the order on the page.")
        if vote.choice not in (*vote.systems, *RESERVED):
            raise PredictionError(
                f"{where}: choice {visible(vote.choice)[:80]!r} is none of its systems, {TIE} or {BOTH_BAD}."
            )
        try:
            _ = vote.seconds
        except (ValueError, TypeError) as err:
            raise PredictionError(f"{where}: shown_at and at must be times in ISO 8601, both in UTC.") from err
    ids = [vote.id for vote in found.votes]
    if len(set(ids)) != len(ids):
        again = next(id for id in ids if ids.count(id) > 1)
        raise PredictionError(f"{path}: two votes have the id {visible(again)!r}.")
    return found
