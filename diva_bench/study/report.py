"""The tables of a study, and a paragraph for the methods section of a paper with the numbers filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diva_bench.errors import UserError
from diva_bench.stats import holm
from diva_bench.stats.settings import FEW_CLUSTERS, RESAMPLES
from diva_bench.study import analysis
from diva_bench.study.analysis import Clustered, Comparison, Proportion, Rater, Simulated, Strength
from diva_bench.study.votes import Vote
from diva_bench.tables import Cell, Column, Score, Table

_ALONE = (
    ", so that no clustered test is possible: the intervals and p-values take every vote as independent, and are too narrow if "
    "some people voted often"
)
NO_RATERS = f"the votes do not tell raters apart{_ALONE}"
ONE_RATER = f"a comparison has the votes of one rater alone{_ALONE}"


@dataclass(frozen=True, slots=True)
class Analysis:
    """All results of a study.

    Attributes:
        comparisons: Every pair of systems.
        strengths: Bradley-Terry strengths, if there are more than two systems.
        no_strengths: Why there are none; "" if there are, or are not wanted.
        order: Share for the first place.
        length: Share for the longer answer.
        raters: All people who voted.
        simulated: Scorers and judges.
        left_out: Flagged raters whose votes are not used.
        people: Votes of people without attention checks that are used.
        failures: System -> questions that it did not answer while raters waited.
    """

    comparisons: list[Comparison]
    strengths: list[Strength]
    no_strengths: str
    order: Proportion | None
    length: Proportion | None
    raters: list[Rater]
    simulated: list[Simulated]
    left_out: int
    people: int
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def clustered(self) -> bool:
        """Whether all votes have a rater, and every comparison at least two."""
        return bool(self.comparisons) and all(c.half_by_rater is not None for c in self.comparisons)

    @property
    def not_clustered(self) -> str:
        """Why there is no clustered test."""
        return ONE_RATER if self.raters else NO_RATERS


def analyse(
    votes: Sequence[Vote],
    answers: Mapping[tuple[str, str], str],
    *,
    failures: Mapping[str, int] | None = None,
    without_flagged: bool = False,
) -> Analysis:
    """Analyse a study.

    Args:
        votes: All of its votes.
        answers: (item, system) -> text.
        failures: System -> number of questions that it did not answer.
        without_flagged: Leave out the votes of flagged raters.

    Raises:
        UserError: There are no votes of people that can be used.
    """
    people = [vote for vote in votes if not vote.simulated]
    raters = analysis.raters(people)
    flagged = {rater.rater for rater in raters if rater.flag}
    used = [v for v in people if v.expected is None and not (without_flagged and v.rater in flagged)]
    if not used:
        raise UserError(
            "there are no votes of people to analyse: none were cast, or all of them are attention checks or left out."
        )
    strengths, why = [], ""
    if len({system for vote in used for system in vote.systems}) > 2:
        try:
            strengths = analysis.bradley_terry(used)
        except UserError as err:
            why = str(err)
    return Analysis(
        analysis.compare(used), strengths, why, analysis.first_place(used), analysis.longer(used, answers), raters,
        analysis.simulated(votes, used), len(flagged) if without_flagged else 0, len(used),
        failures or {},
    )  # fmt: skip


def tables(found: Analysis) -> list[Table]:
    """Tables for the terminal and for files."""
    every = [_rates(found), *([_strengths(found)] if found.strengths or found.no_strengths else []), _bias(found)]
    return [*every, *([_raters(found)] if found.raters else []), *([_simulated(found)] if found.simulated else [])]


def _score(share: Proportion | None) -> Score | None:
    return Score(share.value, share.interval.low, share.interval.high) if share else None


def _by_rater(value: float | None, found: Clustered | None) -> Score | None:
    return Score(value, found.interval.low, found.interval.high) if found and value is not None else None


def _p(value: float | None) -> str | None:
    return None if value is None else f"{value:.2g}"


def _adjusted(comparisons: Sequence[Comparison]) -> list[float | None]:
    """p by rater, or of the binomial test without raters, adjusted for all comparisons together (Holm); None where nothing
    was decided."""
    tests = [c.by_rater or c.decided for c in comparisons]
    found = iter(holm([test.p for test in tests if test]))
    return [next(found) if test else None for test in tests]


def _rates(found: Analysis) -> Table:
    rows: list[list[Cell]] = []
    several = len(found.comparisons) > 1
    for c, adjusted in zip(found.comparisons, _adjusted(found.comparisons), strict=True):
        value = c.decided.value if c.decided else None
        rows.append([
            c.first, c.second, c.votes, c.decided.n if c.decided else 0, c.ties, c.bad, _score(c.decided),
            _p(c.decided.p if c.decided else None), _by_rater(value, c.by_rater),
            _p(c.by_rater.p if c.by_rater else None), *([_p(adjusted)] if several else []),
            _by_rater(c.half, c.half_by_rater) or Score(c.half), c.items, c.alpha,
        ])  # fmt: skip
    columns = [
        Column("system"), Column("against"), Column("votes"), Column("decided"), Column("ties", optional=True),
        Column("both bad", optional=True), Column("win rate, Wilson", digits=2), Column("p, binomial", number=True),
        Column("win rate, by rater"), Column("p, by rater", number=True),
        *([Column("p, Holm", number=True, optional=True)] if several else []), Column("ties as half", optional=True),
        Column("items", optional=True), Column("alpha", optional=True, digits=2),
    ]  # fmt: skip
    return Table("preference", columns, rows, _notes(found))


def _notes(found: Analysis) -> list[str]:
    notes = [
        "win rate: share of decided votes for the system, in per cent, with 95 % interval; ties and both bad are left out of "
        "it. p: exact binomial test of 50 %, two-sided",
        "ties as half: every tie and both bad is half a win for each",
        f"by rater: interval and test from {RESAMPLES:,} resamples of raters"
        if found.clustered
        else found.not_clustered,
    ]
    if len(found.comparisons) > 1:
        kind = "p by rater" if found.clustered else "p of the binomial test"
        notes.append(
            f"p, Holm: {kind}, adjusted for the {len(found.comparisons)} comparisons; the other p-values are not adjusted"
        )
    if any(c.by_rater and c.by_rater.few for c in found.comparisons):
        notes.append(f"fewer than {FEW_CLUSTERS} raters: the intervals by rater are too narrow")
    if found.clustered:
        notes.append(
            f"p by rater: where the shares of fewer than {FEW_CLUSTERS} raters differ from 50 %, the larger one of bootstrap and "
            "swap test"
        )
    units = sum(c.units for c in found.comparisons)
    notes.append(
        f"alpha: Krippendorff's nominal alpha of the choices, on {units:,} items with two or more raters"
        if units
        else "no item has votes of two raters, so that agreement of raters is unknown"
    )
    if found.failures:
        notes.append(f"{_unanswered(found)}; nobody voted on these questions")
    if found.left_out:
        notes.append(f"the votes of {found.left_out} flagged raters are left out")
    elif any(rater.flag for rater in found.raters):
        notes.append("flagged raters are included; --without-flagged leaves them out")
    return notes


def _unanswered(found: Analysis) -> str:
    each = ", ".join(f"{system} {count:,}" for system, count in sorted(found.failures.items()))
    return f"questions without an answer, by system: {each}"


def _strengths(found: Analysis) -> Table:
    rows: list[list[Cell]] = [
        [place, s.system, Score(s.value, s.interval.low, s.interval.high)] for place, s in enumerate(found.strengths, 1)
    ]
    by = "clustered by rater" if found.clustered else "every vote as independent"
    notes = [
        found.no_strengths
        or f"log-odds to win against the mean of all systems, 95 % interval; ties are half a win for each; standard errors {by}"
    ]
    return Table(
        "Bradley-Terry strengths", [Column("rank"), Column("system"), Column("strength", digits=2)], rows, notes
    )


def _bias(found: Analysis) -> Table:
    rows: list[list[Cell]] = [
        [what, share.n if share else 0, _score(share), _p(share.p if share else None)]
        for what, share in (("the first place", found.order), ("the longer answer", found.length))
    ]
    notes = [
        "share of decided votes between two answers, in per cent, with 95 % Wilson interval; without an effect it is 50"
    ]
    notes += [] if found.order else ["the order on the page is unknown"]
    notes += [] if found.length else ["the answers are not stored, or have equal lengths"]
    return Table(
        "effects of order and length",
        [Column("votes for"), Column("n"), Column("share"), Column("p", number=True)],
        rows,
        notes,
    )


def _raters(found: Analysis) -> Table:
    flagged = [rater for rater in found.raters if rater.flag]
    rows: list[list[Cell]] = [[r.rater[:12], r.votes, r.first, r.seconds, r.flag] for r in flagged]
    columns = [Column("rater"), Column("votes"), Column("% first place"), Column("median s"), Column("why")]
    return Table("flagged raters", columns, rows, [f"{len(flagged)} of {len(found.raters)} raters are flagged"])


def _simulated(found: Analysis) -> Table:
    rows: list[list[Cell]] = [
        [s.name, s.votes, s.ties, s.same.n if s.same else 0, _score(s.same)] for s in found.simulated
    ]
    columns = [
        Column("simulated rater"),
        Column("votes"),
        Column("ties"),
        Column("items with people"),
        Column("same choice"),
    ]
    return Table("simulated raters", columns, rows, [
        "these are metrics and LLM judges, not people; the other tables have people alone. same choice: share of the items on "
        "which it chose what most people chose; a tie agrees only with a tie",
    ])  # fmt: skip


def methods(found: Analysis) -> str:
    """A paragraph for the methods section."""
    first = found.comparisons[0]
    systems = sorted({system for c in found.comparisons for system in (c.first, c.second)})
    count = len(found.raters)
    who = f"{count:,} rater{'s' * (count != 1)}" if count else "An unknown number of raters"
    out = [f"{who} gave {found.people:,} votes on {len(systems)} systems ({', '.join(systems)})."]
    undecided = sum(c.ties + c.bad for c in found.comparisons)
    for c in found.comparisons:
        if c.decided:
            d = c.decided
            text = (
                f"{c.first} was preferred to {c.second} in {round(d.value * d.n / 100):,} of {d.n:,} decided votes "
                f"({d.value:.1f} %, Wilson 95 % "
                f"interval {d.interval.low:.1f} to {d.interval.high:.1f}, exact binomial test p = {d.p:.2g}"
            )
            if c.by_rater:
                i = c.by_rater.interval
                text += f"; resampling raters: {i.low:.1f} to {i.high:.1f}, p = {c.by_rater.p:.2g}"
            out.append(text + ").")
    out.append(
        f"{undecided:,} votes for no system (ties, both bad) are left out of these shares."
        if undecided
        else "No vote was a tie."
    )
    if found.failures:
        text = _unanswered(found)
        out.append(f"{text[0].upper()}{text[1:]}; they are in no share.")
    if not found.clustered:
        out.append(f"{found.not_clustered[0].upper()}{found.not_clustered[1:]}.")
    if found.strengths:
        listed = ", ".join(
            f"{s.system} {s.value:.2f} [{s.interval.low:.2f}, {s.interval.high:.2f}]" for s in found.strengths
        )
        out.append(f"Bradley-Terry strengths (log-odds against the mean, 95 % interval): {listed}.")
    if first.alpha is not None and len(found.comparisons) == 1:
        out.append(
            f"Agreement on {first.units:,} items with two or more raters: Krippendorff's alpha {first.alpha:.2f}."
        )
    if found.order:
        i = found.order.interval
        out.append(
            f"The answer in first place got {found.order.value:.1f} % of decided votes [{i.low:.1f}, {i.high:.1f}]."
        )
    if found.length:
        i = found.length.interval
        out.append(f"The longer answer got {found.length.value:.1f} % [{i.low:.1f}, {i.high:.1f}].")
    flagged = sum(bool(rater.flag) for rater in found.raters)
    if found.raters:
        out.append(
            f"{flagged} raters failed attention checks or always chose one place; their votes are "
            f"{'left out' if found.left_out else 'included'}."
        )
    return " ".join(out)


def plot(found: Analysis, file: Path) -> None:
    """Win rates with their intervals as a picture; the ending names the format (.png, .svg, .pdf).

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as err:
        raise UserError("--plot needs the package matplotlib: pip install 'diva-bench[study]'.") from err
    shown = [c for c in found.comparisons if c.decided]
    figure = Figure(figsize=(7, 1.5 + 0.5 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, c in enumerate(reversed(shown)):
        assert c.decided
        for offset, interval, colour, label in (
            (0.12, c.decided.interval, "#1f5a91", "Wilson"),
            (-0.12, c.by_rater.interval if c.by_rater else None, "#b3541e", "by rater"),
        ):
            if interval is not None:
                ends = [[c.decided.value - interval.low], [interval.high - c.decided.value]]
                axes.errorbar(
                    [c.decided.value], [place + offset], xerr=ends, fmt="o", color=colour, capsize=3,
                    label=label if place == 0 else None,
                )  # fmt: skip
    axes.axvline(50, color="grey", linewidth=1, linestyle="--")
    names = [f"{c.first} against {c.second} (n = {c.decided.n if c.decided else 0:,})" for c in reversed(shown)]
    axes.set_yticks(range(len(shown)), [name.replace("$", r"\$") for name in names])
    axes.set(
        xlim=(0, 100), ylim=(-0.6, len(shown) - 0.4), xlabel="decided votes for the first system, %; 95 % intervals"
    )
    figure.legend(loc="outside upper right", frameon=False, ncols=2)
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as err:
        raise UserError(f"--plot {file}: cannot be written ({err}). Give a .png, .svg or .pdf file.") from err
