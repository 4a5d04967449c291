"""A whole study in Chromium with a microphone: consent, recording, two answers, vote, code; on a phone; and hostile texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browser import launched
from chat_server import until
from study_server import serving, yaml_file
from test_connector_eval import model, weights
from tiny_models import make_llm, make_whisper

from diva_bench.audio import decode
from diva_bench.study.store import Store, recordings_of

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
PHONE = {"width": 390, "height": 844}
TEXTS = (
    "start",
    "task",
    "answer",
    "better",
    "tie",
    "both_bad",
    "hear",
    "ask",
    "record",
    "stop",
    "again",
    "send",
    "keep",
)
VOICE = """window.spoken = [];
speechSynthesis.speak = words => window.spoken.push([words.text, words.lang, words.voice && words.voice.name]);"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser whose microphone plays a tone, again and again."""
    tone = tmp_path_factory.mktemp("microphone") / "tone.wav"
    soundfile.write(tone, 0.3 * np.sin(np.arange(3 * 44_100) * 2 * np.pi * 440 / 44_100), 44_100, subtype="PCM_16")
    fake = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with launched(*fake, f"--use-file-for-fake-audio-capture={tone}") as browser:
        yield browser


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cascade of a few kilobytes, and a model that answers with HTML."""
    folder = tmp_path_factory.mktemp("study")
    (specs := folder / "specs").mkdir()
    weights(make_whisper(folder / "whisper"), "w", specs)
    weights(make_llm(folder / "llm"), "l", specs)
    model(specs, "tiny", "cascade", asr="w", llm="l")
    hostile = {"name": "hostile", "adapter": "echo", "description": "d", "args": {"reply": HOSTILE}}
    yaml_file(specs / "hostile.yaml", hostile | {"runtime": {"dtype": "float32"}})
    study = {
        "name": "s", "title": HOSTILE, "consent": f"{HOSTILE} " * 5, "votes": 2, "task": "heysquad", "edition": "mini",
        "systems": {"tiny": {"model": "tiny", "edition": "nano"}, "hostile": {"model": "hostile"}}, "speak": "browser",
        "record": {"keep": True}, "both_bad": True, "texts": {name: f"{name} {HOSTILE}" for name in TEXTS},
        "questions": [{"name": "age", "text": HOSTILE}, {"name": "from", "text": "From?", "choices": [HOSTILE, "b"]}],
    }  # fmt: skip
    yaml_file(folder / "study.yaml", study)
    return folder


def page_of(chromium: Any, seen: list[str], **settings: Any) -> Any:
    """A page whose messages, errors and dialogs are noted; dialogs are accepted."""
    page = chromium.new_context(**settings).new_page()
    page.set_default_timeout(120_000)
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))

    def accept(dialog: Any) -> None:
        seen.append(f"dialog: {dialog.message}")
        dialog.accept()

    page.on("dialog", accept)
    return page


def record(page: Any, seconds: float) -> None:
    page.click("#speak")
    until(lambda: float(f"0{page.inner_text('#time')}".split()[0]) >= seconds)
    page.click("#speak")
    page.wait_for_selector("#send:visible")


def fits(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def tones(store: Store) -> list[Path]:
    """The two kept recordings, after a look that they have the tone of the microphone, 440 Hz."""
    kept = sorted(recordings_of(store.path).glob("*.wav"))
    assert len(kept) == 2
    for path in kept:
        spectrum = np.abs(np.fft.rfft(decode(path.read_bytes()).samples[:8000]))
        assert int(spectrum.argmax()) * 2 == pytest.approx(440, abs=4)
    return kept


def test_a_rater_speaks_on_a_phone_hears_two_answers_votes_gets_a_code_and_withdraws(
    chromium: Any, place: Path
) -> None:
    seen: list[str] = []
    with serving(place, "--path", "specs") as (url, _):
        page = page_of(chromium, seen, viewport=PHONE)
        page.add_init_script(VOICE)  # a browser without a window has no voice
        page.goto(url)
        page.wait_for_selector("#start:visible")
        assert page.inner_text("#title") == HOSTILE
        fits(page)
        page.fill("input[name=age]", HOSTILE)
        page.select_option("select[name=from]", HOSTILE)
        page.check("#keeps")
        page.dblclick("#start")
        page.wait_for_selector("#record:visible")
        record(page, 0.6)
        record(page, 1.0)  # anew
        length = page.evaluate("document.getElementById('own').duration")
        fits(page)
        page.dblclick("#send")
        page.wait_for_selector("#vote:visible")
        fits(page)
        answers = page.locator("#answers article p").all_inner_texts()
        assert HOSTILE in answers
        for place_ in (0, 1):
            page.locator("#answers article").nth(place_).locator("button.second").click()
        spoken = page.evaluate("window.spoken")
        assert [words for words, _, _ in spoken] == [text.strip() for text in answers]
        assert len({(language, voice) for _, language, voice in spoken}) == 1
        until(lambda: page.evaluate("document.getElementById('clip').duration > 0"))
        assert page.evaluate("document.getElementById('clip').duration") == pytest.approx(length, abs=0.01)
        page.reload()  # a closed tab
        page.wait_for_selector("#vote:visible")
        assert page.locator("#answers article p").all_inner_texts() == answers
        page.locator("#answers article").first.locator("button").last.dblclick()
        page.wait_for_selector("#record:visible")
        record(page, 0.6)
        page.click("#send")
        page.wait_for_selector("#vote:visible")
        page.locator("#others button").last.click()
        page.wait_for_selector("#code:visible")
        assert len(page.inner_text("#code")) == 8
        with Store(place / "s.sqlite") as store:
            first, second = store.votes()
            assert first.shown
            assert (first.choice, second.choice) == (first.shown[0], "both_bad")
            kept = tones(store)
            page.click("#withdraw")
            until(lambda: page.inner_text("#code") == "")
            assert store.votes() == []
            assert [path for path in kept if path.exists()] == []
    assert seen == ["dialog: Withdraw and delete my votes?"]


def test_a_rater_without_a_microphone_is_told_so_and_can_try_again(chromium: Any, place: Path) -> None:
    seen: list[str] = []
    with serving(place, "--path", "specs", "--database", "none.sqlite") as (url, _):
        page = page_of(chromium, seen)
        page.add_init_script("navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('denied'));")
        page.goto(url)
        page.click("#start")
        page.click("#speak")
        page.wait_for_selector("#error:visible")
        assert page.inner_text("#error").startswith("The microphone cannot be used.")
        assert page.is_enabled("#speak")
    assert seen == []
