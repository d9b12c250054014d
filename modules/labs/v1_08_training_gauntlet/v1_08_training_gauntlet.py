# %% [markdown]
# # Lab V1-08: Training Gauntlet
#
# A model that answers with ease on a device runs out of memory on it as soon as it learns. Two remedies are on every list:
# half as many bits, and computing again what there was no room to keep. Both work. Neither does what its name promises.
#
# **Afterwards you can** say what training keeps in memory and for what, what mixed precision saves and what it does not, how
# far recomputation stretches a batch and at which price, and which limit a training step has run into.
#
# **How to work.** Twice you bet before you look. Three functions are yours, each followed by a check with worked
# examples; hidden cases are run when the lab is graded. Three answers use numbers of your own. A decision and a few
# sentences close it. The panels have sliders; without a mouse, Tab reaches them and the arrow keys move them. Each panel
# says in one sentence what its figure shows. Times of a step are bounds: real ones are longer, never shorter. Allow
# fifty-five minutes.

# %%
import numpy as np

from mlsysbook import answer, case, check, decision, explore, pick, predict, reveal, scenario, slider, variant
from mlsysim import device, model, roofline, units
from mlsysim.training import activation_bytes, state_bytes

PLACES = dict(
    cloud={
        "title": "A model of language, taught anew",
        "story": "A company trains all weights of a small model of language on its own texts, on one card.",
        "network": "llama-3.2-3b",
        "device": "h100",
        "tokens": 2048,
    },
    edge={
        "title": "A robot that learns at night",
        "story": "While it charges, a robot trains its model of language on what it heard during the day. Nothing leaves it.",
        "network": "llama-3.2-1b",
        "device": "jetson-agx-orin",
        "tokens": 2048,
    },
    mobile={
        "title": "A keyboard that learns its owner",
        "story": "A phone trains the model behind its keyboard while it lies on the charger.",
        "network": "gpt-2",
        "device": "tensor-g3",
        "tokens": 1024,
    },
    tiny={
        "title": "A door that learns faces",
        "story": "A microcontroller at a door trains its network on pictures of those who may come in.",
        "network": "mobilenet-v1-0.25",
        "device": "cortex-m55",
        "tokens": 1,
    },
)
WIDTH = {"fp32": 4, "mixed": 2}  # bytes of a number in the passes
RATE = {"fp32": "fp32", "mixed": "fp16"}  # the arithmetic that does them
STATES = {  # bytes a parameter: weights, gradients, and what the optimizer keeps
    ("fp32", "adam"): (4, 4, 8),
    ("mixed", "adam"): (2, 2, 12),
    ("fp32", "momentum"): (4, 4, 4),
    ("mixed", "momentum"): (2, 2, 8),
}


def layers_of(network, precision, tokens):
    """Bytes that each layer keeps for the backward pass, and bytes of each layer's input, for one input of the network.

    A decoder has its layers and a head, whose logits are kept in 32 bits; an input is a sequence of `tokens`.
    """
    net, width = model(network), WIDTH[precision]
    if not getattr(net, "causal", False):
        layers = [x for x in net.layers if x.kind in ("gemm", "depthwise")]
        return np.array([width * (x.reads + x.writes) for x in layers], float), np.array([width * x.reads for x in layers], float)
    keeps = activation_bytes(net, micro_batch=1, tokens=tokens, bytes_per=width)
    taken = activation_bytes(net, micro_batch=1, tokens=tokens, bytes_per=width, recompute="full")
    return np.array([keeps] * net.layers + [taken + 4.0 * tokens * net.vocab]), np.array([taken] * (net.layers + 1))


def forward_flop(network, tokens):
    """FLOP of the forward pass of one input."""
    net = model(network)
    return tokens * net.flop_per_token((tokens - 1) / 2) if getattr(net, "causal", False) else net.flop


def line(text, value, unit=""):
    print(f"{text:<52} {units.format(value, unit)}")


# %% variants
import itertools

from mlsysbook import Decision, Key, Mistake

