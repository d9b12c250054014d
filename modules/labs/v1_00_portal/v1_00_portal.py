# %% [markdown]
# # Lab V1-00: Portal
#
# Two networks are offered for one device, and one of them is a far smaller file. Which answers first? Most people take the
# small one. This lab asks the question properly, and on the way you meet the tools that all labs use.
#
# **Afterwards you can** ask MLSys·im about a model and a device, lock a bet, have a function checked, and say of a network
# on a device whether it fits and what it waits for.
#
# **How to work.** Run the cells in order. You choose one of four tracks; it stays yours in every lab that you have not begun.
# Once you bet before you look. Two functions are yours, each followed by a check with worked examples; hidden cases are run
# when the lab is graded. Three answers use numbers of your own. A decision and a few sentences close it. The panel has
# controls; without a mouse, Tab reaches them and the arrow keys move them. Times of a pass are bounds from MLSys·im: real
# ones are longer, never shorter. Allow three quarters of an hour.

# %%
from mlsysbook import answer, case, check, choose, decision, explore, ledger, pick, predict, reveal, scenario, slider, variant
from mlsysim import device, model, ridge, roofline, units

PLACES = dict(
    cloud={
        "title": "A photo archive",
        "story": "A library labels its photographs on one card in a data centre, at night, many at a time.",
        "device": "l4",
        "bits": 16,
        "small": "efficientnet-b4",
        "large": "vit-b-32",
    },
    edge={
        "title": "A belt of parcels",
        "story": "A board above a belt sorts parcels by what a camera sees. A parcel is gone after half a second.",
        "device": "jetson-orin-nano",
        "bits": 16,
        "small": "efficientnet-b0",
        "large": "resnet-18",
    },
    mobile={
        "title": "A plant finder",
        "story": "A phone names the plant in front of its camera. It should not get warm in the hand.",
        "device": "iphone-15-pro",
        "bits": 16,
        "small": "yolo-v8n",
        "large": "resnet-18",
    },
    tiny={
        "title": "A pump that should not fail",
        "story": "A microcontroller listens to a pump. Its memory is smaller than this notebook.",
        "device": "stm32f746",
        "bits": 8,
        "small": "ds-cnn",
        "large": "autoencoder",
    },
)
PRECISION = {8: "int8", 16: "fp16", 32: "fp32"}


def line(text, value, unit=""):
    print(f"{text:<44} {units.format(value, unit)}")


# %% variants
import itertools

from mlsysbook import Decision, Key, Mistake

LIMITS = ("arithmetic", "memory traffic", "capacity")
OFFERS = {
    "cloud": (("t4", "l4", "a100", "h100"), (16,), ("resnet-50", "vit-b-16", "efficientnet-b4", "convnext-tiny")),
    "edge": (("jetson-orin-nano", "jetson-agx-orin", "jetson-xavier-nx"), (16,), ("resnet-50", "vit-b-16", "yolo-v8s", "vgg-16")),
    "mobile": (("iphone-15-pro", "m4", "m2"), (16,), ("mobilenet-v3-large", "vit-b-16", "yolo-v8s", "vgg-16")),
    "tiny": (
        ("stm32f746", "nrf5340", "rp2350", "ethos-u55-256", "max78000"),
        (8,),
        ("ds-cnn", "resnet-8", "autoencoder", "mobilenet-v1-0.25", "mobilenet-v2"),
    ),
}
BATCHES = {"tiny": (2, 3, 4, 6)}


def work(v):
    """FLOP, bytes moved, bytes of weights and bytes of activations alive of a variant."""
    net, width, batch = model(v["network"]), v["bits"] / 8, v["batch"]
    weights = width * net.params
    return batch * net.flop, weights + batch * (net.traffic(width) - weights), weights, batch * width * net.working()


def limit_of(v):
    flop, traffic, weights, alive = work(v)
    d = device(v["device"])
    room = alive <= d.memory.value and weights <= d.storage if d.flash else weights + alive <= d.memory.value
    roof = roofline(flop, traffic, d, precision=PRECISION[v["bits"]]).roof
    return {"compute": "arithmetic", "memory": "memory traffic"}[str(roof)] if room else "capacity"


