"""One variant with everything there is to say about it, as data: for previews, cards and the question bank."""

from mlsysim import units

from .parts import Choice, Design, Diagnosis
from .problem import form
from .round import solution
from .text import render
from .variants import baked


def worked(template, draw, p):
    """A variant, its key and all feedback -> {"prompt", "table", "parts": [{...}]}.

    A part has name, kind, question, form (what an answer looks like), choices, answer (text; "" for a design), steps (the earlier
    parts it takes), wrong [(choice number or None, value, credit, name, why)] and rubric [(share of the points, what earns it)].
    """
    shown, answers = baked(template, draw, p), template.answers(p)
    return {"prompt": shown["prompt"], "table": shown.get("table"),
            "parts": [_part(template, p, part, shown["parts"][part.name], answers) for part in template.parts]}


def _part(template, p, part, shown, answers):
    found = {"name": part.name, "kind": part.kind, "question": shown["question"], "form": form(shown), "choices": shown.get("choices", []),
             "answer": "", "steps": list(part.steps), "wrong": [], "rubric": []}
    if isinstance(part, Design):
        return found | {"rubric": [(share, render(text, p, template.figures)) for share, text in part.rubric]}
    found["answer"] = solution(p, part, answers)
    if isinstance(part, Choice | Diagnosis):
        options = part.options(p, answers) if isinstance(part, Choice) else part.options(p)
        wrong = [(n, shown["choices"][n - 1], m) for n, (_, m) in enumerate(options, 1) if m]
    else:
        values = part.mistakes(p, answers)
        wrong = [(None, units.format(values[m.name], part.unit), m) for m in part.misconceptions]
    found["wrong"] = [(n, value, m.credit, m.name, render(m.why, p, template.figures) if m.why else "") for n, value, m in wrong]
    return found
