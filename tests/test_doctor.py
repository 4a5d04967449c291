"""What `doctor` finds, on this machine and on ones that lack something, and how it counts answers that change."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from scoring import sample, task

from diva_bench import provenance
from diva_bench.evaluation import doctor
from diva_bench.types import Request, Response, Silent


def test_the_report_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"x" * 1000)
    found = doctor.look(tmp_path)
    assert found.cache_bytes == 1000
    assert found.devices[-1].name == "cpu"
    assert 0 < found.memory_free_bytes <= found.memory_bytes
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert found.versions["torch"] != "missing"
    names = {check.name for check in found.checks}
    assert names == {"WAV", "FLAC", "Ogg Opus", "MP3", "Japanese BLEU (MeCab)", "ffmpeg", "pip"}

    rows = dict(doctor.machine(tmp_path / "not" / "yet" / "there"))
    assert rows["cache"].startswith(f"{tmp_path / 'not' / 'yet' / 'there'}: 0 B, ")
    assert "bfloat16: " in rows["device cpu"]


def test_a_record_says_what_was_done_and_not_where_on_whose_machine() -> None:
    words = ["/usr/bin/diva-bench", "run", "-t", "/home/me/own.yaml", "--output=/data/runs", "--path", "specs/mine"]
    said = provenance.command_line(words)
    assert said == "diva-bench run -t own.yaml --output=runs --path specs/mine"


def test_problems_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory", lambda: (4_000_000_000, 1_000_000_000))
    monkeypatch.setattr(doctor, "cores", lambda: 0)
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    monkeypatch.setattr(doctor, "_audio_formats", lambda: [doctor.Check("MP3", False, "libsndfile 1.0 cannot read it")])
    wanted = [
        "MP3: libsndfile 1.0 cannot read it",
        "cannot be written; set DIVA_BENCH_CACHE to a folder that can",
        "4.0 GB of memory is little for the mini edition; --edition nano",
        "set OMP_NUM_THREADS=0",
    ]
    rows = doctor.machine(tmp_path)
    said = [text for what, text in rows if what == "problem"]
    assert len(said) == len(wanted)
    for problem, part in zip(said, wanted, strict=True):
        assert part in problem
    assert ["MP3", "missing: libsndfile 1.0 cannot read it"] in rows


class Moody:
    """Its first answer of every batch of eight is another one."""

    accepts = frozenset({"text"})
    version = "1"

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return [Response(r.id, text="moody" if len(requests) == 8 and not i else r.id) for i, r in enumerate(requests)]

    def close(self) -> None:
        return None


def test_flips_counts_the_answers_that_depend_on_the_batch() -> None:
    samples = [sample("x", id=str(i)) for i in range(doctor.PROBES)]
    assert doctor.flips(Moody(), task(), samples, Silent()) == [(4, 0, 16), (8, 2, 16)]


def test_memory_is_what_the_container_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "max").write_text("123456789\n")
    monkeypatch.setattr(provenance, "CGROUP", tmp_path / "max")
    total, free = provenance.memory()
    assert total == 123456789
    assert free <= total
    (tmp_path / "max").write_text("max\n")
    assert provenance.memory()[0] > 123456789


def test_an_ffmpeg_of_the_package_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    brought = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._ffmpeg() == doctor.Check("ffmpeg", True, brought)


def test_a_missing_helper_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.tokenizers.tokenizer_ja_mecab", None)
    assert "pip install 'sacrebleu[ja]'" in doctor._japanese().detail
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert not doctor._ffmpeg().ok
    assert "only needed for" in doctor._ffmpeg().detail
    assert "pip install 'diva-bench[video]'" in doctor._ffmpeg().detail
    monkeypatch.setattr(doctor, "_version", lambda name: "missing")
    assert "python -m ensurepip" in doctor._pip().detail


@pytest.mark.parametrize(("count", "text"), [(1, "1 thread"), (2, "2 threads")])
def test_one_thread_is_not_called_threads(count: int, text: str) -> None:
    assert doctor._threads(count) == text
