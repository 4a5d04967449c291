"""The parts of a training before its first step: frozen models and their outputs, and the initial connector.

Shapes: B batch, T encoder positions, D width of Whisper, Q virtual tokens, E width of the LLM, K further teacher
tokens.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor, nn

from diva_bench import disk, provenance
from diva_bench.catalog import training_record
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.whisper import Wave, Whisper
from diva_bench.diva import checkpoint, model
from diva_bench.diva.config import TrainConfig
from diva_bench.errors import UserError
from diva_bench.specs import digest
from diva_bench.training import data
from diva_bench.training.caches import ArrayCache, place
from diva_bench.training.data import Clips
from diva_bench.training.frozen import INSTRUCTIONS, Frozen
from diva_bench.training.sources import check
from diva_bench.types import Progress

CONNECTOR = "connector.safetensors"
_GROUP = 32  # transcripts in one batch of the teacher; always the same groups, so that a resumed first pass gives the same bits


class Trained(nn.Module):
    """All trained parts: the connector, and the encoder if it is trained too."""

    def __init__(self, connector: model.AnyConnector, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.connector, self.encoder = connector, encoder

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder states (B, T, D), or features (B, bins, 2T) if the encoder is trained -> virtual tokens (B, Q, E) and
        their number in each row (B,)."""
        if self.encoder is not None:
            states = self.encoder(states, mask)
        return self.connector(states, mask)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class TrainingRun:
    """Everything that is constant during a training."""

    config: TrainConfig
    sources: list[str]
    output: Path
    about: dict[str, dict[str, str]]
    """Names and fingerprints of `encoder` and `llm`."""
    whisper: Whisper
    frozen: Frozen
    trained: Trained
    clips: Clips
    teacher_cache: ArrayCache
    """Transcript -> the teacher's states (1 + K, E)."""
    scale: dict[str, float]
    """Mean length of each loss's targets, or 1; `pull`: of the embeddings to which virtual tokens are pulled."""
    accelerator: Accelerator
    before: dict[str, Any]
    """training.json of the connector from which this training starts; empty if there is none."""

    @property
    def device(self) -> torch.device:
        return self.frozen.device

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.dtype == "bfloat16")

    def answers(self, selection: Sequence[int]) -> list[list[int]]:
        return [self.teacher_cache.facts(text_key(self.clips.items[i].tokens))["answer"] for i in selection]

    def teacher(self, selection: Sequence[int]) -> Tensor:
        """Stored states of the transcripts of several clips, concatenated: (M, E) float32, on the CPU."""
        rows = [
            torch.from_numpy(self.teacher_cache[text_key(self.clips.items[i].tokens)].astype(np.float32))
            for i in selection
        ]
        return torch.cat(rows)

    def lesson(self, selection: Sequence[int], frame: int) -> tuple[list[list[int]], Tensor]:
        """(the teacher's answers without their first tokens, its states (M, E) concatenated) for clips in a turn with an
        instruction, computed now. Those without an instruction are stored, see `answers` and `teacher`."""
        texts = [self.clips.items[i].tokens for i in selection]
        answers = self.frozen.answers(texts, self.config.distill_positions, frame)
        return answers, torch.cat(
            self.frozen.teacher_states(texts, answers, frame)
        ).float().clone()  # out of inference mode

    def positions(self, whole: Sequence[int]) -> int:
        """The divisor of the distillation loss of a batch: the positions of its answers; with instructions the maximum,
        because a process computes only the answers of its own clips."""
        if self.config.stores_teacher:
            return sum(1 + len(a) for a in self.answers(whole))
        return len(whole) * (1 + self.config.distill_positions)

    def candidates(self, step: int, whole: Sequence[int]) -> Tensor:
        """(C,) on the CPU: the sorted vocabulary of a step: the tokens of all its clips, `negatives` of the training
        texts' tokens, and a sixth as many of all tokens. It is a function of step and seed, the same in all processes."""
        rng = torch.Generator().manual_seed(int(digest([self.config.seed, step, "candidates"])[:15], 16))
        own = torch.tensor([t for i in whole for t in self.clips.items[i].tokens])
        vocabulary = self.clips.training_tokens
        some = vocabulary[torch.randperm(len(vocabulary), generator=rng)[: self.config.negatives]]
        others = torch.randint(len(self.frozen.llm.weight), (self.config.negatives // 6,), generator=rng)
        return torch.unique(torch.cat([own, some, others]))  # type: ignore[no-any-return]

    def hear(self, selection: Sequence[int], variants: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """The input of `trained`: stored or new encoder states, or features if the encoder is trained."""
        if self.config.cache_states:
            states, mask = self.clips.batch(selection, variants)
            return states.to(self.device), mask.to(self.device)
        return self.encode(self.clips.waves(selection, variants))

    def encode(self, waves: Sequence[Wave]) -> tuple[Tensor, Tensor]:
        """The input of `trained` for waveforms: encoder states (B, T, D), or features if the encoder is trained; and a
        mask."""
        full = self.config.window_seconds is not None
        if self.config.train_encoder:
            return self.whisper.features(waves, full)
        states, mask = self.whisper.encode(waves, full)
        return states.clone(), mask.clone()  # out of inference mode


def text_key(tokens: Sequence[int]) -> str:
    return digest(list(tokens))[:32]


# ---------------------------------------------------------------- before the first step


def prepare_training(
    config: TrainConfig,
    *,
    whisper_dir: Path,
    llm_dir: Path,
    start_dir: Path | None = None,
    sources: Sequence[str],
    output: Path,
    cache: Path,
    progress: Progress,
    cache_bytes: int = 20 * 10**9,
    tracker: bool = False,
) -> TrainingRun:
    """Load frozen models, compute states that are not cached, and build the connector."""
    if tracker and find_spec("tensorboard") is None:
        raise UserError("--tensorboard needs tensorboard: pip install 'diva-bench[train]'.")
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), log_with="tensorboard" if tracker else None, project_dir=output,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))],
    )  # fmt: skip
    check(sources, config.every_batch)
    if config.both_batch < accelerator.num_processes or config.batch < accelerator.num_processes:
        raise UserError(
            f"a batch has fewer clips than there are processes ({accelerator.num_processes}); raise `batch` (--set batch=N)."
        )
    if accelerator.device.type == "cuda" and config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.manual_seed(config.seed)
    device = str(accelerator.device)
    config = _in_format(config, accelerator, progress)
    whisper = Whisper.load(whisper_dir, device, "float32" if config.train_encoder else config.dtype)
    instructions = INSTRUCTIONS if config.instructions == "mixed" else ()
    frozen = Frozen(LLM.load(llm_dir, device, config.dtype), config.checkpointing, instructions)
    about = {
        "encoder": {
            "weights": _called(config.encoder),
            "fingerprint": checkpoint.fingerprint(whisper),
            "window": checkpoint.WINDOW if config.window_seconds else "the clip's own length",
        },
        "llm": {"weights": _called(config.llm), "fingerprint": checkpoint.fingerprint(frozen.llm.weight)},
    }
    started = _started(start_dir, config, whisper, frozen) if start_dir else None
    clips = data.read_clips(
        sources, config, whisper, frozen.llm.tokens,
        made_of=[about["encoder"], whole(whisper_dir)], cache=cache, limit=cache_bytes, progress=progress,
        shard=accelerator.process_index, shards=accelerator.num_processes, share=lambda mine: _gather(accelerator, mine),
    )  # fmt: skip
    teacher_cache = _fill_teacher_cache(
        config, frozen, clips, [about["llm"], whole(llm_dir)], cache, cache_bytes, accelerator, progress
    )
    count = f"{len(clips.train)} clips to train on, {len(clips.dev)} held out"
    words = ", {5 %} to {95 %} words each, {most} at most".format(**clips.words()) if clips.train else ""
    progress.note(f"{count}, {clips.seconds / 3600:.1f} h{words}; skipped: {clips.skipped or 'none'}")
    if start_dir:
        about["start"] = {"weights": _called(config.start_from or ""), "fingerprint": whole(start_dir)[CONNECTOR][:16]}
    connector = started or build(config, whisper, frozen)
    if connector.vocabulary is not None and started is None and clips.train:  # an evaluation has no training clips
        connector.vocabulary.start(frozen.llm.embeddings, clips.training_tokens, config.sharpness)
    trained = Trained(connector, whisper.encoder.requires_grad_(True) if config.train_encoder else None)
    scale = _scale(config, frozen, clips, teacher_cache)
    output.mkdir(parents=True, exist_ok=True)
    if tracker:
        accelerator.init_trackers("tensorboard")
    return TrainingRun(
        config, list(sources), output, about, whisper, frozen, trained.to(accelerator.device), clips, teacher_cache,
        scale, accelerator, before=training_record(start_dir) if start_dir else {},
    )  # fmt: skip


