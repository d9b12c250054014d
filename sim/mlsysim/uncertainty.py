"""Inputs that are not known exactly: distributions go in, 5, 50 and 95 % of every field come out.

    spread(solve, workload="llama-3.1-8b", device="h100", batch=Uniform(1, 64, whole=True), tokens=1, context=2048)
    spread(lambda peak, bandwidth: solve("resnet-50", device("h100").scaled(peak=peak, bandwidth=bandwidth), batch=64),
           peak=LogNormal(1, 0.1), bandwidth=relative(device("h100").bandwidth))
    tornado(mmc, arrivals=Normal(80, 5), service=Triangular(9e-3, 1e-2, 1.2e-2))

Samples are one more leading axis through the same functions, seeded, by Latin hypercube or plain; functions that take one
number at a time, such as scaled(), are called once a sample. Source: McKay, Beckman, Conover 1979.
"""

from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from ._check import amount
from .constants import Figure
from .errors import RangeError, SimError, UnitError, clip, unknown
from .result import UNITS, Result, Term, show
from .units import parse

PLANS = ("latin", "plain")
LEVELS = (0.05, 0.50, 0.95)


def _numbers(name, values):
    """Numbers or texts of one kind -> floats in base units."""
    read = []
    for value in values:
        if isinstance(value, Figure):
            value = f"{value.value} {value.unit}" if not value.unit else value.text
        if isinstance(value, bool) or not isinstance(value, int | float | str | np.floating | np.integer):
            raise UnitError(f"{name}: got {clip(value)}; wanted a number or text with a unit")
        read.append(parse(value) if isinstance(value, str) else (float(value), None))
    kinds = {unit for _, unit in read if unit is not None}
    if len(kinds) > 1:
        raise UnitError(f"{name}: got {' and '.join(sorted(kinds))}; wanted one kind")
    numbers = [x for x, _ in read]
    if not np.isfinite(numbers).all():
        raise RangeError(f"{name}: got {clip(values)}; wanted finite numbers")
    return numbers


@dataclass(frozen=True)
class Dist:
    """A distribution: ppf(share) is the value that this share of draws stays below. whole=True rounds to whole numbers."""

    def at(self, share):
        """Values at shares between 0 and 1, of the same shape."""
        share = np.asarray(share, float)
        values = self.ppf(share)
        return (np.rint(values) if self.whole else values)[()]


def _gauss(share):
    inverse = NormalDist().inv_cdf
    return np.array([inverse(u) for u in share.ravel()]).reshape(share.shape)


@dataclass(frozen=True)
class Normal(Dist):
    """mean and standard deviation, in the same unit; "5 %" of deviation is relative to the mean."""

    mean: float | str
    deviation: float | str
    whole: bool = False

    def ppf(self, share):
        if isinstance(self.deviation, str) and self.deviation.strip().endswith("%"):
            mean = _numbers("Normal", [self.mean])[0]
            deviation = abs(mean) * parse(self.deviation, "%")[0]
        else:
            mean, deviation = _numbers("Normal", [self.mean, self.deviation])
        if deviation < 0:
            raise RangeError(f"deviation: got {deviation:g}; wanted at least 0")
        return mean + deviation * _gauss(share)


@dataclass(frozen=True)
class LogNormal(Dist):
    """median, and the coefficient of variation (relative deviation) of the values; never negative."""

    median: float | str
    variation: float
    whole: bool = False

    def ppf(self, share):
        median, variation = _numbers("median", [self.median])[0], _numbers("variation", [self.variation])[0]
        if median <= 0 or variation < 0:
            raise RangeError(f"LogNormal: got a median of {median:g} and a variation of {variation:g}; wanted above 0 and at least 0")
        return median * np.exp(np.sqrt(np.log1p(variation**2)) * _gauss(share))


@dataclass(frozen=True)
class Uniform(Dist):
    """All values from low to high alike."""

    low: float | str
    high: float | str
    whole: bool = False

    def ppf(self, share):
        low, high = _numbers("Uniform", [self.low, self.high])
        if low > high:
            raise RangeError(f"Uniform: got low {low:g} above high {high:g}")
        return low + (high - low) * share


