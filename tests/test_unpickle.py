"""A pickle from elsewhere is read as data: what it may hold comes back, what it asks for beyond that is refused by name."""

from __future__ import annotations

import collections
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diva_bench.errors import DataError
from diva_bench.weights import unpickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
VALUES: tuple[Any, ...] = (
    {"a": [1, 2.5, "ä", b"y", None, True, (1, 2)], "set": {1, 2}, "frozen": frozenset([3]), "big": 2**80, 7: 1 + 2j},
    collections.OrderedDict(a=1, b=[2]),
    bytearray(b"ab"),
)
ARRAYS = (
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.array(["ab", "c"]),
    np.array([b"ab"]),
    np.array([], dtype="f4"),
    np.array(3.0),
    np.array([True, False]),
    np.arange(4, dtype=">i4"),
    np.float32(2.5),
    np.int64(3),
    np.bool_(True),
)


DTYPE = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR"
SCALAR = b"cnumpy.core.multiarray\nscalar\n"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(tR"


class Runs:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Plain:
    def __init__(self) -> None:
        self.weight = np.arange(3.0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_and_numbers_come_back_as_they_were(protocol: int) -> None:
    for value in VALUES:
        assert unpickle.load(pickle.dumps(value, protocol=protocol)) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_and_scalars_come_back_as_numpy_itself_reads_them(protocol: int) -> None:
    for value in ARRAYS:
        encoded = pickle.dumps(value, protocol=protocol)
        got, expected = unpickle.load(encoded), pickle.loads(encoded)
        assert np.array_equal(got, expected)
        assert got.shape == expected.shape
        assert got.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")


def test_text_of_python_2_is_read_as_latin_1() -> None:
    assert unpickle.load(b"U\x02\xe4x.") == "äx"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(protocol: int, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    for value in (Runs(os.system, f"touch {witness}"), [Runs(eval, "1")], Runs(getattr, "a", "upper")):
        path = tmp_path / "bad.pkl"
        path.write_bytes(pickle.dumps(value, protocol=protocol))
        with pytest.raises(DataError, match=rf"{path}: refused: it asks for (posix.system|\w+.eval|\w+.getattr)\."):
            unpickle.load(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Plain(), f"it asks for {__name__}.Plain"),
        (collections.Counter("ab"), "it asks for collections.Counter"),
        (np.array([None, 1], dtype=object), "dtype 'O8'; numbers and text are read"),
        (np.zeros(2, dtype=[("a", "i4")]), "dtype 'V4'"),
        (np.datetime64("2020-01-01"), "dtype 'M8'"),
    ],
)
def test_what_is_not_in_the_table_is_refused_by_name(value: Any, said: str) -> None:
    with pytest.raises(DataError, match="the pickle: refused: ") as caught:
        unpickle.load(pickle.dumps(value))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (b"", "not a pickle that can be read"),
        (b"PK\x03\x04 no pickle", "not a pickle that can be read"),
        (pickle.dumps(["some text"] * 9)[:-4], "not a pickle that can be read"),
        (b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b".", "memo slot 2147483647 in a file of 9 bytes"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc.", "not a pickle that can be read"),
        (b"\x80\x02cnumpy\nndarray\n(I1000000000\nt\x81.", "it makes a numpy array by its class"),
        (b"cbuiltins\nbytes\n(I1000000000000\ntR.", "it asks for 1000000000000 bytes of nothing"),
        (b"cnumpy.core.multiarray\n_reconstruct\n}S'__defaults__'\nNsb.", "it sets the state of a function"),
        (b"cbuiltins\nlist.append\n.", "it asks for builtins.list.append"),
        (b"cnumpy\ncore.multiarray.scalar\n.", "it asks for numpy.core.multiarray.scalar"),
        (DTYPE % b"U999999999999" + b".", "it asks for a numpy array of dtype 'U999999999999'"),
        (DTYPE % b"f8" + b"(I3\nS'x'\ntb.", "numpy byte order 'x'"),
        (
            SCALAR + b"(" + DTYPE % b"f8" + b"C\x10" + bytes(16) + b"tR.",
            "a numpy scalar that is not a number or text of its",
        ),
        (ARRAY + b"(K\x01(J\xff\xff\xff\xffJ\xfd\xff\xff\xfft" + DTYPE % b"i1" + b"\x89C\x03abctb.", "shape (-1, -3)"),
        (b"P1\n.", "it asks for the outside object '1'"),
        (b"\x80\x02\x82\x01.", "it asks for the registered extension 1"),
        (b"c_codecs\nencode\n(S'a'\nS'zlib'\ntR.", "it asks for codec 'zlib'"),
    ],
)
def test_broken_and_hostile_bytes_are_an_error_in_words(encoded: bytes, said: str) -> None:
    with pytest.raises(DataError) as caught:
        unpickle.load(encoded)
    assert said in str(caught.value)


