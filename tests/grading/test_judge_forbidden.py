"""Names that an exercise does without: every evasion does compute the product, and every one is seen; honest work is left alone."""

import ast
import time

import numpy as np
import pytest

from mlsysbook import catalogue
from mlsysbook.answers.forbid import UNREADABLE
from mlsysbook.build.reference import load
from mlsysbook.grading.judge import official
from mlsysbook.grading.reach import forbidden, parse
from tests.attacks.forbidden import ELSEWHERE, EVASIONS

pytestmark = pytest.mark.slow

FORBID = ("np.matmul", "np.dot", "@", "np.einsum", "np.inner", "np.tensordot", "np.vdot")
GIVEN = ["import numpy as np", "from mlsysbook import case, check, prop"]
A, B = np.arange(9.0).reshape(3, 3), np.arange(9.0, 18.0).reshape(3, 3)
NEEDS_MORE = {"by_magic", "by_run_magic", "by_run_cell", "by_a_file", "by_exec_of_a_file", "by_patching_the_recorder"}     # than Python alone


def uses(product, before="", files=None, **others):
    sources = {"student-1": before} | {f"solution-{k}": v for k, v in others.items()} | {"solution-product": product}
    return forbidden(["solution-product"], sources, FORBID, given=GIVEN, files=files, own={"product", "Running", "push"})


@pytest.mark.parametrize("name", sorted((EVASIONS | ELSEWHERE).keys() - NEEDS_MORE))
def test_an_evasion_is_real(name, monkeypatch):
    """Otherwise its zero would say nothing."""
    how = {"product": EVASIONS[name]} if name in EVASIONS else ELSEWHERE[name]
    monkeypatch.setattr(np, "add", np.add)          # put back what it patches
    import builtins
    monkeypatch.setattr(builtins, "sum", sum)
    space = {"np": np, "__builtins__": vars(builtins)}
    if name == "by_setattr":
        import sys
        monkeypatch.setattr(sys.modules["__main__"], "product", None, raising=False)
    if name != "by_dunder_builtins":
        space.pop("__builtins__")
    exec(how.get("before", ""), space)
    exec(how["product"], space)
    product = space.get("product") or __import__("sys").modules["__main__"].product
    assert np.array_equal(product(A, B), A @ B)


@pytest.mark.parametrize("name", EVASIONS)
def test_an_evasion_within_the_cell_is_seen(name):
    assert uses(EVASIONS[name])


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_evasion_from_elsewhere_is_seen(name):
    how = dict(ELSEWHERE[name])
    files = {k.removesuffix(".py"): v for k, v in how.pop("files", {}).items() if k.endswith(".py")}
    assert uses(**how, files=files)


SUM = "def product(a, b):\n    return (a[:, :, None] * b[None]).sum(axis=1)"
HONEST = {
    "the reference": dict(product=SUM),
    "a comparison in another cell": dict(before="r = {}\nr['theirs'] = np.matmul(np.eye(2), np.eye(2))\nprint(np.eye(2) @ np.eye(2))", product=SUM),
    "a local of the same name as a global elsewhere": dict(
        before="total = np.matmul(np.eye(2), np.eye(2))", product="def product(a, b):\n    total = 0\n    return total"),
    "a local called dot": dict(product="def product(a, b):\n    dot = a[:, :, None] * b[None]\n    return dot.sum(axis=1)"),
    "another task's solution": dict(running="class Running:\n    def push(self, x):\n        self.x = np.dot(x, x)", product=SUM),
    "a method patched onto one's own class": dict(
        before="class Grid: pass\nGrid.times = lambda self, o: np.matmul(self.x, o.x)", product=SUM),
    "timing": dict(before="import timeit\ntimeit.timeit('sum([1])', globals=globals(), number=1)\n%time x = np.matmul(np.eye(2), np.eye(2))", product=SUM),
    "magics and the shell": dict(before="%matplotlib inline\n!ls\n%timeit -n 3 np.dot(1, 2)", product=SUM),
    "looking around": dict(before="print(globals().keys(), vars().get('x'), dir(np), type(np))\nhelp(np)\nimport sys\nsys.path", product=SUM),
    "plots": dict(before="import matplotlib.pyplot as plt\nplt.rcParams['figure.dpi'] = 72\nplt.plot([1])", product=SUM),
    "getattr by a literal": dict(product="def product(a, b):\n    return getattr(a, 'shape')"),
    "words in texts": dict(product="def product(a, b):\n    'like np.matmul, a @ b'\n    raise ValueError('np.dot does not fit')"),
    "an assertion with a message": dict(product="def product(a, b):\n    assert a.shape[1] == b.shape[0], 'dot'\n    return a"),
    "a helper that is clean": dict(before="def times(a, b):\n    return a * b", product="def product(a, b):\n    return times(a, b)"),
    "one's own method called dot": dict(product="class V:\n    def dot(self, o): return 1\n    def twice(self, o): return self.dot(o)\nproduct = V"),
    "a broken cell elsewhere": dict(before="def (", product=SUM),
    "numpy by another name": dict(before="import numpy as xp", product="import numpy as xp\ndef product(a, b):\n    return xp.sum(a)"),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_work_is_left_alone(name):
    assert uses(**HONEST[name]) == []


def test_only_what_ran_before_the_check_counts():
    """The judge passes no cell from behind the check: its snapshot was taken by then."""
    assert forbidden(["solution-product"], {"solution-product": SUM}, FORBID, given=GIVEN) == []


@pytest.mark.parametrize("text", ["x = " + "-" * 3000 + "1", "x = " + "(" * 150 + ")" * 150, "x = " + "[" * 5000, "x" + ".a" * 3000, "x = 1\0",
                                  "x = '" + "a" * 100_000 + "'", "é = \ud800", "x = " + "1 + " * 3000 + "1"])
def test_no_source_makes_the_judge_fail(text):
    begun = time.monotonic()
    for found in (uses(text + "\ndef product(a, b): return 1"), uses("def product(a, b):\n    return x", before=text)):
        assert found in ([], [UNREADABLE])
    assert time.monotonic() - begun < 5


def test_a_source_that_the_judge_cannot_read_and_the_box_might_is_no_way_round():
    deep = "x = " + "-" * 600 + "1\ndef product(a, b):\n    return np.matmul(a, b)"
    assert uses(deep)


@pytest.mark.parametrize(("text", "is_code"), [("%time y = f(1)", "y = f(1)"), ("%timeit -n 10 -r 3 f(1)", "f(1)"), ("%%time\ny = 1", "pass\ny = 1"),
                                               ("x = (1\n % 2)", "x = (1\n % 2)"), ("  !rm x", None), ("y = !ls", "pass")])
def test_magics_are_read_as_what_they_run(text, is_code):
    assert is_code is None or ast.dump(parse(text)) == ast.dump(ast.parse(is_code))


@pytest.mark.parametrize("a", catalogue.load().assignments, ids=lambda a: a.id)
def test_no_reference_solution_uses_what_its_check_forbids(a):
    course = catalogue.load()
    ref = load(course, a)
    own = official(ref)
    sources = {f"{c.kind}-{c.name}": c.code for c in ref.cells if c.kind == "solution"}
    for c in ref.cells:
        if c.kind == "check" and ref.checks[c.name].forbid:
            assert forbidden([f"solution-{s}" for s in c.covers], sources, ref.checks[c.name].forbid, **own) == []
