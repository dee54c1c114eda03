import io
import os
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambats.formats import DataError
from mambats.formats.restricted_pickle import read_pickle

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(st.integers() | st.text(), max_size=4)
    ),
    max_leaves=20,
)


def written(folder, content):
    path = folder / "infos.pkl"
    path.write_bytes(content)
    return path


@given(VALUES, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(tmp_path_factory, value, protocol):
    path = written(tmp_path_factory.mktemp("p"), pickle.dumps(value, protocol))
    assert read_pickle(path) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["f4", ">f8", "i8", "u1", "?", "c16", "U3", "S2"])
def test_numpy_comes_back(tmp_path, protocol, dtype):
    square = np.array([[1, 0, 3], [4, 5, 6]]).astype(dtype)
    value = {
        "c": square,
        "f": np.asfortranarray(square),
        "scalar": square[1, 0],
        "empty": square[:0],
        "one": square[:, :1],
    }
    read = read_pickle(written(tmp_path, pickle.dumps(value, protocol)))
    for name, array in value.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype.newbyteorder("=")  # numpy makes arrays native as well


class Evil:
    def __init__(self, call, *arguments):
        self.parts = (call, arguments)

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("evil", "name"),
    [
        (Evil(os.system, "touch {}"), f"{os.system.__module__}.system"),
        (Evil(eval, "open('{}', 'w')"), "eval"),
        (Evil(getattr, "x", "upper"), "getattr"),
        (Evil(io.open, "{}", "w"), "open"),
        (Evil(np.load, "{}"), "numpy.load"),
    ],
)  # fmt: skip
def test_code_is_refused_by_name_and_never_runs(tmp_path, protocol, evil, name):
    witness = tmp_path / "witness"
    call, arguments = evil.parts
    armed = Evil(call, *(str(argument).format(witness) for argument in arguments))
    path = written(tmp_path, pickle.dumps({"metainfo": [armed]}, protocol))
    with pytest.raises(DataError, match=rf"infos\.pkl, byte \d+: names .*{name}: refused"):
        read_pickle(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02r\xff\xff\xff\xff.",  # a memo of 4 billion places, which the unpickler in C makes
        b"\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.",  # a bytearray of 64 GB
        b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.",  # an array of 2 GB
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\xff\xff\xff\x7ftU\x01bt R.",
        b"\x80\x02cnumpy\ndtype\n(U\x0bS9999999999tR.",
        b"\x80\x02cnumpy\ndtype\n(U\x02O8tR.",  # objects
        b"\x80\x02cnumpy\ndtype\n}U\x05_makeK\x01sb.",  # changes what a name makes
        b"\x80\x02cnumpy\ndtype\n}}U\x05_makeK\x01s\x86b.",
        b"\x80\x02cnumpy\nndarray\n)\x81.",
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00zipt R.",
        b"\x80\x02U\x03oneQ.",  # a persistent id
        b"\x80\x02\x82\x01.",  # an extension
        b"",
        b"no pickle",
        pickle.dumps([1, 2, 3])[:-4],
    ],
)
def test_broken_and_greedy_files_are_refused_in_little_memory(tmp_path, content):
    path = written(tmp_path, content)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"infos\.pkl, byte \d+"):
        read_pickle(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_keys_that_take_for_ever_to_hash_are_refused(tmp_path):
    key = ()
    for _ in range(200):
        key = (key, key)
    deep = b"\x80\x02}" + b")" + b"".join(b"q%c2\x86" % i for i in range(100)) + b"K\x01s."
    for content in (deep, pickle.dumps({(1, 2): 3}), pickle.dumps({frozenset([(1, 2)])}, 4)):
        with pytest.raises(DataError, match="has a tuple as a key"):
            read_pickle(written(tmp_path, content))


def test_size_is_bounded(tmp_path):
    path = written(tmp_path, pickle.dumps("x" * 1000))
    with pytest.raises(DataError, match="has more than 100 bytes"):
        read_pickle(path, most=100)
    with pytest.raises(DataError, match=r"none\.pkl: cannot be read"):
        read_pickle(tmp_path / "none.pkl")


def test_names_are_whole_after_an_attack(tmp_path):
    attack = b"\x80\x02cnumpy\ndtype\n}U\x08__call__K\x01sb."
    with pytest.raises(DataError, match=r"changes numpy\.dtype"):
        read_pickle(written(tmp_path, attack))
    assert read_pickle(written(tmp_path, pickle.dumps(np.arange(3)))).tolist() == [0, 1, 2]
