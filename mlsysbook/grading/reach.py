"""What a solution is made of: the student's own cells for it, and whatever in their other cells it uses or is changed by.

Used to judge names that an exercise does without. A statement belongs to a solution if it defines a name that the solution
uses, directly or not, or changes what such a name stands for; and whatever replaces a part of a module, or builds code at
run time, belongs to every solution, since nobody can tell what it reaches.
"""

import ast
import dis
import functools
import re
from importlib.util import find_spec

from ..answers.forbid import UNREADABLE, Names, found_in

_MAGIC = re.compile(r"^(\s*)(?:[\w, ]+=\s*)?([%!?]+)(\w*)\s*(.*)$")
_TIMED = {"time", "timeit", "prun", "memit", "mprun", "lprun"}
_HARMLESS = {"matplotlib", "precision", "config", "who", "whos", "pwd", "ls", "cd", "cat", "load_ext", "autoreload", "env", "pip",
             "conda", "capture", "html", "javascript", "markdown", "latex", "svg", "bash", "sh", "script", "writefile", "xmode",
             "pinfo", "psearch", "psource", "history", "hist", "pprint", "colors", "pycat", "tb"}
_CHANGERS = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "__setitem__", "__setattr__"}
_MERELY_READ = {"globals", "locals", "vars", "getattr", "__dict__", "inspect.getmembers", "pickle"}


def forbidden(ids, sources, forbid, *, given=(), files=None, own=()):
    """Names that the solution in cells `ids` uses although `forbid` lists them -> sorted list.

    sources: the student's cells, {id: text}, as they run; given: sources of the assignment's own cells; files: the student's
    Python files, {module: text}; own: names that the assignment's reference defines.
    """
    if not forbid:
        return []
    trees = {name: parse(text) for name, text in sources.items()}
    if None in trees.values():
        return [UNREADABLE]
    statements = {name: tree.body + [s for n in ast.walk(tree) for s in _timed(n)] for name, tree in trees.items()}
    libraries = {name: tree.body for name, text in (files or {}).items() if (tree := parse(text)) is not None}
    names, modules = _known(tuple(given))
    everything = Names(trees.values(), names)

    def opaque(node):
        """What in a statement cannot be followed, and may therefore change any solution."""
        return set(found_in([node], forbid, names=everything)) - set(forbid) - _MERELY_READ

    try:
        kept, unknown = _reachable(ids, statements, libraries, modules | _imported(trees.values()), opaque)
    except (RecursionError, MemoryError, SyntaxError, ValueError):      # what ast reads and the compiler does not
        return [UNREADABLE]
    return sorted({*found_in(kept, forbid, names=Names(kept, names), own=own), *(f"the unknown module {m}" for m in unknown)})


@functools.lru_cache(maxsize=8)
def _known(given):
    """What the assignment's own cells say of names, and which of those stand for modules."""
    trees = [tree for tree in map(parse, given) if tree is not None]
    return Names(trees), _imported(trees)


def parse(text):
    """ast of a cell, magics read as what they run; an empty one for what cannot run either; None for what Python cannot read."""
    return _parsed(text) if len(text) < 20_000 else _parse(text)


def _parse(text):
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        pass
    except (RecursionError, MemoryError):
        return None
    try:
        return ast.parse("\n".join(_plain(line, i) for i, line in enumerate(text.split("\n"))))
    except (SyntaxError, ValueError):
        return ast.Module([], [])
    except (RecursionError, MemoryError):
        return None


_parsed = functools.lru_cache(maxsize=256)(_parse)     # one cell is read for every check behind it


def _plain(line, i):
    match = _MAGIC.match(line)
    if not match:
        return line
    space, mark, name, rest = match.groups()
    if "!" in mark or "?" in mark or name in _HARMLESS:
        return space + "pass"
    if name in _TIMED:
        while rest.startswith("-"):         # options, with or without a value
            rest = re.sub(r"^-\w+\s*\d*\s*", "", rest) if re.match(r"^-\w+", rest) else ""
        return space + (rest or "pass")
    return f"{space}get_ipython('%{name}')"


