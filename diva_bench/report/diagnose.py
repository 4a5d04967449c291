"""Signs of failure in the stored answers of runs: numbers, those of a reference run, examples, and an interpretation.

The interpretation is that of the paper: poor adherence (wrong language, transcripts, form) points to the alignment
loss, incoherence (loops, empty answers) to the distillation loss. It is an analogy, not a proof: in the paper's
ablations distillation alone gave 1.4 % of translations in the right language where both losses gave 74 %, and alignment
alone the lowest scores. Signs that the same LLM also shows when it gets the words (an `oracle` run, else a `cascade`
run with the same LLM) are not caused by the connector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from rich.cells import cell_len

from diva_bench.report import hearing
from diva_bench.report.signs import DEAF, SIGNS, Answers, Sign, Verdict, threshold_of, unmeasured
from diva_bench.runs.records import RunSummary, synthetic_notes
from diva_bench.stats import RESAMPLES, Difference, Estimate, bootstrap, dense, paired, ratio
from diva_bench.tables import Cell, Column, Score, Table, cut_to
from diva_bench.types import Floats, Row

_WORDS = ("oracle", "cascade")  # adapters that give words to their LLM; they have no training losses
_OTHERS = ("refuses", "cut off", "all the same", "one character")  # signs that point to neither loss
_WIDE, _SOLID = 72, 28  # characters of a text in a table, and of one without spaces


@dataclass(frozen=True)
class RunSigns:
    """One run: its answers, and the statistics of every sign for each of them."""

    label: str
    task_id: str
    adapter: str
    llm: str
    """Identifies its LLM; "" if it has none."""
    answers: Answers
    counts: Mapping[str, Sequence[float | None]]
    score: tuple[str, Score] | None = None
    """The primary metric, from summary.json."""
    at_chance: bool | None = None
    signature: str = ""
    failed: int = 0
    model: str = ""
    """Identifies the model over tasks."""
    summary: RunSummary | None = None
    """None if its answers are not scored yet."""

    def rows(self, sign: str) -> list[Row]:
        """Statistics of one sign for every answer."""
        return [{} if v is None else {"n": 1.0, "sum": v} if v else {"n": 1.0} for v in self.counts[sign]]

    @cached_property
    def unmeasured(self) -> dict[str, str]:
        """Sign -> why it was not measured."""
        return unmeasured(self.answers, self.counts)

    @cached_property
    def clusters(self) -> list[str]:
        return [s.cluster for s in self.answers.samples]


@dataclass(frozen=True, slots=True)
class Finding:
    """One sign of one run.

    Attributes:
        threshold: In per cent.
        known: Difference to the run's reference (see Diagnosis): run minus reference.
    """

    sign: Sign
    estimate: Estimate
    threshold: float
    verdict: Verdict
    gap: Difference | None = None

    @property
    def inherited(self) -> bool:
        """Whether the reference shows the sign too: the run's share is not significantly larger."""
        if self.gap is None or not self.verdict:
            return False
        return self.gap.low <= 0 if self.sign.above else self.gap.high >= 0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`reference`: the run of the same task and LLM that gets the words; None if there is none."""

    run_signs: RunSigns
    findings: Sequence[Finding]
    reference: RunSigns | None = None
    reading: Sequence[str] = field(default=())


def diagnose(all_signs: Sequence[RunSigns]) -> list[Diagnosis]:
    """Every run with its signs, and with its reference among the other runs."""
    return [_diagnosis(run_signs, _reference(run_signs, all_signs)) for run_signs in all_signs]


def _reference(run_signs: RunSigns, among: Sequence[RunSigns]) -> RunSigns | None:
    """The oracle with the same LLM on the same samples, else the cascade."""
    same = [
        p for p in among if p is not run_signs and p.task_id == run_signs.task_id and p.llm == run_signs.llm and p.llm
    ]
    rank = {"oracle": 0, "cascade": 1}
    better = [p for p in same if rank.get(p.adapter, 9) < rank.get(run_signs.adapter, 9)]
    better = [p for p in better if [s.id for s in p.answers.samples] == [s.id for s in run_signs.answers.samples]]
    return min(better, key=lambda p: (rank[p.adapter], p.label), default=None)


def _diagnosis(run_signs: RunSigns, reference: RunSigns | None) -> Diagnosis:
    findings = [_finding(run_signs, sign, reference) for sign in SIGNS if sign.name in run_signs.counts]
    return Diagnosis(run_signs, findings, reference, _reading(run_signs, findings))


def _finding(run_signs: RunSigns, sign: Sign, reference: RunSigns | None) -> Finding:
    estimate = bootstrap(run_signs.rows(sign.name), run_signs.clusters, _share)["share"]
    threshold, labels = threshold_of(sign, run_signs.answers), bool(run_signs.answers.task.choices)
    reference_share = None
    if reference is not None and sign.name in reference.counts:
        reference_share = paired(run_signs.rows(sign.name), reference.rows(sign.name), run_signs.clusters, _share).get(
            "share"
        )
    verdict = _verdict(sign, estimate, threshold)
    if sign.name == DEAF and labels and estimate.low > 0:
        verdict = ""  # above chance, so it uses the audio at least partly
    return Finding(sign, estimate, threshold, verdict, reference_share)


def _share(totals: Mapping[str, Floats]) -> dict[str, Floats]:
    sums = dense(totals, ["sum", "n"])
    return {"share": np.asarray(100 * ratio(sums[..., 0], sums[..., 1]))}


def _verdict(sign: Sign, estimate: Estimate, threshold: float) -> Verdict:
    """The verdict on one sign. With few clusters an interval is too narrow to be certain."""
    sure: Verdict = "perhaps" if estimate.few_clusters else "fits"
    if sign.above:
        return sure if estimate.low >= threshold else "perhaps" if estimate.value >= threshold else ""
    return sure if estimate.high <= threshold else "perhaps" if estimate.low <= 0 else ""


# ---------------------------------------------------------------- the interpretation


def _reading(run_signs: RunSigns, findings: Sequence[Finding]) -> list[str]:
    """The interpretation of the signs that the run shows and that are not those of its LLM.

    For a run without a sign of using the audio there is no further interpretation, unless its answers are empty:
    answers that ignore the audio say little about the losses.
    """
    fits = [f.sign.name for f in findings if f.verdict == "fits" and not f.inherited]
    lines: list[str] = []
    if run_signs.adapter in _WORDS:
        lines += [name for name in fits if name != DEAF]
    elif DEAF not in fits or "says nothing" in fits:
        lines += _of_losses(fits)
    if DEAF in fits:
        others = [name for name in fits if name in _OTHERS or (not lines and name not in (DEAF, "off the subject"))]
        lines.append(
            _deafness(next(f for f in findings if f.sign.name == DEAF), run_signs)
            + (", its score is at chance" if run_signs.at_chance else "")
            + (f"; beside that: {', '.join(dict.fromkeys(others))}" if others else "")
        )
    elif run_signs.adapter not in _WORDS:
        if "off the subject" in fits:
            lines.append("it uses the audio, but loses many of the words (none of the paper's signatures)")
        lines += [f"{name}: see the examples" for name in fits if name in _OTHERS]
    if not lines:
        unsure = [f.sign.name for f in findings if f.verdict == "perhaps" and not f.inherited]
        measured = (
            f"none of the {len(findings)} signs that were measured" if run_signs.unmeasured else "none of the signs"
        )
        lines.append(f"no sign is certain; possible signs: {', '.join(unsure)}" if unsure else measured)
    inherited = [f.sign.name for f in findings if f.inherited]
    if inherited:
        lines.append(f"the reference shows these signs too, so they are not its own: {', '.join(inherited)}")
    if run_signs.unmeasured:
        lines.append(f"not measured: {', '.join(run_signs.unmeasured)}")
    return lines


def _deafness(finding: Finding, run_signs: RunSigns) -> str:
    """How little the answers depend on the question."""
    if run_signs.answers.task.choices:
        return "no sign that it uses the audio: its labels fit its own clips no better than other clips"
    if finding.estimate.low > 0:
        return "it gets few of the words"
    return "no sign that it gets the words"


def _of_losses(fits: Sequence[str]) -> list[str]:
    """Which of the paper's two ablations the signs resemble."""
    points = {s.name: s.points for s in SIGNS}
    adherence, coherence = (
        ", ".join(name for name in fits if points[name] == point) for point in ("alignment", "distillation")
    )
    if adherence and coherence:
        return [f"poor adherence ({adherence}) and incoherence ({coherence}): either loss may be at fault"]
    if adherence:
        return [f"poor adherence ({adherence}), coherent, as with distillation alone: points to the alignment"]
    if coherence:
        return [f"incoherence ({coherence}), no sign of poor adherence: points to the distillation"]
    return []


