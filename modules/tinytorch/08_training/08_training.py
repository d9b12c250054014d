# %% [markdown]
# # TinyTorch 08: Training
#
# A training process is killed with `kill -9` in the middle of an epoch: no warning, no last words. It is started again
# and goes on. A second process trains without a break. At the end their weights are equal, to the last bit. For that,
# ten different things had to be in the file, the file had to be whole at every instant, and they had to be put back in
# an order that matters. Whoever gets one of the three wrong sees no error: the loss jumps a little, or the file is
# empty on the one day on which it is needed.
#
# This notebook puts everything that you have built into one loop, and then makes the loop hold: against batches that do
# not fit into memory, against numbers that do not fit into float16, against NaN, and against the power cut.
#
# **Where it sits.** What you write is exported as `tinytorch/training.py`.
#
# | module | what it has to do with this one |
# |---|---|
# | 03 layers | `train()` and `eval()`, `state_dict`, the random generators of `Dropout` |
# | 05 dataloader | the order of an epoch is a function of seed and epoch: that is why it can be resumed |
# | 06 autograd | gradients add up, which makes accumulation possible; `no_grad` makes evaluation cheap |
# | 07 optimizers | steps, schedules and clipping, and their `state_dict` |
# | 09 to 20 | train with `Trainer` |
#
# **Afterwards you can**
# 1. compute the mean of a loss and a metric over a data set exactly, whatever the sizes of the batches;
# 2. train with a batch sixteen times larger than memory allows, and get the same gradient;
# 3. say in which order unscaling, clipping, step and schedule come, and what a wrong order does;
# 4. train in float16 with gradients that float16 cannot hold;
# 5. write a file that is whole at every instant, and resume a run to the bit;
# 6. predict the memory of a training step and the bytes of a checkpoint, then measure both;
# 7. if you like: train in several processes, with the bits of one, a part of the state in each, and through any number of kills.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Grading
# runs hidden cases besides the worked ones. Every exercise is judged by itself. The `Trainer` at the end is given code
# that calls your functions. Three hours are typical; section 10 is optional.

# %%
import errno
import re
import stat
from unittest import mock

from mlsysbook import answer, case, check, predict, reveal

# %%
#| export
"""Training: the loop, and what makes it hold.

    Trainer            epochs, evaluation, accumulation, clipping, schedules, callbacks, checkpoints
    Average, MacroF1   exact means and metrics over batches of any sizes
    EarlyStopping      a callback; Callback says which events there are
    Half, LossScaler   compute in float16, with gradients kept in its range
    save_checkpoint, load_checkpoint   one file, written whole or not at all, verified when it is read
    Ring, run_ranks, fixed             vectors added up by processes around a ring, to the same bits however many they are
    sharded_step, supervise            ZeRO-1; a run that is started until it is done

A run that is resumed from a checkpoint ends with the same bits as one that was never interrupted.

Errors, each one line:

    ArithmeticError <- LossError        a loss that is NaN or infinite, with epoch, step and what to look at
    RuntimeError    <- CheckpointError  a file that is damaged, or that is no checkpoint
    RuntimeError    <- CallbackError    an exception in a callback, with its class, event and epoch
    ValueError, TypeError, IndexError   for arguments
"""

import contextlib
import io
import itertools
import json
import math
import mmap
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import warnings
import zipfile
import zlib
from multiprocessing import connection

import numpy as np

from tinytorch.autograd import generators_of, no_grad
from tinytorch.layers import Module
from tinytorch.optimizers import clip_grad_norm_
from tinytorch.tensor import Tensor, float16, float32


class LossError(ArithmeticError):
    """A loss or gradients that are not finite."""


class CheckpointError(RuntimeError):
    """A file that is damaged, or that is no checkpoint."""


class CallbackError(RuntimeError):
    """An exception in a callback."""


# %%
from tinytorch import (
    SGD,
    Adam,
    AdamW,
    CosineWithWarmup,
    DataLoader,
    Dataset,
    Dropout,
    Linear,
    Sequential,
    StepLR,
    Storage,
    TensorDataset,
    accuracy,
    cross_entropy,
    is_grad_enabled,
    relu,
)
from tinytorch.layers import Parameter, default_rng, manual_seed

nan = float("nan")

# %% [markdown]
# ## 1. How good is the model? Means over batches
#
# A validation set of 10 samples is evaluated in batches of 4, 4 and 2. Each batch reports the mean of its losses:
#
# | batch | samples | mean loss | sum |
# |---|---|---|---|
# | 1 | 4 | 1.0 | 4 |
# | 2 | 4 | 2.0 | 8 |
# | 3 | 2 | 6.0 | 12 |
#
# The mean of the batch means is 3.0. The mean loss is 24 / 10 = 2.4. The two samples of the last batch were counted as
# if they were four, and a model that is chosen by such a number is chosen by the accident of the last batch.
#
# **Exercise 1.1** A running mean. It sees the mean of a batch and its number of samples, one after the other, keeps two
# numbers and no list, and can be asked at any time.
#
# * Before any sample the mean is NaN.
# * A batch may hold no samples that count, if all its labels are to be ignored. Its mean is 0/0, which is NaN, and must
#   not spoil the rest. A NaN that stands for samples must.
# * A negative count is refused with a `ValueError` that names it.

# %% solution="average"
#| export
class Average:
    """A mean over samples that arrive as means of batches. total: sum over the samples so far; count: how many."""

    def __init__(self, total=0.0, count=0):
        self.total, self.count = total, count

    def update(self, mean, count):
        """Take the mean of a batch of count samples. Raises ValueError for a negative count."""
        ### BEGIN SOLUTION
        if count < 0:
            raise ValueError(f"a batch has 0 samples or more, got {count}")
        if count:
            self.total += mean * count
            self.count += count
        ### END SOLUTION

    @property
    def value(self):
        """The mean over all samples so far -> float, NaN if there are none."""
        ### BEGIN SOLUTION
        return self.total / self.count if self.count else math.nan
        ### END SOLUTION


# %% check="average" points=3
def averaged(batches, says=""):
    """The mean before, between and after batches given as (mean, count)."""
    average, seen = Average(), []
    try:
        seen.append(average.value)
        for mean, count in batches:
            average.update(mean, count)
            seen.append(average.value)
    except ValueError as error:
        return {"the message names": says in str(error), "before": seen}
    return seen

check("average", [case([(1.0, 4), (2.0, 4), (6.0, 2)]), case([(1.0, 4), (nan, 0), (3.0, 4)])], call=averaged,
      compare="value")

# %% hidden="average"
def cases(rng):
    def batches(n, high):
        return [(float(rng.normal()), int(rng.integers(1, high))) for _ in range(n)]

    for n, high in ((3, 5), (6, 30), (10, 3)):
        yield case(batches(n, high), behaviour="samples count, not batches")
    yield case([(float(rng.normal()), 7)] * 3, behaviour="equal batches, one batch, none")
    yield case(batches(1, 9), behaviour="equal batches, one batch, none")
    yield case([], behaviour="equal batches, one batch, none")
    yield case([(nan, 0), *batches(2, 9), (nan, 0)], behaviour="NaN without samples is passed over, NaN with samples stays")
    yield case([*batches(2, 9), (nan, 3), *batches(1, 9)],
               behaviour="NaN without samples is passed over, NaN with samples stays")
    yield case([(float("inf"), 2), (1.0, 3)], behaviour="NaN without samples is passed over, NaN with samples stays")
    yield case([(1.0, 2), (1.0, -3)], "-3", behaviour="a negative count is refused")


# %% [markdown]
# Accuracy is a mean over samples, so `Average` serves it. Other metrics are not. The F1 score of a class is
# $2\,tp / (2\,tp + fp + fn)$ with true positives, false positives and false negatives. Take two batches in which
# a class occurs:
#
# | | tp | fp | fn | F1 |
# |---|---|---|---|---|
# | batch 1 | 1 | 0 | 0 | 1 |
# | batch 2 | 1 | 4 | 4 | 0.2 |
# | both together | 2 | 4 | 4 | 0.333 |
#
# No average of 1 and 0.2 by 1 and 9 samples, or by 1 and 1, gives 0.333. What can be added up are the **counts**. All of
# them are in the confusion matrix: entry (i, j) counts the samples of class i that were taken for class j. Matrices of
# batches add up, and the metric is computed once, at the end.
#
# **Exercise 1.2** The matrix of a batch. There may be a million samples, so let NumPy do the counting; `np.bincount`
# and `np.add.at` are of use. A label or prediction that is no class raises an `IndexError` that names it.
#
# **Exercise 1.3** The mean F1 score over the classes. A class that neither occurs nor was predicted has no score and
# stays out of the mean. If that leaves nothing, the mean is NaN.
#
# **Worked example.** Labels 0, 0, 1, 1, 1 and predictions 0, 1, 1, 1, 0 with three classes give
# [[1, 1, 0], [1, 2, 0], [0, 0, 0]]. The scores are 2/4 and 4/6, and the third class has none: the mean is 0.583.

# %% solution="confusion_matrix"
#| export
def confusion_matrix(predicted, labels, classes):
    """Counts of samples by label (rows) and prediction (columns) -> int64 array (classes, classes).

    predicted, labels (N,): integer arrays from 0 to classes - 1. Raises IndexError with a value that is no class.
    """
    ### BEGIN SOLUTION
    for what, values in (("label", labels), ("prediction", predicted)):
        wrong = values[(values < 0) | (values >= classes)]
        if wrong.size:
            raise IndexError(f"{what} {wrong[0]} is no class: they go from 0 to {classes - 1}")
    places = labels.astype(np.int64) * classes + predicted
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes).astype(np.int64)
    ### END SOLUTION


# %% check="confusion_matrix" points=3
def matrix(predicted, labels, classes, says=""):
    try:
        return confusion_matrix(predicted, labels, classes)
    except IndexError as error:
        return {"the message names": says in str(error)}

check("confusion_matrix", [
    case(np.array([0, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 1]), 3),
    case(np.array([0, 1]), np.array([0, 7]), 3, says="7"),
], call=matrix)

# %% hidden="confusion_matrix"
def cases(rng):
    def some(n, classes, dtype="int64"):
        return (rng.integers(0, classes, n).astype(dtype), rng.integers(0, classes, n).astype(dtype), classes)

    for n, classes in ((30, 3), (50, 4), (200, 7)):
        yield case(*some(n, classes), behaviour="labels in rows, predictions in columns")
    yield case(*some(5, 9), behaviour="classes that do not occur, no samples")
    yield case(np.array([2, 2]), np.array([0, 0]), 5, behaviour="classes that do not occur, no samples")
    yield case(np.zeros(0, np.int64), np.zeros(0, np.int64), 3, behaviour="classes that do not occur, no samples")
    yield case(*some(60, 100, "int8"), behaviour="int8 and int32")
    yield case(*some(60, 20, "int32"), behaviour="int8 and int32")
    for predicted, label, word in ((1, 4, "4"), (9, 1, "9"), (1, -1, "-1"), (-2, 1, "-2")):
        yield case(np.array([0, predicted, 1]), np.array([1, label, 0]), 4, word, behaviour="what is no class is refused")


# %% solution="macro_f1"
#| export
def macro_f1(matrix):
    """Mean of the F1 scores of the classes that occur or are predicted -> float, NaN if there are none.

    matrix (C, C): counts, labels in rows and predictions in columns.
    """
    ### BEGIN SOLUTION
    hits = np.diag(matrix)
    seen = matrix.sum(axis=0) + matrix.sum(axis=1)
    there = seen > 0
    return float(np.mean(2 * hits[there] / seen[there])) if there.any() else math.nan
    ### END SOLUTION


# %% check="macro_f1" points=2
check("macro_f1", [case(np.array([[1, 1, 0], [1, 2, 0], [0, 0, 0]])), case(np.array([[3, 1], [0, 0]]))], compare="value")

# %% hidden="macro_f1"
def cases(rng):
    for classes in (2, 3, 6):
        yield case(rng.integers(1, 20, (classes, classes)), behaviour="the mean over classes")
    for _ in range(2):
        counts = rng.integers(1, 9, (5, 5))
        counts[2], counts[:, 2] = 0, 0
        yield case(counts, behaviour="a class that is nowhere stays out")
    counts = rng.integers(1, 9, (4, 4))
    counts[1] = 0
    yield case(counts, behaviour="predicted but never there, there but never predicted")
    yield case(counts.T.copy(), behaviour="predicted but never there, there but never predicted")
    yield case(np.array([[0, 3], [2, 0]]), behaviour="predicted but never there, there but never predicted")
    yield case(np.zeros((3, 3), np.int64), behaviour="no samples")


# %%
#| export
class MacroF1:
    """A metric that is no mean over samples: counts are added up, batch by batch, and the score comes from the sums."""

    def __init__(self, classes):
        self.classes = classes
        self.reset()

    def reset(self):
        self.matrix = np.zeros((self.classes, self.classes), np.int64)

    def update(self, logits, labels):
        """Count a batch: logits (N, C), labels (N,)."""
        self.matrix += confusion_matrix(logits.numpy().argmax(axis=1), labels.numpy(), self.classes)

    @property
    def value(self):
        return macro_f1(self.matrix)


# %% [markdown]
# The model has to be in evaluation mode meanwhile, or dropout takes part in the verdict; and nothing should be
# recorded, or every batch keeps its activations. Afterwards everything has to be **as it was**, which is less obvious
# than it sounds:
#
# * a model that was in evaluation mode stays in it;
# * a model may be in training while a part of it is frozen in evaluation mode, say a pretrained encoder whose dropout
#   must rest. `model.train()` would wake that part up;
# * an exception in the middle, such as Ctrl-C, does not change this.
#
# **Exercise 1.4** A context manager. `model.modules()` yields the model and all modules below it, and `training` of each
# is its mode.

# %% solution="evaluating"
#| export
@contextlib.contextmanager
def evaluating(model):
    """While the block runs, model is in evaluation mode and nothing is recorded; then each module's mode is as before."""
    ### BEGIN SOLUTION
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield model
    finally:
        for module, mode in before:
            module.training = mode
    ### END SOLUTION


# %% check="evaluating" points=4
def during_evaluation(modes, fails=False, recording=True):
    """Modes of the five modules of a model, and whether operations are recorded: before, inside, after."""
    model = Sequential(Linear(2, 2), Sequential(Dropout(0.5), Dropout(0.1)))
    modules, seen = list(model.modules()), []

    def look():
        seen.append([*(m.training for m in modules), is_grad_enabled()])

    with contextlib.nullcontext() if recording else no_grad():
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        look()
        raised = False
        try:
            with evaluating(model):
                look()
                if fails:
                    raise KeyError("in the block")
        except KeyError:
            raised = True
        look()
    return {"seen": seen, "the exception came out": raised == fails}

check("evaluating", [case([True] * 5), case([True, True, False, False, True])], call=during_evaluation)

# %% hidden="evaluating"
def cases(rng):
    yield case([True] * 5, behaviour="evaluation mode inside, training after")
    yield case([True] * 5, recording=True, behaviour="evaluation mode inside, training after")
    yield case([False] * 5, behaviour="what was in evaluation mode stays there")
    for _ in range(4):
        yield case([bool(m) for m in rng.random(5) < 0.5], behaviour="each module gets its own mode back")
    yield case([True] * 5, fails=True, behaviour="after an exception")
    yield case([True, False, True, True, False], fails=True, behaviour="after an exception")
    yield case([True] * 5, recording=False, behaviour="recording is as it was")


# %% [markdown]
# ## 2. A batch that does not fit
#
# The gradient of a mean over 64 samples is the mean of 64 gradients, and backward **adds** to `grad`. So the 64 may come
# in pieces: four times 16, each with its own forward and backward, and one step at the end. Only the activations of 16
# samples are in memory at a time. This is **gradient accumulation**; 16 is the micro-batch, 64 the **effective batch**.
#
# **Worked example.** A parameter w with the loss $(w - t)^2$ of a sample, w = 0, and targets 1, 2, 3, 10. The gradient
# of a sample is $-2t$, that of the mean is -8. Now in two pieces, three samples and one:
#
# | piece | its mean loss has the gradient |
# |---|---|
# | 1, 2, 3 | -4 |
# | 10 | -20 |
#
# | combination | gradient |
# |---|---|
# | added up as they are | -24 |
# | each divided by the number of pieces, 2 | -12 |
# | each times its share of the samples, ¾ and ¼ | **-8** |
#
# The second line is in most tutorials. It is right while all pieces have one size, and wrong for the last batch of every
# epoch, or where the count is of tokens and not of rows.
#
# **Exercise 2.1** By what is the mean loss of each piece to be multiplied? Where there is no sample at all, all factors
# are 0.
#
# **Exercise 2.2** Cut the batches of an epoch into groups of `size`, one step for each group. The number of batches need
# not be a multiple, and no sample may be lost, so the last group can be shorter. A loader makes batches when they are
# asked for: take no batch before its group is wanted. A size below 1 is refused with a `ValueError` that names it.

