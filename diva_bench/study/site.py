"""The page of a study as an ASGI application (Starlette).

The browser never gets the name of a system: answers are numbered, and a vote names a number. All texts go to the page as
JSON and are set as text, so that nothing anybody wrote is HTML. Every request has a limit of size and of rate; only requests
for this host and from this page are answered.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from diva_bench import __version__
from diva_bench.errors import ClipError, DivaBenchError, StoreError, UserError
from diva_bench.server.completions import wav
from diva_bench.study import recording
from diva_bench.study.assignment import LIVE, RIGHT, WRONG, Assignment, Design, Progress, next_assignment, progress
from diva_bench.study.items import Item, alike
from diva_bench.study.line import Line, Question, decoded
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
    "media-src 'self' blob:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_CLIPS = 32  # decoded clips in memory
_PAGES = {
    "/": ("index.html", "text/html"),
    "/study.js": ("study.js", "text/javascript"),
    "/recorder.js": ("recorder.js", "text/javascript"),
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
    """The study behind the page.

    Args:
        study: The study file.
        items: The questions; empty: raters record them.
        versions: System -> what makes its answers.
        store: Of the votes.
        access: Who may vote.
        line: Has questions answered by models; None: all answers are in `items`.
    """

    def __init__(
        self,
        study: StudyFile,
        items: Mapping[str, Item],
        versions: Mapping[str, str],
        store: Store,
        access: Access,
        line: Line | None = None,
    ) -> None:
        self._study, self._items, self._store, self._access, self._line = study, items, store, access, line
        self._clip_of = lru_cache(_CLIPS)(self._read_clip)
        self._checks = {f"check-{n}": check for n, check in enumerate(study.checks, 1)}
        have = {name: tuple(study.systems if line else item.answers) for name, item in items.items()}
        self._design = Design(
            have, tuple(study.systems), study.shown, study.votes, study.per_item, study.total, tuple(self._checks),
            alike=alike(items, study.shown),
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
        routes.append(Route("/api/recording/{id}", self._recording, methods=["POST"]))
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
        study, session = self._study, hashed_token(request.cookies.get(COOKIE, ""))
        known = self._store.one("SELECT 1 FROM sessions WHERE token = ?", (session,)) is not None
        record = study.record and {"least": study.record.least, "most": study.record.most, "keep": study.record.keep}
        return JSONResponse(
            {
                "known": known,
                "record": record,
                "speak": study.speak,
                "written": study.written,
                "language": study.language,
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
        return _part(content, request.headers.get("range", ""))

    async def _recording(self, request: Request) -> Response:
        try:
            self._admit(request)
            if self._line is None or self._study.record is None:
                raise Wrong(404, "this study takes no recordings.")
            if request.headers.get("content-type", "") != "audio/wav":
                raise Wrong(415, "a recording is sent as audio/wav.")
            session, id = request.cookies.get(COOKIE, ""), request.path_params["id"]
            asked, keep = await run_in_threadpool(self._recorder, session, id)
            content = await _content(request, recording.largest(self._study.record))
            sound = await run_in_threadpool(recording.checked, content, self._study.record)
            if not self._line.put(Question(asked, None, lambda: sound, keep)):
                raise Wrong(503, "too many questions are in line. Wait a minute, then send it again.")
        except ClientDisconnect:
            return Response(status_code=400)
        except DivaBenchError as err:
            return _failure(err, 400)
        return JSONResponse({"ok": True}, headers=_HEADERS)

    def _recorder(self, session: str, id: str) -> tuple[Assignment, bool]:
        """(the open question that the rater may record, whether the recording is kept)."""
        rater = self._rater(session)
        found = self._store.one(
            "SELECT item, shown, keeps FROM assignments JOIN raters USING (rater) WHERE id = ? AND rater = ? "
            "AND state = 'open' AND shown_at = ''",
            (id, rater),
        )
        if found is None or not found[0].startswith(LIVE):
            raise Wrong(409, "this recording belongs to no open question. Load the page again.")
        return Assignment(id, found[0], tuple(json.loads(found[1]))), bool(found[2])

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
        keeps = body.get("keep") is True and self._study.record is not None and self._study.record.keep
        self._store.enrol(rater, consent=self._consent, keeps=keeps)
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
        found = next_assignment(self._store, self._design, rater, at_once=self._line is None)
        if self._line and isinstance(found, Assignment):
            if place := self._line.place(found.id):
                return {"state": "waiting", "id": found.id, "place": place}, ""
            found = next_assignment(self._store, self._design, rater)  # the line may have ended it in between
        if isinstance(found, Progress):
            code = self._finish(rater) if found.ended == "finished" else ""
            return {"state": "done", "code": code, "votes": found.votes, "of": found.of}, ""
        done = progress(self._store, self._design, rater)
        count = {"id": found.id, "votes": done.votes, "of": done.of, "failed": self._failed(body, rater, found)}
        texts = self._answers(found)
        if not texts and self._line:
            return self._unanswered(self._line, found) | count, ""
        if not texts:
            raise Wrong(409, "this question is no longer part of the study. Tell the people who run it.")
        if not found.shown_at:
            with self._store.writing() as db:
                db.execute("UPDATE assignments SET shown_at = ? WHERE id = ?", (now(), found.id))
        check, item = self._checks.get(found.item), self._items.get(found.item)
        words = check.question if check else item.words if item else ""
        answers = [texts[system] for system in found.shown]
        return {"state": "vote", "words": words, "sound": self._has_clip(found.item), "answers": answers} | count, ""

    def _answers(self, found: Assignment) -> Mapping[str, str]:
        """System -> answer to a question; empty if there are none yet."""
        if check := self._checks.get(found.item):
            return {RIGHT: check.right, WRONG: check.wrong}
        if self._line is None:
            item = self._items.get(found.item)
            return item.answers if item else {}
        stored = self._store.answers(found.item)
        texts = {system: text for (_, system), text in stored.items()}
        return texts if set(found.shown) <= set(texts) else {}

    def _unanswered(self, line: Line, found: Assignment) -> dict[str, Any]:
        """What the rater does until the models answer: record, or wait."""
        if found.item.startswith(LIVE) and self._study.record:
            return {"state": "record"}
        item = self._items.get(found.item)
        if item is None or item.clip is None:
            raise Wrong(409, "this question is no longer part of the study. Tell the people who run it.")
        if not line.put(Question(found, item.sample, partial(decoded, item.clip))):
            raise Wrong(503, "too many questions are in line. Wait a minute, then load the page again.")
        return {"state": "waiting", "place": max(1, line.place(found.id))}

    def _failed(self, body: Mapping[str, Any], rater: str, found: Assignment) -> bool:
        """Whether the question for which the page waited got no answer."""
        before = _text(body, "after")
        state = self._store.one("SELECT state FROM assignments WHERE id = ? AND rater = ?", (before, rater))
        return state is not None and (state[0] == "failed" or (before == found.id and not self._answers(found)))

    def _has_clip(self, item: str) -> bool:
        if self._line and item.startswith(LIVE):
            return self._line.clip(item) is not None
        return self._study.sound and item in self._items and self._items[item].clip is not None

    def _vote(self, body: Mapping[str, Any], session: str) -> tuple[dict[str, Any], str]:
        rater, id, choice = self._rater(session), _text(body, "id"), body.get("choice")
        found = self._store.one(
            "SELECT shown, item FROM assignments WHERE id = ? AND rater = ? AND shown_at <> ''", (id, rater)
        )
        shown = json.loads(found[0]) if found else []
        if isinstance(choice, int) and not isinstance(choice, bool) and 0 <= choice < len(shown):
            choice = shown[choice]
        elif found is None or choice not in self._study.others:
            raise Refused("this vote belongs to no question that you were asked, or is no possible choice.")
        self._store.vote(rater, id, str(choice), self._versions, self._study.others)
        if self._line and found:
            self._line.forget(found[1])
        return {"ok": True}, ""

    def _withdraw(self, body: Mapping[str, Any], session: str) -> tuple[dict[str, Any], str]:
        rater = self._rater(session)
        items = self._store.rows("SELECT item FROM assignments WHERE rater = ?", (rater,))
        done = self._store.withdraw(rater, recordings_of(self._store.path))
        if self._line:
            for (item,) in items:
                self._line.forget(item)
        return {"ok": True, "votes": done.votes}, ""

    def _sound(self, id: str, session: str) -> bytes:
        found = self._store.one("SELECT item FROM assignments WHERE id = ? AND rater = ?", (id, self._rater(session)))
        if found and self._line and found[0].startswith(LIVE):
            content = self._line.clip(found[0])
        else:
            content = self._clip_of(found[0]) if found and self._has_clip(found[0]) else None
        if content is None:
            raise Wrong(404, "there is no such clip.")
        return content

    def _read_clip(self, item: str) -> bytes:
        """A clip of the task as WAV, because every browser plays it."""
        read = self._items[item].clip
        assert read is not None
        try:
            return wav(decoded(read))
        except (ClipError, OSError) as err:
            raise Wrong(500, "this clip cannot be played. Tell the people who run the study.") from err

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


async def _content(request: Request, most: int) -> bytes:
    """The body of a request, never more than `most` bytes of it: a larger one is refused before it is read."""
    size = request.headers.get("content-length", "0")
    if not size.isdecimal() or len(size) > 12 or int(size) > most:
        raise Wrong(413, f"the request is too large; at most {most:,} bytes.")
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise Wrong(413, f"the request is too large; at most {most:,} bytes.")
    return bytes(content)


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object of a request."""
    content = await _content(request, LARGEST)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise Wrong(400, "the request is not JSON.") from err
    if not isinstance(value, dict):
        raise Wrong(400, "the request is not a JSON object.")
    return value


