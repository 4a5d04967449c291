"""Tests and planning: against other libraries, against enumeration, against what a definition says."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scoring import said, sample, scored, sentences, task
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from diva_bench import stats
from diva_bench.scorers.labels import Labels
from diva_bench.scorers.translation import Bleu
from diva_bench.stats import differences, settings, significance
from diva_bench.types import Floats, Row

SHARED = Path(__file__).parents[2] / "shared" / "data"
WORDS = ["der", "Hund", "geht", "über", "die", "Brücke"]


def mean(totals: Mapping[str, Floats]) -> dict[str, Floats]:
    return {"mean": 100 * stats.ratio(totals["sum"], totals["n"])}


def rows_of(values: Sequence[float] | Floats) -> list[Row]:
    return [{"n": 1.0, "sum": float(v)} for v in values]


def singles(n: int) -> list[str]:
    return [f"{i:05}" for i in range(n)]


# ---------------------------------------------------------------- several systems


def test_every_pair_of_a_lineup_is_what_paired_says_of_the_two_alone() -> None:
    rng = np.random.default_rng(0)
    systems = [rows_of(rng.random(60)) for _ in range(3)]
    clusters = [str(i // 3) for i in range(60)]
    found = significance.line_up(systems, clusters, mean, resamples=300)
    for first, second in itertools.permutations(range(3), 2):
        alone = stats.paired(systems[first], systems[second], clusters, mean, resamples=300)["mean"]
        assert found.difference("mean", first, second) == alone
    assert found.score("mean", 1) == stats.bootstrap(systems[1], clusters, mean, resamples=300)["mean"]
    apart = (found.drawn["mean"][0] - found.drawn["mean"][1]).tolist()
    assert found.standard_error("mean", 0, 1) == pytest.approx(statistics.stdev(apart))
    assert found.standard_error("mean", 0, 1) == pytest.approx(found.standard_error("mean", 1, 0))


def test_a_sample_that_one_system_lacks_is_taken_from_none() -> None:
    found = significance.line_up([rows_of([1, 0]), [{}, *rows_of([1])], rows_of([0, 0])], ["a", "b"], mean, resamples=9)
    assert (found.n, found.clusters, found.point["mean"].tolist()) == (1, 1, [0, 100, 0])


def test_only_metrics_that_every_system_has_are_lined_up() -> None:
    scorer = Labels(task(choices=("yes", "no")))
    likely = [scorer.measure(sample("yes"), scored([-1, -2], ("yes", "no"), "no"))]
    spoken = [scorer.measure(sample("yes"), said("yes"))]
    found = significance.line_up([likely, spoken], ["a"], scorer.reduce, resamples=9)
    swaps = differences.randomisation(likely, spoken, ["a"], scorer.reduce)
    parts = significance.influence(likely, spoken, scorer.reduce)
    for names in (found.point, swaps, parts):
        assert "accuracy" in names
        assert "accuracy_norm" not in names


def test_systems_of_other_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the same samples: \[1, 2\] rows, 2 cluster names"):
        significance.line_up([rows_of([1]), rows_of([1, 2])], ["a", "b"], mean)


@pytest.mark.parametrize(
    ("drawn", "up", "ranks"),
    [
        ([[3, 3, 3], [2, 2, 2], [1, 1, 1]], True, [(1, 1), (2, 2), (3, 3)]),
        ([[3, 3, 3], [2, 2, 2], [1, 1, 1]], False, [(3, 3), (2, 2), (1, 1)]),
        ([[1, 2], [2, 1]], True, [(1, 2), (1, 2)]),
        ([[5, 5], [5, 5], [0, 0]], True, [(1, 1), (1, 1), (3, 3)]),  # equals share the better rank
        ([[5 + 1e-12], [5]], True, [(1, 1), (1, 1)]),  # last bits are no lead
        ([[1] * 97 + [3] * 3, [2] * 100], True, [(1, 2), (1, 2)]),  # 3 of 100: inside the 95 %
        ([[1] * 99 + [3], [2] * 100], True, [(2, 2), (1, 1)]),  # 1 of 100: outside
    ],
)
def test_ranks_worked_by_hand(drawn: list[list[float]], up: bool, ranks: list[tuple[int, int]]) -> None:
    assert significance.rank_intervals(np.array(drawn, dtype=float), higher_is_better=up) == ranks


# ---------------------------------------------------------------- single answers


def test_the_parts_of_the_samples_add_up_to_the_difference_and_equal_answers_add_nothing() -> None:
    ours, theirs = rows_of([1, 0, 1, 1]), rows_of([1, 0, 0, 1])
    parts = significance.influence(ours, theirs, mean)["mean"]
    assert parts.tolist() == pytest.approx([0, 0, 25, 0])
    scorer, rng = Bleu(task()), np.random.default_rng(1)
    references = [s + " heute" for s in sentences(rng, 40, WORDS)]
    better = [scorer.measure(sample(r), said(r)) for r in references]
    worse = [scorer.measure(sample(r), said(r if i else "nein")) for i, r in enumerate(references)]
    parts = significance.influence(better, worse, scorer.reduce)["bleu"]
    assert parts[0] > 0
    assert parts[1:] == pytest.approx(0)


@pytest.mark.parametrize(
    ("choices", "binary"), [("accuracy", True), ("weighted_f1", False), ("macro_f1", False), ("mcc", False)]
)
def test_whether_a_metric_is_a_share_of_right_answers_is_seen_in_the_rows(choices: str, binary: bool) -> None:
    scorer = Labels(task(choices=("yes", "no")))
    golds, answers = ["yes"] * 6 + ["no"] * 3, ["yes"] * 5 + ["no"] * 2 + ["yes"] * 2
    rows = [scorer.measure(sample(g), said(a)) for g, a in zip(golds, answers, strict=True)]
    items = significance.by_item(rows, scorer.reduce)[choices]
    assert significance.is_binary(items, float(scorer.reduce(stats.totals(rows))[choices])) is binary


def test_mcnemar_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 5, 30, 300):
        first, second = (rng.random((2, size)) < 0.6).astype(float) * 100
        found = significance.mcnemar(first, second)
        table = [
            [np.sum((first > 0) & (second > 0)), found.first],
            [found.second, np.sum((first <= 0) & (second <= 0))],
        ]
        assert found.p == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue if size else 1, abs=1e-12)
        assert significance.mcnemar(second, first).p == found.p
    assert significance.mcnemar(np.ones(5), np.ones(5)) == significance.McNemar(0, 0, 1.0)
    with pytest.raises(ValueError, match="the same samples: 2 and 1"):
        significance.mcnemar(np.ones(2), np.ones(1))


def test_holm_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        ps = list(rng.random(size) ** 3)
        assert stats.holm(ps) == pytest.approx(multipletests(ps, method="holm")[1], abs=1e-12)


# ---------------------------------------------------------------- approximate randomisation


def enumerated(
    ours: Sequence[Row], theirs: Sequence[Row], clusters: Sequence[str], reduce: stats.Reduce
) -> dict[str, float]:
    """p by swapping in every way, one at a time, in plain Python."""
    names = sorted(set(clusters))
    seen: dict[str, float] = {}
    larger: dict[str, int] = {}
    for swap in itertools.product([False, True], repeat=len(names)):
        turned = dict(zip(names, swap, strict=True))
        sides = [
            stats.totals([b if turned[c] else a for a, b, c in zip(one, other, clusters, strict=True)])
            for one, other in ((ours, theirs), (theirs, ours))
        ]
        first, second = (reduce(side) for side in sides)
        for name in first:
            gap = abs(float(first[name] - second[name]))
            seen.setdefault(name, gap)  # the first of all swaps is none
            larger[name] = larger.get(name, 0) + (gap >= seen[name] - 1e-9)
    return {name: count / 2 ** len(names) for name, count in larger.items()}


def translations(seed: int, n: int) -> tuple[list[Row], list[Row], Bleu]:
    scorer, rng = Bleu(task()), np.random.default_rng(seed)
    references = sentences(rng, n, WORDS)
    hypotheses = [
        sentences(rng, n, WORDS),
        [r if rng.random() < 0.3 else s for r, s in zip(references, sentences(rng, n, WORDS), strict=True)],
    ]
    first, second = (
        [scorer.measure(sample(r), said(h)) for r, h in zip(references, hs, strict=True)] for hs in hypotheses
    )
    return first, second, scorer


@pytest.mark.parametrize("seed", range(3))
def test_with_few_clusters_all_swaps_are_looked_at(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = rows_of(rng.random(24)), rows_of(rng.random(24) - 0.2)
    clusters = [str(i % 8) for i in range(24)]
    found = differences.randomisation(ours, theirs, clusters, mean)["mean"]
    assert found == differences.Randomised(enumerated(ours, theirs, clusters, mean)["mean"], 256, True)
    first, second, scorer = translations(seed, 20)
    groups = [str(i % 6) for i in range(20)]
    exact = differences.randomisation(first, second, groups, scorer.reduce)["bleu"]
    assert (exact.p, exact.exact) == (enumerated(first, second, groups, scorer.reduce)["bleu"], True)


def test_drawn_swaps_come_near_to_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, scorer = translations(7, 12)
    exact = enumerated(first, second, singles(12), scorer.reduce)["bleu"]
    monkeypatch.setattr(differences, "EXACT", 0)
    found = differences.randomisation(first, second, singles(12), scorer.reduce)["bleu"]
    assert not found.exact
    assert found.p == pytest.approx(exact, abs=4 * (exact * (1 - exact) / found.trials) ** 0.5 + 2e-4)


def test_clusters_that_do_not_differ_do_not_count_and_a_sure_lead_has_the_smallest_p() -> None:
    same = differences.randomisation(rows_of([1] * 50), rows_of([1] * 50), singles(50), mean)["mean"]
    assert same == differences.Randomised(1.0, 1, True)
    three = differences.randomisation(rows_of([1] * 50), rows_of([0] * 3 + [1] * 47), singles(50), mean)["mean"]
    assert three == differences.Randomised(2 / 8, 8, True)
    sure = differences.randomisation(rows_of([1] * 50), rows_of([0] * 50), singles(50), mean, trials=999)["mean"]
    assert sure == differences.Randomised(1 / 1000, 999, False)


def test_without_an_effect_small_randomisation_p_values_are_as_rare_as_they_claim() -> None:
    rng, clusters = np.random.default_rng(5), [str(i // 2) for i in range(60)]
    nothing = [rng.normal(0, 1, (2, 60)) for _ in range(200)]
    ps = [differences.randomisation(rows_of(a), rows_of(b), clusters, mean, trials=199)["mean"].p for a, b in nothing]
    assert 0.02 < np.mean(np.array(ps) <= 0.05) < 0.09
    assert 0.4 < np.mean(np.array(ps) <= 0.5) < 0.6


def test_swaps_are_the_same_on_every_machine_and_unlike_the_bootstraps_draws() -> None:
    blocks = [differences._swaps(11, 100, stats.SEED, block) for block in range(2)]
    assert [block.shape for block in blocks] == [(64, 11), (36, 11)]
    assert blocks[0][:2].astype(int).tolist() == [[0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1], [0, 1, 0, 0, 0, 0, 1, 1, 0, 1, 1]]
    assert blocks[1][0].astype(int).tolist() == [1, 1, 1, 1, 1, 1, 0, 1, 0, 0, 1]
    assert np.concatenate(blocks).mean() == pytest.approx(0.5, abs=0.05)


# ---------------------------------------------------------------- errors of scores, and planning


def test_the_bootstraps_standard_error_is_the_clustered_one_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    member = rng.integers(0, 60, 400)
    values = rng.normal(0, 1, 60)[member] + rng.normal(0, 1, 400)
    clusters = [f"{m:02}" for m in member]
    robust = OLS(values, np.ones(400)).fit(cov_type="cluster", cov_kwds={"groups": member, "use_correction": False})
    lined = significance.line_up([rows_of(values / 100), rows_of(np.zeros(400))], clusters, mean)
    assert lined.standard_error("mean", 0, 1) == pytest.approx(float(robust.bse[0]), rel=0.05)


def test_the_jackknife_of_a_mean_is_the_t_interval_of_cluster_means() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((2, 30))
    clusters = [str(i // 5) for i in range(30)]
    se, found = significance.jackknife(rows_of(ours), rows_of(theirs), clusters, mean)["mean"]
    means = 100 * (ours - theirs).reshape(6, 5).mean(axis=1)
    half = 2.570581835636314 * means.std(ddof=1) / 6**0.5  # t of 5 degrees of freedom
    assert se == pytest.approx(means.std(ddof=1) / 6**0.5)
    assert (found.low, found.high) == pytest.approx((means.mean() - half, means.mean() + half), abs=1e-8)
    assert significance.jackknife(rows_of([1]), rows_of([0]), ["a"], mean) == {}


def test_a_detectable_difference_is_found_as_often_as_it_says() -> None:
    assert settings.detectable(1.0) == pytest.approx(1.959963985 + 0.841621234)
    assert settings.planned(1.0) == pytest.approx(settings.detectable(2**0.5))
    rng, error = np.random.default_rng(0), 10 * 2**0.5 / 80**0.5
    effect = settings.detectable(error)
    pairs = [rng.normal(50, 10, (2, 80)) for _ in range(300)]
    found = [
        stats.paired(rows_of((a + effect) / 100), rows_of(b / 100), singles(80), mean, resamples=199)["mean"].p < 0.05
        for a, b in pairs
    ]
    assert 0.72 < np.mean(found) < 0.88


def test_the_share_of_the_largest_cluster() -> None:
    assert significance.largest_share(["a", "b", "a", "c"]) == 0.5
    assert significance.largest_share([]) == 0


# ---------------------------------------------------------------- gaps between groups


def test_a_gap_is_paired_by_cluster_so_that_hard_questions_cancel() -> None:
    rng = np.random.default_rng(0)
    hardness = rng.normal(0, 0.3, 80)
    rows = [*rows_of(hardness + 0.6), *rows_of(hardness + 0.5 + rng.normal(0, 0.01, 80))]
    values, clusters = ["usa"] * 80 + ["ind_n"] * 80, [*singles(80), *singles(80)]
    found = significance.gaps(rows, values, clusters, mean, "usa")["ind_n"]["mean"]
    assert found.value == pytest.approx(-10, abs=0.5)
    assert found.high - found.low < 1
    assert (found.n, found.clusters) == (80, 80)
    ours, theirs = rows[80:], rows[:80]
    assert found.interval == stats.paired(ours, theirs, singles(80), mean)["mean"].interval


def test_questions_that_only_one_value_has_do_not_take_part_and_strangers_are_left_out() -> None:
    rows = [*rows_of([1, 0, 1]), {}, *rows_of([1])]
    found = significance.gaps(rows, ["a", "a", "b", "b", "c"], ["q1", "q2", "q1", "q2", "q9"], mean, "a", resamples=9)
    assert list(found) == ["b"]
    assert (found["b"]["mean"].value, found["b"]["mean"].clusters) == (0, 1)
    with pytest.raises(ValueError, match="no answer has the value 'x'; there is: a, b"):
        significance.gaps(rows[:3], ["a", "a", "b"], ["q1", "q2", "q1"], mean, "x")


# ---------------------------------------------------------------- what the authors released


def released(path: Path) -> dict[str, float]:
    """Id -> score of a `[SEP_DIAL]` file; rows that failed have "NA"."""
    rows = [line.rstrip("\n").split("[SEP_DIAL]") for line in path.read_text(encoding="utf-8").splitlines()]
    return {row[0]: float(row[-1]) for row in rows if row[-1] != "NA"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the released outputs are not beside this checkout")
def test_diva_leads_qwen_2_on_heysquad_by_what_the_released_scores_say() -> None:
    outputs = SHARED / "diva-eval" / "non_social_HeySquad_QA_Results"
    diva, qwen = (released(outputs / f"e2e_{name}" / "default_outs.txt") for name in ("DiVA", "qwen2"))
    gold = json.loads((SHARED / "gold" / "heysquad-dev-common-original-1002.json").read_text(encoding="utf-8"))
    context = {q["id"]: p["context"] for d in gold["data"] for p in d["paragraphs"] for q in p["qas"]}
    assert diva.keys() == qwen.keys() == context.keys()
    pair = rows_of(list(diva.values())), rows_of([qwen[i] for i in diva])
    alone = stats.paired(*pair, list(diva), mean)["mean"]  # iid: each item its own cluster, as `compare` has it
    assert (alone.n, round(alone.value, 2)) == (1002, 8.96)
    assert (round(alone.low, 2), round(alone.high, 2)) == pytest.approx((7.80, 10.18), abs=0.05)
    half = 1.959964 * np.std(100 * (np.array(list(diva.values())) - [qwen[i] for i in diva]), ddof=1) / 1002**0.5
    assert (alone.low, alone.high) == pytest.approx((alone.value - half, alone.value + half), abs=0.03)
    clustered = stats.paired(*pair, [context[i] for i in diva], mean)["mean"]
    assert clustered.clusters == 311
    assert (clustered.low, clustered.high) == pytest.approx((7.65, 10.24), abs=0.03)
    assert significance.largest_share([context[i] for i in diva]) < 0.02


@pytest.mark.skipif(not SHARED.is_dir(), reason="the released outputs are not beside this checkout")
def test_the_accent_gap_of_diva_is_what_the_released_scores_say() -> None:
    outputs = SHARED / "diva-eval" / "Spoken_Dialect_QA_Results" / "e2e_DiVA"
    scores = {accent: released(outputs / f"{accent}_outs.txt") for accent in ("usa", "ind_n", "kenya")}
    triples = [(accent, question, score) for accent, rows in scores.items() for question, score in rows.items()]
    accents, questions, values = zip(*triples, strict=True)
    found = significance.gaps(rows_of(values), accents, questions, mean, "usa")
    gap = found["ind_n"]["mean"]
    assert gap.value / 100 == pytest.approx(-0.0267, abs=5e-5)
    assert (gap.low / 100, gap.high / 100) == pytest.approx((-0.0417, -0.0123), abs=0.0005)
    assert (gap.clusters, found["kenya"]["mean"].clusters) == (494, 481)


def test_a_made_up_twin_of_the_released_scores_has_a_wider_interval_by_context() -> None:
    rng = np.random.default_rng(0)
    member = rng.integers(0, 60, 300)
    hard = rng.normal(0, 0.15, 60)[member]
    ours, theirs = np.clip(0.6 + hard + rng.normal(0, 0.1, 300), 0, 1), np.clip(rng.normal(0.5, 0.1, 300), 0, 1)
    alone = stats.paired(rows_of(ours), rows_of(theirs), singles(300), mean)["mean"]
    clustered = stats.paired(rows_of(ours), rows_of(theirs), [str(m) for m in member], mean)["mean"]
    assert clustered.high - clustered.low > 1.4 * (alone.high - alone.low)
    assert alone.value == clustered.value
