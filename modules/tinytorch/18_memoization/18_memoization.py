# %% [markdown]
# # TinyTorch 18: Memoization
#
# To write 1000 tokens after a prompt of 24, `generate` of module 13 reads 523,500 tokens, 1023 of which differ. All
# others are read again, from the first on, for each new one, and their keys and values come out as they did before: in a
# causal model no later token can change them. Keep them, and the work falls from half a million positions to a thousand.
# What is kept has to be put somewhere, though, and that is what decides how many people a server can answer at once. In
# this notebook you build the cache, give it pages as an operating system would, share what several texts have in common,
# and let a small model guess ahead for a large one without changing a single probability.
#
# **Where it sits.** What you write is exported as `tinytorch/memoization.py`. The model of module 13 is not touched: its
# `forward(ids, caches=..., offset=...)` was made for this.
#
# | module | what it has to do with memoization |
# |---|---|
# | 12 attention | queries are the last positions of a longer text; heads that share keys make the cache smaller |
# | 13 transformers | `GPT`, `generate`, `sampling_weights` |
# | 14 profiling | FLOP against bytes: reading one token is limited by memory |
# | 19 benchmarking | measures servers; what is built here is what they serve with |
#
# **Afterwards you can**
# 1. count the FLOP of a pass with and without a cache, and say at which length which term rules;
# 2. keep keys and values without copying them at each step, and say what "the same result" means to the last bit;
# 3. count the bytes of a cache, and say what grouped-query attention saves;
# 4. share memory between texts by pages, reference counts and copy-on-write, and prove that none is lost;
# 5. write speculative decoding, and test by chi-square that it draws from the large model's distribution;
# 6. if you like: cut a model and its cache over processes.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Hidden
# cases bring other lengths, full pools, shared pages, ties and zeros. Every function is judged by itself. You need
# modules 12 and 13. Three and a half hours are typical; section 7 is optional, and comes back to section 10 of module 08.

# %%
#| export
"""Memoization: what a language model has computed once, it keeps.

    generate_cached(model, ids, count)       as transformers.generate, each position read once
    KVCache, caches_for(model)               keys and values of a block, in memory that doubles
    PagedCache, start, paged_step            many texts in one pool of pages, with shared prefixes and copy-on-write
    speculate(model, draft, ids, count)      a small model guesses, the large one decides
    pass_flop, cache_bytes                   what a pass costs, and what a cache takes
    TensorParallel(model, ring), tensor_shard    a model and its cache cut over processes

The same means: what is kept is kept bit for bit. Logits of a pass over few positions differ from those of a pass over
many by rounding, as products of other shapes add up in another order; where one kernel gets the same numbers in the same
order, results are equal to the last bit.

Errors, each one line: OutOfPages (nothing has changed), ShapeError, DTypeError, ValueError.
"""

import contextlib
import heapq
import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from tinytorch.attention import attend, merge_heads, split_heads
from tinytorch.autograd import no_grad
from tinytorch.backend import kernel
from tinytorch.layers import default_rng
from tinytorch.tensor import DTypeError, ShapeError, Tensor, float32
from tinytorch.transformers import ACTIVATIONS, sampling_weights


class OutOfPages(RuntimeError):
    """A pool has fewer free pages than are wanted; nothing was taken."""


