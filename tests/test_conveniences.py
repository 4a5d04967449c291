"""What people expect of a command line: --version, -h, completion, lists with commas, CSV that pandas reads, and so on."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mini_task
import pandas
import pytest
import typer
from command_line import Command, call
from test_doc_snippets import COMMANDS, leaves

import diva_bench
from diva_bench.cli.options import names
from diva_bench.runs.store import RunFolder
from diva_bench.tables import Column, Table

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    mini_task.write(tmp_path / "specs")
    mini_task.write(tmp_path / "specs", count=6, name="other")
    monkeypatch.chdir(tmp_path)
    return lambda *words: call(tmp_path, *words, DIVA_BENCH_PATH="specs")


def ask(run: Command, *words: str, task: str = "toy,other") -> None:
    done = run("run", "-m", "echo,majority", "-t", task, *words)
    assert done.returncode == 0, done.stderr


def test_the_version_is_the_packages(run: Command) -> None:
    assert run("--version").stdout == f"diva-bench {diva_bench.__version__}\n"


def words_of(parameter: Any, word: str) -> list[str]:
    """How a parameter and its value are typed."""
    return [parameter.opts[0], word] if parameter.opts[0].startswith("-") else [word]


def path_parameters() -> list[Any]:
    """(command, parameter) of every parameter of the command line that is a path, or several of them."""
    every = [(command, parameter) for command in leaves(COMMANDS) for parameter in command.params]
    kinds = (Path, list[Path])
    return [
        pytest.param(command, parameter, id=f"{command.name} {parameter.opts[0]}")
        for command, parameter in every
        if parameter.type_descriptor.annotation in kinds
    ]


@pytest.mark.parametrize("word", ["", " "])
@pytest.mark.parametrize(("command", "parameter"), path_parameters())
def test_an_empty_path_is_refused_wherever_a_path_is_taken(command: Any, parameter: Any, word: str) -> None:
    needed = [other for other in command.params if other.required and other is not parameter]
    allowed = {"kind": "runs", "to": "tensorboard"}
    typed = [word for other in needed for word in words_of(other, allowed.get(other.name, "x"))]
    before = typed if parameter.opts[0].startswith("-") or command.name == "list" else []
    with pytest.raises(Exception, match=r"the path is empty\. Give a path, or leave the option out\."):
        command.make_context("x", [*before, *words_of(parameter, word), *([] if before else typed)])


USAGE = [
    (("list",), "Choose from:\n  tasks,\n  models,\n  metrics,\n  runs\n"),
    (("list", "zz"), "Error: Invalid value for 'kind': 'zz' is not one of 'tasks', 'models', 'metrics', 'runs'.\n"),
    (("run", "-m", "echo", "-t", "toy", "--limit", "0"), "'--limit': it must be greater than or equal to 1\n"),
    (("run", "-m", "echo", "-t", "toy", "--limit", "x"), "'--limit': it must be a valid integer"),
    (
        ("leaderboard", "--format", "xls"),
        "'--format': 'xls' is not one of 'rich', 'md', 'markdown', 'csv', 'latex', 'json'.",
    ),
    (("runn",), "No such command 'runn'. Did you mean 'run'?"),
]


@pytest.mark.parametrize(("words", "text"), USAGE)
def test_a_mistake_in_a_command_is_told_in_plain_text(run: Command, words: tuple[str, ...], text: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert text in done.stderr
    assert "\\t" not in done.stderr


@pytest.mark.parametrize("words", [(), ("run",), ("leaderboard",), ("new", "task"), ("compare",)])
def test_h_is_help(run: Command, words: tuple[str, ...]) -> None:
    short, long = run(*words, "-h"), run(*words, "--help")
    assert (short.returncode, short.stdout) == (0, long.stdout)
    assert "Usage: " in short.stdout


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("diva-bench ru", "run"),
        ("diva-bench run -m ech", "echo"),
        ("diva-bench run -m echo,maj", "echo,majority"),
        ("diva-bench run -t covost2-d", "covost2-de"),
        ("diva-bench run -t emo", "emotion"),
    ],
)
def test_the_shell_completes_commands_models_and_tasks(typed: str, wanted: str, tmp_path: Path) -> None:
    asked = {"_DIVA_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    command = [str(Path(sys.executable).with_name("diva-bench"))]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert wanted in done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("words", "wanted"),
    [(["a,b", "c"], ["a", "b", "c"]), (["a, b,"], ["a", "b"]), (["with,comma.yaml"], ["with,comma.yaml"]), (None, [])],
)
def test_names_stand_with_commas_between_them_but_a_file_is_one(
    words: list[str] | None, wanted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "with,comma.yaml").write_text("")
    assert names(words) == wanted


@pytest.mark.parametrize("words", [[""], [","], [" "], ["a", ""]])
def test_an_empty_name_is_refused_and_does_not_mean_all(words: list[str]) -> None:
    with pytest.raises(typer.BadParameter, match=r"the name is empty\. Give a name, or leave the option out"):
        names(words)


@pytest.mark.parametrize("command", [["run", "-m", "echo", "-t", ""], ["pull", "-m", ""], ["leaderboard", "-t", ","]])
def test_an_empty_name_ends_with_2_on_every_command(run: Command, command: list[str]) -> None:
    done = run(*command)
    assert done.returncode == 2
    assert "the name is empty" in done.stderr


def test_several_models_and_tasks_are_asked_at_once(run: Command, tmp_path: Path) -> None:
    ask(run)
    assert len(list((tmp_path / "results").glob("*/*/summary.json"))) == 4


def test_the_runs_of_a_folder_are_listed(run: Command) -> None:
    assert (none := run("list", "runs")).returncode == 2
    assert "results: no such folder" in none.stderr
    ask(run)
    ask(run, "--limit", "4", task="toy")
    done = run("list", "runs")
    assert done.returncode == 0, done.stderr
    head = done.stdout.splitlines()[2].split()
    assert head[:5] == ["task", "model", "metric", "score", "n"]
    frame = pandas.read_csv(io.StringIO(run("list", "runs", "--format", "csv").stdout))
    assert {"task", "model", "edition", "limit", "n", "score", "date", "path"} <= set(frame.columns)
    assert sorted(frame["limit"].dropna()) == [4, 4]
    assert len(frame) == 6


def test_a_csv_is_one_table_that_pandas_reads(run: Command) -> None:
    ask(run)
    done = run("leaderboard", "--format", "csv")
    frame = pandas.read_csv(io.StringIO(done.stdout))
    assert len(frame) == len(frame.groupby(["path", "metric"])) > 4
    every = run("leaderboard", "--format", "csv", "--all-tables").stdout
    assert len(every.strip().split("\n\n")) == 4, "an overview, the means and two tasks"
    runs = [str(path) for path in sorted(Path("results").glob("toy-*/*/"))]
    done = run("compare", *runs, "--format", "csv")
    assert "csv: the first of 6 tables; --all-tables also prints: differences: echo - majority; tests: " in done.stderr
    assert list(pandas.read_csv(io.StringIO(done.stdout)).columns)[:2] == ["metric", "model"]


@pytest.mark.parametrize("command", ["compare", "diagnose", "score"])
def test_a_pattern_that_matches_nothing_is_told(run: Command, command: str) -> None:
    done = run(command, "results/covost2-de-*/cascade-*", "results/covost2-de-*/diva-*")
    assert done.returncode != 0
    text = " ".join((done.stdout + done.stderr).split())
    assert "No folder matches this pattern. Run the models first." in text
    assert "A checkout has published runs in results/mini-v1." in text


def test_markdown_is_another_name_of_md(run: Command) -> None:
    short, long = (run("list", "metrics", "--format", name) for name in ("md", "markdown"))
    assert (long.returncode, long.stdout) == (0, short.stdout)


def test_an_overview_alone_is_tasks_by_models(run: Command) -> None:
    ask(run, task="toy")
    assert "no overview" in (few := run("leaderboard", "--overview")).stderr
    assert few.returncode == 1
    ask(run, "--limit", "4", task="other")
    why = run("leaderboard", "--overview")
    assert why.returncode == 1
    assert "at least two tasks of one edition. Runs with --limit, --audio, another prompt or other" in why.stderr
    assert "2 of these 4 runs are such runs." in why.stderr
    ask(run)
    shown = run("leaderboard", "--overview", "--format", "json")
    [table] = json.loads(shown.stdout)
    assert [row["task"] for row in table["rows"]] == ["other", "toy"]
    assert {"echo", "majority"} <= set(table["columns"])


def test_a_pipe_is_as_wide_as_columns_says_and_else_120(run: Command, tmp_path: Path) -> None:
    for width in (60, 100):
        lines = call(tmp_path, "list", "metrics", COLUMNS=str(width)).stdout.splitlines()
        assert width - 8 <= max(map(len, lines)) <= width
    lines = call(tmp_path, "list", "metrics", COLUMNS="").stdout.splitlines()
    assert 112 <= max(map(len, lines)) <= 120


def test_a_checkout_shows_the_runs_in_the_folders_of_its_results(run: Command, tmp_path: Path) -> None:
    mini_task.model(tmp_path / "specs", "parrot")
    assert run("run", "-m", "echo,majority,parrot", "-t", "toy", "--output", "results/mini-v1").returncode == 0
    trio = ("trio", "--oracle", "echo", "--cascade", "majority", "-m", "parrot")
    for words in (("leaderboard",), trio, ("list", "runs")):
        done = run(*words)
        assert done.returncode == 0, done.stderr
        assert "results has no runs of its own; these are in results/mini-v1." in done.stderr
        assert "toy" in done.stdout
    elsewhere = run("leaderboard", "nowhere")
    assert elsewhere.returncode == 2
    assert f"The published runs are in {ROOT}/results/mini-v1." in " ".join(elsewhere.stderr.split())


# ---------------------------------------------------------------- folders of trials


def test_the_folder_of_a_trial_says_its_limit_and_an_older_one_is_found_and_resumed(
    run: Command, tmp_path: Path
) -> None:
    ask(run, "--limit", "4", task="toy")
    [new] = (tmp_path / "results").glob("toy-*")
    assert new.name.startswith("toy-limit4-")
    ask(run, "--limit", "99", task="toy")  # more than there are: no trial
    assert [path.name.count("limit") for path in sorted((tmp_path / "results").glob("toy-*"))].count(0) == 1
    old = new.with_name(new.name.replace("-limit4", ""))
    new.rename(old)
    for file in (old / "task.json", *old.glob("*/run.json"), *old.glob("*/summary.json")):
        file.write_text(file.read_text().replace(new.name, old.name))
    answers = {path: path.read_bytes() for path in old.glob("*/responses.jsonl")}
    done = run("run", "-m", "echo,majority", "-t", "toy", "--limit", "4")
    assert done.stderr.count(f"all 4 answered before in results/{old.name}") == 2
    assert not new.exists()
    assert {path: path.read_bytes() for path in answers} == answers
    for folder in old.glob("*/run.json"):
        RunFolder(folder.parent).check()
        assert run("score", str(folder.parent)).returncode == 0
    assert RunFolder(next(old.glob("echo-*"))).summary()["task_id"] == old.name


# ---------------------------------------------------------------- tables in notebooks


def test_a_table_in_a_notebook_shows_text_whatever_a_cell_holds() -> None:
    evil = "<script>alert(1)</script> & \"quoted\" 'too' \x1b[2J"
    table = Table(evil, [Column(evil), Column("n")], [[evil, 1.25]], [evil])
    html = table._repr_html_()
    assert "<script>" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quoted&quot;") == 4
    assert "\x1b" not in html
    assert '<td style="text-align: right">1.2</td>' in html
    latex = table.to_latex()
    assert r"\textless{}script\textgreater{}alert(1)" in latex
    assert r"\&" in latex
    assert table.to_pandas().to_dict("records") == [{evil: evil, "n": 1.25}]
    assert "1.2" in str(table)


@pytest.mark.parametrize("words", [[], ["new"], ["study"]], ids=["all", "new", "study"])
def test_every_command_is_described_by_a_whole_sentence_at_80_columns(tmp_path: Path, words: list[str]) -> None:
    listing = call(tmp_path, *words, "--help", COLUMNS="80").stdout.partition("Commands:\n")[2].splitlines()
    assert len(listing) > 1
    assert [line for line in listing if not line.endswith(".") or line.endswith("...")] == []
