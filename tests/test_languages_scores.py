"""Scores of languages without spaces, and of languages that are written from right to left."""

from __future__ import annotations

import csv
import io
import json
import re
from unicodedata import normalize

import jiwer
import pytest
from rich.cells import cell_len
from rich.console import Console
from scoring import said, sample, task

from diva_bench import stats
from diva_bench.catalog import Catalog
from diva_bench.scorers.asr import Wer
from diva_bench.scorers.qa import QA
from diva_bench.scorers.translation import Bleu
from diva_bench.stats.resampling import total
from diva_bench.tables import Column, Score, Table

WITHOUT_SPACES = {  # "The dog sleeps in the house.", and a word of it
    "cmn_hans_cn": ("狗在房子里睡觉。", "房子"),
    "yue_hant_hk": ("隻狗喺屋企瞓覺。", "屋企"),
    "ja_jp": ("犬は家の中で寝ています。", "家"),
    "th_th": ("หมานอนอยู่ในบ้าน", "บ้าน"),
    "lo_la": ("ໝານອນຢູ່ໃນເຮືອນ", "ເຮືອນ"),
    "km_kh": ("ឆ្កែដេកនៅក្នុងផ្ទះ", "ផ្ទះ"),
    "my_mm": ("ခွေးသည်အိမ်ထဲတွင်အိပ်သည်။", "အိမ်"),
}
WITH_SPACES = {
    "ko_kr": "개가 집에서 잔다.",
    "vi_vn": "Con chó ngủ trong nhà.",
    "hi_in": "कुत्ता घर में सोता है।",
    "ta_in": "நாய் வீட்டில் தூங்குகிறது.",
    "ar_eg": "ينام الكلب في البيت.",
    "he_il": "הכלב ישן בבית.",
    "am_et": "ውሻው ቤት ውስጥ ይተኛል።",
    "sw_ke": "Mbwa analala nyumbani.",
    "de_de": "Der Hund schläft im Haus.",
}


def score(scorer, pairs: list[tuple[str, str]], name: str) -> float:
    """Of (reference, answer) pairs."""
    keys, matrix = stats.stack([scorer.measure(sample(reference), said(answer)) for reference, answer in pairs])
    return float(scorer.reduce(stats.unstack(keys, total(matrix)))[name])


def test_languages_without_spaces_are_ranked_by_characters_and_all_others_by_words() -> None:
    catalog = Catalog()
    tasks = {name.removeprefix("fleurs-"): catalog.task(name, "full") for name in catalog.subsets("fleurs-all", "full")}
    assert {code for code, one in tasks.items() if one.primary == "cer"} == set(WITHOUT_SPACES)
    assert {one.primary for one in tasks.values()} == {"wer", "cer"}
    for code, one in tasks.items():
        assert one.scorers["wer"] == ({"unit": "char"} if code in WITHOUT_SPACES else {}), code
    assert not [code for code, (text, _) in WITHOUT_SPACES.items() if " " in text]
    assert not [code for code, text in WITH_SPACES.items() if " " not in text]


@pytest.mark.parametrize("code", WITHOUT_SPACES)
def test_a_character_error_rate_does_not_ask_where_a_transcript_has_spaces(code: str) -> None:
    text, word = WITHOUT_SPACES[code]
    scorer = Wer(Catalog().task(f"fleurs-{code}", "full"), unit="char")
    spaced = text.replace(word, f" {word} ")
    hidden = text.replace(word, f"\u200b{word}\u200b")  # zero width spaces, as in Khmer and Lao texts
    assert [score(scorer, [(text, answer)], "cer") for answer in (text, spaced, hidden)] == [0.0, 0.0, 0.0]
    lost = text.replace(word, "")
    wanted = 100 * jiwer.cer(*(normalize("NFKC", re.sub("[。။]", "", each)) for each in (text, lost)))
    assert score(scorer, [(text, lost)], "cer") == pytest.approx(wanted)
    assert 0 < wanted < 60


@pytest.mark.parametrize("code", WITHOUT_SPACES)
def test_one_wrong_character_would_make_the_whole_sentence_wrong_by_words(code: str) -> None:
    text, word = WITHOUT_SPACES[code]
    assert score(Wer(task()), [(text, text.replace(word, ""))], "wer") == 100.0


