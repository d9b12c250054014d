"""MLPerf (Reddi et al. 2020, begun in 2018)

One network that reads digits, before and after: with half of its channels, in int8, both, and on kernels instead of NumPy. Each
is put through the scenarios of MLPerf Inference: one query after the other, all at once, and queries that arrive when they like.
Bytes are counted in memory, accuracy is that of the very model that was timed.
"""

import time

import numpy as np

import tinytorch as tt
from mlsysbook.milestones import Gate, Run, main
from tinytorch import datasets
from tinytorch.backend import backend, backend_info, set_threads

EPOCHS, TUNING, BATCH, RATE = 15, 8, 32, 2e-3
CHANNELS, UNITS = (16, 32), 64
QUERIES, REPEATS = 200, 7
BOUND = 5                               # how many service times of the model as trained a query may take, all waiting included
BEFORE, KERNELS, PRUNED, INT8, BOTH = "on NumPy", "as trained", "half the channels", "int8", "half the channels, int8"

GATES = (
    Gate("accuracy as trained", at_least=0.93),
    Gate("accuracy lost, half the channels", at_most=0.04),
    Gate("accuracy lost, int8", at_most=0.01),
    Gate("accuracy lost, half the channels, int8", at_most=0.045),
    Gate("bytes, as trained / int8", at_least=3.3),
    Gate("bytes, as trained / half the channels, int8", at_least=8),
    Gate("largest difference of a logit, kernels and NumPy", at_most=1e-3),
    Gate("offline, half the channels / as trained", at_least=1),
)


def network(rng, channels=CHANNELS, units=UNITS):
    first, second = channels
    return tt.Sequential(tt.Conv2d(1, first, 3, padding=1, rng=rng), tt.ReLU(), tt.MaxPool2d(2),
                         tt.Conv2d(first, second, 3, padding=1, rng=rng), tt.ReLU(), tt.MaxPool2d(2),
                         tt.Flatten(), tt.Linear(4 * second, units, rng=rng), tt.ReLU(), tt.Linear(units, 10, rng=rng))


