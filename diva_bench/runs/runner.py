"""The loop of a run: plan, prefetch, generate, append.

prepare()  task + model -> Job: data loaded, identities fixed, scorers built; no model is run, and no weights are read
ask()      Job + adapter -> answers in the run folder; resumes; a failure becomes an `error` row, never an answer
score()    run folder -> scores.jsonl and summary.json (see scoring.py)
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from diva_bench import audio, provenance
from diva_bench.audio import perturbations
from diva_bench.audio.perturbations import Control
from diva_bench.data import Dataset
from diva_bench.decoding import news
from diva_bench.decoding.generate import generate
from diva_bench.decoding.stream import stream
from diva_bench.errors import ClipError, StoreError, UnreadableRun, UserError
from diva_bench.runs import old_identity, plan, rows
from diva_bench.runs.store import RunFolder, Shard
from diva_bench.specs import ModelSpec, TaskSpec, digest, prompt
from diva_bench.stats import priors
from diva_bench.types import Adapter, Bar, Progress, Request, Response, Sample, Scorer, Streaming

RULES = 2
"""Version of the rules of question identities; the older rules are in old_identity.py."""
_AHEAD = 2  # batches decoded ahead of the model
_CLIPS_AHEAD = 32  # clips decoded ahead of a model that takes them one by one
_TIMED = 1.0  # seconds: at most one line of timing in so long
_READERS = 4  # threads that decode
_FINISHED = frozenset({"ok", "unsupported"})


@dataclass(frozen=True)
class Job:
    """One task for one model, with everything fixed except the answers."""

    task: TaskSpec
    model: ModelSpec
    dataset: Dataset
    scorers: Mapping[str, Scorer]
    accepts: frozenset[str]
    adapter_version: str
    limit: int | None = None
    seed: int = 0
    control: Control | None = None
    """What is done to the clips; None: they are heard as they are."""
    chat: str | None = None
    """Role of the weights whose chat template stands around every question; None: no template does."""
    frame: str | None = None
    """That template as rendered (`decoding.chat.frame`); None also until its weights are on this machine."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    adapter: Adapter | None = field(default=None, repr=False)
    """The model itself, where it was given in Python; None: the catalog loads it."""

    @cached_property
    def samples(self) -> Sequence[Sample]:
        """The samples with the clips of the audio condition. The condition is fixed for the whole data set, whatever the
        limit."""
        whole = self.dataset
        if self.control is not None:
            whole = replace(whole, samples=perturbations.apply_to_samples(self.control, whole.samples, self.seed))
        return whole.limited(self.limit, self.seed)

    @property
    def adapter_inputs(self) -> frozenset[str]:
        """The inputs that the adapter gets of those it accepts: no transcript if an audio condition tests the use of
        audio."""
        return self.accepts - {"text"} if self.control is not None else self.accepts

    @property
    def condition(self) -> dict[str, Any]:
        """Prompt variant, changed settings and audio condition; empty for the unchanged task."""
        wording: dict[str, Any] = {"variant": self.task.variant} if self.task.variant else {}
        wording |= {"overrides": self.task.overrides} if self.task.overrides else {}
        return wording | ({"audio": self.control.name} if self.control is not None else {})

    @property
    def title(self) -> str:
        """A label for messages: heysquad (prompt 1, snr=10) x cascade."""
        conditions = [f"prompt {self.task.variant}"] if self.task.variant else []
        conditions += [f"changed: {', '.join(self.task.overrides)}"] if self.task.overrides else []
        conditions += [self.control.name] if self.control is not None else []
        how = f" ({', '.join(conditions)})" if conditions else ""
        return f"{self.task.name}{how} x {self.model.name}"

    @cached_property
    def task_record(self) -> dict[str, Any]:
        """The identity of the question: everything that a question depends on, without the model. Runs with one task
        record are comparable. The audio condition is part of it, and is in the folder name too."""
        limit = self.limit if self.limit is not None and self.limit < len(self.dataset.samples) else None
        identity = {
            "rules": RULES,
            **self.task.identity(),
            "fingerprint": self.dataset.fingerprint,
            "questions": prompt.questions(self.task, self.dataset.samples) if self.dataset.questions else None,
            "limit": limit,
            "seed": self.seed,
        }
        if self.control is not None:
            identity["audio"] = perturbations.identity(self.control, self.dataset.samples, self.seed)
        if self.dataset.partial:
            identity["partial"] = self.dataset.partial
        hashed = digest(identity)
        trial = f"-limit{limit}" if limit is not None else ""
        named = f"{self._task_label}{trial}-{hashed[:6]}"
        return {"id": named, "hash": hashed, "name": self.task.name, **identity}

    def task_at(self, results: Path) -> dict[str, Any]:
        """`task_record` with the folder name that the task has in `results`: older versions left the limit out of it."""
        record = self.task_record
        older = f"{self._task_label}-{record['hash'][:6]}"
        if record["id"] == older or (results / record["id"] / "task.json").is_file():
            return record
        file = results / older / "task.json"
        is_same = file.is_file() and RunFolder.hash_of(file) == record["hash"]
        return {**record, "id": older} if is_same else record

    def run_at(self, results: Path) -> dict[str, Any]:
        """`run_record` with the folder name that the task has in `results`."""
        return {**self.run_record, "task_id": self.task_at(results)["id"]}

    @property
    def _task_label(self) -> str:
        """The beginning of the task folder's name, without the limit."""
        parts = [f"prompt{self.task.variant}"] if self.task.variant else []
        parts += ["changed"] if self.task.overrides else []
        parts += [self.control.slug] if self.control is not None else []
        parts += ["partial"] if self.dataset.partial else []
        return "-".join([self.task.name, *parts])

    @cached_property
    def former_record(self) -> dict[str, Any]:
        """The identity of the question by the rules of older versions."""
        record = {
            **self.task.identity(),
            "fingerprint": self.dataset.former,
            "limit": self.task_record["limit"],
            "seed": self.seed,
            **({"audio": self.control.record()} if self.control is not None else {}),
            **({"partial": self.dataset.partial} if self.dataset.partial else {}),
        }
        return {**record, "hash": old_identity.task_hash(record)}

    @property
    def named(self) -> bool:
        """Whether the run's identity is known: if a chat template is part of it, its weights must be on this machine, and
        so must all whose hashes are not in their YAML."""
        return not self.model.unknown and (self.chat is None or self.frame is not None)

    @property
    def label(self) -> str:
        """The beginning of the run folder's name."""
        edition = self.model.edition
        return self.model.name if edition in (None, "mini", "full") else f"{self.model.name}-{edition}"

    @cached_property
    def run_record(self) -> dict[str, Any]:
        """The identity of the run (the task, the model, and the chat frame), with further facts for readers."""
        assert self.named, f"{self.title}: the chat frame or the weights are not known yet"
        framed = {} if self.frame is None else {"frame": self.frame}
        identity = {
            "task": self.task_record["hash"],
            "model": self.model.identity(),
            "adapter_version": self.adapter_version,
            **framed,
        }
        hashed = digest(identity)
        return {
            "id": f"{self.label}-{hashed[:6]}",
            "hash": hashed,
            "task_id": self.task_record["id"],
            "task": self.task.model_dump(mode="json"),
            "model": self.model.model_dump(mode="json"),
            "adapter_version": self.adapter_version,
            **framed,
            "fingerprint": self.dataset.fingerprint,
            "limit": self.task_record["limit"],
            "seed": self.seed,
            **self.condition,
            "faults": [{"id": f.id, "reason": f.reason} for f in self.dataset.faults],
            "excluded": [{"id": f.id, "reason": f.reason} for f in self.dataset.excluded],
            "data_notes": list(self.dataset.notes),
            "data_revision": self.dataset.revision,
            **({} if self.model.hashed else {"weights_hashed": False}),
            **self.provenance,
        }

    def reserve(self, results: Path) -> None:
        """Make the task's folder. Raises StoreError if it cannot be written."""
        RunFolder.reserve(results, self.task_at(results))

    def settled(self, results: Path) -> Job:
        """The job with the rows of its task stored. Rows that are already stored are used, and a difference is logged."""
        record = self.task_at(results)
        return replace(self, dataset=rows.settled(results / str(record["id"]), record, self.task, self.dataset))

    def folder(self, results: Path, shard: Shard | None = None) -> RunFolder:
        return RunFolder.create(results, self.task_at(results), self.run_at(results), shard)

    def path(self, results: Path) -> Path:
        """The folder of the run, which may not exist."""
        return self.task_path(results) / str(self.run_record["id"])

    def task_path(self, results: Path) -> Path:
        return results / str(self.task_at(results)["id"])

    def check_former(self, results: Path) -> None:
        """Refuse a run that an older version has made in this folder under its old id."""
        task = self.former_record["hash"]
        run = old_identity.run_hash(task, self.model.model_dump(mode="json"), self.adapter_version)
        old = results / f"{self._task_label}-{task[:6]}" / f"{self.label}-{run[:6]}"
        now = self.find(results)
        if (old / "run.json").is_file() and not (now and (now / "run.json").is_file()):
            raise StoreError(
                f"{old}: an older version has made this run under an old id. `{old_identity.COMMAND} {results}` moves it to its "
                f"current id, so that no sample is run twice; to run it again, choose another --output."
            )

    def find(self, results: Path) -> Path | None:
        """The folder of the run, which may not exist. Without weights, a stored run is found by its recorded chat frame;
        None if there is none."""
        if self.named:
            return self.path(results)
        if self.model.unknown:
            return None
        for file in sorted(self.task_path(results).glob(f"{self.label}-*/run.json")):
            with contextlib.suppress(UnreadableRun):  # ignore faults of other runs
                frame = RunFolder(file.parent).record().get("frame")
                if isinstance(frame, str) and replace(self, frame=frame).path(results) == file.parent:
                    return file.parent
        return None

    def prior(self) -> Callable[[Sample], Mapping[str, float] | None]:
        """Sample -> the prior for its request, for adapters that accept one."""
        if "speaker" in self.accepts:
            priors_of_samples = priors.of_speakers(self.dataset.samples, self.task.speaker, self.task.choices)
            return lambda sample: priors_of_samples.get(sample.id)
        everybody = self.dataset.prior() if "prior" in self.accepts else None
        return lambda sample: everybody

    def check(self) -> None:
        """Raises UserError if this model can never answer this task."""
        if self.chat is not None and self.chat not in self.model.weights:
            raise UserError(
                f"model {self.model.name}: its adapter {self.model.adapter} needs weights of role {self.chat!r}; the model "
                f"names {', '.join(self.model.weights) or 'none'}."
            )
        if self.control is not None and "audio" not in self.accepts:
            raise UserError(
                f"model {self.model.name} takes no audio: --audio {self.control.name} changes nothing for it. "
                "Leave the model out, or run it without --audio."
            )
        if "speaker" in self.accepts:
            if not priors.of_speakers(self.dataset.samples, self.task.speaker, self.task.choices):
                raise UserError(
                    f"model {self.model.name} answers by who speaks, but task {self.task.name} has no labels, or its data "
                    "does not say who speaks (`speaker:` of the task names the column). Leave the model out."
                )
            return
        if not self.accepts & {"audio", "text", "prior"}:
            raise UserError(f"model {self.model.name}: its adapter accepts neither audio, text nor a prior.")
        if self.accepts & {"audio", "prior"} or any(s.transcript for s in self.samples):
            return
        raise UserError(
            f"model {self.model.name} takes no audio and needs transcripts, but task {self.task.name} has none "
            "(the data's `text` column)."
        )


