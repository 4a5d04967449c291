"""`compare` on run folders that the import command made, and what it prints."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_runs import QUESTIONS, command, copied, imported, lined, run_of, table
from scoring import said, sample

from diva_bench.catalog import Catalog
from diva_bench.cli.compare import compare_command
from diva_bench.errors import StoreError, UnknownName, UserError
from diva_bench.report.compare import (
    chosen,
    compare,
    differences_table,
    groups_tables,
    most,
    scores_table,
)
from diva_bench.runs import Run
from diva_bench.runs.aligned import Sheet, sheet
from diva_bench.runs.store import RunFolder
from diva_bench.scorers.adherence import Adherence
from diva_bench.stats import FEW_NOTE
from diva_bench.tables import Score, cut_to
from diva_bench.types import Silent


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported(tmp_path_factory.mktemp("compare"))


# ---------------------------------------------------------------- what is compared


def test_runs_are_lined_up_by_sample_with_their_clusters_groups_and_references(results: Path) -> None:
    found = lined(results, "good", "bad")
    assert list(found.names) == ["good", "bad"]
    assert list(found.ids) == [row["id"] for row in table()]
    assert list(found.clusters) == [row["cluster"] for row in table()]
    assert found.groups == {"voice": ["a", "b"] * QUESTIONS}
    assert found.references[3] == ["answer 1", "another"]
    assert not found.single_clusters
    assert dict(found.metrics) == {"contains": "qa", "em": "qa", "f1": "qa"}


def test_scores_of_an_older_version_take_clusters_and_references_from_the_data(results: Path, tmp_path: Path) -> None:
    old = copied(results, tmp_path, "good")
    lines = [json.loads(line) for line in (old / "scores.jsonl").read_text().splitlines()]
    older = [{k: v for k, v in line.items() if k not in ("cluster", "groups", "references")} for line in lines]
    (old / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in older))
    other = copied(results, tmp_path, "bad")
    assert (
        sheet([Run.open(old), Run.open(other)], Catalog([results]), Silent()).clusters
        == lined(results, "good", "bad").clusters
    )


def test_a_comparison_of_two_runs_is_what_their_rows_say(results: Path) -> None:
    found = compare(lined(results, "good", "bad"), ["contains"])
    (pair,) = found.pairs
    ours, theirs = (
        np.array([float(a) for a in [row["qa"].get("qa.contains", 0) for row in rows.values()]])
        for rows in (RunFolder(run_of(results, name)).scores()[1] for name in ("good", "bad"))
    )
    assert pair.clustered.value == pytest.approx(100 * (ours - theirs).mean())
    assert pair.mcnemar is not None
    assert (pair.mcnemar.first, pair.mcnemar.second) == (int((ours > theirs).sum()), int((ours < theirs).sum()))
    assert (pair.clustered.clusters, pair.alone.clusters) == (QUESTIONS, 2 * QUESTIONS)
    assert pair.clustered.p < 0.01
    assert pair.by_cluster.p < 0.01
    assert (pair.sacrebleu, pair.few) == (None, None)
    assert found.adjusted == [pair.clustered.p]


def cut(found: Sheet, count: int) -> Sheet:
    """The first samples of a sheet, two to a cluster."""
    fewer = [{name: rows[:count] for name, rows in of_run.items()} for of_run in found.rows]
    groups = {name: values[:count] for name, values in found.groups.items()}
    less = {"ids": found.ids[:count], "clusters": found.clusters[:count], "references": found.references[:count]}
    return replace(found, rows=fewer, groups=groups, **less)


@pytest.mark.parametrize(("clusters", "few"), [(19, True), (20, False)])
def test_below_20_clusters_a_difference_has_a_jackknife_interval_and_a_warning(
    results: Path, clusters: int, few: bool
) -> None:
    found = compare(cut(lined(results, "good", "bad"), 2 * clusters), ["contains"])
    (pair,) = found.pairs
    assert (pair.few is not None) is few
    warned = [
        any("intervals are too narrow" in note for note in t(found).notes) for t in (scores_table, differences_table)
    ]
    assert warned == [few, few]


@pytest.mark.parametrize(("clusters", "star"), [(4, False), (5, False), (6, True)])
def test_few_clusters_get_a_star_only_where_swaps_of_clusters_agree(results: Path, clusters: int, star: bool) -> None:
    """The first run has every answer of the first samples right, the other none: each bootstrap resample says so, too."""
    sheet = cut(lined(results, "good", "bad"), 2 * clusters)
    parts = ("qa.contains", "qa.em", "qa.f1")
    answers = [[{"qa.n": 1.0} | dict.fromkeys(parts, hit)] * (2 * clusters) for hit in (1.0, 0.0)]
    found = differences_table(compare(replace(sheet, rows=[{"qa": one} for one in answers]), ["contains"]))
    (row,) = found.rows
    cells = dict(zip((column.name for column in found.columns), row, strict=True))
    assert cells["p"] == cells["p (Holm)"] == pytest.approx(2 / 2**clusters)
    assert isinstance(cells["difference"], Score)
    assert cells["difference"].mark == ("† " if star else "")
    assert FEW_NOTE in found.notes


@pytest.mark.parametrize(("clusters", "has_interval"), [(4, False), (5, True)])
def test_a_group_of_fewer_than_5_clusters_has_no_interval(results: Path, clusters: int, has_interval: bool) -> None:
    found = compare(cut(lined(results, "good", "bad"), 2 * clusters), ["contains"])
    table = groups_tables(found, {})[0]
    assert [row[:4] for row in table.rows] == [["voice", "a", clusters, clusters], ["voice", "b", clusters, clusters]]
    assert {cell.low is not None for row in table.rows for cell in row[4:]} == {has_interval}


def test_metrics_of_how_a_model_answers_are_compared_where_they_are_named(results: Path) -> None:
    found = lined(results, "good", "bad")
    asked = replace(found, scorers={**found.scorers, "adherence": Adherence(found.task)})
    texts = [sample(id=i) for i in found.ids]
    rows = [asked.scorers["adherence"].measure(s, said("Oslo.")) for s in texts]
    asked = replace(asked, rows=[{**of_run, "adherence": rows} for of_run in asked.rows])
    assert asked.metrics["refused"] == "adherence"
    assert chosen(asked, []) == chosen(found, []) == ["contains", "em", "f1"]
    assert chosen(asked, ["refused"]) == ["refused"]


def test_more_than_two_runs_are_compared_two_by_two_by_the_primary_metric_as_one_family(results: Path) -> None:
    found = lined(results, "good", "middle", "bad")
    assert chosen(found, []) == ["contains"]
    assert chosen(lined(results, "good", "bad"), []) == ["contains", "em", "f1"]
    compared = compare(found, ["contains"])
    assert [(p.first, p.second) for p in compared.pairs] == [(0, 1), (0, 2), (1, 2)]
    raw = [p.clustered.p for p in compared.pairs]
    assert compared.adjusted[1] == pytest.approx(3 * min(raw))
    table = differences_table(replace(compared, adjusted=[0.01, 0.2, 0.049]))
    assert [next(cell.mark for cell in row if isinstance(cell, Score)) for row in table.rows] == ["† ", "", "† "]
    assert compared.ranks["contains", 0] == (1, 1)
    assert compared.ranks["contains", 2] == (3, 3) or compared.ranks["contains", 2] == (2, 3)


@pytest.mark.parametrize(
    ("parts", "count", "places"),
    [
        ([0.5, -0.2, 0.1, -0.9, 0.0], 4, [0, 2, 3, 1]),
        ([0.5, 0.4, 0.3, 0.2], 3, [0, 1, 2]),
        ([0.5, -0.4, -0.3, -0.2], 4, [0, 1, 2, 3]),
        ([0.0, 0.0], 4, []),
    ],
)
def test_the_samples_that_differ_most_are_of_both_sides(parts: list[float], count: int, places: list[int]) -> None:
    assert most(np.array(parts), count) == places


def test_texts_are_put_on_one_line_and_cut_where_asked() -> None:
    assert cut_to("a long\n answer", 8) == "a long…"
    assert cut_to("a long\n answer", None) == "a long answer"
    assert cut_to("short", 5) == "short"
    assert cut_to("今天火车会晚到", 8) == "今天火…"  # a character takes two columns


# ---------------------------------------------------------------- the command


def tables(folder: Path, *words: str) -> dict[str, dict[str, Any]]:
    done = command(folder, "compare", *words, "--path", ".", "--format", "json")
    assert done.returncode == 0, done.stderr
    return {one["title"].split(":")[0]: one for one in json.loads(done.stdout)}


def test_the_command_prints_scores_differences_tests_groups_gaps_and_samples(results: Path) -> None:
    runs = [str(run_of(results, name)) for name in ("good", "bad")]
    found = tables(results, *runs, "--items", "4")
    assert list(found)[1:] == ["differences", "tests", "contains by group", "contains", "samples that differ most"]
    scores, differences, tests, groups, gaps, samples = found.values()
    assert [row["model"] for row in scores["rows"]] == ["good", "bad"] * 3
    assert "60 samples in 30 clusters, the largest has 3.3 % of them" in scores["notes"]
    first = differences["rows"][0]
    assert first["difference"]["low"] > 0
    assert first["p"] <= first["p (Holm)"] <= 3 * first["p"]
    assert first["detectable"] > 0
    assert tests["rows"][0]["McNemar"] < 0.01
    assert tests["rows"][2]["McNemar"] is None  # f1 is no share of right answers
    assert [(row["value"], row["n"]) for row in groups["rows"]] == [("a", 30), ("b", 30)]
    assert [row["gap"] for row in gaps["rows"]] == ["b - a"]
    assert gaps["rows"][0]["bad"]["value"] < 0
    assert len(samples["rows"]) == 4
    assert samples["rows"][0] | {"id": "", "adds": 0} == {
        "id": "", "adds": 0, "reference": samples["rows"][0]["reference"],
        "good": samples["rows"][0]["reference"].split(" / ")[0], "bad": "the answer is unknown",
    }  # fmt: skip


def test_the_reference_of_a_gap_can_be_named(results: Path) -> None:
    runs = [str(run_of(results, name)) for name in ("good", "bad")]
    found = tables(results, *runs, "--reference", "voice=b", "--metric", "f1", "--items", "0")
    assert [row["gap"] for row in found["f1"]["rows"]] == ["a - b"]
    assert "samples that differ most" not in found


@pytest.mark.parametrize("format", ["rich", "md", "csv", "latex"])
@pytest.mark.parametrize("names", [("good", "bad"), ("good", "middle", "bad")])
def test_every_format_can_be_had_and_80_columns_are_enough(results: Path, format: str, names: tuple[str, ...]) -> None:
    runs = [str(run_of(results, name).relative_to(results)) for name in names]
    more = ["--all-tables"] if format == "csv" else []
    done = command(results, "compare", *runs, "--path", ".", "--format", format, *more, width=80)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the answer" in done.stdout
    if format == "csv":
        assert next(csv.reader(io.StringIO(done.stdout)))[:2] == ["metric", "model"]
    if format == "md":
        assert len(re.findall(r"^### ", done.stdout, re.M)) == 6
        assert "\n\n\n" not in done.stdout


def test_the_same_runs_print_the_same_bytes(results: Path) -> None:
    words = ("compare", *(str(run_of(results, name)) for name in ("good", "bad")), "--path", ".")
    assert command(results, *words).stdout == command(results, *words).stdout


# ---------------------------------------------------------------- what is refused


def compare_runs(paths: list[Path], results: Path, **more: Any) -> int:
    return compare_command(paths, more.get("metrics", []), 0, more.get("references", []), "json", [results])


def test_one_run_and_the_same_run_twice_are_refused(results: Path) -> None:
    run = run_of(results, "good")
    with pytest.raises(UserError, match="compare needs two runs or more, got 1"):
        compare_runs([run], results)
    with pytest.raises(UserError, match="a run is given twice"):
        compare_runs([run, run / ".." / run.name], results)


def test_folders_that_are_no_judged_complete_run_are_refused(results: Path, tmp_path: Path) -> None:
    good, spoilt = run_of(results, "good"), copied(results, tmp_path, "bad")
    with pytest.raises(StoreError, match=r"is not a run folder: it has none of a run's files. Give folders"):
        compare_runs([good, results], results)
    summary = json.loads((spoilt / "summary.json").read_text())
    (spoilt / "summary.json").write_text(json.dumps(summary | {"complete": False, "reason": "3 failed"}))
    with pytest.raises(StoreError, match="is not complete: 3 failed of 60"):
        compare_runs([good, spoilt], results)
    (spoilt / "summary.json").unlink()
    with pytest.raises(StoreError, match=r"is not scored. Run `diva-bench score .*bad-"):
        compare_runs([good, spoilt], results)


def test_runs_of_other_questions_samples_or_judgings_are_refused(results: Path, tmp_path: Path) -> None:
    good, spoilt = run_of(results, "good"), copied(results, tmp_path, "bad")
    lines = (spoilt / "scores.jsonl").read_text().splitlines(keepends=True)
    (spoilt / "scores.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(StoreError, match=r"scores.jsonl has 59 samples and summary.json says 60"):
        compare_runs([good, spoilt], results)
    summary = json.loads((spoilt / "summary.json").read_text())
    (spoilt / "summary.json").write_text(json.dumps(summary | {"scored": 59}))
    with pytest.raises(UserError, match=r"do not have the same samples: 1 only in .*good-\w+ \(q059\)"):
        compare_runs([good, spoilt], results)
    (spoilt / "summary.json").write_text(json.dumps(summary | {"signature": {"qa": "qa|norm:other"}}))
    with pytest.raises(UserError, match="were scored with different settings or versions of the scorers"):
        compare_runs([good, spoilt], results)


def test_runs_of_other_questions_are_refused_and_what_differs_is_said(results: Path, tmp_path: Path) -> None:
    good, specs = run_of(results, "good"), tmp_path / "specs"
    shutil.copytree(results, specs, ignore=shutil.ignore_patterns("results"))
    task = (specs / "toy.yaml").read_text()
    (specs / "toy.yaml").write_text(task.replace("prompt: Say {what}.", "prompt: Say nothing."))
    asked = ("import", "bad.jsonl", "--task", "toy", "--model-name", "bad", "--edition", "mini", "--path", ".")
    assert command(specs, *asked, "--output", "results").returncode == 0
    with pytest.raises(UserError, match=r"are not comparable: .*prompt 'Say \{what\}.' and 'Say nothing.'"):
        compare_runs([good, run_of(specs, "bad")], results)
    changed = task.replace("Say {what}.", "Say it slowly, " * 9).replace("name: toy", "name: long")
    (specs / "long.yaml").write_text(f"{changed}decode: {{max_new_tokens: 9}}\n")
    asked = [word.replace("toy", "long") for word in asked]
    assert command(specs, *asked, "--output", "others").returncode == 0
    (other,) = (path.parent for path in specs.glob("others/*/*/run.json"))
    with pytest.raises(UserError) as told:
        compare_runs([good, other], results)
    text = str(told.value)
    assert "are not comparable: name 'toy' and 'long'; " in text
    assert "; another prompt" in text
    assert "decode.max_new_tokens 64 and 9" in text
    assert "{" not in text
    assert text.endswith(". Only runs of one task folder can be compared sample by sample.")


def test_runs_judged_by_other_scorers_than_there_are_now_are_refused(results: Path, tmp_path: Path) -> None:
    runs = [copied(results, tmp_path, name) for name in ("good", "bad")]
    for run in runs:
        for name in ("summary.json", "scores.jsonl"):
            text = (run / name).read_text()
            (run / name).write_text(text.replace("norm:squad.", "norm:older."))
    with pytest.raises(StoreError, match=r"was scored by another version .* \(qa\|norm:older\."):
        compare_runs(runs, results)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"metrics": ["contain"]}, "unknown metric 'contain' in the runs of toy-.*Did you mean 'contains'"),
        ({"references": ["voice"]}, "--reference 'voice' is not GROUP=VALUE, such as accent=usa"),
        ({"references": ["voices=a"]}, "unknown group 'voices' in task toy. Did you mean 'voice'"),
        ({"references": ["voice=c"]}, "unknown voice 'c' in task toy.* Available: a, b"),
    ],
)
def test_wrong_options_are_named(results: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises((UnknownName, UserError), match=message):
        compare_runs([run_of(results, "good"), run_of(results, "bad")], results, **more)


def test_what_the_user_can_mend_has_exit_code_2(results: Path) -> None:
    done = command(results, "compare", str(run_of(results, "good")), "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("diva-bench: nowhere: no such folder. Give folders such as results/<task>/<run>")
