"""Weights of the format transformers: a folder as `save_pretrained` writes it, from the Hub, or one that the user has.

    <cache>/folders/<place>-<hash>.json    the folder, the commit, and stamp and sha256 of every file

The bytes are not copied. A repository is fetched into the cache of the Hub's own client, which other programs share. The
first pull resolves `revision` to a commit, and later ones stay there; every file is compared with the hash that the Hub
states: sha256 for large files, git's sha1 for small ones. A folder of the user has no stated hashes: its files are
hashed once, and a changed file makes it another model.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from diva_bench.disk import CHUNK, read_json, size, stamp, write_json
from diva_bench.errors import AssetError, one_line
from diva_bench.specs import PATTERNS, AssetFile, AssetSpec, digest
from diva_bench.types import Progress

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")  # of a path that a server names
_MOST = 10_000  # files of a repository
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.msgpack", "*.h5")
_POINTER = "resolved to"  # key of a record that names the commit of another record
MARGIN = 200_000_000
"""Free bytes beyond what is fetched."""


@dataclass(frozen=True, slots=True)
class State:
    """One asset on this machine. `detail` says what is wrong if it is damaged."""

    name: str
    status: Literal["ready", "missing", "damaged", "not hashed"]
    """not hashed: its files are here, and are read once at the first use."""
    folder: Path | None
    """The folder for adapters; None unless ready."""
    download_bytes: int
    """Still to be fetched; 0 if unknown."""
    disk_bytes: int
    """Bytes on the disk, with downloads."""
    needed_bytes: int
    """Free bytes that are needed to make it ready."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file of a record: its stamp, its hash, and what the Hub states of it."""

    signs: tuple[int, ...]
    sha256: str
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True)
class _Record:
    folder: Path
    commit: str | None
    """None for a folder of the user."""
    files: dict[str, _Entry]


@dataclass(frozen=True, slots=True)
class _Stated:
    """A file as the Hub states it."""

    path: str
    bytes: int
    sha256: str | None
    git_sha1: str | None


def matches(path: str, pattern: str) -> bool:
    """Whether a path matches a glob pattern in which `*` does not match a slash."""
    parts, pattern_parts = path.split("/"), pattern.split("/")
    return len(parts) == len(pattern_parts) and all(map(fnmatchcase, parts, pattern_parts))


def known(asset: AssetSpec, cache: Path) -> AssetSpec:
    """The asset with its files and its commit, if they are known and unchanged by their stamps; else as it is."""
    record = _read(asset, cache)
    if record is None or _changed(asset, record):
        return asset
    files = tuple(
        AssetFile(path=name, sha256=entry.sha256, bytes=entry.signs[0], git_sha1=entry.git_sha1)
        for name, entry in sorted(record.files.items())
    )
    return asset.model_copy(update={"files": files, "revision": record.commit or asset.revision})


def state(asset: AssetSpec, cache: Path, rehash: bool, each: Callable[[int], None]) -> State:
    """The state of an asset. Nothing is read beyond stamps, unless a file changed or `rehash` is set."""
    record = _read(asset, cache)
    folder = record.folder if record else _place(asset)
    left = asset.download_bytes or 0
    if record and record.folder.is_dir():
        problem = _problem(asset, record, rehash, each, cache) or _other_pins(asset, record)
        disk = sum(entry.signs[0] for entry in record.files.values())
        if problem is None:
            return State(asset.name, "ready", record.folder, 0, disk, 0)
        return State(asset.name, "damaged", None, 0, disk, MARGIN if asset.hub else 0, problem)
    if folder and folder.is_dir() and (names := _names(asset, folder)):
        disk = sum((folder / name).stat().st_size for name in names)
        return State(asset.name, "not hashed", None, 0, disk, 0, "its files are hashed once, at the first use")
    return State(asset.name, "missing", None, left, 0, left + MARGIN if asset.hub else 0)


