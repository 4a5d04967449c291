"""From run folders to leaderboard tables: what is comparable, what is ranked, what is said beside the number."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from stored import collect

from diva_bench.errors import StoreError, UserError
from diva_bench.report.leaderboard import AT_CHANCE, leaderboard, page, screen
from diva_bench.runs.records import of_tasks, synthetic_note
from diva_bench.tables import Score, Table

SIGNATURE = "bleu|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"


def run(
    results: Path,
    model: str = "diva",
    value: float = 22.4,
    task_id: str = "covost2-de-4be1f0",
    edition: str = "mini",
    model_edition: str | None = "mini",
    **changes: Any,
) -> Path:
    """Write one run folder; `changes` to its summary.json."""
    label = model if model_edition != "nano" else f"{model}-nano"
    folder = results / task_id / f"{label}-{changes.pop('hash', '9c2d71')}"
    folder.mkdir(parents=True)
    task, primary = task_id.rpartition("-")[0], changes.get("primary", "bleu")
    few = {"clusters": changes.get("clusters", 48), "few_clusters": changes.get("clusters", 48) < 20}
    main = {"value": value, "low": value - 3, "high": value + 3, "n": 48, "higher_is_better": primary != "wer", **few}
    record = {
        "task": {"name": task, "edition": edition, "primary": primary, "prompt": "Translate."},
        "model": {"name": model, "edition": model_edition, "runtime": {"dtype": "float32", "device": "cpu"}},
        "limit": changes.get("limit"),
        "seed": 0,
    }
    (folder / "run.json").write_text(json.dumps(record))
    summary = {
        "task": task,
        "task_id": task_id,
        "run_id": folder.name,
        "model": model,
        "edition": edition,
        "model_edition": model_edition,
        "dtype": "float32",
        "limit": None,
        "seed": 0,
        "primary": primary,
        "repeatable": True,
        "n": 48,
        "scored": 48,
        "clusters": 48,
        "errors": 0,
        "unsupported": 0,
        "unparsed": None,
        "complete": True,
        "reason": "",
        "data_faults": [],
        "signature": {"bleu": SIGNATURE},
        "metrics": {primary: main, "chrf2": main | {"value": 40}},
        "groups": {"voice": {"bf_lily": {"n": 12, "bleu": 21.0}}},
        "baseline": 0.3,
        "at_chance": False,
    }
    (folder / "summary.json").write_text(json.dumps(summary | changes))
    return folder


def column(table: Table, name: str) -> list[Any]:
    return [row[[c.name for c in table.columns].index(name)] for row in table.rows]


def only(results: Path) -> Table:
    (table,) = leaderboard(collect(results))
    return table


# ---------------------------------------------------------------- ranking


def test_runs_are_ranked_by_the_primary_metric_with_its_interval(tmp_path: Path) -> None:
    for model, value in (("echo", 1.5), ("diva", 22.4), ("oracle", 31.0)):
        run(tmp_path, model, value)
    table = only(tmp_path)
    assert column(table, "#") == [1, 2, 3]
    assert column(table, "model") == ["oracle", "diva", "echo"]
    assert column(table, "bleu")[1] == Score(22.4, 22.4 - 3, 22.4 + 3)
    assert column(table, "n") == [48] * 3
    assert column(table, "chrf2") == [40.0] * 3
    assert SIGNATURE in table.notes
    assert "bleu of a constant answer: 0.3" in table.notes


def test_of_error_rates_the_lowest_is_first(tmp_path: Path) -> None:
    run(tmp_path, "a", 30, primary="wer")
    run(tmp_path, "b", 10, primary="wer")
    table = only(tmp_path)
    assert column(table, "model") == ["b", "a"]
    assert table.notes[0].endswith("lower is better")


def test_equal_values_share_a_rank(tmp_path: Path) -> None:
    for model, value in (("a", 5), ("b", 7), ("c", 5), ("d", 1)):
        run(tmp_path, model, value)
    assert column(only(tmp_path), "#") == [1, 2, 2, 4]


def test_incomplete_runs_stand_below_unranked_with_the_reason(tmp_path: Path) -> None:
    run(tmp_path, "best", 99, complete=False, reason="43 of 48 answered", scored=43, errors=5)
    run(tmp_path, "diva", 22)
    table = only(tmp_path)
    assert column(table, "model") == ["diva", "best"]
    assert column(table, "#") == [1, None]
    assert column(table, "bleu")[1] is None
    assert column(table, "remarks")[1] == "not ranked: 43 of 48 answered"
    assert (column(table, "n")[1], column(table, "errors")[1]) == (43, 5)


def test_a_run_that_is_still_being_asked_is_listed(tmp_path: Path) -> None:
    folder = run(tmp_path)
    (folder / "summary.json").unlink()
    table = only(tmp_path)
    remark = f"not ranked: not scored yet: `diva-bench score {folder}` scores the answers that there are"
    assert column(table, "remarks") == [remark]
    assert table.notes == []


def test_a_run_judged_by_another_primary_metric_is_not_ranked(tmp_path: Path) -> None:
    run(tmp_path, "a")
    run(tmp_path, "b", 21)
    run(tmp_path, "c", primary="chrf++")
    table = only(tmp_path)
    assert column(table, "#") == [1, 2, None]
    assert column(table, "remarks")[2] == "not ranked: no value for bleu; its primary metric is chrf++"


def test_a_complete_run_without_a_value_is_not_ranked(tmp_path: Path) -> None:
    run(tmp_path, metrics={})
    assert column(only(tmp_path), "#") == [None]


def test_doubts_are_said_in_the_row_and_explained_below(tmp_path: Path) -> None:
    run(tmp_path, "a", 3, at_chance=True, clusters=12)
    run(tmp_path, "b", 2, repeatable=False, data_faults=[{"id": "x", "reason": "empty"}], unsupported=2, unparsed=5)
    table = only(tmp_path)
    assert column(table, "remarks") == ["at chance, 12 clusters", "not repeatable, data faults: 1"]
    assert (column(table, "unsupported")[1], column(table, "unparsed")[1]) == (2, 5)
    for start in ("at chance: ", "fewer than 20 clusters: ", "not repeatable: "):
        assert any(note.startswith(start) for note in table.notes)


def test_different_signatures_are_told_apart_by_run(tmp_path: Path) -> None:
    run(tmp_path, "a", 5)
    run(tmp_path, "b", 4, signature={"bleu": SIGNATURE.replace("2.6.0", "2.5.1")})
    notes = "\n".join(only(tmp_path).notes)
    assert f"{SIGNATURE} (bleu of a-9c2d71 only)" in notes
    assert "version:2.5.1 (bleu of b-9c2d71 only)" in notes


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    run(tmp_path, "diva", 3)
    run(tmp_path, "diva", 2, hash="aaaaaa")
    run(tmp_path, "diva", 1, model_edition="nano")
    assert column(only(tmp_path), "model") == ["diva-9c2d71", "diva-aaaaaa", "diva (nano)"]


# ---------------------------------------------------------------- what shares a table


def test_editions_never_share_a_table_and_mini_says_what_it_is(tmp_path: Path) -> None:
    run(tmp_path, "diva", 10)
    run(tmp_path, "diva", 20, task_id="covost2-de-aaaaaa", edition="full", model_edition="full")
    full, mini = leaderboard(collect(tmp_path))
    assert full.title == "covost2-de-aaaaaa"
    assert mini.title == f"covost2-de-4be1f0 ({synthetic_note('mini')})"
    assert len(full.rows) == len(mini.rows) == 1


def test_a_trial_is_called_one_and_stays_out_of_the_overview(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path, task_id="mustard-123456", primary="accuracy")
    run(tmp_path, task_id="covost2-de-777777", limit=5)
    overview, *_, trial = leaderboard(collect(tmp_path))
    assert trial.title.endswith("trial on 5 items, not a result)")
    assert column(overview, "task") == ["covost2-de", "mustard"]


def test_the_overview_has_primary_metrics_and_no_average(tmp_path: Path) -> None:
    run(tmp_path, "diva", 22.4)
    run(tmp_path, "echo", 1.0, at_chance=True)
    run(tmp_path, "diva", 61.0, task_id="mustard-123456", primary="accuracy")
    run(tmp_path, "diva", 61.5, task_id="mustard-123456", primary="accuracy", hash="bbbbbb")
    overview = leaderboard(collect(tmp_path))[0]
    assert [c.heading for c in overview.columns] == ["task", "metric", "n", "diva", "echo"]
    assert overview.rows == [
        [
            "covost2-de",
            "bleu",
            48,
            Score(22.4, 19.4, 25.4, mark="+ ", tone="strong"),
            Score(1.0, -2.0, 4.0, mark="* ", tone="faint"),
        ],
        ["mustard", "accuracy", 48, "= 61.0 [58.0, 64.0] / + 61.5 [58.5, 64.5]", None],
    ]
    assert synthetic_note("mini") in overview.title
    assert overview.to_csv().splitlines()[:2] == [
        "task,metric,n,diva,diva low,diva high,diva mark,echo,echo low,echo high,echo mark",
        "covost2-de,bleu,48,22.4,19.4,25.4,+,1.0,-2.0,4.0,*",
    ]
    assert json.loads(overview.to_json())["rows"][0]["echo"] == {"value": 1.0, "low": -2.0, "high": 4.0, "mark": "*"}
    assert overview.to_pandas()["echo mark"].isna().tolist() == [False, True]
    for text in (str(overview), overview.to_markdown(), overview.to_latex()):
        assert re.search(r"[+] 22\.4", text)
        assert re.search(r"\[\}?19\.4,\s+25\.4\]", text), "an interval in every format"
        assert "within 1.96 standard errors" in " ".join(text.split())


def test_every_legend_says_in_the_same_words_what_at_chance_means(tmp_path: Path) -> None:
    for task_id in ("covost2-de-4be1f0", "mustard-123456"):
        run(tmp_path, "diva", 22.4, task_id=task_id)
        run(tmp_path, "blind", 1.0, task_id=task_id, at_chance=True)
    summaries = collect(tmp_path)
    overview, *tables = leaderboard(summaries)
    assert f"* {AT_CHANCE}" in overview.notes
    assert f"* {AT_CHANCE}" in screen(summaries)[0].notes
    assert [AT_CHANCE in table.notes for table in tables if "remarks" in [c.name for c in table.columns]] == [
        True,
        True,
    ]
    assert "paired difference" in AT_CHANCE


def test_two_questions_under_one_task_name_go_by_their_ids(tmp_path: Path) -> None:
    run(tmp_path, task_id="mustard-123456")
    run(tmp_path, task_id="mustard-654321")
    assert column(leaderboard(collect(tmp_path))[0], "task") == ["mustard-123456", "mustard-654321"]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ([], ["covost2-de-4be1f0", "mustard-654321"]),
        (["covost2"], ["covost2-de-4be1f0"]),
        (["covost2-de"], ["covost2-de-4be1f0"]),
        (["mustard-654321"], ["mustard-654321"]),
        (["mustard", "covost2"], ["covost2-de-4be1f0", "mustard-654321"]),
    ],
)
def test_runs_are_chosen_by_the_names_of_their_tasks(tmp_path: Path, names: list[str], ids: list[str]) -> None:
    run(tmp_path)
    run(tmp_path, task_id="mustard-654321", edition="full", model_edition="full")
    assert [s.task_id for s in of_tasks(collect(tmp_path), names)] == ids
    with pytest.raises(UserError, match=r"unknown task 'must' in these runs\. Did you mean 'mustard'\?"):
        of_tasks(collect(tmp_path), [*names, "must"])


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("width", [80, 200])
def test_tables_fit_the_terminal(tmp_path: Path, width: int) -> None:
    run(tmp_path, "diva-llama-3-8b-instruct", 22, at_chance=True)
    run(tmp_path, "oracle", 31)
    run(tmp_path, "best", 99, complete=False, reason="43 of 48 answered; ask again with the same command")
    run(tmp_path, task_id="mustard-123456", primary="accuracy")
    console = Console(width=width, file=io.StringIO())
    for table in leaderboard(collect(tmp_path)):
        console.print(table)
    text = console.file.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert "22.0 [19.0, 25.0]" in text


def test_the_page_says_who_wrote_it_and_is_the_same_every_time(tmp_path: Path) -> None:
    run(tmp_path, "diva")
    run(tmp_path, "echo", 1)
    text = page(leaderboard(collect(tmp_path)))
    assert text.startswith(
        "<!-- Generated by `diva-bench leaderboard --format md`. Do not edit. -->\n\n# Leaderboard\n"
    )
    assert "| 1 | diva | 22.4 [19.4, 25.4] | 48 |" in text
    assert text == page(leaderboard(reversed(collect(tmp_path))))


def test_nothing_there_gives_no_tables(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("")
    (tmp_path / "covost2-de-4be1f0" / "notes").mkdir(parents=True)
    assert collect(tmp_path) == []
    assert leaderboard([]) == []
    assert page([]).endswith("# Leaderboard\n")


# ---------------------------------------------------------------- malformed files


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": "48"}, "n: must be a whole number (found '48')"),
        ({"complete": 1}, "complete: must be true or false"),
        ({"extra": 1}, "extra: is not a known key."),
        ({"metrics": {"bleu": {"value": 1.0, "low": 0.0, "high": 2.0}}}, "metrics.bleu.n: is missing."),
        ({"metrics": {"bleu": 22.4}}, "metrics.bleu: must be a mapping"),
        (
            {"task_id": "covost2-de-000000"},
            "task_id: 'covost2-de-000000' does not belong here, expected 'covost2-de-4be",
        ),
        ({"run_id": "diva-1"}, "run_id: 'diva-1' does not belong here"),
        ({"baseline": float("nan")}, "baseline: must be a finite number"),
    ],
)
def test_a_malformed_summary_is_an_error_that_names_file_and_key(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = run(tmp_path) / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(StoreError) as err:
        collect(tmp_path)
    assert str(err.value).startswith(f"{file}: {message}")
    assert "`diva-bench score`" in str(err.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    file = run(tmp_path) / "summary.json"
    summary = json.loads(file.read_text())
    del summary["scored"]
    file.write_text(json.dumps(summary))
    with pytest.raises(StoreError, match=r"summary\.json: scored: is missing\."):
        collect(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("run.json", "{", "is not valid JSON"),
        ("summary.json", "[]", "expected a JSON object, found list"),
        ("run.json", '{"task": {"name": "a", "edition": "mini", "primary": "b"}}', "model: is missing."),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path: Path, file: str, text: str, message: str) -> None:
    folder = run(tmp_path)
    (folder / "summary.json").unlink()  # run.json is read where there is no summary
    (folder / file).write_text(text)
    with pytest.raises(StoreError) as err:
        collect(tmp_path)
    assert f"{folder / file}: {message}" in str(err.value)
