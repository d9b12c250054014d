# %% [markdown]
# # TinyTorch 14: Profiling
#
# A training step takes 40 ms. Somebody is sure that it is the matrix products and spends a week on them; they were 6 ms.
# Where the other 34 were can be read off in a minute, by a tool that this notebook builds: one that measures and does
# not guess. It then meets a program with three faults in it that no result shows, and finds them.
#
# **Where it sits.** What you write is exported as `tinytorch/profiling.py`. It looks at the framework from outside: no
# line of a model has to be changed.
#
# | module | what a profiler needs from it |
# |---|---|
# | 01 tensor | every operation passes through `Function.run`, and `Storage` counts bytes |
# | 03 layers | every layer passes through `Module.__call__` |
# | 06 autograd | every gradient passes through `Node.pull` |
# | 15 to 18 | make models smaller and faster; each begins by measuring |
#
# **Afterwards you can**
# 1. turn a list of intervals into a tree, and tell the time of a call from the time of what it called;
# 2. count the FLOP and bytes of an operation, forward and backward, and say what limits it;
# 3. say what is in memory at the worst moment, and who put it there;
# 4. measure what measuring costs, and take it out;
# 5. decide what is worth making faster, before it is made faster.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Hidden
# cases bring other trees, ties, gaps and shapes. Every function is judged by itself. You need modules 03, 06 and 08.
# Three hours are typical.

# %%
#| export
"""Profiling: what a program on this framework does, when, for how long, and in how much memory.

    with Profile() as profile: step()     records every operation forward and backward, and every module
    print(profile.table())                time by kind of operation, with FLOP and what limits it
    print(profile.tree())                 who called whom
    profile.save("trace.json")            for chrome://tracing and ui.perfetto.dev

Times are of the wall clock, in seconds; the profiler's own cost is measured and taken out of them. FLOP are counted from
shapes; bytes are those that an operation has to read and write at least once.

Errors, each one line: ValueError (intervals that overlap without lying in each other, shares out of range).
"""

import contextlib
import json
import math
import time
from dataclasses import dataclass, field

from tinytorch import autograd, layers, tensor
from tinytorch.tensor import Storage

VIEWS = ("Permute", "Slice", "Expand", "Reshape")
PRODUCTS = ("MatMul", "Linear", "Conv2d", "Correlate")
ATTENTION = ("TiledAttention", "CausalAttention")  # without and with the causal mask, as they are counted
OUTSIDE = "outside of operations"  # gradients of leaves, and what the program makes itself

# %%
import numpy as np

from mlsysbook import answer, case, check, predict, reveal
from tinytorch import Linear, Module, Sequential, Tensor, cross_entropy, manual_seed, relu
from tinytorch.backend import backend

# %% [markdown]
# ## 1. Intervals
#
# A profiler notes when something begins and when it ends. Function `f` runs from 0 to 10; inside, `g` from 1 to 4 and
# `h` from 5 to 9, and inside of `h` again `g`, from 6 to 8:
#
# ```
# f 0 ──────────────────── 10
#   g 1──4    h 5──────9
#                g 6──8
# ```
#
# Nothing in the list of four intervals says who called whom, but it can be told: what lies inside was called from there.
# **Total** time is end − begin. **Self** time is total without what the direct callees took: f 10 − 3 − 4 = 3, h 2, g 3
# and 2. Total times count the same second several times over; self times add up to the whole.
#
# **Exercise 1.1** The tree. Intervals are [name, begin, end] in any order; the result is a list of [name, begin, end,
# children], at each level by begin. Of two intervals that begin at the same time the longer contains the shorter; of two
# equal ones the one that comes first in the list contains the other. Touching is not overlapping: what begins when
# another ends lies beside it. Intervals that overlap without containing are a fault of the recorder: refuse them.
#
# **Exercise 1.2** Self times of such a tree, as a list of [name, seconds], parents before children.

# %% solution="nested"
#| export
def nested(intervals):
    """Intervals [name, begin, end] -> a forest: a list of [name, begin, end, children], by begin.

    Raises ValueError for two that overlap without one containing the other.
    """
    ### BEGIN SOLUTION
    roots, open_ = [], []
    for name, begin, end in sorted(intervals, key=lambda i: (i[1], -i[2])):
        while open_ and begin >= open_[-1][2] and not (begin == end == open_[-1][2] == open_[-1][1]):
            open_.pop()
        if open_ and end > open_[-1][2]:
            raise ValueError(f"{name} from {begin} to {end} overlaps {open_[-1][0]} from {open_[-1][1]} to {open_[-1][2]} "
                             "and does not lie in it")
        node = [name, begin, end, []]
        (open_[-1][3] if open_ else roots).append(node)
        open_.append(node)
    return roots
    ### END SOLUTION


# %% solution="self_times"
#| export
def self_times(forest):
    """[name, seconds] of each node of a forest, without the time of its children; parents before children."""
    ### BEGIN SOLUTION
    times = []
    for name, begin, end, children in forest:
        times.append([name, end - begin - sum(child[2] - child[1] for child in children)])
        times.extend(self_times(children))
    return times
    ### END SOLUTION


# %% check="nested" points=5
def forest_of(intervals):
    try:
        return nested([list(i) for i in intervals])
    except ValueError as error:
        return {"names both": sum(str(i[0]) in str(error) for i in intervals) >= 2}

check("nested", [
    case([["f", 0, 10], ["g", 1, 4], ["h", 5, 9], ["g", 6, 8]]),
    case([["b", 2, 3], ["a", 0, 2]]),
    case([["left", 0, 5], ["right", 3, 8]]),
], call=forest_of, compare="value")

# %% hidden="nested"
def random_forest(rng, begin=0, depth=3, names="fghk"):
    """Intervals that lie in each other, whole numbers, and the end of the last."""
    found = []
    for _ in range(int(rng.integers(1, 4))):
        begin += int(rng.integers(0, 3))
        inner, end = random_forest(rng, begin + int(rng.integers(0, 2)), depth - 1) if depth else ([], begin)
        end = max(end, begin) + int(rng.integers(1, 4))
        found += [[str(rng.choice(list(names))), begin, end], *inner]
        begin = end
    return found, begin


