# %% [markdown]
# # TinyTorch 01: Tensor
#
# A matrix of 64 MiB is transposed in a few microseconds: two lengths and two strides change places. A row of biases is
# added to each of its 4096 rows, and no copy of that row is made. Then somebody keeps ten of its numbers for later, and
# all 64 MiB stay in memory until the program ends. The three facts have one cause: a tensor is a flat buffer, and a few
# integers that say how to read it. In this notebook you build that tensor.
#
# **Where it sits.** What you write is exported as `tinytorch/tensor.py`, the bottom of the framework.
#
# | later module | what it takes from here |
# |---|---|
# | 02 activations, 03 layers, 04 losses | `Tensor`, broadcasting, reductions, `MatMul` |
# | 05 dataloader | views that share a batch's memory, and the price of keeping one |
# | 06 autograd | the same `Function` classes, which then get a `backward` |
# | 15 quantization | int8 storage whose `nbytes` is true |
# | 17 acceleration | strides, which compiled kernels read directly |
#
# **Afterwards you can**
# 1. compute where an element lies in memory from shape, strides and offset;
# 2. say which operations move no data, and when `reshape` has to copy;
# 3. implement broadcasting with strides of zero, and type promotion by kind and width;
# 4. state what an in-place write reaches, and which writes must be refused;
# 5. predict bytes and time of a view, a copy and a product, then measure both.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. A check
# shows worked examples and explains the first that fails. Grading runs hidden cases besides: other shapes, other
# strides, axes of length 0 and 1, no axes at all, NaN and infinity, and wrong arguments. Every function is judged by
# itself, so one that does not work yet costs only its own points. You need Python and the basics of NumPy. Three hours
# are typical.

# %%
#| export
"""Tensors on strided storage, and the operations on them.

    Storage   a flat buffer            Layout   shape, strides and offset: where in the buffer the elements lie
    Tensor    a storage and a layout   Function an operation on tensors

Errors, each one line that says what it got and what it wanted:

    ValueError   <- ShapeError     shapes that do not fit each other or the number of elements
    TypeError    <- DTypeError     an unknown dtype, or a value that a dtype does not hold
    RuntimeError <- OverlapError   a write to a view in which elements share a place
    IndexError                     an index or axis out of range
"""

import difflib
import functools
import math
import operator
from typing import NamedTuple

import numpy as np


class ShapeError(ValueError):
    """Shapes that do not fit each other or the number of elements."""


class DTypeError(TypeError):
    """An unknown dtype, or a value that a dtype does not hold."""


class OverlapError(RuntimeError):
    """A write to a view in which several elements share a place."""


# %%
from mlsysbook import answer, case, check, predict, reveal

# %% [markdown]
# ## 1. A buffer and three facts about it
#
# Memory is one line of numbered places. A tensor with any number of axes is laid on that line by three facts:
#
# * **shape**: how many elements along each axis;
# * **strides**: how many places to walk for one step along each axis;
# * **offset**: the place of the first element.
#
# Element $(i_0, i_1, \dots)$ lies at place $\text{offset} + \sum_k i_k \cdot \text{stride}_k$. That is all of indexing.
#
# **Worked example.** Twelve numbers in places 0 to 11.
#
# | layout | shape | strides | offset | element | place |
# |---|---|---|---|---|---|
# | three rows of four | (3, 4) | (4, 1) | 0 | [1, 2] | 0 + 1·4 + 2·1 = 6 |
# | its transpose | (4, 3) | (1, 4) | 0 | [2, 1] | 0 + 2·1 + 1·4 = 6 |
# | the second column of the first | (3,) | (4,) | 1 | [2] | 1 + 2·4 = 9 |
#
# The first two rows of the table find the same number in the same place. Nothing moved; only the way of reading
# changed. Strides here count elements, as in PyTorch. NumPy counts bytes: its strides for the first row, in float32,
# are (16, 4).

# %%
#| export
class Layout(NamedTuple):
    """Where elements lie in a flat buffer: element (i, j, ...) is at offset + i * strides[0] + j * strides[1] + ..."""

    shape: tuple
    strides: tuple
    offset: int = 0


# %%
def positions(layout):
    """The place of every element, as an integer array of the layout's shape."""
    places = np.full(layout.shape, layout.offset)
    for axis, (n, stride) in enumerate(zip(layout.shape, layout.strides, strict=True)):
        places += (np.arange(n) * stride).reshape([-1 if k == axis else 1 for k in range(len(layout.shape))])
    return places

# %% show
print(positions(Layout((3, 4), (4, 1))), "three rows of four", sep="\n")
print(positions(Layout((4, 3), (1, 4))), "the transpose", sep="\n")
print(positions(Layout((3,), (4,), 1)), "one column", sep="\n")

# %% [markdown]
# A new tensor is **row-major**: read in the order of its indices, the last index changing fastest, its elements fill
# one place after the other. For the shape (2, 3, 4) the strides are (12, 4, 1). One step along the first axis skips a
# whole 3 × 4 block.
#
# **Exercise 1.1** Compute these strides for any shape. Two conventions make the answer unique. A tensor without axes, a
# single number, has strides `()`. An axis of length 0 counts as if its length were 1, so (2, 0, 3) has strides (3, 3,
# 1).

# %% solution="contiguous_strides"
#| export
def contiguous_strides(shape):
    """Row-major strides of a tensor of this shape, in elements -> tuple of ints."""
    ### BEGIN SOLUTION
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))
    ### END SOLUTION


# %% check="contiguous_strides" points=3
check("contiguous_strides", [case((2, 3, 4)), case((5,)), case((2, 0, 3))])

# %% hidden="contiguous_strides"
def cases(rng):
    for axes in (1, 2, 3, 4, 5):
        yield case(tuple(int(n) for n in rng.integers(2, 8, axes)), behaviour="row-major strides")
    for axes in (2, 3, 4):
        shape = rng.integers(2, 6, axes)
        shape[rng.integers(axes)] = 1
        yield case(tuple(int(n) for n in shape), behaviour="axes of length one")
    for axes in (2, 3, 4):
        shape = rng.integers(2, 6, axes)
        shape[rng.integers(1, axes)] = 0
        yield case(tuple(int(n) for n in shape), behaviour="axes of length zero")
    yield case((), behaviour="a tensor without axes")


# %% [markdown]
# A layout is **contiguous** if reading its elements in row-major order visits consecutive places, each once, wherever
# it starts. A kernel, which is the loop that does the arithmetic, asks this first: on a contiguous layout one plain
# loop over the buffer does the work of nested ones.
#
# | shape | strides | offset | contiguous? | why |
# |---|---|---|---|---|
# | (3, 4) | (4, 1) | 8 | yes | places 8, 9, ..., 19 |
# | (4, 3) | (1, 4) | 0 | no | starts 0, 4, 8, 1 |
# | (3, 1, 4) | (4, 99, 1) | 0 | yes | nobody ever takes a step along an axis of length 1 |
# | (2, 0) | (7, 7) | 0 | yes | there is no element to be out of place |
#
# **Exercise 1.2** Decide it from the integers alone. The layout may describe a billion elements, so do not list their
# places.

# %% solution="is_contiguous"
#| export
def is_contiguous(layout):
    """Whether the elements of the layout, in row-major order, lie in consecutive places -> bool."""
    ### BEGIN SOLUTION
    if 0 in layout.shape:
        return True
    step = 1
    for n, stride in zip(reversed(layout.shape), reversed(layout.strides), strict=True):
        if n != 1 and stride != step:
            return False
        step *= n
    return True
    ### END SOLUTION


# %% check="is_contiguous" points=3
def contiguous_at(shape, strides, offset):
    return is_contiguous(Layout(shape, strides, offset))

check("is_contiguous", [case((3, 4), (4, 1), 8), case((4, 3), (1, 4), 0), case((3, 1, 4), (4, 99, 1), 0)],
      call=contiguous_at, forbid=("positions",))

# %% hidden="is_contiguous"
def layout_of(view, base):
    """Shape, strides and offset of a NumPy view of base, both of one-byte elements."""
    start = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return tuple(int(n) for n in view.shape), tuple(int(s) for s in view.strides), start


def random_base(rng, axes, low=2, high=6):
    return np.zeros([int(n) for n in rng.integers(low, high, axes)], np.int8)


def cases(rng):
    for axes in (2, 3, 3):
        base = random_base(rng, axes)
        yield case(*layout_of(base, base), behaviour="row-major and permuted layouts")
        yield case(*layout_of(base[1:], base), behaviour="row-major and permuted layouts")
        yield case(*layout_of(np.moveaxis(base, 0, -1), base), behaviour="row-major and permuted layouts")
    base = random_base(rng, 3, 4, 7)
    for view in (base[::2], base[:, 1:], base[..., ::-1], base[:, :, 0], base[0]):
        yield case(*layout_of(view, base), behaviour="steps, gaps and reversed axes")
    yield case((3, 4), (0, 1), 0, behaviour="expanded axes")
    yield case((4, 3), (1, 0), 2, behaviour="expanded axes")
    for at in range(3):
        shape, strides = [3, 4], [4, 1]
        shape.insert(at, 1)
        strides.insert(at, int(rng.integers(5, 99)))
        yield case(tuple(shape), tuple(strides), 0, behaviour="axes of length one")
    yield case((1, 3), (3, 2), 0, behaviour="axes of length one")
    yield case((), (), 5, behaviour="no axes, no elements")
    yield case((3, 0, 2), (1, 5, 9), 0, behaviour="no axes, no elements")


# %% [markdown]
# ## 2. Views: arithmetic instead of copies
#
# A **view** is a second layout on the same buffer. To permute axes, permute shape and strides. This function is given.
# Those that you write in parts 2 to 4 are of its kind: integers in, integers out, and no element is touched.

# %%
#| export
def normal_axis(axis, ndim):
    """axis as an int from 0 to ndim - 1; negative ones count from the end."""
    index = operator.index(axis)
    if not -ndim <= index < ndim:
        raise IndexError(f"axis {index} is out of range for {ndim} axes")
    return index % ndim


def permute_layout(layout, axes):
    """Axis k of the result is axis axes[k] of the source."""
    order = tuple(normal_axis(axis, len(layout.shape)) for axis in axes)
    if sorted(order) != list(range(len(layout.shape))):
        raise ShapeError(f"axes {tuple(axes)} do not name each axis of shape {layout.shape} once")
    return Layout(tuple(layout.shape[a] for a in order), tuple(layout.strides[a] for a in order), layout.offset)


# %% [markdown]
# Indexing is arithmetic too. **Worked example**: shape (4, 6), strides (6, 1), offset 0.
#
# | expression | shape | strides | offset | |
# |---|---|---|---|---|
# | `x[2]` | (6,) | (1,) | 12 | an integer uses its axis up |
# | `x[1:, ::2]` | (3, 3) | (6, 2) | 6 | every second element: a longer stride |
# | `x[:, -1]` | (4,) | (6,) | 5 | -1 is the last index, 5 |
# | `x[::-1]` | (4, 6) | (-6, 1) | 18 | start in the last row, walk backwards |
# | `x[:, None]` | (4, 1, 6) | (6, any, 1) | 0 | `None` adds an axis of length 1 |
# | `x[3:3]` | (0, 6) | any | any | empty |
#
# Reversal costs nothing, so ours allows negative steps. PyTorch refuses them.
#
# `full_key` below turns whatever stands in the brackets into one item for each axis. `slice.indices` of Python resolves
# missing, negative and far too large bounds: `slice(-3, 99).indices(5)` is `(2, 5, 1)`, and these are arguments for
# `range`.

