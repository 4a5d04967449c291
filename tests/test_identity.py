"""What a question depends on is in its identity: another question is another folder, and is asked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mini_task
import pytest
from command_line import Command, here
from tiny_models import CHAT, make_llm, store

from diva_bench import data
from diva_bench.audio import perturbations
from diva_bench.catalog import Catalog
from diva_bench.data import Dataset
from diva_bench.decoding import chat
from diva_bench.decoding.llm import LLM
from diva_bench.predictions import imported
from diva_bench.runs.runner import Job
from diva_bench.specs import TaskSpec, digest, digest_of_rows
from diva_bench.types import Request, Sample, Silent

Rows = list[dict[str, Any]]
SPEC = """\
name: toy
version: 1
description: a test
prompt: "{told} Is it {choices}?"
system: "Be {manner}."
choices: ["yes", "no"]
reference: label
speaker: voice
decode: {max_new_tokens: 4, temperature: 0.5}
scorers: {labels: {}}
primary: accuracy
editions:
  mini: {source: jsonl, path: toy.jsonl, rows: 4}
"""


def rows() -> Rows:
    return [
        {
            "id": f"q{i}",
            "audio": f"audio/q{i}.wav",
            "text": f"words {i}",
            "told": f"passage {i}",
            "manner": f"kind {i}",
            "label": "yes" if i % 2 else "no",
            "voice": "ab"[i // 2],
            "note": f"note {i}",
            "cluster": f"c{i}",
        }
        for i in range(4)
    ]


def first(**changes: Any) -> Callable[[Rows], Rows]:
    return lambda table: [{**table[0], **changes}, *table[1:]]


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """The Job of echo and the task above, with its rows or its YAML changed; `options` go to the Job."""

    def make(change: Callable[[Rows], Rows] = lambda t: t, old: str = "", new: str = "", **options: Any) -> Job:
        folder = tmp_path / digest([change(rows()), new])[:8]
        for i in range(4):
            mini_task.clip(folder / f"audio/q{i}.wav", 0.2, pitch=200 + 50 * i)
        mini_task.write(folder, table=change(rows()), name="toy")
        assert SPEC.count(old) == 1 or not old
        (folder / "toy.yaml").write_text(SPEC.replace(old, new))
        catalog = Catalog([folder])
        task = catalog.task("toy", "mini")
        found = data.load(task, tmp_path / "cache", Silent())
        accepts = frozenset({"audio", "text"})
        return Job(task, catalog.model("echo", "mini"), found, catalog.scorers(task), accepts, "1", **options)

    return make


QUESTION: dict[str, tuple[dict[str, Any], ...]] = {  # field of a Request -> what changes it
    "id": ({"change": first(id="z")},),
    "prompt": (
        {"change": first(told="another passage")},
        {"old": "Is it", "new": "Was it"},
    ),
    "system": ({"change": first(manner="rude")}, {"old": "Be {", "new": "Stay {"}),
    "transcript": ({"change": first(text="other words")}, {"change": first(text=None)}),
    "audio": ({"change": first(audio="audio/q1.wav")}, {"control": perturbations.parse("silence")}),
    "choices": ({"old": '["yes", "no"]', "new": '["no", "yes"]'},),
    "max_new_tokens": ({"old": "max_new_tokens: 4", "new": "max_new_tokens: 5"},),
    "temperature": ({"old": "temperature: 0.5", "new": "temperature: 0.25"},),
    "seed": ({"seed": 1},),
    "prior": ({"change": first(label="yes")}, {"change": first(voice="b")}),
    "fields": ({"old": "description: a test", "new": "description: a test\nfields: {language_code: de}"},),
}


def test_the_table_below_has_every_field_of_a_request() -> None:
    assert QUESTION.keys() == {field.name for field in dataclasses.fields(Request)}


@pytest.mark.parametrize("change", [change for changes in QUESTION.values() for change in changes])
def test_whatever_changes_a_request_makes_another_task_folder(job: Callable[..., Job], change: dict[str, Any]) -> None:
    assert job(**change).task_record["id"] != job().task_record["id"]


@pytest.mark.parametrize(
    "change",
    [
        {"change": lambda table: table[::-1]},
        {"change": first(cluster="z")},
        {"change": first(note="z")},
        {"old": "description: a test", "new": "description: the same test"},
        {"old": "scorers: {labels: {}}", "new": "scorers: {labels: {}, adherence: {}}"},
        {"control": None, "limit": 4},
    ],
)
def test_what_changes_no_request_leaves_the_task_folder(job: Callable[..., Job], change: dict[str, Any]) -> None:
    assert job(**change).task_record == job().task_record


def test_a_shuffled_condition_is_another_one_where_other_clips_are_heard(job: Callable[..., Job]) -> None:
    """Who hears whose clip depends on the clusters, which no other condition does."""
    together = lambda table: [{**row, "cluster": "ab"[i % 2]} for i, row in enumerate(table)]  # noqa: E731
    for name, same in (("shuffled", False), ("silence", True)):
        ids = {job(change, control=perturbations.parse(name)).task_record["id"] for change in (lambda t: t, together)}
        assert (len(ids) == 1) == same


def test_the_data_of_a_question_is_what_its_wordings_have_in_common(job: Callable[..., Job]) -> None:
    plain, reworded = job(), job(old="Is it", new="Was it")
    assert plain.task_record["fingerprint"] == reworded.task_record["fingerprint"]
    assert plain.task_record["questions"] != reworded.task_record["questions"]


def test_of_scores_without_gold_labels_no_question_is_rendered(job: Callable[..., Job]) -> None:
    """The task's prompt shows columns of the data, which is not at hand."""
    task: TaskSpec = imported.without_gold(job().task)
    found: Dataset = dataclasses.replace(job().dataset, samples=(Sample("q0", ("x",), "q0"),), questions=False)
    record = dataclasses.replace(job(), task=task, dataset=found).task_record
    assert record["questions"] is None


