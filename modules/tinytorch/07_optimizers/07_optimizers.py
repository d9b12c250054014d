# %% [markdown]
# # TinyTorch 07: Optimizers
#
# A gradient of 1000 and a gradient of 0.001 arrive at two weights. Plain gradient descent moves the first a million
# times as far as the second. Adam, in its first step, moves both by the same amount: the learning rate, to five digits.
# And a model of 40 MB keeps 80 MB of numbers that are neither weights nor gradients, which somebody has to store if
# training is ever to be resumed. This notebook is about what happens between `backward()` and the next forward pass.
#
# **Where it sits.** What you write is exported as `tinytorch/optimizers.py`.
#
# | module | what it has to do with this one |
# |---|---|
# | 01 tensor | parameters are updated in place; `Storage` counts the bytes of state |
# | 03 layers | `Module.parameters()` is what an optimizer is given |
# | 06 autograd | leaves a `grad` on each parameter; an optimizer reads nothing else of it |
# | 08 training | calls `zero_grad`, `step`, clipping and schedules in a loop, and stores their state |
# | 20 capstone | trades the bytes you count here against everything else that needs memory |
#
# **Afterwards you can**
# 1. compute from the curvature which learning rates diverge, and how many steps the best one takes;
# 2. implement momentum, Nesterov, RMSProp, Adam and AdamW to the digit, and say what each does at its first step;
# 3. explain why weight decay inside Adam is not weight decay;
# 4. save an optimizer and a schedule so that a resumed run is the same run;
# 5. predict the bytes and the time of an update, then measure both.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Most
# exercises are functions on NumPy arrays: arrays in, new arrays out, arguments left alone, and the dtype of the result
# that of the arguments. Grading runs hidden cases besides the worked ones: other hyperparameters, later steps, other
# shapes, strides and dtypes, no elements, infinity and NaN, wrong arguments. Every function is judged by itself. Three
# hours are typical.

# %%
from mlsysbook import answer, case, check, predict, reveal

# %%
#| export
"""Optimizers, learning rate schedules and gradient clipping.

    Optimizer <- SGD, RMSProp, Adam <- AdamW          parameter groups, state, one step
    Scheduler <- StepLR, CosineWithWarmup, OneCycleLR  the learning rate as a function of the number of steps
    clip_grad_norm_, clip_grad_value_                  between backward and step

An optimizer reads the gradient that autograd left on a parameter and writes the parameter in place. Update rules are
functions on arrays, applied in blocks that fit the processor's cache.
"""

import difflib
import math

import numpy as np

from tinytorch.backend import native_step
from tinytorch.tensor import DTypeError, OverlapError, ShapeError, Tensor, float16, float32, overlaps, zeros

# %% [markdown]
# ## 1. A bowl, and how fast one may walk down it
#
# Near a minimum every smooth loss looks like a bowl: $f(x) = \tfrac12 x^\top H x$ with gradient $Hx$, where the matrix
# $H$ holds the second derivatives. Gradient descent walks $x \leftarrow x - \text{lr} \cdot Hx$.
#
# **Worked example.** $f = \tfrac12 (a^2 + 25\, b^2)$ has the gradient $(a, 25 b)$. One step multiplies $a$ by
# $1 - \text{lr}$ and $b$ by $1 - 25\,\text{lr}$.
#
# | lr | factor of a | factor of b | |
# |---|---|---|---|
# | 0.02 | 0.98 | 0.5 | b is quick, a crawls: 342 steps to lose three digits |
# | 0.04 = 1/25 | 0.96 | 0 | b arrives in one step |
# | 2/26 ≈ 0.0769 | 0.923 | -0.923 | b jumps across the valley, both shrink alike: the best there is |
# | 0.08 = 2/25 | 0.92 | -1 | b jumps from side to side for ever |
# | 0.09 | 0.91 | -1.25 | b grows by a quarter in each step, and the loss with its square |
#
# The steepest direction sets the limit, and the flattest one pays for it. With the largest curvature $L$ and the
# smallest $\mu$, everything below $2/L$ converges. The ratio $\kappa = L/\mu$ is the **condition number**, and the best
# constant rate shrinks the error by $(\kappa - 1)/(\kappa + 1)$ in each step.
#
# The axes of a real bowl are not the axes of its coordinates. Its curvatures are the eigenvalues of $H$, which
# `np.linalg.eigvalsh` returns.
#
# **Exercise 1.1** By which factor does the distance to the minimum change in one step, in the direction where this
# turns out worst? The Hessian is symmetric; it may have flat directions and negative curvature.

# %% solution="contraction"
def contraction(hessian, lr):
    """The largest factor by which a step of gradient descent scales the error in some direction -> float.

    hessian (D, D), symmetric. Below 1 the walk converges, above 1 it diverges.
    """
    ### BEGIN SOLUTION
    return float(np.abs(1 - lr * np.linalg.eigvalsh(hessian)).max())
    ### END SOLUTION


# %% check="contraction" points=2
check("contraction", [case(np.diag([1.0, 25.0]), 0.02), case(np.diag([1.0, 25.0]), 0.09)], compare="value")

# %% hidden="contraction"
def bowl(rng, curvatures):
    turn, _ = np.linalg.qr(rng.normal(size=(len(curvatures), len(curvatures))))
    hessian = turn @ np.diag(curvatures) @ turn.T
    return (hessian + hessian.T) / 2


def cases(rng):
    for _ in range(4):
        curvatures = rng.uniform(0.5, 20, size=int(rng.integers(2, 6)))
        yield case(bowl(rng, curvatures), float(rng.uniform(0.2, 1.9) / curvatures.max()),
                   behaviour="bowls turned against the axes")
    for _ in range(3):
        curvatures = rng.uniform(0.5, 20, size=3)
        yield case(bowl(rng, curvatures), float(rng.uniform(2.1, 4) / curvatures.max()), behaviour="rates that diverge")
    yield case(bowl(rng, [0.0, 3.0]), 0.25, behaviour="flat directions and saddles")
    yield case(bowl(rng, [-2.0, 3.0, 1.0]), 0.25, behaviour="flat directions and saddles")
    yield case(np.array([[4.0]]), 0.25, behaviour="flat directions and saddles")


# %% [markdown]
# **Predict.** The Hessian is $\begin{pmatrix} 10 & 6 \\ 6 & 5 \end{pmatrix}$. What is the largest learning rate with
# which gradient descent does not diverge? Lock a number; the cell below finds it by trying, 300 steps from a random
# start for each rate.

# %% predict="stable_lr" points=1
# predict("stable_lr", "number", low="number", high="number")
### BEGIN SOLUTION
predict("stable_lr", "0.143", low="0.13", high="0.15")
### END SOLUTION

# %% show
def diverges(hessian, lr, steps=300):
    x = np.random.default_rng(0).normal(size=len(hessian))
    start = np.abs(x).max()
    for _ in range(steps):
        x = x - lr * (hessian @ x)
        if np.abs(x).max() > 100 * start:
            return True
    return False


tilted = np.array([[10.0, 6.0], [6.0, 5.0]])
low, high = 0.0, 1.0
while high - low > 1e-4:
    middle = (low + high) / 2
    low, high = (low, middle) if diverges(tilted, middle) else (middle, high)
reveal("stable_lr", f"{low:.3g}")
print("curvatures", np.linalg.eigvalsh(tilted).round(6), " 2 / largest =", round(2 / 14, 4), " 2 / diagonal = 0.2")

# %% [markdown]
# Three hundred steps forgive a rate that is 1 % too large, so the measured limit lies a little above the true one.
#
# **Estimate.** A bowl has the condition number $\kappa = 100$. With the best constant rate, how many steps of gradient
# descent does it take until the error in the worst direction is a thousandth of what it was?

# %% answer="steps_needed" points=2
steps_needed = ""  # a number, such as "1200"
### BEGIN SOLUTION
steps_needed = f"{math.log(1000) / math.log(101 / 99):.1f}"
### END SOLUTION

# %% key="steps_needed"
from mlsysbook import Key, Mistake


def key(v):
    kappa, shrink = 100, 1000
    return Key(math.log(shrink) / math.log((kappa + 1) / (kappa - 1)), "", tol=0.02, mistakes=[
        Mistake(math.log(shrink) / -math.log(1 - 1 / kappa), 0.5,
                "that is the rate 1/L; the best constant rate is 2/(L + µ), nearly twice that"),
        Mistake(math.log10(shrink) / math.log((kappa + 1) / (kappa - 1)), 0.5, "both logarithms need the same base"),
        Mistake(shrink * kappa, 0.0, "the error shrinks by a factor in each step: the count grows with a logarithm"),
    ])

# %% [markdown]
# ## 2. Momentum: a heavy ball
#
# A ball that rolls down the bowl does not forget its velocity at every step. Along the flat direction, where the
# gradient always points the same way, it speeds up. Across the valley, where the sign changes at every jump, the pushes
# cancel. With momentum $\mu$ and dampening $\tau$:
#
# $$v_t = \mu\, v_{t-1} + (1 - \tau)\, g_t \qquad x_t = x_{t-1} - \text{lr} \cdot v_t$$
#
# and at the very first step the velocity **is** the gradient, dampening or not.
#
# **Worked example.** The gradient is 1 at every step, $\mu = 0.9$.
#
# | step | 1 | 2 | 3 | 4 | ... | ∞ |
# |---|---|---|---|---|---|---|
# | v without dampening | 1 | 1.9 | 2.71 | 3.439 | | 10 |
# | v with dampening 0.9 | 1 | 1 | 1 | 1 | | 1 |
# | v with dampening 0.5 | 1 | 1.4 | 1.76 | 2.084 | | 5 |
#
# Read the first line twice: without dampening a steady gradient ends up with a step ten times lr. Whoever turns
# momentum on and leaves lr where it was has changed lr as well.
#
# **Nesterov's** variant asks where the ball is about to be. Its step does not follow the velocity but the velocity one
# push later, under the same gradient: with $v = 2.71$, $g = 1$ and $\mu = 0.9$ it moves by lr times
# $0.9 \cdot 2.71 + 1 = 3.439$.
#
# **Exercise 2.1** The velocity after a gradient has arrived. `buffer` is the velocity before, or `None` if there is
# none.
#
# **Exercise 2.2** The direction in which Nesterov's step goes. `buffer` is the velocity that already contains `grad`.

# %% solution="velocity"
#| export
def velocity(buffer, grad, momentum, dampening=0.0):
    """The velocity after grad has arrived -> array of grad's shape. buffer: the velocity before, None at first."""
    ### BEGIN SOLUTION
    if buffer is None:
        return grad
    return momentum * buffer + (1 - dampening) * grad
    ### END SOLUTION


# %% check="velocity" points=3
check("velocity", [case(np.array([1.9, -1.0]), np.array([1.0, 1.0]), 0.9), case(None, np.array([1.0, -4.0]), 0.9, 0.5)])

# %% hidden="velocity"
def cases(rng):
    def normal(*shape):
        return rng.normal(size=shape)

    for shape in ((5,), (3, 4), (2, 3, 2)):
        yield case(normal(*shape), normal(*shape), float(rng.uniform(0.3, 0.95)), behaviour="velocity carries on")
    for tau in (0.0, 0.3, 0.9):
        yield case(None, normal(4), float(rng.uniform(0.3, 0.95)), tau, behaviour="the first velocity is the gradient")
    for _ in range(3):
        yield case(normal(4), normal(4), float(rng.uniform(0.3, 0.95)), float(rng.uniform(0.1, 0.9)),
                   behaviour="dampening")
    buffer = normal(6).astype("float32")
    yield case(buffer, normal(6).astype("float32"), 0.75, 0.25, behaviour="float32, no elements, NaN and infinity")
    yield case(np.zeros((0, 3)), np.zeros((0, 3)), 0.9, behaviour="float32, no elements, NaN and infinity")
    yield case(np.array([1.0, np.inf]), np.array([np.nan, 1.0]), 0.9,
               behaviour="float32, no elements, NaN and infinity")


# %% solution="look_ahead"
#| export
def look_ahead(grad, buffer, momentum):
    """Nesterov's direction -> array of grad's shape. buffer is the velocity that already contains grad."""
    ### BEGIN SOLUTION
    return grad + momentum * buffer
    ### END SOLUTION


# %% check="look_ahead" points=2
check("look_ahead", [case(np.array([1.0, 0.0]), np.array([2.71, 1.0]), 0.9)])

# %% hidden="look_ahead"
def cases(rng):
    for shape in ((5,), (3, 4), (2, 1, 3)):
        yield case(rng.normal(size=shape), rng.normal(size=shape), float(rng.uniform(0.3, 0.95)),
                   behaviour="the direction one push later")
    yield case(rng.normal(size=4).astype("float32"), rng.normal(size=4).astype("float32"), 0.75,
               behaviour="float32, no elements, NaN")
    yield case(np.zeros((2, 0)), np.zeros((2, 0)), 0.9, behaviour="float32, no elements, NaN")
    yield case(np.array([np.nan, 1.0]), np.array([1.0, np.inf]), 0.9, behaviour="float32, no elements, NaN")


