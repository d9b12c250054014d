"""What came out of the box → points. Runs outside, with the reference; a record is data and nothing in it is called.

Every function here returns an item of the graded record: id, kind, name, score, points, one line of note.
"""

import ast
import hashlib
import json
import math
import symtable

from ..answers import identity, predict
from ..answers.answer import AnswerUnreadable, read
from ..answers.check import WORKED, verdict
from ..answers.forbid import used_in


def seed(*parts):
    """An integer from secret and names, for the hidden cases of one student's check."""
    data = b"\x1f".join(p if isinstance(p, bytes) else str(p).encode() for p in parts)
    return int.from_bytes(hashlib.sha256(data).digest(), "big")


def hidden_cases(ref, secret, name, student):
    """This student's hidden cases of check `name` and the order in which all its cases are called."""
    import numpy as np

    rng = np.random.default_rng(seed(secret, ref.course, ref.assignment.id, name, identity.normal(student)))
    cases = ref.hidden_cases(name, rng)
    order = [int(i) for i in rng.permutation(len(ref.checks[name].cases) + len(cases))]
    return cases, order


def item(gid, cell, score, note, **more):
    points = cell.points
    if score is not None:
        score = float(min(max(score, 0.0), points)) if math.isfinite(score) else 0.0
    base = {"id": gid, "kind": cell.kind, "name": cell.name, "score": score, "points": points, "note": note[:400],
            "behaviours": {}, "mistake": None, "value": None, "unit": None}
    return base | more


def judge_check(ref, gid, cell, record, why, hidden, sources):
    """A check: share of behaviours that hold, nothing unless the core one does. sources: the student's cells by id."""
    spec = ref.checks[cell.name]
    cases = list(spec.cases) + hidden
    behaviours = {WORKED: True} | {c.behaviour: True for c in hidden}
    core = hidden[0].behaviour
    forbidden = used_in(reachable([f"solution-{s}" for s in cell.covers], sources), spec.forbid) if spec.forbid else []
    if forbidden:
        return item(gid, cell, 0.0, f"uses {', '.join(forbidden)}, which this exercise does without", behaviours=dict.fromkeys(behaviours, False))
    results = record.get("results") if record else None
    if type(results) is not list or len(results) != len(cases) or record.get("check") != cell.name:
        failed = record.get("failed") if record else None
        return item(gid, cell, 0.0, f"not graded: {_one_line(failed or why or 'no record of this check was produced')}",
                    behaviours=dict.fromkeys(behaviours, False))
    if all(_raised(r) == "NotImplementedError" for r in results):
        return item(gid, cell, 0.0, "not written", behaviours=dict.fromkeys(behaviours, False))
    wants = ref.outcomes(cell.name, cases)
    first = {}
    for c, got, want in zip(cases, results, wants, strict=True):
        text = _safe_verdict(spec, c, got, want)
        if text is not None:
            behaviours[c.behaviour] = False
            first.setdefault(c.behaviour, text)
    right = sum(behaviours.values())
    if not behaviours[core]:
        note = f"not right: {core}" + (f" ({first[WORKED]})" if WORKED in first else "")
        return item(gid, cell, 0.0, note, behaviours=behaviours)
    wrong = [b for b, ok in behaviours.items() if not ok]
    note = "right" if not wrong else f"{right} of {len(behaviours)} behaviours right; not right: {'; '.join(wrong)}"
    return item(gid, cell, cell.points if not wrong else round(cell.points * right / len(behaviours), 2), note, behaviours=behaviours)


def _raised(outcome):
    raised = outcome.get("raised") if type(outcome) is dict else None
    return raised[0] if type(raised) is list and raised and type(raised[0]) is str else None


def _safe_verdict(spec, c, got, want):
    """verdict() on an outcome that may be forged; anything that is not a well-formed outcome is wrong."""
    if type(got) is not dict or not ({"out", "raised"} & got.keys()) or ("raised" in got and _raised(got) is None):
        return "no readable result"
    try:
        return verdict(spec, c, got, want)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError, RecursionError, ArithmeticError) as error:
        return f"the result cannot be judged ({type(error).__name__})"