def cases(rng):
    for _ in range(4):
        intervals, _ = random_forest(rng)
        yield case(intervals, behaviour="what lies inside was called from there")
        yield case([intervals[k] for k in rng.permutation(len(intervals))], behaviour="any order")
    yield case([["a", 0, 4], ["b", 0, 2], ["c", 2, 4], ["d", 4, 6]], behaviour="touching, equal and empty intervals")
    yield case([["a", 0, 4], ["b", 0, 4], ["c", 0, 4]], behaviour="touching, equal and empty intervals")
    yield case([["a", 0, 4], ["b", 1, 4], ["c", 3, 4]], behaviour="touching, equal and empty intervals")
    yield case([], behaviour="touching, equal and empty intervals")
    for intervals in ([["f", 0, 5], ["g", 4, 6]], [["f", 0, 9], ["g", 1, 5], ["h", 4, 7]], [["a", 0, 3], ["b", 5, 9], ["c", 6, 10]]):
        yield case(intervals, behaviour="overlaps are refused, with both names")


# %% check="self_times" points=3
def written(forest):
    """A forest written as nested lists, its self times."""
    return self_times(forest)

check("self_times", [case([["f", 0, 10, [["g", 1, 4, []], ["h", 5, 9, [["g", 6, 8, []]]]]]])], call=written, compare="value")

# %% hidden="self_times"
def tree_of(rng, begin, end, depth):
    children, at = [], begin
    while depth and at < end - 1 and rng.random() < 0.8:
        first = at + int(rng.integers(0, 2))
        last = first + int(rng.integers(1, max(2, end - first)))
        if last > end:
            break
        children.append([str(rng.choice(list("pqrs"))), first, last, tree_of(rng, first, last, depth - 1)])
        at = last
    return children


def cases(rng):
    for depth in (1, 2, 3, 4):
        yield case([["root", 0, 30, tree_of(rng, 0, 30, depth)]], behaviour="less the direct callees")
    yield case([["a", 0, 5, []], ["b", 5, 9, [["c", 5, 9, []]]]], behaviour="several roots, none")
    yield case([], behaviour="several roots, none")


# %% [markdown]
# ## 2. A table
#
# A thousand intervals are no answer. Group them by name: how often, how long in all, and what share of everything. The
# first line of the table is where to look.
#
# **Exercise 2.1** From [name, seconds] to rows [name, calls, seconds, share], the largest total first, equal ones by
# name. The shares are of the sum; without any time they are 0.

# %% solution="grouped"
#| export
def grouped(times):
    """[name, seconds] -> rows [name, calls, seconds, share of the sum], by seconds, largest first, then by name."""
    ### BEGIN SOLUTION
    rows = {}
    for name, seconds in times:
        calls, total = rows.get(name, (0, 0.0))
        rows[name] = calls + 1, total + seconds
    whole = sum(total for _, total in rows.values())
    ordered = sorted(rows.items(), key=lambda item: (-item[1][1], item[0]))
    return [[name, calls, total, total / whole if whole else 0.0] for name, (calls, total) in ordered]
    ### END SOLUTION


# %% check="grouped" points=3
check("grouped", [case([["f", 3.0], ["g", 3.0], ["h", 2.0], ["g", 2.0]]), case([["b", 0.0], ["a", 0.0]])], compare="value")

# %% hidden="grouped"
def cases(rng):
    for n in (6, 12, 20):
        times = [[str(rng.choice(list("abcde"))), float(rng.integers(1, 9))] for _ in range(n)]
        yield case(times, behaviour="calls, seconds and shares, the largest first")
    yield case([["z", 2.0], ["a", 1.0], ["m", 2.0], ["a", 1.0]], behaviour="equal totals by name")
    yield case([["x", 0.0], ["a", 0.0], ["x", 0.0]], behaviour="no time, nothing")
    yield case([], behaviour="no time, nothing")


# %% [markdown]
# ## 3. What an operation has to do
#
# Seconds say how long. Whether that is long depends on the work: FLOP, and bytes that have to be moved at least once.
# Both follow from shapes. A (M, K) times B (K, N): 2·M·K·N FLOP; M·K + K·N + M·N numbers to move.
#
# | kind of operation | names | FLOP forward |
# |---|---|---|
# | products | `MatMul`, with leading axes as a batch | 2 K for each number of the result, K the last axis of the first operand |
# | | `Linear` | 2 K likewise, weight (O, K) second |
# | | `Conv2d`, `Correlate` | 2 × the numbers in one filter, `weight[0]`, for each number of the result |
# | attention | `TiledAttention` of q (B, H, T, D), k and v (B, G, S, D) | 4 S for each number of the result |
# | | `CausalAttention` of one operand (B, T, …) that holds q, k and v | 2 (T + 1) for each number of the result |
# | views | `Permute`, `Slice`, `Expand`, `Reshape` | 0, and no bytes |
# | all others | | 1 for each number of the largest of operands and result |
#
# **Backward.** For a product, each gradient that is wanted is again as much work as the forward product. It is often
# said that backward costs twice the forward; it does where both operands want a gradient, and once where, as in the
# first layer, only the weight does. For the others count 1 for each wanted gradient and number of that operand. The
# bytes of a backward: the incoming gradient, all operands of a product (the numbers of wanted operands for the others),
# and the gradients that are wanted.
#
# **Attention** in one operation is two products, 2 S each for a number of the result. Under the causal mask position t
# sees t keys, (T + 1) / 2 on average. (`TiledAttention` may be causal too; its shapes do not tell, so it counts whole.)
# Its backward has no scores to start from: it computes them again, then four products for the gradients, so 5/2 of the
# forward, whichever are wanted. Its bytes are those of "all others": it holds no T × S matrix, which is the point of it.
#
# **Worked example.** `Linear` with x (32, 100) and weight (10, 100), result (32, 10), float32. Forward: 2·100·320 =
# 64,000 FLOP; (3200 + 1000 + 320)·4 = 18,080 bytes. Backward, only the weight wanted: 64,000 FLOP, and
# (320 + 3200 + 1000 + 1000)·4 = 22,080 bytes.
#
# **Exercise 3.1** FLOP and bytes. `wants` is None for forward; for backward a list that says for each operand whether its
# gradient is wanted. A bias, third operand of a product, counts in the bytes and not in the FLOP, forward or backward.

