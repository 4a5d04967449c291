"""Every error diva-bench raises on purpose.

    DivaBenchError
    |-- UserError            the user can correct it: the CLI prints it in words and exits with code 2
    |   |-- SpecError        a YAML file is not valid (file and line are in the message)
    |   |-- UnknownName      there is no such task, model, metric, edition or option value (the message has the nearest name)
    |   |-- DataError        a data set does not fit its task: missing file, duplicate id, empty reference
    |   |-- PredictionError  a file of another system's answers is not complete, or does not fit the task
    |   |-- AssetError       weights are missing, corrupt or cannot be downloaded
    |   |   `-- MissingMeans    a scorer's weights or library: a stored run is scored by its other scorers
    |   |-- BrokenContract   an adapter breaks rules of its contract (the message has all of them)
    |   |-- ScorerError      a scorer returns numbers that are not finite, or outside their scale
    |   `-- StoreError       a run folder cannot be written, is in use, or belongs to something else
    |       |-- OtherQuestion   the task or data of a run have changed since the model was run
    |       `-- UnreadableRun   the files of a run are damaged: tables list the run and go on without it
    |-- ClipError            a clip cannot be decoded: a data fault, left out for every model
    `-- Stop                 a model can answer nothing more: an expired key, no quota, the budget of the command

A message says what is wrong, where, what is allowed, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DivaBenchError(Exception):
    """Base class of all errors of this package."""


class UserError(DivaBenchError):
    """A mistake that the user can correct."""


class SpecError(UserError):
    """A task, model or weights YAML is not valid."""


class UnknownName(UserError):
    """There is nothing of this name."""


class DataError(UserError):
    """A data set does not fit its task."""


class PredictionError(UserError):
    """A file of another system's answers cannot be read, or does not fit its task."""


class AssetError(UserError):
    """Weights are missing, corrupt or cannot be downloaded."""


class MissingMeans(AssetError):
    """The library, interpreter, module or weights of a scorer are not on this machine."""


class BrokenContract(UserError):
    """An adapter breaks rules of the contract of adapters (`diva_bench.testing.RULES`)."""


class ScorerError(UserError):
    """A scorer returned numbers that are not finite, or outside their scale."""


class StoreError(UserError):
    """A run folder cannot be used."""


class OtherQuestion(StoreError):
    """The task or data of a run have changed since the model was run."""


class UnreadableRun(StoreError):
    """The files of a run folder are damaged."""


class ClipError(DivaBenchError):
    """An audio clip cannot be decoded.

    Attributes:
        passing: Another try may succeed (memory, time, a missing program), so this result must not be cached.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class Stop(DivaBenchError):
    """A model can answer nothing more, whatever it is asked: its key has expired, its quota or the budget of the command is
    used up, its server is gone. It is not the failure of a sample: what is answered is kept, and the rest is not asked."""


def one_line(err: BaseException) -> str:
    """The message of a foreign exception on one line without a full stop; its type if the message is empty."""
    return " ".join(str(err).split()).rstrip(".") or type(err).__name__


_LISTED = 40
"""Names that a message has; of more it has only the nearest."""
_LISTS = {"task": "diva-bench list tasks", "model": "diva-bench list models", "metric": "diva-bench list metrics"}


def unknown(kind: str, name: str, allowed: Iterable[str], where: str = "") -> UnknownName:
    """An UnknownName whose message has the nearest allowed name, and all allowed names or the nearest of very many."""
    names = sorted(set(allowed))
    place = f" in {where}" if where else ""
    there = f"Available: {', '.join(names) or 'none'}."
    if len(names) > _LISTED:
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.3)
        there = f"There are {len(names)}{', the nearest: ' if near else ''}{', '.join(near)}."
        lists = [f"`{_LISTS[part]}`" for part in kind.split(" or ") if part in _LISTS]
        there += f" All of them: {', '.join(lists)}." if lists else ""
    return UnknownName(f"unknown {kind} {name!r}{place}.{nearest(name, names)} {there}")


def nearest(name: str, allowed: Iterable[str]) -> str:
    """ " Did you mean 'x'?" with the nearest allowed name; "" if none is near. Nearest are the same name in other letters
    (small for capital), then the shortest that begins with it."""
    names = list(allowed)
    near = [other for other in names if other.lower() == name.lower()]
    near += sorted((other for other in names if len(name) > 2 and other.startswith(name)), key=len)
    near += difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
