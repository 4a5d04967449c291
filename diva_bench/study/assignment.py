"""Which item and which systems a rater sees next, and in which order.

The comparison with the fewest votes comes first, then the item with the fewest votes in it, so that comparisons and items
stay balanced while raters come and go. The order on the page is counterbalanced for every rater: it is the one in which
the systems have stood least often at their places for this rater. What is still equal is decided at random, from the
rater's seed.
"""

from __future__ import annotations

import itertools
import json
import random
import secrets
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

from diva_bench.study.store import Store
from diva_bench.study.votes import now

RIGHT, WRONG = "right", "wrong"
"""The "systems" of an attention check."""
LIVE = "recording-"
"""How the id of an item begins that a rater records."""


@dataclass(frozen=True, slots=True)
class Design:
    """What is shown to whom.

    Attributes:
        items: Item -> the systems that have an answer to it. Empty: raters record their own items.
        systems: All systems.
        shown: Answers on one page.
        per_rater: Votes of one rater, without attention checks.
        per_item: Most votes of one item in one comparison; None: no limit.
        total: Most votes of the whole study, without attention checks; None: no limit.
        checks: Ids of the attention checks.
        minutes: After this time an assignment without a vote no longer counts as one that will be voted on.
        alike: (item, systems, sorted) whose answers are not all different: nobody is asked which one is better.
    """

    items: Mapping[str, Sequence[str]]
    systems: Sequence[str]
    shown: int = 2
    per_rater: int = 20
    per_item: int | None = None
    total: int | None = None
    checks: Sequence[str] = ()
    minutes: float = 60.0
    alike: Set[tuple[str, tuple[str, ...]]] = frozenset()


