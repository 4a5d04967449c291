"""Choose what goes into a bundle: runs of licensed data only on request, and the clips that the models heard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diva_bench.catalog import Catalog
from diva_bench.data.place import locate
from diva_bench.errors import UnreadableRun, UserError
from diva_bench.evaluation.rescoring import data_of
from diva_bench.runs import bundle, freshness, rows, stored_task
from diva_bench.runs.records import RunSummary, of_folder
from diva_bench.runs.store import RunFolder
from diva_bench.types import Progress
from diva_bench.weights import assets


@dataclass(frozen=True, slots=True)
class Bundled:
    """A bundle that was written, and what was left out, one line each."""

    packed: bundle.Packed
    notes: Sequence[str]


def write(
    catalog: Catalog,
    folders: Sequence[Path],
    target: Path,
    progress: Progress,
    *,
    audio: bool = False,
    licensed: bool = False,
    data_dir: Path | None = None,
) -> Bundled:
    """Pack runs into one file.

    Args:
        folders: Run folders.
        audio: Also the clips that the models heard.
        licensed: Also runs of licensed data, whose answers may repeat what was said.
        data_dir: As in `rescoring.score`; for the clips.

    Raises:
        UserError: Nothing is left to pack.
        StoreError: A run is damaged, or the file cannot be written.
    """
    chosen: list[RunFolder] = []
    hidden: dict[str, None] = {}
    for folder in map(RunFolder, folders):
        if not licensed and is_licensed(folder, catalog):
            hidden[str(folder.task_record()["name"])] = None
        else:
            chosen.append(folder)
    names = ", ".join(hidden)
    if not chosen:
        raise UserError(
            f"the data of {names} is licensed, so that nothing is left to pack. With --with-licensed the runs are packed with "
            "texts and answers; the licences forbid to pass these on."
        )
    notes = [f"Runs of licensed data are left out ({names}); --with-licensed packs them too."] if hidden else []
    notes += _doubts(chosen)
    clips: dict[str, Callable[[], bytes]] = {}
    if audio:
        for task in {folder.place.parent: folder for folder in chosen}.values():
            found, why = _clips(task, catalog, progress, data_dir)
            clips |= found
            notes += [f"No clips of {task.task_record()['name']}: {why}."] if why else []
    packed = bundle.pack([folder.path for folder in chosen], target, clips)
    return Bundled(packed, notes)


def _doubts(folders: Sequence[RunFolder]) -> list[str]:
    """Notes about runs whose scores cannot be read, or do not belong to their answers."""
    problems: list[str] = []
    summaries: list[RunSummary] = []
    for folder in folders:
        try:
            summaries.append(of_folder(folder.path))
        except UnreadableRun as err:
            problems.append(str(err))
    before = {summary.folder: summary for summary in summaries}
    place = folders[0].place.parent.parent
    now, _ = freshness.checked(summaries, place, assets.cache_folder(), problems)
    problems += [f"{run.folder}: {run.reason}" for run in now if run is not before[run.folder]]
    return [f"Packed all the same: {problem}" for problem in problems]


def is_licensed(folder: RunFolder, catalog: Catalog) -> bool:
    """Whether the owners of a run's data must be asked for it, by the run or by the task of this machine."""
    if (folder.record()["task"].get("data") or {}).get("access"):
        return True
    try:
        return bool(stored_task.of_catalog(folder, catalog).data.access)
    except UserError:
        return False


def _clips(
    folder: RunFolder, catalog: Catalog, progress: Progress, data_dir: Path | None
) -> tuple[Mapping[str, Callable[[], bytes]], str]:
    """(sha256 -> reads the clip, why some or all are missing); only clips that the models heard."""
    stored = rows.load(folder.above, folder.task_record())
    if stored is None:
        return {}, "the run has no stored rows, which have their sha256"
    heard = {str(row[1]) for row in stored.covered if row[1]}
    if not heard:
        return {}, "the task has no audio"
    beside = bundle.clips_beside(folder.place)
    found: dict[str, Callable[[], bytes]] = {sha: path.read_bytes for sha, path in beside.items() if sha in heard}
    why = ""
    if len(found) < len(heard):
        try:
            task = stored_task.of_catalog(folder, catalog)
            if locate(task, data_dir) is None:
                raise UserError("the data of the task is not on this machine")
            here = data_of(folder, task, progress, data_dir)
            sounds = {str(row[0]): str(row[1]) for row in here.covered}
            found |= {sounds[s.id]: s.read for s in here.samples if s.read and sounds.get(s.id) in heard - found.keys()}
        except UserError as err:
            why = str(err).rstrip(".")
    lacking = len(heard) - len(found)
    return found, (
        f"{lacking:,} of {len(heard):,} are missing: {why or 'the data here has other clips'}" if lacking else ""
    )
