"""IEMOCAP, MELD, MUStARD and UR-FUNNY as their owners ship them: what is read, and which file and line is wrong."""

from __future__ import annotations

import codecs
import json
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import corpora
import pytest

from diva_bench.data import readers
from diva_bench.data.readers import ABSENT, Raw
from diva_bench.errors import DataError

GOLD = Path(__file__).parents[2] / "shared" / "data" / "gold"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))


def rows(source: str, folder: Path, **data: Any) -> list[Raw]:
    """What a reader gives, without the clips of no line that MELD ships."""
    found = readers.reader(source)(folder, corpora.task(source, **data))
    return [row for row in found if row.values.get("in_table", True)]


def column(found: list[Raw], name: str) -> list[Any]:
    return [row.values[name] for row in found]


def sound(row: Raw) -> str:
    """Name of the clip of a row that has one, which must be readable."""
    assert row.clip is not None
    assert row.clip.read().startswith(b"RIFF")
    assert row.clip.stamp != ABSENT
    return row.clip.name


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("source", corpora.MAKERS)
def test_every_row_has_its_own_clip_its_text_and_its_place(source: str, tmp_path: Path) -> None:
    found = rows(source, corpora.MAKERS[source](tmp_path / "corpus"))
    assert len(found) >= 4
    assert len({sound(row) for row in found}) == len(set(column(found, "id"))) == len(found)
    assert all(row.clip and Path(row.clip.name).stem == row.values["id"] for row in found)
    assert all(row.values["text"] and row.where.startswith(str(tmp_path)) and not row.fault for row in found)


@pytest.mark.parametrize("source", corpora.MAKERS)
def test_a_folder_of_something_else_is_an_error_that_says_what_is_missing(source: str, tmp_path: Path) -> None:
    corpora.put(tmp_path / "corpus" / "readme.txt", "nothing here")
    with pytest.raises(DataError, match=rf"^{tmp_path / 'corpus'}: has no") as caught:
        rows(source, tmp_path / "corpus")
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("source", corpora.MAKERS)
def test_a_clip_that_is_missing_among_others_is_named_and_no_clips_at_all_are_none(source: str, tmp_path: Path) -> None:
    folder = corpora.MAKERS[source](tmp_path / "corpus")
    gone = next(
        p for p in folder.rglob("*.wav") if p.stem == rows(source, folder)[1].values["id"] and "train" not in str(p)
    )
    gone.unlink()
    missing = rows(source, folder)[1]
    assert missing.clip is not None
    assert missing.clip.stamp == ABSENT
    with pytest.raises(FileNotFoundError):
        missing.clip.read()
    for path in folder.rglob("*.wav"):
        path.unlink()
    assert all(row.clip is None for row in rows(source, folder))


@pytest.mark.parametrize("source", ["meld", "mustard", "urfunny"])
def test_sound_that_the_user_made_is_taken_before_the_video_and_one_form_twice_is_an_error(
    source: str, tmp_path: Path
) -> None:
    folder = corpora.MAKERS[source](tmp_path / "corpus")
    first = rows(source, folder)[0]
    assert first.clip is not None
    wav = folder / first.clip.name
    wav.with_suffix(".mp4").write_bytes(b"a video")
    assert rows(source, folder)[0].clip == first.clip or sound(rows(source, folder)[0]) == first.clip.name
    again = corpora.put(wav.parent / "again" / wav.name, wav.read_bytes())
    with pytest.raises(DataError, match=rf"clip {wav.stem} is there twice: .*{wav.name} and .*{wav.name}. Remove one"):
        rows(source, folder)
    shutil.rmtree(again.parent)
    wav.unlink()
    assert rows(source, folder)[0].clip is not None
    assert rows(source, folder)[0].clip.name.endswith(".mp4")  # type: ignore[union-attr]


@pytest.mark.parametrize(("source", "kind"), [("meld", "tar.gz"), ("mustard", "zip"), ("urfunny", "zip")])
def test_clips_are_found_in_the_archives_of_the_owners(source: str, kind: str, tmp_path: Path) -> None:
    unpacked = rows(source, corpora.MAKERS[source](tmp_path / "unpacked"))
    packed = rows(source, corpora.MAKERS[source](tmp_path / "packed", sound=kind))  # type: ignore[call-arg]
    assert [row.values for row in packed] == [row.values for row in unpacked]
    assert [row.clip.read() for row in packed if row.clip] == [row.clip.read() for row in unpacked if row.clip]
    assert sound(packed[0]).split("/")[0].endswith(kind)


# ---------------------------------------------------------------- IEMOCAP


