# Exported from modules/tinytorch/20_capstone by `mlsys build`; edit the module's source, not this file.

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


def run(network, x):
    """Logits (N, C), float32, of a network on rows x (N, K)."""
    for k, layer in enumerate(network["layers"]):
        weight = layer["weight"].astype(np.float32)
        if layer["scales"] is not None:
            weight = weight * layer["scales"].astype(np.float32)[:, None]
        x = x @ weight.T + layer["bias"].astype(np.float32)
        x = np.maximum(x, 0) if k < len(network["layers"]) - 1 else x
    return x


def weight_of(network):
    """{"bytes": of all arrays, "flop": two for each weight} of a network."""
    arrays = [a for layer in network["layers"] for a in layer.values() if a is not None]
    return {"bytes": sum(a.nbytes for a in arrays), "flop": 2 * sum(layer["weight"].size for layer in network["layers"])}


def missed(found, budget):
    """What a model with found {"bytes", "flop", "accuracy"} misses of a budget -> list of [name, factor above 1]."""
    factors = [[name, found[name] / budget[name]] for name in ("bytes", "flop")]
    error, allowed = 1 - found["accuracy"], 1 - budget["accuracy"]
    if found["accuracy"] < budget["accuracy"]:
        factors.append(["accuracy", error / allowed if allowed > 0 else float("inf")])
    return [[name, float(factor)] for name, factor in factors if factor > 1]


def pareto(points):
    """Indices of the points (lists of numbers, smaller is better) that no other point dominates, ascending."""
    points = [tuple(p) for p in points]
    return [i for i, p in enumerate(points)
            if not any(q != p and all(a <= b for a, b in zip(q, p, strict=True)) for q in points)]


def build(x, y, budget, seed=0):
    """A network for rows x (N, 64), float32, and labels y (N,) from 0 to 9, that keeps a budget of bytes and FLOP."""
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


def claim(ratio, low, high):
    """What may be said of a ratio of old to new time with the interval low to high."""
    if low > 1:
        return f"{ratio:.2f} times faster ({low:.2f} to {high:.2f})"
    if high < 1:
        return f"{1 / ratio:.2f} times slower ({1 / high:.2f} to {1 / low:.2f})"
    return f"no difference shown ({low:.2f} to {high:.2f})"


def report(name, entries):
    """A Markdown table of entries [track, found, budget], with what each misses."""
    lines = [f"# {name}", "", "| track | bytes | FLOP | accuracy | missed |", "|---|---|---|---|---|"]
    for track, found, budget in entries:
        shares = [f"{found[key]:,} ({100 * found[key] / budget[key]:.0f} %)" for key in ("bytes", "flop")]
        lacking = ", ".join(f"{what} x {factor:.2f}" for what, factor in missed(found, budget)) or "nothing"
        lines.append(f"| {track} | {shares[0]} | {shares[1]} | {100 * found['accuracy']:.1f} % | {lacking} |")
    return "\n".join(lines)