def _timed(n):
    """Statements in the text that a call of timeit runs."""
    if isinstance(n, ast.Call) and "timeit" in ast.dump(n.func) or isinstance(n, ast.Call) and "'repeat'" in ast.dump(n.func):
        for a in [*n.args, *(k.value for k in n.keywords)]:
            if isinstance(a, ast.Constant) and isinstance(a.value, str) and (tree := parse(a.value)) is not None:
                yield from tree.body


def _reachable(ids, statements, libraries, modules, opaque):
    """Statements of the solution and of what it uses or is changed by, and the modules among it that nobody knows."""
    defines, changes, kept, queue, unknown = {}, {}, {}, [], set()

    def take(node):
        if id(node) not in kept:
            kept[id(node)] = node
            queue.append(node)

    for name, body in statements.items():
        for node in body:
            for n in _defined(node):
                defines.setdefault(n, []).append(node)
            roots = _changed(node)
            for n in roots:
                changes.setdefault(n, []).append(node)
            if name in ids or roots & modules or opaque(node):
                take(node)
    while queue:
        node = queue.pop()
        for name in _globals(node):
            for other in defines.get(name, []) + changes.get(name, []):
                take(other)
        for n in ast.walk(node):
            for module in _modules_of(n):
                if module in libraries:
                    for other in libraries[module]:
                        take(other)
                elif module and find_spec(module) is None:
                    unknown.add(module)
    return list(kept.values()), unknown


def _globals(node):
    """Global names that a statement uses, its functions included: what is local to a function is not among them."""
    codes, names = [compile(ast.Module([node], []), "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)], set()
    while codes:
        code = codes.pop()
        names |= {i.argval for i in dis.get_instructions(code) if i.opname.endswith(("_NAME", "_GLOBAL")) and type(i.argval) is str}
        codes += [c for c in code.co_consts if hasattr(c, "co_code")]
    return names


def _imported(nodes):
    """Names that stand for modules, and those by which a module's names are changed."""
    found = {"builtins", "__builtins__", "globals", "locals", "vars"}
    for root in nodes:
        for n in ast.walk(root):
            if isinstance(n, ast.Import):
                found |= {a.asname or a.name.split(".")[0] for a in n.names}
            elif isinstance(n, ast.ImportFrom):
                found |= {a.asname or a.name for a in n.names if not a.name[:1].isupper()}
    return found


def _modules_of(n):
    if isinstance(n, ast.Import):
        return [a.name.split(".")[0] for a in n.names]
    return [(n.module or "").split(".")[0]] if isinstance(n, ast.ImportFrom) else []


def _defined(node):
    """Names that a top-level statement binds, at any depth of its blocks."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {node.name} | {name for n in ast.walk(node) if isinstance(n, ast.Global) for name in n.names}
    names = set()
    for n in ast.walk(node):
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store | ast.Del):
            names.add(n.id)
        elif isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(n.name)
        elif isinstance(n, ast.Import | ast.ImportFrom):
            names |= {a.asname or a.name.split(".")[0] for a in n.names}
        elif isinstance(n, ast.MatchAs | ast.MatchStar) and n.name:
            names.add(n.name)
    return names


def _root(node):
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _changed(node):
    """Names of what a statement changes a part of: `x.y = ...`, `x[i] = ...`, `setattr(x, ...)`, `x.append(...)`."""
    roots = set()
    for n in ast.walk(node):
        if isinstance(n, ast.Attribute | ast.Subscript) and isinstance(n.ctx, ast.Store | ast.Del):
            roots.add(_root(n))
        elif isinstance(n, ast.Call):
            called = _root(n.func)
            if called in ("setattr", "delattr") and isinstance(n.func, ast.Name):
                roots |= {_root(a) for a in n.args[:1]}
            elif isinstance(n.func, ast.Attribute) and n.func.attr in _CHANGERS:
                roots.add(called)
    return roots - {None}
