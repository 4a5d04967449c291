"""The tables of negations: in every language a sentence that affirms, one that denies, and every entry of its table."""

import pytest

from diva_bench.scorers import negation
from diva_bench.scorers.label_parser import Parser

# two labels; a sentence that affirms the first; sentences that deny it; one that denies it and says the second
SENTENCES = {
    "en": ("happy", "sad", "The speaker is happy.", "The speaker is not happy.", "The speaker isn't happy but sad."),
    "de": (
        "fröhlich",
        "traurig",
        "Die Stimme klingt fröhlich.",
        "Sie klingt nicht fröhlich.",
        "Nicht fröhlich, sondern traurig.",
    ),
    "fr": (
        "joyeux",
        "triste",
        "Il est joyeux.",
        "Il n'est pas joyeux.|Il n'est jamais joyeux.",
        "Pas joyeux, mais triste.",
    ),
    "es": (
        "feliz",
        "triste",
        "El hablante está feliz.",
        "No está feliz.|Nunca está feliz.",
        "No está feliz, sino triste.",
    ),
    "it": ("felice", "triste", "La voce è felice.", "Non è felice.|Non è mai felice.", "Non è felice, ma triste."),
    "pt": (
        "feliz",
        "triste",
        "A pessoa está feliz.",
        "Não está feliz.|Nunca está feliz.",
        "Não está feliz, mas triste.",
    ),
    "nl": (
        "blij",
        "verdrietig",
        "De spreker is blij.",
        "De spreker is niet blij.|Nooit blij.",
        "Niet blij maar verdrietig.",
    ),
    "sv": ("glad", "ledsen", "Talaren är glad.", "Talaren är inte glad.|Aldrig glad.", "Inte glad utan ledsen."),
    "da": ("glad", "trist", "Taleren er glad.", "Taleren er ikke glad.|Aldrig glad.", "Ikke glad, men trist."),
    "nb": ("glad", "trist", "Taleren er glad.", "Taleren er ikke glad.|Aldri glad.", "Ikke glad, men trist."),
    "fi": ("iloinen", "surullinen", "Puhuja on iloinen.", "Puhuja ei ole iloinen.", "Ei iloinen vaan surullinen."),
    "et": ("rõõmus", "kurb", "Kõneleja on rõõmus.", "Kõneleja ei ole rõõmus.", "Ei ole rõõmus, vaid kurb."),
    "lv": ("priecīgs", "skumjš", "Runātājs ir priecīgs.", "Runātājs nav priecīgs.", "Nav priecīgs. Skumjš."),
    "ru": (
        "весёлый",
        "грустный",
        "Голос весёлый.",
        "Голос не весёлый.|Голос нисколько не весёлый.",
        "Не весёлый, а грустный.",
    ),
    "uk": ("веселий", "сумний", "Голос веселий.", "Голос не веселий.", "Не веселий, а сумний."),
    "pl": ("wesoły", "smutny", "Głos jest wesoły.", "Głos nie jest wesoły.", "Nie jest wesoły, lecz smutny."),
    "cs": ("veselý", "smutný", "Hlas je veselý.", "Hlas není veselý.", "Není veselý, ale smutný."),
    "hr": ("sretan", "tužan", "Govornik je sretan.", "Govornik nije sretan.", "Nije sretan, nego tužan."),
    "sl": ("vesel", "žalosten", "Govorec je vesel.", "Govorec ni vesel.", "Ni vesel, ampak žalosten."),
    "hu": ("vidám", "szomorú", "A beszélő vidám.", "A beszélő nem vidám.", "Nem vidám, hanem szomorú."),
    "el": (
        "χαρούμενος",
        "λυπημένος",
        "Είναι χαρούμενος.",
        "Δεν είναι χαρούμενος.",
        "Δεν είναι χαρούμενος, αλλά λυπημένος.",
    ),
    "tr": ("mutlu", "üzgün", "Konuşmacı mutlu.", "Konuşmacı mutlu değil.", "Mutlu değil, üzgün."),
    "ar": ("سعيد", "حزين", "المتحدث سعيد.", "المتحدث ليس سعيد.|المتحدث غير سعيد.", "ليس سعيد بل حزين."),
    "fa": ("خوشحال", "غمگین", "گوینده خوشحال است.", "گوینده خوشحال نیست.", "گوینده خوشحال نیست، غمگین است."),
    "he": ("שמח", "עצוב", "הדובר שמח.", "הדובר לא שמח.|הדובר אינו שמח.", "לא שמח אלא עצוב."),
    "hi": ("खुश", "दुखी", "वक्ता खुश है।", "वक्ता खुश नहीं है।", "खुश नहीं, बल्कि दुखी।"),
    "ta": ("மகிழ்ச்சி", "சோகம்", "இது மகிழ்ச்சி.", "மகிழ்ச்சி இல்லை.", "மகிழ்ச்சி அல்ல, சோகம்."),
    "mn": ("баяртай", "гунигтай", "Яригч баяртай байна.", "Яригч баяртай биш.", "Баяртай биш, гунигтай."),
    "id": ("senang", "sedih", "Pembicara senang.", "Pembicara tidak senang.", "Tidak senang, melainkan sedih."),
    "vi": ("vui", "buồn", "Người nói vui.", "Người nói không vui.", "Không vui mà buồn."),
    "cy": ("hapus", "trist", "Mae'r siaradwr yn hapus.", "Nid yw'r siaradwr yn hapus.", "Nid hapus, ond trist."),
    "zh": ("开心", "悲伤", "说话人很开心。", "说话人不开心。|他没有开心。", "不是开心，而是悲伤。"),
    "ja": (
        "嬉しい",
        "悲しい",
        "話者は嬉しいです。",
        "話者は嬉しくない。|嬉しいとは言えません。",
        "嬉しいのではなく悲しい。",
    ),
    "ko": ("행복", "슬픔", "화자는 행복합니다.", "화자는 행복하지 않습니다.", "행복이 아니라 슬픔입니다."),
    "th": ("มีความสุข", "เศร้า", "ผู้พูดมีความสุข", "ผู้พูดไม่มีความสุข", "ไม่มีความสุข เศร้า"),
    "lo": ("ມີຄວາມສຸກ", "ໂສກເສົ້າ", "ຜູ້ເວົ້າມີຄວາມສຸກ", "ຜູ້ເວົ້າບໍ່ມີຄວາມສຸກ", "ບໍ່ມີຄວາມສຸກ ແຕ່ໂສກເສົ້າ"),
    "km": ("សប្បាយ", "សោកសៅ", "គាត់សប្បាយ", "គាត់មិនសប្បាយ", "មិនសប្បាយ ប៉ុន្តែសោកសៅ"),
    "my": ("ပျော်ရွှင်", "ဝမ်းနည်း", "သူပျော်ရွှင်တယ်", "သူမပျော်ရွှင်ဘူး", "မပျော်ရွှင်ဘူး။ ဝမ်းနည်းတယ်။"),
}


