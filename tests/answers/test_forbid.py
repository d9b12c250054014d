import pytest

from mlsysbook.answers.forbid import used_in

FORBID = ("np.matmul", "np.dot", "@", "positions")
USES = [
    "np.matmul(a, b)", "import numpy as q\nq.matmul(1, 2)", "from numpy import matmul as m\nm(1, 2)", "mm = np.matmul", "getattr(np, 'matmul')(1, 2)",
    "np.linalg.matmul(a, b)", "a @ b", "a @= b", "eval('a@b')", "exec('x')", "f = (g := np.matmul)", "import numpy\nnumpy.__dict__['matmul']",
    "import importlib\nimportlib.import_module('numpy')", "__import__('numpy').matmul", "from numpy import *\nmatmul(a, b)", "p = positions\np(x)",
    "k = np\nk.dot(a, b)", "getattr(np, name)(a)", "vars(np)['dot']", "def f(a, m=np.matmul):\n    return m(a, a)", "(lambda m: m)(np.dot)",
]
CLEAN = [
    "np.add(a, b)", "x = 1", "a * b", "def f(a):\n    return sum(a)", "getattr(a, 'shape')", "# np.matmul\n'np.matmul'", "position = 3", "a.shape", "def (",
]


@pytest.mark.parametrize("source", USES)
def test_use_under_any_alias_is_found(source):
    assert used_in(source, FORBID)


@pytest.mark.parametrize("source", CLEAN)
def test_other_code_is_left_alone(source):
    assert used_in(source, FORBID) == []
