"""All attacks together, as a class: `grade` in parallel with nbgrader's gradebook, then stock `nbgrader autograde` on the same tree."""

import concurrent.futures
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from mlsysbook.grading import release, submission
from mlsysbook.grading.classroom import Classroom
from mlsysbook.grading.feedback import feedback
from mlsysbook.grading.grade import grade
from tests.attacks.attacks import ATTACKS, FORBIDDEN, HONEST
from tests.attacks.conftest import Canary
from tests.attacks.test_attacks import SLOWER, verify
from tests.attacks.world import CODE

pytestmark = pytest.mark.slow
NBGRADER = Path(sys.executable).parent / "nbgrader"
STAMPS = (
    "2026-01-01 00:00:00 UTC",
    "2026-01-01 00:00:00 Pacific/Kiritimati",
    "9999-12-31 23:59:59 +1400",
    "1 BC",
    "\0" * 400,
    "\x1b[2J" * 9,
    "2026-02-30 25:61:61 CET",
    "nan",
)


@pytest.fixture(scope="module")
def attacked(course, world, canary, tmp_path_factory):
    """A class in which every attack has been handed in."""
    root = tmp_path_factory.mktemp("school")
    classroom = Classroom.new(root / "class", course_id=course.id, exchange=root / "exchange", check_owner=False)
    with classroom.at_work():
        release.release(classroom, course, course.assignments)
    with classroom.gradebook() as gb:
        for student in ("neighbour", *(a.name for a in HONEST)):
            gb.add_student(student)
    for n, attack in enumerate(ATTACKS):
        folder = classroom.submitted(attack.name, course.find(attack.assignment).id)
        folder.mkdir(parents=True)
        attack.write(folder, world, attack.name)
        if not os.path.lexists(folder / "timestamp.txt"):
            (folder / "timestamp.txt").write_text(STAMPS[n % len(STAMPS)])
    return classroom


@pytest.fixture(scope="module")
def graded(attacked, course):
    begun = time.monotonic()
    with attacked.at_work():
        records = grade(attacked, course, course.assignments, jobs=2)
    return {r["student"]: r for r in records}, time.monotonic() - begun


def scores(classroom):
    """What nbgrader's gradebook holds: {student: {cell: score}}."""
    with classroom.gradebook() as gb:
        return {
            s.student.id: {g.cell.name: g.auto_score for n in s.notebooks for g in n.grades} for a in gb.assignments for s in a.submissions
        }


def test_every_attack_is_graded_alone_and_in_bounded_time(attacked, graded, canary):
    records, seconds = graded
    assert records.keys() == {a.name for a in ATTACKS}
    assert seconds < SLOWER * 200
    assert canary.unharmed() == []


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_the_class_scores_what_the_submission_alone_scores(attacked, graded, course, attack):
    records, _ = graded
    a = course.find(attack.assignment)
    nb = nbformat.read(attacked.autograded(attack.name, a.id) / f"{a.notebook}.ipynb", as_version=4)
    verify(attack, records[attack.name], json.loads(nbformat.writes(nb)))
    book = scores_of(attacked, attack.name)
    assert {i["id"]: i["score"] for i in records[attack.name]["items"] if i["kind"] != "rubric"} == {
        k: v for k, v in book.items() if not k.startswith("rubric-")
    }


def scores_of(classroom, student):
    key = str(classroom.root)
    if key not in _BOOKS:
        _BOOKS[key] = scores(classroom)
    return _BOOKS[key][student]


_BOOKS = {}


def test_grading_again_changes_nothing(attacked, graded, course):
    before = scores(attacked)
    with attacked.at_work():
        again = grade(attacked, course, course.assignments, jobs=2)
    assert {r["student"]: r for r in again} == graded[0] and scores(attacked) == before


class Inline:
    """An executor that does the work here, so that a test can reach into it."""

    def submit(self, call, *arguments):
        done = concurrent.futures.Future()
        done.set_result(call(*arguments))
        return done


def test_a_fault_of_the_grader_costs_one_submission_and_is_tried_again(course, world, tmp_path, monkeypatch):
    classroom = Classroom.new(tmp_path / "class", course_id=course.id, exchange=tmp_path / "exchange", check_owner=False)
    a = course.find(CODE)
    with classroom.at_work():
        release.release(classroom, course, [a])
        for attack in HONEST[:1] + HONEST[2:3]:
            folder = classroom.submitted(attack.name, a.id)
            folder.mkdir(parents=True)
            attack.write(folder, world, attack.name)
        sound = submission.vet

        def faulty(official, folder, name):
            if "perfect" in str(folder):
                raise RecursionError("a fault of ours")
            return sound(official, folder, name)

        monkeypatch.setattr(submission, "vet", faulty)
        first = {r["student"]: r for r in grade(classroom, course, [a], executor=Inline())}
        assert first["partial"]["score"] == sum(HONEST[2].wanted.values())
        assert (first["perfect"]["score"], first["perfect"]["fate"]) == (0, "failed") and scores(classroom)["perfect"]["check-product"] == 0
        assert "RecursionError: a fault of ours" in first["perfect"]["flags"][0]["note"]
        monkeypatch.undo()
        again = {r["student"]: r for r in grade(classroom, course, [a], executor=Inline())}
    assert again["perfect"]["score"] == 9 and again["partial"] == first["partial"] and scores(classroom)["perfect"]["check-product"] == 3


def test_feedback_tells_no_student_a_hidden_case(attacked, graded, course):
    with attacked.at_work():
        feedback(attacked, course.assignments)
    pages = {p.parent.parent.name: p.read_text() for p in (attacked.root / "feedback").glob("*/*/*.html")}
    assert pages.keys() == {a.name for a in ATTACKS}
    for attack in ATTACKS:
        told = pages[attack.name].split('class="cell')[0]  # results, before the student's own source
        assert "LEAK" not in told and Canary.WORD not in pages[attack.name] and "cases:" not in told


def test_stock_autograde_gives_the_same_scores(attacked, graded, course, canary):
    before = scores(attacked)
    for path in (attacked.root / "submitted").glob("*/*/timestamp.txt"):
        if path.is_file():  # collecting writes what counts; nbgrader itself stops at one that it cannot read
            path.write_text(STAMPS[0])
    env = os.environ | {"MLSYS_COURSE": str(course.root)}
    left_out = ",".join(a.name for a in ATTACKS if not a.stock or a in FORBIDDEN[6:])  # the rest differs in nothing that nbgrader sees
    for a in course.assignments:
        done = subprocess.run(
            [NBGRADER, "autograde", a.id, "--force", f"--CourseDirectory.student_id_exclude={left_out}"],
            cwd=attacked.root,
            env=env,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    after = scores(attacked)
    assert {s: v for s, v in after.items() if after[s] != before[s]} == {}
    assert canary.unharmed() == []
