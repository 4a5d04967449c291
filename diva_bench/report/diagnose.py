"""What goes wrong in runs, by their stored answers: signs with numbers, the oracle's beside them, examples, a reading.

The reading is the paper's: poor adherence (wrong language, transcripts, form) points to the alignment loss, incoherence
(loops, nothing at all) to the distillation loss. It is an analogy, no proof: in the paper's ablations distillation alone
gave 1.4 % of translations in the right language where both losses gave 74 %, and alignment alone the lowest scores. What
the LLM also does when it is given the words (an `oracle`, else a `cascade` run with the same LLM among the runs) is its
own and not the connector's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from rich.cells import cell_len

from diva_bench.report.signs import DEAF, SIGNS, Answers, Sign, Verdict, threshold_of, unmeasured
from diva_bench.runs.records import synthetic_notes
from diva_bench.stats import RESAMPLES, Difference, Estimate, bootstrap, dense, paired, ratio
from diva_bench.tables import Cell, Column, Score, Table, cut_to
from diva_bench.types import Floats, Row

_WORDS = ("oracle", "cascade")  # adapters that give their LLM words: they have no losses to blame
_OTHERS = ("refuses", "cut off", "all the same", "one character")  # signs that point to neither loss
_WIDE, _SOLID = 72, 28  # columns of a text in a table, and of one without a space to break it at


@dataclass(frozen=True)
class Patient:
    """One run: its answers and, for every sign, its number for each of them."""

    label: str
    task_id: str
    adapter: str
    llm: str
    """What tells its LLM from others; "" where it has none."""
    answers: Answers
    counts: Mapping[str, Sequence[float | None]]
    score: tuple[str, Score] | None = None
    """The primary metric, from summary.json."""
    at_chance: bool | None = None
    signature: str = ""
    failed: int = 0

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
    """One sign of one run. `threshold` in per cent. `known`: what the run's reference (see Diagnosis) shows more of, or as
    much: run minus reference."""

    sign: Sign
    estimate: Estimate
    threshold: float
    verdict: Verdict
    known: Difference | None = None

    @property
    def inherited(self) -> bool:
        """The reference shows it as well: no interval tells the run's share from a share that is no larger."""
        if self.known is None or not self.verdict:
            return False
        return self.known.low <= 0 if self.sign.above else self.known.high >= 0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`reference`: the run of the same task, with the same LLM, that is given the words; None where there is none."""

    patient: Patient
    findings: Sequence[Finding]
    reference: Patient | None = None
    reading: Sequence[str] = field(default=())


def diagnose(patients: Sequence[Patient]) -> list[Diagnosis]:
    """Every run with its signs, and with the run among the others that it is held against."""
    return [_diagnosis(patient, _reference(patient, patients)) for patient in patients]


def _reference(patient: Patient, among: Sequence[Patient]) -> Patient | None:
    """The oracle with the same LLM on the same samples, else the cascade."""
    same = [p for p in among if p is not patient and p.task_id == patient.task_id and p.llm == patient.llm and p.llm]
    rank = {"oracle": 0, "cascade": 1}
    better = [p for p in same if rank.get(p.adapter, 9) < rank.get(patient.adapter, 9)]
    better = [p for p in better if [s.id for s in p.answers.samples] == [s.id for s in patient.answers.samples]]
    return min(better, key=lambda p: (rank[p.adapter], p.label), default=None)


def _diagnosis(patient: Patient, reference: Patient | None) -> Diagnosis:
    findings = [_finding(patient, sign, reference) for sign in SIGNS if sign.name in patient.counts]
    return Diagnosis(patient, findings, reference, _reading(patient, findings))


def _finding(patient: Patient, sign: Sign, reference: Patient | None) -> Finding:
    estimate = bootstrap(patient.rows(sign.name), patient.clusters, _share)["share"]
    threshold, labels = threshold_of(sign, patient.answers), bool(patient.answers.task.choices)
    reference_share = None
    if reference is not None and sign.name in reference.counts:
        reference_share = paired(patient.rows(sign.name), reference.rows(sign.name), patient.clusters, _share).get(
            "share"
        )
    verdict = _verdict(sign, estimate, threshold)
    if sign.name == DEAF and labels and estimate.low > 0:
        verdict = ""  # above chance: it hears something, however far from all
    return Finding(sign, estimate, threshold, verdict, reference_share)


def _share(totals: Mapping[str, Floats]) -> dict[str, Floats]:
    sums = dense(totals, ["sum", "n"])
    return {"share": np.asarray(100 * ratio(sums[..., 0], sums[..., 1]))}


def _verdict(sign: Sign, estimate: Estimate, threshold: float) -> Verdict:
    """Few clusters make an interval too narrow to be sure of anything."""
    sure: Verdict = "perhaps" if estimate.few_clusters else "fits"
    if sign.above:
        return sure if estimate.low >= threshold else "perhaps" if estimate.value >= threshold else ""
    return sure if estimate.high <= threshold else "perhaps" if estimate.low <= 0 else ""


# ---------------------------------------------------------------- the reading


def _reading(patient: Patient, findings: Sequence[Finding]) -> list[str]:
    """What the signs that fit, and are not the LLM's own, say together.

    A run that shows no sign of hearing is not read further, unless it is silent: what a model says that has heard nothing
    tells little of either loss.
    """
    fits = [f.sign.name for f in findings if f.verdict == "fits" and not f.inherited]
    lines: list[str] = []
    if patient.adapter in _WORDS:
        lines += [name for name in fits if name != DEAF]
    elif DEAF not in fits or "says nothing" in fits:
        lines += _of_losses(fits)
    if DEAF in fits:
        others = [name for name in fits if name in _OTHERS or (not lines and name not in (DEAF, "off the subject"))]
        lines.append(
            _deafness(next(f for f in findings if f.sign.name == DEAF), patient)
            + (", its score is at chance" if patient.at_chance else "")
            + (f"; beside that: {', '.join(dict.fromkeys(others))}" if others else "")
        )
    elif patient.adapter not in _WORDS:
        if "off the subject" in fits:
            lines.append("it uses the audio, but loses many of the words (none of the paper's signatures)")
        lines += [f"{name}: see the examples" for name in fits if name in _OTHERS]
    if not lines:
        unsure = [f.sign.name for f in findings if f.verdict == "perhaps" and not f.inherited]
        measured = (
            f"none of the {len(findings)} signs that were measured" if patient.unmeasured else "none of the signs"
        )
        lines.append(f"no sign is certain; possible signs: {', '.join(unsure)}" if unsure else measured)
    inherited = [f.sign.name for f in findings if f.inherited]
    if inherited:
        lines.append(f"the reference shows these signs too, so they are not its own: {', '.join(inherited)}")
    if patient.unmeasured:
        lines.append(f"not measured: {', '.join(patient.unmeasured)}")
    return lines


def _deafness(finding: Finding, patient: Patient) -> str:
    """How little of what is said the answers show."""
    if patient.answers.task.choices:
        return "no sign that it uses the audio: its labels fit its own clips no better than other clips"
    if finding.estimate.low > 0:
        return "it gets few of the words"
    return "no sign that it gets the words"


def _of_losses(fits: Sequence[str]) -> list[str]:
    """Which of the paper's two ablations the signs are like."""
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
    """For every task, its runs side by side; then examples of what fits."""
    tasks = _tasks(diagnoses)
    tables_by_task = [
        _side_by_side([d for d in diagnoses if d.patient.task_id == task], task == tasks[-1]) for task in tasks
    ]
    shown = _examples(diagnoses, examples) if examples else None
    return tables_by_task + ([shown] if shown and shown.rows else [])


