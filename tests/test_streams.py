"""Real processes whose streams and signals are as they may be: closed, full, in another encoding; stopped by signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mini_task
import pytest

COMMAND = [sys.executable, "-m", "diva_bench"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task, a slow model, a model that fails, and a finished run of ids that are not ASCII."""
    folder = tmp_path_factory.mktemp("streams")
    rows = [{**row, "id": f"開{row['id']}\x1b[2J"} for row in mini_task.rows(8)]
    mini_task.write(folder / "specs", table=rows)
    mini_task.model(folder / "specs", "slow", delay=0.5)
    mini_task.model(folder / "specs", "bad", fail_ids=[row["id"] for row in rows[1:]])
    mini_task.model(folder / "specs", "nobody", fail_how="error", fail_ids=[rows[0]["id"]])
    return folder


def call(place: Path, *words: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`shell`: redirections, where the process is to have other streams."""
    env = os.environ | {"DIVA_BENCH_CACHE": str(place / "cache"), "COLUMNS": "160"} | environment
    if shell:
        line = " ".join([*COMMAND, *(f"'{word}'" for word in words), shell])
        return subprocess.run(["bash", "-c", line], cwd=place, env=env, capture_output=True, check=False, timeout=300)
    return subprocess.run([*COMMAND, *words], cwd=place, env=env, capture_output=True, check=False, timeout=300)


RUN = ("run", "--path", "specs", "-t", "toy", "-m")


def test_what_failed_is_told_with_its_commonest_reason_and_obeys_no_terminal(place: Path) -> None:
    done = call(place, *RUN, "bad", "-o", "failed")
    said = " ".join(done.stdout.decode().split())
    assert done.returncode == 1
    assert "not scored, run again by the same command. 7 of them: RuntimeError: failure on request at 開q00" in said
    assert b"\x1b" not in done.stdout + done.stderr
    assert r"\x1b[2J" in said


@pytest.mark.parametrize("encoding", ["ascii", "cp932"])
def test_characters_that_the_output_lacks_are_escaped_and_json_stays_json(place: Path, encoding: str) -> None:
    lost = place / f"lost-{encoding}"
    assert call(place, *RUN, "nobody", "-o", str(lost)).returncode == 1
    (run,) = lost.glob("toy-*/nobody-*")
    words = ("diagnose", str(run), "--path", "specs", "--format")
    for format in ("rich", "json"):
        done = call(place, *words, format, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr.decode()
        text = done.stdout.decode(encoding)
        assert format == "rich" or "開q00" in json.dumps(json.loads(text), ensure_ascii=False)


def test_a_full_stdout_is_told_and_a_reader_that_goes_away_is_no_fault(place: Path) -> None:
    full = call(place, "list", "metrics", shell="> /dev/full")
    assert (full.returncode, full.stdout) == (1, b"")
    assert full.stderr.decode().startswith(
        "diva-bench: stdout cannot be written (No space left on device). Runs are kept"
    )
    gone = call(place, "list", "tasks", shell="| true; exit ${PIPESTATUS[0]}")
    assert (gone.returncode, gone.stderr) == (0, b"")


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full", "2> >(true)"])
def test_a_run_goes_on_without_a_stderr_and_nothing_of_it_comes_into_its_files(place: Path, stderr: str) -> None:
    name = f"err{abs(hash(stderr)) % 1000}"
    done = call(place, *RUN, "echo", "-o", name, shell=stderr)
    assert done.returncode == 0
    assert b"results" in done.stdout
    assert b"edition" not in done.stdout
    (responses,) = (place / name).glob("toy-*/echo-*/responses.jsonl")
    assert len([json.loads(line) for line in responses.read_text().splitlines()]) == 8


def test_a_closed_stdout_takes_nothing_away_from_the_run(place: Path) -> None:
    assert call(place, *RUN, "echo", "-o", "out", shell=">&-").returncode == 0
    assert list((place / "out").glob("toy-*/echo-*/summary.json"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_run_which_says_what_is_kept_and_how_to_go_on(
    place: Path, number: signal.Signals, code: int
) -> None:
    name = f"stopped-{number.name}"
    env = os.environ | {"DIVA_BENCH_CACHE": str(place / "cache")}
    command = [*COMMAND, *RUN, "slow", "-o", name]
    process = subprocess.Popen(command, cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        time.sleep(0.1)
        if any(file.read_bytes() for file in place.glob(f"{name}/toy-*/slow-*/responses.jsonl")):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    (run,) = place.glob(f"{name}/toy-*/slow-*")
    answered = len((run / "responses.jsonl").read_text().splitlines())
    assert process.returncode == code, err
    assert out == ""
    assert err.splitlines()[-1] == (
        f"stopped; {answered} of 8 answers are kept in {run.relative_to(place)}: run the same command again to continue."
    )
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", "Stopped"), ("SIGINT", "KeyboardInterrupt")])
def test_a_signal_that_comes_while_a_library_reads_a_clip_is_not_lost(tmp_path: Path, number: str, code: str) -> None:
    """libsndfile calls Python to read, and Python discards every exception in there."""
    clip = next((Path(__file__).parents[1] / "tasks" / "mini" / "audio" / "sdqa").glob("*.ogg"))
    program = f"""
import contextlib, io, os, signal, time, soundfile
from diva_bench.cli import streams
class Clip(io.BytesIO):
    def readinto(self, *words):
        if self.signals:
            self.signals = False
            os.kill(os.getpid(), signal.{number})
        return super().readinto(*words)
clip = Clip(open({str(clip)!r}, "rb").read())
clip.signals = True
try:
    with streams.guarded():
        with contextlib.suppress(soundfile.LibsndfileError):
            soundfile.read(clip)
        time.sleep(20)
        print("lost")
except KeyboardInterrupt as err:
    print("stopped", type(err).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == f"stopped {code}\n", done.stderr


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "x"}, "the environment variable WORLD_SIZE is 'x', not a number. Start them with `torchrun"),
        ({"RANK": "1.5"}, "the environment variable RANK is '1.5', not a number"),
        ({"WORLD_SIZE": "9" * 5000}, "not a number"),
        ({"WORLD_SIZE": "0"}, "RANK is 0 and WORLD_SIZE is 0: a rank is at least 0 and below WORLD_SIZE"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK is 2 and WORLD_SIZE is 2"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "RANK is -1 and WORLD_SIZE is 2"),
    ],
)
def test_an_environment_of_several_processes_that_cannot_be_is_told(environment: dict[str, str], said: str) -> None:
    from diva_bench.errors import UserError
    from diva_bench.evaluation.jobs import shard_of_process

    with pytest.raises(UserError, match=said):
        shard_of_process(environment)


