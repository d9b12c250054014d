"""The report: one page about a class, from the gradebook and the graded records. Nothing in it is fetched or run."""

from datetime import UTC, datetime

from markupsafe import Markup

from .. import atomic
from . import charts, late
from . import statistics as s
from .deadlines import show
from .feedback import TEMPLATES, environment, lateness
from .status import records_of

# Flags, the most serious first, and what each may mean. All deserve a look before anything is concluded.
KINDS = {
    "identity": "Work under another's name",
    "tamper": "Locked parts or records were changed",
    "patched": "The grading code was changed from inside",
    "escape": "Reached for what is outside the submission",
    "copied-variant": "Right for another student's variant",
    "timestamp": "The time of submission was not the time of arrival",
    "limit": "Ran into a limit",
    "damaged": "Damaged or incomplete",
}
MOST_CONCERNS = 20


def write(classroom, course, assignments, to):
    """Write the report on `assignments` to file `to`. Scores are the gradebook's, late penalties as the policy has them now."""
    works, students, names, due, titles = gather(classroom, assignments)
    atomic.write(to, render(classroom, course, works, students, names, due, titles), mode=0o600)


def gather(classroom, assignments):
    """-> works by assignment id, ids of all students, their names, due dates by assignment id, titles by assignment id."""
    from nbgrader.api import SubmittedAssignment

    works, due = {}, {}
    with classroom.gradebook() as gb:
        names = {p.id: " ".join(filter(None, (p.first_name, p.last_name))) for p in gb.students}
        dates = {a.name: a.duedate for a in gb.assignments}
        submissions = {}
        for submission in gb.db.query(SubmittedAssignment):
            submissions.setdefault(submission.name, {})[submission.student_id] = submission
        for a in assignments:
            late.refresh(gb, classroom.late, a.id)
            records = records_of(classroom, a.id)
            mine = submissions.get(a.id, {})
            found = {student: _work(a, student, records.get(student), mine.get(student))
                     for student in sorted(records.keys() | {x for x, sub in mine.items() if sub.timestamp is not None})}
            for student, work in found.items():         # what collecting noticed, if grading did not repeat it
                _add_notes(work, classroom.notes(a.id, student))
            for path in sorted(classroom.notes_path(a.id, "x").parent.glob("*.json")):
                if path.stem not in found:
                    refused = s.Work(path.stem, a.id, fate="not collected")
                    _add_notes(refused, classroom.notes(a.id, path.stem))
                    found[path.stem] = refused
            works[a.id] = list(found.values())
            if a.id in classroom.due or dates.get(a.id):
                due[a.id] = classroom.due[a.id].at if a.id in classroom.due else dates[a.id].replace(tzinfo=UTC)
    students = sorted(names.keys() | {w.student for ws in works.values() for w in ws if w.items})
    return works, students, names, due, {a.id: a.title for a in assignments}


def _work(assignment, student, record, submission):
    record = record or {}
    work = s.Work(student, assignment.id, fate=record.get("fate", "graded"), ended=record.get("ended", "finished"),
                  flags=list(record.get("flags", ())), unsafe=bool(record.get("unsafe")))
    said = {i["id"]: i for i in record.get("items", ())}
    if submission is None:
        work.items, work.score, work.points = list(said.values()), record.get("score", 0.0), record.get("max_score", 0.0)
        return work
    work.submitted = show(submission.timestamp) if submission.timestamp else None
    work.seconds_late = submission.total_seconds_late if submission.timestamp else 0.0
    work.extension = str(submission.extension or "")
    work.penalty = submission.late_submission_penalty or 0.0
    work.score, work.points = max(0.0, submission.score - work.penalty), submission.max_score
    for notebook in submission.notebooks:
        for grade in notebook.grades:
            kind, _, name = grade.name.partition("-")
            item = said.get(grade.name, {"id": grade.name, "kind": kind, "name": name or grade.name, "behaviours": {}, "mistake": None})
            by_hand = grade.needs_manual_grade or grade.auto_score is None and grade.manual_score is None
            work.items.append(item | {"score": None if by_hand and grade.manual_score is None else grade.score, "points": grade.max_score})
    return work


