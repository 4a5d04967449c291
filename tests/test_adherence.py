"""Does an answer do what was asked: its form, transcripts, loops, and what is made of many answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scoring import MILK, said, sample, task

from diva_bench.catalog import Catalog
from diva_bench.errors import SpecError
from diva_bench.scorers import METRICS, adherence, refusals
from diva_bench.scorers.adherence import Adherence, compression, loops, sentences, split, tokens, transcribes
from diva_bench.specs import Decode
from diva_bench.stats import bootstrap, totals

ROOT = Path(__file__).parents[1]
RELEASED = ROOT.parent / "shared" / "data"


# ---------------------------------------------------------------- sentences


@pytest.mark.parametrize(
    ("text", "lang", "count"),
    [
        ("", None, 0),
        (" ... ", None, 0),
        ("Oslo", None, 1),
        ("Oslo is the capital of Norway.", None, 1),
        ("It is Oslo. It has 700,000 people.", None, 2),
        ("Dr. J. R. Smith lives in the U.S. and reads e.g. novels.", None, 1),
        ("It rose by 3.5 percent.", None, 1),
        ("He said: Come here! Then he left.", None, 2),
        ("Really?! Yes.", None, 2),
        ("one\ntwo\n\nthree", None, 3),
        pytest.param(f"I am thinking{'.' * 50_000}and thinking.", None, 1, id="a loop of dots, in no time"),
        ("Er kommt am 3. Mai zurück.", "de", 1),
        ("Er kommt am 3. Mai zurück. Sie bleibt.", "de", 2),
        ("There are 12. Two left.", "en", 2),
        ("私は行きます。彼も行きます。", "ja", 2),
        ("你好吗？我很好！", "zh", 2),
        ("أين الكتاب؟ هنا.", "ar", 2),
        ('Das ist gut. (Note: I translated "good" freely.)', "de", 2),
    ],
)
def test_sentences_are_counted(text: str, lang: str | None, count: int) -> None:
    assert sentences(text, lang) == count
    assert "".join("".join(split(text, lang)).split()) in "".join(text.split())


# ---------------------------------------------------------------- transcripts

RIVER = sample("Nile", "the Nile", transcript="Which river flows through the city of Cairo?")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("Which river flows through the city of Cairo?", True),
        ("which river flows through the city of kyro", True),
        ("You asked something. Which river flows through the city of Cairo?", True),
        ("The Nile flows through the city of Cairo.", False),
        ("The river Amazon flows through the city of Cairo.", False),
        ("Which river flows through the city of Cairo? The Nile does.", True),
        ("The Nile.", False),
        ("", False),
    ],
)
def test_a_question_said_again_is_a_transcript_and_one_made_a_statement_is_not(text: str, is_one: bool) -> None:
    assert transcribes(text, RIVER) is is_one


@pytest.mark.parametrize(
    ("spoken", "text", "is_one"),
    [
        ("I am so happy that you came.", "I am so happy that you came", True),
        ("I am so happy that you came.", "happy", False),
        ("Great job.", "Great job.", False),  # fewer than three words
        (None, "I am so happy that you came.", False),
        ("The average contractor hired how many employees?", "The average contractor hired four employees.", False),
        ("The average contractor hired how many employees?", "the average contractor hired how many employees", True),
        ("Is Oslo the capital of Norway", "Yes, Oslo is the capital of Norway.", False),
    ],
)
def test_statements_and_short_clips(spoken: str | None, text: str, is_one: bool) -> None:
    assert transcribes(text, sample("happy", transcript=spoken)) is is_one


# ---------------------------------------------------------------- loops


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("", False),
        ("no no no", False),  # three words
        ("very " * 8, True),
        ("very " * 7, False),  # seven words
        ("on and on and on and", False),
        ("auf der Reihe " * 5, True),
        ("It goes on and on and on, he said, and then some more of it.", False),
        ("Die Welt wird einzelbar " + "einzelbar " * 12 + "einze", True),
        ("你们" * 20, True),
        ("彼女は、" * 4, True),
        ("一二三四五六七八九十", False),
        ("ข้าว" * 3, True),
        ("ฉันกินข้าวที่บ้าน", False),
        ("a b c d e f g h i j k l m n o p " * 2, False),  # twice is not three times
    ],
)
def test_a_phrase_three_times_on_end_is_a_loop(text: str, loop: bool) -> None:
    assert loops(tokens(text)) is loop


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("ฉันกินข้าวที่บ้าน", 11),
        ("ខ្ញុំទៅផ្សារ", 6),
        ("ຂ້ອຍໄປຕະຫຼາດ", 10),
        ("ငါဈေးသို့သွားသည်", 6),
        ("나는 빵을 샀다", 3),
        ("Hello 世界", 3),
    ],
)
def test_a_character_is_a_word_in_scripts_without_spaces(text: str, count: int) -> None:
    assert len(tokens(text)) == count


def test_a_loop_is_found_wherever_it_stands_and_whatever_its_period() -> None:
    rng = np.random.default_rng(7)
    for period in (1, 2, 5, 17, 64):
        phrase = [f"w{period}.{i}" for i in range(period)]
        repeats = max(3, -(-8 // period))
        before, after = ([f"x{i}" for i in rng.permutation(200)[:20]] for _ in range(2))
        assert loops([*before, *phrase * repeats, *after])
        assert not loops([*before, *phrase * 2, *after])


def test_what_has_an_accepted_answer_that_nobody_said_is_no_transcript() -> None:
    spoken, text = "The average contractor hired some employees.", "The average contractor hired four employees."
    assert transcribes(text, sample("five", transcript=spoken))
    assert not transcribes(text, sample("four", transcript=spoken))
    assert transcribes(spoken, sample("some employees", transcript=spoken))


def test_zlib_finds_loops_and_leaves_plain_text_in_any_script_alone() -> None:
    assert compression("Die Frau der Frau, " * 20) > adherence.COMPRESSION
    assert compression("short") == 0
    assert (compression("na" * 24 + "n"), compression("na" * 25) > adherence.COMPRESSION) == (0, True)
    twice = "It is not easy to say how many of them there were when the town was built. " * 2
    assert 1.6 < compression(twice) < adherence.COMPRESSION
    assert (measured(twice)["compressible"], measured(twice * 3)["compressible"]) == (0, 100)
    assert max(compression(f"{MILK['de']} {text}") for code, text in MILK.items() if code != "de") < 1.8
    tamil = MILK["ta"] + " பறவைகள் வானத்தில் உயரமாகப் பறந்தன, குழந்தைகள் பூங்காவில் மகிழ்ச்சியாக விளையாடினர்."
    assert compression(tamil) < 1.8


# ---------------------------------------------------------------- the scorer


@pytest.mark.skipif(not RELEASED.exists(), reason=f"{RELEASED} is not there: the answers that the authors published")
@pytest.mark.parametrize(("model", "length", "transcribed", "refused"), [("DiVA", 18.1, 0, 0), ("qwen2", 14.5, 2, 31)])
def test_of_the_released_answers(model: str, length: float, transcribed: int, refused: int) -> None:
    """Lengths are those of diva-paper.md; what is a refusal or a transcript was read by eye."""
    gold = json.loads((RELEASED / "gold" / "heysquad-dev-common-original-1002.json").read_text(encoding="utf-8"))
    asked = {q["id"]: q for a in gold["data"] for p in a["paragraphs"] for q in p["qas"]}
    file = RELEASED / "diva-eval" / "non_social_HeySquad_QA_Results" / f"e2e_{model}" / "default_outs.txt"
    rows = [
        r.split("[SEP_DIAL]") for r in re.split(r"\n(?=[0-9a-f]{24}\[SEP)", file.read_text(encoding="utf-8").strip())
    ]
    texts = {ident: text.strip().strip('"') for ident, text, _ in rows}
    samples = [sample(*(a["text"] for a in q["answers"]), id=i, transcript=q["question"]) for i, q in asked.items()]
    assert len(texts) == len(samples) == 1002
    assert sum(len(text.split()) for text in texts.values()) / 1002 == pytest.approx(length, abs=0.05)
    assert sum(transcribes(texts[s.id], s) for s in samples) == transcribed
    assert sum(refusals.refuses(text) for text in texts.values()) == refused


def measured(text: str, settings: dict[str, object] | None = None, **more: object) -> dict[str, float]:
    scorer = Adherence(task(), **(settings or {}))
    tokens_new = {"new": more.pop("new")} if "new" in more else {}
    row = scorer.measure(sample(str(more.pop("reference", "x")), **more), said(text, tokens=tokens_new))
    return {name: float(value) for name, value in scorer.reduce(totals([row])).items()}


def test_only_what_was_asked_for_is_measured() -> None:
    always = {"empty", "refused", "looping", "compressible", "repeated_4grams", "answer_words"}
    assert measured("Oslo.").keys() == always
    assert measured("Oslo.", new=3).keys() == always | {"truncated"}
    assert measured("Oslo.", transcript="what is it called").keys() == always | {"transcribes"}
    assert measured("Oslo.", {"transcribes": False}, transcript="what is it called").keys() == always
    assert measured("Oslo.", {"language": "en", "form": "word"}).keys() == always | {"right_language", "one_word"}
    assert "answer_characters" in measured("你好", {"language": "zh"})


def test_what_was_measured_is_right() -> None:
    got = measured("Das ist gut. (Note: this is free.)", {"language": "de", "form": "translation"}, new=64)
    assert got["no_remark"] == 0
    assert got["answer_words"] == 7
    assert got["truncated"] == 100
    assert measured("Ja. Nein.", {"form": "translation"}, reference="Oui. Non.")["no_remark"] == 100
    longest = Adherence(task(), form="translation").measure(sample("Oui.", "Oui. Non."), said("Ja. Nein."))
    assert longest["adh.form"] == 1
    assert measured("", {"form": "sentence"}) | {"empty": 100.0, "one_sentence": 0.0} == measured(
        "", {"form": "sentence"}
    )
    assert measured("你好吗", {"language": "zh"})["answer_characters"] == 3
    assert measured("a b c d a b c d e")["repeated_4grams"] == pytest.approx(100 / 6)


def test_an_answer_is_cut_off_where_the_task_s_own_limit_is() -> None:
    short = Adherence(task(decode=Decode(max_new_tokens=12)))
    rows = [short.measure(sample("x"), said("word", tokens={"new": n})) for n in (11, 12, 13)]
    assert float(short.reduce(totals(rows))["truncated"]) == pytest.approx(200 / 3)


def test_a_share_is_of_the_answers_that_it_could_be_counted_of() -> None:
    scorer, words = Adherence(task()), "I am so happy that you came."
    rows = [
        scorer.measure(sample("x", transcript=spoken), said(words)) for spoken in (words, "What is the time?", None)
    ]
    rows += [scorer.measure(sample("x"), said(words, tokens={"new": 10_000}))]
    got = scorer.reduce(totals(rows))
    assert (float(got["transcribes"]), float(got["truncated"])) == (50, 100)


def test_shares_of_many_answers_have_intervals() -> None:
    scorer = Adherence(task(), language="de")
    texts = [MILK["de"], MILK["en"], MILK["de"], ""] * 10
    rows = [scorer.measure(sample("x", id=str(i)), said(text)) for i, text in enumerate(texts)]
    got = bootstrap(rows, [str(i) for i in range(40)], scorer.reduce, resamples=500)
    assert got["right_language"].value == 50
    assert got["empty"].value == 25
    assert got["right_language"].low < 50 < got["right_language"].high


def test_an_unsupported_answer_is_an_empty_one() -> None:
    scorer = Adherence(task(), language="de")
    row = scorer.measure(sample("x"), said("Ich helfe gern, mein Freund.", status="unsupported"))
    assert row == {"adh.n": 1.0, "adh.empty": 1.0, "adh.lang.n": 1.0}


def test_the_language_of_a_subset_is_taken_from_its_name() -> None:
    assert "lang:de" in Adherence(task(subset="de"), language="subset").signature
    assert "lang:zh" in Adherence(task(subset="zh-CN"), language="subset").signature
    with pytest.raises(
        SpecError, match=r"language is 'subset', but subset 'usa' is not called after a language .* zh\."
    ):
        Adherence(task(subset="usa"), language="subset")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"language": "german"},
            r"scorers\.adherence\.language is 'german'.*Allowed: None, subset, ar, bn, ca, .*, zh\.",
        ),
        ({"form": "sentences"}, r"form is 'sentences'. Did you mean 'sentence'\?"),
        ({"lang": "de"}, r"has no setting 'lang'. Did you mean 'language'\?"),
    ],
)
def test_a_wrong_setting_is_told(settings: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Adherence(task(), **settings)


def test_every_setting_is_in_the_signature() -> None:
    plain, changed = Adherence(task()), Adherence(task(), language="de", form="word", transcribes=False)
    assert plain.signature == "adherence|v2|transcribes:wer<=0.3|refusals:v1|norm:basic.v2"
    assert changed.signature == "adherence|v2|lang:de|v2|py3langid:0.4.0|of:30|form:word|refusals:v1|norm:basic.v2"


@pytest.mark.parametrize(
    ("text", "reference", "right"),
    [
        ("12 - 34!", "十二です。", False),
        ("!!!", "十二です。", False),
        ("12:30", "12:30", True),  # what has no letter in the reference either
        ("十二です。", "十二です。", True),
        ("", "十二です。", False),
    ],
)
@pytest.mark.parametrize(("scorers", "form"), [({}, "translation"), ({"bleu": {}}, None), ({"comet": {}}, "sentence")])
def test_a_translation_without_a_letter_is_in_no_language(
    text: str, reference: str, right: bool, scorers: dict[str, dict[str, str]], form: str | None
) -> None:
    scorer = Adherence(task(scorers=scorers), language="ja", form=form)
    row = scorer.measure(sample(reference), said(text))
    assert ("adh.lang" in row) is right
    assert "|letters" in scorer.signature


def test_a_number_answers_a_question_in_any_language() -> None:
    scorer = Adherence(task(scorers={"qa": {}}), language="ja", form="sentence")
    assert "adh.lang" in scorer.measure(sample("1989"), said("1989."))
    assert "adh.lang" not in scorer.measure(sample("1989"), said("..."))


def test_every_built_in_task_has_it_with_what_its_prompt_asks_for() -> None:
    catalog = Catalog()
    forms = {}
    for leaf in catalog.subsets("all"):
        spec = catalog.task(leaf, catalog.task_editions(leaf)[0])
        forms[spec.task] = spec.scorers["adherence"].get("form")
    assert forms["covost2"] == "translation"
    assert forms["heysquad"] == forms["sdqa"] == "sentence"
    assert {forms[name] for name in ("iemocap", "meld", "mustard", "ravdess", "urfunny")} == {"word"}
    assert forms["transcribe"] is None


def test_directions_are_those_of_the_table() -> None:
    rising = {m.name for m in METRICS if m.scorer == "adherence" and m.higher_is_better}
    assert rising == {"right_language", "one_sentence", "one_word", "no_remark"}


def test_every_metric_is_in_the_table_of_metrics_and_in_its_range() -> None:
    settings: list[dict[str, object]] = [
        {"language": "de", "form": form} for form in ("sentence", "word", "translation")
    ]
    given = {}
    for chosen in [*settings, {"language": "zh"}]:
        given |= measured("Das ist gut.", chosen, transcript="what a lovely day", new=9)
    known = {m.name: m for m in METRICS if m.scorer == "adherence"}
    assert given.keys() == known.keys()
    assert all(known[name].low <= value <= (known[name].high or np.inf) for name, value in given.items())


def test_an_error_is_never_scored_and_no_rows_give_no_scores() -> None:
    with pytest.raises(ValueError, match="errors are not scored"):
        Adherence(task()).measure(sample("x"), said("x", status="error", detail="timeout"))
    assert Adherence(task()).reduce({}) == {}


def test_scores_keep_the_shape_of_the_totals() -> None:
    scorer = Adherence(task(), language="de", form="sentence")
    row = scorer.measure(sample("x", transcript="what a lovely day"), said(MILK["de"], tokens={"new": 9}))
    point = scorer.reduce({key: np.asarray(value) for key, value in row.items()})
    many = scorer.reduce({key: np.full((2, 3), value) for key, value in row.items()})
    assert all(np.shape(point[m]) == () and many[m] == pytest.approx(np.full((2, 3), point[m])) for m in point)
