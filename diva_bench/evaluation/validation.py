"""Check a YAML file and everything that it refers to.

For a task, the data is read and the scorers are built, so that everything that would stop a run, or falsify its scores,
is reported before a model is run.
"""

from __future__ import annotations

import re
from pathlib import Path

from diva_bench import data
from diva_bench.catalog import Catalog
from diva_bench.data import Dataset, place
from diva_bench.data.readers import reader
from diva_bench.errors import AssetError, DataError, UserError, nearest
from diva_bench.printable import duration
from diva_bench.scorers import primary
from diva_bench.specs import FIELD, Edition, ModelFile, TaskFile, TaskSpec, prompt
from diva_bench.specs.spec_file import read_spec
from diva_bench.stats import priors
from diva_bench.types import Progress
from diva_bench.weights import assets, folders

_NAMED = 5  # unusable samples that are named


def validate(
    catalog: Catalog, file: Path, progress: Progress, data_dir: Path | None = None
) -> tuple[list[str], list[str]]:
    """(description of a YAML file in lines, its faults). Raises UserError if it cannot be read."""
    kind, entry = read_spec(file)
    notes, problems = [f"a valid {kind}: {entry.spec.name}"], []
    if isinstance(entry.spec, TaskFile):
        for edition in entry.spec.editions:
            unread = []
            for leaf in _leaves(catalog, file, entry.spec, edition):
                try:
                    lines = _check_task(catalog, catalog.task(leaf, edition), progress, data_dir)
                    notes += lines
                    unread += [] if lines else [leaf]
                except UserError as err:
                    problems.append(f"{file}: {err}")
            if unread:
                notes.append(
                    f"edition {edition}: its data is not on this machine, and was not read: {', '.join(unread)}"
                )
    elif isinstance(entry.spec, ModelFile):
        untrained, absent = _check_model(catalog, file)
        if untrained:
            notes[0] += f" (its weights for {' and '.join(untrained)} are trained, and not on this machine)"
        notes += [f"its weights {role}: the folder {folder} is not on this machine" for role, folder in absent.items()]
    return notes, problems


def _check_model(catalog: Catalog, file: Path) -> tuple[list[str], dict[str, str]]:
    """(editions whose connector must be trained first, role -> folder of weights that is not here). Raises UserError for
    faults."""
    untrained: list[str] = []
    absent: dict[str, str] = {}
    for name in catalog.model_editions(str(file)) or ["mini"]:
        try:
            model = catalog.model(str(file), name)
        except AssetError:  # everything else in it is valid: see Catalog.model
            untrained.append(str(name))
            continue
        catalog.adapter_for(model)
        absent |= {role: str(asset.folder) for role, asset in model.weights.items() if not folders.check(asset)}
    return untrained, absent


# ---------------------------------------------------------------- tasks


def _leaves(catalog: Catalog, file: Path, spec: TaskFile, edition: Edition) -> list[str]:
    """Every runnable task of a task file in one edition."""
    subsets = catalog.subsets(str(file), edition)
    return list(dict.fromkeys([*subsets, *(catalog.subsets(f"{spec.name}-all", edition) if spec.subsets else [])]))


def _check_task(catalog: Catalog, task: TaskSpec, progress: Progress, data_dir: Path | None) -> list[str]:
    """Facts about a task in lines; empty if its data is not on this machine. Raises UserError for faults."""
    scorers = catalog.scorers(task)
    reader(task.data.source)
    title = f"{task.name}, edition {task.edition}"
    if place.locate(task, data_dir) is None:
        return []
    dataset = data.load(task, assets.cache_folder(), progress, data_dir=data_dir)
    prompt.check(task, dataset.samples)
    primary.check_primary(task, scorers, dataset.samples)
    notes, shown = _prompt_leaks(task, dataset)
    problems = [*_lost(dataset), *notes, *_unnamed_choices(task, dataset), *_wrong_contrasts(task, dataset)]
    if problems:
        raise DataError("\n".join(f"{title}: {problem}" for problem in problems))
    seconds = duration(sum(sample.seconds for sample in dataset.samples))
    clusters = len({sample.cluster for sample in dataset.samples})
    lines = [f"{title}: {len(dataset.samples):,} samples in {clusters:,} clusters, {seconds} of audio"]
    return [*lines, *(f"{title}: {note}" for note in (*dataset.notes, *shown, *_notes(task, dataset)))]


