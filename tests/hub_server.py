"""A small server with the part of the Hub's API that huggingface_hub uses to fetch models: what a repository has at a
revision, and its files, with the headers and the errors of the Hub."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "x" * 34


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    """`commits`: commit -> path -> content; `refs`: branch -> commit. `cut`: files of which half is sent."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    accepted: bool = False
    cut: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)
    """Files that are sent with another byte than stated."""

    def push(self, files: dict[str, bytes], branch: str = "main") -> str:
        commit = hashlib.sha1(json.dumps(sorted((k, git_sha1(v)) for k, v in files.items())).encode()).hexdigest()
        self.commits[commit] = files
        self.refs[branch] = commit
        return commit

    def push_folder(self, folder: Path) -> str:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return self.push({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})

    def at(self, revision: str) -> str | None:
        return self.refs.get(revision, revision if revision in self.commits else None)


@dataclass
class FakeHub:
    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """"GET /api/models/...", in order."""

    def fetched(self) -> list[str]:
        """Paths of files that were read."""
        return [line.rpartition("/")[2] for line in self.requests if line.startswith("GET") and "/cdn/" in line]


@contextmanager
def hub_server() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            parts = path.strip("/").split("/")
            if path == "/":
                self.reply(200, b"hub", body=body)
            elif parts[:2] == ["api", "models"]:
                self.model_info("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main", body)
            elif parts[0] == "cdn":
                self.content("/".join(parts[1:3]), parts[3], "/".join(parts[4:]), body)
            elif len(parts) > 4 and parts[2] == "resolve":
                self.resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body)
            else:
                self.refuse(404, "EntryNotFound", body)

        def model_info(self, name: str, revision: str, body: bool) -> None:
            repository = hub.repositories.get(name)
            if repository is None:
                self.refuse(401, "RepoNotFound", body)
                return
            commit = repository.at(revision)
            if commit is None:
                self.refuse(404, "RevisionNotFound", body)
                return
            siblings = [self.sibling(path, content) for path, content in repository.commits[commit].items()]
            info = {"id": name, "sha": commit, "siblings": siblings, "gated": "manual" if repository.gated else False}
            self.reply(200, json.dumps(info).encode(), {"Content-Type": "application/json"}, body)

        def sibling(self, path: str, content: bytes) -> dict[str, Any]:
            facts: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": git_sha1(content)}
            if path.endswith(".safetensors"):
                facts["blobId"] = git_sha1(b"version https://git-lfs.github.com/spec/v1")
                facts["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            return facts

        def resolve(self, name: str, revision: str, file: str, body: bool) -> None:
            repository = hub.repositories.get(name)
            commit = repository.at(revision) if repository else None
            if repository is None or commit is None:
                self.refuse(404, "RepoNotFound" if repository is None else "RevisionNotFound", body)
                return
            if repository.gated and not (
                repository.accepted and self.headers.get("Authorization") == f"Bearer {TOKEN}"
            ):
                self.refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo", body)
                return
            content = repository.commits[commit].get(file)
            if content is None:
                self.refuse(404, "EntryNotFound", body)
                return
            headers = {"X-Repo-Commit": commit, "ETag": f'"{git_sha1(content)}"'}
            if file.endswith(".safetensors"):
                headers["X-Linked-Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
                headers["X-Linked-Size"] = str(len(content))
            other_host = hub.address.replace(
                "127.0.0.1", "localhost"
            )  # its client follows redirects within the Hub itself
            headers["Location"] = f"{other_host}/cdn/{name}/{commit}/{file}"
            self.reply(302, b"", headers, body) if file.endswith(".safetensors") else self.file(
                repository, file, content, headers, body
            )

        def content(self, name: str, commit: str, file: str, body: bool) -> None:
            repository = hub.repositories[name]
            self.file(repository, file, repository.commits[commit][file], {}, body)

        def file(self, repository: Repository, file: str, content: bytes, headers: dict[str, str], body: bool) -> None:
            headers = {key: value for key, value in headers.items() if key != "Location"}
            if file in repository.wrong:
                content = content[:-1] + bytes([content[-1] ^ 1])
            if file in repository.cut and body:
                self.send_response(200)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
                return
            self.reply(200, content, headers, body)

        def refuse(self, status: int, code: str, body: bool) -> None:
            self.reply(status, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"}, body)

        def reply(self, status: int, content: bytes, headers: dict[str, str] | None = None, body: bool = True) -> None:
            self.send_response(status)
            for key, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