def ready(asset: AssetSpec, cache: Path, progress: Progress, given: Path | None = None) -> Path:
    """The folder for adapters, after fetching and hashing. The caller holds the asset's lock.

    Args:
        given: A folder of the user with the files of a `hub` asset, for a machine that does not reach the Hub.

    Raises:
        AssetError: The Hub cannot be reached, refuses, or gives other bytes than it states; or the folder has no weights.
    """
    if given is None and asset.hub:
        record = _from_hub(asset, cache, progress)
    else:
        folder = given.expanduser().absolute() if given else _place(asset)
        if folder is None or not folder.is_dir():
            raise AssetError(
                f"{asset.name}: {folder}: no such folder. Allowed: a folder with config.json and *.safetensors."
            )
        record = _hashed(asset, folder, None, {}, progress)
    if problem := _other_pins(asset, record):
        raise AssetError(
            f"{asset.name}: {problem}. It is not what this was begun with: put the old file back, or start anew."
        )
    _write(asset, cache, record)
    return record.folder


# ---------------------------------------------------------------- folders


def check(asset: AssetSpec) -> bool:
    """Whether a folder of the user is on this machine; True for other assets. Reads no weights.

    Raises:
        AssetError: It is there and has no weights, or not all of them.
    """
    folder = Path(asset.folder) if asset.folder else None
    if folder and folder.is_dir():
        _check_whole(asset, folder, _names(asset, folder))
    return folder is None or folder.is_dir()


def references(folder: Path) -> dict[str, str]:
    """The encoder and the LLM that config.json of a published checkpoint names: reference_encoder, reference_decoder; empty
    if it names none."""
    config = read_json(folder / "config.json")
    named = config if isinstance(config, dict) else {}
    return {
        key: str(named[key]) for key in ("reference_encoder", "reference_decoder") if isinstance(named.get(key), str)
    }


def _place(asset: AssetSpec) -> Path | None:
    """Where the files of an asset are, if they are anywhere: a folder of the user, or a snapshot in the Hub's cache."""
    if asset.folder:
        return Path(asset.folder)
    return _snapshot(asset, asset.revision) if asset.hub else None


def _names(asset: AssetSpec, folder: Path) -> list[str]:
    """The files of a folder that belong to the asset, sorted, relative."""
    some = {
        path.relative_to(folder).as_posix()
        for pattern in asset.patterns or PATTERNS
        for path in folder.glob(pattern)
        if path.is_file()
    }
    return sorted(name for name in some if not any(part.startswith(".") for part in name.split("/")))


def _hashed(
    asset: AssetSpec, folder: Path, commit: str | None, stated: dict[str, _Stated], progress: Progress
) -> _Record:
    """Read every file of a folder once. Raises AssetError where one has other bytes than stated, or weights are missing."""
    names = _names(asset, folder)
    _check_whole(asset, folder, names)
    total = sum((folder / name).stat().st_size for name in names)
    files: dict[str, _Entry] = {}
    with progress.bar(f"hash {asset.name}", total, "bytes") as bar:
        for name in names:
            signs, one = stamp(folder / name), stated.get(name)
            sha, git = _hashes(folder / name, bar.advance)
            if one and (one.bytes != signs[0] or (one.sha256 or sha) != sha or (one.git_sha1 or git) != git):
                raise _OtherBytes(name, f"{asset.name}: {name} has {signs[0]} bytes with sha256 {sha}; {_said(one)}")
            files[name] = _Entry(signs, sha, one.git_sha1 if one and not one.sha256 else None)
    return _Record(folder, commit, files)


def _said(one: _Stated) -> str:
    return f"the Hub states {one.bytes} bytes with " + (
        f"sha256 {one.sha256}" if one.sha256 else f"sha1 {one.git_sha1}"
    )


class _OtherBytes(AssetError):
    """A file of the Hub's cache has other bytes than the Hub states."""

    def __init__(self, file: str, text: str) -> None:
        super().__init__(text)
        self.file = file


def _check_whole(asset: AssetSpec, folder: Path, names: Sequence[str]) -> None:
    """Raises AssetError for a folder without weights, or without a shard that its index names."""
    if not any(name.endswith(".safetensors") for name in names):
        pickled = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        there = sorted(path.name for path in folder.iterdir())
        raise AssetError(
            f"{asset.name}: {folder} has no weights that are read ({', '.join(asset.patterns or PATTERNS[:2])}). "
            + (
                f"{pickled[0]} is a pickle, which can run code: load it with transformers elsewhere and save it again "
                "with `save_pretrained`, which writes safetensors."
                if pickled
                else f"It has {', '.join(there[:8]) or 'nothing'}."
            )
        )
    if asset.patterns:
        return  # some shards may be left out on purpose
    if "config.json" not in names:
        raise AssetError(f"{asset.name}: {folder} has no config.json; a model of transformers has one.")
    for name in names:
        if name.endswith("model.safetensors.index.json") and "model.safetensors" not in names:
            index = read_json(folder / name)
            table = index.get("weight_map") if isinstance(index, dict) else None
            if not isinstance(table, dict):
                raise AssetError(f"{asset.name}: {folder / name} is not an index of shards. Fetch it again.")
            if lost := sorted({str(shard) for shard in table.values()} - set(names)):
                raise AssetError(
                    f"{asset.name}: {folder} lacks {', '.join(lost[:8])}, which its index names. Fetch it again."
                )


