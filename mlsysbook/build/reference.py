"""Run an author source as the reference: what it defines, the checks it declares, its hidden cases, keys and variants.

Only trusted text runs here. Measuring cells (`show`) are left out, so that loading takes milliseconds.
"""

import inspect
import linecache
import sys
import traceback
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from io import StringIO

from ..answers import firmware, identity, mode
from ..answers.check import WORKED, Case, run_case
from ..answers.keys import Decision, Key, Mistake
from ..answers.record import decode
from ..errors import SourceError
from ..labs import tracks
from .source import grade_ids, read

# Errors that no exercise asks for; from the reference they mean a mistake in the source.
_SLIPS = ("NameError", "UnboundLocalError", "NotImplementedError", "ImportError", "ModuleNotFoundError", "RecursionError")


_SHARED = ("tinytorch._ext.", "tinytorch.backend.")


@dataclass
class Reference:
    """A loaded author source. `checks` by name (CheckSpec), `hidden` and `keys` by name (functions), `pool` (list of dict).

    `tracks` are those of its scenario; without variants of its own such a lab has one for each track.

    `modules` are the copies of the framework's modules that it runs on; `released` are the keys' values as snapshot() had
    them when a class was given the assignment.
    """

    assignment: object
    cells: list
    checks: dict = field(default_factory=dict)
    hidden: dict = field(default_factory=dict)
    keys: dict = field(default_factory=dict)
    answers: dict = field(default_factory=dict)
    predictions: dict = field(default_factory=dict)
    rulings: dict = field(default_factory=dict)
    decisions: dict = field(default_factory=dict)
    pool: list = field(default_factory=list)
    tracks: tuple = ()
    course: str = ""
    modules: dict = field(default_factory=dict, repr=False)
    released: dict = field(default_factory=dict, repr=False)
    _pooled: dict = field(default_factory=dict, repr=False)

    @property
    def items(self):
        return grade_ids(self.cells)

    def track(self, student, entries=()):
        """The track of `student`, whose verified log has these entries; None where variants have no tracks."""
        offered = tracks.offered_by(self.pool)
        return (tracks.of_log(entries, offered) or tracks.lot(self.course, student, offered)) if offered else None

    def variant(self, student, track=None):
        """Parameters of `student`, {} where everyone has the same. track: the one that their log fixes."""
        if not self.pool:
            return {}
        return identity.of_pool(self.pool, self.course, self.assignment.id, student, track or self.track(student))

    def key(self, name, v, earlier=None):
        """The Key of answer `name` for variant v. earlier: a student's own {name: value} of the key's steps."""
        with apart(self.modules):
            made = self._key(name, v, earlier)
        return made if earlier or name not in self.released else self._as_released(made, name, v)

    def answered_by(self, name, value):
        """The variants of the pool whose answer `name` is this value. Their keys are computed once."""
        if name not in self._pooled:
            self._pooled[name] = [self.key(name, v) for v in self.pool]
        return [v for v, key in zip(self.pool, self._pooled[name], strict=True) if key.grade(value)[0] == 1.0]

    def snapshot(self):
        """What the keys are now -> {answer: [[value, value of each mistake, ...] for each variant]}, JSON data."""
        with apart(self.modules):
            ruled = {name: [self._ruling(name, v).binding for v in self.pool or [{}]] for name in self.rulings}
            return ruled | {name: [[key.value, *(m.value for m in key.mistakes)] for key in (self._key(name, v) for v in self.pool or [{}])]
                    for name in self.keys}

    def _as_released(self, made, name, v):
        """The key with the values of the release: the library may know better figures since, and students had the old ones."""
        rows = self.released[name]
        value, *wrong = rows[self._row(v)]
        if len(wrong) != len(made.mistakes):
            raise self.cell("key", name).error("has other mistakes than when it was released; release it again with --force")
        return replace(made, value=value, mistakes=tuple(replace(m, value=x) for m, x in zip(made.mistakes, wrong, strict=True)))

    def ruling(self, name, v):
        """The Decision that is the key of decision `name` for variant v. What binds is what bound at the release."""
        with apart(self.modules):
            made = self._ruling(name, v)
        return replace(made, binding=self.released[name][self._row(v)]) if name in self.released else made

    def options(self, name):
        """What may be named as binding in decision `name`: the same for all variants, so that the cell can list it."""
        with apart(self.modules):
            found = {tuple(self._ruling(name, v).options) for v in self.pool or [{}]}
        if len(found) != 1:
            raise self.cell("key", name).error("has other options for other variants; one list must serve all of them")
        return found.pop()

    def _ruling(self, name, v):
        made, cell = self.rulings[name](v), self.cell("key", name)
        if not isinstance(made, Decision):
            raise cell.error(f"key(v) of a decision must return a Decision, got {type(made).__name__}")
        for named in (made.binding, *made.wrong):
            if named not in made.options or named == made.binding and named in made.wrong:
                raise cell.error(f"names {named!r} among its wrong or binding limits; options are {', '.join(made.options)}")
        return made

    def _row(self, v):
        return next((i for i, w in enumerate(self.pool) if w is v or w == v), 0)

    def unit(self, name):
        """The unit of answer `name`, which is that of all variants."""
        with apart(self.modules):
            units = {self._key(name, v).unit for v in self.pool or [{}]}
        if len(units) != 1:
            raise self.cell("key", name).error(f"the unit differs between variants: {', '.join(sorted(units))}")
        return units.pop()

    def _key(self, name, v, earlier=None):
        key = self.keys[name]
        chained = len(inspect.signature(key).parameters) == 2
        made = key(v, earlier) if chained else key(v)
        if not isinstance(made, Key):
            raise self.cell("key", name).error(f"key(v) must return a Key, got {type(made).__name__}")
        if made.steps and not chained:
            raise self.cell("key", name).error(f"rests on {', '.join(made.steps)}; write key(v, earlier) and pass earlier on")
        return made

    def hidden_cases(self, name, rng):
        """Hidden cases of check `name` drawn from a generator -> list of Case, the core behaviour first."""
        with apart(self.modules):
            cases = list(self.hidden[name](rng))
        if not cases or any(c.behaviour == WORKED for c in cases):
            raise self.cell("hidden", name).error("cases(rng) must yield cases, each with a behaviour")
        return cases

    def outcomes(self, name, cases):
        """What the reference does on each case -> list of JSON-able outcomes. A slip of its author is a SourceError."""
        with quiet(_Collector(self)), apart(self.modules):
            made = self._firmware(name, cases) if self.checks[name].firmware else [run_case(self.checks[name].call, c) for c in cases]
        for c, outcome in zip(cases, made, strict=True):
            if outcome.get("raised", [""])[0] in _SLIPS:
                raise self.cell("check", name).error(f"the reference raises {outcome['raised'][0]} on {c.args!r:.80}: "
                                                      f"{outcome['message']}")
        return made

    def _firmware(self, name, cases):
        """What the reference's program would answer, by `expect`; no compiler is wanted for that."""
        spec = self.checks[name]
        made = run_case(spec.call, Case((), {}))
        if "out" not in made:
            raise self.cell("check", name).error(f"the reference raises {made['raised'][0]}: {made['message']}")
        try:
            firmware.texts(spec.firmware, product := decode(made["out"]))
        except firmware.NoProduct as error:
            raise self.cell("check", name).error(f"the reference's product: {error}") from None
        try:
            return firmware.outcomes(spec, product, cases)
        except Exception as error:
            raise self.cell("check", name).error(f"expect raises {type(error).__name__} on the reference's product: {error}") from error

    def expected(self, name, product, cases):
        """What a right program that is built of `product` answers -> outcomes. Raises anything, if the product is forged."""
        with quiet(_Collector(self)), apart(self.modules):
            return firmware.outcomes(self.checks[name], product, cases)

    def cell(self, kind, name):
        """The cell of that kind and name."""
        return next(c for c in self.cells if c.kind == kind and c.name == name)


