# %% [markdown]
# # Lab V2-10: Inference Economy
#
# A provider prints how many tokens a second a machine puts out. Divide its price by that and you have the cost of a token,
# and you will lose money. The printed figure holds with every slot full, and full slots mean that somebody waits. What a
# token costs is decided by how many requests share a step, by how full you may run and still keep a promise, and by how
# many machines stand ready for the busiest hour.
#
# **Afterwards you can** compute the cost of a token from a price and a rate, simulate continuous batching, find the load
# at which a promise breaks, and say what would make a token cheaper.
#
# **How to work.** Twice you bet before you look. Three functions are yours, each followed by a check with worked
# examples; hidden cases, on other models and devices, are run when the lab is graded. Four answers use numbers of your
# own. A decision and a few sentences close it. The panels have sliders; without a mouse, Tab reaches them and the arrow
# keys move them. Each panel says in one sentence what its figure shows. Times are MLSys·im's; for phones and
# microcontrollers they rest on declared constants, good for comparing, not for ten per cent. Allow fifty-five minutes.

# %%
from functools import lru_cache

import numpy as np

from mlsysbook import answer, case, check, decision, explore, pick, predict, reveal, scenario, slider, variant
from mlsysim import Transformer, model, own, price, serve, token_cost, units
from mlsysim.costs import rate_of
from mlsysim.simulate.serving import requests, simulate_serving
from mlsysim.systems import alone, device

PLACES = dict(
    cloud={
        "title": "A chat service",
        "story": "Llama 3.1 8B answers on rented H100, by the hour.",
        "network": "llama-3.1-8b",
        "device": "h100",
        "weights": "fp16",
        "prompt": 512,
        "output": 128,
        "slots": 64,
        "paid": "runpod-h100",
        "first_token": "500 ms",
        "further_token": "10 ms",
    },
    edge={
        "title": "A help desk in a factory",
        "story": "No word may leave the hall. Llama 3.1 8B in 4 bits answers on a Jetson that the factory bought.",
        "network": "llama-3.1-8b",
        "device": "jetson-agx-orin",
        "weights": "int4",
        "prompt": 256,
        "output": 96,
        "slots": 16,
        "paid": "2000 USD, 60 W",
        "first_token": "1 s",
        "further_token": "50 ms",
    },
    mobile={
        "title": "A shelf of returned phones",
        "story": "Llama 3.2 1B in 4 bits sums up messages on phones that were handed in, each on its charger.",
        "network": "llama-3.2-1b",
        "device": "tensor-g3",
        "weights": "int4",
        "prompt": 128,
        "output": 64,
        "slots": 8,
        "paid": "150 USD, 5 W",
        "first_token": "1 s",
        "further_token": "60 ms",
    },
    tiny={
        "title": "A wall of stories",
        "story": "Visitors of a museum press buttons, and a microcontroller tells each a story with 260,000 parameters in 8 bits.",
        "network": "story",
        "device": "stm32h743",
        "weights": "int8",
        "prompt": 16,
        "output": 64,
        "slots": 4,
        "paid": "30 USD, 500 mW",
        "first_token": "3 s",
        "further_token": "100 ms",
    },
)
STORY = Transformer(
    name="story",
    title="a teller of stories",
    layers=5,
    width=64,
    heads=8,
    kv_heads=4,
    head_dim=8,
    hidden=172,
    vocab=512,
    source="this lab",
    date="2026",
    tied=True,
)
YEARS, SHARE, COUNT, SEED = 3, 0.95, 120, 10
FRACTIONS = np.arange(0.1, 1.25, 0.1)  # loads that are tried, over what full slots would take


def network_of(name):
    return STORY if name == "story" else model(name)


def precisions(weights):
    """Arguments for MLSys·im: in 8 bits the microcontroller computes too, in 4 bits weights are only kept."""
    return {"precision": "int8"} if weights == "int8" else {"weights": weights}


def hour_of(place):
    """USD an hour for one device of a place: its rent, or what it cost and draws over three years."""
    if "USD" not in place["paid"]:  # the name of a rent in MLSys·im's list of prices
        return 3600 * float(rate_of(price(place["paid"])))
    once, power = place["paid"].split(", ")
    return 3600 * float(own(alone(device(place["device"])), years=YEARS, price_each=once, power=power).each)


def full(place, batch):
    """MLSys·im's closed form of a batch of equal requests at a place; batch may be an array."""
    shape = {"prompt": place["prompt"], "output": place["output"]}
    return serve(network_of(place["network"]), place["device"], batch=batch, **shape, **precisions(place["weights"]))