def _hashes(path: Path, each: Callable[[int], None]) -> tuple[str, str]:
    """(sha256, git's sha1 of a file: that of `blob`, the size, a zero byte, and the content)."""
    wide, git = hashlib.sha256(), hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            wide.update(block)
            git.update(block)
            each(len(block))
    return wide.hexdigest(), git.hexdigest()


# ---------------------------------------------------------------- records


def _file(asset: AssetSpec, revision: str | None, cache: Path) -> Path:
    """Weights of the same place share a record, whatever their names."""
    key = digest([asset.hub, revision, asset.folder, list(asset.patterns)])
    words = str(asset.hub).replace("/", "--") if asset.hub else Path(asset.folder or "").name
    return cache / "folders" / f"{words[:80]}-{key[:12]}.json"


def _read(asset: AssetSpec, cache: Path) -> _Record | None:
    """The record of an asset; None if there is none that can be read."""
    raw = read_json(_file(asset, asset.revision, cache))
    try:
        if _POINTER in raw:
            raw = read_json(_file(asset, str(raw[_POINTER]), cache))
        files = {
            str(name): _Entry(tuple(map(int, signs)), str(sha), git) for name, (signs, sha, git) in raw["files"].items()
        }
        return _Record(Path(raw["folder"]), raw["commit"], files) if files else None
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def _write(asset: AssetSpec, cache: Path, record: _Record) -> None:
    """Store a record under its commit, and for another revision the commit that it is resolved to."""
    file = _file(asset, record.commit or asset.revision, cache)
    file.parent.mkdir(parents=True, exist_ok=True)
    if record.commit and record.commit != asset.revision:
        write_json(_file(asset, asset.revision, cache), {_POINTER: record.commit})
    files = {name: [entry.signs, entry.sha256, entry.git_sha1] for name, entry in record.files.items()}
    write_json(file, {"folder": str(record.folder), "commit": record.commit, "files": files})


def _changed(asset: AssetSpec, record: _Record) -> list[str]:
    """Files whose stamp is not that of the record, and files that came or went."""
    if not record.folder.is_dir():
        return sorted(record.files)
    names = set(_names(asset, record.folder))
    other = names ^ record.files.keys()
    with contextlib.suppress(OSError):  # a file went since it was listed
        other |= {name for name in names - other if stamp(record.folder / name) != record.files[name].signs}
        return sorted(other)
    return sorted(record.files)


def _problem(asset: AssetSpec, record: _Record, rehash: bool, each: Callable[[int], None], cache: Path) -> str | None:
    """What is wrong with a recorded folder, None if nothing; a file with another stamp is hashed."""
    fresh = dict(record.files)
    changed = _changed(asset, record)
    for name in sorted(record.files) if rehash else changed:
        path, entry = record.folder / name, record.files.get(name)
        if entry is None:
            return f"{path} was not there when the folder was hashed"
        if not path.is_file():
            return f"{path} is missing"
        signs = stamp(path)
        if signs[0] != entry.signs[0]:
            return f"{path} has {signs[0]} bytes, expected {entry.signs[0]}"
        if _hashes(path, each)[0] != entry.sha256:
            return f"{path} has changed: its sha256 is not {entry.sha256}"
        fresh[name] = _Entry(signs, entry.sha256, entry.git_sha1)
    if extra := set(changed) - set(fresh):
        return f"{record.folder / min(extra)} was not there when the folder was hashed"
    if fresh != record.files:
        with contextlib.suppress(OSError):  # not remembered: verified again the next time
            _write(asset, cache, _Record(record.folder, record.commit, fresh))
    return None


