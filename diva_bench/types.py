"""The nouns of diva-bench: Audio, Sample, Request, Response, and the two seams, Adapter and Scorer.

Nothing here imports more than numpy. Units: seconds, Hz, tokens; audio samples are float32 in [-1, 1].
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Status = Literal["ok", "unsupported", "error"]
T = TypeVar("T")
RATES = (1_000, 768_000)
"""Hz: the lowest and the highest sampling rate that a clip may have."""


@dataclass(frozen=True, slots=True)
class Audio:
    """Decoded mono sound: `samples` float32 in [-1, 1], shape (n,); `rate` in Hz. `notes`: what a reader of the numbers "
    "must know of how it was decoded."""

    samples: NDArray[np.float32]
    rate: int
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


@dataclass(frozen=True, slots=True)
class Sample:
    """One item of a task, before a model is run. Audio is read only when `read` is called.

    `references`: one or more accepted answers, never empty. `cluster`: the unit of resampling (question, sentence,
    dialogue, speaker): what makes answers depend on each other. `groups`: what results are broken down by.
    `seconds`: length by the file header. `transcript`: the words spoken, None where the data set has none.
    """

    id: str
    references: tuple[str, ...]
    cluster: str
    read: Callable[[], bytes] | None = None
    seconds: float = 0.0
    transcript: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """What one adapter is asked about one sample.

    `audio`: 16 kHz mono, None for adapters that do not accept audio. `transcript`: the gold words, given only to
    adapters that accept "text". `prior`: share of each reference in the task, given only to adapters that accept
    "prior" (baselines), or among what the same speaker says elsewhere, to those that accept "speaker". `choices`: the
    labels to score, None for open answers. `temperature` 0 is greedy.
    """

    id: str
    prompt: str
    audio: Audio | None = None
    transcript: str | None = None
    system: str | None = None
    choices: tuple[str, ...] | None = None
    max_new_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    prior: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Log-likelihood (nats) of one label string given the prompt: of all its tokens, and of the first one alone."""

    total: float
    tokens: int
    first: float

    @property
    def mean(self) -> float:
        """Length-normalised: nats per token."""
        return self.total / max(self.tokens, 1)


@dataclass(frozen=True, slots=True)
class Response:
    """What came back for one request.

    `status`: "ok"; "unsupported": this model cannot take this one item (scored as an empty answer, counted);
    "error": our or the network's fault (not scored, asked again on resume). `detail` says why. `heard`: what a
    recogniser inside the model heard, if it has one. `seconds`: wall time by stage (encode, prefill, decode);
    `tokens`: token counts by kind (prompt, virtual, new). Of imported answers only: `label`, the choice that was taken as
    their source says ("" where it is none of the task's; None: parse the text), and `scores` that came with them, by name.
    `reasoning`: set where the text was cleaned for the scorers and had showed reasoning, which ended or was cut off.
    """

    id: str
    text: str = ""
    status: Status = "ok"
    detail: str = ""
    choices: Mapping[str, LabelScore] | None = None
    heard: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    label: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    reasoning: Literal["", "ended", "cut off"] = ""


@runtime_checkable
class Adapter(Protocol):
    """One model. Built by its class as `Adapter(spec: ModelSpec, paths: Mapping[str, Path], device: str)`, where `paths`
    holds the folder of every weights entry of the spec, downloaded, checked and converted.

    `accepts`: subset of {"audio", "text", "choices", "prior", "speaker"}. `version`: bumped when prompts or decoding change.
    A class whose questions go through a chat template also has `chat`, the role of the weights that bring it ("llm"): the
    template as rendered (decoding/chat.py) is part of a run's identity.
    Where the class has them, these are checked before anything is loaded: `settings`, argument -> default, whose type the
    spec's `args` must have; `roles`, the weights that it needs.
    """

    accepts: frozenset[str]
    version: str

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        """One response per request, same order, same ids. What a model cannot take is `unsupported`, not an exception."""
        ...

    def close(self) -> None:
        """Free memory. Called once."""
        ...


Row = Mapping[str, float]  # additive statistics of one answer, sparse: a missing key is 0


@runtime_checkable
class Scorer(Protocol):
    """One family of metrics. Built by its class as `Scorer(task: TaskSpec, **args)`.

    Statistics first, score second: `measure` gives additive numbers for one answer, so that the score of any subset,
    breakdown or bootstrap resample is `reduce` of a sum of rows. `signature`: every setting and library version that
    can move the number.

    Responses come without reasoning and special tokens (`diva_bench.scorers.cleaning`); the catalog adds that to every signature.
    """

    signature: str
    higher_is_better: bool

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        """Additive, sparse, JSON-able statistics of one answer. An `unsupported` response is measured as an empty answer."""
        ...

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Scores from summed statistics. Each value of `totals` has one shape (...), kept by every score; a statistic
        that no row had is missing. Scores are finite and on a 0 to 100 scale; a scorer with others says so in an attribute
        `ranges`, metric -> (least, most), None where there is no end."""
        ...


@runtime_checkable
class WholeScorer(Scorer, Protocol):
    """A scorer that takes all answers of a run at once, because another model reads them: a judge, COMET.

    Its `measure` refuses: one answer alone (a constant baseline, a glance while training) is not worth asking a model.
    """

    def measure_all(
        self, samples: Sequence[Sample], responses: Sequence[Response], folder: Path, progress: Progress
    ) -> list[dict[str, float]]:
        """`measure` of every answer, in order. What it had to ask for is kept in `folder`, the run's, and not asked for
        again. An empty row: this answer could not be measured, for a reason that is not the answer's fault."""
        ...


@runtime_checkable
class CorpusScorer(Scorer, Protocol):
    """A scorer of a metric that is not a mean over answers, though its rows are: it also knows the metric's own value."""

    def corpus(self, samples: Sequence[Sample], responses: Sequence[Response]) -> dict[str, float]:
        """Metric -> its value over all answers together, on the scale of `reduce`; no interval can be had for it."""
        ...


class Progress(Protocol):
    """How long work reports its progress; the command line passes one. Units are the caller's (samples, bytes, steps)."""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterable[T]:
        """Pass items through while showing how many are done, the rate and the time left."""
        ...

    def bar(self, label: str, total: float | None, unit: str = "items", done: float = 0) -> Bar:
        """A bar that is advanced by hand; use as a context manager."""
        ...

    def note(self, message: str) -> None:
        """One plain line, above any bar."""
        ...


class Bar(Protocol):
    def __enter__(self) -> Bar: ...
    def __exit__(self, *exc: Any) -> None: ...
    def advance(self, amount: float = 1, text: str = "") -> None:
        """`text`: what else there is to say now, after the label."""
        ...


class Silent:
    """A Progress that shows nothing: for tests."""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterable[T]:
        return items

    def bar(self, label: str, total: float | None, unit: str = "items", done: float = 0) -> Bar:
        return _SilentBar()

    def note(self, message: str) -> None:
        return None


class Logged(Silent):
    """The Progress of a call without one: no bars, and notes go to the logger "diva_bench"."""

    def note(self, message: str) -> None:
        logging.getLogger("diva_bench").info("%s", message)


class _SilentBar:
    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exc: Any) -> None:
        return None

    def advance(self, amount: float = 1, text: str = "") -> None:
        return None