def pool():
    """Up to eight networks on devices for each limit, where each slip has a number of its own."""
    for track, (devices, widths, networks) in OFFERS.items():
        found = {name: [] for name in LIMITS}
        for batch, name, bits, network in itertools.product(BATCHES.get(track, (2, 4, 16, 64, 20_000)), devices, widths, networks):
            v = {"track": track, "network": network, "device": name, "bits": bits, "batch": batch}
            flop, traffic, weights, alive = work(v)
            d, one = device(name), work(v | {"batch": 1})
            compute, memory = flop / d.rate(PRECISION[bits]), traffic / d.bandwidth.value
            single = max(one[0] / d.rate(PRECISION[bits]), one[1] / d.bandwidth.value)
            top = ridge(d, precision=PRECISION[bits])
            sets = (
                (max(compute, memory), min(compute, memory), compute + memory, single),
                (flop / traffic, flop / traffic / 2, top, one[0] / one[1]),
            )
            if all(abs(a - b) > 0.06 * max(a, b) for s in sets for a, b in itertools.combinations(s, 2)) and alive > 0.06 * weights:
                found[limit_of(v)].append(v)
        for each in found.values():
            yield from each[:: max(1, len(each) // 8)][:8]


# %% [markdown]
# ## 1. Four tools
# **Units.** Inside there are seconds, bytes, FLOP and joules; text is read at the edge and refused where it measures
# something else. A byte is eight bits, MB is a million bytes, a multiply-add is two FLOP.

# %% show
print(units.parse("25 MB"), units.parse("100 Mbit/s"), units.parse("4.1 GMAC"), sep="\n")
print(units.format(0.0123, "s"), units.format(8e9, "B"), sep=", ")

# %% [markdown]
# **Models and devices.** `model` knows networks by their published configurations, `device` knows what makers print, each
# figure with its source.

# %% show
photo = model("resnet-50")
line("weights", photo.params)
line("work for a picture", photo.flop, "FLOP")
line("bytes moved for a picture, 2 a number", photo.traffic(bytes_per=2), "B")
print(device("l4").bandwidth, device("l4").peak["fp16"], device("l4").memory, sep="\n")

# %% [markdown]
# **Bounds.** `roofline` is the first thing to ask. Arithmetic and memory traffic go on at the same time, so a pass
# takes at least as long as the slower of them.

# %% show
bound = roofline(photo.flop, photo.traffic(bytes_per=2), "l4", precision="fp16")
line("arithmetic alone", photo.flop / device("l4").rate("fp16"), "s")
line("memory traffic alone", photo.traffic(bytes_per=2) / device("l4").bandwidth.value, "s")
line("a picture takes at least", float(bound.seconds), "s")
print(f"{'decided by':<44} {bound.roof}")

# %% [markdown]
# **Your track.** Labs are played in four places. The questions are the same, the answers are not.

# %% show
for name, there in PLACES.items():
    print(f"{name:<7} {there['title']}. {there['story']}")

# %% [markdown]
# Choose one: take the `#` away from one line below and run the cell. Without a choice a lot decides. The cell after it fixes
# the track of this lab for good, so choose first.

# %% show
# choose("cloud")
# choose("edge")
# choose("mobile")
# choose("tiny")

# %%
here = scenario(**PLACES)
here

# %%
mine = variant()

# %% show
for name, value in mine.items():
    print(f"{name:<8} {value}")

# %% [markdown]
# ## 2. A bet
# Your place has two offers, `here.small` and `here.large`. This is what their files weigh.

# %% show
for name in (here.small, here.large):
    print(f"{model(name).title:<44} {units.format(model(name).params * here.bits / 8, 'B')} of weights")

# %% [markdown]
# One input each, on `here.device`. How many times as long as the large one does the small one take, at least? Write 0.25 if
# it needs a quarter of the time, and 4 if it needs four times as long. Add a low and a high value between which the truth
# should lie nine times in ten. You cannot change it later. Half of the point is for betting at all, the other half for an
# interval that is narrow and holds the truth.

# %% predict="small_over_large" points=1
# predict("small_over_large", "...", low="...", high="...")
### BEGIN SOLUTION
nets, chosen = (model(here.small), model(here.large)), PRECISION[here.bits]
took = [roofline(n.flop, n.traffic(here.bits / 8), here.device, precision=chosen).seconds for n in nets]
bet = float(took[0] / took[1])
predict("small_over_large", f"{bet:.6g}", low=f"{0.999 * bet:.6g}", high=f"{1.001 * bet:.6g}")
### END SOLUTION


# %% key="small_over_large"
def key(v):
    place = PLACES[v["track"]]

    def seconds(name):
        net = model(name)
        return roofline(net.flop, net.traffic(place["bits"] / 8), place["device"], precision=PRECISION[place["bits"]]).seconds

    return Key(float(seconds(place["small"]) / seconds(place["large"])), "")


# %% show
import matplotlib.pyplot as plt


def bounds(name):
    """Seconds of arithmetic alone and of memory traffic alone, for one input at your place."""
    net, chip = model(name), device(here.device)
    return net.flop / chip.rate(PRECISION[here.bits]), net.traffic(here.bits / 8) / chip.bandwidth.value


times = {name: bounds(name) for name in (here.small, here.large)}
reveal("small_over_large", f"{max(times[here.small]) / max(times[here.large]):.4g}")
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for row, (arithmetic, traffic) in enumerate(times.values()):
    axes.barh(row + 0.2, 1e3 * arithmetic, 0.36, color="C0", hatch="//", edgecolor="black", label="arithmetic" if row == 0 else None)
    axes.barh(row - 0.2, 1e3 * traffic, 0.36, color="C1", hatch="..", edgecolor="black", label="memory traffic" if row == 0 else None)
axes.set(yticks=[0, 1], yticklabels=list(times), xlabel="one input, at least (ms)", title="The longer bar of a network is its time")
figure.legend(loc="outside lower center", ncols=2)
plt.show()
for name, (arithmetic, traffic) in times.items():
    net = model(name)
    size = f"{units.format(net.params * here.bits / 8, 'B')} of weights, {units.format(net.flop, 'FLOP')}"
    print(f"Figure: {net.title}: {size}; arithmetic {units.format(arithmetic, 's')}, memory traffic {units.format(traffic, 's')}.")

# %% [markdown]
# The size of the file is in neither bar. Arithmetic counts each weight as often as it is used: once in a layer of a plain
# network, at every position of the picture in a convolution. Traffic counts the weights and what layers hand on to each
# other, which in a thin, deep network is more than the weights. So ask for both, and for the size only where it must fit.

# %% [markdown]
# ## 3. The time of a pass
# Write the time of a pass. A batch of inputs shares the reading of the weights: with 50 MB of weights and 40 MB of
# everything else for one input, a batch of 10 moves 50 + 400 MB.


# %% solution="pass_seconds"
def pass_seconds(network, hardware, bits, batch=1):
    """Least time of one pass over `batch` inputs, weights read once.

    network, hardware: names that `model` and `device` know. bits of a number: a key of PRECISION. -> s, a float.
    """
    ### BEGIN SOLUTION
    net, chip = model(network), device(hardware)
    weights = bits / 8 * net.params
    traffic = weights + batch * (net.traffic(bits / 8) - weights)
    return max(batch * net.flop / chip.rate(PRECISION[bits]), traffic / chip.bandwidth.value)
    ### END SOLUTION


# %% check="pass_seconds" points=4
check(
    "pass_seconds",
    [case("resnet-50", "l4", 16), case("resnet-50", "l4", 16, 10), case("ds-cnn", "stm32f746", 8)],
    compare="value",
    rtol=1e-6,
)


# %% hidden="pass_seconds"
def cases(rng):
    nets = ("resnet-18", "mobilenet-v2", "vit-b-16", "vgg-16", "densenet-121", "convnext-tiny")
    fast = ("a100", "h100", "t4", "jetson-agx-orin", "iphone-15-pro", "m4")
    for _ in range(4):
        yield case(str(rng.choice(nets)), str(rng.choice(fast)), 16, behaviour="the slower of arithmetic and traffic, one input")
    for chip in ("stm32h743", "rp2350"):
        yield case(str(rng.choice(["resnet-8", "ds-cnn"])), chip, 8, behaviour="the slower of arithmetic and traffic, one input")
    for _ in range(3):
        yield case(str(rng.choice(nets)), str(rng.choice(fast)), 16, int(rng.integers(2, 40)), behaviour="a batch reads the weights once")
    yield case("vit-b-16", "h100", 16, int(rng.integers(200, 400)), behaviour="a batch reads the weights once")
    for bits, chip in ((8, "h100"), (32, "a100"), (32, "stm32f746"), (8, "coral")):
        yield case(str(rng.choice(["ds-cnn", "resnet-8"])), chip, bits, behaviour="bits decide the bytes and the rate")
    yield case("ds-cnn", "ethos-u55-256", 16, behaviour="a device without that precision is not guessed at")


# %% [markdown]
# ### The panel
# It uses your function. Does a batch make an input cheaper, and until when? Which network never gets down to the dashed line,
# and on which device does it? On a microcontroller: what do four bytes a number cost instead of one?

# %%
SHELF = {
    "cloud": (("l4", "t4", "a100", "h100"), (16, 8)),
    "edge": (("jetson-orin-nano", "jetson-agx-orin", "jetson-xavier-nx"), (16, 8)),
    "mobile": (("iphone-15-pro", "m4", "m2"), (16, 8)),
    "tiny": (("stm32f746", "nrf5340", "rp2350"), (8, 32)),
}
shelf, widths = SHELF[here.track]

# %% show
import numpy as np

BATCHES_DRAWN = np.unique(np.geomspace(1, 256, 25).astype(int))


def ask(network, hardware, bits, batch):
    net = model(network)
    return {
        "seconds": pass_seconds(network, hardware, bits, batch),
        "arithmetic": batch * net.flop / device(hardware).rate(PRECISION[bits]),
        "weights": bits / 8 * net.params,
    }


def draw_ask(axes, result, settings):
    chosen = [settings[k] for k in ("network", "hardware", "bits")]
    each = [1e3 * pass_seconds(*chosen, int(b)) / b for b in BATCHES_DRAWN]
    axes.semilogx(BATCHES_DRAWN, each, "o-", markersize=3, label="your function")
    floor = 1e3 * result["arithmetic"] / settings["batch"]
    axes.axhline(floor, color="black", linestyle="--", label="arithmetic alone")
    axes.plot([settings["batch"]], [1e3 * result["seconds"] / settings["batch"]], "kx", markersize=11, label="here")
    axes.set_xticks([1, 4, 16, 64, 256], ["1", "4", "16", "64", "256"])
    axes.minorticks_off()
    title = f"{settings['network']} on {settings['hardware']}"
    axes.set(xlabel="batch", ylabel="an input, at least (ms)", ylim=(0, 1.2 * max(each)), title=title)
    axes.legend(loc="lower left")


def say_ask(result, settings):
    limit = "arithmetic" if result["seconds"] <= result["arithmetic"] * 1.000001 else "memory traffic"
    return (
        f"{units.format(result['weights'], 'B')} of weights; a pass takes at least {units.format(result['seconds'], 's')}, "
        f"{units.format(result['seconds'] / settings['batch'], 's')} an input, and {limit} decides; arithmetic alone takes "
        f"{units.format(result['arithmetic'] / settings['batch'], 's')} an input."
    )


pass_panel = explore(
    ask,
    {
        "network": pick(here.small, here.large, "resnet-50" if here.track != "tiny" else "resnet-8"),
        "hardware": pick(*shelf),
        "bits": pick(*widths),
        "batch": slider(1, 256, start=1, log=True),
    },
    draw=draw_ask,
    say=say_ask,
)
pass_panel

# %% [markdown]
# ### Your numbers
# `mine` names a network, a device, the bits of a number and a batch. They differ from your neighbour's. How many bytes are
# its weights?

# %% answer="weights" points=2
weights = ""  # such as "3.2 MB"
### BEGIN SOLUTION
weights = f"{model(mine['network']).params * mine['bits'] / 8:.9g} B"
### END SOLUTION


# %% key="weights"
def key(v):
    _, _, size, alive = work(v)
    return Key(
        size,
        "B",
        tol=0.01,
        mistakes=(
            Mistake(8 * size, 0.25, "those are bits; a byte is eight"),
            Mistake(size + alive, 0.25, "the activations are counted as well; the question is about the weights"),
        ),
    )


# %% [markdown]
# How long does one pass over the whole batch take, at least? If it does not fit the device, compute it all the same.

# %% answer="seconds" points=2
seconds = ""  # such as "3.2 ms"
### BEGIN SOLUTION
seconds = f"{pass_seconds(mine['network'], mine['device'], mine['bits'], mine['batch']):.9g} s"
### END SOLUTION


# %% key="seconds"
def key(v):
    def times(batch):
        flop, traffic, *_ = work(v | {"batch": batch})
        d = device(v["device"])
        return flop / d.rate(PRECISION[v["bits"]]), traffic / d.bandwidth.value, roofline(
            flop, traffic, d, precision=PRECISION[v["bits"]]).seconds

    compute, memory, whole = times(v["batch"])
    return Key(
        float(whole),
        "s",
        tol=0.02,
        mistakes=(
            Mistake(compute + memory, 0.25, "both go on at the same time, so they are not added; the slower decides"),
            Mistake(min(compute, memory), 0.25, "that is the quicker of the two; a pass has to wait for the slower"),
            Mistake(float(times(1)[2]), 0.25, "that is one input; the question is about the batch"),
        ),
    )


# %% [markdown]
# Intensity is the work for each byte moved, FLOP/B. What is it for your pass? A device can do `ridge(device, precision=...)`
# FLOP while it moves a byte: above that, arithmetic decides.

# %% answer="intensity" points=2
intensity = ""  # such as "85 FLOP/B"
### BEGIN SOLUTION
net, width = model(mine["network"]), mine["bits"] / 8
moved = width * net.params + mine["batch"] * (net.traffic(width) - width * net.params)
intensity = f"{mine['batch'] * net.flop / moved:.9g} FLOP/B"
### END SOLUTION


# %% key="intensity"
def key(v):
    flop, traffic, *_ = work(v)
    one = work(v | {"batch": 1})
    return Key(
        flop / traffic,
        "FLOP/B",
        tol=0.02,
        mistakes=(
            Mistake(flop / traffic / 2, 0.5, "those are multiply-adds; each is two FLOP"),
            Mistake(one[0] / one[1], 0.5, "that is one input; a batch shares the reading of the weights"),
            Mistake(ridge(v["device"], precision=PRECISION[v["bits"]]), 0.0, "that is the ridge of the device, not your pass"),
        ),
    )


# %% [markdown]
# ## 4. What fits
# Size matters once: it must fit. A microcontroller keeps weights in flash and what layers hand on in memory; a
# device without flash keeps both in memory. `net.working(batch=4)` counts the numbers that are alive at the worst moment,
# `chip.flash` is `None` where there is none, and `chip.storage`, `chip.memory.value` are bytes.

# %% show
chip = device(here.device)
print(f"flash: {chip.flash}", f"memory: {chip.memory}", sep="\n")
for name in (here.small, here.large):
    net, width = model(name), here.bits / 8
    print(f"{name:<20} weights {units.format(width * net.params, 'B'):>8}   alive {units.format(width * net.working(batch=1), 'B'):>8}")

# %% [markdown]
# Write which of several networks fit a device, the quickest first.


# %% solution="fitting"
def fitting(networks, hardware, bits, batch=1):
    """Names of those networks that fit a device, by the time of a pass over `batch` inputs, the quickest first.

    Weights fit the storage and live activations the memory; without flash both together fit the memory. -> list of names.
    """
    ### BEGIN SOLUTION
    chip, found = device(hardware), []
    for name in networks:
        kept, alive = bits / 8 * model(name).params, bits / 8 * model(name).working(batch=batch)
        room = alive <= chip.memory.value and kept <= chip.storage if chip.flash else kept + alive <= chip.memory.value
        found += [name] if room else []
    return sorted(found, key=lambda name: pass_seconds(name, hardware, bits, batch))
    ### END SOLUTION


# %% check="fitting" points=4
check(
    "fitting",
    [
        case(["mobilenet-v1", "ds-cnn", "autoencoder"], "stm32f746", 8),
        case(["resnet-50", "vgg-16"], "jetson-orin-nano", 16, 4000),
    ],
    compare="value",
)


# %% hidden="fitting"
def cases(rng):
    small = ["ds-cnn", "resnet-8", "autoencoder", "mobilenet-v1-0.25", "mobilenet-v1", "mobilenet-v2"]
    for chip in ("stm32f746", "nrf5340", "nrf52840", "stm32l4r5"):
        yield case([str(n) for n in rng.permutation(small)], chip, 8, behaviour="weights fit the flash, what is alive the memory")
    yield case(["resnet-8", "mobilenet-v2"], "rp2350", 8, 3, behaviour="weights fit the flash, what is alive the memory")
    nets = ["resnet-18", "resnet-50", "vit-b-32", "efficientnet-b4", "densenet-121"]
    for name in ("l4", "jetson-agx-orin", "iphone-15-pro"):
        order = [str(n) for n in rng.permutation(nets)]
        yield case(order, name, 16, int(rng.integers(1, 6)), behaviour="the quickest first, whatever its size")
    for name in ("jetson-orin-nano", "iphone-15-pro"):
        d = device(name)
        net = model(str(rng.choice(["vgg-16", "vit-b-16"])))
        batch = int((d.memory.value - net.params) / (2 * net.working()))  # each fits alone, both together do not
        yield case([net.name, "mobilenet-v2"], name, 16, batch, behaviour="without flash, weights and activations share the memory")
    yield case(["vgg-16", "resnet-50"], "nrf52840", 8, behaviour="nothing fits, and that is an empty list")


# %% show
print("of all that could be offered, quickest first:")
for name in fitting(["mobilenet-v2", "resnet-50", "ds-cnn", "autoencoder", here.small, here.large], here.device, here.bits):
    print(f"  {name:<20} {units.format(pass_seconds(name, here.device, here.bits), 's'):>9}")

# %% [markdown]
# ## 5. Decide
# Your network on your device: which limit would you have to move first? It is "capacity" if it does not fit, otherwise the
# slower of "arithmetic" and "memory traffic". Name three answers of yours that the decision rests on, the alternative that
# you turned down, and what could prove you wrong. Half of the points are for the limit, a third for the answers.

# %% decision="first" points=3
# first = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
top = ridge(mine["device"], precision=PRECISION[mine["bits"]])
slower = "arithmetic" if float(intensity.split()[0]) >= top else "memory traffic"
room = fitting([mine["network"]], mine["device"], mine["bits"], mine["batch"])
first = decision(
    claim="The slower limit decides once the network fits",
    binding=slower if room else "capacity",
    evidence=("weights", "seconds", "intensity"),
    rejected="A smaller file alone would not answer sooner",
    risk="Bounds leave out starting each of the layers",
)
### END SOLUTION


# %% key="first"
def key(v):
    flop, traffic, size, alive = work(v)
    d, found = device(v["device"]), limit_of(v)
    need = f"weights and live activations need {units.format(size + alive, 'B')}"
    wrong = {
        "capacity": f"{need}, and there is room for them",
        "arithmetic": f"it does {units.format(flop / traffic, 'FLOP/B')}, below the ridge of the device",
        "memory traffic": f"it does {units.format(flop / traffic, 'FLOP/B')}, above the ridge of the device",
    }
    if found == "capacity":
        wrong |= dict.fromkeys(("arithmetic", "memory traffic"), f"{need}, which do not fit {d.title}")
    return Decision(found, LIMITS, {k: s for k, s in wrong.items() if k != found})


# %% show
ledger().put("network", mine["network"])
print(f"kept for later labs: {ledger().look('network', 'nothing, since this is a grading run')}")

# %% [markdown] rubric="size" points=2
# A colleague says: "Take the small network, it is a smaller file, so it is faster." Answer for the two offers of your place,
# with two numbers from section 2, and say when the colleague would be right. Four sentences at most.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. Two times, or two amounts of work or traffic, of the two offers are compared, and they show that the small one is not
#    faster although its file is smaller.
# 2. A condition under which size does decide is named: the large one does not fit flash or memory, or reading weights is
#    nearly all of the traffic (a plain network or a language model at a batch of one), or the file has to be sent.
# ### END MARK SCHEME
