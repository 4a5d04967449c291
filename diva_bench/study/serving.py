"""`study serve`: read the study file and the runs, and serve the page."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from diva_bench.errors import StoreError, UserError
from diva_bench.specs.yamlfile import read_yaml
from diva_bench.study.items import of_runs
from diva_bench.study.spec import StudyFile
from diva_bench.study.store import Store

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


def serve(
    file: Path, database: Path | None, host: str, port: int, links: int | None, say: Callable[[str], None]
) -> None:
    """Serve until a signal stops it. Where others can reach the page, its address has a secret.

    Args:
        file: The study file.
        database: Of the votes; None: beside the current folder's files, by the name of the study.
        host: Address to listen on.
        port: 0: any free one.
        links: Number of new single-use links; None: no links are needed, unless the database has some.
        say: Prints a line.

    Raises:
        UserError: A package is missing, the study file or a run is not right, or the port cannot be used.
    """
    try:
        import uvicorn

        from diva_bench.study.site import Access, Site, hashed_token
    except ImportError as err:
        raise UserError(f"study serve needs the package {err.name}: pip install 'diva-bench[study]'.") from err
    study = read_yaml(file, StudyFile)
    items, versions = of_runs(study, file.parent)
    path = database or Path(f"{study.name}.sqlite")
    with Store(path, create=True) as store:
        other = store.fact("study")
        if other and other != study.name:
            raise StoreError(
                f"{path}: has the votes of the study {other!r}, not of {study.name!r}. Give another --database."
            )
        store.set_fact("study", study.name)
        listening = _listen(host, port)
        port = int(listening.getsockname()[1])
        local = host in LOCAL
        secret = "" if local else store.fact("secret") or secrets.token_urlsafe(16)
        if secret:
            store.set_fact("secret", secret)
        tokens = [secrets.token_urlsafe(16) for _ in range(links or 0)]
        with store.writing() as db:
            db.executemany("INSERT INTO links (token) VALUES (?)", [(hashed_token(token),) for token in tokens])
        needed = store.one("SELECT 1 FROM links") is not None
        hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")) if local else frozenset()
        site = Site(study, items, versions, store, Access(hosts, secret, needed))
        address = f"http://{host}:{port}/" + (f"?key={secret}" if secret else "")
        say(
            f"{address} shows the study {study.name}: {len(items):,} items, {len(study.systems)} systems. Votes: {path}. "
            "Ctrl-C stops it."
        )
        for token in tokens:
            say(f"{address}{'&' if secret else '?'}link={token}")
        settings = uvicorn.Config(
            site.app(), log_level="warning", access_log=False, timeout_keep_alive=30, limit_concurrency=500
        )
        uvicorn.Server(settings).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except (OSError, OverflowError) as err:
        listening.close()
        raise StoreError(
            f"port {port} of {host} cannot be used ({getattr(err, 'strerror', None) or err}). Give another --port."
        ) from err
    return listening
