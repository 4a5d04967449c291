"""The README says what is true: its tree has a line for every file, and its commands are the ones that CI runs."""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWN_LINE = ("diva_bench/*.py", "tests/*.py", "tasks/*.yaml", "models/*", "benchmarks/*", "results/*", "hatch_build.py")
"""Files that a folder's line does not cover. `*` goes across folders, except as FLAT says."""
FLAT = ("tests/*.py", "results/*")
"""Of those, the patterns that stay in one folder: what lies deeper is covered by its folder's line."""
TEST = "pip install -c constraints.txt -e '.[dev]' && pytest"
RUN = "pip install -c constraints.txt -e . && diva-bench run --model diva --task covost2"


def tracked() -> list[str]:
    try:
        done = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: there is no list of the project's files")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def tree(readme: str) -> list[str]:
    """The lines of the fenced block below the heading "## The tree"."""
    block = re.search(r"^## The tree\n.*?^```text\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert block, 'README.md has no ```text block below a heading "## The tree"'
    return [line for line in block[1].splitlines() if line.strip()]


def needs_own_line(name: str) -> bool:
    for pattern in OWN_LINE:
        if fnmatchcase(name, pattern) and not (pattern in FLAT and name.count("/") > pattern.count("/")):
            return True
    return "/" not in name


def problems(readme: str, files: dict[str, int]) -> list[str]:
    """What to change in the tree, given the project's files and their sizes in bytes; empty files need no line."""
    lines = tree(readme)
    out = [f"no description: {line}" for line in lines if not re.match(r"\S+ {2,}\S", line)]
    listed = [line.split()[0] for line in lines]
    out += [f"twice: {name}" for name in sorted({n for n in listed if listed.count(n) > 1})]
    folders = tuple(name for name in listed if name.endswith("/"))
    for name, length in files.items():
        covered = name in listed or (name.startswith(folders) and not needs_own_line(name))
        if length and not covered:
            out.append(f"add: {name}")
    for name in listed:
        if not (name in files or (name.endswith("/") and any(f.startswith(name) for f in files))):
            out.append(f"remove: {name}")
    return out


def test_every_file_has_its_line_in_the_tree() -> None:
    files = {name: (ROOT / name).stat().st_size for name in tracked()}
    wrong = problems((ROOT / "README.md").read_text(encoding="utf-8"), files)
    assert not wrong, "README.md, section The tree:\n" + "\n".join(wrong)


def test_the_check_says_which_lines_to_add_and_remove() -> None:
    readme = "# x\n## The tree\nWords.\n```text\na.py  one\ndiva_bench/  code\ndocs/  words\ngone.py  two\na.py\n```\n"
    files = {
        "a.py": 1,
        "new.py": 1,
        "docs/a/b.md": 1,
        "diva_bench/x.py": 1,
        "diva_bench/__init__.py": 0,
        "tests/d/e.txt": 1,
    }
    assert problems(readme, files) == [
        "no description: a.py",
        "twice: a.py",
        "add: new.py",
        "add: diva_bench/x.py",
        "add: tests/d/e.txt",
        "remove: gone.py",
    ]


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("diva_bench/report/tables.py", True),
        ("models/weights/whisper-base.yaml", True),
        ("tests/test_x.py", True),
        ("tests/plugin_pkg/x/__init__.py", False),
        ("results/README.md", True),
        ("results/mini/covost2-de-1/diva-2/run.json", False),
        ("tasks/mini/audio/a.ogg", False),
        ("LICENSE", True),
    ],
)
def test_which_files_a_folder_line_covers(name: str, own: bool) -> None:
    assert needs_own_line(name) is own


def test_the_two_commands_stand_at_the_opening() -> None:
    opening = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0:2]
    text = "\n".join(opening).splitlines()
    for command in (TEST, RUN):
        assert command in [line.strip() for line in text], f"README.md does not open with: {command}"


def test_ci_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert TEST in [line.strip() for line in script.splitlines()]


def test_ci_and_configuration_name_no_machine_path_and_no_registry_host() -> None:
    for name in (".ci/run", "constraints.txt", "pyproject.toml", "hatch_build.py"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://|--index-url|/home/|/root/|/work/|/tmp/|/opt/", text), name
