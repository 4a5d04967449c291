"""The page of a study: who is let in, what is stored, and what the browser gets."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import call

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

from diva_bench.study.items import Item
from diva_bench.study.site import LARGEST, Access, Site, hashed_token
from diva_bench.study.spec import Check, Question, StudyFile
from diva_bench.study.store import Store

HTML = "<img src=x onerror=alert(1)>"
STUDY = StudyFile(
    name="s", title=HTML, consent=HTML, systems={"alpha": "x", "beta": "y"}, votes=3,
    checks=(Check(question="q", right="r", wrong="w"),), questions=(Question(name="age", text=HTML),),
)  # fmt: skip
ITEMS = {f"i{n}": Item(HTML, None, {"alpha": f"one {HTML}", "beta": "two"}) for n in range(5)}
OPEN = Access(frozenset({"testserver"}), limited=False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "s.sqlite", create=True) as opened:
        yield opened


def browser(store: Store, access: Access = OPEN) -> Any:
    return TestClient(Site(STUDY, ITEMS, {"alpha": "run1"}, store, access).app(), base_url="http://testserver")


def post(client: Any, name: str, body: Any = None, **more: Any) -> tuple[int, dict[str, Any]]:
    done = client.post(f"/api/{name}", json=body or {}, **more)
    return done.status_code, done.json()


def test_a_rater_agrees_votes_and_gets_a_code_and_the_browser_gets_no_name_of_a_system(store: Store) -> None:
    client = browser(store)
    assert post(client, "enter", {"agree": True, "questions": {"age": HTML}, "rater": "P1"}) == (200, {"ok": True})
    seen = ""
    for _ in range(4):
        status, page = post(client, "next")
        seen += str(page)
        assert (status, page["state"]) == (200, "vote")
        assert post(client, "vote", {"id": page["id"], "choice": 0}) == (200, {"ok": True})
        assert post(client, "vote", {"id": page["id"], "choice": 0}) == (200, {"ok": True})
        assert post(client, "vote", {"id": page["id"], "choice": 1})[0] == 409
    done = post(client, "next")[1]
    assert len(done["code"]) == 8
    assert post(client, "next")[1] == done
    assert "alpha" not in seen + client.get("/api/study").text
    assert len(store.votes()) == 4
    assert store.votes()[0].versions["alpha"] == "run1"
    assert store.rows("SELECT questions FROM raters") == [('{"age": "' + HTML + '"}',)]


def test_a_rater_who_withdraws_leaves_nothing_and_is_out(store: Store) -> None:
    client = browser(store)
    post(client, "enter", {"agree": True})
    post(client, "vote", {"id": post(client, "next")[1]["id"], "choice": "tie"})
    assert post(client, "withdraw") == (200, {"ok": True, "votes": 1})
    assert store.votes() == []
    assert post(client, "next")[0] == 401


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "without agreeing"),
        ({"agree": 1}, 400, "without agreeing"),
        ({"agree": True, "questions": {"age": "x" * 300}}, 400, "at most 200 characters"),
        ({"agree": True, "rater": "known"}, 403, "takes part already"),
        ({"agree": True, "rater": ["x"]}, 400, "rater must be text"),
    ],
)
def test_nobody_is_let_in_who_should_not_be(store: Store, body: dict[str, Any], status: int, message: str) -> None:
    post(browser(store), "enter", {"agree": True, "rater": "known"})
    got, answer = post(browser(store), "enter", body)
    assert got == status
    assert message in answer["error"]


def test_a_secret_and_single_use_links_keep_others_out(store: Store) -> None:
    with store.writing() as db:
        db.execute("INSERT INTO links (token) VALUES (?)", (hashed_token("one"),))
    access = Access(secret="k", links=True, limited=False)
    assert post(browser(store, access), "enter", {"agree": True, "link": "one"})[0] == 403
    assert post(browser(store, access), "enter", {"agree": True, "key": "k", "link": "two"})[0] == 403
    assert post(browser(store, access), "enter", {"agree": True, "key": "k", "link": "one"})[0] == 200
    status, answer = post(browser(store, access), "enter", {"agree": True, "key": "k", "link": "one"})
    assert (status, "used in another browser" in answer["error"]) == (403, True)


@pytest.mark.parametrize("choice", [7, -1, True, 0.0, "alpha", "both_bad", None, [0]])
def test_a_choice_that_is_not_possible_is_refused(store: Store, choice: Any) -> None:
    client = browser(store)
    post(client, "enter", {"agree": True})
    assert post(client, "vote", {"id": post(client, "next")[1]["id"], "choice": choice})[0] == 409
    assert store.votes() == []


def test_a_vote_of_another_rater_and_an_invented_one_are_refused(store: Store) -> None:
    ann, ben = browser(store), browser(store)
    for client in (ann, ben):
        post(client, "enter", {"agree": True})
    page = post(ann, "next")[1]
    for id in (page["id"], "f" * 32, "'; DROP TABLE votes"):
        assert post(ben, "vote", {"id": id, "choice": 0})[0] == 409
    assert store.votes() == []


def test_large_and_foreign_requests_are_refused(store: Store) -> None:
    client = browser(store)
    assert client.post("/api/vote", content=b"x" * (LARGEST + 1)).status_code == 413
    assert client.post("/api/vote", content=(b"x" * 1000 for _ in range(100))).status_code == 413
    assert client.post("/api/vote", content=b"[" * 50_000).status_code == 400
    assert post(client, "vote", headers={"origin": "http://evil.example"})[0] == 403
    assert client.get("/api/study", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/../../etc/passwd").status_code == 404
    assert "script-src 'self'" in client.get("/").headers["content-security-policy"]


def test_too_many_requests_are_refused_and_an_invented_session_does_not_help(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diva_bench.study.site._RATE", 0.0)  # however slow the machine is
    client = browser(store, Access())
    codes = [client.get("/api/study", headers={"cookie": f"diva_study={n}"}).status_code for n in range(400)]
    assert codes == [200] * 300 + [429] * 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: s\ntitle: t\nconsent: c\nsystems: {tie: a, b: c}\n", "tie is the name of a choice"),
        ("name: s\ntitle: t\nconsent: c\nsystems: {a: a, b: c}\nshown: 3\n", "shown is 3, but there are 2 systems"),
        (
            "name: s\ntitle: t\nconsent: c\nsystems: {a: a, b: c}\nvote: 3\n",
            "unknown key 'vote'. Did you mean 'votes'?",
        ),
        ("name: s\ntitle: t\nconsent: c\nsystems: {a: a, b: c}\n", "a"),
    ],
)
def test_a_study_file_that_is_not_right_is_refused_in_words(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    done = call(tmp_path, "study", "serve", "s.yaml", "--port", "0")
    assert done.returncode == 2
    assert message in done.stderr