class _Collector:
    """Takes what check, answer and predict say while the reference is loaded."""

    def __init__(self, reference):
        self.reference = reference

    def check(self, spec):
        self.reference.checks[spec.name] = spec

    def answer(self, name, text):
        self.reference.answers[name] = text

    def decided(self, name, made):
        raise LookupError("decided() is called in the cell that `mlsys build` adds; here, assign decision(...)")

    def predict(self, name, text, low, high):
        self.reference.predictions[name] = (text, low, high)
        return True

    def locked(self, name):
        return True

    def reveal(self, name):
        return True

    def scenario(self, offered):
        self.reference.tracks = offered
        return self.variant().get("track", offered[0])

    def variant(self):
        if not self.reference.pool and self.reference.tracks:
            return {"track": self.reference.tracks[0]}
        if not self.reference.pool:
            raise LookupError("variant() is called before the variants cell; put that cell first")
        return self.reference.pool[0]


@contextmanager
def quiet(handler):
    """Listen to check, answer and predict, and keep what the cells print off the terminal."""
    before, mode.handler = mode.handler, handler
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        mode.handler = before


@contextmanager
def apart(modules):
    """Run a block on copies of the framework's modules that nobody else has: `modules`, and those that it imports.

    A module such as autograd installs itself into the classes of earlier ones, and so does its notebook. What one reference
    installs must not reach another in the same process. Compiled kernels, which load once in a process, stay shared.
    """
    def own():
        return {n: m for n, m in sys.modules.items() if (n + ".").startswith("tinytorch.") and not (n + ".").startswith(_SHARED)}

    outside = own()
    for name in outside:
        del sys.modules[name]
    sys.modules.update(modules)
    try:
        yield
    finally:
        modules.update(own())
        for name in own():
            del sys.modules[name]
        sys.modules.update(outside)