# ---------------------------------------------------------------- tables


def tables(diagnoses: Sequence[Diagnosis], examples: int) -> list[Table]:
    """For every task a table of its runs side by side; what they hear (see `hearing`); then examples of the signs."""
    tasks = _tasks(diagnoses)
    tables_by_task = [
        _side_by_side([d for d in diagnoses if d.run_signs.task_id == task], task == tasks[-1]) for task in tasks
    ]
    found = _hearings(diagnoses)
    shown = _examples(diagnoses, examples) if examples else None
    return [*tables_by_task, *([hearing.table(found)] if found else []), *([shown] if shown and shown.rows else [])]


def _hearings(diagnoses: Sequence[Diagnosis]) -> list[hearing.Hearing]:
    scored: list[hearing.Scored] = []
    for d in diagnoses:
        signs, deaf = d.run_signs, next((f for f in d.findings if f.sign.name == DEAF), None)
        if signs.summary is not None:
            known = (deaf.estimate, deaf.verdict) if deaf else ()
            scored.append(hearing.Scored(signs.label, signs.model, signs.summary, *known))
    return hearing.hearings(scored)


def _tasks(diagnoses: Sequence[Diagnosis]) -> list[str]:
    return list(dict.fromkeys(d.run_signs.task_id for d in diagnoses))