def settings_of(place, slots=None):
    """Arguments for simulate_serving at a place."""
    slots = slots or place["slots"]
    return {"max_batch": slots, "budget": max(2 * slots, place["prompt"])} | precisions(place["weights"])


def load_of(place, spread=0.5):
    """Arguments for requests() at a place, the rate left open."""
    return {"count": COUNT, "prompt": place["prompt"], "output": place["output"], "spread": spread, "seed": SEED}


@lru_cache(maxsize=512)
def _run(track, rate, slots, spread):
    place = PLACES[track]
    load = requests(rate=rate, **load_of(place, spread))
    return simulate_serving(network_of(place["network"]), place["device"], load, **settings_of(place, slots))


# %% variants
import heapq
import itertools

from mlsysbook import Decision, Key, Mistake

KNOBS = ("compute", "memory bandwidth", "launch")
OFFER = ("device", "net", "prompt", "output", "batch")
OFFERS = dict(
    cloud=(
        ("h100", "llama-3.1-8b", 512, 128, 16),
        ("h100", "llama-3.1-8b", 8192, 8, 8),
        ("h100", "qwen2.5-0.5b", 512, 128, 8),
        ("a100", "llama-3.1-8b", 8192, 8, 8),
        ("l4", "llama-3.1-8b", 64, 256, 8),
        ("h200", "qwen2.5-0.5b", 64, 256, 8),
    ),
    edge=(
        ("jetson-agx-orin", "llama-3.1-8b", 256, 96, 1),
        ("jetson-agx-orin", "llama-3.1-8b", 2048, 8, 1),
        ("jetson-orin-nano-super", "llama-3.2-1b", 32, 128, 1),
        ("raspberry-pi-5", "llama-3.2-1b", 256, 96, 1),
        ("jetson-agx-orin", "llama-3.2-1b", 32, 128, 1),
        ("jetson-orin-nano-super", "llama-3.1-8b", 2048, 8, 8),
    ),
    mobile=(
        ("iphone-15-pro", "llama-3.2-1b", 128, 64, 1),
        ("tensor-g3", "llama-3.2-1b", 128, 64, 1),
        ("iphone-15-pro", "qwen2.5-0.5b", 16, 128, 4),
        ("dimensity-9300", "llama-3.2-1b", 16, 128, 1),
        ("m4", "llama-3.2-1b", 1024, 8, 1),
        ("iphone-15-pro", "llama-3.2-1b", 16, 128, 16),
    ),
    tiny=(
        ("stm32h743", "story", 16, 64, 1),
        ("ethos-u65", "story", 64, 8, 1),
        ("esp32-s3", "story", 16, 64, 2),
        ("ethos-u65", "story", 16, 64, 1),
        ("cortex-m55", "story", 16, 64, 4),
        ("max78000", "story", 8, 128, 2),
    ),
)
# USD, W, token/s of machines that somebody bought; 1/s of loads
BOUGHT = dict(
    cloud=((30_000, 1000, 2500), (12_000, 500, 900), (9000, 450, 700), (40_000, 1400, 5200)),
    edge=((2000, 60, 180), (3500, 130, 420), (1000, 40, 60), (700, 30, 35)),
    mobile=((150, 5, 90), (400, 8, 160), (90, 4, 30), (250, 6, 110)),
    tiny=((30, 0.8, 25), (15, 0.5, 40), (60, 2, 70), (9, 0.3, 12)),
)
RATES = dict(cloud=(8, 11, 14, 17, 20), edge=(0.7, 1, 1.3, 1.6, 1.9), mobile=(0.5, 0.8, 1.1, 1.4, 1.7), tiny=(0.2, 0.3, 0.4, 0.5))


def in_turn(lengths, slots):
    """Steps of continuous batching, by a heap of when slots come free."""
    free = [0] * slots
    for n in lengths:
        heapq.heappush(free, heapq.heappop(free) + n)
    return max(free)


def in_lots(lengths, slots):
    """Steps of static batching: every lot waits for its longest."""
    return sum(max(lengths[i : i + slots]) for i in range(0, len(lengths), slots))


