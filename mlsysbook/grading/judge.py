"""What came out of the box → points. Runs outside, with the reference; a record is data and nothing in it is called.

Every function here returns an item of the graded record: id, kind, name, score, points, one line of note. The note is shown to
the student, so it holds no text that code in the box could choose: that code has seen the hidden cases. `detail` is the
instructor's.
"""

import ast
import builtins
import contextlib
import functools
import hashlib
import json
import math
import re
import signal
import threading

from ..answers import identity, predict
from ..answers.answer import AnswerUnreadable, read
from ..answers.check import WORKED, verdict
from ..labs import tracks
from ..labs.decision import EVIDENCE, SHARES, TEXTS, WORDS
from . import program
from .reach import forbidden

JUDGE_SECONDS = 20                      # for the results of one check
_ERRORS = {name for name, v in vars(builtins).items() if isinstance(v, type) and issubclass(v, BaseException)}


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
            "behaviours": {}, "mistake": None, "value": None, "unit": None, "detail": None}
    return base | more


def judge_check(ref, gid, cell, record, why, hidden, sources, files=None, *, boxed=True):
    """A check: share of behaviours that hold, nothing unless the core one does.

    sources: the student's cells that ran before it, by id; files: Python files that they brought, by module name. boxed: build
    and run the program of a firmware check in a box. Its score is None where a compiler or an emulator for it is missing here.
    """
    spec = ref.checks[cell.name]
    cases = list(spec.cases) + hidden
    limits = spec.firmware.limits if spec.firmware else {}
    behaviours = {WORKED: True} | {c.behaviour: True for c in hidden} | dict.fromkeys(limits.values(), True)
    none = dict.fromkeys(behaviours, False)
    core = hidden[0].behaviour
    uses = forbidden([f"solution-{s}" for s in cell.covers], sources, spec.forbid, files=files, **official(ref)) if spec.forbid else []
    if uses:
        return item(gid, cell, 0.0, f"uses {', '.join(uses)}, which this exercise does without", behaviours=none)
    results = record.get("results") if record else None
    recorded = 1 if spec.firmware else len(cases)
    if type(results) is not list or len(results) != recorded or record.get("check") != cell.name:
        failed = record.get("failed") if record else None
        said = _failure(failed, cell) or why or "no record of this check was produced"
        return item(gid, cell, 0.0, f"not graded: {said}", behaviours=none, detail=_one_line(failed) if type(failed) is str else None)
    if all(_raised(r) == "NotImplementedError" for r in results):
        return item(gid, cell, 0.0, "not written", behaviours=none)
    first, used = {}, ""
    try:
        if spec.firmware:
            ran = program.ran(spec, results[0], cases, boxed=boxed)
            results, used = ran.results, ran.used
            wants = _expected(ref, cell.name, ran.product, cases)
            for key in ran.over:
                behaviours[limits[key]] = False
                first[limits[key]] = f"takes {ran.sizes.get(key, 'nobody knows how many')}"
        else:
            wants = ref.outcomes(cell.name, cases)
        with within(JUDGE_SECONDS):
            for c, got, want in zip(cases, results, wants, strict=True):
                text = _safe_verdict(spec, c, got, want)
                if text is not None:
                    behaviours[c.behaviour] = False
                    first.setdefault(c.behaviour, text)
    except program.Missing as error:
        return item(gid, cell, None, f"not graded yet: {error}; grade again then")
    except program.NoProgram as error:
        return item(gid, cell, 0.0, str(error), behaviours=none, detail=_one_line(error.detail) or None)
    except TooLong:
        return item(gid, cell, 0.0, f"not graded: its results could not be judged within {JUDGE_SECONDS} s", behaviours=none)
    right = sum(behaviours.values())
    detail = _one_line("; ".join(f"{b}: {text}" for b, text in first.items())) or None
    if not behaviours[core]:
        note = f"not right: {core}" + ("; a worked example fails too, run its cell to see which" if WORKED in first else "")
        return item(gid, cell, 0.0, note, behaviours=behaviours, detail=detail)
    wrong = [b for b, ok in behaviours.items() if not ok]
    note = "right" if not wrong else f"{right} of {len(behaviours)} behaviours right; not right: {'; '.join(wrong)}"
    note += f" ({used})" if used else ""
    points = cell.points if not wrong else round(cell.points * right / len(behaviours), 2)
    return item(gid, cell, points, note, behaviours=behaviours, detail=detail)


def _expected(ref, name, product, cases):
    try:
        with within(JUDGE_SECONDS):
            return ref.expected(name, product, cases)
    except TooLong:
        raise
    except Exception as error:          # forged data can make NumPy, or what the author wrote, raise anything
        raise program.NoProgram("not right: what should come out of it cannot be told", f"{type(error).__name__}: {error}") from None


def unscored(record):
    """Checks that could not be graded here, for want of a compiler or an emulator -> items. The next run takes them up again."""
    return [i for i in record["items"] if i["kind"] == "check" and i["score"] is None]


