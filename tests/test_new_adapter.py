"""`diva-bench new adapter`: the package that it writes can be installed, its test passes, and its model can be run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import call


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the package of `new adapter my-model`, and `site`, where it is installed."""
    pytest.importorskip("pip", reason="this environment has no pip")
    pytest.importorskip("hatchling", reason="the dev extra is not installed")
    folder = tmp_path_factory.mktemp("new")
    made = call(folder, "new", "adapter", "my-model")
    assert made.returncode == 0, made.stderr
    assert "diva-bench-my-model/diva_bench_my_model/models/my-model.yaml: written" in made.stdout
    assert made.stdout.splitlines()[-4:] == [
        "Install it:      pip install -e diva-bench-my-model",
        "Test it:         pytest diva-bench-my-model",
        "Check the model: diva-bench doctor --model my-model",
        "Run it:          diva-bench run --model my-model --task heysquad --limit 4",
    ]
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--target", "site", "./diva-bench-my-model"]
    run(folder, "pip", "install", "-q", *options)
    return folder


def run(folder: Path, *words: str) -> str:
    """What a module of a fresh Python prints, with what is installed in `site`."""
    environment = os.environ | {"PYTHONPATH": "site", "DIVA_BENCH_CACHE": str(folder / "cache"), "COLUMNS": "160"}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_test_passes(package: Path) -> None:
    assert "1 passed" in run(package, "pytest", "-q", "-p", "no:cacheprovider", "diva-bench-my-model")


def test_its_model_is_checked_by_doctor_and_answers_a_task(package: Path) -> None:
    said = run(package, "diva_bench", "doctor", "--model", "my-model")
    assert "contract of adapters: my-model, float32" in said
    assert "broken" not in said.split("contract of adapters")[1]
    run(package, "diva_bench", "run", "-m", "my-model", "-t", "heysquad", "--limit", "2", "--output", "out")
    [answers] = package.glob("out/*/*/responses.jsonl")
    assert answers.read_text(encoding="utf-8").count("I heard ") == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "My_Model",
            "name: 'My_Model' cannot be the name of a package. Allowed: small letters, digits and single hyphens",
        ),
        ("../x", "name: '../x' cannot be the name of a package."),
        ("echo", "name: there is an adapter 'echo' already. Choose another name."),
        ("whisper", "name: there is a model 'whisper' already. Choose another name."),
        ("there", "diva-bench-there: already exists. Give another folder with --output, or move it away."),
    ],
)
def test_what_cannot_be_written_is_told(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "diva-bench-there").mkdir()
    done = call(tmp_path, "new", "adapter", name)
    assert (done.returncode, said in " ".join(done.stderr.split())) == (2, True), done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["diva-bench-there"]
