"""BLEU and chrF agree with sacreBLEU: exactly for one sum, to 1e-9 for many."""

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF
from scoring import said, sample, sentences, task

from diva_bench import stats
from diva_bench.errors import DataError, SpecError
from diva_bench.scorers import translation
from diva_bench.scorers.translation import Bleu, Chrf
from diva_bench.stats.resampling import total

WORDS = ["Der", "Hund", ",", "ging", ".", "nicht", "über", "die", "!", "(und)", "3,5", "km", "&amp;", "weiter", "U.S."]
CHINESE = list("街角的那家面包店早上六点开门。 ABC 12")
JAPANESE = ["角の", "パン屋は", "朝六時に", "開きます", "。", "DiVA"]
DEGENERATE = [
    ([""], [["a b c d"]]),  # nothing said
    (["a b c d"], [["e f g h"]]),  # nothing right
    (["a b"], [["a b"]]),  # too short for four-grams: 0 without effective order
    (["a b c x e"], [["a b c d e"]]),  # one smoothed order
    (["a x b y c"], [["a b c d e"]]),  # several: the halving goes on
    (["a b c d e f"], [["a b c d e f"]]),
    (["a b c d e f g h"], [["a b c d"]]),  # longer than the reference: no brevity penalty
    (["", "a b c d"], [["x", "a b c d"]]),
    (["a b c d\n"], [["a b c d"]]),
    (["a"], [[""]]),
]


def measured(scorer: Bleu | Chrf, hypotheses: list[str], streams: list[list[str]]) -> list[dict[str, float]]:
    return [
        scorer.measure(sample(*references), said(hypothesis))
        for hypothesis, *references in zip(hypotheses, *streams, strict=True)
    ]


def both_ways(scorer: Bleu | Chrf, rows: list[dict[str, float]], name: str) -> tuple[float, float]:
    """The score of the sum, by sacreBLEU's formula and by ours on arrays."""
    keys, matrix = stats.stack(rows)
    point = scorer.reduce(stats.unstack(keys, total(matrix)))[name]
    arrays = scorer.reduce(stats.unstack(keys, total(matrix)[None].repeat(3, axis=0)))[name]
    assert arrays.shape == (3,)
    return float(point), float(arrays[1])


@pytest.mark.parametrize(("hypotheses", "references"), DEGENERATE)
def test_degenerate_corpora_score_as_in_sacrebleu(hypotheses: list[str], references: list[list[str]]) -> None:
    wanted = BLEU().corpus_score(hypotheses, references).score
    scorer = Bleu(task())
    point, arrays = both_ways(scorer, measured(scorer, hypotheses, references), "bleu")
    assert point == wanted
    assert arrays == pytest.approx(wanted, abs=1e-9)
    for order, name in ((0, "chrf2"), (2, "chrf++")):
        wanted = CHRF(word_order=order).corpus_score(hypotheses, references).score
        chrf = Chrf(task(), word_order=order)
        point, arrays = both_ways(chrf, measured(chrf, hypotheses, references), name)
        assert point == wanted
        assert arrays == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    ("tokenize", "words"), [("13a", WORDS), ("intl", WORDS), ("none", WORDS), ("zh", CHINESE), ("char", CHINESE)]
)
@pytest.mark.parametrize("references", [1, 3])
def test_bleu_of_random_corpora_is_sacrebleus(tokenize: str, words: list[str], references: int) -> None:
    rng = np.random.default_rng(len(tokenize) + references)
    scorer, peer = Bleu(task(), tokenize=tokenize, references=references), BLEU(tokenize=tokenize)
    for size in (1, 1, 2, 5, 40):
        hypotheses = sentences(rng, size, words)
        streams = [sentences(rng, size, words) for _ in range(references)]
        wanted = peer.corpus_score(hypotheses, streams).score
        point, arrays = both_ways(scorer, measured(scorer, hypotheses, streams), "bleu")
        assert point == wanted
        assert arrays == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(("order", "name"), [(0, "chrf2"), (2, "chrf++")])
@pytest.mark.parametrize("references", [1, 3])
def test_chrf_of_random_corpora_is_sacrebleus(order: int, name: str, references: int) -> None:
    rng = np.random.default_rng(order + references)
    scorer, peer = Chrf(task(), word_order=order, references=references), CHRF(word_order=order)
    for words in (WORDS, CHINESE):
        for size in (1, 1, 2, 40):
            hypotheses = sentences(rng, size, words)
            streams = [sentences(rng, size, words) for _ in range(references)]
            wanted = peer.corpus_score(hypotheses, streams).score
            point, arrays = both_ways(scorer, measured(scorer, hypotheses, streams), name)
            assert point == wanted
            assert arrays == pytest.approx(wanted, abs=1e-9)


