# %% [markdown]
# # TinyTorch 06: Autograd
#
# A network with layers of 784, 128 and 10 units has 101,770 weights. To learn which way to move each of them, you could
# move one a little up, run the network, move it a little down, run it again, and go to the next: 203,540 runs for a
# single step of training. Or you run it once forwards and once backwards, and have all 101,770 slopes, exact to
# rounding, for the price of about two more runs. What does that knows no calculus beyond one rule for each operation.
# You build it here: the graph that operations leave behind, and the walk back through it.
#
# **Where it sits.** What you write is exported as `tinytorch/autograd.py`. Importing it gives `Function` of module 01
# its `record`, each operation its `backward`, and `Tensor` its `.backward()`.
#
# | module | what meets here |
# |---|---|
# | 01 tensor | `Function.record`, `Storage.version`, views, broadcasting: each comes back from its other side |
# | 02 activations, 04 losses | their classes get a `backward` |
# | 03 layers | a `Parameter` is a leaf of the graph |
# | 07 optimizers, 08 training | read `.grad` and write under `no_grad` |
# | 09 and later | define `backward` beside `forward`; long models use `checkpoint` |
#
# **Afterwards you can**
# 1. derive the backward of an operation, and check it against central differences;
# 2. say why a tensor that is used twice needs a sum, and why the backward of broadcasting is one;
# 3. walk a graph of a hundred thousand operations without recursion, each once, in a valid order;
# 4. tell what a graph keeps alive, when it is released, and when a write in place would make a gradient wrong;
# 5. predict time and memory of a backward pass, and trade one for the other.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Hidden
# cases run when it is graded: other shapes and graphs, tensors used several times, strided views, no elements, NaN and
# infinity, long chains, wrong arguments. Each function is judged by itself; only two checks, which say so, look at
# several at once. You need modules 01, 02 and 04 as a user, and derivatives of one variable. Four hours are typical.

# %%
#| export
"""Reverse-mode differentiation: the graph that operations leave behind, and the walk back through it.

    y = f(x)                 leaves a Node for each operation on a tensor that requires grad
    y.backward()             adds to the .grad of each leaf that y was computed from
    with no_grad(): ...      records nothing
    checkpoint(f, x)         keeps x, and computes f again when its gradient is wanted
    gradcheck(f, x)          holds backward against central differences

Importing this module installs it: Function.record, a backward for each operation of modules 01, 02 and 04, and methods of
Tensor. A backward works on NumPy arrays, so that compiled kernels can run in it; gradients are therefore not recorded, and
there are no second derivatives.

Errors, each one line that says what it got and what to do:

    RuntimeError   <- GraphError      backward without a graph, or through one that was released or overwritten
    RuntimeError   <- InPlaceError    a write in place that would make a gradient wrong
    AssertionError <- GradcheckError  a backward that disagrees with central differences
    ValueError     <- ShapeError      a gradient of another shape than its tensor
    TypeError      <- DTypeError      integers and bools have no gradient
"""

import functools
import itertools
import math
import sys
import threading
import weakref
from contextvars import ContextVar

import numpy as np

from tinytorch import activations, losses, tensor
from tinytorch.backend import native_backward, reused_memory
from tinytorch.tensor import (
    DTypeError,
    Function,
    ShapeError,
    Storage,
    Tensor,
    View,
    float32,
    float64,
    full_key,
    normal_axis,
    slice_layout,
)


class GraphError(RuntimeError):
    """A backward without a graph, or through a graph that was released or whose saved arrays were overwritten."""


class InPlaceError(RuntimeError):
    """A write in place that would make a gradient wrong."""


class GradcheckError(AssertionError):
    """A backward that disagrees with central differences."""


# %%
from contextlib import contextmanager

from mlsysbook import answer, case, check, predict, reveal
from tinytorch.activations import Sigmoid, Softmax, relu, tanh
from tinytorch.losses import cross_entropy
from tinytorch.tensor import Add, Cast, Div, Less, MatMul, Max, Mul, Permute, Slice, Sum, full_key, normal_axes, ones, zeros

# %% [markdown]
# ## 1. A slope by trying
#
# The definition of a derivative is a program: move one number a little, look how the result moves. Taking a step to
# either side is called the **central difference**:
#
# $$\frac{\partial f}{\partial x_i} \approx \frac{f(x + h e_i) - f(x - h e_i)}{2h}$$
#
# **Worked example**: $f(x) = x^3$ at $x = 2$, where the slope is 12, with $h = 0.1$.
#
# | | | error |
# |---|---|---|
# | one side | (9.261 - 8) / 0.1 = 12.61 | 0.61, shrinks with $h$ |
# | both sides | (9.261 - 6.859) / 0.2 = 12.01 | 0.01, shrinks with $h^2$ |
#
# A smaller $h$ is not always better: $f$ is only known to about 16 digits, and dividing by $h$ magnifies the rounding.
# In float64, $h = 10^{-6}$ leaves about nine right digits. In float32 the best $h$ leaves four or five. It costs two
# runs for each number, so it trains no network. But it knows nothing of rules or graphs, and so it will judge all that
# follow.
#
# A function with many results needs one number to look at: the sum of its results, each times a weight. `gradient`
# holds the weights, and here begins a convention that holds to the end of the notebook: *the gradient of a tensor* is
# the slope of that one number, and it has the shape of the tensor.
#
# **Exercise 1.1** Central differences for each element of each tensor. `f` takes tensors and returns a tensor. The
# tensors that the caller gave must hold the same numbers afterwards, to the last bit, also while `f` runs.

# %% solution="numerical_gradient"
#| export
def numerical_gradient(f, *tensors, gradient=1.0, eps=1e-6):
    """Central differences of the sum of gradient * f(*tensors) -> a float64 array of its shape for each tensor.

    f maps tensors to a tensor; tensors are float64 and stay as they are. gradient broadcasts to the result of f.
    Costs two calls of f for each element. The error is about eps² from the curvature of f and 1e-16 / eps from rounding.
    """
    ### BEGIN SOLUTION
    copies = [Tensor(t) for t in tensors]
    results = []
    for copy in copies:
        values, slopes = copy.storage.data, np.zeros(copy.numel())
        for i, value in enumerate(values.copy()):
            sides = []
            for values[i] in (value + eps, value - eps):
                sides.append(float(np.sum(gradient * f(*copies).numpy())))
            values[i] = value
            slopes[i] = (sides[0] - sides[1]) / (2 * eps)
        results.append(slopes.reshape(copy.shape))
    return results
    ### END SOLUTION


# %% check="numerical_gradient" points=3
FUNCTIONS = {
    "cube": lambda x: x**3.0,
    "product": lambda a, b: a @ b,
    "mixed": lambda a, b: tanh(a * b) + a,
    "first": lambda a, b: a * 1.0,
}

def slopes(name, *arrays, turned=False, gradient=1.0, eps=1e-3):
    """The slopes, and whether the tensors still hold what they held."""
    tensors = [Tensor(a.T).T if turned else Tensor(a) for a in arrays]
    kept = []

    def watched(*values):
        kept.append(all(np.array_equal(t.numpy(), a, equal_nan=True) for t, a in zip(tensors, arrays, strict=True)))
        return FUNCTIONS[name](*values)

    found = numerical_gradient(watched, *tensors, gradient=gradient, eps=eps)
    return {"slopes": [np.asarray(g) for g in found], "tensors untouched": all(kept)}

check("numerical_gradient", [
    case("cube", np.array([2.0, -1.0]), eps=0.1),
    case("product", np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])),
    case("cube", np.array([1.0, 2.0]), gradient=np.array([10.0, 1.0])),
], call=slopes, rtol=1e-7, atol=1e-7)

# %% hidden="numerical_gradient"
def cases(rng):
    core = "central differences of each element"
    for _ in range(2):
        shape = tuple(int(n) for n in rng.integers(1, 4, 2))
        yield case("cube", rng.normal(size=shape), eps=float(rng.uniform(0.01, 0.2)), behaviour=core)
        yield case("mixed", rng.normal(size=shape), rng.normal(size=shape), behaviour=core)
    a, b = rng.normal(size=(2, 3)), rng.normal(size=(3, 2))
    yield case("product", a, b, gradient=rng.normal(size=(2, 2)), behaviour="results with weights")
    yield case("cube", rng.normal(size=(2, 3)), gradient=rng.normal(size=3), behaviour="results with weights")
    yield case("cube", rng.normal(size=(3, 2)), turned=True, eps=0.05, behaviour="views, no axes, no elements")
    yield case("mixed", rng.normal(size=()), rng.normal(size=()), behaviour="views, no axes, no elements")
    yield case("cube", np.zeros((0, 3)), behaviour="views, no axes, no elements")
    yield case("first", rng.normal(size=2), rng.normal(size=3), behaviour="a tensor that does not matter has slope 0")


# %% [markdown]
# ## 2. The chain rule on a graph
#
# Take $y = (a b + c) \, b$ at $a = 2, b = 3, c = 4$. In steps: $u = a b = 6$, then $v = u + c = 10$, then
# $y = v b = 30$. Now walk back. Each line asks one operation only: if the slope of $y$ by your result is this, what is
# it by your operands?
#
# | step | known | rule | gives |
# |---|---|---|---|
# | start | | $y$ by $y$ | 1 |
# | $y = v \, b$ | 1 | a factor gets the other factor | $v$: 1 · 3 = **3**; $b$: 1 · 10 = **10** |
# | $v = u + c$ | 3 | a sum passes it on | $u$: **3**; $c$: **3** |
# | $u = a \, b$ | 3 | a factor gets the other factor | $a$: 3 · 3 = **9**; $b$: 3 · 2 = **6** |
#
# And $b$? Moving $b$ moves $y$ on two ways, and to first order the two effects add: 10 + 6 = **16**. Multiply out to
# check: $y = a b^2 + c b$ has the slope $2ab + c = 16$. Three facts of this table are the whole module.
#
# 1. **A rule is local.** The product needs its operands' values and one incoming slope. It need not know what the rest
#    of the graph computes. Formally a rule multiplies by the transpose of the operation's Jacobian matrix without ever
#    writing that matrix down.
# 2. **Where a value fans out, slopes add.** Whoever keeps the 10 or the 6 alone gets a wrong answer, and in most
#    networks still a plausible one.
# 3. **Order matters.** The step $u = ab$ could start only when the gradient of $u$ was complete.
#
# Why backwards? Forwards works too: carry along with every value its slope by $a$. That costs one pass for each input,
# and gives the slopes of all results by that one input. Backwards, one pass gives the slopes of one result by all
# inputs. Training has one loss and a million weights.
#
# ## 3. Rules for single operations
#
# A rule is a method `backward(self, grad)`. `self` is the call of the operation: `self.saved` holds the arrays that
# `forward` saw, `self.params` the keyword arguments. `grad` is the gradient of its result. It returns one gradient for
# each operand. All of these are NumPy arrays, so that compiled kernels can do the work later. The price: gradients
# leave no graph, and this engine has no second derivatives.
#
# **What must be saved?** The table above needs 3 and 10 for one product, 3 and 2 for the other, and nothing at all for
# the sum. What a graph keeps is what limits the size of models, so a rule declares what it `needs`, for each operand by
# itself:
#
# | operation | gradient for operand 0 needs | for operand 1 |
# |---|---|---|
# | `a + b` | nothing | nothing |
# | `a * b` | operand 1 | operand 0 |
# | `a.sum()` | nothing (the shape costs no memory) | |
# | `a.max()` | operand 0 and the output | |
# | `sigmoid(a)` | the output | |
#
# In `x * 2.0` only `x` requires a gradient, so only 2.0 is kept, and `x` can go. `self.wants` tells the rule which
# operands require one. For others it returns `None`; what only they would have needed is `None` in `self.saved`.

# %%
#| export
RULES = {}  # Function class -> (its backward, what that needs)


def backward_of(operation, needs=None):
    """Decorator: the function is the backward of an operation.

    needs[k] lists what the gradient for operand k is computed from: numbers of operands, or "output". Without it all
    operands are kept.
    """

    def register(rule):
        RULES[operation] = rule, needs
        return rule

    return register


# %%
#| export
def keep(function, tensors, output):
    """Drop from function what its backward does not need -> (what, storage, version) of each array that stays.

    function.wants says which operands require grad. From now on function.shapes has the shapes of all operands as forward
    saw them, function.saved None for what is not kept, and function.output the result if that is needed. A view keeps
    layouts, which cost nothing.
    """
    function.shapes = tuple(a.shape for a in function.saved)
    if isinstance(function, View):
        return ()
    needs = getattr(function, "needs", None)
    if needs is None:
        needed = set(range(len(tensors)))
    else:
        needed = {what for wanted, names in zip(function.wants, needs, strict=True) if wanted for what in names}
    kept = []
    for what in sorted(needed, key=str):
        if what == "output":
            storage, function.output = output.storage, output.numpy()
        else:
            array, storage = function.saved[what], tensors[what].storage
            if array.dtype != storage.data.dtype:
                storage = Storage(array)  # a converted copy: memory of its own, and counted
        kept.append((what, storage, storage.version))
    function.saved = tuple(array if k in needed else None for k, array in enumerate(function.saved))
    return tuple(kept)


# %% [markdown]
# These rules are given. `Pow` shows all parts: saved operands, `wants`, and the `output`.

# %%
#| export
@backward_of(tensor.Add, needs=((), ()))
def add_backward(self, grad):
    return grad, grad


@backward_of(tensor.Sub, needs=((), ()))
def sub_backward(self, grad):
    return grad, -grad


@backward_of(tensor.Neg, needs=((),))
def neg_backward(self, grad):
    return (-grad,)


@backward_of(tensor.Pow, needs=((0, 1), (0, 1, "output")))
def pow_backward(self, grad):
    """A constant power 0 has slope 0 also at a = 0, and 0 to a positive power does not change with the power."""
    a, b = self.saved
    for_a = np.where(b == 0, 0, grad * b * a ** (b - 1)) if self.wants[0] else None
    for_b = np.where((a == 0) & (b >= 0), 0, grad * self.output * np.log(a)) if self.wants[1] else None
    return for_a, for_b


@backward_of(tensor.Cast, needs=((),))
@backward_of(tensor.Contiguous, needs=((),))
def same_backward(self, grad):
    return (grad,)


# %% [markdown]
# **Worked example**: `y = a / b` at $a = 6, b = 2$, so $y = 3$, with incoming gradient 1. If $a$ grows by 0.01, $y$
# grows by 0.005. If $b$ grows by 0.01, $y$ becomes $6 / 2.01 = 2.985$ and falls by 0.015. The gradients are 0.5 and
# -1.5.
#
# **Exercises 3.1 and 3.2** The rules of product and quotient. The operands have been stretched to one shape when the
# rule sees them; the sum that undoes the stretching comes later and is not your concern here.

# %% solution="mul_backward"
#| export
@backward_of(tensor.Mul, needs=((1,), (0,)))
def mul_backward(self, grad):
    """The gradients for both factors, or None for one that is not wanted."""
    ### BEGIN SOLUTION
    a, b = self.saved
    return grad * b if self.wants[0] else None, grad * a if self.wants[1] else None
    ### END SOLUTION


# %% solution="div_backward"
#| export
@backward_of(tensor.Div, needs=((1,), (0, 1)))
def div_backward(self, grad):
    """The gradients for dividend and divisor, or None for one that is not wanted."""
    ### BEGIN SOLUTION
    a, b = self.saved
    return grad / b if self.wants[0] else None, -grad * a / (b * b) if self.wants[1] else None
    ### END SOLUTION


# %%
def applied(operation, arrays, wants, **params):
    """A call of an operation as the engine leaves it for backward."""
    function, tensors = operation(**params), [Tensor(a) for a in arrays]
    function.wants, function.needs = tuple(wants), RULES[operation][1]
    keep(function, tensors, function.run(tensors))
    return function


def pulled(rule, function, grad):
    """What a rule returns, as a list."""
    with np.errstate(all="ignore"):
        return [None if part is None else np.asarray(part) for part in rule(function, grad)]