def test_iemocap_gives_each_utterance_its_labels_session_speaker_and_setting(tmp_path: Path) -> None:
    found = rows("iemocap", corpora.iemocap(tmp_path))
    assert column(found, "id") == [f"{dialogue}_{who}" for dialogue, who, _ in corpora.IEMOCAP_TURNS]
    assert column(found, "label") == ["neutral", "", "angry", "happy", "happy", "sad", ""]
    assert column(found, "paper_label") == ["Neutral", "", "Anger", "Happiness", "Happiness", "Sadness", ""]
    assert column(found, "emotion") == [emotion for *_, emotion in corpora.IEMOCAP_TURNS]
    assert dict(found[3].values) == {
        "id": "Ses01M_script02_1_M000",
        "text": "This is Ses01M_script02_1_M000.",
        "emotion": "exc",
        "label": "happy",
        "paper_label": "Happiness",
        "session": "1",
        "dialogue": "Ses01M_script02_1",
        "speaker": "Ses01M",
        "gender": "male",
        "setting": "scripted",
    }
    assert sound(found[3]) == "Session1/sentences/wav/Ses01M_script02_1/Ses01M_script02_1_M000.wav"
    # the man of a session is one speaker whoever wears the markers
    assert found[1].values["speaker"] == "Ses01M"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[6.3 - 8.2]\tSes01F_impro01_F009\tjoy\t[2.5, 2.5, 2.5]\n", "the emotion is 'joy'; the owners use ang, dis"),
        (
            "[6.3 - 8.2]\tSes02F_impro01_F009\tneu\t[2.5, 2.5, 2.5]\n",
            "'Ses02F_impro01_F009' is not an utterance of dialogue",
        ),
    ],
)
def test_iemocap_names_the_line_that_is_wrong(line: str, said: str, tmp_path: Path) -> None:
    sheet = corpora.iemocap(tmp_path) / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    before = sheet.read_text()
    sheet.write_text(before + line)
    with pytest.raises(DataError) as caught:
        rows("iemocap", tmp_path)
    assert str(caught.value).startswith(f"{sheet}:{len(before.splitlines()) + 1}: ")
    assert said in str(caught.value)


def test_the_sound_of_whole_dialogues_is_no_clip_of_iemocap(tmp_path: Path) -> None:
    found = rows("iemocap", corpora.iemocap(tmp_path, sound=False))
    assert list(tmp_path.rglob("*.wav"))
    assert {row.clip for row in found} == {None}


def test_iemocap_without_labels_or_transcripts_says_which(tmp_path: Path) -> None:
    folder = corpora.iemocap(tmp_path)
    sheet = folder / "Session5" / "dialog" / "EmoEvaluation" / "Ses05F_impro03.txt"
    sheet.write_text("% only a header\n")
    with pytest.raises(DataError, match=r"Ses05F_impro03.txt: has no line of the form \[start - end\]"):
        rows("iemocap", folder)
    sheet.unlink()
    with pytest.raises(DataError, match=r"EmoEvaluation: has no Ses\*.txt; the labels of session 5 are not there"):
        rows("iemocap", folder)
    shutil.rmtree(folder / "Session1" / "dialog" / "transcriptions")
    with pytest.raises(DataError, match=r"transcriptions/Ses01F_impro01.txt: cannot be read \(No such file"):
        rows("iemocap", folder)


# ---------------------------------------------------------------- MELD


def test_meld_gives_each_line_of_the_table_its_clip_of_the_right_split(tmp_path: Path) -> None:
    found = rows("meld", corpora.meld(tmp_path))
    assert column(found, "id") == ["dia0_utt0", "dia0_utt1", "dia1_utt0", "dia38_utt4"]
    assert column(found, "label") == ["surprise", "anger", "neutral", "neutral"]
    assert column(found, "paper_label") == ["Surprise", "Anger", "Neutral", "Neutral"]
    assert column(found, "dialogue") == ["dia0", "dia0", "dia1", "dia38"]
    assert column(found, "speaker") == ["Mark", "Rachel", "Ross", "Joey"]
    assert found[0].values["text"] == "Well, it\u0092s 0 and 0."  # the owners' cp1252 apostrophe, as it is
    assert sound(found[0]) == "output_repeated_splits_test/dia0_utt0.wav"  # not that of train, nor ._dia0_utt0.wav


