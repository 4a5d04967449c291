"""What a machine computes in: the number format of a setting, and what is said of one that it has no instructions for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_tools import Notes, make_place, prepared

from diva_bench import provenance
from diva_bench.catalog import Catalog
from diva_bench.cli.run import load_adapter
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
        "training in float32; bfloat16 on this cpu: slow (no instructions for it); "
        "--set dtype=bfloat16 takes it all the same"
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
    monkeypatch.setattr(
        "diva_bench.cli.run.fetch", lambda *_: dict.fromkeys(("whisper-tiny.en", "smollm2-135m-instruct"))
    )
    monkeypatch.setattr(Catalog, "adapter", lambda *_: lambda *made: made)
    load_adapter(catalog, spec, notes)
    assert notes.all[0].startswith(f"loading cascade (nano) on cpu in {dtype}")
    assert ("--dtype float32 is faster here" in notes.all[0]) == warned
