"""Grades as CSV: nbgrader's columns first, so that what reads its export reads ours, then the state of each submission."""

import csv
import io
from pathlib import Path

from nbgrader.plugins import ExportPlugin

from .. import atomic
from .classroom import Classroom

COLUMNS = ("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email", "raw_score",
           "late_submission_penalty", "score", "max_score", "state")


class Grades(ExportPlugin):
    """What stock `nbgrader export` calls. Its own CSV breaks at a comma in a name."""

    def export(self, gradebook):
        text = table(gradebook, assignments=[str(a) for a in self.assignment], students=[str(s) for s in self.student])
        atomic.write(self.to or "grades.csv", text, mode=0o600)


def export(classroom: Classroom, to):
    """Write grades.csv -> number of rows."""
    with classroom.gradebook() as gb:
        text = table(gb)
    atomic.write(Path(to), text, mode=0o600)
    return text.count("\n") - 1


def table(gradebook, *, assignments=(), students=()):
    """CSV text: one row for each student and assignment, also where nothing was handed in."""
    from nbgrader.api import SubmittedAssignment

    submitted = {(s.name, s.student_id): s for s in gradebook.db.query(SubmittedAssignment)}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for assignment in gradebook.assignments:
        if assignments and assignment.name not in assignments:
            continue
        for student in gradebook.students:
            if not students or student.id in students:
                submission = submitted.get((assignment.name, student.id))
                writer.writerow([cell(v) for v in _row(assignment, student, submission)])
    return out.getvalue()


def _row(assignment, student, submission):
    handed_in = submission is not None and submission.timestamp is not None
    raw = submission.score if submission is not None else 0.0
    penalty = (submission.late_submission_penalty or 0.0) if submission is not None else 0.0
    state = "not submitted" if not handed_in else "to be graded by hand" if submission.needs_manual_grade else "graded"
    return (assignment.name, assignment.duedate, submission.timestamp if handed_in else None, student.id, student.last_name,
            student.first_name, student.email, raw, penalty, max(0.0, raw - penalty), assignment.max_score, state)


def cell(value):
    """A text that a spreadsheet would take for a formula gets an apostrophe."""
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
