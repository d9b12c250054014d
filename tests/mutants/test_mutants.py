"""Every assignment through the real pipeline: what is right scores everything, what is wrong loses just its own points.

The submissions of an assignment are one class: released by nbgrader, worked on, run in the box and judged, two at a time.
They are the reference and the notebook as released, which `grade` also writes to the gradebook, and, for a TinyTorch
module, one with each solution left blank and its mutants.

Only the first two keep their `show` cells, which print and plot and take most of the time. They belong to the student,
who may delete them, and a test shows that the reference without them is judged alike.
"""

import concurrent.futures
import multiprocessing
import shutil
import time
from dataclasses import dataclass

import pytest

from mlsysbook import atomic, catalogue, demo
from mlsysbook.box import library
from mlsysbook.build import build
from mlsysbook.build.source import read
from mlsysbook.grading import release
from mlsysbook.grading.classroom import Classroom
from mlsysbook.grading.grade import grade
from mlsysbook.grading.submission import grade_submission, of_class
from tests.mutants.mutants import FEWEST, mutants, path_of

pytestmark = pytest.mark.slow
COURSE = catalogue.load()
MODULES = [a for a in COURSE.assignments if a.part == "tinytorch"]
REFERENCE, QUICK, RELEASED = "reference", "reference-without-show", "released"
SECRET = bytes(range(32))               # fixed, so that the hidden cases are the same in every run
KILLED = 0.95                           # of all mutants
every = pytest.mark.parametrize("a", COURSE.assignments, ids=lambda a: a.id)
each_module = pytest.mark.parametrize("a", MODULES, ids=lambda a: a.id)


@dataclass
class Graded:
    """The class of one assignment: records by student, its mutants by student, seconds for its release and for all of it."""

    records: dict
    mutants: dict
    releasing: float
    seconds: float

    def lost(self, student):
        """Points that a submission lost, by name of the item, where they are not given by hand."""
        return {i["name"]: i["points"] - i["score"] for i in self.records[student]["items"] if i["score"] not in (None, i["points"])}

    def survivors(self):
        """Mutants that kept the points of the check that was to notice them."""
        return [m for student, m in self.mutants.items() if m.check not in self.lost(student)]


class School:
    """One class folder for all assignments. An assignment is released, worked on and graded when it is first asked for."""

    def __init__(self, root, pool):
        self.pool = pool
        self.classroom = Classroom.new(root / "class", course_id="mutants", exchange=root / "exchange", check_owner=False)
        atomic.write(self.classroom.secret_path, SECRET, mode=0o600)
        self.done = {}

    def __call__(self, a):
        if a.name not in self.done:
            begun = time.monotonic()
            wrong = {f"mutant-{n:02}": m for n, m in enumerate(mutants(a), 1)} if path_of(a).is_file() else {}
            blanks = {blank(name): name for name in solutions(a)} if a in MODULES else {}
            with self.classroom.at_work():
                release.release(self.classroom, COURSE, [a])
                releasing = time.monotonic() - begun
                self.hand_in(a, blanks, wrong)
                records = self.grade(a, [*blanks, *wrong])
            self.done[a.name] = Graded({r["student"]: r for r in records}, wrong, releasing, time.monotonic() - begun)
        return self.done[a.name]

    def grade(self, a, others):
        records = grade(self.classroom, COURSE, [a], students=[REFERENCE, QUICK, RELEASED], executor=self.pool)
        common = {"library": library.stage(COURSE, a), "roster": self.classroom.roster(), "secret": self.classroom.secret(), "unsafe": False}
        jobs = [self.pool.submit(grade_submission, **of_class(self.classroom, COURSE, a, student, **common)) for student in others]
        records += [job.result()[0] for job in jobs]
        shutil.rmtree(common["library"])
        return records

    def hand_in(self, a, blanks, wrong):
        self.submit(a, REFERENCE, demo.perfect)
        self.submit(a, QUICK, demo.perfect, without_show)
        self.submit(a, RELEASED, demo.empty)
        for student, name in blanks.items():
            self.submit(a, student, lambda desk, name=name: (desk.solve(skip=[f"solution-{name}"]), desk.predict()), without_show)
        for student, m in wrong.items():
            self.submit(a, student, demo.perfect, without_show, lambda desk, m=m: desk.cell(f"solution-{m.solution}").update(source=m.source))

    def submit(self, a, student, *work):
        folder = self.classroom.submitted(student, a.id)
        shutil.copytree(self.classroom.root / "release" / a.id, folder)
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)
        desk = demo.Desk(COURSE, a, student, folder)
        for step in work:
            step(desk)
        desk.save()


