"""The adapters that ship, DiVA's own apart: what they are given, what they answer, what they cannot take."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import make_llm, make_whisper

from diva_bench.adapters.baseline import Baseline
from diva_bench.adapters.cascade import Cascade
from diva_bench.adapters.echo import Echo
from diva_bench.adapters.oracle import Oracle
from diva_bench.catalog import Catalog
from diva_bench.decoding import news
from diva_bench.decoding.answer import frame
from diva_bench.decoding.memo import ENCODED
from diva_bench.errors import SpecError, UnknownName
from diva_bench.specs import ModelSpec, Runtime
from diva_bench.types import Adapter, Audio, Request


def spec(adapter: str, **args: Any) -> ModelSpec:
    return ModelSpec(
        name="toy", edition=None, adapter=adapter, description="", citation="", licence="", args=args, weights={},
        runtime=Runtime(dtype="float32"), training=None,
    )  # fmt: skip


def sound(seconds: float, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    return Audio((0.1 * rng.standard_normal(round(seconds * 16_000))).astype(np.float32), 16_000)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights rarely come to an end; 24 tokens of a transcript show as much as 224."""
    monkeypatch.setattr("diva_bench.decoding.whisper._MAX_NEW", 24)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("weights")
    return {"llm": make_llm(place / "llm"), "asr": make_whisper(place / "asr")}


@pytest.mark.parametrize("made", [Baseline, Cascade, Echo, Oracle])
def test_every_adapter_keeps_the_protocol(made: Callable[..., Any], folders: dict[str, Path]) -> None:
    adapter = made(spec(made.__name__), folders, "cpu")
    assert isinstance(adapter, Adapter)
    assert adapter.accepts <= {"audio", "text", "choices", "prior"}
    assert adapter.generate([]) == []
    adapter.close()


@pytest.mark.parametrize("name", ["echo", "baseline"])
def test_adapters_without_a_model_import_no_torch(name: str) -> None:
    code = f"import sys, diva_bench.adapters.{name}; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- oracle and cascade


def test_oracle_cascade_and_virtual_tokens_differ_in_the_content_alone(folders: dict[str, Path]) -> None:
    oracle, cascade = Oracle(spec("oracle"), folders, "cpu"), Cascade(spec("cascade"), folders, "cpu")
    request = Request("a", "Answer.", system="Be kind.")
    text = oracle._llm.embed(oracle._llm.tokens("what is said"))
    virtual = torch.randn(9, text.shape[1])
    head, tail = (len(ids) for ids in oracle._llm.frame("Answer.", "Be kind."))
    wholes = [
        frame(oracle._llm, request, text),
        frame(cascade._llm, request, text),
        frame(oracle._llm, request, virtual),
    ]
    for one, content in zip(wholes, (text, text, virtual), strict=True):
        assert torch.equal(one.whole[:head], wholes[0].whole[:head])
        assert torch.equal(one.whole[head:-tail], content)
        assert torch.equal(one.whole[-tail:], wholes[0].whole[-tail:])


def test_a_cascade_answers_as_an_oracle_that_is_told_what_it_heard(folders: dict[str, Path]) -> None:
    oracle, cascade = Oracle(spec("oracle"), folders, "cpu"), Cascade(spec("cascade"), folders, "cpu")
    choices = ("happy", "happiness")
    asked = [Request(str(k), "Answer.", audio=sound(0.3 + k, k), choices=choices, max_new_tokens=8) for k in range(3)]
    heard = cascade.generate(asked)
    told = oracle.generate(
        [Request(r.id, "Answer.", transcript=r.heard, choices=choices, max_new_tokens=8) for r in heard]
    )
    assert [r.text for r in heard] == [r.text for r in told]
    for mine, theirs in zip(heard, told, strict=True):
        assert mine.choices is not None
        assert theirs.choices is not None
        assert mine.choices.keys() == theirs.choices.keys() == set(choices)
        assert all(mine.choices[c].total == pytest.approx(theirs.choices[c].total, abs=1e-4) for c in choices)
        assert mine.tokens["text"] == theirs.tokens["text"]
    assert set(heard[0].seconds) == {"transcribe", "prefill", "labels", "decode"}


