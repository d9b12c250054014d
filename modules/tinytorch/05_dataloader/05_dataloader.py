# %% [markdown]
# # TinyTorch 05: Dataloader
#
# Two worker processes prepare images, and each adds a little noise with `np.random`, so that no image is ever seen
# twice. Compare what they made: the noise of one worker is an exact copy of the noise of the other, and of its own in the
# epoch before. No error, no warning, and the model trains, on a fraction of the variety that it was promised. The cause
# is a sentence in the operating system's manual: a forked process starts with a copy of its parent's memory. The state
# of every random generator is part of that.
#
# A dataloader is where a training script meets processes, pipes, memory and chance. In this notebook you build one
# whose batches are the same, to the last bit, with no worker, with two, or with eight.
#
# **Where it sits.** What you write is exported as `tinytorch/data.py`.
#
# | module | what it has to do with this one |
# |---|---|
# | 01 tensor | views and storages: what a batch shares with its dataset, and what it copies |
# | 08 training | `Trainer` iterates over a `DataLoader`; a resumed run needs the order of its epoch again |
# | milestones | the digits come in batches of `TensorDataset` and `random_split` |
# | 14 profiling | where does the time of a step go? Often into waiting for data |
#
# **Afterwards you can**
# 1. split, shuffle and batch a dataset so that a run can be repeated exactly, and say what each seed decides;
# 2. collate nested samples into batches, and report the sample that does not fit;
# 3. augment images with randomness that depends on seed, epoch and index alone;
# 4. keep results in order, and memory bounded, while several workers finish in any order;
# 5. predict from two times and a depth whether the trainer waits, then measure it.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Hidden
# cases ask more: the last batch, empty datasets, infinite samplers, falsy results, wrong arguments. None of the checks
# starts a process. The loader at the end does, and its processes are given code, explained. Of the modules before, you
# need `Tensor` alone. Two and a half hours are typical.

# %%
#| export
"""Datasets, samplers, batches, and the loader that prepares them ahead of the trainer.

    Dataset    len() samples by index         Sampler     an order of indices, one epoch long
    collate    samples -> one batch           DataLoader  batches of an epoch, prepared here or by worker processes

All randomness is a function of seed, epoch and index: the batches of a loader do not depend on its number of workers.

Errors, each one line: ValueError and TypeError for arguments; ShapeError and DTypeError for samples that do not stack,
naming the sample; what a dataset raises in a worker is raised again in the parent; RuntimeError if a worker is lost.
"""

import contextlib
import itertools
import math
import multiprocessing
import operator
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from multiprocessing import resource_tracker
from multiprocessing.connection import wait

import numpy as np

from tinytorch.tensor import DTypeError, ShapeError, Tensor


def set_epoch(source, epoch):
    """Tell a dataset or sampler the epoch, if it wants to know."""
    if hasattr(source, "set_epoch"):
        source.set_epoch(epoch)


# %%
from mlsysbook import answer, case, check, predict, prop, reveal


def equal_where_equal(out, *args):
    """For checks of chance: rows of out are equal where the last argument, their places, repeats a place."""
    rows = {}
    return all(rows.setdefault(tuple(p), tuple(row)) == tuple(row) for p, row in zip(args[-1], out, strict=True))


def different_where_different(out, *args):
    """As many different rows as different places."""
    return len({tuple(row) for row in out}) == len({tuple(p) for p in args[-1]})


# %% [markdown]
# ## 1. Datasets
#
# A dataset answers two questions: how many samples, and what is sample `i`. Everything else in this notebook is built
# on these two. `set_epoch` is for datasets that change from epoch to epoch; the loader calls it.
#
# A sample of `TensorDataset` is a tuple of views: `dataset[3]` moves no data. `gather` is a shortcut. Where the samples
# lie in tensors, one indexing operation of NumPy collects a whole batch, and section 9 measures what that saves.

# %%
#| export
class Dataset:
    """Samples by index: a subclass defines __len__ and __getitem__(index).

    Random numbers in __getitem__ come from generator(seed, epoch, index). A worker process starts with a copy of every
    global generator, so several workers would draw the same numbers from it.
    """

    def __len__(self):
        raise NotImplementedError(f"{type(self).__name__} has no __len__")

    def __getitem__(self, index):
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def set_epoch(self, epoch):
        """Told before the samples of an epoch are loaded. Nothing, unless samples depend on it."""


def position(index, length):
    """index as an int from 0 to length - 1; negative ones count from the end. Raises IndexError."""
    i = operator.index(index)
    if not -length <= i < length:
        raise IndexError(f"index {i} is out of range for a dataset of {length} samples")
    return i % length


class TensorDataset(Dataset):
    """Sample i is the tuple of row i of each tensor: views, no copies. Raises ShapeError if lengths differ."""

    def __init__(self, *tensors):
        if not tensors:
            raise ValueError("TensorDataset wants at least one tensor, got none")
        self.tensors = tuple(t if isinstance(t, Tensor) else Tensor(t) for t in tensors)
        if any(t.ndim == 0 for t in self.tensors):
            raise ShapeError("TensorDataset wants tensors with an axis of samples, got one without axes")
        lengths = [len(t) for t in self.tensors]
        if len(set(lengths)) > 1:
            raise ShapeError(f"tensors of one dataset have one length, got {' and '.join(map(str, lengths))}")

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, index):
        i = position(index, len(self))
        return tuple(t[i] for t in self.tensors)

    def gather(self, indices):
        """The batch of these samples, copied in one operation a tensor; the same as collating them one by one."""
        if type(self).__getitem__ is not TensorDataset.__getitem__:  # a subclass makes its samples otherwise
            return default_collate([self[i] for i in indices])
        rows = np.asarray(indices, None if len(indices) else np.intp)
        if rows.dtype.kind not in "iu":
            raise IndexError(f"indices are ints, got {rows.dtype}")
        for outside in rows[(rows < -len(self)) | (rows >= len(self))]:
            position(outside, len(self))  # raises
        return tuple(Tensor.from_numpy(np.ascontiguousarray(t.numpy()[rows])) for t in self.tensors)


class Subset(Dataset):
    """The samples of a dataset at these indices, in this order. They may repeat."""

    def __init__(self, dataset, indices):
        self.dataset = dataset
        self.indices = [position(i, len(dataset)) for i in indices]

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[self.indices[position(index, len(self))]]

    def gather(self, indices):
        if type(self).__getitem__ is not Subset.__getitem__:
            return default_collate([self[i] for i in indices])
        return load(self.dataset, [self.indices[position(i, len(self))] for i in indices])

    def set_epoch(self, epoch):
        set_epoch(self.dataset, epoch)


def load(dataset, indices, collate=None):
    """The batch of these samples: gathered at once where the dataset can and collate is the default (None)."""
    if collate is None and hasattr(dataset, "gather"):
        return dataset.gather(indices)
    return (collate or default_collate)([dataset[i] for i in indices])


# %% [markdown]
# A dataset is split before anything else is done with it, into samples to train on and samples to test on. How long are
# the parts? They are given as counts, or as fractions.
#
# | samples | parts | lengths | |
# |---|---|---|---|
# | 10 | 7, 2, 1 | (7, 2, 1) | counts add up to the samples |
# | 10 | 0.5, 0.25, 0.25 | (6, 2, 2) | 5, 2.5 and 2.5 rounded down are 5, 2, 2: the first part gets the sample left over |
# | 11 | 1/3, 1/3, 1/3 | (4, 4, 3) | two left over: one each for the first two |
# | 10 | 7, 2 | error | one sample would be in no part |
# | 10 | 0.5, 0.4 | error | fractions add up to 1, up to rounding: ten times 0.1 is fine |
#
# Python ints are counts and floats are fractions. A mixture of both is refused, and so is anything negative.
#
# **Exercise 1.1** Compute the lengths. The message of an error about counts names their sum and the number of samples.

# %% solution="split_lengths"
#| export
def split_lengths(n, parts):
    """Lengths of the parts of n samples, given as counts (ints) or as fractions (floats) -> tuple of ints.

    Samples that rounding down leaves over go one each to the first parts. Raises ValueError if counts do not add up to
    n, fractions do not add up to 1, one is negative, or both kinds are mixed.
    """
    ### BEGIN SOLUTION
    parts = tuple(parts)
    kinds = {type(p) for p in parts}
    if any(p < 0 for p in parts) or not (kinds == {int} or kinds == {float}):
        raise ValueError(f"parts are all counts (ints) or all fractions (floats), none negative; got {parts}")
    if kinds == {int}:
        if sum(parts) != n:
            raise ValueError(f"counts {parts} add up to {sum(parts)}, but there are {n} samples")
        return parts
    if not math.isclose(math.fsum(parts), 1, rel_tol=1e-9):
        raise ValueError(f"fractions {parts} add up to {math.fsum(parts):.6g}, want 1")
    lengths = [int(n * p) for p in parts]
    for i in range(n - sum(lengths)):
        lengths[i % len(lengths)] += 1
    return tuple(lengths)
    ### END SOLUTION


# %% check="split_lengths" points=4
def lengths_of(n, parts):
    try:
        return split_lengths(n, parts)
    except ValueError as error:
        if any(type(p) is not int or p < 0 for p in parts):
            raise
        return {"the message names": [str(n) in str(error), str(sum(parts)) in str(error)]}

check("split_lengths", [case(10, (7, 2, 1)), case(10, (0.5, 0.25, 0.25)), case(11, (1 / 3, 1 / 3, 1 / 3)), case(10, (7, 2))],
      call=lengths_of)

# %% hidden="split_lengths"
def cases(rng):
    for _ in range(3):
        counts = tuple(int(c) for c in rng.integers(1, 90, rng.integers(2, 5)))
        yield case(sum(counts), counts, behaviour="counts and fractions")
        a, b = (int(v) for v in rng.integers(1, 7, 2))
        yield case(int(rng.integers(20, 999)), (a / 16, b / 16, (16 - a - b) / 16), behaviour="counts and fractions")
    for k in (3, 7):
        for left in (1, k - 1):
            yield case(k * int(rng.integers(1, 30)) + left, (1 / k,) * k, behaviour="samples left over by rounding")
    yield case(1797, (0.8, 0.2), behaviour="samples left over by rounding")
    yield case(2, (0.25, 0.25, 0.25, 0.25), behaviour="samples left over by rounding")
    yield case(57, (0.1,) * 10, behaviour="fractions whose sum is rounded")
    yield case(64, (0.7, 0.2, 0.1), behaviour="fractions whose sum is rounded")
    yield case(0, (0.5, 0.5), behaviour="empty parts")
    yield case(5, (5, 0), behaviour="empty parts")
    yield case(5, (0.0, 1.0), behaviour="empty parts")
    for n, parts in ((10, (7, 2)), (31, (29, 4)), (1, (1, 1)), (10, (1,))):
        yield case(n, parts, behaviour="counts that do not add up are named")
    for n, parts in ((10, (0.5, 0.4)), (10, (0.9, 0.2)), (10, (-1, 11)), (10, (-0.5, 1.5)), (10, (5, 0.5)), (8, (1.0, 1))):
        yield case(n, parts, behaviour="fractions, signs and mixtures that are refused")


