# %% [markdown]
# # Kit 04: Anomaly Detection
#
# A bearing that fails sounds wrong before it breaks. Nobody has recordings of all the ways in which it can fail, so a
# classifier has nothing to learn from. What there is: hours of the machine in good health. In this notebook an Uno learns
# what normal looks like, calls what lies far from it an anomaly, and lives on a battery while it does so.
#
# **Afterwards you can**
# 1. put features on one ruler in bytes without bending distances;
# 2. set a threshold by the false alarms that it will cause, on data that has a right to say so;
# 3. write a distance in C that stops when it can no longer win, and count what that saves;
# 4. compute from cycles and alarms how long a battery lasts, and which of its consumers matters.
#
# **The path**: train → quantise → export → predict, locked → compile → run → measure → explain → decide. Five functions are
# yours. Hidden cases are run when the kit is graded: the program is built again from your functions, and windows that you
# have not seen are sent over its serial line. You need kit 00; section 6 uses TinyTorch 08. Allow 90 minutes.
#
# **With a board or without.** Cells run on simavr, a simulator of the Uno's processor. For a board on a port start JupyterLab with
# `KITS_TARGET=/dev/ttyACM0 KITS_BOARD=uno`. With neither, cells that need them say what is missing, and all else works.

# %%
import numpy as np

from boardkit import data, kmeans
from boardkit.export import array
from boardkit.measure import measure
from boardkit.notebook import attempt, chosen
from boardkit.protocol import Link
from boardkit.quantize import quantize
from boardkit.targets import open_target
from boardkit.toolchain import compile_sketch
from mlsysbook import Firmware, answer, case, check, decision, predict, prop, reveal, variant
from mlsysim import device, tinyml, units
from mlsysim.models.nets import Net, Stack
from tinytorch import Adam, DataLoader, Linear, MSELoss, ReLU, Sequential, Tensor, TensorDataset, Trainer
from tinytorch.layers import manual_seed

TARGET, BOARD = chosen("simavr:atmega328p")
UNO = device("atmega328p")

# %% [markdown]
# ## 1. A machine in good health
# `boardkit.data.vibrations` computes the acceleration of a bearing's housing, 1024 samples at 3200 Hz, 0.32 s: a shaft at
# 23 to 29 Hz, imbalance, misalignment, and a damaged outer race that is hit by each ball. Sixteen numbers describe a
# window: log2 of the power in sixteen bands of its spectrum. How such bands are computed in integers was kit 02; here
# they come from the PC, and the Uno does the rest.
#
# Windows are in three parts, and each has its own job: centres are **fitted** to the first, the threshold is **set** on the
# second, and the third **tests** both. Faults appear in the test alone.

# %%
EDGES = np.unique(np.round(np.geomspace(5, 513, 17)).astype(int))  # bins of 3.125 Hz
KINDS = data.VIBRATIONS


def bands(x):
    """Windows (N, 1024) in m/s² -> log2 of the power in 16 bands, (N, 16)."""
    power = np.abs(np.fft.rfft(x * np.hanning(x.shape[1]), axis=1)) ** 2
    return np.stack([np.log2(power[:, a:b].sum(axis=1) + 1e-6) for a, b in zip(EDGES, EDGES[1:], strict=False)], axis=1)


windows = data.vibrations(2400, 4, severity=0.5)
features, kind = bands(windows.x), windows.y
fitting = features[:1200][kind[:1200] == 0]
setting = features[1200:1800][kind[1200:1800] == 0]
testing, tested = features[1800:], kind[1800:]

# %% show
print(f"{len(fitting)} normal windows to fit, {len(setting)} to set the threshold, {len(testing)} of all kinds to test")

# %% [markdown]
# ## 2. One ruler
# A distance adds squares of differences over all bands. If each band had a scale of its own, a band that hardly moves would be
# stretched until its noise counted as much as a real change elsewhere. That may be wanted, and is then called whitening. It
# must not happen by accident, because bytes wanted filling. So: one **step** for all bands, around the mean of each.
#
# **Exercise 2.1** From normal features (N, B): the mean of each band, and the step for which a share of all distances to
# the means, over all bands together, stays within 127 steps: `np.quantile(|f - mean|, share) / 127`. **Exercise 2.2** Features as
# bytes: (f − mean) / step to the nearest integer, halves away from zero, from −128 to 127. Means (1, 3) and step 0.5 make of
# (2, 3.25) the bytes (2, 1): 0.5 goes away from zero.

