# Exported from modules/tinytorch/11_embeddings by `mlsys build`; edit the module's source, not this file.

"""Rows of a table by number, and positions: what a sequence of numbers becomes before attention sees it.

    Embedding(rows, width)              rows of a table; sparse=True keeps its gradient as a list of rows
    LearnedPositions, SinusoidalPositions, Rotary      layer(x, offset=0); the first row of x stands at offset
    tie(embedding, linear)              one matrix for both

Errors, each one line that says what it got and what it wanted:

    IndexError                 a number that is no row of the table, a position beyond the last
    ShapeError, DTypeError     from tinytorch.tensor
    ValueError                 a width that does not fit
"""

import numpy as np

import tinytorch.autograd  # noqa: F401 -- gives tensors their backward
from tinytorch.layers import Module, Parameter, normal_, overwrite
from tinytorch.tensor import DTypeError, Function, ShapeError, Tensor, float32, float64, zeros

BASE = 10_000.0  # of the wavelengths of positions. Source: Vaswani et al. 2017


def gather_rows(table, indices):
    """Rows of an array (V, D) by number -> a new array of shape indices.shape + (D,), in the table's dtype.

    Raises IndexError, with the number and V, for one that is not from 0 to V - 1.
    """
    wrong = (indices < 0) | (indices >= len(table))
    if wrong.any():
        raise IndexError(f"index {indices[wrong][0]} is not a row of {len(table)}: rows are 0 to {len(table) - 1}")
    return table.take(indices, axis=0)


def scatter_add(indices, grad, rows):
    """The sum of grad's rows for each row of a table: array (rows, D) of grad's dtype, zero where no index points.

    indices: integers of any shape, from 0 to rows - 1; grad: array of shape indices.shape + (D,). float16 is added up
    in float32.
    """
    width = grad.shape[-1]
    total = np.zeros((rows, width), float32 if grad.dtype == np.float16 else grad.dtype)
    np.add.at(total, indices.reshape(-1), grad.reshape(indices.size, width))
    return total.astype(grad.dtype, copy=False)


def merge_rows(indices, grad):
    """The rows that indices name, each once and ascending, and the sum of grad over the places of each.

    indices: integers of any shape; grad: array of shape indices.shape + (D,) -> int64 array (N,), array (N, D) of grad's
    dtype. float16 is added up in float32.
    """
    flat, values = indices.reshape(-1), grad.reshape(indices.size, grad.shape[-1])
    order = np.argsort(flat, kind="stable")
    numbers, first = np.unique(flat[order], return_index=True)
    if numbers.size == 0:
        return numbers.astype(np.int64), values[:0].copy()
    sums = np.add.reduceat(values[order], first, axis=0, dtype=float32 if grad.dtype == np.float16 else grad.dtype)
    return numbers.astype(np.int64), sums.astype(grad.dtype, copy=False)


def step_rows_(table, numbers, values, lr):
    """table[n] -= lr * v for each number n and its row v, in place and without a trace for autograd -> table.

    table: a tensor (V, D) that may be a view; numbers (N,), each once; values (N, D).
    """
    rows = table.numpy()
    rows[numbers] -= (lr * values).astype(rows.dtype, copy=False)
    table.storage.version += 1
    return table


class RowGradient:
    """The gradient of a table (rows, D) as a list: numbers (N,) of the rows that it touches, ascending, and values (N, D)."""

    def __init__(self, rows, numbers, values):
        self.rows, self.numbers, self.values = rows, numbers, values

    @property
    def nbytes(self):
        return self.numbers.nbytes + self.values.nbytes

    def dense(self):
        """The same gradient as an array (rows, D)."""
        result = np.zeros((self.rows, self.values.shape[1]), self.values.dtype)
        result[self.numbers] = self.values
        return result

    def __add__(self, other):
        numbers, values = np.concatenate([self.numbers, other.numbers]), np.concatenate([self.values, other.values])
        return RowGradient(self.rows, *merge_rows(numbers, values))

    def __repr__(self):
        return f"RowGradient({len(self.numbers)} of {self.rows} rows, {self.nbytes} bytes)"


