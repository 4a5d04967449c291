"""A recogniser behind a server: alone, and in cascades with an LLM on this machine or behind another server."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from chat_server import FAST, Body, ChatServer, Reply, completion, error, said, serving, transcript
from command_line import call
from mini_task import clip as write_clip
from mini_task import write
from tiny_models import make_llm, make_whisper, store

from diva_bench.adapters.asr_server import AsrServer
from diva_bench.adapters.cascade import Cascade, Ears
from diva_bench.adapters.openai_chat import OpenAIChat
from diva_bench.catalog import Catalog
from diva_bench.decoding.llm import LLM
from diva_bench.errors import Stop
from diva_bench.server.budget import Budget, estimated
from diva_bench.specs import ModelSpec, Prices, Runtime, ServedAsr, Server
from diva_bench.types import Adapter, Audio, Request, Response


def asr(url: str = "http://127.0.0.1:9/v1", server: dict[str, Any] | None = None, **settings: Any) -> ServedAsr:
    return ServedAsr(model="w", server=Server(urls=(url,), **{**FAST, "timeout": 30.0, **(server or {})}), **settings)


def spec(adapter: str, recogniser: ServedAsr | None, url: str = "", **args: Any) -> ModelSpec:
    server = Server(urls=(url,), **{**FAST, "timeout": 30.0}) if url else None
    return ModelSpec(
        name="far", edition=None, adapter=adapter, description="", citation="", licence="", weights={}, args=args,
        runtime=Runtime(dtype="float32"), training=None, server=server, asr=recogniser,
    )  # fmt: skip


def clip(seconds: float, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    return Audio((0.1 * rng.standard_normal(round(seconds * 16_000))).astype(np.float32), 16_000)


def asked(*seconds: float) -> list[Request]:
    return [Request(str(k), "Answer.", audio=clip(s, k), max_new_tokens=4) for k, s in enumerate(seconds)]


def ask(adapter: Adapter, requests: list[Request]) -> list[Response]:
    try:
        return adapter.generate(requests)
    finally:
        adapter.close()


def hears(body: Body, before: int) -> Reply:
    return transcript(said(body)) if "file" in body else completion(f"answer to {said(body)}")


def test_a_clip_is_sent_as_a_wav_file_with_the_model_and_the_language() -> None:
    recogniser = {"language": "de", "body": {"prompt": "Names: Zoe.", "temperature": None, "vad": True}}
    with serving(hears) as server:
        [got] = ask(AsrServer(spec("asr", asr(server.url, **recogniser)), {}, "cpu"), asked(1.5))
    assert (got.text, got.heard, got.status) == ("clip of 1500 ms", "clip of 1500 ms", "ok")
    assert set(server.paths) == {"/v1/audio/transcriptions"}
    body = server.bodies[-1]
    wave, rate = soundfile.read(io.BytesIO(body.pop("file")), dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(wave, asked(1.5)[0].audio.samples, atol=1 / 32767)  # type: ignore[union-attr]
    assert body == {"model": "w", "language": "de", "response_format": "json", "prompt": "Names: Zoe.", "vad": "true"}


@pytest.mark.parametrize(
    ("setting", "task", "sent"),
    [
        ("en", None, "en"),
        ("de", None, "de"),
        ("de", "fr", "fr"),
        ("en", "zh-CN", "zh"),
        ("", "fr", None),
        ("", None, None),
    ],
)
def test_the_server_is_told_the_language_of_the_task_or_that_of_the_model_or_detects_it(
    setting: str, task: str | None, sent: str | None
) -> None:
    requests = [replace(r, fields={"speech_language": task} if task else {}) for r in asked(1.5)]
    with serving(hears) as server:
        ask(AsrServer(spec("asr", asr(server.url, language=setting)), {}, "cpu"), requests)
    assert server.bodies[-1].get("language") == sent


def test_one_clip_in_two_languages_is_two_questions() -> None:
    [one] = asked(1.5)
    with serving(hears) as server:
        adapter = AsrServer(spec("asr", asr(server.url)), {}, "cpu")
        for request in (one, replace(one, fields={"speech_language": "fr"}), one):
            adapter.generate([request])
        adapter.close()
    assert [body.get("language") for body in server.bodies[-2:]] == ["en", "fr"]


def test_a_long_clip_is_unsupported_a_short_one_ends_with_silence_and_a_known_one_is_not_sent_again() -> None:
    with serving(hears) as server:
        adapter = AsrServer(spec("asr", asr(server.url, max_seconds=5.0, min_seconds=0.5)), {}, "cpu")
        long, short = adapter.generate(asked(5.1, 0.02))
        again = ask(adapter, [*asked(5.1, 0.02), Request("none", "")])
    assert (long.status, long.detail) == ("unsupported", "audio is 5.1 s; this model takes at most 5 s")
    assert short.text == "clip of 500 ms"
    assert [r.text for r in again] == ["", "clip of 500 ms", ""]
    assert again[2].detail == "this sample has no audio"
    assert sum(server.asked.values()) == 2, "one question to check the server, and one clip"


FAULTS = [
    ("500 once", (error(500, "busy"),), "ok", "clip of 700 ms"),
    ("500 always", (error(500, "busy"),) * 9, "error", "the recogniser's server: the server answers 500: x busy; sent 2 times"),
    ("no text", (Reply(body=b'{"segments": []}'),) * 9, "error", "the answer has no text"),
    ("null", (transcript(None),) * 9, "error", "the answer has no text"),
    ("far too much", (transcript("a" * 9000),) * 9, "error", "more than anybody says in 0.7 s"),
    ("half an answer once", (Reply(body=b'{"text": "' + b"a" * 99, cut=120),), "ok", "clip of 700 ms"),
    ("silence", (transcript("  "),), "ok", ""),
    ("400", (error(400, "not a wav"),), "error", "400: x not a wav"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "replies", "status", "words"), FAULTS)
def test_a_clip_ends_as_a_transcript_or_an_error(
    name: str, replies: tuple[Reply, ...], status: str, words: str
) -> None:
    def answer(body: Body, before: int) -> Reply:
        return replies[before] if said(body) == "clip of 700 ms" and before < len(replies) else hears(body, before)

    with serving(answer) as server:
        bad, good = ask(AsrServer(spec("asr", asr(server.url)), {}, "cpu"), asked(0.7, 1.2))
    assert bad.status == status
    assert words in (bad.detail or bad.text)
    assert good.text == "clip of 1200 ms"


@pytest.mark.parametrize("adapter", ["asr", "openai_chat"])
def test_a_recogniser_that_refuses_the_key_stops_the_run(adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAR_KEY", "k-1")
    with serving(lambda body, before: error(401, "no k-1") if "file" in body else completion("yes")) as server:
        model = spec(adapter, asr(server.url, {"key": "EAR_KEY"}), server.url if adapter != "asr" else "", **(
            {"model": "m"} if adapter != "asr" else {}
        ))  # fmt: skip
        made = (AsrServer if adapter == "asr" else OpenAIChat)(model, {}, "cpu")
        with pytest.raises(Stop, match=r"401: x no \[key\]\)\. The key is that of the variable EAR_KEY"):
            ask(made, asked(1.0, 2.0))
    assert {h["authorization"] for h in server.headers if "authorization" in h} == {"Bearer k-1"}


def test_the_llm_of_another_server_gets_the_transcript_and_both_are_kept() -> None:
    with serving(hears) as ears, serving(hears) as llm:
        adapter = OpenAIChat(spec("openai_chat", asr(ears.url), llm.url, model="m"), {}, "cpu")
        got = ask(adapter, asked(0.5, 31.0, 0.8))
        counts = adapter.served()
    assert [r.heard for r in got] == ["clip of 500 ms", None, "clip of 800 ms"]
    assert [r.text for r in got] == ["answer to Answer.\n\nclip of 500 ms", "", "answer to Answer.\n\nclip of 800 ms"]
    assert got[1].status == "unsupported"
    assert set(llm.paths) == {"/v1/chat/completions"}
    assert (counts["sent"], counts["asr"]["sent"]) == (3, 3)


class Heard(Ears):
    """Ears that have heard the clips of 500 and 800 ms."""

    def __init__(self) -> None:
        pass

    def hear(self, requests: Sequence[Request]) -> list[str | Response]:
        return ["clip of 500 ms", "clip of 800 ms"]


def test_a_local_llm_answers_the_transcripts_of_a_server_and_one_failure_takes_no_other_with_it(tmp_path: Path) -> None:
    def answer(body: Body, before: int) -> Reply:
        reply = error(400, "cannot") if said(body) == "clip of 600 ms" else hears(body, before)
        return replace(reply, wait=0.2)  # longer than it takes to send the next clip

    paths = {"llm": make_llm(tmp_path / "llm")}
    with serving(answer) as server:
        adapter = Cascade(spec("cascade", asr(server.url)), paths, "cpu")
        got = ask(adapter, asked(0.5, 0.6, 0.8))
        assert server.highest > 1, "clips of a batch are heard at the same time"
    assert [(r.status, r.heard) for r in got] == [("ok", "clip of 500 ms"), ("error", None), ("ok", "clip of 800 ms")]
    assert "cannot" in got[1].detail
    local = Cascade.__new__(Cascade)
    local._llm, local._ears = LLM.of(paths["llm"], "cpu", Runtime(dtype="float32")), Heard()
    first, third = local._ask([asked(0.5, 0.6, 0.8)[k] for k in (0, 2)])
    assert (first.text, third.text) == (got[0].text, got[2].text)
    assert [r.heard for r in local._ask(asked(0.5) * 2)] == ["clip of 500 ms", "clip of 800 ms"], "one id twice"


def test_a_run_from_a_yaml_file_keeps_the_transcripts_and_asks_only_for_what_failed(tmp_path: Path) -> None:
    write(tmp_path / "specs", 6)
    for k in range(6):
        write_clip(tmp_path / "specs" / "audio" / f"q{k:03}.wav", 0.2 + 0.1 * k)
    broken = {"clip of 400 ms"}
    with serving(lambda body, before: error(400, "no") if said(body) in broken else hears(body, before)) as server:
        model = {"name": "far", "adapter": "asr", "description": "d", "asr": {"model": "w"}}
        model["asr"] |= {"server": {"urls": [server.url], **FAST}}  # type: ignore[operator]
        (tmp_path / "specs" / "far.yaml").write_text(yaml.safe_dump(model))
        words = ["run", "-m", "far", "-t", "toy", "--path", "specs"]
        assert "6 requests, and a few to check the server; cost unknown" in call(tmp_path, *words, "--dry-run").stdout
        got = call(tmp_path, *words)
        assert got.returncode == 1
        assert "far has no language model: it writes what is said" in " ".join(got.stderr.split())
        broken.clear()
        server.asked.clear()
        assert call(tmp_path, *words).returncode == 0
        assert set(server.asked) == {"clip of 1000 ms", "clip of 400 ms"}
    [folder] = tmp_path.glob("results/*/far-*")
    rows = [json.loads(line) for line in (folder / "responses.jsonl").read_text().splitlines()]
    kept = {row["id"]: row for row in rows}
    assert len(rows) == 7
    assert all(row["heard"] == row["text"] == f"clip of {200 + 100 * int(i[1:])} ms" for i, row in kept.items())
    assert not json.loads((folder / "summary.json").read_text())["repeatable"]
    assert json.loads((folder / "run.json").read_text())["model"]["asr"]["server"]["urls"] == [server.url]


class Doubted(AsrServer):
    """Its first check ends with a fault of ours, which is no Stop."""

    checks = 0

    async def check(self) -> None:
        self.checks += 1
        if self.checks == 1:
            raise ZeroDivisionError
        await super().check()


def test_a_server_whose_check_failed_by_a_fault_is_checked_before_it_is_asked() -> None:
    with serving(lambda body, before: error(401, "no")) as server:
        adapter = Doubted(spec("asr", asr(server.url)), {}, "cpu")
        with pytest.raises(ZeroDivisionError):
            adapter.generate(asked(0.5))
        with pytest.raises(Stop, match="refuses access"):
            ask(adapter, asked(0.5))
    assert adapter.checks == 2
    assert set(server.asked) == {"clip of 1000 ms"}, "no question but that of the check"


def test_what_a_recogniser_is_asked_is_part_of_the_identity_and_its_address_is_not() -> None:
    one = spec("asr", asr("http://a.example/v1"))
    assert one.hash == spec("asr", asr("http://b.example/v1", {"in_flight": 3})).hash
    assert one.hash != spec("asr", asr("http://a.example/v1", language="fr")).hash
    assert "asr" not in Catalog().model("echo", "mini").model_dump(), "records of other models stay as they are"


def test_a_cascade_that_extends_another_hears_by_its_server_and_needs_no_weights_for_it(tmp_path: Path) -> None:
    served = {"model": "w", "server": {"urls": ["http://localhost:8000/v1"]}}
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump({"name": "mine", "extends": "cascade", "description": "d", "asr": served})
    )
    model = Catalog([tmp_path]).model("mine", "nano")
    assert set(model.weights) == {"llm"}
    assert Catalog().adapter_for(model).accepts == {"audio", "choices"}
    assert estimated(model, [(asked(1.0)[0], 1.0)] * 3).startswith("3 requests")


WRONG = [
    ({"adapter": "oracle", "weights": {"llm": "smollm2-135m-instruct"}}, {}, "takes no recogniser: remove `asr:`"),
    ({"weights": {"asr": "whisper-base"}}, {}, "asr: names a recogniser behind a server, and weights: {asr: ...} one on this"),
    ({}, {"server": {}}, "asr: server needs the address of a server"),
    ({}, {"model": ""}, "asr.model: must"),
    ({}, {"min_seconds": 9.0, "max_seconds": 1.0}, "min_seconds 9 is above max_seconds 1"),
    ({}, {"body": {"stream": True}}, "body cannot have the key 'stream'; diva-bench sets it"),
    ({}, {"body": {"words": [1]}}, "body.words must be text, a number, true, false or null"),
    ({}, {"server": {"urls": ["http://h/v1/audio/transcriptions"]}}, "must end before /audio/transcriptions"),
    ({"adapter": "openai_chat", "args": {"model": "m", "input": "text"}, "server": {"urls": ["http://h/v1"]}}, {},
     "input: text sends the gold transcript, so that its recogniser gets no clip"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "recogniser", "words"), WRONG)
def test_a_wrong_recogniser_is_told(
    tmp_path: Path, model: dict[str, Any], recogniser: dict[str, Any], words: str
) -> None:
    served = {"model": "w", "server": {"urls": ["http://h/v1"]}, **recogniser}
    whole = {"name": "mine", "adapter": "asr", "description": "d", "asr": served, **model}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(whole))
    got = call(tmp_path, "validate", "mine.yaml")
    assert words in " ".join((got.stdout + got.stderr).split())
    assert got.returncode != 0


def test_the_cost_of_a_recogniser_counts_for_the_budget() -> None:
    priced = {"prices": Prices(input=1000.0, output=0.0), "audio_tokens_per_second": 10.0, "in_flight": 1}
    model = spec("asr", asr("http://h/v1", priced))
    assert estimated(model, [(asked(1.0)[0], 1.0)] * 3).endswith("cost: about 0.0300 USD at most")
    usage = {"input_tokens": 8, "input_token_details": {"audio_tokens": 8}, "output_tokens": 2}
    budget = Budget(max_cost=0.03)
    with serving(lambda body, before: transcript("yes", usage=usage)) as server:
        adapter = AsrServer(spec("asr", asr(server.url, priced)), {}, "cpu", budget)
        with pytest.raises(Stop, match="another one could exceed --max-cost"):
            ask(adapter, asked(1.0, 1.1, 1.2, 1.3))
    assert budget.cost == pytest.approx(0.008 * sum(server.asked.values()))


# ---------------------------------------------------------------- a recogniser on this machine, an LLM behind a server


def test_the_first_question_is_asked_when_one_clip_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diva_bench.decoding.whisper._MAX_NEW", 12)
    paths, heard = {"asr": make_whisper(tmp_path / "asr")}, []
    answered = threading.Event()
    server: ChatServer

    def answer(body: Body, before: int) -> Reply:
        if said(body).startswith("Answer."):
            answered.set()
        return completion("yes")

    with serving(answer) as server:
        adapter = OpenAIChat(spec("openai_chat", None, server.url, model="m"), paths, "cpu")
        transcribe = adapter._asr.transcribe

        def counted(waves: Any, language: str) -> list[str]:
            if heard:
                assert answered.wait(20), "the second batch is heard before the first question is asked"
            heard.append(len(waves))
            return transcribe(waves, language)

        adapter._asr.transcribe = counted  # type: ignore[method-assign]
        got = ask(adapter, asked(*([0.3] * 40)))
    assert heard == [1, 2, 4, 8, 16, 9]
    assert all(r.status == "ok" and r.heard is not None for r in got)


def test_clips_that_cannot_be_read_any_more_end_a_run_of_a_server_cascade(tmp_path: Path) -> None:
    def broken() -> Any:
        yield asked(0.3)[0]
        raise OSError("the disk is gone")

    with serving(lambda body, before: completion("yes")) as server:
        paths = {"asr": make_whisper(tmp_path / "asr")}
        adapter = OpenAIChat(spec("openai_chat", None, server.url, model="m"), paths, "cpu")
        with pytest.raises(OSError, match="the disk is gone"):
            list(adapter.stream(broken()))
        adapter.close()


def test_a_parakeet_is_a_recogniser_of_a_server_cascade_too(tmp_path: Path) -> None:
    from test_parakeet import make_parakeet

    with serving(lambda body, before: completion("yes")) as server:
        paths = {"asr": make_parakeet(tmp_path / "asr", "ParakeetForCTC")}
        [got] = ask(OpenAIChat(spec("openai_chat", None, server.url, model="m"), paths, "cpu"), asked(0.5))
    assert got.status == "ok"
    assert got.heard is not None


def test_a_cascade_of_a_local_llm_and_a_served_recogniser_runs_from_yaml(tmp_path: Path) -> None:
    write(tmp_path / "specs", 3)
    words = ["run", "-m", "far", "-t", "toy", "--path", "specs", "--max-new-tokens", "4"]
    store(make_llm(tmp_path / "llm"), tmp_path / "specs", "toy-llm")
    with serving(hears) as server:
        model = {"name": "far", "adapter": "cascade", "description": "d", "weights": {"llm": "toy-llm"}}
        model |= {"asr": {"model": "w", "server": {"urls": [server.url]}}, "runtime": {"dtype": "float32"}}
        (tmp_path / "specs" / "far.yaml").write_text(yaml.safe_dump(model))
        stopped = call(tmp_path, *words, "--max-requests", "2")
        got = call(tmp_path, *words)
    assert stopped.returncode == 1
    assert "--max-requests" in stopped.stderr
    assert got.returncode == 0, got.stderr
    [folder] = tmp_path.glob("results/*/far-*")
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [e["sent"] for e in events if e["event"] == "server"] == [2, 4], "a batch that was stopped is heard again"
    rows = [json.loads(line) for line in (folder / "responses.jsonl").read_text().splitlines()]
    assert all(row["heard"].startswith("clip of ") for row in rows)