# %% check="mul_backward" points=2
def through_product(a, b, grad, wants=(True, True)):
    return pulled(mul_backward, applied(Mul, (a, b), wants), grad)

check("mul_backward", [
    case(np.array([2.0, 3.0]), np.array([5.0, -1.0]), np.array([1.0, 10.0])),
    case(np.array([2.0, 3.0]), np.array([5.0, -1.0]), np.array([1.0, 10.0]), wants=(True, False)),
], call=through_product, compare="value")

# %% hidden="mul_backward"
def two_operands(rng, core):
    """Cases of an elementwise operation with two operands."""
    def normal(*shape):
        return rng.normal(size=shape) + 3.0 * rng.choice([-1, 1], size=shape)

    m, n = (int(v) for v in rng.integers(2, 5, 2))
    for name in ("float64", "float32"):
        yield case(normal(m, n).astype(name), normal(m, n).astype(name), normal(m, n).astype(name), behaviour=core)
    yield case(normal(m), normal(m), normal(m), behaviour=core)
    wanted = "gradients that are not wanted are None"
    yield case(normal(m), normal(m), normal(m), wants=(True, False), behaviour=wanted)
    yield case(normal(m), normal(m), normal(m), wants=(False, True), behaviour=wanted)
    stretched = "stretched operands"
    yield case(normal(m, n), normal(n), normal(m, n), behaviour=stretched)
    yield case(normal(m, 1), normal(1, n), normal(m, n), behaviour=stretched)
    yield case(normal(), normal(m), normal(m), behaviour=stretched)
    edges = "no axes, no elements, NaN and infinity"
    yield case(normal(), normal(), normal(), behaviour=edges)
    yield case(normal(0, n), normal(1, n), normal(0, n), behaviour=edges)
    special = np.array([np.inf, np.nan, 0.0, -np.inf])
    yield case(special, np.full(4, 2.0), np.ones(4), behaviour=edges)
    yield case(np.full(4, 2.0), np.ones(4), special, behaviour=edges)


def cases(rng):
    yield from two_operands(rng, "each factor gets the other")


# %% check="div_backward" points=2
def through_quotient(a, b, grad, wants=(True, True)):
    return pulled(div_backward, applied(Div, (a, b), wants), grad)

check("div_backward", [
    case(np.array([6.0, 1.0]), np.array([2.0, 4.0]), np.array([1.0, 16.0])),
    case(np.array([6.0, 1.0]), np.array([2.0, 4.0]), np.array([1.0, 16.0]), wants=(True, False)),
], call=through_quotient, compare="value")

# %% hidden="div_backward"
def cases(rng):
    yield from two_operands(rng, "dividend and divisor")


# %% [markdown]
# ## 4. The other side of broadcasting
#
# A bias of shape (2,) is added to three rows. Each row pulls on it:
#
# ```
# bias (2,)  stretched to  (3, 2)     incoming gradient     gradient of the bias
#                                       1   10
#  b0  b1                               2   20                  6   60
#                                       3   30
# ```
#
# Stretching is fan-out: one number is used in three places, so its gradient is a sum of three. Stretching copies,
# its transpose adds. This one function therefore does for *all* operations, since whatever broadcasts does it in one
# way: by the rules of module 01. An axis may have been stretched from length 1, or added in front, or both in one go;
# stretched to length 0, it leaves a sum of nothing.
#
# Sums of float16 have the trap that you know from module 01: 5000 ones added in float16 are 2048.
#
# **Exercise 4.1** `unbroadcast`. The result has the dtype of `grad`. A gradient that cannot come from that shape is
# refused, because it would mean that a rule is wrong.

# %% solution="unbroadcast"
#| export
def unbroadcast(grad, shape):
    """Sum grad down to shape: the transpose of stretching shape to grad.shape. float16 is added up in float32.

    Raises ShapeError, with both shapes in its message, if shape does not stretch to grad.shape.
    """
    ### BEGIN SOLUTION
    added = grad.ndim - len(shape)
    if added < 0 or any(n not in (1, wide) for n, wide in zip(shape, grad.shape[max(added, 0):], strict=True)):
        raise ShapeError(f"a gradient of shape {grad.shape} does not sum down to shape {tuple(shape)}")
    axes = tuple(axis for axis in range(grad.ndim) if axis < added or shape[axis - added] == 1)
    accumulator = float32 if grad.dtype == np.float16 else grad.dtype
    return grad.sum(axes, dtype=accumulator).reshape(shape).astype(grad.dtype, copy=False)
    ### END SOLUTION


# %% check="unbroadcast" points=3
def summed_down(grad, shape, turned=False):
    try:
        return np.asarray(unbroadcast(grad.T if turned else grad, shape))
    except ShapeError as error:
        return {"the message names": [str(s) in str(error) for s in (grad.shape, shape)]}

check("unbroadcast", [
    case(np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]), (2,)),
    case(np.ones((4, 3, 2)), (3, 1)),
    case(np.ones(3), (2,)),
], call=summed_down, forbid=("np.bincount", "np.add.at"))

# %% hidden="unbroadcast"
def narrowed(rng, shape):
    """A shape that stretches to this one."""
    cut = int(rng.integers(len(shape) + 1))
    return tuple(1 if rng.random() < 0.5 else n for n in shape[cut:])


def cases(rng):
    core = "axes of length one and axes in front"
    for axes in (1, 2, 3, 4):
        shape = tuple(int(n) for n in rng.integers(2, 5, axes))
        yield case(rng.normal(size=shape), narrowed(rng, shape), behaviour=core)
    m, n = (int(v) for v in rng.integers(2, 5, 2))
    yield case(rng.normal(size=(m, n, 3)), (n, 1), behaviour=core)
    yield case(rng.normal(size=(m, n, 3)), (1, n, 3), behaviour=core)
    yield case(rng.normal(size=(m, n, 3)), (), behaviour=core)
    same = "nothing to sum, and axes of length one that stay"
    yield case(rng.normal(size=(m, n)), (m, n), behaviour=same)
    yield case(rng.normal(size=(m, 1, n)), (1, 1, n), behaviour=same)
    yield case(rng.normal(size=(1, n)), (n,), behaviour=same)
    yield case(rng.normal(size=(m, n)), (1, m), turned=True, behaviour="float32, float16, and views")
    yield case(rng.normal(size=(m, n)).astype("float32"), (n,), behaviour="float32, float16, and views")
    yield case(np.ones((int(rng.integers(3000, 5000)), 2), "float16"), (2,), behaviour="float32, float16, and views")
    edges = "no axes, no elements, NaN"
    yield case(np.zeros((0, 4)), (1, 4), behaviour=edges)
    yield case(np.zeros((3, 0)), (1, 0), behaviour=edges)
    yield case(np.zeros((0, 3)), (), behaviour=edges)
    yield case(np.array(rng.normal()), (), behaviour=edges)
    yield case(np.array([[1.0, np.nan], [np.inf, 2.0]]), (2,), behaviour=edges)
    for grad, shape in (((3,), (m, 3)), ((2, 3), (2, 4)), ((2, 3), (3, 3)), ((1,), (2,)), ((2, 3), (0,))):
        yield case(np.ones(grad), shape, behaviour="a gradient that cannot come from the shape is refused")


# %% [markdown]
# ## 5. Reductions and products
#
# What a reduction sums up, its backward hands out. `restore_axes` gives a result its lost axes back, with length 1.
#
# | x | | incoming | gradient of x |
# |---|---|---|---|
# | [[1, 5], [7, 7]] | `sum(axis=1)` | [10, 20] | [[10, 10], [20, 20]] |
# | [[1, 5], [7, 7]] | `max(axis=1)` | [10, 20] | [[0, 10], [10, 10]] |
#
# The second row of the second line has two maxima. At a tie the maximum has a kink and no single slope. Equal shares
# are a choice that keeps the sum of the gradient, treats equals alike, and is that of PyTorch's `amax`. By the same
# rule a NaN, which is the maximum of its row, takes the gradient of the row.
#
# **Exercises 5.1 and 5.2** `self.params` has `axes`, a tuple that may be empty, and `keepdims`. A result of `Sum` may
# be a view that takes no memory of its own.

# %%
#| export
def restore_axes(array, axes, keepdims):
    """The result of a reduction over axes with the axes that it lost, as axes of length 1."""
    return array if keepdims else np.expand_dims(array, axes)


# %% solution="sum_backward"
#| export
@backward_of(tensor.Sum, needs=((),))
def sum_backward(self, grad):
    """The gradient for the summed array, of shape self.shapes[0]."""
    ### BEGIN SOLUTION
    return (np.broadcast_to(restore_axes(grad, **self.params), self.shapes[0]),)
    ### END SOLUTION


# %% solution="max_backward"
#| export
@backward_of(tensor.Max, needs=((0, "output"),))
def max_backward(self, grad):
    """The gradient goes to the element that is the maximum, in equal parts if several are."""
    ### BEGIN SOLUTION
    (a,) = self.saved
    top, grad = (restore_axes(array, **self.params) for array in (self.output, grad))
    chosen = (a == top) | (np.isnan(a) & np.isnan(top))
    axes = self.params["axes"]
    return (np.where(chosen, grad / chosen.sum(axes, keepdims=True, dtype=grad.dtype), 0),)
    ### END SOLUTION


# %%
def through_reduction(rule, operation, a, axis, keepdims, seed):
    """The gradient of a reduced array under a random incoming one."""
    axes = normal_axes(axis, a.ndim)
    function = applied(operation, (a,), (True,), axes=axes, keepdims=keepdims)
    shape = operation().forward(a, axes, keepdims).shape
    return pulled(rule, function, np.random.default_rng(seed).integers(1, 9, shape).astype(a.dtype))


# %% check="sum_backward" points=2
def through_sum(a, axis=None, keepdims=False, seed=0):
    return through_reduction(sum_backward, Sum, a, axis, keepdims, seed)

check("sum_backward", [
    case(np.array([[1.0, 5.0], [7.0, 7.0]]), axis=1),
    case(np.array([[1.0, 5.0], [7.0, 7.0]]), axis=0, keepdims=True),
], call=through_sum, compare="value")

# %% hidden="sum_backward"
def reduced_arrays(rng, core):
    for axis, keepdims in ((0, False), (-1, True), ((0, 2), False), (None, False), ((1, -1), True), (1, False)):
        a = rng.normal(size=[int(n) for n in rng.integers(2, 5, 3)])
        yield case(a.astype(rng.choice(["float32", "float64"])), axis=axis, keepdims=keepdims, seed=int(rng.integers(99)),
                   behaviour=core)
    n = int(rng.integers(2, 5))
    yield case(rng.normal(size=(n, n, n)), axis=1, seed=int(rng.integers(99)), behaviour="axes of equal length")
    yield case(rng.normal(size=(n, n)), axis=1, seed=int(rng.integers(99)), behaviour="axes of equal length")
    yield case(rng.normal(size=()), behaviour="no axes, no elements")
    yield case(rng.normal(size=(2, 3)), axis=(), behaviour="no axes, no elements")


def cases(rng):
    yield from reduced_arrays(rng, "each element gets the gradient of its sum")
    yield case(np.zeros((3, 0)), axis=1, behaviour="no axes, no elements")


# %% check="max_backward" points=2
def through_max(a, axis=None, keepdims=False, seed=0):
    return through_reduction(max_backward, Max, a, axis, keepdims, seed)

check("max_backward", [
    case(np.array([[1.0, 5.0], [7.0, 7.0]]), axis=1),
    case(np.array([[1.0, 5.0], [7.0, 2.0]]), axis=0, keepdims=True),
], call=through_max, compare="value")

# %% hidden="max_backward"
def cases(rng):
    yield from reduced_arrays(rng, "the largest element gets it all")
    for axis in (0, 1, None, (0, 2)):
        a = rng.integers(0, 2, size=(3, 4, 3)).astype("float64")
        yield case(a, axis=axis, seed=int(rng.integers(99)), behaviour="ties share")
    yield case(np.zeros((3, 4), "float32"), axis=1, seed=1, behaviour="ties share")
    a = rng.normal(size=(3, 4))
    a[1, 2] = np.nan
    yield case(a, axis=1, behaviour="NaN and infinity")
    a[0, 1:3] = np.inf
    yield case(a, axis=1, behaviour="NaN and infinity")
    yield case(np.zeros((0, 3)), axis=1, behaviour="no axes, no elements")


# %% [markdown]
# `Mean` is a sum and a division, and its rule is given.

# %%
#| export
@backward_of(tensor.Mean, needs=((),))
def mean_backward(self, grad):
    count = math.prod(self.shapes[0][axis] for axis in self.params["axes"])
    return sum_backward(self, grad / count)


# %% [markdown]
# Now the product that networks are made of. **Worked example** with one row: $c = a B$, $a = (1, 2)$,
# $B = \begin{pmatrix} 3 & 4 \\ 5 & 6 \end{pmatrix}$, $c = (13, 16)$, incoming gradient $g = (1, 10)$.
#
# * $a_0$ reaches $c_0$ with factor 3 and $c_1$ with factor 4: its gradient is $1 \cdot 3 + 10 \cdot 4 = 43$. For $a_1$
#   it is $1 \cdot 5 + 10 \cdot 6 = 65$.
# * $B_{ij}$ reaches only $c_j$, with factor $a_i$: the gradient of $B$ is
#   $\begin{pmatrix} 1 & 10 \\ 2 & 20 \end{pmatrix}$.
#
# Shapes are a good guide for the rest: the gradients of a (M, K) and b (K, N) come from g (M, N), and have the shapes
# of a and b. Count the work, too: each of the two gradients takes M·N·K multiply-adds, as many as the product itself.
#
# Two things are left to think about. A vector on either side counts as a row or a column, and that axis is missing in
# the result. And a batch of T × B rows against one weight matrix is the common case in a transformer: a gradient
# (B, K, N) for weights (K, N), to be summed over B afterwards, would be B times as large as the weights.
#
# **Exercise 5.3** The rule of `MatMul`, with the vectors and batches of module 01. Axes of a batch that were stretched
# may stay in what you return.

# %% solution="matmul_backward"
#| export
@backward_of(tensor.MatMul, needs=((1,), (0,)))
def matmul_backward(self, grad):
    """The gradients for both factors, or None for one that is not wanted.

    Batch axes that were stretched may stay: the engine sums them. A batch of rows against one matrix is a single
    product, so that no batch of weight gradients is ever held.
    """
    ### BEGIN SOLUTION
    a, b = self.saved
    row, column = len(self.shapes[0]) == 1, len(self.shapes[1]) == 1
    if row:
        grad = np.expand_dims(grad, -1 if column else -2)
    if column:
        grad = np.expand_dims(grad, -1)
    for_a = for_b = None
    if self.wants[0]:
        for_a = grad @ (b[:, None] if column else b).swapaxes(-1, -2)
        for_a = for_a[..., 0, :] if row else for_a
    if self.wants[1]:
        a = a[None] if row else a
        if a.ndim > 2 and len(self.shapes[1]) <= 2:
            a, grad = a.reshape(-1, a.shape[-1]), grad.reshape(-1, grad.shape[-1])
        for_b = a.swapaxes(-1, -2) @ grad
        for_b = for_b[..., 0] if column else for_b
    return for_a, for_b
    ### END SOLUTION


# %% check="matmul_backward" points=4
def added_up(part, shape):
    """The sum of part over all places to which an element of that shape was stretched."""
    if part is None:
        return None
    try:
        places = np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), part.shape)
    except ValueError:
        return f"a gradient of shape {part.shape} for an operand of shape {shape}"
    return np.bincount(places.ravel(), np.asarray(part, "float64").ravel(), math.prod(shape)).reshape(shape)

def through_matmul(a, b, wants=(True, True), turned=False, seed=0):
    """Both gradients under a random incoming one, and the size of the largest array that came back, in elements."""
    with np.errstate(all="ignore"):
        grad = np.random.default_rng(seed).integers(-9, 10, (a @ b).shape).astype(a.dtype)
    grad = np.ascontiguousarray(grad.T).T if turned else grad
    parts = pulled(matmul_backward, applied(MatMul, (a, b), wants), grad)
    return {"gradients": [added_up(part, x.shape) for part, x in zip(parts, (a, b), strict=True)],
            "elements for one matrix": parts[1].size if parts[1] is not None and b.ndim == 2 else None}

