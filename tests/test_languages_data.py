"""Speech in other languages than English: FLEURS, CoVoST 2 into English and SD-QA's other languages, in the forms that they
come in, against small copies of the real layouts."""

from __future__ import annotations

from pathlib import Path

import hub_data
import language_data
import pytest
import sacrebleu
from corpora import put
from hub_data import small
from language_data import ENGLISH, THAI

from diva_bench import data, stats
from diva_bench.catalog import Catalog
from diva_bench.data import hub
from diva_bench.data.readers.sdqa import OTHERS
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec, prompt
from diva_bench.stats.resampling import total
from diva_bench.types import Response, Silent


@pytest.fixture
def load(tmp_path: Path):
    def call(task: TaskSpec, folder: Path, **how: object) -> data.Dataset:
        return data.load(task, tmp_path / "cache", Silent(), data_dir=folder, **how)

    return call


# ---------------------------------------------------------------- FLEURS


def test_fleurs_of_the_owners_and_of_the_hub_are_the_same_data(load, tmp_path):
    packed = load(small("fleurs-th_th", 4), language_data.fleurs(tmp_path / "packed"))
    unpacked = load(small("fleurs-th_th", 4), language_data.fleurs(tmp_path / "unpacked", unpacked=True))
    parquet = load(small("fleurs-th_th", 4), language_data.fleurs_parquet(tmp_path / "hub"))
    assert [sample.id for sample in packed.samples] == ["100", "101", "102", "103"]
    assert packed.fingerprint == unpacked.fingerprint == parquet.fingerprint
    for one, other in zip(packed.samples, parquet.samples, strict=True):
        assert (one.references, one.cluster, one.groups) == (other.references, other.cluster, other.groups)
        assert one.read() == other.read()
    third = packed.samples[2]
    assert third.references == ("เขาพูดว่า ฝนตก",)
    assert third.transcript == 'เขาพูดว่า "ฝนตก"'
    assert [sample.cluster for sample in packed.samples] == ["1", "1", "2", "9"]  # several people read a sentence
    assert [sample.groups["gender"] for sample in packed.samples] == ["male", "female", "female", "other"]


@pytest.mark.parametrize("form", [language_data.fleurs, language_data.fleurs_parquet])
def test_the_reference_of_a_translation_is_the_english_sentence_of_the_same_number(load, tmp_path, form):
    folder = form(form(tmp_path / "fleurs"), "en_us", ENGLISH)
    got = load(small("fleurs-to-en-th_th", 3, total=(4,)), folder)
    assert [(sample.id, sample.references) for sample in got.samples] == [
        ("100", ("The cat is sleeping on the chair.",)),
        ("101", ("The cat is sleeping on the chair.",)),
        ("102", ('He said "it is raining".',)),
    ]
    assert got.notes == ("1 of 4 rows are left out: only rows where translated is true are used",)
    asked = prompt.build(Catalog().task("fleurs-to-en-th_th", "full"), got.samples[0], frozenset()).prompt
    assert asked.startswith("Translate what the user says from Thai to English.")


def test_a_translation_without_the_english_sentences_says_which_files_are_missing(load, tmp_path):
    with pytest.raises(DataError, match=r"neither data/en_us/test.tsv \(the owners' folder\) nor en_us/test/"):
        load(small("fleurs-to-en-th_th", 3), language_data.fleurs(tmp_path / "fleurs"))


def test_fetching_a_translation_takes_the_files_of_both_languages():
    task = Catalog().task("fleurs-to-en-th_th", "full").data
    paths = [
        "en_us/test/0000.parquet",
        "en_us/train/0000.parquet",
        "th_th/test/0000.parquet",
        "th_th/test/0001.parquet",
    ]
    files = [hub.Remote(path, 1) for path in paths]
    wanted = [file.path for config in hub._configs(task) for file in hub._of_config(files, task, config, "here")]
    assert wanted == ["th_th/test/0000.parquet", "th_th/test/0001.parquet", "en_us/test/0000.parquet"]
    assert hub._configs(Catalog().task("fleurs-th_th", "full").data) == ["th_th"]
    with pytest.raises(DataError, match=r"here: google/fleurs has no parquet files of it .*looked for en_us/test-"):
        hub._of_config(files[2:], task, "en_us", "here")


def test_of_two_rows_with_one_file_the_last_counts_and_an_empty_transcript_is_a_fault(load, tmp_path):
    rows = (*THAI[:2], ("2", "101", "ฝนตก", "ฝนตก", "MALE"), ("3", "104", "", "", "MALE"))
    got = load(small("fleurs-th_th", 3), language_data.fleurs(tmp_path / "fleurs", rows=rows))
    assert [(sample.id, sample.references[0]) for sample in got.samples] == [("100", THAI[0][3]), ("101", "ฝนตก")]
    assert [(fault.id, fault.reason) for fault in got.faults] == [("104", "its transcript is empty")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\t100.wav\tx", r"test.tsv:1: 3 columns, and the first is '1'. FLEURS has 7 columns"),
        ("id\tfile\traw\tplain\tc\t1\tMALE", r"test.tsv:1: 7 columns, and the first is 'id'. .* no header"),
    ],
)
def test_a_table_of_another_form_says_what_was_expected(load, tmp_path, line, message):
    folder = language_data.fleurs(tmp_path / "fleurs")
    put(folder / "data/th_th/test.tsv", f"{line}\n")
    with pytest.raises(DataError, match=message):
        load(small("fleurs-th_th", 4), folder)


