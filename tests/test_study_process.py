"""A study as a real process: killed while people vote, on a full disk, and sent what nobody should send."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from command_line import call
from study_server import Rater, serving, yaml_file

from diva_bench.study.store import Store

ECHO = {"adapter": "echo", "description": "d", "runtime": {"dtype": "float32"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a task, and a study of their stored answers."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "specs").mkdir()
    for name in ("alpha", "beta"):
        yaml_file(folder / "specs" / f"{name}.yaml", {**ECHO, "name": name, "args": {"reply": f"from {name}"}})
    done = call(folder, "run", "-m", "alpha,beta", "-t", "heysquad", "--edition", "mini", "--path", "specs")
    assert done.returncode == 0, done.stderr
    runs = {name: str(next((folder / "results").rglob(f"{name}-*"))) for name in ("alpha", "beta")}
    yaml_file(
        folder / "study.yaml",
        {"name": "s", "title": "t", "consent": "c", "systems": runs, "votes": 40, "sound": False},
    )
    return folder


def test_a_server_that_is_killed_while_people_vote_has_lost_no_acknowledged_vote_and_doubled_none(
    place: Path,
) -> None:
    base = ("--database", "killed.sqlite")
    with serving(place, *base) as (url, process):
        raters = [Rater(url, rater=f"P{n}") for n in range(4)]

        def go(rater: Rater) -> None:
            with contextlib.suppress(httpx.HTTPError):
                while rater.vote():
                    pass

        threads = [threading.Thread(target=go, args=(rater,)) for rater in raters]
        for thread in threads:
            thread.start()
        while sum(len(rater.acknowledged) for rater in raters) < 20:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
    with serving(place, *base) as (url, _):
        with Store(place / "killed.sqlite") as store:
            stored = [vote.id for vote in store.votes()]
        acknowledged = {id for rater in raters for id in rater.acknowledged}
        assert acknowledged <= set(stored)
        assert len(stored) == len(set(stored)) <= len(acknowledged) + len(raters)
        for rater in raters:  # each goes on where he or she was, and the last vote can be sent again
            rater.at(url)
            last = next(reversed(rater.acknowledged), None)
            assert last is None or rater.post("vote", id=last, choice=0)[0] == 200
            assert rater.vote() not in ("", *stored)


def test_on_a_full_disk_no_vote_is_acknowledged_and_the_same_vote_is_stored_once_there_is_space(place: Path) -> None:
    with serving(place, "--database", "full.sqlite") as (url, process):
        rater = Rater(url, rater="P")
        rater.vote()
        _, page = rater.post("next")
        free = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        for _ in range(3):
            status, answer = rater.post("vote", id=page["id"], choice=1)
            assert (status, "nothing was stored" in answer["error"]) == (503, True)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, free)
        assert rater.post("vote", id=page["id"], choice=1)[0] == 200
        assert rater.vote()
    with Store(place / "full.sqlite") as store:
        assert len(store.votes()) == 3


def test_an_upload_of_200_megabytes_is_refused_before_it_is_read(place: Path) -> None:
    with serving(place, "--database", "large.sqlite") as (url, process):
        where = urlsplit(url)
        with socket.create_connection((where.hostname or "", where.port or 0), timeout=30) as stream:
            head = f"POST /api/vote HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: 200000000\r\n\r\n"
            stream.sendall(head.encode())
            answer = stream.recv(4096)
            assert b" 413 " in answer
            assert b"too large" in answer + stream.recv(4096)
            sent = 0
            with contextlib.suppress(OSError):  # the server closes the connection, and reads nothing of this
                while sent < 200_000_000:
                    sent += stream.send(bytes(1 << 16))
            assert sent < 20_000_000, "what the buffers of the connection hold"
        assert process.poll() is None
        assert Rater(url, rater="P").vote()


def test_forged_and_repeated_votes_and_a_closed_tab_change_nothing(place: Path) -> None:
    with serving(place, "--database", "forged.sqlite") as (url, _):
        ann, ben, nobody = Rater(url, rater="A"), Rater(url, rater="B"), Rater(url)
        page = ann.post("next")[1]
        assert ben.post("vote", id=page["id"], choice=0)[0] == 409
        assert nobody.post("vote", id=page["id"], choice=0)[0] == 401
        assert ann.post("next")[1] == page, "a closed tab"
        codes: list[int] = []
        clicks = [
            threading.Thread(target=lambda: codes.append(ann.post("vote", id=page["id"], choice=0)[0]))
            for _ in range(5)
        ]
        for click in clicks:
            click.start()
        for click in clicks:
            click.join()
        assert codes == [200] * 5
        assert ann.post("vote", id=page["id"], choice=1)[0] == 409
        with Store(place / "forged.sqlite") as store:
            [vote] = store.votes()
        assert vote.shown is not None
        assert vote.choice == vote.shown[0]
