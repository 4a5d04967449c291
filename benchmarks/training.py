"""Training throughput: what running frozen parts once is worth, against a plain loop, in one run.

    OMP_NUM_THREADS=1 python benchmarks/training.py --data DIR [--preset nano] [--preset mini] [--steps 8] [--dtype bfloat16]

The plain loop runs encoder, teacher and student on every step: frozen weights, no weight gradients, the same number
format, batches, connector and attention kernels; audio is decoded beforehand for both. Steps alternate between the two,
so that a noisy machine is noisy for both. The floor is the ratio of FLOPs (diva_bench/diva/compute.py); the aim is 85 %
of it. Losses are of the same batches before any update; beside how far the two loops are apart stands how far the plain
loop is from itself when it reads the same clips one by one: what padding and the order of sums do in the number format.
Results: training.txt.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diva_bench import audio, provenance
from diva_bench.catalog import Catalog
from diva_bench.diva import losses
from diva_bench.diva.compute import peak_memory_bytes, plain_over_cached
from diva_bench.diva.config import PRESETS
from diva_bench.diva.reading import contents
from diva_bench.training import sources, train
from diva_bench.training.batch import batch_of, complete, read
from diva_bench.training.meter import work_of
from diva_bench.training.run import TrainingRun, prepare_training
from diva_bench.types import Silent
from diva_bench.weights import assets

CLIPS = 320


def some_clips(data: str, target: Path) -> dict[str, bytes]:
    """A source of a few clips from all over `data`, and their audio by id."""
    rows, every = [], max(1, 15_000 // CLIPS)
    for k, example in enumerate(sources.read(data)):
        if k % every == 0:
            rows.append({"audio": {"bytes": example.audio, "path": None}, "text": example.text})
        if len(rows) == CLIPS:
            break
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), target / "train-000.parquet")
    return {f"train-000.parquet:{k}": row["audio"]["bytes"] for k, row in enumerate(rows)}


def student_of(run: TrainingRun) -> train.Student:
    return train.Student(run.trained, run.trained.connector, run.frozen)


def cached_loss(run: TrainingRun, chosen: list[int], variants: list[int], step: int) -> Tensor:
    batch = complete(run, read(run, chosen, variants, chosen, step))
    with run.autocast():
        return train.losses_of(batch, student_of(run), run.config, run.scale)[0]


def plain_loss(run: TrainingRun, waves: Sequence[Tensor], chosen: list[int], whole: list[int], step: int) -> Tensor:
    """What `train.losses_of` gives, every frozen part run now and the prompt read whole; of a part of the `whole` batch
    its share."""
    config, frozen = run.config, run.frozen
    tokens = [run.clips.items[i].tokens for i in chosen]
    targets = [frozen.targets(t) for t in tokens]
    batch = read(run, chosen, [0] * len(chosen), whole, step)  # its tokens and candidates alone
    states, mask = run.whisper.encode(waves)  # outside autocast, as the cached pass: rounding is then the same
    with run.autocast():
        virtual, counts = run.trained(states.clone(), mask.clone())
        # nothing of it is frozen: as it is
        loss, _ = train.alignment(virtual, counts, batch, student_of(run), config, run.scale)
        if config.runs_llm(step):
            before, after = frozen.targets(frozen.before), frozen.targets(frozen.after)
            prompts = [torch.cat([before, t, after]) for t in targets]
            last = torch.tensor([len(p) - 1 for p in prompts])
            with torch.no_grad(), torch.autocast("cpu", enabled=False):
                states = run.frozen.llm.model.base_model(
                    inputs_embeds=torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True), use_cache=False
                ).last_hidden_state
            given, _ = contents(run.trained.connector, virtual, counts, frozen.llm.embeddings)
            rows = [torch.cat([before, v.to(before.dtype), after]) for v in given]
            ends = torch.tensor([len(row) - 1 for row in rows])
            with sdpa_kernel(SDPBackend.MATH):
                student = frozen.llm.model.base_model(
                    inputs_embeds=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), use_cache=False
                ).last_hidden_state
            every = torch.arange(len(rows))
            away, _ = losses.state_distance(student[every, ends], states[every, last])
            loss = loss + away / (len(whole) * run.scale["distill"])
    return loss


def timed(work: Callable[[], Tensor], run: TrainingRun, optimiser: torch.optim.Optimizer) -> tuple[float, float]:
    """(seconds, loss) of one step without the update: weights stay, so that both loops see the same ones."""
    began = time.perf_counter()
    optimiser.zero_grad()
    loss = work()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.trained.parameters(), run.config.clip)
    return time.perf_counter() - began, float(loss.detach())


def compare(run: TrainingRun, encoded: dict[str, bytes], both: bool, steps: int) -> str:
    """One line: seconds a step of both loops, their ratio, and how much of the ratio of FLOPs that is."""
    optimiser = train.build_optimiser(run.trained, run.config)
    first = run.config.align_steps if both else 0
    found: dict[str, list[tuple[float, float]]] = {"cached": [], "plain": []}
    singly: list[float] = []
    for step in range(first, first + steps + 1):
        chosen, variants = batch_of(step, run.clips, run.clips.train, run.config)
        waves = [audio.decode(encoded[run.clips.items[i].id]).samples for i in chosen]
        found["cached"].append(
            timed(lambda: cached_loss(run, chosen, variants, step), run, optimiser)  # noqa: B023
        )
        found["plain"].append(timed(lambda: plain_loss(run, waves, chosen, chosen, step), run, optimiser))  # noqa: B023
        alone = [plain_loss(run, [wave], [i], chosen, step).detach() for wave, i in zip(waves, chosen, strict=True)]
        singly.append(float(sum(alone)))
    # the first step of each warms up
    seconds = {name: statistics.median(s for s, _ in rows[1:]) for name, rows in found.items()}
    plain = [loss for _, loss in found["plain"]]
    off, noise = (
        max(abs(a - b) / abs(b) for a, b in zip(others, plain, strict=True))
        for others in ([loss for _, loss in found["cached"]], singly)
    )
    ratio, wanted = seconds["plain"] / seconds["cached"], plain_over_cached(work_of(run), runs_llm=both)
    phase = "both losses" if both else "alignment"
    return (
        f"{phase:12} batch {run.config.batch_at(first):3}  cached {seconds['cached']:.3f} s/step  plain "
        f"{seconds['plain']:.3f} s/step  ratio {ratio:.2f}, by FLOPs {wanted:.2f}: {100 * ratio / wanted:.0f} %  largest "
        f"relative difference of a loss {off:.1e}, of the plain loop clip by clip {noise:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--preset", action="append")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    given = parser.parse_args()
    where = provenance.collect("")
    print(
        f"{where['started']}  {where['machine']['processor']}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    for preset in given.preset or ["nano", "mini"]:
        config = replace(PRESETS[preset](), dtype=given.dtype)
        whisper, llm = (assets.ready(*Catalog().weights(name), Silent()) for name in (config.encoder, config.llm))
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            encoded = some_clips(given.data, place)
            run = prepare_training(
                config, whisper_dir=whisper, llm_dir=llm, sources=[folder], output=place / "out", cache=place / "cache",
                progress=Silent(),
            )  # fmt: skip
            run.trained.train()
            for both in (False, True) if run.config.distill else (False,):
                print(f"{preset} {given.dtype}  {compare(run, encoded, both, given.steps)}", flush=True)
            print(f"{preset} peak memory {peak_memory_bytes(str(run.device)) / 1e9:.1f} GB", flush=True)


if __name__ == "__main__":
    main()
