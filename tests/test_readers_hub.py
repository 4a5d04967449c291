"""HeySQuAD, SD-QA and CoVoST 2 in every form that they come in, against small copies of the real layouts."""

from __future__ import annotations

import json
from pathlib import Path

import hub_data
import pytest
from corpora import put
from hub_data import SENTENCES, SQUAD, small

from diva_bench import audio, data
from diva_bench.data.readers.sdqa import DIALECTS
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec
from diva_bench.types import Silent

GOLD = Path(__file__).parents[2] / "shared" / "data" / "gold"


@pytest.fixture
def load(tmp_path: Path):
    def call(task: TaskSpec, folder: Path, **how: object) -> data.Dataset:
        return data.load(task, tmp_path / "cache", Silent(), data_dir=folder, **how)

    return call


# ---------------------------------------------------------------- HeySQuAD


def test_heysquad_of_the_hub_asks_what_has_an_answer_and_says_what_it_leaves_out(load, tmp_path):
    got = load(small("heysquad", 3, total=(4,)), hub_data.heysquad(tmp_path / "HeySQuAD"))
    assert [s.id for s in got.samples] == ["a1", "a2", "b1"]
    assert got.notes == ("1 of 4 rows are left out: only rows where answerable is true are used",)
    first, second, third = got.samples
    assert first.transcript == SQUAD[0][1]
    assert first.references == ("the hills", "in the hills")
    assert third.references == ("Anna",)  # given twice
    assert first.cluster == second.cluster != third.cluster
    assert first.fields["context"] == SQUAD[0][2]
    assert [round(audio.decode(s.read()).seconds, 2) for s in got.samples] == [0.2, 0.25, 0.3]
    assert [round(s.seconds, 2) for s in got.samples] == [0.2, 0.25, 0.3]


def test_heysquad_s_json_gives_the_labels_where_there_is_no_sound(load, tmp_path):
    folder = hub_data.heysquad_json(tmp_path / "labels")
    got = load(small("heysquad", 3), folder, need_audio=False)
    assert [(s.id, s.read, s.groups["article"]) for s in got.samples] == [
        ("a1", None, "01: The"),
        ("a2", None, "01: The"),
        ("b1", None, "02: The"),
    ]
    with pytest.raises(DataError, match=r"the labels of task heysquad are here \(3 rows\), but the audio is not"):
        load(small("heysquad", 3), folder)


def test_heysquad_s_json_beside_the_parquet_names_the_articles_and_both_give_one_cluster(load, tmp_path):
    both = hub_data.heysquad_json(hub_data.heysquad(tmp_path / "both"))
    got = load(small("heysquad", 3), both)
    labels = load(small("heysquad", 3), hub_data.heysquad_json(tmp_path / "labels"), need_audio=False)
    assert [s.groups["article"] for s in got.samples] == ["01: The", "01: The", "02: The"]
    assert [(s.cluster, s.references) for s in got.samples] == [(s.cluster, s.references) for s in labels.samples]


def test_the_open_task_has_the_passage_in_the_prompt(load, tmp_path):
    from diva_bench.specs import prompt

    task = small("heysquad-open", 3)
    got = load(task, hub_data.heysquad(tmp_path / "HeySQuAD"))
    assert prompt.build(task, got.samples[2], frozenset()).prompt.endswith("\n\nAnna built the mill.")


def test_the_gold_labels_of_heysquad_are_1002_questions_on_311_passages_of_16_articles(load):
    if not GOLD.is_dir():
        pytest.skip("../shared/data/gold is not here")
    for name in ("heysquad", "heysquad-open", "paper-heysquad"):
        from diva_bench.catalog import Catalog

        got = load(Catalog().task(name, "full"), GOLD, need_audio=False)
        assert len(got.samples) == 1002
        assert len({s.cluster for s in got.samples}) == 311
        assert len({s.groups["article"] for s in got.samples}) == 16


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"is not in the form of SQuAD"),
        ('{"data": [{"title": "x"}]}', r"is not in the form of SQuAD \(.*KeyError\('paragraphs'\)"),
        ("{", r"is not valid JSON"),
    ],
)
def test_a_json_that_is_not_squad_s_says_so(load, tmp_path, content, message):
    put(tmp_path / "HeySQuAD/dev-common-original-1002.json", content)
    with pytest.raises(DataError, match=message):
        load(small("heysquad", 3), tmp_path, need_audio=False)


