"""PEDANTS weights are read from scikit-learn's files without scikit-learn, and no file can make anything run."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from asset_tools import Recorder, sha
from pedants_twin import Twin, twin

from diva_bench.catalog import Catalog
from diva_bench.errors import AssetError
from diva_bench.specs import AssetSpec
from diva_bench.weights import assets, from_pedants
from diva_bench.weights.from_pedants import Weights, convert, load

NPZ = Path(__file__).parents[2] / "shared" / "data" / "pedants" / "cfm_86c01fc.npz"


def npz_of(weights: Weights, file: Path) -> Path:
    """The same arrays under the names that the published npz has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        file,
        vocab=np.array(weights.vocabulary),
        idf=weights.idf,
        coef=weights.coef,
        intercept=np.array([weights.intercept]),
    )
    return file


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    convert(twin().write(tmp_path / "pickles"), tmp_path / "ready")
    return load(tmp_path / "ready")


# ---------------------------------------------------------------- reading


def compressed(value: Any, file: Any) -> None:
    joblib.dump(value, file, compress=3)


@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump, compressed, *[(p, pickle.dump) for p in (2, 3, 5)]])
def test_the_arrays_of_scikit_learn_come_out_as_they_are(tmp_path: Path, dump: Any, objects: bool) -> None:
    made = twin(objects)
    writer = dump if callable(dump) else lambda value, file: pickle.dump(value, file, protocol=dump[0])
    convert(made.write(tmp_path, writer), tmp_path / "ready")
    got = load(tmp_path / "ready")
    assert list(got.vocabulary) == list(made.vectorizer.get_feature_names_out())
    assert np.array_equal(got.idf, made.vectorizer.idf_)
    assert np.array_equal(got.coef, made.model.coef_[0])
    assert got.intercept == made.model.intercept_[0]


def test_older_scikit_learn_keeps_the_idf_on_a_sparse_diagonal(tmp_path: Path) -> None:
    import copy

    from scipy import sparse

    made = twin()
    older = copy.deepcopy(made.vectorizer)
    older._tfidf._idf_diag = sparse.diags(older._tfidf.__dict__.pop("idf_"), format="csr")
    convert(Twin(older, made.model).write(tmp_path, joblib.dump), tmp_path / "ready")
    assert np.array_equal(load(tmp_path / "ready").idf, made.vectorizer.idf_)


def test_reading_needs_neither_scikit_learn_nor_joblib(tmp_path: Path) -> None:
    twin().write(tmp_path, joblib.dump)
    code = (
        "import sys; from pathlib import Path; from diva_bench.weights.from_pedants import convert;"
        f"convert(Path({str(tmp_path)!r}), Path({str(tmp_path / 'ready')!r}));"
        "print(sorted({'sklearn', 'joblib', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_npz_of_the_same_arrays_has_the_same_content(tmp_path: Path, weights: Weights) -> None:
    npz_of(weights, tmp_path / "given" / "any.npz")
    convert(tmp_path / "given", tmp_path / "again", weights.content)
    assert load(tmp_path / "again").content == weights.content


@pytest.mark.parametrize("array", ["idf", "coef", "intercept", "vocabulary"])
def test_the_content_changes_with_the_last_bit_of_anything(weights: Weights, array: str) -> None:
    values = {name: getattr(weights, name) for name in ("vocabulary", "idf", "coef", "intercept")}
    if array == "vocabulary":
        values[array] = (weights.vocabulary[1], weights.vocabulary[0], *weights.vocabulary[2:])
    else:
        values[array] = np.nextafter(values[array], 9)
    assert Weights(**values).content != weights.content


def test_other_weights_than_the_pinned_ones_are_refused(tmp_path: Path, weights: Weights) -> None:
    npz_of(weights, tmp_path / "given" / "any.npz")
    with pytest.raises(AssetError, match=f"other weights than the pinned ones: their content is {weights.content}"):
        convert(tmp_path / "given", tmp_path / "again", "0" * 64)
    assert not (tmp_path / "again").exists()


@pytest.mark.skipif(not NPZ.is_file(), reason=f"{NPZ} is not here")
def test_the_npz_of_the_real_weights_has_the_content_that_their_yaml_pins(tmp_path: Path) -> None:
    spec, _ = Catalog().weights("pedants-2024-04")
    assert assets.name_of(spec, NPZ) == "cfm_86c01fc.npz"
    convert(NPZ.parent, tmp_path, spec.content)
    got = load(tmp_path)
    assert (len(got.vocabulary), got.idf.shape, got.coef.shape) == (50631, (50631,), (50634,))


# ---------------------------------------------------------------- files that are not what they should be


class Runs:
    """Unpickled by Python itself, it makes a file."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


def hidden(value: Any) -> Any:
    """The twin's vectorizer with something in one of its attributes."""
    import copy

    vectorizer = copy.deepcopy(twin().vectorizer)
    vectorizer.decode_error = value
    return vectorizer


@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump])
@pytest.mark.parametrize("place", [hidden, lambda value: value, lambda value: {"a": [value]}])
def test_a_pickle_that_tries_to_run_code_is_refused_and_runs_nothing(tmp_path: Path, dump: Any, place: Any) -> None:
    witness = tmp_path / "it-ran"
    folder = Twin(place(Runs(os.system, f"touch {witness}")), twin().model).write(tmp_path / "bad", dump)
    with pytest.raises(AssetError, match=r"tf-idf_vectorizer: refused: it asks for posix.system\. .* nothing was run"):
        convert(folder, tmp_path / "ready")
    assert not witness.exists()
    dump is pickle.dump and pickle.loads((folder / "tf-idf_vectorizer").read_bytes())  # the pickle is a real one
    assert dump is not pickle.dump or witness.exists()