def test_meld_has_three_splits_and_says_so(tmp_path: Path) -> None:
    corpora.meld(tmp_path)
    (tmp_path / "test_sent_emo.csv").rename(tmp_path / "train_sent_emo.csv")
    assert sound(rows("meld", tmp_path, split="train")[0]) == "train_splits/dia0_utt0.wav"
    with pytest.raises(
        DataError, match=r"has no table of MELD's dev split: nothing there matches \*\*/dev_sent_emo.csv"
    ):
        rows("meld", tmp_path, split="dev")
    with pytest.raises(DataError, match="MELD has no split 'valid'; it has train, dev, test"):
        rows("meld", tmp_path, split="valid")


def test_meld_finds_sound_that_the_user_made_beside_the_table(tmp_path: Path) -> None:
    corpora.meld(tmp_path, sound="")
    assert rows("meld", tmp_path)[0].clip is None
    corpora.put(tmp_path / "wav_16k" / "test" / "dia0_utt1.wav", corpora.tone())
    corpora.put(tmp_path / "wav_16k" / "dev" / "dia0_utt0.wav", corpora.tone())
    found = rows("meld", tmp_path)
    assert sound(found[1]) == "wav_16k/test/dia0_utt1.wav"
    assert found[0].clip is not None
    assert found[0].clip.stamp == ABSENT


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("Emotion,", "Mood,"), ":1: column 'Emotion' is missing; available: Sr No., Utterance, Speaker, Mood"),
        (("Rachel,anger", "Rachel,hunger"), ":3: Emotion is 'hunger'; MELD has anger, disgust"),
        ((',neutral,38,4,3,19,"00:14:38,127","00:14:40,378"', ""), ":5: 4 fields, but the header has 11"),
    ],
)
def test_meld_names_the_column_or_the_line_that_is_wrong(change: tuple[str, str], said: str, tmp_path: Path) -> None:
    table = corpora.meld(tmp_path) / "test_sent_emo.csv"
    table.write_text(table.read_text().replace(*change))
    with pytest.raises(DataError) as caught:
        rows("meld", tmp_path)
    assert str(table) in str(caught.value)
    assert said in str(caught.value)


def test_two_tables_of_one_split_are_not_picked_from(tmp_path: Path) -> None:
    corpora.meld(tmp_path / "a")
    corpora.meld(tmp_path / "b")
    with pytest.raises(
        DataError, match=r"two files could be table of MELD's test split: .*a/test_sent.* and .*b/test_"
    ):
        rows("meld", tmp_path)


def test_a_byte_order_mark_is_no_part_of_a_table_nor_of_json(tmp_path: Path) -> None:
    for source, name in (("meld", "test_sent_emo.csv"), ("mustard", "sarcasm_data.json")):
        folder = getattr(corpora, source)(tmp_path / source)
        before = rows(source, folder)
        path = next(folder.rglob(name))
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
        assert [row.values for row in rows(source, folder)] == [row.values for row in before]


def test_meld_refuses_a_table_that_is_no_longer_utf_8(tmp_path: Path) -> None:
    table = corpora.meld(tmp_path) / "test_sent_emo.csv"
    table.write_bytes(table.read_text().encode("cp1252", errors="replace").replace(b"Ross", b"R\xf6ss"))
    with pytest.raises(DataError, match=r"test_sent_emo.csv:\d: is not UTF-8 \(byte 0xf6\)"):
        rows("meld", tmp_path)


def test_the_real_test_table_of_meld_has_what_the_task_asserts() -> None:
    if not (GOLD / "meld-test_sent_emo.csv").is_file():
        pytest.skip("the MELD table is not beside this checkout (../shared/data/gold)")
    found = rows("meld", GOLD)
    assert len(found) == len(set(column(found, "id"))) == 2610
    assert Counter(column(found, "label")) == {
        "anger": 345, "disgust": 68, "fear": 50, "joy": 402, "neutral": 1256, "sadness": 208, "surprise": 281,
    }  # fmt: skip
    assert len(set(column(found, "dialogue"))) == 280
    assert len(set(column(found, "speaker"))) == 100
    assert {"dia38_utt4", "dia220_utt0"} < set(column(found, "id"))


# ---------------------------------------------------------------- MUStARD


