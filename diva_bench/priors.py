"""What may be known without hearing anything: how common each answer is, and what a speaker says elsewhere."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from diva_bench.types import Sample

Shares = dict[str, float]


def speaker_of(sample: Sample, column: str | None) -> str | None:
    """Who speaks: the group or the field of that name; None where the sample has neither."""
    return (sample.groups.get(column) or sample.fields.get(column)) if column else None


def of_speakers(samples: Sequence[Sample], column: str | None, choices: Sequence[str] | None) -> dict[str, Shares]:
    """Sample id -> share of each label among the other samples of the same speaker (leave-one-out).

    Of a speaker without another sample, and where nobody is named: among all other samples. Empty for a task without
    choices and for data in which no sample has a speaker, or all have the same.
    """
    speakers = [speaker_of(sample, column) for sample in samples]
    if not choices or len({name for name in speakers if name}) < 2:
        return {}
    everybody = Counter(sample.references[0] for sample in samples)
    theirs: dict[str | None, Counter[str]] = defaultdict(Counter)
    for sample, name in zip(samples, speakers, strict=True):
        theirs[name][sample.references[0]] += 1
    found = {}
    for sample, name in zip(samples, speakers, strict=True):
        counts = theirs[name] if name and theirs[name].total() > 1 else everybody
        others = counts - Counter([sample.references[0]])
        found[sample.id] = {label: others[label] / max(others.total(), 1) for label in choices}
    return found


def most_common(shares: Mapping[str, float], order: Sequence[str]) -> str:
    """The label with the largest share; of equals the one that stands last in `order`, which of two labels is by custom
    the unmarked one (yes, no). A fixed rule: to break ties by what the others say would, with one sample left out of
    balanced labels, always be wrong."""
    return max(enumerate(order), key=lambda at: (shares.get(at[1], 0.0), at[0]))[1]