class Lookup(Function):
    """Rows of weight (V, D) by number: indices, integers of any shape -> indices.shape + (D,).

    padding: a row that gets no gradient. into: a layer whose row_gradient takes the gradient as a RowGradient; without
    one it is dense. Raises IndexError for a number that is no row.
    """

    needs = ((1,), ())

    def prepare(self, tensors):
        weight, indices = tensors
        if weight.ndim != 2 or weight.dtype.kind != "f":
            raise ShapeError(f"weight is a table (V, D) of floats, got {weight.dtype}, shape {weight.shape}")
        if indices.dtype.kind != "i":
            raise DTypeError(f"indices are integers, got {indices.dtype}")
        return weight.numpy(), indices.numpy()

    def forward(self, weight, indices, padding=None, into=None):
        return gather_rows(weight, indices)

    def backward(self, grad):
        indices, rows = self.saved[1], self.shapes[0][0]
        padding, into = self.params.get("padding"), self.params.get("into")
        if padding is not None:
            grad = np.where((indices == padding)[..., None], 0, grad).astype(grad.dtype, copy=False)
        if into is None:
            return scatter_add(indices, grad, rows), None
        found = RowGradient(rows, *merge_rows(indices, grad))
        into.row_gradient = found if into.row_gradient is None else into.row_gradient + found
        return None, None


class Embedding(Module):
    """Rows of a table by number: indices, integers of any shape from 0 to rows - 1 -> indices.shape + (width,).

    weight (rows, width) starts normal with standard deviation std; row padding, if there is one, starts as zeros and
    gets no gradient. sparse=True leaves weight.grad alone and keeps the gradient as row_gradient, a RowGradient.
    Raises ValueError for sizes or a padding that do not fit; IndexError and DTypeError for indices, as Lookup.
    """

    def __init__(self, rows, width, padding=None, sparse=False, std=1.0, rng=None, dtype=float32):
        super().__init__()
        if rows < 1 or width < 1:
            raise ValueError(f"an embedding has at least one row and one column, got {rows} and {width}")
        if padding is not None and not 0 <= padding < rows:
            raise ValueError(f"padding {padding} is not a row of {rows}: rows are 0 to {rows - 1}")
        self.padding, self.sparse, self.row_gradient = padding, sparse, None
        self.weight = normal_(Parameter(zeros((rows, width), dtype)), 0.0, std, rng)
        if padding is not None:
            overwrite(self.weight[padding], 0)

    def forward(self, indices):
        numbers = indices if isinstance(indices, Tensor) else Tensor(indices)
        return Lookup.apply(self.weight, numbers, padding=self.padding, into=self if self.sparse else None)

    def zero_grad(self):
        super().zero_grad()
        self.row_gradient = None

    def step_(self, lr):
        """One step of gradient descent on the rows of row_gradient, in place; without one, nothing happens."""
        if self.row_gradient is not None:
            step_rows_(self.weight, self.row_gradient.numbers, self.row_gradient.values, lr)

    def extra_repr(self):
        rows, width = self.weight.shape
        return f"{rows}, {width}" + (f", padding={self.padding}" if self.padding is not None else "") + ", sparse" * self.sparse


def angles(positions, width, base=BASE):
    """positions (T,) times each of the frequencies base^(-2i / width) -> float64 array (T, width / 2).

    Raises ValueError if width is not an even number of at least 2.
    """
    if width < 2 or width % 2:
        raise ValueError(f"each frequency takes a pair of columns: the width is even, got {width}")
    frequencies = base ** (-np.arange(0, width, 2) / width)
    return np.asarray(positions, float64)[:, None] * frequencies


def sinusoids(positions, width, base=BASE):
    """Sines in the even columns, cosines in the odd ones, of angles(positions, width, base) -> float64 (T, width).

    Raises ValueError if width is not even. Source: Vaswani et al. 2017, section 3.5.
    """
    turns = angles(positions, width, base)
    return np.stack([np.sin(turns), np.cos(turns)], axis=-1).reshape(len(turns), width)