@pytest.mark.parametrize(
    ("call", "arguments", "asked"),
    [
        (eval, ("1",), "builtins.eval"),
        (getattr, ("a", "b"), "builtins.getattr"),
        (__import__, ("os",), "builtins.__import__"),
        (np.load, ("x",), "numpy.load"),
        (subprocess.Popen, (["true"],), "subprocess.Popen"),
        (pickle.loads, (b"",), "_pickle.loads"),
        (joblib.load, ("x",), "joblib.numpy_pickle.load"),
    ],
)
def test_any_other_name_is_refused(tmp_path: Path, call: Any, arguments: tuple[Any, ...], asked: str) -> None:
    folder = Twin(hidden(Runs(call, *arguments)), twin().model).write(tmp_path)
    with pytest.raises(AssetError, match=re.escape(f"refused: it asks for {asked}.")):
        convert(folder, tmp_path / "ready")


def test_a_class_of_scikit_learn_is_a_name_and_is_not_imported(tmp_path: Path) -> None:
    """`c` + module + name + `)R`: calls what it names. The module does not exist; it would have to be imported."""
    twin().write(tmp_path)
    (tmp_path / "lr_classifier").write_bytes(b"csklearn.of_nobody\nAnything\n)R.")
    with pytest.raises(AssetError, match="these are not the two files of one PEDANTS classifier"):
        convert(tmp_path, tmp_path / "ready")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a pickle that can be read"),
        (b"<!DOCTYPE html><html>404</html>", "not a pickle that can be read"),
        (pickle.dumps([1, 2]), "holds a list, expected a classifier"),
        (pickle.dumps(np.zeros(3)), "holds a _Array, expected a classifier"),
        (
            b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\x00\x00.",
            "not a pickle that can be read",
        ),  # 281 TB, so it says
        (b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR}b.", "not a pickle that can be read"),
        (b"cbuiltins\nint\n}b.", r"refused: it sets the state of type"),
        # str is a name here and not a function: of a list of lists of lists ... it would make gigabytes
        (b"cbuiltins\nstr\n(S'a'\ntR.", "not the two files of one PEDANTS classifier"),
        (b"cnumpy\ndtype\n(S'f8888888888888'\nI0\nI1\ntR.", "refused: a numpy array of dtype"),
        (b"Pid\n.", "not a pickle that can be read"),
    ],
)
def test_what_is_no_classifier_is_told_with_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    twin().write(tmp_path)
    (tmp_path / "lr_classifier").write_bytes(content)
    with pytest.raises(AssetError, match=message) as err:
        convert(tmp_path, tmp_path / "ready")
    assert "lr_classifier" in str(err.value)


@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump])
def test_a_file_that_breaks_off_is_told_wherever_it_does(tmp_path: Path, dump: Any) -> None:
    twin().write(tmp_path, dump)
    whole = (tmp_path / "lr_classifier").read_bytes()
    for length in range(1, len(whole) - 1, 37):
        (tmp_path / "lr_classifier").write_bytes(whole[:length])
        with pytest.raises(AssetError, match="lr_classifier: "):
            convert(tmp_path, tmp_path / "ready")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ngram_range": (1, 2)}, "tf-idf_vectorizer: ngram_range is (1, 2), and only (1, 1) is known here"),
        ({"multi_class": "multinomial"}, "lr_classifier: multi_class is 'multinomial', and only one-versus-rest is"),
        ({"vocabulary_": {"a": 0, "b": 2}}, "tf-idf_vectorizer: its vocabulary does not number its words from 0"),
        ({"vocabulary_": {"a": 0, 7: 1}}, "tf-idf_vectorizer: its vocabulary holds what is no word"),
    ],
)
def test_settings_that_this_port_does_not_compute_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    import copy

    changed = copy.deepcopy(twin())
    for name, value in changes.items():
        setattr(changed.model if name == "multi_class" else changed.vectorizer, name, value)
    with pytest.raises(AssetError, match=re.escape(message)):
        convert(changed.write(tmp_path), tmp_path / "ready")


def test_a_missing_a_huge_and_a_spoilt_file_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssetError, match="tf-idf_vectorizer: is missing"):
        convert(tmp_path, tmp_path / "ready")
    convert(twin().write(tmp_path), tmp_path / "ready")
    monkeypatch.setattr(from_pedants, "LIMIT", 100)
    with pytest.raises(AssetError, match=r"tf-idf_vectorizer: \d+ bytes, more than the 100 that are read"):
        convert(tmp_path, tmp_path / "again")
    (tmp_path / "ready" / "weights.npz").write_bytes(b"spoilt")
    with pytest.raises(AssetError, match=r"ready: not weights of PEDANTS .* pull it again"):
        load(tmp_path / "ready")