@dataclass(slots=True)
class Outcome:
    """The outcome of `ask`: samples answered `before` it, new answers, wall seconds, audio seconds."""

    total: int
    before: int
    answered: int = 0
    errors: int = 0
    wall: float = 0.0
    audio: float = 0.0


def ask(job: Job, adapter: Adapter, folder: RunFolder, progress: Progress, shard: Shard | None = None) -> Outcome:
    """Run the model on every sample without an answer, in the batches of the whole task.

    An incomplete batch is repeated as a whole, so that in bfloat16, where answers depend on the batch, a resumed run
    equals an uninterrupted one.

    An adapter with `stream` has no batches: every answer is appended when it arrives.

    Raises:
        StoreError: The folder cannot be written; what was written is kept.
        Stop: The model can answer nothing more; what was answered is kept.
    """
    shard = shard or Shard()
    runtime = job.model.runtime
    streams = hasattr(adapter, "stream")
    rows_of_batch = 1 if streams else runtime.batch_rows if getattr(adapter, "splits_audio", False) else None
    if not streams:
        _note_budget(folder, runtime.batch_seconds, rows_of_batch)
    cut = plan.shard(plan.batches(job.samples, runtime.batch_seconds, rows_of_batch), shard.index, shard.count)
    finished = {ident for ident, status in folder.answered().statuses() if status in _FINISHED}
    todo = plan.remaining(cut, finished)
    total = sum(len(b) for b in cut)
    outcome = Outcome(total, before=sum(s.id in finished for b in cut for s in b) if finished else 0)
    if not todo:
        return outcome
    if outcome.before:
        progress.note(f"{job.title}: resuming {outcome.before}/{total}")
    if streams:
        _ask_stream(job, cast(Streaming, adapter), folder, progress, todo, outcome)
        return outcome
    prior, begun, is_first = job.prior(), time.perf_counter(), True
    done = total - sum(len(b) for b in todo)

    def split(rows: int, into: int, first: str, why: str) -> None:
        folder.event({"event": "split", "rows": rows, "into": into, "first": first, "why": why})

    # closed here explicitly, because a notebook keeps everything that an exception refers to
    with (
        _servers_noted(folder, adapter),
        progress.bar(job.title, total, "samples", done) as bar,
        contextlib.closing(_prefetch(job, todo, prior)) as batches,
    ):
        for batch, requests, broken in batches:
            inside = _Inside(bar, len(batch))
            began = time.perf_counter()
            with news.listening(inside):
                answers = {r.id: r for r in [*broken, *generate(adapter, requests, job.model.adapter, split)]}
            wall = time.perf_counter() - began
            responses = [_public(answers[s.id]) for s in batch]
            audio_seconds = sum(s.seconds for s in batch)
            timing = _timing(responses, audio_seconds, wall)
            if timing["stages"]:  # a model computed
                timing |= _machine(job, time.perf_counter() - begun if is_first else None)
                is_first = False
            folder.append(responses, timing)
            outcome.answered += len(batch)
            outcome.errors += sum(r.status == "error" for r in responses)
            outcome.wall += wall
            outcome.audio += audio_seconds
            inside.end()
    return outcome


