# %% [markdown]
# # Lab V2-05: Parallelism Puzzle
#
# A model is too large or too slow to train on one device, so it is split over many. There are three ways to cut: copies
# that share the batch, stages that share the layers, and slices that share each product. Every cut divides the same
# arithmetic by the same number. Why, then, is one layout several times as fast as another on the same machines? Because
# each cut sends other bytes over other wires.
#
# **Afterwards you can** say what a device must hold under any layout, how long a pipeline stands idle, what each cut
# sends, and find the layout that suits a cluster by computing.
#
# **How to work.** Twice you bet before you look. Three functions are yours, each followed by a check with worked
# examples; hidden cases, on other models and machines, are run when the lab is graded. Four answers use numbers of your
# own. A decision and a few sentences close it. The panels have sliders; without a mouse, Tab reaches them and the arrow
# keys move them. Each panel says in one sentence what its figure shows. Times are MLSys·im's; for phones and
# microcontrollers they rest on declared constants, good for comparing, not for ten per cent. Allow fifty-five minutes.

# %%
from dataclasses import replace

import numpy as np

from mlsysbook import answer, case, check, decision, explore, pick, predict, reveal, scenario, slider, variant
from mlsysim import Infeasible, Node, RangeError, Transformer, bubble, cluster, device, fabric, model, node, train, units

PLACES = dict(
    cloud={
        "title": "A rented hall",
        "story": "Eight machines of eight H100 learn Llama 3.1 70B. Inside a machine there is NVLink, between them InfiniBand.",
        "network": "llama-3.1-70b",
        "device": "h100",
        "devices": 64,
        "link": "400 Gbit/s",
        "batch": 256,
        "tokens": 4096,
        "precision": "bf16",
        "narrow": 8,
        "wide": 16,
    },
    edge={
        "title": "A cellar in a hospital",
        "story": "Records must not leave the house. Sixteen Jetson boards on a 10 Gbit/s switch learn Llama 3.2 3B.",
        "network": "llama-3.2-3b",
        "device": "jetson-agx-orin",
        "devices": 16,
        "link": "10 Gbit/s",
        "batch": 64,
        "tokens": 2048,
        "precision": "fp16",
        "narrow": 1,
        "wide": 8,
    },
    mobile={
        "title": "A shelf of returned phones",
        "story": "Sixteen phones with a wired adapter each, on a 1 Gbit/s switch, learn GPT-2 medium.",
        "network": "gpt-2-medium",
        "device": "tensor-g3",
        "devices": 16,
        "link": "1 Gbit/s",
        "batch": 64,
        "tokens": 512,
        "precision": "fp16",
        "narrow": 1,
        "wide": 8,
    },
    tiny={
        "title": "A board of microcontrollers",
        "story": "Sixteen Cortex-M55 on a 100 Mbit/s switch learn a decoder of 1.7 million parameters.",
        "network": "small",
        "device": "cortex-m55",
        "devices": 16,
        "link": "100 Mbit/s",
        "batch": 64,
        "tokens": 128,
        "precision": "fp16",
        "narrow": 1,
        "wide": 8,
    },
)
SMALL = Transformer(
    name="small",
    title="a small decoder",
    layers=8,
    width=128,
    heads=8,
    kv_heads=8,
    head_dim=16,
    hidden=344,
    vocab=1024,
    source="this lab",
    date="2026",
    tied=True,
)


def network_of(place):
    return SMALL if place["network"] == "small" else model(place["network"])


def machines(place, faster=1.0):
    """The Cluster of a place, its link between boxes `faster` times as fast."""
    rate = faster * units.parse(place["link"])[0]
    if place["device"] == "h100":
        kind, boxes = node("dgx-h100"), place["devices"] // 8
        link = kind.scale_out
    else:  # boards of one device: nothing is inside, so a group of any size talks over the switch
        of, link, boxes = device(place["device"]), fabric("ethernet-10g"), place["devices"]
        kind = Node(name=of.name, title=of.title, year=of.year, device=of, count=1, scale_up=link, scale_out=link, nics=1)
    link = replace(link, per_direction=replace(link.per_direction, value=rate))
    return cluster(replace(kind, scale_out=link), nodes=boxes)


def step_of(place, faster=1.0, **layout):
    """Training of one step at a place under a layout, also where it does not fit."""
    common = {"batch": place["batch"], "tokens": place["tokens"], "precision": place["precision"], "allow_infeasible": True}
    return train(network_of(place), machines(place, faster), **common | layout)


# %% variants
import itertools

from mlsysbook import Decision, Key, Mistake
from mlsysim.collectives import all_reduce
from mlsysim.training import state_bytes

