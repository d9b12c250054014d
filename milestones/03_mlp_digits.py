"""Digits (Rumelhart, Hinton and Williams 1986)

1,797 handwritten digits of 8 x 8 pixels. A network with one hidden layer learns to read four fifths of them by backpropagation
and is tested on the rest, beside a network without the hidden layer that is trained alike.
"""

import numpy as np

import tinytorch as tt
from mlsysbook.milestones import Gate, Run, main
from tinytorch import datasets

HIDDEN, EPOCHS, BATCH, RATE = 128, 30, 32, 1e-3
DATA_IMAGES = 6000, 1000                # of other sets, to learn from and to be tested on

GATES = (
    Gate("accuracy on 359 new digits", at_least=0.955),
    Gate("loss on 359 new digits", at_most=0.15),
    Gate("gained by the hidden layer", at_least=0.003),
)
DATA_GATES = (Gate("gained by the hidden layer", at_least=0),)


def digits(data=None):
    """Pixels as floats from 0 to 1 and labels -> (train_x (N, 64), train_y (N,)), (test_x, test_y), and the shape of an image."""
    sets = datasets.images(data, *DATA_IMAGES) if data else datasets.digits()
    return tuple((x.reshape(len(x), -1), y) for x, y in sets), sets[0][0].shape[1:]


def network(rng, hidden, pixels=64):
    """One layer, or two with a ReLU between them."""
    if not hidden:
        return tt.Sequential(tt.Linear(pixels, 10, rng=rng))
    return tt.Sequential(tt.Linear(pixels, hidden, rng=rng), tt.ReLU(), tt.Linear(hidden, 10, rng=rng))


def evaluate(model, x, y):
    """Loss and accuracy on a whole set, and the logits (N, 10) as an array. In NumPy: what is tested does not measure itself."""
    with tt.no_grad():
        logits = model(tt.Tensor(x)).numpy()
    z = logits - logits.max(axis=1, keepdims=True).astype(float)
    return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y])), float((logits.argmax(axis=1) == y).mean()), logits


def train(model, train_set, test_set, epochs, seed, progress):
    """Adam on mini-batches -> loss and accuracy on the test set before training and after each epoch."""
    loader = tt.DataLoader(tt.TensorDataset(*map(tt.Tensor, train_set)), batch_size=BATCH, shuffle=True, seed=seed)
    history = [evaluate(model, *test_set)[:2]]  # the first use of no_grad loads autograd, before anything is to be recorded
    optimizer = tt.Adam(model.parameters(), lr=RATE)
    for epoch in range(epochs):
        for x, y in loader:
            loss = tt.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        history.append(evaluate(model, *test_set)[:2])
        progress(epoch + 1, epochs, f"accuracy {history[-1][1]:.1%}")
    return history


def run(seed=0, *, epochs=EPOCHS, shuffled=False, data=None, progress=lambda done, total, text: None):
    """shuffled: learn from labels in another order. data: a folder with other images. -> Run"""
    rng = np.random.default_rng(seed)
    ((x, y), test_set), shape = digits(data)
    y = rng.permutation(y) if shuffled else y
    models = {"one layer": network(rng, 0, x.shape[1]), "two layers": network(rng, HIDDEN, x.shape[1])}
    history = {name: np.array(train(model, (x, y), test_set, epochs, seed, progress), float) for name, model in models.items()}
    logits = evaluate(models["two layers"], *test_set)[2]
    (loss, accuracy), new = history["two layers"][-1], f"{len(test_set[1])} new {'images' if data else 'digits'}"
    measured = {
        f"accuracy on {new}": float(accuracy),
        f"loss on {new}": float(loss),
        "accuracy before training": float(history["two layers"][0, 1]),
        "accuracy without the hidden layer": float(history["one layer"][-1, 1]),
        "gained by the hidden layer": float(accuracy - history["one layer"][-1, 1]),
        f"{'images' if data else 'digits'} misread": int((logits.argmax(axis=1) != test_set[1]).sum()),
        "parameters": sum(p.numel() for p in models["two layers"].parameters()),
    }
    return Run(measured, {"history": history, "logits": logits, "test": test_set, "shape": shape})


def picture(image):
    """An image (C, H, W) as it is drawn: ink is dark, colours are themselves."""
    return 1 - image[0] if len(image) == 1 else image.transpose(1, 2, 0)


def draw(figure, run):
    left, right = figure.subplots(1, 2)
    for (name, history), style in zip(run.shown["history"].items(), ("--", "-"), strict=True):
        left.plot(100 * (1 - history[:, 1]), style, label=name)
    left.set(xlabel="epoch", yscale="log", title="digits misread, percent")
    left.set_yticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    left.legend()
    (x, y), logits = run.shown["test"], run.shown["logits"]
    wrong = np.flatnonzero(logits.argmax(axis=1) != y)
    for k, i in enumerate(wrong[:10]):
        row, column = divmod(k, 5)
        right.text(column * 9 + 3.5, row * 13 - 1, f"{y[i]} read as {logits[i].argmax()}", ha="center", va="bottom", fontsize=7)
        right.imshow(picture(x[i].reshape(run.shown["shape"])), cmap="gray", vmin=0, vmax=1,
                     extent=(column * 9 - 0.5, column * 9 + 7.5, row * 13 + 7.5, row * 13 - 0.5))
    right.set(xlim=(-1, 45), ylim=(22, -4), title="the first of those misread by two layers")
    right.axis("off")


if __name__ == "__main__":
    main(globals())
