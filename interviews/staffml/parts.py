"""What a template can ask: a number, a choice, an estimate, a diagnosis, a design.

    Part        a number with its unit, graded within a tolerance
    Choice      the same number among those that its misconceptions lead to
    Fermi       an order of magnitude, scored on a logarithmic scale, with the student's own interval
    Diagnosis   the cause that was planted in the template's table
    Design      free text, marked by a person against a rubric

Functions take a variant `p`. A part whose functions also take the names of earlier parts, `lambda p, cache: ...`, is a
step of a chain: it is given their values, right ones for the key and a student's own ones for carry-forward marking.
"""

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

SEPARATION = 2.5                        # windows of two values never touch: 2 tolerances, and some air
INTERVAL = 0.9                          # share of a student's intervals that should hold the truth
_DECADES = 2                            # an interval so wide, or a penalty so high, earns nothing


@dataclass(frozen=True)
class Misconception:
    """A wrong way to the answer: its value, the fraction of the points it earns, a sentence of feedback."""

    name: str
    value: Callable
    credit: float
    why: str


@dataclass(frozen=True)
class Part:
    """One question with one number for an answer.

    answer(p) returns it in SI units; `unit` is the symbol in which the answer is printed, such as s, h, OP, bit/s, "" for a count;
    `band` holds the least and the largest plausible answer, as text with units. `tol` is relative. `rounding` (math.floor or
    math.ceil) makes the answer a whole number that must be met exactly; misconceptions are rounded the same way.
    """

    name: str
    question: str
    unit: str
    answer: Callable
    band: tuple[str, str]
    misconceptions: tuple = ()
    tol: float = 0.02
    rounding: Callable | None = None
    kind = "number"

    @property
    def steps(self):
        """Names of the earlier parts that the answer or a misconception takes, in the order of first use."""
        return tuple(dict.fromkeys(n for f in (self.answer, *(m.value for m in self.misconceptions)) for n in _earlier(f)))

    def value(self, p, earlier=None):
        """The right answer for p, in SI units. earlier: {name of an earlier part: its value} for a step of a chain."""
        return self._finish(_call(self.answer, p, earlier))

    def mistakes(self, p, earlier=None):
        """What each misconception leads to for p -> {name: value}."""
        return {m.name: self._finish(_call(m.value, p, earlier)) for m in self.misconceptions}

    def hangs(self, p, wobble, earlier=None):
        """Whether a relative change of `wobble` before rounding changes the whole number."""
        if not self.rounding:
            return False
        exact = _call(self.answer, p, earlier)
        return any(self.rounding(exact * f) != self.rounding(exact) for f in (1 - wobble, 1 + wobble))

    @property
    def tolerance(self):
        """Relative tolerance when grading: 0 for a whole number."""
        return 0.0 if self.rounding else self.tol

    def near(self, value, target):
        """Whether `value` counts as `target`."""
        return abs(value - target) <= self.tolerance * abs(target)

    def apart(self, a, b):
        """Whether no answer can count as both a and b, with air between."""
        return abs(a - b) > SEPARATION * self.tolerance * max(abs(a), abs(b))

    def score(self, value, target):
        """Share of the points for `value` where `target` is right, before misconceptions: 0 to 1."""
        return float(self.near(value, target))

    def _finish(self, value):
        value = float(value)
        return float(self.rounding(value)) if self.rounding and math.isfinite(value) else value


@dataclass(frozen=True)
class Choice(Part):
    """The number among those that its misconceptions lead to, each printed in the part's unit.

    As a step of a chain it rests on the right values of the steps before: choices are printed before anybody answers.
    """

    kind = "choice"

    def options(self, p, earlier=None):
        """[(value, misconception or None)] in an order that depends on the variant alone."""
        wrong = self.mistakes(p, earlier)
        listed = [(self.value(p, earlier), None), *((wrong[m.name], m) for m in self.misconceptions)]

        def place(option):
            # By name: a variant that was stored and read again has its parameters in another order.
            text = "\x1f".join((self.name, option[1].name if option[1] else "", *(str(p[name]) for name in sorted(p))))
            return hashlib.sha256(text.encode()).digest()

        return sorted(listed, key=place)


