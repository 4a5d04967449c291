"""The checkpoint of a running training: one safetensors file with everything that the next step depends on.

The sampler is a function of step and seed, so the step number is its state. The file is replaced atomically: after a
kill or with a full disk the last complete one stays. Nothing is pickled.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from diva_bench import disk
from diva_bench.diva.config import TrainConfig
from diva_bench.errors import StoreError

NAME = "resume.safetensors"
_ADAM = ("exp_avg", "exp_avg_sq", "step")


def save(output: Path, trained: nn.Module, optimiser: torch.optim.Optimizer, facts: dict[str, Any]) -> None:
    """Write the checkpoint. `facts` is JSON: step, log, running means, compute."""
    tensors: dict[str, Tensor] = {f"weights.{k}": v for k, v in trained.state_dict().items()}
    for name, parameter in trained.named_parameters():
        held = optimiser.state.get(parameter, {})
        tensors |= {f"optimiser.{name}.{k}": held[k] for k in _ADAM if k in held}
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    aside = output / f"{NAME}.tmp"
    tensors_on_cpu = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    try:
        save_file(tensors_on_cpu, aside, {"facts": json.dumps(facts)})
        disk.sync(aside)
        aside.replace(output / NAME)
    except (OSError, SafetensorError) as err:
        aside.unlink(missing_ok=True)
        step = facts.get("step")
        raise StoreError(
            f"{output / NAME}: the checkpoint of step {step} cannot be written ({err}). The one before it is kept: make "
            "room and run the same command again."
        ) from err


def load(
    output: Path, trained: nn.Module, optimiser: torch.optim.Optimizer, config: dict[str, Any]
) -> dict[str, Any] | None:
    """Restore the state and return the facts; None if there is no checkpoint.

    Raises:
        StoreError: It cannot be read, or `config` differs from its settings.
    """
    path = output / NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
            _same(path, facts["config"], config)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        trained.load_state_dict({k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")})
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as err:
        raise StoreError(
            f"{path}: this checkpoint cannot be read, or is of another connector ({err}). Give another --output, or delete "
            "it to start anew."
        ) from err
    for name, parameter in trained.named_parameters():
        held = {k: tensors[f"optimiser.{name}.{k}"] for k in _ADAM if f"optimiser.{name}.{k}" in tensors}
        if held:
            # the step count is where the optimiser needs it; the moments are on the device of the parameter
            optimiser.state[parameter] = {k: v if k == "step" else v.to(parameter.device) for k, v in held.items()}
            if optimiser.defaults.get("fused") and parameter.device.type == "cuda":
                optimiser.state[parameter]["step"] = held["step"].to(parameter.device)
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    return facts


def _same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Compare the settings. A setting that did not exist at the start had its current default."""
    defaults = {f.name: f.default for f in fields(TrainConfig) if f.default is not MISSING}
    before = {**{name: defaults[name] for name in now if name in defaults}, **before}
    changed = [f"{k} {before.get(k)} -> {now.get(k)}" for k in sorted({*before, *now}) if before.get(k) != now.get(k)]
    if changed:
        raise StoreError(
            f"{path}: this training was begun with other settings ({', '.join(changed)}). Give another --output, or delete "
            "this file to start anew."
        )


def write_log(output: Path, log: list[dict[str, Any]]) -> None:
    """Rewrite metrics.jsonl, so that rows after the last checkpoint of a killed run do not appear twice."""
    aside = output / "metrics.tmp"
    aside.write_text("".join(json.dumps(row) + "\n" for row in log), encoding="utf-8")
    aside.replace(output / "metrics.jsonl")
