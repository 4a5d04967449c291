"""IEMOCAP, MELD, MUStARD and UR-FUNNY as their owners ship them: folders made here with the real layout, and, where they
are on this machine, the real tables."""

from __future__ import annotations

import codecs
import json
import pickle
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import corpora
import numpy as np
import pytest

from diva_bench import audio, data, readers
from diva_bench.catalog import Catalog
from diva_bench.errors import DataError
from diva_bench.readers import Raw
from diva_bench.specs import TaskSpec
from diva_bench.types import Silent

GOLD = Path(__file__).parents[2] / "shared" / "data" / "gold"
CATALOG = Catalog()
MAKERS: dict[str, Callable[[Path], Path]] = {
    "iemocap": corpora.iemocap,
    "meld": corpora.meld,
    "mustard": corpora.mustard,
    "urfunny": corpora.urfunny,
}


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
    assert row.clip.size == len(row.clip.read())
    return row.clip.name


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("source", MAKERS)
def test_every_row_has_its_own_clip_its_text_and_its_place(source: str, tmp_path: Path) -> None:
    found = rows(source, MAKERS[source](tmp_path / "corpus"))
    assert len(found) >= 4
    assert len({sound(row) for row in found}) == len(set(column(found, "id"))) == len(found)
    assert all(row.clip and Path(row.clip.name).stem == row.values["id"] for row in found)
    assert all(row.values["text"] and row.where.startswith(str(tmp_path)) and not row.fault for row in found)


@pytest.mark.parametrize("source", MAKERS)
def test_a_folder_of_something_else_is_an_error_that_says_what_is_missing(source: str, tmp_path: Path) -> None:
    corpora.put(tmp_path / "corpus" / "readme.txt", "nothing here")
    with pytest.raises(DataError, match=rf"^{tmp_path / 'corpus'}: has no") as caught:
        rows(source, tmp_path / "corpus")
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("source", MAKERS)
def test_a_clip_that_is_missing_among_others_is_named_and_no_clips_at_all_are_none(source: str, tmp_path: Path) -> None:
    folder = MAKERS[source](tmp_path / "corpus")
    gone = next(
        p for p in folder.rglob("*.wav") if p.stem == rows(source, folder)[1].values["id"] and "train" not in str(p)
    )
    gone.unlink()
    missing = rows(source, folder)[1]
    assert missing.clip is not None
    assert (missing.clip.size, missing.clip.mtime_ns) == (-1, 0)
    with pytest.raises(FileNotFoundError):
        missing.clip.read()
    for path in folder.rglob("*.wav"):
        path.unlink()
    assert all(row.clip is None for row in rows(source, folder))


@pytest.mark.parametrize("source", ["meld", "mustard", "urfunny"])
def test_sound_that_the_user_made_is_taken_before_the_video_and_one_form_twice_is_an_error(
    source: str, tmp_path: Path
) -> None:
    folder = MAKERS[source](tmp_path / "corpus")
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
    unpacked = rows(source, MAKERS[source](tmp_path / "unpacked"))
    packed = rows(source, MAKERS[source](tmp_path / "packed", sound=kind))  # type: ignore[call-arg]
    assert [row.values for row in packed] == [row.values for row in unpacked]
    assert [row.clip.read() for row in packed if row.clip] == [row.clip.read() for row in unpacked if row.clip]
    assert sound(packed[0]).split("/")[0].endswith(kind)


# ---------------------------------------------------------------- as tasks


def full(name: str, **changes: Any) -> TaskSpec:
    """The full edition of a shipped task, with changes to what its data must be."""
    task = CATALOG.task(name, "full")
    return task.model_copy(update={"data": task.data.model_copy(update=changes)})


def load(task: TaskSpec, folder: Path, cache: Path, **how: Any) -> data.Dataset:
    return data.load(task, cache, Silent(), data_dir=folder, **how)


@pytest.mark.parametrize(
    ("name", "source", "asked", "asserted"),
    [
        ("iemocap", "iemocap", 5, "5 rows, but task iemocap says there are 5,531"),
        ("iemocap-session1", "iemocap", 3, "3 rows, but task iemocap-session1 says there are 1,085"),
        ("paper-iemocap", "iemocap", 2, "2 rows, but task paper-iemocap says there are 1,241"),
        ("meld", "meld", 4, "4 rows, but task meld says there are 2,610"),
        ("paper-meld", "meld", 4, "4 rows, but task paper-meld says there are 2,610"),
        ("mustard", "mustard", 4, "4 rows in all, but task mustard says 690"),
        ("paper-mustard", "mustard", 4, "4 rows, but task paper-mustard says there are 690"),
        ("paper-urfunny", "urfunny", 5, "5 rows, but task paper-urfunny says there are 7,614"),
    ],
)
def test_a_wrong_count_names_both_numbers_and_a_part_is_marked_as_one(
    name: str, source: str, asked: int, asserted: str, tmp_path: Path
) -> None:
    folder = MAKERS[source](tmp_path / "corpus")
    with pytest.raises(DataError, match=asserted):
        load(full(name), folder, tmp_path)
    part = load(full(name, total=()), folder, tmp_path, allow_partial=True)
    assert len(part.samples) + len(part.excluded) == asked
    assert part.partial
    assert not part.faults