@dataclass(frozen=True)
class Fermi(Part):
    """An order of magnitude. Within `within` times of the truth earns everything, `beyond` times off nothing."""

    within: float = 2.0
    beyond: float = 10.0
    kind = "fermi"

    @property
    def tolerance(self):
        return self.within - 1

    def near(self, value, target):
        return value > 0 and abs(math.log(value / target)) <= math.log(self.within)

    def apart(self, a, b):
        return abs(math.log(a / b)) > SEPARATION * math.log(self.within)

    def score(self, value, target):
        """1 within a factor `within`, 0 from a factor `beyond` on, linear in the logarithm between."""
        if value <= 0:
            return 0.0
        off = abs(math.log(value / target))
        near, far = math.log(self.within), math.log(self.beyond)
        return min(max((far - off) / (far - near), 0.0), 1.0)


def interval_score(low, high, target):
    """Share of the points for an interval that should hold `target` nine times in ten: 0 to 1.

    The interval score on a scale of decades, (width + 2/0.1 times the distance by which it misses), from 1 for a
    point that is right to 0 for two decades. Clipped at 0, so an honest interval does best for somebody who is mostly
    within a factor of two, and a narrower one for somebody who guesses wildly.
    Source: Gneiting, Raftery 2007, Strictly proper scoring rules, eq. 43.
    """
    low, high, target = (math.log10(x) for x in (low, high, target))
    penalty = high - low + 2 / (1 - INTERVAL) * max(low - target, target - high, 0.0)
    return max(1 - penalty / _DECADES, 0.0)


@dataclass(frozen=True)
class Cause:
    """One possible cause: its name, the choice as the student reads it, credit and feedback where it is the wrong one."""

    name: str
    text: str
    credit: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Which cause was planted? `planted` is the parameter that holds its name, which the student never sees.

    shows(table, p) finds the cause from the printed table again and may read what the prompt prints, no more; a variant
    whose table does not show its cause is refused.
    """

    name: str
    question: str
    planted: str
    causes: tuple
    shows: Callable
    kind = "diagnosis"
    steps = ()

    def options(self, p):
        """[(cause, misconception or None)] in the author's order."""
        return [(cause, None if cause.name == p[self.planted] else cause) for cause in self.causes]


@dataclass(frozen=True)
class Design:
    """Free text. rubric: ((share of the points, what earns it), ...), shares adding up to 1; it may print figures."""

    name: str
    question: str
    rubric: tuple
    kind = "design"
    steps = ()


@dataclass(frozen=True)
class Table:
    """What a template's `table` function returns: a simulated trace, or measurements.

    columns: (header, unit) each, unit None for text. `tells` names the parameters that the cells give away, so that
    answers may read them.
    """

    columns: tuple
    rows: tuple
    tells: tuple = field(default=())

    def printed(self):
        """The cells as text."""
        from mlsysim import units

        return [[str(cell) if unit is None else units.format(cell, unit) for cell, (_, unit) in zip(row, self.columns, strict=True)]
                for row in self.rows]

    def as_read(self):
        """The table with the rounded numbers that a reader has -> Table."""
        from mlsysim import units

        rows = tuple(tuple(text if unit is None else units.parse(text)[0] for text, (_, unit) in zip(row, self.columns, strict=True))
                     for row in self.printed())
        return Table(self.columns, rows, self.tells)


def computed(part):
    """Whether a part has a number for a key."""
    return isinstance(part, Part)


@lru_cache(maxsize=4096)
def _earlier(function):
    """Names of a function's parameters after the first that have no default."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):                 # a builtin that does not say
        return ()
    return tuple(x.name for x in parameters if x.default is x.empty and x.kind is x.POSITIONAL_OR_KEYWORD)


def _call(function, p, earlier):
    names = _earlier(function)
    if not names:
        return function(p)
    if not isinstance(earlier, Mapping) or any(name not in earlier for name in names):
        raise LookupError(f"this step takes the values of {', '.join(names)}; pass earlier={{name: value}}")
    return function(p, **{name: earlier[name] for name in names})
