"""Plots of stored runs: their titles state findings that the numbers bear out, their files are the same every time, and a plot
that cannot be drawn is explained."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from command_line import call
from stored import collect
from test_leaderboard import run

from diva_bench.catalog import Catalog
from diva_bench.cli.plot import KINDS
from diva_bench.errors import StoreError
from diva_bench.report.plots import canvas, draw, training
from diva_bench.runs import Run
from diva_bench.tables import Score

pytest.importorskip("matplotlib", reason="the extra train is not installed")
ROOT = Path(__file__).parents[1]
MINI, NANO = ROOT / "results" / "mini", ROOT / "results" / "nano"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published runs of three tasks, as `results`."""
    folder = tmp_path_factory.mktemp("plots")
    for name in ("sdqa", "covost2-de", "covost2-ja"):
        source = next(MINI.glob(f"{name}-*"))
        shutil.copytree(source, folder / "results" / source.name)
    return folder


@pytest.fixture(scope="module")
def drawn(place: Path) -> dict[str, str]:
    """Kind -> finding, of the plots that the command draws as SVG."""
    done = call(
        place, "plot", "results", "-o", "out", "--format", "svg", "--kind", "accents,languages,forest,recogniser"
    )
    assert done.returncode == 0, done.stderr
    lines = [line.partition(": ") for line in done.stdout.splitlines()]
    return {Path(file).stem.partition("-")[0]: finding for file, _, finding in lines}


# ---------------------------------------------------------------- findings


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (Score(-4.2, -8.3, -0.5), "-4.2 [-8.3, -0.5]"),
        (Score(3.0, 0.1, 6.0), "+3.0 [0.1, 6.0]"),
        (Score(-25.0, -62.5, 0.0), "-25.0 [-62.5, 0.0]: no difference can be seen"),
        (Score(1.0, -1.0, 3.0), "+1.0 [-1.0, 3.0]: no difference can be seen"),
        (Score(1.0), "+1.0 (no interval)"),
    ],
)
def test_an_interval_with_0_shows_no_difference(score: Score, text: str) -> None:
    assert canvas.seen(score) == text


def test_findings_are_the_numbers_of_the_comparisons(place: Path, drawn: dict[str, str]) -> None:
    assert set(drawn) == {"accents", "languages", "forest", "recogniser"}
    assert drawn["accents"] == (
        "sdqa (mini): the largest gap is that of diva, hindi minus usa, -25.0 [-62.5, 0.0]: no difference can be seen"
    )
    scores = {
        model: [s.metrics["bleu"].value for s in collect(place / "results") if s.model == model and "covost2" in s.task]
        for model in ("oracle", "diva")
    }
    mean = (sum(scores["diva"]) - sum(scores["oracle"])) / 2
    assert f"mean of 2 languages: diva minus oracle is {mean:+.1f} [" in drawn["languages"]
    assert re.search(
        r"of 6 differences from diva, \d below 0 and \d above 0 stand after Holm's correction", drawn["forest"]
    )
    assert "score than clips without" in drawn["recogniser"]


def test_svg_is_the_same_every_time_and_has_its_size(place: Path, drawn: dict[str, str]) -> None:
    first = sorted((place / "out").glob("*.svg"))
    call(place, "plot", "results", "-o", "again", "--format", "svg", "--kind", "accents")
    (again,) = (place / "again").iterdir()
    assert again.read_bytes() == (place / "out" / again.name).read_bytes()
    for file in first:
        root = ElementTree.fromstring(file.read_text())
        assert root.tag.endswith("svg")
        assert file.stat().st_size < 300_000
        assert "<dc:date>" not in file.read_text()


# ---------------------------------------------------------------- noise and training, from records


def test_noise_is_drawn_from_runs_with_a_ratio(tmp_path: Path) -> None:
    for audio, value in ((None, 40.0), ("snr=20", 38.0), ("snr=0", 10.0), ("silence", 1.0)):
        number = {None: "1", "snr=20": "2", "snr=0": "3", "silence": "4"}[audio] * 6
        run(tmp_path, "diva", value, f"covost2-de-{number}", audio=audio)
    runs = [Run(s.folder, s) for s in collect(tmp_path)]
    (plot,) = draw.noise(draw.Study(runs, Catalog()))
    assert plot.finding.startswith("covost2-de (mini): at 0 dB diva changes by -30.0 [-34.2, -25.8] bleu")
    (axis,) = plot.figure.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "20", "no noise"]
    assert axis.get_xlabel() == "signal-to-noise ratio, dB"
    assert axis.get_ylabel() == "bleu (95 % interval)"


@pytest.mark.parametrize(
    ("audio", "ratio"),
    [
        (None, float("inf")),
        ("10", 10.0),
        ("snr=5", 5.0),
        ("-5", -5.0),
        ("silence", None),
        ("speed=0.9", None),
        ("rain", None),
    ],
)
def test_ratios_are_read_from_conditions(audio: str | None, ratio: float | None) -> None:
    assert draw._ratio(audio) == ratio


def test_training_plots_have_the_last_values_of_the_records() -> None:
    (curves,) = training.curves(NANO.parent)
    (cost,) = training.costs(NANO.parent)
    last = [json.loads(path.read_text())["curve"][-1] for path in sorted((NANO / "training").glob("kl-s*.json"))]
    mean = sum(point["dev_nearest"] for point in last) / len(last)
    assert f"kl {mean:.1f} ±" in curves.finding
    assert cost.finding.startswith("nano: align_only needs 50 % of the operations of align_first")
    assert [axis.get_xlabel() for axis in cost.figure.axes] == ["operations of the training, TFLOP (ledger)"] * 2
    assert all(axis.get_ylabel() for axis in (*curves.figure.axes, *cost.figure.axes))


def test_a_damaged_curve_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    for name, curve in (
        ("a-s0", "none"),
        ("b-s0", [1, {"dev_nearest": "much"}, {"dev_nearest": float("nan"), "flops": 1.0}]),
    ):
        (tmp_path / "training" / f"{name}.json").write_text(json.dumps({"curve": curve}))
    assert list(training.curves(tmp_path)) == []


# ---------------------------------------------------------------- the command


MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("--kind", "acents"), "unknown kind 'acents' in plots. Did you mean 'accents'?"),
    (("nowhere",), "nowhere: no such folder. Give the folder that `diva-bench run --output` wrote to."),
    (("-o", "file"), "--output file: cannot be made"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES)
def test_a_mistake_is_named(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "file").write_text("")
    done = call(tmp_path, "plot", *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_plot_without_data_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    done = call(tmp_path, "plot")
    assert done.returncode == 1
    for kind, needs in KINDS.items():
        assert f"{kind}: nothing to draw; {needs}." in done.stderr


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    figure, _ = canvas.axes("nothing", 2, 2)
    (tmp_path / "x.svg").mkdir()
    with pytest.raises(StoreError, match=r"x\.svg: cannot be written"):
        canvas.Plot("x", "nothing", figure).save(tmp_path, ["svg"])


def test_matplotlib_is_loaded_only_for_plots_and_its_lack_is_explained(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; from diva_bench.report.plots import canvas, draw, training\n"
        "try:\n    canvas.check()\nexcept Exception as err:\n    print(err)"
    )
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "drawing needs matplotlib: pip install 'diva-bench[train]'.\n"
