"""`validate` says of a task all that would stop its run or spoil its numbers; what stops a run stops it before a model is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mini_task
import pytest
from command_line import call

from diva_bench.catalog import Catalog
from diva_bench.scorers import primary
from diva_bench.specs.spec_file import builtin_folder
from diva_bench.types import Sample

Rows = list[dict[str, Any]]


def edited(folder: Path, change: dict[str, str] | None = None, rows: Callable[[Rows], object] | None = None) -> Path:
    """A task of four rows with parts of its YAML replaced and its rows changed."""
    table = mini_task.rows(4)
    mini_task.write(folder, table=table)
    if rows is not None:
        rows(table)
        (folder / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    file = folder / "toy.yaml"
    text = file.read_text()
    for old, new in (change or {}).items():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    return file


LABELS = {
    "reference: answers": "reference: voice\nchoices: [a, b]",
    "Say {what}.": "'One of {choices}.'",
    "{qa: {}}": "{labels: {}}",
    "contains": "accuracy",
}
"""What makes a label task of the small one."""

WRONG = {
    "the number of rows": ({"rows: 4": "rows: 5"}, None, "4 rows, but task toy says there are 5"),
    "a missing clip": (
        {},
        lambda rows: rows[1].update(audio="audio/gone.wav", id="q009"),
        "1 of 4 samples cannot be used: q009: audio/gone.wav: cannot be read",
    ),
    "an id twice": ({}, lambda rows: rows[1].update(id="q000"), "id 'q000' is already used in line 1"),
    "a missing cluster": ({}, lambda rows: rows[1].pop("cluster"), "toy.jsonl:2: column 'cluster' is missing"),
    "a cluster column that is not there": (
        {"rows: 4": "rows: 4, columns: {cluster: dialogue}"},
        None,
        "column 'dialogue' is missing",
    ),
    "a role that is none": (
        {"rows: 4": "rows: 4, columns: {refrence: answers}"},
        None,
        "unknown role 'refrence'. Did you mean 'reference'? A column can be: id, audio, transcript, cluster, reference",
    ),
    "a group that is no column": ({"groups: [voice]": "groups: [vioce]"}, None, "column 'vioce' is missing"),
    "a metric that is none": ({"contains": "zzz"}, None, "unknown metric 'zzz' in `primary` of task toy. Available: "),
    "another scorer's metric": ({"contains": "bleu"}, None, "unknown metric 'bleu' in `primary` of task toy"),
    "a typo in the metric": ({"contains": "contain"}, None, "Did you mean 'contains'? Available: contains, em, f1."),
    "a setting of a scorer": ({"{qa: {}}": "{qa: {a: 1}}"}, None, "scorers.qa has no setting 'a'. It takes none."),
    "a field that is none": ({"{what}": "{askd}"}, None, "asks for {askd}, which sample 'q000' does not have as text"),
    "a field that some rows lack": (
        {"{what}": "{hint}"},
        lambda rows: [row.update(hint="x") for row in rows[:3]],
        "asks for {hint}, which sample 'q003' does not have as text",
    ),
    "a field that is a number": (
        {"{what}": "{hint}"},
        lambda rows: [row.update(hint=7) for row in rows],
        "asks for {hint}, which sample 'q000' does not have as text",
    ),
    "a label in the data": ({**LABELS, "[a, b]": "[a, c]"}, None, "toy.jsonl:2: voice is 'b'; task toy allows a, c"),
    "a label in the counts": (
        {**LABELS, "rows: 4": "rows: 4, labels: {a: 2, bb: 2}"},
        None,
        "labels of mini: 'bb' is not one of the choices. Did you mean 'b'? Available: a, b",
    ),
    "the counts of labels": ({**LABELS, "rows: 4": "rows: 4, labels: {a: 3, b: 1}"}, None, "labels {'a': 2, 'b': 2}"),
    "choices that nobody names": (
        {**LABELS, "One of {choices}.": "Which is it, a or the other?"},
        None,
        "`prompt` does not name the choice 'b': a model cannot know that it is allowed. Name all of them, or write "
        "{choices}.",
    ),
    "a wording that names no choice": (
        {**LABELS, "reference: voice": "reference: voice\nprompts: ['{choices}?', 'Say it {choices}']"}
        | {"'One of {choices}.'": "a or b?", "['{choices}?', 'Say it {choices}']": "['Which?']"},
        None,
        "`prompts` number 1 does not name the choices 'a', 'b'",
    ),
    "a synonym of nothing": (
        {**LABELS, "[a, b]": "[a, b]\nsynonyms: {be: c}"},
        None,
        "synonyms lead to c, not a choice",
    ),
    "a contrast with nothing": (
        {"groups: [voice]": "groups: [voice]\ncontrast: {voice: c}"},
        None,
        "no row has the voice 'c'. Available: a, b.",
    ),
    "a prompt that shows the answer": (
        {"Say {what}.": "'Say {text}.'", "reference: answers": "reference: text"},
        None,
        "the prompt shows {text}, which is the accepted answer of 4 of 4 samples: a model could answer without the audio.",
    ),
    "a prompt that shows the answer by another name": (
        {"Say {what}.": "'It was {tone}. {choices}?'", "reference: answers": "reference: voice\nchoices: [a, b]"}
        | {"groups: [voice]": "groups: []", "{qa: {}}": "{labels: {}}", "contains": "accuracy"},
        lambda rows: [row.update(tone=row["voice"]) for row in rows],
        "the prompt shows {tone}, which is the accepted answer of 4 of 4 samples",
    ),
    "a system message that shows the answer": (
        {"reference: answers": "system: 'Hint {text}'\nreference: text"},
        None,
        "the prompt shows {text}, which is the accepted answer",
    ),
    "a file that is not there": ({"path: toy.jsonl": "path: toyy.jsonl"}, None, "toyy.jsonl: cannot be read"),
    "no rows": ({}, lambda rows: rows.clear(), "toy.jsonl: has no rows. A task needs at least one."),
    "rows that `where` leaves none of": (
        {"rows: 4": "where: {voice: c}"},
        None,
        "`where` selects no row: it needs rows where voice is c; in the data voice is a, b",
    ),
}


@pytest.mark.parametrize(("change", "rows", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_task_is_said(tmp_path, change, rows, said):
    file = edited(tmp_path, change, rows)
    done = call(tmp_path, "validate", file.name)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "valid" not in done.stdout


def test_a_subset_of_one_accent_needs_no_row_of_the_accent_that_others_are_compared_with(tmp_path):
    subsets = "subsets: {b: {editions: {mini: {rows: 2, where: {voice: b}}}}}"
    file = edited(tmp_path, {"groups: [voice]": f"groups: [voice]\ncontrast: {{voice: a}}\nwhole: true\n{subsets}"})
    done = call(tmp_path, "validate", file.name)
    assert done.returncode == 0, done.stderr
    assert "toy-b, edition mini: 2 samples" in done.stdout


@pytest.mark.parametrize(
    "name", [name for name in WRONG if name.startswith(("a metric", "another", "a typo", "a field"))]
)
def test_a_wrong_metric_or_field_stops_a_run_before_anybody_is_asked(tmp_path, name):
    change, rows, said = WRONG[name]
    edited(tmp_path, change, rows)
    done = call(tmp_path, "run", "-m", "majority", "-t", "toy", "--path", ".")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_right_task_is_said_to_be_so_with_what_it_leaves_open(tmp_path):
    file = edited(tmp_path, {"rows: 4": "", "speech: synthetic, ": ""}, lambda rows: [r.pop("cluster") for r in rows])
    done = call(tmp_path, "validate", file.name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [
        "toy.yaml: a valid task: toy",
        "  toy, edition mini: 4 samples in 4 clusters, 0:01 of audio",
    ]
    assert "4 rows; the task does not say how many there must be (`rows: 4` would)" in done.stdout
    assert "no cluster column: every sample counts as independent of all others" in done.stdout
    assert "the task does not say whether speech is human or synthetic" in done.stdout


def test_a_prompt_that_shows_the_words_spoken_is_right_and_noted(tmp_path):
    file = edited(tmp_path, {"Say {what}.": "'Answer {text}.'"})
    done = call(tmp_path, "validate", file.name)
    assert done.returncode == 0, done.stderr
    assert (
        "toy, edition mini: the prompt shows {text}, the transcript: a model could answer without the audio"
        in done.stdout
    )


def test_what_a_task_leaves_open_is_kept_with_its_runs(tmp_path):
    edited(tmp_path, {"rows: 4": ""}, lambda rows: [row.pop("cluster") for row in rows])
    done = call(tmp_path, "run", "-m", "majority", "-t", "toy", "--path", ".")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no cluster column") == 1
    assert "`rows: 4` would" in done.stdout


def test_data_that_is_not_here_is_no_mistake_and_is_named(tmp_path):
    done = call(tmp_path, "validate", str(builtin_folder() / "tasks" / "meld.yaml"))
    assert done.returncode == 0, done.stderr
    assert "edition full: its data is not on this machine, and was not read: meld" in done.stdout
    assert "meld, edition mini: 203 samples in 203 clusters" in done.stdout


def test_all_files_are_looked_at(tmp_path):
    edited(tmp_path / "one", {"contains": "zzz"})
    done = call(tmp_path, "validate", "one/toy.yaml", "gone.yaml", str(builtin_folder() / "models" / "cascade.yaml"))
    assert done.returncode == 2
    assert "zzz" in done.stderr
    assert "gone.yaml: cannot be read" in done.stderr
    assert "a valid model: cascade" in done.stdout


# ---------------------------------------------------------------- which metrics there are


@pytest.mark.parametrize(
    ("scorers", "metrics"),
    [
        ({"qa": {}}, {"contains", "em", "f1"}),
        ({"chrf": {"word_order": 0}}, {"chrf2"}),
        ({"chrf": {"word_order": [0, 2]}}, {"chrf2", "chrf++"}),
        ({"wer": {}}, {"wer"}),
        ({"wer": {"of": "heard"}}, {"wer"}),
        ({"wer": {"unit": "char"}}, {"cer"}),
        ({"bleu": {}, "sentence_bleu": {}}, {"bleu", "mean_sentence_bleu"}),
        ({"pedants": {}}, {"pedants", "pedants_rate"}),
        ({"llm_judge": {"model": "oracle", "edition": "mini"}}, {"judge", "judge_unparsed"}),
        ({"adherence": {}}, {"truncated", "empty", "looping", "answer_words", "transcribes", "refused"}),
        (
            {"labels": {}},
            {"accuracy", "weighted_f1", "mcc", "accuracy_first", "accuracy_norm", "predicted_a", "unparsed"},
        ),
        ({"labels": {"positive": "a"}}, {"binary_f1", "binary_f1_first"}),
        ({"given": {}}, {"released"}),
    ],
)
def test_the_metrics_of_a_task_are_known_before_anybody_is_asked(scorers, metrics, monkeypatch, tmp_path):
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    catalog = Catalog()
    task = catalog.task("heysquad", "mini")
    choices = ("a", "b") if "labels" in scorers else None
    samples = [Sample("1", ("a",), "c", transcript="a b c d e"), Sample("2", ("b",), "c", transcript="a b")]
    for metric in [*metrics, "no_metric"]:
        asked = task.model_copy(update={"scorers": scorers, "primary": metric, "choices": choices})
        if metric == "no_metric":
            with pytest.raises(Exception, match="unknown metric 'no_metric'"):
                primary.check_primary(asked, catalog.scorers(asked), samples)
        else:
            primary.check_primary(asked, catalog.scorers(asked), samples)


class Moody:
    """Another package's scorer, which a made-up answer is not enough for."""

    signature = "moody"
    higher_is_better = True

    def measure(self, sample: Sample, response: Any) -> dict[str, float]:
        raise KeyError("mood")

    def reduce(self, totals: Any) -> dict[str, Any]:
        return {}


def test_a_scorer_that_cannot_tell_its_metrics_may_give_any():
    task = Catalog().task("heysquad", "mini").model_copy(update={"primary": "mood"})
    primary.check_primary(task, {"moody": Moody()}, [Sample("1", ("a",), "c")])


LOCAL = "name: local\nadapter: oracle\ndescription: a test\nweights: {llm: {folder: weights}}\n"


def test_a_folder_of_weights_that_is_not_here_is_no_mistake_and_is_named(tmp_path):
    (tmp_path / "local.yaml").write_text(LOCAL)
    done = call(tmp_path, "validate", "local.yaml")
    assert done.returncode == 0
    assert "its weights llm: the folder" in " ".join(done.stdout.split())
    assert "is not on this machine" in " ".join(done.stdout.split())


def test_a_folder_without_weights_is_a_mistake_before_a_model_is_run(tmp_path):
    (tmp_path / "local.yaml").write_text(LOCAL)
    (tmp_path / "weights").mkdir()
    done = call(tmp_path, "validate", "local.yaml")
    assert done.returncode != 0
    assert "has no weights that are read" in " ".join((done.stdout + done.stderr).split())