# %% solution="cost"
#| export
def cost(name, shapes, result, itemsize=4, wants=None):
    """(FLOP, bytes) of an operation on operands of these shapes, or of its backward, where wants says whose gradients."""
    ### BEGIN SOLUTION
    if name in VIEWS:
        return 0, 0
    sizes, numbers = [math.prod(shape) for shape in shapes], math.prod(result)
    if name in PRODUCTS:
        inner = math.prod(shapes[1][1:]) if name in ("Conv2d", "Correlate") else (shapes[0][-1] if shapes[0] else 1)
        flop = 2 * inner * numbers
        if wants is None:
            return flop, (sum(sizes) + numbers) * itemsize
        wanted = [size for size, want in zip(sizes, wants, strict=True) if want]
        return flop * sum(map(bool, wants[:2])), (numbers + sum(sizes) + sum(wanted)) * itemsize
    flop = max([*sizes, numbers])
    if name in ATTENTION:
        flop = numbers * (4 * shapes[1][2] if name == "TiledAttention" else 2 * (shapes[0][1] + 1))
    if wants is None:
        return flop, (sum(sizes) + numbers) * itemsize
    wanted = [size for size, want in zip(sizes, wants, strict=True) if want]
    return flop * 5 // 2 if name in ATTENTION else sum(wanted), (numbers + 2 * sum(wanted)) * itemsize
    ### END SOLUTION


# %% check="cost" points=6
def counted(name, shapes, result, itemsize=4, wants=None):
    return [int(n) for n in cost(name, [tuple(s) for s in shapes], tuple(result), itemsize, wants)]

check("cost", [
    case("Linear", [(32, 100), (10, 100)], (32, 10)),
    case("Linear", [(32, 100), (10, 100)], (32, 10), wants=[False, True]),
    case("Add", [(4, 5), (5,)], (4, 5)),
    case("Reshape", [(4, 5)], (20,)),
    case("TiledAttention", [(2, 4, 8, 16), (2, 2, 32, 16), (2, 2, 32, 16)], (2, 4, 8, 16)),
    case("CausalAttention", [(2, 8, 96)], (2, 8, 32), wants=[True]),
], call=counted)

# %% hidden="cost"
def cases(rng):
    m, k, n, b = (int(v) for v in rng.permutation([3, 5, 7, 11]))
    core = "products forward"
    yield case("MatMul", [(m, k), (k, n)], (m, n), behaviour=core)
    yield case("MatMul", [(b, m, k), (b, k, n)], (b, m, n), behaviour=core)
    yield case("Linear", [(b, m, k), (n, k), (n,)], (b, m, n), behaviour=core)
    yield case("Conv2d", [(b, 4, 9, 9), (6, 2, 3, 2), (6,)], (b, 6, 7, 8), behaviour=core)
    yield case("Correlate", [(b, 4, 9, 9), (6, 4, 3, 3)], (b, 6, 7, 7), itemsize=8, behaviour=core)
    back = "products backward: one product for each gradient that is wanted"
    for wants in ([True, True], [True, False], [False, True]):
        yield case("MatMul", [(m, k), (k, n)], (m, n), wants=wants, behaviour=back)
    yield case("Linear", [(m, k), (n, k), (n,)], (m, n), wants=[False, True, True], behaviour=back)
    yield case("Conv2d", [(b, 4, 9, 9), (6, 4, 3, 3), (6,)], (b, 6, 7, 7), wants=[True, True, False], behaviour=back)
    rest = "everything else"
    yield case("Mul", [(m, 1), (1, n)], (m, n), behaviour=rest)
    yield case("Sum", [(m, n)], (n,), itemsize=2, behaviour=rest)
    yield case("Mul", [(m, n), (n,)], (m, n), wants=[True, False], behaviour=rest)
    yield case("Softmax", [(b, n)], (b, n), wants=[True], itemsize=8, behaviour=rest)
    one = "attention in one operation"
    for wants in (None, [True, False, True]):
        yield case("TiledAttention", [(b, 6, m, k), (b, 2, n, k), (b, 2, n, k)], (b, 6, m, k), wants=wants, behaviour=one)
    for wants in (None, [True]):
        yield case("CausalAttention", [(b, n, 8 * k)], (b, n, 4 * k), itemsize=8, wants=wants, behaviour=one)
    for name in ("Permute", "Slice", "Expand"):
        yield case(name, [(m, n)], (n, m), behaviour="views move nothing")
        yield case(name, [(m, n)], (n, m), wants=[True], behaviour="views move nothing")
    yield case("MatMul", [(0, k), (k, n)], (0, n), behaviour="no elements")


# %% [markdown]
# ## 4. What limits it
#
# A machine does P FLOP/s at most and moves B bytes/s. An operation of F FLOP and b bytes takes at least F / P and at
# least b / B. The larger of the two is its **bound**, and says what limits it. What it takes beyond the bound is neither
# arithmetic nor memory: calls, allocations, Python. An operation that reaches less than half of its bound is limited by
# **overhead**, and faster hardware would do nothing for it.
#
# **Worked example.** P = 100 GFLOP/s, B = 20 GB/s. 1 MFLOP and 1 MB: 10 µs against 50 µs, so memory; measured 60 µs, it
# reaches 83 % of the bound. Measured 400 µs, it reaches 12.5 %, and is limited by overhead.
#
# **Exercise 4.1** The limit, "compute", "memory" or "overhead", and the share of the bound that was reached. Equal bounds
# count as compute. An operation with neither FLOP nor bytes, or no time, reaches 0 and is overhead.

# %% solution="limit"
#| export
def limit(flop, traffic, seconds, peak, bandwidth):
    """What limits an operation and the share of its bound that it reaches -> ("compute" | "memory" | "overhead", float)."""
    ### BEGIN SOLUTION
    compute, memory = flop / peak, traffic / bandwidth
    bound = max(compute, memory)
    reached = bound / seconds if seconds > 0 else 0.0
    if reached < 0.5:
        return "overhead", reached
    return ("compute" if compute >= memory else "memory"), reached
    ### END SOLUTION


# %% check="limit" points=4
check("limit", [
    case(1e6, 1e6, 60e-6, 100e9, 20e9),
    case(1e6, 1e6, 400e-6, 100e9, 20e9),
    case(1e8, 1e6, 1.1e-3, 100e9, 20e9),
], compare="value")