# %%
#| export
def full_key(key, ndim):
    """What stands in x[...] as a tuple: an int or slice for each of ndim axes, None where an axis is to be added."""
    items = key if isinstance(key, tuple) else (key,)
    named = sum(item is not None and item is not Ellipsis for item in items)
    dots = [k for k, item in enumerate(items) if item is Ellipsis]
    if named > ndim:
        raise IndexError(f"{named} indices for a tensor of {ndim} axes")
    if len(dots) > 1:
        raise IndexError(f"an index may hold one '...', got {len(dots)}")
    at = dots[0] if dots else len(items)
    items = items[:at] + (slice(None),) * (ndim - named) + items[at + 1:]
    return tuple(item if item is None or isinstance(item, slice) else _index(item) for item in items)


def _index(item):
    if isinstance(item, bool) or not hasattr(item, "__index__"):
        raise IndexError(f"an index is an int, a slice, None or '...', got {type(item).__name__}")
    return operator.index(item)


# %% [markdown]
# **Exercise 2.1** Write `slice_layout`. An index outside its axis raises `IndexError` and says which index, which axis
# and how long that axis is. No caller reads the stride of an axis of length 1 or the offset of an empty view, so these
# may be anything.

# %% solution="slice_layout"
#| export
def slice_layout(layout, key):
    """The layout of x[key], where x has this layout and key comes from full_key.

    Raises IndexError for an integer outside its axis.
    """
    ### BEGIN SOLUTION
    shape, strides, offset, axis = [], [], layout.offset, 0
    for item in key:
        if item is None:
            shape.append(1)
            strides.append(0)
            continue
        n, stride = layout.shape[axis], layout.strides[axis]
        if isinstance(item, slice):
            start, stop, step = item.indices(n)
            length = len(range(start, stop, step))
            shape.append(length)
            strides.append(stride * step)
            offset += start * stride if length else 0
        elif -n <= item < n:
            offset += item % n * stride
        else:
            raise IndexError(f"index {item} is out of range for axis {axis} of length {n}")
        axis += 1
    return Layout(tuple(shape), tuple(strides), offset)
    ### END SOLUTION


# %% check="slice_layout" points=5
def sliced(shape, strides, offset, key):
    result = Layout(*slice_layout(Layout(shape, strides, offset), full_key(key, len(shape))))
    return {"shape": result.shape, "places": positions(result)}

check("slice_layout", [
    case((4, 6), (6, 1), 0, 2),
    case((4, 6), (6, 1), 0, (slice(1, None), slice(None, None, 2))),
    case((4, 6), (6, 1), 0, slice(None, None, -1)),
], call=sliced)

# %% hidden="slice_layout"
def some_slice(rng, n, step):
    start, stop = sorted(int(v) for v in rng.choice(n + 1, 2, replace=False))
    return slice(start, stop, step) if step > 0 else slice(stop - 1, start - 1 if start else None, step)


def cases(rng):
    for _ in range(4):
        base = random_base(rng, 3, 4, 8)
        view = base.transpose([int(a) for a in rng.permutation(3)])
        items = [some_slice(rng, n, int(rng.integers(1, 3))) for n in view.shape]
        items[rng.integers(3)] = int(rng.integers(1, 4))
        yield case(*layout_of(view, base), tuple(items), behaviour="integers and forward slices")
    for _ in range(3):
        base = random_base(rng, 2, 5, 9)
        items = [some_slice(rng, n, -int(rng.integers(1, 4))) for n in base.shape]
        yield case(*layout_of(base, base), tuple(items), behaviour="backward slices")
    base = random_base(rng, 3, 4, 8)
    n = base.shape[0]
    for key in (-1, -n, (slice(-3, None), -2), (slice(-99, 99), slice(1, 99)), (..., slice(None, -1))):
        yield case(*layout_of(base[:, ::-1], base), key, behaviour="negative and clipped bounds")
    for key in (None, (slice(None), None, 1), (..., None), (None, 0, None, slice(1, None), None)):
        yield case(*layout_of(base, base), key, behaviour="new axes")
    yield case(*layout_of(base, base), slice(2, 2), behaviour="empty views and no axes")
    yield case(*layout_of(base, base), (slice(None), slice(3, 1)), behaviour="empty views and no axes")
    yield case((), (), 7, (), behaviour="empty views and no axes")
    yield case((3, 0), (1, 1), 0, 1, behaviour="empty views and no axes")
    for key in (n, -n - 1, (0, 99), (slice(1, 2), 0, -99)):
        yield case(*layout_of(base, base), key, behaviour="an index out of range is refused")
    yield case((3, 0), (1, 1), 0, (0, 0), behaviour="an index out of range is refused")


# %% [markdown]
# ## 3. Broadcasting: a stride of zero
#
# A batch of shape (32, 10) plus a bias of shape (10,): the bias must be read 32 times. Nobody copies it. Its layout
# becomes shape (32, 10) with strides (0, 1). A step along the first axis walks zero places and meets the same row
# again.
#
# Which shapes fit each other? Write them flush right. On each axis the lengths must be equal, or one of them must be 1;
# a missing axis counts as length 1.
#
# ```
#       (8, 1, 6)                    (8, 1, 6)
#          (7, 6)                       (4, 5)
#     = (8, 7, 6)                    axis -1: 6 does not fit 5
# ```
#
# The length 1 stretches to any length, and that includes 0: (1, 4) and (0, 4) give (0, 4).
#
# **Exercise 3.1** The common shape of any number of shapes. The message of the error names the shapes that were given,
# each written as Python prints it, and the axis, so that a reader finds the mistake without a debugger.
#
# **Exercise 3.2** The layout of the same elements read with a larger shape. Axes that were stretched or added get
# stride 0. The source may be any view. A shape that its own does not stretch to is refused, with both shapes in the
# message.

