"""Grades as CSV."""

import csv
import io
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mlsysbook.grading import export, roster

TINY = "drills-tiny"
NBGRADER_COLUMNS = ["assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email", "raw_score",
                    "late_submission_penalty", "score", "max_score"]


def rows(path):
    return list(csv.DictReader(io.StringIO(Path(path).read_text())))


def test_every_student_has_a_row_with_what_counts(graded_class, tmp_path):
    with graded_class.gradebook() as gb:
        gb.find_submission(TINY, "ada").notebooks[0].late_submission_penalty = 1.25
        gb.db.commit()
    assert export.export(graded_class, tmp_path / "g.csv") == 3
    found = {r["student_id"]: r for r in rows(tmp_path / "g.csv")}
    assert list(found["ada"])[:11] == NBGRADER_COLUMNS
    assert [found["ada"][k] for k in ("raw_score", "late_submission_penalty", "score", "max_score", "state")] == [
        "5", "1.25", "3.75", "10", "to be graded by hand"]
    assert [found["eve"][k] for k in ("timestamp", "score", "state")] == ["", "0", "not submitted"]
    assert stat.S_IMODE((tmp_path / "g.csv").stat().st_mode) == 0o600


@pytest.mark.parametrize(("name", "cell"), [("Lovelace, Countess", "Lovelace, Countess"), ('O"Hara', 'O"Hara'), ("北\nX", "北\nX"),
                                            ("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("+1", "'+1"), ("@x", "'@x"), ("-a", "'-a")])
def test_a_name_survives_and_is_never_a_formula(graded_class, tmp_path, name, cell):
    roster.apply(graded_class, [{"id": "ada", "first_name": "", "last_name": name, "email": ""}])
    export.export(graded_class, tmp_path / "g.csv")
    assert {r["student_id"]: r["last_name"] for r in rows(tmp_path / "g.csv")}["ada"] == cell


@pytest.mark.slow
def test_stock_export_writes_the_same_file(graded_class, tmp_path):
    export.export(graded_class, tmp_path / "ours.csv")
    done = subprocess.run([str(Path(sys.executable).parent / "nbgrader"), "export", "--to", str(tmp_path / "theirs.csv")],
                          cwd=graded_class.root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "theirs.csv").read_text() == (tmp_path / "ours.csv").read_text()
