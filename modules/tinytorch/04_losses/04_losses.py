# %% [markdown]
# # TinyTorch 04: Losses
#
# An untrained classifier with ten classes should report a loss near 2.303, whatever its data are. If it reports `nan`,
# a probability was rounded to zero before its logarithm was taken. If the loss of a regression falls to the variance of
# its targets and stays there, predictions of shape (N, 1) were subtracted from targets of shape (N,), and the mean was
# taken over N × N differences. No line of such a program is refused by NumPy. In this notebook you build the losses of
# the framework so that the first number is right, the second cannot happen, and the third is refused.
#
# **Where it sits.** What you write is exported as `tinytorch/losses.py`. A loss is a `Function`: a prediction and a
# target go in, one number comes out, and that number is all that training looks at.
#
# | module | what it has to do with a loss |
# |---|---|
# | 01 tensor | `Function`, `prepare`, and `Storage.peak_bytes`, which shows what a loss costs |
# | 03 layers | the last `Linear` gives logits, numbers without bounds; the losses here take these as they are |
# | 06 autograd | gives each class here a `backward`, from what `saved` and `params` hold |
# | 08 training | averages losses over batches; section 8 shows how that goes wrong |
#
# **Afterwards you can**
# 1. say which noise a loss assumes, and choose between squares, absolute values and Huber's compromise;
# 2. read a log loss in bits, and predict its value before training starts;
# 3. compute log losses of logits of ±10⁴ without overflow and without losing small results;
# 4. state what a mean divides by when labels are ignored and classes weighted;
# 5. predict bytes and time of a cross entropy over 50,000 classes, then measure both.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Checks
# show worked examples; grading runs hidden cases besides: other shapes, dtypes and strides, large and infinite logits,
# empty batches, wrong arguments. Every function is judged by itself. You need module 01 and logarithms. Three hours are
# typical.

# %%
#| export
"""Losses: one number that says how wrong a prediction is.

    MSELoss, MAELoss, HuberLoss      numbers against numbers of the same shape
    BCEWithLogitsLoss                logits against probabilities of the same shape
    CrossEntropyLoss                 logits (N, C, ...) against integer labels (N, ...)

reduction is "mean", "sum" or "none". Integers and float16 are computed in float32, and their loss is float32. The mean
over nothing is NaN, the sum over nothing 0, as in PyTorch.

Errors, each one line: ShapeError, DTypeError (labels that are no integers), IndexError (a label that is no class),
ValueError (an unknown reduction, a parameter or target out of range), TypeError (an unknown parameter).
"""

import difflib
import functools
import inspect
import operator

import numpy as np

from tinytorch.tensor import DTypeError, Function, ShapeError, as_tensors, broadcast_shapes, float32, result_type

REDUCTIONS = ("mean", "sum", "none")

# %%
import re
import tracemalloc

from mlsysbook import answer, case, check, predict, reveal
from tinytorch import Storage, Tensor

# %% [markdown]
# ## 1. Two shapes in, one number out
#
# Three predictions, all of them right, as a column from a layer with one output: [[1], [2], [3]]. The targets are a
# plain vector: [1, 2, 3]. Broadcasting subtracts each target from each prediction:
#
# $$\begin{pmatrix} 1 \\ 2 \\ 3 \end{pmatrix} - \begin{pmatrix} 1 & 2 & 3 \end{pmatrix}
# = \begin{pmatrix} 0 & -1 & -2 \\ 1 & 0 & -1 \\ 2 & 1 & 0 \end{pmatrix}$$
#
# The mean square is 12/9 ≈ 1.33. It should be 0. Worse, the value falls to 0.67, the variance of the targets, if every
# prediction becomes 2: training against it learns to ignore the input. So a loss asks for equal shapes and does not
# stretch anything.
#
# **Exercise 1.1** Refuse shapes that differ. The message names both shapes, each as Python prints it. For shapes that
# would broadcast it also names the shape of the differences, since that is the reason: (3, 3) in the example. Module
# 01's `broadcast_shapes` is imported.
#
# **Exercise 1.2** Reduce the losses of all elements. `"none"` keeps one value for each element; `"sum"` and `"mean"`
# leave a single number of the same dtype, over all axes. Without elements the sum is 0 and the mean NaN.

# %% solution="require_same_shape"
#| export
def require_same_shape(prediction, target):
    """Accept two equal shapes, tuples of ints, and return nothing.

    Raises ShapeError that names both if they differ, and the shape to which they would broadcast if they do.
    """
    ### BEGIN SOLUTION
    if prediction == target:
        return
    try:
        wide = broadcast_shapes(prediction, target)
    except ShapeError:
        raise ShapeError(f"prediction has shape {prediction} and target {target}; a loss wants them equal") from None
    raise ShapeError(f"prediction of shape {prediction} and target of shape {target} would broadcast to {wide}; "
                     "reshape one to the shape of the other")
    ### END SOLUTION


# %% solution="reduced"
#| export
def reduced(values, reduction):
    """values, an array of any shape, by "mean", "sum" or "none" -> number or array of the same dtype."""
    ### BEGIN SOLUTION
    if reduction == "none":
        return values
    total = values.sum()
    return total if reduction == "sum" else np.true_divide(total, values.size, dtype=values.dtype)
    ### END SOLUTION


# %% check="require_same_shape" points=3
def refusal(prediction, target, named):
    """What the refusal of two shapes names, or "accepted"."""
    try:
        require_same_shape(prediction, target)
    except ShapeError as error:
        return {"the message names": [str(shape) in str(error) for shape in named]}
    return "accepted"

check("require_same_shape", [
    case((3, 1), (3, 1), named=()),
    case((3, 1), (3,), named=((3, 1), (3,), (3, 3))),
    case((4, 2), (4, 3), named=((4, 2), (4, 3))),
], call=refusal)

# %% hidden="require_same_shape"
def cases(rng):
    core = "equal shapes pass, shapes that broadcast do not"
    for axes in (1, 2, 3):
        shape = tuple(int(n) for n in rng.integers(2, 9, axes))
        yield case(shape, shape, named=(), behaviour=core)
        yield case(shape, shape[:-1] + (1,), named=(shape,), behaviour=core)
        yield case(shape[1:], shape, named=(shape,), behaviour=core)
    n, m = (int(v) for v in rng.choice(np.arange(2, 20), 2, replace=False))
    reason = "the message names both shapes and what they would broadcast to"
    yield case((n, 1), (n,), named=((n, 1), (n,), (n, n)), behaviour=reason)
    yield case((n,), (n, 1), named=((n, 1), (n,), (n, n)), behaviour=reason)
    yield case((1, m), (n, 1), named=((1, m), (n, 1), (n, m)), behaviour=reason)
    yield case((n, m), (), named=((n, m), ()), behaviour=reason)
    apart = "shapes that do not broadcast are named too"
    yield case((n,), (m,), named=((n,), (m,)), behaviour=apart)
    yield case((2, n), (2, m), named=((2, n), (2, m)), behaviour=apart)
    yield case((n, m), (m, n), named=((n, m), (m, n)), behaviour=apart)
    empty = "no axes, no elements"
    yield case((), (), named=(), behaviour=empty)
    yield case((0, n), (0, n), named=(), behaviour=empty)
    yield case((0, 1), (0,), named=((0, 1), (0,), (0, 0)), behaviour=empty)
    yield case((), (1,), named=((), (1,)), behaviour=empty)


# %% check="reduced" points=2
def reduction_of(values, reduction, transposed=False):
    with np.errstate(all="ignore"):
        return np.asarray(reduced(values.T if transposed else values, reduction))

check("reduced", [
    case(np.array([[1.0, 2.0], [3.0, 6.0]], "float32"), "mean"),
    case(np.array([[1.0, 2.0], [3.0, 6.0]], "float32"), "sum"),
    case(np.array([[1.0, 2.0], [3.0, 6.0]]), "none"),
], call=reduction_of)

# %% hidden="reduced"
def cases(rng):
    core = "mean, sum and none over all axes"
    for axes in (1, 2, 3):
        values = rng.uniform(0.5, 4, [int(n) for n in rng.integers(2, 7, axes)])
        for reduction in ("mean", "sum", "none"):
            yield case(values, reduction, transposed=axes > 1, behaviour=core)
    for reduction in ("mean", "sum", "none"):
        yield case(rng.uniform(0.5, 4, (3, 4)).astype("float32"), reduction, behaviour="float32 stays float32")
        yield case(np.zeros((0, 3), "float32"), reduction, behaviour="no elements, no axes")
        yield case(np.zeros((2, 0)), reduction, behaviour="no elements, no axes")
        yield case(np.array(2.5), reduction, behaviour="no elements, no axes")
        yield case(np.array([1.0, np.inf, np.nan]), reduction, behaviour="NaN and infinity are not hidden")
        yield case(np.array([1.0, np.inf, 2.0]), reduction, behaviour="NaN and infinity are not hidden")