def official(ref):
    """What the assignment itself brings to a solution: `given`, sources of its cells, and `own`, names that it defines."""
    return _official(tuple((c.kind, c.code) for c in ref.cells if c.kind in ("given", "show", "solution", "check")))


@functools.lru_cache(maxsize=8)
def _official(cells):
    own = set()
    for _, text in cells:
        for n in ast.walk(ast.parse(text)):
            if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                own.add(n.name)
            elif isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store):
                own.add(n.attr)
    return {"given": tuple(text for kind, text in cells if kind in ("given", "show")), "own": frozenset(own)}


class TooLong(Exception):
    pass


@contextlib.contextmanager
def within(seconds):
    """Raise TooLong in the block after so many seconds. A property is the author's, but what it looks at is not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _failure(failed, cell):
    """What may be said of a graded cell that failed in the box: never a text that the submission chose. "" if it did not."""
    if failed is None:
        return ""
    if type(failed) is not str:
        return "its record cannot be read"
    if failed in ("ran out of memory", f"{cell.name} is not defined"):
        return failed
    kind, _, text = failed.partition(": ")
    lost = re.match(r"name '(\w{1,60})' is not defined", text) if kind == "NameError" else None
    if lost and re.search(rf"\b{lost[1]}\b", cell.text):
        return f"{lost[1]} is not defined"
    return f"the cell raised {kind}" if kind in _ERRORS else "the cell raised an error of the notebook's own"


def _raised(outcome):
    raised = outcome.get("raised") if type(outcome) is dict else None
    return raised[0] if type(raised) is list and raised and type(raised[0]) is str else None


def _safe_verdict(spec, c, got, want):
    """verdict() on an outcome that may be forged; anything that is not a well-formed outcome is wrong."""
    if type(got) is not dict or not ({"out", "raised"} & got.keys()) or ("raised" in got and _raised(got) is None):
        return "no readable result"
    try:
        return verdict(spec, c, got, want)
    except TooLong:
        raise
    except Exception as error:          # forged data can make NumPy or a property raise anything
        return f"the result cannot be judged ({type(error).__name__})"


def judge_answer(ref, gid, cell, record, why, student, roster, earlier=None, track=None):
    """A number: held against the key of this student's variant. Returns (item, flags).

    earlier: values of the student's answers before this one, {name: value}, which a step of a chain is judged with too.
    track: the one that the student's log fixes.
    """
    v = ref.variant(student, track)
    key = ref.key(cell.name, v)
    record = record or {}
    text = record.get("text")
    if record.get("answer") != cell.name or type(text) is not str or not text.strip():
        failed = record.get("failed")
        unset = type(failed) is str and failed.startswith("NameError")      # the student's cell never got as far as its assignment
        odd = re.fullmatch(r"a (\w{1,40}) is no answer", failed) if type(failed) is str else None
        said = "no answer" if unset else f"a {odd[1] if hasattr(builtins, odd[1]) else 'value of another type'} is no answer" if odd else \
            _failure(failed, cell)
        return item(gid, cell, 0.0, said or why or "no answer", unit=key.unit), []
    try:
        value, _ = read(cell.name, text[:200], key.unit)
    except AnswerUnreadable as error:
        return item(gid, cell, 0.0, _one_line(str(error)), unit=key.unit), []
    share, mistake = key.grade(value)
    note = "right" if share == 1.0 else mistake or "outside the tolerance"
    carried = _carried(ref, cell.name, v, key, value, earlier or {}) if share < 1.0 else None
    if carried and carried[0] > share:
        share, mistake, note = carried
    flags = []
    if share < 1.0 and mistake is None and ref.pool:
        for other in _same_answer(ref, cell.name, value, v, roster, student):
            flags.append({"kind": "copied-variant", "note": f"{cell.name}: the answer is right for the variant of {other}"})
    note = f"read as {_one_line(text[:60])}: {note}"
    return item(gid, cell, cell.points * share, note, mistake=mistake, value=value, unit=key.unit), flags


def _carried(ref, name, v, key, value, earlier):
    """(share, mistake, note) of a value that follows from the student's own steps, or None. Nothing follows from nothing."""
    own = {step: earlier[step] for step in key.steps if step in earlier}
    if not own or not all(x > 0 for x in own.values()):
        return None
    try:
        theirs = ref.key(name, v, own)
    except (ArithmeticError, ValueError):   # their step makes no sense here
        return None
    if not (math.isfinite(theirs.value) and theirs.value > 0):
        return None
    share, mistake = theirs.grade(value)
    steps = " and ".join(own)
    return share, mistake, f"right with your own {steps}" if share == 1.0 else f"{mistake or 'Near.'} Judged with your own {steps}."


