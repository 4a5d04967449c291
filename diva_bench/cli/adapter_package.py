"""`new adapter`: the files of a package that adds an adapter and a model to diva-bench, with its test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from diva_bench.adapters import BUILTIN
from diva_bench.catalog import Catalog
from diva_bench.cli.streams import say, write_file
from diva_bench.errors import UserError
from diva_bench.printable import visible

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def new_adapter(name: str, folder: Path, paths: Sequence[Path]) -> None:
    """Write the package.

    Raises:
        UserError: The name is not allowed or in use, or the folder exists or cannot be written.
    """
    if not _NAME.fullmatch(name) or len(name) > 50:
        raise UserError(
            f"name: {visible(name)!r} cannot be the name of a package. Allowed: small letters, digits and single hyphens, "
            "first a letter, at most 50 characters, such as my-model."
        )
    if name in BUILTIN or name in {entry.name for entry in entry_points(group="diva_bench.adapters")}:
        raise UserError(f"name: there is an adapter {name!r} already. Choose another name.")
    if Catalog(paths).has("model", name):
        raise UserError(f"name: there is a model {name!r} already. Choose another name.")
    if folder.exists():
        raise UserError(f"{folder}: already exists. Give another folder with --output, or move it away.")
    module = f"diva_bench_{name.replace('-', '_')}"
    class_name = "".join(part.capitalize() for part in name.split("-"))
    words = {"NAME": name, "MODULE": module, "CLASS": class_name}

    def filled(text: str) -> str:
        return re.sub("|".join(words), lambda match: words[match[0]], text)

    for place, text in _FILES.items():
        file = folder / filled(place)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise UserError(
                f"{folder}: cannot be written ({err.strerror}). Give another folder with --output."
            ) from err
        write_file(file, filled(text), "--output")
        say(f"{file}: written")
    say(f"Install it:      pip install -e {folder}")
    say(f"Test it:         pytest {folder}")
    say(f"Check the model: diva-bench doctor --model {name}")
    say(f"Run it:          diva-bench run --model {name} --task heysquad --limit 4")


_CODE = '''"""An adapter for diva-bench. Its YAML file is in models/ beside this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diva_bench.specs import ModelSpec
from diva_bench.types import Request, Response


class CLASS:
    accepts = frozenset({"audio"})  # of: audio, text, choices
    version = "1"  # increase it when the same request gets another answer
    max_seconds = 30.0  # a longer clip is unsupported
    settings = {"ending": "."}  # `args` of the YAML file, with their defaults

    def __init__(self, spec: ModelSpec, paths: Mapping[str, Path], device: str) -> None:
        """Load the model here: `paths` has the folders of its weights, `spec.runtime.dtype` its number format."""
        self.ending = str({**self.settings, **spec.args}["ending"])

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        """One response for each request, in the same order."""
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Response:
        if request.audio is None:
            return Response(request.id, status="unsupported", detail="this sample has no audio")
        if request.audio.seconds > self.max_seconds:
            detail = f"audio is {request.audio.seconds:.1f} s; this model takes at most {self.max_seconds:.0f} s"
            return Response(request.id, status="unsupported", detail=detail)
        # Replace this by your model: request.audio.samples is mono float32 at 16 kHz, request.prompt the question.
        return Response(request.id, text=f"I heard {request.audio.seconds:.1f} seconds{self.ending}")

    def close(self) -> None:
        """Free memory. It can be called twice."""
'''

_PYPROJECT = """# A package that adds an adapter and a model to diva-bench.
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "diva-bench-NAME"
version = "0.1.0"
description = "The adapter NAME for diva-bench."
requires-python = ">=3.11"
dependencies = ["diva-bench"]

[project.entry-points."diva_bench.adapters"]
NAME = "MODULE:CLASS"

[project.entry-points."diva_bench.specs"]
NAME = "MODULE"
"""

_MODEL = """name: NAME
adapter: NAME
description: Says how long the clip is.
args: {ending: "."}
runtime: {dtype: float32}
"""

_TEST = '''"""The installed adapter keeps the contract of diva-bench."""

from diva_bench.catalog import Catalog
from diva_bench.testing import check_adapter
from diva_bench.types import Silent


def test_the_adapter_keeps_the_contract() -> None:
    catalog = Catalog()
    check_adapter(catalog.load(catalog.model("NAME", "full"), Silent()))
'''

_FILES = {
    "pyproject.toml": _PYPROJECT,
    "MODULE/__init__.py": _CODE,
    "MODULE/models/NAME.yaml": _MODEL,
    "tests/test_MODULE.py": _TEST,
}
"""Path -> text. NAME, MODULE and CLASS are replaced."""
