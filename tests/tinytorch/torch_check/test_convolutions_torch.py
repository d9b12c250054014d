"""Convolutions, pooling and batch normalisation against PyTorch: outputs, gradients, buffers, names of parameters."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

from tinytorch import Tensor  # noqa: E402
from tinytorch.autograd import no_grad  # noqa: E402
from tinytorch.backend import backend as use_backend  # noqa: E402
from tinytorch.convolutions import (  # noqa: E402
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    MaxPool2d,
    ResidualBlock,
    conv_cost,
    max_pool,
    receptive_field,
)

BACKENDS = ["reference", "cython"]
OPTIONS = [
    {"kernel": 3}, {"kernel": (2, 3), "stride": (2, 1)}, {"kernel": 3, "padding": (1, 2), "dilation": (2, 1)}, {"kernel": 1, "stride": 2},
    {"kernel": 3, "groups": 2, "padding": 1}, {"kernel": (3, 1), "groups": 4, "bias": False},
]
TOLERANCE = {"float64": 1e-11, "float32": 2e-5, "float16": 3e-3}


def close(a, b, dtype="float64"):
    b = b.detach().numpy() if isinstance(b, torch.Tensor) else b
    np.testing.assert_allclose(np.asarray(a, "float64"), np.asarray(b, "float64"), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def both(ours, theirs, x, dtype, seed=5):
    """Output and gradient of x through both, from the same incoming gradient; theirs computes float16 in float32."""
    a = Tensor(x.astype(dtype), requires_grad=True)
    b = torch.tensor(x.astype(dtype).astype("float32" if dtype == "float16" else dtype), requires_grad=True)
    y, wanted = ours(a), theirs(b)
    assert y.shape == tuple(wanted.shape) and y.dtype == dtype
    close(y, wanted, dtype)
    grad = np.random.default_rng(seed).normal(size=y.shape)
    y.backward(Tensor(grad.astype(dtype)))
    wanted.backward(torch.tensor(grad).to(wanted.dtype))
    close(a.grad, b.grad, dtype)


def load(ours, theirs):
    """Parameters and buffers of ours into theirs, under the same names but for counts of batches."""
    state = {name: torch.tensor(t.numpy().astype("float32") if t.dtype == np.float16 else t.numpy()) for name, t in ours.state_dict().items()}
    left = theirs.load_state_dict(state, strict=False)
    assert not left.unexpected_keys and all(name.endswith("num_batches_tracked") for name in left.missing_keys)


def agree(ours, theirs, dtype):
    """Gradients of parameters, and buffers."""
    for (name, p), (other, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other
        close(p.grad, q.grad, dtype)
    named = dict(theirs.named_buffers())
    for name, buffer in ours.named_buffers():
        close(buffer, named[name], dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_convolution(backend, dtype, options):
    options = dict(options)
    kernel = options.pop("kernel")
    ours = Conv2d(4, 6, kernel, rng=np.random.default_rng(0), dtype=dtype) if not options else None
    ours = ours or Conv2d(4, 6 if options.get("groups") != 4 else 8, kernel, rng=np.random.default_rng(0), dtype=dtype, **options)
    theirs = torch.nn.Conv2d(4, len(ours.weight), kernel, **options).to(torch.float64 if dtype == "float64" else torch.float32)
    load(ours, theirs)
    with use_backend(backend):
        both(ours, theirs, np.random.default_rng(1).normal(size=(2, 4, 7, 8)), dtype)
    if dtype != "float16":
        agree(ours, theirs, dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", [{"kernel": 2}, {"kernel": (3, 2), "stride": (1, 2)}, {"kernel": 3, "stride": 2, "padding": 1}], ids=str)
@pytest.mark.parametrize("cls, other", [(MaxPool2d, torch.nn.MaxPool2d), (AvgPool2d, torch.nn.AvgPool2d)])
def test_pooling(backend, dtype, options, cls, other):
    theirs = other(options["kernel"], options.get("stride"), options.get("padding", 0))
    with use_backend(backend):
        both(cls(**options), theirs, np.random.default_rng(2).normal(size=(2, 3, 7, 8)), dtype)
        ties = np.random.default_rng(3).integers(0, 2, (2, 3, 6, 6)).astype("float64")
        both(cls(**options), theirs, ties, dtype)


def test_places_are_pytorchs_indices():
    x = np.random.default_rng(4).integers(0, 3, (2, 3, 7, 7)).astype("float64")
    values, places = max_pool(x, (3, 3), (2, 2), (1, 1))
    wanted, indices = torch.nn.functional.max_pool2d(torch.tensor(x), 3, 2, 1, return_indices=True)
    assert (values == wanted.numpy()).all() and (places == indices.numpy()).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalisation(backend, dtype, training):
    ours, theirs = BatchNorm2d(3, 0.2, 1e-4, dtype), torch.nn.BatchNorm2d(3, 1e-4, 0.2).to(getattr(torch, dtype))
    with no_grad():
        ours.weight.copy_(np.array([1.0, 2.0, -1.0]))
        ours.running_mean.copy_(np.array([0.5, -1.0, 0.0]))
        ours.running_var.copy_(np.array([2.0, 0.5, 1.0]))
    load(ours, theirs)
    ours.train(training), theirs.train(training)
    with use_backend(backend):
        for seed in (1, 2):
            both(ours, theirs, np.random.default_rng(seed).normal(1, 2, (4, 3, 5, 2)), dtype, seed)
    agree(ours, theirs, dtype)


class Block(torch.nn.Module):
    """The block of the paper, with our names."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        nn = torch.nn
        self.body = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
                                  nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)) if stride > 1 else None

    def forward(self, x):
        return torch.relu(self.body(x) + (x if self.shortcut is None else self.shortcut(x)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("inputs, outputs, stride", [(4, 4, 1), (4, 6, 2)])
def test_residual_block(backend, inputs, outputs, stride):
    ours = ResidualBlock(inputs, outputs, stride, np.random.default_rng(6), "float64")
    theirs = Block(inputs, outputs, stride).double()
    load(ours, theirs)
    with use_backend(backend):
        both(ours, theirs, np.random.default_rng(7).normal(size=(3, 4, 7, 6)), "float64")
    agree(ours, theirs, "float64")


@pytest.mark.parametrize("options", [{}, {"stride": (2, 1), "padding": (1, 1)}, {"groups": 2, "dilation": (2, 2)}], ids=str)
def test_flop_are_pytorchs(options):
    from torch.utils.flop_counter import FlopCounterMode

    layer = torch.nn.Conv2d(4, 6, 3, **options)
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(2, 4, 9, 8))
    parameters, flop = conv_cost((2, 4, 9, 8), 6, (3, 3), **options)
    assert flop == counter.get_total_flops() and parameters == sum(p.numel() for p in layer.parameters())


def test_the_receptive_field_is_where_gradients_reach():
    layers = [(3, 1, 1), (3, 2, 1), (2, 1, 3), (3, 2, 1)]
    x = torch.zeros(1, 1, 64, 64, requires_grad=True)
    y = x
    for kernel, stride, dilation in layers:
        conv = torch.nn.Conv2d(1, 1, kernel, stride, dilation=dilation)
        torch.nn.init.ones_(conv.weight)
        y = conv(y)
    y[0, 0, 5, 5].backward()
    assert int((x.grad[0, 0].sum(0) != 0).sum()) <= receptive_field(layers)
    seen = torch.nonzero(x.grad[0, 0].sum(0)).flatten()
    assert int(seen[-1] - seen[0] + 1) == receptive_field(layers)
