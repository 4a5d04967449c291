"""Fill the templates: every text from a run is made visible (printable.py) and then escaped, and a content security policy
in every page allows only the files of the report."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby
from typing import Any

import jinja2
from markupsafe import Markup

from diva_bench import __version__
from diva_bench.printable import visible
from diva_bench.report import aggregate
from diva_bench.report import published as cited
from diva_bench.report.ablation import SIGN
from diva_bench.report.ablation_grid import Part
from diva_bench.report.html import content
from diva_bench.report.html.content import Confusion, Details, Shown, TaskView
from diva_bench.report.html.output import Folder, Output, as_script, static
from diva_bench.report.html.samples import pages
from diva_bench.report.leaderboard import AT_CHANCE, MARKS
from diva_bench.runs.run import Runs
from diva_bench.specs import Json
from diva_bench.specs.published import published as cited_scores
from diva_bench.stats import FEW_NOTE, P_NOTE, RESAMPLES, SEED
from diva_bench.tables import Score, Table, write

SCRIPTS = ("core.js", "samples.js", "compare.js")
Body = tuple[str, str, str]
"""Key, title and HTML of a page, without its frame."""
_FIRST = 5
"""Models whose answers are shown at first."""


def _shown(value: Any) -> Any:
    """Every value of a template: text is made visible line by line; Jinja2 then escapes it."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(map(visible, value.split("\n")))
    return value


def place(value: float, low: float, high: float) -> float:
    """The place of a value on a scale, 2 to 98 of 100: dots at the ends stay whole."""
    share = (value - low) / (high - low) if high > low else 0.5
    return round(2 + 96 * min(max(share, 0.0), 1.0), 2)


def interval_text(score: Score, digits: int = 1) -> str:
    return write(replace(score, mark="", brief=False), digits).partition(" ")[2]


def value_text(score: Score, digits: int = 1) -> str:
    return write(replace(score, mark="", brief=True), digits)


def _groupby_run(columns: Iterable[Any], attribute: str) -> list[tuple[str, int]]:
    return [(name, len(list(some))) for name, some in groupby(columns, key=lambda one: getattr(one, attribute))]


@cache
def _environment() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("diva_bench.report.html"),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"commas": lambda n: f"{n:,}", "short": lambda v: f"{v:.3g}", "groupby_run": _groupby_run}
    env.globals |= {
        "place": place,
        "interval_text": interval_text,
        "value_text": value_text,
        "text": write,
        "is_score": lambda value: isinstance(value, Score),
        "is_number": lambda value: isinstance(value, int | float),
        "as_score": lambda pair: Score(pair["value"], pair["low"], pair["high"]),
        "marks": MARKS,
        "at_chance": AT_CHANCE,
        "significant": SIGN,
        "example": Score(60.0, 50.0, 70.0),
        "version": __version__,
        "resamples": f"{RESAMPLES:,}",
        "seed": SEED,
        "few_note": FEW_NOTE,
        "p_note": P_NOTE,
        "resampled": content.RESAMPLED,
    }
    env.globals["confusion"] = lambda name, matrix: Markup(
        env.get_template("confusion.html").render(name=name, matrix=matrix)
    )
    return env


def _sha(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(style: str = "", script: str = "", *, live: bool = False) -> str:
    """The content security policy: only files of the report, or only this style and script."""
    own = "'self'"
    parts = ["default-src 'none'", f"script-src {_sha(script) if script else own}"]
    parts += [f"style-src {_sha(style) if style else own}", "img-src 'self' data:", "media-src 'self' data:"]
    parts += [f"connect-src {own}"] if live else []
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])


