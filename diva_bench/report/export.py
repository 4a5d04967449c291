"""Scores of stored runs for other tools: the model-index of a model card on the Hub, TensorBoard, Weights & Biases.

The values are those of summary.json. Nothing is sent anywhere: the model-index is text for the README.md of a model, and
both others are folders on the disk.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from diva_bench import __version__, disk
from diva_bench.errors import MissingMeans, StoreError, UserError
from diva_bench.runs.records import MetricSummary, RunSummary
from diva_bench.runs.run import Run
from diva_bench.scorers import DIAGNOSTIC, PREDICTED
from diva_bench.specs import Json

PIPELINE = "audio-text-to-text"
"""The Hub's name for tasks with speech and a prompt as input and text as output."""
_ROUNDED = 6  # digits of a value


def chosen(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """(the runs whose scores can be published: complete, measured and unchanged; why the others are left out)."""
    kept, notes = [], []
    for run in runs:
        s = run.summary
        if s.measured and not run.changed:
            kept.append(run)
        else:
            notes.append(f"{run.path}: left out: {s.reason or f'no value for {s.primary}'}.")
    if not kept:
        raise UserError(
            "\n".join(["no run has scores that can be exported: complete, scored, and with unchanged answers.", *notes])
        )
    return kept, notes


def quality(summary: RunSummary) -> dict[str, MetricSummary]:
    """The metrics of quality, the primary one first: those that do not only describe how a model answers."""
    names = [
        name
        for name in summary.metrics
        if name == summary.primary or not (name in DIAGNOSTIC or name.startswith(PREDICTED) or name == "unparsed")
    ]
    return {name: summary.metrics[name] for name in sorted(names, key=lambda name: name != summary.primary)}


# ---------------------------------------------------------------- model cards


def model_index(runs: Sequence[Run], name: str | None = None, source: str | None = None) -> str:
    """The model-index of a model card, as YAML: for every run its task, data set, metrics with interval and n, and the id of
    the run.

    Args:
        runs: Runs of one model, one for every task folder.
        name: Name of the model (default: that of the runs).
        source: Address where the results, or a bundle of the runs, can be seen.

    Raises:
        UserError: The runs are of several models, or two are of one task.
    """
    from huggingface_hub import ModelCardData

    labels = list(dict.fromkeys(run.summary.label for run in runs))
    if len(labels) > 1:
        raise UserError(
            f"a model card is of one model, and these runs are of {len(labels)}: {', '.join(labels)}. Choose one with --model."
        )
    folders = [run.summary.task_id for run in runs]
    if twice := next((folder for folder in folders if folders.count(folder) > 1), None):
        paths = ", ".join(str(run.path) for run in runs if run.summary.task_id == twice)
        raise UserError(f"two runs of {labels[0]} are of one task: {paths}. Give only one of them.")
    results = [result for run in runs for result in _results(run, source)]
    return str(ModelCardData(model_name=name or labels[0], eval_results=results).to_yaml()) + "\n"


def _results(run: Run, source: str | None) -> Iterator[Any]:
    from huggingface_hub import EvalResult

    s, record = run.summary, run.folder.record()
    data = record["task"].get("data") or {}
    hub = data.get("hub") if isinstance(data.get("hub"), str) else None
    speech = ", synthetic speech" if s.synthetic else ""
    conditions = {
        "edition": s.edition,
        "limit": s.limit,
        "prompt_variant": s.variant or None,
        "audio": s.audio,
        "changed": dict(s.overrides) or None,
        "fingerprint": record["fingerprint"],
    }
    for name, metric in quality(s).items():
        yield EvalResult(
            task_type=PIPELINE,
            task_name=s.title,
            dataset_type=hub or s.task,
            dataset_name=f"{s.title} ({s.edition} edition{speech})",
            dataset_config=s.task_id,  # also makes the results of two conditions of one task different ones
            dataset_split=data.get("split") if isinstance(data.get("split"), str) else None,
            dataset_revision=str(record["data_revision"]) if record.get("data_revision") else None,
            dataset_args={key: value for key, value in conditions.items() if value is not None},
            metric_type=name,
            metric_name=f"{name}, {'higher' if metric.higher_is_better else 'lower'} is better",
            metric_value=round(metric.value, _ROUNDED),
            metric_args={
                "primary": name == s.primary,
                "interval_95": [round(metric.low, _ROUNDED), round(metric.high, _ROUNDED)],
                "n": metric.n,
                "clusters": metric.clusters,
                "signature": s.signature.get(metric.scorer, ""),
                "run": f"{s.task_id}/{s.run_id}",
                "run_hash": record["hash"],
            },
            source_url=source,
            source_name=f"diva-bench {__version__}" if source else None,
        )


# ---------------------------------------------------------------- folders of other tools


def _began(run: Run) -> float | None:
    """When the run began, in seconds since 1970; None if unknown. It makes an export of the same run the same."""
    try:
        return datetime.fromisoformat(run.date).timestamp()
    except ValueError:
        return None


def _numbers(s: RunSummary) -> dict[str, float]:
    """Name -> value: every metric with the ends of its interval, counts, and the best baseline."""
    values: dict[str, float] = {}
    for name, metric in s.metrics.items():
        values |= {name: metric.value, f"{name}/low": metric.low, f"{name}/high": metric.high, f"{name}/n": metric.n}
    values |= {"samples": s.n, "scored": s.scored, "errors": s.errors, "unsupported": s.unsupported}
    return values | ({"best_baseline": s.baseline} if s.baseline is not None else {})


def _config(run: Run) -> Json:
    """What a score depends on, and where it comes from."""
    s, record = run.summary, run.folder.record()
    return {
        "task": s.title,
        "task_id": s.task_id,
        "model": s.label,
        "run_id": s.run_id,
        "run_hash": record["hash"],
        "edition": s.edition,
        "speech": "synthetic" if s.synthetic else "human",
        "dtype": s.dtype,
        "limit": s.limit,
        "seed": s.seed,
        "primary": s.primary,
        "at_chance": s.at_chance,
        "signature": dict(s.signature),
        "fingerprint": record["fingerprint"],
        "diva_bench": __version__,
    }


def tensorboard(runs: Sequence[Run], folder: Path) -> None:
    """Write event files: one log directory for every run, with its metrics as scalars and its settings as text.

    Raises:
        MissingMeans: tensorboard is not installed.
        StoreError: The folder cannot be written.
    """
    with _needed("TensorBoard", "train"):
        from torch.utils.tensorboard import SummaryWriter
    for run in runs:
        s, began = run.summary, _began(run)
        place = folder / s.task_id / s.run_id
        if any(place.glob("events.out.tfevents.*")):
            raise StoreError(
                f"{place}: has events of an earlier export, which TensorBoard would mix with new ones. Remove it."
            )
        with _writing(place), SummaryWriter(str(place)) as writer:
            for name, value in _numbers(s).items():
                writer.add_scalar(f"{s.task}/{name}", value, 0, walltime=began)
            text = "".join(f"    {key}: {value}\n" for key, value in _config(run).items())
            writer.add_text("settings", text, 0, walltime=began)


def wandb(runs: Sequence[Run], folder: Path, project: str) -> None:
    """Write runs for Weights & Biases, without the network: `wandb sync` sends them if the user wants it.

    Raises:
        MissingMeans: wandb is not installed.
        StoreError: The folder cannot be written.
    """
    with _needed("Weights & Biases", "wandb"):
        import wandb as library
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # neither code nor machine are recorded: they are not those of the run, but of this export
    settings = library.Settings(
        mode="offline", silent=True, console="off", disable_code=True, disable_git=True, x_disable_stats=True,
        x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
    )  # fmt: skip
    logging.getLogger("wandb").setLevel(logging.ERROR)
    for run in runs:
        s = run.summary
        with contextlib.redirect_stdout(io.StringIO()), _environment(WANDB_MODE="offline"):
            made = library.init(
                project=project,
                name=f"{s.label} at {s.title}",
                group=s.task_id,
                id=run.folder.record()["hash"][:32],
                config=_config(run),
                dir=str(folder),
                settings=settings,
            )
            made.summary.update(_numbers(s))
            made.finish()


@contextlib.contextmanager
def _needed(tool: str, extra: str) -> Iterator[None]:
    """Import a library that an extra installs."""
    try:
        yield
    except ImportError as err:
        raise MissingMeans(f"{tool} is not installed: pip install 'diva-bench[{extra}]'.") from err


@contextlib.contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise StoreError(f"{place}: cannot be written ({disk.reason(err)}).") from err


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Variables of the environment for a moment: a setting of the user must not send anything."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
