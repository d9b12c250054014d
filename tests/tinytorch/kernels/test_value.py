"""One number that knows how it was computed: the compiled Value and its Python twin, by the same properties."""

import inspect
import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch._ext import _reference
from tinytorch.backend import kernel

BINARY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow}
UNARY = {"neg": operator.neg, **{name: operator.methodcaller(name) for name in ("relu", "tanh", "exp", "log")}}
NUMPY = {"neg": np.negative, "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh, "exp": np.exp, "log": np.log}
EXTREMES = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -2.5, 3.0, -3.0, 1e4, -1e4, 1e300, math.inf, -math.inf, math.nan]

tame = st.floats(0.3, 2.0)


def close(a, b, rel=1e-12):
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=rel, abs_tol=1e-300)


@pytest.mark.parametrize("sign", BINARY)
def test_two_operands_give_what_numpy_gives_and_numbers_may_stand_on_either_side(backend, sign):
    value, apply = kernel("Value"), BINARY[sign]
    with np.errstate(all="ignore"):
        for a in EXTREMES:
            for b in EXTREMES:
                wanted = float(apply(np.float64(a), np.float64(b)))
                for x, y in ((value(a), value(b)), (value(a), b), (a, value(b)), (value(a), np.float64(b)), (np.float64(a), value(b))):
                    assert close(apply(x, y).data, wanted), (a, sign, b)


@pytest.mark.parametrize("name", UNARY)
def test_one_operand_gives_what_numpy_gives(backend, name):
    value = kernel("Value")
    with np.errstate(all="ignore"):
        for a in EXTREMES:
            assert close(UNARY[name](value(a)).data, float(NUMPY[name](np.float64(a)))), (name, a)


@pytest.mark.parametrize("sign", BINARY)
@given(a=tame, b=tame)
def test_the_slopes_of_two_operands_are_those_of_central_differences(backend, sign, a, b):
    value, apply, h = kernel("Value"), BINARY[sign], 1e-6
    slopes = (apply(a + h, b) - apply(a - h, b)) / (2 * h), (apply(a, b + h) - apply(a, b - h)) / (2 * h)
    x, y = value(a), value(b)
    apply(x, y).backward()
    assert (x.grad, y.grad) == pytest.approx(slopes, rel=1e-7, abs=1e-8)
    x, y = value(a), value(b)
    apply(x, b).backward()
    apply(a, y).backward()
    assert (x.grad, y.grad) == pytest.approx(slopes, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("name", UNARY)
@given(a=tame)
def test_the_slope_of_one_operand_is_that_of_central_differences(backend, name, a):
    h, x = 1e-6, kernel("Value")(a)
    UNARY[name](x).backward()
    assert x.grad == pytest.approx(float(NUMPY[name](a + h) - NUMPY[name](a - h)) / (2 * h), rel=1e-7, abs=1e-8)


def test_slopes_at_the_edges(backend):
    value = kernel("Value")

    def slopes(f, *numbers):
        operands = [value(x) for x in numbers]
        f(*operands).backward()
        return [x.grad for x in operands]

    assert slopes(lambda x: x.relu(), 0.0) == [0] and slopes(lambda x: x.relu(), -1.0) == [0]
    assert math.isnan(value(math.nan).relu().data)
    assert slopes(operator.pow, 0.0, 2.0) == [0, 0] and slopes(lambda x: x**0, 0.0) == [0]
    assert slopes(lambda x: 0**x, 2.0) == [0] and slopes(lambda x: x.log(), 0.0) == [math.inf]
    assert slopes(operator.truediv, 1.0, 0.0) == [math.inf, -math.inf]


@st.composite
def programs(draw):
    """Steps of a straight-line program: each takes earlier results by number."""
    steps = []
    for k in range(draw(st.integers(1, 25))):
        earlier = st.integers(0, k + 1)
        steps.append((draw(st.sampled_from(["+", "-", "*", "relu", "tanh"])), draw(earlier), draw(earlier)))
    return steps


def run(value, steps, a, b):
    results = [value(a), value(b)]
    for name, i, j in steps:
        results.append(BINARY[name](results[i], results[j]) if name in BINARY else UNARY[name](results[i]))
    results[-1].backward()
    return results


@given(steps=programs(), a=tame, b=tame)
def test_both_engines_agree_on_every_value_and_gradient(steps, a, b):
    from tinytorch.backend import backend as use_backend

    both = []
    for name in ("cython", "reference"):
        with use_backend(name):
            both.append(run(kernel("Value"), steps, a, b))
    for x, y in zip(*both, strict=True):
        assert close(x.data, y.data, 1e-9) and close(x.grad, y.grad, 1e-9)


def test_leaves_add_up_and_what_lies_between_starts_again(backend):
    x = kernel("Value")(3.0)
    y = x * x
    z = y + y
    for n in (1, 2, 3):
        z.backward()
        assert (x.grad, y.grad, z.grad) == (12 * n, 2, 1)
    x.grad = 0
    y.backward()
    assert x.grad == 6
    x.backward()
    assert x.grad == 7 and x.data == 3


def test_a_graph_of_any_depth_is_walked_and_freed(backend):
    x = kernel("Value")(1.0)
    y = x
    for _ in range(100_000):
        y = y + x
    y.backward()
    assert x.grad == 100_001
    del y
    assert repr(x) == "Value(data=1.0, grad=100001.0)"


def test_bad_operands_are_refused_by_name(backend):
    value = kernel("Value")
    with pytest.raises(TypeError, match="a Value is made from a number, got str"):
        value("1")
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \+: '.*Value' and 'str'"):
        value(1) + "1"
    for apply in BINARY.values():
        for pair in ((value(1), None), (None, value(1)), (value(1), np.ones(2)), (np.ones(2), value(1))):
            with pytest.raises(TypeError):
                apply(*pair)
    assert value(True).data == 1 and value(np.float32(2)).data == 2


def test_both_engines_have_the_same_methods():
    def names(cls):
        return {name for name in dir(cls) if not name.startswith("_")}

    value = kernel("Value")
    assert names(value) == names(_reference.Value) == {"backward", "data", "exp", "grad", "log", "relu", "tanh"}
    for name in ("backward", "exp", "log", "relu", "tanh"):
        assert inspect.getdoc(getattr(value, name)) == inspect.getdoc(getattr(_reference.Value, name))