# %% solution="ruler"
def ruler(features, share=0.999):
    """Mean of each band, array (B,), and one step for all, a float, of normal features (N, B)."""
    ### BEGIN SOLUTION
    mean = features.mean(axis=0)
    return mean, float(np.quantile(np.abs(features - mean), share) / 127)
    ### END SOLUTION


# %% solution="to_bytes"
def to_bytes(features, mean, step):
    """Features (N, B) -> int8 (N, B): distances from the mean in steps, to the nearest, halves away from zero, saturated."""
    ### BEGIN SOLUTION
    q = (features - mean) / step
    return np.clip(np.sign(q) * np.floor(np.abs(q) + 0.5), -128, 127).astype(np.int8)
    ### END SOLUTION


# %% check="ruler" points=3
check("ruler", [case(np.array([[0.0, 10.0], [2.0, 14.0]])), case(np.arange(12.0).reshape(6, 2) ** 2, 0.5)], rtol=1e-9)

# %% hidden="ruler"
def cases(rng):
    for _ in range(3):
        yield case(rng.normal(size=(40, 5)) * rng.uniform(0.1, 9, 5) + rng.normal(size=5), behaviour="one step for all bands")
    for share in (0.5, 0.9, 1.0):
        yield case(rng.normal(3, 2, size=(30, 4)), share, behaviour="any share, all bands together")
    yield case(np.full((5, 3), -7.0) + rng.normal(size=(5, 3)), behaviour="means far from zero")

# %% check="to_bytes" points=3
check("to_bytes", [case(np.array([[2.0, 3.25]]), np.array([1.0, 3.0]), 0.5), case(np.array([[900.0, -900.0]]), np.zeros(2), 1.0)])

# %% hidden="to_bytes"
def cases(rng):
    for _ in range(3):
        yield case(rng.normal(0, 20, size=(7, 4)), rng.normal(0, 5, 4), 0.37, behaviour="steps from the mean")
    halves = np.array([[0.5, -0.5, 1.5, -1.5, 2.5, -2.5]])
    yield case(halves, np.zeros(6), 1.0, behaviour="halves away from zero")
    yield case(halves * 0.25, np.zeros(6), 0.25, behaviour="halves away from zero")
    yield case(np.array([[127.4, 127.6, -128.4, -129.0, 1e9, -1e9]]), np.zeros(6), 1.0, behaviour="saturates")

# %% [markdown]
# ## 3. What normal looks like
# A machine has more than one normal: it runs faster and slower, loaded and not. K-means finds **centres**: give each window
# to its nearest centre, move each centre to the mean of its windows, repeat. Thirty-two centres of sixteen bytes are 512 B of flash.
#
# **Exercise 3** One round, in real numbers. Of centres at equal distance the first gets the window. A centre without
# windows stays where it is.

