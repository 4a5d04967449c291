"""Question answering: contains, exact match, F1."""

import random
import re
import string
from collections import Counter

import numpy as np
import pytest
from scoring import said, sample, sentences, task

from diva_bench import stats
from diva_bench.scorers.qa import QA


def scores(text: str, *references: str) -> tuple[float, float, float]:
    scorer = QA(task())
    out = scorer.reduce(stats.totals([scorer.measure(sample(*references), said(text))]))
    return tuple(round(float(out[m]), 2) for m in ("contains", "em", "f1"))


@pytest.mark.parametrize(
    ("text", "references", "wanted"),
    [
        ("The Nile.", ["Nile"], (100, 100, 100)),
        ("It flows through Cairo: the Nile River!", ["Nile", "the Nile River"], (100, 0, 50)),
        ("I know it", ["no"], (0, 0, 0)),  # not inside a word
        ("in 1945", ["1"], (0, 0, 0)),
        ("New old York", ["New York"], (0, 0, 80)),  # not consecutive
        ("York New", ["New York"], (0, 0, 100)),  # F1 does not mind the order
        ("Paris", ["Rome", "Oslo"], (0, 0, 0)),
        ("", ["Nile"], (0, 0, 0)),
        ("  \n", ["The"], (0, 0, 0)),  # an empty answer is never right
        ("the", ["the"], (100, 100, 100)),
        ("the", ["Nile"], (0, 0, 0)),
    ],
)
def test_cases(text: str, references: list[str], wanted: tuple[float, float, float]) -> None:
    assert scores(text, *references) == wanted


LETTERS = [
    "{}",
    "{}.",
    "The answer is {}.",
    "**{}**",
    "({})",
    "{}) red",
    "{}: red",
    "answer: {}",
    "{} is correct",
    "Option {}",
]


@pytest.mark.parametrize("form", LETTERS)
@pytest.mark.parametrize("letter", "ABCD")
def test_a_letter_is_right_in_any_form_whichever_it_is(form: str, letter: str) -> None:
    assert scores(form.format(letter), letter)[0] == 100
    assert scores(form.format(letter), letter) == scores(form.format("Q"), "Q")  # no letter is worth less


# reference, answer, contains, exact match (None: not looked at)
PAIRS = [
    # nothing left by the script
    ("A", "a", 1, 1),
    ("A", "It is a dog.", 0, 0),
    ("A", "A dog barks.", 0, 0),
    ("A", "A+", 0, 0),
    ("a", "an", 0, 0),
    ("The", "The.", 1, 1),
    ("The", "the cat", 0, 0),
    ("The The", "It is the The", 1, 0),
    ("+", "The sign is + here", 1, 0),
    (".", "It is here.", 0, 0),
    ("—", "—", 1, 1),
    ("👍", "👍\ufe0f", 1, 1),
    # numbers
    ("3.5", "35", 0, 0),
    ("35", "3.5", 0, 0),
    ("3.5", "It is 3.5.", 1, 0),
    ("3.5", "3,5", 1, 1),
    ("３．５", "3.5", 1, 1),
    ("0.5", ".5", 1, 1),
    ("5", ".5", 0, 0),
    ("1,000", "1000", 1, 1),
    ("1000", "It has 1,000 rooms.", 1, 0),
    ("1000", "1\u202f000", 1, 1),
    ("1,000", "10000", 0, 0),
    ("1,000.5", "1000.5", 1, 1),
    ("-5", "5", 0, 0),
    ("5", "-5", 0, 0),
    ("-5", "It is −5 degrees", 1, 0),
    ("-5", "minus 5", 1, 1),
    ("9/11", "911", 0, 0),
    ("3:30", "330", 0, 0),
    ("1914-1918", "1914–1918", 1, 1),
    ("4", "4th", 0, 0),
    ("10²", "102", 0, 0),
    # units
    ("$5", "5 dollars", 1, None),
    ("$5", "5", 1, 1),  # as the script has it
    ("5", "It costs $5.", 1, 0),
    ("$5", "€5", 0, 0),
    ("$5", "$50", 0, 0),
    ("$5 million", "It was 5 million dollars", 1, 0),
    ("€5", "5 euros", 1, None),
    ("50%", "50 percent", 1, None),
    ("50 per cent", "It was 50%.", 1, 0),
    ("50%", "50 people", 0, 0),
    # signs
    ("C++", "I like C++.", 1, 0),
    ("C", "C++", 0, 0),
    ("C++", "C", 0, 0),
    ("B", "B-", 0, 0),
    ("B-", "B", 0, 0),
    ("B-", "I got a B- in it.", 1, 0),
    ("O-", "O−.", 1, 1),
    ("O+", "O-", 0, 0),
    ("AB", "AB-", 0, 0),
    ("A-", "**A-**", 1, 1),
    ("B", "B- Paris", 1, 0),  # an option
    ("18", "18+", 0, 0),
    ("18+", "It is for 18+ only", 1, 0),
    ("two", "two- and threefold", 1, 0),
    ("think", "I think- no", 1, 0),
    ("京", "東京", 1, 0),  # by characters: see the module
    ("C#", "**C#**", 1, 1),
    ("U.S.", "US", 1, 1),
    ("don't know", "I don’t know", 1, 0),
    ("Paris", "“Paris”", 1, 1),
    ("Paris", "«Paris»", 1, 1),
    ("Paris", "Paris…", 1, 1),
    ("Paris", "¿Paris?", 1, 1),
    ("Paris", "Paris—the capital", 1, 0),
    ("Paris", "London/Paris", 1, 0),
    ("Paris", "Pa\u200bris", 1, 1),
    ("Jean-Luc", "It is Jean–Luc.", 1, 0),
    ("New York", "New\u00a0York", 1, 1),
    ("café", "It is the cafe\u0301.", 1, 0),
    ("İstanbul", "istanbul", 1, 1),
    ("Straße", "STRASSE", 1, 1),
    # scripts
    ("北京", "首都是北京。", 1, 0),
    ("北京", "北京。", 1, 1),
    ("北京", "南京", 0, 0),
    ("東京", "答えは「東京」です。", 1, 0),
    ("アン", "アンナ", 0, 0),
    ("กรุงเทพ", "คำตอบคือกรุงเทพ", 1, 0),
    ("서울", "서울입니다.", 1, 0),
    ("서울", "서울대학교", 0, 0),
    ("울", "서울", 0, 0),
    ("ພາສາລາວ", "ແມ່ນພາສາລາວ", 1, 0),
    ("ភ្នំពេញ", "គឺភ្នំពេញ។", 1, 0),
    ("ရန်ကုန်", "ရန်ကုန်မြို့", 1, 0),
    ("2024", "２０２４年です", 1, 0),
    ("दिल्ली", "यह दिल्ली है।", 1, 0),
    ("القاهرة", "القاهرة،", 1, 1),
    ("يوم", "اليوم", 0, 0),
]


