"""The numbers of a study report, against other implementations, and what the report says where there is nothing to compute."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from command_line import call

from diva_bench.errors import UserError
from diva_bench.stats import holm
from diva_bench.study import analysis, report
from diva_bench.study.power import decided_votes, power_table, powers
from diva_bench.study.votes import BOTH_BAD, TIE, Vote

PUBLIC = Path(__file__).parents[2] / "shared" / "data" / "diva-eval" / "user_study.json"


def vote(number: int, choice: str, systems: str = "ab", **more: object) -> Vote:
    return Vote(**{"id": str(number), "item": f"i{number}", "systems": tuple(systems), "choice": choice} | more)  # type: ignore[arg-type]


def drawn(seed: int, count: int = 300, people: int = 30) -> list[Vote]:
    """Votes on three systems of raters with tastes of their own, on items that several of them see."""
    rng = random.Random(seed)
    strength = {"a": 0.8, "b": 0.0, "c": -0.6}
    taste = [rng.gauss(0, 0.7) for _ in range(people)]
    out = []
    for n in range(count):
        pair = rng.sample(sorted(strength), 2)
        rater = rng.randrange(people)
        logit = (
            strength[pair[0]] - strength[pair[1]] + taste[rater] * (pair[0] == "a") - taste[rater] * (pair[1] == "a")
        )
        choice = TIE if rng.random() < 0.1 else pair[0] if rng.random() < 1 / (1 + math.exp(-logit)) else pair[1]
        out.append(vote(n, choice, "".join(sorted(pair)), item=f"i{n % 40}", rater=f"{rater:032x}", shown=tuple(pair)))
    return out


# ---------------------------------------------------------------- shares


@pytest.mark.parametrize(("people", "who"), [(1, "1 rater gave 6 votes"), (2, "2 raters gave 6 votes")])
def test_one_rater_alone_has_no_interval_by_rater_and_the_report_says_so(people: int, who: str) -> None:
    votes = [vote(n, "ab"[n % 3 == 0], rater=f"{n % people:032x}", shown=("a", "b")) for n in range(6)]
    found = report.analyse(votes, {})
    assert (found.comparisons[0].by_rater is None) == (people == 1)
    text = report.methods(found)
    assert text.startswith(who)
    assert ("A comparison has the votes of one rater alone, so that no clustered test is possible" in text) == (
        people == 1
    )


@pytest.mark.parametrize(("wins", "n"), [(374, 522), (0, 5), (5, 5), (7, 20), (1, 1)])
def test_wilson_and_the_exact_test_agree_with_statsmodels_and_with_fractions(wins: int, n: int) -> None:
    from statsmodels.stats.proportion import proportion_confint

    found = analysis.proportion(wins, n)
    low, high = proportion_confint(wins, n, method="wilson")
    assert (found.interval.low, found.interval.high) == pytest.approx((100 * low, 100 * high), abs=1e-9)
    ways = [math.comb(n, k) for k in range(n + 1)]
    exact = Fraction(sum(way for way in ways if way <= ways[wins]), 2**n)
    assert found.p == pytest.approx(float(exact), rel=1e-9)


def test_the_public_votes_have_the_published_preference() -> None:
    if not PUBLIC.is_file():
        pytest.skip(f"the public votes are not here ({PUBLIC})")
    done = call(PUBLIC.parents[3], "study", "report", str(PUBLIC), "--format", "json")
    row = json.loads(done.stdout)[0]["rows"][0]
    assert "71.6" in str(row)


def test_374_of_522_votes_without_raters_give_the_published_numbers_and_say_what_cannot_be_tested(
    tmp_path: Path,
) -> None:
    rows = {str(n): {"audio_hash": f"{n:08x}", "best": "diva" if n < 374 else "qwen2"} for n in range(522)}
    (tmp_path / "votes.json").write_text(json.dumps({"_default": rows}))
    said = call(tmp_path, "study", "report", "votes.json", "--plot", "rates.png").stdout
    assert "71.65 [67.63, 75.34]" in said
    assert "1.4e-23" in said
    text = " ".join(said.split())
    assert (
        "374 of 522 decided votes (71.6 %, Wilson 95 % interval 67.6 to 75.3, exact binomial test p = 1.4e-23)" in text
    )
    assert text.count("do not tell raters apart, so that no clustered test is possible") == 2
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")


def test_ties_and_both_bad_are_left_out_of_the_rate_and_are_half_wins_in_the_second_one() -> None:
    choices = ["a"] * 6 + ["b"] * 2 + [TIE] * 3 + [BOTH_BAD]
    [found] = analysis.compare([vote(n, choice) for n, choice in enumerate(choices)])
    assert found.decided is not None
    assert (found.decided.value, found.decided.n, found.ties, found.bad) == (75, 8, 3, 1)
    assert found.half == pytest.approx(100 * (6 + 2) / 12)


def test_a_vote_between_three_answers_is_a_comparison_with_each_other_one() -> None:
    found = analysis.compare([vote(1, "a", "abc"), vote(2, "c", "abc"), vote(3, TIE, "abc")])
    assert {(c.first, c.second): (c.votes, c.ties) for c in found} == {
        ("a", "b"): (2, 1),
        ("a", "c"): (3, 1),
        ("c", "b"): (2, 1),
    }


def test_the_interval_by_rater_agrees_with_a_bootstrap_written_anew_and_is_wider_if_raters_differ() -> None:
    votes = [
        vote(n, "a" if n // 10 % 3 else "b", rater=f"{n // 10:032x}") for n in range(300)
    ]  # every rater has one taste
    [found] = analysis.compare(votes)
    assert found.by_rater is not None
    assert found.decided is not None
    wins = np.array([10 * bool(i % 3) for i in range(30)])
    rng = np.random.default_rng(1)
    draws = 100 * wins[rng.integers(0, 30, (20_000, 30))].sum(1) / 300
    low, high = np.quantile(draws, [0.025, 0.975])
    assert (found.by_rater.interval.low, found.by_rater.interval.high) == pytest.approx((low, high), abs=1.0)
    wilson = found.decided.interval
    assert found.by_rater.interval.high - found.by_rater.interval.low > 2 * (wilson.high - wilson.low)
    assert found.by_rater.p > found.decided.p
    assert (found.by_rater.raters, found.by_rater.few) == (30, False)


def test_few_raters_of_one_opinion_are_no_proof() -> None:
    votes = [vote(n, "a", rater=f"{n % 4:032x}") for n in range(80)]
    [found] = analysis.compare(votes)
    assert found.by_rater is not None
    assert found.by_rater.few
    assert found.by_rater.p == pytest.approx(2 / 2**4)
    assert any("fewer than 20 raters" in note for note in report.tables(report.analyse(votes, {}))[0].notes)


# ---------------------------------------------------------------- strengths


def _by_hand(votes: list[Vote]) -> tuple[dict[str, float], dict[str, float]]:
    """Strengths by Hunter's MM algorithm (2004), and their standard errors clustered by rater, from the sandwich formula."""
    names = sorted({system for v in votes for system in v.systems})
    wins = Counter()
    games = Counter()
    for v in votes:
        first, second = v.systems
        games[first, second] += 1
        games[second, first] += 1
        for system in v.systems:
            wins[system] += 0.5 if v.choice == TIE else v.choice == system
    pi = dict.fromkeys(names, 1.0)
    for _ in range(5000):
        pi = {i: wins[i] / sum(games[i, j] / (pi[i] + pi[j]) for j in names if j != i) for i in names}
        scale = math.exp(sum(map(math.log, pi.values())) / len(pi))
        pi = {i: value / scale for i, value in pi.items()}
    bread = np.zeros((3, 3))
    scores: dict[str | None, np.ndarray] = {}
    for v in votes:
        x = np.array([(n == v.systems[0]) - (n == v.systems[1]) for n in names], dtype=float)
        p = pi[v.systems[0]] / (pi[v.systems[0]] + pi[v.systems[1]])
        bread += p * (1 - p) * np.outer(x, x)
        y = 0.5 if v.choice == TIE else float(v.choice == v.systems[0])
        scores[v.rater] = scores.get(v.rater, np.zeros(3)) + (y - p) * x
    inverse = np.linalg.pinv(bread)
    meat = sum(np.outer(s, s) for s in scores.values())
    count, raters = len(votes), len(scores)
    cov = inverse @ meat @ inverse * raters / (raters - 1) * (count - 1) / (count - 2)
    return {n: math.log(pi[n]) for n in names}, dict(zip(names, np.sqrt(np.diag(cov)), strict=True))


