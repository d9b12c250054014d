"""Which operations a kernel runs for: the reference's own, and no one else's."""

from importlib import import_module

import numpy as np
import pytest

import tinytorch as tt
from tests.tinytorch.kernels.strategies import array
from tinytorch import activations, autograd, backend, layers, optimizers, tensor
from tinytorch._ext import dispatch
from tinytorch.backend import backend_info

native = pytest.mark.skipif(bool(backend_info().missing), reason="some kernels are not compiled here")


@pytest.fixture
def taken(monkeypatch):
    """Names of the kernels' stand-ins that were taken, in order."""
    names = []

    def noting(choose):
        def noted(function, *arguments):
            result = choose(function, *arguments)
            if result is not NotImplemented and result is not False:
                names.append(type(function).__name__)
            return result

        return noted

    for module, name in ((tensor, "native_forward"), (autograd, "native_backward"), (layers, "native_module"), (optimizers, "native_step")):
        monkeypatch.setattr(module, name, noting(getattr(module, name)))
    return names


def model():
    rng = np.random.default_rng(0)
    return tt.Sequential(tt.Linear(20, 30, rng=rng), tt.relu, tt.Linear(30, 30, rng=rng), tt.gelu, tt.Linear(30, 10, rng=rng), tt.silu)


def step(optimizer, net, x, labels):
    optimizer.zero_grad()
    loss = tt.cross_entropy(tt.log_softmax(net(x) @ tt.Tensor(np.eye(10, dtype=np.float32))), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


@native
@pytest.mark.parametrize("make", [lambda p: tt.Adam(p), lambda p: tt.AdamW(p), lambda p: tt.SGD(p, 0.1, momentum=0.9, nesterov=True)])
def test_a_training_step_on_kernels_is_that_of_numpy(taken, make):
    course = {}
    for name in backend.BACKENDS:
        taken.clear()
        with backend.backend(name):
            net, x, labels = model(), tt.Tensor(array(1, (8, 20))), tt.Tensor(np.arange(8) % 10)
            optimizer = make(net.parameters())
            course[name] = [step(optimizer, net, x, labels) for _ in range(5)]
        if name == "cython":
            operations = ["Linear", "ReLU", "Linear", "GELU", "Linear", "SiLU", "MatMul", "LogSoftmax", "CrossEntropyLoss"]
            back = [name for name in reversed(operations) if name != "Linear"]
            assert taken[:len(operations) + len(back)] == operations + back
            assert taken[len(operations) + len(back):][:6] == [type(optimizer).__name__] * 6
        else:
            assert taken == []
    np.testing.assert_allclose(course["cython"], course["reference"], rtol=1e-5)
    assert course["cython"][-1] < course["cython"][0]


def test_every_stand_in_has_its_place_in_the_reference():
    for table, modules in ((dispatch.FORWARD, True), (dispatch.MODULE, True), (dispatch.BACKWARD, False), (dispatch.STEP, False)):
        for place, (kernel, _) in table.items():
            module, *names = place.split(".")
            thing = import_module(f"tinytorch.{module}")
            for name in names:
                thing = getattr(thing, name)
            assert f"tinytorch.{place}" == f"{thing.__module__}.{thing.__qualname__}"
            assert isinstance(thing, type) is modules and kernel in backend.KERNELS


class ReLU(activations.ReLU):
    """Somebody else's."""


def test_a_class_of_somebody_else_runs_its_own_code(taken):
    x = tt.Tensor(array(0, (3, 4)))

    class Squares(tensor.MatMul):
        def forward(self, a, b):
            return a * a

    assert np.array_equal(Squares.apply(x, x).numpy(), x.numpy() ** 2)
    ReLU.apply(x)

    class Twice(layers.Linear):
        def forward(self, x):
            return x * 2

    Twice(4, 4)(x)
    assert taken == []


@native
def test_a_forward_that_was_replaced_in_the_reference_runs(taken, monkeypatch):
    x = tt.Tensor(array(0, (3, 4)))
    tt.relu(x)
    monkeypatch.setattr(activations.ReLU, "compute", lambda self, x: x + 1)
    assert np.array_equal(tt.relu(x).numpy(), x.numpy() + 1)
    monkeypatch.undo()
    tt.relu(x)
    assert taken == ["ReLU"]


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (2, 0), (2, 3, 4)])
def test_any_dtype_and_shape_gives_what_numpy_gives(dtype, shape):
    x = tt.Tensor((array(0, shape, scale=3)).astype(dtype))
    operations = [tt.relu, tt.gelu, tt.silu, lambda x: tt.gelu(x, "tanh")] + [tt.softmax, tt.log_softmax] * bool(shape)
    for f in operations:
        ours = f(x)
        with backend.backend("reference"):
            numpy = f(x)
        assert ours.dtype == numpy.dtype and ours.shape == numpy.shape
        tolerance = {"float16": 1e-3, "float64": 0}.get(dtype, 1e-6)
        np.testing.assert_allclose(ours.numpy(), numpy.numpy(), rtol=tolerance, atol=tolerance)


def test_errors_are_those_of_the_modules():
    a = tt.ones((2, 3))
    for wrong in (lambda: a @ a, lambda: tt.ones((2, 2, 3)) @ tt.ones((3, 3, 2)), lambda: tt.Linear(4, 2)(a)):
        with pytest.raises(tt.ShapeError) as ours:
            wrong()
        with backend.backend("reference"), pytest.raises(tt.ShapeError) as numpy:
            wrong()
        assert str(ours.value) == str(numpy.value)
    with pytest.raises(IndexError, match=r"label 7 at position \(1,\) is no class: 3 classes"):
        tt.cross_entropy(a, tt.Tensor([0, 7]))


def test_the_gradient_of_a_transposed_weight_lies_as_the_weight_does():
    x, weight = tt.Tensor(array(0, (4, 5))), layers.Parameter(array(1, (3, 5)))
    node = (x @ weight.T).grad_fn
    (_, grad) = node.pull(np.ones((4, 3), np.float32))
    assert grad.shape == (5, 3)
    np.testing.assert_allclose(grad, x.numpy().T @ np.ones((4, 3)), rtol=1e-6)
    if not backend_info().missing:
        assert grad.T.flags.c_contiguous
