# %% [markdown]
# # Lab V1-13: Tail Latency
#
# A service computes an answer in a few milliseconds, and its server still has a tenth of its time to spare. Why do users
# complain? Because a request rarely finds the server idle. The mean hides what the slowest one in a hundred goes
# through, and a page that asks ten services meets one of those slow answers about once in ten times.
#
# **Afterwards you can** say how busy a server may be for a given promise, what a batch and a sleeping server add to the
# tail, and which of these the slowest requests really wait for.
#
# **How to work.** Twice you bet before you look. Three functions are yours, each followed by a check with worked
# examples; hidden cases are run when the lab is graded. Four answers use numbers of your own. A decision and a few
# sentences close it. The panels have sliders; without a mouse, Tab reaches them and the arrow keys move them. Each panel
# says in one sentence what its figure shows. Times of a pass are bounds from MLSys·im: real ones are longer, never
# shorter, and what follows from them about lines holds for any. Allow fifty minutes.

# %%
from functools import lru_cache

import numpy as np

from mlsysbook import answer, case, check, decision, explore, pick, predict, reveal, scenario, slider, variant
from mlsysim import md1, mmc, model, roofline, units

PLACES = dict(
    cloud={
        "title": "A picture search",
        "story": "Pages with one picture or many come to ViT-L/16 on one card in a data centre.",
        "network": "vit-l-16",
        "device": "l4",
        "start_of_the_process": "6 s",
        "weights_come_at": "1 GB/s",
    },
    edge={
        "title": "A crossing",
        "story": "Four cameras above a road send cut-outs of what moves to ResNet-50 on one board at the kerb.",
        "network": "resnet-50",
        "device": "jetson-orin-nano",
        "start_of_the_process": "2 s",
        "weights_come_at": "200 MB/s",
    },
    mobile={
        "title": "A camera app",
        "story": "Several apps of one phone share MobileNetV3 behind one system service.",
        "network": "mobilenet-v3-large",
        "device": "iphone-15-pro",
        "start_of_the_process": "300 ms",
        "weights_come_at": "500 MB/s",
    },
    tiny={
        "title": "A wall of switches",
        "story": "Microphones of one room send sounds of many lengths to DS-CNN on one microcontroller.",
        "network": "ds-cnn",
        "device": "stm32f746",
        "start_of_the_process": "40 ms",
        "weights_come_at": "1 MB/s",
    },
)
MICROCONTROLLER = PLACES["tiny"]["device"]
REQUESTS, SEED = 20_000, 13


@lru_cache(maxsize=1024)
def _pass_seconds(network, device, batch):
    net, width = model(network), _width(device)
    weights = width * net.params  # read once for the whole batch
    traffic = weights + batch * (net.traffic(bytes_per=width) - weights)
    return float(roofline(batch * net.flop, traffic, device, precision="int8" if width == 1 else "fp16").seconds)


def _width(device):
    return 1 if device == MICROCONTROLLER else 2  # bytes of a number: int8, fp16


def pass_seconds(place, batch=1):
    """Mean time of one pass over `batch` requests at a place: the slower of arithmetic and memory traffic."""
    return _pass_seconds(place["network"], place["device"], int(batch))


def cold_seconds(place):
    """What the first request waits for when the server sleeps: the process starts, and the weights are read."""
    weights = _width(place["device"]) * model(place["network"]).params
    return units.parse(place["start_of_the_process"])[0] + weights / units.parse(place["weights_come_at"])[0]


# %% variants
import itertools

from mlsysbook import Decision, Key, Mistake

LIMITS = ("gathering", "line", "computing", "cold start")


@lru_cache(maxsize=4096)
def tail_of(track, rate, batch, keep):
    """Means of each part over all requests and over the slowest hundredth of a plan."""
    place, rng = PLACES[track], np.random.default_rng(SEED)
    n = REQUESTS // batch
    came = np.cumsum(rng.exponential(1 / rate, n * batch)).reshape(n, batch)
    full = came[:, -1]
    sizes = rng.exponential(size=n)
    cold = np.where(np.diff(full, prepend=full[0]) > keep, cold_seconds(place), 0.0)
    work = pass_seconds(place, batch) * sizes
    before = np.cumsum(work + cold) - work - cold
    line = np.maximum.accumulate(full - before) + before - full
    each = {"gathering": full[:, None] - came} | {
        k: np.broadcast_to(v[:, None], came.shape) for k, v in {"line": line, "computing": work, "cold start": cold}.items()
    }
    total = sum(each.values())
    slow = total >= np.quantile(total, 0.99)
    return {k: float(v.mean()) for k, v in each.items()}, {k: float(v[slow].mean()) for k, v in each.items()}


