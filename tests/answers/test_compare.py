import numpy as np
import pytest

from mlsysbook.answers.compare import difference
from mlsysbook.answers.record import Opaque, Wrapped

SAME = [
    (1, 1), (0.1 + 0.2, 0.3), (float("nan"), float("nan")), ("a", "a"), ((1, 2.0), (1, 2.0)), ({"a": [1]}, {"a": [1]}), (None, None),
    (np.float32([1, 2]), np.float32([1, 2 + 1e-6])), (np.array([np.nan, np.inf]), np.array([np.nan, np.inf])),
    (np.zeros((0, 3)), np.zeros((0, 3))), (np.float64(2), np.float64(2)), (np.dtype("int8"), np.dtype("int8")),
    (Wrapped("Tensor", np.ones(2)), Wrapped("Tensor", np.ones(2))),
]
OTHER = [
    (1, 2), (1, 1.0), (True, 1), (1.0, 1.001), ("a", "b"), ((1, 2), [1, 2]), ((1,), (1, 2)), ({"a": 1}, {"b": 1}), (None, 0), (0, None),
    (np.ones(3), np.ones((3, 1))), (np.ones(3), np.ones(3, np.float32)), (np.ones(3), [1.0, 1.0, 1.0]), (2.0, np.float64(2)), (np.float64(2), 2.0),
    (np.array([np.inf]), np.array([-np.inf])), (np.array([1.0]), np.array([np.nan])), (Opaque("W"), 1), (Opaque("W"), Opaque("W")),
    (Wrapped("W", np.ones(2)), Wrapped("Tensor", np.ones(2))), (np.ones(2), Wrapped("Tensor", np.ones(2))), (np.dtype("int8"), np.dtype("int16")),
    ("numpy", np.ones(2)), (np.array([True]), np.array([1])),
]


@pytest.mark.parametrize(("got", "want"), SAME)
def test_equal_results_do_not_differ(got, want):
    assert difference(got, want) is None


@pytest.mark.parametrize(("got", "want"), OTHER)
def test_other_type_shape_dtype_or_value_differs_in_one_line(got, want):
    text = difference(got, want)
    assert text and "\n" not in text


def test_value_mode_ignores_dtype_but_not_value():
    assert difference(np.array([1, 2]), np.array([1.0, 2.0]), compare="value") is None
    assert difference(2, 2.0, compare="value") is None
    assert difference(np.array([1, 3]), np.array([1.0, 2.0]), compare="value")
    assert difference([1, 2], (1, 2), compare="value") is None


def test_tolerance_follows_the_coarser_dtype():
    x = np.linspace(1, 2, 50)
    assert difference(x.astype("float16") * np.float16(1.002), x.astype("float16")) is None
    assert difference((x * (1 + 1e-5)).astype("float32"), x.astype("float32")) is None
    assert difference(x * (1 + 1e-5), x)
    assert difference(x * 1.01, x, rtol=0.05) is None


def test_the_message_says_where():
    assert difference(np.array([[1, 2], [3, 5]]), np.array([[1, 2], [3, 4]])) == "1 of 4 values differ; first at [1, 1]: wanted 4, got 5"