# %% [markdown]
# The base class of all losses is given. It checks parameters when a loss is made, so that a misspelt one is refused
# before the first batch; fills in defaults; refuses unequal shapes through your function; and brings both sides to one
# dtype.
#
# Why is the loss of float16 predictions a float32? It is one number, so the two bytes saved are worth nothing, and
# module 08 will multiply it by 2¹⁶ to keep small gradients alive. The largest float16 is 65,504, which is less than
# 2¹⁶.

# %%
#| export
def choices(name, names):
    """The end of a message about an unknown name: the nearest known one, and all of them."""
    close = difflib.get_close_matches(str(name), names, 1, cutoff=0)
    return f"the nearest is {close[0]!r}, all are {', '.join(map(repr, names))}"


@functools.cache
def defaults(cls):
    """The keyword arguments of a loss with their defaults, from the signature of its forward."""
    parameters = inspect.signature(cls.forward).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def float_of(*dtypes):
    """The dtype in which a loss of operands of these dtypes is computed: float64 if it wins, float32 otherwise."""
    dtype = functools.reduce(result_type, dtypes)
    return dtype if dtype.kind == "f" and dtype.itemsize > 4 else float32


class Loss(Function):
    """A Function of a prediction and a target, with a reduction.

    After prepare, saved holds both operands as forward sees them, and params every keyword argument, defaults included
    and weights as arrays of the dtype of saved[0]: all that a backward needs.
    Raises TypeError for an unknown parameter, ValueError for an unknown reduction, ShapeError for unequal shapes.
    """

    def __init__(self, **params):
        known = defaults(type(self))
        for name in params:
            if name not in known:
                raise TypeError(f"{type(self).__name__} has no parameter {name!r}; {choices(name, known)}")
        super().__init__(**{**known, **params})
        reduction = self.params["reduction"]
        if reduction not in REDUCTIONS:
            raise ValueError(f"unknown reduction {reduction!r}; {choices(reduction, REDUCTIONS)}")

    def prepare(self, tensors):
        prediction, target = tensors
        require_same_shape(prediction.shape, target.shape)
        dtype = float_of(prediction.dtype, target.dtype)
        return prediction.numpy().astype(dtype, copy=False), target.numpy().astype(dtype, copy=False)


# %% [markdown]
# ## 2. A loss is an opinion about noise
#
# A model predicts 20 and the world says 22. The residual is $r = 2$. How bad is that? It depends on how likely such a
# residual was. Suppose that a target is the right value plus noise:
#
# | noise | density of a residual | in words |
# |---|---|---|
# | Gaussian, scale σ | $\dfrac{1}{\sigma\sqrt{2\pi}}\; e^{-r^2 / (2\sigma^2)}$ | many small causes add up; outliers hardly exist |
# | Laplace, scale b | $\dfrac{1}{2b}\; e^{-\lvert r \rvert / b}$ | usually small, now and then far out |
#
# The best model is the one under which the data were most likely. Densities of independent residuals multiply, and a
# product of a thousand small numbers is 0 in any float. So one takes the negative logarithm, which turns the product
# into a sum and "most likely" into "smallest".
#
# **Worked example.** Residuals 1 and -2, scale 1. Gaussian: 1.419 + 2.919 = 4.338. Laplace: 1.693 + 2.693 = 4.386. Two
# models on the same data differ only in $\sum r^2$ under the first noise, and only in $\sum \lvert r \rvert$ under the
# second: minimising mean squares *is* believing in Gaussian noise, and minimising mean absolute values is believing in
# Laplace's.
#
# **Exercise 2.1** The negative logarithm of the density of each residual. It has to be right 60 scales out, where the
# Gaussian density itself, $e^{-1800}$, is 0 in float64. `scale` is a number or an array that broadcasts.

# %% solution="noise_nll"
def noise_nll(residual, scale, noise):
    """Negative natural logarithm of the density of each residual, noise being "gaussian" or "laplace" -> array."""
    ### BEGIN SOLUTION
    if noise == "gaussian":
        return (residual / scale) ** 2 / 2 + np.log(scale) + np.log(2 * np.pi) / 2
    return np.abs(residual) / scale + np.log(2 * scale)
    ### END SOLUTION


# %% check="noise_nll" points=4
def surprise(residual, scale, noise):
    with np.errstate(all="ignore"):
        return noise_nll(residual, scale, noise)

check("noise_nll", [
    case(np.array([1.0, -2.0]), 1.0, "gaussian"),
    case(np.array([1.0, -2.0]), 1.0, "laplace"),
    case(np.array([0.0, 60.0]), 1.0, "gaussian"),
], call=surprise)

# %% hidden="noise_nll"
def cases(rng):
    core = "Gaussian noise of any scale"
    for scale in (0.5, 1.0, 3.0):
        yield case(rng.normal(0, 2, 6), scale, "gaussian", behaviour=core)
    yield case(rng.normal(0, 2, (3, 4)), rng.uniform(0.1, 5, 4), "gaussian", behaviour=core)
    for scale in (0.25, 1.0, 7.0):
        yield case(rng.normal(0, 2, 6), scale, "laplace", behaviour="Laplace noise of any scale")
    yield case(rng.normal(0, 2, (3, 4)), rng.uniform(0.1, 5, (3, 1)), "laplace", behaviour="Laplace noise of any scale")
    far = "far residuals and narrow noise"
    for noise in ("gaussian", "laplace"):
        yield case(rng.uniform(500, 5000, 4) * np.array([1, -1, 1, -1]), 1.0, noise, behaviour=far)
        yield case(rng.normal(0, 1, 4), 1e-4, noise, behaviour=far)
        yield case(np.zeros((0, 2)), 1.0, noise, behaviour="no elements, NaN and infinity")
        yield case(np.array([np.nan, np.inf, -np.inf]), 2.0, noise, behaviour="no elements, NaN and infinity")


# %% [markdown]
# Without their constants and scales the two become MSE and MAE.

# %%
#| export
class MSELoss(Loss):
    """(prediction - target)², the log loss of Gaussian noise. Any shape, both the same.

    reduction "mean", "sum" or "none".
    """

    def forward(self, prediction, target, reduction="mean"):
        return reduced((prediction - target) ** 2, reduction)


class MAELoss(Loss):
    """|prediction - target|, the log loss of Laplace noise. Any shape, both the same.

    reduction "mean", "sum" or "none". PyTorch calls it L1Loss.
    """

    def forward(self, prediction, target, reduction="mean"):
        return reduced(np.abs(prediction - target), reduction)


# %% [markdown]
# An outlier shows the difference. Which single number should stand for 1, 2, 3, 4 and 100? The best one under squares
# is the mean, 22, which is near none of them. The best one under absolute values is the median, 3; its price is a kink
# at 0, where the slope jumps from -1 to 1 and gradient steps never settle.
#
# Huber's loss takes the middle of one and the arms of the other. It has one parameter, δ:
#
# * for $\lvert r \rvert \le \delta$ it is $r^2 / 2$;
# * beyond, it is straight, and it goes on where the parabola stopped with the same value and the same slope.
#
# | r | 0.5 | -1 | 3 | 100 |
# |---|---|---|---|---|
# | δ = 1 | 0.125 | 0.5 | 2.5 | 99.5 |
# | δ = 2 | 0.125 | 0.5 | 4 | 198 |
#
# **Exercise 2.2** Write it for an array of residuals. A residual of 10³⁰ in float32 is an odd one, but its loss is
# finite, and should come out so.

# %% solution="huber_error"
#| export
def huber_error(residual, delta):
    """Huber's loss of each residual: r² / 2 up to delta on either side, a straight line beyond -> array of its dtype."""
    ### BEGIN SOLUTION
    size = np.abs(residual)
    near = np.minimum(size, delta)
    return near * (size - near / 2)
    ### END SOLUTION


# %% check="huber_error" points=4
def huber_of(residual, delta):
    with np.errstate(all="ignore"):
        return np.asarray(huber_error(residual, delta))

check("huber_error", [
    case(np.array([0.5, -1.0, 3.0, 100.0]), 1.0),
    case(np.array([0.5, -1.0, 3.0, 100.0]), 2.0),
    case(np.array([-1e30, 1.0], "float32"), 0.5),
], call=huber_of)

# %% hidden="huber_error"
def cases(rng):
    core = "parabola inside, straight line outside"
    for delta in (0.3, 1.0, 2.5):
        yield case(rng.normal(0, 2, 12), delta, behaviour=core)
        yield case(rng.normal(0, 2, (3, 4)), delta, behaviour=core)
    edge = "at the edge, and on both sides of it"
    for delta in (0.5, 3.0):
        yield case(np.array([delta, -delta, delta * 1.001, -delta * 0.999, 0.0]), delta, behaviour=edge)
    yield case(rng.normal(0, 2, 5).astype("float32"), 1.0, behaviour="float32 stays float32")
    yield case(np.array([2.5], "float32"), 0.75, behaviour="float32 stays float32")
    far = "far residuals, NaN and infinity, no elements"
    yield case(np.array([1e30, -3e35], "float32"), 2.0, behaviour=far)
    yield case(np.array([1e200, -np.inf, np.inf, np.nan]), 1.5, behaviour=far)
    yield case(np.zeros((0, 3)), 1.0, behaviour=far)
    yield case(np.array(-4.0), 1.0, behaviour=far)


