"""What must hold of every template: each number by two paths, no number typed in, a pool that is up to date.

The first path is the template with its MLSys·im calls. The second is a closed form: a function of the template's name in
tests/staffml/closed_forms/<area>.py, which takes the parameters as attributes, uses the standard library alone, and
returns {part: right value} or {part: (right value, {misconception: value})}; for a diagnosis, the cause's name.
"""

import ast
import math
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from .parts import Design, Diagnosis, computed
from .pools import POOLS, SIZE, draws, fingerprint, variant
from .template import FOLDER, TemplateError, load, names
from .text import render
from .variants import baked, flaw

CLOSED_FORMS = FOLDER.parent.parent / "tests" / "staffml" / "closed_forms"
LINES = 60
AGREE = 1e-9                            # two paths to a number differ by their roundings only
# Numbers that are units or structure: halves, doubles, bits of a byte, minutes, hours, days, and powers of ten.
_PLAIN = {0, 0.5, 1, 2, 4, 8, 24, 60, 365, 1024, 3600, 86400} | {float(f"1e{k}") for k in range(-15, 19)}
_PRECISIONS = {"fp32", "tf32", "fp16", "bf16", "fp8", "fp4", "int8", "int4"}
_ALLOWED_IMPORTS = {"math", "itertools", "functools", "fractions", "statistics"}


def check(name, *, folder=FOLDER, pools=POOLS, forms=CLOSED_FORMS):
    """What is wrong with one template -> [one line each]; none if it is right."""
    path = Path(folder) / f"{name}.py"
    try:
        template = load(name, folder)
        found = typed_in(path) + _form_of(template, path)
        pool = draws(name, pools)
        second = closed_form(name, forms)
    except ValueError as error:
        return [str(error)]
    variants = [variant(template, i) for i in pool["draws"]]
    if len(variants) < SIZE:
        found.append(f"{name}: its pool holds {len(variants)} variants; wants at least {SIZE}: staffml build {name}")
    if fingerprint(template, variants) != pool["sha256"]:
        found.append(f"{name} has changed since its pool was built; run: staffml build {name}")
    for i, p in zip(pool["draws"], variants, strict=True):
        reason = flaw(template, p)
        found += [f"{name}, draw {i}: {reason}"] if reason else []
        found += [f"{name}, draw {i}: {line}" for line in (*_disagreements(template, p, second), *_unprintable(template, i, p))]
        if len(found) > 9:
            return [*found[:9], f"{name}: and more"]
    return found


def check_all(folder=FOLDER):
    """What is wrong between templates: prerequisites that do not exist or go in circles -> [one line each]."""
    requires = {name: load(name, folder).requires for name in names(folder)}
    found = [f"{name} requires {r!r}, and there is no such template" for name, rs in requires.items() for r in rs if r not in requires]
    depth = {}

    def visit(name, path=()):
        if name in path:
            return found.append(f"prerequisites go in a circle: {' -> '.join((*path[path.index(name):], name))}")
        if name not in depth:
            depth[name] = [visit(r, (*path, name)) for r in requires.get(name, ())]

    for name in requires:
        visit(name)
    return found


@cache
def closed_form(name, forms=CLOSED_FORMS):
    """The second path to a template's answers. Raises TemplateError if it is not there or leans on the first."""
    area, function = name.split("/")
    path = Path(forms) / f"{area.replace('-', '_')}.py"
    if not path.is_file():
        raise TemplateError(f"{name} has no closed form: {path} does not exist; define {function}(p) there")
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in ast.walk(tree):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            if module.partition(".")[0] not in _ALLOWED_IMPORTS:
                known = ", ".join(sorted(_ALLOWED_IMPORTS))
                raise TemplateError(f"{path}:{node.lineno}: imports {module}; a closed form uses {known} alone")
    space = {}
    exec(compile(tree, str(path), "exec"), space)
    if not callable(space.get(function)):
        raise TemplateError(f"{name} has no closed form: define {function}(p) in {path}")
    return space[function]


