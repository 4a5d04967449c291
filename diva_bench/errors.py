"""Every error diva-bench raises on purpose.

    DivaBenchError
    |-- UserError            the user can correct it: the CLI prints it in words and exits with code 2
    |   |-- SpecError        a YAML file that says something not allowed (file and line are in the message)
    |   |-- UnknownName      no such task, model, metric, edition or option value (the nearest name is in the message)
    |   |-- DataError        a data set that is not what its task says: missing file, duplicate id, empty reference
    |   |-- PredictionError  a file of another system's answers that is not whole, or does not fit the task
    |   |-- AssetError       weights that are missing, corrupt or cannot be fetched
    |   |   `-- MissingMeans    of a scorer, or its library: a stored run is scored by its other scorers
    |   |-- ScorerError      a scorer whose numbers are none, or lie outside their scale
    |   `-- StoreError       a run folder that cannot be written, is in use, or belongs to something else
    |       |-- OtherQuestion   one whose task or data have changed since it was asked
    |       `-- UnreadableRun   one whose files do not hold what they must: tables list it and go on without it
    `-- ClipError            one clip that cannot be decoded: a data fault, excluded for every model alike

A message says what went wrong, where, what was allowed, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DivaBenchError(Exception):
    """Base of all errors of this package."""


class UserError(DivaBenchError):
    """Something the user can correct."""


class SpecError(UserError):
    """A task, model or weights YAML that is not valid."""


class UnknownName(UserError):
    """A name that is not known."""


class DataError(UserError):
    """A data set that is not what its task says it is."""


class PredictionError(UserError):
    """A file of another system's answers that cannot be read or does not fit its task."""


class AssetError(UserError):
    """Weights that are missing, corrupt or cannot be fetched."""


class MissingMeans(AssetError):
    """A scorer whose library, interpreter, module or weights are not on this machine."""


class ScorerError(UserError):
    """A scorer that gives something else than finite numbers on their scale."""


class StoreError(UserError):
    """A run folder that cannot be used."""


class OtherQuestion(StoreError):
    """A run whose task or data have changed since it was asked."""


class UnreadableRun(StoreError):
    """A run folder whose files do not hold what they must."""


class ClipError(DivaBenchError):
    """One audio clip that cannot be decoded. `passing`: another try may go better (memory, time, a program that lacks), so
    that nobody should remember it."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


def one_line(err: BaseException) -> str:
    """What an exception of somebody else's says, in one line without a full stop; its type where it says nothing."""
    return " ".join(str(err).split()).rstrip(".") or type(err).__name__


def unknown(kind: str, name: str, allowed: Iterable[str], where: str = "") -> UnknownName:
    """An UnknownName that names the nearest allowed name and lists what there is."""
    names = sorted(set(allowed))
    place = f" in {where}" if where else ""
    return UnknownName(
        f"unknown {kind} {name!r}{place}.{nearest(name, names)} Available: {', '.join(names) or 'none'}."
    )


def nearest(name: str, allowed: Iterable[str]) -> str:
    """ " Did you mean 'x'?" with the allowed name that is nearest, "" where none is near."""
    near = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