def _side_by_side(diagnoses: Sequence[Diagnosis], last: bool) -> Table:
    """Signs by runs; below the last table the meaning of every sign."""
    present = [s for s in SIGNS if any(s.name in d.run_signs.counts for d in diagnoses)]
    rows: list[list[Cell]] = []
    for sign in present:
        findings = [next((f for f in d.findings if f.sign is sign), None) for d in diagnoses]
        threshold = next(f.threshold for f in findings if f)
        limit = f"{'>=' if sign.above else '<='} {threshold:.3g}"
        rows.append([sign.share or sign.name, *(_cell(f) for f in findings), limit])
    metrics = dict.fromkeys(d.run_signs.score[0] for d in diagnoses if d.run_signs.score)
    for metric in metrics:
        scores: list[Cell] = [
            d.run_signs.score[1] if d.run_signs.score and d.run_signs.score[0] == metric else None for d in diagnoses
        ]
        rows.append([metric, *scores, ""])
    columns = [Column("% of answers"), *(Column(d.run_signs.label) for d in diagnoses), Column("counts from")]
    return Table(f"signs of failure, {diagnoses[0].run_signs.task_id}", columns, rows, _notes(diagnoses, last))


def _cell(finding: Finding | None) -> Cell:
    if finding is None:
        return None
    e = finding.estimate
    mark = {"fits": "* ", "perhaps": "? ", "": ""}[finding.verdict]
    return Score(e.value, e.low, e.high, mark=mark.replace("*", "=") if finding.inherited else mark)


def _notes(diagnoses: Sequence[Diagnosis], last: bool) -> list[str]:
    first = diagnoses[0].run_signs
    readings = [f"{d.run_signs.label}: {'; '.join(d.reading)}" for d in diagnoses]
    marks = (
        "* the run shows the sign: the whole 95 % interval is beyond the threshold; ? perhaps: only the value is, or there "
        "are few clusters; = the run shows it, and so does its reference"
    )
    lacks: dict[str, list[str]] = {}
    for d in diagnoses:
        for sign, why in d.run_signs.unmeasured.items():
            lacks.setdefault(f"{sign}: {why}", []).append(d.run_signs.label)
    unmeasured = [f"not measured{_of(who, len(diagnoses))}: {what}" for what, who in lacks.items()]
    references = [f"reference of {d.run_signs.label}: {d.reference.label}" for d in diagnoses if d.reference]
    missing = [
        d.run_signs.label for d in diagnoses if d.run_signs.llm and not d.reference and d.run_signs.adapter != "oracle"
    ]
    if missing:
        references.append(
            f"no oracle or cascade with the same LLM for {', '.join(missing)}: which signs come from the LLM is unknown"
        )
    failed = [
        f"{d.run_signs.label}: {d.run_signs.failed} samples without an answer, left out"
        for d in diagnoses
        if d.run_signs.failed
    ]
    counts = sorted({(len(d.run_signs.answers.samples), len(set(d.run_signs.clusters))) for d in diagnoses})
    numbers = [
        f"n: {' or '.join(f'{n} answers, {c} clusters' for n, c in counts)}; cluster bootstrap, {RESAMPLES:,} resamples",
        "wrong language, wrong form, off the subject: among answers with at least one word",
    ]
    meaning = [_meaning(s) for s in SIGNS] if last else []
    task = first.answers.task
    synthetic = synthetic_notes([(task.edition, task.data.speech == "synthetic")])
    signatures = list(dict.fromkeys(d.run_signs.signature for d in diagnoses))
    return [*readings, marks, *unmeasured, *references, *failed, *numbers, *meaning, *signatures, *synthetic]


