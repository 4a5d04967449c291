"""The cluster bootstrap: what is drawn, what an interval is, what a pair is."""

import random
import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_array
from scoring import said, sample, sentences, task

from diva_bench import stats
from diva_bench.scorers.translation import Bleu
from diva_bench.stats import differences, resampling, significance
from diva_bench.stats import table as row_table


def mean(totals):
    return {"mean": resampling.ratio(totals["sum"], totals["n"])}


def rows_of(values):
    return [{"n": 1.0, "sum": float(v)} for v in values]


# ---------------------------------------------------------------- rows and sums


def test_sparse_rows_become_a_matrix_with_sorted_keys() -> None:
    keys, matrix = resampling.stack([{"b": 2.0}, {}, {"a": 1.0, "b": 3.0}])
    assert keys == ["a", "b"]
    assert matrix.toarray().tolist() == [[0, 2], [0, 0], [1, 3]]


def test_no_rows_have_no_keys() -> None:
    keys, matrix = resampling.stack([])
    assert keys == []
    assert matrix.shape == (0, 0)
    assert resampling.totals([]) == {}


def test_totals_are_scalars_arrays_of_the_sums() -> None:
    totals = resampling.totals([{"a": 1.0}, {"a": 2.0, "b": 5.0}])
    assert {k: (v.shape, float(v)) for k, v in totals.items()} == {"a": ((), 3), "b": ((), 5)}


def test_a_missing_statistic_is_zero_in_the_shape_of_the_others() -> None:
    assert resampling.dense({"a": np.ones((2, 3))}, ["b", "a"]).tolist() == [[[0, 1]] * 3] * 2
    assert resampling.dense({}, ["a"]).tolist() == [0]


def test_a_ratio_with_nothing_below_is_zero() -> None:
    assert resampling.ratio(np.array([1.0, 2.0]), np.array([0.0, 4.0])).tolist() == [0, 0.5]
    assert resampling.ratio(np.asarray(1.0), np.asarray(0.0)) == 0


def test_cluster_sums_do_not_depend_on_the_order_of_the_rows() -> None:
    matrix, clusters = csr_array(np.arange(12.0).reshape(6, 2)), ["z", "a", "z", "m", "a", "z"]
    wanted = [[2 + 8, 3 + 9], [6, 7], [0 + 4 + 10, 1 + 5 + 11]]
    assert resampling.cluster_sums(matrix, clusters).toarray().tolist() == wanted
    order = [3, 5, 0, 4, 2, 1]
    assert resampling.cluster_sums(matrix[order], [clusters[i] for i in order]).toarray().tolist() == wanted


def test_every_row_needs_its_cluster() -> None:
    with pytest.raises(ValueError, match="2 rows but 1 cluster names"):
        resampling.cluster_sums(csr_array((2, 1)), ["a"])


# ---------------------------------------------------------------- resampling


def test_a_draw_has_as_many_clusters_as_there_are_each_drawn_alike() -> None:
    clusters, resamples = 7, 20_000
    weights = resampling.resample(np.eye(clusters), resamples)  # column i: how often cluster i was drawn
    assert (weights.sum(axis=1) == clusters).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(clusters), abs=0.04)
    covariance = np.cov(weights.T)  # of a multinomial: 1 - 1/C on the diagonal, -1/C beside it
    assert covariance == pytest.approx(np.eye(clusters) - 1 / clusters, abs=0.04)


GOLDEN = [[0, 1, 1, 1, 2], [0, 4, 1, 0, 0], [1, 0, 1, 2, 1], [1, 1, 0, 2, 1], [2, 0, 2, 0, 1]]
GOLDEN_WIDE = [2_452_425_968, 2_459_017_324]


def test_the_numbers_are_the_same_on_every_machine() -> None:
    """Pinned: if a library or our own change moves them, every published interval moves."""
    weights = resampling.resample(np.eye(5), 100, seed=12345)
    assert weights[:3].astype(int).tolist() == GOLDEN[:3]
    assert weights[[64, 99]].astype(int).tolist() == GOLDEN[3:]  # of the second stream
    wide = resampling.resample(np.arange(70_000.0)[:, None], 65)
    assert wide[[0, 64], 0].astype(int).tolist() == GOLDEN_WIDE


