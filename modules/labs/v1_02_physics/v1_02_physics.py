# %% [markdown]
# # Lab V1-02: Physics of Deployment
#
# A camera sends pictures to a model. The model could run beside the camera, on a phone, or in a data centre far away.
# Which is faster? Which lasts longer on a battery? Three limits answer that, and no software moves them: light is
# slow, memory is slower than arithmetic, and a battery holds few joules.
#
# **Afterwards you can** put a number on each limit, say which one binds, and choose a place for a model by computing.
#
# **How to work.** The lab is played in one of four places, which it tells you. First you bet. Then you write two functions,
# each followed by a check with worked examples; hidden cases are run when the lab is graded. Three answers use numbers of
# your own; "recorded" means readable, not right. A decision and a few sentences close it. Every number shown comes from a
# cell, so you can change the cell and look again. What MLSys·im computes here are bounds: real systems take longer, never
# less. Allow fifty minutes.

# %%
import numpy as np

from mlsysbook import answer, case, check, decision, predict, reveal, scenario, variant
from mlsysim import FIBRE_INDEX, LIGHT, device, kv_cache_bytes, model, roofline, units, weight_bytes
from mlsysim.constants import BLE_RATE, BLE_SEND, Figure

INDEX = FIBRE_INDEX.value
BYTES = {"fp16": 2, "int8": 1}
PLACES = dict(
    cloud={
        "title": "A branch office",
        "story": "An insurer's branch has a card of its own. A claim is 64 photographs of a roof, judged together. The long line to "
        "the data centre is as fast as lines are.",
        "board": "l4",
        "card": "h100",
        "network": "vit-l-16",
        "inputs": 64,
        "precision": "fp16",
        "distance": "1,500 km",
        "uplink": "10 Gbit/s",
        "downlink": "10 Gbit/s",
        "response": "2 kB",
    },
    edge={
        "title": "A production line",
        "story": "A camera watches a production line. A small board could sit beside it and judge each picture on the spot.",
        "board": "jetson-orin-nano",
        "card": "h100",
        "network": "resnet-50",
        "inputs": 1,
        "precision": "fp16",
        "distance": "1,500 km",
        "uplink": "20 Mbit/s",
        "downlink": "100 Mbit/s",
        "response": "100 B",
    },
    mobile={
        "title": "A walk through town",
        "story": "A phone tells a blind walker what stands in the way. Its camera sees, its own processor could answer, and so could "
        "a card behind the mobile network.",
        "board": "iphone-15-pro",
        "card": "l40s",
        "network": "yolo-v8n",
        "inputs": 1,
        "precision": "fp16",
        "distance": "600 km",
        "uplink": "25 Mbit/s",
        "downlink": "150 Mbit/s",
        "response": "2 kB",
    },
    tiny={
        "title": "A trap in an orchard",
        "story": "A microcontroller on a coin cell sees insects on glue, in pictures the size of a stamp. Its radio reaches a gateway, "
        "which passes each bit on into a fibre as it comes.",
        "board": "nrf52840",
        "card": "l4",
        "network": "resnet-8",
        "inputs": 1,
        "precision": "int8",
        "distance": "600 km",
        "uplink": "1 Mbit/s",
        "downlink": "1 Mbit/s",
        "response": "20 B",
    },
)


def line(text, value, unit=""):
    print(f"{text:<52} {units.format(value, unit)}")


# %% variants
import itertools

from mlsysbook import Decision, Key, Mistake
from mlsysim import decode_seconds, propagation_seconds, transfer_seconds

