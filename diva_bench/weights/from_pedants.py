"""PEDANTS weights: from the pickles of github.com/zli12321/qa_metrics, or an npz of the same arrays, to an npz.

    lr_classifier       scikit-learn's linear classifier: coef_, intercept_
    tf-idf_vectorizer   its TfidfVectorizer: vocabulary_ and the inverse document frequencies

Both may be plain pickles or files of joblib (a pickle with the bytes of arrays between its opcodes). scikit-learn and
joblib are not imported, and nothing in the file is executed: allowed names are numbers, containers, numpy arrays, and
classes of scikit-learn and scipy, which become records of their attributes; any other name is refused.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from diva_bench.errors import AssetError, one_line
from diva_bench.types import Floats
from diva_bench.weights.unpickle import Record, Refused, encode

CLASSIFIER, VECTORIZER = "lr_classifier", "tf-idf_vectorizer"
LIMIT = 1 << 26
"""Bytes of the largest file that is read: 64 MB."""
_ZLIB = b"x"  # first byte of a file compressed by joblib; a pickle begins with another one
_EXTRA = 3  # further features: F1, precision, recall
_SUPPORTED = {  # the settings that this port of TfidfVectorizer supports
    "lowercase": True,
    "token_pattern": r"(?u)\b\w\w+\b",
    "ngram_range": (1, 1),
    "analyzer": "word",
    "norm": "l2",
    "use_idf": True,
    "sublinear_tf": False,
    "binary": False,
    **dict.fromkeys(("stop_words", "strip_accents", "preprocessor", "tokenizer")),
}


@dataclass(frozen=True, slots=True)
class Weights:
    """A TF-IDF vocabulary of V words and a logistic regression over V + 3 features, all float64.

    P(right) = 1 / (1 + exp(x @ coef + intercept)): the first of the two classes is "correct".
    """

    vocabulary: tuple[str, ...]
    """Word of each column."""
    idf: Floats
    """(V,)"""
    coef: Floats
    """(V + 3,): words, then F1, precision, recall."""
    intercept: float

    @property
    def content(self) -> str:
        """sha256 of the vocabulary and the arrays (little-endian), whatever file they came from."""
        state = hashlib.sha256("\n".join(self.vocabulary).encode())
        for array in (self.idf, self.coef, np.array([self.intercept])):
            state.update(f"\n{array.size}\n".encode() + np.ascontiguousarray(array, "<f8").tobytes())
        return state.hexdigest()

    def save(self, folder: Path) -> None:
        """Write vocabulary.txt, one word per line, and weights.npz, for `load`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocabulary.txt").write_text("\n".join(self.vocabulary), encoding="utf-8")
        np.savez(folder / "weights.npz", idf=self.idf, coef=self.coef, intercept=np.array([self.intercept]))


