"""The grader's side: what a `key` cell of a drill returns."""

from .template import load
from .text import render
from .variants import given


def answer_key(part, variant):
    """The key of one part for a baked variant -> mlsysbook.Key, recomputed from the template.

    `variant` is the grader's copy, never the one in a submission.
    """
    from mlsysbook import Key, Mistake  # not at the top: practice works without the courseware

    template = load(variant["template"])
    part, p = template.part(part), given(template, variant)
    wrong = part.mistakes(p)
    return Key(part.value(p), part.unit, tol=part.tolerance,
               mistakes=tuple(Mistake(wrong[m.name], m.credit, render(m.why, p)) for m in part.misconceptions))