KNOBS = ("compute", "memory bandwidth", "launch", "scale-up network", "scale-out network")
LAYOUT = ("tp", "pp", "zero", "micro_batch", "recompute", "tokens", "batch")
PLANS = dict(
    cloud=(
        (16, 1, 1, 1, "none", 4096, 256),
        (8, 8, 0, 1, "none", 4096, 256),
        (2, 1, 3, 1, "full", 256, 256),
        (4, 8, 0, 4, "full", 4096, 256),
        (16, 2, 1, 1, "none", 4096, 256),
        (8, 2, 1, 4, "full", 4096, 64),
    ),
    edge=(
        (8, 1, 0, 1, "none", 2048, 64),
        (1, 4, 1, 1, "none", 2048, 64),
        (1, 1, 3, 1, "none", 2048, 64),
        (1, 4, 0, 4, "full", 2048, 64),
        (4, 4, 1, 1, "none", 2048, 64),
        (1, 4, 1, 4, "none", 2048, 64),
    ),
    mobile=(
        (2, 2, 0, 4, "none", 512, 64),
        (1, 8, 0, 1, "none", 512, 64),
        (1, 1, 1, 1, "none", 512, 64),
        (1, 8, 1, 1, "full", 512, 64),
        (8, 1, 0, 1, "none", 512, 64),
        (1, 8, 0, 4, "full", 512, 64),
    ),
    tiny=(
        (1, 1, 1, 1, "none", 128, 64),
        (2, 1, 3, 1, "none", 8, 64),
        (4, 2, 0, 1, "none", 32, 64),
        (1, 1, 3, 1, "full", 8, 64),
        (1, 8, 0, 4, "full", 32, 64),
        (1, 4, 1, 1, "none", 128, 64),
    ),
)
OTHERS = dict(
    cloud=("llama-3.1-8b", "qwen2.5-14b", "llama-3.1-70b", "llama-2-13b", "megatron-22b", "qwen2.5-32b"),
    edge=("llama-3.2-1b", "llama-3.2-3b", "qwen2.5-1.5b", "gemma-2b", "phi-2", "gpt-2-xl"),
    mobile=("gpt-2", "gpt-2-medium", "gpt-2-large", "qwen2.5-0.5b", "qwen3-0.6b", "tinyllama-1.1b"),
    tiny=("mobilenet-v1-0.25", "ds-cnn", "resnet-8", "autoencoder"),
)
LINKS = dict(
    cloud=("100 Gbit/s", "200 Gbit/s", "400 Gbit/s", "800 Gbit/s"),
    edge=("1 Gbit/s", "10 Gbit/s", "25 Gbit/s", "50 Gbit/s"),
    mobile=("100 Mbit/s", "400 Mbit/s", "1 Gbit/s", "2.5 Gbit/s"),
    tiny=("1 Mbit/s", "2 Mbit/s", "10 Mbit/s", "100 Mbit/s"),
)


def held_bytes(params, tp, pp, dp, zero):
    return float(sum(state_bytes(params / (tp * pp), dp=dp, zero=zero)))


def pool():
    cuts = [
        (tp, pp, dp, zero)
        for tp, pp, dp in ((2, 4, 8), (4, 2, 16), (8, 4, 2), (1, 8, 16), (4, 8, 4), (2, 2, 32))
        for zero in (1, 2, 3)
    ]
    idle = list(itertools.product((4, 6, 8, 12), (5, 8, 10, 15, 20)))
    for track, plans in PLANS.items():
        wires = list(itertools.product((4, 6, 10, 12, 24), LINKS[track]))
        for i, (plan, n) in enumerate(itertools.product(plans, range(4))):
            tp, pp, dp, zero = cuts[(7 * i + 5 * n) % len(cuts)]
            stages, share = idle[(3 * i + 11 * n) % len(idle)]
            replicas, link = wires[(9 * i + n) % len(wires)]
            yield {
                "track": track,
                "net": OTHERS[track][(i + n) % len(OTHERS[track])],
                "tp": tp,
                "pp": pp,
                "dp": dp,
                "zero": zero,
                "stages": stages,
                "idle": f"{share} %",
                "replicas": replicas,
                "link": link,
                "plan": dict(zip(LAYOUT, plan, strict=True)),
            }


# %%
here = scenario(**PLACES)
here

# %%
place = PLACES[here.track]
net, on = network_of(place), machines(place)
mine = variant()

