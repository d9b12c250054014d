# %% [markdown]
# # Kit 00: Toolchain and Serial Line
#
# An Arduino Uno has 32 KiB of flash, 2 KiB of RAM and one serial line. A program for it is compiled on your machine, is
# written into its flash and from then on talks to you through that line alone. This kit goes that way once, with nothing
# learned in it yet, so that later on a fault is the network's or the chip's and not the cable's.
#
# **Afterwards you can** read a compile report and say what of a program is where, tell from a message which stage of a
# build failed, write C that does not fall over the width of an `int`, and say which of line, processor and RAM a plan
# will run out of first.
#
# **How to work.** Run the cells from the top. Twice you bet before you look. Three pieces are yours, each with a check;
# the last is C, which is compiled, run and asked over the line. Three answers use numbers of your own, and a decision
# closes the kit. Allow sixty minutes.
#
# **With a board or without.** Cells run on simavr, a simulator of the Uno's processor. For a board on a port start
# JupyterLab with `KITS_TARGET=/dev/ttyACM0 KITS_BOARD=uno`; the same cells then flash it and ask it. On a machine with
# neither, cells that need them say what is missing (`make kits` installs it), and all else works: your program is graded
# on the simulator in any case.

# %%
import struct
import time

from IPython.display import display

from boardkit import Link, LivePlot, compile_sketch, data, memory_map, open_target
from boardkit.elf import sections
from boardkit.notebook import attempt, chosen
from mlsysbook import Firmware, answer, case, check, decision, predict, reveal, variant

TARGET, BOARD = chosen("simavr:atmega328p")
UNO = {"flash": 32_256, "ram": 2_048, "clock": 16_000_000}  # B, B, Hz; ATmega328P data sheet, less 512 B of boot loader

# %% variants
import itertools

from mlsysbook import Decision, Key, Mistake

LIMITS = ("line", "processor", "RAM")
STACK = 200  # B that calls, and interrupts on top of them, need below all variables


def shares(v):
    """How much of the line, the processor and the RAM a logger takes, 1 for all of it."""
    baud, rate = v["baud"], v["rate"]
    return {"line": rate * v["characters"] * 10 / baud, "processor": rate * v["cycles"] / UNO["clock"],
            "RAM": (v["static"] + v["buffer"] + v["table"] + STACK) / UNO["ram"]}


