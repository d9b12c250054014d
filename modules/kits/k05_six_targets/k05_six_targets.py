# %% [markdown]
# # Kit 05: One Model, Six Targets
#
# C is said to run everywhere. The same file, a network in bytes, is compiled here for an ATmega328P, an ATmega2560, a
# Cortex-M4, an M7, an M55 and a 64-bit Linux process, and has to give the same bytes on all six. You start from a kernel that
# passes every test on a desk, and end with one that keeps its word, and with a table of numbers of which some are times.
#
# **Afterwards you can**
# 1. say what of C depends on the machine, and write a kernel that does not;
# 2. tell cycles, instructions and seconds apart, and turn one into another where that is possible;
# 3. choose the smallest chip for a job, and name what rules out the one below it.
#
# **The path**: train → quantise → export → predict, locked → compile → run → measure → explain → decide. Three functions
# are yours, one of them in C. When the kit is graded that one is compiled for three of the targets and asked for vectors that you
# have not seen. You need kits 00 and 01. Allow 75 minutes.
#
# **With a board or without.** Cells go through the six emulators. With `KITS_TARGET=/dev/ttyACM0 KITS_BOARD=uno` a board joins
# them as a seventh row. What is missing on your machine is left out of the table, with a line that says why.

# %%
import numpy as np

from boardkit import data
from boardkit.boards import boards
from boardkit.export import header
from boardkit.measure import measure, table
from boardkit.notebook import attempt, chosen
from boardkit.quantize import QuantModel, quantize
from mlsysbook import Firmware, answer, case, check, decision, predict, prop, reveal, variant
from mlsysim import device, tinyml, units
from mlsysim.models.nets import Net, Stack
from tinytorch import Adam, CrossEntropyLoss, DataLoader, Linear, ReLU, Sequential, Tensor, TensorDataset, Trainer
from tinytorch.layers import manual_seed

SIX = ("simavr:atmega328p", "simavr:atmega2560", "qemu:cortex-m4", "qemu:cortex-m7", "qemu:cortex-m55", "qemu-user:aarch64")
TARGET, BOARD = chosen(SIX[0])
BY_TARGET = {b.target: b for b in boards().values() if b.target}

# %% [markdown]
# ## 1. The model
# The motions of kit 01: 63 spectral features of two seconds of a three-axis accelerometer, four classes, a network
# 63-20-10-4. `quantize` of boardkit turns it into bytes, which you know how to do by now.

# %%
train, test = data.motions(600, 1), data.motions(200, 2)
raw = data.spectral_features(train.x)
mean, deviation = raw.mean(axis=0), raw.std(axis=0) + 1e-6
x, xt = (raw - mean) / deviation, (data.spectral_features(test.x) - mean) / deviation

manual_seed(0)
net = Sequential(Linear(63, 20), ReLU(), Linear(20, 10), ReLU(), Linear(10, 4))
loader = DataLoader(TensorDataset(Tensor(x), Tensor(train.y)), batch_size=32, shuffle=True, seed=0)
Trainer(net, CrossEntropyLoss(), Adam(net.parameters(), lr=3e-3), progress=False).fit(loader, 12)
model = quantize(net.eval(), x, name="motion", labels=test.classes)
vectors = model.input.quantize(xt)

# %% show
print(f"bytes tell {(model.run(vectors).argmax(axis=1) == test.y).mean():.1%} of the test motions; {model.macs:,} multiply-adds")

# %% [markdown]
# ## 2. What C leaves open
# The standard fixes what an `int8_t` or an `int32_t` holds. It leaves to each machine how wide an `int` is and whether `char` has a sign.
#
# | | ATmega | Cortex-M | AArch64 Linux | your PC (x86-64) |
# |---|---|---|---|---|
# | bits of `int` | 16 | 32 | 32 | 32 |
# | `char` | signed | unsigned | unsigned | signed |
# | constants | flash is another address space | one address space | one | one |
#
# What a number becomes in a type of $n$ bits: its remainder modulo $2^n$, read with a sign or without. 40,000 in a signed
# type of 16 bits is 40,000 − 65,536 = −25,536; −56 in an unsigned one of 8 bits is 200. (For signed types the standard calls an
# overflow *in arithmetic* undefined; these compilers mostly wrap, and may do something else at any time.)
#
# **Exercise 2** Write that.

