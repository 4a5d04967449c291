"""Find tasks, models, adapters and scorers by name or path.

Specs come from the built-in `tasks/` and `models/`, from folders given with `--path` or in DIVA_BENCH_PATH, from a YAML
file given in place of a name, from installed packages (entry points `diva_bench.specs`: a package with YAML files in
its folder), and from `diva-bench train`, which installs connectors on this machine (`<cache>/trained/<name>/`).
Adapters and scorers come from the tables below and from the entry points `diva_bench.adapters` and
`diva_bench.scorers`. The same name in two places is an error that names both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from diva_bench import adapters, provenance, scorers
from diva_bench.disk import size
from diva_bench.errors import AssetError, MissingMeans, SpecError, UnknownName, UserError, unknown
from diva_bench.scorers import Absent, cleaning
from diva_bench.server.budget import Budget
from diva_bench.specs import (
    AssetSpec,
    DataChange,
    Edition,
    InlineWeights,
    ModelEdition,
    ModelFile,
    ModelSpec,
    Runtime,
    Subset,
    TaskFile,
    TaskSpec,
)
from diva_bench.specs.spec_file import (
    BUILT_IN,
    BY_PATH,
    KINDS,
    TRAINED,
    Clash,
    Problem,
    SpecFile,
    builtin_folder,
    read_spec,
    spec_files,
    spec_names,
    yaml_files,
)
from diva_bench.types import Adapter, Progress, Scorer
from diva_bench.weights import assets, fit

CONNECTOR = "connector"
"""The role of the weights that `diva-bench train` makes."""
PAPER = "paper"
"""Suite of the tasks named paper-..., which follow the code of the paper; these are in no other suite."""
_LOOKED_AT = 200  # files of the current folder that are searched for a hint


def trained_folder() -> Path:
    """The folder in which `diva-bench train` installs one folder per connector. It may not exist."""
    return assets.cache_folder() / "trained"


class Catalog:
    """All specs that have a name. Files are read once, when they are first needed.

    A wrong file is an error only for names that it may define, see `problems`.
    """

    def __init__(self, paths: Sequence[Path] = (), tasks: Iterable[TaskSpec] = ()) -> None:
        """Create a catalogue of the specs in `paths`; files are read later.

        Args:
            paths: Folders of YAML files.
            tasks: Tasks that were made in Python, for their runs on disk.
        """
        self.budget = Budget()
        """What its models may spend on servers, together."""
        self._paths = list(paths)
        self._in_memory = {task.name: task for task in tasks}

    @cached_property
    def _installed(self) -> EntryPoints:
        """What packages offer. Read once, because it takes the metadata of every package."""
        return cast(EntryPoints, entry_points())  # before Python 3.12 another class with the same `select`

    @cached_property
    def _places(self) -> list[tuple[str, Path]]:
        """(origin, folder), without precedence: a name that occurs in two places is an error."""
        extra = [Path(p) for p in os.environ.get("DIVA_BENCH_PATH", "").split(os.pathsep) if p]
        for folder in (*self._paths, *extra):
            if not folder.is_dir():
                raise UserError(f"{folder}: no such folder (--path and DIVA_BENCH_PATH name folders of YAML files).")
        places = [(BUILT_IN, builtin_folder())]
        places += [(str(folder), folder) for folder in dict.fromkeys(p.resolve() for p in (*self._paths, *extra))]
        places += [(f"package {e.value}", _plugin_folder(e)) for e in self._installed.select(group="diva_bench.specs")]
        installed = sorted(p for p in trained_folder().glob("*") if p.is_dir() and not p.name.startswith("."))
        return places + [(TRAINED, folder) for folder in installed]

    @cached_property
    def _all(self) -> dict[str, dict[str, SpecFile]]:
        """kind -> name -> spec file."""
        return self._read_all[0]

    @property
    def problems(self) -> list[Problem]:
        """The spec files that cannot be used, and names that occur in two places; YAML files of other programs are not
        among them."""
        return [problem for problem in self._read_all[1] if not problem.foreign]

    @cached_property
    def _read_all(self) -> tuple[dict[str, dict[str, SpecFile]], list[Problem]]:
        table: dict[str, dict[str, SpecFile]] = {kind: {} for kind in KINDS}
        problems: list[Problem] = []
        for origin, place in self._places:
            for path in spec_files(place, origin):
                try:
                    self._add(table, path, origin)
                except Clash as err:
                    problems.append(Problem(path, frozenset({err.name}), err))
                except SpecError as err:
                    names = spec_names(path)
                    problems.append(Problem(path, names or frozenset({path.stem}), err, foreign=not names))
        for problem in problems:  # neither of two files with one name: which one is meant is unknown
            if isinstance(problem.error, Clash):
                table[problem.error.kind].pop(problem.error.name, None)
        return table, problems

    def _add(self, table: dict[str, dict[str, SpecFile]], path: Path, origin: str) -> SpecFile:
        kind, entry = read_spec(path, origin)
        other = table[kind].setdefault(entry.spec.name, entry)
        if other.path.resolve() != path.resolve():
            raise Clash(kind, other, entry)
        return other

    # ---- names

    def tasks(self) -> list[SpecFile]:
        return list(self._all["task"].values())

    def models(self) -> list[SpecFile]:
        return list(self._all["model"].values())

    def has(self, kind: str, name: str) -> SpecFile | None:
        """The entry of this name, or None. `kind`: task, model or weights."""
        return self._all[kind].get(name)

    def suites(self, edition: Edition | None = None) -> dict[str, list[str]]:
        """Suite -> task names: emotion, qa, ..., "all" (without the paper's tasks), "paper". With an edition: only tasks
        that have it."""
        table: dict[str, list[str]] = {"all": []}
        for entry in self.tasks():
            task = cast(TaskFile, entry.spec)
            suites = [PAPER] if task.name.startswith(f"{PAPER}-") else [*task.suites, "all"]
            for suite in suites if edition in (None, *task.editions) else ():
                table.setdefault(suite, []).append(task.name)
        return table

    def _find(self, kind: str, name: str, also: Iterable[str] = ()) -> SpecFile:
        """A spec by name, or by path if the name ends in .yaml or .yml."""
        table = self._all[kind]
        if name.endswith((".yaml", ".yml")):
            path = Path(name)
            if not path.is_file():
                raise UnknownName(f"{name}: no such file (a {kind} is a name from `diva-bench list` or a YAML file).")
            got = self._add(self._all, path, BY_PATH)
            if not isinstance(got.spec, KINDS[kind]):
                raise SpecError(f"{name}: this is not a {kind}: a {kind} is needed here.")
            return got
        if name not in table:
            for problem in self._read_all[1]:
                if name in problem.names:
                    raise problem.error
            raise UnknownName(f"{unknown(kind, name, [*table, *also])}{self.hint(name)}")
        return table[name]

    def hint(self, name: str) -> str:
        """A line that says where an unknown name may be defined: a YAML file of the current folder, or a file that is not
        valid; else ""."""
        for path in yaml_files(Path())[:_LOOKED_AT]:
            if any(name == spec_name or name.startswith(f"{spec_name}-") for spec_name in spec_names(path)):
                return f"\n{path} in this folder defines it: add --path . or give {path} itself."
        wrong = [f"{problem.error}" for problem in self.problems]
        return f"\nNot in this list, because the file is not valid: {'; '.join(wrong)}" if wrong else ""

    def subsets(self, name: str, edition: Edition | None = None) -> list[str]:
        """The names of runnable tasks for one name.

        Args:
            name: A suite (its tasks that have the edition), a task (its default subsets), or TASK-all (all its
                subsets).
            edition: None: mini if there is one, else the first edition of the task.
        """
        data_edition: Edition | None = "mini" if edition == "nano" else edition
        if name in self.suites():
            return [
                leaf
                for task in sorted(self.suites(data_edition).get(name, []))
                for leaf in self.subsets(task, data_edition)
            ]
        task = cast(TaskFile, self._owner(name).spec)
        first: Edition = "mini" if "mini" in task.editions else next(iter(task.editions))
        there = task.subsets_in(data_edition or first)
        if name == f"{task.name}-all":
            return [f"{task.name}-{subset}" for subset in there] or [task.name]
        if name != task.name and not name.endswith((".yaml", ".yml")):
            return [name]
        data = task.editions.get(data_edition or first)
        default = (data and data.default) or task.default or there
        selection = [subset for subset in default if subset in there]
        return [f"{task.name}-{subset}" for subset in selection] if selection and not task.whole else [task.name]

    def parts(self, name: str, edition: Edition) -> list[str]:
        """The names of all subsets of the task with this name or with this subset, in one edition."""
        return cast(TaskFile, self._owner(name).spec).subsets_in(edition)

    def _owner(self, name: str) -> SpecFile:
        """The task file that defines this task or subset."""
        for entry in self.tasks():
            task = cast(TaskFile, entry.spec)
            if name == task.name or (task.subsets and name in {f"{task.name}-{s}" for s in (*task.subsets, "all")}):
                return entry
        leaves = [f"{f.spec.name}-{s}" for f in self.tasks() for s in cast(TaskFile, f.spec).subsets]
        return self._find("task", name, also=[*leaves, *self.suites()])

    def in_memory(self, name: str) -> TaskSpec | None:
        """A task that was made in Python."""
        return self._in_memory.get(name)

    # ---- resolving

    def task_editions(self, name: str) -> list[Edition]:
        """Editions of a task, of a subset, or of any task of a suite."""
        if name in self.suites():
            return list(dict.fromkeys(e for task in self.suites()[name] for e in self.task_editions(task)))
        task = cast(TaskFile, self._owner(name).spec)
        subset = name.removeprefix(f"{task.name}-")
        return [e for e in task.editions if subset not in task.subsets or subset in task.subsets_in(e)]

    def adapter_name(self, model: str) -> str:
        """The name of a model's adapter."""
        return self._merged(model)[1]

    def model_editions(self, name: str) -> list[Edition]:
        """Editions of a model; empty for a model without editions, which can be used with any."""
        return list(self._merged(name)[0].editions)

    def task(self, name: str, edition: Edition) -> TaskSpec:
        """A runnable task (with its subset, if it has subsets) in one edition; the edition nano uses the mini task."""
        entry = self._owner(name)
        task = cast(TaskFile, entry.spec)
        subset = None if name == task.name else name.removeprefix(f"{task.name}-")
        data_edition: Edition = "mini" if edition == "nano" else edition
        if data_edition not in self.task_editions(name):
            raise unknown("edition", data_edition, self.task_editions(name), f"task {name} ({entry.path})")
        if subset not in task.subsets and (subset or (task.subsets_in(data_edition) and not task.whole)):
            raise UserError(f"task {name!r} has subsets; name one: {', '.join(self.subsets(name, data_edition))}.")
        changes = task.subsets[subset] if subset else Subset()
        groups = task.editions[data_edition].groups
        return TaskSpec(
            name=name,
            task=task.name,
            subset=subset,
            edition=data_edition,
            reference=changes.reference or task.reference,
            fields={**task.fields, **changes.fields},
            scorers=changes.scorers or task.scorers,
            primary=changes.primary or task.primary,
            groups=task.groups if groups is None else groups,
            data=task.editions[data_edition].changed(
                (changes.editions or {}).get(data_edition) or DataChange(), subset
            ),
            home=entry.path.parent,
            **{k: getattr(task, k) for k in _SAME_IN_TASK},
        )

    def model(self, name: str, edition: Edition) -> ModelSpec:
        """A model in one edition: the settings of its `extends` parent, then its own, then those of the edition; later
        ones win.

        Raises:
            AssetError: Its connector must be trained first; all other settings are valid.
        """
        model, adapter = self._merged(name)
        if model.editions and edition not in model.editions:
            raise unknown("edition", edition, model.editions, f"model {model.name}")
        selection = next((e for name, e in model.editions.items() if name == edition), ModelEdition())
        weights, untrained = {**model.weights, **selection.weights}, self.untrained(name, edition)
        assets_by_role = {
            r: assets.known(asset.asset()) if isinstance(asset, InlineWeights) else self.weights(asset)[0]
            for r, asset in weights.items()
            if not (untrained and r == CONNECTOR) and not (model.asr and r == "asr")
        }
        if untrained:
            raise AssetError(untrained)
        return ModelSpec(
            name=model.name,
            edition=edition if model.editions else None,
            adapter=adapter,
            description=model.description,
            citation=model.citation,
            licence=model.licence,
            args={**model.args, **selection.args},
            weights=assets_by_role,
            runtime=_overlay_runtime(model.runtime, selection.runtime),
            training=selection.training,
            server=model.server,
            asr=model.asr,
        )

    def untrained(self, name: str, edition: Edition) -> str:
        """The weights of a model that must be trained before it can be run, and the command; "" if there are none."""
        model, _ = self._merged(name)
        connectors: dict[Edition, str | InlineWeights] = {
            e: {**model.weights, **m.weights}.get(CONNECTOR, "") for e, m in model.editions.items()
        }
        command = model.editions[edition].trained_by if edition in model.editions else None
        here = [
            e for e, weights in connectors.items() if not isinstance(weights, str) or weights in self._all["weights"]
        ]
        if not command or edition in here:
            return ""
        return (
            f"model {model.name}, edition {edition}: weights {connectors[edition]!r} are not on this machine (looked in "
            f"{trained_folder()}). They are trained, not downloaded: {command}"
            + "".join(f"\nEdition {e} of it is here: --edition {e}." for e in here)
        )

    def _merged(self, name: str) -> tuple[ModelFile, str]:
        """The model file with the settings of its parent under its own, and the name of its adapter."""
        entry = self._find("model", name)
        model = cast(ModelFile, entry.spec)
        if model.extends is None:
            return model, cast(str, model.adapter)
        parent = cast(ModelFile, self._find("model", model.extends).spec)
        if parent.extends is not None:
            raise SpecError(
                f"{entry.path}: extends {parent.name!r}, which extends another model; one level is allowed."
            )
        # only editions that it lists: in any other it would equal its parent
        listed = {e: _overlay(parent.editions.get(e), edition) for e, edition in model.editions.items()}
        merged = model.model_copy(
            update={
                "args": {**parent.args, **model.args},
                "weights": {**parent.weights, **model.weights},
                "asr": model.asr or (None if "asr" in model.weights else parent.asr),
                "runtime": _overlay_runtime(parent.runtime, model.runtime),
                "server": parent.server.overlaid(model.server) if parent.server else model.server,
                "editions": listed or parent.editions,
            }
        )
        return merged, model.adapter or cast(str, parent.adapter)

    def weights_names(self) -> list[str]:
        return list(self._all["weights"])

    def weights(self, name: str) -> tuple[AssetSpec, Path]:
        """A weights spec, and the folder to which its `file:` sources are relative."""
        entry = self._find("weights", name)
        return assets.known(cast(AssetSpec, entry.spec)), entry.path.parent

    def home(self, asset: AssetSpec) -> Path:
        """The folder to which an asset's `file:` sources are relative; that of this process if the catalogue has no such name."""
        return entry.path.parent if (entry := self._all["weights"].get(asset.name)) else Path()

    def missing(self, models: Iterable[ModelSpec]) -> list[AssetSpec]:
        """The weights of models that are not on this machine, each once."""
        return [asset for asset in needed(models).values() if assets.locate(asset, self.home(asset)) is None]

    def known(self, model: ModelSpec) -> ModelSpec:
        """The model with the files of its weights, as far as they are known by now: see `ModelSpec.unknown`."""
        weights = {role: assets.known(asset) for role, asset in model.weights.items()} if model.unknown else {}
        return model.model_copy(update={"weights": weights}) if weights else model

    def fetch(self, models: Sequence[ModelSpec], progress: Progress) -> dict[str, Path]:
        """Weights name -> folder. Missing weights are announced with their size and downloaded."""
        if missing := self.missing(models):
            total, names = size(sum(asset.bytes for asset in missing)), ", ".join(asset.name for asset in missing)
            if any(asset.format != assets.TRANSFORMERS for asset in missing):
                progress.note(f"fetching {total} of weights into {assets.cache_folder()}: {names}")
        return {name: assets.ready(asset, self.home(asset), progress) for name, asset in needed(models).items()}

    def too_large(self, model: ModelSpec, device: str) -> str:
        """Why the weights of a model do not fit on a device, as far as it is known before they are loaded; "" if they do."""
        every = model.weights.values()
        folders = {asset.name: folder for asset in every if (folder := assets.locate(asset, self.home(asset)))}
        editions = self.model_editions(model.name) if self.has("model", model.name) else []
        return fit.problem(model, folders, device, editions) if every else ""

    def load(self, model: ModelSpec, progress: Progress) -> Adapter:
        """Build the adapter of a model, on the device that the spec and the machine allow.

        The weights are looked up now, not at the start of the command: a file that was replaced in the meantime does
        not fit the run's identity.

        Raises:
            AssetError: A weights file has changed.
            UserError: The device is not available.
        """
        device = provenance.device(model.runtime.device) if model.weights else "cpu"
        folders = self.fetch([model], progress)
        if text := self.too_large(model, device):
            raise UserError(text)
        if model.weights:
            slow = model.runtime.dtype == "bfloat16" and provenance.bfloat16(device).startswith("slow")
            where = f"on {device} in {model.runtime.dtype}{_SLOW if slow else ''}"
            progress.note(f"loading {model.name}{f' ({model.edition})' if model.edition else ''} {where}")
        table = adapters.BUILTIN | (adapters.SERVED if model.asr else {})
        adapter_class: Any = class_of(
            "adapter", model.adapter, table, self._installed
        )  # the Protocol has no constructor
        paths = {role: folders[asset.name] for role, asset in model.weights.items()}
        spends = {"budget": self.budget} if getattr(adapter_class, "takes_budget", False) else {}
        return cast(Adapter, adapter_class(model, paths, device, **spends))

    def training(self, model: ModelSpec) -> dict[str, Any]:
        """training.json beside a model's connector; empty if there is none, or if the connector of this name on this
        machine is another one."""
        connector = model.weights.get(CONNECTOR)
        if connector is None or connector.name not in self._all["weights"]:
            return {}
        spec, home = self.weights(connector.name)
        if [f.sha256 for f in spec.files] != [f.sha256 for f in connector.files]:
            return {}
        sources = [s.file for f in spec.files if f.path == "connector.safetensors" for s in f.sources if s.file]
        return training_record((home / sources[0]).parent) if sources else {}

    def declared(self, name: str) -> type[Adapter]:
        """A class with what an adapter declares (`accepts`, `version`, `chat`, settings, roles); it need not build one."""
        made = class_of("adapter", name, adapters.BUILTIN | adapters.DECLARED, self._installed)
        return cast("type[Adapter]", made)

    def adapter_for(self, model: ModelSpec) -> type[Adapter]:
        """What the adapter of a model declares. Settings and roles of weights are checked against what the class declares; a
        plugin may declare nothing.

        Raises:
            SpecError: A setting or a role is wrong. Nothing is loaded before.
        """
        adapter_class = self.declared(model.adapter)
        where = f"model {model.name}: adapter {model.adapter}"
        settings: Mapping[str, Any] = getattr(adapter_class, "settings", model.args)
        for name, value in model.args.items():
            if name not in settings:
                raise SpecError(f"{where} has no argument {name!r}; it takes {', '.join(settings) or 'none'}.")
            kind = type(settings[name])
            fits = isinstance(value, int | float if kind is float else kind) and isinstance(value, bool) == (
                kind is bool
            )
            if not fits:
                raise SpecError(f"{where}: argument {name} is {value!r}, not of type {kind.__name__}.")
        roles = getattr(adapter_class, "roles", ())
        if model.asr and "asr" not in (*roles, *getattr(adapter_class, "optional_roles", ())):
            raise SpecError(
                f"{where} takes no recogniser: remove `asr:`, or use the adapter asr, cascade or openai_chat."
            )
        missing = [role for role in roles if role not in model.weights and not (role == "asr" and model.asr)]
        if missing:
            raise SpecError(
                f"{where} needs weights of the role {missing[0]}; the model names {', '.join(model.weights) or 'none'}."
            )
        return adapter_class.for_model(model) if hasattr(adapter_class, "for_model") else adapter_class

    def scorer_weights(self, task: TaskSpec | TaskFile) -> list[str]:
        """Names of the weights that the scorers of a task need. Without them the task can be run, but these scorers cannot
        score it."""
        classes = {name: class_of("scorer", name, scorers.BUILTIN, self._installed) for name in task.scorers}
        return [weights for name, args in task.scorers.items() for weights in _weights_of(classes[name], args)]

    def scorers(self, task: TaskSpec, lenient: bool = False) -> dict[str, Scorer]:
        """Build the scorers of a task, so that a wrong setting is an error before a model is run.

        Args:
            task: The task.
            lenient: A scorer that lacks something on this machine becomes `Absent` instead of an error, for runs that
                were scored
                elsewhere.
        """
        built: dict[str, Scorer] = {}
        for name, args in task.scorers.items():
            scorer_class = class_of("scorer", name, scorers.BUILTIN, self._installed)
            asks = {"models": self} if getattr(scorer_class, "asks_model", False) else {}
            folders = {weights: assets.locate(*self.weights(weights)) for weights in _weights_of(scorer_class, args)}
            try:
                built[name] = scorer_class(task, **asks, **({"folders": folders} if folders else {}), **args)
            except TypeError as err:
                raise SpecError(f"task {task.name}: scorer {name} does not take {args} ({err}).") from err
            except MissingMeans as err:
                if not lenient:
                    raise
                built[name] = Absent(name, str(err))
            if getattr(built[name], "reads_answers", True) and scorers.NOT_SCORED not in built[name].signature:
                built[name].signature += f"|{cleaning.SIGNATURE}"
        return built


def needed(models: Iterable[ModelSpec]) -> dict[str, AssetSpec]:
    """All weights of some models by name, each once."""
    return {asset.name: asset for model in models for asset in model.weights.values()}


_SLOW = (
    ", for which it has no instructions: --dtype float32 is faster here, uses twice the memory and is a separate run"
)


def _weights_of(scorer: Any, args: Mapping[str, Any]) -> tuple[str, ...]:
    """The weights that a scorer needs with these settings, by its static method `needs` if it has one."""
    return tuple(scorer.needs(args)) if hasattr(scorer, "needs") else ()


_SAME_IN_TASK = (
    "version",
    "description",
    "citation",
    "licence",
    "suites",
    "prompt",
    "prompts",
    "system",
    "choices",
    "synonyms",
    "decode",
    "contrast",
    "speaker",
    "why",
)


def training_record(folder: Path) -> dict[str, Any]:
    """training.json beside a connector; empty if there is no such file."""
    path = folder / "training.json"
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise AssetError(f"{path}: cannot be read as JSON ({err}). Restore the file, or remove it.") from err
    if not isinstance(record, dict):
        raise AssetError(f"{path}: expected a JSON object, found {type(record).__name__}. Restore it, or remove it.")
    return record


def _overlay(under: ModelEdition | None, over: ModelEdition) -> ModelEdition:
    """One edition of a parent and of the model that extends it; keys of the latter win."""
    under = under or ModelEdition()
    return ModelEdition(
        args={**under.args, **over.args},
        weights={**under.weights, **over.weights},
        runtime=_overlay_runtime(under.runtime, over.runtime),
        training=over.training or under.training,
        trained_by=over.trained_by or (None if CONNECTOR in over.weights else under.trained_by),
    )


def _overlay_runtime(under: Runtime, over: Runtime) -> Runtime:
    return Runtime(**{**under.model_dump(exclude_unset=True), **over.model_dump(exclude_unset=True)})


# ---------------------------------------------------------------- what installed packages bring


def _plugin_folder(entry: EntryPoint) -> Path:
    """The folder of a package with YAML files."""
    try:
        module = entry.load()
    except Exception as err:  # a broken plugin may raise anything; the message names it
        raise UserError(
            f"plugin {entry.name} ({entry.value}) cannot be imported: {type(err).__name__}: {err}."
        ) from err
    return Path(str(files(module)))


def class_of(kind: str, name: str, builtin: dict[str, str], installed: EntryPoints | None = None) -> Any:
    """A class by name, from the built-in table or an entry point; two with one name are an error. `installed`: None: the
    entry points are read."""
    points = entry_points() if installed is None else installed
    plugins = {e.name: e for e in points.select(group=f"diva_bench.{kind}s")}
    clash = sorted(set(plugins) & set(builtin))
    if clash:
        raise UserError(
            f"{kind} {clash[0]!r} is built in and in {plugins[clash[0]].value}; rename the one in the plugin."
        )
    if name in plugins:
        try:
            return plugins[name].load()
        except Exception as err:  # as in _plugin_folder
            where = plugins[name].value
            raise UserError(f"{kind} {name!r} ({where}) cannot be imported: {type(err).__name__}: {err}.") from err
    if name not in builtin:
        raise unknown(kind, name, [*builtin, *plugins])
    module, _, attribute = builtin[name].partition(":")
    return getattr(import_module(module), attribute)
