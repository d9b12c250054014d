# %% [markdown]
# # TinyTorch 02: Activations
#
# The formula of softmax has a sum, a quotient and an exponential. Give it the two logits 100 and 0 in float32, and it
# answers NaN and 0. The right answer, 1 and 4·10⁻⁴⁴, fits float32. GELU has a cube in it. Written `x**3` or written
# `x * x * x` it is the same number, and in NumPy the two differ in time by a factor that section 8 asks you to guess.
# Neither shows on paper. Activations are short formulas; this notebook is about the way from the formula to a function
# that gives the right digits on whatever arrives, in the time that the machine needs and not much more.
#
# **Where it sits.** What you write is exported as `tinytorch/activations.py`, next to the tensor of module 01.
#
# | later module | what it takes from here |
# |---|---|
# | 03 layers | activations between `Linear` layers, and their slopes, which decide how weights are initialised |
# | 04 losses | the ideas of parts 3 and 6: log losses that never form a probability |
# | 06 autograd | a `backward` for each of these classes; the sigmoid also serves the slopes of losses |
# | 12 attention | softmax over scores of which many are minus infinity |
# | 17 acceleration | the cost of running formula after formula over memory, which fused kernels remove |
#
# **Afterwards you can**
# 1. tell from a formula where it overflows and where it cancels, and whether that reaches the result;
# 2. implement sigmoid, softmax and log-softmax so that no input in range spoils them, along any axis;
# 3. build a function that NumPy lacks, erfc, from a table that you can derive, to a few units in the last place;
# 4. run elementwise formulas in blocks that stay in the cache, and say what that saves in time and in bytes;
# 5. predict the time of x³, the traffic of softmax and the peak memory of GELU, then measure them.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. A check
# shows worked examples and explains the first that fails. Grading runs hidden cases besides: other shapes, strides and
# axes, axes of length 0 and 1, values of ±10⁴, infinity and NaN. Every function is judged by itself, so one that does
# not work yet costs only its own points. Three hours are typical.

# %%
#| export
"""Activations: functions of a tensor that are not linear, computed so that range and precision of the dtype suffice.

    relu  leaky_relu  sigmoid  tanh  gelu  silu     of each element     classes ReLU, LeakyReLU, Sigmoid, Tanh, GELU, SiLU
    softmax  log_softmax                            along an axis       classes Softmax, LogSoftmax

float32 and float64 keep their dtype; float16 is computed in float32 and rounded once; integers and bools give float32.
NaN stays NaN. The result is a new row-major tensor of the operand's shape.
"""

import math
from decimal import Decimal, localcontext

import numpy as np

from tinytorch.tensor import Function, float16, float32, normal_axis

BLOCK = 16_384  # elements; with a few temporaries in float32 this fits a second-level cache

# %%
from mlsysbook import answer, case, check, predict, prop, reveal
from tinytorch import Storage, Tensor

VIEWS = {  # the checks also pass arrays that are not row-major
    "as it is": lambda x: x,
    "transposed": lambda x: x.T,
    "reversed": lambda x: x[::-1],
    "every second": lambda x: x[..., ::2],
}

# %% [markdown]
# ## 1. In blocks, in a dtype that is wide enough
#
# Two matrices in a row are one matrix: $(x W_1) W_2 = x (W_1 W_2)$. Without something between them that is not linear,
# a network of a hundred layers computes what one layer computes. That something acts on each element by itself, and so
# the first question is not which function, but how to run any function over a tensor.
#
# **Dtype.** Take SiLU, $x / (1 + e^{-x})$, at x = -12 in float16. $e^{12}$ = 162 755 exceeds 65 504, the largest
# float16, and becomes infinity; -12 / ∞ is -0. The right answer, -7.37·10⁻⁵, is a number that float16 holds. So:
# float16 is *computed* in float32 and rounded once, at the end. Integers and bools are computed in float32 and stay
# there, since their results are fractions.

# %%
#| export
def working_dtypes(dtype):
    """The dtype to compute in, and the dtype of the result."""
    if dtype == float16:
        return np.dtype(float32), np.dtype(float16)
    wide = dtype if dtype.kind == "f" else np.dtype(float32)
    return wide, wide


# %% [markdown]
# **Blocks.** NumPy runs one operation over the whole array before it starts the next. For `np.sqrt(1 + x * x)` on a
# million float32 it multiplies 4 MB, adds 4 MB, takes 4 MB of roots, and each step fetches from memory what the last
# one left there. If instead you take 16 384 elements at a time, 64 KiB, all three steps find their operands in the
# cache of the processor; only x is read from memory, and only the result is written. Temporaries shrink from 4 MB to 64
# KiB. The price is some Python for every block.
#
# **Worked example.** Ten elements, blocks of at most four: `compute` is called on 4, 4 and 2 elements.
#
# **Exercise 1.1** Write `blockwise`. `compute` stands for any formula: it takes a flat array of the working dtype and
# gives one of the same length and dtype. It must never see more than `size` elements, nor an array in the wrong dtype,
# nor is there any need for a second array as large as `x` if `x` is contiguous. A `size` below 1 is refused, and the
# message names it.

# %% solution="blockwise"
#| export
def blockwise(compute, x, size=BLOCK):
    """compute on every element of x, block by block -> a new row-major array of x's shape.

    compute(block) -> values: flat arrays of at most size elements in the working dtype of x. The result has the result
    dtype of x. Raises ValueError if size < 1.
    """
    ### BEGIN SOLUTION
    if size < 1:
        raise ValueError(f"a block has at least one element, got size {size}")
    wide, result = working_dtypes(x.dtype)
    out = np.empty(x.shape, result)
    source, target = x.reshape(-1), out.reshape(-1)
    for start in range(0, x.size, size):
        block = slice(start, start + size)
        target[block] = compute(source[block].astype(wide, copy=False))
    return out
    ### END SOLUTION


# %% check="blockwise" points=6
FORMULAS = {
    "x / 2": lambda x: x / 2,
    "sqrt(1 + x * x)": lambda x: np.sqrt(1 + x * x),
    "x / (1 + exp(-x))": lambda x: x / (1 + np.exp(-x)),
}
def ran(formula, x, size, view="as it is"):
    """What blockwise gave, and what its calls of compute looked like."""
    calls = []

    def compute(block):
        calls.append(block)
        return FORMULAS[formula](block)

    x = VIEWS[view](x)
    with np.errstate(all="ignore"):
        try:
            out = blockwise(compute, x, size)
        except ValueError as error:
            return {"refused": True, "the message names the size": str(size) in str(error)}
    return {
        "result": np.asarray(out),
        "row-major": out.flags.c_contiguous,
        "computed in": sorted({block.dtype.name for block in calls if block.size}),
        "flat blocks of at most size": all(block.ndim == 1 and block.size <= size for block in calls),
        "elements computed": sum(block.size for block in calls),
    }

check("blockwise", [
    case("x / 2", np.arange(10, dtype="float32").reshape(2, 5), 4),
    case("sqrt(1 + x * x)", np.array([3, 300, -300], "float16"), 2),
    case("sqrt(1 + x * x)", np.array([[0, 1], [2, 3]], "int8"), 99, view="transposed"),
    case("x / 2", np.ones(3), -2),
], call=ran)

# %% hidden="blockwise"
def cases(rng):
    core = "every element once, in blocks, the last one shorter"
    for formula in FORMULAS:
        shape = [int(n) for n in rng.integers(3, 7, 3)]
        size = int(rng.integers(4, 20))
        yield case(formula, rng.normal(size=shape).astype("float32"), size, behaviour=core)
        yield case(formula, rng.normal(size=2 * size), size, behaviour=core)
        yield case(formula, rng.normal(size=(size - 1,)), size, behaviour=core)
    dtypes = "the working dtype and the dtype of the result"
    for name in ("int8", "int32", "int64", "float64", "float32"):
        yield case("sqrt(1 + x * x)", (rng.normal(size=9) * 40).astype(name), 4, behaviour=dtypes)
    yield case("x / 2", np.array([True, False, True]), 2, behaviour=dtypes)
    half = "float16 is computed in float32 and rounded once"
    for formula in ("sqrt(1 + x * x)", "x / (1 + exp(-x))"):
        yield case(formula, rng.uniform(-500, 500, size=11).astype("float16"), 4, behaviour=half)
        yield case(formula, rng.uniform(-14, -12, size=(3, 3)).astype("float16"), 5, behaviour=half)
    views = "views with any strides"
    for view in VIEWS:
        yield case("x / 2", rng.normal(size=(4, 6)), int(rng.integers(3, 8)), view=view, behaviour=views)
        yield case("x / 2", rng.normal(size=(2, 3, 8)).astype("float16"), 7, view=view, behaviour=views)
    edges = "no axes, no elements, a size below one"
    yield case("x / 2", np.array(3.5), 4, behaviour=edges)
    yield case("x / 2", np.array(7, "int8"), 1, behaviour=edges)
    yield case("x / 2", np.zeros((3, 0, 2), "float32"), 4, behaviour=edges)
    yield case("x / 2", np.zeros(0, "float16"), 4, behaviour=edges)
    for size in (0, -int(rng.integers(2, 9))):
        yield case("x / 2", rng.normal(size=5), size, behaviour=edges)


