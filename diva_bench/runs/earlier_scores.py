"""Results of an earlier scoring, for scorers that now lack something: weights, an interpreter, a module.

Scoring again must not delete what cannot be measured again here. A stored value stays, with its signature, if the
answers are the same; otherwise it is dropped. A message reports both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from diva_bench.errors import UnreadableRun
from diva_bench.runs.schemas import Summary, checked
from diva_bench.runs.store import Json, RunFolder
from diva_bench.scorers import METRICS, NOT_SCORED
from diva_bench.types import Row, Scorer

_OF_CHANCE = ("baseline", "baseline_of", "baselines", "at_chance", "no_baseline")
_COUNTS = ("n", "scored", "errors", "unsupported")


@dataclass(frozen=True, slots=True)
class ScorerResult:
    """The earlier result of one scorer.

    Attributes:
        signature: Its signature.
        metrics: As in summary.json.
        groups: As in summary.json.
        rows: Id -> row, if scores.jsonl still has it.
        chance: Entries of the comparison with the baselines.
        agreement: Of its metric with the scores that came with imported answers.
        doubt: Why it may not fit, else "".
    """

    signature: str
    metrics: Mapping[str, Json]
    groups: Mapping[str, Mapping[str, Mapping[str, float]]]
    rows: Mapping[str, Row]
    chance: Mapping[str, Any]
    agreement: Json | None
    doubt: str


class EarlierScores:
    """The summary and the rows of a run folder before it is scored again."""

    def __init__(self, folder: RunFolder) -> None:
        self.summary: Summary | None = None
        self._raw: Json = {}
        self._head: Json = {}
        self._rows: Mapping[str, Json] = {}
        try:
            raw = folder.summary()
            self.summary, self._raw = checked(Summary, raw, "summary.json"), raw
            self._head, self._rows = folder.scores()
        except UnreadableRun:
            pass  # an unreadable result is dropped

    def of(self, name: str, scorer: Scorer, answers: str, counts: Mapping[str, int]) -> ScorerResult | str | None:
        """The earlier result of a scorer; the reason why it is invalid now; or None if there is none.

        Args:
            answers: sha256 of the answers that are scored now.
            counts: Their counts, by the keys of a summary. Summaries of older versions have no sha256: only counts are
                compared.
        """
        signature = self.summary.signature.get(name, NOT_SCORED) if self.summary else NOT_SCORED
        metrics = {
            metric: entry for metric, entry in self._raw.get("metrics", {}).items() if _owner(metric, entry) == name
        }
        if self.summary is None or NOT_SCORED in signature or not metrics:
            return None
        digest_then = self.summary.answers
        if digest_then != answers if digest_then else any(self._raw[key] != counts[key] for key in _COUNTS):
            return "the answers have changed since it measured them"
        same = self._head.get("signature", {}).get(name) == signature and self._head.get("answers") == answers
        return ScorerResult(
            signature,
            metrics,
            {
                group: {v: {m: x for m, x in cells.items() if m in metrics} for v, cells in values.items()}
                for group, values in self._raw["groups"].items()
            },
            {ident: line[name] for ident, line in self._rows.items()} if same else {},
            {key: self._raw[key] for key in _OF_CHANCE if key in self._raw},
            agreed if (agreed := self._raw.get("agreement")) and agreed["metric"] in metrics else None,
            _doubt(digest_then, signature, scorer),
        )


def _owner(metric: str, entry: Mapping[str, Any]) -> str:
    """The scorer of a stored metric; summaries of older versions do not name it."""
    return entry.get("scorer") or next((m.scorer for m in METRICS if m.name == metric), metric.partition(".")[0])


def _doubt(answers: str | None, signature: str, scorer: Scorer) -> str:
    pattern = getattr(scorer, "would_sign", None)
    doubts = [] if answers else ["its summary is older, so only the numbers of answers could be compared"]
    if pattern and not fnmatchcase(signature, pattern):
        doubts.append("it is of another version or setting of the scorer than there is now")
    return "; ".join(doubts)


def in_words(name: str, why: str, value: ScorerResult | str | None) -> str:
    """The message about a scorer that lacks something."""
    why = " ".join(why.split()).rstrip(".")
    if isinstance(value, str):
        return f"{name} cannot be measured here ({why}); its stored value is dropped: {value}."
    if value is None:
        return f"{name} cannot be measured here ({why}); there is no stored value."
    doubt = f" Note: {value.doubt}." if value.doubt else ""
    return f"{name} cannot be measured here ({why}); its stored value is kept: {value.signature}.{doubt}"


def rows_of(value: ScorerResult, ids: Iterable[str]) -> list[Row]:
    """The stored rows of these answers, in order; empty ones where none is stored."""
    return [value.rows.get(ident, {}) for ident in ids]