def _part(content: bytes, wanted: str) -> Response:
    """A clip, or the part of it that a Range header asks for: some phones play nothing from a server without parts."""
    headers = {**_HEADERS, "Accept-Ranges": "bytes"}
    found = _RANGE.fullmatch(wanted)
    if found is None or not any(found.groups()):
        return Response(content, media_type="audio/wav", headers=headers)
    first, last = found.groups()
    start = int(first) if first else max(0, len(content) - int(last))
    end = min(int(last) + 1 if first and last else len(content), len(content))
    if start >= end:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
    return Response(content[start:end], 206, media_type="audio/wav", headers=headers)


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key, "")
    if not isinstance(value, str) or len(value) > _FREE:
        raise Wrong(400, f"{key} must be text of at most {_FREE} characters.")
    return value


def hashed_token(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _failure(err: DivaBenchError, status: int = 503) -> Response:
    """An error as JSON. `status`: of errors that have none of their own."""
    message = str(err)
    if isinstance(err, StoreError):
        status, message = 503, "nothing was stored: the server cannot write. Try again soon."
    elif isinstance(err, Wrong | Refused):
        status = err.status if isinstance(err, Wrong) else 409
    close = {"Connection": "close"} if status == 413 else {}  # so that the rest of the request is not even received
    return JSONResponse({"error": message}, status, headers=_HEADERS | close)