@contextlib.contextmanager
def evaluating(model):
    """The model in evaluation and without graphs; afterwards in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        with no_grad():
            yield model
    finally:
        model.train(was_training)

# %%
import time

from mlsysbook import answer, case, check, predict, prop, reveal
from tinytorch import GPT, generate


@contextlib.contextmanager
def swapped(**stand_ins):
    """Other functions in the place of some of this notebook, while a check runs: each exercise is judged by itself."""
    before = {name: globals().get(name) for name in stand_ins}
    globals().update(stand_ins)
    try:
        yield
    finally:
        globals().update(before)


class Appending:
    """A cache for the checks: it joins what it is given to what it has, and copies all of it each time."""

    def __init__(self, room=None):
        self.held, self.length = None, 0

    def extend(self, k, v):
        new = k.numpy(), v.numpy()
        self.held = new if self.held is None else [np.concatenate(pair, axis=2) for pair in zip(self.held, new, strict=True)]
        self.length = self.held[0].shape[2]
        return tuple(map(Tensor, self.held))

    def truncate(self, length):
        self.held, self.length = [part[:, :, :length].copy() for part in self.held], length


def caches_of_a_check(model, room=16):
    return [Appending() for _ in model.blocks]


class Oracle:
    """A language model for the checks: its logits depend on every token that it was ever shown, through its caches, and
    on the positions that it was told. It notes the shape and offset of each call.
    """

    def __init__(self, vocabulary, seed, length=64, sharp=3.0):
        self.vocabulary, self.seed, self.length, self.sharp = vocabulary, seed, length, sharp
        self.blocks, self.training, self.calls = [None, None], True, []

    def eval(self):
        return self.train(False)

    def train(self, mode=True):
        self.training = mode
        return self

    def __call__(self, ids, mask=None, caches=None, offset=0):
        ids = np.asarray(ids)
        self.calls.append([*ids.shape, offset, self.training])
        seen = Tensor(ids[:, None, :, None].astype("float32"))
        if caches is not None:
            for cache in caches:
                whole, _ = cache.extend(seen, seen)
            seen = whole
        text = np.asarray(seen)[:, 0, :, 0].astype(int)
        first = text.shape[1] - ids.shape[1]
        wrong = 1000 * (first != offset)                       # told a position that the caches do not hold
        logits = [[np.random.default_rng([self.seed, wrong, *row[:first + t + 1]]).normal(0, self.sharp, self.vocabulary)
                   for t in range(ids.shape[1])] for row in text]
        return Tensor(np.array(logits).reshape(*ids.shape, self.vocabulary))

# %% [markdown]
# ## 1. What a token costs
#
# A pass reads `new` positions of a text that is `total` long; what stands before them is in a cache. Products with
# weights are done once for each new position, 2 FLOP for each weight that is used. Attention does more: a query meets
# every key that it may see, and each meeting takes 2 D FLOP for the score and 2 D for the average, in each of H heads:
# 4 W FLOP with W = H D.
#
# **Worked example.** W = 4, one block, 2 heads of 2, 1 of keys and values, MLP of 16, V = 10. The weights: q, k and v
# 4 · (4 + 2·2) = 32, out 16, MLP 2 · 64 = 128, head 40. A position costs 2 · 216 = 432 FLOP in products. Reading 3
# positions with nothing before them: queries meet 1, 2 and 3 keys, 6 in all, 6 · 16 = 96 FLOP, so 3 · 432 + 96 = 1392.
# Reading the third alone, two in the cache: 432 + 3 · 16 = 480.
#
# So a token with a cache costs a + b·T, and without one T·(a + b·T/2): linear against quadratic in the length T, as soon
# as b·T is more than a.
#
# **Exercise 1.1** The FLOP of a pass, products alone: of weights (no biases, norms or embedding), and of queries with the
# keys and values that a causal model lets them see. The MLP has two matrices. The head is applied to all new positions.
#
# **Exercise 1.2** The bytes of the cache: keys and values of each position in each block.

# %% solution="pass_flop"
#| export
def pass_flop(width, depth, heads, kv_heads, hidden, vocabulary, new, total):
    """FLOP of products when the last `new` of `total` positions are read by a causal GPT -> int.

    Raises ValueError if new is more than total.
    """
    ### BEGIN SOLUTION
    if new > total:
        raise ValueError(f"the new positions are among all: {new} new of {total} in total")
    weights = depth * (width * (width + 2 * kv_heads * (width // heads)) + width * width + 2 * width * hidden) + width * vocabulary
    meetings = new * (total - new) + new * (new + 1) // 2
    return 2 * weights * new + 4 * width * depth * meetings
    ### END SOLUTION


# %% solution="cache_bytes"
#| export
def cache_bytes(depth, kv_heads, head_width, positions, itemsize=4, batch=1):
    """Bytes of the keys and values of so many positions in a batch of texts -> int."""
    ### BEGIN SOLUTION
    return 2 * depth * kv_heads * head_width * positions * itemsize * batch
    ### END SOLUTION


# %% check="pass_flop" points=4
def flop_of(*sizes):
    try:
        return pass_flop(*sizes)
    except ValueError as error:
        return {"the message names": [str(n) in str(error) for n in sizes[-2:]]}

check("pass_flop", [case(4, 1, 2, 1, 16, 10, 3, 3), case(4, 1, 2, 1, 16, 10, 1, 3), case(4, 1, 2, 1, 16, 10, 4, 3)],
      call=flop_of, compare="value")

# %% hidden="pass_flop"
def cases(rng):
    def sizes():
        heads, group = int(rng.integers(1, 4)) * 2, int(rng.integers(1, 3))
        width, depth, hidden, vocabulary = heads * int(rng.integers(3, 9)), *(int(n) for n in rng.integers((1, 20, 9), (5, 90, 99)))
        return width, depth, heads, heads // group, hidden, vocabulary

    for _ in range(4):
        n = int(rng.integers(2, 40))
        yield case(*sizes(), n, n, behaviour="a whole text")
    for _ in range(4):
        yield case(*sizes(), 1, int(rng.integers(2, 400)), behaviour="one position more")
    for _ in range(3):
        n = int(rng.integers(2, 20))
        yield case(*sizes(), n, n + int(rng.integers(1, 50)), behaviour="some positions behind others")
    yield case(*sizes(), 0, 7, behaviour="none, and more than there are")
    yield case(*sizes(), 9, 8, behaviour="none, and more than there are")


# %% check="cache_bytes" points=2
check("cache_bytes", [case(1, 1, 2, 3), case(2, 4, 8, 10, itemsize=2, batch=3)])

# %% hidden="cache_bytes"
def cases(rng):
    for _ in range(4):
        yield case(*(int(n) for n in rng.integers(1, 99, 4)), behaviour="keys and values of every block")
        yield case(*(int(n) for n in rng.integers(1, 99, 4)), itemsize=int(rng.choice([1, 2, 8])), batch=int(rng.integers(2, 9)),
                   behaviour="other numbers, several texts")


# %% [markdown]
# Llama 2 with 70 billion parameters has 80 blocks and 64 heads of width 128; its keys and values have 8 heads (Touvron et
# al. 2023). In float16, **how many bytes does the cache of one text of 4096 tokens take?**

# %% answer="text_bytes" points=2
text_bytes = ""  # a number with its unit, such as "16 GB"
### BEGIN SOLUTION
text_bytes = f"{2 * 80 * 8 * 128 * 4096 * 2} B"
### END SOLUTION

# %% key="text_bytes"
from mlsysbook import Key, Mistake


def key(v):
    right = 2 * 80 * 8 * 128 * 4096 * 2
    return Key(right, "B", tol=0.02, mistakes=[
        Mistake(right / 2, 0.5, "keys and values are two arrays, and float16 has two bytes"),
        Mistake(right * 8, 0.5, "that is the cache with 64 heads; 8 queries share one head of keys and values"),
        Mistake(right * 2, 0.5, "float16 has two bytes"),
        Mistake(right / 80, 0.25, "every block has keys and values of its own"),
    ])

# %% [markdown]
# ## 2. Keys and values in place
#
# `attention.forward(x, cache=cache)` hands its new keys and values, (B, G, T, D) each, to `cache.extend(k, v)`, and goes
# on with what that returns: all of them, old first. Joining the arrays with `np.concatenate` would do. At length 1000
# each new position copies the 1000 before it, and the T copies add up to T²/2: the quadratic cost is back, in bytes.
#
# A list in Python grows by doubling. Buffers have room for more than they hold, and when that is used up, buffers of
# twice the size take their place. After n positions at most n have been moved, in all the moves together twice n.
#
# **Worked example**, `room=2`, three positions and then one and one: the buffers have a capacity of 2, doubled to 4 at
# once, as 3 do not fit; the fourth position fits; the fifth makes it 8.
#
# **Exercise 2.1** `extend` and `truncate`. `keys` and `values` are arrays (B, G, capacity, D), None before the first
# call, whose shape and dtype decide all but the capacity; that is `room` at first and doubles until what comes fits.
# `extend` returns tensors that lie in the buffers. What does not fit to the first call, or k not to v, is refused by
# ShapeError or DTypeError, and nothing is changed. `truncate` forgets the positions from `length` on.

# %% solution="kv_cache"
#| export
class KVCache:
    """Keys and values of one block for a batch of texts: extend(k, v) -> all of them, truncate(length) to go back.

    keys, values: buffers (B, G, capacity, D) or None; the first `length` positions are in use. room: the first capacity.
    What extend returned stays valid until truncate and another extend.
    """

    def __init__(self, room=16):
        if room < 1:
            raise ValueError(f"a cache has room for one position at least, got {room}")
        self.room, self.length, self.keys, self.values = room, 0, None, None

    def extend(self, k, v):
        """Keep k and v, tensors (B, G, T, D), behind what is there -> tensors (B, G, length, D) of all of it, not copied.

        Raises ShapeError or DTypeError, with both, where they do not fit to each other or to what is there.
        """
        ### BEGIN SOLUTION
        k, v = k.numpy(), v.numpy()
        held = (k if self.keys is None else self.keys)
        if k.ndim != 4 or k.shape != v.shape or k.shape[:2] != held.shape[:2] or k.shape[3] != held.shape[3]:
            raise ShapeError(f"keys {k.shape} and values {v.shape} do not fit, to each other and to buffers {held.shape}: (B, G, T, D)")
        if not k.dtype == v.dtype == held.dtype:
            raise DTypeError(f"keys of {k.dtype}, values of {v.dtype} and buffers of {held.dtype}: wants one dtype")
        end, capacity = self.length + k.shape[2], self.room if self.keys is None else self.keys.shape[2]
        while capacity < end:
            capacity *= 2
        if self.keys is None or capacity > self.keys.shape[2]:
            for name in ("keys", "values"):
                old, new = getattr(self, name), np.empty((*k.shape[:2], capacity, k.shape[3]), k.dtype)
                if old is not None:
                    new[:, :, :self.length] = old[:, :, :self.length]
                setattr(self, name, new)
        self.keys[:, :, self.length:end], self.values[:, :, self.length:end] = k, v
        self.length = end
        return Tensor.from_numpy(self.keys)[:, :, :end], Tensor.from_numpy(self.values)[:, :, :end]
        ### END SOLUTION

    def truncate(self, length):
        """Forget the positions from length on. Raises ValueError, with both, for more than there are, or less than 0."""
        ### BEGIN SOLUTION
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} positions of {self.length}")
        self.length = length
        ### END SOLUTION

    @property
    def nbytes(self):
        """Bytes of the buffers, with the room that is not in use."""
        return 0 if self.keys is None else self.keys.nbytes + self.values.nbytes


def caches_for(model, room=16):
    """An empty KVCache for each block of a model."""
    return [KVCache(room) for _ in model.blocks]

# %% check="kv_cache" points=6
def kept(steps, shape=(1, 1, 2), room=2, dtype="float64"):
    """What a cache holds after each step: n > 0 extends it by n positions, n <= 0 truncates it to -n; a list extends it
    by arrays of these shapes and dtypes.
    """
    (B, G, D), cache, rows, done = shape, KVCache(room), np.random.default_rng(0), []
    for step in steps:
        try:
            if isinstance(step, list):
                cache.extend(*(Tensor(np.ones(s, t)) for s, t in step))
            elif step > 0:
                k, v = (Tensor(rows.normal(size=(B, step, G, D)).astype(dtype)).transpose(1, 2) for _ in range(2))
                keys, values = cache.extend(k, v)
                done.append([keys, values, np.shares_memory(keys.numpy(), cache.keys), np.shares_memory(values.numpy(), cache.values)])
            else:
                cache.truncate(-step)
            capacity = None if cache.keys is None else cache.keys.shape[2]
            done.append({"length": cache.length, "capacity": capacity})
        except (ShapeError, ValueError, DTypeError) as error:
            done.append({"refused": type(error).__name__, "length": cache.length})
    return done

check("kv_cache", [case([3, 1, 1]), case([2, -1, 2]), case([2, -3])], call=kept)

# %% hidden="kv_cache"
def cases(rng):
    for shape in ((1, 2, 3), (2, 1, 4), (3, 2, 2)):
        yield case([int(n) for n in rng.integers(1, 4, 6)], shape, 4, behaviour="old first, then new, all of it in place")
    for room in (1, 3, 16):
        yield case([1] * 9, (1, 1, 2), room, behaviour="capacity doubles")
        yield case([int(rng.integers(10, 40)), 1, 5], (1, 2, 1), room, behaviour="capacity doubles")
    for _ in range(3):
        n = int(rng.integers(3, 9))
        yield case([n, -int(rng.integers(0, n)), 2, 1, 0, 3], (2, 1, 2), 2, behaviour="back to an earlier length")
    yield case([4, -2, -3, -9, 1], (1, 1, 2), 2, behaviour="back to an earlier length")
    yield case([3, 2], (1, 2, 2), 2, "float32", behaviour="other dtypes")
    wrong = "what does not fit is refused"
    ok = [[(1, 2, 1, 3), "float64"]] * 2
    for k, v in (((2, 2, 1, 3), (2, 2, 1, 3)), ((1, 1, 1, 3), (1, 1, 1, 3)), ((1, 2, 1, 4), (1, 2, 1, 4)), ((1, 2, 1, 3), (1, 2, 2, 3))):
        yield case([ok, [[k, "float64"], [v, "float64"]], ok], (1, 2, 3), 2, behaviour=wrong)
    yield case([ok, [[(1, 2, 1, 3), "float32"]] * 2, ok], (1, 2, 3), 2, behaviour=wrong)
    yield case([[[(1, 2, 3), "float64"]] * 2, ok], (1, 2, 3), 2, behaviour=wrong)


# %% [markdown]
# ## 3. Writing with it
#
# The first pass reads the prompt, the **prefill**, and its last row of logits gives the first new token. Each further
# pass, a **decode step**, reads one token: the one just drawn. A prompt of 3 and 2 new tokens make two passes, over 3
# positions and over 1, at offset 3. The last token that is drawn is not read by anyone.
#
# **Exercise 3.1** The texts that `generate` gives, with each position read once, in as few passes as that takes.
# `generate` lets a text outgrow `model.length` by forgetting its first tokens; then all others stand at other positions,
# and the cache is worth nothing. Refuse what cannot be read in full. `sampling_weights` gives the weights; each text of
# the batch draws by `rng.choice(len(w), p=w)` in order, so that the same generator gives the same texts as there.

# %% solution="generate_cached"
#| export
def generate_cached(model, ids, count, temperature=1.0, top_k=None, top_p=None, rng=None):
    """Continue texts by count tokens: ids (B, T), integers -> int64 tensor (B, T + count); each position is read once.

    As transformers.generate, up to rounding of the logits. Raises ValueError, with both, if T + count - 1 positions, those
    that have to be read, are more than model.length.
    """
    ### BEGIN SOLUTION
    ids, rng = np.asarray(ids, np.int64), rng or default_rng()
    if count and ids.shape[1] + count - 1 > model.length:
        raise ValueError(f"{ids.shape[1]} tokens and {count} more do not fit: the model reads up to {model.length}")
    with evaluating(model):
        caches, read = caches_for(model), 0
        for _ in range(count):
            logits = model(Tensor(ids[:, read:]), caches=caches, offset=read).numpy()[:, -1]
            read = ids.shape[1]
            drawn = [rng.choice(len(w), p=w) for w in sampling_weights(logits, temperature, top_k, top_p)]
            ids = np.concatenate([ids, np.array(drawn, np.int64).reshape(-1, 1)], axis=1)
    return Tensor(ids)
    ### END SOLUTION


# %% check="generate_cached" points=5
def written(ids, count, seed=0, length=64, vocabulary=7, **knobs):
    """The text of an oracle, and the shape, offset and mode of each call of it."""
    oracle = Oracle(vocabulary, seed, length)
    with swapped(caches_for=caches_of_a_check, KVCache=Appending):
        try:
            text = generate_cached(oracle, ids, count, rng=np.random.default_rng(seed), **knobs)
        except ValueError as error:
            return {"refused": [str(n) in str(error) for n in (count, length)], "calls": oracle.calls}
    return {"text": text, "calls": oracle.calls, "training as before": oracle.training}

check("generate_cached", [
    case(np.array([[1, 2, 3]]), 2, temperature=0),
    case(np.array([[1, 2, 3], [0, 0, 1]]), 4, seed=1),
    case(np.array([[1, 2, 3]]), 7, length=8),
], call=written)

# %% hidden="generate_cached"
def cases(rng):
    for T in (1, 4, 9):
        yield case(rng.integers(0, 7, (1, T)), int(rng.integers(3, 8)), seed=int(rng.integers(99)), temperature=0,
                   behaviour="the most likely tokens, each position read once")
    for B in (2, 3):
        yield case(rng.integers(0, 7, (B, 3)), 5, seed=int(rng.integers(99)), behaviour="drawn tokens, several texts")
        yield case(rng.integers(0, 7, (B, 2)), 5, seed=int(rng.integers(99)), temperature=3.0, top_k=B - 1, behaviour="knobs")
        yield case(rng.integers(0, 7, (B, 2)), 4, seed=int(rng.integers(99)), top_p=0.6, behaviour="knobs")
    yield case(rng.integers(0, 7, (2, 4)), 0, behaviour="no token, one token")
    yield case(rng.integers(0, 7, (2, 4)), 1, behaviour="no token, one token")
    for T, count, length in ((4, 5, 8), (4, 6, 8), (1, 8, 8), (8, 1, 8), (8, 2, 8)):
        yield case(rng.integers(0, 7, (1, T)), count, length=length, temperature=0, behaviour="as long as the model reads, and longer")


# %% [markdown]
# How equal is equal? Kept keys and values are the same bits. The pass that uses them multiplies one row where the whole
# pass multiplies many, and a product of another shape may add its terms in another order. So three things are looked at:
# logits of the prefill against those of the whole text, logits of the decode steps, and tokens.

# %% show
rng = np.random.default_rng(0)
model = GPT(128, 64, 2, 4, length=256, kv_heads=2, positions="rotary", rng=rng).eval()
ids = rng.integers(0, 128, (1, 96))
with evaluating(model):
    whole, caches = model(Tensor(ids)).numpy(), caches_for(model)
    prefill = model(Tensor(ids[:, :64]), caches=caches).numpy()
    steps = np.concatenate([model(Tensor(ids[:, t:t + 1]), caches=caches, offset=t).numpy() for t in range(64, 96)], axis=1)
for name, part, wanted in (("prefill", prefill, whole[:, :64]), ("32 decode steps", steps, whole[:, 64:])):
    print(f"{name:16} largest difference {abs(part - wanted).max():.1e} of logits up to {abs(whole).max():.2f}; "
          f"{(part == wanted).mean():.0%} are equal to the last bit")
for temperature in (0, 1.0):
    texts = [write(model, ids[:, :16], 60, temperature, rng=np.random.default_rng(5)).numpy() for write in (generate, generate_cached)]
    print(f"60 tokens at temperature {temperature}: the same with and without a cache: {(texts[0] == texts[1]).all()}")

# %% [markdown]
# A difference in the last bits can change a token: where two logits are closer to each other than that, or a random
# number falls between two sums. That is rare, and it is no error of the cache. Whoever needs the same bits computes with
# the same shapes each time.
#
# ## 4. Pages
#
# A cache that is as long as the longest text that may come is mostly empty. A cache that doubles is up to half empty, and
# moves. And a hundred texts in one array (B, G, T, D) must all be as long as the longest. Operating systems solved this
# in the 1960s: memory is cut into **pages** of equal size, and a table says which page holds which part of a text (Kwon
# et al. 2023 brought it to attention). A text grows by a page where it needs one. At most one page of each text is
# not full.
#
# With pages of 4, a text of 6 tokens with the table [7, 2] has positions 0 to 3 in page 7, and 4 and 5 in the first two
# slots of page 2.
#
# Pages can be shared, too. Two continuations of one prompt hold the same pages, each with a **reference count**; a page
# is free again when the last user drops it.
#
# **Exercise 4.1** The pool. `uses[p]` is the reference count of page p, `free` the number of pages with none. `take`
# gives the free page of the lowest number. To share or drop a page that nobody uses is a fault: refuse it, with its
# number. **Exercise 4.2** Where positions from `first` to `last` (excluded) of a text lie: two int64 arrays.

# %% solution="page_pool"
#| export
class PagePool:
    """Pages by number, with how many users each has: take() -> a page, share(page), drop(page).

    uses: list of counts, one a page; free: how many pages have no user.
    """

    def __init__(self, pages):
        self.uses, self.heap = [0] * pages, list(range(pages))

    @property
    def free(self):
        return self.uses.count(0)

    def take(self):
        """The free page of the lowest number, now with one user. Raises OutOfPages, with the number of pages, if none is."""
        ### BEGIN SOLUTION
        if not self.heap:
            raise OutOfPages(f"all {len(self.uses)} pages are in use")
        page = heapq.heappop(self.heap)
        self.uses[page] = 1
        return page
        ### END SOLUTION

    def share(self, page):
        """One user more. Raises ValueError, with the page, if it has none."""
        ### BEGIN SOLUTION
        if not self.uses[page]:
            raise ValueError(f"page {page} is free: take() gives a page, share() one that is in use")
        self.uses[page] += 1
        ### END SOLUTION

    def drop(self, page):
        """One user less; without users the page is free. Raises ValueError, with the page, if it is free already."""
        ### BEGIN SOLUTION
        if not self.uses[page]:
            raise ValueError(f"page {page} is free already")
        self.uses[page] -= 1
        if not self.uses[page]:
            heapq.heappush(self.heap, page)
        ### END SOLUTION


# %% solution="page_slots"
#| export
def page_slots(table, page, first, last):
    """The pages, and the slots in them, of positions first to last (excluded): table, a list, pages of size page -> two int64 arrays."""
    ### BEGIN SOLUTION
    positions = np.arange(first, last)
    return np.asarray(table, np.int64)[positions // page], positions % page
    ### END SOLUTION


# %% check="page_pool" points=5
def pooled(pages, script):
    """A pool after each of some calls: what came back, the counts, the number of free pages."""
    pool, done = PagePool(pages), []
    for name, *page in script:
        try:
            result = getattr(pool, name)(*page)
        except (OutOfPages, ValueError) as error:
            result = [type(error).__name__, str(page[0] if page else pages) in str(error)]
        done.append([result, list(pool.uses), pool.free])
    return done

check("page_pool", [
    case(2, [["take"], ["take"], ["drop", 0], ["take"]]),
    case(2, [["take"], ["share", 0], ["drop", 0], ["drop", 0], ["drop", 0]]),
], call=pooled)

# %% hidden="page_pool"
def script_of(rng, pages, n, share=0.3):
    """Calls that a careful user makes."""
    uses, script = [0] * pages, []
    for _ in range(n):
        used = [p for p in range(pages) if uses[p]]
        if used and rng.random() < 0.4:
            page = int(rng.choice(used))
            script.append(["drop", page])
            uses[page] -= 1
        elif used and rng.random() < share:
            page = int(rng.choice(used))
            script.append(["share", page])
            uses[page] += 1
        elif 0 in uses:
            script.append(["take"])
            uses[uses.index(0)] = 1
    return script


def cases(rng):
    for pages in (3, 5, 8):
        yield case(pages, script_of(rng, pages, 30, 0.0), behaviour="taken, dropped, taken again: the lowest number first")
        yield case(pages, script_of(rng, pages, 40), behaviour="shared pages are freed by the last user")
    yield case(2, [["take"], ["take"], ["take"], ["drop", 1], ["take"], ["take"]], behaviour="a full pool says so")
    yield case(0, [["take"]], behaviour="a full pool says so")
    yield case(3, [["take"], ["drop", 0], ["drop", 0], ["take"], ["take"]], behaviour="a free page is neither dropped nor shared")
    yield case(3, [["share", 1], ["take"], ["share", 2], ["take"]], behaviour="a free page is neither dropped nor shared")


# %% check="page_slots" points=3
check("page_slots", [case([7, 2], 4, 0, 6), case([7, 2], 4, 5, 6)])

# %% hidden="page_slots"
def cases(rng):
    for page in (1, 3, 16):
        table = [int(p) for p in rng.permutation(30)[:5]]
        first, last = sorted(int(n) for n in rng.choice(5 * page + 1, 2, replace=False))
        yield case(table, page, 0, 5 * page, behaviour="pages of the table, slots in them")
        yield case(table, page, first, last, behaviour="pages of the table, slots in them")
    yield case([4, 1], 3, 2, 2, behaviour="no positions")
    yield case([], 3, 0, 0, behaviour="no positions")


# %% [markdown]
# ### 4.1 Copy-on-write
#
# Two texts share the page that holds positions 4 and 5, and one of them wants to write position 6 into it. The other
# would find a token that it never had. So the writer first gets a page of its own with the same contents, and drops its
# share of the old one. As long as both only read, nothing is copied.
#
# **Exercise 4.3** Make room in a table for `count` positions behind the first `length`, by changing the table. Pages that
# are there and will be written to stay, if nobody else uses them; otherwise a fresh page takes their place, and if the
# old one holds positions below `length`, its contents will have to be copied. The result is the list of these copies,
# (from, to). Where pages are missing at the end, fresh ones are appended. A table may have more pages than its `length`
# needs. Pages that will not be written to are left alone. If the pool has too few free pages, raise OutOfPages and
# change nothing: a table that is half extended is a leak.

# %% solution="extend_table"
#| export
def extend_table(table, length, count, page, pool):
    """Make a text's pages ready for count positions behind its first length -> list of (from, to) pages to be copied.

    table, a list, is changed; pool has take(), drop(page), uses and free, as PagePool. Raises OutOfPages, with the numbers of
    pages that are wanted and free, and then changes nothing.
    """
    ### BEGIN SOLUTION
    if not count:
        return []
    last = -(-(length + count) // page)
    shared = [n for n in range(length // page, min(last, len(table))) if pool.uses[table[n]] > 1]
    wanted = len(shared) + max(last - len(table), 0)
    if wanted > pool.free:
        raise OutOfPages(f"{count} more positions want {wanted} pages, and {pool.free} of {len(pool.uses)} are free")
    copies = []
    for n in shared:
        fresh = pool.take()
        if n * page < length:
            copies.append((table[n], fresh))
        pool.drop(table[n])
        table[n] = fresh
    while len(table) < last:
        table.append(pool.take())
    return copies
    ### END SOLUTION


# %% check="extend_table" points=6
class Ledger:
    """A pool for the checks: it hands out the pages of a list, in its order, and writes down what is dropped."""

    def __init__(self, uses, fresh):
        self.uses, self.fresh, self.dropped = list(uses), list(fresh), []

    @property
    def free(self):
        return len(self.fresh)

    def take(self):
        page = self.fresh.pop(0)
        self.uses[page] = 1
        return page

    def drop(self, page):
        self.dropped.append(page)
        self.uses[page] -= 1


def extended(table, length, count, page, uses, fresh):
    """The table, the copies and the pool afterwards."""
    table, pool = list(table), Ledger(uses, fresh)
    try:
        copies = [list(pair) for pair in extend_table(table, length, count, page, pool)]
    except OutOfPages as error:
        copies = ["out of pages", str(len(fresh)) in str(error)]
    return {"table": table, "copies": copies, "counts": pool.uses, "dropped": pool.dropped, "free": pool.fresh}

check("extend_table", [
    case([7, 2], 6, 3, 4, [0, 0, 1, 0, 0, 0, 0, 1], [5, 3]),
    case([7, 2], 6, 1, 4, [0, 0, 2, 0, 0, 0, 0, 2], [5, 3]),
    case([7, 2], 6, 9, 4, [0, 0, 2, 0, 0, 0, 0, 2], [5, 3]),
], call=extended)

# %% hidden="extend_table"
def cases(rng):
    def setting(held, page, users, spare=0):
        """A table of held pages, each with its number of users, and twelve pages in all, of which four at most are free."""
        numbers = [int(p) for p in rng.permutation(12)]
        table, fresh = numbers[:held], numbers[held:held + 4 - spare]
        uses = [0] * 12
        for p, n in zip(table, users, strict=True):
            uses[p] = n
        for p in numbers[held + 4 - spare:]:
            uses[p] = 1
        return table, page, uses, fresh

    def one(held, page, users, length, count, behaviour, spare=0):
        table, page, uses, fresh = setting(held, page, users, spare)
        return case(table, length, count, page, uses, fresh, behaviour=behaviour)

    for page in (2, 4, 5):
        yield one(2, page, [1, 1], 2 * page - 1, 1, "pages where they are needed, and none else")
        yield one(2, page, [1, 1], 2 * page, 1, "pages where they are needed, and none else")
        yield one(2, page, [1, 1], 2 * page - 1, 2 * page + 1, "pages where they are needed, and none else")
        yield one(0, page, [], 0, page + 1, "pages where they are needed, and none else")
        yield one(2, page, [2, 2], 2 * page - 1, 1, "a shared page is copied before it is written")
        yield one(3, page, [3, 2, 2], 2 * page + 1, 2 * page, "a shared page is copied before it is written")
        yield one(2, page, [2, 2], 2 * page, 2, "full shared pages are left alone")
        yield one(3, page, [2, 2, 2], page + 1, 1, "pages beyond the length, shared or not")
        yield one(3, page, [2, 2, 2], page + 1, 2 * page - 1, "pages beyond the length, shared or not")
        yield one(3, page, [1, 2, 2], page, page + 1, "pages beyond the length, shared or not")
        yield one(3, page, [1, 1, 1], page + 1, page, "pages beyond the length, shared or not")
        yield one(2, page, [1, 2], 2 * page - 1, 3 * page + 1, "too few pages: nothing changes", 1)
        yield one(2, page, [1, 1], 2 * page, 2 * page + 1, "too few pages: nothing changes", 2)
        yield one(2, page, [2, 2], 2 * page - 1, 1, "too few pages: nothing changes", 4)
        yield one(2, page, [2, 2], 2 * page - 1, 0, "no positions: nothing changes", 4)


# %% [markdown]
# ### 4.2 The same beginning
#
# A thousand people talk to one assistant, and each of these texts begins with the same page of instructions. Its keys and
# values are the same as well, as they depend on nothing that comes later. So whole pages are entered in an **index**, and
# a new text begins with those that it finds there.
#
# What is the key? Not the tokens in the page: keys and values of a token depend on all tokens before it. "not" behind
# "I am" and behind "you are" has different values in every block but the first. A page is the same if its tokens are
# the same **and** the page before it is the same one. That makes a chain, each link a page's number and a few tokens, and
# a match can be read off link by link.
#
# **Worked example**, pages of 2. [5, 6, 7, 8, 9] in the table [3, 0, 4] enters page 3 for (nothing before, 5 6) and page 0
# for (page 3, 7 8); page 4 is not full. [5, 6, 7, 8, 1] finds pages 3 and 0. [7, 8, 5] finds none.
#
# **Exercise 4.4** `insert` enters the whole pages of a text, and returns those that are new in the index. Where the
# index has a page for the same beginning, that one stays, and the chain goes on from it. `match` gives the longest run of
# pages that a text begins with, as a list. At least one token of the text is left over, as its logits have to be
# computed.

# %% solution="prefix_index"
#| export
class PrefixIndex:
    """Whole pages by the tokens that they hold and the page before them: insert(tokens, table), match(tokens) -> pages.

    pages: dict (page before or None, tuple of tokens) -> page, older entries first.
    """

    def __init__(self, page):
        self.page, self.pages = page, {}

    def insert(self, tokens, table):
        """Enter the whole pages of a text, whose pages are table -> those that are new in the index."""
        ### BEGIN SOLUTION
        before, new = None, []
        for n in range(len(tokens) // self.page):
            link = before, tuple(tokens[n * self.page:(n + 1) * self.page])
            if link not in self.pages:
                self.pages[link] = table[n]
                new.append(table[n])
            before = self.pages[link]
        return new
        ### END SOLUTION

    def match(self, tokens):
        """The pages that a text can begin with; they hold fewer tokens than it has -> list."""
        ### BEGIN SOLUTION
        found = []
        for n in range((len(tokens) - 1) // self.page):
            page = self.pages.get((found[-1] if found else None, tuple(tokens[n * self.page:(n + 1) * self.page])))
            if page is None:
                break
            found.append(page)
        return found
        ### END SOLUTION

    def forget(self, pool, count):
        """Drop up to count pages that only the index uses and no entry goes on from, the latest first -> how many."""
        dropped, follow = 0, Counter(before for before, _ in self.pages)
        for link, page in reversed(list(self.pages.items())):
            if dropped < count and pool.uses[page] == 1 and not follow[page]:
                del self.pages[link]
                follow[link[0]] -= 1
                pool.drop(page)
                dropped += 1
        return dropped


# %% check="prefix_index" points=5
def indexed(page, texts, questions):
    """What is new with each text, and what is found for each question."""
    index = PrefixIndex(page)
    return {"new": [list(index.insert(list(tokens), list(table))) for tokens, table in texts],
            "found": [list(index.match(list(tokens))) for tokens in questions]}

check("prefix_index", [
    case(2, [[[5, 6, 7, 8, 9], [3, 0, 4]]], [[5, 6, 7, 8, 1], [5, 6, 1, 1], [7, 8, 5], [5, 6, 7, 8]]),
    case(2, [[[1, 2], [0]], [[1, 2, 3, 4], [6, 7]]], [[1, 2, 3, 4, 5]]),
], call=indexed)

# %% hidden="prefix_index"
def cases(rng):
    for page in (1, 2, 3):
        common = [int(t) for t in rng.integers(0, 9, 4 * page)]
        texts, number = [], iter(int(p) for p in rng.permutation(60))
        for n in (4, 2, 3):
            tokens = common[:n * page] + [int(t) for t in rng.integers(10, 20, 2 * page + 1)]
            texts.append([tokens, [next(number) for _ in range(-(-len(tokens) // page))]])
        cut = int(rng.integers(1, 4 * page))
        changed = [*common[:cut], 99, *common[cut + 1:], 0]
        yield case(page, texts[:1], [[*common, 0], common[:2 * page + 1], changed], behaviour="the longest run of whole pages")
        yield case(page, texts, [t for t, _ in texts] + [[*t, 0] for t, _ in texts],
                   behaviour="a beginning that is there stays, and the chain goes on from it")
        yield case(page, texts[:1], [common, common[:page], common[:page + 1], [], common[:1]], behaviour="one token is left over")
        a, b, c = ([t] * page for t in (1, 2, 3))
        yield case(page, [[a + b, [0, 1]], [c + b, [2, 3]]], [b + [0], c + b + [0], a + b + [0], a + c + b + [0], b + a + [0]],
                   behaviour="the same tokens behind others are another page")
    yield case(4, [[[1, 2, 3], [5]]], [[1, 2, 3, 4, 5]], behaviour="pages that are not full are not entered")
    yield case(4, [[[1, 2, 3, 4, 5], [5, 6]], [[1, 2, 3, 4, 5, 6, 7, 8], [7, 8]]], [[1, 2, 3, 4, 5, 6, 7, 8, 9]],
               behaviour="pages that are not full are not entered")


# %% [markdown]
# The rest is given: a cache that holds many texts in one pool, a prefill that reads only what no page has, and a decode
# step for several texts of different lengths at once. The kernel `attention_decode` follows the tables by itself.

# %%
#| export
class PagedCache:
    """Keys and values of many texts of one model in pages; beginnings that texts have in common are kept once.

    open(tokens) -> number of a text, fork(text) -> another, truncate(text, length), close(text); start and paged_step read.
    tables, lengths: dicts by text. keys, values: arrays (depth, pages, page, G, D). Raises OutOfPages, and then no text has
    changed; KeyError for a text that is not open.
    """

    def __init__(self, model, pages, page=16, dtype=float32):
        attention = model.blocks[0].attention
        width = attention.out.weight.shape[0] // attention.heads
        self.keys, self.values = np.zeros((2, len(model.blocks), pages, page, attention.kv_heads, width), dtype)
        self.page, self.pool, self.index = page, PagePool(pages), PrefixIndex(page)
        self.tables, self.lengths, self.opened = {}, {}, 0

    def open(self, tokens=()):
        """A new text that begins with the pages that the index has for these tokens; lengths[text] says how many they hold."""
        return self._add(self.index.match(list(tokens)), None)

    def fork(self, text):
        """A new text with the same pages."""
        return self._add(self.tables[text], self.lengths[text])

    def _add(self, table, length):
        for page in table:
            self.pool.share(page)
        text, self.opened = self.opened, self.opened + 1
        self.tables[text], self.lengths[text] = list(table), len(table) * self.page if length is None else length
        return text

    def reserve(self, text, count):
        """Make pages ready for count more positions; those that only the index uses are given up if need be."""
        table, length = self.tables[text], self.lengths[text]
        try:
            copies = extend_table(table, length, count, self.page, self.pool)
        except OutOfPages:
            self.index.forget(self.pool, -(-count // self.page) + 1)
            copies = extend_table(table, length, count, self.page, self.pool)
        for old, new in copies:
            self.keys[:, new], self.values[:, new] = self.keys[:, old], self.values[:, old]

    def truncate(self, text, length):
        """Forget the positions of a text from length on. Raises ValueError for more than it has, or less than 0."""
        if not 0 <= length <= self.lengths[text]:
            raise ValueError(f"cannot keep {length} positions of {self.lengths[text]}")
        table, self.lengths[text] = self.tables[text], length
        while len(table) > -(-length // self.page):
            self.pool.drop(table.pop())

    def close(self, text):
        """Drop the pages of a text; whole ones that the index knows stay until their place is wanted."""
        self.truncate(text, 0)
        del self.tables[text], self.lengths[text]

    def remember(self, text, tokens):
        """Enter the whole pages of a text, which begins with these tokens, in the index."""
        for page in self.index.insert(list(tokens)[:self.lengths[text]], self.tables[text]):
            self.pool.share(page)

    def leaks(self):
        """Pages whose count is not the number of tables and entries of the index that hold them; none, unless there is a fault."""
        users = Counter(page for table in (*self.tables.values(), self.index.pages.values()) for page in table)
        return [page for page, uses in enumerate(self.pool.uses) if uses != users[page]]


class PageReader:
    """One block's part of one text in a PagedCache, as a cache for attention: new positions go to pages, all come back joined."""

    def __init__(self, cache, block, text):
        self.cache, self.block, self.text = cache, block, text

    def extend(self, k, v):
        cache, table, first = self.cache, self.cache.tables[self.text], self.cache.lengths[self.text]
        last = first + k.shape[2]
        new, every = (page_slots(table, cache.page, at, last) for at in (first, 0))
        joined = []
        for store, part in ((cache.keys[self.block], k), (cache.values[self.block], v)):
            store[new] = part.numpy()[0].swapaxes(0, 1)
            joined.append(Tensor(store[every].swapaxes(0, 1)[None]))
        return tuple(joined)