LIMITS = ("states", "activations", "arithmetic", "memory bandwidth")
OFFERS = {
    "cloud": (("h100", "a100", "l4"), ("llama-3.2-1b", "llama-3.2-3b", "gpt-2-xl", "qwen3-4b"), (512, 2048)),
    "edge": (("jetson-agx-orin", "jetson-orin-nano"), ("llama-3.2-1b", "qwen2.5-0.5b", "gpt-2-medium"), (256, 1024)),
    "mobile": (("tensor-g3", "m4", "iphone-15-pro"), ("gpt-2", "gpt-2-medium", "qwen2.5-0.5b"), (128, 512)),
    "tiny": (("cortex-m55", "stm32h743", "rp2350"), ("mobilenet-v1-0.25", "ds-cnn", "resnet-8", "autoencoder"), (1,)),
}


def stretches(inside, taken, every):
    """Bytes of the checkpoints, and of the largest stretch between two."""
    starts = range(0, len(inside), every)
    return float(sum(taken[i] for i in starts)), float(max(sum(inside[i : i + every]) for i in starts))


def plan_of(v):
    """Bytes of the states, kept for one input, kept without recomputing, and the roofline of a step of the variant's batch."""
    inside, taken = layers_of(v["network"], v["precision"], v["tokens"])
    params, width = model(v["network"]).params, WIDTH[v["precision"]]
    weights, gradients, optimizer = STATES[v["precision"], v["optimizer"]]
    states = float(sum(state_bytes(params, weights=weights, gradients=gradients, optimizer=optimizer)))
    flop = 4 * v["batch"] * forward_flop(v["network"], v["tokens"])
    traffic = 4.0 * width * params + 2.0 * v["batch"] * inside.sum() + 2.0 * states
    step = roofline(flop, traffic, v["device"], precision=RATE[v["precision"]])
    return states, stretches(inside, taken, v["every"]), float(inside.sum()), step


def limit_of(v):
    states, held, _, step = plan_of(v)
    if states + v["batch"] * sum(held) > device(v["device"]).memory.value:
        return "states" if states > v["batch"] * sum(held) else "activations"
    return {"compute": "arithmetic", "memory": "memory bandwidth"}[str(step.roof)]


def apart(*values):
    return all(abs(a - b) > 0.05 * max(a, b) for a, b in itertools.combinations(values, 2))


