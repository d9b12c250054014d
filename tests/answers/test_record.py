import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlsysbook.answers.record import Opaque, Wrapped, decode, encode

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.binary(max_size=20),
    lambda x: st.lists(x, max_size=4) | st.tuples(x, x) | st.dictionaries(st.text(max_size=5), x, max_size=4), max_leaves=12)
DTYPES = ["float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool"]


def travel(x):
    return decode(json.loads(json.dumps(encode(x))))


@given(plain)
def test_plain_data_comes_back_with_its_types(x):
    assert travel(x) == x and type(travel(x)) is type(x)


@given(hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
def test_arrays_come_back_with_shape_dtype_and_bits(x):
    y = travel(x)
    assert y.shape == x.shape and y.dtype == x.dtype and y.tobytes() == x.tobytes()


def test_views_and_other_byte_orders_come_back_as_plain_arrays():
    x = np.arange(12, dtype=">i4").reshape(3, 4).T[::-1]
    assert (travel(x) == x).all() and travel(x).dtype == np.int32


def test_slices_and_dtypes_travel():
    assert travel((slice(1, None, -2), ..., np.dtype("float16"))) == (slice(1, None, -2), ..., np.dtype("float16"))


def test_an_object_equal_to_everything_is_opaque():
    class Everything(int):
        def __eq__(self, other):
            return True

    class Sub(np.ndarray):
        pass

    for x in (Everything(3), np.zeros(2).view(Sub), object(), lambda: 1, {1, 2}, np.array([object()])):
        got = travel(x)
        assert isinstance(got, Opaque) and got != x and got != got


def test_an_object_with_numpy_is_recorded_as_its_class_and_array():
    class Tensor:
        def numpy(self):
            return np.arange(3)

    got = travel(Tensor())
    assert isinstance(got, Wrapped) and got.name == "Tensor" and got.array.tolist() == [0, 1, 2]


@pytest.mark.parametrize("forged", [
    [], "x", {"nd": "O", "shape": [1], "data": ""}, {"nd": "<f8", "shape": [1 << 40], "data": ""}, {"nd": "<f8", "shape": [-1], "data": ""},
    {"nd": "<f8", "shape": [True], "data": "AAAAAAAA8D8="}, {"v": [1]}, {"zzz": 1}, {"i": [[{"l": []}, {"v": 1}]]}, {"nd": "<f8", "shape": "ab", "data": ""},
])
def test_a_forged_record_is_a_value_error_and_allocates_nothing(forged):
    with pytest.raises((ValueError, TypeError)):
        decode(forged)
