# %% [markdown]
# # TinyTorch 17: Acceleration
#
# `np.maximum(x + bias, 0) * scale + residual` does four operations on each number and takes as long as nine trips to
# memory: every operation reads whole arrays and writes a whole array, which the next one reads again. The arithmetic is
# free by comparison. A loop that does all four while a number is in a register needs three trips. This notebook writes
# that loop in Cython, then a compiler of ninety lines that writes it for any formula.
#
# **Where it sits.** What you write is exported as `tinytorch/acceleration.py`.
#
# | module | what it has to do with acceleration |
# |---|---|
# | 01 tensor | every operation is one pass over memory; this module removes passes |
# | 14 profiling | bounds by FLOP and bytes, and Amdahl: which loop is worth it |
# | 15, 16 | fewer bytes and fewer numbers; here the same numbers, moved less often |
# | the framework's kernels | `tinytorch/_ext` is Cython and C as below, with care for each instruction set |
#
# **Afterwards you can**
# 1. vectorise a computation without building the array that it does not need;
# 2. count what a tile saves, and write a tiled product that runs on threads;
# 3. write a kernel in Cython, compile it, and say how close to the machine's limit it is;
# 4. turn a function into a program, improve the program, and generate code from it;
# 5. say which rewriting of a formula changes no bit, and which changes a NaN.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Kernels are
# texts in Cython: the check compiles them (some seconds, once for each text) and names the line of a mistake. That wants
# a C compiler; without one the check says so, and grading, which has one, counts all the same. Every function is judged by
# itself. You need module 01, and 14 for the roofline. Three and a half hours are typical.

# %%
#| export
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

# %%
import statistics
import time
import tracemalloc

from mlsysbook import answer, case, check, predict, reveal
from tinytorch.bench import measure, roofline
from tinytorch.compile import can_compile, compile_cython, register

register()  # the cell magic %%cython, for cells of your own
print(can_compile() or "Cython and a C compiler are here")

# %% [markdown]
# ## 1. Vectorise
#
# Squared distances between N points and M points of D coordinates. `((a[:, None] - b[None]) ** 2).sum(-1)` has no loop,
# and is slow: for N = M = 1000 and D = 64 it builds 64 million numbers, 512 MB, to make one million. Vectorised is not
# yet fast; what counts is what has to be in memory.
#
# |a − b|² = |a|² + |b|² − 2 a·b, and a·b for all pairs is a product of matrices, for which machines are built. For
# a = (1, 2) and b = (4, 6): 5 + 52 − 2·16 = 25 = 3² + 4².
#
# The formula has a price. Far from the origin |a|² is huge and |a − b|² is not, and the difference of huge numbers has
# lost its last digits: at a distance of 10⁶ from the origin, twelve of sixteen are gone. But distances do not change
# when all points move together.
#
# **Exercise 1.1** Squared distances, (N, D) and (M, D) → (N, M), with no array of N·M·D numbers, accurate also far from
# the origin, and never negative. Points of different dimensions are refused, with both shapes.

# %% solution="distances"
#| export
def distances(a, b):
    """Squared distances of points a (N, D) and b (M, D) -> (N, M), without an array of N * M * D numbers; never negative.

    Raises ShapeError for points of different dimensions.
    """
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% check="distances" points=4
def measured_distances(a, b):
    """The distances, and whether less memory was used than a quarter of the large array."""
    tracemalloc.start()
    try:
        found = distances(a, b)
        peak = tracemalloc.get_traced_memory()[1]
    except ValueError as error:
        return {"the message names": [str(a.shape) in str(error), str(b.shape) in str(error)]}
    finally:
        tracemalloc.stop()
    large = len(a) * len(b) * a.shape[1] * a.itemsize
    return {"distances": found, "negative": bool((found < 0).any()), "small": peak < large / 4 or large < 4_000_000}

check("distances", [
    case(np.array([[1.0, 2.0], [4.0, 6.0]]), np.array([[4.0, 6.0]])),
    case(np.ones((2, 3)), np.ones((2, 2))),
], call=measured_distances, rtol=1e-5, atol=1e-7)

# %% hidden="distances"
def cases(rng):
    for n, m, d in ((3, 5, 4), (7, 2, 1), (1, 6, 9)):
        yield case(rng.normal(size=(n, d)), rng.normal(size=(m, d)), behaviour="all pairs")
    yield case(rng.normal(size=(4, 6)).astype("float32"), rng.normal(size=(9, 6)).astype("float32"), behaviour="all pairs")
    yield case(rng.normal(size=(150, 64)), rng.normal(size=(150, 64)), behaviour="without the large array")
    for far in (1e6, -3e7):
        yield case(far + rng.normal(size=(5, 3)), far + rng.normal(size=(6, 3)), behaviour="far from the origin")
    points = rng.normal(size=(40, 3)) * 1e3
    yield case(points, points, behaviour="never negative")
    yield case(np.zeros((0, 3)), np.ones((2, 3)), behaviour="no points; dimensions that differ")
    yield case(np.ones((2, 3)), np.zeros((0, 3)), behaviour="no points; dimensions that differ")
    yield case(np.ones((4, 3)), np.ones((3, 4)), behaviour="no points; dimensions that differ")


# %% show
def seconds(run, repeat=5):
    """Median time of run(), in seconds of this thread."""
    run()
    times = []
    for _ in range(repeat):
        begin = time.thread_time()
        run()
        times.append(time.thread_time() - begin)
    return statistics.median(times)


a, b = np.random.default_rng(0).normal(size=(2, 250, 64))
naive = seconds(lambda: ((a[:, None] - b[None]) ** 2).sum(-1))
print(f"with the large array {naive * 1e3:.2f} ms, without {seconds(lambda: distances(a, b)) * 1e3:.2f} ms")

# %% [markdown]
# ## 2. Tile
#
# A product C = A B of (M, K) and (K, N) does 2·M·K·N FLOP on M·K + K·N + M·N numbers: for large matrices hundreds of FLOP
# for each byte, no work for memory at all. But only if each number is fetched once. A loop that makes one number of C
# at a time reads a row of A and a column of B for each: M·N·2K numbers.
#
# **Worked example.** Make C in tiles of T × T. One tile needs T rows of A and T columns of B. For M = K = N = 1000 and
# T = 100 there are 10 × 10 tiles, each reads 100·1000 + 1000·100 numbers and writes 100·100: 20 million read, 1 million
# written, in place of 2 billion. Every tile of A's rows was read 10 times, once for each column of tiles.
#
# **Exercise 2.1** Bytes that a product moves with output tiles of T × T, if nothing stays in cache between two tiles and
# everything does inside of one. The last tiles may be smaller: they read fewer rows or columns.

# %% solution="product_traffic"
#| export
def product_traffic(m, k, n, tile, itemsize=4):
    """Bytes moved by (m, k) @ (k, n) in output tiles of tile x tile: rows of A and columns of B of each tile, and C once."""
    ### BEGIN SOLUTION
    return (math.ceil(n / tile) * m * k + math.ceil(m / tile) * k * n + m * n) * itemsize
    ### END SOLUTION