# %%
#| export
class HuberLoss(Loss):
    """r² / 2 where |r| <= delta, delta (|r| - delta / 2) beyond, with r = prediction - target.

    Any shape, both the same; reduction "mean", "sum" or "none". Raises ValueError if delta is not positive. Source: Huber 1964.
    """

    def __init__(self, **params):
        super().__init__(**params)
        if not self.params["delta"] > 0:
            raise ValueError(f"delta, where the line begins, must be positive, got {self.params['delta']}")

    def forward(self, prediction, target, reduction="mean", delta=1.0):
        return reduced(huber_error(prediction - target, delta), reduction)


# %% [markdown]
# The constant that minimises each loss, found by trying all of them in steps of 0.01.

# %% show
values = np.array([1.0, 2.0, 3.0, 4.0, 100.0])
candidates = np.arange(0, 101, 0.01)
grid = [np.broadcast_to(side, (len(candidates), len(values))) for side in (candidates[:, None], values)]
for loss in (MSELoss(reduction="none"), HuberLoss(reduction="none", delta=10.0), HuberLoss(reduction="none"),
             MAELoss(reduction="none")):
    best_constant = candidates[loss(*grid).numpy().sum(axis=1).argmin()]
    delta = f", delta {loss.params['delta']}" if "delta" in loss.params else ""
    print(f"{type(loss).__name__ + delta:22} {best_constant:6.2f}")

# %% [markdown]
# ## 3. A log loss counts bits
#
# Now the target is not a number but one of several outcomes, and the model gives each a probability. How bad is it that
# an outcome happened to which the model gave $p$? The logarithm again: $-\ln p$. A certain outcome costs 0, one of
# probability 1/2 costs 0.693, an impossible one costs infinity.
#
# The unit is the **nat**, and 1 nat = 1/ln 2 ≈ 1.443 **bits**. A fair coin costs ln 2 nats, 1 bit. A fair die costs ln
# 6 = 1.792 nats = 2.585 bits. The bits are real: a code that spends $-\log_2 p$ bits on an outcome of probability $p$
# exists, up to a fraction of a bit for a whole message (arithmetic coding), and none is shorter on average. So the mean
# log loss of a model on some data is the length of these data when the model is used to compress them.
#
# **A check that costs nothing.** An untrained network knows nothing, so it should spread its probability evenly. With
# 10 classes the loss is then ln 10 = 2.303. With the 50,257 tokens of GPT-2 it is ln 50,257 = 10.82. A larger first
# loss means that the network is confident without a reason, usually because its weights start too large. A much smaller
# one means that it sees the answers.
#
# ### 3.1 From a loss to a file
#
# A language model has a mean loss of 2.5 for each token of a text of 4000 tokens. How many bytes does the text take
# when it is compressed with this model?

# %% answer="compressed" points=2
compressed = ""  # a number with its unit, such as "2.4 kB"
### BEGIN SOLUTION
compressed = f"{2.5 / np.log(2) * 4000 / 8} B"
### END SOLUTION

# %% key="compressed"
from mlsysbook import Key, Mistake


def key(v):
    nats, tokens = 2.5, 4000
    return Key(nats / np.log(2) * tokens / 8, "B", tol=0.01, mistakes=[
        Mistake(nats * tokens / 8, 0.5, "a loss with the natural logarithm is in nats; 1 nat is 1.443 bits"),
        Mistake(nats / np.log(2) * tokens, 0.5, "that is the number of bits"),
        Mistake(nats * np.log(2) * tokens / 8, 0.25, "a nat is more than a bit: divide by ln 2"),
        Mistake(nats / np.log(2) / 8, 0.25, "that is for one token"),
    ])

# %% [markdown]
# ## 4. Two outcomes: logits instead of probabilities
#
# A layer gives a number $x$ without bounds, the **logit**. The sigmoid makes it a probability, $p = 1 / (1 + e^{-x})$.
# With a target $t$, 1 for yes and 0 for no, the loss is $-t \ln p - (1 - t) \ln (1 - p)$. Two steps, the sigmoid and
# then the logarithm, are a trap. At $x = 40$ the sigmoid rounds to 1 in float64, $1 - p$ to 0, and the loss of $t = 0$
# is infinite, where the truth is 40. In float32 this happens at $x = 17$.
#
# Written for the logit, both logarithms are one function, the **softplus** $s(x) = \ln(1 + e^x)$:
#
# $$-\ln p = s(-x), \qquad -\ln(1 - p) = s(x)$$
#
# | x | s(x) | note |
# |---|---|---|
# | 2 | 2.126928 | |
# | -2 | 0.126928 | always $s(x) - s(-x) = x$ |
# | 1000 | 1000 | though $e^{1000}$ is infinite |
# | -40 | 4.2·10⁻¹⁸ | though $1 + e^{-40}$ is 1 in float64 |
#
# The last row matters where losses are compared or divided: rounded to 0, all well classified examples look alike, and
# their ratio is NaN.
#
# Targets may lie between 0 and 1: $t = 0.7$ says that seven of ten observers said yes. Two weights are useful when
# classes are unbalanced:
#
# * `pos_weight` multiplies the part of the loss that belongs to $t$, and not the part of $1 - t$. With 1 positive for 9
#   negatives, `pos_weight = 9` makes both kinds count the same.
# * `weight` multiplies the whole loss of an element.
#
# **Worked example.** $x = 2$. For $t = 1$ the loss is 0.126928, for $t = 0$ it is 2.126928, for $t = 0.5$ it is
# 1.126928. With `pos_weight = 3` these are 0.380784, 2.126928 and 1.253856.
#
# **Exercise 4.1** The loss of each element, right to the last digits for logits from -10⁴ to 10⁴. `np.logaddexp` knows
# the softplus; here it is what you write.

# %% solution="binary_log_loss"
#| export
def binary_log_loss(logits, targets, weight=None, pos_weight=None):
    """-t ln p - (1 - t) ln (1 - p) with p = sigmoid(logit), for each element -> array.

    logits and targets have one shape, weights broadcast to it or are None; all are of one dtype, which the result has.
    """
    ### BEGIN SOLUTION
    tail = np.log1p(np.exp(-np.abs(logits)))
    yes = targets * (np.maximum(-logits, 0) + tail)
    no = (1 - targets) * (np.maximum(logits, 0) + tail)
    losses = no + (yes if pos_weight is None else yes * pos_weight)
    return losses if weight is None else losses * weight
    ### END SOLUTION


# %% check="binary_log_loss" points=7
def binary_of(logits, targets, weight=None, pos_weight=None):
    with np.errstate(all="ignore"):
        return np.asarray(binary_log_loss(logits, targets, weight=weight, pos_weight=pos_weight))

check("binary_log_loss", [
    case(np.array([2.0, 2.0, 2.0]), np.array([1.0, 0.0, 0.5])),
    case(np.array([2.0, 2.0, 2.0]), np.array([1.0, 0.0, 0.5]), pos_weight=np.array(3.0)),
    case(np.array([1000.0, -1000.0]), np.array([0.0, 0.0])),
    case(np.array([-40.0, 40.0]), np.array([0.0, 1.0])),
], call=binary_of, forbid=("np.logaddexp", "np.logaddexp2"))

# %% hidden="binary_log_loss"
def cases(rng):
    core = "moderate logits and targets of 0 and 1"
    for shape in ((6,), (3, 4), (2, 3, 2)):
        yield case(rng.normal(0, 3, shape), rng.integers(0, 2, shape).astype(float), behaviour=core)
    yield case(rng.normal(0, 3, (4, 5)).T, rng.integers(0, 2, (5, 4)).astype(float), behaviour=core)
    for shape in ((5,), (2, 4)):
        yield case(rng.normal(0, 3, shape), rng.uniform(0, 1, shape), behaviour="targets between 0 and 1")
    large = "logits of 100 to 10,000"
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    for name in ("float64", "float32"):
        x = (rng.uniform(100, 1e4, 4) * signs).astype(name)
        yield case(x, np.array([0, 1, 1, 0], name), behaviour=large)
        yield case(x, np.array([0.25, 0.5, 0.75, 1], name), behaviour=large)
    small = "small losses keep their digits"
    yield case(-rng.uniform(35, 600, 4), np.zeros(4), behaviour=small)
    yield case(rng.uniform(35, 600, 4), np.ones(4), behaviour=small)
    yield case(rng.uniform(18, 60, 4).astype("float32"), np.ones(4, "float32"), behaviour=small)
    weighted = "weight and pos_weight"
    x, t = rng.normal(0, 3, (4, 3)), rng.uniform(0, 1, (4, 3))
    yield case(x, t, pos_weight=rng.uniform(0.2, 9, 3), behaviour=weighted)
    yield case(x, t, weight=rng.uniform(0.2, 9, (4, 1)), behaviour=weighted)
    yield case(x, t, weight=rng.uniform(0.2, 9, (4, 3)), pos_weight=rng.uniform(0.2, 9, 3), behaviour=weighted)
    yield case(x * 1000, t.round(), pos_weight=rng.uniform(0.2, 9, 3), behaviour=weighted)
    edges = "float32, NaN, no elements"
    yield case(rng.normal(0, 3, 4).astype("float32"), np.array([0, 1, 1, 0], "float32"), behaviour=edges)
    yield case(np.array([np.nan, 1.0]), np.array([1.0, np.nan]), behaviour=edges)
    yield case(np.zeros((0, 3)), np.zeros((0, 3)), pos_weight=np.ones(3), behaviour=edges)
    yield case(np.array(0.5), np.array(1.0), behaviour=edges)


