"""Plots of stored runs: their titles state findings that the numbers bear out, their files are the same every time, and a plot
that cannot be drawn is explained."""

from __future__ import annotations

import itertools
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
from diva_bench.report.compare import compare
from diva_bench.report.leaderboard import AT_CHANCE
from diva_bench.report.plots import canvas, draw, training
from diva_bench.runs import Run
from diva_bench.runs.run import load_runs
from diva_bench.stats import holm
from diva_bench.tables import Score

pytest.importorskip("matplotlib", reason="the extra train is not installed")
ROOT = Path(__file__).parents[1]
MINI, NANO = ROOT / "results" / "mini-v1", ROOT / "results" / "nano"


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
        (Score(-25.0, -62.5, 0.0), "-25.0 [-62.5, 0.0]: not significant"),
        (Score(1.0, -1.0, 3.0), "+1.0 [-1.0, 3.0]: not significant"),
        (Score(1.0), "+1.0 (no interval)"),
    ],
)
def test_an_interval_with_0_shows_no_difference(score: Score, text: str) -> None:
    assert canvas.seen(score) == text


def test_findings_are_the_numbers_of_the_comparisons(place: Path, drawn: dict[str, str]) -> None:
    assert set(drawn) == {"accents", "languages", "forest", "recogniser"}
    assert drawn["accents"] == (
        "sdqa (mini-v1): the largest gap is that of diva, hindi minus usa, -25.0 [-62.5, 0.0]: not significant"
    )
    scores = {
        model: [s.metrics["bleu"].value for s in collect(place / "results") if s.model == model and "covost2" in s.task]
        for model in ("oracle", "diva")
    }
    mean = (sum(scores["diva"]) - sum(scores["oracle"])) / 2
    assert f"mean of 2 languages: diva minus oracle is {mean:+.1f} [" in drawn["languages"]
    assert re.match(
        r"mini-v1: (\d of 6 differences from diva (is|are) significant \(Holm\): \d below 0, \d above 0|none of 6 )",
        drawn["forest"],
    )
    assert re.search(
        r"significantly lower score than clips without for \d of \d pairs of task and model", drawn["recogniser"]
    )


def below(plot: canvas.Plot) -> str:
    """The lines below the axes, as one."""
    return " ".join(plot.figure.get_supxlabel().split())


def test_baselines_alone_have_no_profile(place: Path, tmp_path: Path) -> None:
    for task in (place / "results").glob("sdqa-*"):
        shutil.copytree(task, tmp_path / task.name, ignore=shutil.ignore_patterns("diva-*", "cascade-*", "oracle-*"))
    runs = load_runs([tmp_path])
    assert {run.model for run in runs} == {"majority", "prior"}
    assert list(draw.accents(draw.Study(runs, Catalog(), None))) == []


def test_models_that_are_not_drawn_are_named_with_the_reason(place: Path) -> None:
    study = draw.Study(load_runs([place / "results"]), Catalog(), "diva")
    (accents,), (languages,), (forest,) = draw.accents(study), draw.languages(study), draw.forest(study)
    assert below(accents) == "a baseline, not drawn: majority, prior"
    assert below(languages) == f"at chance in a language, not drawn: majority, prior {AT_CHANCE}"
    assert re.search(r"not drawn, and not tested: (majority, prior|prior, majority)$", below(forest))
    (curves,) = training.curves(NANO.parent)
    assert below(curves) == "not drawn: mlp, released, together"


@pytest.mark.parametrize(
    ("names", "weak", "drawn", "lines"),
    [
        ("abc", "b", "ac", ["at chance, not drawn: b"]),
        ("ab", "ab", "ab", ["at chance: a, b"]),
        ("abcdefghi", "", "abcdefg", ["not drawn: h, i"]),
        ("abcdefghi", "bi", "acdefgh", ["at chance, not drawn: b, i"]),
        ("ab", "", "ab", []),
    ],
)
def test_models_at_chance_are_drawn_only_if_there_are_no_others(
    names: str, weak: str, drawn: str, lines: list[str]
) -> None:
    assert draw._chosen(list(names), {"at chance": set(weak)}) == (list(drawn), lines)


@pytest.mark.parametrize(
    ("primary", "baselines", "best"),
    [("bleu", (3.0, 5.0), 5.0), ("wer", (90.0, 100.0), 90.0), ("bleu", (None, 4.0), 4.0), ("bleu", (None, None), None)],
)
def test_the_best_baseline_of_an_error_rate_is_the_lowest_and_an_unknown_one_is_none(
    tmp_path: Path, primary: str, baselines: tuple[float | None, ...], best: float | None
) -> None:
    for model, baseline in zip(("a", "b"), baselines, strict=True):
        run(tmp_path, model, 20.0, primary=primary, baseline=baseline)
    assert draw._baseline(collect(tmp_path)) == best


def test_no_text_of_a_plot_lies_over_another_or_outside(tmp_path: Path) -> None:
    source = next(MINI.glob("urfunny-*"))  # two labels: the smallest figure, with the longest legend
    shutil.copytree(source, tmp_path / source.name)
    (plot,) = draw.confusions(draw.Study(load_runs([tmp_path]), Catalog()))
    plot.save(tmp_path, ["png"])
    figure: Any = plot.figure
    figure.draw_without_rendering()
    texts = [figure._suptitle, figure._supxlabel, *(axis.title for axis in figure.axes)]
    texts += [label for axis in figure.axes for label in axis.get_xticklabels()]
    boxes = [text.get_window_extent() for text in texts]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not [one for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]


