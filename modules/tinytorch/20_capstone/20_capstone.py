# %% [markdown]
# # TinyTorch 20: Capstone
#
# Nineteen modules gave you a framework. This one gives you an order: here is a task and a budget of bytes and FLOP; build
# a model that keeps it, with your own tools, and hand in what it is and a report whose every number was measured. Nobody
# tells you the architecture, the precision or the training. And it is judged on data that you have not seen: digits whose
# pixels were shuffled and whose labels were renamed, so that nothing can be remembered, only learned.
#
# **Where it sits.** `tinytorch.use(...)` lets you do all of it on the modules that you wrote yourself. What you write
# here is exported as `tinytorch/capstone.py`, and it is what the Olympics of the course run.
#
# | what you need | from |
# |---|---|
# | training | modules 05 to 08 |
# | fewer bits, fewer numbers, a teacher | 15, 16 |
# | where time goes, and whether it changed | 14, 19 |
# | what a device would take | MLSys·im |
#
# **Afterwards you can**
# 1. read a budget and say, before training, which models fit it;
# 2. choose on a Pareto front in place of defending a favourite;
# 3. build for four devices with one function;
# 4. make claims that survive their own intervals.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Four hours
# are typical, most of them for section 4.

# %%
#| export
"""Capstone: models that keep a budget, and reports that are measured.

    build(x, y, budget, seed)      a network for a budget of bytes, FLOP and accuracy
    weight_of, missed, pareto      what it takes, what it misses, what nothing beats
    report                         a page of measurements, with claims only where they hold

A network is plain data: {"layers": [{"weight": (O, K) int8, float16 or float32, "scales": (O,) or None, "bias": (O,)}]}, with
a ReLU between layers. `run` is what it computes.
"""

import numpy as np

import tinytorch.autograd  # noqa: F401  (gives tensors their backward)
from tinytorch.activations import ReLU
from tinytorch.layers import Linear, Sequential
from tinytorch.losses import cross_entropy
from tinytorch.optimizers import Adam
from tinytorch.tensor import Tensor

BUDGETS = {
    "cloud": {"bytes": 16_000, "flop": 30_000, "accuracy": 0.95},
    "edge": {"bytes": 8_000, "flop": 15_000, "accuracy": 0.945},
    "mobile": {"bytes": 4_000, "flop": 8_000, "accuracy": 0.94},
    "tiny": {"bytes": 735, "flop": 1_300, "accuracy": 0.935},
}

# %%
import math

from mlsysbook import answer, case, check, predict, prop, reveal
from tinytorch import datasets
from tinytorch.benchmarking import compare, measure

# %% [markdown]
# ## 1. What a model weighs
#
# A network travels as plain arrays, so that nothing can hide in it. `run` is given. Weights may be float32, float16, or
# int8 with a scale for each output.

# %%
#| export
def run(network, x):
    """Logits (N, C), float32, of a network on rows x (N, K)."""
    for k, layer in enumerate(network["layers"]):
        weight = layer["weight"].astype(np.float32)
        if layer["scales"] is not None:
            weight = weight * layer["scales"].astype(np.float32)[:, None]
        x = x @ weight.T + layer["bias"].astype(np.float32)
        x = np.maximum(x, 0) if k < len(network["layers"]) - 1 else x
    return x

# %% [markdown]
# **Exercise 1.1** Bytes, all arrays of all layers together, and FLOP for one row: two for each weight, none for scales,
# biases and ReLUs. Zeros count like any other number.
#
# **Worked example.** A layer of 2 × 3 int8 weights with float32 scales and bias: 6 + 8 + 8 = 22 bytes and 12 FLOP.

# %% solution="weight_of"
#| export
def weight_of(network):
    """{"bytes": of all arrays, "flop": two for each weight} of a network."""
    ### BEGIN SOLUTION
    arrays = [a for layer in network["layers"] for a in layer.values() if a is not None]
    return {"bytes": sum(a.nbytes for a in arrays), "flop": 2 * sum(layer["weight"].size for layer in network["layers"])}
    ### END SOLUTION


