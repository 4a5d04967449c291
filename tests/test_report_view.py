"""`diva-bench view`: what it serves, what it refuses, and that it follows a run."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import call
from report_site import COUNT, answers, prepared

from diva_bench.report.html.server import serving
from diva_bench.report.html.site import Settings
from diva_bench.runs.run import load_runs

Reply = tuple[int, dict[str, str], bytes]


class Client:
    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """The reply to a path as it stands, which no client library tidies up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"Host": f"127.0.0.1:{self.port}", **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        reply = connection.getresponse()
        found = reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
        connection.close()
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = prepared(tmp_path_factory.mktemp("view"))
    (folder / "secret.txt").write_text("secret")
    (folder / "results" / "link.html").symlink_to(folder / "secret.txt")
    next((folder / "results").glob("*/good-*")).joinpath("note.html").symlink_to("/etc/passwd")
    return folder


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[Client]:
    settings = Settings(audio_bytes=float("inf"), live=True, paths=(place,))
    before = os.environ.get("DIVA_BENCH_CACHE")
    os.environ["DIVA_BENCH_CACHE"] = str(place / "cache")
    with serving(lambda: load_runs([place / "results"]), place / "results", settings, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Client(server.server_port)
        server.shutdown()
        thread.join()
    if before is None:
        del os.environ["DIVA_BENCH_CACHE"]
    else:
        os.environ["DIVA_BENCH_CACHE"] = before


def clip(client: Client) -> str:
    """The address of a clip, from a data file."""
    _, _, page = client.get("/index.html")
    key = page.decode().partition('href="tasks/')[2].partition(".html")[0]
    status, _, data = client.get(f"/data/{key}/0.js")
    assert status == 200
    return "/clips/" + json.loads(data.decode().partition(",")[2].removesuffix(");\n"))["clip"][0]


def test_pages_come_with_a_policy_and_only_to_this_machine(client: Client) -> None:
    for path in ("/", "/index.html", "/assets/core.js", "/differences.html"):
        status, headers, body = client.get(path)
        assert (status, len(body)) == (200, int(headers["content-length"]))
        assert headers["content-security-policy"].endswith("frame-ancestors 'none'")
        assert headers["x-content-type-options"] == "nosniff"
    with socket.socket() as other:
        other.settimeout(2)
        own = socket.gethostbyname(socket.gethostname())
        if not own.startswith("127."):
            assert other.connect_ex((own, client.port)) != 0


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/../../../../../../etc/passwd",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/data/../../secret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/C:/x",
        "/..\\secret.txt",
        "/link.html",
        "/results/link.html",
        "/note.html",
        "/clips/../index.html",
        "/clips/%00.opus",
        "/index.html%00.png",
        "/.diva-bench-report/x",
        "/clips/nothing.opus",
        "/" + "a" * 5000,
    ],
)
def test_nothing_but_the_files_of_the_report_is_served(client: Client, path: str) -> None:
    status, _, body = client.get(path)
    assert status == 404
    assert b"secret" not in body
    assert b"root:" not in body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "127.0.0.1:{port}@x"]
)
def test_a_request_under_another_name_is_refused(client: Client, host: str) -> None:
    assert client.get("/index.html", Host=host.format(port=client.port))[0] == 403
    assert client.get("/index.html", Host=f"LOCALHOST:{client.port}")[0] == 200


def test_nothing_can_be_sent(client: Client) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
        assert client.get("/index.html", method)[0] == 501
    status, headers, body = client.get("/index.html", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 1000


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-9", 0, 9), ("bytes=100-", 100, -1), ("bytes=-50", -50, -1), ("bytes=5-999999999", 5, -1)],
)
def test_a_part_of_a_clip_is_sent(client: Client, asked: str, first: int, last: int) -> None:
    address = f"{clip(client)}.opus"
    _, headers, whole = client.get(address)
    assert whole.startswith(b"OggS")
    assert (headers["content-type"], headers["accept-ranges"]) == ("audio/ogg", "bytes")
    status, headers, part = client.get(address, Range=asked)
    start, end = first % len(whole), last % len(whole)
    assert (status, part) == (206, whole[start : end + 1])
    assert headers["content-range"] == f"bytes {start}-{end}/{len(whole)}"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=9999999-", 416),
        ("bytes=-0", 416),
        ("bytes=9-2", 416),
        ("bytes=" + "9" * 99 + "-", 416),
        ("bytes=x", 200),
        ("bytes=-", 200),
        ("bytes=0-1,3-4", 200),
    ],
)
def test_a_strange_range_does_no_harm(client: Client, asked: str, status: int) -> None:
    assert client.get(f"{clip(client)}.opus", Range=asked)[0] == status


def test_a_picture_is_made_on_request(client: Client) -> None:
    status, headers, body = client.get(f"{clip(client)}.png")
    assert (status, headers["content-type"]) == (200, "image/png")
    assert body.startswith(b"\x89PNG")


def test_the_pages_follow_the_runs(place: Path, client: Client) -> None:
    before = json.loads(client.get("/live.json")[2])
    answers("later", place, [f"answer {i}" for i in range(COUNT)])
    end = time.monotonic() + 60
    while (now := json.loads(client.get("/live.json")[2]))["version"] == before["version"]:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert now["text"] == ""
    while b"later" not in client.get("/index.html")[2]:  # imported in several steps, so perhaps in a later version
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped(place: Path, stop: signal.Signals) -> None:
    words = [sys.executable, "-m", "diva_bench", "view", "results", "--port", "0", "--path", "."]
    known = {**os.environ, "DIVA_BENCH_CACHE": str(place / "cache"), "PYTHONUNBUFFERED": "1"}
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # tests in the background ignore it, and so their children
    with subprocess.Popen(
        words,
        cwd=place,
        env=known,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            assert line.endswith("/ shows results. Ctrl-C stops it.\n"), line
            port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
            assert Client(port).get("/")[0] == 200
            running.send_signal(stop)
            _, said = running.communicate(timeout=60)
        finally:
            signal.signal(signal.SIGINT, before)
            running.kill()
    assert running.returncode == 128 + stop
    assert "Traceback" not in said
    assert said.endswith("stopped; the pages are no longer served; the runs are as they were.\n"), said


def test_a_port_in_use_is_named(place: Path, client: Client) -> None:
    done = call(place, "view", "results", "--port", str(client.port), "--path", ".")
    assert done.returncode == 2
    assert (
        f"port {client.port} of 127.0.0.1 cannot be used (Address already in use). Give another one with --port."
        in done.stderr
    )