@pytest.mark.parametrize("code", WITH_SPACES)
def test_a_word_error_rate_counts_words_between_spaces(code: str) -> None:
    text = WITH_SPACES[code]
    words = text.rstrip(".።।").split()
    assert score(Wer(Catalog().task(f"fleurs-{code}", "full")), [(text, " ".join(words[:-1]))], "wer") == pytest.approx(
        100 / len(words)
    )


@pytest.mark.parametrize("code", WITHOUT_SPACES)
def test_an_answer_is_found_in_a_sentence_without_spaces(code: str) -> None:
    text, word = WITHOUT_SPACES[code]
    scorer = QA(task())
    assert score(scorer, [(word, text)], "contains") == 100.0
    assert score(scorer, [(word, text.replace(word, ""))], "contains") == 0.0


def test_a_sentence_without_spaces_is_one_token_for_13a_and_many_for_its_own_tokeniser() -> None:
    pairs = [(WITHOUT_SPACES["cmn_hans_cn"][0], "狗在花园里睡觉。")]
    assert score(Bleu(task(), tokenize="13a"), pairs, "bleu") == 0.0
    assert score(Bleu(task(), tokenize="zh"), pairs, "bleu") > 20


# ---------------------------------------------------------------- from right to left

RIGHT_TO_LEFT = {
    "Arabic": "ينام الكلب في البيت (رقم 12).",
    "Hebrew": "הכלב ישן בבית, 3.5 שעות!",
    "Persian": "سگ در خانه می‌خوابد: ۱۲ ساعت",  # with a zero width non-joiner
    "Urdu": "کتا گھر میں سوتا ہے۔",
}
TABLE = Table(
    "answers",
    [Column("language"), Column("reference"), Column("bleu"), Column("n")],
    [[name, text, Score(22.41, 19.1, 25.7), 7] for name, text in RIGHT_TO_LEFT.items()],
    [f"an answer: {RIGHT_TO_LEFT['Arabic']}"],
)


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_terminal_has_right_to_left_text_in_its_order_in_columns_that_stay(width: int) -> None:
    console = Console(width=width, file=io.StringIO())
    console.print(TABLE)
    text = console.file.getvalue()
    lines = text.splitlines()
    assert max(cell_len(line) for line in lines) <= width
    for reference in RIGHT_TO_LEFT.values():
        assert all(word in text for word in reference.split())
    if width == 160:
        rows = [line for line in lines if "22.4" in line]
        assert all(reference in row for reference, row in zip(RIGHT_TO_LEFT.values(), rows, strict=True))
        places = {cell_len(row[: row.index("22.4")]) for row in rows}
        assert len(places) == 1  # numbers stand below each other


def test_markdown_and_latex_have_right_to_left_text_as_it_is() -> None:
    for row in TABLE.to_markdown().splitlines()[4:8]:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] == RIGHT_TO_LEFT[cells[0]]
        assert cells[2:] == ["22.4 [19.1, 25.7]", "7"]
    text = TABLE.to_latex()
    for name, reference in RIGHT_TO_LEFT.items():
        assert f"{name} & {reference} & 22.4 [19.1, 25.7] & 7 \\\\" in text


def test_csv_json_and_pandas_have_right_to_left_text_as_it_is() -> None:
    rows = list(csv.DictReader(io.StringIO(TABLE.to_csv())))
    assert {row["language"]: row["reference"] for row in rows} == RIGHT_TO_LEFT
    cells = json.loads(TABLE.to_json())["rows"]
    assert {row["language"]: row["reference"] for row in cells} == RIGHT_TO_LEFT
    assert list(TABLE.to_pandas()["reference"]) == list(RIGHT_TO_LEFT.values())


def test_html_gives_every_text_its_own_direction() -> None:
    text = TABLE.to_html()
    for reference in RIGHT_TO_LEFT.values():
        assert f'unicode-bidi: plaintext">{reference}</td>' in text
    assert 'text-align: right">22.4 [19.1, 25.7]</td>' in text


@pytest.mark.parametrize("mark", ["\u202e", "\u2067", "\u200f"])
def test_marks_that_turn_the_text_of_others_are_shown_and_not_obeyed(mark: str) -> None:
    table = Table("t", [Column("a")], [[f"{mark}abc"]])
    shown = f"\\u{ord(mark):04x}abc"
    assert shown in str(table)
    assert mark not in str(table) + table.to_markdown() + table.to_latex() + table.to_html() + table.to_csv()
    assert json.loads(table.to_json())["rows"] == [{"a": f"{mark}abc"}]
