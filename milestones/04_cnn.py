"""Convolutions (LeCun, Bottou, Bengio and Haffner 1998)

The 1,797 digits of 8 x 8 pixels, each put anywhere in a field of 12 x 12. A network of two convolutions and one linear layer learns
them, beside two networks without convolutions: one with as many parameters, one with as much arithmetic. Two more runs say where
its gain comes from: the pixels of all images in another order, and filters that stay as they were drawn.
"""

import numpy as np

import tinytorch as tt
from mlsysbook.milestones import Gate, Run, main
from tinytorch import datasets

FIELD, DIGIT = 12, 8
PLACES = FIELD - DIGIT + 1              # along each axis
EPOCHS, BATCH, RATE = 15, 32, 3e-3
DATA_IMAGES, DATA_EPOCHS = (3000, 500), 7      # of other sets, whose images are larger
CONVOLUTIONAL, PARAMETERS, ARITHMETIC = "convolutions", "dense, as many parameters", "dense, as much arithmetic"
SCRAMBLED, FROZEN = "convolutions, pixels in another order", "convolutions, filters as drawn"

GATES = (
    Gate("accuracy of convolutions", at_least=0.88),
    Gate("gained over dense, as many parameters", at_least=0.07),
    Gate("lost when the pixels are in another order", at_least=0.1),
    Gate("gained by learning the filters", at_least=0.25),
)
DATA_GATES = (Gate("gained over dense, as many parameters", at_least=0),)


def placed(x, down, right):
    """Digits (N, C, 8, 8) in empty fields, so many pixels down and right, arrays (N,) -> (N, C, 12, 12)."""
    (n, channels, *_, width), side = x.shape, np.arange(x.shape[3])
    field = np.zeros((n, width + PLACES - 1, width + PLACES - 1, channels), np.float32)
    field[np.arange(n)[:, None, None], (down[:, None] + side)[:, :, None], (right[:, None] + side)[:, None]] = x.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(field.transpose(0, 3, 1, 2))