# %% solution="shares"
#| export
def shares(counts):
    """Factors for mean losses over so many samples each, so that their gradients add up to that of the whole mean -> list."""
    ### BEGIN SOLUTION
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]
    ### END SOLUTION


# %% solution="grouped"
#| export
def grouped(batches, size):
    """Lists of size successive batches, the last perhaps shorter, made when they are asked for. Raises ValueError."""
    ### BEGIN SOLUTION
    if size < 1:
        raise ValueError(f"a step takes at least 1 batch, got {size}")
    remaining = iter(batches)
    while group := list(itertools.islice(remaining, size)):
        yield group
    ### END SOLUTION


# %% check="shares" points=2
check("shares", [case([3, 1]), case([16, 16, 16, 2])], compare="value")

# %% hidden="shares"
def cases(rng):
    for n in (2, 3, 7):
        yield case([int(c) for c in rng.integers(1, 40, n)], behaviour="pieces of different sizes")
    yield case([8] * int(rng.integers(2, 9)), behaviour="equal pieces, one piece")
    yield case([5], behaviour="equal pieces, one piece")
    yield case([4, 0, 12], behaviour="pieces without samples")
    yield case([0, 0], behaviour="pieces without samples")


# %% check="grouped" points=3
def groups(n, size, says=""):
    """Groups of batches 0 to n - 1, and how many batches were taken when each group arrived."""
    taken, out = [0], []

    def batches():
        for k in range(n):
            taken[0] += 1
            yield k

    try:
        for group in grouped(batches(), size):
            out.append((list(group), taken[0]))
    except ValueError as error:
        return {"the message names": says in str(error)}
    return out

check("grouped", [case(7, 3), case(4, 1)], call=groups)

# %% hidden="grouped"
def cases(rng):
    for _ in range(3):
        size = int(rng.integers(2, 6))
        yield case(size * int(rng.integers(2, 5)) + int(rng.integers(1, size)), size, behaviour="a last group that is shorter")
    for _ in range(2):
        size = int(rng.integers(2, 6))
        yield case(size * int(rng.integers(2, 5)), size, behaviour="a whole number of groups")
    yield case(5, 1, behaviour="groups of one, one group, no batches")
    yield case(3, 9, behaviour="groups of one, one group, no batches")
    yield case(0, 4, behaviour="groups of one, one group, no batches")
    yield case(3, 0, "0", behaviour="a size below 1 is refused")
    yield case(3, -2, "-2", behaviour="a size below 1 is refused")


# %% [markdown]
# Two spirals will be our data: points of a plane that no straight line separates. Here the gradient of 60 points at once
# against three ways to accumulate the same points in batches of 16, 16, 16 and 12.

# %% show
import matplotlib.pyplot as plt


def spirals(n, seed=0, turns=1.25, noise=0.4):
    """Points of two spirals (n, 2) and which one they belong to (n,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    radius = rng.uniform(0.1, 1, n)
    angle = 2 * np.pi * turns * radius + np.pi * labels
    points = 4 * radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1) + noise * rng.normal(size=(n, 2))
    return points.astype("float32"), labels.astype("int64")


def network(width=48, drop=0.0, seed=0, depth=2):
    """Hidden layers with ReLU, and dropout behind the last."""
    rng = np.random.default_rng(seed)
    layers = [Linear(2, width, rng=rng), relu]
    for _ in range(depth - 1):
        layers += [Linear(width, width, rng=rng), relu]
    return Sequential(*layers, Dropout(drop), Linear(width, 2, rng=rng))


points, labels = (Tensor(a) for a in spirals(60))
pieces = [slice(0, 16), slice(16, 32), slice(32, 48), slice(48, 60)]
factors = {
    "added up": [1.0] * 4,
    "divided by 4": [0.25] * 4,
    "by share of samples": shares([16, 16, 16, 12]),
}
model = network()


def gradient(pieces, factors):
    model.zero_grad()
    for piece, factor in zip(pieces, factors, strict=True):
        (cross_entropy(model(points[piece]), labels[piece]) * factor).backward()
    return np.concatenate([p.grad.numpy().reshape(-1) for p in model.parameters()])


whole = gradient([slice(None)], [1.0])
for name, weights in factors.items():
    off = np.abs(gradient(pieces, weights) - whole).max() / np.abs(whole).max()
    print(f"{name:20} largest difference to the whole batch {off:8.1e} of the largest gradient")

# %% [markdown]
# The last line is not zero: 60 float32 numbers were added in another order. That is all the difference there is, as
# long as no layer looks at a whole batch. Batch normalisation does, and sees micro-batches.
#
# **What determinism costs.** Addition of floats depends on its order, so a run can only be repeated if every order is
# fixed: that of the samples (a seed for each epoch), that in which batches of several workers are delivered (the loader
# of module 05 waits for the slowest), that of the additions inside a sum or a product (the number of threads). GPU
# libraries add with atomic operations in whatever order threads arrive; their deterministic variants are slower, and
# some operations have none. On a CPU, with a fixed number of threads, it costs us a little waiting and much bookkeeping, and buys a
# test that nothing else can replace: equal bits.
#
# **Estimate.** 50,000 samples, micro-batches of 32, accumulated over 8 batches, nothing dropped, 3 epochs. How many
# optimizer steps are taken? A schedule wants to know this number in advance.

# %% answer="optimizer_steps" points=2
optimizer_steps = ""  # a number, such as "1200"
### BEGIN SOLUTION
optimizer_steps = f"{3 * math.ceil(math.ceil(50_000 / 32) / 8)}"
### END SOLUTION

# %% key="optimizer_steps"
from mlsysbook import Key, Mistake


def key(v):
    samples, micro, accumulate, epochs = 50_000, 32, 8, 3
    batches = math.ceil(samples / micro)
    return Key(epochs * math.ceil(batches / accumulate), "", tol=0.0001, mistakes=[
        Mistake(epochs * batches, 0.25, "those are micro-batches; a step is taken after 8 of them"),
        Mistake(math.ceil(batches / accumulate), 0.5, "that is one epoch"),
        Mistake(epochs * (batches // accumulate), 0.5, "the last group of an epoch has 3 batches, and they take a step too"),
        Mistake(math.ceil(epochs * batches / accumulate), 0.5, "groups do not reach across the end of an epoch"),
        Mistake(epochs * samples / micro / accumulate, 0.5, "steps are whole, and an epoch ends with a shorter group"),
    ])

# %% [markdown]
# ## 3. A loss that is no number
#
# Training prints `loss nan` for the next six hours. NaN spreads: one in the loss makes every gradient NaN, and one step
# later every weight. So by the time one looks, everything is NaN and the cause is gone. The remedy is to look at once,
# and to ask in the order in which NaN travels:
#
# 1. did it come in with the **inputs**?
# 2. was it in a **parameter** already, left by the step before?
# 3. if neither: it was made in this forward pass, by a division by zero, a logarithm of zero or an overflow, and the
#    usual reason is a learning rate that lets the weights explode.
#
# **Exercise 3.1** Write the line that the reader of the log needs. `inputs` is a list of arrays, `parameters` a list of
# (name, array) in the order of the model. The line names epoch, step and the loss as Python prints it, and besides:
#
# | first that applies | the line also contains |
# |---|---|
# | an input has an element that is NaN or infinite | the word `input` and the index, on axis 0, of the first such sample |
# | a parameter has one | the name of the first such parameter |
# | neither | the words `learning rate` |
#
# Inputs may be integers, and an array may have no axes; then there is no index to name. No line break, please: logs
# are searched line by line.

# %% solution="diagnose"
#| export
def diagnose(loss, epoch, step, inputs, parameters):
    """One line about a loss that is not finite: epoch, step, loss, and where to look -> str.

    inputs: arrays (N, ...). parameters: pairs (name, array).
    """
    ### BEGIN SOLUTION
    line = f"loss is {loss} in epoch {epoch}, step {step}: "
    for array in inputs:
        wrong = np.argwhere(~np.isfinite(array))
        if len(wrong):
            where = f" of sample {wrong[0][0]}" if array.ndim else ""
            return line + f"the input{where} is not finite; look at the data and its transforms"
    for name, array in parameters:
        if not np.isfinite(array).all():
            return line + f"parameter {name} is not finite since the step before; lower the learning rate or clip gradients"
    return line + ("inputs and parameters are finite, so the forward pass made it; look for a division or a logarithm of 0, "
                   "and lower the learning rate")
    ### END SOLUTION


# %% check="diagnose" points=4
def diagnosed(loss, epoch, step, inputs, parameters, says, not_says=()):
    text = diagnose(loss, epoch, step, inputs, parameters)
    words = [word.strip(".") for word in re.findall(r"[\w.-]+", text)]
    return {
        "lines": len(text.splitlines()),
        "says": [word in (text if " " in word else words) for word in (str(epoch), str(step), str(loss), *says)],
        "does not say": [word not in words for word in not_says],
    }

check("diagnose", [
    case(nan, 3, 17, [np.array([[1.0, 2.0], [nan, 4.0]])], [("0.weight", np.ones(3))], ["input", "1"]),
    case(nan, 0, 42, [np.ones((2, 2))], [("0.weight", np.ones(3)), ("0.bias", np.array([1.0, nan]))], ["0.bias"], ["0.weight"]),
    case(float("inf"), 5, 8, [np.ones((2, 2))], [("0.weight", np.ones(3))], ["learning rate"], ["0.weight"]),
], call=diagnosed)

# %% hidden="diagnose"
def cases(rng):
    def clean(*shape):
        return rng.normal(size=shape)

    def spoiled(shape, at, value=nan):
        array = clean(*shape)
        array[at] = value
        return array

    good = [("0.weight", clean(3, 2)), ("2.weight", clean(2, 3))]
    core = "inputs first, with the sample"
    for at in (4, 7):
        yield case(nan, 21, 333, [spoiled((9, 2), (at, 1))], good, ["input", str(at)], behaviour=core)
    yield case(nan, 21, 333, [spoiled((9, 2, 3), (5, 0, 2), -np.inf)], [("0.weight", np.full(3, nan))], ["input", "5"],
               behaviour=core)
    yield case(nan, 21, 333, [clean(9), spoiled((9,), slice(6, 9))], good, ["input", "6"], behaviour="several inputs, integers")
    yield case(nan, 21, 333, [np.arange(9), spoiled((9, 1), (8, 0))], good, ["input", "8"],
               behaviour="several inputs, integers")
    yield case(nan, 21, 333, [np.array(np.inf)], good, ["input"], behaviour="several inputs, integers")
    for name, value in (("2.weight", nan), ("1.bias", np.inf)):
        yield case(nan, 21, 333, [clean(9, 2)], [good[0], (name, spoiled((4,), 2, value)), ("9.weight", np.full(2, nan))],
                   [name], ["9.weight", "0.weight"], behaviour="then the first parameter")
    yield case(float("inf"), 21, 333, [clean(9, 2)], good, ["learning rate"], ["2.weight"], behaviour="neither")
    yield case(nan, 21, 333, [np.arange(4), np.zeros((0, 2))], [], ["learning rate"], behaviour="neither")


# %% [markdown]
# ## 4. When to stop
#
# On new data the loss falls, rests, and rises again, with noise on top. **Early stopping** keeps the best weights so far
# and gives up after `patience` epochs without a new best. Since noise alone makes new bests, `min_delta` asks for more:
# only what is better than the best **by more than** `min_delta` counts.
#
# **Worked example**, patience 3, min_delta 0.1, smaller is better:
#
# | epoch | 0 | 1 | 2 | 3 | 4 | 5 | 6 |
# |---|---|---|---|---|---|---|---|
# | loss | 1.0 | 0.7 | 0.65 | 0.56 | 0.6 | 0.58 | 0.61 |
# | new best? | yes | yes | no | yes | no | no | no |
# | epochs waited | 0 | 0 | 1 | 0 | 1 | 2 | 3: stop |
#
# Epoch 3 is better than the epoch before by only 0.09, but better than the **best** by 0.14. Slow progress is progress.
# With exact numbers an improvement of just `min_delta` would not count. NaN is never a best, not even the first.
#
# **Callbacks.** `EarlyStopping` is not built into the loop; it is called by it, as are all things that want to look on. A
# callback defines the methods that it needs. The loop calls them in the order of its list, and an exception in one
# becomes a `CallbackError` that names class, event and epoch.
#
# **Exercise 4.1** Write `update` and `exhausted`. `best` and `waited` are all the state there is. In mode "max" larger is
# better, and `min_delta` is as positive as in mode "min".

# %%
#| export
class Callback:
    """Something that a Trainer calls. Subclasses define what they need; a callback with state also defines
    state_dict() and load_state_dict(state), and is then part of checkpoints.
    """

    def on_fit_begin(self, trainer):
        """fit was called, and a checkpoint, if any, has been put back."""

    def on_epoch_begin(self, trainer):
        """Before the first batch of an epoch, or of what is left of it."""

    def on_step_end(self, trainer, record):
        """After each step. record: "loss", "samples", "norm" of the gradients, "skipped"."""

    def on_epoch_end(self, trainer, row):
        """After an epoch and its evaluation. row: what was appended to trainer.history."""

    def on_fit_end(self, trainer):
        """After the last epoch. Set trainer.stop to True to make an epoch the last."""


# %% solution="early_stopping"
#| export
class EarlyStopping(Callback):
    """Stop after patience epochs in which row[monitor] is not better than the best by more than min_delta.

    mode: "min" or "max", what is better. restore: at the end put back the weights of the best epoch.
    """

    def __init__(self, monitor="validation loss", patience=3, min_delta=0.0, mode="min", restore=True):
        if patience < 1 or min_delta < 0:
            raise ValueError(f"patience is at least 1 and min_delta at least 0, got {patience} and {min_delta}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode is 'min' or 'max', got {mode!r}")
        self.monitor, self.patience, self.min_delta, self.mode = monitor, patience, min_delta, mode
        self.restore, self.best, self.waited = restore, None, 0
        self.best_epoch = self.weights = None

    def update(self, value):
        """Take the value of an epoch -> whether it is the new best. Keeps best (None before the first) and waited."""
        ### BEGIN SOLUTION
        gain = math.inf if self.best is None else self.best - value if self.mode == "min" else value - self.best
        better = gain > self.min_delta and not math.isnan(value)
        if better:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return better
        ### END SOLUTION

    @property
    def exhausted(self):
        """Whether it is time to stop."""
        ### BEGIN SOLUTION
        return self.waited >= self.patience
        ### END SOLUTION

    def on_fit_begin(self, trainer):
        trainer.stop = trainer.stop or self.exhausted  # a run that had stopped does not go on when it is resumed

    def on_epoch_end(self, trainer, row):
        if self.monitor not in row:
            raise KeyError(f"{self.monitor!r} is not in the history, which has {', '.join(row)}; pass validation= to fit")
        if self.update(row[self.monitor]):
            self.best_epoch = row["epoch"]
            self.weights = trainer.model.state_dict() if self.restore else None
        trainer.stop = trainer.stop or self.exhausted

    def on_fit_end(self, trainer):
        if self.weights is not None:
            trainer.model.load_state_dict(self.weights)

    def state_dict(self):
        return {name: getattr(self, name) for name in ("best", "best_epoch", "waited", "weights")}

    def load_state_dict(self, state):
        self.__dict__.update(state)


# %% check="early_stopping" points=5
def watched(values, mode="min", **options):
    """What EarlyStopping says about each value until it is exhausted: new best, waited, best."""
    stopping, seen = EarlyStopping(mode=mode, **options), []
    for value in values:
        improved = bool(stopping.update(value))
        seen.append((improved, stopping.waited, stopping.best))
        if stopping.exhausted:
            return {"epochs": seen, "stopped": True}
    return {"epochs": seen, "stopped": False}

check("early_stopping", [
    case([1.0, 0.7, 0.65, 0.56, 0.6, 0.58, 0.61], patience=3, min_delta=0.1),
    case([0.5, 0.6, 0.6, 0.7, 0.65], patience=2, mode="max"),
], call=watched, compare="value")

# %% hidden="early_stopping"
def cases(rng):
    def noisy(n, sign=1):
        return [float(v) for v in sign * (2 * np.exp(-np.arange(n) / 4) + 0.3 * rng.normal(size=n))]

    for patience in (1, 2, 4):
        yield case(noisy(25), patience=patience, behaviour="stops after patience epochs without a new best")
    yield case(noisy(6), patience=9, behaviour="stops after patience epochs without a new best")
    for _ in range(3):
        yield case(noisy(20, -1), mode="max", patience=3, min_delta=float(rng.choice([0.0, 0.1])),
                   behaviour="larger is better")
    for _ in range(3):
        yield case(noisy(20), patience=4, min_delta=float(rng.uniform(0.05, 0.4)), behaviour="min_delta")
    yield case([8.0, 7.5, 7.0, 6.5, 6.0, 5.5], patience=9, min_delta=0.5, behaviour="just min_delta, and slow progress")
    yield case([4.0, 3.75, 3.5, 3.25, 3.0], patience=9, min_delta=0.6, behaviour="just min_delta, and slow progress")
    yield case([4.0, 4.0, 4.0, 4.0], patience=3, behaviour="just min_delta, and slow progress")
    yield case([nan, nan, 2.0, nan, 1.0], patience=3, behaviour="NaN is never the best")
    yield case([nan, 2.0, 1.0, nan, 3.0, nan], patience=3, mode="max", behaviour="NaN is never the best")
    yield case([float("inf"), 2.0, -float("inf"), 1.0], patience=3, behaviour="infinity, zero and negative values")
    yield case([0.0, -1.0, -1.5, 0.0, 1.0], patience=2, behaviour="infinity, zero and negative values")


# %% [markdown]
# ## 5. Gradients that float16 cannot hold
#
# A float16 has 10 bits of fraction and 5 of exponent. Its positive values:
#
# | | value | |
# |---|---|---|
# | largest | 65504 | beyond 65520 an operation returns infinity |
# | smallest with full precision | $2^{-14} \approx 6.1 \cdot 10^{-5}$ | below it bits get lost one by one |
# | smallest at all | $2^{-24} \approx 6.0 \cdot 10^{-8}$ | what is at most half of it becomes 0 |
#
# Forty powers of two, and gradients sit at the lower end: those of a mean over 1000 samples are a thousand times
# smaller than those of a sample. **Worked example**, four gradients in float16, plain and with the loss multiplied by
# $2^{16} = 65536$:
#
# | gradient | in float16 | times $2^{16}$ in float16 | divided again, in float32 |
# |---|---|---|---|
# | 0.5 | 0.5 | 32768 | 0.5 |
# | 3.0·10⁻⁶ | 2.98·10⁻⁶, off by 0.7 % | 0.1967, off by 0.02 % | 3.0·10⁻⁶ |
# | 2.0·10⁻⁸ | 0 | 1.311·10⁻³ | 2.0·10⁻⁸ |
# | 1.5 | 1.5 | infinity | infinity: this step is lost |
#
# Backward is linear, so a factor on the loss is a factor on every gradient: one multiplication **before** backward
# moves all of them into range, and one division after it, in float32, takes it back. A factor that is a power of two
# costs no precision. Which one? The gradients change during training, so let the training find it:
#
# * if any gradient has overflowed, the factor was too large: halve it, and **skip the step**, for these gradients are of
#   no use;
# * after `interval` good steps in a row: double it.
#
# **Exercise 5.1** The rule as a function of what is known: the scale, the number of good steps since it last changed,
# and whether this step overflowed.
#
# **Exercise 5.2** Divide gradients by the scale, in place, and say whether all of them are finite.
#
# | interval 3 | | | | | | | |
# |---|---|---|---|---|---|---|---|
# | overflow? | no | no | no | no | yes | no | |
# | scale before | 1024 | 1024 | 1024 | 2048 | 2048 | 1024 | 1024 |
# | good before | 0 | 1 | 2 | 0 | 1 | 0 | 1 |

# %% solution="next_scale"
#| export
def next_scale(scale, good, overflow, interval=2000):
    """Scale of the loss and number of good steps after a step -> (scale, good).

    Halves after an overflow, doubles after interval good steps in a row. Source: Micikevicius et al. 2018.
    """
    ### BEGIN SOLUTION
    if overflow:
        return scale / 2, 0
    if good + 1 >= interval:
        return scale * 2, 0
    return scale, good + 1
    ### END SOLUTION


# %% solution="unscale"
#| export
def unscale(arrays, scale):
    """Divide float32 or float64 arrays by scale, in place -> whether all their elements are finite."""
    ### BEGIN SOLUTION
    for array in arrays:
        array /= scale
    return all(bool(np.isfinite(array).all()) for array in arrays)
    ### END SOLUTION


# %% check="next_scale" points=3
def scales(overflows, scale=1024.0, interval=3):
    """(scale, good) before the first and after each step."""
    good, seen = 0, [(scale, 0)]
    for overflow in overflows:
        scale, good = next_scale(scale, good, overflow, interval)
        seen.append((scale, good))
    return seen

check("next_scale", [case([False, False, False, False, True, False])], call=scales, compare="value")

# %% hidden="next_scale"
def cases(rng):
    for interval in (2, 4):
        yield case([bool(b) for b in rng.random(25) < 0.2], 2.0 ** int(rng.integers(4, 16)), interval,
                   behaviour="halves on overflow, doubles after good steps in a row")
    yield case([False] * 9, 8.0, 3, behaviour="the count starts again after each change")
    yield case([False, False, True, False, False, False, False], 8.0, 3, behaviour="the count starts again after each change")
    yield case([True] * 5, 2.0, 2, behaviour="one after the other, below 1, every step")
    yield case([False, True, False], 64.0, 1, behaviour="one after the other, below 1, every step")


# %% check="unscale" points=3
def unscaled(arrays, scale):
    """The arrays afterwards, and what unscale said; some have transposed strides."""
    views = [np.asfortranarray(a) if k % 2 else a.copy() for k, a in enumerate(arrays)]
    with np.errstate(all="ignore"):
        said = unscale(views, scale)
    return {"arrays": views, "finite": bool(said)}

check("unscale", [
    case([np.array([32768.0, 0.1966], "float32"), np.array([[1.311e-3]], "float32")], 65536.0),
    case([np.array([1.0, np.inf], "float32"), np.array([4.0], "float32")], 2.0),
], call=unscaled)

# %% hidden="unscale"
def cases(rng):
    def some(*shape, dtype="float32"):
        return (rng.normal(size=shape) * 1e3).astype(dtype)

    for scale in (2.0**10, 2.0**-3):
        yield case([some(4, 3), some(3), some(2, 2, 2)], scale, behaviour="every array is divided, in place")
    for at in range(3):
        for value in (np.inf, -np.inf, np.nan):
            arrays = [some(4), some(3, 2), some(5)]
            arrays[at].flat[-1] = value
            yield case(arrays, 8.0, behaviour="one infinity or NaN anywhere is noticed")
    opposite = some(6)
    opposite[:2] = np.inf, -np.inf
    yield case([opposite, some(2)], 8.0, behaviour="one infinity or NaN anywhere is noticed")
    yield case([some(3, 2, dtype="float64"), np.zeros((0, 2), "float32")], 4.0, behaviour="float64, no elements, no arrays")
    yield case([], 4.0, behaviour="float64, no elements, no arrays")
    yield case([np.full(3, 2e38, "float32"), np.full(2, -3e38, "float32")], 1.0, behaviour="large but finite")


# %% [markdown]
# **Estimate.** In a step the largest gradient, without scaling, is 0.9 in magnitude; float16 holds magnitudes up to
# 65504. Which power of two is the largest scale with which this step does not overflow?

# %% answer="largest_scale" points=2
largest_scale = ""  # a number, such as "1024"
### BEGIN SOLUTION
largest_scale = f"{2 ** math.floor(math.log2(65504 / 0.9))}"
### END SOLUTION

# %% key="largest_scale"
def key(v):
    most, gradient = 65504, 0.9
    right = 2.0 ** math.floor(math.log2(most / gradient))
    return Key(right, "", tol=0.0001, mistakes=[
        Mistake(right / 2, 0.25, "0.9 times twice that is 58982, which is still below 65504"),
        Mistake(2 * right, 0.25, "0.9 times that is above 65504"),
        Mistake(most / gradient, 0.5, "that is the limit; the scale is to be a power of two"),
    ])

# %% [markdown]
# The two classes that use this are given. `Half` computes a model in float16 while its parameters stay float32, for an
# update of 0.0001 to a weight of 1 would vanish in float16, whose next number after 1 is 1.00098. The conversions are
# operations like any other, so gradients pass through float16 on their way and arrive at the parameters in float32.

# %%
#| export
class Half(Module):
    """A model that computes in float16; its parameters, their gradients and its output are float32."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        held = [(module._parameters, name, p) for module in self.model.modules()
                for name, p in module._parameters.items() if p is not None]
        try:
            for registry, name, p in held:
                registry[name] = p.astype(float16)
            return self.model(*(x.astype(float16) if x.dtype.kind == "f" else x for x in inputs)).astype(float32)
        finally:
            for registry, name, p in held:
                registry[name] = p