class LearnedPositions(Module):
    """x + a trained row for each position: x (..., T, width), whose row 0 stands at position offset -> the same shape.

    weight (length, width) starts normal with standard deviation std. Raises IndexError for positions below 0 or beyond
    the last, ShapeError for another width.
    """

    def __init__(self, length, width, std=0.02, rng=None, dtype=float32):
        super().__init__()
        if length < 1 or width < 1:
            raise ValueError(f"a table of positions has at least one row and one column, got {length} and {width}")
        self.weight = normal_(Parameter(zeros((length, width), dtype)), 0.0, std, rng)

    def forward(self, x, offset=0):
        if x.ndim < 2 or x.shape[-1] != self.weight.shape[1]:
            raise ShapeError(f"wants x (..., T, {self.weight.shape[1]}), got shape {x.shape}")
        length, end = self.weight.shape[0], offset + x.shape[-2]
        if offset < 0 or end > length:
            wrong = offset if offset < 0 else end - 1
            raise IndexError(f"position {wrong} is not one of the {length} that were trained, 0 to {length - 1}: shorten the text")
        return x + self.weight[offset:end]

    def extra_repr(self):
        return f"length={self.weight.shape[0]}, width={self.weight.shape[1]}"


class SinusoidalPositions(Module):
    """x + scale times sinusoids of its positions: x (..., T, width), whose row 0 stands at position offset -> the same shape.

    The waves have the size of 1, and drown words that start much smaller: then scale is the size of these.
    """

    def __init__(self, width, base=BASE, scale=1.0):
        super().__init__()
        angles((0,), width, base)  # refuses a width that does not fit
        self.width, self.base, self.scale = width, base, scale

    def forward(self, x, offset=0):
        if x.ndim < 2 or x.shape[-1] != self.width:
            raise ShapeError(f"wants x (..., T, {self.width}), got shape {x.shape}")
        waves = sinusoids(np.arange(offset, offset + x.shape[-2]), self.width, self.base)
        return x + Tensor(self.scale * waves, x.dtype)

    def extra_repr(self):
        return f"width={self.width}, base={self.base:g}, scale={self.scale:g}"


def rotate_pairs(x, cos, sin):
    """Turn columns (2i, 2i + 1) of x (..., T, D) by the angle whose cosine and sine are cos[t, i], sin[t, i] (T, D / 2).

    -> a new row-major array of x's shape and dtype. Source: Su et al. 2021.
    """
    out = np.empty(x.shape, x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    out[..., 0::2] = even * cos - odd * sin
    out[..., 1::2] = even * sin + odd * cos
    return out


class Rotate(Function):
    """rotate_pairs as an operation on x (..., T, D); cos and sin (T, D / 2) are constants."""

    needs = ((1, 2), (), ())

    def forward(self, x, cos, sin):
        return rotate_pairs(x, cos, sin)

    def backward(self, grad):
        """(gradient for x, None, None); self.saved[1:] are cos and sin."""
        _, cos, sin = self.saved
        return rotate_pairs(grad, cos.astype(grad.dtype, copy=False), -sin.astype(grad.dtype, copy=False)), None, None


class Rotary(Module):
    """Turn pairs of columns by angles that grow with the position: x (..., T, width), row 0 at position offset.

    The product of two rows depends on the distance of their positions alone. Raises ValueError for an odd width,
    ShapeError for another width than x has. Source: Su et al. 2021; the pairs are neighbours, as there.
    """

    def __init__(self, width, base=BASE):
        super().__init__()
        angles((0,), width, base)  # refuses a width that does not fit
        self.width, self.base = width, base

    def forward(self, x, offset=0):
        if x.ndim < 2 or x.shape[-1] != self.width:
            raise ShapeError(f"wants x (..., T, {self.width}), got shape {x.shape}")
        theta = angles(np.arange(offset, offset + x.shape[-2]), self.width, self.base)
        return Rotate.apply(x, Tensor(np.cos(theta), x.dtype), Tensor(np.sin(theta), x.dtype))

    def extra_repr(self):
        return f"width={self.width}, base={self.base:g}"


def tie(embedding, linear):
    """Make linear.weight, (rows, width), the very parameter of the embedding -> linear. Source: Press and Wolf 2017.

    Raises ShapeError or DTypeError, with both, if the weights differ in shape or dtype, ValueError for a sparse embedding.
    """
    first, last = embedding.weight, linear.weight
    if first.shape != last.shape:
        raise ShapeError(f"the embedding has a weight of shape {first.shape}, the linear layer {last.shape}: one matrix wants one shape")
    if first.dtype != last.dtype:
        raise DTypeError(f"the embedding has a weight of {first.dtype}, the linear layer of {last.dtype}: one matrix wants one dtype")
    if embedding.sparse:
        raise ValueError("a sparse embedding keeps its gradient apart from that of the linear layer: make it with sparse=False")
    linear.weight = first
    return linear