# %% [markdown]
# ## 2. Chance that can be repeated
#
# Shuffling wants chance; debugging wants the same run again; several workers want both without talking to each other.
# The way out is to have not one generator that everybody draws from, but one for each **place** where chance is needed,
# made on the spot from numbers that everybody knows.
#
# | place | generator | decides |
# |---|---|---|
# | a split | `generator(seed)` | which sample goes to which part |
# | an epoch | `generator(seed, epoch)` | the order of the samples |
# | a sample in an epoch | `generator(seed, epoch, index)` | how it is cropped and flipped |
#
# What is wrong with `default_rng(seed + epoch)`? With seeds 0 and 1 for two "independent" runs, epoch 1 of the first
# run is epoch 0 of the second: 0 + 1 = 1 + 0. Sums, products and weights such as `1000 * seed + epoch` all have such
# **collisions**. A subtler one: NumPy fills short seeds up with zeros, so `default_rng([7])` and `default_rng([7, 0])`
# are one generator. Try it.
#
# **Exercise 2.1** Write `generator`. Every two different places have different, unrelated generators, and `(7,)` and
# `(7, 0)` are different places. The same place gives the same numbers today, tomorrow and in another process. Epochs and
# indices are below 2³². NumPy has a class for the purpose: read `help(np.random.SeedSequence)`.

# %% solution="generator"
#| export
def generator(seed, *place):
    """A NumPy Generator for one place, such as (epoch,) or (epoch, index): a pure function of its arguments.

    seed from 0 to 2**128 - 1, place from 0 to 2**32 - 1. Different arguments give unrelated streams, also if one of them
    only has a zero more at its end.
    Source: SeedSequence of NumPy (O'Neill 2015, "Developing a seed_seq alternative").
    """
    ### BEGIN SOLUTION
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))
    ### END SOLUTION


# %% check="generator" points=4
def first_numbers(places):
    """The first four numbers of the generators of all places, row by row. All are made before the first is used."""
    made = [generator(*place) for place in places]
    return np.array([rng.random(4) for rng in made])

check("generator", [case([(7, 0), (7, 1), (7, 0)]), case([(0, 1), (1, 0)]), case([(7,), (7, 0)])],
      call=first_numbers, compare=None, properties=[
          prop("be four numbers from 0 to 1 for each place", lambda out, places: out.shape == (len(places), 4)
               and bool(((out >= 0) & (out < 1)).all())),
          prop("be the same numbers for the same place", equal_where_equal),
          prop("be other numbers for another place", different_where_different),
          prop("be spread evenly over all places", lambda out, places: len(places) < 50 or bool(
              (abs(out.mean(axis=0) - 0.5) < 1.6 / len(places) ** 0.5).all())),
      ])

# %% hidden="generator"
def cases(rng):
    core = "the same place gives the same numbers, another place others"
    for _ in range(3):
        some = [tuple(int(v) for v in rng.integers(0, 50, 3)) for _ in range(20)]
        yield case(some + [some[int(i)] for i in rng.permutation(20)], behaviour=core)
    swapped = "places that sums, weights and joined digits confuse"
    yield case([(a, b) for a in range(12) for b in range(12)], behaviour=swapped)
    sizes = (0, 1, 2, 10, 100, 1000, 10_000, 1_000_000)
    yield case([(a, b, c) for a in sizes for b in sizes for c in sizes], behaviour=swapped)
    yield case([(1, 23), (12, 3), (1, 2, 3), (123,), (3, 2, 1), (0, 123)], behaviour=swapped)
    n = int(rng.integers(1, 99))
    yield case([(n,), (n, 0), (n, 0, 0), (0, n), (0, 0, n)], behaviour="zeros at the end count")
    yield case([(0,), (0, 0), (0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0, 0)], behaviour="zeros at the end count")
    big = 2**32 - 1
    yield case([(0, big), (1, 0), (0, 1), (big, 0), (0, big - 1), (1, big), (big + 1, 0), (2**40, 1)], behaviour="large numbers")
    yield case([(int(rng.integers(2**40)), 0, i) for i in range(400)], behaviour="neighbouring places are unrelated")
    yield case([(s, 3) for s in range(400)], behaviour="neighbouring places are unrelated")


# %%
#| export
class SequentialSampler:
    """Indices 0, 1, ... of a dataset or anything else with a length."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __iter__(self):
        return iter(range(len(self.source)))


def random_split(dataset, parts, seed=0):
    """Subsets of a shuffled dataset, given as counts or fractions of it -> list of Subset. The seed decides who is where."""
    lengths = split_lengths(len(dataset), parts)
    order = generator(seed).permutation(len(dataset)).tolist()
    ends = list(itertools.accumulate(lengths))
    return [Subset(dataset, order[end - length:end]) for length, end in zip(lengths, ends, strict=True)]


# %% [markdown]
# **Exercise 2.2** The random sampler. One pass over it is one epoch: each index once, as a Python int, every order
# equally likely. `self.rng()` gives the generator of the current epoch, a new one at each call, and is the only source
# of chance allowed. So two passes without `set_epoch` between them are the same.

# %% solution="random_sampler"
#| export
class RandomSampler:
    """Indices of a dataset in random order, another one for each epoch, decided by (seed, epoch) alone.

    seed None draws one from the operating system; it can be read from .seed afterwards, to repeat the run.
    """

    def __init__(self, source, seed=None):
        self.source = source
        self.seed = int.from_bytes(os.urandom(4), "little") if seed is None else operator.index(seed)
        self.epoch = 0

    def __len__(self):
        return len(self.source)

    def set_epoch(self, epoch):
        """Choose the epoch whose order the next pass has."""
        self.epoch = epoch

    def rng(self):
        return generator(self.seed, self.epoch)

    def __iter__(self):
        ### BEGIN SOLUTION
        return iter(self.rng().permutation(len(self.source)).tolist())
        ### END SOLUTION


# %% check="random_sampler" points=3
def orders(n, places):
    """The orders of n samples for several (seed, epoch), with a simpler generator than yours."""
    class Sampler(RandomSampler):
        def rng(self):
            return np.random.default_rng((1, self.seed, self.epoch))

    made = []
    for seed, epoch in places:
        sampler = Sampler(range(n), seed)
        sampler.set_epoch(epoch)
        made.append([list(sampler), list(sampler)][epoch % 2])
    return made

def every_order_occurs(out, n, places):
    if n != 3 or len(places) < 200:
        return True
    counts = [out.count(list(p)) for p in itertools.permutations(range(3))]
    return sum((c - len(out) / 6) ** 2 for c in counts) / (len(out) / 6) < 45

check("random_sampler", [case(10, [(0, 0), (0, 1), (0, 0)]), case(1, [(0, 0)])], call=orders, compare=None, properties=[
    prop("hold each index once, as a Python int", lambda out, n, places: len(out) == len(places) and all(
        sorted(o) == list(range(n)) and all(type(i) is int for i in o) for o in out)),
    prop("be the same order for the same seed and epoch", equal_where_equal),
    prop("be another order for another seed or epoch", lambda out, n, places: n < 20 or different_where_different(out, places)),
    prop("make every order equally likely", every_order_occurs),
])

# %% hidden="random_sampler"
def cases(rng):
    core = "each index once, another order for each epoch, the same for the same"
    for _ in range(3):
        seed = int(rng.integers(1000))
        yield case(int(rng.integers(20, 60)), [(seed, 0), (seed, 1), (seed, 2), (seed, 1), (seed, 0), (seed + 1, 0)], behaviour=core)
    first = int(rng.integers(1000))
    yield case(3, [(s, 1) for s in range(first, first + 300)], behaviour="every order is equally likely")
    yield case(3, [(first, e) for e in range(300)], behaviour="every order is equally likely")
    yield case(0, [(0, 0), (0, 1)], behaviour="no sample, one sample")
    yield case(1, [(5, 0), (5, 1)], behaviour="no sample, one sample")


# %% [markdown]
# ## 3. Batches of indices
#
# Ten samples in batches of four: `[0 1 2 3] [4 5 6 7] [8 9]`. The last batch is short. Some training scripts drop it,
# because a batch of two has noisier statistics than the others, and because compiled code likes one shape. An epoch
# then leaves up to `batch_size - 1` samples out: not always the same ones, if the order is shuffled.
#
# **Exercise 3.1** How many batches does an epoch have? A batch size that is not positive raises `ValueError`.
#
# **Exercise 3.2** Cut any iterable of indices into lists. It may be a generator without length or end; take no more
# from it than the batches that were asked for hold. Each batch is a list of its own.

# %% solution="batch_count"
#| export
def batch_count(n, batch_size, drop_last=False):
    """Number of batches of n samples; the last one may be short, or be dropped -> int. Raises ValueError."""
    ### BEGIN SOLUTION
    if batch_size < 1:
        raise ValueError(f"batch_size is at least 1, got {batch_size}")
    return n // batch_size if drop_last else -(-n // batch_size)
    ### END SOLUTION


# %% solution="batched"
#| export
def batched(indices, batch_size, drop_last=False):
    """Lists of batch_size successive indices, made when they are asked for; drop_last leaves a short last one out.

    Raises ValueError if batch_size is not positive.
    """
    ### BEGIN SOLUTION
    if batch_size < 1:
        raise ValueError(f"batch_size is at least 1, got {batch_size}")
    remaining = iter(indices)
    while batch := list(itertools.islice(remaining, batch_size)):
        if len(batch) == batch_size or not drop_last:
            yield batch
    ### END SOLUTION


# %% check="batch_count" points=3
check("batch_count", [case(10, 4), case(10, 4, drop_last=True), case(8, 4), case(10, 0)])

# %% hidden="batch_count"
def cases(rng):
    for _ in range(6):
        size = int(rng.integers(2, 40))
        n = size * int(rng.integers(1, 50)) + int(rng.integers(1, size))
        yield case(n, size, behaviour="a short last batch counts")
        yield case(n, size, drop_last=True, behaviour="a short last batch is dropped")
    for drop in (False, True):
        size = int(rng.integers(2, 40))
        yield case(size * 7, size, drop_last=drop, behaviour="batches that fit exactly")
        yield case(size, size, drop_last=drop, behaviour="batches that fit exactly")
        yield case(size, 1, drop_last=drop, behaviour="batches that fit exactly")
        yield case(0, size, drop_last=drop, behaviour="no sample, fewer samples than one batch")
        yield case(size - 1, size, drop_last=drop, behaviour="no sample, fewer samples than one batch")
        yield case(10**17 + 1, 2, drop_last=drop, behaviour="more samples than a float can count")
    for size in (0, -3):
        yield case(10, size, behaviour="a batch size that is not positive is refused")


# %% check="batched" points=4
def batches_of(indices, batch_size, drop_last=False, first=None):
    """All batches, or the first few of an endless stream; and how many indices were taken for them."""
    taken = 0

    def stream():
        nonlocal taken
        for index in itertools.cycle(indices) if first else indices:
            taken += 1
            yield index

    made = list(itertools.islice(batched(stream(), batch_size, drop_last), first))
    return {"batches": made, "taken": taken}

check("batched", [
    case(list(range(10)), 4),
    case(list(range(10)), 4, drop_last=True),
    case([5, 3, 1], 2, first=3),
], call=batches_of)

# %% hidden="batched"
def cases(rng):
    for drop in (False, True, False, True):
        size = int(rng.integers(2, 9))
        n = size * int(rng.integers(1, 6)) + int(rng.integers(1, size))
        yield case([int(i) for i in rng.permutation(n)], size, drop_last=drop, behaviour="a short last batch, kept or dropped")
    for drop in (False, True):
        size = int(rng.integers(2, 9))
        yield case([int(i) for i in rng.permutation(3 * size)], size, drop_last=drop, behaviour="batches that fit exactly")
        yield case([7, 7, 0, 0], 1, drop_last=drop, behaviour="batches that fit exactly")
        yield case([], size, drop_last=drop, behaviour="no index, fewer than one batch")
        yield case([0], 3, drop_last=drop, behaviour="no index, fewer than one batch")
    for size in (1, 3, 5):
        yield case([int(i) for i in rng.permutation(7)], size, first=int(rng.integers(1, 5)), drop_last=bool(rng.random() < 0.5),
                   behaviour="an endless stream, of which no more is taken than needed")
    for size in (0, -1):
        yield case([1, 2, 3], size, behaviour="a batch size that is not positive is refused")


# %%
#| export
class BatchSampler:
    """Batches of a sampler's indices, as lists. The order is fixed when a pass begins."""

    def __init__(self, sampler, batch_size, drop_last=False):
        self.sampler, self.batch_size, self.drop_last = sampler, operator.index(batch_size), bool(drop_last)
        batch_count(0, self.batch_size)  # refuses a size that is not positive

    def __len__(self):
        return batch_count(len(self.sampler), self.batch_size, self.drop_last)

    def __iter__(self):
        return batched(iter(self.sampler), self.batch_size, self.drop_last)

    def set_epoch(self, epoch):
        set_epoch(self.sampler, epoch)


