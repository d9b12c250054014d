"""Modules and layers against PyTorch: the same names, the same outputs, the same statistics to aim at."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

from tinytorch import Tensor, zeros  # noqa: E402
from tinytorch.layers import Dropout, Linear, Module, Parameter, Sequential, fans, gain, kaiming_std, xavier_std  # noqa: E402


def pair(dtype="float64"):
    """The same network here and there, with the same parameters by name."""
    ours = Sequential(Linear(6, 5, dtype=dtype), lambda x: x * (x > 0), Dropout(0.3), Sequential(Linear(5, 4, bias=False, dtype=dtype)), Linear(4, 2, dtype=dtype))
    theirs = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Dropout(0.3),
                                 torch.nn.Sequential(torch.nn.Linear(5, 4, bias=False)), torch.nn.Linear(4, 2)).to(getattr(torch, dtype))
    return ours, theirs


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6), (0, 6)])
def test_a_state_of_pytorch_loads_and_gives_its_outputs(dtype, tolerance, shape):
    ours, theirs = pair(dtype)
    ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    y, wanted = ours.eval()(Tensor(x)), theirs.eval()(torch.tensor(x)).detach().numpy()
    assert y.shape == wanted.shape and y.dtype == wanted.dtype
    np.testing.assert_allclose(y.numpy(), wanted, rtol=tolerance, atol=tolerance)


def test_names_have_pytorchs_order():
    ours, theirs = pair()
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
    assert list(ours.state_dict()) == list(theirs.state_dict())


def assigned(module, linear, parameter, tensor):
    """Shared, emptied, replaced and buffered members, by the same lines here and there."""
    model = module()
    model.bias = None
    model.first, model.second = linear(3, 3), linear(3, 3)
    model.second.weight = model.first.weight
    model.again = model.first
    model.register_buffer("mean", tensor())
    model.scale = parameter(tensor())
    model.first.bias = None
    model.bias = parameter(tensor())
    model.scale = parameter(tensor())
    model.gone = parameter(tensor())
    del model.gone
    model.mean = tensor()
    return model


def test_registration_and_sharing_give_pytorchs_names():
    ours = assigned(Module, Linear, Parameter, lambda: zeros(2))
    theirs = assigned(torch.nn.Module, torch.nn.Linear, torch.nn.Parameter, lambda: torch.zeros(2))
    for names in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [name for name, _ in getattr(ours, names)()] == [name for name, _ in getattr(theirs, names)()]
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_hooks_replace_as_in_pytorch():
    results = []
    for layer, x in ((Linear(2, 2), zeros((1, 2))), (torch.nn.Linear(2, 2), torch.zeros(1, 2))):
        seen = []
        layer.register_forward_hook(lambda m, inputs, y, seen=seen: seen.append((len(inputs), tuple(y.shape))))
        handle = layer.register_forward_hook(lambda m, inputs, y: y * 0 + 1)
        layer.register_forward_hook(lambda m, inputs, y: y * 3)
        first = layer(x).tolist()
        handle.remove()
        layer.weight.requires_grad = False
        results.append((first, seen, len(layer._forward_hooks)))
    assert results[0] == results[1]


@pytest.mark.parametrize("shape", [(7, 3), (8, 5, 3), (4, 6, 3, 5), (2, 3, 4, 5, 6)])
def test_fans_are_pytorchs(shape):
    assert fans(shape) == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "selu"])
def test_gains_are_pytorchs(name):
    assert gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-12)
    assert gain("leaky_relu", 0.3) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.3), rel=1e-12)


@pytest.mark.parametrize("shape", [(300, 200), (60, 40, 3, 3)])
def test_initial_standard_deviations_are_those_that_pytorch_draws(shape):
    torch.manual_seed(0)
    weight = torch.empty(shape, dtype=torch.float64)
    error = 5 * np.sqrt(2 / (4 * weight.numel()))
    for draw, wanted in ((lambda w: torch.nn.init.xavier_normal_(w, gain=1.5), xavier_std(*fans(shape), 1.5)),
                         (lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="relu"), kaiming_std(*fans(shape), gain("relu"))),
                         (lambda w: torch.nn.init.kaiming_uniform_(w, mode="fan_out", nonlinearity="tanh"),
                          kaiming_std(*fans(shape), gain("tanh"), "fan_out"))):
        assert draw(weight).std().item() == pytest.approx(wanted, rel=error)
