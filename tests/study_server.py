"""`diva-bench study serve` as a process of its own, and raters who talk to it over HTTP."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import yaml


def yaml_file(path: Path, value: Any) -> Path:
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return path


@contextlib.contextmanager
def serving(folder: Path, *words: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """(address, process) of the study in study.yaml; the process is killed in the end."""
    environment = os.environ | {"DIVA_BENCH_CACHE": str(folder / "cache"), "DIVA_BENCH_PATH": "", "COLUMNS": "160"}
    command = [sys.executable, "-m", "diva_bench", "study", "serve", "study.yaml", "--port", "0", *words]
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, env=environment)
    try:
        end = time.monotonic() + 300
        while not (found := re.search(r"(http://\S+) shows the study", log.read_text("utf-8"))):
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < end
            time.sleep(0.05)
        yield found[1], process
    finally:
        process.kill()
        process.wait()
        while Rater.connections:
            Rater.connections.pop().close()


class Rater:
    """A person with a browser of his or her own."""

    connections: ClassVar[list[httpx.Client]] = []
    """Closed when the server ends."""

    def __init__(self, url: str, **fields: Any) -> None:
        self.at(url)
        self.acknowledged: dict[str, Any] = {}
        if fields:
            assert self.post("enter", agree=True, **fields)[0] == 200

    def post(self, name: str, **body: Any) -> tuple[int, dict[str, Any]]:
        answer = self.client.post(f"api/{name}", json=body)
        return answer.status_code, dict(answer.json())

    def at(self, url: str) -> None:
        """Go on at an address, with the same cookies."""
        cookies = self.client.cookies if hasattr(self, "client") else None
        self.client = httpx.Client(base_url=url, timeout=60, cookies=cookies)
        self.connections.append(self.client)

    def vote(self, choice: Any = 0) -> str:
        """Ask for the next page and vote; returns the id of the vote, "" if there is nothing more to judge."""
        _, page = self.post("next")
        if page.get("state") != "vote":
            return ""
        status, _ = self.post("vote", id=page["id"], choice=choice)
        if status == 200:
            self.acknowledged[page["id"]] = choice
        return str(page["id"])