# %%
#| export
def stretching(name, weight, shape, dtype):
    """A weight (number, list, array, tensor or None) as an array that broadcasts to shape, or None.

    Raises ShapeError with its name if it does not.
    """
    if weight is None:
        return None
    weight = np.asarray(weight, dtype)
    try:
        fits = broadcast_shapes(weight.shape, shape) == shape
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(f"{name} of shape {weight.shape} does not stretch to the prediction's shape {shape}")
    return weight


class BCEWithLogitsLoss(Loss):
    """Binary cross entropy: the log loss of the probabilities sigmoid(prediction), target being probabilities.

    Any shape, both the same; weight and pos_weight broadcast to it. The mean divides by the number of elements, not by
    weights. Raises ValueError for a target outside [0, 1], ShapeError for a weight that does not fit.
    """

    def prepare(self, tensors):
        logits, targets = super().prepare(tensors)
        outside = (targets < 0) | (targets > 1)
        if outside.any():
            at = tuple(int(i) for i in np.argwhere(outside)[0])
            raise ValueError(f"target {targets[at]:.6g} at position {at} is no probability: it must lie in [0, 1]")
        for name in ("weight", "pos_weight"):
            self.params[name] = stretching(name, self.params[name], logits.shape, logits.dtype)
        return logits, targets

    def forward(self, prediction, target, weight=None, pos_weight=None, reduction="mean"):
        return reduced(binary_log_loss(prediction, target, weight, pos_weight), reduction)


# %% [markdown]
# The losses that you have so far, drawn. On the left against the residual. On the right against the **margin**, which
# is the logit with its sign turned so that positive means right: $x$ for $t = 1$, $-x$ for $t = 0$. What one would like
# to minimise is the number of errors, the grey step; its slope is 0 wherever it has one, so no gradient can follow it.
# The log loss lies above it (in bits) and slopes everywhere. The square of the missing probability, $(1 - p)^2$, goes
# flat where the model is most wrong, and that is where it should learn most.

# %% show
import matplotlib.pyplot as plt

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6))
r = np.linspace(-4, 4, 401)
for loss, label in ((MSELoss, "MSE"), (MAELoss, "MAE"), (HuberLoss, "Huber, δ = 1")):
    left.plot(r, loss(reduction="none")(r, np.zeros_like(r)).numpy(), label=label)
left.set(xlabel="residual: prediction - target", ylabel="loss", ylim=(0, 6), title="Numbers")
margin = np.linspace(-6, 6, 601)
bits = BCEWithLogitsLoss(reduction="none")(margin, np.ones_like(margin)).numpy() / np.log(2)
right.plot(margin, bits, label="log loss, bits")
right.plot(margin, (1 / (1 + np.exp(margin))) ** 2, "--", label="(1 - p)²")
right.plot(margin, margin < 0, color="grey", label="errors")
right.set(xlabel="margin: logit towards the right answer", ylabel="loss", ylim=(0, 6), title="Two outcomes")
for axes in (left, right):
    axes.legend()
    axes.grid(alpha=0.3)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## 5. Many classes: cross entropy
#
# One logit for each class, $z_0, \dots, z_{C-1}$. The softmax makes them probabilities, $p_c = e^{z_c} / \sum_k
# e^{z_k}$, and the loss of an example with label $y$ is $-\ln p_y$. As with the sigmoid, going through the probability
# loses:
#
# | logits | label | softmax, then log | truth |
# |---|---|---|---|
# | (2, 1, 0) | 0 | 0.4076 | 0.4076 |
# | (1000, 0) | 1 | nan: $e^{1000}$ is infinite | 1000 |
# | the same, largest subtracted first: (0, -1000) | 1 | inf: $p_1$ is rounded to 0 | 1000 |
#
# The way out is not to form the probability:
#
# $$-\ln p_y = \ln \sum_k e^{z_k} - z_y$$
#
# The first term is the **log-sum-exp**. With $m$ the largest logit it is $m + \ln \sum_k e^{z_k - m}$, in which no
# power is above 1 and at least one is 1. Keep these two parts apart. For the logits (10000, 9999) in float32 they are
# 10000 and 0.3132617. Neighbouring float32 numbers are 0.001 apart at 10000, so the sum of the two is 10000.3135, and
# 0.3135 is left when $z_y$ is subtracted. The loss will therefore be computed as $\text{rest} - (z_y - m)$.
#
# Logits have the shape (N, C), or (N, C, d₁, ...) when there is a label for each pixel or token: (8, 3, 480, 640)
# logits and (8, 480, 640) labels for 3 classes. **The class axis is always axis 1.** Everything below is of the labels'
# shape.
#
# **Exercise 5.1** The two parts of the log-sum-exp over axis 1. A logit of $-\infty$ is legal: that class has been
# masked out, with probability 0.
#
# **Exercise 5.2** The value of each position at its label. There may be 50,000 classes: the check also looks at how
# much memory you allocate.

# %% solution="log_sum_exp"
#| export
def log_sum_exp(logits):
    """ln of the sum of e^logits over axis 1, in two parts -> (largest logit, rest), whose sum it is.

    logits (N, C, ...) give two arrays (N, ...) of the same dtype.
    """
    ### BEGIN SOLUTION
    largest = logits.max(axis=1)
    powers = logits - np.expand_dims(largest, 1)
    np.exp(powers, out=powers)
    return largest, np.log(powers.sum(axis=1))
    ### END SOLUTION


# %% solution="take_labels"
#| export
def take_labels(values, labels):
    """values (N, C, ...) at labels (N, ...), integers from 0 to C - 1 along axis 1 -> array (N, ...)."""
    ### BEGIN SOLUTION
    return np.take_along_axis(values, np.expand_dims(labels, 1), axis=1).squeeze(1)
    ### END SOLUTION


# %% check="log_sum_exp" points=6
def log_sum_exp_of(logits, class_axis=1):
    with np.errstate(all="ignore"):
        return log_sum_exp(np.moveaxis(logits, class_axis, 1))

check("log_sum_exp", [
    case(np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])),
    case(np.array([[10000.0, 9999.0], [0.0, -1000.0]], "float32")),
    case(np.array([[1.0, -np.inf, 1.0]])),
], call=log_sum_exp_of, forbid=("np.logaddexp", "np.logaddexp2"))

# %% hidden="log_sum_exp"
def cases(rng):
    for n, c in ((4, 3), (2, 7), (5, 5)):
        yield case(rng.normal(0, 2, (n, c)), behaviour="moderate logits")
    for name in ("float64", "float32"):
        yield case(rng.normal(0, 1e4, (3, 6)).astype(name), behaviour="logits of 10,000 of either sign")
        yield case((rng.uniform(-3, 3, (3, 6)) - 1e4).astype(name), behaviour="logits of 10,000 of either sign")
        yield case((rng.integers(-3, 4, (3, 6)) + 1e4).astype(name), behaviour="logits of 10,000 of either sign")
    for shape in ((2, 3, 4), (3, 5, 2, 2), (4, 4, 4)):
        yield case(rng.normal(0, 2, shape), behaviour="more axes; axis 1 is the classes")
    yield case(rng.normal(0, 2, (2, 4, 3)), class_axis=2, behaviour="more axes; axis 1 is the classes")
    masked = rng.normal(0, 2, (4, 5))
    masked[:, int(rng.integers(5))] = -np.inf
    edges = "masked classes, one class, NaN, an empty batch"
    yield case(masked, behaviour=edges)
    yield case(rng.normal(0, 100, (3, 1)), behaviour=edges)
    yield case(np.array([[1.0, np.nan], [2.0, 3.0]]), behaviour=edges)
    yield case(np.zeros((0, 4), "float32"), behaviour=edges)
    yield case(np.zeros((2, 4, 0)), behaviour=edges)
    yield case(rng.normal(0, 2, (3, 4)).astype("float32"), behaviour="float32 stays float32")


# %% check="take_labels" points=5
def taken(values, labels, class_axis=1):
    """The values, and whether the memory allocated on the way stays below a bit for each element of values."""
    values = np.moveaxis(values, class_axis, 1)
    tracemalloc.start()
    try:
        result = take_labels(values, labels)
        frugal = tracemalloc.get_traced_memory()[1] < values.size // 8 + 16384
    finally:
        tracemalloc.stop()
    return {"values": np.asarray(result), "frugal": frugal}

check("take_labels", [
    case(np.array([[2.0, 1.0, 0.0], [5.0, 6.0, 7.0]]), np.array([0, 2])),
    case(np.arange(12.0).reshape(2, 3, 2), np.array([[0, 2], [1, 1]])),
    case(np.arange(8000.0).reshape(4, 2000), np.array([0, 1999, 7, 3])),
], call=taken)

