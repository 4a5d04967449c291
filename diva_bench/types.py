"""The types of diva-bench: Audio, Sample, Request, Response, and the two interfaces Adapter and Scorer.

This module imports no library: commands that compute nothing load none. Units: seconds, Hz, tokens; audio samples are
float32 in [-1, 1].
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"
Status = Literal["ok", "unsupported", "error"]
T = TypeVar("T")
ENGLISH = "en"
"""Language of a clip whose task names no other."""
SPEECH_LANGUAGE = "speech_language"
"""Key of `fields` of a task and of a request: the code of the language of the clip."""
RATES = (1_000, 768_000)
"""Hz: the lowest and the highest sampling rate of a clip."""
UNPROMISED = "length not promised"
"""Note on a clip whose container does not store its length: whether it was cut short cannot be detected."""
FIRST_TOKEN = "label scores: first token only"
"""`detail` of a response whose label scores are those of the first token of each label."""
CANCELLED = "channels cancel each other"
"""Note on a clip whose channels cancel each other: the louder channel is used instead of the mean."""


@dataclass(frozen=True, slots=True)
class Audio:
    """Decoded mono audio.

    Attributes:
        samples: float32 in [-1, 1], shape (n,).
        rate: Sampling rate in Hz.
        notes: Remarks on the decoding that readers of scores must know.
    """

    samples: NDArray[np.float32]
    rate: int
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


@dataclass(frozen=True, slots=True)
class Sample:
    """One item of a task, before a model is run. Audio is read only when `read` is called.

    Attributes:
        id: Unique in the task.
        references: Accepted answers, at least one.
        cluster: The unit of resampling (question, sentence, dialogue, speaker): answers in one cluster depend on each
            other.
        read: Returns the encoded bytes of the clip; None if the sample has no clip.
        seconds: Length by the file header.
        transcript: The spoken words; None if the data set has no transcripts.
        fields: Values of the columns that the prompt shows.
        groups: Column -> value, for breakdowns of results.
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
    """The question to an adapter about one sample.

    Attributes:
        id: The id of the sample.
        prompt: The rendered prompt.
        audio: Mono audio at 16 kHz; None for adapters that do not accept audio.
        transcript: The gold transcript, only for adapters that accept "text".
        choices: The labels to score; None for open answers.
        prior: Reference -> its share in the task, for adapters that accept "prior"; or its share in the other samples
            of the same
            speaker, for adapters that accept "speaker".
        temperature: 0 is greedy decoding.
        fields: Facts about the task for models that read no prompt: language_code, of the language into which it
            translates; speech_language, the code of the language of the clip if it is not English.
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
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def speech_language(self) -> str:
        """Code of the language of the clip: en, fr, pt-BR."""
        return self.fields.get(SPEECH_LANGUAGE, ENGLISH)


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Log-likelihood (nats) of a label given the prompt: of all its tokens, and of its first token."""

    total: float
    tokens: int
    first: float

    @property
    def mean(self) -> float:
        """Log-likelihood per token, in nats."""
        return self.total / max(self.tokens, 1)


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to one request.

    Attributes:
        status: "ok"; "unsupported": the model cannot take this item (scored as an empty answer, and counted); "error":
            a failure of
            the program or the network (not scored, and run again on resume).
        detail: The reason for a status other than "ok"; for "ok" the reason why there are no label scores, or how they
            were made.
        heard: The transcript of a recogniser inside the model, if it has one.
        seconds: Wall time by stage (encode, prefill, decode).
        tokens: Token counts by kind (prompt, virtual, new).
        label: Imported answers only: the label by the source of the answer; "" if it is none of the task's labels;
            None: parse the
            text.
        scores: Imported answers only: scores from the source, by name.
        reasoning: Set if the text was cleaned for the scorers and contained reasoning: whether the reasoning ended or
            was cut off.
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
    """One model. Its class is called as `Adapter(spec: ModelSpec, paths: Mapping[str, Path], device: str)`; `paths` has
    the folder of every weights entry of the spec, downloaded, verified and converted.

    A class that uses a chat template also has `chat`, the role of the weights that contain the template ("llm"); the
    rendered template (decoding/chat.py) is part of a run's identity. A class may have `settings` (argument -> default;
    the spec's `args` must have the same types) and `roles` (the weights that it needs); both are checked before
    anything is loaded. A class whose `splits_audio` is true cuts the audio of its requests into parts that its encoder
    can hold (`spec.runtime.batch_seconds`), so it gets `batch_rows` requests at a time, whatever their length. An adapter
    may have `max_seconds`, the longest clip that it takes; a longer one is `unsupported`. A class
    may have `refuses(task, model)`: why the model cannot do a task, "" if it can; it is asked before anything is run.

    `diva_bench.testing.check_adapter` checks all of this.

    Attributes:
        version: Bump it when prompts or decoding change.
        accepts: Subset of {"audio", "text", "choices", "prior", "speaker"}.
    """

    accepts: frozenset[str]
    version: str

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        """One response per request, in the same order and with the same ids. A request that the model cannot take gets the
        status "unsupported", not an exception."""
        ...

    def close(self) -> None:
        """Free memory. It can be called twice."""
        ...


