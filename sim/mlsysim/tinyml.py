"""Networks on microcontrollers: cycles of int8 kernels layer by layer, memory, flash, energy and battery life.

    cycles = factor x (a multiply-add + b patch elements + c outputs) + flash x weights that no cache holds

a, b and c are instructions counted in the source of the kernels, by kind of layer; factor is the one number fitted for a
core. Figures, their sources and the rows of the fit: data/kernels.toml. An Ethos-U works in blocks, as Vela counts them.
The kernels of the kits are "plain", C without a word of assembly, or "fast" on AVR, where the dense one is written for the
processor; their constants are fitted to cycles that simulators count (boardkit.calibrate).
"""

from dataclasses import dataclass

import numpy as np

from ._check import amount
from .constants import Figure
from .devices import device as find
from .errors import RangeError, SimError, UnknownName, unknown
from .graph import KINDS
from .models import model as named
from .result import Result, Term, require, total
from .tables import Registry
from .units import format


@dataclass(frozen=True, kw_only=True)
class Core:
    """What int8 kernels cost on one core; fields as data/kernels.toml explains them. None: no such kernels are known."""

    name: str
    title: str
    devices: tuple
    factor: Figure
    cache: Figure
    gemm: Figure | None = None
    linear: Figure | None = None
    depthwise: Figure | None = None
    copy: Figure | None = None
    output: Figure | None = None
    vector: Figure | None = None
    flash: Figure | None = None
    code: Figure | None = None
    plain: Figure | None = None
    plain_depthwise: Figure | None = None
    plain_output: Figure | None = None
    plain_row: Figure | None = None
    plain_vector: Figure | None = None
    fast: Figure | None = None
    fast_output: Figure | None = None
    plain_code: Figure | None = None
    static: Figure | None = None


_COUNTS = (
    "factor", "gemm", "linear", "depthwise", "copy", "output", "vector", "flash", "plain", "plain_depthwise", "plain_output", "plain_row",
    "plain_vector", "fast", "fast_output",
)  # fmt: skip
_UNITS = dict.fromkeys(_COUNTS, "") | dict.fromkeys(("cache", "code", "plain_code", "static"), "B")
CORES = Registry("core", Core, _UNITS, "kernels.toml", finish=lambda path, got: got | {"devices": tuple(got["devices"].split())})
KERNELS = ("optimized", "plain", "fast")
SCALES = {"optimized": 12.0, "plain": 9.0, "fast": 9.0}  # B an output channel: bias, factor and shift, of 4, 4 and 4 or 1 B


def core_of(device, core=None):
    """The Core of a device, or the one named. Raises UnknownName."""
    if core is not None:
        return CORES.find(core)
    for found in CORES.values():
        if device.name in found.devices:
            return found
    raise UnknownName(f"{device.title}: its core is not known; give core=, one of {', '.join(CORES)}")


@dataclass(frozen=True, kw_only=True)
class Inference(Result):
    """One inference of an int8 network on a microcontroller. rate counts inferences a second.

    memory is the arena: the activations that exist at a time, the buffer of a patch and what the program itself keeps;
    flash holds weights, biases, scales and code. energy is NaN where the draw of the device is not known.
    """

    seconds: np.ndarray
    rate: np.ndarray
    cycles: np.ndarray
    macs: float
    memory: float
    capacity: float
    flash: float
    flash_capacity: float
    power: np.ndarray
    energy: np.ndarray
    feasible: np.ndarray
    units = {"cycles": "", "macs": "", "flash": "B", "flash_capacity": "B"}

    @property
    def cycles_per_mac(self):
        return self.cycles / self.macs


