"""Progress in the terminal: live bars, or a line every 15 seconds if stderr is not a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from diva_bench import printable
from diva_bench.printable import duration
from diva_bench.types import Bar

T = TypeVar("T")

_QUIET = 1.0  # seconds; shorter work prints nothing
_EVERY = 15.0  # seconds between plain lines
_SMALL = 0.15  # a first part that is less of the total says nothing about the others


class Terminal:
    """A `diva_bench.types.Progress` for the terminal. Bars go to stderr, so that stdout has only the results."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterable[T]:
        with self.bar(label, total) as bar:
            for item in items:
                yield item
                bar.advance(1)

    def bar(self, label: str, total: float | None, unit: str = "items", done: float = 0) -> Bar:
        label = printable.visible(label)
        if self.console.is_terminal:
            return _Live(self.console, label, total, unit, done)
        return _Plain(label, total, unit, done)

    def note(self, message: str) -> None:
        self.console.print(printable.message(message), markup=False, soft_wrap=not self.console.is_terminal)


def amount(value: float, unit: str) -> str:
    """1234567, "bytes" -> "1.2 MB"; 12, "samples" -> "12"; 0.0432, "samples" -> "0.04"."""
    if unit != "bytes":
        return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.{1 if value >= 0.1 else 2}f}"
    for name in ("B", "kB", "MB"):
        if abs(value) < 1000:
            return f"{value:.0f} {name}" if name != "MB" else f"{value:.1f} {name}"
        value /= 1000
    return f"{value:.2f} GB"


class _Pace:
    """The time that is left, by the speed up to the last complete part of the work. In a batch, most answers are ready near
    its end, so the speed inside it says nothing: the first of 48 answers came after 4 minutes, and all after 7."""

    def __init__(self, total: float | None, done: float) -> None:
        self.done, self._total = done, total
        self.began = time.monotonic()
        self._first = self._last = (done, self.began)  # what was complete then; the speed is that between the two

    def advance(self, amount: float, inside: bool) -> None:
        self.done += amount
        if inside:
            return
        small = self._last == self._first and self.done - self._first[0] < _SMALL * (self._total or 0)
        self._last = self.done, time.monotonic()
        if small and self._first[1] == self.began:  # the first of many items has the time to load what all of them need
            self._first = self._last

    def left(self) -> str:
        """As text; "" while it is unknown."""
        (before, began), (complete, then) = self._first, self._last
        if not self._total or complete <= before:
            return ""
        seconds = (self._total - complete) * (then - began) / (complete - before) - (time.monotonic() - then)
        return f"{duration(max(seconds, 0))} left" if self.done < self._total else ""


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["pace"].left())


class _Count(ProgressColumn):
    """31/48 2.1 samples/s."""

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        done = amount(task.completed, unit)
        count = done if task.total is None else f"{done}/{amount(task.total, unit)}"
        speed = task.finished_speed or task.speed
        rate = f" {amount(speed, unit)}{'' if unit == 'bytes' else ' ' + unit}/s" if speed else ""
        return Text(count + rate)


class _Live:
    def __init__(self, console: Console, label: str, total: float | None, unit: str, done: float) -> None:
        self._label = label
        self._rich = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            _Count(),
            _Left(),
            console=console,
            transient=True,
            speed_estimate_period=120,
        )
        self._pace = _Pace(total, done)
        self._task: TaskID = self._rich.add_task(label, total=total, unit=unit, pace=self._pace)
        self._rich.update(self._task, completed=done)

    def __enter__(self) -> Bar:
        self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rich.stop()

    def advance(self, amount: float = 1, text: str = "", inside: bool = False) -> None:
        self._pace.advance(amount, inside)
        self._rich.update(
            self._task, advance=amount, description=f"{self._label} {printable.visible(text)}" if text else self._label
        )


class _Plain:
    """For logs: a line at the start of long work, one every 15 s, and one at the end."""

    def __init__(self, label: str, total: float | None, unit: str, done: float) -> None:
        self._label, self._total, self._unit, self._start = label, total, unit, done
        self._pace = _Pace(total, done)
        self._last_report = self._pace.began
        self._spoke, self._news = False, ""

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if time.monotonic() - self._pace.began > _QUIET:
            self._say("stopped" if error else "done")

    def advance(self, amount: float = 1, text: str = "", inside: bool = False) -> None:
        self._pace.advance(amount, inside)
        self._news = printable.visible(text)
        now = time.monotonic()
        if now - self._last_report >= (_EVERY if self._spoke else _QUIET):
            self._last_report, self._spoke = now, True
            self._say("")

    def _say(self, end: str) -> None:
        spent = max(time.monotonic() - self._pace.began, 1e-6)
        rate = (self._pace.done - self._start) / spent
        count = amount(self._pace.done, self._unit) + (f"/{amount(self._total, self._unit)}" if self._total else "")
        speed = f"{amount(rate, self._unit)}{'' if self._unit == 'bytes' else ' ' + self._unit}/s"
        last = f"{end} after {duration(spent)}" if end else self._pace.left()
        parts = [count, *([speed] if rate else []), *([self._news] if self._news else []), *([last] if last else [])]
        print(f"{self._label}: {', '.join(parts)}", file=sys.stderr, flush=True)
