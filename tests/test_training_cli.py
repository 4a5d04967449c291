"""`diva-bench train`: what it refuses before anything is loaded, and how settings come together."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from training_tools import wav

from diva_bench.catalog import Catalog
from diva_bench.cli import train as command
from diva_bench.cli.main import main
from diva_bench.cli.train import resolve
from diva_bench.diva.config import ABLATIONS, PRESETS, TrainConfig
from diva_bench.errors import UserError
from diva_bench.types import Silent
from diva_bench.weights import assets

Call = Callable[..., tuple[int, str, str]]  # exit code, stdout, stderr


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["diva-bench", "train", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, " ".join(err.split())

    return run


REFUSED: list[tuple[list[str], str]] = [
    (["--preset", "nona"], "unknown preset 'nona'. Did you mean 'nano'?"),
    (["--ablation", "alignonly"], "unknown ablation 'alignonly'. Did you mean 'align_only'?"),
    (["--set", "step=3"], "unknown training setting 'step'. Did you mean 'steps'?"),
    (["--set", "lr"], "--set lr: expected FIELD=VALUE, as in --set lr=3e-4."),
    (["--set", "steps=many"], "--set steps=many: steps must be a whole number."),
    (["--set", "steps=1.5"], "--set steps=1.5: steps must be a whole number."),
    (["--set", "steps=true"], "--set steps=true: steps must be a whole number."),
    (["--set", "steps=null"], "--set steps=null: steps must be a whole number."),
    (["--set", "clip=0"], "clip is 0.0; it must be above 0"),
    (["--set", "lr=nan"], "--set lr=nan: lr must be a finite number."),
    (["--set", "locality=wide"], "--set locality=wide: locality must be a finite number or null."),
    (["--set", "instructions=blue"], "--set instructions=blue: instructions must be one of none, mixed."),
    (
        ["--set", "every_batch=9"],
        "every_batch is 9; a batch has 32 clips and then 8. Set every_batch to no more than that.",
    ),
    (["--preset", "nano-time", "--set", "instructions=mixed"], "instructions is mixed, but nothing is distilled"),
    (["--preset", "nano-time", "--set", "every_batch=33"], "every_batch is 33; a batch has 32 clips. Set"),
    (["--set", "variants=-1"], "variants is -1; it must not be below 0"),
    (["--set", "encoder=nowhere", "--data", ".", "--output", "unused"], "nowhere: neither weights"),
    (["--set", "lr=null"], "--set lr=null: lr must be a finite number."),
    (["--set", "lr=.nan"], "--set lr=.nan: not valid YAML: '.nan' is not a finite number"),
    (["--set", "encoder=3"], "--set encoder=3: encoder must be a text."),
    (["--set", "lr=fast"], "--set lr=fast: lr must be a finite number."),
    (["--set", "scaled=2"], "--set scaled=2: scaled must be true or false."),
    (["--set", "schedule=step"], "--set schedule=step: schedule must be one of cosine, linear, constant."),
    (["--set", "window_seconds=20"], "window_seconds is 20.0; Whisper hears the clip (null) or 30 s."),
    (["--set", "lr=0"], "training: lr is 0.0; it must be above 0."),
    (["--set", "readout=snapped"], "only alignment ctc has them. Set readout to raw, or alignment to ctc."),
    (["--set", "train_encoder=true"], "set cache_states to false"),
    (["--set", "connector=mlp"], "an mlp cannot start from Whisper's decoder"),
    (["--set", "align=0"], "align_steps is 600, but alignment has weight 0"),
    (["--set", "align_steps=9000"], "align_steps is 9000, of 850 steps in all"),
    (["--set", "seed=-1"], "training: seed is -1; it must not be below 0."),
    (["--set", "seed=4294967296"], "training: seed is 4294967296; it must not be above 4294967295."),
    (["--set", "steps=99999999999"], "training: steps is 99999999999; it must not be above 4294967295."),
    (["--set", "encoder=blue", "--dry-run"], "blue: neither weights"),
    (["--set", "llm=blue", "--dry-run"], "blue: neither weights"),
    (["--set", "start_from=blue", "--dry-run"], "blue: neither weights"),
    (["--name", "a b", "--dry-run"], "--name 'a b': a name has at most 64 letters"),
    (["--data", "nowhere", "--dry-run"], "training data 'nowhere' is no file or folder"),
    (["--data", "nowhere", "--output", "o"], "training data 'nowhere' is no file or folder"),
    (["--data", "hub:blue", "--output", "o"], "training data 'hub:blue' does not name a data set of the hub."),
    (["--data", "", "--output", "o"], "training data: the name is empty."),
    (["--output", ""], "the path is empty. Give a path, or leave the option out."),
    (["--cache", " ", "--dry-run"], "the path is empty. Give a path, or leave the option out."),
    (["--cache-gb", "inf", "--dry-run"], "--cache-gb inf: must be a number of gigabytes from 0."),
    (["--cache-gb", "nan", "--dry-run"], "'--cache-gb': it must be greater than or equal to 0"),
    (["--ablation", ""], "unknown ablation ''"),
    (["--data", "d"], "--output is missing"),
    (["--output", "o"], "--data is missing"),
    (["--output", "o", "--plot"], "o/metrics.jsonl: no such file"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[" ".join(w) for w, _ in REFUSED])
def test_what_cannot_be_trained_is_refused_in_words_with_exit_code_2(call: Call, words: list[str], said: str) -> None:
    code, out, err = call(*words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not out
    assert not Path("o").exists()


def test_data_that_is_not_there_is_refused_before_a_step(call: Call, tmp_path: Path) -> None:
    (tmp_path / "clip.wav").write_bytes(wav(0.2))
    code, _, err = call("--data", "clip.wav", "--output", "o", "--set", "encoder=nowhere")
    assert code == 2
    assert "nowhere" in err


@pytest.mark.parametrize("preset", PRESETS)
def test_a_dry_run_lists_every_setting_and_writes_nothing(call: Call, tmp_path: Path, preset: str) -> None:
    code, out, _ = call("--preset", preset, "--dry-run", "--output", "o")
    assert code == 0
    lines = out.splitlines()
    shown = dict(line.split(": ", 1) for line in lines[: len(fields(TrainConfig))])
    assert list(shown) == [field.name for field in fields(TrainConfig)]
    config = PRESETS[preset]()
    repeated = [f"{name}={text}" for name, text in shown.items()]  # in the words that --set takes
    assert resolve(preset, changes=repeated) == config
    assert any(line.startswith(f"clips: {config.examples(config.steps):,} with repetitions") for line in lines)
    assert not (tmp_path / "o").exists()
    assert any("FLOP" in line for line in lines) == (preset == "paper")  # what it would cost


CHANGED: list[tuple[list[str], dict[str, Any]]] = [
    ([], {}),
    (["lr=3e-4", "steps=2500"], {"lr": 3e-4, "steps": 2500}),
    (["steps=10"], {"steps": 10, "align_steps": 10}),
    (["steps=10", "align_steps=4"], {"steps": 10, "align_steps": 4}),
    (["projection_boost=null"], {"projection_boost": None}),
    (["window_seconds=30"], {"window_seconds": 30.0}),
    (["schedule=linear", "scaled=false"], {"schedule": "linear", "scaled": False}),
]


@pytest.mark.parametrize(("changes", "wanted"), CHANGED, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
@pytest.mark.parametrize("ablation", [None, "kl", "distill_only"])
def test_settings_come_from_preset_then_ablation_then_fields(
    changes: list[str], wanted: dict[str, Any], ablation: str | None
) -> None:
    if ablation == "distill_only" and wanted.get("align_steps") == 4:
        with pytest.raises(UserError, match="align_steps is 4, but alignment has weight 0"):
            resolve("nano", ablation, changes)
        return
    base = ABLATIONS[ablation](PRESETS["nano"]()) if ablation else PRESETS["nano"]()
    known = {f.name: getattr(base, f.name) for f in fields(TrainConfig)} | wanted
    known |= {"align_steps": 0} if ablation == "distill_only" else {}
    assert resolve("nano", ablation, changes) == TrainConfig(**known)


@pytest.mark.parametrize("steps", [100, 20_000])
def test_a_recipe_of_alignment_alone_stays_one_however_many_steps_it_takes(steps: int) -> None:
    assert resolve("mini-time", changes=[f"steps={steps}"]).align_steps == steps


def test_a_field_that_the_command_line_sets_wins_over_the_ablation() -> None:
    found = resolve("nano", "released", ["shift=3"])
    assert found.shift == 3


TO_L2 = {"queries", "max_queries", "locality", "alignment", "pull"}
CHANGES: list[
    tuple[str, set[str], set[str]]
] = [  # ablation, what it changes of the paper's recipe, and of time queries'
    ("align_only", {"distill"}, set()),
    ("distill_only", {"align"}, {"align", "align_steps", "alignment", "pull", "distill"}),
    ("scratch", {"from_whisper"}, {"from_whisper"}),
    ("mlp", {"connector", "from_whisper"}, {"connector", "from_whisper", "locality"}),
    ("kl", {"distillation"}, {"distillation"}),
    ("learned", set(), TO_L2),
    ("learned_ctc", set(), {"queries", "max_queries", "locality"}),
    ("ce_first", {"alignment", "aligned"}, {"queries", "max_queries", "locality", "alignment", "aligned"}),
    ("no_locality", set(), {"locality"}),
    ("no_pull", set(), {"pull"}),
    ("bidirectional", {"causal"}, {"causal"}),
    ("released", {"shift"}, {*TO_L2, "shift"}),
    ("align_first", {"aligned"}, {*TO_L2, "aligned"}),
    ("align_pad", {"pad"}, {*TO_L2, "pad"}),
]


def test_the_table_of_changes_has_every_ablation() -> None:
    assert [name for name, _, _ in CHANGES] == list(ABLATIONS)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("name", "paper", "time"), CHANGES, ids=[name for name, _, _ in CHANGES])
def test_an_ablation_changes_what_it_names_and_is_refused_where_it_changes_nothing(
    preset: str, name: str, paper: set[str], time: set[str]
) -> None:
    wanted = time if preset.endswith("-time") else paper
    if not wanted:
        with pytest.raises(UserError, match=rf"--ablation {name}: preset {preset} is not changed by it"):
            resolve(preset, name)
        return
    found, base = resolve(preset, name), PRESETS[preset]()
    follows = {"align_steps"} if name == "distill_only" else set()  # no step is of alignment alone
    changed = {f.name for f in fields(TrainConfig) if getattr(found, f.name) != getattr(base, f.name)}
    assert changed - follows == wanted - follows
    assert ABLATIONS[name].__doc__


def test_an_unknown_preset_is_a_user_error_for_libraries_too() -> None:
    with pytest.raises(UserError, match="unknown preset 'x'"):
        resolve("x")


# ---------------------------------------------------------------- what a name means


def test_a_bare_name_means_weights_that_are_known_and_a_path_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training's --output is often called as its --name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(assets, "ready", lambda spec, home, progress: Path("the weights") / spec.name)
    for name in ("diva-nano", "mine"):
        (tmp_path / name).mkdir()
    found = [command._weights(Catalog(), name, Silent()) for name in ("diva-nano", "./diva-nano", "mine", "diva-mini")]
    assert found == [Path("the weights/diva-nano"), Path("diva-nano"), Path("mine"), Path("the weights/diva-mini")]


def test_a_start_may_be_the_output_of_a_training_or_the_connector_in_it(tmp_path: Path) -> None:
    export = tmp_path / "out" / "export"
    export.mkdir(parents=True)
    (export / "config.json").write_text("{}", encoding="utf-8")
    assert command._exported(tmp_path / "out") == export
    assert command._exported(export) == export
    assert command._exported(tmp_path / "elsewhere") == tmp_path / "elsewhere"
