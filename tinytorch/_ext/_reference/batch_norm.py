"""Normalising each channel over everything else, forward and backward."""

import numpy as np

from tinytorch._ext._reference import checks


def batch_norm(x, weight, bias, out, mean, var, eps=1e-5, training=True, threads=0):
    """Write (x - mean) / sqrt(var + eps) * weight + bias, channel by channel of x (N, C, ...), into out.

    In training, mean and var (C,) are written: of the channel over everything but C, var dividing by the count. In
    evaluation they are read. float32, C-contiguous; training wants at least one number a channel.
    """
    check_batch_norm("batch_norm", x, out, (weight, bias, mean, var), ("weight", "bias", "mean", "var"),
                     ("out", "mean", "var") if training else ("out",), training)
    if training:
        mean[...], var[...] = moments(x)
    out[...] = normalised(x, mean, var, eps) * spread(weight, x) + spread(bias, x)


def batch_norm_backward(x, grad, weight, mean, var, dx, dweight, dbias, eps=1e-5, training=True, threads=0):
    """Write the gradients of batch_norm's x, weight and bias, given that of its out and the mean and var that it used."""
    check_batch_norm("batch_norm_backward", x, grad, (weight, mean, var, dx, dweight, dbias),
                     ("weight", "mean", "var", "dx", "dweight", "dbias"), ("dx", "dweight", "dbias"), training)
    dx[...], dweight[...], dbias[...] = batch_norm_grads(x, grad, weight, mean, var, eps, training)


def check_batch_norm(kernel, x, like_x, others, names, outputs, training):
    """Raise ValueError unless arrays fit x (N, C, ...): like_x, "out" or "grad", in shape, and others (C,) but for dx."""
    checks.array(kernel, "x", x, np.float32, (None,) * max(x.ndim, 2))
    if training and x.shape[1] and x.size == 0:
        raise ValueError(f"{kernel}: a mean wants at least one number a channel, got x of shape {x.shape}")
    first = "out" if "out" in outputs else "grad"
    arrays = [("x", x), (first, like_x), *zip(names, others, strict=True)]
    for name, array in arrays[1:]:
        shape = x.shape if name in (first, "dx") else (x.shape[1],)
        checks.array(kernel, name, array, np.float32, shape, name in outputs)
    for name, array in arrays:
        if name in outputs:
            checks.apart(kernel, array, *(other for other_name, other in arrays if other_name != name))


def spread(values, x):
    """values (C,) as an array that broadcasts against x (N, C, ...)."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


def moments(x):
    """Mean and variance (C,) of each channel of x (N, C, ...)."""
    axes = (0, *range(2, x.ndim))
    return x.mean(axis=axes), x.var(axis=axes)


def normalised(x, mean, var, eps):
    return (x - spread(mean, x)) / np.sqrt(spread(var, x) + x.dtype.type(eps))


def batch_norm_grads(x, grad, weight, mean, var, eps, training):
    """The gradients of x, weight and bias, of any dtype."""
    axes, h = (0, *range(2, x.ndim)), normalised(x, mean, var, eps)
    dbias, dweight = grad.sum(axis=axes), (grad * h).sum(axis=axes)
    dx = grad
    if training:
        count = x.dtype.type(x.size // max(x.shape[1], 1))
        dx = dx - spread(dbias / count, x) - h * spread(dweight / count, x)
    return dx * spread(weight / np.sqrt(var + x.dtype.type(eps)), x), dweight, dbias