class _Inside:
    """Progress inside a batch, a listener of `decoding/news.py`: the bar shows the stage and counts finished answers. They
    are stored when the whole batch is answered."""

    def __init__(self, bar: Bar, rows: int) -> None:
        self._bar, self._rows, self._text = bar, rows, f"{rows} at a time"
        self._shown = 0
        self._counts: Counter[str] = Counter()
        bar.advance(0, self._text, inside=True)

    def __call__(self, stage: str, rows: int) -> None:
        self._counts[stage] += rows
        # a batch that failed is asked again, in parts, and its answers must not count twice
        more = min(self._counts[news.DECODE], self._rows) - self._shown
        self._shown += more
        count = min(self._counts[stage], self._rows)
        done = f" {count}" if count and stage != news.DECODE else ""  # the bar itself counts answers
        self._bar.advance(more, f"{self._text}, {stage}{done}", inside=True)

    def end(self) -> None:
        self._bar.advance(self._rows - self._shown, self._text)


def _ask_stream(
    job: Job,
    adapter: Streaming,
    folder: RunFolder,
    progress: Progress,
    todo: Sequence[Sequence[Sample]],
    outcome: Outcome,
) -> None:
    """`ask` for an adapter that answers in its own order: `todo` has one sample in each batch."""
    seconds = {sample.id: sample.seconds for (sample,) in todo}
    unread: deque[Response] = deque()
    began = time.perf_counter()
    waiting: list[Response] = []  # stored, but without a line of timing yet

    def requests() -> Iterator[Request]:
        for _, built, broken in batches:
            unread.extend(broken)
            yield from built

    def timed(now: float) -> dict[str, Any]:
        nonlocal began
        line = _timing(waiting, sum(seconds[r.id] for r in waiting), now - began)
        began, outcome.wall, outcome.audio = now, outcome.wall + line["wall"], outcome.audio + line["audio"]
        waiting.clear()
        return line

    def keep(responses: Sequence[Response], last: bool = False) -> None:
        waiting.extend(responses)
        now = time.perf_counter()
        line = timed(now) if waiting and (last or now - began > _TIMED) else None
        folder.append([_public(r) for r in responses], line)
        outcome.answered += len(responses)
        outcome.errors += sum(r.status == "error" for r in responses)
        bar.advance(len(responses))

    with (
        _servers_noted(folder, adapter),
        progress.bar(job.title, outcome.total, "samples", outcome.before) as bar,
        contextlib.closing(_prefetch(job, todo, job.prior(), _CLIPS_AHEAD)) as batches,
        contextlib.closing(stream(adapter, requests(), job.model.adapter)) as responses,
    ):
        group: list[Response] = []  # what arrived together; it is stored before the adapter waits again
        try:
            for response in responses:
                group += [*_drained(unread), response]
                if not getattr(adapter, "arrived", 0):
                    stored, group = group, []
                    keep(stored)
        finally:
            keep([*group, *_drained(unread)], last=True)


