"""The exported embeddings: rows against plain loops, gradients against differences, rotations against complex numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinytorch as tt
from tinytorch import DTypeError, Embedding, LearnedPositions, Rotary, ShapeError, SinusoidalPositions, Tensor, backend, gradcheck, tie
from tinytorch.embeddings import Lookup, Rotate, RowGradient, angles, gather_rows, merge_rows, scatter_add, sinusoids, step_rows_
from tinytorch.tensor import Storage

places = hnp.arrays(np.int64, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6), elements=st.integers(0, 8))
both = pytest.mark.parametrize("which", backend.BACKENDS)


@given(places, st.integers(1, 4), st.sampled_from(["float16", "float32", "float64"]))
def test_rows_and_sums_are_those_of_a_loop(indices, width, dtype):
    rng = np.random.default_rng(indices.size)
    table, grad = rng.integers(-9, 9, (9, width)).astype(dtype), rng.integers(-9, 9, (*indices.shape, width)).astype(dtype)
    wanted = np.zeros((9, width))
    for place in np.ndindex(indices.shape):
        assert (gather_rows(table, indices)[place] == table[indices[place]]).all()
        wanted[indices[place]] += grad[place]
    dense = scatter_add(indices, grad, 9)
    numbers, values = merge_rows(indices, grad)
    assert dense.dtype == values.dtype == dtype and (dense == wanted).all()
    assert numbers.tolist() == sorted(set(indices.reshape(-1).tolist()))
    listed = RowGradient(9, numbers, values)
    assert (listed.dense() == wanted).all() and ((listed + listed).dense() == 2 * wanted).all()


@both
@given(places)
def test_the_layer_is_the_same_on_kernels_and_in_numpy(which, indices):
    with backend.backend(which):
        layer = Embedding(9, 3, rng=np.random.default_rng(1))
        y = layer(indices)
        np.testing.assert_array_equal(y.numpy(), layer.weight.numpy()[indices])
        grad = np.random.default_rng(2).normal(size=y.shape).astype("float32")
        y.backward(grad)
        np.testing.assert_allclose(layer.weight.grad.numpy(), scatter_add(indices, grad, 9), rtol=1e-5, atol=1e-6)


@both
def test_gradients_agree_with_differences(which):
    rng, indices = np.random.default_rng(3), np.array([[0, 2], [2, 2]])
    with backend.backend(which):
        weight = Tensor(rng.normal(size=(4, 3)), requires_grad=True)
        assert gradcheck(lambda w: Lookup.apply(w, indices) ** 2, weight)
        x = Tensor(rng.normal(size=(2, 3, 4)), requires_grad=True)
        theta = rng.normal(size=(3, 2))
        assert gradcheck(lambda x: Rotate.apply(x, np.cos(theta), np.sin(theta)) ** 2, x)
        positions = LearnedPositions(5, 4, dtype="float64")
        assert gradcheck(lambda x: positions(x, 2) ** 2, x)


def test_a_list_of_rows_is_the_dense_gradient_also_over_several_backwards():
    indices = [[1, 1, 4], [0, 4, 4]]
    dense, sparse = (Embedding(6, 3, sparse=flag, rng=np.random.default_rng(5)) for flag in (False, True))
    for _ in range(2):
        for layer in (dense, sparse):
            (layer(indices) * layer([[0, 2, 3], [1, 2, 3]])).sum().backward()
    assert sparse.weight.grad is None and repr(sparse.row_gradient).startswith("RowGradient(5 of 6 rows, ")
    np.testing.assert_allclose(sparse.row_gradient.dense(), dense.weight.grad.numpy(), rtol=1e-6)
    before = dense.weight.numpy().copy()
    sparse.step_(0.5)
    np.testing.assert_allclose(sparse.weight.numpy(), before - 0.5 * dense.weight.grad.numpy(), rtol=1e-6, atol=1e-7)
    sparse.zero_grad()
    assert sparse.row_gradient is None
    sparse.step_(0.5)  # nothing to do


def test_a_list_of_rows_takes_bytes_for_the_rows_that_were_used():
    layer = Embedding(10_000, 16, sparse=True)
    loss = layer([3, 9_999, 3]).sum()
    Storage.peak_bytes = held = Storage.live_bytes
    loss.backward()
    assert layer.row_gradient.nbytes == 2 * (8 + 16 * 4) and Storage.peak_bytes - held < 10_000


def test_padding_starts_and_stays_zero():
    layer = Embedding(5, 3, padding=2, rng=np.random.default_rng(0))
    optimizer = tt.AdamW(layer.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (layer([[2, 1], [2, 2]]) - 1).sum().backward()
        optimizer.step()
    assert not layer.weight.numpy()[2].any() and repr(layer) == "Embedding(5, 3, padding=2)"


def test_a_step_on_rows_is_seen_by_autograd_as_a_write():
    layer = Embedding(4, 2)
    y = (layer.weight * layer.weight).sum()
    step_rows_(layer.weight, np.array([1]), np.ones((1, 2), "float32"), 0.1)
    with pytest.raises(RuntimeError, match="changed|written|overwritten|version"):
        y.backward()


@pytest.mark.parametrize("attempt, error, message", [
    (lambda: Embedding(3, 2)([0, -1]), IndexError, "index -1 is not a row of 3: rows are 0 to 2"),
    (lambda: Embedding(3, 2)([[0, 3]]), IndexError, "index 3 is not a row of 3"),
    (lambda: Embedding(3, 2)([0.5]), DTypeError, "indices are integers, got float32"),
    (lambda: Lookup.apply(np.zeros(3), np.array([0])), ShapeError, r"table \(V, D\) of floats, got float64, shape \(3,\)"),
    (lambda: Embedding(0, 2), ValueError, "at least one row and one column, got 0 and 2"),
    (lambda: Embedding(3, 2, padding=3), ValueError, "padding 3 is not a row of 3"),
    (lambda: LearnedPositions(0, 2), ValueError, "got 0 and 2"),
    (lambda: LearnedPositions(4, 2)(tt.zeros((3, 2)), 2), IndexError, "position 4 is not one of the 4 that were trained, 0 to 3"),
    (lambda: LearnedPositions(4, 2)(tt.zeros((3, 1))), ShapeError, r"wants x \(\.\.\., T, 2\), got shape \(3, 1\)"),
    (lambda: Rotary(3), ValueError, "the width is even, got 3"),
    (lambda: SinusoidalPositions(0), ValueError, "the width is even, got 0"),
    (lambda: Rotary(4)(tt.zeros((2, 2))), ShapeError, r"wants x \(\.\.\., T, 4\), got shape \(2, 2\)"),
    (lambda: tie(Embedding(3, 2), tt.Linear(3, 2)), ShapeError, r"shape \(3, 2\), the linear layer \(2, 3\)"),
    (lambda: tie(Embedding(3, 2, dtype="float64"), tt.Linear(2, 3)), DTypeError, "float64, the linear layer of float32"),
    (lambda: tie(Embedding(3, 2, sparse=True), tt.Linear(2, 3)), ValueError, "sparse"),
])
@both
def test_what_is_refused_says_why(which, attempt, error, message):
    with backend.backend(which), pytest.raises(error, match=message) as caught:
        attempt()
    assert "\n" not in str(caught.value)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**5))
def test_rotations_are_products_with_complex_numbers(pairs, length, offset):
    x = np.random.default_rng(length).normal(size=(2, length, 2 * pairs))
    y = Rotary(2 * pairs)(Tensor(x), offset).numpy()
    turn = np.exp(1j * np.outer(np.arange(offset, offset + length), 10_000.0 ** (-np.arange(pairs) / pairs)))
    wanted = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
    np.testing.assert_allclose(y[..., 0::2] + 1j * y[..., 1::2], wanted, atol=1e-9)


@given(st.integers(1, 6), st.integers(0, 10**4), st.integers(0, 10**4))
def test_waves_shift_by_rotations_and_products_of_turned_rows_depend_on_distance(pairs, p, k):
    width = 2 * pairs
    wave, shifted = sinusoids(np.array([p, p + k]), width)
    theta = angles([k], width)[0]
    np.testing.assert_allclose(shifted[0::2], wave[0::2] * np.cos(theta) + wave[1::2] * np.sin(theta), atol=1e-8)
    q, key = np.random.default_rng(p).normal(size=(2, 1, width))
    layer = Rotary(width)
    here, there = ((layer(Tensor(q), at + k).numpy() * layer(Tensor(key), at).numpy()).sum() for at in (0, p))
    assert here == pytest.approx(there, abs=1e-7)


def test_a_tied_matrix_has_the_gradient_of_both_uses():
    model = tt.Module()
    model.table = Embedding(5, 3, rng=np.random.default_rng(1), dtype="float64")
    model.head = tie(model.table, tt.Linear(3, 5, bias=False, dtype="float64"))
    tokens, targets = Tensor([1, 4, 1]), Tensor([4, 0, 2])
    assert [name for name, _ in model.named_parameters()] == ["table.weight"] and len(model.state_dict()) == 2
    assert gradcheck(lambda w: tt.cross_entropy(Lookup.apply(w, tokens) @ w.T, targets), Tensor(model.table.weight, requires_grad=True))
    tt.cross_entropy(model.head(model.table(tokens)), targets).backward()
    weight = Tensor(model.table.weight.numpy(), requires_grad=True)
    tt.cross_entropy(Lookup.apply(weight, tokens) @ weight.T, targets).backward()
    np.testing.assert_allclose(model.table.weight.grad.numpy(), weight.grad.numpy(), rtol=1e-12)
