"""What a rater sees: balanced comparisons and orders, nothing twice, within the quotas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from diva_bench.study.assignment import LIVE, RIGHT, Assignment, Design, Progress, next_assignment, progress
from diva_bench.study.store import Store

SYSTEMS = ("a", "b", "c")
ITEMS = {f"item{i}": SYSTEMS for i in range(12)}
DESIGN = Design(ITEMS, SYSTEMS, per_rater=6)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "study.sqlite", create=True) as opened:
        yield opened


def pages(store: Store, design: Design, name: str) -> tuple[list[Assignment], Progress]:
    """All pages of a rater, who always chooses what stands first."""
    store.enrol(rater := store.hashed(name))
    seen = []
    while isinstance(page := next_assignment(store, design, rater), Assignment):
        store.vote(rater, page.id, page.shown[0])
        seen.append(page)
    return seen, page


def test_comparisons_and_items_are_balanced_over_raters(store: Store) -> None:
    every = [page for i in range(12) for page in pages(store, DESIGN, f"r{i}")[0]]
    pairs = Counter(tuple(sorted(page.shown)) for page in every)
    assert pairs == {("a", "b"): 24, ("a", "c"): 24, ("b", "c"): 24}
    cells = Counter((page.item, tuple(sorted(page.shown))) for page in every)
    assert set(cells.values()) <= {1, 2, 3}
    items = Counter(page.item for page in every)
    assert max(items.values()) - min(items.values()) <= 3


def test_the_order_is_counterbalanced_for_every_rater_and_no_item_is_seen_twice(store: Store) -> None:
    firsts = Counter()
    for i in range(8):
        seen, _ = pages(store, replace(DESIGN, systems=("a", "b"), per_rater=8), f"r{i}")
        assert Counter(page.shown for page in seen) == {("a", "b"): 4, ("b", "a"): 4}
        assert len({page.item for page in seen}) == len(seen) == 8
        firsts[seen[0].shown] += 1
    assert len(firsts) == 2  # not always the same order at the beginning


def test_no_rater_sees_an_item_whose_answers_are_alike(store: Store) -> None:
    same = frozenset({*((f"item{i}", ("a", "b")) for i in range(10)), ("item11", ("a", "c"))})
    seen, end = pages(store, replace(DESIGN, per_rater=12, alike=same), "ann")
    assert not {(page.item, tuple(sorted(page.shown))) for page in seen} & same
    assert len(seen) == 12
    assert end.ended == "finished"
    two = replace(DESIGN, systems=("a", "b"), per_rater=12, alike=same)
    seen, end = pages(store, two, "bob")
    assert ({page.item for page in seen}, end.ended) == ({"item10", "item11"}, "no items")


def test_three_answers_stand_equally_often_at_every_place(store: Store) -> None:
    seen, _ = pages(store, replace(DESIGN, shown=3), "ann")
    places = Counter((system, place) for page in seen for place, system in enumerate(page.shown))
    assert set(places.values()) == {2}


@pytest.mark.parametrize(
    ("change", "count", "ended"),
    [
        ({}, 6, "finished"),
        ({"per_rater": 20}, 12, "no items"),
        ({"total": 4}, 4, "full"),
        ({"items": {}, "per_rater": 3}, 3, "finished"),
        ({"items": {"x": ("a", "b"), "y": ("a",)}}, 1, "no items"),
    ],
)
def test_a_rater_ends_at_a_quota(store: Store, change: dict[str, object], count: int, ended: str) -> None:
    design = replace(DESIGN, **change)  # type: ignore[arg-type]
    seen, end = pages(store, design, "ann")
    assert len(seen) == count
    assert (end.votes, end.ended) == (count, ended)
    assert progress(store, design, store.hashed("ann")).votes == count


def test_an_item_has_no_more_votes_in_a_comparison_than_allowed(store: Store) -> None:
    design = replace(DESIGN, systems=("a", "b"), items={"x": ("a", "b"), "y": ("a", "b")}, per_item=2)
    counts = [len(pages(store, design, f"r{i}")[0]) for i in range(3)]
    assert counts == [2, 2, 0]


def test_a_rater_who_comes_back_gets_the_same_open_page(store: Store) -> None:
    store.enrol(rater := store.hashed("ann"))
    page = next_assignment(store, DESIGN, rater)
    with Store(store.path) as again:
        assert next_assignment(again, DESIGN, rater) == page


def test_open_pages_count_for_the_quota_until_they_are_old(store: Store) -> None:
    design = replace(DESIGN, total=1)
    for name in ("ann", "ben"):
        store.enrol(store.hashed(name))
    assert isinstance(next_assignment(store, design, store.hashed("ann")), Assignment)
    assert isinstance(next_assignment(store, design, store.hashed("ben")), Progress)
    with store.writing() as db:
        db.execute("UPDATE assignments SET at = '2020-01-01T00:00:00.000+00:00'")
    assert isinstance(next_assignment(store, design, store.hashed("ben")), Assignment)


def test_attention_checks_come_once_each_at_places_that_differ_but_not_first(store: Store) -> None:
    design = replace(DESIGN, checks=("check1", "check2"))
    places = set()
    for i in range(10):
        seen, end = pages(store, design, f"r{i}")
        assert len(seen) == 8
        assert end == Progress(6, 6, "finished")
        checks = [place for place, page in enumerate(seen) if page.expected == RIGHT]
        assert {seen[place].item for place in checks} == {"check1", "check2"}
        assert 0 not in checks
        places.add(tuple(checks))
    assert len(places) > 3


def test_recorded_items_are_new_every_time(store: Store) -> None:
    seen, _ = pages(store, replace(DESIGN, items={}), "ann")
    assert len({page.item for page in seen}) == 6
    assert all(page.item.startswith(LIVE) for page in seen)