def without_show(desk):
    desk.nb["cells"] = [c for c in desk.nb["cells"] if not c["id"].startswith("show-")]


def solutions(a):
    """Names of the solutions of an assignment, with the checks that cover each."""
    cells = read(a.author_source)
    return {s.name: {c.name for c in cells if c.kind == "check" and s.name in c.covers} for s in cells if s.kind == "solution"}


def judged(record):
    return {i["id"]: (i["score"], i["behaviours"]) for i in record["items"]}


def blank(name):
    return f"without-{name}"


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlsysbook.grading.submission"])
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        yield School(tmp_path_factory.mktemp("school"), pool)


@every
def test_the_reference_has_full_marks_and_the_released_notebook_none(school, a):
    records = school(a).records
    by_hand = sum(i["points"] for i in records[REFERENCE]["items"] if i["score"] is None)
    assert school(a).lost(REFERENCE) == {} and records[REFERENCE]["score"] == a.points - by_hand
    assert records[RELEASED]["score"] == 0
    assert records[REFERENCE]["flags"] == records[RELEASED]["flags"] == []
    assert {r["fate"] for r in records.values()} == {"graded"} and not any(r["unsafe"] for r in records.values())


@every
def test_cells_that_only_show_something_change_no_score(school, a):
    records = school(a).records
    assert judged(records[QUICK]) == judged(records[REFERENCE])


@each_module
def test_a_blank_solution_costs_the_points_of_its_own_checks_and_no_others(school, a):
    wrong = {name: set(school(a).lost(blank(name))) for name, checks in solutions(a).items() if set(school(a).lost(blank(name))) != checks}
    assert wrong == {}, "solution left blank: checks that lost points"


@each_module
def test_every_mutant_loses_points_on_the_check_that_it_names(school, a):
    found = school(a)
    assert len(found.mutants) >= FEWEST
    assert [m.name for m in found.survivors() if not m.survives] == []
    assert [m.name for m in found.mutants.values() if m.survives and m not in found.survivors()] == [], "killed: delete `survives`"


@each_module
def test_a_wrong_solution_costs_no_points_of_checks_that_do_not_cover_it(school, a):
    checks = solutions(a)
    others = {m.name: set(school(a).lost(student)) - checks[m.solution] for student, m in school(a).mutants.items()}
    assert {name: lost for name, lost in others.items() if lost} == {}


def test_almost_all_mutants_are_killed(school, record_property):
    begun = time.monotonic()
    build(COURSE, COURSE.assignments, check=True)
    building = time.monotonic() - begun
    total = sum(len(school(a).mutants) for a in MODULES)
    survivors = [(a, m) for a in MODULES for m in school(a).survivors()]
    seconds = building + sum(g.seconds for g in school.done.values())
    rows = [f"{'assignment':24} submissions  seconds  each  mutants  killed"]
    for a in COURSE.assignments:
        g = school(a)
        counts = f"{len(g.mutants):7}  {len(g.mutants) - len(g.survivors()):6}" if a in MODULES else ""
        rows.append(f"{a.id:24} {len(g.records):11}  {g.seconds:7.1f}  {g.seconds / len(g.records):4.2f}  {counts}".rstrip())
    rows.append(f"killed {total - len(survivors)} of {total} mutants; mlsys build {building:.1f} s, all of it {seconds:.1f} s, two processes")
    trip = sum(g.records[s]["seconds"] / 2 for a in MODULES for g in [school(a)] for s in (REFERENCE, RELEASED))
    rows.append(f"round trip of {len(MODULES)} modules: mlsys build of all, release {sum(school(a).releasing for a in MODULES):.1f} s, reference and "
                f"empty notebook {trip:.1f} s by two processes")
    rows += [f"survivor: {a.id}, line {m.line}: {m.name} ({m.survives or 'no reason given'})" for a, m in survivors]
    record_property("table", "\n".join(rows))
    assert total - len(survivors) >= KILLED * total