def plans(track):
    """For each limit, plans whose slowest requests clearly wait for it; if there are such, those whose mean request does not."""
    place, found, plain = PLACES[track], {name: [] for name in LIMITS}, {name: [] for name in LIMITS}
    for batch, load, awake in itertools.product((1, 2, 4, 8, 16), (0.05, 0.1, 0.35, 0.6, 0.75, 0.85), (2.0, 3.5, 40.0)):
        rate = float(f"{load * batch / pass_seconds(place, batch):.3g}")
        keep = float(f"{awake * batch / rate:.3g}")
        everybody, slowest = tail_of(track, rate, batch, keep)
        first, second = sorted(slowest.values())[-1:-3:-1]
        limit = max(slowest, key=slowest.get)
        if first > 1.5 * second:
            kept = plain if limit == max(everybody, key=everybody.get) else found
            kept[limit].append({"plan_rate": f"{rate:g} 1/s", "plan_batch": batch, "plan_keep": f"{keep:g} s"})
    return {name: found[name] or plain[name] for name in LIMITS}


def taxes(track):
    """A rate and a batch for which each slip in the sum of gathering and computing shows."""
    one = pass_seconds(PLACES[track])
    for batch, load in itertools.product((4, 6, 8, 12), (0.15, 0.25, 0.4, 0.55)):
        rate = float(f"{load / one:.3g}")
        work, gather = pass_seconds(PLACES[track], batch), (batch - 1) / 2 / rate
        values = (gather + work, 2 * gather + work, gather + one, gather, work)
        if all(abs(a - b) > 0.06 * max(a, b) for a, b in itertools.combinations(values, 2)):
            yield {"rate": f"{rate:g} 1/s", "batch": batch}


def pool():
    for track, place in PLACES.items():
        one, found, tax = pass_seconds(place), plans(track), list(taxes(track))
        for i, (limit, n) in enumerate(itertools.product(LIMITS, range(6))):
            if not found[limit]:
                continue
            objective = float(f"{one * (8, 9, 10, 12, 14, 17, 20)[i % 7]:.3g}")
            quiet = float(f"{(0.02, 0.05, 0.03, 0.08, 0.04)[i % 5] / cold_seconds(place):.2g}")
            yield {"track": track, "objective": f"{1e3 * objective:g} ms", "quiet": f"{quiet:g} 1/s"} | tax[i % len(tax)] | found[limit][
                (5 * n) % len(found[limit])
            ]


# %%
here = scenario(**PLACES)
here

# %%
place = PLACES[here.track]
service = pass_seconds(place)  # s, one request of mean size
mine = variant()

# %% show
print(f"a request of mean size: {units.format(service, 's')};  a server woken from sleep: {units.format(cold_seconds(place), 's')}")
for name, value in mine.items():
    print(f"{name:<12} {value}")

# %% [markdown]
# ## 1. A tenth to spare
# Requests come one by one, whenever they like. Their sizes differ, so their times do: most are short, a few take several
# times the mean. The server works through them in order, and it is busy for 90 % of the time.
#
# Within what time are 99 of 100 requests done, from coming to going? Bet in milliseconds, with a low and a high value
# between which the truth should lie nine times in ten. Half of the point is for betting at all, the other half for an
# interval that is narrow and holds the truth.

# %% predict="busy" points=1 unit="s"
# predict("busy", "... ms", low="... ms", high="... ms")
### BEGIN SOLUTION
predict("busy", f"{46 * service:.4g} s", low=f"{45.9 * service:.4g} s", high=f"{46.2 * service:.4g} s")
### END SOLUTION


# %% key="busy"
def key(v):
    each = pass_seconds(PLACES[v["track"]])
    return Key(mmc(0.9 / each, each).quantile(0.99), "s")


