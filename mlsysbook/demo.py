"""A class of simulated students, from release to report: the journey of an assignment, on one machine, in a minute.

Each student is a way of working that a class really has: everything right, half done, nothing, a neighbour's numbers, a
crash, a loop, an attack ... Everything they touch is real: nbgrader's exchange, the box, the judge, the gradebook.
"""

import contextlib
import functools
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlsysim import units

from .answers import predict
from .build.reference import load
from .grading import deadlines
from .labs import tracks

COURSE_ID = "mlsys-demo"
ASSIGNMENTS = ("tinytorch/01_tensor", "labs/v1_02_physics", "drills/kv_cache")      # one of each kind; tests grade all others
_FROM_TEMPLATES = "= solution("         # of staffml
DUE = timedelta(hours=1)                # after the demonstration; `late` is made to hand in a day and a half after that


@dataclass(frozen=True)
class Student:
    """id, what they do (one line), and the function that does it to a fetched folder."""

    id: str
    does: str
    work: object


@functools.cache
def _reference(course, assignment):
    return load(course, assignment)


class Desk:
    """What a simulated student has in hand: one fetched assignment, and, to play their part, its solution."""

    def __init__(self, course, assignment, student, folder):
        self.course, self.assignment, self.student, self.folder = course, assignment, student, Path(folder)
        self.path = self.folder / f"{assignment.notebook}.ipynb"
        self.nb = json.loads(self.path.read_text(encoding="utf-8"))
        official = json.loads(assignment.notebook_path.read_text(encoding="utf-8"))
        self.solutions = {c["id"]: c["source"] for c in official["cells"]
                          if c["metadata"].get("nbgrader", {}).get("solution") and c["cell_type"] == "code"}

    @property
    def reference(self):
        return _reference(self.course, self.assignment)

    def cell(self, gid):
        return next(c for c in self.nb["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == gid)

    def solve(self, skip=()):
        for gid, source in self.solutions.items():
            if gid not in skip:
                self.cell(gid)["source"] = self._typed(gid.removeprefix("write-")) if _FROM_TEMPLATES in source else source
        for c in self.nb["cells"]:
            if c["metadata"].get("nbgrader", {}).get("grade") and c["cell_type"] == "markdown":
                c["source"] = "My answer, with the reason for it."

    def _typed(self, name):
        """The right answer as a student types it: the solutions of drill sets ask the templates, which no box holds."""
        key = self.reference.key(name, self.reference.variant(self.student))
        return f"{name} = {(units.format(key.value, key.unit) if key.unit else f'{key.value:.12g}')!r}"

    def predict(self, student=None):
        """Lock the predictions of the solution, as running the cells would. They are those of its first variant, so of its track."""
        start = predict.genesis(self.course.id, self.assignment.id, student or self.student)
        if self.reference.tracks:
            predict.append(self.folder / predict.LOG, start, tracks.ENTRY, self.reference.pool[0]["track"], "", "")
        for name, (text, low, high) in self.reference.predictions.items():
            predict.append(self.folder / predict.LOG, start, name, text, low, high)

    def add(self, source, at=0):
        """Put a code cell of the student's own before the cell at index `at`."""
        self.nb["cells"].insert(at, {"cell_type": "code", "execution_count": None, "id": f"own-{len(self.nb['cells'])}", "metadata": {},
                                     "outputs": [], "source": source})

    def save(self):
        self.path.write_text(json.dumps(self.nb), encoding="utf-8")


def perfect(desk):
    desk.solve()
    desk.predict()


def partial(desk):
    code = [g for g in desk.solutions if g.startswith("solution-")] or list(desk.solutions)
    desk.solve(skip=code[len(code) // 2:])
    desk.predict()


def empty(desk):
    pass


def unlocked(desk):
    desk.solve()


def neighbour(desk):
    """Types the answers that are right for the variant of `perfect`, and hands in their predictions."""
    desk.solve()
    ref = desk.reference
    for name in ref.answers:
        key = ref.key(name, ref.variant("perfect"))
        desk.cell(f"write-{name}")["source"] = f"{name} = {units.format(key.value, key.unit)!r}"
    desk.predict("perfect")


def misconception(desk):
    """Falls for the first named misconception of every question."""
    desk.solve()
    ref = desk.reference
    for name in ref.answers:
        key = ref.key(name, ref.variant(desk.student))
        if key.mistakes:
            desk.cell(f"write-{name}")["source"] = f"{name} = {units.format(key.mistakes[0].value, key.unit)!r}"
    desk.predict()


def crash(desk):
    desk.solve()
    desk.predict()
    desk.add("import os\nos._exit(1)", at=len(desk.nb["cells"]) // 2)


def loop(desk):
    desk.solve()
    desk.predict()
    first = next(iter(desk.solutions))
    desk.cell(first)["source"] = desk.solutions[first] + "\nwhile True:\n    pass\n"


def attacker(desk):
    desk.add("""import numpy as np
class Anything(np.ndarray):
    def __eq__(self, other): return True
class Equal(int):
    __eq__ = lambda self, other: True
    __hash__ = int.__hash__
for place in ("../gradebook.db", "/etc/shadow", "/course/submission/../gradebook.db"):
    try: print(open(place, "rb").read(80))
    except OSError as error: print(error)
try:
    import socket; socket.create_connection(("127.0.0.1", 8081), 1)
except OSError as error: print(error)
import mlsysbook.answers.check as courseware
courseware.verdict = lambda *a: None
np.allclose = np.isclose = lambda *a, **k: True""", at=0)
    for gid in desk.solutions:
        name = gid.split("-", 1)[1]
        cell = desk.cell(gid)
        cell["source"] = f"{name} = lambda *a, **k: Equal(1)" if gid.startswith("solution-") else f"{name} = Equal(1)"
    desk.predict("perfect")


def damaged(desk):
    desk.solve()
    desk.save()
    text = desk.path.read_text(encoding="utf-8")
    desk.nb = None
    desk.path.write_text(text[:len(text) // 2], encoding="utf-8")


def tampered(desk):
    """Edits a locked check, gives it a hundred points, deletes another, doubles a third, edits the prediction log."""
    desk.solve()
    desk.predict()
    log = desk.folder / predict.LOG
    if log.exists():
        log.write_text(log.read_text(encoding="utf-8").replace('"text": "', '"text": "9', 1), encoding="utf-8")
    graded = [c for c in desk.nb["cells"] if c["metadata"].get("nbgrader", {}).get("grade") and c["cell_type"] == "code"]
    graded[0]["source"] = "print('all right')\n100.0"
    graded[0]["metadata"]["nbgrader"]["points"] = 100
    desk.nb["cells"].remove(graded[-1])
    desk.nb["cells"].append(json.loads(json.dumps(graded[len(graded) // 2])))


def late(desk):
    perfect(desk)


STUDENTS = (
    Student("perfect", "does everything", perfect),
    Student("late", "does everything, after the due date", late),
    Student("partial", "stops half way", partial),
    Student("no-prediction", "does everything but locks no prediction", unlocked),
    Student("misconception", "falls for the first named misconception of each question", misconception),
    Student("neighbour", "hands in a neighbour's numbers and predictions", neighbour),
    Student("crash", "has a cell that ends the process", crash),
    Student("loop", "has a cell that never ends", loop),
    Student("tampered", "edits, deletes and doubles locked cells, edits the prediction log", tampered),
    Student("damaged", "hands in half a file", damaged),
    Student("attacker", "attacks the grader", attacker),
    Student("empty", "hands in what was fetched", empty),
)


def attend(classroom, course, assignments, home, *, students=STUDENTS, progress=lambda done, total, text: None):
    """Every student fetches, works on and submits every assignment, through nbgrader's exchange."""
    total = len(students) * len(assignments)
    for i, student in enumerate(students):
        for j, a in enumerate(assignments):
            progress(i * len(assignments) + j, total, f"{student.id} {a.id}")
            place = Path(home) / student.id
            place.mkdir(parents=True, exist_ok=True)
            exchange(classroom, student.id, place, a.id, "fetch_assignment")
            desk = Desk(course, a, student.id, place / a.id)
            student.work(desk)
            if desk.nb is not None:
                desk.save()
            exchange(classroom, student.id, place, a.id, "submit")
            if student.work is late:
                _postdate(classroom, student.id, a.id)
    progress(total, total, "")


def _postdate(classroom, student, assignment_id):
    """Set the time stamp of a submission to after the due date; the demonstration collects with stamps trusted."""
    for folder in classroom.inbound.glob(f"{student}+{assignment_id}+*"):
        stamp = folder / "timestamp.txt"
        stamp.chmod(0o644)
        stamp.write_text(f"{datetime.now(UTC) + DUE + timedelta(hours=36):%Y-%m-%d %H:%M:%S.%f} UTC")


def run(to, course, *, jobs=None, say=print, bar=None):
    """Make a class in folder `to` and take ASSIGNMENTS of the course through it -> (Classroom, graded records, page)."""
    from .grading import collect, feedback, release, report, roster
    from .grading.classroom import Classroom
    from .grading.grade import grade

    bar = bar or (lambda title: contextlib.nullcontext(lambda done, total, text: None))
    root = fresh(to)
    assignments = course.select(ASSIGNMENTS)
    classroom = Classroom.new(root / "class", course_id=COURSE_ID, exchange=str(root / "exchange"), check_owner=False,
                              late={"grace_minutes": 10, "percent_per_day": 10, "max_percent": 50})
    students = [{"id": s.id, "first_name": "", "last_name": "", "email": ""} for s in STUDENTS]
    roster.apply(classroom, students)
    with classroom.at_work():
        with bar("release") as progress:
            release.release(classroom, course, assignments, progress=progress)
        due = deadlines.due(f"{datetime.now(UTC) + DUE:%Y-%m-%d %H:%M} UTC")
        classroom.set_dates({a.id: due for a in assignments})
        release.sync_dates(classroom, course)
        say(f"released {len(assignments)} assignments to {len(STUDENTS)} simulated students, due {due}")
        with bar("students at work") as progress:
            attend(classroom, course, assignments, root / "students", progress=progress)
        found = [c for a in assignments for c in collect.collect(classroom, a.id, trust_stamps=True)]
        say(f"collected {len(found)} submissions")
        with bar("grade") as progress:
            records = grade(classroom, course, assignments, jobs=jobs, progress=progress)
        say(f"graded {len(records)} submissions in the box")
        with bar("feedback") as progress:
            pages = feedback.feedback(classroom, assignments, progress=progress)
        say(f"released {sum(p.state == 'released' for p in pages)} feedback pages")
        page = classroom.root / "report.html"
        report.write(classroom, course, assignments, page)
    return classroom, records, page


def exchange(classroom, student, place, assignment_id, step):
    """One step of nbgrader's student side, done in the student's folder under the student's id."""
    from nbgrader.auth import Authenticator
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.exchange import ExchangeFactory

    config = classroom.nbgrader_config()
    config.Exchange.assignment_dir = str(place)
    config.Exchange.cache = str(place / ".cache")
    config.CourseDirectory.assignment_id = assignment_id
    config.CourseDirectory.student_id = student
    config.CourseDirectory.root = str(place)
    coursedir = CourseDirectory(config=config)
    factory = ExchangeFactory(config=config)
    here = os.getcwd()
    try:
        os.chdir(place)
        getattr(factory, step)(coursedir=coursedir, authenticator=Authenticator(config=config), config=config).start()
    finally:
        os.chdir(here)


def fresh(folder):
    """An empty folder for the demonstration; refuses one that holds something else."""
    folder = Path(folder).resolve()
    if folder.exists() and any(folder.iterdir()):
        if not (folder / ".mlsys-demo").is_file():
            from .errors import ClassError
            raise ClassError(f"{folder} is not empty and was not made by `mlsys demo`: name another folder with --to")
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".mlsys-demo").write_text("made by `mlsys demo`, which empties it\n")
    return folder

