"""Scoring the labels of a batch as a tree of tokens, against the code before it, which copied the prompts for every label.

    git worktree add DIR 0a8cfca
    OMP_NUM_THREADS=1 python benchmarks/labels.py DIR [ROUNDS]

Two processes, one with the package of DIR and one with this one, score the same labels after the same prompts in turns;
the LLM is SmolLM2-135M in float32. Times are processor seconds of scoring alone, medians; prompts are read before.
Floor: the products of every token of the tree of labels, which has to be computed once for each prompt (layers,
attention, and the distribution over the vocabulary), at the rate of a large product of matrices in the same process.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parents[1]
SCENARIOS = ("alarm", "audio", "calendar", "cooking", "email", "music", "news", "play", "takeaway", "weather")
ACTIONS = ("query", "set", "remove", "volume up", "volume down", "send", "settings", "recipe", "order", "likeness")
TASKS: dict[str, tuple[int, str, list[str]]] = {
    "7 labels, 16 prompts": (16, "", []),  # those of meld
    "100 labels, 2 prompts": (2, "What does the user want? Name it in two or three words.",
                              [f"{scenario} {action}" for scenario in SCENARIOS for action in ACTIONS]),
}  # fmt: skip
SIDE = 2048  # of the matrices whose product gives the rate


def worker(folder: str, spec: str) -> None:
    """Answer each line of stdin, the name of a task, with the seconds and scores of a scoring."""
    import torch

    from diva_bench.decoding.llm import LLM

    torch.set_num_threads(1)
    llm = LLM.load(Path(folder), "cpu", "float32")
    score: Any = getattr(llm, "score_labels", None)
    if score is None:
        from diva_bench.decoding.labels import score_labels

        def score(start: Any, labels: Any) -> Any:
            return score_labels(llm, start, labels)

    starts = {}
    for name, (prompts, labels) in json.loads(spec).items():
        wholes = []
        for text, prompt in prompts:
            before, after = llm.frame(prompt, None)
            wholes.append(torch.cat([llm.embed(ids) for ids in (before, llm.tokens(text), after)]))
        starts[name] = llm.prefill(wholes), labels
    square = torch.randn(SIDE, SIDE)
    for line in sys.stdin:
        name = line.strip()
        if name == "product":
            began = time.process_time()
            square @ square
            result = {"seconds": time.process_time() - began, "work": 2 * SIDE**3}
        else:
            start, labels = starts[name]
            began = time.process_time()
            scores = score(start, labels)
            seconds = time.process_time() - began
            result = {
                "seconds": seconds,
                "scores": [[row[label].total for label in labels] for row in scores],
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                **work(llm, start, labels),
            }
        print(json.dumps(result), flush=True)


def work(llm: Any, start: Any, labels: list[str]) -> dict[str, int]:
    """Tokens of the labels as they are, those of their tree, and the floating-point operations of the latter."""
    ids = [llm.tokens(label) for label in labels]
    nodes = {tuple(one[:depth]) for one in ids for depth in range(1, len(one))}
    config, rows = llm.model.config, len(start.mask)
    body = sum(p.numel() for p in llm.model.base_model.layers.parameters())
    width, vocabulary = config.hidden_size, len(llm.embeddings)
    each = 2 * (body + vocabulary * width)
    seen = sum(int(start.mask.sum()) + rows * len(node) for node in nodes)  # positions that nodes attend to
    return {
        "tokens": rows * sum(len(one) - 1 for one in ids),
        "nodes": rows * len(nodes),
        "work": rows * len(nodes) * each + 4 * width * config.num_hidden_layers * seen,
    }


def main() -> None:
    from diva_bench import provenance
    from diva_bench.catalog import Catalog
    from diva_bench.types import Silent

    before, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    catalog = Catalog()
    model, meld = catalog.model("oracle", "nano"), catalog.task("meld", "mini")
    folder = catalog.fetch([model], Silent())[model.weights["llm"].name]
    rows = [json.loads(line) for line in (HERE / "tasks" / "mini-v1" / "meld.jsonl").read_text().splitlines()]
    spec = {}
    for name, (count, prompt, given) in TASKS.items():
        labels = given or list(meld.choices or ())
        filled = prompt or meld.prompt.replace("{choices}", ", ".join(labels))
        spec[name] = [(row["text"], filled) for row in rows[:count]], labels
    command = [sys.executable, __file__, "--worker", str(folder), json.dumps(spec)]
    sides = {
        side: subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": place, "OMP_NUM_THREADS": "1"},
        )
        for side, place in (("before", before), ("now", str(HERE)))
    }  # fmt: skip

    def ask(side: str, name: str) -> dict[str, Any]:
        process = sides[side]
        assert process.stdin
        assert process.stdout
        process.stdin.write(name + "\n")
        process.stdin.flush()
        result: dict[str, Any] = json.loads(process.stdout.readline())
        return result

    print(f"{provenance.processor()}, one thread, float32, SmolLM2-135M; benchmarks/labels.py; medians of {rounds}")
    for name in TASKS:
        for side in sides:
            ask(side, name)  # the first scoring chooses kernels
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in (*sides, "product")}
        for _ in range(rounds):
            for side in sides:
                runs[side].append(ask(side, name))
            runs["product"].append(ask("now", "product"))
        took = {side: median(run["seconds"] for run in some) for side, some in runs.items()}
        rate = runs["product"][0]["work"] / took["product"]
        old, new = runs["before"][-1], runs["now"][-1]
        apart = max(
            abs(a - b) for x, y in zip(old["scores"], new["scores"], strict=True) for a, b in zip(x, y, strict=True)
        )
        floor = new["work"] / rate
        print(f"{name}: {new['tokens']} label tokens after the first ones, {new['nodes']} of them different")
        print(f"  before {took['before']:.3f} s, now {took['now']:.3f} s: {took['before'] / took['now']:.2f} x as fast")
        print(
            f"  floor {floor:.3f} s ({new['work'] / 1e9:.1f} GFLOP at {rate / 1e9:.0f} GFLOP/s): now takes "
            f"{took['now'] / floor:.2f} x the floor, before {took['before'] / floor:.2f} x"
        )
        print(
            f"  peak memory of the process so far: before {old['memory'] / 1e9:.2f} GB, now {new['memory'] / 1e9:.2f} GB; "
            f"scores differ by at most {apart:.1e} nats"
        )
    for process in sides.values():
        process.communicate()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