# %% show
print(f"{net.title}: {net.params:,} parameters in {net.layers} layers of width {net.width:,}")
holds, does = units.format(on.device.memory.value, "B"), units.format(on.device.rate(here.precision), "FLOP/s")
inside = f"inside a box {units.format(on.node.scale_up.per_direction.value, 'B/s')}" if on.node.count > 1 else "one device a box"
print(f"{on.devices} x {on.device.title}, {holds} and {does} each")
print(inside, end="; ")
print(f"out of it {units.format(on.node.scale_out.per_direction.value, 'B/s')} a device")
print(f"a step is {here.batch} sequences of {here.tokens} tokens")
for name, value in mine.items():
    print(f"{name:<10} {value}")

# %% [markdown]
# ## 1. What a device holds
# Training in mixed precision with Adam keeps 16 bytes for each parameter: 2 of weight, 2 of gradient, and 12 of
# optimizer state, which are a weight in fp32 and two moments. Slices (`tp`) and stages (`pp`) each divide all of it.
# Copies (`dp`) do not: each copy has everything, unless ZeRO splits what need not be held all the time. ZeRO 1 splits
# the optimizer state over the copies, 2 the gradients as well, 3 the weights as well.
#
# A billion parameters on one device are 16 GB. On 4 copies with ZeRO 1, each holds 2 + 2 + 12 / 4 = 7 GB.


# %% solution="rank_bytes"
def rank_bytes(params, tp, pp, dp, zero):
    """Bytes of weights, gradients and optimizer state on one device.

    params: of the model; tp slices, pp stages, dp copies; zero: 0, 1, 2 or 3 -> B, a float.
    """
    ### BEGIN SOLUTION
    split = [dp if zero >= stage else 1 for stage in (3, 2, 1)]
    return params / (tp * pp) * sum(each / n for each, n in zip((2, 2, 12), split, strict=True))
    ### END SOLUTION


# %% check="rank_bytes" points=4
check(
    "rank_bytes",
    [case(1e9, tp=1, pp=1, dp=4, zero=1), case(1e9, tp=2, pp=4, dp=1, zero=0), case(8e9, tp=2, pp=1, dp=8, zero=3)],
    compare="value",
    rtol=1e-6,
    forbid=("mlsysim.training.state_bytes", "state_bytes"),
)


# %% hidden="rank_bytes"
def cases(rng):
    def some(zero):
        tp, pp, dp = (int(2 ** rng.integers(1, 5)) for _ in range(3))
        return case(float(rng.uniform(1e8, 4e11)), tp=tp, pp=pp, dp=dp, zero=zero)

    def named(made, text):
        return replace(made, behaviour=text)

    for _ in range(3):
        yield named(some(0), "slices and stages divide, copies do not")
    for _ in range(2):
        yield named(some(1), "ZeRO 1 splits the optimizer state over the copies")
    for _ in range(2):
        yield named(some(2), "ZeRO 2 splits the gradients too")
    for _ in range(2):
        yield named(some(3), "ZeRO 3 splits everything")


# %% [markdown]
# ### Yours
# The model `mine["net"]` is cut into `tp` slices, `pp` stages and `dp` copies with `zero`. How many bytes of state does
# each device hold? Count all parameters of the model as cut evenly. `model(mine["net"]).params` is their number.

# %% show
print(f"{'layout':<24}  {'state':>8}  {'activations':>11}  {'device':>8}")
for layout in ({"zero": 0}, {"zero": 1}, {"zero": 3}, {"tp": here.wide}, {"pp": 4}):
    run = step_of(place, **layout)
    state = run.memory - run.parts.activations
    print(
        f"{str(layout):<24}  {units.format(state, 'B'):>8}  {units.format(run.parts.activations, 'B'):>11}  "
        f"{units.format(run.capacity, 'B'):>8}{'' if run.feasible else '  does not fit'}"
    )

# %% answer="held" points=2
held = ""  # such as "12.5 GB"
### BEGIN SOLUTION
held = f"{rank_bytes(model(mine['net']).params, mine['tp'], mine['pp'], mine['dp'], mine['zero']):.6g} B"
### END SOLUTION


# %% key="held"
def key(v):
    params, cut = model(v["net"]).params, {k: v[k] for k in ("tp", "pp", "dp", "zero")}
    after = (cut["zero"] + 1) % 4
    missed = "the next level of ZeRO: 1 splits the optimizer state alone, 2 gradients too, 3 weights too"
    return Key(
        held_bytes(params, **cut),
        "B",
        tol=0.01,
        mistakes=(
            Mistake(held_bytes(params, **cut | {"zero": 0}), 0.25, "ZeRO is left out"),
            Mistake(
                held_bytes(params, **cut | {"zero": after or 2}), 0.5, missed if after else "ZeRO 3 splits the weights as well"
            ),
            Mistake(held_bytes(params, **cut) * cut["pp"], 0.25, "stages share the layers; their number divides as well"),
            Mistake(
                held_bytes(params, **cut | {"dp": cut["dp"] * cut["tp"] * cut["pp"]}),
                0.25,
                "ZeRO splits over the copies; slices and stages have divided once already",
            ),
        ),
    )