# %% [markdown]
# An `Activation` is a `Function` of module 01 whose `forward` is your `blockwise`. Its subclasses only have to say what
# happens in a block: `compute` gets a flat array, float32 or float64, and returns one of the same dtype.

# %%
#| export
class Activation(Function):
    """A function of each element. A subclass defines compute(self, x, **params) on flat arrays of float32 or float64."""

    def forward(self, x, **params):
        return blockwise(lambda block: self.compute(block, **params), x)

    def compute(self, x, **params):
        raise NotImplementedError(f"{type(self).__name__} has no compute")


# %%
def values(activation, x, **params):
    """What an activation computes of an array: the checks below look at compute alone."""
    with np.errstate(all="ignore"):
        return np.asarray(activation(**params).compute(x, **params))


# %% [markdown]
# ## 2. ReLU, and what stays of nothing
#
# $\mathrm{relu}(x) = \max(x, 0)$: one comparison, no exponential. LeakyReLU lets a small part of the negative side
# through: $x$ where $x > 0$, and $\text{slope} \cdot x$ elsewhere.
#
# | x | -2 | 0 | 3 | -∞ | NaN |
# |---|---|---|---|---|---|
# | relu | 0 | 0 | 3 | 0 | NaN |
# | leaky_relu, slope 0.1 | -0.2 | 0 | 3 | -∞ | NaN |
#
# The last column is a rule for all functions here. NaN says that something went wrong upstream. A function that turns
# it into 0 hides the fault from everybody, and a training run goes on for days with a dead layer.
#
# **Exercises 2.1 and 2.2** Any finite slope is allowed: 0, negative, larger than 1.

# %% solution="relu"
#| export
class ReLU(Activation):
    """max(x, 0). Source: Nair and Hinton 2010."""

    def compute(self, x):
        ### BEGIN SOLUTION
        return np.maximum(x, 0)
        ### END SOLUTION


# %% solution="leaky_relu"
#| export
class LeakyReLU(Activation):
    """x where x > 0, slope * x elsewhere. Source: Maas, Hannun and Ng 2013."""

    def __init__(self, slope=0.01):
        super().__init__(slope=slope)

    def compute(self, x, slope=0.01):
        ### BEGIN SOLUTION
        return np.maximum(x, 0) + slope * np.minimum(x, 0)
        ### END SOLUTION


# %% check="relu" points=2
def relu_values(x):
    return values(ReLU, x)

check("relu", [case(np.array([-2.0, 0.0, 3.0])), case(np.array([-np.inf, np.nan, np.inf], "float32"))], call=relu_values)

# %% hidden="relu"
def cases(rng):
    for name in ("float32", "float64"):
        yield case(rng.normal(size=9).astype(name), behaviour="both signs, and the dtype stays")
        yield case(rng.normal(size=7).astype(name) * 1e4, behaviour="both signs, and the dtype stays")
    yield case(np.array([np.nan, rng.normal(), -np.nan], "float32"), behaviour="NaN stays NaN")
    yield case(rng.permutation(np.array([np.inf, -np.inf, rng.normal(), 0.0])), behaviour="infinity, and no elements")
    yield case(np.zeros(0, "float32"), behaviour="infinity, and no elements")


# %% check="leaky_relu" points=2
def leaky_values(x, slope=0.01):
    return values(LeakyReLU, x, slope=slope)

check("leaky_relu", [
    case(np.array([-2.0, 0.0, 3.0])),
    case(np.array([-np.inf, np.nan, np.inf], "float32"), slope=0.1),
    case(np.array([-2.0, 3.0], "float32"), slope=2.0),
], call=leaky_values)

# %% hidden="leaky_relu"
def cases(rng):
    for name in ("float32", "float64"):
        yield case(rng.normal(size=9).astype(name), slope=float(rng.uniform(0.05, 0.5)), behaviour="slopes below one")
        yield case(rng.normal(size=9).astype(name) * 1e4, behaviour="slopes below one")
    for slope in (float(rng.uniform(1.5, 4)), -float(rng.uniform(0.5, 2)), 0.0, 1.0):
        yield case(rng.normal(size=8).astype("float32"), slope=slope, behaviour="any slope")
    special = "NaN, infinity, no elements"
    yield case(rng.permutation(np.array([np.nan, np.inf, -np.inf, rng.normal()])), slope=0.3, behaviour=special)
    yield case(np.zeros(0, "float32"), slope=0.3, behaviour=special)


# %% [markdown]
# A unit of a layer is **dead** if its ReLU gives 0 for every input. Its slope is then 0 as well, so no gradient ever
# reaches its weights, and only a change in the layers before it can revive it. One large step that pushes the bias down
# is enough. Below, 512 units see 1000 inputs; the bias of all of them is moved. Before you run the cell: at which bias
# are half of the units dead, if their inputs without the bias are normally distributed with standard deviation 1?

# %% show
import matplotlib.pyplot as plt

rng = np.random.default_rng(0)
inputs = rng.normal(size=(1000, 64)).astype("float32")
weights = rng.normal(scale=1 / 8, size=(64, 512)).astype("float32")
before = Tensor(inputs) @ Tensor(weights)
shifts = np.arange(-5.0, 1.1, 0.25)
dead, silent = [], []
for shift in shifts:
    out = ReLU.apply(before + float(shift)).numpy()
    dead.append((out == 0).all(axis=0).mean())
    silent.append((out == 0).mean())
figure, axes = plt.subplots(figsize=(6.5, 3.2))
axes.plot(shifts, dead, "o-", label="units that are 0 for every input")
axes.plot(shifts, silent, "--", label="outputs that are 0")
axes.set(xlabel="bias", ylabel="share", title="How units die when the bias falls")
axes.legend(loc=(0.4, 0.12))
plt.show()
print(f"Figure: two falling curves over the bias. Of the outputs {silent[0]:.0%} are 0 at bias -5, half at bias 0. "
      f"Of the units {dead[12]:.1%} are dead at bias -2, half near bias {np.interp(-0.5, -np.array(dead), shifts):.1f}, "
      f"{dead[0]:.0%} at bias -5.")

# %% [markdown]
# ## 3. Sigmoid: an overflow that matters and one that does not
#
# $\sigma(x) = 1 / (1 + e^{-x})$ maps any number to a probability. Multiply above and below by $e^x$: $\sigma(x) = e^x /
# (1 + e^x)$. On paper these are the same. The exponential leaves the range of a dtype early:
#
# | | float16 | float32 | float64 |
# |---|---|---|---|
# | $e^x$ is infinite above x = | 11.09 | 88.72 | 709.78 |
# | $e^x$ is 0 below x = | -17.3 | -104.0 | -745.1 |
#
# **Worked example**, float32, both formulas at both ends.
#
# | | x = 100 | x = -100 |
# |---|---|---|
# | $1 / (1 + e^{-x})$ | 1 / (1 + 4·10⁻⁴⁴) = 1 | 1 / (1 + ∞) = 0 |
# | $e^x / (1 + e^x)$ | ∞ / ∞ = **NaN** | 4·10⁻⁴⁴ / 1 = 4·10⁻⁴⁴ |
#
# An overflow is not an error by itself. An infinity in a denominator gives 0, which is often the limit one wants;
# infinity divided by infinity has lost everything. Still, a programmer who hunts the origin of a NaN lets NumPy raise
# an error at the first overflow: `np.errstate(over="raise")`. Functions that overflow and recover make that useless. So
# this sigmoid shall not overflow anywhere. `np.where` does not help by itself: it computes both of its branches
# everywhere and then selects.
#
# The left tail matters as well. σ(-40) is 4·10⁻¹⁸, and a loss takes its logarithm. Formulas such as
# $\tfrac12 (1 + \tanh \tfrac x2)$ subtract two numbers that are nearly equal and answer 0.
#
# **Exercise 3.1** Sigmoid: no overflow on the way, small values to full relative precision.
#
# **Exercise 3.2** $\mathrm{silu}(x) = x \cdot \sigma(x)$, also called swish. Here overflow on the way is allowed if the
# result is right. The result at -∞ is NaN, as in PyTorch, because $-\infty \cdot 0$ is; at ±10⁴ it is finite.