check("matmul_backward", [
    case(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])),
    case(np.array([1.0, 2.0]), np.array([[3.0, 4.0], [5.0, 6.0]])),
    case(np.ones((2, 1, 3)), np.ones((3, 2)), wants=(False, True)),
], call=through_matmul, compare="value")

# %% hidden="matmul_backward"
def cases(rng):
    def whole(*shape):
        return rng.integers(-9, 10, shape).astype("float64")  # exact in any order

    m, k, n, b = (int(v) for v in rng.permutation(np.arange(2, 6)))
    core = "matrices"
    yield case(whole(m, k), whole(k, n), seed=int(rng.integers(99)), behaviour=core)
    yield case(whole(k, m).astype("float32"), whole(m, b).astype("float32"), seed=3, behaviour=core)
    yield case(whole(k, k), whole(k, k), turned=True, seed=4, behaviour=core)
    yield case(whole(m, k), whole(k, n), wants=(True, False), behaviour="gradients that are not wanted are None")
    yield case(whole(m, k), whole(k, n), wants=(False, True), behaviour="gradients that are not wanted are None")
    for left, right in (((k,), (k, n)), ((m, k), (k,)), ((k,), (k,)), ((k,), (b, k, n)), ((b, m, k), (k,))):
        yield case(whole(*left), whole(*right), seed=int(rng.integers(99)), behaviour="vectors")
    batches = "batches that were stretched"
    for left, right in (((b, m, k), (b, k, n)), ((b, 1, m, k), (3, k, n)), ((m, k), (b, k, n)), ((1, m, k), (b, k, n))):
        yield case(whole(*left), whole(*right), seed=int(rng.integers(99)), behaviour=batches)
    rows = "a batch against one matrix makes one gradient of its size"
    yield case(whole(b, m, k), whole(k, n), seed=int(rng.integers(99)), behaviour=rows)
    yield case(whole(2, b, m, k), whole(k, n), turned=True, seed=5, behaviour=rows)
    yield case(whole(b, m, k), whole(k, n), wants=(True, False), behaviour=rows)
    edges = "no elements, NaN and infinity"
    yield case(whole(m, 0), whole(0, n), behaviour=edges)
    yield case(whole(0, m, k), whole(k, n), behaviour=edges)
    yield case(whole(0, k), whole(k, n), behaviour=edges)
    yield case(np.array([[np.inf, 1.0], [0.0, np.nan]]), whole(2, 2), behaviour=edges)


# %% [markdown]
# ## 6. Views
#
# A view moves no data, but its backward has to: the gradient of `x[1]` is zero in all rows but one. Every view takes
# each element of its result from a place of its source. The backward puts it back there.
#
# | y | incoming | gradient of x, shape (3,) |
# |---|---|---|
# | `x[1:]` | [10, 20] | [0, 10, 20] |
# | `x[::-2]` | [10, 20] | [20, 0, 10] |
#
# `Reshape` and `Expand` are given: the second is broadcasting as an operation, and `unbroadcast` knows how to undo
# that.

# %%
#| export
@backward_of(tensor.Reshape)
def reshape_backward(self, grad):
    return (grad.reshape(self.shapes[0]),)


@backward_of(tensor.Expand)
def expand_backward(self, grad):
    """Broadcasting as an operation: the engine sums a gradient down to its operand's shape."""
    return (grad,)


# %% [markdown]
# **Exercises 6.1 and 6.2** `self.shapes[0]` is the shape of the source, `self.params` has `axes` for `Permute`,
# negative ones among them, and for `Slice` a `key` of ints, slices and `None`, which NumPy understands as it is.

# %% solution="permute_backward"
#| export
@backward_of(tensor.Permute)
def permute_backward(self, grad):
    """Axis k of the result was axis axes[k] of the source."""
    ### BEGIN SOLUTION
    return (grad.transpose(np.argsort([normal_axis(axis, grad.ndim) for axis in self.params["axes"]])),)
    ### END SOLUTION


# %% solution="slice_backward"
#| export
@backward_of(tensor.Slice)
def slice_backward(self, grad):
    """The gradient for the source, of shape self.shapes[0]."""
    ### BEGIN SOLUTION
    result = np.zeros(self.shapes[0], grad.dtype)
    result[self.params["key"]] = grad
    return (result,)
    ### END SOLUTION


# %% check="permute_backward" points=1
def through_permute(shape, axes, seed=0):
    function = applied(Permute, (np.zeros(shape),), (True,), axes=axes)
    result = np.random.default_rng(seed).normal(size=[shape[axis] for axis in axes])
    return pulled(permute_backward, function, result)

check("permute_backward", [case((2, 3), (1, 0)), case((2, 3, 1), (1, 2, 0))], call=through_permute)

# %% hidden="permute_backward"
def cases(rng):
    for axes in (2, 3, 4, 4):
        shape = tuple(int(n) for n in rng.integers(2, 5, axes))
        yield case(shape, tuple(int(a) for a in np.roll(np.arange(axes), 1)), seed=int(rng.integers(99)), behaviour="axes go back")
        yield case(shape, tuple(int(a) for a in rng.permutation(axes)), behaviour="axes go back")
    yield case((2, 3, 4), (-1, 0, 1), behaviour="negative axes")
    yield case((2, 3, 4, 5), (-2, -1, 0, 1), behaviour="negative axes")
    yield case((3, 3, 3), (2, -3, 1), behaviour="negative axes")
    yield case((), (), behaviour="no axes, no elements")
    yield case((0, 2, 3), (1, 2, 0), behaviour="no axes, no elements")


# %% check="slice_backward" points=2
def through_slice(shape, key, dtype="float64", seed=0):
    key = full_key(key, len(shape))
    function = applied(Slice, (np.zeros(shape, dtype),), (True,), key=key)
    result = np.random.default_rng(seed).normal(size=np.zeros(shape)[key].shape).astype(dtype)
    (part,), again = pulled(slice_backward, function, result), pulled(slice_backward, function, result)[0]
    return {"gradient": part, "the same a second time": bool(np.array_equal(part, again))}

check("slice_backward", [case((3,), slice(1, None)), case((3,), slice(None, None, -2)), case((2, 3), 1)],
      call=through_slice, compare="value")


# %% hidden="slice_backward"
def cases(rng):
    for _ in range(4):
        shape = tuple(int(n) for n in rng.integers(4, 7, 3))
        key = (slice(int(rng.integers(2)), None, int(rng.integers(1, 3))), int(rng.integers(-4, 4)), slice(1, -1))
        yield case(shape, tuple(key[k] for k in rng.permutation(3)), seed=int(rng.integers(99)), behaviour="ints and slices")
    yield case((5, 6), (slice(None, None, -1), slice(4, None, -2)), seed=2, behaviour="reversed axes")
    yield case((7,), slice(-2, None, -3), seed=3, behaviour="reversed axes")
    yield case((3, 4), (None, slice(None), None, 2), seed=4, behaviour="axes that were added")
    yield case((3, 4), (..., None), seed=5, behaviour="axes that were added")
    edges = "nothing taken, everything taken, float32"
    yield case((3, 4), (slice(2, 2),), behaviour=edges)
    yield case((), (), behaviour=edges)
    yield case((2, 3), (...,), dtype="float32", seed=6, behaviour=edges)


# %% [markdown]
# ## 7. The graph
#
# While operations run forwards, they leave the graph behind. `Function.apply` calls
# `Function.record(function, tensors, output)` after each of them: the call with what it saved, its operands, its
# result. Recording makes a `Node` and hangs it on the result as `output.grad_fn`. A tensor that no recorded operation
# made is a **leaf**; weights are leaves.
#
# ```
#   leaf a ──┐
#            ├── Mul ── Add ── Mul ── y          y.grad_fn is the last Mul
#   leaf b ──┤           │      │                Node.inputs point to the left
#            │   leaf c ─┘      │
#            └──────────────────┘
# ```
#
# Look at what a `Node` refers to: nodes and leaves, never a tensor in between. The tensor `a * b` of the example is
# gone as soon as the sum is computed, unless a rule needs its values. The graph keeps what backward needs and nothing
# else.
#
# `pull` is a whole step back at one node: it refuses what is not safe, hands the gradient to the rule, and lets your
# `unbroadcast` bring each result to the shape of its operand. Gradients have the dtype of their tensors. Between two
# tensors of float16 they travel in float32, so that a sum of many terms is rounded once, when it is complete.

# %%
#| export
_recording = ContextVar("tinytorch.recording", default=True)  # a new thread starts with the default


def is_grad_enabled():
    """Whether operations are recorded in this thread."""
    return _recording.get()


def set_recording(flag):
    """Turn recording on or off in this thread -> what it was before."""
    before = _recording.get()
    _recording.set(flag)
    return before


# %%
#| export
class Node:
    """One recorded operation: what its backward needs, and where the gradients for its operands go.

    inputs holds, for each operand, the Node that computed it, the leaf tensor that it is, or None if it does not require
    grad. shape and dtype are those of the output, shapes those of the operands. A Node holds no tensor but leaves, so that
    what nobody needs any more is freed while the graph lives on.
    """

    __slots__ = ("function", "name", "number", "inputs", "shapes", "shape", "dtype", "kept", "hooks", "owner", "__weakref__")
    _numbers = itertools.count()

    def __init__(self, function, inputs, tensors, output):
        self.function, self.inputs = function, inputs
        self.name, self.number = type(function).__name__, next(Node._numbers)
        self.shapes = tuple(t.shape for t in tensors)
        self.shape, self.dtype = output.shape, output.dtype
        function.wants = tuple(x is not None for x in inputs)
        self.kept = keep(function, tensors, output)
        self.hooks = self.owner = None

    def __repr__(self):
        return f"<{self.name} -> {self.shape} {self.dtype}{', released' if self.function is None else ''}>"

    def settle(self, grad):
        """The complete gradient of the output: rounded to its dtype, shown to the hooks, kept where retain_grad asks."""
        grad = grad.astype(self.dtype, copy=False)
        if self.hooks:
            grad = run_hooks(list(self.hooks.values()), grad)
        owner = self.owner and self.owner()
        if owner is not None:
            accumulate(owner, grad)
        return grad

    def pull(self, grad):
        """Take the complete gradient of the output -> for each operand a gradient of its shape, or None.

        The results of float16 operations are float32 here: they are rounded once, when they are complete.
        """
        if self.function is None:
            raise GraphError(f"the graph of {self.name} was released by an earlier backward(): "
                             "call that one with retain_graph=True, or compute the result again")
        if self.kept:
            check_versions(self)
        if not hasattr(self.function, "backward"):
            raise GraphError(f"{self.name} has no backward: define backward(self, grad) in its class")
        grad = self.settle(grad)
        grad = grad.astype(float32) if grad.dtype == np.float16 else grad
        parts = native_backward(self.function, grad)  # by a compiled kernel, as in Function.run
        if parts is NotImplemented:
            parts = self.function.backward(grad)
        if len(parts) != len(self.inputs):
            raise GraphError(f"{self.name}.backward returned {len(parts)} gradients for {len(self.inputs)} operands")
        return [self._fit(k, part) if wanted and part is not None else None
                for k, (part, wanted) in enumerate(zip(parts, self.function.wants, strict=True))]

    def _fit(self, k, part):
        try:
            return part if part.shape == self.shapes[k] else unbroadcast(part, self.shapes[k])
        except ShapeError:
            raise ShapeError(f"{self.name}.backward returned shape {part.shape} "
                             f"for operand {k} of shape {self.shapes[k]}") from None

    def release(self):
        """Forget the operation and its inputs; what they alone held is freed."""
        self.function, self.inputs, self.kept = None, (), ()


# %% [markdown]
# **Exercise 7.1** `record`. The conditions and the three kinds of `inputs` are in the text above, in the docstring of
# `Node`, and in this table. Recording is on except in the last row.
#
# | operation | result | inputs of its node |
# |---|---|---|
# | `w * x`, with `w` a leaf that requires grad and `x` data | part of the graph | (w, None) |
# | `(w * x) + w` | part of the graph | (node of the product, w) |
# | `x * x` | not recorded | |
# | `w < 0`, a result of bools | not recorded: no slope | |
# | `w * x` in a `no_grad` block | not recorded | |
#
# A tensor that is part of the graph has `requires_grad` True and its node in `grad_fn`.

# %% solution="record"
#| export
def record(function, tensors, output):
    """Make output a part of the graph, if recording is on, output is of floats, and an operand requires grad."""
    ### BEGIN SOLUTION
    if not is_grad_enabled() or output.dtype.kind != "f" or not any(t.requires_grad for t in tensors):
        return
    inputs = tuple((t if t.grad_fn is None else t.grad_fn) if t.requires_grad else None for t in tensors)
    output.requires_grad = True
    output.grad_fn = Node(function, inputs, tensors, output)
    ### END SOLUTION


# %% check="record" points=3
def recorded(operation, kinds, enabled=True, **params):
    """Operands by kind: "leaf", "data", "integers", or "computed", which a node made. What record does with the result."""
    tensors = [Tensor([1.0, 2.0], "int64" if kind == "integers" else "float64") for kind in kinds]
    names = {}
    for k, (t, kind) in enumerate(zip(tensors, kinds, strict=True)):
        t.requires_grad = kind in ("leaf", "computed")
        if kind == "computed":
            earlier = Add()
            earlier.run((t, t))
            t.grad_fn = Node(earlier, (None, None), (t, t), t)
            names[id(t.grad_fn)] = f"the node that made operand {k}"
        names[id(t)] = f"operand {k}"
    function = {"add": Add, "mul": Mul, "less": Less, "cast": Cast}[operation](**params)
    output = function.run(tensors)
    before = set_recording(enabled)
    try:
        record(function, tensors, output)
    finally:
        set_recording(before)
    node = output.grad_fn
    return {"requires_grad": bool(output.requires_grad), "node": None if node is None else node.name,
            "inputs": None if node is None else [names.get(id(x), "None" if x is None else "?") for x in node.inputs]}

check("record", [
    case("mul", ("leaf", "data")),
    case("add", ("computed", "leaf")),
    case("add", ("data", "data")),
    case("mul", ("leaf", "data"), enabled=False),
], call=recorded)

# %% hidden="record"
def cases(rng):
    core = "leaves, computed tensors and data"
    for kinds in (("leaf", "leaf"), ("computed", "data"), ("data", "computed"), ("data", "leaf"), ("computed", "computed"),
                  ("leaf", "computed"), ("data", "data")):
        yield case(str(rng.choice(["add", "mul"])), kinds, behaviour=core)
    for kinds in (("leaf", "data"), ("computed", "leaf")):
        yield case("add", kinds, enabled=False, behaviour="nothing while recording is off")
    yield case("less", ("leaf", "computed"), behaviour="results that are no floats")
    yield case("cast", ("leaf",), dtype=np.dtype("int32"), behaviour="results that are no floats")
    yield case("cast", ("computed",), dtype=np.dtype("float32"), behaviour="results that are no floats")
    yield case("mul", ("integers", "leaf"), behaviour="integers beside floats")
    yield case("add", ("integers", "data"), behaviour="integers beside floats")


# %% [markdown]
# Prediction needs no graph, and an optimizer must not write its updates into one. `no_grad` switches recording off, in
# two forms:
#
# ```python
# with no_grad():                     @no_grad()
#     logits = model(images)          def evaluate(model, images): ...
# ```
#
# **Exercise 7.2** What must hold: afterwards recording is as it was *before*, which need not be on; also when an
# exception ends the block; also when a decorated function calls itself. One object may serve several blocks, one in
# another, and in several threads at a time. Other threads are not concerned. A decorated function keeps its name and
# its result. `is_grad_enabled` and `set_recording` above are per thread; build on them.

