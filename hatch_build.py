"""What ships: the files that git tracks, and nothing else that happens to lie in the checkout.

hatchling's own rules would take untracked and git-ignored files along wherever a folder is included by force, as
`tasks/` and `models/` would have to be (they go into the package as `_builtin`). Where there is no git checkout, as in
an unpacked sdist, everything there is ships: it is what was tracked when the sdist was built.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILTIN = ("tasks", "models")
PUBLISHED = "results/published.yaml"
OWN = (".git", ".venv", "dist", "build", "__pycache__", "PKG-INFO")


def tracked(root: Path) -> list[str]:
    """Paths of the project's files, relative to `root`, with forward slashes."""
    git = ["git", "-C", str(root)]
    try:
        top = subprocess.run(
            [*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if Path(top).samefile(root):  # not a foreign repository that the sources were unpacked in
            listed = subprocess.run([*git, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
            return [name for name in listed.split("\0") if name and (root / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        pass  # no git, or no checkout
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if not set(path.parts) & set(OWN) and path.suffix != ".pyc")


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return  # the checkout itself is used
        root = Path(self.root)
        for name in tracked(root):
            top = name.split("/")[0]
            if self.target_name == "sdist" or top == "diva_bench":
                build_data["force_include"][str(root / name)] = name
            elif top in BUILTIN or name == PUBLISHED:
                build_data["force_include"][str(root / name)] = f"diva_bench/_builtin/{name}"
