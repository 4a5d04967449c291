"""Names, paths, editions, subsets, clashes; and YAML that says something not allowed."""

import json
import shlex
from pathlib import Path

import mini_task
import pytest

from diva_bench.catalog import Catalog
from diva_bench.cli.train import resolve, weights_name
from diva_bench.diva.config import ABLATIONS
from diva_bench.errors import AssetError, SpecError, UnknownName, UserError

MODELS = ("align_only", "distill_only", "scratch", "mlp", "kl", "released", "align_first", "align_pad")
"""Ablations of the paper's recipe that are models."""


@pytest.mark.parametrize(
    ("name", "leaves"),
    [
        ("covost2", ["covost2-de"]),
        ("covost2-all", ["covost2-de", "covost2-zh-CN", "covost2-ja"]),
        ("sdqa-all", ["sdqa"]),
        ("paper", []),
        ("covost2-ja", ["covost2-ja"]),
        ("emotion", ["iemocap", "meld"]),
        ("qa", ["heysquad", "sdqa"]),
        ("sarcasm", ["mustard"]),
        ("humor", ["urfunny"]),
        ("transcription", ["transcribe"]),
    ],
)
def test_a_suite_a_task_and_a_subset_are_names(name, leaves):
    assert Catalog().subsets(name, "mini") == leaves
    assert Catalog().subsets(name, "nano") == leaves


def test_all_is_every_task_but_those_with_the_paper_s_protocol():
    assert len(Catalog().subsets("all", "mini")) == 10
    assert len(Catalog().subsets("all", "mini-v1")) == 10


PAPER = ["de", "tr", "zh-CN", "id", "ar", "ta", "ja"]
OTHER = ["ca", "cy", "et", "fa", "lv", "mn", "sl", "sv-SE"]
DIALECTS = ["aus", "gbr", "ind_n", "ind_s", "irl", "kenya", "nga", "nzl", "phl", "usa", "zaf"]


def test_the_full_tasks_have_all_targets_and_dialects_and_the_paper_s_targets_are_meant_by_the_name_alone():
    catalog = Catalog()
    assert catalog.subsets("covost2", "full") == [f"covost2-{code}" for code in PAPER]
    assert sorted(catalog.subsets("covost2-all", "full")) == sorted(f"covost2-{code}" for code in PAPER + OTHER)
    assert catalog.subsets("sdqa", "full") == ["sdqa"]
    assert catalog.subsets("sdqa-all", "full") == [f"sdqa-{code}" for code in DIALECTS]
    assert catalog.subsets("qa", "full") == ["heysquad", "heysquad-open", "sdqa"]


def test_the_paper_s_tasks_are_a_suite_of_their_own_and_in_no_other():
    suites = Catalog().suites()
    assert suites["paper"] == sorted(
        f"paper-{t}" for t in ("covost2", "heysquad", "iemocap", "meld", "mustard", "sdqa", "urfunny")
    )
    assert not [name for suite, names in suites.items() if suite != "paper" for name in names if "paper" in name]


@pytest.mark.parametrize("name", ["covost2-ca", "paper-heysquad", "heysquad-open", "sdqa-usa"])
def test_what_only_the_full_edition_has_says_so_in_the_others(name):
    assert Catalog().task_editions(name) == ["full"]
    with pytest.raises(UnknownName, match=rf"unknown edition 'mini' in task {name}.*Available: full"):
        Catalog().task(name, "mini")


def test_a_subset_s_name_stands_in_the_data_of_its_task():
    data = Catalog().task("covost2-sv-SE", "full").data
    assert data.config == "en_sv-SE"
    assert data.columns == {"reference": "translation"}
    assert Catalog().task("sdqa-usa", "full").data.rows == 553
    assert Catalog().task("sdqa", "full").data.rows == 11 * 553


def test_the_default_and_the_paper_s_protocol_differ_where_the_paper_s_code_does():
    catalog = Catalog()
    ours, paper = catalog.task("covost2-zh-CN", "full"), catalog.task("paper-covost2-zh-CN", "full")
    assert (ours.data.split, ours.primary) == ("test", "bleu")
    assert (paper.data.split, paper.primary) == ("validation", "mean_sentence_bleu")
    assert paper.scorers["sentence_bleu"] == {"tokenize": "zh"}
    assert paper.prompt.format(**paper.fields) == "Translate the input(s) from English to Simplified Chinese."
    for name in ("paper-heysquad", "paper-sdqa"):
        task = catalog.task(name, "full")
        assert task.prompt == "You are a helpful assistant. Give your answers as a simple single sentence."
        assert (task.decode.max_new_tokens, task.primary) == (64, "pedants")