def keys_beside(author):
    """Where the values of its keys are kept beside a class's copy of an author source."""
    return author.with_suffix(".keys.json")


def load(course, assignment, author=None, pool=None):
    """Read and run the author source of `assignment` -> Reference. Raises SourceError at file:line.

    author: another copy of the source, such as the one that a class was released from. pool: the variants that were
    released; without it they are drawn anew, which a later template or library may do otherwise.
    """
    ref = Reference(assignment, read(author or assignment.author_source), pool=pool or [], course=course.id)
    ns = {"__name__": "__main__", "Decision": Decision, "Key": Key, "Mistake": Mistake}
    with quiet(_Collector(ref)), apart(ref.modules):
        for cell in ref.cells:
            if cell.kind in ("markdown", "rubric", "show"):
                continue
            _run(cell, ns)
            if cell.kind == "variants" and pool is None:
                ref.pool = _pool(cell, ns)
            elif cell.kind == "hidden":
                ref.hidden[cell.name] = _take(cell, ns, "cases")
            elif cell.kind == "key":
                ruled = any(c.kind == "decision" and c.name == cell.name for c in ref.cells)
                (ref.rulings if ruled else ref.keys)[cell.name] = _take(cell, ns, "key")
            elif cell.kind == "answer":
                ref.answers[cell.name] = _take(cell, ns, cell.name)
            elif cell.kind == "decision":
                ref.decisions[cell.name] = _take(cell, ns, cell.name)
            elif cell.kind == "check":
                spec = ref.checks.get(cell.name)
                if spec is None:
                    raise cell.error(f"must call check({cell.name!r}, ...)")
                if spec.call is None:
                    raise cell.error(f"there is no function {spec.name}; define it before or pass call=")
                if not spec.cases:
                    raise cell.error("shows no case to the student")
    if ref.tracks:
        ref.pool = ref.pool or [{"track": t} for t in ref.tracks]
        if ref.tracks != tracks.offered_by(ref.pool):
            raise SourceError(ref.cells[0].path, 1, f"its scenario has the tracks {', '.join(ref.tracks)}, its variants "
                              f"{', '.join(tracks.offered_by(ref.pool)) or 'none'}: both want the same, variants in front")
    return ref


def _run(cell, ns):
    name = str(cell.path)
    text = "\n" * cell.line + cell.code
    linecache.cache.setdefault(name, (len(text), None, text.splitlines(True), name))
    try:
        exec(compile(text, name, "exec", dont_inherit=True), ns)
    except SyntaxError as error:
        raise SourceError(cell.path, error.lineno or cell.line, f"{error.msg} in cell {cell.kind} {cell.name}".rstrip()) from None
    except SourceError:
        raise
    except Exception as error:
        inside = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
        where = f" in cell {cell.kind} {cell.name}".rstrip()
        raise SourceError(cell.path, inside[-1] if inside else cell.line, f"{type(error).__name__}: {error}{where}") from error


def _take(cell, ns, name):
    if name not in ns:
        raise cell.error(f"must define {name}")
    return ns.pop(name) if name in ("cases", "key", "pool") else ns[name]


def _pool(cell, ns):
    pool = list(_take(cell, ns, "pool")())
    if not pool or not all(isinstance(v, dict) for v in pool):
        raise cell.error("pool() must give dicts, at least one")
    codes = {identity.code(v) for v in pool}
    if len(codes) != len(pool):
        raise cell.error(f"pool() repeats itself: {len(pool)} variants, {len(codes)} of them distinct")
    if wrong := tracks.problem(pool):
        raise cell.error(wrong)
    return pool