def test_a_listener_is_told_the_stages_of_a_batch_and_every_answer_that_ends(folders: dict[str, Path]) -> None:
    cascade, told = Cascade(spec("cascade"), folders, "cpu"), list[tuple[str, int]]()
    cascade._llm._stops = frozenset(range(0, 256, 2))  # so that answers of random weights end
    asked = [
        Request(str(k), "Answer.", audio=sound(0.3 + k, k), choices=("happy", "happiness"), max_new_tokens=8)
        for k in range(3)
    ]
    with news.listening(lambda stage, rows: told.append((stage, rows))):
        answers = cascade.generate(asked)
    assert list(dict.fromkeys(stage for stage, _ in told)) == ["encode", "transcribe", "prefill", "labels", "decode"]
    ended = sum(answer.tokens["new"] < 8 for answer in answers)
    assert sum(rows for stage, rows in told if stage == "decode") == ended > 0
    assert sum(rows for stage, rows in told if stage == "encode") == 3
    told.clear()
    cascade.generate(asked)
    assert not told  # nobody listens


def test_a_cascade_hears_the_same_clips_once_while_they_are_kept(folders: dict[str, Path], tmp_path: Path) -> None:
    cascade = Cascade(spec("cascade"), folders, "cpu")
    questions = {
        prompt: [Request(str(k), prompt, audio=sound(0.3 + k, k), max_new_tokens=8) for k in range(3)]
        for prompt in ("Answer.", "Translate.")
    }
    alone = {prompt: cascade.generate(asked) for prompt, asked in questions.items()}
    with ENCODED.keeping(tmp_path):
        kept = {prompt: cascade.generate(asked) for prompt, asked in questions.items()}
    for prompt, stage in (("Answer.", "transcribe"), ("Translate.", "reuse")):
        assert [(r.text, r.heard) for r in kept[prompt]] == [(r.text, r.heard) for r in alone[prompt]]
        assert stage in kept[prompt][0].seconds
        assert "transcribe" in alone[prompt][0].seconds


def test_what_cannot_be_taken_is_unsupported_in_its_place(folders: dict[str, Path]) -> None:
    cascade = Cascade(spec("cascade"), folders, "cpu")
    asked = [
        Request("long", "Answer.", audio=sound(612.0), max_new_tokens=2),
        Request("fits", "Answer.", audio=sound(0.01), max_new_tokens=2),
        Request("none", "Answer.", max_new_tokens=2),
        Request("empty", "Answer.", audio=sound(0.0), max_new_tokens=2),
    ]
    got = cascade.generate(asked)
    assert [(r.id, r.status, r.detail) for r in got] == [
        ("long", "unsupported", "audio is 612.0 s; this model takes at most 30 s"),
        ("fits", "ok", ""),
        ("none", "unsupported", "this sample has no audio"),
        ("empty", "ok", ""),
    ]
    assert [r.heard is None for r in got] == [True, False, True, False]
    told = Oracle(spec("oracle"), folders, "cpu").generate([Request("a", "p"), Request("b", "p", transcript="")])
    assert [(r.status, r.detail) for r in told] == [("unsupported", "this sample has no transcript"), ("ok", "")]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_answers_in_float32_do_not_depend_on_the_batch(folders: dict[str, Path], rows: int) -> None:
    cascade = Cascade(spec("cascade"), folders, "cpu")
    asked = [Request(str(k), "Answer.", audio=sound(0.2 + 0.7 * k, k), max_new_tokens=8) for k in range(5)]
    got = [r.text for k in range(0, 5, rows) for r in cascade.generate(asked[k : k + rows])]
    assert got == [r.text for r in cascade.generate(asked)]


@pytest.mark.parametrize("made", [Cascade, Oracle])
def test_static_decoding_in_float32_gives_the_same_responses(
    made: Callable[..., Any], folders: dict[str, Path]
) -> None:
    labels = ("sad", "happiness")
    requests = [
        Request(f"r{k}", "Answer.", audio=sound(0.4 + 0.3 * k, k), transcript="why is it so" * k, max_new_tokens=9 + k // 3,
                choices=labels if k in (1, 3) else None, temperature=0.9 if k > 3 else 0.0, seed=3)
        for k in range(6)
    ]  # fmt: skip
    answers = []
    for how in ("dynamic", "static"):
        model = spec(made.__name__).model_copy(update={"runtime": Runtime(dtype="float32", decode=how)})
        adapter = made(model, folders, "cpu")
        assert (adapter._llm._static is not None) == (how == "static")
        answers.append([(r.text, r.choices, r.tokens, r.heard) for r in adapter.generate(requests)])
        adapter.close()
    assert answers[0] == answers[1]
    assert len({text for text, *_ in answers[0]}) > 1