def start(model, cache, tokens):
    """Open a text with these tokens and read those that no page holds -> (its number, logits (V,) for the next token).

    Raises OutOfPages if they do not fit; no text is opened then.
    """
    text = cache.open(tokens)
    held = cache.lengths[text]
    try:
        cache.reserve(text, len(tokens) - held)
    except OutOfPages:
        cache.close(text)
        raise
    with evaluating(model):
        readers = [PageReader(cache, block, text) for block in range(len(model.blocks))]
        logits = model(Tensor(np.asarray(tokens, np.int64)[None, held:]), caches=readers, offset=held).numpy()[0, -1]
    cache.lengths[text] = len(tokens)
    cache.remember(text, tokens)
    return text, logits


def paged_step(model, cache, texts, tokens):
    """Read one token more in each of some texts, whatever their lengths -> logits (B, V) for the next ones.

    Raises ValueError for a text that stands there twice, OutOfPages if there is no page for one of them.
    """
    if len(set(texts)) < len(texts):
        raise ValueError(f"each text reads one token a step, got texts {list(texts)}")
    for text in texts:
        cache.reserve(text, 1)
    offsets = [cache.lengths[text] for text in texts]
    pages, slots = (np.array(part) for part in zip(*((cache.tables[t][n // cache.page], n % cache.page)
                                                     for t, n in zip(texts, offsets, strict=True)), strict=True))
    table = np.zeros((len(texts), max(len(cache.tables[text]) for text in texts)), np.int64)
    for row, text in zip(table, texts, strict=True):
        row[:len(cache.tables[text])] = cache.tables[text]
    lengths = np.array(offsets, np.int64) + 1
    with evaluating(model):
        x = Tensor(np.concatenate([model.embed(Tensor(np.array([[t]])), n).numpy() for t, n in zip(tokens, offsets, strict=True)]))
        for block, keys, values in zip(model.blocks, cache.keys, cache.values, strict=True):
            attention = block.attention
            q, k, v = split_heads(attention.qkv(block.norm1(x)), attention.heads, attention.kv_heads)
            if attention.rotary is not None:
                q, k = (np.concatenate([attention.rotary(part[b:b + 1], n).numpy() for b, n in enumerate(offsets)]) for part in (q, k))
            q, k, v = (np.asarray(part)[:, :, 0] for part in (q, k, v))
            keys[pages, slots], values[pages, slots] = k, v
            q = np.ascontiguousarray(q)
            mixed = np.empty_like(q)
            kernel("attention_decode")(q, keys, values, lengths, mixed, table)
            x = x + attention.out(merge_heads(Tensor.from_numpy(mixed[:, :, None])))
            x = x + block.mlp(block.norm2(x))
        logits = model.head(model.norm(x)).numpy()[:, 0]
    for text in texts:
        cache.lengths[text] += 1
    return logits

# %% [markdown]
# Four texts with one beginning, in 40 pages. Then each forks, and the forks go on differently.

# %% show
cache = PagedCache(model, pages=40, page=16)
common = [int(t) for t in rng.integers(0, 128, 50)]
texts = []
for k in range(4):
    before = 40 - cache.pool.free
    text, _ = start(model, cache, [*common, k, 3 * k])
    texts.append(text)
    print(f"text {text}, 52 tokens: {40 - cache.pool.free - before} new pages, table {cache.tables[text]}")
forks = [cache.fork(text) for text in texts]
print(f"four forks: {40 - cache.pool.free} pages in use, those of text 0 are used by {[cache.pool.uses[p] for p in cache.tables[0]]}")
logits = paged_step(model, cache, texts + forks, [7] * 4 + [7, 8, 9, 10])
print(f"one token more in each: {40 - cache.pool.free} pages in use; logits of text 0 and of its fork, which read the same: "
      f"equal to the last bit: {(logits[0] == logits[4]).all()}")
print(f"logits of text 0 against a pass over the whole: {abs(logits[0] - model(Tensor([[*common, 0, 0, 7]])).numpy()[0, -1]).max():.1e}")
for text in texts + forks:
    cache.close(text)
print(f"all closed: {cache.pool.free} pages free, {len(cache.index.pages)} kept by the index, leaks {cache.leaks()}")

# %% [markdown]
# Now watch the memory of a server, with 64 × 16 positions. Requests come and go; each may become 128 long, and few
# do. On the left each has 128 positions in a row for as long as it stays. On the right it has pages, and when none is free,
# the latest request gives its own back and begins again later.

# %% show
import matplotlib.pyplot as plt

from mlsysbook import explore, pick, slider

SLOTS, LONGEST, PROMPT = 1024, 128, 32


def requests(n=60, seed=4):
    """Arrival in steps, number, and tokens to be written, of n requests with prompts of 32."""
    source = np.random.default_rng(seed)
    return [(2 * k, k, int(source.integers(8, LONGEST - PROMPT))) for k in range(n)]


def served(pages):
    """The size of a page, and for each step up to 120: {request: (positions in use, table)}, how many wait, how many are done."""
    page = pages or LONGEST
    pool, waiting, active, film, done = PagePool(SLOTS // page), requests(), {}, [], 0
    for step in range(121):
        while waiting and waiting[0][0] <= step and pool.free >= -(-(PROMPT + 1) // page):
            _, name, left = waiting.pop(0)
            active[name] = [PROMPT, left, []]
            extend_table(active[name][2], 0, PROMPT, page, pool)
        for name in list(active):
            while name in active:
                try:
                    extend_table(active[name][2], active[name][0], 1, page, pool)
                    break
                except OutOfPages:                              # the latest gives its pages back and begins again, later
                    latest = list(active)[-1]
                    length, left, table = active.pop(latest)
                    waiting.insert(0, (step, latest, left + length - PROMPT))
                    for number in table:
                        pool.drop(number)
            if name in active:
                active[name][0] += 1
                active[name][1] -= 1
                if not active[name][1]:
                    done += 1
                    for number in active.pop(name)[2]:
                        pool.drop(number)
        film.append(({name: (length, list(table)) for name, (length, _, table) in active.items()},
                     sum(arrival <= step for arrival, *_ in waiting), done))
    return page, film


def memory(step, pages):
    result = {}
    for name, size in (("in a row", None), ("in pages", pages)):
        page, film = served(size)
        active, waiting, done = film[step]
        grid = np.full(SLOTS, -1.0)                             # free
        for request, (length, table) in active.items():
            for n, number in enumerate(table):
                inside = np.arange(n * page, (n + 1) * page)
                grid[number * page:(number + 1) * page] = np.where(inside < length, request % 18, -2)   # reserved, not used
        result[name] = {"grid": grid.reshape(32, 32), "served": len(active), "waiting": waiting, "done": done,
                        "used": int((grid >= 0).sum()), "empty": int((grid == -2).sum())}
    return result


def slots_drawn(axes, result, settings):
    picture = np.concatenate([result["in a row"]["grid"], np.full((32, 3), np.nan), result["in pages"]["grid"]], axis=1)
    shown = np.ones((*picture.shape, 3))
    shown[picture == -1] = 0.93
    shown[picture == -2] = (0.35, 0.35, 0.35)
    colours = np.delete(plt.get_cmap("tab20").colors, (14, 15), axis=0)             # its two greys stand for free and reserved
    shown[picture >= 0] = colours[picture[picture >= 0].astype(int)]
    axes.imshow(shown)
    axes.set(xticks=[15, 50], xticklabels=["128 in a row", f"pages of {settings['pages']}"], yticks=[],
             title="a colour: a request; light: free; dark: reserved, not used")


def in_words(result, settings):
    parts = [f"{name}: {r['done']} done, {r['served']} served, {r['waiting']} waiting, {r['used'] / SLOTS:.0%} of memory in use, "
             f"{r['empty'] / SLOTS:.0%} reserved and empty" for name, r in result.items()]
    return f"step {settings['step']}: " + "; ".join(parts)


explore(memory, {"step": slider(0, 120, start=100, steps=60), "pages": pick(4, 8, 16, 32, start=16)}, draw=slots_drawn, say=in_words)

# %% [markdown]
# The model of section 1 has 40 GB for caches. Its requests may grow to 4096 tokens and on average hold 512; of pages of 16
# positions, the last one of a text has 7.5 empty slots on average. **How many times as many requests fit** in such pages as
# with 4096 positions reserved for each?

# %% answer="fit" points=2
fit = ""  # a number, such as "3"
### BEGIN SOLUTION
fit = f"{4096 / (512 + 7.5)}"
### END SOLUTION

# %% key="fit"
def key(v):
    return Key(4096 / (512 + 7.5), "", tol=0.005, mistakes=[
        Mistake(4096 / 512, 0.5, "the last page of a text is not full"),
        Mistake(4096 / (512 + 16), 0.5, "on average 7.5 slots of the last page are empty, not 16"),
        Mistake((512 + 7.5) / 4096, 0.25, "that is the share of memory; its inverse was asked for"),
    ])

# %% [markdown]
# ## 5. A small model guesses
#
# A decode step multiplies each weight with a single row: it moves all weights from memory for two FLOP each. Five rows
# take hardly longer. So let a small model, the **draft**, write K tokens ahead, and let the large one, the **target**,
# read them all in a single pass. Its logits say at each place what it would have written there itself. But how many of the
# guesses may stay, if the text is to be as if the target had written it alone? Not similar, but with the same
# probabilities?
#
# At some place the target's weights are p and the draft's are q, and the draft drew token x from q. Keep it with
# probability min(1, p(x) / q(x)). Otherwise draw another one from the **residual**, what p has above q, scaled to 1
# (Leviathan et al. 2023; Chen et al. 2023). Token x comes out by the first way with probability
# q(x) · min(1, p(x)/q(x)) = min(p(x), q(x)). The first way fails with probability 1 − Σ min(p, q), which is also the sum
# of max(p − q, 0), so by the second way x comes out with max(p(x) − q(x), 0). The two add up to p(x), whatever q is. A
# bad draft costs time and changes nothing.
#
# **Worked example.** p = (0.5, 0.3, 0.2), q = (0.2, 0.6, 0.2). A guess is kept with 0.2 + 0.3 + 0.2 = 0.7. The residual is
# (1, 0, 0). The first token: 0.2 + 0.3 · 1 = 0.5.
#
# After the first guess that is not kept, the others are void, since they were guessed behind a token that is not there. If
# all K are kept, the target's last row of weights gives one token more. So each round gives 1 to K + 1 tokens.
#
# **Exercise 5.1** The probability that a guess is kept, and the residual. If p is nowhere above q, the residual is p.
# **Exercise 5.2** One round: `target` (K + 1, V) and `draft` (K, V) are weights, `drafted` the K tokens that were drawn
# from the draft's. Return the tokens that come out, 1 to K + 1 of them. The check draws thousands of rounds and tests
# their distribution, so draw as you like from `rng`. **Exercise 5.3** If each guess is kept with probability α
# independently, how many tokens does a round give on average? And how many times faster than the target alone is that, if
# a step of the draft takes `cost` times as long as a pass of the target? For α = 0.5 and K = 1: 1.5 tokens, and with
# cost 0.25 that is 1.2 times as fast.

# %% solution="residual"
#| export
def acceptance(p, q):
    """The probability that a token drawn with weights q is kept for weights p: arrays (..., V) -> (...)."""
    ### BEGIN SOLUTION
    return np.minimum(p, q).sum(-1)
    ### END SOLUTION


def residual(p, q):
    """The weights of the token that takes the place of one that was not kept: arrays (V,), adding up to 1 -> (V,), too."""
    ### BEGIN SOLUTION
    above = np.maximum(p - q, 0)
    total = above.sum()
    return above / total if total > 0 else p
    ### END SOLUTION


# %% solution="verify"
#| export
def verify(target, draft, drafted, rng):
    """What stays of K drafted tokens, and one token more: weights target (K + 1, V), draft (K, V), drafted (K,) -> list of ints.

    The tokens are distributed as if drawn with the target's weights. Raises ShapeError for other numbers of rows.
    Source: Leviathan et al. 2023.
    """
    ### BEGIN SOLUTION
    if not len(target) - 1 == len(draft) == len(drafted):
        raise ShapeError(f"K tokens have K rows of the draft and K + 1 of the target, got {len(drafted)}, {len(draft)} and {len(target)}")
    kept = []
    for p, q, token in zip(target, draft, drafted, strict=False):
        if rng.random() * q[token] >= p[token]:
            return [*kept, int(rng.choice(len(p), p=residual(p, q)))]
        kept.append(int(token))
    return [*kept, int(rng.choice(len(target[-1]), p=target[-1]))]
    ### END SOLUTION


# %% solution="expected_tokens"
#| export
def expected_tokens(alpha, ahead):
    """Tokens of a round on average if each of `ahead` guesses is kept with probability alpha -> float."""
    ### BEGIN SOLUTION
    return float(sum(alpha ** k for k in range(ahead + 1)))
    ### END SOLUTION


def speculative_speedup(alpha, ahead, cost):
    """How many times faster than the target alone, if a draft's step takes cost times as long as a target's pass -> float."""
    ### BEGIN SOLUTION
    return float(sum(alpha ** k for k in range(ahead + 1))) / (1 + ahead * cost)
    ### END SOLUTION


# %%
#| export
def chi_square_tail(counts, weights):
    """The probability that draws with these weights give counts at least as far from them: (V,) integers, (V,) -> float.

    Cells are put together, the rarest first, until 5 counts are expected in each; a count where the weight is 0 gives 0.0.
    The tail is that of Wilson and Hilferty 1931, a cube root that is nearly normal.
    """
    counts, weights = np.asarray(counts, float), np.asarray(weights, float)
    if (counts[weights == 0] > 0).any():
        return 0.0
    wanted = counts.sum() * weights / weights.sum()
    cells, seen, due = [], 0.0, 0.0
    for k in np.argsort(wanted, kind="stable"):
        seen, due = seen + counts[k], due + wanted[k]
        if due >= 5:
            cells.append([seen, due])
            seen, due = 0.0, 0.0
    if cells:
        cells[-1] = [cells[-1][0] + seen, cells[-1][1] + due]
    distance, freedom = sum((seen - due) ** 2 / due for seen, due in cells), len(cells) - 1
    if freedom < 1:
        return 1.0
    z = ((distance / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return 0.5 * math.erfc(z / math.sqrt(2))

# %% check="residual" points=4
def kept_and_rest(p, q):
    return {"kept": acceptance(p, q), "rest": residual(p if p.ndim == 1 else p[0], q if q.ndim == 1 else q[0])}

check("residual", [
    case(np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.6, 0.2])),
    case(np.array([0.5, 0.5]), np.array([0.5, 0.5])),
], call=kept_and_rest)

# %% hidden="residual"
def cases(rng):
    for V in (2, 5, 9):
        p, q = rng.dirichlet(np.ones(V), 2)
        yield case(p, q, behaviour="what p has above q, scaled")
    for V in (3, 6):
        yield case(rng.dirichlet(np.ones(V), 4), rng.dirichlet(np.ones(V), 4), behaviour="several rows")
    for V in (2, 4):
        p = rng.dirichlet(np.ones(V))
        yield case(p, p.copy(), behaviour="the same weights, and weights without a token in common")
    yield case(np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.5, 0.5]), behaviour="the same weights, and weights without a token in common")


# %% check="verify" points=7
def given_residual(p, q):
    rest = np.where(p > q, p - q, 0.0)
    return rest / rest.sum() if rest.any() else p


def many_rounds(target, draft, seed, rounds=1500):
    """Counts (K + 1, V) of the tokens at each place, the mean number of tokens, and whether what came first was as drafted."""
    rng, (K, V) = np.random.default_rng(seed), draft.shape
    counts, total, as_drafted = np.zeros((K + 1, V), int), 0, True
    with swapped(residual=given_residual):
        for _ in range(rounds):
            drafted = np.array([rng.choice(V, p=q) for q in draft], int)
            out = verify(target, draft, drafted, rng)
            for k, token in enumerate(out):
                counts[k, token] += 1
            total += len(out)
            as_drafted = as_drafted and 1 <= len(out) <= K + 1 and list(out[:-1]) == list(drafted[:len(out) - 1])
    return {"counts": counts, "mean": total / rounds, "as drafted": bool(as_drafted)}


def as_the_target(out, target, draft, seed, rounds=1500):
    return all(chi_square_tail(seen, p) > 1e-7 for seen, p in zip(out["counts"], target, strict=True) if sum(seen) >= 20)


def long_enough(out, target, draft, seed, rounds=1500):
    """Within six standard deviations of the expected length."""
    lasting = np.cumprod(np.minimum(target[:-1], draft).sum(-1))       # that at least k guesses are kept
    mean = 1 + lasting.sum()
    square = 1 + sum((2 * k + 1) * x for k, x in enumerate(lasting, 1))
    return abs(out["mean"] - mean) <= 6 * np.sqrt(max(square - mean**2, 0) / rounds) + 1e-9

check("verify", [
    case(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), np.array([[0.2, 0.6, 0.2]]), 0),
    case(np.array([[0.5, 0.5], [1.0, 0.0], [0.3, 0.7]]), np.array([[0.5, 0.5], [1.0, 0.0]]), 1, 400),
], call=many_rounds, compare=None, properties=[
    prop("be drawn with the target's weights at each place (chi-square)", as_the_target),
    prop("keep as many guesses as the rule allows", long_enough),
    prop("begin with the guesses, and have 1 to K + 1 tokens", lambda out, *args: out["as drafted"]),
])

# %% hidden="verify"
def cases(rng):
    def rows(n, V, sharp=1.0):
        return rng.dirichlet(np.full(V, sharp), n)

    def seed():
        return int(rng.integers(1 << 30))

    for K, V in ((1, 3), (2, 4), (3, 3), (1, 8)):
        yield case(rows(K + 1, V), rows(K, V), seed(), behaviour="drawn with the target's weights")
    p = rows(3, 4)
    extremes, never = "a draft that is right, and one that is sure of the wrong", "tokens that one of them never writes"
    yield case(p, p[:2].copy(), seed(), 600, behaviour=extremes)
    yield case(np.array([[0.05, 0.95], [0.5, 0.5]]), np.array([[0.999, 0.001]]), seed(), behaviour=extremes)
    yield case(np.array([[0.0, 0.6, 0.4], [0.2, 0.0, 0.8]]), np.array([[0.7, 0.3, 0.0]]), seed(), behaviour=never)
    yield case(np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]]), seed(), 60, behaviour=never)
    yield case(rows(1, 5), np.zeros((0, 5)), seed(), behaviour="no guess")
    yield case(rows(2, 3), rows(2, 3), seed(), 5, behaviour="other numbers of rows are refused")


