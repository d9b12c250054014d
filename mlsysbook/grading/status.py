"""Where every assignment of a class stands."""

from collections import Counter
from dataclasses import dataclass

from .. import atomic
from .collect import waiting
from .deadlines import show


@dataclass(frozen=True)
class Standing:
    """One assignment, counted in students."""

    assignment: str
    released: bool
    due: str
    waiting: int            # new in the exchange, not collected
    collected: int
    graded: int
    by_hand: int            # graded, with something left to grade by hand
    feedback: int           # pages generated
    late: int
    flagged: int
    fates: dict             # other than "graded"


def status(classroom, assignments):
    """-> [Standing], in the given order."""
    from nbgrader.api import SubmittedAssignment

    standings = []
    with classroom.gradebook() as gb:
        dates = {a.name: a.duedate for a in gb.assignments}
        by_assignment = {}
        for submission in gb.db.query(SubmittedAssignment):
            by_assignment.setdefault(submission.name, []).append(submission)
        for a in assignments:
            records = records_of(classroom, a.id)
            collected = {p.parent.name for p in (classroom.root / "submitted").glob(f"*/{a.id}") if p.is_dir()}
            submissions = [s for s in by_assignment.get(a.id, ()) if s.timestamp is not None]
            due = classroom.due[a.id].at if a.id in classroom.due else dates.get(a.id)
            standings.append(Standing(
                a.name, (classroom.outbound / a.id).is_dir(), show(due) if due else "",
                len(waiting(classroom, a.id)), len(collected),
                len(records) or sum(1 for s in submissions if classroom.autograded(s.student_id, a.id).is_dir()),
                sum(1 for s in submissions if s.needs_manual_grade),
                sum(1 for p in (classroom.root / "feedback").glob(f"*/{a.id}/*.html") if p.is_file()),
                sum(1 for s in submissions if s.total_seconds_late > 0),
                sum(1 for r in records.values() if r.get("flags")),
                dict(Counter(r.get("fate", "graded") for r in records.values() if r.get("fate", "graded") != "graded"))))
    return standings


def records_of(classroom, assignment_id):
    """Graded records by student."""
    folder = classroom.graded_path(assignment_id, "x").parent
    return {p.stem: atomic.read_json(p, {}) for p in sorted(folder.glob("*.json"))}