@contextlib.contextmanager
def _servers_noted(folder: RunFolder, adapter: object) -> Iterator[None]:
    """Record at the end, also after a Stop, what was sent to the servers of a model, if it asks any."""
    try:
        yield
    finally:
        if served := getattr(adapter, "served", None):
            folder.event({"event": "server", **served()})


def _drained(responses: deque[Response]) -> list[Response]:
    return [responses.popleft() for _ in range(len(responses))]


def _public(response: Response) -> Response:
    """The response as it is stored, without folders of this machine in its `detail`."""
    return replace(response, detail=provenance.without_folders(response.detail)) if response.detail else response


def _note_budget(folder: RunFolder, seconds: float, rows_of_batch: int | None) -> None:
    """Record the batch budgets, so that a run which resumes with others is recognised."""
    budget = {"event": "budget", "seconds": seconds, **({"rows": rows_of_batch} if rows_of_batch else {})}
    if not any({k: e.get(k) for k in ("event", "seconds", "rows") if k in e} == budget for e in folder.events()):
        folder.event(budget)


def _timing(responses: Sequence[Response], audio_seconds: float, wall: float) -> dict[str, Any]:
    """The record of one batch: rows, audio seconds, wall seconds, and wall seconds by stage of the adapter."""
    stages: dict[str, float] = {}
    for response in responses:
        for stage, seconds in response.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    return {
        "rows": len(responses),
        "audio": round(audio_seconds, 3),
        "wall": round(wall, 6),
        "stages": {k: round(v, 6) for k, v in stages.items()},
    }


