"""Layers' arithmetic as one operation each, forward and backward on kernels: what modules 09 to 13 build up from smaller steps.

    y = CausalAttention.apply(x, heads=4)      x (B, T, 3 E) holds queries, keys and values side by side
    y = Linear.apply(x, weight, bias, activation="gelu")
    y = LayerNorm.apply(x, weight, bias)       over the last axis of x (..., D); RMSNorm.apply(x, weight)
    y = Conv2d.apply(x, weight, bias)          images x (N, C, H, W), filters weight (O, C, KH, KW)
    y = MaxPool2d.apply(x, kernel=2)           the largest of each window; AvgPool2d: the mean
    y = BatchNorm2d.apply(x, weight, bias)     channels of images x

Each works under both backends, in float32 and, computed in float32, float16; attention in float64 too.
"""

import math

import numpy as np

from tinytorch.backend import kernel
from tinytorch.tensor import DTypeError, Function, ShapeError


def working(array):
    """array in the precision that kernels compute in: float16 becomes float32."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def contiguous(array):
    """array in the precision that kernels compute in, without gaps."""
    return np.ascontiguousarray(working(array))


def pair(number):
    """One number for both axes, or one for each."""
    return tuple(number) if isinstance(number, tuple | list) else (number, number)


def need_float32(name, *arrays):
    """Raise DTypeError unless the arrays are float32, or float16, which is computed in float32."""
    wrong = [str(a.dtype) for a in arrays if a.dtype not in (np.float16, np.float32)]
    if wrong:
        raise DTypeError(f"{name} takes float32 or float16, got {wrong[0]}")


def places(name, length, window, stride, padding, dilation=1):
    """How many windows fit along an axis. Raises ShapeError if none does."""
    n = (length + 2 * padding - dilation * (window - 1) - 1) // stride + 1
    if n < 1:
        reach = dilation * (window - 1) + 1
        raise ShapeError(f"{name}: a window of {reach} is larger than {length} with {padding} of padding on each side")
    return n


class CausalAttention(Function):
    """softmax(q k' / sqrt(D)) v, where a position sees itself and what is before it.

    x (B, T, (H + 2 G) D) holds all heads of q, then those of k, then of v -> (B, T, H D). heads is H, kv_heads G; if G is
    less than H, H / G neighbouring heads of q share one of k and v. No T x T matrix is held. Work 4 B H T² D / 2 FLOP.
    Raises ShapeError if the width does not hold these heads. Source: Dao et al. 2022; Ainslie et al. 2023 (shared heads).
    """

    needs = ((0, "output"),)

    def forward(self, x, heads, kv_heads=None):
        shared = heads if kv_heads is None else kv_heads
        if x.ndim != 3 or min(heads, shared) < 1 or heads % shared or x.shape[2] % (heads + 2 * shared):
            raise ShapeError(f"x of shape {x.shape} does not hold {heads} heads of q and {shared} of k and of v side by side: "
                             "wants (B, T, (H + 2 G) D), H a multiple of G")
        work = working(x)
        q, k, v = self.split(work)
        out = np.empty(q.shape, work.dtype)
        self.lse = np.empty((q.shape[0], q.shape[2], q.shape[1]), work.dtype)
        if out.size:
            kernel("attention_forward")(q, k, v, out, self.lse)
        return out.reshape(*x.shape[:2], q.shape[2] * q.shape[3]).astype(x.dtype, copy=False)

    def backward(self, grad):
        work = working(self.saved[0])
        q, k, v = self.split(work)
        out, grad = (contiguous(array).reshape(q.shape) for array in (self.output, grad))
        result = np.empty(work.shape, work.dtype)
        if out.size:
            kernel("attention_backward")(q, k, v, out, self.lse, grad, *self.split(result))
        return (result,)

    def split(self, x):
        """Views (B, T, heads, D) of the queries, keys and values in a packed array."""
        heads = self.params["heads"]
        shared = self.params.get("kv_heads") or heads
        x = x.reshape(*x.shape[:2], heads + 2 * shared, x.shape[2] // (heads + 2 * shared))
        return x[:, :, :heads], x[:, :, heads:heads + shared], x[:, :, heads + shared:]


ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu")


class Linear(Function):
    """activation(x weightᵀ + bias) on the last axis: x (..., K), weight (O, K), bias (O,) or left out -> (..., O).

    activation: None or one of ACTIVATIONS. Bias and activation are added while a tile of the product is in registers.
    Raises ShapeError for shapes that do not fit, DTypeError for float64.
    """

    def forward(self, x, weight, bias=None, activation=None):
        need_float32("Linear", x, weight)
        if activation not in (None, *ACTIVATIONS):
            raise ValueError(f"unknown activation {activation!r}: choose from {', '.join(ACTIVATIONS)}")
        fits = x.ndim and weight.ndim == 2 and x.shape[-1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1])
        if not fits:
            raise ShapeError(f"x of shape {x.shape}, weight {weight.shape} and bias {None if bias is None else bias.shape}: "
                             "wants (..., K), (O, K) and (O,)")
        slope = ("output",) if activation == "relu" else ()
        self.needs = ((1, *slope), (0, *slope), slope)[:len(self.saved)]
        rows = contiguous(x).reshape(x.size // max(x.shape[-1], 1) if x.ndim > 1 else 1, x.shape[-1])
        out = np.empty((len(rows), len(weight)), np.float32)
        self.before = np.empty_like(out) if activation not in (None, "relu") else None  # ReLU's slope shows in its result
        kernel("gemm")(rows, working(weight).T, out, None if bias is None else contiguous(bias), activation, self.before)
        return out.reshape(*x.shape[:-1], len(weight)).astype(x.dtype, copy=False)

    def backward(self, grad):
        x, weight = self.saved[:2]
        outputs, features = self.shapes[1]
        rows, activation = math.prod(self.shapes[0][:-1]), self.params.get("activation")
        grad = contiguous(grad).reshape(rows, outputs)
        if activation:
            before = contiguous(self.output).reshape(grad.shape) if self.before is None else self.before
            change, grad = grad, np.empty_like(grad)
            kernel("activate_backward")(before, change, grad, activation)
        dx = dweight = dbias = None
        if self.wants[0]:
            dx = np.empty(self.shapes[0], np.float32)
            kernel("gemm")(grad, working(weight), dx.reshape(rows, features))
        if self.wants[1]:
            dweight = np.empty(self.shapes[1], np.float32)
            kernel("gemm")(grad.T, contiguous(x).reshape(rows, features), dweight)
        if len(self.wants) > 2 and self.wants[2]:
            dbias = np.empty(outputs, np.float32)
            kernel("sum_rows")(grad, dbias)
        return (dx, dweight, dbias)[:len(self.wants)]


class LayerNorm(Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis: x (..., D), weight and bias (D,).

    Raises ShapeError for weights of another length, DTypeError for float64, which the kernel does not compute.
    Source: Ba, Kiros and Hinton 2016.
    """

    needs = ((0, 1), (0,), (0,))

    def forward(self, x, weight, bias, eps=1e-5):
        if x.ndim == 0 or not weight.shape == bias.shape == x.shape[-1:]:
            raise ShapeError(f"x of shape {x.shape} wants weight and bias of its last axis, got {weight.shape} and {bias.shape}")
        need_float32("LayerNorm", x)
        work, out = contiguous(x), np.empty(x.shape, np.float32)
        self.mean, self.rstd = np.empty((2, x.size // max(x.shape[-1], 1)), np.float32)
        kernel("layer_norm")(work, contiguous(weight), contiguous(bias), out, self.mean, self.rstd, eps)
        return out.astype(x.dtype, copy=False)

    def backward(self, grad):
        x, weight = contiguous(self.saved[0]), self.saved[1]
        weight = np.ones(x.shape[-1:], np.float32) if weight is None else contiguous(weight)
        dx, (dweight, dbias) = np.empty(x.shape, np.float32), np.empty((2, *weight.shape), np.float32)
        kernel("layer_norm_backward")(x, weight, self.mean, self.rstd, contiguous(grad), dx, dweight, dbias)
        return dx, dweight, dbias


class RMSNorm(Function):
    """x / sqrt(mean of x² + eps) * weight over the last axis: x (..., D), weight (D,).

    Raises ShapeError for a weight of another length, DTypeError for float64. Source: Zhang and Sennrich 2019.
    """

    needs = ((0, 1), (0,))

    def forward(self, x, weight, eps=1e-6):
        if x.ndim == 0 or weight.shape != x.shape[-1:]:
            raise ShapeError(f"x of shape {x.shape} wants a weight of its last axis, got {weight.shape}")
        need_float32("RMSNorm", x)
        out = np.empty(x.shape, np.float32)
        self.rstd = np.empty(x.size // max(x.shape[-1], 1), np.float32)
        kernel("rms_norm")(contiguous(x), contiguous(weight), out, self.rstd, eps)
        return out.astype(x.dtype, copy=False)

    def backward(self, grad):
        x, weight = contiguous(self.saved[0]), self.saved[1]
        weight = np.ones(x.shape[-1:], np.float32) if weight is None else contiguous(weight)
        dx, dweight = np.empty(x.shape, np.float32), np.empty(weight.shape, np.float32)
        kernel("rms_norm_backward")(x, weight, self.rstd, contiguous(grad), dx, dweight)
        return dx, dweight


class Conv2d(Function):
    """Correlate images x (N, C, H, W) with filters weight (O, C / groups, KH, KW), and add bias (O,) -> (N, O, H', W').

    stride, padding and dilation are numbers or pairs. Work 2 N O H' W' C KH KW / groups FLOP. Raises ShapeError for shapes
    that do not fit, DTypeError for float64. Source: Chetlur et al. 2014 (implicit product of matrices).
    """

    def options(self, stride=1, padding=0, dilation=1, groups=1):
        return {"stride": pair(stride), "padding": pair(padding), "dilation": pair(dilation), "groups": groups}

    def forward(self, x, weight, bias=None, **params):
        need_float32("Conv2d", x, weight)
        self.needs = ((0, 1),) * len(self.saved)
        options = self.options(**params)
        fits = x.ndim == weight.ndim == 4 and x.shape[1] == weight.shape[1] * options["groups"] and not weight.shape[0] % options["groups"]
        if not fits or (bias is not None and bias.shape != weight.shape[:1]):
            raise ShapeError(f"x of shape {x.shape}, weight {weight.shape}, bias {None if bias is None else bias.shape} and "
                             f"{options['groups']} groups: wants (N, C, H, W), (O, C / groups, KH, KW) and (O,)")
        sides = (places("Conv2d", *sizes) for sizes in zip(x.shape[2:], weight.shape[2:], *list(options.values())[:3], strict=True))
        out = np.empty((len(x), len(weight), *sides), np.float32)
        kernel("conv2d")(contiguous(x), contiguous(weight), out, None if bias is None else contiguous(bias), **options)
        return out.astype(x.dtype, copy=False)

    def backward(self, grad):
        options, grad = self.options(**self.params), contiguous(grad)
        x, weight = contiguous(self.saved[0]), contiguous(self.saved[1])
        dx = dweight = dbias = None
        if self.wants[0]:
            dx = np.empty(x.shape, np.float32)
            kernel("conv2d_input_grad")(grad, weight, dx, **options)
        if any(self.wants[1:]):
            dweight = np.empty(weight.shape, np.float32)
            dbias = np.empty(len(weight), np.float32) if len(self.wants) > 2 else None
            kernel("conv2d_weight_grad")(x, grad, dweight, dbias, **options)
        return (dx, dweight, dbias)[:len(self.wants)]


class MaxPool2d(Function):
    """The largest number of each window of x (N, C, H, W) -> (N, C, H', W'). kernel, stride and padding: numbers or pairs.

    Without a stride, windows lie side by side. Raises ShapeError if no window fits, DTypeError for float64.
    """

    needs = ((),)

    def forward(self, x, **params):
        need_float32("MaxPool2d", x)
        options = pooling(**params)
        out = np.empty(pooled_shape("MaxPool2d", x.shape, options), np.float32)
        self.index = np.empty(out.shape, np.int32)
        kernel("max_pool2d")(contiguous(x), out, self.index, **options)
        return out.astype(x.dtype, copy=False)

    def backward(self, grad):
        result = np.empty(self.shapes[0], np.float32)
        kernel("max_pool2d_backward")(contiguous(grad), self.index, result, **pooling(**self.params))
        return (result,)


class AvgPool2d(Function):
    """The mean of each window of x (N, C, H, W) -> (N, C, H', W'), zeros of the padding among them.

    kernel, stride and padding are as for MaxPool2d, and so are the errors.
    """

    needs = ((),)

    def forward(self, x, **params):
        need_float32("AvgPool2d", x)
        options = pooling(**params)
        out = np.empty(pooled_shape("AvgPool2d", x.shape, options), np.float32)
        kernel("avg_pool2d")(contiguous(x), out, **options)
        return out.astype(x.dtype, copy=False)

    def backward(self, grad):
        result = np.empty(self.shapes[0], np.float32)
        kernel("avg_pool2d_backward")(contiguous(grad), result, **pooling(**self.params))
        return (result,)


class BatchNorm2d(Function):
    """(x - mean) / sqrt(var + eps) * weight + bias of each channel of x (N, C, H, W); weight and bias (C,).

    In training, mean and var are the channel's own, over N, H and W; running, a pair of float32 arrays (C,), moves towards
    them by momentum, in place (var with the divisor N H W - 1). With training=False, mean and var are running.
    Raises ShapeError for arrays that do not fit, ValueError for a channel of one number in training, DTypeError for float64.
    Source: Ioffe and Szegedy 2015.
    """

    needs = ((0, 1), (0,), (0,))

    def forward(self, x, weight, bias, running=None, training=True, momentum=0.1, eps=1e-5):
        need_float32("BatchNorm2d", x)
        if x.ndim != 4 or not weight.shape == bias.shape == x.shape[1:2]:
            raise ShapeError(f"BatchNorm2d takes x (N, C, H, W), weight and bias (C,); got {x.shape}, {weight.shape} and {bias.shape}")
        if running is not None and any(r.shape != weight.shape or r.dtype != np.float32 for r in running):
            got = " and ".join(f"{r.dtype} {r.shape}" for r in running)
            raise ShapeError(f"running is a pair of float32 arrays of shape {weight.shape}, got {got}")
        count = x.size // max(x.shape[1], 1)
        if training and count < 2:
            raise ValueError(f"a variance wants two numbers or more a channel, got x of shape {x.shape}")
        if not training and running is None:
            raise ValueError("without training, the mean and variance to use are to be given as running")
        out = np.empty(x.shape, np.float32)
        # Copies: the backward pass needs what this call used, and running goes on.
        self.mean, self.var = np.empty((2, *weight.shape), np.float32) if training else map(np.array, running)
        kernel("batch_norm")(contiguous(x), contiguous(weight), contiguous(bias), out, self.mean, self.var, eps, training)
        if training and running is not None:
            mean, var = running
            mean += np.float32(momentum) * (self.mean - mean)
            var += np.float32(momentum) * (self.var * np.float32(count / (count - 1)) - var)
        return out.astype(x.dtype, copy=False)

    def backward(self, grad):
        x, weight = contiguous(self.saved[0]), self.saved[1]
        weight = np.ones(x.shape[1:2], np.float32) if weight is None else contiguous(weight)
        dx, (dweight, dbias) = np.empty(x.shape, np.float32), np.empty((2, *weight.shape), np.float32)
        kernel("batch_norm_backward")(x, contiguous(grad), weight, self.mean, self.var, dx, dweight, dbias,
                                      self.params.get("eps", 1e-5), self.params.get("training", True))
        return dx, dweight, dbias


def pooling(kernel, stride=None, padding=0):
    """The options of a pooling kernel: windows lie side by side unless there is a stride."""
    return {"kernel": pair(kernel), "stride": pair(kernel if stride is None else stride), "padding": pair(padding)}


def pooled_shape(name, shape, options):
    """The shape of what a pooling makes of images. Raises ShapeError for what are no images, or if no window fits."""
    if len(shape) != 4:
        raise ShapeError(f"{name} takes images (N, C, H, W), got shape {shape}")
    return *shape[:2], *(places(name, *sizes) for sizes in zip(shape[2:], *options.values(), strict=True))