# %% show
busy = mmc(0.9 / service, service)
reveal("busy", units.format(busy.quantile(0.99), "s"))
print(f"one request alone, on average        {units.format(service, 's'):>9}")
print(f"mean time, server 90 % busy          {units.format(busy.seconds, 's'):>9}")
print(f"99 of 100 are done within            {units.format(busy.quantile(0.99), 's'):>9}")
print(f"the same with requests all alike     {units.format(md1(0.9 / service, service).quantile(0.99), 's'):>9}")
print(f"the same, server 50 % busy           {units.format(mmc(0.5 / service, service).quantile(0.99), 's'):>9}")

# %% [markdown]
# The spare tenth is not there when it is needed: it lies in gaps between requests, and a gap that has passed helps
# nobody. Is the formula to be believed? Play it. With one server and one line, a request starts when it has come and
# the one before it has gone. Say the first four come at 0, 1, 2 and 9 seconds and take 3 seconds each. They go at 3, 6,
# 9 and 12, so they were there for 3, 5, 7 and 3 seconds.
#
# Write that for any arrivals and services: the time from coming to going of each request.


# %% solution="times_in_system"
def times_in_system(arrivals, services):
    """Time in line and in service of each request at one server that takes them in order.

    arrivals (n,) s, ascending; services (n,) s -> array (n,) of s, float64.
    """
    ### BEGIN SOLUTION
    arrivals, services = np.asarray(arrivals, float), np.asarray(services, float)
    before = np.concatenate([[0.0], np.cumsum(services)])  # work that came earlier, if the server never rested
    starts = np.maximum.accumulate(arrivals - before[:-1]) if arrivals.size else arrivals
    return starts + before[1:] - arrivals
    ### END SOLUTION


# %% check="times_in_system" points=5
check(
    "times_in_system",
    [
        case(np.array([0.0, 1.0, 2.0, 9.0]), np.array([3.0, 3.0, 3.0, 3.0])),
        case(np.array([0.0, 0.0, 0.0]), np.array([1.0, 0.5, 2.0])),
    ],
    rtol=1e-6,
)


# %% hidden="times_in_system"
def cases(rng):
    for load in rng.uniform(0.6, 0.95, size=3):
        n = int(rng.integers(40, 90))
        came = np.cumsum(rng.exponential(1, n))
        yield case(came, rng.exponential(load, n), behaviour="one waits for those before, in line and in service")
    for _ in range(2):
        n = int(rng.integers(5, 12))
        yield case(np.cumsum(rng.uniform(2, 4, n)), rng.uniform(0.1, 2, n), behaviour="a server that rests starts at once")
    for _ in range(2):
        n = int(rng.integers(3, 30))
        together = np.full(n, float(rng.uniform(0, 5)))
        yield case(together, rng.uniform(0.1, 1, n), behaviour="of those who come together, each waits for all before")
    yield case(np.zeros(0), np.zeros(0), behaviour="nobody came")


# %% [markdown]
# ### Formula and play
# The curve is the formula, the cross is your function on 60,000 requests. Move the load. Then let all requests take
# equally long: half of the tail goes, and the rest of it stays. Near a full server the cross strays from the curve. Slow
# requests come in crowds, so even a long run holds few independent ones: a measured tail needs far more requests than
# a measured mean.


# %%
def played(load, sizes):
    """99th percentile in multiples of the mean service, by playing the line with your function."""
    rng = np.random.default_rng(SEED)
    came = np.cumsum(rng.exponential(1 / load, 3 * REQUESTS))
    took = rng.exponential(1.0, came.size) if sizes == "mixed" else np.ones(came.size)
    return float(np.quantile(times_in_system(came, took), 0.99))


# %% show
LOADS = np.linspace(0.05, 0.95, 40)
CURVES = {"mixed": mmc(LOADS, 1.0).quantile(0.99), "alike": md1(LOADS, 1.0).quantile(0.99)}


def tail(load, sizes):
    return {"formula": float((mmc if sizes == "mixed" else md1)(load, 1.0).quantile(0.99)), "played": played(load, sizes)}


def draw_tail(axes, result, settings):
    for name, style in (("mixed", "-"), ("alike", "--")):
        axes.plot(100 * LOADS, CURVES[name], style, label=f"sizes {name}, formula")
    axes.plot([100 * settings["load"]], [result["played"]], "kx", markersize=10, label="played by your function")
    axes.set(xlabel="load (% of the time busy)", ylabel="99th percentile (mean services)", ylim=(0, 100), title="Time in the system")
    axes.legend(loc="upper left")


