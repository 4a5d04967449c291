"""Simulated raters: a metric of the task, or an LLM judge, votes on what people voted on, always labelled as simulated.

A metric prefers the answer with the better value for this one answer. A judge reads the question and the answers in every
rotated order; it prefers an answer only if it names the same one each time, because judges prefer places (Zheng et al. 2023,
arXiv 2306.05685). Otherwise the vote is a tie. A reply without a clear verdict is no vote.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diva_bench import __version__
from diva_bench.catalog import Catalog
from diva_bench.decoding.generate import generate
from diva_bench.errors import Stop, UserError, unknown
from diva_bench.evaluation.editions import of_model
from diva_bench.runs.run import Run
from diva_bench.scorers.cleaning import clean
from diva_bench.scorers.label_parser import SIGNATURE, Parser
from diva_bench.specs import Edition, ModelSpec, digest
from diva_bench.specs.yamlfile import read_yaml
from diva_bench.study.items import Item
from diva_bench.study.serving import opened, questions
from diva_bench.study.spec import StudyFile
from diva_bench.study.store import Store
from diva_bench.study.votes import TIE, Vote, now
from diva_bench.types import Adapter, Progress, Request, Response, Sample, Scorer, WholeScorer

PROMPT = """\
You compare answers to a spoken question.

Question: {question}
{answers}

Which answer is better? Reply with one word: {allowed} or same."""
PROMPT_VERSION = 1
"""Bump it when the prompt changes."""
_TOKENS = 16  # of a reply
Choose = Callable[[Item, Mapping[str, str]], str | None]
"""(item, system -> answer) -> the preferred system, TIE, or None if there is no verdict."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulated rater did: new votes, votes that were there before, and questions without a verdict."""

    name: str
    added: int
    before: int
    unclear: int


def of_study(
    file: Path,
    database: Path | None,
    metric: str | None,
    judge: str | None,
    edition: Edition | None,
    progress: Progress,
    paths: Sequence[Path] = (),
) -> Outcome:
    """Let a metric or a judge vote in a study.

    Args:
        file: The study file.
        database: Of the votes; None: in the current folder, by the name of the study.
        metric: Its name; None: a judge votes.
        judge: A model of the catalog.
        edition: Of the judge.
        progress: Gets notes.
        paths: Folders of YAML files, for the catalog.

    Raises:
        UserError: The study has no votes of people, the metric or model is unknown, or the words of questions are.
    """
    study, catalog = read_yaml(file, StudyFile), Catalog(paths)
    systems, items, _ = questions(study, file.parent, progress, paths)
    if not items:
        raise UserError(
            f"{file}: raters recorded their own questions. Their words and right answers are unknown, so no rater can be "
            "simulated."
        )
    with opened(study, database, create=False) as store:
        if metric is not None:
            sample = next((item.sample for item in items.values() if item.sample is not None), None)
            scorers = catalog.scorers(systems.task, lenient=True) if systems else _scorers(study, file.parent)
            if sample is None or not scorers:
                raise UserError(f"{file}: the task of its runs is not on this machine, which a metric needs.")
            return simulate(store, items, metric, *by_metric(metric, scorers, sample))
        name = str(judge)
        spec = catalog.model(name, of_model(catalog, name, "full", edition, progress, fetch=False))
        if "text" not in catalog.adapter_for(spec).accepts:
            raise UserError(
                f"model {spec.name} does not take text, which a judge needs. Name one that does, such as oracle."
            )
        adapter = catalog.load(spec, progress)
        try:
            return simulate(store, items, f"judge {spec.name}", *by_judge(spec, adapter))
        finally:
            adapter.close()


def _scorers(study: StudyFile, folder: Path) -> Mapping[str, Scorer]:
    """The scorers of the task of the runs; empty if it is not on this machine."""
    first = next(iter(study.systems.values()))
    return Run.open(folder / str(first.run)).inputs()[2]