def _other_pins(asset: AssetSpec, record: _Record) -> str | None:
    """What is wrong if the asset's hashes are known (its YAML states them, or they were read before) and are others now."""
    for file in asset.files:
        entry = record.files.get(file.path)
        if entry is None or (file.sha256 or entry.sha256) != entry.sha256:
            what = "is not there" if entry is None else f"has sha256 {entry.sha256}"
            return f"{record.folder / file.path} {what}, expected {file.sha256}"
    return None


# ---------------------------------------------------------------- the Hub


def _from_hub(asset: AssetSpec, cache: Path, progress: Progress) -> _Record:
    """Fetch what is missing, at the commit of the last pull if there was one."""
    from huggingface_hub import constants

    from diva_bench.weights import fetch

    before = _read(asset, cache)
    revision = (before.commit if before else None) or asset.revision
    problem = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else fetch.hub_problem(constants.ENDPOINT)
    if problem:
        folder = _snapshot(asset, revision)
        if folder is None:
            raise AssetError(
                f"{asset.name}: {asset.hub} is not on this machine, and {constants.ENDPOINT} cannot be reached ({problem}). "
                f"{_by_hand(asset)}"
            )
        return _hashed(asset, folder, folder.name, _by_blob_names(asset, folder), progress)
    commit, files = _listing(asset, revision)
    if not files:
        raise AssetError(
            f"{asset.name}: {asset.hub} at {commit} has no file {', '.join(asset.patterns or PATTERNS)}. "
            "Give other `patterns`, or another repository."
        )
    if not any(one.path.endswith(".safetensors") for one in files):
        raise AssetError(
            f"{asset.name}: {asset.hub} at {commit} has no safetensors, and pickles (*.bin), which can run code, are never read. "
            "A pull request of the repository may add them (its page, Community): then set `revision: refs/pr/NUMBER`. Else load "
            "it with transformers elsewhere, save it with `save_pretrained`, and give that folder: diva-bench pull "
            f"--weights-folder {asset.name}=FOLDER"
        )
    folder = _download(asset, commit, files, progress)
    stated = {one.path: one for one in files}
    try:
        return _hashed(asset, folder, commit, stated, progress)
    except _OtherBytes as err:  # left by another program, or a broken disk: once more
        progress.note(f"{err}; fetching it again")
        _download(asset, commit, [stated[err.file]], progress, again=True)
        return _hashed(asset, folder, commit, stated, progress)


def _by_hand(asset: AssetSpec) -> str:
    return (
        f"Fetch it where there is a network, or give a folder that has its files: diva-bench pull --weights-folder "
        f"{asset.name}=FOLDER"
    )


def _snapshot(asset: AssetSpec, revision: str | None) -> Path | None:
    """The folder of a revision in the cache of the Hub's client, if it has weights; without asking the Hub."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE) / f"models--{str(asset.hub).replace('/', '--')}"
    commit = revision or "main"
    if not _COMMIT.fullmatch(commit):
        with contextlib.suppress(OSError, ValueError):
            commit = (place / "refs" / commit).read_text(encoding="utf-8").strip()
    folder = place / "snapshots" / commit
    if not _COMMIT.fullmatch(commit) or not folder.is_dir():
        return None
    return folder if any(name.endswith(".safetensors") for name in _names(asset, folder)) else None


def _by_blob_names(asset: AssetSpec, folder: Path) -> dict[str, _Stated]:
    """What the Hub stated when the files of a snapshot were fetched: its client names a blob by that hash."""
    stated = {}
    for name in _names(asset, folder):
        blob = (folder / name).resolve()
        wide, narrow = _SHA256.fullmatch(blob.name), _COMMIT.fullmatch(blob.name)
        if wide or narrow:
            stated[name] = _Stated(
                name, blob.stat().st_size, blob.name if wide else None, blob.name if narrow else None
            )
    return stated


def _listing(asset: AssetSpec, revision: str | None) -> tuple[str, list[_Stated]]:
    """(commit, the files of the asset as the Hub states them). Nothing that the server says is believed as a path."""
    import huggingface_hub

    try:
        info = huggingface_hub.HfApi().model_info(str(asset.hub), revision=revision, files_metadata=True, timeout=30)
        siblings: Iterable[Any] = (info.siblings or [])[:_MOST]
        listed = [
            _Stated(str(one.rfilename), int(one.size or 0), one.lfs.sha256 if one.lfs else None, one.blob_id)
            for one in siblings
        ]
    except Exception as err:  # the client may raise any exception of its HTTP library, and of reading the answer
        raise _refused(asset, revision, err) from err
    commit = str(info.sha)
    if not _COMMIT.fullmatch(commit):
        raise AssetError(f"{asset.name}: the Hub names no commit of {asset.hub} (it says {commit[:60]!r}).")
    wanted = [one for one in listed if any(matches(one.path, p) for p in asset.patterns or PATTERNS)]
    for one in wanted:
        if not all(_PART.fullmatch(part) for part in one.path.split("/")) or one.bytes < 0:
            raise AssetError(f"{asset.name}: {asset.hub} names a file {one.path[:80]!r}, which is no plain path.")
    return commit, [_only_stated(one) for one in wanted]


def _only_stated(one: _Stated) -> _Stated:
    """Hashes in their form; of a large file git's hash is that of a pointer, not of the file."""
    sha = one.sha256 if one.sha256 and _SHA256.fullmatch(one.sha256) else None
    git = one.git_sha1 if one.git_sha1 and _COMMIT.fullmatch(one.git_sha1) and not sha else None
    return _Stated(one.path, one.bytes, sha, git)


