"""Read the published DiVA checkpoints, and convert connectors to their layout.

The layout is the one that the authors' loader reads: modeling_diva.py in WillHeld/DiVA-llama-3-v0-8b and in their other
repositories on Hugging Face. Their training code wrote it (levanter, branch will/distill of Helw150/levanter):

    query_tokens         (Q, D)
    projection.weight    (D, E); the loader transposes it for an nn.Linear(D, E)
    projection.bias      (E,)
    connector.*          a WhisperDecoder with the names of transformers. The loader is strict, so all layers must be
                         there, all embed_positions (P, D), and embed_tokens (V, D), although queries do not use it
    encoder.*, decoder.* Whisper's encoder and the LLM; not read here, because they are separate weights

Shapes: Q queries, D width of Whisper, E width of the LLM, P positions of Whisper's decoder (448), V its vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from diva_bench.decoding import tensors
from diva_bench.decoding.whisper import Whisper
from diva_bench.diva.config import ConnectorConfig
from diva_bench.diva.model import AnyConnector, Connector
from diva_bench.errors import AssetError, UserError
from diva_bench.weights.folders import references

HEAD_WIDTH = 64  # of all Whisper models, from tiny (384 / 6) to large (1280 / 20): whisper/model.py, ModelDimensions
# weights that a Whisper decoder does not have; all others of a connector are those of the decoder
_OWN = ("query_tokens", "projection.weight", "projection.bias")
_PREFIX = "connector."
_LAYER = _PREFIX + "layers."
_UNUSED = _PREFIX + "embed_tokens.weight"  # part of a WhisperDecoder; queries replace it
_LISTED = 8  # names in an error message


def to_published(connector: AnyConnector, whisper: Whisper, *, partial: bool = False) -> dict[str, Tensor]:
    """The weights of a connector in float32, under the published names.

    Args:
        connector: The connector.
        whisper: The Whisper with which the connector was trained. The authors' loader requires weights that a connector
            does not store, embed_tokens and the positions after the last query; they are taken from its decoder.
        partial: True: a connector may have fewer layers than the decoder. Only `from_published` can read the result.

    Raises:
        UserError: The connector is not a Whisper decoder with learned queries (mlp, time queries), its sizes are not
            those of this Whisper, or it has fewer layers and `partial` is False.
    """
    size, decoder = connector.config, whisper.decoder
    if not isinstance(connector, Connector):
        raise UserError(f"a connector of kind {size.kind} has no published form: only qformer is a Whisper decoder.")
    if size.queries != "learned" or size.alignment != "l2" or not size.causal:
        raise UserError(
            f"a connector with {size.queries} queries, alignment {size.alignment} and "
            f"{'causal' if size.causal else 'bidirectional'} attention has no published form: the reference code knows "
            "learned queries and causal attention, and gives the LLM every virtual token. Convert one that was trained with "
            "--preset paper, or keep this one in its own format."
        )
    _same_sizes(size, whisper, partial)
    positions = decoder.embed_positions.weight.detach().float().cpu()  # (P, D)
    state = {name: value.detach().float().cpu() for name, value in connector.state_dict().items()}
    state["embed_positions.weight"] = torch.cat([state["embed_positions.weight"], positions[size.max_queries :]])
    state["projection.weight"] = state["projection.weight"].T
    state["embed_tokens.weight"] = decoder.embed_tokens.weight.detach().float().cpu()
    return {_published(name): value.contiguous().clone() for name, value in state.items()}


def _same_sizes(size: ConnectorConfig, whisper: Whisper, partial: bool) -> None:
    config = whisper.config
    own = {"width": size.width, "heads": size.heads, "ffn": size.ffn}
    its = dict(zip(own, (config[k] for k in ("d_model", "decoder_attention_heads", "decoder_ffn_dim")), strict=True))
    if own != its:
        raise UserError(
            f"this connector does not have the sizes of this Whisper: it has {own}, the Whisper decoder {its}."
        )
    if size.max_queries > config["max_target_positions"]:
        raise UserError(
            f"this connector has {size.max_queries} queries; a WhisperDecoder has {config['max_target_positions']} "
            "positions, and a published checkpoint can have no more queries than that."
        )
    layers = config["decoder_layers"]
    if size.layers > layers or (size.layers < layers and not partial):
        raise UserError(
            f"this connector has {size.layers} layers, the Whisper decoder {layers}: the reference code loads strictly "
            f"and would refuse the file. Train one with layers={layers}, or write it with --partial for diva-bench alone."
        )


def from_published(
    source: Path | Mapping[str, Tensor],
    *,
    heads: int | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Connector:
    """A connector from weights with the published names. Of a file or folder only its own tensors are read.

    Args:
        source: Tensor name -> tensor, or a file or folder with the tensors.
        heads: Number of attention heads; None: width / 64, as in all Whisper models. All other sizes follow from the
            shapes of the weights.

    Raises:
        AssetError: A weight is missing, unknown, or of a wrong shape; or the file cannot be read.
    """
    where = str(source) if isinstance(source, Path) else "these tensors"
    if isinstance(source, Path):
        files = tensors.contents(source)
        stored = tensors.load(files, needed(files, where), device=device, dtype=dtype)
    else:
        stored = {name: source[name].to(device, dtype, copy=True) for name in needed(source, where)}
    state = {_ours(name): value for name, value in stored.items()}
    size = _sizes(state, where, heads)
    positions = state["embed_positions.weight"]
    if len(positions) < size.max_queries:
        raise AssetError(
            f"{where}: {size.max_queries} query_tokens, but only {len(positions)} embed_positions for them."
        )
    state["embed_positions.weight"] = positions[: size.max_queries]
    state["projection.weight"] = state["projection.weight"].T.contiguous()
    with tensors.shapes_only():
        connector = Connector(size)
    try:
        tensors.fill(connector, state)
    except RuntimeError as err:
        faults = "; ".join(
            line.strip() for line in str(err).splitlines()[1 : 1 + _LISTED]
        )  # the first line is a heading
        raise AssetError(f"{where}: its shapes do not fit each other: {faults}") from err
    return connector


def _sizes(state: Mapping[str, Tensor], where: str, heads: int | None) -> ConnectorConfig:
    queries, projection, bias = (state[name] for name in _OWN)
    first = state["layers.0.fc1.weight"]  # (F, D)
    if any(t.ndim != n for t, n in ((queries, 2), (projection, 2), (bias, 1), (first, 2))):
        shapes = {name: tuple(state[name].shape) for name in (*_OWN, "layers.0.fc1.weight")}
        raise AssetError(f"{where}: expected matrices and a vector projection.bias, found {shapes}.")
    width, wide = queries.shape[1], len(bias)
    if projection.shape != (width, wide):
        shape = tuple(projection.shape)
        hint = " It stands the other way round, as nn.Linear has it: store its transpose." * (shape == (wide, width))
        raise AssetError(
            f"{where}: projection.weight is {shape}, expected {(width, wide)}, from the width of query_tokens to the "
            f"length of projection.bias.{hint}"
        )
    whole = width % HEAD_WIDTH == 0 if heads is None else heads > 0 and width % heads == 0
    if not whole:
        how = f"{HEAD_WIDTH} wide heads" if heads is None else f"{heads} heads"
        raise AssetError(
            f"{where}: its width of {width} is not made of {how}. Give the heads of the Whisper it was trained with."
        )
    return ConnectorConfig(
        width=width,
        heads=heads or width // HEAD_WIDTH,
        layers=_layers(f"{_PREFIX}{name}" for name in state),
        ffn=len(first),
        max_queries=len(queries),
        llm_width=wide,
    )


# ---------------------------------------------------------------- names


def _published(name: str) -> str:
    return name if name in _OWN else _PREFIX + name


def _ours(name: str) -> str:
    return name.removeprefix(_PREFIX)


def _layers(names: Iterable[str]) -> int:
    """Number of layers: the highest layer number in `names`, plus one. It is 1 if no name has a layer, so that the error message
    of `needed` names a missing weight."""
    numbers = [name.removeprefix(_LAYER).partition(".")[0] for name in names if name.startswith(_LAYER)]
    return 1 + max((int(n) for n in numbers if n.isdecimal()), default=0)


def needed(names: Collection[str], where: str) -> list[str]:
    """The names of a connector's weights among the names of a checkpoint; without the encoder, the LLM and embed_tokens.

    Raises:
        AssetError: A weight is missing, or the connector has a weight that no WhisperDecoder has.
    """
    small = ConnectorConfig(width=1, heads=1, layers=_layers(names), ffn=1, max_queries=1, llm_width=1)
    with tensors.shapes_only():
        names_needed = [_published(name) for name in Connector(small).state_dict()]
    for name in names_needed:
        if name not in names:
            prefix = name.partition(".")[0]
            same = sorted(n for n in names if n.startswith(prefix))
            rest = ", ".join(sorted({n.partition(".")[0] + ".*" * ("." in n) for n in names})) or "nothing"
            there = f"It has of {prefix}: {_some(same)}." if same else f"It has no weight of {prefix}, only {rest}."
            raise AssetError(f"{where}: no weight {name!r}; this is not a whole published DiVA checkpoint. {there}")
    unknown = sorted(n for n in names if n.startswith(_PREFIX) and n not in {*names_needed, _UNUSED})
    if unknown:
        raise AssetError(
            f"{where}: {_some(unknown)} is in no WhisperDecoder: this is another architecture than the published one."
        )
    return names_needed


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


# ---------------------------------------------------------------- beside the tensors


def check_references(folder: Path, model: str, given: Mapping[str, str | None]) -> None:
    """Raises AssetError if a checkpoint was made with another encoder or LLM than a model gives it: with the same widths it
    would load, and give nonsense.

    Args:
        given: reference_encoder and reference_decoder -> owner/name; None if it is not known, as of a folder.
    """
    for key, named in references(folder).items():
        own = given.get(key)
        if own and _plain(own) != _plain(named):
            role = "encoder" if key == "reference_encoder" else "llm"
            raise AssetError(
                f"model {model}: {folder.name}: its config.json names {named} as its {role}, and the model has {own}. Either "
                f"name that one under `weights: {role}` ({{hub: {named}}}), or say that the other one is meant: "
                f"`args: {{{key}: {named}}}`."
            )


def _plain(repository: str) -> str:
    """A repository without what its owner once renamed: meta-llama/Meta-Llama-3.1-... is now meta-llama/Llama-3.1-..."""
    return repository.lower().replace("/meta-", "/")
