"""The contract that every adapter keeps, and its check, for the tests of plugins and for `diva-bench doctor --model NAME`.

    from diva_bench.testing import check_adapter

    check_adapter(MyAdapter(spec, paths, "cpu"))

The clips are made here: tones and noise, no speech. Nothing is downloaded.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from diva_bench.decoding import memory
from diva_bench.decoding.generate import checked_one
from diva_bench.errors import BrokenContract, Stop, UserError, one_line, unknown
from diva_bench.types import Audio, Progress, Request, Response, Silent

RULES: Final[Mapping[str, str]] = {
    "declaration": "`accepts` is a set of audio, text, choices, prior and speaker; `version` is text.",
    "order": "There is one `Response` for each request, in the same order and with the same ids.",
    "answers": "A usual request has the status `ok`.",
    "choices": "Every label of a request has finite log-likelihoods (nats, at most 0), and no other label has any.",
    "unicode": "Prompts, transcripts and labels in any script are answered.",
    "repeat": "The same request gets the same answer again.",
    "batch": "In float32 an answer in a batch equals the answer to the same request alone; label scores to 1e-4 nats.",
    "stream": "`stream`, if there is one, gives every answer of `generate` once.",
    "silence": "A silent clip is answered, or is `unsupported` with a reason.",
    "0.1 s": "A clip of 0.1 s is answered, or is `unsupported` with a reason.",
    "30 s": "A clip of 30 s is answered, or is `unsupported` with a reason.",
    "over-long": "A clip that is too long for the model is `unsupported`. It is never cut.",
    "memory": "Memory does not grow over repeated calls.",
    "close": "`close`, if there is one, can be called twice.",
}
"""Rule -> what it says. They are checked in this order."""
Outcome = Literal["holds", "broken", "not checked"]

_INPUTS = frozenset({"audio", "text", "choices", "prior", "speaker"})
_RATE = 16_000  # Hz, of all clips of requests
_LENGTHS = (1.3, 3.7, 0.4, 2.2, 0.9, 5.1)  # seconds of the clips of a batch
_PROMPT, _LABELS = "What do you hear?", ("yes", "no", "it is not clear")
_WORDS = "The train leaves at nine."
_UNICODE = (
    ("重复你听到的话。", "火车九点开。", ("是", "不是")),
    ("كرّر ما سمعت.", "يغادر القطار في التاسعة.", ("نعم", "لا")),
    ("Répète 🎧 – «e\u0301te\u0301»\n\t“now”", "Zug um 9\u202fUhr 🚆", ("ё", "naïve 🙂")),
)
"""(prompt, transcript, labels)."""
_NEAR = 1e-4  # nats: label scores of a clip alone and in a batch differ by less
_TRIED = (35.0, 125.0)  # seconds of long clips where the model does not declare a limit
_LONGEST = 3600.0  # seconds: longer clips are not made
_CHANGED = 4.0  # seconds at one end of a long clip that are replaced
_CALLS, _ROUNDS = 4, 3  # calls in a round; memory that grows in every round is a leak
_GROWTH = 2_000_000  # bytes per round; the clips of a round have 5.1 MB


@dataclass(frozen=True, slots=True)
class Checked:
    """What came out of one rule. `detail`: what was seen, or why the rule was not checked."""

    rule: str
    outcome: Outcome
    detail: str


def check_adapter(adapter: Any, *, max_seconds: float | None = None, skip: Collection[str] = ()) -> None:
    """Check the whole contract, and name every broken rule in one error.

    The adapter is asked about a hundred short requests, and is closed at the end. Build it in float32.

    Args:
        adapter: An adapter, or a model in memory: an object with `accepts`, `version` and `generate`.
        max_seconds: The longest clip that the model takes; default: its attribute `max_seconds`. Without one, clips of
            35 s and 125 s are tried, and an answer that does not depend on the last seconds counts as a cut clip.
        skip: Names of `RULES` that are not checked.

    Raises:
        BrokenContract: Rules are broken.
        UserError: An argument is wrong.
        Stop: The model can answer nothing more.
    """
    broken = [c for c in examine(adapter, max_seconds=max_seconds, skip=skip) if c.outcome == "broken"]
    if broken:
        lines = "".join(f"\n- {c.rule}: {c.detail}. The rule: {RULES[c.rule]}" for c in broken)
        rules = "1 rule" if len(broken) == 1 else f"{len(broken)} rules"
        raise BrokenContract(f"adapter {type(adapter).__name__} breaks {rules} of the contract of adapters:{lines}")


def examine(
    adapter: Any, *, max_seconds: float | None = None, skip: Collection[str] = (), progress: Progress | None = None
) -> list[Checked]:
    """The outcome of every rule, in the order of `RULES`. Arguments and errors are those of `check_adapter`, without
    BrokenContract."""
    if isinstance(adapter, type) or not callable(getattr(adapter, "generate", None)):
        kind = f"the class {adapter.__name__}" if isinstance(adapter, type) else f"a {type(adapter).__name__}"
        raise UserError(f"adapter: must be an object with a method `generate` (found {kind}).")
    if isinstance(skip, str) or (strange := [rule for rule in skip if rule not in RULES]):
        raise unknown("rule", skip if isinstance(skip, str) else str(strange[0]), RULES, "skip")
    limit = getattr(adapter, "max_seconds", None) if max_seconds is None else max_seconds
    if limit is not None and not (isinstance(limit, int | float) and limit > 0):
        raise UserError(f"max_seconds: must be a number of seconds over 0 (found {limit!r}).")
    subject = _Subject(adapter, limit)
    done: dict[str, Checked] = {}
    for rule in (progress or Silent()).track(list(RULES), "checking the contract", total=len(RULES)):
        done[rule] = Checked(rule, "not checked", "left out") if rule in skip else _checked(rule, subject, done)
    return list(done.values())


def _checked(rule: str, subject: _Subject, done: Mapping[str, Checked]) -> Checked:
    needed = [name for name in _NEEDS.get(rule, _USUAL_NEEDS) if done[name].outcome == "broken"]
    if needed:
        return Checked(rule, "not checked", f"the rule `{needed[0]}` is broken")
    try:
        return Checked(rule, "holds", _CHECKS[rule](subject))
    except _Unchecked as reason:
        return Checked(rule, "not checked", str(reason))
    except _Broken as fault:
        return Checked(rule, "broken", str(fault))


class _Broken(Exception):
    """A rule is broken; the message says how."""


class _Disordered(_Broken):
    """Other responses than one per request, in order."""


class _Unchecked(Exception):
    """A rule cannot be checked with this adapter; the message says why."""


class _Subject:
    """The adapter under examination. `limit`: the longest clip in seconds, None if unknown."""

    def __init__(self, adapter: Any, limit: float | None) -> None:
        self.adapter, self.limit = adapter, limit
        self.accepts: frozenset[str] = frozenset()
        self.labels: tuple[str, ...] | None = None
        """Set once the rule "choices" holds: other rules then compare label scores, which show more than texts."""

    def request(self, name: str, seconds: float = 2.0, seed: int = 0) -> Request:
        """A request with what the adapter accepts."""
        return Request(
            name,
            _PROMPT,
            audio=Audio(_sound(seconds, seed), _RATE) if "audio" in self.accepts else None,
            transcript=_WORDS if "text" in self.accepts else None,
            choices=self.labels,
            max_new_tokens=8,
            prior={"yes": 0.5, "no": 0.5} if self.accepts & {"prior", "speaker"} else None,
        )

    def ask(self, requests: Sequence[Request], about: str) -> list[Response]:
        """The responses. Raises _Broken if they are none, not in order, cannot be stored, or are failures."""
        try:
            responses = self.adapter.generate(
                requests
            )  # not by decoding/generate.py, which mends what is looked for here
        except Stop:
            raise
        except Exception as err:  # of a foreign adapter
            raise _Broken(f"`generate` raises {type(err).__name__} for {about}: {one_line(err)}") from err
        if not isinstance(responses, list | tuple) or not all(isinstance(r, Response) for r in responses):
            raise _Disordered(f"`generate` returns {_kind(responses)} for {about}, not a list of Response")
        ids, asked = [r.id for r in responses], [r.id for r in requests]
        if len(ids) != len(asked):
            raise _Disordered(f"{len(ids)} responses to {about} ({len(asked)} requests)")
        if ids != asked:
            order = "in another order" if sorted(map(str, ids)) == sorted(asked) else "with other ids"
            raise _Disordered(f"the responses to {about} are {order}: {ids} for {asked}")
        for request, response in zip(requests, responses, strict=True):
            usable = checked_one(request, response, type(self.adapter).__name__)
            if usable.status == "error":
                raise _Broken(f"the response to {about} is an error: {usable.detail or 'without a reason'}")
            if usable.status == "unsupported" and not usable.detail:
                raise _Broken(f"the response to {about} is `unsupported` without a reason in `detail`")
        return list(responses)

    def one(self, request: Request, about: str) -> Response:
        return self.ask([request], about)[0]

    def hears(self) -> None:
        if "audio" not in self.accepts:
            raise _Unchecked("the adapter does not accept audio")


# ---------------------------------------------------------------- the rules


def _declaration(subject: _Subject) -> str:
    accepts, version = getattr(subject.adapter, "accepts", None), getattr(subject.adapter, "version", None)
    if not isinstance(accepts, frozenset | set | list | tuple) or not set(accepts) <= _INPUTS:
        raise _Broken(f"`accepts` is {accepts!r}; allowed: a set of {', '.join(sorted(_INPUTS))}")
    subject.accepts = frozenset(accepts)
    subject.labels = _LABELS if "speaker" in accepts else None  # it is asked about tasks with labels alone
    if not isinstance(version, str) or not version:
        raise _Broken(f"`version` is {version!r}; it must be text")
    return f"accepts {', '.join(sorted(accepts)) or 'nothing'}; version {version}"


def _order(subject: _Subject) -> str:
    for count in (1, 2, len(_LENGTHS)):
        requests = [subject.request(f"order-{k}", s, k) for k, s in enumerate(_LENGTHS[:count])]
        try:
            subject.ask(requests, "a single request" if count == 1 else f"a batch of {count}")
        except _Disordered:
            raise
        except _Broken as fault:
            if count == 1:  # the rule "answers" tells it
                raise _Unchecked("a single request is not answered") from fault
            raise
    return f"batches of 1, 2 and {len(_LENGTHS)}"


def _answers(subject: _Subject) -> str:
    response = subject.one(subject.request("usual"), "a usual request")
    if response.status != "ok":
        raise _Broken(f"a usual request is `{response.status}`: {response.detail}")
    return f"answered {response.text[:40]!r}"


def _choices(subject: _Subject) -> str:
    if "choices" not in subject.accepts:
        raise _Unchecked("the adapter does not accept choices")
    for labels in (_LABELS, _LABELS[:1]):
        response = subject.one(replace(subject.request("choices"), choices=labels), f"a request with {_count(labels)}")
        scores = response.choices
        if scores is None and response.detail:
            raise _Unchecked(f"no label scores: {response.detail.removeprefix('no label scores: ')}")
        for label, score in (scores or {}).items():
            if score.tokens < 1 or max(score.total, score.first) > _NEAR or score.total > score.first + _NEAR:
                raise _Broken(
                    f"the score of label {label!r} is {score}: `tokens` is at least 1, and `total` <= `first` <= 0"
                )
    subject.labels = _LABELS
    return f"{len(_LABELS)} labels"


def _unicode(subject: _Subject) -> str:
    for prompt, words, labels in _UNICODE:
        request = replace(subject.request("unicode-é-话"), prompt=prompt, choices=labels if subject.labels else None)
        request = replace(request, transcript=words) if "text" in subject.accepts else request
        response = subject.one(request, f"the prompt {prompt!r}")
        if response.status != "ok":
            raise _Broken(f"the prompt {prompt!r} is `{response.status}`: {response.detail}")
    return f"{len(_UNICODE)} prompts"


def _repeat(subject: _Subject) -> str:
    request = subject.request("repeat")
    first, again = (subject.one(request, "a request that is asked twice") for _ in range(2))
    if difference := _difference(first, again):
        raise _Broken(f"the same request, asked twice, has {difference}")
    return "asked twice"


def _batch(subject: _Subject) -> str:
    requests = [subject.request(f"batch-{k}", s, k) for k, s in enumerate(_LENGTHS)]
    requests[1] = replace(requests[1], prompt=f"{_PROMPT} Answer in one short sentence, in plain words.")
    alone = {r.id: subject.one(r, f"a clip of {_LENGTHS[k]} s") for k, r in enumerate(requests)}
    for batch in (requests, requests[::-1]):
        for response in subject.ask(batch, f"a batch of {len(batch)}"):
            if difference := _difference(alone[response.id], response):
                raise _Broken(f"alone and in a batch of {len(batch)}, request {response.id!r} has {difference}")
    return f"{len(requests)} answers alone and together"


def _stream(subject: _Subject) -> str:
    if not callable(getattr(subject.adapter, "stream", None)):
        raise _Unchecked("the adapter has no `stream`")
    requests = [subject.request(f"stream-{k}", s, k) for k, s in enumerate(_LENGTHS)]
    alone = {r.id: subject.one(r, "a request") for r in requests}
    try:
        streamed = list(subject.adapter.stream(iter(requests)))
    except Stop:
        raise
    except Exception as err:  # of a foreign adapter
        raise _Broken(f"`stream` raises {type(err).__name__}: {one_line(err)}") from err
    if sorted(str(getattr(r, "id", r)) for r in streamed) != sorted(alone):
        raise _Broken(f"`stream` gives {len(streamed)} responses to {len(requests)} requests, or some with other ids")
    for response in streamed:
        if difference := _difference(alone[response.id], response):
            raise _Broken(f"by `generate` and by `stream`, request {response.id!r} has {difference}")
    return f"{len(requests)} requests"


def _clip(make: Callable[[], NDArray[np.float32]], about: str) -> Callable[[_Subject], str]:
    """The check that a clip is answered, or refused with a reason."""

    def check(subject: _Subject) -> str:
        subject.hears()
        sound = Audio(make(), _RATE)
        response = subject.one(replace(subject.request("clip"), audio=sound), about)
        if subject.limit is not None and sound.seconds > subject.limit:
            return _refused(response, sound.seconds, subject.limit)
        return "answered" if response.status == "ok" else f"unsupported: {response.detail}"

    return check


def _over_long(subject: _Subject) -> str:
    subject.hears()
    limit = subject.limit
    if limit is None:
        for seconds in _TRIED:
            if subject.one(subject.request("long", seconds), f"a clip of {seconds:g} s").status == "unsupported":
                return f"{seconds:g} s: unsupported"
            _heard_to_the_end(subject, seconds)
        return f"{_TRIED[-1]:g} s: the whole clip is heard"
    if limit > _LONGEST:
        raise _Unchecked(f"the model takes clips of {limit:g} s; longer ones are not made for this check")
    seconds = limit + 1
    said = _refused(subject.one(subject.request("long", seconds), f"a clip of {seconds:g} s"), seconds, limit)
    if subject.labels is not None and limit > 2 * _CHANGED:
        _heard_to_the_end(subject, min(limit, _TRIED[-1]))
    return said


def _refused(response: Response, seconds: float, limit: float) -> str:
    if response.status != "unsupported":
        raise _Broken(
            f"a clip of {seconds:g} s is answered, but the model takes at most {limit:g} s: it must be `unsupported`, not cut"
        )
    return f"{seconds:g} s: unsupported"


def _heard_to_the_end(subject: _Subject, seconds: float) -> None:
    """Raises _Broken if other last seconds of a clip change nothing, although other first seconds do."""
    usual = subject.request("long", seconds)
    assert usual.audio is not None
    n, other = int(_CHANGED * _RATE), _sound(_CHANGED, 99)
    answers = [subject.one(usual, f"a clip of {seconds:g} s")]
    for part in (slice(None, n), slice(-n, None)):
        samples = usual.audio.samples.copy()
        samples[part] = other
        answers.append(
            subject.one(replace(usual, audio=replace(usual.audio, samples=samples)), f"a clip of {seconds:g} s")
        )
    shown = [(a.status, a.text, a.choices) for a in answers]
    if shown[0] == shown[1]:
        if shown[0] == shown[2]:
            raise _Unchecked("the answers do not depend on the clip")
        return
    if shown[0] == shown[2]:
        hint = "" if subject.labels else ". If all of it is heard, tell the limit: `max_seconds`"
        raise _Broken(
            f"clips of {seconds:g} s that differ in the last {_CHANGED:g} s have the same answer, those that differ in the "
            f"first {_CHANGED:g} s have not: the clip is cut{hint}"
        )


def _memory(subject: _Subject) -> str:
    if _used() is None:
        raise _Unchecked("this system does not tell the memory of a process")

    def after(calls: int, seed: int) -> int:
        for call in range(calls):
            subject.ask(
                [subject.request(f"memory-{k}", 10.0, seed + 2 * call + k) for k in range(2)], "a repeated call"
            )
        return _used() or 0

    used = [after(2, 0)]
    for turn in range(_ROUNDS):
        used.append(after(_CALLS, 100 * (turn + 1)))
    grown = [later - before for before, later in pairwise(used)]
    if min(grown) > _GROWTH:
        raise _Broken(f"{_CALLS * _ROUNDS} calls with two clips each left {sum(grown) / 1e6:.0f} MB behind")
    return f"{_CALLS * _ROUNDS} calls"


def _close(subject: _Subject) -> str:
    close = getattr(subject.adapter, "close", None)
    if close is None:
        return "there is none"
    for turn in ("", " when it is called a second time"):
        try:
            close()
        except Exception as err:  # of a foreign adapter
            raise _Broken(f"`close` raises {type(err).__name__}{turn}: {one_line(err)}") from err
    return "called twice"


_CHECKS: Final[Mapping[str, Callable[[_Subject], str]]] = {
    "declaration": _declaration,
    "order": _order,
    "answers": _answers,
    "choices": _choices,
    "unicode": _unicode,
    "repeat": _repeat,
    "batch": _batch,
    "stream": _stream,
    "silence": _clip(lambda: np.zeros(2 * _RATE, np.float32), "a silent clip"),
    "0.1 s": _clip(lambda: _sound(0.1, 1), "a clip of 0.1 s"),
    "30 s": _clip(lambda: _sound(30.0, 1), "a clip of 30 s"),
    "over-long": _over_long,
    "memory": _memory,
    "close": _close,
}
_USUAL_NEEDS: Final = ("declaration", "order", "answers")
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "declaration": (),
    "order": ("declaration",),
    "answers": ("declaration", "order"),
    "batch": (*_USUAL_NEEDS, "repeat"),
    "stream": (*_USUAL_NEEDS, "repeat"),
    "over-long": (*_USUAL_NEEDS, "repeat"),
    "close": (),
}
"""Rule -> rules without which it cannot be checked; for others these are `_USUAL_NEEDS`."""


# ---------------------------------------------------------------- parts


def _sound(seconds: float, seed: int) -> NDArray[np.float32]:
    """A buzz that swells a few times a second, and noise; shape (n,), at 16 kHz."""
    draws = np.random.default_rng(seed)
    n = int(seconds * _RATE)
    period = draws.standard_normal(_RATE // int(draws.integers(90, 250)), np.float32)
    swell = np.hanning(_RATE // int(draws.integers(2, 5))).astype(np.float32)
    noise = draws.standard_normal(n, np.float32)
    return np.asarray(np.clip(0.1 * np.resize(period, n) * np.resize(swell, n) + 0.02 * noise, -1, 1), np.float32)


def _difference(one: Response, other: Response) -> str:
    """How two answers differ; "" if they do not."""
    if one.status != other.status:
        return f"the status `{one.status}` and `{other.status}`"
    if one.text != other.text:
        return f"the answers {one.text[:60]!r} and {other.text[:60]!r}"
    if one.choices is None or other.choices is None:
        return "" if one.choices is other.choices else "label scores once and none once"
    apart = {label: abs(score.total - other.choices[label].total) for label, score in one.choices.items()}
    widest = max(apart, key=lambda label: apart[label], default="")
    return (
        f"scores of the label {widest!r} that are {apart[widest]:.2g} nats apart"
        if apart.get(widest, 0) > _NEAR
        else ""
    )


def _kind(value: Any) -> str:
    kinds = sorted({type(v).__name__ for v in value}) if isinstance(value, list | tuple) else []
    return f"a {type(value).__name__}{' of ' + ', '.join(kinds) if kinds else ''}"


def _count(labels: Sequence[str]) -> str:
    return "1 label" if len(labels) == 1 else f"{len(labels)} labels"


def _used() -> int | None:
    """Bytes that this process holds, in memory and on GPUs; None if the system does not tell."""
    gc.collect()
    memory.release()
    resident, torch = memory.resident(), sys.modules.get("torch")
    if resident is None or torch is None or not torch.cuda.is_initialized():
        return resident
    return resident + int(sum(torch.cuda.memory_allocated(k) for k in range(torch.cuda.device_count())))