# %% solution="broadcast_shapes"
#| export
def broadcast_shapes(*shapes):
    """The shape that all shapes stretch to -> tuple. Raises ShapeError that names the shapes and the axis."""
    ### BEGIN SOLUTION
    ndim = max((len(shape) for shape in shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        for axis in range(-len(shape), 0):
            if shape[axis] == 1 or shape[axis] == result[axis]:
                continue
            if result[axis] != 1:
                raise ShapeError(f"shapes {' and '.join(str(tuple(s)) for s in shapes)} do not broadcast: "
                                 f"axis {axis} has lengths {result[axis]} and {shape[axis]}")
            result[axis] = shape[axis]
    return tuple(result)
    ### END SOLUTION


# %% solution="expand_layout"
#| export
def expand_layout(layout, shape):
    """The layout that reads the same elements as a tensor of the given, larger shape.

    Raises ShapeError, with both shapes in its message, if the layout's shape does not stretch to it.
    """
    ### BEGIN SOLUTION
    added = len(shape) - len(layout.shape)
    fits = added >= 0 and all(n in (1, wanted) for n, wanted in zip(layout.shape, shape[added:], strict=True))
    if not fits:
        raise ShapeError(f"shape {layout.shape} does not stretch to {tuple(shape)}: "
                         "only axes of length 1 do, and new ones in front")
    kept = (stride if n == wanted else 0
            for n, wanted, stride in zip(layout.shape, shape[added:], layout.strides, strict=True))
    return Layout(tuple(shape), (0,) * added + tuple(kept), layout.offset)
    ### END SOLUTION


# %% check="broadcast_shapes" points=4
def common_shape(*shapes):
    try:
        return broadcast_shapes(*shapes)
    except ShapeError as error:
        return {"the message names": [str(shape) in str(error) for shape in shapes]}

check("broadcast_shapes", [case((8, 1, 6), (7, 6)), case((1, 4), (0, 4)), case((8, 1, 6), (4, 5))], call=common_shape,
      forbid=("np.broadcast_shapes", "np.broadcast_to", "np.broadcast", "np.broadcast_arrays"))

# %% hidden="broadcast_shapes"
def cases(rng):
    def partner(shape):
        cut = int(rng.integers(len(shape)))
        return tuple(1 if rng.random() < 0.4 else n for n in shape[cut:])

    for axes in (1, 2, 3, 4, 5):
        full = tuple(int(n) for n in rng.integers(2, 9, axes))
        yield case(partner(full), full, behaviour="two shapes that fit")
        yield case(full, partner(full), behaviour="two shapes that fit")
    for k in (3, 4, 5):
        full = tuple(int(n) for n in rng.integers(2, 9, 4))
        yield case(*(partner(full) for _ in range(k)), behaviour="any number of shapes")
    yield case((int(rng.integers(2, 9)), 3), behaviour="any number of shapes")
    yield case((), (), behaviour="length zero and no axes")
    yield case((int(rng.integers(2, 9)),), (), behaviour="length zero and no axes")
    yield case((0,), (1,), behaviour="length zero and no axes")
    yield case((3, 1, 2), (0, 2), behaviour="length zero and no axes")
    for _ in range(3):
        full = [int(n) for n in rng.integers(2, 9, 3)]
        other = list(full)
        other[rng.integers(3)] += 1
        yield case(tuple(full), tuple(other), behaviour="shapes that do not fit are named")
    yield case((3,), (0,), behaviour="shapes that do not fit are named")


# %% check="expand_layout" points=3
def expanded(shape, strides, offset, target):
    try:
        result = Layout(*expand_layout(Layout(shape, strides, offset), target))
    except ShapeError as error:
        return {"the message names": [str(shape) in str(error), str(target) in str(error)]}
    return {"shape": result.shape, "places": positions(result)}

check("expand_layout", [case((10,), (1,), 0, (3, 10)), case((2, 1), (1, 1), 4, (2, 5)), case((3,), (1,), 0, (4,))],
      call=expanded)

# %% hidden="expand_layout"
def cases(rng):
    for _ in range(4):
        base = random_base(rng, 3)
        at = int(rng.integers(3))
        view = np.moveaxis(base[1:2], 0, at)
        target = [int(n) for n in view.shape]
        target[at] = int(rng.integers(2, 6))
        front = [int(n) for n in rng.integers(1, 4, rng.integers(0, 3))]
        yield case(*layout_of(view, base), tuple(front + target), behaviour="stretched and added axes")
    for _ in range(3):
        base = random_base(rng, 3, 4, 7)
        view = base[::-1, 1:, ::2].transpose([int(a) for a in rng.permutation(3)])
        yield case(*layout_of(view, base), (2, 1, *(int(n) for n in view.shape)), behaviour="views as the source")
    yield case((), (), 3, (2, 2), behaviour="length zero and no axes")
    yield case((), (), 3, (), behaviour="length zero and no axes")
    yield case((1, 4), (4, 1), 0, (0, 4), behaviour="length zero and no axes")
    yield case((2, 1), (1, 1), 0, (2, 0), behaviour="length zero and no axes")
    for shape, target in (((3,), (4,)), ((2, 3), (3,)), ((1, 3), (3,)), ((3, 1), (1, 3)), ((4,), (0,)), ((0,), (2,))):
        yield case(shape, (1,) * len(shape), 0, target, behaviour="shapes that do not stretch are named")


# %% [markdown]
# Look at it. Each square is a place of the common shape, the number in it the element of the buffer that is read there; equal
# colours are one element, and the framed squares are those that the operand really has. Try shapes that do not fit as well.
# Without widgets the panel is a picture; assigned to a name, `panel.at(b="4")` asks for another.

# %% show
import matplotlib.pyplot as plt

from mlsysbook import explore, pick


def broadcast_pair(a, b):
    shapes = [() if text == "one number" else tuple(int(n) for n in text.split(" × ")) for text in (a, b)]
    try:
        full = broadcast_shapes(*shapes)
    except ShapeError as error:
        return {"error": str(error)}
    layouts = [expand_layout(Layout(shape, contiguous_strides(shape)), full) for shape in shapes]
    return {"shapes": shapes, "full": full, "strides": [layout.strides for layout in layouts],
            "places": [positions(layout).tolist() for layout in layouts]}


def squares(axes, result, settings):
    axes.axis("off")
    if "error" in result:
        axes.text(0.5, 0.5, result["error"], ha="center", va="center", wrap=True, transform=axes.transAxes)
        return
    left = 0
    for name, places, shape in zip("ab", result["places"], result["shapes"], strict=True):
        grid = np.atleast_2d(places)
        own = np.atleast_2d(np.empty(shape)).shape
        axes.imshow(grid, extent=(left, left + grid.shape[1], grid.shape[0], 0), cmap="tab20", vmin=0, vmax=20, alpha=0.5)
        for (i, j), place in np.ndenumerate(grid):
            axes.text(left + j + 0.5, i + 0.5, place, ha="center", va="center")
            if i < own[0] and j < own[1]:
                axes.add_patch(plt.Rectangle((left + j + 0.04, i + 0.04), 0.92, 0.92, fill=False, lw=2))
        axes.text(left, -0.25, f"{name}: {shape} read as {result['full']}", va="bottom")
        left += max(grid.shape[1], 4) + 1
    axes.set(xlim=(-0.2, left), ylim=(max(len(grid), 3) + 0.2, -0.9), aspect="equal")


def strides_said(result, settings):
    if "error" in result:
        return f"refused: {result['error']}"
    parts = [f"{name} {shape} is read as {result['full']} with strides {strides}"
             for name, shape, strides in zip("ab", result["shapes"], result["strides"], strict=True)]
    return "; ".join(parts) + "; no element is copied"


SHAPES = ("4 × 1", "4 × 3", "1 × 3", "3", "4", "1", "one number")
explore(broadcast_pair, {"a": pick(*SHAPES), "b": pick(*SHAPES, start="3")}, draw=squares, say=strides_said)

# %% [markdown]
# ## 4. Reshape: a view if possible
#
# `reshape` keeps the elements in row-major order and changes how they are cut into axes. For a contiguous layout this
# is always a view. For others it depends, and the question is worth answering, because the alternative is to copy the
# whole tensor.
#
# Two neighbouring axes walk like a single one when a step of the left axis lands exactly where the right axis would
# have landed after its last step: `strides[k] == shape[k + 1] * strides[k + 1]`.
#
# | x | shape | strides | merges? | flat view |
# |---|---|---|---|---|
# | three rows of four | (3, 4) | (4, 1) | 4 = 4·1, yes | (12,), stride 1 |
# | `x[:, ::2]` | (3, 2) | (4, 2) | 4 = 2·2, yes | (6,), stride 2 |
# | `x[:, :3]` | (3, 3) | (4, 1) | 4 ≠ 3·1, no | needs a copy |
# | `x.transpose()` | (4, 3) | (1, 4) | 1 ≠ 3·4, no | needs a copy |
#
# In the other direction a single axis can always be cut: (6,) with stride 2 becomes (2, 3) with strides (6, 2). A new
# axis that would reach across two old ones that do not merge is what no strides can describe. So (4, 3) with strides
# (1, 4) has a view of shape (2, 2, 3), but none of shape (2, 6). Lengths of 1 join anything, and a tensor without
# elements has every view.
#
# **Exercise 4.1** Return the layout of the view, or `None` if there is none. Both shapes have the same number of
# elements; `infer_shape` has seen to that and has resolved a -1.

# %%
#| export
def infer_shape(shape, numel):
    """shape with its one -1, if any, replaced so that it holds numel elements. Raises ShapeError if it cannot."""
    shape = tuple(operator.index(n) for n in shape)
    known = math.prod(n for n in shape if n != -1)
    if shape.count(-1) > 1 or any(n < -1 for n in shape):
        raise ShapeError(f"shape {shape} may hold one -1 and no other negative length")
    if -1 in shape and known and numel % known == 0:
        return tuple(numel // known if n == -1 else n for n in shape)
    if -1 in shape or known != numel:
        raise ShapeError(f"shape {shape} does not hold {numel} elements")
    return shape


# %% solution="reshape_layout"
#| export
def reshape_layout(layout, shape):
    """The layout of the same elements, in row-major order, cut into another shape; None if no strides describe it.

    shape has as many elements as the layout.
    """
    ### BEGIN SOLUTION
    if 0 in shape:
        return Layout(tuple(shape), (0,) * len(shape), layout.offset)
    runs = []  # (length, stride): neighbouring axes that walk like one are merged
    for n, stride in zip(layout.shape, layout.strides, strict=True):
        if n == 1:
            continue
        if runs and runs[-1][1] == n * stride:
            n *= runs.pop()[0]
        runs.append((n, stride))
    strides, room, step = [], 1, 1
    for n in reversed(shape):
        if room == 1 and runs:
            room, step = runs.pop()
        if room % n:
            return None
        strides.append(step)
        room //= n
        step *= n
    return Layout(tuple(shape), tuple(reversed(strides)), layout.offset)
    ### END SOLUTION


# %% check="reshape_layout" points=6
def reshaped(shape, strides, offset, target):
    result = reshape_layout(Layout(shape, strides, offset), target)
    if result is None:
        return "needs a copy"
    result = Layout(*result)
    return {"shape": result.shape, "places": positions(result)}

check("reshape_layout", [
    case((3, 4), (4, 1), 0, (2, 6)),
    case((3, 2), (4, 2), 1, (6,)),
    case((4, 3), (1, 4), 0, (12,)),
    case((4, 3), (1, 4), 0, (2, 2, 3)),
], call=reshaped)

# %% hidden="reshape_layout"
def cut(rng, n):
    """A random factorisation of n into two or three lengths."""
    first = int(rng.choice([d for d in range(1, n + 1) if n % d == 0]))
    rest = n // first
    return (first, rest) if rng.random() < 0.5 else (first, 1, rest)


def cases(rng):
    core = "contiguous layouts, and what needs a copy"
    for _ in range(3):
        base = np.zeros((int(rng.integers(2, 5)) * 2, int(rng.integers(2, 4)) * 3), np.int8)
        yield case(*layout_of(base[2:], base), cut(rng, base[2:].size), behaviour=core)
        yield case(*layout_of(base.T, base), (base.size,), behaviour=core)
        yield case(*layout_of(base[:, :-1], base), (base[:, :-1].size,), behaviour=core)
    for _ in range(4):
        base = random_base(rng, 3)
        a, b, c = (int(n) for n in base.shape)
        view = base.transpose(1, 2, 0)
        yield case(*layout_of(view, base), (b * c, a), behaviour="axes that merge although the layout is permuted")
        yield case(*layout_of(view, base), (b, a * c), behaviour="axes that merge although the layout is permuted")
    for n in (4, 6):
        base = np.zeros((3, n), np.int8)
        yield case(*layout_of(base[:, ::2], base), (3 * n // 2,), behaviour="steps, reversed and expanded axes")
        yield case(*layout_of(base[::-1, ::-1], base), (n, 3), behaviour="steps, reversed and expanded axes")
        yield case(*layout_of(base[::-1], base), (3 * n,), behaviour="steps, reversed and expanded axes")
        yield case((2, 3, n), (0, 0, 1), 0, (6, 2, n // 2), behaviour="steps, reversed and expanded axes")
        yield case((3, n), (0, 1), 0, (3 * n,), behaviour="steps, reversed and expanded axes")
    for _ in range(3):
        base = random_base(rng, 2)
        a, b = (int(n) for n in base.shape)
        _, (s, t), _ = layout_of(base.T, base)
        yield case((b, 1, a), (s, 77, t), 0, (1, b, 1, a, 1), behaviour="axes of length one")
        yield case((a, 1, b), (b, 99, 1), 0, (a * b, 1), behaviour="axes of length one")
    yield case((), (), 3, (1, 1), behaviour="no axes, no elements")
    yield case((1, 1), (5, 7), 2, (), behaviour="no axes, no elements")
    yield case((3, 0, 2), (9, 4, 1), 0, (0, 5), behaviour="no axes, no elements")


# %% [markdown]
# ## 5. Dtypes: kind and width
#
# TinyTorch keeps seven dtypes, each with its true size.
#
# | kind | dtypes | bytes | holds |
# |---|---|---|---|
# | bool | bool | 1 | False, True |
# | integer | int8, int32, int64 | 1, 4, 8 | -128 to 127; ±2.1·10⁹; ±9.2·10¹⁸ |
# | float | float16, float32, float64 | 2, 4, 8 | about 3, 7 and 16 decimal digits; up to 65 504; 3.4·10³⁸; 1.8·10³⁰⁸ |
#
# What is the dtype of a sum of two? The kinds are ordered: bool < integer < float. The higher kind wins with its width;
# within a kind the wider dtype wins.
#
# | operands | result | |
# |---|---|---|
# | int8, int32 | int32 | same kind, wider |
# | int64, float16 | float16 | higher kind, and its width stays: activations stay at 2 bytes |
# | float32, float64 | float64 | |
#
# This is PyTorch's rule. NumPy gives float64 for int64 and float16: closer for large integers, and four times the
# memory of the float16.
#
# A Python number has a kind but no width. Beside a dtype of its kind or a higher one it changes nothing: float16 × 2.5
# is float16. Beside a lower kind it brings the default of its own: `bool`, `int64` or `float32`. So int8 × 2.5 is
# float32. Two Python numbers give the default of the higher kind. In Python `True` is an instance of `int`; here it is
# a bool.

# %%
#| export
DTYPES = {name: np.dtype(name) for name in ("float64", "float32", "float16", "int64", "int32", "int8", "bool")}
float64, float32, float16, int64, int32, int8, bool_ = DTYPES.values()
KINDS = "bif"  # NumPy's letters for bool, integer and float, in order of promotion
DEFAULTS = {bool: bool_, int: int64, float: float32}
SUPPORTED = frozenset(DTYPES.values())


def as_dtype(dtype):
    """The supported dtype that a name, a NumPy dtype, or bool, int or float stands for. Raises DTypeError otherwise."""
    if isinstance(dtype, np.dtype) and dtype in SUPPORTED:
        return dtype
    if isinstance(dtype, type) and dtype in DEFAULTS:
        return DEFAULTS[dtype]
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in DTYPES:
        nearest = (difflib.get_close_matches(name, DTYPES, 1) or ["float32"])[0]
        raise DTypeError(f"unknown dtype {name}; the nearest is {nearest}, all are {', '.join(DTYPES)}")
    return DTYPES[name]


# %% [markdown]
# **Exercise 5.1** Each operand is one of the seven NumPy dtypes or a Python number of type `bool`, `int` or `float`.
# `KINDS` and `DEFAULTS` above may help, as do `dtype.kind` and `dtype.itemsize`.

# %% solution="result_type"
#| export
def result_type(a, b):
    """The dtype of an operation on a and b, each a dtype or a Python number, which has a kind but no width."""
    ### BEGIN SOLUTION
    def rank(x):
        dtype = x if isinstance(x, np.dtype) else DEFAULTS[type(x)]
        return KINDS.index(dtype.kind), dtype.itemsize if dtype is x else 0, dtype

    return max(rank(a), rank(b), key=lambda r: r[:2])[2]
    ### END SOLUTION


# %% check="result_type" points=4
def promoted(a, b):
    """Names stand for dtypes, numbers for themselves."""
    a, b = (np.dtype(x) if isinstance(x, str) else x for x in (a, b))
    return result_type(a, b).name

check("result_type", [case("int8", "int32"), case("int64", "float16"), case("float16", 2.5), case("int8", 2.5)],
      call=promoted, forbid=("np.result_type", "np.promote_types", "np.find_common_type"))

# %% hidden="result_type"
def cases(rng):
    def order(a, b, behaviour):
        return case(*((a, b) if rng.random() < 0.5 else (b, a)), behaviour=behaviour)

    for a, b in (("int8", "int64"), ("int32", "int8"), ("float16", "float64"), ("float32", "float16"),
                 ("int64", "int32"), ("bool", "int8"), ("int32", "float16"), ("bool", "float64"), ("int64", "float32")):
        yield order(a, b, "the wider of one kind, the higher of two")
    for name in ("bool", "int8", "float16", "int32"):
        yield case(name, name, behaviour="equal dtypes")
    for a, b in (("int8", 3), ("float16", 2), ("float64", 1.5), ("float16", 0.5), ("int32", True), ("bool", False)):
        yield order(a, b, "a number of the same or a lower kind")
    for a, b in (("bool", 3), ("int8", 0.5), ("bool", 2.0), ("int64", 1.0)):
        yield order(a, b, "a number of a higher kind")
    for a, b in ((1, 2.0), (True, 3), (False, True), (2.0, 3.0)):
        yield order(a, b, "two numbers")


# %% [markdown]
# ## 6. Writing through a view
#
# A view that is written to writes into the one buffer, and every other view sees it. That is the use of it, and the
# danger. Three rules:
#
# 1. **One place, one element.** In a view that `expand` made, several elements share a place. Which of them should win?
#    The write is refused.
# 2. **The kind stays.** The buffer has its dtype for life. A value of the same or a lower kind is converted: it is
#    rounded to the precision of a narrower float, an integer that is too large wraps around (200 in int8 is -56). A
#    value of a higher kind, such as 1.5 into integers, is refused, since no rule for it would be a good surprise.
# 3. **The shape stays.** Values are stretched to the shape of the view, never the other way round.
#
# `strided` is given. It reads a buffer through a layout as a NumPy array, without copying; NumPy checks that no place
# lies outside the buffer. This is the bridge on which all operations below cross into NumPy. Arrays with shared places
# come out read-only.

# %%
#| export
def overlaps(layout):
    """Whether several elements share a place. Zero strides are the only way in which views come to that."""
    pairs = zip(layout.shape, layout.strides, strict=True)
    return 0 in layout.strides and 0 not in layout.shape and any(n > 1 and stride == 0 for n, stride in pairs)


def strided(buffer, layout):
    """The elements of a flat buffer at the places of a layout: a NumPy view, read-only if elements share a place."""
    if 0 in layout.shape:
        return buffer[:0].reshape(layout.shape)
    size = buffer.itemsize
    strides = [stride * size for stride in layout.strides]
    try:
        array = np.ndarray(layout.shape, buffer.dtype, buffer, layout.offset * size, strides)
    except ValueError:
        raise ShapeError(f"shape {layout.shape}, strides {layout.strides}, offset {layout.offset} "
                         f"reach outside a buffer of {buffer.size} elements") from None
    if overlaps(layout):
        array.flags.writeable = False
    return array


# %% [markdown]
# **Exercise 6.1** Write values through a layout into a buffer, or refuse by the rules, one error class each. A refused
# write changes nothing.

# %% solution="write"
#| export
def write(buffer, layout, values):
    """Store values, a NumPy array, at the places of a layout in a flat buffer. Changes buffer, returns nothing.

    Values are stretched to the layout's shape and converted to the buffer's dtype.
    Raises OverlapError if elements share a place, DTypeError if values are of a higher kind than the buffer,
    ShapeError if their shape does not stretch to the layout's.
    """
    ### BEGIN SOLUTION
    if overlaps(layout):
        raise OverlapError(f"cannot write to shape {layout.shape} with strides {layout.strides}: "
                           "elements share a place; call contiguous() first")
    if KINDS.index(values.dtype.kind) > KINDS.index(buffer.dtype.kind):
        raise DTypeError(f"cannot store {values.dtype} in {buffer.dtype} in place: astype makes a tensor that can")
    try:
        source = np.broadcast_to(values, layout.shape)
    except ValueError:
        raise ShapeError(f"values of shape {values.shape} do not stretch to {layout.shape}") from None
    with np.errstate(over="ignore"):
        np.copyto(strided(buffer, layout), source, casting="unsafe")
    ### END SOLUTION


# %% check="write" points=5
def written(size, dtype, shape, strides, offset, values):
    """A buffer that held 0, 1, 2, ... after values were written through a layout."""
    buffer = np.arange(size).astype(dtype)
    write(buffer, Layout(shape, strides, offset), values)
    return buffer

check("write", [
    case(12, "float32", (3,), (4,), 1, np.array([90.0, 91.0, 92.0])),
    case(6, "int8", (2, 3), (3, 1), 0, np.array(200)),
    case(6, "float32", (2, 3), (0, 1), 0, np.zeros(3)),
    case(6, "int64", (6,), (1,), 0, np.array([1.5])),
], call=written)

# %% hidden="write"
def cases(rng):
    core = "a write reaches the places of the view and no others"
    for _ in range(5):
        base = random_base(rng, 3, 3, 6)
        view = base[1:, :, ::2].transpose([int(a) for a in rng.permutation(3)])[::-1]
        values = rng.normal(size=view.shape).astype("float32")
        yield case(base.size, "float32", *layout_of(view, base), values, behaviour=core)
    stretched = "values are stretched"
    for _ in range(3):
        base = random_base(rng, 2, 3, 6)
        values = rng.normal(size=base.shape[0])
        yield case(base.size, "float64", *layout_of(base.T, base), values, behaviour=stretched)
        yield case(base.size, "float64", *layout_of(base, base), values[:, None], behaviour=stretched)
    yield case(4, "float32", (2, 2), (2, 1), 0, np.array(np.inf), behaviour=stretched)
    converted = "conversion within a kind and to a higher one"
    for dtype, values in (("int8", rng.integers(-1000, 1000, 5)), ("float32", rng.integers(-9, 9, 5)),
                          ("float16", np.array([1e6, np.nan, 1 / 3, -1e-9, 2049])), ("int64", rng.normal(size=5) > 0)):
        yield case(5, dtype, (5,), (1,), 0, values, behaviour=converted)
    shared = "shared places are refused, stride 0 alone is not"
    for shape, strides in (((3, 4), (0, 1)), ((4, 3), (1, 0)), ((2, 3), (0, 0)), ((1, 4), (0, 1)), ((0, 4), (0, 1))):
        yield case(12, "float32", shape, strides, 0, np.array(1.0), behaviour=shared)
    for dtype, values in (("int64", np.array(2.0)), ("bool", np.array([1])), ("int8", np.array([np.nan]))):
        yield case(4, dtype, (4,), (1,), 0, values, behaviour="a higher kind is refused")
    for shape, values in (((4,), np.zeros(3)), ((2, 2), np.zeros((2, 3))), ((4,), np.zeros((2, 4)))):
        strides = (2, 1)[-len(shape):]
        yield case(4, "float64", shape, strides, 0, values, behaviour="a shape that does not stretch is refused")


# %% [markdown]
# ## 7. Tensor and Function
#
# The pieces come together in classes that are given, because every later module stands on them.
#
# | class | holds | knows |
# |---|---|---|
# | `Storage` | the flat buffer | how many bytes all storages hold, now and at most; how often it was written to |
# | `Tensor` | a storage and a layout | the operations, as methods |
# | `Function` | one call of an operation | `forward`, arrays in and a new array out; `saved` and `params`, its inputs |
# | `View` | one call of an operation that moves no data | `forward`, layout in and layout out |
#
# `Function.apply` is the only road from tensors to arrays and back. It turns numbers into tensors, brings operands to
# one dtype with your `result_type`, calls `forward`, and wraps the result. `Elementwise` also brings them to one shape
# with your `broadcast_shapes` and `expand_layout`. Module 06 adds a `backward` to each class; `record` is the hook for
# its graph.
#
# The second cell is long because a tensor has many operators. Read `__init__`, `reshape` and `_write` in it, and find
# where each of your functions is called; the rest can wait until you need it.
#
# Two sizes need two names. `x.nbytes` counts the elements that a tensor shows, `x.storage.nbytes` the buffer that it
# keeps alive.

# %%
#| export
try:
    from tinytorch.backend import kernel, native_forward, reused_memory
except ImportError:  # outside an installed tinytorch, NumPy does it all
    from contextlib import nullcontext as reused_memory

    def kernel(name):
        return {"copy": lambda x, out: np.copyto(out, x)}[name]

    def native_forward(function, tensors):
        return NotImplemented


class Storage:
    """A flat buffer that one or more tensors read.

    data is a NumPy array (numel,); version counts the writes in place. Storage.live_bytes is what all storages hold
    now, Storage.peak_bytes the most they held since it was last set.
    """

    __slots__ = ("data", "version")
    live_bytes = 0
    peak_bytes = 0

    def __init__(self, data):
        self.data = data
        self.version = 0
        Storage.live_bytes += data.nbytes
        Storage.peak_bytes = max(Storage.peak_bytes, Storage.live_bytes)

    def __del__(self):
        Storage.live_bytes -= self.data.nbytes

    def __reduce__(self):
        return Storage, (self.data,)

    @property
    def nbytes(self):
        return self.data.nbytes


class Function:
    """One call of an operation.

    A subclass defines forward(self, *arrays, **params), which returns a new array; users call Subclass.apply(*operands,
    **params) with tensors, arrays or numbers. saved is what forward saw, params its keyword arguments. An instance made
    with params is a function of tensors. The hook Function.record(function, tensors, output), if there is one, is called
    after each operation.
    """

    record = None

    def __init__(self, **params):
        self.params = params

    def __call__(self, *operands):
        """Apply with the parameters of this instance: Sum(axes=(0,))(x)."""
        return self.apply(*operands, **self.params)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.params.items())})"

    def forward(self, *arrays, **params):
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def prepare(self, tensors):
        """What forward gets: the arrays of the tensors, all of one dtype."""
        dtypes = [t.dtype for t in tensors]
        if len(set(dtypes)) == 1:
            return tuple(t.numpy() for t in tensors)
        dtype = functools.reduce(result_type, dtypes)
        return tuple(t.numpy().astype(dtype, copy=False) for t in tensors)

    def run(self, tensors):
        self.saved = self.prepare(tensors)
        output = native_forward(self, tensors)  # by a compiled kernel, if there is one for this class and these arrays
        if output is NotImplemented:
            with np.errstate(all="ignore"), reused_memory():
                output = np.asarray(self.forward(*self.saved, **self.params), order="C")
        return Tensor.from_numpy(output)

    @classmethod
    def apply(cls, *operands, **params):
        function = cls(**params)
        tensors = as_tensors(operands)
        output = function.run(tensors)
        if Function.record is not None:
            Function.record(function, tensors, output)
        return output


class Elementwise(Function):
    """An operation on elements that stand in the same place: operands are broadcast to one shape first."""

    def prepare(self, tensors):
        if len({t.shape for t in tensors}) > 1:
            shape = broadcast_shapes(*(t.shape for t in tensors))
            tensors = [Tensor.from_storage(t.storage, expand_layout(t.layout, shape)) for t in tensors]
        return super().prepare(tensors)


class View(Function):
    """An operation that moves no data: forward maps the layout of its operand to the layout of its result."""

    def run(self, tensors):
        self.saved = tuple(t.layout for t in tensors)
        return Tensor.from_storage(tensors[0].storage, self.forward(*self.saved, **self.params))


def as_tensors(operands):
    """Operands as tensors. A number takes the dtype that result_type gives it beside the others."""
    if all(isinstance(x, Tensor) for x in operands):
        return operands
    values = [_as_operand(x) for x in operands]
    dtypes = [v.dtype for v in values if isinstance(v, Tensor)]
    numbers = [v for v in values if not isinstance(v, Tensor)]
    dtype = functools.reduce(result_type, dtypes + numbers, False)  # two numbers would make a dtype: those last
    return tuple(v if isinstance(v, Tensor) else Tensor(v, dtype) for v in values)


def _as_operand(x):
    """x as a tensor or a Python number."""
    value = Tensor(x) if isinstance(x, np.ndarray) else x.item() if isinstance(x, np.generic) else x
    if not isinstance(value, Tensor) and type(value) not in DEFAULTS:
        raise DTypeError(f"an operand is a tensor, an array or a number, got {type(value).__name__}")
    return value


# %%
#| export
class Tensor:
    """An n-dimensional array: a storage, and the layout through which it is read.

    Tensor(data, dtype=None) copies numbers, nested lists, arrays or a tensor. Without a dtype, arrays and tensors keep
    theirs; Python floats become float32, ints int64, bools bool. Views share the storage of their source.
    requires_grad, grad and grad_fn are marks for autograd; nothing here reads them.
    """

    requires_grad = False
    grad = None
    grad_fn = None
    __array_ufunc__ = None  # array + tensor asks the tensor
    __hash__ = object.__hash__

    def __init__(self, data, dtype=None, requires_grad=False):
        array = as_array(data, dtype)
        self.storage = Storage(array.reshape(-1))
        self.layout = Layout(array.shape, contiguous_strides(array.shape))
        self.requires_grad = requires_grad

    @staticmethod
    def from_storage(storage, layout):
        """A tensor that reads an existing storage."""
        tensor = Tensor.__new__(Tensor)
        tensor.storage, tensor.layout = storage, layout
        return tensor

    @staticmethod
    def from_numpy(array):
        """A tensor on the memory of a row-major array: a write to one shows in the other."""
        if array.dtype not in SUPPORTED:
            raise DTypeError(f"cannot share memory of dtype {array.dtype}; Tensor(array, dtype=...) converts a copy")
        if not array.flags.c_contiguous:
            raise ShapeError(f"cannot share an array of shape {array.shape}, not row-major; Tensor(array) copies it")
        return Tensor.from_storage(Storage(array.reshape(-1)), Layout(array.shape, contiguous_strides(array.shape)))

    @property
    def shape(self):
        return self.layout.shape

    @property
    def strides(self):
        """Places to walk for one step along each axis, in elements."""
        return self.layout.strides

    @property
    def offset(self):
        return self.layout.offset

    @property
    def dtype(self):
        return self.storage.data.dtype

    @property
    def ndim(self):
        return len(self.layout.shape)

    def numel(self):
        """How many elements the tensor shows."""
        return math.prod(self.layout.shape)

    @property
    def nbytes(self):
        """Bytes of the elements that this tensor shows; storage.nbytes is what it keeps alive."""
        return self.numel() * self.storage.data.itemsize

    def is_contiguous(self):
        return is_contiguous(self.layout)

    def shares_storage(self, other):
        """Whether a write in place to one of the two can show in the other."""
        return self.storage is other.storage

    def numpy(self):
        """The elements as a NumPy array on the same memory, read-only if elements share a place."""
        return strided(self.storage.data, self.layout)

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        return array.astype(array.dtype if dtype is None else dtype, copy=bool(copy))

    def tolist(self):
        return self.numpy().tolist()

    def item(self):
        """The one element as a Python number."""
        if self.numel() != 1:
            raise ShapeError(f"item() wants one element, shape {self.shape} has {self.numel()}")
        return self.numpy().item()

    def __bool__(self):
        return bool(self.item())

    def __int__(self):
        return int(self.item())

    def __float__(self):
        return float(self.item())

    def __len__(self):
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        text = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
        return f"Tensor({text}, shape={self.shape}, dtype={self.dtype})"

    # Views. None of these copies, but reshape and contiguous where they say so.

    def permute(self, *axes):
        return Permute.apply(self, axes=_unpack(axes))

    def transpose(self, axis0=-2, axis1=-1):
        """Exchange two axes, the last two by default."""
        axes = list(range(self.ndim))
        a, b = normal_axis(axis0, self.ndim), normal_axis(axis1, self.ndim)
        axes[a], axes[b] = b, a
        return self.permute(*axes)

    @property
    def T(self):
        """All axes in reverse order."""
        return self.permute(*reversed(range(self.ndim)))

    def expand(self, *shape):
        return Expand.apply(self, shape=_unpack(shape))

    def __getitem__(self, key):
        return Slice.apply(self, key=full_key(key, self.ndim))

    def view(self, *shape):
        """Another shape on the same storage; one length may be -1. Raises ShapeError if only a copy can have it."""
        return Reshape.apply(self, shape=infer_shape(_unpack(shape), self.numel()))

    def reshape(self, *shape):
        """Another shape; one length may be -1. A view if there is one, a copy otherwise: shares_storage tells which."""
        shape = infer_shape(_unpack(shape), self.numel())
        source = self if reshape_layout(self.layout, shape) is not None else Contiguous.apply(self)
        return Reshape.apply(source, shape=shape)

    def contiguous(self):
        """This tensor if it is contiguous, a row-major copy otherwise."""
        return self if self.is_contiguous() else Contiguous.apply(self)

    def astype(self, dtype):
        """A copy in another dtype. Integers that are too large wrap around, fractions are cut off."""
        return Cast.apply(self, dtype=as_dtype(dtype))

    # Writes in place. All views of the storage see them.

    def _write(self, values):
        write(self.storage.data, self.layout, values.numpy())
        self.storage.version += 1
        return self

    def copy_(self, other):
        return self._write(as_tensors((self, other))[1])

    def fill_(self, value):
        return self.copy_(value)

    def add_(self, other):
        return self._write(self + other)

    def sub_(self, other):
        return self._write(self - other)

    def mul_(self, other):
        return self._write(self * other)

    def div_(self, other):
        return self._write(self / other)

    def __setitem__(self, key, value):
        Tensor.from_storage(self.storage, slice_layout(self.layout, full_key(key, self.ndim))).copy_(value)

    # Operations that make new tensors.

    def __add__(self, other):
        return Add.apply(self, other)

    def __radd__(self, other):
        return Add.apply(other, self)

    def __sub__(self, other):
        return Sub.apply(self, other)

    def __rsub__(self, other):
        return Sub.apply(other, self)

    def __mul__(self, other):
        return Mul.apply(self, other)

    def __rmul__(self, other):
        return Mul.apply(other, self)

    def __truediv__(self, other):
        return Div.apply(self, other)

    def __rtruediv__(self, other):
        return Div.apply(other, self)

    def __pow__(self, other):
        return Pow.apply(self, other)

    def __rpow__(self, other):
        return Pow.apply(other, self)

    def __neg__(self):
        return Neg.apply(self)

    def __matmul__(self, other):
        return MatMul.apply(self, other)

    def __rmatmul__(self, other):
        return MatMul.apply(other, self)

    matmul = __matmul__

    def __eq__(self, other):
        return Equal.apply(self, other) if _is_operand(other) else NotImplemented

    def __ne__(self, other):
        return NotEqual.apply(self, other) if _is_operand(other) else NotImplemented

    def __lt__(self, other):
        return Less.apply(self, other)

    def __le__(self, other):
        return LessEqual.apply(self, other)

    def __gt__(self, other):
        return Less.apply(other, self)

    def __ge__(self, other):
        return LessEqual.apply(other, self)

    def sum(self, axis=None, keepdims=False):
        """Sum over one axis, several, or all (None)."""
        return Sum.apply(self, axes=normal_axes(axis, self.ndim), keepdims=keepdims)

    def mean(self, axis=None, keepdims=False):
        """Mean over one axis, several, or all (None)."""
        return Mean.apply(self, axes=normal_axes(axis, self.ndim), keepdims=keepdims)

    def max(self, axis=None, keepdims=False):
        """Largest element over one axis, several, or all (None)."""
        return Max.apply(self, axes=normal_axes(axis, self.ndim), keepdims=keepdims)

    def argmax(self, axis=-1):
        """Index of the largest element along one axis, as int64."""
        return Tensor.from_numpy(np.asarray(self.numpy().argmax(normal_axis(axis, self.ndim)), int64))


def _unpack(shape):
    """Lengths or axes given one by one, or as a single tuple or list -> tuple."""
    return tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape


def _is_operand(x):
    return isinstance(x, Tensor | np.ndarray | np.generic | bool | int | float)


def as_array(data, dtype=None):
    """Numbers, nested lists, an array or a tensor as a new row-major array of a supported dtype."""
    typed = isinstance(data, Tensor | np.ndarray | np.generic)
    try:
        array = np.array(data, order="C")
    except ValueError:
        raise ShapeError("nested lists must be rectangular: rows of one length at each depth") from None
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"a tensor holds bools, integers or floats, got {array.dtype}: {str(data)[:40]}")
    if dtype is None:
        target = as_dtype(array.dtype) if typed else {"b": bool_, "f": float32}.get(array.dtype.kind, int64)
    else:
        target = as_dtype(dtype)
    if target.kind == "i" and array.dtype.kind != "b" and array.size:
        low, high = np.iinfo(target).min, np.iinfo(target).max
        if not (low <= array.min() and array.max() <= high):
            value = array.max() if low <= array.min() else array.min()
            raise DTypeError(f"{value} does not fit {target}, which holds {low} to {high}")
    with np.errstate(over="ignore"):
        return array.astype(target, copy=False)


def normal_axes(axis, ndim):
    """axis (None, an int, or several) as a tuple of ints from 0 to ndim - 1. None stands for all axes."""
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    axes = tuple(normal_axis(a, ndim) for a in axes)
    if len(set(axes)) < len(axes):
        raise ShapeError(f"axis {axis} names an axis twice")
    return axes


# %% [markdown]
# The view operations wrap your layout functions, one line each. The arithmetic needs no lesson: NumPy adds two arrays
# of the same shape and dtype. Comparisons give bool.

# %%
#| export
class Permute(View):
    def forward(self, layout, axes):
        return permute_layout(layout, axes)


class Slice(View):
    def forward(self, layout, key):
        return slice_layout(layout, key)


class Expand(View):
    def forward(self, layout, shape):
        return expand_layout(layout, shape)


class Reshape(View):
    def forward(self, layout, shape):
        result = reshape_layout(layout, shape)
        if result is None:
            raise ShapeError(f"shape {layout.shape} with strides {layout.strides} has no view of shape {shape}; "
                             "reshape() copies")
        return result


class Contiguous(Function):
    def forward(self, a):
        out = np.empty(a.shape, a.dtype)
        kernel("copy")(a, out)
        return out


class Cast(Function):
    def forward(self, a, dtype):
        return a.astype(dtype)


class Add(Elementwise):
    def forward(self, a, b):
        return a + b


class Sub(Elementwise):
    def forward(self, a, b):
        return a - b


class Mul(Elementwise):
    def forward(self, a, b):
        return a * b


class Neg(Elementwise):
    def forward(self, a):
        return -a


class Pow(Elementwise):
    """a to the power of b. Integers have no negative powers: DTypeError."""

    def forward(self, a, b):
        if a.dtype.kind == "i" and (b < 0).any():
            raise DTypeError(f"{a.dtype} has no negative powers: make one operand a float")
        return a**b


class Equal(Elementwise):
    def forward(self, a, b):
        return a == b


class NotEqual(Elementwise):
    def forward(self, a, b):
        return a != b


class Less(Elementwise):
    def forward(self, a, b):
        return a < b


class LessEqual(Elementwise):
    def forward(self, a, b):
        return a <= b


def zeros(shape, dtype=float32):
    return full(shape, 0, dtype)


def ones(shape, dtype=float32):
    return full(shape, 1, dtype)


def full(shape, value, dtype=None):
    """A tensor of one value; without a dtype, that of Tensor(value)."""
    return Tensor.from_numpy(np.full(shape, as_array(value, dtype)))


def arange(start, stop=None, step=1, dtype=None):
    """start, start + step, ... below stop; arange(n) counts from 0."""
    values = np.arange(start, step=step) if stop is None else np.arange(start, stop, step)
    return Tensor(values, dtype or (float32 if values.dtype.kind == "f" else int64))


# %% [markdown]
# See your work move. Before you run the cell: which of these lines change `x`?

# %% show
x = arange(12, dtype="float32").reshape(3, 4)
row, column, flipped = x[1], x[:, 1], x[::-1, ::-1]
print(x)
print("x      ", x.strides, x.offset, "contiguous" if x.is_contiguous() else "strided")
print("column ", column.strides, column.offset, "nbytes", column.nbytes, "keeps alive", column.storage.nbytes)
print("flipped", flipped.strides, flipped.offset)

row.fill_(0)
flipped[0].add_(100)
x.T.reshape(12).fill_(-1)
(x.T + 1).fill_(-2)
print(x)
print("writes seen by the storage:", x.storage.version)
print("x.T.reshape(12) shares storage with x:", x.T.reshape(12).shares_storage(x))

# %% [markdown]
# Errors are part of an interface. Each of these lines is refused by something you wrote or read; the message should be
# enough to repair it.

# %% show
x = ones((3, 4))
for attempt in (lambda: x + ones((5, 4)), lambda: x[3], lambda: x.reshape(5, -1), lambda: x.T.view(12),
                lambda: Tensor([1], "float23"), lambda: Tensor([300], "int8"),
                lambda: ones(4).expand(3, 4).add_(1), lambda: arange(3).add_(0.5)):
    try:
        attempt()
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        print(f"{type(error).__name__:13}{error}")

# %% [markdown]
# ## 8. Operations that think about dtype
#
# A `forward` gets arrays of one dtype, and, if the operation is elementwise, of one shape. Most are one line. These
# four are not, because their result or their accumulator needs another dtype than the operands.
#
# **Division.** 7 / 2 is 3.5 also for integers. Integers and bools divide to float32, whatever their width; floats keep
# their dtype. NumPy would give float64 for int64 and float16 for int8. Division by zero follows IEEE 754: infinity with
# a sign, or NaN for 0 / 0.
#
# **Sums.** Three traps, each with numbers.
#
# | sum of | in the operands' dtype | so the rule is |
# |---|---|---|
# | int8 100 + 100 | -56 | integers and bools sum to int64 |
# | float16, 5000 ones | 2048, and stuck: 2048 + 1 rounds to 2048 | float16 adds up in float32 and is rounded once |
# | float16 60000 + 60000, for a mean | infinity | a mean is divided before it is rounded: 60000 |
#
# **Means** of integers and bools are float32. The mean of no element is NaN. The sum of no element is 0.
#
# **Maxima** keep their dtype. A NaN among the elements is the result, so that it does not hide. No element has no
# maximum: `ShapeError`.
#
# `axes` is a tuple of axes from 0 on, already resolved. It may be empty: then nothing is summed. `keepdims` leaves
# reduced axes with length 1, and so the result broadcasts against its source.
#
# **Exercises 8.1 to 8.3** Division, sum and mean.

# %% solution="div"
#| export
class Div(Elementwise):
    """a / b. Integers and bools give float32, floats their own dtype."""

    def forward(self, a, b):
        ### BEGIN SOLUTION
        return a / b if a.dtype.kind == "f" else np.divide(a, b, dtype=float64).astype(float32)
        ### END SOLUTION


# %% solution="sum"
#| export
class Sum(Function):
    """Sum over axes, a tuple. Integers and bools give int64; float16 is accumulated in float32."""

    def forward(self, a, axes, keepdims=False):
        ### BEGIN SOLUTION
        if a.dtype.kind != "f":
            return a.sum(axes, dtype=int64, keepdims=keepdims)
        wide = float32 if a.dtype == float16 else a.dtype
        return a.sum(axes, dtype=wide, keepdims=keepdims).astype(a.dtype)
        ### END SOLUTION


# %% solution="mean"
#| export
class Mean(Function):
    """Mean over axes, a tuple. Integers and bools give float32; float16 is rounded once, at the end."""

    def forward(self, a, axes, keepdims=False):
        ### BEGIN SOLUTION
        count = math.prod(a.shape[axis] for axis in axes)
        wide = {"float16": float32, "float32": float32}.get(a.dtype.name, float64)
        total = a.sum(axes, dtype=wide, keepdims=keepdims)
        return np.true_divide(total, count).astype(a.dtype if a.dtype.kind == "f" else float32)
        ### END SOLUTION


# %% check="div" points=2
def divided(a, b):
    with np.errstate(all="ignore"):
        return np.asarray(Div().forward(a, b))

check("div", [case(np.array([7, -7, 1]), np.array([2, 2, 0])), case(np.array([1.5, 0.0]), np.array([2.0, 0.0]))],
      call=divided)

# %% hidden="div"
def cases(rng):
    for name in ("float64", "float32", "float16"):
        a, b = (rng.uniform(0.5, 4, size=(3, 4)).astype(name) for _ in range(2))
        yield case(a, b, behaviour="floats")
    for name in ("int64", "int32", "int8"):
        a, b = (rng.integers(1, 120, size=6).astype(name) for _ in range(2))
        yield case(a, -b, behaviour="integers and bools")
    yield case(np.array([True, False]), np.array([True, True]), behaviour="integers and bools")
    special = "zero, infinity and NaN"
    yield case(np.array([1.0, -1.0, 0.0, np.inf, np.nan]), np.array([0.0, 0.0, 0.0, np.inf, 1.0]), behaviour=special)
    yield case(np.array([5, -5, 0]), np.array([0, 0, 0]), behaviour=special)
    yield case(np.array(3, "int8"), np.array(2, "int8"), behaviour="no axes, no elements")
    yield case(np.zeros((2, 0), "float32"), np.zeros((2, 0), "float32"), behaviour="no axes, no elements")


# %% check="sum" points=2
def summed(a, axis=None, keepdims=False, transposed=False):
    a = a.T if transposed else a
    with np.errstate(all="ignore"):
        return np.asarray(Sum().forward(a, normal_axes(axis, a.ndim), keepdims))

check("sum", [
    case(np.array([[1.0, 2.0], [3.0, 4.0]], "float32"), axis=0),
    case(np.array([100, 100], "int8")),
    case(np.ones((5000, 2), "float16"), axis=0, keepdims=True),
], call=summed)

# %% hidden="sum"
def cases(rng):
    for axis, keepdims in ((0, False), (-1, True), ((0, 2), False), (None, False), ((-1, 1), True)):
        a = rng.uniform(0.5, 4, [int(n) for n in rng.integers(2, 6, 3)]).astype(rng.choice(["float32", "float64"]))
        yield case(a, axis=axis, keepdims=keepdims, transposed=bool(rng.random() < 0.5), behaviour="axes and keepdims")
    for name in ("int8", "int32", "bool", "int64"):
        a = rng.integers(0, 127, size=(40, 3)).astype(name)
        yield case(a, axis=0, behaviour="integers and bools sum to int64")
    yield case(np.array([2**31 - 1] * 3, "int32"), behaviour="integers and bools sum to int64")
    for n in (3000, 4500):
        yield case(np.ones((n, 3), "float16"), axis=0, behaviour="float16 accumulates in float32")
        yield case(rng.uniform(0, 1, (n, 2)).astype("float16"), axis=0, behaviour="float16 accumulates in float32")
    yield case(np.full(3, 40000, "float16"), behaviour="float16 accumulates in float32")
    edges = "no axes, no elements, NaN and infinity"
    yield case(np.zeros((3, 0), "float32"), axis=1, behaviour=edges)
    yield case(np.zeros((0, 3), "int8"), axis=1, keepdims=True, behaviour=edges)
    yield case(np.array(4, "int8"), behaviour=edges)
    yield case(np.array([[1.0, np.nan], [np.inf, 2.0], [np.inf, -np.inf]]), axis=1, behaviour=edges)


# %% check="mean" points=2
def averaged(a, axis=None, keepdims=False, transposed=False):
    a = a.T if transposed else a
    with np.errstate(all="ignore"):
        return np.asarray(Mean().forward(a, normal_axes(axis, a.ndim), keepdims))

check("mean", [
    case(np.array([[1.0, 2.0], [3.0, 4.0]], "float32"), axis=-1),
    case(np.array([1, 2], "int8")),
    case(np.array([60000, 60000], "float16")),
], call=averaged)

# %% hidden="mean"
def cases(rng):
    for axis, keepdims in ((0, False), (-1, True), ((0, 2), False), (None, False), ((1, -1), True)):
        a = rng.uniform(0.5, 4, [int(n) for n in rng.integers(2, 6, 3)]).astype(rng.choice(["float32", "float64"]))
        yield case(a, axis=axis, keepdims=keepdims, transposed=bool(rng.random() < 0.5), behaviour="axes and keepdims")
    for name in ("int8", "int32", "bool", "int64"):
        a = rng.integers(0, 127, size=(7, 3)).astype(name)
        yield case(a, axis=0, behaviour="integers and bools average to float32")
    yield case(np.array([2**31 - 1, 2**31 - 1], "int32"), behaviour="integers and bools average to float32")
    for n in (3000, 5000):
        yield case(rng.uniform(100, 200, (n, 2)).astype("float16"), axis=0, behaviour="float16 is rounded once")
    yield case(np.full((4, 4), 50000, "float16"), axis=1, behaviour="float16 is rounded once")
    edges = "no axes, no elements, NaN and infinity"
    yield case(np.zeros((3, 0), "float32"), axis=1, behaviour=edges)
    yield case(np.zeros((0, 3), "int8"), axis=1, behaviour=edges)
    yield case(np.array(3.5), behaviour=edges)
    yield case(np.array([[1.0, np.nan], [np.inf, 2.0], [np.inf, -np.inf]]), axis=1, behaviour=edges)


# %% [markdown]
# **Exercise 8.4** The maximum. Think about which axes may have length 0: a (0, 3) tensor has a maximum along axis 1,
# the empty one of shape (0,).

# %% solution="max"
#| export
class Max(Function):
    """Largest element over axes, a tuple; NaN if one is NaN. Raises ShapeError if there is no element to take it of."""

    def forward(self, a, axes, keepdims=False):
        ### BEGIN SOLUTION
        empty = [axis for axis in axes if a.shape[axis] == 0]
        if empty:
            raise ShapeError(f"max over axis {empty[0]} of shape {a.shape}: there is no element")
        return a.max(axes, keepdims=keepdims)
        ### END SOLUTION


# %% check="max" points=2
def largest(a, axis=None, keepdims=False, transposed=False):
    a = a.T if transposed else a
    return np.asarray(Max().forward(a, normal_axes(axis, a.ndim), keepdims))

check("max", [
    case(np.array([[1, 5], [7, 2]]), axis=1),
    case(np.array([[1.0, np.nan], [3.0, 2.0]]), axis=0, keepdims=True),
    case(np.zeros((3, 0)), axis=1),
], call=largest)

# %% hidden="max"
def cases(rng):
    for axis, keepdims in ((0, False), (-1, True), ((0, 2), False), (None, False), ((1, -1), True)):
        a = -rng.uniform(1, 9, size=[int(n) for n in rng.integers(2, 6, 3)]).astype("float32")
        yield case(a, axis=axis, keepdims=keepdims, transposed=bool(rng.random() < 0.5), behaviour="axes and keepdims")
    for name in ("int8", "int64", "bool", "float16"):
        yield case((rng.normal(size=(4, 3)) * 50).astype(name), axis=0, behaviour="the dtype is kept")
    a = rng.normal(size=(3, 4))
    a[1, 2] = np.nan
    yield case(a, axis=1, behaviour="NaN and infinity")
    yield case(np.array([-np.inf, -np.inf]), behaviour="NaN and infinity")
    yield case(np.zeros((0, 3)), axis=1, behaviour="no axes, no elements")
    yield case(np.array(-4), behaviour="no axes, no elements")
    yield case(np.zeros((0, 3)), axis=0, behaviour="nothing to take a maximum of is refused")
    yield case(np.zeros((2, 0), "int8"), behaviour="nothing to take a maximum of is refused")


# %% [markdown]
# ## 9. The matrix product
#
# Row by column: $c_{ij} = \sum_k a_{ik} b_{kj}$. An (M, K) times a (K, N) matrix takes M·N·K multiply-adds, each a
# multiplication and an addition: 2·M·N·K floating-point operations.
#
# $$\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} \begin{pmatrix} 5 & 6 \\ 7 & 8 \end{pmatrix}
# = \begin{pmatrix} 1 \cdot 5 + 2 \cdot 7 & 1 \cdot 6 + 2 \cdot 8 \\
# 3 \cdot 5 + 4 \cdot 7 & 3 \cdot 6 + 4 \cdot 8 \end{pmatrix}
# = \begin{pmatrix} 19 & 22 \\ 43 & 50 \end{pmatrix}$$
#
# **Exercise 9.1** Write it once in three plain loops, so that you know what is being counted. No product or sum of
# whole arrays: you will time this function below.
#
# **Exercise 9.2** Then the real one, in which NumPy does the multiplying and you guard the door. Its rules, for any
# number of axes:
#
# * The last two axes are matrices. Axes before them are a batch and broadcast: (8, 1, 2, 3) @ (5, 3, 4) is (8, 5, 2,
#   4).
# * A vector on the left is a row, on the right a column; its extra axis disappears from the result: (3,) @ (3, 4) is
#   (4,).
# * A number without axes, unequal inner lengths, or batch axes that do not broadcast raise `ShapeError` with both
#   shapes in the message.

# %% solution="matmul_loops"
def matmul_loops(a, b):
    """The product of a (M, K) and b (K, N), by three loops -> array (M, N) of a's dtype.

    Raises ShapeError if the inner lengths differ.
    """
    ### BEGIN SOLUTION
    (m, k), (inner, n) = a.shape, b.shape
    if k != inner:
        raise ShapeError(f"matmul of {a.shape} and {b.shape}: inner lengths {k} and {inner} differ")
    out = np.zeros((m, n), a.dtype)
    for i in range(m):
        for j in range(n):
            for p in range(k):
                out[i, j] += a[i, p] * b[p, j]
    return out
    ### END SOLUTION


# %% solution="matmul"
#| export
class MatMul(Function):
    """The matrix product over the last two axes; axes before them broadcast, vectors count as one row or column.

    Raises ShapeError, with both shapes in its message, if a side has no axes, inner lengths differ or batches do not
    fit.
    """

    def forward(self, a, b):
        ### BEGIN SOLUTION
        if a.ndim == 0 or b.ndim == 0:
            raise ShapeError(f"matmul of {a.shape} and {b.shape}: a number has no rows or columns, use *")
        inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
        if a.shape[-1] != inner:
            raise ShapeError(f"matmul of {a.shape} and {b.shape}: inner lengths {a.shape[-1]} and {inner} differ")
        try:
            return np.matmul(a, b)
        except ValueError:
            raise ShapeError(f"matmul of {a.shape} and {b.shape}: batch axes {a.shape[:-2]} and {b.shape[:-2]} "
                             "do not broadcast") from None
        ### END SOLUTION


# %% check="matmul_loops" points=2
check("matmul_loops", [
    case(np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8]])),
    case(np.ones((2, 3)), np.ones((2, 3))),
], forbid=("@", "np.matmul", "np.dot", "np.einsum", "np.inner", "np.tensordot", "np.vdot", "np.outer", "np.sum"))

