# %% [markdown]
# # Lab V1-02: Physics of Deployment
#
# A camera sends pictures to a model. The model could run beside the camera, on a phone, or in a data centre far away.
# Which is faster? Which lasts longer on a battery? Three limits answer that, and no software moves them: light is
# slow, memory is slower than arithmetic, and a battery holds few joules.
#
# **Afterwards you can** put a number on each limit, say which one binds, and choose a place for a model by computing.
#
# **How to work.** First you bet. Then you write two functions, each followed by a check with worked examples; hidden
# cases are run when the lab is graded. Two answers use numbers of your own; "recorded" means readable, not right. One
# question is answered in words. Every number shown comes from a cell, so you can change the cell and look again. What
# MLSys·im computes here are bounds: real systems take longer, never less. Allow three quarters of an hour.

# %%
import numpy as np

from mlsysbook import answer, case, check, predict, reveal, variant
from mlsysim import FIBRE_INDEX, LIGHT, device, kv_cache_bytes, model, roofline, units, weight_bytes
from mlsysim.constants import BLE_RATE, BLE_SEND, Figure

INDEX = FIBRE_INDEX.value


def line(text, value, unit=""):
    print(f"{text:<52} {units.format(value, unit)}")


# %% variants
from mlsysbook import Key, Mistake
from mlsysim import decode_seconds, propagation_seconds, transfer_seconds


