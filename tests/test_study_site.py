"""The page of a study: who is let in, what is stored, and what the browser gets."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import call

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

from diva_bench.errors import UserError
from diva_bench.study.items import Item, alike, of_runs
from diva_bench.study.site import LARGEST, Access, Site, hashed_token
from diva_bench.study.spec import Check, Question, StudyFile, System
from diva_bench.study.store import Store

HTML = "<img src=x onerror=alert(1)>"
STUDY = StudyFile(
    name="s", title=HTML, consent=HTML, systems={"alpha": System(run="x"), "beta": System(run="y")}, votes=3,
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


BASE = "name: s\ntitle: t\nconsent: c\n"
RUNS, LIVE = "systems: {a: a, b: c}\n", "systems: {a: {model: echo}, b: {model: echo}}\ntask: heysquad\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("systems: {tie: a, b: c}", "tie is the name of a choice"),
        (f"{RUNS}shown: 3", "shown is 3, but there are 2 systems"),
        (f"{RUNS}vote: 3", "unknown key 'vote'. Did you mean 'votes'?"),
        (RUNS, "a: no such folder. Give folders such as results/<task>/<run>"),
        (f"{RUNS}task: heysquad", "task and record belong to models; these systems are runs"),
        ("systems: {a: {run: x, device: cpu}, b: y}", "edition, device and dtype belong to a model, not to a run"),
        ("systems: {a: {model: diva}, b: c}", "runs and models are mixed; all must be runs, or all models"),
        ("systems: {a: {model: diva}, b: {model: cascade}}", "task is missing: the models need a task"),
        ("systems: {a: {}, b: y}", "a system is the folder of a run, or {model: NAME}"),
        ("systems: {a: {modl: x}, b: y}", "unknown key 'systems.a.modl'. Did you mean 'model'?"),
        ("systems: {a: 3, b: y}", "systems.a: must be a mapping (key: value) (found 3)"),
        (f"{LIVE}record: {{least: 40}}", "record: least must be less than most"),
        (f"{LIVE}record: {{most: 500}}", "record.most: must be 120 or less"),
        (f"{LIVE}written: false", "raters can hear the answers only with `speak: browser`"),
        (f"{LIVE}speak: loud", "speak: must be 'browser'"),
        (f"{LIVE}timeout: 0", "timeout: must be more than 0"),
        (f"{LIVE}record: {{}}".replace("a: {model: echo}", "a: {model: oracle}"), "model oracle does not take audio"),
        (LIVE.replace("b: {model: echo}", "b: {model: x.yaml}"), "x.yaml: no such file"),
        (LIVE.replace("heysquad", "covost2-all"), "task covost2-all has 3 subsets; a study has one: covost2-de"),
    ],
)
def test_a_study_file_that_is_not_right_is_refused_in_words(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.yaml").write_text(f"{BASE}{text}\n")
    done = call(tmp_path, "study", "serve", "s.yaml", "--port", "0")
    assert done.returncode == 2
    assert message in done.stderr


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    monkeypatch.delitem(sys.modules, "diva_bench.study.site")
    (tmp_path / "s.yaml").write_text(f"{BASE}{RUNS}")
    done = call(tmp_path, "study", "serve", "s.yaml")
    assert done.returncode == 2
    assert done.stderr == "diva-bench: study serve needs the package starlette: pip install 'diva-bench[study]'.\n"


def test_the_answers_of_runs_are_shown_as_scorers_read_them_and_failures_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    replies = {"alpha": {"reply": "<think>hm</think>Oslo.<|im_end|>"}, "beta": {"reply": "  "}}
    for name, args in replies.items():
        spec = {"name": name, "adapter": "echo", "description": "d", "args": args, "runtime": {"dtype": "float32"}}
        (tmp_path / "specs" / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    words = ("-t", "heysquad", "--edition", "mini", "--limit", "3", "--path", "specs")
    assert call(tmp_path, "run", "-m", "alpha,beta", *words).returncode == 0
    runs = {name: str(next((tmp_path / "results").rglob(f"{name}-*"))) for name in replies}
    study = StudyFile(name="s", title="t", consent="c", systems={name: System(run=run) for name, run in runs.items()})
    items, versions = of_runs(study, tmp_path)
    assert len(items) == 3
    for item in items.values():
        assert (item.answers, bool(item.words), item.clip is not None) == ({"alpha": "Oslo.", "beta": "  "}, True, True)
    assert versions["alpha"].startswith("alpha-")
    lines = Path(runs["beta"], "responses.jsonl").read_text().splitlines()
    failed = json.dumps(json.loads(lines[0]) | {"status": "error", "detail": "x", "text": ""})
    Path(runs["beta"], "responses.jsonl").write_text("\n".join([failed, *lines[1:]]) + "\n")
    assert len(of_runs(study, tmp_path)[0]) == 2
    twice = study.model_copy(update={"systems": study.systems | {"beta": System(run=runs["alpha"])}})
    gone = study.model_copy(update={"systems": study.systems | {"beta": System(run="nowhere")}})
    with pytest.raises(UserError, match=r"systems\.beta: .*nowhere: no such folder"):
        of_runs(gone, tmp_path)
    with pytest.raises(UserError, match=r"systems alpha and beta are the same run, .*Give two different runs\."):
        of_runs(twice, tmp_path)
    shutil.copy(Path(runs["alpha"], "responses.jsonl"), Path(runs["beta"], "responses.jsonl"))
    with pytest.raises(UserError, match="the systems gave the same answers to all questions"):
        of_runs(study, tmp_path)
    other = call(tmp_path, "run", "-m", "beta", "-t", "transcribe", "--edition", "mini", *words[4:])
    assert other.returncode == 0
    wrong = study.model_copy(
        update={"systems": study.systems | {"beta": System(run=str(_last(tmp_path, "transcribe")))}}
    )
    with pytest.raises(UserError, match="the runs are of 2 tasks"):
        of_runs(wrong, tmp_path)


def test_nobody_is_asked_to_choose_between_answers_with_the_same_words() -> None:
    items = {
        "same": Item("q", answers={"a": "Oslo.", "b": "Oslo. ", "c": "Rome."}),
        "other": Item("q", answers={"a": "Oslo.", "b": "Bonn.", "c": "Rome."}),
        "all": Item("q", answers={"a": "x", "b": "x", "c": "x"}),
    }
    assert alike(items, 2) == {("same", ("a", "b")), *(("all", pair) for pair in (("a", "b"), ("a", "c"), ("b", "c")))}
    assert alike(items, 3) == {("same", ("a", "b", "c")), ("all", ("a", "b", "c"))}


def _last(place: Path, task: str) -> Path:
    return next(path for path in (place / "results").rglob("beta-*") if task in str(path))