def test_fleurs_has_102_languages_and_101_to_translate_from():
    catalog = Catalog()
    said, translated = catalog.subsets("fleurs-all", "full"), catalog.subsets("fleurs-to-en-all", "full")
    assert len(said) == 102
    assert {name.removeprefix("fleurs-to-en-") for name in translated} == {
        name.removeprefix("fleurs-") for name in said
    } - {"en_us"}
    for name in said:
        task = catalog.task(name, "full")
        counterpart = name.replace("fleurs-", "fleurs-to-en-")
        if counterpart in translated:
            other = catalog.task(counterpart, "full")
            assert other.fields == task.fields
            assert other.data.total == ((task.data.rows,) if task.data.rows else ())


# ---------------------------------------------------------------- CoVoST 2 into English


@pytest.mark.parametrize("form", [hub_data.covost, hub_data.covost_parquet])
@pytest.mark.parametrize("code", ["de", "sv-SE", "zh-CN"])
def test_covost_into_english_is_read_as_covost_out_of_it(load, tmp_path, form, code):
    folder = form(tmp_path / "covost2", pair=f"{code}_en")
    task = small(f"covost2-to-en-{code}", 4)
    got = load(task, folder)
    assert [sample.id for sample in got.samples][:2] == ["common_voice_en_1", "common_voice_en_2"]
    assert got.samples[0].transcript == 'He said "go".'
    assert got.samples[0].references == ('Er sagte "geh".',)
    assert [sample.cluster for sample in got.samples][:2] == ["speaker-a", "speaker-a"]
    assert "its translation is withdrawn (REMOVE)" in {fault.reason for fault in got.faults}


def test_the_21_languages_are_those_of_the_owners_with_their_numbers_of_test_rows():
    catalog = Catalog()
    tasks = [catalog.task(name, "full") for name in catalog.subsets("covost2-to-en", "full")]
    counts = {task.data.config: task.data.rows for task in tasks}
    assert len(counts) == 21
    assert (counts["fr_en"], counts["zh-CN_en"], counts["sl_en"], counts["cy_en"]) == (14760, 4898, 360, 690)
    assert {task.scorers["bleu"]["tokenize"] for task in tasks} == {"13a"}


def test_corpus_bleu_into_english_is_sacrebleus_from_the_files_to_the_score(load, tmp_path):
    folder = hub_data.covost_parquet(tmp_path / "covost2", pair="ja_en")
    task = small("covost2-to-en-ja", 4)
    samples = load(task, folder).samples
    said = ['Er sagte "gehen".', "Es regnet heute sehr stark.", "Die Sonne scheint."][: len(samples)]
    scorer = Catalog().scorers(task)["bleu"]
    answers = [Response(sample.id, text=text) for sample, text in zip(samples, said, strict=True)]
    rows = [scorer.measure(sample, answer) for sample, answer in zip(samples, answers, strict=True)]
    keys, matrix = stats.stack(rows)
    ours = scorer.reduce(stats.unstack(keys, total(matrix)))["bleu"]
    theirs = sacrebleu.corpus_bleu(said, [[sample.references[0] for sample in samples]])
    assert 0 < float(ours) == theirs.score < 100
    assert "tok:13a" in scorer.signature


# ---------------------------------------------------------------- SD-QA in other languages


def test_sdqa_in_korean_has_both_dialects_of_a_question_and_answers_in_korean(load, tmp_path):
    got = load(small("sdqa-languages-kor", 4), language_data.sdqa_korean(tmp_path / "SD-QA"))
    assert [sample.id for sample in got.samples] == [
        "1049651009612803531-korn",
        "1049651009612803531-kors",
        "578028813972370092-korn",
    ]
    assert got.samples[0].references == ("더블린", "아일랜드의 수도는 더블린이다.")
    assert got.samples[0].transcript == "아일랜드의 수도는 어디인가요?"
    assert got.samples[0].groups == {"accent": "korn", "gender": "female", "speaker": "korn-1"}
    assert got.samples[0].cluster == got.samples[1].cluster == "1049651009612803531"
    assert [fault.id for fault in got.faults] == ["578028813972370092-kors"]
    assert "it was not recorded in kors (kors/wav_kor/" in got.faults[0].reason


def test_a_language_that_is_not_in_the_clone_says_so(load, tmp_path):
    folder = language_data.sdqa_korean(tmp_path / "SD-QA")
    with pytest.raises(DataError, match=r"no test/swa/ in it \(the owners' repository; the hub has English only\)"):
        load(small("sdqa-languages-swa", 4), folder)


def test_every_other_language_of_sdqa_is_a_subset():
    assert Catalog().subsets("sdqa-languages", "full") == [f"sdqa-languages-{code}" for code in OTHERS]