# %% solution="sigmoid"
#| export
class Sigmoid(Activation):
    """1 / (1 + exp(-x)). Nothing overflows on the way, and small values keep their digits."""

    def compute(self, x):
        ### BEGIN SOLUTION
        return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))
        ### END SOLUTION


# %% solution="silu"
#| export
class SiLU(Activation):
    """x * sigmoid(x); NaN at -inf. Source: Elfwing, Uchibe and Doya 2017."""

    def compute(self, x):
        ### BEGIN SOLUTION
        return x / (1 + np.exp(-x))
        ### END SOLUTION


# %% check="sigmoid" points=5
def sigmoid_values(x):
    """What Sigmoid computes; an overflow on the way raises FloatingPointError."""
    with np.errstate(all="ignore", over="raise"):
        return np.asarray(Sigmoid().compute(x))

check("sigmoid", [
    case(np.array([-3.0, 0.0, 3.0])),
    case(np.array([-40.0, 40.0])),
    case(np.array([100.0, -1e4, np.nan], "float32")),
], call=sigmoid_values, atol=0.0)

# %% hidden="sigmoid"
def cases(rng):
    for name in ("float32", "float64"):
        yield case(rng.normal(size=9).astype(name) * 3, behaviour="moderate values of both signs")
        yield case(-rng.uniform(0.1, 5, size=6).astype(name), behaviour="moderate values of both signs")
    for name, low, high in (("float32", -80, -18), ("float64", -650, -38), ("float64", -60, -40)):
        yield case(rng.uniform(low, high, size=7).astype(name), behaviour="small values keep their digits")
    for name, low, high in (("float32", 90, 1e4), ("float64", 720, 1e4)):
        yield case(rng.uniform(low, high, size=5).astype(name), behaviour="large values do not overflow on the way")
        yield case(-rng.uniform(2 * low, high, size=5).astype(name), behaviour="large values do not overflow on the way")
    special = "NaN, infinity, no elements"
    for name in ("float32", "float64"):
        yield case(rng.permutation(np.array([np.nan, np.inf, -np.inf, -0.0, rng.normal()])).astype(name), behaviour=special)
    yield case(np.zeros(0, "float32"), behaviour=special)


# %% check="silu" points=3
def silu_values(x):
    return values(SiLU, x)

check("silu", [
    case(np.array([-3.0, 0.0, 3.0])),
    case(np.array([-1e4, 1e4, -np.inf, np.inf], "float32")),
], call=silu_values, atol=0.0)

# %% hidden="silu"
def cases(rng):
    for name in ("float32", "float64"):
        yield case(rng.normal(size=9).astype(name) * 3, behaviour="moderate values of both signs")
    for name, top in (("float32", 80), ("float64", 600)):
        yield case(rng.uniform(-top, -20, size=6).astype(name), behaviour="small results keep their digits")
        yield case(rng.uniform(2 * top, 1e4, size=6).astype(name), behaviour="large values of both signs")
        yield case(-rng.uniform(2 * top, 1e4, size=6).astype(name), behaviour="large values of both signs")
    special = "NaN, infinity, no elements"
    yield case(rng.permutation(np.array([np.nan, np.inf, -np.inf, 0.0, rng.normal()])), behaviour=special)
    yield case(np.zeros(0, "float32"), behaviour=special)


# %% [markdown]
# ## 4. Tanh: the other way to lose digits
#
# $\tanh x = (e^x - e^{-x}) / (e^x + e^{-x})$ maps to the interval from -1 to 1, and near 0 it is nearly the identity:
# $\tanh x \approx x - x^3/3$. That is where the formula fails. **Worked example** in float32, x = 10⁻⁴:
#
# | | value |
# |---|---|
# | $e^x$, rounded to float32 | 1.00010002 |
# | $e^{-x}$, rounded to float32 | 0.99989998 |
# | their difference / their sum | 1.0001659·10⁻⁴ |
# | tanh x | 9.9999997·10⁻⁵ |
#
# Each exponential is right to 7 digits or so. The first 4 cancel, and the difference has 3 or 4 left; nothing done
# afterwards brings the others back. This is **cancellation**: a small difference of large numbers that were rounded
# before. At x = 10⁻⁸ nothing is left at all. More care in the subtraction does not help; a formula that does not form
# the large numbers does. NumPy offers $\mathrm{expm1}(x) = e^x - 1$, right to the last digits however small x is.
#
# **Exercise 4.1** Write tanh with `np.expm1` and arithmetic, to full relative precision from 10⁻³⁰ to 10⁴ and of both
# signs. `np.tanh` itself does without your help; it becomes the exported class, and the cell below compares the two.

# %% solution="tanh_expm1"
def tanh_expm1(x):
    """tanh of a float32 or float64 array, through expm1."""
    ### BEGIN SOLUTION
    e = np.expm1(-2 * np.abs(x))
    return np.copysign(e / (e + 2), x)
    ### END SOLUTION


# %% check="tanh_expm1" points=4
def tanh_values(x):
    with np.errstate(all="ignore"):
        return np.asarray(tanh_expm1(x))

check("tanh_expm1", [
    case(np.array([-2.0, 0.5, 2.0])),
    case(np.array([1e-4, -1e-8], "float32")),
    case(np.array([1e4, -1e4, np.nan])),
], call=tanh_values, atol=0.0, forbid=("np.tanh", "np.sinh", "np.cosh", "math.tanh", "np.arctanh"))

# %% hidden="tanh_expm1"
def cases(rng):
    def signs(n):
        return rng.choice([-1.0, 1.0], size=n)

    for name in ("float32", "float64"):
        yield case((rng.uniform(0.3, 3, size=9) * signs(9)).astype(name), behaviour="moderate values of both signs")
        small = 10.0 ** rng.uniform(-30, -3, size=9)
        yield case((small * signs(9)).astype(name), behaviour="small values keep their digits")
        yield case((rng.uniform(20, 1e4, size=6) * signs(6)).astype(name), behaviour="large values")
    special = "NaN, infinity, no elements"
    yield case(rng.permutation(np.array([np.nan, np.inf, -np.inf, 0.0, rng.normal()])), behaviour=special)
    yield case(np.zeros(0, "float32"), behaviour=special)


# %%
#| export
class Tanh(Activation):
    """Hyperbolic tangent: NumPy's own, in vector instructions where the processor has them."""

    def compute(self, x):
        return np.tanh(x)


# %% show
import time