# %% hidden="matmul_loops"
def cases(rng):
    for name in ("float64", "int64", "float32", "float64"):
        m, k, n = (int(v) for v in rng.integers(1, 6, 3))
        a, b = (rng.integers(-9, 10, shape).astype(name) for shape in ((m, k), (k, n)))  # exact in any order
        yield case(a, b, behaviour="the product")
    yield case(np.ones((2, 0)), np.ones((0, 3)), behaviour="no elements")
    yield case(np.ones((0, 2)), np.ones((2, 3)), behaviour="no elements")
    for a, b in (((2, 3), (2, 4)), ((3, 1), (3, 1))):
        yield case(np.ones(a), np.ones(b), behaviour="unequal inner lengths are refused")


# %% check="matmul" points=4
def product(a, b, transposed=False):
    try:
        return np.asarray(MatMul().forward(a.T if transposed else a, b))
    except ShapeError as error:
        return {"the message names": [str(x.shape) in str(error) for x in (a, b)]}

check("matmul", [
    case(np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)),
    case(np.ones((2, 1, 2, 3), "float32"), np.ones((5, 3, 4), "float32")),
    case(np.ones((2, 3)), np.ones((4, 2))),
], call=product)

# %% hidden="matmul"
def cases(rng):
    def normal(*shape):
        return rng.normal(size=shape)

    for name in ("float64", "float32", "int64"):
        m, k, n = (int(v) for v in rng.integers(2, 8, 3))
        a, b = (rng.integers(-9, 10, (k, width)).astype(name) for width in (m, n))  # exact in any order
        yield case(a, b, transposed=True, behaviour="matrices")
    m, k, n, b = (int(v) for v in rng.integers(2, 6, 4))
    yield case(normal(b, m, k), normal(b, k, n), behaviour="batches broadcast")
    yield case(normal(b, 1, m, k), normal(3, k, n), behaviour="batches broadcast")
    yield case(normal(m, k), normal(2, b, k, n), behaviour="batches broadcast")
    yield case(normal(k), normal(k, n), behaviour="vectors")
    yield case(normal(m, k), normal(k), behaviour="vectors")
    yield case(normal(k), normal(k), behaviour="vectors")
    yield case(normal(k), normal(b, k, n), behaviour="vectors")
    edges = "no elements, NaN and infinity"
    yield case(normal(m, 0), normal(0, n), behaviour=edges)
    yield case(normal(0, m, k), normal(k, n), behaviour=edges)
    yield case(np.array([[np.nan, 1.0], [np.inf, 2.0]]), np.array([[1.0], [2.0]]), behaviour=edges)
    for a, b in (((2, 3), (2, 3)), ((4,), (3,)), ((2, 3, 4), (5, 4, 2)), ((), (3, 3)), ((3,), ()), ((2, 2, 3), (4,))):
        yield case(np.ones(a), np.ones(b), behaviour="shapes that do not fit are named")