@pytest.mark.parametrize(("name", "count"), [("urfunny", 6), ("urfunny-dev", 1)])
def test_a_count_from_memory_only_warns(name: str, count: int, tmp_path: Path) -> None:
    found = load(full(name), corpora.urfunny(tmp_path / "corpus"), tmp_path)
    assert len(found.samples) == count
    assert found.partial == ""
    assert "(that number is from memory)" in found.notes[0]


@pytest.mark.parametrize(
    ("name", "source", "cluster", "groups"),
    [
        (
            "iemocap",
            "iemocap",
            "Ses01F_impro01",
            {"session": "1", "gender": "female", "speaker": "Ses01F", "setting": "improvised"},
        ),
        ("meld", "meld", "dia0", {"speaker": "Mark"}),
        ("mustard", "mustard", "BBT:SHELDON", {"show": "BBT", "speaker": "SHELDON"}),
        ("urfunny", "urfunny", "200", {}),
    ],
)  # fmt: skip
def test_samples_have_the_cluster_the_groups_and_the_words(
    name: str, source: str, cluster: str, groups: dict[str, str], tmp_path: Path
) -> None:
    found = load(full(name, total=()), MAKERS[source](tmp_path / "corpus"), tmp_path, allow_partial=True)
    first = found.samples[0]
    assert (first.cluster, dict(first.groups)) == (cluster, groups)
    assert first.transcript
    assert first.seconds == pytest.approx(0.2 if name == "iemocap" else 0.4 if name == "urfunny" else 0.3, abs=0.001)
    assert first.read is not None
    assert first.read().startswith(b"RIFF")


def test_what_is_left_out_of_a_corpus_is_counted_with_the_reason(tmp_path: Path) -> None:
    emotions = load(full("iemocap"), corpora.iemocap(tmp_path / "iemocap"), tmp_path, allow_partial=True)
    assert emotions.notes == ("2 of 7 rows are not asked: only those where emotion is ang or exc or hap or neu or sad",)
    friends = load(full("meld"), corpora.meld(tmp_path / "meld"), tmp_path, allow_partial=True)
    assert friends.notes == ("1 of 5 rows are not asked: only those where in_table is true",)
    assert [(fault.id, fault.reason) for fault in friends.excluded] == [
        ("dia38_utt4", "wrongly cut, 305 s (declare-lab/MELD issue 20)")
    ]


def test_clips_that_are_missing_damaged_or_too_short_are_faults_and_another_rate_is_an_error(tmp_path: Path) -> None:
    folder = corpora.iemocap(tmp_path / "corpus")
    wav = folder / "Session1" / "sentences" / "wav" / "Ses01F_impro01"
    (wav / "Ses01F_impro01_F000.wav").unlink()
    (wav / "Ses01F_impro01_F001.wav").write_bytes(corpora.tone(0.05))
    (folder / "Session5/sentences/wav/Ses05F_impro03/Ses05F_impro03_F000.wav").write_bytes(corpora.tone()[:-99])
    found = load(full("iemocap"), folder, tmp_path, allow_partial=True)
    assert len(found.samples) == 2
    reasons = {fault.id: fault.reason for fault in found.faults}
    assert "cannot be read (No such file or directory)" in reasons["Ses01F_impro01_F000"]
    assert "is 0.05 s long; the task says 0.1 to 60 s" in reasons["Ses01F_impro01_F001"]
    assert "is cut short" in reasons["Ses05F_impro03_F000"]
    with pytest.raises(DataError, match=r"4 of 4 clips are not sampled at 8,000 Hz|are not sampled at 8,000 Hz"):
        load(full("iemocap", rate=(8000,)), folder, tmp_path, allow_partial=True)