# ---------------------------------------------------------------- baselines

PRIOR = {"sad": 0.25, "happy": 0.5, "angry": 0.25}


def baseline(kind: str, prior: Mapping[str, float] | None, **more: Any) -> Callable[[Sequence[str]], list[Any]]:
    made = Baseline(spec("baseline", kind=kind), {}, "cpu")
    return lambda ids: made.generate([Request(i, "p", prior=prior, **more) for i in ids])


@pytest.mark.parametrize(
    ("prior", "answer"),
    [(PRIOR, "happy"), ({"b": 0.5, "a": 0.5}, "a"), ({"ab": 0.5, "a": 0.5}, "a"), ({"only": 1.0}, "only")],
)
def test_majority_is_the_most_common_reference_and_of_equals_the_first(prior: Mapping[str, float], answer: str) -> None:
    assert [r.text for r in baseline("majority", prior)(["a", "b"])] == [answer, answer]


def test_prior_draws_by_share_and_by_seed_and_id() -> None:
    ids = [str(i) for i in range(4000)]
    drawn = [r.text for r in baseline("prior", PRIOR)(ids)]
    assert all(abs(count / 4000 - PRIOR[text]) < 0.03 for text, count in Counter(drawn).items())
    assert [r.text for r in baseline("prior", PRIOR)(ids[::-1])] == drawn[::-1]
    assert [r.text for r in baseline("prior", PRIOR, seed=1)(ids)] != drawn


@pytest.mark.parametrize("kind", ["majority", "prior"])
def test_the_label_with_the_best_score_is_the_label_answered(kind: str) -> None:
    for response in baseline(kind, PRIOR, choices=("sad", "happy", "angry"))(["a", "b", "c", "d"]):
        assert max(response.choices, key=lambda c: response.choices[c].total) == response.text
        assert all(math.isfinite(score.total) for score in response.choices.values())


def test_a_baseline_without_references_is_unsupported() -> None:
    assert [r.status for r in baseline("prior", None)(["a"])] == ["unsupported"]


def test_an_unknown_kind_of_baseline_is_told_which_there_are() -> None:
    with pytest.raises(UnknownName, match=r"unknown kind 'majorty' in args of model toy\. Did you mean 'majority'"):
        Baseline(spec("baseline", kind="majorty"), {}, "cpu")


# ---------------------------------------------------------------- echo


@pytest.mark.parametrize(
    ("reply", "text"), [("id", "a"), ("prompt", "p"), ("transcript", "t"), ("Paris.", "Paris."), ("", "")]
)
def test_echo_says_what_it_is_set_to(reply: str, text: str) -> None:
    echo = Echo(spec("echo", reply=reply), {}, "cpu")
    assert [r.text for r in echo.generate([Request("a", "p", transcript="t")])] == [text]


def test_echo_scores_labels_the_same_every_time_and_differently_per_sample() -> None:
    echo = Echo(spec("echo"), {}, "cpu")
    asked = [Request(i, "p", choices=("x", "y")) for i in ("a", "b")]
    first, second = echo.generate(asked)
    assert [first, second] == echo.generate(asked)
    assert first.choices != second.choices


def test_echo_fails_as_it_is_told() -> None:
    asked = [Request("a", "p"), Request("b", "p")]
    with pytest.raises(RuntimeError, match="failure on request at b"):
        Echo(spec("echo", fail_ids=["b"]), {}, "cpu").generate(asked)
    softly = Echo(spec("echo", fail_ids=["b"], fail_how="error"), {}, "cpu").generate(asked)
    assert [r.status for r in softly] == ["ok", "error"]
    with pytest.raises(MemoryError, match="out of memory at 2 rows"):
        Echo(spec("echo", memory_rows=1), {}, "cpu").generate(asked)


def test_echo_refuses_an_argument_it_does_not_have() -> None:
    with pytest.raises(SpecError, match="adapter echo has no argument 'replay'; it takes reply, delay"):
        Catalog().adapter_for(spec("echo", replay="id"))
