"""The YAML schemas: what a task, a model and a weights file may say, and the hashes that identify them.

A YAML file is data: no code, no dotted paths, no environment look-ups; unknown keys are errors with file, line, the
allowed names and the nearest one. A `TaskFile` or `ModelFile` is what stands in the file; a `TaskSpec` or `ModelSpec`
is what is left when one subset and one edition are chosen: flat, frozen, and hashable.
"""

from diva_bench.specs.data import ROLES, DataChange, DataSpec, Hub, Speech
from diva_bench.specs.model import IN_MEMORY, AssetFile, AssetSpec, ModelEdition, ModelFile, ModelSpec, Runtime, Source
from diva_bench.specs.schema import Edition, Json, digest, digest_of_rows
from diva_bench.specs.task import FIELD, MEMORY, Decode, Subset, TaskFile, TaskSpec

__all__ = [
    "FIELD",
    "IN_MEMORY",
    "MEMORY",
    "ROLES",
    "AssetFile",
    "AssetSpec",
    "DataChange",
    "DataSpec",
    "Decode",
    "Edition",
    "Hub",
    "Json",
    "ModelEdition",
    "ModelFile",
    "ModelSpec",
    "Runtime",
    "Source",
    "Speech",
    "Subset",
    "TaskFile",
    "TaskSpec",
    "digest",
    "digest_of_rows",
]