def best(f, repeat=7):
    """Shortest of several runs, in seconds: the one that was disturbed least."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


x = np.geomspace(1e-6, 8, 20_000, dtype="float32")
exact = np.tanh(x.astype("float64"))
print("float32, 10⁻⁶ to 8     largest relative error   time of 20,000")
for name, f in (("from e^x and e^-x", lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))),
                ("tanh_expm1", tanh_expm1), ("np.tanh", np.tanh)):
    error = np.abs(f(x) - exact) / exact
    print(f"{name:20}  {error.max():22.1e}   {best(lambda f=f: f(x)) * 1e6:8.0f} µs")

# %% [markdown]
# ## 5. GELU: a function that NumPy does not have
#
# GELU weighs x by the probability that a standard normal variable lies below x: $\mathrm{gelu}(x) = x \, \Phi(x)$, with
# $\Phi(x) = \tfrac12 \mathrm{erfc}(-x / \sqrt 2)$. So gelu(1) = 1 · 0.8413. It goes to x on the right, to 0 on the
# left, and it is smooth between.
#
# The complementary error function $\mathrm{erfc}(z) = \tfrac{2}{\sqrt\pi} \int_z^\infty e^{-s^2} ds$ falls from 2
# through erfc(0) = 1 towards 0. Most texts write Φ with $\mathrm{erf} = 1 - \mathrm{erfc}$ instead. You know why that is
# worse: at x = -5, $\Phi = \tfrac12 (1 + \mathrm{erf}(-3.54))$ is a difference of 1 and 0.99999943. In float32 it comes
# out as 2.98·10⁻⁷ where 2.87·10⁻⁷ is right, and at x = -6 as 0.
#
# Python's `math.erfc` takes one number at a time. For arrays we build our own, and the way there is the way to most
# functions of a mathematics library.
#
# **1. Take out what a polynomial cannot follow.** erfc falls like $e^{-z^2}$, through three hundred powers of ten before
# z = 27. So write, for z ≥ 0,
#
# $$\mathrm{erfc}(z) = t \, e^{\,p(y) - z^2}, \qquad t = \frac{2}{2 + z}, \quad y = 2t - 1 .$$
#
# As z goes from 0 to ∞, y goes from 1 to -1. What remains, $p = \ln(e^{z^2} \mathrm{erfc}(z) / t)$, bends gently from
# p(1) = 0 to p(-1) = ln(1 / 2√π) = -1.27. (The form is that of Press, Teukolsky, Vetterling and Flannery, *Numerical
# Recipes*, 3rd edition, 2007, section 6.2; the table is computed here.)
#
# **2. Interpolate at Chebyshev's points.** Points $y_k = \cos(\pi (k + \tfrac12) / n)$ crowd towards both ends of the
# interval, where equally spaced points let a polynomial swing. The interpolating polynomial is then a sum of
# $c_j \cos(j \arccos y)$, with $c_j = \tfrac2n \sum_k p(y_k) \cos(j \pi (k + \tfrac12) / n)$ and half of that for $c_0$.
#
# **3. Cut.** No cosine exceeds 1. Whatever stands beyond the last term that is kept bounds the error.
#
# All of this must be more precise than float64, or its rounding ends up in every coefficient. Python's `Decimal` computes
# with 45 digits: erfc from the series of erf where z is small and from a continued fraction where it is large.

# %%
#| export
PI = Decimal("3.14159265358979323846264338327950288419716939937510")


def scaled_erfc(z):
    """exp(z²) erfc(z) of a Decimal z >= 0. Series and continued fraction: Abramowitz and Stegun 1964, 7.1.6 and 7.1.14."""
    if z < 3:
        term = total = 2 * z / PI.sqrt()
        k = 0
        while term > Decimal("1e-40"):
            k += 1
            term *= 2 * z * z / (2 * k + 1)
            total += term
        return (z * z).exp() - total
    tail = z
    for k in range(120, 0, -1):
        tail = z + k / (2 * tail)
    return 1 / (tail * PI.sqrt())


def cosine(x):
    """cos of a Decimal, from its series."""
    term = total = Decimal(1)
    k = 0
    while abs(term) > Decimal("1e-40"):
        k += 2
        term *= -x * x / (k * (k - 1))
        total += term
    return total


def chebyshev_table(points=40):
    """Chebyshev coefficients of p(y), where erfc(z) = t exp(p(2t - 1) - z²) and t = 2 / (2 + z) -> list of floats."""
    with localcontext(prec=45):
        circle = [cosine(PI * q / (2 * points)) for q in range(4 * points)]
        halves = [2 * k + 1 for k in range(points)]
        nodes = [circle[h] for h in halves]
        values = [(scaled_erfc(4 / (1 + y) - 2) * 2 / (1 + y)).ln() for y in nodes]
        sums = [sum(v * circle[j * h % (4 * points)] for v, h in zip(values, halves, strict=True)) for j in range(points)]
        return [float(total / points * (2 if j else 1)) for j, total in enumerate(sums)]


CHEBYSHEV = chebyshev_table()
TERMS = {"float32": 12, "float64": 28}
POWERS = {name: np.polynomial.chebyshev.cheb2poly(CHEBYSHEV[:terms]).tolist() for name, terms in TERMS.items()}

# %%
def exact_erfc(x):
    """erfc from Python's math module, one number at a time."""
    return np.array([math.erfc(v) for v in x.ravel()], x.dtype).reshape(x.shape)


# %% show
print("term    size   what all later terms can add")
for j in (0, 1, 2, 4, 8, 10, 11, 12, 16, 20, 24, 26, 27, 28, 32):
    print(f"{j:4}  {abs(CHEBYSHEV[j]):7.0e}   {sum(map(abs, CHEBYSHEV[j + 1:])):7.0e}")
print(f"one unit in the last place is {np.finfo('float32').eps:.0e} in float32 and {np.finfo('float64').eps:.0e} in float64")
print(f"the table took {best(chebyshev_table, 3) * 1e3:.1f} ms")

# %% [markdown]
# The terms shrink by a factor of about 4 each, on average. Twelve of them, $c_0$ to $c_{11}$, are enough for float32,
# and 28 for float64: half the digits, half the work.
#
# `POWERS[dtype.name]` holds the same polynomial as coefficients of $y^0, y^1, \dots$, ready for evaluation by Horner's
# rule. **Worked example**: $2 + 3y + 5y^2$ is $(5y + 3)y + 2$, so for y = 10 the steps are 5, 53, 532.
#
# **Exercise 5.1** Write `erfc` for flat arrays. For negative arguments there is the mirror,
# $\mathrm{erfc}(-z) = 2 - \mathrm{erfc}(z)$. float32 must stay float32 throughout: a single float64 constant array makes
# the whole computation twice as large. Few units in the last place are allowed, and for large z a little more: $z^2$ is
# rounded before the exponential, which turns its last digit into a relative error of $z^2$ times that of a float.
#
# **Exercise 5.2** GELU, exact, and in the approximation that GPT-2 made popular:
#
# $$\mathrm{gelu}(x) \approx \tfrac12 x \left(1 + \tanh\left(\sqrt{2/\pi}\,(x + 0.044715\,x^3)\right)\right)$$
#
# The dtype stays here too. Mind that `np.sqrt(2)` is a float64 of NumPy, which makes a float32 array beside it float64,
# while `math.sqrt(2)` is a Python number, which does not. The exact form keeps its digits in the left tail. The check
# runs your GELU with Python's `math.erfc` in place of your own, so it does not depend on 5.1. At -∞ both are NaN, as in
# PyTorch; +∞ gives +∞ under tanh, and so it shall under the exact form.

# %% solution="erfc"
#| export
def erfc(x):
    """Complementary error function of a float32 or float64 array, in its dtype.

    Relative error below 4 (1 + x²) units in the last place, so that the left tail of GELU keeps its digits.
    """
    ### BEGIN SOLUTION
    z = np.abs(x)
    t = 2 / (2 + z)
    y = 2 * t - 1
    powers = POWERS[x.dtype.name]
    value = np.full_like(y, powers[-1])
    for power in reversed(powers[:-1]):  # in place: each step is two passes over a block in the cache
        value *= y
        value += power
    value -= z * z
    np.exp(value, out=value)
    value *= t
    return np.copysign(value, x) + 2 * np.signbit(x).astype(x.dtype)
    ### END SOLUTION


# %% solution="gelu"
#| export
class GELU(Activation):
    """x times the normal distribution function of x. approximate="tanh" takes the formula of GPT-2; NaN at -inf.

    Raises ValueError for another word. Source: Hendrycks and Gimpel 2016.
    """

    def __init__(self, approximate="none"):
        if approximate not in ("none", "tanh"):
            raise ValueError(f"approximate={approximate!r}: choose 'none' or 'tanh'")
        super().__init__(approximate=approximate)

    def compute(self, x, approximate="none"):
        ### BEGIN SOLUTION
        if approximate == "tanh":
            inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
            return x / (1 + np.exp(-2 * inner))  # (1 + tanh u) / 2 = sigmoid(2u), which does not cancel on the left
        return 0.5 * x * erfc(x * -math.sqrt(0.5))
        ### END SOLUTION


# %% check="erfc" points=6
def erfc_values(x):
    with np.errstate(all="ignore"):
        return np.asarray(erfc(x))

def is_close(out, x):
    """Within 16 units in the last place, and more as x² grows."""
    exact = exact_erfc(x.astype("float64"))
    unit = np.finfo(x.dtype).eps * (1 + np.where(np.isfinite(x), x, 0).astype("float64") ** 2)
    return bool(((np.abs(out - exact) <= 16 * unit * exact) | np.isnan(exact)).all())

check("erfc", [
    case(np.array([0.0, 1.0, -1.0])),
    case(np.array([0.5, -3.0, 5.0], "float32")),
    case(np.array([np.inf, -np.inf, np.nan, 20.0])),
], call=erfc_values, properties=[prop("lie within 16 (1 + x²) units in the last place of erfc", is_close)],
      forbid=("math.erfc", "math.erf", "exact_erfc", "np.vectorize", "np.frompyfunc"))

# %% hidden="erfc"
def cases(rng):
    core = "positive arguments, to a few units in the last place"
    for name in ("float32", "float64"):
        yield case(rng.uniform(0, 3, size=12).astype(name), behaviour=core)
        yield case(rng.uniform(0, 0.3, size=8).astype(name), behaviour=core)
    for name in ("float32", "float64"):
        yield case(-rng.uniform(0, 3, size=9).astype(name), behaviour="negative arguments")
        yield case(rng.normal(size=9).astype(name), behaviour="negative arguments")
    for name, low, high in (("float32", 4, 9), ("float64", 6, 26), ("float64", 4, 7)):
        yield case(rng.uniform(low, high, size=8).astype(name), behaviour="small results keep their digits")
    special = "NaN, infinity, ±10⁴, no elements"
    for name in ("float32", "float64"):
        yield case(rng.permutation(np.array([np.nan, np.inf, -np.inf, 1e4, -1e4, rng.normal()])).astype(name),
                   behaviour=special)
    yield case(np.zeros(0, "float32"), behaviour=special)