def _lost(dataset: Dataset) -> list[str]:
    """A message about samples that cannot be used."""
    if not dataset.faults:
        return []
    named = "; ".join(f"{fault.id}: {fault.reason}" for fault in dataset.faults[:_NAMED])
    more = f"; and {len(dataset.faults) - _NAMED:,} more" if len(dataset.faults) > _NAMED else ""
    total = len(dataset.faults) + len(dataset.samples)
    return [
        f"{len(dataset.faults):,} of {total:,} samples cannot be used: {named}{more}. Correct them, or list them under "
        "`exclude` with the reason."
    ]


def _prompt_leaks(task: TaskSpec, dataset: Dataset) -> tuple[list[str], list[str]]:
    """(faults, notes): prompt fields that contain the answer are faults; prompt fields that contain the transcript get a
    note, because there may be a reason for them. Decided by their content, not by their names."""
    texts = (task.prompt, task.system or "", *task.prompts)
    answers, words = [], []
    for name in dict.fromkeys(name for text in texts for name in FIELD.findall(text)):
        having = [sample for sample in dataset.samples if name in sample.fields]
        same = sum(sample.fields[name] in sample.references for sample in having)
        if having and 2 * same >= len(having):
            answers.append(
                f"the prompt shows {{{name}}}, which is the accepted answer of {same:,} of {len(having):,} samples: a "
                f"model could answer without the audio. Remove it from the prompt, or name another `reference`."
            )
        elif having and all(sample.fields[name] == sample.transcript for sample in having):
            words.append(f"the prompt shows {{{name}}}, the transcript: a model could answer without the audio")
    return answers, words


def _unnamed_choices(task: TaskSpec, dataset: Dataset) -> list[str]:
    """Prompts that do not list the allowed answers."""
    problems = []
    for number in range(1 + len(task.prompts) if task.choices else 0):
        request = prompt.build(prompt.variant(task, number), dataset.samples[0], frozenset())
        text = f"{request.system or ''}\n{request.prompt}"
        if missing := [choice for choice in task.choices or () if not _names(text, choice)]:
            where = f"`prompts` number {number}" if number else "`prompt`"
            problems.append(
                f"{where} does not name the choice{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}: a model "
                "cannot know that it is allowed. Name all of them, or write {choices}."
            )
    return problems


def _names(text: str, choice: str) -> bool:
    """Whether a text contains a choice as a word; in a script without spaces, anywhere."""
    edge = r"\b" if choice.isascii() and choice[:1].isalnum() and choice[-1:].isalnum() else ""
    return re.search(f"{edge}{re.escape(choice)}{edge}", text, re.IGNORECASE) is not None


def _wrong_contrasts(task: TaskSpec, dataset: Dataset) -> list[str]:
    """Values of `contrast` that no row has."""
    problems = []
    for group, value in task.contrast.items():
        values = sorted({sample.groups[group] for sample in dataset.samples if group in sample.groups})
        alone = task.subset is not None and len(values) == 1  # a subset with one value has nothing to compare
        if values and value not in values and not alone:
            problems.append(
                f"`contrast`: no row has the {group} {value!r}.{nearest(value, values)} Available: {', '.join(values)}."
            )
    return problems


def _notes(task: TaskSpec, dataset: Dataset) -> list[str]:
    """Notes that are not faults."""
    notes = []
    if task.data.speech is None:
        notes.append(
            "the task does not say whether speech is human or synthetic; add `speech: human` or `speech: synthetic` "
            "beside `source`"
        )
    if task.speaker and not any(priors.speaker_of(sample, task.speaker) for sample in dataset.samples):
        fields = sorted({name for sample in dataset.samples for name in sample.fields})
        notes.append(
            f"`speaker: {task.speaker}`: no row says who speaks there.{nearest(task.speaker, fields)} Columns of text: "
            f"{', '.join(fields)}"
        )
    answers = {reference for sample in dataset.samples for reference in sample.references}
    if never := [choice for choice in task.choices or () if choice not in answers]:
        notes.append(f"no row has the label {', '.join(never)}")
    return notes
