"""The grader's side: what a `key` cell of a drill returns."""

from .parts import Choice, Design, Diagnosis, Fermi
from .template import TemplateError, load
from .text import render
from .variants import given


def answer_key(part, variant, earlier=None, *, prefix=""):
    """The key of one part for a baked variant -> mlsysbook.Key, recomputed from the template.

    `variant` is the grader's copy, never the one in a submission. earlier: a student's own values of the parts before,
    {name: value}, for a step of a chain. prefix: what the notebook puts before the names of this template's parts, where
    it asks several. A choice is answered with its number, an estimate without an interval.
    """
    from mlsysbook import Key, Mistake  # not at the top: practice works without the courseware

    template = load(variant["template"])
    part, p = template.part(part), given(template, variant)
    if isinstance(part, Design):
        raise TemplateError(f"{template.name}: part {part.name!r} is a design; use a rubric cell, which a person marks")
    if isinstance(part, Choice | Diagnosis):
        options = part.options(p) if isinstance(part, Diagnosis) else part.options(p, template.answers(p))
        numbered = list(enumerate(options, 1))
        return Key(float(next(i for i, (_, wrong) in numbered if wrong is None)), "", tol=0.0, mistakes=tuple(
            Mistake(float(i), wrong.credit, render(wrong.why, p, template.figures)) for i, (_, wrong) in numbered if wrong))
    steps = tuple(step for step in part.steps if not isinstance(template.part(step), Choice))   # a choice's number says no value
    before = template.answers(p) | {step: earlier[prefix + step] for step in steps if prefix + step in (earlier or {})}
    wrong = part.mistakes(p, before)
    mistakes = tuple(Mistake(wrong[m.name], m.credit, render(m.why, p, template.figures)) for m in part.misconceptions)
    key = Key(part.value(p, before), part.unit, tol=part.tolerance, mistakes=mistakes, steps=tuple(prefix + step for step in steps))
    return _logarithmic(part, key) if isinstance(part, Fermi) else key


def _logarithmic(part, key):
    """The Key of an estimate: graded by factors, with the misconceptions named."""
    from mlsysbook import Key

    class LogKey(Key):
        def grade(self, value):
            share = part.score(value, self.value)
            if share < 1:
                for m in self.mistakes:
                    if part.near(value, m.value):
                        return max(share, m.credit), m.why
            return share, None

    return LogKey(key.value, key.unit, key.tol, key.mistakes, key.steps)