LIMITS = ("light", "sending", "memory at the far end", "memory of the device")
# distances, requests and uplinks; answer and downlink
WIRES = {
    "cloud": (("2,500 km", "4,000 km", "6,000 km", "9,500 km"), ("15 MB", "30 MB", "60 MB", "120 MB"),
              ("2.5 Gbit/s", "5 Gbit/s", "10 Gbit/s"), "200 kB", "10 Gbit/s"),
    "edge": (("2,500 km", "4,000 km", "6,000 km", "8,000 km", "9,500 km"), ("60 kB", "90 kB", "140 kB", "200 kB", "280 kB"),
             ("8 Mbit/s", "12 Mbit/s", "20 Mbit/s"), "2 kB", "50 Mbit/s"),
    "mobile": (("1,200 km", "2,500 km", "4,000 km", "7,000 km"), ("40 kB", "80 kB", "150 kB", "300 kB"),
               ("15 Mbit/s", "25 Mbit/s", "60 Mbit/s"), "4 kB", "150 Mbit/s"),
    "tiny": (("1,500 km", "3,000 km", "5,000 km", "8,000 km"), ("500 B", "1.5 kB", "4 kB", "12 kB"),
             ("250 kbit/s", "1 Mbit/s", "2 Mbit/s"), "200 B", "1 Mbit/s"),
}  # fmt: skip
# On the tiny track the gateway has the assistant: no microcontroller holds a language model.
ASSISTANTS = {
    "cloud": (("llama-3.2-3b", "llama-3.1-8b"), (4, 8, 16), ("t4", "l4", "a10", "l40s")),
    "edge": (("llama-3.2-1b", "llama-3.2-3b", "llama-3.1-8b"), (4, 8, 16), ("jetson-orin-nano", "jetson-agx-orin", "jetson-agx-thor")),
    "mobile": (("llama-3.2-1b", "llama-3.2-3b"), (4, 8), ("iphone-15-pro", "dimensity-9300", "m2", "m4")),
    "tiny": (("llama-3.2-1b", "llama-3.2-3b"), (4, 8), ("raspberry-pi-5", "jetson-nano", "jetson-orin-nano")),
}
CONTEXTS = (2048, 8192, 16384, 24576, 32768, 65536)
LENGTHS = (4, 8, 25, 100)


def wire_terms(v):
    """Seconds of light, both ways, and of sending, through MLSys·im."""
    light = 2 * propagation_seconds(v["distance"])
    return light, transfer_seconds(v["request"], v["uplink"]) + transfer_seconds(v["response"], v["downlink"])


def wire_slips(v):
    """What slips make of a round trip."""
    light, sending = wire_terms(v)
    return light / 2 + sending, light / INDEX + sending, light + sending / 8, light + sending * 8, light


def assistant_bytes(v):
    """Bytes of weights and of cache that one token reads."""
    m = model(v["model"])
    return weight_bytes(m.params, bytes_per=v["weight_bits"] / 8), kv_cache_bytes(tokens=v["context"], **m.cache)


def decode_slips(v):
    """What slips make of tokens a second."""
    m, d = model(v["model"]), device(v["device"])
    (w, kv), bandwidth = assistant_bytes(v), d.bandwidth.value
    read = (w, w + kv * m.heads / m.kv_heads, w + kv / 2, 8 * w + kv, (w + kv) * 1e9 / 2**30)
    return *(bandwidth / each for each in read), d.rate("fp16") / (2 * m.params), d.rate("fp16") / m.params


def writing(v, hardware):
    """Seconds to write a whole answer on a device, at least."""
    return v["answer_tokens"] * decode_seconds(*assistant_bytes(v), device(hardware).bandwidth.value)


def far_terms(v):
    """Seconds of a whole answer from the card, by what they go into."""
    return dict(zip(LIMITS, (*wire_terms(v), writing(v, PLACES[v["track"]]["card"])), strict=False))


def far_slips(v, trip):
    """What slips make of that time, with a round trip of `trip` seconds."""
    far, near = writing(v, PLACES[v["track"]]["card"]), writing(v, v["device"])
    return far, v["answer_tokens"] * trip + far, trip + far / v["answer_tokens"], trip + near


def limit_of(v):
    """Where the answer is first, what takes most of its time there."""
    terms = far_terms(v)
    return LIMITS[3] if writing(v, v["device"]) < sum(terms.values()) else max(terms, key=terms.get)


def apart(values, share=0.045):
    return all(abs(a - b) > share * max(a, b) for a, b in itertools.combinations(values, 2))