def test_the_paper_s_translation_is_seven_targets_and_has_the_five_others_that_outputs_were_released_of():
    catalog = Catalog()
    others = ["ca", "fa", "mn", "sl", "sv-SE"]
    assert sorted(catalog.subsets("paper-covost2", "full")) == sorted(f"paper-covost2-{code}" for code in PAPER)
    assert sorted(catalog.subsets("paper-covost2-all", "full")) == sorted(
        f"paper-covost2-{code}" for code in PAPER + others
    )
    for code in others:
        ours, paper = (catalog.task(f"{name}-{code}", "full") for name in ("covost2", "paper-covost2"))
        assert (paper.data.config, paper.data.split, paper.data.rows) == (f"en_{code}", "validation", 15531)
        assert paper.fields == ours.fields
        assert paper.scorers["sentence_bleu"] == {"tokenize": "13a"}


def test_every_task_says_why_its_primary_metric_ranks():
    assert [found.spec.name for found in Catalog().tasks() if not found.spec.why] == []


@pytest.mark.parametrize(
    ("subset", "tokenize", "language"),
    [("de", "13a", "German"), ("zh-CN", "zh", "Simplified Chinese"), ("ja", "ja-mecab", "Japanese")],
)
def test_each_target_language_has_its_own_tokeniser(subset, tokenize, language):
    task = Catalog().task(f"covost2-{subset}", "mini")
    assert task.scorers["bleu"] == {"tokenize": tokenize}
    assert task.fields["language"] == language
    assert task.reference == subset


def test_nano_models_are_asked_the_mini_task():
    assert Catalog().task("meld", "nano").edition == "mini"


@pytest.fixture
def nothing_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))


def test_every_shipped_model_resolves_in_all_its_editions_but_those_that_are_trained_by_the_user(nothing_trained):
    catalog, untrained = Catalog(), set()
    for found in catalog.models():
        for edition in catalog.model_editions(found.spec.name) or ["mini"]:
            if catalog.untrained(found.spec.name, edition):
                untrained.add((found.spec.name, edition))
                with pytest.raises(AssetError, match=found.spec.editions[edition].trained_by):
                    catalog.model(found.spec.name, edition)
                continue
            spec = catalog.model(found.spec.name, edition)
            assert catalog.declared(spec.adapter).accepts
    assert set(MODELS) <= set(ABLATIONS)
    names = [f"diva-{ablation.replace('_', '-')}" for ablation in MODELS]
    own = {(name, edition) for name in names for edition in ("mini", "nano")}
    assert untrained == own


def test_diva_has_time_queries_in_both_editions_and_nano_has_the_connector_of_the_paper_beside_it(nothing_trained):
    """What ships is never overwritten by a training, which gets a name of its own."""
    catalog = Catalog()
    shipped = {
        (name, edition): catalog.model(name, edition).weights["connector"]
        for name, edition in (("diva", "mini"), ("diva", "nano"), ("diva-learned", "nano"))
    }
    assert [asset.name for asset in shipped.values()] == ["diva-mini", "diva-nano-time", "diva-nano"]
    models = Path(__file__).parents[1] / "models"
    queries = [
        json.loads((models / asset.name / "config.json").read_text())["connector"]["queries"]
        for asset in shipped.values()
    ]
    assert queries == ["time", "time", 32]
    assert weights_name(catalog, None, resolve("nano-time"), "nano-time") == "diva-nano-time-own"


@pytest.mark.parametrize("edition", ["mini", "nano"])
@pytest.mark.parametrize("ablation", MODELS)
def test_the_command_that_a_model_names_trains_the_weights_that_it_names(ablation, edition, nothing_trained):
    catalog = Catalog()
    chosen = catalog.has("model", f"diva-{ablation.replace('_', '-')}").spec.editions[edition]
    words = shlex.split(chosen.trained_by)
    given = dict(zip(words[2::2], words[3::2], strict=True))
    assert words[:2] == ["diva-bench", "train"]
    assert given == {"--preset": edition, "--ablation": ablation, "--data": "DIR", "--output": "DIR"}
    recipe = given["--preset"], given["--ablation"]
    assert chosen.weights == {"connector": weights_name(catalog, None, resolve(*recipe), *recipe)}


def test_a_model_that_lists_editions_has_no_other_of_its_parent(tmp_path):
    """Else it would answer in those as its parent does, under its own name."""
    for name, editions in (("mine", "editions: {nano: {}}\n"), ("all", "")):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nextends: cascade\ndescription: d\n{editions}")
    catalog = Catalog([tmp_path])
    assert catalog.model_editions("mine") == ["nano"]
    assert catalog.model_editions("all") == catalog.model_editions("cascade")