# %% [markdown]
# ## 10. A network runs
#
# Two layers on a batch of 32 images that arrive as int8. Each of the lines in the middle is made of what you wrote.

# %% show
rng = np.random.default_rng(0)
images = Tensor(rng.integers(0, 17, (32, 8, 8)).astype("int8"))
w1, b1 = Tensor(rng.normal(0, 0.2, (64, 32)), "float32"), zeros(32)
w2, b2 = Tensor(rng.normal(0, 0.2, (32, 10)), "float32"), zeros(10)

flat = images.reshape(32, -1) / 16
hidden = flat @ w1 + b1
hidden = hidden * (hidden > 0)
logits = hidden @ w2 + b2
centred = logits - logits.max(axis=1, keepdims=True)
print("images", images.dtype, images.nbytes, "B; logits", logits.dtype, logits.shape, logits.nbytes, "B")
print("largest centred logit of each image is 0:", (centred.max(axis=1) == 0).numpy().all())
print("first predictions:", logits.argmax(axis=1)[:8].tolist())

# %% [markdown]
# ## 11. What it costs
#
# Predict, then measure. A prediction is locked when you run its cell, and the measurement below refuses to run before.
# The point is not to be right; it is to find out where your picture of the machine is wrong. State the interval so that
# you would be surprised in one case of ten.