# %% check="gelu" points=5
def gelu_values(x, approximate="none"):
    """What GELU computes, with Python's erfc in place of the notebook's own."""
    own = globals().get("erfc")
    globals()["erfc"] = exact_erfc
    try:
        return values(GELU, x, approximate=approximate)
    finally:
        globals()["erfc"] = own

check("gelu", [
    case(np.array([-1.0, 0.0, 1.0, 3.0])),
    case(np.array([-1.0, 0.0, 1.0, 3.0], "float32"), approximate="tanh"),
    case(np.array([-6.0, 10.0], "float32")),
    case(np.array([np.inf, -np.inf, np.nan])),
], call=gelu_values, atol=0.0)

# %% hidden="gelu"
def cases(rng):
    for name in ("float32", "float64"):
        yield case(rng.normal(size=9).astype(name), behaviour="exact, moderate values")
        yield case(rng.uniform(-3, 3, size=9).astype(name), behaviour="exact, moderate values")
    for name in ("float32", "float64"):
        yield case(rng.uniform(-2, 4, size=12).astype(name), approximate="tanh", behaviour="the tanh approximation")
    for name, low, high in (("float32", -9, -5), ("float64", -30, -6)):
        yield case(rng.uniform(low, high, size=8).astype(name), behaviour="exact, the left tail keeps its digits")
    special = "NaN, infinity, ±10⁴, no elements"
    for approximate in ("none", "tanh"):
        yield case(rng.permutation(np.array([np.nan, np.inf, 1e4, -1e4, rng.normal()])).astype("float32"),
                   approximate=approximate, behaviour=special)
        yield case(np.array([-np.inf, np.inf]), approximate=approximate, behaviour=special)
        yield case(np.zeros(0), approximate=approximate, behaviour=special)


# %% show
x = np.linspace(-9, 9, 4001)
print("largest relative error of erfc, in units of the last place times (1 + x²):")
for name in TERMS:
    some = x.astype(name)
    exact = np.array([math.erfc(v) for v in some])
    unit = np.finfo(name).eps * (1 + x * x)
    print(f"  {name}: {np.max(np.abs(erfc(some) - exact) / exact / unit):.1f}")
off = values(GELU, x, approximate="tanh") - values(GELU, x)
print(f"the tanh form differs from exact GELU by up to {np.abs(off).max():.1e}, at x = {x[np.abs(off).argmax()]:.2f}")

# %% [markdown]
# ## 6. Softmax: shift before you exponentiate
#
# Softmax turns scores into probabilities: $p_i = e^{x_i} / \sum_j e^{x_j}$. The same factor above and below changes
# nothing, so for any $m$
#
# $$p_i = \frac{e^{x_i - m}}{\sum_j e^{x_j - m}} .$$
#
# Paper does not care which $m$ you take; float32 does. **Worked example**, the row (1000, 999, 0) in float32.
#
# | m | exponentials | sum | softmax |
# |---|---|---|---|
# | 0 | ∞, ∞, 1 | ∞ | NaN, NaN, 0 |
# | 500, about the middle | ∞, ∞, 0 | ∞ | NaN, NaN, 0 |
# | 1200, far above | 0, 0, 0 | 0 | NaN, NaN, NaN |
# | 1000, the maximum of the row | 1, 0.3679, 0 | 1.3679 | 0.7311, 0.2689, 0 |
#
# With the maximum no exponential exceeds 1, and one of them is 1, so that the sum lies between 1 and the length of the
# row. The exponential of a far smaller score becomes 0; next to 1 it did not count anyway.
#
# Infinity needs no special code if the order of operations is right, and this is how PyTorch behaves too:
#
# | row | softmax | why |
# |---|---|---|
# | (0, -∞) | (1, 0) | a masked score has probability 0; attention lives on this |
# | (-∞, -∞) | (NaN, NaN) | nothing is left to distribute over: -∞ - (-∞) is NaN |
# | (0, ∞) | (NaN, NaN) | ∞ - ∞ |
#
# An axis of length 0 gives an empty result. Take care: a maximum of no numbers does not exist.
#
# **Log-softmax.** A loss wants $\ln p_i$. For a score 200 below the maximum $p_i$ is 0 in float32, and its logarithm
# -∞ instead of -200. Written out, $\ln p_i = x_i - \mathrm{lse}(x)$ with
#
# $$\mathrm{lse}(x) = \ln \sum_j e^{x_j} = m + \ln \sum_j e^{x_j - m} ,$$
#
# the **log-sum-exp**. Again there is more than one order. Take the row (10000, 10000) in float32, whose log-softmax is
# -0.6931 twice. Next to 10 000 a float32 has steps of 0.00098, so lse = 10 000.6934 is off by up to half of that before
# you subtract it. There is an order in which nothing large is left when the logarithm comes.
#
# Below, `AlongAxis` deals with dtypes and with the axis, which is in range when `compute` gets it. `compute` gets an
# array of any shape and strides, float32 or float64.
#
# **Exercises 6.1 and 6.2** Softmax and log-softmax along one axis.

# %%
#| export
class AlongAxis(Function):
    """A function along one axis. A subclass defines compute(self, x, axis) on arrays of float32 or float64.

    Raises IndexError if there is no such axis.
    """

    def __init__(self, axis=-1):
        super().__init__(axis=axis)

    def forward(self, x, axis=-1):
        wide, result = working_dtypes(x.dtype)
        return self.compute(x.astype(wide, copy=False), normal_axis(axis, x.ndim)).astype(result, copy=False)

    def compute(self, x, axis):
        raise NotImplementedError(f"{type(self).__name__} has no compute")


# %% solution="softmax"
#| export
class Softmax(AlongAxis):
    """exp(x) / sum of exp(x) along an axis. A row of nothing but -inf, or with +inf in it, is NaN."""

    def compute(self, x, axis):
        ### BEGIN SOLUTION
        out = x - x.max(axis, keepdims=True, initial=-np.inf)
        np.exp(out, out=out)
        out /= out.sum(axis, keepdims=True)
        return out
        ### END SOLUTION


# %% solution="log_softmax"
#| export
class LogSoftmax(AlongAxis):
    """x - log(sum of exp(x)) along an axis. A row of nothing but -inf, or with +inf in it, is NaN."""

    def compute(self, x, axis):
        ### BEGIN SOLUTION
        out = x - x.max(axis, keepdims=True, initial=-np.inf)
        out -= np.log(np.exp(out).sum(axis, keepdims=True))
        return out
        ### END SOLUTION


# %% check="softmax" points=7
def softmax_values(x, axis, view="as it is"):
    with np.errstate(all="ignore"):
        return np.asarray(Softmax().compute(VIEWS[view](x), axis))

check("softmax", [
    case(np.array([[1000.0, 999.0, 0.0], [-1e4, -1e4, -1e4]], "float32"), 1),
    case(np.array([[0.0, 1.0], [-np.inf, 1.0]]), 0),
    case(np.array([[-np.inf, -np.inf], [0.0, np.inf]]), 1),
    case(np.zeros((2, 0)), 1),
], call=softmax_values)

# %% hidden="softmax"
def cases(rng):
    def normal(axes, name, scale=2):
        return rng.normal(scale=scale, size=[int(n) for n in rng.integers(2, 6, axes)]).astype(name)

    for axes, axis in ((1, 0), (2, 0), (2, 1), (3, 1), (4, 2)):
        yield case(normal(axes, str(rng.choice(["float32", "float64"]))), axis, behaviour="any axis")
    far = "scores around ±10⁴, and rows far from each other"
    for centre in (1e4, -1e4):
        yield case((centre + rng.normal(size=(3, 5))).astype("float32"), 1, behaviour=far)
        rows = rng.permutation(np.array([[-1e4], [0.0], [1e4]]))
        yield case(rows + rng.normal(size=(3, 4)), 1, behaviour=far)
        yield case((rows + rng.normal(size=(3, 4))).T.astype("float32"), 0, behaviour=far)
    special = "masked rows, infinity and NaN"
    x = rng.normal(size=(6, 5))
    x[rng.random(x.shape) < 0.3] = -np.inf
    x[0], x[1, 2], x[2, 1] = -np.inf, np.inf, np.nan
    yield case(x, 1, behaviour=special)
    yield case(x.astype("float32"), 0, behaviour=special)
    for view in ("transposed", "reversed", "every second"):
        yield case(normal(3, "float32"), int(rng.integers(3)), view=view, behaviour="views with any strides")
    for shape, axis in (((3, 0), 1), ((0, 3), 1), ((0, 3), 0), ((4, 1), 1), ((2, 0, 3), 2)):
        yield case(rng.normal(size=shape).astype("float32"), axis, behaviour="axes of length zero and one")


