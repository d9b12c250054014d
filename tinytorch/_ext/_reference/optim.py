"""One step of an optimizer."""

import numpy as np

from tinytorch._ext._reference import checks


def adam_step(x, grad, first, second, step, lr, beta1, beta2, eps, weight_decay=0.0, decoupled=False, threads=0):
    """One step of Adam on x with its running averages first and second, all of grad's shape, in place. float32, contiguous.

    step counts from 1. decoupled=True is AdamW. Formulas as in optimizers.adam_rule and decay.
    """
    check_step("adam_step", step, x, grad, first, second)
    with np.errstate(all="ignore"):
        if decoupled:
            x -= lr * weight_decay * x
        else:
            grad = grad + weight_decay * x
        first[...] = beta1 * first + (1 - beta1) * grad
        second[...] = beta2 * second + (1 - beta2) * grad * grad
        x -= lr / (1 - beta1**step) * first / (np.sqrt(second / (1 - beta2**step)) + eps)


def sgd_step(x, grad, buffer, lr, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0, fresh=False, threads=0):
    """One step of SGD on x, in place; buffer, the velocity, is None without momentum. float32, contiguous, of one shape.

    fresh: the first step, in which the gradient becomes the velocity. Formulas as in optimizers.velocity and look_ahead.
    """
    check_step("sgd_step", 1, x, grad, buffer)
    with np.errstate(all="ignore"):
        grad = grad + weight_decay * x
        if buffer is not None:
            buffer[...] = grad if fresh else momentum * buffer + (1 - dampening) * grad
            grad = grad + momentum * buffer if nesterov else buffer
        x -= lr * grad


def check_step(kernel, step, x, grad, *state):
    """Raise ValueError unless a step can be taken on these arrays."""
    state = [array for array in state if array is not None]
    checks.array(kernel, "x", x, np.float32, x.shape, writable=True)
    checks.array(kernel, "grad", grad, np.float32, x.shape)
    for array in state:
        checks.array(kernel, "the state", array, np.float32, x.shape, writable=True)
    for k, array in enumerate([x, *state]):
        checks.apart(kernel, array, grad, *[x, *state][k + 1:])
    if step < 1:
        raise ValueError(f"{kernel}: steps count from 1, got {step}")
