"""Wordings of a task: what a paraphrase may be, whose runs keep their identity, and how far scores spread."""

import json
import statistics
from collections import Counter
from math import factorial
from pathlib import Path

import mini_task
import pytest
from command_line import here
from stored import collect

from diva_bench.catalog import Catalog
from diva_bench.errors import SpecError, UserError
from diva_bench.report.leaderboard import leaderboard
from diva_bench.report.prompts import families, spread_table, wordings_table
from diva_bench.runs import Run
from diva_bench.specs import FIELD, TaskFile, prompt
from diva_bench.specs.yamlfile import read_yaml

ROOT = Path(__file__).parents[1]
OURS = (
    "covost2",
    "heysquad",
    "heysquad-open",
    "iemocap",
    "meld",
    "mustard",
    "ravdess",
    "sdqa",
    "transcribe",
    "urfunny",
)
LABELS = """\
prompt: "Which one? {choices}."
prompts:
  - "One of {choices}?"
  - "Say {choices}."
choices: [a, b, c]
"""


def labels(folder: Path, prompts: str = LABELS, count: int = 9) -> Path:
    """A label task whose answers are the sample's ids scored by a hash: see the echo adapter."""
    table = [{**row, "label": "abc"[i % 3]} for i, row in enumerate(mini_task.rows(count))]
    mini_task.write(folder, table=table)
    text = mini_task.TASK.format(name="toy", rows=count)
    text = text.replace("prompt: Say {what}.\n", prompts).replace("reference: answers", "reference: label")
    text = text.replace("{qa: {}}", "{labels: {}}").replace("primary: contains", "primary: accuracy")
    (folder / "toy.yaml").write_text(text)
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    return here(tmp_path, monkeypatch)


@pytest.fixture
def ask(run):
    return lambda model, *more: run("run", "--path", "specs", "-m", model, "-t", "toy", *more)


def run_folders(results: Path) -> list[Path]:
    return [p.parent for p in results.glob("*/*/run.json")]


# ---------------------------------------------------------------- paraphrases


@pytest.mark.parametrize("name", OURS)
def test_every_task_of_ours_has_three_paraphrases_with_its_fields(name):
    task = read_yaml(ROOT / f"tasks/{name}.yaml", TaskFile)
    assert len(task.prompts) >= 3
    assert all(set(FIELD.findall(p)) == set(FIELD.findall(task.prompt)) for p in task.prompts)


def test_the_main_prompt_is_asked_as_if_there_were_no_paraphrases():
    catalog = Catalog()
    task = catalog.task("iemocap", "mini")
    bare = task.model_copy(update={"prompts": ()})
    assert prompt.variant(task, 0) is task
    assert task.identity() == bare.identity()
    assert "variant" not in task.identity()
    other = prompt.variant(task, 2)
    assert other.identity()["variant"] == 2
    assert other.prompt == task.prompts[1]
    assert sorted(other.choices or ()) == sorted(task.choices or ())


MISTAKES = [
    ('prompts: ["One of them?"]\n', "prompts: number 1 must have the fields of `prompt`, {choices}"),
    ('prompts: ["{choices} {voice}?"]\n', "prompts: number 1 must have the fields of `prompt`, {choices}"),
    ('prompts: ["{choices}?", " "]\n', "prompts: must not be empty"),
    ('prompts: ["{choices}?", "{choices}? "]\n', "prompts: number 2 is empty, or says what an earlier one"),
    ('prompts: ["Which one?  {choices}."]\n', "prompts: number 1 is empty, or says what an earlier one or `prompt`"),
]


@pytest.mark.parametrize(("prompts", "said"), MISTAKES)
def test_a_paraphrase_that_asks_something_else_is_refused(tmp_path, prompts, said):
    text = 'prompt: "Which one? {choices}."\nchoices: [a, b, c]\n' + prompts
    with pytest.raises(SpecError) as told:
        read_yaml(labels(tmp_path, text) / "toy.yaml", TaskFile)
    assert said in str(told.value)
    assert "toy.yaml:" in str(told.value)


