"""The strict parser: which one label a text names. Every table is label set, synonyms, and texts with what they name."""

import unicodedata

import pytest

from diva_bench.scorers.label_parser import Parser

SARCASM = (
    ("sarcastic", "sincere"),
    {"sarcasm": "sarcastic", "ironic": "sarcastic", "sincerity": "sincere", "honest": "sincere"},
)
MAPPED = (("sarcastic", "sincere"), {"yes": "sarcastic", "no": "sincere", "not sarcastic": "sincere"})
EMOTIONS = (
    ("angry", "happy", "neutral", "sad"),
    {"anger": "angry", "sadness": "sad", "excited": "happy", "a good mood": "happy"},
)


def read(labels: tuple[tuple[str, ...], dict[str, str]], text: str) -> str | None:
    return Parser(*labels).parse(text)


# ---------------------------------------------------------------- forms of a label


@pytest.mark.parametrize(
    "text",
    [
        "Sarcastic",
        "SARCASTIC!!!",
        "\tsarcastic\r\n",
        "Answer: sarcastic.",
        "Label:sarcastic",
        "speaker = sarcastic",
        "**Sarcastic**",
        "_sarcastic_",
        "`sarcastic`",
        "# Sarcastic",
        "- sarcastic",
        "1. sarcastic",
        "A) sarcastic",
        "“Sarcastic”",
        "«sarcastic»",
        "<b>sarcastic</b>",
        r"\boxed{sarcastic}",
        r"$\text{sarcastic}$",
        '{"answer": "sarcastic"}',
        '```json\n{"reasoning": "it could be sincere", "label": "sarcastic"}\n```',
        '{"sarcastic": true, "sincere": false}',
        "sarcastic\u200b",
        "sarcastic\x00",
        "ＳＡＲＣＡＳＴＩＣ",
        "讽刺 (sarcastic)",
        "是sarcastic的",
        "There is sarcasm, and irony: ironic.",
        "sarcastic " * 3000,
    ],
)
def test_a_label_is_found_in_any_dress(text: str) -> None:
    assert read(SARCASM, text) == "sarcastic"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "😏",
        "yes",
        "sarcastically",
        "nonsarcastic",
        "unsarcastic",
        "insincere",
        "sarcàstic",
        "s a r c a s t i c",
        "sarcastic/sincere",
        "Sarcastic\nSincere",
        "both sarcastic and sincere",
        "sarcastic or sincere?",
        '{"a": ' * 5000,
    ],
)
def test_anything_else_names_none(text: str) -> None:
    assert read(SARCASM, text) is None


# ---------------------------------------------------------------- what denies, English


@pytest.mark.parametrize(
    "text",
    [
        "not sarcastic",
        "**not** sarcastic",
        'not "sarcastic"',
        "The speaker is not being sarcastic.",
        "The speaker is not at all sarcastic.",
        "The speaker isn't sarcastic",
        "The speaker isn’t sarcastic",
        "it isnt sarcastic",
        "It ain't sarcastic",
        "I would not call it sarcastic.",
        "I would not say it is sarcastic",
        "I don't think the speaker is sarcastic.",
        "I don't think that, on the whole, he is sarcastic.",
        "It is not, in my opinion, sarcastic.",
        "It isn't, however, sarcastic.",
        "It is false that the speaker is sarcastic.",
        "I wouldn't describe this as sarcastic or ironic.",
        "not sarcastic, ironic, or honest",
        "It lacks any hint of sarcasm, irony, or sincerity.",
        "There is no sarcasm here.",
        "The speaker lacks sarcasm.",
        "The absence of sarcasm is clear",
        "devoid of sarcasm",
        "sarcasm-free",
        "non-sarcastic",
        "un-sarcastic",
        "far from sarcastic",
        "hardly sarcastic",
        "anything but sarcastic",
        "by no means sarcastic",
        "no longer sarcastic",
        "too serious to be sarcastic",
        "I doubt it is sarcastic",
        "It is unlikely to be sarcastic",
        "I can't tell whether it is sarcastic.",
        "neither sarcastic nor sincere",
        "none of sarcastic, sincere",
        "sarcasm is absent",
        "Sarcasm is not present in this clip.",
        "Sarcasm isn't detected.",
        "sarcasm cannot be heard",
        "Sarcasm can be ruled out.",
        "sarcasm detected: none",
        "sarcastic: no",
        "sarcastic = false",
        "Sarcastic? No.",
        "Sarcastic? Not really.",
        "Is the speaker sarcastic? I don't think so.",
        "Sarcastic it is not.",
        "sarcastic or not",
        "sarcastic, not sarcastic",
        "not without sarcasm",  # denied twice: not counted rather than guessed at
    ],
)
def test_a_text_that_denies_a_label_is_never_counted_as_that_label(text: str) -> None:
    assert read(SARCASM, text) is None


@pytest.mark.parametrize(
    "text",
    [
        "sarcastic, not sincere",
        "sarcastic not sincere",
        "sarcastic (not sincere)",
        "Sarcastic rather than sincere",
        "sarcastic instead of sincere",
        "instead of sincere, sarcastic",
        "more sarcastic than sincere",
        "It is sarcastic and not honest",
        "The speaker is sarcastic and isn't being nice",
        "Not sincere, sarcastic.",
        "not sincere but sarcastic",
        "not so much sincere as sarcastic",
        "It is not sincere it is sarcastic",
        "It's not sincere; it's sarcastic.",
        "The speaker is not joking, he is sarcastic.",
        "The tone is anything but sincere, it is sarcastic",
        "I do not hear sincerity, so the speaker is sarcastic.",
        "Sarcastic.\n\nThe speaker is not sincere because...",
        "sarcastic because he does not mean it",
        "sarcastic\n\nNo explanation.",
        "I'm not sure. Sarcastic.",
        "Not sure, but sarcastic",
        "Is it sincere? No, it's sarcastic.",
        "Sarcastic: yes, sincere: no",
        "No, sarcastic.",
    ],
)
def test_a_label_outside_a_negation_decides(text: str) -> None:
    assert read(SARCASM, text) == "sarcastic"