def test_words_of_the_command_line_obey_no_terminal(place: Path) -> None:
    for words in (["show", "a\x1b[2J"], ["run", "--nope\x1b[2J"], ["leaderboard", "a\x1b[2J"]):
        done = call(place, *words)
        assert (done.returncode, b"\x1b" in done.stderr + done.stdout) == (2, False)


def test_a_limit_of_memory_is_told_from_the_start(place: Path) -> None:
    limited = ["bash", "-c", f"ulimit -v 300000; exec {' '.join(COMMAND)} run -m echo -t heysquad --limit 1"]
    done = subprocess.run(limited, cwd=place, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("diva-bench: not enough memory (")
    assert "Traceback" not in done.stderr


def test_a_lack_of_memory_is_told_by_whatever_was_raised() -> None:
    from diva_bench.cli.streams import lack_of_memory

    try:
        try:
            raise MemoryError("Unable to allocate 3 GiB")
        except MemoryError as err:
            raise RuntimeError("wrapped") from err
    except RuntimeError as err:
        wrapped: Any = err
    assert lack_of_memory(wrapped).startswith("not enough memory (Unable to allocate 3 GiB). Free some")
    assert lack_of_memory(RuntimeError("can't start new thread")).startswith("not enough memory")
    assert lack_of_memory(OSError(12, "Cannot allocate memory")).startswith("not enough memory")
    assert lack_of_memory(RuntimeError("else")) == ""