# %% show
images = Tensor(np.arange(40.0).reshape(10, 4), "float32")
train, test = random_split(TensorDataset(images, Tensor(np.arange(10))), (0.8, 0.2), seed=1)
print("train on", train.indices, "and test on", test.indices)
sampler = RandomSampler(train, seed=5)
for epoch in (0, 1, 0):
    sampler.set_epoch(epoch)
    print(f"epoch {epoch}:", list(BatchSampler(sampler, 3)))

# %% [markdown]
# ## 4. Collating: samples become a batch
#
# Three samples, each a tuple of an image (2,) and a label, become one tuple of an image batch (3, 2) and a label batch
# (3,):
#
# ```
# [([1., 2.], 7), ([3., 4.], 8), ([5., 6.], 9)]   ->   ([[1., 2.], [3., 4.], [5., 6.]], [7, 8, 9])
# ```
#
# Two things happen. The structure is turned inside out: a list of tuples becomes a tuple of lists. And each of these
# lists, a **column**, is stacked into a tensor. You write the second part first.
#
# | column | batch |
# |---|---|
# | tensors or arrays of one shape and dtype | a tensor of their dtype with a new axis in front |
# | Python numbers | a tensor, of the dtype that `Tensor` gives to such a list: float32, int64 or bool |
# | NumPy numbers | a tensor of their dtype |
#
# Whoever loads a million images meets one of another size. The error must say which sample it is, and what its shape is
# and should be: `sample 2 of the batch has shape (3,), sample 0 has (2,)`. The same goes for dtypes, since promotion
# would hide that a file was read wrongly, and for a sample that is neither number nor array: `TypeError`.
#
# **Exercise 4.1** Write `stack`. The batch is new, row-major memory, whatever views the samples are: writing to it
# never changes a sample. Beware of `np.stack` and `np.concatenate`: for transposed arrays they return a transposed
# result.

# %% solution="stack"
#| export
def stack(samples):
    """Tensors, arrays or numbers, all of one shape and dtype -> one tensor with a new axis in front. Copies.

    Raises ValueError without samples; ShapeError, DTypeError or TypeError with the position of a sample that does not
    fit the first.
    """
    ### BEGIN SOLUTION
    if not samples:
        raise ValueError("a batch wants at least one sample, got none")
    if all(type(s) in (bool, int, float) for s in samples):
        return Tensor(list(samples))
    arrays = [s.numpy() if isinstance(s, Tensor) else s for s in samples]
    first = arrays[0]
    for i, a in enumerate(arrays):
        if not isinstance(a, np.ndarray | np.generic):
            raise TypeError(f"sample {i} of the batch is a {type(a).__name__}: tensors, arrays or numbers stack, all of one kind")
        if a.shape != first.shape:
            raise ShapeError(f"sample {i} of the batch has shape {a.shape}, sample 0 has {first.shape}: crop or pad them, "
                             "or pass collate=")
        if a.dtype != first.dtype:
            raise DTypeError(f"sample {i} of the batch is {a.dtype}, sample 0 is {first.dtype}: convert them in the dataset")
    out = np.empty((len(arrays), *first.shape), first.dtype)
    return Tensor.from_numpy(np.stack(arrays, out=out))
    ### END SOLUTION


# %% check="stack" points=5
def stacked(samples, tensors=False, transposed=False):
    """The batch, and the samples after the batch was overwritten."""
    samples = [s.T if transposed else s for s in samples]
    made = [Tensor.from_numpy(s) if tensors and not transposed else Tensor.from_numpy(s.T).T if tensors else s for s in samples]
    batch = stack(made)
    kept = batch.numpy().copy()
    batch.fill_(1)
    return {"class": type(batch).__name__, "batch": kept, "row-major": batch.is_contiguous(),
            "samples after a write": [np.asarray(s) for s in made]}

def stack_message(samples, names):
    try:
        return stack(samples).numpy()
    except (ValueError, TypeError) as error:
        return {"error": type(error).__name__, "the message names": [name in str(error) for name in names]}

def stack_case(samples, names=(), **how):
    return stack_message(samples, names) if names else stacked(samples, **how)

check("stack", [
    case([np.array([1.0, 2.0]), np.array([3.0, 4.0])]),
    case([np.array([1, 2]), np.array([3, 4])], tensors=True),
    case([7, 8, 9]),
    case([np.zeros(2), np.zeros(2), np.zeros(3)], names=("sample 2", "(3,)", "(2,)")),
], call=stack_case)

# %% hidden="stack"
def cases(rng):
    def some(n, shape, dtype="float32"):
        return [(9 * rng.normal(size=shape)).astype(dtype) for _ in range(n)]

    for tensors, dtype in ((False, "float32"), (True, "float64"), (True, "int64"), (False, "bool")):
        shape = tuple(int(n) for n in rng.integers(2, 5, int(rng.integers(1, 4))))
        yield case(some(int(rng.integers(2, 6)), shape, dtype), tensors=tensors, behaviour="tensors and arrays")
    for tensors in (False, True, True):
        shape = tuple(int(n) for n in rng.integers(2, 5, int(rng.integers(2, 4))))
        yield case(some(3, shape), tensors=tensors, transposed=True, behaviour="transposed views give row-major batches")
    yield case([int(i) for i in rng.integers(0, 9, 4)], behaviour="numbers of Python")
    yield case([1, 2.5], behaviour="numbers of Python")
    yield case([True, False], behaviour="numbers of Python")
    for dtype in ("float64", "int8", "float16"):
        yield case(list(some(1, (4,), dtype)[0]), behaviour="numbers of NumPy and arrays without axes")
    yield case([np.array(2.0), np.array(3.0)], tensors=True, behaviour="numbers of NumPy and arrays without axes")
    yield case(some(1, (3,)), behaviour="one sample, samples without elements")
    yield case(some(3, (0, 2)), behaviour="one sample, samples without elements")
    at = int(rng.integers(1, 4))
    for shape, other in (((2, 3), (3, 2)), ((3,), (1, 3)), ((4,), (1,)), ((2,), ())):
        bad = some(4, shape)
        bad[at] = np.ones(other, "float32")
        yield case(bad, names=(f"sample {at}", str(shape), str(other)), behaviour="an unequal shape is named")
    for other in ("float64", "int64"):
        bad = some(4, (3,))
        bad[at] = bad[at].astype(other)
        yield case(bad, names=(f"sample {at}", "float32", other), behaviour="an unequal dtype is named")
    for odd in (None, "7"):
        bad = some(4, (3,))
        bad[at] = odd
        yield case(bad, names=(f"sample {at}", type(odd).__name__), behaviour="what is no number or array is named")
    yield case([], behaviour="no sample")


# %% [markdown]
# Now the structure. Samples may be tuples, lists and dicts, nested to any depth. A batch has the structure of its
# samples, with a stacked column in place of each value. Texts do not stack: a column of them stays a list.
#
# | samples | batch, with [...] for a stacked column |
# |---|---|
# | `(1, 2)` and `(3, 4)` | `([1, 3], [2, 4])` |
# | `{"x": 1, "at": (2, 3)}` and `{"x": 4, "at": (5, 6)}` | `{"x": [1, 4], "at": ([2, 5], [3, 6])}` |
# | `{"x": 1, "file": "a.png"}` and `{"x": 4, "file": "b.png"}` | `{"x": [1, 4], "file": list of "a.png" and "b.png"}` |
#
# **Exercise 4.2** Write `columns`. Which function stacks is an argument, `leaf`; it is called once for each column that
# is not text. A tuple gives a tuple, a list a list, a named tuple (one with `_fields`) a named tuple of its class.
# Samples of unequal structure are refused, with the position of the first that differs from sample 0: `ShapeError` for
# another number of items, `ValueError` for other keys, naming one of them, `TypeError` where one of the two is a tuple,
# list or dict and the other is not of that type.

# %% solution="columns"
#| export
def columns(samples, leaf):
    """A list of samples of one structure (tuples, lists, dicts, nested) -> that structure, with leaf(column) for each value.

    A column of str or bytes stays a list. Raises ShapeError, ValueError or TypeError with the position of a sample of
    another structure.
    """
    ### BEGIN SOLUTION
    nested = (tuple, list, dict)
    first = samples[0] if samples else None
    for i, sample in enumerate(samples):
        if isinstance(first, nested) or isinstance(sample, nested):
            if type(sample) is not type(first):
                raise TypeError(f"sample {i} of the batch is a {type(sample).__name__}, sample 0 is a {type(first).__name__}")
            if isinstance(first, dict) and sample.keys() != first.keys():
                key = next(iter(sample.keys() ^ first.keys()))
                raise ValueError(f"sample {i} of the batch {'has' if key in sample else 'lacks'} the key {key!r}, unlike sample 0")
            if len(sample) != len(first):
                raise ShapeError(f"sample {i} of the batch has {len(sample)} items, sample 0 has {len(first)}")
    if isinstance(first, dict):
        return {key: columns([s[key] for s in samples], leaf) for key in first}
    if isinstance(first, nested):
        made = [columns(list(column), leaf) for column in zip(*samples, strict=True)]
        return type(first)(*made) if hasattr(first, "_fields") else type(first)(made)
    if isinstance(first, str | bytes):
        return list(samples)
    return leaf(samples)
    ### END SOLUTION


# %%
#| export
def default_collate(samples):
    """Samples of one structure -> a batch of that structure, its columns stacked into tensors; see columns and stack."""
    return columns(samples, stack)


# %% check="columns" points=5
def turned(samples, named=False, names=()):
    """The batch, with {"stacked": [...]} where leaf was called."""
    from collections import namedtuple

    Pair = namedtuple("Pair", "image label")
    if named:
        samples = [Pair(*s) for s in samples]
    try:
        batch = columns(samples, lambda column: {"stacked": list(column)})
    except (ValueError, TypeError) as error:
        return {"error": type(error).__name__, "the message names": [name in str(error) for name in names]}
    return {"class": type(batch).__name__, "fields": list(batch._fields), "items": list(batch)} if named else batch