# %% solution="held"
def held(value, bits, signed=True):
    """What an integer, or an array of them, becomes in a C type of so many bits that wraps -> the same shape, Python int or int64."""
    ### BEGIN SOLUTION
    size = 1 << bits
    rest = np.asarray(value, dtype=np.int64) % size
    if signed:
        rest = np.where(rest >= size // 2, rest - size, rest)
    return int(rest) if np.ndim(value) == 0 else rest.astype(np.int64)
    ### END SOLUTION

# %% check="held" points=3
check("held", [case(40_000, 16), case(-56, 8, signed=False), case(np.array([127, 128, -129]), 8)], compare="value")

# %% hidden="held"
def cases(rng):
    for bits in (8, 16, 32):
        yield case(rng.integers(-(2**40), 2**40, 12), bits, behaviour="signed types of any width")
        yield case(rng.integers(-(2**40), 2**40, 12), bits, signed=False, behaviour="types without a sign")
    for bits in (8, 16):
        ends = np.array([2 ** (bits - 1) - 1, 2 ** (bits - 1), -(2 ** (bits - 1)), -(2 ** (bits - 1)) - 1, 0])
        yield case(ends, bits, behaviour="the ends of a range")
    yield case(int(rng.integers(2**33, 2**35)), 32, behaviour="a single number")
    yield case(-1, 16, signed=False, behaviour="a single number")

# %% [markdown]
# ## 3. A kernel from a desk
# Here is a dense layer as it is often written. On a PC it is right. How many of the six targets give the right bytes?

# %%
DESK = """
static void my_dense(const mlk_layer *q, const int8_t *in, int8_t *out)
{
    for (int o = 0; o < q->out_c; o++) {
        int sum = q->bias[o];
        for (int i = 0; i < q->in_c; i++)
            sum += (in[i] - q->in_zero) * q->weight[o * q->in_c + i];
        out[o] = mlk_output(q, o, sum);
    }
}
"""
CHAR = """
static void my_dense(const mlk_layer *q, const int8_t *in, int8_t *out)
{
    for (uint16_t o = 0; o < q->out_c; o++) {
        int32_t sum = mlk_rom_i32(q->bias + o);
        for (uint16_t i = 0; i < q->in_c; i++) {
            const char w = mlk_rom_i8(q->weight + o * q->in_c + i);
            sum += (in[i] - q->in_zero) * w;
        }
        out[o] = mlk_output(q, o, sum);
    }
}
"""


def text_of(kernel, quantised=model):
    """model.h with a dense kernel of one's own before it."""
    return f'#include "mlk_base.h"\n{kernel}\n#define MLK_DENSE my_dense\n{header(quantised)}'

# %% predict="desk" points=1
# predict("desk", "number of targets", low="number", high="number")
### BEGIN SOLUTION
predict("desk", "4", low="3.99", high="4.01")
### END SOLUTION

# %% key="desk"
from mlsysbook import Decision, Key, Mistake


def key(v):
    return Key(sum(not target.startswith("simavr:") for target in SIX), "")

# %% show
rows = [row for target in SIX if (row := attempt(measure, model, vectors[:4], target, text=text_of(DESK)))]
if rows:
    print("the kernel from the desk")
    print(table(rows))
if len(rows) == len(SIX):
    reveal("desk", str(sum(row.exact for row in rows)))
rows = [row for target in (SIX[0], SIX[2]) if (row := attempt(measure, model, vectors[:4], target, text=text_of(CHAR)))]
if rows:
    print("\nthe kernel with a char")
    print(table(rows))

# %% [markdown]
# No compiler said a word, and no program stopped. On AVR the first kernel reads weights at addresses of RAM that have the same
# numbers as those in flash, and adds them in 16 bits. The second fails on the machines where the first was right: −56 becomes 200.
# Only a comparison to the bit on each target tells, and a target that nobody runs is one on which nobody knows.
#
# ## 4. A kernel that is right everywhere
# **Exercise 4** Write `my_dense` in C99 that also compiles as C++. `mlk_rom_i8(p)` and `mlk_rom_i32(p)` read constants from wherever they
# are. A layer has `in_c` inputs, `out_c` outputs, weights (out_c, in_c) int8, a bias int32 for each output, and the zero
# point `in_zero`; `mlk_output(q, o, sum)` makes a byte of the sum of output o. Types have the width that the numbers need: a
# difference of two bytes, times a weight from −127 to 127, is at most 32,385. The ATmega has a budget: 155,000 cycles from
# question to answer, 34,700 of them for 25 characters on the line. A multiplication of 32 bits for each weight does not fit into it.

# %% solution="dense_c"
def dense_c():
    """C text that defines `static void my_dense(const mlk_layer *q, const int8_t *in, int8_t *out)`."""
    ### BEGIN SOLUTION
    return """
static void my_dense(const mlk_layer *q, const int8_t *in, int8_t *out)
{
    const int8_t *w = q->weight;
    const int8_t zero = q->in_zero;
    for (uint16_t o = 0; o < q->out_c; o++) {
        int32_t sum = mlk_rom_i32(q->bias + o);
        for (uint16_t i = 0; i < q->in_c; i++, w++)
            sum += (int16_t)((int16_t)(in[i] - zero) * mlk_rom_i8(w));
        out[o] = mlk_output(q, o, sum);
    }
}
"""
    ### END SOLUTION

# %% [markdown]
# ### Predict
# How many cycles does an ATmega328P take for the whole network with your kernel, 1,500 multiply-adds? MLSys·im knows plain C on AVR.

# %% show
def net_of(*sizes):
    """A network of dense layers as MLSys-im knows it."""
    def layers():
        stack = Stack(sizes[:1])
        for size in sizes[1:]:
            stack.linear(size)
        return stack.layers

    return Net("k05", "-".join(map(str, sizes)), layers, sizes[0], "this notebook", "2026", "tiny")


for chip, name in (("atmega328p", "simavr:atmega328p"), ("nrf52840", "qemu:cortex-m4")):
    told = tinyml.predict(net_of(63, 20, 10, 4), chip, kernels="plain")
    print(f"{name}: {told.cycles:,.0f} cycles, {1e3 * told.seconds:.3g} ms, program {told.flash:,.0f} B on {device(chip).title}")

# %% predict="cycles" points=1
# predict("cycles", "number of cycles", low="number", high="number")
### BEGIN SOLUTION
predict("cycles", "76000", low="60000", high="95000")
### END SOLUTION

# %% show
rows = [row for target in SIX if (row := attempt(measure, model, vectors[:8], target, text=text_of(dense_c())))]
if rows and rows[0].kind == "simulated cycles":
    reveal("cycles", f"{rows[0].count:.0f}")
if TARGET not in SIX:
    rows += [row for row in [attempt(measure, model, vectors[:8], TARGET, board=BOARD, text=text_of(dense_c()))] if row]
if rows:
    print(table(rows))

# %% [markdown]
# ### The kernel, judged
# Three checks, one text. Each compiles it for its target in a closed box and sends vectors that are not on its disk.

# %%
def product():
    """The header with your kernel in it, and the model."""
    return {"model.h": text_of(dense_c()), "model": model.to_dict()}


def wanted(product, q):
    return QuantModel.from_dict(product["model"]).run(q[None])[0]


def ask(link, q, motion=None):
    return link.infer(q).outputs


def tells(out, q, motion=None):
    return motion is None or int(np.argmax(out)) == motion


WORKED = [case(vectors[0]), case(vectors[1], motion=int(model.run(vectors[1]).argmax()))]
NAMED = [prop("be largest for the motion that it was", tells)]

# %% check="avr" points=6 covers="dense_c"
check("avr", WORKED, call=product, properties=NAMED,
      firmware=Firmware("serve", "simavr:atmega328p", "model.h", wanted, flash=7_000, ram=500, cycles=155_000, ask=ask))

# %% hidden="avr"
def motions_of(rng, n=6):
    """New windows that the model is sure of, as bytes, with their labels."""
    fresh = data.motions(40, int(rng.integers(2**31)))
    q = model.input.quantize((data.spectral_features(fresh.x) - mean) / deviation)
    out = np.sort(model.run(q).astype(int), axis=1)
    sure = np.flatnonzero((model.run(q).argmax(axis=1) == fresh.y) & (out[:, -1] - out[:, -2] > 20))[:n]
    return [(q[i], int(fresh.y[i])) for i in sure]


def cases(rng):
    for q, motion in motions_of(rng):
        yield case(q, motion=motion, behaviour="tells new motions, to the bit")
    for _ in range(2):
        yield case(rng.integers(-128, 128, 63).astype(np.int8), behaviour="to the bit for any bytes")
    for value in (-128, 127):
        yield case(np.full(63, value, np.int8), behaviour="to the bit for any bytes")
    yield case(rng.choice([-128, 127], 63).astype(np.int8), behaviour="to the bit for any bytes")

# %% check="m4" points=4 covers="dense_c"
check("m4", WORKED, call=product, properties=NAMED,
      firmware=Firmware("serve", "qemu:cortex-m4", "model.h", wanted, flash=7_000, ram=1_000, ask=ask))

# %% hidden="m4"
def cases(rng):
    for q, motion in motions_of(rng):
        yield case(q, motion=motion, behaviour="tells new motions, to the bit, on a Cortex-M4")
    for _ in range(3):
        yield case(rng.integers(-128, 128, 63).astype(np.int8), behaviour="to the bit for any bytes, on a Cortex-M4")

# %% check="aarch64" points=4 covers="dense_c"
check("aarch64", WORKED, call=product, properties=NAMED, firmware=Firmware("serve", "qemu-user:aarch64", "model.h", wanted, ask=ask))

# %% hidden="aarch64"
def cases(rng):
    for q, motion in motions_of(rng):
        yield case(q, motion=motion, behaviour="tells new motions, to the bit, on AArch64")
    for _ in range(3):
        yield case(rng.choice([-128, 0, 127], 63).astype(np.int8), behaviour="to the bit for any bytes, on AArch64")

# %% [markdown]
# ## 5. Which of these numbers are times?
# The column *of* says what was counted.
#
# * **simulated cycles**: simavr knows how many cycles each instruction of an AVR takes. There are no caches, so cycles over
#   clock is a time.
# * **instructions**: QEMU knows what an instruction does and not how long it takes. A time needs cycles per instruction, which
#   depend on flash, caches, pipeline and on the code; MLSys·im has 1.23 for a Cortex-M4 and 0.72 for an M7, each fitted to one
#   chip, with kernels of another kind.
# * **host time**: QEMU translates AArch64 for your PC. That time belongs to your PC and to nothing else.
#
# The M4 and the M7 count nearly the same instructions here. On real chips the M7 is faster by its clock, and by issuing
# up to two instructions a cycle. An instruction count shows neither.
#
# **Exercise 5** Seconds from a count. For "simulated cycles", count / clock. For "instructions", count × `per` / clock, where
# `per` is cycles per instruction. Where a time does not follow, raise ValueError with the kind in its message: no `per` for
# instructions, host time, any other kind.

# %% solution="seconds_of"
def seconds_of(count, kind, clock, per=None):
    """Seconds that a count means at a clock in Hz -> float. Raises ValueError, which names the kind, where no time follows."""
    ### BEGIN SOLUTION
    if kind == "simulated cycles":
        return count / clock
    if kind == "instructions" and per is not None:
        return count * per / clock
    raise ValueError(f"{kind}: no time follows" + ("; give per, cycles an instruction" if kind == "instructions" else ""))
    ### END SOLUTION

# %% check="seconds_of" points=4
def seconds(count, kind, clock, per=None):
    try:
        return seconds_of(count, kind, clock, per)
    except ValueError as error:
        return {"the message names the kind": kind in str(error)}

check("seconds_of", [
    case(80_000, "simulated cycles", 16e6),
    case(12_800, "instructions", 64e6, 1.25),
    case(500, "host time", 1e9),
], call=seconds, compare="value", rtol=1e-9)

# %% hidden="seconds_of"
def cases(rng):
    for _ in range(3):
        yield case(int(rng.integers(1e3, 1e6)), "simulated cycles", float(rng.choice([8e6, 16e6, 20e6])), behaviour="cycles over clock")
        yield case(int(rng.integers(1e3, 1e6)), "instructions", 64e6, float(rng.uniform(0.5, 2)), behaviour="cycles an instruction")
    yield case(12_000, "simulated cycles", 16e6, 1.3, behaviour="cycles need no factor")
    yield case(12_000, "instructions", 64e6, behaviour="no time follows")
    yield case(12_000, "host time", 2e9, 1.0, behaviour="no time follows")
    yield case(12_000, "furlongs", 64e6, 1.0, behaviour="no time follows")

# %% show
FACTOR = {"qemu:cortex-m4": ("nrf52840", "cortex-m4"), "qemu:cortex-m7": ("stm32h743", "cortex-m7")}
for row in rows:
    chip, core = FACTOR.get(row.target, (None, None))
    clock = device(chip).clock.value if chip else getattr(BY_TARGET.get(row.target), "clock", 0)
    try:
        took = units.format(seconds_of(row.count, row.kind, clock, tinyml.CORES.find(core).factor.value if core else None), "s")
        print(f"{row.target:<20} {took:>9} at {units.format(clock, 'Hz')}" + (f", were it an {chip}" if chip else ""))
    except ValueError as error:
        print(f"{row.target:<20} {error}")

# %% [markdown]
# ## 6. The smallest chip
# A job of your own: a network of dense layers `mine["sizes"]`, an answer within `mine["deadline"]`, plain C. Would an ATmega328P do,
# 2,048 B of RAM, 32,256 B of flash, 16 MHz? Ask MLSys·im: `net_of(...)` as above, `tinyml.predict(..., kernels="plain",
# allow_infeasible=True)` answers also where nothing fits.

# %% variants
import itertools

ROOM = {"RAM": 2_048, "flash": 32_256}
LIMITS = ("RAM", "flash", "deadline")


def asked(v):
    """What MLSys-im says of a variant's job on an ATmega328P."""
    stack = Stack(v["sizes"][:1])
    for size in v["sizes"][1:]:
        stack.linear(size)
    job = Net("job", "job", lambda: stack.layers, v["sizes"][0], "this notebook", "2026", "tiny")
    return tinyml.predict(job, "atmega328p", kernels="plain", allow_infeasible=True)


def loads(v):
    """Need over have of RAM, flash and deadline."""
    told = asked(v)
    return {"RAM": told.memory / ROOM["RAM"], "flash": told.flash / ROOM["flash"],
            "deadline": float(told.seconds) / units.parse(v["deadline"])[0]}


def pool():
    wide = [[n, m, k] for n, m, k in itertools.product((2000, 2150, 2300, 2450, 2600), (7, 8, 9, 10), (4, 6))]
    deep = [[n, m, k, 4] for n, m, k in itertools.product((90, 120, 150, 180), (150, 170, 190, 220), (20, 40))]
    small = [[n, m, k, 4] for n, m, k in itertools.product((63, 80, 96, 120), (60, 80, 100), (10, 20))]
    found = {name: [] for name in LIMITS}
    for shapes, deadline in ((wide, "2 s"), (deep, "3 s"), (small, "6 ms"), (small, "9 ms")):
        for sizes in shapes:
            v = {"sizes": sizes, "deadline": deadline}
            need = loads(v)
            second, first = sorted(need.values())[-2:]
            if first > 1.05 and first > 1.15 * second:
                found[max(need, key=need.get)].append(v)
    for each in found.values():
        yield from each[:: max(1, len(each) // 14)][:14]

# %%
mine = variant()

# %% show
print(mine)

# %% [markdown]
# **6.1** How much RAM does the job take there, to the byte?

# %% answer="memory" points=2
memory = ""  # such as "900 B"
### BEGIN SOLUTION
sizes = mine["sizes"]
memory = f"{max(a + b for a, b in zip(sizes, sizes[1:], strict=False)) + tinyml.CORES.find('avr').static.value:.6g} B"
### END SOLUTION

# %% key="memory"
def key(v):
    sizes, own = v["sizes"], tinyml.CORES.find("avr").static.value
    return Key(asked(v).memory, "B", tol=0.0005, mistakes=[
        Mistake(asked(v).memory - own, 0.5, "the line, the frame and the core's own variables take RAM too"),
        Mistake(sum(sizes) + own, 0.5, "a layer's input can be given up when its output is there: not all exist at a time"),
        Mistake(max(sizes) + own, 0.25, "a layer's input and its output exist at the same time"),
    ])

# %% [markdown]
# **6.2** How much flash?

# %% answer="program" points=2
program = ""  # such as "20 kB"
### BEGIN SOLUTION
weights, outputs = sum(a * b for a, b in zip(sizes, sizes[1:], strict=False)), sum(sizes[1:])
program = f"{weights + 9 * outputs + tinyml.CORES.find('avr').plain_code.value:.6g} B"
### END SOLUTION

# %% key="program"
def key(v):
    told, code = asked(v), tinyml.CORES.find("avr").plain_code.value
    return Key(told.flash, "B", tol=0.002, mistakes=[
        Mistake(told.flash - code, 0.5, "the program itself takes flash too"),
        Mistake(told.flash - 9 * sum(v["sizes"][1:]), 0.5, "each output has a bias, a multiplier and a shift, 9 B"),
        Mistake(4 * told.macs + 9 * sum(v["sizes"][1:]) + code, 0.25, "weights are int8, a byte each"),
    ])

# %% [markdown]
# **6.3** How long does one pass take?

# %% answer="latency" points=2
latency = ""  # such as "12 ms"
### BEGIN SOLUTION
stack = Stack(sizes[:1])
for size in sizes[1:]:
    stack.linear(size)
job = Net("job", "job", lambda: stack.layers, sizes[0], "mine", "2026", "tiny")
latency = f"{float(tinyml.predict(job, 'atmega328p', kernels='plain', allow_infeasible=True).seconds):.6g} s"
### END SOLUTION

# %% key="latency"
def key(v):
    told = asked(v)
    return Key(float(told.seconds), "s", tol=0.004, mistakes=[
        Mistake(float(told.seconds) * 16 / 64, 0.25, "that is at 64 MHz; the ATmega328P runs at 16 MHz"),
        Mistake(told.macs / 16e6, 0.0, "a multiply-add takes some forty cycles here, not one"),
        Mistake(37.7 * told.macs / 16e6, 0.5, "each output costs besides: its scaling"),
    ])

# %% [markdown]
# ## 7. Decide
# The ATmega328P does not do. What rules it out most, need over have: RAM, flash or the deadline? `binding` is that. Which of the six
# would you take instead, and what would have to be measured before you buy a thousand?

# %% decision="chip" points=3
# chip = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
need = {
    "RAM": units.parse(memory)[0] / 2048, "flash": units.parse(program)[0] / 32256,
    "deadline": units.parse(latency)[0] / units.parse(mine["deadline"])[0],
}
chip = decision(
    claim="Take the smallest of the others that has room for it",
    binding=max(need, key=need.get),
    evidence=("memory", "program", "latency"),
    rejected="The largest chip would do and costs more",
    risk="An instruction count is no time on the chosen chip",
)
### END SOLUTION

# %% key="chip"
def key(v):
    need = loads(v)
    return Decision(max(need, key=need.get), LIMITS)

# %% [markdown] rubric="table" points=3
# Somebody puts your table into a report, headed "Latency on six platforms", sorts it by the count, and concludes that an M55 is
# slower than an M7 and AArch64 the slowest of all. In six sentences at most: what is wrong with the heading, with
# sorting, and with each of the two conclusions? Which two rows may be compared with each other, and why? And what may the
# report say about correctness that a table from one target may not?
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. The rows count different things (cycles, instructions, nanoseconds of the PC); only the AVR ones are times after division by
#    the clock; sorting mixes units. AArch64's figure is the time of an emulator on a PC.
# 2. The two ATmegas compare (same unit, same clock); M4, M7, M55 compare as instruction counts only: M55 was compiled without vector
#    instructions and other code, and clock, caches and issue width are missing, so neither is "slower".
# 3. All six give the same bytes for the same vectors, on machines that differ in the width of int, the sign of char and address
#    spaces; one target cannot show that, and even six do not show it for vectors that were not sent.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
# C leaves `int`, `char` and the place of constants to the machine; types with a width and one way to read constants take them back. Equal
# bytes on six targets are a fact, and a table of six counts is not yet a comparison.
#
# | here | elsewhere |
# |---|---|
# | `mlk_rom_i8` | `PROGMEM` and `pgm_read_byte` of avr-libc |
# | one kernel, six targets | reference kernels of TensorFlow Lite Micro, beside which stand CMSIS-NN and ESP-NN |
# | counts that say what they are | MLPerf Tiny, which takes times on boards only |
