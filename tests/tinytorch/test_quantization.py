"""Quantization: rulers, products of bytes held against exact ones, layers, models, bytes that are really there."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch import Adam, DTypeError, ShapeError, Tensor, cross_entropy, datasets, no_grad, relu
from tinytorch.backend import backend as use_backend
from tinytorch.convolutions import BatchNorm2d, Conv2d, Flatten, MaxPool2d
from tinytorch.layers import Linear, Module, Sequential
from tinytorch.quantization import (
    FakeQuantize,
    Int4Linear,
    Observer,
    QuantizedConv2d,
    QuantizedLinear,
    affine,
    channel_scales,
    dequantize,
    fold_batch_norm,
    group_quantize,
    int8_product,
    mse_range,
    pack_nibbles,
    percentile_range,
    quantize,
    quantize_model,
    size_of,
    swap_layers,
    unpack_nibbles,
)

FINITE = st.floats(-1e4, 1e4)


@given(FINITE, FINITE, st.integers(2, 8), st.booleans())
def test_a_ruler_has_a_mark_at_zero_and_reaches_both_ends(a, b, bits, symmetric):
    low, high = min(a, b), max(a, b)
    scale, zero = affine(low, high, bits, symmetric)
    ends = np.array([low, 0.0, high])
    back = dequantize(quantize(ends, scale, zero, bits), scale, zero)
    assert scale > 0 and back[1] == 0
    assert np.abs(back - ends).max() <= scale * 1.001 + 1e-3 * abs(ends).max() / 2**bits


@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_the_error_of_rounding_is_half_a_scale_at_most(seed, bits):
    x = np.random.default_rng(seed).normal(size=200)
    scale, zero = affine(x.min(), x.max(), bits)
    assert np.abs(dequantize(quantize(x, scale, zero, bits), scale, zero) - x).max() <= scale * 1.001


def test_the_error_falls_by_a_factor_of_four_with_each_bit(rng):
    x = rng.uniform(-1, 1, 20_000)
    errors = [np.mean((dequantize(quantize(x, *affine(-1, 1, bits), bits), *affine(-1, 1, bits)) - x) ** 2) for bits in (4, 5, 6, 7)]
    assert all(3.5 < a / b < 4.6 for a, b in zip(errors, errors[1:], strict=False))
    assert errors[-1] == pytest.approx(affine(-1, 1, 7)[0] ** 2 / 12, rel=0.1)


def test_least_squares_is_no_worse_than_any_other_share(rng):
    x = np.append(rng.normal(size=800), [30.0, -5.0])
    low, high = mse_range(x, 4)

    def error(ends):
        scale, zero = affine(*ends, 4)
        return np.mean((dequantize(quantize(x, scale, zero, 4), scale, zero) - x) ** 2)

    assert error((low, high)) <= min(error((x.min() * k / 64, x.max() * k / 64)) for k in range(1, 65)) + 1e-12
    assert high < 30


@given(st.integers(1, 5), st.integers(0, 70), st.integers(1, 5), st.integers(-128, 127), st.integers(0, 2**32 - 1))
def test_products_of_bytes_are_exact(m, k, n, zero, seed):
    rng = np.random.default_rng(seed)
    rows, weight = (rng.integers(-128, 128, shape).astype("int8") for shape in ((m, k), (n, k)))
    wanted = (rows.astype("int64") - zero) @ weight.astype("int64").T
    for backend in ("reference", "cython"):
        with use_backend(backend):
            out = int8_product(rows, zero, weight)
            assert out.dtype == np.int32 and (out == wanted).all()


@given(st.lists(st.integers(-8, 7), max_size=40).filter(lambda q: len(q) % 2 == 0))
def test_nibbles_come_back_in_half_the_bytes(q):
    q = np.array(q, "int8")
    packed = pack_nibbles(q)
    assert packed.dtype == np.uint8 and packed.nbytes * 2 == q.nbytes and (unpack_nibbles(packed) == q).all()


def test_a_group_is_not_hurt_by_its_neighbours(rng):
    weight = rng.normal(size=(4, 64)).astype("float32")
    weight[:, 32:] *= 1000
    q, scales = group_quantize(weight, 32)
    back = q * np.repeat(scales, 32, axis=1)
    assert np.abs(back - weight)[:, :32].max() <= np.abs(weight[:, :32]).max() / 14 * 1.01


def test_folding_changes_no_output(rng):
    conv, norm = Conv2d(3, 8, 3, 2, 1, rng=rng, dtype="float64"), BatchNorm2d(8, dtype="float64")
    for _ in range(5):
        norm(conv(Tensor(rng.normal(1, 2, (16, 3, 9, 9)))))
    x = Tensor(rng.normal(1, 2, (4, 3, 9, 9)))
    np.testing.assert_allclose(fold_batch_norm(conv, norm)(x).numpy(), norm.eval()(conv(x)).numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ends", [None, (-4.0, 4.0)])
def test_a_layer_errs_by_what_rounding_allows(rng, bias, ends):
    layer = Linear(64, 32, bias=bias, rng=rng)
    x = Tensor(rng.normal(size=(20, 64)), "float32")
    quantized = QuantizedLinear(layer, ends)
    error = quantized(x).numpy() - layer(x).numpy()
    # Rounding of x and of the weight, each uniform: sums of 64 independent errors.
    step = (8 if ends else np.ptp(x.numpy())) / 255
    bound = np.sqrt(64) * (step / np.sqrt(12) * layer.weight.numpy().std() + quantized.scales.numpy().max() / np.sqrt(12) * 1.0)
    assert 0 < np.sqrt(np.mean(error**2)) < 2 * bound
    assert quantized.weight.dtype == np.int8 and size_of(quantized) == 32 * 64 + 32 * 4 * (1 + bias)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"groups": 2, "padding": (1, 0)}, {"dilation": 2, "bias": False}])
def test_a_convolution_is_that_of_its_own_rounded_numbers(rng, options):
    conv = Conv2d(4, 6, 3, rng=rng, **options)
    x = np.abs(rng.normal(size=(2, 4, 8, 7))).astype("float32") + 0.5      # a range that misses 0: padding has to be exact
    quantized = QuantizedConv2d(conv, (0.0, float(x.max())))
    scale, zero = affine(0.0, float(x.max()))
    rounded = copy.deepcopy(conv)
    scales = channel_scales(conv.weight.numpy())
    rounded.load_state_dict({"weight": dequantize(quantize(conv.weight.numpy(), scales), scales),
                             **({} if conv.bias is None else {"bias": conv.bias.numpy()})})
    wanted = rounded(Tensor(dequantize(quantize(x, scale, zero), scale, zero)))
    np.testing.assert_allclose(quantized(Tensor(x)).numpy(), wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_the_straight_through_gradient():
    x = Tensor(np.array([0.3, 1.8, 9.0, -4.2, -4.3], "float32"), requires_grad=True)
    y = FakeQuantize.apply(x, scale=0.5, bits=4)
    y.backward(Tensor(np.ones(5, "float32")))
    assert y.numpy().tolist() == [0.5, 2.0, 3.5, -4.0, -4.0] and x.grad.numpy().tolist() == [1, 1, 0, 1, 0]


@pytest.fixture(scope="module")
def trained():
    """The digit network of the module, trained for a few epochs, with the digits."""
    rng = np.random.default_rng(1)
    model = Sequential(Conv2d(1, 16, 3, padding=1, bias=False, rng=rng), BatchNorm2d(16), relu, MaxPool2d(2),
                       Conv2d(16, 32, 3, padding=1, bias=False, rng=rng), BatchNorm2d(32), relu, MaxPool2d(2), Flatten(), Linear(128, 10, rng=rng))
    (x, y), test = datasets.digits()
    optimizer = Adam(model.parameters(), lr=3e-3)
    for _ in range(8):
        for batch in np.split(rng.permutation(len(y)), range(64, len(y), 64)):
            optimizer.zero_grad()
            cross_entropy(model(Tensor(x[batch])), y[batch]).backward()
            optimizer.step()
    return model.eval(), (x, y), test


def accuracy(model, x, y):
    with no_grad():
        return (model(Tensor(x)).numpy().argmax(1) == y).mean()


@pytest.mark.parametrize("batches, find", [(0, "minmax"), (4, "minmax"), (4, mse_range), (4, percentile_range)])
def test_int8_costs_at_most_a_point_on_the_digits_and_a_quarter_of_the_bytes(trained, batches, find):
    model, (x, _), test = trained
    before = {name: t.numpy().copy() for name, t in model.state_dict().items()}
    quantized = quantize_model(model, [Tensor(x[64 * k:64 * k + 64]) for k in range(batches)] if batches else None, find)
    assert accuracy(model, *test) > 0.95
    assert accuracy(quantized, *test) >= accuracy(model, *test) - 0.01
    assert size_of(quantized) < 0.32 * size_of(model)
    kinds = {type(m).__name__ for m in quantized.modules()}
    assert {"QuantizedConv2d", "QuantizedLinear"} <= kinds and not kinds & {"Conv2d", "Linear", "BatchNorm2d"}
    assert all((before[name] == t.numpy()).all() for name, t in model.state_dict().items())
    assert not any(m._forward_hooks for m in (*model.modules(), *quantized.modules()))


def test_four_bits_in_groups_cost_little_and_are_an_eighth_in_memory(rng):
    layer = Linear(256, 64, rng=rng)
    small = Int4Linear(layer)
    x = Tensor(rng.normal(size=(8, 256)), "float32")
    error = np.sqrt(np.mean((small(x).numpy() - layer(x).numpy()) ** 2)) / layer(x).numpy().std()
    assert error < 0.12 and size_of(small) == 64 * 128 + 64 * 8 * 2 + 64 * 4


def test_a_state_of_integers_is_saved_and_loaded(rng):
    layer = Linear(6, 4, rng=rng)
    first, second = QuantizedLinear(layer), QuantizedLinear(Linear(6, 4, rng=rng))
    second.load_state_dict(first.state_dict())
    x = Tensor(rng.normal(size=(3, 6)), "float32")
    assert (first(x).numpy() == second(x).numpy()).all() and first.state_dict()["weight"].dtype == np.int8


def test_shared_layers_stay_shared(rng):
    layer = Linear(4, 4, rng=rng)
    model = Sequential(layer, relu, layer)
    swapped = swap_layers(model, lambda name, m: QuantizedLinear(m) if isinstance(m, Linear) else None)
    assert swapped[0] is swapped[2] and isinstance(swapped[0], QuantizedLinear)


def test_an_observer_sees_what_a_layer_is_fed(rng):
    layer, observer = Linear(3, 2, rng=rng), Observer()
    handle = layer.register_forward_hook(observer)
    for low, high in ((-1.0, 2.0), (-3.0, 1.0)):
        layer(Tensor([[low, 0.0, high]]))
    handle.remove()
    layer(Tensor([[99.0, 0.0, 0.0]]))
    assert observer.range() == (-3.0, 2.0)


@pytest.mark.parametrize("call, error, message", [
    (lambda: affine(float("nan"), 1.0), ValueError, "a range has finite ends, got nan to 1.0"),
    (lambda: quantize(np.array([1.0, np.inf, np.nan]), 1.0), ValueError, "cannot quantize NaN or infinity; 2 of 3 numbers are not finite"),
    (lambda: percentile_range(np.ones(3), 0), ValueError, "share is above 0 and at most 1, got 0"),
    (lambda: int8_product(np.ones((1, 2), "uint8"), 0, np.ones((1, 2), "int8")), DTypeError, "takes int8 rows and weight, got uint8 and int8"),
    (lambda: pack_nibbles(np.zeros((2, 3), "int8")), ShapeError, r"in pairs along the last axis, got shape \(2, 3\)"),
    (lambda: group_quantize(np.ones((2, 33), "float32"), 32), ShapeError, "rows of 33 are no whole number of groups of 32"),
    (lambda: QuantizedLinear(Linear(4, 2))(Tensor(np.ones((3, 5), "float32"))), ShapeError, r"takes 4 features on the last axis, got shape \(3, 5\)"),
])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_quantized_layer_is_a_module():
    assert isinstance(QuantizedLinear(Linear(2, 2)), Module) and "dynamic" in repr(QuantizedLinear(Linear(2, 2)))
