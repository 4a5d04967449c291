"""The connector: losses against plain loops, masks, gradients, storage."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diva_bench.diva import checkpoint, losses
from diva_bench.diva.config import ConnectorConfig
from diva_bench.diva.model import Connector
from diva_bench.errors import AssetError

CONFIG = ConnectorConfig(width=16, heads=2, layers=2, ffn=32, queries=6, llm_width=10)


@pytest.fixture
def connector() -> Connector:
    torch.manual_seed(0)
    return Connector(CONFIG).eval()


def ragged(lengths: tuple[int, ...], width: int) -> list[Tensor]:
    return [torch.randn(n, width) for n in lengths]


def test_alignment_is_the_mean_distance_of_the_last_n_tokens() -> None:
    torch.manual_seed(1)
    virtual, targets = torch.randn(3, 6, 10), ragged((1, 6, 4), 10)
    total, count = 0.0, 0
    for b, target in enumerate(targets):
        for n in range(len(target)):
            difference = [float(x) - float(y) for x, y in zip(virtual[b, 6 - len(target) + n], target[n], strict=True)]
            total += math.sqrt(sum(d * d for d in difference))
            count += 1
    assert float(losses.token_alignment(virtual, targets)) == pytest.approx(total / count, rel=1e-6)


def test_alignment_leaves_the_first_virtual_tokens_free() -> None:
    virtual = torch.randn(2, 6, 10, requires_grad=True)
    losses.token_alignment(virtual, ragged((2, 3), 10)).backward()
    assert virtual.grad is not None
    used = virtual.grad.abs().sum(-1) > 0
    assert used.tolist() == [[False] * 4 + [True] * 2, [False] * 3 + [True] * 3]


def test_distillation_is_the_norm_and_not_its_square() -> None:
    student = torch.zeros(2, 4)
    teacher = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert float(losses.output_distillation(student, teacher)) == pytest.approx((5.0 + 1.0) / 2)


def test_nearest_token_counts_only_the_transcripts_own_token() -> None:
    embeddings = torch.eye(5)
    virtual = torch.zeros(1, 4, 5)
    virtual[0, 2, 3] = virtual[0, 3, 1] = 0.9
    assert losses.nearest_token_hits(virtual, [torch.tensor([3, 2])], embeddings) == (1, 2)


def test_a_row_does_not_depend_on_what_it_is_padded_with(connector: Connector) -> None:
    torch.manual_seed(2)
    states = torch.randn(2, 9, 16)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 5:] = False
    both = connector(states, mask)
    alone = connector(states[1:, :5], mask[1:, :5])
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-5)
    other = states.clone()
    other[1, 5:] = 100.0
    torch.testing.assert_close(connector(other, mask), both)


def test_queries_are_causal(connector: Connector) -> None:
    states, mask = torch.randn(1, 7, 16), torch.ones(1, 7, dtype=torch.bool)
    before = connector(states, mask)
    with torch.no_grad():
        connector.query_tokens[3] += torch.randn(16)  # a constant would be taken out by the LayerNorms
    after = connector(states, mask)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert (after[:, 3:] - before[:, 3:]).abs().amax(-1).min() > 1e-4


def test_a_stored_connector_comes_back_within_half_a_step(connector: Connector, tmp_path: Path) -> None:
    checkpoint.save(connector, tmp_path, {"whisper": "w", "llm": "l"}, {"steps": 1})
    back = checkpoint.load(tmp_path)
    assert back.config == CONFIG
    stored = back.state_dict()
    for name, value in connector.state_dict().items():
        if value.ndim == 2 and name != "query_tokens":
            bound = value.abs().amax(1, keepdim=True) / 127 * 0.5 + 1e-6
        else:
            bound = value.abs() * 2**-10 + 1e-6
        assert bool(((stored[name] - value).abs() <= bound).all()), name
    assert not any(p.requires_grad for p in back.parameters())


def test_tiny_rows_survive_storage(connector: Connector, tmp_path: Path) -> None:
    with torch.no_grad():
        connector.projection.weight.mul_(1e-3)  # a projection into small embeddings has weights like these
    checkpoint.save(connector, tmp_path, {}, {})
    back, own = checkpoint.load(tmp_path).projection.weight, connector.projection.weight.detach()
    assert float((back - own).norm() / own.norm()) < 0.01


@pytest.mark.parametrize("file", ["connector.safetensors", "config.json"])
def test_a_damaged_folder_is_named(connector: Connector, tmp_path: Path, file: str) -> None:
    checkpoint.save(connector, tmp_path, {}, {})
    (tmp_path / file).write_bytes(b"{")
    with pytest.raises(AssetError, match="not a connector that can be loaded"):
        checkpoint.load(tmp_path)
