# Exported from modules/tinytorch/17_acceleration by `mlsys build`; edit the module's source, not this file.

"""Acceleration: fewer trips to memory, and kernels written where they are needed.

    distances, product, epilogue        vectorised; tiled and threaded; fused
    product_traffic, parts              what a tile saves; who does what
    fuse(f, backend="numpy")            a function of arrays as one kernel: NumPy in blocks, or one compiled loop ("cython")
    trace, simplified, shared, buffers, numpy_source, cython_source      the compiler behind it, step by step
    all_reduce_seconds, break_even      what a sum over many ranks costs, around a ring and up and down a tree

A program is a list of instructions: ("input", name), ("const", number), or a ufunc's name with the numbers of earlier
instructions, such as ("add", 0, 1). The last one is the result.

Errors, each one line: ShapeError (operands that do not fit), ValueError (an unknown backend, an operation that the compiler
does not know, an output that overlaps an input), tinytorch.compile.CompileError (a kernel that does not compile).
"""

import math

import numpy as np

from tinytorch.compile import Kernel
from tinytorch.tensor import ShapeError, Tensor

# What the compiler knows: a ufunc of NumPy, and how C says it. Both give NaN where an operand of a maximum is NaN.
UFUNCS = {
    "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "divide": "{0} / {1}",
    "maximum": "({0} if {0} != {0} else ({0} if {0} > {1} else {1}))", "minimum": "({0} if {0} != {0} else ({0} if {0} < {1} else {1}))",
    "negative": "-{0}", "absolute": "fabsf({0})", "sqrt": "sqrtf({0})", "exp": "expf({0})", "tanh": "tanhf({0})",
}
COMMUTE = ("add", "multiply", "maximum", "minimum")
HEADER = "from libc.math cimport INFINITY, NAN, expf, fabsf, sqrtf, tanhf\n"


def distances(a, b):
    """Squared distances of points a (N, D) and b (M, D) -> (N, M), without an array of N * M * D numbers; never negative.

    Raises ShapeError for points of different dimensions.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ShapeError(f"points are (N, D) and (M, D) with the same D, got {a.shape} and {b.shape}")
    if len(a) and len(b):
        center = b.mean(axis=0)
        a, b = a - center, b - center
    out = a @ b.T
    out *= -2
    out += (a * a).sum(axis=1)[:, None]
    out += (b * b).sum(axis=1)
    return np.maximum(out, 0, out=out)


def product_traffic(m, k, n, tile, itemsize=4):
    """Bytes moved by (m, k) @ (k, n) in output tiles of tile x tile: rows of A and columns of B of each tile, and C once."""
    return (math.ceil(n / tile) * m * k + math.ceil(m / tile) * k * n + m * n) * itemsize


EPILOGUE = r"""
def epilogue(object[const float, ndim=2, mode="c"] x, object[const float, ndim=1, mode="c"] bias, float scale,
             object[const float, ndim=2, mode="c"] residual, object[float, ndim=2, mode="c"] out):
    cdef Py_ssize_t i, j, rows = x.shape[0], columns = x.shape[1]
    cdef float v
    with nogil:
        for i in range(rows):
            for j in range(columns):
                v = x[i, j] + bias[j]
                v = 0 if v < 0 else v
                out[i, j] = v * scale + residual[i, j]
"""


def epilogue(x, bias, scale, residual):
    """max(x + bias, 0) * scale + residual in one pass: x and residual (N, D), bias (D,), float32 -> (N, D).

    Raises ShapeError for operands that do not fit, tinytorch.compile.CompileError where nothing can be compiled.
    """
    if x.ndim != 2 or bias.shape != x.shape[1:] or residual.shape != x.shape:
        raise ShapeError(f"x (N, D), bias (D,) and residual (N, D), got {x.shape}, {bias.shape} and {residual.shape}")
    out = np.empty(x.shape, np.float32)
    x, bias, residual = (np.ascontiguousarray(array, np.float32) for array in (x, bias, residual))
    Kernel(EPILOGUE, "epilogue")(x, bias, scale, residual, out)
    return out


def parts(n, count):
    """n things for `count` workers: a list of (begin, end), sizes differ by one at most, larger ones first."""
    size, more = divmod(n, count)
    begins = [k * size + min(k, more) for k in range(count + 1)]
    return list(zip(begins[:-1], begins[1:], strict=True))


PRODUCT = r"""
from cython.parallel cimport prange