# %% show
import time
import tracemalloc


def best(f, repeat=7):
    """Shortest of several runs, in seconds: the one that was disturbed least."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def peak(f):
    """Most bytes allocated at a time while f runs, by tracemalloc: arrays and Python objects together."""
    tracemalloc.start()
    try:
        f()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

# %% [markdown]
# ### 11.1 Views are free. What do they keep?
#
# `x` is a float32 tensor of shape (4096, 4096). Run in this order:
#
# ```python
# y = x[:, ::2].transpose()
# z = y.contiguous()
# del x
# ```
#
# How many bytes do all storages together hold at the end?

# %% answer="alive_bytes" points=2
alive_bytes = ""  # a number with its unit, such as "16 MiB"
### BEGIN SOLUTION
alive_bytes = f"{(4096 * 4096 + 4096 * 2048) * 4} B"
### END SOLUTION

# %% key="alive_bytes"
from mlsysbook import Key, Mistake


def key(v):
    whole, half = 4096 * 4096 * 4, 4096 * 2048 * 4
    return Key(whole + half, "B", tol=0.02, mistakes=[
        Mistake(half, 0.25, "y reads x's storage, so the storage lives on after `del x`"),
        Mistake(2 * half, 0.25, "y is a view: it has no bytes of its own, and it keeps the whole of x's storage alive"),
        Mistake(whole + 2 * half, 0.25, "y is a view and adds no storage of its own"),
    ])

# %% [markdown]
# Now measure with the counter in `Storage`, and look at the peak of a view against that of a copy.

# %% show
def mib(n):
    return f"{n / 2**20:.0f} MiB"


before = Storage.live_bytes
x = zeros((4096, 4096))
y = x[:, ::2].transpose()
z = y.contiguous()
del x
print("all storages hold", mib(Storage.live_bytes - before))
print("y shows", mib(y.nbytes), "and keeps", mib(y.storage.nbytes))
print("z shows", mib(z.nbytes), "and keeps", mib(z.storage.nbytes))
for name, action in (("view", y.transpose), ("copy", y.contiguous)):
    print(f"a {name}: {peak(action):10,} B at the peak, {best(action) * 1e6:10,.1f} µs")
x = y = z = action = None

# %% [markdown]
# ### 11.2 The same bytes in another order
#
# `x` is a float32 tensor of shape (2048, 2048), 16 MiB. Copying `x` into new memory and copying `x.transpose()` into
# new row-major memory move the same bytes. **How many times longer does the second take**, in NumPy? The cell below
# also times the copy kernel that TinyTorch compiles.

# %% predict="transpose_copy" points=1
# predict("transpose_copy", "number", low="number", high="number")
### BEGIN SOLUTION
predict("transpose_copy", "8", low="2", high="30")
### END SOLUTION

# %% show
a = np.ones((2048, 2048), "float32")
out = np.empty_like(a)
straight, turned = best(lambda: np.copyto(out, a)), best(lambda: np.copyto(out, a.T))
tiled = best(lambda: kernel("copy")(a.T, out))
reveal("transpose_copy", f"{turned / straight:.3g}")
print(f"row-major {straight * 1e3:.2f} ms, transposed {turned * 1e3:.2f} ms")
print(f"transposed by TinyTorch's kernel {tiled * 1e3:.2f} ms, {tiled / straight:.3g} times as long as row-major")

# %% [markdown]
# Memory does not come in floats but in **cache lines**, 64 bytes on most processors. A row-major walk uses all 16
# floats of a line. A walk down a column uses one and moves on, and with 8 KiB between rows the line has usually left
# the nearest cache when its next float is wanted. The compiled kernel copies the matrix in small square tiles, so that
# a line is used up while it is there. Where it could not be compiled, NumPy stands in for it, and the last two times
# agree.
#
# ### 11.3 Fewer elements
#
# `x` is a float32 tensor of shape (4096, 4096). `x[:, ::16]` has one sixteenth of its elements. **How many times
# faster** is a copy of it than a copy of `x`?

# %% predict="skip_copy" points=1
# predict("skip_copy", "number", low="number", high="number")
### BEGIN SOLUTION
predict("skip_copy", "2", low="1", high="8")
### END SOLUTION

# %% show
a = np.ones((4096, 4096), "float32")
times = {}
for step in (1, 2, 4, 8, 16, 32, 64):
    part = a[:, ::step]
    out = np.empty(part.shape, a.dtype)
    times[step] = best(lambda part=part, out=out: np.copyto(out, part))
reveal("skip_copy", f"{times[1] / times[16]:.3g}")
for step, seconds in times.items():
    count = a.size // step
    print(f"step {step:2}: {count:10,} elements, {seconds * 1e3:7.2f} ms, {seconds / count * 1e9:6.2f} ns an element")

# %% [markdown]
# Up to a step of 16 every line of the matrix is still fetched, so the price of one element climbs. Beyond it whole
# lines are skipped, and the price levels off; not at once, since processors also fetch neighbouring lines unasked.
#
# ### 11.4 Fewer bytes
#
# A float16 is half the size of a float32. Two tensors of a million elements are added. **By what factor does the time
# change** from float32 to float16? 0.5 means half the time, 2 means twice the time.

# %% predict="half_add" points=1
# predict("half_add", "number", low="number", high="number")
### BEGIN SOLUTION
predict("half_add", "20", low="0.5", high="100")
### END SOLUTION

# %% show
adding, summing, held = {}, {}, {}
for name in DTYPES:
    x = ones(1_000_000, name)
    adding[name], summing[name] = best(lambda x=x: x + x), best(x.sum)
    held[name] = x.storage.nbytes
reveal("half_add", f"{adding['float16'] / adding['float32']:.3g}")
print("dtype        storage       x + x     x.sum()")
for name in DTYPES:
    print(f"{name:10}  {held[name] / 1e6:5.1f} MB  {adding[name] * 1e3:7.2f} ms  {summing[name] * 1e3:7.2f} ms")

# %% [markdown]
# Where the processor has an instruction for a dtype, the time of an addition follows the bytes. On most machines NumPy
# has none for float16: it converts each element to float32, adds, and converts back. A dtype saves memory everywhere.
# It saves time only where hardware and library both know it, which is worth remembering for module 15.
#
# ### 11.5 A product by broadcasting
#
# With broadcasting the matrix product needs no `MatMul`:
#
# ```python
# (x[:, :, None] * w[None, :, :]).sum(axis=1)
# ```
#
# `x` is float32 of shape (512, 1024), `w` of shape (1024, 256). The two views are free. How many bytes does the product
# take that `sum` then reads?

# %% answer="product_bytes" points=2
product_bytes = ""  # a number with its unit, such as "16 MiB"
### BEGIN SOLUTION
product_bytes = f"{512 * 1024 * 256 * 4} B"
### END SOLUTION

# %% key="product_bytes"
def key(v):
    m, k, n, size = 512, 1024, 256, 4
    return Key(m * k * n * size, "B", tol=0.02, mistakes=[
        Mistake(m * k * n, 0.5, "that counts elements; a float32 takes 4 bytes"),
        Mistake(m * n * size, 0.25, "that is the result after `sum`; the product still has the axis of length 1024"),
        Mistake((m * k + k * n) * size, 0.25,
                "that is what the operands hold; the product has one element for each i, k, j"),
    ])

# %% [markdown]
# And in time? Suppose that `matmul_loops` makes 4 million multiply-adds a second. How long does it take for two
# matrices of 1024 × 1024?

# %% answer="loop_time" points=2
loop_time = ""  # a number with its unit, such as "90 s"
### BEGIN SOLUTION
loop_time = f"{1024**3 / 4e6} s"
### END SOLUTION

# %% key="loop_time"
def key(v):
    n, rate = 1024, 4e6
    return Key(n**3 / rate, "s", tol=0.02, mistakes=[
        Mistake(2 * n**3 / rate, 0.5, "the rate is in multiply-adds, and you counted each as two operations"),
        Mistake(n**2 / rate, 0.25, "each of the 1024² results takes 1024 multiply-adds"),
    ])

# %% [markdown]
# Measure both, at a size that a laptop forgives: each length a quarter of the first question, so 1/64 of its bytes, and
# the loops on 48 × 48 matrices.

# %% show
x, w = ones((128, 256)), ones((256, 64))
products = {"broadcasting": lambda: (x[:, :, None] * w[None, :, :]).sum(axis=1), "MatMul": lambda: x @ w}
print("              peak by tracemalloc   peak by Storage       time")
for name, product_of in products.items():
    Storage.peak_bytes = held = Storage.live_bytes
    seconds = best(product_of, 3)
    stored = Storage.peak_bytes - held
    print(f"{name:12}  {peak(product_of) / 2**20:15.2f} MiB  {stored / 2**20:12.2f} MiB  {seconds * 1e3:7.3f} ms")

n = 48
a = np.ones((n, n), "float32")
loops = n**3 / best(lambda: matmul_loops(a, a), 3)
b = np.ones((1024, 1024), "float32")
library = 1024**3 / best(lambda: b @ b, 3)
print(f"multiply-adds a second: {loops:.3g} in three loops, {library:.3g} in NumPy, {library / loops:,.0f} times that")
print(f"1024 x 1024 in three loops, at the rate of this machine: {1024**3 / loops:.0f} s")

# %% [markdown]
# ## 12. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="kept_views" points=4
# A training script logs the hardest example of every batch: `worst.append(batch[i])`, where `batch` is a float32 tensor
# of shape (256, 3, 224, 224) and `i` an int. After 100 batches the process has grown by about 15 GB, although the list
# holds only 100 images. In six to ten sentences: explain the growth with storage, layout and numbers; say which two
# attributes of a `Tensor` show it; propose a repair and what it costs; and name one situation in which keeping the view
# is the better choice.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. `batch[i]` is a view: a layout on the batch's storage, which lives as long as any tensor reads it. The numbers: an
#    image is 3·224·224·4 B ≈ 0.60 MB, a storage 256 times that ≈ 154 MB, and 100 of them ≈ 15.4 GB against 60 MB.
# 2. `nbytes` (what the tensor shows) against `storage.nbytes` (what it keeps alive). `shares_storage` alone shows the
#    sharing but not the size.
# 3. A copy of the one image, such as `Tensor(batch[i])`, at 0.60 MB of traffic each way. `contiguous()` earns no point:
#    the view of one image is already contiguous, so it returns the view itself.
# 4. A situation in which the view is right: the batch lives as long anyway; the view is short-lived; or writes through
#    it are wanted.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# A tensor is a flat buffer and a layout. Views rewrite the layout: they cost no bytes, and they keep the whole buffer.
# Broadcasting is a stride of zero, contiguity a property of shape and strides, and time is a matter of cache lines and
# instructions as much as of element counts.
#
# The same parts under their names in PyTorch:
#
# | here | PyTorch |
# |---|---|
# | `Storage` | `torch.UntypedStorage`, from `x.untyped_storage()`; there it counts bytes and has no dtype |
# | `Layout` | `x.shape`, `x.stride()`, `x.storage_offset()`; `torch.as_strided` sets them freely |
# | `reshape_layout`, `None` | `Tensor.view` raises an error where `Tensor.reshape` copies |
# | `expand_layout` | `Tensor.expand`, strides of zero as well |
# | `Elementwise` | `TensorIterator`: broadcasts, promotes, merges axes as `reshape_layout` does, orders the loops |
# | `result_type` | `torch.result_type`; there a tensor without axes is nearly as weak as a Python number |
# | `OverlapError` | "more than one element of the written-to tensor refers to a single memory location" |
# | `Storage.version` | `x._version`, by which autograd notices that a saved tensor was overwritten |
# | `Function.saved` | `ctx.save_for_backward` of `torch.autograd.Function` |
#
# Module 02 adds the functions that make a network more than one matrix: activations. Their first lesson is that a
# formula that is right on paper can overflow in float32.
