"""Quantization against PyTorch: the same integers, the same fake rounding and its gradient, the same folded weights."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

from tinytorch import Tensor  # noqa: E402
from tinytorch.convolutions import BatchNorm2d, Conv2d  # noqa: E402
from tinytorch.quantization import FakeQuantize, affine, channel_scales, dequantize, fold_batch_norm, quantize  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")


@pytest.mark.parametrize("ends", [(-1.0, 3.0), (0.0, 2.0), (-5.0, 0.5)])
def test_integers(rng, ends):
    x, (scale, zero) = rng.normal(0, 2, (50, 8)).astype("float32"), affine(*ends)
    theirs = torch.quantize_per_tensor(torch.tensor(x), scale, zero, torch.qint8)
    ours = quantize(x, scale, zero)
    off = ours.astype(int) - theirs.int_repr().numpy()
    assert np.abs(off).max() <= 1 and (off != 0).mean() < 0.01      # PyTorch multiplies by 1 / scale in float32
    np.testing.assert_allclose(dequantize(theirs.int_repr().numpy(), scale, zero), theirs.dequantize().numpy(), rtol=1e-5, atol=1e-6)


def test_channels(rng):
    weight = (rng.normal(size=(6, 9)) * rng.uniform(0.01, 9, (6, 1))).astype("float32")
    scales = channel_scales(weight)
    theirs = torch.quantize_per_channel(torch.tensor(weight), torch.tensor(scales.ravel()), torch.zeros(6, dtype=torch.int64), 0, torch.qint8)
    assert np.abs(quantize(weight, scales).astype(int) - theirs.int_repr().numpy()).max() <= 1


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_fake_rounding_and_its_gradient(rng, bits):
    array, scale, zero = rng.normal(0, 20, 200).astype("float32"), 0.25, 1
    x, y = Tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    ours = FakeQuantize.apply(x, scale=scale, zero=zero, bits=bits)
    theirs = torch.fake_quantize_per_tensor_affine(y, scale, zero, -2 ** (bits - 1), 2 ** (bits - 1) - 1)
    grad = rng.normal(size=200).astype("float32")
    ours.backward(Tensor(grad)), theirs.backward(torch.tensor(grad))
    np.testing.assert_array_equal(ours.numpy(), theirs.detach().numpy())
    np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())


def test_folded_weights(rng):
    conv, norm = Conv2d(3, 5, 3, rng=rng, dtype="float64"), BatchNorm2d(5, eps=1e-3, dtype="float64")
    norm.load_state_dict({"weight": rng.normal(size=5), "bias": rng.normal(size=5), "running_mean": rng.normal(size=5),
                          "running_var": rng.uniform(0.5, 2, 5)})
    theirs = torch.nn.Conv2d(3, 5, 3).double().eval(), torch.nn.BatchNorm2d(5, 1e-3).double().eval()
    for a, b in zip((conv, norm), theirs, strict=True):
        b.load_state_dict({name: torch.tensor(t.numpy()) for name, t in a.state_dict().items()}, strict=False)
    fused = torch.nn.utils.fusion.fuse_conv_bn_eval(*theirs)
    folded = fold_batch_norm(conv, norm)
    np.testing.assert_allclose(folded.weight.numpy(), fused.weight.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(folded.bias.numpy(), fused.bias.detach().numpy(), rtol=1e-12)