def _in_format(config: TrainConfig, accelerator: Accelerator, progress: Progress) -> TrainConfig:
    """The settings with a number format instead of "auto": that of the first process, because all processes share a
    batch."""
    device = str(accelerator.device)
    dtype = _gather(accelerator, [provenance.dtype(config.dtype, device)])[0]
    if (config.dtype, dtype) == ("auto", "float32"):
        how = provenance.bfloat16(device)
        here = f"bfloat16 on this {accelerator.device.type}: {how}"
        progress.note(f"training in float32; {here}; --set dtype=bfloat16 uses it anyway")
    return replace(config, dtype=dtype)


def whole(folder: Path) -> dict[str, str]:
    """sha256 of all weights in a folder. A fingerprint covers only some weights, which a model may share with the model
    from which it was trained further: enough to refuse a connector, but not to reuse cached states."""
    return {path.name: disk.sha256(path) for path in sorted(folder.glob("*.safetensors"))}


def _called(weights: str) -> str:
    """The name of weights; for a folder its last part, because a record must not show folders of a machine."""
    return Path(weights).name


def build(config: TrainConfig, whisper: Whisper, frozen: Frozen) -> model.AnyConnector:
    """The initial connector; the same for the same seed."""
    torch.manual_seed(config.seed)
    size = model.sized(config, whisper, frozen.llm.weight.shape[1])
    if not config.from_whisper:
        made = model.build(size)
        model.cold_projection(made, frozen.llm.embeddings)
        return made
    connector = model.from_whisper(whisper, size)
    vocabularies = whisper.vocabulary(), frozen.llm.tokenizer.get_vocab()
    model.warm_projection(connector, whisper, *vocabularies, llm_embeddings=frozen.llm.embeddings)
    return connector


