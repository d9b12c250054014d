"""Time of an operator on a device, with its efficiency predicted from its shape.

    seconds = overlapped(arithmetic / (peak x efficiency of the shape), traffic / (bandwidth x reached share)) + launch

A matrix product is cut into tiles, and tiles into waves over the cores: tiles that stick out of the matrix and cores
without a tile in the last wave do nothing. Each tile waits for its first operands, then multiplies no faster than the
last-level cache delivers operands to its core, which a narrow tile asks more of, then writes what it has. Six constants a
device family say how much, fitted on sim/validation/calibration.toml only; everything else is the shape of the operator and
the figures of the device.
"""

from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache, reduce

import numpy as np

from .errors import unknown
from .graph import KINDS

# Rows and columns of an output tile: a library has many, among them narrow ones for narrow matrices, and picks the best, and so
# does this. Besides them their area and half their harmonic mean.
TILES = np.array([(m, n, m * n, m * n / (m + n)) for m, n in (
    (256, 128), (192, 128), (160, 128), (128, 128), (112, 128), (96, 128), (80, 128), (64, 128), (48, 128), (32, 128), (16, 128),
    (128, 256), (64, 256), (128, 192), (128, 96), (128, 64), (64, 64), (16, 64), (128, 32), (64, 32))])  # fmt: skip
AREA = 128.0 * 128.0  # of the tile that the constant `inner` is meant for
ATTENTION = KINDS.index("attention")
# What a framework's host spends on an operator of a graph that it launches by hand, in seconds: two or three kernels at the 5 to
# 20 us that Meta's HolisticTraceAnalysis finds usual for a launch on the host (docs, CUDA kernel launch statistics).
HOST = 25e-6
LAUNCH = ("eager", "graph")
# FLOP a cycle and core in 16 bits, and the clock, of A100, L40S, MI300X and Orin Nano, whose families have others too.
FITTED = {"nvidia-ampere": (2048.0, 1.41e9), "nvidia-ada": (1024.0, 2.52e9), "amd-cdna": (2048.0, 2.1e9), "jetson": (2048.0, 0.625e9)}
# Kernels of an operator that an eager framework runs: two or three (HOST), each with its own gap behind it.
KERNELS = 2.5
DRAM = 60e-12  # J a byte of GDDR6, which the cards with a measured power limit have: 7.5 pJ a bit (Micron, ultra-bandwidth solutions)
SPLIT = 512.0  # a product with few tiles is cut along k too, into parts of at least this length
KEYS = 128.0  # attention of few queries is cut into parts of at least that many keys, a block of FlashAttention's kernels
# int4-g32: a 16-bit scale and offset for every 32 weights besides, int4-g128 for every 128; -sym-: a scale alone (Q4_0 of GGML,
# q4f16 of MLC). nvfp4: an 8-bit scale for every 16.
BYTES = {"fp64": 8.0, "fp32": 4.0, "tf32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5, "fp4": 0.5,
         "int4-g32": 0.5 + 4 / 32, "int4-g128": 0.5 + 4 / 128, "int4-sym-g32": 0.5 + 2 / 32, "int4-sym-g128": 0.5 + 2 / 128,
         "nvfp4": 0.5 + 1 / 16}  # fmt: skip


@dataclass(frozen=True)
class Constants:
    """What is calibrated for a family of devices, and nothing else is."""

    compute: float  # share of the printed peak that a large product reaches
    tile: float  # harmonic size of a tile whose operands take as long to read from the last-level cache as its arithmetic at the peak
    inner: float  # length of the inner dimension whose arithmetic takes as long as filling the pipeline of a tile
    memory: float  # share of the printed bandwidth that a long stream reaches
    launch: float  # s from the end of one operator to the start of the next
    attention: float  # efficiency of the attention kernel, relative to a product of that size


_TRIAL = {}  # family -> Constants, kind of link -> share: what trial() puts in the place of the calibrated ones


@contextmanager
def trial(**values):
    """Other constants while the block runs: trial(**{"nvidia-hopper": Constants(...), "nvlink": 0.7}). A fit needs this."""
    before = dict(_TRIAL)
    _TRIAL.update(values)
    try:
        yield
    finally:
        _TRIAL.clear()
        _TRIAL.update(before)


def constants(family):
    """The calibrated constants of a device family. Raises UnknownName."""
    return _TRIAL[family] if family in _TRIAL else _calibrated(family)


@cache
def _calibrated(family):
    from .tables import table

    families = table("calibration.toml")
    if family not in families.names:
        raise unknown("device family", family, families.names)
    found = families.read(family)
    return Constants(**{f.name: float(found[f.name]) for f in fields(Constants)})