# %% hidden="take_labels"
def cases(rng):
    for n, c in ((4, 3), (2, 9), (6, 6)):
        yield case(rng.normal(size=(n, c)), rng.integers(0, c, n), behaviour="one label for each row")
    more = "more axes, any strides"
    for shape in ((2, 3, 4), (3, 5, 2, 2), (4, 4, 4)):
        yield case(rng.normal(size=shape), rng.integers(0, shape[1], shape[:1] + shape[2:]), behaviour=more)
    yield case(rng.normal(size=(2, 4, 3)), rng.integers(0, 3, (2, 4)), class_axis=2, behaviour=more)
    for name in ("int8", "int32"):
        values = rng.normal(size=(5, 4)).astype("float32")
        yield case(values, rng.integers(0, 4, 5).astype(name), behaviour="dtypes of labels and values")
    values = rng.normal(size=(4, 3))
    labels = rng.integers(0, 3, 4)
    values[np.arange(4), (labels + 1) % 3] = [-np.inf, np.inf, np.nan, -np.inf]
    yield case(values, labels, behaviour="infinite values of other classes")
    yield case(np.zeros((0, 3)), np.zeros(0, "int64"), behaviour="an empty batch, one class")
    yield case(rng.normal(size=(3, 1)), np.zeros(3, "int64"), behaviour="an empty batch, one class")
    many = rng.normal(size=(20, 20000)).astype("float32")
    yield case(many, rng.integers(0, 20000, 20), behaviour="many classes in little memory")


# %% [markdown]
# ### Labels that do not count, and labels that are wrong
#
# Sentences of a batch have different lengths, so the short ones are padded, and padding must not be learned. The label
# `ignore_index`, by default -100, says that a position does not count. Any integer may be chosen, also one that is a
# class: with `ignore_index=0` label 0 does not count.
#
# All other labels are 0 to C - 1. NumPy would read the label -1 as the last class, and training would go on, on wrong
# labels. So an unknown label is refused, with what one needs to find it in the data.
#
# **Exercise 5.3** Which positions count? The error is an `IndexError` and names the label, its position and the number
# of classes; of several wrong labels, the first in row-major order.

# %% solution="kept_labels"
#| export
def kept_labels(labels, classes, ignore_index):
    """Which labels count, those that differ from ignore_index -> bool array of the labels' shape.

    Raises IndexError that names the first label that counts and is not from 0 to classes - 1, and its position.
    """
    ### BEGIN SOLUTION
    kept = labels != ignore_index
    wrong = kept & ((labels < 0) | (labels >= classes))
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise IndexError(f"label {int(labels[at])} at position {at} is no class: "
                         f"{classes} classes are 0 to {classes - 1}, and {ignore_index} is ignored")
    return kept
    ### END SOLUTION


# %% check="kept_labels" points=5
def kept_of(labels, classes, ignore_index=-100, named=()):
    """Which labels count; or, if they are refused, whether the message holds the numbers in `named`."""
    try:
        return np.asarray(kept_labels(labels, classes, ignore_index))
    except IndexError as error:
        numbers = re.findall(r"-?\d+", str(error))
        return {"the message names": [str(number) in numbers for number in named]}

check("kept_labels", [
    case(np.array([0, 2, -100, 1]), 3),
    case(np.array([0, 2, 1]), 3, ignore_index=0),
    case(np.array([[0, 1], [2, 7]]), 3, named=(7, 1, 1, 3)),
    case(np.array([0, -1]), 3, named=(-1, 1, 3)),
], call=kept_of)

# %% hidden="kept_labels"
def cases(rng):
    core = "padding is ignored, classes count"
    for shape in ((8,), (3, 4), (2, 3, 2)):
        labels = rng.integers(0, 5, shape)
        labels[rng.random(shape) < 0.4] = -100
        labels.flat[:2] = -100, 4
        yield case(labels, 5, behaviour=core)
    for ignored in (0, 3, -1, 99):
        labels = rng.integers(0, 4, 12)
        labels[1::4] = ignored
        yield case(labels, 4, ignore_index=ignored, behaviour="any ignore_index")
    refused = "a label that is no class is named"
    for label in (6, 250, -1, -6, -100):
        labels = rng.integers(0, 6, 9)
        at = int(rng.integers(9))
        labels[at] = label
        yield case(labels, 6, ignore_index=255, named=(label, at, 6), behaviour=refused)
    labels = rng.integers(0, 6, (13, 17))
    labels[11, 14] = 77
    labels[12, 3] = 88
    yield case(labels, 6, named=(77, 11, 14, 6), behaviour=refused)
    edges = "int8 and int32, an empty batch, everything ignored"
    yield case(np.array([0, 5, -100], "int8"), 6, behaviour=edges)
    yield case(np.array([0, 5, -100], "int8"), 50257, behaviour=edges)
    yield case(np.array([0, 5], "int32"), 5, named=(5, 1), behaviour=edges)
    yield case(np.zeros(0, "int64"), 3, behaviour=edges)
    yield case(np.full((2, 2), -100), 3, behaviour=edges)


# %% [markdown]
# ### Weights and the mean
#
# With class weights $w$, one for each class, the loss of a position is multiplied by the weight of its label. What does
# the mean divide by? Three positions, class weights (1, 4), and the second position is ignored:
#
# | position | label | $-\ln p_y$ | counts | weight | loss |
# |---|---|---|---|---|---|
# | 0 | 1 | 0.5 | yes | 4 | 2.0 |
# | 1 | -100 | | no | 0 | 0 |
# | 2 | 0 | 0.3 | yes | 1 | 0.3 |
#
# PyTorch divides by the weights, and so do we: 2.3 / (4 + 1) = 0.46, not 2.3 / 3 or 2.3 / 2. That makes it a proper
# weighted mean: weights of (10, 40) give the same value as (1, 4). Note the contrast to `BCEWithLogitsLoss`, whose mean
# divides by the number of elements whatever the weights are.
#
# Nothing that stands at an ignored position may reach the result, not even a NaN; a product with 0 would let it
# through. Where the weights of the labels sum to 0 there is no mean: it is NaN, as in PyTorch. Everything ignored is
# one such case.
#
# **Exercise 5.4** The weight of each position. Ignored positions have weight 0; without class weights all others have
# weight 1. At an ignored position `labels` holds some class, which means nothing.
#
# **Exercise 5.5** The reduction with ignored positions and weights. The losses that come in are multiplied by their
# weights already. With `"none"` an ignored position has loss 0.

# %% solution="label_weights"
#| export
def label_weights(labels, kept, weight, dtype):
    """The weight of each position: that of its label, 1 if weight is None, 0 where it is not kept -> array (N, ...).

    labels (N, ...) from 0 to C - 1, kept (N, ...) bool, weight (C,) of that dtype or None.
    """
    ### BEGIN SOLUTION
    return kept.astype(dtype) if weight is None else np.where(kept, weight[labels], 0).astype(dtype)
    ### END SOLUTION


# %% solution="reduce_kept"
#| export
def reduce_kept(losses, weights, kept, reduction):
    """Weighted losses (N, ...) by "mean", "sum" or "none"; positions that are not kept count as absent.

    weights (N, ...) are those that the losses were multiplied by; the mean divides by their sum.
    """
    ### BEGIN SOLUTION
    losses = np.where(kept, losses, 0).astype(losses.dtype, copy=False)
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else np.true_divide(total, weights.sum() or np.nan, dtype=losses.dtype)
    ### END SOLUTION


# %% check="label_weights" points=3
check("label_weights", [
    case(np.array([1, 0, 0]), np.array([True, False, True]), np.array([1.0, 4.0]), np.dtype("float64")),
    case(np.array([1, 0, 0]), np.array([True, False, True]), None, np.dtype("float32")),
])

# %% hidden="label_weights"
def cases(rng):
    def some(shape, classes):
        kept = rng.random(shape) < 0.6
        kept.flat[:2] = True, False
        return rng.integers(0, classes, shape), kept

    for shape in ((7,), (3, 4), (2, 3, 2)):
        yield case(*some(shape, 5), rng.uniform(0.5, 9, 5), np.dtype("float64"), behaviour="class weights")
    for shape in ((7,), (3, 4)):
        yield case(*some(shape, 3), None, np.dtype("float64"), behaviour="no class weights")
    yield case(*some((6,), 3), None, np.dtype("float32"), behaviour="float32")
    yield case(*some((6,), 3), rng.uniform(0.5, 9, 3).astype("float32"), np.dtype("float32"), behaviour="float32")
    edges = "infinite weights, an empty batch, everything ignored"
    dtype = np.dtype("float64")
    yield case(np.array([0, 0, 1]), np.array([True, False, True]), np.array([np.inf, 2.0]), dtype, behaviour=edges)
    yield case(np.zeros(0, "int64"), np.zeros(0, bool), np.ones(3), dtype, behaviour=edges)
    yield case(np.zeros(3, "int64"), np.zeros(3, bool), np.full(2, 5.0), dtype, behaviour=edges)