def queues():
    """Lengths and slots for which each slip in counting steps shows."""
    for seed in itertools.count():
        rng = np.random.default_rng(seed)
        slots = int(rng.integers(2, 5))
        lengths = [int(n) for n in rng.integers(1, 10, int(rng.integers(9, 13))) * rng.choice([1, 4], 1)]
        found = [in_turn(lengths, slots), in_lots(lengths, slots), -(-sum(lengths) // slots), sum(lengths)]
        found.append(in_turn(sorted(lengths, reverse=True), slots))
        if len(set(found)) == 5 and found[0] < found[1]:
            yield lengths, slots


def yearly(v):
    """Cost of a million tokens on the machine of a variant, by MLSys·im: (as asked, always busy, without electricity, other way)."""
    watts = float(units.parse(v["draws"])[0])

    def cost(busy, watts=watts):
        made = own(
            alone(device("h100")), years=YEARS, price_each=v["paid"], power=watts, electricity=v["electricity"], utilization=busy
        )
        return float(token_cost(v["puts_out"], made).each)

    busy = units.parse(v["busy"])[0]
    return cost(busy), cost(1.0), cost(busy, 0.0), cost(1.0) * busy


def fleet_cost(v, hour, replicas=None, rate=None):
    """USD for a million tokens of a fleet that is sized for its peak and paid for all day."""
    peak, mean, each = (units.parse(v[k])[0] for k in ("peak", "mean", "each"))
    replicas = np.ceil(peak / each - 1e-9) if replicas is None else replicas(peak, mean, each)
    return float(token_cost((mean if rate is None else rate(peak, mean)) * v["tokens"], hour * replicas / 3600).each)


def pool():
    lines = queues()
    for track, offers in OFFERS.items():
        for i, (offer, n) in enumerate(itertools.product(offers, range(4))):
            paid, watts, out = BOUGHT[track][(i + n) % 4]
            each, slots = RATES[track][(i + 2 * n) % len(RATES[track])], PLACES[track]["slots"]
            lengths, rows = next(lines)
            unit = 1000 * each
            yield {
                "track": track,
                "paid": f"{paid} USD",
                "draws": f"{watts} W",
                "puts_out": f"{out} token/s",
                "electricity": ("0.30 USD/kWh", "0.24 USD/kWh", "0.40 USD/kWh")[(i + n) % 3],
                "busy": f"{(20, 30, 40, 55)[n]} %",
                "lengths": lengths,
                "rows": rows,
                "plan_rate": f"{each:g} 1/s",
                "plan_slots": slots * (1 + i % 2),
                "each": f"{each:g} 1/s",
                "peak": f"{unit * (5.3, 3.4, 8.7, 12.6)[n] / 1000:g} 1/s",
                "mean": f"{unit * (1.2, 1.6, 2.1, 3.3)[n] / 1000:g} 1/s",
                "tokens": PLACES[track]["output"] + 10 * (i % 5),
                "offer": dict(zip(OFFER, offer, strict=True)),
            }


# %%
here = scenario(**PLACES)
here

# %%
place = PLACES[here.track]
hour = hour_of(place)  # USD, one device
promise = here.si("first_token"), here.si("further_token"), SHARE
mine = variant()

# %% show
print(
    f"{network_of(here.network).title}, {units.format(network_of(here.network).params)} parameters, on {device(here.device).title}"
)
what = f"{here.paid} over {YEARS} years, always in use" if "USD" in here.paid else price(here.paid).title
print(f"an hour costs {hour:.4g} USD: {what}")
print(
    f"promise: {SHARE:.0%} of the requests have the first token in {here.first_token} and each further one in {here.further_token}"
)
for name, value in mine.items():
    print(f"{name:<12} {value}")

# %% [markdown]
# ## 1. A step that is shared
# A request reads its prompt, and then each step puts out one token for every request in the batch. A step reads all
# weights once, however many requests share it. A machine at 3.60 USD an hour that puts out 500 tokens a second makes a
# million in 2,000 seconds, which are 2 USD, if it is busy all the time. If it is busy for a quarter of the time, you pay
# for the rest as well: 8 USD.


# %% solution="million_tokens"
def million_tokens(hour, rate, busy=1.0):
    """USD for a million tokens.

    hour: USD an hour, paid whether it works or not; rate: tokens a second while it works; busy: share of the time in
    which it does. Numbers or arrays, which broadcast -> USD.
    """
    ### BEGIN SOLUTION
    return np.asarray(hour) / 3600 / (np.asarray(rate) * busy) * 1e6
    ### END SOLUTION


# %% check="million_tokens" points=4
check(
    "million_tokens",
    [case(3.6, 500.0), case(3.6, 500.0, 0.25), case(2.0, np.array([100.0, 1000.0]))],
    compare="value",
    rtol=1e-6,
    forbid=("mlsysim.token_cost", "token_cost"),
)


# %% hidden="million_tokens"
def cases(rng):
    for _ in range(4):
        yield case(
            float(rng.uniform(0.001, 90)), float(rng.uniform(5, 20_000)), behaviour="an hour has 3,600 s, a million is a million"
        )
    for _ in range(3):
        yield case(
            float(rng.uniform(0.001, 90)),
            float(rng.uniform(5, 20_000)),
            float(rng.uniform(0.05, 0.9)),
            behaviour="idle time is paid too",
        )
    yield case(
        rng.uniform(1, 5, size=(3, 1)), rng.uniform(100, 900, size=4), rng.uniform(0.2, 1, size=4), behaviour="arrays broadcast"
    )


# %% [markdown]
# Sixteen requests in a batch read the weights together. How many times cheaper is a token at your place with 16 requests
# in a batch than with one? Write 16 if all of the cost is shared, and 1 if none is. Half of the point is for betting at
# all, the other half for an interval that is narrow and holds the truth.

# %% predict="sharing" points=1
# predict("sharing", "...", low="...", high="...")
### BEGIN SOLUTION
alone_and_together = full(place, np.array([1, 16])).rate
gain = float(alone_and_together[1] / alone_and_together[0])
predict("sharing", f"{gain:.4g}", low=f"{0.999 * gain:.5g}", high=f"{1.001 * gain:.5g}")
### END SOLUTION


# %% key="sharing"
def key(v):
    rate = full(PLACES[v["track"]], np.array([1, 16])).rate
    return Key(float(rate[1] / rate[0]), "")


# %% show
some = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256])
some = some[some <= full(place, 1).max_batch]
batches = full(place, some)
reveal("sharing", f"{float(full(place, 16).rate / full(place, 1).rate):.4g}")
print(f"{'batch':>6}  {'token/s':>8}  {'a step':>8}  {'a million':>11}")
for b, rate, step, cost in zip(some, batches.rate, batches.tpot, million_tokens(hour, batches.rate), strict=True):
    print(f"{b:>6}  {rate:>8,.0f}  {units.format(step, 's'):>8}  {cost:>7.3g} USD")

