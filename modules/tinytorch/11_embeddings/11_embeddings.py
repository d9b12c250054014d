# %% [markdown]
# # TinyTorch 11: Embeddings
#
# The table of word vectors in GPT-2 has 50 257 rows of 768 numbers. One step of training on 1024 tokens reads at most
# 1024 of these rows, and the gradient of the other 49 233 is exactly zero. The framework that you have built so far
# would fill 154 MB with those zeros, add them up, and let Adam walk over three more arrays of that size. The
# arithmetic is right, and nearly all of its traffic is for nothing. A second fact is about meaning: a sum or an average
# of word vectors is the same for "dog bites man" and "man bites dog". Which word comes where has to be put into the
# numbers by somebody. In this notebook you build both: rows that are found and updated by number, and positions.
#
# **Where it sits.** What you write is exported as `tinytorch/embeddings.py`.
#
# | module | what it takes from here |
# |---|---|
# | 12 attention | `Rotary`, which turns queries and keys by their position |
# | 13 transformers | `Embedding`, the kinds of positions, and `tie` for the head of GPT |
# | 18 memoization | `offset`: a token that is decoded alone stands at its own position, not at 0 |
#
# **Afterwards you can**
# 1. say why a lookup is a matrix product, and why nobody computes it as one;
# 2. write its gradient, with rows that occur several times, densely and as a list of rows;
# 3. say which optimizers a gradient of rows suits, and what it saves in bytes and in time;
# 4. write down positions as waves, as parameters and as rotations, and say what each does beyond the longest text seen;
# 5. tie two layers to one matrix, and say what becomes of its gradient.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. A check
# shows worked examples and explains the first that fails. Grading runs hidden cases besides. Every exercise is judged
# by itself. Modules 01, 03 and 06 are all you need. Two to three hours are typical.

# %%
#| export
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

# %%
import contextlib
import math

from mlsysbook import answer, case, check, predict, prop, reveal
from tinytorch import Linear, Storage

# %% [markdown]
# ## 1. Rows by number
#
# A token is a number. Its vector is the row with that number in a table of shape (V, D), V being the size of the
# vocabulary. With V = 3 and D = 2:
#
# ```
# table      indices      result
# [[1, 2],   [2, 0, 2]    [[5, 6],
#  [3, 4],                 [1, 2],
#  [5, 6]]                 [5, 6]]
# ```
#
# It can be written as a product. Row `i` of a one-hot matrix H has a single 1 in column `indices[i]`, and H times the
# table is the result above. The product is a proof that a lookup is linear in the table, so that it has a gradient. As
# a program it multiplies by V − 1 zeros for each row that it wants.
#
# NumPy takes −1 for the last row. A tokenizer that answers −1 for an unknown word would then train the last word of
# the vocabulary, and no error would ever say so. Here a number that is not from 0 to V − 1 is refused.
#
# **Exercise 1.1** `gather_rows`. Indices are integers of any shape, none and empty included. The message of the
# `IndexError` holds the first number, in row-major order, that is no row, and V.

# %% solution="gather_rows"
#| export
def gather_rows(table, indices):
    """Rows of an array (V, D) by number -> a new array of shape indices.shape + (D,), in the table's dtype.

    Raises IndexError, with the number and V, for one that is not from 0 to V - 1.
    """
    ### BEGIN SOLUTION
    wrong = (indices < 0) | (indices >= len(table))
    if wrong.any():
        raise IndexError(f"index {indices[wrong][0]} is not a row of {len(table)}: rows are 0 to {len(table) - 1}")
    return table.take(indices, axis=0)
    ### END SOLUTION

# %% check="gather_rows" points=4
def gathered(table, indices):
    try:
        rows = gather_rows(table, indices)
    except IndexError as error:
        wrong = next(int(i) for i in indices.reshape(-1) if not 0 <= i < len(table))
        return {"the message names": [str(wrong) in str(error), str(len(table)) in str(error)]}
    return {"rows": np.asarray(rows), "a view of the table": bool(np.shares_memory(rows, table))}

check("gather_rows", [
    case(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([2, 0, 2])),
    case(np.eye(4, 3), np.array([[0, 1], [3, 3]])),
    case(np.eye(4, 3), np.array([0, -1, 9])),
], call=gathered)

# %% hidden="gather_rows"
def cases(rng):
    for shape in ((5,), (2, 3), (2, 1, 4), (1, 7)):
        V, D = int(rng.integers(4, 30)), int(rng.integers(2, 6))
        yield case(rng.normal(size=(V, D)), rng.integers(0, V, shape), behaviour="rows in order, for indices of any shape")
    for dtype in ("float16", "float32"):
        yield case(rng.normal(size=(6, 3)).astype(dtype), rng.integers(0, 6, 9).astype("int32"), behaviour="dtypes and views")
    yield case(rng.normal(size=(3, 8)).T, rng.integers(0, 8, (4, 6))[:, ::2], behaviour="dtypes and views")
    edges = "no axes, no elements, the first and the last row"
    yield case(rng.normal(size=(5, 3)), np.array(int(rng.integers(0, 5))), behaviour=edges)
    yield case(rng.normal(size=(5, 3)), np.zeros((0, 2), "int64"), behaviour=edges)
    yield case(np.zeros((0, 3)), np.zeros(0, "int64"), behaviour=edges)
    yield case(rng.normal(size=(4, 3)), np.array([0, 3, 3, 0]), behaviour=edges)
    for wrong in (-1, -7, 13, 40):
        indices = rng.integers(0, 13, (3, 4))
        indices[1, 2], indices[2, 3] = wrong, 99
        yield case(rng.normal(size=(13, 2)), indices, behaviour="a number that is no row is refused and named")

# %% [markdown]
# ## 2. What goes back
#
# The gradient of a row is the sum over all places at which the row was used. For the indices above and an incoming
# gradient with rows (1, 10), (2, 20), (3, 30):
#
# ```
# row 0   used at place 1           (2, 20)
# row 1   used nowhere              (0, 0)
# row 2   used at places 0 and 2    (4, 40)
# ```
#
# This is called a **scatter-add**. Its trap has the look of a plain assignment: `table[indices] += grad` reads, adds
# and writes all rows at once, so that of several additions to one row the last one wins. On the data above it gives
# (3, 30) for row 2.
#
# Sums of float16 are taken in float32 and rounded once, as everywhere in this framework: a frequent word occurs
# thousands of times in a batch, and 2048 + 1 is 2048 in float16.
#
# **Exercise 2.1** `scatter_add`. Besides the result it may take memory in proportion to `grad`, not to the product
# of the number of rows and the number of places.

