import os
import pwd

import pytest

from mlsysbook import catalogue
from mlsysbook.grading.classroom import Classroom
from mlsysbook.hub import trial


@pytest.mark.slow
def test_the_class_to_try_has_every_assignment_and_is_made_once(tmp_path):
    said = []
    course = catalogue.load()
    folder = trial.make(course, tmp_path / "hub", said.append)
    classroom = Classroom.open(folder)
    alone = os.geteuid() != 0
    me = pwd.getpwuid(os.getuid()).pw_name
    assert classroom.instructors == ((me,) if alone else (trial.TEACHER,))
    with classroom.gradebook() as gb:
        assert [s.id for s in gb.students] == [me if alone else trial.STUDENT]
    assert {p.name for p in classroom.outbound.iterdir()} == {a.id for a in course.assignments}
    assert not str(classroom.exchange).startswith(str(classroom.root)), "students must reach the exchange, and not the class"
    before = classroom.secret()
    assert trial.make(course, tmp_path / "hub", said.append) == folder and Classroom.open(folder).secret() == before and len(said) == 1
