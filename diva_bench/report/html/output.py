"""Where a report is written: a folder that opens from disk without a network, or one HTML file for a mail.

Samples and answers are data files, which the script in the page loads and shows as text: as `.js`, because a page from
disk may not fetch. In the single file they are blocks of JSON, which no browser runs.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from diva_bench import disk
from diva_bench.errors import ClipError, StoreError, UserError
from diva_bench.report.html import clips as clips_

MARKER = ".diva-bench-report"
"""An empty file in a folder that is a report, so that only such a folder is written again."""
_OWN = ("assets", "clips", "compare", "data", "runs", "samples", "tasks")


def as_script(value: object) -> str:
    """A value as JSON of ASCII characters that can stand in a script element: it has no "<"."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def static(name: str) -> str:
    """The content of a style sheet or script of the report."""
    return files("diva_bench.report.html").joinpath("static", name).read_text(encoding="utf-8")


# ---------------------------------------------------------------- outputs


class Folder:
    """A folder of pages."""

    single = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: set[Path] = set()
        """The files of this report."""

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            StoreError: It cannot be made, or has files that are not of a report.
        """
        root = self.folder
        try:
            root.mkdir(parents=True, exist_ok=True)
            if not (root / MARKER).exists() and any(root.iterdir()):
                raise StoreError(
                    f"{root}: is not empty, and not an earlier report. Give a new folder, or an empty one, with --html."
                )
            self.file(MARKER, b"")
        except OSError as err:
            raise StoreError(f"{root}: cannot be written ({disk.reason(err)}). Give another folder.") from err

    def file(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.tmp")  # a server may read the file at this moment
        aside.write_bytes(content)
        aside.replace(path)
        self.written.add(path)

    def keep(self, names: Iterable[str]) -> None:
        """Files of an earlier report that stay, or that another process wrote."""
        self.written.update(self.folder / name for name in names)

    def data(self, key: str, value: object) -> None:
        """Write a data file."""
        self.file(f"data/{key}.js", f"Report.put({as_script(key)},{as_script(value)});\n".encode())

    def clip(self, clip: clips_.Clip, room: float) -> int | None:
        """Write a clip and its picture if they have at most `room` bytes: their size, 0 if they were written before, None if
        they are too large or cannot be decoded."""
        names = [f"clips/{clip.name}.opus", f"clips/{clip.name}.png"]
        there = [self.folder / name for name in names]
        if all(path.is_file() for path in there):
            size = sum(path.stat().st_size for path in there)
            if size > room:
                return None
            fresh = not self.written.issuperset(there)
            self.written.update(there)
            return size if fresh else 0
        parts = encoded(clip)
        if parts is None or sum(map(len, parts)) > room:
            return None
        for name, content in zip(names, parts, strict=True):
            self.file(name, content)
        return sum(map(len, parts))

    def finish(self) -> None:
        """Remove the files of an earlier report that this one does not have."""
        for own in _OWN:
            for path in sorted((self.folder / own).rglob("*"), reverse=True):
                if path.is_dir() and not path.is_symlink():
                    if not any(path.iterdir()):
                        path.rmdir()
                elif path not in self.written:
                    path.unlink()


class SingleFile:
    """Everything in one HTML file, `content` after the report is written."""

    single = True

    def __init__(self) -> None:
        self.blocks: dict[str, str] = {}
        self.content = b""

    def data(self, key: str, value: object) -> None:
        """Keep a data file."""
        self.blocks[key] = as_script(value)

    def clip(self, clip: clips_.Clip, room: float) -> int | None:
        """As `Folder.clip`; the sizes are those in the HTML file."""
        if f"clips/{clip.name}.opus" in self.blocks:
            return 0
        parts = encoded(clip)
        if parts is None:
            return None
        texts = [base64.b64encode(part).decode() for part in parts]
        if sum(map(len, texts)) > room:
            return None
        for kind, mime, text in (("opus", "audio/ogg", texts[0]), ("png", "image/png", texts[1])):
            self.blocks[f"clips/{clip.name}.{kind}"] = as_script(f"data:{mime};base64,{text}")
        return sum(map(len, texts))


def encoded(clip: clips_.Clip) -> tuple[bytes, bytes] | None:
    """The clip as Opus, and its picture; None if it cannot be read."""
    try:
        encoded = clip.read()
        return clips_.opus(encoded), clips_.picture(encoded)
    except (ClipError, UserError, OSError):
        return None


Output = Folder | SingleFile
