"""What a machine computes in: the number format of a setting, and what is said of one that it has no instructions for."""

from __future__ import annotations

import json
from pathlib import Path

import mini_task
import pytest
import torch
from command_line import call
from training_tools import Notes, make_place, prepared

from diva_bench import provenance
from diva_bench.catalog import Catalog
from diva_bench.specs import Runtime

AMX, OLD = "flags\t\t: fpu avx512_bf16 amx_bf16", "flags\t\t: fpu avx2"


def on_cpu(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(provenance, "_cpuinfo", text.splitlines)


@pytest.mark.parametrize(
    ("text", "said", "chosen"),
    [
        (AMX, "native (AMX)", "bfloat16"),
        ("flags\t\t: fpu avx512_bf16", "native (AVX512-BF16)", "bfloat16"),
        ("Features\t: fp bf16", "native (Arm BF16)", "bfloat16"),
        (OLD, "slow (no instructions for it)", "float32"),
        ("", "unknown", "float32"),
    ],
)
def test_auto_is_bfloat16_only_where_the_cpu_has_instructions_for_it(
    text: str, said: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu(monkeypatch, text)
    assert provenance.bfloat16("cpu") == said
    assert provenance.dtype("auto", "cpu") == chosen
    assert {provenance.dtype(asked, "cpu") for asked in ("bfloat16", "float32")} == {"bfloat16", "float32"}


@pytest.mark.parametrize(("generation", "chosen"), [(7, "float32"), (8, "bfloat16"), (9, "bfloat16")])
def test_auto_is_bfloat16_from_the_first_gpus_that_compute_in_it(
    generation: int, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (generation, 5))
    assert provenance.dtype("auto", "cuda:0") == chosen


def test_a_training_takes_the_format_of_the_machine_records_it_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, notes = make_place(tmp_path, clips=8), Notes()
    for text, chosen in ((AMX, "bfloat16"), (OLD, "float32")):
        on_cpu(monkeypatch, text)
        run = prepared(place, tmp_path / chosen, dtype="auto", progress=notes)
        assert run.config.dtype == chosen
        assert run.frozen.llm.embeddings.dtype == getattr(torch, chosen)
    said = [note for note in notes.all if "bfloat16" in note]
    assert said == [
        "training in float32; bfloat16 on this cpu: slow (no instructions for it); --set dtype=bfloat16 uses it anyway"
    ]


@pytest.mark.parametrize(
    ("text", "dtype", "warned"), [(OLD, "bfloat16", True), (OLD, "float32", False), (AMX, "bfloat16", False)]
)
def test_loading_a_model_in_a_format_that_is_slow_here_says_what_would_be_faster(
    text: str, dtype: str, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu(monkeypatch, text)
    catalog, notes = Catalog([]), Notes()
    spec = catalog.model("cascade", "nano")
    spec = spec.model_copy(update={"runtime": Runtime(dtype=dtype, device="cpu")})
    monkeypatch.setattr(Catalog, "fetch", lambda *_: dict.fromkeys(("whisper-tiny.en", "smollm2-135m-instruct")))
    monkeypatch.setattr("diva_bench.catalog.class_of", lambda *_: lambda *made: made)
    catalog.load(spec, notes)
    assert notes.all[0].startswith(f"loading cascade (nano) on cpu in {dtype}")
    assert ("--dtype float32 is faster here" in notes.all[0]) == warned


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("-o/home/jane/results", "-oresults"),
        ("--output=/home/jane/results", "--output=results"),
        ("/home/jane doe/x", "x"),
        ("/tmp", "tmp"),
        ("~/x/y", "y"),
        ("llm=/home/jane/llm", "llm=llm"),
        ("id=/a/b,text=/c/d", "id=b,text=d"),
        ("comet: {checkpoint: /home/jane/model.ckpt, batch: 4}", "comet: {checkpoint: model.ckpt, batch: 4}"),
        ("results/here", "results/here"),
        ("../up/here", "../up/here"),
        ("hub:owner/name", "hub:owner/name"),
        ("--audio", "--audio"),
        ("snr=10", "snr=10"),
        ("caf\udce9", "caf\\udce9"),
    ],
)
def test_a_command_line_is_recorded_without_folders_of_the_machine(word: str, kept: str) -> None:
    assert provenance.command_line(["diva-bench", "run", word]) == f"diva-bench run {kept}"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            "[Errno 2] No such file or directory: '/home/jane doe/a b.wav'",
            "[Errno 2] No such file or directory: 'a b.wav'",
        ),
        ("cannot open /home/jane/x.safetensors: no", "cannot open x.safetensors: no"),
        ("(/home/jane/x.py:12)", "(x.py:12)"),
        ("path=/home/jane/x, file:///home/jane/y", "path=x, y"),
        ("at:/usr/lib/python3/x.py", "at:x.py"),
        (
            "see https://example.org/a/b and a/b/c or 3 / 4, and/or",
            "see https://example.org/a/b and a/b/c or 3 / 4, and/or",
        ),
        ("audio/q1.wav: cannot be read", "audio/q1.wav: cannot be read"),
    ],
)
def test_a_reason_is_kept_without_folders_of_the_machine(said: str, kept: str) -> None:
    assert provenance.without_folders(said) == kept


def test_no_file_of_a_run_names_a_folder_of_the_machine(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = mini_task.rows(4)
    rows[0]["audio"] = str(tmp_path / "gone" / "a.wav")
    mini_task.write(tmp_path / "specs", table=rows[1:])
    mini_task.model(tmp_path / "specs", "m", log=str(tmp_path / "nowhere" / "log"))
    (tmp_path / "specs" / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    yaml = tmp_path / "specs" / "toy.yaml"
    yaml.write_text(yaml.read_text().replace("rows: 3", "rows: 4"))
    output = tmp_path / "out"
    done = call(tmp_path, "run", "--path", str(tmp_path / "specs"), "-m", "m", "-t", "toy", f"-o{output}")
    assert done.returncode == 1
    assert "3 of them: FileNotFoundError: [Errno 2] No such file or directory: 'log'" in " ".join(done.stdout.split())
    (run,) = output.glob("toy-*/m-*")
    record = json.loads((run / "run.json").read_text())
    assert record["command"] == "diva-bench run --path specs -m m -t toy -oout"
    assert record["faults"] == [{"id": "q000", "reason": "a.wav: cannot be read (No such file or directory)"}]
    record["model"]["args"] = {}  # what the user's own YAML says is part of who is asked
    for text in (
        json.dumps(record),
        *(file.read_text() for file in run.glob("*.jsonl")),
        (run / "summary.json").read_text(),
    ):
        assert str(tmp_path) not in text
