"""What is sent to a server and what is taken from its answers: audio, labels, budgets, judges; in this process."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import soundfile
from chat_server import Body, Reply, clip_bytes, completion, lines, model, run, said, serving
from command_line import call
from mini_task import write

from diva_bench.adapters.openai_chat import OpenAIChat
from diva_bench.catalog import Catalog
from diva_bench.decoding.stream import stream
from diva_bench.errors import SpecError, Stop, UserError
from diva_bench.server.budget import Budget
from diva_bench.server.completions import first_scores
from diva_bench.server.pace import named_pause
from diva_bench.specs import ModelSpec, Runtime, Server
from diva_bench.types import Audio, LabelScore, Request, Response


def spec(url: str = "http://127.0.0.1:9/v1", server: dict[str, Any] | None = None, **args: Any) -> ModelSpec:
    reached = {"urls": (url,), "timeout": 5.0, "tries": 2, "longest_wait": 0.05, **(server or {})}
    return ModelSpec(
        name="far", edition=None, adapter="openai_chat", description="", citation="", licence="", weights={},
        args={"model": "m", **args}, runtime=Runtime(dtype="float32"), training=None, server=Server(**reached),
    )  # fmt: skip


def clip(seconds: float) -> Audio:
    return Audio(np.linspace(-0.5, 0.5, int(seconds * 16_000), dtype=np.float32), 16_000)


def ask(spec: ModelSpec, *requests: Request, budget: Budget | None = None) -> list[Response]:
    adapter = OpenAIChat(spec, {}, "cpu", budget)
    try:
        return adapter.generate(requests)
    finally:
        adapter.close()


def hears(body: Body, before: int) -> Reply:
    """As many prompt tokens as the clip is long."""
    return completion("yes", prompt_tokens=10 + clip_bytes(body) // 4000)


# ---------------------------------------------------------------- audio


@pytest.mark.parametrize("part", ["input_audio", "audio_url"])
@pytest.mark.parametrize("first", [False, True])
def test_a_clip_is_sent_as_a_wav_file_in_the_form_and_order_of_the_model(part, first):
    with serving(hears) as server:
        request = Request("a", "What is said?", audio=clip(2.0), system="Be brief.")
        [got] = ask(spec(server.url, audio=part, audio_first=first, body={"top_p": 0.5, "temperature": None}), request)
    assert got.text == "yes"
    body = server.bodies[-1]
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert {k: v for k, v in body.items() if k != "messages"} == {"model": "m", "max_tokens": 64, "top_p": 0.5}
    parts = body["messages"][1]["content"]
    assert [p["type"] for p in parts] == ([part, "text"] if first else ["text", part])
    sent = parts[0 if first else 1][part]
    data = sent["data"] if part == "input_audio" else sent["url"].removeprefix("data:audio/wav;base64,")
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(wave, clip(2.0).samples, atol=1 / 32767)
    assert got.tokens == {"prompt": 10 + clip_bytes(body) // 4000, "new": 2}


def test_a_clip_that_is_too_long_is_unsupported_and_a_very_short_one_ends_with_silence():
    with serving(hears) as server:
        far = spec(server.url, max_seconds=20.0, min_seconds=0.5)
        long, short, none = ask(
            far, Request("l", "", audio=clip(20.1)), Request("s", "", audio=clip(0.01)), Request("n", "")
        )
        sent = server.bodies[-1]["messages"][-1]["content"][0]["input_audio"]["data"]
    assert (long.status, long.detail) == ("unsupported", "audio is 20.1 s; this model takes at most 20 s")
    assert (none.status, none.detail) == ("unsupported", "this sample has no audio")
    assert short.status == "ok"
    assert soundfile.info(io.BytesIO(base64.b64decode(sent))).frames == 8000
    assert sum(server.asked.values()) == 3, "two questions to check the server, and one sample"


COUNTS = [  # tokens without a clip, with 1 s, with 5 s; what is said
    (
        10,
        10,
        10,
        "the server does not hear audio: it counts 10 prompt tokens with a clip of 1 s and 10 with one of 5 s (10",
    ),
    (10, 13, 13, "the server does not hear audio"),
    (10, 385, 385, ""),
    (10, 22, 60, ""),
]


@pytest.mark.parametrize(("none", "short", "long", "words"), COUNTS)
def test_a_server_that_drops_audio_is_found_out_before_the_first_sample(none, short, long, words):
    def answer(body: Body, before: int) -> Reply:
        size = clip_bytes(body)
        return completion("yes", prompt_tokens=none if size == 0 else short if size < 100_000 else long)

    with serving(answer) as server:
        if words:
            with pytest.raises(Stop) as stopped:
                ask(spec(server.url), Request("a", "", audio=clip(1.0)))
            assert words in str(stopped.value)
        else:
            assert ask(spec(server.url), Request("a", "", audio=clip(1.0)))[0].status == "ok"


def test_a_server_without_token_counts_is_used_with_a_warning(caplog):
    def answer(body: Body, before: int) -> Reply:
        return Reply(body=b'{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}')

    with serving(answer) as server, caplog.at_level(logging.WARNING, "diva_bench"):
        assert ask(spec(server.url), Request("a", "", audio=clip(1.0)))[0].text == "yes"
    assert "does not report usage.prompt_tokens" in caplog.text


def test_it_works_where_an_event_loop_runs_as_in_a_notebook():
    async def cell() -> list[Response]:
        return ask(spec(server.url), Request("a", "", audio=clip(1.0)))

    with serving(hears) as server:
        assert asyncio.run(cell())[0].text == "yes"


# ---------------------------------------------------------------- labels

TOPS = [  # the most likely first tokens, labels, label scores or the reason why there are none
    ([("happy", -0.1), ("sad", -2.5)], ("happy", "sad"), {"happy": -0.1, "sad": -2.5}),
    ([(" hap", -0.2), ("h", -0.1), ("\u2581sad", -3.0)], ("happy", "sad"), {"happy": -0.2, "sad": -3.0}),
    ([("not", -0.2), ("sarcastic", -1.0)], ("not sarcastic", "sarcastic"), {"not sarcastic": -0.2, "sarcastic": -1.0}),
    ([("h", -0.1), ("sad", -1.0)], ("happy", "sad"), "'happy' does not begin with one of the 2 most likely"),
    ([("neg", -0.1)], ("negative", "negation"), "'negation' and another label have the first token 'neg'"),
    ([("sad", -1.0)], ("happy", "sad"), "'happy' does not begin"),
    ([], ("happy",), "the server gives no probabilities of tokens"),
]


@pytest.mark.parametrize(("top", "labels", "expected"), TOPS)
def test_label_scores_come_from_the_first_tokens_if_all_labels_have_their_own(top, labels, expected):
    scores, detail = first_scores(top, labels)
    if isinstance(expected, str):
        assert scores is None
        assert detail.startswith("no label scores: ")
        assert expected in detail
    else:
        assert scores == {label: LabelScore(value, 1, value) for label, value in expected.items()}
        assert detail == "label scores: first token only"


def with_tops(*tops: tuple[object, object]) -> dict[str, Any]:
    listed = [{"token": token, "logprob": value} for token, value in tops]
    return {"logprobs": {"content": [{"token": "x", "logprob": 0.0, "top_logprobs": listed}]}}


def test_a_server_that_gives_probabilities_is_asked_for_them_and_one_that_refuses_is_not():
    asking = Request("a", "Which?", transcript="words", choices=("happy", "sad"))

    def gives(body: Body, before: int) -> Reply:
        assert body.get("logprobs") is None or body["top_logprobs"] == 20
        more = (
            with_tops(("sad", -0.5), ("happy", -1.5), ("bad", float("nan")), ("x", "y")) if "logprobs" in body else {}
        )
        return completion("Sad.", **more)

    def refuses(body: Body, before: int) -> Reply:
        return Reply(422, b'{"detail": "unknown key"}') if "logprobs" in body else completion("Sad.")

    with serving(gives) as server:
        [got] = ask(spec(server.url, input="text"), asking)
    assert got.choices == {"happy": LabelScore(-1.5, 1, -1.5), "sad": LabelScore(-0.5, 1, -0.5)}
    with serving(refuses) as server:
        [got] = ask(spec(server.url, input="text"), asking)
        assert server.bodies[-1].get("logprobs") is None
    assert (got.status, got.choices, got.text) == ("ok", None, "Sad.")
    assert got.detail == "no label scores: the server gives no probabilities of tokens"
    with serving(gives) as server:
        [got] = ask(spec(server.url, input="text", labels="text"), asking)
        assert not any("logprobs" in body for body in server.bodies)
    assert got.choices is None


# ---------------------------------------------------------------- budgets


def test_a_run_stops_at_its_number_of_requests_and_the_next_one_continues(tmp_path):
    write(tmp_path / "specs", 9)
    with serving(lambda body, before: completion("yes")) as server:
        model(tmp_path / "specs", server.url)
        got = run(tmp_path, "--max-requests", "5")
        assert got.returncode == 1
        assert "stopped: 5 requests were sent, as many as --max-requests allows. 4 of 9 answers are kept" in got.stderr
        assert sum(server.asked.values()) == 5
        assert run(tmp_path).returncode == 0
    assert len(lines(tmp_path)) == 9


def test_a_run_stops_before_it_can_cost_more_than_is_allowed(tmp_path):
    write(tmp_path / "specs", 9)
    prices = {"input": 1000.0, "output": 1000.0, "currency": "EUR"}  # 9 tokens of an answer that came: 0.009
    with serving(lambda body, before: completion("yes")) as server:
        model(tmp_path / "specs", server.url, prices=prices, in_flight=1)
        dry = run(tmp_path, "--dry-run")
        assert "9 requests, and a few to check the server; cost: about 0." in dry.stdout
        assert "EUR at most" in dry.stdout
        assert not server.bodies, "a dry run sends nothing"
        got = run(tmp_path, "--max-cost", "0.12")
        assert "another one could exceed --max-cost 0.12" in got.stderr
        sent = sum(server.asked.values())
        assert sent * 0.009 <= 0.12
        assert 2 < sent < 9
        model(tmp_path / "specs", server.url)
        refused = run(tmp_path, "--max-cost", "1")
    assert refused.returncode == 2
    assert "--max-cost: model far has no prices. Add them to its YAML" in refused.stderr


# ---------------------------------------------------------------- identity, settings


def test_the_address_is_recorded_and_is_not_part_of_the_identity_and_the_name_of_the_model_is():
    one, other = spec("http://a.example/v1"), spec("http://b.example/v1", {"timeout": 1.0})
    assert one.hash == other.hash
    assert one.hash != spec("http://a.example/v1", model="n").hash
    assert one.model_dump(mode="json")["server"]["urls"] == ["http://a.example/v1"]
    assert "server" not in Catalog().model("echo", "mini").model_dump(), "records of other models stay as they are"


def test_a_run_of_a_server_is_marked_as_not_repeatable(tmp_path):
    write(tmp_path / "specs", 3)
    with serving(lambda body, before: completion("yes")) as server:
        model(tmp_path / "specs", server.url)
        got = run(tmp_path)
    assert "not repeatable" in " ".join(got.stdout.split())
    assert not json.loads(next(tmp_path.glob("results/*/far-*/summary.json")).read_text())["repeatable"]
    assert "the model is behind a server" in " ".join(
        call(tmp_path, "leaderboard", "--details", "--path", "specs").stdout.split()
    )


WRONG = [
    ({"urls": ["http://me:hidden-word@h/v1"]}, "URL 1 must have no user, password, query or fragment"),
    ({"urls": ["http://h/v1?key=hidden-word"]}, "URL 1 must have no user, password, query or fragment"),
    ({"urls": ["file:///hidden-word"]}, "URL 1 must begin with http:// or https://"),
    ({"urls": ["http://h/v1/chat/completions"]}, "URL 1 must end before /chat/completions"),
    ({"urls": ["http://h/v1", "http://h/v1"]}, "urls has the same URL twice"),
    ({"urls": ["http://h:99999/v1"]}, "URL 1 cannot be read as a URL"),
    ({"urls": ["http://h/\u00e9 hidden-word"]}, "URL 1 must have at most 2000 visible ASCII characters"),
    ({"key": "hidden-word"}, "key must be the name of an environment variable in capital letters"),
    ({"key_header": "x: hidden-word"}, "key_header must be the name of an HTTP header"),
    ({"in_flight": 0}, "in_flight: must be 1 or more"),
    ({"prices": {"input": -1.0, "output": 1.0}}, "prices.input: must be 0 or more"),
    ({"adress": "x"}, "unknown key 'server.adress'"),
]


@pytest.mark.parametrize(("server", "words"), WRONG)
def test_a_wrong_address_is_told_without_repeating_what_may_be_a_secret(tmp_path, server, words):
    write(tmp_path / "specs", 1)
    server = {"urls": ["http://h/v1"], **server}
    model(tmp_path / "specs", *server.pop("urls"), **server)
    got = call(tmp_path, "validate", "specs/far.yaml")
    assert words in " ".join((got.stdout + got.stderr).split())
    assert "hidden-word" not in got.stdout + got.stderr
    assert got.returncode != 0


ARGS = [
    ({"model": ""}, "needs the name that the model has on its server: args: {model: NAME}"),
    ({"input": "video"}, "input is 'video'. Allowed: audio, text"),
    ({"labels": "whole"}, "labels is 'whole'. Allowed: auto, exact, text"),
    ({"max_seconds": 0.01}, "min_seconds and max_seconds must be finite"),
    ({"body": {"messages": []}}, "body cannot have the key 'messages'"),
    ({"modle": "x"}, "no argument 'modle'"),
]


@pytest.mark.parametrize(("args", "words"), ARGS)
def test_a_wrong_setting_is_told_before_anything_is_sent(args, words):
    with pytest.raises(SpecError, match="model far: adapter openai_chat") as refused:
        Catalog().adapter_for(spec(**args))
    assert words in str(refused.value)


def test_the_shipped_pattern_needs_a_model_and_extending_it_takes_two_lines(tmp_path):
    pattern = Catalog().model("server", "mini")
    with pytest.raises(SpecError, match="needs the name that the model has on its server"):
        Catalog().adapter_for(pattern)
    (tmp_path / "mine.yaml").write_text("name: mine\nextends: server\ndescription: d\nargs: {model: qwen}\n")
    mine = Catalog([tmp_path]).model("mine", "mini")
    assert mine.server is not None
    assert mine.server.urls == ("http://localhost:8000/v1",)
    assert Catalog().adapter_for(mine).accepts == {"audio", "choices"}


PAUSES = [
    ("3", 3.0),
    ("0.5", 0.5),
    ("0", None),
    ("-1", None),
    ("soon", None),
    (None, None),
    ("nan", None),
    ("inf", None),
]
PAUSES += [("Wed, 21 Oct 2015 07:28:00 GMT", None), ("Wed, 21 Oct 99999 07:28:00 GMT", None), ("9" * 400, None)]


@pytest.mark.parametrize(("header", "seconds"), PAUSES)
def test_a_pause_is_taken_from_the_server_if_it_is_a_positive_number_or_a_later_date(header, seconds):
    assert named_pause(header) == seconds


# ---------------------------------------------------------------- a judge


def test_a_server_is_the_judge_of_a_run(tmp_path):
    write(tmp_path / "specs", 6)

    def judge(body: Body, before: int) -> Reply:
        return completion("yes" if "Answer to grade: q" in said(body) else "no")

    with serving(judge) as server:
        model(tmp_path / "specs", server.url, name="referee")
        assert call(tmp_path, "run", "-m", "echo", "-t", "toy", "--path", "specs").returncode == 0
        folder = next(tmp_path.glob("results/*/echo-*"))
        words = ["score", str(folder), "--scorer", "llm_judge: {model: referee}", "--path", "specs"]
        assert call(tmp_path, *words).returncode == 0
        asked = sum(server.asked.values())
        assert call(tmp_path, *words).returncode == 0
        assert sum(server.asked.values()) == asked, "replies are stored"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["metrics"]["judge"]["value"] == 100.0
    assert summary["metrics"]["judge"]["n"] == 6


# ---------------------------------------------------------------- the contract of `stream`


class Streams:
    accepts = frozenset({"text"})
    version = "1"

    def __init__(self, how: str) -> None:
        self.how = how

    def stream(self, requests: Iterable[Request]) -> Iterator[Response]:
        for number, request in enumerate(requests):
            if self.how == "silent" and number == 1:
                continue
            if self.how == "raises" and request.id == "1":
                raise RuntimeError("broken")
            if self.how == "stops" and number == 2:
                raise Stop("no more")
            yield Response(request.id, "a")
            if self.how == "twice" and request.id == "1":
                yield Response(request.id, "b")

    def generate(self, requests: Any) -> Any:
        raise AssertionError

    def close(self) -> None:
        return None


CONTRACT = [
    ("right", {}),
    ("silent", {"1": "adapter x: gave no answer"}),
    ("raises", {"1": "adapter x: RuntimeError: broken"}),
    ("twice", {}),
]


@pytest.mark.parametrize(("how", "failed"), CONTRACT)
def test_a_stream_gives_every_request_one_response_whatever_the_adapter_does(how, failed):
    requests = [Request(str(i), "", transcript="") for i in range(4)]
    got = list(stream(Streams(how), iter(requests), "x"))
    assert sorted(r.id for r in got) == ["0", "1", "2", "3"]
    assert {r.id: r.detail for r in got if r.status == "error"} == failed


def test_a_stop_leaves_the_rest_of_a_stream_unanswered():
    requests = [Request(str(i), "", transcript="") for i in range(4)]
    responses = stream(Streams("stops"), requests, "x")
    assert [next(responses).id, next(responses).id] == ["0", "1"]
    with pytest.raises(Stop, match="no more"):
        next(responses)


def test_a_budget_is_shared_by_all_models_of_a_command():
    budget = Budget(max_requests=3)
    with serving(lambda body, before: completion("yes")) as server:
        asking = Request("a", "", transcript="t")
        ask(spec(server.url, input="text"), asking, budget=budget)
        with pytest.raises(Stop, match="3 requests were sent"):
            ask(spec(server.url, input="text"), asking, budget=budget)
    with pytest.raises(UserError, match="--max-cost: model far has no prices"):
        OpenAIChat(spec(), {}, "cpu", Budget(max_cost=1.0))
