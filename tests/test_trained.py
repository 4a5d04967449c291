"""A connector that somebody trained: installed, named, found by models; and what is said without it."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import mini_task
import pytest
import yaml
from asset_tools import Recorder
from trained_connectors import Done, exported, in_process, own_cache, trained

from diva_bench.catalog import Catalog
from diva_bench.cli import train as train_cli
from diva_bench.cli import weights as weights_cli
from diva_bench.cli.train import resolve, weights_name
from diva_bench.errors import AssetError, SpecError, UserError
from diva_bench.specs.spec_file import TRAINED
from diva_bench.training import export, state
from diva_bench.weights import assets

COMMAND = "diva-bench train --preset nano --ablation align_only --data DIR --output DIR"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return own_cache(tmp_path, monkeypatch)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    return in_process(monkeypatch, capsys)


# ---------------------------------------------------------------- installed


def test_an_ablation_that_is_built_in_is_asked_by_its_name_once_it_is_trained(tmp_path: Path, cache: Path) -> None:
    said = trained(tmp_path / "out", ablation="align_only")
    assert said == (
        "installed as weights 'diva-nano-align-only': diva-bench run -m diva-align-only --edition nano -t all"
    )
    catalog = Catalog()
    spec = catalog.model("diva-align-only", "nano")
    asset = spec.weights["connector"]
    place = cache / "trained" / "diva-nano-align-only"
    assert assets.locate(asset, catalog.weights(asset.name)[1]) == place
    found = catalog.has("weights", asset.name)
    assert found is not None
    assert found.origin == TRAINED
    assert sorted(p.name for p in place.iterdir()) == [
        "config.json", "connector.safetensors", "diva-nano-align-only.yaml", "training.json",
    ]  # fmt: skip
    assert spec.runtime.dtype == "float32", "the runtime is that of diva"
    with pytest.raises(
        AssetError, match=r"'diva-mini-align-only' are not.*\nEdition nano of it is here: --edition nano"
    ):
        catalog.model("diva-align-only", "mini")


def test_a_connector_that_no_model_names_gets_a_model_of_its_one_edition(tmp_path: Path) -> None:
    said = trained(tmp_path / "out")
    assert said == "installed as weights 'diva-nano-own': diva-bench run -m diva-nano-own --edition nano -t all"
    trained(tmp_path / "two", preset="mini", name="mine")
    catalog = Catalog()
    assert catalog.model_editions("diva-nano-own") == ["nano"]
    assert catalog.model_editions("mine") == ["mini"]
    own, diva = catalog.model("diva-nano-own", "nano"), catalog.model("diva", "nano")
    assert own.weights["connector"].name == "diva-nano-own"
    assert {**own.weights, "connector": None} == {**diva.weights, "connector": None}
    assert own.runtime == diva.runtime


def test_trained_again_it_is_replaced_whole(tmp_path: Path, cache: Path) -> None:
    trained(tmp_path / "one", name="mine")
    place = cache / "trained" / "mine"
    (place / "encoder.safetensors").write_text("of the first training alone")
    for left in (".making-mine", ".old-mine"):
        exported(place.with_name(left))
        (place.with_name(left) / "mine.yaml").write_text("half a fi")
    assert [f.spec.name for f in Catalog().models() if f.origin == TRAINED] == ["mine"], "what was killed is not seen"
    said = trained(tmp_path / "two", name="mine", content="another connector")
    assert said.startswith("installed as weights 'mine', replacing the ones trained before: diva-bench run -m mine ")
    assert (place / "connector.safetensors").read_text() == "another connector"
    assert not (place / "encoder.safetensors").exists()
    assert [p.name for p in place.parent.iterdir()] == ["mine"]
    asset, home = Catalog().weights("mine")
    assert assets.locate(asset, home) == place


@pytest.mark.parametrize(
    ("name", "begun", "replaced"), [(None, False, False), (None, True, True), ("diva-nano-own", False, True)]
)
def test_a_training_replaces_another_only_if_it_was_begun_before_or_the_name_is_given(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str | None, begun: bool, replaced: bool
) -> None:
    trained(tmp_path / "one")
    data, output = tmp_path / "data.jsonl", tmp_path / "two"
    data.write_text('{"audio": "a.wav", "text": "a"}\n')
    if begun:
        output.mkdir()
        (output / state.NAME).write_bytes(b"")

    def stop(*_: object) -> NoReturn:
        raise InterruptedError("the training would begin here")

    monkeypatch.setattr(train_cli, "_weights", stop)
    arguments = {"preset": "nano", "ablation": None, "changes": [], "data": [str(data)], "output": output, "name": name}
    rest = {"plot": False, "dry_run": False, "cache": None, "cache_gb": 20.0, "tensorboard": False}
    rest |= {"eval_tasks": [], "eval_limit": 8, "paths": []}
    expected = (
        (InterruptedError, "begin here")
        if replaced
        else (UserError, "--name NEW-NAME, or replace them with --name diva")
    )
    with pytest.raises(expected[0], match=expected[1]):
        train_cli.train_command(**arguments, **rest)
    assert (cache / "trained" / "diva-nano-own" / "connector.safetensors").read_text() == "a connector"


def test_where_it_cannot_be_installed_the_one_before_stays_and_the_new_one_is_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path / "one", name="mine")

    def full(path: Path) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export.disk, "sync", full)
    with pytest.raises(AssetError) as err:
        trained(tmp_path / "two", name="mine", content="another connector")
    assert f"{cache / 'trained' / 'mine'}: the trained connector cannot be installed" in str(err.value)
    assert "No space left" in str(err.value)
    assert f"It is kept in {tmp_path / 'two' / 'export'}: free some space, or set DIVA_BENCH_CACHE" in str(err.value)
    assert [p.name for p in (cache / "trained").iterdir()] == ["mine"]
    assert (cache / "trained" / "mine" / "connector.safetensors").read_text() == "a connector"


def test_between_other_models_it_gets_a_name_and_a_model_of_its_own(tmp_path: Path) -> None:
    """The built-in ablation must not come to mean a connector between other models than its own."""
    said = trained(tmp_path / "out", "llm=qwen2.5-coder-1.5b-instruct", ablation="kl")
    assert "'diva-nano-kl-own': diva-bench run -m diva-nano-kl-own --edition nano" in said
    spec = Catalog().model("diva-nano-kl-own", "nano")
    assert {role: asset.name for role, asset in spec.weights.items()} == {
        "encoder": "whisper-tiny.en", "llm": "qwen2.5-coder-1.5b-instruct", "connector": "diva-nano-kl-own",
    }  # fmt: skip
    assert Catalog().untrained("diva-kl", "nano")


def test_a_trial_with_other_settings_does_not_take_the_name_of_an_ablation(tmp_path: Path) -> None:
    assert "'diva-nano-kl-own'" in trained(tmp_path / "a", "steps=20", ablation="kl")
    assert "'diva-nano-kl'" in trained(tmp_path / "b", "save_every=20", ablation="kl")


def test_between_plain_folders_it_has_no_model_and_that_is_said(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "llm").mkdir()
    said = trained(tmp_path / "out", f"llm={tmp_path / 'llm'}")
    place = cache / "trained" / "diva-nano-own"
    assert said == (
        f"installed as weights 'diva-nano-own', in {place}; no model YAML is written: llm {tmp_path / 'llm'}: "
        "a folder, and a model names weights by their names"
    )
    assert Catalog().has("weights", "diva-nano-own")
    assert not Catalog().has("model", "diva-nano-own")


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "diva-nano",
            r"--name diva-nano: .*/models/weights/diva-nano.yaml \(built in\) has weights of this name already",
        ),
        (
            "diva-kl",
            r"--name diva-kl: .* has a model of this name already\. Choose another, such as --name diva-kl-own\.",
        ),
        ("../up", r"--name '../up': a name has at most 64 letters, digits, '.', '_' and '-'"),
        ("", r"--name '': a name has"),
    ],
)
def test_a_name_that_is_taken_is_refused_before_training_starts(call, tmp_path, name, said) -> None:
    (tmp_path / "speech.jsonl").write_text("")
    with pytest.raises(UserError, match=said):
        weights_name(Catalog(), name, resolve("nano"), "nano")
    code, _, err = call("train", "--data", "speech.jsonl", "--output", "out", "--name", name)
    assert code == 2
    assert f"--name {name}" in err or "--name ''" in err or "--name '../up'" in err
    assert not (tmp_path / "out").exists()


def test_a_name_in_a_folder_of_the_users_is_taken_too_but_his_trained_one_is_not(tmp_path: Path) -> None:
    trained(tmp_path / "out", name="mine")
    assert trained(tmp_path / "out", name="mine").startswith("installed as weights 'mine', replacing")
    mini_task.write(tmp_path / "specs")
    mini_task.model(tmp_path / "specs", "his")
    with pytest.raises(UserError, match=r"--name his: .*his.yaml \(.*\) has a model of this name already"):
        trained(tmp_path / "out", name="his", paths=[tmp_path / "specs"])


def test_a_trained_name_that_another_place_has_too_says_what_to_remove(tmp_path: Path, cache: Path) -> None:
    trained(tmp_path / "out", name="mine")
    mini_task.write(tmp_path / "specs")
    mini_task.model(tmp_path / "specs", "mine")
    with pytest.raises(
        SpecError, match=rf"model 'mine' is defined in two places.*Remove {cache}/trained/mine, or rename"
    ):
        Catalog([tmp_path / "specs"]).model_editions("mine")


# ---------------------------------------------------------------- not trained yet


def test_without_its_weights_a_model_says_which_and_how_they_are_trained(call, cache: Path) -> None:
    wanted = (
        "diva-bench: model diva-align-only, edition nano: weights 'diva-nano-align-only' are not on this machine (looked "
        f"in {cache}/trained). They are trained, not downloaded: {COMMAND}"
    )
    for words in (("show", "diva-align-only"), ("run", "-m", "diva-align-only", "-t", "heysquad")):
        code, out, err = call(*words, "--edition", "nano")
        assert (code, out) == (2, "")
        assert err.endswith(wanted)


def test_lists_and_validation_do_without_them(call) -> None:
    code, out, _ = call("list", "models")
    assert code == 0
    assert "diva-align-only" in out
    assert call("list", "tasks")[0] == 0
    file = Path(__file__).parents[1] / "models" / "diva-kl.yaml"
    code, out, _ = call("validate", str(file))
    assert code == 0
    assert out.strip().endswith(
        "a valid model: diva-kl (its weights for mini and nano are trained, and not on this machine)"
    )


def test_validation_still_sees_all_else_that_such_a_model_names(call, tmp_path: Path) -> None:
    text = "name: mine\nextends: diva\ndescription: d\neditions:\n  nano:\n    weights: {connector: c, llm: smolm2}\n"
    (tmp_path / "mine.yaml").write_text(text + "    trained_by: a command\n")
    code, _, err = call("validate", "mine.yaml")
    assert code == 2
    assert "unknown weights 'smolm2'" in err


def test_what_trains_a_model_is_not_said_of_a_connector_that_its_child_names(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "name: a\nadapter: echo\ndescription: d\neditions: {mini: {weights: {connector: x}, trained_by: make x}}\n"
    )
    (tmp_path / "b.yaml").write_text("name: b\nextends: a\ndescription: d\neditions: {mini: {}}\n")
    (tmp_path / "c.yaml").write_text(
        "name: c\nextends: a\ndescription: d\neditions: {mini: {weights: {connector: y}}}\n"
    )
    catalog = Catalog([tmp_path])
    assert catalog.untrained("b", "mini").endswith("make x")
    assert catalog.untrained("c", "mini") == ""
    with pytest.raises(UserError, match="unknown weights 'y'"):
        catalog.model("c", "mini")


def test_pull_leaves_them_out_with_a_note_unless_they_are_asked_for(call, monkeypatch: pytest.MonkeyPatch) -> None:
    pulled: list[str] = []

    def fetch(_: Catalog, models: Sequence[Any], progress: Any) -> dict[str, Path]:
        pulled.extend(model.name for model in models)
        return {}

    monkeypatch.setattr(Catalog, "fetch", fetch)
    monkeypatch.setattr(weights_cli, "_pull_data", lambda *_: True)
    monkeypatch.setattr(weights_cli.scorer_weights, "fetch", lambda *_: ({}, []))
    mini_task.write(Path("specs"))
    code, _, err = call("pull", "--edition", "nano", "--path", "specs")
    assert code == 0
    assert pulled == ["cascade", "diva-learned", "diva", "oracle", "whisper"]
    assert "left out, because their weights are trained, not downloaded: diva-align-first, diva-align-only, " in err
    assert "(`diva-bench show NAME --edition nano` says how)" in err
    code, _, err = call("pull", "--edition", "nano", "--path", "specs", "-t", "toy", "-m", "diva-align-only")
    assert code == 2
    assert COMMAND in err


def test_a_model_between_weights_of_a_folder_not_given_now_does_not_stop_pull_and_doctor(
    tmp_path: Path, cache: Path
) -> None:
    trained(tmp_path / "out", name="mine")
    path = cache / "trained" / "mine" / "mine.model.yaml"
    path.write_text(path.read_text().replace("smollm2-135m-instruct", "his-llm"))
    progress = Recorder()
    found = weights_cli._specs(Catalog(), [], "nano", None, progress)  # type: ignore[arg-type]
    assert [model.name for model in found] == ["cascade", "diva-learned", "diva", "oracle", "whisper"]
    assert any(note.startswith("model mine is left out: unknown weights 'his-llm'") for note in progress.notes)
    wanted, _, notes = weights_cli._all_weights(Catalog())
    assert "diva-nano" in wanted
    assert any(note.startswith("model mine (nano): unknown weights 'his-llm'") for note in notes)
    assert any("not fetched (mini): diva-align-first, diva-align-only," in note for note in notes)


# ---------------------------------------------------------------- the command


def test_the_train_command_installs_what_it_trained(call, tmp_path: Path, cache: Path) -> None:
    from tiny_models import make_llm, make_whisper

    make_whisper(tmp_path / "whisper")
    make_llm(tmp_path / "llm")
    lines = []
    for k in range(12):
        mini_task.clip(tmp_path / f"{k}.wav", 0.3 + 0.02 * k, 200 + 20 * k)
        lines.append(json.dumps({"audio": f"{k}.wav", "text": f"text {k}"}) + "\n")
    (tmp_path / "speech.jsonl").write_text("".join(lines))
    settings = {
        "encoder": tmp_path / "whisper", "llm": tmp_path / "llm", "layers": 1, "steps": 2, "align_steps": 1, "batch": 2,
        "both_batch": 2, "held_out": 4, "warmup": 1, "dtype": "float32",
    }  # fmt: skip
    changes = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    code, out, err = call("train", "--data", "speech.jsonl", "--output", "out", "--name", "mine", *changes)
    assert code == 0, err
    stored, installed = out.splitlines()
    assert stored == "stored: out/export"
    assert installed.startswith("installed as weights 'mine', in ")
    place = cache / "trained" / "mine"
    assert json.loads((place / "training.json").read_text())["compute"]["steps"] == 2
    asset, home = Catalog().weights("mine")
    assert assets.locate(asset, home) == place
    assert yaml.safe_load((place / "mine.yaml").read_text())["files"][0]["sources"] == [
        {"file": "connector.safetensors"}
    ]
