"""`diva-bench hear`: clips of one's own through models of a few kilobytes; what is printed, stored and refused."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import soundfile
from command_line import call
from test_connector_eval import model, weights
from training_tools import TIME, make_place, prepared, wav

from diva_bench.catalog import Catalog
from diva_bench.cli.hear import hear_command
from diva_bench.errors import UserError
from diva_bench.evaluation import hear
from diva_bench.evaluation.jobs import Settings
from diva_bench.training import train
from diva_bench.types import Request, Response, Silent

Hear = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YAML of a cascade, an oracle, and DiVA with learned queries and with time queries."""
    place = make_place(tmp_path_factory.mktemp("hear"))
    target = place / "specs"
    target.mkdir()
    weights(place / "whisper", "w", target)
    weights(place / "llm", "l", target)
    for name, changes in (("learned", {}), ("time", TIME)):
        train.train(prepared(place, place / name, cache=place / "cache", **changes), Silent())
        weights(place / name / "export", f"c-{name}", target)
        model(target, f"diva-{name}-toy", "diva", encoder="w", llm="l", connector=f"c-{name}")
    model(target, "cascade-toy", "cascade", asr="w", llm="l")
    model(target, "oracle-toy", "oracle", llm="l")
    return target


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder with two clips, one of them a folder deeper, a text and a file of macOS that looks like a clip."""
    folder = tmp_path / "clips"
    (folder / "more").mkdir(parents=True)
    (folder / "one.wav").write_bytes(wav(0.5, seed=1))
    (folder / "more" / "two.wav").write_bytes(wav(0.8, seed=2))
    (folder / "._one.wav").write_bytes(b"\x00\x05\x16\x07")
    (folder / "notes.txt").write_text("not a clip")
    return folder


@pytest.fixture
def run(tmp_path: Path, specs: Path) -> Hear:
    return lambda *words: call(tmp_path, "hear", *words, "--path", str(specs), "--max-new-tokens", "4")


def rows(out: str) -> list[dict[str, object]]:
    return list(json.loads(out)["rows"])


def test_every_clip_of_a_folder_is_answered_by_every_model(run: Hear, clips: Path) -> None:
    done = run("clips", "-m", "cascade-toy", "-m", "diva-time-toy", "-m", "diva-learned-toy", "--format", "json")
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert [(r["clip"], r["model"]) for r in found] == [
        (f"clips/{clip}", f"{m}-toy")
        for clip in ("more/two.wav", "one.wav")
        for m in ("cascade", "diva-time", "diva-learned")
    ]
    assert {r["status"] for r in found} == {"ok"}
    heard = {r["model"]: r["transcript"] for r in found}
    # learned queries have no reading of their own; the others say what they read, be it nothing
    assert heard["diva-learned-toy"] is None
    assert isinstance(heard["diva-time-toy"], str)
    assert isinstance(heard["cascade-toy"], str)


def test_a_clip_that_cannot_be_read_is_told_and_the_others_are_answered(run: Hear, clips: Path) -> None:
    (clips / "bad.wav").write_bytes(b"nothing")
    done = run("clips", "-m", "diva-time-toy")
    assert done.returncode == 1
    blocks = {block.splitlines()[0]: block for block in done.stdout.split("\n\n")[1:]}
    assert list(blocks) == ["clips/bad.wav", "clips/more/two.wav, 0.8 s", "clips/one.wav, 0.5 s"]
    assert "not answered: " in blocks["clips/bad.wav"]
    assert "answer: " in blocks["clips/one.wav, 0.5 s"]


def test_all_replies_go_into_a_csv_file(run: Hear, clips: Path, tmp_path: Path) -> None:
    (clips / "=cmd.wav").write_bytes(b"nothing")
    assert run("clips", "-m", "diva-time-toy", "--csv", "out.csv").returncode == 1
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == [
        *("clip", "seconds", "model", "transcript", "answer", "status", "detail", "remarks", "answer_seconds")
    ]
    # in the order of the clips, with the cell of a clip that looks like a formula quoted
    assert [(r["clip"], r["status"]) for r in found] == [
        ("clips/=cmd.wav", "error"),
        ("clips/more/two.wav", "ok"),
        ("clips/one.wav", "ok"),
    ]
    assert float(found[1]["answer_seconds"]) > 0
    assert found[0]["answer_seconds"] == ""
    shown = run("clips", "-m", "diva-time-toy", "--format", "json")
    assert list(rows(shown.stdout)[0]) == list(found[0]), "the table and the file have the same columns"


def test_an_answer_that_was_cut_and_a_silent_clip_are_marked(run: Hear, clips: Path) -> None:
    soundfile.write(clips / "silence.wav", np.zeros(8000, dtype=np.float32), 16_000)
    words = ("clips/silence.wav", "clips/one.wav", "-m", "cascade-toy")
    silence, one = rows(run(*words, "--format", "json").stdout)
    assert "the clip is silent" in str(silence["remarks"])
    assert "silent" not in str(one["remarks"])
    cut = "the answer was cut at 4 tokens (--max-new-tokens)"
    assert cut in str(one["remarks"])  # random weights do not end
    shown = run(*words)
    assert shown.stdout.count("remark: the clip is silent") == 1
    assert f"remark: {cut}" in shown.stdout


def test_the_prompt_reaches_the_model(run: Hear, clips: Path) -> None:
    plain, asked = (
        run("clips/one.wav", "-m", "cascade-toy", *more) for more in ((), ("--prompt", "Translate into German."))
    )
    assert plain.stdout.startswith("prompt: none; the model gets only the clip\n")
    assert asked.stdout.startswith("prompt: Translate into German.\n")
    assert plain.stdout.split("answer:")[1] != asked.stdout.split("answer:")[1]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "no clip is named. Give audio files or folders, or record one with --record 5."),
        (["nowhere.wav"], "nowhere.wav: there is no such file or folder. Give audio files, or folders of them."),
        (["empty"], "empty: has no audio file (looked for .wav, "),
        (["clips", "-m", "oracle-toy"], "model oracle-toy does not take audio (it takes choices, text). Choose a"),
        (["clips", "--csv", "no/such/out.csv"], "--csv no/such/out.csv: there is no folder no/such. Make it, or"),
        (["clips", "--csv", "clips"], "--csv clips: is a folder. Give the path of a file."),
    ],
)
def test_what_is_refused(run: Hear, clips: Path, tmp_path: Path, words: list[str], why: str) -> None:
    (tmp_path / "empty").mkdir()
    given = words if "-m" in words else [*words, "-m", "diva-time-toy"]
    done = run(*given)
    assert done.returncode == 2
    assert why in " ".join(done.stderr.split())


def test_one_clip_that_a_model_fails_on_takes_no_other_with_it(clips: Path) -> None:
    class Fails:
        accepts, version = frozenset({"audio"}), "1"

        def generate(self, requests: list[Request]) -> list[Response]:
            if any(r.id.endswith("one.wav") for r in requests):
                raise RuntimeError("cannot")
            return [Response(r.id, "fine") for r in requests]

        def close(self) -> None: ...

    asked, faults = hear.requests(hear.files([clips]), "", None, 4)
    assert not faults
    found = list(hear.replies(Fails(), "fails", asked, faults, Silent()))
    assert [(r.response.status, r.response.text, r.response.detail) for r in found] == [
        ("ok", "fine", ""),
        ("error", "", "RuntimeError: cannot"),
    ]
    assert found[1].took is None


def test_recording_needs_a_package_and_a_microphone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(UserError, match=r"pip install 'diva-bench\[record\]'"):
        hear.record(1.0, tmp_path / "out.wav", Silent())

    class NoDevice(Exception): ...

    def refused(*_: object, **__: object) -> None:
        raise NoDevice("Error querying device -1")

    fake = ModuleType("sounddevice")
    fake.PortAudioError, fake.rec = NoDevice, refused  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    with pytest.raises(UserError, match=r"no microphone can be used \(Error querying device -1\)"):
        hear.record(1.0, tmp_path / "out.wav", Silent())

    fake.rec = lambda frames, **_: np.zeros((frames, 1), np.float32)  # type: ignore[attr-defined]
    hear.record(0.5, tmp_path / "out.wav", Silent())
    assert soundfile.info(tmp_path / "out.wav").frames == 8000


def test_the_time_of_a_clip_is_its_own_and_a_clip_that_was_not_answered_has_none(clips: Path) -> None:
    class Slow:
        accepts, version = frozenset({"audio"}), "1"
        sizes: ClassVar[list[int]] = []

        def generate(self, requests: list[Request]) -> list[Response]:
            self.sizes.append(len(requests))
            if requests[0].id.endswith("two.wav"):
                return [Response(requests[0].id, status="unsupported", detail="too long")]
            time.sleep(0.2)
            return [Response(requests[0].id, "fine")]

        def close(self) -> None: ...

    (clips / "bad.wav").write_bytes(b"nothing")
    files = hear.files([clips])
    asked, faults = hear.requests(files, "", None, 4)
    replies = list(hear.replies(Slow(), "slow", asked, faults, Silent()))
    table = hear.table(files, replies, "")
    assert [(row[0], row[5], row[8] is None) for row in table.rows] == [
        (str(clips / "bad.wav"), "error", True),
        (str(clips / "more" / "two.wav"), "unsupported", True),
        (str(clips / "one.wav"), "ok", False),
    ]
    assert float(str(table.rows[2][8])) >= 0.2
    assert Slow.sizes == [1, 1]


def test_a_model_that_takes_no_audio_is_refused_before_weights_are_fetched_or_clips_are_read(
    specs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("fetched, loaded or read")

    for owner, name in ((Catalog, "fetch"), (Catalog, "load"), (hear, "files")):
        monkeypatch.setattr(owner, name, never)
    with pytest.raises(UserError, match="model oracle-toy does not take audio"):
        hear_command(["diva-time-toy", "oracle-toy"], [tmp_path], Settings(), paths=[specs])
