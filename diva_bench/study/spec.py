"""The YAML file of a study: systems, quotas, and every text that raters read."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from diva_bench.specs.schema import Edition, Name, Number, Spec, Truth, Whole
from diva_bench.study.votes import MOST_SYSTEMS, RESERVED

Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]


class Check(Spec):
    """An attention check: a question of which everybody sees which answer is right."""

    question: Text
    right: Text
    wrong: Text


class Question(Spec):
    """A question about the rater. It may be left open. Without choices the answer is free text."""

    name: Name
    text: Text
    choices: tuple[Text, ...] = ()


class System(Spec):
    """Where the answers of a system come from: the folder of a run, or a model that answers while raters wait."""

    run: Text | None = None
    """Run folder, relative to the study file."""
    model: Text | None = None
    """Name in the catalog, or a YAML file, relative to the study file."""
    edition: Edition | None = None
    device: Text | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _folder(cls, value: Any) -> Any:
        return {"run": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.run is None) == (self.model is None):
            raise ValueError("a system is the folder of a run, or {model: NAME}")
        if self.run is not None and (self.edition or self.device or self.dtype):
            raise ValueError("edition, device and dtype belong to a model, not to a run")
        return self


class Recording(Spec):
    """How raters record their own questions."""

    least: Annotated[Number, Field(ge=0.1, le=60)] = 0.5
    """Seconds."""
    most: Annotated[Number, Field(ge=1, le=120)] = 30.0
    """Seconds."""
    keep: Truth = False
    """Keep the recordings of raters who agree to it."""


class Texts(Spec):
    """What the page says."""

    start: Text = "I agree. Start"
    task: Text = "Listen to the question, read both answers, and choose the better one."
    answer: Text = "Answer"
    better: Text = "This one is better"
    tie: Text = "Both are equally good"
    both_bad: Text = "Both are bad"
    thanks: Text = "Thank you! Your code:"
    nothing: Text = "Thank you. There is nothing left to judge."
    withdraw: Text = "Withdraw and delete my votes"
    withdrawn: Text = "Your votes are deleted. You can close this page."
    empty: Text = "(no answer)"
    hear: Text = "Hear this answer"
    ask: Text = "Record a question, listen to it, and send it. Then you see the answers."
    record: Text = "Record"
    stop: Text = "Stop"
    again: Text = "Record again"
    send: Text = "Send"
    keep: Text = "My recordings may be kept"
    waiting: Text = "The systems are answering."
    line: Text = "Others are before you. Your place in line:"
    failed: Text = "A system gave no answer. Nothing is lost and nothing was counted. Please try again."
    microphone: Text = "The microphone cannot be used. Allow it for this page, then try again."


class StudyFile(Spec):
    """The content of a study file."""

    name: Name
    title: Text
    consent: Text
    systems: dict[Name, System] = Field(min_length=2)
    task: Text | None = None
    """Of the models: its prompt and settings; without `record`, its clips are the questions."""
    edition: Literal["auto", "full", "mini", "mini-v1", "nano"] = "auto"
    """Of the task, and of models without an edition."""
    record: Recording | None = None
    timeout: Annotated[Number, Field(gt=0, le=3600)] = 60.0
    """Seconds that a model has for an answer."""
    shown: Annotated[Whole, Field(ge=2, le=MOST_SYSTEMS)] = 2
    votes: Annotated[Whole, Field(ge=1, le=1000)] = 20
    """Votes of one rater."""
    per_item: Annotated[Whole, Field(ge=1)] | None = None
    total: Annotated[Whole, Field(ge=1)] | None = None
    ties: Truth = True
    both_bad: Truth = False
    sound: Truth = True
    """Raters hear the clips."""
    written: Truth = True
    """Raters read the answers."""
    speak: Literal["browser"] | None = None
    """Who speaks the answers: the browser of the rater, with one voice for all systems."""
    language: Name = "en"
    """Of the page and of the voice: en, de, pt-BR."""
    checks: tuple[Check, ...] = Field(default=(), max_length=50)
    questions: tuple[Question, ...] = Field(default=(), max_length=50)
    texts: Texts = Texts()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if taken := RESERVED & set(self.systems):
            raise ValueError(f"systems: {', '.join(sorted(taken))} is the name of a choice; use another name")
        if self.shown > len(self.systems):
            raise ValueError(f"shown is {self.shown}, but there are {len(self.systems)} systems")
        runs = sum(system.run is not None for system in self.systems.values())
        if 0 < runs < len(self.systems):
            raise ValueError("systems: runs and models are mixed; all must be runs, or all models")
        if runs and (self.task or self.record):
            raise ValueError("task and record belong to models; these systems are runs, whose questions are stored")
        if not runs and not self.task:
            raise ValueError("task is missing: the models need a task, for its prompt and settings")
        if self.record and self.record.least >= self.record.most:
            raise ValueError("record: least must be less than most")
        if not self.written and not self.speak:
            raise ValueError("written is false, so raters can hear the answers only with `speak: browser`")
        return self

    @property
    def live(self) -> bool:
        """Whether models answer while raters wait."""
        return any(system.model for system in self.systems.values())

    @property
    def others(self) -> tuple[str, ...]:
        """The choices besides the answers."""
        return (*(("tie",) if self.ties else ()), *(("both_bad",) if self.both_bad else ()))