# %% [markdown]
# What does the ball gain? On a bowl of condition $\kappa$ the best heavy ball shrinks the error by
# $(\sqrt\kappa - 1)/(\sqrt\kappa + 1)$ a step: the square root of the steps. Measure the $\kappa = 100$ of your
# estimate.

# %% show
def steps_until(shrunk, curvatures, lr, momentum):
    """Steps until the largest error stays below shrunk times its start."""
    x, v = np.ones(len(curvatures)), None
    last = 0
    for step in range(1, 2000):
        v = velocity(v, curvatures * x, momentum)
        x = x - lr * v
        last = step if np.abs(x).max() > shrunk else last
    return last + 1


curvatures = np.array([1.0, 100.0])
root = np.sqrt(curvatures)
ball = {"lr": 4 / root.sum() ** 2, "momentum": ((root[1] - root[0]) / root.sum()) ** 2}
print("gradient descent, best lr:", steps_until(1e-3, curvatures, 2 / curvatures.sum(), 0.0), "steps")
print("heavy ball, best lr and momentum:", steps_until(1e-3, curvatures, **ball), "steps, with",
      ", ".join(f"{name} {value:.4f}" for name, value in ball.items()))

# %% [markdown]
# The rate of $(\sqrt\kappa - 1)/(\sqrt\kappa + 1) = 9/11$ alone would make it 34 steps. At the best setting the error
# falls like $t \cdot (9/11)^t$, and the factor $t$ costs the rest.

# %% [markdown]
# ## 3. RMSProp: a rate for each coordinate
#
# On the bowl $(1, 25)$ one lr has to serve a steep and a flat coordinate. RMSProp divides the gradient of each
# coordinate by its own typical size: the root of a running average of its squares, which starts at 0.
#
# $$s_t = \alpha\, s_{t-1} + (1 - \alpha)\, g_t^2 \qquad x_t = x_{t-1} - \text{lr} \cdot \frac{g_t}{\sqrt{s_t} + \epsilon}$$
#
# **Worked example.** The gradient is 3 at every step, $\alpha = 0.9$.
#
# | step | 1 | 2 | 3 | ... | ∞ |
# |---|---|---|---|---|---|
# | s | 0.9 | 1.71 | 2.439 | | 9 |
# | length of the step, in lr | 3.16 | 2.29 | 1.92 | | 1 |
#
# A gradient of 3000 gives the same last line. The first steps are too long, because an average that starts at 0 is too
# small at first. With PyTorch's default $\alpha = 0.99$ the first step is 10 lr.
#
# Two options:
#
# * **centered** divides by the root of the variance: the running average of the squares less the square of the running
#   average of the gradients, both with $\alpha$. For a gradient that never changes this goes to 0, and rounding can
#   leave it a little below 0; such a variance counts as 0 and must not become NaN.
# * **momentum** $\mu$ lets the divided gradients $d_t$ accumulate from 0, $b_t = \mu\, b_{t-1} + d_t$, and moves by
#   lr times $b_t$. The first one is not special, and there is no dampening.
#
# **Exercise 3.1** One step. What is not used (`mean` without centered, `buffer` without momentum) comes in as `None`
# and goes out as `None`. All others are arrays, zeros at the first step.

# %% solution="rmsprop_rule"
#| export
def rmsprop_rule(x, grad, square, mean, buffer, *, lr, alpha, eps, momentum=0.0):
    """One step of RMSProp -> (x, square, mean, buffer), new arrays.

    square: running average of grad². mean: that of grad, for the centered variant, or None. buffer: the accumulated
    direction if there is momentum, or None. Source: Hinton 2012 (lecture 6e), Graves 2013 (centered).
    """
    ### BEGIN SOLUTION
    square = alpha * square + (1 - alpha) * grad * grad
    spread = square
    if mean is not None:
        mean = alpha * mean + (1 - alpha) * grad
        spread = np.maximum(square - mean * mean, 0)
    direction = grad / (np.sqrt(spread) + eps)
    if buffer is not None:
        direction = buffer = momentum * buffer + direction
    return x - lr * direction, square, mean, buffer
    ### END SOLUTION


# %% check="rmsprop_rule" points=5
def rmsprop_steps(grads, start, lr=0.1, alpha=0.9, eps=1e-8, momentum=0.0, centered=False):
    """x and state after a step for each row of grads (T, D), from x = start (D,)."""
    zero = np.zeros_like(start)
    x, square, mean, buffer = start, zero, zero if centered else None, zero if momentum else None
    with np.errstate(all="ignore"):
        for grad in grads:
            x, square, mean, buffer = rmsprop_rule(x, grad, square, mean, buffer,
                                                   lr=lr, alpha=alpha, eps=eps, momentum=momentum)
    return x, square, mean, buffer

check("rmsprop_rule", [
    case(np.array([[3.0], [3.0]]), np.array([0.0])),
    case(np.array([[3.0], [1.0]]), np.array([0.0]), momentum=0.5),
    case(np.array([[3.0], [1.0]]), np.array([0.0]), centered=True),
], call=rmsprop_steps)

# %% hidden="rmsprop_rule"
def cases(rng):
    def some(steps, size, **more):
        return case(rng.normal(size=(steps, size)), rng.normal(size=size), lr=float(rng.uniform(0.01, 0.3)),
                    alpha=float(rng.uniform(0.5, 0.99)), **more)

    for steps in (1, 2, 6):
        yield some(steps, int(rng.integers(2, 6)), behaviour="steps divided by the root of the average square")
    for _ in range(3):
        yield some(5, 3, eps=float(rng.uniform(0.1, 1)), behaviour="eps is added to the root")
    for mu in (0.5, 0.9):
        yield some(1, 3, momentum=mu, behaviour="momentum accumulates divided gradients")
        yield some(5, 3, momentum=mu, behaviour="momentum accumulates divided gradients")
    for mu in (0.0, 0.0, 0.8):
        yield some(5, 3, momentum=mu, centered=True, eps=1e-3, behaviour="centered")
    tried = rng.uniform(0.3, 3, size=500)
    square, mean = np.zeros_like(tried), np.zeros_like(tried)
    for _ in range(120):
        square, mean = 0.5 * square + 0.5 * tried * tried, 0.5 * mean + 0.5 * tried
    below = tried[square < mean * mean]  # those for which rounding leaves a variance below 0
    for some_values in (below[:3], below[3:5]):
        yield case(np.tile(some_values, (120, 1)), np.zeros_like(some_values), alpha=0.5, centered=True, eps=1e-3,
                   behaviour="a gradient that never changes, centered")
    edges = "float32, no elements, zero, NaN and infinity"
    yield case(rng.normal(size=(3, 4)).astype("float32"), np.zeros(4, "float32"), momentum=0.5, eps=1e-3,
               behaviour=edges)
    yield case(np.zeros((2, 0)), np.zeros(0), momentum=0.5, centered=True, behaviour=edges)
    yield case(np.array([[0.0, np.nan, 1.0], [0.0, 1.0, np.inf]]), np.ones(3), behaviour=edges)


# %% [markdown]
# ## 4. Adam: averages that are not biased
#
# Adam takes a running average of the gradients, too, and repairs the flaw of the first steps. Both averages start at 0:
#
# $$m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, g_t \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2$$
#
# **Worked example.** The gradient is 3 at every step, $\beta_1 = 0.9$. A fair average of 3, 3, 3 is 3.
#
# | step | 1 | 2 | 3 | 10 | 50 |
# |---|---|---|---|---|---|
# | m | 0.3 | 0.57 | 0.813 | 1.954 | 2.985 |
# | m corrected | 3 | 3 | 3 | 3 | 3 |
#
# $m_t$ is a sum of all gradients so far with falling weights, and the weights do not yet add up to 1: the 0 at the
# start still holds a share. The **corrected** average $\hat m_t$ is the one whose weights do.
#
# **Exercise 4.1** Correct an average after `step` gradients.

# %% solution="unbiased"
def unbiased(average, beta, step):
    """A running average that started at 0, corrected after step gradients -> array. step is 1 after the first."""
    ### BEGIN SOLUTION
    return average / (1 - beta**step)
    ### END SOLUTION


# %% check="unbiased" points=2
check("unbiased", [case(np.array([0.3]), 0.9, 1), case(np.array([0.813]), 0.9, 3)])

# %% hidden="unbiased"
def cases(rng):
    for step in (1, 2, 5, 40):
        yield case(rng.normal(size=3), float(rng.choice([0.5, 0.8, 0.9, 0.95])), step, behaviour="the weights sum to 1")
    for step in (100, 3000):
        yield case(rng.normal(size=(2, 2)), 0.999, step, behaviour="late steps and slow averages")
    yield case(rng.normal(size=3).astype("float32"), 0.9, 2, behaviour="float32, no elements, beta of 0")
    yield case(np.zeros((0, 2)), 0.9, 2, behaviour="float32, no elements, beta of 0")
    yield case(rng.normal(size=3), 0.0, 1, behaviour="float32, no elements, beta of 0")


# %% [markdown]
# Adam's step is lr times $\hat m_t / (\sqrt{\hat v_t} + \epsilon)$. Both corrections happen before the division, and
# $\epsilon$ is added to the root of the corrected average.
#
# **Worked example: the first step.** Then $\hat m_1 = g$ and $\hat v_1 = g^2$, so the step is
# $\text{lr} \cdot g / (|g| + \epsilon)$, with $\epsilon = 10^{-8}$:
#
# | g | 1000 | 0.001 | -5·10⁻⁷ | 10⁻⁸ | 0 |
# |---|---|---|---|---|---|
# | step, in lr | 1 | 0.99999 | -0.98 | 0.5 | 0 |
#
# The size of the gradient has dropped out; its sign remains. This is why one lr of 10⁻³ serves so many models and why
# a wrong gradient of 10⁻⁵ in a weight that should rest still moves it by 10⁻³.
#
# **Exercise 4.2** One step of Adam. `first` and `second` are the averages before it, uncorrected, zeros at the start.
# They go out uncorrected as well.

# %% solution="adam_rule"
#| export
def adam_rule(x, grad, first, second, step, *, lr, betas, eps):
    """One step of Adam -> (x, first, second), new arrays.

    first, second: running averages of grad and grad², uncorrected. step counts from 1. Source: Kingma and Ba 2015.
    """
    ### BEGIN SOLUTION
    beta1, beta2 = betas
    first = beta1 * first + (1 - beta1) * grad
    second = beta2 * second + (1 - beta2) * grad * grad
    root = np.sqrt(second / (1 - beta2**step)) + eps
    return x - lr / (1 - beta1**step) * first / root, first, second
    ### END SOLUTION


# %% check="adam_rule" points=5
def adam_steps(grads, start, lr=0.1, betas=(0.9, 0.999), eps=1e-8, done=0):
    """x and averages after a step for each row of grads (T, D), from x = start (D,), after so many steps before."""
    x, first, second = start, np.zeros_like(start), np.zeros_like(start)
    with np.errstate(all="ignore"):
        for step, grad in enumerate(grads, done + 1):
            x, first, second = adam_rule(x, grad, first, second, step, lr=lr, betas=betas, eps=eps)
    return x, first, second

check("adam_rule", [
    case(np.array([[1000.0, 0.001, -5e-7, 0.0]]), np.zeros(4)),
    case(np.array([[3.0, 1.0], [3.0, -1.0], [3.0, 1.0]]), np.zeros(2)),
], call=adam_steps)

# %% hidden="adam_rule"
def cases(rng):
    def some(steps, size, **more):
        return case(rng.normal(size=(steps, size)) * 10.0 ** rng.integers(-3, 4, size), rng.normal(size=size),
                    lr=float(rng.uniform(0.001, 0.3)), **more)

    for _ in range(3):
        yield some(1, 4, betas=(float(rng.uniform(0.5, 0.95)), float(rng.uniform(0.9, 0.999))),
                   behaviour="the first step has the length lr")
    for steps in (2, 3, 8):
        yield some(steps, 4, betas=(float(rng.uniform(0.5, 0.95)), float(rng.uniform(0.6, 0.999))),
                   behaviour="later steps, both averages corrected")
    for done in (9, 400):
        yield some(3, 3, done=done, betas=(0.8, 0.99), behaviour="averages that start late")
    for _ in range(3):
        yield case(rng.uniform(0.5, 2, size=(4, 3)), np.zeros(3), eps=float(rng.uniform(0.1, 1)), betas=(0.7, 0.9),
                   behaviour="eps is added to the root, after the correction")
    edges = "float32, no elements, zero, NaN and infinity"
    yield case(rng.normal(size=(3, 4)).astype("float32"), np.zeros(4, "float32"), behaviour=edges)
    yield case(np.zeros((2, 0)), np.zeros(0), behaviour=edges)
    yield case(np.array([[0.0, np.nan, 1.0], [0.0, 1.0, np.inf]]), np.ones(3), behaviour=edges)


# %% [markdown]
# Four walks of 40 steps down the bowl $(1, 25)$ from the same start, each with a rate that suits it. The contours are
# lines of equal loss; the minimum is at the cross.