def product(object[const float, ndim=2, mode="c"] a, object[const float, ndim=2, mode="c"] b, object[float, ndim=2, mode="c"] c,
            Py_ssize_t tile, int threads):
    cdef Py_ssize_t rows = a.shape[0], inner = a.shape[1], columns = b.shape[1]
    cdef Py_ssize_t i, j, k, s, t, last
    cdef float v
    cdef Py_ssize_t tiles = (rows + tile - 1) // tile
    cdef Py_ssize_t inner_tiles = (inner + tile - 1) // tile
    for t in prange(tiles, nogil=True, num_threads=threads, schedule="static"):
        last = min(t * tile + tile, rows)
        for i in range(t * tile, last):
            for j in range(columns):
                c[i, j] = 0
        for s in range(inner_tiles):
            for i in range(t * tile, last):
                for k in range(s * tile, min(s * tile + tile, inner)):
                    v = a[i, k]
                    for j in range(columns):
                        c[i, j] += v * b[k, j]
"""


def product(a, b, tile=64, threads=1):
    """a @ b for float32 matrices, (M, K) and (K, N) -> (M, N): in tiles, rows of tiles on threads.

    Raises ShapeError for matrices that do not fit, tinytorch.compile.CompileError where nothing can be compiled.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ShapeError(f"a product wants (M, K) and (K, N), got {a.shape} and {b.shape}")
    a, b = (np.ascontiguousarray(array, np.float32) for array in (a, b))
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    Kernel(PRODUCT, "product")(a, b, out, tile, threads)
    return out


