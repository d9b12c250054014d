"""The panels of the modules: every control changes what is said, and each of its extremes has a picture and a sentence."""

import ast
import json
import re
import subprocess
import sys

import pytest

from mlsysbook import catalogue
from mlsysbook.build.source import read

MODULES = {a.notebook: a for a in catalogue.load().assignments if a.part == "tinytorch"}
CALL = re.compile(r"^(?:\w+ = )?(?:explore|computation_graph)\(", re.M)
WITH_PANEL = {"01_tensor": 1, "06_autograd": 2, "09_convolutions": 1, "12_attention": 1, "13_transformers": 1, "15_quantization": 1, "18_memoization": 1}
RUN = """
import json, sys
from mlsysbook.labs.explore import Explore
names, found = {"__name__": "__main__"}, []
def keep(value):
    if isinstance(value, Explore):
        begun = value.sentence(value.at())
        found.append({"idle": value.idle(), "said": [str(view) for _, view in value.corners()], "offers": sorted(value._repr_mimebundle_()),
                      "unsaid": sorted(set(value.controls) - {name for name, view in value.corners() if value.sentence(view) != begun}),
                      "drawn": [value.png(view)[1:4].decode() for _, view in value.corners()]})
for text in json.load(sys.stdin):
    exec(compile(text[0], "cell", "exec"), names)
    if text[1]:
        keep(eval(text[1], names))
print(json.dumps(found))
"""


def loads_and_stores(code):
    """Names that a cell reads, and names that it makes or changes; what it calls for its effect may be changed by that."""
    tree, loads, stores = ast.parse(code), set(), set()
    stores |= {s.value.func.id for s in tree.body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call) and isinstance(s.value.func, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (loads if isinstance(node.ctx, ast.Load) else stores).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            stores.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            stores |= {(a.asname or a.name).split(".")[0] for a in node.names}
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
            stores.add(node.value.id)
    return loads, stores


def cells(a):
    """[(code, expression of a panel or "")]: what is given and solved, panels, and the `show` cells that make what a panel needs."""
    found = [c for c in read(a.author_source) if c.kind in ("given", "solution", "show")]
    panels = {c.line for c in found if c.kind == "show" and CALL.search(c.code)}
    wanted, before, names = set(panels), None, {c.line: loads_and_stores(c.code) for c in found}
    while wanted != before:
        before, needed = set(wanted), set().union(*(names[line][0] | {n for n in names[line][1] if n != "print"} for line in wanted))
        wanted |= {c.line for c in found if c.kind == "show" and names[c.line][1] & needed and c.line < max(panels)}
    kept = []
    for c in found:
        body = ast.parse(c.code).body
        shown = ast.unparse(body.pop()) if c.line in panels and isinstance(body[-1], ast.Expr) else ""
        if c.kind != "show" or c.line in wanted:
            kept.append((ast.unparse(ast.Module(body, [])), shown))
    return kept


def test_every_module_with_a_panel_is_here():
    found = {name: sum(len(CALL.findall(c.code)) for c in read(a.author_source) if c.kind == "show") for name, a in MODULES.items()}
    assert {name: n for name, n in found.items() if n} == WITH_PANEL


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_PANEL)
def test_every_control_matters_and_every_extreme_is_drawn_and_said(name):
    done = subprocess.run([sys.executable, "-c", RUN], input=json.dumps(cells(MODULES[name])), capture_output=True, text=True,
                          cwd=MODULES[name].author_source.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == WITH_PANEL[name]
    for panel in found:
        assert panel["idle"] == panel["unsaid"] == []
        assert set(panel["drawn"]) == {"PNG"} and all(s.startswith("At ") and len(s) < 400 for s in panel["said"])
        assert {"image/png", "text/plain"} <= set(panel["offers"])