def test_an_array_must_have_as_many_bytes_as_its_shape_needs() -> None:
    honest = pickle.dumps(np.arange(3, dtype="i1"), protocol=2)
    lying = honest.replace(b"K\x03\x85", b"K\x63\x85")  # 99 values
    assert lying != honest
    with pytest.raises(DataError, match=r"refused: a numpy array of shape \(99,\) in 3 bytes"):
        unpickle.load(lying)


@pytest.mark.parametrize(
    ("item", "call"),
    [
        (b"B" + struct.pack("<I", 50_000) + bytes(50_000), b"cbuiltins\nbytearray\n"),
        (b"X" + struct.pack("<I", 50_000) + bytes(50_000), b"c_codecs\nencode\n"),
        (b"(" + b"K\x01" * 50_000 + b"t", b"cbuiltins\nset\n"),
    ],
)
def test_a_small_file_cannot_have_one_value_copied_over_and_over(item: bytes, call: bytes) -> None:
    encoded = b"\x80\x03(" + item + b"q\x00" + (call + b"h\x00\x85R") * 100 + b"t."
    with pytest.raises(DataError, match="refused: it copies more than 8 times what it holds"):
        unpickle.load(encoded)


def test_a_small_file_cannot_have_many_arrays_of_the_same_bytes() -> None:
    data = b"B" + struct.pack("<I", 50_000) + bytes(50_000) + b"q\x00"
    state = b"(K\x01(M" + struct.pack("<H", 50_000) + b"t" + DTYPE % b"i1" + b"\x89h\x00tb"
    once, often = (b"\x80\x03(" + data + (ARRAY + state) * count + b"t." for count in (1, 100))
    assert unpickle.load(once)[1].tolist() == [0] * 50_000
    with pytest.raises(DataError, match="refused: it copies more than 8 times what it holds"):
        unpickle.load(often)


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.pkl"
    path.write_bytes(pickle.dumps("x" * 1000))
    with pytest.raises(DataError, match=r"large.pkl: 1.0 kB, more than the 100 B that are read of a pickle"):
        unpickle.load(path, limit=100)
    with pytest.raises(DataError, match=r"the pickle: 1.0 kB, more than the 100 B that are read of a pickle"):
        unpickle.load(path.read_bytes(), limit=100)
    with pytest.raises(DataError, match=r"none.pkl: cannot be read"):
        unpickle.load(tmp_path / "none.pkl")


def test_a_caller_can_allow_more_and_gets_the_state_of_a_class_without_the_class() -> None:
    got = unpickle.load(pickle.dumps(Plain()), allowed={f"{__name__}.Plain": unpickle.Record})
    assert isinstance(got, unpickle.Record)
    assert got.attributes["weight"].tolist() == [0.0, 1.0, 2.0]
    listed = b"\x80\x02cmine\nThing\n)\x81](U\x01aeb."
    with pytest.raises(DataError, match="a state of type list where a dict of attributes was expected"):
        unpickle.load(listed, allowed={"mine.Thing": unpickle.Record})
