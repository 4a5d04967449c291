"""An LLM judge: another model of the catalog gets question, reference and answer, and decides whether the answer is right.

No shipped task uses it. Judges disagree with people and with each other, prefer models of their own family, can be
influenced by an answer, and with another prompt are another metric. It must be requested:

    scorers:
      llm_judge: {model: oracle, edition: full}        # or: diva-bench score RUN --scorer 'llm_judge: {model: oracle}'

The judge must accept "text"; the prompt is the whole user turn, without a system message, decoded greedily. Every reply
is stored in the run folder (`judge-<hash>.jsonl`: id, hash of the prompt, reply, verdict, model); scoring again runs
the judge only for missing replies. A reply without a clear verdict is counted (`judge_unparsed`) and never guessed; a
failure of the judge is not a verdict: the answer is left out of the score's n, counted, and tried again next time.
During a run, the run's own model is still in memory when the judge is loaded: on one GPU, use `score` afterwards. A
later `score` or `run` without --scorer writes a summary without `judge`; the replies stay. Source on judges and their
biases: Zheng et al. 2023 (arXiv 2306.05685).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np

from diva_bench.decoding.chat import TODAY
from diva_bench.decoding.generate import generate
from diva_bench.decoding.stream import stream
from diva_bench.errors import AssetError, DataError, MissingMeans, SpecError, Stop
from diva_bench.scorers import answer, settings
from diva_bench.scorers.cleaning import clean
from diva_bench.scorers.label_parser import SIGNATURE as PARSER
from diva_bench.scorers.label_parser import Parser
from diva_bench.scorers.reply_cache import ReplyCache, key
from diva_bench.specs import Edition, ModelSpec, TaskSpec, digest, models_of, prompt
from diva_bench.stats import dense, ratio
from diva_bench.types import Adapter, Floats, Progress, Request, Response, Sample, Streaming

PROMPT_VERSION: Final = 1
"""Bump it when a default prompt changes."""
_ABOUT = """\
You grade answers to spoken questions.

Question: {question}
Accepted answers: {reference}
Answer to grade: {answer}

