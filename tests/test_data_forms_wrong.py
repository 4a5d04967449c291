"""Lists of clips that are not what they should be: said by file and line, and nothing that they name is run or followed."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import data_forms
import pytest
import soundfile
from sound_files import tone, written

from diva_bench.data.detect import detect
from diva_bench.data.readers.forms import FORMS, Row
from diva_bench.data.readers.segments import part_of
from diva_bench.errors import DataError
from diva_bench.training import sources


def rows(path: Path, split: str | None = None) -> list[Row]:
    found = detect(path)
    return list(FORMS[found.source].rows(found.path, split, found.audio))


def kaldi(folder: Path, **files: str) -> Path:
    """A Kaldi folder, some of whose files are others."""
    data_forms.kaldi_segments(folder)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"wav_scp": "rec sph2pipe -f wav all.sph |\n"},
            r"wav\.scp:1: recording 'rec' is a command \('sph2pipe -f wav",
        ),
        (
            {"wav_scp": "\nrec touch {mark} |\n"},
            r"wav\.scp:2: .* is a command .* Commands are never run: run it yourself",
        ),
        ({"wav_scp": "rec | touch {mark}\n"}, "is a command"),
        ({"wav_scp": "rec raw.ark:1234\n"}, r"'raw\.ark:1234', not a sound file\. Archives of Kaldi are not read"),
        ({"wav_scp": "rec -\n"}, "is '-', not a sound file"),
        ({"wav_scp": "rec\n"}, "is '', not a sound file"),
        ({"wav_scp": "rec a.wav\nrec b.wav\n"}, r"wav\.scp:2: 'rec' is there twice"),
        ({"text": "c9 words\n"}, r"text:1: utterance 'c9' is missing in segments"),
        ({"text": "c0 words\nc0 words\n"}, r"text:2: utterance 'c0' is there twice"),
        ({"segments": "c0 gone 0 1\n"}, r"segments:1: expected an utterance, a recording of wav\.scp, its start"),
        ({"segments": "c0 rec 0\n"}, r"segments:1: expected an utterance"),
        ({"segments": "c0 rec 1 0.5\n"}, r"segments:1: ends at 0\.5 s, not behind its start \(1 s\)"),
        ({"segments": "c0 rec x 0.5\n"}, r"segments:1: 'x' is not a time in seconds"),
        ({"segments": "c0 rec nan 0.5\n"}, "'nan' is not a time"),
        ({"segments": "c0 rec 0 1\nc0 rec 1 2\n"}, r"segments:2: utterance 'c0' is there twice"),
    ],
)
def test_a_kaldi_folder_is_refused_by_file_and_line_and_its_commands_are_never_run(tmp_path, files, said):
    mark = tmp_path / "ran"
    folder = kaldi(tmp_path / "k", **{name: text.replace("{mark}", str(mark)) for name, text in files.items()})
    with pytest.raises(DataError, match=said):
        rows(folder)
    assert not mark.exists()


def test_an_utterance_without_words_is_a_row_without_text(tmp_path):
    folder = kaldi(tmp_path, text="c1 two pears\n")
    assert [(r.values["id"], r.values["text"]) for r in rows(folder)] == [
        ("c1", "two pears"),
        *((f"c{i}", "") for i in (0, 2, 3, 4)),
    ]


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (9.0, 9.5, "lies beyond its end (5 s)"),
        (4.0, 6.0, "lies beyond its end (5 s)"),
        (4.0, 5.4, ""),  # as Kaldi's extract-segments, which takes the end of the recording
        (4.0, -1, ""),
        (0.0, 1e9, "lies beyond its end"),
    ],
)
def test_a_part_beyond_its_recording_is_a_fault_of_that_clip(tmp_path, start, end, said):
    folder = kaldi(tmp_path, segments=f"c0 rec {start} {end}\n", text="c0 x\n")
    [row] = rows(folder)
    if said:
        with pytest.raises(OSError, match="the part from") as err:
            row.sound.read()
        assert said in str(err.value)
    else:
        assert len(soundfile.read(io.BytesIO(row.sound.read()))[0]) == 16_000


def cut(**change: object) -> dict[str, object]:
    recording = {
        "id": "r",
        "sources": [{"type": "file", "channels": [0, 1], "source": "all.wav"}],
        **change.pop("recording", {}),
    }  # type: ignore[dict-item]
    return {
        "id": "c",
        "start": 0,
        "duration": 0.3,
        "channel": 1,
        "type": "MonoCut",
        "supervisions": [],
        "recording": recording,
        **change,
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            cut(recording={"sources": [{"type": "command", "channels": [1], "source": "touch ran"}]}),
            "is a command, not a file",
        ),
        (
            cut(recording={"sources": [{"type": "url", "channels": [1], "source": "https://x/a.wav"}]}),
            "is a url, not a file",
        ),
        (cut(recording={"sources": [{"type": "memory", "channels": [1], "source": "b64"}]}), "is a memory, not a file"),
        (cut(recording={"sources": []}), "channel 1 is none of the recording's"),
        (cut(recording={"sources": 3}), "sources of the recording: expected a list of JSON objects"),
        (cut(recording={"transforms": [{"name": "Speed"}]}), "its recording is transformed"),
        (cut(channel=7), r"channel 7 is none of the recording's \(0, 1\)"),
        (cut(type="MixedCut"), "Mixed and padded cuts are not read"),
        (cut(start="soon"), "start: 'soon' is not a time in seconds"),
        (cut(duration=-1), "duration: -1 is not a time in seconds"),
        (cut(supervisions=[3]), "supervisions: expected a list of JSON objects"),
    ],
)
def test_a_cut_that_is_no_part_of_a_file_is_refused(tmp_path, line, said):
    data_forms.recording(tmp_path / "all.wav")
    file = data_forms.lines(tmp_path / "cuts.jsonl", [cut(), line])
    with pytest.raises(DataError, match=rf"cuts\.jsonl:2: .*{said}"):
        rows(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"audio_filepath": None}, "audio_filepath is missing"),
        ({"audio_filepath": ["a"]}, r"audio_filepath is \['a'\], not the name of a file"),
        ({"offset": "1s"}, "offset: '1s' is not a time in seconds"),
        ({"duration": True}, "duration: True is not a time in seconds"),
        ({"duration": 10**400}, "duration: .* is not a time in seconds"),
    ],
)
def test_a_line_of_nemo_that_names_no_clip_is_refused(tmp_path, change, said):
    good = {"audio_filepath": "a.wav", "text": "x"}
    file = data_forms.lines(tmp_path / "m.jsonl", [good, {**good, **change}])
    with pytest.raises(DataError, match=rf"m\.jsonl:2: {said}"):
        rows(file)


def test_a_duration_that_is_not_the_file_s_takes_that_part_of_it_as_nemo_does(tmp_path):
    data_forms.clips(tmp_path / "wav")
    table = [{"audio_filepath": "wav/0.wav", "duration": d, "text": "x"} for d in (0.3, 0.31, 0.1, 5)]
    whole, near, part, beyond = rows(data_forms.lines(tmp_path / "m.jsonl", table))
    original = (tmp_path / "wav" / "0.wav").read_bytes()
    assert whole.sound.read() == near.sound.read() == original
    assert len(soundfile.read(io.BytesIO(part.sound.read()))[0]) == 1600
    with pytest.raises(OSError, match="lies beyond its end"):
        beyond.sound.read()


@pytest.mark.parametrize("form", ["WAV", "AIFF", "W64"])
def test_the_rest_of_a_recording_that_was_cut_short_is_no_clip(tmp_path, form):
    whole = written(tone(), format=form, subtype="PCM_16")
    for name, content in (("whole", whole), ("torn", whole[: len(whole) * 6 // 10])):
        (tmp_path / name).write_bytes(content)
    rest = part_of(tmp_path, "whole", 0.25, None)
    assert len(soundfile.read(io.BytesIO(rest.read()))[0]) == 12_000
    assert part_of(tmp_path, "torn", 0.0, 0.25).read() == part_of(tmp_path, "whole", 0.0, 0.25).read()
    with pytest.raises(OSError, match=rf"is cut short: the {form} header promises"):
        part_of(tmp_path, "torn", 0.25, None).read()


@pytest.mark.parametrize(
    "name", ["https://host/a.wav", "s3://bucket/a.wav", "gone.wav", "a\0b.wav", "folder", "pipe", "x" * 5000]
)
@pytest.mark.parametrize("form", ["csv", "jsonl", "nemo"])
def test_what_is_no_file_is_a_lost_clip_and_stops_nothing(tmp_path, name, form):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    data_forms.clips(tmp_path / "wav")
    column = "audio_filepath" if form == "nemo" else "audio"
    if form == "csv":
        if "\0" in name:
            pytest.skip("a table with a NUL is refused as binary")
        file = tmp_path / "list.csv"
        file.write_text(f"audio,text\nwav/0.wav,x\n{name},y\n")
    else:
        file = data_forms.lines(
            tmp_path / "list.jsonl", [{column: "wav/0.wav", "text": "x"}, {column: name, "text": "y"}]
        )
    there, lost = sources.read(str(file))
    assert (bool(there.audio), lost.audio) == (True, b"")
    with pytest.raises((OSError, ValueError)) as err:
        rows(file)[1].sound.read()
    if "://" in name:
        assert "is an address; only files on this machine are read" in str(err.value)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"list.csv": "a,b\n1,2\n"},
            r"list\.csv:1: no column names the clips; available: a, b\. Name it audio or file_name",
        ),
        ({"a.csv": "audio\n", "b.jsonl": "{}\n"}, r"has 2 lists of clips \(a\.csv, b\.jsonl\); name one"),
        (
            {"metadata.csv": "audio,text\na.wav,x\n"},
            r"metadata\.csv:1: column 'file_name' is missing; available: audio, text",
        ),
        ({"metadata.csv": "a|b|c\n"}, r"metadata\.csv:1: the delimiter is '\|'"),
        ({"metadata.csv": "file_name\nx\n", "metadata.jsonl": "{}\n"}, "has metadata.csv and metadata.jsonl"),
        ({"metadata.jsonl": '{"text": "x"}\n'}, r"metadata\.jsonl:1: file_name is missing; available: text"),
        ({"metadata.csv": "file_name,text\n,x\n"}, r"metadata\.csv:2: file_name is empty"),
        ({"state.json": "{}", "dataset_info.json": "{}"}, "cannot be read as what save_to_disk wrote"),
        ({"dataset_dict.json": '{"splits": ["../x"]}'}, r"dataset_dict\.json: expected the names of splits"),
        ({"dataset_dict.json": "[]"}, r"dataset_dict\.json: expected the names of splits"),
        (
            {"x_recordings.jsonl": "{}\n", "x_supervisions.jsonl": '{"recording_id": "r"}\n'},
            "its recording 'r' does not stand in",
        ),
        ({"list.jsonl": ""}, r"list\.jsonl: is empty"),
        ({"notes.txt": ""}, "is a folder with no list of clips in it. It must be one of"),
    ],
)
def test_a_folder_that_is_no_list_of_clips_says_why(tmp_path, files, said):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        rows(tmp_path)


def test_a_packed_list_that_is_cut_off_is_refused(tmp_path):
    file = data_forms.lhotse(tmp_path)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cuts\.jsonl\.gz"):
        rows(file)


def test_a_big_list_is_not_held(tmp_path):
    """A million rows are not read before the first is asked for."""
    file = tmp_path / "big.jsonl"
    line = json.dumps({"audio": "a.wav", "text": "x" * 1000}) + "\n"
    with file.open("w") as stream:
        for _ in range(2000):
            stream.write(line)
        stream.write("no JSON\n")
    read = sources.read(str(file))
    assert [next(read).id for _ in range(2)] == ["big.jsonl:1", "big.jsonl:2"]
    assert next(FORMS["jsonl"].rows(file, None, "audio")).values["row"] == "0"
