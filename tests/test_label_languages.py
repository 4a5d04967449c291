"""The strict parser in the languages of the labels: what names a label there, and what denies it."""

import unicodedata

import pytest

from diva_bench.scorers.label_parser import Parser

TONGUES = {
    "zh": (
        "开心|悲伤|愤怒",
        "说话人很开心。=开心|情绪是「开心」=开心|答案：开心=开心|我觉得是开心的情绪=开心|非常开心=开心|不仅开心=开心",
    ),
    "zh, denied": (
        "开心|悲伤",
        "不开心=|说话人并不开心=|没有开心=|既不开心也不悲伤=|我不认为说话人是开心的=|开心吗？不是。=|不知道是否开心=",
    ),
    "zh, decided": (
        "开心|悲伤",
        "不是开心，而是悲伤=悲伤|不是开心而是悲伤=悲伤|开心，不是悲伤=开心|开心而非悲伤=开心|开心还是悲伤=",
    ),
    "zh, one character": (
        "喜|怒",
        "怒=怒|答案是怒。=怒|喜欢=|愤怒=",
    ),
    "zh, yes and no": (
        "是|否",
        "是，他在讽刺=是|否。=否|不是=|但是我不知道=",
    ),
    "ja": (
        "嬉しい|悲しい|怒り",
        "話者は嬉しいです。=嬉しい|大変嬉しいです=嬉しい|悲しいかもしれない=悲しい|怒りに違いない=怒り",
    ),
    "ja, denied": (
        "嬉しい|悲しい|怒り",
        "嬉しくない=|嬉しいわけではありません=|嬉しい、とは言えません=|怒りは感じられません=|怒りなし=",
    ),
    "ja, decided": (
        "嬉しい|悲しい|怒り",
        "怒りではなく悲しい=悲しい|怒りというより悲しい=悲しい|嬉しい。怒りではない。=嬉しい",
    ),
    "ja, longer words": (
        "喜び|アン|悲しい",
        "大喜び=|物悲しい=|アンガー=|アンです=アン|喜びです=喜び",
    ),
    "ko": (
        "행복|슬픔",
        "화자는 행복합니다.=행복|행복이 틀림없습니다=행복|확실하지 않지만 행복합니다=행복",
    ),
    "ko, denied": (
        "행복|슬픔",
        "불행복=|행복주택=|행복하지 않습니다=|슬픔이 없다=|행복이 아니라 슬픔입니다=슬픔|슬픔보다 행복=행복",
    ),
    "th": (
        "มีความสุข|เศร้า|โกรธ",
        "ผู้พูดมีความสุข=มีความสุข|ไม่มีความสุข=|ไม่ใช่โกรธ=|ผู้พูดไม่โกรธ แต่เศร้า=เศร้า",
    ),
    "th, yes and no": ("ใช่|ไม่ใช่", "ใช่ครับ=ใช่|ไม่ใช่ครับ=ไม่ใช่"),
    "ru, yes and no": ("да|нет", "Да.=да|Нет, не саркастично=нет"),
    "de": (
        "glücklich|traurig",
        "GLÜCKLICH=glücklich|nicht glücklich=|unglücklich=|weder glücklich noch traurig=|Glücklich ist sie nicht.=",
    ),
    "de, decided": (
        "glücklich|traurig",
        "nicht glücklich, sondern traurig=traurig|nicht nur glücklich=glücklich|ohne Zweifel traurig=traurig",
    ),
    "fr": (
        "heureux|triste",
        "il n’est pas heureux=|pas heureux mais triste=triste|ni heureux ni triste=|sans doute triste=triste",
    ),
    "fr, elided": (
        "ironie|sincère",
        "C'est de l'ironie=ironie|Il n’y a pas d’ironie=",
    ),
    "es": (
        "feliz|triste",
        "no es feliz=|no feliz sino triste=triste|Está feliz, no triste.=feliz|sin duda feliz=feliz",
    ),
    "tr": (
        "mutlu|üzgün",
        "mutlu değil=|Konuşmacı mutlu değil, üzgün.=üzgün",
    ),
    "hi": (
        "खुश|दुखी",
        "वक्ता खुश है।=खुश|वक्ता खुश नहीं है=|खुश नहीं, दुखी=दुखी",
    ),
    "ar": (
        "سعيد|حزين",
        "المتحدث سعيد.=سعيد|سَعيد=سعيد|المتحدث ليس سعيد=|ليس سعيد بل حزين=حزين",
    ),
    "ru": (
        "весёлый|грустный",
        "не весёлый=|не весёлый, а грустный=грустный|не только весёлый=весёлый",
    ),
}


@pytest.mark.parametrize("name", TONGUES)
def test_labels_and_negations_in_the_language_of_the_labels(name: str) -> None:
    choices, cases = TONGUES[name]
    parser = Parser(choices.split("|"), {})
    for case in cases.split("|"):
        text, _, wanted = case.rpartition("=")
        assert parser.parse(text) == (wanted or None), text
        assert parser.parse(unicodedata.normalize("NFD", text)) == (wanted or None), f"{text} in NFD"


MAPPED = {
    "zh": (
        {"是": "讽刺", "不是": "真诚"},
        "是，说话人在讽刺。=讽刺|不是，他很真诚=真诚|不是讽刺=真诚|答案是：不是=真诚",
    ),
    "ja": (
        {"はい": "皮肉", "いいえ": "誠実"},
        "はい、皮肉です。=皮肉|いいえ、皮肉ではありません。=誠実|皮肉ではなく誠実=誠実",
    ),
    "ko": ({"네": "비꼼", "아니요": "진심"}, "네, 그렇습니다=비꼼|아니요, 진심입니다.=진심"),
    "ar": ({"نعم": "ساخر", "لا": "صادق"}, "نعم.=ساخر|لا، ليس ساخر=صادق|غير ساخر="),
    "de": ({"ja": "froh", "nein": "wütend"}, "Ja.=froh|Nein, gar nicht froh.=wütend"),
}


@pytest.mark.parametrize("name", MAPPED)
def test_a_leading_yes_or_no_decides_in_other_languages(name: str) -> None:
    synonyms, cases = MAPPED[name]
    parser = Parser(tuple(synonyms.values()), synonyms)
    for case in cases.split("|"):
        text, _, wanted = case.rpartition("=")
        assert parser.parse(text) == (wanted or None), text
