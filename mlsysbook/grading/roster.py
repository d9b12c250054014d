"""Who is in the class: a CSV file into nbgrader's gradebook."""

import csv
import difflib
import io
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import ClassError

COLUMNS = ("id", "first_name", "last_name", "email")
_ALIASES = {"student_id": "id", "student": "id", "username": "id", "login": "id", "firstname": "first_name", "first": "first_name",
            "given_name": "first_name", "lastname": "last_name", "last": "last_name", "surname": "last_name",
            "family_name": "last_name", "e-mail": "email", "mail": "email"}
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}")
_MOST_SHOWN = 4


@dataclass(frozen=True)
class Change:
    """What a roster does to one student. state: "added", "changed", "same", "kept" (not in the file) or "removed"."""

    student: str
    state: str


def valid_id(name):
    """Whether a student may be called so: the id is a folder name, part of a file name and of a pattern in nbgrader."""
    return bool(_ID.fullmatch(name)) and ".." not in name and not name.endswith(".")


def read(path):
    """A CSV file with a header line -> list of {"id", "first_name", "last_name", "email"}. ClassError names the rows to mend."""
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ClassError(f"roster {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        row = error.object[:error.start].count(b"\n") + 1
        raise ClassError(f"roster {path}: row {row}: not UTF-8 text; save the table as CSV in UTF-8") from None
    if "\0" in text:
        raise ClassError(f"roster {path}: not a text file; save the table as CSV in UTF-8")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(rows, None)
        names = _header(path, header or [])
        return _students(path, rows, names)
    except csv.Error as error:
        raise ClassError(f"roster {path}: row {rows.line_num}: not CSV ({error})") from None


def _header(path, header):
    names = [re.sub(r"[\s-]+", "_", cell.strip().lower()) for cell in header]
    names = [_ALIASES.get(n, _ALIASES.get(n.replace("_", "-"), n)) for n in names]
    if "id" not in names:
        near = difflib.get_close_matches("id", [n for n in names if n], n=1)
        raise ClassError(f"roster {path}: row 1: no column `id`{f' (is it {near[0]}?)' if near else ''}; wants a header line such as "
                         f"{','.join(COLUMNS)}, got {','.join(header) or 'nothing'}")
    twice = [n for n in COLUMNS if names.count(n) > 1]
    if twice:
        raise ClassError(f"roster {path}: row 1: two columns mean {twice[0]}")
    return names


def _students(path, rows, names):
    students, seen, wrong = [], {}, []
    for cells in rows:
        row = rows.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(names):
            wrong.append(f"row {row}: {len(cells)} cells under {len(names)} columns; a value with a comma wants quotes")
            continue
        entry = {n: c.strip() for n, c in zip(names, cells, strict=False) if n in COLUMNS}
        student = entry.get("id", "")
        if not student:
            wrong.append(f"row {row}: no id")
        elif not valid_id(student):
            wrong.append(f"row {row}: id {student!r} wants letters, digits, dot, dash, underscore and @, at most 64")
        elif student.lower() in seen:
            before, said = seen[student.lower()]
            differs = "" if said == student else f" (as {said}; capitals do not tell students apart)"
            wrong.append(f"row {row}: student {student} is already in row {before}{differs}")
        else:
            seen[student.lower()] = row, student
            students.append({c: entry.get(c, "") for c in COLUMNS})
    if wrong:
        more = f"; and {len(wrong) - _MOST_SHOWN} more" if len(wrong) > _MOST_SHOWN else ""
        raise ClassError(f"roster {path}: {'; '.join(wrong[:_MOST_SHOWN])}{more}")
    if not students:
        raise ClassError(f"roster {path}: no students below the header")
    return students


def apply(classroom, students, *, remove=False, dry_run=False):
    """Make the gradebook's students those of the list -> [Change]. Students who are not listed stay, unless `remove`.

    Raises ClassError, and changes nothing, if a student to be removed has a submission.
    """
    from nbgrader.api import Student

    details = COLUMNS[1:]
    with classroom.gradebook() as gb:
        have = {s.id: s for s in gb.students}
        changes = []
        for entry in students:
            student = have.get(entry["id"])
            wanted = {c: entry[c] or None for c in details}
            if student is None:
                changes.append(Change(entry["id"], "added"))
                if not dry_run:
                    gb.db.add(Student(id=entry["id"], **wanted))
                continue
            differs = {c: v for c, v in wanted.items() if v is not None and getattr(student, c) != v}
            changes.append(Change(student.id, "changed" if differs else "same"))
            if not dry_run:
                for column, value in differs.items():
                    setattr(student, column, value)
        listed = {entry["id"] for entry in students}
        for name in sorted(have.keys() - listed):
            if remove and have[name].submissions:
                gb.db.rollback()
                raise ClassError(f"{name} has {len(have[name].submissions)} submission(s) in the gradebook and is not removed: leave "
                                 "them on the roster, or delete the grades first with `nbgrader db student remove --force`")
            changes.append(Change(name, "removed" if remove else "kept"))
            if remove and not dry_run:
                gb.db.delete(have[name])
        if dry_run:
            gb.db.rollback()
        else:
            gb.db.commit()                              # one transaction: all of the file, or nothing of it
    return changes
