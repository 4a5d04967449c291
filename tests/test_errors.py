"""Messages about unknown names: the nearest name, and a list that fits on the screen."""

from __future__ import annotations

import pytest

from diva_bench.errors import nearest, unknown

LANGUAGES = ["questions", "questions-pt-BR", "questions-ta", "questions-zh"]


@pytest.mark.parametrize(
    ("name", "allowed", "found"),
    [
        ("heyquad", ["heysquad", "sdqa"], "heysquad"),
        ("HeySQuAD", ["heysquad", "heysquad-open"], "heysquad"),
        ("questions-pt", LANGUAGES, "questions-pt-BR"),
        ("question-ta", LANGUAGES, "questions-ta"),
        ("ques", LANGUAGES, "questions"),
        ("xyz", LANGUAGES, ""),
        ("", LANGUAGES, ""),
    ],
)
def test_the_nearest_name_is_the_same_in_other_letters_or_begins_alike_or_looks_alike(
    name: str, allowed: list[str], found: str
) -> None:
    assert nearest(name, allowed) == (f" Did you mean {found!r}?" if found else "")


def test_a_few_names_are_all_listed() -> None:
    assert str(unknown("task", "bar", {"foo", "baz"}, "these runs")) == (
        "unknown task 'bar' in these runs. Did you mean 'baz'? Available: baz, foo."
    )
    assert str(unknown("group", "x", [])).endswith("Available: none.")


def test_of_many_names_the_nearest_are_listed_and_where_all_of_them_are() -> None:
    names = [f"task-{i}" for i in range(200)]
    message = str(unknown("task or model", "task-17x", names))
    assert message.startswith(
        "unknown task or model 'task-17x'. Did you mean 'task-17'? There are 200, the nearest: task-17, "
    )
    assert message.endswith(". All of them: `diva-bench list tasks`, `diva-bench list models`.")
    assert len(message) < 250
    assert str(unknown("voice", "???", names)) == "unknown voice '???'. There are 200."
