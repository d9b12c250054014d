"""What a solver returns: numbers under the same names everywhere, a tree that shows how they came about, and a reason.

    result.seconds, .flop, .memory, .mfu ...   arrays or scalars, in base units
    print(result)                              the numbers and the tree
    result[3], result[1, :]                    one point, or a slice, of an array of results
    result.why()                               the limit that binds, and what a per cent more of each knob would change
    result.to_dict()                           plain data for JSON
"""

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import exp, isfinite, log

import numpy as np

from . import units
from .errors import Infeasible, RangeError

# Every field that several results share, with its unit. A result prints its own fields in this order.
UNITS = {
    "seconds": "s", "rate": "1/s", "flop": "FLOP", "traffic": "B", "memory": "B", "capacity": "B", "mfu": "", "mbu": "",
    "utilization": "", "energy": "J", "power": "W", "carbon": "g", "water": "g", "cost": "USD", "feasible": "",
}  # fmt: skip
_ORDER = {name: i for i, name in enumerate(UNITS)}


@dataclass(frozen=True)
class Term:
    """One line of a breakdown. join says how the parts make the value: "sum", "max", "overlap" (cube root of
    the sum of cubes: hardly more than the largest), "product", or "" for a leaf.
    """

    name: str
    value: float | np.ndarray
    unit: str = "s"
    formula: str = ""
    source: str = ""
    parts: tuple = ()
    join: str = ""

    def __getitem__(self, index):
        parts = tuple(part[index] for part in self.parts)
        return replace(self, value=self.value if np.ndim(self.value) == 0 else self.value[index], parts=parts)

    def spread(self, shape):
        """The same tree with every value stretched to one shape."""
        parts = tuple(part.spread(shape) for part in self.parts)
        return replace(self, value=np.broadcast_to(self.value, shape), parts=parts)

    def find(self, name):
        """The first term of that name, depth first, or None."""
        return self if self.name == name else next((t for p in self.parts if (t := p.find(name))), None)

    def rows(self, depth=0):
        """(depth, term) of this line and all below it."""
        yield depth, self
        for part in self.parts:
            yield from part.rows(depth + 1)

    def __str__(self):
        rows = [("  " * depth + t.name, show(t.value, t.unit), _note(t)) for depth, t in self.rows()]
        wide = [max(len(row[i]) for row in rows) for i in (0, 1)]
        return "\n".join(f"{name:<{wide[0]}}  {value:>{wide[1]}}  {note}".rstrip() for name, value, note in rows)


def _note(term):
    how = {"sum": "sum of", "max": "largest of", "overlap": "overlap of", "product": "product of"}.get(term.join, "")
    return "; ".join(text for text in (term.formula or how, term.source) if text)


def show(value, unit):
    """A value, or the range of an array, as text."""
    x = np.asarray(value)
    if x.ndim == 0:
        if x.dtype.kind in "bUO":
            return str(x)
        return units.format(float(x), unit) if isfinite(x) else str(float(x))
    if x.dtype.kind in "bUO" or not x.size:
        return f"{x.size} values"
    return f"{show(x.min(), unit)} to {show(x.max(), unit)}"


def total(name, parts, unit="s", formula="", source=""):
    """A term that is the sum of its parts."""
    parts = tuple(parts)
    return Term(name, sum(p.value for p in parts), unit, formula, source, parts, "sum")


def largest(name, parts, unit="s", formula="", source=""):
    """A term that is the largest of its parts: they overlap fully."""
    parts = tuple(parts)
    value = parts[0].value
    for part in parts[1:]:
        value = np.maximum(value, part.value)
    return Term(name, value, unit, formula, source, parts, "max")