# %% check="expected_tokens" points=3
def on_average(alpha, ahead, cost):
    return [expected_tokens(alpha, ahead), speculative_speedup(alpha, ahead, cost)]

check("expected_tokens", [case(0.5, 1, 0.25), case(1.0, 4, 0.1)], call=on_average, compare="value")

# %% hidden="expected_tokens"
def cases(rng):
    for _ in range(4):
        yield case(float(rng.uniform(0.1, 0.95)), int(rng.integers(1, 9)), float(rng.uniform(0.02, 0.6)),
                   behaviour="a mean over all lengths")
    for alpha in (0.0, 1.0):
        yield case(alpha, 3, 0.2, behaviour="never, always, no guess")
    yield case(0.7, 0, 0.2, behaviour="never, always, no guess")


# %% [markdown]
# ### 5.1 With both caches
#
# The target's cache has read guesses that were not kept; they have to be forgotten. The draft's cache has read its
# guesses but the last, and if all were kept, it is two tokens behind in the next round. Both can be said in one
# sentence: a cache holds a beginning of the text, at most all but its last token, and a pass reads what it has not.
#
# **Exercise 5.4** Write one text with a draft. In each round the draft guesses `ahead` tokens, but never more than can
# still be used: with r tokens to go, r − 1 at most. The target makes one pass a round. Weights of both are those of
# `sampling_weights` with the same temperature, and `verify` decides. Only one text is written at a time, as texts of a
# batch would be kept to different lengths.

