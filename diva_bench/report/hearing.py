"""Does a system hear how something is said, or only the words? Two tasks together tell.

`transcribe` measures how many words get through. In `ravdess` all emotions are spoken with the same two sentences, so that
whoever gets only the words (an oracle, a cascade) is at chance. A system that is good at the first and at chance in the
second gets only the words.

A few long answers make the error rate of a system high that gets most of the words. So a high rate alone is no sign of
deafness: whether any words get through is read from the sign "fits its own clip" of `diagnose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from diva_bench.report.signs import Verdict
from diva_bench.runs.records import MetricSummary, RunSummary
from diva_bench.scorers.adherence import TRANSCRIBES
from diva_bench.stats import Estimate
from diva_bench.tables import Cell, Column, Table

WORDS, VOICE = "transcribe", "ravdess"
MOST_ERRORS = 100 * TRANSCRIBES
"""Word error rate up to which a system gets the words: the one at which an answer counts as a transcript."""
SMALL = 10.0
"""Points above chance: if the interval reaches higher, being at chance is no sign that the voice is not heard."""
MOST_UNPARSED = 0.1
"""Share of answers without a label above which a low score may come from the form of the answers."""

Gets = Literal["yes", "some", "no", "unclear"]


@dataclass(frozen=True, slots=True)
class Scored:
    """A scored run.

    Attributes:
        label: Name of the run in tables.
        model: Identifies the model over tasks.
        fits: Share in per cent of the answers that fit their own clip, minus those that fit another one; None if unknown.
        deaf: Verdict on that share.
    """

    label: str
    model: str
    summary: RunSummary
    fits: Estimate | None = None
    deaf: Verdict = ""


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two tasks says. `why`: why it is unclear, else ""; `fits`: see `Scored`, if the answer depends on it."""

    gets: Gets
    run: RunSummary
    why: str = ""
    fits: Estimate | None = None

    @property
    def metric(self) -> MetricSummary:
        return self.run.metrics[self.run.primary]

    @property
    def evidence(self) -> str:
        """Score, interval, n, and the score of whoever does not hear."""
        m, run = self.metric, self.run
        speech = ", synthetic speech" if run.synthetic else ""
        chance = f"; without hearing: {run.baseline:.1f}" if run.task == VOICE and run.baseline is not None else ""
        return (
            f"{run.task} {run.primary} {m.value:.1f} [{m.low:.1f}, {m.high:.1f}], n {m.n:,}, "
            f"{m.clusters:,} clusters{speech}{chance}{self._fits}"
        )

    @property
    def _fits(self) -> str:
        e = self.fits
        return f", fits its own clip {e.value:.1f} % [{e.low:.1f}, {e.high:.1f}]" if e else ""


@dataclass(frozen=True, slots=True)
class Hearing:
    """One system under one audio condition. A side is None if there is no scored run of its task."""

    label: str
    words: Side | None
    voice: Side | None

    @property
    def reading(self) -> str:
        """One sentence, and its evidence."""
        evidence = "; ".join(side.evidence for side in (self.words, self.voice) if side)
        return f"{self.label} {self._verdict()} ({evidence})"

    def _verdict(self) -> str:
        if self.words is None or self.voice is None:
            have, other = (self.words, VOICE) if self.words else (self.voice, WORDS)
            what = "the words" if other == VOICE else "how they are said"
            gets = have.gets if have else "unclear"
            alone = {
                "yes": f"gets {what}",
                "some": f"gets some of {what}",
                "no": f"gives no sign of getting {what}",
                "unclear": f"leaves open whether it gets {what}",
            }[gets]
            missing = f"no scored run of {other} was given, which would say whether it gets "
            missing += "how they are said" if other == VOICE else "the words"
            return f"{alone}{f': {have.why}' if have and have.why else ''}; {missing}"
        pair = (self.words.gets, self.voice.gets)
        if "unclear" in pair:
            shown = (("the words", self.words), ("how they are said", self.voice))
            parts = [f"{what}: {side.gets}{f', {side.why}' if side.why else ''}" for what, side in shown]
            return f"leaves open what it gets; {'; '.join(parts)}"
        return {
            ("yes", "no"): "gets only the words: no sign that it hears how they are said",
            ("yes", "yes"): "gets the words and how they are said",
            ("some", "no"): "gets some of the words: no sign that it hears how they are said",
            ("some", "yes"): "gets some of the words and how they are said",
            ("no", "yes"): "gets how words are said: no sign that it gets the words",
            ("no", "no"): "gives no sign of getting the words or how they are said",
        }[pair]


