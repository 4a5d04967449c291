"""The schema of tasks, and the hash that identifies a task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, InstanceOf, field_validator, model_validator

from diva_bench.errors import nearest
from diva_bench.specs.data import DataChange, DataSpec
from diva_bench.specs.rows import Rows
from diva_bench.specs.schema import Edition, Json, Name, Number, Spec, Truth, Whole, digest
from diva_bench.types import SPEECH_LANGUAGE

FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""A {field} of a prompt."""

_JSON = re.compile(r'\{[^{}]*"[^{}]*\}')

MEMORY = "memory"
"""`source` of a task whose rows were given in Python."""

CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
"""The code of a language: fr, zh-CN."""


def templates(prompt: str, system: str | None, fields: Mapping[str, str]) -> str:
    """All texts of a task whose {columns} are a part of its questions."""
    return f"{prompt} {system or ''} {fields.get(SPEECH_LANGUAGE, '')}"


class Decode(Spec):
    max_new_tokens: Whole = Field(default=64, gt=0)
    temperature: Number = Field(default=0.0, ge=0.0)


class Subset(Spec):
    """The changes of one subset of a task."""

    editions: dict[Edition, DataChange] | None = None
    """The editions that have it, with its changes to their data; None: all editions of the task, without changes."""
    reference: str | None = None
    fields: dict[str, str] = Field(default_factory=dict)
    scorers: dict[str, Json] | None = None
    primary: str | None = None
    """The metric that ranks, where it is not that of the task: character error rate for a language without spaces."""


class TaskFile(Spec):
    """The content of `tasks/<name>.yaml`."""

    name: Name
    version: Whole = Field(gt=0)
    """Bump it when a change moves scores."""
    description: str
    citation: str = ""
    licence: str = ""
    suites: tuple[str, ...] = ()
    """Names that select this task together with others: emotion, qa, ..."""
    prompt: str
    """The instruction; {field} is replaced by a field of the subset or the sample."""
    prompts: tuple[str, ...] = ()
    """Paraphrases of it, for `run --prompts`, with the same fields. They are not part of the identity of runs with
    `prompt`."""
    system: str | None = None
    choices: tuple[str, ...] | None = None
    """The labels. Their log-likelihoods are scored, and free answers are parsed for them."""
    synonyms: dict[str, str] = Field(default_factory=dict)
    """Synonyms of labels for the strict parser."""
    decode: Decode = Decode()
    reference: str = "reference"
    """The column of the accepted answer or answers."""
    groups: tuple[str, ...] = ()
    """Columns for breakdowns of results."""
    contrast: dict[str, str] = Field(default_factory=dict)
    """Group -> the value with which `compare` compares its other values (accent: usa)."""
    speaker: str | None = None
    """The column of the speaker, if there is one, for the baseline that knows only the speaker."""
    scorers: dict[str, Json]
    """Scorer -> its settings."""
    primary: str
    """The metric that ranks."""
    why: str = ""
    """The reason for this metric."""
    fields: dict[str, str] = Field(default_factory=dict)
    subsets: dict[str, Subset] = Field(default_factory=dict)
    whole: Truth = False
    """With subsets: the task's name means all rows together, and the subsets are parts of them."""
    default: tuple[str, ...] = ()
    """With subsets and without `whole`: the subsets that the task's name stands for; empty: all."""
    editions: dict[Edition, DataSpec] = Field(min_length=1)

    @field_validator("prompt", "prompts", "system")
    @classmethod
    def _can_be_filled(cls, value: Any) -> Any:
        for text in (value,) if isinstance(value, str) else value or ():
            if not text.strip():
                raise ValueError("must not be empty")
            rest, before = FIELD.sub("", text), ""
            while rest != before:  # JSON in the prompt
                rest, before = _JSON.sub("", rest), rest
            if "{" in rest or "}" in rest:
                raise ValueError(
                    "has a brace that belongs to no {field}: a field is a name in braces, without spaces; other braces stand in "
                    'pairs around something in quotes, as in {"answer": 1}'
                )
        return value

    @model_validator(mode="after")
    def _languages_are_codes(self) -> TaskFile:
        for where, fields in {"": self.fields, **{f"subsets.{k}.": s.fields for k, s in self.subsets.items()}}.items():
            code = fields.get(SPEECH_LANGUAGE, "en")
            if not (CODE.fullmatch(code) or FIELD.fullmatch(code)):
                raise ValueError(
                    f"{where}fields.{SPEECH_LANGUAGE} is {code!r}; it must be the code of a language, such as fr or zh-CN, or "
                    "the name of the column that has it, such as {language}"
                )
        return self

    @model_validator(mode="after")
    def _synonyms_are_of_choices(self) -> TaskFile:
        if self.synonyms and self.choices is None:
            raise ValueError("synonyms are other words for choices, and the task has none: add `choices`, or drop them")
        return self

    @model_validator(mode="after")
    def _prompts_ask_the_same(self) -> TaskFile:
        fields = set(FIELD.findall(self.prompt))
        for i, text in enumerate(self.prompts):
            earlier_texts = [other.split() for other in (self.prompt, *self.prompts[:i])]
            if not text.strip() or text.split() in earlier_texts:
                raise ValueError(f"prompts: number {i + 1} is empty, or says what an earlier one or `prompt` says")
            if set(FIELD.findall(text)) != fields:
                names = ", ".join(f"{{{name}}}" for name in sorted(fields)) or "no field"
                raise ValueError(f"prompts: number {i + 1} must have the fields of `prompt`, {names}")
        return self

    @model_validator(mode="after")
    def _defaults_are_subsets(self) -> TaskFile:
        defaults = {"default": (self.default, list(self.subsets))}
        for edition, data in self.editions.items():
            defaults[f"editions.{edition}.default"] = (data.default, self.subsets_in(edition))
        for where, (names, subsets) in defaults.items():
            if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
                raise ValueError(f"{where} names {', '.join(twice)} twice")
            if strange := [name for name in names if name not in subsets]:
                raise ValueError(f"{where} names {', '.join(strange)}; the subsets are {', '.join(subsets) or 'none'}")
        return self

    @model_validator(mode="after")
    def _labels_are_choices(self) -> TaskFile:
        if self.choices is None:
            return self
        data: dict[str, dict[str, int] | None] = {edition: spec.labels for edition, spec in self.editions.items()}
        for name, subset in self.subsets.items():
            data |= {f"{name}.{edition}": change.labels for edition, change in (subset.editions or {}).items()}
        for edition, labels in data.items():
            if strange := [label for label in labels or {} if label not in self.choices]:
                raise ValueError(
                    f"labels of {edition}: {strange[0]!r} is not one of the choices.{nearest(strange[0], self.choices)} "
                    f"Available: {', '.join(self.choices)}"
                )
        return self

    def subsets_in(self, edition: Edition) -> list[str]:
        """The subsets that one edition has."""
        return [name for name, subset in self.subsets.items() if subset.editions is None or edition in subset.editions]


