"""Weights of the format transformers: from the Hub, from a folder, resolved once, verified, and part of the identity."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from asset_tools import Recorder
from command_line import call
from hub_server import TOKEN, FakeHub, Repository, hub_server
from huggingface_hub import constants

from diva_bench.catalog import Catalog
from diva_bench.errors import AssetError, SpecError, UserError
from diva_bench.evaluation import scorer_weights
from diva_bench.specs import AssetSpec, ModelSpec
from diva_bench.types import Silent
from diva_bench.weights import assets, fetch, fit, folders

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model-00001-of-00002.safetensors": b"one" * 1000,
    "model-00002-of-00002.safetensors": b"two" * 1000,
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    ).encode(),
    "tokenizer.json": b"{}",
}
NEVER = {"pytorch_model.bin": b"pickle", "modeling.py": b"code", "README.md": b"words", "original/params.json": b"{}"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The Hub with one repository, own/er, and an empty cache of its client."""
    with hub_server() as server:
        for name, value in (
            ("ENDPOINT", server.address),
            ("HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"),
            ("HF_HUB_CACHE", str(tmp_path / "hub")),
            ("HF_TOKEN_PATH", str(tmp_path / "token")),
            ("HF_HUB_OFFLINE", False),
        ):
            monkeypatch.setattr(constants, name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        fetch.hub_problem.cache_clear()
        server.repositories["own/er"] = Repository()
        server.repositories["own/er"].push({**FILES, **NEVER})
        yield server
    fetch.hub_problem.cache_clear()


def of_hub(**more: Any) -> AssetSpec:
    return AssetSpec(name="toy", format="transformers", description="", licence="MIT", hub="own/er", **more)


def of_folder(folder: Path, **more: Any) -> AssetSpec:
    return AssetSpec(name="mine", format="transformers", description="", licence="", folder=str(folder), **more)


def put(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def make(asset: AssetSpec, progress: Any = None, given: Path | None = None) -> Path:
    return assets.ready(asset, Path(), progress or Silent(), given)


def hashes(asset: AssetSpec) -> dict[str, str | None]:
    return {file.path: file.sha256 for file in asset.files}


# ---------------------------------------------------------------- the Hub


def test_a_repository_is_fetched_at_the_commit_of_its_branch_and_only_data_is_read(hub: FakeHub) -> None:
    seen = Recorder()
    folder = make(of_hub(), seen)
    commit = hub.repositories["own/er"].refs["main"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    known = assets.known(of_hub())
    assert (known.revision, hashes(known)) == (commit, {n: folders._hashes(folder / n, int)[0] for n in FILES})
    large = {file.path: file.git_sha1 is None for file in known.files}
    assert large == {name: name.endswith(".safetensors") for name in FILES}  # the Hub's own hashes
    assert seen.bars["hash toy"] == [sum(map(len, FILES.values()))] * 2
    assert not any(name in line for line in hub.requests for name in NEVER)


def test_a_second_pull_asks_nobody_although_the_branch_has_moved(hub: FakeHub) -> None:
    make(of_hub())
    before, asked = assets.known(of_hub()), len(hub.requests)
    hub.repositories["own/er"].push({**FILES, "config.json": b'{"other": 1}'})
    make(of_hub())
    make(before)  # as a run that was prepared earlier does
    assert (len(hub.requests), assets.known(of_hub())) == (asked, before)


def test_a_damaged_file_is_fetched_again_at_the_first_commit(hub: FakeHub) -> None:
    folder = make(of_hub())
    before = assets.known(of_hub())
    hub.repositories["own/er"].push({**FILES, "config.json": b'{"other": 1}'})
    (folder / "config.json").resolve().write_bytes(b"{}")
    assert assets.state(of_hub(), Path()).status == "damaged"
    assert make(of_hub()) == folder
    assert assets.known(of_hub()) == before


def test_two_branches_of_a_repository_are_two_weights(hub: FakeHub) -> None:
    hub.repositories["own/er"].push({**FILES, "tokenizer.json": b'{"v": 2}'}, branch="next")
    assert make(of_hub()) != make(of_hub(revision="next"))
    assert hashes(assets.known(of_hub())) != hashes(assets.known(of_hub(revision="next")))


def test_patterns_choose_files_and_the_first_shard_alone_is_allowed_then(hub: FakeHub) -> None:
    asset = of_hub(patterns=("model-00001-of-*.safetensors", "config.json"))
    make(asset)
    assert list(hashes(assets.known(asset))) == ["config.json", "model-00001-of-00002.safetensors"]


@pytest.mark.parametrize(
    ("token", "accepted", "said"),
    [(None, False, "no token is set on this machine"), (TOKEN, False, "your token's account has not accepted them")],
)
def test_a_gated_repository_names_the_page_and_the_command(
    hub: FakeHub, token: str | None, accepted: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["own/er"].gated = True
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(AssetError) as told:
        make(of_hub())
    for part in (said, f"Open {hub.address}/own/er,", "hf auth login", "HF_TOKEN", "--weights-folder toy=FOLDER"):
        assert part in str(told.value)
    assert TOKEN not in str(told.value)


def test_a_gated_repository_is_fetched_with_a_token_whose_account_accepted(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    hub.repositories["own/er"].gated = hub.repositories["own/er"].accepted = True
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert (make(of_hub()) / "config.json").is_file()
    assert not any(TOKEN.encode() in p.read_bytes() for p in cache.rglob("*") if p.is_file())


def test_other_bytes_than_the_hub_states_are_refused_after_a_second_try(hub: FakeHub) -> None:
    hub.repositories["own/er"].wrong = {"model-00002-of-00002.safetensors"}
    seen = Recorder()
    with pytest.raises(
        AssetError, match=r"model-00002-of-00002.safetensors has 3000 bytes with sha256 .*; the Hub states 3000"
    ):
        make(of_hub(), seen)
    assert "fetching it again" in seen.notes[0]
    hub.repositories["own/er"].wrong = set()
    make(of_hub())


def test_a_file_that_breaks_off_is_an_error_and_the_next_pull_completes_it(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["own/er"].cut = {"model-00002-of-00002.safetensors"}
    with pytest.raises(
        AssetError, match=r"cannot be fetched from .* Run the same command again: what is complete is kept"
    ):
        make(of_hub())
    hub.repositories["own/er"].cut = set()
    hub.requests.clear()
    make(of_hub())
    assert hub.fetched() == ["model-00002-of-00002.safetensors"]


@pytest.mark.parametrize(
    ("asset", "said"),
    [
        (of_hub(revision="none"), "own/er has no revision none"),
        (of_hub().model_copy(update={"hub": "no/body"}), "the Hub has no repository no/body, or it is private"),
        (of_hub(patterns=("weights/*.safetensors",)), "has no file weights/\\*.safetensors"),
    ],
)
def test_what_the_hub_does_not_have_is_said(hub: FakeHub, asset: AssetSpec, said: str) -> None:
    with pytest.raises(AssetError, match=said):
        make(asset)


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched(hub: FakeHub) -> None:
    files = {name: content for name, content in FILES.items() if not name.endswith(".safetensors")}
    hub.repositories["own/er"].push(files | {"pytorch_model.bin": b"pickle"})
    hub.requests.clear()
    with pytest.raises(
        AssetError, match=r"has no safetensors, and pickles .* `revision: refs/pr/NUMBER`\. .* toy=FOLDER"
    ):
        make(of_hub())
    assert hub.fetched() == []


def test_without_the_hub_its_cache_is_used_and_checked_by_the_names_of_its_blobs(
    hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    for name in FILES:  # by another program
        huggingface_hub.hf_hub_download("own/er", name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert assets.state(of_hub(), Path()).status == "not hashed"
    folder = make(of_hub())
    assert assets.known(of_hub()).revision == hub.repositories["own/er"].refs["main"] == folder.name

    shutil.rmtree(cache)
    blob = (folder / "model-00001-of-00002.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(AssetError, match=r"model-00001-of-00002.safetensors has 3000 bytes .* the Hub states"):
        make(of_hub())


def test_without_the_hub_and_its_files_the_message_says_what_to_do(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        AssetError, match=r"own/er is not on this machine.*HF_HUB_OFFLINE is set.*--weights-folder toy=FOLDER"
    ):
        make(of_hub())


@pytest.mark.parametrize("path", ["../up.json", "a/../../b.json", "/abs.json", "a b.json", ""])
def test_a_path_of_the_server_that_leads_elsewhere_is_refused(hub: FakeHub, path: str) -> None:
    hub.repositories["own/er"].push({**FILES, path: b"{}"})
    asset = of_hub(patterns=("*.safetensors", "*.json", "*/*.json", "*/*/*/*.json"))
    if path == "":
        make(asset)  # no pattern takes it
        return
    with pytest.raises(AssetError, match="which is no plain path"):
        make(asset)


# ---------------------------------------------------------------- folders


def test_a_folder_is_hashed_once_and_then_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = of_folder(put(tmp_path / "model", {**FILES, **NEVER}))
    assert (assets.known(mine).files, assets.state(mine, Path()).status) == ((), "not hashed")
    assert make(mine) == tmp_path / "model"
    known, read = assets.known(mine), []
    assert list(hashes(known)) == sorted(FILES)
    real = folders._hashes
    monkeypatch.setattr(folders, "_hashes", lambda path, each: read.append(path.name) or real(path, each))
    assert make(mine) == tmp_path / "model"
    os.utime(tmp_path / "model" / "config.json")
    assert assets.known(mine).files == ()  # not before it was looked at
    assert make(mine) == tmp_path / "model"
    assert (read, assets.known(mine)) == (["config.json"], known)


def test_a_changed_folder_is_another_model_and_never_that_of_a_run_that_has_begun(tmp_path: Path) -> None:
    mine = of_folder(put(tmp_path / "model"))
    make(mine)
    before = assets.known(mine)
    (tmp_path / "model" / "config.json").write_bytes(b'{"model_type": "gemma"}')
    assert assets.state(mine, Path()).status == "damaged"
    with pytest.raises(AssetError, match=r"config.json has sha256 .*, expected .* It is not what this was begun with"):
        make(before)
    make(mine)
    assert hashes(assets.known(mine)) != hashes(before)


def test_a_file_that_comes_into_the_folder_is_noticed(tmp_path: Path) -> None:
    mine = of_folder(put(tmp_path / "model"))
    make(mine)
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ messages }}")
    assert "chat_template.jinja was not there" in assets.state(mine, Path()).detail
    make(mine)
    assert "chat_template.jinja" in hashes(assets.known(mine))


def test_every_byte_is_read_again_when_asked(tmp_path: Path) -> None:
    mine, file = of_folder(put(tmp_path / "model")), tmp_path / "model" / "model-00001-of-00002.safetensors"
    make(mine)
    assert assets.state(mine, Path(), rehash=True).status == "ready"
    record = next((tmp_path / "cache" / "folders").iterdir())
    stored = json.loads(record.read_text())
    file.write_bytes(b"eno" * 1000)
    stored["files"][file.name][0] = list(folders.stamp(file))  # as if the change had left no trace
    record.write_text(json.dumps(stored))
    assert assets.state(mine, Path()).status == "ready"
    assert "has changed: its sha256 is not" in assets.state(mine, Path(), rehash=True).detail


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "has no weights that are read .* It has nothing"),
        ({"config.json": b"{}", "pytorch_model.bin": b""}, "pytorch_model.bin is a pickle, which can run code"),
        ({"model.safetensors": b"x"}, "has no config.json"),
        (
            {k: v for k, v in FILES.items() if "00002-of" not in k},
            "lacks model-00002-of-00002.safetensors, which its index",
        ),
        ({**FILES, "model.safetensors.index.json": b"[]"}, "is not an index of shards"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(AssetError, match=said):
        make(of_folder(put(tmp_path / "model", files)))


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"no such folder. Allowed: a folder with config.json"):
        make(of_folder(tmp_path / "none"))


@pytest.mark.parametrize(
    "record", ["{", "[]", '{"files": 3}', '{"files": {"a": [1]}, "folder": "x"}', '{"resolved to": 3}']
)
def test_a_record_that_cannot_be_read_is_written_anew(tmp_path: Path, cache: Path, record: str) -> None:
    mine = of_folder(put(tmp_path / "model"))
    make(mine)
    next((cache / "folders").iterdir()).write_text(record)
    assert assets.known(mine).files == ()
    make(mine)
    assert assets.known(mine).files


def test_a_folder_takes_the_place_of_the_hub_with_the_same_identity(hub: FakeHub, tmp_path: Path) -> None:
    make(of_hub())
    fetched = hashes(assets.known(of_hub()))
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "hub")
    hub.requests.clear()
    assert make(of_hub(), given=put(tmp_path / "model")) == tmp_path / "model"
    assert (hashes(assets.known(of_hub())), hub.requests) == (fetched, [])
    assert make(of_hub()) == tmp_path / "model"  # from now on


# ---------------------------------------------------------------- in YAML


def model_yaml(folder: Path, weights: dict[str, Any], **more: Any) -> Path:
    text = {"name": "mine", "adapter": "oracle", "description": "", "weights": weights, **more}
    (folder / "mine.yaml").write_text(yaml.safe_dump(text))
    return folder / "mine.yaml"


def spec_of(file: Path) -> ModelSpec:
    return Catalog().model(str(file), "mini")


def test_a_model_names_a_folder_beside_its_file_and_is_identified_by_its_bytes(tmp_path: Path) -> None:
    put(tmp_path / "llm")
    file = model_yaml(tmp_path, {"llm": {"folder": "llm"}})
    spec = spec_of(file)
    assert spec.unknown == [spec.weights["llm"].name]
    catalog = Catalog()
    assert catalog.fetch([spec], Silent()) == {spec.weights["llm"].name: tmp_path / "llm"}
    first = catalog.known(spec)
    assert (first.unknown, first.hash) == ([], spec_of(file).hash)
    shutil.move(tmp_path / "llm", tmp_path / "moved")
    second = spec_of(model_yaml(tmp_path, {"llm": {"folder": str(tmp_path / "moved")}}))
    catalog.fetch([second], Silent())
    assert catalog.known(second).hash == first.hash
    assert str(tmp_path) not in first.model_dump_json()  # records show no folders of a machine


def test_a_model_names_a_repository(hub: FakeHub, tmp_path: Path) -> None:
    spec = spec_of(model_yaml(tmp_path, {"llm": {"hub": "own/er"}}))
    catalog = Catalog()
    catalog.fetch([spec], Silent())
    known = catalog.known(spec)
    assert (known.weights["llm"].name, known.weights["llm"].revision) == (
        "own--er",
        hub.repositories["own/er"].refs["main"],
    )
    assert ModelSpec.model_validate_json(known.model_dump_json()).hash == known.hash


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({}, "weights are a name, {folder: PATH} or {hub: owner/name}"),
        ({"hub": "a/b", "folder": "c"}, "weights are a name, {folder: PATH} or {hub: owner/name}"),
        ({"folder": "c", "revision": "main"}, "revision is a commit of hub; this names no hub"),
        ({"hub": "own"}, "must be OWNER/NAME"),
        ({"hubb": "own/er"}, "unknown key 'weights.llm.hubb'. Did you mean 'hub'?"),
        ({"hub": "own/er", "patterns": ["*.bin"]}, r"\(\*.bin, \*.pt\) and code \(\*.py\) are never fetched"),
        ({"hub": "own/er", "patterns": ["../*.json"]}, "must be relative"),
        (3, "must be text"),
    ],
)
def test_wrong_weights_of_a_model_are_an_error_of_its_yaml(tmp_path: Path, weights: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        spec_of(model_yaml(tmp_path, {"llm": weights}))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "name either hub .* or folder"),
        ({"hub": "a/b", "folder": "c"}, "name either hub .* or folder"),
        ({"format": "safetensors", "hub": "a/b"}, "hub: only for the format transformers"),
        ({"format": "gguf"}, "files is missing"),
        ({"hub": "a/b", "patterns": ["x.py"]}, "never fetched"),
    ],
)
def test_wrong_weights_yamls_are_refused(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    text = {"name": "w", "format": "transformers", "description": "", "licence": "", **keys}
    (tmp_path / "w.yaml").write_text(yaml.safe_dump(text))
    with pytest.raises(SpecError, match=said):
        Catalog([tmp_path]).weights("w")


def test_a_folder_of_the_user_is_named_on_the_command_line(hub: FakeHub, tmp_path: Path) -> None:
    text = {"name": "toy", "format": "transformers", "description": "", "licence": "", "hub": "own/er"}
    (tmp_path / "w.yaml").write_text(yaml.safe_dump(text))
    catalog, folder = Catalog([tmp_path]), put(tmp_path / "model")
    for name in ("toy", "own/er"):
        assert scorer_weights.install_folders(catalog, [f"{name}={folder}"], Silent()) == {"toy": folder}
    assert scorer_weights.install_folders(catalog, [f"other/one={folder}"], Silent()) == {"other--one": folder}
    for wrong, said in (
        ("toy", "expected NAME=FOLDER"),
        (f"toi={folder}", "Did you mean 'toy'"),
        ("toy=none", "no such folder"),
    ):
        with pytest.raises(UserError, match=said):
            scorer_weights.install_folders(catalog, [wrong], Silent())


def test_pull_and_doctor_of_a_real_process(hub: FakeHub, tmp_path: Path) -> None:
    file = model_yaml(tmp_path, {"llm": {"hub": "own/er"}})
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}
    environment.pop("HF_HUB_OFFLINE", None)

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "diva_bench", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    pulled = call("pull", "-m", str(file))
    assert pulled.returncode == 0, pulled.stderr
    assert "weights own--er: " in pulled.stdout
    hub.repositories["own/er"].gated = True
    (tmp_path / "home" / "hub" / "models--own--er").rename(tmp_path / "gone")
    refused = call("pull", "-m", str(file))
    assert refused.returncode != 0
    assert "is gated" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_hub_behind_a_broken_proxy_is_asked_once_and_refused_in_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Broken(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_error(503, "No route")

        do_GET = do_HEAD

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setattr(fit, "device_memory", lambda device: (64 * 10**9, 64 * 10**9))  # whatever this machine has free
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for endpoint in (f"http://127.0.0.1:{server.server_port}", "http://127.0.0.1:9"):
            monkeypatch.setattr(constants, "ENDPOINT", endpoint)
            fetch.hub_problem.cache_clear()
            got = call(
                tmp_path, "run", "-m", "qwen2-audio", "-t", "heysquad", "--edition", "mini", "--model-edition", "full"
            )
            assert got.returncode == 2
            assert (
                f"qwen2-audio: Qwen/Qwen2-Audio-7B-Instruct is not on this machine, and {endpoint} cannot be"
                in got.stderr
            )
            assert "diva-bench pull --weights-folder qwen2-audio=FOLDER" in got.stderr
        server.shutdown()
    fetch.hub_problem.cache_clear()
    assert asked == ["/"], "its client would ask again and again"
