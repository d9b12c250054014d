# %% [markdown]
# # Lab V1-10: Compression Frontier
#
# A trained network is larger than it has to be. Most of its weights can be set to zero, and those that stay can be rounded
# to a few bits, before it reads noticeably worse. Its file may shrink to a tenth. Does it get ten times as fast? That
# depends on what a pass waits for, and for the commonest way of pruning the answer is the same on every machine.
#
# **Afterwards you can** prune and quantise a network, count what it takes in real bytes, draw the frontier of accuracy
# against size, and say which kind of compression speeds up which machine, and which none.
#
# **How to work.** You train a network with TinyTorch in this notebook, in less than a second; its integer products are those
# of TinyTorch's kernels. Three times you bet before you look. Three functions are yours, each followed by a check with
# worked examples; hidden cases are run when the lab is graded. Four answers use numbers of your own. A decision and a few
# sentences close it. The panel has sliders; without a mouse, Tab reaches them and the arrow keys move them. Times are
# measured on your machine to be looked at; nothing is graded by them. Allow fifty-five minutes.

# %%
from functools import lru_cache

import numpy as np

import tinytorch as tt
import tinytorch.autograd
from mlsysbook import answer, case, check, decision, explore, measure, pick, predict, reveal, scenario, slider, variant
from mlsysim import compress, device, model, solve, tinyml, units
from tinytorch.backend import kernel, set_threads
from tinytorch.datasets import digits

PLACES = dict(
    cloud={
        "title": "A letter centre",
        "story": "Forms are read in a data centre by a wide network; beside it Llama 3.1 8B writes answers on one H100, token by token.",
        "hidden": 512,
        "epochs": 10,
        "network": "llama-3.1-8b",
        "device": "h100",
        "precision": "fp16",
        "shape": {"tokens": 1, "context": 1024},
    },
    edge={
        "title": "A sorting machine",
        "story": "A board in the machine reads digits; beside it ResNet-50 looks at parcels on a Jetson Orin Nano.",
        "hidden": 256,
        "epochs": 15,
        "network": "resnet-50",
        "device": "jetson-orin-nano",
        "precision": "fp16",
        "shape": {},
    },
    mobile={
        "title": "A banking app",
        "story": "A phone reads transfer slips; beside it Qwen2.5 0.5B fills in forms, token by token.",
        "hidden": 128,
        "epochs": 15,
        "network": "qwen2.5-0.5b",
        "device": "iphone-15-pro",
        "precision": "fp16",
        "shape": {"tokens": 1, "context": 256},
    },
    tiny={
        "title": "A meter that reads itself",
        "story": "A chip on a water meter reads its digits; beside it MobileNetV1 looks for leaks on a MAX78000, in 8 bits.",
        "hidden": 32,
        "epochs": 20,
        "network": "mobilenet-v1-0.25",
        "device": "max78000",
        "precision": "int8",
        "shape": {},
    },
)
(LEARN, LABELS), (NEW, NEW_LABELS) = ((x.reshape(len(x), -1), y) for x, y in digits())
SHARES = np.arange(0, 19) * 0.05  # of the weights, set to zero
BITS = (32, 8, 4, 3, 2)


