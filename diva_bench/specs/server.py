"""How a server is reached: the `server:` part of a model YAML. It is recorded with a run and is not part of its identity.

What the server is asked for (the model's name, the form of the audio) is in `args`, which are part of the identity.
"""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from diva_bench.specs.schema import Json, Number, Spec, Whole

MOST_IN_FLIGHT: Final = 1024
_KEY = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_LONGEST_URL = 2000
_OURS = ("file", "model", "stream")  # fields of a request for a transcript that `body` cannot change
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
ApiVersion = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]


class Prices(Spec):
    """Prices of a million tokens."""

    input: Number = Field(ge=0, allow_inf_nan=False)
    output: Number = Field(ge=0, allow_inf_nan=False)
    audio: Number | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Of a million input tokens of audio; None: as `input`."""
    currency: Currency = "USD"


class Server(Spec):
    """How an OpenAI-compatible server is reached."""

    urls: tuple[str, ...] = Field(default=(), max_length=64)
    """Base URLs of servers of the same model, each with what comes before /chat/completions or /audio/transcriptions:
    http://localhost:8000/v1."""
    key: str | None = None
    """Name of the environment variable with the key; None: no key is sent."""
    key_header: str = "Authorization"
    """Header of the key. In "Authorization" it follows the word Bearer; Azure takes "api-key"."""
    api_version: ApiVersion | None = None
    """`api-version` of Azure's older addresses."""
    timeout: Number = Field(default=120.0, gt=0, le=7200)
    """Seconds for one whole answer."""
    in_flight: Whole = Field(default=16, ge=1, le=MOST_IN_FLIGHT)
    """Largest number of requests to one URL at a time. Fewer are sent while the server refuses some (429)."""
    tries: Whole = Field(default=6, ge=1, le=100)
    """How often one request is sent before it counts as failed."""
    longest_wait: Number = Field(default=60.0, gt=0, le=3600)
    """Seconds: the longest pause before a request is sent again, if the server names none."""
    prices: Prices | None = None
    """For `--max-cost` and `--dry-run`."""
    audio_tokens_per_second: Number = Field(default=25.0, gt=0, le=10_000)
    """Used for estimates of the cost before anything is sent."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> Server:
        # no message repeats a value, because a key may stand where none belongs
        for number, url in enumerate(self.urls, start=1):
            if problem := _problem(url):
                raise ValueError(f"URL {number} {problem}")
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("urls has the same URL twice")
        if self.key is not None and not _KEY.fullmatch(self.key):
            raise ValueError(
                "key must be the name of an environment variable in capital letters, such as OPENAI_API_KEY; the key "
                "itself never belongs into a file"
            )
        if not _HEADER.fullmatch(self.key_header):
            raise ValueError("key_header must be the name of an HTTP header, such as Authorization or api-key")
        return self

    def overlaid(self, over: Server | None) -> Server:
        """These settings with those that another one sets."""
        if over is None:
            return self
        return Server(**{**self.model_dump(exclude_unset=True), **over.model_dump(exclude_unset=True)})


class ServedAsr(Spec):
    """A recogniser behind a server, asked by POST /audio/transcriptions: the `asr:` part of a model YAML."""

    model: str = Field(min_length=1, max_length=300)
    """Its name on the server."""
    language: str = Field(default="en", max_length=35)
    """Code of the language of the clips, for tasks that name none; "": the server detects it, whatever the task names."""
    max_seconds: Number = Field(default=30.0, gt=0, le=86_400)
    """A longer clip is `unsupported`: some servers cut it without a word."""
    min_seconds: Number = Field(default=0.1, ge=0, le=30.0)
    """A shorter clip ends with silence."""
    body: Json = Field(default_factory=dict)
    """More fields of every request; null removes one."""
    server: Server
    """How it is reached: not part of the identity."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> ServedAsr:
        if not self.server.urls:
            raise ValueError("server needs the address of a server: server: {urls: [http://localhost:8000/v1]}")
        if self.min_seconds > self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds:g} is above max_seconds {self.max_seconds:g}")
        for key, value in self.body.items():
            if key in _OURS:
                raise ValueError(f"body cannot have the key {key!r}; diva-bench sets it")
            if not (value is None or isinstance(value, str | int | float)):
                raise ValueError(f"body.{key} must be text, a number, true, false or null: it is a field of a form")
        return self

    def identity(self) -> Json:
        """What it is asked for."""
        return self.model_dump(mode="json", exclude={"server"})


def _problem(url: str) -> str:
    """What is wrong with a base URL; "" if nothing is."""
    if len(url) > _LONGEST_URL or not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        return f"must have at most {_LONGEST_URL} visible ASCII characters"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "cannot be read as a URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "must begin with http:// or https:// and the name of a host"
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        return "must have no user, password, query or fragment; `key` names the variable of a key, `api_version` Azure's version"
    for end in ("/chat/completions", "/audio/transcriptions"):
        if parts.path.rstrip("/").endswith(end):
            return f"must end before {end}"
    return ""
