"""`list` and `show`: the available names, and the settings behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import yaml

from diva_bench import scorers
from diva_bench.catalog import CONNECTOR, Catalog
from diva_bench.cli.show import print_table
from diva_bench.cli.streams import say
from diva_bench.disk import read_json
from diva_bench.errors import SpecError, UnknownName, UserError, unknown
from diva_bench.printable import duration
from diva_bench.specs import AssetSpec, Edition, ModelFile, ModelSpec, TaskFile, TaskSpec
from diva_bench.tables import Cell, Column, Table
from diva_bench.weights import assets
from diva_bench.weights.folders import State


def list_command(kind: str, paths: list[Path], output: Path = Path("results"), format: str = "rich") -> int:
    """Exit code: 1 if `list runs` finds no runs, or some cannot be read."""
    if kind == "runs":
        return _runs(output, format)
    catalog = Catalog(paths)
    table = {"tasks": _tasks, "models": _models, "metrics": _metrics}[kind](catalog)
    if kind == "models" and format == "rich":
        table = replace(table, rows=_told_once(table.rows))
    wrong = [f"cannot be used: {problem.error}" for problem in catalog.problems if kind != "metrics"]
    print_table(replace(table, notes=[*table.notes, *wrong]), format)
    return 0


def _runs(output: Path, format: str) -> int:
    from diva_bench.cli.stored import stored_runs  # the other lists need none of its modules

    runs = stored_runs(output, listed=True)
    if runs or format in ("csv", "json"):  # a program that reads the output gets a table without rows
        print_table(runs.table(), format)
    if not runs and not runs.unreadable:
        say(f"{output}: no runs. Give the folder that `diva-bench run --output` wrote to.", error=True)
    for text in runs.unreadable:
        say(text, error=True)
    return 0 if runs and not runs.unreadable else 1


def _tasks(catalog: Catalog) -> Table:
    rows, suites = [], catalog.suites()
    for entry in sorted(catalog.tasks(), key=lambda f: f.spec.name):
        task = cast(TaskFile, entry.spec)
        rows.append(
            [
                task.name,
                _subsets_text(task),
                ", ".join(suite for suite in suites if suite != "all" and task.name in suites[suite]) or "-",
                ", ".join(task.editions),
                ", ".join(dict.fromkeys([task.primary, *(s.primary for s in task.subsets.values() if s.primary)])),
                task.description,
            ]
        )
    columns = [Column(name) for name in ("task", "subsets", "suites", "editions", "primary")]
    note = (
        "a suite selects several tasks; `all` selects all tasks but the paper's. One subset: covost2-de; all "
        "subsets: covost2-all."
    )
    return Table("tasks", [*columns, Column("what is asked")], rows, [note])


def _models(catalog: Catalog) -> Table:
    """A row for every edition of every model."""
    rows = []
    for entry in sorted(catalog.models(), key=lambda f: f.spec.name):
        model = cast(ModelFile, entry.spec)
        editions: list[Edition | None] = [*catalog.model_editions(model.name)]
        rows += [_model_row(catalog, model, edition) for edition in editions or [None]]
    columns = [Column("model"), Column("edition"), Column("takes"), Column("here"), Column("size", number=True)]
    columns += [Column("context", number=True, optional=True), Column("licence", optional=True)]
    notes = [
        "here: yes; no: `diva-bench pull --model NAME --edition EDITION` fetches it (size: bytes of all its weights); train: "
        "`diva-bench show NAME --edition EDITION` prints the command; server: the model is asked over the network",
        "context: tokens of prompt and answer, where the LLM is here",
    ]
    return Table("models", [*columns, Column("description", optional=True)], rows, notes)


def _told_once(rows: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """The rows of models, with a description only in the first row of a model: for people, not for programs."""
    names = [row[0] for row in rows]
    return [[*row[:-1], "" if names[k] in names[:k] else row[-1]] for k, row in enumerate(rows)]


def _model_row(catalog: Catalog, model: ModelFile, edition: Edition | None) -> list[Cell]:
    from diva_bench.cli.progress import amount

    who = model.description
    if edition and catalog.untrained(model.name, edition):
        return [model.name, edition, _takes(catalog, catalog.adapter_name(model.name)), "train", None, None, None, who]
    try:
        spec = catalog.model(model.name, edition or "mini")
    except UnknownName:  # a trained connector may need weights of a --path that is not given now
        return [model.name, edition or "any", None, "no", None, None, None, who]
    states = [assets.state(asset, catalog.home(asset)) for asset in spec.weights.values()]
    sizes = [asset.bytes or asset.download_bytes or state.disk_bytes for asset, state in _zip(spec, states)]
    here = "yes" if all(state.status in ("ready", "not hashed") for state in states) else "no"
    here = "server" if spec.servers and here == "yes" else here
    licences = [spec.licence] if spec.licence else [asset.licence for asset in spec.weights.values() if asset.licence]
    return [
        model.name,
        edition or "any",
        _takes_of_server(spec) if spec.adapter == _SERVER else _takes(catalog, spec.adapter),
        "damaged" if any(state.status == "damaged" for state in states) else here,
        amount(sum(sizes), "bytes") if sizes and all(sizes) else None,
        _context(spec, states),
        ", ".join(dict.fromkeys(licences)) or None,
        who,
    ]


def _zip(spec: ModelSpec, states: list[State]) -> list[tuple[AssetSpec, State]]:
    return list(zip(spec.weights.values(), states, strict=True))


_SERVER = "openai_chat"
"""The adapter for servers. Its module loads the libraries of the network, which a list does not need."""


def _takes_of_server(spec: ModelSpec) -> str:
    """As `OpenAIChat.for_model`: audio, unless the model is asked with text."""
    return "audio, choices" if spec.args.get("input", "audio") == "audio" else "text, choices"


def _takes(catalog: Catalog, adapter: str) -> str | None:
    """The inputs of an adapter that a reader knows, in this order."""
    try:
        accepts = catalog.declared(adapter).accepts
    except UserError:  # a plugin that cannot be imported
        return None
    return ", ".join(name for name in ("audio", "text", "choices") if name in accepts) or "-"


def _context(spec: ModelSpec, states: list[State]) -> int | None:
    """Tokens of the LLM's context, by its config.json; None if it is not here."""
    folder = next((state.folder for role, state in zip(spec.weights, states, strict=True) if role == "llm"), None)
    config = read_json(folder / "config.json") if folder else None
    for part in (config, config.get("text_config") if isinstance(config, dict) else None):
        tokens = part.get("max_position_embeddings") if isinstance(part, dict) else None
        if isinstance(tokens, int):
            return tokens
    return None


