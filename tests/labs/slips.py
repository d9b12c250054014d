"""What tests of single labs share: a loaded lab, which behaviours a function fails, and mistakes that are told apart."""

import json

import numpy as np

from mlsysbook import catalogue
from mlsysbook.answers.check import run_case, verdict
from mlsysbook.build.reference import load
from mlsysim import units


def loaded(name):
    """The Reference of a lab of the catalogue, with its committed variants."""
    course = catalogue.load()
    a = course.find(name)
    return load(course, a, pool=json.loads((a.source_dir / catalogue.SIDECAR).read_text())["variants"])


def failing(lab, name, function, seed):
    """Numbers of the behaviours that `function` in the place of solution `name` fails, 0 being the core."""
    cases = lab.hidden_cases(name, np.random.default_rng(seed))
    wants = lab.outcomes(name, cases)
    names = list(dict.fromkeys(c.behaviour for c in cases))
    return {names.index(c.behaviour) for c, want in zip(cases, wants, strict=True)
            if verdict(lab.checks[name], c, run_case(function, c), want) is not None}


def separate(lab, name):
    """Three figures of the right answer are enough, and no mistake is within tolerance of it or of another, in any variant."""
    for v in lab.pool:
        key = lab.key(name, v)
        assert key.grade(units.parse(units.format(key.value, key.unit), key.unit)[0]) == (1.0, None), v
        values = [key.value, *(m.value for m in key.mistakes)]
        assert all(abs(a - b) > key.tol * (abs(a) + abs(b)) for i, a in enumerate(values) for b in values[:i]), (v, values)