# %% [markdown]
# The first requests that join are nearly free as long as a step waits for the memory. Then arithmetic takes as long as
# the reading did, and from there a step grows with the batch: a token gets no cheaper, only slower. On a microcontroller
# the memory is quick for the arithmetic, so that a step grows from the second request on. What is shared there is less:
# several rows fill the units of a product better than one row does.
#
# ### Your machine
# Somebody bought a machine for `mine["paid"]`. In use it draws `mine["draws"]`, at `mine["electricity"]`, and puts out
# `mine["puts_out"]`. It is used for `mine["busy"]` of three years, of 365 days, and draws nothing otherwise. What does a
# million tokens cost?

# %% answer="owned" points=2
owned = ""  # such as "1.25 USD"
### BEGIN SOLUTION
paid, kilowatts = units.parse(mine["paid"])[0], units.parse(mine["draws"])[0] / 1000
busy, out = units.parse(mine["busy"])[0], units.parse(mine["puts_out"])[0]
each_kwh = float(mine["electricity"].split()[0])
owned = f"{million_tokens(paid / (YEARS * 365 * 24) + kilowatts * busy * each_kwh, out, busy):.6g} USD"
### END SOLUTION


# %% key="owned"
def key(v):
    cost, always, capital, other = yearly(v)
    return Key(
        cost,
        "USD",
        tol=0.01,
        mistakes=(
            Mistake(always, 0.25, "that is a machine in use all the time; its price is spread over fewer tokens"),
            Mistake(capital, 0.5, "electricity is missing"),
            Mistake(other, 0.0, "a machine that is used less makes dearer tokens, not cheaper ones"),
        ),
    )


# %% [markdown]
# ## 2. Slots that are filled again
# Answers differ in length. A static batch runs until its longest answer ends, and finished slots stand empty. Continuous
# batching gives a slot that comes free to the next in line, from the next step on.
#
# With answers of 3, 1, 1 and 2 tokens and two slots, a static batch takes 3 steps for the first two and 2 for the others:
# 5. Continuous batching: the first ends after step 3, the second after 1, the third takes its slot and ends after 2, the
# fourth ends after 4. So it takes 4 steps.
#
# Write it: requests in line, each takes the slot that comes free first. Give back after which step each one ends.


