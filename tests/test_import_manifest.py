"""`import --manifest`: many files, tasks and models at once, all or nothing; and a file for each subset of a task"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from answer_files import answers, diva_eval, load, only, two_tasks, value, write
from command_line import Command, here

from diva_bench.cli.results import leaderboard_command
from diva_bench.errors import UserError

ACCENTS = """\
name: accents
version: 1
description: a test
prompt: Answer.
reference: answers
groups: [accent]
contrast: {accent: usa}
scorers: {qa: {}}
primary: contains
whole: WHOLE
subsets:
  usa: {editions: {full: {path: "{subset}.jsonl", rows: 3}}}
  gbr: {editions: {full: {path: "{subset}.jsonl", rows: 3}}}
editions:
  full: {source: jsonl, path: all.jsonl, rows: 6}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in the folder of the two tasks."""
    two_tasks(tmp_path, monkeypatch)
    return here(tmp_path, monkeypatch)


def accents(whole: bool) -> None:
    """A task of three questions in two accents, as SD-QA is: each accent a subset, or all together."""
    rows = [
        {"id": f"q{i}", "answers": [f"right {i}"], "accent": accent, "cluster": f"q{i}"}
        for accent in ("usa", "gbr")
        for i in range(3)
    ]
    Path("specs/accents.yaml").write_text(ACCENTS.replace("WHOLE", str(whole).lower()))
    for accent in ("usa", "gbr"):
        write(f"specs/{accent}.jsonl", [row for row in rows if row["accent"] == accent])
        write(
            f"{accent}_outs.jsonl", [{"id": f"q{i}", "text": f"right {i if accent == 'usa' else 0}"} for i in range(3)]
        )
    write("specs/all.jsonl", [row | {"id": f"{row['id']}-{row['accent']}"} for row in rows])


def table(*rows: str, name: str = "m.csv") -> Path:
    Path(name).write_text("".join(f"{row}\n" for row in rows))
    return Path(name)


def imported(run: Command, *words: str) -> Any:
    return run("import", *words, "--path", "specs")


def runs() -> list[str]:
    return sorted(f"{p.parent.parent.name}/{p.parent.name}" for p in Path("results").glob("*/*/run.json"))


# ---------------------------------------------------------------- what it makes


def test_a_manifest_makes_the_runs_that_one_import_each_makes(run: Command) -> None:
    Path("files").mkdir()
    write("files/a.jsonl", answers())
    write("files/b.jsonl", [{"id": f"m{i}", "text": "joy"} for i in range(6)])
    for task, model, file in (("quiz", "one", "a"), ("mood", "one", "b"), ("quiz", "two", "a")):
        assert load(Path(f"files/{file}.jsonl"), task=task, model_name=model) == 0
    alone = runs()
    shutil.rmtree("results")
    table("file,task,model_name", "a.jsonl,quiz,one", "b.jsonl,mood,one", "a.jsonl,quiz,two", name="files/m.csv")
    done = imported(run, "--manifest", "files/m.csv")
    assert done.returncode == 0, done.stderr
    assert runs() == alone
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith(("quiz ", "mood "))] == [
        ["quiz", "one"],
        ["mood", "one"],
        ["quiz", "two"],
    ]


def test_every_option_may_be_a_column_and_the_command_line_holds_where_it_is_empty(run: Command) -> None:
    write("mood.jsonl", [{"qid": f"m{i}", "said": "mad"} for i in range(6)])
    rows: list[tuple[object, str, object]] = [(f"x{i}", "x", i / 10) for i in range(5)]
    diva_eval("alone.txt", [*rows, ("x5", "ERROR IN PROCESSING", "NA")])
    table(
        "file\tmodel\tcolumns\tlabels\tgold\terrors\ttop\ttask",
        "mood.jsonl\tone\tid=qid,text=said\tmad=anger\t\t\t\tmood",
        "alone.txt\ttwo\t\t\tno\twrong\t100\t",
        name="m.tsv",
    )
    done = imported(run, "--manifest", "m.tsv", "-t", "quiz", "--errors", "drop")
    assert done.returncode == 0, done.stderr
    assert value(only("mood-*"), "accuracy") == pytest.approx(100 / 3)
    alone = only("quiz-scores-only-*")
    assert alone.summary()["errors_as"] == "wrong"
    assert value(alone, "released") == pytest.approx(100 * 1.0 / 6 / 100)


def test_json_lines_may_have_lists_of_files_patterns_and_mappings(run: Command) -> None:
    for i in range(3):
        write(f"part-{i}.jsonl", answers()[2 * i : 2 * i + 2])
    write("mood.jsonl", [{"id": f"m{i}", "text": "mad"} for i in range(6)])
    entries = [
        {"file": "part-*.jsonl", "task": "quiz", "model_name": "pattern"},
        {"files": ["part-0.jsonl", "part-1.jsonl", "part-2.jsonl"], "task": "quiz", "name": "listed"},
        {"file": "mood.jsonl", "task": "mood", "model-name": "mad", "labels": {"mad": "anger"}, "format": None},
    ]
    write("m.jsonl", entries)
    done = imported(run, "--manifest", "m.jsonl")
    assert done.returncode == 0, done.stderr
    hashes = [only(run=f"{name}-*").record()["model"]["args"]["sha256"] for name in ("pattern", "listed")]
    assert hashes[0] == hashes[1]
    assert value(only("mood-*"), "accuracy") == pytest.approx(100 / 3)


def test_a_run_that_is_not_whole_is_kept_and_makes_the_exit_code_1(run: Command) -> None:
    write("a.jsonl", answers())
    write("part.jsonl", answers()[:4])
    table("file,task,model", "part.jsonl,quiz,part", "a.jsonl,quiz,whole")
    done = imported(run, "--manifest", "m.csv")
    assert done.returncode == 1
    assert len(runs()) == 2
    assert "2 missing from the file" in done.stdout


# ---------------------------------------------------------------- a file for each subset


def test_a_file_for_each_subset_is_a_run_for_each(run: Command) -> None:
    accents(whole=False)
    table("file,task,model", "{subset}_outs.jsonl,accents,one")
    assert imported(run, "--manifest", "m.csv").returncode == 0
    assert [name.split("-")[1] for name in runs()] == ["gbr", "usa"]
    once = runs()
    assert imported(run, "{subset}_outs.jsonl", "-t", "accents-all", "-n", "one").returncode == 0
    assert runs() == once


def test_files_that_are_not_there_are_named_and_none_at_all_is_an_error(run: Command) -> None:
    accents(whole=False)
    Path("gbr_outs.jsonl").unlink()
    table("file,task,model", "{subset}_outs.jsonl,accents,one")
    done = imported(run, "--manifest", "m.csv")
    assert (done.returncode, len(runs())) == (1, 1)
    assert "no such file: 1: gbr_outs.jsonl" in done.stderr
    done = imported(run, "{subset}.txt", "-t", "accents", "-n", "two")
    assert done.returncode == 2
    assert "none of the files exists: usa.txt, gbr.txt" in done.stderr


def test_the_accents_of_a_whole_task_are_one_run_whose_ids_have_the_accent(
    run: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    accents(whole=True)
    assert imported(run, "{subset}_outs.jsonl", "-t", "accents", "-n", "one").returncode == 0
    folder = only("accents-*")
    groups = folder.summary()["groups"]["accent"]
    assert {name: (round(group["contains"], 1), group["n"]) for name, group in groups.items()} == {
        "usa": (100, 3),
        "gbr": (33.3, 3),
    }
    assert folder.record()["model"]["args"]["subsets"] == ["usa", "gbr"]
    Path("gbr_outs.jsonl").unlink()
    done = imported(run, "{subset}_outs.jsonl", "-t", "accents", "-n", "part")
    assert done.returncode == 1
    assert "missing: 3: q0-gbr, q1-gbr, q2-gbr: the run is not ranked" in done.stderr
    leaderboard_command(Path("results"), [], "md")
    assert "not ranked: 3 missing from the file" in capsys.readouterr().out


def test_one_accent_of_a_whole_task_is_named_like_any_task(run: Command) -> None:
    accents(whole=True)
    assert imported(run, "{subset}_outs.jsonl", "-t", "accents-usa", "-n", "one").returncode == 0
    assert value(only("accents-usa-*"), "contains") == 100


# ---------------------------------------------------------------- what is refused


def test_nothing_is_written_where_any_row_is_wrong_and_all_wrong_rows_are_named(run: Command) -> None:
    write("a.jsonl", answers())
    write("extra.jsonl", [*answers(), {"id": "z", "text": "x"}])
    table(
        "file,task,model",
        "a.jsonl,quiz,good",
        "extra.jsonl,quiz,bad",
        "a.jsonl,quizz,typo",
        "a.jsonl,quiz,good",
        "a.jsonl,covost2,many",
    )
    done = imported(run, "--manifest", "m.csv")
    assert done.returncode == 2
    assert not Path("results").exists()
    for said in (
        "4 cannot be imported; nothing was written",
        "m.csv:3: task quiz has 6 samples; these answers do not fit it",
        "m.csv:4: unknown task 'quizz'. Did you mean 'quiz'",
        "m.csv:5: model good at task quiz is also in m.csv:2",
        "m.csv:6: covost2 is several tasks; import into one of covost2-de",
        "or write {subset} in the file's name",
    ):
        assert said in done.stderr, said


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            ["file,task,modle", "a.jsonl,quiz,x"],
            "unknown column 'modle' in m.csv:1. Did you mean 'model_name'",
        ),
        (["file,task,model", ",quiz,x"], "m.csv:2: no file. A row needs file, task and model_name"),
        (["file,task,model", "a.jsonl,,x"], "m.csv:2: no task. A row needs file, task and model_name"),
        (["file,task,model", "a.jsonl,quiz,"], "m.csv:2: no model_name."),
        (
            ["file,task,model", "none.jsonl,quiz,x"],
            "m.csv:2: none.jsonl: no such file (paths are relative to the manifest)",
        ),
        (["file,task,model", "no-*.jsonl,quiz,x"], "m.csv:2: no-*.jsonl: no such file"),
        (["file,task,model,gold", "a.jsonl,quiz,x,perhaps"], "m.csv:2: gold is 'perhaps'. Allowed: yes, true, 1, no"),
        (["file,task,model,top", "a.jsonl,quiz,x,50"], "m.csv:2: top is '50'. Allowed: 1, 100"),
        (["file,task,model,errors", "a.jsonl,quiz,x,ignore"], "m.csv:2: errors is 'ignore'. Allowed: wrong, drop"),
        (["file,task,model,format", "a.jsonl,quiz,x,xml"], "m.csv:2: format is 'xml'. Allowed: auto, jsonl"),
        (["file,task,model,name", "a.jsonl,quiz,x,y"], "m.csv:2: model_name is given twice"),
        (
            ["file,task,model", "{subset}.jsonl,quiz,x"],
            "m.csv:2: {subset} in {subset}.jsonl stands for nothing: task quiz",
        ),
        (["file,task,model", "a.jsonl,quiz,a/b"], "m.csv:2: --model-name 'a/b': a name has at most 64 letters, digits"),
        (["file,task,model"], "m.csv: has no rows"),
        (["file,task,model", "a.jsonl,quiz"], "m.csv:2: 2 fields, but the header has 3"),
        ([""], "m.csv: is empty"),
        (['{"file": 5, "task": "quiz", "model": "x"}'], "m.csv:1: file is 5, not text"),
        (['{"file": "a.jsonl", "task": ["quiz"], "model": "x"}'], "m.csv:1: task is ['quiz'], not text"),
        (['{"file": "a.jsonl", "task": "quiz", "model": "x"'], "m.csv:1: is not valid JSON"),
        (['{"file": "a.jsonl", "tsk": "quiz"}'], "m.csv:1: unknown column 'tsk' in this row. Did you mean 'task'"),
        (["- file: a.jsonl"], "unknown column '- file: a.jsonl' in m.csv:1"),
    ],
)
def test_a_row_that_says_something_not_allowed_is_told_with_its_line(run: Command, rows: list[str], said: str) -> None:
    write("a.jsonl", answers())
    table(*rows)
    done = imported(run, "--manifest", "m.csv")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert said in done.stderr
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a.jsonl", "--manifest", "m.csv"), "--manifest FILE; give one of the two"),
        (("-t", "quiz", "-n", "x"), "--manifest FILE; give one of the two"),
        (("a.jsonl", "-n", "x"), "import needs --task and --model-name"),
        (("a.jsonl", "-t", "quiz"), "import needs --task and --model-name"),
        (("--manifest", "none.csv"), "none.csv: cannot be read (No such file or directory)"),
        (("--manifest", "specs"), "specs: is a folder, not a file"),
    ],
)
def test_what_the_command_line_lacks_is_told(run: Command, words: tuple[str, ...], said: str) -> None:
    write("a.jsonl", answers())
    table("file,task,model", "a.jsonl,quiz,x")
    done = imported(run, *words)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            '{"prompt": "q", "response": "x"}\n',
            r"gbr_outs.jsonl:1: has no id; files of the subsets of one task need them",
        ),
        ("id,text\nq0,x\nq1,x\nq2,x\n", r"the files are of several formats \(csv, jsonl\)"),
    ],
)
def test_files_of_the_subsets_of_one_task_need_ids_and_one_format(run: Command, other: str, said: str) -> None:
    accents(whole=True)
    Path("gbr_outs.jsonl").write_text(other)
    with pytest.raises(UserError, match=said):
        load(Path("{subset}_outs.jsonl"), task="accents")
