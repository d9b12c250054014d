# %% [markdown]
# # Kit 02: Signals in Fixed Point
#
# A microphone gives 8,000 integers a second, and a small network wants a handful of numbers a frame: how loud is each
# octave? Between them stand a window, a Fourier transform, a power and a logarithm. In floats that is a line of NumPy;
# an Uno has no floats but those that a library computes, at several times the cycles of an integer. So it is done in
# integers, and the C on the chip gives the same bits as your NumPy, or the network is fed something that it was not
# trained on.
#
# **Afterwards you can** compute with Q15 numbers, say where a product or a sum leaves its 16 bits and what happens
# then, check a front end bit for bit, and say which of processor, RAM and latency decides the size of a frame.
#
# **How to work.** Run the cells from the top. Four pieces of Python are yours, then the same in C, three short
# functions; twice you bet before you look. Three answers use numbers of your own, and a decision closes the kit. Allow
# seventy-five minutes.
#
# **With a board or without.** The cells run on simavr. For a board start JupyterLab with `KITS_TARGET=/dev/ttyACM0
# KITS_BOARD=uno`; for an Arm, `KITS_TARGET=qemu:cortex-m4`. Without compilers the Python part works, and the other
# cells say what is missing; `make kits` installs it.

# %%
import struct

import numpy as np

from boardkit import Link, LogMel, compile_sketch, data, memory_map, open_target
from boardkit.dsp import hann, twiddles
from boardkit.export import array
from boardkit.notebook import attempt, chosen
from mlsysbook import Firmware, answer, case, check, decision, predict, reveal, variant

TARGET, BOARD = chosen("simavr:atmega328p")
FRAME, BANDS = 64, 5
WINDOW, TWIDDLES = hann(FRAME), twiddles(FRAME)  # int16 (64,), and (32, 2): cos and -sin of 2 pi i / 64
RATE = 8_000.0  # Hz

# %% variants
import itertools
from math import log2

from mlsysbook import Decision, Key, Mistake

LIMITS = ("processor", "RAM", "latency")
CLOCK, RAM, STACK = 16e6, 2_048, 200  # Hz, B, B


def cycles_of(v):
    return v["butterfly"] * v["size"] / 2 * log2(v["size"]) + v["sample"] * v["size"]


def shares(v):
    """How much of the processor, the RAM and the deadline a front end takes; 1 for all of it."""
    return {"processor": v["rate"] / v["hop"] * cycles_of(v) / CLOCK, "RAM": (6 * v["size"] + v["other_ram"] + STACK) / RAM,
            "latency": (v["size"] / v["rate"] + cycles_of(v) / CLOCK) / (v["deadline_ms"] / 1e3)}