# %% solution="no_grad"
#| export
class no_grad:
    """Record nothing: as a context manager until the end of the block, as a decorator during each call.

    Concerns the current thread alone, and ends with an exception too. Blocks may nest, also of one and the same object.
    """

    def __init__(self):
        ### BEGIN SOLUTION
        self._here = threading.local()
        ### END SOLUTION

    def __enter__(self):
        ### BEGIN SOLUTION
        before = self._here.__dict__.setdefault("before", [])
        before.append(set_recording(False))
        return self
        ### END SOLUTION

    def __exit__(self, *exception):
        ### BEGIN SOLUTION
        set_recording(self._here.before.pop())
        ### END SOLUTION

    def __call__(self, function):
        """The function, which records nothing while it runs."""
        ### BEGIN SOLUTION
        @functools.wraps(function)
        def quiet(*args, **kwargs):
            with no_grad():
                return function(*args, **kwargs)

        return quiet
        ### END SOLUTION


# %% check="no_grad" points=3
def traced(steps):
    """Whether recording is on at each "look". A list is a kind of block and the steps in it."""
    seen, shared = [], no_grad()

    def run(steps):
        for step in steps:
            if step == "look":
                seen.append(is_grad_enabled())
            elif step == "fail":
                raise KeyError("on purpose")
            elif step == "name":
                seen.append(no_grad()(traced).__name__)
            elif step == "result":
                seen.append(no_grad()(lambda a, b=0: (a, b, is_grad_enabled()))(1, b=2))
            else:
                BLOCKS[step[0]](step[1:])

    def with_new(steps):
        with no_grad():
            run(steps)

    def with_shared(steps):
        with shared:
            run(steps)

    def caught(steps):
        try:
            run(steps)
        except KeyError:
            pass

    def in_thread(steps):
        thread = threading.Thread(target=run, args=(steps,))
        thread.start()
        thread.join()

    def overlapping(steps):
        """Another thread, in which recording is off, enters the shared object while this one is inside."""
        inside, leave = threading.Event(), threading.Event()

        def other():
            set_recording(False)
            with shared:
                inside.set()
                leave.wait(5)

        thread = threading.Thread(target=other)
        with shared:
            thread.start()
            inside.wait(5)
        run(steps)
        leave.set()
        thread.join()

    BLOCKS = {"with": with_new, "shared": with_shared, "call": no_grad()(run), "caught": caught, "thread": in_thread,
              "overlap": overlapping}
    before = set_recording(True)
    try:
        run(steps)
        return [*seen, is_grad_enabled()]
    finally:
        set_recording(before)

check("no_grad", [
    case(["look", ["with", "look"], "look"]),
    case([["with", ["with", "look"], "look"], "look"]),
    case([["call", "look"], "look", "name", "result"]),
    case([["caught", ["with", "fail"]], "look"]),
], call=traced)

# %% hidden="no_grad"
def cases(rng):
    def nest(depth):
        steps = ["look"] * int(rng.integers(1, 3))
        for _ in range(int(rng.integers(1, 3)) if depth else 0):
            steps.insert(int(rng.integers(len(steps) + 1)), ["with", *nest(depth - 1)])
        return steps

    for depth in (1, 2, 3, 3):
        yield case(nest(depth), behaviour="blocks, one in another")
    yield case(["look", ["caught", ["with", "look", ["with", "fail"], "look"]], "look"], behaviour="exceptions")
    yield case([["with", ["caught", ["with", "fail"]], "look"], "look"], behaviour="exceptions")
    yield case([["caught", ["call", "look", "fail"]], "look"], behaviour="exceptions")
    yield case([["call", "look", ["call", "look", ["call"], "look"], "look"], "look", "result", "name"], behaviour="decorated functions")
    yield case([["with", ["call", "look"], "look"], "look"], behaviour="decorated functions")
    yield case([["shared", "look", ["shared", "look", ["shared"], "look"], "look"], "look", ["shared", "look"], "look"],
               behaviour="one object in several blocks")
    yield case([["with", "look", ["thread", "look", ["with", "look"], "look"], "look"], "look"], behaviour="threads")
    yield case([["overlap", "look"], "look"], behaviour="threads")


# %% [markdown]
# ## 8. The walk back
#
# A node may be pulled when its gradient is complete: when every node that uses its result has been pulled. An order of
# the nodes in which each stands *before* all nodes among its inputs is called topological. For the example of part 2
# there is one: last product, sum, first product. A diamond has two:
#
# ```
#          ┌── A ──┐
#   leaf ──┤       ├── root        root, A, B   or   root, B, A
#          └── B ──┘
# ```
#
# Two traps lie in wait for the obvious program, which visits a node, then its inputs, then theirs. Without memory of
# where it has been, it visits a node once for each *way* to it. In twenty layers of `x = x + x` these are a million
# ways, in sixty more than it will ever walk. And written recursively it needs a Python call for each step of depth.
# Python stops at about 1000 deep; a recurrent network over a long sequence, or a sum in a loop, is deeper.
#
# **Exercise 8.1** `topological_order`: any valid order, for graphs as deep as memory allows.

# %% solution="topological_order"
#| export
def topological_order(root):
    """The nodes from which root is reached by inputs, root first, each once and before all nodes among its inputs."""
    ### BEGIN SOLUTION
    finished, seen, stack = [], {root}, [(root, iter(root.inputs))]
    while stack:
        node, inputs = stack[-1]
        for x in inputs:
            if isinstance(x, Node) and x not in seen:
                seen.add(x)
                stack.append((x, iter(x.inputs)))
                break
        else:
            finished.append(node)
            stack.pop()
    return finished[::-1]
    ### END SOLUTION


# %% check="topological_order" points=4
def order_of(inputs, n=None):
    """The order for a graph, from its last node. inputs[k] lists the nodes among the inputs of node k.

    With n: n nodes, and inputs are distances, the same for all of them.
    """
    if n is not None:
        inputs = [[k - step for step in inputs if k >= step] for k in range(n)]
    nodes, leaf = [], Tensor(0.0)
    for found in inputs:
        node = Node.__new__(Node)
        node.inputs = (*(nodes[k] for k in found), leaf, None)
        nodes.append(node)
    order = list(topological_order(nodes[-1]))
    at, number = {node: i for i, node in enumerate(order)}, {node: k for k, node in enumerate(nodes)}
    before = [at[node] < at[x] for node in order for x in node.inputs[:-2]]
    return {"how many": len(order), "the nodes": sorted(number[node] for node in order[:40]), "the first": number[order[0]],
            "each before its inputs": all(before)}

check("topological_order", [
    case([[], [0], [0], [1, 2]]),
    case([[], [0], [0, 1], [1], [2, 2, 0]]),
    case([1], n=5000),
], call=order_of)

# %% hidden="topological_order"
def cases(rng):
    core = "any graph: each node once, before its inputs"
    for n in (5, 8, 12, 20):
        graph = [[int(v) for v in rng.integers(0, k, rng.integers(0, min(k, 4) + 1))] if k else [] for k in range(n)]
        graph[-1] = sorted({n - 2, *graph[-1]})
        yield case(graph, behaviour=core)
    yield case([[], [], [0], [2, 0]], behaviour=core)
    # a long way and a short way to the same node, which a walk in breadth places too early
    yield case([[], [0], [1], [2], [3, 0]], behaviour="ways of different length")
    yield case([[], [0], [1], [2], [0, 3]], behaviour="ways of different length")
    yield case([[], [0], [0], [2], [1, 3], [4, 1, 0]], behaviour="ways of different length")
    yield case([1, 1], n=int(rng.integers(60, 90)), behaviour="more ways than can be walked")
    yield case([1, 2, 3], n=int(rng.integers(60, 90)), behaviour="more ways than can be walked")
    yield case([1], n=100_000, behaviour="100,000 nodes in a row")
    yield case([[]], behaviour="a single node")


# %% [markdown]
# **Exercise 8.2** `propagate` walks the order. A node is pulled when its turn comes, with the sum of all that arrived
# for it. What arrives for a leaf is collected and returned. Three things deserve care:
#
# * The arrays are not yours. `Add` hands one and the same array to both of its operands, so adding to it in place
#   changes a gradient of somebody else.
# * `pull` returns `None` for operands that want no gradient, and a rule may do so for any. A node to which nothing
#   arrives is not pulled.
# * `node.release()` frees what the node saved. Called at once, the memory of the graph shrinks while gradients
#   grow. With `retain_graph` no node is released.

# %% solution="propagate"
#| export
def propagate(order, gradient, retain_graph=False):
    """Pass gradient, that of the output of order[0], back through nodes in topological order -> {leaf: its gradient}.

    Each node is pulled once, with its complete gradient, and released at once unless retain_graph.
    """
    ### BEGIN SOLUTION
    sums = {order[0]: gradient}
    for node in order:
        grad = sums.pop(node, None)
        if grad is not None:
            parts = node.pull(grad)
            for x, part in zip(node.inputs, parts, strict=True):
                if x is not None and part is not None:
                    sums[x] = sums[x] + part if x in sums else part
        if not retain_graph:
            node.release()
    return sums
    ### END SOLUTION


# %% check="propagate" points=5
class Weighted(Function):
    """A sum of operands with weights. A weight of None stands for an operand without gradient."""

    needs = None
    calls = 0

    def backward(self, grad):
        self.calls += 1
        return tuple(None if w is None else grad if w == 1 else grad * w for w in self.params["weights"])

def weighted_graph(inputs, weights):
    """Nodes, each of which may use those before it (0, 1, ...), leaves (-1, -2, ...) and data (None)."""
    leaves = [Tensor(np.zeros(2)) for _ in range(-min((x for found in inputs for x in found if x is not None), default=0))]
    nodes, data = [], Tensor(np.zeros(2))
    for found, w in zip(inputs, weights, strict=True):
        function = Weighted(weights=w)
        function.saved = (data.numpy(),) * len(found)
        function.needs = ((),) * len(found)
        operands = tuple(None if x is None else nodes[x] if x >= 0 else leaves[-1 - x] for x in found)
        nodes.append(Node(function, operands, (data,) * len(found), data))
    return nodes, leaves

def propagated(inputs, weights, gradient, retain_graph=False, n=None):
    """Gradients of the leaves, how often each rule was called, and which nodes are released."""
    if n is not None:
        inputs, weights = [[k - 1, -1] for k in range(n)], [weights] * n
        inputs[0] = [-2, -1]
    nodes, leaves = weighted_graph(inputs, weights)
    functions = [node.function for node in nodes]
    with np.errstate(all="ignore"):
        found = dict(propagate(nodes[::-1], gradient, retain_graph))
    gradients = [None if leaf not in found else np.array(found[leaf]) for leaf in leaves]
    return {"gradients": gradients, "others": len(found) - sum(g is not None for g in gradients),
            "calls": [f.calls for f in functions][:20],
            "released": [node.function is None for node, f in zip(nodes, functions, strict=True) if f.calls][:20]}

check("propagate", [
    case([[-1, -2], [0, -3], [1, -2]], [(3.0, 2.0), (1.0, 1.0), (3.0, 10.0)], np.array([1.0, 0.5])),
    case([[-1], [0, 0]], [(1.0,), (1.0, 1.0)], np.array([1.0, 2.0]), retain_graph=True),
    case([[-1], [0, -2, None]], [(2.0,), (None, 3.0, None)], np.array([1.0, 2.0])),
], call=propagated)

# %% hidden="propagate"
def cases(rng):
    def graph(n, ones=False, leaves=3):
        inputs, weights = [], []
        for k in range(n):
            others = [int(v) for v in rng.integers(-leaves, max(k, 1), rng.integers(1, 4))]
            inputs.append([k - 1 if k else -1, *(x if x < k else -1 for x in others)])
            weights.append(tuple(1.0 if ones else float(w) for w in rng.integers(-3, 4, len(inputs[-1]))))
        inputs[0] += [-1 - k for k in range(leaves)]
        weights[0] += (1.0,) * leaves
        return inputs, weights, rng.normal(size=2)

    for n in (2, 4, 7, 10):
        yield case(*graph(n), behaviour="sums wherever a value is used several times")
    for n in (3, 6):
        yield case(*graph(n, ones=True), behaviour="arrays that several operands share")
    yield case([[-1, -2], [0, 0], [1, 0, -1]], [(1.0, 1.0), (1.0, 1.0), (1.0, 1.0, 1.0)], rng.normal(size=2),
               behaviour="arrays that several operands share")
    for keep_it in (True, False):
        yield case(*graph(5), retain_graph=keep_it, behaviour="release, unless the graph is retained")
    yield case([[-1], [0, None], [1, 0]], [(2.0,), (2.0, None), (3.0, None)], rng.normal(size=2),
               behaviour="operands without gradient")
    yield case([[-1], [-2], [0, 1]], [(2.0,), (2.0,), (3.0, None)], rng.normal(size=2), behaviour="operands without gradient")
    yield case([], (1.0, 0.5), rng.normal(size=2), n=5000, behaviour="5000 nodes in a row")
    yield case(*graph(4)[:2], np.array([np.nan, np.inf]), behaviour="NaN and infinity")


# %% [markdown]
# ## 9. Both ends
#
# At the root, somebody has to say what the first gradient is. A loss of one element starts with 1. Anything larger has
# no single slope, and a caller who means the sum should say so. At the leaves, gradients arrive as arrays and become
# `leaf.grad`.
#
# `.grad` is *added to*, not replaced. Two calls of `backward` leave the sum of two gradients: a batch that does not
# fit into memory is cut in two, and the optimizer sees the whole. The other side of it is that a training loop which
# forgets `zero_grad` trains on the sum of all steps so far.
#
# **Exercises 9.1 and 9.2** `accumulate` and `first_gradient`. An optimizer or a logger may hold `leaf.grad`; it is to
# see later sums as well, and no array of the engine may change under anybody's hands because of it.

# %% solution="accumulate"
#| export
def accumulate(leaf, grad):
    """Add the array grad to leaf.grad: a tensor of leaf's dtype, on memory of its own, that stays the same tensor."""
    ### BEGIN SOLUTION
    if leaf.grad is None:
        leaf.grad = Tensor(grad, leaf.dtype)
    else:
        leaf.grad.add_(Tensor(grad))
    ### END SOLUTION


# %% solution="first_gradient"
#| export
def first_gradient(output, gradient):
    """The gradient with which backward starts: an array of output's shape and dtype.

    gradient is a tensor, an array, or None, which stands for 1 and is only for an output of one element.
    Raises GraphError for None with another number of elements, ShapeError for a gradient of another shape, each with the
    shapes in its message.
    """
    ### BEGIN SOLUTION
    if gradient is None:
        if output.numel() != 1:
            raise GraphError(f"backward() of shape {output.shape}: only one element has a gradient of its own; "
                             "sum() it, or pass a gradient of that shape")
        return np.ones(output.shape, output.dtype)
    array = gradient.numpy() if isinstance(gradient, Tensor) else np.asarray(gradient)
    if array.shape != output.shape:
        raise ShapeError(f"backward() of shape {output.shape} got a gradient of shape {array.shape}")
    return array.astype(output.dtype, copy=False)
    ### END SOLUTION


# %% check="accumulate" points=2
def accumulated(dtype, *grads):
    """leaf.grad after several gradients arrived, and what must hold of it."""
    leaf = Tensor(np.zeros(grads[0].shape), dtype, requires_grad=True)
    held = None
    for grad in grads:
        accumulate(leaf, grad)
        held = held if held is not None else leaf.grad
    return {"grad": leaf.grad.numpy(), "a Tensor": type(leaf.grad) is Tensor, "requires_grad": bool(leaf.grad.requires_grad),
            "the same tensor as at first": leaf.grad is held,
            "own memory": not any(np.shares_memory(leaf.grad.numpy(), grad) for grad in grads)}

check("accumulate", [
    case("float32", np.array([1.0, 2.0], "float32")),
    case("float32", np.array([1.0, 2.0], "float32"), np.array([10.0, 20.0], "float32")),
], call=accumulated)