def _of(who: Sequence[str], all_: int) -> str:
    return f" of {', '.join(who)}" if len(who) < all_ else ""


def _meaning(sign: Sign) -> str:
    if not sign.share:
        return f"{sign.name}: {sign.what} (threshold: {sign.why})"
    return f"{sign.share}: {sign.what}: then it {sign.name} (threshold: {sign.why})"


def _examples(diagnoses: Sequence[Diagnosis], limit: int) -> Table:
    """Answers that show a sign, the first ones by id, so that they are not selected."""
    columns = [Column("run"), Column("sign"), Column("sample"), Column("question"), Column("answer")]
    rows: list[list[Cell]] = []
    for d in diagnoses:
        for shown in examples_of(d, limit):
            name = (
                d.run_signs.label
                if len(_tasks(diagnoses)) == 1
                else f"{d.run_signs.answers.task.name} {d.run_signs.label}"
            )
            rows.append([name, shown["sign"], shown["id"], _cut(shown["said"]), _cut(shown["answer"])])
    return Table(
        "examples",
        columns,
        rows,
        ["the first answers by id for each sign that the run shows, or perhaps shows; long texts are cut"],
    )


def examples_of(diagnosis: Diagnosis, limit: int) -> list[dict[str, str]]:
    """`limit` answers for every sign that fits or may fit."""
    answers, examples = diagnosis.run_signs.answers, []
    for finding in diagnosis.findings:
        if not finding.verdict:
            continue
        values = diagnosis.run_signs.counts[finding.sign.name]
        shows = [i for i, v in enumerate(values) if v is not None and (v > 0 if finding.sign.above else v <= 0)]
        for i in sorted(shows, key=lambda i: answers.samples[i].id)[:limit]:
            sample, response = answers.samples[i], answers.responses[i]
            question = sample.transcript or f"[{sample.references[0]}]"
            shown_question = question if answers.gold else "(unknown)"
            examples.append(
                {"sign": finding.sign.name, "id": sample.id, "said": shown_question, "answer": response.text}
            )
    return examples


def _cut(text: str) -> str:
    width = _WIDE if max((cell_len(word) for word in text.split()), default=0) <= _SOLID else _SOLID
    return cut_to(text, width) or "(nothing)"


# ---------------------------------------------------------------- for programs


def long_table(diagnoses: Sequence[Diagnosis]) -> Table:
    """One row per run and sign, for CSV."""
    names = ("task", "run", "sign", "share", "n", "clusters", "threshold", "verdict", "inherited", "minus reference")
    rows: list[list[Cell]] = []
    for d in diagnoses:
        for f in d.findings:
            e, k = f.estimate, f.gap
            share, reference_score = Score(e.value, e.low, e.high), Score(k.value, k.low, k.high) if k else None
            verdict = [f.threshold, f.verdict, str(f.inherited).lower(), reference_score]
            rows.append([d.run_signs.task_id, d.run_signs.label, f.sign.name, share, e.n, e.clusters, *verdict])
    return Table("signs", [Column(name) for name in names], rows)


def as_record(diagnoses: Sequence[Diagnosis], examples: int) -> dict[str, Any]:
    """Everything as JSON, with `examples` answers for every sign that fits or may fit."""
    runs: list[dict[str, Any]] = []
    table = json.loads(long_table(diagnoses).to_json())["rows"]
    for d in diagnoses:
        signs = [r for r in table if (r["task"], r["run"]) == (d.run_signs.task_id, d.run_signs.label)]
        reference = d.reference.label if d.reference else None
        head = {
            "task": d.run_signs.task_id,
            "run": d.run_signs.label,
            "reference": reference,
            "reading": list(d.reading),
        }
        missing = {"not measured": d.run_signs.unmeasured}
        runs.append(head | {"signs": signs} | missing | {"examples": examples_of(d, examples)})
    found = _hearings(diagnoses)
    return {"runs": runs, **({"hearing": hearing.as_records(found)} if found else {})}
