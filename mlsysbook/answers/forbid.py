"""Which forbidden names does a piece of source use, under whatever alias?

Follows `import numpy as q`, `from numpy import matmul as m`, `mm = np.matmul` and getattr with a literal, wherever in the
source they stand. What cannot be followed counts as use: a module passed around as a value, names built at run time (eval,
importlib, a computed getattr), a look into `__dict__`, frames or `sys.modules`. "@" forbids the operator, whatever it is
called by. Nothing here recurses over the source, which may be nested deeper than Python's stack.
"""

import ast
import inspect
import textwrap

_CANON = {"np": "numpy", "tt": "tinytorch"}
_BUILD_NAMES = {"eval", "exec", "compile", "__import__", "globals", "locals", "vars", "breakpoint", "get_ipython", "__builtins__"}
_MODULES = {"importlib", "builtins", "gc", "ctypes", "_ctypes", "pickle", "_pickle", "marshal", "runpy", "pkgutil", "pydoc", "code",
            "codeop", "cffi", "numba", "mlsysbook.box", "mlsysbook.answers.check", "mlsysbook.answers.record", "mlsysbook.answers.mode"}
_DOTTED = {"sys.modules", "sys._getframe", "sys._current_frames", "sys.settrace", "sys.setprofile", "types.FunctionType", "types.CodeType",
           "types.LambdaType", "types.CellType", "inspect.currentframe", "inspect.stack", "inspect.trace", "inspect.getmembers",
           "inspect.getattr_static", "inspect.getclosurevars", "numpy.testing.extbuild"}
_ATTRIBUTES = {"__dict__", "__getattribute__", "__globals__", "__builtins__", "__subclasses__", "__code__", "__closure__", "f_globals",
               "f_locals", "f_back", "f_builtins", "tb_frame", "gi_frame", "cr_frame", "cell_contents"}
_PRODUCTS = {"__matmul__", "__rmatmul__", "__imatmul__"}
_LOOKERS = {"print", "help", "dir", "type", "repr", "id", "hasattr"}      # calls that do nothing to a module
_MORE = 8                               # aliases followed for one name
UNREADABLE = "code that cannot be read"


def used(call, forbid):
    """Forbidden names used by a live function; [] when its source cannot be had (the judge reads the cell instead)."""
    if not forbid:
        return []
    try:
        return used_in(textwrap.dedent(inspect.getsource(call)), forbid)
    except (OSError, TypeError):
        return []


