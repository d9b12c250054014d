"""Time of an operator on a device, with its efficiency predicted from its shape.

    seconds = max(arithmetic / (peak x efficiency of the shape), traffic / (bandwidth x reached share)) + launch

A matrix product is cut into tiles, and tiles into waves over the cores: tiles that stick out of the matrix and cores
without a tile in the last wave do nothing. A large tile reads less for each multiply-add, a long inner dimension pays
the start of a tile only once. Six constants a device family say how much, fitted on sim/validation/calibration.toml
only; everything else is the shape of the operator and the figures of the device.
"""

from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache, reduce

import numpy as np

from .errors import unknown

# Rows and columns of an output tile, small ones for small matrices; a library picks the best, and so does this. Besides them
# their area and half their harmonic mean.
TILES = np.array([(m, n, m * n, m * n / (m + n)) for m, n in (
    (256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64), (64, 32), (16, 128), (16, 64))])  # fmt: skip
SPLIT = 512.0  # a product with few tiles is cut along k too, into parts of at least this length
# int4-g32: a 16-bit scale and offset for every 32 weights besides, int4-g128 for every 128.
BYTES = {"fp64": 8.0, "fp32": 4.0, "tf32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5, "fp4": 0.5,
         "int4-g32": 0.5 + 4 / 32, "int4-g128": 0.5 + 4 / 128}  # fmt: skip


@dataclass(frozen=True)
class Constants:
    """What is calibrated for a family of devices, and nothing else is."""

    compute: float  # share of the printed peak that a large product reaches
    tile: float  # harmonic size of a tile at which half of that is lost to reading operands
    inner: float  # length of the inner dimension whose time equals starting and ending a tile
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
    return _TRIAL[kind] if kind in _TRIAL else _share(kind)


@cache
def _share(kind):
    from .tables import table

    known = table("calibration.toml").read("links")
    if kind not in known:
        raise unknown("kind of link", kind, list(known))
    return float(known[kind])


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


def sixteen_bit_rate(device, precision):
    """Peak FLOP/s in fp16 or bf16, which the constants are meant for; that of `precision` where neither is printed."""
    return next((device.peak[p].value for p in ("fp16", "bf16") if p in device.peak), device.rate(precision))


def draw(device, busy):
    """Power (W) at a share `busy` of the time working: idle power and the rest in proportion; NaN where none is known.

    Where no idle power is printed it is taken as 0.3 of the limit (estimate).
    """
    if device.power is None:
        return np.nan * np.asarray(busy)
    full = device.power.value
    idle = device.idle.value if device.idle else 0.3 * full
    return idle + (full - idle) * np.minimum(busy, 1.0)


def product_share(m, n, k, groups, cores, c, *, speed=1.0, bytes_per=2.0, tiles=TILES):
    """Share of the printed peak that a product of this shape reaches: best tile, whole waves, long enough inner dimension.

    m, n, k, groups broadcast; cores is how many tiles are worked on at a time. speed is the arithmetic rate over the
    16-bit one, bytes_per the width of an operand: what reading operands and starting a tile cost is time, and slower
    arithmetic leaves more of it.
    """
    inner, tile = c.inner * speed, c.tile * speed * bytes_per / 2.0
    m, n, k, groups = (np.asarray(x, float) for x in (m, n, k, groups))
    rows, columns, area, harmonic = tiles.T.reshape(4, -1, *(1,) * max(m.ndim, n.ndim, k.ndim, groups.ndim))
    count = np.ceil(m / rows) * np.ceil(n / columns) * groups
    parts = np.maximum(np.floor(np.minimum(cores / count, k / SPLIT)), 1.0)
    waves = np.ceil(count * parts / cores)
    # the work of the product over what the cores could do while its waves last
    used = m * n * groups * parts / (waves * (cores * area))
    deep = k / (k + inner * parts)
    return c.compute * (used * deep * (harmonic / (harmonic + tile))).max(axis=0)


@dataclass(frozen=True)
class Times:
    """Seconds of one occurrence of each operator: (operators, *shape). seconds = max(compute, memory) + launch."""

    compute: np.ndarray
    memory: np.ndarray
    launch: float
    traffic: np.ndarray  # B

    @property
    def seconds(self):
        return np.maximum(self.compute, self.memory) + self.launch


def activation_width(model, precision):
    """Bytes of an activation between two operators: 16 bits at least in a decoder, whose norms and residuals keep them."""
    return max(width(precision), 2.0) if getattr(model, "causal", False) else width(precision)


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
    peak[graph.products] = rate
    by_hand = min(rate, vector_rate(device, precision) * max(4.0 / one, 1.0))
    peak[graph.narrow] = by_hand
    sixteen = sixteen_bit_rate(device, precision)
    share = shares(graph, lanes(device), c, (rate / sixteen, by_hand / sixteen), one)
    compute = graph.flop / (peak.reshape(-1, *(1,) * len(graph.shape)) * share)
    return Times(compute, traffic / (device.bandwidth.value * c.memory), c.launch * launch, traffic)


def shares(graph, cores, c, speed, bytes_per):
    """Share of the peak of its unit that each operator reaches. The graph keeps the last: a knob or a second look asks again.

    speed is the rate of matrix units, and that of vector units for narrow products, over the 16-bit rate.
    """
    asked = cores, c, speed, bytes_per
    last, share = graph.shares
    if last != asked:
        share = np.full(graph.flop.shape, c.compute)
        fast = np.where(graph.narrow, speed[1], speed[0])
        if graph.shape:  # one product at a time: sizes that do not vary stay numbers; one tile at a time where they fill a cache
            tiles = TILES[:, None] if share[0].size > 500 else TILES[None]
            for i in graph.products:
                op = graph.ops[i]
                share[i] = reduce(np.maximum, (product_share(op.m, op.n, op.k, op.groups, cores, c, speed=fast[i],
                                                             bytes_per=bytes_per, tiles=t) for t in tiles))  # fmt: skip
        elif graph.products.size:
            sizes = graph.table[1:5, graph.products]  # m, n, k, groups
            share[graph.products] = product_share(*sizes, cores, c, speed=fast[graph.products], bytes_per=bytes_per)
        share[graph.attention] *= c.attention
        graph.shares = asked, share
    return share
