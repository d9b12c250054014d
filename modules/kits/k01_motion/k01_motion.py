# %% [markdown]
# # Kit 01: Motion on Eight Bits
#
# A box with an accelerometer is to know whether it lies still, rides in a lift, on a ship or in a car. The network that
# tells has 1,500 weights and takes 6 kB in floats. The processor is an ATmega328P: 32 KiB of flash, 2 KiB of RAM, one
# multiplier of 8 × 8 bits, and floats only as a library. So the network has to become integers, all of it.
#
# **Afterwards you can** turn a trained network into int8, with scales, zero points and fixed-point multipliers of your
# own making; predict what it takes on a microcontroller before it runs; measure it; and say where the cycles go.
#
# **How to work.** Run the cells from the top. Train, quantise, export, predict, compile, run, measure, explain, decide:
# six pieces of Python are yours, four predictions are locked before the first measurement, and a kernel in C is the
# stretch goal. Your program is compiled and asked about motions that it never saw. Allow ninety minutes.
#
# **With a board or without.** The cells run on simavr, which counts cycles. For a board start JupyterLab with
# `KITS_TARGET=/dev/ttyACM0 KITS_BOARD=uno`, or `KITS_TARGET=simavr:atmega2560` for the larger chip. Without compilers
# the Python part works, and cells that need more say what is missing; `make kits` installs it.

# %%
import numpy as np

import tinytorch as tt
from boardkit import data, memory_map, plan_model
from boardkit.export import header
from boardkit.measure import measure, table
from boardkit.notebook import attempt, chosen
from boardkit.panels import against_prediction
from boardkit.quantize import QuantLayer, QuantModel, Scale, dense, quantize_layer, round_away
from mlsysbook import Firmware, answer, case, check, decision, predict, prop, reveal, variant
from mlsysim import tinyml
from mlsysim.models.nets import Net, Stack
from tinytorch.layers import manual_seed

TARGET, BOARD = chosen("simavr:atmega328p")
DEVICE, DEVICE_HERE = "atmega328p", "simavr:atmega328p"
SIZES = (63, 20, 10, 4)
STACK = 200  # B that calls and interrupts need below all variables
SPAN = 4.0  # inputs are cut off at so many standard deviations
INPUT = Scale(2 * SPAN / 255, 0)


def network():
    """The classifier for MLSys·im."""
    stack = Stack(SIZES[:1])
    for size in SIZES[1:]:
        stack.linear(size)
    return Net("k01", "motion classifier", lambda: stack.layers, SIZES[0], "this kit", "2026", "tiny")


# %% variants
import itertools

from mlsysbook import Decision, Key, Mistake

LIMITS = ("time", "RAM", "energy")
ROUND = {"plain": (76_000, 350), "fast": (37_000, 350)}  # cycles, bytes: round figures, for choosing plans only
DAY = 86_400  # s


def shares(v):
    """How much of its time, its RAM and its energy a plan takes, by MLSys·im; 1 for all of it."""
    one = tinyml.predict(network(), DEVICE, kernels=v["kernels"], clock=v["clock_MHz"] * 1e6)
    return {"time": v["rate"] * float(one.seconds), "RAM": (v["other_ram"] + one.memory + STACK) / one.capacity,
            "energy": v["rate"] * DAY * float(one.energy) / v["joules_a_day"]}