def test_the_sound_of_the_owners_videos_is_heard(tmp_path: Path) -> None:
    program = audio.ffmpeg()
    if program is None:
        pytest.skip("there is no ffmpeg here (pip install imageio-ffmpeg)")
    folder = corpora.meld(tmp_path / "corpus")
    for wav in list((folder / "output_repeated_splits_test").glob("dia*.wav")):
        to = ["-ar", "44100", "-c:a", "aac", str(wav.with_suffix(".mp4"))]
        subprocess.run([program, "-v", "error", "-i", str(wav), *to], check=True)
        wav.unlink()
    found = load(full("meld"), folder, tmp_path, allow_partial=True)
    assert len(found.samples) == 3
    assert found.samples[0].read is not None
    heard = audio.decode(found.samples[0].read())
    assert heard.rate == audio.RATE
    assert heard.seconds == pytest.approx(0.3, abs=0.1)  # AAC comes in frames of 23 ms, with padding
    assert np.abs(heard.samples).max() == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("source", ["meld", "urfunny"])
def test_an_id_that_is_given_twice_is_an_error_that_names_both_places(source: str, tmp_path: Path) -> None:
    folder = MAKERS[source](tmp_path / "corpus")
    if source == "meld":
        table = folder / "test_sent_emo.csv"
        table.write_text(table.read_text() + table.read_text().splitlines(keepends=True)[1])
    else:
        (folder / "data_folds.pkl").write_bytes(pickle.dumps({"test": [200, 201, 200]}))
    with pytest.raises(DataError, match=r"id '(dia0_utt0|200)' stands in .* already; ids must be unique"):
        load(full(source), folder, tmp_path, allow_partial=True)


def test_a_label_that_a_task_does_not_offer_is_an_error(tmp_path: Path) -> None:
    task = full("iemocap", where={})
    with pytest.raises(DataError, match=r"Ses01F_impro01.txt:9: the reference \(label\) is empty"):
        load(task, corpora.iemocap(tmp_path / "corpus"), tmp_path, allow_partial=True)
    narrow = full("meld").model_copy(update={"choices": ("anger", "joy")})
    with pytest.raises(DataError, match=r"test_sent_emo.csv:2: label is 'surprise'; task meld allows anger, joy"):
        load(narrow, corpora.meld(tmp_path / "meld"), tmp_path, allow_partial=True)


def test_every_task_of_a_licensed_corpus_says_where_to_ask_and_why_its_metric_ranks() -> None:
    for name in ("iemocap", "meld", "mustard", "urfunny"):
        for task in (full(name), full(f"paper-{name}")):
            assert task.data.access is not None
            assert task.data.access.url.startswith("https://")
            assert task.data.path in ("IEMOCAP_full_release", "MELD.Raw", "MUStARD", "UR-FUNNY")
            assert len(task.why) > 30


@pytest.mark.parametrize(
    ("name", "file", "count", "clusters"),
    [
        ("paper-meld", "meld-test_sent_emo.csv", 2608, 280),
        ("meld", "meld-test_sent_emo.csv", 2608, 280),
        ("paper-mustard", "mustard-sarcasm_data.json", 690, 23),
        ("mustard-speaker-independent", "mustard-sarcasm_data.json", 356, 8),
    ],
)
def test_the_real_labels_make_a_task_without_sound(
    name: str, file: str, count: int, clusters: int, tmp_path: Path
) -> None:
    if not (GOLD / file).is_file():
        pytest.skip(f"{file} is not beside this checkout (../shared/data/gold)")
    found = load(full(name), GOLD, tmp_path, need_audio=False)
    assert len(found.samples) == count
    assert len({sample.cluster for sample in found.samples}) == clusters
    assert len(found.excluded) == (2 if "meld" in name else 0)
    with pytest.raises(DataError, match=r"the labels of task .* are here .* the sound is not"):
        load(full(name), GOLD, tmp_path)


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
            "'Ses02F_impro01_F009' is no utterance of dialogue",
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
    assert found[0].clip.size == -1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("Emotion,", "Mood,"), "has no column 'Emotion'; it has Sr No., Utterance, Speaker, Mood"),
        (("Rachel,anger", "Rachel,hunger"), ":3: Emotion is 'hunger'; MELD has anger, disgust"),
        ((',neutral,38,4,3,19,"00:14:38,127","00:14:40,378"', ""), ":5: has fewer fields than the header"),
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
    with pytest.raises(DataError, match=r"test_sent_emo.csv: is not UTF-8 text \(byte \d+\)"):
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
        (('"1_70"', '"1_60"'), "sarcasm_data.json: '1_60' stands there twice; ids must be unique"),
        (("{", "[", 1), "sarcasm_data.json:2: not valid JSON"),
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
        ("data_folds.pkl", {"test": [None]}, "data_folds.pkl: None is no id"),
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
