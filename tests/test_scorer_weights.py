"""Weights that a scorer takes: a run goes on without them, `pull` gets them, and then `score` has their metric too."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import mini_task
import pytest
import yaml
from asset_tools import Recorder, sha
from command_line import call
from pedants_twin import twin
from test_from_pedants import npz_of

from diva_bench.catalog import Catalog
from diva_bench.errors import AssetError
from diva_bench.evaluation import scorer_weights
from diva_bench.weights.from_pedants import convert, load


@dataclass(frozen=True)
class Place:
    """A folder of specs, with a task `toy` that is scored by weights `twin`, whose two files are in `web`."""

    base: Path

    @property
    def specs(self) -> Path:
        return self.base / "specs"

    @property
    def npz(self) -> Path:
        return self.base / "mine.npz"

    def diva_bench(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return call(self.base, *arguments, "--path", str(self.specs), COLUMNS="200")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    here = Place(tmp_path)
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    path = mini_task.write(here.specs) / "toy.yaml"
    task = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(
        yaml.safe_dump(task | {"scorers": {"qa": {}, "pedants": {"weights": "twin"}}, "primary": "pedants"})
    )
    convert(twin().write(tmp_path / "pickles"), tmp_path / "converted")
    weights = load(tmp_path / "converted")
    npz_of(weights, here.npz)
    files = ["lr_classifier", "tf-idf_vectorizer"]
    spec = {
        "name": "twin",
        "format": "pedants",
        "description": "toy",
        "licence": "none",
        "files": [{"path": f, "bytes": 9000, "sources": [{"file": str(tmp_path / "web" / f)}]} for f in files],
        "instead": {"twin.npz": sha(here.npz.read_bytes())},
        "content": weights.content,
    }
    (here.specs / "twin.yaml").write_text(yaml.safe_dump(spec))
    return here


def summary(place: Place) -> dict[str, object]:
    found = list((place.base / "results").glob("*/*/summary.json"))
    assert len(found) == 1
    return dict(json.loads(found[0].read_text(encoding="utf-8")))


def test_a_run_without_the_weights_has_its_other_metrics_and_gets_this_one_later(place: Place) -> None:
    ran = place.diva_bench("run", "--model", "echo", "--task", "toy")
    assert ran.returncode == 0, ran.stderr
    assert "no value for pedants: not ranked" in ran.stdout
    assert "pedants: not scored, weights twin are missing: diva-bench pull --task toy" in ran.stdout
    before = summary(place)
    assert before["complete"] is True
    assert set(before["metrics"]) == {"contains", "em", "f1"}

    lost = place.diva_bench("pull", "--task", "toy")
    assert lost.returncode == 1
    assert "could not be fetched" in lost.stderr
    assert "Without twin, tasks are run and scored by their other scorers." in lost.stderr

    got = place.diva_bench("pull", "--weights-file", str(place.npz))
    assert (got.returncode, got.stdout.startswith("weights twin: ")) == (0, True), got.stderr
    runs = [str(p.parent) for p in (place.base / "results").glob("*/*/run.json")]
    scored = place.diva_bench("score", *runs)
    assert scored.returncode == 0, scored.stderr
    after = summary(place)
    assert set(after["metrics"]) == {"contains", "em", "f1", "pedants", "pedants_rate"}
    assert 0 < after["metrics"]["pedants"]["value"] < 100
    assert after["baseline"] is not None


def test_weights_are_fetched_from_their_sources(place: Place) -> None:
    twin().write(place.base / "web")
    catalog = Catalog([place.specs])
    folders, missing = scorer_weights.fetch(catalog, [catalog.task("toy", "mini")], Recorder())
    assert (list(folders), missing) == (["twin"], [])
    assert load(folders["twin"]).content == catalog.weights("twin")[0].content


def test_a_file_that_belongs_to_nothing_or_is_not_there_is_told(place: Place) -> None:
    catalog = Catalog([place.specs])
    place.npz.write_bytes(place.npz.read_bytes() + b" ")
    with pytest.raises(AssetError, match=r"mine\.npz: its sha256 is not that of a known weights file.*twin\.npz"):
        scorer_weights.install(catalog, [place.npz], Recorder())
    with pytest.raises(AssetError, match=r"nowhere: no such file \(--weights-file\)"):
        scorer_weights.install(catalog, [place.base / "nowhere"], Recorder())
