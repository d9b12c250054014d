"""Devices of four tiers: what their makers print, dense and sparse rates kept apart. Figures: data/devices/*.toml.

A peak is what the arithmetic units could do with data always at hand. Where a maker prints only a sparse rate, the
dense one is half of it and says so. Capacities are as printed: decimal GB for cards and phones (a lower bound, since
DRAM comes in powers of two), binary KiB and MiB for the address ranges of microcontrollers.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import PurePath

from ._check import amount
from .constants import Figure
from .errors import RangeError, SimError, UnitError, UnknownName, clip, unknown
from .tables import Registry
from .units import to_si

TIERS = ("cloud", "edge", "mobile", "tiny")
PRECISIONS = ("fp64", "fp32", "tf32", "fp16", "bf16", "int16", "fp8", "int8", "fp6", "fp4", "int4")
# Unit of every field that is a Figure. A core's operations are per clock cycle, carbon is in grams of CO2 equivalent.
_UNITS = {
    "peak": "FLOP/s", "sparse": "FLOP/s", "bandwidth": "B/s", "memory": "B", "power": "W", "flash": "B", "idle": "W",
    "price": "USD", "embodied": "g", "clock": "Hz", "cores": "", "ops": "FLOP", "cache": "B", "sustained": "FLOP/s",
}  # fmt: skip
_DICTS = ("peak", "sparse", "sustained", "ops")


@dataclass(frozen=True, kw_only=True)
class Device:
    """One processor with its memory. peak and sparse map a precision to FLOP/s, for int8 to integer OP/s.

    sustained is what long products were measured to reach where the power limit keeps the clock below the one that peak
    is printed for: cards of 70 W have units for a boost clock at which these would draw two or three times that.
    memory is what programs write to; flash, where there is any, holds weights that are only read. power is the limit
    that the maker sets (cloud, edge) or the draw while computing (mobile, tiny), idle the draw at rest; None where
    nothing citable is known. cores are what a tile of work is scheduled on (SMs, CUs, MXUs, CPU cores); each does
    ops[precision] FLOP a cycle of clock, the boost clock that the printed rate implies. cache is the last level on the
    chip, embodied the carbon of making it, link the name of its scale-up fabric, family the key of calibrated constants.
    """

    name: str
    title: str
    tier: str
    family: str
    year: int | None = None
    peak: dict
    bandwidth: Figure
    memory: Figure
    power: Figure | None = None
    flash: Figure | None = None
    sparse: dict = field(default_factory=dict)
    sustained: dict = field(default_factory=dict)
    idle: Figure | None = None
    price: Figure | None = None
    embodied: Figure | None = None
    link: str | None = None
    clock: Figure | None = None
    cores: Figure | None = None
    ops: dict = field(default_factory=dict)
    cache: Figure | None = None

    @classmethod
    def define(cls, name, *, peak, bandwidth, memory, tier="cloud", family="accelerator", source="declared", **rest):
        """A device of one's own: Device.define("mine", peak={"fp16": "100 TFLOP/s"}, bandwidth="1 TB/s", memory="24 GB").

        peak, sparse, sustained and ops are dicts by precision; a figure is text with its unit, a number in base units, or a Figure.
        rest: any other field of Device. Raises RangeError, UnitError, UnknownName, or SimError for an unknown field.
        """
        given = {"peak": peak, "bandwidth": bandwidth, "memory": memory} | rest
        known = [f.name for f in fields(cls)]
        for key in given:
            if key not in known:
                raise UnknownName(f"{name}: {unknown('field', key, known)}")
        for key in ("bandwidth", "memory"):
            if given[key] is None:
                raise UnitError(f"{name}: {key}: got None; wanted a number or text in {_UNITS[key]}")
        if not isinstance(peak, dict) or not peak:
            raise UnitError(f"{name}: peak: got {clip(peak)}; wanted a dict such as {{'fp16': '100 TFLOP/s'}}")
        if tier not in TIERS:
            raise unknown("tier", tier, list(TIERS))
        made = {key: _declared(name, key, value, source) for key, value in given.items() if value is not None}
        return cls(name=str(name), tier=tier, family=str(family), **({"title": str(name)} | made))

    def rate(self, precision):
        """Dense peak in FLOP/s at `precision`. Raises UnknownName with what the device lists."""
        try:
            return self.peak[precision].value
        except (KeyError, TypeError):
            raise _precision(self, precision) from None

    @property
    def storage(self):
        """Bytes that can hold weights: flash where there is any, memory otherwise."""
        return (self.flash or self.memory).value

    def scaled(self, **factors):
        """A copy with some figures multiplied: device("h100").scaled(peak=1.1, bandwidth=0.9).

        Takes every figure but cores and ops; peak takes sparse, sustained and clock along, so that peak stays cores x clock x ops.
        Raises RangeError unless a factor is finite and above 0, UnknownName for a field that is no figure.
        """
        new = {}
        for key, factor in factors.items():
            if key not in _SCALED:
                raise unknown("figure", key, list(_SCALED))
            factor = float(amount(f"factor of {key}", factor, "", above=0.0))
            for name in _SCALED[key]:
                old = getattr(self, name)
                if isinstance(old, dict):
                    new[name] = {p: _times(f, factor) for p, f in old.items()}
                elif old is not None:
                    new[name] = _times(old, factor)
        return replace(self, **new)

    def at(self, clock):
        """A copy that runs at another clock, as its owner can set it: device("t4").at("585 MHz").

        Rates follow the clock. Memory does not, and what a power limit sustains stays what it is. Raises RangeError unless the
        clock is above 0 and at most the printed one, UnitError for another unit, SimError where no clock is known.
        """
        if self.clock is None:
            raise SimError(f"{self.name}: no clock is known for it, so none can be set")
        clock, most = float(amount("clock", clock, "Hz", above=0.0)), self.clock.value
        if clock > most:
            raise RangeError(f"clock: got {clock / 1e6:g} MHz; wanted at most the {most / 1e6:g} MHz of {self.title}")
        return replace(self.scaled(peak=clock / most), sustained=self.sustained, title=f"{self.title} at {clock / 1e6:g} MHz")

    def __hash__(self):
        return hash((self.name, self.bandwidth.value))

    def __str__(self):
        rates = ", ".join(f"{p} {f.text}" for p, f in self.peak.items())
        return f"{self.title}: {rates}; {self.bandwidth.text}; {self.memory.text}"


_SCALED = {key: (key,) for key in _UNITS if key not in ("sparse", "sustained", "cores", "ops", "clock")}
_SCALED["peak"] = ("peak", "sparse", "sustained", "clock")


def _times(f, factor):
    if factor == 1.0:
        return f
    note = f"{f.note}; " if f.note else ""
    return replace(f, value=f.value * factor, kind="estimate", note=f"{note}scaled by {factor:.6g}")


def _declared(device, key, value, source):
    where = f"{device}: {key}"
    if key in _DICTS:
        if not isinstance(value, dict):
            raise UnitError(f"{where}: got {clip(value)}; wanted a dict by precision")
        for p in value:
            if p not in PRECISIONS:
                raise UnknownName(f"{where}: {unknown('precision', p, list(PRECISIONS))}")
        return {p: _figure(f"{where}[{p!r}]", v, _UNITS[key], source) for p, v in value.items()}
    if key in _UNITS:
        return _figure(where, value, _UNITS[key], source, whole=key == "cores")
    wanted = int if key == "year" else str
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise SimError(f"{where}: got {clip(value)}; wanted {'a whole number' if wanted is int else 'text'}")
    return value


def _figure(where, value, unit, source, whole=False):
    if isinstance(value, bool):
        raise UnitError(f"{where}: got {value}; wanted a number or text in {unit or 'counts'}")
    x = amount(where, value, unit, above=0.0, whole=whole)
    if x.ndim:
        raise RangeError(f"{where}: got an array of shape {x.shape}; wanted one number")
    if isinstance(value, Figure):
        to_si(value.text, unit, where)
        return value
    shown = value.strip().partition(" ")[2] if isinstance(value, str) else unit
    return Figure(float(x), shown or unit, source, "", "estimate", 0.0)


def device(name):
    """The device called `name`, such as "h100", or "t4@585 MHz" for one at another clock; a Device passes as it is.

    Raises UnknownName with the nearest name, and what Device.at raises for the clock.
    """
    if isinstance(name, str) and "@" in name:
        name, _, clock = name.partition("@")
        return DEVICES.find(name).at(clock.strip())
    return DEVICES.find(name)


def devices(tier=None):
    """Every device, or those of one tier: "cloud", "edge", "mobile" or "tiny". Raises UnknownName for another tier."""
    if tier is not None and tier not in TIERS:
        raise unknown("tier", tier, list(TIERS))
    return [DEVICES[name] for name, path in DEVICES.where.items() if tier is None or path == _FILE.format(tier)]


def _precision(device, precision):
    error = unknown("precision", precision, list(device.peak))
    return UnknownName(f"{device.title}: {error}")


def _finish(path, got):
    for key in _DICTS:
        for p in got.get(key, ()):
            if p not in PRECISIONS:
                raise UnknownName(f"{key}: {unknown('precision', p, list(PRECISIONS))}")
    return got | {"tier": PurePath(path).stem}


_FILE = "devices/{}.toml"
DEVICES = Registry("device", Device, _UNITS, *map(_FILE.format, TIERS), finish=_finish)