def say_tail(result, settings):
    seconds = units.format(result["formula"] * service, "s")
    return (
        f"99 of 100 are done within {result['formula']:.1f} mean services, {seconds} at your place, by the formula; "
        f"within {result['played']:.1f} when played."
    )


tail_panel = explore(
    tail, {"load": slider(0.1, 0.95, start=0.9, unit="%"), "sizes": pick("mixed", "alike")}, draw=draw_tail, say=say_tail
)
tail_panel

# %% [markdown]
# ## 2. How busy may it be?
# A promise is a time and a share: 99 of 100 within the objective. For sizes as mixed as here, the time in the system is
# again of that mixed kind, with rate $\mu - \lambda$ where $\mu = 1/s$ is what the server can do and $\lambda$ what comes:
# $P(T > t) = e^{-(\mu - \lambda) t}$. So it is the difference that decides. With $s$ = 10 ms the server can do
# 100 a second; if 50 come, one in a hundred takes longer than $\ln 100 / 50$ = 92 ms, and if 90 come, longer than 461 ms.
#
# Write the largest rate of arrivals that keeps the promise, and 0 where none does.


# %% solution="most_arrivals"
def most_arrivals(service, objective, share=0.99):
    """Largest rate of arrivals (1/s) at which `share` of the requests are done within `objective`.

    service: mean service time (s); objective (s). Numbers or arrays, which broadcast -> 1/s, never below 0.
    """
    ### BEGIN SOLUTION
    return np.maximum(1 / np.asarray(service) + np.log(1 - np.asarray(share)) / objective, 0.0)
    ### END SOLUTION


# %% check="most_arrivals" points=4
check(
    "most_arrivals",
    [case(0.01, 0.092), case(0.01, 0.02), case(np.array([0.01, 0.02]), 0.2, 0.95)],
    compare="value",
    rtol=1e-6,
)


# %% hidden="most_arrivals"
def cases(rng):
    for _ in range(4):
        each = float(rng.uniform(0.001, 0.5))
        yield case(each, each * float(rng.uniform(6, 40)), behaviour="99 of 100, any service and objective")
    for share in (0.5, 0.9, 0.999):
        each = float(rng.uniform(0.001, 0.5))
        yield case(each, each * float(rng.uniform(9, 40)), share, behaviour="any share")
    for _ in range(2):
        each = float(rng.uniform(0.001, 0.5))
        yield case(each, each * float(rng.uniform(0.2, 4)), behaviour="0 where even a server without a line is too slow")
    yield case(rng.uniform(0.01, 0.02, size=(3, 1)), rng.uniform(0.2, 0.9, size=4), behaviour="arrays broadcast")


# %% [markdown]
# ### Your promise
# `mine["objective"]` is yours. How busy may your server be, in per cent? `units.parse("40 ms")[0]` is in seconds.

# %% answer="knee" points=2
knee = ""  # such as "62 %"
### BEGIN SOLUTION
objective = units.parse(mine["objective"])[0]
knee = f"{100 * float(most_arrivals(service, objective)) * service:.6g} %"
### END SOLUTION


# %% key="knee"
def key(v):
    each, limit = pass_seconds(PLACES[v["track"]]), units.parse(v["objective"])[0]

    def busy(kept):
        low, high = 1e-6, 1 - 1e-6
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if kept(mmc(middle / each, each)) else (low, middle)
        return low

    return Key(
        busy(lambda queue: queue.exceeds(limit) <= 0.01),
        "%",
        tol=0.01,
        mistakes=(
            Mistake(busy(lambda queue: queue.seconds <= limit), 0.25, "that keeps the mean; the promise is about 99 of 100"),
            Mistake(1 - 2 * each / limit, 0.5, "that is the decimal logarithm of 100; an exponential wants the natural one"),
        ),
    )


# %% [markdown]
# ## 3. A batch has to fill
# A batch shares the reading of weights, so a server can take more requests a second. Somebody has to wait for it to
# fill, though. At a rate of 100 a second a batch of 5 takes 40 ms to fill, from its first request to its last: the first
# waits for 40 ms, the last for none, the mean request for 20 ms. Then all wait for the pass over the whole batch.