# %% check="reduce_kept" points=5
def kept_reduction(losses, weights, kept, reduction):
    with np.errstate(all="ignore"):
        return np.asarray(reduce_kept(losses, weights, kept, reduction))

check("reduce_kept", [
    case(np.array([2.0, 7.0, 0.3]), np.array([4.0, 0.0, 1.0]), np.array([True, False, True]), "mean"),
    case(np.array([2.0, np.nan, 0.3]), np.array([4.0, 0.0, 1.0]), np.array([True, False, True]), "sum"),
    case(np.array([2.0, 7.0, 0.3]), np.array([4.0, 0.0, 1.0]), np.array([True, False, True]), "none"),
], call=kept_reduction)

# %% hidden="reduce_kept"
def cases(rng):
    def some(shape, dtype="float64", weighted=True):
        kept = rng.random(shape) < 0.6
        kept.flat[:3] = True, False, True
        weights = np.where(kept, rng.uniform(0.5, 9, shape) if weighted else 1, 0)
        return rng.uniform(0.5, 4, shape).astype(dtype), weights.astype(dtype), kept

    for shape in ((6,), (3, 4), (2, 3, 2)):
        yield case(*some(shape), "mean", behaviour="the mean divides by the weights that count")
        yield case(*some(shape, weighted=False), "mean", behaviour="the mean divides by the weights that count")
    for shape in ((6,), (3, 4)):
        yield case(*some(shape), "sum", behaviour="sum and none")
        yield case(*some(shape), "none", behaviour="sum and none")
    for bad in (np.nan, np.inf):
        for reduction in ("mean", "sum", "none"):
            losses, weights, kept = some((3, 3))
            losses[~kept] = bad
            yield case(losses, weights, kept, reduction, behaviour="nothing leaks from an ignored position")
            losses, weights, kept = some((4,))
            losses[0] = bad
            yield case(losses, weights, kept, reduction, behaviour="NaN and infinity that count are not hidden")
    edges = "weights that sum to 0, an empty batch, float32"
    for reduction in ("mean", "sum", "none"):
        yield case(np.zeros(0), np.zeros(0), np.zeros(0, bool), reduction, behaviour=edges)
        yield case(np.ones((2, 3)), np.zeros((2, 3)), np.zeros((2, 3), bool), reduction, behaviour=edges)
        yield case(*some((5,), "float32"), reduction, behaviour=edges)
        yield case(np.array([0.5, 0.25]), np.zeros(2), np.array([True, False]), reduction, behaviour=edges)


# %% [markdown]
# ### Label smoothing
#
# $-\ln p_y$ reaches 0 only at $p_y = 1$, with a logit at infinity, so weights grow for as long as one trains. Label
# smoothing asks for less. The target is not the label alone but a mixture: with share $1 - \varepsilon$ the label, with
# share $\varepsilon$ a class drawn from all C alike, the label among them.
#
# **Worked example.** Three classes, label 0, $\varepsilon = 0.1$. The target is (0.9333, 0.0333, 0.0333). If $-\ln p$
# is (0.2, 1.9, 3.4), the loss is 0.9333·0.2 + 0.0333·1.9 + 0.0333·3.4 = 0.3633.
#
# With class weights every term carries the weight of *its* class: (2, 1, 5) give 2·0.9333·0.2 + 1·0.0333·1.9 +
# 5·0.0333·3.4 = 1.0033. The mean then divides by the weights of the labels, as before; that is PyTorch's choice too.
#
# **Exercise 5.6** Your function gets the label's own part, multiplied by the label's weight already: 0.2, or 2·0.2 =
# 0.4.

# %% solution="smoothed"
#| export
def smoothed(label_losses, surprisal, weight, label_smoothing):
    """The loss of each position against the label with share 1 - label_smoothing, all classes alike with the rest.

    label_losses (N, ...) is -ln p of the label times its weight, surprisal (N, C, ...) is -ln p of every class, weight
    (C,) or None. -> array (N, ...)
    """
    ### BEGIN SOLUTION
    classes = surprisal.shape[1]
    if weight is not None:
        surprisal = surprisal * weight.reshape(-1, *[1] * (surprisal.ndim - 2))
    return (1 - label_smoothing) * label_losses + label_smoothing / classes * surprisal.sum(axis=1)
    ### END SOLUTION


# %% check="smoothed" points=5
def smoothed_of(label_losses, surprisal, weight, label_smoothing, class_axis=1):
    return np.asarray(smoothed(label_losses, np.moveaxis(surprisal, class_axis, 1), weight, label_smoothing))

check("smoothed", [
    case(np.array([0.2]), np.array([[0.2, 1.9, 3.4]]), None, 0.1),
    case(np.array([0.4]), np.array([[0.2, 1.9, 3.4]]), np.array([2.0, 1.0, 5.0]), 0.1),
    case(np.array([[0.2, 0.5]]), np.array([[[0.2, 0.5], [1.9, 1.0]]]), None, 0.5),
], call=smoothed_of)

# %% hidden="smoothed"
def cases(rng):
    def some(*shape, dtype="float64"):
        surprisal = rng.uniform(0.1, 5, shape).astype(dtype)
        return surprisal[:, 0] * rng.uniform(0.5, 2), surprisal

    for n, c in ((3, 4), (5, 2), (4, 4)):
        yield case(*some(n, c), None, float(rng.uniform(0.05, 0.5)), behaviour="without class weights")
    for n, c in ((3, 4), (5, 2), (4, 4)):
        yield case(*some(n, c), rng.uniform(0.5, 9, c), float(rng.uniform(0.05, 0.5)), behaviour="with class weights")
    for shape in ((2, 3, 4), (3, 4, 2, 2), (3, 3, 3)):
        yield case(*some(*shape), None, 0.2, behaviour="more axes")
        yield case(*some(*shape), rng.uniform(0.5, 9, shape[1]), 0.2, behaviour="more axes")
    label_losses, surprisal = some(2, 3, 4)
    yield case(label_losses, np.moveaxis(surprisal, 1, 2), None, 0.2, class_axis=2, behaviour="more axes")
    edges = "shares of 0 and 1, one class, an empty batch, float32"
    yield case(*some(3, 4), None, 0.0, behaviour=edges)
    yield case(*some(3, 4), None, 1.0, behaviour=edges)
    yield case(*some(3, 1), rng.uniform(0.5, 9, 1), 0.3, behaviour=edges)
    yield case(np.zeros(0), np.zeros((0, 4)), None, 0.3, behaviour=edges)
    label_losses, surprisal = some(3, 4, dtype="float32")
    yield case(label_losses.astype("float32"), surprisal, np.ones(4, "float32"), 0.25, behaviour=edges)


# %% [markdown]
# ### The class
#
# `forward` puts your six functions in a row. Follow one batch through it, and note what it does not do: there is no
# array of probabilities, and only smoothing needs a second array as large as the logits. `prepare` leaves labels the
# integers that they are.

# %%
#| export
def require_labels(logits, labels):
    """Refuse logits and labels, tensors, that do not belong together: (N, C, ...) and integers (N, ...)."""
    if logits.ndim < 2 or logits.shape[1] == 0:
        raise ShapeError(f"logits are (N, C, ...) with at least one class on axis 1, got shape {logits.shape}")
    if labels.dtype.kind != "i":
        raise DTypeError(f"labels are integers from 0 to {logits.shape[1] - 1}, got {labels.dtype}; "
                         "astype('int64') makes them so")
    wanted = logits.shape[:1] + logits.shape[2:]
    if labels.shape != wanted:
        raise ShapeError(f"labels have shape {labels.shape}; logits of shape {logits.shape} want {wanted}, "
                         "all axes but the class axis 1")


