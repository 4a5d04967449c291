"""`pull` and `doctor`: download weights and data, and report what is installed, what is missing, and on which device
models run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import indent
from typing import cast

from diva_bench import data
from diva_bench.catalog import Catalog, needed
from diva_bench.cli.progress import Terminal, amount
from diva_bench.cli.show import print_table
from diva_bench.cli.streams import say
from diva_bench.data import hub, place
from diva_bench.errors import DataError, UnknownName
from diva_bench.evaluation import doctor, scorer_weights
from diva_bench.evaluation.editions import of_model
from diva_bench.specs import AssetSpec, Edition, ModelSpec, TaskFile, TaskSpec, models_of
from diva_bench.specs.model import Dtype
from diva_bench.tables import Cell, Column, Table
from diva_bench.testing import RULES, examine
from diva_bench.weights import assets
from diva_bench.weights.folders import references


def pull_command(
    models: Sequence[str],
    tasks: Sequence[str],
    edition: str,
    model_edition: str | None,
    data_dir: Path | None,
    weights_files: Sequence[Path],
    weights_folders: Sequence[str],
    paths: Sequence[Path],
) -> int:
    """Download weights of models and scorers, and data of tasks. With only models named, no tasks are pulled; with only
    tasks named, no models. Exit code: 1 if something must be obtained in another way."""
    catalog, progress = Catalog(paths), Terminal()
    folders = scorer_weights.install(catalog, weights_files, progress)
    folders |= scorer_weights.install_folders(catalog, weights_folders, progress)
    everything = not (models or tasks or weights_files or weights_folders)
    if models or everything:
        folders |= catalog.fetch(_specs(catalog, models, edition, model_edition, progress), progress)
    missing: list[str] = []
    if tasks or everything:
        task_specs = _tasks(catalog, tasks or ["all"], edition)
        missing = [task.name for task in task_specs if not _pull_data(task, data_dir, progress)]
        if edition == "auto":
            _say_of_full(catalog, tasks, data_dir)
        fetched, lost = scorer_weights.fetch(catalog, task_specs, progress)
        folders |= fetched
        missing += lost
    for name, folder in folders.items():
        say(f"weights {name}: {folder}")
        for key, named in references(folder).items():
            say(f"  {key}: {named}")
    return 1 if missing else 0


def _pull_data(task: TaskSpec, data_dir: Path | None, progress: Terminal) -> bool:
    """Download the data of a task if it may be redistributed, and check it; else print how to get it. False if it is not
    on this machine."""
    if place.locate(task, data_dir) is None:
        if task.data.hub is None:
            say(f"task {task.name}: its data is licensed or may not be redistributed, so it is not downloaded.")
            say(indent(place.how_to_get(task), "  "))
            return False
        try:
            files = hub.remote(task.data, f"task {task.name}")
            size = amount(sum(file.bytes for file in files), "bytes")
            count = f"{len(files)} file{'' if len(files) == 1 else 's'}"
            progress.note(f"task {task.name}: fetching {size} in {count} of {task.data.hub.repo}")
            hub.pull(task.data, files, f"task {task.name}", progress)
        except DataError as err:
            say(err)
            say(indent(place.how_to_get(task, fetched=True), "  "))
            return False
    try:
        dataset = data.load(task, assets.cache_folder(), progress, data_dir=data_dir)
    except DataError as err:
        say(f"task {task.name}: {err}")
        return False
    out = len(dataset.faults) + len(dataset.excluded)
    say(f"task {task.name}: {len(dataset.samples):,} samples ready, {out:,} left out")
    return True


def _tasks(catalog: Catalog, names: Sequence[str], edition: str) -> list[TaskSpec]:
    """The tasks for these names. auto: mini, and full for tasks without mini."""
    tasks: dict[str, TaskSpec] = {}
    for name in names:
        smallest: Edition = "mini" if "mini" in catalog.task_editions(name) else "full"
        selection = smallest if edition == "auto" else cast(Edition, edition)
        tasks |= {leaf: catalog.task(leaf, selection) for leaf in catalog.subsets(name, selection)}
    return list(tasks.values())


def _say_of_full(catalog: Catalog, names: Sequence[str], data_dir: Path | None) -> None:
    """Print how to get the full data of these tasks, if it is missing: `pull` downloads only the mini edition if a task
    has one."""
    both = [name for name in names if {"mini", "full"} <= set(catalog.task_editions(name))]
    owners = {task.task: task for task in _tasks(catalog, both, "full")}
    for task in owners.values():
        if place.locate(task, data_dir) is None:
            say(f"task {task.task}, edition full:")
            say(indent(place.how_to_get(task), "  "))


def _specs(
    catalog: Catalog, models: Sequence[str], data_edition: str, model_edition: str | None, progress: Terminal
) -> list[ModelSpec]:
    """The named models, or all models that have the edition and can be downloaded."""
    edition = models_of(cast(Edition, model_edition or ("mini" if data_edition == "auto" else data_edition)))
    if models:
        forced = edition if model_edition or edition == "nano" else None
        return [catalog.model(name, of_model(catalog, name, edition, forced, progress, fetch=True)) for name in models]
    specs, untrained = [], []
    for name in [f.spec.name for f in catalog.models() if edition in catalog.model_editions(f.spec.name)]:
        if catalog.untrained(name, edition):
            untrained.append(name)
            continue
        try:
            specs.append(catalog.model(name, edition))
        except UnknownName as err:  # a trained connector may need weights of a --path that is not given now
            progress.note(f"model {name} is left out: {err}")
    if untrained:
        progress.note(
            f"left out, because their weights are trained, not downloaded: {', '.join(untrained)} "
            f"(`diva-bench show NAME --edition {edition}` says how)"
        )
    return specs


def doctor_command(model: str | None, edition: str, verify: bool, paths: list[Path]) -> int:
    """Exit code: 0 if nothing is damaged and the model breaks no rule; missing files are not an error."""
    catalog, progress = Catalog(paths), Terminal()
    spec = None
    if model is not None:  # first, because a wrong name would be told below a long report
        choice = None if edition == "auto" else cast(Edition, edition)
        spec = catalog.model(model, of_model(catalog, model, "mini", choice, progress, fetch=True))
    print_table(Table("this machine", [Column("what"), Column("found")], doctor.machine(assets.cache_folder()), []))
    say()
    table, broken = _weights_table(catalog, verify, progress)
    print_table(table)
    if spec is not None:
        say()
        broken = _contract(catalog, spec, progress) or broken
        if spec.weights and not spec.servers:
            say()
            _flip_rate(catalog, spec, progress)
    return 1 if broken else 0


def _weights_table(catalog: Catalog, verify: bool, progress: Terminal) -> tuple[Table, bool]:
    assets_by_name, users, notes = _all_weights(catalog)
    rows: list[list[Cell]] = []
    broken = False
    for name, asset in sorted(assets_by_name.items()):
        state = assets.state(asset, catalog.home(asset), rehash=verify, progress=progress)
        broken = broken or state.status == "damaged"
        fetch_size = amount(state.download_bytes, "bytes") if state.download_bytes else "-"
        rows.append([name, state.status, amount(state.disk_bytes, "bytes"), fetch_size, ", ".join(users[name])])
        if state.detail:
            rows.append(["", state.detail, None, None, ""])
    columns = [
        Column("weights"),
        Column("state"),
        Column("on disk"),
        Column("to fetch"),
        Column("used by", optional=True),
    ]
    return Table("weights", columns, rows, notes), broken


def _all_weights(catalog: Catalog) -> tuple[dict[str, AssetSpec], dict[str, list[str]], list[str]]:
    """(all weights by name, the models that use them, notes on weights that cannot be listed)."""
    users: dict[str, list[str]] = {}
    assets_by_name: dict[str, AssetSpec] = {}
    untrained: dict[Edition, list[str]] = {}
    notes = ["`diva-bench pull --model NAME` fetches what is missing and replaces what is damaged"]
    for model in [entry.spec.name for entry in catalog.models()]:
        for edition in catalog.model_editions(model):
            if catalog.untrained(model, edition):
                untrained.setdefault(edition, []).append(model)
                continue
            try:
                spec = catalog.model(model, edition)
            except UnknownName as err:  # as in _specs
                notes.append(f"model {model} ({edition}): {err}")
                continue
            for name, asset in needed([spec]).items():
                assets_by_name[name] = asset
                users.setdefault(name, []).append(f"{model} ({edition})")
    for entry in catalog.tasks():
        for name in catalog.scorer_weights(cast(TaskFile, entry.spec)):
            assets_by_name[name] = catalog.weights(name)[0]
            users.setdefault(name, []).append(f"task {entry.spec.name}")
    for edition, models in untrained.items():
        notes.append(f"to be trained with `diva-bench train`, not fetched ({edition}): {', '.join(models)}")
    return assets_by_name, users, notes


def _contract(catalog: Catalog, spec: ModelSpec, progress: Terminal) -> bool:
    """Print what came out of every rule for adapters, in float32. True if one is broken."""
    adapter = catalog.load(_in(spec, "float32"), progress)
    skip = _NOT_OF_SERVERS if spec.servers else ()
    rules = examine(adapter, skip=skip, progress=progress)  # it closes the adapter
    notes = [f"{c.rule}: {RULES[c.rule]}" for c in rules if c.outcome == "broken"]
    notes += ["left out: answers of a server can vary, and its memory is not here"] if skip else []
    columns = [Column("rule"), Column("outcome"), Column("seen")]
    rows = [[c.rule, c.outcome, c.detail] for c in rules]
    print_table(Table(f"contract of adapters: {spec.name}, float32", columns, rows, notes))
    return any(c.outcome == "broken" for c in rules)


_NOT_OF_SERVERS = ("repeat", "batch", "stream", "memory")
"""Rules that compare two answers, which a server may compute in different batches; and one with many requests, which may
cost money."""


def _in(spec: ModelSpec, dtype: Dtype) -> ModelSpec:
    return spec.model_copy(update={"runtime": spec.runtime.model_copy(update={"dtype": dtype})})


def _flip_rate(catalog: Catalog, spec: ModelSpec, progress: Terminal) -> None:
    """Print how many greedy answers change with the batch size, in this model's dtype, on a task that ships."""
    task = catalog.task("heysquad", "mini")
    dataset = data.load(task, assets.cache_folder(), progress)
    rows = []
    dtypes: tuple[Dtype, ...] = ("float32", spec.runtime.dtype)
    for dtype in dict.fromkeys(dtypes):
        adapter = catalog.load(_in(spec, dtype), progress)
        flips = doctor.flips(adapter, task, dataset.limited(doctor.PROBES, 0), progress)
        adapter.close()
        rows += [[spec.name, dtype, f"{batch} vs 1", f"{changed}/{total}"] for batch, changed, total in flips]
    columns = [Column("model"), Column("dtype"), Column("batch"), Column("answers changed")]
    note = "greedy answers to mini heysquad; in other dtypes than float32, answers can depend on the batches of a run"
    print_table(Table("batch invariance", columns, rows, [note]))
