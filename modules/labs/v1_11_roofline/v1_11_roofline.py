# %% [markdown]
# # Lab V1-11: Roofline
#
# A layer multiplies two matrices and then does four small things to what comes out: a bias, an activation, a scale, a
# mask. The small things are hardly any arithmetic. What do they cost?
#
# Two figures of a device answer that, what it can compute in a second and what it can move. A kernel has one: how much it
# computes for each byte it moves. The plot of both is the roofline.
#
# **Afterwards you can** place a kernel under the roof of a device, say how large a batch it needs before arithmetic is the
# limit, say what a pass over memory costs, and put the kernels of your own machine into the same picture.
#
# **How to work.** Twice you bet before you look. Three functions are yours, each followed by a check with worked
# examples; hidden cases are run when the lab is graded. Three answers use numbers of your own. A decision and a few
# sentences close it. The panels have sliders; without a mouse, Tab reaches them and the arrow keys move them. Each panel
# says in one sentence what its figure shows. Part 4 measures your machine, and no grade depends on how fast it is. Allow
# fifty-five minutes.

# %%
import functools

import numpy as np

import tinytorch as tt
from mlsysbook import answer, case, check, decision, explore, measure, pick, predict, reveal, scenario, slider, variant
from mlsysim import device, ridge, roofline, units
from tinytorch import bench
from tinytorch.backend import set_threads

PLACES = dict(
    cloud={
        "title": "A language model in a data centre",
        "story": "One block of it runs on one card: a product, then four passes over what comes out.",
        "device": "h100",
        "precision": "fp16",
        "width": 4096,
        "rows": 4096,
    },
    edge={
        "title": "A robot that follows speech",
        "story": "A board in the robot runs a small model of language, block by block.",
        "device": "jetson-orin-nano",
        "precision": "fp16",
        "width": 1024,
        "rows": 1024,
    },
    mobile={
        "title": "A keyboard that completes sentences",
        "story": "A phone runs a model of language in the pauses of typing.",
        "device": "iphone-15-pro",
        "precision": "fp16",
        "width": 2048,
        "rows": 2048,
    },
    tiny={
        "title": "A hearing aid",
        "story": "A microcontroller with a small unit for products cleans sound, frame by frame.",
        "device": "ethos-u55-256",
        "precision": "int8",
        "width": 256,
        "rows": 256,
    },
)
BYTES = {"int8": 1, "fp16": 2, "fp32": 4}
PASSES = {"bias": 1, "activation": 8, "scale": 1, "mask": 1}  # FLOP an element, an activation by a short polynomial


def product_cost(rows, k, n, width):
    """FLOP and bytes of a product (rows, k) x (k, n) with numbers of `width` bytes: each matrix is moved once."""
    return 2.0 * rows * k * n, width * (1.0 * rows * k + 1.0 * k * n + 1.0 * rows * n)


def line(text, value, unit=""):
    print(f"{text:<48} {units.format(value, unit)}")


# %% variants
import itertools

from mlsysbook import Decision, Key, Mistake

CHANGES = ("arithmetic", "memory bandwidth", "passes")
DEVICES = {
    "cloud": (("h100", "a100", "l4"), "fp16", (1024, 2048, 4096, 8192)),
    "edge": (("jetson-orin-nano", "jetson-agx-orin", "jetson-xavier-nx"), "fp16", (768, 1024, 2048, 4096)),
    "mobile": (("iphone-15-pro", "m4", "m2"), "fp16", (1024, 1536, 2048, 4096)),
    "tiny": (("ethos-u55-256", "max78000", "cortex-m55"), "int8", (128, 192, 256, 512)),
}


def bound(rows, k, n, name, precision, scale=None):
    """Time of the product and of one pass over its result, on the device or on one of which a part is twice as fast."""
    d, width = device(name).scaled(**(scale or {})), BYTES[precision]
    flop, traffic = product_cost(rows, k, n, width)
    return float(roofline(flop, traffic, d, precision=precision).seconds), float(
        roofline(0.0, 2.0 * width * rows * n, d, precision=precision).seconds)


