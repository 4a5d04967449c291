"""The page of a study as an ASGI application (Starlette).

The browser never gets the name of a system: answers are numbered, and a vote names a number. All texts go to the page as
JSON and are set as text, so that nothing anybody wrote is HTML. Every request has a limit of size and of rate; only requests
for this host and from this page are answered.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import soundfile
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from diva_bench import __version__
from diva_bench.audio.clip import decode
from diva_bench.errors import DivaBenchError, StoreError, UserError
from diva_bench.study.assignment import RIGHT, WRONG, Assignment, Design, next_assignment, progress
from diva_bench.study.items import Item
from diva_bench.study.spec import StudyFile
from diva_bench.study.store import Refused, Store, recordings_of
from diva_bench.study.votes import now

COOKIE = "diva_study"
LARGEST = 64_000
"""Bytes of a request."""
_RATE, _BURST, _CLIENTS = 5.0, 30.0, 10_000  # requests per second, at once, remembered
_SHARED = 10.0  # times as many from an address, which a whole room may share, before a rater is known
_AGE = 30 * 86_400  # seconds for which a rater can come back
_FREE = 200  # characters of a free answer
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "media-src blob:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
}
_PAGES = {
    "/": ("index.html", "text/html"),
    "/study.js": ("study.js", "text/javascript"),
    "/study.css": ("study.css", "text/css"),
}


class Wrong(UserError):
    """A request that is not answered, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Access:
    """Who may vote.

    Attributes:
        hosts: Values of the Host header that are answered; empty: all.
        secret: What the address of the page must have; "": nothing.
        links: Whether every rater needs a single-use link of the database.
        limited: Whether requests are limited in rate.
    """

    hosts: frozenset[str] = frozenset()
    secret: str = ""
    links: bool = False
    limited: bool = True