# %% solution="finish_steps"
def finish_steps(lengths, slots):
    """After which step each request ends, with continuous batching.

    lengths: tokens of each answer, in the order of the line, each 1 or more; slots -> array of int64, one a request.
    """
    ### BEGIN SOLUTION
    free, done = [0] * slots, []
    for n in lengths:
        slot = free.index(min(free))
        free[slot] += n
        done.append(free[slot])
    return np.array(done, np.int64)
    ### END SOLUTION


# %% check="finish_steps" points=4
check("finish_steps", [case([3, 1, 1, 2], 2), case([2, 5], 4), case([1, 2, 3], 1)], compare="value")


# %% hidden="finish_steps"
def cases(rng):
    for _ in range(4):
        n = int(rng.integers(12, 40))
        yield case(
            [int(x) for x in rng.integers(1, 60, n)],
            int(rng.integers(2, 8)),
            behaviour="a slot that comes free goes to the next in line",
        )
    for _ in range(2):
        yield case([int(x) for x in rng.integers(1, 60, int(rng.integers(2, 5)))], 8, behaviour="more slots than requests")
    yield case([int(x) for x in rng.integers(1, 60, 9)], 1, behaviour="one slot is a line")
    yield case([int(rng.integers(2, 9))] * 12, 4, behaviour="equal answers end in lots")


# %% show
def static_steps(lengths, slots):
    """The same with static batches: all of a batch are held until its longest ends."""
    ends = np.cumsum([max(lengths[i : i + slots]) for i in range(0, len(lengths), slots)])
    return np.repeat(ends, slots)[: len(lengths)]


def line(slots, spread):
    lengths = requests(24, 1.0, prompt=1, output=24, spread=spread, seed=SEED).output.tolist()
    static, flowing = static_steps(lengths, slots)[-1], finish_steps(lengths, slots).max()
    return {"static": int(static), "continuous": int(flowing), "work": sum(lengths), "lengths": lengths}


def draw_line(axes, result, settings):
    slots, lengths = settings["slots"], result["lengths"]
    begun = static_steps(lengths, slots) - np.repeat([max(lengths[i : i + slots]) for i in range(0, 24, slots)], slots)[:24]
    ends = finish_steps(lengths, slots)
    for i, n in enumerate(lengths):
        axes.barh(i % slots, n, left=begun[i], color="C0", edgecolor="black", hatch="//")
    free = [0] * slots  # which slot it was, for the drawing alone
    for n, end in zip(lengths, ends, strict=True):
        slot = min(range(slots), key=lambda s: (free[s] != end - n, s))
        free[slot] = end
        axes.barh(slots + 1 + slot, n, left=end - n, color="C1", edgecolor="black")
    axes.set(
        xlabel="step",
        xlim=(0, result["static"]),
        ylim=(2 * slots + 0.6, -0.6),
        title="24 answers in slots; white is paid for and empty",
    )
    axes.set_yticks([(slots - 1) / 2, slots + 1 + (slots - 1) / 2], ["static", "cont."])


def say_line(result, settings):
    rows = settings["slots"]
    used = [result["work"] / (rows * result[name]) for name in ("static", "continuous")]
    return (
        f"24 answers take {result['static']} steps in static batches, with {used[0]:.0%} of the slots in use, and {result['continuous']} "
        f"with continuous batching, with {used[1]:.0%}."
    )


line_panel = explore(line, {"slots": slider(2, 8, start=4), "spread": slider(0.0, 2.0, start=0.5)}, draw=draw_line, say=say_line)
line_panel

# %% [markdown]
# ### Your line
# Answers of `mine["lengths"]` tokens stand in line for `mine["rows"]` slots. How many steps does continuous batching take
# until the last one ends?

# %% answer="steps" points=2
steps = ""  # such as "41"
### BEGIN SOLUTION
steps = f"{finish_steps(mine['lengths'], mine['rows']).max()}"
### END SOLUTION