def block(v, scale=None, passes=None):
    """Time of the product and of all passes of a variant."""
    product, one = bound(v["rows"], v["k"], v["n"], v["device"], v["precision"], scale)
    return product, one * (v["passes"] if passes is None else passes)


def changed(v):
    """Time of the block after each of the changes that can be bought."""
    made = {"arithmetic": {"peak": 2.0}, "memory bandwidth": {"bandwidth": 2.0}}
    return {name: sum(block(v, scale)) for name, scale in made.items()} | {"passes": sum(block(v, passes=1))}


def enough_rows(v, name=None):
    """The least rows from which arithmetic decides the product of a variant, by asking the roofline; 0 if there are none."""
    rows, high = 0, 1 << 20
    while high - rows > 1:
        middle = (rows + high) // 2
        flop, traffic = product_cost(middle, v["k"], v["n"], BYTES[v["precision"]])
        found = roofline(flop, traffic, name or v["device"], precision=v["precision"]).roof == "compute"
        rows, high = (rows, middle) if found else (middle, high)
    return high if high < 1 << 20 else 0


def apart(*values):
    return all(abs(a - b) > 0.06 * max(a, b) for a, b in itertools.combinations(values, 2))


def pool():
    for track, (names, precision, widths) in DEVICES.items():
        found = {name: [] for name in CHANGES}
        for passes, name, k, n, rows in itertools.product((2, 4, 6), names, widths, widths, (8, 32, 128, 512, 2048)):
            v = {"track": track, "device": name, "precision": precision, "rows": rows, "k": k, "n": n, "passes": passes}
            d, width = device(name), BYTES[precision]
            flop, traffic = product_cost(rows, k, n, width)
            top, slope = d.rate(precision), flop / traffic * d.bandwidth.value
            product, others = block(v)
            first, second = sorted(changed(v).values())[:2]
            whole, half = product + others, product + others / 2
            shares = others / whole, others / product, others / 2 / half, others / passes / whole
            enough, other = enough_rows(v), enough_rows(v, d.scaled(peak=2.0))
            counts = enough, top / d.bandwidth.value * width / 2, other or 9 * enough
            if 20 < enough and second > 1.06 * first and apart(top, slope, min(top, slope) / 2) and apart(*shares) and apart(*counts):
                found[min(changed(v), key=changed(v).get)].append(v)
        for each in found.values():
            yield from each[:: max(1, len(each) // 8)][:8]


# %%
here = scenario(**PLACES)
here

# %%
place = PLACES[here.track]
mine = variant()
chip = device(here.device)

# %% show
print(f"arithmetic   {chip.peak[here.precision]}")
print(f"memory       {chip.bandwidth}")
for name, value in mine.items():
    print(f"{name:<12} {value}")

# %% [markdown]
# ## 1. How large a batch?
# A layer holds a square matrix of weights, `here.width` by `here.width`. A batch of rows is multiplied by it: of users, of
# tokens, of frames. With one row each weight is read for a single multiply-add, and most of the arithmetic units rest.
#
# How many rows does a batch need at least, so that arithmetic is the limit and not memory? Write a number of rows, with a
# low and a high value between which the truth should lie nine times in ten. You cannot change it later. Half of the point is
# for betting at all, the other half for an interval that is narrow and holds the truth.

# %% predict="rows" points=1
# predict("rows", "...", low="...", high="...")
### BEGIN SOLUTION
counted = np.arange(1, 4096)
ask = roofline(*product_cost(counted, here.width, here.width, BYTES[here.precision]), here.device, precision=here.precision)
truth = int(counted[ask.roof == "compute"][0])
predict("rows", f"{truth}", low=f"{0.998 * truth:.6g}", high=f"{1.002 * truth:.6g}")
### END SOLUTION


# %% key="rows"
def key(v):
    there = here.of(v["track"])
    return Key(enough_rows({"k": there.width, "n": there.width, "precision": there.precision, "device": there.device}), "")


# %% show
table = np.arange(1, 4096)
cost = product_cost(table, here.width, here.width, BYTES[here.precision])
limit = roofline(*cost, here.device, precision=here.precision)
reveal("rows", f"{table[limit.roof == 'compute'][0]}")
print(f"{'rows':>6}  {'FLOP/B':>8}  {'at least':>9}  {'of the peak':>11}  limit")
for i in np.unique(np.geomspace(1, 2048, 12).astype(int)) - 1:
    used = cost[0][i] / limit.seconds[i] / chip.rate(here.precision)
    print(f"{table[i]:>6}  {cost[0][i] / cost[1][i]:>8.1f}  {units.format(limit.seconds[i], 's'):>9}  {used:>11.1%}  {limit.roof[i]}")

# %% [markdown]
# Below that number a row more costs nothing: the time stands still while the work grows. That is why servers gather
# batches, and why one request alone uses so little of a card.
#
# The roofline says it in one line. A kernel that does $F$ FLOP on $B$ bytes has the intensity $I = F / B$ and cannot be
# faster than $\min(\text{peak}, I \cdot \text{bandwidth})$. Both meet at the ridge, peak / bandwidth. For a device with 100
# GFLOP/s and 10 GB/s the ridge is 10 FLOP/B: a kernel with 2 FLOP/B gets 20 GFLOP/s at most, one with 50 gets 100. Write it.


# %% solution="attainable"
def attainable(flop, traffic, peak, bandwidth):
    """Rate that the roofline allows, FLOP/s.

    flop (FLOP), traffic (B), peak (FLOP/s), bandwidth (B/s): numbers or arrays, which broadcast.
    """
    ### BEGIN SOLUTION
    return np.minimum(peak, np.asarray(flop) / traffic * bandwidth)
    ### END SOLUTION


# %% check="attainable" points=3
check(
    "attainable",
    [case(2.0, 1.0, 100e9, 10e9), case(50.0, 1.0, 100e9, 10e9), case(np.array([1e9, 1e10]), 1e9, 100e9, 10e9)],
    compare="value",
    rtol=1e-6,
)


# %% hidden="attainable"
def cases(rng):
    chips = [device(n) for n in ("h100", "a100", "l4", "jetson-agx-orin", "iphone-15-pro", "m4")]
    for times in (0.01, 0.3, 4.0, 60.0):
        d, moved = chips[rng.integers(len(chips))], float(rng.uniform(1e5, 1e9))
        flop = moved * ridge(d) * times * float(rng.uniform(0.9, 1.1))
        yield case(flop, moved, d.rate("fp16"), d.bandwidth.value, behaviour="the lower of the two roofs")
    d = chips[rng.integers(len(chips))]
    flop = 1e7 * ridge(d) * np.array([[0.01], [0.2], [5.0], [90.0]])
    yield case(flop, rng.uniform(0.5e7, 2e7, size=5), d.rate("fp16"), d.bandwidth.value, behaviour="arrays broadcast")


# %% [markdown]
# Now turn it round. A product of `rows` by `k` with `k` by `n` moves each of three matrices once, so with numbers of $b$
# bytes
#
# $$I = \frac{2 \cdot rows \cdot k \cdot n}{b\,(rows \cdot k + k \cdot n + rows \cdot n)}.$$
#
# More rows raise it, but not for ever: with $k = n = 100$ and one byte a number it stays below 100. Under a ridge of 40
# FLOP/B that takes 34 rows, as 33 reach 39.76. Under a ridge of 120 no batch is large enough. Write the least number of rows,
# and 0 where there is none.


# %% solution="rows_to_ridge"
def rows_to_ridge(k, n, width, ridge):
    """Least whole number of rows for which a product (rows, k) x (k, n) reaches the ridge; 0 if no number does.

    k, n: sides of the weights; width: bytes of a number; ridge in FLOP/B.
    """
    ### BEGIN SOLUTION
    gain = 2.0 * k * n - ridge * width * (k + n)
    return int(np.ceil(ridge * width * k * n / gain)) if gain > 0 else 0
    ### END SOLUTION


# %% check="rows_to_ridge" points=4
check("rows_to_ridge", [case(100, 100, 1, 40.0), case(100, 100, 1, 120.0)], compare="value")


# %% hidden="rows_to_ridge"
def cases(rng):
    chips = ("h100", "a100", "l4", "jetson-agx-orin", "iphone-15-pro", "m4")
    for _ in range(4):
        side = int(rng.integers(1500, 9000))
        yield case(side, side, 2, ridge(str(rng.choice(chips))) * 1.0001, behaviour="square weights, any device")
    for _ in range(3):
        k, n = (int(x) for x in rng.integers(1200, 9000, size=2))
        yield case(k, n, 2, ridge(str(rng.choice(chips))) * 1.0001, behaviour="weights of any shape")
    for width, name, precision in ((1, "ethos-u55-256", "int8"), (4, "a100", "fp32"), (1, "max78000", "int8")):
        side = int(rng.integers(300, 900))
        yield case(side, side, width, ridge(name, precision=precision) * 1.0001, behaviour="any width of a number")
    for _ in range(2):
        side = int(rng.integers(20, 120))
        yield case(side, side, 2, ridge(str(rng.choice(chips))), behaviour="0 where the weights are too narrow for any batch")


# %% [markdown]
# ## 2. Under the roof
# The cross is one product of your place, the roof that of the device. Find the batch at which the cross reaches the edge.
# Then make the weights narrow: which end of the roof can it no longer reach?

# %%
SHELF = {
    "cloud": ("h100", "a100", "l4"),
    "edge": ("jetson-orin-nano", "jetson-agx-orin", "jetson-xavier-nx"),
    "mobile": ("iphone-15-pro", "m4", "m2"),
    "tiny": ("ethos-u55-256", "max78000", "cortex-m55"),
}
INTENSITIES = np.geomspace(0.1, 1e4, 60)


def roof(hardware):
    """Peak in FLOP/s and bandwidth in B/s of a device, at the precision of your place."""
    return device(hardware).rate(here.precision), device(hardware).bandwidth.value


# %% show
ENDS = {"cloud": (1e-2, 3e3), "edge": (1e-3, 1e2), "mobile": (1e-3, 1e2), "tiny": (1e-5, 1)}  # TFLOP/s of the vertical axis


def under(hardware, rows, width):
    flop, traffic = product_cost(rows, width, width, BYTES[here.precision])
    return {"intensity": flop / traffic, "rate": float(attainable(flop, traffic, *roof(hardware))), "peak": roof(hardware)[0]}


def log_axes(axes, low, high):
    """Logarithmic axes with a mark a decade, which draw quickly."""
    axes.set(xscale="log", yscale="log", xlim=(0.1, 1e4), ylim=(low, high))
    axes.minorticks_off()


def draw_under(axes, result, settings):
    for name, dashes in zip(SHELF[here.track], ("--", "-.", ":"), strict=True):
        chosen = name == settings["hardware"]
        style = {"color": "black", "linewidth": 2} if chosen else {"color": "0.5", "linestyle": dashes}
        axes.plot(INTENSITIES, attainable(INTENSITIES, 1.0, *roof(name)) / 1e12, label=name, **style)
    axes.plot([result["intensity"]], [result["rate"] / 1e12], "x", color="C3", markersize=11, markeredgewidth=3, label="your product")
    log_axes(axes, *ENDS[here.track])
    axes.set(xlabel="intensity (FLOP/B)", ylabel="at most (TFLOP/s)", title=f"{settings['rows']:,} rows on {settings['hardware']}")
    axes.legend(loc="lower right")


def say_under(result, settings):
    edge = ridge(settings["hardware"], precision=here.precision)
    needed = rows_to_ridge(settings["width"], settings["width"], BYTES[here.precision], edge)
    return (
        f"{result['intensity']:.3g} FLOP/B, the ridge is at {edge:.3g}; at most {units.format(result['rate'], 'FLOP/s')}, "
        f"{result['rate'] / result['peak']:.1%} of the peak; " + (f"{needed:,} rows reach it." if needed else "no batch reaches it.")
    )


roof_panel = explore(
    under,
    {
        "hardware": pick(*SHELF[here.track]),
        "rows": slider(1, 8192, start=8, log=True),
        "width": slider(32, 8192, start=here.width, log=True),
    },
    draw=draw_under,
    say=say_under,
)
roof_panel

# %% [markdown]
# ### Your product
# `mine` names a device, a precision and a product of `rows` by `k` with `k` by `n`. How many rows would it need at least for
# arithmetic to be its limit?

# %% answer="enough" points=2
enough = ""  # such as "120"
### BEGIN SOLUTION
enough = f"{rows_to_ridge(mine['k'], mine['n'], BYTES[mine['precision']], ridge(mine['device'], precision=mine['precision']))}"
### END SOLUTION


# %% key="enough"
def key(v):
    d, width = device(v["device"]), BYTES[v["precision"]]
    edge = ridge(d, precision=v["precision"])
    doubled = enough_rows(v, d.scaled(peak=2.0))
    return Key(
        enough_rows(v),
        "",
        tol=0.004,
        mistakes=(
            Mistake(edge * width / 2, 0.5, "that counts the reading of the weights alone; the batch itself is read and written too"),
            Mistake(doubled or 9 * enough_rows(v), 0.25, "a multiply-add is two FLOP, in the product as in the peak"),
        ),
    )


# %% [markdown]
# At the rows that it has, what rate does the roofline allow your product?

# %% answer="rate" points=2
rate = ""  # such as "12.3 TFLOP/s"
### BEGIN SOLUTION
flop, traffic = product_cost(mine["rows"], mine["k"], mine["n"], BYTES[mine["precision"]])
own = device(mine["device"])
rate = f"{float(attainable(flop, traffic, own.rate(mine['precision']), own.bandwidth.value)):.9g} FLOP/s"
### END SOLUTION


# %% key="rate"
def key(v):
    flop, traffic = product_cost(v["rows"], v["k"], v["n"], BYTES[v["precision"]])
    d = device(v["device"])
    best = flop / float(roofline(flop, traffic, d, precision=v["precision"]).seconds)
    other = max(d.rate(v["precision"]), flop / traffic * d.bandwidth.value)
    return Key(
        best,
        "FLOP/s",
        tol=0.02,
        mistakes=(
            Mistake(other, 0.25, "that is the higher of the two roofs; the lower one holds"),
            Mistake(best / 2, 0.5, "those are multiply-adds a second; each is two FLOP"),
        ),
    )


# %% [markdown]
# ## 3. Four small things
# After the product come four passes over its result. Each reads every number, does a little and writes it back.

# %% show
work = product_cost(here.rows, here.width, here.width, BYTES[here.precision])[0]
small = sum(PASSES.values()) * here.rows * here.width
line("the product", work, "FLOP")
line("bias, activation, scale and mask together", small, "FLOP")
line("their share of the arithmetic", small / (work + small), "%")

# %% [markdown]
# What is their share of the time of the whole block, on `here.device` with `here.rows` rows?

# %% predict="share" points=1 unit="%"
# predict("share", "... %", low="... %", high="... %")
### BEGIN SOLUTION
taken = [roofline(*cost, here.device, precision=here.precision).seconds for cost in (
    product_cost(here.rows, here.width, here.width, BYTES[here.precision]),
    (len(PASSES) * max(PASSES.values()) * 0.0, len(PASSES) * 2.0 * BYTES[here.precision] * here.rows * here.width))]
known = 100 * float(taken[1] / sum(taken))
predict("share", f"{known:.6g} %", low=f"{0.998 * known:.6g} %", high=f"{1.002 * known:.6g} %")
### END SOLUTION


# %% key="share"
def key(v):
    there = here.of(v["track"])
    product, one = bound(there.rows, there.width, there.width, there.device, there.precision)
    return Key(len(PASSES) * one / (product + len(PASSES) * one), "%")


# %% show
width = BYTES[here.precision]
elements = here.rows * here.width
product = float(roofline(*product_cost(here.rows, here.width, here.width, width), here.device, precision=here.precision).seconds)
each = {name: float(roofline(0.0, 2 * width * elements, here.device, precision=here.precision).seconds) for name in PASSES}
reveal("share", units.format(sum(each.values()) / (product + sum(each.values())), "%"))
line("the product", product, "s")
for name, seconds in each.items():
    line(f"  {name}, {PASSES[name]} FLOP an element", seconds, "s")

# %% [markdown]
# A pass takes the time of its bytes, however little it computes: an activation costs what a bias does. Compilers therefore
# fuse: the product keeps its result in registers, the small things are done there, and only what comes out at the end is
# written.
#
# Write the time of such a block. The product takes the slower of arithmetic and traffic; a pass that stands alone reads and
# writes `rows` by `n` numbers and its arithmetic is left out; fused passes cost nothing. With rows, k and n of 100, one
# byte a number, 1 GFLOP/s and 10 MB/s the product takes 3 ms and each pass 2 ms.


# %% solution="block_seconds"
def block_seconds(rows, k, n, passes, width, peak, bandwidth, fused=False):
    """Least time of a product (rows, k) x (k, n) and of the passes after it, s.

    passes: how many; width: bytes of a number; peak in FLOP/s, bandwidth in B/s. All broadcast, except fused.
    """
    ### BEGIN SOLUTION
    flop, traffic = product_cost(np.asarray(rows), k, n, width)
    alone = 0 if fused else np.asarray(passes) * 2.0 * width * np.asarray(rows) * n / bandwidth
    return flop / attainable(flop, traffic, peak, bandwidth) + alone
    ### END SOLUTION


# %% check="block_seconds" points=4
check(
    "block_seconds",
    [
        case(100, 100, 100, 0, 1, 1e9, 1e7),
        case(100, 100, 100, 4, 1, 1e9, 1e7),
        case(100, 100, 100, 4, 1, 1e9, 1e7, fused=True),
    ],
    compare="value",
    rtol=1e-6,
)


# %% hidden="block_seconds"
def cases(rng):
    chips = [device(n) for n in ("h100", "a100", "l4", "jetson-agx-orin", "iphone-15-pro", "m4")]

    def drawn(rows, count):
        d = chips[rng.integers(len(chips))]
        k, n = (int(x) for x in rng.integers(500, 6000, size=2))
        return rows, k, n, count, 2, d.rate("fp16"), d.bandwidth.value

    for _ in range(3):
        yield case(*drawn(int(rng.integers(1500, 5000)), int(rng.integers(2, 7))), behaviour="a product and passes that stand alone")
    for _ in range(2):
        few, count = (int(x) for x in rng.integers(2, 9, size=2))
        yield case(*drawn(few, count), behaviour="a few rows, so that memory decides the product too")
    for _ in range(2):
        yield case(*drawn(int(rng.integers(100, 5000)), 4), fused=True, behaviour="fused passes move nothing")
    yield case(*drawn(np.array([2, 20, 300, 4000]) + rng.integers(0, 20, size=4), 3), behaviour="arrays broadcast")


# %% [markdown]
# ### Passes
# The bars are your function. How narrow must the weights be for the passes to take more time than the product? And which
# device of the list gains most from fusing: the one with the highest peak or the one with the lowest?

# %% show


def both(hardware, rows, width, passes, how):
    arguments = rows, width, width, passes, BYTES[here.precision], *roof(hardware)
    whole = float(block_seconds(*arguments, fused=how == "fused"))
    return {"product": float(block_seconds(*arguments, fused=True)), "whole": whole}


def draw_both(axes, result, settings):
    left = result["whole"] - result["product"]
    axes.bar(["product", "passes"], [1e6 * result["product"], 1e6 * left], color=["C0", "C1"], edgecolor="black", hatch="//")
    axes.set(ylabel="at least (µs)", title=f"{settings['rows']:,} rows, {settings['passes']} passes, {settings['how']}")
    axes.set_ylim(0, 1.15e6 * max(result["product"], left))


def say_both(result, settings):
    share = 1 - result["product"] / result["whole"]
    return (
        f"the block takes at least {units.format(result['whole'], 's')}, the product {units.format(result['product'], 's')} of it; "
        f"passes take {share:.0%} of the time."
    )


block_panel = explore(
    both,
    {
        "hardware": pick(*SHELF[here.track]),
        "rows": slider(1, 8192, start=here.rows, log=True),
        "width": slider(32, 8192, start=here.width, log=True),
        "passes": slider(0, 8, start=4),
        "how": pick("apart", "fused"),
    },
    draw=draw_both,
    say=say_both,
)
block_panel

# %% [markdown]
# ### Your block
# `mine["passes"]` passes follow your product. What share of the time do they take, each apart?

# %% answer="passing" points=2
passing = ""  # such as "35 %"
### BEGIN SOLUTION
arguments = (mine["rows"], mine["k"], mine["n"], mine["passes"], BYTES[mine["precision"]], own.rate(mine["precision"]), own.bandwidth.value)
passing = f"{100 * float(1 - block_seconds(*arguments, fused=True) / block_seconds(*arguments)):.9g} %"
### END SOLUTION


# %% key="passing"
def key(v):
    product, others = block(v)
    return Key(
        others / (product + others),
        "%",
        tol=0.02,
        mistakes=(
            Mistake(others / product, 0.5, "that is passes over the product; the share is of the whole block"),
            Mistake(others / 2 / (product + others / 2), 0.5, "a pass reads and writes; that counts one of the two"),
            Mistake(others / v["passes"] / (product + others), 0.25, "that is one pass"),
        ),
    )


# %% [markdown]
# ## 4. Your machine
# The roof of a real machine is measured: arithmetic in registers, and a long stream through memory. Then kernels are timed
# under it. These are TinyTorch's; take the `#` away from the first line, name the folder of your notebooks, and they are
# yours. Nothing here is graded.

# %% show
# tt.use("..")
print(tt.provenance())

# %%
SIZES = (16, 32, 64, 128, 256, 512)
KERNELS = {  # FLOP and bytes of a kernel on a square matrix of n by n numbers of 4 bytes
    "product": lambda n: (2.0 * n**3, 12.0 * n**2),
    "activation": lambda n: (1.0 * n**2, 8.0 * n**2),
}


@functools.lru_cache(maxsize=16)
def square(n, seed=0):
    return tt.Tensor(np.random.default_rng(seed + n).standard_normal((int(n), int(n)), np.float32))


RUNS = {"product": lambda n: square(n) @ square(n, 1), "activation": lambda n: tt.relu(square(n))}

# %% show
set_threads(1)
points = {name: measure(name, run, at=SIZES) for name, run in RUNS.items()}
if points["product"].x:
    limits = bench.roofline(points=False, budget=0.05)
    own_peak, own_bandwidth, whose = limits.peak, limits.bandwidth, "this machine, one thread"
    timed = [(name, n, s) for name in KERNELS for n, s in zip(points[name].x, points[name].seconds, strict=True)]
    print(limits.table([bench.Point(f"{name}, {n} x {n}", *KERNELS[name](n), s) for name, n, s in timed]))
else:  # in grading, and where measuring is turned off
    (own_peak, own_bandwidth), whose = roof(here.device), here.device
    print(*points.values(), sep="\n")

# %% [markdown]
# What to look for: a small product far below its roof, since calling it takes longer than doing it; small activations above
# the slope, since their numbers never left a cache and the slope is that of memory; a large product near the top, although
# it moves as many bytes as the activation beside it and half as many again.

# %% show


def at_home(kernel, size):
    flop, traffic = KERNELS[kernel](size)
    took = dict(zip(points[kernel].x, points[kernel].seconds, strict=True))
    measured = {"measured": flop / took[size]} if size in took else {}
    return {"intensity": flop / traffic, "bound": float(attainable(flop, traffic, own_peak, own_bandwidth))} | measured


def draw_home(axes, result, settings):
    axes.plot(INTENSITIES, attainable(INTENSITIES, 1.0, own_peak, own_bandwidth) / 1e9, "k-", linewidth=2, label=whose)
    for name, marker in (("product", "o"), ("activation", "s")):
        flop, traffic = KERNELS[name](np.array(points[name].x))
        rates = flop / np.array(points[name].seconds) / 1e9
        axes.plot(flop / traffic, rates, marker, markerfacecolor="none", label=f"{name}, measured")
    bound = result["intensity"], result["bound"] / 1e9
    axes.plot(*([x] for x in bound), "x", color="C3", markersize=11, markeredgewidth=3, label="bound of the chosen one")
    log_axes(axes, own_peak / 1e15, own_peak / 1e9 * 3)
    axes.set(xlabel="intensity (FLOP/B)", ylabel="GFLOP/s", title=f"{settings['kernel']} of {settings['size']} x {settings['size']}")
    axes.legend(loc="lower right", fontsize="small")


def say_home(result, settings):
    text = f"{result['intensity']:.3g} FLOP/B; {whose} allows {units.format(result['bound'], 'FLOP/s')}"
    if "measured" in result:
        return f"{text}; measured {units.format(result['measured'], 'FLOP/s')}, {result['measured'] / result['bound']:.0%} of it."
    return f"{text}; not measured here."


home_panel = explore(
    at_home, {"kernel": pick("product", "activation"), "size": pick(*SIZES, start=256)}, draw=draw_home, say=say_home
)
home_panel

# %% [markdown]
# ## 5. Decide
# For your block you may have one of three things: twice the "arithmetic", twice the "memory bandwidth", or a compiler that
# makes one pass of all "passes". Which shortens the block most? Compute all three before you name one; a block may well
# be bound by the first and helped more by the third. Name three answers of yours that the decision rests on, the alternative
# that you turned down, and what could prove you wrong. Half of the points are for the choice, a third for the answers.

# %% decision="buy" points=4
# buy = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
rows, k, n, passes, width, peak, bandwidth = arguments
after = {
    "arithmetic": block_seconds(rows, k, n, passes, width, 2 * peak, bandwidth),
    "memory bandwidth": block_seconds(rows, k, n, passes, width, peak, 2 * bandwidth),
    "passes": block_seconds(rows, k, n, 1, width, peak, bandwidth),
}
buy = decision(
    claim="The change that shortens the block most",
    binding=min(after, key=after.get),
    evidence=("enough", "rate", "passing"),
    rejected="Twice the peak helps the product alone",
    risk="Caches may hold what passes hand on",
)
### END SOLUTION


# %% key="buy"
def key(v):
    after, now = changed(v), sum(block(v))
    best = min(after, key=after.get)
    said = {name: f"the block would take {after[name] / now:.0%} of its time now, which another change undercuts" for name in CHANGES}
    return Decision(best, CHANGES, {name: text for name, text in said.items() if name != best})


# %% [markdown] rubric="roof" points=3
# A vendor offers a chip for your block "with twice the FLOP/s". Say in at most five sentences what it would gain. Give the
# time of your block before and after, the intensity of your product beside the ridge of both chips, and what you would ask
# the vendor about next.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. Two times of the whole block, passes included, and their ratio follow from the writer's own numbers.
# 2. The intensity is compared with both ridges (the second is twice as far), and the sentence says which part of the block
#    gains: the product only if it lies to the right of the ridge, the passes never.
# 3. The question to the vendor is about what binds: bandwidth, cache, or fusing; or the precision and sparsity for which the
#    FLOP/s are printed.
# ### END MARK SCHEME
