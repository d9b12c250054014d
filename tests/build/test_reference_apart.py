"""References of several modules in one process: what one installs into the framework reaches no other, and nobody else."""

import json

import numpy as np
import pytest

import tinytorch.autograd  # noqa: F401  (installs itself, as a notebook of the same process may have made it)
from mlsysbook import catalogue
from mlsysbook.build.reference import load
from tinytorch.tensor import Function, Tensor

COURSE = catalogue.load()
MODULES = {a.notebook[:2]: a for a in COURSE.assignments if a.part == "tinytorch"}


def outcomes(ref):
    made = {name: ref.outcomes(name, ref.hidden_cases(name, np.random.default_rng(1))) for name in sorted(ref.hidden)}
    return {name: json.dumps(out, sort_keys=True) for name, out in made.items()}  # as text, NaN equals NaN


@pytest.mark.slow
def test_every_module_gives_the_same_results_whatever_was_loaded_before_it():
    alone = {number: outcomes(load(COURSE, a)) for number, a in MODULES.items()}
    together = {number: load(COURSE, MODULES[number]) for number in sorted(MODULES, reverse=True)}
    for number, ref in together.items():
        assert outcomes(ref) == alone[number], number


def test_loading_the_engine_as_a_reference_leaves_the_framework_of_this_process_alone():
    held = Function.record, Tensor.backward, Function.__module__
    ref = load(COURSE, MODULES["06"])
    assert (Function.record, Tensor.backward, Function.__module__) == held
    assert ref.modules["tinytorch.tensor"].Function.record is not Function.record
    x = Tensor([2.0], requires_grad=True)
    (x * x).backward()
    assert x.grad.tolist() == [4.0]