# %% [markdown]
# ## 2. Idle stages
# A pipeline has as many stages as devices. The batch is cut into micro-batches, which follow each other through the
# stages. The last stage waits for the first micro-batch to arrive, and the first has nothing left to do while the last
# one is still on its way. What share of the time is a device idle, on average, with 8 equal stages and 8 micro-batches?
# Half of the point is for betting at all, the other half for an interval that is narrow and holds the truth.

# %% predict="idle_share" points=1 unit="%"
# predict("idle_share", "... %", low="... %", high="... %")
### BEGIN SOLUTION
idle = 100 * float(bubble(8, 8))
predict("idle_share", f"{idle:.6g} %", low=f"{0.999 * idle:.6g} %", high=f"{1.001 * idle:.6g} %")
### END SOLUTION


# %% key="idle_share"
def key(v):
    return Key(float(bubble(8, 8)), "%")


# %% show
reveal("idle_share", units.format(float(bubble(8, 8)), "%"))
print("micro-batches   " + "".join(f"{m:>8}" for m in (1, 8, 16, 32, 64, 128)))
for stages in (2, 4, 8, 16):
    print(f"{stages:>2} stages idle  " + "".join(f"{float(bubble(stages, m)):>8.1%}" for m in (1, 8, 16, 32, 64, 128)))

# %% [markdown]
# Nearly half. And more machines make it worse: at the same batch twice the copies leave each pipeline half the
# micro-batches. Play it. A micro-batch enters a stage when it has left the stage before and the micro-batch ahead of
# it has left this one. With two stages of 1 s and 2 s, three micro-batches leave the first at 1, 2 and 3 s and the
# second at 3, 5 and 7 s. A stage's time is that of forward and backward pass together.


# %% solution="finish_times"
def finish_times(seconds, micro_batches):
    """When each micro-batch leaves each stage of a pipeline.

    seconds (p,): time of a micro-batch in each stage; micro_batches m -> array (p, m) of s, float64.
    """
    ### BEGIN SOLUTION
    done = np.zeros((len(seconds), micro_batches))
    arrive = np.zeros(micro_batches)
    for s, each in enumerate(seconds):
        # the k-th starts when it is there and the k before it are through: max over j of arrive[j] + (k - j) each
        steps = each * np.arange(micro_batches)
        arrive = np.maximum.accumulate(arrive - steps) + steps + each
        done[s] = arrive
    return done
    ### END SOLUTION


# %% check="finish_times" points=4
check("finish_times", [case(np.array([1.0, 2.0]), 3), case(np.array([2.0, 1.0, 1.0]), 2), case(np.array([1.0]), 2)], rtol=1e-6)


# %% hidden="finish_times"
def cases(rng):
    for _ in range(3):
        p, m = (int(n) for n in rng.integers(3, 9, size=2))
        yield case(rng.uniform(0.5, 3, p), m, behaviour="stages of any time: it waits for the one ahead and the stage before")
    for _ in range(2):
        p, m = (int(n) for n in rng.integers(2, 9, size=2))
        yield case(np.full(p, float(rng.uniform(0.1, 2))), m, behaviour="equal stages")
    for slow in (0, -1):
        times = np.ones(int(rng.integers(3, 6)))
        times[slow] = float(rng.uniform(3, 6))
        yield case(times, int(rng.integers(3, 9)), behaviour="one slow stage sets the pace, wherever it is")
    yield case(rng.uniform(0.5, 3, 5), 1, behaviour="a single micro-batch")
    yield case(rng.uniform(0.5, 3, 1), 6, behaviour="a single stage")


# %% [markdown]
# ### The pipeline, by your function
# Add micro-batches and the idle corners shrink beside the rest. Then slow one stage down, as the one with the vocabulary
# often is: no number of micro-batches makes up for that.


# %% show
def pipe(stages, micro_batches, slow):
    seconds = np.ones(stages)
    seconds[-1] = slow
    done = finish_times(seconds, micro_batches)
    return {
        "idle": 1 - micro_batches * float(seconds.sum()) / (stages * float(done[-1, -1])),
        "seconds": float(done[-1, -1]),
        "slow": slow,
    }