def _processor_cycles(graph, core, kernels, scale):
    """Cycles of each operator -> {part: array}. scale multiplies arithmetic and flash, for elasticities."""
    kinds = np.array(KINDS)[graph.kinds]
    m, n, k, groups = graph.m, graph.n, graph.k, graph.groups
    macs = np.where(kinds == "vector", 0.0, graph.flop / 2)
    outputs = np.where(kinds == "vector", graph.writes, m * n * groups)
    patches = np.where(kinds == "vector", 0.0, m * k * groups)
    if kernels != "optimized":
        places = np.sqrt([float(op.window) for op in graph.ops])  # rows of a window, were it square: a call for each
        each = np.select([kinds == "vector", kinds == "depthwise"], [0.0, core.plain_depthwise.value], core.plain.value)
        per_output = np.where(kinds == "vector", 0.0, core.plain_output.value + core.plain_row.value * places)
        if kernels == "fast":
            dense = (m == 1) & (kinds != "vector") & (kinds != "depthwise")
            each, per_output = np.where(dense, core.fast.value, each), np.where(dense, core.fast_output.value, per_output)
        parts = {"multiply-adds": each * macs + np.where(kinds == "vector", core.plain_vector.value * graph.reads, 0.0),
                 "outputs": per_output * outputs}  # fmt: skip
        fetched = 0.0 * macs
    else:
        inner = np.select([kinds == "depthwise", m == 1], [core.depthwise.value, core.linear.value], core.gemm.value)
        parts = {"multiply-adds": inner * macs + np.where(kinds == "vector", core.vector.value * graph.reads, 0.0),
                 "patches": core.copy.value * np.where(m == 1, 0.0, patches), "outputs": core.output.value * outputs}  # fmt: skip
        passes = np.where(graph.weights <= core.cache.value, 1.0, np.ceil(m / 2))  # two columns share one pass
        fetched = np.where(kinds == "depthwise", graph.weights, graph.weights * passes)
    parts = {name: core.factor.value * value * scale.get("instructions", 1.0) for name, value in parts.items()}
    return parts | {"weights from flash": (core.flash.value if core.flash else 0.0) * fetched * scale.get("flash", 1.0)}


def _block_cycles(graph, device, core, scale):
    """Cycles on an array of multiply-adds: blocks of 8 channels by so many positions, whole ones only."""
    lanes = device.ops["int8"].value * device.cores.value / 2
    kinds = np.array(KINDS)[graph.kinds]
    blocks = np.ceil(graph.n / 8) * graph.groups * np.ceil(graph.m / (lanes / 64))
    blocks = np.where(kinds == "depthwise", np.ceil(graph.groups / 8) * np.ceil(graph.m / (lanes / 64)), blocks)
    steps = np.where(kinds == "depthwise", np.ceil(graph.k / 4), np.ceil(graph.k / 32))
    work = np.where(kinds == "vector", graph.reads / 8, 4 * blocks * steps) * core.factor.value * scale.get("instructions", 1.0)
    moved = (graph.weights + graph.reads + graph.writes) * device.clock.value / device.bandwidth.value * scale.get("flash", 1.0)
    return {"multiply-adds": work, "memory": np.maximum(moved - work, 0.0)}