# %% show
import matplotlib.pyplot as plt

curvatures, start, steps = np.array([1.0, 25.0]), np.array([-9.0, 1.6]), 40


def walk(update):
    """Points of a walk: update(x, grad, step, memory) -> x."""
    points, memory = [start], {}
    for step in range(1, steps + 1):
        points.append(update(points[-1], curvatures * points[-1], step, memory))
    return np.array(points)


def ball(x, grad, step, memory):
    memory["v"] = velocity(memory.get("v"), grad, 0.75)
    return x - 0.04 * memory["v"]


def rmsprop(x, grad, step, memory):
    x, memory["s"], _, _ = rmsprop_rule(x, grad, memory.get("s", 0 * x), None, None, lr=0.25, alpha=0.9, eps=1e-8)
    return x


def adam(x, grad, step, memory):
    m, v = memory.get("mv", (0 * x, 0 * x))
    x, *memory["mv"] = adam_rule(x, grad, m, v, step, lr=0.6, betas=(0.9, 0.99), eps=1e-8)
    return x


walks = {
    "gradient descent, lr 0.0769": lambda x, grad, step, memory: x - 2 / 26 * grad,
    "momentum 0.75, lr 0.04": ball,
    "RMSProp, lr 0.25": rmsprop,
    "Adam, lr 0.6": adam,
}
figure, axes = plt.subplots(2, 2, figsize=(10, 5), sharex=True, sharey=True, layout="constrained")
a, b = np.meshgrid(np.linspace(-10, 4, 200), np.linspace(-2.2, 2.2, 100))
for axis, (name, update) in zip(axes.flat, walks.items(), strict=True):
    points = walk(update)
    axis.contour(a, b, (a**2 + 25 * b**2) / 2, levels=np.geomspace(0.3, 100, 9), colors="0.8", linewidths=0.8)
    axis.plot(*points.T, "o-", markersize=3, linewidth=1)
    axis.plot(0, 0, "k+", markersize=10)
    left = np.abs(points[-1]).max()
    axis.set_title(f"{name}: {left:.2g} left after {steps} steps", fontsize=10)
for axis in axes[1]:
    axis.set_xlabel("a, curvature 1")
for axis in axes[:, 0]:
    axis.set_ylabel("b, curvature 25")
plt.show()

# %% [markdown]
# Gradient descent zigzags across the valley. The ball overshoots and arrives first. RMSProp and Adam move both
# coordinates by the same amount in their first step, whatever the curvature. Adam circles before it settles, since a
# gradient that has become small is divided by a root that becomes small as well. A rate that falls ends this: part 8.
#
# ## 5. Weight decay, and where it goes
#
# A penalty $\tfrac{\lambda}{2} x^2$ on every weight adds $\lambda x$ to its gradient. In plain gradient descent this is
# the same as shrinking each weight by the factor $1 - \text{lr} \cdot \lambda$ before the step. In Adam it is not.
#
# **Worked example.** Two weights, both 2.0, lr 0.01, $\lambda = 0.1$. Their gradients are noise around 0 of size 10 and
# of size 0.01, and Adam divides by that size.
#
# | | first weight | second weight |
# |---|---|---|
# | gradient of the penalty, $\lambda x$ | 0.2 | 0.2 |
# | after division: 0.2 / 10 and 0.2 / 0.2 | 0.02 | about 1 |
# | pull of the **coupled** decay a step, in lr | 0.02 | about 1 |
# | pull of the **decoupled** decay a step, in lr: $\lambda x$ | 0.2 | 0.2 |
#
# Coupled, the weight that moves most is held back least, and the second one is pulled at full speed however small
# $\lambda$ is. Decoupled, the pull does not pass through the division: the weight itself shrinks, and the averages
# never see it. That is all that the W in AdamW stands for.
#
# **Exercise 5.1** Both kinds in one function that runs before any rule. It returns the weights from which the rule
# starts and the gradient that it is given.

# %% solution="decay"
#| export
def decay(x, grad, *, lr, weight_decay, decoupled):
    """Weight decay before a step -> (x, grad), as the rule is to see them.

    Coupled: as if weight_decay / 2 times the sum of x² were added to the loss. Decoupled: the weights shrink first.
    Source: Loshchilov and Hutter 2019.
    """
    ### BEGIN SOLUTION
    if decoupled:
        return x - lr * weight_decay * x, grad
    return x, grad + weight_decay * x
    ### END SOLUTION


# %% check="decay" points=3
check("decay", [
    case(np.array([2.0, -2.0]), np.array([10.0, 0.01]), lr=0.01, weight_decay=0.1, decoupled=False),
    case(np.array([2.0, -2.0]), np.array([10.0, 0.01]), lr=0.01, weight_decay=0.1, decoupled=True),
])

# %% hidden="decay"
def cases(rng):
    def some(decoupled, behaviour, dtype="float64", shape=(3, 2), weight_decay=None):
        x, grad = (rng.normal(size=shape).astype(dtype) for _ in range(2))
        lam = float(rng.uniform(0.01, 0.5)) if weight_decay is None else weight_decay
        return case(x, grad, lr=float(rng.uniform(0.01, 0.9)), weight_decay=lam, decoupled=decoupled,
                    behaviour=behaviour)

    for _ in range(3):
        yield some(False, "coupled: through the gradient")
    for _ in range(3):
        yield some(True, "decoupled: past the gradient")
    for kind in (True, False):
        yield some(kind, "float32, no elements, no decay", dtype="float32")
        yield some(kind, "float32, no elements, no decay", shape=(0, 2))
        yield some(kind, "float32, no elements, no decay", weight_decay=0.0)


# %% [markdown]
# The table, measured: 1500 steps on pure noise, with weights that start at 2. Decoupled decay alone would leave
# $2 \cdot (1 - 0.001)^{1500} \approx 0.45$.

# %% show
noise = np.random.default_rng(1).normal(size=(1500, 2)) * [10, 0.01]
for decoupled in (False, True):
    x, m, v = np.full(2, 2.0), np.zeros(2), np.zeros(2)
    for step, grad in enumerate(noise, 1):
        x, grad = decay(x, grad, lr=0.01, weight_decay=0.1, decoupled=decoupled)
        x, m, v = adam_rule(x, grad, m, v, step, lr=0.01, betas=(0.9, 0.999), eps=1e-8)
    print("decoupled" if decoupled else "coupled  ", "noise 10: {:6.3f}   noise 0.01: {:6.3f}".format(*x))

# %% [markdown]
# ## 6. Parameter groups
#
# The layers of a model need not share their hyperparameters: biases are often left without decay, a pretrained part
# gets a smaller rate. So an optimizer keeps a list of **groups**. A group is a dict with the list `params` and a value
# for every hyperparameter; what the user does not say comes from the defaults.
#
# ```python
# AdamW([{"params": weights}, {"params": biases, "weight_decay": 0.0}], lr=1e-3)
# ```
#
# Three mistakes happen so often that the constructor has to catch them: a tensor that is no parameter, a parameter in
# two groups (it would be updated twice), and a hyperparameter whose name is misspelt (it would be ignored).
#
# **Exercise 6.1** Complete one group. `params` in the given dict may be a single tensor or anything that yields
# tensors, a generator included. Neither `group` nor `defaults` is changed. What must be refused, where
# the first row that applies to a parameter decides:
#
# | what | error | the message says |
# |---|---|---|
# | a key that is neither `params` nor in the defaults | `ValueError` | the key, and the nearest one that there is |
# | no parameter at all | `ValueError` | that the list is empty |
# | something that is no `Tensor` | `TypeError` | its type and its position in the list |
# | a tensor of integers or bools | `DTypeError` | its dtype and its position |
# | a tensor without `requires_grad`, or with a `grad_fn` (the result of an operation) | `ValueError` | its position |
# | a parameter twice, in this list or among `held` | `ValueError` | its position |
#
# Two parameters with equal values are two parameters. Mind what `==` and `in` do with tensors; `is` and `id` ask
# whether two names mean one object. `difflib.get_close_matches` finds nearest names.

# %% solution="param_group"
#| export
def param_group(group, defaults, held=()):
    """A complete parameter group -> new dict with "params", a list, and a value for each key of defaults.

    group: a dict with "params" (a tensor or an iterable of them) and any of the keys of defaults. held: parameters that
    the optimizer has already. Raises ValueError, TypeError or DTypeError, with key or position in the message.
    """
    ### BEGIN SOLUTION
    for key in group:
        if key not in defaults and key != "params":
            near = difflib.get_close_matches(str(key), defaults, 1, cutoff=0)
            raise ValueError(f"unknown key {key!r} in a parameter group; the nearest is {near[0]!r}, "
                             f"all are {', '.join(['params', *defaults])}")
    params = group.get("params", [])
    params = [params] if isinstance(params, Tensor) else list(params)
    if not params:
        raise ValueError("the parameter list is empty: pass model.parameters(), and a new generator each time")
    seen = {id(p) for p in held}
    for position, p in enumerate(params):
        if not isinstance(p, Tensor):
            raise TypeError(f"parameter {position} is a {type(p).__name__}, wanted a Tensor")
        if p.dtype.kind != "f":
            raise DTypeError(f"parameter {position} has dtype {p.dtype}: only floats can follow a gradient")
        if p.grad_fn is not None or not p.requires_grad:
            why = "is the result of an operation" if p.grad_fn is not None else "does not require a gradient"
            raise ValueError(f"parameter {position}, of shape {p.shape}, {why}: wanted a leaf with requires_grad=True")
        if id(p) in seen:
            raise ValueError(f"parameter {position}, of shape {p.shape}, is there twice: it would be updated twice")
        seen.add(id(p))
    return {"params": params} | {key: group.get(key, value) for key, value in defaults.items()}
    ### END SOLUTION


# %% check="param_group" points=5
def parameters_of(kinds):
    """Tensors by name: a leaf unless the name says something else; one that is named twice is one tensor."""
    made = {}
    for kind in kinds:
        tensor = Tensor(np.ones((2, 3)), "int64" if kind == "integers" else "float32")
        tensor.requires_grad = kind not in ("plain", "result", "integers")
        tensor.grad_fn = "Mul" if kind == "result" else None
        made.setdefault(kind, {"array": np.ones(3), "pair": ("weight", tensor)}.get(kind, tensor))
    return made

def grouped(kinds, held=(), generator=False, single=False, says=(), **options):
    made = parameters_of([*kinds, *held])
    wanted = [made[kind] for kind in kinds]
    given = (p for p in wanted) if generator else wanted[0] if single else wanted
    group, defaults = {"params": given, **options}, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0}
    try:
        out = param_group(group, defaults, [made[kind] for kind in held])
    except (TypeError, ValueError) as error:
        return {"error": type(error).__name__, "says": [word in str(error) for word in says]}
    return {
        "options": {key: value for key, value in out.items() if key != "params"},
        "the same tensors, in a list": type(out["params"]) is list
        and [id(p) for p in out["params"]] == [id(p) for p in wanted],
        "arguments as before": out is not group and group["params"] is given and len(defaults) == 3
        and group.keys() == {"params", *options},
    }

check("param_group", [
    case(["a", "b"], momentum=0.5),
    case(["a", "b"], ["c", "b"], says=["1"]),
    case(["a"], moment=0.5, says=["moment", "momentum"]),
    case(["a", "array"], says=["1", "ndarray"]),
], call=grouped)

# %% hidden="param_group"
def cases(rng):
    def number():
        return float(rng.uniform(0, 1))

    core = "options from the group, the rest from the defaults"
    yield case(["a", "b", "c"], ["d"], behaviour=core)
    yield case(["a", "b"], lr=number(), weight_decay=number(), behaviour=core)
    yield case(["a"], momentum=0.0, behaviour=core)
    yield case(["a", "b"], generator=True, lr=number(), behaviour="a generator, a single tensor")
    yield case(["a"], single=True, behaviour="a generator, a single tensor")
    for kinds, held in ((["a", "b", "c", "b"], []), (["a", "a"], ["b"]), (["a", "b", "c"], ["d", "c"])):
        at = str(max(k for k, kind in enumerate(kinds) if kind in kinds[:k] or kind in held))
        yield case(kinds, held, says=[at], behaviour="a parameter twice is refused")
    for wrong, near in (("learning_rate", None), ("momentums", "momentum"), ("weightdecay", "weight_decay")):
        yield case(["a"], says=[wrong] + ([near] if near else []), behaviour="an unknown key is refused",
                   **{wrong: number()})
    for kind, word in (("array", "ndarray"), ("pair", "tuple"), ("integers", "int64"), ("plain", ""), ("result", "")):
        at = int(rng.integers(0, 3))
        kinds = ["a", "b", "c"][:at] + [kind] + ["d"]
        yield case(kinds, says=[str(at), word], behaviour="what is no parameter is refused")
    yield case([], says=["empty"], behaviour="an empty list is refused")
    yield case([], generator=True, says=["empty"], behaviour="an empty list is refused")


