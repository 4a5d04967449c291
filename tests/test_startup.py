"""Which libraries a command loads. A command that computes nothing must not load what computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import make_llm

from diva_bench.adapters import BUILTIN, DECLARED
from diva_bench.catalog import Catalog, class_of
from diva_bench.decoding import chat
from diva_bench.specs.spec_file import builtin_folder

PUBLISHED = str(builtin_folder() / "results" / "mini-v1")
_LISTS = {"torch", "transformers", "datasets", "pandas", "pyarrow", "scipy", "numpy", "soundfile", "sacrebleu", "MeCab"}
_RUNS = _LISTS - {"numpy", "scipy", "soundfile", "sacrebleu", "MeCab"} | {"scipy.special", "py3langid"}
_NEW_RUN = ["run", "-m", "echo", "-t", "covost2-de", "--limit", "3"]
_RUN_IT = """
import sys
from diva_bench.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", " ".join(sorted(sys.modules)))
"""


def loaded(words: list[str], folder: Path) -> set[str]:
    """The modules that a command loads, which has to end well."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN_IT, *words], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--help"], _LISTS | {"pydantic", "yaml"}),
        (["run", "--help"], _LISTS | {"ssl"}),
        (["list", "tasks"], _LISTS | {"ssl"}),
        (["list", "models"], _LISTS | {"ssl"}),
        (["list", "metrics"], _LISTS | {"ssl"}),
        (["leaderboard", PUBLISHED], _LISTS),
        (["leaderboard", PUBLISHED, "--overview", "--format", "md"], _LISTS),
        (["list", "runs", PUBLISHED], _LISTS),
        (["run", "-m", "oracle,cascade,diva", "-t", "all", "--dry-run"], _RUNS),
    ],
)
def test_a_command_does_not_load_libraries_that_it_does_not_need(
    words: list[str], heavy: set[str], tmp_path: Path
) -> None:
    if loaded(words, tmp_path) & heavy:  # the first time on a machine, chat frames are rendered, and kept
        assert loaded(words, tmp_path) & heavy == set()


def test_a_run_that_has_nothing_left_to_ask_loads_no_torch(tmp_path: Path) -> None:
    loaded(_NEW_RUN, tmp_path)
    assert loaded(_NEW_RUN, tmp_path) & {"torch", "transformers", "pandas", "datasets"} == set()


@pytest.mark.parametrize("name", DECLARED)
def test_an_adapter_has_the_attributes_that_were_read_before_it_was_loaded(name: str) -> None:
    declared, built = Catalog().declared(name), class_of("adapter", name, BUILTIN)
    assert declared is not built
    assert issubclass(built, declared)
    named = {key: getattr(declared, key) for key in dir(declared) if not key.startswith("_")}
    assert named == {key: getattr(built, key) for key in named}
    assert set(named) - {"chat", "reads_prompt", "refuses", "takes_budget"} == {
        "accepts",
        "version",
        "splits_audio",
        "settings",
        "roles",
    }


def test_the_chat_frame_is_read_from_the_cache_until_its_template_changes(tmp_path: Path) -> None:
    llm, cache = make_llm(tmp_path / "llm"), tmp_path / "cache"
    chat.frame.cache_clear()
    rendered = chat.kept_frame(llm, False, cache)
    assert rendered == chat.frame(llm, False)
    (file,) = (cache / "frames").iterdir()
    file.write_text('"kept {speech}"')
    assert chat.kept_frame(llm, False, cache) == "kept {speech}"
    file.write_text('"without the mark"')  # nothing from outside is believed
    assert chat.kept_frame(llm, False, cache) == rendered
    template = llm / "chat_template.jinja"
    template.write_text("changed " + template.read_text())
    chat.frame.cache_clear()
    chat.tokenizer_of.cache_clear()
    assert chat.kept_frame(llm, False, cache) == "changed " + rendered
