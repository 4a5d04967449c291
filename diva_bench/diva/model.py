"""The DiVA connector: encoder states of a clip -> virtual tokens in the LLM's embedding space (arXiv 2410.02678).

Shapes: B batch, T encoder positions (20 ms), Q queries (448 in the paper), D width of Whisper, E width of the LLM, S
frames that the mlp stacks, F width of its hidden layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diva_bench.decoding.whisper import TransformerBlock, Whisper
from diva_bench.diva.config import ConnectorConfig, TrainConfig, connector_config


class Vocabulary(nn.Module):
    """Assigns tokens to virtual tokens: logits from distances to the LLM's embeddings and to a learned blank.

    The blank is the label of virtual tokens that stand for no token (Graves et al., ICML 2006).
    """

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.blank = nn.Parameter(torch.zeros(config.llm_width))
        self.blank_bias = nn.Parameter(torch.zeros(()))
        self.register_buffer("sharpness", torch.ones(()))
        self.sharpness: Tensor

    @torch.no_grad()
    def start(self, embeddings: Tensor, token_ids: Tensor, sharpness: float) -> None:
        """Initialise from embeddings (V, E). token_ids: the tokens of the training texts; `sharpness`: see TrainConfig."""
        some = embeddings[token_ids].float().cpu()  # (n, E)
        spread = (some - some.mean(0)).square().sum(1).mean()
        self.blank.copy_(embeddings.mean(0, dtype=torch.float32).cpu())
        self.sharpness.copy_(sharpness / spread)

    def classes(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """table (C, E): embeddings of tokens -> (them and the blank, (C + 1, E); their squared lengths (C + 1,), float32)."""
        classes = torch.cat([table, self.blank[None].to(table.dtype)])
        return classes, classes.float().square().sum(1)

    def logits(self, virtual: Tensor, table: Tensor, prepared: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """virtual (M, E), table (C, E): embeddings of tokens -> (M, C + 1) float32, the blank last.

        Minus half the squared distance, times the sharpness, up to terms that are equal for all classes of a row.
        `prepared`: `classes(table)`, where several calls share it: of a whole vocabulary it takes as long as 256 rows.
        """
        classes, lengths = prepared or self.classes(table)
        logits = self.sharpness * ((virtual.to(table.dtype) @ classes.T).float() - lengths / 2)
        return logits + nn.functional.pad(self.blank_bias[None], (len(table), 0))


class Connector(nn.Module):
    """Queries through the blocks of the Whisper decoder, then a linear projection.

    Learned queries (paper): because attention is causal, the last queries depend on all others; the last N virtual
    tokens stand for the N tokens of the transcript. Time queries: a query is the sum of a learned vector (the same for
    all), its position, and a linear map of the encoder states of its segment, and attends mostly to positions near that
    segment.
    """

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.config = config
        learned = config.max_queries if config.queries == "learned" else 1
        self.query_tokens = nn.Parameter(torch.empty(learned, config.width).normal_(0, 0.02))
        self.embed_positions = nn.Embedding(config.max_queries, config.width)
        nn.init.normal_(self.embed_positions.weight, 0, 0.02)  # torch's default is 1, fifty times the scale of queries
        blocks = [TransformerBlock(config.width, config.heads, config.ffn, cross=True) for _ in range(config.layers)]
        self.layers = nn.ModuleList(blocks)
        self.layer_norm = nn.LayerNorm(config.width)
        self.projection = nn.Linear(config.width, config.llm_width)
        if config.queries == "time":
            self.stretch_norm = nn.LayerNorm(config.width)
            self.stretch = nn.Linear(config.stride * config.width, config.width)
            _start_as_mean(self.stretch, config)
        self.vocabulary = Vocabulary(config) if config.alignment != "l2" else None

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """states (B, T, D), mask (B, T) True for real positions -> virtual tokens (B, Q, E), and their number in each row
        (B,): all for learned queries."""
        size = self.config
        if size.queries == "learned":
            x = (self.query_tokens + self.embed_positions.weight).expand(len(states), -1, -1)
            counts = mask.new_full((len(states),), x.shape[1], dtype=torch.long)
        else:
            frames = torch.where(mask[..., None], self.stretch_norm(states), 0.0)
            parts, counts = stretches(frames, mask, size.stride)
            x = self.query_tokens + self.embed_positions.weight[: parts.shape[1]] + self.stretch(parts)
        look = mask[:, None, None, :]
        if size.locality is not None:
            near = locality_prior(x.shape[1], states.shape[1], size.stride, size.locality, x.device)
            look = torch.where(look, near, -torch.inf).to(x.dtype)  # (B, 1, Q, T)
        within = None if size.causal else (torch.arange(x.shape[1], device=x.device) < counts[:, None])[:, None, None]
        for layer in self.layers:
            assert isinstance(layer, TransformerBlock)
            x = layer.query(x, states, look, within)
        return self.projection(self.layer_norm(x)), counts


class StackedFrames(nn.Module):
    """The ablation without attention: neighbouring frames through two matrices.

    With learned queries the frames of a clip are resampled to Q x S, and S neighbours are stacked; with time queries
    the frames of each segment are stacked.
    """

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.config = config
        side = config.stack if config.queries == "learned" else config.stride
        self.fc1 = nn.Linear(side * config.width, config.ffn)
        self.layer_norm = nn.LayerNorm(config.ffn)
        self.projection = nn.Linear(config.ffn, config.llm_width)
        self.vocabulary = Vocabulary(config) if config.alignment != "l2" else None

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As `Connector.forward`; virtual token q of Q depends only on the q-th part of the clip."""
        size = self.config
        if size.queries == "learned":
            frames = resampled(states, mask.sum(1), size.max_queries * size.stack)  # (B, Q*S, D)
            parts = frames.reshape(len(states), size.max_queries, -1)
            counts = mask.new_full((len(states),), size.max_queries, dtype=torch.long)
        else:
            parts, counts = stretches(torch.where(mask[..., None], states, 0.0), mask, size.stride)
        return self.projection(self.layer_norm(nn.functional.gelu(self.fc1(parts)))), counts