def _started(folder: Path, config: TrainConfig, whisper: Whisper, frozen: Frozen) -> model.AnyConnector:
    """The stored connector from which this training starts.

    Raises:
        AssetError: It was trained with other models.
        UserError: Its size or window differs from `config`.
    """
    full = checkpoint.fits(folder, whisper, frozen.llm.weight)
    connector = checkpoint.load(folder)
    expected, actual = (asdict(c) for c in (model.sized(config, whisper, frozen.llm.weight.shape[1]), connector.config))
    expected["window_seconds"], actual["window_seconds"] = config.window_seconds, 30.0 if full else None
    if other := [f"{name} {actual[name]}, not {expected[name]}" for name in expected if actual[name] != expected[name]]:
        raise UserError(
            f"start_from {config.start_from}: its connector has {'; '.join(other)}. Set the same, or start from another."
        )
    return connector.train().requires_grad_(True)


def _gather(accelerator: Accelerator, mine: list[Any]) -> list[Any]:
    """The lists of all processes in order, concatenated."""
    if accelerator.num_processes == 1:
        return mine
    from accelerate.utils import gather_object

    return list(gather_object(mine))


def _fill_teacher_cache(
    config: TrainConfig,
    frozen: Frozen,
    clips: Clips,
    made_of: Any,
    cache: Path,
    limit: int,
    accelerator: Accelerator,
    progress: Progress,
) -> ArrayCache:
    """The teacher's states of the needed transcripts, computed once: held-out ones, and with stored distillation all."""
    positions = config.distill_positions
    about = [made_of, frozen.template, config.dtype, positions]
    dtype = "float16" if config.dtype == "bfloat16" else "float32"
    store = ArrayCache(place(cache, "teacher", about), frozen.llm.weight.shape[1], dtype, limit)
    groups: list[list[tuple[int, ...]]] = []
    for part in [clips.dev, *([clips.train] if config.stores_teacher else [])]:
        texts = sorted({clips.items[i].tokens for i in part}, key=lambda t: (len(t), t))
        groups += [texts[k : k + _GROUP] for k in range(0, len(texts), _GROUP)]
    missing = [
        g
        for g in groups[accelerator.process_index :: accelerator.num_processes]
        if any(text_key(t) not in store for t in g)
    ]
    with progress.bar("teacher's states", sum(len(g) for g in missing), "transcripts") as bar:
        for group in missing:
            answers = frozen.answers(group, positions)
            states = [s.float().cpu().numpy() for s in frozen.teacher_states(group, answers)]
            facts = [{"answer": a} for a in answers]
            store.append([(text_key(t), s, f) for t, s, f in zip(group, states, facts, strict=True)])
            bar.advance(len(group))
    store.close()
    _gather(accelerator, [None])  # wait for each other
    store.refresh()
    return store


def _scale(config: TrainConfig, frozen: Frozen, clips: Clips, teacher_cache: ArrayCache) -> dict[str, float]:
    """Mean length of targets over some clips; 1 for losses that are not scaled (KL has no length)."""
    some = [clips.items[i].tokens for i in (clips.dev or clips.train)[:64]]
    length = torch.cat([frozen.targets(t) for t in some]).float().norm(dim=-1).mean()
    pull = {} if config.alignment == "l2" else {"pull": float(length)}
    if not config.scaled:
        return {"align": 1.0, "distill": 1.0, **pull}
    states = [torch.from_numpy(teacher_cache[text_key(t)].copy()).float() for t in some if text_key(t) in teacher_cache]
    states = states if config.distillation == "l2" else []
    distill = float(torch.cat(states).norm(dim=-1).mean()) if states else 1.0
    return {"align": float(length), "distill": distill, **pull}
