"""An installed package adds an adapter, a scorer, a task and a model, by the user's own commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "plugin_pkg"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the plugin package is installed in."""
    pytest.importorskip("pip", reason="this environment has no pip")
    pytest.importorskip("hatchling", reason="the dev extra is not installed")
    place = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--target", str(place)]
    command = [sys.executable, "-m", "pip", "install", "-q", *options, str(PACKAGE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


def diva_bench(*arguments: str, site: Path | None, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in `folder`, with the plugins in `site`."""
    environment = os.environ | {"DIVA_BENCH_CACHE": str(folder / "cache"), "NO_COLOR": "1", "COLUMNS": "200"}
    environment |= {"PYTHONPATH": str(site)} if site else {}
    command = [sys.executable, "-m", "diva_bench", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_what_a_plugin_brings_is_listed_and_shown(installed: Path, tmp_path: Path) -> None:
    listed = diva_bench("list", "tasks", site=installed, folder=tmp_path)
    assert "plugin-task" in listed.stdout, listed.stderr
    assert "covost2" in listed.stdout
    shown = diva_bench("show", "plugin-shout", site=installed, folder=tmp_path)
    assert "Answers in capitals." in shown.stdout, shown.stderr
    assert "plugin-task" not in diva_bench("list", "tasks", site=None, folder=tmp_path).stdout


def test_a_plugins_model_answers_a_plugins_task(installed: Path, tmp_path: Path) -> None:
    command = ["run", "--model", "plugin-shout", "--task", "plugin-task", "--output", "out"]
    done = diva_bench(*command, site=installed, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (summary,) = tmp_path.glob("out/*/*/summary.json")
    assert json.loads(summary.read_text())["metrics"]["capitals"]["value"] == 100.0
    answers = [json.loads(line) for line in (summary.parent / "responses.jsonl").read_text().splitlines()]
    assert sorted(a["text"] for a in answers) == ["NOBODY.!!", "WHO IS THERE?!!"]


def test_a_name_that_a_plugin_shares_with_a_built_in_is_refused(installed: Path, tmp_path: Path) -> None:
    """Two packages of one name: neither wins silently."""
    info = tmp_path / "site" / "clash-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: clash\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[diva_bench.adapters]\necho = diva_bench_shout:Shout\n")
    site = Path(f"{tmp_path / 'site'}{os.pathsep}{installed}")
    command = ["run", "--model", "plugin-shout", "--task", "plugin-task", "--output", "out"]
    done = diva_bench(*command, site=site, folder=tmp_path)
    assert done.returncode == 2
    assert "adapter 'echo' is built in and in diva_bench_shout:Shout" in done.stderr