class Symbol(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands for an array while a function is traced: whatever a ufunc does to it becomes an instruction."""

    def __init__(self, program, number):
        self.program, self.number = program, number

    def __array_ufunc__(self, ufunc, method, *operands, **options):
        name = ufunc.__name__
        if any(np.ndim(operand) for operand in operands if not isinstance(operand, Symbol)):
            raise ValueError("arrays come into a traced function as its arguments; inside of it there are numbers only")
        if name == "power" and not isinstance(operands[1], Symbol) and operands[1] == 2:
            name, operands = "multiply", (operands[0], operands[0])
        if method != "__call__" or options or name not in UFUNCS:
            raise ValueError(f"the compiler does not know {ufunc.__name__}{'' if method == '__call__' else '.' + method}; "
                             f"it knows {', '.join(UFUNCS)} and x ** 2, without options")
        numbers = [operand.number if isinstance(operand, Symbol) else self.noted(("const", float(operand))) for operand in operands]
        return Symbol(self.program, self.noted((name, *numbers)))

    def noted(self, instruction):
        self.program.append(instruction)
        return len(self.program) - 1

    def __bool__(self):
        raise ValueError("a traced function cannot branch on a value; use np.maximum or np.minimum")


def trace(f):
    """The program of a function of arrays, whose parameters are its inputs. Raises ValueError for what is not elementwise."""
    program = []
    names = f.__code__.co_varnames[:f.__code__.co_argcount]
    inputs = []
    for name in names:
        program.append(("input", name))
        inputs.append(Symbol(program, len(program) - 1))
    result = f(*inputs)
    if not isinstance(result, Symbol):
        raise ValueError(f"a traced function returns what it made of its arguments, got {type(result).__name__}")
    return pruned(program, result.number)


def operands_of(instruction):
    """Numbers of the instructions that this one reads."""
    return () if instruction[0] in ("input", "const") else tuple(instruction[1:])


def pruned(program, result=None):
    """The program of instruction `result`, by default the last: what it does not need is gone, numbers are new."""
    result = len(program) - 1 if result is None else result
    needed = {result}
    for number in range(result, -1, -1):
        if number in needed:
            needed.update(operands_of(program[number]))
    new, kept = {}, []
    for number in sorted(needed):
        instruction = program[number]
        new[number] = len(kept)
        kept.append((instruction[0], *(new[k] for k in operands_of(instruction))) if operands_of(instruction) else tuple(instruction))
    return kept


def inputs_of(program):
    """Names of the inputs, each once, in order."""
    return list(dict.fromkeys(instruction[1] for instruction in program if instruction[0] == "input"))


def run(program, arrays):
    """The result of a program on {name: array}, instruction by instruction: what the compiled kernels have to agree with."""
    values = []
    for name, *rest in program:
        if name == "input":
            values.append(arrays[rest[0]])
        elif name == "const":
            values.append(rest[0])
        else:
            taken = [values[k] for k in rest]
            with np.errstate(all="ignore"):
                value = getattr(np, name)(*taken)
            values.append(float(value) if all(isinstance(v, float) for v in taken) else value)
    return values[-1]


def simplified(program):
    """A program with the same result on every float32 input, bit for bit, and fewer or cheaper operations."""
    new, where = [], []

    def constant(k):
        return new[k][1] if new[k][0] == "const" else None

    def is_zero(value, sign):
        return value == 0 and math.copysign(1, value) == sign

    for instruction in program:
        name, numbers = instruction[0], [where[k] for k in operands_of(instruction)]
        values, same = [constant(k) for k in numbers], None
        if numbers and None not in values:
            instruction = ("const", float(run([*(("const", v) for v in values), (name, *range(len(values)))], {})))
        elif numbers:
            instruction = (name, *numbers)
            if name == "negative" and new[numbers[0]][0] == "negative":
                same = new[numbers[0]][1]
            elif name in ("multiply", "divide") and values[1] == 1 or name == "add" and values[1] is not None and is_zero(values[1], -1) \
                    or name == "subtract" and values[1] is not None and is_zero(values[1], 1):
                same = numbers[0]
            elif name == "multiply" and values[0] == 1 or name == "add" and values[0] is not None and is_zero(values[0], -1):
                same = numbers[1]
            elif name == "divide" and values[1] is not None and abs(math.frexp(values[1])[0]) == 0.5 \
                    and 2.0**-126 <= abs(values[1]) <= 2.0**126:
                new.append(("const", 1 / values[1]))
                instruction = ("multiply", numbers[0], len(new) - 1)
        if same is None:
            new.append(instruction)
            same = len(new) - 1
        where.append(same)
    return pruned(new, where[-1])


def shared(program):
    """A program with the same result in which no value is computed twice."""
    new, where, known = [], [], {}
    for instruction in program:
        name, numbers = instruction[0], [where[k] for k in operands_of(instruction)]
        key = (name, *numbers) if numbers else (name, repr(instruction[1]))
        made = (name, *numbers) if numbers else tuple(instruction)
        if name in COMMUTE:
            key = (name, *sorted(numbers))
        if key not in known:
            known[key] = len(new)
            new.append(made)
        where.append(known[key])
    return pruned(new, where[-1])


def buffers(program):
    """For each instruction the number of the array that it writes to, None for inputs and constants; the result's is 0."""
    last = {}
    for number, instruction in enumerate(program):
        last.update(dict.fromkeys(operands_of(instruction), number))
    slots, free, count = [], [], 0
    for number, instruction in enumerate(program):
        if not operands_of(instruction):
            slots.append(None)
            continue
        free += {slots[k] for k in operands_of(instruction) if last[k] == number and slots[k] is not None}
        if not free:
            free.append(count)
            count += 1
        slots.append(free.pop())
    final = slots[-1]
    return slots if final is None else [{0: final, final: 0}.get(slot, slot) for slot in slots]


def numpy_source(program, slots, name="kernel"):
    """Python text of a function of the inputs and arrays t0, t1, ...; the result is in t0 and nothing else is made."""
    def term(k):
        kind, *rest = program[k]
        return rest[0] if kind == "input" else f"float({str(rest[0])!r})" if kind == "const" else f"t{slots[k]}"

    count = max([0, *(slot for slot in slots if slot is not None)]) + 1
    lines = [f"def {name}({', '.join([*inputs_of(program), *(f't{k}' for k in range(count))])}):"]
    for slot, instruction in zip(slots, program, strict=True):
        if operands_of(instruction):
            lines.append(f"    np.{instruction[0]}({', '.join(map(term, operands_of(instruction)))}, out=t{slot})")
    if not operands_of(program[-1]):
        lines.append(f"    np.copyto(t0, {term(len(program) - 1)})")
    return "\n".join(lines) + "\n"


def cython_source(program, name="kernel"):
    """Cython text of a function of the inputs, float32 with one axis, and `out`: one loop, no array but these."""
    def number(value):
        if math.isnan(value):
            return "NAN"
        return f"<float>({'-' if value < 0 else ''}INFINITY)" if math.isinf(value) else f"<float>({float(value)!r})"

    taken = [f'object[const float, ndim=1, mode="c"] {key}' for key in inputs_of(program)] + ['object[float, ndim=1, mode="c"] out']
    lines = [f"def {name}({', '.join(taken)}):", "    cdef Py_ssize_t i, n = out.shape[0]",
             f"    cdef float {', '.join(f'v{k}' for k in range(len(program)))}", "    with nogil:", "        for i in range(n):"]
    for k, (kind, *rest) in enumerate(program):
        said = f"{rest[0]}[i]" if kind == "input" else number(rest[0]) if kind == "const" else UFUNCS[kind].format(*(f"v{j}" for j in rest))
        lines.append(f"            v{k} = {said}")
    return "\n".join([*lines, f"            out[i] = v{len(program) - 1}"]) + "\n"


def traffic(program, itemsize=4):
    """Bytes for each element that a program moves: (operation by operation, as one loop)."""
    program = pruned(program)
    unfused = 0
    for instruction in program:
        read = {program[k] if program[k][0] == "input" else k for k in operands_of(instruction) if program[k][0] != "const"}
        unfused += len(read) + 1 if operands_of(instruction) else 0
    return unfused * itemsize, (len(inputs_of(program)) + 1) * itemsize


BLOCK = 1 << 17  # bytes of one array in a block: with a few of them, less than a core's own cache (0.5 to 2 MiB, level 2)


def compiled(f):
    """The program of a function, simplified and shared."""
    return shared(simplified(trace(f)))


class Fused:
    """A function of arrays as one kernel. program: what it computes; source: the generated text."""

    def __init__(self, f, backend):
        if backend not in ("numpy", "cython"):
            raise ValueError(f"a backend is 'numpy' or 'cython', got {backend!r}")
        self.program, self.backend, self.__name__ = compiled(f), backend, f.__name__
        self.parameters = f.__code__.co_varnames[:f.__code__.co_argcount]
        self.names = inputs_of(self.program)
        if backend == "cython":
            self.source = HEADER + cython_source(self.program)
            self.kernel = Kernel(self.source, "kernel")
        else:
            slots = buffers(self.program)
            self.source, made = numpy_source(self.program, slots), {"np": np}
            exec(self.source, made)  # noqa: S102
            self.kernel, self.slots = made["kernel"], max([0, *(slot for slot in slots if slot is not None)]) + 1

    def __call__(self, *arrays, out=None):
        """The result for float32 arrays or Tensors that broadcast; into `out`, a contiguous array, where that is given.

        Raises ShapeError for a wrong `out`, ValueError for an `out` that shares memory with an operand, for tensors that want
        gradients, and TypeError for a wrong number of operands.
        """
        if len(arrays) != len(self.parameters):
            raise TypeError(f"{self.__name__} takes {len(self.parameters)} arrays ({', '.join(self.parameters)}), got {len(arrays)}")
        tensors = any(isinstance(array, Tensor) for array in arrays)
        if any(isinstance(array, Tensor) and array.requires_grad for array in arrays):
            raise ValueError(f"{self.__name__}: a fused kernel has no backward; pass x.detach() where no gradient is wanted")
        arrays = [np.asarray(array.numpy() if isinstance(array, Tensor) else array, np.float32) for array in arrays]
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        if out is None:
            out = np.empty(shape, np.float32)
        elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise ShapeError(f"out is a contiguous float32 array of shape {shape}, got {out.dtype} {out.shape}")
        elif any(np.may_share_memory(out, array) for array in arrays):
            raise ValueError(f"{self.__name__}: out shares memory with an operand, which would be overwritten while it is read")
        taken = [array for name, array in zip(self.parameters, arrays, strict=True) if name in self.names]
        if out.size:
            (self.loop if self.backend == "cython" else self.blocks)(taken, out)
        return Tensor(out) if tensors else out

    def loop(self, arrays, out):
        """One compiled loop; operands that broadcast are written out first."""
        self.kernel(*(np.ascontiguousarray(np.broadcast_to(array, out.shape)).ravel() for array in arrays), out.reshape(-1))

    def blocks(self, arrays, out):
        """The NumPy kernel for some rows at a time."""
        if out.ndim == 0:
            out = out.reshape(1)
        elif all(array.shape == out.shape and array.flags.c_contiguous for array in arrays):
            arrays, out = [array.reshape(-1) for array in arrays], out.reshape(-1)
        rows = min(max(1, BLOCK // max(out[:1].nbytes, 1)), len(out))
        work = [np.empty((rows, *out.shape[1:]), np.float32) for _ in range(self.slots - 1)]
        with np.errstate(all="ignore"):
            for begin in range(0, len(out), rows):
                part = out[begin:begin + rows]
                taken = [a[begin:begin + rows] if a.ndim == out.ndim and len(a) > 1 else a for a in arrays]
                self.kernel(*taken, part, *(w[:len(part)] for w in work))


def fuse(f, backend="numpy"):
    """A function of arrays, elementwise, as one kernel for float32: "numpy" in blocks, or "cython", one compiled loop.

    Raises ValueError for another backend, and for what the compiler does not know.
    """
    return Fused(f, backend)


def all_reduce_seconds(size, world, latency, bandwidth):
    """Seconds to give the sum of `size` bytes to all of world ranks -> (around a ring, up and down a binary tree).

    A message of m bytes takes latency + m / bandwidth. Source: Thakur, Rabenseifner and Gropp 2005.
    """
    rounds = (world - 1).bit_length()
    return 2 * (world - 1) * (latency + size / world / bandwidth), 2 * rounds * (latency + size / bandwidth)


def break_even(world, latency, bandwidth):
    """The bytes from which on a ring takes no longer than a tree -> float, 0 if it never does."""
    rounds = (world - 1).bit_length()
    return max(0.0, latency * bandwidth * (world - 1 - rounds) / (rounds - (world - 1) / world)) if world > 1 else 0.0