def pool():
    found = {name: [] for name in LIMITS}
    for rate, size, part, butterfly, deadline in itertools.product(
            (500, 1_000, 2_000, 4_000, 8_000), (32, 64, 128, 256), (1, 2, 4), (450, 620, 800), (20, 50, 100, 200, 500)):
        v = {"rate": rate, "size": size, "hop": size // part, "butterfly": butterfly, "sample": 90 + butterfly // 10,
             "other_ram": 160 + (size + deadline + butterfly // 7) % 90, "deadline_ms": deadline}
        each = shares(v)
        first, second, third = sorted(each.values(), reverse=True)
        if 0.45 < first < 0.96 and first > 1.3 * second and second > 1.1 * third and third > 0.03:
            found[max(each, key=each.get)].append(v)
    for name in LIMITS:
        step = max(1, len(found[name]) // 8)
        yield from found[name][::step][:8]


# %%
mine = variant()

# %% [markdown]
# ## 1. Fractions in 16 bits
# A **Q15** number is an int16 over 32,768: 0.5 is 16,384, and the range is from −1 to 1 − 2⁻¹⁵. +1 is not in it. So
# there are two ways to deal with what is too large. **Wrapping** keeps the low 16 bits, as an adder does by itself: 1.0
# becomes −1.0. **Saturation** stops at the end of the range: 1.0 becomes 0.99997. In a signal the first is a crack, the
# second a dent.
#
# The product of two Q15 numbers is an integer over 2³⁰. To get back to Q15, divide by 2¹⁵, to the nearest with halves
# **upwards**: add 2¹⁴, then shift right by 15, where the shift rounds down, for negative numbers too. Exactly one
# product does not fit: −1 × −1.


# %% solution="to_q15"
def to_q15(x):
    """Reals, an array -> int16, x 32768 to the nearest even for halves (np.rint), saturated."""
    ### BEGIN SOLUTION
    return np.clip(np.rint(np.asarray(x) * 32768), -32768, 32767).astype(np.int16)
    ### END SOLUTION


# %% check="to_q15" points=2
check("to_q15", [case(np.array([0.5, -1.0, 1.0, -3.0])), case(np.array([[0.25, -0.125]]))],
      forbid=("boardkit.dsp.q15",))


# %% hidden="to_q15"
def cases(rng):
    for _ in range(3):
        yield case(rng.uniform(-0.99, 0.99, 8), behaviour="to the nearest")
    yield case((rng.integers(-300, 300, 6) + 0.5) / 32768, behaviour="to the nearest")
    yield case(rng.uniform(1, 90, 5) * rng.choice([-1, 1], 5), behaviour="saturates at both ends")
    yield case(np.array([1.0, -1.0, 1 - 2.0**-16, 1e9]), behaviour="saturates at both ends")


# %% solution="mul_q15"
def mul_q15(a, b):
    """Products of int16 arrays, which broadcast -> int16: to the nearest, halves upwards, saturated."""
    ### BEGIN SOLUTION
    wide = (np.asarray(a, dtype=np.int64) * np.asarray(b, dtype=np.int64) + 16384) >> 15
    return np.clip(wide, -32768, 32767).astype(np.int16)
    ### END SOLUTION


# %% check="mul_q15" points=3
check("mul_q15", [
    case(np.array([16384, -16384, 3], np.int16), np.array([16384, 16384, 16384], np.int16)),
    case(np.array([-32768, 32767], np.int16), np.array([[-32768], [32767]], np.int16)),
], forbid=("boardkit.dsp.multiply_q15",))


# %% hidden="mul_q15"
def cases(rng):
    def words(*shape):
        return rng.integers(-32768, 32768, shape).astype(np.int16)

    for _ in range(4):
        yield case(words(9), words(9), behaviour="products of 32 bits, rounded")
    odd = (2 * rng.integers(-900, 900, 12) + 1).astype(np.int16)
    yield case(odd, np.full(12, 16384, np.int16), behaviour="halves go upwards, for both signs")
    yield case(-np.abs(odd), np.full(12, 16384, np.int16), behaviour="halves go upwards, for both signs")
    ends = np.array([-32768, -32768, 32767], np.int16), np.array([-32768, 32767, 32767], np.int16)
    yield case(*ends, behaviour="-1 x -1 saturates")
    yield case(words(3, 1), words(4), behaviour="shapes broadcast")


# %% [markdown]
# ## 2. A butterfly
# An FFT of 64 points is six stages of 32 butterflies. One takes two complex numbers $a$ and $b$ and a factor $w = c + i
# s$ on the unit circle, and gives $a + w b$ and $a - w b$. Each stage can double a number, six of them can take it 64
# times as far: it must not. So **each stage halves**, and the transform comes out divided by 64, which no sum of its
# input exceeds.
#
# $$r = (c\,b_r - s\,b_i + 2^{14}) \gg 15 \qquad m = (c\,b_i + s\,b_r + 2^{14}) \gg 15$$
#
# $$a_r' = \mathrm{sat}((a_r + r) \gg 1) \quad a_i' = \mathrm{sat}((a_i + m) \gg 1) \quad b_r' = \mathrm{sat}((a_r - r) \gg 1) \quad
# b_i' = \mathrm{sat}((a_i - m) \gg 1)$$
#
# $r$ and $m$ have up to 17 bits: 0.7 × 0.9 + 0.7 × 0.9 is more than 1. They are saturated only at the end, after the
# half.


# %% solution="butterfly"
def butterfly(ar, ai, br, bi, c, s):
    """int16 arrays of one shape, or that broadcast -> (ar, ai, br, bi) after the butterfly, int16 arrays."""
    ### BEGIN SOLUTION
    ar, ai, br, bi, c, s = (np.asarray(v, dtype=np.int64) for v in (ar, ai, br, bi, c, s))
    r = (c * br - s * bi + 16384) >> 15
    m = (c * bi + s * br + 16384) >> 15
    return tuple(np.clip(v >> 1, -32768, 32767).astype(np.int16) for v in (ar + r, ai + m, ar - r, ai - m))
    ### END SOLUTION


# %% check="butterfly" points=4
check("butterfly", [
    case(*(np.array([v], np.int16) for v in (1000, -1000, 500, 250, 32767, 0))),
    case(*(np.array([v], np.int16) for v in (30000, 0, 30000, -30000, 23170, 23170))),
])


# %% hidden="butterfly"
def cases(rng):
    def words(most, n):
        return [rng.integers(-most, most + 1, n).astype(np.int16) for _ in range(4)]

    def circle(n):
        angle = rng.uniform(0, 2 * np.pi, n)
        return np.rint(32767 * np.cos(angle)).astype(np.int16), np.rint(32767 * np.sin(angle)).astype(np.int16)

    for _ in range(3):
        yield case(*words(15_000, 8), *circle(8), behaviour="sum and difference, halved")
    for most in (3, 20):
        yield case(*words(most, 24), *circle(24), behaviour="small numbers, where rounding shows")
    full = [rng.choice(np.array([-32768, 32767], np.int16), 16) for _ in range(4)]
    yield case(*full, *circle(16), behaviour="full scale saturates after the half, not before")
    yield case(*(np.array([v], np.int16) for v in (32767, 32767, 32767, -32768, 23170, 23170)),
               behaviour="full scale saturates after the half, not before")


# %% [markdown]
# The transform around it is given: input in the order of reversed bits, then six stages of your butterfly.


# %%
ORDER = np.array([int(f"{i:06b}"[::-1], 2) for i in range(FRAME)])


def fft_q15(x):
    """FFT of int16 (64,), divided by 64 -> (re, im), int16 (64,)."""
    re, im = np.asarray(x, dtype=np.int16)[ORDER], np.zeros(FRAME, np.int16)
    half = 1
    while half < FRAME:
        c, s = TWIDDLES[:: FRAME // 2 // half][:half].T
        low = (np.arange(0, FRAME, 2 * half)[:, None] + np.arange(half)).ravel()
        high, turns = low + half, FRAME // 2 // half
        re[low], im[low], re[high], im[high] = butterfly(re[low], im[low], re[high], im[high], np.tile(c, turns), np.tile(s, turns))
        half *= 2
    return re, im


def tone(level, bin_=10.3):
    """A sine of 64 samples with an amplitude of `level`, 1 for full scale, between two bins."""
    return np.rint(32767 * level * np.sin(2 * np.pi * bin_ * np.arange(FRAME) / FRAME)).astype(np.int16)


def error(x):
    """Root mean square of what the integer FFT errs by, over that of the exact spectrum, for int16 (64,)."""
    re, im = fft_q15(x)
    exact = np.fft.fft(x) / FRAME
    return float(np.sqrt(np.mean(np.abs(re + 1j * im - exact) ** 2) / np.mean(np.abs(exact) ** 2)))


# %% [markdown]
# Sixteen bits are a step of 1 in 32,768, and each stage rounds. A sine at a hundredth of full scale, as speech at a
# distance is, goes through six halvings. By how many per cent does its spectrum err, root mean square over root mean
# square? Lock it, with a low and a high value between which the truth should lie nine times in ten.

# %% predict="error" points=1 unit="%"
# predict("error", "... %", low="... %", high="... %")
### BEGIN SOLUTION
predict("error", f"{100 * error(tone(0.01)):.4g} %", low=f"{99 * error(tone(0.01)):.4g} %", high=f"{101 * error(tone(0.01)):.4g} %")
### END SOLUTION


# %% key="error"
def key(v):
    return Key(error(tone(0.01)), "%")


# %% show
reveal("error", f"{100 * error(tone(0.01)):.3g} %")
for level in (1.0, 0.3, 0.1, 0.03, 0.01, 0.003):
    share = error(tone(level))
    print(f"amplitude {level:<6} of full scale: error {100 * share:8.3f} %, {-20 * np.log10(share):5.1f} dB below")

# %% [markdown]
# The error does not shrink with the signal: it is a floor of about one step, so each factor of ten in the amplitude
# costs 20 dB. That is what an automatic gain, or a block of numbers with a shared exponent, is for.
#
# ## 3. A logarithm by squaring
# Loudness is a logarithm, and 256 log₂ x is one in integers. Its whole part is the place of the highest bit: with $2^n
# \le x$, that is $n$. The rest is in the mantissa, $x / 2^n$ from 1 to 2, as a 16-bit integer $m$ over 2¹⁵, cut off.
# Squaring doubles a logarithm: if the square is 2 or more, the next binary digit is 1, and the square is halved; else
# it is 0.
#
# 1. $n$ = place of the highest bit; $m = x \cdot 2^{15 - n}$, rounded down; the result starts as $n$.
# 2. Eight times: $m \leftarrow m^2 \gg 15$. If $m \ge 65536$: bit 1, $m \leftarrow m \gg 1$; else bit 0. Result ← 2 ×
#    result + bit.
#
# 3 gives $n$ = 1, $m$ = 49152; its square is 73728, so a 1 and $m$ = 36864; then 41472, a 0; and after eight digits
# 405, which is 256 ×
# 1.582. log₂ 3 is 1.585. Zero gives 0.


# %% solution="log2_q8"
def log2_q8(x):
    """256 log2 of an int from 0 to 2^32 - 1, as above -> int."""
    ### BEGIN SOLUTION
    if x == 0:
        return 0
    n = int(x).bit_length() - 1
    m, log = (int(x) << 15) >> n, n
    for _ in range(8):
        m = m * m >> 15
        bit = m >> 16
        m >>= bit
        log = 2 * log + bit
    return log
    ### END SOLUTION


# %% check="log2_q8" points=4
check("log2_q8", [case(3), case(0), case(1), case(1000), case(2**32 - 1)], compare="value",
      forbid=("boardkit.dsp.log2",))


# %% hidden="log2_q8"
def cases(rng):
    for n in (5, 9, 14, 20, 27, 31):
        yield case(int(rng.integers(2**n + 1, 2 ** (n + 1))), behaviour="whole part and eight digits")
    for n in (1, 7, 16, 30):
        yield case(2**n, behaviour="powers of two, and 0")
        yield case(2**n - 1, behaviour="just below a power of two")
    yield case(0, behaviour="powers of two, and 0")


# %% [markdown]
# ## 4. The front end
# Window, transform, power, five octaves of bins (1, 2–3, 4–7, 8–15, 16–31), logarithm. The power of a band is at most
# the mean square of the frame, 2³⁰, so 32 bits hold it: that is Parseval's theorem, and the halvings pay for it.


# %%
def octaves(frame):
    """int16 (64,) -> list of five ints, 256 log2 of the power of each octave."""
    re, im = fft_q15(mul_q15(frame, WINDOW))
    power = re.astype(np.int64) ** 2 + im.astype(np.int64) ** 2
    return [log2_q8(int(power[1 << b : 2 << b].sum())) for b in range(BANDS)]


# %% show
words = data.keywords(4, seed=3)
for sound, label in zip(words.x, words.y, strict=True):
    half_rate = sound[::2][: 120 * FRAME].reshape(-1, FRAME)
    loud = half_rate[np.abs(half_rate).max(axis=1).argmax()]
    print(f"{words.classes[label]:<8} loudest frame, octaves from 125 Hz up: {octaves(loud)}")

# %% [markdown]
# ### What will it cost?
# The library has a front end of this kind, with mel bands: `kits/sketches/front`. For a frame of 64 and five bands it
# does a window, 192 butterflies of four products each, the power of 32 bins and the bands, in plain C. How long does an
# Uno at 16 MHz take for a frame? A product of 16 × 16 bits to 32 takes some 30 cycles. Lock it.

# %% predict="frame" points=1 unit="s"
# predict("frame", "... ms", low="... ms", high="... ms")
### BEGIN SOLUTION
predict("frame", "12.1 ms", low="12 ms", high="12.3 ms")
### END SOLUTION


# %% key="frame"
# simavr 1.6, arduino:avr 1.8.7, avr-gcc 5.4.0; tests/kits/test_notebooks.py counts them again.
SIMULATED = {"cycles": 194_079}


def key(v):
    return Key(SIMULATED["cycles"] / CLOCK, "s")


# %%
FRONT = LogMel(rate=8_000, size=FRAME, hop=32, bands=BANDS, low=125, high=4_000)
NOISE = np.random.default_rng(0).integers(-32768, 32768, FRAME).astype(np.int16)


def library_frame():
    """The library's front end on a frame of noise -> (ticks of the target, what they are, report)."""
    report = compile_sketch("front", BOARD, files={"front.h": FRONT.header()})
    with open_target(TARGET, firmware=report) as line:
        ticks = int.from_bytes(Link(line.serial).call("F", NOISE.astype("<i2").tobytes())[-4:], "big")
        return line.count(ticks), line.kind, report


# %% show
library = attempt(library_frame)
if library:
    print(f"{library[0]:,} {library[1]}; {library[2]}")
    if library[1] == "simulated cycles":
        reveal("frame", f"{library[0] / 16e6 * 1e3:.5g} ms")
memory_map(library[2]) if library else None

# %% [markdown]
# A thousand cycles a butterfly, all counted, of which the four products take an eighth. Where is the rest? An AVR
# shifts by one place in one instruction, a byte at a time. `x >> 15` for an `int32_t` is a loop of fifteen turns, each
# over four bytes. A shift by 16 is free: it takes the other two bytes. So $x \gg 15$ is the upper half doubled, with
# the top bit of the lower half below it.
#
# ## 5. The same in C
# Write the three in C, to the bit as your Python. What needs care:
#
# * `int` has 16 bits on an AVR. `a * b` of two `int16_t` is computed in 16 bits; `(int32_t)a * b` in 32.
# * The sum of two products fits in 32 bits, but only just: $2 \cdot 32767 \cdot 32768 + 2^{14} < 2^{31}$. Twiddles
#   never are −32,768.
# * $r$ and $m$ need more than 16 bits.
# * `m * m` in the logarithm reaches $2^{32} - 2^{17} + 1$: that is `uint32_t`, and a signed one overflows.
#
# An answer may take 235,000 cycles, of which line, frame and reordering have about 90,000: with a plain `>> 15` in
# the butterfly it takes some 18,000 more. `mlk_*` functions of the library are not in reach.

# %% solution="dsp_text"
def dsp_text():
    """C with three functions.

    static int16_t mul_q15(int16_t a, int16_t b);
    static void butterfly(int16_t *ar, int16_t *ai, int16_t *br, int16_t *bi, int16_t c, int16_t s);      in place
    static int16_t log2_q8(uint32_t x);
    """
    ### BEGIN SOLUTION
    return r"""
static int16_t sat(int32_t x) { return (int16_t)(x > 32767 ? 32767 : x < -32768 ? -32768 : x); }

static int16_t mul_q15(int16_t a, int16_t b) { return sat(((int32_t)a * b + 16384) >> 15); }

/* x >> 15: the upper half doubled, and the top bit of the lower one. */
static int32_t over(int32_t x) { return (x >> 16) * 2 + ((uint16_t)x >> 15); }

static void butterfly(int16_t *ar, int16_t *ai, int16_t *br, int16_t *bi, int16_t c, int16_t s)
{
    const int32_t r = over((int32_t)c * *br - (int32_t)s * *bi + 16384);
    const int32_t m = over((int32_t)c * *bi + (int32_t)s * *br + 16384);
    const int16_t a = *ar, b = *ai;
    *ar = sat((a + r) >> 1);
    *ai = sat((b + m) >> 1);
    *br = sat((a - r) >> 1);
    *bi = sat((b - m) >> 1);
}

static int16_t log2_q8(uint32_t x)
{
    if (!x) return 0;
    int16_t log = 31;
    while (!(x & 0x80000000UL)) x <<= 1, log--;
    uint32_t m = x >> 16;
    for (uint8_t i = 0; i < 8; i++) {
        m = m * m >> 15;
        const uint8_t bit = (uint8_t)(m >> 16);
        m >>= bit;
        log = (int16_t)(2 * log + bit);
    }
    return log;
}
"""
    ### END SOLUTION


# %%
def with_tables(text):
    """dsp.h: sizes, window and twiddles in flash, and the C."""
    if "#include" in text or "%:" in text or "mlk_" in text:
        raise ValueError("the three functions stand alone: leave #include and mlk_ out")
    tables = array("dsp_window", WINDOW, "int16_t") + array("dsp_twiddle", TWIDDLES, "int16_t")
    return f"#define FRAME {FRAME}\n#define BANDS {BANDS}\n{tables}{text}"


# %% check="spectrum" points=9 covers="dsp_text"
def spectrum_program():
    """What the program is built of."""
    return {"dsp.h": with_tables(dsp_text())}


def in_python(product, what, *args):
    """What it must answer, by the Python above."""
    if what == "product":
        return int(mul_q15(np.int16(args[0]), np.int16(args[1])))
    if what == "butterfly":
        return [int(v) for v in butterfly(*(np.int16(a) for a in args))]
    return log2_q8(args[0]) if what == "logarithm" else octaves(args[0])


def over_the_line(link, what, *args):
    """The question as a frame, numbers with their low byte first."""
    if what == "product":
        return struct.unpack("<h", link.call("M", struct.pack("<2h", *args)))[0]
    if what == "butterfly":
        return list(struct.unpack("<4h", link.call("B", struct.pack("<6h", *args))))
    if what == "logarithm":
        return struct.unpack("<h", link.call("G", struct.pack("<I", *args)))[0]
    return list(struct.unpack("<5h", link.call("S", args[0].astype("<i2").tobytes())[:10]))


check("spectrum", [
    case("product", 16384, -16384), case("butterfly", 30000, 0, 30000, -30000, 23170, 23170), case("logarithm", 1000),
    case("frame", tone(0.5)),
], call=spectrum_program, firmware=Firmware("spectrum", "simavr:atmega328p", "dsp.h", in_python, cycles=235_000, ask=over_the_line))


# %% hidden="spectrum"
def cases(rng):
    for most in (32767, 3000):
        yield case("frame", rng.integers(-most, most + 1, FRAME).astype(np.int16), behaviour="frames of noise")
    yield case("product", -32768, -32768, behaviour="products round and saturate")
    for _ in range(2):
        yield case("product", int(rng.integers(-32768, -20000)), int(rng.integers(20000, 32768)), behaviour="products round and saturate")
        yield case("product", -2 * int(rng.integers(1, 900)) - 1, 16384, behaviour="products round and saturate")
    for c, s in ((23170, 23170), (23170, -23170), (-23170, 23170)):
        full = [int(v) for v in rng.choice([-32768, 32767], 4)]
        yield case("butterfly", *full, c, s, behaviour="a butterfly at full scale")
    yield case("butterfly", 32767, -32768, 32767, -32768, 23170, 23170, behaviour="a butterfly at full scale")
    yield case("butterfly", -32768, 32767, 32767, 32767, -23170, 23170, behaviour="a butterfly at full scale")
    for x in (0, 1, 2**31, 2**32 - 1, int(rng.integers(2**30, 2**31)), int(rng.integers(3, 900))):
        yield case("logarithm", x, behaviour="logarithms from 0 to 2^32 - 1")
    yield case("frame", np.zeros(FRAME, np.int16), behaviour="silence, whispers and full scale")
    yield case("frame", rng.integers(-12, 13, FRAME).astype(np.int16), behaviour="silence, whispers and full scale")
    square = np.where(np.arange(FRAME) % int(rng.choice([4, 8, 16])) < 2, 32767, -32768)
    yield case("frame", square.astype(np.int16), behaviour="silence, whispers and full scale")


# %% show
def own_frame():
    """Your front end on the frame of noise -> (octaves, count, kind)."""
    report = compile_sketch("spectrum", BOARD, files={"dsp.h": with_tables(dsp_text())})
    with open_target(TARGET, firmware=report) as line:
        got = Link(line.serial).call("S", NOISE.astype("<i2").tobytes())
        return list(struct.unpack("<5h", got[:10])), line.count(int.from_bytes(got[10:], "big")), line.kind


own = attempt(own_frame)
if own:
    print(f"chip    {own[0]}\nPython  {octaves(NOISE)}\n{own[1]:,} {own[2]}, {own[1] / library[0]:.2f} of the library's front end")

# %% [markdown]
# ## 6. How long a frame?
# A longer frame tells closer tones apart, and costs. In `mine` is a plan: `rate` samples a second, a frame of `size`
# samples every `hop` samples, so that frames overlap. A butterfly takes `butterfly` cycles and there are N / 2 × log₂ N
# of them; everything else takes `sample` cycles a sample. RAM holds two arrays of the transform and the next frame as
# it fills, two bytes a number, `other_ram` bytes of variables, and 200 B of stack, of 2,048. A sound must be answered
# `deadline_ms` after it **began**, if it begins with a frame: the frame has to fill, then it is computed. The clock is
# 16 MHz.

# %% show
for name, value in mine.items():
    print(f"{name:<12} {value:>7,}")

# %% [markdown]
# How much is taken, in per cent: of the processor's cycles, of the RAM, of the deadline?

# %% answer="processor_share" points=1
processor_share = ""  # such as "40 %"
### BEGIN SOLUTION
work = mine["butterfly"] * mine["size"] / 2 * np.log2(mine["size"]) + mine["sample"] * mine["size"]
processor_share = f"{100 * mine['rate'] / mine['hop'] * work / 16e6:.6g} %"
### END SOLUTION


# %% key="processor_share"
def key(v):
    right = shares(v)["processor"]
    whole = v["rate"] / v["hop"] / CLOCK
    return Key(right, "%", tol=0.01, mistakes=tuple(m for m in (
        Mistake(right * v["hop"] / v["size"], 0.5, "frames overlap: there is one every hop, not every frame"),
        Mistake(2 * right - whole * v["sample"] * v["size"], 0.5, "a stage has N / 2 butterflies, not N"),
    ) if m.value != right))


# %% answer="ram_share" points=1
ram_share = ""  # such as "40 %"
### BEGIN SOLUTION
ram_share = f"{100 * (6 * mine['size'] + mine['other_ram'] + 200) / 2_048:.6g} %"
### END SOLUTION


# %% key="ram_share"
def key(v):
    right = shares(v)["RAM"]
    return Key(right, "%", tol=0.01, mistakes=(
        Mistake(right - 2 * v["size"] / RAM, 0.5, "there are three arrays: real and imaginary parts, and the frame that fills meanwhile"),
        Mistake(right - STACK / RAM, 0.5, "the stack is in the same RAM, and no compile report shows it"),
    ))


# %% answer="latency_share" points=1
latency_share = ""  # such as "40 %"
### BEGIN SOLUTION
latency_share = f"{100 * (mine['size'] / mine['rate'] + work / 16e6) / (mine['deadline_ms'] / 1e3):.6g} %"
### END SOLUTION


# %% key="latency_share"
def key(v):
    right, deadline = shares(v)["latency"], v["deadline_ms"] / 1e3
    return Key(right, "%", tol=0.01, mistakes=(
        Mistake(cycles_of(v) / CLOCK / deadline, 0.25, "the frame has to fill before anything can be computed"),
        Mistake(v["size"] / v["rate"] / deadline, 0.5, "that is the frame filling; the computation comes after it"),
    ))


# %% [markdown]
# ### Decide
# Which limit is nearest, "processor", "RAM" or "latency", and would you change the frame, the hop, the rate or the
# code? Name the three answers that show it, the alternative that you turned down, and what could prove you wrong.

# %% decision="front" points=3
# front = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
taken = {"processor": float(processor_share.split()[0]), "RAM": float(ram_share.split()[0]), "latency": float(latency_share.split()[0])}
front = decision(
    claim="The limit with the largest share decides the size of the frame",
    binding=max(taken, key=taken.get),
    evidence=("processor_share", "ram_share", "latency_share"),
    rejected="A slower sampling rate would lose the upper octave for good",
    risk="The network behind it needs cycles and RAM that are not counted here",
)
### END SOLUTION


# %% key="front"
def key(v):
    each = shares(v)
    binding, second = sorted(each, key=each.get)[:-3:-1]
    return Decision(binding, LIMITS, {second: f"it comes second, at {each[second]:.0%}; {binding} is at {each[binding]:.0%}"})


# %% [markdown] rubric="bits" points=4
# A colleague trains the network on octaves computed with `np.fft` in floats, and runs it behind your front end. "The
# difference is less than a per cent, nobody will notice." When is that right, and when not? Use your table of errors:
# at which amplitude, in numbers, do the two part? Name one change of the training and one of the front end that would
# close the gap, and what each costs. Five sentences at most.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. The floor is absolute: right for loud frames, wrong for quiet ones, with an amplitude and its error from the table.
# 2. The logarithm makes it worse: where the power of a band is a few steps, or 0, the feature jumps by hundreds.
# 3. Training: on the integer front end's own output (it is bit-exact in NumPy), or noise added at that level; cost: a
#    slower pipeline, or data of all levels.
# 4. Front end: a gain or a shared exponent before the transform, or 32-bit stages; with its cost in cycles or RAM.
# ### END MARK SCHEME