# %% solution="moved"
def moved(x, centres):
    """Centres (k, B) after one round of k-means on x (N, B) -> float64 (k, B)."""
    ### BEGIN SOLUTION
    owner = ((x[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)
    return np.stack([x[owner == j].mean(axis=0) if (owner == j).any() else centres[j] for j in range(len(centres))]).astype(float)
    ### END SOLUTION

# %% check="moved" points=4
check("moved", [
    case(np.array([[0.0], [1.0], [10.0]]), np.array([[0.0], [9.0]])),
    case(np.array([[0.0], [1.0]]), np.array([[0.0], [50.0]])),
    case(np.array([[1.0], [5.0]]), np.array([[0.0], [2.0]])),
])

# %% hidden="moved"
def cases(rng):
    for n, k, b in ((40, 3, 2), (60, 5, 4), (30, 2, 6)):
        x = rng.normal(size=(n, b)) * 5
        yield case(x, x[rng.choice(n, k, replace=False)], behaviour="each centre moves to the mean of its windows")
    x = rng.normal(size=(20, 3))
    yield case(x, np.vstack([x[:2], np.full((1, 3), 99.0)]), behaviour="a centre without windows stays")
    yield case(np.array([[1.0, 0], [3, 0], [-2, 0]]), np.array([[0.0, 0], [2, 0], [-4, 0]]), behaviour="of equals the first")

# %%
K = 32


def centres_of(x, rounds=12):
    """K centres of x (N, B), from windows drawn far from each other, by your rounds -> int8 (K, B)."""
    rng = np.random.default_rng(0)
    centres = x[:1].astype(float)
    while len(centres) < K:  # k-means++: Arthur and Vassilvitskii 2007
        far = ((x[:, None].astype(float) - centres) ** 2).sum(axis=-1).min(axis=1)
        centres = np.vstack([centres, x[rng.choice(len(x), p=far / far.sum())]])
    for _ in range(rounds):
        centres = moved(x.astype(float), centres)
    return np.clip(np.rint(centres), -128, 127).astype(np.int8)

# %% [markdown]
# ## 4. A threshold is a promise
# An alarm is a squared distance to the nearest centre **above** the threshold. How high? That is not a question about
# distances but about people: how many false alarms will they bear before they switch the thing off? One window in a hundred sounds
# rare. At a window a minute it is fourteen alarms a day.
#
# **Exercise 4** The smallest threshold, an int, of all distances that occur, at which at most a share `rate` of the distances is above
# it. With distances 1, 2, 3, 4 and a rate of 0.25, it is 3: one of four is above.

# %% solution="threshold"
def threshold(distances, rate):
    """The smallest of the distances (n,), integers, that at most a share `rate` of them exceeds -> int."""
    ### BEGIN SOLUTION
    values = np.unique(distances)
    above = np.array([(distances > v).sum() for v in values])
    return int(values[above <= rate * len(distances)][0])
    ### END SOLUTION

# %% check="threshold" points=4
check("threshold", [case(np.array([1, 2, 3, 4]), 0.25), case(np.array([5, 5, 5, 9]), 0.3), case(np.array([7, 3]), 0.0)])

# %% hidden="threshold"
def cases(rng):
    for rate in (0.015, 0.05, 0.11):
        yield case(rng.integers(0, 99999, 300), rate, behaviour="at most that share is above")
        yield case(rng.integers(0, 99999, 64), rate, behaviour="at most that share is above")
    yield case(rng.integers(0, 6, 200), 0.3, behaviour="many equal distances")
    yield case(np.array([4, 4, 4, 4]), 0.5, behaviour="many equal distances")
    yield case(rng.integers(0, 999, 40), 0.0, behaviour="no false alarm at all")
    yield case(np.arange(1, 9), 0.25, behaviour="a share that is reached exactly")
    yield case(np.arange(1, 101), 0.25, behaviour="a share that is reached exactly")

# %%
RATE = 0.02  # false alarms that are borne, of all normal windows


def detector(part=setting):
    """mean, step, centres (K, 16) int8 and threshold: fitted to the first part of the windows, set on `part`."""
    mean, step = ruler(fitting)
    centres = centres_of(to_bytes(fitting, mean, step))
    return mean, step, centres, threshold(kmeans.nearest(to_bytes(part, mean, step), centres)[1], RATE)

# %% show
mean, step, centres, limit = detector()
print(f"{'threshold from':<22}{'false alarms':>13}" + "".join(f"{name:>14}" for name in KINDS[1:]))
seen = kmeans.nearest(to_bytes(testing, mean, step), centres)[1]
for name, part in (("fitted windows", fitting), ("windows set apart", setting)):
    print(f"{name:<22}" + "".join(f"{(seen[tested == j] > detector(part)[3]).mean():>{13 + (j > 0)}.1%}" for j in range(4)))

# %% [markdown]
# Both thresholds were asked for 2 %. The one from fitted windows gives more than twice as many false alarms: centres lie nearer to
# the windows that they were drawn to than to any others. It also finds more faults; a lower threshold always does. A threshold is
# set on windows that had no part in the fit.
#
# And on another machine of the same type? Its housing rings at another frequency, all else is equal. **What share of its normal
# windows raises an alarm**, with the threshold of windows set apart (2 %)?

# %% predict="other" points=1 unit="%"
# predict("other", "... %", low="... %", high="... %")
### BEGIN SOLUTION
predict("other", "9 %", low="8.97 %", high="9.03 %")
### END SOLUTION

# %%
def share_on(machine):
    """Share of normal windows of another machine, a seed, that raise an alarm."""
    mean, step, centres, limit = detector()
    others = data.vibrations(800, machine, severity=0.5)
    far = kmeans.nearest(to_bytes(bands(others.x[others.y == 0]), mean, step), centres)[1]
    return float((far > limit).mean())

# %% key="other"
from functools import cache

from mlsysbook import Decision, Key, Mistake


@cache
def found():
    return share_on(5)


def key(v):
    return Key(found(), "%")

# %% show
reveal("other", f"{100 * share_on(5):.3g} %")
print("other machines:", ", ".join(f"{share_on(m):.1%}" for m in (6, 7, 8)))

# %% [markdown]
# ## 5. The program
# The Uno has the centres in flash and 2 KiB of RAM. `model.h` is given but for one function: the body of `nearest`, in C, is
# yours. Plain, it goes through 32 × 16 differences. But distances only grow: as soon as a sum has reached the least sum so far, this
# centre has lost, and the rest of its bands need not be looked at.
#
# **Exercise 5** Write the body as text. `x` has WIDTH bytes; `mlk_rom_i8(centres + n)` reads byte n of the K × WIDTH centres from
# flash. Store the least squared distance in `*distance`; return the number of its centre, the first of equals. Mind widths: an
# `int` has 16 bits here, a difference of bytes needs 9 bits, its square 16 without a sign, a sum of sixteen squares 20. The
# budget is 65,000 cycles for an answer to a real window, of which 40,252 go to the 29 characters of the answer on the line; the plain
# loop exceeds it.

# %% solution="nearest_c"
def nearest_c():
    """Body of `static uint8_t nearest(const int8_t *x, uint32_t *distance)`, C99."""
    ### BEGIN SOLUTION
    return """
    uint32_t least = UINT32_MAX;
    uint8_t best = 0;
    const int8_t *c = centres;
    for (uint8_t j = 0; j < K; j++, c += WIDTH) {
        uint32_t sum = 0;
        for (uint8_t i = 0; i < WIDTH && sum < least; i++) {
            const int16_t d = (int16_t)(x[i] - mlk_rom_i8(c + i));
            const uint8_t size = (uint8_t)(d < 0 ? -d : d);
            sum += (uint16_t)((uint16_t)size * size);
        }
        if (sum < least) least = sum, best = j;
    }
    *distance = least;
    return best;"""
    ### END SOLUTION

# %%
PLAIN = "    return (uint8_t)mlk_nearest(x, centres, WIDTH, K, distance);"  # all 512 differences, from kits/sketches/lib


def model_h(centres, limit, body):
    """The text of model.h for kits/sketches/serve: answers are centre, alarm (0 or 1), and the squared distance in four bytes."""
    k, width = centres.shape
    return f"""#include "mlk.h"
#define MODEL_NAME "anomaly"
#define MODEL_DIGEST UINT32_C({limit})
#define MODEL_INPUTS {width}
#define MODEL_OUTPUTS 6
#define K {k}
#define WIDTH {width}
{array("centres", centres, "int8_t")}
static int8_t model_x[MODEL_INPUTS], model_y[MODEL_OUTPUTS];
#define MODEL_INPUT model_x
#define MODEL_OUTPUT model_y

static uint8_t nearest(const int8_t *x, uint32_t *distance)
{{
{body}
}}

static void model_run(void)
{{
    uint32_t distance = 0;
    model_y[0] = (int8_t)nearest(model_x, &distance);
    model_y[1] = distance > UINT32_C({limit});
    for (uint8_t i = 0; i < 4; i++) model_y[2 + i] = (int8_t)(uint8_t)(distance >> (24 - 8 * i));
}}
"""


def answers_of(centres, limit, q):
    """What a right program answers to bytes (16,) -> int8 (6,)."""
    index, distance = kmeans.nearest(np.atleast_2d(q), centres)
    word = int(distance[0]).to_bytes(4, "big")
    return np.array([index[0], distance[0] > limit, *np.frombuffer(word, np.int8)], np.int8)

# %% [markdown]
# ### Predict
# MLSys·im has no k-means. A dense layer of 16 inputs and 32 outputs does as many multiply-adds, so it may stand in. How many
# cycles does the plain `nearest` take, all 512 differences? And yours, on average over normal windows?

# %% show
stand_in = Net("k04", "a dense layer, 16 to 32", lambda: Stack((16,)).linear(32).layers, 16, "this notebook", "2026", "tiny")
expected = tinyml.predict(stand_in, UNO, kernels="plain")
print(f"MLSys-im, dense 16 to 32, plain C: {expected.cycles:,.0f} cycles, flash {expected.flash:,.0f} B, RAM {expected.memory:,.0f} B")

# %% predict="plain" points=1
# predict("plain", "number of cycles", low="number", high="number")
### BEGIN SOLUTION
predict("plain", "18000", low="14000", high="24000")
### END SOLUTION

# %% predict="early" points=1
# predict("early", "number of cycles", low="number", high="number")
### BEGIN SOLUTION
predict("early", "7000", low="5000", high="12000")
### END SOLUTION

# %% show
def run(name, body, groups):
    """Serve a body of `nearest`, send groups of windows {title: int8 (N, 16)}, print the counts; outputs are compared to the bit."""
    report = compile_sketch("serve", BOARD, files={"model.h": model_h(centres, limit, body)})
    print(f"{name}: flash {report.flash:,} B, RAM {report.ram:,} B")
    with open_target(TARGET, firmware=report) as target:
        link = Link(target.serial)
        for title, q in groups.items():
            outputs, ticks = link.stream(q)
            same = all(np.array_equal(o, answers_of(centres, limit, x)) for o, x in zip(outputs, q, strict=True))
            counts = np.array([target.count(int(t)) for t in ticks])
            print(f"  {title:<13} {counts.mean():>8,.0f} {target.kind} (from {counts.min():,} to {counts.max():,}), "
                  f"{'exact' if same else 'NOT what NumPy gives'}")
            if title == "normal" and target.kind == "simulated cycles":
                reveal(name, f"{counts.mean():.0f}")


some = {KINDS[j]: to_bytes(testing[tested == j][:40], mean, step) for j in (0, 2)}
for name, body in (("plain", PLAIN), ("early", nearest_c())):
    attempt(run, name, body, some)

# %% [markdown]
# The stand-in is too high: a dense layer scales each sum by a product of 32 by 31 bits, a distance has no such end. And
# the time of your version depends on what it sees. A far window rules out few centres early, so an anomaly takes longer than a
# normal window: a deadline has to hold for the longest, an energy bill for the mean.

# %% check="program" points=8 covers="nearest_c,to_bytes,threshold"
def product():
    """model.h, and the numbers that are in it."""
    _, _, centres, limit = detector()
    return {"model.h": model_h(centres, limit, nearest_c()), "centres": centres, "limit": limit}


def wanted(product, q):
    return answers_of(product["centres"], product["limit"], q)


def ask(link, q, alarm=None):
    return link.infer(q).outputs


def right_alarm(out, q, alarm=None):
    return alarm is None or bool(out[1]) == alarm


EXAMPLES = to_bytes(testing[:40], testing[tested == 0].mean(axis=0), 0.0382)  # windows as bytes, the same for everybody
check("program", [case(EXAMPLES[i]) for i in range(3)], call=product,
      properties=[prop("give an alarm for a window far from normal and none for a normal one", right_alarm)],
      firmware=Firmware("serve", "simavr:atmega328p", "model.h", wanted, flash=6_500, ram=420, cycles=65_000, ask=ask))

# %% hidden="program"
def cases(rng):
    *ours, centres, limit = detector()
    q = to_bytes(testing, *ours)
    far = kmeans.nearest(q, centres)[1]
    calm, wild = np.flatnonzero((tested == 0) & (far < 0.7 * limit)), np.flatnonzero((tested > 0) & (far > 1.5 * limit))
    for i in rng.choice(calm, 4, replace=False):
        yield case(q[i], alarm=False, behaviour="normal windows pass, to the bit")
    for i in rng.choice(wild, 4, replace=False):
        yield case(q[i], alarm=True, behaviour="faults are called, to the bit")
    for j in rng.choice(len(centres), 2, replace=False):
        yield case(centres[j], behaviour="a distance of 0, and differences near 255")
    j, b = np.unravel_index(np.abs(centres.astype(int)).argmax(), centres.shape)
    one = centres[j].copy()
    one[b] = -128 if one[b] > 0 else 127
    yield case(one, behaviour="a distance of 0, and differences near 255")

# %% [markdown]
# ## 6. Another detector
# An **autoencoder** is a network that gives back its input through a narrow middle. Trained on normal windows, it gives those back
# well, and others badly: the error is the distance from normal. Here 16-6-16 in TinyTorch, in bytes by `quantize`, with a threshold for the
# same 2 %.

# %% show
manual_seed(0)
scaled = ((fitting - mean) / (32 * step)).astype("float32")
auto = Sequential(Linear(16, 6), ReLU(), Linear(6, 16))
loader = DataLoader(TensorDataset(Tensor(scaled), Tensor(scaled)), batch_size=32, shuffle=True, seed=0)
Trainer(auto, MSELoss(), Adam(auto.parameters(), lr=5e-3), progress=False).fit(loader, 60)
small = quantize(auto.eval(), scaled, name="autoencoder")


def errors(f):
    """Squared error of the int8 autoencoder on features (N, 16), in steps of the ruler, rounded."""
    real = ((f - mean) / (32 * step)).astype("float32")
    return np.rint(((small.predict(real) - real) ** 2).sum(axis=1) * 32**2).astype(int)


cut, back = threshold(errors(setting), RATE), errors(testing)
print(f"{'detector':<22}{'false alarms':>13}" + "".join(f"{name:>14}" for name in KINDS[1:]))
for name, far, line in (("32 centres", seen, limit), ("autoencoder 16-6-16", back, cut)):
    print(f"{name:<22}" + "".join(f"{(far[tested == j] > line).mean():>{13 + (j > 0)}.1%}" for j in range(4)))
took = attempt(measure, small, small.input.quantize(scaled[:4]), TARGET, board=BOARD)
if took:
    print(took)

# %% [markdown]
# Neither wins by nature. What counts is the row at the same rate of false alarms, and its price in flash and cycles.
#
# ## 7. Years on a battery
# The Uno's chip wakes every `period`, records a window and looks at it: it is awake for `AWAKE`, most of which is recording
# (0.32 s) and computing bands; your distance is a thousandth of it. Then it sleeps. Each alarm, false ones too, sends a radio message of
# `message` joules. `mine` has your numbers; the machine is healthy for years, so all alarms are false.

# %%
AWAKE = 0.4  # s, of which 0.32 s are the window: a round figure of ours for the rest

# %% variants
import itertools

PARTS = ("windows", "messages", "sleep")


def watts(v):
    """Mean power of windows, messages and sleep (W)."""
    period = units.parse(v["period"])[0]
    return {
        "windows": AWAKE * UNO.power.value / period,
        "messages": units.parse(v["rate"])[0] * units.parse(v["message"])[0] / period,
        "sleep": units.parse(v["sleep"])[0] * (1 - AWAKE / period),
    }


def pool():
    for period, rate, message, sleep, battery in itertools.product(
            (30, 60, 120, 300, 900), (0.5, 1, 2, 5), (0.1, 0.8, 2.5, 6), (15, 80, 300, 600), ("6 Wh",)):
        v = {"period": f"{period} s", "rate": f"{rate} %", "message": f"{message} J", "sleep": f"{sleep} uW", "battery": battery}
        third, second, first = sorted(watts(v).values())
        if first > 1.4 * second and third > 0.07 * (first + second):
            yield v

# %%
mine = variant()

# %% show
for name, value in mine.items():
    print(f"{name:<9} {value}")

# %% [markdown]
# **7.1** How many false alarms does a day bring?

# %% answer="alarms" points=2
alarms = ""  # a number, such as "14"
### BEGIN SOLUTION
alarms = f"{units.parse(mine['rate'])[0] * 86400 / units.parse(mine['period'])[0]:.6g}"
### END SOLUTION

# %% key="alarms"
def key(v):
    rate, period = units.parse(v["rate"])[0], units.parse(v["period"])[0]
    return Key(rate * 86400 / period, "", tol=0.01, mistakes=[
        Mistake(86400 / period, 0.25, "those are all windows of a day; a share of them raises an alarm"),
        Mistake(100 * rate * 86400 / period, 0.25, "a per cent is a hundredth"),
        Mistake(rate * 3600 / period, 0.5, "that is an hour"),
    ])

# %% [markdown]
# **7.2** What share of the time is the chip awake?

# %% answer="duty" points=1
duty = ""  # such as "1.5 %"
### BEGIN SOLUTION
duty = f"{100 * AWAKE / units.parse(mine['period'])[0]:.6g} %"
### END SOLUTION

# %% key="duty"
def key(v):
    return Key(AWAKE / units.parse(v["period"])[0], "%", tol=0.01, mistakes=[
        Mistake(0.32 / units.parse(v["period"])[0], 0.5, "bands are computed too: it is awake for 0.4 s"),
    ])

# %% [markdown]
# **7.3** How long does the battery last? `tinyml.battery_life(battery, period, energy=, seconds=, sleep=, extra=)` adds up; the
# chip draws `UNO.power.value` watts while it is awake. The regulator and the lamp of an Uno board would drain it in days: the node is
# the chip alone.

# %% answer="life" points=2
life = ""  # such as "200 days", or seconds
### BEGIN SOLUTION
spent = tinyml.battery_life(mine["battery"], mine["period"], energy=AWAKE * UNO.power.value, seconds=AWAKE, sleep=mine["sleep"],
                            extra=units.parse(mine["rate"])[0] * units.parse(mine["message"])[0])
life = f"{float(spent.seconds):.6g} s"
### END SOLUTION

# %% key="life"
def key(v):
    w, held = watts(v), units.parse(v["battery"])[0]
    return Key(held / sum(w.values()), "s", tol=0.02, mistakes=[
        Mistake(held / (w["windows"] + w["sleep"]), 0.5, "false alarms send messages too"),
        Mistake(held / (w["windows"] + w["messages"]), 0.5, "it also draws power while it sleeps"),
        Mistake(held / (w["windows"] + w["sleep"] + w["messages"] / units.parse(v["rate"])[0]), 0.25,
                "only a share of the windows sends a message"),
        Mistake(held / UNO.power.value, 0.0, "that is a chip that never sleeps"),
    ])

# %% [markdown]
# ## 8. Decide
# The battery has to last longer. Windows, messages or sleep: which draws most, for your numbers? That is `binding`. Say what you
# would change, and what it costs in faults that are found later.

# %% decision="longer" points=3
# longer = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
period = units.parse(mine["period"])[0]
draws = {
    "windows": AWAKE * UNO.power.value / period,
    "messages": units.parse(mine["rate"])[0] * units.parse(mine["message"])[0] / period,
    "sleep": units.parse(mine["sleep"])[0] * (1 - AWAKE / period),
}
longer = decision(
    claim="What draws most is changed first, the rest is left",
    binding=max(draws, key=draws.get),
    evidence=("alarms", "duty", "life"),
    rejected="A faster distance saves a thousandth of the time awake",
    risk="Another machine may raise several times as many alarms",
)
### END SOLUTION

# %% key="longer"
def key(v):
    w = watts(v)
    return Decision(max(w, key=w.get), PARTS)

# %% [markdown] rubric="trust" points=3
# A plant wants to fit 200 machines with the detector that you fitted on one. In six sentences at most: what does your figure for
# another machine say about false alarms in the plant, in alarms a day for all 200 at your period? What would you fit, set and
# test instead, and for how long? And how would you notice, a year later, that "normal" has moved?
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. Alarms a day: 200 × 86400 / period × the share measured on other machines (3 to 25 %, by the machine), not the 2 % that
#    were promised; the writer gives the number.
# 2. Centres and threshold for each machine (or features that do not depend on the housing), on separate windows of its own, over
#    speeds and loads that occur; days rather than minutes.
# 3. Watch a quantity that needs no labels: the share of alarms or the median distance over time, with confirmation by inspection; set
#    the threshold anew from recent normal windows, and keep the old one to compare, so that a slow fault is not learned as normal.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
# One ruler keeps distances honest. A threshold is a promise about false alarms, and holds for windows like those it was set on. A
# distance may stop early, which makes its time depend on the data. On a battery, the detector's own arithmetic hardly shows.
#
# | here | elsewhere |
# |---|---|
# | `centres_of` and a distance | the K-means anomaly block of Edge Impulse |
# | autoencoder and its error | anomaly detection of MLPerf Tiny |
# | `threshold` | conformal prediction sets its thresholds like this |
