"""The exported tensor against NumPy: the same views on the same memory, the same numbers, errors that name both sides."""

import copy
import math
import pickle
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinytorch
from tinytorch import DTypeError, Function, OverlapError, ShapeError, Storage, Tensor
from tinytorch.tensor import (
    DTYPES,
    Layout,
    broadcast_shapes,
    contiguous_strides,
    expand_layout,
    is_contiguous,
    reshape_layout,
    result_type,
    strided,
)

INTS, FLOATS = ("int8", "int32", "int64"), ("float16", "float32", "float64")
TOLERANCE = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-12}

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
dtypes = st.sampled_from(sorted(DTYPES))


def numbers(shape, dtype="float32"):
    """Distinct values, so that an element in the wrong place shows."""
    return np.arange(math.prod(shape)).reshape(shape).astype(dtype)


@st.composite
def view_pairs(draw, max_steps=4, min_side=0):
    """A tensor and a NumPy array that went through the same views -> (tensor, array, the array at the start)."""
    start = numbers(draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=min_side, max_side=5)))
    x = Tensor.from_numpy(start)
    a = start
    for _ in range(draw(st.integers(0, max_steps))):
        step = draw(st.sampled_from(("permute", "slice", "expand", "reverse", "reshape")))
        if step == "permute":
            order = draw(st.permutations(range(a.ndim)))
            x, a = x.permute(*order), a.transpose(order)
        elif step == "slice":
            key = draw(hnp.basic_indices(a.shape, max_dims=5, allow_newaxis=True))
            x, a = x[key], np.asarray(a[key]) if np.isscalar(a[key]) else a[key]
            assume(a.ndim <= 5)
            if a.base is None:  # NumPy copied a single element into a scalar
                return x, a, None
        elif step == "expand":
            target = (draw(st.integers(1, 3)), *(draw(st.integers(0, 3)) if n == 1 else n for n in a.shape))
            x, a = x.expand(target), np.broadcast_to(a, target)
        elif step == "reverse" and a.ndim:
            x, a = x[::-1], a[::-1]
        elif step == "reshape":
            x, a = x.reshape(-1) if a.size else x, a.reshape(-1) if a.size else a
            if a.size and not np.shares_memory(a, start):
                start = None
        if start is None:
            break
    return x, a, start


# Layouts


@given(view_pairs())
def test_views_show_what_numpy_shows(pair):
    x, a, _ = pair
    assert x.shape == a.shape
    np.testing.assert_array_equal(x.numpy(), a)
    assert x.tolist() == a.tolist()


