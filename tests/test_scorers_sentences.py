"""The mean of sentence BLEU is sacreBLEU's score of each sentence, averaged, and is no corpus BLEU."""

import warnings

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from scoring import said, sample, sentences, task

from diva_bench import stats
from diva_bench.errors import DataError, SpecError
from diva_bench.scorers.translation import SentenceBleu

WORDS = {
    "13a": ["Der", "Hund", ",", "ging", ".", "nicht", "über", "die", "!", "(und)", "3,5", "km", "&amp;"],
    "zh": list("街角的那家面包店早上六点开门。 ABC 12"),
    "ja-mecab": ["角の", "パン屋は", "朝六時に", "開きます", "。", "DiVA"],
}
# Targets of CoVoST 2, the tokenizer that the paper's code gets for them, and the one that a task has to name.
LANGUAGES = {"zh-CN": "zh", "ja": "ja-mecab"} | dict.fromkeys(
    ("ar", "ca", "cy", "de", "et", "fa", "id", "lv", "mn", "sl", "sv-SE", "ta", "tr"), "13a"
)


def rows_of(scorer: SentenceBleu, hypotheses: list[str], references: list[str]) -> list[dict[str, float]]:
    return [scorer.measure(sample(r), said(h)) for h, r in zip(hypotheses, references, strict=True)]


@pytest.mark.parametrize("tokenize", list(WORDS))
def test_it_is_the_mean_of_sacrebleus_sentence_scores_without_effective_order(tokenize: str) -> None:
    rng = np.random.default_rng(3)
    hypotheses, references = (sentences(rng, 60, WORDS[tokenize]) for _ in range(2))
    hypotheses[:20] = references[:20]  # some right, short ones among them
    peer = BLEU(tokenize=tokenize, effective_order=False)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("ignore")
        wanted = np.mean([peer.sentence_score(h, [r]).score for h, r in zip(hypotheses, references, strict=True)])
    scorer = SentenceBleu(task(), tokenize=tokenize)
    out = scorer.reduce(stats.totals(rows_of(scorer, hypotheses, references)))
    assert out["mean_sentence_bleu"] == pytest.approx(wanted, abs=1e-9)
    assert wanted > 0


@pytest.mark.parametrize(("language", "tokenizer"), LANGUAGES.items())
def test_the_tokenizer_of_each_language_is_that_of_the_papers_code(language: str, tokenizer: str) -> None:
    peer = BLEU(trg_lang=language.split("-", maxsplit=1)[0])
    named = SentenceBleu(task(), tokenize=tokenizer)
    peer.corpus_score(["x"], [["x"]])
    wanted = dict(part.split(":", 1) for part in str(peer.get_signature()).split("|"))["tok"]
    assert f"|tok:{wanted}|" in named.signature
    for text, reference in (
        ("街角的那家面包店早上六点开门。", "街角的那家面包店六点开门。"),
        ("a b c d, e!", "a b c d e."),
    ):
        row = named.measure(sample(reference), said(text))
        assert row.get("sentence_bleu.score", 0.0) == peer.corpus_score([text], [[reference]]).score


def test_a_right_answer_of_three_tokens_scores_0_and_corpus_bleu_differs() -> None:
    scorer = SentenceBleu(task())
    assert scorer.measure(sample("Guten Morgen."), said("Guten Morgen.")) == {"sentence_bleu.n": 1}
    hypotheses = ["Ja .", "Das Haus steht am Ufer des Flusses ."]
    out = scorer.reduce(stats.totals(rows_of(scorer, hypotheses, hypotheses)))
    assert out["mean_sentence_bleu"] == pytest.approx(50)
    assert BLEU().corpus_score(hypotheses, [hypotheses]).score == pytest.approx(100)


def test_an_unsupported_item_counts_0_and_several_references_are_sacrebleus() -> None:
    scorer = SentenceBleu(task(), references=2)
    item = sample("a b c d e", "a b c d f")
    assert scorer.measure(item, said("a b c d e", status="unsupported")) == {"sentence_bleu.n": 1}
    wanted = BLEU().corpus_score(["a b c d f g"], [["a b c d e"], ["a b c d f"]]).score
    assert scorer.measure(item, said("a b c d f g"))["sentence_bleu.score"] == wanted


def test_the_signature_is_sacrebleus_and_says_what_is_averaged() -> None:
    signature = SentenceBleu(task(), tokenize="zh").signature
    assert signature.startswith("sentence_bleu|mean|nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:")


def test_settings_and_references_are_checked_under_its_own_name() -> None:
    with pytest.raises(SpecError, match=r"scorers\.sentence_bleu has no setting 'language'"):
        SentenceBleu(task(), language="zh")
    with pytest.raises(DataError, match=r"2 references, but scorers\.sentence_bleu of its task is set for 1"):
        SentenceBleu(task()).measure(sample("a", "b"), said("a"))
