"""What README.md and docs/ tell a reader to type exists: commands, options, links, paths, YAML, Python."""

from __future__ import annotations

import ast
import importlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from doc_pages import PAGES, ROOT, anchors, blocks, inline_code, name_of, prose, shell_commands

import diva_bench
from diva_bench.cli.main import app
from diva_bench.data.readers import READERS
from diva_bench.decoding.response import Answer
from diva_bench.diva.config import ABLATIONS, PRESETS, TrainConfig
from diva_bench.predictions import FORMATS
from diva_bench.runs.schemas import Summary, TaskRecord
from diva_bench.specs import (
    ROLES,
    AssetSpec,
    DataChange,
    DataSpec,
    Decode,
    ModelEdition,
    ModelFile,
    Runtime,
    Subset,
    TaskFile,
)
from diva_bench.specs.yamlfile import read_yaml
from diva_bench.study.spec import StudyFile
from diva_bench.testing import RULES

COMMANDS: Any = typer.main.get_command(app)
OF_OTHERS = {"--nproc-per-node", "--num_processes", "--multi_gpu", "--strict", "--check", "--help"}
"""Options of other programs that the pages name."""


def split(words: list[str]) -> tuple[str, Any, list[str]]:
    """(name, command, its words) of `run -m x` or `new task DIR`; AssertionError where there is no such command."""
    group, name = COMMANDS, "diva-bench"
    for at, word in enumerate(words):
        assert word in group.commands, f"there is no command {word!r} in {name}"
        group, name = group.commands[word], f"{name} {word}"
        if not hasattr(group, "commands"):
            return name, group, words[at + 1 :]
    return name, group, []


def options(command: Any) -> set[str]:
    return {name for p in command.params for name in (*p.opts, *p.secondary_opts) if name.startswith("-")} | {"--help"}


def problem(words: list[str]) -> str:
    """Why the command line refuses these words, "" where it takes them; nothing is run."""
    name, command, rest = split(words)
    if "--help" in rest:
        return ""
    try:
        command.make_context(name, list(rest))
    except Exception as err:  # of the command line itself; its class is private to typer
        return str(getattr(err, "message", "") or err)
    return ""


def diva_bench_words(words: list[str]) -> list[str]:
    """What follows `diva-bench`, or `-m diva_bench` of a launcher; [] where another program is called."""
    if words[0] == "diva-bench":
        return words[1:]
    return words[words.index("diva_bench") + 1 :] if "diva_bench" in words and words[0] == "torchrun" else []


def test_every_command_in_a_shell_block_is_one_that_the_command_line_takes() -> None:
    seen, wrong = 0, []
    for where, words in shell_commands():
        if ours := diva_bench_words(words):
            seen += 1
            wrong += [f"{where}: {said}"] if (said := problem(ours)) else []
    assert not wrong, "\n".join(wrong)
    assert seen > 40


def test_the_check_of_commands_sees_a_wrong_option_a_lacking_one_and_a_wrong_name() -> None:
    assert "--tusk" in problem(["run", "-m", "diva", "--tusk", "x"])
    assert problem(["run", "-m", "diva"]) == "Missing parameter: task"
    with pytest.raises(AssertionError, match="no command 'sing'"):
        problem(["sing"])


def test_every_command_and_option_in_the_text_exists() -> None:
    every = {option for command in (COMMANDS, *leaves(COMMANDS)) for option in options(command)} | OF_OTHERS
    wrong = []
    for page, code in inline_code():
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", code))
        known = every
        if re.match(r"diva-bench [a-z]", code):
            words = [word for word in code.split()[1:] if not word.startswith("-")]
            group = COMMANDS.commands.get(words[0])
            wrong += [] if group else [f"{page}: `{code}`: there is no such command"]
            known = options(group) | OF_OTHERS if group and not hasattr(group, "commands") else every
        wrong += [f"{page}: `{code}`: there is no option {name}" for name in sorted(named - known)]
    assert not wrong, "\n".join(wrong)


def leaves(group: Any) -> list[Any]:
    return [c for one in group.commands.values() for c in (leaves(one) if hasattr(one, "commands") else [one])]


