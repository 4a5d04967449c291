"""The report page on disk: its numbers are those of the leaderboard, texts are escaped, licensed data stays out."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
from pathlib import Path

import pytest
from command_line import call
from report_site import COUNT, HOSTILE, Cells, data_file, prepared

from diva_bench.report.html import content
from diva_bench.report.html.site import Settings, write_folder
from diva_bench.report.leaderboard import AT_CHANCE
from diva_bench.runs.run import load_runs
from diva_bench.types import Silent

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of the toy task, and a report of them in `site`."""
    folder = prepared(tmp_path_factory.mktemp("report"))
    done = call(folder, "report", "results", "--html", "site", "--path", ".")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Open site/index.html in a browser.\n"
    return folder


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of published runs of two tasks, one of them without scores.jsonl."""
    folder = tmp_path_factory.mktemp("mini")
    for task in ("iemocap", "covost2-de"):
        (source,) = (ROOT / "results" / "mini-v1").glob(f"{task}-??????")
        shutil.copytree(source, folder / "results" / source.name)
    for path in (folder / "results").glob("iemocap-*/*/scores.jsonl"):
        path.unlink()
    assert call(folder, "report", "results", "--html", "site", "--audio-mb", "0").returncode == 0
    return folder


def board(folder: Path) -> dict[tuple[str, str], tuple[float, float, float, int]]:
    """(task, model) -> score, interval and n in `diva-bench leaderboard`."""
    tables = json.loads(call(folder, "leaderboard", "results", "--format", "json").stdout)
    found = {}
    for table in tables:
        if "#" not in table["columns"]:
            continue
        task = re.split(r"-[0-9a-f]{6}\b| over tasks", table["title"])[0]
        for row in table["rows"]:
            score, count = row[table["columns"][2]], row[table["columns"][3]]
            found[task, row["model"]] = (*(round(score[key], 1) for key in ("value", "low", "high")), count)
    return found


def numbers(cell: str) -> list[float]:
    return [float(text) for text in re.findall(r"-?\d+\.\d+", cell)]


@pytest.mark.parametrize("which", ["place", "mini"])
def test_the_page_has_the_numbers_of_the_leaderboard(which: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(which)
    expected = board(folder)
    assert len(expected) == {"place": 3, "mini": 15}[which], "two tasks and the means"
    (matrix, every) = Cells((folder / "site" / "index.html").read_text(encoding="utf-8")).tables
    (tasks, below, *rows) = matrix
    shown = {}
    for model, *cells in rows:
        for task, metric, cell in zip(tasks[1:], below[1:], cells, strict=True):
            shown[task, model] = (*numbers(cell)[:3], int(re.findall(r"\d+", metric)[-1]))
    assert shown == expected
    listed = {(row[0], row[1]): (*numbers(row[3]), int(row[4])) for row in every[1:]}
    assert {(task.partition(" ")[0], model): found for (task, model), found in listed.items()} == {
        key: found for key, found in expected.items() if key[0] != "mean"
    }


def test_the_signs_of_a_page_are_explained_where_they_stand(mini: Path) -> None:
    def page(name: str) -> str:
        text = (mini / "site" / name).read_text(encoding="utf-8")
        return " ".join(re.sub("<details.*?</details>|<[^>]*>", " ", html.unescape(text), flags=re.DOTALL).split())

    (task,) = (mini / "site" / "tasks").glob("iemocap*")
    (run,) = (mini / "site" / "runs").glob("iemocap*majority*")
    for name in ("index.html", f"tasks/{task.name}", f"runs/{run.name}"):
        assert AT_CHANCE in page(name), name
    (compared,) = (mini / "site" / "compare").glob("iemocap*")
    assert "† below 0.05" in page(f"compare/{compared.name}")
    differences = page("differences.html")
    assert re.search(r"† -?\d", differences)
    assert "† p (Holm) below 0.05" in differences


def test_answers_by_themselves_give_the_score_of_the_run(mini: Path) -> None:
    (page,) = (mini / "site" / "data").glob("iemocap-*.diva-*/0.js")
    found = data_file(page)
    summary = json.loads(next((mini / "results").glob("iemocap-*/diva-*/summary.json")).read_text())
    right = found["scores"]["weighted_f1"]  # of one answer alone: 100 or 0
    assert set(right) == {0.0, 100.0}
    assert sum(right) / len(right) == pytest.approx(summary["metrics"]["accuracy"]["value"])


def test_scores_that_do_not_give_the_summary_are_not_shown(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "results", tmp_path / "results")
    summary = next((tmp_path / "results").glob("*/middle-*/summary.json"))
    record = json.loads(summary.read_text())
    record["metrics"]["contains"] |= {"value": 99.0}
    summary.write_text(json.dumps(record))
    assert call(tmp_path, "report", "results", "--html", "site", "--path", str(place)).returncode == 0
    (page,) = (tmp_path / "site" / "data").glob("*.middle-*/0.js")
    assert data_file(page)["scores"] == {}
    assert "they do not give the score in summary.json" in next((tmp_path / "site" / "tasks").iterdir()).read_text()


def test_every_page_allows_only_its_own_files_and_no_text_of_a_model_is_html(place: Path) -> None:
    site = place / "site"
    pages = sorted(site.rglob("*.html"))
    assert {page.parent.name for page in pages} == {"site", "tasks", "runs", "samples", "compare"}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
        assert "default-src &#39;none&#39;; script-src &#39;self&#39;; style-src &#39;self&#39;;" in policy
        assert "http://" not in text.replace("http://www.w3.org", "")
        assert not re.search(
            r"<script(?! src=\"(\.\./)?assets/\w+\.js\" defer| type=\"application/json\")|<[a-z][^<>]*\s(on\w+|style)=",
            text,
        )
    for data in (site / "data").rglob("*.js"):
        assert b"<" not in data.read_bytes()
        data_file(data)  # ASCII alone, so no invisible character ends a line of the script
    (hostile,) = (site / "data").glob("*.hostile-*/0.js")
    assert data_file(hostile)["text"][: len(HOSTILE)] == list(HOSTILE)


def test_names_from_the_data_are_escaped_and_made_visible(place: Path) -> None:
    texts = [page.read_text(encoding="utf-8") for page in (place / "site").rglob("*.html")]
    assert any("&lt;svg onload=x&gt;\\u202e" in text for text in texts)
    assert not any("<svg onload" in text or "\u202e" in text for text in texts)


@pytest.mark.parametrize("allowed", [False, True])
def test_licensed_texts_and_sound_are_in_the_report_only_on_request(tmp_path: Path, allowed: bool) -> None:
    prepared(tmp_path, licensed=True)
    words = ("report", "results", "--html", "site", "--single-file", "one.html", "--path", ".")
    done = call(tmp_path, *words, *(["--with-licensed"] if allowed else []))
    assert done.returncode == 0, done.stderr
    every = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("site/**/*")) if path.is_file())
    for text in (b"What is the number of sample 3?", b"answer 5", b"no idea", b"OggS", b"data:audio"):
        there = every + (tmp_path / "one.html").read_bytes()
        assert (text in there) is allowed, text
    assert ("--with-licensed adds them" in done.stderr) is not allowed
    if allowed:  # written again without the permission, nothing of it is left
        assert call(tmp_path, *words).returncode == 0
        assert not list((tmp_path / "site").rglob("*.opus"))


def test_a_single_file_has_everything_up_to_the_limit_of_sound(place: Path) -> None:
    done = call(place, "report", "results", "--single-file", "one.html", "--audio-mb", "0.01", "--path", ".")
    assert done.returncode == 0
    assert re.search(r"The sound of \d+ of 12 samples is left out: the limit is 10\.0 kB \(--audio-mb\)\.", done.stderr)
    text = (place / "one.html").read_text(encoding="utf-8")
    clips = re.findall(r'data-key="clips/[0-9a-f]{24}\.opus">"data:audio/ogg;base64,([^"]+)"', text)
    assert 0 < len(clips) < COUNT
    assert all(base64.b64decode(clip).startswith(b"OggS") for clip in clips)
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    assert "unsafe" not in text
    assert "sound of" in text[text.index("<footer>") :]


def test_a_folder_with_other_files_is_not_touched(place: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    done = call(place, "report", "results", "--html", str(tmp_path))
    assert done.returncode == 2
    assert "is not empty, and not an earlier report. Give a new folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_report_is_written_again_without_what_is_gone(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "results", tmp_path / "results")
    words = ("report", "results", "--html", "site", "--path", str(place))
    assert call(tmp_path, *words).returncode == 0
    first = {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()}
    assert call(tmp_path, *words).returncode == 0
    assert first == {
        path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()
    }
    shutil.rmtree(next((tmp_path / "results").glob("*/hostile-*")))
    assert call(tmp_path, *words).returncode == 0
    assert not list((tmp_path / "site").rglob("*hostile*"))
    assert list((tmp_path / "site" / "clips").iterdir())


def test_a_large_task_is_written_by_processes_with_the_same_answers(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "RESAMPLED", 0)
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(place / "cache"))
    write_folder(load_runs([place / "results"]), tmp_path / "site", Settings(paths=(place,)), Silent())
    small = {path.relative_to(place): path.read_bytes() for path in (place / "site" / "data").rglob("*.js")}
    assert small == {
        path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "site" / "data").rglob("*.js")
    }
    page = next((tmp_path / "site" / "tasks").iterdir()).read_text(encoding="utf-8")
    assert "Intervals by group and paired differences are left out" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "report needs --html FOLDER, or --single-file FILE."),
        (("--html", "x", "--base", "nobody"), "--base 'nobody': no run of such a model. Allowed: good, "),
        (("--html", "x", "-t", "nope"), "unknown task 'nope'"),
        (("--single-file", "no/such/folder.html"), "no/such/folder.html: cannot be written"),
        (("--html", "toy.yaml"), "toy.yaml: cannot be written"),
    ],
)
def test_a_report_that_cannot_be_written_says_why(place: Path, words: tuple[str, ...], said: str) -> None:
    done = call(place, "report", "results", *words, "--path", ".")
    assert done.returncode == 2
    assert said in done.stderr.replace("\n", " ")


def test_a_damaged_run_is_named_and_the_others_are_shown(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "results", tmp_path / "results")
    spoilt = next((tmp_path / "results").glob("*/middle-*/responses.jsonl"))
    spoilt.write_text("{not json\n")
    done = call(tmp_path, "report", "results", "--html", "site", "--path", str(place))
    assert done.returncode == 1
    assert done.stderr.count("responses.jsonl:1: is not valid JSON") == 1
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "responses.jsonl:1: is not valid JSON" in index
    assert len(Cells(index).tables[1]) == 3  # heading, good, hostile


def test_damaged_scores_take_only_the_scores_by_sample_away(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "results", tmp_path / "results")
    spoilt = next((tmp_path / "results").glob("*/middle-*/scores.jsonl"))
    spoilt.write_text("".join([*spoilt.read_text().splitlines(keepends=True)[:3], "{not json\n"]))
    done = call(tmp_path, "report", "results", "--html", "site", "--path", str(place))
    assert done.returncode == 1
    assert done.stderr.count("no scores by sample") == 1, done.stderr
    assert "scores.jsonl:4: is not valid JSON" in done.stderr
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "scores.jsonl:4: is not valid JSON" in index
    assert Cells(index).tables[1] == Cells((place / "site" / "index.html").read_text(encoding="utf-8")).tables[1]


def test_a_run_with_changed_answers_shows_no_numbers_of_the_former_ones(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "results", tmp_path / "results")
    spoilt = next((tmp_path / "results").glob("*/middle-*/responses.jsonl"))
    spoilt.write_text("".join(spoilt.read_text().splitlines(keepends=True)[:5]))
    assert call(tmp_path, "report", "results", "--html", "site", "--path", str(place)).returncode == 1
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    row = next(row for row in Cells(index).tables[1] if "middle" in row)
    assert [row[i] for i in (3, 4, 5, 6)] == ["-"] * 4, row  # score, n, answered, errors
    assert "scored answers are lost: restore responses.jsonl from a copy" in row[-1]
    page = next((tmp_path / "site" / "runs").glob("*middle*")).read_text(encoding="utf-8")
    assert "samples scored" not in page
    assert "<h2>Metrics</h2>" not in page


def test_a_damaged_row_of_a_task_stops_no_report_and_its_runs_say_what_to_do(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "results", tmp_path / "results")
    (rows,) = (tmp_path / "results").glob("*/rows.jsonl")
    rows.write_text(rows.read_text().replace("{", "{{", 1))
    done = call(tmp_path, "report", "results", "--html", "site", "--path", str(place))
    assert done.returncode == 1, done.stderr
    assert "no scores in the pages: the rows of its task were edited: restore results/" in done.stderr
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert (
        index.count(f"the rows of its task were edited: restore results/{rows.parent.name}/rows.jsonl from a copy") >= 3
    )


def test_the_prompt_of_the_page_has_no_open_field_that_all_samples_share(tmp_path: Path) -> None:
    published = Path(__file__).parents[1] / "results" / "mini-v1"
    for folder in [*published.glob("covost2-ja-*"), *published.glob("sdqa-*")]:
        shutil.copytree(folder, tmp_path / "results" / folder.name)
    done = call(tmp_path, "report", "results", "--html", "site", "--audio-mb", "0")
    assert done.returncode == 0, done.stderr
    for name in ("runs", "tasks"):
        page = next((tmp_path / "site" / name).glob("covost2-ja*")).read_text(encoding="utf-8")
        assert "from English to Japanese. Answer with the Japanese translation only." in page
    for name in ("differences", "index"):
        page = (tmp_path / "site" / f"{name}.html").read_text(encoding="utf-8")
        assert "fewer than 20 clusters" in page
        assert "sdqa has 8" in page


def test_a_folder_that_nobody_can_make_is_told_in_words(place: Path) -> None:
    done = call(place, "report", "results", "--html", "/proc/x", "--path", ".")
    assert (
        done.returncode,
        "/proc/x: cannot be written (nothing can be made there). Give another folder" in done.stderr,
    ) == (2, True)