@given(view_pairs())
def test_views_have_numpys_strides_and_memory(pair):
    x, a, start = pair
    assume(start is not None and a.size)
    ours = [s for s, n in zip(x.strides, x.shape, strict=True) if n > 1]
    assert ours == [s // a.itemsize for s, n in zip(a.strides, a.shape, strict=True) if n > 1]
    assert np.shares_memory(x.numpy(), start)
    assert x.numpy().__array_interface__["data"][0] == a.__array_interface__["data"][0]
    assert x.is_contiguous() == a.flags.c_contiguous


@given(shapes)
def test_new_tensors_are_row_major(shape):
    x = tinytorch.zeros(shape)
    if 0 not in shape:
        assert x.strides == tuple(s // 4 for s in np.zeros(shape, "float32").strides)
    assert x.is_contiguous() and x.offset == 0
    assert x.storage.nbytes == x.nbytes == 4 * math.prod(shape)


def test_strides_of_empty_shapes_count_a_length_of_zero_as_one():
    assert contiguous_strides((2, 0, 3)) == (3, 3, 1)
    assert contiguous_strides(()) == ()


@given(view_pairs(), st.data())
def test_reshape_is_a_view_exactly_when_numpy_has_one(pair, data):
    x, a, _ = pair
    assume(a.size)
    target = data.draw(st.permutations(_factors(a.size))) + data.draw(st.sampled_from(([], [1])))
    view = reshape_layout(x.layout, target)
    wanted = a.reshape(target)
    assert (view is not None) == np.shares_memory(a, wanted)
    result = x.reshape(*target)
    assert result.shares_storage(x) == (view is not None)
    np.testing.assert_array_equal(result.numpy(), wanted)
    if view is None:
        with pytest.raises(ShapeError, match="no view"):
            x.view(*target)
    else:
        assert x.view(*target).shares_storage(x)


def _factors(n):
    """n as a list of three lengths."""
    first = next((d for d in (2, 3, 5) if n % d == 0), 1)
    second = next((d for d in (3, 2, 5) if n // first % d == 0), 1)
    return [first, second, n // first // second]


@given(view_pairs(min_side=1))
def test_reshape_infers_one_length(pair):
    x, a, _ = pair
    assert x.reshape(-1).shape == (a.size,)
    assert x.reshape(1, -1, 1).shape == (1, a.size, 1)


def test_a_strided_row_merges_into_one_axis_without_a_copy():
    x = tinytorch.arange(12).reshape(3, 4)[:, ::2]
    assert x.reshape(6).strides == (2,) and x.reshape(6).shares_storage(x)
    assert x.reshape(2, 3).strides == (6, 2)


@given(st.lists(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3), max_size=4))
def test_broadcast_shapes_agrees_with_numpy(some):
    try:
        wanted = np.broadcast_shapes(*some)
    except ValueError:
        with pytest.raises(ShapeError) as caught:
            broadcast_shapes(*some)
        assert all(str(shape) in str(caught.value) for shape in some)
    else:
        assert broadcast_shapes(*some) == wanted


@given(view_pairs(), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
def test_expand_agrees_with_numpy(pair, target):
    x, a, _ = pair
    try:
        wanted = np.broadcast_to(a, target)
    except ValueError:
        with pytest.raises(ShapeError):
            x.expand(target)
    else:
        result = x.expand(target)
        np.testing.assert_array_equal(result.numpy(), wanted)
        assert result.shares_storage(x)


def test_a_layout_outside_its_buffer_is_refused():
    buffer = np.zeros(6, "float32")
    for layout in (Layout((7,), (1,)), Layout((3, 2), (3, 1)), Layout((2,), (-1,)), Layout((), (), 6), Layout((), (), -1)):
        with pytest.raises(ShapeError, match="outside"):
            strided(buffer, layout)


@given(view_pairs())
def test_contiguous_copies_only_what_is_not(backend, pair):
    x, a, _ = pair
    y = x.contiguous()
    assert y.is_contiguous() and (y is x) == x.is_contiguous()
    np.testing.assert_array_equal(y.numpy(), a)


@pytest.mark.parametrize("dtype", DTYPES)
def test_contiguous_copies_every_dtype(backend, dtype):
    a = numbers((5, 6, 7), dtype)
    y = Tensor(a).transpose(0, 2)[:, 1:].contiguous()
    np.testing.assert_array_equal(y.numpy(), a.swapaxes(0, 2)[:, 1:])
    assert y.dtype == dtype and y.storage.nbytes == y.nbytes


# Dtypes


@pytest.mark.parametrize("data, dtype", [(1.5, "float32"), (1, "int64"), (True, "bool"), ([1, 2.0], "float32"), ([], "float32"),
                                         ([[True], [False]], "bool"), (np.float16(2), "float16"), (np.zeros(2, "int8"), "int8")])
def test_a_dtype_is_inferred(data, dtype):
    assert Tensor(data).dtype == dtype


@given(shapes, dtypes)
def test_bytes_are_true(shape, dtype):
    x = tinytorch.ones(shape, dtype)
    assert x.nbytes == math.prod(shape) * np.dtype(dtype).itemsize == x.storage.data.nbytes


def test_a_view_shows_fewer_bytes_than_it_keeps():
    x = tinytorch.zeros((10, 100))[3, ::2]
    assert (x.nbytes, x.storage.nbytes) == (200, 4000)


@given(dtypes, dtypes)
def test_promotion_takes_the_higher_kind_and_numpys_width_within_it(a, b):
    a, b = np.dtype(a), np.dtype(b)
    result = result_type(a, b)
    assert result == result_type(b, a) == result_type(result, a)
    same_kind = [d for d in (a, b) if d.kind == max(a.kind, b.kind, key="bif".index)]
    assert result == np.result_type(*same_kind)


@pytest.mark.parametrize("dtype, number, wanted", [
    ("float16", 2.5, "float16"), ("float16", 3, "float16"), ("int8", 3, "int8"), ("int8", 0.5, "float32"),
    ("bool", 1, "int64"), ("bool", True, "bool"), ("float64", True, "float64"), ("int64", 1.0, "float32")])
def test_a_number_brings_a_kind_and_no_width(dtype, number, wanted):
    x = tinytorch.ones(3, dtype)
    for result in (x * number, number * x):
        assert result.dtype == wanted


@pytest.mark.parametrize("make, error, words", [
    (lambda: Tensor([1], "float23"), DTypeError, "float32"),
    (lambda: Tensor(np.zeros(2, "uint8")), DTypeError, "int8"),
    (lambda: Tensor("text"), DTypeError, "holds bools, integers or floats"),
    (lambda: Tensor([300], "int8"), DTypeError, "300"),
    (lambda: Tensor([math.nan], "int32"), DTypeError, "nan"),
    (lambda: Tensor(2**70), DTypeError, "holds"),
    (lambda: Tensor([2**63]), DTypeError, "int64"),
    (lambda: Tensor([[1, 2], [3]]), ShapeError, "rectangular"),
    (lambda: Tensor.from_numpy(np.zeros((3, 2)).T), ShapeError, "row-major"),
    (lambda: tinytorch.ones(3, "int8") + 1000, DTypeError, "1000"),
    (lambda: tinytorch.ones(3) + "text", DTypeError, "str")])
def test_what_cannot_be_held_is_refused(make, error, words):
    with pytest.raises(error, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_astype_converts_a_copy():
    x = Tensor([300, -1.7])
    assert x.astype("int32").tolist() == [300, -1]
    assert tinytorch.full(1, 200).astype("int8").item() == -56
    assert not x.astype("float32").shares_storage(x)


# Arithmetic


@given(st.data(), hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=4))
def test_arithmetic_agrees_with_exact_fractions(data, broadcast):
    a, b = (data.draw(hnp.arrays("int32", shape, elements=st.integers(-50, 50))) for shape in broadcast.input_shapes)
    x, y = Tensor(a, "float64"), Tensor(b, "float64")
    wide = [np.broadcast_to(v, broadcast.result_shape).ravel().tolist() for v in (a, b)]
    for operation in (lambda p, q: p + q, lambda p, q: p - q, lambda p, q: p * q):
        result = operation(x, y)
        assert result.shape == broadcast.result_shape
        assert result.numpy().ravel().tolist() == [operation(Fraction(p), Fraction(q)) for p, q in zip(*wide, strict=True)]
    quotients = (x / y).numpy().ravel().tolist()
    for got, p, q in zip(quotients, *wide, strict=True):
        if q:
            assert got == float(Fraction(p, q))
        else:
            assert math.isnan(got) if p == 0 else got == math.copysign(math.inf, p)
    for ours, wanted in ((x < y, a < b), (x <= y, a <= b), (x > y, a > b), (x >= y, a >= b), (x == y, a == b), (x != y, a != b)):
        assert ours.dtype == bool
        np.testing.assert_array_equal(ours.numpy(), wanted)


@pytest.mark.parametrize("dtype", [*INTS, "bool"])
def test_whole_numbers_divide_to_float32(dtype):
    result = Tensor([1, 0, 1], dtype) / Tensor([1, 1, 0], dtype)
    assert result.dtype == "float32" and result.tolist() == [1.0, 0.0, math.inf]


def test_numbers_and_arrays_stand_on_either_side():
    x = Tensor([1.0, 2.0])
    assert (1 - x).tolist() == [0.0, -1.0] and (2 / x).tolist() == [2.0, 1.0] and (2**x).tolist() == [2.0, 4.0]
    assert type(np.array([10.0, 20.0]) - x) is Tensor and (np.array([10.0, 20.0]) - x).tolist() == [9.0, 18.0]
    assert (np.float64(3) * x).dtype == "float32"
    assert (-x).tolist() == [-1.0, -2.0] and (x**2).tolist() == [1.0, 4.0]
    assert (x == None) is False  # noqa: E711  (not an operand: identity decides)
    with pytest.raises(DTypeError, match="negative powers"):
        Tensor([2]) ** -1


@pytest.mark.parametrize("dtype", [*INTS, *FLOATS, "bool"])
@given(st.data())
def test_reductions_agree_with_exact_sums(dtype, data):
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    limit = 1 if dtype == "bool" else 100
    a = data.draw(hnp.arrays("int64", shape, elements=st.integers(0 if dtype == "bool" else -limit, limit))).astype(dtype)
    axis = data.draw(st.none() | st.sets(st.integers(-a.ndim, a.ndim - 1)).map(tuple)) if a.ndim else None
    keepdims = data.draw(st.booleans())
    assume(axis is None or len({k % a.ndim for k in axis}) == len(axis))
    x = Tensor(a).T.contiguous().T if data.draw(st.booleans()) else Tensor(a)
    exact = a.astype("int64").sum(axis, keepdims=keepdims)
    total = x.sum(axis, keepdims)
    assert total.dtype == (dtype if dtype in FLOATS else "int64")
    np.testing.assert_array_equal(total.numpy(), exact.astype(total.dtype))
    count = a.size // exact.size if exact.size else 0
    mean = x.mean(axis, keepdims)
    assert mean.dtype == (dtype if dtype in FLOATS else "float32") and mean.shape == exact.shape
    if count:
        np.testing.assert_allclose(mean.numpy(), exact / count, rtol=TOLERANCE[mean.dtype.name])
        np.testing.assert_array_equal(x.max(axis, keepdims).numpy(), a.max(axis, keepdims=keepdims))
    elif exact.size:
        assert np.isnan(mean.numpy()).all()
        with pytest.raises(ShapeError, match="no element"):
            x.max(axis, keepdims)


def test_float16_adds_up_in_float32():
    x = tinytorch.ones((5000, 2), "float16")
    assert x.sum(0).tolist() == [5000, 5000]
    assert tinytorch.full(4, 60000.0, "float16").mean().item() == 60000
    assert tinytorch.full(4, 60000.0, "float16").sum().item() == math.inf


def test_nan_is_not_lost_in_a_maximum():
    x = Tensor([[1.0, math.nan], [3.0, 2.0]])
    assert math.isnan(x.max().item()) and math.isnan(x.max(0).tolist()[1]) and x.max(1).tolist()[1] == 3.0
    assert Tensor([[1, 5], [7, 2]]).argmax(1).tolist() == [1, 0]


def test_reductions_refuse_axes_that_are_not_there():
    x = tinytorch.ones((2, 3))
    for axis in (2, -3, (0, 5)):
        with pytest.raises(IndexError, match="out of range for 2 axes"):
            x.sum(axis)
    with pytest.raises(ShapeError, match="twice"):
        x.mean((0, -2))


@given(st.data())
def test_matmul_is_the_sum_over_the_inner_axis(data):
    m, k, n = (data.draw(st.integers(0, 4)) for _ in range(3))
    batch = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3, min_side=0))
    left, right = batch.input_shapes
    a, b = (np.random.default_rng(0).integers(-9, 9, shape) for shape in ((*left, m, k), (*right, k, n)))
    wanted = (a[..., :, :, None] * b[..., None, :, :]).sum(-2)
    for dtype in ("float32", "int64"):
        x, y = Tensor(a, dtype), Tensor(b.swapaxes(-1, -2), dtype).transpose()
        result = x @ y
        assert result.dtype == dtype
        np.testing.assert_array_equal(result.numpy(), wanted)
    if not left and not right:
        np.testing.assert_array_equal((Tensor(a[0]) @ Tensor(b)).numpy() if m else wanted[:0], wanted[0] if m else wanted[:0])
        np.testing.assert_array_equal((Tensor(a) @ Tensor(b[:, 0])).numpy() if n else wanted, wanted[:, 0] if n else wanted)


@pytest.mark.parametrize("a, b", [((2, 3), (2, 3)), ((4,), (3,)), ((2, 3, 4), (5, 4, 2)), ((), (3, 3)), ((3,), ()), ((2, 2, 3), (4,))])
def test_matmul_names_both_shapes(a, b):
    with pytest.raises(ShapeError) as caught:
        tinytorch.ones(a) @ tinytorch.ones(b)
    assert str(a) in str(caught.value) and str(b) in str(caught.value)


# Writing in place


@given(view_pairs(), st.floats(-9, 9, width=32))
def test_a_write_through_a_view_shows_in_its_source(pair, value):
    x, a, start = pair
    assume(start is not None and a.flags.writeable)
    copied = start.copy()
    places = np.zeros(start.shape, bool)
    mask = np.lib.stride_tricks.as_strided(places.reshape(-1)[x.offset:], a.shape, [s // 4 for s in a.strides]) if a.size else None
    x.fill_(value)
    if mask is not None:
        mask[...] = True
    np.testing.assert_array_equal(start, np.where(places, np.float32(value), copied))


@given(view_pairs(min_side=1))
def test_shared_places_cannot_be_written(pair):
    x, a, _ = pair
    shared = a.size > 0 and any(n > 1 and s == 0 for n, s in zip(a.shape, a.strides, strict=True))
    assert x.numpy().flags.writeable != shared
    before = x.tolist()
    if shared:
        for write in (lambda: x.add_(1), lambda: x.fill_(0), lambda: x.copy_(x + 1)):
            with pytest.raises(OverlapError, match="share a place"):
                write()
        assert x.tolist() == before


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5))
def test_narrow_integers_wrap_around_in_place(values):
    x = tinytorch.zeros(len(values), "int8")
    x.copy_(Tensor(values, "int32"))
    assert x.tolist() == [(v + 128) % 256 - 128 for v in values]


@pytest.mark.parametrize("target, other", [("int64", 0.5), ("bool", 1), ("int8", Tensor([1.0])), ("bool", Tensor([1], "int8"))])
def test_a_write_does_not_raise_the_kind(target, other):
    x = tinytorch.ones(3, target)
    for write in (lambda: x.copy_(other), lambda: x.mul_(other)):
        with pytest.raises(DTypeError, match=f"in {target} in place"):
            write()
    assert x.tolist() == [1, 1, 1]


def test_a_write_does_not_change_the_shape():
    x = tinytorch.ones(3)
    with pytest.raises(ShapeError, match=r"\(2, 3\).*\(3,\)"):
        x.add_(tinytorch.ones((2, 3)))
    assert x.add_(tinytorch.ones(1)).tolist() == [2, 2, 2]


def test_arithmetic_in_place_and_assignment():
    x = tinytorch.arange(6, dtype="float32").reshape(2, 3)
    version = x.storage.version
    x[0] += 10
    x[:, 1] = 0
    x.T[2].sub_(1).mul_(2).div_(4)
    assert x.tolist() == [[10.0, 0.0, 5.5], [3.0, 0.0, 2.0]]
    assert x.storage.version == version + 5
    x[1:] = x[:1]
    assert x.tolist()[1] == [10.0, 0.0, 5.5]


# Tensor as an object


def test_storages_count_their_bytes():
    before = Storage.live_bytes
    Storage.peak_bytes = before
    x = tinytorch.zeros((100, 100))
    y = x[::2].T
    del x
    assert Storage.live_bytes - before == 40_000
    z = y.contiguous()
    assert Storage.live_bytes - before == 60_000
    del y, z
    assert Storage.live_bytes == before and Storage.peak_bytes - before == 60_000


def test_copies_keep_views_together_and_the_count_right():
    before = Storage.live_bytes
    x = tinytorch.arange(6)
    for pair in (copy.deepcopy((x, x[1:])), pickle.loads(pickle.dumps((x, x[1:])))):
        assert pair[0].shares_storage(pair[1]) and not pair[0].shares_storage(x)
        assert pair[1].tolist() == [1, 2, 3, 4, 5]
    del pair, x
    assert Storage.live_bytes == before


@pytest.mark.parametrize("key, words", [(3, "index 3 .* axis 0 of length 3"), ((0, -5), "index -5 .* axis 1"), ((0, 0, 0), "3 indices"),
                                        ([0, 1], "list"), (True, "bool"), ((..., ...), "one")])
def test_an_index_that_does_not_fit_is_named(key, words):
    with pytest.raises(IndexError, match=words):
        tinytorch.ones((3, 4))[key]


@pytest.mark.parametrize("shape, words", [((5, -1), r"\(5, -1\).*12"), ((13,), "12 elements"), ((-1, -1), "one -1"), ((-2, -6), "one -1")])
def test_a_reshape_that_does_not_fit_is_named(shape, words):
    with pytest.raises(ShapeError, match=words):
        tinytorch.ones((3, 4)).reshape(*shape)


def test_permutations_are_checked():
    x = tinytorch.ones((2, 3, 4))
    assert x.transpose(0, 2).shape == (4, 3, 2) and x.transpose().shape == (2, 4, 3) and x.T.shape == (4, 3, 2)
    with pytest.raises(ShapeError, match="each axis"):
        x.permute(0, 0, 1)
    with pytest.raises(IndexError, match="axis 3"):
        x.transpose(0, 3)


def test_python_protocols():
    x = tinytorch.arange(3)
    assert len(x) == 3 and [int(v) for v in x] == [0, 1, 2] and float(x[1]) == 1.0 and bool(x[0]) is False
    assert np.asarray(x).tolist() == [0, 1, 2] and {x: 1}[x] == 1
    assert repr(x) == "Tensor([0, 1, 2], shape=(3,), dtype=int64)"
    assert tinytorch.arange(0).dtype == "int64" and tinytorch.arange(1, 2, 0.5).tolist() == [1.0, 1.5]
    with pytest.raises(ShapeError, match="one element"):
        bool(x)
    with pytest.raises(TypeError, match="no length"):
        list(x.sum())


def test_a_hook_sees_each_operation_and_its_inputs():
    seen = []
    before = Function.record
    Function.record = staticmethod(lambda function, tensors, output: seen.append((type(function).__name__, tensors, output)))
    try:
        x = tinytorch.ones((2, 3))
        y = x.T * 2
    finally:
        Function.record = before
    assert [name for name, _, _ in seen] == ["Permute", "Mul"]
    assert seen[0][1][0] is x and seen[1][2] is y and seen[1][1][1].item() == 2


@given(view_pairs())
def test_contiguity_is_what_the_places_say(pair):
    x, _, _ = pair
    places = strided(np.arange(x.storage.data.size), x.layout).ravel()
    assert is_contiguous(x.layout) == bool((np.diff(places) == 1).all())


def test_expanding_keeps_the_strides_of_axes_that_do_not_stretch():
    assert expand_layout(Layout((3, 1), (7, 5), 2), (4, 3, 6)) == Layout((4, 3, 6), (0, 7, 0), 2)


def test_the_package_loads_its_parts_on_first_use():
    program = "import sys, tinytorch; assert 'tinytorch.tensor' not in sys.modules; tinytorch.Tensor; print(*tinytorch.__all__)"
    names = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert all(hasattr(tinytorch, name) for name in names) and "Tensor" in names
    with pytest.raises(AttributeError, match="no attribute 'Tenser'"):
        getattr(tinytorch, "Tenser")  # noqa: B009