def pool():
    """Pairs of a wire and an assistant in which every named mistake gives another number than the right one."""
    wires = []
    for distance in ("2,500 km", "4,000 km", "6,000 km", "8,000 km", "9,500 km"):
        for request in ("60 kB", "90 kB", "140 kB", "200 kB", "280 kB"):
            for uplink in ("8 Mbit/s", "12 Mbit/s", "20 Mbit/s"):
                w = {"distance": distance, "request": request, "response": "2 kB", "uplink": uplink}
                w["downlink"] = "50 Mbit/s"
                light = 2 * propagation_seconds(distance)
                if 0.3 < light / wire_seconds(w) < 0.55:
                    wires.append(w)
    assistants = []
    for name in ("llama-3.2-1b", "llama-3.2-3b", "llama-3.1-8b"):
        for bits in (4, 8, 16):
            for context in (8192, 16384, 24576, 32768, 65536):
                for hardware in ("iphone-15-pro", "jetson-orin-nano", "jetson-agx-orin", "l4"):
                    a = {"model": name, "weight_bits": bits, "context": context, "device": hardware}
                    weights, kv = assistant_bytes(a)
                    if 0.25 < kv / (weights + kv) < 0.6 and weights + kv < 0.8 * device(hardware).memory.value:
                        assistants.append(a)
    n = len(wires) * len(assistants)
    for i in range(120):  # a stride that is prime to both lengths visits pairs without repeating one
        k = i * 7919 % n
        yield wires[k % len(wires)] | assistants[k // len(wires)]


def wire_seconds(v):
    """Request up, answer down, through MLSys·im."""
    up = transfer_seconds(v["request"], v["uplink"], distance=v["distance"])
    return up + transfer_seconds(v["response"], v["downlink"], distance=v["distance"])


def assistant_bytes(v):
    """Bytes of weights and of cache that one token reads."""
    m = model(v["model"])
    return weight_bytes(m.params, bytes_per=v["weight_bits"] / 8), kv_cache_bytes(tokens=v["context"], **m.cache)


# %% [markdown]
# ## 1. A bet
# A camera watches a production line. Each picture goes through ResNet-50 in half precision. Two offers are on the
# table: a small board beside the camera, or a data-centre card at the other end of a fibre. The card is in another
# league.

# %%
board, card, net = device("jetson-orin-nano"), device("h100"), model("resnet-50")

# metres of fibre, one way; bytes; bits a second
scene = {"distance": 1.5e6, "request": net.input_bytes, "response": 100, "uplink": 20e6, "downlink": 100e6}

# %% show
print(board, card, sep="\n")
line("arithmetic, card over board", card.rate("fp16") / board.rate("fp16"))
line("memory bandwidth, card over board", card.bandwidth.value / board.bandwidth.value)
line("work for a picture", net.flop, "FLOP")
line("a picture", scene["request"], "B")
line("the answer", scene["response"], "B")
line("fibre to the card", scene["distance"], "m")
line("link, up", scene["uplink"] / 8, "bit/s")
line("link, down", scene["downlink"] / 8, "bit/s")

# %% [markdown]
# How many times faster is the answer back if the picture goes to the card? Write 50 if it takes a fiftieth of the
# time, and 0.5 if it takes twice as long. Add a low and a high value between which the truth should lie nine times in
# ten. You cannot change it later. Half of the point is for betting at all. The other half is for the interval: the
# narrower the better, as long as it holds the truth; it is lost where it does not, or where it spans a factor of 100.

# %% predict="cloud_speedup" points=1
# predict("cloud_speedup", "50", low="5", high="500")
### BEGIN SOLUTION
predict("cloud_speedup", "0.01876", low="0.0187", high="0.0188")
### END SOLUTION

# %% [markdown]
# ## 2. Light
# Light crosses vacuum at `LIGHT` metres a second. In glass it is slower by the factor `INDEX`. One worked example, with
# an empty message:

# %% show
print(FIBRE_INDEX)
line("speed of light", LIGHT, "km/s")
one_way = scene["distance"] * INDEX / LIGHT
line("to the card, in vacuum", scene["distance"] / LIGHT, "s")
line("to the card, in fibre", one_way, "s")
line("there and back, in fibre", 2 * one_way, "s")

# %% [markdown]
# A message is not empty. Its bits leave one after another at the rate of the link, and the last of them has to fly as
# well. Sizes are in bytes and links in bits a second, as on any bill. Write the time from the first bit of the
# request sent to the last bit of the answer received, with no time spent on computing. The function takes numbers or
# arrays.


# %% solution="round_trip_seconds"
def round_trip_seconds(distance, request, response, uplink, downlink):
    """Time on the wire: request up, answer down.

    distance (m of fibre, one way), request and response (B), uplink and downlink (bit/s) -> s. All broadcast.
    """
    ### BEGIN SOLUTION
    flight = distance * INDEX / LIGHT
    return 2 * flight + 8 * request / uplink + 8 * response / downlink
    ### END SOLUTION


# %% check="round_trip_seconds" points=4
check(
    "round_trip_seconds",
    [
        case(distance=1e6, request=0.0, response=0.0, uplink=1e6, downlink=1e6),
        case(distance=0.0, request=1e6, response=0.0, uplink=8e6, downlink=8e6),
        case(distance=np.array([1e5, 1e6, 1e7]), request=1e5, response=1e3, uplink=2e7, downlink=1e8),
    ],
    compare="value",
    rtol=1e-6,
    forbid=("mlsysim.transfer_seconds", "mlsysim.propagation_seconds", "transfer_seconds", "propagation_seconds"),
)


# %% hidden="round_trip_seconds"
def cases(rng):
    for km in rng.uniform(50, 18_000, size=4):
        yield case(float(km) * 1e3, 0.0, 0.0, 1e7, 1e7, behaviour="light goes there and back, in glass")
    for _ in range(3):
        size, rate = float(rng.uniform(1e3, 1e7)), float(rng.uniform(1e6, 1e9))
        yield case(0.0, size, 0.0, rate, 7.0, behaviour="a large request waits for the uplink")
    for _ in range(3):
        size, rate = float(rng.uniform(1e3, 1e7)), float(rng.uniform(1e6, 1e9))
        yield case(0.0, 0.0, size, 7.0, rate, behaviour="a large answer waits for the downlink")
    yield case(
        rng.uniform(0, 1e7, size=5), rng.uniform(1, 1e6, size=(3, 1)), 2e3, 2e7, 1e8, behaviour="arrays broadcast"
    )


# %% [markdown]
# ## 3. The bet, settled
# MLSys·im adds what you left out: the time of the picture on the card and on the board. It takes the slower of
# arithmetic and memory traffic; section 4 says why.

# %% show
from mlsysim import propagation_seconds, transfer_seconds


def on(processor):
    """Time of one picture on a processor that has it in memory."""
    return roofline(net.flop, net.traffic(), processor).seconds


def through_the_wire(distance):
    """Time from picture to answer with the card at the other end of `distance` metres of fibre."""
    up = transfer_seconds(scene["request"], scene["uplink"] / 8, distance=distance)
    down = transfer_seconds(scene["response"], scene["downlink"] / 8, distance=distance)
    return up + on(card) + down


reveal("cloud_speedup", units.format(on(board) / through_the_wire(scene["distance"])))
on_board, far = on(board), through_the_wire(scene["distance"])
line("on the board", on_board, "s")
line("on the card, picture already there", on(card), "s")
line("  light, both ways", 2 * propagation_seconds(scene["distance"]), "s")
line("  sending the picture", 8 * scene["request"] / scene["uplink"], "s")
line("through the wire to the card", far, "s")
line("the same with an infinitely fast card", far - on(card), "s")

# %% show
import matplotlib.pyplot as plt

km = np.logspace(0, np.log10(2e4), 200)
reach = on_board / 2 * LIGHT / INDEX  # m from which light alone is later than the board
figure, axes = plt.subplots(figsize=(7, 4))
axes.loglog(
    km, 1e3 * through_the_wire(1e3 * km), "-", label=f"card, link of {units.format(scene['uplink'] / 8, 'bit/s')}"
)
axes.loglog(km, 2e3 * propagation_seconds(1e3 * km), "--", label="light alone, both ways")
axes.axhline(1e3 * on_board, color="black", linestyle=":", label="board beside the camera")
axes.set(
    xlabel="fibre to the card (km)", ylabel="picture to answer (ms)", title="No card is fast enough to be far away"
)
axes.legend()
plt.show()
start, end = through_the_wire(1e3), through_the_wire(2e7)
sending = 8 * scene["request"] / scene["uplink"]
print(
    "Figure: time from picture to answer against length of fibre, both axes logarithmic. "
    f"The board is a horizontal line at {units.format(on_board, 's')}. "
    f"The card starts at {units.format(start, 's')} next door, {units.format(sending / start, '%')} of it sending, "
    f"and reaches {units.format(end, 's')} at the far end of the Earth. "
    f"Light alone is a straight rising line; it passes the board's time at {units.format(reach, 'm')}, "
    "so beyond that no computer can answer first."
)

# %% [markdown]
# Turn it yourself. The wire is your `round_trip_seconds`, the two processors are MLSys·im's. Which control can still make
# the card win, and which has stopped mattering? Tab reaches the controls, the arrow keys move them; without widgets ask
# with `wire_panel.at(kilometres=100)`.

# %% show
from mlsysbook import explore, pick, slider


def settle(kilometres, link, remote):
    wire = round_trip_seconds(1e3 * kilometres, scene["request"], scene["response"], 8 * link, 8 * link)
    return {"wire": float(wire), "remote": float(on(device(remote))), "board": float(on_board)}


def draw_wire(axes, result, settings):
    axes.barh(["board", "remote"], [1e3 * result["board"], 1e3 * result["remote"]], hatch="//", edgecolor="black", label="computing")
    axes.barh(["remote"], [1e3 * result["wire"]], left=1e3 * result["remote"], edgecolor="black", label="wire")
    axes.set(xlabel="picture to answer (ms)", title=f"{settings['remote']} at {settings['kilometres']:,.0f} km")
    axes.legend(loc="lower right")


def say_wire(result, settings):
    away = result["wire"] + result["remote"]
    far = (
        f"the remote answer takes {units.format(away, 's')}, {result['wire'] / away:.0%} of it on the wire; "
        f"the board takes {units.format(result['board'], 's')}"
    )
    return far + (": the remote one is first." if away < result["board"] else ": the board is first.")


wire_panel = explore(
    settle,
    {
        "kilometres": slider(1.0, 10_000.0, start=1500.0, log=True),
        "link": slider(1.25e5, 1.25e9, start=2.5e6, unit="bit/s", log=True),  # B/s, shown as bit/s
        "remote": pick("h100", "jetson-agx-orin", "l4", start="h100"),
    },
    draw=draw_wire,
    say=say_wire,
)
wire_panel

# %% [markdown]
# ### Your wire
# Your numbers are in `mine`. They differ from your neighbour's.

# %%
mine = variant()

# %% show
for name, value in mine.items():
    print(f"{name:<12} {value}")

# %% [markdown]
# How long is a round trip over your wire? Use your function; `units.parse("20 Mbit/s")[0]` is in bytes a second.

# %% answer="round_trip" points=3
round_trip = ""  # such as "27.1 ms"
### BEGIN SOLUTION
meters, request, response = (units.parse(mine[k])[0] for k in ("distance", "request", "response"))
up, down = (8 * units.parse(mine[k])[0] for k in ("uplink", "downlink"))
round_trip = f"{1e3 * round_trip_seconds(meters, request, response, up, down):.5g} ms"
### END SOLUTION


# %% key="round_trip"
def key(v):
    seconds, light = wire_seconds(v), 2 * propagation_seconds(v["distance"])
    sending = seconds - light
    return Key(
        seconds,
        "s",
        tol=0.02,
        mistakes=(
            Mistake(seconds - light / 2, 0.5, "light is counted one way; the answer has to come back"),
            Mistake(sending + light / INDEX, 0.5, "that is light in vacuum; glass slows it by INDEX"),
            Mistake(light + sending / 8, 0.25, "bytes are divided by bits a second; a byte is eight bits"),
            Mistake(light + sending * 8, 0.25, "bits are counted twice; units.parse already gives bytes a second"),
            Mistake(light, 0.25, "that is light alone; the bits also take size over bandwidth to leave"),
        ),
    )


# %% key="cloud_speedup"
def key(v):
    def seconds(processor):
        return roofline(net.flop, net.traffic(), processor).seconds

    return Key(seconds(board) / (wire_seconds({k: scene[k] for k in ("distance", "request", "response")} | {
        "uplink": scene["uplink"] / 8, "downlink": scene["downlink"] / 8}) + seconds(card)), "")


# %% [markdown]
# ## 4. Memory
# An assistant writes one token at a time. For each token the processor reads every weight once and uses each for a
# single multiply-add. How fast can that be? Take an eight-billion-parameter model with weights of 4 bits on the
# board.

# %%
llama = model("llama-3.1-8b")
weights = weight_bytes(llama.params, bytes_per=4 / 8)
measured = Figure(
    14.0,
    "token/s",
    "NVIDIA developer blog on Jetson Orin Nano Super: this model, int4, MLC, before the update",
    "2024-12",
    "measured",
)

# %% show
arithmetic, reading = 2 * llama.params / board.rate("fp16"), weights / board.bandwidth.value
line("weights, read for every token", weights, "B")
line("time if only arithmetic counted", arithmetic, "s")
line("time to read the weights", reading, "s")
line("bound on the rate", 1 / reading, "token/s")
print(f"{'measured':<52} {measured}")
line("share of peak arithmetic in use at the bound", arithmetic / reading, "%")
line(
    "the same model in fp16 on the card, share in use",
    2 * llama.params / card.rate("fp16") / roofline(2 * llama.params, weight_bytes(llama.params), card).seconds,
    "%",
)

# %% [markdown]
# The bound needs two figures: bytes read and bandwidth. Peak arithmetic does not enter. A processor with twice the
# FLOP/s and the same memory writes no faster.
#
# There is a second thing to read. The conversation so far is kept as keys and values, two bytes each here, whatever
# the weights are. `kv_cache_bytes(tokens=..., **llama.cache)` counts them; `llama.cache` holds layers, KV heads and
# head size.

# %% show
for tokens in (1, 1024, 8192, 16384):
    kv = kv_cache_bytes(tokens=tokens, **llama.cache)
    rate = board.bandwidth.value / (weights + kv)
    print(f"{tokens:>6,} token: cache {units.format(kv, 'B'):>8}, at most {units.format(rate, 'token/s')}")

# %% [markdown]
# ### Your assistant
# `mine` names a model, the bits of its weights, the tokens in its context and a device. At most how many tokens a
# second?

# %% answer="decode_rate" points=3
decode_rate = ""  # such as "12.3 token/s"
### BEGIN SOLUTION
chosen = model(mine["model"])
read = chosen.params * mine["weight_bits"] / 8 + kv_cache_bytes(tokens=mine["context"], **chosen.cache)
decode_rate = f"{device(mine['device']).bandwidth.value / read:.5g} token/s"
### END SOLUTION


# %% key="decode_rate"
def key(v):
    m, d = model(v["model"]), device(v["device"])
    (w, kv), bandwidth = assistant_bytes(v), d.bandwidth.value
    return Key(
        1 / decode_seconds(w, kv, bandwidth),
        "token/s",
        tol=0.02,
        mistakes=(
            Mistake(bandwidth / w, 0.5, "the weights alone; the cache is read for every token as well"),
            Mistake(
                bandwidth / (w + kv * m.heads / m.kv_heads),
                0.5,
                "every attention head is counted; several share one KV head",
            ),
            Mistake(bandwidth / (w + kv / 2), 0.5, "a key or a value is missing; each token keeps both"),
            Mistake(bandwidth / (8 * w + kv), 0.25, "weights of n bits are n/8 bytes each"),
            Mistake(bandwidth * 2**30 / 1e9 / (w + kv), 0.5, "GB and GiB are mixed; a GiB is 7 % larger"),
            Mistake(
                d.rate("fp16") / (2 * m.params), 0.1, "that is the limit of arithmetic; memory is the slower one here"
            ),
            Mistake(
                d.rate("fp16") / m.params,
                0.0,
                "that is the limit of arithmetic, with MAC taken for FLOP; memory is slower",
            ),
        ),
    )


# %% [markdown]
# ## 5. Watts
# A sensor should run for months on a coin cell. Should it compute, or send what it hears and sees? Both cost joules: watts
# times seconds. The sensor is a Bluetooth chip, and its maker prints the current of the processor and of the radio.
# The shortest possible sending and the shortest possible computing are compared, so both columns are bounds.

# %%
sensor = device("nrf52840")


def joules_to_compute(net):
    return sensor.power.value * roofline(net.flop, net.traffic(bytes_per=1), sensor, precision="int8").seconds


def joules_to_send(size):
    return BLE_SEND.value * size / BLE_RATE.value


# %% show
print("computing", sensor.power, sep="  ")
print("sending  ", BLE_SEND, sep="  ")
for each in (model("ds-cnn"), model("mobilenet-v1-0.25"), net):
    inside, away, fits = joules_to_compute(each), joules_to_send(each.input_bytes), each.params <= sensor.storage
    print(
        f"{each.title:<46} compute {units.format(inside, 'J'):>8}   send {units.format(away, 'J'):>8}"
        f"   {units.format(each.flop / each.input_bytes, 'OP/B'):>10}{'' if fits else '   (weights do not fit)'}"
    )
even = joules_to_send(1) * sensor.rate("int8") / sensor.power.value
line("operations that cost as much as sending one byte", even, "OP")

# %% [markdown]
# "The radio is always dearer" is not a law. It is a comparison: operations per byte of input against the last line. A
# small network on a lot of sound stays here. A large network on a small picture is cheaper to send, if anybody is
# listening.

# %% [markdown]
# ## 6. Choose
# Now write the decision down. A service is a model with a request, an answer and a deadline. A place is a processor
# with a distance. The rules:
#
# * Computing takes the slower of `flop / peak` and `traffic / bandwidth`.
# * A place at distance 0 is the device itself: nothing is sent. Any other place adds your `round_trip_seconds`.
# * The battery pays `compute_watts` while the place computes and `radio_watts` while the request leaves over the
#   uplink.
# * A place will do if the weights fit its memory and the answer is there by the deadline.
# * Of the places that will do, take the one that costs the battery least; of two that cost the same, the faster. If
#   there is none, return `None`.


# %% solution="best_place"
def best_place(service, places):
    """Where to run a service: in time, and for the least energy from the battery.

    service: flop (FLOP), traffic, weights, request, response (B), deadline (s).
    places: list of dicts with name, peak (FLOP/s), bandwidth (B/s), memory (B), distance (m), uplink, downlink (bit/s),
    compute_watts, radio_watts (W from the battery).
    -> (name, seconds, joules) of the best place, or None.
    """
    ### BEGIN SOLUTION
    will_do = []
    for p in places:
        computing = max(service["flop"] / p["peak"], service["traffic"] / p["bandwidth"])
        wire = sending = 0.0
        if p["distance"] > 0:
            sizes, links = (service["request"], service["response"]), (p["uplink"], p["downlink"])
            wire = round_trip_seconds(p["distance"], *sizes, *links)
            sending = 8 * service["request"] / p["uplink"]
        seconds, joules = computing + wire, p["compute_watts"] * computing + p["radio_watts"] * sending
        if service["weights"] <= p["memory"] and seconds <= service["deadline"]:
            will_do.append((p["name"], seconds, joules))
    return min(will_do, key=lambda c: (c[2], c[1]), default=None)
    ### END SOLUTION


# %%
wake = model("mobilenet-v1-0.25")
person = {"flop": wake.flop, "traffic": wake.traffic(bytes_per=1), "weights": wake.params}
person |= {"request": wake.input_bytes, "response": 20, "deadline": 1.0}
objects = {"flop": net.flop, "traffic": net.traffic(bytes_per=1), "weights": net.params}
objects |= {"request": net.input_bytes, "response": 20, "deadline": 3.0}


def place(name, hardware, distance, compute_watts=0.0, radio_watts=0.0):
    """A place that computes in int8 and is reached over the sensor's radio."""
    d, rate = device(hardware), 8 * BLE_RATE.value
    p = {"name": name, "peak": d.rate("int8"), "bandwidth": d.bandwidth.value, "memory": d.storage}
    p |= {"distance": distance, "uplink": rate, "downlink": rate}
    return p | {"compute_watts": compute_watts, "radio_watts": radio_watts}


here = place("sensor", "nrf52840", 0.0, compute_watts=sensor.power.value)
near = place("board", "jetson-orin-nano", 20.0, radio_watts=BLE_SEND.value)
cloud = place("card", "h100", 1.5e6, radio_watts=BLE_SEND.value)

# %% check="best_place" points=6
check(
    "best_place",
    [
        case(person, [here]),
        case(person, [cloud, near, here]),
        case(objects, [here, cloud, near]),
        case(person | {"deadline": 0.01}, [here, near, cloud]),
    ],
    compare="value",
    rtol=1e-6,
)


# %% hidden="best_place"
def cases(rng):
    hardware = [device(n) for n in ("h100", "a100", "l4", "jetson-agx-orin", "jetson-orin-nano", "iphone-15-pro")]

    def at(name, d, **changes):
        rates = {"peak": d.rate("fp16"), "bandwidth": d.bandwidth.value, "memory": d.memory.value}
        link = {"distance": 0.0, "uplink": 1e7, "downlink": 1e8, "compute_watts": 1.0, "radio_watts": 0.0}
        return {"name": name} | rates | link | changes

    def job(d, intensity, seconds, **changes):
        """A service that takes `seconds` on d, at `intensity` times the ridge."""
        ridge = d.rate("fp16") / d.bandwidth.value
        traffic = seconds * d.bandwidth.value * min(1, 1 / intensity)
        work = {"flop": traffic * ridge * intensity, "traffic": traffic, "weights": 1e6}
        return work | {"request": 1e5, "response": 1e3, "deadline": 3600.0} | changes

    for intensity in (0.1, 8.0, 0.4, 3.0):
        d = hardware[rng.integers(len(hardware))]
        yield case(
            job(d, intensity, float(rng.uniform(0.001, 2))),
            [at("only", d, compute_watts=float(rng.uniform(1, 9)))],
            behaviour="the slower of arithmetic and memory traffic sets the time",
        )
    for _ in range(3):
        d = hardware[rng.integers(len(hardware))]
        service = job(d, float(rng.choice([0.2, 5.0])), 0.01)
        watts = rng.permutation([2.0, 5.0, 11.0])
        order = [
            at(
                f"at {w:g} W",
                d,
                compute_watts=float(w),
                peak=d.rate("fp16") * float(s),
                bandwidth=d.bandwidth.value * float(s),
            )
            for w, s in zip(watts, rng.uniform(0.8, 1.2, size=3), strict=True)
        ]
        yield case(service, order, behaviour="of the places that will do, the battery decides")
    d = hardware[rng.integers(len(hardware))]
    slow = at("slow and plugged in", d, compute_watts=0.0, peak=d.rate("fp16") / 3, bandwidth=d.bandwidth.value / 3)
    fast = at("fast and plugged in", d, compute_watts=0.0)
    yield case(job(d, 0.3, 0.01), [slow, fast], behaviour="of the places that will do, the battery decides")
    for _ in range(2):
        d = hardware[rng.integers(len(hardware))]
        service = job(d, 0.5, 0.02, weights=float(rng.uniform(1.1, 3)) * 1e9)
        small, large = at("small", d, memory=1e9, compute_watts=0.5), at("large", d, memory=4e9, compute_watts=6.0)
        yield case(
            service, [small, large] if rng.random() < 0.5 else [large, small], behaviour="weights must fit the memory"
        )
    for _ in range(2):
        d = hardware[rng.integers(len(hardware))]
        distance, uplink = float(rng.uniform(3e6, 9e6)), float(rng.uniform(5e6, 4e7))
        away = at(
            "away", d, distance=distance, uplink=uplink, compute_watts=0.0, radio_watts=float(rng.uniform(0.5, 3))
        )
        yield case(job(d, 2.0, 0.005), [away], behaviour="the time on the wire counts, and so does the radio")
        cheap = away | {"radio_watts": 1e-3}
        yield case(
            job(d, 2.0, 0.005, deadline=0.02),
            [cheap, at("near", d, compute_watts=8.0)],
            behaviour="the time on the wire counts, and so does the radio",
        )
    for late in (True, False):
        d = hardware[rng.integers(len(hardware))]
        service = job(d, 0.5, 0.05, **({"deadline": 0.04} if late else {"weights": 1e15}))
        yield case(service, [at("one", d), at("two", d)], behaviour="None if no place will do")


# %% show
for service, title in ((person, wake.title), (objects, net.title)):
    for limit in (3.0, 0.2, 0.05):
        found = best_place(service | {"deadline": limit}, [here, near, cloud])
        text = "nowhere"
        if found:
            text = f"{found[0]}, {units.format(found[1], 's')}, {units.format(found[2], 'J')} from the battery"
        print(f"{title:<46} within {units.format(limit, 's'):>6}: {text}")

# %% [markdown]
# ## 7. In your own words
# Back to your assistant, with the cloud as the other offer.

# %%
ANSWER_TOKENS = 100

# %% show
rival = device("h100")
read_by_rival = weight_bytes(model(mine["model"]).params, bytes_per=mine["weight_bits"] / 8) + kv_cache_bytes(
    tokens=mine["context"], **model(mine["model"]).cache
)
line("tokens in an answer", ANSWER_TOKENS, "token")
line("rate on the card, at most", rival.bandwidth.value / read_by_rival, "token/s")
print(f"{'rate on your device, at most':<52} your decode_rate")
print(f"{'round trip to the card':<52} your round_trip")

# %% [markdown] rubric="placement" points=3
# Would you run the assistant on your device, or on the card at the end of your wire? Compare the time for one whole
# answer. Give the two numbers you compare and name the limit that decides: light, sending, memory or watts. Then name
# one change, with a number, that would turn your decision. Five sentences at most.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. Two times for one answer are given and follow from the writer's own round trip and rates: tokens over rate on the
#    device; tokens over rate on the card plus one round trip (tokens stream back, so one round trip, not one for each
#    token).
# 2. The limit is the one that the larger term shows. Memory, where reading weights and cache fills the time on the
#    device; light or sending, where the round trip is the larger part. "The card has more FLOP/s" earns nothing here.
# 3. One change turns the decision and carries a number that would do it: a bandwidth, fewer bits or a shorter
#    context, a distance, a link, or an offline or battery condition that makes the faster place impossible.
# ### END MARK SCHEME