# ---------------------------------------------------------------- SD-QA

WITH_ANSWER = ["7957609454319724623", "-9041575374418655524"]


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (hub_data.sdqa, "data/test-00000-of-00001.parquet:2:kenya: cannot be read"),
        (hub_data.sdqa_repository, f"it was not recorded in kenya (kenya/wav_eng/{WITH_ANSWER[1]}.wav is not there)"),
    ],
)
def test_sdqa_has_every_dialect_of_a_question_and_what_nobody_read_is_a_fault(load, tmp_path, form, reason):
    got = load(small("sdqa", 22), form(tmp_path / "SD-QA"))
    assert [s.id for s in got.samples[:12]] == [f"{WITH_ANSWER[0]}-{d}" for d in DIALECTS] + [f"{WITH_ANSWER[1]}-aus"]
    assert len(got.samples) == 21
    assert [f.id for f in got.faults] == [f"{WITH_ANSWER[1]}-kenya"]
    assert reason in got.faults[0].reason
    assert {s.cluster for s in got.samples} == set(WITH_ANSWER)
    assert got.notes == ("11 of 33 rows are left out: only rows where answerable is true are used",)
    assert got.samples[0].transcript == "When was the mill built?"
    assert got.samples[0].references == ("1820", "in 1820")
    assert len({s.read() for s in got.samples}) == 21


def test_a_dialect_alone_has_the_ids_of_the_questions(load, tmp_path):
    folder = hub_data.sdqa(tmp_path / "SD-QA")
    got = load(small("sdqa-usa", 2), folder)
    assert [s.id for s in got.samples] == WITH_ANSWER
    assert {s.groups["accent"] for s in got.samples} == {"usa"}
    kenya = load(small("sdqa-kenya", 2), folder)
    assert [f.id for f in kenya.faults] == [WITH_ANSWER[1]]


def test_the_owners_repository_says_who_speaks_and_the_hub_does_not(load, tmp_path):
    there = load(small("sdqa-gbr", 2), hub_data.sdqa_repository(tmp_path / "clone"))
    assert [(s.groups["gender"], s.groups["speaker"]) for s in there.samples] == [
        ("female", "gbr-1"),
        ("female", "gbr-1"),
    ]
    hub = load(small("sdqa-gbr", 2), hub_data.sdqa(tmp_path / "hub"))
    assert {s.groups["speaker"] for s in hub.samples} == {"not known"}


def test_answers_are_read_from_tydi_s_byte_spans_as_from_the_owners_triples(load, tmp_path):
    triples = load(small("sdqa-usa", 2), hub_data.sdqa_repository(tmp_path / "triples"))
    tydi = load(small("sdqa-usa", 2), hub_data.sdqa_repository(tmp_path / "tydi", tydi=True))
    assert [s.references for s in tydi.samples] == [s.references for s in triples.samples]
    assert tydi.fingerprint == triples.fingerprint


def test_an_empty_answer_and_the_owners_minus_one_are_no_answers(load, tmp_path):
    folder = hub_data.sdqa_repository(tmp_path / "SD-QA")
    path = folder / "test/eng/usa/english.test.usa-en-US.triples.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row, more in zip(rows, (["-1", ""], ["-1"], [" "]), strict=True):
        row["answers"] += more
    put(path, "".join(json.dumps(row) + "\n" for row in rows))
    got = load(small("sdqa-usa", 2), folder)
    assert [s.references for s in got.samples] == [("1820", "in 1820"), ("Anna",)]
    assert got.notes == ("1 of 3 rows are left out: only rows where answerable is true are used",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,user\n1,2\n", r"usa/metadata.csv:1: column 'example_id' is missing; available: id, user"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_metadata_that_names_no_question_is_told(load, tmp_path, content, message):
    folder = hub_data.sdqa_repository(tmp_path / "SD-QA")
    put(folder / "test/eng/usa/metadata.csv", content)
    with pytest.raises(DataError, match=message):
        load(small("sdqa-usa", 2), folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("english.test.txt", b"\xff", r"english.test.txt:1: is not UTF-8"),
        (
            "english.test.txt",
            "ID\twords\n1\tx\n",
            r"english.test.txt:1: column 'sentence' is missing; available: ID, words. The file comes with",
        ),
        ("usa/english.test.usa-en-US.triples.jsonl", '{"answers": []}\n', "not as the owners ship it .KeyError"),
    ],
)
def test_a_clone_with_other_files_than_the_owners_is_told(load, tmp_path, file, content, message):
    folder = hub_data.sdqa_repository(tmp_path / "SD-QA")
    put(folder / "test/eng" / file, content)
    with pytest.raises(DataError, match=message):
        load(small("sdqa-usa", 2), folder)