# %% solution="scatter_add"
#| export
def scatter_add(indices, grad, rows):
    """The sum of grad's rows for each row of a table: array (rows, D) of grad's dtype, zero where no index points.

    indices: integers of any shape, from 0 to rows - 1; grad: array of shape indices.shape + (D,). float16 is added up
    in float32.
    """
    ### BEGIN SOLUTION
    width = grad.shape[-1]
    total = np.zeros((rows, width), float32 if grad.dtype == np.float16 else grad.dtype)
    np.add.at(total, indices.reshape(-1), grad.reshape(indices.size, width))
    return total.astype(grad.dtype, copy=False)
    ### END SOLUTION

# %% check="scatter_add" points=5
check("scatter_add", [
    case(np.array([2, 0, 2]), np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]), 3),
    case(np.array([[1, 1], [1, 0]]), np.ones((2, 2, 3), "float32"), 2),
])

# %% hidden="scatter_add"
def cases(rng):
    for shape in ((9,), (3, 5), (2, 3, 4)):
        V, D = int(rng.integers(3, 7)), int(rng.integers(2, 5))
        indices = rng.integers(0, V, shape)
        yield case(indices, rng.normal(size=(*shape, D)), V, behaviour="places of one row are added up")
    yield case(np.full(6, 2), rng.normal(size=(6, 3)).astype("float32"), 4, behaviour="places of one row are added up")
    many = "many places, a float16 sum beyond 2048"
    yield case(np.repeat([1, 0], [3000, 2500]), np.ones((5500, 2), "float16"), 3, behaviour=many)
    yield case(np.full(4000, 1), np.ones((4000, 1), "float16"), 2, behaviour=many)
    edges = "views, no elements, NaN"
    yield case(rng.integers(0, 5, (4, 6)).T, rng.normal(size=(4, 6, 3)).transpose(1, 0, 2), 5, behaviour=edges)
    yield case(np.array(2), rng.normal(size=3), 4, behaviour=edges)
    yield case(np.zeros((0, 2), "int64"), np.zeros((0, 2, 3)), 4, behaviour=edges)
    yield case(np.array([0, 1, 0]), np.array([[1.0, np.nan], [2.0, 3.0], [np.inf, 4.0]]), 3, behaviour=edges)
    yield case(rng.integers(0, 60_000, 30_000), rng.integers(-4, 5, (30_000, 1)).astype("float32"), 60_000,
               behaviour="a large table and many places")

# %% [markdown]
# ## 3. A gradient of rows
#
# A dense gradient says "zero" for each row that was not used, one number at a time. Its alternative lists what was
# used: the numbers of the rows, each once, and their sums.
#
# ```
# indices [2, 0, 2]        numbers [0, 2]      values [[2, 20],
#                                                      [4, 40]]
# ```
#
# PyTorch calls this step `coalesce`. Rows come in ascending order, so that they are visited in the order of memory and
# two such lists can be compared.
#
# **Exercise 3.1** `merge_rows`. No array in it has as many rows as the table, whose size it is not told.
#
# **Exercise 3.2** `step_rows_` moves the rows that are in the list against their gradient, in place. Nothing else of
# the table is read or written. `overwrite` from module 03 is no help here, as it writes the whole of a tensor;
# `table.storage.version` must count the write by one.

# %% solution="merge_rows"
#| export
def merge_rows(indices, grad):
    """The rows that indices name, each once and ascending, and the sum of grad over the places of each.

    indices: integers of any shape; grad: array of shape indices.shape + (D,) -> int64 array (N,), array (N, D) of grad's
    dtype. float16 is added up in float32.
    """
    ### BEGIN SOLUTION
    flat, values = indices.reshape(-1), grad.reshape(indices.size, grad.shape[-1])
    order = np.argsort(flat, kind="stable")
    numbers, first = np.unique(flat[order], return_index=True)
    if numbers.size == 0:
        return numbers.astype(np.int64), values[:0].copy()
    sums = np.add.reduceat(values[order], first, axis=0, dtype=float32 if grad.dtype == np.float16 else grad.dtype)
    return numbers.astype(np.int64), sums.astype(grad.dtype, copy=False)
    ### END SOLUTION

# %% solution="step_rows"
#| export
def step_rows_(table, numbers, values, lr):
    """table[n] -= lr * v for each number n and its row v, in place and without a trace for autograd -> table.

    table: a tensor (V, D) that may be a view; numbers (N,), each once; values (N, D).
    """
    ### BEGIN SOLUTION
    rows = table.numpy()
    rows[numbers] -= (lr * values).astype(rows.dtype, copy=False)
    table.storage.version += 1
    return table
    ### END SOLUTION

# %% check="merge_rows" points=6
def merged(indices, grad):
    numbers, values = merge_rows(indices, grad)
    return {"numbers": np.asarray(numbers), "values": np.asarray(values)}

check("merge_rows", [
    case(np.array([2, 0, 2]), np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])),
    case(np.array([[70_000, 5], [5, 5]]), np.ones((2, 2, 3), "float32")),
], call=merged)

# %% hidden="merge_rows"
def cases(rng):
    for shape in ((12,), (4, 5), (2, 3, 4)):
        V, D = int(rng.integers(3, 8)), int(rng.integers(2, 5))
        yield case(rng.integers(0, V, shape), rng.normal(size=(*shape, D)), behaviour="rows once, ascending, with their sums")
    yield case(rng.permutation(20), rng.normal(size=(20, 2)), behaviour="each row used once, or one row alone")
    yield case(np.full((3, 4), 7), rng.normal(size=(3, 4, 2)), behaviour="each row used once, or one row alone")
    big = rng.integers(0, 2**40, 50)
    yield case(np.concatenate([big, big[:9]]), rng.normal(size=(59, 3)), behaviour="row numbers as large as int64 holds")
    yield case(np.repeat([9, 4], [3000, 2600]), np.ones((5600, 2), "float16"), behaviour="dtypes, float16 in float32")
    yield case(rng.integers(0, 5, 30).astype("int32"), rng.normal(size=(30, 2)).astype("float32"),
               behaviour="dtypes, float16 in float32")
    edges = "views and no elements"
    yield case(rng.integers(0, 4, (3, 6)).T, rng.normal(size=(3, 6, 2)).transpose(1, 0, 2), behaviour=edges)
    yield case(np.zeros((0, 2), "int64"), np.zeros((0, 2, 3), "float32"), behaviour=edges)
    yield case(np.array(3), rng.normal(size=4), behaviour=edges)