def test_every_shipped_task_builds_its_scorers():
    catalog = Catalog()
    for leaf in catalog.subsets("all", "mini"):
        assert catalog.scorers(catalog.task(leaf, "mini"))


def test_the_nearest_name_is_offered():
    with pytest.raises(UnknownName, match="Did you mean 'covost2'"):
        Catalog().subsets("covosst2")


def test_the_same_folder_given_twice_is_no_clash(tmp_path, monkeypatch):
    mini_task.write(tmp_path, count=2)
    monkeypatch.setenv("DIVA_BENCH_PATH", str(tmp_path))
    assert Catalog([tmp_path]).subsets("toy") == ["toy"]


def test_a_yaml_file_can_be_named_in_place_of_a_name(tmp_path):
    mini_task.write(tmp_path, count=2)
    catalog = Catalog()
    assert catalog.subsets(str(tmp_path / "toy.yaml")) == ["toy"]
    assert catalog.task("toy", "mini").home == tmp_path


def test_extends_overlays_one_level(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nextends: cascade\ndescription: d\neditions:\n  mini:\n    runtime: {dtype: float32}\n"
    )
    spec = Catalog([tmp_path]).model("mine", "mini")
    assert (spec.adapter, spec.runtime.dtype) == ("cascade", "float32")
    assert set(spec.weights) == {"asr", "llm"}
    (tmp_path / "deep.yaml").write_text("name: deep\nextends: mine\ndescription: d\n")
    with pytest.raises(SpecError, match="one level"):
        Catalog([tmp_path]).model("deep", "mini")


def test_device_and_batch_are_not_identity_but_dtype_is():
    spec = Catalog().model("cascade", "mini")

    def changed(**runtime):
        return spec.model_copy(update={"runtime": spec.runtime.model_copy(update=runtime)}).hash

    assert changed(device="cuda") == changed(batch_seconds=7.0) == spec.hash
    assert changed(dtype="float32") != spec.hash


def test_static_decoding_is_identity_where_it_changes_answers_and_only_there():
    spec = Catalog().model("cascade", "mini")

    def changed(**runtime):
        return spec.model_copy(update={"runtime": spec.runtime.model_copy(update=runtime)}).hash

    assert spec.runtime.decode == "dynamic"
    assert changed(dtype="float32", decode="static") == changed(dtype="float32")
    hashes = {changed(dtype=d, decode=how) for d in ("bfloat16", "float16") for how in ("dynamic", "static")}
    assert len(hashes) == 4


GOOD = "name: t\nversion: 1\ndescription: d\nprompt: p\nscorers: {qa: {}}\nprimary: contains\n"
EDITIONS = "editions:\n  mini: {source: jsonl, path: t.jsonl, rows: 2}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            GOOD + "promt: x\n" + EDITIONS,
            r"t.yaml:7: unknown key 'promt'. Did you mean 'prompt'\? Allowed here: choices",
        ),
        (GOOD + EDITIONS.replace("rows", "row"), r"t.yaml:8: unknown key 'editions.mini.row'. Did you mean 'rows'"),
        (GOOD, r"t.yaml:1: key 'editions' is missing"),
        (GOOD.replace("version: 1", "version: one") + EDITIONS, r"t.yaml:2: version: .*\(found 'one'\)"),
        (GOOD + "name: again\n" + EDITIONS, r"t.yaml:7: not valid YAML: key 'name' is given twice"),
        ("name: [\n", r"t.yaml:2: not valid YAML"),
        ("- a list\n", r"t.yaml:1: expected a mapping"),
        (GOOD + "system: !!python/object/apply:os.getcwd []\n" + EDITIONS, r"t.yaml:7: not valid YAML"),
    ],
)
def test_a_bad_yaml_is_told_with_file_and_line(tmp_path, text, said):
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(SpecError, match=said):
        Catalog([tmp_path]).subsets("t")


@pytest.mark.parametrize(
    ("scorers", "said"),
    [
        ("{bleuu: {}}", "unknown scorer 'bleuu'. Did you mean 'bleu'"),
        ("{bleu: {tokenise: zh}}", "no setting 'tokenise'. Did you mean 'tokenize'"),
        ("{bleu: {tokenize: zh-CN}}", "Did you mean 'zh'"),
        ("{labels: {}}", "choices"),
    ],
)
def test_a_scorer_setting_that_is_not_allowed_is_told_before_anything_is_asked(tmp_path, scorers, said):
    (tmp_path / "t.yaml").write_text(GOOD.replace("{qa: {}}", scorers) + EDITIONS)
    catalog = Catalog([tmp_path])
    with pytest.raises(UserError, match=said):
        catalog.scorers(catalog.task("t", "mini"))