def reachable(ids, sources):
    """Source of the student's cells `ids` and of whatever they use from other cells of theirs, imports included."""
    named, statements = {}, []
    for gid, text in sources.items():
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in tree.body:
            names = _defines(node)
            if gid in ids:
                statements.append(node)
            for name in names:
                named.setdefault(name, []).append(node)
    queue, kept = list(statements), list(statements)
    while queue:
        for name in _globals(queue.pop()):
            for node in named.pop(name, []):
                if node not in kept:
                    kept.insert(0, node)
                    queue.append(node)
    return "\n".join(ast.unparse(n) for n in kept)


def _globals(node):
    """Names that a top-level statement takes from the notebook, its functions' own variables left out."""
    names = set()

    def look(table, top):
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (top or symbol.is_global()):
                names.add(symbol.get_name())
        for inner in table.get_children():
            look(inner, False)

    look(symtable.symtable(ast.unparse(node), "<cell>", "exec"), True)
    return names


def _defines(node):
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [a.asname or a.name.split(".")[0] for a in node.names]
    return [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def judge_answer(ref, gid, cell, record, why, student, roster):
    """A number: held against the key of this student's variant. Returns (item, flags)."""
    v = ref.variant(student)
    key = ref.key(cell.name, v)
    record = record or {}
    text = record.get("text")
    if record.get("answer") != cell.name or type(text) is not str or not text.strip():
        failed = record.get("failed") if type(record.get("failed")) is str else None
        unset = failed and failed.startswith("NameError")       # the student's cell never got as far as its assignment
        return item(gid, cell, 0.0, "no answer" if unset else _one_line(failed or why or "no answer"), unit=key.unit), []
    try:
        value, _ = read(cell.name, text[:200], key.unit)
    except AnswerUnreadable as error:
        return item(gid, cell, 0.0, _one_line(str(error)), unit=key.unit), []
    share, mistake = key.grade(value)
    note = "right" if share == 1.0 else mistake or "outside the tolerance"
    flags = []
    if share < 1.0 and mistake is None and ref.pool:
        for other in _same_answer(ref, cell.name, value, v, roster, student):
            flags.append({"kind": "copied-variant", "note": f"{cell.name}: the answer is right for the variant of {other}"})
    return item(gid, cell, cell.points * share, f"read as {_one_line(text[:60])}: {note}", mistake=mistake, value=value, unit=key.unit), flags


def _same_answer(ref, name, value, v, roster, student):
    """Students whose variant this value answers, if there are few enough for it to mean something."""
    own = identity.normal(student)
    others = [s for s in roster if identity.normal(s) != own and ref.variant(s) != v and ref.key(name, ref.variant(s)).grade(value)[0] == 1.0]
    return others if len(others) <= 3 else []


def judge_prediction(ref, gid, cell, log, why, student):
    """A prediction: points for one that was locked in an unbroken log of this student's own. Returns (item, flags)."""
    if log is None:
        return item(gid, cell, 0.0, why or f"no prediction was locked ({predict.LOG} was not submitted)"), []
    entries, problem = predict.verify(log, predict.genesis(ref.course, ref.assignment.id, identity.normal(student)))
    flags = [{"kind": "tamper", "note": f"{predict.LOG}: {problem}"}] if problem else []
    entry = next((e for e in entries if e["name"] == cell.name), None)
    if entry is None:
        return item(gid, cell, 0.0, f"no valid prediction: {problem}" if problem else "no prediction was locked"), flags
    try:
        value, unit = read(cell.name, entry["text"][:200], cell.unit)
    except AnswerUnreadable as error:
        return item(gid, cell, 0.0, _one_line(str(error))), flags
    return item(gid, cell, cell.points, f"locked at {_one_line(entry['text'][:60])}", value=value, unit=unit), flags


def summary(ref, student, items, flags, **more):
    """The graded record of a submission."""
    return {"assignment": ref.assignment.id, "student": student, "score": sum(i["score"] or 0.0 for i in items),
            "max_score": sum(i["points"] for i in items), "items": items, "flags": unique(flags)} | more


def unique(flags):
    return [json.loads(f) for f in dict.fromkeys(json.dumps(f, sort_keys=True) for f in flags)]


def _one_line(text):
    return "".join(c if c.isprintable() else " " for c in str(text))[:300]