# %% check="step_rows" points=4
def stepped(table, numbers, values, lr, column=None):
    """The table after a step; column: it is a part of a wider one. Also how writes were counted."""
    whole = Tensor(table)
    part = whole if column is None else whole[:, column:]
    result = step_rows_(part, numbers, values, lr)
    return {"table": whole.numpy(), "returned the table": result is part, "writes": whole.storage.version}

check("step_rows", [
    case(np.zeros((4, 2)), np.array([0, 2]), np.array([[2.0, 20.0], [4.0, 40.0]]), 0.5),
    case(np.ones((3, 3), "float32"), np.array([1]), np.array([[5.0, 5.0]], "float32"), 0.1, column=1),
], call=stepped)

# %% hidden="step_rows"
def cases(rng):
    for dtype in ("float64", "float32", "float64"):
        V, D = int(rng.integers(6, 12)), int(rng.integers(2, 5))
        numbers = np.sort(rng.permutation(V)[:4])
        yield case(rng.normal(size=(V, D)).astype(dtype), numbers, rng.normal(size=(4, D)).astype(dtype), float(rng.uniform(0.1, 1)),
                   behaviour="the rows in the list move against their gradient")
    table = rng.normal(size=(7, 5))
    yield case(table, np.array([1, 6]), rng.normal(size=(2, 3)), 0.3, column=2, behaviour="a view")
    yield case(table, np.array([0, 3, 4]), rng.normal(size=(3, 4)), 0.3, column=1, behaviour="a view")
    yield case(table, np.zeros(0, "int64"), np.zeros((0, 5)), 0.3, behaviour="no rows, or another dtype")
    yield case(table.astype("float16"), np.array([2]), rng.normal(size=(1, 5)).astype("float32"), 0.5,
               behaviour="no rows, or another dtype")

# %% [markdown]
# `Lookup` is the operation that autograd sees, and it is given. Read `backward`: a gradient of rows does not go through
# the engine, whose gradients are arrays of the operand's shape. It is handed to `into`, the layer, and the engine is
# told that there is nothing to add.

# %%
#| export
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

# %% [markdown]
# ## 4. The layer
#
# `Embedding(rows, width)` holds `weight` (rows, width), drawn from a normal distribution with standard deviation `std`.
# PyTorch's default is 1, which suits a table that is only ever looked up. GPT-2 takes 0.02, because there the same
# table is also the matrix of the last layer, and logits of standard deviation √768 ≈ 28 would make the first softmax
# certain of a random word.
#
# `padding` names a row that stands for "nothing here": sequences of unequal length are filled up with it. It starts as
# zeros and, since it gets no gradient, remains so.
#
# **Exercise 4.1** Both methods. `forward` goes through `Lookup`, with everything that it needs to know; indices may be
# a tensor, an array or a list. `row_gradient` is set for you: `None` until a backward of a sparse layer puts one there.

# %% solution="embedding"
#| export
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
        ### BEGIN SOLUTION
        self.weight = normal_(Parameter(zeros((rows, width), dtype)), 0.0, std, rng)
        if padding is not None:
            overwrite(self.weight[padding], 0)
        ### END SOLUTION

    def forward(self, indices):
        ### BEGIN SOLUTION
        numbers = indices if isinstance(indices, Tensor) else Tensor(indices)
        return Lookup.apply(self.weight, numbers, padding=self.padding, into=self if self.sparse else None)
        ### END SOLUTION

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

# %%
@contextlib.contextmanager
def swapped(**stand_ins):
    """Other functions in the place of some of this notebook, while a check runs: each exercise is judged by itself."""
    before = {name: globals()[name] for name in stand_ins}
    globals().update(stand_ins)
    try:
        yield
    finally:
        globals().update(before)


def normal_by_statistics(values, std):
    """Whether mean and standard deviation of a sample are within five standard errors of 0 and std."""
    values = np.asarray(values, "float64")
    return bool(abs(values.mean()) <= 5 * std / math.sqrt(values.size)
                and abs(values.std() - std) <= 5 * std / math.sqrt(2 * values.size))


class Unregistered(Embedding):
    """An Embedding whose attributes are plain, so that it can be judged alone."""

    __setattr__ = object.__setattr__

# %% check="embedding_init" points=3 covers="embedding"
def started(rows, width, seed=0, **options):
    """What can be said about the weight of a new layer, without naming its numbers."""
    first, again = (Unregistered(rows, width, rng=np.random.default_rng(seed), **options) for _ in range(2))
    weight, padding = first.weight.numpy(), options.get("padding")
    others = weight if padding is None else np.delete(weight, padding, axis=0)
    return {"class": type(first.weight).__name__, "shape": weight.shape, "dtype": weight.dtype.name,
            "normal": normal_by_statistics(others, options.get("std", 1.0)),
            "the row of padding": None if padding is None else weight[padding],
            "the same seed, the same numbers": bool((weight == again.weight.numpy()).all())}

check("embedding_init", [case(300, 40), case(200, 30, std=0.02, padding=7)], call=started)

# %% hidden="embedding_init"
def cases(rng):
    def seed():
        return int(rng.integers(1 << 30))

    for _ in range(3):
        yield case(int(rng.integers(100, 300)), int(rng.integers(20, 60)), seed(), behaviour="shape and statistics")
    yield case(250, 30, seed(), std=float(rng.uniform(0.01, 0.1)), behaviour="shape and statistics")
    for padding in (0, 99):
        yield case(100, 40, seed(), padding=padding, behaviour="a row of zeros for padding")
    for dtype in ("float64", "float16"):
        yield case(200, 40, seed(), dtype=dtype, std=0.5, behaviour="dtypes")