def test_threads_and_the_number_of_resamples_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.random.default_rng(0).random((50, 3))
    many = resampling.resample(sums, 1000)
    monkeypatch.setattr(resampling.os, "cpu_count", lambda: 1)
    assert (resampling.resample(sums, 1000) == many).all()
    assert (resampling.resample(sums, 130) == many[:130]).all()
    assert (resampling.resample(sums, 1000, seed=1) != many).any()


def test_sums_of_integers_are_exact() -> None:
    sums = np.array([[2.0**40 + 1], [3.0], [2.0**45 + 7]])
    weights = resampling.resample(np.eye(3), 200)
    exact = [sum(int(w) * int(s) for w, s in zip(row, sums[:, 0], strict=True)) for row in weights]
    assert [int(v) for v in resampling.resample(sums, 200)[:, 0]] == exact


def test_sparse_statistics_give_the_same_sums_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    sparse = rng.random((40, 20)) * (rng.random((40, 20)) < 0.1)
    padded = np.hstack([sparse, np.ones((40, 20))])  # too full for the short cut
    assert (resampling.resample(sparse, 200) == resampling.resample(padded, 200)[:, :20]).all()


def test_nothing_to_draw_from_gives_zeros() -> None:
    assert resampling.resample(np.zeros((0, 2)), 3).tolist() == [[0, 0]] * 3
    assert resampling.resample(np.ones((4, 2)), 0).shape == (0, 2)


# ---------------------------------------------------------------- intervals


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(0).normal(50, 10, 400)
    found = resampling.bootstrap(rows_of(values), [str(i) for i in range(400)], mean)["mean"]
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05 * half)
    assert (found.n, found.clusters, found.few_clusters) == (400, 400, False)