# %% [markdown]
# **From a rule to a step.** A rule such as `adam_rule` makes about a dozen temporary arrays, each as long as the
# parameter. For a weight of 100 MB none of them fits into the processor's cache, and each travels to memory and back.
# But every element goes its own way: the rule can be applied to a few thousand elements, then to the next few thousand,
# and the temporaries are small enough to stay in the cache. You will measure what that is worth.
#
# **Exercise 6.2** Apply a rule in blocks. `arrays` are x, grad and then the arrays of state, all of one shape and on
# any strides. The rule gets the same stretch of each as flat arrays of at most `size` elements, in row-major order, and
# returns a tuple of new values: for x and for each array of state, not for grad. They are written into the arrays
# themselves, `grad` stays as it is, and each element takes part in exactly one call. Arrays in float16 are handed to
# the rule in float32 and rounded when they are written. If there is no element, the rule need not be called.
#
# **Worked example.** x and grad have shape (2, 5), there is one array of state, `size` is 4. The rule is called three
# times, with three arrays of 4, 4 and 2 elements, and returns two arrays each time. For arrays that are not contiguous,
# `a.flat[start:stop]` reads such a stretch, and can be assigned to.

# %% solution="in_blocks"
#| export
def in_blocks(rule, arrays, size=32768):
    """Apply an elementwise rule in place, at most size elements at a time.

    arrays: x, grad and any number of state arrays, of one shape, on any strides. rule takes one flat array for each and
    returns the new x and state arrays; float16 is computed in float32. Temporaries of the rule stay in the cache.
    """
    ### BEGIN SOLUTION
    flat = [a.reshape(-1) if a.flags.c_contiguous else a.flat for a in arrays]
    written = [flat[0], *flat[2:]]
    for start in range(0, arrays[0].size, size):
        part = slice(start, start + size)
        blocks = [a[part] for a in flat]
        blocks = [b.astype(float32) if b.dtype == float16 else b for b in blocks]
        for target, values in zip(written, rule(*blocks), strict=True):
            target[part] = values
    ### END SOLUTION


# %% check="in_blocks" points=5
def seen_by(view, array):
    """An array on other strides with the same values."""
    if view == "transposed":
        return np.array(array.T, order="C").T
    if view == "every second":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    return array[::-1].copy()[::-1] if view == "reversed" else array.copy()

def blocked(x, grad, states, size, view=None, grad_view=None):
    """Arrays after in_blocks with a rule that uses every argument, and what the rule was given."""
    calls, kinds = [], []

    def rule(x, grad, *states):
        calls.append([b.size for b in (x, grad, *states)])
        kinds.extend([(b.ndim, b.dtype.name) for b in (x, grad, *states) if b.size])
        states = tuple((k + 2) / 8 * s + grad / 3 for k, s in enumerate(states))
        return (x - 0.1 * grad - sum(s / 7 for s in states), *states)

    arrays = [seen_by(view, x), seen_by(grad_view or view, grad), *(seen_by(view, s) for s in states)]
    in_blocks(rule, arrays, size)
    return {
        "arrays": [np.array(a) for a in arrays],
        "blocks of one length": all(len(set(call)) == 1 for call in calls),
        "longest block": max((max(call) for call in calls), default=0) <= size,
        "elements in all calls": sum(call[0] for call in calls),
        "axes and dtypes": sorted(set(kinds)),
    }

check("in_blocks", [
    case(np.arange(10.0).reshape(2, 5), np.ones((2, 5)), [np.zeros((2, 5))], 4),
    case(np.arange(6.0).reshape(2, 3), np.ones((2, 3)), [], 6, view="transposed"),
], call=blocked)

# %% hidden="in_blocks"
def cases(rng):
    def some(shape, states, size, behaviour, dtype="float64", **more):
        x, grad, *s = (rng.normal(size=shape).astype(dtype) for _ in range(2 + states))
        return case(x, grad, s, size, behaviour=behaviour, **more)

    for states in (0, 1, 2, 3):
        yield some((int(rng.integers(2, 5)), 6), states, 3, "every array is updated, block by block")
    for n, size in ((11, 4), (13, 13), (3, 8), (9, 8), (7, 1)):
        yield some((n,), 1, size, "a last block that is shorter")
    for view in ("transposed", "every second", "reversed"):
        yield some((3, 4), 2, 5, "strided arrays", view=view)
        yield some((4, 3), 1, 5, "strided arrays", grad_view=view)
    yield some((5, 3), 2, 4, "float16 is computed in float32", dtype="float16")
    yield some((5, 3), 1, 4, "float16 is computed in float32", dtype="float16", view="transposed")
    yield some((5, 3), 1, 4, "no elements, no axes, float32", dtype="float32")
    yield some((0, 3), 1, 4, "no elements, no axes, float32")
    yield some((), 2, 4, "no elements, no axes, float32")


# %% [markdown]
# The classes are given. `Optimizer.step` looks at every parameter: one without a gradient is skipped, and its count of
# steps does not advance, for the bias correction of Adam has to know how many gradients **this** parameter has seen.
# The state lives beside the parameter as tensors of its dtype, made when its first gradient arrives. Autograd refuses a
# write to a leaf that requires a gradient; `step` writes through `numpy()`, past the engine, and therefore counts the
# write in `storage.version` itself.
#
# A rule of your own needs a subclass with two methods: `slots` names its arrays of state, `rule` returns the new
# values. Find in the cells below which function of yours is called where.

# %%
#| export
def check_number(group, name, low=0.0, high=math.inf):
    """Make group[name] a float in [low, high). Raises TypeError or ValueError with the name in the message."""
    value = group[name]
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is a number, got {value!r} of type {type(value).__name__}")
    if not low <= value < high:
        raise ValueError(f"{name} must be in [{low:g}, {high:g}), got {value!r}")
    group[name] = float(value)


class Optimizer:
    """Parameters in groups, their state, and one step.

    params: tensors, or dicts that are completed with defaults. param_groups: list of dicts with "params" and
    hyperparameters, which may be changed between steps. state: parameter -> {"step": int, name: Tensor}. A subclass
    says in slots(group) which arrays of state there are, and in rule(...) what a step does; check(group) refuses
    hyperparameters that make no sense.

    Raises ValueError, TypeError or DTypeError for parameters and hyperparameters that do not fit.
    """

    decoupled = False

    def __init__(self, params, defaults):
        if isinstance(params, Tensor | dict):
            raise TypeError(f"params is a list of tensors or dicts, got one {type(params).__name__}: put it in a list")
        self.defaults, self.param_groups, self.state = dict(defaults), [], {}
        groups = list(params)
        for group in groups if groups and isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, group):
        """Add one dict with "params" and any hyperparameters; the others take their defaults."""
        if not isinstance(group, dict):
            raise TypeError(f"a parameter group is a dict, got {type(group).__name__}")
        group = param_group(group, self.defaults, [p for g in self.param_groups for p in g["params"]])
        self.check(group)
        self.param_groups.append(group)

    def check(self, group):
        check_number(group, "lr")
        check_number(group, "weight_decay")

    def slots(self, group):
        """Names of the arrays of state that a parameter of this group has."""
        return ()

    def rule(self, x, grad, slots, step, group):
        """New values for x and each of slots, flat arrays. step counts from 1; slots hold None before their first."""
        raise NotImplementedError(f"{type(self).__name__} has no rule")

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self):
        """Update every parameter that has a gradient, in place."""
        todo = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for p, _ in todo:
            if p.grad.shape != p.shape:
                raise ShapeError(f"a gradient of shape {p.grad.shape} for a parameter of shape {p.shape}")
            if overlaps(p.layout):
                raise OverlapError(f"a parameter of shape {p.shape} with strides {p.strides}: elements share a place")
        with np.errstate(all="ignore"):
            for p, group in todo:
                self._update(p, group)

    def _update(self, p, group):
        state = self.state.setdefault(p, {"step": 0})
        state["step"] = step = state["step"] + 1
        names = self.slots(group)
        known = [name in state for name in names]
        for name, old in zip(names, known, strict=True):
            if not old:
                state[name] = zeros(p.shape, p.dtype)

        def rule(x, grad, *slots):
            if group["weight_decay"]:
                x, grad = decay(x, grad, lr=group["lr"], weight_decay=group["weight_decay"], decoupled=self.decoupled)
            slots = tuple(slot if old else None for slot, old in zip(slots, known, strict=True))
            return self.rule(x, grad, slots, step, group)

        arrays = [p.numpy(), p.grad.numpy(), *(state[name].numpy() for name in names)]
        if not native_step(self, group, step, known, arrays):  # by a compiled kernel, if there is one
            in_blocks(rule, arrays)
        p.storage.version += 1

    def state_dict(self):
        """State and groups as plain data and arrays, parameters by position: {"state": ..., "param_groups": ...}."""
        return pack(self.param_groups, self.state)

    def load_state_dict(self, saved):
        """Go on from what state_dict returned. What does not fit is a ValueError or ShapeError and changes nothing."""
        groups, state = unpack(saved, self.param_groups)
        for group in groups:
            self.check(group)
        self.param_groups, self.state = groups, state

    def __repr__(self):
        lines = []
        for k, group in enumerate(self.param_groups):
            options = ", ".join(f"{name}={value!r}" for name, value in group.items() if name != "params")
            elements = sum(p.numel() for p in group["params"])
            lines.append(f"  group {k}: {elements:,} elements in {len(group['params'])} tensors, {options}")
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


# %%
#| export
class SGD(Optimizer):
    """Stochastic gradient descent with momentum, dampening, Nesterov's variant and weight decay.

    Formulas as in torch.optim.SGD. State: momentum_buffer, if there is momentum.
    """

    def __init__(self, params, lr, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "nesterov": nesterov,
                                  "weight_decay": weight_decay})

    def check(self, group):
        super().check(group)
        check_number(group, "momentum")
        check_number(group, "dampening")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(f"nesterov wants momentum > 0 and dampening 0, got momentum={group['momentum']} and "
                             f"dampening={group['dampening']}")

    def slots(self, group):
        return ("momentum_buffer",) if group["momentum"] else ()

    def rule(self, x, grad, slots, step, group):
        if not slots:
            return (x - group["lr"] * grad,)
        buffer = velocity(slots[0], grad, group["momentum"], group["dampening"])
        direction = look_ahead(grad, buffer, group["momentum"]) if group["nesterov"] else buffer
        return x - group["lr"] * direction, buffer


class RMSProp(Optimizer):
    """A rate for each element: the gradient divided by the root of a running average of its square.

    Formulas as in torch.optim.RMSprop. State: square_avg, with momentum momentum_buffer, centered grad_avg.
    """

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, momentum=0.0, centered=False, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "momentum": momentum, "centered": centered,
                                  "weight_decay": weight_decay})

    def check(self, group):
        super().check(group)
        check_number(group, "alpha", 0, 1)
        check_number(group, "eps")
        check_number(group, "momentum")

    def slots(self, group):
        used = {"square_avg": True, "grad_avg": group["centered"], "momentum_buffer": group["momentum"]}
        return tuple(name for name, use in used.items() if use)

    def rule(self, x, grad, slots, step, group):
        names = self.slots(group)
        have = {name: np.zeros_like(x) if slot is None else slot for name, slot in zip(names, slots, strict=True)}
        x, *new = rmsprop_rule(x, grad, have["square_avg"], have.get("grad_avg"), have.get("momentum_buffer"),
                               lr=group["lr"], alpha=group["alpha"], eps=group["eps"], momentum=group["momentum"])
        return x, *(slot for slot in new if slot is not None)