def pool():
    """Up to ten wires with an assistant for each limit and track, in which every named mistake gives a number of its own."""
    for track in PLACES:
        distances, requests, uplinks, response, downlink = WIRES[track]
        wires = [{"distance": d, "request": q, "response": response, "uplink": u, "downlink": downlink}
                 for d, q, u in itertools.product(distances, requests, uplinks)]
        wires = [w for w in wires if apart((sum(wire_terms(w)), *wire_slips(w)))]
        names, widths, hardware = ASSISTANTS[track]
        assistants = []
        for name, bits, context, chip in itertools.product(names, widths, CONTEXTS, hardware):
            a = {"model": name, "weight_bits": bits, "context": context, "device": chip}
            read, right = sum(assistant_bytes(a)), 1 / decode_seconds(*assistant_bytes(a), device(chip).bandwidth.value)
            slips = decode_slips(a)
            if read < 0.8 * device(chip).memory.value and right < slips[5] and apart((right, *slips)):
                assistants += [a | {"answer_tokens": n} for n in LENGTHS]
        n, found = len(wires) * len(assistants), {name: [] for name in LIMITS}
        for i in range(min(n, 800)):  # a stride that is prime to n visits pairs without repeating one
            k = i * 7919 % n
            v = {"track": track} | wires[k % len(wires)] | assistants[k // len(wires)]
            trip, terms, near = sum(wire_terms(v)), far_terms(v), writing(v, v["device"])
            largest, second = sorted(terms.values())[:-3:-1]
            clear = apart((near, sum(terms.values())), 0.1) and apart((largest, second), 0.1)
            if len(found[limit_of(v)]) < 10 and clear and apart((sum(terms.values()), *far_slips(v, trip))):
                found[limit_of(v)].append(v)
        for each in found.values():
            yield from each


# %% [markdown]
# ## 1. A bet
# Pictures go through a network. Two offers are on the table: the processor that is already there, or a data-centre card at
# the other end of a fibre. The card is in another league. The next cell fixes your place for good; without a choice in
# lab V1-00 a lot has decided.

# %%
here = scenario(**PLACES)
here

# %%
board, card, net = device(here.board), device(here.card), model(here.network)


def job(there):
    """FLOP, bytes moved and bytes sent for the pictures of one question, at a place."""
    net, width = model(there.network), BYTES[there.precision]
    weights = width * net.params
    return there.inputs * net.flop, weights + there.inputs * (net.traffic(width) - weights), there.inputs * net.input_bytes


work, moved, sent = job(here)
# metres of fibre, one way; bytes; bits a second
scene = {"distance": here.si("distance"), "request": sent, "response": here.si("response")}
scene |= {"uplink": 8 * here.si("uplink"), "downlink": 8 * here.si("downlink")}

# %% show
print(board, card, sep="\n")
line("arithmetic, card over board", card.rate(here.precision) / board.rate(here.precision))
line("memory bandwidth, card over board", card.bandwidth.value / board.bandwidth.value)
line("work for a question", work, "FLOP")
line("its pictures", scene["request"], "B")
line("the answer", scene["response"], "B")
line("fibre to the card", scene["distance"], "m")
line("link, up", scene["uplink"] / 8, "bit/s")
line("link, down", scene["downlink"] / 8, "bit/s")

# %% [markdown]
# `board` is the processor on the spot. How many times faster is the answer back if the pictures go to the card? Write 50 if
# it takes a fiftieth of the time, and 0.5 if it takes twice as long. Add a low and a high value between which the truth
# should lie nine times in ten. You cannot change it later. Half of the point is for betting at all. The other half is for
# the interval: the narrower the better, as long as it holds the truth; it is lost where it does not, or where it spans a
# factor of 100.

# %% predict="cloud_speedup" points=1
# predict("cloud_speedup", "...", low="...", high="...")
### BEGIN SOLUTION
took = [roofline(work, moved, d, precision=here.precision).seconds for d in (board, card)]
sending = 8 * scene["request"] / scene["uplink"] + 8 * scene["response"] / scene["downlink"]
bet = float(took[0] / (2 * scene["distance"] * INDEX / LIGHT + sending + took[1]))
predict("cloud_speedup", f"{bet:.6g}", low=f"{0.999 * bet:.6g}", high=f"{1.001 * bet:.6g}")
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
# MLSys·im adds what you left out: the time of the pictures on the card and on the board. It takes the slower of
# arithmetic and memory traffic; section 4 says why.

# %% show
from mlsysim import propagation_seconds, transfer_seconds


def on(processor):
    """Time of one question on a processor that has it in memory."""
    return roofline(work, moved, processor, precision=here.precision).seconds


def through_the_wire(distance):
    """Time from question to answer with the card at the other end of `distance` metres of fibre."""
    up = transfer_seconds(scene["request"], scene["uplink"] / 8, distance=distance)
    down = transfer_seconds(scene["response"], scene["downlink"] / 8, distance=distance)
    return up + on(card) + down


on_board, far = on(board), through_the_wire(scene["distance"])
reveal("cloud_speedup", f"{on_board / far:.4g}")
line("on the board", on_board, "s")
line("on the card, pictures already there", on(card), "s")
line("  light, both ways", 2 * propagation_seconds(scene["distance"]), "s")
line("  sending the pictures", 8 * scene["request"] / scene["uplink"], "s")
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
axes.axhline(1e3 * on_board, color="black", linestyle=":", label="board on the spot")
axes.set(
    xlabel="fibre to the card (km)", ylabel="question to answer (ms)", title="How far away may a card be?"
)
axes.legend()
plt.show()
start, end = through_the_wire(1e3), through_the_wire(2e7)
sending = 8 * scene["request"] / scene["uplink"]
print(
    "Figure: time from question to answer against length of fibre, both axes logarithmic. "
    f"The board is a horizontal line at {units.format(on_board, 's')}. "
    f"The card starts at {units.format(start, 's')} next door, {units.format(sending / start, '%')} of it sending, "
    f"and reaches {units.format(end, 's')} at the far end of the Earth. "
    f"Light alone is a straight rising line; it passes the board's time at {units.format(reach, 'm')}, "
    "so beyond that no computer can answer first."
)

# %% [markdown]
# Turn it yourself. The wire is your `round_trip_seconds`, the two processors are MLSys·im's. Which control decides who is
# first, and which has stopped mattering? Tab reaches the controls, the arrow keys move them; without widgets ask
# with `wire_panel.at(kilometres=100)`.

# %% show
from mlsysbook import explore, pick, slider


def settle(kilometres, link, remote):
    wire = round_trip_seconds(1e3 * kilometres, scene["request"], scene["response"], 8 * link, 8 * link)
    return {"wire": float(wire), "remote": float(on(device(remote))), "board": float(on_board)}


def draw_wire(axes, result, settings):
    axes.barh(["board", "remote"], [1e3 * result["board"], 1e3 * result["remote"]], hatch="//", edgecolor="black", label="computing")
    axes.barh(["remote"], [1e3 * result["wire"]], left=1e3 * result["remote"], edgecolor="black", label="wire")
    axes.set(xlabel="question to answer (ms)", title=f"{settings['remote']} at {settings['kilometres']:,.0f} km")
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
        "kilometres": slider(1.0, 10_000.0, start=scene["distance"] / 1e3, log=True),
        "link": slider(1.25e4, 1.25e9, start=scene["uplink"] / 8, unit="bit/s", log=True),  # B/s, shown as bit/s
        "remote": pick("h100", "l40s", "l4", "jetson-agx-orin", start=here.card),
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
    says = (
        (0.5, "light is counted one way; the answer has to come back"),
        (0.5, "that is light in vacuum; glass slows it by INDEX"),
        (0.25, "bytes are divided by bits a second; a byte is eight bits"),
        (0.25, "bits are counted twice; units.parse already gives bytes a second"),
        (0.25, "that is light alone; the bits also take size over bandwidth to leave"),
    )
    slips = tuple(Mistake(value, *said) for value, said in zip(wire_slips(v), says, strict=True))
    return Key(sum(wire_terms(v)), "s", tol=0.02, mistakes=slips)


# %% key="cloud_speedup"
def key(v):
    there = here.of(v["track"])
    flop, traffic, size = job(there)
    on_board, on_card = (roofline(flop, traffic, d, precision=there.precision).seconds for d in (there.board, there.card))
    wire = {"request": size} | {k: there.si(k) for k in ("distance", "response", "uplink", "downlink")}
    return Key(float(on_board / (sum(wire_terms(wire)) + on_card)), "")


# %% [markdown]
# ## 4. Memory
# An assistant writes one token at a time. For each token the processor reads every weight once and uses each for a
# single multiply-add. How fast can that be? Take an eight-billion-parameter model with weights of 4 bits on a
# board for which somebody measured it, whatever your place is.

# %%
llama, nano, big = model("llama-3.1-8b"), device("jetson-orin-nano"), device("h100")
weights = weight_bytes(llama.params, bytes_per=4 / 8)
measured = Figure(
    14.0,
    "token/s",
    "NVIDIA developer blog on Jetson Orin Nano Super: this model, int4, MLC, before the update",
    "2024-12",
    "measured",
)

# %% show
arithmetic, reading = 2 * llama.params / nano.rate("fp16"), weights / nano.bandwidth.value
line("weights, read for every token", weights, "B")
line("time if only arithmetic counted", arithmetic, "s")
line("time to read the weights", reading, "s")
line("bound on the rate", 1 / reading, "token/s")
print(f"{'measured':<52} {measured}")
line("share of peak arithmetic in use at the bound", arithmetic / reading, "%")
line(
    "the same model in fp16 on an H100, share in use",
    2 * llama.params / big.rate("fp16") / roofline(2 * llama.params, weight_bytes(llama.params), big).seconds,
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
    rate = nano.bandwidth.value / (weights + kv)
    print(f"{tokens:>6,} token: cache {units.format(kv, 'B'):>8}, at most {units.format(rate, 'token/s')}")

# %% [markdown]
# ### Your assistant
# `mine` names a model, the bits of its weights, the tokens in its context and a device: yours, and on the tiny track the
# gateway's, since no microcontroller holds a language model. At most how many tokens a second does the device write?

# %% answer="decode_rate" points=3
decode_rate = ""  # such as "12.3 token/s"
### BEGIN SOLUTION
chosen = model(mine["model"])
read = chosen.params * mine["weight_bits"] / 8 + kv_cache_bytes(tokens=mine["context"], **chosen.cache)
decode_rate = f"{device(mine['device']).bandwidth.value / read:.5g} token/s"
### END SOLUTION


# %% key="decode_rate"
def key(v):
    says = (
        (0.5, "the weights alone; the cache is read for every token as well"),
        (0.5, "every attention head is counted; several share one KV head"),
        (0.5, "a key or a value is missing; each token keeps both"),
        (0.25, "weights of n bits are n/8 bytes each"),
        (0.5, "GB and GiB are mixed; a GiB is 7 % larger"),
        (0.1, "that is the limit of arithmetic; memory is the slower one here"),
        (0.0, "that is the limit of arithmetic, with MAC taken for FLOP; memory is slower"),
    )
    slips = tuple(Mistake(value, *said) for value, said in zip(decode_slips(v), says, strict=True))
    return Key(1 / decode_seconds(*assistant_bytes(v), device(v["device"]).bandwidth.value), "token/s", tol=0.02, mistakes=slips)


# %% [markdown]
# ## 5. Watts
# A sensor should run for months on a coin cell. Should it compute, or send what it hears and sees? Both cost joules: watts
# times seconds. The sensor is a Bluetooth chip, and its maker prints the current of the processor and of the radio.
# The shortest possible sending and the shortest possible computing are compared, so both columns are bounds.

# %%
sensor, resnet = device("nrf52840"), model("resnet-50")


def joules_to_compute(net):
    return sensor.power.value * roofline(net.flop, net.traffic(bytes_per=1), sensor, precision="int8").seconds


def joules_to_send(size):
    return BLE_SEND.value * size / BLE_RATE.value


# %% show
print("computing", sensor.power, sep="  ")
print("sending  ", BLE_SEND, sep="  ")
for each in (model("ds-cnn"), model("mobilenet-v1-0.25"), resnet):
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
objects = {"flop": resnet.flop, "traffic": resnet.traffic(bytes_per=1), "weights": resnet.params}
objects |= {"request": resnet.input_bytes, "response": 20, "deadline": 3.0}


def place(name, hardware, distance, compute_watts=0.0, radio_watts=0.0):
    """A place that computes in int8 and is reached over the sensor's radio."""
    d, rate = device(hardware), 8 * BLE_RATE.value
    p = {"name": name, "peak": d.rate("int8"), "bandwidth": d.bandwidth.value, "memory": d.storage}
    p |= {"distance": distance, "uplink": rate, "downlink": rate}
    return p | {"compute_watts": compute_watts, "radio_watts": radio_watts}


own = place("sensor", "nrf52840", 0.0, compute_watts=sensor.power.value)
near = place("board", "jetson-orin-nano", 20.0, radio_watts=BLE_SEND.value)
cloud = place("card", "h100", 1.5e6, radio_watts=BLE_SEND.value)

# %% check="best_place" points=6
check(
    "best_place",
    [
        case(person, [own]),
        case(person, [cloud, near, own]),
        case(objects, [own, cloud, near]),
        case(person | {"deadline": 0.01}, [own, near, cloud]),
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
for service, title in ((person, wake.title), (objects, resnet.title)):
    for limit in (3.0, 0.2, 0.05):
        found = best_place(service | {"deadline": limit}, [own, near, cloud])
        text = "nowhere"
        if found:
            text = f"{found[0]}, {units.format(found[1], 's')}, {units.format(found[2], 'J')} from the battery"
        print(f"{title:<46} within {units.format(limit, 's'):>6}: {text}")

# %% [markdown]
# ## 7. A whole answer
# Back to your assistant, with the card at the end of your wire as the other offer. It has the same model, the same weights
# and the same context, and writes `answer_tokens` tokens.

# %% show
line("tokens in an answer", mine["answer_tokens"], "token")
line(f"memory bandwidth of the card, {card.title}", card.bandwidth.value, "B/s")
line(f"memory bandwidth of the device, {device(mine['device']).title}", device(mine["device"]).bandwidth.value, "B/s")

# %% [markdown]
# How long does the whole answer take from the card, from the first bit of the request to the last of the answer? Tokens
# come back while later ones are written, so there is one round trip, and reading decides how fast the card writes.

# %% answer="far_answer" points=2
far_answer = ""  # such as "120 ms"
### BEGIN SOLUTION
far_answer = f"{1e3 * mine['answer_tokens'] * read / card.bandwidth.value + float(round_trip.split()[0]):.6g} ms"
### END SOLUTION


# %% key="far_answer"
def key(v, earlier=None):
    trip = (earlier or {}).get("round_trip", sum(wire_terms(v)))
    says = (
        (0.25, "that is the writing alone; the request and the answer take a round trip"),
        (0.25, "a round trip is counted for every token; tokens stream back, so there is one"),
        (0.5, "that is the first token; the question is about all of them"),
        (0.25, "that is written at the rate of the device; the card has a bandwidth of its own"),
    )
    slips = tuple(Mistake(value, *said) for value, said in zip(far_slips(v, trip), says, strict=True))
    return Key(trip + writing(v, PLACES[v["track"]]["card"]), "s", tol=0.02, mistakes=slips, steps=("round_trip",))


# %% [markdown]
# ## 8. Decide
# Where is the whole answer there first, and what takes most of its time there? It is "memory of the device" if the device is
# first, since reading is all it does. Otherwise it is the largest part of the time from the card: "light", both ways,
# "sending", or "memory at the far end". Name three answers of yours that the decision rests on, the alternative that you
# turned down, and what could prove you wrong. Half of the points are for the limit, a third for the answers.

# %% decision="place" points=3
# place = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
flight, trip, far = 2 * meters * INDEX / LIGHT, units.parse(round_trip)[0], units.parse(far_answer)[0]
largest = {"light": flight, "sending": trip - flight, "memory at the far end": far - trip}
at_home = mine["answer_tokens"] / units.parse(decode_rate)[0]
place = decision(
    claim="The place whose whole answer is first",
    binding="memory of the device" if at_home < far else max(largest, key=largest.get),
    evidence=("round_trip", "decode_rate", "far_answer"),
    rejected="The other place, although one of its terms is smaller",
    risk="Bounds leave out queues and the reading of the prompt",
)
### END SOLUTION


# %% key="place"
def key(v):
    terms, near, found = far_terms(v), writing(v, v["device"]), limit_of(v)
    far = sum(terms.values())
    both = f"the whole answer takes {units.format(near, 's')} on the device and {units.format(far, 's')} from the card"
    wrong = {
        k: f"{both}; there {k} takes {units.format(t, 's')}, {found} {units.format(terms.get(found, near), 's')}" for k, t in terms.items()
    }
    if near < far:
        wrong = dict.fromkeys(terms, both)
    return Decision(found, LIMITS, {k: said for k, said in (wrong | {LIMITS[3]: both}).items() if k != found})


# %% [markdown] rubric="placement" points=3
# In your own words: would you run the assistant on your device, or on the card at the end of your wire? Compare the time for
# one whole answer. Give the two numbers you compare and name the limit that decides: light, sending, memory or watts. Then
# name one change, with a number, that would turn your decision. Five sentences at most.
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