class LossScaler:
    """A factor on the loss that keeps the gradients in the range of float16, and finds its own size.

    scale: the factor at the start; interval: good steps after which it doubles.
    """

    smallest = 2.0**-14

    def __init__(self, scale=2.0**16, interval=2000):
        if not scale > 0 or interval < 1:
            raise ValueError(f"scale is positive and interval at least 1, got {scale} and {interval}")
        self.scale, self.interval, self.good = float(scale), interval, 0

    def unscale_(self, params):
        """Divide the gradients of params by the scale -> whether they are finite."""
        grads = [p.grad for p in params if p.grad is not None]
        for grad in grads:
            grad.storage.version += 1
        return unscale([grad.numpy() for grad in grads], self.scale)

    def update(self, overflow):
        """Take whether a step overflowed. Raises LossError if no scale helps."""
        if overflow and self.scale <= self.smallest:
            raise LossError(f"gradients are not finite at a loss scale of {self.scale:g}: this is no overflow; "
                            "look for NaN in backward, and lower the learning rate")
        self.scale, self.good = next_scale(self.scale, self.good, overflow, self.interval)

    def state_dict(self):
        return {"scale": self.scale, "good": self.good}

    def load_state_dict(self, state):
        self.scale, self.good = state["scale"], state["good"]


# %% [markdown]
# **Exercise 5.3** What happens between backward and the next forward. The gradients of all micro-batches have been
# added up. There may be a scaler, a schedule and a limit for the norm, or each of them may be `None`. Arrange the calls
# so that all of this holds:
#
# * clipping sees gradients of their true size. With a scale of 65536 everything would be clipped, always;
# * if the gradients are not finite according to the scaler, neither weights, nor the averages in the optimizer, nor the
#   schedule move. The schedule counts steps that were taken;
# * the scaler learns about every step, good or bad, after it has unscaled;
# * at the end no parameter holds a gradient: an infinity that stays would be added to the next ones. It also frees
#   memory.
#
# Return the norm of the true gradients before clipping, and whether the step was taken. `clip_grad_norm_(params, limit)`
# returns the norm, and with `math.inf` as the limit it leaves finite gradients alone. Without a scaler a step is always
# taken.

# %% solution="finish_step"
#| export
def finish_step(params, optimizer, scheduler=None, scaler=None, max_norm=None):
    """Use the gradients that backward has left: unscale, clip, step, schedule -> (norm before clipping, taken).

    params: list of parameters. If scaler finds gradients that are not finite, the step is not taken.
    """
    ### BEGIN SOLUTION
    taken = scaler is None or scaler.unscale_(params)
    norm = clip_grad_norm_(params, math.inf if max_norm is None else max_norm)
    if taken:
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    if scaler is not None:
        scaler.update(not taken)
    optimizer.zero_grad()
    return norm, taken
    ### END SOLUTION


# %% check="finish_step" points=5
class Scripted:
    """Stands for a LossScaler: puts the true gradients in place and says what it was told to say."""

    def __init__(self, true, finite):
        self.true, self.finite, self.log = true, finite, []

    def unscale_(self, params):
        for p, values in zip(params, self.true, strict=True):
            p.grad = Tensor(values)
        self.log.append("unscaled")
        return self.finite

    def update(self, overflow):
        self.log.append("overflow" if overflow else "good")

def finished(weights, grads, scale=None, finite=True, schedule=True, max_norm=None, momentum=0.0, steps=1):
    """Weights, rate, norm and scaler after steps with the same true gradients, which arrive times scale."""
    params = [Tensor(w, requires_grad=True) for w in weights]
    optimizer = SGD(params, lr=0.5, momentum=momentum)
    scheduler = StepLR(optimizer, 1, gamma=0.5) if schedule else None
    scaler = None if scale is None else Scripted(grads, finite)
    seen = []
    with np.errstate(all="ignore"):
        for _ in range(steps):
            for p, grad in zip(params, grads, strict=True):
                p.grad = Tensor(grad * (scale or 1.0))
            norm, taken = finish_step(params, optimizer, scheduler, scaler, max_norm)
            seen.append((float(norm), bool(taken)))
    return {
        "norm and taken": seen,
        "weights": [np.array(p) for p in params],
        "rate": float(optimizer.param_groups[0]["lr"]),
        "steps in the optimizer": sorted(state["step"] for state in optimizer.state.values()),
        "scaler": scaler and scaler.log,
        "gradients are gone": all(p.grad is None or not p.grad.numpy().any() for p in params),
    }

check("finish_step", [
    case([np.array([1.0, 2.0])], [np.array([3.0, 4.0])]),
    case([np.array([1.0, 2.0])], [np.array([3.0, 4.0])], scale=1024.0, max_norm=1.0),
    case([np.array([1.0])], [np.array([np.inf])], scale=1024.0, finite=False, max_norm=1.0),
], call=finished)

# %% hidden="finish_step"
def cases(rng):
    def some(behaviour, **options):
        shapes = [(3,), (2, 2)]
        return case([rng.normal(size=s) for s in shapes], [rng.normal(size=s) for s in shapes], behaviour=behaviour, **options)

    for steps in (1, 3):
        yield some("step, then schedule, and no gradient is left", steps=steps, momentum=0.9)
    yield some("step, then schedule, and no gradient is left", schedule=False)
    for max_norm in (0.1, 1.0, 99.0):
        yield some("clipping, and the norm before it", max_norm=max_norm, steps=2)
    for max_norm in (None, 0.5, 99.0):
        yield some("unscaled before it is clipped", scale=2.0**14, max_norm=max_norm, steps=2)
    for max_norm in (None, 0.5):
        for momentum in (0.0, 0.9):
            grads = [np.array([1.0, np.nan]), rng.normal(size=3)]
            yield case([rng.normal(size=2), rng.normal(size=3)], grads, scale=64.0, finite=False, max_norm=max_norm,
                       momentum=momentum, steps=2, behaviour="a step that overflowed is not taken")
    yield some("a step that overflowed is not taken", scale=64.0, finite=False, schedule=False)
    yield some("a schedule or not, a scaler or not", scale=64.0, schedule=False)
    yield some("a schedule or not, a scaler or not", max_norm=0.5, schedule=False)


# %% [markdown]
# Does it rescue anything? The spirals again, and a loss that enters with a small weight, $10^{-6}$, as the auxiliary terms
# of large models do. Adam does not mind, because it divides by the size of the gradient; float16 does. Shares of
# gradient elements that arrive as exactly 0 at first, and accuracy after 60 steps. (Some zeros are honest: a
# ReLU that is closed for every point passes nothing back, in any dtype.)

# %% show
points, labels = (Tensor(a) for a in spirals(96, turns=1.0, noise=0.1))


def half_run(half, scaler, steps=60):
    """Share of zeros in the first gradient without overflow, accuracy at the end, scales, skipped steps."""
    plain = network(width=24)
    model = Half(plain) if half else plain
    params = list(model.parameters())
    optimizer, zero, scales, skipped = Adam(params, lr=0.02), None, [], 0
    with np.errstate(all="ignore"):
        for _ in range(steps):
            loss = cross_entropy(model(points), labels) * 1e-6
            (loss * (scaler.scale if scaler else 1.0)).backward()
            gradient = np.concatenate([p.grad.numpy().reshape(-1) for p in params])
            if zero is None and np.isfinite(gradient).all():
                zero = np.mean(gradient == 0)
            scales.append(scaler.scale if scaler else 1.0)
            skipped += not finish_step(params, optimizer, scaler=scaler)[1]
        with evaluating(model):
            return zero, accuracy(model(points), labels), scales, skipped