def load(folder: Path) -> Weights:
    """Load the files of `convert`."""
    try:
        words = (folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
        with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
            return _checked(folder, words, arrays["idf"], arrays["coef"], arrays["intercept"])
    except (OSError, ValueError, KeyError) as err:
        raise AssetError(f"{folder}: not weights of PEDANTS ({err}). Remove the folder and pull it again.") from err


def convert(source: Path, target: Path, content: str | None = None) -> None:
    """Convert the two pickles, or the npz, in folder `source` to `target`.

    Raises:
        AssetError: They cannot be read, need something that is not allowed, or do not hash to `content`.
    """
    files = sorted(source.glob("*.npz"))
    weights = _from_npz(files[0]) if files else _from_pickles(source / CLASSIFIER, source / VECTORIZER)
    if content not in (None, weights.content):
        raise AssetError(
            f"{source}: these are other weights than the pinned ones: their content is {weights.content}, expected "
            f"{content}. Scores by them could not be compared; get the files of the pinned commit."
        )
    weights.save(target)


def _from_npz(file: Path) -> Weights:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            words = [str(word) for word in arrays["vocab"]]
            return _checked(file, words, arrays["idf"], arrays["coef"], arrays["intercept"])
    except (OSError, ValueError, KeyError) as err:
        raise AssetError(f"{file}: not an npz with vocab, idf, coef and intercept ({err}).") from err


def _from_pickles(classifier: Path, vectorizer: Path) -> Weights:
    texts, model = _attributes(vectorizer), _attributes(classifier)
    transformer = texts.get("_tfidf")
    inner = transformer.attributes if isinstance(transformer, Record) else {}
    for name, expected in _SUPPORTED.items():
        value = {**inner, **texts}.get(name, expected)
        if value != expected:
            raise AssetError(f"{vectorizer}: {name} is {value!r}, and only {expected!r} is known here.")
    if model.get("multi_class") == "multinomial":
        raise AssetError(f"{classifier}: multi_class is 'multinomial', and only one-versus-rest is known here.")
    columns = texts.get("vocabulary_")
    idf = inner.get("idf_", inner.get("_idf_diag"))  # name since scikit-learn 1.5, and before
    if type(idf) is Record:  # a diagonal sparse matrix
        idf = idf.attributes.get("data")
    if not isinstance(columns, dict) or sorted(map(int, columns.values())) != list(range(len(columns))):
        raise AssetError(f"{vectorizer}: its vocabulary does not number its words from 0.")
    if not all(isinstance(word, str) for word in columns):
        raise AssetError(f"{vectorizer}: its vocabulary holds what is no word.")
    words = sorted(columns, key=lambda word: int(columns[word]))
    return _checked(classifier, words, _array(idf), _array(model.get("coef_")), _array(model.get("intercept_")))


def _array(value: Any) -> Floats:
    got = value.value if isinstance(value, _Array) else None
    return np.asarray(got if isinstance(got, np.ndarray) else [], dtype=np.float64).ravel()


def _checked(where: Path, words: list[str], idf: Floats, coef: Floats, intercept: Floats) -> Weights:
    if idf.shape != (len(words),) or coef.shape != (len(words) + _EXTRA,) or intercept.shape != (1,):
        raise AssetError(
            f"{where}: {len(words)} words with idf {idf.shape}, coef {coef.shape}, intercept {intercept.shape}; expected "
            f"({len(words)},), ({len(words) + _EXTRA},) and (1,): these are not the two files of one PEDANTS classifier."
        )
    if not (np.isfinite(idf).all() and np.isfinite(coef).all() and np.isfinite(intercept).all()):
        raise AssetError(f"{where}: a weight is not a finite number. The file is damaged; get it again.")
    if any(not word or len(word.splitlines()) > 1 for word in words) or len(set(words)) < len(words):
        raise AssetError(f"{where}: the vocabulary has a word that is empty, of several lines, or there twice.")
    return Weights(tuple(words), idf.astype("f8"), coef.astype("f8"), float(intercept[0]))


# ---------------------------------------------------------------- pickles, without executing them


# `unpickle.load` cannot be used: it reads all opcodes first, and joblib has bytes of arrays between them.


class _Dtype(Record):
    """A numpy dtype by its name ("f8", "O8"), with the byte order from its state."""

    def __init__(self, name: Any = "", *_: Any) -> None:
        super().__init__()
        text = name.decode("latin1") if isinstance(name, bytes) else name
        if not isinstance(text, str) or text[:1] not in "biufSUO" or not text[1:].isdigit() or len(text) > 8:
            raise Refused(f"a numpy array of dtype {str(name)[:40]!r}")
        self.name, self.order = text, "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1] if state[1] in ("<", ">", "=") else "="

    def array(self, shape: Any, data: bytes, order: str) -> Any:
        dtype = np.dtype(self.order + self.name)
        if not all(isinstance(n, int) and n >= 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(data):
            raise Refused(f"a numpy array of shape {shape} in {len(data)} bytes")
        return np.frombuffer(data, dtype).reshape(shape, order=cast(Any, order))


class _Array(Record):
    """A numpy array; for arrays of Python objects only that it is one."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if isinstance(data, bytes) and isinstance(dtype, _Dtype) and dtype.name[0] != "O":
            self.value = dtype.array(shape, data, "F" if fortran else "C")


class _Inline(Record):
    """joblib's NumpyArrayWrapper: the bytes of the array follow in the file."""

    def read(self, reader: _Reader) -> _Array:
        dtype, shape = self.attributes.get("dtype"), self.attributes.get("shape")
        if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
            raise Refused("a joblib array without dtype or shape")
        if dtype.name[0] == "O":
            _Reader(reader.file).load()
            return _Array()
        if self.attributes.get("numpy_array_alignment_bytes") is not None:
            reader.file.read(ord(reader.file.read(1)))
        array = _Array()
        count = math.prod(shape) if all(isinstance(n, int) for n in shape) else -1
        data = reader.file.read(max(count, 0) * np.dtype(dtype.name).itemsize)
        array.value = dtype.array(shape, data, "F" if self.attributes.get("order") == "F" else "C")
        return array


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, _Dtype) or dtype.name[0] == "O":
        raise Refused("a numpy scalar that is no number")
    return dtype.array((1,), data.encode("latin1") if isinstance(data, str) else bytes(data), "C")[0]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> _Array:
    """The function that protocol 5 calls instead of `_reconstruct`."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


_NAMES: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "joblib.numpy_pickle.NumpyArrayWrapper": _Inline,
    "_codecs.encode": encode,
    **{f"numpy.{kind}": Record for kind in ("float64", "float32", "int64", "int32", "str_", "bool_")},
    **{f"numpy.{core}.multiarray._reconstruct": lambda *_: _Array() for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
    **{f"builtins.{kind.__name__}": kind for kind in (set, frozenset)},
    **{f"builtins.{kind}": Record for kind in ("int", "float", "bool", "str")},  # types in dtypes; never called
}
_RECORDS = ("sklearn", "scipy")  # packages whose classes become records


class _Reader(pickle._Unpickler):
    """Reads one pickle; `file` may have more after it. It is the reader written in Python, because joblib's arrays are
    read in between."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")
        self.file = file

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" in _NAMES:
            return _NAMES[f"{module}.{name}"]
        if module.split(".", maxsplit=1)[0] in _RECORDS and name.isidentifier():
            return Record
        raise Refused(f"it asks for {module}.{name}")

    def _build(self) -> None:
        top = self.stack[-2]
        if not isinstance(top, Record):
            raise Refused(f"it sets the state of {type(top).__name__}")
        cast(Any, super()).load_build()
        if isinstance(top, _Inline):
            self.stack[-1] = top.read(self)

    dispatch[pickle.BUILD[0]] = _build

    def _bytes(self) -> None:
        """A bytearray; the base class would allocate any declared length."""
        reader = cast(Any, self)
        data = reader.read(min(int.from_bytes(reader.read(8), "little"), LIMIT))
        reader.append(bytes(data))

    dispatch[pickle.BYTEARRAY8[0]] = _bytes


def _attributes(file: Path) -> Mapping[str, Any]:
    """The attributes of the object in a file. Raises AssetError."""
    if not file.is_file():
        raise AssetError(f"{file}: is missing.")
    if file.stat().st_size > LIMIT:
        raise AssetError(f"{file}: {file.stat().st_size} bytes, more than the {LIMIT} that are read.")
    try:
        encoded = file.read_bytes()
        if encoded[:1] == _ZLIB:
            encoded = zlib.decompressobj().decompress(encoded, LIMIT)
        model = _Reader(io.BytesIO(encoded)).load()
    except Refused as err:
        raise AssetError(f"{file}: refused: {err}. Weights have no business with that; nothing was run.") from err
    except Exception as err:  # a broken pickle raises nearly anything
        raise AssetError(f"{file}: not a pickle that can be read ({one_line(err)[:200]}).") from err
    if type(model) is not Record:
        raise AssetError(
            f"{file}: holds a {type(model).__name__}, expected a classifier or vectorizer of scikit-learn."
        )
    return model.attributes
