"""The largest number, or the mean, of every window of planes, and the gradients."""

import numpy as np

from tinytorch._ext._reference import checks
from tinytorch._ext._reference.conv import target_sides, windows

INDEX_LIMIT = 2**31  # places are int32


def max_pool2d(x, out, index, kernel, stride, padding=(0, 0), threads=0):
    """Write the largest number of every window of x (N, C, H, W) into out (N, C, OH, OW), and its place into index.

    OH = (H + 2 padding - KH) // stride + 1. index, int32, counts through the H x W plane; of equals the first is taken, and
    NaN is larger than any number. float32, C-contiguous; kernel, stride and padding are pairs, padding at most half of kernel.
    """
    check_pool("max_pool2d", x, out, kernel, stride, padding, "out", index)
    out[...], index[...] = largest(x, kernel, stride, padding)


def max_pool2d_backward(grad, index, dx, kernel, stride, padding=(0, 0), threads=0):
    """Write the gradient of max_pool2d's x into dx, given that of its out: what each window gets goes to its index."""
    check_pool("max_pool2d_backward", dx, grad, kernel, stride, padding, "dx", index)
    check_places("max_pool2d_backward", index, dx)
    dx[...] = largest_grad(grad, index, dx.shape)


def avg_pool2d(x, out, kernel, stride, padding=(0, 0), threads=0):
    """Write the mean of every window of x (N, C, H, W) into out; zeros of the padding count. Arguments as max_pool2d's."""
    check_pool("avg_pool2d", x, out, kernel, stride, padding, "out")
    out[...] = means(x, kernel, stride, padding)


def avg_pool2d_backward(grad, dx, kernel, stride, padding=(0, 0), threads=0):
    """Write the gradient of avg_pool2d's x into dx, given that of its out: each number of a window gets an equal share."""
    check_pool("avg_pool2d_backward", dx, grad, kernel, stride, padding, "dx")
    dx[...] = means_grad(grad, dx.shape, kernel, stride, padding)


def check_pool(name, x, out, kernel, stride, padding, output, index=None):
    """Raise ValueError unless the arrays of a pooling fit each other; output, "out" or "dx", is the one that is written."""
    given = {"out": ("x", "out"), "dx": ("dx", "grad")}[output]
    for what, pair, low in (("kernel", kernel, 1), ("stride", stride, 1), ("padding", padding, 0)):
        if len(pair) != 2 or min(pair) < low:
            raise ValueError(f"{name}: {what} is a pair of numbers from {low} up, got {pair}")
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(f"{name}: padding is at most half of kernel {kernel}, got {padding}")
    checks.array(name, given[0], x, np.float32, (None,) * 4, output == "dx")
    sides = target_sides(x.shape[2:], kernel, stride, padding)
    if min(sides) < 1:
        raise ValueError(f"{name}: a window of {kernel[0]} x {kernel[1]} is larger than an image of {x.shape[2]} x "
                         f"{x.shape[3]} with padding {padding}")
    checks.array(name, given[1], out, np.float32, (*x.shape[:2], *sides), output == "out")
    if index is not None:
        checks.array(name, "index", index, np.int32, out.shape, output == "out")
        if x.shape[2] * x.shape[3] >= INDEX_LIMIT:
            raise ValueError(f"{name}: a plane of {x.shape[2]} x {x.shape[3]} has more places than int32 counts; cut it")
    arrays = {"x": x, "out": out} | ({} if index is None else {"index": index})
    for written in ("x",) if output == "dx" else ("out", "index"):
        if written in arrays:
            checks.apart(name, arrays[written], *(array for other, array in arrays.items() if other != written))


def check_places(name, index, dx):
    """Raise ValueError unless every place in index lies in a plane of dx."""
    size = dx.shape[2] * dx.shape[3]
    if index.size and not (0 <= index.min() and index.max() < size):
        raise ValueError(f"{name}: index must count from 0 to {size - 1}, got {index.min()} to {index.max()}; "
                         "pass what max_pool2d wrote")


def largest(x, kernel, stride, padding):
    """The largest number of every window, and its index in the plane (int64). Of any dtype."""
    view = windows(x, kernel, stride, padding, (1, 1), fill=-np.inf)
    places = np.arange(x.shape[2] * x.shape[3]).reshape(1, 1, *x.shape[2:])
    places = windows(places, kernel, stride, padding, (1, 1), fill=-1)
    outside = places < 0                            # never chosen, though it is not smaller than -infinity
    flat = (*view.shape[:4], kernel[0] * kernel[1])
    ranked = view.reshape(flat)
    inside = ~outside.reshape(*places.shape[:4], -1)
    best = np.where(inside, ranked, -np.inf).argmax(-1)
    first = np.broadcast_to(inside.argmax(-1), best.shape)      # where all are -infinity, the first one inside
    chosen = np.take_along_axis(ranked, best[..., None], -1)[..., 0]
    best = np.where(chosen == -np.inf, first, best)
    at = np.broadcast_to(places.reshape(*places.shape[:4], -1), flat)
    return (np.take_along_axis(ranked, best[..., None], -1)[..., 0], np.take_along_axis(at, best[..., None], -1)[..., 0])


def largest_grad(grad, index, shape):
    """The gradient of largest's x, of this shape."""
    dx = np.zeros(shape, grad.dtype)
    planes = np.arange(shape[0] * shape[1]).reshape(*shape[:2], 1, 1)
    np.add.at(dx.reshape(-1), (planes * (shape[2] * shape[3]) + index).reshape(-1), grad.reshape(-1))
    return dx


def means(x, kernel, stride, padding):
    """The mean of every window, of any dtype."""
    return windows(x, kernel, stride, padding, (1, 1)).mean(axis=(4, 5))


def means_grad(grad, shape, kernel, stride, padding):
    """The gradient of means' x, of this shape."""
    (H, W), (OH, OW), (ph, pw) = shape[2:], grad.shape[2:], padding
    dx, share = np.zeros((*shape[:2], H + 2 * ph, W + 2 * pw), grad.dtype), grad / grad.dtype.type(kernel[0] * kernel[1])
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            dx[:, :, i:i + OH * stride[0]:stride[0], j:j + OW * stride[1]:stride[1]] += share
    return dx[:, :, ph:ph + H, pw:pw + W]