@torch.no_grad()
def _start_as_mean(stretch: nn.Linear, config: ConnectorConfig, scale: float = 0.05) -> None:
    """Initialise the map of a segment as the mean of its frames, small compared with the positions of Whisper's decoder."""
    every = torch.eye(config.width) * (scale / config.stride)
    stretch.weight.copy_(every.repeat(1, config.stride))
    stretch.bias.zero_()


def stretches(frames: Tensor, mask: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """frames (B, T, D), zero where mask (B, T) is False -> (stacked frames of each segment (B, Q, stride x D) with Q of
    the longest clip, number of segments of each clip (B,)); the last segment is padded with zeros."""
    rows, longest, width = frames.shape
    count = -(-longest // stride)
    whole = nn.functional.pad(frames, (0, 0, 0, count * stride - longest))
    return whole.reshape(rows, count, stride * width), -(-mask.sum(1) // stride)


def locality_prior(queries: int, positions: int, stride: int, width: float, device: torch.device) -> Tensor:
    """(Q, T): minus min(4, ((t - c) / width)^2 / 2) with c the middle of the query's segment; it is added to attention
    scores."""
    middle = stride * (torch.arange(queries, device=device) + 0.5) - 0.5
    away = (torch.arange(positions, device=device) - middle[:, None]) / width
    return -(away.square() / 2).clamp(max=4.0)


def resampled(states: Tensor, lengths: Tensor, count: int) -> Tensor:
    """states (B, T, D), of which row b has lengths[b] real positions -> (B, count, D), interpolated linearly."""
    middle = (torch.arange(count, device=states.device) + 0.5) / count  # (count,)
    at = (middle * lengths[:, None] - 0.5).clamp(min=0)  # (B, count), in positions
    below = torch.minimum(at.long(), lengths[:, None] - 1)
    above = torch.minimum(below + 1, lengths[:, None] - 1)
    part = (at - below).clamp(max=1)[..., None].to(states.dtype)
    index = [i[..., None].expand(-1, -1, states.shape[2]) for i in (below, above)]
    return states.gather(1, index[0]) * (1 - part) + states.gather(1, index[1]) * part


AnyConnector = Connector | StackedFrames


def build(config: ConnectorConfig) -> AnyConnector:
    """A connector with random weights."""
    return Connector(config) if config.kind == "qformer" else StackedFrames(config)


def sized(config: TrainConfig, whisper: Whisper, llm_width: int) -> ConnectorConfig:
    """The connector of `config` for this Whisper and an LLM of this width."""
    size = whisper.config
    return connector_config(
        config, width=size["d_model"], heads=size["decoder_attention_heads"], ffn=size["decoder_ffn_dim"],
        positions=size["max_source_positions"], llm_width=llm_width,
    )  # fmt: skip


def from_whisper(whisper: Whisper, config: ConnectorConfig) -> Connector:
    """A connector initialised from the Whisper decoder: its blocks, final norm and first Q positions. Further positions
    (Whisper has 448, and strides below 4 need more) are random."""
    connector = Connector(config)
    own = connector.state_dict()
    for name, value in whisper.decoder.state_dict().items():
        if name == "embed_positions.weight":
            own[name][: len(value)] = value[: config.max_queries].float().cpu()
        elif name in own:
            own[name] = value.float().cpu()
    connector.load_state_dict(own)
    return connector


@torch.no_grad()
def cold_projection(connector: AnyConnector, llm_embeddings: Tensor) -> None:
    """Initialise the projection at random, so that its outputs are around the mean LLM embedding, as far from it as
    embeddings are.

    Its inputs are layer-normed: D entries of unit variance. llm_embeddings (V, E).
    """
    some = llm_embeddings.float().cpu()
    wide = connector.projection.in_features
    connector.projection.weight.normal_(0, float(some.std(0).mean()) / wide**0.5)
    connector.projection.bias.copy_(some.mean(0))


@torch.no_grad()
def warm_projection(
    connector: Connector,
    whisper: Whisper,
    whisper_vocabulary: Mapping[str, int],
    llm_vocabulary: Mapping[str, int],
    *,
    llm_embeddings: Tensor,
    ridge: float = 1e-2,
) -> int:
    """Initialise the projection as the ridge regression from Whisper's token embeddings to the LLM's, over shared tokens.

    The last states of the Whisper decoder are compared with its token embeddings, so an aligned projection must be
    close to a map between both embedding spaces. (The paper's code copies the mean LLM embedding into every row.)

    Args:
        llm_embeddings: (V, E).

    Returns:
        The number of shared tokens.
    """
    shared = sorted(whisper_vocabulary.keys() & llm_vocabulary.keys())
    x = whisper.decoder.embed_tokens.weight[[whisper_vocabulary[t] for t in shared]].float().cpu()  # (n, D)
    y = llm_embeddings[[llm_vocabulary[t] for t in shared]].float().cpu()  # (n, E)
    # a final state is a layer-normed vector, so the embeddings are scaled to its length before fitting
    length = whisper.decoder.layer_norm.weight.float().norm().cpu()
    x = x / x.norm(dim=1, keepdim=True) * length
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    gram = centred.T @ centred
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram))
    weight = torch.linalg.solve(gram, centred.T @ (y - mean_y))  # (D, E)
    connector.projection.weight.copy_(weight.T)
    connector.projection.bias.copy_(mean_y - mean_x @ weight)
    return len(shared)
