"""Energy, carbon and water of a run or a service, and what waiting for cleaner hours saves.

    energy at the meter = energy of the machines x PUE
    carbon = energy at the meter x intensity of the grid + embodied carbon x share of the machines' life
    water  = energy of the machines x WUE

Sources: Patterson et al. 2021 (operational carbon); Gupta et al. 2022 (embodied carbon); The Green Grid (PUE, WUE).
"""

from dataclasses import dataclass

import numpy as np

from ._check import amount
from .devices import device as find
from .errors import RangeError, SimError
from .result import Result, Term, total
from .systems import site as place


def machine_energy(devices, seconds, *, device=None, power=None, load=1.0, host=0.0):
    """Joules of `devices` that run for `seconds`: each draws power (W), or that of a device, times its load; host (W) beside it.

    Everything broadcasts. Raises SimError where neither is known.
    """
    devices, seconds = amount("devices", devices, "", least=1, whole=True), amount("seconds", seconds, "s")
    if power is None:
        if device is None or find(device).power is None:
            raise SimError(f"power: {'no device' if device is None else find(device).title + ' has none on record'}; give power='400 W'")
        power = find(device).power.value
    load = amount("load", load, "%" if isinstance(load, str) else "")
    return (devices * seconds * (amount("power", power, "W") * load + amount("host", host, "W")))[()]


@dataclass(frozen=True, kw_only=True)
class Footprint(Result):
    """What a run leaves behind. energy (J) is that at the meter of the building, carbon (g CO2e) all of it: operational
    from the grid, embodied from making the machines; water (g) evaporates at the site, NaN where it is not known."""

    headline = "carbon"

    energy: np.ndarray
    carbon: np.ndarray
    operational: np.ndarray
    embodied: np.ndarray
    water: np.ndarray
    units = {"operational": "g", "embodied": "g"}


