"""Operations on elements and rows."""

import math

import numpy as np

from tinytorch._ext._reference import checks
from tinytorch._ext._reference.functions import FUNCTIONS, SLOPES

ACTIVATIONS = {"identity": 0, "relu": 1, "gelu": 2, "gelu_tanh": 3, "silu": 4}  # numbers as in rows.h
REDUCTIONS = ("mean", "sum", "none")


def activate(x, out, activation, bias=None, threads=0):
    """Write activation(x + bias) into out, of x's shape (..., D), which may be x. float32, contiguous; bias (D,) or None.

    activation: "identity", "relu", "gelu", "gelu_tanh" or "silu".
    """
    check_activate("activate", activation, bias, out, x)
    with np.errstate(all="ignore"):
        x = x if bias is None else x + bias
        out[...] = x if activation == "identity" else FUNCTIONS[activation](x)


def activate_backward(x, grad, out, activation, bias=None, threads=0):
    """Write grad times the slope of the activation at x + bias into out, which may be grad. Shapes as in activate.

    For "relu", x may also be what relu returned.
    """
    check_activate("activate_backward", activation, bias, out, x, grad)
    with np.errstate(all="ignore"):
        x = x if bias is None else x + bias
        if activation == "relu":
            out[...] = np.where(x <= 0, 0, grad)
        else:
            out[...] = grad if activation == "identity" else grad * SLOPES[activation](x)


def softmax(x, out, threads=0):
    """Write softmax of each row of x (..., D) into out, which may be x. float32, contiguous."""
    check_elementwise("softmax", out, x)
    with np.errstate(all="ignore"):
        np.exp(x - _largest(x), out=out)
        out /= out.sum(-1, keepdims=True)


def log_softmax(x, out, threads=0):
    """Write the logarithm of softmax of each row of x (..., D) into out, which may be x. float32, contiguous."""
    check_elementwise("log_softmax", out, x)
    with np.errstate(all="ignore"):
        np.subtract(x, _largest(x), out=out)
        out -= np.log(np.exp(out).sum(-1, keepdims=True))


def _largest(x):
    return x.max(-1, keepdims=True, initial=-np.inf)


def softmax_backward(y, grad, out, threads=0):
    """Write the gradient by x of y = softmax(x) (..., D) into out, which may be y or grad. float32, contiguous."""
    check_elementwise("softmax_backward", out, y, grad)
    with np.errstate(all="ignore"):
        out[...] = y * (grad - (grad * y).sum(-1, keepdims=True))


def log_softmax_backward(y, grad, out, threads=0):
    """Write the gradient by x of y = log_softmax(x) (..., D) into out, which may be y or grad. float32, contiguous."""
    check_elementwise("log_softmax_backward", out, y, grad)
    with np.errstate(all="ignore"):
        out[...] = grad - np.exp(y) * grad.sum(-1, keepdims=True)


def cross_entropy(logits, labels, losses, grad=None, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean",
                  threads=0):
    """Write the loss of each row of logits (R, C) against labels (R,), int64, into losses (R,) -> the reduced loss, a float.

    With grad (R, C), also the gradient by the logits of the reduced loss, in the same pass; of the sum for "none". weight is
    (C,) or None. Means and formulas as in losses.CrossEntropyLoss. Raises ValueError for a label that is no class.
    """
    check_cross_entropy(logits, labels, losses, grad, weight, label_smoothing, reduction)
    classes = logits.shape[1]
    kept = labels != ignore_index
    wrong = np.flatnonzero(kept & ((labels < 0) | (labels >= classes)))
    if wrong.size:
        raise ValueError(f"cross_entropy: label {labels[wrong[0]]} at position {wrong[0]} is no class: "
                         f"{classes} classes are 0 to {classes - 1}")
    safe, rows = np.where(kept, labels, 0), np.arange(len(labels))
    of_class = np.ones(classes, np.float32) if weight is None else weight
    of_row = np.where(kept, of_class[safe], 0) if classes else np.zeros(len(labels), np.float32)
    share = np.float32(label_smoothing / max(classes, 1))
    with np.errstate(all="ignore"):
        shifted = logits - _largest(logits)
        powers = np.exp(shifted)
        surprisal = np.log(powers.sum(-1, keepdims=True)) - shifted
        own = of_row * surprisal[rows, safe] if classes else np.zeros(len(labels), np.float32)
        if label_smoothing:
            own = (1 - label_smoothing) * own + share * (surprisal * of_class).sum(-1)
        losses[...] = np.where(kept, own, 0)
        total, weights = float(losses.sum(dtype=np.float64)), float(of_row.sum(dtype=np.float64)) or math.nan
        if grad is not None:
            toward = np.zeros_like(logits)
            toward[rows, safe] = of_row * (1 - label_smoothing)
            toward += np.where(label_smoothing > 0, share * of_class, 0)
            slope = powers / powers.sum(-1, keepdims=True) * toward.sum(-1, keepdims=True) - toward
            grad[...] = np.where(kept[:, None], slope / (weights if reduction == "mean" else 1), 0)
    return total / weights if reduction == "mean" else total


