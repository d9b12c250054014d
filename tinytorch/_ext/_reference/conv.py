"""Correlation of images with filters, and its gradients, as matrix products over windows."""

import numpy as np

from tinytorch._ext._reference import checks


def conv2d(x, weight, out, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, threads=0):
    """Write the correlation of images x (N, C, H, W) with weight (O, C / groups, KH, KW), plus bias (O,), into out.

    out (N, O, OH, OW) with OH = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1. float32, C-contiguous; stride,
    padding and dilation are pairs. The border of zeros takes part: an infinite weight over it gives NaN.
    """
    names = "x weight bias out".split()
    check_conv2d("conv2d", (x, weight, bias, out), names, ("out",), stride, padding, dilation, groups)
    out[...] = correlate(x, weight, stride, padding, dilation, groups)
    if bias is not None:
        out += bias[:, None, None]


def conv2d_input_grad(grad, weight, dx, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, threads=0):
    """Write the gradient of conv2d's x, given that of its out, into dx. Arrays and arguments as for conv2d."""
    check_conv2d("conv2d_input_grad", (dx, weight, None, grad), "dx weight bias grad".split(), ("dx",),
                 stride, padding, dilation, groups)
    dx[...] = correlate_input_grad(grad, weight, dx.shape, stride, padding, dilation, groups)


def conv2d_weight_grad(x, grad, dweight, dbias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, threads=0):
    """Write the gradients of conv2d's weight and, unless dbias is None, of its bias, given that of its out."""
    check_conv2d("conv2d_weight_grad", (x, dweight, dbias, grad), "x dweight dbias grad".split(), ("dweight", "dbias"),
                 stride, padding, dilation, groups)
    dweight[...] = correlate_weight_grad(x, grad, dweight.shape, stride, padding, dilation, groups)
    if dbias is not None:
        grad.sum(axis=(0, 2, 3), out=dbias)


def check_conv2d(kernel, arrays, names, outputs, stride, padding, dilation, groups):
    """Raise ValueError unless arrays, in the roles of conv2d's (x, weight, bias or None, out), fit each other.

    Three kernels share this: names are what this one calls them, outputs are the names of those that it writes.
    """
    pairs = (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1))
    for name, pair, low in pairs:
        if len(pair) != 2 or min(pair) < low:
            raise ValueError(f"{kernel}: {name} is a pair of numbers from {low} up, got {pair}")
    x, weight, bias, out = arrays
    for name, array in zip(names[:2], arrays[:2], strict=True):
        checks.array(kernel, name, array, np.float32, (None,) * 4, name in outputs)
    C, (O, channels, KH, KW) = x.shape[1], weight.shape  # noqa: E741, as in the docstring
    if groups < 1 or C != channels * groups or O % groups or not weight.size:
        raise ValueError(f"{kernel}: {names[1]} must be (O, C / groups, KH, KW), O a multiple of groups and no length 0; "
                         f"got {weight.shape}, C {C}, groups {groups}")
    sides = target_sides(x.shape[2:], (KH, KW), stride, padding, dilation)
    if min(sides) < 1:
        raise ValueError(f"{kernel}: a filter of {KH} x {KW}, dilation {dilation}, is larger than an image of "
                         f"{x.shape[2]} x {x.shape[3]} with padding {padding}")
    checks.array(kernel, names[3], out, np.float32, (x.shape[0], O, *sides), names[3] in outputs)
    if bias is not None:
        checks.array(kernel, names[2], bias, np.float32, (O,), names[2] in outputs)
    there = [(name, array) for name, array in zip(names, arrays, strict=True) if array is not None]
    for name, array in there:
        if name in outputs:
            checks.apart(kernel, array, *(other for other_name, other in there if other_name != name))


def target_sides(sides, kernel, stride, padding, dilation=(1, 1)):
    """Height and width of what a filter or a pooling window makes of an image: how often it fits."""
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1
                 for n, k, s, p, d in zip(sides, kernel, stride, padding, dilation, strict=True))


def windows(x, kernel, stride, padding, dilation, fill=0):
    """Every window of padded images x (N, C, H, W), as a view (N, C, OH, OW, KH, KW)."""
    ph, pw = padding
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill) if ph or pw else x
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    return view[:, :, ::stride[0], ::stride[1], ::dilation[0], ::dilation[1]]


def grouped(function, groups, *arrays_and_axes):
    """function of each group's part of every (array, axis of channels), joined along axis 1 of the results."""
    parts = [np.split(array, groups, axis) for array, axis in arrays_and_axes]
    return [function(*part) for part in zip(*parts, strict=True)]


def correlate(x, weight, stride, padding, dilation, groups):
    """The correlation that conv2d writes, of any dtype."""
    def one(x, weight):
        view = windows(x, weight.shape[2:], stride, padding, dilation)
        return np.tensordot(view, weight, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)

    return np.concatenate(grouped(one, groups, (x, 1), (weight, 0)), axis=1)


def correlate_input_grad(grad, weight, shape, stride, padding, dilation, groups):
    """The gradient of correlate's x, of this shape: every window's gradient, added up where windows overlap."""
    (H, W), (ph, pw), (OH, OW) = shape[2:], padding, grad.shape[2:]

    def one(grad, weight):
        dx = np.zeros((grad.shape[0], weight.shape[1], H + 2 * ph, W + 2 * pw), grad.dtype)
        for i in range(weight.shape[2]):
            for j in range(weight.shape[3]):
                y, x = i * dilation[0], j * dilation[1]
                moved = np.tensordot(grad, weight[:, :, i, j], axes=((1,), (0,))).transpose(0, 3, 1, 2)
                dx[:, :, y:y + OH * stride[0]:stride[0], x:x + OW * stride[1]:stride[1]] += moved
        return dx[:, :, ph:ph + H, pw:pw + W]

    return np.concatenate(grouped(one, groups, (grad, 1), (weight, 0)), axis=1)


def correlate_weight_grad(x, grad, shape, stride, padding, dilation, groups):
    """The gradient of correlate's weight, of this shape."""
    def one(x, grad):
        view = windows(x, shape[2:], stride, padding, dilation)
        return np.tensordot(grad, view, axes=((0, 2, 3), (0, 2, 3)))

    return np.concatenate(grouped(one, groups, (x, 1), (grad, 1)), axis=0)