def _metrics(catalog: Catalog) -> Table:
    rows = [[m.scorer, m.name, m.range, m.better, m.meaning] for m in scorers.METRICS]
    columns = [Column(n) for n in ("scorer", "metric", "range", "better", "what it is")]
    needs = {m.needs: [n.name for n in scorers.METRICS if n.needs == m.needs] for m in scorers.METRICS if m.needs}
    notes = [f"need a {what}: {', '.join(names)}" for what, names in needs.items()]
    return Table("metrics", columns, rows, notes)


def show_command(name: str, edition: str, paths: list[Path]) -> None:
    """Print every task (with its subsets) and every model of that name."""
    catalog = Catalog(paths)
    specs: list[TaskSpec | ModelSpec] = [
        *_resolve_tasks(catalog, name, edition),
        *_resolve_models(catalog, name, edition),
    ]
    if not specs:
        tasks = [leaf for task in catalog.suites()["all"] for leaf in catalog.subsets(task)]
        models = [f.spec.name for f in catalog.models()]
        names = [*tasks, *catalog.suites(), *models]
        raise UnknownName(f"{unknown('task or model', name, names)}{catalog.hint(name)}")
    for spec in specs:
        kind = "task" if isinstance(spec, TaskSpec) else "model"
        say(f"# {kind} {spec.name}, edition {spec.edition or 'any'}, identity {spec.hash[:12]}")
        text = _without_empty(spec.model_dump(mode="json"))
        say(yaml.safe_dump(text, sort_keys=False, allow_unicode=True, width=100))
        if isinstance(spec, ModelSpec) and (record := catalog.training(spec)):
            say(f"# training of the connector, {spec.weights[CONNECTOR].name} (its training.json has all of it)")
            say("".join(f"{name}: {text_of_line}\n" for name, text_of_line in training_lines(record).items()))


