"""The schemas of YAML files for tasks, models and weights, and the hashes that identify them.

A YAML file is data: no code, no dotted paths, no environment variables. An unknown key is an error with file, line, the
allowed names and the nearest one. A `TaskFile` or `ModelFile` is the content of a file; a `TaskSpec` or `ModelSpec` is
one subset and edition of it: flat, frozen, and hashable.
"""

from diva_bench.specs.data import ROLES, DataChange, DataSpec, Hub, Speech
from diva_bench.specs.model import (
    IN_MEMORY,
    PATTERNS,
    AssetFile,
    AssetSpec,
    InlineWeights,
    ModelEdition,
    ModelFile,
    ModelSpec,
    Runtime,
    Source,
)
from diva_bench.specs.schema import Edition, Json, digest, digest_of_rows, models_of
from diva_bench.specs.server import Prices, ServedAsr, Server
from diva_bench.specs.task import (
    CODE,
    FIELD,
    MEMORY,
    Decode,
    Subset,
    TaskFile,
    TaskSpec,
    templates,
)

__all__ = [
    "CODE",
    "FIELD",
    "IN_MEMORY",
    "MEMORY",
    "PATTERNS",
    "ROLES",
    "AssetFile",
    "AssetSpec",
    "DataChange",
    "DataSpec",
    "Decode",
    "Edition",
    "Hub",
    "InlineWeights",
    "Json",
    "ModelEdition",
    "ModelFile",
    "ModelSpec",
    "Prices",
    "Runtime",
    "ServedAsr",
    "Server",
    "Source",
    "Speech",
    "Subset",
    "TaskFile",
    "TaskSpec",
    "digest",
    "digest_of_rows",
    "models_of",
    "templates",
]