def footprint(energy, *, site="world", carbon=None, pue=None, wue=None, devices=0, seconds=0.0, embodied=0.0, life=None):
    """Energy at the meter, carbon and water of machines that took `energy` (J, or a result that has it) -> Footprint.

    site: a Site or its name; carbon (g/J, or text such as "57 g/kWh"), pue and wue ("0.2 L/kWh") take the place of its.
    embodied: grams of making one of `devices` machines, or a Device or its name, spread over its life (s in use). All
    numbers broadcast. Raises RangeError, UnitError, UnknownName; SimError where embodied carbon is not known.
    """
    at = place(site)
    source = at.carbon.source if carbon is None else ""
    energy = amount("energy", getattr(energy, "energy", energy), "J")
    carbon = amount("carbon", at.carbon if carbon is None else carbon, "g/kWh")
    pue = amount("pue", at.pue if pue is None else pue, "", least=1.0)
    known = at.wue if wue is None else wue
    wue = np.nan if known is None else amount("wue", known, "L/kWh")
    devices, seconds = amount("devices", devices, "", whole=True), amount("seconds", seconds, "s")
    if isinstance(embodied, str) and not embodied.strip()[:1].isdigit() or hasattr(embodied, "embodied"):
        made = find(embodied)
        if made.embodied is None:
            raise SimError(f"embodied: {made.title} has none on record; give embodied='150 kg'")
        embodied = made.embodied
    embodied = amount("embodied", embodied, "g")
    if life is None and (embodied * devices * seconds).any():
        raise SimError("life: got None; wanted the time in use that embodied carbon is spread over, such as '2190 days'")
    used = devices * seconds / (1.0 if life is None else amount("life", life, "s", above=0.0))

    def grams(energy=energy, pue=pue, carbon=carbon, embodied=embodied):
        return energy * pue * carbon + embodied * used

    meter, making = energy * pue, embodied * used
    return Footprint(
        energy=meter[()], carbon=grams()[()], operational=(meter * carbon)[()], embodied=(making + 0 * meter)[()],
        water=np.asarray(energy * wue * 1e6)[()],  # a cubic metre is 10^6 g
        grow=lambda: total("carbon", [
            Term("operational", meter * carbon, "g", "energy x PUE x intensity", source, (
                Term("energy of the machines", energy, "J"), Term("PUE", pue, ""), Term("intensity", carbon, "g/J")), "product"),
            Term("embodied", making, "g", "making x time used / life"),
        ], "g"),
        knobs={"energy": lambda s: grams(energy=energy * s), "PUE": lambda s: grams(pue=pue * s),
               "intensity of the grid": lambda s: grams(carbon=carbon * s), "embodied carbon": lambda s: grams(embodied=embodied * s)},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Shift(Result):
    """A job moved to cleaner hours: start (s after midnight) and carbon (g) of the best time, baseline that of starting at
    once, saving the share between them. seconds is the time from being ready to being done."""

    headline = "carbon"

    carbon: np.ndarray
    baseline: np.ndarray
    saving: np.ndarray
    start: float
    seconds: float
    units = {"baseline": "g", "saving": "", "start": "s"}


def _until(curve, t):
    """Integral of the hourly curve from 0 to t seconds, the day repeating."""
    edges = np.concatenate([[0.0], np.cumsum(curve)]) * 3600.0
    days, rest = np.divmod(np.asarray(t, float), 86400.0)
    return days * edges[-1] + np.interp(rest, np.arange(25) * 3600.0, edges)


def shift(energy, seconds, curve, *, ready=0.0, within=None, pausable=False):
    """Run a job of `energy` (J at the meter) and `seconds` in the cleanest hours -> Shift.

    curve: 24 carbon intensities in g/kWh, one for each hour of every day. ready (s after midnight): when it could start;
    within (s): it must be done so long after that (a day beyond its length if not given). pausable: it may stop and go
    on. energy broadcasts. Raises RangeError for another curve or too little time.
    """
    energy = amount("energy", getattr(energy, "energy", energy), "J")
    length, ready = float(amount("seconds", seconds, "s", above=0.0)), float(amount("ready", ready, "s"))
    within = length + 86400.0 if within is None else float(amount("within", within, "s"))
    curve = amount("curve", curve, "")
    if curve.shape != (24,):
        raise RangeError(f"curve: got an array of shape {curve.shape}; wanted 24 intensities in g/kWh, one an hour")
    if within < length:
        raise RangeError(f"within: got {within:g} s; the job takes {length:g} s")
    last = ready + within - length

    def mean(start):
        return (_until(curve, np.asarray(start) + length) - _until(curve, start)) / length

    hours = np.arange(np.floor(ready / 3600), np.ceil((ready + within) / 3600) + 1) * 3600.0
    if pausable:
        edges = np.unique(np.clip(np.concatenate([hours, [ready, ready + within]]), ready, ready + within))
        pieces, at = np.diff(edges), edges[:-1]
        clean = curve[(at // 3600 % 24).astype(int)]
        order = np.argsort(clean, kind="stable")
        taken = np.clip(length - np.concatenate([[0.0], np.cumsum(pieces[order])[:-1]]), 0.0, pieces[order])
        best, used = (clean[order] * taken).sum() / length, order[taken > 0]
        start, end = at[used].min(), max(at[i] + t for i, t in zip(order, taken, strict=True) if t > 0)
    else:
        # the mean is linear in the start while neither end crosses an hour, so the best start lies at such a crossing
        starts = np.unique(np.clip(np.concatenate([hours, hours - length, [ready, last]]), ready, last))
        means = mean(starts)
        start, best = starts[means.argmin()], means.min()
        end = start + length
    now, grams = energy * mean(ready) / 3.6e6, energy * best / 3.6e6
    return Shift(
        carbon=grams[()], baseline=now[()], saving=float(1 - best / mean(ready)) if mean(ready) else 0.0, start=float(start),
        seconds=float(end - ready), grow=lambda: Term("carbon", grams, "g", "energy x mean intensity of the hours used"),
        knobs={"energy": lambda s: grams * s},
    )  # fmt: skip