@lru_cache(maxsize=4)
def trained(hidden, epochs):
    """A network of 64, `hidden` and 10 units -> [(weight, bias), (weight, bias)], float32 arrays.

    In float64, so that the order in which a processor adds does not reach the third figure: the same weights everywhere.
    """
    rng = np.random.default_rng(0)
    net = tt.Sequential(
        tt.Linear(64, hidden, rng=rng, dtype=tt.float64), tt.ReLU(), tt.Linear(hidden, 10, rng=rng, dtype=tt.float64)
    )
    optimizer, x = tt.Adam(net.parameters(), lr=2e-3), LEARN.astype(np.float64)
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for i in range(0, len(x), 64):
            some = order[i : i + 64]
            loss = tt.cross_entropy(net(tt.Tensor(x[some])), tt.Tensor(LABELS[some]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    arrays = [p.numpy().astype(np.float32) for p in net.parameters()]
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def product(a, b, kind=np.float32, name="gemm"):
    """a @ b by a kernel of TinyTorch."""
    out = np.empty((len(a), b.shape[1]), kind)
    kernel(name)(np.ascontiguousarray(a), np.ascontiguousarray(b), out)
    return out


@lru_cache(maxsize=256)
def _compressed(track, how):
    place = PLACES[track]
    return compress(place["network"], place["device"], precision=place["precision"], **dict(how), **place["shape"])


def compress_time(track, **how):
    """MLSys·im's result for the network that runs beside yours on a track, compressed."""
    return _compressed(track, tuple(sorted(how.items())))


# %% variants
import itertools

from mlsysbook import Decision, Key, Mistake

KNOBS = ("compute", "memory bandwidth", "launch")
PLANS = dict(
    cloud=(
        ("llama-3.1-8b", "h100", {"tokens": 1, "context": 1024}),
        ("llama-3.1-8b", "h100", {"tokens": 2048}),
        ("mobilenet-v2", "h100", {}),
        ("llama-3.1-8b", "l4", {"tokens": 1, "context": 1024}),
        ("bert-large", "l4", {"tokens": 384, "batch": 64}),
        ("bert-base", "h100", {"tokens": 128}),
    ),
    edge=(
        ("vit-b-16", "jetson-agx-orin", {}),
        ("llama-3.2-1b", "jetson-orin-nano", {"tokens": 1, "context": 512}),
        ("resnet-50", "raspberry-pi-5", {}),
        ("llama-3.2-1b", "jetson-agx-orin", {"tokens": 1, "context": 512}),
        ("mobilenet-v2", "raspberry-pi-5", {}),
        ("llama-3.2-3b", "jetson-agx-orin", {"tokens": 1, "context": 512}),
    ),
    mobile=(
        ("resnet-50", "iphone-15-pro", {}),
        ("vit-b-16", "tensor-g3", {}),
        ("qwen2.5-0.5b", "iphone-15-pro", {"tokens": 1, "context": 256}),
        ("vit-b-16", "dimensity-9300", {}),
        ("efficientnet-b0", "iphone-15-pro", {}),
        ("resnet-50", "tensor-g3", {}),
    ),
    tiny=(
        ("ds-cnn", "stm32f746", {}),
        ("autoencoder", "esp32-s3", {}),
        ("resnet-8", "nrf52840", {}),
        ("autoencoder", "ethos-u55-128", {}),
        ("mobilenet-v1-0.25", "stm32h743", {}),
        ("ds-cnn", "ethos-u65", {}),
    ),
)
# share of zeros and bits, for which the network as trained, pruned alone, quantised alone and both read differently well
BOTH = dict(
    cloud=((0.75, 2), (0.8, 2), (0.9, 2)),
    edge=((0.8, 2), (0.85, 2)),
    mobile=((0.7, 2), (0.8, 2), (0.9, 2)),
    tiny=((0.6, 3), (0.65, 2), (0.7, 2), (0.75, 2), (0.8, 2)),
)
ROWS = dict(cloud=(4096, 128), edge=(512, 128), mobile=(128, 128), tiny=(32, 64))


def pool():
    for track, plans in PLANS.items():
        for i, (plan, n) in enumerate(itertools.product(plans, range(4))):
            share, bits = BOTH[track][(i + n) % len(BOTH[track])]
            yield {
                "track": track,
                "rows": ROWS[track][0] * (1 + n % 3),
                "columns": ROWS[track][1],
                "zeros": f"{(31.25, 75, 87.5, 62.5)[(i + n) % 4]:g} %",
                "kept_bits": (8, 4, 16)[(i + 2 * n) % 3],
                "share": f"{100 * share:g} %",
                "bits": bits,
                "channels": f"{(30, 50, 70, 75, 80)[(i + 3 * n) % 5]} %",
                "wanted": f"{((95, 94, 92, 91) if track == 'tiny' else (97, 96, 95, 93))[n]} %",
                "plan": {"network": plan[0], "device": plan[1], "shape": plan[2]},
            }


# %%
here = scenario(**PLACES)
here

# %%
place = PLACES[here.track]
layers = trained(place["hidden"], place["epochs"])
mine = variant()

# %% show
print(f"trained: {' and '.join(str(w.shape) for w, _ in layers)}, {sum(w.nbytes + b.nbytes for w, b in layers):,} B in float32")
for name, value in mine.items():
    print(f"{name:<10} {value}")

# %% [markdown]
# ## 1. Zeros
# The smallest weights of each matrix are set to zero, the rest stay as they are. The network reads 359 digits that it has
# not seen. Which share of the weights can go, in steps of 5 %, before it reads worse by more than two points of a hundred?
# Half of the point is for betting at all, the other half for an interval that is narrow and holds the truth.

# %% predict="removable" points=1 unit="%"
# predict("removable", "... %", low="... %", high="... %")
### BEGIN SOLUTION
def read_without(share):
    (first, a), (second, b) = layers
    cut = []
    for w in (first, second):
        w = w.copy()
        w.flat[np.argsort(np.abs(w), axis=None, kind="stable")[: int(share * w.size + 1e-9)]] = 0
        cut.append(w)
    logits = product(np.maximum(product(NEW, cut[0].T) + a, 0), cut[1].T) + b
    return 100 * float((logits.argmax(axis=1) == NEW_LABELS).mean())


most = 100 * max(float(s) for s in SHARES if read_without(s) >= read_without(0.0) - 2 - 1e-9)
predict("removable", f"{most:.6g} %", low=f"{0.999 * most:.6g} %", high=f"{1.001 * most:.6g} %")
### END SOLUTION

# %% [markdown]
# Write the pruning. Of `share` of all numbers, rounded down, those of smallest magnitude become zero; of two of the same
# magnitude, the one that comes first. Of 1, -3, 2, 1 and a share of 0.5 stay 0, -3, 2, 0; of a share of 0.25 stay 0, -3,
# 2, 1.


# %% solution="prune"
def prune(weight, share):
    """weight with the smallest `share` of its numbers set to zero; the argument stays as it is.

    weight (O, I) float32; share from 0 to below 1 -> (O, I) float32.
    """
    ### BEGIN SOLUTION
    out = weight.copy()
    gone = np.argsort(np.abs(weight), axis=None, kind="stable")[: int(share * weight.size + 1e-9)]
    out.flat[gone] = 0
    return out
    ### END SOLUTION


# %% check="prune" points=4
def pruned(weight, share):
    before = weight.copy()
    out = prune(weight, share)
    return out, bool(np.array_equal(before, weight))


check(
    "prune",
    [
        case(np.array([[1.0, -3.0], [2.0, 1.0]], np.float32), 0.5),
        case(np.array([[1.0, -3.0], [2.0, 1.0]], np.float32), 0.25),
        case(np.array([[0.5, -0.1, 0.2]], np.float32), 0.0),
    ],
    call=pruned,
    rtol=1e-6,
)


# %% hidden="prune"
def cases(rng):
    def matrix():
        return rng.normal(size=rng.integers(3, 12, size=2)).astype(np.float32)

    for share in rng.uniform(0.2, 0.9, size=4):
        yield case(matrix(), float(share), behaviour="the smallest of the whole matrix, of either sign, become zero")
    for share in (0.5, 0.8):
        large = matrix()
        large[0] *= 100  # a row of large numbers loses none, or few
        yield case(large, share, behaviour="rows do not share alike: what is small goes, wherever it is")
    for share in (0.3, 0.55):
        yield case(rng.integers(-2, 3, size=(5, 4)).astype(np.float32), share, behaviour="of equal magnitudes the first go")
    yield case(matrix(), 0.0, behaviour="a share of 0 changes nothing")


# %%
def forward(layers, x):
    """Logits in float32."""
    (first, a), (second, b) = layers
    return product(np.maximum(product(x, first.T) + a, 0), second.T) + b


def accuracy(logits, labels=NEW_LABELS):
    """Share of the digits that are read right, in per cent."""
    return 100 * float((logits.argmax(axis=1) == labels).mean())


def sparse(layers, share):
    """The network with both matrices pruned by your function."""
    return [(prune(w, share), b) for w, b in layers]


# %% key="removable"
@lru_cache(maxsize=8)
def removable(track):
    found = trained(PLACES[track]["hidden"], PLACES[track]["epochs"])
    least = accuracy(forward(found, NEW)) - 2
    return max(float(s) for s in SHARES if accuracy(forward(sparse(found, s), NEW)) >= least - 1e-9)


def key(v):
    return Key(removable(v["track"]), "%")


# %% show
reads = np.array([accuracy(forward(sparse(layers, s), NEW)) for s in SHARES])
reveal("removable", units.format(float(SHARES[reads >= reads[0] - 2 - 1e-9].max()), "%"))
print("zeros   " + "".join(f"{s:>7.0%}" for s in SHARES[::2]))
print("right   " + "".join(f"{r:>6.1f}%" for r in reads[::2]))

# %% [markdown]
# A wide network has weights to spare, a narrow one has fewer. But zeros take as much room as other numbers, unless you leave
# them out and write down where the rest stands. The simplest note is a bit for each place: 1 where a number is kept.
#
# ### Your matrix
# A matrix has `mine["rows"]` rows of `mine["columns"]` numbers, of which `mine["zeros"]` are zeros. Each of the others is
# kept in `mine["kept_bits"]` bits. There is one bit for each place, and one scale of 4 bytes for each row. How many bytes?

# %% answer="stored" points=2
stored = ""  # such as "12.5 kB"
### BEGIN SOLUTION
places = mine["rows"] * mine["columns"]
kept = places * (1 - units.parse(mine["zeros"])[0])
stored = f"{kept * mine['kept_bits'] / 8 + places / 8 + 4 * mine['rows']:.8g} B"
### END SOLUTION


# %% key="stored"
def key(v):
    shape, each, zeros = (v["rows"], v["columns"]), v["kept_bits"], units.parse(v["zeros"])[0]
    kept = np.arange(shape[0] * shape[1]) >= zeros * shape[0] * shape[1]  # counted on arrays that are really there
    numbers = np.packbits(np.ones((int(kept.sum()), each), bool)).nbytes
    places, scales = np.packbits(kept).nbytes, np.zeros(shape[0], np.float32).nbytes
    dense = np.packbits(np.ones((kept.size, each), bool)).nbytes
    return Key(
        numbers + places + scales,
        "B",
        tol=0.005,
        mistakes=(
            Mistake(numbers + scales, 0.5, "nobody could tell where the kept numbers stand: a bit for each place is missing"),
            Mistake(numbers + places, 0.5, "the scales are missing"),
            Mistake(dense - numbers + places + scales, 0.25, "that counts the zeros, not what is kept"),
            Mistake(numbers + 8 * places + scales, 0.25, "a place takes a bit, not a byte"),
        ),
    )


# %% [markdown]
# ## 2. Few bits
# With 4 bits a weight is one of 15 integers from -7 to 7, times a scale. Each row has its own scale, the largest magnitude of
# the row over 7: with a row 0.35, -0.7, 0.1 the scale is 0.1 and the integers are 4 (3.5 rounded to even), -7 and 1. With
# $b$ bits the integers go to $2^{b-1} - 1$. A row of zeros has the scale 1.


# %% solution="quantise"
def quantise(weight, bits):
    """Integers and one scale a row, so that integers times scale are near the weight.

    weight (O, I) float32; bits from 2 to 8 -> (O, I) int8, (O,) float32. Rounds as np.rint does.
    """
    ### BEGIN SOLUTION
    most = 2 ** (bits - 1) - 1
    largest = np.abs(weight).max(axis=1)
    scale = np.where(largest == 0, 1, largest / most).astype(np.float32)
    return np.clip(np.rint(weight / scale[:, None]), -most, most).astype(np.int8), scale
    ### END SOLUTION


# %% check="quantise" points=4
check(
    "quantise",
    [
        case(np.array([[0.35, -0.7, 0.11], [0.0, 0.0, 0.0]], np.float32), 4),
        case(np.array([[2.0, -1.0], [0.3, 0.1]], np.float32), 8),
    ],
    rtol=1e-5,
)


# %% hidden="quantise"
def cases(rng):
    def matrix(rows=6):
        return (rng.normal(size=(rows, int(rng.integers(4, 12)))) * rng.uniform(0.1, 30)).astype(np.float32)

    for bits in (8, 4, 3):
        yield case(matrix(), bits, behaviour="integers and scales of a matrix, any bits")
    yield case(matrix(), 2, behaviour="two bits are three integers")
    for bits in (4, 8):
        spread = matrix() * np.float32(10.0) ** rng.integers(-3, 3, size=(6, 1)).astype(np.float32)
        yield case(spread.astype(np.float32), bits, behaviour="each row has its own scale")
    some = matrix()
    some[[1, 4]] = 0
    yield case(some, 8, behaviour="a row of zeros")


# %% [markdown]
# The sums of such integers are integers too, so the whole product is done without fractions: inputs are rounded to 8 bits
# as they come, TinyTorch's `gemm_int8` multiplies and adds into 32 bits, and one multiplication a number brings the scales
# back. `packed` then keeps a matrix in arrays, in the shorter of two forms: all integers, or only those that are not zero
# and a bit for each place.


# %%
def few_bits(layers, bits):
    """Your integers and scales of both layers, with their biases."""
    return [(*quantise(w, bits), b) for w, b in layers]


def forward_int8(coded, x):
    """Logits with integer products."""
    for i, (codes, scale, bias) in enumerate(coded):
        step = np.float32(np.abs(x).max() / 127)
        x = product(np.rint(x / step).astype(np.int8), codes.T, np.int32, "gemm_int8") * (scale * step) + bias
        x = np.maximum(x, 0) if i == 0 else x
    return x


def packed(weight, bits):
    """The arrays that a matrix is kept in."""
    numbers, scales = (weight, ()) if bits == 32 else quantise(weight, bits)

    def words(x):
        if bits == 32:
            return x.ravel()
        return np.packbits(((x.ravel()[:, None].astype(np.int16) + 2 ** (bits - 1)) >> np.arange(bits) & 1).astype(bool))

    forms = [(words(numbers),), (words(numbers[numbers != 0]), np.packbits(numbers != 0))]
    return (*min(forms, key=lambda arrays: sum(a.nbytes for a in arrays)), np.asarray(scales, np.float32))


def size(layers, bits):
    """Bytes of the network, by nbytes."""
    return sum(a.nbytes for w, b in layers for a in (*packed(w, bits), b))


def reading(layers, bits, x=NEW, labels=NEW_LABELS):
    """Accuracy in per cent with weights of so many bits."""
    return accuracy(forward(layers, x) if bits == 32 else forward_int8(few_bits(layers, bits), x), labels)


# %% show
print(f"{'bits':>5}  {'right':>6}  {'bytes':>8}  {'with 60 % zeros':>16}  {'bytes':>8}")
some_zeros = sparse(layers, 0.6)
for bits in BITS:
    row = f"{reading(layers, bits):>5.1f}%  {size(layers, bits):>8,}  {reading(some_zeros, bits):>15.1f}%  {size(some_zeros, bits):>8,}"
    print(f"{bits:>5}  {row}")

# %% [markdown]
# ### Yours
# Set `mine["share"]` of your network's weights to zero, then quantise them to `mine["bits"]` bits. What share of the new
# digits does it read?

# %% answer="right" points=2
right = ""  # such as "93.2 %"
### BEGIN SOLUTION
right = f"{reading(sparse(layers, units.parse(mine['share'])[0]), mine['bits']):.6g} %"
### END SOLUTION


# %% key="right"
@lru_cache(maxsize=256)
def read_of(track, share, bits):
    return reading(sparse(trained(PLACES[track]["hidden"], PLACES[track]["epochs"]), share), bits) / 100


def key(v):
    share = units.parse(v["share"])[0]
    return Key(
        read_of(v["track"], share, v["bits"]),
        "%",
        tol=0.004,  # a digit and a half
        mistakes=(
            Mistake(read_of(v["track"], 0.0, 32), 0.0, "that is the network as it was trained"),
            Mistake(read_of(v["track"], share, 32), 0.5, "that is pruned and not quantised"),
            Mistake(read_of(v["track"], 0.0, v["bits"]), 0.5, "that is quantised and not pruned"),
        ),
    )


# %% [markdown]
# ## 3. What gets faster?
# Now the network that runs beside yours, `place["network"]` on `place["device"]`, timed by MLSys·im. Two bets. First, 90 % of
# its weights are set to zero, wherever they are. How many times as fast is a pass?

# %% predict="scattered" points=1
# predict("scattered", "...", low="...", high="...")
### BEGIN SOLUTION
predict("scattered", "1", low="1", high="1")
### END SOLUTION


# %% key="scattered"
def key(v):
    return Key(float(compress_time(v["track"], prune=0.9).speedup), "")


# %% [markdown]
# Second, all weights are there, each in 4 bits; the arithmetic stays in the precision that it has. How many times as fast?

# %% predict="narrow" points=1
# predict("narrow", "...", low="...", high="...")
### BEGIN SOLUTION
gain = float(compress_time(here.track, weights="int4").speedup)
predict("narrow", f"{gain:.7g}", low=f"{0.999 * gain:.7g}", high=f"{1.001 * gain:.7g}")
### END SOLUTION


# %% key="narrow"
def key(v):
    return Key(float(compress_time(v["track"], weights="int4").speedup), "")


# %% show
reveal("scattered", f"{float(compress_time(here.track, prune=0.9).speedup):.4g}")
reveal("narrow", f"{float(compress_time(here.track, weights='int4').speedup):.4g}")
print(f"{'':<26} {'as fast':>8}  {'file':>6}")
for name, how in (
    ("90 % scattered zeros", {"prune": 0.9}),
    ("weights in 4 bits", {"weights": "int4"}),
    ("half of the channels", {"prune": 0.5, "pattern": "structured"}),
    ("both of these", {"prune": 0.5, "pattern": "structured", "weights": "int4"}),
):
    found = compress_time(here.track, **how)
    print(f"{name:<26} {float(found.speedup):>7.3g}x  {1 / float(found.ratio):>6.1%}")
print(compress_time(here.track).why())

# %% [markdown]
# A dense kernel multiplies by zero as it does by anything else. Scattered zeros make a smaller file to send and to store, and
# not a quicker pass. Fewer bits help where a pass waits for weights from memory, and only as far as it does. Whole channels
# that are gone make smaller products, which help where a pass computes, unless the hardware is wider than what is left.
#
# ### On your own machine
# Four networks from yours: as trained, with 90 % scattered zeros, with half of the hidden units, and in 8-bit integers. The
# kernels are TinyTorch's, on one thread. The last two rows are the large product of the network alone, without what is around it.


# %%
def narrowed(layers, share):
    """The network without the `share` of its hidden units whose weights are smallest."""
    (first, a), (second, b) = layers
    stay = np.sort(
        np.argsort(np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=0), kind="stable")[int(share * len(a)) :]
    )
    return [(first[stay], a[stay]), (second[:, stay], b)]


# %% show
many = np.tile(NEW, (8, 1))
coded = few_bits(layers, 8)
zeros, half = sparse(layers, 0.9), narrowed(layers, 0.5)
FORMS = (
    ("as trained", layers, 32, lambda: forward(layers, many)),
    ("90 % zeros", zeros, 32, lambda: forward(zeros, many)),
    ("half the units", half, 32, lambda: forward(half, many)),
    ("8 bits", layers, 8, lambda: forward_int8(coded, many)),
)
whole = np.rint(127 * many).astype(np.int8)
ALONE = (
    ("product, float32", lambda: product(many, layers[0][0].T)),
    ("product, 8 bits", lambda: product(whole, coded[0][0].T, np.int32, "gemm_int8")),
)
set_threads(1)  # so that a busy machine measures like a quiet one
RUNS = [form[3] for form in FORMS] + [run for _, run in ALONE]
spent = measure("forms", lambda i: RUNS[i](), at=tuple(range(len(RUNS))), repeat=9)
times = [f"{t / spent.seconds[0]:.2f} of the time" for t in spent.seconds] or ["not measured here"] * len(RUNS)
for (name, net, bits, _), took in zip(FORMS, times, strict=False):
    print(f"{name:<18} {reading(net, bits):>6.1f}%  {size(net, bits):>8,} B  {took}")
for (name, _), took in zip(ALONE, times[len(FORMS) :], strict=True):
    print(f"{name:<38} {took}")

# %% [markdown]
# What stands around a product takes its time as well: rounding the inputs, scaling, adding biases. In a network this small it
# may outweigh what integers save in the product.
#
# ### Your channels
# Of the network beside yours, `mine["channels"]` of the channels are removed, whole (`pattern="structured"`). How many
# times as fast is a pass? `compress_time(here.track, ...)` knows.

# %% answer="faster" points=2
faster = ""  # such as "1.62"
### BEGIN SOLUTION
faster = f"{float(compress_time(here.track, prune=units.parse(mine['channels'])[0], pattern='structured').speedup):.6g}"
### END SOLUTION


# %% key="faster"
def key(v):
    share = units.parse(v["channels"])[0]
    found = compress_time(v["track"], prune=share, pattern="structured")
    return Key(
        float(found.speedup),
        "",
        tol=0.01,
        mistakes=(
            Mistake(
                1 / (1 - share), 0.25, "channels go on both sides of a product, and what does not shrink takes its time as before"
            ),
            Mistake(1 / (1 - share) ** 2, 0.25, "the multiply-adds shrink like that; the time does not"),
            Mistake(float(found.ratio), 0.25, "that is how much the file shrinks"),
        ),
    )


# %% [markdown]
# ## 4. The frontier
# Every pair of a share and a number of bits is a network with a size and an accuracy. Most pairs are not worth a thought:
# another is as small and reads better, or reads as well and is smaller. What is left is the frontier.
#
# Write it. A point is out if another is at most as large *and* at least as accurate, and better in one of the two; of two
# points alike, the first stays. With sizes 4, 2, 3, 2 and accuracies 9, 5, 5, 7 the frontier is the points 3 and 0.


# %% solution="frontier"
def frontier(sizes, accuracies):
    """Indices of the points that no other beats, smallest first.

    sizes, accuracies: sequences of n numbers -> array of int64.
    """
    ### BEGIN SOLUTION
    order = sorted(range(len(sizes)), key=lambda i: (sizes[i], -accuracies[i], i))
    kept, best = [], -np.inf
    for i in order:
        if accuracies[i] > best:
            kept.append(i)
            best = accuracies[i]
    return np.array(kept, np.int64)
    ### END SOLUTION


# %% check="frontier" points=4
check(
    "frontier",
    [case([4, 2, 3, 2], [9.0, 5.0, 5.0, 7.0]), case([1, 2, 3], [1.0, 2.0, 3.0]), case([5, 5], [1.0, 1.0])],
    compare="value",
)


# %% hidden="frontier"
def cases(rng):
    for _ in range(4):
        n = int(rng.integers(12, 30))
        yield case(
            rng.permutation(100)[:n].tolist(),
            rng.permutation(100)[:n].astype(float).tolist(),
            behaviour="what another beats is out",
        )
    for _ in range(3):
        n = int(rng.integers(15, 30))
        yield case(
            rng.integers(1, 7, n).tolist(),
            rng.integers(1, 7, n).astype(float).tolist(),
            behaviour="equal sizes, equal accuracies",
        )
    yield case([3, 1, 2], [1.0, 3.0, 2.0], behaviour="one point beats all")
    yield case([7], [50.0], behaviour="a single point")


# %%
@lru_cache(maxsize=8)
def candidates(hidden, epochs):
    """All networks of the grid -> share, bits, bytes, accuracy of each."""
    rows = []
    for share in SHARES[::2]:
        zeros = sparse(trained(hidden, epochs), share)
        rows += [(float(share), bits, size(zeros, bits), reading(zeros, bits)) for bits in BITS]
    return rows


# %% show
grid = candidates(place["hidden"], place["epochs"])
best = frontier([row[2] for row in grid], [row[3] for row in grid])
for i in best:
    print(f"{grid[i][0]:>4.0%} zeros, {grid[i][1]:>2} bits: {grid[i][2]:>8,} B, {grid[i][3]:.1f}% right")


TICKS = size(layers, 32)


def one(share, bits, cut):
    made = sparse(layers, share) if cut == "weights" else narrowed(layers, share)
    return {"bytes": size(made, bits), "right": reading(made, bits)}


def draw_one(axes, result, settings):
    axes.plot([row[2] for row in grid], [row[3] for row in grid], "o", color="lightgrey", label="all pairs")
    axes.step([grid[i][2] for i in best], [grid[i][3] for i in best], "k-", where="post", label="frontier, by your function")
    axes.plot([result["bytes"]], [result["right"]], "rX", markersize=11, label="this one")
    axes.set(xscale="log", xlabel="bytes", ylabel="read right (%)", ylim=(0, 102), title="Accuracy against size")
    axes.set_xticks([TICKS / 2**k for k in range(5)], [f"{TICKS / 2**k:,.0f}" for k in range(5)])
    axes.minorticks_off()
    axes.legend(loc="lower right")


def say_one(result, settings):
    over = [i for i in best if grid[i][2] <= result["bytes"]]
    beaten = max((grid[i][3] for i in over), default=0.0)
    where = f"the frontier has {beaten:.1f} % for that" if over else "nothing on the frontier is as small"
    return f"{result['bytes']:,} bytes, {result['right']:.1f} % of the new digits read right; {where}."


frontier_panel = explore(
    one,
    {"share": slider(0.0, 0.95, start=0.5, unit="%", steps=19), "bits": pick(*BITS, start=4), "cut": pick("weights", "units")},
    draw=draw_one,
    say=say_one,
)
frontier_panel

# %% [markdown]
# ### The other frontier
# Put time in the place of size, as your machine measures it, and other networks are on the frontier: those with fewer
# units. Scattered zeros take as long as no zeros; where one of them is on this frontier, it is for what it reads.

# %% show
import matplotlib.pyplot as plt

NETS = [
    (f"{1 - cut:.0%} of the units, {bits} bits", narrowed(layers, cut), bits)
    for cut in (0.0, 0.25, 0.5, 0.75)
    for bits in (32, 8)
]
NETS += [(f"{share:.0%} zeros, 32 bits", sparse(layers, share), 32) for share in (0.5, 0.9)]
READY = [few_bits(net, bits) if bits < 32 else net for _, net, bits in NETS]
clock = measure(
    "frontier", lambda i: (forward_int8 if NETS[i][2] < 32 else forward)(READY[i], many), at=tuple(range(len(NETS))), repeat=7
)
if clock.seconds:
    right_of = [reading(net, bits) for _, net, bits in NETS]
    ahead = frontier(clock.seconds, right_of)
    figure, axes = plt.subplots(figsize=(7, 4))
    for marker, some in (("o", [i for i in range(len(NETS)) if "units" in NETS[i][0]]), ("x", [len(NETS) - 2, len(NETS) - 1])):
        axes.plot(
            [1e3 * clock.seconds[i] for i in some],
            [right_of[i] for i in some],
            marker,
            label="zeros" if marker == "x" else "units cut",
        )
    axes.step(
        [1e3 * clock.seconds[i] for i in ahead],
        [right_of[i] for i in ahead],
        "k-",
        where="post",
        label="frontier, by your function",
    )
    axes.set(
        xlabel=f"time of {len(many):,} digits, measured here (ms)",
        ylabel="read right (%)",
        title="Accuracy against time",
        xlim=(0, None),
    )
    axes.legend(loc="lower right")
    plt.show()
    print(
        "Figure: accuracy against measured time; on the frontier, quickest first: "
        + "; ".join(f"{NETS[i][0]}, {units.format(clock.seconds[i], 's')}, {right_of[i]:.1f}%" for i in ahead)
        + "."
    )
else:
    print("not measured here, so there is no frontier of time")

# %% [markdown]
# ### Yours
# The network must read at least `mine["wanted"]` of the new digits. How many bytes does the smallest of the grid take that
# does?

# %% answer="smallest" points=2
smallest = ""  # such as "3.1 kB"
### BEGIN SOLUTION
wanted = 100 * units.parse(mine["wanted"])[0]
smallest = f"{min(row[2] for row in candidates(place['hidden'], place['epochs']) if row[3] >= wanted)} B"
### END SOLUTION


# %% key="smallest"
def key(v):
    at, wanted = PLACES[v["track"]], 100 * units.parse(v["wanted"])[0]
    rows = candidates(at["hidden"], at["epochs"])

    def least(some):
        return min(row[2] for row in some if row[3] >= wanted)

    return Key(
        least(rows),
        "B",
        tol=0.005,
        mistakes=(
            Mistake(least(r for r in rows if r[0] == 0), 0.5, "that is the best without zeros; both together go further"),
            Mistake(least(r for r in rows if r[1] == 32), 0.25, "that is the best without rounding; both together go further"),
        ),
    )


# %% [markdown]
# ## 5. Decide
# `mine["plan"]` is another network on another device, uncompressed. It is to answer sooner, and there is time to try one
# thing. `pass_of(mine["plan"])` is MLSys·im's result for it. If "compute" binds, remove channels or compute in fewer bits; if
# "memory bandwidth" binds, store weights in fewer bits; if "launch" binds, no compression helps, only fewer and larger
# kernels. For microcontrollers MLSys·im counts cycles and calls the first two "instructions per second" and "memory of the
# weights"; `limit_of` translates. Name the limit, three answers of yours that the decision rests on, the alternative that you
# turned down, and what could prove you wrong. Half of the points are for the limit, a third for the answers.


# %%
CALLED = {"instructions per second": "compute", "memory of the weights": "memory bandwidth"}


def pass_of(plan):
    """MLSys·im's result for a pass of a plan: cycles on a microcontroller, operators by shape elsewhere."""
    if device(plan["device"]).tier == "tiny":
        return tinyml.predict(plan["network"], plan["device"])
    return solve(plan["network"], plan["device"], precision="fp16", **plan["shape"])


def limit_of(plan):
    """What binds it: "compute", "memory bandwidth" or "launch"."""
    binding = pass_of(plan).why().binding
    return CALLED.get(binding, binding)


# %% decision="mend" points=4
# mend = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
mend = decision(
    claim="Only what a pass waits for is worth making smaller",
    binding=limit_of(mine["plan"]),
    evidence=("stored", "faster", "smallest"),
    rejected="Scattered zeros shrink the file and leave the time",
    risk="Accuracy after compression is measured here on digits alone",
)
### END SOLUTION


# %% key="mend"
def key(v):
    binding = limit_of(v["plan"])
    said = {
        "memory bandwidth": "fewer bits would be read sooner, but this pass does not wait for reading them",
        "compute": "fewer multiply-adds would be done sooner, but this pass does not wait for them",
    }
    return Decision(binding, KNOBS, {name: text for name, text in said.items() if name != binding})


# %% [markdown] rubric="defend" points=2
# Somebody reports: "We pruned 90 % of the weights, the file is far smaller, and it is not faster. Pruning does not work." Answer
# with two numbers of this lab, one about size and one about time, and say what you would have done instead on the device of
# your plan, and why there. Four sentences at most.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. A size and a time (or speed) of the writer's own lab are given, and the answer says that the zeros are in the file's
#    size and not in the dense kernel's work.
# 2. What is proposed acts on the limit that binds the writer's plan (whole channels or fewer bits in the arithmetic against
#    compute, weights in fewer bits against memory bandwidth, fewer and larger kernels against launch).
# ### END MARK SCHEME