@dataclass(frozen=True)
class Triangular(Dist):
    """From low to high, most often at mode."""

    low: float | str
    mode: float | str
    high: float | str
    whole: bool = False

    def ppf(self, share):
        low, mode, high = _numbers("Triangular", [self.low, self.mode, self.high])
        if not low <= mode <= high or low == high:
            raise RangeError(f"Triangular: got {low:g}, {mode:g}, {high:g}; wanted low <= mode <= high")
        turn = (mode - low) / (high - low)
        rising = low + np.sqrt(share * (high - low) * (mode - low))
        return np.where(share < turn, rising, high - np.sqrt((1 - share) * (high - low) * (high - mode)))


def relative(figure):
    """A factor around 1 with the relative uncertainty of a Figure, for device.scaled(). 1.0 where the figure has none."""
    return LogNormal(1.0, figure.uncertainty) if figure.uncertainty else 1.0


def _dist(value):
    """The distribution of an input, or None: a Figure with an uncertainty is log-normal around its value."""
    if isinstance(value, Figure) and value.uncertainty:
        return LogNormal(value.value, value.uncertainty)
    return value if isinstance(value, Dist) else None


def shares(count, inputs, *, seed=0, plan="latin"):
    """`inputs` columns of `count` shares in (0, 1). "latin": every column has one share in each of count equal strata."""
    if plan not in PLANS:
        raise unknown("plan", plan, list(PLANS))
    rng = np.random.default_rng(seed)
    inside = rng.random((inputs, count))
    if plan == "latin":
        inside = (np.array([rng.permutation(count) for _ in range(inputs)]).reshape(inputs, count) + inside) / count
    return np.clip(inside, 1e-12, 1 - 1e-12)


def _flat(result, prefix=""):
    """Every number of a result, array, tuple or dict by name."""
    if isinstance(result, Result):
        items = {name: getattr(result, name) for name in result._own()}
    elif isinstance(result, dict):
        items = result
    elif isinstance(result, tuple | list):
        items = dict(enumerate(result))
    else:
        items = {prefix or "value": result}
        prefix = ""
    found = {}
    for name, value in items.items():
        key = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Result | dict | tuple | list):
            found |= _flat(value, key)
        elif isinstance(value, np.ndarray | np.generic | int | float) and np.asarray(value).dtype.kind in "biuf":
            found[key] = np.asarray(value, float)
    return found


@dataclass(frozen=True, kw_only=True)
class Spread(Result):
    """What samples of the inputs made of a result: low, middle and high are 5, 50 and 95 % of every field, by name.

    of is the field that matters most; samples holds all values by field, the samples along the first axis, inputs those of
    the inputs. quantile() gives any other level, drivers() the share of the variation that each input brings.
    """

    headline = "count"

    of: str
    count: int
    low: dict
    middle: dict
    high: dict
    samples: dict = field(repr=False, default_factory=dict)
    inputs: dict = field(repr=False, default_factory=dict)
    measures: dict = field(repr=False, default_factory=dict)

    def quantile(self, level, name=None):
        """The value that a share `level` of the samples of a field (of the headline, if not given) stays below."""
        name = self.of if name is None else name
        if name not in self.samples:
            raise unknown("field", name, list(self.samples))
        if not (np.asarray(level) >= 0).all() or not (np.asarray(level) <= 1).all():
            raise RangeError(f"level: got {clip(level)}; wanted a share from 0 to 1")
        return np.quantile(self.samples[name], level, axis=0)[()]

    def drivers(self):
        """Input -> share of the squared rank correlations with the headline, the largest first. One point only."""
        values = self.samples[self.of]
        if values.ndim != 1:
            raise RangeError(f"drivers() explains one point, this has {values.shape[1:]} of them")
        ranks = {name: np.argsort(np.argsort(x)) for name, x in (self.inputs | {"": values}).items()}
        with np.errstate(invalid="ignore"):
            squares = {name: np.nan_to_num(np.corrcoef(r, ranks[""])[0, 1]) ** 2 for name, r in ranks.items() if name}
        whole = sum(squares.values()) or 1.0
        return dict(sorted(((n, float(s / whole)) for n, s in squares.items()), key=lambda item: -item[1]))

    def __str__(self):
        rows = [("", "5 %", "50 %", "95 %")]
        for name in self.middle:
            rows.append((name, *(show(part[name], self.measures.get(name, "")) for part in (self.low, self.middle, self.high))))
        wide = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join("  ".join(f"{c:<{w}}" if not i else f"{c:>{w}}" for i, (c, w) in enumerate(zip(row, wide, strict=True)))
                         for row in rows)  # fmt: skip