def test_both_chrfs_of_one_scorer_are_those_of_two() -> None:
    rng = np.random.default_rng(9)
    hypotheses, references = sentences(rng, 30, WORDS), sentences(rng, 30, WORDS)
    both = Chrf(task(), word_order=[0, 2])
    rows = measured(both, hypotheses, [references])
    for order, name in ((0, "chrf2"), (2, "chrf++")):
        alone = Chrf(task(), word_order=order)
        assert alone.signature in both.signature.split("; ")
        wanted = both_ways(alone, measured(alone, hypotheses, [references]), name)
        assert both_ways(both, rows, name) == wanted
        assert wanted[0] == CHRF(word_order=order).corpus_score(hypotheses, [references]).score
    assert both.reduce({}) == {}


def test_japanese_is_cut_by_mecab_with_one_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    class Counted(BLEU):
        def __init__(self, **args: str) -> None:
            built.append(args)
            super().__init__(**args)

    monkeypatch.setattr(translation, "BLEU", Counted)
    rng = np.random.default_rng(1)
    hypotheses, references = ([s.replace(" ", "") for s in sentences(rng, 20, JAPANESE)] for _ in range(2))
    scorer = Bleu(task(), tokenize="ja-mecab")
    point = scorer.reduce(stats.totals(measured(scorer, hypotheses, [references])))["bleu"]
    assert built == [{"tokenize": "ja-mecab"}]
    assert float(point) == BLEU(tokenize="ja-mecab").corpus_score(hypotheses, [references]).score > 0


def test_every_resample_scores_as_the_corpus_it_stands_for() -> None:
    rng = np.random.default_rng(5)
    hypotheses, references = sentences(rng, 30, WORDS, 7), sentences(rng, 30, WORDS, 7)
    bleu, chrf = Bleu(task()), Chrf(task())
    for scorer, peer, name in ((bleu, BLEU(), "bleu"), (chrf, CHRF(), "chrf2")):
        keys, matrix = stats.stack(measured(scorer, hypotheses, [references]))
        drawn = rng.integers(0, 30, (50, 4))  # tiny resamples, so that zero counts are common
        scores = scorer.reduce(stats.unstack(keys, matrix.toarray()[drawn].sum(axis=1)))[name]
        wanted = [peer.corpus_score([hypotheses[i] for i in d], [[references[i] for i in d]]).score for d in drawn]
        assert min(wanted) == 0 or name == "chrf2"
        assert scores == pytest.approx(np.array(wanted), abs=1e-9)


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (lambda: Bleu(task()), "bleu|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{}"),
        (lambda: Bleu(task(), tokenize="zh"), "bleu|nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:{}"),
        (lambda: Bleu(task(), references="var"), "bleu|nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|version:{}"),
        (lambda: Chrf(task()), "chrf2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{}"),
        (lambda: Chrf(task(), word_order=2), "chrf++|nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:{}"),
        (lambda: Bleu(task(), references=4), "bleu|nrefs:4|case:mixed|eff:no|tok:13a|smooth:exp|version:{}"),
    ],
)
def test_the_signature_is_sacrebleus_and_known_before_anything_is_measured(made, wanted: str) -> None:
    assert made().signature == wanted.format(sacrebleu.__version__)


def test_another_number_of_references_than_the_signature_says_is_an_error() -> None:
    with pytest.raises(DataError, match=r"sample a has 2 references, but scorers.bleu of its task is set for 1"):
        Bleu(task()).measure(sample("x", "y"), said("x"))
    assert Bleu(task(), references="var").measure(sample("x", "y"), said("x"))


def test_a_tokenizer_that_needs_a_missing_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**args: object) -> None:
        raise RuntimeError("Japanese tokenization requires extra dependencies")

    monkeypatch.setattr(translation, "BLEU", missing)
    with pytest.raises(SpecError, match=r'pip install "sacrebleu\[ja\]"'):
        Bleu(task(), tokenize="ja-mecab")


def test_japanese_under_the_wrong_tokenizer_scores_otherwise() -> None:
    """Why the tokenizer is part of the signature: the same answer, 13a against mecab."""
    hypothesis, reference = "角のパン屋は朝六時に開く。", "角のパン屋は朝六時に開きます。"
    scores = {}
    for tokenize in ("13a", "ja-mecab"):
        scorer = Bleu(task(), tokenize=tokenize)
        scores[tokenize] = float(scorer.reduce(stats.totals(measured(scorer, [hypothesis], [[reference]])))["bleu"])
    assert scores["13a"] == 0
    assert scores["ja-mecab"] > 50


@pytest.mark.parametrize("order", [0, 2])
@pytest.mark.parametrize("references", [1, 2])
def test_the_counts_of_every_answer_are_sacrebleus(order: int, references: int) -> None:
    bleu, chrf, rng = BLEU(), CHRF(word_order=order), np.random.default_rng(11)
    answers = [*sentences(rng, 60, WORDS), "", "a", " ", WORDS[0]]
    streams = [[*sentences(rng, 60, WORDS), "a", "", "b", WORDS[0]] for _ in range(references)]
    for text, *there in zip(answers, *streams, strict=True):
        lists = [[reference] for reference in there]
        assert translation._bleu_counts(bleu, text, there) == bleu._extract_corpus_statistics([text], lists)[0]
        assert translation._chrf_counts(chrf, text, there) == chrf._extract_corpus_statistics([text], lists)[0]
