"""Verify stored runs: every hash is computed again, and the answers are scored again, without the model and without writing
to the runs.

A check agrees, differs (both values are told), or could not be made (the reason is told). It shows that the files of a
run belong together and that its scores are those of its answers. It cannot show who made them: a hash is no signature.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from diva_bench import disk
from diva_bench.catalog import Catalog
from diva_bench.data.place import locate
from diva_bench.errors import UnknownName, UserError
from diva_bench.evaluation import bundling
from diva_bench.evaluation.rescoring import data_of, job_of
from diva_bench.predictions import imported
from diva_bench.runs import bundle, rows, schemas, scoring, stored_task
from diva_bench.runs.answers import Answers
from diva_bench.runs.runner import Job
from diva_bench.runs.store import RunFolder
from diva_bench.scorers import Absent, reply_cache
from diva_bench.specs import Json
from diva_bench.types import Progress, Scorer, Silent, WholeScorer

Outcome = Literal["agrees", "differs", "not checked"]

RECORDS = "task.json and run.json: schema, ids, hashes"
ROWS = "rows.jsonl: sha256 and fingerprint of the data"
QUESTION = "task and prompts as rendered: hash of the question"
CLIPS = "clips: sha256 of the audio"
ANSWERS = "answers: sha256"
LOGS = "timing and events: schema"
REPLIES = "replies of judges: settings in the file name"
SIGNATURES = "scorers: signatures"
SHEETS = "scores.jsonl: statistics of every answer, measured again"
SUMMARY = "summary.json: metrics, groups, baselines, counts, computed again"
WEIGHTS = "weights: sha256"
SOURCES = "imported files: sha256"
CHECKS = (RECORDS, ROWS, QUESTION, CLIPS, ANSWERS, LOGS, REPLIES, SIGNATURES, SHEETS, SUMMARY, WEIGHTS, SOURCES)
"""The checks, in the order of tables."""

CLOSE = 1e-6
"""Points by which a number may differ: another version of numpy may round a sum differently."""
_WITH_ROWS = 3  # the schema from which every run of data without a licence has rows
_FIRST = 5  # differences of one check that are listed for one run; a last line counts the others
_MEASURED = ("agreement", "baseline", "baseline_of", "baselines", "at_chance", "no_baseline")
"""Entries of a summary that come from the scorer of the primary metric."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check of one run.

    Attributes:
        what: One of CHECKS.
        detail: The part that differs, or why it could not be checked.
        stored, found: Both values of a difference.
        parts: What was not checked, if the rest was.
    """

    run: Path
    what: str
    outcome: Outcome
    detail: str = ""
    stored: str = ""
    found: str = ""
    parts: tuple[str, ...] = ()


@dataclass
class _Log:
    """The findings of one run."""

    run: Path
    findings: list[Finding] = field(default_factory=list)

    def skip(self, what: str, why: str) -> None:
        self.findings.append(Finding(self.run, what, "not checked", why.strip().rstrip(".")))

    def lack(self, what: str, parts: Sequence[str], why: str) -> None:
        """Parts of a check that were not made."""
        if parts:
            self.findings.append(Finding(self.run, what, "not checked", why.strip().rstrip("."), parts=tuple(parts)))

    def fault(self, what: str, err: Exception) -> None:
        """A difference that a message of its own tells."""
        self.findings.append(Finding(self.run, what, "differs", str(err)))

    def differ(self, what: str, detail: str) -> None:
        """A difference without two values."""
        self.findings.append(Finding(self.run, what, "differs", detail))

    def compare(self, what: str, pairs: Iterator[tuple[str, object, object]]) -> None:
        """Pairs of (part, stored value, value found now): one difference for each that is not equal, or one agreement."""
        differ = [(part, stored, found) for part, stored, found in pairs if not _same(stored, found)]
        for part, stored, found in differ[:_FIRST]:
            self.findings.append(Finding(self.run, what, "differs", part, _shown(stored), _shown(found)))
        if (more := len(differ) - _FIRST) > 0:
            self.findings.append(Finding(self.run, what, "differs", f"and {more:,} more", "not listed", "not listed"))
        if not differ:
            self.agree(what)

    def agree(self, what: str) -> None:
        if not any(one.what == what and one.outcome == "differs" for one in self.findings):
            self.findings.append(Finding(self.run, what, "agrees"))


def _same(stored: object, found: object) -> bool:
    """Whether two JSON values are equal, numbers up to CLOSE."""
    if isinstance(stored, Mapping) and isinstance(found, Mapping):
        return stored.keys() == found.keys() and all(_same(stored[key], found[key]) for key in stored)
    if isinstance(stored, list | tuple) and isinstance(found, list | tuple):
        return len(stored) == len(found) and all(map(_same, stored, found))
    if isinstance(stored, bool) or isinstance(found, bool):
        return stored is found
    if isinstance(stored, int | float) and isinstance(found, int | float):
        return math.isclose(stored, found, rel_tol=0, abs_tol=CLOSE)
    return stored == found


def _shown(value: object) -> str:
    text = "none" if value is None else value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else f"{text[:200]} ({len(text):,} characters)"


def verify(
    catalog: Catalog,
    path: Path,
    more: Mapping[str, Json] | None = None,
    data_dir: Path | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """Check one run.

    Args:
        path: The run folder. Nothing is written to it.
        more: Scorers that `score --scorer` added.
        data_dir: As in `score`; for the clips.

    Returns:
        The findings; a check has several if several things differ.

    Raises:
        UnknownName: `more` names a scorer that does not exist.
    """
    log, folder, progress = _Log(path), RunFolder(path), progress or Silent()
    try:
        folder.check()
    except UserError as err:
        log.fault(RECORDS, err)
        return log.findings
    _stated(log, folder)
    summary = _summary_of(log, folder)
    _check_schemas(log, folder, summary)
    _check_logs(log, folder, summary)
    whole = _check_rows(log, folder, catalog, data_dir)
    if not (whole and _check_answers(log, folder, summary)):
        for what in (QUESTION, SIGNATURES, SHEETS, SUMMARY):
            log.skip(what, "the rows or the answers are missing or cannot be read")
        return log.findings
    try:
        job = job_of(catalog, folder, progress, data_dir=data_dir)
    except (UserError, ValueError) as err:
        if rows.path_of(folder.above, folder.task_record()["hash"]) is not None:
            log.fault(QUESTION, err)
        else:
            log.skip(QUESTION, str(err))
        for what in (SIGNATURES, SHEETS, SUMMARY):
            log.skip(what, "there is no question to score the answers by")
        return log.findings
    log.agree(QUESTION)
    if summary is not None:
        _check_scores(log, folder, _added(log, catalog, folder, job, more, data_dir), summary)
    return log.findings


# ---------------------------------------------------------------- files and hashes


def _stated(log: _Log, folder: RunFolder) -> None:
    """What run.json states and no file of a run can show."""
    record = folder.record()
    if record["model"].get("weights"):
        log.skip(WEIGHTS, "no weights are in a run; `diva-bench doctor --verify` hashes those on this machine")
    if imported.is_imported(record):
        log.skip(SOURCES, "the files that were imported are not in a run")


def _check_schemas(log: _Log, folder: RunFolder, summary: Json | None) -> None:
    """Check the numbers of the schemas, which no hash covers."""
    records = {"task.json": folder.task_record(), "run.json": folder.record(), "summary.json": summary or {}}
    newer = [f"{name} (schema {record['schema']})" for name, record in records.items() if schemas.is_newer(record)]
    why = f"a newer version of diva-bench wrote {', '.join(newer)}; this one knows up to {schemas.SCHEMA}. Update it"
    log.lack(RECORDS, [f"what is new in {name}" for name in newer], why)
    stated = ((name, records[name].get("schema", 1)) for name in ("task.json", "run.json"))
    # records of schema 1 have no hash that could agree with their content
    log.compare(RECORDS, ((f"{name}: schema", number, max(number, 2)) for name, number in stated))


def _torn(path: Path) -> str:
    """What shows that a file of lines was cut; "" if nothing does."""
    try:
        with path.open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return f"{path.name} is empty"
            file.seek(-1, os.SEEK_END)
            return "" if file.read(1) == b"\n" else f"the last line of {path.name} is not complete"
    except OSError as err:
        return f"{path.name} cannot be read ({err.strerror})"


def _check_whole(log: _Log, what: str, paths: Sequence[Path], summary: Json | None) -> None:
    """Check that no file was cut; a run that was stopped leaves such files until it is continued."""
    for torn in filter(None, map(_torn, paths)):
        if summary is not None and summary["complete"]:
            log.differ(what, torn)
        else:
            log.lack(what, [torn], f"{torn}, as after a run that was stopped")


def _check_logs(log: _Log, folder: RunFolder, summary: Json | None) -> None:
    _check_whole(log, LOGS, folder.files("timing", "events"), summary)
    try:
        folder.timing()
        folder.events()
        log.agree(LOGS)
    except UserError as err:
        log.fault(LOGS, err)
    for kind in reply_cache.KINDS:
        for path in sorted(folder.path.glob(f"{kind}-*.jsonl")):
            try:
                expected = reply_cache.name_of(path, kind)
                log.compare(REPLIES, iter([("name of the file", path.name, expected)]))
            except UserError as err:
                log.fault(REPLIES, err)


def _check_rows(log: _Log, folder: RunFolder, catalog: Catalog, data_dir: Path | None) -> bool:
    """Check rows and clips. Returns whether the rows can be used, or none are stored."""
    try:
        stored = rows.load(folder.above, folder.task_record())
    except UserError as err:
        log.fault(ROWS, err)
        log.skip(CLIPS, "the rows, which have their sha256, differ")
        return False
    if stored is None:
        if why := _why_no_rows(folder, catalog):
            log.skip(ROWS, why)
        else:
            log.differ(ROWS, "rows.jsonl is missing: this version stores the rows of data that is not licensed")
        log.skip(CLIPS, "no rows are stored, which have their sha256")
        return True
    log.agree(ROWS)
    if not any(clip for _, clip, *_ in stored.covered):
        log.skip(CLIPS, "the task has no audio")
        return True
    if beside := bundle.clips_beside(folder.place):
        heard = sorted({str(clip) for _, clip, *_ in stored.covered if clip})
        log.compare(CLIPS, ((f"clips/{clip}", clip, disk.sha256(beside[clip])) for clip in heard if clip in beside))
        if lacking := len(set(heard) - beside.keys()):
            log.skip(CLIPS, f"{lacking:,} of {len(heard):,} clips are not beside the runs")
        return True
    try:
        task = stored_task.of_catalog(folder, catalog)
        changed = stored_task.changed(task, folder.task_record())
        if changed:
            log.skip(CLIPS, f"the task of this version has other {', '.join(changed)}, so its data may be other data")
            return True
        if not imported.is_imported(folder.record()) and locate(task, data_dir) is None:
            log.skip(CLIPS, "the data of the task is not on this machine")
            return True
        here = data_of(folder, task, Silent(), data_dir)
    except UserError as err:
        log.skip(CLIPS, f"the audio is not on this machine: {err}")
        return True
    difference = rows.differences(stored, here)
    log.compare(CLIPS, iter([("data on this machine", "as stored", difference or "as stored")]))
    return True


def _why_no_rows(folder: RunFolder, catalog: Catalog) -> str:
    """Why the run may have no rows; "" if it must have some."""
    if bundling.is_licensed(folder, catalog):
        return "no rows are stored, because the data is licensed"
    if imported.is_imported(folder.record()):
        return "no rows are stored: the answers were imported, maybe without the data"
    if max(record.get("schema", 1) for record in (folder.task_record(), folder.record())) < _WITH_ROWS:
        return "no rows are stored: older versions of diva-bench stored none"
    return ""


def _summary_of(log: _Log, folder: RunFolder) -> Json | None:
    """The content of summary.json, or None."""
    if not (folder.path / "summary.json").is_file():
        derived = ["scores.jsonl", *(f"{kind}-*.jsonl" for kind in reply_cache.KINDS)]
        if there := sorted(path.name for name in derived for path in folder.path.glob(name)):
            log.differ(SUMMARY, f"summary.json is missing, and {', '.join(there)} shows that the run was scored")
        else:
            log.skip(SUMMARY, "the run is not scored")
        log.skip(SHEETS, "there is no summary.json to compare with")
        return None
    try:
        summary = folder.summary()
        schemas.checked(schemas.Summary, summary, str(folder.path / "summary.json"))
        return summary
    except UserError as err:
        log.fault(SUMMARY, err)
        return None


def _check_answers(log: _Log, folder: RunFolder, summary: Json | None) -> bool:
    """Whether the answers can be read, and all that were scored are there."""
    files = folder.files("responses")
    if not files:
        if summary is None:
            log.skip(ANSWERS, "there are no answers yet")
        else:
            log.differ(ANSWERS, "responses.jsonl is missing")
        return False
    try:
        answers = folder.answered()
        found = answers.digest()
    except UserError as err:
        log.fault(ANSWERS, err)
        return False
    if summary is not None and summary["complete"] and len(answers) < summary["n"]:
        log.differ(ANSWERS, f"responses.jsonl has {len(answers):,} of {summary['n']:,} answers")
        return False
    _check_whole(log, ANSWERS, files, summary)
    _check_repeats(log, folder, answers)
    if summary is None:
        return True
    if summary.get("answers") is None:
        log.skip(ANSWERS, "summary.json is of an older version and has no sha256 of the answers")
    else:
        log.compare(ANSWERS, iter([("sha256 in summary.json", summary["answers"], found)]))
    return True


def _check_repeats(log: _Log, folder: RunFolder, answers: Answers) -> None:
    """Tell of lines that a later line of their id replaces, if timing.jsonl does not have them too: it has those of a
    batch that failed in part and was run again. A run that was killed inside a batch leaves some."""
    if not answers.repeated:
        return
    try:
        timed = sum(line["rows"] for line in folder.timing())
    except UserError:
        return
    if (extra := len(answers) + answers.repeated - timed) > 0:
        part = f"{extra:,} line{'s' * (extra != 1)} that a later line replaces"
        log.lack(
            ANSWERS, [part], f"{part}, and timing.jsonl does not have them: the run was killed, or lines were added"
        )


# ---------------------------------------------------------------- scores


def _added(
    log: _Log, catalog: Catalog, folder: RunFolder, job: Job, more: Mapping[str, Json] | None, data_dir: Path | None
) -> Job:
    """The job with the scorers `more` too; without them if they do not fit its task, which is no fault of the run."""
    if not more:
        return job
    try:
        return job_of(catalog, folder, Silent(), more, data_dir)
    except UnknownName:
        raise
    except UserError as err:
        log.lack(SIGNATURES, list(more), f"--scorer {', '.join(more)}: {err}")
        return job


def _check_scores(log: _Log, folder: RunFolder, job: Job, summary: Json) -> None:
    job = replace(job, scorers={name: _without_model(name, scorer) for name, scorer in job.scorers.items()})
    with tempfile.TemporaryDirectory(prefix="diva-bench-verify-") as place:
        again = _copy(folder, Path(place))
        try:
            with again:
                found = scoring.score(job, again, Silent())
        except (UserError, ValueError) as err:
            why = str(err).replace(str(again.path), str(folder.path))  # not the copy
            for what in (SIGNATURES, SHEETS, SUMMARY):
                log.skip(what, f"the answers cannot be scored here: {why}")
            return
        comparable = _comparable(log, job, summary["signature"], found)
        _compare_summary(log, summary, found, comparable)
        _compare_sheets(log, folder, again, summary, comparable)


def _without_model(name: str, scorer: Scorer) -> Scorer:
    """The scorer; one that asks a model uses only the replies that are stored with the run."""
    if not isinstance(scorer, WholeScorer):
        return scorer
    if not hasattr(scorer, "replies_only"):
        return Absent(name, "it asks a model, and verify asks none")
    scorer.replies_only = True
    return scorer


def _copy(folder: RunFolder, place: Path) -> RunFolder:
    """A run folder beside which new scores can be written: small files are copied, and the answers and rows are linked."""
    path = place / folder.place.parent.name / folder.place.name
    path.mkdir(parents=True)
    shutil.copy(folder.above / "task.json", path.parent)
    if (folder.above / rows.NAME).is_file():
        (path.parent / rows.NAME).symlink_to((folder.above / rows.NAME).resolve())
    for source in folder.path.iterdir():
        if source.name.startswith(("responses.", "timing.", "events.")):
            (path / source.name).symlink_to(source.resolve())
        elif source.suffix in (".json", ".jsonl") and source.is_file():
            shutil.copy(source, path)
    return RunFolder(path)


def _comparable(log: _Log, job: Job, stored: Mapping[str, str], found: Json) -> set[str]:
    """The scorers whose results can be compared: those that were measured now with the stored signature."""
    kept = found.get("kept", [])
    why = dict.fromkeys(stored, "")
    for name, signature in stored.items():
        lacks = " ".join(str(getattr(job.scorers.get(name), "lacks", "")).split())
        if name in kept or lacks:
            why[name] = f"{name} cannot be measured here: {lacks or 'a reply of its model is missing'}"
        elif name not in job.scorers:
            why[name] = f"{name} is no scorer of the task; one that `score --scorer` added is checked with --scorer"
        elif job.scorers[name].signature != signature:
            why[name] = (
                f"{name} was measured by {signature}, and is {job.scorers[name].signature} here: its scores cannot be "
                "compared. `diva-bench score` measures them again"
            )
    why |= {
        name: f"{name} is a scorer of the task now, and did not score the run"
        for name in job.scorers
        if name not in why
    }
    for name, reason in why.items():
        log.lack(SIGNATURES, [name] if reason else [], reason)
    comparable = {name for name, reason in why.items() if not reason}
    if comparable:
        log.agree(SIGNATURES)
    return comparable


def _compare_summary(log: _Log, stored: Json, found: Json, comparable: set[str]) -> None:
    def is_measured(metric: str) -> bool:
        """Whether its scorer measured the answers again, by either summary: an edit may name another scorer."""
        entries = [part["metrics"].get(metric) or {} for part in (stored, found)]
        return any(entry.get("scorer", "") in comparable for entry in entries)

    measured = {name for name in [*stored["metrics"], *found["metrics"]] if is_measured(name)}
    primary = stored["primary"] in measured
    of_primary = (*_MEASURED, "complete", "reason", "unparsed")

    def pairs() -> Iterator[tuple[str, object, object]]:
        for key in stored:
            if key in ("schema", "signature", "metrics", "groups", "kept", "lost", "unjudged", "answers"):
                continue
            if key in of_primary and not primary:
                continue
            yield key, stored[key], found.get(key)
        for metric in sorted(measured):
            ours, theirs = (part["metrics"].get(metric) or {} for part in (stored, found))
            for key in dict.fromkeys([*ours, *theirs]):
                yield f"{metric}: {key}", ours.get(key), theirs.get(key)
        yield from _groups(stored["groups"], found["groups"], measured)

    log.compare(SUMMARY, pairs())
    skipped = [name for name in stored["metrics"] if name not in measured]
    skipped += [key for key in of_primary if key in stored and not primary]
    log.lack(SUMMARY, skipped, f"not computed again: {', '.join(skipped)}; see the scorers")
    older = sorted(key for key in found if key not in stored and key not in ("schema", "kept", "lost", "unjudged"))
    log.lack(SUMMARY, older, f"summary.json is of an older version, without {', '.join(older)}")


def _groups(stored: Json, found: Json, measured: set[str]) -> Iterator[tuple[str, object, object]]:
    for group, values in stored.items():
        there = found.get(group, {})
        for value in dict.fromkeys([*values, *there]):
            ours, theirs = values.get(value, {}), there.get(value, {})
            for key in sorted((ours.keys() | theirs.keys()) & (measured | {"n"})):
                yield f"{group} {value}: {key}", ours.get(key), theirs.get(key)


def _compare_sheets(log: _Log, folder: RunFolder, again: RunFolder, summary: Json, comparable: set[str]) -> None:
    if not (folder.path / "scores.jsonl").is_file():
        log.skip(SHEETS, "there is no scores.jsonl (`diva-bench score` writes it)")
        return
    try:
        head, stored = folder.scores()
    except UserError as err:
        log.fault(SHEETS, err)
        return
    new_head, found = again.scores()

    def pairs() -> Iterator[tuple[str, object, object]]:
        yield "first line: signature", head["signature"], summary["signature"]
        for key in ("answers", "rows"):
            if key in head:
                yield f"first line: {key}", head[key], new_head.get(key)
        for ident in dict.fromkeys([*stored, *found]):
            ours, theirs = stored.get(ident), found.get(ident)
            if ours is None or theirs is None:
                yield f"{ident}", "scored" if ours else None, "scored" if theirs else None
                continue
            for name in sorted(comparable):
                yield f"{ident}: {name}", _filled(ours.get(name)), _filled(theirs.get(name))

    log.compare(SHEETS, pairs())
    skipped = [name for name in head["signature"] if name not in comparable]
    log.lack(SHEETS, skipped, f"not measured again: {', '.join(skipped)}; see the scorers")


def _filled(row: Mapping[str, float] | None) -> dict[str, float]:
    """A row without zeros: a statistic that is missing is 0."""
    return {key: value for key, value in (row or {}).items() if value}


# ---------------------------------------------------------------- several runs


def verified(findings: Sequence[Finding]) -> bool:
    """Whether nothing differs."""
    return all(one.outcome != "differs" for one in findings)