# %% check="embedding" points=4
def looked_up(weight, indices, kind="tensor", **options):
    """The output of a layer with a given weight, and the gradients after backward: dense or of rows."""
    layer = object.__new__(Unregistered)
    Module.__init__(layer)
    layer.weight, layer.row_gradient = Parameter(weight), None
    layer.padding, layer.sparse = options.get("padding"), options.get("sparse", False)
    given = {"tensor": Tensor, "array": np.asarray, "list": np.ndarray.tolist}[kind](indices)

    def added(indices, grad, rows):
        return np.stack([grad[indices == row].sum(0) for row in range(rows)])

    def listed(indices, grad):
        numbers = np.array(sorted(set(indices.reshape(-1).tolist())))
        return numbers, np.stack([grad[indices == n].sum(0) for n in numbers])

    with swapped(gather_rows=lambda table, rows: table[rows], scatter_add=added, merge_rows=listed):
        y = layer.forward(given)
        if y.requires_grad:
            y.backward(np.arange(1.0, y.numel() + 1, dtype=y.dtype).reshape(y.shape))
    return {"output": y, "can be followed": y.requires_grad, "dense": layer.weight.grad,
            "of rows": None if layer.row_gradient is None else layer.row_gradient.dense()}

check("embedding", [
    case(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([2, 0, 2])),
    case(np.eye(4, 2), np.array([[1, 1], [3, 0]]), padding=1),
    case(np.eye(4, 2), np.array([[1, 1], [3, 0]]), sparse=True),
], call=looked_up)

# %% hidden="embedding"
def cases(rng):
    def table():
        return rng.normal(size=(6, 3))

    for shape in ((5,), (2, 4), (2, 2, 2)):
        yield case(table(), rng.integers(0, 6, shape), behaviour="rows, and a dense gradient")
    for kind in ("array", "list"):
        yield case(table(), rng.integers(0, 6, (2, 3)), kind, behaviour="indices as an array or a list")
    for padding in (0, 5):
        indices = rng.integers(0, 6, (3, 4))
        indices[0, :2] = padding
        yield case(table(), indices, padding=padding, behaviour="padding gets no gradient")
    for _ in range(2):
        yield case(table(), rng.integers(0, 6, (2, 4)), sparse=True, behaviour="a gradient of rows")
    yield case(table().astype("float32"), rng.integers(0, 6, 5), sparse=True, behaviour="a gradient of rows")

# %% [markdown]
# With both kinds of gradient at work: the same loss, the same update, and different bytes.

# %% show
from tinytorch.autograd import no_grad

rng = np.random.default_rng(0)
dense, rows = Embedding(5000, 64, rng=np.random.default_rng(1)), Embedding(5000, 64, sparse=True, rng=np.random.default_rng(1))
tokens = Tensor(np.minimum(rng.zipf(1.3, (16, 64)) - 1, 4999))
for layer in (dense, rows):
    (layer(tokens) ** 2).mean().backward()
print("dense:  ", dense.weight.grad.nbytes, "bytes")
print("of rows:", rows.row_gradient)
with no_grad():
    dense.weight.sub_(dense.weight.grad * 0.5)
rows.step_(0.5)
print("largest difference after a step:", float(abs(dense.weight.numpy() - rows.weight.numpy()).max()))
dense = rows = None

# %% [markdown]
# For gradient descent without momentum, a row without a gradient does not move, and the two agree. Momentum and Adam
# are another matter: a row that was not used goes on moving, by its decaying average. An optimizer that skips it (a
# **lazy** one, PyTorch's `SparseAdam`) computes something else, and usually that something is wanted.
#
# ## 5. Positions as waves
#
# Attention, in module 12, is a weighted average over positions, and an average does not know the order of its terms.
# So the order goes into the vectors. Vaswani et al. 2017 add to the vector at position p a row of waves, one pair of
# columns for each frequency $\omega_i = 10000^{-2i/D}$, i = 0 ... D/2 − 1:
#
# $$\text{column}\ 2i:\ \sin(p\,\omega_i), \qquad \text{column}\ 2i+1:\ \cos(p\,\omega_i).$$
#
# **Worked example.** D = 4 has the frequencies 1 and 10000^(−1/2) = 0.01. Position 3 is
# (sin 3, cos 3, sin 0.03, cos 0.03) = (0.1411, −0.9900, 0.0300, 0.9996). The first pair tells neighbours apart and
# repeats after 6.28 positions; the second moves slowly and repeats after 628. It is a clock with several hands.
#
# The gain over simply counting: a shift by k positions turns each pair by the angle $k\,\omega_i$, whatever p is. So
# "three to the left" is one fixed matrix, which a layer can learn.
#
# **Exercise 5.1** `sinusoids`. The angles are given and are in float64, as is the result: at position 100 000 a
# float32 angle would be wrong by a hundredth. Odd widths are refused when angles are made.

# %%
#| export
def angles(positions, width, base=BASE):
    """positions (T,) times each of the frequencies base^(-2i / width) -> float64 array (T, width / 2).

    Raises ValueError if width is not an even number of at least 2.
    """
    if width < 2 or width % 2:
        raise ValueError(f"each frequency takes a pair of columns: the width is even, got {width}")
    frequencies = base ** (-np.arange(0, width, 2) / width)
    return np.asarray(positions, float64)[:, None] * frequencies

# %% solution="sinusoids"
#| export
def sinusoids(positions, width, base=BASE):
    """Sines in the even columns, cosines in the odd ones, of angles(positions, width, base) -> float64 (T, width).

    Raises ValueError if width is not even. Source: Vaswani et al. 2017, section 3.5.
    """
    ### BEGIN SOLUTION
    turns = angles(positions, width, base)
    return np.stack([np.sin(turns), np.cos(turns)], axis=-1).reshape(len(turns), width)
    ### END SOLUTION

# %% check="sinusoids" points=4
def unit_pairs(out, positions, width, base=BASE):
    return isinstance(out, str) or np.allclose(out[:, 0::2] ** 2 + out[:, 1::2] ** 2, 1)