class Site:
    """The study behind the page."""

    def __init__(
        self, study: StudyFile, items: Mapping[str, Item], versions: Mapping[str, str], store: Store, access: Access
    ) -> None:
        self._study, self._items, self._store, self._access = study, items, store, access
        self._checks = {f"check-{n}": check for n, check in enumerate(study.checks, 1)}
        self._design = Design(
            {name: tuple(item.answers) for name, item in items.items()}, tuple(study.systems), study.shown, study.votes,
            study.per_item, study.total, tuple(self._checks),
        )  # fmt: skip
        text = study.model_dump_json()
        self._versions = json.dumps(
            {"diva-bench": __version__, "study": hashlib.sha256(text.encode()).hexdigest()[:12], **versions},
            sort_keys=True,
        )
        self._consent = hashlib.sha256(study.consent.encode()).hexdigest()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        store.add_answers(
            (n, s, t, None, versions.get(s, "")) for n, item in items.items() for s, t in item.answers.items()
        )

    def app(self) -> Starlette:
        routes = [Route(path, self._page) for path in _PAGES]
        for name in ("enter", "next", "vote", "withdraw"):
            routes.append(Route(f"/api/{name}", self._answer(getattr(self, f"_{name}")), methods=["POST"]))
        return Starlette(routes=[*routes, Route("/api/study", self._texts), Route("/api/clip/{id}", self._clip)])

    # ---- requests

    def _answer(self, work: Any) -> Any:
        async def respond(request: Request) -> Response:
            try:
                self._admit(request)
                body = await _body(request)
                session = request.cookies.get(COOKIE, "")
                value, token = await run_in_threadpool(work, body, session)
                answer = JSONResponse(value, headers=_HEADERS)
                if token:
                    secure = request.url.scheme == "https"
                    answer.set_cookie(COOKIE, token, max_age=_AGE, httponly=True, samesite="strict", secure=secure)
                return answer
            except ClientDisconnect:
                return Response(status_code=400)
            except DivaBenchError as err:
                return _failure(err)

        return respond

    def _admit(self, request: Request) -> None:
        host = request.headers.get("host", "").lower()
        if self._access.hosts and host not in self._access.hosts:
            raise Wrong(403, "this address is not answered here.")
        origin = request.headers.get("origin")
        if origin is not None and origin.split("://")[-1].lower() != host:
            raise Wrong(403, "this request comes from another page.")
        if not self._access.limited:
            return
        session = hashed_token(request.cookies.get(COOKIE, ""))
        known = self._store.one("SELECT 1 FROM sessions WHERE token = ?", (session,)) is not None
        who = session if known else request.client.host if request.client else ""  # no bucket for an invented session
        times = 1.0 if known else _SHARED
        before, left = self._buckets.pop(who, (time.monotonic(), times * _BURST))
        at = time.monotonic()
        left = min(times * _BURST, left + (at - before) * times * _RATE) - 1
        self._buckets[who] = (at, max(left, -1))
        while len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        if left < 0:
            raise Wrong(429, "too many requests. Wait some seconds, then go on.")

    async def _page(self, request: Request) -> Response:
        name, kind = _PAGES[request.url.path]
        content = files("diva_bench.study").joinpath("page", name).read_bytes()
        return Response(content, media_type=kind, headers=_HEADERS)

    async def _texts(self, request: Request) -> Response:
        try:
            self._admit(request)
        except Wrong as err:
            return _failure(err)
        study = self._study
        return JSONResponse(
            {
                "title": study.title,
                "consent": study.consent,
                "texts": study.texts.model_dump(),
                "questions": [question.model_dump() for question in study.questions],
                "others": study.others,
            },
            headers=_HEADERS,
        )

    async def _clip(self, request: Request) -> Response:
        try:
            self._admit(request)
            content = await run_in_threadpool(self._sound, request.path_params["id"], request.cookies.get(COOKIE, ""))
        except DivaBenchError as err:
            return _failure(err)
        return Response(content, media_type="audio/wav", headers=_HEADERS)

    # ---- answers; each returns (JSON, a new session or "")

    def _enter(self, body: Mapping[str, Any], session: str) -> tuple[dict[str, Any], str]:
        if session and self._store.one("SELECT 1 FROM sessions WHERE token = ?", (hashed_token(session),)):
            return {"ok": True}, ""
        if self._access.secret and not hmac.compare_digest(
            hashed_token(_text(body, "key")), hashed_token(self._access.secret)
        ):
            raise Wrong(403, "the address of this page is not complete. Open the link that you were given.")
        if body.get("agree") is not True:
            raise Wrong(400, "nobody takes part without agreeing.")
        answers = self._demographics(body.get("questions"))
        name = _text(body, "rater") or secrets.token_hex(16)
        rater = self._link(_text(body, "link")) if self._access.links else self._store.hashed(name)
        if self._store.one(
            "SELECT 1 FROM raters WHERE rater = ?", (rater,)
        ):  # whoever knows a name is not let in by it
            raise Wrong(403, "this rater takes part already. Go on in the browser in which you began.")
        self._store.enrol(rater, consent=self._consent)
        token = secrets.token_hex(32)
        with self._store.writing() as db:
            db.execute(
                "UPDATE raters SET questions = ? WHERE rater = ? AND questions = '{}'", (json.dumps(answers), rater)
            )
            db.execute("INSERT INTO sessions VALUES (?, ?, ?)", (hashed_token(token), rater, now()))
        return {"ok": True}, token

    def _link(self, token: str) -> str:
        """The rater of a link that nobody has used."""
        rater = self._store.hashed(f"link {token}")
        with self._store.writing() as db:
            used = db.execute(
                "UPDATE links SET rater = ?, used = ? WHERE token = ? AND used = ''",
                (rater, now(), hashed_token(token)),
            )
            if used.rowcount != 1:
                raise Wrong(403, "this link is not valid, or was used in another browser.")
        return rater

    def _demographics(self, given: object) -> dict[str, str]:
        given = given if isinstance(given, dict) else {}
        out: dict[str, str] = {}
        for question in self._study.questions:
            answer = given.get(question.name, "")
            if (
                not isinstance(answer, str)
                or len(answer) > _FREE
                or (answer and question.choices and answer not in question.choices)
            ):
                raise Wrong(400, f"the answer to {question.name!r} is not possible; at most {_FREE} characters.")
            out |= {question.name: answer} if answer else {}
        return out

    def _next(self, body: Mapping[str, Any], session: str) -> tuple[dict[str, Any], str]:
        rater = self._rater(session)
        found = next_assignment(self._store, self._design, rater)
        if not isinstance(found, Assignment):
            code = self._finish(rater) if found.ended == "finished" else ""
            return {"state": "done", "code": code, "votes": found.votes, "of": found.of}, ""
        if not found.shown_at:
            with self._store.writing() as db:
                db.execute("UPDATE assignments SET shown_at = ? WHERE id = ?", (now(), found.id))
        check = self._checks.get(found.item)
        item = self._items.get(found.item)
        if check:
            texts = {RIGHT: check.right, WRONG: check.wrong}
            words, sound = check.question, False
        elif item:
            texts, words = item.answers, item.words
            sound = self._study.sound and item.clip is not None
        else:
            raise Wrong(409, "this question is no longer part of the study. Tell the people who run it.")
        done = progress(self._store, self._design, rater)
        return {
            "state": "vote", "id": found.id, "words": words, "sound": sound, "votes": done.votes, "of": done.of,
            "answers": [texts[system] for system in found.shown],
        }, ""  # fmt: skip

    def _vote(self, body: Mapping[str, Any], session: str) -> tuple[dict[str, Any], str]:
        rater, id, choice = self._rater(session), _text(body, "id"), body.get("choice")
        found = self._store.one("SELECT shown FROM assignments WHERE id = ? AND rater = ?", (id, rater))
        shown = json.loads(found[0]) if found else []
        if isinstance(choice, int) and not isinstance(choice, bool) and 0 <= choice < len(shown):
            choice = shown[choice]
        elif choice not in self._study.others:
            raise Refused("this vote belongs to no question that you were asked, or is no possible choice.")
        self._store.vote(rater, id, str(choice), self._versions, self._study.others)
        return {"ok": True}, ""

    def _withdraw(self, body: Mapping[str, Any], session: str) -> tuple[dict[str, Any], str]:
        done = self._store.withdraw(self._rater(session), recordings_of(self._store.path))
        return {"ok": True, "votes": done.votes}, ""

    def _sound(self, id: str, session: str) -> bytes:
        found = self._store.one("SELECT item FROM assignments WHERE id = ? AND rater = ?", (id, self._rater(session)))
        item = self._items.get(found[0]) if found else None
        if item is None or item.clip is None or not self._study.sound:
            raise Wrong(404, "there is no such clip.")
        sound = io.BytesIO()  # WAV, because every browser plays it
        decoded = decode(item.clip())
        soundfile.write(sound, decoded.samples, decoded.rate, format="WAV", subtype="PCM_16")
        return sound.getvalue()

    def _rater(self, session: str) -> str:
        found = self._store.one("SELECT rater FROM sessions WHERE token = ?", (hashed_token(session),))
        if found is None:
            raise Wrong(401, "you are not part of the study yet, or have withdrawn. Open the first page.")
        return str(found[0])

    def _finish(self, rater: str) -> str:
        """The completion code of a rater: the same at every call."""
        with self._store.writing() as db:
            db.execute(
                "UPDATE raters SET code = ?, finished = ? WHERE rater = ? AND code = ''",
                (secrets.token_hex(4).upper(), now(), rater),
            )
            return str(db.execute("SELECT code FROM raters WHERE rater = ?", (rater,)).fetchone()[0])


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object of a request, never more than LARGEST bytes of it."""
    size = request.headers.get("content-length", "0")
    if not size.isdecimal() or len(size) > 12 or int(size) > LARGEST:
        raise Wrong(413, f"the request is too large; at most {LARGEST:,} bytes.")
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > LARGEST:
            raise Wrong(413, f"the request is too large; at most {LARGEST:,} bytes.")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise Wrong(400, "the request is not JSON.") from err
    if not isinstance(value, dict):
        raise Wrong(400, "the request is not a JSON object.")
    return value


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key, "")
    if not isinstance(value, str) or len(value) > _FREE:
        raise Wrong(400, f"{key} must be text of at most {_FREE} characters.")
    return value


def hashed_token(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _failure(err: DivaBenchError) -> Response:
    status = err.status if isinstance(err, Wrong) else 409 if isinstance(err, Refused) else 503
    message = (
        "your vote is not stored yet: the server cannot write. Try again soon."
        if isinstance(err, StoreError)
        else str(err)
    )
    return JSONResponse({"error": message}, status, headers=_HEADERS)
