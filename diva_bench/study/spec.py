"""The YAML file of a study: systems, quotas, and every text that raters read."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from diva_bench.specs.schema import Name, Spec, Truth, Whole
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


class StudyFile(Spec):
    """The content of a study file."""

    name: Name
    title: Text
    consent: Text
    systems: dict[Name, Text] = Field(min_length=2)
    """System -> run folder, relative to the file."""
    shown: Annotated[Whole, Field(ge=2, le=MOST_SYSTEMS)] = 2
    votes: Annotated[Whole, Field(ge=1, le=1000)] = 20
    """Votes of one rater."""
    per_item: Annotated[Whole, Field(ge=1)] | None = None
    total: Annotated[Whole, Field(ge=1)] | None = None
    ties: Truth = True
    both_bad: Truth = False
    sound: Truth = True
    """Raters hear the clips."""
    checks: tuple[Check, ...] = Field(default=(), max_length=50)
    questions: tuple[Question, ...] = Field(default=(), max_length=50)
    texts: Texts = Texts()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if taken := RESERVED & set(self.systems):
            raise ValueError(f"systems: {', '.join(sorted(taken))} is the name of a choice; use another name")
        if self.shown > len(self.systems):
            raise ValueError(f"shown is {self.shown}, but there are {len(self.systems)} systems")
        return self

    @property
    def others(self) -> tuple[str, ...]:
        """The choices besides the answers."""
        return (*(("tie",) if self.ties else ()), *(("both_bad",) if self.both_bad else ()))