@dataclass(frozen=True, slots=True)
class Assignment:
    """A page for a rater.

    Attributes:
        id: Of the assignment, and of its vote.
        item: The question.
        shown: The systems in the order on the page.
        expected: The right choice of an attention check.
        shown_at: When the answers were shown first; "" if they were not.
    """

    id: str
    item: str
    shown: tuple[str, ...]
    expected: str | None = None
    shown_at: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Votes of a rater without attention checks, of `of`; why there is nothing to vote on now ("" if there is)."""

    votes: int
    of: int
    ended: Literal["", "finished", "full", "no items"] = ""


@dataclass(slots=True)
class _Seen:
    """What a rater has seen."""

    items: set[str] = field(default_factory=set)
    votes: int = 0
    places: int = 0
    orders: list[tuple[str, ...]] = field(default_factory=list)


def next_assignment(store: Store, design: Design, rater: str, *, at_once: bool = False) -> Assignment | Progress:
    """The rater's open assignment, or a new one; or a Progress that says why there is none.

    It is one transaction, so that two raters who ask at the same time do not get the same last vote. `at_once`: a new one is
    shown now, which saves a transaction.
    """
    with store.writing() as db:
        waiting = db.execute(
            "SELECT id, item, shown, expected, shown_at FROM assignments WHERE rater = ? AND state = 'open' "
            "ORDER BY rowid DESC LIMIT 1",
            (rater,),
        ).fetchone()
        if waiting:
            id, item, shown, expected, shown_at = waiting
            return Assignment(id, item, _systems(shown), expected, shown_at)
        seed = int(db.execute("SELECT seed FROM raters WHERE rater = ?", (rater,)).fetchone()[0])
        seen = _seen(db, rater)
        chosen = _choose(db, design, seen, seed)
        if isinstance(chosen, Progress):
            return chosen
        at = now()
        assignment = Assignment(secrets.token_hex(16), *chosen, shown_at=at if at_once else "")
        order = json.dumps(assignment.shown)
        db.execute(
            "INSERT INTO assignments (id, rater, item, shown, expected, at, shown_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (assignment.id, rater, assignment.item, order, assignment.expected, at, assignment.shown_at),
        )
        return assignment


def progress(store: Store, design: Design, rater: str) -> Progress:
    """How far a rater is."""
    found = store.one("SELECT count(*) FROM votes WHERE rater = ? AND expected IS NULL", (rater,))
    votes = int(found[0]) if found else 0
    return Progress(votes, design.per_rater, "finished" if votes >= design.per_rater else "")


@lru_cache(1024)
def _systems(shown: str) -> tuple[str, ...]:
    """The systems of a stored order; there are few different ones, and each page reads all of them."""
    return tuple(json.loads(shown))


def _seen(db: sqlite3.Connection, rater: str) -> _Seen:
    seen = _Seen()
    for item, shown, expected, state in db.execute(
        "SELECT item, shown, expected, state FROM assignments WHERE rater = ?", (rater,)
    ):
        seen.items.add(item)
        seen.places += state != "failed"
        if state == "voted" and expected is None:
            seen.votes += 1
        if expected is None:
            seen.orders.append(_systems(shown))
    return seen


def _choose(
    db: sqlite3.Connection, design: Design, seen: _Seen, seed: int
) -> tuple[str, tuple[str, ...], str | None] | Progress:
    """(item, order, right choice of a check or None)."""
    if check := _check_now(design, seen, seed):
        order = [RIGHT, WRONG]
        random.Random(f"{seed} {check}").shuffle(order)
        return check, tuple(order), RIGHT
    if seen.votes >= design.per_rater:
        return Progress(seen.votes, design.per_rater, "finished")
    counts = _counts(db, design)
    if design.total is not None and counts.total() >= design.total:
        return Progress(seen.votes, design.per_rater, "full")
    rng = random.Random(f"{seed} {seen.places} {len(seen.items)}")
    found = _least(design, seen, counts, rng)
    if found is None:
        return Progress(seen.votes, design.per_rater, "no items")
    item, systems = found
    return item, _order(systems, seen.orders, rng), None


def _check_now(design: Design, seen: _Seen, seed: int) -> str | None:
    """The attention check that is next, if one is due. They stand at random places, not at the first one."""
    checks = list(design.checks)
    if not checks:
        return None
    rng = random.Random(f"{seed} checks")
    rng.shuffle(checks)
    places = sorted(rng.sample(range(1, design.per_rater + len(checks)), min(len(checks), design.per_rater)))
    due = [check for check, place in zip(checks, places, strict=False) if place <= seen.places]
    return next((check for check in due if check not in seen.items), None)


def _counts(db: sqlite3.Connection, design: Design) -> Counter[tuple[str, tuple[str, ...]]]:
    """(item, systems, sorted) -> votes, and assignments of the last `minutes` that may become votes."""
    since = (datetime.now(UTC) - timedelta(minutes=design.minutes)).isoformat(timespec="milliseconds")
    counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for item, shown, count in db.execute(
        "SELECT item, shown, count(*) FROM assignments WHERE expected IS NULL AND (state = 'voted' OR state = 'open' "
        "AND at > ?) GROUP BY item, shown",
        (since,),
    ):
        counts[item, tuple(sorted(_systems(shown)))] += count
    return counts


def _least(
    design: Design, seen: _Seen, counts: Counter[tuple[str, tuple[str, ...]]], rng: random.Random
) -> tuple[str, tuple[str, ...]] | None:
    """The item and the systems with the fewest votes that the rater may still see."""
    of_set: Counter[tuple[str, ...]] = Counter()
    for (_, systems), count in counts.items():
        of_set[systems] += count
    sets = list(itertools.combinations(sorted(design.systems), design.shown))
    rng.shuffle(sets)
    sets.sort(key=lambda systems: of_set[systems])
    if not design.items:
        return LIVE + secrets.token_hex(8), sets[0]
    for systems in sets:
        free = [
            item
            for item, have in design.items.items()
            if item not in seen.items
            and set(systems) <= set(have)
            and (item, systems) not in design.alike
            and (design.per_item is None or counts[item, systems] < design.per_item)
        ]
        if free:
            fewest = min(counts[item, systems] for item in free)
            return rng.choice([item for item in free if counts[item, systems] == fewest]), systems
    return None


def _order(systems: Sequence[str], before: Sequence[tuple[str, ...]], rng: random.Random) -> tuple[str, ...]:
    """The order in which these systems have stood least often at their places, first among themselves, then in all."""
    mine, every = (
        Counter((system, place) for order in orders for place, system in enumerate(order))
        for orders in ([order for order in before if set(order) == set(systems)], before)
    )
    orders = list(itertools.permutations(systems))
    rng.shuffle(orders)

    def often(order: tuple[str, ...]) -> tuple[int, int]:
        places = [(system, place) for place, system in enumerate(order)]
        return sum(mine[p] for p in places), sum(every[p] for p in places)

    return min(orders, key=often)