@pytest.mark.parametrize("value", [[], [[1, "ä"]], [{"b": None, "a": "\ud800"}, 0.5, [True]]])
def test_rows_hashed_one_by_one_have_the_hash_of_their_list(value: list[Any]) -> None:
    assert digest_of_rows(iter(value)) == digest(value)


@pytest.mark.parametrize("column", ["passage", "text"])
def test_corrected_data_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str) -> None:
    """The command as typed: a model that says its prompt, or the transcript, gets the corrected one."""
    call = here(tmp_path, monkeypatch)
    mini_task.model(tmp_path, "says", reply="prompt" if column == "passage" else "transcript")
    for said in ("wrong", "right"):
        table = [
            {
                "id": f"s{i}",
                "audio": f"{i}.wav",
                "cluster": f"c{i}",
                "answers": [f"right {i}"],
                "text": "",
                "passage": "",
            }
            | {column: f"{said} {i}"}
            for i in range(3)
        ]
        mini_task.write(tmp_path, table=table, name="toy")
        text = (tmp_path / "toy.yaml").read_text().replace("groups: [voice]\nfields: {what: it}\n", "")
        (tmp_path / "toy.yaml").write_text(text.replace("Say {what}.", '"{passage} Answer."'))
        done = call("run", "--path", ".", "-m", "says", "-t", "toy")
        assert done.returncode == 0, done.stderr
    assert "answered before" not in done.stderr
    assert "100.0 [100.0, 100.0]" in done.stdout
    assert len(list((tmp_path / "results").glob("toy-*"))) == 2


# ---------------------------------------------------------------- the chat frame


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    """A task, and `reader`: the oracle with an LLM of a few kilobytes."""
    folder = mini_task.write(tmp_path / "specs", count=3)
    store(make_llm(tmp_path / "llm"), folder, "tiny")
    (folder / "reader.yaml").write_text(
        "name: reader\nadapter: oracle\ndescription: d\nweights: {llm: tiny}\nruntime: {dtype: float32}\n"
    )
    return folder


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return here(tmp_path, monkeypatch)


ASK = ("run", "--path", "specs", "-m", "reader", "-t", "toy")


def runs(results: Path) -> list[str]:
    return sorted(path.parent.name for path in results.glob("*/*/run.json"))


def test_a_run_has_the_rendered_frame_on_record_and_in_its_identity(call: Command, specs: Path, tmp_path: Path) -> None:
    assert call(*ASK).returncode == 0
    record = json.loads(next((tmp_path / "results").glob("*/*/run.json")).read_text())
    assert record["frame"] == "<|start|>user\n{prompt}\n\n{speech}<|end|>\n<|start|>assistant\n"
    again = call(*ASK)
    assert "all 3 answered before" in again.stderr, "the same before and after the model was loaded"
    # what renders it changed, not the weights: as another version of the template library would
    chat.frame.cache_clear()
    store(make_llm(tmp_path / "llm", template=CHAT.replace("<|start|>", "<|over|>")), specs, "tiny")
    assert call(*ASK).returncode == 0
    assert len(set(runs(tmp_path / "results"))) == 2