# %% check="log_softmax" points=7
def log_softmax_values(x, axis, view="as it is"):
    with np.errstate(all="ignore"):
        return np.asarray(LogSoftmax().compute(VIEWS[view](x), axis))

check("log_softmax", [
    case(np.array([[1000.0, 999.0, 0.0], [-1e4, -1e4, -1e4]], "float32"), 1),
    case(np.array([[1e4, 1e4]], "float32"), 1),
    case(np.array([[-np.inf, -np.inf], [0.0, -np.inf], [0.0, np.inf]]), 1),
    case(np.zeros((2, 0)), 1),
], call=log_softmax_values)

# %% hidden="log_softmax"
def cases(rng):
    def normal(axes, name, scale=2):
        return rng.normal(scale=scale, size=[int(n) for n in rng.integers(2, 6, axes)]).astype(name)

    for axes, axis in ((1, 0), (2, 0), (2, 1), (3, 1), (4, 2)):
        yield case(normal(axes, str(rng.choice(["float32", "float64"]))), axis, behaviour="any axis")
    for scale in (200, 1000):
        yield case(normal(2, "float32", scale), 1, behaviour="improbable scores keep a finite logarithm")
        yield case(normal(3, "float64", 10 * scale), 1, behaviour="improbable scores keep a finite logarithm")
    far = "scores around ±10⁴ keep their digits, rows far from each other too"
    for centre in (1e4, -1e4):
        yield case((centre + rng.normal(size=(3, 5))).astype("float32"), 1, behaviour=far)
        yield case((centre + rng.normal(size=(5, 3))).astype("float32"), 0, behaviour=far)
    yield case(rng.permutation(np.array([[-1e4], [0.0], [1e4]])) + rng.normal(size=(3, 4)), 1, behaviour=far)
    special = "masked rows, infinity and NaN"
    x = rng.normal(size=(6, 5))
    x[rng.random(x.shape) < 0.3] = -np.inf
    x[0], x[1, 2], x[2, 1] = -np.inf, np.inf, np.nan
    yield case(x, 1, behaviour=special)
    yield case(x.astype("float32"), 0, behaviour=special)
    edges = "views with any strides, axes of length zero and one"
    for view in ("transposed", "reversed", "every second"):
        yield case(normal(3, "float32"), int(rng.integers(3)), view=view, behaviour=edges)
    for shape, axis in (((3, 0), 1), ((0, 3), 1), ((0, 3), 0), ((4, 1), 1), ((2, 0, 3), 2)):
        yield case(rng.normal(size=shape).astype("float32"), axis, behaviour=edges)


# %% [markdown]
# The functions that users call. As everywhere in TinyTorch they take tensors, arrays and numbers.

# %%
#| export
def relu(x):
    """max(x, 0)."""
    return ReLU.apply(x)


def leaky_relu(x, slope=0.01):
    """x where x > 0, slope * x elsewhere."""
    return LeakyReLU.apply(x, slope=slope)


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return Sigmoid.apply(x)


def tanh(x):
    """Hyperbolic tangent."""
    return Tanh.apply(x)


def gelu(x, approximate="none"):
    """x times the normal distribution function of x; approximate="tanh" takes the formula of GPT-2."""
    return GELU.apply(x, approximate=approximate)


def silu(x):
    """x * sigmoid(x)."""
    return SiLU.apply(x)


def softmax(x, axis=-1):
    """exp(x) / sum of exp(x) along an axis."""
    return Softmax.apply(x, axis=axis)


def log_softmax(x, axis=-1):
    """log(softmax(x)) along an axis, finite where softmax is 0."""
    return LogSoftmax.apply(x, axis=axis)


# %% show
x = Tensor([[1000.0, 999.0, 0.0], [-1e4, -1e4, -1e4]])
print("softmax      ", softmax(x))
print("log_softmax  ", log_softmax(x))
print("of each column", softmax(x, axis=0).tolist())
print("int8 gives   ", sigmoid(Tensor([-3, 0, 3], "int8")))
print("float16 keeps", silu(Tensor([-12.0], "float16")))
for attempt in (lambda: softmax(x, axis=2), lambda: GELU(approximate="fast"), lambda: LeakyReLU(leak=0.1),
                lambda: relu("x")):
    try:
        attempt()
    except (ValueError, TypeError, IndexError) as error:
        print(f"{type(error).__name__:13}{error}")

# %% [markdown]
# ## 7. Look at them
#
# The slope of a function at x is what a small change of x is multiplied by. Central differences show it without a
# formula: $(f(x + h) - f(x - h)) / 2h$.

# %% show
def slope(f, x, h=1e-5):
    """Slope of an activation at every x, by central differences in float64."""
    return (f(Tensor(x + h)).numpy() - f(Tensor(x - h)).numpy()) / (2 * h)


SHOWN = {"ReLU": relu, "LeakyReLU 0.1": lambda x: leaky_relu(x, 0.1), "sigmoid": sigmoid, "tanh": tanh, "GELU": gelu,
         "SiLU": silu}
x = np.linspace(-5, 5, 400)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
for (name, f), style in zip(SHOWN.items(), ("-", "--", "-", "--", "-.", ":"), strict=True):
    left.plot(x, f(Tensor(x)).numpy(), style, label=name)
    right.plot(x, slope(f, x), style, label=name)
left.set(title="the function", xlabel="x", ylim=(-1.2, 3))
right.set(title="its slope", xlabel="x")
left.legend(fontsize=8)
plt.show()
steepest = {name: slope(f, x).max() for name, f in SHOWN.items()}
print("Figure: left, six activations from -5 to 5; sigmoid and tanh level off on both sides, the others grow on the right. "
      "Right, their slopes. Largest slopes: " + ", ".join(f"{name} {s:.2f}" for name, s in steepest.items()) + ". "
      f"Slopes at -5: {', '.join(f'{name} {slope(f, np.array([-5.0]))[0]:.3f}' for name, f in SHOWN.items())}.")

# %% [markdown]
# Where a slope is near 0, the function is **saturated**: its output hardly depends on its input, and training hardly
# moves what lies before it. Sigmoid and tanh saturate on both sides. The slope of ReLU is exactly 0 on the left; on the
# right it is exactly 1, however far one goes. The slopes of GELU and SiLU rise a little above 1 on the right and dip
# below 0 on the left.
#
# Slopes multiply. A change that passes through ten sigmoids in a row, with weights of 1 between them, is multiplied by
# ten slopes of a sigmoid. **By what factor at most**, if everything is chosen most favourably?

# %% answer="ten_sigmoids" points=2
ten_sigmoids = ""  # a number, such as "0.01"
### BEGIN SOLUTION
ten_sigmoids = f"{0.25**10:.4g}"
### END SOLUTION

# %% key="ten_sigmoids"
from mlsysbook import Key, Mistake


def key(v):
    steepest = 0.5 * (1 - 0.5)  # sigma (1 - sigma) is largest at x = 0
    return Key(steepest**10, "", tol=0.02, mistakes=[
        Mistake(0.5**10, 0.25, "0.5 is the value of the sigmoid at 0; its slope there is smaller"),
        Mistake(10 * steepest, 0, "slopes in a chain multiply, they do not add"),
        Mistake(steepest, 0.25, "that is one sigmoid; ten in a row multiply ten slopes"),
    ])

# %% [markdown]
# The next cell sends a batch through 20 layers of 64 units with random weights, and a small change along with it. It
# shows how much of the change is left after every layer. Weights have standard deviation $\sqrt{1/64}$, or
# $\sqrt{2/64}$ for the four that lose about half of what enters; module 03 says why.

# %% show
rng = np.random.default_rng(1)
start = rng.normal(size=(32, 64))
figure, axes = plt.subplots(figsize=(6.5, 3.6))
left_over = {}
for (name, f), style in zip(SHOWN.items(), ("-", "--", "-", "--", "-.", ":"), strict=True):
    h, change, sizes = start, rng.normal(size=start.shape), []
    scale = 1 if name in ("sigmoid", "tanh") else 2
    change /= np.sqrt((change**2).mean())
    for _ in range(20):
        w = rng.normal(scale=np.sqrt(scale / 64), size=(64, 64))
        z = h @ w
        change = slope(f, z) * (change @ w)
        h = f(Tensor(z)).numpy()
        sizes.append(np.sqrt((change**2).mean()))
    left_over[name] = sizes[-1]
    axes.semilogy(range(1, 21), sizes, style, label=name)