def sum_rows(x, out, threads=0):
    """Write the sum of all rows of x (..., D) into out (D,). float32, contiguous: the gradient of a bias."""
    check_sum_rows(x, out)
    np.sum(x.reshape(-1, x.shape[-1]) if x.size else x.reshape(0, x.shape[-1]), axis=0, out=out)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5, threads=0):
    """Write (x - mean) * rstd * weight + bias into out (..., D), and what each of the R rows has of mean and rstd (R,).

    rstd is 1 / sqrt(variance + eps). weight and bias (D,); bias or both may be None. float32, contiguous; out may be x.
    """
    check_norm("layer_norm", x, weight, bias, out, mean, rstd)
    if x.size == 0:
        return
    mean[...] = x.mean(-1).reshape(mean.shape)
    _normalise(x - x.mean(-1, keepdims=True), weight, bias, out, rstd, eps)


def rms_norm(x, weight, out, rstd, eps=1e-6, threads=0):
    """Write x * rstd * weight into out (..., D), and rstd = 1 / sqrt(mean of x² + eps) of each of the R rows into rstd (R,).

    weight (D,) or None. float32, contiguous; out may be x. Source: Zhang and Sennrich 2019.
    """
    check_norm("rms_norm", x, weight, None, out, None, rstd)
    if x.size:
        _normalise(x, weight, None, out, rstd, eps)


def _normalise(centred, weight, bias, out, rstd, eps):
    with np.errstate(all="ignore"):
        scale = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(eps))
        rstd[...] = scale.reshape(rstd.shape)
        out[...] = centred * scale * (1 if weight is None else weight)
        if bias is not None:
            out += bias


def layer_norm_backward(x, weight, mean, rstd, grad, dx, dweight=None, dbias=None, threads=0):
    """Write the gradients by x, weight and bias of layer_norm, with the mean and rstd that it wrote. dx may be grad.

    dweight is given exactly if weight is; dbias may be None.
    """
    check_norm_backward("layer_norm_backward", x, weight, mean, rstd, grad, dx, dweight, dbias)
    _norm_backward(x, weight, mean, rstd, grad, dx, dweight, dbias)


def rms_norm_backward(x, weight, rstd, grad, dx, dweight=None, threads=0):
    """Write the gradients by x and weight of rms_norm, with the rstd that it wrote. dx may be grad."""
    check_norm_backward("rms_norm_backward", x, weight, None, rstd, grad, dx, dweight, None)
    _norm_backward(x, weight, None, rstd, grad, dx, dweight, None)


def _norm_backward(x, weight, mean, rstd, grad, dx, dweight, dbias):
    leading = (*x.shape[:-1], 1)
    with np.errstate(all="ignore"):
        scale = rstd.reshape(leading) if x.size else 1
        h = (x - mean.reshape(leading) if mean is not None and x.size else x) * scale
        axes = tuple(range(x.ndim - 1))
        for target, values in ((dweight, grad * h), (dbias, grad)):
            if target is not None:
                target[...] = values.sum(axes)
        if x.size:
            q = grad if weight is None else grad * weight
            shift = 0 if mean is None else q.mean(-1, keepdims=True)
            dx[...] = scale * (q - shift - h * (q * h).mean(-1, keepdims=True))