def _tasks(diagnoses: Sequence[Diagnosis]) -> list[str]:
    return list(dict.fromkeys(d.patient.task_id for d in diagnoses))


def _side_by_side(diagnoses: Sequence[Diagnosis], last: bool) -> Table:
    """Signs by runs; under the last table, what every sign is."""
    present = [s for s in SIGNS if any(s.name in d.patient.counts for d in diagnoses)]
    rows: list[list[Cell]] = []
    for sign in present:
        findings = [next((f for f in d.findings if f.sign is sign), None) for d in diagnoses]
        threshold = next(f.threshold for f in findings if f)
        limit = f"{'>=' if sign.above else '<='} {threshold:.3g}"
        rows.append([sign.share or sign.name, *(_cell(f) for f in findings), limit])
    metrics = dict.fromkeys(d.patient.score[0] for d in diagnoses if d.patient.score)
    for metric in metrics:
        scores: list[Cell] = [
            d.patient.score[1] if d.patient.score and d.patient.score[0] == metric else None for d in diagnoses
        ]
        rows.append([metric, *scores, ""])
    columns = [Column("% of answers"), *(Column(d.patient.label) for d in diagnoses), Column("counts from")]
    return Table(f"signs of failure, {diagnoses[0].patient.task_id}", columns, rows, _notes(diagnoses, last))


def _cell(finding: Finding | None) -> Cell:
    if finding is None:
        return None
    e = finding.estimate
    mark = {"fits": "* ", "perhaps": "? ", "": ""}[finding.verdict]
    return Score(e.value, e.low, e.high, mark=mark.replace("*", "=") if finding.inherited else mark)