# %% check="weight_of" points=4
def layers_of(shapes, dtypes, seed=0):
    rng = np.random.default_rng(seed)
    layers = []
    for (o, k), dtype in zip(shapes, dtypes, strict=True):
        weight = (rng.normal(size=(o, k)) * 20).astype(dtype)
        scales = rng.uniform(0.01, 0.1, o).astype("float32") if dtype == "int8" else None
        bias = rng.normal(size=o).astype("float16" if dtype == "float16" else "float32")
        layers.append({"weight": weight, "scales": scales, "bias": bias})
    return {"layers": layers}


def weighed(shapes, dtypes):
    found = weight_of(layers_of(shapes, dtypes))
    return {"bytes": int(found["bytes"]), "flop": int(found["flop"])}

check("weight_of", [case([(2, 3)], ["int8"]), case([(4, 3), (2, 4)], ["float32", "float16"])], call=weighed)

# %% hidden="weight_of"
def cases(rng):
    for n in (1, 2, 3):
        sizes = [int(v) for v in rng.integers(1, 40, n + 1)]
        shapes = [(b, a) for a, b in zip(sizes, sizes[1:], strict=False)]
        for dtype in ("int8", "float32", "float16"):
            yield case(shapes, [dtype] * n, behaviour="all arrays, two FLOP a weight")
    yield case([(5, 7), (3, 5)], ["int8", "float32"], behaviour="mixed dtypes, no layers")
    yield case([], [], behaviour="mixed dtypes, no layers")


# %% [markdown]
# ## 2. What a budget says
#
# A budget names a largest number of bytes and of FLOP and a smallest accuracy. A model that misses it should be told by
# how much, since "too large by a factor of 1.02" and "of 9" ask for different work.
#
# **Exercise 2.1** What is missed: a list of [name, factor], for "bytes" and "flop" found / budget if that is above 1, for
# "accuracy" the error (1 − accuracy) over the error that is allowed, if that is above 1. In this order. Where no error
# is allowed and there is one, the factor is infinite.

# %% solution="missed"
#| export
def missed(found, budget):
    """What a model with found {"bytes", "flop", "accuracy"} misses of a budget -> list of [name, factor above 1]."""
    ### BEGIN SOLUTION
    factors = [[name, found[name] / budget[name]] for name in ("bytes", "flop")]
    error, allowed = 1 - found["accuracy"], 1 - budget["accuracy"]
    if found["accuracy"] < budget["accuracy"]:
        factors.append(["accuracy", error / allowed if allowed > 0 else float("inf")])
    return [[name, float(factor)] for name, factor in factors if factor > 1]
    ### END SOLUTION


# %% check="missed" points=4
check("missed", [
    case({"bytes": 4000, "flop": 9000, "accuracy": 0.9}, {"bytes": 4000, "flop": 6000, "accuracy": 0.95}),
    case({"bytes": 10, "flop": 10, "accuracy": 0.99}, {"bytes": 10, "flop": 10, "accuracy": 0.99}),
], compare="value")

# %% hidden="missed"
def some_numbers(rng, low=1000, high=9000):
    return {"bytes": int(rng.integers(low, high)), "flop": int(rng.integers(low, high)), "accuracy": float(rng.uniform(0.8, 0.99))}


def cases(rng):
    for _ in range(4):
        yield case(some_numbers(rng), some_numbers(rng), behaviour="factors, in order")
    met = "what is just met is not missed"
    yield case({"bytes": 5, "flop": 5, "accuracy": 0.5}, {"bytes": 5, "flop": 5, "accuracy": 0.5}, behaviour=met)
    yield case({"bytes": 5, "flop": 6, "accuracy": 0.75}, {"bytes": 9, "flop": 5, "accuracy": 0.5}, behaviour=met)
    yield case({"bytes": 1, "flop": 1, "accuracy": 0.999}, {"bytes": 1, "flop": 1, "accuracy": 1.0}, behaviour="no error allowed")
    yield case({"bytes": 1, "flop": 1, "accuracy": 1.0}, {"bytes": 1, "flop": 1, "accuracy": 1.0}, behaviour="no error allowed")


