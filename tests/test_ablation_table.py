"""The ablation table from runs in memory: labels, joins, intervals, the mark after Holm, how it reads at 80 columns."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from rich.console import Console

from diva_bench.report.ablation import Block, Outcome, Variant, ablation_table, changed
from diva_bench.runs.records import RunSummary
from diva_bench.stats import FEW_NOTE, ratio
from diva_bench.tables import Score, Table
from diva_bench.types import Row

CONFIG = {"connector": "qformer", "from_whisper": True, "align": 1.0, "distill": 1.0, "align_steps": 2200, "seed": 0}
COMPUTE = {"examples": 76800, "flops": {"encoder": 1e15, "llm": 2.5e15}, "device_seconds": 1288.4}


def of(config: Mapping[str, Any] | None) -> Variant:
    return Variant("x", "as it is described", config)


@pytest.mark.parametrize(
    ("other", "label"),
    [
        ({**CONFIG, "distill": 0.0}, "distill 1 -> 0"),
        ({**CONFIG, "from_whisper": False, "seed": 3}, "from_whisper true -> false"),
        ({**CONFIG, "connector": "mlp", "from_whisper": False}, "connector qformer -> mlp, from_whisper true -> false"),
        ({**CONFIG, "align": 0.0, "align_steps": 0}, "align 1 -> 0, align_steps 2200 -> 0"),
        ({**CONFIG, "distill": None}, "distill 1 -> none"),
        ({**CONFIG, "seed": 1}, "seed 0 -> 1"),
        (CONFIG, "as it is described"),
        ({"align": 1.0, "unheard_of": 2}, "as it is described"),
        (None, "as it is described"),
    ],
)
def test_a_label_names_what_differs_in_training(other: dict[str, Any] | None, label: str) -> None:
    assert changed(of(CONFIG), of(other)) == label


def test_without_a_record_of_the_base_the_variant_speaks_for_itself() -> None:
    assert changed(of(None), of(CONFIG)) == "as it is described"


# ---------------------------------------------------------------- the table alone


def summary(model: str, metric: str, value: float, task: str, n: int, higher: bool = True) -> RunSummary:
    main = {"value": value, "low": value - 7.1, "high": value + 7.1, "n": n, "clusters": n, "few_clusters": False}
    return RunSummary.model_validate(
        {
            "task": task, "task_id": f"{task}-4be1f0", "model": model, "run_id": f"{model}-9c2d71", "edition": "mini",
            "model_edition": "nano", "dtype": "float32", "limit": None, "seed": 0, "primary": metric,
            "repeatable": True, "n": n, "scored": n, "clusters": n, "errors": 0, "unsupported": 0, "unparsed": None,
            "complete": True, "reason": "", "data_faults": [], "signature": {metric: f"{metric}|version:1"},
            "metrics": {metric: main | {"higher_is_better": higher}}, "groups": {}, "baseline": 0.0, "at_chance": False,
        }
    )  # fmt: skip


def reduce(totals: Mapping[str, Any]) -> dict[str, Any]:
    return {"share": 100 * ratio(totals["right"], totals["n"])}


def outcome(model: str, right: Sequence[int], task: str = "toy", **more: Any) -> Outcome:
    found: dict[str, Row] = {f"q{i:03}": {"n": 1.0, "right": float(r)} for i, r in enumerate(right)}
    who = more.pop("variant", Variant(model, f"what {model} is", edition="nano"))
    return Outcome(who, "", summary(model, "share", 100 * sum(right) / len(right), task, len(right), **more), found)


def block(base: Outcome, *against: Outcome, task: str = "toy") -> Block:
    return Block(task, "share", {i: f"c{i}" for i in base.rows}, reduce, base, against)


def test_two_clusters_give_the_interval_of_three_possible_draws_and_the_p_of_swapping_one() -> None:
    """Resamples of two clusters, differences -100 and 0: both the first (1/4), one of each (1/2), both the second (1/4).
    Their p would be 2/4; a swap of the one cluster that differs gives as large a difference."""
    (found,) = block(outcome("a", [1, 1]), outcome("b", [0, 1])).differences()
    assert found is not None
    assert (found.value, found.low, found.high) == (-50, -100, 0)
    assert found.p == 1


def test_rows_are_joined_by_id_not_by_their_order() -> None:
    base, other = outcome("a", [1, 0, 0, 1]), outcome("b", [1, 0, 0, 1])
    shuffled = Outcome(other.variant, "", other.summary, dict(reversed(other.rows.items())))
    (found,) = block(base, shuffled).differences()
    assert found is not None
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_other_samples_or_settings_are_not_compared() -> None:
    fewer, strange = outcome("b", [1, 0]), outcome("c", [1, 0, 1])
    assert strange.summary is not None
    changed = strange.summary.model_copy(update={"signature": {"share": "share|version:2"}})
    found = block(outcome("a", [1, 1, 1]), fewer, Outcome(strange.variant, "", changed, strange.rows))
    assert found.gaps == ["its samples differ from those of the base", "scored with other settings than the base"]
    assert found.differences() == [None, None]


def test_only_what_survives_holm_is_marked() -> None:
    right = [1] * 40
    sure, doubtful = outcome("b", [0] * 40), outcome("c", [*[0] * 6, *[1] * 34])
    (alone,) = block(outcome("a", right), doubtful).differences()
    assert alone is not None
    assert alone.p < 0.05
    table = ablation_table([block(outcome("a", right), sure, *[doubtful] * 9)])
    cells = [row[6] for row in table.rows]
    assert cells[1] == Score(-100, -100, -100, "† ")
    assert [cell.mark for cell in cells[2:] if isinstance(cell, Score)] == [""] * 9


def test_which_way_is_better_is_said_of_every_metric() -> None:
    worse = block(outcome("a", [1, 0], "wer-task", higher=False), outcome("b", [1, 0], higher=False), task="wer-task")
    notes = ablation_table([block(outcome("a", [1, 0]), outcome("b", [1, 0])), worse]).notes
    assert "share (toy): higher is better" in notes
    assert "share (wer-task): lower is better" in notes


def test_few_clusters_are_warned_of() -> None:
    notes = ablation_table([block(outcome("a", [1, 0]), outcome("b", [1, 0]))]).notes
    assert FEW_NOTE in notes


def example() -> Table:
    """Two tasks, four variants, one of them not there: as wide as it gets."""
    configs = {
        "diva": CONFIG,
        "diva-align-only": CONFIG | {"distill": 0.0},
        "diva-distill-only": CONFIG | {"align": 0.0, "align_steps": 0},
        "diva-mlp": CONFIG | {"connector": "mlp", "from_whisper": False},
        "diva-scratch": CONFIG | {"from_whisper": False},
    }
    who = {name: Variant(name, "", config, COMPUTE, "nano") for name, config in configs.items()}
    blocks = []
    for task in ("covost2-zh-CN", "iemocap"):
        right = [30, 8, 27, 0]
        base, *others = [
            outcome(name, [int(i < k) for i in range(48)], task, variant=who[name])
            for name, k in zip(configs, right, strict=False)
        ]
        gone = Outcome(who["diva-scratch"], "never asked")
        blocks.append(block(base, *others, gone, task=task))
    return ablation_table(blocks)


def printed(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, legacy_windows=False)
    console.print(table.to_rich(width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_at_80_columns_scores_differences_and_p_values_are_all_there() -> None:
    text = printed(example(), 80)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    for whole in ("62.5", "† -45.8", "-62.5", "0.0012", "from_whisper", "p (Holm)"):
        assert whole in text
    assert "not shown at this width: metric, p, remarks, examples, PFLOP, device s" in " ".join(text.split())
    assert "not compared: diva-scratch at covost2-zh-CN, iemocap: never asked" in " ".join(text.split())
