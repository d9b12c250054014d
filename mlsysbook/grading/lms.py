"""Grades as the CSV that the gradebooks of Canvas and Moodle import.

Canvas finds a student by ID, SIS User ID, SIS Login ID or name, in this order, and an assignment by the number at the end of its header,
then by its title; a row "Points Possible" stands second. Moodle lets a person choose the column that says who a row is.
Sources: instructure/canvas-lms, lib/gradebook_importer.rb; docs.moodle.org, Grade import.
"""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import ClassError
from .export import cell

FORMATS = ("canvas", "moodle")
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
MOODLE = ("username", "First name", "Last name", "ID number", "Email address")
_WHO = {"canvas": ("SIS Login ID", "SIS User ID", "ID"), "moodle": ("username", "ID number", "Email address")}
_POINTS = "Points Possible"


@dataclass(frozen=True)
class Book:
    """What an export holds. text: the CSV; scores: cells with a score; left: sentences on what was left out, and why."""

    text: str
    students: int
    scores: int
    left: tuple[str, ...] = ()


def book(gradebook, form, titles, *, section="", match=None, partial=False):
    """Scores of a gradebook for a learning management system -> Book.

    titles: {nbgrader name: title} of the assignments to take, a column each. match: an export of that system's own gradebook; its rows and
    headers are then used as they stand, and who is only there or only here is named. A score is after late penalties. What was not handed
    in stays blank, and so does what a person has not finished grading, unless `partial`.
    """
    from nbgrader.api import SubmittedAssignment

    there = {a.name: a for a in gradebook.assignments}
    assignments = [there[name] for name in titles if name in there]
    if not assignments:
        raise ClassError("no assignment of the class is chosen that has been released; `mlsys class status` shows them")
    scores, unfinished = {}, 0
    for s in gradebook.db.query(SubmittedAssignment):
        if s.timestamp is not None and (partial or not s.needs_manual_grade):
            scores[s.name, s.student_id] = max(0.0, s.score - (s.late_submission_penalty or 0.0))
        elif s.timestamp is not None and s.name in titles:
            unfinished += 1
    students = sorted(gradebook.students, key=lambda s: s.id)
    left = []
    if unfinished:
        left.append(f"{unfinished} submission{'s' * (unfinished != 1)} to be graded by hand: blank (--partial takes the points so far)")
    if match:
        head, found = _read(match, form)
        rows, more = _matched(form, students, head, found)
        left += more
    else:
        head, rows = list(CANVAS if form == "canvas" else MOODLE), [(s, _own(form, s, section)) for s in students]
        if form == "moodle" and (n := sum(not s.email for s in students)):
            left.append(f"{n} student{'s have' if n != 1 else ' has'} no email on the roster: choose username in Moodle's `Map from`")
    width = _width(head, form)
    names = [_header(titles[a.name], a.name, head[width:]) for a in assignments]
    out, count = io.StringIO(), 0
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*map(cell, head[:width]), *map(cell, names)])
    if form == "canvas":
        writer.writerow([f"    {_POINTS}", *[""] * (width - 1), *(cell(float(a.max_score)) for a in assignments)])
    for student, who in rows:
        own = [scores.get((a.name, student.id)) for a in assignments]
        count += sum(score is not None for score in own)
        writer.writerow([*map(cell, who[:width]), *map(cell, own)])
    if form == "moodle" and not match:
        left.append("points possible, for new grade items: " + ", ".join(f"{titles[a.name]} {a.max_score:g}" for a in assignments))
    return Book(out.getvalue(), len(rows), count, tuple(left))


def _own(form, s, section):
    first, last = s.first_name or "", s.last_name or ""
    if form == "canvas":
        return [", ".join(filter(None, (last, first))) or s.id, "", "", s.id, section]
    return [s.id, first, last, "", s.email or ""]


def _read(path, form):
    """An export of the other system's gradebook -> (header, [row])."""
    path = Path(path)
    try:
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ClassError(f"{path}: cannot be read as CSV ({getattr(error, 'strerror', None) or error})") from None
    head = rows[0] if rows else []
    if form == "canvas" and head[:2] != ["Student", "ID"] or form == "moodle" and not _columns(head, form):
        wanted = ", ".join(CANVAS) if form == "canvas" else "Email address, ID number or Username"
        got = ",".join(head)[:80] or "nothing"
        raise ClassError(f"{path}: is no export of {form.capitalize()}'s gradebook; its header wants {wanted}, got {got}")
    return head, [row + [""] * (len(head) - len(row)) for row in rows[1:] if any(map(str.strip, row)) and _POINTS not in row[0]
                  and not re.fullmatch(r"(?i)(muted|manual posting.*)?", "".join(row).strip())]


def _columns(head, form):
    by_name = {h.strip().lower(): n for n, h in enumerate(head)}
    return [by_name[w.lower()] for w in _WHO[form] if w.lower() in by_name]


def _width(head, form):
    """How many columns say who a row is: those before the first that is a grade."""
    if form == "canvas":
        return head.index("Section") + 1 if "Section" in head else len(CANVAS)
    known = {"username", "first name", "last name", "id number", "institution", "department", "email address"}
    return next((n for n, h in enumerate(head) if h.strip().lower() not in known), len(head))


def _matched(form, students, head, found):
    """[(student, row as it stands)], and sentences about who is only on one side."""
    by_key, rows = {}, []
    for row in found:
        for n in _columns(head, form):
            if row[n].strip():
                by_key.setdefault(row[n].strip().lower(), row)
    used = []
    for s in students:
        row = next((by_key[k] for k in (s.id.lower(), (s.email or "").lower()) if k and k in by_key), None)
        if row is not None and not any(row is u for u in used):
            rows.append((s, row))
            used.append(row)
    here = [s.id for s in students if not any(s is t for t, _ in rows)]
    there = [row[0] for row in found if not any(row is u for u in used)]
    said = []
    if here:
        said.append(f"not in {form.capitalize()}, left out: {', '.join(here)}")
    if there:
        said.append(f"in {form.capitalize()} and not in the class: {'; '.join(there)}")
    return rows, said


def _header(title, name, there):
    """The header of an assignment: what the other gradebook calls it, "TITLE (1234)" or "Assignment: TITLE (Real)", or its title."""
    for wanted in (title, name):
        for header in there:
            plain = re.sub(r"\s*\((\d+|real)\)$", "", header.strip(), flags=re.I).casefold()
            if plain == wanted.casefold() or plain.endswith(f": {wanted.casefold()}"):
                return header
    return title
