"""Scores of whole labels from a server that tells log-likelihoods of prompt tokens, against those of the same model here."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from chat_server import FAST, Body, Reply, completion, error, serving
from command_line import call
from mini_task import write
from test_asr_server import ask, spec
from tiny_models import make_llm
from transformers import AutoModelForCausalLM, AutoTokenizer

from diva_bench.adapters.openai_chat import OpenAIChat
from diva_bench.adapters.oracle import Oracle
from diva_bench.runs.records import flag, of_folder
from diva_bench.server.budget import Budget, estimated
from diva_bench.types import FIRST_TOKEN, Request

LABELS = ("happy", "sad", "neutral mood", "anger")


class Exact:
    """A server of a tiny LLM that answers `prompt_logprobs` as vLLM does. `spoil` changes an answer."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)  # type: ignore[no-untyped-call]
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.spoil: dict[str, Any] = {}
        self.off = 0.0

    @torch.inference_mode()
    def __call__(self, body: Body, before: int) -> Reply:
        begun = body.get("continue_final_message", False)
        text = self.tokenizer.apply_chat_template(
            body["messages"], tokenize=False, add_generation_prompt=body.get("add_generation_prompt", not begun),
            continue_final_message=begun,
        )  # fmt: skip
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        table = torch.log_softmax(self.model(torch.tensor([ids])).logits[0].float(), -1)
        values, places = table[-1].topk(20)
        top = [
            {"token": self.tokenizer.decode([p]), "logprob": v}
            for p, v in zip(places.tolist(), values.tolist(), strict=True)
        ]
        answer = json.loads(completion("sad", logprobs={"content": [{**top[0], "top_logprobs": top}]}).body)
        if "prompt_logprobs" in body:
            told = [table[k - 1, ids[k]].item() + self.off for k in range(1, len(ids))]
            answer["prompt_logprobs"] = [None] + [
                {str(i): {"logprob": v, "rank": 1, "decoded_token": "x"}} for i, v in zip(ids[1:], told, strict=True)
            ]
        return Reply(body=json.dumps(answer | self.spoil).encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llm(tmp_path_factory.mktemp("weights") / "llm")


def questions(count: int = 3) -> list[Request]:
    return [
        Request(str(k), "How does it sound?", transcript=f"words {k}", choices=LABELS, max_new_tokens=4)
        for k in range(count)
    ]


def far(url: str) -> OpenAIChat:
    return OpenAIChat(spec("openai_chat", None, url, model="m", input="text", labels="exact"), {}, "cpu")


def test_scores_of_whole_labels_are_those_of_the_same_model_on_this_machine(folder: Path) -> None:
    with serving(Exact(folder)) as server:
        got = ask(far(server.url), questions())
    here = Oracle(spec("oracle", None), {"llm": folder}, "cpu").generate(questions())
    for one, other in zip(got, here, strict=True):
        assert (one.status, one.detail) == ("ok", "")
        assert one.choices is not None
        assert other.choices is not None
        for label in LABELS:
            assert one.choices[label].tokens == other.choices[label].tokens
            assert one.choices[label].total == pytest.approx(other.choices[label].total, abs=1e-4)
            assert one.choices[label].first == pytest.approx(other.choices[label].first, abs=1e-4)
    assert any(one.choices[label].tokens > 1 for label in LABELS for one in got if one.choices)
    assert sum(server.asked.values()) <= 1 + 2 + 3 + 3 * (2 + len(LABELS)), (
        "is it there, proof, and one for every label"
    )


SPOILT = [
    ({"prompt_logprobs": None}, 0.0, "gives no log-likelihoods of prompt tokens (prompt_logprobs)"),
    ({"prompt_logprobs": "no"}, 0.0, "gives no log-likelihoods of prompt tokens (prompt_logprobs)"),
    ({"prompt_logprobs": [None, {"1": {"logprob": "x"}}]}, 0.0, "has no log-likelihood of token 1 of the prompt"),
    ({"prompt_logprobs": [None, {"1": {"logprob": -1.0}, "2": {"logprob": -2.0}}]}, 0.0, "of token 1 of the prompt alone"),
    ({"prompt_logprobs": [None, {"1": {"logprob": -1.0}}]}, 0.0, "has no tokens in the prompt"),
    ({}, -1.0, "as a label, and"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "off", "words"), SPOILT)
def test_a_server_that_does_not_prove_it_gives_first_tokens_and_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture, spoil: dict[str, Any], off: float, words: str
) -> None:
    answer = Exact(folder)
    answer.spoil, answer.off = spoil, off
    with serving(answer) as server, caplog.at_level(logging.WARNING, "diva_bench"):
        got = ask(far(server.url), questions(1))
    assert "labels: exact: this server gives no scores of whole labels" in caplog.text
    assert words in caplog.text
    assert got[0].status == "ok"
    assert got[0].detail.startswith(("label scores: first token only", "no label scores: "))


def test_a_server_that_refuses_these_questions_is_asked_for_first_tokens(folder: Path) -> None:
    exact = Exact(folder)

    def answer(body: Body, before: int) -> Reply:
        return error(400, "unknown key prompt_logprobs") if "prompt_logprobs" in body else exact(body, before)

    with serving(answer) as server:
        [got] = ask(far(server.url), questions(1))
    assert got.status == "ok"


def test_the_requests_for_labels_are_estimated() -> None:
    model = spec("openai_chat", None, "http://h/v1", model="m", input="text", labels="exact")
    assert estimated(model, [(q, 0.0) for q in questions(2)]).startswith("12 requests")
    assert Budget().requests == 0


def test_a_table_marks_labels_by_first_token(tmp_path: Path) -> None:
    place = write(tmp_path / "specs", 4)
    task = yaml.safe_load((place / "toy.yaml").read_text())
    task |= {"choices": ["yes", "no"], "scorers": {"labels": {}}, "primary": "accuracy"}
    (place / "toy.yaml").write_text(yaml.safe_dump(task))
    rows = [json.loads(line) for line in (place / "toy.jsonl").read_text().splitlines()]
    (place / "toy.jsonl").write_text("".join(json.dumps({**row, "answers": ["yes"]}) + "\n" for row in rows))
    top = [{"token": "yes", "logprob": -0.1}, {"token": "no", "logprob": -2.5}]
    reply = completion("yes", logprobs={"content": [{"token": "yes", "logprob": -0.1, "top_logprobs": top}]})
    with serving(lambda body, before: reply) as server:
        model = {"name": "far", "adapter": "openai_chat", "description": "d", "args": {"model": "m", "input": "text"}}
        model |= {"server": {"urls": [server.url], **FAST}, "runtime": {"dtype": "float32"}}
        (place / "far.yaml").write_text(yaml.safe_dump(model))
        got = call(tmp_path, "run", "-m", "far", "-t", "toy", "--path", "specs")
    assert got.returncode == 0, got.stderr
    [folder] = tmp_path.glob("results/*/far-*")
    assert "labels by first token: 4 of 4" in flag(of_folder(folder))
    assert json.loads((folder / "summary.json").read_text())["first_token"] == 4
    assert {json.loads(line)["detail"] for line in (folder / "responses.jsonl").read_text().splitlines()} == {
        FIRST_TOKEN
    }
    shown = call(tmp_path, "leaderboard", "--details", "--path", "specs").stdout
    assert "labels by first token: a server told only the probabilities of the first token" in " ".join(shown.split())
