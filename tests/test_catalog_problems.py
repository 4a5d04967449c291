"""A wrong YAML file among good ones stops only what names it; a task file in the current folder is hinted at."""

from __future__ import annotations

import mini_task
import pytest
from command_line import call

from diva_bench.catalog import Catalog
from diva_bench.errors import SpecError, UnknownName

TYPO = "name: other\nversion: 1\ndescription: d\npromt: typo\n"
WRONG = {
    "a typo": TYPO,
    "no YAML": "name: other\n  prompt: [\n",
    "a list": "- name: other\n",
    "nothing": "",
    "somebody else's": "services: {web: {image: nginx}}\n",
    "not text": b"name: other\n\xff\xfe\0",
    "an alias of itself": "name: other\nprompt: &a [*a]\n",
}


@pytest.fixture
def folder(tmp_path):
    return mini_task.write(tmp_path / "specs", count=2)


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("place", ["", "tasks", "models/weights"])
def test_a_wrong_file_stops_no_other_task_of_its_folder_and_no_shipped_one(folder, text, place):
    (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / place / "other.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    catalog = Catalog([folder])
    assert catalog.task("toy", "mini").name == "toy"
    assert catalog.task("heysquad", "mini").name == "heysquad"
    assert len(catalog.subsets("all", "mini")) == 11
    with pytest.raises((SpecError, UnknownName)):
        catalog.subsets("other")


@pytest.mark.parametrize("name", ["other", "misnamed"])
def test_what_names_a_wrong_file_is_told_what_is_wrong_with_it(folder, name):
    (folder / "misnamed.yaml").write_text(TYPO)
    with pytest.raises(SpecError, match=r"misnamed.yaml:4: unknown key 'promt'. Did you mean 'prompt'"):
        Catalog([folder]).subsets(name)
    shown = call(folder, "show", name, "--path", ".")
    assert (shown.returncode, "unknown key 'promt'" in shown.stderr) == (2, True)


def test_an_unknown_name_is_told_which_files_could_not_be_used(folder):
    (folder / "other.yaml").write_text(TYPO)
    (folder / "compose.yaml").write_text(WRONG["somebody else's"])
    with pytest.raises(UnknownName) as err:
        Catalog([folder]).subsets("weather")
    assert "other.yaml:4: unknown key 'promt'" in str(err.value)
    assert "compose" not in str(err.value)


def test_a_name_in_two_places_stops_only_what_names_it(tmp_path):
    for place in ("one", "two", "three"):
        mini_task.write(tmp_path / place, count=2)
    mini_task.write(tmp_path / "one", count=2, name="alone")
    catalog = Catalog([tmp_path / place for place in ("one", "two", "three")])
    assert catalog.subsets("alone") == ["alone"]
    with pytest.raises(SpecError, match=r"'toy' is defined in two places.*one.*two"):
        catalog.subsets("toy")
    assert "toy" not in [found.spec.name for found in catalog.tasks()]


def test_a_suite_and_a_list_say_what_they_leave_out(folder):
    (folder / "other.yaml").write_text(TYPO)
    path = folder / "toy.yaml"
    path.write_text(path.read_text().replace("version: 1", "version: 1\nsuites: [toys]"))
    asked = call(folder, "run", "-m", "majority", "-t", "toys", "--path", ".", "--dry-run")
    assert asked.returncode == 0, asked.stderr
    assert "left out of toys, because it is not valid:" in asked.stderr
    assert "other.yaml:4: unknown key 'promt'" in " ".join(asked.stderr.split())
    listed = call(folder, "list", "tasks", "--path", ".", COLUMNS="400")
    assert "cannot be used:" in listed.stdout
    assert "other.yaml:4: unknown key 'promt'" in listed.stdout
    named = call(folder, "run", "-m", "majority", "-t", "toy", "--path", ".", "--dry-run")
    assert "promt" not in named.stderr


@pytest.mark.parametrize(
    ("file", "name"), [("toy.yaml", "toy"), ("toy.yml", "toy"), ("renamed.yaml", "toy"), ("toy.yaml", "toy-de")]
)
@pytest.mark.parametrize("command", [["run", "-m", "majority", "-t"], ["show"]])
def test_a_task_file_in_the_current_folder_is_hinted_at(folder, file, name, command):
    (folder / "toy.yaml").rename(folder / file)
    asked = call(folder, *command, name)
    assert asked.returncode == 2
    assert f"{file} in this folder defines it: add --path . or give {file} itself." in asked.stderr
    if name == "toy":
        assert call(folder, *command, name, "--path", ".").returncode == 0
        assert call(folder, *command, file).returncode == 0
