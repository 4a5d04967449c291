"""The contract of adapters: every broken rule is found and told in a sentence; what keeps it passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import call
from tiny_audio_models import BUILDERS
from tiny_models import make_whisper

from diva_bench.catalog import Catalog
from diva_bench.errors import BrokenContract, Stop, UserError
from diva_bench.testing import RULES, check_adapter, examine
from diva_bench.types import LabelScore, Request, Response, Silent


class Sound:
    """Keeps every rule: its answers and label scores are those of the samples of a clip."""

    accepts: Any = frozenset({"audio", "text", "choices"})
    version: Any = "1"
    max_seconds: Any = 40.0

    def generate(self, requests: Sequence[Request]) -> Any:
        return [self.one(r) for r in requests]

    def one(self, request: Request) -> Response:
        assert request.audio is not None
        if self.max_seconds and request.audio.seconds > self.max_seconds:
            return Response(request.id, status="unsupported", detail="the clip is too long")
        return self.answer(request, request.audio.samples)

    def answer(self, request: Request, samples: Any) -> Response:
        loud = float(np.abs(samples).sum())
        scores = {label: LabelScore(-1 - loud * len(label), 2, -1.0) for label in request.choices or ()}
        return Response(request.id, f"{request.prompt[:5]} {loud:.9f}", choices=scores or None)

    def close(self) -> None:
        return None


class Reversed(Sound):
    def generate(self, requests):
        return super().generate(requests)[::-1]


class Short(Sound):
    def generate(self, requests):
        return super().generate(requests)[:3]


class Renamed(Sound):
    def one(self, request):
        return replace(super().one(request), id="x")


class Texts(Sound):
    def generate(self, requests):
        return [r.text for r in super().generate(requests)]


class Swapped(Sound):
    """The ids are in order, the answers are not."""

    def generate(self, requests):
        right = super().generate(requests)
        return [replace(r, id=q.id) for q, r in zip(requests, right[::-1], strict=True)]


class Cuts(Sound):
    max_seconds = None

    def one(self, request):
        return self.answer(request, request.audio.samples[: 30 * 16_000])


class CutsTexts(Cuts):
    accepts = frozenset({"audio"})


class CutsBelowItsLimit(Sound):
    def answer(self, request, samples):
        return super().answer(request, samples[: 30 * 16_000])


class OverItsLimit(Sound):
    def one(self, request):
        return self.answer(request, request.audio.samples)


class NoNumber(Sound):
    def answer(self, request, samples):
        right = super().answer(request, samples)
        return replace(right, choices={c: LabelScore(float("nan"), 1, -1.0) for c in request.choices or ()} or None)


class FewLabels(Sound):
    def answer(self, request, samples):
        right = super().answer(request, samples)
        return replace(right, choices=dict(list((right.choices or {}).items())[:1]) or None)


class Likely(Sound):
    def answer(self, request, samples):
        right = super().answer(request, samples)
        return replace(right, choices={c: LabelScore(0.5, 1, 0.5) for c in right.choices or ()} or None)


class Moody(Sound):
    """Label scores depend on the number of requests, as those of a model that pads do."""

    def generate(self, requests):
        right = super().generate(requests)
        more = 1e-3 * (len(requests) - 1)
        return [
            replace(
                r, choices={c: replace(s, total=s.total - more) for c, s in r.choices.items()} if r.choices else None
            )
            for r in right
        ]


class Dice(Sound):
    rolls = 0

    def answer(self, request, samples):
        self.rolls += 1
        return Response(request.id, f"{self.rolls}", choices=super().answer(request, samples).choices)


class Fails(Sound):
    """Raises for some clips or prompts."""

    def __init__(self, when: Callable[[Request], bool]) -> None:
        self.when = when

    def one(self, request):
        if self.when(request):
            raise ZeroDivisionError("division by zero")
        return super().one(request)


class Unscored(Sound):
    def answer(self, request, samples):
        right = super().answer(request, samples)
        detail = "no label scores: the server gives none" if request.choices else ""
        return replace(right, choices=None, detail=detail)


class Silently(Sound):
    def one(self, request):
        return Response(request.id, status="unsupported") if request.audio.seconds > 20 else super().one(request)


class Leaks(Sound):
    kept: list[Any]

    def __init__(self) -> None:
        self.kept = []

    def one(self, request):
        self.kept.append(request.audio)
        return super().one(request)

    def close(self) -> None:
        self.kept.clear()


class Streams(Sound):
    def stream(self, requests: Iterable[Request]) -> Iterator[Response]:
        yield from list(self.generate(list(requests)))[1:]


class ClosesOnce(Sound):
    def __init__(self) -> None:
        self.model = object()

    def close(self) -> None:
        del self.model


class Odd(Sound):
    accepts = frozenset({"audio", "video"})
    version = 2


BROKEN: dict[str, tuple[Callable[[], Sound], list[str]]] = {
    "wrong order": (
        Reversed,
        [
            "order: the responses to a batch of 2 are in another order: ['order-1', 'order-0'] for ['order-0', 'order-1']."
        ],
    ),
    "wrong length": (Short, ["order: 3 responses to a batch of 6 (6 requests)."]),
    "wrong ids": (Renamed, ["order: the responses to a single request are with other ids: ['x'] for ['order-0']."]),
    "no responses": (Texts, ["order: `generate` returns a list of str for a single request, not a list of Response."]),
    "answers swapped": (Swapped, ["batch: alone and in a batch of 6, request 'batch-0' has the answers 'What "]),
    "cuts long audio": (
        Cuts,
        [
            "over-long: clips of 35 s that differ in the last 4 s have the same answer, those that differ in the first 4 s"
        ],
    ),
    "cuts long audio, texts alone": (CutsTexts, ["If all of it is heard, tell the limit: `max_seconds`."]),
    "cuts within its limit": (
        CutsBelowItsLimit,
        ["over-long: clips of 40 s that differ in the last 4 s have the same"],
    ),
    "answers over its limit": (
        OverItsLimit,
        ["over-long: a clip of 41 s is answered, but the model takes at most 40 s: it must be `unsupported`, not cut."],
    ),
    "NaN for a label": (NoNumber, ["choices: the response to a request with 3 labels is an error: ", "choices.yes.0"]),
    "labels without a score": (FewLabels, ["choices: ", "there are label scores for ['yes'], not for ['it is not cl"]),
    "likelier than 1": (
        Likely,
        ["choices: the score of label 'yes' is LabelScore(total=0.5, tokens=1, first=0.5): `to"],
    ),
    "depends on the batch": (Moody, ["batch: ", "has scores of the label 'yes' that are 0.005 nats apart."]),
    "depends on chance": (Dice, ["repeat: the same request, asked twice, has the answers '"]),
    "raises on silence": (
        lambda: Fails(lambda r: not np.any(r.audio.samples)),
        ["silence: `generate` raises ZeroDivisionError for a silent clip: division by zero."],
    ),
    "raises on 0.1 s": (
        lambda: Fails(lambda r: r.audio.seconds < 0.2),
        ["0.1 s: `generate` raises ZeroDivisionError for a clip of 0.1 s: division by zero."],
    ),
    "raises on scripts": (
        lambda: Fails(lambda r: not r.prompt.isascii()),
        ["unicode: `generate` raises ZeroDivisionError for the prompt '重复你听到的话。': division by zero."],
    ),
    "raises always": (
        lambda: Fails(lambda r: True),
        ["answers: `generate` raises ZeroDivisionError for a usual request: division by zero."],
    ),
    "no reason": (Silently, ["30 s: the response to a clip of 30 s is `unsupported` without a reason in `detail`."]),
    "leaks": (Leaks, ["memory: 12 calls with two clips each left "]),
    "streams too little": (Streams, ["stream: `stream` gives 5 responses to 6 requests, or some with other ids."]),
    "closes once": (ClosesOnce, ["close: `close` raises AttributeError when it is called a second time: "]),
    "declares nonsense": (
        Odd,
        ["declaration: `accepts` is frozenset(", "allowed: a set of audio, choices, prior, speaker"],
    ),
}


def test_an_adapter_that_keeps_every_rule_passes() -> None:
    check_adapter(Sound())
    outcomes = {c.rule: (c.outcome, c.detail) for c in examine(Sound())}
    assert list(outcomes) == list(RULES)
    assert outcomes.pop("stream") == ("not checked", "the adapter has no `stream`")
    assert {outcome for outcome, _ in outcomes.values()} == {"holds"}
    assert outcomes["over-long"] == ("holds", "41 s: unsupported")


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_rule_is_told_in_a_sentence_and_no_other_one_is(fault: str) -> None:
    make, sentences = BROKEN[fault]
    with pytest.raises(BrokenContract) as raised:
        check_adapter(make(), skip=() if fault == "leaks" else ["memory"])  # which takes most of the time
    told = str(raised.value)
    for sentence in sentences:
        assert sentence in told
    rules = "2 rules" if fault == "no reason" else "1 rule"  # over-long clips have none either
    assert told.startswith(f"adapter {type(make()).__name__} breaks {rules} of the contract of adapters:\n- ")


def test_why_there_are_no_label_scores_is_told_once() -> None:
    (found,) = [c for c in examine(Unscored()) if c.rule == "choices"]
    assert (found.outcome, found.detail) == ("not checked", "no label scores: the server gives none")


def test_all_broken_rules_are_told_at_once() -> None:
    class Bad(Leaks):
        def one(self, request):
            if not np.any(request.audio.samples):
                return Response(request.id, status="error", detail="nothing to hear")
            return super().one(request)

        def close(self) -> None:
            raise RuntimeError("busy")

    with pytest.raises(BrokenContract) as raised:
        check_adapter(Bad())
    lines = str(raised.value).splitlines()
    assert lines[0] == "adapter Bad breaks 3 rules of the contract of adapters:"
    assert lines[1] == (
        "- silence: the response to a silent clip is an error: nothing to hear. The rule: A silent clip is answered, or is "
        "`unsupported` with a reason."
    )
    assert [line.split(":")[0] for line in lines[2:]] == ["- memory", "- close"]


def test_rules_can_be_left_out_and_a_limit_can_be_told() -> None:
    check_adapter(Moody(), skip=["batch", "memory"])
    check_adapter(Cuts(), skip=["over-long", "memory"])
    with pytest.raises(BrokenContract, match="a clip of 21 s is answered, but the model takes at most 20 s"):
        check_adapter(OverItsLimit(), max_seconds=20, skip=["30 s", "memory"])


@pytest.mark.parametrize(
    ("adapter", "settings", "said"),
    [
        (Sound, {}, r"must be an object with a method `generate` \(found the class Sound\)"),
        ("echo", {}, r"must be an object with a method `generate` \(found a str\)"),
        (Sound(), {"skip": ["batches"]}, "unknown rule 'batches' in skip. Did you mean 'batch'?"),
        (Sound(), {"skip": "batch"}, "unknown rule 'batch' in skip"),
        (Sound(), {"max_seconds": 0}, r"max_seconds: must be a number of seconds over 0 \(found 0\)"),
    ],
)
def test_wrong_arguments_are_told(adapter: Any, settings: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_adapter(adapter, **settings)


def test_a_model_that_can_answer_nothing_more_is_no_broken_rule() -> None:
    class Expired(Sound):
        def generate(self, requests):
            raise Stop("the key has expired")

    with pytest.raises(Stop, match="the key has expired"):
        check_adapter(Expired())


# ---------------------------------------------------------------- our own adapters


def load(name: str, edition: Any, folder: Path | None = None) -> Any:
    catalog = Catalog([folder] if folder else [])
    return catalog.load(catalog.model(name, edition), Silent())


@pytest.mark.parametrize("name", ["echo", "majority", "prior", "speaker-prior"])
def test_models_without_weights_keep_the_contract(name: str) -> None:
    check_adapter(load(name, "mini"))


def test_echo_by_what_it_hears_keeps_the_contract(tmp_path: Path) -> None:
    (tmp_path / "hears.yaml").write_text("name: hears\nadapter: echo\ndescription: d\nargs: {reply: audio}\n")
    adapter = load("hears", "mini", tmp_path)
    adapter.accepts = frozenset({"audio"})
    outcomes = {c.rule: c for c in examine(adapter)}
    assert outcomes["over-long"].detail == "125 s: the whole clip is heard"
    assert not [c for c in outcomes.values() if c.outcome == "broken"]


def test_whisper_of_random_weights_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diva_bench.decoding.whisper._MAX_NEW", 12)
    folder = make_whisper(tmp_path / "whisper")
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\nextends: whisper\ndescription: d\nruntime: {dtype: float32}\n"
        f"editions: {{full: {{weights: {{asr: {{folder: {folder}}}}}}}}}\n"
    )
    outcomes = {c.rule: c for c in examine(load("tiny", "full", tmp_path))}
    assert not [c for c in outcomes.values() if c.outcome == "broken"]
    assert outcomes["over-long"].detail == "31 s: unsupported"


def test_an_audio_llm_of_random_weights_keeps_the_contract(tmp_path: Path) -> None:
    folder = BUILDERS["qwen2-audio"](tmp_path)
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\nextends: qwen2-audio\ndescription: d\nruntime: {dtype: float32}\n"
        f"editions: {{full: {{weights: {{model: {{folder: {folder}}}}}}}}}\n"
    )
    outcomes = {c.rule: c for c in examine(load("tiny", "full", tmp_path))}
    assert not [c for c in outcomes.values() if c.outcome == "broken"]
    assert {c.rule for c in outcomes.values() if c.outcome == "not checked"} == {"stream"}


# ---------------------------------------------------------------- doctor


def test_doctor_prints_the_contract_as_a_table(tmp_path: Path) -> None:
    done = call(tmp_path, "doctor", "--model", "echo")
    assert done.returncode == 0, done.stderr
    table = done.stdout.split("contract of adapters: echo, float32")[1]
    rows = {line.split("  ")[0]: line for line in table.splitlines() if line}
    assert set(RULES) <= set(rows)
    assert "holds" in rows["order"]
    assert "the answers do not depend on the clip" in rows["over-long"]


def test_doctor_tells_a_wrong_name_before_its_report(tmp_path: Path) -> None:
    done = call(tmp_path, "doctor", "--model", "eco")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown model 'eco'. Did you mean 'echo'?" in done.stderr


def test_doctor_explains_a_broken_rule_and_returns_one(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: bad\nadapter: echo\ndescription: d\nargs: {fail_ids: [clip]}\n")
    done = call(tmp_path, "doctor", "--model", "bad", "--path", ".")
    assert done.returncode == 1
    assert "`generate` raises RuntimeError for a silent clip: failure on request at clip" in done.stdout
    assert f"silence: {RULES['silence']}" in done.stdout