class Adam(Optimizer):
    """Running averages of gradient and square, both corrected for their start at zero; weight decay is coupled.

    Formulas as in torch.optim.Adam. State: exp_avg, exp_avg_sq.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def check(self, group):
        super().check(group)
        check_number(group, "eps")
        betas = group["betas"]
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise TypeError(f"betas is a pair of numbers, got {betas!r}")
        named = {"betas[0]": betas[0], "betas[1]": betas[1]}
        for name in named:
            check_number(named, name, 0, 1)
        group["betas"] = tuple(named.values())

    def slots(self, group):
        return "exp_avg", "exp_avg_sq"

    def rule(self, x, grad, slots, step, group):
        first, second = (np.zeros_like(x) if slot is None else slot for slot in slots)
        return adam_rule(x, grad, first, second, step, lr=group["lr"], betas=group["betas"], eps=group["eps"])


class AdamW(Adam):
    """Adam with decoupled weight decay. Formulas as in torch.optim.AdamW."""

    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr, betas, eps, weight_decay)


# %% [markdown]
# Two groups at work, and what the constructor refuses.

# %% show
def leaf(data, grad=None, dtype=None):
    """A tensor that requires a gradient, with the gradient that autograd would have left on it."""
    tensor = Tensor(np.asarray(data, float), dtype or "float32")
    tensor.requires_grad = True
    tensor.grad = None if grad is None else Tensor(np.asarray(grad, float), tensor.dtype)
    return tensor


weight, bias, unused = leaf([[1.0, 2.0]], [[1000.0, 0.001]]), leaf([0.5], [-3.0]), leaf([9.0])
optimizer = AdamW([{"params": [weight, unused]}, {"params": bias, "weight_decay": 0.0, "lr": 0.1}], lr=0.01)
print(optimizer)
optimizer.step()
print("weight", weight.tolist(), " bias", bias.tolist(), " unused", unused.tolist())
print("state kept for", len(optimizer.state), "of 3 parameters")

x = leaf([1.0])
for attempt in (lambda: SGD([], 0.1), lambda: SGD([Tensor([1.0])], 0.1), lambda: SGD([x, x], 0.1),
                lambda: SGD([("weight", x)], 0.1), lambda: SGD([{"params": x, "momentun": 0.9}], 0.1),
                lambda: SGD([x], lr="0.1"), lambda: SGD([x], -0.1), lambda: Adam([x], betas=(0.9, 1.0)),
                lambda: SGD([x], 0.1, nesterov=True), lambda: SGD(x, 0.1)):
    try:
        attempt()
    except (TypeError, ValueError) as error:
        print(f"{type(error).__name__:11}{error}")

# %% [markdown]
# ## 7. State that survives the process
#
# A run of three weeks is interrupted. Whoever stores the weights alone restarts Adam with averages of zero and `step` 1,
# and its first step has the length lr in every coordinate. `state_dict` therefore holds everything that `step` reads. It
# has two difficulties: a file cannot hold "this very tensor", and a state that was saved must not change when training
# goes on.
#
# So parameters become **positions**, counted through all groups: with groups of two and one parameters, the third has
# the position 2. And arrays are copies.
#
# ```python
# {"state": {0: {"step": 7, "exp_avg": array, "exp_avg_sq": array}, 2: {...}},
#  "param_groups": [{"lr": 0.01, ..., "params": [0, 1]}, {"lr": 0.1, ..., "params": [2]}]}
# ```
#
# A parameter that has seen no gradient has no entry, as position 1 above. Beside numbers, a parameter's state may hold
# tensors of its own shape only.
#
# **Exercise 7.1** Pack groups and state in this form, tensors as NumPy arrays.
#
# **Exercise 7.2** And back, for an optimizer that was built anew: from the saved dict and its own groups make new
# groups (saved hyperparameters, own parameters) and a new state (keyed by parameter; arrays become tensors, copied, in
# the parameter's dtype). Positions may come as text, for JSON knows no other keys. A checkpoint of another model should
# be refused before it does harm:
#
# | what | error | the message says |
# |---|---|---|
# | another number of groups, or of parameters in a group | `ValueError` | both numbers |
# | other hyperparameters in a group than the optimizer has | `ValueError` | the names that are missing or too many |
# | state for a position that no parameter has | `ValueError` | the position |
# | an array of another shape than its parameter | `ShapeError` | both shapes and the position |
#
# The key `initial_lr`, in which schedules note their start, may be in a saved group or not.

# %%
def groups_of(shapes, options, dtype="float64"):
    """Groups with parameters of these shapes, one list of shapes for each group."""
    groups = [{"params": [Tensor(np.zeros(shape), dtype) for shape in some], **more}
              for some, more in zip(shapes, options, strict=True)]
    return groups, [p for group in groups for p in group["params"]]


# %% solution="pack"
#| export
def pack(param_groups, state):
    """Groups and state of an optimizer as plain data and arrays, none of them shared with it -> dict.

    {"state": {position: {"step": int, name: array}}, "param_groups": [hyperparameters and "params": positions]}
    """
    ### BEGIN SOLUTION
    params = [p for group in param_groups for p in group["params"]]
    position = {id(p): k for k, p in enumerate(params)}
    return {
        "state": {position[id(p)]: {name: np.array(value) if isinstance(value, Tensor) else value
                                    for name, value in kept.items()} for p, kept in state.items()},
        "param_groups": [group | {"params": [position[id(p)] for p in group["params"]]} for group in param_groups],
    }
    ### END SOLUTION


# %% check="pack" points=3
def packed(shapes, options, states):
    """What pack makes; then the optimizer goes on, and the result must not."""
    groups, params = groups_of(shapes, options)
    state = {params[int(k)]: {name: Tensor(v) if isinstance(v, np.ndarray) else v for name, v in kept.items()}
             for k, kept in states.items()}
    out = pack(groups, state)
    for kept in state.values():
        kept["step"] += 1
        for value in kept.values():
            if isinstance(value, Tensor):
                value.fill_(7)
    for group in groups:
        group["lr"] = -1.0
    return out

check("pack", [
    case([[(2,), (3,)], [(2, 2)]], [{"lr": 0.01}, {"lr": 0.1}],
         {"0": {"step": 7, "exp_avg": np.array([1.0, 2.0])}, "2": {"step": 3, "exp_avg": np.ones((2, 2))}}),
], call=packed)

# %% hidden="pack"
def cases(rng):
    def some(shapes, known, names, behaviour, dtype="float64"):
        flat = [shape for group in shapes for shape in group]
        states = {str(k): {"step": int(rng.integers(1, 99)),
                           **{name: rng.normal(size=flat[k]).astype(dtype) for name in names}} for k in known}
        options = [{"lr": float(rng.uniform(0, 1)), "betas": (0.9, float(rng.uniform(0.9, 1)))} for _ in shapes]
        return case(shapes, options, states, behaviour=behaviour)

    yield some([[(2,), (3, 2)]], [0, 1], ["exp_avg", "exp_avg_sq"], "state by position, values that stay")
    yield some([[(3,)]], [0], ["momentum_buffer"], "state by position, values that stay")
    yield some([[(2,), (2,)], [(2,), (2,), (2,)]], [0, 1, 2, 3, 4], ["a"], "several groups, equal parameters")
    yield some([[(2,)], [(2,)], [(2,)]], [0, 1, 2], ["a", "b"], "several groups, equal parameters")
    yield some([[(2,), (3,)], [(4,), (5,)]], [3, 1], ["a"], "parameters without state")
    yield some([[(2,), (3,)]], [], ["a"], "parameters without state")
    yield some([[(2,), ()], [(0, 3)]], [0, 1, 2], [], "no arrays, no elements, float16")
    yield some([[(2,), ()], [(0, 3)]], [0, 1, 2], ["a"], "no arrays, no elements, float16", dtype="float16")


# %% solution="unpack"
#| export
def unpack(saved, param_groups):
    """What pack made, for an optimizer with these groups -> (new groups, new state).

    Arrays become tensors in the parameter's dtype, nothing is shared with saved. Raises ValueError for groups,
    hyperparameters or positions that do not fit, ShapeError for arrays that do not.
    """
    ### BEGIN SOLUTION
    if len(saved["param_groups"]) != len(param_groups):
        raise ValueError(f"the saved state has {len(saved['param_groups'])} parameter groups, this optimizer has "
                         f"{len(param_groups)}")
    groups = []
    for k, (old, own) in enumerate(zip(saved["param_groups"], param_groups, strict=True)):
        if len(old["params"]) != len(own["params"]):
            raise ValueError(f"group {k} was saved with {len(old['params'])} parameters, here it has "
                             f"{len(own['params'])}")
        differ = sorted((old.keys() ^ own.keys()) - {"initial_lr"})
        if differ:
            raise ValueError(f"group {k} was saved by another optimizer: {', '.join(differ)} "
                             "is in only one of the two")
        groups.append(old | {"params": list(own["params"])})
    places = {int(k): p for old, own in zip(saved["param_groups"], groups, strict=True)
              for k, p in zip(old["params"], own["params"], strict=True)}
    state = {}
    for key, kept in saved["state"].items():
        p = places.get(int(key))
        if p is None:
            raise ValueError(f"the saved state has an entry for parameter {key}, there are {len(places)} parameters")
        for name, value in kept.items():
            if isinstance(value, np.ndarray) and value.shape != p.shape:
                raise ShapeError(f"{name} of parameter {key} was saved with shape {value.shape}, "
                                 f"the parameter has {p.shape}")
        state[p] = {name: Tensor(value, p.dtype) if isinstance(value, np.ndarray) else value
                    for name, value in kept.items()}
    return groups, state
    ### END SOLUTION


# %% check="unpack" points=5
def unpacked(saved_groups, saved_state, shapes, options, dtype="float64", says=()):
    """Groups and state as plain data again, after what was saved has been overwritten."""
    saved = {"param_groups": [dict(group) for group in saved_groups],
             "state": {k: {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in kept.items()}
                       for k, kept in saved_state.items()}}
    groups, params = groups_of(shapes, options, dtype)
    before = [dict(group) for group in groups]
    try:
        new_groups, state = unpack(saved, groups)
    except (TypeError, ValueError) as error:
        return {"error": type(error).__name__, "says": [word in str(error) for word in says]}
    for kept in saved["state"].values():
        for value in kept.values():
            if isinstance(value, np.ndarray):
                value.fill(7)
    number = {id(p): k for k, p in enumerate(params)}
    return {
        "groups": [{key: value for key, value in group.items() if key != "params"} for group in new_groups],
        "params": [[number.get(id(p)) for p in group["params"]] for group in new_groups],
        "state": {number[id(p)]: dict(kept) for p, kept in state.items()},
        "own groups as before": [group.keys() == old.keys() and all(group[key] is old[key] for key in old)
                                 for group, old in zip(groups, before, strict=True)],
    }

check("unpack", [
    case([{"lr": 0.5, "params": [0, 1]}], {1: {"step": 7, "exp_avg": np.array([1.0, 2.0])}},
         [[(3,), (2,)]], [{"lr": 0.1}]),
    case([{"lr": 0.5, "params": [0]}], {0: {"step": 7, "exp_avg": np.ones(3)}}, [[(2, 2)]], [{"lr": 0.1}],
         says=["(3,)", "(2, 2)", "0"]),
    case([{"lr": 0.5, "betas": (0.9, 0.99), "params": [0]}], {}, [[(2,)]], [{"lr": 0.1, "momentum": 0.9}],
         says=["betas", "momentum"]),
], call=unpacked)

# %% hidden="unpack"
def cases(rng):
    def number():
        return float(rng.uniform(0, 1))

    def saved(shapes, known, text=False, dtype="float64", **more):
        flat = [shape for group in shapes for shape in group]
        groups, at = [], 0
        for some in shapes:
            groups.append({"lr": number(), "eps": number(), **more, "params": list(range(at, at + len(some)))})
            at += len(some)
        state = {str(k) if text else k: {"step": int(rng.integers(1, 99)), "a": rng.normal(size=flat[k]).astype(dtype)}
                 for k in known}
        return groups, state

    own = {"lr": 0.1, "eps": 0.2}
    core = "hyperparameters and state come back to the right parameters"
    for shapes, known in (([[(2,), (3, 2)]], [0, 1]), ([[(2,), (2,)]], [1]), ([[(2,)], [(2,), (2,)]], [2, 0])):
        yield case(*saved(shapes, known), shapes, [own] * len(shapes), behaviour=core)
    shapes = [[(2,), (3,)], [(0, 2), ()]]
    for kept in ("float16", "float32"):
        yield case(*saved(shapes, [0, 1, 2, 3]), shapes, [own] * 2, kept,
                   behaviour="the dtype of the parameter, keys as text, initial_lr")
    yield case(*saved(shapes, [1, 3], text=True), shapes, [own] * 2,
               behaviour="the dtype of the parameter, keys as text, initial_lr")
    yield case(*saved(shapes, [1], initial_lr=number()), shapes, [own] * 2,
               behaviour="the dtype of the parameter, keys as text, initial_lr")
    yield case(*saved(shapes, [1]), shapes, [own | {"initial_lr": 0.1}] * 2,
               behaviour="the dtype of the parameter, keys as text, initial_lr")
    counts = "other numbers of groups and parameters are refused"
    yield case(*saved([[(2,)], [(2,)]], [0]), [[(2,)]], [own], says=["1", "2"], behaviour=counts)
    yield case(*saved([[(2,)]], [0]), [[(2,)], [(3,)]], [own] * 2, says=["1", "2"], behaviour=counts)
    yield case(*saved([[(2,), (2,)]], [0]), [[(2,), (2,), (3,)]], [own], says=["2", "3"], behaviour=counts)
    yield case(*saved([[(2,), (2,), (3,)]], [0]), [[(2,), (2,)]], [own], says=["3", "2"], behaviour=counts)
    names = "other hyperparameters are refused"
    yield case(*saved([[(2,)]], [0], nesterov=True), [[(2,)]], [own], says=["nesterov"], behaviour=names)
    yield case(*saved([[(2,)]], [0]), [[(2,)]], [own | {"alpha": 0.9}], says=["alpha"], behaviour=names)
    wrong = "state that fits no parameter is refused"
    groups, state = saved([[(2,), (3,)]], [0])
    yield case(groups, {5: state[0]}, [[(2,), (3,)]], [own], says=["5"], behaviour=wrong)
    for other in ((3, 2), (6,), (1,), ()):
        yield case(*saved([[(2,), other]], [1]), [[(2,), (2, 3)]], [own], says=[str(other), "(2, 3)", "1"],
                   behaviour=wrong)


# %% [markdown]
# A run that is interrupted after 5 of 10 steps, three ways. The gradients are the same for all.

# %% show
def run(optimizer, weight, gradients):
    for grad in gradients:
        weight.grad = Tensor(grad, weight.dtype)
        optimizer.step()
    return weight.numpy().copy()


gradients = np.random.default_rng(2).normal(1, 2, size=(10, 3))
weight = leaf(np.ones(3))
straight = run(Adam([weight], lr=0.01), weight, gradients)
first = leaf(np.ones(3))
adam = Adam([first], lr=0.01)
run(adam, first, gradients[:5])
for keep in (True, False):
    second = leaf(first.numpy())
    resumed = Adam([second], lr=0.01)
    if keep:
        resumed.load_state_dict(adam.state_dict())
    off = np.abs(run(resumed, second, gradients[5:]) - straight).max()
    how = "with its state:" if keep else "with weights only:"
    print("resumed", how, f"off by {off / 0.01:.3g} lr after 5 more steps")

# %% [markdown]
# ## 8. Schedules: the rate as a function of time
#
# A constant rate is a compromise between the start, where steps should be long, and the end, where noise should die
# out. A schedule is a function of the number $n$ of steps taken so far. Written as a **closed form**, a formula in $n$
# and the base rate, it can be plotted before training and resumed at any $n$; written as "multiply the rate by 0.9
# now", it can do neither and gathers rounding errors.
#
# **Exercise 8.1** Every `step_size` steps the rate is multiplied by `gamma`. Base 1, step_size 3, gamma 0.5:
#
# | n | 0 | 1 | 2 | 3 | 5 | 6 | 9 |
# |---|---|---|---|---|---|---|---|
# | rate | 1 | 1 | 1 | 0.5 | 0.5 | 0.25 | 0.125 |
#
# **Exercise 8.2** Warm-up on a straight line, then half a cosine from the base rate down to `min_lr`, where it stays.
# The first update must not be wasted on a rate of 0: the line would be 0 at $n = -1$, and it meets the base rate at $n$
# = `warmup_steps`. `total_steps` is larger than `warmup_steps`. Base 1, 4 steps of warm-up, 12 in total, min_lr 0.1:
#
# | n | 0 | 1 | 3 | 4 | 6 | 8 | 12 | 50 |
# |---|---|---|---|---|---|---|---|---|
# | rate | 0.2 | 0.4 | 0.8 | 1 | 0.868 | 0.55 | 0.1 | 0.1 |

# %% solution="step_decay"
#| export
def step_decay(base, n, step_size, gamma):
    """The rate after n steps if it is multiplied by gamma every step_size steps -> float."""
    ### BEGIN SOLUTION
    return base * gamma ** (n // step_size)
    ### END SOLUTION


# %% check="step_decay" points=2
check("step_decay", [case(1.0, n, 3, 0.5) for n in (0, 2, 3, 9)], compare="value")

# %% hidden="step_decay"
def cases(rng):
    for _ in range(4):
        every = int(rng.integers(2, 9))
        for n in (every - 1, every, int(rng.integers(1, 60))):
            yield case(float(rng.uniform(0.01, 2)), n, every, float(rng.uniform(0.3, 0.9)), behaviour="steps down")
    yield case(0.3, 0, 5, 0.5, behaviour="no step yet, every step, a factor of 1")
    yield case(0.3, 7, 1, 0.5, behaviour="no step yet, every step, a factor of 1")
    yield case(0.3, 7, 2, 1.0, behaviour="no step yet, every step, a factor of 1")


# %% solution="warmup_cosine"
#| export
def warmup_cosine(base, n, warmup_steps, total_steps, min_lr=0.0):
    """The rate after n steps: a line up to base at warmup_steps, half a cosine down to min_lr at total_steps -> float.

    Source: Loshchilov and Hutter 2017 (cosine), Goyal et al. 2017 (warm-up).
    """
    ### BEGIN SOLUTION
    if n < warmup_steps:
        return base * (n + 1) / (warmup_steps + 1)
    progress = min((n - warmup_steps) / (total_steps - warmup_steps), 1.0)
    return min_lr + (base - min_lr) * (1 + math.cos(math.pi * progress)) / 2
    ### END SOLUTION


# %% check="warmup_cosine" points=4
check("warmup_cosine", [case(1.0, n, 4, 12, 0.1) for n in (0, 3, 4, 6, 8, 12, 50)], compare="value")

# %% hidden="warmup_cosine"
def cases(rng):
    def some(at, behaviour, warmup=None, low=None):
        warmup = int(rng.integers(2, 30)) if warmup is None else warmup
        total = warmup + int(rng.integers(10, 90))
        base = float(rng.uniform(0.01, 2))
        low = float(rng.uniform(0, 0.5) * base) if low is None else low
        return case(base, at(warmup, total), warmup, total, low, behaviour=behaviour)

    core = "the cosine between warm-up and end"
    for _ in range(5):
        yield some(lambda w, t: int(rng.integers(w + 1, t)), core)
    for _ in range(3):
        yield some(lambda w, t: int(rng.integers(0, w)), "warm-up")
    yield some(lambda w, t: 0, "warm-up")
    yield some(lambda w, t: w - 1, "warm-up")
    for at in (lambda w, t: w, lambda w, t: w + 1, lambda w, t: t - 1, lambda w, t: t):
        yield some(at, "where the parts meet")
    for extra in (1, 5, 1000):
        yield some(lambda w, t, extra=extra: t + extra, "after the end it stays at min_lr")
    yield some(lambda w, t: 0, "no warm-up, no floor", warmup=0)
    yield some(lambda w, t: t // 2, "no warm-up, no floor", warmup=0, low=0.0)


# %% [markdown]
# **Why warm up?** A worked number first. Feed Adam gradients that are nothing but noise around 0. In the long run
# $\hat m$ averages about 19 of them and is small; the root of $\hat v$ is not. The step has a typical length of
# $\sqrt{(1 - \beta_1)/(1 + \beta_1)} = 0.23$ lr. At the first step there is nothing to average, and the ratio is ±1. So
# the steps that know least are the longest ones, and they are taken when the weights are random and the bowl is steep.
# The measured lengths, root mean square over 4000 weights:

# %% show
rng = np.random.default_rng(3)
x, m, v = np.zeros(4000), np.zeros(4000), np.zeros(4000)
lengths = {}
for step in range(1, 301):
    moved, m, v = adam_rule(x, rng.normal(size=4000), m, v, step, lr=1.0, betas=(0.9, 0.999), eps=1e-8)
    lengths[step] = np.sqrt(np.mean((moved - x) ** 2))
print("step     ", "".join(f"{step:7}" for step in (1, 2, 3, 5, 10, 20, 50, 300)))
print("length/lr", "".join(f"{lengths[step]:7.2f}" for step in (1, 2, 3, 5, 10, 20, 50, 300)))

# %% [markdown]
# **One cycle** goes further: up to a rate far above what would be stable at the start, then down by several powers of
# ten. It begins at `peak / div_factor`, reaches the peak when $n$ = `pct_start * total_steps - 1` (which need not be an
# integer) and ends at $n$ = `total_steps - 1` with the rate of the beginning divided by `final_div_factor`; there it
# stays. Between two of these points the rate goes along half a cosine (`anneal="cos"`) or a straight line
# (`anneal="linear"`).
#
# **Worked example.** Peak 1, 10 steps, pct_start 0.3, div_factor 25, final_div_factor 100:
#
# | n | 0 | 1 | 2 | 3 | 4 | 9 | 10 |
# |---|---|---|---|---|---|---|---|
# | linear | 0.04 | 0.52 | 1 | 0.857 | 0.714 | 0.0004 | 0.0004 |
# | cos | 0.04 | 0.52 | 1 | 0.951 | 0.812 | 0.0004 | 0.0004 |
#
# **Exercise 8.3** The rate of the cycle. `pct_start * total_steps` is larger than 1.

# %% solution="one_cycle"
#| export
def one_cycle(peak, n, total_steps, pct_start=0.3, div_factor=25.0, final_div_factor=1e4, anneal="cos"):
    """The rate after n steps of a single cycle up to peak and down -> float. anneal: "cos" or "linear".

    Source: Smith and Topin 2018; the turning points are those of PyTorch.
    """
    ### BEGIN SOLUTION
    first = peak / div_factor
    top, end = pct_start * total_steps - 1, total_steps - 1
    if n <= top:
        start, stop, progress = first, peak, n / top
    else:
        start, stop, progress = peak, first / final_div_factor, min((n - top) / (end - top), 1.0)
    if anneal == "linear":
        return start + (stop - start) * progress
    return stop + (start - stop) * (1 + math.cos(math.pi * progress)) / 2
    ### END SOLUTION


# %% check="one_cycle" points=4
shown = ((0, "cos"), (2, "cos"), (3, "cos"), (3, "linear"), (9, "linear"), (10, "cos"))
check("one_cycle", [case(1.0, n, 10, 0.3, 25.0, 100.0, anneal) for n, anneal in shown], compare="value")

# %% hidden="one_cycle"
def cases(rng):
    def some(at, behaviour, anneal, total=None, share=None):
        total = int(rng.integers(30, 200)) if total is None else total
        share = float(rng.uniform(0.2, 0.6)) if share is None else share
        return case(float(rng.uniform(0.01, 2)), at(total, share), total, share, float(rng.uniform(5, 50)),
                    float(rng.uniform(10, 1e4)), anneal, behaviour=behaviour)

    for anneal in ("cos", "linear"):
        for _ in range(3):
            yield some(lambda t, p: int(rng.integers(1, int(p * t) - 1)), f"up, {anneal}", anneal)
    for anneal in ("cos", "linear"):
        for _ in range(3):
            yield some(lambda t, p: int(rng.integers(int(p * t) + 1, t - 1)), f"down, {anneal}", anneal)
    for anneal in ("cos", "linear"):
        yield some(lambda t, p: 0, "first step, peak, last step", anneal)
        yield some(lambda t, p: 24, "first step, peak, last step", anneal, total=100, share=0.25)
        yield some(lambda t, p: t - 1, "first step, peak, last step", anneal)
        yield some(lambda t, p: t + int(rng.integers(0, 9)), "after the end", anneal)


# %% [markdown]
# A `Scheduler` writes the rate into the groups, starting from the rate that each group had when the schedule was made:
# `initial_lr`, which the group remembers. Call `step` once after each `optimizer.step()`.

# %%
#| export
def check_count(options, name, low):
    """Refuse options[name] unless it is an int of at least low, with the name in the message."""
    value = options[name]
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is a whole number of steps, got {value!r} of type {type(value).__name__}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    options[name] = int(value)


class Scheduler:
    """Sets the learning rate of each group from its base rate and the number of steps.

    options: the numbers of the formula. A subclass defines rate(base, n), a closed form. Making a schedule sets the
    rate for n = 0; each step() sets that for the next n. Raises TypeError if optimizer is none.
    """

    def __init__(self, optimizer, options, base_lrs=None):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"a schedule is made for an Optimizer, got {type(optimizer).__name__}")
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.optimizer, self.options, self.steps = optimizer, options, 0
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups] if base_lrs is None else base_lrs
        self._apply()

    def rate(self, base, n):
        """The rate after n steps, for a group of this base rate."""
        raise NotImplementedError(f"{type(self).__name__} has no rate")

    def get_lr(self, n=None):
        """The rate of each group after n steps, by default after those taken so far -> list of floats."""
        return [float(self.rate(base, self.steps if n is None else n)) for base in self.base_lrs]

    def step(self):
        """Count one step and set the rates."""
        self.steps += 1
        self._apply()

    def _apply(self):
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ValueError(f"the optimizer has {len(groups)} groups, the schedule was made for {len(self.base_lrs)}")
        for group, lr in zip(groups, self.get_lr(), strict=True):
            group["lr"] = lr

    def state_dict(self):
        """Steps, base rates and options as plain data."""
        return {"steps": self.steps, "base_lrs": list(self.base_lrs), "options": dict(self.options)}

    def load_state_dict(self, saved):
        """Go on from what state_dict returned, rates of the groups included. Raises ValueError if it does not fit."""
        if len(saved["base_lrs"]) != len(self.base_lrs) or saved["options"].keys() != self.options.keys():
            raise ValueError(f"the saved schedule has {len(saved['base_lrs'])} groups and the options "
                             f"{', '.join(saved['options'])}; this {type(self).__name__} has {len(self.base_lrs)} and "
                             f"{', '.join(self.options)}")
        self.steps, self.base_lrs, self.options = saved["steps"], list(saved["base_lrs"]), dict(saved["options"])
        self._apply()


class StepLR(Scheduler):
    """Multiply the rate by gamma every step_size steps. Raises TypeError or ValueError with the option's name."""

    def __init__(self, optimizer, step_size, gamma=0.1):
        options = {"step_size": step_size, "gamma": gamma}
        check_count(options, "step_size", 1)
        check_number(options, "gamma")
        super().__init__(optimizer, options)

    def rate(self, base, n):
        return step_decay(base, n, **self.options)