def predict(net, device, *, core=None, kernels=None, clock=None, power=None, allow_infeasible=False):
    """One inference of an int8 network on a microcontroller -> Inference.

    net is a model of kind "tiny" or "vision" (any Net), or its name. core: the processor's name where the device has a
    new one; kernels: "optimized" (CMSIS-NN and its like), "plain" (straightforward C, as the kits compile) or "fast" (the
    same, but dense layers written for AVR), the first that are known if not given. clock (Hz) and power (W) while computing
    replace those of the device and broadcast; power follows the clock. One processor core works.
    Raises Infeasible if arena or program do not fit, UnknownName, SimError.
    """
    net, device = named(net), find(device)
    core = core_of(device, core)
    if not isinstance(getattr(net, "layers", None), tuple):
        raise SimError(f"predict: {net.title} is a {getattr(net, 'kind', 'model')}; wanted a network of layers, such as 'ds-cnn'")
    blocks = core.name == "ethos-u"
    known = [name for name in KERNELS if blocks or getattr(core, {"optimized": "gemm"}.get(name, name))]
    kernels = known[0] if kernels is None else kernels
    if kernels not in known:
        raise unknown(f"kernels of {core.title}", kernels, known)
    if device.clock is None and clock is None:
        raise SimError(f"clock: {device.title} has none on record; give clock='16 MHz'")
    graph = net.graph()
    strange = [KINDS[i] for i in np.unique(graph.kinds) if KINDS[i] in ("attention", "gather")]
    if strange:
        raise SimError(f"predict: {net.title} has {strange[0]} operators; kernels are known for convolutions and products only")
    hertz = amount("clock", device.clock.value if clock is None else clock, "Hz", above=0.0)

    def cycles(**scale):
        return _block_cycles(graph, device, core, scale) if blocks else _processor_cycles(graph, core, kernels, scale)

    parts = {name: np.broadcast_to(value, graph.flop.shape) * graph.count for name, value in cycles().items()}
    count = sum(parts.values()).sum()
    seconds = count / hertz
    if power is not None:
        draw = amount("power", power, "W")
    elif device.power is None:
        draw = np.nan * hertz
    else:
        draw = device.power.value * (hertz / device.clock.value if device.clock else 1.0)
    channels = np.where(graph.kinds == KINDS.index("vector"), 0.0, graph.n * graph.groups).sum()
    code = core.code if kernels == "optimized" else core.plain_code
    flash = graph.total("weights") + SCALES[kernels] * channels + (code.value if code else 0.0)
    windows = np.where((graph.m > 1) & (graph.kinds != KINDS.index("vector")), graph.k * np.where(graph.kinds == 2, graph.groups, 1), 0.0)
    buffer = 0.0 if blocks or kernels != "optimized" else 4.0 * windows.max()  # two patches of 16-bit numbers
    memory = float(net.working() + buffer + (core.static.value if core.static else 0.0))
    room = device.storage
    ram = device.memory.value
    fits = require(memory <= ram, allow_infeasible, f"the arena of {net.title} on {device.title}", memory, ram)
    fits &= require(flash <= room, allow_infeasible, f"weights and code of {net.title} on {device.title}", flash, room)

    def grow():
        layers = []
        for i, op in enumerate(graph.ops):
            terms = [Term(name, value[i] / hertz) for name, value in parts.items() if value[i]]
            layers.append(total(op.name, terms or [Term("nothing", 0.0 / hertz)]))
        return total(net.title, layers, formula=f"{core.title}, {kernels} kernels, {core.factor.value:g} cycles an instruction")

    def scaled(name):
        return lambda s: sum(value.sum() for value in cycles(**{name: 1 / s}).values()) / hertz

    return Inference(
        seconds=seconds[()], rate=(1 / seconds)[()], cycles=count, macs=net.macs, memory=memory, capacity=ram,
        flash=flash, flash_capacity=room, power=np.asarray(draw)[()], energy=(draw * seconds)[()], feasible=fits, grow=grow,
        knobs={"instructions per second": scaled("instructions"), "memory of the weights": scaled("flash")},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Battery(Result):
    """How long a battery lasts under a job that repeats. seconds is its life, power the mean draw, duty the busy share."""

    seconds: np.ndarray
    power: np.ndarray
    duty: np.ndarray
    energy: np.ndarray


def battery_life(battery, period, *, energy, seconds, sleep, extra=0.0, leakage=0.0):
    """A device that works `seconds` at a cost of `energy` (J) every `period`, and sleeps at `sleep` (W) otherwise -> Battery.

    battery (J, or text such as "0.66 Wh"); extra (J) is what else a period costs, a radio message for instance; leakage is
    the share of the battery lost in a year by itself. All broadcast. Raises RangeError if a job takes longer than a period.
    """
    charge, each = amount("battery", battery, "J", above=0.0), amount("energy", energy, "J")
    busy, sleep = amount("seconds", seconds, "s"), amount("sleep", sleep, "W")
    period = amount("period", period, "s", above=0.0)
    if (busy > period).any():
        raise RangeError(f"seconds: got {format(np.max(busy - period), 's')} more than the period; wanted work that fits its period")
    spent = each + amount("extra", extra, "J")
    lost = charge * amount("leakage", leakage, "%" if isinstance(leakage, str) else "") / (365 * 86400)

    def life(spent=spent, sleep=sleep, lost=lost, charge=charge):
        return charge / (spent / period + sleep * (1 - busy / period) + lost)

    power = spent / period + sleep * (1 - busy / period) + lost
    return Battery(
        seconds=life()[()], power=power[()], duty=(busy / period)[()], energy=(power * period)[()],
        grow=lambda: total("mean power", [
            Term("work", spent / period, "W", "energy of a period / period"), Term("sleep", sleep * (1 - busy / period), "W"),
            Term("leakage", lost, "W", "share a year of the battery"),
        ], "W"),
        knobs={"battery": lambda s: life(charge=charge * s, lost=lost * s), "energy of the work": lambda s: life(spent=spent * s),
               "sleep power": lambda s: life(sleep=sleep * s)},
    )  # fmt: skip