def hearings(runs: Sequence[Scored]) -> list[Hearing]:
    """What each system hears.

    Runs of other tasks, with changed prompts or settings, or not scored completely are not used. Of several runs of one
    task and system the last one counts.
    """
    pairs: dict[tuple[str, str | None], dict[str, Scored]] = {}
    for scored in runs:
        run = scored.summary
        if run.task in (WORDS, VOICE) and run.measured and not (run.variant or run.overrides):
            pairs.setdefault((scored.model, run.audio), {})[run.task] = scored
    return [
        Hearing(
            next(iter(pair.values())).label + (f" (audio: {audio})" if audio else ""),
            _words(pair[WORDS]) if WORDS in pair else None,
            _voice(pair[VOICE].summary) if VOICE in pair else None,
        )
        for (_, audio), pair in pairs.items()
    ]


def _words(scored: Scored) -> Side:
    run, fits = scored.summary, scored.fits
    metric = run.metrics[run.primary]
    if metric.few_clusters:
        return Side("unclear", run, "too few clusters")
    if metric.high <= MOST_ERRORS:
        return Side("yes", run)
    if fits is None:
        return Side("unclear", run, "many errors, and it is unknown whether the answers fit their clips")
    if scored.deaf == "fits":
        return Side("no", run, fits=fits)
    if scored.deaf or fits.low <= 0:
        return Side("unclear", run, "many errors, and it is uncertain whether the answers fit their clips", fits)
    return Side("some", run, fits=fits)


def _voice(run: RunSummary) -> Side:
    metric = run.metrics[run.primary]
    if metric.few_clusters:
        return Side("unclear", run, "too few clusters")
    if run.at_chance is None or run.baseline is None:
        return Side("unclear", run, "there is no baseline")
    if not run.at_chance:
        return Side("yes", run)
    if (run.unparsed or 0) > MOST_UNPARSED * run.scored:
        return Side("unclear", run, f"{run.unparsed:,} of {run.scored:,} answers name no label")
    if metric.high > run.baseline + SMALL:
        return Side(
            "unclear", run, f"at chance, but the interval reaches {metric.high - run.baseline:.1f} points above it"
        )
    return Side("no", run)


def table(found: Sequence[Hearing]) -> Table:
    """A row per system; its reading is a note."""
    rows: list[list[Cell]] = []
    for hearing in found:
        cells: list[Cell] = [hearing.label]
        for side in (hearing.words, hearing.voice):
            cells += [side.metric.score, side.metric.n, side.gets] if side else [None, None, None]
        rows.append(cells)
    columns = [Column("run")]
    for task, metric, what in ((WORDS, "wer", "words"), (VOICE, "uar", "how they are said")):
        columns += [Column(metric, group=task), Column("n", group=task, optional=True), Column(f"gets {what}")]
    notes = [
        *(hearing.reading for hearing in found),
        f"gets the words: the whole 95 % interval of {WORDS} is at or below {MOST_ERRORS:.0f} % errors; some: it is not, and "
        "the answers fit their own clips; no: it is not, and they fit them no better than other clips",
        f"gets how they are said: {VOICE} is above the best baseline that does not hear; no: it is at chance, and the interval "
        f"ends at most {SMALL:.0f} points above. All emotions of {VOICE} have the same two sentences",
        f"a high error rate of {WORDS} may also come from long answers, or from answering instead of writing down",
    ]
    return Table("does it hear how something is said, or only the words?", columns, rows, notes)


def as_records(found: Sequence[Hearing]) -> list[dict[str, object]]:
    """For JSON."""
    return [
        {
            "run": hearing.label,
            "reading": hearing.reading,
            **{name: _record(side) for name, side in (("words", hearing.words), ("voice", hearing.voice))},
        }
        for hearing in found
    ]


def _record(side: Side | None) -> dict[str, object] | None:
    if side is None:
        return None
    metric = side.metric
    numbers = {key: getattr(metric, key) for key in ("value", "low", "high", "n", "clusters")}
    where = {"task": side.run.task_id, "metric": side.run.primary, "baseline": side.run.baseline}
    fits = {"fits": {"value": side.fits.value, "low": side.fits.low, "high": side.fits.high}} if side.fits else {}
    return {**where, **numbers, **fits, "gets": side.gets, "why": side.why}