check("columns", [
    case([(1, 2), (3, 4)]),
    case([{"x": 1, "at": (2, 3)}, {"x": 4, "at": (5, 6)}]),
    case([{"x": 1, "file": "a.png"}, {"x": 4, "file": "b.png"}]),
    case([(1, 2), (3, 4), (5,)], names=("sample 2",)),
], call=turned)

# %% hidden="columns"
def cases(rng):
    def n():
        return int(rng.integers(99))

    for k in (2, 3, 4):
        yield case([(n(), float(n())) for _ in range(k)], behaviour="tuples, lists and dicts")
        yield case([{"a": n(), "b": n(), "c": True} for _ in range(k)], behaviour="tuples, lists and dicts")
        yield case([[n(), n(), n()] for _ in range(k)], behaviour="tuples, lists and dicts")
    yield case([n() for _ in range(5)], behaviour="values without structure")
    yield case([None, None], behaviour="values without structure")
    yield case([({"x": n(), "in": [n(), (n(), n())]}, n()) for _ in range(3)], behaviour="nested samples")
    yield case([{"x": ((n(),), [n()])} for _ in range(3)], behaviour="nested samples")
    yield case(["a", "b", ""], behaviour="texts stay a list")
    yield case([(n(), "cat", b"png") for _ in range(3)], behaviour="texts stay a list")
    yield case([(n(), n()) for _ in range(3)], named=True, behaviour="named tuples, one sample, empty tuples")
    yield case([(n(), {"y": n()})], behaviour="named tuples, one sample, empty tuples")
    yield case([(), ()], behaviour="named tuples, one sample, empty tuples")
    at = int(rng.integers(1, 4))
    for good, bad, names in (((1, 2), (1, 2, 3), ()), ([1], [], ()), ({"x": 1, "y": 2}, {"x": 1}, ("y",)),
                             ({"x": 1}, {"x": 1, "extra": 2}, ("extra",)), ((1, 2), [1, 2], ()), ((1, 2), 3, ()), (3, (1, 2), ()),
                             ({"x": 1}, (1,), ())):
        samples = [good] * 4
        samples[at] = bad
        yield case(samples, names=(f"sample {at}", *names), behaviour="another structure is refused and named")


# %% show
digits = [{"image": Tensor(np.full((2, 2), k), "float32"), "label": k, "file": f"{k}.png"} for k in (3, 1, 4)]
batch = default_collate(digits)
print({name: value if isinstance(value, list) else (value.shape, str(value.dtype)) for name, value in batch.items()})
digits[2]["image"] = Tensor(np.zeros((2, 3)), "float32")
try:
    default_collate(digits)
except ShapeError as error:
    print("ShapeError:", error)

# %% [markdown]
# ## 5. Transforms that do not depend on who runs them
#
# A transform is called with an image, an array whose last two axes are rows and columns, and a generator. It never
# draws from anywhere else. `TransformedDataset` makes the generator from seed, epoch and index. So image 17 is flipped
# in epoch 3 or it is not, whoever loads it, in whatever batch.
#
# An augmentation must not change what an image means. A photograph of a cat, mirrored, is a photograph of a cat. A
# mirrored 2 is not a 2.
#
# **Worked example.** A crop of size 2 from a 3 × 3 image with padding 1: the padded image is 5 × 5, so the window has
# 5 - 2 + 1 = 4 positions in each direction, 16 in all. Two of them:
#
# ```
#  0 0 0 0 0
#  0 1 2 3 0      top 0, left 0:  0 0      top 2, left 3:  6 0
#  0 4 5 6 0                      0 1                      9 0
#  0 7 8 9 0
#  0 0 0 0 0
# ```
#
# **Exercise 5.1** The flip, left to right, with probability `p`.
#
# **Exercise 5.2** The crop. All positions of the window are equally likely. A window that is larger than the padded
# image raises `ShapeError`, with the window's size and the image's shape, both as tuples, in the message.
#
# Neither changes the image that it was given, nor its dtype. Axes before the last two, such as channels, are treated
# alike.

# %% solution="flip"
#| export
class RandomHorizontalFlip:
    """Mirrors the last axis of an array (..., H, W) with probability p."""

    def __init__(self, p=0.5):
        if not 0 <= p <= 1:
            raise ValueError(f"p is a probability from 0 to 1, got {p}")
        self.p = p

    def __call__(self, image, rng):
        ### BEGIN SOLUTION
        return image[..., ::-1] if rng.random() < self.p else image
        ### END SOLUTION


# %% solution="crop"
#| export
class RandomCrop:
    """A window of size (h, w), or a square, at a random position of an array (..., H, W) padded with zeros.

    padding adds that many rows and columns on each side. Raises ShapeError if the window is larger than that.
    """

    def __init__(self, size, padding=0):
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.padding = padding
        if len(self.size) != 2 or min(self.size) < 1 or padding < 0:
            raise ValueError(f"a crop has a positive size, one number or two, and padding from 0 on; got {size}, {padding}")

    def __call__(self, image, rng):
        ### BEGIN SOLUTION
        h, w = self.size
        rows, cols = (n + 2 * self.padding for n in image.shape[-2:])
        if h > rows or w > cols:
            raise ShapeError(f"a crop of {self.size} does not fit an image of shape {image.shape} with padding {self.padding}")
        edge = (self.padding, self.padding)
        padded = np.pad(image, [(0, 0)] * (image.ndim - 2) + [edge, edge]) if self.padding else image
        top, left = rng.integers(rows - h + 1), rng.integers(cols - w + 1)
        return padded[..., top:top + h, left:left + w]
        ### END SOLUTION


# %% check="flip" points=3
def flips(image, p, count):
    """The image transformed with each of count generators, twice; and whether the second time gave the same."""
    flip = RandomHorizontalFlip(p)
    first, again = ([np.array(flip(image, np.random.default_rng((7, k)))) for k in range(count)] for _ in range(2))
    return {"images": np.array(first), "repeated": all(map(np.array_equal, first, again)), "dtype": str(first[0].dtype)}

def share_flipped(out, image, p, count):
    share = np.mean([not np.array_equal(made, image) for made in out["images"]])
    return abs(share - p) <= 5 * (p * (1 - p) / count) ** 0.5

check("flip", [case(np.array([[1, 2, 3], [4, 5, 6]]), 0.3, 300), case(np.array([[1.0, 2.0]]), 1.0, 3)],
      call=flips, compare=None, properties=[
          prop("be the image or its mirror image", lambda out, image, p, count: all(
              np.array_equal(made, image) or np.array_equal(made, image[..., ::-1]) for made in out["images"])),
          prop("be mirrored with probability p", share_flipped),
          prop("be the same for the same generator", lambda out, image, p, count: out["repeated"] is True),
          prop("have the image's dtype", lambda out, image, p, count: out["dtype"] == str(image.dtype)),
      ])

# %% hidden="flip"
def cases(rng):
    for p in (0.2, 0.5, 0.85):
        image = rng.permutation(12).reshape(3, 4) + 1
        yield case(image, p, 400, behaviour="mirrored left to right with probability p")
    for p in (0.0, 1.0):
        yield case(rng.normal(size=(4, 5)), p, 20, behaviour="never and always")
    for shape in ((3, 2, 4), (2, 1, 2, 5)):
        yield case(rng.normal(size=shape), 1.0, 4, behaviour="channels, and the dtype kept")
        yield case(rng.integers(-99, 99, shape).astype("int8"), 0.5, 60, behaviour="channels, and the dtype kept")


# %% check="crop" points=5
def crops(image, size, padding, count):
    """The windows that count generators choose; or of an error, what its message names."""
    crop = RandomCrop(size, padding)
    try:
        first, again = ([np.array(crop(image, np.random.default_rng((7, k)))) for k in range(count)] for _ in range(2))
    except ShapeError as error:
        return {"the message names": [str(crop.size) in str(error), str(image.shape) in str(error)]}
    return {"images": np.array(first), "repeated": all(map(np.array_equal, first, again)), "dtype": str(first[0].dtype)}

def windows(image, size, padding):
    """Every window that a crop may return."""
    h, w = (size, size) if isinstance(size, int) else size
    rows, cols = (n + 2 * padding for n in image.shape[-2:])
    padded = np.zeros((*image.shape[:-2], rows, cols), image.dtype)
    padded[..., padding:rows - padding, padding:cols - padding] = image
    return [padded[..., i:i + h, j:j + w] for i in range(rows - h + 1) for j in range(cols - w + 1)]

def fits(image, size, padding):
    return len(windows(image, size, padding)) > 0 and all(
        s <= n + 2 * padding for s, n in zip((size, size) if isinstance(size, int) else size, image.shape[-2:], strict=True))

def counts_of(out, image, size, padding):
    """How often each possible window came out, and how many images are none."""
    counts = [0] * len(windows(image, size, padding))
    keys = {w.tobytes(): k for k, w in enumerate(windows(image, size, padding))}
    other = 0
    for made in out["images"]:
        k = keys.get(np.ascontiguousarray(made).tobytes())
        other, counts = (other + 1, counts) if k is None else (other, [c + (i == k) for i, c in enumerate(counts)])
    return counts, other

def is_window(out, image, size, padding, count):
    if not fits(image, size, padding):
        return True
    shape = (count, *image.shape[:-2], *((size, size) if isinstance(size, int) else size))
    return out["images"].shape == shape and counts_of(out, image, size, padding)[1] == 0

def evenly(out, image, size, padding, count):
    if not fits(image, size, padding):
        return True
    counts, _ = counts_of(out, image, size, padding)
    mean = count / len(counts)
    return mean < 20 or all(abs(c - mean) <= 6 * mean**0.5 for c in counts)

check("crop", [
    case(np.arange(1, 10).reshape(3, 3), 2, 1, 640),
    case(np.arange(1.0, 7.0).reshape(2, 3), (2, 3), 0, 4),
    case(np.zeros((1, 3, 3)), (4, 3), 0, 1),
], call=crops, compare=None, properties=[
    prop("be a window of the padded image", is_window),
    prop("show every position of the window equally often", evenly),
    prop("be the same for the same generator", lambda out, image, size, padding, count: out.get("repeated", True) is True),
    prop("have the image's dtype", lambda out, image, size, padding, count: out.get("dtype", str(image.dtype)) == str(image.dtype)),
    prop("be a ShapeError that names size and shape, if and only if the window is too large",
         lambda out, image, size, padding, count: out.get("the message names") == (None if fits(image, size, padding) else [True, True])),
])

# %% hidden="crop"
def cases(rng):
    def numbered(*shape):
        return rng.permutation(int(np.prod(shape))).reshape(shape) + 1

    core = "windows at every position, equally often"
    for padding in (0, 1, 2):
        h, w = (int(n) for n in rng.integers(3, 5, 2))
        image = numbered(h + 2, w + 1)
        yield case(image, (h + 2 * padding, w + 2 * padding), padding, 240, behaviour=core)
    yield case(numbered(4, 6), 3, 0, 320, behaviour=core)
    for n in (4, 5):
        yield case(numbered(n, n), n, 1, 360, behaviour="both directions are drawn independently")
    yield case(numbered(3, 3, 4), 3, 1, 4, behaviour="channels, and the dtype kept")
    yield case(rng.integers(-99, 99, (2, 2, 4, 4)).astype("int8"), (2, 3), 0, 4, behaviour="channels, and the dtype kept")
    yield case(rng.normal(size=(2, 4, 5)).astype("float32"), (4, 3), 2, 4, behaviour="channels, and the dtype kept")
    yield case(numbered(4, 5), (4, 5), 0, 3, behaviour="a window as large as the image")
    yield case(numbered(2, 2), 4, 1, 3, behaviour="a window as large as the image")
    for shape, size, padding in (((3, 3), 4, 0), ((1, 4, 2), (4, 3), 0), ((2, 5), (5, 5), 1), ((5, 2), (5, 7), 2)):
        yield case(np.zeros(shape), size, padding, 1, behaviour="a window that is too large is refused")


