"""Grades for the gradebooks of Canvas and Moodle, read by the rules of their importers."""

import csv
import io
import re
import stat

import pytest
from typer.testing import CliRunner

from mlsysbook.cli import app, class_, teach  # noqa: F401  (they register their commands)
from mlsysbook.errors import ClassError
from mlsysbook.grading import lms, roster

TINY = "drills-tiny"
TITLES = {TINY: "Tiny drill"}
CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,Essay (70),Tiny drill (4711),Final Score
    Points Possible,,,,,5,10,(read only)
"Tester, Ada",101,s-1,ADA,Group A,4,,80
"Tester, Eve",102,s-2,eve@example.org,Group B,3,,
"Nobody, Ned",103,s-3,ned,Group B,1,,
"""


def book(classroom, form, **options):
    with classroom.gradebook() as gb:
        return lms.book(gb, form, TITLES, **options)


def canvas_import(text):
    """What Canvas understands, by the rules of lib/gradebook_importer.rb -> (points possible, {(student, header): score})."""
    rows = list(csv.reader(io.StringIO(text)))
    head, points = rows[0], rows[1]
    assert len(head) > 3 and "Student" in head[0] and "ID" in head[1]
    columns = 3
    if re.search(r"SIS\s+User\s+ID", head[2]) and re.search(r"SIS\s+Login\s+ID", head[3]):
        columns += 2
    assert "Section" in head[columns - 1] and "Points Possible" in points[0]
    assert all("Points Possible" not in r[0] for r in rows[2:]) and {len(r) for r in rows} == {len(head)}
    who = [tuple(filter(None, r[1:4])) for r in rows[2:]]
    return dict(zip(head[columns:], points[columns:], strict=True)), {
        (key, h): score for r, keys in zip(rows[2:], who, strict=True) for key in keys for h, score in zip(head[columns:], r[columns:], strict=True)}


def test_canvas_reads_points_and_scores_and_what_is_unfinished_is_blank(graded_class):
    points, scores = canvas_import(book(graded_class, "canvas", section="tiny").text)
    assert points == {"Tiny drill": "10"} and set(scores.values()) == {""}
    made = book(graded_class, "canvas", partial=True)
    points, scores = canvas_import(made.text)
    assert scores == {("ada", "Tiny drill"): "5", ("bob", "Tiny drill"): "5", ("eve", "Tiny drill"): ""} and (made.students, made.scores) == (3, 2)
    assert "2 submissions to be graded by hand" in book(graded_class, "canvas").left[0]


def test_numbers_of_students_and_assignments_come_from_canvas_and_strangers_are_named(graded_class, tmp_path):
    (tmp_path / "canvas.csv").write_text("\ufeff" + CANVAS)
    with graded_class.gradebook() as gb:
        gb.find_submission(TINY, "ada").notebooks[0].late_submission_penalty = 1.25
        gb.db.commit()
    made = book(graded_class, "canvas", match=tmp_path / "canvas.csv", partial=True)
    rows = list(csv.reader(io.StringIO(made.text)))
    assert rows == [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Tiny drill (4711)"], ["    Points Possible", "", "", "", "", "10"],
                    ["Tester, Ada", "101", "s-1", "ADA", "Group A", "3.75"], ["Tester, Eve", "102", "s-2", "eve@example.org", "Group B", ""]]
    assert made.left == ("not in Canvas, left out: bob", "in Canvas and not in the class: Nobody, Ned")


def test_moodle_finds_a_student_by_name_or_email_and_an_item_by_its_title(graded_class, tmp_path):
    made = book(graded_class, "moodle", partial=True)
    rows = list(csv.DictReader(io.StringIO(made.text)))
    assert [(r["username"], r["Email address"], r["Tiny drill"]) for r in rows] == [
        ("ada", "ada@example.org", "5"), ("bob", "bob@example.org", "5"), ("eve", "eve@example.org", "")]
    assert made.left == ("points possible, for new grade items: Tiny drill 10",)
    (tmp_path / "m.csv").write_text("First name,Last name,ID number,Email address,Assignment: Tiny drill (Real),Course total (Real)\n"
                                    "Bob,Tester,7,Bob@Example.org,-,-\nNed,Nobody,8,ned@example.org,-,-\n")
    made = book(graded_class, "moodle", match=tmp_path / "m.csv", partial=True)
    assert list(csv.reader(io.StringIO(made.text))) == [["First name", "Last name", "ID number", "Email address", "Assignment: Tiny drill (Real)"],
                                                        ["Bob", "Tester", "7", "Bob@Example.org", "5"]]
    assert made.left == ("not in Moodle, left out: ada, eve", "in Moodle and not in the class: Ned")


@pytest.mark.parametrize("form", lms.FORMATS)
@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "@x", "-a"])
def test_a_name_is_never_a_formula(graded_class, form, name):
    roster.apply(graded_class, [{"id": "ada", "first_name": "", "last_name": name, "email": name}])
    cells = [c for row in csv.reader(io.StringIO(book(graded_class, form).text)) for c in row]
    assert any(c.startswith(f"'{name}") for c in cells) and not any(c[:1] in ("=", "+", "-", "@") for c in cells)


@pytest.mark.parametrize("text", ["", "name,score\nx,1\n", "Student,Section\n"])
@pytest.mark.parametrize("form", lms.FORMATS)
def test_a_file_that_is_no_gradebook_is_refused_in_a_line(graded_class, tmp_path, form, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ClassError, match=f"is no export of {form.capitalize()}") as said:
        book(graded_class, form, match=tmp_path / "x.csv")
    assert "\n" not in str(said.value)


def test_the_command_refuses_to_overwrite_and_a_dry_run_writes_nothing(graded_class, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = lambda *words: CliRunner().invoke(app, ["class", "-C", str(graded_class.root), "export", *words])  # noqa: E731
    said = run("-f", "canvas", "--dry-run")
    assert "would write grades-canvas.csv: 3 students, 0 scores" in said.stdout and not list(tmp_path.glob("*.csv"))
    assert "by hand" in said.stdout
    assert "wrote grades-canvas.csv: 3 students, 2 scores" in run("-f", "canvas", "--partial", "drills/tiny").stdout
    assert stat.S_IMODE((tmp_path / "grades-canvas.csv").stat().st_mode) == 0o600
    before = (tmp_path / "grades-canvas.csv").read_bytes()
    assert "is there already" in str(run("-f", "canvas").exception) and (tmp_path / "grades-canvas.csv").read_bytes() == before
    assert run("-f", "canvas", "--force").exit_code == 0 and (tmp_path / "grades-canvas.csv").read_bytes() != before
    for words in (["-f", "excel"], ["--partial"], ["drills/tiny"], ["-f", "moodle", "--match", "nowhere.csv"]):
        assert isinstance(run(*words).exception, ClassError), words
