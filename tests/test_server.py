"""Models behind a server that misbehaves: every sample ends as an answer or an error, none is lost and none is doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
from chat_server import ChatServer, Reply, completion, error, lines, model, run, said, serving, until
from mini_task import write

SECRET = "sk-test-4f9d2c77aa"


def sample(body: dict[str, object]) -> int:
    """Number of the sample that a request is about; -1 for a question to check the server."""
    text = said(body)
    return int(text.rpartition("question ")[2]) if "question " in text else -1


HUGE = b'{"choices": [{"message": {"content": "' + b"x" * (9 << 20) + b'"}}]}'
LONG = completion("y" * 100_000)
FAULTS = [  # what the server does at the first and at every later request for a sample; status and words of its row
    ("it answers", (), "ok", ""),
    ("500 once", (error(500, "overloaded"),), "ok", ""),
    ("500 always", (error(500, "overloaded"),) * 9, "error", "500: x overloaded; sent 2 times"),
    ("a permanent 500", (error(500, "audio input is not supported, give an mmproj"),), "error", "mmproj"),
    ("429 once, with a pause", (error(429, "slow down", Retry_After="0.05"),), "ok", ""),
    ("429 once, without a pause", (error(429, "slow down"),), "ok", ""),
    ("429 once, with a wrong pause", (error(429, "slow down", Retry_After="-1"),), "ok", ""),
    ("429 always", (error(429, "slow down"),) * 99, "error", "the server refuses (429"),
    ("it hangs once", (Reply(wait=30),), "ok", ""),
    ("it hangs always", (Reply(wait=30),) * 9, "error", "no answer within 1 s; sent 2 times"),
    ("half an answer once", (Reply(body=b'{"choices"' * 20, cut=90),), "ok", ""),
    ("half an answer always", (Reply(body=b'{"choices"' * 20, cut=90),) * 9, "error", "cut off"),
    ("half a header", (Reply(cut=12),), "ok", ""),
    ("it disconnects once", (Reply(cut=0),), "ok", ""),
    ("it disconnects always", (Reply(cut=0),) * 9, "error", "no connection"),
    ("it drips", (Reply(body=b"{" * 500, drip=0.02),) * 9, "error", "no answer within 1 s"),
    ("HTML", (Reply(body=b"<html>gateway</html>"),) * 9, "error", "the answer is not JSON"),
    ("a list", (Reply(body=b"[1]"),) * 9, "error", "the answer is not a JSON object"),
    ("deep JSON", (Reply(body=b"[" * 100_000),) * 9, "error", "the answer is not JSON"),
    ("an error with status 200", (Reply(body=b'{"error": "busy"}'),), "ok", ""),
    ("no choices", (Reply(body=b'{"choices": []}'),) * 9, "error", "has no choices"),
    (
        "text that is a number",
        (Reply(body=b'{"choices": [{"message": {"content": 5}}]}'),) * 9,
        "error",
        "without text",
    ),
    ("a huge answer", (Reply(body=HUGE),) * 9, "error", "more than 8,388,608 bytes"),
    ("an answer longer than its tokens", (LONG,) * 9, "error", "has 100,000 characters, more than 64 tokens can have"),
    ("bytes that are not UTF-8", (Reply(body=b'{"choices": "\xff\xfe"}'),) * 9, "error", "is not JSON"),
    ("400", (error(400, "bad\r\nrequest\x1b[31m"),), "error", "400: x bad request"),
    ("404", (error(404, "no such thing"),), "error", "404: x no such thing"),
    ("a redirect", (Reply(302, headers={"Location": "http://127.0.0.1:9/"}),), "error", "redirects to another address"),
    (
        "too long a prompt",
        (error(400, "maximum context length is 9", "context_length_exceeded"),),
        "unsupported",
        "too",
    ),
    ("a content filter", (error(400, "no", "content_filter"),), "unsupported", "content filter"),
    ("a filtered answer", (completion("", finish_reason="content_filter"),), "unsupported", "content filter"),
    ("an empty answer", (completion(""),), "ok", ""),
    ("null in place of a text", (completion(None),) * 9, "error", "without text"),
    ("a limit reached before any text", (completion(None, finish_reason="length"),), "ok", ""),
    ("nothing but reasoning", (completion(None, message={"content": None, "reasoning_content": "Hm."}),), "ok", ""),
    ("a refusal", (completion(None, message={"content": None, "refusal": "I will not."}),), "ok", ""),
]


def misbehaving(body: dict[str, object], before: int) -> Reply:
    number = sample(body)
    faults = FAULTS[number][1] if number >= 0 else ()
    return faults[before] if before < len(faults) else completion(f"answer {number}")


def test_every_sample_ends_as_an_answer_or_an_error_whatever_the_server_does(tmp_path):
    write(tmp_path / "specs", len(FAULTS))
    with serving(misbehaving) as server:
        model(tmp_path / "specs", server.url)
        got = run(tmp_path)
        first = {row["id"]: row for row in lines(tmp_path)}
        assert len(lines(tmp_path)) == len(first) == len(FAULTS)
        for number, (name, _, status, words) in enumerate(FAULTS):
            row = first[f"q{number:03}"]
            assert row["status"] == status, (name, row)
            assert words in str(row.get("detail", "")), (name, row)
            if status == "error":
                assert not row["text"], name
        assert first["q000"]["text"] == "answer 0"
        assert first[f"q{len(FAULTS) - 1:03}"]["text"] == "I will not."
        assert got.returncode == 1
        assert "Traceback" not in got.stderr
        server.answer = lambda body, before: completion(f"answer {sample(body)}")
        server.asked.clear()
        assert run(tmp_path).returncode == 0
    failed = {ident for ident, row in first.items() if row["status"] == "error"}
    again = Counter(row["id"] for row in lines(tmp_path)[len(FAULTS) :])
    assert again == Counter(dict.fromkeys(failed, 1)), "only what had failed is asked again, once"
    asked = {f"q{int(text.rpartition(' ')[2]):03}" for text in server.asked if "question" in text}
    assert asked == failed


def test_a_killed_run_continues_with_the_samples_that_have_no_answer(tmp_path):
    count = 40
    write(tmp_path / "specs", count)
    with serving(lambda body, before: _slow(body)) as server:
        model(tmp_path / "specs", server.url, in_flight=4)
        words = [sys.executable, "-m", "diva_bench", "run", "-m", "far", "-t", "toy", "--path", "specs"]
        known = {**os.environ, "DIVA_BENCH_CACHE": str(tmp_path / "cache"), "DIVA_BENCH_PATH": ""}
        with subprocess.Popen(
            words, cwd=tmp_path, env=known, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            until(lambda: len([*tmp_path.glob("results/*/far-*/responses.jsonl")]) == 1)
            until(lambda: len(lines(tmp_path)) >= 8 or process.poll() is not None)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        kept = {row["id"] for row in lines(tmp_path)}
        assert 8 <= len(kept) < count
        server.asked.clear()
        assert run(tmp_path).returncode == 0
    rows = lines(tmp_path)
    assert Counter(row["id"] for row in rows) == Counter({f"q{i:03}": 1 for i in range(count)})
    asked = {int(text.rpartition(" ")[2]) for text in server.asked if "question" in text}
    assert asked == {i for i in range(count) if f"q{i:03}" not in kept}
    assert all(row["text"] == f"answer {int(str(row['id'])[1:])}" for row in rows)


def _slow(body: dict[str, object]) -> Reply:
    reply = completion(f"answer {sample(body)}")
    reply.wait = 0.1
    return reply


STOPS = [  # the reply from the sixth sample on; words of the message
    (error(401, f"Incorrect API key provided: {SECRET}"), "the server refuses access (401: x Incorrect API key"),
    (
        error(403, "key expired"),
        "the server refuses access (403: x key expired). The key is that of the variable FAR_KEY",
    ),
    (
        error(429, "You exceeded your current quota", "insufficient_quota"),
        "the quota is used up (429: insufficient_quota",
    ),
    (error(402, "pay first"), "the quota is used up (402: x pay first)"),
    (error(429, "come back tomorrow", Retry_After="86400"), "the server asks for a pause of 86,400 s"),
]


@pytest.mark.parametrize(("reply", "words"), STOPS)
def test_a_key_or_quota_that_has_ended_stops_the_run_and_keeps_what_is_answered(tmp_path, reply, words):
    write(tmp_path / "specs", 12)
    done: list[int] = []

    def answer(body: dict[str, object], before: int) -> Reply:
        done.append(1)
        return completion("yes") if len(done) <= 6 else reply

    with serving(answer) as server:
        model(tmp_path / "specs", server.url, key="FAR_KEY", in_flight=1)
        got = run(tmp_path, FAR_KEY=SECRET)
        assert got.returncode == 1
        assert words in got.stderr
        assert "5 of 12 answers are kept in results" in got.stderr
        assert "7 not answered yet" in " ".join(got.stdout.split())
        assert {row["status"] for row in lines(tmp_path)} == {"ok"}
        assert len(done) == 7, "nothing is sent after the refusal"
        server.answer = lambda body, before: completion("yes")
        assert run(tmp_path, FAR_KEY=SECRET).returncode == 0
    assert len(lines(tmp_path)) == 12


def test_the_key_is_in_no_file_and_no_message_even_if_the_server_repeats_it(tmp_path):
    write(tmp_path / "specs", 6)

    def answer(body: dict[str, object], before: int) -> Reply:
        return [completion(f"your key is {SECRET}"), error(400, f"wrong: {SECRET}" * 20)][max(0, sample(body)) % 2]

    with serving(answer) as server:
        model(tmp_path / "specs", server.url, key="FAR_KEY")
        got = run(tmp_path, FAR_KEY=SECRET)
    assert {h["authorization"] for h in server.headers} == {f"Bearer {SECRET}"}
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 10
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]
    assert SECRET[:12] not in got.stdout + got.stderr
    texts = {str(row["text"]) for row in lines(tmp_path) if row["status"] == "ok"}
    assert texts == {"your key is [key]"}
    assert (
        json.loads(next(tmp_path.glob("results/*/far-*/run.json")).read_text())["model"]["server"]["key"] == "FAR_KEY"
    )


@pytest.mark.parametrize(("value", "words"), [("", "which is not set"), ("a\nb", "has characters that no key has")])
def test_a_missing_or_broken_key_is_told_before_anything_is_asked(tmp_path, value, words):
    write(tmp_path / "specs", 2)
    model(tmp_path / "specs", "http://127.0.0.1:9/v1", key="FAR_KEY")
    got = run(tmp_path, FAR_KEY=value)
    assert got.returncode == 2
    assert words in got.stderr
    assert "FAR_KEY" in got.stderr


def test_azure_gets_its_key_in_its_own_header_and_its_version_in_the_address(tmp_path):
    write(tmp_path / "specs", 1)
    with serving(lambda body, before: completion("yes")) as server:
        model(tmp_path / "specs", server.url, key="FAR_KEY", key_header="api-key", api_version="2024-10-21")
        assert run(tmp_path, FAR_KEY=SECRET).returncode == 0
    assert {h["api-key"] for h in server.headers} == {SECRET}
    assert not any("authorization" in h for h in server.headers)
    assert set(server.paths) == {"/v1/chat/completions?api-version=2024-10-21"}


def test_the_number_in_flight_follows_the_refusals_of_the_server(tmp_path):
    write(tmp_path / "specs", 120)
    server: ChatServer
    refused: list[int] = []

    def answer(body: dict[str, object], before: int) -> Reply:
        if server.flying > 5:
            refused.append(1)
            return error(429, "too many")
        reply = completion("yes")
        reply.wait = 0.03
        return reply

    with serving(answer) as server:
        model(tmp_path / "specs", server.url, in_flight=64, tries=9)
        assert run(tmp_path).returncode == 0
    [event] = lines(tmp_path, "events")
    assert event["again"] == len(refused)
    assert 5 < event["in_flight"] <= 64
    assert 0 < len(refused) < 60, "most requests are sent when there is room"
    assert Counter(row["status"] for row in lines(tmp_path)) == {"ok": 120}


def test_requests_refill_as_answers_come_so_that_one_slow_answer_holds_nothing_up(tmp_path):
    write(tmp_path / "specs", 30)

    def answer(body: dict[str, object], before: int) -> Reply:
        reply = completion("yes")
        reply.wait = 0.8 if sample(body) == 0 else 0.0
        return reply

    with serving(answer) as server:
        model(tmp_path / "specs", server.url, in_flight=4)
        assert run(tmp_path).returncode == 0
    assert lines(tmp_path)[-1]["id"] == "q000", "rows are appended in the order in which they arrive"
    assert server.highest == 4


def test_several_addresses_share_the_samples_and_a_dead_one_is_left_out(tmp_path):
    write(tmp_path / "specs", 40)
    with serving(lambda body, before: _slow(body)) as one, serving(lambda body, before: _slow(body)) as other:
        model(tmp_path / "specs", one.url, other.url, "http://127.0.0.1:9/v1", in_flight=4)
        got = run(tmp_path)
        assert got.returncode == 0
        assert "http://127.0.0.1:9/v1 is left out, because the first question to it failed: no connection" in got.stderr
    assert min(sum(one.asked.values()), sum(other.asked.values())) > 10
    assert len(lines(tmp_path)) == 40


def test_the_run_stops_when_the_server_is_gone_and_continues_when_it_is_back(tmp_path):
    write(tmp_path / "specs", 40)
    with serving(lambda body, before: completion("yes") if len(server.asked) <= 21 else Reply(cut=0)) as server:
        model(tmp_path / "specs", server.url, in_flight=2, tries=1)
        got = run(tmp_path)
        assert got.returncode == 1
        assert "stopped: the server cannot be reached any more: no connection" in got.stderr
        statuses = Counter(row["status"] for row in lines(tmp_path))
        assert statuses["ok"] == 20
        assert statuses["error"] < 10, "it does not make an error of every sample"
        server.answer = lambda body, before: completion("yes")
        assert run(tmp_path).returncode == 0
    assert Counter(row["id"] for row in lines(tmp_path) if row["status"] == "ok") == {f"q{i:03}": 1 for i in range(40)}


UNUSABLE = [
    (
        error(404, "The model `m` does not exist."),
        "the first question failed: the server answers 404: x The model `m` does not",
    ),
    (Reply(cut=0), "the first question failed: no connection"),
    (error(401, "who are you"), "the server refuses access (401: x who are you)"),
]


@pytest.mark.parametrize(("reply", "words"), UNUSABLE)
def test_a_server_that_cannot_be_used_is_found_out_at_the_first_question(tmp_path, reply, words):
    write(tmp_path / "specs", 4)
    with serving(lambda body, before: reply) as server:
        model(tmp_path / "specs", server.url)
        got = run(tmp_path)
    assert got.returncode == 1
    assert words in got.stderr
    assert "0 of 4 answers are kept" in got.stderr
    assert not any("question" in text for text in server.asked), "no sample was sent"