# %%
#| export
class Compose:
    """Transforms one after the other, all with the same generator."""

    def __init__(self, transforms):
        self.transforms = tuple(transforms)

    def __call__(self, image, rng=None):
        for transform in self.transforms:
            image = transform(image, rng)
        return image


class Normalize:
    """(image - mean) / std in the image's float dtype, or float32. mean and std: numbers, or one for each channel (C, H, W)."""

    def __init__(self, mean, std):
        self.mean, self.std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        if self.mean.ndim > 1 or self.std.ndim > 1:
            raise ShapeError(f"mean and std are numbers or one axis of channels, got shapes {self.mean.shape} and {self.std.shape}")
        if not (self.std > 0).all():
            raise ValueError(f"std is positive, got {std}")

    def __call__(self, image, rng=None):
        for values in (self.mean, self.std):
            if values.ndim and (image.ndim < 3 or image.shape[-3] != len(values)):
                raise ShapeError(f"{len(values)} channels are to be normalized, the image has shape {image.shape}")
        mean, std = (v[:, None, None] if v.ndim else v for v in (self.mean, self.std))
        return ((image - mean) / std).astype(image.dtype if image.dtype.kind == "f" else np.float32)


class TransformedDataset(Dataset):
    """A dataset whose samples, or the first items of its tuples, go through transform(array, rng).

    rng is generator(seed, epoch, index), so a sample depends on these three and on nothing else.
    """

    def __init__(self, dataset, transform, seed=0):
        self.dataset, self.transform, self.seed, self.epoch = dataset, transform, seed, 0

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        i = position(index, len(self))
        sample, rng = self.dataset[i], generator(self.seed, self.epoch, i)
        items = sample if isinstance(sample, tuple) else (sample,)
        image = items[0].numpy() if isinstance(items[0], Tensor) else np.asarray(items[0])
        made = (self.transform(image, rng), *items[1:])
        return made if isinstance(sample, tuple) else made[0]

    def set_epoch(self, epoch):
        self.epoch = epoch
        set_epoch(self.dataset, epoch)


# %% [markdown]
# ## 6. Several workers, one order
#
# Two workers load batches, and the trainer wants them in order: 0, 1, 2. Batch 0 is slow, so worker 1 is done with 1
# and 3 before worker 0 is done with 0. Two small pieces of logic keep peace. They know nothing of processes, so they
# can be tested without any.
#
# **The reorder buffer** takes results as they arrive and hands out what is due.
#
# | arrives | handed out | waits |
# |---|---|---|
# | 1 | | 1 |
# | 3 | | 1, 3 |
# | 0 | 0, 1 | 3 |
# | 2 | 2, 3 | |
#
# **Exercise 6.1** Write `put`. A result may be anything: `None`, `0`, a tensor. A number that was there before, or that
# is negative, raises `ValueError` that names it: it would mean that the loader has lost count. What has been handed out
# is no longer held.
#
# **The assignment** decides who loads what. While worker 0 is busy with slow batch 0, worker 1 could race ahead through
# the epoch, and all its results would pile up in the reorder buffer, since none is due. The memory of the machine is the
# only bound, and that is a bound one does not want to meet. So there is a **limit** on batches that are sent to a worker
# or wait in the buffer, and are not yet taken by the trainer.
#
# | each worker has to do | waiting in the buffer | limit | new tasks go to workers | |
# |---|---|---|---|---|
# | 0, 0 | 0 | 4 | 0, 1, 0, 1 | evenly; of equals the first |
# | 2, 0 | 0 | 4 | 1, 1 | the one with the least to do |
# | 1, 0 | 3 | 4 | | worker 1 must rest, or the buffer would overflow |
# | 0, 3, 1 | 1 | 8 | 0, 0, 2 | 5 of 8 are out |
#
# **Exercise 6.2** Write `assign`. It does not change its arguments.

# %% solution="reorder"
#| export
class ReorderBuffer:
    """Results that arrive in any order, numbered 0, 1, ..., and leave in order. len() is how many wait."""

    def __init__(self):
        self.due = 0        # the number that is handed out next
        self.waiting = {}   # number -> result, for those that came before their turn

    def __len__(self):
        return len(self.waiting)

    def put(self, number, result):
        """Take a result -> list of the results that can be handed out now, in order. Raises ValueError for a number twice."""
        ### BEGIN SOLUTION
        if number < self.due or number in self.waiting:
            raise ValueError(f"result {number} was there before; {self.due} is due, {sorted(self.waiting)} wait")
        self.waiting[number] = result
        ready = []
        while self.due in self.waiting:
            ready.append(self.waiting.pop(self.due))
            self.due += 1
        return ready
        ### END SOLUTION


# %% solution="assign"
#| export
def assign(loads, waiting, limit):
    """Which workers get the next tasks -> list of worker numbers, one for each task, in order.

    loads: tasks that each worker has and has not answered; waiting: results not yet taken; limit: most of both together.
    A task goes to the worker with the least to do, to the first of equals.
    """
    ### BEGIN SOLUTION
    loads, chosen = list(loads), []
    for _ in range(limit - sum(loads) - waiting):
        worker = loads.index(min(loads))
        loads[worker] += 1
        chosen.append(worker)
    return chosen
    ### END SOLUTION


# %% check="reorder" points=4
def reordered(numbers, results=None):
    """What each put handed out, and what is held at the end. Without results, result k is 10 k."""
    buffer = ReorderBuffer()
    results = [10 * k for k in numbers] if results is None else results
    handed, named = [], None
    for number, result in zip(numbers, results, strict=True):
        try:
            handed.append(list(buffer.put(number, result)))
        except ValueError as error:
            named = str(number) in str(error)
    return {"handed out": handed, "still held": len(buffer), "the error names the number": named}

check("reorder", [case([1, 3, 0, 2]), case([0, 1, 2]), case([0, 0])], call=reordered)

# %% hidden="reorder"
def cases(rng):
    for n in (5, 12, 40):
        yield case([int(i) for i in rng.permutation(n)], behaviour="results leave in order, as soon as they can")
    yield case(list(range(9, -1, -1)), behaviour="results leave in order, as soon as they can")
    yield case([int(i) for i in rng.permutation(np.arange(1, 20))], behaviour="nothing leaves before its turn")
    yield case([1, 0, 3, 5, 4, 7], behaviour="nothing leaves before its turn")
    yield case([2, 1, 0, 3], [None, 0, False, ""], behaviour="a result may be None, 0 or empty")
    yield case([1, 0, 2], [[], None, 0.0], behaviour="a result may be None, 0 or empty")
    for numbers in ([0, 1, 0], [3, 3], [2, 0, 1, 2], [0, -1], [17, 17, 0]):
        yield case(numbers, behaviour="a number that was there is refused and named")


# %% check="assign" points=4
check("assign", [case([0, 0], 0, 4), case([2, 0], 0, 4), case([1, 0], 3, 4), case([0, 3, 1], 1, 8)])

# %% hidden="assign"
def cases(rng):
    for _ in range(6):
        loads = [int(n) for n in rng.integers(0, 5, int(rng.integers(2, 6)))]
        waiting = int(rng.integers(0, 4))
        room = int(rng.integers(1, 12))
        yield case(loads, waiting, sum(loads) + waiting + room, behaviour="the least busy worker, as often as the limit allows")
    for k in (2, 3, 5):
        yield case([0] * k, 0, 3 * k - 1, behaviour="of equals the first")
        yield case([2] * k, 1, 2 * k + 3, behaviour="of equals the first")
    for waiting in (1, 3, 6):
        yield case([0, 0, 1], waiting, 7, behaviour="results that wait count")
    yield case([2, 2], 0, 4, behaviour="at the limit, or over it, nobody gets a task")
    yield case([0, 1], 7, 4, behaviour="at the limit, or over it, nobody gets a task")
    yield case([0, 0], 4, 4, behaviour="at the limit, or over it, nobody gets a task")
    yield case([0], 0, 3, behaviour="one worker")
    yield case([1], 1, 5, behaviour="one worker")


# %% [markdown]
# ## 7. The loader
#
# The rest is processes. This code is given; read it with the following questions, because each line answers one of
# them.
#
# | what can go wrong | what is done |
# |---|---|
# | a worker is killed, or memory ran out | it holds no lock that others need: its own pipe closes, the parent wakes and raises |
# | parent and worker write to full pipes, and both wait | a worker reads in a thread, so the parent's messages are always taken |
# | a finished batch waits in a full pipe while the trainer computes | the writing thread waits; the worker loads on |
# | a sample is broken | the exception travels back with its traceback, and is raised when the batch is due |
# | the trainer leaves its loop early | a dropped generator runs its `finally`: workers are told to stop, and killed if they do not |
# | Ctrl-C reaches the whole group of processes | workers ignore it, the parent ends them |
# | the parent is killed | the pipes close, and each worker ends itself |
#
# **How does a batch travel?** Pickling an array copies it into a byte string, which is copied again into the pipe,
# piece by piece, and pieced together on the other side. We measured three ways for a batch of 3 MiB, median of 30:
# `Connection.send`, 1.9 ms; a slot of shared memory that exists in advance, 0.2 ms; a new segment of shared memory for
# each batch, 3.0 ms, most of it for memory pages that are touched for the first time. The loader takes a fourth:
# protocol 5 of pickle leaves the array's bytes out of the stream, they are written to the pipe as they are, and read to
# where they stay. That takes 0.3 ms. A slot would save a tenth of a millisecond. It has a name in the file system, which
# somebody must remove when everybody was killed. A pipe has none. (2 cores, Linux, Python 3.11, November 2026;
# section 9 measures it on your machine.)

# %%
#| export
class WorkerTraceback(Exception):
    """The traceback of an error in a worker, as text: the cause of the error that the parent raises."""

    def __str__(self):
        return f"\n{self.args[0]}"


def pack(message):
    """An object as a pickle without the bytes of its arrays, and these bytes -> list of buffers."""
    buffers = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    raw = [b.raw() for b in buffers]
    return [pickle.dumps((head, [r.nbytes for r in raw])), *raw]


def send(connection, parts):
    """Write what pack returned to a pipe: the first part as a message, arrays as plain bytes."""
    connection.send_bytes(parts[0])
    for part in parts[1:]:
        while part.nbytes:
            part = part[os.write(connection.fileno(), part):]


def receive(connection):
    """Read what send wrote. Arrays are read to where they stay. Raises EOFError if the other side has gone."""
    head, sizes = pickle.loads(connection.recv_bytes())
    buffers = []
    for size in sizes:
        buffers.append(np.empty(size, np.uint8))
        rest = memoryview(buffers[-1])
        while rest.nbytes:
            count = os.readv(connection.fileno(), [rest])
            if not count:
                raise EOFError
            rest = rest[count:]
    return pickle.loads(head, buffers=buffers)