def pool():
    found = {name: [] for name in LIMITS}
    for baud, rate, characters, cycles, buffer, table in itertools.product(
            (9_600, 19_200, 57_600, 115_200), (25, 50, 100, 200), (12, 24, 31), (9_000, 42_000, 150_000, 290_000), (128, 320),
            (96, 400, 720)):
        v = {"baud": baud, "rate": rate, "characters": characters, "cycles": cycles, "buffer": buffer, "table": table,
             "static": 180 + (7 * rate + 3 * characters + baud // 600) % 61}
        each = shares(v)
        first, second, third = sorted(each.values(), reverse=True)
        if 0.45 < first < 0.97 and first > 1.3 * second and third > 0.04 and second > 1.1 * third:
            found[max(each, key=each.get)].append(v)
    for name in LIMITS:
        step = max(1, len(found[name]) // 8)
        yield from found[name][::step][:8]


# %%
mine = variant()

# %% [markdown]
# ## 1. From text to bytes
# `compile_sketch` gives `kits/sketches/echo`, which sends back every byte, to the compiler of your target. What comes
# out is a report: the compiler and its version, since sizes hang on it; flash and RAM, of how much; complaints with
# file and line; and the program itself, an ELF file.

# %% show
report = attempt(compile_sketch, "echo", BOARD)
if report:
    print(report)
    for name, size, flags in sections(report.elf):
        print(f"{name:<28} {size:>6} B  {flags}")

# %% [markdown]
# An ELF file is made of **sections**. Flag `A` is for those that take room in the running program; the others, debugging
# notes mostly, stay on your disk. `W` may be written while it runs, `N` has no bytes in the file.
#
# | section | holds | flags | flash | RAM |
# |---|---|---|---|---|
# | `.text` | code, constants that stay in flash | A | yes | |
# | `.data` | variables with a first value | AW | yes: the first values have to come from somewhere | yes |
# | `.bss` | variables that start at zero | AWN | | yes |
#
# For `echo` that is 1550 + 18 bytes of flash and 18 + 168 of RAM, most of it the buffers of Arduino's serial port.
# Write the two sums. Names are no guide, since a program can name its sections as it likes: go by the flags. What may
# not be written stays in flash, what may be written and has bytes in the file is in both.


# %% solution="memory_of"
def memory_of(sections):
    """Flash and RAM of a program -> (bytes, bytes). sections: list of (name, bytes, flags)."""
    ### BEGIN SOLUTION
    held = [(size, flags) for _, size, flags in sections if "A" in flags]
    flash = sum(size for size, flags in held if "N" not in flags)
    ram = sum(size for size, flags in held if "W" in flags)
    return flash, ram
    ### END SOLUTION


# %% check="memory_of" points=4
check("memory_of", [
    case([(".data", 18, "AW"), (".text", 1550, "A"), (".bss", 168, "AWN"), (".debug_info", 1524, "")]),
    case([(".text", 400, "A"), (".comment", 17, "")]),
], compare="value")


# %% hidden="memory_of"
def cases(rng):
    def sizes(n):
        return [int(x) for x in rng.integers(2, 9000, n)]

    for _ in range(4):
        a, b, c, d = sizes(4)
        yield case([(".text", a, "A"), (".data", b, "AW"), (".bss", c, "AWN"), (".debug_line", d, "")], behaviour="code, data, zeros")
    for _ in range(2):
        a, b, c = sizes(3)
        yield case([(".data", a, "AWN"), (".quiet", b, "AW"), (".bss", c, "A")], behaviour="flags count, names do not")
    for _ in range(2):
        a, b, c = sizes(3)
        yield case([(".stab", a, ""), (".noinit", b, "AWN"), (".buffer", c, "AWN")], behaviour="several of a kind, or none")
    yield case([], behaviour="several of a kind, or none")


# %% [markdown]
# ### A constant table
# Say a sketch has `const uint8_t table[600]`, which nothing ever writes to. An AVR has two address spaces, and its
# ordinary loads reach RAM only. How many bytes of RAM does the table take? Bet, with a low and a high value between
# which the truth should lie nine times in ten; half of the point is for betting, half for an interval that is narrow
# and holds it.

# %% predict="table" points=1 unit="B"
# predict("table", "... B", low="... B", high="... B")
### BEGIN SOLUTION
predict("table", "600 B", low="598 B", high="602 B")
### END SOLUTION


# %% key="table"
def key(v):
    return Key(600, "B")  # tests/kits/test_notebooks.py compiles the two programs below


# %%
def with_table(place):
    """C of a lamp whose brightness comes from a table of 600 bytes that is declared with `place`."""
    read = "mlk_rom_u8(table + t % 600)" if place else "table[t % 600]"
    return f"""
static const uint8_t table[600] {place} = {{ {", ".join(str(i * i % 251) for i in range(600))} }};
static uint8_t led_at(uint32_t t, uint16_t on, uint16_t off, uint8_t times)
{{
    (void)on, (void)off, (void)times;
    return {read} > 127;
}}
"""


# %% show
plain, stays = (attempt(compile_sketch, "blink", BOARD, files={"led.h": with_table(place)}) for place in ("", "MLK_ROM"))
if plain and stays:
    if plain.ram > stays.ram:  # an Arm has one address space
        reveal("table", f"{plain.ram - stays.ram} B")
    print(f"const uint8_t table[600]           RAM {plain.ram:>5} B, flash {plain.flash:>5} B")
    print(f"const uint8_t table[600] MLK_ROM   RAM {stays.ram:>5} B, flash {stays.flash:>5} B")
memory_map(plain) if plain else None

# %% [markdown]
# `const` is a promise to the compiler, not an address. At the start the whole table is copied from flash to RAM, so it
# takes both. `MLK_ROM` leaves it in flash, and then it must be read by an instruction of its own, `mlk_rom_u8(table +
# i)`, which takes a cycle longer. On an Arm, which has one address space, both vanish. Weights of a network are such a
# table.
#
# ## 2. The line
# At 115,200 baud a byte is ten bits on the line, a start, eight of data and a stop: 87 µs, or 1,389 cycles of the
# processor. You send `echo` a line of 40 bytes. How long is it from the **end of your last byte** to the end of the last
# byte that comes back? The simulator counts cycles from outside; here they are as time, at 16 MHz.

# %% predict="turn" points=1 unit="s"
# predict("turn", "... us", low="... us", high="... us")
### BEGIN SOLUTION
predict("turn", "380 us", low="375 us", high="390 us")
### END SOLUTION


# %% key="turn"
def key(v):
    cycles = 6_120  # simavr 1.6, avr-gcc 5.4.0; tests/kits/test_notebooks.py counts them again
    return Key(cycles / UNO["clock"], "s")


# %% show
def turn(size):
    """Cycles from the end of a line of `size` bytes to the end of its echo; None on a target that counts none."""
    with open_target(TARGET, firmware=report) as line:
        line.serial.write(b"x" * (size - 1) + b"\n")
        line.serial.readline()
    return line.counts().turns[0] if line.counts().turns else None


if report and (taken := attempt(turn, 40)):
    reveal("turn", f"{taken / UNO['clock'] * 1e6:.4g} us")
    for size in (2, 10, 40, 64):
        there, back = 10 * size / 115_200, turn(size) / UNO["clock"]
        print(f"{size:>3} bytes there: {1e6 * there:>6.0f} us; after their end, back in {1e6 * back:>4.0f} us")

# %% [markdown]
# Who expected 40 × 87 µs = 3.5 ms thought of a letter that is read before it is answered. `echo` answers each byte as it
# comes, and the line carries both directions at once, so 39 of the 40 answers were on their way already. The same holds
# for a network that begins before its input is complete. What remains is the last byte, and what answers fell behind.
#
# ### Numbers as they come
# Text is the simplest protocol that a plotter reads. A ride in a car, sampled at 50 Hz by a simulated accelerometer, goes
# through `echo` a row at a time and is drawn as it comes back.

# %% show
def ride():
    """Send a window of motion through `echo`, one row every 20 ms, and draw what comes back -> one sentence."""
    windows = data.motions(8, seed=3)
    rows = windows.x[windows.y == windows.classes.index("terrestrial")][0]
    with open_target(TARGET, firmware=report, timeout=0.2) as line:
        plot = LivePlot(line, ("x", "y", "z"), seconds=30)
        display(plot)
        for row in rows:
            line.serial.write((" ".join(f"{v:.2f}" for v in row) + "\n").encode())
            time.sleep(0.02)
        for _ in range(100):
            if len(plot.rows) == len(rows):
                break
            time.sleep(0.05)
        plot.stop()
    return plot.text


if report:
    print(attempt(ride))

# %% [markdown]
# ### When the compiler refuses
# A build has stages, and a message tells which one failed, so where to look:
#
# | kind | stage | it says |
# |---|---|---|
# | `"no file"` | preprocessor | `pattern.h: No such file or directory` |
# | `"syntax"` | parser | `expected ',' or ';' before 'return'` |
# | `"no name"` | compiler | C++: `'perod' was not declared in this scope`; C: `'perod' undeclared (first use in this function)` |
# | `"no function"` | linker | ``undefined reference to `pattern(unsigned long)'`` |
# | `"no room"` | linker | `the program does not fit in memory: ...`, or `size of array 'table' is too large` |
# | `"other"` | | anything else |
#
# One mistake makes many messages, and the first **error** is the one to mend: those after it may be its echoes.
# Warnings do not stop a build. Write what a student reads first: kind, file and line of the first error, or None where
# there is none.


# %% solution="first_fault"
def first_fault(messages):
    """The first error of a build -> (kind, file, line), or None.

    messages: list of (severity, message, file, line), severity "error" or "warning"; file is "" and line 0 where it has none.
    """
    ### BEGIN SOLUTION
    marks = {"No such file": "no file", "expected": "syntax", "was not declared": "no name", "undeclared": "no name",
             "undefined reference": "no function", "does not fit": "no room", "is too large": "no room"}
    for severity, message, file, line in messages:
        if severity == "error":
            return next((kind for mark, kind in marks.items() if mark in message), "other"), file, line
    return None
    ### END SOLUTION


# %% check="first_fault" points=5
check("first_fault", [
    case([("error", "expected ',' or ';' before 'return'", "led.h", 4)]),
    case([("warning", "unused variable 'period'", "led.h", 3), ("error", "pattern.h: No such file or directory", "led.h", 1)]),
    case([("error", "undefined reference to `pattern(unsigned long)'", "", 0), ("warning", "unused parameter 't'", "led.h", 1)]),
    case([("warning", "unused parameter 'off' [-Wunused-parameter]", "led.h", 1)]),
])


# %% hidden="first_fault"
def cases(rng):
    def word():
        return "".join(rng.choice(list("abcdfgklmnoprstu"), 6))

    def at():
        return f"{word()}.h", int(rng.integers(1, 90))

    def errors():
        name = word()
        return [("error", f"'{name}' was not declared in this scope", *at()),
                ("error", f"'{name}' undeclared (first use in this function)", *at()),
                ("error", f"undefined reference to `{name}'", "", 0), ("error", f"{name}.h: No such file or directory", *at()),
                ("error", f"expected '{rng.choice(list(';),'))}' before '{name}'", *at()),
                ("error", f"the program does not fit in memory: address 0x80{rng.integers(1000, 9000)} is not within region `data'", "", 0),
                ("error", f"size of array '{name}' is too large", *at())]

    for one in errors():
        yield case([one], behaviour="each stage by its words")
    yield case([errors()[0], *errors()[2:5]], behaviour="the first error, whatever comes after it")
    yield case(errors()[3:], behaviour="the first error, whatever comes after it")
    for one in errors()[1:6:2]:
        doubt = ("warning", f"expected '{word()}', '{word()}' is too large to be sure", *at())
        yield case([doubt, one], behaviour="warnings are passed over")
    yield case([("warning", f"unused variable '{word()}'", *at())], behaviour="a build without errors has no fault")
    yield case([], behaviour="a build without errors has no fault")
    for text in (f"invalid conversion from 'int' to '{word()}*'", f"redefinition of 'int {word()}'", "lvalue required as left operand"):
        yield case([("error", text, *at())], behaviour="what is none of these is other")


# %% [markdown]
# ## 3. A lamp that is told when to be lit
# `kits/sketches/blink` listens on the line. Command `P` plays a pattern on the board's lamp: lit for `on` ms, dark for
# `off` ms, so many `times`, then dark. Whether the lamp is lit at a moment is asked of one function, which is yours.
# Its first version is below. Compile it, let your `first_fault` read the complaints, and look at what it means.

# %%
FIRST = """
static uint8_t led_at(uint32_t t, uint16_t on, uint16_t off, uint8_t times)
{
    int period = on + off
    if (t >= perod * times) return 0;
    return t % period < on;
}
"""

# %% show
failed = attempt(compile_sketch, "blink", BOARD, files={"led.h": FIRST}, check=False)
if failed:
    print(failed)
    said = [(d.severity, d.message, d.file, d.line) for d in failed.diagnostics]
    for message in said[:5]:
        print("  ", *message)
    print("the first fault:", first_fault(said))

# %% [markdown]
# Two faults the compiler sees, the second of them once the first is mended. A third it does not: on an AVR **an `int`
# has 16 bits**. `on` and `off` go up to 65,535 ms each, so their sum goes up to 131,070 and `int` keeps what is left of
# it modulo 65,536, at best. An expression is computed in the width of its operands, not of its destination: `uint32_t p
# = on + off;` is too late, since the sum has been cut by then. One operand must be widened **before** the addition:
# `(uint32_t)on + off`. Your desktop, whose `int` has 32 bits, will never show you this fault.
#
# Return the mended C. The lamp is lit from 0 to `on` - 1 ms, dark for `off` ms, and so on; after `times` periods it is
# dark. `on`, `off` and `times` may each be 0. An answer may take 32,000 cycles, of which the line has about 15,300.


# %% solution="led_text"
def led_text():
    """C with `static uint8_t led_at(uint32_t t, uint16_t on, uint16_t off, uint8_t times)`: 1 if the lamp is lit at t ms, else 0."""
    ### BEGIN SOLUTION
    return """
static uint8_t led_at(uint32_t t, uint16_t on, uint16_t off, uint8_t times)
{
    const uint32_t period = (uint32_t)on + off;
    if (t >= period * times) return 0;
    return t % period < on;
}
"""
    ### END SOLUTION


# %% check="led" points=9 covers="led_text"
def led_program():
    """What the program is built of."""
    return {"led.h": led_text()}


def lit(product, on, off, times, t):
    """The same in Python, whose integers have no width."""
    return int(t < (on + off) * times and t % (on + off) < on)


def asked(link, on, off, times, t):
    """The question as a frame: numbers with their high byte first."""
    return link.call("L", struct.pack(">HHBI", on, off, times, t))[0]


check("led", [case(100, 50, 3, 0), case(100, 50, 3, 149), case(100, 50, 3, 450), case(40_000, 30_000, 2, 69_999)], call=led_program,
      firmware=Firmware("blink", "simavr:atmega328p", "led.h", lit, cycles=32_000, ask=asked))


# %% hidden="led"
def cases(rng):
    for _ in range(5):
        on, off, times = int(rng.integers(20, 900)), int(rng.integers(20, 900)), int(rng.integers(2, 30))
        k = int(rng.integers(1, times))
        for t in (k * (on + off) - 1, k * (on + off), k * (on + off) + on - 1, k * (on + off) + on):
            yield case(on, off, times, t, behaviour="lit and dark at the edges of a period")
        yield case(on, off, times, times * (on + off), behaviour="dark when it is over")
        yield case(on, off, times, times * (on + off) + on // 2, behaviour="dark when it is over")
    for _ in range(4):
        on, off = (int(x) for x in rng.integers(33_000, 65_000, 2))
        yield case(on, off, 3, on + off + on // 2, behaviour="a period of more than 16 bits")
        yield case(on, off, 3, on + off - 1, behaviour="a period of more than 16 bits")
    for _ in range(3):
        on, off, times = int(rng.integers(300, 400)), int(rng.integers(300, 400)), int(rng.integers(200, 256))
        yield case(on, off, times, (on + off) * (times - 1) + 5, behaviour="a whole of more than 16 bits")
    yield case(0, 0, 5, 0, behaviour="nothing of 0")
    yield case(0, 70, 5, 75, behaviour="nothing of 0")
    yield case(70, 0, 5, 75, behaviour="nothing of 0")
    yield case(70, 70, 0, 0, behaviour="nothing of 0")


# %% [markdown]
# Let it play. On a board, watch the lamp; on the simulator, time is the simulator's, and 900 ms of it pass in a
# fraction.

# %% show
def play(on, off, times):
    """Play a pattern -> (changes of the lamp, ms on the target's own clock)."""
    program = compile_sketch("blink", BOARD, files={"led.h": led_text()})
    with open_target(TARGET, firmware=program) as line:
        got = Link(line.serial).call("P", struct.pack(">HHB", on, off, times))
    return struct.unpack(">HI", got)


if played := attempt(play, 200, 100, 3):
    print(f"the lamp changed {played[0]} times in {played[1]} ms")

# %% [markdown]
# ## 4. A logger
# Your Uno is to send samples of a sensor as text while it computes something from them. The plan in `mine`: `rate`
# samples a second, each `characters` bytes on the line at `baud` baud and `cycles` cycles of work; `static` bytes of
# variables that the program has anyway, a `buffer`, a constant `table` declared without `MLK_ROM`, and 200 B for the
# stack (bytes all).

# %% show
for name, value in mine.items():
    print(f"{name:<12} {value:>9,}")

# %% [markdown]
# How much of each is taken, in per cent: of the line's time, of the processor's cycles, of the 2,048 bytes of RAM?

# %% answer="line_share" points=2
line_share = ""  # such as "40 %"
### BEGIN SOLUTION
line_share = f"{100 * mine['rate'] * mine['characters'] * 10 / mine['baud']:.6g} %"
### END SOLUTION


# %% key="line_share"
def key(v):
    right = shares(v)["line"]
    return Key(right, "%", tol=0.01, mistakes=(
        Mistake(0.8 * right, 0.5, "that is eight bits a byte; on the line there is a start bit and a stop bit as well"),
        Mistake(right / 10, 0.25, "baud counts bits, and a character has ten of them"),
    ))


# %% answer="processor_share" points=2
processor_share = ""  # such as "40 %"
### BEGIN SOLUTION
processor_share = f"{100 * mine['rate'] * mine['cycles'] / UNO['clock']:.6g} %"
### END SOLUTION


# %% key="processor_share"
def key(v):
    right = shares(v)["processor"]
    return Key(right, "%", tol=0.01, mistakes=(
        Mistake(right / v["rate"], 0.25, "that is one sample; there are many in a second"),
    ))


# %% answer="ram_share" points=2
ram_share = ""  # such as "40 %"
### BEGIN SOLUTION
ram_share = f"{100 * (mine['static'] + mine['buffer'] + mine['table'] + 200) / UNO['ram']:.6g} %"
### END SOLUTION


# %% key="ram_share"
def key(v):
    right = shares(v)["RAM"]
    return Key(right, "%", tol=0.01, mistakes=(
        Mistake(right - v["table"] / UNO["ram"], 0.5, "a constant table without MLK_ROM is copied to RAM"),
        Mistake(right - STACK / UNO["ram"], 0.5, "the stack is in the same RAM, and no compile report shows it"),
    ))


# %% [markdown]
# ### Decide
# Which limit is nearest, "line", "processor" or "RAM", and what would you change first? Name the three answers that
# show it, the alternative that you turned down, and what could prove you wrong. Half of the points are for the limit, a
# third for the answers.

# %% decision="logger" points=3
# logger = decision(claim="...", binding="...", evidence=("...", "...", "..."), rejected="...", risk="...")
### BEGIN SOLUTION
taken = {"line": float(line_share.split()[0]), "processor": float(processor_share.split()[0]), "RAM": float(ram_share.split()[0])}
logger = decision(
    claim="What has the largest share is what the next wish will exceed",
    binding=max(taken, key=taken.get),
    evidence=("line_share", "processor_share", "ram_share"),
    rejected="A faster processor leaves the line and the RAM as they are",
    risk="The stack may be deeper than the 200 bytes that were assumed",
)
### END SOLUTION


# %% key="logger"
def key(v):
    each = shares(v)
    binding = max(each, key=each.get)
    second = sorted(each, key=each.get)[-2]
    return Decision(binding, LIMITS, {second: f"it comes second, at {each[second]:.0%}; {binding} is at {each[binding]:.0%}"})


# %% [markdown] rubric="stack" points=4
# The compile report says "RAM 90 %" and the build is a success; on the board the program starts, runs for a minute, and
# then sends nonsense. Say what probably happened, why no stage of the build could tell you, and name two measurements
# or changes that would show it or prevent it, each with a number for your plan. Five sentences at most.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. The stack grew down into variables (or a buffer overran): RAM at run time is more than what the report counts.
# 2. The compiler knows static sizes only; the depth of calls and of interrupts depends on what happens while it runs.
# 3. A measurement: fill free RAM with a pattern and look how much of it is left, or read the lowest stack pointer; with
#    a number.
# 4. A change: the table to flash with MLK_ROM, a smaller buffer, shallower calls; with the bytes that it frees in the
#    writer's plan.
# ### END MARK SCHEME
