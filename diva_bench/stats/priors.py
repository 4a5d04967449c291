"""Priors of audio-blind baselines: the frequency of each answer, and the other answers of a speaker."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from diva_bench.types import Sample

Shares = dict[str, float]


def speaker_of(sample: Sample, column: str | None) -> str | None:
    """The speaker: the group or field with this name; None if the sample has neither."""
    return (sample.groups.get(column) or sample.fields.get(column)) if column else None


def of_speakers(samples: Sequence[Sample], column: str | None, choices: Sequence[str] | None) -> Mapping[str, Shares]:
    """Sample id -> share of each label in the other samples of the same speaker (leave-one-out), without labels of share
    0. The shares of a sample are computed when they are used.

    For a speaker with one sample, and without a speaker, all other samples are used. Empty for a task without choices,
    and if no sample has a speaker, or all have the same.
    """
    speakers = [speaker_of(sample, column) for sample in samples]
    if not choices or len({name for name in speakers if name}) < 2:
        return {}
    return _Speakers(samples, speakers)


class _Speakers(Mapping[str, Shares]):
    """Shares that are computed at every access: all at once would need labels times samples."""

    def __init__(self, samples: Sequence[Sample], speakers: Sequence[str | None]) -> None:
        self._everybody = Counter(sample.references[0] for sample in samples)
        self._theirs: dict[str | None, Counter[str]] = defaultdict(Counter)
        self._of: dict[str, tuple[str | None, str]] = {}
        for sample, name in zip(samples, speakers, strict=True):
            self._theirs[name][sample.references[0]] += 1
            self._of[sample.id] = name, sample.references[0]

    def __getitem__(self, ident: str) -> Shares:
        name, own = self._of[ident]
        counts = self._theirs[name] if name and self._theirs[name].total() > 1 else self._everybody
        others = counts - Counter([own])
        return {label: count / others.total() for label, count in others.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)


def most_common(shares: Mapping[str, float], order: Sequence[str]) -> str:
    """The label with the largest share; of equal ones the last in `order`, which of two labels is usually the unmarked one
    (yes, no). The rule is fixed, because with one sample left out of balanced labels, a rule by the other answers would
    always be wrong."""
    largest = max(shares.values(), default=0.0)
    return next((label for label in reversed(order) if label in shares and shares[label] == largest), order[-1])