def waves(positions, width, base=BASE):
    try:
        return sinusoids(positions, width, base)
    except ValueError as error:
        return f"refused, and the message names the width: {str(width) in str(error)}"

check("sinusoids", [case(np.array([3]), 4), case(np.arange(3), 2), case(np.arange(3), 5)], call=waves,
      properties=[prop("each pair of columns has length 1", unit_pairs)])

# %% hidden="sinusoids"
def cases(rng):
    for width in (4, 6, 8, 12):
        yield case(np.arange(int(rng.integers(3, 9))), width, behaviour="sines and cosines side by side")
    yield case(np.sort(rng.integers(0, 10**6, 5)), 8, behaviour="positions far away, in any order")
    yield case(rng.permutation(50)[:7], 6, behaviour="positions far away, in any order")
    yield case(np.arange(5), 6, float(rng.uniform(50, 500)), behaviour="another base")
    yield case(np.zeros(0, "int64"), 4, behaviour="no positions, and widths that are refused")
    for width in (7, 1):
        yield case(np.arange(3), width, behaviour="no positions, and widths that are refused")

# %% [markdown]
# ## 6. Positions as parameters
#
# GPT-2 learns its positions: a table with a row for each, 1024 of them, trained like the words. There is no formula to
# believe in, and no row 1024. What a model does with a longer text is then not a matter of quality but of an index out
# of range, and the error should say so in terms of the text.
#
# All layers for positions are called alike: `layer(x, offset=0)` for x (..., T, D), whose row 0 stands at position
# `offset`. During generation a model sees one token at a time, and that token is not at position 0.
#
# **Exercise 6.1** `forward` of `LearnedPositions`. It adds, with operations on tensors, so that the table is trained.
# The last position that x reaches and the number of positions that there are stand in the message of the `IndexError`;
# a negative offset is refused with an `IndexError`, too, that names it.

# %% solution="learned"
#| export
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
        ### BEGIN SOLUTION
        length, end = self.weight.shape[0], offset + x.shape[-2]
        if offset < 0 or end > length:
            wrong = offset if offset < 0 else end - 1
            raise IndexError(f"position {wrong} is not one of the {length} that were trained, 0 to {length - 1}: shorten the text")
        return x + self.weight[offset:end]
        ### END SOLUTION

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

# %% check="learned" points=5
def positioned(x, weight, offset=0, trained=True):
    """x with positions added, and what the table and x get from a backward; or what a refusal names."""
    layer = object.__new__(LearnedPositions)
    Module.__init__(layer)
    object.__setattr__(layer, "weight", Parameter(weight))
    x = Tensor(x, requires_grad=True)
    try:
        y = layer.forward(x, offset)
    except IndexError as error:
        last = offset if offset < 0 else offset + x.shape[-2] - 1
        return {"the message names": [str(last) in str(error), str(len(weight)) in str(error)]}
    if not (trained and y.requires_grad):
        return {"output": y, "can be followed": y.requires_grad}
    y.backward(np.arange(1.0, y.numel() + 1, dtype=y.dtype).reshape(y.shape))
    return {"output": y, "for x": x.grad, "for the table": layer.weight.grad}

check("learned", [
    case(np.zeros((2, 3, 2)), np.arange(10.0).reshape(5, 2)),
    case(np.zeros((1, 2)), np.arange(10.0).reshape(5, 2), offset=4),
    case(np.zeros((3, 2)), np.arange(10.0).reshape(5, 2), offset=11),
], call=positioned)

# %% hidden="learned"
def cases(rng):
    for shape in ((2, 4, 3), (4, 3), (2, 2, 5, 3)):
        yield case(rng.normal(size=shape), rng.normal(size=(9, 3)), behaviour="rows are added to every sequence")
    for offset in (1, 4, 6):
        yield case(rng.normal(size=(2, 3, 2)), rng.normal(size=(9, 2)), offset, behaviour="an offset, up to the last row")
    yield case(rng.normal(size=(1, 1, 2)), rng.normal(size=(9, 2)), 8, behaviour="an offset, up to the last row")
    yield case(rng.normal(size=(2, 9, 2)), rng.normal(size=(9, 2)), behaviour="an offset, up to the last row")
    for T, offset in ((9, 1), (10, 0), (1, 9), (3, 137), (2, -1), (3, -30)):
        yield case(rng.normal(size=(T, 2)), rng.normal(size=(9, 2)), offset, behaviour="positions that there are not")

# %% [markdown]
# ## 7. Positions as rotations
#
# Su et al. 2021 add nothing. They turn each pair of columns of a query or key by an angle that grows with its
# position: $p\,\omega_i$ for pair i.
#
# $$(a, b) \mapsto (a \cos\theta - b \sin\theta,\ a \sin\theta + b \cos\theta)$$
#
# **Worked example.** The query (1, 0) at position 3 with frequency 0.5 turns by 1.5, to (0.0707, 0.9975). The key
# (1, 0) at position 1 turns by 0.5, to (0.8776, 0.4794). Their product is 0.5403 = cos(1.5 − 0.5). At positions 103 and
# 101 it is the same: the angle between two turned vectors depends on the distance alone. And the length of a vector
# does not change, so positions cannot drown the words.
#
# Llama, Mistral and most models since 2023 use this **RoPE**. Which columns form a pair is a convention that files
# depend on. Neighbours (0, 1), (2, 3), ... are the paper's, and ours. Hugging Face's code pairs column i with
# i + D/2; a file of weights made for one convention is nonsense under the other, until its columns are permuted.
#
# **Exercise 7.1** `rotate_pairs` on arrays, and `backward` of the operation. What is the transpose of a rotation? `cos`
# and `sin` have shape (T, D/2) and the dtype of x; x has any axes in front. The gradient for cos and sin is never
# wanted.

