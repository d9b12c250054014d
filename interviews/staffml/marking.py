"""Judging what a student wrote: one part, one text, the variant it belongs to.

Text that cannot be read is no wrong answer: it raises Unreadable, and the student writes it again. A step of a chain
that does not agree with the key is judged once more with the student's own earlier values (carry-forward marking).
What is simply wrong is looked through for common slips (slips.py), which earn nothing.
"""

import math
import re
from dataclasses import dataclass, field

from mlsysim import units
from mlsysim.errors import clip

from .parts import Choice, Design, Diagnosis, Fermi, interval_score
from .slips import slip
from .text import render

_ESTIMATE = 2 / 3                       # of the points of an estimate with an interval; the interval has the rest


class Unreadable(ValueError):
    """The text is not an answer to what is asked. One line."""


@dataclass(frozen=True)
class Mark:
    """What an answer earns. share is 0 to 1, why the sentence of feedback, mistake the misconception it shows.

    value is the answer in SI units (a choice's number), carried the student's own earlier values that made it right,
    interval whether a student's interval holds the truth, None where there is none.
    """

    share: float
    why: str = ""
    mistake: str = ""
    value: float | None = None
    carried: dict = field(default_factory=dict)
    interval: bool | None = None


def read(part, text, options=0):
    """An answer as text -> its value in SI units; for a choice its number, from 1. Raises Unreadable."""
    text = "" if text is None else str(text)
    if not text.strip():
        raise Unreadable(f"{part.name}: no answer yet; write {_wanted(part, options)}")
    if len(text) > 200:
        raise Unreadable(f"{part.name}: got {len(text)} characters; write {_wanted(part, options)}")
    if isinstance(part, Choice | Diagnosis):
        found = re.fullmatch(r"\s*\(?([0-9]{1,2})\)?\.?\s*", text)
        if not found or not 1 <= int(found[1]) <= options:
            raise Unreadable(f"{part.name}: got {clip(text)}; write {_wanted(part, options)}")
        return float(found[1])
    try:
        return units.parse(text, unit=part.unit)[0]
    except units.UnitError as error:
        raise Unreadable(f"{part.name}: {error}") from None


def read_interval(part, text):
    """ "1 GB .. 10 GB" -> (low, high) in SI units. Raises Unreadable unless both are positive and in order."""
    low, dots, high = str(text).partition("..")
    if not dots:
        raise Unreadable(f"{part.name}: got {text!r} for an interval; write LOW .. HIGH, each with its unit")
    low, high = read(part, low), read(part, high)
    if not 0 < low < high:
        raise Unreadable(f"{part.name}: the interval goes from {units.format(low, part.unit)} to {units.format(high, part.unit)}; "
                         "wants a positive number and a larger one")
    return low, high


def mark(template, p, name, text, *, earlier=None, interval=None, answers=None):
    """Judge `text` as the answer to the part called `name` of variant p -> Mark.

    earlier: the student's values of the parts before, {name: value in SI units}; interval: text, for an estimate;
    answers: template.answers(p), if it is at hand. Raises Unreadable, and LookupError for a design, which a person marks.
    """
    part = template.part(name)
    if isinstance(part, Design):
        raise LookupError(f"part {name!r} is a design; a person marks it against its rubric")
    if isinstance(part, Diagnosis):
        return _chosen(template, p, part, text, part.options(p))
    answers = template.answers(p) if answers is None else answers
    if isinstance(part, Choice):
        return _chosen(template, p, part, text, part.options(p, answers))
    value = read(part, text)
    found = _against(template, p, part, value, answers)
    if found.share == 1:
        return _with_interval(part, found, interval, answers[name])
    own = {step: (earlier or {})[step] for step in part.steps if step in (earlier or {})}
    if any(own[step] != answers[step] for step in own):
        carried = _carried(template, p, part, value, answers | own, own)
        if carried and carried.share > found.share:
            return _with_interval(part, carried, interval, answers[name])
    return _with_interval(part, found, interval, answers[name])


def _against(template, p, part, value, before):
    """Hold a value against the part's answer and misconceptions, given the values of the parts before."""
    target = part.value(p, before)
    score = part.score(value, target)
    if score == 1:
        return Mark(1.0, value=value)
    wrong = part.mistakes(p, before)
    for m in part.misconceptions:
        if wrong[m.name] > 0 and part.near(value, wrong[m.name]):
            return Mark(max(m.credit, score), render(m.why, p, template.figures), m.name, value)
    if isinstance(part, Fermi):
        return Mark(score, "Off by less than a factor of ten." if score else "", value=value)
    name, why = slip(part, value, target) or ("", "")
    return Mark(score, why, name, value)


def _carried(template, p, part, value, before, own):
    if not all(x > 0 for x in own.values()):        # from nothing follows nothing: 0 after 0 earns none
        return None
    try:
        target = part.value(p, before)
        found = _against(template, p, part, value, before) if math.isfinite(target) and target > 0 else None
    except (ArithmeticError, ValueError):           # the student's value makes no sense in this step
        return None
    if found is None:
        return None
    if not found.share:
        return None
    named = ", ".join(f"{step} of {units.format(v, template.part(step).unit)}" for step, v in own.items())
    said = f"Right with your own {named}." if found.share == 1 else f"{found.why} Judged with your own {named}."
    return Mark(found.share, said.strip(), found.mistake, value, own)


def _with_interval(part, found, text, target):
    if not isinstance(part, Fermi) or text is None or not str(text).strip():
        return found
    low, high = read_interval(part, text)
    share = _ESTIMATE * found.share + (1 - _ESTIMATE) * interval_score(low, high, target)
    return Mark(share, found.why, found.mistake, found.value, found.carried, low <= target <= high)


def _chosen(template, p, part, text, options):
    number = read(part, text, len(options))
    _, wrong = options[int(number) - 1]
    if wrong is None:
        return Mark(1.0, value=number)
    return Mark(wrong.credit, render(wrong.why, p, template.figures) if wrong.why else "", wrong.name, number)


def _wanted(part, options):
    if isinstance(part, Choice | Diagnosis):
        return f"the number of a choice, from 1 to {options}"
    return f"a number with its unit, such as \"{units.format(units.parse(part.band[0])[0], part.unit)}\"" if part.unit else "a whole number"