@dataclass(frozen=True)
class Why:
    """The limit that binds, its share of the headline, and every elasticity.

    An elasticity of -0.9 for "memory bandwidth": one per cent more bandwidth gives 0.9 % less time.
    """

    binding: str
    elasticities: dict
    headline: str

    @property
    def share(self):
        """How much of the headline the binding limit has, from 0 to 1: what no knob reaches counts as the rest."""
        return abs(self.elasticities[self.binding]) / max(1.0, sum(abs(e) for e in self.elasticities.values()))

    def __str__(self):
        lines = [f"{self.binding} binds {self.headline}; one per cent more of"]
        for name, e in sorted(self.elasticities.items(), key=lambda item: -abs(item[1])):
            lines.append(f"  {name:<20} changes it by {e:+.2f} %")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Base of every result. A solver passes `grow`, which makes the tree when somebody looks, and `knobs`.

    knobs: limit -> function of a scale that gives the headline with that limit scaled, everything else as it was.
    """

    headline = "seconds"

    grow: object = field(default=None, repr=False, compare=False)
    knobs: dict = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def tree(self):
        """How the headline came about, as a Term."""
        return self.grow()

    @property
    def shape(self):
        return np.shape(getattr(self, self.headline))

    def _own(self):
        return [f.name for f in fields(self) if f.repr]

    def __getitem__(self, index):
        shape = self.shape
        if not shape:
            raise RangeError("this result is one point; only an array of results has an index")

        def pick(value):
            if isinstance(value, Result):
                return value[index] if value.shape else value
            if isinstance(value, dict):
                return {k: pick(v) for k, v in value.items()}
            fits = isinstance(value, np.ndarray | np.generic | float | int)
            return np.broadcast_to(value, shape)[index] if fits and np.ndim(value) <= len(shape) else value

        return replace(
            self,
            grow=lambda: self.tree.spread(shape)[index],
            knobs={name: _picked(turn, shape, index) for name, turn in self.knobs.items()},
            **{name: pick(getattr(self, name)) for name in self._own()},
        )

    def why(self, step=0.01):
        """Why the headline is what it is -> Why. One point only: index an array of results first."""
        if self.shape:
            raise RangeError(f"why() explains one point, this is {self.shape} of them; index first, such as result[0]")
        if not self.knobs:
            raise RangeError(f"{type(self).__name__} has no limits to vary")
        slopes = {}
        for name, turn in self.knobs.items():
            up, down = float(turn(exp(step))), float(turn(exp(-step)))
            slopes[name] = (log(up) - log(down)) / (2 * step) if up > 0 and down > 0 else 0.0
        binding = max(slopes, key=lambda name: abs(slopes[name]))
        return Why(binding, slopes, self.headline)

    def to_dict(self):
        """Plain numbers, lists and text, the tree included."""
        data = {"result": type(self).__name__} | {name: _plain(getattr(self, name)) for name in self._own()}
        return data | {"tree": _branch(self.tree)} if self.grow else data

    def __str__(self):
        own = {n: getattr(self, n) for n in self._own()}
        inner = [v for v in own.values() if isinstance(v, Result)]
        names = sorted((n for n, v in own.items() if not isinstance(v, Result)), key=lambda n: _ORDER.get(n, len(_ORDER)))
        width = max(map(len, names))
        lines = [f"{n:<{width}}  {_field(own[n], UNITS.get(n, self.units.get(n, '')))}" for n in names]
        trees = [str(r.tree) for r in (self, *inner) if r.grow]
        return "\n\n".join(["\n".join(lines), *trees])

    units = {}  # of fields that only this result has

    def _repr_html_(self):
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


def _picked(turn, shape, index):
    return lambda scale: np.broadcast_to(turn(scale), shape)[index]


def _field(value, unit):
    if isinstance(value, dict):
        return ", ".join(f"{k} {_field(v, '')}" for k, v in value.items())
    if isinstance(value, str | bool | np.bool_ | type(None) | tuple | list):
        return str(value)
    return show(value, unit)


def _plain(value):
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | bool | int | float | type(None)) else str(value)


def _branch(term):
    data = {"name": term.name, "value": _plain(term.value), "unit": term.unit}
    data |= {key: getattr(term, key) for key in ("formula", "source", "join") if getattr(term, key)}
    return data | ({"parts": [_branch(p) for p in term.parts]} if term.parts else {})


def require(fits, allow, what, need, have, unit="B"):
    """The bool array `fits`; raises Infeasible with the worst case unless all of it is true or `allow` is."""
    fits = np.asarray(fits)
    if not allow and not fits.all():
        need, have = (np.broadcast_to(np.asarray(x, float), fits.shape)[~fits].ravel() for x in (need, have))
        at = int(np.argmax(need / have))
        more = "" if fits.ndim == 0 else f" (worst of {need.size} that do not fit)"
        raise Infeasible(
            f"{what} needs {units.format(need[at], unit)}, there is {units.format(have[at], unit)}: "
            f"{need[at] / have[at]:.3g} times that{more}; allow_infeasible=True computes it all the same"
        )
    return fits[()]
