"""What is shipped: the wheel has every tracked file of the package, its tasks and its models, and not one more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
MEGABYTE = 1_000_000


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    try:
        done = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: there is no list of the project's files")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def checkout(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with its own git, in which things lie about that nobody tracks."""
    pytest.importorskip("hatchling", reason="the dev extra is not installed")
    copy = tmp_path_factory.mktemp("checkout")
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    run("git", "init", "-q", cwd=copy)
    run("git", "add", "-A", "-f", cwd=copy)
    (copy / ".gitignore").write_text((copy / ".gitignore").read_text() + "*.secret\n")
    for stray in (
        "tasks/key.secret",
        "tasks/mini/new.yaml",
        "models/draft.yaml",
        "diva_bench/data/draft.py",
        "notes.txt",
    ):
        (copy / stray).parent.mkdir(parents=True, exist_ok=True)
        (copy / stray).write_text("x")
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist", cwd=checkout)
    return next((checkout / "dist").glob("*.whl"))


def expected(tracked: list[str]) -> set[str]:
    own = {name for name in tracked if name.startswith("diva_bench/")}
    data = ("tasks/", "models/", "results/published.yaml")
    return own | {f"diva_bench/_builtin/{name}" for name in tracked if name.startswith(data)}


def shipped(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_has_what_git_tracks_and_nothing_else(wheel: Path, tracked: list[str]) -> None:
    assert shipped(wheel) == expected(tracked)


def test_a_wheel_by_way_of_the_sdist_is_the_same(
    checkout: Path, wheel: Path, tracked: list[str], tmp_path: Path
) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", "dist", cwd=checkout)
    with tarfile.open(next((checkout / "dist").glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    inside = {str(p.relative_to(unpacked)) for p in unpacked.rglob("*") if p.is_file()}
    assert inside == {*tracked, "PKG-INFO"}
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist", cwd=unpacked)
    assert shipped(next((unpacked / "dist").glob("*.whl"))) == shipped(wheel)


def test_an_installed_wheel_finds_its_tasks_and_models(wheel: Path, tracked: list[str], tmp_path: Path) -> None:
    pytest.importorskip("pip", reason="this environment has no pip")
    place = tmp_path / "installed"
    options = ["--no-deps", "--no-index", "--no-compile", "--target", str(place)]
    run(sys.executable, "-m", "pip", "install", "-q", *options, str(wheel), cwd=tmp_path)
    code = (
        "from diva_bench import catalog; c = catalog.Catalog(); "
        "print(*sorted([catalog.__file__] + [str(f.path) for f in (*c.tasks(), *c.models())]), sep='\\n')"
    )
    # an empty cache: what was trained on this machine is found beside what the wheel has
    environment = {"PYTHONPATH": str(place), "DIVA_BENCH_CACHE": str(tmp_path / "cache")}
    found = run(sys.executable, "-c", code, cwd=tmp_path, **environment).splitlines()
    folders = ("tasks", "tasks/paper", "models")
    specs = [name for name in tracked if name.endswith(".yaml") and str(PurePosixPath(name).parent) in folders]
    wanted = ["diva_bench/catalog.py", *(f"diva_bench/_builtin/{name}" for name in specs)]
    assert sorted(found) == sorted(str(place / name) for name in wanted)
    assert {str(PurePosixPath(name).parent) for name in specs} == set(folders)


def test_published_runs_lie_where_no_run_of_a_user_goes(tracked: list[str]) -> None:
    """`run` in a checkout writes to results/<task>/<model>: a published run there would be taken for the user's own."""
    runs = [name for name in tracked if name.startswith("results/") and name.endswith("/run.json")]
    assert runs
    assert [name for name in runs if name.count("/") < 4] == []


def test_the_project_is_small(tracked: list[str]) -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in tracked}
    # connectors are 49 of it (mini 28, the two of nano 10 and 11), clips 25 (mini 15, mini-v1 4, ten languages 5)
    assert sum(sizes.values()) < 95 * MEGABYTE
    assert sum(size for name, size in sizes.items() if name.endswith(".ogg")) < 28 * MEGABYTE
    assert [name for name, size in sizes.items() if size > 30 * MEGABYTE] == []


def test_constraints_pin_every_direct_dependency() -> None:
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    for requirement in map(Requirement, wanted):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin, f"constraints.txt has no line for {requirement.name}"
        assert requirement.specifier.contains(pin), (
            f"constraints.txt pins {requirement.name}=={pin}, outside {requirement}"
        )
