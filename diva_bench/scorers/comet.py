"""COMET: a neural metric that scores a translation from the source transcript, the answer and the reference.

Rei et al. 2020 (arXiv 2009.09025), 2022 (wmt22-comet-da). It is used only if a task or `diva-bench score --scorer` names it:

    scorers:
      comet: {checkpoint: /models/wmt22-comet-da/checkpoints/model.ckpt}   # or {revision: COMMIT} in the Hub's cache

unbabel-comet 2.2.7 needs numpy < 2, transformers < 5 and huggingface_hub < 1, so it cannot be installed in the
environment of diva-bench; its torchmetrics needs pkg_resources, which setuptools 81 removed. It runs in its own
process, with the interpreter in DIVA_BENCH_COMET_PYTHON:

    python -m venv comet-env && comet-env/bin/pip install unbabel-comet==2.2.7 "setuptools<81"
    export DIVA_BENCH_COMET_PYTHON=$PWD/comet-env/bin/python

Weights (2.3 GB) are downloaded only by the user. Texts are not normalised, because COMET uses case, punctuation and
script. Scores are cached in the run folder (`comet-<hash>.jsonl`): a killed scoring continues, and scoring again
computes only changed answers.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Final

import yaml

from diva_bench.disk import Stamp, sha256, stamp
from diva_bench.errors import AssetError, DataError, MissingMeans, SpecError, UserError
from diva_bench.scorers import answer, settings
from diva_bench.scorers.reply_cache import ReplyCache, key
from diva_bench.specs import TaskSpec
from diva_bench.stats import dense, ratio
from diva_bench.types import Floats, Progress, Response, Sample

PYTHON: Final = "DIVA_BENCH_COMET_PYTHON"
INSTALL: Final = (
    'python -m venv comet-env && comet-env/bin/pip install unbabel-comet==2.2.7 "setuptools<81" && '
    f"export {PYTHON}=$PWD/comet-env/bin/python"
)
_CHUNK = 512  # answers per request to the process; a killed scoring loses at most so many
_TAIL = 1500  # characters of the process's last output in an error message


class Comet:
    """comet: the mean of COMET's scores, times 100. Most models stay within 0 and 100, but there is no limit.

    An empty or `unsupported` answer scores 0 without COMET, which gives empty answers tens of points. Statistics:
    comet.n, and the sum of comet.score (unscaled).

    Settings:
    - `checkpoint`: a file model.ckpt with hparams.yaml in the folder above its own (relative to the task file).
    - `model` (default Unbabel/wmt22-comet-da) and `revision` (a commit): a model in the Hub's cache, instead of
      `checkpoint`.
    - `batch`: answers per batch. COMET's layer norms depend on the batch, so the last digits do too.
    """

    higher_is_better = True
    replies_only = False
    """Set to True: a reply that is not stored is a MissingMeans, and no model is asked."""

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        self._where = f"task {task.name}: scorers.comet"
        free = {"checkpoint": None, "model": "Unbabel/wmt22-comet-da", "revision": None, "batch": 16}
        free |= {name: value for name, value in args.items() if name in free}
        options = settings("comet", task, args, {name: (value,) for name, value in free.items()})
        if type(options["batch"]) is not int or options["batch"] < 1:
            raise SpecError(f"{self._where}.batch is {options['batch']!r}; it is a number of answers, from 1.")
        if (options["checkpoint"] is None) == (options["revision"] is None):
            raise SpecError(
                f"{self._where} needs `checkpoint`, a model.ckpt on this machine, or `revision`, the Hub commit of "
                f"{options['model']}; one of them."
            )
        self._batch = int(options["batch"])
        self._python = os.environ.get(PYTHON) or sys.executable
        version = _version(self._python)
        if options["checkpoint"] is not None:
            self._checkpoint = _local(task.home / str(options["checkpoint"]), self._where)
            weights = f"local@{_hash(self._checkpoint, stamp(self._checkpoint))[:12]}"
        else:
            self._checkpoint = _cached(str(options["model"]), str(options["revision"]), self._where)
            weights = f"{options['model']}@{options['revision']}"
        _encoder(self._checkpoint, self._where)
        self._settings = {"weights": weights, "unbabel-comet": version, "batch": self._batch}
        self.signature = f"comet|{weights}|batch:{self._batch}|norm:none|empty:0|unbabel-comet:{version}"

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        raise SpecError(
            f"{self._where}: COMET scores whole runs, not single answers: score the run with `diva-bench score`."
        )

    def measure_all(
        self, samples: Sequence[Sample], responses: Sequence[Response], folder: Path, progress: Progress
    ) -> list[dict[str, float]]:
        rows = [self._texts(s, answer(r)) for s, r in zip(samples, responses, strict=True)]
        with ReplyCache(folder, "comet", self._settings) as cache:
            new = {
                k: (s.id, row)
                for s, row in zip(samples, rows, strict=True)
                if row and (k := _key(row)) not in cache.rows
            }
            if new and self.replies_only:
                raise MissingMeans(f"{self._where}: no reply is stored for {len(new):,} answers")
            if new:
                self._ask(new, cache, progress)
            scores = [float(cache.rows[_key(row)]["score"]) if row else 0.0 for row in rows]
        return [{"comet.n": 1.0} | ({"comet.score": score} if score else {}) for score in scores]

    def _texts(self, sample: Sample, text: str) -> dict[str, str]:
        """The input of COMET for one answer; empty for an empty answer."""
        if sample.transcript is None:
            raise DataError(
                f"sample {sample.id} has no transcript, and {self._where} takes the words spoken as its source (the data's "
                "`text` column)."
            )
        if len(sample.references) != 1:
            raise DataError(f"sample {sample.id} has {len(sample.references)} references; {self._where} takes one.")
        return {"src": sample.transcript, "mt": text, "ref": sample.references[0]} if text.strip() else {}

    def _ask(self, new: Mapping[str, tuple[str, dict[str, str]]], cache: ReplyCache, progress: Progress) -> None:
        keys = list(new)
        progress.note(f"loading COMET from {self._checkpoint} in {self._python}")
        with (
            _Process(self._python, self._checkpoint, self._batch) as process,
            progress.bar("COMET", len(keys), "answers") as bar,
        ):
            for start in range(0, len(keys), _CHUNK):
                chunk = keys[start : start + _CHUNK]
                scores = process.scores([new[k][1] for k in chunk])
                cache.add([{"id": new[k][0], "key": k, "score": v} for k, v in zip(chunk, scores, strict=True)])
                bar.advance(len(chunk))

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        if not totals:
            return {}
        sums = dense(totals, ["comet.n", "comet.score"])
        return {"comet": 100 * ratio(sums[..., 1], sums[..., 0])}


def _key(row: Mapping[str, str]) -> str:
    return key(row["src"], row["mt"], row["ref"])


class _Process:
    """A context manager that runs comet_child.py."""

    def __init__(self, python: str, checkpoint: Path, batch: int) -> None:
        self._command = [python, str(Path(__file__).with_name("comet_child.py")), str(checkpoint), str(batch)]

    def __enter__(self) -> _Process:
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={
                **os.environ,
                "HF_HUB_OFFLINE": "1",
            },  # offline, so that a missing file is an error instead of a download
        )
        try:
            self._reply()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def scores(self, rows: Sequence[Mapping[str, str]]) -> list[float]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(rows) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died; its last output is read below
        scores = [float(score) for score in self._reply()["scores"]]
        if len(scores) != len(rows) or not all(map(math.isfinite, scores)):
            raise UserError(f"COMET gave {len(scores)} scores for {len(rows)} answers, or one that is not a number.")
        return scores

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        reply: dict[str, Any] = json.loads(line) if line else {}
        if "error" in reply or not line:
            self._process.wait(timeout=60) if not line else None
            self._errors.seek(0)
            words = self._errors.read().strip()[-_TAIL:]
            raise UserError(
                f"COMET failed in {self._command[0]}: {reply.get('error') or f'it ended ({self._process.returncode})'}. What "
                f"was scored before is kept. Its last output: {words or 'none'}"
            )
        return reply


# ---------------------------------------------------------------- what must be there


@lru_cache
def _version(python: str) -> str:
    """Version of unbabel-comet in that interpreter. Raises UserError with the installation command."""
    code = "from importlib.metadata import version; print(version('unbabel-comet'))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as err:
        raise MissingMeans(
            f"scorer comet: unbabel-comet is not installed for {python}. Its requirements and those of diva-bench exclude "
            f"each other, so it needs an environment of its own: {INSTALL}"
        ) from err
    return done.stdout.strip()


@lru_cache
def _hash(path: Path, stamp: Stamp) -> str:
    """Hash of a checkpoint, cached by stamp: a task with subsets builds its scorers many times."""
    return sha256(path)


def _local(path: Path, where: str) -> Path:
    if not path.is_file():
        raise MissingMeans(
            f"{where}.checkpoint: {path} is not there. It is the file checkpoints/model.ckpt of a COMET model."
        )
    if not (path.parents[1] / "hparams.yaml").is_file():
        raise MissingMeans(
            f"{where}.checkpoint: {path.parents[1]} has no hparams.yaml, which COMET needs beside the weights."
        )
    return path


def _encoder(checkpoint: Path, where: str) -> None:
    """Check that the encoder's tokenizer and config, which are not in the checkpoint, are a folder or in the Hub's cache.

    Raises:
        AssetError: They are missing. COMET itself would wait for the Hub, or fail without a clear message.
    """
    from huggingface_hub import try_to_load_from_cache

    path = checkpoint.parents[1] / "hparams.yaml"
    try:
        name = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("pretrained_model")
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as err:
        raise AssetError(f"{where}: {path} is not a mapping in YAML ({err}). It comes with the checkpoint.") from err
    there = name is None or Path(name).is_dir() or isinstance(try_to_load_from_cache(name, "config.json"), str)
    if not there:
        raise MissingMeans(
            f"{where}: COMET's encoder {name} is not on this machine; of it the config and the tokenizer are needed: "
            f"hf download {name} config.json tokenizer.json tokenizer_config.json sentencepiece.bpe.model"
        )


def _cached(model: str, revision: str, where: str) -> Path:
    """The checkpoint of a model in the Hub's cache; nothing is downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as err:
        raise MissingMeans(
            f"{where}: {model} at {revision} is not on this machine: hf download {model} --revision {revision} (2.3 GB)"
        ) from err
    return _local(folder / "checkpoints" / "model.ckpt", where)