# %% hidden="accumulate"
def cases(rng):
    def normal(*shape, dtype="float64"):
        return rng.normal(size=shape).astype(dtype)

    yield case("float64", normal(3, 2), behaviour="the first gradient and the sum of several")
    for n in (2, 3, 5):
        yield case("float64", *(normal(3, 2) for _ in range(n)), behaviour="the first gradient and the sum of several")
    yield case("float16", normal(4, dtype="float16"), normal(4, dtype="float16"), behaviour="the dtype of the leaf")
    yield case("float32", normal(4), normal(4), behaviour="the dtype of the leaf")
    yield case("float64", np.broadcast_to(normal(3), (2, 3)), normal(2, 3), behaviour="views, no axes, no elements, NaN")
    yield case("float64", normal(), normal(), behaviour="views, no axes, no elements, NaN")
    yield case("float32", normal(0, 2, dtype="float32"), normal(0, 2, dtype="float32"), behaviour="views, no axes, no elements, NaN")
    yield case("float64", np.array([np.nan, np.inf]), np.array([1.0, -np.inf]), behaviour="views, no axes, no elements, NaN")


# %% check="first_gradient" points=2
def started(shape, gradient, dtype="float32", as_tensor=False):
    """The first gradient for an output of that shape, or the error, and whether it names the shapes."""
    output = Tensor(np.zeros(shape), dtype)
    try:
        return np.asarray(first_gradient(output, Tensor(gradient) if as_tensor else gradient))
    except (GraphError, ShapeError) as error:
        shapes = [shape] if gradient is None else [shape, np.shape(gradient)]
        return {"error": type(error).__name__, "names the shapes": [str(s) in str(error) for s in shapes]}

check("first_gradient", [
    case((), None),
    case((2,), np.array([1.0, 2.0]), as_tensor=True),
    case((2,), None),
    case((2, 3), np.ones(3)),
], call=started)

# %% hidden="first_gradient"
def cases(rng):
    m, n = (int(v) for v in rng.integers(2, 5, 2))
    core = "1 for one element, the given gradient otherwise"
    for shape in ((), (1,), (1, 1)):
        yield case(shape, None, dtype=str(rng.choice(["float32", "float64"])), behaviour=core)
    yield case((m, n), rng.normal(size=(m, n)), dtype="float64", behaviour=core)
    yield case((m,), rng.normal(size=m), dtype="float64", as_tensor=True, behaviour=core)
    yield case((m,), rng.normal(size=m), dtype="float32", behaviour="the dtype of the output")
    yield case((m,), np.arange(m), dtype="float16", as_tensor=True, behaviour="the dtype of the output")
    for shape in ((m,), (2, n), (0,)):
        yield case(shape, None, behaviour="several elements, or none, and no gradient")
    for shape, other in (((m,), (m + 1,)), ((m, n), (n,)), ((1,), ()), ((), (1,)), ((m, 1), (1, m))):
        yield case(shape, np.ones(other), as_tensor=bool(rng.random() < 0.5), behaviour="a gradient of another shape")


# %% [markdown]
# ## 10. What others do to the graph
#
# ### Writes in place
#
# A rule uses values that were saved during the forward pass. It saved no copies: that would double the memory. So a
# write in place between forward and backward changes what the rule sees, and the gradient is wrong without a sign of
# it:
#
# ```python
# y = (w * x).sum()      # keeps x, to compute the gradient for w
# x.fill_(0)             # a buffer is reused for the next batch
# y.backward()           # w.grad would be 0
# ```
#
# `Storage.version` of module 01 counts writes. A node remembers the version of each storage that it keeps, and your
# `check_versions` compares.
#
# There is a second rule, checked when a write happens. If a tensor that requires grad is overwritten, then its history
# no longer tells how its values came about: `w.fill_(1)` has the slope 0 by what was in `w` before. And values that
# require grad lose their history when they are written into a plain tensor. PyTorch refuses the first for leaves and
# repairs the history in other cases, at the price of much bookkeeping. Here both are refused while recording is on.
# Under `no_grad` everything is allowed: that is how an optimizer moves weights.
#
# ### Hooks
#
# `t.register_hook(f)` calls `f` with the gradient of `t` in each backward, when it is complete. `f` may look at it, or
# return another in its place: clipping, logging, and finding out where NaN begins are all done so. Several hooks run
# in the order in which they came, each with what the one before left.
#
# **Exercises 10.1 to 10.3**

# %% solution="check_versions"
#| export
def check_versions(node):
    """Raise GraphError, with the operation's name in its message, if a storage that node keeps was written to since.

    node.kept holds for each array (what, storage, version): the number of the operand or "output", and the version then.
    """
    ### BEGIN SOLUTION
    for what, storage, version in node.kept:
        if storage.version != version:
            name = "its output" if what == "output" else f"operand {what} of shape {node.shapes[what]}"
            raise GraphError(f"{node.name} needs {name} as it was, but it was changed in place since (version "
                             f"{version}, now {storage.version}): change a copy, or change it after backward()")
    ### END SOLUTION


# %% solution="guard_write"
#| export
def guard_write(target, values):
    """Raise InPlaceError, with target's shape in its message, if target or values requires grad.

    Called before each write in place while recording is on. values is a tensor, an array or a number.
    """
    ### BEGIN SOLUTION
    if target.requires_grad:
        what = "a leaf" if target.grad_fn is None else f"the result of {target.grad_fn.name}"
        raise InPlaceError(f"write in place to {what} of shape {target.shape} that requires grad: "
                           "wrap it in `with no_grad():`, or compute a new tensor")
    if isinstance(values, Tensor) and values.requires_grad:
        raise InPlaceError(f"write in place of values that require grad to shape {target.shape}, which would lose their "
                           "graph: write values.detach()")
    ### END SOLUTION


# %% solution="run_hooks"
#| export
def run_hooks(hooks, grad):
    """Show the array grad to each hook in turn -> the array that they leave.

    A hook gets a tensor on memory of its own. What it returns, unless that is None, replaces the gradient, in grad's dtype.
    Raises ShapeError, with both shapes in its message, if that has another shape.
    """
    ### BEGIN SOLUTION
    for hook in hooks:
        result = hook(Tensor(grad))
        if result is None:
            continue
        array = result.numpy() if isinstance(result, Tensor) else np.asarray(result)
        if array.shape != grad.shape:
            raise ShapeError(f"a hook returned shape {array.shape} for a gradient of shape {grad.shape}")
        grad = array.astype(grad.dtype, copy=False)
    return grad
    ### END SOLUTION


# %% check="check_versions" points=2
def after_writes(operation, *writes, wants=(True, True)):
    """What check_versions says of a node after some tensors were written to: "fine", or whether it names the operation."""
    made = {"Mul": Mul, "Div": Div, "Add": Add, "MatMul": MatMul, "Max": Max, "Sum": Sum}[operation]
    tensors = [Tensor(np.ones((2, 2))) for _ in range(1 if operation in ("Max", "Sum") else 2)]
    function = made(axes=(0,)) if len(tensors) == 1 else made()
    function.needs = RULES[made][1]
    if "before" in writes:
        tensors[0].fill_(5.0)
    output = function.run(tensors)
    node = Node(function, [t if wanted else None for t, wanted in zip(tensors, wants, strict=False)], tensors, output)
    for name in writes:
        if name == "output":
            output.fill_(3.0)
        elif name.startswith("view"):
            tensors[int(name[-1])][0].fill_(3.0)
        elif name != "before":
            tensors[int(name[-1])].mul_(2.0)
    try:
        check_versions(node)
        return "fine"
    except GraphError as error:
        return {"names the operation": operation in str(error)}

check("check_versions", [
    case("Mul"),
    case("Mul", "operand 1"),
    case("Add", "operand 0", "operand 1"),
    case("Mul", "operand 0", wants=(True, False)),
], call=after_writes)

# %% hidden="check_versions"
def cases(rng):
    for operation in ("Mul", "MatMul", "Div"):
        yield case(operation, behaviour="untouched or overwritten")
        yield case(operation, f"operand {int(rng.integers(2))}", behaviour="untouched or overwritten")
    yield case("Div", "before", behaviour="untouched or overwritten")
    yield case("Mul", "before", "operand 1", behaviour="untouched or overwritten")
    yield case("Mul", "view 1", behaviour="writes through a view, and to the output")
    yield case("Max", "output", behaviour="writes through a view, and to the output")
    yield case("Max", "view 0", behaviour="writes through a view, and to the output")
    for operation in ("Add", "Sum"):
        yield case(operation, "operand 0", "output", behaviour="what is not kept may change")
    yield case("Mul", "output", behaviour="what is not kept may change")
    yield case("MatMul", "operand 1", wants=(False, True), behaviour="what is not kept may change")


# %% check="guard_write" points=1
def guarded(target, values):
    """A write of values to a target, each of which is a "leaf", "computed" or "plain"; values may be a number."""
    def tensor_of(kind):
        t = Tensor(np.ones((2, 3)))
        if kind != "plain":
            t.requires_grad = True
        if kind == "computed":
            add = Add()
            add.run((t, t))
            t.grad_fn = Node(add, (None, None), (t, t), t)
        return t

    try:
        guard_write(tensor_of(target), tensor_of(values) if isinstance(values, str) else values)
        return "allowed"
    except InPlaceError as error:
        return {"refused": True, "names the shape": "(2, 3)" in str(error)}

check("guard_write", [case("leaf", 0.0), case("plain", "plain"), case("plain", "leaf")], call=guarded)

# %% hidden="guard_write"
def cases(rng):
    core = "plain tensors are free, leaves are not"
    for target, values in (("plain", float(rng.normal())), ("plain", rng.normal(size=(2, 3))), ("plain", "plain"),
                           ("leaf", "plain"), ("leaf", rng.normal(size=3)), ("leaf", "leaf")):
        yield case(target, values, behaviour=core)
    for target, values in (("computed", "plain"), ("computed", 1), ("plain", "computed")):
        yield case(target, values, behaviour="computed tensors, as target and as values")


# %% check="run_hooks" points=2
def hooked(grad, *kinds):
    """The gradient that some hooks leave, and what each of them saw."""
    seen, shapes = [], []

    def hook(kind, number):
        def look(g):
            seen.append((type(g).__name__, g.numpy().copy()))
            if kind == "write":
                g.fill_(99.0)
            elif kind == "wrong shape":
                shapes.append(str(grad.shape + (1,)))
                return Tensor(np.ones(grad.shape + (1,)))
            elif kind != "look":
                result = g.numpy() * number
                return result if kind == "array" else Tensor(result, "float64") if kind == "wide" else Tensor(result)

        return look

    before = grad.copy()
    try:
        result = run_hooks([hook(kind, k + 2.0) for k, kind in enumerate(kinds)], grad)
    except ShapeError as error:
        return {"the message names": [s in str(error) for s in (*shapes, str(grad.shape))], "seen": seen}
    return {"gradient": np.asarray(result), "seen": seen, "grad untouched": bool(np.array_equal(grad, before, equal_nan=True))}

check("run_hooks", [
    case(np.array([1.0, 2.0]), "look", "scale"),
    case(np.array([1.0, 2.0]), "scale", "look", "scale"),
    case(np.array([1.0, 2.0]), "wrong shape"),
], call=hooked)

# %% hidden="run_hooks"
def cases(rng):
    def normal(*shape, dtype="float64"):
        return rng.normal(size=shape).astype(dtype)

    core = "in order, each with what the one before left"
    yield case(normal(3), "scale", "scale", behaviour=core)
    yield case(normal(2, 2), "look", "scale", "look", "scale", "look", behaviour=core)
    yield case(normal(2), "look", behaviour=core)
    yield case(normal(3, dtype="float32"), "wide", "look", behaviour="arrays and other dtypes as results")
    yield case(normal(3, dtype="float16"), "array", behaviour="arrays and other dtypes as results")
    yield case(normal(), "array", behaviour="arrays and other dtypes as results")
    yield case(normal(3), "write", "look", "scale", behaviour="a hook that writes to what it sees")
    yield case(normal(2, 3), "scale", "wrong shape", "look", behaviour="another shape is refused")
    yield case(np.zeros(0), "wrong shape", behaviour="another shape is refused")


# %% [markdown]
# Registering a hook and keeping the gradient of a computed tensor need nothing new; they are given. A node keeps no
# reference to the tensor that wants its gradient, or the graph would keep that alive.

# %%
#| export
class HookHandle:
    """What register_hook returns: remove() ends the hook, once or more often."""

    def __init__(self, hooks):
        self._hooks, self._key = hooks, next(Node._numbers)

    def remove(self):
        self._hooks.pop(self._key, None)


def register_hook(self, hook):
    """Call hook(gradient) in each backward when this tensor's gradient is complete, after hooks registered before.

    If it returns a tensor, of the same shape, that becomes the gradient. -> handle with remove().
    """
    if not self.requires_grad:
        raise GraphError("a hook on a tensor that does not require grad would never be called")
    if self.grad_fn is None:
        hooks = self.__dict__.setdefault("hooks", {})
    else:
        hooks = self.grad_fn.hooks = self.grad_fn.hooks or {}
    handle = HookHandle(hooks)
    hooks[handle._key] = hook
    return handle


def retain_grad(self):
    """Keep the gradient of a computed tensor in its .grad; leaves have theirs anyway."""
    if not self.requires_grad:
        raise GraphError("retain_grad() of a tensor that does not require grad: it gets no gradient")
    if self.grad_fn is not None:
        self.grad_fn.owner = weakref.ref(self)


# %% [markdown]
# ## 11. The engine
#
# `backward` puts your functions together. Read it: it is the table of part 2 as a program. `detach` is the way out of
# the graph: the same storage, no history. `install` hands everything to `Function` and `Tensor`.

# %%
#| export
def backward(output, gradient=None, retain_graph=False):
    """Add to the .grad of each leaf the derivative of output, weighted with gradient, by that leaf.

    gradient has output's shape and may be left out for one element. The graph is released on the way, unless retain_graph.
    Raises GraphError if there is no graph or it was released or overwritten, ShapeError for a gradient of another shape.
    """
    if not output.requires_grad:
        raise GraphError("backward() of a tensor without graph: nothing that it was computed from requires grad, or "
                         "recording was off; gradients have no graph either, so there are no second derivatives")
    start = first_gradient(output, gradient)
    before = set_recording(False)
    try:
        with np.errstate(all="ignore"), reused_memory():  # infinity and NaN travel as in the forward pass
            if output.grad_fn is None:
                deliver(output, start)
            else:
                for leaf, grad in propagate(topological_order(output.grad_fn), start, retain_graph).items():
                    deliver(leaf, grad)
    finally:
        set_recording(before)


def deliver(leaf, grad):
    """Give a leaf its complete gradient: rounded to its dtype and shown to its hooks."""
    grad = grad.astype(leaf.dtype, copy=False)
    hooks = leaf.__dict__.get("hooks")
    accumulate(leaf, run_hooks(list(hooks.values()), grad) if hooks else grad)


# %%
#| export
def detach(self):
    """The same elements, on the same storage, outside the graph."""
    return Tensor.from_storage(self.storage, self.layout)


def requires_grad_(self, flag=True):
    """Set requires_grad -> this tensor."""
    self.requires_grad = flag
    return self


def zero_grad(self):
    """Forget the gradient."""
    self.grad = None


def _get_requires_grad(self):
    return self.__dict__.get("requires_grad", False)


def _set_requires_grad(self, flag):
    if flag and self.dtype.kind != "f":
        raise DTypeError(f"{self.dtype} cannot require grad: only floats have slopes")
    if not flag and self.grad_fn is not None:
        raise GraphError(f"requires_grad of the result of {self.grad_fn.name} cannot be turned off: detach() gives a tensor "
                         "outside the graph")
    self.__dict__["requires_grad"] = bool(flag)


def _write(self, values):
    if is_grad_enabled():
        guard_write(self, values)
    tensor.write(self.storage.data, self.layout, values.numpy())
    self.storage.version += 1
    return self


def _setitem(self, key, value):
    if is_grad_enabled():
        guard_write(self, value)
    Tensor.from_storage(self.storage, slice_layout(self.layout, full_key(key, self.ndim))).copy_(value)


# %%
#| export
METHODS = {
    "backward": backward, "detach": detach, "requires_grad_": requires_grad_, "zero_grad": zero_grad,
    "register_hook": register_hook, "retain_grad": retain_grad, "_write": _write, "__setitem__": _setitem,
    "requires_grad": property(_get_requires_grad, _set_requires_grad, doc="Whether backward gives this tensor a gradient."),
    "is_leaf": property(lambda self: self.grad_fn is None, doc="Whether no recorded operation made this tensor."),
}