axes.set(xlabel="layer", ylabel="size of the change", title="What 20 layers leave of a change of size 1",
         xticks=range(0, 21, 5))
axes.legend(fontsize=8)
plt.show()
print("Figure: size of the change against layer, logarithmic. After 20 layers: "
      + ", ".join(f"{name} {size:.1e}" for name, size in left_over.items()) + ".")

# %% [markdown]
# Twenty sigmoids leave next to nothing: no slope is above 1/4, and $0.25^{20}$ is 10⁻¹². The others stay within a
# factor of about thirty of where they began, and most much closer: their slopes are near 1 where they are not near 0,
# and the weights make up for the rest.
#
# ## 8. What it costs
#
# Predict, then measure. A prediction is locked when you run its cell, and the measurement below refuses to run before.
#
# ### 8.1 A power
#
# The tanh form of GELU on a million float32, written twice: once with `x * x * x`, once with `x**3`. Everything else is
# the same. **How many times longer does the second take?**

# %% predict="cube" points=1
# predict("cube", "number", low="number", high="number")
### BEGIN SOLUTION
predict("cube", "20", low="2", high="100")
### END SOLUTION

# %% show
def gelu_product(x):
    return 0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * (x * x * x))))


def gelu_power(x):
    return 0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))


x = np.random.default_rng(2).normal(size=1_000_000).astype("float32")
product, power = best(lambda: gelu_product(x)), best(lambda: gelu_power(x), 2)
reveal("cube", f"{power / product:.3g}")
print(f"GELU with x * x * x {product * 1e3:.2f} ms, with x**3 {power * 1e3:.2f} ms")
for name, f in (("x * x", lambda: x * x), ("x**2", lambda: x**2), ("x * x * x", lambda: x * x * x), ("x**3", lambda: x**3),
                ("x**4", lambda: x**4), ("np.abs(x)**3", lambda: np.abs(x) ** 3), ("np.tanh(x)", lambda: np.tanh(x))):
    print(f"  {name:13} {best(f, 2) * 1e3:7.2f} ms")

# %% [markdown]
# `x**3` calls the general power, which must be right for 2.7 to the power of -0.31 as well: it takes a logarithm and an
# exponential, both in more precision than the result has, and asks after signs and special cases on the way. The last
# lines say where the time goes on your machine. Where NumPy has a vector routine for powers, positive bases are quick and
# each negative one is handed to a scalar `powf`; where it has none, all are. NumPy knows the exponents 2, 0.5 and -1 and
# takes cheaper operations for them; 3 is not among them. A compiler that may assume real arithmetic turns a cube into
# two multiplications. Here it is you who knows that the exponent is 3.
#
# ### 8.2 An exponential
#
# A sigmoid contains an exponential, a ReLU one comparison. **How many times longer does `np.exp(x)` take than
# `np.maximum(x, 0)`**, on the same million float32?

# %% predict="exponential" points=1
# predict("exponential", "number", low="number", high="number")
### BEGIN SOLUTION
predict("exponential", "4", low="0.8", high="20")
### END SOLUTION

# %% show
ratio = best(lambda: np.exp(x), 15) / best(lambda: np.maximum(x, 0), 15)
reveal("exponential", f"{ratio:.3g}")
print("ns an element        32,768 in the cache   8,000,000 from memory")
much = np.tile(x, 8)
outs = {n: np.empty(n, "float32") for n in (32_768, 8_000_000)}
for name, f in (("copy", np.copyto), ("x + 1", lambda o, a: np.add(a, 1, out=o)), ("max(x, 0)", lambda o, a: np.maximum(a, 0, out=o)),
                ("exp(x)", lambda o, a: np.exp(a, out=o)), ("tanh(x)", lambda o, a: np.tanh(a, out=o)),
                ("1 / x", lambda o, a: np.divide(1, a, out=o))):
    near, far = (best(lambda f=f, n=n: f(outs[n], much[:n])) / n * 1e9 for n in outs)
    print(f"{name:20} {near:12.2f} {far:20.2f}")
much = outs = None
for name, a in (("as it is", x), ("sorted", np.sort(x))):
    seconds = best(lambda a=a: np.where(a > 0, a, 0.01 * a)), best(lambda a=a: np.maximum(a, 0) + 0.01 * np.minimum(a, 0))
    print(f"leaky relu of x {name:9} with np.where {seconds[0] * 1e3:5.2f} ms, with max and min {seconds[1] * 1e3:5.2f} ms")
print("\nmilliseconds of a million   float32   float16")
rows = {name: Tensor(x.reshape(1000, 1000), name) for name in ("float32", "float16")}
for name, f in (SHOWN | {"softmax": softmax, "log_softmax": log_softmax}).items():
    single, half = (best(lambda f=f, a=a: f(a), 3) * 1e3 for a in rows.values())
    print(f"{name:24} {single:10.2f} {half:9.2f}")

# %% [markdown]
# An exponential is not computed with a series of thirty terms. Its argument is split into a multiple of ln 2, which
# only moves the exponent of the float, and a rest for which a polynomial of degree five or so is enough; vector
# instructions do it for 8 or 16 elements at once. Compare the two columns of the first table: as soon as the operands
# come from memory, the simple operations grow towards the expensive ones, because all of them wait. The first table
# writes into an array that is there already; a new array of 4 MB costs extra, since the system has to hand out its pages.
#
# The two lines on leaky ReLU give the same numbers. `np.where` asks element by element which of two arrays to read, and
# a processor that guesses the answer beforehand guesses wrong half of the time if signs are random. Sorted, it guesses
# right. Maximum and minimum ask nothing: both are computed for every element, and there is nothing to guess.
#
# In the last table float16 has half of the bytes and is not faster, as in module 01: it is converted to float32 and back,
# here block by block.
#
# ### 8.3 The traffic of softmax
#
# `x` is float32 of shape (4096, 4096), 64 MiB. Softmax in five NumPy calls:
#
# ```python
# m = x.max(axis=1, keepdims=True)
# s = x - m
# e = np.exp(s)
# z = e.sum(axis=1, keepdims=True)
# y = e / z
# ```
#
# Each call reads its operands from memory and writes its result there; `m` and `z` are small and do not count. **How
# many bytes are moved?**

# %% answer="softmax_bytes" points=2
softmax_bytes = ""  # a number with its unit, such as "64 MiB"
### BEGIN SOLUTION
softmax_bytes = f"{8 * 64} MiB"
### END SOLUTION

# %% key="softmax_bytes"
def key(v):
    whole = 4096 * 4096 * 4
    reads, writes = 5, 3  # x, x, s, e, e; s, e, y
    return Key((reads + writes) * whole, "B", tol=0.02, mistakes=[
        Mistake(reads * whole, 0.5, "that counts what is read; s, e and y are written too"),
        Mistake(writes * whole, 0.25, "that counts what is written; every call reads its operand as well"),
        Mistake(2 * whole, 0.25, "x in and y out is the least that any program can move; these five calls move s and e too"),
        Mistake(10 * whole, 0.5, "max and sum write one number for each row, which does not count"),
    ])

# %% [markdown]
# Measure it at a quarter of the size. If only traffic mattered, every step would take as long for each MiB as a copy
# does.

# %% show
x = np.random.default_rng(3).normal(size=(2048, 2048)).astype("float32")
mib = x.nbytes / 2**20
m = x.max(axis=1, keepdims=True)
s = x - m
e = np.exp(s)
z = e.sum(axis=1, keepdims=True)
y = e / z
out = np.empty_like(x)
steps = {
    "max": (1, lambda: x.max(axis=1, keepdims=True)),
    "subtract": (2, lambda: np.subtract(x, m, out=out)),
    "exp": (2, lambda: np.exp(s, out=out)),
    "sum": (1, lambda: e.sum(axis=1, keepdims=True)),
    "divide": (2, lambda: np.divide(e, z, out=out)),
}
copy = best(lambda: np.copyto(out, x))
total = 0
print(f"copy of {mib:.0f} MiB: {copy * 1e3:.2f} ms, {copy / 2 / mib * 1e6:.0f} µs for each MiB moved")
for name, (passes, f) in steps.items():
    seconds = best(f)
    total += seconds
    print(f"{name:9} {passes} x {mib:.0f} MiB  {seconds * 1e3:6.2f} ms, {seconds / passes / mib * 1e6:4.0f} µs for each MiB moved")


def by_rows(count):
    """Softmax of so many rows at a time."""
    for i in range(0, len(x), count):
        out[i:i + count] = Softmax().compute(x[i:i + count], 1)


