"""A tiny course and class: one assignment with a function, a number and a text, so that a test of the class is quick."""

import base64
import os
import shutil
from datetime import UTC, datetime

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mlsysbook import atomic, catalogue
from mlsysbook.grading import collect, release, roster
from mlsysbook.grading.classroom import Classroom

TINY = "drills-tiny"
SECRET = "0123456789abcdef" * 8


def graded(grade_id, points=None, *, solution=False):
    meta = {"schema_version": 3, "grade_id": grade_id, "grade": points is not None, "solution": solution,
            "locked": points is not None and not solution, "task": False}
    return {"nbgrader": meta if points is None else meta | {"points": points}}


def source_notebook():
    return new_notebook(cells=[
        new_markdown_cell("# Tiny\nWrite `double`.", id="text-1"),
        new_code_cell("### BEGIN SOLUTION\ndef double(x):\n    return 2 * x\n### END SOLUTION", id="solution-double",
                      metadata=graded("solution-double", solution=True)),
        new_code_cell("assert double(2) == 4", id="check-double", metadata=graded("check-double", 3)),
        new_code_cell("assert double(3) == 6", id="answer-six", metadata=graded("answer-six", 2)),
        new_markdown_cell("Because.", id="rubric-why", metadata=graded("rubric-why", 5, solution=True)),
    ], metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}})


@pytest.fixture
def course(tmp_path):
    """A course with the one assignment drills/tiny."""
    root = tmp_path / "course"
    root.mkdir()
    (root / "course.yml").write_text("id: tiny\ntitle: Tiny\nassignments:\n"
                                     "  - {name: drills/tiny, title: Tiny drill, points: 10, minutes: 5}\n")
    (root / "modules" / "drills" / "tiny").mkdir(parents=True)
    (root / "modules" / "drills" / "tiny" / "tiny.py").write_text("# the author's source\n")
    folder = root / "source" / TINY
    folder.mkdir(parents=True)
    nbformat.write(source_notebook(), folder / "tiny.ipynb")
    return catalogue.load(root)


@pytest.fixture(scope="session")
def empty_gradebook(tmp_path_factory):
    """A gradebook made once: nbgrader takes a second for a new one."""
    made = Classroom.new(tmp_path_factory.mktemp("empty") / "class", course_id="tiny")
    return made.root / "gradebook.db"


@pytest.fixture
def classroom(tmp_path, course, monkeypatch, empty_gradebook):
    """A class of simulated students ada, bob and eve, nothing released."""
    monkeypatch.setenv("MLSYS_COURSE", str(course.root))
    (tmp_path / "class").mkdir(mode=0o700)
    shutil.copy(empty_gradebook, tmp_path / "class")
    made = Classroom.new(tmp_path / "class", course_id="tiny", exchange=tmp_path / "exchange", check_owner=False)
    people = [{"id": i, "first_name": i.title(), "last_name": "Tester", "email": f"{i}@example.org"} for i in ("ada", "bob", "eve")]
    roster.apply(made, people)
    return made


@pytest.fixture
def released(classroom, course):
    """The class with drills/tiny released."""
    with classroom.logged():
        release.release(classroom, course, course.assignments)
    return classroom


@pytest.fixture
def hand_in(released):
    """hand_in("ada", stamp="...") leaves a submission in the exchange as nbgrader does -> its folder."""

    def hand_in(student, *, files=None, stamp=None, secret=SECRET, name=None, notebook=True):
        now = datetime.now(UTC)
        suffix = base64.urlsafe_b64encode(os.urandom(9)).decode()
        folder = released.inbound / (name or f"{student}+{TINY}+{now:%Y-%m-%d %H:%M:%S.%f} UTC+{suffix}")
        folder.mkdir()
        if notebook:
            text = (released.root / "release" / TINY / "tiny.ipynb").read_text()
            (folder / "tiny.ipynb").write_text(text.replace("YOUR ANSWER HERE", "Because it is so."))
        for path, text in (files or {}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        if stamp is not False:
            (folder / "timestamp.txt").write_text(stamp or f"{now:%Y-%m-%d %H:%M:%S.%f} UTC")
        if secret is not None:
            (folder / "submission_secret.txt").write_text(secret)
        return folder

    return hand_in


def stock_autograde(classroom, student, assignment_id=TINY):
    """Stock autograding without running anything: code cells count as right, the text waits for a person."""
    from nbconvert.exporters import NotebookExporter
    from nbgrader.converters import Autograde
    from nbgrader.preprocessors import AssignLatePenalties, ClearOutput, OverwriteCells, SaveAutoGrades

    api = classroom.api()
    api.coursedir.student_id, api.coursedir.assignment_id = student, assignment_id
    app = Autograde(coursedir=api.coursedir, parent=api)
    app.exporter_class = NotebookExporter
    app.sanitize_preprocessors = [ClearOutput, OverwriteCells]
    app.autograde_preprocessors = [SaveAutoGrades, AssignLatePenalties]
    app.force = True
    app.permissions = 644
    with classroom.logged():
        app.start()


@pytest.fixture
def graded_class(released, hand_in):
    """ada and bob have handed in and are graded; the text waits for a person."""
    for student in ("ada", "bob"):
        hand_in(student, secret=student * 20)
    with released.at_work():
        collect.collect(released, TINY)
    for student in ("ada", "bob"):
        stock_autograde(released, student)
        graded_record(released, student)
    return released


@pytest.fixture
def autograde():
    return stock_autograde


@pytest.fixture
def write_record():
    return graded_record


def graded_record(classroom, student, assignment_id=TINY, **changes):
    """The graded record that the grader would have written."""
    items = [
        {"id": "check-double", "kind": "check", "name": "double", "score": 3.0, "points": 3, "note": "all behaviours right",
         "behaviours": {"small numbers": True, "negative numbers": True}, "mistake": None, "value": None, "unit": None},
        {"id": "answer-six", "kind": "answer", "name": "six", "score": 2.0, "points": 2, "note": "right", "behaviours": {},
         "mistake": None, "value": 6.0, "unit": ""},
        {"id": "rubric-why", "kind": "rubric", "name": "why", "score": None, "points": 5, "note": "graded by hand",
         "behaviours": {}, "mistake": None, "value": None, "unit": None},
    ]
    record = {"assignment": assignment_id, "student": student, "submitted_at": "2026-11-20T10:00:00Z", "fate": "graded",
              "score": 5.0, "max_score": 10.0, "seconds": 0.4, "unsafe": False, "items": items, "flags": []} | changes
    atomic.write_json(classroom.graded_path(assignment_id, student), record)
    return record
