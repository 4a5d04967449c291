"""The frozen LLM in training, against reading each whole prompt on its own, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny_models import CHAT, make_llm
from torch import Tensor

from diva_bench.decoding.llm import LLM
from diva_bench.training.frozen import Frozen

INSTRUCTIONS = ["say it again", "is it sad"]
FRAMES = pytest.mark.parametrize(("frame", "instruction"), list(enumerate(["", *INSTRUCTIONS])))
TEXTS = ["a", "happy sad", "text of some more letters", "pi"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture(params=[False, True], ids=["kept", "checkpointing"])
def frozen(folder: Path, request: pytest.FixtureRequest) -> Frozen:
    return Frozen(LLM.load(folder), request.param, INSTRUCTIONS)


def plain(folder: Path) -> LLM:
    return LLM.load(folder)


def close(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=2e-5)


def whole(llm: LLM, content: Tensor, answer: Sequence[int], instruction: str = "") -> Tensor:
    """(1 + K, E): states at the end of the whole prompt and behind each token of the answer, with no cache."""
    before, after = llm.frame(instruction, None)
    given = torch.cat([llm.embed(before), content, llm.embed(after), llm.embed(answer)])
    states = llm.model.base_model(inputs_embeds=given[None], use_cache=False).last_hidden_state[0]
    return states[len(given) - 1 - len(answer) :]


ANSWERS = [[[], [], [], []], [[5], [], [6, 7], [8, 9, 10]]]


@FRAMES
@pytest.mark.parametrize("answers", ANSWERS, ids=["none", "ragged"])
def test_a_student_reads_what_the_whole_prompt_says_and_has_its_gradient(
    folder: Path, frozen: Frozen, answers: list[list[int]], frame: int, instruction: str
) -> None:
    llm = plain(folder)
    found, wanted = (torch.randn(4, 6, 32, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    found.requires_grad_(True)
    wanted.requires_grad_(True)
    states = frozen.student_states(list(found), answers, frame)
    read = [whole(llm, wanted[b], answers[b], instruction) for b in range(4)]
    assert [len(s) for s in states] == [1 + len(a) for a in answers]
    close([s.detach() for s in states], [r.detach() for r in read])
    for group in (states, read):
        sum((1 + b) * part.square().sum() for b, part in enumerate(group)).backward()  # type: ignore[union-attr]
    assert found.grad is not None
    assert wanted.grad is not None
    torch.testing.assert_close(found.grad, wanted.grad, atol=1e-3, rtol=1e-4)
    assert all(p.grad is None and not p.requires_grad for p in frozen.llm.model.parameters())


def test_a_student_can_be_asked_twice(frozen: Frozen) -> None:
    """The template's keys and values are not used up, and not added to."""
    virtual = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(0))
    once, again = (frozen.student_states(list(virtual), [[], [3]]) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@FRAMES
@pytest.mark.parametrize("answers", ANSWERS, ids=["none", "ragged"])
def test_a_teachers_states_are_those_of_each_whole_prompt_whatever_the_batch(
    folder: Path, frozen: Frozen, answers: list[list[int]], frame: int, instruction: str
) -> None:
    llm = plain(folder)
    ids = [llm.tokens(t) for t in TEXTS]
    wanted = [whole(llm, llm.embed(t), a, instruction) for t, a in zip(ids, answers, strict=True)]
    close(frozen.teacher_states(ids, answers, frame), wanted)
    close([s for t, a in zip(ids, answers, strict=True) for s in frozen.teacher_states([t], [a], frame)], wanted)


def test_a_student_with_the_transcripts_embeddings_has_nothing_left_to_learn(folder: Path, frozen: Frozen) -> None:
    """Student and teacher are asked in the same words."""
    for text in TEXTS:
        ids = frozen.llm.tokens(text)
        answers = frozen.answers([ids], 3)
        close(frozen.student_states([frozen.targets(ids)], answers), frozen.teacher_states([ids], answers))


@FRAMES
@pytest.mark.parametrize("positions", [0, 1, 2, 5])
def test_a_teachers_answer_is_the_llms_own_greedy_one(
    folder: Path, frozen: Frozen, positions: int, frame: int, instruction: str
) -> None:
    llm = plain(folder)
    before, after = llm.frame(instruction, None)
    ids = [llm.tokens(t) for t in TEXTS]
    found = frozen.answers(ids, positions, frame)
    for given, answer in zip(ids, found, strict=True):
        written: list[int] = []
        for _ in range(positions):
            prompt = torch.tensor([[*before, *given, *after, *written]])
            token = int(llm.model(prompt).logits[0, -1].argmax())
            if token in llm._stops:
                break
            written.append(token)
        assert answer == written
    assert [len(s) for s in frozen.teacher_states(ids, found)] == [1 + len(a) for a in found]
    assert positions == 0 or max(map(len, found)) == positions  # or the test says little


def test_the_instructions_take_turns_and_without_any_all_steps_have_the_bare_turn(folder: Path, frozen: Frozen) -> None:
    assert [frozen.frame_of(step) for step in range(5)] == [1, 2, 1, 2, 1]
    bare = Frozen(LLM.load(folder))
    assert [bare.frame_of(step) for step in range(3)] == [0, 0, 0]
    assert bare.template == frozen.template  # what is stored of the bare turn is the same


def test_the_next_token_is_read_from_a_state(folder: Path, frozen: Frozen) -> None:
    llm = plain(folder)
    before, after = llm.frame("", None)
    ids = [llm.tokens(t) for t in TEXTS]
    wanted = [int(llm.model(torch.tensor([[*before, *t, *after]])).logits[0, -1].argmax()) for t in ids]
    states = torch.stack([s[0] for s in frozen.teacher_states(ids, [[]] * 4)])
    assert frozen.logits(states).argmax(-1).tolist() == wanted


@pytest.mark.parametrize(("shift", "length"), [(0, 7), (5, 7), (5, 5), (5, 2), (2, 7)])
def test_shifted_targets_are_the_last_template_tokens_then_the_transcript(
    folder: Path, shift: int, length: int
) -> None:
    """As the released code had it: five of the template, and the transcript without its last five."""
    frozen = Frozen(LLM.load(folder))
    ids = list(range(40, 40 + length))
    expected = [*(frozen.before[-shift:] if shift else []), *ids][:length]
    assert len(expected) == length
    assert torch.equal(frozen.targets(ids, shift), frozen.llm.embeddings[torch.tensor(expected)])
    assert not frozen.targets(ids, shift).requires_grad


def test_the_weights_are_not_touched_and_a_template_has_its_own_name(folder: Path, tmp_path: Path) -> None:
    frozen = Frozen(LLM.load(folder))
    before = {n: v.clone() for n, v in frozen.llm.model.state_dict().items()}
    states = frozen.student_states([torch.randn(3, 32, requires_grad=True)], [[]])
    states[0].sum().backward()  # type: ignore[no-untyped-call]
    assert all(torch.equal(before[n], v) for n, v in frozen.llm.model.state_dict().items())
    other = make_llm(tmp_path, template="<|start|>" + CHAT)
    assert Frozen(LLM.load(folder)).template == frozen.template != Frozen(LLM.load(other)).template
