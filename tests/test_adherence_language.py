"""Which language an answer is in, and whether it is a refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scoring import MILK

from diva_bench.scorers import adherence, language, refusals
from diva_bench.scorers.adherence import compression, loops, tokens

ROOT = Path(__file__).parents[1]
SPEECH = ROOT.parent / "shared" / "data" / "speech" / "texts.json"


# ---------------------------------------------------------------- language


def test_every_language_that_can_be_asked_for_is_told_from_every_other() -> None:
    assert MILK.keys() == language.SCRIPTS.keys()
    for asked in MILK:
        assert [code for code, text in MILK.items() if language.is_in(text, asked)] == [asked]


@pytest.mark.parametrize(("subset", "column"), [("de", "de"), ("zh", "zh-CN"), ("ja", "ja"), ("en", "text")])
def test_every_reference_of_the_mini_translation_is_in_its_language(subset: str, column: str) -> None:
    lines = (ROOT / "tasks" / "mini-v1" / "covost2.jsonl").read_text(encoding="utf-8").splitlines()
    wrong = [json.loads(line)[column] for line in lines if not language.is_in(json.loads(line)[column], subset)]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "asked", "right"),
    [
        ("", "de", False),
        ("   ", "de", False),
        ("...", "de", False),
        ("😀👍", "ja", False),
        ("1989.", "de", True),
        ("1989.", "zh", True),
        ("Oslo.", "en", True),
        ("That", "de", False),
        ("I", "de", False),
        ("Das Haus", "de", True),
        ("Das scho\u0308ne Ma\u0308dchen", "de", True),  # NFD
        ("ＩＮＴＥＲＮＥＴ　ＨＯＵＳＥ", "en", True),
        ("ﾜﾀｼﾊ ｳﾀｳ", "ja", True),
        ("人々は日々歌う。", "ja", True),
        ("東京 12", "ja", False),  # Han alone is Chinese
        ("ᠪᠢ ᠵᠠᠬ ᠷᠤᠤ ᠶᠠᠪᠰᠠᠨ", "mn", True),
        ("ᠪᠢ ᠵᠠᠬ ᠷᠤᠤ ᠶᠠᠪᠰᠠᠨ", "zh", False),
        ("من به بازار رفتم تا نان بخرم.", "ar", False),
        ("ذهبت إلى السوق لشراء الخبز.", "fa", False),
        ("ﺫﻫﺒﺖ ﺇﻟﻰ ﺍﻟﺴﻮﻕ ﻟﺸﺮﺍء ﺍﻟﺨﺒﺰ ﻭﺍﻟﺤﻠﻴﺐ", "ar", True),  # written forms
        ("Naan rottiyum paalum vaanga sandhaikku sendren.", "ta", False),
        ("मैं रोटी खरीदने बाज़ार गया।", "ta", False),
        ("나는 빵을 사러 시장에 갔다.", "ko", True),
        ("나는 빵을 사러 시장에 갔다.", "en", False),
        ("東京の人々は日々歌う。", "ko", False),
        ("আমি রুটি কিনতে বাজারে গিয়েছিলাম।", "bn", True),
        ("मैं रोटी खरीदने बाज़ार गया।", "bn", False),
        ("Nilikwenda sokoni kununua mkate na maziwa.", "sw", True),
        ("I went to the market to buy bread and milk.", "sw", False),
        ("Saya pergi ke pasar untuk membeli roti dan susu.", "sw", False),
        ("Mto Nile", "sw", True),
        ("12国の若いアーティストの画を展示します。", "ja", True),
        ("玛丽会弹钢琴，一个 younger妹妹会打鼓。", "zh", True),
        ("玛丽会弹钢琴。", "ja", False),
        ("彼女は歌う。", "zh", False),
        ("나는 빵과 우유를 사러 시장에 갔다.", "ja", False),
        ("Я пошёл на рынок купить хлеб и молоко.", "mn", False),
        ("Fui al mercado a comprar pan y leche.", "ca", False),
        ("Je suis allé au marché acheter du pain.", "ca", False),
        ('OK. The sentence translated into German is "Guten Tag".', "de", False),
        ("Wo ist denn hier der Bahnhof?\n\nIn German, that is a question about a station and its place.", "de", False),
    ],
)
def test_the_script_decides_first_and_short_texts_are_weighed_against_english(
    text: str, asked: str, right: bool
) -> None:
    assert language.is_in(text, asked) is right


def test_the_same_text_has_the_same_language_in_any_order_of_asking() -> None:
    first = {code: language.identify(text) for code, text in MILK.items()}
    language._identifier.cache_clear()
    assert {code: language.identify(text) for code, text in reversed(MILK.items())} == first


@pytest.mark.skipif(not SPEECH.exists(), reason=f"{SPEECH} is not there: 37,174 English sentences")
def test_of_english_sentences_hardly_one_is_called_another_language_a_refusal_or_a_loop() -> None:
    table = json.loads(SPEECH.read_text(encoding="utf-8"))
    texts = [t if isinstance(t, str) else t["text"] for rows in table.values() for t in rows][::10]
    assert sum(not language.is_in(t, "en") for t in texts) < 0.005 * len(texts)
    assert [t for t in texts if refusals.refuses(t)] == []
    assert [t for t in texts if loops(tokens(t)) or compression(t) > adherence.COMPRESSION] == []


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, I can’t help with that.",
        "Sorry, but I cannot do that.",
        "I cannot answer this question.",
        "Unfortunately, I am unable to translate audio.",
        "I apologize, but I'm not able to process audio files directly.",
        "As an AI language model, I don't have personal feelings.",
        "I'm just an AI, so I cannot hear you.",
        "I don't have access to real-time information.",
        "That is against my guidelines.",
        "Es tut mir leid, aber ich kann diese Frage nicht beantworten.",
        "Als KI kann ich keine Audiodateien hören.",
        "抱歉，我无法回答这个问题。",
        "作为一个AI语言模型，我无法听取音频。",
        "申し訳ありませんが、そのご質問にはお答えできません。",
    ],
)
def test_a_refusal_is_seen(text: str) -> None:
    assert refusals.refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I'm sorry I can't come tonight.",
        "I'm sorry, we can't be there before noon.",
        "I can't believe you did that!",
        "I will not perform the ungrateful task of comparing cases of failure.",
        "We can't generate enough power for the entire city.",
        "I don't know the answer to that.",
        "Sorry Seems to Be the Hardest Word was sung by Elton John.",
        "Rosa Parks refused to give up her seat and said that she would not move.",
        "As an AI researcher, he wrote the first chess program.",
        "The doctor is unable to answer before Monday.",
        "Es tut mir leid, ich kann heute nicht kommen.",
        "对不起，我迟到了。",
        "申し訳ありません、遅れました。",
        "The Nile. " * 60 + "I'm sorry, but I can't assist with that.",
    ],
)
def test_what_people_say_and_what_comes_late_is_no_refusal(text: str) -> None:
    assert not refusals.refuses(text)