# %% show
print(f"{'batch':>6}  {'one pass':>9}  {'at most':>12}")
for batch in (1, 2, 4, 8, 16, 32):
    print(f"{batch:>6}  {units.format(pass_seconds(place, batch), 's'):>9}  {units.format(batch / pass_seconds(place, batch), '1/s'):>12}")

# %% [markdown]
# With `mine["rate"]` requests a second and batches of `mine["batch"]`, how long are gathering and computing together
# for the mean request, if no batch waits for another? `pass_seconds(place, batch)` is the time of a pass.

# %% answer="tax" points=2
tax = ""  # such as "31 ms"
### BEGIN SOLUTION
rate, batch = units.parse(mine["rate"])[0], mine["batch"]
tax = f"{1e3 * ((batch - 1) / 2 / rate + pass_seconds(place, batch)):.6g} ms"
### END SOLUTION


# %% key="tax"
def key(v):
    place, batch, rate = PLACES[v["track"]], v["batch"], units.parse(v["rate"])[0]
    gather, work = (batch - 1) / 2 / rate, pass_seconds(place, batch)
    return Key(
        gather + work,
        "s",
        tol=0.02,
        mistakes=(
            Mistake(2 * gather + work, 0.5, "that is the first request of a batch; the last waits for nobody, the mean is half"),
            Mistake(gather + pass_seconds(place), 0.5, "the pass is one over the whole batch, not over one request"),
            Mistake(gather, 0.25, "the pass itself is missing"),
            Mistake(work, 0.25, "the batch has to fill first"),
        ),
    )


# %% [markdown]
# At low traffic a batch is a tax without a return. A return comes only while reading weights takes longer than the
# arithmetic: from some row of the table on, twice the batch takes twice the time and the rate stands still. On the
# microcontroller that is the first row.
#
# Servers of language models avoid most of the tax: a request joins the batch between two steps. What is left is the
# line. Here 300 chats on one H100, played step by step:

# %% show
from mlsysim.simulate.serving import requests, simulate_serving

for rate in (10, 20, 25, 30):
    run = simulate_serving("llama-3.1-8b", "h100", requests(300, rate, prompt=1024, output=64, seed=SEED))
    middle, slow = (units.format(x, "s") for x in run.percentile("ttft", 50, 99))
    print(f"{rate:>4} chats a second: first token of half within {middle}, of 99 % within {slow}")

# %% [markdown]
# ## 4. A server that sleeps
# At night few requests come. A server without work for some time is put to sleep to save energy or money, and the next
# request wakes it: the process starts and the weights are read. Gaps between requests are as mixed as sizes: a gap is
# longer than $t$ with probability $e^{-\lambda t}$.
#
# The server stays awake for as long as the mean gap before it sleeps. What share of the requests finds it asleep?

# %% predict="asleep" points=1 unit="%"
# predict("asleep", "... %", low="... %", high="... %")
### BEGIN SOLUTION
predict("asleep", "36.8 %", low="36.6 %", high="37 %")
### END SOLUTION


# %%
def share_asleep(rate, keep):
    """Share of Poisson arrivals that come more than `keep` seconds after the one before: they wake the server."""
    return np.exp(-rate * np.asarray(keep, float))


# %% key="asleep"
def key(v):
    return Key(float(share_asleep(1.0, 1.0)), "%")


# %% show
quiet = units.parse(mine["quiet"])[0]
reveal("asleep", units.format(float(share_asleep(quiet, 1 / quiet)), "%"))
print(f"{'awake for':>12}  {'asleep':>8}  {'mean':>9}")
for gaps in (0.5, 1, 2, 4, 8):
    asleep = float(share_asleep(quiet, gaps / quiet))
    mean = service + asleep * cold_seconds(place)
    print(f"{units.format(gaps / quiet, 's'):>12}  {units.format(asleep, '%'):>8}  {units.format(mean, 's'):>9}")

# %% [markdown]
# The mean forgives a few cold starts, the promise does not: once more than one request in a hundred wakes the server,
# the 99th percentile is a cold start, whatever else you do. With `mine["quiet"]` requests a second at night, how long
# must the server stay awake after each, so that one in a hundred finds it asleep?

# %% answer="keep" points=2
keep = ""  # such as "90 s"
### BEGIN SOLUTION
keep = f"{np.log(100) / units.parse(mine['quiet'])[0]:.6g} s"
### END SOLUTION


