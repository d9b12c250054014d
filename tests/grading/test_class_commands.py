"""What an instructor types, from an empty folder to a report, and what is said when it cannot be done."""

import csv
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlsysbook import demo
from mlsysbook.cli import app, class_  # noqa: F401  (registers its commands)
from mlsysbook.cli import student as _  # noqa: F401
from mlsysbook.errors import ClassError, CourseError
from mlsysbook.grading import grade as grader
from mlsysbook.grading.classroom import Classroom

TINY = "drills-tiny"
MLSYS = str(Path(sys.executable).parent / "mlsys")


@pytest.fixture
def mlsys(monkeypatch):
    """mlsys("class", "status") -> what it printed. A CourseError comes through."""

    def run(*args, code=0):
        done = CliRunner().invoke(app, [str(a) for a in args])
        if isinstance(done.exception, CourseError):
            raise done.exception
        assert done.exit_code == code, (done.output, done.exception)
        return done.output

    return run


@pytest.fixture
def in_class(classroom, mlsys):
    """in_class("status") in the class of three students."""
    return lambda *args, **kw: mlsys("class", "-C", classroom.root, *args, **kw)


@pytest.fixture
def fake_grader(monkeypatch, autograde, write_record):
    """In place of running code: full points for code, and a record."""
    calls = []

    def grade(classroom, course, assignments, *, students=None, jobs=None, force=False, unsafe=False, progress=None):
        calls.append({"assignments": [a.id for a in assignments], "students": students, "jobs": jobs, "force": force, "unsafe": unsafe})
        records = []
        for a in assignments:
            for folder in sorted((classroom.root / "submitted").glob(f"*/{a.id}")):
                if not students or folder.parent.name in students:
                    autograde(classroom, folder.parent.name, a.id)
                    records.append(write_record(classroom, folder.parent.name, a.id, unsafe=unsafe))
                    progress(len(records), 9, folder.parent.name)
        return records

    monkeypatch.setattr(grader, "grade", grade)
    return calls


def hand_in(classroom, student, tmp_path):
    """As the student's own nbgrader does it."""
    place = tmp_path / student
    place.mkdir()
    demo.exchange(classroom, student, place, TINY, "fetch_assignment")
    path = place / TINY / "tiny.ipynb"
    path.write_text(path.read_text().replace("YOUR ANSWER HERE", "Because."))
    demo.exchange(classroom, student, place, TINY, "submit")


def test_a_term_from_an_empty_folder_to_a_report(course, tmp_path, mlsys, fake_grader, monkeypatch, capfd):
    monkeypatch.setenv("MLSYS_COURSE", str(course.root))
    folder = tmp_path / "term"
    said = mlsys("class", "new", folder, "--simulated", "--instructor", "prof")
    assert f"class tiny in {folder}" in said and "next: mlsys class -C" in said

    (tmp_path / "s.csv").write_text("id,last_name\nada,Lovelace\nbob,\n")

    def run(*args, **kw):
        return mlsys("class", "-C", folder, *args, **kw)

    assert "added: ada, bob\n2 students on the roster" in run("roster", tmp_path / "s.csv")
    assert re.search(r"drills/tiny +no +– ", run("status"))
    said = run("release", "drills/tiny", "--due", "2030-06-01 12:00 Europe/Berlin", "--extension", "bob=2d")
    assert "drills/tiny: released; due 2030-06-01 12:00 Europe/Berlin = 2030-06-01 10:00 UTC" in said and "bob: 2d more" in said
    assert "is out already, unchanged" in run("release", TINY)
    classroom = Classroom.open(folder)
    hand_in(classroom, "ada", tmp_path)
    assert re.search(r"drills/tiny +yes +2030-06-01 10:00 UTC +1 ", run("status"))
    assert "would be new" in run("collect", "--dry-run")
    assert "drills/tiny: 1 new\n" in run("collect")
    assert "drills/tiny: 1 same\n" in run("collect")
    said = run("grade", "--jobs", "2")
    assert re.search(r"drills/tiny +1 +5\.0 +10 +1 graded", said)
    assert fake_grader[-1] == {"assignments": [TINY], "students": None, "jobs": 2, "force": False, "unsafe": False}
    assert "drills/tiny: 1 released\n" in run("feedback")
    assert "drills/tiny: 1 same\n" in run("feedback")
    monkeypatch.chdir(tmp_path)
    assert "would write grades.csv" in run("export", "--dry-run") and not (tmp_path / "grades.csv").exists()
    assert "wrote grades.csv: 2 rows" in run("export")
    assert "overwrote grades.csv: 2 rows" in run("export")
    assert {r["student_id"]: r["score"] for r in csv.DictReader(open("grades.csv"))} == {"ada": "5", "bob": "0"}
    assert f"wrote {folder}/report.html" in run("report")
    assert f"overwrote {folder}/report.html" in run("report")
    assert "how the class is doing" in (folder / "report.html").read_text()
    assert re.search(r"drills/tiny +yes +2030-06-01 10:00 UTC +– +1 +1 +1 +1 +– +–", run("status"))
    assert capfd.readouterr().err == ""