def test_forest_tests_what_is_drawn_with_the_p_values_of_compare(tmp_path: Path) -> None:
    for name in ("mustard", "urfunny"):
        source = next(MINI.glob(f"{name}-*"))
        shutil.copytree(source, tmp_path / source.name)
    study = draw.Study(load_runs([tmp_path]), Catalog(), "diva")
    (plot,) = draw.forest(study)
    panels = plot.figure.axes
    assert sorted(axis.get_title() for axis in panels) == ["cascade", "oracle"], "no baselines"
    sheets = [sheet for view in study.views if (sheet := study.read(view)[1])]
    ps = {}
    for sheet in sheets:
        pairs = compare(sheet, [sheet.task.primary]).pairs
        named = {(sheet.names[pair.first], sheet.names[pair.second]): pair for pair in pairs}
        for model in ("cascade", "oracle"):
            pair = named.get((model, "diva")) or named["diva", model]
            assert pair.clustered.p >= pair.by_cluster.p, "few samples differ, for which the bootstrap is too sure"
            ps[model, sheet.task.name] = pair.clustered.p
    filled = [line for axis in panels for line in axis.lines if line.get_markerfacecolor() not in ("white", "None")]
    marked = [line for line in filled if line.get_marker() == "o"]
    assert len(marked) == sum(p < 0.05 for p in holm(list(ps.values())))
    counted = (
        f"{len(marked)} of 4 differences from diva" if marked else "none of 4 differences from diva is significant"
    )
    assert counted in plot.finding
    assert "over the 4 differences here" in below(plot)


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


def test_cases_of_the_recogniser_are_those_that_can_be_counted_in_the_plot() -> None:
    few = [("none", Score(80.0, 70.0, 90.0), 20), ("over 20 %", Score(10.0, 0.0, 20.0), 8)]
    same = [("none", Score(80.0, 70.0, 90.0), 20), ("over 20 %", Score(75.0, 60.0, 90.0), 8)]
    plot = draw._errors("mini", [("sdqa", "contains", [("cascade", few), ("diva", same)])])
    assert "for 1 of 2 pairs of task and model (filled)" in plot.finding
    assert "that of cascade at sdqa: clips with word errors over 20 % minus clips with none" in plot.finding
    points = [line for line in plot.figure.axes[0].lines if line.get_marker() in "os" and len(line.get_xdata())]
    filled = [line.get_markerfacecolor() != "white" for line in points]
    assert (filled.count(True), filled.count(False)) == (2, 2), "both points of the one pair"


def test_a_confusion_is_said_in_words_and_at_chance_is_explained(tmp_path: Path) -> None:
    source = next(MINI.glob("meld-*"))
    shutil.copytree(source, tmp_path / source.name)
    for name in ("oracle", "diva"):
        shutil.rmtree(next((tmp_path / source.name).glob(f"{name}-*")))
    (plot,) = draw.confusions(draw.Study(load_runs([tmp_path]), Catalog()))
    assert re.search(r"\(at chance\); it answers '\w+' for \d+ of \d+ clips labelled '\w+'$", plot.finding)
    assert AT_CHANCE in " ".join(plot.figure.get_supxlabel().split())


def test_a_bundle_is_drawn_as_its_runs_are(tmp_path: Path) -> None:
    shutil.copytree(next(MINI.glob("mustard-*")), tmp_path / "results" / next(MINI.glob("mustard-*")).name)
    assert call(tmp_path, "bundle", "results", "-o", "b.zip").returncode == 0
    for place in ("results", "b.zip"):
        done = call(tmp_path, "plot", place, "-o", place + "-plots", "-k", "confusion", "--format", "svg")
        assert done.returncode == 0, done.stderr
    (one,), (other,) = ((tmp_path / f"{place}-plots").iterdir() for place in ("results", "b.zip"))
    assert one.read_bytes() == other.read_bytes()


# ---------------------------------------------------------------- noise and training, from records


def test_the_finding_about_noise_is_the_largest_change_also_of_an_error_rate(tmp_path: Path) -> None:
    for model, values in (("loud", (90.0, 70.0)), ("fine", (2.0, 60.0))):
        for number, (audio, value) in enumerate(zip((None, "snr=0"), values, strict=True), start=1):
            run(tmp_path, model, value, f"transcribe-{str(number) * 6}", audio=audio, primary="wer")
    (plot,) = draw.noise(draw.Study([Run(s.folder, s) for s in collect(tmp_path)], Catalog()))
    assert plot.finding.startswith("transcribe (mini): at 0 dB wer of fine changes by +58.0 [")
    assert plot.finding.endswith("], the largest change of 2 models")


def test_noise_is_drawn_from_runs_with_a_ratio(tmp_path: Path) -> None:
    for audio, value in ((None, 40.0), ("snr=20", 38.0), ("snr=0", 10.0), ("silence", 1.0)):
        number = {None: "1", "snr=20": "2", "snr=0": "3", "silence": "4"}[audio] * 6
        run(tmp_path, "diva", value, f"covost2-de-{number}", audio=audio)
    runs = [Run(s.folder, s) for s in collect(tmp_path)]
    (plot,) = draw.noise(draw.Study(runs, Catalog()))
    assert plot.finding == "covost2-de (mini): at 0 dB bleu of diva changes by -30.0 [-34.2, -25.8]"
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