def _same_answer(ref, name, value, v, roster, student):
    """Students whose variant this value answers, at most three, if it answers few enough variants for that to mean something."""
    answered = [w for w in ref.answered_by(name, value) if w != v]
    if len(answered) > max(1, len(ref.pool) // 20):
        return []
    own = identity.normal(student)
    return [s for s in roster if identity.normal(s) != own and ref.variant(s) in answered][:3]


def judge_decision(ref, gid, cell, record, why, student, items, given="", track=None):
    """A decision: half for the limit that binds, a third for the answers it rests on, the rest for the sentences.

    items: what the student's items earned so far; evidence counts where that answer is right. given: text of the assignment, whose
    sentences are nobody's own. What the sentences say is for a person to read: here they only have to be there.
    """
    record = record or {}
    fields = record.get("fields")
    if record.get("decided") != cell.name or type(fields) is not dict:
        said = "no decision" if record.get("failed") or record else why or "no decision"
        return item(gid, cell, 0.0, said)
    ruling = ref.ruling(cell.name, ref.variant(student, track))
    named = fields.get("binding") if type(fields.get("binding")) is str else ""
    bound = named == ruling.binding
    mistake = None if bound else ruling.wrong.get(named)
    right = {i["name"] for i in items if i["kind"] == "answer" and i["points"] and i["score"] == i["points"]}
    evidence = fields.get("evidence") if type(fields.get("evidence")) is list else []
    shown = len({e for e in evidence if type(e) is str and e in right} if len(evidence) <= EVIDENCE else ())
    theirs = [_words(fields.get(k)) for k in TEXTS]
    prompt = " " + " ".join(_words(given)) + " "
    written = sum(len(t) >= WORDS and theirs.count(t) == 1 and f" {' '.join(t)} " not in prompt for t in theirs)
    share = float(SHARES[0] * bound + SHARES[1] * shown / EVIDENCE + SHARES[2] * written / len(TEXTS))
    other = mistake or ("another limit binds" if named in ruling.options else "no limit is named")
    notes = ["the limit is the one that binds" if bound else other.rstrip("."), f"{shown} of {EVIDENCE} answers named are right",
             f"{written} of {len(TEXTS)} sentences are there"]
    behaviours = {"names the limit that binds": bound, "rests on answers that are right": shown == EVIDENCE,
                  "claim, alternative and risk are there": written == len(TEXTS)}
    return item(gid, cell, round(cell.points * share, 2), "; ".join(notes), behaviours=behaviours, mistake=mistake)


def _words(text):
    return re.findall(r"\w+", text[:200_000].lower()) if type(text) is str else []


def open_log(ref, log, student):
    """A submitted log -> (its entries up to the first fault, the fault or None, flags). log: text, or None if there was none."""
    entries, problem = predict.verify(log or "", predict.genesis(ref.course, ref.assignment.id, identity.normal(student)))
    notes = [problem] if problem else []
    named = [e["text"] for e in entries if e["name"] == tracks.ENTRY]
    if len(named) > 1 or any(t not in tracks.TRACKS for t in named):        # scenario writes one, and only such
        notes.append("more than one track is named, or one that there is not; the first that is one counts")
    return entries, problem, [{"kind": "tamper", "note": f"{predict.LOG}: {note}"} for note in notes]


def judge_prediction(ref, gid, cell, log, why, student):
    """A prediction: points for one that was locked in an unbroken log of this student's own. Returns (item, flags).

    With a key, the rest of its points is for calibration: an interval that is narrow and holds the truth.
    """
    if log is None:
        return item(gid, cell, 0.0, why or f"no prediction was locked ({predict.LOG} was not submitted)"), []
    entries, problem, flags = open_log(ref, log, student)
    entry = next((e for e in entries if e["name"] == cell.name), None)
    if entry is None:
        return item(gid, cell, 0.0, f"no valid prediction: {problem}" if problem else "no prediction was locked"), flags
    try:
        low, value, high = (read(cell.name, entry[k][:200], cell.unit)[0] for k in ("low", "text", "high"))
        unit = read(cell.name, entry["text"][:200], cell.unit)[1]
    except AnswerUnreadable as error:
        return item(gid, cell, 0.0, _one_line(str(error))), flags
    said = f"locked at {_one_line(entry['text'][:60])}"
    guess = {"value": value, "unit": unit, "low": low, "high": high, "at": entry["at"], "began": entries[0]["at"]}
    if cell.name not in ref.keys:
        return item(gid, cell, cell.points, said, **guess), flags
    truth = ref.key(cell.name, ref.variant(student, ref.track(student, entries))).value
    c = predict.calibration(low, value, high, truth)
    note = f"{said}, off by a factor of {10**c.decades:.3g}, {'inside' if c.held else 'outside'} the interval"
    share = predict.LOCKED + (1 - predict.LOCKED) * c.score
    return item(gid, cell, round(cell.points * share, 2), note, truth=truth, **guess), flags


def summary(ref, student, items, flags, **more):
    """The graded record of a submission."""
    return {"assignment": ref.assignment.id, "student": student, "score": sum(i["score"] or 0.0 for i in items),
            "max_score": sum(i["points"] for i in items), "items": items, "flags": unique(flags)} | more


def unique(flags):
    return [json.loads(f) for f in dict.fromkeys(json.dumps(f, sort_keys=True) for f in flags)]


def _one_line(text):
    return "".join(c if c.isprintable() else " " for c in str(text))[:300]