class CrossEntropyLoss(Loss):
    """-ln of the probability that softmax(logits) gives to the label.

    logits (N, C, ...) with the classes on axis 1, labels (N, ...) of an integer dtype, weight (C,) for each class.
    Labels equal to ignore_index do not count. label_smoothing in [0, 1] is the share of the target spread over all
    classes. The mean divides by the summed weights of the labels that count.
    Raises IndexError for a label that is no class, DTypeError for labels that are no integers, ShapeError for shapes
    that do not fit, ValueError for a label_smoothing out of range. Source: Szegedy et al. 2016 (label smoothing).
    """

    def __init__(self, **params):
        super().__init__(**params)
        if not 0 <= self.params["label_smoothing"] <= 1:
            raise ValueError(f"label_smoothing is a share from 0 to 1, got {self.params['label_smoothing']}")
        self.params["ignore_index"] = operator.index(self.params["ignore_index"])

    def prepare(self, tensors):
        logits, labels = tensors
        require_labels(logits, labels)
        dtype = float_of(logits.dtype)
        if self.params["weight"] is not None:
            weight = self.params["weight"] = np.asarray(self.params["weight"], dtype)
            if weight.shape != (logits.shape[1],):
                raise ShapeError(f"weight has shape {weight.shape}; logits of shape {logits.shape} have "
                                 f"{logits.shape[1]} classes and want ({logits.shape[1]},)")
        return logits.numpy().astype(dtype, copy=False), labels.numpy()

    def forward(self, logits, labels, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        kept = kept_labels(labels, logits.shape[1], ignore_index)
        labels = np.where(kept, labels, 0)
        weights = label_weights(labels, kept, weight, logits.dtype)
        largest, rest = log_sum_exp(logits)
        losses = weights * (rest - (take_labels(logits, labels) - largest))
        if label_smoothing:
            surprisal = np.expand_dims(rest, 1) - (logits - np.expand_dims(largest, 1))
            losses = smoothed(losses, surprisal, weight, label_smoothing)
        return reduce_kept(losses, weights, kept, reduction)


# %%
#| export
def mse_loss(prediction, target, reduction="mean"):
    """Mean squared error of tensors of one shape: MSELoss."""
    return MSELoss.apply(prediction, target, reduction=reduction)


def mae_loss(prediction, target, reduction="mean"):
    """Mean absolute error of tensors of one shape: MAELoss."""
    return MAELoss.apply(prediction, target, reduction=reduction)


def huber_loss(prediction, target, reduction="mean", delta=1.0):
    """Squares up to delta, absolute values beyond, of tensors of one shape: HuberLoss."""
    return HuberLoss.apply(prediction, target, reduction=reduction, delta=delta)


def binary_cross_entropy_with_logits(prediction, target, *, weight=None, pos_weight=None, reduction="mean"):
    """Log loss of sigmoid(prediction) against probabilities of the same shape: BCEWithLogitsLoss."""
    return BCEWithLogitsLoss.apply(prediction, target, weight=weight, pos_weight=pos_weight, reduction=reduction)


def cross_entropy(logits, target, *, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """Log loss of softmax(logits), (N, C, ...), against integer labels (N, ...): CrossEntropyLoss."""
    return CrossEntropyLoss.apply(logits, target, weight=weight, ignore_index=ignore_index,
                                  label_smoothing=label_smoothing, reduction=reduction)


# %% [markdown]
# The first loss of an untrained classifier: ln 10 = 2.303, if its logits are small. The rows below draw them ever
# larger.

# %% show
rng = np.random.default_rng(0)
labels = Tensor(rng.integers(0, 10, 512))
for spread in (0.01, 0.3, 1, 3, 10, 10_000):
    logits = Tensor(rng.normal(0, spread, (512, 10)), "float32")
    with np.errstate(all="ignore"):
        naive = np.exp(logits.numpy())
        naive = -np.log(naive[np.arange(512), labels.numpy()] / naive.sum(axis=1)).mean()
    print(f"logits of size {spread:8}: loss {cross_entropy(logits, labels).item():10.3f}, by log(softmax) {naive:10.3f}")

# %% [markdown]
# Each of these lines is refused. Would the message be enough for you to repair it?

# %% show
x, y = Tensor(np.zeros((4, 3)), "float32"), Tensor([0, 1, 2, 1])
for attempt in (lambda: mse_loss(Tensor(np.zeros((4, 1))), Tensor(np.zeros(4))), lambda: mse_loss(x, x, reduction="avg"),
                lambda: CrossEntropyLoss(ignore_idx=0), lambda: cross_entropy(x, Tensor([0, 1, 3, 1])),
                lambda: cross_entropy(x, Tensor([0.0, 1.0, 2.0, 1.0])), lambda: cross_entropy(x, y.reshape(4, 1)),
                lambda: cross_entropy(x, y, weight=[1.0, 2.0]), lambda: cross_entropy(x, y, label_smoothing=10),
                lambda: binary_cross_entropy_with_logits(x[:, 0], y),
                lambda: binary_cross_entropy_with_logits(x, x, pos_weight=[1.0, 2.0])):
    try:
        attempt()
    except (ValueError, TypeError, IndexError) as error:
        print(f"{type(error).__name__:11}{error}")

# %% [markdown]
# ## 6. What people ask for instead
#
# Nobody is told the cross entropy of a spam filter; they are told how many mails it got right. **Accuracy** is the
# share of positions whose largest logit is that of the label. It can stand still while the loss falls, and the loss can
# rise while it improves: one mail filtered wrongly with a logit of 50 costs as much as 72 coin flips.
#
# **Exercise 6.1** Ignored positions are left out of both counts. Without any position the share is NaN.
# `require_labels` above refuses what does not fit, so the first line is written for you.

# %% solution="accuracy"
#| export
def accuracy(logits, target, ignore_index=-100):
    """The share of labels, other than ignore_index, whose logit is the largest of its position -> float.

    logits (N, C, ...), integer labels (N, ...), as for cross_entropy; NaN if no label counts.
    """
    logits, target = as_tensors((logits, target))
    require_labels(logits, target)
    ### BEGIN SOLUTION
    labels = target.numpy()
    kept = labels != ignore_index
    right = (logits.numpy().argmax(axis=1) == labels) & kept
    count = int(kept.sum())
    return int(right.sum()) / count if count else float("nan")
    ### END SOLUTION


# %% check="accuracy" points=3
def accuracy_of(logits, labels, **kwargs):
    return float(accuracy(Tensor(logits), Tensor(labels), **kwargs))

check("accuracy", [
    case(np.array([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]]), np.array([0, 1, 1])),
    case(np.array([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]]), np.array([0, 1, -100])),
], call=accuracy_of)

# %% hidden="accuracy"
def cases(rng):
    def some(*shape):
        logits = rng.normal(size=shape)
        labels = rng.integers(0, shape[1], shape[:1] + shape[2:])
        return logits, np.where(rng.random(labels.shape) < 0.5, logits.argmax(axis=1), labels)

    for n, c in ((9, 3), (7, 7), (12, 4)):
        yield case(*some(n, c), behaviour="one label for each row")
    for shape in ((4, 3, 5), (3, 4, 2, 3), (5, 5, 5)):
        yield case(*some(*shape), behaviour="more axes")
    logits, labels = some(10, 3)
    labels[2:5] = -100
    yield case(logits, labels, behaviour="ignored labels")
    yield case(*some(10, 3), ignore_index=0, behaviour="ignored labels")
    edges = "an empty batch, everything ignored, large and integer logits"
    yield case(np.zeros((0, 3)), np.zeros(0, "int64"), behaviour=edges)
    yield case(np.zeros((2, 3)), np.full(2, -100), behaviour=edges)
    yield case(rng.normal(0, 1e4, (8, 3)).astype("float32"), rng.integers(0, 3, 8).astype("int8"), behaviour=edges)
    yield case(rng.integers(-9, 9, (8, 3)), rng.integers(0, 3, 8), behaviour=edges)
    for labels in (np.zeros(4), np.zeros((4, 1), "int64"), np.zeros(5, "int64")):
        yield case(np.ones((4, 3)), labels, behaviour="labels that do not fit are refused")


# %% [markdown]
# ## 7. What it costs
#
# Predict, then measure. State intervals such that you would be surprised in one case of ten.

# %% show
import time


def best(f, repeat=5):
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
# ### 7.1 One of fifty thousand
#
# In formulas the label is a vector with a single 1, and the loss a product: $-\sum_c y_c \ln p_c$. A sequence of 1024
# tokens, a vocabulary of 50,000, float32. How many bytes do the one-hot vectors of the labels take?

# %% answer="onehot_bytes" points=2
onehot_bytes = ""  # a number with its unit, such as "16 MB"
### BEGIN SOLUTION
onehot_bytes = f"{1024 * 50_000 * 4} B"
### END SOLUTION

# %% key="onehot_bytes"
def key(v):
    tokens, vocabulary, size = 1024, 50_000, 4
    return Key(tokens * vocabulary * size, "B", tol=0.05, mistakes=[
        Mistake(tokens * vocabulary, 0.5, "that counts elements; a float32 takes 4 bytes"),
        Mistake(tokens * vocabulary * 8, 0.5, "that is for float64"),
        Mistake(tokens * 8, 0.25, "that is what the labels take as int64; a one-hot vector has 50,000 elements"),
        Mistake(vocabulary * size, 0.25, "that is for one token"),
    ])

# %% [markdown]
# Now the time, at 64 tokens. The logarithms of the probabilities are there. **How many times longer** does it take to
# build the one-hot vectors, multiply and sum, than to call `take_labels`?

# %% predict="onehot_time" points=1
# predict("onehot_time", "number", low="number", high="number")
### BEGIN SOLUTION
predict("onehot_time", "1000", low="100", high="10000")
### END SOLUTION

# %% show
N, C = 64, 50_000
rng = np.random.default_rng(1)
logits, labels = rng.normal(size=(N, C)).astype("float32"), rng.integers(0, C, N)
log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def by_product():
    one_hot = np.zeros((N, C), "float32")
    one_hot[np.arange(N), labels] = 1
    return (log_p * one_hot).sum(axis=1)


def by_gather():
    return take_labels(log_p, labels)


product, gather = best(by_product), best(by_gather)
reveal("onehot_time", f"{product / gather:.3g}")
whole = best(lambda: cross_entropy(logits, labels))
print("label's share of the loss        time         peak")
for name, seconds, bytes_ in (("one-hot product", product, peak(by_product)), ("gather", gather, peak(by_gather))):
    print(f"{name:22} {seconds * 1e3:11.3f} ms  {bytes_ / 2**20:8.3f} MiB")
