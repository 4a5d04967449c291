"""The line of raters whose questions models answer: one question at a time, first come, first served.

What is in the line is not stored. After a crash the page asks the rater to send the question again; votes are not affected.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diva_bench import audio
from diva_bench.errors import ClipError, DivaBenchError
from diva_bench.server.completions import wav
from diva_bench.study import recording
from diva_bench.study.answering import Systems
from diva_bench.study.assignment import Assignment
from diva_bench.study.store import Keep, Store
from diva_bench.types import Audio, Sample

LONGEST = 200
"""Questions in line."""
_MEMORY = 100_000_000  # bytes of recordings that raters can still hear, whatever is kept
_LOG = logging.getLogger("diva_bench")


@dataclass(frozen=True, slots=True)
class Question:
    """A question in line.

    Attributes:
        asked: The assignment.
        sample: Of the task; None: the rater recorded it.
        read: Gives the sound; raises ClipError.
        keep: The rater agreed that the recording is kept.
    """

    asked: Assignment
    sample: Sample | None
    read: Callable[[], Audio]
    keep: bool = False


class Line:
    """Questions in line, and a thread that has them answered.

    Args:
        store: Gets answers and failures.
        systems: The models, loaded.
        folder: Of kept recordings.
    """

    def __init__(self, store: Store, systems: Systems, folder: Path) -> None:
        self._store, self._systems, self._folder = store, systems, folder
        self._waiting: deque[Question] = deque()
        self._now: str | None = None
        self._change = threading.Condition()
        self._clips: OrderedDict[str, bytes] = OrderedDict()
        threading.Thread(target=self._work, daemon=True).start()

    def put(self, question: Question) -> bool:
        """Put a question at the end; one that is in line stays at its place. Returns False if the line is full."""
        with self._change:
            if not self._place(question.asked.id):
                if len(self._waiting) >= LONGEST:
                    return False
                self._waiting.append(question)
                self._change.notify()
            return True

    def place(self, id: str) -> int:
        """Place of an assignment in line; 1: it is being answered, 0: it is not in line."""
        with self._change:
            return self._place(id)

    def _place(self, id: str) -> int:
        if id == self._now:
            return 1
        ids = [question.asked.id for question in self._waiting]
        return ids.index(id) + 1 + (self._now is not None) if id in ids else 0

    def clip(self, item: str) -> bytes | None:
        """The recording of an item as WAV, while it is in memory."""
        with self._change:
            return self._clips.get(item)

    def forget(self, item: str) -> None:
        """Take a recording out of memory, because its rater has voted or has withdrawn."""
        with self._change:
            self._clips.pop(item, None)

    def _remember(self, item: str, content: bytes) -> None:
        with self._change:
            self._clips[item] = content
            while sum(map(len, self._clips.values())) > _MEMORY:
                self._clips.popitem(last=False)

    def _work(self) -> None:
        while True:
            with self._change:
                self._now = None
                self._change.wait_for(lambda: self._waiting)
                question = self._waiting.popleft()
                self._now = question.asked.id
            try:
                self._answer(question)
            except DivaBenchError as err:
                _LOG.warning("study: no answer was stored: %s", err)
            except Exception:  # the line goes on, whatever is wrong with one question
                _LOG.exception("study: no answer was stored")

    def _answer(self, question: Question) -> None:
        asked = question.asked
        try:
            sound = question.read()
        except ClipError as err:
            self._failed(asked, dict.fromkeys(asked.shown, f"the clip {err}"))
            return
        found = self._systems.ask(asked.shown, asked.item, question.sample, sound)
        if reasons := {system: r.detail for system, r in found.items() if r.status != "ok"}:
            self._failed(asked, reasons)
            return
        content, own = wav(sound), question.sample is None
        keep = Keep(sound.seconds, partial(self._write, content)) if question.keep else None
        answers = {system: response.text for system, response in found.items()}
        if self._store.answered(asked.id, answers, self._systems.versions, own=own, keep=keep) and own:
            self._remember(asked.item, content)

    def _write(self, content: bytes, name: str) -> None:
        recording.store(self._folder, name, content)

    def _failed(self, asked: Assignment, reasons: dict[str, str]) -> None:
        for system, reason in reasons.items():
            _LOG.warning("study: %s gave no answer to %s: %s", system, asked.item, reason)
        self._store.failed(asked.id, reasons)


def decoded(read: Callable[[], bytes]) -> Audio:
    """The sound of a clip of a task."""
    return audio.decode(read())
