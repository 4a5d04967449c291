"""A vote, and what a choice can be. A rater chooses a system, or says that the answers are equally good or equally bad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

TIE, BOTH_BAD = "tie", "both_bad"
"""Choices that name no system. No system may have these names."""
RESERVED = frozenset({TIE, BOTH_BAD})
MOST_SYSTEMS = 4
"""The largest number of answers on one page."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One choice between the answers of some systems to one item.

    Attributes:
        id: Unique. A vote that is sent twice has the same id, and is stored once.
        item: The question: the clip of a task, or a recording.
        systems: The compared systems, sorted.
        choice: One of them, TIE or BOTH_BAD.
        rater: Hash of the rater's name; None: the source of the votes does not tell raters apart.
        shown: The systems in the order on the page; None: unknown.
        expected: The right choice of an attention check; None: it is no check.
        shown_at: When the answers were shown, UTC in ISO 8601; "" if unknown.
        at: When the vote was stored; "" if unknown.
        simulated: The scorer or LLM judge that voted; "" for a person.
        versions: What the answers and the page were made with.
    """

    id: str
    item: str
    systems: tuple[str, ...]
    choice: str
    rater: str | None = None
    shown: tuple[str, ...] | None = None
    expected: str | None = None
    shown_at: str = ""
    at: str = ""
    simulated: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def decided(self) -> bool:
        """Whether a system was chosen."""
        return self.choice not in RESERVED

    @property
    def seconds(self) -> float | None:
        """From the answers to the vote; None if a time is unknown."""
        if not (self.shown_at and self.at):
            return None
        return (datetime.fromisoformat(self.at) - datetime.fromisoformat(self.shown_at)).total_seconds()


def now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
