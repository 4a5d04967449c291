"""Tensors of safetensors files by name: only what is asked for is read, and it is in memory once.

A tensor of such a file is a view of it, whose pages count as memory of the process while the file is open. So it is copied,
and a file is opened anew after every few tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from diva_bench.errors import AssetError

_AT_ONCE = 4
"""Tensors that are read before a file is opened anew; the largest of Whisper large have 26 MB in float32."""


def contents(source: Path) -> dict[str, Path]:
    """Tensor name -> the file that has it, of a .safetensors file or a folder as Hugging Face has it.

    In a folder: model.safetensors, else what model.safetensors.index.json says, else the first shard, the only one that
    the reference code of DiVA opens. The index comes second: the 8B repository once renamed its first shard to
    model.safetensors ("Safetensor Rename", 2024-10-26).

    Raises:
        AssetError: There are no such files, or one is damaged.
    """
    if not source.is_dir():
        return dict.fromkeys(_names(source), source)
    index = source / "model.safetensors.index.json"
    whole, shards = source / "model.safetensors", sorted(source.glob("model-00001-of-*.safetensors"))
    if not whole.is_file() and index.is_file():
        try:
            table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            files = {str(name): Path(str(file)) for name, file in table.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
            raise AssetError(f"{index}: this is not an index of safetensors files ({err!r}). Fetch it again.") from err
        if outside := [str(file) for file in files.values() if len(file.parts) != 1 or file.suffix != ".safetensors"]:
            raise AssetError(f"{index}: names {outside[0][:80]!r}, which is no safetensors file of this folder.")
        return {name: source / file for name, file in files.items()}
    some = [whole] if whole.is_file() else shards[:1]
    if not some:
        raise AssetError(
            f"{source}: no weights in this folder. It needs model.safetensors, model.safetensors.index.json or "
            "model-00001-of-....safetensors."
        )
    return dict.fromkeys(_names(some[0]), some[0])


def load(
    files: Mapping[str, Path],
    names: Collection[str],
    *,
    rows: int | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Tensors by name, each from its file; the files' other tensors stay on the disk.

    Args:
        files: As `contents` returns it.
        rows: At most this number of rows of each.
        dtype: None: as stored.

    Raises:
        AssetError: A file is missing or damaged.
    """
    out: dict[str, Tensor] = {}
    for file in dict.fromkeys(files[name] for name in names):
        here = [name for name in names if files[name] == file]
        for at in range(0, len(here), _AT_ONCE):
            try:
                with safe_open(file, framework="pt") as stored:
                    for name in here[at : at + _AT_ONCE]:
                        view = stored.get_tensor(name) if rows is None else stored.get_slice(name)[:rows]
                        out[name] = view.to(device, dtype or view.dtype, copy=True)
                        del view
            except (OSError, SafetensorError) as err:
                raise _unreadable(file, err) from err
    return out


class _NoInitialValues(TorchFunctionMode):
    """Functions of torch.nn.init return their tensor as it is."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **kwargs or {})


@contextmanager
def shapes_only() -> Iterator[None]:
    """Modules that are built within have shapes and no values, until `fill`.

    On the device `meta` alone, nn.Embedding would still draw its values; torch does that by importing torch._dynamo, which
    takes as long as torch itself.
    """
    with torch.device("meta"), _NoInitialValues():
        yield


def fill(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a module that was built within `shapes_only` its weights without a copy. Raises RuntimeError if names or shapes
    do not fit."""
    module.load_state_dict(dict(state), assign=True)
    module.eval().requires_grad_(False)


def _names(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as stored:
            return list(stored.keys())
    except (OSError, SafetensorError) as err:
        raise _unreadable(file, err) from err


def _unreadable(file: Path, err: Exception) -> AssetError:
    if not file.exists():
        return AssetError(f"{file}: no such file. Give a .safetensors file, or a folder with all files that it names.")
    return AssetError(f"{file}: this is not a whole safetensors file ({err}). Fetch it again.")