def pool():
    for track, (names, networks, lengths) in OFFERS.items():
        found = {name: [] for name in LIMITS}
        for every, batch, optimizer, precision, name, network, tokens in itertools.product(
            (2, 3, 4, 5), (1, 3, 8, 24, 100, 400), ("adam", "momentum"), ("mixed", "fp32"), names, networks, lengths
        ):
            if RATE[precision] not in device(name).peak:
                continue
            v = {"track": track, "network": network, "device": name, "tokens": tokens, "precision": precision}
            v |= {"optimizer": optimizer, "every": every, "batch": batch}
            states, held, plain, _ = plan_of(v)
            memory = device(name).memory.value
            fits, full, blind = (int(max(x, 0) // y) for x, y in (
                (memory - states, sum(held)), (memory - states, plain), (memory, sum(held))))
            need = states + batch * sum(held)
            clear = abs(need - memory) > 0.03 * memory and apart(states, batch * sum(held))
            if clear and apart(sum(held), plain, *held) and 1 < fits < 1000 and apart(fits, full, blind):
                found[limit_of(v)].append(v)
        for each in found.values():
            yield from each[:: max(1, len(each) // 6)][:6]


# %%
here = scenario(**PLACES)
here

# %%
mine = variant()
chip, net = device(here.device), model(here.network)

# %% show
line("parameters", net.params)
line("weights alone, to answer, in 16 bits", 2 * net.params, "B")
print(f"{'memory of the device':<52} {chip.memory}")
for precision, name in RATE.items():
    print(f"{'arithmetic, ' + precision:<52} {chip.peak[name]}")
for name, value in mine.items():
    print(f"{name:<12} {value}")

# %% [markdown]
# ## 1. Half the bits
# Training keeps the weights, a gradient for each of them, what the optimizer remembers of each (Adam: two moments), and
# the activations of every layer until the backward pass has used them. In fp32 each of these numbers has four bytes.
#
# Mixed precision does its passes in 16 bits: weights, gradients and activations are half as long. By which factor does the
# memory shrink, with Adam and a batch of one? Write 2 if half of it is left, and 1 if nothing is saved. Add a low and a high
# value between which the truth should lie nine times in ten. You cannot change it later. Half of the point is for betting
# at all, the other half for an interval that is narrow and holds the truth.

# %% predict="halved" points=1
# predict("halved", "...", low="...", high="...")
### BEGIN SOLUTION
sizes = [sum(STATES[p, "adam"]) * net.params + layers_of(here.network, p, here.tokens)[0].sum() for p in ("fp32", "mixed")]
saved = float(sizes[0] / sizes[1])
predict("halved", f"{saved:.6g}", low=f"{0.998 * saved:.6g}", high=f"{1.002 * saved:.6g}")
### END SOLUTION


# %% key="halved"
def key(v):
    there = here.of(v["track"])

    def needed(precision):
        weights, gradients, optimizer = STATES[precision, "adam"]
        kept = layers_of(there.network, precision, there.tokens)[0].sum()
        return sum(state_bytes(model(there.network).params, weights=weights, gradients=gradients, optimizer=optimizer)) + kept

    return Key(float(needed("fp32") / needed("mixed")), "")


# %% show
import matplotlib.pyplot as plt

NAMES, HATCHES = ("weights", "gradients", "optimizer", "activations"), ("", "//", "..", "xx")
parts = {}
for precision in RATE:
    weights, gradients, optimizer = STATES[precision, "adam"]
    held = state_bytes(net.params, weights=weights, gradients=gradients, optimizer=optimizer)
    parts[precision] = [float(x) for x in (*held, layers_of(here.network, precision, here.tokens)[0].sum())]
reveal("halved", f"{sum(parts['fp32']) / sum(parts['mixed']):.4g}")
scale, unit = (1e9, "GB") if chip.memory.value > 1e9 else (1e6, "MB")
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
for row, values in enumerate(parts.values()):
    left = 0.0
    for i, (value, hatch) in enumerate(zip(values, HATCHES, strict=True)):
        axes.barh(row, value / scale, left=left, color=f"C{i}", hatch=hatch, edgecolor="black", label=NAMES[i] if row == 0 else None)
        left += value / scale
axes.axvline(chip.memory.value / scale, color="black", linestyle="--")
axes.set(yticks=[0, 1], yticklabels=list(parts), xlabel=f"{unit}; dashed: what the device has", title="A batch of one, with Adam")
figure.legend(loc="outside lower center", ncols=4)
plt.show()
for precision, values in parts.items():
    said = ", ".join(f"{name} {units.format(value, 'B')}" for name, value in zip(NAMES, values, strict=True))
    print(f"Figure: {precision}: {said}; together {units.format(sum(values), 'B')} of {units.format(chip.memory.value, 'B')}.")

# %% [markdown]
# The update is the reason. A step moves a weight by a small part of itself, often by less than the last digit of a 16-bit
# number, and the step would be lost. So the optimizer keeps a copy of the weights in fp32 beside its moments (Micikevicius
# et al. 2018). What the passes save, the copy takes back; only activations are really half as long. Mixed precision is for
# speed.

# %% show
print(f"{'':<10} {'weights':>8} {'gradients':>10} {'optimizer':>10} {'together':>9}   B a parameter")
for (precision, optimizer), each in STATES.items():
    print(f"{precision:<6} {optimizer:<9}" + "".join(f"{b:>8}" for b in each) + f"{sum(each):>10}")
line("arithmetic, mixed over fp32", chip.rate("fp16") / chip.rate("fp32"))

# %% [markdown]
# ### Your states
# `mine` names a network, a precision and an optimizer. How many bytes are weights, gradients and optimizer together?

# %% answer="states" points=2
states = ""  # such as "3.2 GB"
### BEGIN SOLUTION
own = model(mine["network"]).params
states = f"{own * sum(STATES[mine['precision'], mine['optimizer']]):.9g} B"
### END SOLUTION


# %% key="states"
def key(v):
    total, params = plan_of(v)[0], model(v["network"]).params
    weights, gradients, _ = STATES[v["precision"], v["optimizer"]]
    return Key(
        total,
        "B",
        tol=0.01,
        mistakes=(
            Mistake(params * weights, 0.0, "those are the weights alone, enough to answer and not to learn"),
            Mistake(params * (weights + gradients), 0.25, "what the optimizer keeps is missing"),
        ),
    )


# %% [markdown]
# ## 2. Compute it again
# The rest are activations. Instead of keeping what every layer needs, keep only the inputs of some layers, the
# checkpoints. The backward pass takes the last stretch between two checkpoints, computes its activations again, uses them,
# and goes on to the stretch before. That is one more forward pass, a third more arithmetic.
#
# Suppose the input of every layer is kept, and one layer at a time is computed again. How many times as large a batch fits,
# with mixed precision and Adam?

# %% show
for_one, taken_in = layers_of(here.network, "mixed", here.tokens)
line("layers", len(for_one))
line("kept for one input, nothing computed again", for_one.sum(), "B")
line("room beside the states", chip.memory.value - sum(STATES["mixed", "adam"]) * net.params, "B")

# %% predict="stretch" points=1
# predict("stretch", "...", low="...", high="...")
### BEGIN SOLUTION
for_one, taken_in = layers_of(here.network, "mixed", here.tokens)
room = chip.memory.value - sum(STATES["mixed", "adam"]) * net.params
grown = (room // (taken_in.sum() + for_one.max())) / (room // for_one.sum())
predict("stretch", f"{grown:.6g}", low=f"{0.998 * grown:.6g}", high=f"{1.002 * grown:.6g}")
### END SOLUTION


# %% key="stretch"
def key(v):
    there = here.of(v["track"])
    inside, taken = layers_of(there.network, "mixed", there.tokens)
    weights, gradients, optimizer = STATES["mixed", "adam"]
    free = device(there.device).memory.value - sum(
        state_bytes(model(there.network).params, weights=weights, gradients=gradients, optimizer=optimizer))
    return Key((free // sum(stretches(inside, taken, 1))) / (free // inside.sum()), "")


# %% show
free = chip.memory.value - sum(STATES["mixed", "adam"]) * net.params
kept_all, kept_inputs, largest_layer = for_one.sum(), taken_in.sum(), for_one.max()
reveal("stretch", f"{(free // (kept_inputs + largest_layer)) / (free // kept_all):.4g}")
line("largest batch, everything kept", free // kept_all)
line("inputs of all layers, for one input", kept_inputs, "B")
line("the layer that needs most, computed again", largest_layer, "B")
line("largest batch, inputs kept", free // (kept_inputs + largest_layer))

# %% [markdown]
# The checkpoints themselves fill the room, and the largest layer has to be there in full, so the batch grows by far less
# than the number of layers. Fewer checkpoints are smaller together, and the stretch between two grows: somewhere in
# between is the least.
#
# Write it. Four layers keep 5, 5, 5 and 9 MB and take in 1 MB each. With a checkpoint every 2 layers, two inputs of 1 MB are
# kept, and of the two stretches the larger needs 14 MB: 16 MB together. With a checkpoint every 3 layers it is 2 MB and
# 15 MB, as the second stretch has one layer only.


# %% solution="kept_bytes"
def kept_bytes(inside, taken, every):
    """Bytes of activations at the worst moment, with a checkpoint at the input of layer 0, every, 2 every, ...

    inside (L,): bytes that each layer keeps for the backward pass; taken (L,): bytes of each layer's input.
    every: layers from one checkpoint to the next; 0 keeps everything and computes nothing again. -> B, a float.
    """
    ### BEGIN SOLUTION
    if every == 0:
        return float(np.sum(inside))
    stretches = [np.sum(inside[i : i + every]) for i in range(0, len(inside), every)]
    return float(np.sum(taken[::every]) + max(stretches))
    ### END SOLUTION


# %% check="kept_bytes" points=5
check(
    "kept_bytes",
    [
        case(np.array([5e6, 5e6, 5e6, 9e6]), np.array([1e6, 1e6, 1e6, 1e6]), 2),
        case(np.array([5e6, 5e6, 5e6, 9e6]), np.array([1e6, 1e6, 1e6, 1e6]), 3),
        case(np.array([5e6, 5e6, 5e6, 9e6]), np.array([1e6, 1e6, 1e6, 1e6]), 0),
    ],
    compare="value",
    rtol=1e-6,
)


# %% hidden="kept_bytes"
def cases(rng):
    for every in (2, 3, 5):
        n = every * int(rng.integers(3, 8))
        inside, taken = rng.uniform(2, 9, n) * 1e6, rng.uniform(0.5, 2, n) * 1e6
        yield case(inside, taken, every, behaviour="checkpoints, and the largest stretch between two")
    for name in ("resnet-18", "mobilenet-v2"):
        yield case(*layers_of(name, "mixed", 1), int(rng.integers(2, 7)), behaviour="layers of a network, each of its own size")
    for every in (4, 7):
        n = 2 * every + int(rng.integers(1, 3))
        inside = rng.uniform(1, 2, n) * 1e6
        inside[-1] *= 3 * every  # the last stretch is short and the largest
        yield case(inside, rng.uniform(0.5, 2, n) * 1e6, every, behaviour="the last stretch may be shorter, and the largest")
    n = int(rng.integers(5, 20))
    yield case(rng.uniform(2, 9, n) * 1e6, rng.uniform(0.5, 2, n) * 1e6, 0, behaviour="0 keeps everything")
    yield case(rng.uniform(2, 9, n) * 1e6, rng.uniform(0.5, 2, n) * 1e6, n + 3, behaviour="one stretch: the first input and everything")


# %% [markdown]
# ## 3. The gauntlet
# How large a batch fits, then? States are there once, activations for each input. With 10 GB of memory, 4 GB of states and
# 2.5 GB for an input it is 2, and with 11 GB of states none.


# %% solution="largest_batch"
def largest_batch(memory, states, each):
    """Largest whole number of inputs whose activations fit beside the states; 0 if not even the states fit.

    memory, states, each: bytes, numbers or arrays, which broadcast -> whole numbers.
    """
    ### BEGIN SOLUTION
    return np.maximum((np.asarray(memory) - states) // each, 0).astype(int)
    ### END SOLUTION


# %% check="largest_batch" points=3
check(
    "largest_batch",
    [case(10e9, 4e9, 2.5e9), case(10e9, 11e9, 2.5e9), case(10e9, 4e9, np.array([1.25e9, 2.5e9, 7e9]))],
    compare="value",
)


# %% hidden="largest_batch"
def cases(rng):
    for name in ("h100", "jetson-agx-orin", "tensor-g3", "cortex-m55"):
        memory = device(name).memory.value
        batch = int(rng.integers(3, 60))
        states = float(rng.uniform(0.2, 0.7)) * memory
        yield case(memory, states, (memory - states) / (batch + float(rng.uniform(0.1, 0.9))), behaviour="whole inputs beside the states")
    memory = device("l4").memory.value
    yield case(memory, 1.3 * memory, 1e9, behaviour="0 where the states do not fit")
    yield case(memory, 0.9 * memory, 0.3 * memory, behaviour="0 where no input fits")
    yield case(memory, np.array([0.2, 0.5, 1.2]) * memory, rng.uniform(1e8, 2e9, size=(2, 1)), behaviour="arrays broadcast")


# %% [markdown]
# ### What fits
# Get the batch through: what is held has to stay below the dashed line. Which slider does most? How many checkpoints are
# too many?

# %% show
SPAN = 64  # the largest batch of the panels


def gauntlet(batch, every, precision, optimizer):
    each = kept_bytes(*layers_of(here.network, precision, here.tokens), every)
    held = [b * net.params for b in STATES[precision, optimizer]]
    return {"held": [*held, batch * each], "largest": int(largest_batch(chip.memory.value, sum(held), each)), "each": each}


def draw_gauntlet(axes, result, settings):
    left = 0.0
    for i, (value, hatch) in enumerate(zip(result["held"], HATCHES, strict=True)):
        axes.barh([0], [value / scale], left=left, color=f"C{i}", hatch=hatch, edgecolor="black", label=NAMES[i])
        left += value / scale
    axes.axvline(chip.memory.value / scale, color="black", linestyle="--", label="memory")
    axes.set(xlim=(0, 3 * chip.memory.value / scale), ylim=(-0.6, 1.4), yticks=[], xlabel=f"held on {here.device} ({unit})")
    axes.set_title(f"{settings['precision']}, " + (f"a checkpoint every {settings['every']}" if settings["every"] else "all kept"))
    axes.legend(loc="upper right", ncols=3)


def say_gauntlet(result, settings):
    total, memory = sum(result["held"]), chip.memory.value
    fits = "fits" if total <= memory else "does not fit"
    return (
        f"{units.format(total, 'B')} of {units.format(memory, 'B')}, which {fits}; states are {1 - result['held'][-1] / total:.0%} of it, "
        f"an input keeps {units.format(result['each'], 'B')}, and the largest batch is {result['largest']}."
    )


memory_panel = explore(
    gauntlet,
    {
        "batch": slider(1, SPAN, start=8, log=True),
        "every": slider(0, min(len(for_one), 12), start=0),
        "precision": pick("fp32", "mixed"),
        "optimizer": pick("adam", "momentum"),
    },
    draw=draw_gauntlet,
    say=say_gauntlet,
)
memory_panel

# %% [markdown]
# ### Your activations
# `layers_of(mine["network"], mine["precision"], mine["tokens"])` are the two arrays of your network, and `mine["every"]` says
# where its checkpoints are. How many bytes does one input keep at the worst moment?

# %% answer="kept" points=2
kept = ""  # such as "3.2 GB"
### BEGIN SOLUTION
inside, taken = layers_of(mine["network"], mine["precision"], mine["tokens"])
kept = f"{kept_bytes(inside, taken, mine['every']):.9g} B"
### END SOLUTION


# %% key="kept"
def key(v):
    _, (checkpoints, stretch), plain, _ = plan_of(v)
    return Key(
        checkpoints + stretch,
        "B",
        tol=0.01,
        mistakes=(
            Mistake(plain, 0.25, "that keeps everything; your plan computes again"),
            Mistake(checkpoints, 0.5, "those are the checkpoints; the stretch that is computed again has to be there as well"),
            Mistake(stretch, 0.5, "that is the largest stretch; the checkpoints are kept all the time"),
        ),
    )


# %% [markdown]
# How large a batch fits your device with this plan?

# %% answer="largest" points=2
largest = ""  # such as "12"
### BEGIN SOLUTION
memory, every = device(mine["device"]).memory.value, mine["every"]
needs = own * sum(STATES[mine["precision"], mine["optimizer"]])
largest = f"{largest_batch(memory, needs, kept_bytes(inside, taken, every))}"
### END SOLUTION


# %% key="largest"
def key(v):
    needed, held, plain, _ = plan_of(v)
    memory = device(v["device"]).memory.value

    def batch(room, each):
        return max(room, 0.0) // each

    return Key(
        batch(memory - needed, sum(held)),
        "",
        tol=0.004,
        mistakes=(
            Mistake(batch(memory, sum(held)), 0.25, "the states take their part of the memory first"),
            Mistake(batch(memory - needed, plain), 0.25, "that keeps everything; your plan computes again"),
        ),
    )


# %% [markdown]
# ## 4. What is fast
# What fits need not be fast. A step goes forward and back, which is three times the forward arithmetic, or four with
# recomputation. Each of these passes reads the weights once. The activations of all layers are written and read once, and
# the update reads and writes all states. Inputs of one batch share the weights and the update, so a larger batch pays less
# for them.
#
# Write the time of one input. With 1 GFLOP forward and 100 MB of activations an input, 50 MB of weights and 400 MB of states
# on 10 GFLOP/s and 1 GB/s, a batch of 10 takes 3 s of arithmetic and 2.95 s of traffic: 0.3 s an input. With recomputation
# it is 4 s and 3 s: 0.4 s an input.


# %% solution="seconds_per_input"
def seconds_per_input(batch, flop, activations, weights, states, peak, bandwidth, recompute=False):
    """Least time of a training step divided by its batch, s.

    flop: forward, one input; activations (B): of one input, all layers; weights, states (B); peak (FLOP/s), bandwidth (B/s).
    All but recompute may be arrays, which broadcast.
    """
    ### BEGIN SOLUTION
    passes = 4 if recompute else 3
    arithmetic = passes * np.asarray(batch) * flop / peak
    traffic = (passes * np.asarray(weights) + 2.0 * np.asarray(batch) * activations + 2.0 * np.asarray(states)) / bandwidth
    return np.maximum(arithmetic, traffic) / batch
    ### END SOLUTION


# %% check="seconds_per_input" points=4
check(
    "seconds_per_input",
    [
        case(10, 1e9, 1e8, 5e7, 4e8, 1e10, 1e9),
        case(10, 1e9, 1e8, 5e7, 4e8, 1e10, 1e9, recompute=True),
        case(np.array([1, 4, 16]), 1e9, 1e8, 5e7, 4e8, 1e10, 1e9),
    ],
    compare="value",
    rtol=1e-6,
)


# %% hidden="seconds_per_input"
def cases(rng):
    def drawn(name, where, batch, tokens):
        d, params = device(where), model(name).params
        moved = float(layers_of(name, "mixed", tokens)[0].sum())
        return batch, float(forward_flop(name, tokens)), moved, 2.0 * params, 16.0 * params, d.rate("fp16"), d.bandwidth.value

    both = ("llama-3.2-1b", "h100"), ("gpt-2-medium", "jetson-agx-orin"), ("gpt-2", "tensor-g3")
    for name, where in both:
        large, small = int(rng.integers(8, 30)), int(rng.integers(1, 3))
        yield case(*drawn(name, where, large, 1024), behaviour="the slower of arithmetic and traffic, for one input")
        yield case(*drawn(name, where, small, 64), behaviour="the slower of arithmetic and traffic, for one input")
    for name, where in both[:2]:
        yield case(*drawn(name, where, 16, 1024), recompute=True, behaviour="computing again is a pass more, with its weights")
        yield case(*drawn(name, where, 1, 64), recompute=True, behaviour="computing again is a pass more, with its weights")
    name, where = both[rng.integers(3)]
    yield case(*drawn(name, where, np.array([1, 2, 5, 17, 60]), 128), behaviour="arrays broadcast")


# %% [markdown]
# ### The price
# The curve is your function. From where on does a larger batch buy nothing, and what does recomputing cost there? Then make
# the arithmetic faster, as the next device will have it, and compare the largest batches that fit with and without
# recomputing: when is the plan that computes more the quicker one?

# %% show
BATCHES = np.unique(np.geomspace(1, SPAN, 40).astype(int))


def speed(batch, every, precision, arithmetic):
    """A step and one of its inputs, the largest batch that fits and what an input takes in it, and the curve over all batches."""
    inside, taken = layers_of(here.network, precision, here.tokens)
    held = sum(STATES[precision, "adam"]) * net.params
    fits = int(largest_batch(chip.memory.value, held, kept_bytes(inside, taken, every)))
    work = forward_flop(here.network, here.tokens), inside.sum(), WIDTH[precision] * net.params, held
    rates = arithmetic * chip.rate(RATE[precision]), chip.bandwidth.value
    curve = seconds_per_input(np.append(BATCHES, [batch, max(fits, 1)]), *work, *rates, recompute=every > 0)
    *curve, chosen, best = (float(x) for x in curve)
    return {"input": chosen, "step": batch * chosen, "largest": fits, "best": best, "curve": curve}


def draw_speed(axes, result, settings):
    curve, fits = np.array(result["curve"]), BATCHES <= result["largest"]
    axes.semilogx(BATCHES, 1e3 * curve, ":", color="0.5", label="does not fit")
    axes.semilogx(BATCHES[fits], 1e3 * curve[fits], "o-", markersize=3, label="fits")
    axes.plot([settings["batch"]], [1e3 * result["input"]], "kx", markersize=11, label="here")
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
    axes.minorticks_off()
    axes.set(xlabel="batch", ylabel="an input, at least (ms)", ylim=(0, 1.2e3 * curve.max()))
    axes.set_title(f"{settings['precision']} on {here.device}, " + ("computed again" if settings["every"] else "all kept"))
    axes.legend(loc="lower left")


def say_speed(result, settings):
    fits = "fits" if settings["batch"] <= result["largest"] else "does not fit"
    best = f"in the largest that does, {result['largest']}, it takes {units.format(result['best'], 's')}"
    best = best if result["largest"] else "no batch does"
    return (
        f"a step of {settings['batch']}, which {fits}, takes at least {units.format(result['step'], 's')}, "
        f"{units.format(result['input'], 's')} an input; {best}."
    )


speed_panel = explore(
    speed,
    {
        "batch": slider(1, SPAN, start=4, log=True),
        "every": slider(0, min(len(for_one), 12), start=0),
        "precision": pick("mixed", "fp32"),
        "arithmetic": slider(1.0, 64.0, start=1.0, log=True),
    },
    draw=draw_speed,
    say=say_speed,
)
speed_panel

# %% [markdown]
# ### More devices
# Eight cards do not only share the work. ZeRO divides the states among them, stage by stage: first what the optimizer keeps, then
# the gradients, then the weights. MLSys·im counts what the fullest card holds, and what the step waits for.

# %% show
from mlsysim import train

for zero in (0, 1, 2, 3):
    run = train("llama-3.2-3b", ("dgx-h100", 8), batch=32, tokens=2048, zero=zero)
    told = ", ".join(f"{name} {units.format(float(getattr(run.parts, name)), 'B')}" for name in ("weights", "gradients", "optimizer"))
    print(f"zero {zero}: {told}; a step takes {units.format(float(run.seconds), 's')}, and {run.why().binding} binds")

# %% [markdown]
# ## 5. Decide
# Your plan has the batch `mine["batch"]`. Which limit has it run into? If it does not fit, the larger of "states" and
# "activations"; if it fits, the slower of "arithmetic" and "memory bandwidth" in a step. Name three answers of yours
# that the decision rests on, the alternative that you turned down, and what could prove you wrong. Half of the points are
# for the limit, a third for the answers.

# %% decision="stop" points=4
# stop = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
works, held = device(mine["device"]), mine["batch"] * kept_bytes(inside, taken, every)
shape = forward_flop(mine["network"], mine["tokens"]), inside.sum(), WIDTH[mine["precision"]] * own, needs
shape = *shape, works.rate(RATE[mine["precision"]])
took = seconds_per_input(mine["batch"], *shape, works.bandwidth.value, recompute=True)
alone = seconds_per_input(mine["batch"], *shape, 1e30, recompute=True)
if needs + held > works.memory.value:
    found = "states" if needs > held else "activations"
else:
    found = "arithmetic" if alone >= 0.999 * took else "memory bandwidth"
stop = decision(
    claim="What fills the memory or the step first",
    binding=found,
    evidence=("states", "kept", "largest"),
    rejected="Fewer bits would leave the states as they are",
    risk="Allocators keep memory that nobody uses",
)
### END SOLUTION


# %% key="stop"
def key(v):
    needed, held, _, step = plan_of(v)
    found, memory, filled = limit_of(v), device(v["device"]).memory.value, v["batch"] * sum(held)
    both = f"states take {units.format(needed, 'B')} and activations {units.format(filled, 'B')} of {units.format(memory, 'B')}"
    wrong = {name: f"{both}, so it does not fit, and no step begins" for name in ("arithmetic", "memory bandwidth")}
    wrong |= {name: f"{both}, and the other of them is larger" for name in ("states", "activations")}
    if needed + filled <= memory:
        wrong |= {name: f"{both}, so it fits" for name in ("states", "activations")}
        slower = f"the step takes {units.format(float(step.seconds), 's')}, the time of its {found}"
        wrong |= dict.fromkeys(("arithmetic", "memory bandwidth"), slower)
    return Decision(found, LIMITS, {name: text for name, text in wrong.items() if name != found})


# %% [markdown] rubric="gauntlet" points=3
# A colleague's run of your network stops with "out of memory". "Use mixed precision, it halves the memory", says another. Give
# your advice in at most five sentences: what is in the memory, in bytes of your own plan; what mixed precision would
# change of it; what you would change first, with the batch that it makes possible and its price in time.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. States and activations are given in bytes, and follow from the writer's own network, optimizer and batch.
# 2. Mixed precision halves the activations and leaves the states, and the sentence says how much that is of the whole.
# 3. The first change acts on the larger part (fewer bytes of optimizer, a smaller network or more devices against states;
#    recomputation, a smaller batch or shorter sequences against activations), and carries the batch and the price: a third more
#    arithmetic for recomputing, more steps for a smaller batch.
# ### END MARK SCHEME