def _notes(diagnoses: Sequence[Diagnosis], last: bool) -> list[str]:
    first = diagnoses[0].patient
    readings = [f"{d.patient.label}: {'; '.join(d.reading)}" for d in diagnoses]
    marks = (
        "* the run shows the sign: the whole 95 % interval is beyond the threshold; ? perhaps: only the value is, or there "
        "are few clusters; = the run shows it, and so does its reference"
    )
    lacks: dict[str, list[str]] = {}
    for d in diagnoses:
        for sign, why in d.patient.unmeasured.items():
            lacks.setdefault(f"{sign}: {why}", []).append(d.patient.label)
    unmeasured = [f"not measured{_of(who, len(diagnoses))}: {what}" for what, who in lacks.items()]
    references = [f"reference of {d.patient.label}: {d.reference.label}" for d in diagnoses if d.reference]
    missing = [
        d.patient.label for d in diagnoses if d.patient.llm and not d.reference and d.patient.adapter != "oracle"
    ]
    if missing:
        references.append(
            f"no oracle or cascade with the same LLM beside {', '.join(missing)}: what is the LLM's own is not known"
        )
    failed = [
        f"{d.patient.label}: {d.patient.failed} samples without an answer, left out"
        for d in diagnoses
        if d.patient.failed
    ]
    counts = sorted({(len(d.patient.answers.samples), len(set(d.patient.clusters))) for d in diagnoses})
    numbers = [
        f"n: {' or '.join(f'{n} answers, {c} clusters' for n, c in counts)}; cluster bootstrap, {RESAMPLES:,} resamples",
        "wrong language, wrong form, off the subject: among answers with at least one word",
    ]
    meaning = [_meaning(s) for s in SIGNS] if last else []
    task = first.answers.task
    synthetic = synthetic_notes([(task.edition, task.data.speech == "synthetic")])
    signatures = list(dict.fromkeys(d.patient.signature for d in diagnoses))
    return [*readings, marks, *unmeasured, *references, *failed, *numbers, *meaning, *signatures, *synthetic]


def _of(who: Sequence[str], all_: int) -> str:
    return f" of {', '.join(who)}" if len(who) < all_ else ""


def _meaning(sign: Sign) -> str:
    if not sign.share:
        return f"{sign.name}: {sign.what} (threshold: {sign.why})"
    return f"{sign.share}: {sign.what}: then it {sign.name} (threshold: {sign.why})"


def _examples(diagnoses: Sequence[Diagnosis], limit: int) -> Table:
    """Answers that show a sign, the first ones by id: nobody picked them."""
    columns = [Column("run"), Column("sign"), Column("sample"), Column("what was said"), Column("the answer")]
    rows: list[list[Cell]] = []
    for d in diagnoses:
        for shown in examples_of(d, limit):
            name = (
                d.patient.label if len(_tasks(diagnoses)) == 1 else f"{d.patient.answers.task.name} {d.patient.label}"
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
    answers, examples = diagnosis.patient.answers, []
    for finding in diagnosis.findings:
        if not finding.verdict:
            continue
        values = diagnosis.patient.counts[finding.sign.name]
        shows = [i for i, v in enumerate(values) if v is not None and (v > 0 if finding.sign.above else v <= 0)]
        for i in sorted(shows, key=lambda i: answers.samples[i].id)[:limit]:
            sample, response = answers.samples[i], answers.responses[i]
            question = sample.transcript or f"[{sample.references[0]}]"
            shown_question = question if answers.gold else "(not known here)"
            examples.append(
                {"sign": finding.sign.name, "id": sample.id, "said": shown_question, "answer": response.text}
            )
    return examples


def _cut(text: str) -> str:
    width = _WIDE if max((cell_len(word) for word in text.split()), default=0) <= _SOLID else _SOLID
    return cut_to(text, width) or "(nothing)"


# ---------------------------------------------------------------- for programs


def long_table(diagnoses: Sequence[Diagnosis]) -> Table:
    """One row per run and sign: what CSV gets."""
    names = ("task", "run", "sign", "share", "n", "clusters", "threshold", "verdict", "inherited", "minus reference")
    rows: list[list[Cell]] = []
    for d in diagnoses:
        for f in d.findings:
            e, k = f.estimate, f.known
            share, reference_score = Score(e.value, e.low, e.high), Score(k.value, k.low, k.high) if k else None
            verdict = [f.threshold, f.verdict, str(f.inherited).lower(), reference_score]
            rows.append([d.patient.task_id, d.patient.label, f.sign.name, share, e.n, e.clusters, *verdict])
    return Table("signs", [Column(name) for name in names], rows)


def as_record(diagnoses: Sequence[Diagnosis], examples: int) -> dict[str, Any]:
    """All of it, with `examples` answers for every sign that fits or may fit."""
    runs: list[dict[str, Any]] = []
    table = json.loads(long_table(diagnoses).to_json())["rows"]
    for d in diagnoses:
        signs = [r for r in table if (r["task"], r["run"]) == (d.patient.task_id, d.patient.label)]
        reference = d.reference.label if d.reference else None
        head = {"task": d.patient.task_id, "run": d.patient.label, "reference": reference, "reading": list(d.reading)}
        missing = {"not measured": d.patient.unmeasured}
        runs.append(head | {"signs": signs} | missing | {"examples": examples_of(d, examples)})
    return {"runs": runs}