@pytest.mark.parametrize("seed", [1, 2])
def test_strengths_and_their_clustered_intervals_agree_with_an_implementation_by_hand(seed: int) -> None:
    votes = drawn(seed)
    values, errors = _by_hand(votes)
    found = analysis.bradley_terry(votes)
    assert [s.system for s in found] == sorted(values, key=lambda n: -values[n])
    for s in found:
        assert s.value == pytest.approx(values[s.system], abs=1e-5)
        assert (s.interval.high - s.interval.low) / 2 / 1.959964 == pytest.approx(errors[s.system], rel=1e-3)


def test_strengths_that_have_no_finite_estimate_are_refused_in_words() -> None:
    votes = [
        vote(n, choice, systems)
        for n, (choice, systems) in enumerate([("a", "ab"), ("a", "ac"), ("b", "bc"), ("c", "bc")])
    ]
    with pytest.raises(UserError, match="one side won every vote"):
        analysis.bradley_terry(votes)
    assert "one side won every vote" in report.tables(report.analyse(votes, {}))[1].notes[0]


# ---------------------------------------------------------------- agreement, order, length, raters


def _alpha(units: list[list[str]]) -> float:
    """Krippendorff's nominal alpha by its definition: 1 - observed / expected disagreement over pairs of values."""
    units = [unit for unit in units if len(unit) > 1]
    observed = sum(sum(x != y for x, y in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units)
    every = [value for unit in units for value in unit]
    expected = sum(x != y for x, y in itertools.permutations(every, 2)) / (len(every) - 1)
    return 1 - observed / expected


def test_alpha_agrees_with_its_definition() -> None:
    votes = [v for v in drawn(3) if v.systems == ("a", "b")]
    units: dict[str, dict[str | None, str]] = {}
    for v in votes:
        units.setdefault(v.item, {})[v.rater] = v.choice
    alpha, count = analysis.agreement(votes)
    assert alpha == pytest.approx(_alpha([list(unit.values()) for unit in units.values()]))
    assert count == sum(len(unit) > 1 for unit in units.values())


@pytest.mark.parametrize("raters", [(None, None), ("a" * 32, "a" * 32)])
def test_alpha_is_unknown_without_two_raters_of_an_item(raters: tuple[str | None, str | None]) -> None:
    votes = [vote(n, choice, item="i", rater=rater) for n, (choice, rater) in enumerate(zip("ab", raters, strict=True))]
    assert analysis.agreement(votes) == (None, 0)


def test_effects_of_order_and_length_are_seen() -> None:
    votes = [vote(n, "a", shown=("a", "b") if n < 9 else ("b", "a")) for n in range(12)]
    answers = {(v.item, s): "one two" if s == "a" else "one" for v in votes for s in "ab"}
    order, length = analysis.first_place(votes), analysis.longer(votes, answers)
    assert order is not None
    assert (order.value, order.n) == (75, 12)
    assert length is not None
    assert (length.value, length.n) == (100, 12)
    assert analysis.longer(votes, {}) is None


def test_raters_who_fail_checks_or_choose_one_side_are_flagged_and_can_be_left_out(tmp_path: Path) -> None:
    votes = []
    for rater, left in (("1", True), ("2", False), ("3", False)):
        for n in range(8):
            shown = ("a", "b") if n % 2 else ("b", "a")
            votes.append(vote(int(rater) * 100 + n, shown[0] if left else "a", rater=rater * 32, shown=shown))
        check = "wrong" if rater == "2" else "right"
        votes.append(Vote(f"c{rater}", "c", ("right", "wrong"), check, rater * 32, ("right", "wrong"), "right"))
    found = report.analyse(votes, {})
    assert [(r.rater[0], r.flag) for r in found.raters] == [
        ("1", "chose place 1 in all 8 decided votes"),
        ("2", "failed 1 of 1 attention checks"),
        ("3", ""),
    ]
    assert found.people == 24  # checks are no votes on systems
    clean = report.analyse(votes, {}, without_flagged=True)
    assert clean.people == 8
    assert "their votes are left out" in report.methods(clean)


def test_a_simulated_rater_is_in_no_table_of_people_and_is_compared_with_them() -> None:
    people = [vote(n, "a" if n < 8 else "b", rater=f"{n % 5:032x}") for n in range(10)]
    judge = [
        vote(100 + n, "a" if n < 9 else TIE, item=f"i{n}", rater="f" * 32, simulated="llm_judge oracle")
        for n in range(10)
    ]
    found = report.analyse([*people, *judge], {})
    assert found.people == 10
    [one] = found.simulated
    assert one.same is not None
    assert (one.name, one.votes, one.ties, one.same.value, one.same.n) == ("llm_judge oracle", 10, 1, 80, 10)
    assert "metrics and LLM judges, not people" in report.tables(found)[-1].notes[0]


def test_p_values_of_several_comparisons_are_adjusted_and_questions_without_an_answer_are_told() -> None:
    votes = [vote(n, "abc"[n % 4 % 3], "abc", rater=f"{n % 25:032x}") for n in range(100)]
    found = report.analyse(votes, {}, failures={"c": 3})
    table = report.tables(found)[0]
    names = [column.name for column in table.columns]
    raw, adjusted = ([row[names.index(name)] for row in table.rows] for name in ("p, by rater", "p, Holm"))
    assert [float(str(p)) for p in adjusted] == pytest.approx(holm([float(str(p)) for p in raw]), rel=0.1)
    assert any("adjusted for the 3 comparisons" in note for note in table.notes)
    assert "questions without an answer, by system: c 3; nobody voted on these questions" in table.notes
    assert "Questions without an answer, by system: c 3; they are in no share." in report.methods(found)
    alone = report.tables(report.analyse([vote(n, "a") for n in range(9)], {}))[0]
    assert "p, Holm" not in [column.name for column in alone.columns]


def test_a_study_without_votes_of_people_has_no_report() -> None:
    with pytest.raises(UserError, match="there are no votes of people to analyse"):
        report.analyse([vote(1, "a", simulated="qa", rater="f" * 32)], {})


@pytest.mark.parametrize("columns", ["80", "160"])
def test_a_whole_report_fits_the_terminal(tmp_path: Path, columns: str) -> None:
    rows = [
        {"model_a": v.shown[0], "model_b": v.shown[1], "winner": v.choice, "judge": v.rater, "question_id": v.item}
        for v in drawn(4)
        if v.shown
    ]
    (tmp_path / "v.json").write_text(json.dumps(rows))
    done = call(tmp_path, "study", "report", "v.json", "-o", "r.md", COLUMNS=columns)
    assert done.returncode == 0, done.stderr
    tables = done.stdout.split("For the methods section")[0]
    assert max(map(len, tables.splitlines())) <= int(columns)
    assert "Bradley-Terry strengths" in done.stdout
    assert "Bradley-Terry strengths (log-odds" in (tmp_path / "r.md").read_text()


# ---------------------------------------------------------------- power


@pytest.mark.parametrize(("preference", "power"), [(0.6, 0.8), (0.72, 0.8), (0.75, 0.9), (0.55, 0.8)])
def test_the_number_of_votes_is_the_smallest_from_which_on_the_power_is_reached(
    preference: float, power: float
) -> None:
    def exact(n: int) -> float:
        ways = [math.comb(n, k) for k in range(n + 1)]
        critical = next(c for c in range(n + 2) if 2 * sum(ways[c:]) <= 0.05 * 2**n)
        chance = [way * preference**k * (1 - preference) ** (n - k) for k, way in enumerate(ways)]
        return sum(chance[critical:]) + sum(chance[: max(0, n - critical + 1)])

    n = decided_votes(preference, power)
    assert exact(n) >= power > exact(n - 1)
    assert all(exact(n + more) >= power for more in range(30))


def test_power_agrees_with_simulated_studies() -> None:
    from scipy.stats import binomtest

    rng = np.random.default_rng(3)
    rejected = np.mean([binomtest(int(wins), 54).pvalue < 0.05 for wins in rng.binomial(54, 0.7, 2000)])
    assert float(powers(np.array([54.0]), 0.7)[0]) == pytest.approx(rejected, abs=0.03)


def test_ties_and_raters_who_agree_with_themselves_need_more_votes(tmp_path: Path) -> None:
    rows = power_table([70], ties=20, per_rater=10, correlation=0.1).rows
    assert list(rows[0]) == [70, 54, math.ceil(54 * 1.9 / 0.8), 13]
    assert "design effect 1.90" in call(tmp_path, "study", "power", "--per-rater", "10", "--correlation", "0.1").stdout
    assert call(tmp_path, "study", "power", "--preference", "50").returncode == 2