def install():
    """Give Function its record, each operation its backward, and Tensor the methods of this module."""
    Function.record = record
    for operation, (rule, needs) in RULES.items():
        operation.backward, operation.needs = rule, needs
    for name, method in METHODS.items():
        setattr(Tensor, name, method)


# %%
@contextmanager
def installed():
    """This notebook's engine in force, and afterwards whatever was before."""
    places = [(Function, "record"), *((operation, name) for operation in RULES for name in ("backward", "needs")),
              *((Tensor, name) for name in METHODS)]
    before = [(place, name, vars(place)[name]) if name in vars(place) else (place, name) for place, name in places]
    recording = set_recording(True)
    install()
    try:
        yield
    finally:
        set_recording(recording)
        for place, name, *value in before:
            setattr(place, name, *value) if value else delattr(place, name)


# %% [markdown]
# The check runs random programs through the whole engine. It uses operations whose rules are given, so it looks at
# `record`, `unbroadcast`, `check_versions`, `topological_order`, `propagate`, `accumulate` and `first_gradient`, all
# seven together.

# %% check="engine" points=4 covers="record,unbroadcast,check_versions,topological_order,propagate,accumulate,first_gradient"
OPERATIONS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "neg": lambda a: -a,
    "bend": lambda a: (a**2.0 + 1.0) ** 0.5,
    "stack": lambda a: a.expand(2, *a.shape),
    "flat": lambda a: a.reshape(-1),
    "wide": lambda a: a.astype("float64"),
}

def differentiated(program, *arrays, data=(), again=None, repeat=1):
    """The result of a program and .grad of its leaves. Lines are (operation, operands by number); data are no leaves.

    again="retained" or "released": a second backward through the same graph. again="overwritten": a leaf is written to
    before backward. repeat: how often the program is run on its own result, as its first operand.
    """
    with installed():
        leaves = [Tensor(a, requires_grad=a.dtype.kind == "f" and k not in data) for k, a in enumerate(arrays)]
        values = list(leaves)
        for _ in range(repeat):
            values = [values[-1] if len(values) > len(leaves) else values[0], *leaves[1:]]
            for operation, *operands in program:
                values.append(OPERATIONS[operation](*(values[k] for k in operands)))
        result = values[-1]
        weights = np.random.default_rng(0).normal(size=result.shape)
        failed = None
        try:
            if again == "overwritten":
                set_recording(False)
                leaves[0].fill_(3.0)
                set_recording(True)
            result.backward(weights, retain_graph=again == "retained")
            if again in ("retained", "released"):
                result.backward(weights)
        except GraphError as error:
            failed = type(error).__name__
        return {"result": result.numpy(), "failed": failed,
                "gradients": [None if leaf.grad is None else leaf.grad.numpy() for leaf in leaves]}

check("engine", [
    case([("add", 0, 1), ("bend", 2), ("sub", 3, 0)], np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.5, -0.5])),
    case([("add", 0, 0), ("add", 1, 1), ("add", 2, 0)], np.array([1.0, 2.0])),
    case([("bend", 0)], np.array([1.0, 2.0]), again="released"),
], call=differentiated, atol=1e-5)

# %% hidden="engine"
SHAPES = ((3, 4), (4,), (1, 4), (3, 1), (2, 3, 4), (), (1,))


def random_program(rng, shapes, steps):
    """A program on leaves of these shapes, each line of which fits, and whose last lines gather earlier results."""
    shapes, program = list(shapes), []
    while len(program) < steps:
        operation = str(rng.choice(["add", "sub", "add", "sub", "neg", "bend", "stack", "flat"]))
        operands = [int(k) for k in rng.integers(0, len(shapes), 2 if operation in ("add", "sub") else 1)]
        try:
            shape = OPERATIONS[operation](*(zeros(shapes[k]) for k in operands)).shape
        except ShapeError:
            continue
        if math.prod(shape) <= 120:
            program.append((operation, *operands))
            shapes.append(shape)
    for k in range(len(shapes) - 1):
        try:
            shape = (zeros(shapes[-1]) + zeros(shapes[k])).shape
        except ShapeError:
            continue
        if math.prod(shape) <= 200:
            program.append(("add", len(shapes) - 1, k))
            shapes.append(shape)
    return program


def random_case(rng, steps, behaviour, shapes=SHAPES, dtype="float64", **more):
    chosen = [shapes[int(k)] for k in rng.integers(0, len(shapes), 3)]
    arrays = [np.asarray(rng.normal(size=shape), dtype) for shape in chosen]
    return case(random_program(rng, chosen, steps), *arrays, behaviour=behaviour, **more)


def cases(rng):
    for steps in (4, 6, 8, 10):
        yield random_case(rng, steps, "random graphs: fan-out, diamonds, broadcasting")
    same = "graphs without broadcasting"
    for steps in (5, 9):
        yield random_case(rng, steps, same, shapes=((2, 3),))
    yield random_case(rng, 6, "data among the operands", data=(1,))
    yield random_case(rng, 6, "data among the operands", data=(0, 2))
    for again in ("retained", "released"):
        yield random_case(rng, 5, "a second walk: retained or refused", again=again)
    yield case([("bend", 0), ("add", 2, 1)], rng.normal(size=3), rng.normal(size=3), again="overwritten",
               behaviour="an overwritten operand is noticed, if it is needed")
    yield case([("neg", 0), ("add", 2, 1)], rng.normal(size=3), rng.normal(size=3), again="overwritten",
               behaviour="an overwritten operand is noticed, if it is needed")
    yield random_case(rng, 6, "float32 and float16", dtype="float32")
    yield case([("add", 0, 1), ("wide", 2), ("bend", 3)], rng.normal(size=3).astype("float16"), np.float32(rng.normal()),
               behaviour="float32 and float16")
    yield case([("add", 0, 1)], np.zeros((3000, 1), "float16"), np.zeros(1, "float16"), behaviour="float32 and float16")
    yield random_case(rng, 5, "no elements, NaN and infinity", shapes=((0, 3), (1, 3), (3,)))
    yield case([("bend", 0), ("add", 2, 1), ("bend", 3)], np.array([np.nan, np.inf, 1.0]), np.array([1.0, 2.0, np.inf]),
               behaviour="no elements, NaN and infinity")
    yield case([("add", 0, 1)], np.array(1.0), np.array(rng.normal()), repeat=3000, behaviour="3000 operations in a row")


# %% [markdown]
# Look at a graph: that of part 2, made by your own code. Set `walked` to 0 and go back step by step: the red number at a
# place is the sum of what has arrived there so far. `b` is read twice, so its gradient is complete only at the last step.
# `zoom` and `look_at` are for graphs that are larger, such as that of a network. Without widgets the panel is a picture;
# assigned to a name, `panel.at(walked=1)` asks for another.

# %% show
from mlsysbook import computation_graph

install()
a, b, c = (Tensor(v, "float64", requires_grad=True) for v in (2.0, 3.0, 4.0))
y = (a * b + c) * b
panel = computation_graph(y, {"a": a, "b": b, "c": c})
print(panel.at(walked=0), panel.at(walked=1), sep="\n")
y.backward()
print("a.grad, b.grad, c.grad:", a.grad.item(), b.grad.item(), c.grad.item())
panel

# %% [markdown]
# ## 12. Activations and losses
#
# Most activations act on single elements, so their rule is a product with the slope. For the sigmoid,
# $y = 1 / (1 + e^{-x})$, the slope is $y' = y (1 - y)$. It can be had from the output: the input need not be kept.
#
# Softmax mixes a row: each $y_i$ depends on each $x_j$. With $y_i = e^{x_i} / \sum_k e^{x_k}$,
#
# $$\frac{\partial y_i}{\partial x_j} = y_i (\delta_{ij} - y_j)$$
#
# which is a matrix of C × C for a row of C classes. The rule never builds it. **Worked example**:
# $y = (0.5, 0.25, 0.25)$, incoming $g = (1, 0, 0)$. The gradient is $(0.25, -0.125, -0.125)$: raising $x_0$ raises
# $y_0$ at 0.25, raising $x_1$ lowers it at 0.125. It sums to 0, as it must: adding 1 to all of $x$ changes nothing.
#
# The rules of the other activations are given. Two remarks on them: ReLU selects with `np.where` and does not multiply
# by 0, since infinity times 0 is NaN. GELU needs $x$ itself, because it is not monotonic: the output does not tell the
# input.

# %%
#| export
@backward_of(activations.ReLU, needs=(("output",),))
def relu_backward(self, grad):
    """np.where and no product: a gradient of infinity behind a closed gate is 0, not NaN."""
    return (np.where(self.output <= 0, 0, grad),)


@backward_of(activations.LeakyReLU, needs=((0,),))
def leaky_relu_backward(self, grad):
    return (np.where(self.saved[0] > 0, grad, grad * self.params["slope"]),)


@backward_of(activations.Tanh, needs=(("output",),))
def tanh_backward(self, grad):
    return (grad * (1 - self.output * self.output),)


@backward_of(activations.SiLU, needs=((0,),))
def silu_backward(self, grad):
    x = self.saved[0]
    s = activations.Sigmoid().forward(x)
    return (grad * s * (1 + x * (1 - s)),)


@backward_of(activations.GELU, needs=((0,),))
def gelu_backward(self, grad):
    """The distribution function of x plus x times its density, or the slope of GPT-2's formula."""
    x = self.saved[0].astype(grad.dtype, copy=False)
    if self.params["approximate"] == "tanh":
        root = np.sqrt(2 / np.pi).astype(x.dtype)
        t = np.tanh(root * (x + 0.044715 * x * x * x))
        return (grad * 0.5 * (1 + t + x * (1 - t * t) * root * (1 + 3 * 0.044715 * x * x)),)
    share = 0.5 * activations.erfc(np.ascontiguousarray(x).ravel() * -np.sqrt(0.5).astype(x.dtype)).reshape(x.shape)
    return (grad * (share + x * np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi).astype(x.dtype)),)


@backward_of(activations.LogSoftmax, needs=(("output",),))
def log_softmax_backward(self, grad):
    return (grad - np.exp(self.output) * grad.sum(self.params["axis"], keepdims=True),)


# %% [markdown]
# **Exercises 12.1 and 12.2**

# %% solution="sigmoid_backward"
#| export
@backward_of(activations.Sigmoid, needs=(("output",),))
def sigmoid_backward(self, grad):
    """The gradient from the output alone: the input is not kept."""
    ### BEGIN SOLUTION
    return (grad * self.output * (1 - self.output),)
    ### END SOLUTION


# %% solution="softmax_backward"
#| export
@backward_of(activations.Softmax, needs=(("output",),))
def softmax_backward(self, grad):
    """The gradient from the output alone, along self.params["axis"]."""
    ### BEGIN SOLUTION
    pulled = grad * self.output
    return (pulled - self.output * pulled.sum(self.params["axis"], keepdims=True),)
    ### END SOLUTION


# %% check="sigmoid_backward" points=1
def through_sigmoid(x, grad, turned=False):
    function = applied(Sigmoid, (x,), (True,))
    return pulled(sigmoid_backward, function, np.ascontiguousarray(grad.T).T if turned else grad)

check("sigmoid_backward", [case(np.array([0.0, 2.0, -2.0]), np.array([1.0, 1.0, 10.0]))], call=through_sigmoid,
      compare="value", atol=1e-6)


# %% hidden="sigmoid_backward"
def cases(rng):
    for shape in ((4,), (2, 3), (2, 2, 2)):
        yield case(rng.normal(size=shape) * 3, rng.normal(size=shape), turned=len(shape) == 2, behaviour="the slope, from the output")
    yield case(rng.normal(size=5).astype("float32"), rng.normal(size=5).astype("float32"), behaviour="the slope, from the output")
    edges = "no axes, no elements, NaN and infinity"
    yield case(np.array([np.inf, -np.inf, np.nan, 800.0, -800.0]), np.ones(5), behaviour=edges)
    yield case(rng.normal(size=()), rng.normal(size=()), behaviour=edges)
    yield case(np.zeros((0, 2)), np.zeros((0, 2)), behaviour=edges)


# %% check="softmax_backward" points=2
def through_softmax(x, grad, axis=-1):
    return pulled(softmax_backward, applied(Softmax, (x,), (True,), axis=axis), grad)

check("softmax_backward", [
    case(np.log(np.array([0.5, 0.25, 0.25])), np.array([1.0, 0.0, 0.0])),
    case(np.zeros((2, 2)), np.array([[1.0, 0.0], [0.0, 0.0]]), axis=0),
], call=through_softmax, compare="value", atol=1e-6)

# %% hidden="softmax_backward"
def cases(rng):
    for shape, axis in (((5,), -1), ((2, 3), 1), ((4, 3), -1)):
        yield case(rng.normal(size=shape), rng.normal(size=shape), axis=axis, behaviour="rows")
    for shape, axis in (((3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), -3), ((3, 3), 0)):
        yield case(rng.normal(size=shape), rng.normal(size=shape), axis=axis, behaviour="any axis")
    yield case(rng.normal(size=(2, 3)).astype("float32"), rng.normal(size=(2, 3)).astype("float32"), behaviour="rows")
    yield case(np.array([1000.0, 0.0, -1000.0]), np.array([1.0, 2.0, 3.0]), behaviour="certain rows, no elements, NaN")
    yield case(np.zeros((0, 3)), np.zeros((0, 3)), behaviour="certain rows, no elements, NaN")
    yield case(np.array([[0.0, np.nan], [0.0, 1.0]]), np.ones((2, 2)), behaviour="certain rows, no elements, NaN")


# %% [markdown]
# Losses of numbers are short, and given.

# %%
#| export
def unreduced(self, grad):
    """The gradient for each term of a loss that took their mean, their sum or none."""
    return grad / self.saved[0].size if self.params["reduction"] == "mean" else grad


@backward_of(losses.MSELoss)
def mse_backward(self, grad):
    prediction, target = self.saved
    grad = unreduced(self, grad) * 2 * (prediction - target)
    return grad, -grad


@backward_of(losses.MAELoss)
def mae_backward(self, grad):
    prediction, target = self.saved
    grad = unreduced(self, grad) * np.sign(prediction - target)
    return grad, -grad


@backward_of(losses.HuberLoss)
def huber_backward(self, grad):
    prediction, target = self.saved
    delta = self.params["delta"]
    grad = unreduced(self, grad) * np.clip(prediction - target, -delta, delta)
    return grad, -grad


@backward_of(losses.BCEWithLogitsLoss)
def bce_with_logits_backward(self, grad):
    logits, targets = self.saved
    weight, pos_weight = (1 if self.params[name] is None else self.params[name] for name in ("weight", "pos_weight"))
    grad = unreduced(self, grad) * weight
    p, q = activations.Sigmoid().forward(logits), activations.Sigmoid().forward(-logits)
    tail = np.log1p(np.exp(-np.abs(logits)))
    for_targets = grad * (pos_weight * (np.maximum(-logits, 0) + tail) - (np.maximum(logits, 0) + tail))
    return grad * ((1 - targets) * p - targets * pos_weight * q), for_targets


# %% [markdown]
# Cross entropy is a logarithm of a softmax, picked at a label. Each of the three has a rule of its own, but together
# they collapse: with logits $z$, probabilities $p$ and label $t$, the loss $-\ln p_t$ has the gradient
#
# $$\frac{\partial}{\partial z_k} \left( -\ln p_t \right) = p_k - [k = t]$$
#
# and no division by a probability that may be 0. **Worked example**: $p = (0.7, 0.2, 0.1)$, label 1. The gradient is
# $(0.7, -0.8, 0.1)$: push the right logit up and each other down by as much as it was believed.
#
# The options of module 04 decide what else stands before it. With $w$ the weights of classes ($1$ without), $s$ the
# label smoothing and $C$ classes, one position of label $t$ has the loss
#
# $$-(1 - s) \, w_t \ln p_t - \frac{s}{C} \sum_k w_k \ln p_k$$
#
# "sum" adds up the positions, "mean" then divides by the sum of $w_t$ over those positions whose label is not
# `ignore_index`. Positions whose label is have gradient 0 whatever their logits hold, and their label may be no class
# at all.
#
# **Exercise 12.3** The gradient for the logits; labels have none. From module 04, `losses.log_sum_exp(logits)` gives
# the logarithm of the sum of $e^{z_k}$ over axis 1 in two parts that add up to it.