def _download(asset: AssetSpec, commit: str, files: Sequence[_Stated], progress: Progress, again: bool = False) -> Path:
    """Fetch files into the cache of the Hub's client; returns the snapshot's folder."""
    import huggingface_hub
    from huggingface_hub import constants

    from diva_bench.weights import fetch

    repository = str(asset.hub)
    place = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    folder = place / "snapshots" / commit
    left = [one for one in files if again or not (folder / one.path).is_file()]
    total = sum(one.bytes for one in left)
    disk = next(parent for parent in (place, *place.parents) if parent.is_dir())
    free = shutil.disk_usage(disk).free
    if left and free < total + MARGIN:
        raise AssetError(
            f"{asset.name}: too little disk space: {size(total)} are to be fetched, and {size(free)} are free in {disk}. "
            "Free some, or set HF_HOME to a folder on another disk."
        )
    with progress.bar(f"fetch {asset.name}", total, "bytes") as bar, fetch.quiet_hub():
        meter, had = fetch.Meter(bar, limit=total), fetch.gathered_bytes(place)
        with fetch.watching(place, lambda now: meter.to(max(now - had, 0))):
            for one in left:
                try:
                    huggingface_hub.hf_hub_download(repository, one.path, revision=commit, force_download=again)
                except Exception as err:  # as in `_listing`
                    raise _refused(asset, commit, err) from err
    return folder


def _refused(asset: AssetSpec, revision: str | None, err: Exception) -> AssetError:
    """What the Hub's client raised, as what to do."""
    from huggingface_hub import constants, errors, get_token

    page, have = f"{constants.ENDPOINT}/{asset.hub}", get_token() is not None
    status = getattr(getattr(err, "response", None), "status_code", None)
    at = f" at {revision}" if revision else ""
    if isinstance(err, errors.GatedRepoError):
        who = "your token's account has not accepted them" if have else "no token is set on this machine"
        return AssetError(
            f"{asset.name}: {asset.hub} is gated: its owner asks you to accept terms, and {who}.\n"
            f"  1. Open {page}, log in, and accept.\n"
            f"  2. Make a token that may read it at {constants.ENDPOINT}/settings/tokens, and type: hf auth login\n"
            "     (or set HF_TOKEN).\n"
            "  3. Run the same command again.\n"
            f"{_by_hand(asset)}"
        )
    if isinstance(err, errors.RevisionNotFoundError):
        return AssetError(f"{asset.name}: {asset.hub} has no revision {revision}. {page}/commits/main lists them.")
    if isinstance(err, errors.RepositoryNotFoundError) or status in (401, 403):
        return AssetError(
            f"{asset.name}: the Hub has no repository {asset.hub}, or it is private. Check the name at {page}; for a private "
            f"one type: hf auth login. {_by_hand(asset)}"
        )
    return AssetError(
        f"{asset.name}: {asset.hub}{at} cannot be fetched from {constants.ENDPOINT} ({one_line(err)[:300]}). Run the same "
        f"command again: what is complete is kept. {_by_hand(asset)}"
    )
