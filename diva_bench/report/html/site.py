"""Write the report: read the runs, task by task, and hand samples, answers, clips and pages to an output.

A task with many answers is written by several processes, each of which holds the answers of one run at a time.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from diva_bench import disk
from diva_bench.catalog import Catalog
from diva_bench.errors import StoreError, UnreadableRun, UserError
from diva_bench.report.ablation_grid import Part
from diva_bench.report.html import clips as clips_
from diva_bench.report.html import content
from diva_bench.report.html.content import Confusion, Details, TaskView
from diva_bench.report.html.output import Folder, Output, SingleFile
from diva_bench.report.html.pages import Body, Pages
from diva_bench.report.html.samples import Answers, Question, answer_page, answers_of, pages, question_of, sample_page
from diva_bench.runs.run import Run, Runs
from diva_bench.specs import Json
from diva_bench.types import Progress

AUDIO_MB, SINGLE_MB = 500.0, 20.0
"""Megabytes of sound in a folder and in a single file, unless the user says otherwise."""
_WORKERS = 4


@dataclass(frozen=True)
class Settings:
    """What goes into a report.

    Attributes:
        licensed: Also texts and clips of licensed data.
        audio_bytes: Limit of the clips, in bytes.
        base: The model from which differences are shown; None: chosen, see `content.base_of`.
        live: The pages are served, and ask the server for changes.
        paths: More folders of tasks, as `--path`.
    """

    licensed: bool = False
    audio_bytes: float = AUDIO_MB * 1e6
    base: str | None = None
    live: bool = False
    paths: tuple[Path, ...] = ()


@dataclass
class _Written:
    """A task whose data files are written: its pages, what later pages need of it, which clips were left out, and what is
    missing because a file is damaged."""

    stamps: object
    part: Part | None
    sounds: int
    left_out: int
    silent: str
    damaged: list[str]
    bodies: list[Body]


@dataclass
class Report:
    """A report in the making. One object can write the same report again: tasks without a change are kept.

    Attributes:
        notes: What was left out, after `write`.
    """

    settings: Settings
    progress: Progress
    notes: list[str] = field(default_factory=list)
    _done: dict[str, _Written] = field(default_factory=dict)
    _room: float = 0.0

    def write(self, runs: Runs, output: Output) -> None:
        """Write all pages. The faults of files that are found only now are added to `runs.unreadable`.

        Raises:
            UserError: There are no runs, or the base has none.
            StoreError: A file cannot be written.
        """
        readable = _readable(runs)
        if not readable:
            raise UserError("the report needs at least one run that can be read; there is none.")
        views = list(content.task_views(readable, Catalog(self.settings.paths), self.settings.licensed))
        base = content.base_of(views, self.settings.base)
        self._room, self.notes = self.settings.audio_bytes, []
        shell = Pages(output, views, live=self.settings.live)
        parts: list[tuple[TaskView, Part]] = []
        done: dict[str, _Written] = {}
        for number, view in enumerate(self.progress.track(views, "report", total=len(views))):
            made = self._task(view, shell, output, base, self._room / (len(views) - number))
            done[view.task_id] = made
            parts += [(view, made.part)] if made.part else []
        self._done = done
        runs.unreadable += [text for one in done.values() for text in one.damaged]
        shell.differences(parts, base)
        shell.published()
        shell.index(readable)
        self._say(views, done)
        shell.close([*self.notes, *(f"Left out, cannot be read: {text}" for text in readable.unreadable)])

    def _say(self, views: Sequence[TaskView], done: Mapping[str, _Written]) -> None:
        """Collect what was left out. Runs that cannot be read are not in it: the log names them."""
        hidden = [view.title for view in views if view.question.hidden]
        if hidden:
            self.notes.append(
                f"Texts and sound of licensed data are left out ({', '.join(dict.fromkeys(hidden))}); --with-licensed adds them."
            )
        self.notes += [text for one in done.values() for text in one.damaged]
        left = sum(one.left_out for one in done.values())
        if left:
            total = left + sum(one.sounds for one in done.values())
            self.notes.append(
                f"The sound of {left:,} of {total:,} samples is left out: the limit is "
                f"{disk.size(self.settings.audio_bytes)} (--audio-mb)."
            )
        silent: dict[str, list[str]] = {}
        for view in views:
            if (why := done[view.task_id].silent) and not view.question.hidden:
                silent.setdefault(why, []).append(view.title)
        self.notes += [f"No sound for {', '.join(titles)}: {why}." for why, titles in silent.items()]

    # ---- one task

    def _task(self, view: TaskView, shell: Pages, output: Output, base: str, room: float) -> _Written:
        stamps = [_stamps(view), base, [one.label for one in view.runs]]
        before = self._done.get(view.task_id)
        if before and before.stamps == stamps and isinstance(output, Folder):
            shell.bodies += before.bodies
            return before
        first = len(shell.bodies)
        names, left_out, silent = self._clips(view, output, room)

        def samples() -> None:
            for number in range(pages(view.question)):
                output.data(f"{view.key}/{number}", sample_page(view.question, number, names))

        if view.small or isinstance(output, SingleFile):
            samples()
            part, details, columns = _small(view, output, base)
        else:
            part, (details, columns) = None, _large(view, output, self.settings, self.progress, samples)
        shell.task(view, details, columns, bool(names))
        damaged = [column["note"] for column in columns.values() if column.get("damaged")]
        return _Written(stamps, part, len(names), left_out, silent, damaged, shell.bodies[first:])

    def _clips(self, view: TaskView, output: Output, room: float) -> tuple[dict[str, str], int, str]:
        """(sample id -> name of its clip, number of clips without room, why there are none)."""
        found, why = clips_.of_question(view.question)
        names: dict[str, str] = {}
        left_out = 0
        for ident, clip in found.items():
            size = output.clip(clip, room)
            if size is None:
                left_out += 1
                continue
            names[ident] = clip.name
            room -= size
            self._room -= size
        return names, left_out, why


def _readable(runs: Runs) -> Runs:
    """The runs whose records can be read; the faults of the others are in `unreadable`."""
    kept, faults = [], list(runs.unreadable)
    for run in runs:
        try:
            run.folder.check()
            kept.append(run)
        except UnreadableRun as err:
            faults.append(str(err))
    return Runs(kept, faults)


def _stamps(view: TaskView) -> object:
    """Changes if a file of the task may have changed."""
    folders = [one.run.path for one in view.runs]
    paths = [path for folder in (folders[0].parent, *folders) for path in sorted(folder.glob("*.json*"))]
    return [(str(path), disk.stamp(path)) for path in paths if path.is_file()]


def _small(view: TaskView, output: Output, base: str) -> tuple[Part | None, Details, dict[str, Json]]:
    """Write the answers of a task that is resampled: (differences from the base, details, run -> its columns)."""
    answers, sheet = content.answers_and_sheet(view)
    columns = {}
    for one, mine in zip(view.runs, answers, strict=True):
        _write_answers(output, one.key, mine, view.question)
        columns[one.key] = _column(mine)
    if not view.small:
        return None, content.details_of(view, answers, None), columns
    part = content.part_of(view, sheet, base) if sheet else None
    return part, content.details_of(view, answers, sheet), columns


def _write_answers(output: Output, key: str, answers: Answers, question: Question) -> None:
    for number in range(pages(question)):
        output.data(f"{key}/{number}", answer_page(answers, question, number))


def _column(answers: Answers) -> Json:
    """What the sample browser needs to know of a run before its answers: metrics, whether answers are right or wrong, and
    counts."""
    primary = answers.scores.get(answers.run.summary.primary)
    binary = primary is not None and bool(np.isin(primary[~np.isnan(primary)], (0.0, 100.0)).all())
    values = {"metrics": list(answers.scores), "binary": binary, "counts": dict(answers.counts), "note": answers.note}
    return values | ({"damaged": True} if answers.damaged else {})


def _large(
    view: TaskView, output: Folder, settings: Settings, progress: Progress, meanwhile: Callable[[], None]
) -> tuple[Details, dict[str, Json]]:
    """As `_small`, without resampling, in several processes, each of which holds the answers of one run at a time. This
    process calls `meanwhile` while they read."""
    keys = [one.key for one in view.runs]
    runs = [one.run for one in view.runs]
    paths = tuple(run.path for run in runs)
    work = [(paths, run, key, output.folder, settings) for run, key in zip(runs, keys, strict=True)]
    workers = min(_WORKERS, os.cpu_count() or 1, len(work))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=gc.disable) as pool:
        results = pool.map(_large_run, work)
        meanwhile()
        done = list(progress.track(results, view.title, total=len(work)))
    output.keep(f"data/{key}/{number}.js" for key in keys for number in range(pages(view.question)))
    found = [(one, matrix) for one, (_, matrix) in zip(view.runs, done, strict=True) if matrix]
    notes = "; ".join(dict.fromkeys(column["note"] for column, _ in done if column["note"]))
    return Details(confusions=found, note=notes), dict(zip(keys, (column for column, _ in done), strict=True))


def _large_run(work: tuple[tuple[Path, ...], Run, str, Path, Settings]) -> tuple[Json, Confusion | None]:
    paths, run, key, folder, settings = work
    question = _question(paths, settings)
    answers = answers_of(run, question)
    _write_answers(Folder(folder), key, answers, question)
    choices = (question.task.choices or ()) if question.task else ()
    result = _column(answers), content.confusion_of(answers, choices)
    del answers
    gc.collect()  # once a run: among so many objects, collecting all the time takes a fifth of the time
    return result


@lru_cache(maxsize=1)
def _question(paths: tuple[Path, ...], settings: Settings) -> Question:
    """The question of a task, once in a worker process."""
    return question_of([Run.open(path) for path in paths], Catalog(settings.paths), settings.licensed)


def write_folder(runs: Runs, folder: Path, settings: Settings, progress: Progress) -> list[str]:
    """Write a report to a folder.

    Returns:
        What was left out, one line each.

    Raises:
        StoreError: The folder is not empty and no report, or cannot be written.
        UserError: There are no runs.
    """
    output, report = Folder(folder), Report(settings, progress)
    output.prepare()
    try:
        report.write(runs, output)
        output.finish()
    except OSError as err:
        raise StoreError(f"{err.filename or folder}: cannot be written ({err.strerror or err}).") from err
    return report.notes


def single_file(runs: Runs, settings: Settings, progress: Progress) -> tuple[bytes, list[str]]:
    """The report as one HTML file, and what was left out. Raises UserError if there are no runs."""
    output, report = SingleFile(), Report(settings, progress)
    report.write(runs, output)
    return output.content, report.notes