def test_more_wordings_than_there_are_is_told():
    task = Catalog().task("heysquad", "mini")
    with pytest.raises(UserError, match=r"--prompts 9: task heysquad has 4 \(its prompt and 3 paraphrases\)"):
        prompt.variants(task, 9)
    with pytest.raises(UserError, match="no paraphrase 4; it has 3"):
        prompt.variant(task, 4)


# ---------------------------------------------------------------- label orders


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_label_orders_are_all_different_until_none_is_left(count):
    choices = tuple("abcdefg"[:count])
    orders = prompt.label_orders(choices, 14, "toy")
    assert orders[0] == choices
    assert all(sorted(order) == list(choices) for order in orders)
    every = min(14, factorial(count))
    assert len(set(orders[:every])) == every
    counts = Counter(orders).values()
    assert max(counts) - min(counts) <= 1


def test_label_orders_are_the_tasks_own_and_the_same_everywhere():
    assert prompt.label_orders(tuple("abcd"), 4, "toy") == prompt.label_orders(tuple("abcd"), 9, "toy")[:4]
    assert prompt.label_orders(tuple("abcdefg"), 3, "toy") != prompt.label_orders(tuple("abcdefg"), 3, "other")
    task = Catalog().task("iemocap", "mini")
    assert [" ".join(w.choices or ()) for w in prompt.variants(task, 4)] == [
        "angry happy neutral sad",
        *[" ".join(prompt.label_orders(task.choices or (), 4, "iemocap")[i]) for i in (1, 2, 3)],
    ]


def test_the_order_stands_in_the_prompt_and_decides_ties(tmp_path):
    catalog = Catalog([labels(tmp_path)])
    task = catalog.task("toy", "mini")
    for wording in prompt.variants(task, 3):
        assert FIELD.sub(", ".join(wording.choices or ()), wording.prompt) == asked_text(wording)
    signatures = {catalog.scorers(w)["labels"].signature for w in prompt.variants(task, 3)}
    assert len(signatures) == 3


def asked_text(wording):
    from diva_bench.types import Sample

    return prompt.build(wording, Sample("q", ("a",), "c"), frozenset({"audio"})).prompt


# ---------------------------------------------------------------- runs


def test_wordings_are_runs_of_their_own_and_their_spread_is_told(tmp_path, ask):
    labels(tmp_path / "specs", count=30)
    mini_task.model(tmp_path / "specs", "asks", reply="prompt")
    plain = ask("asks")
    assert plain.returncode == 0, plain.stderr
    main = next((tmp_path / "results").iterdir()).name
    got = ask("asks", "--prompts", "3")
    assert got.returncode == 0, got.stderr
    assert f"toy x asks: all 30 answered before in results/{main}" in got.stderr, "prompt 0 is the task's own run"
    folders = sorted(p.name.rpartition("-")[0] for p in (tmp_path / "results").iterdir())
    assert folders == ["toy", "toy-prompt1", "toy-prompt2"]
    said = " ".join(got.stdout.split())
    assert "spread over prompts" in said
    found = families(map(Run.open, run_folders(tmp_path / "results")))
    assert [[run.summary.variant for run in f.runs] for f in found] == [[0, 1, 2]]
    values = [run.summary.metrics["accuracy"].value for run in found[0].runs]
    row = dict(zip([c.name for c in spread_table(found).columns], spread_table(found).rows[0], strict=True))
    assert (row["prompts"], row["n"], row["min"], row["max"]) == (3, 30, min(values), max(values))
    assert row["mean"] == pytest.approx(sum(values) / 3)
    assert row["sd"] == pytest.approx(statistics.stdev(values))
    assert row["prompt 0"].value == values[0]
    assert [r[-1].partition(" [")[0] for r in wordings_table(found).rows] == [
        "Which one? {choices}.",
        "One of {choices}?",
        "Say {choices}.",
    ]


