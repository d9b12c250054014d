"""Stock `nbgrader` commands on a class folder: they work, and what they do is as safe as what `mlsys class` does."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlsysbook import catalogue, demo
from mlsysbook.grading import feedback, roster
from mlsysbook.grading.classroom import Classroom
from mlsysbook.grading.grade import grade

KV = "drills-kv_cache"
COMMAND = str(Path(sys.executable).parent / "nbgrader")


@pytest.mark.slow
def test_the_whole_way_by_stock_commands_gives_the_same_as_ours(tmp_path, empty_gradebook):
    (tmp_path / "class").mkdir(mode=0o700)
    shutil.copy(empty_gradebook, tmp_path / "class")
    room = Classroom.new(tmp_path / "class", course_id="tiny", exchange=tmp_path / "exchange", check_owner=False)
    course = catalogue.load()
    assignment = course.find(KV)
    shutil.copytree(assignment.source_dir, room.source(KV))

    def nbgrader(*args):
        done = subprocess.run([COMMAND, *args], cwd=room.root, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    nbgrader("db", "student", "add", "ada", "--last-name", "Lovelace, Countess")
    nbgrader("db", "student", "add", "eve")
    nbgrader("generate_assignment", KV)
    nbgrader("release_assignment", KV)
    assert "Released assignments" in nbgrader("list")

    for student, work in (("ada", demo.perfect), ("eve", demo.attacker)):
        place = tmp_path / student
        place.mkdir()
        demo.exchange(room, student, place, KV, "fetch_assignment")
        desk = demo.Desk(course, assignment, student, place / KV)
        work(desk)
        desk.save()
        demo.exchange(room, student, place, KV, "submit")
    (next(room.inbound.glob("eve+*")) / "more.txt").symlink_to("/etc/hostname")
    (room.inbound / f"nobody+{KV}+garbage").mkdir()

    nbgrader("collect", KV)
    assert not (room.submitted("eve", KV) / "more.txt").exists() and not (room.root / "submitted" / "nobody").exists()
    nbgrader("autograde", KV)
    nbgrader("generate_feedback", KV)
    nbgrader("release_feedback", KV)
    nbgrader("export", "--to", str(tmp_path / "grades.csv"))

    scores = {r["student_id"]: float(r["score"]) for r in csv.DictReader(open(tmp_path / "grades.csv"))}
    assert scores == {"ada": assignment.points, "eve": 0.0}
    page = (room.feedback("eve", KV) / "kv_cache.html").read_text()
    assert "default-src 'none'" in page and "<script" not in page
    assert len(list((room.exchange / "tiny" / "feedback").iterdir())) == 2

    records = grade(room, course, [assignment], jobs=2, force=True)
    assert {r["student"]: r["score"] for r in records} == scores
    pages = feedback.feedback(room, [assignment])
    assert {p.state for p in pages} <= {"same", "changed"}


@pytest.mark.slow
def test_a_class_file_that_cannot_be_read_stops_stock_autograding(graded_class):
    (graded_class.root / "class.yml").write_text("course: [")
    done = subprocess.run([COMMAND, "autograde", "drills-tiny", "--force"], cwd=graded_class.root, capture_output=True, text=True)
    assert done.returncode != 0 and "class.yml:1: not YAML" in done.stderr
    with graded_class.gradebook() as gb:
        assert gb.find_submission("drills-tiny", "ada").score == 5.0


def test_a_roster_made_by_stock_commands_is_the_roster(classroom):
    with classroom.gradebook() as gb:
        gb.add_student("zoe")
    assert classroom.roster() == ["ada", "bob", "eve", "zoe"]
    changes = roster.apply(classroom, [{"id": "zoe", "first_name": "", "last_name": "", "email": ""}])
    assert {c.student: c.state for c in changes}["zoe"] == "same"
