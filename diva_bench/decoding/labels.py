"""Log-likelihood of label strings as the beginning of an answer.

The labels of a task form a tree of tokens: labels with the same first tokens share nodes. All nodes follow the prompt
in one pass, and each attends to the prompt and to the nodes above it. So a shared token is computed once, and neither
the prompt nor its cache is copied for a label.

Shapes: B batch, L labels, N nodes of the tree, P prompt positions, E width, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diva_bench.types import LabelScore

if TYPE_CHECKING:
    from diva_bench.decoding.llm import LLM, Prefilled

_POSITIONS = 4096  # largest rows x nodes of one pass
_CHUNK = 64  # positions whose distributions over the vocabulary are in memory at once: 64 x 151,936 x 4 bytes = 39 MB


@dataclass(frozen=True, slots=True)
class Tree:
    """The tokens of labels, without the last one of each label, after which nothing is predicted."""

    tokens: list[int]
    """Token of each node."""
    above: list[int]
    """Parent of each node; -1: the prompt."""
    depth: list[int]
    """Number of nodes above each node."""
    paths: list[list[int]]
    """For each label the nodes of all its tokens except the last."""


def tree_of(labels: Sequence[Sequence[int]]) -> Tree:
    """The tree of labels, each at least one token."""
    nodes: dict[tuple[int, ...], int] = {}
    tree = Tree([], [], [], [])
    for ids in labels:
        path: list[int] = []
        for depth in range(len(ids) - 1):
            prefix = tuple(ids[: depth + 1])
            if prefix not in nodes:
                nodes[prefix] = len(nodes)
                tree.tokens.append(ids[depth])
                tree.above.append(path[-1] if path else -1)
                tree.depth.append(depth)
            path.append(nodes[prefix])
        tree.paths.append(path)
    return tree


@torch.inference_mode()
def score_labels(llm: LLM, start: Prefilled, labels: Sequence[str]) -> list[dict[str, LabelScore]]:
    """Log-likelihood (nats) of every label as the beginning of the answer, per row of `start`, which is not changed."""
    ids = [llm.tokens(label) for label in labels]
    first = torch.log_softmax(start.logits, -1)[:, [i[0] for i in ids]]  # (B, L)
    total = first.clone()
    several = [k for k, i in enumerate(ids) if len(i) > 1]
    for group in _groups(several, ids, max(1, _POSITIONS // len(start.mask))):
        total[:, group] += _rest(llm, start, [ids[k] for k in group])
    sums, firsts = total.tolist(), first.tolist()
    return [
        {label: LabelScore(sums[b][k], len(ids[k]), firsts[b][k]) for k, label in enumerate(labels)}
        for b in range(len(sums))
    ]


def _groups(several: Sequence[int], ids: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """Groups of neighbouring labels whose trees have about `most` nodes; labels with the same beginning are neighbours."""
    groups: list[list[int]] = []
    nodes = most + 1
    for k in sorted(several, key=lambda k: tuple(ids[k])):
        more = len(ids[k]) - 1
        if nodes + more > most:
            groups.append([])
            nodes = 0
        groups[-1].append(k)
        nodes += more
    return groups


def _rest(llm: LLM, start: Prefilled, ids: Sequence[Sequence[int]]) -> Tensor:
    """(B, L): log-likelihood of each label's tokens from the second on. If a cache drops positions (sliding window), every
    label needs a pass of its own, because the mask of a tree needs all positions."""
    if not start.keeps_all and len(ids) > 1:
        return torch.cat([_rest(llm, start, [one]) for one in ids], dim=1)
    tree = tree_of(ids)
    # predictions: a token after a node, once for all labels that have both
    pairs = sorted(
        {(node, one[at + 1]) for one, path in zip(ids, tree.paths, strict=True) for at, node in enumerate(path)}
    )
    place = {pair: n for n, pair in enumerate(pairs)}
    logs = _logs(llm, _states(llm, start, tree), pairs)  # (B, pairs)
    sums = [
        logs[:, [place[node, one[at + 1]] for at, node in enumerate(path)]].sum(1)
        for one, path in zip(ids, tree.paths, strict=True)
    ]
    return torch.stack(sums, dim=1)


def _states(llm: LLM, start: Prefilled, tree: Tree) -> Tensor:
    """(B, N, E): the last hidden state at every node. The cache of `start` is restored afterwards."""
    rows, nodes, device = len(start.mask), len(tree.tokens), llm.device
    ends = start.mask.sum(1, keepdim=True)  # (B, 1): the position after the prompt
    inputs: dict[str, Any] = {
        "input_ids": torch.tensor(tree.tokens, device=device).expand(rows, nodes),
        "position_ids": ends + torch.tensor(tree.depth, device=device),
    }
    if not start.keeps_all:
        mask = torch.cat([start.mask, start.mask.new_ones(rows, nodes)], 1)
        return llm.states(attention_mask=mask, past_key_values=copy.deepcopy(start.cache), **inputs)
    sees = torch.eye(nodes, dtype=torch.bool)
    for node, above in enumerate(tree.above):
        if above >= 0:
            sees[node] |= sees[above]
    visible = torch.cat(
        [start.mask.bool()[:, None].expand(rows, nodes, -1), sees.to(device).expand(rows, nodes, nodes)], 2
    )
    mask = torch.zeros(rows, 1, nodes, visible.shape[2], dtype=llm.weight.dtype, device=device)
    mask.masked_fill_(~visible[:, None], torch.finfo(mask.dtype).min)
    before = [(layer.keys, layer.values) for layer in start.cache.layers]
    states = llm.states(attention_mask=mask, past_key_values=start.cache, **inputs)
    for layer, (keys, values) in zip(start.cache.layers, before, strict=True):
        layer.keys, layer.values = keys, values
    return states


def _logs(llm: LLM, states: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """(B, pairs): log-likelihood of a token after a node, for every (node, token). states (B, N, E)."""
    rows, nodes, _ = states.shape
    row = torch.arange(rows, device=states.device)[:, None]
    node, token = (torch.tensor(column, device=states.device) for column in zip(*pairs, strict=True))
    flat = states.flatten(0, 1)
    of_state, column = (row * nodes + node).flatten(), token.repeat(rows)
    logs = torch.empty(rows * len(pairs), device=states.device)
    for start in range(0, len(flat), _CHUNK):
        inside = ((of_state >= start) & (of_state < start + _CHUNK)).nonzero()[:, 0]
        some = torch.log_softmax(llm.logits(flat[start : start + _CHUNK]), -1)
        logs[inside] = some[of_state[inside] - start, column[inside]]
    return logs.view(rows, len(pairs))