def _machine(job: Job, first: float | None) -> dict[str, Any]:
    """What the record of a batch says about the machine. `first`: seconds until the first answers; None for later ones."""
    device = provenance.device(job.model.runtime.device) if job.model.weights else None
    memory: dict[str, Any] = {"memory": provenance.peak_memory(device)}
    return memory if first is None else {**memory, "first": round(first, 6), "machine": provenance.compute(device)}


# ---------------------------------------------------------------- requests, decoded ahead


def _prefetch(
    job: Job,
    todo: Sequence[Sequence[Sample]],
    prior: Callable[[Sample], Mapping[str, float] | None],
    ahead: int = _AHEAD,
) -> Generator[tuple[tuple[Sample, ...], list[Request], list[Response]], None, None]:
    """(batch, its requests, error responses of samples that could not be read); `ahead` batches are decoded in advance."""

    def build(sample: Sample) -> Request | Response:
        sound = None
        if "audio" in job.accepts and sample.read is not None:
            try:
                sound = audio.decode(sample.read())
            except (OSError, ClipError) as err:
                # the clip was complete in the index and has changed since, which is not the model's fault
                return Response(sample.id, status="error", detail=f"its clip changed since it was checked: {err}")
            if job.control is not None:
                try:
                    sound = perturbations.apply(job.control, sound, sample.id, job.seed)
                except ClipError as err:
                    return Response(sample.id, status="error", detail=str(err))
        return prompt.build(job.task, sample, job.adapter_inputs, audio=sound, prior=prior(sample), seed=job.seed)

    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        waiting: deque[tuple[tuple[Sample, ...], list[Future[Request | Response] | Sample]]] = deque()
        decodes = "audio" in job.accepts
        source = iter(todo)
        try:
            while True:
                while len(waiting) <= ahead and (following := next(source, None)) is not None:
                    batch = tuple(following)
                    # without a clip there is nothing to do in advance, and a thread costs more than the request
                    waiting.append((batch, [pool.submit(build, s) if decodes and s.read else s for s in batch]))
                if not waiting:
                    return
                batch, parts = waiting.popleft()
                built = [build(part) if isinstance(part, Sample) else part.result() for part in parts]
                yield (
                    batch,
                    [b for b in built if isinstance(b, Request)],
                    [b for b in built if isinstance(b, Response)],
                )
        finally:
            for _, parts in waiting:
                for part in parts:
                    if isinstance(part, Future):
                        part.cancel()