def link_share(kind):
    """Share of a fabric's printed rate that long messages reach, calibrated for each kind of fabric. Raises UnknownName."""
    return _TRIAL[kind] if kind in _TRIAL else _shared("links", "kind of link", kind)


def framework(name):
    """What is calibrated for frameworks on any device: "passes", the share of a long stream's bandwidth that an operator of a
    framework reaches between two products; "loader", s of a host's core to read, decode and augment an image.
    """
    return _TRIAL[name] if name in _TRIAL else _shared("frameworks", "constant of frameworks", name)


@cache
def _shared(section, what, name):
    from .tables import table

    known = table("calibration.toml").read(section)
    if name not in known:
        raise unknown(what, name, list(known))
    return float(known[name])


def width(precision, name="precision"):
    """Bytes of one number. Raises UnknownName."""
    if not isinstance(precision, str) or precision not in BYTES:
        raise unknown(name, precision, list(BYTES))
    return BYTES[precision]


def lanes(device):
    """How many tiles are worked on at a time: the cores of the device, one where their number is not known."""
    return device.cores.value if device.cores else 1.0


def vector_rate(device, precision):
    """Peak FLOP/s of work that no matrix unit does: the fp32 rate where one is printed, else the only rate there is."""
    return device.peak["fp32"].value if "fp32" in device.peak else device.rate(precision)


def ops_pace(device):
    """FLOP a cycle and core in 16 bits over those of the devices that the constants of its family were fitted on.

    Within a family caches deliver as many bytes a cycle to a core, and a pipeline fills in as many cycles, whatever the
    matrix units of the core can do meanwhile: those of a GeForce do a quarter or half of what its larger sibling's do.
    """
    if device.family not in FITTED:
        return 1.0
    fitted = FITTED[device.family][0]
    return next((device.ops[p].value for p in ("fp16", "bf16") if p in device.ops), fitted) / fitted


def gap(device, c):
    """Seconds from the end of an operator to the start of the next: cycles of the device's own clock, fitted at that of FITTED."""
    if device.family not in FITTED or device.clock is None:
        return c.launch
    return c.launch * FITTED[device.family][1] / device.clock.value


def loading_rate(device):
    """FLOP/s of vector units that load both operands of each multiply-add: 32 numbers of 32 bits a cycle and core.

    A quarter of the vector rate where clock or cores are not known. Source: CUDA C++ Programming Guide and the white papers of
    the architectures (128 B a cycle from the first cache of a multiprocessor).
    """
    if device.clock is None or device.cores is None:
        return vector_rate(device, "fp32" if "fp32" in device.peak else next(iter(device.peak))) / 4.0
    return device.cores.value * device.clock.value * 32.0


def sixteen_bit_rate(device, precision):
    """Peak FLOP/s in fp16 or bf16, which the constants are meant for; that of `precision` where neither is printed."""
    return next((device.peak[p].value for p in ("fp16", "bf16") if p in device.peak), device.rate(precision))


def resting(device):
    """Power (W) at rest; where none is printed, 0.3 of the limit (estimate)."""
    return device.idle.value if device.idle else 0.3 * device.power.value


def draw(device, busy):
    """Power (W) at a share `busy` of the time working: idle power and the rest in proportion; NaN where none is known."""
    if device.power is None:
        return np.nan * np.asarray(busy)
    idle = resting(device)
    return idle + (device.power.value - idle) * np.minimum(busy, 1.0)


def power_slowdown(graph, device, precision, traffic, busy, eight):
    """How many times longer the operators of a graph take with the clock that the device's power limit leaves; 1 where it binds nothing.

    At a lower clock and the same voltage the same energy is spent over more time. The limit holds for the average of tens of
    milliseconds, so for a graph as a whole: what products and memory spend above the power at rest takes no less time than the
    limit spends it in. A FLOP spends what it does at the measured sustained rate. traffic: B and busy: s of each operator at
    the printed clock; eight: attention and the head take 16 bits.
    """
    held = {p: figure.value for p, figure in device.sustained.items()}
    pace = np.full(len(graph.ops), np.inf)
    pace[graph.products] = held.get(precision, np.inf)
    if eight:
        pace[graph.wide] = held.get("fp16", np.inf)
    pace[graph.narrow | graph.depthwise] = np.inf  # vector units that wait for operands draw little
    if graph.fast is not None and precision == "fp32":
        pace *= graph.fast
    of_memory = DRAM / (device.power.value - resting(device)) if device.power else 0.0
    least = graph.flop / pace.reshape(-1, *(1,) * len(graph.shape)) + traffic * of_memory
    return np.maximum(graph.over(least) / graph.over(busy), 1.0)