def portable(error):
    """An exception that another process can raise: itself if it survives pickling, a RuntimeError with its text if not."""
    text = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return error, text


@contextlib.contextmanager
def interrupts_held():
    """Hold Ctrl-C back until the end of the block. Processes started meanwhile hold it back until they let it through."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def work(connection, inherited, dataset, collate, epoch):
    """Be a worker: answer each task (number, indices) with (number, batch, failure). Never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's affair; held back so far, see Workers
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    for other in inherited:  # ends of other workers' pipes that fork copied: they would stay open without the parent
        other.close()
    set_epoch(dataset, epoch)
    tasks, results = queue.SimpleQueue(), queue.SimpleQueue()

    def read():
        with contextlib.suppress(EOFError, OSError):
            while (task := connection.recv()) is not None:
                tasks.put(task)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(0)

    def write():
        with contextlib.suppress(OSError):
            while True:
                send(connection, results.get())

    for target in (read, write):
        threading.Thread(target=target, daemon=True).start()
    while True:
        number, indices = tasks.get()
        try:
            results.put(pack((number, load(dataset, indices, collate), None)))
        except BaseException as error:
            results.put(pack((number, None, portable(error))))


class Workers:
    """Worker processes and the pipes to them. close() ends them, however they are."""

    def __init__(self, count, start_method, dataset, collate, epoch):
        context = multiprocessing.get_context(start_method)
        forks = context.get_start_method() == "fork"
        self.owner, self.processes, self.connections = os.getpid(), [], []
        self.tasks = [[] for _ in range(count)]  # of each worker, numbers of the batches that it has to load
        if not forks and hasattr(signal, "pthread_sigmask"):
            resource_tracker.ensure_running()  # here, since to start it lets SIGINT through again
        try:
            for _ in range(count):
                mine, theirs = context.Pipe()
                self.connections.append(mine)
                inherited = list(self.connections) if forks else []
                process = context.Process(target=work, args=(theirs, inherited, dataset, collate, epoch), daemon=True)
                with theirs, interrupts_held(), warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside any thread
                    process.start()
                self.processes.append(process)
        except BaseException:
            self.close()
            raise

    def send(self, worker, number, indices):
        self.tasks[worker].append(number)
        try:
            self.connections[worker].send((number, indices))
        except OSError:
            raise self.lost(worker) from None

    def receive(self):
        """Wait until workers have answered -> list of (worker, number, batch, failure). Raises RuntimeError if one died."""
        ready = wait([*self.connections, *(p.sentinel for p in self.processes)])
        answers = []
        for worker, (connection, process) in enumerate(zip(self.connections, self.processes, strict=True)):
            if connection not in ready and (process.sentinel not in ready or connection.poll()):
                continue
            try:
                if connection not in ready:
                    raise EOFError
                answers.append((worker, *receive(connection)))
            except (EOFError, OSError):
                raise self.lost(worker) from None
            self.tasks[worker].remove(answers[-1][1])
        return answers

    def lost(self, worker):
        """The error for a worker that ended by itself."""
        process = self.processes[worker]
        process.join(5)
        code = process.exitcode
        how = "stopped answering" if code is None else f"was killed by {signal.Signals(-code).name}" if code < 0 else (
            f"ended with exit code {code}")
        hint = {-9: "memory may have run out: try fewer workers or a smaller prefetch",
                1: "its own message is on stderr; without fork, dataset and collate must be importable from a module"}
        return RuntimeError(f"worker {worker} (process {process.pid}) {how} with these batches to load: "
                            f"{', '.join(map(str, self.tasks[worker])) or 'none'}"
                            + (f"; {hint[code]}" if code in hint else ""))

    def close(self):
        """End all workers and their pipes. A forked copy of this object leaves them alone."""
        if os.getpid() != self.owner:
            return
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.send(None)
            connection.close()
        for process in self.processes:
            process.join(1)
            if process.exitcode is None:
                process.kill()
                process.join()
            process.close()
        self.processes, self.connections = [], []


class DataLoader:
    """Batches of a dataset, one epoch at each pass.

    shuffle: another order each epoch, decided by seed (None: drawn once, see .sampler.seed). sampler: an order of one's
    own, instead of shuffle. collate: samples -> batch, default_collate by default. workers: processes that load ahead,
    each up to prefetch batches; 0 loads in this process, when a batch is asked for. start_method: of multiprocessing
    ("fork", "spawn", ...), None for its default. epoch is the number of the next pass; set it to resume a run.

    A batch is the same whatever the number of workers, if the dataset draws its random numbers from generator().
    Raises ValueError for arguments that do not fit each other, RuntimeError if a worker dies.
    """

    def __init__(self, dataset, batch_size=1, shuffle=False, seed=None, drop_last=False, sampler=None, collate=None,
                 workers=0, prefetch=2, start_method=None):
        if sampler is not None and (shuffle or seed is not None):
            raise ValueError("a sampler decides the order: pass it, or shuffle and seed, not both")
        if workers < 0 or prefetch < 1:
            raise ValueError(f"workers is at least 0 and prefetch at least 1, got {workers} and {prefetch}")
        if start_method not in (None, *multiprocessing.get_all_start_methods()):
            raise ValueError(f"start_method {start_method!r} is not one of {', '.join(multiprocessing.get_all_start_methods())}")
        if sampler is None:
            sampler = RandomSampler(dataset, seed) if shuffle else SequentialSampler(dataset)
        self.dataset, self.sampler, self.collate = dataset, sampler, collate
        self.batches = BatchSampler(sampler, batch_size, drop_last)
        self.workers, self.prefetch, self.start_method = operator.index(workers), operator.index(prefetch), start_method
        self.epoch = 0

    @property
    def batch_size(self):
        return self.batches.batch_size

    def __len__(self):
        """Batches of one epoch."""
        return len(self.batches)

    def __iter__(self):
        epoch, self.epoch = self.epoch, self.epoch + 1
        set_epoch(self.sampler, epoch)
        batches = iter(self.batches)  # the order is fixed now: a later pass that begins meanwhile does not change it
        return self._prefetched(epoch, batches) if self.workers else self._loaded(epoch, batches)

    def _loaded(self, epoch, batches):
        for indices in batches:
            set_epoch(self.dataset, epoch)
            yield load(self.dataset, indices, self.collate)

    def _prefetched(self, epoch, batches):
        plan, buffer, ready = enumerate(batches), ReorderBuffer(), deque()
        limit = self.workers * self.prefetch
        crew = Workers(self.workers, self.start_method, self.dataset, self.collate, epoch)

        def refill():
            loads = [len(tasks) for tasks in crew.tasks]
            for worker, task in zip(assign(loads, len(buffer) + len(ready), limit), plan, strict=False):
                crew.send(worker, *task)

        try:
            refill()
            while ready or any(crew.tasks):
                while not ready:
                    for _, number, batch, failure in crew.receive():
                        ready.extend(buffer.put(number, (batch, failure)))
                batch, failure = ready.popleft()
                if failure:
                    error, text = failure
                    raise error from WorkerTraceback(text)
                refill()
                yield batch
        finally:
            crew.close()


# %% [markdown]
# The first proof: the same batches, to the last bit, whoever loads them. A notebook's own datasets need workers that
# are forked. A spawned worker is a new Python that imports what it needs, and it cannot import a notebook.

# %% show
import hashlib
import time


def workers_here(count):
    """count; or 0, with the reason, where this notebook cannot have worker processes."""
    if "fork" not in multiprocessing.get_all_start_methods():
        print("this system does not fork, so a worker could not see the notebook's datasets: these cells run without workers")
        return 0
    try:
        probe = multiprocessing.get_context("fork").Process(target=int)
        probe.start()
        probe.join()
    except OSError as error:
        print(f"no process can be started here ({error}): these cells run without workers")
        return 0
    return count


WORKERS = workers_here(2)
METHOD = "fork" if WORKERS else None


def digest(batches):
    """A short name for the contents of an epoch: equal for equal batches, and in practice for no others."""
    sha = hashlib.sha256()
    for image, label in batches:
        sha.update(image.numpy().tobytes() + label.numpy().tobytes())
    return sha.hexdigest()[:12]


rng = np.random.default_rng(0)
pictures = TensorDataset(Tensor(rng.random((60, 1, 8, 8)), "float32"), Tensor(rng.integers(0, 10, 60)))
augmented = TransformedDataset(pictures, Compose([RandomCrop(8, padding=1), RandomHorizontalFlip()]), seed=2)
for count in sorted({0, 1, WORKERS}):
    loader = DataLoader(augmented, 8, shuffle=True, seed=1, workers=min(count, WORKERS), start_method=METHOD)
    print(f"workers {count}: epoch 0 is {digest(loader)}, epoch 1 is {digest(loader)}, {len(loader)} batches each")
loader.epoch = 1
print(f"resumed at epoch 1: {digest(loader)}")

# %% [markdown]
# Now the trap of the opening. Both datasets return one random number for each sample; one draws it from the global
# generator, which fork copies. Each worker starts every epoch with the same copy. Eight samples, two epochs: how many
# different numbers do you expect from each?

# %% show
class GlobalNoise(Dataset):
    """A random number for each sample, from the global generator: the mistake."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return np.random.normal()


class OwnNoise(GlobalNoise):
    """The same from a generator of the sample's own."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __getitem__(self, index):
        return float(generator(0, self.epoch, index).normal())


for dataset in (GlobalNoise(), OwnNoise()):
    loader = DataLoader(dataset, workers=WORKERS, start_method=METHOD)
    epochs = [[round(batch.item(), 3) for batch in loader] for _ in range(2)]
    print(f"{type(dataset).__name__}: {len({*epochs[0], *epochs[1]})} different numbers of 16")
    print("  ", epochs[0])
    print("  ", epochs[1])

# %% [markdown]
# And the failures. A broken sample is reported when its batch is due, with the line in the worker that raised. A worker
# that ends, here without even an exception, is noticed at once; what it had not yet sent is lost.

# %% show
class Fragile(Dataset):
    """Sample 5 is broken, in one way or the other."""

    def __init__(self, way):
        self.way = way

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5 and self.way == "raises":
            raise ValueError(f"sample {index}: not a PNG file")
        if index == 5 and WORKERS:
            os._exit(3)
        return index


for way in ("raises", "ends its process"):
    seen, start = [], time.perf_counter()
    try:
        for batch in DataLoader(Fragile(way), 2, workers=WORKERS, start_method=METHOD):
            seen.append(batch.tolist())
    except (ValueError, RuntimeError) as error:
        print(f"after {seen}: {type(error).__name__}: {error}")
        print("   cause:", [line.strip() for line in str(error.__cause__).splitlines() if "__getitem__" in line])
    print(f"   {(time.perf_counter() - start) * 1e3:.0f} ms; processes left: {len(multiprocessing.active_children())}")