def draw_pipe(axes, result, settings):
    p, m = settings["stages"], settings["micro_batches"]
    seconds = np.ones(p)
    seconds[-1] = settings["slow"]
    for s, row in enumerate(finish_times(seconds, m)):
        axes.broken_barh(
            [(end - seconds[s], seconds[s]) for end in row], (s - 0.4, 0.8), facecolors=f"C{s % 10}", edgecolor="black", lw=0.4
        )
    axes.set(xlabel="time (one equal stage = 1)", ylabel="stage", xlim=(0, result["seconds"]), ylim=(p - 0.5, -0.5))
    axes.set_title("Micro-batches in stages; white is idle")


def say_pipe(result, settings):
    return (
        f"{settings['micro_batches']} micro-batches through {settings['stages']} stages, the last {settings['slow']:.2f} times as slow, "
        f"take {result['seconds']:.1f}; devices are idle for {result['idle']:.1%} of that."
    )


pipe_panel = explore(
    pipe,
    {"stages": slider(2, 16, start=8), "micro_batches": slider(1, 64, start=8, log=True), "slow": slider(1.0, 3.0, start=1.0)},
    draw=draw_pipe,
    say=say_pipe,
)
pipe_panel

# %% [markdown]
# ### Yours
# You have `mine["stages"]` equal stages. How many micro-batches does it take, at least, so that devices are idle for at
# most `mine["idle"]` of the time? Count the idle time against the whole, as above.

# %% answer="micro" points=2
micro = ""  # such as "57"
### BEGIN SOLUTION
stages, most = mine["stages"], units.parse(mine["idle"])[0]
micro = f"{next(m for m in range(1, 1000) if stages * finish_times(np.ones(stages), m)[-1, -1] * (1 - most) <= m * stages * (1 + 1e-9))}"
### END SOLUTION


# %% key="micro"
def key(v):
    p, most = v["stages"], units.parse(v["idle"])[0]
    least = next(m for m in range(1, 10_000) if bubble(p, m) <= most * (1 + 1e-9))
    return Key(
        least,
        "",
        tol=0.002,
        mistakes=(
            Mistake(
                np.ceil((p - 1) / most - 1e-9),
                0.5,
                "that counts the idle time against the work alone; the whole is work and idle time",
            ),
            Mistake(np.ceil(p / most - 1e-9), 0.25, "the last stage waits for p - 1 others, not for p"),
            Mistake(least - 1, 0.5, "one fewer leaves a little more idle than allowed"),
        ),
    )


# %% [markdown]
# ## 3. What goes over the wire
# Copies exchange gradients once a step: in a ring of $n$ every device sends $2 (n-1)/n$ times their size. Stages hand
# activations on, once each way for a micro-batch. Slices add their partial sums in every layer, two times forward and two
# times backward, for every micro-batch: all of the activations, each time.
#
# At your place, cut each product into `narrow` slices, or into `wide` ones: the same devices, the same batch, the same
# arithmetic on each device, ZeRO 1 both times, and less to hold with `wide`. How many times as long does a step take with
# `wide` as with `narrow`? Bet 0.5 if it takes half of the time.

# %% show
print(f"narrow {here.narrow}, wide {here.wide}; {on.node.count} device{'s' * (on.node.count > 1)} a box")

# %% predict="widening" points=1
# predict("widening", "...", low="...", high="...")
### BEGIN SOLUTION
widened = float(step_of(place, tp=here.wide, zero=1).seconds / step_of(place, tp=here.narrow, zero=1).seconds)
predict("widening", f"{widened:.4g}", low=f"{widened * 0.999:.5g}", high=f"{widened * 1.001:.5g}")
### END SOLUTION


# %% key="widening"
def key(v):
    at = PLACES[v["track"]]
    return Key(float(step_of(at, tp=at["wide"], zero=1).seconds / step_of(at, tp=at["narrow"], zero=1).seconds), "")


# %% show
reveal("widening", f"{float(step_of(place, tp=here.wide, zero=1).seconds / step_of(place, tp=here.narrow, zero=1).seconds):.4g}")


def sent(cut, n):
    """Bytes that a device sends in a step if the devices are cut n ways by one kind of cut, the rest being copies."""
    rows = here.batch * here.tokens / (on.devices / n)  # tokens that a group of n works on in a step
    each = 2.0 * rows * net.width
    return {"copies": 2 * (n - 1) / n * 2.0 * net.params, "stages": 2 * each, "slices": 4 * net.layers * 2 * (n - 1) / n * each}[
        cut
    ]


print(f"{'cut ' + str(here.wide) + ' ways':<12}  {'sent':>8}  {'time on the link':>16}")
for cut in ("copies", "stages", "slices"):
    size = sent(cut, here.wide)
    print(f"{cut:<12}  {units.format(size, 'B'):>8}  {units.format(size / on.node.scale_out.per_direction.value, 's'):>16}")
