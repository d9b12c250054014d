"""A small class to try the hub with: every assignment released, one instructor, one student."""

import os
import pwd
from pathlib import Path

TEACHER, STUDENT = "mlsys-teacher", "mlsys-student"


def make(course, folder, say):
    """Make the class in `folder`/class, or leave the one that is there -> its path.

    For root these are two Unix users of their own, which the hub makes; anyone else is both in one.
    """
    from ..grading import release, roster
    from ..grading.classroom import FILE, Classroom

    root = Path(folder).resolve()
    if (root / "class" / FILE).is_file():
        return root / "class"
    alone = os.geteuid() != 0
    caller = pwd.getpwuid(os.getuid()).pw_name
    teacher, student = (caller, caller) if alone else (TEACHER, STUDENT)
    classroom = Classroom.new(root / "class", course_id="mlsys-trial", exchange=str(root / "exchange"), instructors=[teacher])
    roster.apply(classroom, [{"id": student, "first_name": "", "last_name": "", "email": ""}])
    with classroom.at_work():
        done = release.release(classroom, course, list(course.assignments))
    say(f"made a class in {classroom.root}: {len(done)} assignments, instructor {teacher}, student {student}")
    return classroom.root