def _without_empty(value: dict[str, Any]) -> dict[str, Any]:
    """A spec without its empty settings."""
    inner = {k: _without_empty(v) if isinstance(v, dict) and k == "data" else v for k, v in value.items()}
    return {k: v for k, v in inner.items() if v not in (None, "", {}, [])}


def training_lines(record: Mapping[str, Any]) -> dict[str, str]:
    """The content of a training.json as text; missing entries are left out."""
    config, compute = record.get("config") or {}, record.get("compute") or {}

    from diva_bench.cli.progress import amount

    def value(key: str, older: str = "") -> Any:
        return compute.get(key, record.get(older or key))

    flops, peak, audio_seconds = (compute.get(key) for key in ("flops", "peak_memory_bytes", "audio_seconds"))
    total = sum(flops.values()) if isinstance(flops, Mapping) else flops
    steps, alone, unique = value("steps"), config.get("align_steps"), value("audio_hours_unique")
    seconds, device, devices = value("device_seconds", "seconds"), value("device"), compute.get("devices", 1)
    time = f"{seconds:,.0f} s ({duration(seconds)})" if seconds is not None else ""
    lines = {
        "losses": _losses(record, config),
        "steps": f"{steps:,}" + (f", the first {alone:,} of token alignment alone" if alone else "") if steps else "",
        "examples": f"{value('examples'):,}" if value("examples") else "",
        "operations": _petaflop(total) if total else "",
        "device time": time + (" of all devices together" if devices > 1 else ""),
        "device": (f"{devices} x " if devices > 1 else "") + (device or ""),
        "peak memory": amount(peak, "bytes") if peak else "",
        "audio": f"{unique:,.1f} h" + (f", {audio_seconds / 3600:,.1f} h with repeats" if audio_seconds else "")
        if unique
        else "",
    }
    return {name: line for name, line in lines.items() if line}


def _petaflop(operations: float) -> str:
    value = operations / 1e15
    return (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + " PFLOP"


def _losses(record: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Each loss with its weight; older records have text."""
    if "distill" not in config:
        return str(record.get("losses", ""))
    kind = f"output distillation ({config.get('distillation', 'l2')})"
    names = {"align": "token alignment", "distill": kind, "pad": "free tokens"}
    return ", ".join(f"{config[key]:g} x {name}" for key, name in names.items() if config.get(key))


def _pick(editions: list[Edition], choice: str) -> Edition:
    if choice == "auto":
        return "mini" if "mini" in editions or not editions else editions[0]
    return cast(Edition, choice)


def _subsets_text(task: TaskFile) -> str:
    """The default subsets of a task, and the number of its other subsets."""
    if task.whole:
        return f"all, or {', '.join(task.subsets)}"
    more = len(task.subsets) - len(task.default) if task.default else 0
    return (", ".join(task.default or task.subsets) or "-") + (f" (and {more} more)" if more else "")


def _resolve_tasks(catalog: Catalog, name: str, edition: str) -> list[TaskSpec]:
    try:
        leaves = catalog.subsets(name, None if edition == "auto" else cast(Edition, edition))
    except UnknownName:
        return []
    except SpecError as err:
        if "not a task" not in str(err):
            raise
        return []
    return [catalog.task(leaf, _pick(catalog.task_editions(leaf), edition)) for leaf in leaves]


def _resolve_models(catalog: Catalog, name: str, edition: str) -> list[ModelSpec]:
    try:
        editions = catalog.model_editions(name)
    except UnknownName:
        return []
    except SpecError as err:
        if "not a model" not in str(err):
            raise
        return []
    return [catalog.model(name, _pick(editions, edition))]
