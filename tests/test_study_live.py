"""A study whose answers come from models while raters wait: recordings, failures, the line, what is kept and deleted."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

from diva_bench.errors import UserError
from diva_bench.study import recording
from diva_bench.study.answering import Systems
from diva_bench.study.line import Line
from diva_bench.study.serving import questions
from diva_bench.study.site import Access, Site
from diva_bench.study.spec import Recording, StudyFile
from diva_bench.study.store import Store, recordings_of
from diva_bench.types import Silent

OPEN = Access(limited=False)
RULE = Recording(keep=True)


def tone(
    seconds: float = 1.0, rate: int = 16_000, shape: tuple[int, ...] = (), form: str = "WAV", **more: Any
) -> bytes:
    wave = 0.1 * np.sin(np.arange(round(seconds * rate)) / 5)
    file = io.BytesIO()
    soundfile.write(
        file, np.broadcast_to(wave.reshape(-1, *([1] * len(shape))), (len(wave), *shape)), rate, format=form, **more
    )
    return file.getvalue()


def changed(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


NAN = io.BytesIO()
soundfile.write(NAN, np.full(16_000, np.nan), 16_000, format="WAV", subtype="FLOAT")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no WAV file"),
        (b"Dear Sir or Madam, this is a text. " * 1000, r"no WAV file \(unknown format\)"),
        (tone(form="FLAC"), r"no WAV file \(FLAC\)"),
        (b"\x1aE\xdf\xa3" + bytes(5000), r"no WAV file \(Matroska or WebM\)"),
        (b"RIFF\xff\xff\xff\xffWAVE" + b"x" * 300, "damaged"),
        (tone(rate=44_100), "44,100 Hz, 1 channels, PCM_16; allowed: 16,000 Hz, 1 channel"),
        (tone(shape=(2,)), "16,000 Hz, 2 channels, PCM_16; allowed"),
        (NAN.getvalue(), "FLOAT; allowed"),
        (tone(0.4), r"is 0\.4 s long; allowed: 0\.5 to 30 s"),
        (tone(30.1), r"is 30\.1 s long"),
        (tone()[:20_000], "cut short"),
        (changed(tone(), 40, b"\x00\x00\x01\x00"), "cut short"),
        (changed(tone(), 44, bytes(32_000)), "silent. Check the microphone"),
    ],
)  # fmt: skip
def test_a_recording_that_is_not_right_is_refused_in_words(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recording.checked(content, RULE)


def test_the_longest_and_the_shortest_recording_are_accepted_as_they_are() -> None:
    for seconds in (0.5, 30.0):
        content = tone(seconds)
        assert len(content) <= recording.largest(RULE)
        assert recording.checked(content, RULE).seconds == seconds


# ---------------------------------------------------------------- with models


def study(folder: Path, **changes: Any) -> StudyFile:
    """Two echoes: one answers with a hash of the sound, the other with a fixed text."""
    for name, args in (("alpha", {"reply": "audio"}), ("beta", {"reply": "two"})):
        spec = {"name": name, "adapter": "echo", "description": "d", "args": args | changes.pop(name, {})}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec | {"runtime": {"dtype": "float32"}}), "utf-8")
    values: dict[str, Any] = {
        "name": "s", "title": "t", "consent": "c", "votes": 2, "task": "heysquad", "edition": "mini", "record": RULE,
        "systems": {"a": {"model": "alpha.yaml"}, "b": {"model": "beta.yaml"}}, "timeout": 30.0,
    }  # fmt: skip
    return StudyFile(**(values | changes))


@contextlib.contextmanager
def served(folder: Path, file: StudyFile) -> Iterator[tuple[Any, Store, Systems]]:
    """(the application, the database, the models, which are ended afterwards)."""
    systems, items, versions = questions(file, folder, Silent())
    assert systems is not None
    with Store(folder / "s.sqlite", create=True) as store, systems:
        line = Line(store, systems, recordings_of(store.path))
        yield Site(file, items, versions, store, OPEN, line).app(), store, systems


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Store, Systems]]:
    """A study in which raters record, for several tests, because processes take seconds to start."""
    folder = tmp_path_factory.mktemp("live")
    with served(folder, study(folder)) as everything:
        yield everything


Live = tuple[Any, Store, Systems]


def browser(app: Any, **more: Any) -> Any:
    client = TestClient(app, base_url="http://testserver")
    assert client.post("/api/enter", json={"agree": True, **more}).status_code == 200
    return client


def following(client: Any, after: str = "") -> dict[str, Any]:
    """The page after the line."""
    end = time.monotonic() + 60
    while True:
        page = dict(client.post("/api/next", json={"after": after}).json())
        if page.get("state") != "waiting":
            return page
        assert page["place"] >= 1
        assert time.monotonic() < end
        after = page["id"]
        time.sleep(0.02)


def sent(client: Any, id: str, content: bytes, **headers: str) -> tuple[int, str]:
    answer = client.post(f"/api/recording/{id}", content=content, headers={"content-type": "audio/wav", **headers})
    return answer.status_code, answer.json().get("error", "")


def test_a_recording_is_answered_by_both_models_heard_again_voted_on_and_kept_only_with_consent(live: Live) -> None:
    app, store, _ = live
    sounds = recordings_of(store.path)
    for keep, files in ((False, 0), (True, 1)):
        client = browser(app, keep=keep)
        page = following(client)
        assert page["state"] == "record"
        assert client.post("/api/vote", json={"id": page["id"], "choice": "tie"}).status_code == 409, "too early"
        assert sent(client, page["id"], tone()) == (200, "")
        page = following(client)
        assert (page["state"], page["sound"], page["failed"]) == ("vote", True, False)
        assert "two" in page["answers"]
        heard, own = (soundfile.read(io.BytesIO(c))[0] for c in (client.get(f"/api/clip/{page['id']}").content, tone()))
        assert np.allclose(heard, own, atol=1e-4)
        assert sent(client, page["id"], tone())[0] == 409, "another recording after the answers"
        assert client.post("/api/vote", json={"id": page["id"], "choice": 0}).status_code == 200
        assert client.get(f"/api/clip/{page['id']}").status_code == 404, "it is in memory until the vote"
        assert len(list(sounds.glob("*"))) == files
    [(item, name, seconds)] = store.rows("SELECT item, recordings.id, seconds FROM recordings JOIN votes USING (item)")
    assert (sounds / f"{name}.wav").stat().st_mode & 0o77 == 0
    assert (seconds, len(store.answers(item))) == (1.0, 2)
    assert store.votes()[0].versions["a"].startswith("alpha@")
    assert client.post("/api/withdraw", json={}).json()["votes"] == 1
    assert (list(sounds.glob("*")), store.answers(item)) == ([], {})


UPLOADS: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"text " * 999, {}, 400, "no WAV file"),
    (tone(), {"content-type": "text/html"}, 415, "audio/wav"),
    (tone(60), {}, 413, "too large; at most 964,096 bytes"),
    (tone(), {"content-length": "200000000"}, 413, "too large"),
    (tone(), {"origin": "http://evil.example"}, 403, "another page"),
]


def test_an_upload_that_is_not_right_is_refused_and_the_question_stays_open(live: Live) -> None:
    client = browser(live[0])
    page = following(client)
    for content, headers, status, message in UPLOADS:
        got, said = sent(client, page["id"], content, **headers)
        assert (got, message in said) == (status, True), said
    assert sent(browser(live[0]), page["id"], tone())[0] == 409, "of another rater"
    assert following(client)["id"] == page["id"]


def test_raters_who_send_at_once_wait_in_line_and_each_gets_answers_to_the_own_recording(live: Live) -> None:
    app, _, systems = live
    clients, places = [browser(app) for _ in range(3)], []
    slow = systems._models["b"]._process.pid or 0
    os.kill(slow, signal.SIGSTOP)
    for number, client in enumerate(clients):
        page = following(client)
        sent(client, page["id"], tone(1 + number))
        sent(client, page["id"], tone(1 + number))  # a double click
        places.append(client.post("/api/next", json={}).json()["place"])
    os.kill(slow, signal.SIGCONT)
    assert places == [1, 2, 3]
    assert len({next(text for text in following(client)["answers"] if text != "two") for client in clients}) == 3


def test_who_withdraws_while_the_models_answer_leaves_nothing(live: Live) -> None:
    app, store, systems = live
    client, before = browser(app, keep=True), store.answers()
    page = following(client)
    slow = systems._models["b"]._process.pid or 0
    os.kill(slow, signal.SIGSTOP)
    sent(client, page["id"], tone())
    assert client.post("/api/withdraw", json={}).status_code == 200
    os.kill(slow, signal.SIGCONT)
    other = browser(app)  # whose question is answered afterwards
    page = following(other)
    sent(other, page["id"], tone(2))
    assert following(other)["state"] == "vote"
    assert len(store.answers()) == len(before) + 2
    assert list(recordings_of(store.path).glob("*")) == []


def test_a_model_that_crashes_costs_one_question_and_is_started_again(live: Live) -> None:
    app, store, systems = live
    client = browser(app)
    page = following(client)
    os.kill(systems._models["a"]._process.pid or 0, signal.SIGKILL)
    sent(client, page["id"], tone())
    again = following(client, page["id"])
    assert (again["state"], again["failed"], again["votes"]) == ("record", True, 0)
    assert store.rows("SELECT system, reason FROM failures") == [
        ("a", "its process ended; the model was started again")
    ]
    sent(client, again["id"], tone())
    assert following(client)["state"] == "vote"


def test_a_model_that_hangs_or_says_nothing_costs_no_vote_and_is_counted(tmp_path: Path) -> None:
    file = study(tmp_path, alpha={"reply": "<think>hm</think>  "}, beta={"delay": 600.0}, timeout=8.0)
    with served(tmp_path, file) as (app, store, systems):
        hung = systems._models["b"]._process
        client = browser(app)
        page = following(client)
        sent(client, page["id"], tone())
        again = following(client, page["id"])
        assert (again["state"], again["failed"], again["votes"]) == ("record", True, 0)
        assert again["id"] != page["id"]
        assert client.post("/api/vote", json={"id": page["id"], "choice": 0}).status_code == 409
        assert dict(store.rows("SELECT system, reason FROM failures")) == {
            "a": "the answer has no words",
            "b": "no answer within 8 s (timeout); the model was started again",
        }
        assert store.answers() == {}
        assert not hung.is_alive()


def test_a_clip_that_a_model_does_not_answer_is_followed_by_another_one(tmp_path: Path) -> None:
    file = study(tmp_path, record=None)
    _, items, _ = questions(file, tmp_path, Silent())
    broken = sorted(items)[::2]
    file = study(tmp_path, record=None, beta={"fail_ids": broken, "fail_how": "raise"}, votes=20)
    with served(tmp_path, file) as (app, store, _):
        client, page = browser(app), {"id": ""}
        while not (store.failures() and store.answers()):
            page = following(client, page["id"])
            assert page["state"] == "vote"
            client.post("/api/vote", json={"id": page["id"], "choice": 0})
        answered = {item for item, _ in store.answers()}
        failed = {item for (item,) in store.rows("SELECT item FROM failures")}
        assert answered <= set(items) - set(broken)
        assert failed <= set(broken)
        clip = f"/api/clip/{page['id']}"
        whole, part = client.get(clip), client.get(clip, headers={"range": "bytes=44-143"})
        assert (part.status_code, part.content) == (206, whole.content[44:144])
        assert part.headers["content-range"] == f"bytes 44-143/{len(whole.content)}"
        assert client.get(clip, headers={"range": "bytes=-10"}).content == whole.content[-10:]
        assert client.get(clip, headers={"range": "bytes=999999999-"}).status_code == 416
        for other in ("../../etc/passwd", "0" * 32, broken[0]):
            assert client.get(f"/api/clip/{other}").status_code == 404
        assert TestClient(app).get(clip).status_code == 401