def pool():
    found = {name: [] for name in LIMITS}
    for kernels, clock, rate, other, joules in itertools.product(
            ("plain", "fast"), (1, 4, 8), (0.5, 2, 6, 10, 20, 50), (300, 700, 1_100, 1_250), (20, 60, 180, 540, 1_600)):
        cycles, memory = ROUND[kernels]
        each = (rate * cycles / (clock * 1e6), (other + memory + STACK) / 2_048, rate * DAY * cycles * 2.875e-9 / joules)
        first, second, third = sorted(each, reverse=True)
        if 0.45 < first < 0.95 and first > 1.35 * second and second > 1.15 * third and third > 0.01:
            found[LIMITS[each.index(first)]].append(
                {"kernels": kernels, "clock_MHz": clock, "rate": rate, "other_ram": other, "joules_a_day": joules})
    for name in LIMITS:
        step = max(1, len(found[name]) // 8)
        yield from found[name][::step][:8]


# %%
mine = variant()

# %% [markdown]
# ## 1. Motions, and a network in floats
# `data.motions` computes windows of two seconds from the physics: a floor that hums, the jerk of a lift, waves after
# Pierson and Moskowitz, roads after ISO 8608, each through the same sensor with its noise and its skew. From each axis
# `spectral_features` takes four moments and 17 bins of a spectrum: 63 numbers. They are scaled by mean and deviation of
# the training set and cut off at ±4 deviations, so that the range of the input is known.

# %%
train, test = data.motions(600, 1), data.motions(200, 2)
raw = data.spectral_features(train.x)
MEAN, DEVIATION = raw.mean(axis=0), raw.std(axis=0) + 1e-6


def inputs(windows):
    """Windows (N, T, 3) in m/s² -> inputs of the network (N, 63), float64."""
    return np.clip((data.spectral_features(windows) - MEAN) / DEVIATION, -SPAN, SPAN).astype(np.float64)


x_train, x_test = inputs(train.x), inputs(test.x)
manual_seed(0)
net = tt.Sequential(tt.Linear(63, 20), tt.ReLU(), tt.Linear(20, 10), tt.ReLU(), tt.Linear(10, 4))
loader = tt.DataLoader(tt.TensorDataset(tt.Tensor(x_train.astype("float32")), tt.Tensor(train.y)), batch_size=32, shuffle=True, seed=0)
tt.Trainer(net, tt.CrossEntropyLoss(), tt.Adam(net.parameters(), lr=5e-3), progress=False).fit(loader, 10)
PARAMETERS = [p.numpy().astype(np.float64) for p in net.parameters()]
LAYERS = list(zip(PARAMETERS[::2], PARAMETERS[1::2], strict=True))  # (weight (O, I), bias (O,)) of each layer


def activations(x):
    """Float outputs of each layer, after its ReLU where it has one -> list of (N, O)."""
    outputs = []
    for i, (weight, bias) in enumerate(LAYERS):
        x = x @ weight.T + bias
        x = np.maximum(x, 0) if i < len(LAYERS) - 1 else x
        outputs.append(x)
    return outputs


# %% show
right = (activations(x_test)[-1].argmax(axis=1) == test.y).mean()
print(f"{', '.join(train.classes)}: {right:.1%} of {len(test)} new windows right, in floats")
print(f"weights: {sum(w.size for w, _ in LAYERS):,}, biases: {sum(b.size for _, b in LAYERS)}")

# %% [markdown]
# ## 2. A number in eight bits
# A real number $r$ is stored as an integer $q$: $r = s\,(q - z)$, with a **scale** $s$ and a **zero point** $z$. The
# 256 values of int8 are to cover the range from low to high, and 0 must be one of them, exactly, since a ReLU and a
# border of zeros mean exactly 0. From −1 to 3: the scale is 4 / 255, and −1 is to be stored as −128, so $z = -128 +
# 255/4 = -64.25$, to the nearest −64.
#
# Write both. The range is widened to hold 0 if it does not. `round_away` rounds to the nearest, halves away from zero,
# as C does; `np.rint` is another function. A range of nothing but 0 has scale 1 and zero point 0.
#
# Then the integers of an array: divide, round, shift by the zero point, and cut off what int8 does not hold. −1.0
# becomes −128 and so does −7.0; an integer that wraps around instead turns the most violent motion into its opposite.


# %% solution="scale_of"
def scale_of(low, high):
    """Scale, a float, and zero point, an int from -128 to 127, for reals from low to high."""
    ### BEGIN SOLUTION
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if low == high:
        return 1.0, 0
    scale = (high - low) / 255
    return scale, int(np.clip(round_away(-128 - low / scale), -128, 127))
    ### END SOLUTION


# %% check="scale_of" points=2
check("scale_of", [case(-1.0, 3.0), case(0.0, 2.55), case(0.5, 5.1)], compare="value",
      forbid=("boardkit.quantize.scale_of",))


# %% hidden="scale_of"
def cases(rng):
    for _ in range(5):
        yield case(float(-rng.uniform(0.1, 9)), float(rng.uniform(0.1, 9)), behaviour="ranges on both sides of 0")
    for _ in range(3):
        yield case(float(rng.uniform(0.5, 2)), float(rng.uniform(3, 9)), behaviour="ranges that miss 0 are widened")
        yield case(float(-rng.uniform(3, 9)), float(-rng.uniform(0.5, 2)), behaviour="ranges that miss 0 are widened")
    yield case(0.0, 0.0, behaviour="nothing but 0")


# %% solution="quantise"
def quantise(real, scale, zero):
    """Reals, an array -> int8 of the same shape, to the nearest, halves away from zero, cut off at both ends.

    scale: a number, or an array that broadcasts.
    """
    ### BEGIN SOLUTION
    return np.clip(round_away(real / scale) + zero, -128, 127).astype(np.int8)
    ### END SOLUTION


# %% check="quantise" points=3
check("quantise", [
    case(np.array([-1.0, 0.0, 3.0, -7.0]), 4 / 255, -64),
    case(np.array([0.5, 1.5, -0.5, 2.5]), 1.0, 0),
    case(np.array([[1.0, 2.0], [1.0, 2.0]]), np.array([[0.5], [0.25]]), 0),
], forbid=("Scale", "boardkit.quantize.Scale"))


# %% hidden="quantise"
def cases(rng):
    for zero in (0, -64, 17):
        yield case(rng.uniform(-1, 1, (3, 5)), 0.02, zero, behaviour="to the nearest, then shifted")
    yield case((rng.integers(-40, 40, 12) + 0.5) * 0.25, 0.25, 3, behaviour="halves go away from zero")
    yield case(np.array([-2.5, -1.5, -0.5, 0.5]), 1.0, 0, behaviour="halves go away from zero")
    yield case(rng.uniform(50, 900, 6) * rng.choice([-1, 1], 6), 0.05, -20, behaviour="cut off at both ends")
    yield case(np.array([-1e12, 1e12]), 0.001, 0, behaviour="cut off at both ends")
    yield case(rng.normal(size=(3, 4)), rng.uniform(0.01, 0.1, (3, 1)), 0, behaviour="a scale for each row")


# %% [markdown]
# ## 3. A factor without floats
# A layer sums products of integers, $\sum_i (x_i - z_x)\,w_i + b$, and this sum has scale $s_x s_w$. The output has
# scale $s_y$, so the sum is to be multiplied by $M = s_x s_w / s_y$, which is no integer and mostly well below 1. It
# becomes a 32-bit integer and a shift:
#
# $$M = m \cdot 2^{e - 31}, \qquad 2^{30} \le m < 2^{31}$$
#
# 0.3 is 0.6 × 2⁻¹, so $m$ = 0.6 × 2³¹ = 1288490189 and $e$ = −1. `np.frexp(0.3)` gives (0.6, −1). Round with
# `round_away`. One trap: a fraction just below 1 rounds to $m = 2^{31}$, which 32 bits do not hold; halve it and count
# one up. Zero is (0, 0).
#
# Applying it takes two roundings (the semantics of gemmlowp and of TensorFlow Lite):
#
# 1. if $e > 0$: $a \leftarrow a\,2^{e}$, cut off to the range of int32;
# 2. $a \leftarrow (a\,m + 2^{30}) \gg 31$, in 64 bits: to the nearest, halves upwards;
# 3. if $e < 0$: divide by $2^{-e}$, to the nearest, **halves away from zero**.
#
# With $m = 2^{30}$ and $e = 0$, a half: 5 becomes 3 and −5 becomes −2. Every bit of this is compared with the C on the
# chip, so no float may enter; a right shift of a negative integer rounds down, in NumPy as on an AVR.


# %% solution="multiplier_of"
def multiplier_of(real):
    """A factor of 0 or more -> (m, e), two ints: real = m 2^(e - 31), with m from 2^30 to 2^31 - 1, or (0, 0)."""
    ### BEGIN SOLUTION
    if real == 0:
        return 0, 0
    fraction, exponent = np.frexp(real)
    m, e = int(round_away(fraction * 2**31)), int(exponent)
    return (2**30, e + 1) if m == 2**31 else (m, e)
    ### END SOLUTION


# %% check="multiplier_of" points=3
check("multiplier_of", [case(0.3), case(1.0), case(0.0), case(1 - 2.0**-40)], compare="value",
      forbid=("boardkit.quantize.quantize_multiplier",))


# %% hidden="multiplier_of"
def cases(rng):
    for _ in range(5):
        yield case(float(10 ** rng.uniform(-5, -0.1)), behaviour="factors below 1")
    for _ in range(2):
        yield case(float(rng.uniform(1.5, 60)), behaviour="factors above 1, and powers of two")
    for n in (-7, -1, 1, 4):
        yield case(2.0**n, behaviour="factors above 1, and powers of two")
    for n in (-3, 0, 2):
        yield case(2.0**n * (1 - 2.0**-36), behaviour="a fraction that rounds up to 1")
    yield case(0.0, behaviour="zero")


# %% solution="requantise"
def requantise(sums, m, e):
    """int64 array of int32 sums times m 2^(e - 31), rounded twice as above -> int64 array. m, e: ints, or arrays that broadcast."""
    ### BEGIN SOLUTION
    sums, m, e = (np.asarray(a, dtype=np.int64) for a in (sums, m, e))
    a = np.clip(sums << np.maximum(e, 0), -(2**31), 2**31 - 1)
    a = (a * m + (1 << 30)) >> 31
    right = np.maximum(-e, 0)
    half = (np.int64(1) << right) >> 1
    return np.sign(a) * ((np.abs(a) + half) >> right)
    ### END SOLUTION


# %% check="requantise" points=4
check("requantise", [
    case(np.array([5, -5, 4, -4]), 2**30, 0),
    case(np.array([12, -12, 10, -10, 1000]), 2**30, -2),
    case(np.array([[100, -100], [100, -100]]), np.array([1288490189, 2**30]), np.array([-1, 1])),
], forbid=("boardkit.quantize.requantize",))


# %% hidden="requantise"
def cases(rng):
    for e in (-1, -4, -9):
        yield case(rng.integers(-60_000, 60_000, 20), int(rng.integers(2**30, 2**31)), e, behaviour="sums of a layer")
    yield case(rng.integers(-9, 9, 8) * 8 + 4, 2**30, -2, behaviour="halves in the second rounding, both signs")
    yield case(np.arange(-40, 41), 2**30, -3, behaviour="halves in the second rounding, both signs")
    yield case(2 * rng.integers(-500, 500, 12) + 1, 2**30, 0, behaviour="halves in the first rounding, both signs")
    yield case(np.arange(-6, 7), 2**30, 0, behaviour="halves in the first rounding, both signs")
    yield case(rng.integers(2**29, 2**31, 4) * rng.choice([-1, 1], 4), 2**30 + 12345, 3, behaviour="cut off where it leaves 32 bits")
    yield case(rng.integers(-9000, 9000, (4, 3)), rng.integers(2**30, 2**31, 3), np.array([-3, 0, 2]),
               behaviour="a factor for each channel")


# %% [markdown]
# ## 4. A layer
# Weights are int8 from −127 to 127 with zero point 0, and each **output channel**, a row, has a scale of its own: its
# largest magnitude over 127, or 1/127 where all are 0. The bias is int32 at the scale of the sum, $s_x s_w$. Each
# channel has its factor.


# %% solution="layer_constants"
def layer_constants(weight, bias, scale_in, scale_out):
    """weight (O, I), bias (O,), reals -> weight int8 (O, I), bias int32 (O,), m int32 (O,), e int8 (O,)."""
    ### BEGIN SOLUTION
    largest = np.abs(weight).max(axis=1)
    scales = np.where(largest > 0, largest, 1.0) / 127
    factors = [multiplier_of(scale_in * s / scale_out) for s in scales]
    m, e = np.array(factors, dtype=np.int64).T
    return (quantise(weight, scales[:, None], 0), round_away(bias / (scale_in * scales)).astype(np.int32), m.astype(np.int32),
            e.astype(np.int8))
    ### END SOLUTION


# %% check="layer_constants" points=3 covers="layer_constants,quantise,multiplier_of"
check("layer_constants", [
    case(np.array([[1.27, -0.5], [0.1, 0.127]]), np.array([0.3, -0.3]), 0.05, 0.1),
    case(np.array([[0.0, 0.0, 0.0]]), np.array([1.0]), 0.5, 0.25),
], forbid=("quantize_layer", "boardkit.quantize.quantize_layer", "boardkit.quantize.quantize_weight"))


# %% hidden="layer_constants"
def cases(rng):
    for o, i in ((4, 6), (3, 3), (7, 2)):
        rows = rng.uniform(0.01, 3, (o, 1))
        yield case(rng.normal(size=(o, i)) * rows, rng.normal(size=o), float(rng.uniform(0.01, 0.1)), float(rng.uniform(0.05, 0.5)),
                   behaviour="each row at its own scale")
    yield case(-np.abs(rng.normal(size=(2, 5))), rng.normal(size=2), 0.02, 0.3, behaviour="rows that are negative, or 0")
    yield case(np.zeros((2, 3)), rng.normal(size=2), 0.02, 0.3, behaviour="rows that are negative, or 0")


# %% [markdown]
# Your functions make the whole network. The range of a layer's output is what the training set spans; a ReLU is a lower
# bound at the zero point.


# %%
def build(layers=LAYERS, calibrate=x_train):
    """The network in integers, by your functions -> QuantModel of boardkit, which exports it and computes it in NumPy."""
    scale, zero = INPUT.scale, INPUT.zero
    made = []
    for i, ((weight, bias), output) in enumerate(zip(layers, activations(calibrate), strict=True)):
        scale_out, zero_out = scale_of(output.min(), output.max())
        w, b, m, e = layer_constants(weight, bias, scale, scale_out)
        last = i == len(layers) - 1
        made.append(QuantLayer(
            kind="dense", in_shape=(1, 1, weight.shape[1]), out_shape=(1, 1, weight.shape[0]), input=Scale(scale, zero),
            output=Scale(scale_out, zero_out), weight=w, bias=b, multiplier=m, shift=e, low=-128 if last else zero_out))
        scale, zero = scale_out, zero_out
    return QuantModel(name="motion", layers=tuple(made), labels=train.classes)


def integers(model, x):
    """Outputs (N, 4) for int8 inputs (N, 63), by your `requantise`; what the chip must answer."""
    for layer in model.layers:
        sums = (x.astype(np.int64) - layer.input.zero) @ layer.weight.astype(np.int64).T + layer.bias
        x = np.clip(requantise(sums, layer.multiplier, layer.shift) + layer.output.zero, layer.low, layer.high)
    return x.astype(np.int8)


# %% show
model = build()
q_test = quantise(x_test, INPUT.scale, INPUT.zero)
print(f"in floats  {(activations(x_test)[-1].argmax(axis=1) == test.y).mean():.1%} of new windows right")
print(f"in int8    {(integers(model, q_test).argmax(axis=1) == test.y).mean():.1%}")
print(plan_model(model))

# %% [markdown]
# The arena is where activations live: a layer's input may be overwritten once its output is complete.
#
# ## 5. Predict
# `header(model)` writes constants and a function `model_run` as C; `kits/sketches/serve` takes vectors over the line
# and answers. Before it is compiled: what will it take? MLSys·im knows kernels in plain C on this core, with constants
# fitted to other layers than these.

# %% show
print(tinyml.predict(network(), DEVICE, kernels="plain"))

# %% [markdown]
# That is a model and not a measurement. Lock what you believe: the time of one inference at 16 MHz, the flash of the
# whole program, its RAM without the stack, and the energy of one inference at the power above. How far do you trust the
# model? The interval says it: half of each point is for locking, half for an interval that is narrow and holds the
# truth.

# %% predict="latency" points=1 unit="s"
# predict("latency", "... ms", low="... ms", high="... ms")
### BEGIN SOLUTION
predict("latency", "4.78 ms", low="4.75 ms", high="4.82 ms")
### END SOLUTION

# %% predict="flash" points=1 unit="B"
# predict("flash", "... B", low="... B", high="... B")
### BEGIN SOLUTION
predict("flash", "5636 B", low="5610 B", high="5660 B")
### END SOLUTION

# %% predict="ram" points=1 unit="B"
# predict("ram", "... B", low="... B", high="... B")
### BEGIN SOLUTION
predict("ram", "362 B", low="360 B", high="365 B")
### END SOLUTION

# %% predict="energy" points=1 unit="J"
# predict("energy", "... uJ", low="... uJ", high="... uJ")
### BEGIN SOLUTION
predict("energy", "220 uJ", low="218.5 uJ", high="221.5 uJ")
### END SOLUTION


# %% key="latency"
# Of the reference solution, by simavr 1.6, arduino:avr 1.8.7 and avr-gcc 5.4.0. tests/kits/test_notebooks.py counts them again.
SIMULATED = {"cycles": 76_760, "flash": 5_634, "ram": 363}


def key(v):
    return Key(SIMULATED["cycles"] / 16e6, "s")


# %% key="flash"
def key(v):
    return Key(SIMULATED["flash"], "B")


# %% key="ram"
def key(v):
    return Key(SIMULATED["ram"], "B")


# %% key="energy"
def key(v):
    power = float(tinyml.predict(network(), DEVICE, kernels="plain").power)
    return Key(SIMULATED["cycles"] / 16e6 * power, "J")


# %% [markdown]
# ## 6. Compile, run, measure
# The cell compiles, streams 24 windows over the serial line, compares each answer with NumPy to the last bit, and
# counts.

# %% show
measured = attempt(measure, model, q_test[:24], TARGET, board=BOARD)
if measured:
    expected = tinyml.predict(network(), DEVICE, kernels="plain")
    print(table([measured]))
    print("your NumPy and the chip agree:", np.array_equal(measured.outputs, integers(model, q_test[:24])))
    if measured.kind == "simulated cycles":
        seconds = measured.count / 16e6
        reveal("latency", f"{1e3 * seconds:.5g} ms")
        reveal("flash", f"{measured.report.flash} B")
        reveal("ram", f"{measured.report.ram} B")
        reveal("energy", f"{1e6 * seconds * float(expected.power):.5g} uJ")
against_prediction({"inference": (float(expected.cycles), measured.count)}, measured.kind) if measured else None

# %% show
memory_map(measured.report) if measured else None

# %% [markdown]
# Below, the program is built again from your functions alone, and windows it never saw are asked over the line. Each
# answer must be the integers' to the last bit, and the largest output must be at the motion that it was.


# %% check="motion" points=6 covers="scale_of,quantise,multiplier_of,layer_constants"
def motion_program():
    """What the program is built of, and the constants that are in it."""
    made = build()
    return {"model.h": header(made), "model": made.to_dict()}


def as_integers(product, x):
    """What a right program answers, from the constants that it holds."""
    return QuantModel.from_dict(product["model"]).run(x)[0]


check("motion", [case(INPUT.quantize(x_test[i]), label=int(test.y[i])) for i in (0, 1)], call=motion_program,
      properties=[prop("be largest at the motion that it was", lambda out, x, label=None: label in (None, int(np.argmax(out))))],
      firmware=Firmware("serve", "simavr:atmega328p", "model.h", as_integers, flash=7_000, ram=450, cycles=140_000))


# %% hidden="motion"
def cases(rng):
    fresh = data.motions(60, int(rng.integers(10, 10**6)))
    x = inputs(fresh.x)
    scores = np.sort(activations(x)[-1], axis=1)
    sure = (scores[:, -1] - scores[:, -2] > 2.0) & (activations(x)[-1].argmax(axis=1) == fresh.y)
    for label in range(4):
        for i in np.flatnonzero(sure & (fresh.y == label))[:3]:
            yield case(INPUT.quantize(x[i]), label=label, behaviour="motions that it never saw")
    for _ in range(3):
        yield case(rng.choice([-128, 127], 63).astype(np.int8), behaviour="inputs at both ends of the range")


# %% [markdown]
# ## 7. Where the cycles go
# 51 cycles a multiply-add, for a processor that multiplies in two? The loop of the plain kernel loads an input, takes
# the zero point off it, loads a weight from flash, multiplies 16 × 16 bits and adds to 32. Beside it stand 34 outputs,
# each requantised with a product of 32 × 32 bits, which takes eight registers and sixteen multiplications of bytes.
#
# ### A kernel of your own
# This is the stretch goal: **at most 30 cycles a multiply-add**, everything counted. Two gifts come with it. The zero
# point is folded into the bias, $\sum (x - z) w + b = \sum x w + (b - z \sum w)$, so inputs are used as they are. And
# layers are shorter than 256. The rest is types: 63 products of at most 2¹⁴ fit in how many bits? An AVR has 32
# registers of one byte, and avr-gcc knows `__int24`. The same loop with an `int32_t` takes 83 cycles, more than the
# plain kernel. When C is at its end, two instructions are left that gcc 5 will not choose by itself, a load that
# moves on, for RAM and for flash:
#
# ```c
# __asm__("ld %0, X+" : "=r"(a), "+x"(x));       /* a = *x++ */
# __asm__("lpm %0, Z+" : "=r"(b), "+z"(w));      /* b = *w++, w in flash */
# ```
#
# Your function gets the layer's record (`kits/sketches/lib/mlk_base.h`): `q->weight` in flash, `q->bias + o` for
# `mlk_rom_i32`, `q->in_c`, `q->out_c`; `mlk_output(q, o, sum)` requantises. The library's own dense kernels are not in
# reach. It is judged on given constants, not on your quantisation. An answer may take 97,900 cycles: 52,900 for reading
# the question, checking it and writing the answer, and 30 for each of 1,500 multiply-adds. Two thirds of the points are
# for right answers alone.


# %%
def given_network():
    """63-20-10-4 in integers that no training decides."""
    draw, made, scale = np.random.default_rng(63), [], Scale(0.05, 9)
    for inputs_, outputs in zip(SIZES, SIZES[1:], strict=False):
        layer = dense(draw.integers(-127, 128, (outputs, inputs_)) / 100, draw.integers(-50, 50, outputs) / 10, relu=outputs > 4)
        after = Scale(0.25, -128 if outputs > 4 else 5)
        made.append(quantize_layer(layer, (1, 1, inputs_), scale, after))
        scale = after
    return QuantModel(name="kernel", layers=tuple(made))


GIVEN = given_network()


def with_kernel(text):
    """The header of the given network with a dense kernel in front; zero points are folded."""
    if "#include" in text or "%:" in text:
        raise ValueError("the kernel stands alone: leave #include out")
    return '#include "mlk_base.h"\n#define MLK_FOLD\n' + text + "\n#define MLK_DENSE my_dense\n" + header(GIVEN)


# %% solution="kernel_text"
def kernel_text():
    """C with `static void my_dense(const mlk_layer *q, const int8_t *in, int8_t *out)`."""
    ### BEGIN SOLUTION
    return r"""
static void my_dense(const mlk_layer *q, const int8_t *in, int8_t *out)
{
    const int8_t *w = q->weight;
    for (uint8_t o = 0; o < (uint8_t)q->out_c; o++) {
        __int24 sum = 0;                    /* 255 products of at most 2^14 stay below 2^22 */
        const int8_t *x = in;
        uint8_t n = (uint8_t)q->in_c;
        do {
            int8_t a, b;
            __asm__("ld %0, X+" : "=r"(a), "+x"(x));
            __asm__("lpm %0, Z+" : "=r"(b), "+z"(w));
            sum += (int16_t)(a * b);        /* two bytes: one instruction, MULS */
        } while (--n);
        out[o] = mlk_output(q, o, mlk_rom_i32(q->bias + o) + sum);
    }
}
"""
    ### END SOLUTION


# %% show
def count_kernel():
    """The given network with your kernel, on your target if that is an AVR."""
    target, board = (DEVICE_HERE, DEVICE_HERE) if TARGET.startswith("qemu") else (TARGET, BOARD)
    x = np.random.default_rng(1).integers(-128, 128, (4, 63)).astype(np.int8)
    return measure(GIVEN, x, target, board=board, text=with_kernel(kernel_text()))


print(attempt(count_kernel) or "")

# %% check="kernel" points=5 covers="kernel_text"
def kernel_program():
    return {"model.h": with_kernel(kernel_text())}


def by_the_given(product, x):
    return GIVEN.run(x)[0]


check("kernel", [case(np.arange(-31, 32, dtype=np.int8)), case(np.full(63, -128, np.int8))], call=kernel_program,
      firmware=Firmware("serve", "simavr:atmega328p", "model.h", by_the_given, cycles=97_900))


# %% hidden="kernel"
def cases(rng):
    for _ in range(6):
        yield case(rng.integers(-128, 128, 63).astype(np.int8), behaviour="equal to the last bit")
    for _ in range(3):
        yield case(rng.choice([-128, 127], 63).astype(np.int8), behaviour="equal to the last bit")


# %% [markdown]
# ## 8. A box that runs for a year
# In `mine` is a plan: `rate` inferences a second with kernels that MLSys·im calls `kernels`, a processor clocked at
# `clock_MHz` to save power, `other_ram` bytes for sensor and radio, and `joules_a_day` from a cell for inference. The
# stack needs 200 B more. `tinyml.predict(network(), DEVICE, kernels=..., clock=...)` gives `seconds`, `memory` and
# `energy`; its power follows the clock.

# %% show
for name, value in mine.items():
    print(f"{name:<14} {value}")

# %% [markdown]
# How much of it is taken, in per cent: of the processor's time, of the 2,048 bytes of RAM, of the energy of a day?

# %% answer="time_share" points=1
time_share = ""  # such as "40 %"
### BEGIN SOLUTION
planned = tinyml.predict(network(), DEVICE, kernels=mine["kernels"], clock=mine["clock_MHz"] * 1e6)
time_share = f"{100 * mine['rate'] * float(planned.seconds):.6g} %"
### END SOLUTION


# %% key="time_share"
def key(v):
    right = shares(v)["time"]
    return Key(right, "%", tol=0.02, mistakes=(Mistake(right * v["clock_MHz"] / 16, 0.5, "that is at 16 MHz; this one is clocked slower"),))


# %% answer="ram_share" points=1
ram_share = ""  # such as "40 %"
### BEGIN SOLUTION
ram_share = f"{100 * (mine['other_ram'] + planned.memory + STACK) / planned.capacity:.6g} %"
### END SOLUTION


# %% key="ram_share"
def key(v):
    right = shares(v)["RAM"]
    return Key(right, "%", tol=0.01, mistakes=(
        Mistake(right - STACK / 2_048, 0.5, "the stack is in the same RAM, and no compile report shows it"),
        Mistake((v["other_ram"] + STACK) / 2_048, 0.25, "the network's own memory is missing"),
    ))


# %% answer="energy_share" points=1
energy_share = ""  # such as "40 %"
### BEGIN SOLUTION
energy_share = f"{100 * mine['rate'] * 86_400 * float(planned.energy) / mine['joules_a_day']:.6g} %"
### END SOLUTION


# %% key="energy_share"
def key(v):
    right = shares(v)["energy"]
    return Key(right, "%", tol=0.02, mistakes=(
        Mistake(right * 16 / v["clock_MHz"], 0.5, "that is the power at 16 MHz for the time at a slower clock; power falls with the clock"),
        Mistake(right / 24, 0.25, "a day has 86,400 seconds; that is an hour"),
    ))


# %% [markdown]
# ### Decide
# Which limit is nearest, "time", "RAM" or "energy", and what would you change first: clock, kernel, rate, network? Name
# the three answers that show it, the alternative that you turned down, and what could prove you wrong.

# %% decision="box" points=3
# box = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
taken = {"time": float(time_share.split()[0]), "RAM": float(ram_share.split()[0]), "energy": float(energy_share.split()[0])}
box = decision(
    claim="The limit with the largest share is what has to give first",
    binding=max(taken, key=taken.get),
    evidence=("time_share", "ram_share", "energy_share"),
    rejected="A smaller network would cost accuracy where the kernel costs nothing",
    risk="The radio may draw far more than the processor does",
)
### END SOLUTION


# %% key="box"
def key(v):
    each = shares(v)
    binding, second = sorted(each, key=each.get)[:-3:-1]
    return Decision(binding, LIMITS, {second: f"it comes second, at {each[second]:.0%}; {binding} is at {each[binding]:.0%}"})


# %% [markdown] rubric="gap" points=4
# Explain the gap. (a) Take the one of your four predictions that was furthest off, or the interval that was widest for
# no reason: what does the model count, and what does the program have beside it? (b) An answer over the line takes
# about 129,500 cycles, the inference 76,800 of them. What are the others, and would a faster kernel help a user who
# streams windows over this line? (c) If you wrote the kernel: which change gave most, and why? Else: which one would
# you try first? Use numbers of your own run.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. A predicted and a measured figure are compared as a ratio or difference, with units.
# 2. The cause is named in the program: sections that the model's constants do not know, buffers of the line,
#    requantisation of 34 outputs, loops at their ends.
# 3. The rest is the line: bytes of ten bits at 115,200 baud, hex digits and the CRC; a faster kernel shortens the answer
#    by less than a third, and streaming inputs costs far more time than either.
# 4. A change with its cycles a multiply-add before and after, or a reasoned first try: the accumulator's width, 8 × 8
#    bits products, loads that move on.
# ### END MARK SCHEME