# %% hidden="limit"
def cases(rng):
    for _ in range(5):
        flop, traffic = float(rng.uniform(1e5, 1e9)), float(rng.uniform(1e5, 1e8))
        bound = max(flop / 2e11, traffic / 3e10)
        yield case(flop, traffic, bound * float(rng.uniform(1.05, 1.9)), 2e11, 3e10, behaviour="the larger bound")
        yield case(flop, traffic, bound * float(rng.uniform(2.1, 30)), 2e11, 3e10, behaviour="overhead beyond twice the bound")
    yield case(1e10, 1e9, 0.1, 1e11, 1e10, behaviour="equal bounds, no work, no time")
    yield case(0, 0, 1e-6, 1e11, 1e10, behaviour="equal bounds, no work, no time")
    yield case(1e6, 1e6, 0.0, 1e11, 1e10, behaviour="equal bounds, no work, no time")


# %% [markdown]
# ## 5. The worst moment
#
# Memory is not a sum but a maximum. Every storage appears at some moment with some bytes and may disappear later. What
# is there at the worst moment, and from whom?
#
# **Worked example.** +8 from `x`, +4 from `relu`, −8 (x), +16 from `matmul`, −4, +2 from `loss`. Live: 8, 12, 4, 20, 16, 18.
# The peak is 20, and at that moment `matmul` holds 16 and `relu` 4.
#
# **Exercise 5.1** Events are [number, name, bytes]: with bytes > 0 storage `number` appears, made by `name`; with bytes 0
# it disappears. Storages that were there before the recording began disappear without having appeared, and do not
# count. The result: the peak, and who holds how much at the first moment when it is reached, [name, bytes], the largest
# first, equal ones by name.

# %% solution="peak_holders"
#| export
def peak_holders(events):
    """Events [number, name, bytes], 0 bytes for an end -> (peak in bytes, [[name, bytes], ...] at its first moment)."""
    ### BEGIN SOLUTION
    live, now, peak, holders = {}, 0, 0, []
    for number, name, size in events:
        if size:
            live[number] = name, size
            now += size
            if now > peak:
                peak, held = now, {}
                for owner, part in live.values():
                    held[owner] = held.get(owner, 0) + part
                holders = sorted(([owner, part] for owner, part in held.items()), key=lambda h: (-h[1], h[0]))
        else:
            now -= live.pop(number, (None, 0))[1]
    return peak, holders
    ### END SOLUTION


# %% check="peak_holders" points=5
def worst(events):
    peak, holders = peak_holders([list(e) for e in events])
    return {"peak": peak, "holders": [list(h) for h in holders]}

check("peak_holders", [
    case([[1, "x", 8], [2, "relu", 4], [1, "", 0], [3, "matmul", 16], [2, "", 0], [4, "loss", 2]]),
    case([[7, "", 0], [1, "a", 4]]),
], call=worst)

# %% hidden="peak_holders"
def cases(rng):
    for n in (12, 25, 40):
        events, live = [], []
        for k in range(n):
            if live and rng.random() < 0.45:
                events.append([live.pop(int(rng.integers(len(live)))), "", 0])
            else:
                live.append(k)
                events.append([k, str(rng.choice(list("abcd"))), int(rng.integers(1, 50))])
        yield case(events, behaviour="the largest sum, and who holds it")
    yield case([[1, "a", 4], [2, "b", 4], [1, "", 0], [3, "c", 4]], behaviour="the first moment, equal parts by name")
    yield case([[1, "b", 4], [2, "a", 4], [3, "a", 2], [4, "b", 2]], behaviour="the first moment, equal parts by name")
    yield case([[9, "", 0], [8, "", 0], [1, "a", 4], [9, "", 0], [2, "b", 3]], behaviour="storages from before")
    yield case([[5, "a", 4], [5, "", 0], [5, "b", 6]], behaviour="a number that is used again")
    yield case([], behaviour="nothing")


# %% [markdown]
# ## 6. The recorder
#
# Now for the events themselves. `Profile` is given. While it is active it stands in for three methods through which
# everything passes, notes the time before and after, and calls the original. Nothing else in the framework changes, and
# at the end the originals are back, whatever happened in between.
#
# To measure is to disturb: each event costs a microsecond or so, and the parents of an event contain it. `Profile`
# measures that cost on an operation that does nothing, and takes it out of every interval, once for the event itself
# and once for each one inside of it.
#
# **Exercise 6.1** Take the cost out. `before` is what the recorder spends inside of the interval of the event itself;
# `whole` is all it spends on one event, which the parents see. Times must not become negative.

# %% solution="corrected"
#| export
def corrected(forest, before, whole):
    """A forest with the recorder's time taken out -> list of [name, seconds, children]; seconds are totals, never below 0."""
    ### BEGIN SOLUTION
    def visit(node):
        name, begin, end, children = node
        inner = [visit(child) for child in children]
        count = sum(n for _, n in inner)
        seconds = max(end - begin - before - count * whole, 0.0)
        return [name, seconds, [part for part, _ in inner]], count + 1

    return [visit(node)[0] for node in forest]
    ### END SOLUTION


# %% check="corrected" points=5
check("corrected", [
    case([["f", 0, 10, [["g", 1, 4, []], ["h", 5, 9, [["g", 6, 8, []]]]]]], 0.25, 0.5),
    case([["f", 0.0, 0.125, []]], 0.25, 0.5),
], compare="value")

# %% hidden="corrected"
def cases(rng):
    for depth in (1, 2, 3, 4):
        forest = [["root", 0, 40, tree_of(rng, 0, 40, depth)]]
        yield case(forest, 0.25, 0.5, behaviour="its own cost, and that of everything inside")
        yield case(forest, 0.0, 0.125, behaviour="its own cost, and that of everything inside")
    yield case([["a", 0, 1, [["b", 0, 1, []]]]], 0.5, 2.0, behaviour="never below 0")
    yield case([["a", 0, 5, []], ["b", 5, 6, []]], 0.5, 0.75, behaviour="several roots, none")
    yield case([], 0.5, 0.75, behaviour="several roots, none")


# %%
#| export
@dataclass
class Event:
    """One interval: what ran ("forward", "backward" or "module"), when, its work, and the bytes of tensors afterwards."""

    name: str
    kind: str
    begin: float
    end: float = 0.0
    flop: int = 0
    traffic: int = 0
    live: int = 0
    shapes: tuple = field(default=())
    dtype: str = ""