class Pages:
    """Fills templates and hands the pages to an output."""

    def __init__(self, output: Output, views: Sequence[TaskView], *, live: bool) -> None:
        self._live, self._output, self._views = live, output, views
        self.bodies: list[Body] = []
        self._differences = False
        self._published = False

    def _render(self, template: str, key: str, **values: Any) -> str:
        root = "../" * key.count("/")

        def link(page: str, **fields: str) -> str:
            query = "&".join(f"{name}={value}" for name, value in fields.items())
            if self._output.single:
                return f"#/{page}" + (f"?{query}" if query else "")
            return f"{root}{page}.html" + (f"#{query}" if query else "")

        env = _environment()
        return env.get_template(template).render(link=link, root=root, key=key, **values)

    def _add(self, template: str, key: str, title: str, **values: Any) -> None:
        self.bodies.append((key, title, self._render(template, key, **values)))

    def task(self, view: TaskView, details: Details, columns: Mapping[str, Json], sound: bool) -> None:
        """The three pages of a task, and those of its runs."""
        low, high = _scale([one.main for one in view.runs if one.main], view.summary.baseline)
        low_pair, high_pair = _around_zero([Score(p["value"], p["low"], p["high"]) for p in details.pairs])
        meta = _meta(view, details, columns, sound)
        signatures = dict.fromkeys(t for one in view.runs for t in one.summary.signature.values())
        shared = {"view": view, "details": details, "meta": Markup(as_script(meta))}
        self._add(
            "task.html",
            f"tasks/{view.key}",
            view.title,
            **shared,
            low=low,
            high=high,
            tables=view.tables(),
            profile=_profile,
            signatures=list(signatures),
        )
        self._add("samples.html", f"samples/{view.key}", f"Samples of {view.title}", **shared)
        self._add(
            "compare.html",
            f"compare/{view.key}",
            f"Compare at {view.title}",
            **shared,
            pair_low=low_pair,
            pair_high=high_pair,
        )
        matrices = {one.key: matrix for one, matrix in details.confusions}
        for one in view.runs:
            self._run(view, one, matrices.get(one.key))

    def _run(self, view: TaskView, one: Shown, matrix: Confusion | None) -> None:
        self._add(
            "run.html",
            f"runs/{one.key}",
            f"{one.label} at {view.title}",
            view=view,
            one=one,
            matrix=matrix,
            metric_tables=content.metric_tables(one.run),
            group_table=content.group_table(one.run),
            provenance=content.provenance(one.run),
            training=content.training(one.run),
            failures=content.failures(one.run),
        )

    def differences(self, parts: Sequence[tuple[TaskView, Part]], base: str) -> None:
        """The page of differences from the base, if there are any."""
        tables = []
        for edition in dict.fromkeys(view.summary.edition for view, _ in parts):
            some = [part for view, part in parts if view.summary.edition == edition]
            if (t := content.ablation(some)) is not None:
                forest = content.forest(t)
                few = _few(some)
                low, high = _around_zero([row[2] for _, rows in forest for row in rows])
                tables.append((edition, t, forest, low, high, few))
        self._differences = bool(tables)
        notes = {view.summary.edition: view.captions for view, _ in parts}
        if tables:
            self._add(
                "differences.html", "differences", f"Differences from {base}", base=base, tables=tables, notes=notes
            )

    def published(self) -> None:
        """The page of scores that other sources report for the data of the report's tasks, if there are any."""
        summaries = [one.summary for view in self._views for one in view.runs]
        known = cited_scores()
        sets = cited.related(known, [s.task for s in summaries])
        self._published = bool(sets)
        if sets:
            self._add(
                "published.html",
                "published",
                "Reported elsewhere",
                tables=cited.tables(known, sets, summaries),
                beside=bool(cited.block(summaries)),
                short=lambda t: t.title.removeprefix(f"{cited.TITLE}: "),
            )

    def index(self, runs: Runs) -> None:
        summaries = [one.summary for view in self._views for one in view.runs]
        every = [one for view in self._views for one in view.runs]
        dates = {one.key: one.run.date[:16].replace("T", " ") for one in every}
        speeds = {one.key: speed.samples for one in every if (speed := one.run.speed)}
        self._add(
            "index.html",
            "index",
            "Leaderboard",
            boards=content.boards(self._views),
            mean_notes=aggregate.notes,
            cited=cited.at_a_glance(summaries),
            published=self._published,
            views=self._views,
            runs=runs,
            unreadable=runs.unreadable,
            models=len({s.label for s in summaries}),
            tasks=sorted({s.task for s in summaries}),
            labels=sorted({s.label for s in summaries}),
            editions=list(dict.fromkeys(s.edition for s in summaries)),
            dates=dates,
            speeds=speeds,
            latest=max(dates.values(), default="")[:10],
        )

    def close(self, notes: Sequence[str]) -> None:
        """Write all pages with their frame. `notes`: what was left out."""
        frame, output = _environment().get_template("site.html"), self._output
        common = {
            "views": self._views,
            "differences": self._differences,
            "published": self._published,
            "footer": list(notes),
        }
        if not isinstance(output, Folder):
            style, script = static("report.css"), "\n".join(static(name) for name in SCRIPTS)
            output.content = frame.render(
                **common,
                key="index",
                root="",
                title="Leaderboard - diva-bench",
                bodies=[
                    {"key": key, "title": title, "html": Markup(html)}
                    for key, title, html in sorted(self.bodies, key=lambda page: page[0] != "index")
                ],
                link=lambda page: f"#/{page}",
                single=True,
                policy=policy(style, script),
                live="",
                style=Markup(style),
                script=Markup(script),
                data=[(key, Markup(text)) for key, text in output.blocks.items()],
            ).encode()
            return
        output.file("assets/report.css", static("report.css").encode())
        for name in SCRIPTS:
            output.file(f"assets/{name}", static(name).encode())
        for key, title, html in self.bodies:
            root = "../" * key.count("/")
            text = frame.render(
                **common,
                key=key,
                root=root,
                title=f"{title} - diva-bench",
                bodies=[{"key": key, "title": title, "html": Markup(html)}],
                link=lambda page, root=root: f"{root}{page}.html",
                single=False,
                policy=policy(live=self._live),
                live="on" if self._live else "",
                scripts=SCRIPTS,
            )
            output.file(f"{key}.html", text.encode())