def test_every_language_of_the_tables_has_its_sentences() -> None:
    assert SENTENCES.keys() == negation.LANGUAGES.keys()


@pytest.mark.parametrize("name", SENTENCES)
def test_a_language_affirms_and_denies(name: str) -> None:
    first, second, affirms, denies, decides = SENTENCES[name]
    parser = Parser((first, second), {})
    assert parser.parse(affirms) == first, affirms
    for text in denies.split("|"):
        assert parser.parse(text) is None, text
    assert parser.parse(decides) == second, decides
    assert parser.parse(f"{first} / {second}") is None


def space(name: str) -> str:
    return "" if name in ("zh", "ja", "th", "lo", "km", "my") else " "


@pytest.mark.parametrize("name", SENTENCES)
def test_every_entry_of_a_language_does_what_its_table_says(name: str) -> None:
    language, gap = negation.LANGUAGES[name], space(name)
    first, second = SENTENCES[name][:2]
    parser = Parser((first, second), {})
    before, behind = (negation.entries(field) for field in (language.before, language.behind))
    for entry in before:
        hyphen = "-" if entry in negation.PREFIXES else gap
        assert parser.parse(f"{entry}{hyphen}{first}") is None, entry
    for entry in behind:
        assert parser.parse(f"{first}{'' if name == 'ko' else gap}{entry}") is None, entry
    for entry in negation.entries(language.unknowing):
        assert parser.parse(f"{first}? {entry}.") is None, entry
        assert parser.parse(f"{entry}. {first}") is None, entry
    for entry in negation.entries(language.no):
        assert parser.parse(f"{first}? {entry}.") is None, entry
        assert Parser(("x1", "x2"), {entry: "x2"}).parse(f"{entry}.") == "x2", entry
    for entry in negation.entries(language.yes):
        assert Parser(("x1", "x2"), {entry: "x1"}).parse(f"{entry}, x3") == "x1", entry


DENIED = {"tr": "{0} değil", "ta": "{0} அல்ல", "mn": "{0} биш", "fa": "{0} نیست", "hi": "{0} नहीं"}
DENIED |= {"ja": "{0}なく", "ko": "{0}이 아니", "my": "{0}ဘူး"}


@pytest.mark.parametrize("name", SENTENCES)
def test_behind_a_but_of_a_language_another_label_counts(name: str) -> None:
    language, gap = negation.LANGUAGES[name], space(name)
    first, second = SENTENCES[name][:2]
    parser = Parser((first, second), {})
    denied = DENIED.get(name) or f"{negation.entries(language.before)[0]}{gap}{{0}}"
    for entry in negation.entries(language.but):
        assert parser.parse(f"{denied.format(first)}, {entry}{gap}{second}") == second, entry
    if language.joins and name not in DENIED:
        for entry in negation.entries(language.joins):
            assert parser.parse(f"{denied.format(first)}{gap}{entry}{gap}{second}") is None, entry


@pytest.mark.parametrize("name", ["en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "nb", "zh", "ko"])
def test_what_looks_like_a_negation_of_a_language_denies_nothing(name: str) -> None:
    first, second = SENTENCES[name][:2]
    for entry in negation.entries(negation.LANGUAGES[name].idioms):
        assert Parser((first, second), {}).parse(f"{entry}{space(name)}{first}") == first, entry
