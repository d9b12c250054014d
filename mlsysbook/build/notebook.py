"""Cells → an nbgrader notebook (schema 3) with deterministic cell ids and no outputs, and the sidecar beside it."""

import hashlib
import json

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ..errors import SourceError
from .source import BEGIN_SCHEME, END_SCHEME, EXPORT, INSTRUCTOR

SCHEMA = 3
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook(reference):
    """The instructor's notebook: solutions in, hidden cases, keys and variant pools out."""
    cells = [made for cell in reference.cells if cell.kind not in INSTRUCTOR for made in _expand(cell)]
    seen = {}
    for c in cells:                     # equal texts get -2, -3 ... in order of appearance
        n = seen[c.id] = seen.get(c.id, 0) + 1
        if n > 1:
            c["id"] = f"{c.id}-{n}"
            if "nbgrader" in c.metadata:
                c.metadata.nbgrader["grade_id"] = c.id
    nb = new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    nb.nbformat_minor = 5
    nbformat.validate(nb)
    return nb


def dump(nb):
    """The notebook as text, the same bytes for the same cells."""
    return json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _expand(cell):
    if cell.kind == "markdown":
        yield new_markdown_cell(cell.text, id=_content_id("text", cell.text))
    elif cell.kind == "given":
        yield _code(cell.text, _id(cell), locked=True)
    elif cell.kind == "show":
        yield new_code_cell(cell.text, id=_content_id("show", cell.text))
    elif cell.kind == "solution":
        yield _code(cell.text, _id(cell), solution=True)
    elif cell.kind == "check":
        yield _code(cell.text, f"check-{cell.name}", grade=True, locked=True, points=cell.points)
    elif cell.kind in ("answer", "predict", "decision"):
        verb = {"answer": "answer", "predict": "locked", "decision": "decided"}[cell.kind]
        more = "" if cell.kind == "predict" else f", {cell.name}"
        yield _code(cell.text, f"write-{cell.name}", solution=True)
        yield _code(f'from mlsysbook import {verb}\n\n{verb}("{cell.name}"{more})', f"{cell.kind}-{cell.name}", grade=True, locked=True,
                    points=cell.points)
    elif cell.kind == "rubric":
        question, _, rest = cell.text.partition(BEGIN_SCHEME)
        scheme = rest.partition(END_SCHEME)[0]
        yield new_markdown_cell(question.strip(), id=_content_id("text", question))
        yield new_markdown_cell(scheme.strip(), id=f"rubric-{cell.name}", metadata={"nbgrader": _nbgrader(
            f"rubric-{cell.name}", grade=True, solution=True, points=cell.points)})


def _code(text, name, **flags):
    return new_code_cell(_without_export(text), id=name, metadata={"nbgrader": _nbgrader(name, **flags)})


def _nbgrader(name, grade=False, solution=False, locked=False, points=None):
    meta = {"schema_version": SCHEMA, "grade_id": name, "grade": grade, "solution": solution, "locked": locked, "task": False}
    return meta if points is None else meta | {"points": int(points) if points == int(points) else points}


def _id(cell):
    """Id of a given cell or a solution."""
    return f"solution-{cell.name}" if cell.kind == "solution" else _content_id("given", cell.text)


def _content_id(prefix, text):
    return f"{prefix}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _without_export(text):
    return text.removeprefix(EXPORT).lstrip("\n")


def sidecar(reference):
    """What the student's side needs beside the notebook: wanted results of visible cases, units, variants, and for a TinyTorch
    module the cells that `tinytorch.use` makes it of."""
    a = reference.assignment
    units = {name: reference.unit(name) for name in reference.keys}
    units |= {c.name: c.unit for c in reference.cells if c.kind == "predict" and c.unit}
    answers = [c.name for c in reference.cells if c.kind == "answer"]
    decisions = {name: {"options": list(reference.options(name)), "evidence": answers} for name in reference.rulings}
    exports = {"exports": {"to": a.exports, "cells": [_id(c) for c in reference.cells if c.export]}} if a.exports else {}
    return exports | ({"decisions": decisions} if decisions else {}) | {
        "course": reference.course, "assignment": a.id, "notebook": a.notebook, "title": a.title, "points": a.points,
        "wanted": {n: [_rounded(o) for o in reference.outcomes(n, s.cases)] for n, s in reference.checks.items()
                   if s.firmware is None},
        "units": units, "variants": reference.pool,
    }


