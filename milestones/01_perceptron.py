"""Perceptron (Rosenblatt 1958)

A threshold unit says +1 where w . x > 0 and -1 elsewhere. The rule: on a mistake add y x to w. If some line separates the
points, the rule ends after at most (R / margin)^2 mistakes (Novikoff 1962), where R is the length of the longest x and the
margin is the distance of the nearest point from the line. On XOR no line does, and the rule goes round in a circle.
"""

import math

import numpy as np

import tinytorch as tt
from mlsysbook.milestones import Gate, Run, main

POINTS, MARGIN, EPOCHS = 200, 0.05, 200
MARGINS = (0.4, 0.2, 0.1, 0.05, 0.025)  # of the sets whose mistakes are held against the bound
XOR = [[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], [-1, 1, 1, -1]     # inputs with a 1 for the bias, labels

GATES = (
    Gate("mistakes in the last pass", at_most=0),
    Gate("mistakes / bound, largest", at_most=1, exact=True),
    Gate("accuracy on 1,000 new points", at_least=0.97),
    Gate("XOR: best accuracy on the way", at_most=0.75, exact=True),
    Gate("XOR: passes until the weights repeat", at_least=1, at_most=EPOCHS, exact=True),
)


def points(rng, n, line, margin):
    """n points of the unit disc, no nearer than margin to a line -> inputs (n, 3), whose last column is 1, and labels (n,)."""
    found = np.empty((0, 2))
    while len(found) < n:
        drawn = rng.uniform(-1, 1, (4 * n, 2))
        kept = (np.hypot(*drawn.T) <= 1) & (np.abs(drawn @ line[:2] + line[2]) >= margin)
        found = np.concatenate([found, drawn[kept]])
    x = np.column_stack([found[:n], np.ones(n)])
    return x, np.sign(x @ line)


def random_line(rng):
    """Coefficients (3,) of a line near the centre of the disc; the first two are a unit vector."""
    angle = rng.uniform(0, 2 * math.pi)
    return np.array([math.cos(angle), math.sin(angle), rng.uniform(-0.3, 0.3)])


def bound(x, y, line):
    """The most mistakes that the rule can make on points that this line separates."""
    margin = (y * (x @ line)).min() / np.linalg.norm(line)
    return (np.linalg.norm(x, axis=1).max() / margin) ** 2


def perceptron(x, y, epochs, start=(0.0, 0.0, 0.0), progress=lambda done, total, text: None):
    """Rosenblatt's rule, until a pass has no mistake -> weights (D,) at first and after each mistake, mistakes of each pass."""
    signed, w = list(tt.Tensor(y[:, None] * x)), tt.Tensor(start, "float64")
    weights, mistakes = [w.tolist()], []
    for epoch in range(epochs):
        before = len(weights)
        for yx in signed:
            if (w @ yx).item() <= 0:
                w.add_(yx)
                weights.append(w.tolist())
        mistakes.append(len(weights) - before)
        progress(epoch + 1, epochs, f"{mistakes[-1]} mistakes")
        if not mistakes[-1]:
            break
    return weights, mistakes


def accuracy(x, y, w):
    return (tt.Tensor(y) * (tt.Tensor(x) @ tt.Tensor(w, "float64")) > 0).mean().item()


def circle(weights, mistakes):
    """Passes after which the weights from before a pass come back, so that the rule never ends; 0 if they do not."""
    starts = [tuple(weights[n]) for n in np.cumsum([0, *mistakes])]
    repeats = (n - starts.index(w) for n, w in enumerate(starts) if starts.index(w) < n)
    return int(next(repeats, 0))


def run(seed=0, *, epochs=EPOCHS, shuffled=False, progress=lambda done, total, text: None):
    """shuffled: learn from labels in another order. -> Run"""
    rng = np.random.default_rng(seed)
    sets = []
    for margin in MARGINS:
        line = random_line(rng)
        x, y = points(rng, POINTS, line, margin)
        learnt = rng.permutation(y) if shuffled else y
        weights, mistakes = perceptron(x, learnt, epochs, progress=progress)
        sets.append({"line": line, "x": x, "y": learnt, "w": weights[-1], "mistakes": mistakes, "bound": bound(x, y, line)})
    main_set = sets[MARGINS.index(MARGIN)]
    x, y = points(rng, 1000, main_set["line"], MARGIN)
    corners, xor = (np.array(v, float) for v in XOR)
    weights, mistakes = perceptron(corners, xor, epochs, start=rng.integers(-3, 4, 3))
    measured = {
        "passes": len(main_set["mistakes"]),
        "mistakes": sum(main_set["mistakes"]),
        "Novikoff's bound": main_set["bound"],
        "mistakes in the last pass": main_set["mistakes"][-1] if main_set["mistakes"] else POINTS,
        "mistakes / bound, largest": max(sum(s["mistakes"]) / s["bound"] for s in sets),
        "accuracy on 1,000 new points": accuracy(x, y, main_set["w"]),
        "XOR: best accuracy on the way": max(accuracy(corners, xor, w) for w in weights),
        "XOR: passes until the weights repeat": circle(weights, mistakes),
    }
    return Run(measured, {"sets": sets, "main": main_set})


def draw(figure, run):
    left, right = figure.subplots(1, 2)
    s = run.shown["main"]
    for label, colour, mark in ((1, "tab:blue", "o"), (-1, "tab:orange", "s")):
        left.scatter(*s["x"][s["y"] == label, :2].T, s=8, c=colour, marker=mark, label=f"{label:+d}")
    for w, style, name in ((s["line"], "--", "drew the labels"), (s["w"], "-", "was learnt")):
        along = np.array([[w[1], -w[0]], [-w[1], w[0]]]) * 1.2 / np.hypot(w[0], w[1])
        left.plot(*(along - np.multiply(w[:2], w[2]) / (w[0] ** 2 + w[1] ** 2)).T, style, color="black", lw=1, label=name)
    left.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal", title=f"{POINTS} points, {sum(s['mistakes'])} mistakes")
    left.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    right.loglog(MARGINS, [s["bound"] for s in run.shown["sets"]], "k--", label="bound (R / margin)²")
    right.loglog(MARGINS, [max(1, sum(s["mistakes"])) for s in run.shown["sets"]], "o-", label="mistakes")
    right.set_xticks(MARGINS, [f"{m:g}" for m in MARGINS])
    right.minorticks_off()
    right.set(xlabel="margin of the set", title="mistakes until none is left")
    right.legend()


if __name__ == "__main__":
    main(globals())
