"""The LLM from embeddings: framing, padding, shared prefixes, stopping, labels; on a model of random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from tiny_models import make_llm
from torch import Tensor

from diva_bench.decoding import answer as answering
from diva_bench.decoding.answer import answer, frame
from diva_bench.decoding.labels import score_labels
from diva_bench.decoding.llm import LLM
from diva_bench.decoding.phases import Clock
from diva_bench.errors import AssetError
from diva_bench.types import LabelScore, Request

HEYSQUAD = Path(__file__).parents[1] / "tasks" / "mini-v1" / "heysquad.jsonl"
SAID = ("a", "why is it so", "", "there were four of them", "hm", "no", "what is this place, and who lives here?")
LABELS = {  # what is special about each set
    "one token each": ("sad", "happy"),
    "several tokens": ("angry", "neutral", "surprise"),
    "a shared first token": ("happiness", "happening", "hap"),
    "one label, one letter": ("x",),
    "of mixed length": ("sad", "happiness", "no"),
}


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return LLM.load(make_llm(tmp_path_factory.mktemp("llm")))


def prompts(llm: LLM, said: Sequence[str] = SAID) -> list[Tensor]:
    return [frame(llm, Request("x", "Answer."), llm.embed(llm.tokens(s))).whole for s in said]


def shared(llm: LLM) -> int:
    return len(llm.frame("Answer.", None)[0])


def naive_score(llm: LLM, prompt: Tensor, label: str) -> LabelScore:
    """One full forward for one label."""
    ids = llm.tokens(label)
    with torch.inference_mode():
        logits = llm.model(inputs_embeds=torch.cat([prompt, llm.embed(ids)])[None]).logits[0]
    steps = torch.log_softmax(logits[len(prompt) - 1 : -1].float(), -1)
    each = [float(steps[k, i]) for k, i in enumerate(ids)]
    return LabelScore(sum(each), len(ids), each[0])


def naive_answer(llm: LLM, prompt: Tensor, count: int) -> list[int]:
    """Everything read again for every token."""
    ids: list[int] = []
    for _ in range(count):
        with torch.inference_mode():
            logits = llm.model(inputs_embeds=torch.cat([prompt, llm.embed(ids)])[None]).logits[0, -1]
        if int(logits.argmax()) in llm._stops:
            break
        ids.append(int(logits.argmax()))
    return ids


# ---------------------------------------------------------------- framing


@pytest.mark.parametrize(
    ("prompt", "system", "before"),
    [
        ("Answer.", None, "<|start|>user\nAnswer.\n\n"),
        ("", None, "<|start|>user\n"),
        ("Answer.", "Be kind.", "<|start|>system\nBe kind.<|end|>\n<|start|>user\nAnswer.\n\n"),
    ],
)
def test_framing_is_the_chat_template_cut_where_the_speech_stands(
    llm: LLM, prompt: str, system: str | None, before: str
) -> None:
    head, tail = llm.frame(prompt, system)
    assert llm.tokenizer.decode(head) == before
    assert llm.tokenizer.decode(tail) == "<|end|>\n<|start|>assistant\n"


def test_a_template_that_leaves_the_users_words_out_is_an_asset_error(tmp_path: Path) -> None:
    deaf = LLM.load(make_llm(tmp_path, template="{% for m in messages %}{{ m['role'] }}{% endfor %}"))
    with pytest.raises(AssetError, match="chat template does not show the user's words once"):
        deaf.frame("Answer.", None)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_folder_is_an_asset_error_that_names_it(tmp_path: Path, name: str) -> None:
    path = make_llm(tmp_path) / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AssetError, match=f"{tmp_path.name}: this LLM cannot be loaded"):
        LLM.load(tmp_path)


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize("prefix", [False, True], ids=["read whole", "shared prefix read once"])
@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_greedy_answers_are_those_of_reading_everything_again(llm: LLM, rows: int, prefix: bool) -> None:
    batch = prompts(llm)
    got: list[list[int]] = []
    for start in range(0, len(batch), rows):
        read = llm.prefill(batch[start : start + rows], shared(llm) if prefix else 0)
        got += llm.generate(read, 12)
    assert got == [naive_answer(llm, p, 12) for p in batch]


def test_a_shared_prefix_changes_no_logit(llm: LLM) -> None:
    batch = prompts(llm)
    torch.testing.assert_close(llm.prefill(batch, shared(llm)).logits, llm.prefill(batch).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("budget", [1, 40, 70, 4096])
def test_prompts_that_are_read_in_parts_are_answered_as_one_batch(
    llm: LLM, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    batch = prompts(llm)
    whole = llm._read(batch, shared(llm))
    monkeypatch.setattr("diva_bench.decoding.llm._PREFILL", budget)
    parts = llm.prefill(batch, shared(llm))
    assert torch.equal(parts.mask.sum(1), whole.mask.sum(1))
    torch.testing.assert_close(parts.logits, whole.logits, atol=1e-4, rtol=1e-4)
    assert llm.generate(parts, 12) == [naive_answer(llm, p, 12) for p in batch]


def test_a_row_that_stops_leaves_the_others_as_they_were(llm: LLM) -> None:
    batch = prompts(llm)
    whole = llm.generate(llm.prefill(batch), 12)
    ends = next(ids[4] for ids in whole if len(ids) > 4)
    usual, llm._stops = llm._stops, llm._stops | {ends}
    try:
        cut = llm.generate(llm.prefill(batch), 12)
    finally:
        llm._stops = usual
    assert cut == [ids[: ids.index(ends)] if ends in ids else ids for ids in whole]
    assert len({len(ids) for ids in cut}) > 1


def test_every_control_token_ends_an_answer(llm: LLM) -> None:
    assert llm._stops == set(llm.tokenizer.convert_tokens_to_ids(["<|start|>", "<|end|>", "<|over|>"]))


@pytest.mark.parametrize("count", [1, 2, 9])
def test_answers_are_no_longer_than_asked_for(llm: LLM, count: int) -> None:
    assert max(len(ids) for ids in llm.generate(llm.prefill(prompts(llm)), count)) <= count


def test_a_sample_depends_on_its_seed_and_not_on_the_batch(llm: LLM) -> None:
    batch, seeds = prompts(llm), list(range(len(SAID)))
    whole = llm.generate(llm.prefill(batch), 12, 1.5, seeds)
    alone = [llm.generate(llm.prefill([p]), 12, 1.5, [s])[0] for p, s in zip(batch, seeds, strict=True)]
    assert alone == whole
    other = llm.generate(llm.prefill(batch), 12, 1.5, [s + 100 for s in seeds])
    assert other != whole


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("prefix", [False, True], ids=["read whole", "shared prefix read once"])
def test_label_scores_are_those_of_one_full_forward_each(llm: LLM, labels: tuple[str, ...], prefix: bool) -> None:
    batch = prompts(llm)
    got = score_labels(llm, llm.prefill(batch, shared(llm) if prefix else 0), labels)
    for scores, prompt in zip(got, batch, strict=True):
        for label in labels:
            wanted = naive_score(llm, prompt, label)
            assert scores[label].total == pytest.approx(wanted.total, abs=1e-4)
            assert scores[label].first == pytest.approx(wanted.first, abs=1e-4)
            assert scores[label].tokens == wanted.tokens


def test_scoring_labels_leaves_the_prompts_as_they_were_read(llm: LLM) -> None:
    batch = prompts(llm)
    start = llm.prefill(batch)
    score_labels(llm, start, LABELS["a shared first token"])
    assert llm.generate(start, 12) == llm.generate(llm.prefill(batch), 12)


# ---------------------------------------------------------------- requests to responses


def ask(llm: LLM, requests: Sequence[Request], said: Sequence[str] = SAID) -> list[str]:
    contents = [llm.embed(llm.tokens(s)) for s in said]
    return [f"{r.id} {r.status} {r.text}" for r in answer(llm, requests, contents, Clock())]


def test_requests_of_several_kinds_are_answered_in_their_order(llm: LLM) -> None:
    kinds = [Request("a", "Answer."), Request("b", "Other.", max_new_tokens=3), Request("c", "Answer.", choices=("x",))]
    mixed = [kinds[0], kinds[1], kinds[2], kinds[0]]
    apart = [ask(llm, [r], [s])[0] for r, s in zip(mixed, SAID, strict=False)]
    assert ask(llm, mixed, SAID[:4]) == apart


def test_a_prompt_over_the_models_context_is_unsupported_and_says_so(llm: LLM) -> None:
    long = Request("long", "word " * 200)
    got = answer(llm, [long, Request("b", "Answer.")], [llm.embed(llm.tokens("a"))] * 2, Clock())
    assert [r.status for r in got] == ["unsupported", "ok"]
    assert (
        got[0].detail
        == f"the prompt has {len(frame(llm, long, llm.embed([1])).whole)} tokens; this model has room for 448 and an answer"
    )


def test_seconds_are_shared_and_tokens_are_counted(llm: LLM) -> None:
    clock = Clock()
    clock.lap("encode")
    requests = [Request(str(k), "Answer.", choices=("x", "happening"), max_new_tokens=4) for k in range(2)]
    got = answer(llm, requests, [torch.zeros(5, 32), torch.zeros(7, 32)], clock, kind="virtual")
    head, tail = llm.frame("Answer.", None)
    for response, content in zip(got, (5, 7), strict=True):
        assert response.tokens == {
            "prompt": len(head) + content + len(tail),
            "virtual": content,
            "new": response.tokens["new"],
        }
        assert set(response.seconds) == {"encode", "prefill", "labels", "decode"}
        assert response.seconds["encode"] == clock.seconds["encode"] / 2
        assert set(response.choices or ()) == {"x", "happening"}


def test_running_out_of_memory_is_not_an_answer(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**inputs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(llm, "_forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        ask(llm, [Request("a", "Answer.")], ["a"])


def test_two_requests_of_one_run_draw_from_different_streams() -> None:
    seeds = {answering._seed(Request(i, "p", seed=s)) for i in ("a", "b") for s in (0, 1)}
    assert len(seeds) == 4
    assert all(0 <= s < 2**63 for s in seeds)


# ---------------------------------------------------------------- real weights


@pytest.mark.weights
def test_real_answers_in_float32_are_the_same_at_batch_1_3_and_8(weights: Callable[[str], Path]) -> None:
    llm = LLM.load(weights("smollm2-135m-instruct"))
    said = [json.loads(line)["text"] for line in HEYSQUAD.read_text(encoding="utf-8").splitlines()[:8]]
    requests = [Request(str(k), "Answer in one short sentence.", max_new_tokens=12) for k in range(8)]
    whole = ask(llm, requests, said)
    for rows in (1, 3):
        got = [t for k in range(0, 8, rows) for t in ask(llm, requests[k : k + rows], said[k : k + rows])]
        assert got == whole


@pytest.mark.weights
def test_real_label_scores_are_those_of_one_full_forward_each(weights: Callable[[str], Path]) -> None:
    llm = LLM.load(weights("smollm2-135m-instruct"))
    batch = prompts(llm, ("I won!", "My dog died last night and I miss him."))
    labels = ("anger", "angry", "sadness", "surprise")
    for scores, prompt in zip(score_labels(llm, llm.prefill(batch, shared(llm)), labels), batch, strict=True):
        for label in labels:
            assert scores[label].total == pytest.approx(naive_score(llm, prompt, label).total, abs=1e-4)