# %% solution="cross_entropy_backward"
#| export
@backward_of(losses.CrossEntropyLoss, needs=((0, 1), ()))
def cross_entropy_backward(self, grad):
    """The gradient for the logits (N, C, ...), and None for the labels.

    self.params has weight (an array (C,) or None), ignore_index, label_smoothing and reduction. grad has the shape of the
    loss: () for "mean" and "sum", (N, ...) for "none".
    """
    ### BEGIN SOLUTION
    logits, labels = self.saved
    weight, smoothing, classes = self.params["weight"], self.params["label_smoothing"], logits.shape[1]
    kept = labels != self.params["ignore_index"]
    labels = np.where(kept, labels, 0)
    weights = losses.label_weights(labels, kept, weight, logits.dtype)
    if self.params["reduction"] == "mean":
        grad = grad / weights.sum()
    shares = np.full(classes, smoothing / classes, logits.dtype) if weight is None else weight * (smoothing / classes)
    pull = (1 - smoothing) * weights + shares.sum()
    largest, rest = losses.log_sum_exp(logits)
    slopes = np.exp(logits - np.expand_dims(largest + rest, 1)) * np.expand_dims(pull, 1)
    slopes -= shares.reshape(-1, *[1] * (logits.ndim - 2))
    target = np.expand_dims(labels, 1)
    at_label = np.take_along_axis(slopes, target, 1) - np.expand_dims((1 - smoothing) * weights, 1)
    np.put_along_axis(slopes, target, at_label, 1)
    return np.where(np.expand_dims(kept, 1), slopes * np.expand_dims(grad, 1 if grad.ndim else ()), 0), None
    ### END SOLUTION


# %% check="cross_entropy_backward" points=3
def through_cross_entropy(logits, labels, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean", seed=0):
    options = {"weight": weight, "ignore_index": ignore_index, "label_smoothing": label_smoothing, "reduction": reduction}
    function = applied(losses.CrossEntropyLoss, (logits, labels), (True, False), **options)
    shape = labels.shape if reduction == "none" else ()
    grad = np.random.default_rng(seed).uniform(0.5, 2, shape).astype(logits.dtype)
    return pulled(cross_entropy_backward, function, grad)

check("cross_entropy_backward", [
    case(np.log(np.array([[0.7, 0.2, 0.1]])), np.array([1]), reduction="sum"),
    case(np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])), np.array([1, -100])),
    case(np.log(np.array([[0.7, 0.2, 0.1]])), np.array([1]), label_smoothing=0.3),
], call=through_cross_entropy, compare="value", atol=1e-6)

# %% hidden="cross_entropy_backward"
def cases(rng):
    def batch(*shape, dtype="float64"):
        shape = shape or tuple(int(n) for n in rng.integers(3, 6, 2))
        return rng.normal(size=shape).astype(dtype) * 2, rng.integers(0, shape[1], (shape[0], *shape[2:]))

    for reduction in ("mean", "sum", "mean"):
        yield case(*batch(), reduction=reduction, seed=int(rng.integers(99)), behaviour="mean and sum")
    yield case(*batch(), reduction="none", seed=int(rng.integers(99)), behaviour="none")
    yield case(*batch(4, 3, 2), reduction="none", seed=int(rng.integers(99)), behaviour="none")
    for reduction in ("mean", "sum", "none"):
        logits, labels = batch(6, 4)
        labels[[1, 4]] = -100
        yield case(logits, labels, reduction=reduction, behaviour="labels that are ignored")
        labels[[1, 4]] = 2
        yield case(logits, labels, ignore_index=2, reduction=reduction, behaviour="labels that are ignored")
    logits, labels = batch(4, 3)
    logits[2], labels[2] = np.nan, -100
    yield case(logits, labels, behaviour="labels that are ignored")
    for reduction in ("mean", "sum"):
        logits, labels = batch(5, 4)
        labels[0] = -100
        weight = rng.uniform(0.3, 2, 4)
        yield case(logits, labels, weight=weight, reduction=reduction, behaviour="weights of classes")
        yield case(logits, labels, label_smoothing=0.2, reduction=reduction, behaviour="label smoothing")
        yield case(logits, labels, weight=weight, label_smoothing=0.3, reduction=reduction, behaviour="label smoothing")
    yield case(*batch(2, 3, 4), behaviour="more axes, and float32")
    yield case(*batch(2, 3, 2, 2), label_smoothing=0.1, weight=rng.uniform(0.3, 2, 3), behaviour="more axes, and float32")
    yield case(*batch(4, 3, dtype="float32"), behaviour="more axes, and float32")
    yield case(np.array([[1e4, 0.0], [-1e4, 0.0]]), np.array([1, 1]), behaviour="certain predictions, no elements")
    yield case(np.zeros((0, 3)), np.zeros(0, "int64"), reduction="sum", behaviour="certain predictions, no elements")


# %% [markdown]
# `gradcheck` holds a whole function against part 1: all operations on the way, through your engine, on all elements.

# %%
#| export
def gradcheck(f, *tensors, eps=1e-6, rtol=1e-5, atol=1e-7):
    """True if backward of f agrees with central differences for each tensor that requires grad.

    f maps tensors to a tensor and is deterministic; what requires grad is float64. .grad of the tensors is not touched.
    Raises GradcheckError, which names the operand and the element that differs most; DTypeError for another dtype.
    """
    checked = [k for k, t in enumerate(tensors) if t.requires_grad]
    for k in checked:
        if tensors[k].dtype != float64:
            raise DTypeError(f"gradcheck wants float64, operand {k} is {tensors[k].dtype}: its rounding would hide the slope")
    operands = [detach(t).requires_grad_(t.requires_grad) for t in tensors]
    output = f(*operands)
    weights = np.random.default_rng(0).normal(size=output.shape)  # all outputs at once, none with the weight of another
    backward(output, weights)

    def of_checked(*values):
        before = set_recording(False)
        try:
            mixed = list(operands)
            for k, value in zip(checked, values, strict=True):
                mixed[k] = value
            return f(*mixed)
        finally:
            set_recording(before)

    wanted = numerical_gradient(of_checked, *(detach(tensors[k]) for k in checked), gradient=weights, eps=eps)
    for k, want in zip(checked, wanted, strict=True):
        got = np.zeros_like(want) if operands[k].grad is None else operands[k].grad.numpy()
        error = np.abs(got - want) - (atol + rtol * np.abs(want))
        if not (error <= 0).all():
            at = np.unravel_index(np.nanargmax(np.where(np.isnan(error), np.inf, error)), error.shape)
            raise GradcheckError(f"operand {k}, element {tuple(int(i) for i in at)}: backward gives {got[at]:.8g}, "
                                 f"central differences {want[at]:.8g}")
    return True


# %% show
install()
rng = np.random.default_rng(0)


def normal(*shape):
    return Tensor(rng.normal(size=shape), requires_grad=True)


labels = Tensor([0, 2, 1])
for name, f, operands in (
    ("a * b, stretched", lambda a, b: a * b, (normal(3, 1), normal(4))),
    ("a / (b² + 1)", lambda a, b: a / (b * b + 1.0), (normal(2, 3), normal(2, 3))),
    ("x * x + x", lambda x: x * x + x, (normal(4),)),
    ("matrix products", lambda a, b: (a @ b) @ b.T, (normal(2, 3, 4), normal(4, 3))),
    ("vector products", lambda a, b: a @ b @ a, (normal(3), normal(3, 3))),
    ("views of views", lambda x: x[1:, ::-2].transpose().reshape(-1) * x[0, 0], (normal(3, 4),)),
    ("mean and max", lambda x: x.mean(axis=0) * x.max(axis=0), (normal(3, 4),)),
    ("softmax", lambda x: Softmax(axis=0)(x), (normal(3, 4),)),
    ("a layer and cross entropy", lambda x, w: cross_entropy(tanh(x @ w), labels), (normal(3, 4), normal(4, 3))),
):
    print(f"{name:28}", "agrees" if gradcheck(f, *operands) else "")


# %% [markdown]
# And it learns. A network with 32 hidden units fits a wave in 600 steps, on nothing but what you have written.

# %% show
import matplotlib.pyplot as plt

rng = np.random.default_rng(0)
x = Tensor(np.linspace(-3, 3, 64)[:, None], "float32")
wave = Tensor(np.sin(2 * x.numpy()))
parameters = [Tensor(rng.normal(0, scale, shape), "float32", requires_grad=True)
              for scale, shape in ((1.5, (1, 32)), (1.5, (32,)), (0.2, (32, 1)), (0.2, (1,)))]
w1, b1, w2, b2 = parameters
history, fits = [], {}
for step in range(601):
    fit = tanh(x @ w1 + b1) @ w2 + b2
    loss = ((fit - wave) * (fit - wave)).mean()
    loss.backward()
    with no_grad():
        for p in parameters:
            p.sub_(p.grad * 0.05)
            p.zero_grad()
    history.append(loss.item())
    if step in (0, 60, 600):
        fits[step] = fit.detach().numpy()
_, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8))
left.plot(x.numpy(), wave.numpy(), "k", lw=1, label="sin 2x")
for (step, values), style in zip(fits.items(), (":", "--", "-"), strict=True):
    left.plot(x.numpy(), values, style, label=f"step {step}")
left.set(xlabel="x", title="the fit")
left.legend(fontsize=8)
right.semilogy(history)
right.set(xlabel="step", title="mean squared error")
plt.tight_layout()
plt.show()
print(f"Left: the network's output against sin 2x after 0, 60 and 600 steps. Right: the loss, from {history[0]:.2f} to {history[-1]:.3f}.")

# %% [markdown]
# One step of this network as a graph. The loss computes the difference twice, as `Sub 1` and `Sub 2`; walk back to where the
# two meet and see the gradient double. Biases get gradients of their own shape, although they were broadcast to 64 rows.

# %% show
fit = tanh(x @ w1 + b1) @ w2 + b2
loss = ((fit - wave) * (fit - wave)).mean()
computation_graph(loss, {"w1": w1, "b1": b1, "w2": w2, "b2": b2})

# %% [markdown]
# Errors are part of an interface here as well. Each line is refused by something that you wrote or read.

# %% show
w, data = ones(3).requires_grad_(), ones(3)


def twice():
    y = (w * w).sum()
    y.backward()
    y.backward()


def overwritten():
    y = (w * data).sum()
    data.fill_(0.0)
    y.backward()


for attempt in (lambda: (w * 2.0).backward(), lambda: (w * 2.0).backward(ones(4)), lambda: data.sum().backward(), twice,
                overwritten, lambda: w.fill_(0.0), lambda: data.copy_(w * 2.0), lambda: Tensor([1, 2]).requires_grad_(),
                lambda: w.sum().requires_grad_(False)):
    try:
        attempt()
    except (RuntimeError, ValueError, TypeError) as error:
        print(f"{type(error).__name__:13}{error}")


# %% [markdown]
# ## 13. What it costs
#
# ### 13.1 Time
#
# A layer of an MLP computes $h W$, with N rows, K inputs and M outputs: N·K·M multiply-adds. You counted what its
# backward takes in part 5. The MLP below has six layers of 512 × 512 on a batch of 256; the batch itself requires no
# gradient. Before you look: **how many times as long as the forward pass does the backward pass take?**

# %% predict="backward_ratio" points=1
# predict("backward_ratio", "number", low="number", high="number")
### BEGIN SOLUTION
predict("backward_ratio", "2", low="1.5", high="3")
### END SOLUTION

# %% show
import time
import tracemalloc

install()