# %% key="keep"
def key(v):
    rate = units.parse(v["quiet"])[0]

    def awake(share):
        low, high = 0.0, 100 / rate
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if share_asleep(rate, middle) > share else (low, middle)
        return low

    return Key(
        awake(0.01),
        "s",
        tol=0.01,
        mistakes=(
            Mistake(1 / rate, 0.25, "that is the mean gap; more than a third of all gaps are longer"),
            Mistake(2 / rate, 0.5, "that is the decimal logarithm of 100; an exponential wants the natural one"),
            Mistake(awake(0.99), 0.25, "that leaves 99 of 100 cold, not one"),
            Mistake(100 / rate, 0.0, "that is the time in which a hundred requests come; nearly all gaps are far shorter"),
        ),
    )


# %% [markdown]
# ## 5. What do the slowest wait for?
# A plan is a rate, a batch and a time to stay awake. `play` runs it and says of each request how long it waited for what.


# %%
def play(rate, batch, keep):
    """20,000 requests of a plan at your place: {"gathering", "line", "computing", "cold start"}, each an array of seconds.

    A batch leaves when it is full. If the batch before it was full more than `keep` seconds earlier, it wakes the server.
    """
    rng = np.random.default_rng(SEED)
    n = REQUESTS // batch
    came = np.cumsum(rng.exponential(1 / rate, n * batch)).reshape(n, batch)
    full = came[:, -1]
    computing = pass_seconds(place, batch) * rng.exponential(size=n)
    cold = np.where(np.diff(full, prepend=full[0]) > keep, cold_seconds(place), 0.0)
    line = times_in_system(full, computing + cold) - computing - cold
    shared = {"line": line, "computing": computing, "cold start": cold}
    return {"gathering": (full[:, None] - came).ravel()} | {name: np.repeat(x, batch) for name, x in shared.items()}


# %% [markdown]
# The mean of each part says what everybody waits for. To mend the tail you need the parts of the slowest requests.
# Write that: of those whose total is at or above the quantile `share` of all totals (`np.quantile` as it is), the mean
# of each part. With totals 1, 2, 3, 10 and a share of 0.75, the quantile is 4.75 and one request is slow.


# %% solution="tail_parts"
def tail_parts(parts, share=0.99):
    """What the slowest requests spend their time on.

    parts: {name: array (n,) of s}, one entry a request in each -> {name: mean over the slowest, s}, floats.
    """
    ### BEGIN SOLUTION
    total = sum(parts.values())
    slow = total >= np.quantile(total, share)
    return {name: float(x[slow].mean()) for name, x in parts.items()}
    ### END SOLUTION


# %% check="tail_parts" points=4
check(
    "tail_parts",
    [
        case({"line": np.array([0.0, 1.0, 2.0, 1.0]), "computing": np.array([1.0, 1.0, 1.0, 9.0])}, 0.75),
        case({"line": np.array([4.0, 0.0, 3.0, 0.0]), "computing": np.array([1.0, 2.0, 1.0, 3.0])}, 0.5),
    ],
    compare="value",
    rtol=1e-6,
)


# %% hidden="tail_parts"
def cases(rng):
    for _ in range(3):
        n = int(rng.integers(300, 500))
        parts = {name: rng.exponential(float(rng.uniform(0.1, 2)), n) for name in ("gathering", "line", "computing")}
        yield case(parts, behaviour="the slowest hundredth by their total, part by part")
    for share in (0.5, 0.9, 0.95):
        parts = {name: rng.exponential(float(rng.uniform(0.1, 2)), 80) for name in ("line", "cold start")}
        yield case(parts, share, behaviour="any share and any parts")
    parts = {name: rng.integers(0, 60, 61).astype(float) for name in ("a", "b", "c")}  # the quantile is one of the totals
    yield case(parts, 0.9, behaviour="all that reach the quantile count")
    yield case({"only": rng.exponential(1.0, 50)}, 0.0, behaviour="a share of 0 is everybody")


# %% show
STYLES = {"gathering": "//", "line": "", "computing": "..", "cold start": "xx"}


def plan(rate, batch, keep):
    parts = play(rate, batch, keep)
    return {"everybody": tail_parts(parts, 0.0), "slowest": tail_parts(parts)}