print(f"{'':28}  zeros at first   accuracy   last scale   skipped")
for name, half, scaler in (("float32", False, None), ("float16", True, None),
                           ("float16, scale 2^10, fixed", True, LossScaler(2.0**10, 10**9)),
                           ("float16, dynamic from 2^44", True, LossScaler(2.0**44, 6))):
    zero, right, scales, skipped = half_run(half, scaler)
    print(f"{name:28}  {zero:14.1%}   {right:8.1%}   2^{math.log2(scales[-1]):<9.0f}  {skipped:8}")

figure, axis = plt.subplots(figsize=(8, 2.8), layout="constrained")
axis.step(range(len(scales)), scales, where="post")
axis.set_yscale("log", base=2)
axis.set_xlabel("step")
axis.set_ylabel("scale of the loss")
axis.set_title("a dynamic scale halves until nothing overflows, then probes upwards after 6 good steps", fontsize=10)
plt.show()

# %% [markdown]
# ## 6. A file that is whole at every instant
#
# What a run needs to go on is a tree of dicts and lists with numbers, texts and arrays at its ends. The usual way to
# write it, pickle, runs arbitrary code when the file is **read**: a checkpoint from the internet is a program from the
# internet. Our format is an ordinary `.npz` (a zip file with one `.npy` file for each array, which `np.load` opens
# anywhere) and in it, as one more array of bytes, a JSON header that holds the rest of the tree. Neither can run
# anything.
#
# **Exercise 6.1** Separate the two. Each array is replaced by `{"@array": name}`, where the name is the path to it.
#
# ```python
# tree = {"epoch": 3, "model": {"0.weight": array_a}, "optimizer": {"state": {0: {"m": array_b}}, "betas": (0.9, 0.99)}}
# plain = {"epoch": 3, "model": {"0.weight": {"@array": "model/0.weight"}},
#          "optimizer": {"state": {"0": {"m": {"@array": "optimizer/state/0/m"}}}, "betas": [0.9, 0.99]}}
# arrays = {"model/0.weight": array_a, "optimizer/state/0/m": array_b}
# ```
#
# | in the tree | becomes |
# |---|---|
# | a dict with keys that are `str` or `int` | a dict with `str` keys |
# | a list or tuple | a list; its items have the paths `.../0`, `.../1`, ... |
# | a NumPy array, or a `Tensor` | `{"@array": path}`, and the array in `arrays` |
# | a NumPy number, such as `np.float64(0.1)` | the Python number |
# | `None`, bool, int, float, str | itself |
# | anything else, also as a key | `TypeError` with the path, in the form above, and the type's name |
#
# The tree itself is not changed. An array needs no copy: it is written at once.

# %% solution="split_arrays"
#| export
def split_arrays(tree, path=""):
    """A tree of dicts, lists and tuples -> (the same as plain data for JSON, {path: array}).

    Arrays and tensors become {"@array": path}. Raises TypeError with path and type of anything that is not plain data.
    """
    ### BEGIN SOLUTION
    if isinstance(tree, np.ndarray | Tensor):
        return {"@array": path}, {path: np.asarray(tree)}
    if isinstance(tree, np.generic):
        tree = tree.item()
    if tree is None or type(tree) in (bool, int, float, str):
        return tree, {}
    if not isinstance(tree, dict | list | tuple):
        raise TypeError(f"{path} is of type {type(tree).__name__}: a checkpoint holds dicts, lists, numbers, texts and arrays")
    plain, arrays = {}, {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if type(key) not in (str, int):
            raise TypeError(f"{path} has the key {key!r} of type {type(key).__name__}: keys are texts or ints")
        plain[str(key)], more = split_arrays(value, f"{path}/{key}" if path else str(key))
        arrays |= more
    return plain if isinstance(tree, dict) else list(plain.values()), arrays
    ### END SOLUTION


# %% check="split_arrays" points=4
STRANGE = {"function": len, "set": {1, 2}, "bytes": b"12", "complex": 1j}

def put_strange(tree):
    """tree with each text "!name" replaced by something that is not plain data, and "tensor!" by a tensor."""
    if isinstance(tree, dict):
        return {(1.5 if key == "!key" else key): put_strange(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(put_strange(value) for value in tree)
    if isinstance(tree, str) and tree.startswith("!"):
        return Tensor(np.arange(6.0).reshape(2, 3)).T if tree == "!tensor" else STRANGE[tree[1:]]
    return tree

def split(tree, says=()):
    try:
        plain, arrays = split_arrays(put_strange(tree))
    except TypeError as error:
        return {"the message names": [word in str(error) for word in says]}
    return {"plain": plain, "as JSON": json.dumps(plain, sort_keys=True),
            "arrays": {name: np.asarray(array) for name, array in arrays.items()}}

check("split_arrays", [
    case({"epoch": 3, "model": {"0.weight": np.ones((2, 2))},
          "optimizer": {"state": {0: {"m": np.zeros(2)}}, "betas": (0.9, 0.99)}}),
    case({"a": [1, {"b": "!function"}]}, says=["a/1/b", "builtin_function_or_method"]),
], call=split)

# %% hidden="split_arrays"
def cases(rng):
    def array(*shape, dtype="float32"):
        return rng.normal(size=shape).astype(dtype)

    core = "arrays by path, the rest as it is"
    yield case({"model": {"0.weight": array(3, 2), "0.bias": array(3)}, "epoch": int(rng.integers(1, 99)), "name": "run",
                "done": False, "best": None, "loss": float(rng.normal())}, behaviour=core)
    yield case({"deep": {"er": {"and": {"deeper": array(2), "n": 1}}}, "top": array(1, dtype="float64")}, behaviour=core)
    yield case({"list": [array(2), (array(1), 3, [array(3)])], "empty": [], "nothing": {}}, behaviour="lists and tuples")
    yield case([1, array(2), (2, 3)], behaviour="lists and tuples")
    yield case({"state": {0: {"m": array(2), "step": 3}, 7: {"m": array(2)}}}, behaviour="keys that are ints")
    yield case({"lr": np.float64(0.1), "half": np.float16(0.5), "n": np.int32(4), "flag": np.True_},
               behaviour="NumPy numbers, tensors, arrays of all kinds")
    yield case({"t": "!tensor", "none": np.zeros((0, 3), "int8"), "scalar": np.array(2.5), "flags": np.array([True, False])},
               behaviour="NumPy numbers, tensors, arrays of all kinds")
    yield case({"big": 2**100, "inf": float("inf"), "text": "@array"}, behaviour="NumPy numbers, tensors, arrays of all kinds")
    for kind, word in (("function", "builtin_function_or_method"), ("set", "set"), ("bytes", "bytes"), ("complex", "complex")):
        yield case({"x": 1, "some": {"where": [0, 1, f"!{kind}"]}}, says=["some/where/2", word],
                   behaviour="what is not plain data is refused")
    yield case({"some": {"!key": 1}}, says=["some", "float"], behaviour="what is not plain data is refused")


# %% [markdown]
# A disk, a network or a memory stick sometimes returns other bits than it was given. A **checksum** over everything is
# stored with the arrays, and computed again when they are read. `zlib.crc32(data, start)` gives 32 bits that change
# with every short run of wrong bits; its second argument continues an earlier sum, so that several pieces give one.
#
# **Exercise 6.2** One checksum for a dict of arrays. It has to notice everything that makes the arrays others: values,
# also -0.0 for 0.0, dtype, shape, names, which name has which array. It must **not** depend on what does not: strides,
# the order of the dict. All numbers of a transposed view count, in row-major order.

# %% solution="checksum"
#| export
def checksum(arrays):
    """CRC-32 of {name: array}: names, dtypes, shapes and bytes in row-major order -> int. The order of names is free."""
    ### BEGIN SOLUTION
    total = 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total = zlib.crc32(f"{name}\n{array.dtype.str}\n{np.shape(arrays[name])}\n".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8), total)
    return total
    ### END SOLUTION


# %% check="checksum" points=3
CHANGES = {
    "value": lambda d: {n: a + (np.arange(a.size).reshape(a.shape) == a.size - 1) for n, a in d.items()},
    "sign of zero": lambda d: {n: np.where(a == 0, -a, a).astype(a.dtype) for n, a in d.items()},
    "dtype": lambda d: {n: a.view({4: "int32", 8: "int64"}[a.itemsize]) for n, a in d.items()},
    "shape": lambda d: {n: a.reshape(-1) for n, a in d.items()},
    "transposed": lambda d: {n: a.T.copy() for n, a in d.items()},
    "one name": lambda d: {n + "x" * (k == 0): a for k, (n, a) in enumerate(d.items())},
    "swapped": lambda d: dict(zip(d, reversed(d.values()), strict=True)),
    "one missing": lambda d: dict(list(d.items())[1:]),
    "strides": lambda d: {n: np.asfortranarray(a) for n, a in d.items()},
    "every second": lambda d: {n: np.repeat(a, 2, axis=0)[::2] for n, a in d.items()},
    "order": lambda d: dict(reversed(d.items())),
    "copied": lambda d: {n: a.copy() for n, a in d.items()},
}

def noticed(arrays, changes):
    """Whether the checksum tells arrays from changed ones, for each kind of change."""
    before = checksum(arrays)
    return {kind: checksum(CHANGES[kind](arrays)) != before for kind in changes}

two = {"a": np.array([[1.0, 0.0, 3.0], [4.0, 5.0, 6.0]]), "b": np.array([[0.0, 2.0, 7.0], [9.0, 8.0, 1.0]])}
check("checksum", [case(two, ["value", "swapped", "order"])], call=noticed)

# %% hidden="checksum"
def cases(rng):
    def some(dtype="float32"):
        arrays = {f"layer{k}.weight": rng.integers(1, 50, (3, 4)).astype(dtype) for k in rng.permutation(3)}
        for a in arrays.values():
            a[1, 2] = 0
        return arrays

    for dtype in ("float32", "float64"):
        yield case(some(dtype), ["value", "copied"], behaviour="other values, same values")
    yield case(some(), ["sign of zero", "dtype"], behaviour="bits, dtype and shape")
    yield case(some("float64"), ["dtype", "shape"], behaviour="bits, dtype and shape")
    yield case(some(), ["shape", "transposed"], behaviour="bits, dtype and shape")
    yield case(some(), ["one name", "swapped", "one missing"], behaviour="names")
    yield case(some(), ["strides", "every second", "order"], behaviour="strides and order do not count")
    yield case({"empty": np.zeros((0, 4), "float32"), "one": np.ones((1, 4), "float32")}, ["one name", "one missing"],
               behaviour="no elements, no axes")
    yield case({"n": np.array(3.0), "m": np.array(4.0)}, ["swapped", "copied", "order"], behaviour="no elements, no axes")


# %% [markdown]
# **The instant of the crash.** Say the last checkpoint is `last.npz`, and the next one is to take its place.
#
# | how it is written | a crash in the middle leaves |
# |---|---|
# | open `last.npz` for writing, write | an empty or half-written file, and the old one is gone |
# | delete `last.npz`, write the new one | nothing |
# | write `new`, rename it to `last.npz` | after a kill: the old or the new one, both whole. After a **power cut**: perhaps an empty file |
# | write `new`, force it to the disk, rename | the old one or the new one, whole |
#
# `write` only hands the data to the operating system, which moves them to the disk when it likes, and may well move the
# rename first. `os.fsync(descriptor)` waits until the data are there. Python's own buffer comes before that:
# `file.flush()` empties it. And a rename is one indivisible act only within one file system, so the temporary file has
# to be in the **same folder**, under a name that nobody else uses; `tempfile.mkstemp(dir=...)` makes one.
#
# **Exercise 6.3** Write it. If anything fails, such as a full disk, the error comes out, the old file is as it was, and
# no temporary file stays behind. `os.replace(source, target)` is the rename that may overwrite.

# %% solution="write_atomic"
#| export
def write_atomic(path, data):
    """Write bytes to the file path: at every instant there is the old file or the new one, whole, also after a power cut."""
    ### BEGIN SOLUTION
    path = os.path.abspath(path)
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=f".{os.path.basename(path)}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    ### END SOLUTION


# %% check="write_atomic" points=6
def written(old, new, fails=None, relative=False):
    """What the folder holds afterwards, and what the disk would have held at each critical call."""
    before_sync, before_rename, synced = [], [], [0]
    real = {name: getattr(os, name) for name in ("fsync", "replace", "rename")}

    def content(path):
        with open(path, "rb") as file:
            return file.read()

    def old_is_there():
        return (content(path) if os.path.exists(path) else None) == old

    def fsync(descriptor):
        status = os.fstat(descriptor if isinstance(descriptor, int) else descriptor.fileno())
        if stat.S_ISREG(status.st_mode):
            before_sync.append({"the new data are complete": status.st_size == len(new), "the old file is there": old_is_there()})
            synced[0] += 1
            if fails == "fsync":
                raise OSError(errno.ENOSPC, "No space left on device")
        return real["fsync"](descriptor)

    def move(name):
        def moved(source, target, **options):
            before_rename.append({
                "synced": synced[0] > 0, "complete": content(source) == new, "the old file is there": old_is_there(),
                "same folder": os.path.samefile(os.path.dirname(os.path.abspath(source)), folder),
            })
            if fails == "rename":
                raise OSError(errno.EIO, "Input/output error")
            return real[name](source, target, **options)
        return moved

    home = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "last.npz")
        if old is not None:
            with open(path, "wb") as file:
                file.write(old)
        raised = None
        try:
            os.chdir(folder)
            with mock.patch.multiple(os, fsync=fsync, fdatasync=fsync, replace=move("replace"), rename=move("rename")):
                write_atomic("last.npz" if relative else path, new)
        except OSError as error:
            raised = error.errno
        finally:
            os.chdir(home)
        return {"raised": raised, "in the file": content(path) if os.path.exists(path) else None,
                "files": len(os.listdir(folder)), "before fsync": before_sync[:1], "before the rename": before_rename}

check("write_atomic", [case(b"old", b"the new data"), case(b"old", b"the new data", fails="fsync")], call=written)

# %% hidden="write_atomic"
def cases(rng):
    def some(n):
        return rng.integers(0, 256, n).astype("uint8").tobytes()

    core = "complete, forced to the disk, then renamed in the same folder"
    yield case(some(50), some(70_000), behaviour=core)
    yield case(some(9_000), some(300), behaviour=core)
    yield case(None, some(3_000), behaviour="no old file, a relative path, no data")
    yield case(some(10), some(30), relative=True, behaviour="no old file, a relative path, no data")
    yield case(some(10), b"", behaviour="no old file, a relative path, no data")
    for fails in ("fsync", "rename"):
        yield case(some(100), some(20_000), fails=fails, behaviour="after an error: the old file and nothing else")
        yield case(None, some(20), fails=fails, behaviour="after an error: the old file and nothing else")


# %% [markdown]
# The two functions that the world sees are given. `load_checkpoint` trusts nothing: not the zip, not the header, not
# the arrays.

# %%
#| export
FORMAT = "tinytorch checkpoint 1"


def join_arrays(plain, arrays):
    """What split_arrays took apart; tuples come back as lists, keys as texts."""
    if isinstance(plain, dict):
        if plain.keys() == {"@array"}:
            return arrays[plain["@array"]]
        return {key: join_arrays(value, arrays) for key, value in plain.items()}
    return [join_arrays(value, arrays) for value in plain] if isinstance(plain, list) else plain


def places_in(plain):
    """How many arrays a tree from split_arrays has a place for."""
    if isinstance(plain, dict):
        return 1 if plain.keys() == {"@array"} else sum(map(places_in, plain.values()))
    return sum(map(places_in, plain)) if isinstance(plain, list) else 0


def save_checkpoint(path, state):
    """Write a tree of dicts, lists, numbers, texts, arrays and tensors to one .npz file, whole or not at all -> its bytes.

    Raises TypeError for anything else, ValueError if two arrays have one path, as those of {"a/b": x, "a": {"b": y}}.
    """
    plain, arrays = split_arrays(state)
    if places_in(plain) != len(arrays):
        raise ValueError("two arrays of the state have one path: use keys without '/', and not the key '@array'")
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"{name} is an array of Python objects, which only pickle can write: convert it to a number dtype")
    text = json.dumps({"format": FORMAT, "checksum": checksum(arrays), "state": plain})
    header = np.frombuffer(text.encode(), np.uint8)
    header = np.append(header, np.frombuffer(zlib.crc32(header).to_bytes(4, "little"), np.uint8))
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{f"state/{name}": array for name, array in arrays.items()}, header=header)
    write_atomic(path, file.getbuffer())
    return file.getbuffer().nbytes