def check_elementwise(kernel, out, *inputs):
    """Raise ValueError unless out and inputs are float32, C-contiguous, of one shape; out may be one of the inputs."""
    for x in inputs:
        checks.array(kernel, "an input", x, np.float32, inputs[0].shape)
    checks.array(kernel, "out", out, np.float32, inputs[0].shape, writable=True)
    checks.apart(kernel, out, *inputs, whole=True)


def check_activate(kernel, activation, bias, out, *inputs):
    if activation not in ACTIVATIONS:
        raise ValueError(f"{kernel}: activation is one of {', '.join(ACTIVATIONS)}; got {activation!r}")
    check_elementwise(kernel, out, *inputs)
    if bias is not None:
        checks.array(kernel, "bias", bias, np.float32, inputs[0].shape[-1:])
        checks.apart(kernel, out, bias)


def check_cross_entropy(logits, labels, losses, grad, weight, label_smoothing, reduction):
    name = "cross_entropy"
    checks.array(name, "logits", logits, np.float32, (None, None))
    checks.array(name, "labels", labels, np.int64, logits.shape[:1])
    checks.array(name, "losses", losses, np.float32, logits.shape[:1], writable=True)
    checks.apart(name, losses, logits, labels)
    if grad is not None:
        checks.array(name, "grad", grad, np.float32, logits.shape, writable=True)
        checks.apart(name, grad, logits, labels, losses)
    if weight is not None:
        checks.array(name, "weight", weight, np.float32, logits.shape[1:])
    if not 0 <= label_smoothing <= 1 or reduction not in REDUCTIONS:
        raise ValueError(f"{name}: label_smoothing is from 0 to 1 and reduction one of {', '.join(REDUCTIONS)}; "
                         f"got {label_smoothing} and {reduction!r}")


def check_sum_rows(x, out):
    checks.array("sum_rows", "x", x, np.float32, (..., None))
    checks.array("sum_rows", "out", out, np.float32, x.shape[-1:], writable=True)
    checks.apart("sum_rows", out, x)


def check_norm(kernel, x, weight, bias, out, mean, rstd):
    checks.array(kernel, "x", x, np.float32, (..., None))
    checks.array(kernel, "out", out, np.float32, x.shape, writable=True)
    checks.apart(kernel, out, x, whole=True)
    if weight is None and bias is not None:
        raise ValueError(f"{kernel}: a bias without a weight; give weight as ones")
    given = [a for a in (weight, bias) if a is not None]
    for name, array in (("weight", weight), ("bias", bias)):
        if array is not None:
            checks.array(kernel, name, array, np.float32, x.shape[-1:])
    checks.apart(kernel, out, *given)
    _check_statistics(kernel, x, mean, rstd)
    checks.apart(kernel, rstd, x, out, *given)
    if mean is not None:
        checks.apart(kernel, mean, x, out, rstd, *given)


def _check_statistics(kernel, x, mean, rstd):
    rows = math.prod(x.shape[:-1]) if x.size else 0
    for name, array in (("mean", mean), ("rstd", rstd)):
        if array is not None and array.size != rows:
            raise ValueError(f"{kernel}: {name} must have one element for each of {rows} rows; got shape {array.shape}")
        if array is not None:
            checks.array(kernel, name, array, np.float32, array.shape, writable=True)


def check_norm_backward(kernel, x, weight, mean, rstd, grad, dx, dweight, dbias):
    checks.array(kernel, "x", x, np.float32, (..., None))
    checks.array(kernel, "grad", grad, np.float32, x.shape)
    checks.array(kernel, "dx", dx, np.float32, x.shape, writable=True)
    checks.apart(kernel, dx, x, grad, whole=True)
    _check_statistics(kernel, x, mean, rstd)
    if (weight is None) != (dweight is None) or (dbias is not None and weight is None):
        raise ValueError(f"{kernel}: dweight is given exactly if weight is, and dbias only with them")
    for name, array, shape in (("weight", weight, x.shape[-1:]), ("dweight", dweight, x.shape[-1:]), ("dbias", dbias, x.shape[-1:])):
        if array is not None:
            checks.array(kernel, name, array, np.float32, shape, writable=name != "weight")
    for target in (dweight, dbias):
        others = [a for a in (dx, x, grad, weight, dweight, dbias) if a is not None and a is not target]
        if target is not None:
            checks.apart(kernel, target, *others)