def used_in(source, forbid):
    """Forbidden names that `source` uses, as written in `forbid`; what cannot be followed is reported under its own name."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []                       # it cannot run either
    except (RecursionError, MemoryError):
        return [UNREADABLE]
    return found_in([tree], forbid)


def found_in(nodes, forbid, *, names=None, own=None):
    """The same for a list of ast nodes.

    names: what their names stand for, where more is known than stands in them. own: names that the assignment defines
    itself; then an attribute of anything else that is called like a forbidden one is a use too, as in `a.dot(b)`.
    """
    every = [n for root in nodes for n in ast.walk(root)]
    return _Finder(every, names or Names(nodes), forbid, own).find()


class Names:
    """What the names in some nodes stand for, beside those that `base` knows."""

    def __init__(self, nodes, base=None):
        every = [n for root in nodes for n in ast.walk(root)]
        self.alias = {k: set(v) for k, v in base.alias.items()} if base else {k: {v} for k, v in _CANON.items()}
        self.modules = set(base.modules) if base else set(_CANON.values())
        for n in every:
            self._bind(n)
        for _ in range(5):              # an alias of an alias may stand above it
            if not any([self._follow(n) for n in every]):
                break

    def _bind(self, n):
        if isinstance(n, ast.Import):
            for a in n.names:
                full = a.name if a.asname else a.name.split(".")[0]
                self.alias.setdefault(a.asname or full, set()).add(full)
                self.modules |= {a.name, full}
        elif isinstance(n, ast.ImportFrom):
            for a in n.names:
                self.alias.setdefault(a.asname or a.name, set()).add(f"{n.module or ''}.{a.name}")
            self.modules.add(n.module or "")

    def _follow(self, n):
        """Follow `a = b.c` and `(a := b.c)`. -> whether that was news."""
        if not isinstance(n, ast.Assign | ast.AnnAssign | ast.NamedExpr) or n.value is None:
            return False
        news = False
        targets = n.targets if isinstance(n, ast.Assign) else [n.target]
        for name in self.of(n.value):
            for t in targets:
                if isinstance(t, ast.Name) and name != t.id:
                    known = self.alias.setdefault(t.id, set())
                    if name not in known and len(known) < _MORE:
                        known.add(name)
                        news = True
        return news

    def of(self, node):
        """Dotted names that an expression may stand for, aliases resolved; none for what is no chain of names."""
        rest = []
        while isinstance(node, ast.Attribute | ast.NamedExpr):
            if isinstance(node, ast.Attribute):
                rest.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return set()
        return {".".join([root, *reversed(rest)]) for root in self.alias.get(node.id, ()) or {node.id}}

    def is_module(self, name):
        return any(name == m or name.startswith(m + ".") for m in self.modules if m)


class _Finder:
    def __init__(self, every, names, forbid, own):
        self.every, self.names, self.own, self.found = every, names, own, set()
        self.parent = {id(child): n for n in every for child in ast.iter_child_nodes(n)}
        self.wanted = {_canonical(f): f for f in forbid}
        self.last = {w.rpartition(".")[2]: f for w, f in self.wanted.items() if "." in w}
        self.roots = {w.split(".")[0] for w in self.wanted if "." in w} | {"builtins", "sys", "operator"}
        self.methods = {n.name for n in every if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}

    def find(self):
        for n in self.every:
            look = _LOOK.get(type(n))
            if look:
                look(self, n)
        return sorted(self.found)

    # -- what counts as use

    def _use(self, name):
        root, _, rest = name.partition(".")
        end = rest.rpartition(".")[2]
        for wanted, written in self.wanted.items():
            if name == wanted or name.startswith(wanted + ".") or (
                    rest and "." in wanted and root == wanted.split(".")[0] and end == wanted.rpartition(".")[2]):
                self.found.add(written)
        if root in _BUILD_NAMES and not rest:
            self.found.add(root)
        for risky in _MODULES | _DOTTED:
            if name == risky or name.startswith(risky + "."):
                self.found.add(risky)
        if root in ("operator", "_operator") and "@" in self.wanted and "matmul" in end:
            self.found.add("@")

    def _attribute_named(self, attr, base):
        """Is `base.attr`, of a base that is no module, a forbidden function as a method?"""
        if attr in _ATTRIBUTES:
            self.found.add(attr)
        if attr in _PRODUCTS and "@" in self.wanted:
            self.found.add("@")
        if self.own is None or attr not in self.last or attr in self.own:
            return
        names = self.names.of(base)
        if any(self.names.is_module(n) for n in names):
            return                      # then _use has judged the whole name
        if isinstance(base, ast.Name) and base.id in ("self", "cls") and attr in self.methods:
            return
        self.found.add(self.last[attr])

    def _name(self, n):
        names = self.names.of(n)
        for name in names:
            self._use(name)
        parent = self.parent.get(id(n))
        if n.id == "getattr" and not (isinstance(parent, ast.Call) and parent.func is n):
            self.found.add("getattr")
        if isinstance(n.ctx, ast.Load) and names & self.names.modules and {x.split(".")[0] for x in names} & self.roots:
            alias = isinstance(parent, ast.Attribute | ast.NamedExpr | ast.Expr) or (
                isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name) and parent.func.id in _LOOKERS) or (
                isinstance(parent, ast.Assign | ast.AnnAssign) and parent.value is n
                and all(isinstance(t, ast.Name) for t in getattr(parent, "targets", [getattr(parent, "target", None)])))
            if not alias:
                self.found.add(f"{n.id} as a value")

    def _attribute(self, n):
        for name in self.names.of(n):
            self._use(name)
        self._attribute_named(n.attr, n.value)

    def _call(self, n):
        names = self.names.of(n.func)
        if "getattr" in names and len(n.args) > 1:
            key = n.args[1]
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                for base in self.names.of(n.args[0]):
                    self._use(f"{base}.{key.value}")
                self._attribute_named(key.value, n.args[0])
            else:
                self.found.add("getattr")
        if names & {"operator.attrgetter", "operator.methodcaller"}:
            for key in n.args[:1] if "operator.methodcaller" in names else n.args:
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    for part in key.value.split("."):
                        self._attribute_named(part, n)
                else:
                    self.found.add(sorted(names)[0])

    def _import(self, n):
        for a in n.names:
            self._use(a.name)

    def _importfrom(self, n):
        module = n.module or ""
        self._use(module)
        for a in n.names:
            self._use(f"{module}.{a.name}")
            if a.name == "*" and any(w.startswith(f"{module.split('.')[0]}.") for w in self.wanted):
                self.found.add(f"from {module} import *")

    def _product(self, n):
        if isinstance(n.op, ast.MatMult) and "@" in self.wanted:
            self.found.add("@")


_LOOK = {ast.Name: _Finder._name, ast.Attribute: _Finder._attribute, ast.Call: _Finder._call, ast.Import: _Finder._import,
         ast.ImportFrom: _Finder._importfrom, ast.BinOp: _Finder._product, ast.AugAssign: _Finder._product}


def _canonical(name):
    head, _, rest = name.partition(".")
    head = _CANON.get(head, head)
    return f"{head}.{rest}" if rest else head