def load_checkpoint(path):
    """Read what save_checkpoint wrote -> tree; tuples come back as lists, keys as texts, tensors as arrays.

    Raises CheckpointError if the file is damaged or is no checkpoint, FileNotFoundError if there is none.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as members:
            arrays = {name: members[name] for name in members.files}
    except (ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, SyntaxError,
            zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): it is cut off or damaged; take an earlier checkpoint") from None
    header = arrays.pop("header", np.zeros(0, np.uint8))
    if header.dtype != np.uint8 or header.ndim != 1 or len(header) < 4:
        raise CheckpointError(f"{path} has no header: it is an .npz file, but no checkpoint of {FORMAT!r}")
    if zlib.crc32(header[:-4]) != int.from_bytes(header[-4:].tobytes(), "little"):
        raise CheckpointError(f"{path} has a damaged header: take an earlier checkpoint")
    found = json.loads(header[:-4].tobytes())
    if found.get("format") != FORMAT:
        raise CheckpointError(f"{path} has the format {found.get('format')!r}, wanted {FORMAT!r}")
    arrays = {name.removeprefix("state/"): array for name, array in arrays.items()}
    if checksum(arrays) != found["checksum"]:
        raise CheckpointError(f"{path} has damaged arrays: checksum {checksum(arrays):08x}, wanted {found['checksum']:08x}; "
                              "take an earlier checkpoint")
    return join_arrays(found["state"], arrays)


# %% [markdown]
# A checkpoint is written, looked at with nothing but NumPy, and then damaged, one byte at a time.

# %% show
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "last.npz")
    size = save_checkpoint(path, {"epoch": 3, "model": network(width=8).state_dict(), "lr": 1e-3})
    with np.load(path) as file:
        print(size, "bytes:", ", ".join(file.files))
    with open(path, "rb") as file:
        good = file.read()
    print("back again:", list(load_checkpoint(path)), load_checkpoint(path)["lr"])

    rng, noticed_count, harmless, shown = np.random.default_rng(0), 0, 0, set()
    for at in rng.integers(0, len(good), 200):
        bad = bytearray(good)
        bad[at] ^= 1 << int(rng.integers(8))
        with open(path, "wb") as file:
            file.write(bad)
        try:
            load_checkpoint(path)
            harmless += 1
        except CheckpointError as error:
            noticed_count += 1
            shown.add(str(error).replace(folder + os.sep, ""))
    print(f"200 single bits flipped: {noticed_count} noticed, {harmless} in bytes without meaning, such as dates in the zip")
    for text in sorted(shown, key=len)[:2]:
        print(" ", text)
    with open(path, "wb") as file:
        file.write(good[:-100])
    try:
        load_checkpoint(path)
    except CheckpointError as error:
        print("  cut off:", str(error).replace(folder + os.sep, ""))

# %% [markdown]
# ## 7. Resuming to the bit
#
# Whatever influences the next step has to be in the checkpoint. Go through a step and collect: weights and buffers; the
# averages of the optimizer and its step counts; the position in the schedule; the scale of the loss; which epoch it is
# and which batches of it are done; the seed of the order, if it was drawn by chance; the states of the random
# generators, which decide the next dropout mask; the sums from which the epoch's mean loss will be made, the history
# and what callbacks remember. One item less, and the run is another run.
#
# The **order of putting back** matters as well. `snapshot` below is given. `resume` reads what it wrote.
#
# * A loader is told its `epoch` before a pass begins; then the pass has the order of that epoch. To get to the middle,
#   the batches that are done are taken from it and thrown away.
# * A loader with a sampler that has a `seed` gets the saved seed back, unless that is `None`.
# * Loading a batch may draw random numbers: some data sets augment their samples. So may anything else that happens
#   while objects are built and filled.
# * After `resume`, the random generators are in the state in which they were when the snapshot was taken.
#
# **Exercise 7.1** Put everything back, and return the iterator over the batches of the epoch that are still to come.
# `state["scheduler"]` is `None` if there was none, and then `scheduler` is `None` too. The state of a NumPy generator is
# `generator.bit_generator.state`, which can be assigned to.

# %%
#| export
def snapshot(model, optimizer, scheduler, loader, epoch, batch, generators):
    """What resume needs, as a tree for save_checkpoint. epoch counts from 0; batch: how many of its batches are done."""
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler and scheduler.state_dict(),
        "loader": {"epoch": epoch, "batch": batch, "seed": getattr(getattr(loader, "sampler", None), "seed", None)},
        "random": [generator.bit_generator.state for generator in generators],
    }


# %% solution="resume"
#| export
def resume(state, model, optimizer, scheduler, loader, generators):
    """Put back what snapshot collected -> iterator over the batches of the epoch that are still to come.

    generators: the same random generators, in the same order. Raises StateError, ValueError or ShapeError if the state
    is that of another model or optimizer.
    """
    ### BEGIN SOLUTION
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(state["scheduler"])
    place = state["loader"]
    if place["seed"] is not None:
        loader.sampler.seed = place["seed"]
    loader.epoch = place["epoch"]
    batches = iter(loader)
    for _ in range(place["batch"]):
        next(batches)
    for generator, saved in zip(generators, state["random"], strict=True):
        generator.bit_generator.state = saved
    return batches
    ### END SOLUTION


# %% check="resume" points=6
class Noisy(Dataset):
    """Points with labels; draws says whether each sample takes noise from the default generator."""

    def __init__(self, draws):
        rng = np.random.default_rng(5)
        self.points, self.draws = rng.normal(size=(20, 2)).astype("float32"), draws

    def __len__(self):
        return 20

    def __getitem__(self, index):
        noise = default_rng().normal(size=2).astype("float32") if self.draws else 0
        return self.points[index] + noise, index % 2

def made(seed, draws, drop, schedule, shuffle, order_seed):
    """A new model, optimizer, schedule and loader, and the generators that they draw from."""
    manual_seed(seed)
    own = np.random.default_rng(seed)
    model = Sequential(Linear(2, 8, rng=own), Dropout(drop), Linear(8, 8), Dropout(drop, rng=own), Linear(8, 2))
    optimizer = Adam(model.parameters(), lr=0.05)
    scheduler = StepLR(optimizer, 2, gamma=0.8) if schedule else None
    loader = DataLoader(Noisy(draws), 4, shuffle=shuffle, seed=order_seed)
    return model, optimizer, scheduler, loader, [default_rng(), own]

def steps_taken(batches, model, optimizer, scheduler):
    for points, labels in batches:
        optimizer.zero_grad()
        cross_entropy(model(points), labels).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()

def resumed(epoch, batch, seed=3, draws=False, drop=0.0, schedule=True, shuffle=True, order_seed=1, whole=False):
    """Interrupts a run in an epoch after so many batches, builds everything anew with other seeds, and resumes.

    whole: another epoch follows the interrupted one.
    """
    model, optimizer, scheduler, loader, generators = parts = made(seed, draws, drop, schedule, shuffle, order_seed)
    for _ in range(epoch):
        steps_taken(loader, *parts[:3])
    batches = iter(loader)
    steps_taken(itertools.islice(batches, batch), *parts[:3])
    state = stored(snapshot(model, optimizer, scheduler, loader, epoch, batch, generators))
    steps_taken(batches, *parts[:3])
    if whole:
        steps_taken(loader, *parts[:3])
    wanted = [np.array(p) for p in model.parameters()] + [np.array([g.random() for g in generators])]

    other = made(seed + 100, draws, drop, schedule, shuffle, order_seed if order_seed is None else order_seed + 100)
    model, optimizer, scheduler, loader, generators = other
    batches = resume(state, *other[:4], generators)
    left = len(loader) - batch
    rest = list(itertools.islice(batches, left + 9)) if not draws else batches
    steps_taken(rest, *other[:3])
    if whole:
        steps_taken(loader, *other[:3])
    got = [np.array(p) for p in model.parameters()] + [np.array([g.random() for g in generators])]
    return {
        "batches left": len(rest) if not draws else left,
        "rate": optimizer.param_groups[0]["lr"],
        "weights equal to the bit": all(np.array_equal(a, b) for a, b in zip(got[:-1], wanted[:-1], strict=True)),
        "random numbers go on": bool(np.array_equal(got[-1], wanted[-1])),
    }

def stored(tree):
    """A tree as it comes back from a file: arrays for tensors, all of them copies, lists for tuples, texts for keys."""
    if isinstance(tree, dict):
        return {str(key): stored(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [stored(value) for value in tree]
    return np.array(tree) if isinstance(tree, np.ndarray | Tensor) else tree

check("resume", [case(0, 2), case(1, 3, drop=0.4)], call=resumed)

# %% hidden="resume"
def cases(rng):
    def seed():
        return int(rng.integers(1000))

    for epoch, batch in ((0, 1), (1, 4), (2, 2)):
        yield case(epoch, batch, seed(), drop=0.3, order_seed=seed(), behaviour="weights, optimizer, order and position")
    for epoch, batch in ((0, 0), (2, 0), (1, 5)):
        yield case(epoch, batch, seed(), order_seed=seed(), whole=True, behaviour="at the ends of an epoch, and the one after it")
    for batch in (1, 3):
        yield case(1, batch, seed(), drop=0.5, whole=True, behaviour="dropout goes on")
    for batch in (1, 3):
        yield case(1, batch, seed(), draws=True, drop=0.5, whole=True, behaviour="data that draw random numbers when they are loaded")
    yield case(1, 2, seed(), schedule=False, behaviour="no schedule, a seed drawn by chance, no shuffling")
    yield case(1, 2, seed(), order_seed=None, whole=True, behaviour="no schedule, a seed drawn by chance, no shuffling")
    yield case(1, 2, seed(), shuffle=False, order_seed=None, whole=True, behaviour="no schedule, a seed drawn by chance, no shuffling")


# %% [markdown]
# ## 8. The Trainer
#
# Everything is there. The cells below are given; find in them which function of yours is called where. Four decisions
# deserve a look:
#
# * `train_step` takes a **group** of batches, and scales each loss by its share and by the loss scale before backward.
#   How many samples a batch counts for is a function, `count`, by default the length of its targets. Who ignores labels
#   counts those that are not ignored.
# * Every loss is looked at before backward. This costs one comparison.
# * `fit(loader, epochs)` trains **until** so many epochs are done in total. So the same script can be started again
#   after a crash, and does what is left: `load` only reads the file, and the next `fit` puts it back.
# * Nothing that is measured with a clock goes into the history, or two equal runs would have different histories.

# %%
#| export
def samples_of(batch):
    """How many samples the mean loss of a batch is over: the length of its last item, the targets."""
    return len(batch[-1])


def set_epoch(loader, epoch):
    """Choose the order of a loader's next pass, so that it is the same in a resumed run. Lists of batches have one order."""
    if hasattr(loader, "epoch"):
        loader.epoch = epoch


class Progress(Callback):
    """How far a run is: a bar on a terminal, elsewhere a line for an epoch, at most about lines of them."""

    def __init__(self, lines=10):
        self.lines, self.bar = lines, None

    def on_fit_begin(self, trainer):
        self.begun = time.perf_counter()
        self.every = max(1, math.ceil((trainer.epochs - trainer.epoch) / self.lines))
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self.bar = Progress(*columns, TextColumn("{task.description}"))
            self.task = self.bar.add_task("", total=trainer.epochs * trainer.batches, epoch=trainer.epoch + 1)
            self.bar.start()

    def on_step_end(self, trainer, record):
        if self.bar:
            done = trainer.epoch * trainer.batches + trainer.batch
            self.bar.update(self.task, completed=done, epoch=trainer.epoch + 1, description=f"loss {record['loss']:.4g}")

    def on_epoch_end(self, trainer, row):
        last = trainer.stop or trainer.epoch >= trainer.epochs
        if last or row["epoch"] % self.every == 0:
            values = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
            line = f"epoch {row['epoch']} of {trainer.epochs}: {values} ({time.perf_counter() - self.begun:.1f} s)"
            if self.bar:
                self.bar.console.print(line, highlight=False)
            else:
                print(line)

    def close(self):
        """Give the terminal back, however the run ended."""
        if self.bar:
            self.bar.stop()
            self.bar = None


# %%
#| export
class Trainer:
    """Fits a model to the batches of a loader.

    A batch is a tuple whose last item is the target: loss(model(*inputs), target) is the mean loss of its samples.
    metrics: {name: function(prediction, target) that is such a mean, or an object with reset, update and value}.
    accumulate: batches for a step. max_norm: limit for the norm of the gradients. checkpoint: path of a file that is
    written after each epoch and every so many steps. count(batch): how many samples its mean loss is over.

    history: a dict for each epoch. epoch, batch: what is done. steps, skipped: optimizer steps, and those that overflowed.
    seconds: time spent in data, forward, backward and optimizer since the trainer was made.
    """

    def __init__(self, model, loss, optimizer, *, scheduler=None, metrics=None, accumulate=1, max_norm=None, scaler=None,
                 callbacks=(), checkpoint=None, every=None, count=samples_of, progress=True):
        if accumulate < 1 or (every is not None and every < 1):
            raise ValueError(f"accumulate and every are at least 1, got {accumulate} and {every}")
        if every is not None and checkpoint is None:
            raise ValueError("every says how often a checkpoint is written: pass checkpoint=, its path, as well")
        if checkpoint is not None and not os.path.isdir(folder := os.path.dirname(os.path.abspath(checkpoint))):
            raise FileNotFoundError(f"checkpoints cannot be written to {checkpoint}: make the folder {folder} first")
        self.model, self.loss, self.optimizer, self.scheduler, self.scaler = model, loss, optimizer, scheduler, scaler
        self.metrics, self.accumulate, self.max_norm, self.count = dict(metrics or {}), accumulate, max_norm, count
        self.callbacks, self.checkpoint, self.every = list(callbacks), checkpoint, every
        self.progress = Progress() if progress else None
        self.params = [p for group in optimizer.param_groups for p in group["params"]]
        self.epoch = self.batch = self.steps = self.skipped = self.epochs = self.batches = 0
        self.mean, self.history, self.stop, self.loader, self._waiting = Average(), [], False, None, None
        self.seconds = dict.fromkeys(("data", "forward", "backward", "optimizer"), 0.0)

    def fit(self, loader, epochs, validation=None):
        """Train until epochs epochs are done in all, or a callback sets stop -> history.

        Evaluates on the loader validation after each epoch. Raises LossError, CallbackError.
        """
        self.loader, self.epochs, self.batches, self.stop = loader, epochs, len(loader), False
        batches = self._put_back()
        if not self.model.training:
            self.model.train()
        try:
            self._call("on_fit_begin")
            while self.epoch < epochs and not self.stop:
                if batches is None:
                    set_epoch(loader, self.epoch)
                    batches, self.batch, self.mean = iter(loader), 0, Average()  # also after an epoch that broke off
                self._call("on_epoch_begin")
                self._train_epoch(batches)
                self._end_epoch(validation)
                batches = None
            self._call("on_fit_end")
        finally:
            if self.progress:
                self.progress.close()
        return self.history

    def _train_epoch(self, batches):
        for group in grouped(self._timed(batches), self.accumulate):
            record = self.train_step(group)
            self.batch += len(group)
            self.mean.update(record["loss"], record["samples"])
            self._call("on_step_end", record)
            if self.every and (self.steps + self.skipped) % self.every == 0:
                self.save(self.checkpoint)

    def _end_epoch(self, validation):
        row = {"epoch": self.epoch + 1, "loss": self.mean.value, "lr": self.optimizer.param_groups[0]["lr"]}
        if validation is not None:
            set_epoch(validation, self.epoch)
            row |= {f"validation {name}": value for name, value in self.evaluate(validation).items()}
        self.history.append(row)
        self.epoch, self.batch, self.mean = self.epoch + 1, 0, Average()
        self._call("on_epoch_end", row)
        if self.checkpoint:
            self.save(self.checkpoint)

    def _timed(self, batches):
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            self.seconds["data"] += time.perf_counter() - begun
            if batch is None:
                return
            yield batch

    def train_step(self, group):
        """One step on a list of batches -> {"loss": mean over all samples, "samples", "norm", "skipped"}."""
        counts, clock = [self.count(batch) for batch in group], time.perf_counter
        self.optimizer.zero_grad()  # of a step that broke off between two micro-batches
        mean, scale = Average(), self.scaler.scale if self.scaler else 1.0
        for batch, count, share in zip(group, counts, shares(counts), strict=True):
            if not share:
                continue
            *inputs, target = batch
            begun = clock()
            loss = self.loss(self.model(*inputs), target)
            value = loss.item()
            if not math.isfinite(value):
                raise LossError(diagnose(value, self.epoch + 1, self.steps + self.skipped + 1, [x.numpy() for x in inputs],
                                         [(name, p.numpy()) for name, p in self.model.named_parameters()]))
            mean.update(value, count)
            middle = clock()
            with np.errstate(over="ignore", invalid="ignore"):  # the scaler looks for overflows
                (loss * (share * scale)).backward()
            self.seconds["forward"] += middle - begun
            self.seconds["backward"] += clock() - middle
            loss = None  # its graph is gone, and its activations need not wait for the next ones
        begun = clock()
        norm, taken = finish_step(self.params, self.optimizer, self.scheduler, self.scaler, self.max_norm)
        self.seconds["optimizer"] += clock() - begun
        self.steps, self.skipped = self.steps + taken, self.skipped + (not taken)
        return {"loss": mean.value, "samples": mean.count, "norm": norm, "skipped": not taken}

    def evaluate(self, loader):
        """Means of loss and metrics over all samples of a loader, in evaluation mode -> {"loss": ..., name: ...}."""
        means = {name: Average() for name, metric in self.metrics.items() if not hasattr(metric, "update")}
        others = {name: metric for name, metric in self.metrics.items() if name not in means}
        loss = Average()
        for metric in others.values():
            metric.reset()
        with evaluating(self.model):
            for batch in loader:
                *inputs, target = batch
                prediction, count = self.model(*inputs), self.count(batch)
                loss.update(self.loss(prediction, target).item(), count)
                for name, average in means.items():
                    average.update(float(self.metrics[name](prediction, target)), count)
                for metric in others.values():
                    metric.update(prediction, target)
        return {"loss": loss.value} | {name: (means | others)[name].value for name in self.metrics}

    def _call(self, event, *args):
        for callback in [*self.callbacks, *([self.progress] if self.progress else [])]:
            try:
                getattr(callback, event)(self, *args)
            except Exception as error:
                epoch = self.epoch + (event not in ("on_epoch_end", "on_fit_end"))  # these come when it is counted as done
                raise CallbackError(f"{type(callback).__name__}.{event} failed in epoch {epoch}, step "
                                    f"{self.steps + self.skipped}: {type(error).__name__}: {error}") from error

    # State

    def state_dict(self):
        """All that decides how the run goes on, as a tree for save_checkpoint."""
        if self.loader is None:
            raise ValueError("there is no run to save yet: a checkpoint holds a place in the loader given to fit")
        state = snapshot(self.model, self.optimizer, self.scheduler, self.loader, self.epoch, self.batch, generators_of(self.model))
        return state | {
            "scaler": self.scaler and self.scaler.state_dict(),
            "counts": {"steps": self.steps, "skipped": self.skipped, "batches": self.batches, "accumulate": self.accumulate},
            "mean": {"total": self.mean.total, "count": self.mean.count},
            "history": [dict(row) for row in self.history],
            "callbacks": [{"class": type(c).__name__, "state": c.state_dict()} for c in self._with_state()],
        }

    def _with_state(self):
        return [callback for callback in self.callbacks if hasattr(callback, "state_dict")]

    def save(self, path):
        """Write a checkpoint -> bytes. The file at path is replaced at one instant, when the new one is on the disk."""
        return save_checkpoint(path, self.state_dict())

    def load(self, path):
        """Read a checkpoint; the next fit puts it back and goes on from there. Raises CheckpointError, FileNotFoundError."""
        state = load_checkpoint(path)
        if not isinstance(state, dict) or not {"model", "optimizer", "loader", "counts"} <= state.keys():
            raise CheckpointError(f"{path} is no checkpoint of a Trainer")
        self._waiting = state

    def _put_back(self):
        """Put a checkpoint back, if one was loaded -> the batches that are left of its epoch, else None."""
        if self._waiting is None:
            return None
        state, self._waiting = self._waiting, None
        now = {"batches": self.batches, "accumulate": self.accumulate, "schedule": self.scheduler is not None,
               "scaler": self.scaler is not None, "callbacks": [type(c).__name__ for c in self._with_state()]}
        then = {"batches": state["counts"]["batches"], "accumulate": state["counts"]["accumulate"],
                "schedule": state["scheduler"] is not None, "scaler": state["scaler"] is not None,
                "callbacks": [c["class"] for c in state["callbacks"]]}
        differ = [f"{name} {then[name]}, now {now[name]}" for name in now if now[name] != then[name]]
        if differ:
            raise CheckpointError(f"the checkpoint is from another run, which had {'; '.join(differ)}")
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        for callback, saved in zip(self._with_state(), state["callbacks"], strict=True):
            callback.load_state_dict(saved["state"])
        self.epoch, self.batch = state["loader"]["epoch"], state["loader"]["batch"]
        self.steps, self.skipped = state["counts"]["steps"], state["counts"]["skipped"]
        self.mean, self.history = Average(**state["mean"]), state["history"]
        return resume(state, self.model, self.optimizer, self.scheduler, self.loader, generators_of(self.model))


