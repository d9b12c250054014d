"""Rows of a table by number, and rows added up by number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tinytorch.kernels.strategies import EPS, array, extremes, inner, seeds, unwritten
from tinytorch.autograd import gradcheck
from tinytorch.backend import kernel
from tinytorch.embeddings import Lookup
from tinytorch.tensor import DTypeError, Tensor

sizes = st.tuples(st.integers(1, 40), st.integers(0, 40), st.integers(0, 40))  # rows of the table, numbers, width


def numbers(seed, rows, n):
    return np.random.default_rng(seed).integers(0, rows, n)


@given(sizes=sizes, seed=seeds)
def test_gather_copies_rows_bit_by_bit(form, sizes, seed):
    rows, n, width = sizes
    table, index = extremes(seed, (rows, width)), numbers(seed, rows, n)
    for threads in (1, 2):
        out = unwritten((n, width))
        kernel("gather")(table, index, out, threads=threads)
        assert out.tobytes() == table[index].tobytes()


@given(sizes=sizes, seed=seeds)
def test_scatter_add_adds_each_row_to_its_place(form, sizes, seed):
    rows, n, width = sizes
    x, index, start = array(seed, (n, width)), numbers(seed, rows, n), array(seed + 1, (rows, width))
    exact, size = start.astype(np.float64), np.abs(start).astype(np.float64)
    np.add.at(exact, index, x)
    np.add.at(size, index, np.abs(x))
    results = []
    for threads in (1, 2):
        out = start.copy()
        kernel("scatter_add")(x, index, out, threads=threads)
        results.append(out)
        assert (np.abs(out - exact) <= (n + 1) * EPS * size).all()
    np.testing.assert_array_equal(*results)


@given(sizes=sizes, seed=seeds)
def test_scatter_add_is_the_transpose_of_gather(form, sizes, seed):
    rows, n, width = sizes
    table, index, x = array(seed, (rows, width)), numbers(seed, rows, n), array(seed + 1, (n, width))
    taken, added = unwritten((n, width)), np.zeros((rows, width), np.float32)
    kernel("gather")(table, index, taken)
    kernel("scatter_add")(x, index, added)
    assert inner(taken, x) == pytest.approx(inner(table, added), rel=1e-5, abs=1e-4)


def test_nan_and_infinity_stay_in_their_place(form):
    x = np.array([[np.nan, 1], [np.inf, 1], [-np.inf, 2], [1, 2]], np.float32)
    out = np.zeros((4, 2), np.float32)
    kernel("scatter_add")(x, np.array([0, 1, 1, 3]), out)
    np.testing.assert_array_equal(out, [[np.nan, 1], [np.nan, 3], [0, 0], [1, 2]])


@pytest.mark.parametrize("bad", [-1, 4, 2**62, -(2**63)])
def test_numbers_out_of_range_are_refused_with_their_place_and_nothing_is_written(form, bad):
    index, table, rows = np.array([0, 3, bad]), array(1, (4, 2)), np.zeros((3, 2), np.float32)
    before = table.copy()
    with pytest.raises(IndexError, match=f"^gather: index {bad} at place 2 is not a row of 4, 0 to 3$"):
        kernel("gather")(table, index, rows)
    with pytest.raises(IndexError, match=f"^scatter_add: index {bad} at place 2"):
        kernel("scatter_add")(rows + 1, index, table)
    assert not rows.any() and (table == before).all()


@pytest.mark.parametrize("fault", ["dtype", "index", "shape", "strides", "read-only", "shared"])
def test_arrays_that_do_not_fit_are_refused_in_one_line(form, fault):
    table, index, rows = array(1, (4, 6)), np.zeros(3, np.int64), array(2, (3, 6))
    if fault == "read-only":
        table.flags.writeable = rows.flags.writeable = False
    table, index, rows = {
        "dtype": (table.astype(np.float16), index, rows), "index": (table, index.astype(np.int32), rows),
        "shape": (table, index, rows[:2]), "strides": (table[:, ::2], index, rows[:, ::2]),
        "read-only": (table, index, rows), "shared": (table, index, table[:3]),
    }[fault]
    for name, arguments in (("gather", (table, index, rows)), ("scatter_add", (rows, index, table))):
        with pytest.raises(ValueError, match=f"^{name}: [^\n]+$"):
            kernel(name)(*arguments)


def test_the_operation_of_module_11_in_every_precision(backend):
    indices = np.array([[2, 0], [2, 1]], np.int32)
    weight = Tensor(array(3, (4, 5)).astype(np.float64), requires_grad=True)
    gradcheck(lambda w: Lookup.apply(w, indices), weight)
    for dtype in (np.float16, np.float32, np.float64):
        w = Tensor(array(3, (4, 5)).astype(dtype), requires_grad=True)
        y = Lookup.apply(w, indices)
        assert y.shape == (2, 2, 5) and y.dtype == dtype
        np.testing.assert_array_equal(y.numpy(), w.numpy()[indices])
        y.sum().backward()
        np.testing.assert_array_equal(w.grad.numpy(), np.array([1, 1, 2, 0], dtype)[:, None] * np.ones((4, 5), dtype))
    assert Lookup.apply(weight, np.zeros((0, 2), int)).shape == (0, 2, 5)
    with pytest.raises(DTypeError, match="indices are integers, got float32"):
        Lookup.apply(weight, np.zeros(2, np.float32))
    with pytest.raises(IndexError, match="index 4 is not a row of 4"):
        Lookup.apply(weight, np.array([0, 4]))
