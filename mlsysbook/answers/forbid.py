"""Which forbidden names does a piece of source use, under whatever alias?

Resolves `import numpy as q`, `from numpy import matmul as m`, `mm = np.matmul`, getattr with a literal, `__dict__` and
subscripts; anything that builds names at run time (eval, exec, __import__, importlib) counts as use. "@" forbids the operator.
"""

import ast
import inspect
import textwrap

_DYNAMIC = ("eval", "exec", "__import__", "importlib", "globals", "vars", "compile", "getattr", "operator.attrgetter")
_CANON = {"np": "numpy", "tt": "tinytorch"}


def used(call, forbid):
    """Forbidden names used by a live function; [] when its source cannot be had (the judge reads the cell instead)."""
    if not forbid:
        return []
    try:
        return used_in(textwrap.dedent(inspect.getsource(call)), forbid)
    except (OSError, TypeError):
        return []


def used_in(source, forbid):
    """Forbidden names that `source` uses, as written in `forbid`; a dynamic look-up is reported under its own name."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []                       # it cannot run either
    wanted = {_canonical(f): f for f in forbid}
    finder = _Finder(wanted)
    finder.visit(tree)
    return sorted(finder.found)


def _canonical(name):
    head, _, rest = name.partition(".")
    head = _CANON.get(head, head)
    return f"{head}.{rest}" if rest else head


class _Finder(ast.NodeVisitor):
    def __init__(self, wanted):
        self.wanted, self.found = wanted, set()
        self.alias = dict(_CANON)

    def _name(self, node):
        """Dotted name of an expression, aliases resolved, or None."""
        if isinstance(node, ast.Name):
            return self.alias.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self._name(node.value)
            return f"{base}.{node.attr}" if base else None
        if isinstance(node, ast.NamedExpr):
            return self._name(node.value)
        return None

    def _use(self, name):
        if name is None:
            return
        for wanted, written in self.wanted.items():
            if name == wanted or name.startswith(wanted + ".") or (
                    "." in wanted and name.split(".")[0] == wanted.split(".")[0] and name.split(".")[-1] == wanted.split(".")[-1]):
                self.found.add(written)

    def visit_Import(self, node):
        for a in node.names:
            self.alias[a.asname or a.name.split(".")[0]] = a.name if a.asname else a.name.split(".")[0]
            self._use(a.name)
            if a.name.split(".")[0] == "importlib":
                self.found.add("importlib")

    def visit_ImportFrom(self, node):
        for a in node.names:
            full = f"{node.module or ''}.{a.name}"
            self.alias[a.asname or a.name] = full
            self._use(full)
            if a.name == "*" and any(w.startswith(f"{node.module}.") for w in self.wanted):
                self.found.add(f"from {node.module} import *")

    def visit_Assign(self, node):
        self.generic_visit(node)
        name = self._name(node.value)
        if name is not None:
            for t in node.targets:
                if isinstance(t, ast.Name):
                    self.alias[t.id] = name

    def visit_NamedExpr(self, node):
        self.generic_visit(node)
        name = self._name(node.value)
        if name is not None:
            self.alias[node.target.id] = name

    def visit_Name(self, node):
        name = self.alias.get(node.id, node.id)
        self._use(name)
        if name.split(".")[0] in _DYNAMIC or name in _DYNAMIC:
            if not (name == "getattr"):
                self.found.add(name)

    def visit_Attribute(self, node):
        self._use(self._name(node))
        if node.attr in ("__dict__", "__getattribute__", "__globals__", "__builtins__"):
            self.found.add(node.attr)
        self.generic_visit(node)

    def visit_Call(self, node):
        if isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) > 1:
            key = node.args[1]
            base = self._name(node.args[0])
            if isinstance(key, ast.Constant) and isinstance(key.value, str) and base:
                self._use(f"{base}.{key.value}")
            elif not isinstance(key, ast.Constant):
                self.found.add("getattr")
        self.generic_visit(node)

    def visit_BinOp(self, node):
        if isinstance(node.op, ast.MatMult) and "@" in self.wanted:
            self.found.add("@")
        self.generic_visit(node)

    visit_AugAssign = visit_BinOp