def test_mustard_keeps_the_order_of_the_json_and_tells_persons_of_two_shows_apart(tmp_path: Path) -> None:
    found = rows("mustard", corpora.mustard(tmp_path))
    assert column(found, "id") == list(corpora.MUSTARD_ROWS)
    assert column(found, "label") == ["sarcastic", "sincere", "sincere", "sarcastic"]
    assert column(found, "paper_label") == ["Yes", "No", "No", "Yes"]
    assert column(found, "show_speaker") == ["BBT:SHELDON", "BBT:PERSON", "FRIENDS:PERSON", "FRIENDS:CHANDLER"]
    assert sound(found[0]) == "utterances_final/1_60.wav"  # not context_final/1_60_c.wav


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"sarcasm": true', '"sarcasm": "yes"'), "sarcasm_data.json, 1_60: 'sarcasm' must be bool, found 'yes'"),
        (('"show": "BBT",', ""), "sarcasm_data.json, 1_60: 'show' must be str, found nothing"),
        (('"1_70"', '"1_60"'), "sarcasm_data.json: key '1_60' is given twice"),
        (("{", "[", 1), "sarcasm_data.json:2: is not valid JSON"),
    ],
)
def test_mustard_names_the_row_that_is_wrong(change: Any, said: str, tmp_path: Path) -> None:
    table = corpora.mustard(tmp_path) / "sarcasm_data.json"
    table.write_text(table.read_text().replace(*change))
    with pytest.raises(DataError) as caught:
        rows("mustard", tmp_path)
    assert said in str(caught.value)


def test_the_real_labels_of_mustard_have_what_the_task_asserts() -> None:
    if not (GOLD / "mustard-sarcasm_data.json").is_file():
        pytest.skip("the labels of MUStARD are not beside this checkout (../shared/data/gold)")
    found = rows("mustard", GOLD)
    assert Counter(column(found, "label")) == {"sarcastic": 345, "sincere": 345}
    assert Counter(column(found, "show")) == {"FRIENDS": 356, "BBT": 280, "GOLDENGIRLS": 40, "SARCASMOHOLICS": 14}
    assert len(set(column(found, "show_speaker"))) == 23
    friends = [row for row in found if row.values["show"] == "FRIENDS"]
    assert Counter(column(friends, "label")) == {"sarcastic": 152, "sincere": 204}
    assert column(found, "id") == list(json.loads((GOLD / "mustard-sarcasm_data.json").read_text()))


# ---------------------------------------------------------------- UR-FUNNY


def test_urfunny_reads_one_fold_in_its_order(tmp_path: Path) -> None:
    folder = corpora.urfunny(tmp_path, count=4)
    found = rows("urfunny", folder)
    assert column(found, "id") == ["200", "201", "202", "203"]
    assert column(found, "label") == ["serious", "humorous", "serious", "humorous"]
    assert column(found, "paper_label") == ["No", "Yes", "No", "Yes"]
    assert found[1].values["text"] == "first this then that and that is 201"
    assert found[1].values["punchline"] == "and that is 201"
    assert column(rows("urfunny", folder, split="dev"), "id") == ["100"]
    assert column(rows("urfunny", folder, split="train"), "id") == ["3", "2", "1"]
    with pytest.raises(DataError, match="has no fold 'all'; it has dev, test, train"):
        rows("urfunny", folder, split="all")


@pytest.mark.parametrize("name", ["data_folds.pkl", "humor_label_sdk.pkl", "language_sdk.pkl"])
def test_urfunny_runs_no_code_that_stands_in_a_pickle(name: str, tmp_path: Path) -> None:
    folder = corpora.urfunny(tmp_path / "corpus")
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(DataError, match=rf"{name}: refused: it asks for os.system"):
        rows("urfunny", folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("data_folds.pkl", [1, 2], "data_folds.pkl: expected a dict, found list"),
        ("data_folds.pkl", {"test": [None]}, "data_folds.pkl: None is not an id"),
        ("humor_label_sdk.pkl", {200: 1}, "id 201: humor_label_sdk.pkl says None; a label is 0 or 1"),
        ("humor_label_sdk.pkl", dict.fromkeys(range(200, 206), "funny"), "says 'funny'; a label is 0 or 1"),
        ("language_sdk.pkl", {}, "id 200: language_sdk.pkl has no entry for it"),
        ("language_sdk.pkl", {200: {"words": "a"}}, "language_sdk.pkl has no 'punchline_sentence'; it has words"),
    ],
)
def test_urfunny_names_the_pickle_and_the_id_that_is_wrong(name: str, value: Any, said: str, tmp_path: Path) -> None:
    folder = corpora.urfunny(tmp_path)
    (folder / name).write_bytes(pickle.dumps(value))
    with pytest.raises(DataError) as caught:
        rows("urfunny", folder)
    assert said in str(caught.value)


def test_urfunny_refuses_a_video_archive_with_a_name_that_leads_out_of_it(tmp_path: Path) -> None:
    folder = corpora.urfunny(tmp_path, sound="")
    corpora.put_files(folder, {"urfunny2_videos/200.wav": corpora.tone(), "../200.wav": b"x"}, "urfunny2_videos.zip")
    with pytest.raises(DataError, match=r"member '\.\./200.wav' is refused: its name leads out of the archive"):
        rows("urfunny", folder)