def convolutional(rng, channels=1, field=FIELD):
    return tt.Sequential(tt.Conv2d(channels, 16, 3, padding=1, rng=rng), tt.ReLU(), tt.MaxPool2d(2),
                         tt.Conv2d(16, 32, 3, padding=1, rng=rng), tt.ReLU(), tt.MaxPool2d(2),
                         tt.Flatten(), tt.Linear(32 * (field // 4)**2, 10, rng=rng))


def dense(rng, hidden, pixels):
    return tt.Sequential(tt.Flatten(), tt.Linear(pixels, hidden, rng=rng), tt.ReLU(), tt.Linear(hidden, 10, rng=rng))


def size(model):
    return sum(p.numel() for p in model.parameters())


def arithmetic(model, field):
    """Multiplications for one image: each weight once for each place at which it is used."""
    places = iter((field**2, (field // 2)**2))
    return sum(m.weight.numel() * (next(places) if m.weight.ndim == 4 else 1) for m in model if hasattr(m, "weight"))


def models(rng, channels, field):
    """The five networks by name. The dense ones have the hidden units that come nearest to what they are to have as much of."""
    cnn, pixels = convolutional(rng, channels, field), channels * field**2
    per_unit = pixels + 10
    made = {CONVOLUTIONAL: cnn, PARAMETERS: dense(rng, max(round((size(cnn) - 10) / (per_unit + 1)), 1), pixels),
            ARITHMETIC: dense(rng, round(arithmetic(cnn, field) / per_unit), pixels),
            SCRAMBLED: convolutional(rng, channels, field), FROZEN: convolutional(rng, channels, field)}
    for layer in made[FROZEN]:
        if isinstance(layer, tt.Conv2d):
            layer.requires_grad_(False)
    return made


def predict(model, images):
    """The likeliest digit of each image. In NumPy: what is tested does not measure itself."""
    with tt.no_grad():
        return model(tt.Tensor(images)).numpy().argmax(axis=1)


def everywhere(model, x, y, order):
    """The accuracy at each place of the field -> array (PLACES, PLACES)."""
    at = [[placed(x, np.full(len(x), i), np.full(len(x), j)) for j in range(PLACES)] for i in range(PLACES)]
    return np.array([[(predict(model, reordered(images, order)) == y).mean() for images in row] for row in at])


def reordered(images, order):
    return np.ascontiguousarray(images.reshape(len(images), -1)[:, order]).reshape(images.shape)


def train(model, x, y, order, epochs, seed, tell):
    """Adam on mini-batches, every digit at another place in each epoch; the same ones for every model."""
    rng = np.random.default_rng([seed, 1])
    with tt.no_grad():                  # loads autograd, before anything is to be recorded
        optimizer = tt.Adam([p for p in model.parameters() if p.requires_grad], lr=RATE)
    for epoch in range(epochs):
        fields = reordered(placed(x, *rng.integers(0, PLACES, (2, len(x)))), order)
        for batch in np.array_split(rng.permutation(len(x)), max(len(x) // BATCH, 1)):
            loss = tt.cross_entropy(model(tt.Tensor(fields[batch])), tt.Tensor(y[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        tell(epoch + 1)


def run(seed=0, *, epochs=EPOCHS, shuffled=False, data=None, progress=lambda done, total, text: None):
    """shuffled: learn from labels in another order. data: a folder with other images. -> Run"""
    rng = np.random.default_rng(seed)
    (x, y), test_set = datasets.images(data, *DATA_IMAGES) if data else datasets.digits()
    epochs = min(epochs, DATA_EPOCHS) if data else epochs
    y = rng.permutation(y) if shuffled else y
    channels, field = x.shape[1], x.shape[3] + PLACES - 1
    known, other = np.arange(channels * field**2), rng.permutation(channels * field**2)
    made = models(rng, channels, field)
    accuracy = {}
    for k, (name, model) in enumerate(made.items()):
        order = other if name == SCRAMBLED else known
        train(model, x, y, order, epochs, seed, lambda done, k=k, name=name: progress(k * epochs + done, len(made) * epochs, name))
        accuracy[name] = everywhere(model, *test_set, order)
    mean = {name: float(a.mean()) for name, a in accuracy.items()}
    cnn = mean[CONVOLUTIONAL]
    measured = {
        "accuracy of convolutions": cnn,
        f"accuracy of {PARAMETERS}": mean[PARAMETERS],
        f"accuracy of {ARITHMETIC}": mean[ARITHMETIC],
        "gained over dense, as many parameters": cnn - mean[PARAMETERS],
        "gained over dense, as much arithmetic": cnn - mean[ARITHMETIC],
        "lost when the pixels are in another order": cnn - mean[SCRAMBLED],
        "gained by learning the filters": cnn - mean[FROZEN],
        **{f"parameters, {name}": size(made[name]) for name in (CONVOLUTIONAL, PARAMETERS, ARITHMETIC)},
        **{f"multiplications for an image, {name}": arithmetic(made[name], field) for name in (CONVOLUTIONAL, PARAMETERS, ARITHMETIC)},
    }
    return Run(measured, {"accuracy": accuracy, "filters": made[CONVOLUTIONAL][0].weight.numpy()[:, 0],
                          "new": f"{len(test_set[1])} {'images' if data else 'digits'}"})


def draw(figure, run):
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    names = list(run.shown["accuracy"])
    for k, name in enumerate(reversed(names)):
        values = 100 * run.shown["accuracy"][name].ravel()
        left.plot(values, np.full(len(values), k) + np.linspace(-0.2, 0.2, len(values)), "o", markersize=3, alpha=0.6)
        left.text(values.mean(), k + 0.32, f"{values.mean():.1f}", ha="center", va="bottom", fontsize=7)
    left.set_yticks(range(len(names)), [n.replace(", ", ",\n") for n in reversed(names)])
    left.set(xlim=(0, 102), ylim=(-0.5, len(names) - 0.2), xlabel=f"percent of {run.shown['new']} read; a dot for each of 25 places")
    filters = run.shown["filters"]
    most = abs(filters).max()
    for k, image in enumerate(filters):
        row, column = divmod(k, 4)
        right.imshow(image, cmap="gray", vmin=-most, vmax=most,
                     extent=(4 * column - 0.5, 4 * column + 2.5, 4 * row + 2.5, 4 * row - 0.5))
    right.set(xlim=(-1, 15), ylim=(15, -1), title="filters of the first layer")
    right.axis("off")


if __name__ == "__main__":
    main(globals())