class CosineWithWarmup(Scheduler):
    """A line up to the base rate over warmup_steps, half a cosine down to min_lr at total_steps, then min_lr.

    As SequentialLR of LinearLR and CosineAnnealingLR. Raises TypeError or ValueError with the option's name.
    """

    def __init__(self, optimizer, warmup_steps, total_steps, min_lr=0.0):
        options = {"warmup_steps": warmup_steps, "total_steps": total_steps, "min_lr": min_lr}
        check_count(options, "warmup_steps", 0)
        check_count(options, "total_steps", options["warmup_steps"] + 1)
        check_number(options, "min_lr")
        super().__init__(optimizer, options)

    def rate(self, base, n):
        return warmup_cosine(base, n, **self.options)


class OneCycleLR(Scheduler):
    """One cycle: from max_lr / div_factor up to max_lr, then far down; after total_steps the rate stays.

    max_lr: a number, or one for each group. As torch.optim.lr_scheduler.OneCycleLR with cycle_momentum=False.
    Raises TypeError or ValueError with the option's name.
    """

    def __init__(self, optimizer, max_lr, total_steps, pct_start=0.3, div_factor=25.0, final_div_factor=1e4,
                 anneal="cos"):
        options = {"total_steps": total_steps, "pct_start": pct_start, "div_factor": div_factor,
                   "final_div_factor": final_div_factor, "anneal": anneal}
        check_count(options, "total_steps", 2)
        check_number(options, "pct_start", 0, 1)
        if options["pct_start"] * options["total_steps"] <= 1:
            raise ValueError(f"pct_start * total_steps must be above 1 for a way up, got {pct_start} * {total_steps}")
        for name in ("div_factor", "final_div_factor"):
            check_number(options, name, 1)
        if anneal not in ("cos", "linear"):
            raise ValueError(f"anneal is 'cos' or 'linear', got {anneal!r}")
        groups = len(getattr(optimizer, "param_groups", ()))
        peaks = list(max_lr) if isinstance(max_lr, tuple | list) else [max_lr] * groups
        if len(peaks) != groups:
            raise ValueError(f"max_lr has {len(peaks)} rates for {groups} parameter groups")
        named = {f"max_lr[{k}]" if groups > 1 else "max_lr": peak for k, peak in enumerate(peaks)}
        for name in named:
            check_number(named, name)
        super().__init__(optimizer, options, list(named.values()))

    def rate(self, base, n):
        return one_cycle(base, n, **self.options)


