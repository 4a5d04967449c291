"""The README says what is true: its commands are the ones that CI runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEST = "pip install -c constraints.txt -e '.[dev]' && pytest"
RUN = "pip install -c constraints.txt -e . && diva-bench run --model diva --task covost2"


def test_the_two_commands_of_the_project_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in (TEST, RUN):
        assert command in [line.strip() for line in text.splitlines()], f"README.md lacks the line: {command}"


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_ci_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert TEST in [line.strip() for line in script.splitlines()]


def test_ci_and_configuration_name_no_machine_path_and_no_registry_host() -> None:
    for name in (".ci/run", "constraints.txt", "pyproject.toml", "hatch_build.py"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://|--index-url|/home/|/root/|/work/|/tmp/|/opt/", text), name


def test_the_output_in_the_readme_is_that_of_the_published_runs() -> None:
    block = (
        (ROOT / "README.md")
        .read_text(encoding="utf-8")
        .partition("<!-- output:begin -->")[2]
        .partition("<!-- output:end -->")[0]
    )
    rows = re.findall(r"^(\S+) +(\S+) +(\S+) +([\d.]+ \[[\d.]+, [\d.]+\]) +(\d+) ", block, re.MULTILINE)
    assert len(rows) == 1
    for task, model, metric, score, n in rows:
        (path,) = ROOT.glob(f"results/mini/{task}-??????/{model}-??????/summary.json")
        entry = json.loads(path.read_text(encoding="utf-8"))["metrics"][metric]
        value, low, high = (f"{entry[name]:.1f}" for name in ("value", "low", "high"))
        assert (score, int(n)) == (f"{value} [{low}, {high}]", entry["n"]), task