# %% [markdown]
# ## 8. Does the trainer wait?
#
# A step of the trainer takes 2 ms. Loading takes 4 ms for the first batch and 1 ms for each of the others. Two workers,
# `prefetch=1`, so at most 2 batches are started and not yet taken. Everything happens as early as it can:
#
# | batch | loading starts | is done | trainer takes it | has trained | trainer waited |
# |---|---|---|---|---|---|
# | 0 | 0 | 4 | 4 | 6 | 4 |
# | 1 | 0 | 1 | 6 | 8 | 0 |
# | 2 | 4 | 5 | 8 | 10 | 0 |
# | 3 | 6 | 7 | 10 | 12 | 0 |
#
# Worker 1 has finished batch 1 after 1 ms, and then rests: batches 0 and 1 are both started and not taken. Batch 2
# starts when batch 0 is taken, at 4. Without workers loading and training alternate, and it is over at 15 ms.
#
# **Exercise 8.1** Write the simulation of it. A worker loads one batch at a time; batches are started in order, each by
# the worker that is free first. The trainer takes them in order. Zero workers: the trainer loads each batch itself when
# it is done with the one before.

# %% solution="simulate"
def simulate(load, step, workers, prefetch):
    """When batches are loaded and trained on: load[i] seconds for batch i, step for each, all as early as possible.

    -> dict of float64 arrays (N,): "start" and "done" of loading, "take" and "end" of training.
    At most workers * prefetch batches are started and not yet taken; workers 0: the trainer loads.
    """
    ### BEGIN SOLUTION
    start, done, take, end = np.zeros((4, len(load)))
    free, limit, before = [0.0] * workers, workers * prefetch, 0.0
    for i, seconds in enumerate(load):
        if workers:
            worker = free.index(min(free))
            start[i] = max(free[worker], take[i - limit] if i >= limit else 0.0)
            free[worker] = start[i] + seconds
        else:
            start[i] = before
        done[i] = start[i] + seconds
        take[i] = max(done[i], before)
        before = end[i] = take[i] + step
    return {"start": start, "done": done, "take": take, "end": end}
    ### END SOLUTION


# %% check="simulate" points=6
check("simulate", [case([4.0, 1.0, 1.0, 1.0], 2.0, 2, 1), case([4.0, 1.0, 1.0], 2.0, 0, 1), case([3.0, 3.0], 1.0, 1, 2)])

# %% hidden="simulate"
def cases(rng):
    def loads(n, low=1, high=9):
        return [float(v) for v in rng.integers(low, high, n)]  # whole numbers: equal times are really equal

    for workers, prefetch in ((1, 1), (1, 3), (2, 2), (3, 1)):
        yield case(loads(12), float(rng.integers(2, 6)), workers, prefetch, behaviour="one worker, several, deep and shallow")
    for slow in (0, 3):
        load = loads(14, 1, 3)
        load[slow] = 40.0
        yield case(load, 2.0, 2, 2, behaviour="one slow batch: the others may not run ahead beyond the limit")
        yield case(load, 2.0, 3, 3, behaviour="one slow batch: the others may not run ahead beyond the limit")
    for _ in range(3):
        yield case(loads(10), float(rng.integers(1, 6)), 0, int(rng.integers(1, 4)), behaviour="no worker")
    yield case(loads(9, 1, 3), 20.0, 2, 2, behaviour="a slow trainer holds the workers back")
    yield case(loads(9, 1, 3), 20.0, 1, 4, behaviour="a slow trainer holds the workers back")
    yield case(loads(9, 20, 30), 1.0, 3, 2, behaviour="a fast trainer waits for every batch")
    yield case([0.0] * 5, 0.0, 2, 1, behaviour="no time, no batch")
    yield case([], 1.0, 2, 2, behaviour="no time, no batch")


# %% [markdown]
# ### 8.2 An epoch
#
# A worker needs 12 ms for a batch, and the trainer 5 ms for a step. How long does an epoch of 200 batches take with
# **two** workers? Neglect the first 12 ms.

# %% answer="epoch_time" points=2
epoch_time = ""  # a number with its unit, such as "90 s"
### BEGIN SOLUTION
epoch_time = f"{200 * max(12e-3 / 2, 5e-3)} s"
### END SOLUTION

# %% key="epoch_time"
from mlsysbook import Key, Mistake


def key(v):
    batches, loading, step, workers = 200, 12e-3, 5e-3, 2
    return Key(batches * max(loading / workers, step), "s", tol=0.025, mistakes=[
        Mistake(batches * (loading + step), 0.0, "that is without workers: loading and training alternate"),
        Mistake(batches * (loading / workers + step), 0.25, "loading and training overlap: the slower of the two decides, not the sum"),
        Mistake(batches * loading, 0.25, "two workers load two batches at a time"),
        Mistake(batches * step, 0.25, "two workers bring a batch every 6 ms, which is slower than the step"),
    ])

# %% [markdown]
# ### 8.3 Bursts
#
# One worker loads most batches in 2 ms, but every eighth comes from a slow disk and takes 20 ms: 4.25 ms on average. A
# step takes 5 ms. With `prefetch=2`, how long does the trainer wait **for each slow batch**? The worker may start it as
# soon as the batch two before it is taken.

# %% answer="burst_wait" points=2
burst_wait = ""  # a number with its unit, such as "90 ms"
### BEGIN SOLUTION
burst_wait = f"{20 - 2 * 5} ms"
### END SOLUTION

# %% key="burst_wait"
def key(v):
    slow, step, depth = 20e-3, 5e-3, 2
    return Key(slow - depth * step, "s", tol=0.03, mistakes=[
        Mistake(slow - step, 0.5, "that is for prefetch=1: with 2, two steps pass while the slow batch is loaded"),
        Mistake(slow, 0.25, "the trainer is not idle all the time: it trains on the two batches before"),
        Mistake(slow - 3 * step, 0.25, "only two batches may be started and not taken, and the slow one is one of them"),
    ])

# %% show
def waited(times):
    """Seconds that the trainer waits for each batch but the first."""
    return times["take"][1:] - times["end"][:-1]


epoch = simulate([12e-3] * 200, 5e-3, 2, 2)
print(f"200 batches: {epoch['end'][-1]:.3f} s, of which the trainer waits {waited(epoch).sum():.3f} s")
bursts = ([2e-3] * 7 + [20e-3]) * 5
for depth in (1, 2, 4, 8):
    wait_ms = waited(simulate(bursts, 5e-3, 1, depth))[6::8] * 1e3
    print(f"bursts, prefetch {depth}: for the slow batches the trainer waits {np.round(wait_ms, 1).tolist()} ms")

# %% [markdown]
# ## 9. What it costs
#
# Predict, then measure. A prediction is locked when you run its cell. State the interval so that you would be surprised
# in one case of ten.
#
# ### 9.1 A batch without workers
#
# 256 images of shape (3, 32, 32) in float32, 3 MiB, chosen at random from a `TensorDataset` of 2048. They can be
# collected in one operation (`gather`), or one by one and then collated. Both copy the same bytes. **How many times
# longer does one by one take?**

# %% predict="one_by_one" points=1
# predict("one_by_one", "number", low="number", high="number")
### BEGIN SOLUTION
predict("one_by_one", "5", low="1.5", high="20")
### END SOLUTION

# %% show
import tracemalloc

from tinytorch.tensor import Storage


def best(f, repeat=5):
    """Shortest of several runs, in seconds."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        f()
        times.append(time.perf_counter() - begin)
    return min(times)


def peaks(f):
    """Most bytes held at a time while f runs: by tensors' storages, and by all of Python."""
    Storage.peak_bytes = held = Storage.live_bytes
    tracemalloc.start()
    try:
        f()
        return Storage.peak_bytes - held, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


photos = TensorDataset(Tensor(np.random.default_rng(1).random((2048, 3, 32, 32), "float32")))
turned_photos = TransformedDataset(photos, Compose([RandomCrop(32, padding=4), RandomHorizontalFlip()]))
chosen = np.random.default_rng(2).permutation(2048)[:256].tolist()
ways = {
    "a view, [256:512]": lambda: photos.tensors[0][256:512],
    "gather": lambda: load(photos, chosen),
    "one by one": lambda: default_collate([photos[i] for i in chosen]),
    "one by one, cropped and flipped": lambda: load(turned_photos, chosen),
}
seconds = {name: best(way) for name, way in ways.items()}
reveal("one_by_one", f"{seconds['one by one'] / seconds['gather']:.3g}")
print(f"{'':32}      time   new storage   peak of Python")
for name, way in ways.items():
    stored, traced = peaks(way)
    print(f"{name:32}{seconds[name] * 1e3:7.2f} ms  {stored / 2**20:8.2f} MiB  {traced / 2**20:11.2f} MiB")
print(f"making a generator takes {best(lambda: [generator(0, 1, i) for i in range(256)]) / 256 * 1e6:.1f} µs a sample")
print("\ngather, images in        dataset     a batch        time")
for name in ("float32", "float16", "int8"):
    kept = TensorDataset((photos.tensors[0] * 127).astype(name))
    took, size = best(lambda kept=kept: load(kept, chosen)), load(kept, chosen)[0].nbytes
    print(f"{name:17}{kept.tensors[0].nbytes / 2**20:11.2f} MiB{size / 2**20:8.2f} MiB{took * 1e3:9.2f} ms")
kept = None

# %% [markdown]
# A view costs nothing, which is why an unshuffled epoch over tensors need not copy at all. Shuffling makes the copy
# unavoidable. One by one it is the small operations that cost: a layout, a storage to find, a shape to compare, 256
# times. With transforms the samples exist a second time before they are stacked: as plain arrays, which `Storage` does
# not count but tracemalloc does. This is the work that is worth giving to a worker.
#
# Bytes follow the dtype, and the time of a gather falls with them. Pixels fit in one byte each, so whoever makes floats
# of them behind the loader, and not in the dataset, stores and moves a quarter.
#
# ### 9.2 The way from a worker
#
# The same 3 MiB come from another process: pickled by `Connection.send`, by the loader's pipe with the bytes apart, or
# through memory that both processes share, copied out so that the slot is free again. **How many times longer than the
# shared slot does `Connection.send` take?**

# %% predict="pickle_cost" points=1
# predict("pickle_cost", "number", low="number", high="number")
### BEGIN SOLUTION
predict("pickle_cost", "8", low="2", high="40")
### END SOLUTION

# %% show
import mmap