def draw_plan(axes, result, settings):
    for row, who in enumerate(("everybody", "slowest")):
        left = 0.0
        for i, (name, hatch) in enumerate(STYLES.items()):
            width, label = result[who][name], name if row == 0 else None
            axes.barh(row, width, left=left, hatch=hatch, color=f"C{i}", edgecolor="black", label=label)
            left += width
    axes.set(yticks=[0, 1], yticklabels=["all", "1 %"], xlabel="mean time (s)", title="All requests, and the slowest 1 %")
    axes.legend(loc="lower right")


def say_plan(result, settings):
    load = settings["rate"] / settings["batch"] * pass_seconds(place, settings["batch"])
    if load >= 1:
        return f"more comes than goes: the load would be {load:.0%}, and the line grows without end."
    said = []
    for who, parts in result.items():
        total = sum(parts.values())
        said.append(f"{who} {units.format(total, 's')}: " + ", ".join(f"{name} {x / total:.0%}" for name, x in parts.items()))
    return "mean time of " + "; of the ".join(said) + "."


plan_panel = explore(
    plan,
    {
        "rate": slider(0.02 / service, 1.5 / service, start=0.3 / service, unit="1/s", log=True),
        "batch": slider(1, 16, start=2, log=True),
        "keep": slider(service, 400 * service, start=60 * service, unit="s", log=True),
    },
    draw=draw_plan,
    say=say_plan,
)
plan_panel

# %% [markdown]
# ### Your plan
# Your plan is `mine["plan_rate"]`, `mine["plan_batch"]` and `mine["plan_keep"]`. Play it. What is the mean time of its
# slowest hundredth, all parts together?

# %% answer="slowest" points=2
slowest = ""  # such as "210 ms"
### BEGIN SOLUTION
own = play(units.parse(mine["plan_rate"])[0], mine["plan_batch"], units.parse(mine["plan_keep"])[0])
slowest = f"{1e3 * sum(tail_parts(own).values()):.6g} ms"
### END SOLUTION


# %% key="slowest"
def key(v):
    plan = units.parse(v["plan_rate"])[0], v["plan_batch"], units.parse(v["plan_keep"])[0]
    everybody, slow = tail_of(v["track"], *plan)
    return Key(
        sum(slow.values()),
        "s",
        tol=0.02,
        mistakes=(Mistake(sum(everybody.values()), 0.25, "that is the mean of all requests; the question is about the slowest hundredth"),),
    )


# %% [markdown]
# ## 6. Decide
# Which part of your plan would you mend first to keep a promise about the 99th percentile? The limit is one of
# "gathering", "line", "computing" and "cold start". Compare what binds the mean with what binds the tail before you name
# it. Name three answers of yours that the decision rests on, the alternative that you turned down, and what could prove
# you wrong. Half of the points are for the limit, a third for the answers.

# %% decision="mend" points=4
# mend = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
parts = tail_parts(own)
mend = decision(
    claim="What the slowest requests wait for most is what to mend",
    binding=max(parts, key=parts.get),
    evidence=("knee", "keep", "slowest"),
    rejected="A faster network would shorten the mean and leave the tail",
    risk="Arrivals may come in bursts, which Poisson arrivals do not",
)
### END SOLUTION


# %% key="mend"
def key(v):
    plan = units.parse(v["plan_rate"])[0], v["plan_batch"], units.parse(v["plan_keep"])[0]
    everybody, slow = tail_of(v["track"], *plan)
    binding, common = max(slow, key=slow.get), max(everybody, key=everybody.get)
    said = f"the mean request spends most time on {common}; the slowest hundredth wait for something else"
    return Decision(binding, LIMITS, {common: said} if common != binding else {})


# %% [markdown] rubric="defend" points=2
# Defend the decision to somebody who says: "The mean is fine and the server is idle most of the time, so buy nothing."
# Give two numbers of your own plan, one about all requests and one about the slowest, and say what you would change, by
# how much. Four sentences at most.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. Two numbers of the writer's own plan are compared: a mean and a value of the slowest hundredth, and the answer says
#    that the objection speaks of the first only.
# 2. The change acts on the part that binds the tail (a smaller batch or a time-out against gathering, less load or
#    another server against the line, a longer time awake against cold starts, a smaller network or a cap on sizes
#    against computing) and carries a number.
# ### END MARK SCHEME
