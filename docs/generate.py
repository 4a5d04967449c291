"""Write the generated pages of docs/ and results/: `python docs/generate.py`. A test compares them with what it makes now."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml

from diva_bench.cli.main import app
from diva_bench.scorers import METRICS

ROOT = Path(__file__).parents[1]
COMMAND = "git add --all && python docs/generate.py"
"""What makes the pages true again. `git add` comes first, since only files that git tracks are listed."""

FOLDERS = {
    "docs/pictures/": "screenshots of pages, and plots of published runs",
    "diva_bench/report/html/static/": "style sheet and scripts of the report page",
    "diva_bench/study/page/": "the page of a preference study: HTML, style sheet, script",
    "diva_bench/report/html/templates/": "Jinja2 templates of the report page",
    "results/languages/": "published runs of the mini tasks in ten languages",
    "results/mini/": "connector evaluations of the mini models, and published runs of the mini edition",
    "results/mini-v1/": "published runs of the edition mini-v1, one folder per task and model",
    "results/nano/": "records, scores and tables of the training ablations at the smallest size; `README.md` explains them",
    "tasks/mini/": "the mini data: texts, clips, and the script that made them; `README.md` describes them",
    "tasks/mini-v1/": "the first version of the mini data, 48 clips per task",
    "tasks/mini-languages/": "the mini data in ten languages other than English",
    "tests/plugin_pkg/": "a complete plugin package, which a test installs",
}
"""Folders that get one line instead of one line for each file."""

OTHERS = {
    ".ci/run": "the checks of continuous integration: tests, lint, types",
    ".gitignore": "files that git ignores",
    "CITATION.cff": "how to cite diva-bench and the DiVA paper",
    "CHANGELOG.md": "what changed for people who use diva-bench",
    "LICENSE": "Apache-2.0",
    "README.md": "what diva-bench is, how to install it, and the first commands",
    "benchmarks/peers/lmms_side/tasks/clips.yaml": "the clips as a task of lmms-eval",
    "constraints.txt": "the exact versions of all dependencies",
    "diva_bench/py.typed": "marks the package as typed",
    "models/diva-mini/config.json": "sizes of the mini connector, and fingerprints of the models it was trained between",
    "models/diva-mini/connector.safetensors": "weights of the mini connector, stored as int8 rows",
    "models/diva-mini/training.json": "training record of the mini connector: hashes of the data, curve, scores",
    "models/diva-nano/config.json": "sizes of the nano connector, and fingerprints of the models it was trained between",
    "models/diva-nano/connector.safetensors": "weights of the nano connector, stored as int8 rows",
    "models/diva-nano/training.json": "training record of the nano connector: hashes of the data, curve, scores",
    "models/diva-nano-time/config.json": "sizes of the nano connector with time queries, and fingerprints of the models",
    "models/diva-nano-time/connector.safetensors": "weights of the nano connector with time queries, stored as int8 rows",
    "models/diva-nano-time/training.json": "training record of the nano connector with time queries: data, curve, scores",
    "mkdocs.yml": "settings of the documentation site",
    "diva_bench/study/schema.sql": "the tables of a preference study",
    "docs/quickstart.ipynb": "the Python interface in a notebook, which a test runs",
    "docs/style.css": "widths of the documentation site",
    "pyproject.toml": "the package, its dependencies, and the settings of its tools",
    "results/published.yaml": "scores and training costs that other sources report, each with its source",
    "tests/golden_training.json": "losses of twenty training steps that a test compares exactly",
}
"""Files of which neither a docstring, a `description` nor a title says what they are."""


def tracked_files() -> list[str]:
    """Paths of all files that git tracks, relative to the root, sorted.

    Raises:
        OSError, subprocess.CalledProcessError: There is no git, or this is no git checkout.
    """
    done = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True)
    return sorted(name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line and without its full stop."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=[^.][a-z0-9)`\"\]])\. (?=[A-Z`])", paragraph)[0]
    return sentence if sentence.endswith("...") else sentence.removesuffix(".")


def describe(name: str) -> str | None:
    """One line about a file, or None where nothing describes it."""
    path = ROOT / name
    if name in OTHERS:
        return OTHERS[name]
    if path.suffix == ".py":
        docstring = ast.get_docstring(ast.parse(path.read_bytes()))
        return first_sentence(docstring) if docstring else None
    if path.suffix == ".yaml":
        said = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("description")
        return first_sentence(str(said)) if said else None
    if path.suffix == ".md":
        title = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        return title[1] if title else None
    if name.startswith("benchmarks/") and path.suffix in (".txt", ".json"):
        script = (
            path.with_suffix(".py") if path.with_suffix(".py").is_file() else path.parent / f"{path.parent.name}.py"
        )
        return f"output of `{script.name}`, with machine and date"
    return None


def files_page(names: list[str]) -> tuple[str, list[str]]:
    """docs/files.md, and the files that nothing describes.

    Args:
        names: Paths relative to the root. Empty files get no line.
    """
    sections: dict[str, list[str]] = {}
    missing: list[str] = []
    for folder, line in FOLDERS.items():
        if any(name.startswith(folder) for name in names):
            sections.setdefault(str(Path(folder).parent), []).append(f"| `{folder}` | {line} |")
    for name in names:
        if name.startswith(tuple(FOLDERS)) or not (ROOT / name).stat().st_size:
            continue
        line = describe(name)
        if line is None:
            missing.append(name)
            continue
        parent, base = name.rpartition("/")[::2]
        sections.setdefault(parent or ".", []).append(f"| `{base}` | {line.replace('|', chr(92) + '|')} |")
    out = ["# Files", "", "One line for every file. `python docs/generate.py` writes this page from the docstrings of"]
    out += ["modules, the `description` of YAML files and the titles of Markdown files."]
    for folder in sorted(sections):
        title = "The root folder" if folder == "." else f"`{folder}/`"
        out += ["", f"## {title}", "", "| file | what it is |", "| --- | --- |", *sorted(sections[folder])]
    return "\n".join(out) + "\n", missing


# ---------------------------------------------------------------- commands


def commands(group: Any = None, name: str = "diva-bench") -> Iterator[tuple[str, Any]]:
    """(full name, command) of every command of the command line, those of groups such as `new` included."""
    group = group or typer.main.get_command(app)
    for short, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {short}")
        else:
            yield f"{name} {short}", command


def commands_page() -> str:
    """docs/command-line.md: every command with its arguments and options."""
    every = list(commands())
    out = ["# Command line", "", "Every command and every option. `python docs/generate.py` writes this page from the"]
    out += ["command line itself. `diva-bench COMMAND --help` prints the same text.", ""]
    out += [
        "Exit codes: 0, every sample was answered; 1, something failed or was faulty, and the output says what; 2, the"
    ]
    out += ["command or a file has a mistake, and nothing was lost.", "", "| command | what it does |", "| --- | --- |"]
    for name, command in every:
        short = name.removeprefix("diva-bench ")
        out.append(f"| [`{short}`](#{name.replace(' ', '-')}) | {_cell(first_sentence(command.help or ''))} |")
    out += ["", "Without a command:", "", "| option | value | meaning |", "| --- | --- | --- |"]
    out += [_row(p) for p in typer.main.get_command(app).params if not p.hidden]
    for name, command in every:
        out += ["", f"## {name}", "", *_command(name, command)]
    return "\n".join(out) + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    options = [p for p in command.params if p.opts[0].startswith("-") and not p.hidden]
    yield " ".join((command.help or "").split())
    for kind, parameters in (("argument", arguments), ("option", options)):
        if parameters:
            yield from ("", f"| {kind} | value | meaning |", "| --- | --- | --- |")
            yield from (_row(p) for p in parameters)


def _row(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    if not parameter.opts[0].startswith("-"):
        names = [(parameter.metavar or parameter.name).upper().strip("[]")]
    meaning = [parameter.help or ""]
    meaning += ["Required."] if parameter.required else []
    if parameter.default not in (None, False, [], ()) and not getattr(parameter, "is_flag", False):
        meaning.append(f"Default: `{parameter.default}`.")
    shown = ", ".join(f"`{name}`" for name in names)
    return f"| {shown} | {_cell(_value(parameter))} | {_cell(' '.join(part for part in meaning if part))} |"


def _value(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return ""
    kind = parameter.type_descriptor.annotation
    several = getattr(kind, "__origin__", None) is list
    if several:
        kind = kind.__args__[0]
    # sorted: typing takes two Literals of the same values for one, and keeps the order of whichever came first
    allowed = sorted(getattr(kind, "__args__", ()))
    names = {Path: "PATH", int: "INTEGER", float: "NUMBER", str: "TEXT"}
    shown = parameter.metavar if parameter.opts[0].startswith("-") else None
    shown = shown or (", ".join(f"`{value}`" for value in allowed) if allowed else names.get(kind, "TEXT"))
    return f"{shown}; repeatable" if several else str(shown)


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", chr(92) + "|").replace("<", "&lt;")


# ---------------------------------------------------------------- metrics


def metrics_table() -> str:
    """Every metric of the built-in scorers, for docs/metrics.md."""
    rows = [f"| `{m.scorer}` | `{m.name}` | {m.range} | {m.better} | {_cell(m.meaning)} | {m.needs} |" for m in METRICS]
    head = ["| scorer | metric | range | better | meaning | needs |", "| --- | --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *rows])


def with_section(text: str, name: str, section: str) -> str:
    """`text` with what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->` replaced."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    before, found, rest = text.partition(begin)
    if not found or end not in rest:
        raise SystemExit(f"there is no section {begin.strip()} ... {end}")
    return f"{before}{begin}\n{section}\n\n{end}{rest.partition(end)[2]}"


# ---------------------------------------------------------------- results and layers


def scores_table() -> str:
    """Primary scores of the published mini runs, for README.md: one row per task, one column per model.

    Only whole runs of mini models count.

    Raises:
        SystemExit: A model has two such runs of one task.
    """
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted((ROOT / "results" / "mini-v1").glob("*/*/summary.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        whole = run["complete"] and run["limit"] is None and not run.get("variant") and not run.get("audio")
        if whole and run["model_edition"] in ("mini", None):
            other = rows.setdefault(run["task"], {}).setdefault(run["model"], run)
            if other is not run:
                raise SystemExit(
                    f"results/mini-v1 has two whole runs of {run['model']} on {run['task']}. Remove one of them."
                )
    out = ["| task | metric | n | `oracle` | `cascade` | `diva` | best audio-blind baseline |"]
    out += ["| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for task, runs in sorted(rows.items()):
        cells = [_score(runs.get(model)) for model in ("oracle", "cascade", "diva")]
        one = next(iter(runs.values()))
        blind = f"{one['baseline']:.1f} ({one['baseline_of']})" if one["baseline"] is not None else "-"
        out.append(f"| {task} | {one['primary']} | {one['n']} | {' | '.join(cells)} | {blind} |")
    few = {task: one["clusters"] for task, runs in sorted(rows.items()) for one in [next(iter(runs.values()))]}
    notes = [
        f"{task} has {count} clusters, too few for a reliable interval." for task, count in few.items() if count < 20
    ]
    return "\n".join([*out, *([""] if notes else []), *notes])


def _score(run: dict[str, Any] | None) -> str:
    if run is None:
        return "-"
    found = run["metrics"][run["primary"]]
    mark = "\\* " if run["at_chance"] else ""
    return f"{mark}{found['value']:.1f} [{found['low']:.1f}, {found['high']:.1f}]"


def layers_table() -> str:
    """The layers of the package, the top one first, as tests/test_layers.py checks them."""
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text(encoding="utf-8"))
    levels = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "LEVELS"
    )
    out = ["| layer | modules and packages of `diva_bench` |", "| ---: | --- |"]
    for number, names in reversed(list(enumerate(levels, start=1))):
        shown = ", ".join(f"`{name.removesuffix('.*')}`" if name else "`__init__`" for name in names)
        out.append(f"| {number} | {shown} |")
    return "\n".join(out)


# ---------------------------------------------------------------- published tables


def leaderboard_page() -> str:
    """results/LEADERBOARD.md: what `diva-bench leaderboard FOLDER --format md` prints for each edition."""
    from diva_bench.cli.results import leaderboard_command

    parts = []
    for edition in ("mini", "mini-v1"):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            leaderboard_command(ROOT / "results" / edition, [], "md")
        page = out.getvalue().replace("`diva-bench leaderboard ", f"`diva-bench leaderboard results/{edition} ", 1)
        parts.append(page.replace("# Leaderboard\n", f"# Leaderboard, {edition}\n", 1))
    return "\n".join(parts)


def languages_page() -> str:
    """results/languages/GAPS.md: what `diva-bench trio results/languages --by language --format md` prints."""
    from diva_bench.cli.compare import gap_attribution_command

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        folder = ROOT / "results" / "languages"
        gap_attribution_command(folder, "oracle", "cascade", ["diva"], [], "md", [], by="language")
    head = "<!-- Generated by `diva-bench trio results/languages --by language --format md`. Do not edit. -->"
    return f"{head}\n\n# Ten languages: where answers are lost\n\n{out.getvalue()}"


def trainings_page() -> str:
    """results/nano/TRAINING.md: the ablations of training, from their records."""
    nano = ROOT / "results" / "nano"
    words = [sys.executable, ROOT / "benchmarks" / "ablations.py", nano / "training", nano / "probe.json"]
    return subprocess.run(words, capture_output=True, text=True, check=True, encoding="utf-8").stdout


# ---------------------------------------------------------------- all


def pages() -> dict[str, str]:
    """All generated pages, and pages with a generated section: path -> text.

    Raises:
        SystemExit: A file says nowhere what it is; the message lists all such files.
    """
    text, missing = files_page(tracked_files())
    if missing:
        raise SystemExit(
            "These files say nowhere what they are. Give each a module docstring (Python), a `description` (YAML), a "
            "title (Markdown) or a line in OTHERS of docs/generate.py:\n" + "\n".join(missing)
        )
    sections = {
        "docs/metrics.md": ("metrics", metrics_table()),
        "docs/architecture.md": ("layers", layers_table()),
        "README.md": ("results", scores_table()),
    }
    whole = {
        "docs/files.md": text,
        "docs/command-line.md": commands_page(),
        "results/LEADERBOARD.md": leaderboard_page(),
        "results/languages/GAPS.md": languages_page(),
        "results/nano/TRAINING.md": trainings_page(),
    }
    return whole | {
        name: with_section((ROOT / name).read_text(encoding="utf-8"), *section) for name, section in sections.items()
    }


def main() -> None:
    for name, text in pages().items():
        if not (ROOT / name).exists() or (ROOT / name).read_text(encoding="utf-8") != text:
            (ROOT / name).write_text(text, encoding="utf-8")
            print(f"wrote {name}", file=sys.stderr)


if __name__ == "__main__":
    main()