def product_work(m, n, k, groups, cores, c, *, speed=1.0, bytes_per=2.0, store=0.0, first=1.0, tiles=TILES):
    """What a product of this shape keeps the cores busy with, with the best tile -> (work, start) in multiply-adds of all cores.

    m, n, k, groups broadcast; cores is how many tiles are worked on at a time. A core multiplies a tile while it reads its
    operands from the last-level cache, whichever takes longer; before that it fills its pipeline, after it it writes the
    tile. start is what a core does before its operands stream in and after they have: nothing comes from memory then.
    speed is the arithmetic rate over the 16-bit one, bytes_per the width of an operand, store the multiply-adds that the
    writing of an element takes: what is not arithmetic is time, and faster arithmetic waits for more of it. first=0 for a
    kernel that has so many tiles that some stream at any time, and cuts k finer: attention.
    """
    m, n, k, groups = (np.asarray(x, float) for x in (m, n, k, groups))
    rows, columns, area, harmonic = tiles.T.reshape(4, -1, *(1,) * max(m.ndim, n.ndim, k.ndim, groups.ndim))
    count = np.ceil(m / rows) * np.ceil(n / columns) * groups
    parts = np.maximum(np.floor(np.minimum(cores / count, k / np.where(first, SPLIT, KEYS))), 1.0)
    waves = np.ceil(count * parts / cores)
    # Parts are added up in fp32 through the cache, four 16-bit numbers an element, after one more filling.
    fill, added = c.inner * speed * AREA * (1.0 + (parts > 1)), (parts > 1) * 4.0 * c.tile * speed * first
    each = np.maximum(1.0 / c.compute, c.tile * speed * bytes_per / 2.0 / harmonic)
    # A core holds several small tiles at a time, which fill their pipelines together.
    work = waves * area * (k / parts * each + store + added) + np.maximum(waves * area / AREA, first) * fill
    start = fill + added * area
    if len(tiles) == 1:
        return work[0] * cores, start[0] * cores
    table = work.reshape(len(tiles), -1)
    best = table.argmin(axis=0), np.arange(table.shape[1])  # take_along_axis does the same in ten times the time for a few numbers
    start = start if start.shape == work.shape else np.broadcast_to(start, work.shape)
    return table[best].reshape(work.shape[1:]) * cores, start.reshape(table.shape)[best].reshape(work.shape[1:]) * cores


def _lesser(a, b):
    """Of two (work, start) that with less work, element by element."""
    less = b[0] < a[0]
    return np.where(less, b[0], a[0]), np.where(less, b[1], a[1])


def product_share(m, n, k, groups, cores, c, **options):
    """Share of the printed peak that a product of this shape reaches; arguments of product_work."""
    return m * n * k * groups / product_work(m, n, k, groups, cores, c, **options)[0]


def overlapped(a, b):
    """Seconds of arithmetic and of traffic that go on at the same time: the longer where they differ much, 26 % more where they do not.

    Neither hides all of the other: a core multiplies what has come, a buffer that is full asks for nothing. That it is the
    cube root of the sum of cubes is assumed; of the calibration rows it fits no fewer than the longer alone does.
    """
    return np.cbrt(a * a * a + b * b * b)


@dataclass(frozen=True)
class Times:
    """Seconds of one occurrence of each operator: (operators, *shape). seconds = overlapped(compute, memory) + launch."""

    compute: np.ndarray
    memory: np.ndarray
    launch: float
    traffic: np.ndarray  # B

    @property
    def busy(self):
        return overlapped(self.compute, self.memory)

    @property
    def seconds(self):
        return self.busy + self.launch


def activation_width(model, precision):
    """Bytes of an activation between two operators: 16 bits at least in a decoder, whose norms and residuals keep them."""
    return max(width(precision), 2.0) if getattr(model, "causal", False) else width(precision)


def host_seconds(launch, kernels, per=HOST):
    """Seconds in which the host launches that many operators one by one; none where a graph of them was captured. Raises UnknownName."""
    if launch not in LAUNCH:
        raise unknown("launch", launch, list(LAUNCH))
    return kernels * per if launch == "eager" else 0.0 * kernels