def test_the_leaderboard_has_a_line_of_the_spread_and_no_table_of_a_wording(tmp_path, ask, run):
    labels(tmp_path / "specs")
    ask("echo", "--prompts", "2")
    ask("majority")
    tables = leaderboard(collect(tmp_path / "results"))
    assert [len(t.rows) for t in tables] == [2], "one table, of the main prompt: echo and majority"
    text = run("leaderboard", "results", "--format", "md").stdout
    assert text.count("### ") == 2
    assert "spread over prompts" in text
    assert "toy-prompt1" not in text


def test_a_wording_without_a_score_is_counted_and_left_out(tmp_path, ask):
    specs = labels(tmp_path / "specs")
    mini_task.model(specs, "flaky", fail_ids=["q003"])
    assert ask("flaky", "--prompts", "2").returncode == 1
    table = spread_table(families(map(Run.open, run_folders(tmp_path / "results"))))
    assert table.rows[0][-1] == "2 of 2 without a score"
    next((tmp_path / "results").glob("toy-prompt1-*/*/summary.json")).unlink()
    rows = wordings_table(families(map(Run.open, run_folders(tmp_path / "results")))).rows
    assert [r[5] for r in rows] == ["incomplete: 1 failed", "not scored yet"]


def test_wordings_under_a_condition_or_of_a_trial_are_families_of_their_own(tmp_path, ask):
    labels(tmp_path / "specs")
    ask("echo", "--prompts", "2")
    got = ask("echo", "--prompts", "2", "--audio", "silence")
    assert "toy (prompt 1)" in " ".join(got.stdout.split()), "compared with the same wording of the clips as they are"
    ask("echo", "--prompts", "2", "--limit", "4")
    found = families(map(Run.open, run_folders(tmp_path / "results")))
    assert [f.task for f in found] == ["toy", "toy (silence)", "toy (trial on 4 items)"]
    assert [len(f.runs) for f in found] == [2, 2, 2]


def test_a_wording_is_scored_again_with_its_own_order_of_labels(tmp_path, ask, run):
    specs = labels(tmp_path / "specs")
    ask("echo", "--prompts", "3")
    summary = next((tmp_path / "results").glob("toy-prompt2-*/*/summary.json"))
    before = summary.read_bytes()
    assert json.loads(before)["variant"] == 2
    summary.unlink()
    again = run("score", "--path", "specs", str(summary.parent))
    assert again.returncode == 0, again.stderr
    assert summary.read_bytes() == before
    text = (specs / "toy.yaml").read_text()
    (specs / "toy.yaml").write_text(text.replace('  - "Say {choices}."\n', ""))
    gone = run("score", "--path", "specs", str(summary.parent))
    assert gone.returncode == 0, gone.stderr
    said = " ".join(gone.stderr.split())
    assert "the task that is stored with the run counts: task toy has no paraphrase 2; it has 1" in said
    assert summary.read_bytes() == before


def test_a_dry_run_shows_every_wording(tmp_path, ask):
    labels(tmp_path / "specs")
    got = ask("echo", "--prompts", "3", "--dry-run")
    assert got.returncode == 0, got.stderr
    assert "toy x echo: 9 samples" in got.stdout
    assert "toy (prompt 2) x echo: 9 samples" in got.stdout
    assert "prompt: Which one? a, b, c." in got.stdout
    assert got.stdout.count("labels: ") == 2
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--prompts", "4"],
            "--prompts 4: task toy has 3 (its prompt and 2 paraphrases). Ask for fewer, or add to `prompts:`",
        ),
        (["--prompts", "0"], "Invalid value for '--prompts'"),
    ],
)
def test_a_wrong_number_of_prompts_is_told_with_exit_code_2(tmp_path, words, said, ask):
    labels(tmp_path / "specs")
    got = ask("echo", *words)
    assert got.returncode == 2
    assert said in " ".join(got.stderr.split())
    assert not (tmp_path / "results").exists()