def test_rows_that_depend_on_each_other_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(0).normal(50, 10, 40), 10)
    single = resampling.bootstrap(rows_of(values), [str(i) for i in range(400)], mean)["mean"]
    clustered = resampling.bootstrap(rows_of(values), [str(i // 10) for i in range(400)], mean)["mean"]
    assert (clustered.high - clustered.low) / (single.high - single.low) == pytest.approx(10**0.5, rel=0.05)
    assert clustered.clusters == 40


@pytest.mark.parametrize(("clusters", "few"), [(1, True), (19, True), (20, False)])
def test_few_clusters_are_flagged(clusters: int, few: bool) -> None:
    rows = rows_of(range(40))
    found = resampling.bootstrap(rows, [str(i % clusters) for i in range(40)], mean, resamples=100)["mean"]
    assert found.few_clusters is few
    assert (found.low == found.high) is (clusters == 1)


def test_rows_without_statistics_do_not_take_part() -> None:
    rows = [*rows_of([1, 3]), {}, {}]
    found = resampling.bootstrap(rows, ["a", "b", "c", "c"], mean, resamples=100)["mean"]
    assert (found.value, found.n, found.clusters) == (2, 2, 2)
    assert resampling.bootstrap([{}, {}], ["a", "b"], lambda totals: {}, resamples=10) == {}


def test_a_corpus_metric_is_computed_anew_on_every_resample() -> None:
    rng = np.random.default_rng(4)
    words = ["der", "Hund", "geht", "über", "die", "Brücke"]
    scorer, references = Bleu(task()), [s + " heute" for s in sentences(rng, 60, words)]
    said_ = [r if i % 3 else "nein" for i, r in enumerate(references)]
    rows = [scorer.measure(sample(r), said(h)) for r, h in zip(references, said_, strict=True)]
    found = resampling.bootstrap(rows, [str(i) for i in range(60)], scorer.reduce, resamples=500)["bleu"]
    sentence_mean = np.mean([float(scorer.reduce(resampling.totals([row]))["bleu"]) for row in rows])
    assert found.low < found.value < found.high
    assert found.value == float(scorer.reduce(resampling.totals(rows))["bleu"])
    assert abs(sentence_mean - found.value) > 1


# ---------------------------------------------------------------- pairs


def test_a_system_differs_from_itself_by_exactly_nothing() -> None:
    rows = rows_of(np.random.default_rng(0).random(30))
    found = stats.paired(rows, rows, [str(i) for i in range(30)], mean, resamples=200)["mean"]
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_a_constant_lead_has_no_spread_since_both_are_drawn_alike() -> None:
    values = np.random.default_rng(0).normal(50, 10, 30)
    found = stats.paired(rows_of(values + 2), rows_of(values), [str(i) for i in range(30)], mean)["mean"]
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2), abs=1e-6)
    alone = resampling.bootstrap(rows_of(values), [str(i) for i in range(30)], mean)["mean"]
    assert alone.high - alone.low > 5


def test_the_difference_is_that_of_the_two_bootstraps() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = rng.random(40), rng.random(40)
    clusters = [str(i // 2) for i in range(40)]
    found = stats.paired(rows_of(ours), rows_of(theirs), clusters, mean, resamples=300)["mean"]
    drawn = []
    for values in (ours, theirs):
        keys, matrix = resampling.stack(rows_of(values))
        drawn.append(
            mean(resampling.unstack(keys, resampling.resample(resampling.cluster_sums(matrix, clusters), 300)))["mean"]
        )
    assert found.interval == resampling.interval(drawn[0] - drawn[1])
    assert (found.n, found.clusters) == (40, 20)


def test_pairs_where_one_side_has_nothing_do_not_take_part() -> None:
    found = stats.paired(rows_of([5, 7, 9]), [*rows_of([1, 1]), {}], list("abc"), mean, resamples=50)["mean"]
    assert (found.value, found.n) == (5, 2)


def test_pairs_must_be_of_the_same_samples() -> None:
    with pytest.raises(ValueError, match="paired rows must be of the same samples: 2 and 1 rows"):
        stats.paired(rows_of([1, 2]), rows_of([1]), ["a", "b"], mean)


# ---------------------------------------------------------------- p-values


@pytest.mark.parametrize(
    ("drawn", "p"),
    [
        ([1.0] * 9, 0.2),  # none below: 2 (1 + 0) / 10
        ([-1.0] * 9, 0.2),
        ([-1.0, *[1.0] * 8], 0.4),  # one below: 2 (1 + 1) / 10
        ([0.0, *[1.0] * 8], 0.4),  # 0 is on both sides
        ([0.0] * 9, 1.0),  # 2 (1 + 9) / 10, capped
        ([1e-12] * 9, 1.0),  # what is left of 0 after rounding
        ([-1.0, -1.0, -1.0, -1.0, 0.0, 1.0, 1.0, 1.0, 1.0], 1.0),
    ],
)
def test_a_p_value_is_twice_the_share_on_the_rarer_side_of_zero(drawn: list[float], p: float) -> None:
    assert differences.two_sided(np.array(drawn)) == pytest.approx(p)


def test_a_paired_p_value_is_of_the_draws_of_the_interval() -> None:
    rng = np.random.default_rng(3)
    ours, theirs, clusters = rng.random(40), rng.random(40) - 0.1, [str(i // 2) for i in range(40)]
    found = stats.paired(rows_of(ours), rows_of(theirs), clusters, mean, resamples=300)["mean"]
    keys, matrix = resampling.stack(rows_of(ours - theirs))
    drawn = mean(resampling.unstack(keys, resampling.resample(resampling.cluster_sums(matrix, clusters), 300)))["mean"]
    assert found.p == differences.two_sided(drawn)
    swapped = stats.paired(rows_of(theirs), rows_of(ours), clusters, mean, resamples=300)["mean"]
    assert swapped.p == found.p


def test_a_system_against_itself_has_p_one_and_a_sure_lead_the_smallest_there_is() -> None:
    values, clusters = np.random.default_rng(0).normal(50, 10, 30), [str(i) for i in range(30)]
    assert stats.paired(rows_of(values), rows_of(values), clusters, mean, resamples=199)["mean"].p == 1
    assert stats.paired(rows_of(values + 2), rows_of(values), clusters, mean, resamples=199)["mean"].p == 0.01


@pytest.mark.parametrize(
    ("clusters", "p"),
    [
        (1, 1.0),  # 2 / 2**1: one cluster tells nothing
        (4, 2 / 16),
        (6, 2 / 64),
        (13, 2 / 2**13),
        (19, 2 / 10_001),  # drawn swaps: the one seen, and at most a few of 10,000
        (20, 2 / 10_001),  # enough clusters: of the bootstrap alone
    ],
)
def test_with_few_clusters_p_is_not_below_that_of_swapping_whole_clusters(clusters: int, p: float) -> None:
    """All clusters have a difference of one sign, so every resample has, too."""
    names = [str(i // 2) for i in range(2 * clusters)]
    better = rows_of([60.0 + i % 5 for i in range(2 * clusters)])
    worse = rows_of([50.0] * (2 * clusters))
    found = stats.paired(better, worse, names, mean)["mean"]
    assert found.p == pytest.approx(p, abs=3e-4)
    assert found.low > 0
    assert found.sure is (clusters > 5)
    lined = significance.line_up([better, worse], names, mean).difference("mean", 0, 1)
    assert lined.p == found.p


@pytest.mark.parametrize("alike", [0, 40])
def test_clusters_without_a_difference_are_no_evidence(alike: int) -> None:
    """Five clusters differ, all to one side."""
    ours, theirs = rows_of([1.0] * 5 + [0.5] * alike), rows_of([0.0] * 5 + [0.5] * alike)
    names = [str(i) for i in range(5 + alike)]
    found = stats.paired(ours, theirs, names, mean)["mean"]
    assert (found.p, found.sure) == (2 / 2**5, False)
    assert significance.line_up([ours, theirs], names, mean).difference("mean", 0, 1).p == found.p


def test_with_few_clusters_the_larger_p_counts_whichever_it_is() -> None:
    rng, names = np.random.default_rng(1), [str(i % 9) for i in range(36)]
    for _ in range(20):
        values = rng.normal(1, 3, 36), rng.normal(0, 3, 36)
        ours, theirs = map(rows_of, values)
        keys, matrix = resampling.stack(rows_of(values[0] - values[1]))
        sums = resampling.resample(resampling.cluster_sums(matrix, names), resampling.RESAMPLES)
        drawn = differences.two_sided(mean(resampling.unstack(keys, sums))["mean"])
        swaps = differences.randomisation(ours, theirs, names, mean)["mean"].p
        assert stats.paired(ours, theirs, names, mean)["mean"].p == pytest.approx(max(drawn, swaps))


def test_without_an_effect_few_clusters_are_seldom_called_different() -> None:
    rng, names = np.random.default_rng(5), [str(i // 5) for i in range(40)]
    ps = []
    for _ in range(200):
        shift = np.repeat(rng.normal(0, 3, 8), 5)  # what makes a cluster's answers depend on each other
        ours, theirs = rows_of(rng.normal(0, 1, 40) + shift), rows_of(rng.normal(0, 1, 40))
        ps.append(stats.paired(ours, theirs, names, mean, resamples=199)["mean"].p)
    assert np.mean(np.array(ps) <= 0.05) < 0.08


def test_without_an_effect_small_p_values_are_as_rare_as_they_claim() -> None:
    rng, clusters = np.random.default_rng(5), [str(i) for i in range(60)]
    nothing = [rng.normal(0, 1, (2, 60)) for _ in range(200)]
    ps = [stats.paired(rows_of(a), rows_of(b), clusters, mean, resamples=199)["mean"].p for a, b in nothing]
    assert 0.02 < np.mean(np.array(ps) <= 0.05) < 0.1
    assert 0.4 < np.mean(np.array(ps) <= 0.5) < 0.6


@pytest.mark.parametrize(
    ("ps", "adjusted"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 4 x .005, 3 x .01, 2 x .03, then not below .06
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.5, 0.9, 0.001], [1.0, 1.0, 0.003]),  # 2 x .5, and .9 not below it
        ([0.0, 1.0], [0.0, 1.0]),
    ],
)
def test_holm_worked_by_hand(ps: list[float], adjusted: list[float]) -> None:
    assert resampling.holm(ps) == pytest.approx(adjusted)


def test_holm_keeps_order_lies_between_the_raw_and_bonferroni_and_does_not_mind_the_sequence() -> None:
    rng = np.random.default_rng(0)
    for size in range(1, 30):
        ps = rng.random(size) ** 3
        adjusted = np.array(resampling.holm(list(ps)))
        assert (adjusted >= ps).all()
        assert (adjusted <= np.minimum(1, size * ps)).all()
        assert (np.diff(adjusted[np.argsort(ps)]) >= 0).all()
        shuffled = rng.permutation(size)
        assert resampling.holm(list(ps[shuffled])) == list(adjusted[shuffled])


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match="a p-value lies from 0 to 1, found"):
        resampling.holm([0.5, p])


def test_totals_have_the_bits_of_the_sum_of_the_sparse_table():
    draw = random.Random(5)
    numbers = (draw.random(), draw.random() * 1e9, 3, 0.1)
    rows = [{f"k{draw.randrange(20)}": draw.choice(numbers) for _ in range(draw.randrange(6))} for _ in range(2_000)]
    keys, table = resampling.stack(rows)
    summed = resampling.totals(iter(rows))
    assert list(summed) == keys
    assert [value.tobytes() for value in summed.values()] == [value.tobytes() for value in resampling.total(table)]


# ---------------------------------------------------------------- rows in little memory


def odd_rows(count: int) -> list[dict[str, float]]:
    draw = random.Random(7)
    numbers = (0.0, -0.0, 1, 1.0, 255, 256.0, -3, 70_000, 0.5, 0.1, 1e300, 2**60, float(2**60))
    return [{key: draw.choice(numbers) for key in draw.sample("abcdefg", draw.randrange(5))} for _ in range(count)]


def test_a_table_of_rows_gives_every_row_back_with_its_order_and_types() -> None:
    rows = odd_rows(2_500)
    table = stats.RowTable(rows)
    assert [repr(row) for row in table] == [repr(row) for row in rows]
    assert [repr(table[i]) for i in (0, 1_023, 1_024, 2_499, -1)] == [
        repr(rows[i]) for i in (0, 1_023, 1_024, 2_499, -1)
    ]
    assert table[2_047:2_049] == rows[2_047:2_049]
    with pytest.raises(IndexError):
        table[2_500]
    keep = np.arange(2_500) % 3 == 0
    assert [repr(row) for row in table.where(keep)] == [repr(row) for row in rows[::3]]
    assert table.filled.tolist() == [bool(row) for row in rows]
    assert len(stats.RowTable()) == 0
    assert stats.RowTable().filled.tolist() == []


@pytest.mark.parametrize("sums", [row_table._SUMS, 1])
def test_totals_of_groups_are_those_of_their_rows(sums: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_table, "_SUMS", sums)
    rows = odd_rows(2_500)
    member = np.random.default_rng(3).integers(0, 5, len(rows), dtype=np.int32)
    for group, got in enumerate(stats.RowTable(rows).totals_by(member, 6)):
        wanted = stats.totals(row for row, place in zip(rows, member, strict=True) if place == group)
        assert list(got) == list(wanted)
        assert [value.tobytes() for value in got.values()] == [value.tobytes() for value in wanted.values()]


@pytest.mark.parametrize("width", [3, 2_000])
def test_sums_have_the_bits_of_the_sparse_product(width: int) -> None:
    draw = random.Random(width)
    rows = [{f"k{draw.randrange(width)}": draw.random() for _ in range(draw.randrange(4))} for _ in range(3_000)]
    clusters = [f"c{draw.randrange(40)}" for _ in rows]
    got = resampling.summed(stats.RowTable(rows), clusters)
    keys, matrix = resampling.stack(rows)
    assert isinstance(got.table, np.ndarray) == (width == 3)
    assert got.keys == keys
    assert (csr_array(got.table) != resampling.cluster_sums(matrix, clusters)).nnz == 0
    assert got.whole.tobytes() == resampling.total(matrix).tobytes()


def test_a_stream_drawn_in_parts_gives_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.random.default_rng(2).random((50, 3))
    whole = resampling.resample(sums, 200)
    monkeypatch.setattr(resampling, "_PICKED", 7 * 50)
    assert (resampling.resample(sums, 200) == whole).all()


def test_rows_of_a_translation_take_less_than_thirty_bytes() -> None:
    names = [f"chrf.{kind}{n}" for n in range(1, 7) for kind in "hrm"]

    def taken(count: int) -> float:
        tracemalloc.start()
        table = stats.RowTable({key: float(1 + (i * 7 + j) % 250) for j, key in enumerate(names)} for i in range(count))
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(table) == count
        return size

    taken(4_096)
    assert (taken(12_288) - taken(4_096)) / 8_192 < 30  # 18 numbers; as dictionaries they take 1,200 bytes