def operator_times(graph, device, precision, *, weights=None, activations=None, cache=None, launch=1.0):
    """Times of every operator of a graph on a device.

    precision is that of the arithmetic; weights, activations and cache are bytes of one stored number, those of
    `precision` where not given. launch multiplies the calibrated time of a launch, for elasticities.
    """
    c, one, rate = constants(device.family), width(precision), device.rate(precision)
    traffic = graph.traffic(one if weights is None else weights, one if activations is None else activations, cache)
    # Vector units do two numbers of 16 bits, or four of 8, in the place of one of 32 (CUDA C++ Programming Guide, arithmetic
    # instructions), and the products that are too narrow for a matrix instruction: grouped convolutions of a few channels.
    peak = np.full(len(graph.ops), vector_rate(device, precision))
    sixteen = sixteen_bit_rate(device, precision)
    peak[graph.products] = rate
    if rate > sixteen:
        peak[graph.wide] = sixteen
    by_hand = min(rate, vector_rate(device, precision) * max(4.0 / one, 1.0))
    peak[graph.narrow] = by_hand
    out = max(one, 2.0) if activations is None else activations
    store = out * sixteen / (2.0 * device.bandwidth.value * c.memory)  # in multiply-adds at the 16-bit rate
    pace = ops_pace(device)
    share, start = shares(graph, lanes(device), c, (pace * rate / sixteen, pace * by_hand / sixteen), one, store / pace)
    between = one if activations is None else activations
    if between < 2.0:  # what is no product has no 8-bit arithmetic: exponentials, norms, pools work on 16 bits
        traffic[graph.vectors] += ((2.0 - between) * (graph.reads + graph.writes))[graph.vectors]
    memory = traffic / (device.bandwidth.value * c.memory)
    if graph.execution != "fused":
        peak[graph.depthwise] = np.minimum(peak[graph.depthwise], loading_rate(device) * max(4.0 / one, 1.0))
        if device.clock and device.cores:
            at, cycles = graph.vectors, device.cores.value * device.clock.value
            memory[at] += (graph.reads + graph.writes + graph.weights)[at] / (cycles * framework("passes"))
            memory[at] += 2.0 * graph.flop[at] / vector_rate(device, precision)  # an instruction each, where a multiply-add is two FLOP
    if graph.fast is not None and precision == "fp32":
        peak *= graph.fast
    peak = peak.reshape(-1, *(1,) * len(graph.shape))
    compute = graph.flop / (peak * share)
    memory = memory + 2.0 * start / peak
    if device.sustained:
        slower = power_slowdown(graph, device, precision, traffic, overlapped(compute, memory), rate > sixteen)
        compute, memory = compute * slower, memory * slower
    kernels = KERNELS if graph.execution == "eager" else 1.0
    return Times(compute, memory, gap(device, c) * launch * kernels, traffic)


def shares(graph, cores, c, speed, bytes_per, store):
    """Share of the peak of its unit that each operator reaches, and the start of each product, in multiply-adds of all cores.

    The graph keeps the last, since a knob or a second look asks again.

    speed is the rate of matrix units, and that of vector units for narrow products, over the 16-bit rate; store is as in
    product_share, at the 16-bit rate. Attention keeps what it multiplies on the core and writes little.
    """
    asked = cores, c, speed, bytes_per, store
    if graph.shares[0] != asked:
        share, start = np.full(graph.flop.shape, c.compute), np.zeros(graph.flop.shape)
        fast = np.where(graph.narrow, speed[1], np.where(graph.wide, min(speed[0], 1.0), speed[0]))
        read = np.where(graph.wide, max(bytes_per, 2.0), bytes_per)
        first = np.where(graph.kinds == ATTENTION, 0.0, 1.0)
        stored = store * fast * first
        if graph.shape:  # one product at a time: sizes that do not vary stay numbers; one tile at a time where they fill a cache
            tiles = TILES[:, None] if share[0].size > 500 else TILES[None]
            for i in graph.products:
                op = graph.ops[i]
                given = dict(speed=fast[i], bytes_per=read[i], store=stored[i], first=first[i])
                work, start[i] = reduce(_lesser, (product_work(op.m, op.n, op.k, op.groups, cores, c, tiles=t, **given) for t in tiles))
                share[i] = op.m * op.n * op.k * op.groups / work
        elif graph.products.size:
            sizes, at = graph.table[1:5, graph.products], graph.products  # m, n, k, groups
            work, start[at] = product_work(*sizes, cores, c, speed=fast[at], bytes_per=read[at], store=stored[at], first=first[at])
            share[at] = sizes.prod(axis=0) / work
        share[graph.attention] *= c.attention
        start[graph.attention] = 0.0
        graph.shares = asked, (share, start)
    return graph.shares[1]
