"""Whether the weights of a model fit into the memory of a device, before they are fetched or loaded. Sizes are in bytes."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diva_bench.disk import size
from diva_bench.provenance import device_memory
from diva_bench.specs import ModelSpec

LLM = "llm"
"""The role that `bits` and `device_map` of a runtime are for."""
_WIDTHS: Mapping[str, float] = {"float32": 4, "bfloat16": 2, "float16": 2}
_HEADER = 100_000_000  # the largest header that safetensors itself reads
_KEPT = ("embed_tokens", "lm_head", "norm", "bias")  # stays in 16 bit where the other matrices have 8 or 4
_READ: Mapping[str, tuple[str, ...]] = {
    "encoder": ("model.encoder.",),
    "connector": ("query_tokens", "projection.", "connector.", "layers.", "embed_positions.", "layer_norm."),
}
"""Role -> how the names of the tensors begin that are read of its files; of other roles, all."""
_NEVER_READ = "connector.embed_tokens.weight"


def needs(model: ModelSpec, folders: Mapping[str, Path]) -> dict[str, int]:
    """Role -> bytes of its weights on the device: by the headers of its files where they are here, else by what its YAML
    states; roles of which neither is known are left out.

    Args:
        folders: Weights name -> folder.
    """
    runtime, found = model.runtime, {}
    for role, asset in model.weights.items():
        bits = runtime.bits if role == LLM else None
        if folder := folders.get(asset.name):
            kept, other = _parameters(folder, role, bool(bits))
        else:
            kept, other = 0, asset.parameters.get(role, 0)
        if kept + other:
            width = _WIDTHS[runtime.dtype]
            found[role] = int(kept * width + other * (bits / 8 if bits else width))
    return found


def problem(model: ModelSpec, folders: Mapping[str, Path], device: str, editions: Sequence[str]) -> str:
    """Why a model does not fit, with numbers and what to try; "" if it does, or if that is not known.

    Args:
        device: "cpu", "cuda:0", ...: of `provenance.device`.
        editions: Of the model.
    """
    sizes = needs(model, folders)
    total, free = device_memory(None if model.runtime.device_map else device)
    needed = sum(sizes.values())
    if not total or needed <= free:
        return ""
    parts = ", ".join(f"{role} {size(count)}" for role, count in sizes.items())
    where = "all GPUs together have" if model.runtime.device_map else f"{device} has"
    room = f"{size(total)}" + (f", of which {size(free)} are free" if needed <= total or free < 0.9 * total else "")
    named = f"model {model.name}" + (f" ({model.edition})" if model.edition else "")
    tries = _tries(model, folders, device, editions, free)
    return f"{named} needs {size(needed)} for its weights ({parts}; {_form(model)}); {where} {room}. " + (
        f"Try {'; or '.join(tries)}." if tries else "Try a machine with more memory."
    )


def _form(model: ModelSpec) -> str:
    return model.runtime.dtype + (f", llm in {model.runtime.bits} bit" if model.runtime.bits else "")


def _tries(model: ModelSpec, folders: Mapping[str, Path], device: str, editions: Sequence[str], free: int) -> list[str]:
    """What would fit, by the same numbers."""
    runtime, tries = model.runtime, []

    def with_(**changes: Any) -> int:
        other = model.model_copy(update={"runtime": runtime.model_copy(update=changes)})
        return sum(needs(other, folders).values())

    if runtime.dtype == "float32" and (count := with_(dtype="bfloat16")) <= free:
        tries.append(f"--dtype bfloat16 ({size(count)})")
    if device.startswith("cuda") and LLM in model.weights:
        fits = [bits for bits in (8, 4) if (runtime.bits or 16) > bits and with_(bits=bits) <= free]
        if fits:
            tries.append(
                f"a YAML with `extends: {model.name}` and `runtime: {{bits: {fits[0]}}}` ({size(with_(bits=fits[0]))})"
            )
        if not runtime.device_map and device_memory(None)[1] >= sum(needs(model, folders).values()):
            tries.append("one with `runtime: {device_map: auto}`, which spreads the LLM over all GPUs")
    if device == "cpu" and device_memory("cuda:0")[1] >= sum(needs(model, folders).values()):
        tries.append("--device cuda:0")
    smaller = [edition for edition in editions if edition != "full"]
    if model.edition == "full" and smaller:
        tries.append(f"--model-edition {smaller[0]}")
    return tries


def _parameters(folder: Path, role: str, split: bool) -> tuple[int, int]:
    """(parameters that keep 16 bit, the others) of the tensors that a role reads of a folder; without `split` all are others."""
    kept = other = 0
    for file in sorted(folder.glob("*.safetensors")):
        for name, shape in _shapes(file).items():
            prefixes = _READ.get(role, ("",))
            if name.startswith(prefixes) and name != _NEVER_READ:
                count = math.prod(shape)
                if split and (len(shape) < 2 or any(part in name for part in _KEPT)):
                    kept += count
                else:
                    other += count
    return kept, other


def _shapes(file: Path) -> dict[str, list[int]]:
    """Tensor name -> shape, by the header of a safetensors file; empty if it has none. What is damaged is told when it is
    loaded."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length)) if length <= _HEADER else {}
        return {str(name): [int(n) for n in facts["shape"]] for name, facts in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return {}
