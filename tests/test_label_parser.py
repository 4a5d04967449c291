"""The strict parser: which one label a text names. Every table is label set, synonyms, and texts with what they name."""

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
        "The speaker is not being\nsarcastic",
        "It isn't that he is so sarcastic",
        "I don't think he's simply being sarcastic",
        "It would be wrong to call this sarcastic",
        "It's the opposite of sarcastic",
        "There is little sarcasm",
        "zero sarcasm",
        "It's not that the speaker is sarcastic.",
        "There is no need to be sarcastic",
        "No one would call this sarcastic",
        "There's nothing sarcastic here",
        "There's no way this is sarcastic",
        "Sarcastic -- no.",
        "is_sarcastic: false",
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
        "The speaker doesn't mean it, so sarcastic",
        "sarcastic: the speaker doesn't really like it",
        "Without context, I'd say sarcastic",
        "not honest, not sincere, sarcastic",
        "I was going to say sincere, but no: sarcastic",
        "There is no sincerity, only sarcasm",
        "sarcastic: 1, sincere: 0",
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
        "a little sarcastic",
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
        ("true|false", "That's false because it is not", "false"),
        ("true|false", "It is not true.", None),
        ("true|false", "true, not false", "true"),
        ("never|always", "Never.", "never"),
        ("none|happy", "neither happy, so none", "none"),
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


SIGNS = {
    "C|C++|C#": "It's C.=C ¦ C++.=C++ ¦ The answer is C#, not C++=C# ¦ C or C++= ¦ **C++**=C++ ¦ C+= ¦ not C, C++=C++ ¦ C/C++= ¦ "
    "`c#`=C# ¦ C++Builder= ¦ C＋＋=C++",
    "C++|Java": "C= ¦ C#= ¦ C++=C++",
    "A+|A|A-|B": "A=A ¦ A+=A+ ¦ Grade: A-.=A- ¦ A−=A- ¦ A - because=A ¦ - A=A ¦ A+ because it is good=A+ ¦ A-level= ¦ "
    "A/A+= ¦ **A-**=A-",
    "AB+|AB-|O+|O-": "AB-=AB- ¦ AB= ¦ O+ is it=O+",
    "50%|100%": "50=50% ¦ 50%=50% ¦ 50 %=50%",
    "<5|>5": "<5=<5 ¦ 5=",
    "-1|0|+1": "+1=+1 ¦ -1=-1 ¦ −1=-1 ¦ 0=0",
    "1-2|1/2": "1-2=1-2 ¦ It is 1/2.=1/2 ¦ 1 2=",
}


@pytest.mark.parametrize("choices", SIGNS)
def test_choices_that_differ_only_in_signs_are_told_apart(choices: str) -> None:
    for case in SIGNS[choices].split(" ¦ "):
        text, _, wanted = case.rpartition("=")
        assert read((tuple(choices.split("|")), {}), text) == (wanted or None), text


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


# ---------------------------------------------------------------- any text


@pytest.mark.parametrize(
    "part", ["not ", "sarcastic no, ", "no. ", "sarcastic? ", "neither sarcastic, ", "嬉しいない", "("]
)
def test_a_text_of_any_length_is_read(part: str) -> None:
    assert read(SARCASM, part * 2000) in (None, "sarcastic")
