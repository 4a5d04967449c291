"""The connector on disk: connector.safetensors, config.json, training.json. Nothing is pickled.

Matrices are stored as int8 with one float32 scale per row, everything else as float16: Whisper base's decoder takes 27
MB. training.json has the loss in score by this format. With 16 bits everything is float16, for weights from elsewhere
whose scores in int8 are unknown.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diva_bench.decoding.whisper import Whisper
from diva_bench.diva.config import ConnectorConfig
from diva_bench.diva.model import AnyConnector, build
from diva_bench.errors import AssetError

WINDOW = "30 s"  # under encoder.window of config.json; else the encoder sees the clip's own length
WEIGHTS = "connector.safetensors"
ENCODER = "encoder.safetensors"  # a further file if Whisper's encoder was trained too
_SCALE = ".scale"  # suffix of the row scales of an int8 matrix
_EXACT = "vocabulary."  # prefix of the weights that assign tokens to virtual tokens, stored in float32


def pack(state: dict[str, Tensor], bits: Literal[8, 16] = 8) -> dict[str, Tensor]:
    """float32 state dict -> int8 matrices with float32 row scales, float16 for the rest; with 16 bits float16 for
    everything, except the weights that assign tokens to virtual tokens."""
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        value = tensor.detach().float().cpu()
        if bits == 8 and value.ndim == 2 and name != "query_tokens":
            # not float16: projection weights of 1e-4 have scales of 1e-6, for which float16 has at most two digits
            scale = (value.abs().amax(1) / 127).clamp(min=1e-12)
            out[name] = (value / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
            out[name + _SCALE] = scale
        else:
            out[name] = value if name.startswith(_EXACT) else value.to(torch.float16)
    return out


def unpack(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `pack`, to float32."""
    return {
        name: value.float() * stored[name + _SCALE][:, None] if value.dtype == torch.int8 else value.float()
        for name, value in stored.items()
        if not name.endswith(_SCALE)
    }


def fingerprint(part: Whisper | Tensor) -> str:
    """Sixteen hex digits that identify a Whisper, or an LLM by its input embeddings, in whatever dtype they were loaded."""
    some = part[:16] if isinstance(part, Tensor) else part.encoder.conv1.weight
    as_stored = some.detach().cpu().to(torch.bfloat16).contiguous().view(torch.int16)
    return hashlib.sha256(as_stored.numpy().tobytes()).hexdigest()[:16]


def save(
    connector: AnyConnector,
    folder: Path,
    about: dict[str, Any],
    training: dict[str, Any],
    bits: Literal[8, 16] = 8,
) -> None:
    """Write the three files.

    Args:
        about: Names and fingerprints of `encoder` and `llm` in the training, which `fits` compares.
        training: The record of the training.
        bits: Of a matrix, see `pack`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(pack(connector.state_dict(), bits), folder / WEIGHTS)
    config = {"connector": asdict(connector.config), **about}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    (folder / "training.json").write_text(json.dumps(training, indent=1) + "\n", encoding="utf-8")


def save_encoder(encoder: nn.Module, folder: Path) -> None:
    """Store the weights of a trained encoder as float16, under transformers' names without "model.encoder."."""
    save_file({k: v.detach().half().cpu().contiguous() for k, v in encoder.state_dict().items()}, folder / ENCODER)


def load_encoder(folder: Path, whisper: Whisper) -> None:
    """Load a trained encoder's weights into a Whisper, if the folder has them. Raises AssetError if they do not fit."""
    if not (folder / ENCODER).exists():
        return
    try:
        stored = load_file(folder / ENCODER)
        whisper.encoder.load_state_dict({k: v.to(whisper.dtype) for k, v in stored.items()})
    except (OSError, RuntimeError, SafetensorError) as err:
        raise AssetError(f"{folder / ENCODER}: this is not the encoder of this Whisper ({err}).") from err


def load(folder: Path) -> AnyConnector:
    """Load a connector. Raises AssetError if a file is missing, damaged, or does not fit its config."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        connector = build(sizes(config["connector"]))
        connector.load_state_dict(unpack(load_file(folder / WEIGHTS)))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as err:
        raise AssetError(f"{folder}: this is not a connector that can be loaded ({err}).") from err
    return connector.eval().requires_grad_(False)


def sizes(stored: dict[str, Any]) -> ConnectorConfig:
    """`connector` of a config.json of any version: before there were time queries, `queries` was the number of learned
    queries."""
    if isinstance(stored["queries"], int):
        stored = {**stored, "queries": "learned", "max_queries": stored["queries"]}
    return ConnectorConfig(**stored)


def fits(folder: Path, encoder: Whisper, llm_embeddings: Tensor) -> bool:
    """Whether the encoder must get a full 30 s window.

    Raises:
        AssetError: The connector was trained with other models. With the same widths it would load, and give nonsense.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        trained = {part: (config[part]["weights"], config[part]["fingerprint"]) for part in ("encoder", "llm")}
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise AssetError(f"{folder / 'config.json'}: does not say what it was trained with ({err!r}).") from err
    for part, model in (("encoder", encoder), ("llm", llm_embeddings)):
        name, expected = trained[part]
        if (fingerprint_now := fingerprint(model)) != expected:
            raise AssetError(
                f"{folder}: this connector was trained with {part} {name} ({expected}), but is given another "
                f"({fingerprint_now}). "
                f"Name {name} under `weights: {part}` in the model's YAML."
            )
    return bool(config["encoder"].get("window") == WINDOW)
