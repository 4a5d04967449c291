"""What `diagnose` says of ravdess and transcribe together: the voice, only the words, neither, or that it is open."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from command_line import Command, here
from rich.console import Console
from test_ravdess import twin

from diva_bench.catalog import Catalog
from diva_bench.report.hearing import Hearing, Scored, as_records, hearings, table
from diva_bench.report.signs import Verdict
from diva_bench.runs.records import RunSummary
from diva_bench.specs import Edition
from diva_bench.stats import Estimate, Interval

ROOT = Path(__file__).parents[1]


def summary(task: str, value: float, around: float = 2.0, **more: Any) -> RunSummary:
    """A scored run of one of the two tasks; `around` is half of its interval."""
    few, metric = more.pop("few", False), {"transcribe": "wer", "ravdess": "uar"}[task]
    n, clusters = (210, 188) if task == "transcribe" else (1440, 24)
    baseline = 100.0 if task == "transcribe" else 12.5
    main = {"value": value, "low": value - around, "high": value + around, "n": n, "clusters": clusters}
    main |= {"few_clusters": few, "higher_is_better": metric == "uar"}
    values: dict[str, Any] = {
        "task": task,
        "task_id": f"{task}-1",
        "model": "m",
        "run_id": "m-1",
        "edition": "mini" if task == "transcribe" else "full",
        "speech": "synthetic" if task == "transcribe" else "human",
        "model_edition": "mini",
        "dtype": "float32",
        "limit": None,
        "seed": 0,
        "primary": metric,
        "repeatable": True,
        "n": n,
        "scored": n,
        "clusters": clusters,
        "errors": 0,
        "unsupported": 0,
        "unparsed": 0 if task == "ravdess" else None,
        "complete": True,
        "reason": "",
        "data_faults": [],
        "signature": {},
        "metrics": {metric: main},
        "groups": {},
        "baseline": baseline,
        "at_chance": value - around <= baseline if task == "ravdess" else False,
    }
    return RunSummary.model_validate(values | more)


def one(*runs: RunSummary, fits: Estimate | None = None, deaf: Verdict = "") -> Hearing:
    (found,) = hearings([Scored("diva", "model", run, fits, deaf) for run in runs])
    return found


def share(value: float) -> Estimate:
    return Estimate(value, Interval(value - 4, value + 4), 210, 188)


WORDS, BAD_WORDS = summary("transcribe", 5.2), summary("transcribe", 80.0)
VOICE, NO_VOICE = summary("ravdess", 40.0), summary("ravdess", 13.0)


@pytest.mark.parametrize(
    ("words", "deaf", "voice", "said"),
    [
        (WORDS, "", NO_VOICE, "diva gets only the words: no sign that it hears how they are said"),
        (WORDS, "", VOICE, "diva gets the words and how they are said"),
        (BAD_WORDS, "", NO_VOICE, "diva gets some of the words: no sign that it hears how they are said"),
        (BAD_WORDS, "", VOICE, "diva gets some of the words and how they are said"),
        (BAD_WORDS, "fits", VOICE, "diva gets how words are said: no sign that it gets the words"),
        (BAD_WORDS, "fits", NO_VOICE, "diva gives no sign of getting the words or how they are said"),
    ],
)
def test_two_scores_make_one_sentence_with_its_evidence(
    words: RunSummary, deaf: Verdict, voice: RunSummary, said: str
) -> None:
    fits = share(2.0 if deaf else 70.0)
    found = one(words, voice, fits=fits, deaf=deaf)
    w, v = words.metrics["wer"], voice.metrics["uar"]
    own = f", fits its own clip {fits.value} % [{fits.low}, {fits.high}]" if words is BAD_WORDS else ""
    assert found.reading == (
        f"{said} (transcribe wer {w.value} [{w.low:.1f}, {w.high:.1f}], n 210, 188 clusters, synthetic speech{own}; "
        f"ravdess uar {v.value} [{v.low}, {v.high}], n 1,440, 24 clusters; without hearing: 12.5)"
    )
    assert one(voice, words, fits=fits, deaf=deaf) == found


@pytest.mark.parametrize(
    ("words", "voice", "said"),
    [
        (
            WORDS,
            summary("ravdess", 15.0, 9.0),
            "how they are said: unclear, at chance, but the interval reaches 11.5 points",
        ),
        (
            WORDS,
            summary("ravdess", 0.0, unparsed=1400),
            "how they are said: unclear, 1,400 of 1,440 answers name no label",
        ),
        (WORDS, summary("ravdess", 13.0, few=True), "how they are said: unclear, too few clusters"),
        (WORDS, summary("ravdess", 40.0, few=True), "how they are said: unclear, too few clusters"),
        (WORDS, summary("ravdess", 13.0, baseline=None, at_chance=None), "unclear, there is no baseline"),
        (BAD_WORDS, NO_VOICE, "the words: unclear, many errors, and it is unknown whether the answers fit their clips"),
        (summary("transcribe", 5.0, few=True), VOICE, "the words: unclear, too few clusters; how they are said: yes"),
    ],
)
def test_what_the_intervals_do_not_decide_is_left_open_with_the_reason(
    words: RunSummary, voice: RunSummary, said: str
) -> None:
    reading = one(words, voice).reading
    assert reading.startswith("diva leaves open what it gets; the words: ")
    assert said in reading


@pytest.mark.parametrize(
    ("low", "high", "fit", "deaf", "gets"),
    [
        (20.0, 30.0, 0.0, "fits", "yes"),
        (0.0, 0.0, 0.0, "fits", "yes"),
        (20.0, 30.1, 70.0, "", "some"),
        (40.0, 99.0, 70.0, "", "some"),
        (40.0, 99.0, 3.0, "perhaps", "unclear"),
        (40.0, 99.0, 4.0, "", "unclear"),
        (40.0, 99.0, 2.0, "fits", "no"),
    ],
)
def test_many_errors_are_no_sign_of_deafness_where_the_answers_fit_their_clips(
    low: float, high: float, fit: float, deaf: Verdict, gets: str
) -> None:
    side = one(summary("transcribe", (low + high) / 2, (high - low) / 2), fits=share(fit), deaf=deaf).words
    assert side is not None
    assert side.gets == gets


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (
            WORDS,
            "diva gets the words; no scored run of ravdess was given, which would say whether it gets how they are said",
        ),
        (
            NO_VOICE,
            "diva gives no sign of getting how they are said; no scored run of transcribe was given, which would say",
        ),
        (
            summary("ravdess", 40.0, few=True),
            "diva leaves open whether it gets how they are said: too few clusters; no",
        ),
    ],
)
def test_one_task_alone_says_which_other_is_missing(run: RunSummary, said: str) -> None:
    assert one(run).reading.startswith(said)


def test_only_runs_of_one_model_and_one_audio_condition_are_put_together() -> None:
    noisy = summary("transcribe", 90.0, audio="noise:0")
    runs = [("a", "1", WORDS), ("b", "2", VOICE), ("a", "1", NO_VOICE), ("a", "1", noisy)]
    found = hearings([Scored(*run, share(1.0), "fits") for run in runs])
    assert [(h.label, h.words and h.words.gets, h.voice and h.voice.gets) for h in found] == [
        ("a", "yes", "no"),
        ("b", None, "yes"),
        ("a (audio: noise:0)", "no", None),
    ]


@pytest.mark.parametrize("change", [{"variant": 1}, {"overrides": {"prompt": "Listen."}}, {"complete": False}])
def test_runs_of_another_wording_or_without_all_scores_are_not_used(change: dict[str, Any]) -> None:
    assert hearings([Scored("a", "1", summary("transcribe", 5.0, **change))]) == []


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_has_a_row_for_each_system_and_fits_the_screen(width: int) -> None:
    found = hearings([Scored("diva", "1", WORDS), Scored("diva", "1", NO_VOICE), Scored("other", "2", VOICE)])
    shown = table(found)
    assert [(row[0], row[3], row[6]) for row in shown.rows] == [("diva", "yes", "no"), ("other", None, "yes")]
    assert shown.notes[:2] == [h.reading for h in found]
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(shown.to_rich(width))
    assert max(len(line) for line in console.export_text().splitlines()) <= width


def test_programs_get_numbers_and_reading() -> None:
    found = hearings([Scored("diva", "1", WORDS), Scored("diva", "1", NO_VOICE), Scored("other", "2", VOICE)])
    first, second = as_records(found)
    assert first["reading"] == found[0].reading
    assert first["voice"] == {
        "task": "ravdess-1",
        "metric": "uar",
        "baseline": 12.5,
        "value": 13.0,
        "low": 11.0,
        "high": 15.0,
        "n": 1440,
        "clusters": 24,
        "gets": "no",
        "why": "",
    }
    assert second["words"] is None


# ---------------------------------------------------------------- the clips of transcribe


@pytest.mark.parametrize("edition", ["mini", "mini-v1"])
def test_transcribe_has_thirty_clips_of_every_mini_set_with_their_texts_and_clusters(edition: Edition) -> None:
    folder = ROOT / "tasks" / edition
    rows = [json.loads(line) for line in (folder / "transcribe.jsonl").read_text(encoding="utf-8").splitlines()]
    spec = Catalog().task("transcribe", edition)
    assert (len(rows), spec.data.rows) == (210, 210)
    assert set(Counter(row["set"] for row in rows).values()) == {30}
    for name in {row["set"] for row in rows}:
        lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        source = {row["id"]: row for row in map(json.loads, lines)}
        for row in (row for row in rows if row["set"] == name):
            theirs = source[row["id"]]
            assert all(row[key] == theirs[key] for key in ("audio", "text", "voice", "licence"))
            assert row["cluster"] == f"{name}-{theirs['cluster']}"
            assert (folder / row["audio"]).is_file()
    texts_and_clusters = len({row["text"] for row in rows}), len({row["cluster"] for row in rows})
    assert texts_and_clusters == {"mini-v1": (188, 188), "mini": (204, 197)}[edition]


def test_it_is_written_again_from_the_sets_and_their_script_says_where_it_is_out_of_date() -> None:
    spec = importlib.util.spec_from_file_location("make_mini", ROOT / "tasks" / "mini" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    sys.modules["make_mini"] = make
    spec.loader.exec_module(make)
    folder = make.FOLDERS["mini"]
    sets = {name: make.read_rows(folder, name) for name in make.SETS["mini"]}
    assert make.read_rows(folder, "transcribe") == make.transcribe_rows(sets)
    changed = sets | {"iemocap": [row | {"text": "Another text."} for row in sets["iemocap"]]}
    assert make.transcribe_rows(changed) != make.transcribe_rows(sets)
    few = make.transcribe_rows(sets | {"meld": sets["meld"][:4]})
    assert [row["id"] for row in few if row["set"] == "meld"] == [row["id"] for row in sets["meld"][:4]]


# ---------------------------------------------------------------- with real runs


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs of both tasks by a model without ears: 24 actors, and the clips that ship."""
    command = here(tmp_path, monkeypatch)
    twin(tmp_path / "data" / "RAVDESS", actors=24)
    for task, edition in (("ravdess", "full"), ("transcribe", "mini")):
        done = command("run", "-m", "majority", "-t", task, "--edition", edition, "--data-dir", "data")
        assert done.returncode == 0, done.stderr
    return command


def test_the_command_says_of_a_model_without_ears_that_nothing_gets_through(runs: Command, tmp_path: Path) -> None:
    folders = [str(path) for path in sorted(tmp_path.glob("results/*/majority-*"))]
    done = runs("diagnose", *folders, "--data-dir", "data")
    assert done.returncode == 0, done.stderr
    said = re.sub(r"\s+", " ", done.stdout)
    assert "does it hear how something is said, or only the words?" in said
    assert "majority gives no sign of getting the words or how they are said (transcribe wer" in said
    assert "ravdess uar 12.5 [12.5, 12.5], n 1,440, 24 clusters; without hearing: 12.5)" in said
    record = json.loads(runs("diagnose", *folders, "--data-dir", "data", "--format", "json").stdout)
    assert [(h["run"], h["words"]["gets"], h["voice"]["gets"]) for h in record["hearing"]] == [("majority", "no", "no")]
    alone = runs("diagnose", folders[0], "--data-dir", "data").stdout
    assert "no scored run of transcribe was given" in re.sub(r"\s+", " ", alone)
