"""A template: a space of parameters, a prompt, and parts whose answers are computed from those parameters.

One template is one file, interviews/templates/<area>/<name>.py, that defines `template = Template(...)`. The functions
in it take a variant `p`: `p.layers` reads a parameter, and `p.but(kv_heads=p.heads)` is the same variant with one thing
changed, which is how most misconceptions are written.

Text names parameters as fields (see text.py). A digit outside a field is an error: every number in a prompt is a
parameter.
"""

import importlib.util
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from mlsysim import units

from .given import Given, nearest
from .text import TextError, check, fields

AREAS = ("architecture", "compute", "memory", "latency", "precision", "power", "optimization", "parallelism",
         "networking", "deployment", "reliability", "data", "cross-cutting")
TRACKS = ("cloud", "edge", "mobile", "tiny", "global")
LEVELS = ("L1", "L2", "L3", "L4", "L5", "L6+")
FOLDER = Path(__file__).resolve().parent.parent / "templates"
_RESERVED = {"but", "get", "given", "items", "keys", "parts", "prompt", "values"}


class TemplateError(ValueError):
    """A template that cannot be right, whatever its parameters. One line."""


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

    answer(p) returns it in SI units; `unit` is the unit's symbol ("" for a count); `band` holds the least and the
    largest plausible answer, as text with units. `tol` is relative. `rounding` (math.floor or math.ceil) makes the
    answer a whole number that must be met exactly; misconceptions are rounded the same way.
    """

    name: str
    question: str
    unit: str
    answer: Callable
    band: tuple[str, str]
    misconceptions: tuple = ()
    tol: float = 0.02
    rounding: Callable | None = None

    def value(self, p):
        """The right answer for p, in SI units."""
        return self._finish(self.answer(p))

    def mistakes(self, p):
        """What each misconception leads to for p -> {name: value}."""
        return {m.name: self._finish(m.value(p)) for m in self.misconceptions}

    @property
    def tolerance(self):
        """Relative tolerance when grading: 0 for a whole number."""
        return 0.0 if self.rounding else self.tol

    def _finish(self, value):
        value = float(value)
        return float(self.rounding(value)) if self.rounding and math.isfinite(value) else value


@dataclass(frozen=True, kw_only=True)
class Template:
    """What a template file defines. `name` ("memory/kv_cache") comes from where the file lies.

    space      {parameter: choices}; a tuple of parameters takes tuples of values, for things that belong together
    derive     {parameter: function of the ones before}, evaluated once and baked with the rest
    where      which draws make sense: function of p, or None
    prompt     text with the parameters as fields
    """

    title: str
    area: str
    topic: str
    track: str
    level: str
    minutes: int
    space: dict
    prompt: str
    parts: tuple
    derive: dict | None = None
    where: Callable | None = None
    name: str = ""

    def __post_init__(self):
        for field, known in (("area", AREAS), ("track", TRACKS), ("level", LEVELS)):
            value = getattr(self, field)
            if value not in known:
                raise TemplateError(f"{field} {value!r} is not one of {', '.join(known)}{nearest(value, known)}")
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.topic):
            raise TemplateError(f"topic {self.topic!r} must be words in lower case joined by hyphens")
        if not self.parts:
            raise TemplateError("a template needs at least one part")
        for key, choices in self.space.items():
            _check_choices(key, choices)
        for name in self.parameters:
            if not name.isidentifier() or name.startswith("_") or name in _RESERVED:
                raise TemplateError(f"parameter {name!r} needs another name")
        names = [part.name for part in self.parts]
        if len(set(names)) < len(names):
            raise TemplateError(f"parts need different names, got {', '.join(names)}")
        self._check_text("the prompt", self.prompt)
        for part in self.parts:
            self._check_part(part)

    @property
    def parameters(self):
        """Names of all parameters, drawn and derived."""
        drawn = [name for key in self.space for name in _names(key)]
        return tuple(drawn) + tuple(self.derive or ())

    def part(self, name):
        """The part called `name`."""
        for part in self.parts:
            if part.name == name:
                return part
        names = [part.name for part in self.parts]
        raise TemplateError(f"{self.name} has no part {name!r}; it has {', '.join(names)}{nearest(name, names)}")

    def given(self, drawn):
        """Complete drawn values with the derived ones -> Given."""
        values = dict(drawn)
        for name, function in (self.derive or {}).items():
            value = function(Given(values))
            values[name] = value.item() if hasattr(value, "item") else value           # NumPy scalars are no JSON
        return Given(values)

    def unmentioned(self, p):
        """Parameters that an answer or a misconception reads and neither the prompt nor its own question prints.

        -> [(part name, parameter)]. A reader who is not told them cannot get the number that is asked for.
        """
        missing = []
        for part in self.parts:
            printed, reads = fields(self.prompt) | fields(part.question), set()
            watched = Given(p, reads)
            part.value(watched), part.mistakes(watched)
            missing += [(part.name, name) for name in sorted(reads - printed)]
        return missing

    def _check_text(self, what, text):
        try:
            check(text)
        except TextError as error:
            raise TemplateError(f"{what} {error}") from None
        for field in fields(text):
            if field not in self.parameters:
                raise TemplateError(f"{what} prints {field!r}, which is no parameter{nearest(field, self.parameters)}")

    def _check_part(self, part):
        self._check_text(f"the question of part {part.name!r}", part.question)
        if not 0 < part.tol < 0.2:
            raise TemplateError(f"part {part.name!r} has tolerance {part.tol}; wants a fraction between 0 and 0.2")
        for bound in part.band:
            unit = units.parse(bound)[1]
            if unit != part.unit:
                raise TemplateError(f"part {part.name!r} answers in {part.unit or 'counts'}, its band says {bound!r}")
        names = [m.name for m in part.misconceptions]
        if len(set(names)) < len(names):
            raise TemplateError(f"part {part.name!r} has two misconceptions of one name: {', '.join(names)}")
        for m in part.misconceptions:
            self._check_text(f"the feedback of {m.name!r}", m.why)
            if not 0 <= m.credit < 1:
                raise TemplateError(f"misconception {m.name!r} earns {m.credit}; wants at least 0 and less than 1")


@cache
def load(name, folder=FOLDER):
    """The template called `name` ("memory/kv_cache")."""
    path = Path(folder) / f"{name}.py"
    if not path.is_file():
        there = names(folder)
        hint = (nearest(name, there) or f"; there are {', '.join(there)}") if there else ", which holds no templates"
        raise TemplateError(f"no template {name!r} in {folder}{hint}")
    spec = importlib.util.spec_from_file_location("staffml_template_" + re.sub(r"\W", "_", name), path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except TemplateError as error:
        raise TemplateError(f"{path}: {error}") from None
    if not isinstance(getattr(module, "template", None), Template):
        raise TemplateError(f"{path}: defines no `template`")
    template = replace(module.template, name=name)
    if template.area != name.split("/")[0]:
        raise TemplateError(f"{path}: its area is {template.area}, so it belongs in {template.area}/")
    return template


def names(folder=FOLDER):
    """Names of all templates in a folder, sorted."""
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in Path(folder).glob("*/*.py"))


def _names(key):
    return key if isinstance(key, tuple) else (key,)


def _check_choices(key, choices):
    what = ", ".join(_names(key))
    if not choices:
        raise TemplateError(f"parameter {what} has no choices")
    for choice in choices:
        values = choice if isinstance(key, tuple) else (choice,)
        if not isinstance(values, tuple) or len(values) != len(_names(key)):
            raise TemplateError(f"parameters {what} take tuples of {len(_names(key))} values, got {choice!r}")
        if not all(type(value) in (int, float, str) for value in values):
            raise TemplateError(f"parameter {what} takes whole numbers, floats and text, got {choice!r}")
