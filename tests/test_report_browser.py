"""The report page in Chromium: every function is used, nothing hostile runs, nothing is logged, all of it by keyboard too."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import launched
from command_line import call
from report_site import COUNT, HOSTILE, prepared

AXE = Path(sys.prefix, "axe", "node_modules", "axe-core", "axe.min.js")
"""Where `.ci/run` puts axe-core."""
SIZES = {"wide": (1400, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = prepared(tmp_path_factory.mktemp("browser"))
    done = call(folder, "report", "results", "--html", "site", "--single-file", "one.html", "--path", ".")
    assert done.returncode == 0, done.stderr
    return folder


Open = Callable[..., Any]


@pytest.fixture
def open_page(chromium: Any, place: Path) -> Iterator[Open]:
    """Opens a page of the report from disk; in the end no console message, no error and no foreign address may be seen."""
    seen: list[str] = []
    contexts = []

    def open_(
        name: str = "index", fields: str = "", *, size: str = "wide", dark: bool = False, single: bool = False
    ) -> Any:
        wide, high = SIZES[size]
        context = chromium.new_context(
            viewport={"width": wide, "height": high}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("console", lambda message: seen.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (seen.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else seen.append(r.url))
        if single:
            page.goto((place / "one.html").as_uri() + f"#/{name}" + (f"?{fields}" if fields else ""))
        else:
            page.goto((place / "site" / f"{name}.html").as_uri() + (f"#{fields}" if fields else ""))
        return page

    yield open_
    for context in contexts:
        context.close()
    assert seen == []


@pytest.fixture(scope="module")
def task(place: Path) -> str:
    return next((place / "site" / "tasks").iterdir()).stem


def ready(page: Any) -> Any:
    page.wait_for_selector("article:not([hidden]) p.status[data-done='1']")
    return page


def listed(page: Any) -> list[str]:
    return page.locator("article:not([hidden]) .list .ident").all_inner_texts()  # type: ignore[no-any-return]


def chosen(page: Any, ident: str) -> None:
    """Wait for a sample: the page follows the address, which a link changes, a moment later."""
    page.locator("article:not([hidden]) .detail h2", has_text=re.compile(f"^{ident}$")).wait_for()


# ---------------------------------------------------------------- functions


def test_the_leaderboard_is_sorted_and_filtered(open_page: Open) -> None:
    page = open_page()
    models = page.locator(".matrix tbody tr:visible th")
    assert models.all_inner_texts()[0] == "good"
    head = page.locator(".matrix thead th", has_text="toy").locator("button")
    head.click()
    assert models.all_inner_texts() == ["good", "middle", "hostile"]
    assert page.locator(".matrix th[aria-sort=descending]").count() == 1
    head.click()
    assert models.all_inner_texts() == ["hostile", "middle", "good"]
    page.get_by_label("Models", exact=True).fill("mid, go")
    assert models.all_inner_texts() == ["middle", "good"]
    page.get_by_label("Tasks", exact=True).fill("other")
    assert page.locator(".matrix .score:visible").count() == 0
    assert page.locator("[data-board] [data-count]").inner_text() == "2 models, 0 tasks"
    page.get_by_label("Models", exact=True).fill("mid")
    page.get_by_label("Tasks", exact=True).fill("toy")
    assert page.locator("[data-board] [data-count]").inner_text() == "1 model, 1 task"
    page.locator("[data-list]").get_by_label("Model", exact=True).select_option("middle")
    assert page.locator("[data-list] tbody tr:visible").count() == 1
    page.locator("[data-list]").get_by_label("Model", exact=True).select_option("")
    page.locator("[data-list]").get_by_label("Search").fill("hostile toy")
    assert page.locator("[data-list] [data-count]").inner_text() == "1 of 3 runs"
    page.locator("[data-list] tbody tr:visible a").click()
    assert page.locator("h1").inner_text().startswith("hostile")


def test_links_lead_from_page_to_page(open_page: Open, task: str) -> None:
    page = open_page()
    page.locator("details.menu summary").click()
    page.locator("details.menu a", has_text="toy").click()
    assert page.locator("h1").inner_text().startswith("toy")
    for tab in ("Samples", "Compare", "Results"):
        page.locator(".tabs a", has_text=tab).click()
        assert page.locator(".tabs [aria-current]").inner_text() == tab
    page.locator(".forest a", has_text="middle").click()
    page.locator("a.button", has_text="Its answers").click()
    ready(page)
    assert "middle" in page.locator("[data-models]").inner_text()
    page.locator("header a", has_text="Differences").click()
    assert page.locator(".forest tbody").count() == 2


def test_samples_are_searched_filtered_and_sorted(open_page: Open, task: str) -> None:
    page = ready(open_page(f"samples/{task}"))
    assert listed(page) == [f"q{i:03}" for i in range(COUNT)]

    def only(*fields: tuple[str, str]) -> list[str]:
        for label, value in fields:
            page.get_by_label(label, exact=True).select_option(value)
        found = listed(page)
        page.get_by_role("button", name="Clear").click()
        page.wait_for_function(f"() => document.querySelectorAll('.list .ident').length === {COUNT}")
        return found

    assert only(("Result", "middle: wrong")) == ["q000", "q003", "q006", "q009"]
    assert only(("Result", "all right")) == [i for i in (f"q{i:03}" for i in range(7, COUNT)) if i != "q009"]
    assert "q001" in only(("Result", "models disagree"))
    assert only(("Status", "error")) == []
    assert only(("voice", "a")) == [f"q{i:03}" for i in range(0, COUNT, 2)]
    assert only(("Sort", "lowest mean score first"))[0] in ("q000", "q003")
    page.get_by_label("Search", exact=True).fill("SAMPLE number 7?")
    page.wait_for_function("() => document.querySelectorAll('.list .ident').length === 1")
    assert page.locator(".list mark").first.inner_text().lower() in ("sample", "number", "7?")
    page.get_by_label("Search", exact=True).fill("no such words")
    page.wait_for_selector("text=No sample fits. Clear a filter.")


def test_a_sample_has_its_own_address(open_page: Open, task: str) -> None:
    page = ready(open_page(f"samples/{task}", "id=q005&q=sample&result=all%3Agood"))
    chosen(page, "q005")
    assert page.get_by_label("Search", exact=True).input_value() == "sample"
    page.locator(".list a", has_text="q008").click()
    chosen(page, "q008")
    again = ready(open_page(f"samples/{task}", page.url.partition("#")[2]))
    chosen(again, "q008")
    assert listed(again) == listed(page)


def test_answers_stand_side_by_side_with_scores_and_references(open_page: Open, task: str) -> None:
    page = ready(open_page(f"samples/{task}", "id=q003"))
    detail = page.locator(".detail")
    assert detail.locator(".answer h3 a").all_inner_texts() == ["good", "middle", "hostile"]
    text = detail.inner_text()
    for words in ("What is the number of sample 3?", "answer 3", "number 3", "no idea", "contains 100.0", "voice b"):
        assert words in text
    page.locator("details.models summary").click()
    page.get_by_label("hostile", exact=True).uncheck()
    assert detail.locator(".answer h3 a").all_inner_texts() == ["good", "middle"]


def test_the_keyboard_moves_searches_and_plays(open_page: Open, task: str) -> None:
    page = ready(open_page(f"samples/{task}"))
    page.keyboard.press("j")
    page.keyboard.press("j")
    chosen(page, "q002")
    page.keyboard.press("k")
    chosen(page, "q001")
    page.keyboard.press("/")
    page.keyboard.type("jjj")
    assert page.get_by_label("Search", exact=True).input_value() == "jjj"
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function(f"() => document.querySelectorAll('.list .ident').length === {COUNT}")
    page.locator("h1").click()
    page.keyboard.press("p")
    page.wait_for_function("() => document.querySelector('audio').currentTime > 0.05")


@pytest.mark.parametrize("single", [False, True])
def test_a_clip_is_played_and_its_spectrogram_shown(open_page: Open, task: str, single: bool) -> None:
    page = ready(open_page(f"samples/{task}", "id=q004", single=single))
    audio = page.locator("article:not([hidden]) .detail audio")
    audio.evaluate("one => one.play()")
    page.wait_for_function(
        "() => [...document.querySelectorAll('audio')].some(one => one.ended || one.currentTime > 0.1)"
    )
    assert audio.evaluate("one => one.duration") == pytest.approx(0.2, abs=0.05)
    picture = page.locator("article:not([hidden]) .detail img")
    page.wait_for_function("() => [...document.images].some(one => one.complete && one.naturalWidth === 200)")
    assert "Spectrogram" in picture.get_attribute("alt")


def test_two_runs_are_compared(open_page: Open, task: str) -> None:
    page = ready(open_page(f"compare/{task}"))
    page.get_by_label("First").select_option("good")
    page.get_by_label("Second").select_option("middle")
    ready(page)
    assert page.locator(".verdict").inner_text().split("\n") == ["good better: 4", "equal: 8", "middle better: 0"] or (
        re.sub(r"\s+", " ", page.locator(".verdict").inner_text()) == "good better: 4 equal: 8 middle better: 0"
    )
    assert page.locator(".pair").count() == 4
    assert "good minus middle, contains: 33.3 [" in page.locator(".outcome").inner_text()
    page.get_by_role("button", name="Swap").click()
    assert "middle minus good, contains: -33.3 [" in page.locator(".outcome").inner_text()
    page.get_by_label("Show").select_option("first is better")
    assert page.locator(".pair").count() == 0
    page.get_by_label("Show").select_option("second is better")
    page.locator(".pair a").first.click()
    chosen(ready(page), "q000")


def test_the_single_file_has_every_page(open_page: Open, task: str) -> None:
    page = open_page(single=True)
    heading = page.locator("article:not([hidden]) h1", has_text=re.compile("^toy"))
    page.locator("article:not([hidden]) .matrix a", has_text="contains").click()
    heading.wait_for()  # the page changes after the click, when the browser tells it of the new address
    page.locator("article:not([hidden]) .tabs a", has_text="Samples").click()
    ready(page)
    page.locator("article:not([hidden]) .list a", has_text="q002").click()
    chosen(page, "q002")
    page.go_back()
    heading.wait_for()
    other = ready(open_page(f"samples/{task}", "id=q007", single=True))
    chosen(other, "q007")
    assert other.title() == "Samples of toy - diva-bench"


# ---------------------------------------------------------------- hostile texts, access, speed


@pytest.mark.parametrize("single", [False, True])
def test_hostile_answers_are_shown_as_text(open_page: Open, task: str, single: bool) -> None:
    page = ready(open_page(f"samples/{task}", single=single))
    title = page.title()
    for number in range(len(HOSTILE)):
        page.locator("article:not([hidden]) .list a", has_text=f"q{number:03}").click()
        answer = page.locator("article:not([hidden]) .answer", has_text="hostile").locator(".quoted")
        shown = answer.inner_text()
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\u2029\u200b\x1b\U000e0041]", shown)
        expected = re.sub(
            "[\u202a-\u202e\u2066-\u2069\u2028\u2029\u200b\x1b\U000e0041]",
            lambda match: f"\\x{ord(match[0]):02x}" if ord(match[0]) < 256 else f"\\u{ord(match[0]):04x}",
            HOSTILE[number].replace("\U000e0041", "\\U000e0041"),
        )
        assert shown == expected
        assert answer.locator("script, img, b, a").count() == 0
    assert page.title() == title
    assert page.locator("article:not([hidden]) a[href^='javascript']").count() == 0


def pages(task: str, place: Path) -> list[str]:
    run = next((place / "site" / "runs").glob("*.middle-*")).stem
    return ["index", "differences", f"tasks/{task}", f"runs/{run}", f"samples/{task}", f"compare/{task}"]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", list(SIZES))
def test_a_screen_reader_finds_no_serious_fault_and_no_page_is_too_wide(
    open_page: Open, place: Path, task: str, size: str, dark: bool
) -> None:
    if not AXE.is_file():
        pytest.skip(f"there is no {AXE}; npm install --prefix {AXE.parents[2]} axe-core")
    for name in pages(task, place):
        page = open_page(name, size=size, dark=dark)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0], name
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run({resultTypes: ['violations'], preload: false})")
        serious = [
            (fault["id"], node["html"][:200])
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]
        assert serious == [], name