def train(model, x, y, epochs, rng, tell=lambda epoch: None):
    with tt.no_grad():                  # loads autograd, before anything is to be recorded
        optimizer = tt.Adam(model.parameters(), lr=RATE)
    for epoch in range(epochs):
        for batch in np.array_split(rng.permutation(len(x)), len(x) // BATCH):
            loss = tt.cross_entropy(model(tt.Tensor(x[batch])), tt.Tensor(y[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        tell(epoch + 1)
    return model


def halved(model):
    """The network without that half of the filters and units whose weights add up to least -> a new one."""
    from tinytorch.compression import keep_inputs, keep_outputs  # here, so that it may be the student's

    conv1, conv2, hidden, last = (layer for layer in model if hasattr(layer, "weight"))

    def strongest(layer):
        sums = np.abs(layer.weight.numpy()).reshape(len(layer.weight), -1).sum(axis=1)
        return sorted(np.argsort(-sums, kind="stable")[:len(sums) // 2].tolist())

    first, second, units = map(strongest, (conv1, conv2, hidden))
    conv1 = keep_outputs(conv1, first)
    conv2 = keep_inputs(keep_outputs(conv2, second), first)
    hidden = keep_inputs(keep_outputs(hidden, units), second, span=4)
    last = keep_inputs(last, units)
    return tt.Sequential(conv1, tt.ReLU(), tt.MaxPool2d(2), conv2, tt.ReLU(), tt.MaxPool2d(2), tt.Flatten(), hidden, tt.ReLU(), last)


def logits_of(model, x):
    with tt.no_grad():
        return model(tt.Tensor(x)).numpy()


def timings(models, x):
    """Seconds on one thread, the models in turn -> {name: (of single queries (QUERIES,), of the whole set, the median)}."""
    single, whole = ({name: [] for name in models} for _ in range(2))

    def timed(name, images):
        model, how = models[name]
        with backend(how):
            begun = time.thread_time()
            logits_of(model, images)
            return time.thread_time() - begun

    threads = backend_info().threads
    set_threads(1)                      # the clock is that of one thread
    try:
        for k in range(QUERIES + 5):    # five to warm up
            for name in models:
                single[name].append(timed(name, x[k:k + 1]))
        for _ in range(REPEATS + 1):
            for name in models:
                whole[name].append(timed(name, x))
    finally:
        set_threads(threads)
    return {name: (np.array(single[name][5:]), float(np.median(whole[name][1:]))) for name in models}


def waited(arrivals, service):
    """What each query takes from its arrival to its answer, one server, first come first served -> array."""
    free, took = 0.0, []
    for at, needs in zip(arrivals, service, strict=True):
        free = max(free, at) + needs
        took.append(free - at)
    return np.array(took)


def served(service, bound, rng, queries=2000):
    """The most queries per second, arriving at random (Poisson), of which 99 in 100 are answered within `bound` seconds -> float.

    service: measured times, of which each query takes one at random.
    """
    gaps, takes = rng.exponential(size=queries), rng.choice(service, queries)
    low, high = 0.0, 1 / takes.mean()
    for _ in range(20):
        rate = (low + high) / 2
        within = np.percentile(waited(np.cumsum(gaps / rate), takes), 99) <= bound
        low, high = (rate, high) if within else (low, rate)
    return low


def run(seed=0, *, epochs=EPOCHS, shuffled=False, progress=lambda done, total, text: None):
    """shuffled: learn from labels in another order. -> Run"""
    rng = np.random.default_rng(seed)
    (x, y), (test_x, test_y) = datasets.digits()
    y = rng.permutation(y) if shuffled else y
    tuning = TUNING if epochs else 0
    total = 2 * epochs + 2 * tuning
    trained = train(network(rng), x, y, epochs, rng, lambda done: progress(done, total, "as trained"))
    pruned = train(halved(trained), x, y, tuning, rng, lambda done: progress(epochs + done, total, "half the channels"))
    small = network(rng, [n // 2 for n in CHANNELS], UNITS // 2)
    train(small, x, y, epochs + tuning, rng, lambda done: progress(epochs + tuning + done, total, "half from the start"))
    calibration = [tt.Tensor(x[k:k + 128]) for k in range(0, 512, 128)]
    made = {BEFORE: trained, KERNELS: trained, PRUNED: pruned,
            INT8: tt.quantize_model(trained, calibration), BOTH: tt.quantize_model(pruned, calibration)}
    models = {name: (model.eval(), "reference" if name == BEFORE else "cython") for name, model in made.items()}

    def accuracy(model):
        return float((logits_of(model, test_x).argmax(axis=1) == test_y).mean())

    with backend("reference"):
        plain = logits_of(trained, test_x)
    right = {name: accuracy(model) for name, model in made.items()}
    size = {name: sum(t.nbytes for t in (*model.parameters(), *model.buffers())) for name, model in made.items()}
    times = timings(models, test_x)
    bound = BOUND * float(np.median(times[KERNELS][0]))
    rates = {name: served(single, bound, np.random.default_rng(seed)) for name, (single, _) in times.items()}
    measured = {
        "accuracy as trained": right[KERNELS],
        **{f"accuracy lost, {name}": right[KERNELS] - right[name] for name in (PRUNED, INT8, BOTH)},
        "accuracy of half the channels, from the start": accuracy(small),
        **{f"bytes, {name}": size[name] for name in (KERNELS, PRUNED, INT8, BOTH)},
        **{f"bytes, as trained / {name}": size[KERNELS] / size[name] for name in (INT8, BOTH)},
        "largest difference of a logit, kernels and NumPy": float(abs(logits_of(trained, test_x) - plain).max()),
    }
    shown = {name: {"single stream": 1e6 * float(np.percentile(single, 90)), "offline": len(test_x) / whole, "server": rates[name]}
             for name, (single, whole) in times.items()}
    timed = {
        **{f"single stream, 90th percentile in microseconds, {name}": row["single stream"] for name, row in shown.items()},
        **{f"offline, images per second, {name}": row["offline"] for name, row in shown.items()},
        **{f"server, queries per second, {name}": row["server"] for name, row in shown.items()},
        **{f"offline, {name} / as trained": shown[name]["offline"] / shown[KERNELS]["offline"] for name in (BEFORE, PRUNED, INT8, BOTH)},
    }
    return Run(measured, {"scenarios": shown, "bytes": size, "accuracy": right}, timed)


def draw(figure, run):
    panels = figure.subplots(1, 4, sharey=True)
    rows, names = run.shown["scenarios"], list(run.shown["scenarios"])
    columns = (("kilobytes", [run.shown["bytes"][n] / 1000 for n in names], "{:.1f}"),
               ("single stream,\n90th percentile, µs", [rows[n]["single stream"] for n in names], "{:,.0f}"),
               ("offline,\nimages per second", [rows[n]["offline"] for n in names], "{:,.0f}"),
               ("server,\nqueries per second", [rows[n]["server"] for n in names], "{:,.0f}"))
    for panel, (title, values, form) in zip(panels, columns, strict=True):
        panel.barh(range(len(names)), values, color=["tab:gray", "tab:blue", "tab:orange", "tab:green", "tab:red"])
        for k, value in enumerate(values):
            panel.text(value, k, " " + form.format(value), va="center", fontsize=7)
        panel.set(title=title, xlim=(0, 1.5 * max(values)), xticks=[])
    panels[0].set_yticks(range(len(names)), [f"{n.replace(', ', ',' + chr(10))}\n{run.shown['accuracy'][n]:.1%}" for n in names])
    panels[0].invert_yaxis()


if __name__ == "__main__":
    main(globals())