class Profile:
    """Record operations, gradients and modules inside of a with block. Recorders do not nest.

    events: in the order of their ends. memory: [number, name, bytes] of storages as they come and go.
    """

    active = None

    def __init__(self, modules=True):
        self.modules, self.events, self.memory, self.names, self.numbers = modules, [], [], [], {}

    def __enter__(self):
        if Profile.active is not None:
            raise RuntimeError("a Profile is active already; they do not nest")
        self.before, self.whole = recorder_cost()
        Profile.active = self
        self.patches = patched(self)
        self.patches.__enter__()
        return self

    def __exit__(self, *reason):
        self.patches.__exit__(*reason)
        Profile.active = None

    def forest(self):
        """Events as a forest of [name, begin, end, children]; the names of backward and module events say what they are."""
        marks = {"forward": "", "backward": " (backward)", "module": " (module)"}
        return nested([[event.name + marks[event.kind], event.begin, event.end] for event in self.events])

    def operations(self):
        """The events that are operations, forward or backward, and no modules."""
        return [event for event in self.events if event.kind != "module"]

    def table(self, peak=None, bandwidth=None):
        """Self times by name as text; with the machine's FLOP/s and bytes/s also what limits each."""
        rows = grouped([[name, seconds] for name, seconds in flattened(corrected(self.forest(), self.before, self.whole))])
        work = {}
        for event in self.operations():
            name = event.name + (" (backward)" if event.kind == "backward" else "")
            flop, traffic = work.get(name, (0, 0))
            work[name] = flop + event.flop, traffic + event.traffic
        lines = [f"{'':32} {'calls':>6} {'time':>10} {'share':>6} {'MFLOP':>9} {'MB':>8}" + ("  limited by" if peak else "")]
        for name, calls, seconds, share in rows:
            flop, traffic = work.get(name, (0, 0))
            text = f"{name:32} {calls:6} {seconds * 1e3:7.3f} ms {share:6.1%} {flop / 1e6:9.2f} {traffic / 1e6:8.2f}"
            if peak and name in work:
                why, reached = limit(flop, traffic, seconds, peak, bandwidth)
                text += f"  {why} ({reached:.0%} of its bound)"
            lines.append(text)
        return "\n".join(lines)

    def tree(self, least=0.01):
        """Who called whom, with total times as bars; what takes less than a share `least` of everything is left out."""
        forest = merged(corrected(self.forest(), self.before, self.whole))
        whole = sum(node[1] for node in forest) or 1.0
        lines = []

        def visit(node, depth):
            name, seconds, children, calls = node
            if seconds >= least * whole:
                bar = "█" * round(30 * seconds / whole)
                lines.append(f"{'  ' * depth + name:40} {calls:5} x {seconds * 1e3:8.3f} ms  {bar}")
                for child in children:
                    visit(child, depth + 1)

        for node in forest:
            visit(node, 0)
        return "\n".join(lines)

    def save(self, path):
        """Write the events as a trace that chrome://tracing and ui.perfetto.dev show."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(trace([[e.name, e.kind, e.begin, e.end, e.live] for e in self.events]), file)


def flattened(forest):
    """[name, self seconds] of a corrected forest."""
    for name, seconds, children in forest:
        yield name, max(seconds - sum(child[1] for child in children), 0.0)
        yield from flattened(children)


def merged(forest):
    """Siblings of one name as one node -> list of [name, seconds, children, calls], the largest first."""
    groups = {}
    for name, seconds, children in forest:
        group = groups.setdefault(name, [name, 0.0, [], 0])
        group[1] += seconds
        group[2] += children
        group[3] += 1
    rows = [[name, seconds, merged(children), calls] for name, seconds, children, calls in groups.values()]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


@contextlib.contextmanager
def patched(profile):
    """While this lasts, operations, gradients, modules and storages are noted in profile."""
    run, pull, call, made, gone = tensor.Function.run, autograd.Node.pull, layers.Module.__call__, Storage.__init__, Storage.__del__

    def noted_run(function, tensors):
        event = Event(type(function).__name__, "forward", time.perf_counter())
        profile.names.append(event.name)
        output = run(function, tensors)
        event.end = time.perf_counter()
        profile.names.pop()
        event.shapes, event.dtype = tuple(t.shape for t in tensors), str(output.dtype)
        event.flop, event.traffic = cost(event.name, event.shapes, output.shape, output.dtype.itemsize)
        event.live = Storage.live_bytes
        profile.events.append(event)
        return output

    def noted_pull(node, grad):
        event = Event(node.name, "backward", time.perf_counter())
        wants = None if node.function is None else list(node.function.wants)
        profile.names.append(event.name)
        parts = pull(node, grad)
        event.end = time.perf_counter()
        profile.names.pop()
        event.shapes, event.dtype = node.shapes, str(node.dtype)
        if wants is not None:
            event.flop, event.traffic = cost(event.name, node.shapes, node.shape, node.dtype.itemsize, wants)
        event.live = Storage.live_bytes
        profile.events.append(event)
        return parts

    def noted_call(module, *inputs, **options):
        event = Event(type(module).__name__, "module", time.perf_counter())
        try:
            return call(module, *inputs, **options)
        finally:
            event.end, event.live = time.perf_counter(), Storage.live_bytes
            profile.events.append(event)

    def noted_made(storage, data):
        made(storage, data)
        profile.numbers[id(storage)] = len(profile.memory)
        profile.memory.append([len(profile.memory), profile.names[-1] if profile.names else OUTSIDE, storage.nbytes])

    def noted_gone(storage):
        number = profile.numbers.pop(id(storage), None)
        if number is not None:
            profile.memory.append([number, "", 0])
        gone(storage)

    tensor.Function.run, autograd.Node.pull = noted_run, noted_pull
    Storage.__init__, Storage.__del__ = noted_made, noted_gone
    if profile.modules:
        layers.Module.__call__ = noted_call
    try:
        yield
    finally:
        tensor.Function.run, autograd.Node.pull, layers.Module.__call__ = run, pull, call
        Storage.__init__, Storage.__del__ = made, gone


def recorder_cost(repeat=200):
    """What noting one event takes: inside of its own interval, and in all, in seconds; the shortest of many."""
    profile = object.__new__(Profile)
    profile.modules, profile.events, profile.memory, profile.names, profile.numbers = False, [], [], [], {}
    x, nothing = tensor.zeros(1), tensor.Neg()
    kept = tensor.Function.run
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        kept(nothing, (x,))
        times.append(time.perf_counter() - begin)
    plain = min(times)
    inside, outside = [], []
    with patched(profile):
        for _ in range(repeat):
            begin = time.perf_counter()
            nothing.run((x,))
            outside.append(time.perf_counter() - begin)
            inside.append(profile.events[-1].end - profile.events[-1].begin)
    return max(min(inside) - plain, 0.0), max(min(outside) - plain, 0.0)

# %% [markdown]
# Traces have a format that viewers know: a list of complete events, `"ph": "X"`, with begin `ts` and length `dur` in
# microseconds, and counters, `"ph": "C"`, for what changes over time.
#
# **Exercise 6.2** Such a document from rows [name, kind, begin, end, live]. Times are relative to the earliest begin. For
# each row one complete event with its name, `"cat"` the kind, `"pid"` 0 and `"tid"` 0; and after each row of kind
# "forward" or "backward" one counter event with name "live bytes", `"ts"` of the row's end, `"pid"` 0 and
# `"args": {"bytes": live}`. The document is {"traceEvents": [...]}, in the order of the rows.

# %% solution="trace"
#| export
def trace(rows):
    """Rows [name, kind, begin, end, live], times in seconds -> a document in the trace event format, times in µs."""
    ### BEGIN SOLUTION
    events, start = [], min((row[2] for row in rows), default=0.0)
    for name, kind, begin, end, live in rows:
        events.append({"name": name, "cat": kind, "ph": "X", "ts": (begin - start) * 1e6, "dur": (end - begin) * 1e6, "pid": 0, "tid": 0})
        if kind in ("forward", "backward"):
            events.append({"name": "live bytes", "ph": "C", "ts": (end - start) * 1e6, "pid": 0, "args": {"bytes": live}})
    return {"traceEvents": events}
    ### END SOLUTION


# %% check="trace" points=4
check("trace", [case([["MatMul", "forward", 2.0, 2.5, 64], ["Linear", "module", 1.5, 3.0, 64]])], compare="value")

# %% hidden="trace"
def cases(rng):
    for n in (3, 8):
        rows = []
        for k in range(n):
            begin, kind = float(rng.uniform(5, 6)), str(rng.choice(["forward", "backward", "module"]))
            rows.append([f"op{k}", kind, begin, begin + float(rng.uniform(0, 1)), int(rng.integers(999))])
        yield case(rows, behaviour="complete events and counters")
    yield case([["a", "module", 3.0, 4.0, 8]], behaviour="modules have no counter, nothing has no events")
    yield case([], behaviour="modules have no counter, nothing has no events")


# %% [markdown]
# A first look, at one step of a small classifier:

# %% show
manual_seed(0)
rng = np.random.default_rng(0)
model = Sequential(Linear(256, 512), relu, Linear(512, 512), relu, Linear(512, 10))
x, y = Tensor(rng.normal(size=(64, 256)), "float32"), rng.integers(0, 10, 64)


def step():
    model.zero_grad()
    loss = cross_entropy(model(x), y)
    loss.backward()
    return loss


for _ in range(3):
    step()
with Profile() as profile:
    step()
print(profile.tree())
print()
print(profile.table())
print(f"\nnoting one event costs {profile.whole * 1e6:.2f} µs, {profile.before * 1e6:.2f} µs of it inside of the event")
peak, holders = peak_holders(profile.memory)
print(f"peak of what the step allocates: {peak / 1e6:.2f} MB; most of it held by {holders[:3]}")

# %% [markdown]
# And as a timeline: time to the right, calls inside of calls downwards, and below it the bytes of all tensors. They rise
# while the forward pass keeps what backward will need, and fall as backward lets go of it.

# %% show
import matplotlib.pyplot as plt

figure, (upper, lower) = plt.subplots(2, 1, figsize=(9.5, 4.2), sharex=True, height_ratios=(2, 1), layout="constrained")
start = min(event.begin for event in profile.events)
colours = {"module": "C7", "forward": "C0", "backward": "C1"}
for event in profile.events:
    depth = sum(e.begin <= event.begin and event.end <= e.end and e is not event for e in profile.events)
    upper.barh(-depth, (event.end - event.begin) * 1e3, left=(event.begin - start) * 1e3, color=colours[event.kind], edgecolor="white",
               hatch={"backward": "//"}.get(event.kind))
    if event.end - event.begin > 0.05 * (profile.events[-1].end - start):
        upper.text((event.begin - start) * 1e3, -depth, " " + event.name, va="center", fontsize=7)
upper.set(yticks=[], title="grey: modules, blue: forward, orange with stripes: backward")
moments = sorted((event.end, event.live) for event in profile.operations())
lower.step([(t - start) * 1e3 for t, _ in moments], [b / 1e6 for _, b in moments], where="post")
lower.set(xlabel="ms", ylabel="MB live")
plt.show()
print(f"{len(profile.events)} events in {(profile.events[-1].end - start) * 1e3:.2f} ms, from {moments[0][1] / 1e6:.2f} to "
      f"{max(b for _, b in moments) / 1e6:.2f} MB")

# %% [markdown]
# ## 7. What is worth it
#
# Amdahl (1967): if a part takes a share p of the time and becomes s times faster, the whole becomes
# 1 / (1 − p + p / s) times faster. The matrix products of the story took 6 of 40 ms. Infinitely fast ones would have
# made the step 1 / (1 − 0.15) = 1.18 times faster.
#
# **Exercise 7.1** The speed-up of the whole by several parts at once: a list of [share, factor]. Shares are of the old
# time and add up to 1 at most; factors are positive, infinity included. Refuse others with a ValueError.

# %% solution="speedup"
#| export
def speedup(parts):
    """How many times faster the whole becomes if parts [share, factor] become so many times faster.

    Raises ValueError for shares below 0 or above 1 in sum, and for factors that are not positive.
    """
    ### BEGIN SOLUTION
    shares = [share for share, _ in parts]
    if any(share < 0 for share in shares) or sum(shares) > 1 + 1e-9 or any(not factor > 0 for _, factor in parts):
        raise ValueError(f"shares are from 0 up and 1 at most in sum, factors above 0; got {parts}")
    left = 1 - sum(shares) + sum(share / factor for share, factor in parts)
    return 1 / left if left > 0 else math.inf
    ### END SOLUTION


# %% check="speedup" points=3
check("speedup", [case([[0.15, float("inf")]]), case([[0.5, 2.0], [0.25, 5.0]]), case([[0.7, 2.0], [0.5, 2.0]])], compare="value")

# %% hidden="speedup"
def cases(rng):
    for _ in range(4):
        shares = rng.dirichlet(np.ones(4))[:3]
        yield case([[float(s), float(rng.uniform(1.5, 9))] for s in shares], behaviour="several parts")
    yield case([[0.25, 0.5]], behaviour="slower parts, infinite factors, nothing")
    yield case([[1.0, float("inf")]], behaviour="slower parts, infinite factors, nothing")
    yield case([], behaviour="slower parts, infinite factors, nothing")
    for parts in ([[-0.1, 2.0]], [[0.6, 2.0], [0.6, 3.0]], [[0.5, 0.0]], [[0.5, -1.0]]):
        yield case(parts, behaviour="what cannot be is refused")


# %% [markdown]
# ## 8. Three faults
#
# The program below trains a small recurrent network on sequences. It is right: its loss falls. Its author says that it
# is slow "because of the matrix products". Three things are wrong with it, and none of them shows in a result.
#
# Read it if you like, but find the faults with the profiler: what is called far more often than it has to be, what is in
# a dtype that nobody asked for, and what is still in memory although nobody needs it?

# %%
class Recurrent(Module):
    """h = relu(x_t W + h U), then a Linear on the last h: sequences (B, T, D) -> logits (B, C)."""

    def __init__(self, inputs, width, classes, rng):
        super().__init__()
        self.into, self.over, self.out = (Linear(a, b, rng=rng) for a, b in ((inputs, width), (width, width), (width, classes)))
        self.scale = Tensor(np.full(width, 0.5))

    def forward(self, x):
        h = None
        for t in range(x.shape[1]):
            part = self.into(x[:, t])
            h = relu(part if h is None else part + self.over(h)) * self.scale
        return self.out(h)


class Job:
    """A training run that was written in a hurry."""

    def __init__(self, batch=16, length=12, inputs=24, width=48):
        rng = np.random.default_rng(3)
        self.model = Recurrent(inputs, width, 4, rng)
        self.x, self.y = Tensor(rng.normal(size=(batch, length, inputs)), "float32"), rng.integers(0, 4, batch)
        self.losses = []

    def step(self):
        self.model.zero_grad()
        loss = cross_entropy(self.model(self.x), self.y)
        loss.backward(retain_graph=True)
        self.losses.append(loss)
        return loss


@contextlib.contextmanager
def own_bytes():
    kept = globals().get("cost")

    def bytes_only(name, shapes, result, itemsize=4, wants=None):
        return 0, 0 if name in VIEWS else itemsize * sum(math.prod(shape) for shape in (*shapes, result))

    globals()["cost"] = bytes_only
    try:
        yield
    finally:
        globals()["cost"] = kept


def profiled(job, warm=2):
    """A profile of one step, on NumPy: with kernels a layer is one operation, and counts would depend on the machine.

    Bytes are counted here by themselves, whatever your `cost` says, and for forward operations only.
    """
    with backend("reference"), own_bytes():
        for _ in range(warm):
            job.step()
        with Profile() as profile:
            job.step()
    return profile


def growth(job):
    """By how many bytes one step more makes live tensors grow, after two."""
    with backend("reference"):
        for _ in range(2):
            job.step()
        before = Storage.live_bytes
        job.step()
        return Storage.live_bytes - before

# %% show
job = Job()
profile = profiled(job)
print(profile.table())

# %% [markdown]
# ### 8.1 Too often
#
# In one step the layer `into` is called for each moment t, although all moments are there at once: x (B, T, D) could pass
# it in a single call. How many **forward operations and modules** does one step of `Job()` note, in all? (The number of
# events of kind "forward" and "module".) Measure it.

# %% answer="forward_events" points=2
forward_events = ""  # a number, such as "17"
### BEGIN SOLUTION
forward_events = f"{sum(event.kind != 'backward' for event in profiled(Job()).events)}"
### END SOLUTION

# %% key="forward_events"
from mlsysbook import Key, Mistake


def key(v):
    events = profiled(Job()).events
    forward = sum(event.kind != "backward" for event in events)
    return Key(forward, "", tol=0.001, mistakes=[
        Mistake(len(events), 0.5, "that counts backward as well"),
        Mistake(sum(event.kind == "forward" for event in events), 0.5, "that leaves the modules out"),
    ])

# %% [markdown]
# ### 8.2 Twice as wide
#
# Nobody asked for float64, and yet it is there. What share of the **bytes moved by forward operations** of one step are
# moved by operations whose result is float64? (`traffic` and `dtype` of the events.)

# %% answer="wide_share" points=2
wide_share = ""  # a share, such as "12 %"
### BEGIN SOLUTION
forward_ = [event for event in profiled(Job()).events if event.kind == "forward"]
wide_share = f"{100 * sum(e.traffic for e in forward_ if e.dtype == 'float64') / sum(e.traffic for e in forward_)} %"
### END SOLUTION

# %% key="wide_share"
def key(v):
    forward = [event for event in profiled(Job()).events if event.kind == "forward"]
    wide = [event for event in forward if event.dtype == "float64"]
    return Key(sum(e.traffic for e in wide) / sum(e.traffic for e in forward), "%", tol=0.01, mistakes=[
        Mistake(len(wide) / len(forward), 0.5, "that is the share of the calls, not of the bytes"),
    ])

# %% [markdown]
# ### 8.3 For ever
#
# Every step leaves something behind. By how many bytes does `Storage.live_bytes` grow from one step to the next, once
# the first two steps are done? `growth` measures it.

# %% answer="leak_bytes" points=2
leak_bytes = ""  # a number with its unit, such as "16 kB"
### BEGIN SOLUTION
leak_bytes = f"{growth(Job())} B"
### END SOLUTION

# %% key="leak_bytes"
def key(v):
    job = Job()
    return Key(growth(job), "B", tol=0.02, mistakes=[
        Mistake(job.losses[-1].nbytes, 0.25, "that is the loss itself; with the graph retained, it holds everything that made it"),
    ])

# %% [markdown]
# **Exercise 8.1** Mend all three: a subclass of `Job` whose step computes the same loss, gradients included. The check
# looks at the number of events, at dtypes and at the memory that grows, not at times. Losses are kept as numbers.

# %% solution="mended"
class Mended(Job):
    """The same training run without the three faults."""

    ### BEGIN SOLUTION
    def __init__(self, batch=16, length=12, inputs=24, width=48):
        super().__init__(batch, length, inputs, width)
        self.model.scale = Tensor(np.full(width, 0.5), "float32")

    def step(self):
        model = self.model
        model.zero_grad()
        parts, h = model.into(self.x), None
        for t in range(self.x.shape[1]):
            part = parts[:, t]
            h = relu(part if h is None else part + model.over(h)) * model.scale
        loss = cross_entropy(model.out(h), self.y)
        loss.backward()
        self.losses.append(loss.item())
        return loss
    ### END SOLUTION


# %% check="mended" points=7
def inspected(what, batch=16, length=12, inputs=24, width=48):
    """One aspect of three steps of the mended program, beside the one that was written in a hurry."""
    old, new = Job(batch, length, inputs, width), Mended(batch, length, inputs, width)
    for job in (old, new):
        loss = [job.step() for _ in range(3)][-1].item()
        job.found = [loss, *(p.grad.numpy() for p in job.model.parameters())]
    if what == "results":
        return [bool(np.allclose(a, b, rtol=1e-4, atol=1e-6)) for a, b in zip(old.found, new.found, strict=True)]
    if what == "calls":
        counts = {}
        for event in profiled(new, 0).events:
            if event.kind == "module":
                counts[event.name] = counts.get(event.name, 0) + 1
        return {"calls of Linear, at most length + 1": counts.get("Linear", 0) <= length + 1}
    if what == "dtypes":
        return {"float64 anywhere": any(event.dtype == "float64" for event in profiled(new, 0).events)}
    return {"bytes that one more step leaves behind": growth(new),
            "losses are numbers": all(isinstance(loss, float) for loss in new.losses)}

check("mended", [case("results"), case("calls"), case("dtypes"), case("memory")], call=inspected)

# %% hidden="mended"
def cases(rng):
    for _ in range(2):
        yield case("results", *(int(v) for v in rng.integers(3, 20, 4)), behaviour="the same losses and gradients")
    sizes = [int(v) for v in rng.integers(5, 20, 4)]
    yield case("calls", *sizes, behaviour="one call of `into` for all moments")
    yield case("dtypes", *sizes, behaviour="no float64")
    yield case("memory", *sizes, behaviour="nothing is left behind")


# %% [markdown]
# How much does it bring? Predict how many times faster a step of `Mended` is than one of `Job`, after three steps each.

# %% predict="mended_speed" points=1
# predict("mended_speed", "number", low="number", high="number")
### BEGIN SOLUTION
predict("mended_speed", "1.5", low="1", high="3")
### END SOLUTION

# %% show
def best(f, repeat=9):
    """Shortest of several runs, in seconds."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        f()
        times.append(time.perf_counter() - begin)
    return min(times)


