"""`study serve`: read the study file, load its runs or models, and serve the page."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diva_bench.errors import StoreError, UserError
from diva_bench.specs.yamlfile import read_yaml
from diva_bench.study.answering import Systems
from diva_bench.study.items import Item, alike, of_runs, of_samples
from diva_bench.study.line import Line
from diva_bench.study.spec import StudyFile
from diva_bench.study.store import Store, recordings_of
from diva_bench.types import Progress

if TYPE_CHECKING:
    from diva_bench.study.site import Access

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


def serve(
    file: Path,
    database: Path | None,
    host: str,
    port: int,
    links: int | None,
    say: Callable[[str], None],
    progress: Progress,
    paths: Sequence[Path] = (),
) -> None:
    """Serve until a signal stops it. Where others can reach the page, its address has a secret.

    Args:
        file: The study file.
        database: Of the votes; None: in the current folder, by the name of the study.
        host: Address to listen on.
        port: 0: any free one.
        links: Number of new single-use links; None: no links are needed, unless the database has some.
        say: Prints a line: the address of the page, and the new links.
        progress: Gets notes, such as on models that are loaded.
        paths: Folders of YAML files, for the catalog.

    Raises:
        UserError: A package is missing, the study file, a run or a model is not right, or the port cannot be used.
    """
    try:
        import uvicorn

        from diva_bench.study.site import Site
    except ImportError as err:
        raise UserError(
            f"study serve needs the package {(err.name or '').partition('.')[0]}: pip install 'diva-bench[study]'."
        ) from err
    study = read_yaml(file, StudyFile)
    systems, items, versions = questions(study, file.parent, progress, paths)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(opened(study, database))
        listening = stack.enter_context(_listen(host, port))
        if systems:
            progress.note(f"loading {len(study.systems)} models: {', '.join(systems.versions.values())}")
            stack.enter_context(systems)
        line = Line(store, systems, recordings_of(store.path)) if systems else None
        access, addresses = _access(store, host, int(listening.getsockname()[1]), links)
        if same := len({name for name, _ in alike(items, study.shown)}):
            progress.note(
                f"{same:,} of {len(items):,} items have the same answer from several systems: nobody is asked to choose there"
            )
        site = Site(study, items, versions, store, access, line)
        say(
            f"{addresses[0]} shows the study {study.name}: {f'{len(items):,} items' if items else 'raters record'}, "
            f"{len(study.systems)} systems. Votes: {store.path}. Ctrl-C stops it."
        )
        for address in addresses[1:]:
            say(address)
        settings = uvicorn.Config(
            site.app(), log_level="warning", access_log=False, timeout_keep_alive=30, limit_concurrency=500
        )
        uvicorn.Server(settings).run(sockets=[listening])


def questions(
    study: StudyFile, folder: Path, progress: Progress, paths: Sequence[Path] = ()
) -> tuple[Systems | None, dict[str, Item], Mapping[str, str]]:
    """(the models, not yet loaded, None if the answers are stored; item -> Item, empty if raters record; system ->
    what makes its answers)."""
    if not study.live:
        items, versions = of_runs(study, folder)
        return None, items, versions
    systems = Systems(study, folder, paths, progress)
    items = {} if study.record else of_samples(study, systems.samples(progress))
    return systems, items, systems.versions


def opened(study: StudyFile, database: Path | None, *, create: bool = True) -> Store:
    """The database of a study; one of another study is refused, and sound that belongs to nothing is deleted."""
    path = database or Path(f"{study.name}.sqlite")
    store = Store(path, create=create)
    try:
        other = store.fact("study")
        if other and other != study.name:
            raise StoreError(
                f"{path}: has the votes of the study {other!r}, not of {study.name!r}. Give another --database."
            )
        store.set_fact("study", study.name)
        store.sweep(recordings_of(path))
    except BaseException:
        store.close()
        raise
    return store


def _access(store: Store, host: str, port: int, links: int | None) -> tuple[Access, list[str]]:
    """(who is let in, the address of the page and those of new links)."""
    from diva_bench.study.site import Access, hashed_token

    local = host in LOCAL
    secret = "" if local else store.fact("secret") or secrets.token_urlsafe(16)
    if secret:
        store.set_fact("secret", secret)
    tokens = [secrets.token_urlsafe(16) for _ in range(links or 0)]
    with store.writing() as db:
        db.executemany("INSERT INTO links (token) VALUES (?)", [(hashed_token(token),) for token in tokens])
    needed = store.one("SELECT 1 FROM links") is not None
    hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")) if local else frozenset()
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/" + (f"?key={secret}" if secret else "")
    links_ = [f"{address}{'&' if secret else '?'}link={token}" for token in tokens]
    return Access(hosts, secret, needed), [address, *links_]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)  # now, so that the address can be opened as soon as it is printed
    except (OSError, OverflowError) as err:
        listening.close()
        raise StoreError(
            f"port {port} of {host} cannot be used ({getattr(err, 'strerror', None) or err}). Give another --port."
        ) from err
    return listening