def test_help_teaches(mlsys):
    said = mlsys("class", "--help")
    for line in ("mlsys class new", "mlsys class collect", "Every command may be repeated"):
        assert line in said
    for command in ("new", "roster", "release", "collect", "grade", "feedback", "export", "report", "status", "secret"):
        text = mlsys("class", command, "--help")
        assert len(text.splitlines()) > 8 and command in text


def test_the_secret_can_be_checked_and_renewed(in_class, classroom):
    before = classroom.secret()
    assert "is there and private" in in_class("secret")
    assert "grade --force" in in_class("secret", "--new")
    assert classroom.secret() != before and stat.S_IMODE(classroom.secret_path.stat().st_mode) == 0o600


def test_unsafe_grading_is_said_before_it_begins(in_class, graded_class, fake_grader):
    assert "students' code may run without a sandbox, with all your rights" in in_class("grade", "--unsafe", "--force", "--student", "ada")
    assert fake_grader == [{"assignments": [TINY], "students": ["ada"], "jobs": None, "force": True, "unsafe": True}]


def test_refused_and_odd_submissions_are_named(in_class, released, hand_in):
    hand_in("ada", stamp="2020-01-01 00:00:00 UTC")
    hand_in("mallory")
    said = in_class("collect")
    assert "drills/tiny: 1 new, 1 refused" in said
    assert "  mallory: mallory is not on the roster; not collected" in said and "  ada: timestamp '2020-01-01 00:00:00 UTC' differs" in said


@pytest.mark.parametrize(("args", "said"), [
    (["release", "drills/tinny"], "unknown assignment 'drills/tinny'; did you mean drills/tiny"),
    (["release", "drills/tiny", "--due", "soon"], "due date 'soon': wants a day"),
    (["release", "drills/tiny", "--extension", "ada"], "extension 'ada': wants STUDENT=LENGTH, such as ada=2d"),
    (["release", "drills/tiny", "--extension", "adda=2d"], "student 'adda' is not on the roster; did you mean ada"),
    (["release", "drills/tiny", "--extension", "ada=soon"], "extension 'soon'"),
    (["collect"], "exchange .* does not exist: `mlsys class release NAME` makes it"),
    (["grade"], "nothing is collected yet: `mlsys class collect`"),
    (["feedback"], "nothing is graded yet: `mlsys class grade`"),
    (["roster", "/nowhere.csv"], r"roster /nowhere.csv: cannot be read"),
])
def test_what_cannot_be_done_is_one_line(in_class, args, said):
    with pytest.raises(CourseError, match=said) as caught:
        in_class(*args)
    assert "\n" not in str(caught.value)


def test_a_class_is_not_made_twice(mlsys, classroom):
    with pytest.raises(ClassError, match="is a class already"):
        mlsys("class", "new", classroom.root, "--course-id", "x")


def test_outside_a_class_it_says_how_to_make_one(mlsys, tmp_path):
    with pytest.raises(ClassError, match="make a class with `mlsys class new FOLDER`"):
        mlsys("class", "-C", tmp_path, "status")


def test_a_class_that_others_can_read_is_said(mlsys, tmp_path, empty_gradebook, course, monkeypatch):
    monkeypatch.setenv("MLSYS_COURSE", str(course.root))
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    shutil.copy(empty_gradebook, folder)
    assert f"chmod o-rwx {folder}" in mlsys("class", "new", folder, "--course-id", "tiny", "--exchange", tmp_path / "x")


@pytest.mark.slow
def test_as_a_command_an_error_is_one_line_and_status_2(tmp_path):
    done = subprocess.run([MLSYS, "class", "-C", str(tmp_path), "status"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("mlsys: no class.yml in ") and done.stderr.count("\n") == 1


# -- whoami -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("MLSYS_STUDENT", raising=False)
    return tmp_path / "config" / "mlsys" / "student"


def test_whoami_is_set_kept_and_forgotten(mlsys, home):
    unix = mlsys("whoami").strip()
    assert mlsys("whoami", "--set", "Ada").strip() == "ada"
    assert mlsys("whoami").strip() == "ada" and home.read_text() == "ada\n"
    assert mlsys("whoami", "--set", "").strip() == unix and not home.exists()


def test_whoami_refuses_what_no_roster_has(mlsys, home):
    with pytest.raises(CourseError, match="student id 'a/b': wants letters"):
        mlsys("whoami", "--set", "a/b")
    assert not home.exists()


def test_whoami_says_where_it_cannot_write(mlsys, home):
    home.parent.parent.mkdir()
    home.parent.write_text("a file in the way")
    with pytest.raises(CourseError, match="cannot be written .*: set MLSYS_STUDENT instead"):
        mlsys("whoami", "--set", "ada")