old, new = Job(), Mended()
for job in (old, new):
    for _ in range(3):
        job.step()
slow, fast = best(old.step), best(new.step)
reveal("mended_speed", f"{slow / fast:.3g}")
print(f"{slow * 1e3:.2f} ms before, {fast * 1e3:.2f} ms after")
print(profiled(new).tree(least=0.03))

# %% [markdown]
# What is left is the recurrence itself: a product for each moment, which needs the result of the one before. No profiler
# removes that. It says that the next gain is not in this code but in another model, and module 12's attention, which has
# no such chain, was one.
#
# ## 9. What profiling costs
#
# Predict: by which factor does an active `Profile` lengthen a step of the classifier of section 6, as the clock on the
# wall sees it?

# %% predict="disturbance" points=1
# predict("disturbance", "number", low="number", high="number")
### BEGIN SOLUTION
predict("disturbance", "1.1", low="1", high="1.8")
### END SOLUTION

# %% show
def with_profile():
    with patched(quiet):
        step()


quiet = Profile()
for _ in range(3):
    step()
alone, watched = best(step, 15), best(with_profile, 15)
reveal("disturbance", f"{watched / alone:.3g}")
totals = []
for _ in range(5):
    with Profile() as profile:
        step()
    totals.append(sum(node[1] for node in corrected(profile.forest(), profile.before, profile.whole)))