def plot_history(history):
    """Losses, and metrics beside them, over epochs -> matplotlib figure. Raises ValueError if there are no epochs."""
    import matplotlib.pyplot as plt

    if not history:
        raise ValueError("the history has no epochs yet: call fit first")
    losses = [name for name in history[0] if name.endswith("loss")]
    others = [name for name in history[0] if name not in (*losses, "epoch", "lr")]
    epochs = [row["epoch"] for row in history]
    figure, axes = plt.subplots(1, 1 + bool(others), figsize=(10 if others else 6, 3.2), layout="constrained", squeeze=False)
    for axis, names in zip(axes[0], (losses, others), strict=False):
        for name in names:
            axis.plot(epochs, [row[name] for row in history], label=name, marker="." if len(epochs) < 40 else None)
        axis.set_xlabel("epoch")
        axis.legend()
    seen = [row[name] for row in history for name in losses if row[name] > 0]
    if seen and max(seen) > 20 * min(seen):
        axes[0, 0].set_yscale("log")
    return figure


# %% [markdown]
# Two noisy spirals, 400 points to learn from and 200 to look at, dropout, AdamW with warm-up and cosine, clipping, steps
# over two batches of 32. The last batch of an epoch has 16 points, the last group one batch.

# %% show
import matplotlib.pyplot as plt


def data(n, which, **loading):
    return DataLoader(TensorDataset(*(Tensor(a) for a in spirals(n, which))), **loading)


def trainer(seed=0, epochs=40, drop=0.1, **options):
    """A model, its optimizer and schedule, and a loader, all made from one seed."""
    manual_seed(seed)
    model = network(drop=drop, seed=seed)
    loader = data(400, 1, batch_size=32, shuffle=True, seed=seed)
    optimizer = AdamW(model.parameters(), lr=0.02)
    schedule = CosineWithWarmup(optimizer, 10, epochs * math.ceil(len(loader) / 2))
    return Trainer(model, cross_entropy, optimizer, scheduler=schedule, max_norm=1.0, accumulate=2,
                   metrics={"accuracy": accuracy, "F1": MacroF1(2)}, **options), loader


validation = data(200, 2, batch_size=64)
run, loader = trainer(callbacks=[EarlyStopping(patience=8)])
run.fit(loader, 40, validation)
print(run.steps, "steps; with the best weights:",
      ", ".join(f"{name} {value:.4g}" for name, value in run.evaluate(validation).items()))
plot_history(run.history)
plt.show()

# %% show
side = np.linspace(-5, 5, 120)
plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
with evaluating(run.model):
    logits = run.model(Tensor(plane, "float32")).numpy()
figure, axis = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
axis.contourf(side, side, (logits[:, 1] - logits[:, 0]).reshape(120, 120), levels=[-1e9, 0, 1e9], colors=["#cfe0f3", "#f8dcc4"])
points, labels = spirals(200, 2)
for label, (marker, colour) in enumerate((("o", "#1f5fa8"), ("^", "#b8500f"))):
    axis.plot(*points[labels == label].T, marker, color=colour, markersize=3.5, label=f"class {label}")
axis.set_title("validation points, and what the model says of the plane", fontsize=9)
axis.set_aspect("equal")
axis.legend(loc="upper right", fontsize=8)
plt.show()

# %% [markdown]
# Now the promise of the first paragraph. A run of 6 epochs; the same run, in which an error strikes like lightning at
# step 17, in the middle of epoch 3, after the last checkpoint at step 15; and a third one that is made with other seeds
# and reads that checkpoint. (The tests of the course do it with a process of its own and `kill -9`.)

# %% show
class Lightning(Callback):
    def on_step_end(self, trainer, record):
        if trainer.steps == 17:
            raise RuntimeError("power cut")


def weights(run):
    return np.concatenate([p.numpy().reshape(-1) for p in run.model.parameters()])


with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "last.npz")
    straight, loader = trainer(epochs=6, progress=False)
    straight.fit(loader, 6, validation)
    struck, loader = trainer(epochs=6, progress=False, checkpoint=path, every=5)
    struck.callbacks.append(Lightning())
    try:
        struck.fit(loader, 6, validation)
    except CallbackError as error:
        print("CallbackError:", error)
    altered = os.path.join(folder, "altered.npz")
    state = load_checkpoint(path)
    state["random"] = [np.random.default_rng(1).bit_generator.state]
    save_checkpoint(altered, state)
    for what, file in (("all of it", path), ("all but the random state", altered)):
        again, loader = trainer(seed=99, epochs=6, progress=False)
        again.load(file)
        again.fit(loader, 6, validation)
        equal = np.array_equal(weights(again), weights(straight))
        print(f"resumed from step 15 with {what}: weights equal to the bit: {equal}, "
              f"largest difference {np.abs(weights(again) - weights(straight)).max():.2g}")

# %% [markdown]
# What goes wrong is said in one line.

# %% show
class Careless(Callback):
    def on_epoch_end(self, trainer, row):
        trainer.stop = row["accuracy"] > 0.9


def attempt(name, action):
    try:
        action()
    except (ArithmeticError, RuntimeError, ValueError) as error:
        print(f"{name}: {type(error).__name__}: {error}\n")


spoiled = spirals(64)
spoiled[0][37, 1] = nan
broken, _ = trainer(progress=False)
attempt("NaN in the data",
        lambda: broken.fit(DataLoader(TensorDataset(*(Tensor(a) for a in spoiled)), 64), 1))
broken, loader = trainer(progress=False)
broken.optimizer.param_groups[0]["lr"] = broken.scheduler.base_lrs[0] = 1e39
attempt("a learning rate of 1e39", lambda: broken.fit(loader, 1))
broken, loader = trainer(progress=False, callbacks=[Careless()])
attempt("an exception in a callback", lambda: broken.fit(loader, 1))

# %% [markdown]
# ## 9. What it costs
#
# ### 9.1 Where the memory goes
#
# In a training step of P parameters in float32 with AdamW there are, at the peak:
#
# | | bytes for each parameter | grows with the batch |
# |---|---|---|
# | weights | 4 | no |
# | gradients | 4 | no |
# | averages of AdamW | 8 | no |
# | activations that backward needs | | yes: about 4 bytes for each value that a layer keeps, for each sample |
#
# For our network with D hidden layers of width M, and a batch of N: backward of ReLU needs its result, and the product
# of the next layer needs the same array, so a hidden layer keeps 4 NM bytes. The sum before it is freed.

# %% show
def table(width, depth, batch):
    """Bytes by kind."""
    parameters = sum(p.numel() for p in network(width, depth=depth).parameters())
    return {"weights": 4 * parameters, "gradients": 4 * parameters, "averages of AdamW": 8 * parameters,
            "activations": 4 * batch * width * depth}


for width, depth, batch in ((256, 8, 32), (256, 8, 1024), (1024, 2, 1024)):
    counted = table(width, depth, batch)
    whole = sum(counted.values())
    print(f"M = {width:4}, D = {depth}, N = {batch:4}: {whole / 2**20:5.1f} MiB; ",
          ", ".join(f"{name} {n / whole:.0%}" for name, n in counted.items()))

# %% [markdown]
# Wide model and small batch: the optimizer dominates. Small model and large batch: the activations do. Which of the two
# you have decides what helps: accumulation and checkpointing (module 06) make the activations smaller and nothing else.
#
# **Predict** two ratios for M = 256, D = 8 and N = 1024, by `Storage.peak_bytes`, which counts tensors, above what is
# there before the step. How many times the peak of inference (`evaluating`) is that of a training step? And by what
# factor does the peak of a training step shrink when the 1024 samples come in 16 batches of 64?

# %% predict="training_peak" points=1
# predict("training_peak", "number", low="number", high="number")
### BEGIN SOLUTION
predict("training_peak", "4", low="2", high="8")
### END SOLUTION

# %% predict="accumulated_peak" points=1
# predict("accumulated_peak", "number", low="number", high="number")
### BEGIN SOLUTION
predict("accumulated_peak", "5", low="3", high="16")
### END SOLUTION

# %% show
import tracemalloc


