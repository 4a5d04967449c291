"""Any metric of the Hugging Face `evaluate` library, as a scorer: `hf.<metric>`; with `keys`, `hf.<metric>.<key>`.

    scorers:
      hf_evaluate:
        metrics:
          - {metric: rouge, path: ../evaluate/metrics/rouge, keys: [rougeL], args: {use_stemmer: true}}
          - {metric: exact_match, revision: v0.4.6, args: {ignore_case: true}}

A single metric does not need `metrics:`: {hf_evaluate: {metric: rouge, ...}}. The package of the library contains no
metric. `path` is the module in a checkout of github.com/huggingface/evaluate, or your own, and needs no network;
without it the module comes from the Hub at `revision`. A hash of its code is in the signature. A named module is
executed, also by `diva-bench validate`, so read the modules in tasks of others first.

The score is the mean over the values of single answers, because only sums can be resampled. For metrics of answers
(exact_match, rouge, bertscore, meteor, squad) that is the metric itself. For corpus metrics (bleu, chrf, wer, f1 of
labels) it is not: `corpus` in summary.json has the library's value over all answers, without an interval, and our own
scorers (bleu, chrf, wer, labels) have the exact value with an interval. A metric without a value for one answer (a
correlation) is refused.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from diva_bench.errors import DataError, MissingMeans, SpecError
from diva_bench.scorers import answer, settings
from diva_bench.scorers.labels import UNPARSED, Labels
from diva_bench.specs import TaskSpec, digest
from diva_bench.stats import dense, ratio
from diva_bench.types import Floats, Response, Sample

_DEFAULTS: Final[dict[str, Any]] = {
    "metric": None,
    "path": None,
    "revision": None,
    "config": None,
    "name": None,
    "keys": None,
    "args": {},
    "scale": 100,
    "higher_is_better": True,
    "corpus": True,
}
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "metric": (str,),
    "path": (str, type(None)),
    "revision": (str, type(None)),
    "config": (str, type(None)),
    "name": (str, type(None)),
    "keys": (list, type(None)),
    "args": (dict,),
    "higher_is_better": (bool,),
    "corpus": (bool,),
}
CHECKOUT: Final = "git clone --branch v0.4.6 --depth 1 https://github.com/huggingface/evaluate"
_INPUTS = ("predictions", "references", "sources")


class HFEvaluate:
    """Metrics of the `evaluate` library. Statistics: hf.<name>#n answers, and the sum of values under the name of each
    metric.

    Settings of each metric:
    - `metric`: its name.
    - `path`, or `revision` and `config`: for `evaluate.load`.
    - `name`: its name here (default: `metric`).
    - `keys`: of its result (default: the only one, or the one named as the metric).
    - `args`: for its `compute`.
    - `scale`: factor of its values, 100 or 1.
    - `higher_is_better`.
    - `corpus`: whether its value over all answers is computed too.
    """

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        where = f"task {task.name}: scorers.hf_evaluate"
        if task.recorded:
            raise MissingMeans(
                f"{where}: the settings in the run name code to execute, and a run may be a stranger's: give the task's own "
                "YAML file with --path"
            )
        listed = args.get("metrics")
        if "metrics" in args and (not isinstance(listed, list) or len(args) > 1 or not listed):
            raise SpecError(
                f"{where}: give either `metrics`, a list of {{metric: NAME, ...}}, or one metric's settings."
            )
        metric_settings = (
            [_checked(one, task, f"{where}.metrics[{i}]") for i, one in enumerate(listed)]
            if listed
            else [_checked(args, task, where)]
        )
        self._metrics = [_Metric(one, task, where) for one in metric_settings]
        names = [name for m in self._metrics for name in m.names]
        if len(set(names)) < len(names):
            raise SpecError(
                f"{where}: two metrics are called {max(names, key=names.count)!r}; give one another `name`."
            )
        self.falls = frozenset(name for m in self._metrics if not m.higher_is_better for name in m.names)
        """Those of its metrics of which less is better."""
        primary = next((m for m in self._metrics if task.primary in m.names), None)
        self.higher_is_better = primary.higher_is_better if primary else True
        self.signature = "hf_evaluate|" + "; ".join(m.signature for m in self._metrics)

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        return {key: value for m in self._metrics for key, value in m.measure(sample, response).items()}

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """The mean of each key, on the scale of its setting."""
        return {name: value for m in self._metrics for name, value in m.reduce(totals).items()}

    def corpus(self, samples: Sequence[Sample], responses: Sequence[Response]) -> dict[str, float]:
        return {name: value for m in self._metrics for name, value in m.corpus(samples, responses).items()}


def _checked(values: object, task: TaskSpec, where: str) -> dict[str, Any]:
    """The settings of one metric with defaults. Raises SpecError if one is unknown or of a wrong type."""
    if not isinstance(values, dict):
        raise SpecError(f"{where} is {values!r}; it is the settings of one metric: {{metric: NAME, ...}}.")
    checked_values = {**_DEFAULTS, **{k: v for k, v in values.items() if k in _DEFAULTS}}
    allowed = {k: (100, 1) if k == "scale" else (v,) for k, v in checked_values.items()}
    checked_values = settings("hf_evaluate", task, values, allowed)
    if checked_values["metric"] is None:
        raise SpecError(f"{where} needs `metric`, the name of a metric of the evaluate library.")
    for key, kinds in _KINDS.items():
        if not isinstance(checked_values[key], kinds):
            raise SpecError(f"{where}.{key} is {checked_values[key]!r}; it is of type {kinds[0].__name__}.")
    if checked_values["path"] is None and checked_values["revision"] is None:
        raise SpecError(
            f"{where}: metric {checked_values['metric']!r} needs `path`, its module on this machine ({CHECKOUT}; then path: "
            f"evaluate/metrics/{checked_values['metric']}), or `revision`, the tag or commit of it on the Hub (such as v0.4.6)."
        )
    return checked_values


class _Metric:
    """One metric, loaded."""

    def __init__(self, options: Mapping[str, Any], task: TaskSpec, where: str) -> None:
        called = f"hf.{options['name'] or options['metric'].rpartition('/')[2]}"
        self._where = f"{where}: metric {options['metric']!r}"
        self._own, self._corpus = str(options["metric"]), bool(options["corpus"])
        self._keys: list[str] | None = options["keys"]
        self.names = [f"{called}.{key}" for key in self._keys] if self._keys else [called]
        self.higher_is_better: bool = options["higher_is_better"]
        self._n = f"{called}#n"
        self._args, self._scale = dict(options["args"]), float(options["scale"])
        self._module = self._load(options, task)
        self._options = self._fitting(task)
        self._choices = task.choices or ()
        self._labels = Labels(task) if _is_label(self._options[0]["predictions"]) else None
        self._cache: dict[str, dict[str, float]] = {}  # cache, because labels and short answers repeat
        fixed = {k: options[k] for k in ("config", "keys", "args", "scale", "higher_is_better")}
        labels = f"|{self._labels.signature}" if self._labels else ""
        self.signature = (
            f"{called}@{_code(self._module)[:8]}|{'local' if options['path'] else options['revision']}"
            f"|settings:{digest(fixed)[:8]}|agg:mean of answers|{'|'.join(_versions(self._module))}{labels}"
        )

    # ---- loading

    def _load(self, options: Mapping[str, Any], task: TaskSpec) -> Any:
        try:
            import evaluate
        except ImportError as err:
            raise MissingMeans(f"{self._where} needs the package evaluate, which is not installed: {err}.") from err
        place = options["metric"]
        if options["path"]:
            place = task.home / options["path"]
            if not (place / f"{place.name}.py").is_file() and not (place.is_file() and place.suffix == ".py"):
                raise MissingMeans(
                    f"{self._where}: {place} is no metric module (a .py file, or a folder with {place.name}.py in it). A "
                    f"checkout has them: {CHECKOUT}; then path: evaluate/metrics/{options['metric']}."
                )
        how = {"config_name": options["config"], "revision": options["revision"], "keep_in_memory": True}
        try:
            module = evaluate.load(str(place), **how)
        except ImportError as err:
            raise MissingMeans(f"{self._where} needs packages that are not installed: {err}.") from err
        except Exception as err:  # a metric's module is foreign code, and the Hub client has its own exceptions
            hub = (
                " The evaluate package has no metric in it, so a name alone needs the Hub. Without a network: "
                f"{CHECKOUT} where there is one, then path: evaluate/metrics/{options['metric']}."
            )
            hint = "" if options["path"] else hub
            kind = SpecError if options["path"] else MissingMeans  # a local module is wrong; one of the Hub is missing
            raise kind(f"{self._where} cannot be loaded ({type(err).__name__}: {err}).{hint}") from err
        takes = inspect.signature(module._compute).parameters
        names = [name for name in takes if name not in _INPUTS]
        strange = sorted(set(self._args) - set(names))
        if strange and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
            raise SpecError(f"{self._where} has no argument {strange[0]!r}; `args`: {', '.join(names) or 'none'}.")
        return module

    def _fitting(self, task: TaskSpec) -> list[dict[str, Any]]:
        """The input formats of the metric (it may have several) that the task can provide."""
        features = self._module.features
        options = [dict(o) for o in (features if isinstance(features, list) else [features])]
        usable = [o for o in options if set(o) <= set(_INPUTS)]
        labels = [o for o in usable if _is_label(o.get("predictions")) and _is_label(o.get("references"))]
        fitting = [o for o in usable if _is_text(o)] or labels
        if not fitting:
            raise SpecError(
                f"{self._where} takes {options[0]}; a task has answers in words or labels, references, and the words "
                "spoken as sources."
            )
        if fitting is labels and not task.choices:
            raise SpecError(f"{self._where} compares labels (whole numbers), and this task has no choices.")
        return fitting

    # ---- measuring

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        prediction, references = self._prediction(sample, response), list(sample.references)
        key = digest([prediction, references, sample.transcript])
        if key not in self._cache:
            self._cache[key] = self._measure(sample, prediction, references)
        return self._cache[key]

    def _measure(self, sample: Sample, prediction: str | int, references: list[str]) -> dict[str, float]:
        """If there are several references and the metric takes one, the best value counts, for each key separately."""
        option = self._option(len(references))
        each = [references] if _several(option["references"]) else [[r] for r in references]
        results = [self._compute(option, [sample], [prediction], [some]) for some in each]
        best = max if self.higher_is_better else min
        values = [best(r[i] for r in results) for i in range(len(self.names))]
        if not all(map(math.isfinite, values)):
            raise SpecError(
                f"{self._where} gives no finite number for one answer ({sample.id}): it is a metric of many answers, and "
                "cannot be averaged over them."
            )
        return {self._n: 1.0} | {name: value for name, value in zip(self.names, values, strict=True) if value}

    def _option(self, references: int) -> dict[str, Any]:
        """The first format that takes this number of references, else the first."""
        return next((o for o in self._options if references == 1 or _several(o["references"])), self._options[0])

    def _prediction(self, sample: Sample, response: Response) -> str | int:
        """The prediction: text, or the number of the predicted label, -1 if the answer names none."""
        if self._labels is None:
            return answer(response)
        self._labels.check(sample)
        label = self._labels.decided(response)["label"]
        return -1 if label == UNPARSED else self._choices.index(label)

    def _compute(
        self,
        option: Mapping[str, Any],
        samples: Sequence[Sample],
        predictions: Sequence[str | int],
        references: Sequence[list[str]],
    ) -> list[float]:
        """The unscaled value of each name for these answers together."""
        squad = isinstance(option["predictions"], Mapping)
        shaped = [self._reference(option["references"], r, s) for r, s in zip(references, samples, strict=True)]
        inputs: dict[str, Any] = {
            "predictions": [{"id": s.id, "prediction_text": p} for p, s in zip(predictions, samples, strict=True)]
            if squad
            else list(predictions),
            "references": shaped,
        }
        if "sources" in option:
            inputs["sources"] = [_source(s, self._where) for s in samples]
        try:
            result = self._module.compute(**inputs, **self._args)
        except Exception as err:  # foreign code
            raise SpecError(f"{self._where} failed at {samples[0].id} ({type(err).__name__}: {err}).") from err
        return self._values(result)

    def _reference(self, feature: Any, references: list[str], sample: Sample) -> Any:
        if self._labels is not None:
            return self._choices.index(references[0])  # Labels.check has verified that it is one of the choices
        if isinstance(feature, Mapping):  # the format of SQuAD
            return {"id": sample.id, "answers": {"text": references, "answer_start": [0] * len(references)}}
        return references if _several(feature) else references[0]

    def _values(self, result: Mapping[str, Any] | None) -> list[float]:
        """The values of the selected keys; a list (bertscore gives one value per answer) counts as its mean."""
        numbers: dict[str, float] = {}
        for key, value in (result or {}).items():
            flat = np.asarray(value) if not isinstance(value, (str, Mapping)) else np.asarray([])
            if flat.size and flat.dtype.kind in "biuf" and (flat.ndim == 0 or key in (self._keys or ())):
                numbers[key] = float(flat.mean())
        selection = self._keys or ([self._own] if self._own in numbers else list(numbers))
        there = ", ".join(result or {}) or "nothing"
        if missing := [key for key in selection if key not in numbers]:
            raise SpecError(f"{self._where} gives no number {missing[0]!r}; it gives {there}.")
        if len(selection) != len(self.names):
            raise SpecError(f"{self._where} gives {there}: name those to report in `keys`.")
        return [numbers[key] for key in selection]

    # ---- scores

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        if self._n not in totals:
            return {}
        sums = dense(totals, self.names)
        return {name: self._scale * ratio(sums[..., i], totals[self._n]) for i, name in enumerate(self.names)}

    def corpus(self, samples: Sequence[Sample], responses: Sequence[Response]) -> dict[str, float]:
        """Empty if it was not requested, and if answers have several references but the metric takes one."""
        counts = {len(s.references) for s in samples}
        option = self._option(max(counts, default=1))
        if not self._corpus or not samples or (counts != {1} and not _several(option["references"])):
            return {}
        predictions = [self._prediction(s, r) for s, r in zip(samples, responses, strict=True)]
        values = self._compute(option, samples, predictions, [list(s.references) for s in samples])
        scores = {name: self._scale * value for name, value in zip(self.names, values, strict=True)}
        return {name: value for name, value in scores.items() if math.isfinite(value)}


# ---------------------------------------------------------------- what a metric module takes and is made of


def _is_text(option: Mapping[str, Any]) -> bool:
    prediction_type, reference_type = option.get("predictions"), option.get("references")
    if isinstance(prediction_type, Mapping):
        return set(prediction_type) == {"id", "prediction_text"}
    inner = getattr(reference_type, "feature", reference_type)
    return all(getattr(feature, "dtype", None) in ("string", "large_string") for feature in (prediction_type, inner))


def _is_label(feature: Any) -> bool:
    return str(getattr(feature, "dtype", "")).startswith(("int", "uint"))


def _several(feature: Any) -> bool:
    """Whether a feature holds all references of an answer: a list, or the format of SQuAD."""
    return isinstance(feature, Mapping) or hasattr(feature, "feature")


def _source(sample: Sample, where: str) -> str:
    if sample.transcript is None:
        raise DataError(f"sample {sample.id} has no transcript, which {where} takes as its source.")
    return sample.transcript


def _files(module: Any) -> list[Path]:
    """The Python files of a metric, which evaluate has copied into a folder."""
    return sorted(Path(inspect.getfile(type(module))).parent.glob("*.py"))


def _code(module: Any) -> str:
    """Hash of a metric's code."""
    state = hashlib.sha256()
    for file in _files(module):
        state.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return state.hexdigest()


@cache
def _owners() -> Mapping[str, list[str]]:
    """Module -> the packages that contain it. Cached, because it reads the files of all installed packages."""
    return packages_distributions()


def _versions(module: Any) -> list[str]:
    """The versions of evaluate and of every package that the metric's files import."""
    owners = _owners()
    names = {"evaluate"}
    for file in _files(module):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    packages = {owners[name][0] for name in names if name in owners} - {"datasets"}  # only passes the inputs on
    return [f"{name}:{version(name)}" for name in sorted(packages)]