for tp in (here.narrow, here.wide):
    run = step_of(place, tp=tp, zero=1)
    parts = sorted(run.tree.parts, key=lambda term: -float(term.value))[:3]
    print(
        f"tp={tp:<3} {units.format(run.seconds, 's'):>8} a step, {run.memory / run.capacity:.0%} of the memory: "
        + ", ".join(f"{term.name} {float(term.value / run.seconds):.0%}" for term in parts)
    )

# %% [markdown]
# What decides is arithmetic a byte: how many operations a device does in the time in which its link sends one byte. A
# fast chip on an ordinary network is in a hurry, a slow chip on a slow network may not be.

# %% show
print(f"{'track':<8} {'device':>10} {'link':>10} {'FLOP a byte':>12}")
for track, at in PLACES.items():
    peak, rate = device(at["device"]).rate(at["precision"]), units.parse(at["link"])[0]
    print(f"{track:<8} {units.format(peak, 'FLOP/s'):>10} {units.format(rate, 'B/s'):>10} {peak / rate:>12,.0f}")

# %% [markdown]
# ### Your exchange
# `mine["replicas"]` copies of `mine["net"]` exchange gradients of 2 bytes a parameter in a ring, once. How long does
# that take at least, over links of `mine["link"]` that send and receive at once? Leave out how long a message takes to
# start.

# %% answer="exchange" points=2
exchange = ""  # such as "3.4 s"
### BEGIN SOLUTION
n, rate = mine["replicas"], units.parse(mine["link"])[0]
exchange = f"{2 * (n - 1) / n * 2 * model(mine['net']).params / rate:.6g} s"
### END SOLUTION


# %% key="exchange"
def key(v):
    n, rate, size = v["replicas"], units.parse(v["link"])[0], 2.0 * model(v["net"]).params
    seconds = float(all_reduce(size, n, rate))
    return Key(
        seconds,
        "s",
        tol=0.01,
        mistakes=(
            Mistake(seconds / 2, 0.5, "that is one way round: sums have to come back as well"),
            Mistake(seconds * n / 2, 0.25, "nobody has to send to everybody; in a ring each sends a part of 1/n at a time"),
            Mistake(seconds / 8, 0.25, "links are in bits a second, gradients in bytes"),
            Mistake(seconds * 8, 0.25, "bits are counted twice; units.parse already gives bytes a second"),
        ),
    )


# %% [markdown]
# ### A layout by hand
# Which cut do you pay for where? Slices and stages take memory off a device, ZeRO 3 too; each has its price on the wire.


# %% show
def layout(slices, stages, zero, micro_batch, recompute):
    try:
        run = step_of(place, tp=slices, pp=stages, zero=zero, micro_batch=micro_batch, recompute=recompute)
    except RangeError as error:
        return {"refused": str(error)}
    own = {term.name: float(term.value) for term in run.tree.parts}
    work = sum(own[name] for name in ("forward", "backward", "recompute", "head", "update"))
    return {
        "work": work,
        "slices": own["tensor"],
        "stages": own["send"],
        "idle": own["bubble"],
        "copies": own["data"],
        "seconds": float(run.seconds),
        "memory": float(run.memory / run.capacity),
    }


HATCH = {"work": "", "slices": "//", "stages": "..", "idle": "xx", "copies": "\\\\"}
SCALE = float(step_of(place, tp=here.wide, zero=1).seconds)


def draw_layout(axes, result, settings):
    left = 0.0
    for i, (name, hatch) in enumerate(HATCH.items()):
        axes.barh(["time"], [result.get(name, 0.0) / SCALE], left=left, hatch=hatch, color=f"C{i}", edgecolor="black", label=name)
        left += result.get(name, 0.0) / SCALE
    axes.barh(["memory"], [result.get("memory", 0.0)], color="lightgrey", edgecolor="black")
    axes.axvline(1.0, color="black", linestyle=":")
    axes.set(
        xlim=(0, 2.5),
        xlabel=f"time over that of {here.wide} slices; memory over what there is",
        title="One step, and the fullest device",
    )
    axes.legend(loc="upper right", ncols=2)


def say_layout(result, settings):
    if "refused" in result:
        return f"this cannot be laid out: {result['refused']}."
    parts = ", ".join(f"{name} {result[name] / result['seconds']:.0%}" for name in HATCH if result[name] > 0)
    fits = "fits" if result["memory"] <= 1 else "does not fit"
    return f"a step takes {units.format(result['seconds'], 's')} ({parts}); it {fits}, with {result['memory']:.0%} of the memory."