def test_data_of_sd_qa_that_lacks_a_part_says_which(load, tmp_path):
    clone = hub_data.sdqa_repository(tmp_path / "clone")
    for file in clone.rglob("*.jsonl"):
        file.unlink()
    with pytest.raises(DataError, match=r"no english.test.\*.jsonl in its dialects' folders"):
        load(small("sdqa-usa", 2), clone)
    (dialect,) = hub_data.voicebench(tmp_path / "bench").glob("sd-qa/gbr-*")
    dialect.unlink()
    with pytest.raises(DataError, match=r"bench: no sd-qa/gbr-\*.parquet in it"):
        load(small("sdqa", 22), tmp_path / "bench")


def test_a_clone_without_recordings_has_the_labels(load, tmp_path):
    folder = hub_data.sdqa_repository(tmp_path / "SD-QA", recordings=False)
    got = load(small("sdqa-kenya", 2), folder, need_audio=False)
    assert [(s.id, s.read) for s in got.samples] == [(ident, None) for ident in WITH_ANSWER]
    assert got.faults == ()


def test_voicebench_has_no_ids_so_the_words_are_the_question_s_in_every_dialect(load, tmp_path):
    got = load(small("sdqa", 22), hub_data.voicebench(tmp_path / "SD-QA"))
    assert len(got.samples) == 22
    assert len({s.cluster for s in got.samples}) == 2
    assert got.samples[0].references == ("1820",)


def test_voicebench_questions_of_the_same_words_are_told_apart(load, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_data, "QUESTIONS", [*hub_data.QUESTIONS, ("9", "Who lives there?", ["Ben"])])
    got = load(small("sdqa-usa", 3), hub_data.voicebench(tmp_path / "SD-QA"))
    assert [s.references for s in got.samples] == [("1820",), ("Anna",), ("Ben",)]
    assert got.samples[2].id == f"{got.samples[1].id}-2"


def test_the_paper_s_sdqa_reads_dev(load, tmp_path):
    assert len(load(small("paper-sdqa-usa", 2), hub_data.sdqa(tmp_path / "SD-QA", "dev")).samples) == 2
    with pytest.raises(DataError, match=r"task paper-sdqa-usa, edition full: its data is not on this machine"):
        load(small("paper-sdqa-usa", 2), hub_data.sdqa(tmp_path / "test" / "SD-QA").parent.parent / "test")


# ---------------------------------------------------------------- CoVoST 2


@pytest.mark.parametrize("form", [hub_data.covost, hub_data.covost_parquet])
def test_covost_has_the_speaker_as_cluster_and_a_withdrawn_translation_as_a_fault(load, tmp_path, form):
    got = load(small("covost2-de", 4), form(tmp_path / "covost2"))
    assert [s.id for s in got.samples][:2] == ["common_voice_en_1", "common_voice_en_2"]
    assert got.samples[0].references == ('Er sagte "geh".',)
    assert got.samples[0].transcript == 'He said "go".'
    assert got.samples[0].cluster == got.samples[1].cluster == "speaker-a"
    assert got.samples[0].fields["sentence"] == 'He said "go".'
    assert got.faults[0] == data.Fault("common_voice_en_3", "its translation is withdrawn (REMOVE)")


def test_an_empty_translation_is_a_fault(load, tmp_path):
    lines = [
        "path\tsentence\ttranslation\tclient_id",
        "common_voice_en_1.mp3\tGo.\t \ta",
        "common_voice_en_2.mp3\tA\tB\tb",
    ]
    got = load(small("covost2-de", 2), hub_data.covost(tmp_path / "covost2", lines=lines))
    assert got.faults == (data.Fault("common_voice_en_1", "its translation is empty"),)
    assert [s.references for s in got.samples] == [("B",)]