def _add_notes(work, notes):
    work.flags += [n for n in notes if n["note"] not in {f["note"] for f in work.flags}]


def render(classroom, course, works, students, names, due, titles, *, now=None):
    """-> the page, as HTML."""
    now = now or datetime.now(UTC)
    every = [w for ws in works.values() for w in ws if w.fate != "not collected"]
    begun = [a for a in works if any(w.fate != "not collected" for w in works[a])]
    expected = [a for a in begun if a not in due or due[a] <= now]
    concerns = s.needing_help(students, every, expected, called=titles.get)
    flagged = _flagged(works, titles)
    page = {
        "classroom": classroom, "course": course, "now": show(now), "names": names, "students": students, "titles": titles,
        "assignments": [_assignment(a, works[a], students, due.get(a), titles[a]) for a in begun],
        "not_begun": [titles[a] for a in works if a not in begun],
        "concerns": concerns[:MOST_CONCERNS], "more_concerns": max(0, len(concerns) - MOST_CONCERNS),
        "flagged": flagged, "flagged_students": len({student for _, student, _ in flagged}),
        "late": sorted((w for w in every if w.seconds_late > 0 or w.extension), key=lambda w: (-w.seconds_late, w.student)),
        "unsafe": sum(w.unsafe for w in every), "submissions": len(every), "waiting": sum(1 for w in every if w.waiting),
        "share": s.mean(w.share for w in every if w.share is not None), "grid": _grid(begun, works, students),
        "style": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "bar": charts.bar, "policy": str(classroom.late), "lateness": lateness,
        "enough": s.ENOUGH,
    }
    return environment().get_template("report.html").render(page)


def _flagged(works, titles):
    """-> [(kind, student, [(note, [titles])])], the most serious kind first. Every note is there, once."""
    found = {}
    for assignment_id, ws in works.items():
        for w in ws:
            for f in w.flags:
                where = found.setdefault((f["kind"], w.student), {}).setdefault(f["note"], [])
                if titles[assignment_id] not in where:
                    where.append(titles[assignment_id])
    order = list(KINDS)
    rows = sorted(found.items(), key=lambda r: (order.index(r[0][0]) if r[0][0] in order else -1, r[0]))
    return [(KINDS.get(kind, kind), student, list(notes.items())) for (kind, student), notes in rows]


def _assignment(assignment_id, works, students, due, title):
    graded = [w for w in works if w.fate != "not collected"]
    shares = [w.share for w in graded if w.share is not None]
    middle = s.median(shares)
    items = s.items(graded)
    return {
        "id": assignment_id, "title": title, "due": show(due) if due else None, "n": len(graded), "of": len(students),
        "mean": s.mean(shares), "median": middle, "points": max((w.points for w in graded), default=0),
        "histogram": charts.histogram(shares, middle, label=title), "spark": charts.spark(shares),
        "items": items, "misconceptions": s.misconceptions(graded), "failures": s.failures(graded),
        "late": sum(w.seconds_late > 0 for w in graded), "waiting": sum(1 for w in graded if w.waiting),
        "flagged": sum(bool(w.flags) for w in works), "missing": [x for x in students if x not in {w.student for w in graded}],
    }


def _grid(begun, works, students):
    """Rows of (student, mean share, shares in the order of `begun`), the lowest mean first."""
    share = {(w.student, a): w.share for a in begun for w in works[a] if w.fate != "not collected"}
    rows = []
    for student in students:
        cells = [share.get((student, a), "") if (student, a) in share else "" for a in begun]
        rows.append((student, s.mean(c for c in cells if isinstance(c, float)), cells))
    return sorted(rows, key=lambda r: (r[1] is not None, r[1] or 0.0, r[0]))