# %% check="product_traffic" points=3
check("product_traffic", [case(1000, 1000, 1000, 100), case(5, 7, 3, 2, 8)], compare="value")

# %% hidden="product_traffic"
def cases(rng):
    for _ in range(3):
        tile = int(rng.integers(2, 9))
        m, k, n = (int(v) * tile for v in rng.permutation([2, 3, 5]))
        yield case(m, k, n, tile, behaviour="whole tiles")
    for _ in range(4):
        m, k, n = (int(v) for v in rng.integers(5, 60, 3))
        yield case(m, k, n, int(rng.integers(2, 40)), int(rng.choice([2, 8])), behaviour="the last tiles are smaller")
    yield case(6, 9, 4, 100, behaviour="one tile, tiles of one, nothing")
    yield case(6, 9, 4, 1, behaviour="one tile, tiles of one, nothing")
    yield case(0, 9, 4, 2, behaviour="one tile, tiles of one, nothing")


# %% [markdown]
# ### 2.1 Which tile
#
# A product of two square float32 matrices of 2048. The machine does 100 GFLOP/s and moves 20 GB/s. From which tile on, of
# 8, 16, 32, 64, 128 and 256, is the product limited by arithmetic and no longer by memory? Use the traffic of exercise 2.1.

# %% answer="smallest_tile" points=2
smallest_tile = ""  # a number, such as "8"
### BEGIN SOLUTION
seconds_of_tile = {t: (2 * (2048 // t) + 1) * 2048**2 * 4 / 20e9 for t in (8, 16, 32, 64, 128, 256)}
smallest_tile = str(next(t for t, moving in seconds_of_tile.items() if 2 * 2048**3 / 100e9 >= moving))
### END SOLUTION

# %% key="smallest_tile"
from mlsysbook import Key, Mistake


def key(v):
    def first(itemsize, operations=2):
        return next(t for t in (8, 16, 32, 64, 128, 256)
                    if operations * 2048**3 / 100e9 >= (2 * (2048 // t) + 1) * 2048**2 * itemsize / 20e9)

    return Key(first(4), "", tol=0.01, mistakes=[
        Mistake(first(4, 1), 0.5, "a multiplication and an addition are two FLOP"),
        Mistake(first(1), 0.25, "a float32 has 4 bytes"),
    ])

# %% [markdown]
# ## 3. A kernel in Cython
#
# Cython is Python with C types. What has a C type becomes C, and the loop over it runs without Python:
#
# ```cython
# def double(object[const float, ndim=2, mode="c"] x, object[float, ndim=2, mode="c"] out):
#     cdef Py_ssize_t i, j, rows = x.shape[0], columns = x.shape[1]
#     with nogil:
#         for i in range(rows):
#             for j in range(columns):
#                 out[i, j] = 2 * x[i, j]
# ```
#
# `object[float, ndim=2, mode="c"]` is an array of float32 that lies row behind row, and `x[i, j]` is then an access to memory;
# `const` is for what is only read. (Views, `float[:, ::1]`, do the same and can be passed on, but take three times as long to
# compile.) `nogil` promises that no Python object is touched, and the compiler holds you to it: sizes are taken before.
# Indices are not checked here: one too far is not an error but somebody else's memory. Inside, `a if c else b` works on
# C numbers.
#
# To try something, begin a cell of your own with `%%cython`; what it defines is there afterwards. The kernel that counts is
# a text, so that it can travel into the package.
#
# **Exercise 3.1** The loop of the first paragraph: out = max(x + bias, 0) · scale + residual, over rows. A NaN stays NaN, as
# it does in NumPy. This is what follows a product in most networks, hence its name, the epilogue.

# %% solution="epilogue"
#| export
EPILOGUE = r"""
def epilogue(object[const float, ndim=2, mode="c"] x, object[const float, ndim=1, mode="c"] bias, float scale,
             object[const float, ndim=2, mode="c"] residual, object[float, ndim=2, mode="c"] out):
    cdef Py_ssize_t i, j, rows = x.shape[0], columns = x.shape[1]
    ### BEGIN SOLUTION
    cdef float v
    with nogil:
        for i in range(rows):
            for j in range(columns):
                v = x[i, j] + bias[j]
                v = 0 if v < 0 else v
                out[i, j] = v * scale + residual[i, j]
    ### END SOLUTION
"""

# %%
#| export
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


# %% check="epilogue" points=6
check("epilogue", [
    case(np.array([[1, -2, 3]], "float32"), np.array([0.5, 0.5, -4], "float32"), 2.0, np.array([[10, 20, 30]], "float32")),
])

# %% hidden="epilogue"
def cases(rng):
    def normal(*shape):
        return rng.normal(size=shape).astype("float32")

    for n, d in ((3, 5), (1, 17), (12, 1), (20, 33)):
        yield case(normal(n, d), normal(d), float(rng.uniform(0.5, 2)), normal(n, d), behaviour="rows of any length")
    yield case(normal(4, 6), normal(6), -1.5, normal(4, 6), behaviour="negative scales, zero")
    yield case(normal(4, 6), normal(6), 0.0, normal(4, 6), behaviour="negative scales, zero")
    odd = np.array([[np.nan, np.inf, -np.inf, 1.0], [-1.0, np.nan, 0.0, -0.0]], "float32")
    yield case(odd, np.zeros(4, "float32"), 2.0, normal(2, 4), behaviour="NaN stays, infinity too")
    yield case(normal(2, 4), np.array([0, np.nan, np.inf, 0], "float32"), 1.0, normal(2, 4), behaviour="NaN stays, infinity too")
    yield case(normal(0, 3), normal(3), 1.0, normal(0, 3), behaviour="no rows, no columns")
    yield case(normal(3, 0), normal(0), 1.0, normal(3, 0), behaviour="no rows, no columns")


# %% [markdown]
# NumPy makes four passes for it: 2 + 2 + 2 + 3 arrays move, as the bias stays in cache. The kernel moves three. Predict how
# many times faster the kernel is than NumPy on arrays that no cache holds.

# %% predict="epilogue_speed" points=1
# predict("epilogue_speed", "number", low="number", high="number")
### BEGIN SOLUTION
predict("epilogue_speed", "3", low="1.5", high="6")
### END SOLUTION

# %% show
x, residual = np.random.default_rng(0).normal(size=(2, 4096, 1024)).astype("float32")
bias = np.ones(1024, "float32")
out = np.empty_like(x)
epilogue_kernel = Kernel(EPILOGUE, "epilogue")
by_numpy = seconds(lambda: np.maximum(x + bias, 0) * np.float32(0.5) + residual, 3)
by_kernel = seconds(lambda: epilogue_kernel(x, bias, 0.5, residual, out), 3)
reveal("epilogue_speed", f"{by_numpy / by_kernel:.3g}")
print(f"NumPy {by_numpy * 1e3:.1f} ms, kernel {by_kernel * 1e3:.1f} ms, {3 * x.nbytes / by_kernel / 1e9:.1f} GB/s")

# %% [markdown]
# Where the factor is larger than 3 the rest is NumPy's new arrays: the system hands out memory page by page, and clears each
# page before it does.
#
# ## 4. Tile and thread
#
# Threads may write to different rows of C at the same time; they must never add to the same number. Rows are split into
# contiguous parts, as equal as they can be: 10 rows for 4 threads are (0, 3), (3, 6), (6, 8), (8, 10).
#
# **Exercise 4.1** These parts: sizes differ by one at most, larger ones first; parts may be empty.

# %% solution="parts"
#| export
def parts(n, count):
    """n things for `count` workers: a list of (begin, end), sizes differ by one at most, larger ones first."""
    ### BEGIN SOLUTION
    size, more = divmod(n, count)
    begins = [k * size + min(k, more) for k in range(count + 1)]
    return list(zip(begins[:-1], begins[1:], strict=True))
    ### END SOLUTION


# %% check="parts" points=2
check("parts", [case(10, 4), case(2, 3)])

# %% hidden="parts"
def cases(rng):
    for count in (2, 3, 7):
        yield case(int(rng.integers(20, 90)), count, behaviour="contiguous, as equal as they can be")
    yield case(12, 4, behaviour="even parts, one worker, more workers than things")
    yield case(9, 1, behaviour="even parts, one worker, more workers than things")
    yield case(3, 8, behaviour="even parts, one worker, more workers than things")
    yield case(0, 2, behaviour="even parts, one worker, more workers than things")


# %% [markdown]
# In Cython a loop becomes parallel by its name:
#
# ```cython
# from cython.parallel cimport prange
#
# def twice(object[float, ndim=2, mode="c"] x, int threads):
#     cdef Py_ssize_t i, j, rows = x.shape[0], columns = x.shape[1]
#     for i in prange(rows, nogil=True, num_threads=threads, schedule="static"):
#         for j in range(columns):
#             x[i, j] = 2 * x[i, j]
# ```
#
# Each thread has its own copy of what is assigned inside of `prange`. (`s += ...` on a scalar makes a reduction of it, a sum
# over all threads, which cannot be read inside of the loop; write `s = s + ...` for a sum of one thread.) Count tiles, as in
# `for t in range(tiles)`: a `range` whose step is a variable is Python's.
#
# The order of the inner loops decides what can be a vector. With k outside and j inside, c[i, j] += a[i, k] · b[k, j] runs
# along rows of B and C, which are contiguous, and eight or sixteen columns fit in a register. With j outside it runs down
# a column of B, one number from each cache line.
#
# **Exercise 4.2** C = A B for float32, tiled, on threads. `tile` is the size of a tile along any axis that you tile; it may
# be larger than the matrices and need not divide them. What was in `c` does not matter, not even NaN. The result may not
# depend on the number of threads, not by one bit.

# %% solution="product"
#| export
PRODUCT = r"""
from cython.parallel cimport prange

def product(object[const float, ndim=2, mode="c"] a, object[const float, ndim=2, mode="c"] b, object[float, ndim=2, mode="c"] c,
            Py_ssize_t tile, int threads):
    cdef Py_ssize_t rows = a.shape[0], inner = a.shape[1], columns = b.shape[1]
    ### BEGIN SOLUTION
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
    ### END SOLUTION
"""

# %%
#| export
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


# %% check="product" points=8
def multiplied(a, b, tile, threads=1):
    """C over an array full of NaN; and whether it is the same, bit for bit, on other numbers of threads."""
    kernel, found = Kernel(PRODUCT, "product"), []
    for count in (threads, 1, 3):
        c = np.full((a.shape[0], b.shape[1]), np.nan, "float32")
        kernel(a, b, c, tile, count)
        found.append(c)
    return {"c": found[0], "same": all(found[0].tobytes() == c.tobytes() for c in found)}

check("product", [
    case(np.array([[1, 2], [3, 4]], "float32"), np.array([[1, 0, 2], [0, 1, 3]], "float32"), 2),
    case(np.ones((5, 7), "float32"), np.ones((7, 3), "float32"), 4, 2),
], call=multiplied, rtol=2e-5, atol=1e-5)

# %% hidden="product"
def cases(rng):
    def pair(m, k, n):
        return rng.normal(size=(m, k)).astype("float32"), rng.normal(size=(k, n)).astype("float32")

    for m, k, n, tile in ((8, 8, 8, 4), (12, 4, 8, 4), (4, 16, 6, 2)):
        yield case(*pair(m, k, n), tile, behaviour="tiles that divide")
    for m, k, n, tile in ((7, 5, 9, 4), (33, 17, 70, 8), (5, 41, 3, 16), (3, 4, 5, 64), (6, 3, 7, 1)):
        yield case(*pair(m, k, n), tile, behaviour="tiles that do not divide, or are larger")
    for threads in (2, 4):
        yield case(*pair(37, 20, 31), 5, threads, behaviour="threads")
    yield case(*pair(4, 0, 3), 4, behaviour="nothing to add, nothing to make")
    yield case(*pair(0, 3, 4), 4, behaviour="nothing to add, nothing to make")


# %% [markdown]
# ### On the roofline
#
# The machine's limits come from module 14's tool: arithmetic in registers, and the STREAM triad. Predict: what share of its
# bound does your product of two matrices of 384 reach, on one thread, with tiles of 64?

# %% predict="product_share" points=1
# predict("product_share", "25 %", low="10 %", high="60 %")
### BEGIN SOLUTION
predict("product_share", "25 %", low="5 %", high="70 %")
### END SOLUTION

# %% show
import matplotlib.pyplot as plt

from tinytorch.backend import kernel as course_kernel

side = 384
left, right = np.random.default_rng(0).normal(size=(2, side, side)).astype("float32")
c, product_kernel = np.empty((side, side), "float32"), Kernel(PRODUCT, "product")
roof = roofline(points=False, budget=0.03)
work = {"flop": 2 * side**3, "traffic": 3 * left.nbytes, "budget": 0.05}
points = [
    measure("epilogue, NumPy", 4 * x.size, 3 * x.nbytes, lambda: np.maximum(x + bias, 0) * np.float32(0.5) + residual, budget=0.05),
    measure("epilogue, kernel", 4 * x.size, 3 * x.nbytes, lambda: epilogue_kernel(x, bias, 0.5, residual, out), budget=0.05),
    measure("product, one tile", run=lambda: product_kernel(left, right, c, side, 1), **work),
    measure("product, tiles of 64", run=lambda: product_kernel(left, right, c, 64, 1), **work),
    measure("product, tiles of 4", run=lambda: product_kernel(left, right, c, 4, 1), **work),
    measure("product, the framework's", run=lambda: course_kernel("gemm")(left, right, c, threads=1), **work),
]
reveal("product_share", f"{100 * roof.share(points[3]):.3g} %")
print(roof.table(points))

axis = np.logspace(-1.5, 3, 100)
figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
axes.loglog(axis, np.minimum(axis * roof.bandwidth, roof.peak) / 1e9, color="black")
for point, mark in zip(points, "osD^vP", strict=True):
    axes.plot(point.intensity, point.rate / 1e9, mark, label=point.name)
axes.set(xlabel="FLOP/byte", ylabel="GFLOP/s", title="Kernels below the roof of this machine")
axes.legend(fontsize="small")
plt.show()

# %% [markdown]
# The epilogue lies under the sloping part: it can be made faster only by moving less. The product is far below the flat
# part although it moves enough: each c[i, j] is loaded and stored for each k. The framework's keeps a block of C in registers
# while k runs (`tinytorch/_ext/gemm_tile.h`), packs B in the order in which it is read, and chooses instructions for the
# processor that it finds.
#
# ## 5. A compiler for elementwise formulas
#
# Nobody writes a kernel for each formula. A compiler has five steps, and each is a function from a list to a list or a text:
#
# ```
# f --trace--> program --simplified--> --shared--> --buffers--> --numpy_source or cython_source--> kernel
# ```
#
# **Trace.** Call f with objects that note what is done to them. NumPy asks an operand with `__array_ufunc__` what to do, so
# f is ordinary NumPy code. `lambda x, b: (x + b) * (x + b) * 0.5` gives
#
# ```
# 0 ("input", "x")    2 ("add", 0, 1)    4 ("multiply", 2, 3)    6 ("multiply", 4, 5)
# 1 ("input", "b")    3 ("add", 0, 1)    5 ("const", 0.5)
# ```
#
# `trace`, `pruned`, which drops what the result does not need, and `run`, which does what a program says, are given.

# %%
#| export
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


# %%
SPECIAL = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.5, 3e38, 1e-40, 0.1], "float32")


def counted(program):
    """How often each operation occurs."""
    names = [instruction[0] for instruction in program if instruction[0] not in ("input", "const")]
    return {name: names.count(name) for name in sorted(set(names))}


def bits_of(program, names):
    """The bits of its result on numbers of all kinds, one shift of them for each input."""
    arrays = {name: np.roll(SPECIAL, 3 * k) for k, name in enumerate(names)}
    result = np.broadcast_to(np.asarray(run(program, arrays), "float32"), SPECIAL.shape)
    return np.where(np.isnan(result), np.uint32(0), np.ascontiguousarray(result).view("uint32"))


# %% [markdown]
# ### 5.1 What may be simplified
#
# Algebra says x + 0 = x. Floating point does not: −0 + 0 is +0, and 1/x tells them apart. x · 0 is not 0 for NaN or infinity,
# and x / x not 1. A compiler that may not change a bit has few rules left, and they are these:
#
# | | becomes | because |
# |---|---|---|
# | an operation on constants | a constant | it can be computed now, in double precision |
# | x · 1, 1 · x, x / 1 | x | |
# | x − (+0), x + (−0), (−0) + x | x | and not x + (+0), nor x − (−0) |
# | −(−x) | x | only the sign bit changes, twice |
# | x / c, c a power of two | x · (1/c) | 1/c is exact; a division takes several times as long. Both are normal float32 numbers |
#
# (2⁻¹²⁶ ≤ |c| ≤ 2¹²⁶; `math.frexp(c)` gives a mantissa of ±0.5 for powers of two.)
#
# **Worked example.** (x · 1 + 0) / 4 becomes (x + 0) · 0.25: two operations, none a division.
#
# **Exercise 5.1** Apply these rules wherever they fit, also where one makes another fit. The check runs both programs on
# numbers that include ±0, NaN and infinity, compares all bits, and counts operations. An input may be all that is left.

# %% solution="simplified"
#| export
def simplified(program):
    """A program with the same result on every float32 input, bit for bit, and fewer or cheaper operations."""
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% check="simplified" points=6
def smaller(program):
    """What simplification does to a program: its operations, and whether a bit has changed."""
    program = [tuple(instruction) for instruction in program]
    found = [tuple(instruction) for instruction in simplified(list(program))]
    return {"operations": counted(pruned(found)), "bits": bits_of(found, inputs_of(program)).tolist(),
            "unchanged": bool((bits_of(found, inputs_of(program)) == bits_of(program, inputs_of(program))).all())}

check("simplified", [
    case([("input", "x"), ("const", 1.0), ("multiply", 0, 1), ("const", 0.0), ("add", 2, 3), ("const", 4.0), ("divide", 4, 5)]),
    case([("input", "x"), ("negative", 0), ("negative", 1)]),
    case([("input", "x"), ("const", 2.0), ("const", 3.0), ("add", 1, 2), ("divide", 0, 3)]),
], call=smaller)

# %% hidden="simplified"
def cases(rng):
    x = ("input", "x")

    def binary(name, value, first=False):
        return [x, ("const", float(value)), (name, 1, 0) if first else (name, 0, 1)]

    for name in ("multiply", "divide"):
        yield case(binary(name, 1.0), behaviour="ones, constants and negatives")
    yield case(binary("multiply", 1.0, True), behaviour="ones, constants and negatives")
    yield case(binary("divide", 1.0, True), behaviour="ones, constants and negatives")
    yield case([x, ("negative", 0), ("negative", 1), ("negative", 2)], behaviour="ones, constants and negatives")
    value = float(rng.integers(2, 9))
    yield case([x, ("const", value), ("const", 3.0), ("multiply", 1, 2), ("exp", 1), ("add", 3, 4), ("multiply", 0, 5)],
               behaviour="ones, constants and negatives")
    for name in ("add", "subtract"):
        for zero in (0.0, -0.0):
            yield case(binary(name, zero), behaviour="zeros have signs")
            yield case(binary(name, zero, True), behaviour="zeros have signs")
    yield case(binary("multiply", 0.0), behaviour="what algebra allows and NaN does not")
    yield case([x, ("subtract", 0, 0)], behaviour="what algebra allows and NaN does not")
    yield case([x, ("divide", 0, 0)], behaviour="what algebra allows and NaN does not")
    for c in (4.0, -0.125, 2.0**126, 3.0, 0.1, 0.0, float("inf"), 2.0**127, -1.0):
        yield case(binary("divide", c), behaviour="division by powers of two, and by others")
    yield case([x, ("const", 2.0), ("const", 1.0), ("subtract", 1, 2), ("multiply", 0, 3), ("const", 1.0), ("divide", 4, 5),
                ("const", 8.0), ("const", 2.0), ("divide", 7, 8), ("divide", 6, 9)], behaviour="one rule makes another fit")
    yield case([x, ("input", "b"), ("negative", 0), ("const", 1.0), ("multiply", 2, 3), ("negative", 4), ("add", 5, 1)],
               behaviour="one rule makes another fit")


# %% [markdown]
# ### 5.2 Once is enough
#
# x + b occurs twice in the example. In a program that is easy to see: instructions 2 and 3 are equal. b + x is the same too,
# bit for bit, and after that (x + b) · y and (b + x) · y are. The order of three operands is another matter:
# (x + y) + z rounds otherwise than x + (y + z).
#
# **Exercise 5.2** Each value once: of instructions that compute the same, only the first stays, constants and inputs
# included. The operations of `COMMUTE` may be given their operands in either order. Two zeros of different sign are
# different constants. Programs of several thousand instructions must not take long.

# %% solution="shared"
#| export
def shared(program):
    """A program with the same result in which no value is computed twice."""
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% check="shared" points=5
def once(program):
    """What sharing does to a program: its operations, and the bits of its result."""
    program = [tuple(instruction) for instruction in program]
    found = [tuple(instruction) for instruction in shared(list(program))]
    return {"operations": counted(found), "length": len(found), "bits": bits_of(found, inputs_of(program)).tolist()}

def grown(levels):
    """A sum of itself with itself, made anew at each level: `levels` levels, all of it once in the end."""
    program = [("input", "x"), ("const", 0.5)]
    twice = [0, 0]
    for _ in range(levels):
        first = len(program)
        program += [("multiply", twice[0], 1), ("multiply", 1, twice[1]), ("add", first, first + 1), ("add", first + 1, first)]
        twice = [first + 2, first + 3]
    program.append(("add", *twice))
    return once(program)

check("shared", [
    case([("input", "x"), ("input", "b"), ("add", 0, 1), ("add", 1, 0), ("multiply", 2, 3), ("const", 0.5), ("multiply", 4, 5)]),
    case([("input", "x"), ("input", "y"), ("subtract", 0, 1), ("subtract", 1, 0), ("multiply", 2, 3)]),
], call=lambda program: grown(program) if isinstance(program, int) else once(program))

# %% hidden="shared"
def random_program(rng, size, names="xyz", ops=("add", "subtract", "multiply", "maximum", "negative", "absolute")):
    program = [("input", name) for name in names] + [("const", 0.5), ("const", -2.0)]
    for _ in range(size):
        name = str(rng.choice(list(ops)))
        recent = [int(v) for v in rng.integers(max(0, len(program) - 6), len(program), 2)]
        count = 1 if name in ("negative", "absolute", "tanh", "exp", "sqrt") else 2
        program.append((name, *recent[:count]))
    return pruned(program)


def doubled(rng, program):
    """The program twice, with operands exchanged where that changes nothing, and the sum of both."""
    n, second = len(program), []
    for step in program:
        numbers = [k + n for k in operands_of(step)]
        if step[0] in ("add", "multiply", "maximum") and rng.random() < 0.7:
            numbers.reverse()
        second.append((step[0], *numbers) if numbers else step)
    return [*program, *second, ("add", n - 1, 2 * n - 1)]


def cases(rng):
    for size in (4, 9, 15):
        yield case(doubled(rng, random_program(rng, size)), behaviour="equal values, also with operands exchanged")
    for name in ("subtract", "divide"):
        yield case([("input", "x"), ("input", "y"), (name, 0, 1), (name, 1, 0), ("add", 2, 3)], behaviour="what does not commute")
    yield case([("input", "x"), ("const", 0.0), ("const", -0.0), ("multiply", 0, 1), ("multiply", 0, 2), ("add", 3, 4)],
               behaviour="constants and inputs")
    yield case([("input", "x"), ("input", "x"), ("const", 2.0), ("const", 2.0), ("multiply", 0, 2), ("multiply", 1, 3), ("add", 4, 5)],
               behaviour="constants and inputs")
    yield case([("input", "x"), ("input", "y"), ("input", "z"), ("add", 0, 1), ("add", 3, 2), ("add", 1, 2), ("add", 0, 5), ("add", 4, 6)],
               behaviour="sums of three are not regrouped")
    yield case(3000, behaviour="long programs")
    yield case([("input", "x"), ("exp", 0), ("negative", 0)], behaviour="what the result does not need")


# %% [markdown]
# ### 5.3 Where values live
#
# The NumPy kernel needs arrays for what comes in between. An array can be used again as soon as nobody will read what is in
# it, and an operation may write over an operand that it is the last to read.
#
# **Worked example.** 2 = x + b, 3 = tanh(2), 4 = 2 · 3, 5 = 4 + x. Value 2 is read last by 4, so 3 needs a second array, 4 may
# write over 2 or 3, and 5 over 4. Two arrays: slots for 2 to 5 are 0, 1, 0, 0.
#
# **Exercise 5.3** A slot for each instruction, None for inputs and constants. The slots are 0, 1, 2, ... as few as can be,
# and the result is in slot 0, which will be the caller's array. If the result is an input or a constant no slots are used.

# %% solution="buffers"
#| export
def buffers(program):
    """For each instruction the number of the array that it writes to, None for inputs and constants; the result's is 0."""
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% check="buffers" points=6
def stored(program):
    """A program run in the slots: its result, how many there are, and what was wrong."""
    program = [tuple(instruction) for instruction in program]
    slots, held, values = list(buffers(list(program))), {}, []
    for number, instruction in enumerate(program):
        operands = [held.get(slots[k]) if slots[k] is not None else k for k in operands_of(instruction)]
        values.append(operands == list(operands_of(instruction)))
        if slots[number] is not None:
            held[slots[number]] = number
    used = {slot for slot in slots if slot is not None}
    return {"every value is there when it is read": all(values), "slots": sorted(used), "of the result": slots[-1],
            "only operations have one": [slot is None for slot in slots]}

check("buffers", [
    case([("input", "x"), ("input", "b"), ("add", 0, 1), ("tanh", 2), ("multiply", 2, 3), ("add", 4, 0)]),
    case([("input", "x"), ("exp", 0), ("tanh", 0), ("sqrt", 0), ("add", 1, 2), ("add", 3, 4)]),
], call=stored)

# %% hidden="buffers"
def cases(rng):
    for size in (6, 10, 20, 40):
        yield case(random_program(rng, size), behaviour="values are there when they are read, in as few as can be")
    chain = [("input", "x")] + [("negative", k) for k in range(7)]
    yield case(chain, behaviour="in place along a chain")
    yield case([("input", "x"), ("add", 0, 0), ("multiply", 1, 1), ("maximum", 2, 2)], behaviour="in place along a chain")
    wide = [("input", "x")] + [(name, 0) for name in ("exp", "tanh", "sqrt", "negative")]
    yield case([*wide, ("add", 1, 2), ("add", 3, 4), ("multiply", 5, 6)], behaviour="many at once")
    yield case([*wide, ("add", 3, 4), ("add", 2, 5), ("add", 1, 6)], behaviour="many at once")
    yield case([("input", "x")], behaviour="no operation")
    yield case([("input", "x"), ("const", 2.0), ("add", 0, 1)], behaviour="no operation")


# %% [markdown]
# ### 5.4 Code for NumPy
#
# A text like this one, for the example above:
#
# ```python
# def kernel(x, b, t0, t1):
#     np.add(x, b, out=t0)
#     np.tanh(t0, out=t1)
#     np.multiply(t0, t1, out=t0)
#     np.add(t0, x, out=t0)
# ```
#
# **Exercise 5.4** That text, from a program and its slots: parameters are `inputs_of(program)`, then t0, t1, ... for the
# slots (t0 always, since the result goes there). No line may make a new array. Constants may be infinite or NaN, and a
# program may consist of an input or a constant alone; then it is copied.

# %% solution="numpy_source"
#| export
def numpy_source(program, slots, name="kernel"):
    """Python text of a function of the inputs and arrays t0, t1, ...; the result is in t0 and nothing else is made."""
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% check="numpy_source" points=6
def executed(program, slots, arrays, name="kernel"):
    """The text, executed: its result, and whether it made arrays of its own."""
    program, made = [tuple(instruction) for instruction in program], {"np": np}
    exec(numpy_source(program, list(slots), name), made)  # noqa: S102
    count = max([0, *(slot for slot in slots if slot is not None)]) + 1
    work = [np.full(30_000, np.nan, "float32") for _ in range(count)]
    taken = [np.resize(arrays[key], 30_000) for key in inputs_of(program)]
    with np.errstate(all="ignore"):
        tracemalloc.start()
        made[name](*taken, *work)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return {"result": work[0][:32].copy(), "makes arrays": peak > 60_000}

check("numpy_source", [
    case([("input", "x"), ("input", "b"), ("add", 0, 1), ("tanh", 2), ("multiply", 2, 3), ("add", 4, 0)], [None, None, 0, 1, 0, 0],
         {"x": np.array([1, 2], "float32"), "b": np.array([3, 5], "float32")}),
    case([("input", "x")], [None], {"x": np.array([1, 2], "float32")}),
], call=executed)

# %% hidden="numpy_source"
def fresh_slots(program):
    """A slot of its own for each operation, 0 for the result."""
    count = sum(bool(operands_of(instruction)) for instruction in program)
    order = iter(range(count - 1, -1, -1))
    return [next(order) if operands_of(instruction) else None for instruction in program]


def cases(rng):
    def arrays(program):
        return {name: rng.normal(size=32).astype("float32") for name in inputs_of(program)}

    for size in (3, 7, 12):
        program = random_program(rng, size, names="pqr", ops=("add", "subtract", "multiply", "tanh", "negative"))
        if operands_of(program[-1]):
            yield case(program, fresh_slots(program), arrays(program), behaviour="what the program says, without new arrays")
    program = [("input", "u"), ("const", 2.0), ("divide", 1, 0), ("divide", 0, 1), ("subtract", 2, 3)]
    yield case(program, [None, None, 1, 2, 0], arrays(program), behaviour="what the program says, without new arrays")
    chain = [("input", "x"), ("exp", 0), ("negative", 1), ("exp", 2)]
    yield case(chain, [None, 0, 0, 0], arrays(chain), behaviour="slots used again, other names")
    yield case(chain, [None, 0, 0, 0], arrays(chain), name="step", behaviour="slots used again, other names")
    for value in (float("inf"), float("-inf"), float("nan"), 1e-30, -2.5):
        program = [("input", "x"), ("const", value), ("maximum", 0, 1)]
        yield case(program, [None, None, 0], arrays(program), behaviour="constants of all kinds")
    yield case([("input", "y")], [None], {"y": rng.normal(size=32).astype("float32")}, behaviour="an input or a constant alone")
    yield case([("const", 3.5)], [None], {}, behaviour="an input or a constant alone")


# %% [markdown]
# ### 5.5 Code for a compiler
#
# In C the slots are registers, and the compiler takes care of them. What remains is a loop:
#
# ```cython
# def kernel(object[const float, ndim=1, mode="c"] x, object[const float, ndim=1, mode="c"] b, object[float, ndim=1, mode="c"] out):
#     cdef Py_ssize_t i, n = out.shape[0]
#     cdef float v0, v1, v2, v3, v4, v5
#     with nogil:
#         for i in range(n):
#             v0 = x[i]
#             v1 = b[i]
#             v2 = v0 + v1
#             v3 = tanhf(v2)
#             ...
#             out[i] = v5
# ```
#
# **Exercise 5.5** That text, without `HEADER`, which the caller puts in front, once for several kernels. `UFUNCS` says how C
# writes an operation. All numbers are float; `INFINITY` and `NAN` are known. Inputs that occur twice are one parameter.

# %% solution="cython_source"
#| export
def cython_source(program, name="kernel"):
    """Cython text of a function of the inputs, float32 with one axis, and `out`: one loop, no array but these."""
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% check="cython_source" points=6
def looped(programs, arrays):
    """The kernels of several programs, compiled together, each on the same arrays."""
    programs = [[tuple(instruction) for instruction in program] for program in programs]
    module = compile_cython(HEADER + "\n".join(cython_source(program, f"kernel{k}") for k, program in enumerate(programs)))
    found = []
    for k, program in enumerate(programs):
        out = np.full(len(arrays["x"]), np.nan, "float32")
        getattr(module, f"kernel{k}")(*(arrays[name] for name in inputs_of(program)), out)
        found.append(out)
    return found

check("cython_source", [
    case([[("input", "x"), ("input", "b"), ("add", 0, 1), ("tanh", 2), ("multiply", 2, 3), ("add", 4, 0)]],
         {"x": np.array([1, 2, 0.5], "float32"), "b": np.array([3, -5, 0.25], "float32")}),
], call=looped, rtol=2e-4, atol=1e-6)

# %% hidden="cython_source"
def cases(rng):
    arrays = {name: rng.normal(size=33).astype("float32") for name in "xyz"}
    every = [[("input", "x"), ("input", "y"), ("add", 0, 1), ("subtract", 2, 1), ("multiply", 3, 0), ("const", 0.1), ("maximum", 4, 5),
              ("divide", 0, 6), ("minimum", 7, 1)],
             [("input", "z"), ("absolute", 0), ("sqrt", 1), ("negative", 2), ("exp", 3), ("input", "x"), ("tanh", 5), ("input", "z"),
              ("subtract", 4, 6), ("multiply", 8, 7)], [("input", "z")]]
    yield case(every, arrays, behaviour="every operation")
    odd = {"x": np.array([np.nan, 1, np.inf, -np.inf, 0, -0.0], "float32"), "y": np.array([1, np.nan, 2, 3, -0.0, 0], "float32")}
    values = ("maximum", float("-inf")), ("minimum", float("inf")), ("maximum", float("nan"))
    yield case([*([("input", "x"), ("const", value), (name, 0, 1)] for name, value in values),
                [("input", "x"), ("input", "y"), ("divide", 0, 1)], [("input", "y"), ("input", "x"), ("minimum", 0, 1)],
                [("input", "x"), ("const", 2.5)]], odd, behaviour="NaN, infinity, and constants")


# %% [markdown]
# ### 5.6 What it saves
#
# **Exercise 5.6** Bytes moved for each element. Unfused: each operation reads its operands, one that it has twice only once, and
# constants not at all, and writes its result. Fused: each input once, and the result. What the result does not need counts in
# neither. For x + b, tanh, ·, + x as above, in float32: 4·(3 + 2 + 3 + 3) = 44 bytes against 4·3 = 12.

# %% solution="traffic"
#| export
def traffic(program, itemsize=4):
    """Bytes for each element that a program moves: (operation by operation, as one loop)."""
    ### BEGIN SOLUTION
    program = pruned(program)
    unfused = 0
    for instruction in program:
        read = {program[k] if program[k][0] == "input" else k for k in operands_of(instruction) if program[k][0] != "const"}
        unfused += len(read) + 1 if operands_of(instruction) else 0
    return unfused * itemsize, (len(inputs_of(program)) + 1) * itemsize
    ### END SOLUTION


# %% check="traffic" points=3
def moved(program, itemsize=4):
    return list(traffic([tuple(instruction) for instruction in program], itemsize))

check("traffic", [
    case([("input", "x"), ("input", "b"), ("add", 0, 1), ("tanh", 2), ("multiply", 2, 3), ("add", 4, 0)]),
    case([("input", "x"), ("multiply", 0, 0)], 8),
], call=moved)

# %% hidden="traffic"
def cases(rng):
    for size in (5, 10, 20):
        yield case(random_program(rng, size), behaviour="reads and writes of a program")
    yield case([("input", "x"), ("const", 2.0), ("multiply", 0, 1), ("add", 2, 2)], 2, behaviour="constants, operands twice")
    yield case([("input", "x"), ("const", 2.0), ("maximum", 1, 0), ("multiply", 2, 0)], 8, behaviour="constants, operands twice")
    yield case([("input", "x"), ("input", "y"), ("exp", 1), ("negative", 0)], behaviour="what the result does not need")


# %% [markdown]
# ## 6. Fuse
#
# `fuse` is given and puts the steps together. The NumPy kernel has no loop of its own, but it can be called for a few rows at
# a time: if a block of every array fits in the cache of one core, what comes in between never reaches memory. That trick
# alone, without any compiler, is most of `numexpr`. The compiled loop needs no blocks.

# %%
#| export
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


# %% [markdown]
# GELU in the form with tanh (module 02), as NumPy code. Its program after simplification and sharing, and both kernels:

# %% show
def gelu(x):
    return 0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def smooth(x, b, r):
    return (np.maximum(x + b, 0) / 4 - np.maximum(b + x, 0) * r + r * r) / 2 + (x + b) * 0.125


for f in (gelu, smooth):
    raw, better = trace(f), compiled(f)
    print(f.__name__, "operations", sum(counted(raw).values()), "->", sum(counted(better).values()), counted(better))
print(fuse(smooth).source)
print(fuse(smooth, "cython").source)

# %% [markdown]
# How many bytes does NumPy move for `smooth` as it is written, on three arrays of 4,000,000 float32, and as one loop? Answer
# with the difference, the bytes that fusion saves. (Use `trace` and `traffic`; no simplification in the first, no matter in
# the second.)

# %%
def smooth_program():
    """The program of `smooth` as it is written."""
    return trace(lambda x, b, r: (np.maximum(x + b, 0) / 4 - np.maximum(b + x, 0) * r + r * r) / 2 + (x + b) * 0.125)

# %% answer="saved_bytes" points=2
saved_bytes = ""  # a number with its unit, such as "12 MB"
### BEGIN SOLUTION
steps = [step for step in smooth_program() if operands_of(step)]
arrays_moved = sum(len({k for k in operands_of(step) if smooth_program()[k][0] != "const"}) + 1 for step in steps)
saved_bytes = f"{4_000_000 * 4 * (arrays_moved - 4)} B"
### END SOLUTION

# %% key="saved_bytes"
def key(v):
    unfused, fused = traffic(smooth_program())
    return Key(4_000_000 * (unfused - fused), "B", tol=0.01, mistakes=[
        Mistake(4_000_000 * unfused, 0.5, "that is what is moved without fusion; what fusion still moves is to be taken off"),
        Mistake(1_000_000 * (unfused - fused), 0.25, "a float32 has 4 bytes"),
    ])

# %% [markdown]
# Predict: how many times faster than NumPy is the compiled loop for `smooth`, on arrays of 2,000,000?

# %% predict="fused_speed" points=1
# predict("fused_speed", "number", low="number", high="number")
### BEGIN SOLUTION
predict("fused_speed", "8", low="3", high="25")
### END SOLUTION

# %% show
arrays = list(np.random.default_rng(1).normal(size=(3, 2_000_000)).astype("float32"))
result = np.empty_like(arrays[0])


def peak(call):
    tracemalloc.start()
    call()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


print(f"{'':22}{'time':>10}{'temporaries':>14}{'bytes to move':>16}")
speeds = {}
for f, given in ((smooth, arrays), (gelu, arrays[:1])):
    per = traffic(trace(f))
    blocks, loop = fuse(f), fuse(f, "cython")
    ways = {"NumPy": lambda f=f, given=given: f(*given), "NumPy, fused": lambda k=blocks, given=given: k(*given, out=result),
            "compiled": lambda k=loop, given=given: k(*given, out=result)}
    wanted = f(*given)
    for name, call in ways.items():
        speeds[f.__name__, name] = seconds(call, 3)
        assert np.allclose(call(), wanted, rtol=1e-4, atol=1e-5)
        print(f"{f.__name__ + ', ' + name:22}{speeds[f.__name__, name] * 1e3:8.2f} ms{peak(call) / 1e6:11.2f} MB"
              f"{per[name != 'NumPy'] * len(result) / 1e6:13.0f} MB")
reveal("fused_speed", f"{speeds['smooth', 'NumPy'] / speeds['smooth', 'compiled']:.3g}")

# %% [markdown]
# For `smooth` both fused kernels win, and the compiled one most. For `gelu` look again: the compiled loop may well be several
# times slower than NumPy. It calls `tanhf` for one number at a time, while NumPy's `tanh` works on a vector of them, and saves
# traffic that was not what took the time. `tinytorch/_ext/vmath.h` has a tanh for vectors, and the framework's GELU kernel uses it.
#
# ## 7. Scale build: what a ring costs (optional)
#
# The next way to be faster is to be several. The scale build of module 08 adds up gradients around a ring. Was that the right
# choice? A message of m bytes takes a + m/b seconds: a latency a, whatever its size, and b bytes a second. Two ways to give
# the sum of n bytes to all of p ranks:
#
# * **ring**: 2 (p − 1) messages one after the other, n/p bytes each;
# * **tree**: pairs add up all n bytes, then pairs of pairs, until one rank has the sum, after as many rounds as it takes to halve p
#   to 1, rounded up; then it goes back the same way.
#
# **Worked example**, 8 ranks, a latency of 10 µs, 10 GB/s. 1 MB: the ring sends 14 messages of 125 kB, 22.5 µs each, 315 µs. The tree has 3
# rounds up and 3 down of 110 µs each, 660 µs. 1 kB: 14 · 10.01 = 140 µs against 6 · 10.1 = 61 µs.
#
# **Exercise 7.1** The seconds of both. **Exercise 7.2** The size from which on the ring takes no longer than the tree.

# %% solution="all_reduce_seconds"
#| export
def all_reduce_seconds(size, world, latency, bandwidth):
    """Seconds to give the sum of `size` bytes to all of world ranks -> (around a ring, up and down a binary tree).

    A message of m bytes takes latency + m / bandwidth. Source: Thakur, Rabenseifner and Gropp 2005.
    """
    ### BEGIN SOLUTION
    rounds = (world - 1).bit_length()
    return 2 * (world - 1) * (latency + size / world / bandwidth), 2 * rounds * (latency + size / bandwidth)
    ### END SOLUTION


# %% solution="break_even"
#| export
def break_even(world, latency, bandwidth):
    """The bytes from which on a ring takes no longer than a tree -> float, 0 if it never does."""
    ### BEGIN SOLUTION
    rounds = (world - 1).bit_length()
    return max(0.0, latency * bandwidth * (world - 1 - rounds) / (rounds - (world - 1) / world)) if world > 1 else 0.0
    ### END SOLUTION


# %% check="all_reduce_seconds" points=2
check("all_reduce_seconds", [case(1e6, 8, 1e-5, 1e10), case(1e3, 8, 1e-5, 1e10)], compare="value")

# %% hidden="all_reduce_seconds"
def cases(rng):
    def some():
        return float(10 ** rng.uniform(2, 9)), float(10 ** rng.uniform(-7, -3)), float(10 ** rng.uniform(8, 12))

    for world in (2, 4, 16, 64):
        size, latency, bandwidth = some()
        yield case(size, world, latency, bandwidth, behaviour="powers of two")
    for world in (3, 5, 6, 7, 9, 100):
        size, latency, bandwidth = some()
        yield case(size, world, latency, bandwidth, behaviour="any number of ranks")
    yield case(1e6, 1, 1e-5, 1e9, behaviour="one rank, no bytes")
    yield case(0, 5, 1e-5, 1e9, behaviour="one rank, no bytes")


# %% check="break_even" points=1
check("break_even", [case(8, 1e-5, 1e10)], compare="value")

# %% hidden="break_even"
def cases(rng):
    for world in (4, 5, 8, 13, 100):
        yield case(world, float(10 ** rng.uniform(-7, -3)), float(10 ** rng.uniform(8, 12)), behaviour="more ranks than three")
    for world in (1, 2, 3):
        yield case(world, 1e-5, 1e9, behaviour="where the ring is never slower")


# %% [markdown]
# The ring of module 08, measured with 3 processes. Two sizes give a latency and a bandwidth of this machine; they predict the others.

# %% show
import multiprocessing

from tinytorch.training import run_ranks

WORLD, NUMBERS = 3, (300, 3_000, 30_000, 300_000, 1_000_000)


def measured_ring(ring):
    """The median of the seconds of an all-reduce, for each size."""
    found = []
    for n in NUMBERS:
        vector, times = np.ones(n, np.float32), []
        for _ in range(9):
            begin = time.perf_counter()
            ring.all_reduce(vector)
            times.append(time.perf_counter() - begin)
        found.append(statistics.median(times))
    return found


if "fork" in multiprocessing.get_all_start_methods():
    taken = run_ranks(WORLD, 4 * NUMBERS[-1], measured_ring)[0]
    steps = 2 * (WORLD - 1)
    each = (taken[-1] - taken[0]) / steps / ((NUMBERS[-1] - NUMBERS[0]) * 4 / WORLD)  # seconds for a byte
    latency = taken[0] / steps - NUMBERS[0] * 4 / WORLD * each
    print(f"a message: {latency * 1e6:.0f} microseconds, and {1 / each / 1e9:.2f} GB/s")
    for n, seconds in zip(NUMBERS, taken, strict=True):
        ring, tree = all_reduce_seconds(4 * n, WORLD, latency, 1 / each)
        print(f"{4 * n:9,} bytes: measured {seconds * 1e3:7.3f} ms; by the formula, ring {ring * 1e3:7.3f}, tree {tree * 1e3:7.3f}")
    for world in (8, 64, 1024):
        print(f"{world:5} ranks of this kind: a tree below {break_even(world, latency, 1 / each):,.0f} bytes, a ring above")
else:
    print("the ring is shown on systems that fork processes; this one does not")

# %% [markdown]
# Here a message is a copy and two barriers, so its latency is the time to wake a process, longer when other work keeps the
# processors busy. On a network it is a few microseconds, and libraries choose the way by the size as you did.
#
# ## 8. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="which_way" points=4
# A service runs three operations on a server whose core does 80 GFLOP/s and has 10 GB/s of memory bandwidth. (a) LayerNorm,
# scale and an activation on 200 MB of float32, written as nine NumPy operations, 0.5 s. (b) A product of 1024 × 1024
# matrices in a Cython loop in the order i, j, k, 1.9 s. (c) `exp` of 8 MB, already one pass, 6 ms. For each: what limits it
# now, what would you do first (vectorise, tile, fuse, thread, or nothing), and what time would you expect, with the
# calculation? And say for which of them a second thread on the same memory would help least.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. (a) memory: nine passes of two to three arrays, 4 to 5 GB, at 10 GB/s is about 0.5 s. Fuse: LayerNorm needs the row twice,
#    but a row stays in cache, so 400 MB, 40 ms.
# 2. (b) 2.1 GFLOP in 1.9 s is 1.1 GFLOP/s; the bound is 27 ms of arithmetic. Limited by strided access and scalar code, so
#    by neither roof: change the loop order so that the inner loop is contiguous, then tile; a few times the bound, 50 to 150 ms, is
#    what plain loops reach; a library gets near 27 ms.
# 3. (c) 16 MB at 10 GB/s is 1.6 ms; 2 M exp in 6 ms are 3 ns each: limited by the function, not by memory. A vector exp, or threads,
#    or nothing if it is a small share of the whole (Amdahl).
# 4. The fused (a) is at the memory limit: a second thread on the same memory brings least there; (b) gains most.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# Fast is what moves little. Vectorising moves the loop out of Python; tiling reads each number fewer times; fusing removes the
# arrays in between; threads share what is left, if memory has any to spare. A compiler does it for every formula, in steps
# that each keep all bits.
#
# | here | PyTorch and others |
# |---|---|
# | `trace` | `torch.fx.symbolic_trace`, `torch.compile`'s Dynamo, JAX's `jit` |
# | `simplified`, `shared` | constant folding and common subexpressions in Inductor and XLA; `-ffast-math` drops the care for zeros |
# | `buffers` | memory planning in Inductor; register allocation by linear scan (Poletto and Sarkar 1999) |
# | `numpy_source` in blocks | numexpr |
# | `cython_source` | Inductor's C++ backend; Triton kernels on GPUs |
# | `product` | BLIS (Van Zee and van de Geijn 2015), oneDNN, cuBLAS |
# | `all_reduce_seconds` | the tuner of NCCL, which chooses between ring and tree by size and number of ranks |
#
# Module 18 saves work in another way: what was computed once need not be computed again.
