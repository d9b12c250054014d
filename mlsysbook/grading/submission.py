"""One submission, from its folder to its graded record and notebook: vet, run in the box, judge."""

import functools
import json
import os
import re
import tempfile
import time
import traceback
from pathlib import Path

import nbformat
from nbformat.v4 import new_output

from .. import atomic, catalogue
from ..answers import predict
from ..box.limits import Limits
from ..box.session import CellSource, Session
from ..build.reference import keys_beside, load
from ..errors import ClassError
from . import judge
from .suspicious import suspicious
from .vet import NO_ANSWER, copy_files, read_file, vet

MAX_LOG = 1 << 20
REGION = re.compile(r"[ \t]*### BEGIN SOLUTION\n.*?### END SOLUTION", re.DOTALL)


@functools.lru_cache(maxsize=32)
def _loaded(root, name, source, author, _stamp):
    course = catalogue.load(root)
    assignment = course.find(name)
    official = nbformat.read(Path(source) / f"{assignment.notebook}.ipynb", as_version=4)
    baked = json.loads((Path(source) / catalogue.SIDECAR).read_text(encoding="utf-8"))
    ref = load(course, assignment, author, pool=baked["variants"])
    ref.released = atomic.read_json(keys_beside(Path(author)), {})
    lost = {c.id for c in official.cells if _is_graded(c)} ^ set(ref.items)
    if lost:
        raise ClassError(f"{author}: the graded cell {sorted(lost)[0]} is not the same as in {source}; build and release again")
    return assignment, ref, official


def loaded(root, name, source=None, author=None):
    """(assignment, reference, official notebook), kept for this process until a file of theirs changes.

    source: the folder that was released; author: the author source it was built from. The course's own by default.
    """
    a = catalogue.load(root).find(name)
    source, author = Path(source or a.source_dir), Path(author or a.author_source)
    files = [Path(root) / "course.yml", author, source / f"{a.notebook}.ipynb", source / catalogue.SIDECAR]
    files += filter(Path.is_file, [keys_beside(author)])
    return _loaded(str(root), a.name, str(source), str(author), tuple(p.stat().st_mtime_ns for p in files))


def grade_submission(root, name, student, folder, *, secret, library, source=None, author=None, roster=(), notes=(), unsafe=False):
    """Grade the files in `folder` -> (graded record, notebook). Student code runs in the box and nowhere else.

    root: the course; name: the assignment; secret: bytes that seed the hidden cases; library: what library.stage made;
    source, author: what was released and the author source it was built from, the course's own by default;
    roster: students whose variants a copied answer is looked up in; notes: flags known before, such as a forged time stamp.
    """
    started = time.monotonic()
    assignment, ref, official = loaded(root, name, source, author)
    vetted = vet(official, folder, assignment.notebook)
    cells = vetted.notebook.cells
    graded = {c.metadata.nbgrader.grade_id: i for i, c in enumerate(cells) if c.cell_type == "code" and _is_graded(c)}
    hidden, sources = {}, []
    for i, c in enumerate(cells):
        if c.cell_type != "code":
            continue
        gid = c.metadata.get("nbgrader", {}).get("grade_id")
        cell = ref.items.get(gid) if gid in graded else None
        if cell is not None and cell.kind == "check":
            hidden[gid], order = judge.hidden_cases(ref, secret, cell.name, student)
            if ref.checks[cell.name].firmware:      # its hidden cases go to the program and never into the box
                order, inside = [], []
            else:
                inside = [h.encoded() for h in hidden[gid]]
            sources.append((i, CellSource(c.source, True, inside, order)))
        else:
            sources.append((i, CellSource(c.source, cell is not None)))
    with tempfile.TemporaryDirectory(prefix="mlsys-vetted-") as private:
        copy_files(folder, private, source or assignment.source_dir, vetted)
        log = read_file(Path(private) / predict.LOG, MAX_LOG)
        modules = _modules(Path(private), Path(source or assignment.source_dir))
        outcome = None
        if vetted.fate == "graded":
            outcome = run(assignment, library, [s for _, s in sources], private, student, unsafe)
    index = {i: k for k, (i, _) in enumerate(sources)}
    items, flags = [], list(vetted.flags) + list(notes)
    why = None if outcome else vetted.flags[0]["note"]
    if outcome:
        flags += outcome.flags
        for i, k in index.items():
            cells[i].outputs = [nbformat.from_dict(o) for o in outcome.outputs.get(k, [])]
    given = {c.id: c.source for c in official.cells}
    own = {i: (c.metadata.get("nbgrader", {}).get("grade_id", c.id), c.source) for i, c in enumerate(cells)
           if c.cell_type == "code" and not c.metadata.get("nbgrader", {}).get("locked") and (
               "nbgrader" in c.metadata or given.get(c.id) != c.source)}
    flags += suspicious([(index[i] + 1, text) for i, (_, text) in own.items()])
    log = log.decode("utf-8", "replace") if log is not None else None
    entries, _, wrong = judge.open_log(ref, log, student)
    track = ref.track(student, entries)
    flags += wrong if track else []     # without tracks the log matters to predictions alone
    earlier = {}                        # what the student's answers so far are, for those that build on them
    for gid, cell in ref.items.items():
        record = note = None
        if outcome and gid in graded:
            k = index[graded[gid]]
            record, note = outcome.records.get(k), outcome.notes.get(k)
        if cell.kind == "check":
            before = dict(named for i, named in own.items() if i < graded[gid])     # what comes later has not run yet
            made, more = judge.judge_check(ref, gid, cell, record, note or why, hidden[gid], before, modules,
                                           boxed=not unsafe), []
        elif cell.kind == "answer":
            made, more = judge.judge_answer(ref, gid, cell, record, note or why, student, roster, earlier, track)
            if made["value"] is not None:
                earlier[cell.name] = made["value"]
        elif cell.kind == "decision":
            text = "\n".join(c.source for c in official.cells if c.metadata.get("nbgrader", {}).get("grade_id") != f"write-{cell.name}")
            released = REGION.sub("", next(c.source for c in official.cells if c.id == f"write-{cell.name}"))
            made, more = judge.judge_decision(ref, gid, cell, record, note or why, student, items, text + "\n" + released, track), []
        elif cell.kind == "predict":
            made, more = judge.judge_prediction(ref, gid, cell, log, why, student)
        else:
            text = next(c.source.strip() for c in cells if c.metadata.get("nbgrader", {}).get("grade_id") == gid)
            more, blank = [], text == NO_ANSWER
            made = judge.item(gid, cell, 0.0, why or "no answer") if blank else judge.item(gid, cell, None, "graded by hand")
        items.append(made)
        flags += more
        if gid in graded:
            cells[graded[gid]].outputs = verdict_outputs(made)
    for n, c in enumerate((c for c in cells if c.cell_type == "code"), 1):
        c.execution_count = n
    record = judge.summary(ref, student, items, flags, fate=vetted.fate, unsafe=bool(unsafe), seconds=round(time.monotonic() - started, 3),
                           ended=outcome.ended if outcome else vetted.fate)
    return record, json.loads(json.dumps(vetted.notebook))


