"""XOR (Minsky and Papert 1969)

One threshold unit draws one line, and no line has (0, 1) and (1, 0) on one side and (0, 0) and (1, 1) on the other. For every
choice of weights s(0, 0) + s(1, 1) = s(0, 1) + s(1, 0), where s is the sum that is compared with 0, so the two diagonals cannot
have different signs. A hidden layer can; what was missing was a way to train it. Here autograd does.
"""

import numpy as np

import tinytorch as tt
from mlsysbook.milestones import Gate, Run, main

CORNERS = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
XOR = [0.0, 1.0, 1.0, 0.0]
HIDDEN, EPOCHS, RATE, MOMENTUM = 8, 600, 0.2, 0.9
GRID = np.linspace(-2, 2, 41)           # of each of the three weights of one unit

GATES = (
    Gate("one layer, every weight on a grid: accuracy at best", at_most=0.75, exact=True),
    Gate("one layer: labelings of the corners, of 16", at_most=14, exact=True),
    Gate("one layer, trained: loss", at_least=0.693, exact=True),
    Gate("two layers, trained: corners right", at_least=4),
    Gate("two layers: probability of the right answer, least", at_least=0.9),
)


def every_unit():
    """What one threshold unit says at the corners, for every weight on the grid -> bool array (units, 4)."""
    weights = np.stack(np.meshgrid(GRID, GRID, GRID, indexing="ij"), -1).reshape(-1, 3)
    inputs = np.column_stack([CORNERS, np.ones(4)])
    return (tt.Tensor(weights.round(2)) @ tt.Tensor(inputs).T > 1e-9).numpy()


def network(rng, hidden):
    """One layer, or two with tanh between them."""
    if not hidden:
        return tt.Sequential(tt.Linear(2, 1, rng=rng))
    return tt.Sequential(tt.Linear(2, hidden, rng=rng), tt.Tanh(), tt.Linear(hidden, 1, rng=rng))


def train(model, labels, epochs, progress=lambda done, total, text: None):
    """Gradient descent on all four corners at once -> loss of each step."""
    x, y = tt.Tensor(CORNERS), tt.Tensor(labels).reshape(4, 1)
    optimizer, losses = tt.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM), []
    for epoch in range(epochs):
        loss = tt.binary_cross_entropy_with_logits(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        progress(epoch + 1, epochs, f"loss {losses[-1]:.3f}")
    return losses


def probabilities(model, points):
    """What the model says at points (N, 2): the probability of a 1, as an array (N,)."""
    with tt.no_grad():
        return tt.sigmoid(model(tt.Tensor(points, "float32"))).numpy()[:, 0]


def run(seed=0, *, epochs=EPOCHS, shuffled=False, progress=lambda done, total, text: None):
    """shuffled: learn that the corners of one side are 1, and not those of a diagonal. -> Run"""
    rng, right = np.random.default_rng(seed), np.array(XOR)
    labels = [0.0, 0.0, 1.0, 1.0] if shuffled else XOR
    said = every_unit()
    models, losses, sure = {}, {}, {}
    for name, hidden in (("one layer", 0), ("two layers", HIDDEN)):
        models[name] = network(rng, hidden)
        probabilities(models[name], CORNERS)    # the first use of no_grad loads autograd, before anything is to be recorded
        losses[name] = train(models[name], labels, epochs, progress)
        p = probabilities(models[name], CORNERS)
        sure[name] = np.where(right == 1, p, 1 - p)
    measured = {
        "one layer, every weight on a grid: accuracy at best": float((said == right).mean(axis=1).max()),
        "one layer: labelings of the corners, of 16": len(np.unique(said, axis=0)),
        "one layer, trained: loss": float(-np.log(sure["one layer"]).mean()),
        "two layers, trained: loss": float(-np.log(sure["two layers"]).mean()),
        "two layers, trained: corners right": int((sure["two layers"] > 0.5).sum()),
        "two layers: probability of the right answer, least": float(sure["two layers"].min()),
    }
    side = np.linspace(-0.4, 1.4, 61)
    plane = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    return Run(measured, {"losses": losses, "side": side, "plane": probabilities(models["two layers"], plane).reshape(61, 61)})


def draw(figure, run):
    left, right = figure.subplots(1, 2)
    side, plane = run.shown["side"], run.shown["plane"]
    left.contourf(side, side, plane, levels=[0, 0.5, 1], colors=["#fde3cf", "#cfe0f3"])
    left.contour(side, side, plane, levels=[0.1, 0.5, 0.9], colors="black", linewidths=[0.5, 1.2, 0.5])
    for x, label in zip(CORNERS, XOR, strict=True):
        left.scatter(*x, s=60, c="tab:blue" if label else "tab:orange", marker="o" if label else "s", edgecolors="black")
        left.annotate(f"{label:.0f}", x, xytext=(8, 6), textcoords="offset points")
    left.set(aspect="equal", title="two layers: probability 0.1, 0.5, 0.9")
    for (name, loss), style in zip(run.shown["losses"].items(), ("--", "-"), strict=True):
        right.plot(range(1, len(loss) + 1), loss, style, label=name)
    right.axhline(np.log(2), color="grey", lw=0.5)
    right.set(xlabel="step", title="loss; the grey line is a guess, ln 2", ylim=(0, None))
    right.legend()


if __name__ == "__main__":
    main(globals())