def test_a_clip_of_no_bytes_is_a_fault_by_its_id(load, tmp_path):
    got = load(small("covost2-de", 4), hub_data.covost(tmp_path / "covost2"))
    assert got.faults[1] == data.Fault("common_voice_en_4", "common_voice_en_4.mp3: the file is empty")


def test_the_paper_s_validation_split_is_the_owners_dev(load, tmp_path):
    assert len(load(small("paper-covost2-de", 4), hub_data.covost(tmp_path / "covost2", "dev")).samples) == 2
    assert len(load(small("paper-covost2-de", 4), hub_data.covost_parquet(tmp_path / "b", "validation")).samples) == 3


def test_covost_s_tables_without_clips_have_the_labels(load, tmp_path):
    folder = hub_data.covost(tmp_path / "covost2", clips=False)
    assert [s.read for s in load(small("covost2-de", 4), folder, need_audio=False).samples] == [None] * 3
    with pytest.raises(DataError, match="the audio is not"):
        load(small("covost2-de", 4), folder)


def test_common_voice_s_clips_may_lie_above_the_tables(load, tmp_path):
    folder = hub_data.covost(tmp_path / "covost2")
    (folder / "tables").mkdir()
    (folder / "covost_v2.en_de.test.tsv").rename(folder / "tables" / "covost_v2.en_de.test.tsv")
    assert len(load(small("covost2-de", 4), tmp_path).samples) == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["path\tsentence\tclient_id"],
            r"tsv:1: column 'translation' is missing; available: path, sentence, client_id",
        ),
        (["path\tsentence\ttranslation\tclient_id", "a.mp3\tx"], r"tsv:2: 2 fields, but the header has 4"),
    ],
)
def test_a_table_that_is_not_covost_s_says_so(load, tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        load(small("covost2-de", 1), hub_data.covost(tmp_path / "covost2", lines=lines))


def test_a_target_that_the_folder_does_not_have_is_named(load, tmp_path):
    folder = hub_data.covost(tmp_path / "covost2")
    with pytest.raises(DataError, match=r"neither covost_v2\.en_ca\.test\.tsv .* nor parquet files in en_ca/ in it"):
        load(small("covost2-ca", 4), folder)


def test_all_targets_share_what_is_known_of_the_clips(load, tmp_path, monkeypatch):
    folder = hub_data.covost(tmp_path / "covost2")
    load(small("covost2-de", 4), folder)
    for code in ("tr", "ca"):
        put(folder / f"covost_v2.en_{code}.test.tsv", (folder / "covost_v2.en_de.test.tsv").read_text())
    monkeypatch.setattr(audio, "read", lambda _: pytest.fail("looked at again"))
    assert len(load(small("covost2-tr", 4), folder).samples) == 2
    assert len(load(small("covost2-ca", 4), folder).samples) == 2


# ---------------------------------------------------------------- wrong folders


@pytest.mark.parametrize("name", ["heysquad", "sdqa", "covost2-de"])
def test_a_folder_of_something_else_is_not_taken_for_the_corpus(load, tmp_path, name):
    put(tmp_path / "photos" / "cat.jpg", b"x")
    with pytest.raises(DataError) as said:
        load(small(name, 1), tmp_path)
    task = small(name, 1)
    for word in (task.data.layout[0], str(tmp_path), f"pull --edition full --task {task.name}", "--data-dir"):
        assert word in str(said.value)


@pytest.mark.parametrize(
    ("name", "form", "column"),
    [
        ("heysquad", hub_data.heysquad, "context"),
        ("sdqa", hub_data.sdqa, "nga"),
        ("covost2-de", hub_data.covost_parquet, "client_id"),
    ],
)
def test_a_missing_column_is_named_with_those_there_are(load, tmp_path, name, form, column):
    import pyarrow.parquet

    folder = form(tmp_path / "it")
    for path in folder.glob("*/*.parquet"):
        whole = pyarrow.parquet.read_table(path)
        pyarrow.parquet.write_table(whole.drop_columns([column]), path)
    with pytest.raises(DataError, match=rf"column '{column}' is missing; the columns are .*"):
        load(small(name, 1), folder)


def test_the_sentences_of_the_copies_are_as_the_readers_give_them(load, tmp_path):
    a = load(small("covost2-de", 4), hub_data.covost(tmp_path / "a"))
    assert [s.references[0] for s in a.samples] == [row[3] for row in SENTENCES[:2]]
