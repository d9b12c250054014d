"""Variants of a template: drawn by SHA-256, vetted, and baked into data that needs no template to be read.

Draw i of a parameter is a pure function of (template name, i, parameter), so a pool is the same on every machine and
version, and a new parameter leaves the draws of the others alone. A pool is therefore stored as the numbers of its
draws (pools.py).
"""

import hashlib
import itertools
import math
from collections import Counter

from mlsysim import units

from .given import Given
from .parts import Choice, Diagnosis, computed
from .template import TemplateError, load
from .text import TextError, check, render

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

    None has a `flaw`. No two share all their answers and their table, hence no two share a prompt.
    Raises PoolError when the space does not hold n, TemplateError when a prompt keeps an input to itself.
    """
    return [p for _, p in accepted(template, n)]


def accepted(template, n):
    """The first n vetted variants -> [(number of the draw, Given)]. Raises as pool() does."""
    kept, refused, tried, answers = [], Counter(), set(), set()
    size = math.prod(len(choices) for choices in template.space.values())
    for i in itertools.count():
        if len(kept) == n:
            return kept
        if len(tried) == size or i == DRAWS_PER_VARIANT * n:
            reasons = ", ".join(f"{count} {reason}" for reason, count in refused.most_common(5)) or "none refused"
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
            answer = seen(template, p)
            if answer in answers:
                reason = "not distinct"
            else:
                answers.add(answer), kept.append((i, p))
        if reason is not None:
            refused[reason] += 1


def seen(template, p):
    """What tells two variants apart: their answers and what their tables print, or all parameters where there are neither."""
    table = template.table(p).printed() if template.table else []
    return (*template.answers(p).values(), *map(tuple, table)) or tuple(p.values())


def flaw(template, p):
    """Why p may not be a variant, in a few words, with the pair that is too close; None if it may."""
    if template.where and not template.where(p):
        return "outside `where`"
    answers = template.answers(p)
    for part in template.parts:
        reason = _number_flaw(part, p, answers) if computed(part) else None
        if isinstance(part, Diagnosis):
            found = part.shows(template.table(p).as_read(), p)
            if found != p[part.planted]:
                reason = f"shows {found}, not {p[part.planted]}"
        if reason:
            return f"{part.name} {reason}"
    return None


def _number_flaw(part, p, answers):
    right, wrong = answers[part.name], part.mistakes(p, answers)
    values = [right, *wrong.values()]
    if not all(math.isfinite(value) and value > 0 for value in values):
        return "not finite and positive"
    low, high = (units.parse(bound)[0] for bound in part.band)
    if not low <= right <= high:
        return "outside its band"
    if part.hangs(p, _WOBBLE, answers):
        return "too close to the next whole number"
    if not survives_print(right, part):
        return "lost in printing"
    for (a, x), (b, y) in itertools.combinations({"the answer": right, **wrong}.items(), 2):
        if not part.apart(x, y):
            return f"not separable: {a} and {b}"
        if isinstance(part, Choice) and units.format(x, part.unit) == units.format(y, part.unit):
            return f"prints two choices alike: {a} and {b}"
    for m in part.misconceptions:
        if part.score(wrong[m.name], right) > m.credit:         # an estimate that is wrong and still near
            return f"gives {m.name} more than its credit"
    return None


def survives_print(value, part):
    """Whether the value printed in the part's unit reads back within a quarter of its tolerance."""
    return abs(units.parse(units.format(value, part.unit), unit=part.unit)[0] - value) <= part.tolerance / 4 * abs(value)


def bake(name, n=200):
    """n variants of the template called `name`, as the JSON data that a notebook carries.

    Each holds the parameters, the finished prompt and the questions: what a student may see, and no more. The draws are
    those of the template's pool, which `staffml build` has vetted. Raises PoolError if it holds fewer.
    """
    from .pools import draws, variant

    template = load(name)
    vetted = draws(name)["draws"]
    if n > len(vetted):
        raise PoolError(f"the pool of {name} holds {len(vetted)} variants, not {n}; run: staffml build {name}")
    return [baked(template, i, variant(template, i)) for i in vetted[:n]]


def baked(template, i, p):
    """One variant, draw number i, as JSON data. Hidden parameters are left out, and the number of the draw stands for them."""
    variant = {"template": template.name, "given": {k: v for k, v in p.items() if k not in template.hidden},
               "prompt": render(template.prompt, p)}
    if template.table:
        table = template.table(p)
        variant["table"] = {"columns": [_header(template, header) for header, _ in table.columns], "rows": table.printed()}
    if template.hidden:
        variant["draw"] = i
    answers = template.answers(p)
    return variant | {"parts": {part.name: {"number": number} | _question(part, p, answers)      # files sort names
                                for number, part in enumerate(template.parts, 1)}}


def _header(template, header):
    try:
        check(header)
    except TextError as error:
        raise TemplateError(f"{template.name}: the column {header!r} {error}") from None
    return header


def _question(part, p, answers):
    question = {"question": render(part.question, p)}
    if isinstance(part, Choice):
        return question | {"kind": part.kind, "choices": [units.format(value, part.unit) for value, _ in part.options(p, answers)]}
    if isinstance(part, Diagnosis):
        return question | {"kind": part.kind, "choices": [render(cause.text, p) for cause, _ in part.options(p)]}
    if not computed(part):
        return question | {"kind": part.kind}
    question |= {"unit": part.unit, "tolerance": part.tolerance}
    return question if part.kind == "number" else question | {"kind": part.kind, "within": part.within}


def given(template, variant):
    """The parameters of a baked variant -> Given. Raises TemplateError if the template has changed since."""
    visible = set(template.parameters) - set(template.hidden)
    if set(variant["given"]) != visible:
        had, has = (", ".join(sorted(names)) for names in (variant["given"], visible))
        raise TemplateError(f"this variant of {template.name} has the parameters {had}, the template now has {has}: "
                            "grade with the version that was released")
    if not template.hidden:
        return Given(variant["given"])
    p = template.given(draw(template.name, variant["draw"], template.space))
    if any(p[name] != value for name, value in variant["given"].items()):
        raise TemplateError(f"draw {variant['draw']} of {template.name} gives other parameters now: "
                            "grade with the version that was released")
    return p


