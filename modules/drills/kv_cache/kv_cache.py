# %% [markdown]
# # Drill: KV cache and time per token
#
# *Twenty minutes. Three answers, each a number with its unit.*
#
# Someone across the table describes a deployment and asks what it costs. There is no profiler in the room. What counts
# is a defensible number, reached from the shape of the model and two lines of a data sheet:
#
# 1. **Say what you assume.** Which traffic do you count, what do you leave out, what fills the memory?
# 2. **Build up from one token.** Bytes a token, then a request, then the batch. Each step is one multiplication.
# 3. **Carry the unit.** Bytes divided by bytes per second are seconds. If units do not cancel, the formula is wrong.
# 4. **Check against a bound you trust.** Nothing that sits in memory is larger than the memory.
#
# Your numbers differ from your neighbour's. Answers are recorded here and judged after submission: "recorded" means
# that the text could be read, not that it is right. A known misconception earns part of the points, and the feedback
# names it.

# %%
from types import SimpleNamespace

from mlsysbook import variant
from mlsysim import units
from staffml import drill

# %% [markdown]
# ## A worked example, with another model
# A small decoder without grouped-query attention: every head stores its own keys and values. It runs on a workstation
# card.

# %%
example = SimpleNamespace(layers=24, kv_heads=16, head_dim=64, params=1.3e9, bytes_per=2, batch=10, tokens=2048,
                          memory=units.parse("24 GB")[0], bandwidth=units.parse("600 GB/s")[0])

example.token = 2 * example.layers * example.kv_heads * example.head_dim * example.bytes_per    # one key, one value
example.request = example.token * example.tokens
example.cache = example.request * example.batch
example.weights = example.params * example.bytes_per
example.fits = int((example.memory - example.weights) // example.request)   # the last one must fit whole: round down
example.step = (example.weights + example.cache) / example.bandwidth        # every weight and every cached token, once

# %% show
print("one token         ", units.format(example.token, "B"))
print("one request       ", units.format(example.request, "B"))
print("the batch         ", units.format(example.cache, "B"))
print("the weights       ", units.format(example.weights, "B"))
print("weights and cache ", units.format(example.weights + example.cache, "B"), "of", units.format(example.memory, "B"))
print("requests at most  ", example.fits)
print("one step          ", units.format(example.step, "s"))
print("all of memory once", units.format(example.memory / example.bandwidth, "s"))

# %% [markdown]
# Assumptions, said aloud: every request is at its full context; activations and buffers are small beside weights and
# cache; memory streams at its full rate, and the arithmetic hides behind it.
#
# Two bounds close the argument. Weights and cache together are less than the memory, so the batch fits. A step reads
# less than the whole memory, so it is shorter than reading all of it. An answer that breaks either bound is wrong,
# however neat its formula.

# %% variants
from staffml import bake


def pool():
    return bake("memory/kv_cache", 200)


# %% [markdown]
# ## Your deployment

# %%
problem = drill(variant())
problem

# %% [markdown]
# Its numbers are `problem.layers`, `problem.memory` and so on, in bytes, bytes per second and plain counts;
# `problem.given` lists them all. An answer may use any prefix: `"2.5 GB"` and `"2500 MB"` are the same.

# %% [markdown]
# ### 1. The cache
# Start from one token of one request. Then ask who shares what: several query heads read one key-value head.

# %% answer="cache" points=4
# cache = "... GB"
### BEGIN SOLUTION
request_bytes = 2 * problem.layers * problem.kv_heads * problem.head_dim * problem.bytes_per * problem.tokens
cache = f"{request_bytes * problem.batch / 1e9:.4g} GB"
### END SOLUTION

# %% [markdown]
# ### 2. The largest batch
# The weights stay in memory whatever the batch. A request whose cache fits only in part does not fit.

# %% answer="fits" points=3
# fits = ...            a whole number, without a unit
### BEGIN SOLUTION
weight_bytes = problem.params * problem.bytes_per
fits = int((problem.memory - weight_bytes) // request_bytes)
### END SOLUTION

# %% [markdown]
# ### 3. The time a token takes
# Every request gets one token from each step, so its time per output token is the time of a step. List what a step must
# read.

# %% answer="step" points=3
# step = "... ms"
### BEGIN SOLUTION
step = f"{(weight_bytes + request_bytes * problem.batch) / problem.bandwidth * 1e3:.4g} ms"
### END SOLUTION

# %% [markdown]
# ## Before you hand in
# Are weights and cache together less than the memory? Is the largest batch at least the batch that you were given? Is
# the step shorter than reading the whole memory once? If the context doubled, which of your three answers would double?

# %% key="cache"
from staffml import answer_key


def key(v):
    return answer_key("cache", v)


# %% key="fits"
from staffml import answer_key


def key(v):
    return answer_key("fits", v)


# %% key="step"
from staffml import answer_key


def key(v):
    return answer_key("step", v)
