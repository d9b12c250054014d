"""What an instructor is shown of a notebook's source."""

import pytest

from mlsysbook.grading.suspicious import MOST, suspicious


def kinds(*texts):
    return {f["kind"] for f in suspicious(list(enumerate(texts, 1)))}


@pytest.mark.parametrize(("text", "kind"), [
    ("import sys\nsys._getframe()", "patched"), ("import gc\ngc.get_objects()", "patched"), ("from gc import get_objects", "patched"),
    ("import ctypes as c", "patched"), ("import os\nos.fork()", "escape"), ("from os import fork as f\nf()", "escape"), ("import os as o\no.kill(1, 9)", "escape"),
    ("import numpy as np\nnp.allclose = None", "patched"), ("import builtins\nbuiltins.len = 1", "patched"), ("eval('1')", "patched"),
    ("ｅval('1')", "patched"), ("__import__('os')", "patched"), ("open('/proc/self/mem')", "escape"), ("b'/etc/shadow'", "escape"),
    ("import os\nos.environ['MLSYS_STUDENT'] = 'x'", "identity"), ("import mlsysbook.answers.mode", "patched"), ("from mlsysbook.box import runner", "patched"),
    ("import socket", "escape"), ("import subprocess as s", "escape"), ("get_ipython().input_transformers_post.append(1)", "patched"),
    ("class A:\n    def __reduce__(self): pass", "patched"), ("%time import socket", "escape"), ("def f():\n    import ctypes", "patched"),
])
def test_a_way_to_the_grader_is_shown(text, kind):
    assert kind in kinds(text)


@pytest.mark.parametrize("text", [
    "import numpy as np\nx = np.zeros(3)\nx[0] = 1", "import os\nos.path.exists('data.csv')\nos.listdir('.')", "from mlsysbook import check, case, variant",
    "class A:\n    def __init__(self): self.x = 1", "import time, math, json, random\nrandom.seed(1)", "import matplotlib.pyplot as plt\nplt.rcParams['x'] = 1",
    "%matplotlib inline\n!ls", "def f(", "x = getattr(1, 'real')", "import sys\nsys.path\nprint(sys.version)", "open('data.txt').read()",
])
def test_ordinary_work_is_not(text):
    assert suspicious([(1, text)]) == []


def test_it_names_the_cell_once_and_does_not_go_on_for_ever():
    found = suspicious([(3, "eval('1')\neval('2')"), (9, "import gc")])
    assert [f["note"] for f in found] == ["cell 3 uses eval", "cell 9 imports gc"]
    assert len(suspicious([(i, "eval('1')\nexec('2')") for i in range(100)])) == MOST


@pytest.mark.parametrize("text", ["x = " + "-" * 5000 + "1", "x" + ".a" * 5000, "(" * 500, "x = '\ud800'", "\0"])
def test_no_source_makes_it_fail(text):
    assert isinstance(suspicious([(1, text)]), list)