def peaks(f):
    """Most bytes above those before while f runs -> (storages of tensors, all of Python by tracemalloc)."""
    tracemalloc.start()
    Storage.peak_bytes = before = Storage.live_bytes
    try:
        f()
        return Storage.peak_bytes - before, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def wide(accumulate=1, width=256, depth=8, samples=1024):
    """A Trainer of a wide model, and the batches of one step."""
    model = network(width, depth=depth)
    made = Trainer(model, cross_entropy, AdamW(model.parameters()), progress=False)
    batches = list(data(samples, 3, batch_size=samples // accumulate))
    made.train_step(batches)  # averages exist from now on
    return made, batches


made, batches = wide()
measured = {"inference, 1 batch of 1024": peaks(lambda: made.evaluate(batches))}
for accumulate in (1, 4, 16):
    made, batches = wide(accumulate)
    name = f"step, {accumulate} batch{'es' if accumulate > 1 else ''} of {1024 // accumulate}"
    measured[name] = peaks(lambda made=made, batches=batches: made.train_step(batches))
stored = [pair[0] for pair in measured.values()]
reveal("training_peak", f"{stored[1] / stored[0]:.3g}")
reveal("accumulated_peak", f"{stored[1] / stored[3]:.3g}")
print(f"{'':30}    by Storage   by tracemalloc")
for name, (tensors, everything) in measured.items():
    print(f"{name:30} {tensors / 2**20:9.2f} MiB {everything / 2**20:12.2f} MiB")
parameters = sum(p.numel() for p in made.params)
print(f"gradients alone: {4 * parameters / 2**20:.2f} MiB")

# %% [markdown]
# Inference frees a layer's input when its output is there: three arrays of NM floats at a time, however deep the model.
# Training keeps the result of each of the eight layers, since backward asks for them in reverse order. Sixteen pieces do
# not cut the peak to a sixteenth: the gradients do not depend on the batch, and they are there from the first piece on.
# `Storage` counts tensors; what backward passes from node to node are NumPy arrays, which only tracemalloc sees.
#
# ### 9.2 Where the time goes
#
# **Predict.** For the run of section 8, batches of 32: what share of the time of a step is spent **outside** forward and
# backward, so for data and optimizer together, in percent?

# %% predict="overhead" points=1
# predict("overhead", "20 %", low="5 %", high="50 %")
### BEGIN SOLUTION
predict("overhead", "30 %", low="10 %", high="60 %")
### END SOLUTION

# %% show
def time_shares(batch_size, width, epochs):
    """Share of each part of a step, and milliseconds for a batch, in an uninterrupted run."""
    model = network(width)
    loader = data(512, 3, batch_size=batch_size, shuffle=True, seed=0)
    timed = Trainer(model, cross_entropy, AdamW(model.parameters()), progress=False)
    timed.fit(loader, epochs)
    whole = sum(timed.seconds.values())
    return {name: s / whole for name, s in timed.seconds.items()}, whole / (epochs * len(loader)) * 1e3


settings = [(32, 48), (256, 48), (32, 256), (256, 256)]
measured = {(n, m): time_shares(n, m, 1 if m > 48 else 4) for n, m in settings}
first, _ = measured[32, 48]
reveal("overhead", f"{(first['data'] + first['optimizer']) * 100:.3g} %")
figure, axis = plt.subplots(figsize=(9, 2.6), layout="constrained")
left = np.zeros(len(settings))
names = [f"N = {n}, M = {m}: {measured[n, m][1]:.2f} ms" for n, m in settings]
for part, colour in zip(first, ("#8c8c8c", "#1f5fa8", "#b8500f", "#3b8f4b"), strict=True):
    shares_of_part = np.array([measured[s][0][part] for s in settings])
    axis.barh(names, shares_of_part, left=left, label=part, color=colour)
    left += shares_of_part
axis.invert_yaxis()
axis.set_xlim(0, 1)
axis.set_xlabel("share of the time of a step")
axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=4, frameon=False)
plt.show()

# %% [markdown]
# With arrays this small an operation takes as long as its call from Python, and forward, which also builds the graph,
# weighs most. With wide layers the arithmetic counts, and backward has two products for each of forward. The optimizer
# does the same work for any batch, so its share falls as the batch grows. That is the second use of accumulation: it
# saves not only memory but optimizer steps.
#
# ### 9.3 Bytes of a checkpoint
#
# **Estimate.** A model has 25 million float32 parameters and is trained with AdamW. How large is a checkpoint of
# `Trainer`, without early stopping, to 2 %?

# %% answer="checkpoint_bytes" points=2
checkpoint_bytes = ""  # a number with its unit, such as "16 MB"
### BEGIN SOLUTION
checkpoint_bytes = f"{25e6 * 3 * 4} B"
### END SOLUTION

# %% key="checkpoint_bytes"
def key(v):
    n, size = 25e6, 4
    return Key(3 * n * size, "B", tol=0.02, mistakes=[
        Mistake(n * size, 0.25, "those are the weights; AdamW cannot go on without its two averages"),
        Mistake(2 * n * size, 0.25, "AdamW keeps two averages for each parameter"),
        Mistake(4 * n * size, 0.5, "gradients are gone after each step and are not stored"),
        Mistake(3 * n, 0.5, "that counts numbers; a float32 takes 4 bytes"),
    ])

# %% [markdown]
# Measured at 0.26 million parameters, with and without `fsync`. In the second the file is in the memory of the operating
# system when the function returns, and a power cut may still take it. Both take the same time where the folder for
# temporary files is kept in memory, and where a disk, as many virtual ones do, reports what it has not yet written.

# %% show
wide_run, batches = wide(width=512, depth=2, samples=64)
wide_run.loader = data(64, 3)
state = wide_run.state_dict()
count = sum(p.numel() for p in wide_run.params)
with tempfile.TemporaryDirectory() as folder:
    path, times = os.path.join(folder, "last.npz"), {"with fsync": [], "without": []}
    for _ in range(5):
        for kind, sync in (("with fsync", os.fsync), ("without", lambda descriptor: None)):
            with mock.patch.object(os, "fsync", sync):
                begun = time.perf_counter()
                size = save_checkpoint(path, state)
                times[kind].append(time.perf_counter() - begun)
    begun = time.perf_counter()
    checksum({str(k): p.numpy() for k, p in enumerate(wide_run.params)})
    summed = (time.perf_counter() - begun) * size / (4 * count)
print(f"{count:,} parameters, {size:,} bytes: {size / count:.3f} bytes each, {size - 12 * count:,} bytes of header and names")
for kind, seconds in times.items():
    print(f"{kind:10}: {min(seconds) * 1e3:6.1f} ms, {size / min(seconds) / 1e6:6.0f} MB/s")
print(f"of it the checksum: {summed * 1e3:.1f} ms")

# %% [markdown]
# How often should one be written? With s seconds for a checkpoint and a failure every F seconds on average, the lost
# time is smallest near an interval of $\sqrt{2 s F}$ (Young 1974): at 10 s and one failure a day, every
# $\sqrt{2 \cdot 10 \cdot 86400} \approx 1300$ s, which costs 0.8 % for writing and as much for what is computed twice.

# %% [markdown]
# ## 10. Scale build: many processes (optional)
#
# This section is worth 6 of the 75 points; only the scale builds of modules 17 and 18 come back to it. It wants a system that
# forks processes, so Linux or macOS, for what it shows; the checks run anywhere.
#
# ### 10.1 A ring
#
# In **data-parallel** training p processes, the ranks, hold the same weights. Each takes a part of the batch, and before the step
# they add up their gradients: an **all-reduce**. Through one process all of it would have to pass; in a ring everybody sends
# to the right and receives from the left, a p-th of the vector at a time.
#
# In the first p − 1 steps what arrives is added (reduce-scatter): afterwards each rank has the whole sum of one chunk. In p − 1
# more steps what arrives replaces (all-gather). At step s (0 to 2p − 3) rank r sends one chunk, and all ranks send at once, so
# a rank can pass on only what arrived before this step. Each sends 2 (p − 1)/p of the vector, however many they are.
#
# **Exercise 10.1** Which chunk rank r sends at step s, so that in the end all have the sum of everything.

# %% solution="ring_chunk"
#| export
def ring_chunk(rank, step, world):
    """The chunk, 0 to world - 1, that a rank sends to the next at a step, 0 to 2 * world - 3, of a ring all-reduce.

    Source: Patarasuk and Yuan 2009.
    """
    ### BEGIN SOLUTION
    return (rank - step) % world if step < world - 1 else (rank + 1 - (step - (world - 1))) % world
    ### END SOLUTION


# %% check="ring_chunk" points=2
def around(vectors):
    """What all ranks have after a ring all-reduce of their vectors, one chunk for each rank."""
    world, held = len(vectors), [list(vector) for vector in vectors]
    for step in range(2 * (world - 1)):
        sent = [(ring_chunk(rank, step, world), rank) for rank in range(world)]
        arriving = [(rank, chunk, held[rank][chunk]) for chunk, rank in sent]
        for rank, chunk, value in arriving:
            right = (rank + 1) % world
            held[right][chunk] = held[right][chunk] + value if step < world - 1 else value
    return held

check("ring_chunk", [case([[1, 2, 3], [10, 20, 30], [100, 200, 300]])], call=around)

# %% hidden="ring_chunk"
def cases(rng):
    for world in (3, 4, 5, 8):
        yield case(rng.integers(1, 1000, (world, world)).tolist(), behaviour="the sum, at every rank")
    yield case(rng.integers(1, 1000, (2, 2)).tolist(), behaviour="two, and one alone")
    yield case([[7]], behaviour="two, and one alone")


# %% [markdown]
# The ring itself is given: forked processes that share a block of memory, a row for each, and a barrier between two steps. What a
# rank reads from its left neighbour's row is what a network would carry, and is counted.

# %%
#| export
class Ring:
    """One rank's place among `world` processes: sums of vectors by which all of them end with the same bits.

    rows: uint8 array (world, bytes) that all share; barrier: of all ranks. Every rank calls the same methods in the same order.
    own: the chunk that is this rank's after reduce_scatter. moved: bytes that came from the left neighbour so far.
    """

    def __init__(self, rank, rows, barrier, seconds=30.0):
        self.rank, self.world, self.rows, self.barrier, self.seconds, self.moved = rank, len(rows), rows, barrier, seconds, 0
        self.own = ring_chunk(rank, self.world - 1, self.world)

    def bounds(self, n):
        """Where each chunk of n numbers begins and ends -> list of pairs."""
        return [(n * k // self.world, n * (k + 1) // self.world) for k in range(self.world)]

    def reduce_scatter(self, values):
        """Add up the vectors of all ranks -> the sum of this rank's own chunk. values (n,): the same n and dtype everywhere."""
        self._put(slice(None), values, len(values))
        begin, end = self.bounds(len(values))[self.own]
        return self._around(len(values), values.dtype, range(self.world - 1), add=True)[begin:end]

    def all_gather(self, chunk, n):
        """Every rank's own chunk, in order -> array (n,)."""
        self._put(slice(*self.bounds(n)[self.own]), chunk, n)
        return self._around(n, chunk.dtype, range(self.world - 1, 2 * (self.world - 1)), add=False)

    def all_reduce(self, values):
        """The sum of the vectors of all ranks, at every rank -> array (n,)."""
        return self.all_gather(self.reduce_scatter(values), len(values))

    def _row(self, rank, n, dtype):
        return self.rows[rank, :n * dtype.itemsize].view(dtype)

    def _put(self, place, values, n):
        if n * values.dtype.itemsize > self.rows.shape[1]:
            raise ValueError(f"{n} numbers of {values.dtype} do not fit into the {self.rows.shape[1]} bytes that a rank shares")
        self._row(self.rank, n, values.dtype)[place] = values

    def _around(self, n, dtype, steps, add):
        left = (self.rank - 1) % self.world
        row, neighbour, bounds = self._row(self.rank, n, dtype), self._row(left, n, dtype), self.bounds(n)
        self.barrier.wait(self.seconds)  # everybody's row is there
        for step in steps:
            begin, end = bounds[ring_chunk(left, step, self.world)]
            arrived = neighbour[begin:end].copy()
            self.moved += arrived.nbytes
            self.barrier.wait(self.seconds)
            row[begin:end] = row[begin:end] + arrived if add else arrived
            self.barrier.wait(self.seconds)
        return row.copy()


def run_ranks(world, size, work):
    """Run work(ring) in so many forked processes, which share size bytes each -> list of what every rank returned.

    Raises RuntimeError where processes cannot be forked, or with the first rank that died; the others are then stopped.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise RuntimeError("ranks are forked processes, and this system does not fork: use Linux, macOS or the course's server")
    context = multiprocessing.get_context("fork")
    size = -(-size // 64) * 64  # rows begin where any number may begin
    rows = np.frombuffer(mmap.mmap(-1, world * size), np.uint8).reshape(world, size)
    barrier, results, waiting, processes = context.Barrier(world), {}, {}, []
    try:
        for rank in range(world):
            here, there = context.Pipe(duplex=False)
            processes.append(context.Process(target=_work, args=(there, work, Ring(rank, rows, barrier))))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside any thread
                processes[-1].start()
            there.close()
            waiting[here] = rank
        while waiting:
            for end in connection.wait(list(waiting)):
                rank = waiting.pop(end)
                with end:
                    try:
                        results[rank] = end.recv()
                    except EOFError:
                        processes[rank].join()
                        raise RuntimeError(f"rank {rank} of {world} ended with status {processes[rank].exitcode} and no result; "
                                           "the others were stopped") from None
        return [results[rank] for rank in range(world)]
    finally:
        if waiting and all(process.exitcode in (None, 0, 1) for process in processes):
            barrier.abort()  # those that wait end by themselves; who was killed may hold the barrier's lock for ever
        for process in processes:
            process.join(1 if waiting else None)
            if process.is_alive():
                process.kill()
                process.join()


def _work(end, work, ring):
    with end:
        try:
            end.send(work(ring))
        except threading.BrokenBarrierError:
            raise SystemExit(1) from None  # another rank died, and says so itself


# %% [markdown]
# ### 10.2 The same bits for any number of processes
#
# In float32, (10⁸ + 1) − 10⁸ is 0 and (10⁸ − 10⁸) + 1 is 1. A ring adds each chunk in another order, and with one process more
# all orders change: the last bits of the gradient depend on how many machines were free today. A run can then not be
# checked against another one, and a bug that changes little is never seen.
#
# Whole numbers add up to the same sum in any order. So gradients are rounded once, to multiples of $2^{-40}$, and added as
# int64. What a rank rounds must not depend on the number of ranks either: the batch is cut into 12 **pieces**, whoever
# computes them. The error is at most $2^{-41} \approx 4.5 \cdot 10^{-13}$ for each piece; float32 rounds a gradient of 0.01 by
# up to a thousand times as much.
#
# **Worked example**, 4 bits, so multiples of 1/16: 0.3 becomes 5 (0.3125), -1 becomes -16, and 0.03125, half of a multiple,
# becomes 0, the even neighbour.
#
# **Exercise 10.2** What is not finite, or so large that 1024 such numbers might overflow an int64, has to be refused: $2^{52}$ and
# more after scaling.

# %% solution="fixed"
#| export
def fixed(values, bits=40):
    """Floats as whole multiples of 2**-bits, the nearest ones, half to even -> int64 array of the same shape.

    Raises OverflowError, with the value, if one is not finite or has a magnitude of 2**(52 - bits) or more.
    """
    ### BEGIN SOLUTION
    values = np.asarray(values, np.float64)
    wrong = ~(np.abs(values) < 2.0 ** (52 - bits))
    if wrong.any():
        raise OverflowError(f"{values[wrong][0]} is no number below 2**{52 - bits}: it cannot be added up in fixed point")
    return np.rint(values * 2.0**bits).astype(np.int64)
    ### END SOLUTION


# %%
#| export
def unfixed(whole, dtype, bits=40):
    """What fixed made, and sums of it, as floats again."""
    return (whole * 2.0**-bits).astype(dtype)


# %% check="fixed" points=1
def added(vectors, bits):
    """The vectors in fixed point, and whether they have one sum in whatever order they are added."""
    try:
        rows = [fixed(vector, bits) for vector in vectors]
    except OverflowError as error:
        large = [v for vector in vectors for v in vector.ravel() if not abs(v) < 2.0 ** (52 - bits)]
        return {"the message names": str(large[0]) in str(error)}
    sums = {np.sum([rows[k] for k in order], axis=0).tobytes() for order in itertools.permutations(range(len(rows)))}
    return {"rows": rows, "sums": len(sums), "dtypes": [str(row.dtype) for row in rows]}

check("fixed", [case([np.array([0.3, -1.0, 0.03125, 0.09375])], 4), case([np.array([0.1, nan])], 40)], call=added)

# %% hidden="fixed"
def cases(rng):
    for dtype, bits in (("float32", 40), ("float64", 40), ("float32", 30)):
        yield case([(rng.normal(size=5) * 10.0 ** rng.integers(-6, 2)).astype(dtype) for _ in range(4)], bits,
                   behaviour="nearest multiples, one sum in any order")
    yield case([np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49, -0.51])], 0, behaviour="half to even, negative numbers")
    yield case([rng.normal(size=(2, 3))], 8, behaviour="other shapes")
    yield case([np.zeros((0,), "float32")], 8, behaviour="other shapes")
    for value in (float("inf"), -float("inf"), nan, 4096.0, -5e9):
        yield case([np.array([1.0, value])], 40, behaviour="what is too large is refused")
    yield case([np.array([4095.0, -4095.0])], 40, behaviour="what is too large is refused")


# %% [markdown]
# A run of 20 steps over the same batches of 96 points with 1 to 4 processes. Two comparisons: with one process that computes the
# same 12 pieces, and with one that computes the 96 points at once, in float32 throughout.

# %% show
PIECES, STEPS = 12, 20


def flat(tensors):
    """All numbers of some tensors in one vector."""
    return np.concatenate([tensor.numpy().reshape(-1) for tensor in tensors])


def set_flat(tensors, numbers):
    """Write a vector back into tensors."""
    at = 0
    with no_grad():
        for tensor in tensors:
            tensor.copy_(Tensor(numbers[at:at + tensor.numel()].reshape(tensor.shape)))
            at += tensor.numel()


def own_gradient(model, points, labels, ring):
    """This rank's pieces of a batch -> what they add to the gradient and, last, to the loss, in fixed point."""
    total = np.zeros(sum(p.numel() for p in model.parameters()) + 1, np.int64)
    for piece in range(ring.rank, PIECES, ring.world):
        x, y = (Tensor(part[piece::PIECES]) for part in (points, labels))
        model.zero_grad()
        loss = cross_entropy(model(x), y) * (len(y) / len(labels))
        loss.backward()
        total += fixed(np.append(flat(p.grad for p in model.parameters()), loss.numpy()))
    return total


def batch_of(step):
    return spirals(96, seed=step)


def data_parallel(ring):
    """The losses and the final weights of a run in which each rank computes some of the pieces."""
    model = network()
    params, losses = list(model.parameters()), []
    optimizer = AdamW(params, lr=0.01)
    for step in range(STEPS):
        total = unfixed(ring.all_reduce(own_gradient(model, *batch_of(step), ring)), np.float32)
        at = 0
        for p in params:
            p.grad = Tensor(total[at:at + p.numel()].reshape(p.shape))
            at += p.numel()
        optimizer.step()
        losses.append(float(total[-1]))
    return losses, flat(params), ring.moved


def at_once():
    """The same without pieces, ranks and fixed point."""
    model, losses = network(), []
    optimizer = AdamW(model.parameters(), lr=0.01)
    for step in range(STEPS):
        points, labels = map(Tensor, batch_of(step))
        loss = cross_entropy(model(points), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, flat(model.parameters())


FORKS = "fork" in multiprocessing.get_all_start_methods()
COUNT = flat(network().parameters()).size
if FORKS:
    plain_losses, plain = at_once()
    runs = {world: run_ranks(world, 8 * (COUNT + 1), data_parallel) for world in (1, 2, 3, 4)}
    alone, alone_weights, _ = runs[1][0]
    print("processes   last loss            losses, weights as of one process   bytes received by a rank and step")
    for world, ranks in runs.items():
        equal = all(losses == alone and np.array_equal(numbers, alone_weights) for losses, numbers, _ in ranks)
        print(f"{world:9}   {ranks[0][0][-1]:.17f}  {'equal to the last bit' if equal else 'DIFFERENT':34}   {ranks[0][2] / STEPS:,.0f}")
    off = [abs(a - b) for a, b in zip(alone, plain_losses, strict=True)]
    print(f"all 96 points at once, in float32: losses differ by {off[0]:.1e} at the first step, by up to {max(off):.1e} in all {STEPS}")
else:
    print("ranks are forked processes; this system does not fork")

# %% [markdown]
# Equal bits are what is promised, and only for equal pieces: a product over 96 rows adds them up in another order than twelve
# over 8, so with the whole batch at once there is rounding, at first in the last digits of float32. AdamW divides by the size of a
# gradient, so where that is nearly 0 a last digit decides the sign of a whole step, and the two runs drift apart. The price of the
# fixed point is bytes: 8 for each number where float32 needs 4.
#
# ### 10.3 ZeRO: the optimizer's state, once
#
# With AdamW every rank keeps two averages for each weight, the same ones everywhere. ZeRO-1 keeps them once: rank r has the
# averages of its own chunk only, updates the weights of this chunk, and the ranks exchange the results. The reduce-scatter
# gives each rank just the sums that it needs, and the all-gather, which brought the gradients round, now brings the weights:
# not a byte more than before, and state of 1/p of the size (Rajbhandari et al. 2020).
#
# **Exercise 10.3** A step. `ring` has `reduce_scatter`, `all_gather`, `own` and `bounds` as above; `shard` is a parameter with the
# weights of this rank's own chunk, and `optimizer` has this one parameter. The gradients are in fixed point.

# %% solution="sharded_step"
#| export
def sharded_step(weights, gradient, shard, optimizer, ring):
    """A step of ZeRO-1 on one rank, after which all ranks have the same weights, those of an optimizer for all of them.

    weights (n,): floats, changed in place. gradient (n,): int64, what this rank adds to the sum, from fixed.
    shard: the parameter of this rank's own chunk, the only one of the optimizer. Source: Rajbhandari et al. 2020.
    """
    ### BEGIN SOLUTION
    shard.grad = Tensor(unfixed(ring.reduce_scatter(gradient), weights.dtype))
    optimizer.step()
    weights[:] = ring.all_gather(shard.numpy(), len(weights))
    ### END SOLUTION


# %% check="sharded_step" points=2
class Table:
    """Stands in for a Ring: ranks are threads, and everybody looks at what the others put on the table."""

    def __init__(self, rank, shared):
        self.rank, self.shared, self.moved = rank, shared, 0
        self.world, self.own = len(shared["values"]), (rank + 1) % len(shared["values"])

    def bounds(self, n):
        return [(n * k // self.world, n * (k + 1) // self.world) for k in range(self.world)]

    def exchange(self, values):
        self.shared["barrier"].wait(5)
        self.shared["values"][self.rank] = np.array(values)
        self.shared["barrier"].wait(5)
        return self.shared["values"]

    def reduce_scatter(self, values):
        begin, end = self.bounds(len(values))[self.own]
        found = sum(np.asarray(v)[begin:end] for v in self.exchange(values))
        self.moved += (len(values) - (end - begin)) * values.itemsize
        self.shared["barrier"].wait(5)
        return found

    def all_gather(self, chunk, n):
        chunks = self.exchange(chunk)
        found = np.concatenate([chunks[(k - 1) % self.world] for k in range(self.world)])
        self.moved += (n - len(chunk)) * chunk.itemsize
        self.shared["barrier"].wait(5)
        return found

    def all_reduce(self, values):
        return self.all_gather(self.reduce_scatter(values), len(values))


def in_fixed_point(values):
    return np.rint(values.astype("float64") * 2.0**40).astype("int64")


def sharded(world, n, steps, decay=0.0, seed=0):
    """Steps of ranks with shards, and of one optimizer for all weights: differences, bytes of state, bytes received."""
    rng = np.random.default_rng(seed)
    start, gradients = rng.normal(size=n).astype("float32"), in_fixed_point(rng.normal(size=(steps, world, n)))
    shared = {"values": [None] * world, "barrier": threading.Barrier(world)}
    found, state, moved, failed = [start.copy() for _ in range(world)], [0] * world, [0] * world, []

    def one(rank):
        try:
            ring = Table(rank, shared)
            begin, end = ring.bounds(n)[ring.own]
            shard = Parameter(Tensor(start[begin:end]))
            optimizer = SGD([shard], lr=0.1, momentum=0.9, weight_decay=decay)
            for step in range(steps):
                sharded_step(found[rank], gradients[step, rank], shard, optimizer, ring)
            state[rank] = sum(v.nbytes for slots in optimizer.state.values() for v in slots.values() if isinstance(v, Tensor))
            moved[rank] = ring.moved
        except Exception as error:
            failed.append((not isinstance(error, threading.BrokenBarrierError), rank, error))
            shared["barrier"].abort()

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise max(failed, key=lambda f: f[:2])[2]
    whole = Parameter(Tensor(start))
    optimizer = SGD([whole], lr=0.1, momentum=0.9, weight_decay=decay)
    for step in range(steps):
        whole.grad = Tensor((gradients[step].sum(axis=0) * 2.0**-40).astype("float32"))
        optimizer.step()
    return {"weights": found, "equal at all ranks": all(np.array_equal(w, found[0]) for w in found),
            "as one optimizer": bool(np.allclose(found[0], whole.numpy(), rtol=1e-6, atol=1e-7)),
            "bytes of state": state, "bytes received": moved}

check("sharded_step", [case(2, 6, 2), case(3, 10, 3)], call=sharded)

# %% hidden="sharded_step"
def cases(rng):
    for world in (2, 3, 4):
        yield case(world, int(rng.integers(12, 40)), 3, seed=int(rng.integers(99)),
                   behaviour="the weights of one optimizer, a part of its state")
    yield case(3, 17, 4, 0.1, seed=int(rng.integers(99)), behaviour="with weight decay, many steps")
    yield case(2, 30, 12, seed=int(rng.integers(99)), behaviour="with weight decay, many steps")
    yield case(1, 5, 2, seed=int(rng.integers(99)), behaviour="one rank, chunks of one number")
    yield case(4, 4, 2, seed=int(rng.integers(99)), behaviour="one rank, chunks of one number")


# %% show
def zero(ring):
    """As data_parallel, with the optimizer's state in shards -> losses, weights, bytes received, bytes of state."""
    model = network()
    params, losses = list(model.parameters()), []
    numbers = flat(params)
    begin, end = ring.bounds(len(numbers))[ring.own]
    shard = Parameter(Tensor(numbers[begin:end]))
    optimizer = AdamW([shard], lr=0.01)
    for step in range(STEPS):
        total = own_gradient(model, *batch_of(step), ring)
        losses.append(float(unfixed(ring.all_reduce(total[-1:]), np.float32)[0]))
        sharded_step(numbers, total[:-1], shard, optimizer, ring)
        set_flat(params, numbers)
    return losses, numbers, ring.moved, sum(t.nbytes for t in optimizer.state[shard].values() if isinstance(t, Tensor))


if FORKS:
    print(f"{COUNT:,} weights, {4 * COUNT:,} bytes; averages of one AdamW {8 * COUNT:,} bytes")
    print("processes   bytes of state, largest   of one   bytes received by a rank and step   losses, weights as of one process")
    for world in (1, 2, 3, 4):
        ranks = run_ranks(world, 8 * (COUNT + 1), zero)
        most = max(state for *_, state in ranks)
        equal = all(losses == alone and np.array_equal(numbers, alone_weights) for losses, numbers, *_ in ranks)
        print(f"{world:9}   {most:23,}   {most / (8 * COUNT):6.1%}   {ranks[0][2] / STEPS:34,.0f}   "
              f"{'equal to the last bit' if equal else 'DIFFERENT'}")

# %% [markdown]
# On the way back weights travel, as float32, and not sums in fixed point: a quarter fewer bytes in all. Each chunk is updated by
# the rule of module 07, element by element, which gives the same bits in a part as in the whole.
#
# ### 10.4 Kills
#
# With a thousand machines some die every day, and the job that started them starts them again. A checkpoint makes this
# cheap, but a run that dies at the same place each time would be started for ever. So a supervisor watches the last
# checkpoint: as long as it moves on, dying is ordinary.
#
# **Exercise 10.4** `launch()` starts the training, waits for its end and returns its status: 0 if it is finished, -9 if it was killed.
# `done()` says how many steps the last checkpoint has. Start it until it is finished, and give up after `patience` starts in a
# row that left no more steps than there had ever been.

# %% solution="supervise"
#| export
def supervise(launch, done, patience=3):
    """Call launch() until its status is 0 -> how often it was called.

    done(): steps in the last checkpoint. Raises RuntimeError, with the last status and these steps, after patience calls in a
    row without one step more.
    """
    ### BEGIN SOLUTION
    starts = idle = 0
    most = done()
    while True:
        status, starts = launch(), starts + 1
        if status == 0:
            return starts
        now = done()
        most, idle = (now, 0) if now > most else (most, idle + 1)
        if idle >= patience:
            raise RuntimeError(f"{idle} starts in a row ended without a step more than {most}; the last status is {status}")
    ### END SOLUTION


# %% check="supervise" points=1
def watched_over(ends, patience, before=0):
    """A run whose starts end with the given (status, steps in the checkpoint) -> starts, or the refusal, and how many took place."""
    taken = []

    def launch():
        if len(taken) == len(ends):
            raise IndexError("started once more after its end")
        taken.append(ends[len(taken)])
        return taken[-1][0]

    try:
        return supervise(launch, lambda: taken[-1][1] if taken else before, patience), len(taken)
    except RuntimeError as error:
        return {"taken": len(taken), "the message names": [str(n) in str(error) for n in taken[-1]]}

check("supervise", [case([(-9, 5), (-9, 10), (0, 12)], 3), case([(-9, 5), (1, 5), (1, 5), (0, 9)], 2)], call=watched_over)

# %% hidden="supervise"
def cases(rng):
    for n in (2, 5):
        steps = [int(s) for s in np.cumsum(rng.integers(1, 9, n))]
        yield case([*((-9, s) for s in steps), (0, steps[-1] + 4)], 1, behaviour="started until it is finished")
    yield case([(0, 7)], 1, behaviour="started until it is finished")
    yield case([(1, 0)] * 4 + [(0, 5)], 4, behaviour="gives up after starts without progress")
    yield case([(1, 30)] * 9, 3, 30, behaviour="gives up after starts without progress")
    yield case([(-9, 4), (-9, 4), (-9, 8), (-9, 8), (-9, 9), (0, 9)], 2, behaviour="the count begins again with each step forward")
    yield case([(-9, 8), (-9, 4), (-9, 6), (-9, 8), (0, 9)], 3, behaviour="an older checkpoint is no progress")


# %% [markdown]
# The run of section 8 once more. This time it is a process of its own, and it is killed by SIGKILL at random steps, in each life
# at another one, so that nothing in it can tidy up.

# %% show
import signal


class Killed(Callback):
    """kill -9 after so many steps of this life."""

    def __init__(self, after):
        self.after = after

    def on_step_end(self, trainer, record):
        self.after -= 1
        if self.after < 0:
            signal.raise_signal(signal.SIGKILL)


def life(path, after):
    """From the last checkpoint, if there is one, until the end or death."""
    run, loader = trainer(epochs=6, progress=False, checkpoint=path, every=5, callbacks=[Killed(after)])
    if os.path.exists(path):
        run.load(path)
    run.fit(loader, 6, validation)


if FORKS:
    straight, loader = trainer(epochs=6, progress=False)
    straight.fit(loader, 6, validation)
    with tempfile.TemporaryDirectory() as folder:
        path, chance, deaths = os.path.join(folder, "last.npz"), np.random.default_rng(11), []

        def steps_done():
            return load_checkpoint(path)["counts"]["steps"] if os.path.exists(path) else 0

        def launch():
            after = int(chance.integers(2, 14))
            process = multiprocessing.get_context("fork").Process(target=life, args=(path, after))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            process.join()
            deaths.append((process.exitcode, after, steps_done()))
            return process.exitcode

        starts = supervise(launch, steps_done, patience=5)
        state = load_checkpoint(path)
    for status, after, steps in deaths:
        print("finished" if status == 0 else f"killed after {after:2} steps, status {status}", f"with step {steps} in the checkpoint")
    final = np.concatenate([state["model"][name].reshape(-1) for name, _ in straight.model.named_parameters()])
    print(f"{starts} starts; loss curve of {len(state['history'])} epochs equal to that of the uninterrupted run, to the last bit:",
          state["history"] == straight.history)
    print("weights equal to the last bit:", np.array_equal(final, weights(straight)))

# %% [markdown]
# ## 11. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="wrong_loop" points=4
# A colleague shows this loop. It runs without an error, and the loss falls.
#
# ```python
# for epoch in range(epochs):
#     for i, (x, y) in enumerate(loader):
#         loss = cross_entropy(model(x), y) * scaler.scale
#         (loss / 4).backward()
#         if (i + 1) % 4 == 0:
#             clip_grad_norm_(params, 1.0)
#             scaler.unscale_(params)
#             optimizer.step()
#             schedule.step()
#             optimizer.zero_grad()
#     model.eval()
#     print(np.mean([accuracy(model(x), y) for x, y in validation]))
#     pickle.dump(model, open("last.pkl", "wb"))
# ```
#
# The loader yields 50 batches of 32 and one of 8 in an epoch. Name at least six mistakes. For each: what it does to the
# run, with a number where there is one, and the repair. Then say which of them a comparison of the loss curve with a
# correct run would hardly show, and how you would find those.
#
# ### BEGIN MARK SCHEME
# Mistakes: (a) clipping sees gradients times scale (65536), so nearly every step is clipped to norm 1 and then divided
# by 65536: tiny steps with SGD, hidden by Adam; (b) infinities are stepped into the weights: what unscale_ says is
# ignored, and the scale is never updated; (c) 51 batches in groups of 4 leave 3, whose gradients stay and are added to
# the first group of the next epoch, which then has 7; (d) the batch of 8 counts as much as one of 32, four times per
# sample; (e) no no_grad: evaluation keeps graphs, memory; (f) no model.train() afterwards: dropout is off from epoch 2
# on; (g) mean of batch means in validation; (h) opened for writing in place: a crash leaves half a file and no old one;
# no fsync; (i) pickle runs code when read; (j) optimizer, schedule, scaler, position and random state are missing;
# (k) the schedule moves on skipped steps.
# One point each:
#
# 1. Three of them with effect and repair.
# 2. Six of them with effect and repair.
# 3. Numbers for at least two: 65536, 3 batches carried over and 7 in the next group, a weight of 4 per sample.
# 4. Which ones hide: c, d, f, g and j change a curve by less than its noise (a with Adam as well). They are found by
#    equalities and not by looking: accumulated against whole batch, mode before and after, resumed against straight to
#    the bit.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# Means are sums over counts, and what is no mean is made of counts. Gradients of pieces add up with their shares. A
# power of two moves gradients into the range of float16 and back. Files are written aside, forced to the disk and
# renamed. And a run is a function of its state: whoever has saved all of it, and puts it back in the right order, can
# check the whole machine with one comparison of bits.
#
# | here | PyTorch and its libraries |
# |---|---|
# | `Trainer` | `lightning.Trainer`, `transformers.Trainer`; in plain PyTorch one writes the loop |
# | `accumulate`, `shares` | `gradient_accumulation_steps`; the same mistake of batch means was repaired in `transformers` in 2024 |
# | `LossScaler` | `torch.amp.GradScaler`: factor 2, half, interval 2000 |
# | `Half` | `torch.autocast` with parameters in float32; it also keeps some operations in float32 |
# | `finish_step` | `scaler.unscale_`, `clip_grad_norm_`, `scaler.step`, `scaler.update` |
# | `save_checkpoint` | `safetensors` for weights; `torch.save` is pickle, which `torch.load(weights_only=True)` confines |
# | `write_atomic` | left to the user |
# | `resume` | `StatefulDataLoader` of torchdata for the position; `torch.get_rng_state` |
# | `EarlyStopping`, `Callback` | `lightning.pytorch.callbacks` |
# | `Ring`, `run_ranks` | `torch.distributed.all_reduce`, `DistributedDataParallel`; NCCL's ring; `torchrun` |
# | `sharded_step` | `ZeroRedundancyOptimizer`; DeepSpeed's ZeRO stage 1 |
# | `supervise` | `torchrun --max-restarts`; Kubernetes' back-off limit |
# | bits that can be compared | `torch.use_deterministic_algorithms(True)` |
#
# You have a framework that trains, and a run that can be trusted. Module 09 adds a layer that looks at neighbourhoods: the
# convolution.