# %% show
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
total = 100
made = {
    "StepLR(step_size=30, gamma=0.3)": StepLR(SGD([leaf([0.0])], 1.0), 30, 0.3),
    "CosineWithWarmup(10, 100, min_lr=0.05)": CosineWithWarmup(SGD([leaf([0.0])], 1.0), 10, total, 0.05),
    "OneCycleLR(max_lr=2, total_steps=100)": OneCycleLR(SGD([leaf([0.0])], 1.0), 2.0, total),
}
for name, schedule in made.items():
    left.plot([schedule.get_lr(n)[0] for n in range(total + 10)], label=name)
left.set_ylim(top=2.7)
left.set_xlabel("steps n")
left.set_ylabel("learning rate")
left.legend(fontsize=8)
right.plot(list(lengths), list(lengths.values()), label="without warm-up")
warm = [warmup_cosine(1.0, n, 20, 10**6) for n in range(300)]
right.plot(list(lengths), np.array(list(lengths.values())) * warm, label="with 20 steps of warm-up")
right.set_xscale("log")
right.set_xlabel("step")
right.set_ylabel("length of a step of Adam, in lr")
right.set_title("gradients of pure noise", fontsize=10)
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## 9. Clipping
#
# One batch with a gradient a thousand times the usual one can undo an hour of training. Clipping limits what a single
# batch can do. **By norm**: all gradients of the model together form one long vector; if it is longer than `max_norm`,
# all are multiplied by the same factor, and the direction survives. **By value**: each element is cut off, and it does
# not.
#
# **Worked example.** Two parameters with gradients (3, 0) and (0, 4), `max_norm` 1. The norm of all of it is 5.
# Clipped: (0.6, 0) and (0, 0.8), of norm 1. Clipping each tensor by itself would give (1, 0) and (0, 1), another
# direction.
#
# **Exercise 9.1** `clip_grad_norm_`. What must hold:
#
# * The result is the norm before clipping, a Python float, computed in float64: 4 times 40 000 in float16 has the norm
#   80 000, which float16 cannot hold. Without any gradient it is 0.0.
# * The factor is `max_norm / (norm + 1e-6)`, as in PyTorch; gradients are never made longer.
# * They are changed in place, `p.grad` stays the same tensor. A parameter without gradient stays without.
# * A norm that is NaN or infinite passes through the same formula, and ruins the gradients visibly. With
#   `error_if_nonfinite=True` it raises `RuntimeError` instead and changes nothing.
# * A negative or NaN `max_norm` raises `ValueError`. `params` may be a single tensor or any iterable, a generator
#   included.
#
# **Exercise 9.2** `clip_grad_value_`: every element of every gradient into the interval from `-clip_value` to
# `clip_value`, in place. NaN stays NaN. A negative or NaN `clip_value` raises `ValueError`.

# %%
def with_gradients(grads):
    """Parameters of the shapes and dtypes of these gradients; None for one without."""
    params = []
    for grad in grads:
        p = Tensor(np.zeros(np.shape(grad)), "float32" if grad is None else grad.dtype)
        p.requires_grad, p.grad = True, None if grad is None else Tensor(grad)
        params.append(p)
    return params


# %% solution="clip_grad_norm_"
#| export
def clip_grad_norm_(params, max_norm, error_if_nonfinite=False):
    """Scale all gradients in place so that their common norm is at most max_norm -> float, the norm before.

    Raises ValueError for a negative max_norm, and RuntimeError, if asked to, for a norm that is NaN or infinite.
    Source: Pascanu, Mikolov and Bengio 2013.
    """
    ### BEGIN SOLUTION
    if not max_norm >= 0:
        raise ValueError(f"max_norm must be 0 or more, got {max_norm!r}")
    params = [params] if isinstance(params, Tensor) else params
    grads = [p.grad for p in params if p.grad is not None]
    with np.errstate(all="ignore"):
        norm = math.sqrt(sum(float(np.square(g.numpy(), dtype=np.float64).sum()) for g in grads))
        if error_if_nonfinite and not math.isfinite(norm):
            raise RuntimeError(f"the norm of the gradients is {norm}: skip this step, or find the batch that made it")
        scale = max_norm / (norm + 1e-6)
        if not scale >= 1:
            for g in grads:
                array = g.numpy()
                wide = np.promote_types(array.dtype, float32)
                np.multiply(array, scale, out=array, dtype=wide, casting="same_kind")
                g.storage.version += 1
    return norm
    ### END SOLUTION


# %% check="clip_grad_norm_" points=5
def norm_clipped(grads, max_norm, generator=False, single=False, **options):
    """The norm that is returned, or the error, and the gradients afterwards."""
    params = with_gradients(grads)
    before = [p.grad for p in params]
    given = (p for p in params) if generator else params[0] if single else params
    try:
        out = clip_grad_norm_(given, max_norm, **options)
    except (ValueError, RuntimeError) as error:
        out = type(error).__name__
    return {"norm": out, "gradients": [None if p.grad is None else np.array(p.grad) for p in params],
            "in place": all(p.grad is grad for p, grad in zip(params, before, strict=True))}

check("clip_grad_norm_", [
    case([np.array([3.0, 0.0]), np.array([0.0, 4.0])], 1.0),
    case([np.array([3.0, 0.0]), None, np.array([0.0, 4.0])], 10.0),
    case([np.full(4, 4e4, "float16")], 1.0),
], call=norm_clipped)

# %% hidden="clip_grad_norm_"
def cases(rng):
    def normal(*shape, dtype="float64"):
        return (rng.normal(size=shape) * 3).astype(dtype)

    for max_norm in (0.1, 1.0, 0.003):
        yield case([normal(3, 2), normal(4), normal(2, 2, 2)], max_norm, behaviour="one factor for all gradients")
    yield case([normal(3, 2), None, normal(1)], 1.0, behaviour="one factor for all gradients")
    yield case([normal(3, 2), normal(4)], 1000.0, behaviour="short gradients stay as they are")
    yield case([normal(3) * 1e-4, normal(4) * 1e-4], 1.0, behaviour="short gradients stay as they are")
    yield case([np.zeros(3)], 1.0, behaviour="short gradients stay as they are")
    sizes = "float16, float32, large and small"
    yield case([np.full(4, 3e4 + 100 * int(rng.integers(9)), "float16")], 2.0, behaviour=sizes)
    yield case([normal(5, dtype="float32"), normal(2, dtype="float16")], 1.5, behaviour=sizes)
    yield case([normal(4, dtype="float32") * np.float32(1e25)], 1.0, behaviour=sizes)
    yield case([normal(4, dtype="float32") * np.float32(1e-30)], 1.0, behaviour=sizes)
    bad = "NaN and infinity"
    for value in (np.nan, np.inf):
        broken = normal(3)
        broken[1] = value
        yield case([broken, normal(2)], 1.0, behaviour=bad)
        yield case([broken, normal(2)], 1.0, error_if_nonfinite=True, behaviour=bad)
    yield case([normal(2)], 1.0, error_if_nonfinite=True, behaviour=bad)
    odd = "generators, one tensor, no gradient, no elements, a limit of 0 or below"
    yield case([normal(2), normal(3)], 1.0, generator=True, behaviour=odd)
    yield case([normal(2, 3)], 1.0, single=True, behaviour=odd)
    yield case([None, None], 1.0, behaviour=odd)
    yield case([np.zeros((0, 2)), normal(2)], 1.0, behaviour=odd)
    yield case([normal(2)], 0.0, behaviour=odd)
    yield case([normal(2)], -1.0, behaviour=odd)
    yield case([normal(2)], float("nan"), behaviour=odd)


# %% solution="clip_grad_value_"
#| export
def clip_grad_value_(params, clip_value):
    """Cut each element of each gradient off at -clip_value and clip_value, in place. Negative ones: ValueError."""
    ### BEGIN SOLUTION
    if not clip_value >= 0:
        raise ValueError(f"clip_value must be 0 or more, got {clip_value!r}")
    for p in [params] if isinstance(params, Tensor) else params:
        if p.grad is not None:
            array = p.grad.numpy()
            np.clip(array, -clip_value, clip_value, out=array)
            p.grad.storage.version += 1
    ### END SOLUTION


# %% check="clip_grad_value_" points=2
def value_clipped(grads, clip_value, generator=False, single=False):
    """The gradients afterwards, or the error."""
    params = with_gradients(grads)
    before = [p.grad for p in params]
    given = (p for p in params) if generator else params[0] if single else params
    clip_grad_value_(given, clip_value)
    return {"gradients": [None if p.grad is None else np.array(p.grad) for p in params],
            "in place": all(p.grad is grad for p, grad in zip(params, before, strict=True))}

check("clip_grad_value_", [case([np.array([3.0, -0.2]), None, np.array([-4.0, np.nan])], 0.5),
                           case([np.array([1.0])], -0.5)], call=value_clipped)

# %% hidden="clip_grad_value_"
def cases(rng):
    for kind in ("float64", "float32", "float16"):
        yield case([(rng.normal(size=(3, 4)) * 2).astype(kind), rng.normal(size=5).astype(kind)],
                   float(rng.uniform(0.3, 1)), behaviour="both sides are cut off, the rest stays")
    odd = "infinity, no gradient, no elements, generators, a limit of 0 or below"
    yield case([np.array([np.inf, -np.inf, np.nan, 0.1])], 0.5, behaviour=odd)
    yield case([None, rng.normal(size=3), np.zeros((0, 2))], 0.5, generator=True, behaviour=odd)
    yield case([rng.normal(size=3)], 0.5, single=True, behaviour=odd)
    yield case([rng.normal(size=3)], 0.0, behaviour=odd)
    yield case([rng.normal(size=3)], -1.0, behaviour=odd)
    yield case([rng.normal(size=3)], float("nan"), behaviour=odd)


# %% [markdown]
# All parts at work, with gradients from module 06: a plane through 2000 points in five dimensions, where one label in a
# hundred is 300 times too large. Each batch has 50 points, so two batches in five hold such a label.

# %% show
import tinytorch.autograd  # gives tensors backward()

rng = np.random.default_rng(4)
points, plane = rng.normal(size=(2000, 5)) * [1, 1, 1, 3, 0.5], np.array([1.0, -2.0, 0.5, 1.0, 3.0])
labels = points @ plane + 0.1 * rng.normal(size=2000)
labels[rng.random(2000) < 0.01] *= 300
points, labels = points.astype("float32"), labels.astype("float32")


def fit(make, limit=math.inf, schedule=False, steps=250):
    """Largest error of a coefficient after so many steps."""
    weight, order = leaf(np.zeros(5)), np.random.default_rng(5)
    optimizer = make([weight])
    rates = CosineWithWarmup(optimizer, 20, steps) if schedule else None
    for _ in range(steps):
        batch = order.integers(0, 2000, 50)
        optimizer.zero_grad()
        ((points[batch] @ weight - labels[batch]) ** 2).mean().backward()
        clip_grad_norm_([weight], limit)
        optimizer.step()
        if rates:
            rates.step()
    return np.abs(weight.numpy() - plane).max()