# %%
#| export
class Speculation(NamedTuple):
    """A text (1, T + count), an int64 tensor; rounds, one pass of the target each; guesses that were kept, and refused.

    Guesses behind a refused one were not judged, and count as neither.
    """

    ids: Tensor
    rounds: int
    kept: int
    refused: int

# %% solution="speculate"
#| export
def speculate(model, draft, ids, count, ahead=4, temperature=1.0, rng=None):
    """Continue a text by count tokens with a draft model: ids (1, T) -> Speculation, distributed as generate's texts.

    Raises ValueError, with both, for models of different vocabularies, and if T + count - 1 is more than a model's length;
    ShapeError for more than one text. Source: Leviathan et al. 2023; Chen et al. 2023.
    """
    ### BEGIN SOLUTION
    text, rng = np.asarray(ids, np.int64), rng or default_rng()
    if text.ndim != 2 or len(text) != 1:
        raise ShapeError(f"speculate writes one text, ids (1, T), got shape {text.shape}")
    if model.vocabulary != draft.vocabulary:
        raise ValueError(f"both models have one vocabulary, got {model.vocabulary} and {draft.vocabulary}")
    text, end = text[0].tolist(), text.shape[1] + count
    if count and end - 1 > min(model.length, draft.length):
        raise ValueError(f"{end - count} tokens and {count} more do not fit: the models read up to {min(model.length, draft.length)}")
    rounds = kept = refused = 0
    theirs, ours = caches_for(model), caches_for(draft)

    def weights(reader, caches, text):
        read = caches[0].length
        logits = reader(Tensor(np.array([text[read:]])), caches=caches, offset=read).numpy()[0]
        return sampling_weights(logits, temperature)

    with evaluating(model), evaluating(draft):
        while len(text) < end:
            drafted, q = [], np.zeros((0, model.vocabulary))
            for _ in range(min(ahead, end - len(text) - 1)):
                row = weights(draft, ours, text + drafted)[-1]
                drafted.append(int(rng.choice(len(row), p=row)))
                q = np.concatenate([q, row[None]])
            p = weights(model, theirs, text + drafted)[-len(drafted) - 1:]
            new = verify(p, q, np.array(drafted, np.int64), rng)
            rounds, kept, refused = rounds + 1, kept + len(new) - 1, refused + (len(new) <= len(drafted))
            text += new
            for cache in (*theirs, *ours):
                cache.truncate(min(cache.length, len(text) - 1))
    return Speculation(Tensor(np.array([text])), rounds, kept, refused)
    ### END SOLUTION