total = min(totals)
print(f"a step alone {alone * 1e3:.3f} ms, watched {watched * 1e3:.3f} ms; after correction its events add up to {total * 1e3:.3f} ms")

# %% [markdown]
# ## 10. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="read_a_profile" points=4
# A profile of a training step of 200 ms says: `Linear` 30 ms self time in 48 calls, at 80 % of its compute bound;
# `Add` 40 ms in 9,600 calls, at 3 % of its bound; `LayerNorm` 20 ms, memory, at 70 % of its bound; loading a batch 60 ms
# before the first operation; 50 ms in no event at all. Somebody proposes a GPU with twice the FLOP/s and the same memory
# bandwidth, for 20,000 USD. In six to ten sentences: say what that would bring, with a number; what the 9,600 calls
# suggest and what you would look at; what the 50 ms may be and how to find out; and in which order you would work, with
# the speed-up you expect from the first two steps.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. Only `Linear` gains: 15 of 200 ms, 1 / (1 - 0.15 + 0.075) = 1.08. (Memory-bound and overhead-bound parts gain
#    nothing.)
# 2. Overhead: a Python loop over elements, time steps or parameters where one operation on a larger tensor would do; 4 µs
#    a call is the cost of a call. Look at the tree for who calls Add, and at the shapes of its events.
# 3. Python between operations, the optimizer or logging outside of recorded functions, garbage collection, waiting for a
#    device or a lock. Use a sampling profiler (or events around the suspects), or subtract: time with parts removed.
# 4. Loading (60 ms, overlap it with the step by worker processes: 200 / 140 = 1.43) and Add or the unexplained 50 ms next
#    (without Add as well 200 / 100 = 2), both cheap; then the rest. A number for each of the first two steps is needed.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# Intervals become a tree, the tree self times, self times a table. FLOP and bytes from shapes turn "long" into "limited
# by". Memory is a maximum, with names. The recorder's own cost is measured and taken out. And what takes no share of the
# time deserves none of the work.
#
# | here | PyTorch and others |
# |---|---|
# | `Profile` | `torch.profiler.profile`; on GPUs through CUPTI, with clocks of the device |
# | `table`, `tree` | `key_averages().table()`, flame graphs (Gregg 2016) |
# | `trace` | `export_chrome_trace`; Perfetto shows both |
# | `peak_holders` | `torch.cuda.memory._record_memory_history` and its snapshot viewer |
# | `limit` | the roofline model (Williams, Waterman and Patterson 2009); Nsight Compute draws it |
# | `speedup` | Amdahl (1967) |
#
# Module 15 makes the numbers smaller, module 16 fewer, module 17 faster. Each of them ends with this profiler.