def ungraded(error, *, root, name, student, source=None, author=None, unsafe=False, **_):
    """(Record, notebook) of a submission at which the grader itself failed: no points for now, the reason, and a flag."""
    assignment, ref, official = loaded(root, name, source, author)
    vetted = vet(official, os.devnull, assignment.notebook)
    where = traceback.extract_tb(error.__traceback__)[-1]
    vetted.flags.clear()
    vetted.flag("damaged", f"the grader failed on it: {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno}); "
                           "it is tried again by the next run")
    items = [judge.item(gid, cell, 0.0, f"not graded: the grader failed ({type(error).__name__})") for gid, cell in ref.items.items()]
    for made in items:
        cell = next(c for c in vetted.notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == made["id"])
        if cell.cell_type == "code":
            cell.outputs = verdict_outputs(made)
    record = judge.summary(ref, student, items, vetted.flags, fate="failed", unsafe=bool(unsafe), seconds=0.0, ended="failed")
    return record, json.loads(json.dumps(vetted.notebook))


def of_class(classroom, course, a, student, *, library, roster, secret, unsafe):
    """Arguments of grade_submission for one student of a class; all of them can be sent to another process."""
    source, author = released_files(classroom, a)
    return {"root": str(course.root), "name": a.name, "student": student, "folder": str(classroom.submitted(student, a.id)),
            "secret": secret, "library": str(library), "source": str(source), "author": str(author), "roster": roster,
            "notes": classroom.notes(a.id, student), "unsafe": unsafe}


def released_files(classroom, a):
    """Folder and author source that the class was given: a later build of the course changes neither variants nor checks."""
    source = classroom.source(a.id)
    return source if (source / f"{a.notebook}.ipynb").is_file() else a.source_dir, classroom.author(a)


def run(assignment, library, sources, folder, student, unsafe):
    limits = Limits.of(assignment)
    if assignment.executor == "kernel":
        from ..box.kernel import KernelSession
        return KernelSession(library, limits, unsafe=unsafe).run(sources, folder, student)
    return Session(library, limits, unsafe=unsafe).run(sources, folder, student)


def _modules(folder, official):
    """Python files that the student brought: {name of the module or package: its text}."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        if not (official / path.name).is_file():
            name = path.relative_to(folder).parts[0].removesuffix(".py")
            found[name] = found.get(name, "") + path.read_text(encoding="utf-8", errors="replace") + "\n"
    return found


def _is_graded(c):
    return bool(c.metadata.get("nbgrader", {}).get("grade"))


def verdict_outputs(made):
    """What a graded cell shows: one line, and the plain float that nbgrader's SaveAutoGrades reads."""
    scored = "no points yet" if made["score"] is None else f"{made['score']:g} of {made['points']:g} points"
    return [new_output("stream", name="stdout", text=f"{made['name']}: {scored}; {made['note']}\n"),
            new_output("execute_result", data={"text/plain": repr(made["score"] or 0.0)}, execution_count=1)]