WAYS = tuple(n for n in (1, 2, 4, 8, 16) if n <= here.wide)
layout_panel = explore(
    layout,
    {
        "slices": pick(*WAYS, start=here.narrow),
        "stages": pick(*(n for n in (1, 2, 4, 8) if net.layers % n == 0)),
        "zero": pick(0, 1, 2, 3, start=1),
        "micro_batch": pick(1, 2, 4),
        "recompute": pick("none", "full"),
    },
    draw=draw_layout,
    say=say_layout,
)
layout_panel

# %% [markdown]
# ## 4. The puzzle
# By hand that takes all day. Write the search. A choice is a dict of arguments for MLSys·im's `train`, such as
# `{"tp": 8, "pp": 2, "zero": 1}`. Of all choices that fit, give back the quickest with its seconds; of two that are
# equally quick, the first. `train(net, on, **settings, **choice)` raises `Infeasible` where a device is too small and
# `RangeError` where numbers do not divide; such a choice is passed over. The step is in `.seconds`.


# %% solution="quickest"
def quickest(net, on, choices, **settings):
    """The quickest of the layouts that fit.

    net: a model or its name; on: a Cluster, or a pair of a node's name and a number of devices; choices: list of dicts of
    arguments for train(); settings: arguments that all choices share -> (choice, s), or None if none fits.
    """
    ### BEGIN SOLUTION
    best = None
    for choice in choices:
        try:
            seconds = float(train(net, on, **settings, **choice).seconds)
        except (Infeasible, RangeError):
            continue
        if best is None or seconds < best[1]:
            best = choice, seconds
    return best
    ### END SOLUTION


# %% check="quickest" points=4
check(
    "quickest",
    [
        case("llama-3.1-8b", ("dgx-h100", 16), [{"tp": 1, "zero": 1}, {"tp": 16}, {"tp": 8}, {"tp": 3}], batch=64, tokens=4096),
        case("llama-3.1-70b", ("dgx-h100", 8), [{"tp": 8}, {"tp": 8, "zero": 1}], batch=8, tokens=4096),
    ],
    compare="value",
    rtol=1e-6,
)


# %% hidden="quickest"
def cases(rng):
    nodes, nets = ("dgx-a100", "dgx-h100", "hgx-h100-roce"), ("llama-3.1-8b", "mistral-7b", "qwen2.5-14b")
    for _ in range(3):
        tries = [{"tp": int(t), "pp": int(p), "zero": int(z)} for t, p, z in itertools.product((2, 4, 8), (1, 2, 4), (0, 1))]
        some = [tries[i] for i in rng.permutation(len(tries))[:6]]
        yield case(
            str(rng.choice(nets)),
            (str(rng.choice(nodes)), 32),
            some,
            batch=128,
            tokens=2048,
            behaviour="the quickest of several that fit",
        )
    for _ in range(2):
        tries = [{"tp": 1, "zero": 0}, {"tp": 8}, {"tp": 8, "pp": 2}, {"tp": 4, "zero": 1}]
        some = [tries[i] for i in rng.permutation(len(tries))]
        yield case(
            str(rng.choice(nets)), ("dgx-h100", 16), some, batch=32, tokens=2048, behaviour="what does not fit is passed over"
        )
    for _ in range(2):
        some = [{"tp": 3}, {"tp": 8, "pp": 5}, {"tp": int(rng.choice([4, 8]))}, {"tp": 7}]
        yield case(
            str(rng.choice(nets)),
            (str(rng.choice(nodes)), 16),
            some,
            batch=64,
            tokens=1024,
            behaviour="what does not divide is passed over",
        )
    yield case(
        "llama-3.1-405b",
        (str(rng.choice(nodes)), 8),
        [{"tp": 8}, {"tp": 4, "pp": 2}],
        batch=8,
        tokens=1024,
        behaviour="None if none fits",
    )


# %% [markdown]
# ### The race, by your function
# The bars are the best layouts of each kind at your place, found by your function. Make the link slower and faster. Which
# kind wins at which end? There is no best way to cut a model, only one for a link.


# %% show
def some(slices, stages, zeros):
    return [
        {"tp": t, "pp": p, "zero": z, "recompute": r}
        for t in slices
        for p in stages
        for z in zeros
        for r in ("none", "full")
        if net.layers % p == 0
    ]


CUTS = {
    "copies": some((1,), (1,), (0, 1, 2, 3)),
    "slices": some(WAYS[1:], (1,), (1, 3)),
    "stages": some((1,), (2, 4, 8), (1,)),
    "slices and stages": some(WAYS[1:], (2, 4), (1,)),
}


def race(link, batch):
    cluster_now = machines(place, link)
    return {
        name: quickest(net, cluster_now, cuts, batch=batch, tokens=here.tokens, precision=here.precision)
        for name, cuts in CUTS.items()
    }


