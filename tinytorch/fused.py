"""Layers' arithmetic as one operation each, forward and backward on kernels: what modules 09 to 13 build up from smaller steps.

    y = CausalAttention.apply(x, heads=4)      x (B, T, 3 E) holds queries, keys and values side by side
    y = Embedding.apply(weight, indices)       rows of weight (V, D)
    y = LayerNorm.apply(x, weight, bias)       over the last axis of x (..., D)

Each works under both backends, in float32 and, computed in float32, float16; attention and embedding in float64 too.
"""

import numpy as np

from tinytorch.backend import kernel
from tinytorch.tensor import DTypeError, Function, ShapeError


def working(array):
    """array in the precision that kernels compute in: float16 becomes float32."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def contiguous(array):
    """array in the precision that kernels compute in, without gaps."""
    return np.ascontiguousarray(working(array))


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


class Embedding(Function):
    """Rows of weight (V, D) by number: indices, integers of any shape, from 0 to V - 1 -> indices.shape + (D,).

    The gradient for weight is dense. Raises IndexError for a number out of range, with its place.
    """

    needs = ((1,), ())

    def prepare(self, tensors):
        weight, indices = tensors
        if weight.ndim != 2 or weight.dtype.kind != "f":
            raise ShapeError(f"weight is a table (V, D) of floats, got {weight.dtype}, shape {weight.shape}")
        if indices.dtype.kind != "i":
            raise DTypeError(f"indices are integers, got {indices.dtype}")
        return weight.numpy(), indices.numpy()

    def forward(self, weight, indices):
        table = contiguous(weight)
        out = np.empty((indices.size, table.shape[1]), table.dtype)
        kernel("gather")(table, flat(indices), out)
        return out.reshape(*indices.shape, table.shape[1]).astype(weight.dtype, copy=False)

    def backward(self, grad):
        result, indices = np.zeros(self.shapes[0], grad.dtype), flat(self.saved[1])
        kernel("scatter_add")(np.ascontiguousarray(grad).reshape(len(indices), result.shape[1]), indices, result)
        return result, None


class LayerNorm(Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis: x (..., D), weight and bias (D,).

    Raises ShapeError for weights of another length, DTypeError for float64, which the kernel does not compute.
    Source: Ba, Kiros and Hinton 2016.
    """

    needs = ((0, 1), (0,), (0,))

    def forward(self, x, weight, bias, eps=1e-5):
        if x.ndim == 0 or not weight.shape == bias.shape == x.shape[-1:]:
            raise ShapeError(f"x of shape {x.shape} wants weight and bias of its last axis, got {weight.shape} and {bias.shape}")
        if x.dtype not in (np.float16, np.float32):
            raise DTypeError(f"LayerNorm takes float32 or float16, got {x.dtype}")
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


def flat(indices):
    """Indices as one row of int64."""
    return np.ascontiguousarray(indices, np.int64).reshape(-1)