def simulate(store: Store, items: Mapping[str, Item], name: str, signature: str, choose: Choose) -> Outcome:
    """Let a simulated rater vote on every question that people voted on, once.

    Args:
        store: Of the study.
        items: Its questions.
        name: Of the simulated rater; it is shown with every vote.
        signature: What decides its votes.
        choose: Its preference.

    Raises:
        UserError: People have not voted yet.
    """
    votes = store.votes()
    asked = {(vote.item, vote.systems) for vote in votes if not vote.simulated and vote.expected is None}
    if not asked:
        raise UserError(f"{store.path}: people have not voted yet. A simulated rater votes on what people voted on.")
    for vote in votes:
        if vote.simulated == name and vote.versions.get("simulated") != signature:
            raise UserError(
                f"{store.path}: has votes of the simulated rater {name} that were made with other settings or versions. To "
                f"replace them: diva-bench study withdraw {store.path} {vote.rater} --yes, then this command again."
            )
    rater, answers, there = store.hashed(f"simulated {name} {signature}"), store.answers(), {vote.id for vote in votes}
    store.enrol(rater, simulated=name)
    counts, versions = [0, 0, 0], {"diva-bench": __version__, "simulated": signature}
    for item, systems in sorted(asked):
        id = hashlib.sha256("\0".join(("simulated", name, signature, item, *systems)).encode()).hexdigest()[:32]
        texts = {system: answers[item, system] for system in systems if (item, system) in answers}
        choice = None
        if id in there:
            counts[1] += 1
            continue
        if item in items and len(texts) == len(systems):
            choice = choose(items[item], texts)
        if choice is None:
            counts[2] += 1
            continue
        counts[0] += store.add([Vote(id, item, systems, choice, rater, at=now(), versions=versions)])
    return Outcome(name, *counts)


# ---------------------------------------------------------------- a metric


def by_metric(metric: str, scorers: Mapping[str, Scorer], sample: Sample) -> tuple[str, Choose]:
    """(signature, preference) of a metric.

    Args:
        metric: Its name.
        scorers: Of the task.
        sample: Any of the task, to find the scorer that returns the metric.

    Raises:
        UserError: No scorer returns it for a single answer.
    """
    alone = [scorer for scorer in scorers.values() if not isinstance(scorer, WholeScorer)]
    found = {name: scorer for scorer in alone for name in _values(scorer, sample, "an answer")}
    if metric not in found:
        raise unknown("metric", metric, found, "the scorers of the task that score single answers")
    scorer = found[metric]

    def choose(item: Item, texts: Mapping[str, str]) -> str | None:
        if item.sample is None:
            return None
        values = {system: _values(scorer, item.sample, text).get(metric) for system, text in texts.items()}
        known = {system: value for system, value in values.items() if value is not None}
        if len(known) < len(texts):
            return None
        best = (max if scorer.higher_is_better else min)(known.values())
        first, *others = [system for system, value in known.items() if value == best]
        return TIE if others else first

    return scorer.signature, choose


def _values(scorer: Scorer, sample: Sample, text: str) -> Mapping[str, float]:
    """Metric -> value of one answer."""
    sums = {name: np.array([value]) for name, value in scorer.measure(sample, Response(sample.id, text)).items()}
    return {name: float(value[0]) for name, value in scorer.reduce(sums).items()} if sums else {}


# ---------------------------------------------------------------- a judge


def by_judge(model: ModelSpec, adapter: Adapter) -> tuple[str, Choose]:
    """(signature, preference) of an LLM judge, greedy. A failure of the judge is no verdict."""
    identity = digest({**model.identity(), "adapter_version": adapter.version})[:8]
    signature = f"judge|model:{model.name}@{identity}|prompt:v{PROMPT_VERSION}|orders:all rotations|{SIGNATURE}"

    def choose(item: Item, texts: Mapping[str, str]) -> str | None:
        if not item.words:
            return None
        verdicts = {_verdict(adapter, model.name, item.words, order, texts) for order in _rotations(sorted(texts))}
        if None in verdicts:
            return None
        return verdicts.pop() if len(verdicts) == 1 else TIE

    return signature, choose


def _rotations(systems: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(len(systems)):
        yield [*systems[start:], *systems[:start]]


def _verdict(adapter: Adapter, name: str, words: str, order: Sequence[str], texts: Mapping[str, str]) -> str | None:
    numbers = [str(place) for place in range(1, len(order) + 1)]
    listed = "\n".join(f"Answer {n}: {texts[system]}" for n, system in zip(numbers, order, strict=True))
    turn = PROMPT.format(question=words, answers=listed, allowed=", ".join(numbers))
    request = Request("judge", prompt="", transcript=turn, max_new_tokens=_TOKENS)
    try:
        [reply] = generate(adapter, [request], name)
    except Stop as stop:
        raise UserError(f"{name} judges nothing more: {stop}") from stop
    label = Parser((*numbers, "same"), {}).parse(clean(reply.text)) if reply.status == "ok" else None
    return None if label is None else TIE if label == "same" else order[int(label) - 1]