def draw_race(axes, result, settings):
    rates = [settings["batch"] * here.tokens / result[name][1] if result[name] else 0.0 for name in CUTS]
    axes.barh(
        list(CUTS), [r / BEST for r in rates], edgecolor="black", hatch=["", "//", "..", "xx"], color=["C0", "C1", "C2", "C5"]
    )
    axes.set(
        xlim=(0, 1.05),
        xlabel="tokens a second, over what the peak would do",
        title=f"Best of each kind, link {settings['link']:.3g} times yours",
    )
    axes.figure.subplots_adjust(left=0.22)


def say_race(result, settings):
    found = {name: r for name, r in result.items() if r}
    if not found:
        return "nothing fits."
    first, (choice, seconds) = min(found.items(), key=lambda item: item[1][1])
    others = ", ".join(
        f"{name} {r[1] / seconds:.2f} times as long" if r else f"{name} do not fit" for name, r in result.items() if name != first
    )
    return f"the quickest is {first}, {choice}, with {units.format(seconds, 's')} a step; {others}."


BEST = on.devices * on.device.rate(here.precision) / (3 * net.flop_per_token(here.tokens / 2))  # tokens a second at the peak
race_panel = explore(
    race,
    {
        "link": slider(0.01, 100.0, start=1.0, log=True, unit=""),
        "batch": pick(on.devices, 4 * on.devices, 16 * on.devices, start=4 * on.devices),
    },
    draw=draw_race,
    say=say_race,
)
race_panel

# %% [markdown]
# ### Your plan
# `mine["plan"]` is the layout that a colleague proposes for your place. `step_of(place, **mine["plan"])` is its step.
# Its `.tree` says what it consists of, `.why()` what would make it quicker. How long is a step?

# %% answer="step" points=2
step = ""  # such as "12.5 s"
### BEGIN SOLUTION
own = step_of(place, **mine["plan"])
step = f"{float(own.seconds):.6g} s"
### END SOLUTION


# %% key="step"
def key(v):
    at = PLACES[v["track"]]
    run, plain = step_of(at, **v["plan"]), {k: v["plan"][k] for k in ("tp", "pp", "zero")}
    return Key(
        float(run.seconds),
        "s",
        tol=0.01,
        mistakes=tuple(
            Mistake(float(other), 0.25, said)
            for other, said in (
                (
                    run.flop / (machines(at).devices * machines(at).device.rate(at["precision"])),
                    "that is the arithmetic at the printed peak",
                ),
                (step_of(at, **plain).seconds, "the plan has a batch, a length, a micro-batch and a recomputation of its own"),
            )
            if abs(other - run.seconds) > 0.05 * run.seconds
        ),
    )


# %% [markdown]
# ## 5. Decide
# The colleague has money for one improvement of the machines under this plan. Where does it go? The limit is one of
# "compute", "memory bandwidth", "launch", "scale-up network" (inside a box) and "scale-out network" (between boxes). The
# largest part of a step is not always the limit: what hides behind something else costs nothing. Name three answers of
# yours that the decision rests on, the alternative that you turned down, and what could prove you wrong. Half of the
# points are for the limit, a third for the answers.

# %% decision="improve" points=4
# improve = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
improve = decision(
    claim="One per cent more of what binds shortens the step most",
    binding=own.why().binding,
    evidence=("held", "exchange", "step"),
    rejected="More devices at this batch leave each fewer micro-batches",
    risk="Another layout on the same machines may be quicker for nothing",
)
### END SOLUTION


# %% key="improve"
def key(v):
    why = step_of(PLACES[v["track"]], **v["plan"]).why()
    said = {
        "compute": "faster devices would wait as long as these do: under this layout a step follows the link",
        "scale-out network": "a faster link changes little: under this layout devices compute or wait for a stage, not for the switch",
    }
    return Decision(why.binding, KNOBS, {name: text for name, text in said.items() if name != why.binding})


# %% [markdown] rubric="defend" points=2
# Somebody says: "Each device should hold as little as possible, so cut every way as far as it goes." Answer for your
# place. Give two layouts with what a device holds and how long a step takes in each, and say at which speed of the link
# they would change places, or why they never do. Four sentences at most.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. Two layouts of the writer's place are compared by memory and by time, with numbers from a panel or from `step_of`,
#    and the one that holds less is not simply taken.
# 2. The answer names what the slower one sends (sums of slices in every layer, weights of ZeRO 3 every micro-batch) or
#    idles, and a factor of the link from the race at which the order turns; or, on the microcontrollers, says that
#    arithmetic covers the link at any layout tried.
# ### END MARK SCHEME
