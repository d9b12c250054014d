"""A template: a space of parameters, a prompt, and parts whose answers are computed from those parameters.

One template is one file, interviews/templates/<area>/<name>.py, that defines `template = Template(...)`. The functions
in it take a variant `p`: `p.layers` reads a parameter, and `p.but(kv_heads=p.heads)` is the same variant with one thing
changed, which is how most misconceptions are written. What a part can be: parts.py.

Text names parameters as fields (see text.py). A digit outside a field is an error: every number in a prompt is a
parameter.
"""

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from mlsysim import units

from .given import Given, nearest
from .parts import Cause, Choice, Design, Diagnosis, Fermi, Misconception, Part, Table, computed
from .taxonomy import AREAS, CHAPTERS, LEVELS, TOPICS, TRACKS, complaint
from .text import TextError, check, fields

FOLDER = Path(__file__).resolve().parent.parent / "templates"
_RESERVED = {"but", "get", "given", "items", "keys", "parts", "prompt", "values"}

__all__ = ["FOLDER", "Cause", "Choice", "Design", "Diagnosis", "Fermi", "Misconception", "Part", "Table", "Template",
           "TemplateError", "load", "names"]


class TemplateError(ValueError):
    """A template that cannot be right, whatever its parameters. One line."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """What a template file defines. `name` ("memory/kv_cache") comes from where the file lies.

    space      {parameter: choices}; a tuple of parameters takes tuples of values, for things that belong together
    derive     {parameter: function of the ones before}, evaluated once and baked with the rest
    where      which draws make sense: function of p, or None
    prompt     text with the parameters as fields
    table      function of p -> Table, printed under the prompt: a simulated trace, or None
    hidden     parameters that a student is not shown and no text prints, such as the cause behind a table
    figures    {name: function of p}: numbers that feedback and rubrics print, and prompts and questions never
    chapter    of the book, such as "V1-13"; requires: names of templates that come before
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
    table: Callable | None = None
    hidden: tuple = ()
    figures: dict | None = None
    chapter: str = ""
    requires: tuple = ()
    name: str = ""

    def __post_init__(self):
        for field, known in (("area", AREAS), ("track", TRACKS), ("level", tuple(LEVELS))):
            _refuse(complaint(field, getattr(self, field), known))
        _refuse(complaint("topic", self.topic, TOPICS[self.area]))
        _refuse(self.chapter and complaint("chapter", self.chapter, tuple(CHAPTERS)))
        if not isinstance(self.minutes, int) or not 1 <= self.minutes <= 60:
            raise TemplateError(f"minutes is {self.minutes!r}; wants a whole number from 1 to 60")
        if not self.parts:
            raise TemplateError("a template needs at least one part")
        for key, choices in self.space.items():
            _check_choices(key, choices)
        for name in (*self.parameters, *(self.figures or ())):
            if not name.isidentifier() or name.startswith("_") or name in _RESERVED:
                raise TemplateError(f"parameter {name!r} needs another name")
        for name in self.hidden:
            _refuse(complaint("the hidden parameter", name, self.parameters))
        names = [part.name for part in self.parts]
        if len(set(names)) < len(names):
            raise TemplateError(f"parts need different names, got {', '.join(names)}")
        self._check_text("the prompt", self.prompt)
        for i, part in enumerate(self.parts):
            self._check_text(f"the question of part {part.name!r}", part.question)
            for step in part.steps:
                _refuse(complaint(f"part {part.name!r} takes a value called", step, tuple(n.name for n in self.parts[:i] if computed(n)))
                        if i else f"part {part.name!r} takes {step!r}, and no part comes before it")
            {Diagnosis: self._check_diagnosis, Design: self._check_design}.get(type(part), self._check_part)(part)

    @cached_property
    def parameters(self):
        """Names of all parameters, drawn and derived."""
        drawn = [name for key in self.space for name in _names(key)]
        return tuple(drawn) + tuple(self.derive or ())

    @property
    def kinds(self):
        """Kinds of its parts, and "chain" where three or more build on each other."""
        found = list(dict.fromkeys(part.kind for part in self.parts))
        return (*found, "chain") if self.chain >= 3 else tuple(found)

    @property
    def chain(self):
        """The number of parts in the longest run of steps, each of which takes the one before."""
        depth = {}
        for part in self.parts:
            depth[part.name] = 1 + max((depth[step] for step in part.steps), default=0)
        return max(depth.values())

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

    def answers(self, p):
        """The right answer of every part that has a number -> {part: value}, each step with the ones before."""
        values = {}
        for part in self.parts:
            if computed(part):
                values[part.name] = part.value(p, values)
        return values

    def unmentioned(self, p):
        """Parameters that an answer or a misconception reads and neither the texts nor the table tell.

        -> [(part name, parameter)]. A reader who is not told them cannot get the number that is asked for. A step of
        a chain may read what the steps that it takes were told.
        """
        missing, told_to = [], {}
        table = self.table(p) if self.table else Table((), ())
        for part in self.parts:
            printed, reads = fields(self.prompt) | fields(part.question) | set(table.tells), set()
            for step in part.steps:
                printed |= told_to[step]
            told_to[part.name] = printed
            watched = Given(p, reads)
            if computed(part):
                before = self.answers(p)
                part.value(watched, before), part.mistakes(watched, before)
            elif isinstance(part, Diagnosis):
                part.shows(table.as_read(), watched)
            missing += [(part.name, name) for name in sorted(reads - printed)]
        return missing

    def _check_text(self, what, text, figures=()):
        try:
            check(text)
        except TextError as error:
            raise TemplateError(f"{what} {error}") from None
        for field in fields(text):
            if field in figures:
                continue
            if field not in self.parameters:
                raise TemplateError(f"{what} prints {field!r}, which is no parameter{nearest(field, self.parameters)}")
            if field in self.hidden and not figures:
                raise TemplateError(f"{what} prints {field!r}, which is hidden")

    def _feedback(self, what, text):
        self._check_text(what, text, {*(self.figures or ()), *self.hidden})

    def _check_part(self, part):
        if not 0 < part.tol < 0.2:
            raise TemplateError(f"part {part.name!r} has tolerance {part.tol}; wants a fraction between 0 and 0.2")
        if isinstance(part, Fermi) and not 1 < part.within < part.beyond:
            raise TemplateError(f"part {part.name!r} has within={part.within}, beyond={part.beyond}; wants 1 < within < beyond")
        if isinstance(part, Choice) and not 2 <= len(part.misconceptions) <= 5:
            raise TemplateError(f"choice {part.name!r} has {len(part.misconceptions)} misconceptions; wants 2 to 5, its wrong options")
        for bound in part.band:
            if units.parse(bound)[1] != units.parse(f"1 {part.unit}")[1]:
                raise TemplateError(f"part {part.name!r} answers in {part.unit or 'counts'}, its band says {bound!r}")
        names = [m.name for m in part.misconceptions]
        if len(set(names)) < len(names):
            raise TemplateError(f"part {part.name!r} has two misconceptions of one name: {', '.join(names)}")
        for m in part.misconceptions:
            self._feedback(f"the feedback of {m.name!r}", m.why)
            if not 0 <= m.credit < 1:
                raise TemplateError(f"misconception {m.name!r} earns {m.credit}; wants at least 0 and less than 1")

    def _check_diagnosis(self, part):
        if self.table is None:
            raise TemplateError(f"part {part.name!r} is a diagnosis, and the template has no table")
        if part.planted not in self.space:
            raise TemplateError(f"part {part.name!r} plants {part.planted!r}, which is not in the space{nearest(part.planted, self.space)}")
        if part.planted not in self.hidden:
            raise TemplateError(f"part {part.name!r} plants {part.planted!r}, which must be in hidden")
        planted, causes = sorted(set(self.space[part.planted])), sorted(cause.name for cause in part.causes)
        if planted != causes:
            raise TemplateError(f"part {part.name!r} plants {', '.join(planted)} and offers {', '.join(causes)}")
        for cause in part.causes:
            self._check_text(f"the cause {cause.name!r}", cause.text)
            self._feedback(f"the feedback of {cause.name!r}", cause.why)
            if not 0 <= cause.credit < 1:
                raise TemplateError(f"cause {cause.name!r} earns {cause.credit}; wants at least 0 and less than 1")

    def _check_design(self, part):
        shares = [share for share, _ in part.rubric]
        if not shares or abs(sum(shares) - 1) > 1e-9 or min(shares) <= 0:
            raise TemplateError(f"the rubric of {part.name!r} adds up to {sum(shares):g}; wants positive shares that add up to 1")
        for _, text in part.rubric:
            self._feedback(f"the rubric of {part.name!r}", text)


@cache
def load(name, folder=FOLDER):
    """The template called `name` ("memory/kv_cache")."""
    path = Path(folder) / f"{name}.py"
    if not path.is_file():
        there = names(folder)
        hint = (nearest(name, there) or f"; `staffml list` shows the {len(there)} there are") if there else ", which holds no templates"
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


def _refuse(complaint):
    if complaint:
        raise TemplateError(complaint)


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
