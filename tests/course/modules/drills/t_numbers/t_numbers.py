# %% [markdown]
# # Numbers
# Yours differ from your neighbour's.

# %% variants
def pool():
    for layers in range(12, 52):
        yield {"layers": layers, "heads": 8 + layers % 5, "bandwidth": 1e11 * (3 + layers % 7)}

# %%
from mlsysbook import predict, variant

given = variant()

# %% [markdown]
# Bytes of the cache of 4096 tokens: a key and a value for each, heads of 128 numbers, 2 bytes each.

# %% answer="cache" points=3
# cache = "... GB"
### BEGIN SOLUTION
cache = f"{2 * given['layers'] * given['heads'] * 128 * 2 * 4096} B"
### END SOLUTION

# %% key="cache"
def key(v):
    right = 2 * v["layers"] * v["heads"] * 128 * 2 * 4096.0
    return Key(right, "B", tol=0.005, mistakes=[Mistake(right / 2, 0.5, "There is a value beside each key.")])

# %% answer="step" points=2
# step = "... ms"
### BEGIN SOLUTION
step = f"{2 * given['layers'] * given['heads'] * 128 * 2 * 4096 / given['bandwidth'] * 1e3:.6g} ms"
### END SOLUTION

# %% key="step"
def key(v):
    return Key(2 * v["layers"] * v["heads"] * 128 * 2 * 4096 / v["bandwidth"], "s", tol=0.005)

# %% predict="rtt" points=1 unit="s"
# predict("rtt", "27 ms", low="20 ms", high="40 ms")
### BEGIN SOLUTION
predict("rtt", "27 ms", low="20 ms", high="40 ms")
### END SOLUTION
