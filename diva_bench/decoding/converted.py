"""What a reader of a weights format gives to convert.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Converted:
    """A model on its way to disk. `parts`: whatever else has `save_pretrained` (tokenizer, feature extractor, ...)."""

    architecture: Any
    """The transformers class."""
    config: Any
    weights: dict[str, Tensor]
    parts: tuple[Any, ...]