# %% [markdown]
# Before any training: the **widest** network 64–h–10 with int8 weights, a float32 scale and a float32 bias for each
# output that fits the 735 bytes of the tiny track. How large is h?

# %% answer="widest" points=2
widest = ""  # a number, such as "12"
### BEGIN SOLUTION
widest = f"{(735 - 8 * 10) // (64 + 10 + 8)}"
### END SOLUTION

# %% key="widest"
from mlsysbook import Key, Mistake


def key(v):
    return Key((735 - 8 * 10) // (64 + 10 + 8), "", tol=0.001, mistakes=[
        Mistake(735 // 74, 0.5, "that leaves out scales and biases"),
        Mistake((735 - 4 * 10) // (64 + 10 + 4), 0.5, "scales and biases take four bytes each for every output"),
        Mistake((735 - 4 * 10) // (4 * 74 + 4), 0.25, "that is for float32 weights"),
    ])

# %% [markdown]
# ## 3. What nothing beats
#
# Train ten candidates and you have ten points of bytes and error. A point is **dominated** if another one is no worse in
# both and better in one. What is left is the Pareto front: everything else can be forgotten without asking what is more
# important.
#
# **Exercise 3.1** The indices of the points that are not dominated, in ascending order. Smaller is better in every
# coordinate, of which there may be any number. Of equal points all stay.

# %% solution="pareto"
#| export
def pareto(points):
    """Indices of the points (lists of numbers, smaller is better) that no other point dominates, ascending."""
    ### BEGIN SOLUTION
    points = [tuple(p) for p in points]
    return [i for i, p in enumerate(points)
            if not any(q != p and all(a <= b for a, b in zip(q, p, strict=True)) for q in points)]
    ### END SOLUTION


# %% check="pareto" points=4
check("pareto", [case([[1, 9], [2, 3], [3, 3], [9, 1]]), case([[1, 1], [1, 1]]), case([])], compare="value")

# %% hidden="pareto"
def cases(rng):
    for n, d in ((8, 2), (15, 2), (12, 3)):
        yield case(rng.integers(0, 9, (n, d)).tolist(), behaviour="what nothing beats")
        yield case(rng.normal(size=(n, d)).tolist(), behaviour="what nothing beats")
    yield case([[2, 2], [2, 2], [2, 3], [1, 4]], behaviour="ties in one coordinate, equal points")
    yield case([[1, 5], [1, 4], [1, 4]], behaviour="ties in one coordinate, equal points")
    yield case([[3], [1], [2], [1]], behaviour="one coordinate, one point")
    yield case([[4, 4]], behaviour="one coordinate, one point")


# %% [markdown]
# ## 4. Build
#
# The task: 8 × 8 pixels as 64 numbers, ten classes, 1,000 labelled examples. In grading the pixels are in another order
# and the classes have other names, different in each case, and accuracy is measured on the examples that you did not
# get. The four budgets, in bytes, FLOP and accuracy:
#
# | track | bytes | FLOP | accuracy | think of |
# |---|---|---|---|---|
# | cloud | 16,000 | 30,000 | 95 % | a shared cache, where many models wait |
# | edge | 8,000 | 15,000 | 94.5 % | a camera |
# | mobile | 4,000 | 8,000 | 94 % | a keyboard |
# | tiny | 735 | 1,300 | 93.5 % | a sensor with two kilobytes, most of them taken |
#
# **Exercise 4.1** `build`. Any way is right that keeps its budget: width, depth, precision, pruning of whole units, a
# teacher. It gets 1,000 examples and about five seconds. The same seed must give the same network. A plan to begin with:
# compute from the budget what fits, train it in float32, and quantise at the end. `trained` and `quantised`, below your
# function, do the last two; you may change them. On one of the tracks that plan fails, and the reason is not the training:
# compare candidates on examples that you hold back.

# %% solution="build"
#| export
def build(x, y, budget, seed=0):
    """A network for rows x (N, 64), float32, and labels y (N,) from 0 to 9, that keeps a budget of bytes and FLOP."""
    ### BEGIN SOLUTION
    inputs, classes = x.shape[1], 10
    by_bytes = (budget["bytes"] - 8 * classes) // (inputs + classes + 8)
    by_flop = budget["flop"] // (2 * (inputs + classes))
    width = int(min(by_bytes, by_flop, 128))
    candidates = [widths for widths, fits in (((inputs, classes), True), ((inputs, width, classes), width > 0)) if fits]
    if len(candidates) == 1 or width >= 24:
        return quantised(trained(x, y, candidates[-1], seed))
    # Narrow: whether a hidden layer of this width is better than none is asked of examples held back.
    held = len(x) // 5
    scores = [float((run(quantised(trained(x[held:], y[held:], widths, seed)), x[:held]).argmax(axis=1) == y[:held]).mean())
              for widths in candidates]
    return quantised(trained(x, y, candidates[int(np.argmax(scores))], seed))
    ### END SOLUTION


def trained(x, y, widths, seed, epochs=25):
    """A float32 model of Linear layers of these widths, ReLUs between them, trained on rows x and labels y."""
    rng, layers = np.random.default_rng(seed), []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [Linear(a, b, rng=rng), ReLU()]
    model = Sequential(*layers[:-1])
    rate = 4e-3 if len(widths) > 2 else 2e-2
    optimizer = Adam(model.parameters(), lr=rate, weight_decay=1e-4)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - epoch / epochs) + 1e-4
        order = rng.permutation(len(x))
        for batch in np.split(order, range(50, len(order), 50)):
            optimizer.zero_grad()
            cross_entropy(model(Tensor(x[batch])), y[batch]).backward()
            optimizer.step()
    return model


def quantised(model):
    """The network of a model of Linear layers: int8 weights with a scale for each output, float32 biases."""
    layers = []
    for layer in (m for m in model.modules() if isinstance(m, Linear)):
        weight = layer.weight.numpy()
        scales = np.maximum(np.abs(weight).max(axis=1), 1e-12) / 127
        layers.append({"weight": np.rint(weight / scales[:, None]).astype(np.int8), "scales": scales.astype(np.float32),
                       "bias": layer.bias.numpy().astype(np.float32)})
    return {"layers": layers}


# %%
def task(seed):
    """1,000 examples to learn from, and the 797 others to be judged by, with shuffled pixels and renamed classes."""
    rng = np.random.default_rng(seed)
    (a, b), (c, d) = datasets.digits()
    x, y = np.concatenate([a, c]).reshape(-1, 64), np.concatenate([b, d])
    x, y = x[:, rng.permutation(64)], rng.permutation(10)[y]
    order = rng.permutation(len(y))
    return (x[order[:1000]], y[order[:1000]]), (x[order[1000:]], y[order[1000:]])


def plain_run(network, x):
    """What `run` computes, for the judge."""
    for k, layer in enumerate(network["layers"]):
        scale = 1 if layer["scales"] is None else layer["scales"].astype("float32")[:, None]
        x = x @ (layer["weight"].astype("float32") * scale).T + layer["bias"].astype("float32")
        x = np.maximum(x, 0) if k + 1 < len(network["layers"]) else x
    return x


def is_network(network):
    """Whether it is made of arrays in the allowed dtypes and fits itself: 64 inputs, ten classes."""
    width = 64
    for layer in network["layers"]:
        weight, scales, bias = layer["weight"], layer["scales"], layer["bias"]
        fits = weight.ndim == 2 and weight.shape[1] == width and bias.shape == weight.shape[:1]
        if not fits or weight.dtype not in ("int8", "float16", "float32") or (scales is not None and scales.shape != weight.shape[:1]):
            return False
        width = weight.shape[0]
    return width == 10 and bool(network["layers"])


def in_bytes(network):
    return sum(a.nbytes for layer in network["layers"] for a in layer.values() if a is not None)


def in_flop(network):
    return 2 * sum(layer["weight"].size for layer in network["layers"])


def right(network, seed):
    x, y = task(seed)[1]
    return float((plain_run(network, x).argmax(axis=1) == y).mean())


# %% check="build" points=12
def built(track, seed):
    """The network for a track, and on one of them whether the same seed gives it again."""
    (x, y), _ = task(seed)
    network = build(x.copy(), y.copy(), dict(BUDGETS[track]), seed)
    network = {"layers": [{name: layer[name] for name in ("weight", "scales", "bias")} for layer in network["layers"]]}
    if track == "mobile":
        again = build(x.copy(), y.copy(), dict(BUDGETS[track]), seed)
        network["again"] = all(np.array_equal(a[name], b[name]) for a, b in zip(network["layers"], again["layers"], strict=True)
                               for name in ("weight", "scales", "bias") if a[name] is not None)
    return network

check("build", [case("mobile", 1)], call=built, compare=None, properties=[
    prop("be a network of the allowed arrays", lambda out, track, seed: is_network(out)),
    prop("keep the budget of bytes", lambda out, track, seed: in_bytes(out) <= BUDGETS[track]["bytes"]),
    prop("keep the budget of FLOP", lambda out, track, seed: in_flop(out) <= BUDGETS[track]["flop"]),
    prop("reach the accuracy on examples that it did not see", lambda out, track, seed: right(out, seed) >= BUDGETS[track]["accuracy"]),
    prop("be the same network for the same seed", lambda out, track, seed: out.get("again", True)),
])

# %% hidden="build"
def cases(rng):
    for track in ("mobile", "cloud", "edge", "tiny"):
        yield case(track, int(rng.integers(10, 1 << 20)), behaviour=f"the {track} track")


# %% [markdown]
# Predict: **which accuracy, in percent**, does your tiny network reach on a task that it has not seen (the mean of three)?

# %% predict="tiny_accuracy" points=1
# predict("tiny_accuracy", "number", low="number", high="number")
### BEGIN SOLUTION
predict("tiny_accuracy", "95", low="93", high="97")
### END SOLUTION

# %% show
print("track      bytes of budget       FLOP of budget       accuracy   missed")
networks = {}
for track, budget in BUDGETS.items():
    scores = []
    for seed in (101, 102, 103):
        network = build(*task(seed)[0], dict(budget), seed)
        scores.append(right(network, seed))
    networks[track] = network
    found = {**weight_of(network), "accuracy": float(np.mean(scores))}
    print(f"{track:8} {found['bytes']:8,} {found['bytes'] / budget['bytes']:8.0%}   {found['flop']:10,} "
          f"{found['flop'] / budget['flop']:8.0%}   {found['accuracy']:10.1%}   {missed(found, budget) or 'nothing'}")
    if track == "tiny":
        reveal("tiny_accuracy", f"{100 * found['accuracy']:.4g}")

# %% [markdown]
# The tiny track is where the plan fails. The widest network with a hidden layer that fits has 7 units, and reads fewer
# digits than one layer without any, which has almost the same bytes: seven numbers are too few for ten classes to pass
# through. More layers are not more. And 720 bytes without a hidden layer come within two points of the cloud network: try it
# on the other tracks. Whether those points are worth fifteen times the FLOP is what a budget is for.
#
# ## 5. What a device would take
#
# The tiny network on a microcontroller, as MLSys·im predicts it; nothing was run there, and the table says so. Kit k01
# runs such a network on the instruction level.

# %% show
from mlsysim import tinyml, units
from mlsysim.models.nets import Net, Stack


def dense_net(inputs, widths):
    """A stack of dense layers as MLSys·im knows networks."""
    stack = Stack((inputs,))
    for width in widths:
        stack.linear(width)
    return Net("capstone", "digits", lambda: stack.layers, inputs, "this notebook", "2026", "tiny")


print("a prediction for int8 kernels, from cycles per multiply-add of each core")
for device in ("atmega328p", "nrf52840", "stm32l4r5"):
    net = dense_net(64, [layer["weight"].shape[0] for layer in networks["tiny"]["layers"]])
    result = tinyml.predict(net, device)
    print(f"{device:12} {units.format(float(result.seconds), 's'):>10}   {units.format(float(result.energy), 'J'):>10}")

# %% [markdown]
# ## 6. A report
#
# A claim is a ratio with an interval: "1.8 times faster (1.7 to 1.9)". If the interval holds 1, nothing may be claimed.
#
# **Exercise 6.1** The words for a ratio of old to new time and its interval: "1.80 times faster (1.70 to 1.90)" if the
# interval is above 1; "1.25 times slower (1.11 to 1.43)" if it is below, with all three inverted and the ends in order;
# otherwise "no difference shown (0.95 to 1.10)". Two decimals.
#
# **Exercise 6.2** The report: Markdown with a title line `# name`, an empty line, a table with the header
# `| track | bytes | FLOP | accuracy | missed |`, the line below it `|---|---|---|---|---|`, and a row for each entry
# [track, found, budget]: bytes and FLOP with separators of thousands and in percent of the budget, `1,200 (80 %)`,
# accuracy with one decimal as `94.1 %`, and what is missed, as `bytes x 1.20, accuracy x 2.00`, or `nothing`. Percent of the
# budget without decimals. No line at the end but the last row's.

# %% solution="claim"
#| export
def claim(ratio, low, high):
    """What may be said of a ratio of old to new time with the interval low to high."""
    ### BEGIN SOLUTION
    if low > 1:
        return f"{ratio:.2f} times faster ({low:.2f} to {high:.2f})"
    if high < 1:
        return f"{1 / ratio:.2f} times slower ({1 / high:.2f} to {1 / low:.2f})"
    return f"no difference shown ({low:.2f} to {high:.2f})"
    ### END SOLUTION


# %% solution="report"
#| export
def report(name, entries):
    """A Markdown table of entries [track, found, budget], with what each misses."""
    ### BEGIN SOLUTION
    lines = [f"# {name}", "", "| track | bytes | FLOP | accuracy | missed |", "|---|---|---|---|---|"]
    for track, found, budget in entries:
        shares = [f"{found[key]:,} ({100 * found[key] / budget[key]:.0f} %)" for key in ("bytes", "flop")]
        lacking = ", ".join(f"{what} x {factor:.2f}" for what, factor in missed(found, budget)) or "nothing"
        lines.append(f"| {track} | {shares[0]} | {shares[1]} | {100 * found['accuracy']:.1f} % | {lacking} |")
    return "\n".join(lines)
    ### END SOLUTION


# %% check="claim" points=3
check("claim", [case(1.8, 1.7, 1.9), case(0.8, 0.7, 0.9), case(1.02, 0.95, 1.1)], compare="value")

# %% hidden="claim"
def cases(rng):
    for _ in range(3):
        ratio = float(rng.uniform(1.2, 4))
        yield case(ratio, ratio * 0.9, ratio * 1.1, behaviour="faster")
        yield case(1 / ratio, 0.95 / ratio, 1.05 / ratio, behaviour="slower, inverted")
    for low, high in ((0.9, 1.3), (1.0, 1.2), (0.8, 1.0)):
        yield case((low * high) ** 0.5, low, high, behaviour="an interval that holds 1 claims nothing")


# %% check="report" points=5
def plain_missed(found, budget):
    """What `missed` gives, so that each function is judged by itself."""
    rows = [[k, found[k] / budget[k]] for k in ("bytes", "flop") if found[k] > budget[k]]
    if found["accuracy"] < budget["accuracy"]:
        left = 1 - budget["accuracy"]
        rows.append(["accuracy", (1 - found["accuracy"]) / left if left else math.inf])
    return rows

def reported(name, entries):
    kept = globals().get("missed")
    globals()["missed"] = plain_missed
    try:
        return report(name, [list(entry) for entry in entries])
    finally:
        globals()["missed"] = kept

EXAMPLE = {"bytes": 1200, "flop": 2560, "accuracy": 0.941}
check("report", [
    case("Digits", [["tiny", EXAMPLE, {"bytes": 1500, "flop": 2600, "accuracy": 0.9}]]),
    case("Digits", [["tiny", EXAMPLE, {"bytes": 1000, "flop": 2600, "accuracy": 0.97}]]),
], call=reported, compare="value")

# %% hidden="report"
def cases(rng):
    def entry(track):
        return [track, some_numbers(rng, 900, 20_000), some_numbers(rng, 900, 20_000)]

    for n in (1, 3, 4):
        yield case(f"Team {n}", [entry(f"track {k}") for k in range(n)], behaviour="a row for each, with what it misses")
    kept = {"bytes": 10, "flop": 10, "accuracy": 0.95}
    yield case("Just met", [["tiny", kept, kept]], behaviour="nothing missed, nothing there")
    yield case("Empty", [], behaviour="nothing missed, nothing there")


# %% [markdown]
# Your own report, and a claim: is the network that you quantised faster or slower on this machine than the same one in
# float32? `run` converts weights at each call. Predict the ratio: **float32 time over int8 time** for the cloud network on 64
# rows (above 1: int8 is faster).

# %% predict="int8_ratio" points=1
# predict("int8_ratio", "number", low="number", high="number")
### BEGIN SOLUTION
predict("int8_ratio", "0.7", low="0.3", high="1.2")
### END SOLUTION

# %% show
x = task(101)[1][0][:64]
small = networks["cloud"]
wide = {"layers": [{"weight": layer["weight"].astype("float32") * (1 if layer["scales"] is None else layer["scales"][:, None]),
                    "scales": None, "bias": layer["bias"].astype("float32")} for layer in small["layers"]]}
found = compare(lambda: run(wide, x), lambda: run(small, x), rounds=60)
reveal("int8_ratio", f"{found.ratio:.3g}")
entries = [[track, {**weight_of(network), "accuracy": right(network, 103)}, BUDGETS[track]] for track, network in networks.items()]
print(report("My capstone", entries))
print("\nint8 in place of float32:", claim(found.ratio, found.low, found.high))
print("one row through the tiny network:", measure(lambda: run(networks["tiny"], x[:1]), seconds=0.05))

# %% [markdown]
# ## 7. Decide
#
# Answer in your own words in the cell below. This is the decision log of the course's last piece of work.

# %% [markdown] rubric="decision_log" points=8
# For one of the four tracks: (a) which alternatives you tried, at least three, with bytes, FLOP and accuracy of each, and
# which of them the Pareto front left; (b) what you chose and which budget binds it, by its factor; (c) what you would do
# with twice the bytes, and with half of them; (d) one claim about time that you do **not** make, and why; (e) what may go
# wrong when it runs on the device, and how you would notice. Half a page.
#
# ### BEGIN MARK SCHEME
# * 2 points: three alternatives with measured numbers, and the front named correctly.
# * 2 points: the choice follows from the numbers; the binding budget is the one with the largest used share, and said so.
# * 2 points: (c) is specific (width, depth, precision) and consistent with the numbers; not "a larger network".
# * 1 point: a claim left out for a reason of measurement (interval holds 1, other hardware, conversion in `run`).
# * 1 point: a risk that is about this model (clipped inputs, other pixel scaling, drift of handwriting) and a signal that
#   would show it.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# A budget is read before anything is trained. One function that computes what fits is worth more than four models tuned by
# hand. What nothing beats is chosen from, and what was measured is claimed. That is engineering.
#
# | here | in the field |
# |---|---|
# | budgets of bytes, FLOP and accuracy | MLPerf Tiny, Mobile and Inference; service-level objectives |
# | `build` for any budget | hardware-aware architecture search, once-for-all networks |
# | `pareto` | every design review that is worth its time |
# | `report`, `claim` | what the Olympics of this course re-run and publish |
#
# The framework is yours now. Make it better, and measure it.
