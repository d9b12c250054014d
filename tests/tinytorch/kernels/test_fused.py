"""Operations in one piece: their Functions, where the tests of their kernels do not cover them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinytorch.autograd  # noqa: F401 -- gives tensors their backward
from tests.tinytorch.kernels.strategies import array, differences, inner, seeds
from tinytorch.fused import LayerNorm
from tinytorch.tensor import DTypeError, ShapeError, Tensor


def plain(x, weight, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


@given(leading=st.lists(st.integers(0, 5), max_size=2), width=st.integers(2, 40), seed=seeds)
@settings(max_examples=30)
def test_layer_norm_and_its_gradients(backend, leading, width, seed):
    operands = [array(seed, (*leading, width)), array(seed + 1, (width,)), array(seed + 2, (width,))]
    tensors = [Tensor(x, requires_grad=True) for x in operands]
    y = LayerNorm.apply(*tensors)
    exact = [x.astype(np.float64) for x in operands]
    np.testing.assert_allclose(y.numpy(), plain(*exact), rtol=1e-4, atol=1e-4)
    grad = array(seed + 3, y.shape)
    y.backward(grad)
    for k, tensor in enumerate(tensors):
        towards = array(seed + 4 + k, tensor.shape)
        slope = inner(grad, differences(lambda v, k=k: plain(*exact[:k], v, *exact[k + 1:]), exact[k], towards))
        noise = 1e-5 * np.sqrt(y.numel()) * (1 + float(np.abs(tensor.grad.numpy()).max(initial=0)))
        assert inner(tensor.grad.numpy(), towards) == pytest.approx(slope, rel=1e-3, abs=noise + 1e-4)


def test_layer_norm_of_what_does_not_fit(backend):
    x, weight = array(1, (3, 4)), array(2, (4,))
    for shape in ((3,), (1,), (3, 4)):
        with pytest.raises(ShapeError, match=r"x of shape \(3, 4\) wants weight and bias of its last axis, got"):
            LayerNorm.apply(Tensor(x), Tensor(array(3, shape)), Tensor(weight))
    with pytest.raises(DTypeError, match="float32 or float16, got float64"):
        LayerNorm.apply(*(Tensor(v.astype(np.float64)) for v in (x, weight, weight)))
    half = LayerNorm.apply(*(Tensor(v.astype(np.float16)) for v in (x, weight, weight)))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half.numpy(), plain(x, weight, weight), atol=0.02)


def test_layer_norm_whose_weights_stand_still(backend):
    x, weight = Tensor(array(4, (3, 4)), requires_grad=True), Tensor(array(5, (4,)), requires_grad=True)
    LayerNorm.apply(x, weight, Tensor(np.zeros(4, np.float32))).sum().backward()
    alone = Tensor(weight.numpy(), requires_grad=True)
    LayerNorm.apply(Tensor(x.numpy()), alone, Tensor(np.zeros(4, np.float32))).sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy(), alone.grad.numpy())
    bias = Tensor(np.zeros(4, np.float32), requires_grad=True)
    LayerNorm.apply(Tensor(x.numpy()), Tensor(weight.numpy()), bias).sum().backward()
    np.testing.assert_array_equal(bias.grad.numpy(), np.full(4, 3, np.float32))
