"""Variants of a template: drawn by SHA-256, vetted, and baked into data that needs no template to be read.

Draw i of a parameter is a pure function of (template name, i, parameter), so a pool is the same on every machine and
version, and a new parameter leaves the draws of the others alone.
"""

import hashlib
import itertools
import math
from collections import Counter

from mlsysim import units

from .given import Given
from .template import TemplateError, load
from .text import render

SEPARATION = 2.5                        # windows of two values never touch: 2 tolerances, and some air
DRAWS_PER_VARIANT = 200
_WOBBLE = 0.005                         # a whole number must not hang on a rounding of half a per cent


class PoolError(ValueError):
    """A template whose space does not give as many variants as asked. One line with what the draws failed on."""


def draw(name, i, space):
    """Draw number i from a space of choices -> {parameter: value}."""
    values = {}
    for key, choices in space.items():
        parameters = key if isinstance(key, tuple) else (key,)
        digest = hashlib.sha256("\x1f".join((name, str(i), *parameters)).encode()).digest()
        chosen = choices[int.from_bytes(digest[:8], "big") % len(choices)]
        values.update(zip(parameters, chosen if isinstance(key, tuple) else (chosen,), strict=True))
    return values


def pool(template, n):
    """The first n vetted variants of a template -> [Given].

    None has a `flaw`. No two share all their answers, hence no two share a prompt.
    Raises PoolError when the space does not hold n, TemplateError when a prompt keeps an input to itself.
    """
    kept, refused, tried, answers = [], Counter(), set(), set()
    size = math.prod(len(choices) for choices in template.space.values())
    for i in itertools.count():
        if len(kept) == n:
            return kept
        if len(tried) == size or i == DRAWS_PER_VARIANT * n:
            reasons = ", ".join(f"{count} {reason}" for reason, count in refused.most_common()) or "none refused"
            raise PoolError(f"{template.name} gives {len(kept)} of {n} variants from {len(tried)} of {size} "
                            f"combinations ({reasons}): widen the space or drop a misconception")
        drawn = draw(template.name, i, template.space)
        combination = tuple(drawn.values())
        if combination in tried:
            continue
        tried.add(combination)
        p = template.given(drawn)
        reason = flaw(template, p)
        if reason is None:
            for part, missing in template.unmentioned(p):
                raise TemplateError(f"{template.name}: part {part!r} reads {missing!r}, which no text prints")
            answer = tuple(part.value(p) for part in template.parts)
            if answer in answers:
                reason = "not distinct"
            else:
                answers.add(answer), kept.append(p)
        if reason is not None:
            refused[reason] += 1


def flaw(template, p):
    """Why p may not be a variant, in two or three words; None if it may."""
    if template.where and not template.where(p):
        return "outside `where`"
    for part in template.parts:
        right = part.value(p)
        values = [right, *part.mistakes(p).values()]
        if not all(math.isfinite(value) and value > 0 for value in values):
            return f"{part.name} not finite and positive"
        low, high = (units.parse(bound)[0] for bound in part.band)
        if not low <= right <= high:
            return f"{part.name} outside its band"
        if part.rounding and any(part.rounding(part.answer(p) * f) != right for f in (1 - _WOBBLE, 1 + _WOBBLE)):
            return f"{part.name} too close to the next whole number"
        if not survives_print(right, part):
            return f"{part.name} lost in printing"
        if not separable(values, part.tolerance):
            return f"{part.name} not separable"
    return None


def survives_print(value, part):
    """Whether the value printed in the part's unit reads back within a quarter of its tolerance."""
    read, unit = units.parse(units.format(value, part.unit))
    return unit == part.unit and abs(read - value) <= part.tolerance / 4 * abs(value)


def separable(values, tolerance):
    """Whether every two values differ by more than SEPARATION tolerances of the larger one."""
    return all(abs(a - b) > SEPARATION * tolerance * max(abs(a), abs(b)) for a, b in itertools.combinations(values, 2))


def bake(name, n=200):
    """n variants of the template called `name`, as the JSON data that a notebook carries.

    Each holds the parameters, the finished prompt and the questions: what a student may see, and no more.
    """
    template = load(name)
    return [{"template": name, "given": dict(p), "prompt": render(template.prompt, p),
             "parts": {part.name: _question(template, part, p) for part in template.parts}} for p in pool(template, n)]


def _question(template, part, p):
    return {"question": render(part.question, p), "unit": part.unit, "tolerance": part.tolerance}


def given(template, variant):
    """The parameters in a baked variant -> Given. Raises TemplateError if the template has changed since."""
    if set(variant["given"]) != set(template.parameters):
        had, has = (", ".join(sorted(names)) for names in (variant["given"], template.parameters))
        raise TemplateError(f"this variant of {template.name} has the parameters {had}, the template now has {has}: "
                            "grade with the version that was released")
    return Given(variant["given"])