# %% check="speculate" points=6
def most_likely(target, draft, drafted, rng):
    """verify for temperature 0, where all weights are 0 or 1."""
    own = target.argmax(-1)
    same = 0
    while same < len(drafted) and drafted[same] == own[same]:
        same += 1
    return [int(token) for token in own[:same + 1]]


class Imitator(Oracle):
    """A draft for the checks: it writes as an oracle does, except where its position is a multiple of `miss`."""

    def __init__(self, vocabulary, seed, miss, length=64):
        super().__init__(vocabulary, seed, length)
        self.miss = miss

    def __call__(self, ids, mask=None, caches=None, offset=0):
        logits = super().__call__(ids, mask, caches, offset).numpy().copy()
        for t in range(logits.shape[1]):
            if self.miss and (offset + t) % self.miss == 0:
                logits[:, t] = -logits[:, t]
        return Tensor(logits)


def speculated(ids, count, ahead, miss, seed=0, length=64, vocabularies=(7, 7)):
    """A text at temperature 0, the numbers, and the calls: as many positions and passes as it takes."""
    model, draft = Oracle(vocabularies[0], seed, length), Imitator(vocabularies[1], seed, miss)
    with swapped(caches_for=caches_of_a_check, KVCache=Appending, verify=most_likely):
        try:
            done = speculate(model, draft, ids, count, ahead, 0, np.random.default_rng(0))
        except ValueError as error:
            return {"refused": [str(n) in str(error) for n in (*vocabularies, length)]}
    alone = [int(t) for t in np.asarray(ids)[0]]
    oracle = Oracle(vocabularies[0], seed, length)
    for _ in range(count):
        alone.append(int(oracle(np.array([alone])).numpy()[0, -1].argmax()))
    return {"text": done.ids, "as the target alone": np.asarray(done.ids)[0].tolist() == alone, "numbers": list(done[1:]),
            "calls of the target": model.calls, "calls of the draft": draft.calls}

check("speculate", [
    case(np.array([[1, 2, 3]]), 6, 2, 0),
    case(np.array([[1, 2, 3]]), 6, 3, 2),
    case(np.array([[1, 2]]), 8, 2, 0, length=8),
], call=speculated)

# %% hidden="speculate"
def cases(rng):
    for miss in (0, 1, 2, 3, 5):
        yield case(rng.integers(0, 7, (1, int(rng.integers(1, 6)))), int(rng.integers(8, 14)), int(rng.integers(2, 5)), miss,
                   seed=int(rng.integers(99)), behaviour="the target's text, whatever the draft says; each position read once")
    for count in (0, 1, 2):
        yield case(rng.integers(0, 7, (1, 3)), count, 4, 0, seed=int(rng.integers(99)), behaviour="no guess beyond the end")
    yield case(rng.integers(0, 7, (1, 3)), 5, 0, 0, seed=int(rng.integers(99)), behaviour="no guess beyond the end")
    wrong = "what does not fit is refused"
    yield case(rng.integers(0, 7, (1, 3)), 7, 2, 0, length=9, behaviour=wrong)
    yield case(rng.integers(0, 7, (1, 3)), 8, 2, 0, length=9, behaviour=wrong)
    yield case(rng.integers(0, 7, (1, 3)), 4, 2, 0, vocabularies=[7, 5], behaviour=wrong)
    yield case(rng.integers(0, 7, (2, 3)), 4, 2, 0, behaviour=wrong)


# %% [markdown]
# ## 6. What it brings
#
# Estimate or predict, then measure. A prediction is locked when you run its cell, and the measurement below refuses to
# run before.
#
# ### 6.1 Length
#
# A GPT of width 128, 2 blocks, 8 heads, 2 of keys and values, MLP of 512 and V = 128 writes one token at the end of a text
# of 1024. By FLOP, `pass_flop(128, 2, 8, 2, 512, 128, ...)`, a cache makes that about 700 times cheaper. **How many times
# faster is it on the clock?**

# %% predict="faster" points=1
# predict("faster", "number", low="number", high="number")
### BEGIN SOLUTION
predict("faster", "8", low="2", high="60")
### END SOLUTION

# %% show
from tinytorch.backend import set_threads

set_threads(1)                              # from here on all work is done by this thread, whose time is measured
model = GPT(128, 128, 2, 8, length=1040, kv_heads=2, rng=np.random.default_rng(0)).eval()
LENGTHS = (64, 128, 256, 512, 1024)
seconds, flop = {}, {}


