"""Steps of optimizers: the kernel against the formulas of module 07, which are checked against PyTorch elsewhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinytorch.kernels.strategies import array, seeds, shapes
from tinytorch.backend import kernel
from tinytorch.optimizers import adam_rule, decay, look_ahead, velocity

few = settings(max_examples=25)


@few
@given(shape=shapes(axes=(1, 2)), seed=seeds, weight_decay=st.sampled_from([0, 0.1]), decoupled=st.booleans(), start=st.integers(1, 900))
def test_adam_steps_as_its_formula(form, shape, seed, weight_decay, decoupled, start):
    x, first, second = array(seed, shape), array(seed + 1, shape), array(seed + 2, shape) ** 2
    exact = [a.astype(np.float64) for a in (x, first, second)]
    for step in (start, start + 1):
        grad = array(seed + 3 + step, shape)
        kernel("adam_step")(x, grad, first, second, step, 1e-2, 0.9, 0.99, 1e-8, weight_decay, decoupled, threads=step % 2 + 1)
        decayed = decay(exact[0], grad.astype(np.float64), lr=1e-2, weight_decay=weight_decay, decoupled=decoupled)
        exact = adam_rule(*decayed, *exact[1:], step, lr=1e-2, betas=(0.9, 0.99), eps=1e-8)
        for got, wanted in zip((x, first, second), exact, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@few
@given(
    shape=shapes(axes=(1, 2)), seed=seeds, momentum=st.sampled_from([0, 0.9]), dampening=st.sampled_from([0, 0.3]),
    nesterov=st.booleans(), weight_decay=st.sampled_from([0, 0.1]),
)
def test_sgd_steps_as_its_formula(form, shape, seed, momentum, dampening, nesterov, weight_decay):
    x, buffer = array(seed, shape), np.zeros(shape, np.float32) if momentum else None
    exact, speed = x.astype(np.float64), None
    for step in (1, 2, 3):
        grad = array(seed + step, shape)
        kernel("sgd_step")(x, grad, buffer, 0.05, momentum, dampening, nesterov, weight_decay, fresh=step == 1)
        exact, slope = decay(exact, grad.astype(np.float64), lr=0.05, weight_decay=weight_decay, decoupled=False)
        if momentum:
            speed = velocity(speed, slope, momentum, dampening)
            slope = look_ahead(slope, speed, momentum) if nesterov else speed
            np.testing.assert_allclose(buffer, speed, rtol=1e-5, atol=1e-6)
        exact = exact - 0.05 * slope
        np.testing.assert_allclose(x, exact, rtol=1e-5, atol=1e-6)


def test_steps_do_not_depend_on_threads(form):
    results = []
    for threads in (1, 2):
        x, grad, first, second = np.random.default_rng(1).random((4, 300_000), np.float32)
        kernel("adam_step")(x, grad, first, second, 7, 1e-3, 0.9, 0.999, 1e-8, threads=threads)
        kernel("sgd_step")(x, grad, first, 1e-3, 0.9, threads=threads)
        results.append(x.tobytes() + first.tobytes() + second.tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("fault", ["shape", "dtype", "read-only", "aliasing", "step"])
def test_steps_refuse_what_does_not_fit(form, fault):
    x, grad, first, second = (np.ones((3, 4), np.float32) for _ in range(4))
    step = 0 if fault == "step" else 1
    if fault == "shape":
        first = first[:2]
    elif fault == "dtype":
        grad = grad.astype(float)
    elif fault == "read-only":
        x.flags.writeable = False
    elif fault == "aliasing":
        second = first
    with pytest.raises(ValueError, match="^adam_step: [^\n]+$"):
        kernel("adam_step")(x, grad, first, second, step, 1e-3, 0.9, 0.999, 1e-8)
    if fault in ("dtype", "read-only"):
        with pytest.raises(ValueError, match="^sgd_step: [^\n]+$"):
            kernel("sgd_step")(x, grad, None, 1e-3)
    assert (x == 1).all()