def _rounded(outcome):
    """Floats to 12 digits, so that two machines whose last bits differ bake the same file."""
    if isinstance(outcome, float) and outcome == outcome and abs(outcome) != float("inf"):
        return float(f"{outcome:.12g}")
    if isinstance(outcome, dict):
        if "nd" in outcome and outcome["nd"][1] == "f":
            return _rounded_array(outcome)
        return {k: _rounded(v) for k, v in outcome.items()}
    if isinstance(outcome, list):
        return [_rounded(v) for v in outcome]
    return outcome


def _rounded_array(d):
    import numpy as np

    from ..answers.record import decode, encode_array

    x = decode(d)
    digits = {2: 3, 4: 6, 8: 12}[x.dtype.itemsize]
    flat = [float(f"{v:.{digits}g}") if np.isfinite(v) else float(v) for v in np.ravel(x).astype(np.float64)]
    return encode_array(np, np.array(flat, x.dtype).reshape(np.shape(x)), d["scalar"])


def validate(reference, nb):
    """Raise SourceError unless ids are unique, points add up and nothing of a hidden case is in the notebook."""
    path = reference.assignment.author_source
    ids = [c.id for c in nb.cells]
    if len(set(ids)) != len(ids):
        raise SourceError(path, 1, f"cell ids are not unique: {[i for i in ids if ids.count(i) > 1][0]}")
    total = sum(c.points for c in reference.cells)
    if total != reference.assignment.points:
        raise SourceError(path, 1, f"cells add up to {total:g} points, course.yml says {reference.assignment.points:g}")
    _check_answers(reference)
    _check_decisions(reference)
    for name in reference.checks:
        _check_hidden(reference, name)
    text = {line.strip() for c in nb.cells for line in c.source.split("\n")}
    for cell in reference.cells:
        if cell.kind in INSTRUCTOR:
            shared = [t.strip() for t in cell.text.split("\n") if len(t.strip()) > 24 and t.strip() in text]
            if shared and cell.kind == "hidden":
                raise cell.error(f"the line {shared[0][:60]!r} also stands in a released cell")


def _check_answers(reference):
    from ..answers.answer import AnswerUnreadable, read

    v = reference.pool[0] if reference.pool else {}
    for name, text in reference.answers.items():
        key = reference.key(name, v)
        cell = reference.cell("answer", name)
        try:
            value, _ = read(name, text, key.unit)
        except AnswerUnreadable as error:
            raise cell.error(f"its solution is not readable: {error}") from None
        if key.grade(value)[0] != 1.0:
            raise cell.error(f"its solution {text!r} does not agree with its key, {key.value:g} {key.unit}")


def _check_decisions(reference):
    from ..labs.decision import incomplete

    asked = [c.name for c in reference.cells if c.kind == "answer"]
    for name, made in reference.decisions.items():
        ruling, cell = reference.ruling(name, reference.pool[0] if reference.pool else {}), reference.cell("decision", name)
        if wrong := incomplete(made, ruling.options, asked):
            raise cell.error(f"its solution is no decision: {wrong}")
        if made["binding"] != ruling.binding:
            raise cell.error(f"its solution names {made['binding']!r}, its key {ruling.binding!r}")


def _check_hidden(reference, name):
    """Draw hidden cases once: they must be plain data, and the core behaviour must want at least one value."""
    import numpy as np

    cell = reference.cell("hidden", name)
    try:
        cases = reference.hidden_cases(name, np.random.default_rng(0))
    except SourceError:
        raise
    except Exception as error:
        raise cell.error(f"cases(rng) fails: {type(error).__name__}: {error}") from error
    wants = reference.outcomes(name, cases)
    for c, want in zip(cases, wants, strict=True):
        if '"type": ' in json.dumps([c.encoded(), want.get("out")]):
            raise cell.error(f"case {c.args!r:.80} is not plain data, or its result is not: {json.dumps(want)[:80]}")
    core = [w for c, w in zip(cases, wants, strict=True) if c.behaviour == cases[0].behaviour]
    if not any("out" in w for w in core):
        raise cell.error(f"its first behaviour, {cases[0].behaviour!r}, wants only errors; put the essential one first")