"""
PROMPTS: Final = {
    "yes-no": _ABOUT
    + "Does the answer say the same as one of the accepted answers? What it says beyond that does not matter unless it "
    "contradicts. Reply with one word, yes or no.",
    "1-5": _ABOUT
    + "How well does the answer agree with an accepted answer? 1: wrong or no answer. 2: mostly wrong. 3: partly right. "
    "4: right with flaws. 5: right. Reply with the digit alone.",
}
"""scale -> default prompt. {reference}: all accepted answers, joined by " / "."""
_FIELDS = ("question", "reference", "answer")
_VERDICTS: Final[dict[str, dict[str, float]]] = {
    "yes-no": {"yes": 1.0, "no": 0.0},
    "1-5": {str(n): (n - 1) / 4 for n in range(1, 6)},
}
_WORST: Final[Mapping[str, float]] = {"judge.n": 1.0, "judge.read": 1.0}
_ROWS = 8  # prompts per batch; outside float32 a reply may depend on it


class Models(Protocol):
    """The part of the catalog that the judge needs. The catalog is in a higher layer, so it is passed in."""

    def model(self, name: str, edition: Edition) -> ModelSpec: ...
    def adapter_for(self, model: ModelSpec) -> type[Adapter]: ...
    def load(self, model: ModelSpec, progress: Progress) -> Adapter: ...


class Judge:
    """judge: with scale yes-no the share of answers judged correct; with scale 1-5 the mean grade, 1 as 0 and 5 as 100;
    over answers with a clear verdict. judge_unparsed: the share of replies without one. An empty or `unsupported`
    answer is wrong without running the judge. Statistics: judge.n replies, judge.read verdicts, judge.sum their values,
    0 to 1.

    Settings:
    - `model`: a name of the catalog.
    - `edition`: of the judge (default: the task's).
    - `scale`: yes-no or 1-5.
    - `prompt`: with {answer} and optionally {question} (the transcript) and {reference}.
    - `max_new_tokens`: of the reply.
    """

    higher_is_better = True
    replies_only = False
    """Set to True: a reply that is not stored is a MissingMeans, and no model is asked."""
    asks_model = True
    counted: Final = {"judge": ("judge.read",)}
    """Metric -> the statistics whose sum is its n, if that is not the number of rows."""

    def __init__(self, task: TaskSpec, *, models: Models, **args: Any) -> None:
        self._where = f"task {task.name}: scorers.llm_judge"
        options = dict(args)
        name, edition = options.pop("model", None), options.pop("edition", models_of(task.edition))
        template, room = options.pop("prompt", None), options.pop("max_new_tokens", 16)
        # settings with free values are checked here, the others by `settings`
        allowed: dict[str, tuple[Any, ...]] = {"model": (name,), "edition": (edition,), "scale": tuple(_VERDICTS)}
        allowed |= {"prompt": (template,), "max_new_tokens": (room,)}
        self._scale = str(settings("llm_judge", task, options, allowed)["scale"])
        if not isinstance(name, str):
            raise SpecError(
                f"{self._where} needs `model`, the name of the model that judges (`diva-bench list models`)."
            )
        if type(room) is not int or room < 1:
            raise SpecError(f"{self._where}.max_new_tokens is {room!r}; it is a number of tokens, from 1.")
        self._template, self._room = self._checked(template), room
        self._models = models
        try:
            self._model = models.model(name, edition)
        except AssetError as err:
            raise MissingMeans(f"{self._where}: {err}") from err
        except (KeyError, TypeError) as err:  # a YAML value that is not a name
            raise SpecError(f"{self._where}: model {name!r}, edition {edition!r}: {err}.") from err
        adapter = models.adapter_for(self._model)
        if "text" not in adapter.accepts:
            raise SpecError(
                f"{self._where}.model is {name!r}, whose adapter takes {', '.join(sorted(adapter.accepts))}; a judge needs text: "
                'name a model whose adapter accepts "text", such as oracle.'
            )
        day = {"today": TODAY} if hasattr(adapter, "chat") else {}
        self._identity = digest({**self._model.identity(), "adapter_version": adapter.version, **day})
        shipped = f"v{PROMPT_VERSION}" if template is None else "own"
        template_hash = digest(self._template)[:8]
        self.signature = (
            f"judge|model:{self._model.name}@{self._identity[:8]}|edition:{self._model.edition or 'any'}|scale:{self._scale}"
            f"|prompt:{shipped}@{template_hash}|tokens:{room}|greedy|{PARSER}|empty:worst|unparsed:left out"
        )
        self._verdicts = _VERDICTS[self._scale]
        self._parser = Parser(tuple(self._verdicts), {})

    def _checked(self, template: object) -> str:
        if template is None:
            return PROMPTS[self._scale]
        if not isinstance(template, str):
            raise SpecError(f"{self._where}.prompt is {template!r}; it is text with {{answer}} in it.")
        prompt.fill(template, dict.fromkeys(_FIELDS, ""), self._where)  # raises now if a field is unknown
        if "{answer}" not in template:
            raise SpecError(
                f"{self._where}.prompt does not show the judge the answer: put {{answer}} into it (and {{question}} and "
                "{reference} as you need them)."
            )
        return template

    # ---- running the judge

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        raise SpecError(
            f"{self._where}: a judge scores whole runs, not single answers: score the run with `diva-bench score`."
        )

    def measure_all(
        self, samples: Sequence[Sample], responses: Sequence[Response], folder: Path, progress: Progress
    ) -> list[dict[str, float]]:
        turns = [self._turn(s, answer(r)) for s, r in zip(samples, responses, strict=True)]
        settings = {
            "model": self._model.name,
            "identity": self._identity,
            "scale": self._scale,
            "prompt": self._template,
        }
        with ReplyCache(folder, "judge", {**settings, "max_new_tokens": self._room}) as cache:
            new: dict[str, list[str]] = {}  # prompt -> its samples
            for sample, turn in zip(samples, turns, strict=True):
                if turn and key(turn) not in cache.rows:
                    new.setdefault(turn, []).append(sample.id)
            if new and self.replies_only:
                raise MissingMeans(f"{self._where}: no reply is stored for {len(new):,} answers")
            if new:
                self._ask(new, cache, progress)
            replies = [cache.rows.get(key(turn)) for turn in turns]
        rows = [self._row(r["reply"] if r else None) if t else _WORST for t, r in zip(turns, replies, strict=True)]
        if missing := sum(not row for row in rows):
            progress.note(
                f"llm_judge: the judge failed on {missing} of {len(rows)} answers; {folder.name} is not complete"
            )
        return [dict(row) for row in rows]

    def _turn(self, sample: Sample, text: str) -> str:
        """The prompt about one answer; "" for an answer without text."""
        if not text.strip():
            return ""
        if sample.transcript is None and "{question}" in self._template:
            raise DataError(
                f"sample {sample.id} has no transcript, which the judge's prompt shows as {{question}}. Name the data's "
                "`text` column in the task, or give scorers.llm_judge a prompt without {question}."
            )
        fields = {"question": sample.transcript or "", "reference": " / ".join(sample.references), "answer": text}
        return prompt.fill(self._template, fields, self._where)

    def _ask(self, new: Mapping[str, Sequence[str]], cache: ReplyCache, progress: Progress) -> None:
        adapter = self._models.load(self._model, progress)
        turns = {key(turn)[:16]: turn for turn in new}
        requests = [
            Request(ident, prompt="", transcript=turn, max_new_tokens=self._room) for ident, turn in turns.items()
        ]
        try:
            with progress.bar(f"judging with {self._model.name}", len(turns), "answers") as bar:
                for replies in self._replies(adapter, requests):
                    cache.add([row for r in replies for row in self._lines(turns[r.id], new[turns[r.id]], r)])
                    bar.advance(len(replies))
        except Stop as stop:
            progress.note(f"llm_judge: {self._model.name} judges nothing more: {stop}")
        finally:
            adapter.close()

    def _replies(self, adapter: Adapter, requests: Sequence[Request]) -> Iterator[list[Response]]:
        """One response per request, some at a time; a failed one is an `error`, which is not a verdict. Raises Stop."""
        if hasattr(adapter, "stream"):
            yield from ([response] for response in stream(cast(Streaming, adapter), requests, self._model.adapter))
            return
        for start in range(0, len(requests), _ROWS):
            yield generate(adapter, requests[start : start + _ROWS], self._model.adapter)

    def _lines(self, turn: str, ids: Sequence[str], reply: Response) -> list[dict[str, Any]]:
        """The stored lines: one per sample. A failure has no key, so it is recorded but not used as a verdict."""
        if reply.status != "ok":
            return [{"id": i, "failed": reply.detail or reply.status, "model": self._identity[:8]} for i in ids]
        line = {"key": key(turn), "reply": reply.text, "verdict": self._parser.parse(clean(reply.text))}
        return [{"id": i, **line, "model": self._identity[:8]} for i in ids]

    # ---- scoring

    def _row(self, reply: str | None) -> Mapping[str, float]:
        if reply is None:
            return {}
        verdict = self._parser.parse(clean(reply))
        if verdict is None:
            return {"judge.n": 1.0}
        worth = self._verdicts[verdict]
        return {"judge.n": 1.0, "judge.read": 1.0} | ({"judge.sum": worth} if worth else {})

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """{"judge", "judge_unparsed"}: each 0 to 100. "judge" is missing if there is no verdict."""
        if not totals:
            return {}
        counts = dense(totals, ["judge.n", "judge.read", "judge.sum"])
        n, read, worth = counts[..., 0], counts[..., 1], counts[..., 2]
        scores = {"judge": 100 * ratio(worth, read)} if np.any(read) else {}
        return {**scores, "judge_unparsed": 100 * ratio(n - read, n)}
