"""Load a model of transformers from a folder: straight to its device, in a number format, spread or quantised."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from diva_bench.errors import AssetError, UserError


def from_folder(
    kind: Any,
    folder: Path,
    device: str,
    dtype: str,
    *,
    bits: int | None = None,
    device_map: str | None = None,
) -> Any:
    """A model in evaluation mode. On a GPU its tensors go there one by one: the machine never holds all of them.

    Args:
        kind: A class of transformers with `from_pretrained`, or one of its Auto classes.
        dtype: float32, bfloat16 or float16.
        bits: 8 or 4: of the matrices, by bitsandbytes; None: as `dtype`.
        device_map: auto, balanced or sequential: spread over all GPUs; None: on `device`.

    Raises:
        AssetError: Tensors are missing.
        UserError: bitsandbytes is missing, or there is no GPU to spread over, or too little room on them.
    """
    from transformers import logging as says

    says.disable_progress_bar()  # type: ignore[no-untyped-call]
    told = says.get_verbosity()
    settings: dict[str, Any] = {"dtype": getattr(torch, dtype), "use_safetensors": True, "local_files_only": True}
    if device_map:
        if not torch.cuda.is_available():
            raise UserError(f"device_map: {device_map} spreads an LLM over GPUs, and there is none. Leave it out.")
        settings["device_map"] = device_map
    elif device != "cpu":
        settings["device_map"] = {"": device}
    if bits:
        settings["quantization_config"] = _quantised(bits, dtype)
    says.set_verbosity_error()  # type: ignore[no-untyped-call]  # a table of all tensors that are not used, as those of a speech output
    try:
        model, info = kind.from_pretrained(folder, **settings, output_loading_info=True)
    finally:
        says.set_verbosity(told)
    if device_map:
        _check_spread(model, folder, device_map)
    if missing := sorted(info["missing_keys"]):  # transformers would fill them at random
        raise AssetError(
            f"{folder}: its weights lack {len(missing):,} tensors of {kind.__name__}, such as {missing[0]}. Remove the folder "
            "and pull it again."
        )
    return model.eval()


def _check_spread(model: Any, folder: Path, device_map: str) -> None:
    """Raises UserError if tensors were left on the CPU or the disk. They would be moved at every step, and embeddings, which
    are looked up without the model's own code, would not be there at all."""
    names = [name for name, _ in model.named_parameters()]
    left = [name for name, tensor in model.named_parameters() if tensor.device.type in ("cpu", "meta")]
    if left:
        raise UserError(
            f"device_map: {device_map} found no room on the GPUs for {len(left):,} of the {len(names):,} tensors of "
            f"{folder.name}, such as {left[0]}, and left them on the CPU or on the disk, where they cannot be used. Free memory "
            "of the GPUs, set `bits: 8` or `bits: 4` in the `runtime` of the model, or take a smaller model."
        )


def _quantised(bits: int, dtype: str) -> Any:
    """The settings of bitsandbytes."""
    if find_spec("bitsandbytes") is None:
        raise UserError(f"bits: {bits} needs a package that is not installed: pip install 'diva-bench[bits]'")
    from transformers import BitsAndBytesConfig

    # it tells at every product of matrices that numbers are cast to float16
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, dtype)
    )