def typed_in(path):
    """Numbers and names of devices written into the functions of a template file -> [one line each].

    Powers of ten, powers of two written 2**n, and units are let through; so is a name given a value at the
    top of the file, on a line that says in a comment where the value comes from.
    """
    source = Path(path).read_text(encoding="utf-8")
    lines, tree, found = source.splitlines(), ast.parse(source), []
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)]
    read = {n.id for function in functions for n in ast.walk(function) if isinstance(n, ast.Name)}
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not any(_numbers(node.value or node)):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        constant = ast.unparse(target).isupper() or read & {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
        if constant and "#" not in " ".join(lines[node.lineno - 1:node.end_lineno]):
            found.append(f"{path}:{node.lineno}: {ast.unparse(target)} has a number without a source; say in a comment where it is from")
    for function in functions:
        body = function.body if isinstance(function.body, list) else [function.body]
        if isinstance(function, ast.FunctionDef) and ast.get_docstring(function):
            body = body[1:]
        body = [*body, *function.args.defaults, *filter(None, function.args.kw_defaults)]
        for node in (n for part in body for n in _numbers(part)):
            found.append(f"{path}:{node.lineno}: {node.value!r} is typed into a key; "
                         "make it a parameter, or a named constant with its source")
    return list(dict.fromkeys(found))


def _numbers(tree):
    """Constants in an expression that are neither units nor structure."""
    fine = {id(n.right) for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow)
            and isinstance(n.left, ast.Constant) and n.left.value == 2}
    fine |= {id(k.value) for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "round" for k in _second(n)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in fine:
            continue
        if isinstance(node.value, str):
            if any(c.isdigit() for c in node.value) and node.value not in _PRECISIONS and "{" not in node.value:
                yield node
        elif type(node.value) in (int, float) and node.value not in _PLAIN:
            yield node


def _second(call):
    return [SimpleNamespace(value=n) for argument in call.args[1:] for n in ast.walk(argument)]


def _form_of(template, path):
    found = []
    length = len(Path(path).read_text(encoding="utf-8").splitlines())
    if length > LINES:
        found.append(f"{path}: {length} lines; wants at most {LINES}")
    if not template.chapter:
        found.append(f"{template.name} names no chapter; add chapter=\"V1-13\" or another")
    return found


def _disagreements(template, p, second):
    """Parts whose two paths differ, for one variant."""
    values = SimpleNamespace(**p)
    other, answers = second(values), template.answers(p)
    wanted = {part.name for part in template.parts if not isinstance(part, Design)}
    if set(other) != wanted:
        yield f"its closed form gives {', '.join(sorted(other))}; wanted {', '.join(sorted(wanted))}"
        return
    for part in template.parts:
        if isinstance(part, Diagnosis) and other[part.name] != p[part.planted]:
            yield f"{part.name}: planted {p[part.planted]}, the closed form finds {other[part.name]}"
        if not computed(part):
            continue
        right, wrong = other[part.name] if isinstance(other[part.name], tuple) else (other[part.name], {})
        pairs = {"the answer": (answers[part.name], right)}
        mistakes = part.mistakes(p, answers)
        for name, value in wrong.items():
            if name not in mistakes:
                yield f"{part.name}: the closed form has a misconception {name!r}, the template has {', '.join(mistakes)}"
            else:
                pairs[name] = mistakes[name], value
        for what, (mine, yours) in pairs.items():
            if not math.isclose(mine, yours, rel_tol=AGREE):
                yield f"{part.name}: {what} is {mine:.12g} by MLSys·im and {yours:.12g} by the closed form"


def _unprintable(template, i, p):
    """Texts of one variant that cannot be printed."""
    try:
        baked(template, i, p)
        for part in template.parts:
            for item in getattr(part, "misconceptions", ()) or getattr(part, "causes", ()):
                render(item.why, p, template.figures)
            for _, text in getattr(part, "rubric", ()):
                render(text, p, template.figures)
    except ValueError as error:
        yield str(error)
