# Exported from modules/tinytorch/01_tensor by `mlsys build`; edit the module's source, not this file.

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


class Layout(NamedTuple):
    """Where elements lie in a flat buffer: element (i, j, ...) is at offset + i * strides[0] + j * strides[1] + ..."""

    shape: tuple
    strides: tuple
    offset: int = 0


def contiguous_strides(shape):
    """Row-major strides of a tensor of this shape, in elements -> tuple of ints."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def is_contiguous(layout):
    """Whether the elements of the layout, in row-major order, lie in consecutive places -> bool."""
    if 0 in layout.shape:
        return True
    step = 1
    for n, stride in zip(reversed(layout.shape), reversed(layout.strides), strict=True):
        if n != 1 and stride != step:
            return False
        step *= n
    return True


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


def slice_layout(layout, key):
    """The layout of x[key], where x has this layout and key comes from full_key.

    Raises IndexError for an integer outside its axis.
    """
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


def broadcast_shapes(*shapes):
    """The shape that all shapes stretch to -> tuple. Raises ShapeError that names the shapes and the axis."""
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


def expand_layout(layout, shape):
    """The layout that reads the same elements as a tensor of the given, larger shape.

    Raises ShapeError, with both shapes in its message, if the layout's shape does not stretch to it.
    """
    added = len(shape) - len(layout.shape)
    fits = added >= 0 and all(n in (1, wanted) for n, wanted in zip(layout.shape, shape[added:], strict=True))
    if not fits:
        raise ShapeError(f"shape {layout.shape} does not stretch to {tuple(shape)}: "
                         "only axes of length 1 do, and new ones in front")
    kept = (stride if n == wanted else 0
            for n, wanted, stride in zip(layout.shape, shape[added:], layout.strides, strict=True))
    return Layout(tuple(shape), (0,) * added + tuple(kept), layout.offset)


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


def reshape_layout(layout, shape):
    """The layout of the same elements, in row-major order, cut into another shape; None if no strides describe it.

    shape has as many elements as the layout.
    """
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


def result_type(a, b):
    """The dtype of an operation on a and b, each a dtype or a Python number, which has a kind but no width."""
    def rank(x):
        dtype = x if isinstance(x, np.dtype) else DEFAULTS[type(x)]
        return KINDS.index(dtype.kind), dtype.itemsize if dtype is x else 0, dtype

    return max(rank(a), rank(b), key=lambda r: r[:2])[2]


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


def write(buffer, layout, values):
    """Store values, a NumPy array, at the places of a layout in a flat buffer. Changes buffer, returns nothing.

    Values are stretched to the layout's shape and converted to the buffer's dtype.
    Raises OverlapError if elements share a place, DTypeError if values are of a higher kind than the buffer,
    ShapeError if their shape does not stretch to the layout's.
    """
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


class Div(Elementwise):
    """a / b. Integers and bools give float32, floats their own dtype."""

    def forward(self, a, b):
        return a / b if a.dtype.kind == "f" else np.divide(a, b, dtype=float64).astype(float32)


class Sum(Function):
    """Sum over axes, a tuple. Integers and bools give int64; float16 is accumulated in float32."""

    def forward(self, a, axes, keepdims=False):
        if a.dtype.kind != "f":
            return a.sum(axes, dtype=int64, keepdims=keepdims)
        wide = float32 if a.dtype == float16 else a.dtype
        return a.sum(axes, dtype=wide, keepdims=keepdims).astype(a.dtype)


class Mean(Function):
    """Mean over axes, a tuple. Integers and bools give float32; float16 is rounded once, at the end."""

    def forward(self, a, axes, keepdims=False):
        count = math.prod(a.shape[axis] for axis in axes)
        wide = {"float16": float32, "float32": float32}.get(a.dtype.name, float64)
        total = a.sum(axes, dtype=wide, keepdims=keepdims)
        return np.true_divide(total, count).astype(a.dtype if a.dtype.kind == "f" else float32)


class Max(Function):
    """Largest element over axes, a tuple; NaN if one is NaN. Raises ShapeError if there is no element to take it of."""

    def forward(self, a, axes, keepdims=False):
        empty = [axis for axis in axes if a.shape[axis] == 0]
        if empty:
            raise ShapeError(f"max over axis {empty[0]} of shape {a.shape}: there is no element")
        return a.max(axes, keepdims=keepdims)


class MatMul(Function):
    """The matrix product over the last two axes; axes before them broadcast, vectors count as one row or column.

    Raises ShapeError, with both shapes in its message, if a side has no axes, inner lengths differ or batches do not
    fit.
    """

    def forward(self, a, b):
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
