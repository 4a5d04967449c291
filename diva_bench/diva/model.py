"""The DiVA connector: encoder states of a clip -> virtual tokens in the LLM's embedding space (arXiv 2410.02678).

B batch, T encoder positions (20 ms), Q queries (448 in the paper), D width of Whisper, E width of the LLM, S frames that
the mlp stacks, F width of its hidden layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diva_bench.decoding.whisper import Block, Whisper
from diva_bench.diva.config import ConnectorConfig, TrainConfig


class Connector(nn.Module):
    """Learned queries through the Whisper decoder's blocks, causal over the queries, then one linear projection.

    Because attention is causal, the last queries have seen all others; the last N virtual tokens stand for the N tokens
    of the transcript.
    """

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.config = config
        self.query_tokens = nn.Parameter(torch.empty(config.queries, config.width).normal_(0, 0.02))
        self.embed_positions = nn.Embedding(config.queries, config.width)
        nn.init.normal_(self.embed_positions.weight, 0, 0.02)  # torch's own is 1: fifty times the queries
        blocks = [Block(config.width, config.heads, config.ffn, cross=True) for _ in range(config.layers)]
        self.layers = nn.ModuleList(blocks)
        self.layer_norm = nn.LayerNorm(config.width)
        self.projection = nn.Linear(config.width, config.llm_width)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states (B, T, D), mask (B, T) True where there is sound -> virtual tokens (B, Q, E)."""
        x = (self.query_tokens + self.embed_positions.weight).expand(len(states), -1, -1)
        look = mask[:, None, None, :]
        for layer in self.layers:
            assert isinstance(layer, Block)
            x = layer.query(x, states, look)
        return self.projection(self.layer_norm(x))  # type: ignore[no-any-return]


class StackedFrames(nn.Module):
    """The ablation without attention: a clip's frames, resampled to Q x S, S side by side, through two matrices."""

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.config = config
        self.fc1 = nn.Linear(config.stack * config.width, config.ffn)
        self.layer_norm = nn.LayerNorm(config.ffn)
        self.projection = nn.Linear(config.ffn, config.llm_width)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """As `Connector.forward`; virtual token q of Q hears the q-th part of the clip and nothing else."""
        frames = resampled(states, mask.sum(1), self.config.queries * self.config.stack)  # (B, Q*S, D)
        x = self.fc1(frames.reshape(len(states), self.config.queries, -1))  # (B, Q, F)
        return self.projection(self.layer_norm(nn.functional.gelu(x)))  # type: ignore[no-any-return]


def resampled(states: Tensor, lengths: Tensor, count: int) -> Tensor:
    """states (B, T, D) of which row b has lengths[b] real positions -> (B, count, D), linear between neighbours."""
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
    """The connector that `config` puts between this Whisper and an LLM of this width."""
    size, former = whisper.config, config.connector == "qformer"
    return ConnectorConfig(
        kind=config.connector,
        width=size["d_model"],
        heads=size["decoder_attention_heads"] if former else 0,
        layers=config.layers if former else 0,
        ffn=size["decoder_ffn_dim"],
        queries=config.queries,
        llm_width=llm_width,
        stack=1 if former else config.stack,
    )


def from_whisper(whisper: Whisper, config: ConnectorConfig) -> Connector:
    """A connector that starts as the Whisper decoder: its blocks, final norm and first Q positions."""
    connector = Connector(config)
    own = connector.state_dict()
    for name, value in whisper.decoder.state_dict().items():
        if name in own:
            own[name] = (value[: config.queries] if name == "embed_positions.weight" else value).float().cpu()
    connector.load_state_dict(own)
    return connector


@torch.no_grad()
def cold_projection(connector: AnyConnector, llm_embeddings: Tensor) -> None:
    """Start the projection at random, around the mean LLM embedding and as far from it as embeddings are.

    What it projects is layer-normed: D entries of unit variance. llm_embeddings (V, E).
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
    """Start the projection as the ridge regression from Whisper's token embeddings to the LLM's, over shared tokens.

    The Whisper decoder's last states are read out against its token embeddings, so a map between the two embedding
    spaces is where an aligned projection has to end. (The paper's code copies the mean LLM embedding into every row.)
    llm_embeddings (V, E). Returns the number of shared tokens.
    """
    shared = sorted(whisper_vocabulary.keys() & llm_vocabulary.keys())
    x = whisper.decoder.embed_tokens.weight[[whisper_vocabulary[t] for t in shared]].float().cpu()  # (n, D)
    y = llm_embeddings[[llm_vocabulary[t] for t in shared]].float().cpu()  # (n, E)
    # a final state is a layer-normed vector: bring the embeddings to its length before fitting
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
