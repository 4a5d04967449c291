"""The design's arrows: imports run down the layers, in no circle, and light modules stay light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = (  # lowest first; "x.*" is the package x and all in it
    ("", "errors", "types", "text", "textfile", "disk", "packed", "printable", "tables", "provenance"),
    ("specs.*", "stats.*", "audio.*", "decoding.*"),
    ("weights.*", "diva.*", "server.*", "testing"),
    ("data.*", "scorers.*", "adapters.*"),
    ("catalog",),
    ("predictions.*",),
    ("runs.*", "training.*"),
    ("evaluation.*",),
    ("report.*", "study.*"),
    ("api",),
    ("cli.*", "__main__"),
)


def modules(package: Path) -> dict[str, Path]:
    """Name below the package -> file; a package's `__init__` is the package's own name, "" for the outermost."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: Mapping[str, Path], package: str = "diva_bench") -> Iterator[tuple[str, int]]:
    """(module of the package, line) for every import in a file, wherever in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not name:  # the door: it imports for type checkers alone; what it offers comes by __getattr__
        tree.body = [node for node in tree.body if not _is_for_types(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise AssertionError(f"{path}:{node.lineno}: relative import; write it in full")
            wanted = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for full in wanted:
            if full.split(".")[0] == package:
                inner = full.removeprefix(package).removeprefix(".")
                while inner and inner not in known:  # a name inside a module
                    inner = inner.rpartition(".")[0]
                if inner != name:
                    yield inner, node.lineno


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def level(name: str) -> int | None:
    for height, entries in enumerate(LEVELS):
        for entry in entries:
            if name == entry or (entry.endswith(".*") and f"{name}.".startswith(entry[:-1])):
                return height
    return None


def faults(package: Path) -> list[str]:
    """What breaks the layers, in words."""
    known = modules(package)
    problems = [
        f"{name}: has no level; give it one in LEVELS of {Path(__file__).name}" for name in known if level(name) is None
    ]
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for target, line in imports(name, path, known):
            graph[name].add(target)
            low, high = level(name), level(target)
            if low is not None and high is not None and high > low:
                problems.append(f"{path.name}:{line}: {name} imports {target}, which is above it")
    of_modules = circles(graph)
    problems += [f"circle: {' -> '.join(circle)}" for circle in of_modules]
    of_packages = (circle for circle in circles(_packages(graph)) if circle not in of_modules)
    return problems + [f"circle of packages: {' -> '.join(circle)}" for circle in of_packages]


def _packages(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same arrows between the packages and modules that stand on the top floor."""
    found: dict[str, set[str]] = {}
    for name, targets in graph.items():
        top = name.split(".")[0]
        found.setdefault(top, set()).update(outer for target in targets if (outer := target.split(".")[0]) != top)
    return found


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """One circle for every import that closes one."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            found.append([*way[way.index(name) :], name])
        elif name not in done:
            for target in sorted(graph[name]):
                visit(target, [*way, name])
            done.add(name)

    for name in graph:
        visit(name, [])
    return found


def test_imports_run_down_and_in_no_circle() -> None:
    assert faults(ROOT / "diva_bench") == []


def test_the_check_sees_arrows_up_circles_strangers_and_local_imports(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "errors.py").write_text("def f():\n    from diva_bench.evaluation import go\n")
    (tmp_path / "evaluation.py").write_text("import diva_bench.errors\n")
    (tmp_path / "helpers.py").write_text("import json\n")
    assert faults(tmp_path) == [
        f"helpers: has no level; give it one in LEVELS of {Path(__file__).name}",
        "errors.py:2: errors imports evaluation, which is above it",
        "circle: errors -> evaluation -> errors",
    ]


def test_the_check_sees_packages_that_import_each_other(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("")
    for name, target in [("specs/a", "stats.b"), ("stats/b", "errors"), ("stats/c", "specs.d"), ("specs/d", "errors")]:
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"import diva_bench.{target}\n")
    (tmp_path / "errors.py").write_text("")
    assert faults(tmp_path) == ["circle of packages: specs -> stats -> specs"]


def test_every_dependency_has_a_use_and_the_heavy_ones_are_imported_where_they_are_called() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    wanted = {_MODULES.get(name, name.replace("-", "_")) for line in declared if (name := re.split(r"[^\w-]", line)[0])}
    anywhere: set[str] = set()
    at_once: set[str] = set()
    for path in modules(ROOT / "diva_bench").values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        anywhere |= _outer(ast.walk(tree))
        at_once |= _outer(tree.body)
    assert wanted <= anywhere
    assert not at_once & {"pandas", "datasets", "evaluate"}


_MODULES = {"PyYAML": "yaml"}


def _outer(nodes: Iterable[ast.AST]) -> set[str]:
    """The packages that some statements import."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_one_module_asks_models() -> None:
    """Whoever asks an adapter, asks by `generate.generate`, so that all have one policy for what goes wrong. Only the check of
    the contract looks at what goes wrong."""
    asking = re.compile(r"\badapter\.generate\(")
    found = [name for name, path in modules(ROOT / "diva_bench").items() if asking.search(path.read_text("utf-8"))]
    assert found == ["decoding.generate", "testing"]


def test_no_module_has_a_name_that_says_nothing_or_that_hides_the_shipped_yaml() -> None:
    parts = {part for name in modules(ROOT / "diva_bench") for part in name.split(".")}
    assert not parts & {"models", "tasks", "utils", "common", "helpers", "base", "manager"}


@pytest.mark.parametrize("module", ["diva_bench", "diva_bench.specs", "diva_bench.catalog", "diva_bench.cli.main"])
def test_a_light_module_does_not_import_the_heavy_libraries(module: str) -> None:
    heavy = ("torch", "transformers", "datasets", "evaluate", "pandas")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