def best(f, repeat=5):
    """Shortest of several runs, in seconds: the one that was disturbed least."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def layers(depth, width, seed=0):
    rng = np.random.default_rng(seed)
    return [Tensor(rng.normal(0, (2 / width) ** 0.5, (width, width)), "float32", requires_grad=True) for _ in range(depth)]


def run(weights, h):
    for w in weights:
        h = relu(h @ w)
    return h.mean()


def forward_and_backward(weights, x, repeat=7):
    """Best times of both passes, in seconds."""
    there, back = [], []
    for _ in range(repeat):
        start = time.perf_counter()
        y = run(weights, x)
        middle = time.perf_counter()
        y.backward()
        there.append(middle - start)
        back.append(time.perf_counter() - middle)
    return min(there), min(back)


x, weights = ones((256, 512)), layers(6, 512)
there, back = forward_and_backward(weights, x)
reveal("backward_ratio", f"{back / there:.3g}")
products = 2 * len(weights) * 256 * 512 * 512
print(f"forward {there * 1e3:.1f} ms, {products / there / 1e9:.0f} GFLOP/s; backward {back * 1e3:.1f} ms")
with no_grad():
    print(f"forward without recording {best(lambda: run(weights, x)) * 1e3:.1f} ms")


# %% [markdown]
# Each product has two products in its backward, except in the first layer, where nobody wants the gradient of the
# batch: 2 - 1/6 times the arithmetic. The rest of the difference is what moves memory but does not multiply: ReLU's
# selection, and copying each gradient into `.grad`. A rule of thumb follows that is good to remember: a training step
# costs three forward passes.
#
# How would nudging do? A forward pass of the network of 101,770 weights may take 1.5 ms. **How long do central
# differences take for one gradient?**

# %% answer="nudging_time" points=2
nudging_time = ""  # a number with its unit, such as "90 s"
### BEGIN SOLUTION
nudging_time = f"{2 * 101_770 * 1.5e-3} s"
### END SOLUTION

# %% key="nudging_time"
from mlsysbook import Key, Mistake


def key(v):
    weights, forward = 784 * 128 + 128 + 128 * 10 + 10, 1.5e-3
    return Key(2 * weights * forward, "s", tol=0.02, mistakes=[
        Mistake(weights * forward, 0.5, "a central difference runs the network twice for each weight"),
        Mistake(2 * forward, 0, "that is one weight; each of the 101,770 is moved by itself"),
        Mistake(3 * forward, 0, "that is about what backpropagation takes"),
    ])


# %% [markdown]
# ### 13.2 The price of a record
#
# For large arrays the graph costs nothing beside the arithmetic. For scalars it is the other way round. One operation
# on a tensor of a single element takes some microseconds without recording. **How many seconds does recording add to
# it?**

# %% predict="record_time" points=1 unit="s"
# predict("record_time", "number us", low="number us", high="number us")
### BEGIN SOLUTION
predict("record_time", "5 us", low="1 us", high="20 us")
### END SOLUTION

# %% show
def chain(n, y):
    for _ in range(n):
        y = y + 1.0
    return y


n, start = 5000, Tensor(1.0, requires_grad=True)
recorded_time = best(lambda: chain(n, start), 3) / n
with no_grad():
    plain_time = best(lambda: chain(n, start), 3) / n
reveal("record_time", f"{(recorded_time - plain_time) * 1e6:.3g} us")
y = chain(50_000, start)
start.zero_grad()
begin = time.perf_counter()
y.backward()
walked = (time.perf_counter() - begin) / 50_000
print(f"one scalar addition: {plain_time * 1e6:.1f} µs, recorded {recorded_time * 1e6:.1f} µs, its part of the way back "
      f"{walked * 1e6:.1f} µs; through 50,000 of them the gradient is {start.grad.item():g}")


# %% [markdown]
# That is why nobody differentiates a program number by number in Python, why operations in a framework are large, and
# why PyTorch keeps its graph in C++.
#
# ### 13.3 Memory
#
# The MLP now has 8 layers `relu(h @ w)` of 256 × 256 in float32, with a batch of 512 rows that requires no gradient.
# **How many bytes does the graph keep alive after the forward pass**, besides the weights and the batch, which live
# anyway? Look up what the two rules need.

# %% answer="graph_bytes" points=2
graph_bytes = ""  # a number with its unit, such as "16 MiB"
### BEGIN SOLUTION
graph_bytes = f"{8 * 512 * 256 * 4} B"
### END SOLUTION

# %% key="graph_bytes"
def key(v):
    layers, rows, width, size = 8, 512, 256, 4
    one = rows * width * size
    return Key(layers * one, "B", tol=0.02, mistakes=[
        Mistake(2 * layers * one, 0.5, "the result of the product is not kept: ReLU needs its own output only, and that is "
                                       "also what the next product needs"),
        Mistake((layers - 1) * one, 0.5, "the last layer's ReLU keeps its output as well"),
        Mistake(layers * rows * width, 0.25, "that counts elements; a float32 takes 4 bytes"),
        Mistake(layers * width * width * size, 0, "those are the weights"),
    ])


# %% show
def mib(n):
    return f"{n / 2**20:6.2f} MiB"


def memory(f):
    """What storages hold when f has returned and at most, beyond what they held before; and the peak by tracemalloc."""
    tracemalloc.start()
    Storage.peak_bytes = before = Storage.live_bytes
    result = f()
    held, most = Storage.live_bytes - before, Storage.peak_bytes - before
    traced = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del result
    return held, most, traced


x, weights = ones((512, 256)), layers(8, 256)


def train():
    run(weights, x).backward()


@no_grad()
def infer():
    return run(weights, x)


train()  # from here on every weight has its .grad
print("                       held after   storages, peak   arrays, peak")
for name, f in (("forward, recorded", lambda: run(weights, x)), ("forward and backward", train), ("forward, no_grad", infer)):
    held, most, traced = memory(f)
    print(f"{name:22} {mib(held)}       {mib(most)}     {mib(traced)}")
y = run(weights, x)
before = Storage.live_bytes
y.backward()
print(f"backward() gave back {mib(before - Storage.live_bytes).strip()} of the graph of y, which still exists")
for name in ("float64", "float32", "float16"):
    few, rows = [w.detach().astype(name).requires_grad_() for w in weights[:2]], x[:64].astype(name)
    print(f"two layers on 64 rows, {name}: the graph holds {memory(lambda few=few, rows=rows: run(few, rows))[0] / 1024:.0f} KiB")

# %% [markdown]
# Inference holds two activations at a time however deep the network is. Training holds one for each layer, until the
# way back has passed it. "Gave back" is `release` at work: `y` lives on, its graph does not. The last lines say what
# half precision is for: activations, and with them most of the memory of training, shrink with the dtype.
#
# ## 14. Checkpoints: time for memory
#
# Activations grow with depth, so they decide how deep a network fits into memory. `checkpoint(f, x)` computes `f(x)`
# and keeps `x` and nothing in between; when the gradient arrives, it computes `f(x)` again, this time recorded, and
# walks back through that. Cut a network of $n$ layers into $\sqrt n$ segments of $\sqrt n$ layers: $\sqrt n$ inputs
# are kept, and while one segment is walked its $\sqrt n$ activations.
#
# **Worked example**: 16 layers of 1 MiB activations keep 16 MiB. In 4 segments of 4 layers they keep 4 inputs, and 4
# activations for a short time: 8 MiB. The price is one more forward pass: a step of 1 + 2 becomes 2 + 2 units.
#
# The second run must be the same computation as the first. With dropout it is not, unless the random numbers are the
# same: a gradient for another network would come out, and nothing would look wrong.
#
# `Checkpoint` and `checkpoint` are given. They run the function, keep operands and the states of random generators
# (`generator.bit_generator.state`, which can be read and set), and make one node of it all.

# %%
#| export
class Checkpoint(Function):
    """function(*tensors) as one node, which keeps the operands and the state of the random generators, and nothing else."""

    def __init__(self, function, tensors, rng):
        super().__init__()
        self.called, self.tensors, self.rng = function, tuple(detach(t) for t in tensors), rng
        self.states = [g.bit_generator.state for g in self.generators]
        self.saved = tuple(t.numpy() for t in tensors)

    @property
    def generators(self):
        """The generators that the function draws from now: manual_seed may have made another one the default."""
        return generators_of(self.called, self.rng)

    def backward(self, grad):
        return recompute(self, grad)


def checkpoint(function, *tensors, rng=()):
    """function(*tensors), with only its operands kept for backward, which runs function a second time.

    function maps tensors to one tensor. It may use parameters that are leaves; a tensor that is part of the graph has to
    be an operand. Draws of tinytorch.layers.default_rng(), of the generators that layers of function hold, and of rng
    (one or more NumPy generators) are repeated; any other side effect of function happens twice.
    """
    call = Checkpoint(function, tensors, rng)
    first = next(Node._numbers)
    output = function(*(detach(t).requires_grad_(t.requires_grad) for t in tensors))
    result = detach(output)
    if is_grad_enabled() and output.requires_grad:
        if output.grad_fn is not None:
            outside = [x for node in topological_order(output.grad_fn) for x in (node, *node.inputs)
                       if isinstance(x, Node) and x.number < first]
            if outside:
                raise GraphError(f"checkpoint: the function uses the result of {outside[0].name} from outside: "
                                 "pass it as an operand")
        inputs = tuple((t if t.grad_fn is None else t.grad_fn) if t.requires_grad else None for t in tensors)
        result.requires_grad = True
        result.grad_fn = Node(call, inputs, tensors, result)
    return result


def generators_of(function, rng=()):
    """The NumPy generators that a function may draw from, as far as they are known, in a fixed order."""
    found = [rng] if isinstance(rng, np.random.Generator) else list(rng)
    if "tinytorch.layers" in sys.modules:
        found.append(sys.modules["tinytorch.layers"].default_rng())
    for module in function.modules() if hasattr(function, "modules") else ():
        found += [v for v in vars(module).values() if isinstance(v, np.random.Generator)]
    return found


# %% [markdown]
# **Exercise 14.1** `recompute`, which is this node's rule. What must hold: the operands of the second run are not part
# of the outer graph, whose turn comes later. Parameters that the function uses by itself get their gradients too.
# Random generators and recording are afterwards as they were before, also if the function raises an error. An operand
# to which no gradient arrives gets `None`. The check runs your engine, so it needs the functions of parts 7 to 10 as
# well.

# %% solution="recompute"
#| export
def recompute(call, grad):
    """The gradients for the operands of a checkpointed call, from the array grad, that of its output.

    call.called is the function, call.tensors its operands, call.wants which of them require grad; call.generators are NumPy
    generators, call.states their states when the function ran. After this they are as if nothing had been drawn, and
    recording is as it was.
    """
    ### BEGIN SOLUTION
    operands = [detach(t).requires_grad_(wanted) for t, wanted in zip(call.tensors, call.wants, strict=True)]
    generators = call.generators
    now = [g.bit_generator.state for g in generators]
    before = set_recording(True)
    try:
        for generator, state in zip(generators, call.states, strict=True):
            generator.bit_generator.state = state
        output = call.called(*operands)
    finally:
        set_recording(before)
        for generator, state in zip(generators, now, strict=True):
            generator.bit_generator.state = state
    backward(output, grad)
    return tuple(None if x.grad is None else x.grad.numpy() for x in operands)
    ### END SOLUTION


# %% check="checkpoint" points=4 covers="recompute,record,topological_order,propagate,accumulate,first_gradient,check_versions"
def checkpointed(x, y, wants=(True, True), steps=2, drop=False, weight=None, fail=False, recording=False):
    """The gradients of a checkpointed function of x and y, and what else recompute did.

    The function sums tanh(x + y), several times; drop: random elements are dropped; weight: a parameter that it uses.
    """
    with installed():
        generator, parameter = np.random.default_rng(7), None if weight is None else Tensor(weight, requires_grad=True)
        calls = []

        def function(a, b):
            calls.append([bool(a.requires_grad), bool(b.requires_grad), a.grad_fn is None])
            for _ in range(steps):
                a = tanh(a + b) if parameter is None else tanh(a + parameter) + b
                if drop:
                    a = a + Tensor(np.where(generator.random(a.shape) < 0.5, 0.0, 5.0))
            if fail and len(calls) > 1:
                raise KeyError("on purpose")
            return a

        call = Checkpoint(function, (Tensor(x), Tensor(y)), (generator,))
        call.wants = wants
        set_recording(False)
        function(*call.tensors)
        set_recording(recording)
        generator.random(3)
        state = generator.bit_generator.state["state"]["state"]
        grad, failed = np.random.default_rng(0).normal(size=x.shape), None
        try:
            parts = recompute(call, grad)
        except KeyError:
            parts, failed = (), "KeyError"
        return {"gradients": [None if part is None else np.asarray(part) for part in parts], "failed": failed,
                "parameter": None if parameter is None or parameter.grad is None else parameter.grad.numpy(),
                "calls": calls, "generator as before": generator.bit_generator.state["state"]["state"] == state,
                "recording as before": is_grad_enabled() == recording}

check("checkpoint", [
    case(np.array([0.5, -0.5]), np.array([0.1, 0.2])),
    case(np.array([0.5, -0.5]), np.array([0.1, 0.2]), wants=(True, False)),
    case(np.array([0.5, -0.5, 1.0]), np.array([0.1, 0.2, 0.3]), drop=True),
], call=checkpointed)

# %% hidden="checkpoint"
def cases(rng):
    def normal(*shape):
        return rng.normal(size=shape)

    for shape, steps in (((3,), 1), ((2, 3), 3), ((), 2)):
        yield case(normal(*shape), normal(*shape), steps=steps, behaviour="the gradients of all operands")
    yield case(normal(3), normal(3), wants=(False, True), behaviour="operands that want no gradient")
    yield case(normal(3), normal(3), wants=(False, False), weight=normal(3), behaviour="operands that want no gradient")
    yield case(normal(3), normal(3), weight=normal(3), behaviour="parameters that the function uses")
    for steps in (1, 3):
        yield case(normal(4), normal(4), steps=steps, drop=True, behaviour="random numbers are repeated")
    yield case(normal(4), normal(4), drop=True, fail=True, behaviour="errors leave everything as it was")
    yield case(normal(2), normal(2), recording=True, behaviour="recording as before")
    yield case(normal(2), normal(2), recording=False, behaviour="recording as before")
    yield case(np.zeros((0, 2)), np.zeros((0, 2)), behaviour="no elements")


# %% [markdown]
# A network of 64 layers of 64 × 64, with a batch of 1024 rows, is cut into 8 segments of 8. **By what factor does the
# peak of what storages hold shrink?**

# %% predict="checkpoint_peak" points=1
# predict("checkpoint_peak", "number", low="number", high="number")
### BEGIN SOLUTION
predict("checkpoint_peak", "4", low="3", high="8")
### END SOLUTION

# %% show
install()


def segmented(weights, h):
    """The same network with a checkpoint at each of about sqrt(depth) segments."""
    size = round(len(weights) ** 0.5)
    for k in range(0, len(weights), size):
        def segment(h, part=weights[k:k + size]):
            for w in part:
                h = relu(h @ w)
            return h

        h = checkpoint(segment, h)
    return h.mean()


def step(model, weights, x):
    for w in weights:
        w.zero_grad()
    model(weights, x).backward()


x, peaks, times, slopes_of = ones((1024, 64)), {}, {}, {}
for depth in (4, 16, 36, 64):
    weights = layers(depth, 64)
    for name, model in (("plain", run), ("checkpoint", segmented)):
        step(model, weights, x)
        gradients = sum(w.nbytes for w in weights)  # are held either way
        Storage.peak_bytes = before = Storage.live_bytes
        times[name, depth] = best(lambda model=model, weights=weights: step(model, weights, x), 3 if depth == 64 else 1)
        peaks[name, depth] = (Storage.peak_bytes - before + gradients) / 2**20
        slopes_of[name] = weights[0].grad.numpy()
    with no_grad():
        Storage.peak_bytes = before = Storage.live_bytes
        run(weights, x)
        peaks["no_grad", depth] = (Storage.peak_bytes - before) / 2**20
reveal("checkpoint_peak", f"{peaks['plain', 64] / peaks['checkpoint', 64]:.3g}")
print("the same gradients:", np.allclose(slopes_of["plain"], slopes_of["checkpoint"], rtol=1e-4, atol=1e-9))
print(f"time of a step at depth 64: {times['plain', 64] * 1e3:.1f} ms, with checkpoints {times['checkpoint', 64] * 1e3:.1f} ms")
_, ax = plt.subplots(figsize=(6, 3.2))
for name, style in (("plain", "o-"), ("checkpoint", "s-"), ("no_grad", "^:")):
    ax.plot(*zip(*((d, p) for (kind, d), p in peaks.items() if kind == name), strict=True), style, label=name)
ax.set(xlabel="depth, layers", ylabel="peak of all storages, MiB", title="What a training step holds at most")
ax.legend()
plt.show()
print("Peak in MiB over depth: plain rises in a straight line " + ", ".join(f"{peaks['plain', d]:.1f}" for d in (4, 16, 64))
      + "; with checkpoints as its root, " + ", ".join(f"{peaks['checkpoint', d]:.1f}" for d in (4, 16, 64))
      + " at depths 4, 16 and 64.")


# %%
#| export
if __name__ != "__main__":  # a notebook calls install() itself
    install()

# %% [markdown]
# ## 15. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="growing_loss" points=4
# A training loop reports the mean loss: `total = total + loss` after each `loss.backward()`, with
# `total = Tensor(0.0)` at the start, and `print(total.item() / steps)` at the end. The losses are right. But memory
# grows from step to step, although the graph of each `loss` is released by its backward. A colleague changes the loop
# to `total.backward()` once at the end, without the calls in between; now the same loop stops with too little memory
# after a few hundred steps. In eight to twelve sentences: say what the first version keeps alive, and why that is
# little for each step; what the second keeps, with a formula for a network of $n$ layers, batch N, width M; whether
# the two give the same `.grad`; which repair the first needs; and when one would want the second on purpose.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. First version: `total` is part of a graph; each addition leaves a node whose inputs are the node before and that
#    of `loss`, which backward released: nodes of some hundred bytes, no arrays (`Add` needs nothing). They form a
#    chain as long as the training.
# 2. Second version: nothing is released before the end, so all activations of all steps are alive: about n·N·M·4 B for
#    each step (float32), times the number of steps.
# 3. The same `.grad`, the sum over steps, up to rounding, provided that the weights do not change in between; if an
#    optimizer steps in between, the second version raises an error, since saved weights were overwritten (versions).
# 4. Repair: add numbers, `total += loss.item()`, or `loss.detach()`, or do it under `no_grad`. The second is wanted
#    when the terms need one joint gradient and share a part of the graph: several losses on one forward pass, which
#    one walk serves at the price of one.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# An operation leaves behind what its rule needs, and where its gradients go. One walk in topological order, each node
# once with its complete gradient, gives the slopes by all leaves for about two forward passes. Fan-out is a sum, and
# broadcasting is fan-out. Memory is what rules keep: they are released on the way back, and can be computed twice
# instead of kept.
#
# | here | PyTorch |
# |---|---|
# | `Node`, `inputs` | `torch.autograd.graph.Node`, `next_functions`; leaves get a node of their own, `AccumulateGrad` |
# | `backward_of`, `needs`, `wants` | formulas in `derivatives.yaml`; `ctx.needs_input_grad` in `torch.autograd.Function` |
# | `topological_order`, `propagate` | an engine in C++: a ready queue with counts of dependencies, one thread for each device |
# | `unbroadcast` | `sum_to_size` |
# | `check_versions` | "one of the variables needed for gradient computation has been modified by an inplace operation" |
# | `guard_write` refuses | leaves are refused as well; for others `CopySlices` rewrites the history |
# | float16 gradients, added up in float32 within one backward | added up in float16 |
# | no second derivatives | `create_graph=True`: backward runs on tensors and is recorded |
# | `gradcheck` | `torch.autograd.gradcheck` |
# | `checkpoint` | `torch.utils.checkpoint.checkpoint` with `use_reentrant=True`; the random state is kept likewise |
#
# A `Function` of a later module defines `backward` beside `forward`, and `needs` if it can do without some operands.
# Module 07 takes the gradients and moves the weights. Its first lesson is that the direction in which a loss falls
# fastest is not the direction in which it falls furthest.