@pytest.mark.parametrize(
    "text",
    [
        "Not only sarcastic but bitter",
        "There is no doubt that this is sarcastic.",
        "without a doubt sarcastic",
        "sarcastic, no?",
        "It's sarcastic, isn't it?",
        "no emotion other than sarcasm",
        "nothing but sarcastic",
        "He can't help but sound sarcastic",
    ],
)
def test_what_only_looks_like_a_negation_denies_nothing(text: str) -> None:
    assert read(SARCASM, text) == "sarcastic"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("happy and excited", "happy"),  # two words for one label
        ("They are in a good mood", "happy"),
        ("happy or sad", None),
        ("unhappy", None),
        ("crusading", None),
        ("The speaker is not happy, sad or angry, but neutral.", "neutral"),
        ("Not angry, not happy, not sad: neutral", "neutral"),
        ("It's neutral; neither happy nor sad.", "neutral"),
        ("no strong emotion, neutral", "neutral"),
        ("not angry and sad", None),
    ],
)
def test_of_several_labels_one_must_be_left(text: str, wanted: str | None) -> None:
    assert read(EMOTIONS, text) == wanted


# ---------------------------------------------------------------- labels that are negations, letters, numbers, phrases


@pytest.mark.parametrize(
    ("choices", "text", "wanted"),
    [
        ("sarcastic|not sarcastic", "It's not sarcastic. Not sarcastic!", "not sarcastic"),
        ("sarcastic|not sarcastic", "The speaker is not being sarcastic.", "not sarcastic"),
        ("sarcastic|not sarcastic", "I'm not sure it is sarcastic", None),
        ("sarcastic|not sarcastic", "hardly sarcastic", None),
        ("sarcastic|not sarcastic", "Not not sarcastic", None),
        ("sarcastic|not sarcastic", "sarcastic, not sarcastic", None),
        ("humorous|non-humorous", "Nonhumorous", "non-humorous"),
        ("humorous|non-humorous", "The speaker isn't humorous", "non-humorous"),
        ("humorous|non-humorous", "not non-humorous", None),
        ("happy|unhappy", "unhappy", "unhappy"),
        ("happy|unhappy", "not unhappy", None),
        ("joy|no emotion", "There is no emotion", "no emotion"),
        ("joy|no emotion", "no emotion other than joy", "joy"),
        ("none|both|happy", "None of the above", "none"),
        ("dark red|red|dark blue", "It is dark-blue.", "dark blue"),
        ("dark red|red|dark blue", "dark red", "dark red"),
        ("surprise (positive)|surprise (negative)", "Surprise, negative", "surprise (negative)"),
        ("N/A|happy", "n/a.", "N/A"),
        ("A|B|C|D", "The answer is A because it is red", "A"),
        ("A|B|C|D", "a) red", "A"),
        ("A|B|C|D", "A dog barks. Answer: B", "B"),
        ("A|B|C|D", "not A but B", "B"),
        ("A|B|C|D", "A or B", None),
        ("A|I", "I think it is A", "A"),
        ("1|2|3|4|5", "Grade: 4.", "4"),
        ("1|2|3|4|5", "4.5", None),
        ("1|2|3|4|5", "10", None),
        ("1|2|3|4|5", "4/5", None),
        ("-1|1", "-1", "-1"),
        ("İyi|kötü", "iyi", "İyi"),
    ],
)
def test_labels_of_every_kind_are_told_apart(choices: str, text: str, wanted: str | None) -> None:
    assert read((tuple(choices.split("|")), {}), text) == wanted


# ---------------------------------------------------------------- yes and no


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Yes", "sarcastic"),
        ("**Yes**", "sarcastic"),
        ("Answer: yes.", "sarcastic"),
        ("Yes, it is.", "sarcastic"),
        ("Yes, the speaker is not sincere.", "sarcastic"),
        ("Is it sarcastic? Yes.", "sarcastic"),
        ("I'd say yes.", "sarcastic"),
        ("No", "sincere"),
        ("No, the speaker isn't sarcastic.", "sincere"),
        ("No it isn't", "sincere"),
        ("No sarcastic tone here", "sincere"),
        ("Sarcastic? No.", "sincere"),
        ("sarcastic: no", "sincere"),
        ("Not sarcastic.", "sincere"),
        ("The speaker is not being sarcastic", "sincere"),
        ("yes and no", None),
        ("Yes/No", None),
        ("Yes. No.", None),
        ("not yes", None),
        ("I have no idea", None),
        ("No one can tell", None),
        ("I know it was yesterday", None),
    ],
)
def test_a_yes_or_no_that_is_a_label_decides_where_it_comes_first_or_stands_alone(
    text: str, wanted: str | None
) -> None:
    assert read(MAPPED, text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("No, no!", "no"),
        ("No, not sarcastic", "no"),
        ("yes no", None),
        ("There is no match", None),
        ("Yes, no doubt.", "yes"),
    ],
)
def test_yes_and_no_may_be_the_choices(text: str, wanted: str | None) -> None:
    assert read((("yes", "no"), {}), text) == wanted


# ---------------------------------------------------------------- other languages

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


@pytest.mark.parametrize(
    "part", ["not ", "sarcastic no, ", "no. ", "sarcastic? ", "neither sarcastic, ", "嬉しいない", "("]
)
def test_a_text_of_any_length_is_read(part: str) -> None:
    assert read(SARCASM, part * 2000) in (None, "sarcastic")