def ship(way, array, repeat=15):
    """Seconds from asking another process for an array to having it, median of several."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    slot = np.frombuffer(mmap.mmap(-1, array.nbytes), array.dtype).reshape(array.shape)  # fork shares this mapping

    def serve():
        mine.close()
        while theirs.recv():
            if way == "Connection.send":
                theirs.send(array)
            elif way == "the loader's pipe":
                send(theirs, pack(array))
            else:
                slot[...] = array
                theirs.send(None)

    process = context.Process(target=serve, daemon=True)
    with theirs, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        mine.send(True)
        got = receive(mine) if way == "the loader's pipe" else mine.recv()
        got = slot.copy() if got is None else got
        times.append(time.perf_counter() - begin)
    mine.send(False)
    process.join()
    mine.close()
    if not np.array_equal(got, array):
        raise ValueError(f"{way}: another array came out")
    return float(np.median(times))


batch = load(photos, chosen)[0].numpy()
if WORKERS:
    seconds = {way: ship(way, batch) for way in ("Connection.send", "the loader's pipe", "a shared slot")}
    reveal("pickle_cost", f"{seconds['Connection.send'] / seconds['a shared slot']:.3g}")
    for way, took in seconds.items():
        print(f"{way:18} {took * 1e3:6.2f} ms, {batch.nbytes / took / 1e9:5.1f} GB/s")
else:
    print("not measured: there is no second process")

# %% [markdown]
# How much memory may all these batches take? A loader of `(3, 32, 32)` float32 images with one int64 label each has
# `batch_size=128`, `workers=2` and `prefetch=4`. The trainer has stopped to evaluate, and the workers have done all
# that they may. How many bytes of batches are ready?

# %% answer="ready_bytes" points=2
ready_bytes = ""  # a number with its unit, such as "16 MiB"
### BEGIN SOLUTION
ready_bytes = f"{2 * 4 * 128 * (3 * 32 * 32 * 4 + 8)} B"
### END SOLUTION

# %% key="ready_bytes"
def key(v):
    workers, prefetch, batch_bytes = 2, 4, 128 * (3 * 32 * 32 * 4 + 8)
    return Key(workers * prefetch * batch_bytes, "B", tol=0.02, mistakes=[
        Mistake(prefetch * batch_bytes, 0.5, "prefetch counts batches of each worker, and there are two"),
        Mistake(workers * batch_bytes, 0.25, "each worker may have 4 batches ready, not one"),
        Mistake(workers * prefetch * batch_bytes / 4, 0.5, "a float32 takes 4 bytes"),
        Mistake(workers * prefetch * batch_bytes / 128, 0.25, "that is one sample for each batch; a batch has 128"),
    ])

# %% [markdown]
# ### 9.3 Workers
#
# Two transforms, each of about 2 ms a sample. One **waits**, as for a disk or a server; the other **computes**. With
# the one that waits: **how many times as many samples a second do two workers load as none?** And can you say the same
# of the other?

# %% predict="two_workers" points=1
# predict("two_workers", "number", low="number", high="number")
### BEGIN SOLUTION
predict("two_workers", "1.9", low="1.5", high="2.1")
### END SOLUTION

# %% show
def waits(image, rng):
    time.sleep(0.002)
    return image


def computes(image, rng):
    total = 0
    for k in range(60_000):
        total += k * k
    return image


def rate(transform, workers, samples=96):
    """Samples a second from the first batch of an epoch to the last."""
    subset = TransformedDataset(Subset(photos, range(samples)), transform)
    batches = iter(DataLoader(subset, 3, workers=workers, start_method=METHOD))
    next(batches)
    begin = time.perf_counter()
    count = sum(len(image) for image, in batches)
    return count / (time.perf_counter() - begin)


counts = (0, 1, 2, 4) if WORKERS else (0,)
rates = {transform.__name__: {n: rate(transform, n) for n in counts} for transform in (waits, computes)}
if WORKERS:
    reveal("two_workers", f"{rates['waits'][2] / rates['waits'][0]:.3g}")
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
print(f"{cores} cores; samples a second, and times as many as without workers")
for name, by_count in rates.items():
    print(f"{name:9}", "   ".join(f"workers {n}: {r:6.0f} ({r / by_count[0]:4.2f})" for n, r in by_count.items()))
begin = time.perf_counter()
list(DataLoader(Subset(photos, [0]), workers=WORKERS, start_method=METHOD))
print(f"an epoch of a single sample takes {(time.perf_counter() - begin) * 1e3:.1f} ms with workers {WORKERS}: the price of starting them")

# %% [markdown]
# Waiting can be shared by any number of processes: four workers wait for four samples at a time, on any machine.
# Computing needs a core for each, and the trainer wants one too. More workers than cores only take memory and turns.
# That a single worker gains little here has another reason: this loop does nothing with its batches, so there is
# nothing to overlap with. Now there is.
#
# ### 9.4 Overlap, and depth
#
# A measured timeline: 12 batches of 6 ms, steps of 4 ms. Each bar is a batch that is loaded or trained on, with its
# number. In the last panel, find the batch after which the workers begin to rest, and say which rule makes them.

# %% show
import matplotlib.pyplot as plt


class Timed(Dataset):
    """Loading sample i takes load[i] seconds; the sample is when that was, and in which process."""

    def __init__(self, load):
        self.load = load

    def __len__(self):
        return len(self.load)

    def __getitem__(self, index):
        begin = time.perf_counter()
        time.sleep(self.load[index])
        return begin, time.perf_counter(), os.getpid()


def measure(load, step, workers, prefetch):
    """The same as simulate, by real processes that sleep; besides "who", the process that loaded each batch."""
    loader = DataLoader(Timed(load), collate=lambda samples: samples[0], workers=workers, prefetch=prefetch, start_method=METHOD)
    rows, begin = [], time.perf_counter()
    for start, done, who in loader:
        take = time.perf_counter()
        time.sleep(step)
        rows.append((start - begin, done - begin, take - begin, time.perf_counter() - begin, who))
    return dict(zip(("start", "done", "take", "end", "who"), map(np.array, zip(*rows, strict=True)), strict=True))


def timeline(axes, times, title):
    """Bars of loading, one lane for each process, above those of training."""
    lanes = {who: lane for lane, who in enumerate(dict.fromkeys(times["who"].tolist()), 1)}
    for i, who in enumerate(times["who"].tolist()):
        for lane, a, b, colour in ((lanes[who], "start", "done", "#8fb8de"), (0, "take", "end", "#e0a458")):
            left, width = times[a][i] * 1e3, (times[b][i] - times[a][i]) * 1e3
            axes.barh(lane, width, left=left, height=0.7, color=colour, edgecolor="white")
            axes.text(left + width / 2, lane, str(i), ha="center", va="center", fontsize=7)
    share = waited(times).sum() / (times["end"][-1] - times["take"][0])
    axes.set_yticks(range(len(lanes) + 1), ["trains", *(["loads"] if len(lanes) == 1 else [f"loads {k}" for k in range(len(lanes))])])
    text = f"{title}: {times['end'][-1] * 1e3:.0f} ms; after the first batch is there, the trainer waits {share:.0%} of the time"
    axes.set_title(text, fontsize=9, loc="left")


runs = [(n, measure([6e-3] * 12, 4e-3, n, 2)) for n in sorted({0, min(1, WORKERS), WORKERS})]
figure, panels = plt.subplots(len(runs), 1, figsize=(8, 1.5 * len(runs) + 0.6), sharex=True, squeeze=False, layout="constrained")
for axes, (n, times) in zip(panels[:, 0], runs, strict=True):
    timeline(axes, times, f"workers {n}, prefetch 2" if n else "no worker")
    axes.set_xlim(left=0)
panels[-1, 0].set_xlabel("ms from the start of the epoch")
plt.show()

# %% [markdown]
# The gap on the left is the start of the processes. With one worker, loading decides: 6 ms a batch, and the trainer
# waits a third of the time. With two, a batch is there every 3 ms, and training decides.
#
# Last, the depth. The bursts of 8.3 with two trainers: one slower than the average batch (step 5 ms), one faster (3
# ms). Lines are your simulation, dots are real processes.

# %% show
bursts, depths = ([2e-3] * 7 + [20e-3]) * 3, (1, 2, 3, 4, 6)
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
for step, colour in ((5e-3, "#2f6690"), (3e-3, "#c1666b")):
    simulated = [waited(simulate(bursts, step, 1, d)).sum() * 1e3 for d in depths]
    axes.plot(depths, simulated, color=colour, label=f"step {step * 1e3:.0f} ms, simulated")
    if WORKERS:
        measured = [waited(measure(bursts, step, 1, d)).sum() * 1e3 for d in depths]
        axes.plot(depths, measured, "o", color=colour, label=f"step {step * 1e3:.0f} ms, measured")
        print(f"step {step * 1e3:.0f} ms: simulated {np.round(simulated).tolist()} ms, measured {np.round(measured).tolist()} ms")
axes.set(xlabel="prefetch", ylabel="ms waited in an epoch", ylim=(0, None), xticks=depths)
axes.set_title("Depth evens out bursts; it does not make a slow loader fast", fontsize=9, loc="left")
axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# If loading is faster on average, a few batches of depth bring the waiting down to nothing. If it is slower, depth buys
# only what was loaded before the epoch's first batches were used up. From then on the rate decides, and memory is spent
# for nothing.
#
# ## 10. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="slow_loader" points=4
# A team trains on a machine with 4 cores. To load a batch of 150 MB takes a worker 20 ms of waiting for the network and
# 60 ms of decoding on one core; a step takes 10 ms on an accelerator and next to nothing of the cores. They run
# `workers=8, prefetch=2`, and the trainer waits a third of the time. One of them proposes `prefetch=16`, another
# `workers=32`. In eight to twelve sentences: show with numbers why the trainer waits a third of the time; judge both
# proposals, their gain and their price in memory; propose two changes that do help, and by how much; and say how you
# would prove that your changes leave the batches as they were.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. The cores decide: 4 cores / 60 ms is a batch every 15 ms, the step takes 10 ms, so 5 of 15 ms are spent waiting.
#    (Eight workers of 80 ms each would bring one every 10 ms if each had a core of its own, so the network is not it.)
# 2. Depth evens out variation and does not change a mean rate: no gain. More workers share the same 4 cores: no gain
#    either, and waiting is already hidden. Memory: 8·2·150 MB = 2.4 GB now; 8·16·150 MB = 19.2 GB for depth 16;
#    32·2·150 MB = 9.6 GB for 32 workers. Both the judgement and at least one correct figure are wanted.
# 3. Two changes that lower core time per batch or add cores, with numbers: decode once and store arrays (then a batch
#    takes the 20 ms of waiting and a copy, and the step decides: 10 ms); smaller images; a decoder 1.5 times as fast
#    (40 ms / 4 = 10 ms, just enough); 6 cores (60 ms / 6 = 10 ms).
# 4. A proof, not a hope: compare the batches of an epoch before and after, element by element or by a digest, with the
#    same seed; possible because order and augmentation depend on seed, epoch and index and not on workers. "The loss looks
#    the same" earns nothing.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# A loader is three decisions that can be repeated, and one queue. The order comes from (seed, epoch), the augmentation
# from (seed, epoch, index), the batches from arithmetic; so workers change when a batch is ready, and never what is in
# it. The queue keeps results in order and memory bounded. Whether the trainer waits is decided by two rates; depth
# only evens them out.
#
# The same parts under their names in PyTorch, all in `torch.utils.data`:
#
# | here | PyTorch |
# |---|---|
# | `Dataset`, `TensorDataset`, `Subset`, `random_split` | the same names; `random_split` takes a `generator` |
# | `gather` | `__getitems__`, which returns the list of samples that is then collated |
# | `RandomSampler.set_epoch` | `DistributedSampler.set_epoch`; a plain `RandomSampler` draws its seed from the global generator |
# | `generator(seed, epoch, index)` | each worker has a seed of its own, base seed + worker id, so augmentation depends on the workers |
# | `default_collate` | `default_collate`; it makes float64 of Python floats, ours makes float32 |
# | `assign`, `ReorderBuffer` | `_MultiProcessingDataLoaderIter`: workers in turn, `_task_info` holds what came early |
# | `workers`, `prefetch` | `num_workers`, `prefetch_factor` |
# | `pack`, `send`, `receive` | tensors travel as handles of shared memory; `torch.multiprocessing.set_sharing_strategy` |
# | `WorkerTraceback` | `ExceptionWrapper.reraise`, which puts the traceback's text into the message |
# | `Workers.lost` | "DataLoader worker (pid ...) is killed by signal", noticed by a handler of SIGCHLD |
# | new workers for each epoch | `persistent_workers=True` keeps them |
#
# Module 06 adds what turns all these batches into learning: gradients. Its engine walks backwards through everything
# that a `Function` has recorded.
