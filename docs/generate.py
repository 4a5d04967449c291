"""Write the generated pages of docs/: `python docs/generate.py`. A test compares them with what this script makes now."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COMMAND = "git add --all && python docs/generate.py"
"""What makes the pages true again. `git add` comes first, since only files that git tracks are listed."""

FOLDERS = {
    "results/mini/": "published runs of the mini edition, one folder per task and model",
    "results/nano/": "records, scores and tables of the training ablations at the smallest size; `README.md` explains them",
    "tasks/mini/": "the mini data: texts, clips, and the script that made them; `README.md` describes them",
    "tests/plugin_pkg/": "a complete plugin package, which a test installs",
}
"""Folders that get one line instead of one line for each file."""

OTHERS = {
    ".ci/run": "the checks of continuous integration: tests, lint, types",
    ".gitignore": "files that git ignores",
    "CITATION.cff": "how to cite diva-bench and the DiVA paper",
    "LICENSE": "Apache-2.0",
    "README.md": "what diva-bench is, how to install it, and the first commands",
    "constraints.txt": "the exact versions of all dependencies",
    "diva_bench/py.typed": "marks the package as typed",
    "models/diva-mini/config.json": "sizes of the mini connector, and fingerprints of the models it was trained between",
    "models/diva-mini/connector.safetensors": "weights of the mini connector, stored as int8 rows",
    "models/diva-mini/training.json": "training record of the mini connector: hashes of the data, curve, scores",
    "models/diva-nano/config.json": "sizes of the nano connector, and fingerprints of the models it was trained between",
    "models/diva-nano/connector.safetensors": "weights of the nano connector, stored as int8 rows",
    "models/diva-nano/training.json": "training record of the nano connector: hashes of the data, curve, scores",
    "mkdocs.yml": "settings of the documentation site",
    "pyproject.toml": "the package, its dependencies, and the settings of its tools",
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
    return re.split(r"(?<=[^.][a-z0-9)`\"\]])\. (?=[A-Z`])", paragraph)[0].rstrip(".")


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
    if name.startswith("benchmarks/") and path.suffix == ".txt":
        return f"output of `{path.stem}.py`, with machine and date"
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


def pages() -> dict[str, str]:
    """All generated pages: name below docs/ -> text.

    Raises:
        SystemExit: A file says nowhere what it is; the message lists all such files.
    """
    text, missing = files_page(tracked_files())
    if missing:
        raise SystemExit(
            "These files say nowhere what they are. Give each a module docstring (Python), a `description` (YAML), a "
            "title (Markdown) or a line in OTHERS of docs/generate.py:\n" + "\n".join(missing)
        )
    return {"files.md": text}


def main() -> None:
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        print(f"wrote docs/{name}", file=sys.stderr)


if __name__ == "__main__":
    main()