@pytest.mark.parametrize(("reference", "text", "contains", "exact"), PAIRS)
def test_what_an_answer_contains_and_is(reference: str, text: str, contains: int, exact: int | None) -> None:
    found = scores(text, reference)
    assert found[0] == 100 * contains
    assert exact is None or found[1] == 100 * exact


def test_an_answer_that_is_a_reference_has_every_score_in_full() -> None:
    made = random.Random(1)
    parts = [
        "A",
        "a",
        "the",
        "An",
        "3.5",
        "35",
        "$",
        "%",
        "+",
        "-",
        "北",
        "서울",
        "ア",
        "ท",
        "e\u0301",
        ".",
        " ",
        "—",
        "5",
        ",",
        "’",
        "İ",
    ]
    for _ in range(2000):
        reference = "".join(made.choices(parts, k=made.randint(1, 6)))
        text = reference if made.random() < 0.5 else "".join(made.choices(parts, k=made.randint(1, 6)))
        found = scores(text, reference)
        if found[1] or (text == reference and text.strip()):
            assert found == (100, 100, 100), (text, reference)


def test_f1_of_scripts_without_spaces_is_over_characters() -> None:
    assert scores("首都是北京。", "北京")[2] == 57.14  # 2 of 5, 2 of 2


def official(prediction: str, truths: list[str]) -> tuple[float, float]:
    """Exact match and F1 as the SQuAD v1.1 evaluation script defines them, written down a second time."""

    def normalise(s: str) -> str:
        s = "".join(c for c in s.lower() if c not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())

    def f1(truth: str) -> float:
        p, t = normalise(prediction).split(), normalise(truth).split()
        same = sum((Counter(p) & Counter(t)).values())
        return 2 * (same / len(p)) * (same / len(t)) / (same / len(p) + same / len(t)) if same else 0.0

    return max(float(normalise(prediction) == normalise(t)) for t in truths), max(f1(t) for t in truths)


def test_random_answers_score_as_in_the_squad_script() -> None:
    rng = np.random.default_rng(7)
    words = ["The", "a", "Nile,", "river", "RIVER", "an", "Cairo!", "U.S."]
    scorer = QA(task())
    rows, wanted = [], []
    for _ in range(300):
        text = sentences(rng, 1, words, 5)[0] or "x"
        references = [f"{r} Nile" for r in sentences(rng, 3, words, 5)]  # what the script leaves nothing of: see above
        rows.append(scorer.measure(sample(*references), said(text)))
        wanted.append(official(text, references))
    out = scorer.reduce(stats.totals(rows))
    em, f1 = 100 * np.mean(wanted, axis=0)
    assert float(out["em"]) == pytest.approx(em, abs=1e-9)
    assert float(out["f1"]) == pytest.approx(f1, abs=1e-9)


def test_the_signature_names_the_normaliser() -> None:
    assert QA(task()).signature == "qa|norm:squad.v3.1|refs:max"
