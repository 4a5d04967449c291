"""What is no part of an answer goes before anything is scored, for every scorer alike."""

import random

import pytest
from scoring import pedants_folder, said, sample, task

from diva_bench import catalog as catalogs
from diva_bench import stats
from diva_bench.catalog import Catalog
from diva_bench.scorers import answer, cleaned, cleaning
from diva_bench.scorers.cleaning import clean, unfinished


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<think>It could be Paris? No, I am not sure.</think>\nLondon", "London"),
        ("<think></think>Paris", "Paris"),
        ("<THINKING>a</THINKING> Paris", "Paris"),
        ("[THINK]London?[/THINK]Paris", "Paris"),
        ("◁think▷London?◁/think▷Paris", "Paris"),
        ("So it must be London.\n</think>\n\nParis", "Paris"),  # the template opened it
        ("<think>a<think>b</think>Paris", "Paris"),
        ("<think>a</think>Rome<think>b</think>", "Rome"),
        (
            "<|channel|>analysis<|message|>London?<|end|><|start|>assistant<|channel|>final<|message|>Paris<|return|>",
            "Paris",
        ),
    ],
)
def test_reasoning_that_ends_is_no_part_of_the_answer(text: str, wanted: str) -> None:
    assert clean(text) == wanted
    assert not unfinished(text)


@pytest.mark.parametrize(
    "text",
    [
        "<think>Paris is the capital but the question is about",
        "Well. <think>Paris",
        "<think>a</think>Paris<think>but",
        "<|channel|>analysis<|message|>Paris is the",
        "[THINK]Paris",
    ],
)
def test_reasoning_without_an_end_leaves_no_answer_and_is_seen_to_be_cut_off(text: str) -> None:
    assert clean(text) == ""
    assert unfinished(text)
    assert cleaned(said(text)).reasoning == "cut off"


@pytest.mark.parametrize(
    "text",
    [
        "Paris<|im_end|>",
        "Paris</s>",
        "<s>Paris</s>",
        "Paris<|eot_id|>",
        "Paris<end_of_turn>\n",
        "Paris<|endoftext|>",
        "Paris<eos><pad><pad>",
        "<｜begin▁of▁sentence｜>Paris<｜end▁of▁sentence｜>",
        "<|start_header_id|>assistant<|end_header_id|>\n\nParis<|eot_id|>",
        "<start_of_turn>model\nParis<end_of_turn>",
        "<|im_start|>assistant\nParis<|im_end|>\n<|im_start|>user\nAnd London?",
        "<|im_start|>user\nLondon?<|im_end|>\n<|im_start|>assistant\nParis<|im_end|>",
        "<s>[INST] London? [/INST] Paris</s>",
        "<|startoftranscript|><|en|><|0.00|> Paris<|2.40|>",
        "assistant: Paris",
        "assistant\n\nParis",
    ],
)
def test_special_tokens_role_headers_and_other_turns_are_no_part_of_the_answer(text: str) -> None:
    assert clean(text) == "Paris"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  Paris \n",
        "a < b |> c",
        "x <| y",
        "I <3 Paris",
        "I think so",
        "[sic] Paris",
        "assistant coach",
        "the /s mark",
    ],
)
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text
    assert cleaned(said(text)) == said(text)


def test_what_was_cleaned_once_is_clean() -> None:
    parts = [
        "<think>",
        "</think>",
        "<|im_end|>",
        "Paris ",
        "\n",
        "<|",
        "|>",
        "</s>",
        "assistant:",
        "<|im_start|>",
        "user",
    ]
    parts += ["[INST]", "[/INST]", "<|channel|>", "final", "<|message|>", " ", "<"]
    made = random.Random(3)
    for _ in range(3000):
        once = clean("".join(made.choices(parts, k=made.randint(1, 9))))
        assert clean(once) == once


def test_tokens_within_tokens_are_not_worked_at_for_ever() -> None:
    clean("<|" * 20_000 + "x" + "|>" * 20_000)
    clean("<think>" * 20_000)


def test_an_unsupported_item_has_no_word() -> None:
    assert answer(said("Paris", status="unsupported")) == ""


# ---------------------------------------------------------------- every scorer

SCORERS = {
    "bleu": {},
    "chrf": {},
    "sentence_bleu": {},
    "qa": {},
    "wer": {},
    "labels": {},
    "adherence": {"language": "en", "form": "sentence"},
    "pedants": {},
}


def test_every_scorer_gives_the_cleaned_answer_what_it_gives_the_answer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogs.assets, "locate", lambda *args: pedants_folder())
    spec = task(choices=("joy", "anger"), scorers=SCORERS)
    item = sample("joy", transcript="Is this joy or anger?")
    for name, scorer in Catalog().scorers(spec).items():
        plain = scorer.measure(item, said("It is joy."))
        assert scorer.measure(item, said("It is joy.<|im_end|>")) == plain, name
        reasoned = scorer.measure(item, said("<think>anger?</think>It is joy."))
        assert {k: v for k, v in reasoned.items() if k != "adh.truncated.n"} == plain, name
        assert scorer.signature.endswith(f"|{cleaning.SIGNATURE}"), name


def test_a_scorer_that_reads_no_answer_does_not_sign_for_it() -> None:
    made = Catalog().scorers(task(scorers={"given": {}, "pedants": {}}))
    assert cleaning.SIGNATURE not in made["given"].signature


def test_reasoning_that_was_cut_off_is_an_empty_answer_and_a_truncated_one() -> None:
    scorer = Catalog().scorers(task(scorers={"adherence": {}}))["adherence"]
    rows = [scorer.measure(sample("x"), said(t)) for t in ("<think>Paris", "<think>a</think>Paris", "Paris")]
    out = scorer.reduce(stats.totals(rows))
    assert float(out["truncated"]) == 50  # of the two that show how they came to their end
    assert float(out["empty"]) == pytest.approx(100 / 3)