def test_files_of_two_classifiers_are_told_apart(tmp_path: Path, weights: Weights) -> None:
    file = npz_of(weights, tmp_path / "given" / "any.npz")
    arrays = dict(np.load(file))
    np.savez(file, **{**arrays, "coef": arrays["coef"][:-1]})
    with pytest.raises(AssetError, match="not the two files of one PEDANTS classifier"):
        convert(tmp_path / "given", tmp_path / "ready")
    np.savez(file, **{**arrays, "idf": arrays["idf"] * np.nan})
    with pytest.raises(AssetError, match="a weight is not a finite number"):
        convert(tmp_path / "given", tmp_path / "ready")
    np.savez(file, **{**arrays, "vocab": np.array(["same"] * len(arrays["vocab"]))})
    with pytest.raises(AssetError, match="the vocabulary has a word that is empty, of several lines, or there twice"):
        convert(tmp_path / "given", tmp_path / "ready")
    np.savez(file, idf=arrays["idf"])
    with pytest.raises(AssetError, match="not an npz with vocab, idf, coef and intercept"):
        convert(tmp_path / "given", tmp_path / "ready")
    np.savez(file, **{**arrays, "vocab": arrays["vocab"].astype(object)})  # objects in an npz are pickles
    with pytest.raises(AssetError, match="not an npz with vocab"):
        convert(tmp_path / "given", tmp_path / "ready")


# ---------------------------------------------------------------- as an asset


def asset_of(folder: Path, weights: Weights, *sources: str) -> AssetSpec:
    """An asset of two pickles of unknown sha256 in `folder`, or of the npz that serves instead."""
    files = [{"path": n, "bytes": 1000, "sources": [{"file": str(folder / n)}]} for n in sources]
    npz = npz_of(weights, folder / "given.npz")
    return AssetSpec.model_validate(
        {
            "name": "twin",
            "format": "pedants",
            "description": "twin",
            "licence": "none",
            "files": files,
            "instead": {"other-name.npz": sha(npz.read_bytes())},
            "content": weights.content,
        }
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIVA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_pickles_are_fetched_converted_once_and_checked_by_content(
    tmp_path: Path, cache: Path, weights: Weights
) -> None:
    asset = asset_of(twin().write(tmp_path / "web", joblib.dump), weights, "lr_classifier", "tf-idf_vectorizer")
    assert assets.locate(asset, tmp_path) is None
    folder = assets.ready(asset, tmp_path, Recorder())
    assert sorted(p.name for p in folder.iterdir()) == [".verified.json", "vocabulary.txt", "weights.npz"]
    assert assets.locate(asset, tmp_path) == folder
    assert load(folder).content == weights.content
    assert not list((cache / "raw").iterdir())
    (folder / "weights.npz").write_bytes(b"spoilt")
    assert assets.state(asset, tmp_path).status == "damaged"


def test_other_weights_under_the_pinned_address_are_refused_and_never_ready(
    tmp_path: Path, cache: Path, weights: Weights
) -> None:
    asset = asset_of(twin().write(tmp_path / "web"), weights, "lr_classifier", "tf-idf_vectorizer")
    forged = asset.model_copy(update={"content": "0" * 64})
    for _ in range(2):
        with pytest.raises(AssetError, match="other weights than the pinned ones"):
            assets.ready(forged, tmp_path, Recorder())
        assert assets.locate(forged, tmp_path) is None


def test_a_file_that_the_user_has_serves_without_a_network_whatever_its_name(
    tmp_path: Path, cache: Path, weights: Weights
) -> None:
    asset = asset_of(tmp_path / "nowhere", weights, "lr_classifier", "tf-idf_vectorizer")
    given = tmp_path / "renamed.bin"
    (tmp_path / "nowhere" / "given.npz").rename(given)
    with pytest.raises(
        AssetError, match=r"lr_classifier .*No such file.*\n.*\n.*--weights-file FILE|could not be fetched"
    ):
        assets.ready(asset, tmp_path, Recorder())
    folder = assets.ready(asset, tmp_path, Recorder(), given)
    assert load(folder).content == weights.content
    assert given.is_file()
    given.write_bytes(b"another")
    with pytest.raises(AssetError, match="its sha256 is not that of a file of twin"):
        assets.ready(asset.model_copy(update={"content": weights.content[::-1]}), tmp_path, Recorder(), given)


def test_a_file_without_sha256_needs_a_content_to_be_checked_by(tmp_path: Path, weights: Weights) -> None:
    raw = asset_of(tmp_path, weights, "lr_classifier").model_dump()
    with pytest.raises(ValueError, match="lr_classifier has no sha256; it is needed where the asset has no `content`"):
        AssetSpec.model_validate({**raw, "content": None})