class TaskSpec(Spec):
    """One subset of one edition of a task: the task of a run."""

    name: Name
    """With its subset: covost2-de."""
    task: Name
    """Without its subset: covost2."""
    subset: str | None
    edition: Edition
    version: Whole
    description: str
    citation: str
    licence: str
    suites: tuple[str, ...]
    prompt: str
    prompts: tuple[str, ...] = ()
    variant: Whole = 0
    """Number of the prompt variant: 0 the main prompt, else a paraphrase, see `diva_bench.specs.prompt.variant`."""
    system: str | None
    choices: tuple[str, ...] | None
    synonyms: dict[str, str]
    decode: Decode
    reference: str
    groups: tuple[str, ...]
    contrast: dict[str, str] = Field(default_factory=dict)
    speaker: str | None = None
    scorers: dict[str, Json]
    primary: str
    why: str = ""
    fields: dict[str, str]
    data: DataSpec
    names: dict[str, str] = Field(default_factory=dict, exclude=True)
    """Names of choices in the source of imported answers (`import --labels`). They are in the identity of the run, through
    its model, and in no signature, because otherwise two sources could not be compared."""
    overrides: Json = Field(default_factory=dict, exclude=True)
    """Settings of the task that a run changes: prompt, system, max_new_tokens. Their values are in `identity` in any
    case."""
    home: Path = Field(exclude=True)
    """Folder of the YAML file; not part of any hash."""
    recorded: bool = Field(default=False, exclude=True)
    """From the run.json of a run, which may be a stranger's: no code is executed that its scorers name."""
    rows: InstanceOf[Rows] | None = Field(default=None, exclude=True, repr=False)
    """Rows of a task made in Python. The fingerprint of its data identifies them."""

    def __repr__(self) -> str:
        prompt = self.prompt if len(self.prompt) < 60 else self.prompt[:57] + "..."
        parts = {"rows": self.data.rows, "prompt": prompt, "reference": self.reference, "scorers": list(self.scorers)}
        shown = "".join(f", {name}={value!r}" for name, value in parts.items())
        return f"{type(self).__name__}({self.name!r}, edition={self.edition!r}{shown})"

    __str__ = __repr__

    @property
    def target_language(self) -> str | None:
        """Code of the language into which the task translates (de, zh-CN); None if it does not translate."""
        if code := self.fields.get("language_code"):
            return code
        checks = self.scorers.get("adherence") or {}
        if checks.get("form") != "translation":
            return None
        return self.subset if checks.get("language") == "subset" else checks.get("language")

    def identity(self) -> Json:
        """The part of the question identity that comes from the task file; `Job.task_record` adds the data. Scorers,
        description and citation are not in it, because they can change without running the model again."""
        keys = ["task", "subset", "edition", "version", "prompt", "system", "choices", "decode", "fields"]
        keys += ["variant"] if self.variant else []
        values = self.model_dump(mode="json")
        if self.edition == "mini-v1":  # it was called mini until version 2, and its runs keep their ids
            values["edition"] = "mini"
        return {k: values[k] for k in keys}

    @property
    def hash(self) -> str:
        """Hash of the whole resolved spec, for `show`."""
        return digest(self.model_dump(mode="json"))