def test_a_dry_run_names_the_folder_that_the_run_then_has(call: Command, specs: Path, tmp_path: Path) -> None:
    planned = next(line for line in call(*ASK, "--dry-run").stdout.splitlines() if "folder:" in line)
    assert call(*ASK).returncode == 0
    assert (
        planned.split()[-1] == f"results/{next((tmp_path / 'results').glob('*')).name}/{runs(tmp_path / 'results')[0]}"
    )


def test_without_its_weights_a_run_is_found_by_the_frame_on_record(call: Command, specs: Path, tmp_path: Path) -> None:
    """A frame is known with the weights; runs that are there are compared without them."""
    for model in ("reader", "echo"):
        assert call("run", "--path", "specs", "-m", model, "-t", "toy").returncode == 0
    (tmp_path / "llm").rename(tmp_path / "gone")
    ablate = ("ablate", "--path", "specs", "-t", "toy", "--base", "echo", "--against", "reader", "--no-ask")
    assert call(*ablate).returncode == 0
    dry = call(*ASK, "--dry-run").stdout
    assert f"/{runs(tmp_path / 'results')[-1]}" in dry
    assert "3 answered" in dry
    dry = call(*ASK, "--dry-run", "--output", "elsewhere").stdout
    assert "folder: in elsewhere/toy-" in dry
    assert "; its name is known when the weights are here" in dry


def test_a_template_that_takes_no_system_message_is_asked_with_it_in_the_users_turn(
    call: Command, specs: Path, tmp_path: Path
) -> None:
    refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    store(make_llm(tmp_path / "llm", template=refuse + CHAT), specs, "tiny")
    text = (specs / "toy.yaml").read_text()
    (specs / "toy.yaml").write_text(text.replace("groups:", "system: Be brief.\ngroups:"))
    assert call(*ASK).returncode == 0
    (record,) = (tmp_path / "results").glob("*/*/run.json")
    assert "{system}\\n\\n{prompt}" in record.read_text()


def test_an_adapter_that_needs_a_template_is_refused_without_its_weights(call: Command, specs: Path) -> None:
    (specs / "reader.yaml").write_text("name: reader\nadapter: oracle\ndescription: d\n")
    done = call(*ASK)
    assert done.returncode == 2
    assert "model reader: adapter oracle needs weights of the role llm; the model names none." in done.stderr


# ---------------------------------------------------------------- the day

BEGIN = "{{ bos_token }}"
TURNS = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
DATED = {  # the parts of real templates that say the day
    "Llama 3.1": (
        "{% if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}Today Date: {{ date_string }}\n",
        "Today Date: 26 Jul 2024\n",
    ),
    "Llama 3.2": (
        "{% if not date_string is defined %}{% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
        "{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}Today Date: {{ date_string }}\n",
        "Today Date: 26 Jul 2024\n",
    ),
    "Granite 3": (
        "{% set system_message = \"Knowledge Cutoff Date: April 2024.\\nToday's Date: \" + strftime_now('%B %d, %Y') %}"
        "{{ system_message }}\n",
        "Knowledge Cutoff Date: April 2024.\nToday's Date: July 26, 2024\n",
    ),
    "Mistral Small": (
        "{% set today = strftime_now('%Y-%m-%d') %}The date is {{ today }}.\n",
        "The date is 2024-07-26.\n",
    ),
}


@pytest.mark.parametrize(("begin", "rendered"), DATED.values(), ids=DATED)
def test_every_template_is_told_the_same_day(tmp_path: Path, begin: str, rendered: str) -> None:
    llm = LLM.load(make_llm(tmp_path, template=BEGIN + begin + TURNS))
    before, after = llm.frame("Answer.", None)
    assert llm.tokenizer.decode(before) == f"<|start|>{rendered}<|start|>user\nAnswer.\n\n"
    assert llm.tokenizer.decode(after) == "<|end|>\n<|start|>assistant\n"
    framed = f"<|start|>{rendered}<|start|>user\n{{prompt}}\n\n{{speech}}<|end|>\n<|start|>assistant\n"
    assert chat.frame(tmp_path, False) == framed