print(f"{'largest error of a coefficient':32}   plain   clipped at 1   clipped, warm-up and cosine")
for name, make in {
    "SGD, lr 0.1": lambda p: SGD(p, 0.1),
    "SGD, lr 0.01, Nesterov 0.9": lambda p: SGD(p, 0.01, momentum=0.9, nesterov=True),
    "Adam, lr 0.05": lambda p: Adam(p, 0.05),
}.items():
    print(f"{name:32}{fit(make):8.2f}{fit(make, 1.0):15.2f}{fit(make, 1.0, True):30.2f}")

# %% [markdown]
# Clipping bounds what a wild batch can do, and a rate that falls towards 0 averages out what is left. Without clipping
# Adam suffers least, since it divides by the very size of these gradients.
#
# ## 10. What it costs
#
# An optimizer computes little and moves much. Estimate, lock, then measure.
#
# ### 10.1 Bytes that are neither weights nor gradients
#
# A model has 10 million parameters in float32. How many bytes of state does AdamW keep for it, beside the weights and
# their gradients?

# %% answer="state_bytes" points=2
state_bytes = ""  # a number with its unit, such as "16 MB"
### BEGIN SOLUTION
state_bytes = f"{10e6 * 2 * 4} B"
### END SOLUTION

# %% key="state_bytes"
def key(v):
    n, size = 10e6, 4
    return Key(2 * n * size, "B", tol=0.02, mistakes=[
        Mistake(n * size, 0.25, "Adam keeps two averages, that of the gradients and that of their squares"),
        Mistake(3 * n * size, 0.5, "that counts the weights as well; asked is what comes on top"),
        Mistake(4 * n * size, 0.5, "that counts weights and gradients as well; asked is what comes on top"),
        Mistake(2 * n, 0.5, "that counts numbers; a float32 takes 4 bytes"),
    ])

# %% show
from tinytorch import Storage

makers = {
    "SGD": lambda p: SGD(p, 0.1),
    "SGD, momentum": lambda p: SGD(p, 0.1, momentum=0.9),
    "RMSProp": RMSProp,
    "RMSProp, momentum, centered": lambda p: RMSProp(p, momentum=0.9, centered=True),
    "Adam": Adam,
    "AdamW": AdamW,
}
n = 100_000
print(f"{'state for 10 million parameters':36}{'float64':>10}{'float32':>10}{'float16':>10}")
for name, make in makers.items():
    row = []
    for dtype in ("float64", "float32", "float16"):
        p = leaf(np.zeros(n), np.ones(n), dtype)
        before = Storage.live_bytes
        kept = make([p])
        kept.step()
        row.append((Storage.live_bytes - before) / n)
        kept = None
    print(f"{name:36}" + "".join(f"{10 * size:7.0f} MB" for size in row))

# %% [markdown]
# The column of float16 has a price. Steps are computed in float32, but the averages are stored in the dtype of the
# parameter, and float16 ends at $6 \cdot 10^{-8}$. A gradient of 0.001 adds $(1 - \beta_2)\, g^2 = 10^{-9}$ to the
# average of squares, which is stored as 0, while the correction goes on as if it had been kept:

# %% show
length = {}
for dtype in ("float32", "float16"):
    x, m, v = (np.zeros(1, dtype) for _ in range(3))
    for step in range(1, 1001):
        grad = np.full(1, 1e-3, "float32")
        moved, m, v = adam_rule(np.zeros(1, "float32"), grad, m.astype("float32"), v.astype("float32"), step,
                                lr=1.0, betas=(0.9, 0.999), eps=1e-8)
        m, v = m.astype(dtype), v.astype(dtype)
        length[dtype, step] = abs(float(moved[0]))
print("step of Adam under a gradient that is always 0.001, in lr:")
for dtype in ("float32", "float16"):
    print(f"  averages in {dtype}:", ", ".join(f"{length[dtype, k]:.3g} at step {k}" for k in (1, 10, 100, 1000)))

# %% [markdown]
# A step 25 times too long is how half-precision training diverges after an hour of looking well. The remedy is to keep
# weights and averages in float32 and to run only forward and backward in float16. Loss scaling, which module 08 adds,
# saves small gradients on their way here; it cannot save averages that are stored in float16.
#
# ### 10.2 Bytes that a step moves
#
# A step of Adam reads and writes arrays that together are far larger than any cache. How many bytes travel between
# memory and processor in one step for 10 million float32 parameters, at least, if every array that is needed is read
# once and every array that changes is written once?

# %% answer="step_traffic" points=2
step_traffic = ""  # a number with its unit, such as "16 MB"
### BEGIN SOLUTION
step_traffic = f"{10e6 * 7 * 4} B"
### END SOLUTION

# %% key="step_traffic"
def key(v):
    n, size = 10e6, 4
    return Key(7 * n * size, "B", tol=0.02, mistakes=[
        Mistake(4 * n * size, 0.25, "those are the reads (x, grad, two averages); three of the four are written too"),
        Mistake(3 * n * size, 0.25, "those are the writes; four arrays are read before"),
        Mistake(8 * n * size, 0.5, "the gradient is read, not written"),
        Mistake(5 * n * size, 0.25, "both averages are read and written: 4 reads and 3 writes"),
        Mistake(7 * n, 0.5, "that counts numbers; a float32 takes 4 bytes"),
    ])

# %% [markdown]
# ### 10.3 Time and temporaries
#
# The same step of Adam in three versions, for 2 million float32 parameters:
#
# * **tensors**: the formula written with tensors, `p.sub_(m / (1 - b1**t) * lr / ((v / (1 - b2**t)) ** 0.5 + eps))`;
# * **whole**: your `adam_rule` on whole arrays, results copied into place;
# * **blocks**: `Adam.step`, your `adam_rule` through your `in_blocks`.
#
# **Predict** two numbers. How many times as long as *blocks* does *whole* take? And how many times as long as a plain
# copy that moves the same 28 bytes for each parameter does *blocks* take?

# %% predict="whole_time" points=1
# predict("whole_time", "number", low="number", high="number")
### BEGIN SOLUTION
predict("whole_time", "2", low="1", high="5")
### END SOLUTION

# %% predict="copy_time" points=1
# predict("copy_time", "number", low="number", high="number")
### BEGIN SOLUTION
predict("copy_time", "3", low="1", high="8")
### END SOLUTION

# %% show
import time
import tracemalloc


def best(f, repeat=5):
    """Shortest of several runs, in seconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def peaks(f):
    """Most bytes allocated while f runs -> (all of Python, by tracemalloc; storages of tensors)."""
    Storage.peak_bytes = before = Storage.live_bytes
    tracemalloc.start()
    try:
        f()
        return tracemalloc.get_traced_memory()[1], Storage.peak_bytes - before
    finally:
        tracemalloc.stop()


n, t = 2_000_000, 5
p = leaf(np.ones(n), np.full(n, 0.5))
optimizer = Adam([p])
optimizer.step()
x, grad, m, v = (Tensor(a) for a in (p, p.grad, optimizer.state[p]["exp_avg"], optimizer.state[p]["exp_avg_sq"]))


def tensors():
    m.copy_(m * 0.9 + grad * 0.1)
    v.copy_(v * 0.999 + grad * grad * 0.001)
    x.sub_(m / (1 - 0.9**t) * 1e-3 / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8))


def whole():
    arrays = [a.numpy() for a in (x, grad, m, v)]
    new = adam_rule(*arrays, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    for target, values in zip((arrays[0], arrays[2], arrays[3]), new, strict=True):
        target[...] = values


source = np.ones(7 * n // 2, "float32")  # a copy reads and writes it: 28 bytes for each parameter
target = np.empty_like(source)
versions = {"tensors": tensors, "whole": whole, "blocks": optimizer.step, "copy": lambda: np.copyto(target, source)}
seconds = {name: best(f) for name, f in versions.items()}
reveal("whole_time", f"{seconds['whole'] / seconds['blocks']:.3g}")
reveal("copy_time", f"{seconds['blocks'] / seconds['copy']:.3g}")
print("               time   28 B a parameter at   peak by tracemalloc   by Storage")
for name, f in versions.items():
    traced, stored = peaks(f)
    rate = 28 * n / seconds[name] / 1e9
    print(f"{name:8} {seconds[name] * 1e3:8.2f} ms {rate:16.1f} GB/s {traced / 1e6:18.2f} MB {stored / 1e6:9.2f} MB")
x = grad = m = v = p = source = target = optimizer = versions = None

# %% [markdown]
# All three compute the same formula. What differs is where the temporaries live. An array of this parameter has 8 MB,
# and *whole* holds several such temporaries at a time, its new averages among them. They pay twice: for the way to
# memory and back, and because the system hands out fresh memory page by page. That is why *tensors*, which holds fewer
# at a time, can be the faster of the two. In *blocks* a temporary has 128 KiB, and the next one takes its place while it
# is still in the cache. `Storage` counts tensors and so sees the temporaries of *tensors* only; tracemalloc sees all.
# How the time depends on the size of a block:

# %% show
n, t = 2_000_000, 5
arrays = [np.full(n, value, "float32") for value in (1, 0.5, 0.2, 0.1)]


def rule(x, grad, m, v):
    return adam_rule(x, grad, m, v, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8)


for size in (1024, 4096, 16384, 32768, 131072, 524288, n):
    took = best(lambda size=size: in_blocks(rule, arrays, size), 2)
    print(f"blocks of {size:9,} elements, {size * 4 / 1024:7.0f} KiB each: {took * 1e3:7.2f} ms")
arrays = None

# %% [markdown]
# Small blocks pay for the calls of Python and NumPy, a microsecond or so for each operation; large ones pay for memory.
# Real frameworks close the remaining gap to the copy with a fused kernel: one loop that reads an element of each array
# once, computes everything in registers and writes three results.
#
# ## 11. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="lost_state" points=4
# A model of 125 million float32 parameters trains with AdamW, warm-up and cosine. At step 60,000 of 100,000 the machine
# fails. The team restarts from the last checkpoint, which holds the weights alone, with the optimizer and the schedule
# made anew. The loss, 2.9 before, jumps to 3.6 and needs thousands of steps to come back. In eight to ten sentences:
# explain the jump by what the averages and the step counter do in the first steps after the restart, with numbers;
# explain what the new schedule adds; say what the checkpoint should have held and how many bytes that is; and describe
# a test that would have caught the mistake before the run.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. The averages start at 0 with step 1: after correction the first update is lr·g/|g|, full length in every coordinate
#    whatever the gradient, while the running averages had given short steps (about 0.2 lr under noise), with a second
#    moment built from a thousand gradients. Weights that should rest are moved by lr.
# 2. The schedule counts from 0 again: after its warm-up it climbs to the peak rate, where at step 60,000 of the cosine
#    the rate was far below it (about 0.35 of the peak). Steps of that length leave the narrow region reached so far.
#    A full answer notes that the warm-up softens point 1 at the same time.
# 3. `optimizer.state_dict()` with both averages and the step of each parameter, and the schedule's state: 2 · 125·10⁶ ·
#    4 B = 1 GB beside 0.5 GB of weights; the schedule is a few numbers. Also right: the state of the random generators
#    and the position in the data.
# 4. Train 2k steps without a break, and k steps, save, build everything anew, load, k steps: weights must be equal to
#    the bit. "Loss looks similar" earns no point.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# Curvature sets the limit of the learning rate, and the ratio of curvatures the number of steps. Momentum takes the
# square root of that number; RMSProp and Adam divide by the size of each coordinate's gradient and thereby forget it.
# Averages that start at 0 have to be corrected, decay must not be divided, and everything that a step reads belongs
# into the checkpoint. The cost of a step is memory traffic, and blocks keep the temporaries out of it.
#
# The same parts under their names in PyTorch:
#
# | here | PyTorch |
# |---|---|
# | `Optimizer.param_groups`, `state`, `state_dict` | the same names, the same layout with positions |
# | `param_group` | `Optimizer.add_param_group`; there a misspelt key is kept and ignored |
# | `velocity`, `look_ahead`, `decay` | lines of `_single_tensor_sgd` and `_single_tensor_adam` in `torch/optim/` |
# | `in_blocks` | `fused=True`: one kernel for all arrays; `foreach=True`: one call for all parameters |
# | float16 state as computed here | the same hazard; hence `torch.autocast`, which leaves weights and state in float32 |
# | `CosineWithWarmup` | `SequentialLR([LinearLR, CosineAnnealingLR])` |
# | `OneCycleLR` | the same name, which also cycles momentum unless told not to |
# | `get_lr(n)` | most schedules there are recursive; `last_epoch` is our `steps` |
# | `clip_grad_norm_` | the same name and formula; it returns a tensor |
#
# Module 08 puts model, loss, data, optimizer and schedule into one loop that can be stopped at any step and resumed to
# the bit.