# %% solution="rotate"
#| export
def rotate_pairs(x, cos, sin):
    """Turn columns (2i, 2i + 1) of x (..., T, D) by the angle whose cosine and sine are cos[t, i], sin[t, i] (T, D / 2).

    -> a new row-major array of x's shape and dtype. Source: Su et al. 2021.
    """
    ### BEGIN SOLUTION
    out = np.empty(x.shape, x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    out[..., 0::2] = even * cos - odd * sin
    out[..., 1::2] = even * sin + odd * cos
    return out
    ### END SOLUTION


class Rotate(Function):
    """rotate_pairs as an operation on x (..., T, D); cos and sin (T, D / 2) are constants."""

    needs = ((1, 2), (), ())

    def forward(self, x, cos, sin):
        return rotate_pairs(x, cos, sin)

    def backward(self, grad):
        """(gradient for x, None, None); self.saved[1:] are cos and sin."""
        ### BEGIN SOLUTION
        _, cos, sin = self.saved
        return rotate_pairs(grad, cos.astype(grad.dtype, copy=False), -sin.astype(grad.dtype, copy=False)), None, None
        ### END SOLUTION

# %% check="rotate" points=7
def turned(x, theta, back=False):
    """x turned by angles theta (T, D / 2); back: what backward makes of x as an incoming gradient."""
    cos, sin = np.cos(theta).astype(x.dtype), np.sin(theta).astype(x.dtype)
    if not back:
        return np.asarray(rotate_pairs(x, cos, sin))
    function = Rotate()
    function.saved, function.shapes, function.wants = (None, cos, sin), (x.shape, cos.shape, sin.shape), (True, False, False)
    parts = function.backward(x)
    return {"for x": np.asarray(parts[0]), "for cos and sin": [part is None for part in parts[1:]]}

check("rotate", [
    case(np.array([[1.0, 0.0]]), np.array([[1.5]])),
    case(np.array([[1.0, 0.0, 0.0, 2.0]]), np.array([[np.pi / 2, np.pi]])),
    case(np.array([[1.0, 0.0]]), np.array([[1.5]]), back=True),
], call=turned)

# %% hidden="rotate"
def cases(rng):
    for shape in ((5, 4), (3, 4, 6), (2, 3, 5, 8)):
        yield case(rng.normal(size=shape), rng.uniform(-9, 9, (shape[-2], shape[-1] // 2)), behaviour="pairs of neighbours are turned")
    for shape in ((5, 4), (2, 4, 6)):
        theta = rng.uniform(-9, 9, (shape[-2], shape[-1] // 2))
        yield case(rng.normal(size=shape), theta, back=True, behaviour="the gradient is turned back")
        yield case(rng.normal(size=shape).astype("float32"), theta, back=True, behaviour="the gradient is turned back")
    mixed = "views, float16, no elements"
    yield case(rng.normal(size=(4, 3, 5)).transpose(1, 2, 0), rng.uniform(-3, 3, (5, 2)), behaviour=mixed)
    yield case(rng.normal(size=(3, 4)).astype("float16"), rng.uniform(-3, 3, (3, 2)), behaviour=mixed)
    yield case(np.zeros((2, 0, 4)), np.zeros((0, 2)), behaviour=mixed)

# %%
#| export
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

# %% [markdown]
# Three kinds of positions, looked at from a query at position p and a key at p + k. The lines are the mean of the
# product over p; the band is its range. A band of no height means that only the distance counts.

# %% show
import matplotlib.pyplot as plt

rng = np.random.default_rng(4)
width, length, reach = 64, 256, 64
query, key = rng.normal(size=(2, width))
kinds = {"waves, added": SinusoidalPositions(width),
         "learned (here: at the start), added": LearnedPositions(length, width, std=0.7, rng=rng, dtype="float64"),
         "rotations": Rotary(width)}
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained", sharex=True)
for axis, (name, layer) in zip(axes, kinds.items(), strict=True):
    q, k = (layer(Tensor(np.tile(v, (length, 1)))).numpy() for v in (query, key))
    scores = np.array([[q[p] @ k[p + d] for p in range(length - reach)] for d in range(reach)])
    axis.plot(scores.mean(1))
    axis.fill_between(range(reach), scores.min(1), scores.max(1), alpha=0.3)
    axis.set(title=name, xlabel="distance in positions")
    print(f"{name:36} range of the product at distance 5: {np.ptp(scores[5]):.3g}")
axes[0].set_ylabel("query times key")
plt.show()

# %% [markdown]
# ## 8. One matrix for two layers
#
# The last layer of a language model computes a score for each word: the product of a vector with a matrix (V, D). The
# first one has a matrix (V, D) as well. Press and Wolf 2017 made them one. GPT-2 saves 38.6 million of 163 million
# parameters that way, and a rare word, which as an input is seldom updated, is updated by each softmax as an output.
#
# The gradient of the shared matrix is the sum of both uses: rows from the lookup, and a dense array from the product.
# So the whole is dense, and `sparse=True` gains nothing for it.
#
# **Exercise 8.1** `tie` makes `linear.weight` the embedding's own parameter, and returns `linear`. Refused are another
# shape (`ShapeError` with both shapes), another dtype (`DTypeError` with both) and a sparse embedding (`ValueError` with
# the word "sparse"), whose gradient would come in two halves. What is refused has changed nothing.

# %% solution="tie"
#| export
def tie(embedding, linear):
    """Make linear.weight, (rows, width), the very parameter of the embedding -> linear. Source: Press and Wolf 2017.

    Raises ShapeError or DTypeError, with both, if the weights differ in shape or dtype, ValueError for a sparse embedding.
    """
    ### BEGIN SOLUTION
    first, last = embedding.weight, linear.weight
    if first.shape != last.shape:
        raise ShapeError(f"the embedding has a weight of shape {first.shape}, the linear layer {last.shape}: one matrix wants one shape")
    if first.dtype != last.dtype:
        raise DTypeError(f"the embedding has a weight of {first.dtype}, the linear layer of {last.dtype}: one matrix wants one dtype")
    if embedding.sparse:
        raise ValueError("a sparse embedding keeps its gradient apart from that of the linear layer: make it with sparse=False")
    linear.weight = first
    return linear
    ### END SOLUTION

# %% check="tie" points=4
class Table(Module):
    """What tie needs of an embedding."""

    def __init__(self, shape, dtype, sparse):
        super().__init__()
        self.weight, self.sparse = Parameter(np.ones(shape), dtype), sparse


def tied(shape, linear_shape, dtype="float32", linear_dtype="float32", sparse=False, bias=False):
    """What tie does to a table and a layer, and what is left of them after a refusal."""
    model = Module()
    model.table, model.head = Table(shape, dtype, sparse), Linear(*linear_shape[::-1], bias=bias, dtype=linear_dtype)
    first, last = model.table.weight, model.head.weight
    try:
        result = tie(model.table, model.head)
    except (ShapeError, DTypeError, ValueError) as error:
        named = {"ShapeError": [str(shape), str(linear_shape)], "DTypeError": [dtype, linear_dtype], "ValueError": ["sparse"]}
        kind = type(error).__name__
        return {"refused": kind, "named": [text in str(error) for text in named[kind]],
                "unchanged": model.table.weight is first and model.head.weight is last}
    return {"returned the layer": result is model.head, "the table's parameter": model.head.weight is first,
            "the table keeps it": model.table.weight is first,
            "parameters": [name for name, _ in model.named_parameters()], "state": sorted(model.state_dict())}

check("tie", [
    case((5, 3), (5, 3)),
    case((5, 3), (3, 5)),
    case((5, 3), (5, 3), "float64"),
], call=tied)

# %% hidden="tie"
def cases(rng):
    for bias in (False, True):
        shape = tuple(int(n) for n in rng.integers(2, 9, 2))
        yield case(shape, shape, bias=bias, behaviour="one parameter under two names")
        yield case(shape, shape, "float64", "float64", bias=bias, behaviour="one parameter under two names")
    for other in ((7, 4), (4, 4), (1, 4), (4, 1)):
        yield case((4, 7), other, behaviour="other shapes and dtypes are refused, and nothing has changed")
    yield case((4, 7), (4, 7), "float16", "float32", behaviour="other shapes and dtypes are refused, and nothing has changed")
    yield case((4, 7), (4, 7), sparse=True, behaviour="a sparse embedding is refused")

# %% [markdown]
# Both uses at work. Before you run the cell: which rows of the gradient are zero for the lookup alone, which for the
# product alone, and which for both?

# %% show
from tinytorch import cross_entropy

table = Embedding(8, 4, std=0.5, rng=np.random.default_rng(2))
head = tie(table, Linear(4, 8, bias=False))
tokens, targets = Tensor([1, 4, 1]), Tensor([4, 1, 6])
print("parameters:", sum(p.numel() for p in {id(p): p for p in [*table.parameters(), *head.parameters()]}.values()))
cross_entropy(head(table(tokens)), targets).backward()
both = table.weight.grad.numpy().copy()
table.zero_grad()
cross_entropy(head(Tensor(table(tokens).numpy())), targets).backward()
product = table.weight.grad.numpy().copy()
print("rows with a gradient, product alone:", np.flatnonzero(abs(product).sum(1)).tolist())
print("rows with a gradient, lookup alone: ", np.flatnonzero(abs(both - product).sum(1) > 1e-7).tolist())

# %% [markdown]
# ## 9. What it costs
#
# Estimate or predict, then measure. A prediction is locked when you run its cell, and the measurement below refuses to
# run before.

# %% show
import time
import tracemalloc


def best_of(f, repeat=5):
    """Shortest of several runs, in seconds: the one that was disturbed least."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)

# %% [markdown]
# ### 9.1 Bytes of a gradient
#
# GPT-2's table is (50 257, 768) in float32. A batch has 8 sequences of 1024 tokens. How large can a gradient of rows
# get at most, numbers (int64) and values together?

# %% answer="row_bytes" points=2
row_bytes = ""  # a number with its unit, such as "16 MB"
### BEGIN SOLUTION
row_bytes = f"{8 * 1024 * (768 * 4 + 8)} B"
### END SOLUTION

# %% key="row_bytes"
from mlsysbook import Key, Mistake


def key(v):
    tokens, rows, width, size, number = 8 * 1024, 50257, 768, 4, 8
    return Key(tokens * (width * size + number), "B", tol=0.01, mistakes=(
        Mistake(rows * width * size, 0.25, "that is the dense gradient; a list holds a row for each token at most"),
        Mistake(1024 * (width * size + number), 0.25, "there are 8 sequences, whose tokens may all be different"),
        Mistake(tokens * width, 0.25, "that counts numbers; a float32 takes 4 bytes"),
    ))

# %% [markdown]
# A text does not use its words equally. In the measurement, tokens are drawn by Zipf's law, as in natural text: the word
# of rank r has a probability in proportion to 1/r. Of a vocabulary of 20 000, **what share of the rows does a batch of
# 4096 tokens touch**, in percent?

# %% predict="touched" points=1
# predict("touched", "number %", low="number %", high="number %")
### BEGIN SOLUTION
predict("touched", "8 %", low="3 %", high="20 %")
### END SOLUTION

# %% show
V, D, N = 20_000, 64, 4096
rng = np.random.default_rng(6)
shares = 1 / np.arange(1, V + 1)
tokens = Tensor(rng.choice(V, (8, N // 8), p=shares / shares.sum()))
reveal("touched", f"{100 * len(np.unique(tokens.numpy())) / V:.3g} %")
print("gradient      stored       peak in storages   peak by tracemalloc   rows")
for sparse in (False, True):
    layer = Embedding(V, D, sparse=sparse, rng=rng)
    loss = (layer(tokens) * 2).sum()
    tracemalloc.start()
    Storage.peak_bytes = held = Storage.live_bytes
    loss.backward()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = layer.row_gradient if sparse else layer.weight.grad
    print(f"{'of rows' if sparse else 'dense':8} {found.nbytes:11,} B  {Storage.peak_bytes - held:15,} B  {most:17,} B  "
          f"{len(found.numbers) if sparse else V:6}")
layer = loss = found = None

# %% [markdown]
# The list is smaller than the table by as much as rows were left out. Its peak is another matter: `merge_rows` sorts, and
# holds a row for each of the 4096 places before it adds them up. At a vocabulary of 50 000 and more this is forgotten; at
# 256 bytes-as-tokens the list is the larger of the two, and dense is right.
#
# %% [markdown]
# ### 9.2 Time of a step
#
# The same table. Dense gradient descent computes `weight -= lr * grad` over all rows; `step_` moves the rows of the list.
# **How many times longer does the dense step take?**

# %% predict="step_gain" points=1
# predict("step_gain", "number", low="number", high="number")
### BEGIN SOLUTION
predict("step_gain", "5", low="2", high="20")
### END SOLUTION

# %% show
layer = Embedding(V, D, sparse=True, rng=rng)
(layer(tokens) * 2).sum().backward()
dense, weight = layer.row_gradient.dense(), layer.weight.numpy()
slow, fast = math.inf, math.inf
for _ in range(7):                          # in turns, so that a disturbance hits both
    slow = min(slow, best_of(lambda: np.subtract(weight, 0.1 * dense, out=weight), 1))
    fast = min(fast, best_of(lambda: layer.step_(0.1), 1))
reveal("step_gain", f"{slow / fast:.3g}")
print(f"dense {slow * 1e3:.3f} ms, of rows {fast * 1e3:.3f} ms; rows are {V / len(layer.row_gradient.numbers):.1f} times fewer")
layer = dense = weight = None

# %% [markdown]
# Fewer rows by a factor of ten and more, and less of a gain in time: rows here and there are read and written less
# quickly than one long array, and a call has its price however little it does. With a larger table the gain grows, while
# the batch stays the same.
#
# ### 9.3 A lookup as a product
#
# V = 4096, D = 128, 512 tokens, float32. **How many times longer does the product of a one-hot matrix with the table
# take** than taking the rows? The time to make the one-hot matrix does not count.

# %% predict="one_hot" points=1
# predict("one_hot", "number", low="number", high="number")
### BEGIN SOLUTION
predict("one_hot", "200", low="40", high="1000")
### END SOLUTION

# %% show
table, tokens = rng.normal(size=(4096, 128)).astype("float32"), rng.integers(0, 4096, 512)
one_hot = np.zeros((512, 4096), "float32")
one_hot[np.arange(512), tokens] = 1
print("the same rows:", np.array_equal(one_hot @ table, table[tokens]))
slow, fast = best_of(lambda: one_hot @ table), best_of(lambda: gather_rows(table, tokens))
reveal("one_hot", f"{slow / fast:.3g}")
print(f"product {slow * 1e3:.3f} ms ({2 * 512 * 4096 * 128 / slow / 1e9:.0f} GFLOP/s), rows {fast * 1e3:.3f} ms "
      f"({2 * 512 * 128 * 4 / fast / 1e9:.1f} GB/s)")
one_hot = table = None

# %% [markdown]
# ### 9.4 The slowest hand of the clock
#
# A head of width 64 has RoPE with base 10000. After how many positions does its slowest pair come back to where it
# started?

# %% answer="slowest" points=2
slowest = ""  # positions, a number such as "1000"
### BEGIN SOLUTION
slowest = f"{2 * math.pi * 10000 ** (62 / 64):.5g}"
### END SOLUTION

# %% key="slowest"
def key(v):
    base, width = 10000, 64
    return Key(2 * math.pi * base ** ((width - 2) / width), "", tol=0.01, mistakes=(
        Mistake(base ** ((width - 2) / width), 0.5, "that is one over its frequency; a full turn is 2π of it"),
        Mistake(2 * math.pi * base, 0.5, "the exponent ends at (D - 2) / D, since the last pair has i = D / 2 - 1"),
        Mistake(2 * math.pi, 0.25, "that is the fastest pair, i = 0"),
        Mistake(2 * math.pi * base ** ((width / 2 - 1) / width), 0.25, "the exponent is 2i / D, not i / D"),
    ))

# %% [markdown]
# A model that was trained on 2048 positions has seen the slow pairs turn only a little. At position 20 000 they stand at
# angles it has never met, and its answers fall apart, although nothing in the code refuses. Models for long texts
# raise the base (Llama 3 takes 500 000) or scale the angles, and train on some long texts.
#
# ## 10. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="lazy_rows" points=4
# A team trains a recommender with a table of 100 million items and Adam. To save time they change `Embedding(...)` to
# `Embedding(..., sparse=True)`, and write an optimizer that updates weight, first and second moment only in the rows of
# the list. Later they tie the table to the output layer. In six to ten sentences: say what bytes and traffic the first
# change saves for weights, gradients and moments, and what not; how the result for a rarely used row differs from that
# of dense Adam, with its moments in mind; why tying undoes the gain; and what they could do instead to keep an output
# layer affordable.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. The gradient shrinks to the touched rows, and so does the traffic of a step (gradient, weight, both moments of
#    these rows). The memory of weights and of both moments is still that of the whole table.
# 2. In dense Adam an unused row goes on moving by its decaying first moment, and its moments decay each step; lazily,
#    moments stand still between uses, so an old direction acts undiminished at the next use, and the bias correction
#    by the global step count no longer matches the number of updates of that row.
# 3. The softmax gives every row a gradient in each step, so the sum is dense: all rows are read and written again.
# 4. A workable remedy with its reason: sampled softmax or negative sampling, which touches few output rows; a
#    hierarchical or adaptive softmax; or an untied, smaller output. "More memory" alone earns no point.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# A lookup is a product that is not computed, and its gradient is a scatter-add, dense or as a list of rows. Positions are
# added as waves or as trained rows, or turn queries and keys so that only distances count. Two layers may share a matrix;
# its gradient is then the sum of both uses.
#
# | here | PyTorch |
# |---|---|
# | `Embedding(rows, width, padding, sparse)` | `torch.nn.Embedding(num_embeddings, embedding_dim, padding_idx, sparse=...)` |
# | `Lookup`, `scatter_add` | `F.embedding`, `Tensor.index_add_`; `embedding_dense_backward` |
# | `RowGradient`, `merge_rows` | a sparse COO tensor as `weight.grad`; `coalesce()` |
# | `step_rows_` | `torch.optim.SGD` on a sparse gradient; `SparseAdam` |
# | `LearnedPositions` | `wpe` in GPT-2: an `nn.Embedding` that is looked up with `arange` |
# | `Rotary` | `torchtune.modules.RotaryPositionalEmbeddings`; in Hugging Face with halves as pairs |
# | `tie` | `lm_head.weight = wte.weight` |
#
# Module 12 averages over positions, with weights that come from products of the vectors made here.