def test_every_link_leads_somewhere() -> None:
    wrong = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            if re.match(r"https?://", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists():
                wrong.append(f"{name_of(page)}: {target}: there is no such file")
            elif anchor and anchor not in anchors(file):
                wrong.append(f"{name_of(page)}: {target}: there is no such heading")
            elif page.parent == ROOT / "docs" and not file.is_relative_to(ROOT / "docs"):
                wrong.append(f"{name_of(page)}: {target}: lies outside docs/, so the site has no such page")
    assert not wrong, "\n".join(wrong)


def test_every_path_of_the_project_in_the_text_exists() -> None:
    wrong = []
    for page, code in inline_code():
        match = re.fullmatch(r"((?:diva_bench|docs|tests|results|benchmarks|models|tasks)/[\w./-]*)(?::(\w+))?", code)
        if not match:
            continue
        path = ROOT / match[1]
        if not path.exists():
            wrong.append(f"{page}: {code}: there is no such file")
        elif match[2] and match[2] not in defined(path):
            wrong.append(f"{page}: {code}: the file defines no {match[2]}")
    assert not wrong, "\n".join(wrong)


def defined(path: Path) -> set[str]:
    """Functions and classes on the top level of a Python file."""
    tree = ast.parse(path.read_bytes())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.where)
def test_yaml_is_a_valid_task_model_weights_or_study_file(block: Any, tmp_path: Path) -> None:
    said = yaml.safe_load(block.text)
    if set(said) == {"scorers"}:  # a part of a task
        said = {"name": "t", "version": 1, "description": "d", "prompt": "p", "primary": "bleu", **said}
        said["editions"] = {"full": {"source": "jsonl"}}
    kinds = {"prompt": TaskFile, "files": AssetSpec, "consent": StudyFile}
    kind = next((kind for key, kind in kinds.items() if key in said), ModelFile)
    file = tmp_path / "spec.yaml"
    file.write_text(block.text if "name" in yaml.safe_load(block.text) else yaml.safe_dump(said), encoding="utf-8")
    assert read_yaml(file, kind)
    if kind is TaskFile:
        assert said["editions"]["full"]["source"] in READERS


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.where)
def test_python_compiles_and_its_names_exist(block: Any) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "diva_bench":
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "db":
            assert hasattr(diva_bench, node.attr), f"diva_bench has no {node.attr}"


def test_json_and_toml_can_be_read() -> None:
    for block in blocks("json"):
        assert json.loads(block.text)
    for block in blocks("toml"):
        assert tomllib.loads(block.text)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("tasks.md", {*TaskFile.model_fields, *Decode.model_fields, *Subset.model_fields}),
        ("tasks.md", {*DataSpec.model_fields, *DataChange.model_fields, *ROLES}),
        ("tasks.md", {*READERS, *FORMATS}),
        ("models.md", {*ModelFile.model_fields, *ModelEdition.model_fields, *Runtime.model_fields}),
        ("models.md", {name for name in AssetSpec.model_fields if name not in ("files", "description", "licence")}),
        ("results-format.md", {field.alias or name for name, field in Summary.model_fields.items()}),
        ("results-format.md", {field.alias or name for name, field in TaskRecord.model_fields.items()}),
        ("results-format.md", set(Answer.__annotations__)),
        ("models.md", {name for name in RULES if " " not in name}),
        ("training.md", {*PRESETS, *ABLATIONS}),
    ],
)
def test_a_page_explains_every_key(page: str, names: set[str]) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    told = set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`\n]+)`", text))))
    assert not names - told, f"docs/{page} says nothing of {', '.join(sorted(names - told))}"


def test_settings_of_training_that_the_page_names_exist() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+)=\w+`", text)) | set(re.findall(r"--set ([a-z_]+)=", text))
    assert named
    assert not named - set(TrainConfig.__dataclass_fields__)


def test_the_page_of_python_has_every_exported_name_and_none_that_does_not_exist() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for name, members in re.findall(r"^::: ([\w.]+)\n(?: +options:\n +members: \[(.*)\])?", text, re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        found = importlib.import_module(name) if name == "diva_bench.types" else importlib.import_module(module)
        found = found if name == "diva_bench.types" else getattr(found, attribute)
        fields = getattr(found, "__annotations__", {})
        assert all(hasattr(found, m) or m in fields for m in members.split(", ") if m), name
    assert not {name for name in diva_bench.__all__ if name not in text and not name.startswith("__")}