def best_of_turns(ways, repeat=5):
    """Shortest time of each of some functions, taken in turns: seconds that this thread computed, whoever else did."""
    times = dict.fromkeys(ways, math.inf)
    for _ in range(repeat):
        for name, f in ways.items():
            begin = time.thread_time()
            f()
            times[name] = min(times[name], time.thread_time() - begin)
    return times


def next_token(model, T):
    """Seconds for the token at the end of a text of T, three ways."""
    ids = np.random.default_rng(1).integers(0, 128, (1, T))
    caches, pages = caches_for(model, T + 8), PagedCache(model, T // 16 + 2)
    model(Tensor(ids[:, :-1]), caches=caches)
    text, _ = start(model, pages, ids[0, :-1])

    def step():
        model(Tensor(ids[:, -1:]), caches=caches, offset=T - 1)
        for cache in caches:
            cache.truncate(T - 1)

    def paged():
        paged_step(model, pages, [text], ids[0, -1:])
        pages.truncate(text, T - 1)

    return best_of_turns({"without": lambda: model(Tensor(ids)), "with": step, "pages": paged})


print("length   FLOP without    with cache   ratio      ms without   with cache   in pages   ratio")
for T in LENGTHS:
    with evaluating(model):
        seconds[T] = next_token(model, T)
    flop[T] = [pass_flop(128, 2, 8, 2, 512, 128, n, T) for n in (T, 1)]
    a, b, c = (seconds[T][name] * 1e3 for name in ("without", "with", "pages"))
    print(f"{T:6} {flop[T][0]:14,} {flop[T][1]:13,} {flop[T][0] / flop[T][1]:7.0f} {a:15.2f} {b:12.2f} {c:10.2f} {a / b:7.1f}")
reveal("faster", f"{seconds[1024]['without'] / seconds[1024]['with']:.3g}")
figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for name, label in (("without", "without a cache"), ("with", "KVCache"), ("pages", "PagedCache")):
    axes.loglog(LENGTHS, [seconds[T][name] * 1e3 for T in LENGTHS], "o-", label=label)
rate = seconds[1024]["without"] / flop[1024][0]
for k, label in ((0, "FLOP without, at one rate"), (1, "FLOP with, at that rate")):
    axes.loglog(LENGTHS, [flop[T][k] * rate * 1e3 for T in LENGTHS], "--", color="grey", label=label, alpha=1 - 0.5 * k)
axes.set(xlabel="length of the text", ylabel="ms for one token", title="One token more")
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# Without a cache the clock follows the FLOP once the text is long. With a cache a step is so little work that calls of
# Python functions take nearly all of its time: the ratio on the clock is far below that of the FLOP, and it grows with
# the length and with the width of the model, as both add work and no calls. Attention grows with the length, b·T; here
# it is still small against the rest.
#
# ### 6.2 Bytes
#
# Predicted by `cache_bytes`, and measured as what is allocated, in a model of width 128 with 8 heads.

# %% show
import tracemalloc

print("heads of k, v   positions    predicted   in use       allocated   (bytes)")
for kv_heads in (8, 4, 2, 1):
    small = GPT(128, 128, 2, 8, length=1040, kv_heads=kv_heads, rng=np.random.default_rng(0)).eval()
    for T in (500, 512):
        with evaluating(small):
            caches, ids = caches_for(small), Tensor(np.zeros((1, T), "int64"))
            tracemalloc.start()
            small(ids, caches=caches)
            held = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
        used = sum(c.keys[:, :, :c.length].nbytes + c.values[:, :, :c.length].nbytes for c in caches)
        print(f"{kv_heads:13} {T:11} {cache_bytes(2, kv_heads, 16, T):12,} {used:10,} {held:13,}   capacity {caches[0].keys.shape[2]}")

# %% [markdown]
# An eighth of the heads, an eighth of the bytes. The allocation is that of the capacity, and a few kilobytes of Python
# objects.
#
# ### 6.3 Guessing
#
# Two models learn the same poem for a few seconds: a target of width 96 with 4 blocks, and a draft of width 32 with one.
# Neither has positions, as it reads windows of 24 letters and is to write more. The draft guesses four tokens at a time at
# temperature 1. **How many tokens does a round give on average?**

# %% predict="round" points=1
# predict("round", "number", low="number", high="number")
### BEGIN SOLUTION
predict("round", "2.5", low="1.2", high="4.5")
### END SOLUTION

# %% show
from tinytorch import AdamW, clip_grad_norm_, cross_entropy

POEM = """Twas brillig, and the slithy toves
Did gyre and gimble in the wabe:
All mimsy were the borogoves,
And the mome raths outgrabe.

Beware the Jabberwock, my son!
The jaws that bite, the claws that catch!
Beware the Jubjub bird, and shun
The frumious Bandersnatch!
"""  # Lewis Carroll 1871
letters = np.frombuffer(POEM.encode(), np.uint8).astype("int64")


def taught(model, steps, rate):
    """The model after some steps on the poem, and its last loss."""
    optimizer, source = AdamW(model.parameters(), rate), np.random.default_rng(0)
    for _ in range(steps):
        at = source.integers(0, len(letters) - 24, (8, 1)) + np.arange(24)
        loss = cross_entropy(model(Tensor(letters[at])).reshape(-1, 128), Tensor(letters[at + 1].reshape(-1)))
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval(), loss.item()


target, loss = taught(GPT(128, 96, 4, 4, length=256, positions="none", rng=np.random.default_rng(0)), 90, 1.5e-3)
draft, draft_loss = taught(GPT(128, 32, 1, 2, length=256, positions="none", rng=np.random.default_rng(1)), 60, 4e-3)
print(f"loss of the target {loss:.2f}, of the draft {draft_loss:.2f} nats a letter")
prompt = letters[None, :20]
done = speculate(target, draft, prompt, 200, 4, rng=np.random.default_rng(2))
alpha = done.kept / (done.kept + done.refused)
reveal("round", f"{200 / done.rounds:.3g}")
print(f"{done.rounds} rounds; {done.kept} of {done.kept + done.refused} judged guesses were kept, {alpha:.0%}. "
      f"If each were kept independently: {expected_tokens(alpha, 4):.2f} tokens a round")
print(repr(bytes(done.ids.numpy()[0].astype("uint8")).decode(errors="replace"))[:110])

# %% [markdown]
# Is it the target's distribution? The first token behind one prompt, thousands of times, against the target's weights by
# chi-square; and the same for two rules that look sensible: to keep every guess, and to draw from p after a miss.

# %% show
with evaluating(target), evaluating(draft):
    p, q = (sampling_weights(m(Tensor(prompt)).numpy()[0, -1:], 1.0)[0] for m in (target, draft))
print(f"a guess is kept with probability {acceptance(p, q):.3f}")
rest, source = residual(p, q), np.random.default_rng(3)
guesses = source.choice(128, 20_000, p=q)
hold = source.random(20_000) * q[guesses] < p[guesses]
rules = {
    "verify": [verify(np.stack([p, p]), q[None], guesses[k:k + 1], source)[0] for k in range(4000)],
    "the same rule on arrays": np.where(hold, guesses, source.choice(128, 20_000, p=rest)),
    "keep every guess": guesses,
    "draw from p after a miss": np.where(hold, guesses, source.choice(128, 20_000, p=p)),
}
for name, tokens in rules.items():
    print(f"{name:26} {len(tokens):6} tokens: chi-square tail {chi_square_tail(np.bincount(tokens, minlength=128), p):.3g}")

# %% [markdown]
# A tail of 0.2 or 0.9 says that such counts are ordinary if the tokens come from p. One of 10⁻³⁰ says that they do not.
#
# And is it faster? A step of the draft takes a part of the time of a target's pass, a pass over five positions takes more
# than one over one, and verification takes time as well. **How many times as fast as the target with its cache is
# speculation here?** Less than 1 is slower.

# %% predict="speculation" points=1
# predict("speculation", "number", low="number", high="number")
### BEGIN SOLUTION
predict("speculation", "1", low="0.5", high="2")
### END SOLUTION

# %% show
def pass_of(m, n):
    caches = caches_for(m, 64)
    m(Tensor(letters[None, :32]), caches=caches)

    def run():
        m(Tensor(letters[None, 32:32 + n]), caches=caches, offset=32)
        for cache in caches:
            cache.truncate(32)

    return run


with evaluating(target), evaluating(draft):
    passes = best_of_turns({"one": pass_of(target, 1), "five": pass_of(target, 5), "draft": pass_of(draft, 1)}, 9)
cost = passes["draft"] / passes["one"]
print(f"a pass of the target over one position {passes['one'] * 1e3:.2f} ms, over five {passes['five'] * 1e3:.2f} ms; "
      f"a step of the draft {passes['draft'] * 1e3:.2f} ms, {cost:.2f} of that")
ways = {"alone": lambda: generate_cached(target, prompt, 60, rng=np.random.default_rng(2)),
        "with draft": lambda: speculate(target, draft, prompt, 60, 4, rng=np.random.default_rng(2))}
times = best_of_turns(ways, 5)
reveal("speculation", f"{times['alone'] / times['with draft']:.3g}")
for name, taken in times.items():
    print(f"{name:11} {taken / 60 * 1e3:.2f} ms a token")
print("ahead   predicted speed-up, of a draft that is kept with", f"{alpha:.2f}, and costs {cost:.2f} or 0.05")
for ahead in (1, 2, 4, 8):
    print(f"{ahead:5}   {speculative_speedup(alpha, ahead, cost):.2f}   {speculative_speedup(alpha, ahead, 0.05):.2f}")

# %% [markdown]
# A draft with a quarter of the blocks and a ninth of the weights in each takes a quarter of the time or more, since here calls
# and not weights are paid for. In a model of 70 billion parameters a pass is limited by the bytes of the weights, and a
# draft of one billion costs 0.02 or little more; there the last column holds.

# %% [markdown]
# ## 7. Scale build: a model that is cut in parts (optional)
#
# Worth 2 of the 69 points. A model that does not fit into one machine, or whose cache does not, is cut. In **tensor parallelism**
# (Shoeybi et al. 2019) each of p ranks has 1/p of the heads and of the MLP's hidden units, and all of the rest. Of a block,
#
# * the matrices that go in, `qkv` and `up`, have a row for each number that they make: a rank keeps the rows of its own heads or units;
# * those that go out, `out` and `down`, have a column for each number that they read: a rank keeps these columns, and what it makes is
#   a part of a sum.
#
# So attention wants one all-reduce and the MLP another one. Everything else is computed by all, from equal numbers. And the cache of
# a head is where the head is: nobody has it twice.
#
# **Worked example.** Width 8, 4 heads of 2, 2 heads of keys and values, so `qkv` has rows 0 to 7 for q, 8 to 11 for k, 12 to 15 for v. Two
# ranks: the second one has heads 2 and 3 of q and head 1 of k and v, which both of them use: rows 4 to 7, 10, 11, 14 and 15. Of
# `out` it has columns 4 to 7.
#
# **Exercise 7.1** A rank's part of a block's weights. The parts are added up, so a bias at the end of a branch may count only once:
# rank 0 has it, the others have zeros.

# %% solution="tensor_shard"
#| export
def tensor_shard(weights, heads, kv_heads, rank, world):
    """A rank's part of the matrices and biases of a block -> dict of arrays under the same names.

    weights: {"qkv.weight": ((H + 2 G) D, W), "out.weight": (W, H D), "up.weight": (M, W), "down.weight": (W, M)}, and for each its
    bias. Raises ValueError, with both numbers, where world does not divide heads, kv_heads or M. Source: Shoeybi et al. 2019.
    """
    ### BEGIN SOLUTION
    hidden = len(weights["up.weight"])
    for what, n in (("heads", heads), ("heads of keys and values", kv_heads), ("hidden units", hidden)):
        if n % world:
            raise ValueError(f"{n} {what} cannot be cut into {world} equal parts")
    width = len(weights["qkv.weight"]) // (heads + 2 * kv_heads)

    def part(n, begin=0):
        return np.arange(begin + n * rank // world, begin + n * (rank + 1) // world)

    q, kv = heads * width, kv_heads * width
    columns, units = part(q), part(hidden)
    rows = np.concatenate([columns, part(kv, q), part(kv, q + kv)])
    first = rank == 0
    return {
        "qkv.weight": weights["qkv.weight"][rows], "qkv.bias": weights["qkv.bias"][rows],
        "out.weight": weights["out.weight"][:, columns], "out.bias": weights["out.bias"] * first,
        "up.weight": weights["up.weight"][units], "up.bias": weights["up.bias"][units],
        "down.weight": weights["down.weight"][:, units], "down.bias": weights["down.bias"] * first,
    }
    ### END SOLUTION


# %% check="tensor_shard" points=2
def block_weights(heads, kv_heads, width, hidden, seed):
    rng, W = np.random.default_rng(seed), heads * width
    shapes = {"qkv": ((heads + 2 * kv_heads) * width, W), "out": (W, W), "up": (hidden, W), "down": (W, hidden)}
    return {f"{name}.{kind}": rng.normal(size=shape if kind == "weight" else shape[:1])
            for name, shape in shapes.items() for kind in ("weight", "bias")}


def branches(x, weights, heads, kv_heads):
    """What attention and MLP add to x with some weights, in NumPy -> two arrays."""
    q, k, v = split_heads(Tensor(x @ weights["qkv.weight"].T + weights["qkv.bias"]), heads, kv_heads)
    seen = merge_heads(attend(q, k, v, None, True)).numpy()
    hidden = np.maximum(x @ weights["up.weight"].T + weights["up.bias"], 0)
    return seen @ weights["out.weight"].T + weights["out.bias"], hidden @ weights["down.weight"].T + weights["down.bias"]


def cut(heads, kv_heads, width, hidden, world, seed=0):
    """All parts: their sums against the whole block, and the shapes of the last one."""
    weights = block_weights(heads, kv_heads, width, hidden, seed)
    x = np.random.default_rng(seed + 1).normal(size=(2, 3, heads * width))
    try:
        shards = [tensor_shard(weights, heads, kv_heads, rank, world) for rank in range(world)]
    except ValueError as error:
        uneven = next(n for n in (heads, kv_heads, hidden) if n % world)
        return {"the message names": [str(n) in str(error) for n in (uneven, world)]}
    parts = [branches(x, shard, heads // world, kv_heads // world) for shard in shards]
    sums, whole = [sum(part[k] for part in parts) for k in (0, 1)], branches(x, weights, heads, kv_heads)
    return {"sums": sums, "as the whole": [bool(np.allclose(a, b)) for a, b in zip(sums, whole, strict=True)],
            "shapes": {name: list(array.shape) for name, array in sorted(shards[-1].items())}}

check("tensor_shard", [case(4, 2, 2, 6, 2), case(4, 2, 2, 6, 4)], call=cut)

# %% hidden="tensor_shard"
def cases(rng):
    for heads, kv_heads, world in ((4, 2, 2), (6, 3, 3), (8, 4, 4)):
        yield case(heads, kv_heads, int(rng.integers(1, 5)), world * int(rng.integers(1, 5)), world, int(rng.integers(99)),
                   behaviour="the parts add up to the block")
    yield case(4, 4, 3, 8, 4, behaviour="as many heads of keys, one head a rank, one rank")
    yield case(4, 4, 3, 8, 2, behaviour="as many heads of keys, one head a rank, one rank")
    yield case(4, 2, 3, 5, 1, behaviour="as many heads of keys, one head a rank, one rank")
    for sizes in ((6, 3, 2, 8, 4), (6, 2, 2, 6, 3), (6, 3, 2, 7, 3)):
        yield case(*sizes, behaviour="what cannot be cut is refused")


# %% [markdown]
# The model is given. It has the interface of `GPT`, so `generate_cached` writes with it as it is; `ring` is that of module 08.

# %%
#| export
class TensorParallel:
    """One rank's part of a GPT: called as the model, it gives the model's logits, up to rounding and with the same bits at every rank.

    ring: has rank, world and all_reduce(array (n,)), as training.Ring; all ranks call with the same ids. Caches hold the rank's heads.
    Raises ValueError for MLPs with a gate, for layers without bias, and as tensor_shard.
    """

    def __init__(self, model, ring):
        if any(block.mlp.gate is not None or block.mlp.up.bias is None for block in model.blocks):
            raise ValueError("a model is cut whose MLPs have no gate and whose layers have biases: activation='gelu', bias=True")
        self.model, self.ring, self.blocks, self.length, self.training = model, ring, model.blocks, model.length, model.training
        attention = model.blocks[0].attention
        self.heads, self.kv_heads = attention.heads // ring.world, attention.kv_heads // ring.world
        self.shards = []
        for block in model.blocks:
            layers = {"qkv": block.attention.qkv, "out": block.attention.out, "up": block.mlp.up, "down": block.mlp.down}
            whole = {f"{name}.{kind}": getattr(layer, kind).numpy() for name, layer in layers.items() for kind in ("weight", "bias")}
            part = tensor_shard(whole, attention.heads, attention.kv_heads, ring.rank, ring.world)
            self.shards.append({name: Tensor(np.ascontiguousarray(array)) for name, array in part.items()})

    def train(self, mode=True):
        self.training = mode
        self.model.train(mode)
        return self

    def eval(self):
        return self.train(False)

    @property
    def nbytes(self):
        """Bytes of the weights that are cut, at this rank."""
        return sum(tensor.nbytes for part in self.shards for tensor in part.values())

    def _sum(self, x):
        return Tensor(self.ring.all_reduce(np.ascontiguousarray(x.numpy()).reshape(-1)).reshape(x.shape))

    def __call__(self, ids, mask=None, caches=None, offset=0):
        x = self.model.embed(ids, offset)
        for k, (block, part) in enumerate(zip(self.blocks, self.shards, strict=True)):
            packed = block.norm1(x) @ part["qkv.weight"].transpose(0, 1) + part["qkv.bias"]
            q, keys, values = split_heads(packed, self.heads, self.kv_heads)
            if block.attention.rotary is not None:
                q, keys = block.attention.rotary(q, offset), block.attention.rotary(keys, offset)
            if caches is not None:
                keys, values = caches[k].extend(keys, values)
            seen = merge_heads(attend(q, keys, values, mask, True))
            x = x + self._sum(seen @ part["out.weight"].transpose(0, 1) + part["out.bias"])
            hidden = ACTIVATIONS[block.mlp.activation](block.norm2(x) @ part["up.weight"].transpose(0, 1) + part["up.bias"])
            x = x + self._sum(hidden @ part["down.weight"].transpose(0, 1) + part["down.bias"])
        return self.model.head(self.model.norm(x))


# %% [markdown]
# A text is written by 1, 2 and 4 processes. Compared with the model in one process: the logits of the whole text at the end, and the
# tokens. Measured at each rank: the bytes of the caches and of the weights that are cut, and what came around the ring.

# %% show
import multiprocessing

from tinytorch.training import run_ranks

WIDTH, TEXT, NEW = 64, 40, 24


def parallel_model():
    return GPT(128, WIDTH, 2, 8, length=128, kv_heads=4, positions="rotary", rng=np.random.default_rng(0)).eval()


def write_text(model):
    """A text, its logits, and the bytes of the caches that reading it fills."""
    ids = np.random.default_rng(1).integers(0, 128, (1, TEXT - NEW))
    text = generate_cached(model, ids, NEW, rng=np.random.default_rng(2)).numpy()
    with evaluating(model):
        caches = caches_for(model, TEXT)
        return text, model(Tensor(text), caches=caches).numpy(), sum(cache.nbytes for cache in caches)


def part_of_it(ring):
    model = TensorParallel(parallel_model(), ring)
    return *write_text(model), model.nbytes, ring.moved


if "fork" in multiprocessing.get_all_start_methods():
    text, logits, cached = write_text(parallel_model())
    print(f"one process: caches {cached:,} bytes; cache_bytes says {cache_bytes(2, 4, WIDTH // 8, TEXT):,}")
    print("processes   same text   logits differ by   same bits at all ranks   caches a rank   weights a rank   received")
    for world in (1, 2, 4):
        ranks = run_ranks(world, 4 * TEXT * WIDTH, part_of_it)
        off = max(abs(found - logits).max() for _, found, *_ in ranks)
        same = all(np.array_equal(found, ranks[0][1]) for _, found, *_ in ranks)
        print(f"{world:9}   {str(all((t == text).all() for t, *_ in ranks)):9}   {off:16.1e}   {str(same):22}   {ranks[0][2]:13,}   "
              f"{ranks[0][3]:14,}   {ranks[0][4]:8,}")
else:
    print("ranks are forked processes; this system does not fork")

# %% [markdown]
# The cache of a rank is a p-th, as measured, its weights are a p-th and some biases, and the logits are those of one process up
# to rounding: a sum over ranks adds the same products in another order. They cannot be equal to the bit, unlike the gradients of
# module 08, as products are rounded before they are added. But all ranks have the **same** bits as each other, and must: each
# draws the next token for itself, and two ranks that drew different ones would go on with two texts.
#
# ## 8. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="wrong_answers" points=4
# A team serves a model with a paged cache and an index of beginnings. Users report that once in a while an answer refers
# to things that somebody else wrote. It happens under load only; tests with one user pass, and each text that is replayed
# alone is right. The team suspects that speculative decoding, switched on last week, "changes the outputs a bit". In
# six to ten sentences: say which faults of pages could do this, and why only under load; how you test for each, and what
# you would count at every step in production; whether speculation can be at fault, and how you would find out; and what
# "each text alone is right" proves.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. Faults: a page freed while still in a table (count too low, dropped twice), a shared page written without a copy,
#    an index keyed by the tokens of a page alone or one whose entry outlived its page. Only under load are pages
#    reused or shared at all.
# 2. Tests: conservation at each step (the count of each page equals the tables and index entries that hold it, free plus
#    used equals all); random programs of open, fork, step, close against an uncached model; filling freed pages with NaN.
# 3. Speculation: correct verification leaves the distribution unchanged; wrong roll-back of a cache could be at fault.
#    Test: temperature 0 with and without draft must be equal; chi-square at temperature 1. It cannot show another
#    user's text by itself, except by pages that were truncated and freed while shared.
# 4. Replay alone shows that weights and prompt are fine and that the model is not at fault; it says nothing of state
#    shared between texts. Replay has to include the neighbours and their order.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# Keys and values of a causal model never change, so each position is read once; a token then costs a + b·T and not T
# times that. The cache takes 2 · depth · heads of keys · D numbers for each position. Pages, tables and counts let texts
# share it, and copying waits until somebody writes. A draft spares passes of the target, and the rule of acceptance makes
# sure that nobody can tell.
#
# | here | elsewhere |
# |---|---|
# | `KVCache` | `DynamicCache`, `StaticCache` in Hugging Face's transformers |
# | `PagedCache`, `paged_step` | PagedAttention in vLLM; `flash_attn_with_kvcache(..., block_table=)` |
# | `PrefixIndex` | automatic prefix caching in vLLM; RadixAttention in SGLang |
# | `TensorParallel` | Megatron-LM; `tensor_parallel_size` in vLLM; `tp_plan` in transformers |
# | `speculate` | `generate(assistant_model=...)` in transformers; speculative decoding in vLLM |
# | `attention_decode` of the framework | `torch.nn.functional.scaled_dot_product_attention` with one query |
#
# Module 19 measures such things so that others can believe it.