print(f"together  8 x {mib:.0f} MiB  {total * 1e3:6.2f} ms")
for count in (4, 16, 64, 2048):
    print(f"Softmax of {count:4} rows at a time, {count * mib / 2048:6.2f} MiB: {best(lambda n=count: by_rows(n), 3) * 1e3:6.2f} ms")
x = m = s = e = z = y = out = None

# %% [markdown]
# A kernel that does all five steps on a row before it turns to the next moves 2 × 64 MiB if a row fits the cache. That
# is **fusion**, and compilers for networks spend much of their effort on it. A few rows at a time come close to it without
# a compiler. Whether that saves time depends on what the copy costs: on a server whose last cache holds all of these
# arrays the exponential takes longer than its traffic, and there is little to save; on a laptop, or a GPU, traffic is
# nearly all of the time. FlashAttention goes further and keeps maximum and sum while a row is still being made, so that
# the row of scores never reaches memory.
#
# ### 8.4 The peak of GELU
#
# `x` holds a million float32, 4 MB. NumPy evaluates
#
# ```python
# 0.5 * x * (1 + np.tanh(c * (x + 0.044715 * (x * x * x))))
# ```
#
# from the inside out, left operand first, and frees a temporary as soon as the operation that needed it is done. **How
# many bytes of results and temporaries are alive at the worst moment**, not counting `x`? Write the steps down.

# %% answer="gelu_peak" points=2
gelu_peak = ""  # a number with its unit, such as "4 MB"
### BEGIN SOLUTION
gelu_peak = "12 MB"
### END SOLUTION

# %% key="gelu_peak"
def key(v):
    n, size = 1_000_000, 4
    alive = 3  # 0.5 * x waits on the left while the operand and the result of one step stand on the right
    steps = 9
    return Key(alive * n * size, "B", tol=0.06, mistakes=[
        Mistake(steps * n * size, 0.25, "temporaries are freed as soon as they were used, so not all of them live at once"),
        Mistake(2 * n * size, 0.5, "0.5 * x is computed first and waits until the bracket is done"),
        Mistake(n * size, 0.25, "that is the result alone; an operation needs its operand while it makes its result"),
        Mistake((alive + 1) * n * size, 0.5, "x itself does not count"),
    ])

# %% [markdown]
# Then there is `GELU` of this notebook, which works in blocks of 16 384 elements, and a chain of tensor operations,
# where each operation is a `Function` with a storage of its own. And time: **how many times longer does the exact GELU
# of two million float32 take at once than in blocks?** It makes about forty passes.

# %% predict="blocks" points=1
# predict("blocks", "number", low="number", high="number")
### BEGIN SOLUTION
predict("blocks", "2", low="1", high="5")
### END SOLUTION

# %% show
import tracemalloc


def peak(f):
    """Most bytes allocated at a time while f runs, by tracemalloc: arrays and Python objects together."""
    tracemalloc.start()
    try:
        f()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def tensor_chain(x):
    return 0.5 * x * (1 + tanh(0.7978845608 * (x + 0.044715 * (x * x * x))))


x = np.random.default_rng(4).normal(size=2_000_000).astype("float32")
sizes = [2**k for k in range(10, 21)]
in_blocks = [best(lambda n=n: blockwise(GELU().compute, x, n), 2) for n in sizes]
at_once = best(lambda: GELU().compute(x), 3)
reveal("blocks", f"{at_once / in_blocks[sizes.index(BLOCK)]:.3g}")
x = x[:1_000_000].copy()
tensor, halves = Tensor(x), Tensor(x, "float16")
print("GELU of a million            peak by tracemalloc   peak by Storage       time")
for name, f in (("tanh, one NumPy expression", lambda: gelu_product(x)), ("tanh, tensor operations", lambda: tensor_chain(tensor)),
                ("tanh, in blocks", lambda: gelu(tensor, "tanh")), ("exact, at once", lambda: GELU().compute(x)),
                ("exact, in blocks", lambda: gelu(tensor)), ("exact, float16, in blocks", lambda: gelu(halves))):
    Storage.peak_bytes = held = Storage.live_bytes
    seconds = best(f, 3)
    stored = Storage.peak_bytes - held
    print(f"{name:27} {peak(f) / 1e6:16.2f} MB  {stored / 1e6:12.2f} MB  {seconds * 1e3:7.2f} ms")
figure, axes = plt.subplots(figsize=(6.5, 3.4))
axes.semilogx([4 * n / 1024 for n in sizes], np.array(in_blocks) * 1e3, "o-", base=2, label="in blocks")
axes.axhline(at_once * 1e3, linestyle="--", color="black", label="all at once")
axes.axvline(4 * BLOCK / 1024, linestyle=":", color="gray", label="the block of TinyTorch")
axes.set(xlabel="block (KiB)", ylabel="time (ms)", title="Exact GELU of two million float32", ylim=(0, None))
axes.legend()
plt.show()
least = int(np.argmin(in_blocks))
print(f"Figure: time against size of the block. {in_blocks[0] * 1e3:.1f} ms with blocks of {4 * sizes[0] / 1024:.0f} KiB, "
      f"least, {in_blocks[least] * 1e3:.1f} ms, with {4 * sizes[least] / 1024:.0f} KiB, {in_blocks[-1] * 1e3:.1f} ms with "
      f"{4 * sizes[-1] / 1024:.0f} KiB; {at_once * 1e3:.1f} ms all at once.")

# %% [markdown]
# The curve has two walls. On the left the Python of each block costs more than its arithmetic. On the right the block
# and its temporaries no longer fit the cache, and every pass goes to memory. The tanh form makes fewer passes, so it has
# less to gain, if anything. In bytes both gain: one result and a few blocks instead of three arrays or more. `Storage`
# counts only what tensors hold; what a `forward` allocates on the way shows in tracemalloc alone, and it is as real.
#
# ## 9. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="nan_loss" points=4
# A classifier trains in float16. After 3000 steps its loss is NaN; the largest logit of that batch is 13. The code says
# `p = exp(x) / exp(x).sum(axis=1, keepdims=True)` and then `loss = -log(p[label])`. A colleague proposes to clip the
# logits to [-10, 10]. In six to ten sentences: say with numbers where the NaN comes from and what float32 would have
# changed; say which shift repairs the softmax, and prove in one line that it changes no probability; name a second
# fault that this shift does not repair and the function that does; and judge the colleague's proposal.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. $e^{13}$ ≈ 442 000 exceeds 65 504, so it is infinity in float16, and ∞ / ∞ is NaN. float16 overflows above 11.09;
#    float32 would have lasted until 88.7, so it postpones the fault.
# 2. Subtract the maximum of each row; $e^{x_i - m} / \sum_j e^{x_j - m}$, the factor $e^{-m}$ cancels. No exponential
#    exceeds 1 and the sum is at least 1. The maximum of the whole batch earns no point: other rows may underflow to 0/0.
# 3. A probability that underflows to 0 (a logit about 17 below the maximum in float16) gives -log 0 = ∞. Log-softmax,
#    $x - m - \ln \sum e^{x - m}$, never forms the probability.
# 4. Clipping to ±10 avoids this overflow of a single exponential, but it changes probabilities and has slope 0 outside,
#    so the clipped logits get no gradient; or: a sum over many classes, each up to $e^{10}$ = 22 026, overflows still.
#    One of these reasons suffices.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# Range and precision are part of a formula. Overflow is harmless where infinity becomes the right limit, and fatal in
# ∞ / ∞ and ∞ - ∞; shifting by the maximum removes it. Cancellation is removed by formulas that do not form the large
# numbers: `expm1`, `erfc`, log-sum-exp with the maximum taken out. Time goes to passes over memory as much as to
# arithmetic, so formulas run in blocks.
#
# The same parts under their names in PyTorch:
#
# | here | PyTorch |
# |---|---|
# | `Activation`, `blockwise` | `TensorIterator` with `cpu_kernel_vec`: one pass, the whole formula on 8 or 16 elements in registers |
# | `working_dtypes` | `at::opmath_type<Half>`, which is float; integers are promoted to the default dtype |
# | `gelu(x, "tanh")` | `torch.nn.functional.gelu(x, approximate="tanh")` |
# | `erfc` and its table | `Vectorized::erf`, for float64 from the SLEEF library, inside $1 + \mathrm{erf}$: the left tail becomes 0 |
# | `Softmax`, `LogSoftmax` | `SoftMaxKernel.cpp`, row by row; a comment there defends the order of its two subtractions (issue 11752) |
# | a few rows at a time | `torch.compile`, which writes a fused kernel for chains of such operations |
#
# Module 03 puts these functions between matrices: layers that own their parameters, and weights whose size is chosen by
# the slope of the activation that follows.