class Streaming(Adapter, Protocol):
    """An adapter that serves many requests at once, such as one of a server. `stream` is used in place of `generate`: a
    request can be sent as soon as another one is answered.

    It may have `arrived`, the number of responses that `stream` will give without waiting; they are stored together.
    """

    def stream(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response per request, in any order, each as soon as it is there. Requests are taken when they can be sent.
        It raises `errors.Stop` if nothing more can be answered."""
        ...


Row = Mapping[str, float]  # additive statistics of one answer, sparse: a missing key is 0


@runtime_checkable
class Scorer(Protocol):
    """One family of metrics. Its class is called as `Scorer(task: TaskSpec, **args)`.

    `measure` returns additive statistics of one answer, and `reduce` computes scores from sums of them, so that every
    subset, breakdown and bootstrap resample has an exact score. Answers come without reasoning and special tokens
    (`diva_bench.scorers.cleaning`); the catalog adds the version of that step to every signature.

    Attributes:
        signature: Every setting and library version that can change the score.
    """

    signature: str
    higher_is_better: bool

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        """Additive, sparse statistics of one answer, as JSON values. An `unsupported` response is measured as an empty
        answer."""
        ...

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Scores from summed statistics.

        Args:
            totals: Statistic -> sums; all have one shape (...). A statistic that no row has is missing.

        Returns:
            Metric -> scores of the same shape, finite and from 0 to 100. A scorer with another scale has an attribute
                `ranges`: metric ->
            (lowest, highest), None for no limit.
        """
        ...


@runtime_checkable
class WholeScorer(Scorer, Protocol):
    """A scorer that takes all answers of a run at once, because another model reads them: an LLM judge, COMET.

    Its `measure` raises: a model is not run for a single answer, such as a constant baseline or a glance while
    training.
    """

    def measure_all(
        self, samples: Sequence[Sample], responses: Sequence[Response], folder: Path, progress: Progress
    ) -> list[dict[str, float]]:
        """`measure` of every answer, in order.

        Args:
            samples: The samples.
            responses: Their responses, in the same order.
            folder: The run folder, where replies of the other model are cached.
            progress: Reports progress.

        Returns:
            One row per answer. A row is empty if the answer could not be measured for a reason other than the answer
                itself.
        """
        ...


@runtime_checkable
class CorpusScorer(Scorer, Protocol):
    """A scorer whose metric is not a mean over answers, although it has rows: it also gives the corpus value of the
    metric."""

    def corpus(self, samples: Sequence[Sample], responses: Sequence[Response]) -> dict[str, float]:
        """Metric -> its value over all answers together, on the scale of `reduce`. It has no confidence interval."""
        ...


class Progress(Protocol):
    """Reports the progress of long work; the command line passes one. The caller chooses the unit (samples, bytes,
    steps)."""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterable[T]:
        """Yield the items and show how many are done, the rate and the time left."""
        ...

    def bar(self, label: str, total: float | None, unit: str = "items", done: float = 0) -> Bar:
        """A progress bar that the caller advances; use it as a context manager."""
        ...

    def note(self, message: str) -> None:
        """Print one line above any bar."""
        ...


class Bar(Protocol):
    def __enter__(self) -> Bar: ...
    def __exit__(self, *exc: Any) -> None: ...
    def advance(self, amount: float = 1, text: str = "", inside: bool = False) -> None:
        """Advance the bar; `text` is shown after the label. `inside`: of a part that is not complete, whose speed does not
        count for the time left."""
        ...


class Silent:
    """A Progress for tests that shows nothing."""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterable[T]:
        return items

    def bar(self, label: str, total: float | None, unit: str = "items", done: float = 0) -> Bar:
        return _SilentBar()

    def note(self, message: str) -> None:
        return None


class Logged(Silent):
    """A Progress without bars, whose notes go to the logger "diva_bench"; used if the caller gives none."""

    def note(self, message: str) -> None:
        logging.getLogger("diva_bench").info("%s", message)


class _SilentBar:
    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exc: Any) -> None:
        return None

    def advance(self, amount: float = 1, text: str = "", inside: bool = False) -> None:
        return None