HEADERS = {
    "Content-Security-Policy": f"{policy(live=True)}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every page that a server sends."""


def _meta(view: TaskView, details: Details, columns: Mapping[str, Json], sound: bool) -> Json:
    """What the scripts of a task need before any data file."""
    question = view.question
    task = question.task
    return {
        "task": view.key,
        "title": view.title,
        "count": len(question.samples),
        "pages": pages(question),
        "metric": view.summary.primary,
        "rises": view.higher_is_better,
        "hidden": question.hidden,
        "sound": sound,
        "labels": bool(task and task.choices),
        "groups": {
            name: sorted(set(values), key=natural)
            for name, values in question.groups.items()
            if 1 < len(set(values)) <= 60
        },
        "first": _FIRST,
        "runs": [{"key": one.key, "label": one.label, **columns[one.key]} for one in view.runs],
        "pairs": list(details.pairs),
    }


def _scale(scores: Sequence[Score], baseline: float | None = None) -> tuple[float, float]:
    """The ends of an axis: 0 to 100 where all values fit, since scores are percentages; else what holds them."""
    values = [v for s in scores for v in (s.value, s.low, s.high) if v is not None] + ([baseline] if baseline else [])
    low, high = min([0.0, *values]), max(values, default=100.0)
    return math.floor(low), 100.0 if high <= 100 and high > 40 else math.ceil(high * 1.05) or 1.0


def _around_zero(scores: Sequence[Score]) -> tuple[float, float]:
    """The ends of a symmetric axis for differences."""
    most = max((abs(v) for s in scores for v in (s.value, s.low, s.high) if v is not None), default=1.0)
    return -(math.ceil(most) or 1), math.ceil(most) or 1


def natural(text: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers in a text by their value: "2 to 4 s" before "10 to 20 s"."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def _few(parts: Sequence[Part]) -> list[str]:
    """Tasks with too few clusters for their intervals, with the number of clusters."""
    found = [(part.block.task, d) for part in parts for d in part.differences if d is not None and d.few_clusters]
    return list(dict.fromkeys(f"{task} has {d.clusters}" for task, d in found))


def _profile(table: Table) -> Iterator[tuple[str, list[Any], float, float]]:
    """The table of scores by group as (group, rows, low, high); a row is (value, n, [(model, score)])."""
    names = [column.name for column in table.columns]
    models = [(i, name) for i, name in enumerate(names) if i > 3 and not (name == "difference" and i == len(names) - 1)]
    for group, some in groupby(table.rows, key=lambda row: row[0]):
        rows = [(row[1], row[2], [(name, row[i]) for i, name in models]) for row in some]
        scores = [score for _, _, cells in rows for _, score in cells if isinstance(score, Score)]
        yield (str(group), sorted(rows, key=lambda row: natural(str(row[0]))), *_scale(scores))
