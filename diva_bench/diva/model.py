"""The DiVA connector: encoder states of a clip -> virtual tokens in the LLM's embedding space (arXiv 2410.02678).

B batch, T encoder positions (20 ms), Q queries (448 in the paper), D width of Whisper, E width of the LLM.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diva_bench.decoding.whisper import Block, Whisper
from diva_bench.diva.config import ConnectorConfig


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


def from_whisper(whisper: Whisper, queries: int, layers: int, llm_width: int) -> Connector:
    """A connector that starts as the Whisper decoder: its blocks, final norm and first `queries` positions."""
    size = whisper.config
    config = ConnectorConfig(
        width=size["d_model"],
        heads=size["decoder_attention_heads"],
        layers=layers,
        ffn=size["decoder_ffn_dim"],
        queries=queries,
        llm_width=llm_width,
    )
    connector = Connector(config)
    own = connector.state_dict()
    for name, value in whisper.decoder.state_dict().items():
        if name in own:
            own[name] = value[:queries].float() if name == "embed_positions.weight" else value.float()
    connector.load_state_dict(own)
    return connector


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