# %% key="steps"
def key(v):
    lengths, rows = v["lengths"], v["rows"]
    return Key(
        in_turn(lengths, rows),
        "",
        tol=0.001,
        mistakes=(
            Mistake(in_lots(lengths, rows), 0.25, "that is static batching: a free slot waits for the longest of its batch"),
            Mistake(-(-sum(lengths) // rows), 0.5, "that is the work over the slots; at the end some slots have nobody left"),
            Mistake(sum(lengths), 0.0, "that is one slot"),
            Mistake(in_turn(sorted(lengths, reverse=True), rows), 0.25, "they stand in line; nobody sorts them"),
        ),
    )


# %% [markdown]
# ## 3. The load that keeps a promise
# MLSys·im plays a whole server: requests come at random, prompts are read beside the tokens of others, the cache has only
# so much room. `simulate_serving` gives back a run with `ttft` and `tpot`, one entry a request: seconds to the first token
# and for each further one.

# %% show
limit = float(full(place, place["slots"]).requests)
for fraction in (0.2, 0.6, 1.0, 2.0):
    run = simulate_serving(
        network_of(here.network), here.device, requests(rate=fraction * limit, **load_of(place)), **settings_of(place)
    )
    first, further = (units.format(run.percentile(name, 95)[0], "s") for name in ("ttft", "tpot"))
    print(
        f"{fraction * limit:>7.3g} requests a second: {run.rate:>7,.0f} token/s, 95 % have the first in {first}, further ones in {further}"
    )

# %% [markdown]
# A benchmark runs it full, as in the last row: all slots are taken, all the time. You promise something, so you run
# it at the highest load at which the promise holds. How many times as dear is a token there as in the benchmark? Loads are
# tried in tenths of what full slots would take.

# %% predict="dearer" points=1
# predict("dearer", "...", low="...", high="...")
### BEGIN SOLUTION
top = float(full(place, place["slots"]).requests)
first, each = (units.parse(place[k])[0] for k in ("first_token", "further_token"))
tried = [_run(here.track, f * top, place["slots"], 0.5) for f in FRACTIONS]
kept = [run for run in tried if np.mean((run.ttft <= first) & (run.tpot <= each)) >= SHARE]
ratio = float(_run(here.track, 20 * top, place["slots"], 0.5).rate / kept[-1].rate)
predict("dearer", f"{ratio:.7g}", low=f"{0.999 * ratio:.7g}", high=f"{1.001 * ratio:.7g}")
### END SOLUTION


# %% key="dearer"
def key(v):
    at = PLACES[v["track"]]
    top = float(full(at, at["slots"]).requests)
    first, each = (units.parse(at[k])[0] for k in ("first_token", "further_token"))
    kept = [
        run
        for run in (_run(v["track"], f * top, at["slots"], 0.5) for f in FRACTIONS)
        if np.mean((run.ttft <= first) & (run.tpot <= each)) >= SHARE
    ]
    return Key(_run(v["track"], 20 * top, at["slots"], 0.5).rate / kept[-1].rate, "")


# %% [markdown]
# Find that load. A rate keeps the promise if the share of requests whose first token *and* whose further tokens are in
# time is at least as large as promised. Give back the highest such rate of those that are offered, and 0 if there is none.
# They may be offered in any order.


# %% solution="highest_rate"
def highest_rate(net, on, rates, promise, load, **settings):
    """The highest of `rates` (requests a second) at which a promise is kept, or 0.0.

    net, on: model and device for simulate_serving(); promise: (seconds to the first token, seconds for each further one,
    share of the requests); load: arguments for requests() beside rate=; settings: further ones for simulate_serving().
    """
    ### BEGIN SOLUTION
    first, each, share = promise
    best = 0.0
    for rate in rates:
        run = simulate_serving(net, on, requests(rate=rate, **load), **settings)
        if np.mean((run.ttft <= first) & (run.tpot <= each)) >= share:
            best = max(best, float(rate))
    return best
    ### END SOLUTION


# %% check="highest_rate" points=5
check(
    "highest_rate",
    [
        case(
            "llama-3.1-8b", "h100", [5.0, 20.0, 40.0], (1.0, 0.012, 0.95), {"count": 60, "prompt": 512, "output": 64, "seed": 1}
        ),
        case("llama-3.1-8b", "a100", [20.0, 5.0], (1e-6, 1.0, 0.5), {"count": 20, "prompt": 64, "output": 8, "seed": 2}),
    ],
    compare="value",
    rtol=1e-6,
)


# %% hidden="highest_rate"
def cases(rng):
    def made(tight, share, order, behaviour):
        net, on = str(rng.choice(["llama-3.1-8b", "mistral-7b", "llama-3.2-3b"])), str(rng.choice(["h100", "a100", "h200"]))
        load = {
            "count": 24,
            "prompt": int(rng.integers(200, 900)),
            "output": int(rng.integers(20, 60)),
            "seed": int(rng.integers(1000)),
            "spread": 0.5,
        }
        rates = [float(f"{r:.3g}") for r in np.array([4, 8, 16, 32, 64]) * rng.uniform(0.8, 1.2)]
        run = simulate_serving(net, on, requests(rate=rates[2], **load))
        limits = [1.01 * float(np.quantile(getattr(run, name), share)) if name in tight else 1e3 for name in ("ttft", "tpot")]
        return case(net, on, [rates[i] for i in order], (*limits, share), load, behaviour=behaviour)

    up = range(5)
    yield made(("ttft",), 0.9, up, "the first token is in time")
    yield made(("ttft",), 0.8, up, "the first token is in time")
    yield made(("tpot",), 0.9, up, "further tokens are in time")
    yield made(("tpot",), 0.8, up, "further tokens are in time")
    yield made(("ttft", "tpot"), 0.6, up, "both at once, any share")
    yield made(("tpot",), 0.9, (3, 0, 4, 2, 1), "rates in any order")
    load = {"count": 20, "prompt": 256, "output": 16, "seed": int(rng.integers(1000))}
    yield case("mistral-7b", "h100", [10.0, 5.0], (1e-5, 1e-5, 0.9), load, behaviour="0 if none keeps it")


# %% show
top = highest_rate(network_of(here.network), here.device, limit * FRACTIONS, promise, load_of(place), **settings_of(place))
at_promise = _run(here.track, top, place["slots"], 0.5)
flat_out = _run(here.track, 20 * limit, place["slots"], 0.5)
reveal("dearer", f"{flat_out.rate / at_promise.rate:.4g}")
for name, run in (("flat out", flat_out), (f"at {top:.3g} requests a second", at_promise)):
    print(f"{name:<32} {run.rate:>8,.0f} token/s  {million_tokens(hour, run.rate):>7.3g} USD a million")

# %% [markdown]
# ### Load, slots and the promise
# The curves are all requests, sorted by how long they took, over what was promised. What is right of 1 broke the promise.
# More slots make tokens cheaper at the same time as slower; fewer make the line longer.


# %% show
def serving(load, slots, spread):
    run = _run(here.track, load * limit, slots, spread)
    in_time = float(np.mean((run.ttft <= promise[0]) & (run.tpot <= promise[1])))
    return {
        "in_time": in_time,
        "rate": run.rate,
        "cost": float(million_tokens(hour, run.rate)),
        "load": load,
        "slots": slots,
        "spread": spread,
    }


def draw_serving(axes, result, settings):
    run = _run(here.track, result["load"] * limit, result["slots"], result["spread"])
    share = 100 * (np.arange(COUNT) + 1) / COUNT
    for name, most, style in (("ttft", promise[0], "-"), ("tpot", promise[1], "--")):
        axes.plot(np.sort(getattr(run, name)) / most, share, style, label="first token" if name == "ttft" else "further tokens")
    axes.axvline(1.0, color="black", linestyle=":")
    axes.axhline(100 * SHARE, color="black", linestyle=":")
    axes.set(xscale="log", xlim=(0.01, 100), ylim=(0, 101), xlabel="time over what was promised", ylabel="requests (%)")
    axes.minorticks_off()
    axes.set_title(f"{result['cost']:.3g} USD a million tokens")
    axes.legend(loc="lower right")


def say_serving(result, settings):
    kept = "kept" if result["in_time"] >= SHARE else "broken"
    return (
        f"{result['load'] * limit:.3g} requests a second: {result['in_time']:.0%} are in time, so the promise is {kept}; "
        f"{result['rate']:,.0f} tokens a second at {result['cost']:.3g} USD a million."
    )


serving_panel = explore(
    serving,
    {
        "load": slider(0.1, 2.0, start=0.6, unit="%", steps=19),
        "slots": pick(*(max(place["slots"] * n // 4, 1) for n in (1, 2, 4, 8)), start=place["slots"]),
        "spread": pick(0.0, 0.5, 1.0, start=0.5),
    },
    draw=draw_serving,
    say=say_serving,
)
serving_panel

# %% [markdown]
# ### Your plan
# Play your place with `mine["plan_rate"]` requests a second, `mine["plan_slots"]` slots and the lengths as they are:
# `requests(rate=..., **load_of(place))` and `settings_of(place, slots)`. What does a million tokens cost, if a device
# costs `hour`?

# %% answer="played" points=2
played = ""  # such as "0.45 USD"
### BEGIN SOLUTION
own_load = requests(rate=units.parse(mine["plan_rate"])[0], **load_of(place))
own_run = simulate_serving(network_of(here.network), here.device, own_load, **settings_of(place, mine["plan_slots"]))
played = f"{million_tokens(hour, own_run.rate):.6g} USD"
### END SOLUTION


# %% key="played"
def key(v):
    at, rate = PLACES[v["track"]], units.parse(v["plan_rate"])[0]
    run, each = _run(v["track"], rate, v["plan_slots"], 0.5), hour_of(at) / 3600
    printed = full(at, v["plan_slots"])
    return Key(
        float(token_cost(run, each).each),
        "USD",
        tol=0.01,
        mistakes=(
            Mistake(float(token_cost(printed.rate, each).each), 0.25, "that is with all slots full; so few do not fill them"),
        ),
    )


# %% [markdown]
# ## 4. A fleet for the busiest hour
# A device keeps its promise up to `mine["each"]` requests a second. On average `mine["mean"]` requests come in a second, in
# the busiest hour `mine["peak"]`. You keep as many devices as the busiest hour needs, all day, each for `hour`. A request
# puts out `mine["tokens"]` tokens. What does a million tokens cost over the day?

# %% answer="fleet" points=2
fleet = ""  # such as "2.40 USD"
### BEGIN SOLUTION
peak, mean, each = (units.parse(mine[k])[0] for k in ("peak", "mean", "each"))
fleet = f"{million_tokens(hour * np.ceil(peak / each), mean * mine['tokens']):.6g} USD"
### END SOLUTION


# %% key="fleet"
def key(v):
    paid = hour_of(PLACES[v["track"]])
    all_day, too_few = (
        "the busiest hour is not all day; tokens are those of the mean rate",
        "that many break the promise in the busiest hour",
    )
    return Key(
        fleet_cost(v, paid),
        "USD",
        tol=0.01,
        mistakes=(
            Mistake(fleet_cost(v, paid, rate=lambda peak, mean: peak), 0.25, all_day),
            Mistake(fleet_cost(v, paid, lambda peak, mean, each: np.ceil(mean / each)), 0.25, too_few),
            Mistake(fleet_cost(v, paid, lambda peak, mean, each: peak / each), 0.5, "there are only whole devices"),
            Mistake(fleet_cost(v, paid, lambda peak, mean, each: 1.0), 0.25, "that is one device; the busiest hour needs more"),
        ),
    )


# %% [markdown]
# ## 5. Decide
# `mine["offer"]` is a service on some device, with a batch of equal requests. For the same money you may have a device
# with one per cent more arithmetic, one per cent more memory bandwidth, or one that starts its kernels one per cent
# sooner. Which do you take? `offer_of(mine["offer"])` is MLSys·im's result for it, and its `.why()` says how much each
# changes the time of a request. The limit is one of "compute", "memory bandwidth" and "launch". Name three answers of
# yours that the decision rests on, the alternative that you turned down, and what could prove you wrong. Half of the points
# are for the limit, a third for the answers.


# %%
def offer_of(offer):
    """MLSys·im's closed form of an offer, with weights kept as at its place."""
    shape = {name: offer[name] for name in ("batch", "prompt", "output")}
    return serve(network_of(offer["net"]), offer["device"], **shape, **precisions(place["weights"]))


# %% decision="buy" points=4
# buy = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
buy = decision(
    claim="More of what binds the offer makes each token cheaper",
    binding=offer_of(mine["offer"]).why().binding,
    evidence=("owned", "played", "fleet"),
    rejected="A larger batch would break the promise before it pays",
    risk="Prompts may grow longer, and another limit binds then",
)
### END SOLUTION


# %% key="buy"
def key(v):
    offer = v["offer"]
    shape = {name: offer[name] for name in ("batch", "prompt", "output")}
    run = serve(network_of(offer["net"]), offer["device"], **shape, **precisions(PLACES[v["track"]]["weights"]))
    said = {
        "memory bandwidth": "decoding often waits for the memory, this offer does not: look at its .why()",
        "compute": "the printed peak is hardly touched here: look at its .why()",
    }
    binding = run.why().binding
    return Decision(binding, KNOBS, {name: text for name, text in said.items() if name != binding})


# %% [markdown] rubric="defend" points=2
# A competitor advertises a price for a million tokens that is half of yours. Say with two numbers of your own place how
# that can be with the same device at the same price an hour, and what you would ask before you believe it. Four sentences
# at most.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. Two costs or rates of the writer's own place are compared, one with slots full (the benchmark) and one at a promise
#    or for a fleet with a peak, and the factor between them is named.
# 2. The question asked would tell them apart: at which share and time to the first and each further token, at which mix
#    of lengths, or at which use over the day the price holds.
# ### END MARK SCHEME