def _split(inputs):
    dists = {name: d for name, value in inputs.items() if (d := _dist(value)) is not None}
    if not dists:
        raise SimError(f"no input is a distribution among {', '.join(inputs) or 'none'}; wanted Normal, LogNormal, Uniform or Triangular")
    return dists, {name: value for name, value in inputs.items() if name not in dists}


def spread(f, *, samples=1000, seed=0, plan="latin", **inputs):
    """f(**inputs) with inputs that are distributions -> Spread of every number that it returns.

    The samples go through f as one leading axis of arrays, before those of any array among the other inputs; a function
    that takes single numbers only is called once for each. The same seed gives the same samples. Raises SimError if no
    input is a distribution, UnknownName for a plan, and whatever f raises for a value it does not allow.
    """
    count = int(amount("samples", samples, "", least=2, whole=True))
    dists, fixed = _split(inputs)
    axes = max((np.ndim(v) for v in fixed.values() if isinstance(v, np.ndarray | list)), default=0)
    drawn = {name: d.at(u) for (name, d), u in zip(dists.items(), shares(count, len(dists), seed=seed, plan=plan), strict=True)}
    try:
        result = f(**fixed, **{name: x.reshape(count, *(1,) * axes) for name, x in drawn.items()})
        flat, first = _flat(result), result
        shape = np.broadcast_shapes(*(v.shape for v in flat.values()), (count, *(1,) * axes))
        flat = {name: np.broadcast_to(v, shape) for name, v in flat.items()}
    except TypeError:  # f wants one number at a time
        results = [f(**fixed, **{name: float(x[i]) for name, x in drawn.items()}) for i in range(count)]
        rows, first = [_flat(r) for r in results], results[0]
        flat = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    if not flat:
        raise SimError(f"f: got a {type(first).__name__}; wanted a result, a number, a tuple or a dict of numbers")
    of = first.headline if isinstance(first, Result) else next(iter(flat))
    low, middle, high = ({n: np.quantile(v, level, axis=0)[()] for n, v in flat.items()} for level in LEVELS)
    measures = UNITS | (first.units if isinstance(first, Result) else {})
    return Spread(of=of, count=count, low=low, middle=middle, high=high, samples=flat, inputs=drawn, measures=measures,
                  grow=lambda: Term(of, middle[of], measures.get(of, ""), f"median of {count} samples"))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Tornado(Result):
    """One input at a time moved from its 5 to its 95 %, the others at their medians; the widest swing first.

    base is the field at the medians, low and high what it is at both ends of each of `names`, swing their distance.
    """

    headline = "base"

    of: str
    base: float
    names: tuple
    low: np.ndarray
    high: np.ndarray
    swing: np.ndarray

    def __str__(self):
        lines = [f"{self.of} = {self.base:.4g} at the medians; at 5 and 95 % of"]
        wide = max(map(len, self.names))
        lines += [f"  {n:<{wide}}  {a:.4g} to {b:.4g}" for n, a, b in zip(self.names, self.low, self.high, strict=True)]
        return "\n".join(lines)


def tornado(f, *, of=None, **inputs):
    """Which uncertain input matters most to f(**inputs) -> Tornado. of: the field; the headline of a result if not given.

    Raises SimError if no input is a distribution or the field is not one number, UnknownName for a field.
    """
    dists, fixed = _split(inputs)
    middle = {name: d.at(0.5) for name, d in dists.items()}
    first = f(**fixed, **middle)
    found = _flat(first)
    name = of or (first.headline if isinstance(first, Result) else next(iter(found), ""))
    if name not in found:
        raise unknown("field", name, list(found))
    if found[name].ndim:
        raise SimError(f"{name}: got an array of shape {found[name].shape}; a tornado is of one number")
    ends = {n: [float(_flat(f(**fixed, **middle | {n: d.at(level)}))[name]) for level in (LEVELS[0], LEVELS[2])] for n, d in dists.items()}
    ranked = sorted(ends, key=lambda n: -abs(ends[n][1] - ends[n][0]))
    low, high = (np.array([ends[n][i] for n in ranked]) for i in (0, 1))
    return Tornado(of=name, base=float(found[name]), names=tuple(ranked), low=low, high=high, swing=np.abs(high - low),
                   grow=lambda: Term(name, float(found[name]), "", "all inputs at their medians"))  # fmt: skip
