"""Turn downloaded weights into a folder that `from_pretrained` reads: safetensors, config, tokenizer, chat template.

Two formats: "ctranslate2-whisper" (model.bin, config.json, tokenizer.json) and "gguf" (one file with everything). A
module for each reads it into a `Converted`. All names and shapes are compared with the architecture before writing, so
that the folder can be loaded without missing or unexpected keys. The weights are in memory only once.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diva_bench.errors import AssetError, unknown

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = {
    "ctranslate2-whisper": "diva_bench.weights.from_ct2:read_whisper",
    "gguf": "diva_bench.weights.from_gguf:read_llm",
}
"""Format -> what reads it: a function of the folder with the files that gives a `Converted`."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted model before it is written. `parts`: other objects with `save_pretrained` (tokenizer, feature extractor,
    ...)."""

    architecture: Any
    """The transformers class."""
    config: Any
    weights: dict[str, Tensor]
    parts: tuple[Any, ...]


def convert(format: str, source: Path, target: Path) -> None:
    """Convert the files in folder `source` to a folder `target` for transformers.

    `target` is written directly: give a temporary name, and rename it afterwards. Nothing is written before everything
    has been read and checked.

    Raises:
        AssetError: A file is missing, damaged, or has an unknown model.
    """
    if format not in FORMATS:
        raise unknown("weights format", format, FORMATS)
    module, _, name = FORMATS[format].partition(":")
    _write(getattr(import_module(module), name)(source), source, target)


def _write(model: Converted, source: Path, target: Path) -> None:
    from safetensors.torch import save_file

    _check(model, source)
    target.mkdir(parents=True, exist_ok=True)
    for part in (model.config, *model.parts):
        part.save_pretrained(target)
    save_file(model.weights, target / "model.safetensors", metadata={"format": "pt"})


def _check(model: Converted, source: Path) -> None:
    """Check for every weight of the architecture, and no others; a tied output matrix is stored once, under the input's
    name."""
    import torch

    with torch.device("meta"):
        empty = model.architecture._from_config(model.config)
    expected = {name: tuple(value.shape) for name, value in empty.state_dict().items()}
    output = next((n for n, m in empty.named_modules() if m is empty.get_output_embeddings()), "")
    if model.config.tie_word_embeddings:
        del expected[f"{output}.weight"]
    shapes = {name: tuple(value.shape) for name, value in model.weights.items()}
    if shapes != expected:
        wrong = sorted(n for n in shapes.keys() | expected.keys() if shapes.get(n) != expected.get(n))
        listing = "; ".join(
            f"{n}: found {shapes.get(n, 'none')}, expected {expected.get(n, 'none')}" for n in wrong[:5]
        )
        raise AssetError(
            f"{source}: {len(wrong)} weights do not fit {model.architecture.__name__}: {listing}. "
            "The file is damaged or of another architecture; delete it and pull it again."
        )