print(f"the whole cross entropy {whole * 1e3:10.3f} ms; with a one-hot product it would take "
      f"{1 + product / whole:.2f} times as long")

# %% [markdown]
# The factor is large, and the whole loss gains far less: N × C powers have to be computed in any case, and they take
# nearly all of the time that is left. Memory is another matter. The one-hot vectors and their product are two arrays of
# the size of the logits, and at such vocabularies the logits are often the largest tensor of the whole training step.
#
# ### 7.2 One function or ten
#
# The same loss can be put together from operations on tensors. `Exp` and `Log` take three lines each. Every operation
# makes a new tensor, and the list keeps those that autograd will have to keep for its backward pass.

# %% show
class Exp(Function):
    def forward(self, a):
        return np.exp(a)


class Log(Function):
    def forward(self, a):
        return np.log(a)


def composed(logits, one_hot):
    """The mean cross entropy of logits (N, C), and the large tensors on the way to it."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    powers = Exp.apply(shifted)
    log_p = shifted - Log.apply(powers.sum(axis=1, keepdims=True))
    product = log_p * one_hot
    return -product.sum(axis=1).mean(), [shifted, powers, log_p, product]

# %% [markdown]
# `Storage.peak_bytes` counts what tensors hold. How high does it rise while `composed` runs, **as a multiple of the
# bytes of the logits**? The logits and the one-hot vectors are there before and are not counted.

# %% predict="composed_peak" points=1
# predict("composed_peak", "number", low="number", high="number")
### BEGIN SOLUTION
predict("composed_peak", "4", low="3", high="6")
### END SOLUTION

# %% show
N, C = 128, 10_000
rng = np.random.default_rng(2)
logits, labels = Tensor(rng.normal(size=(N, C)), "float32"), Tensor(rng.integers(0, C, N))
one_hot = Tensor(labels.numpy()[:, None] == np.arange(C), "float32")
rows = []
for name, loss in (("ten operations", lambda: composed(logits, one_hot)),
                   ("one function", lambda: cross_entropy(logits, labels))):
    Storage.peak_bytes = held = Storage.live_bytes
    loss()
    rows.append((name, best(loss), (Storage.peak_bytes - held) / logits.nbytes, peak(loss) / logits.nbytes))
reveal("composed_peak", f"{rows[0][2]:.3g}")
print("                       time   tensors at the peak   all arrays at the peak   (in bytes of the logits)")
for name, seconds, stored, traced in rows:
    print(f"{name:16} {seconds * 1e3:7.2f} ms  {stored:19.2f}   {traced:22.2f}")
print("values", composed(logits, one_hot)[0].item(), cross_entropy(logits, labels).item())
print("\nlogits in      held   all arrays at the peak   loss in")
for name in ("float64", "float32", "float16"):
    some = Tensor(logits, name)
    print(f"{name:8} {some.nbytes / 2**20:6.2f} MiB {peak(lambda x=some: cross_entropy(x, labels)) / 2**20:16.2f} MiB   "
          f"{cross_entropy(some, labels).dtype}")

# %% [markdown]
# One function keeps one number as a tensor. While it runs it needs scratch space, which tracemalloc sees and `Storage`
# does not, and which is gone when it returns; what stays for the backward pass is the logits, which exist anyway, and
# the labels. This is why frameworks have a cross entropy at all and do not compose it. The time falls as well: seven of
# the ten operations read or write all N × C floats in memory.
#
# The second table: float16 halves what the logits hold, and the loss takes more while it runs, not less. It is computed
# in float32, from a converted copy, which is scratch as well.
#
# ### 7.3 Where the naive formula breaks
#
# $\ln(e^{z_y} / \sum_k e^{z_k})$, computed as it stands in float32, for logits $(z, 0, \dots, 0)$. From which $z$ on is
# the result `nan`? Give at least three digits.

# %% answer="overflow" points=2
overflow = ""  # a number, such as "12.3"
### BEGIN SOLUTION
overflow = f"{np.log(float(np.finfo('float32').max)):.4f}"
### END SOLUTION

# %% key="overflow"
def key(v):
    def largest(name):
        return float(np.finfo(name).max)

    return Key(float(np.log(largest("float32"))), "", tol=0.005, mistakes=[
        Mistake(float(np.log10(largest("float32"))), 0.5, "that is the largest decimal exponent of float32; the power is of e"),
        Mistake(float(np.log2(largest("float32"))), 0.5, "that is the largest binary exponent of float32; the power is of e"),
        Mistake(float(np.log(largest("float64"))), 0.25, "that is the limit of float64"),
        Mistake(float(np.log(largest("float16"))), 0.25, "that is the limit of float16"),
        Mistake(float(-np.log(float(np.finfo("float32").smallest_subnormal))), 0.25,
                "that is where a small power is rounded to 0; a large one overflows before"),
    ])

# %% [markdown]
# The first column measures it by bisection. The second subtracts the largest logit first, and asks at which distance
# from it the logarithm of a label's probability becomes infinite. The third is your `log_sum_exp` on the same kind of
# input.

# %% show
def limit(finite, low=1.0, high=2000.0):
    """The z up to which finite(z) holds, by bisection."""
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if finite(middle) else (low, middle)
    return low


def naive_loss(z, dtype):
    powers = np.exp(np.array([z, 0, 0], dtype))
    return -np.log(powers[0] / powers.sum())


def shifted_loss(z, dtype):
    powers = np.exp(np.array([0, -z, -z], dtype))
    return -np.log(powers[1] / powers.sum())


print("          log(softmax) nan from   largest subtracted, inf from   loss by log_sum_exp at 10,000")
with np.errstate(all="ignore"):
    for name in ("float16", "float32", "float64"):
        naive = limit(lambda z, name=name: np.isfinite(naive_loss(z, name)))
        shifted = limit(lambda z, name=name: np.isfinite(shifted_loss(z, name)))
        stable = cross_entropy(Tensor([[10_000.0, 0.0, 0.0]], name), Tensor([1])).item()
        print(f"{name:8}  {naive:21.2f}   {shifted:28.2f}   {stable:29.2f}")

# %% [markdown]
# ## 8. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="accumulated_mean" points=4
# A language model is trained on batches of 8 padded sequences with `cross_entropy` and its default reduction. To save
# memory somebody splits each batch into two halves of 4, averages the two losses, and expects the same number. On one
# batch the first half has 900 labels that count and a mean loss of 2.0; the second has 100 and a mean loss of 4.0. In
# six to ten sentences: compute the loss of the whole batch and that of the split one; say which tokens the split
# favours and why; say what the split gives when all labels of one half are ignored, and what that does to training; and
# propose a repair using the arguments that the losses here have.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. Whole batch: (900·2.0 + 100·4.0) / 1000 = 2.2. Split: (2.0 + 4.0) / 2 = 3.0.
# 2. Each half divides by its own count, so a token of the second half weighs 1/200 and one of the first 1/1800, nine
#    times less: tokens that share a half with much padding (short sequences) are favoured. The two agree only if both
#    halves have the same count or the same loss.
# 3. 0 / 0 = NaN for that half, so NaN for the average; after one step on its gradient every weight is NaN, and the run
#    is lost. A mention that the gradient, not the printed value, does the damage earns the point as well.
# 4. `reduction="sum"` for each half, divided by the number of labels that count in the whole batch, which has to be
#    counted before the first half is run; with class weights, by the sum of their weights. Weighting each mean by its
#    count is the same thing and earns the point if the empty half is treated.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# A loss states which errors are likely: squares for Gaussian noise, absolute values for Laplace's, logarithms of
# probabilities for outcomes, where it counts bits. It is computed from logits, in one function, with the largest logit
# taken out; the probability itself is never formed. A mean is only defined with its divisor: elements, labels that
# count, or their weights. And it asks for equal shapes, since broadcasting would answer another question.
#
# | here | PyTorch |
# |---|---|
# | `MSELoss`, `MAELoss`, `HuberLoss` | `torch.nn.MSELoss`, `L1Loss`, `HuberLoss`; unequal shapes earn only a warning there |
# | `noise_nll("gaussian")` | `torch.nn.GaussianNLLLoss`, for a model that predicts the scale too |
# | `BCEWithLogitsLoss` | the same name; targets outside [0, 1] are taken without a word there |
# | `CrossEntropyLoss` | the same name; also takes probabilities as targets |
# | `log_sum_exp`, `take_labels` | `torch.logsumexp`, `torch.gather`; `nll_loss` is gather, weights and mean |
# | `kept_labels` | "IndexError: Target 7 is out of bounds" on a CPU, a device-side assert on a GPU |
# | float16 computed in float32 | what `torch.autocast` does for losses; without it the loss of a half is a half |
# | `huber_error` | `torch.nn.SmoothL1Loss` is the same divided by δ |
#
# A loss needs a batch, and a batch needs somebody to shuffle, cut and stack the data while the previous one is
# computed. That is module 05.
