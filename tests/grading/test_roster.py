"""Who is in the class."""

import pytest

from mlsysbook.errors import ClassError
from mlsysbook.grading import roster


def read(tmp_path, text):
    path = tmp_path / "students.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return roster.read(path)


@pytest.mark.parametrize("text", [
    "id,first_name,last_name,email\nada,Ada,Lovelace,ada@x.org\n",
    "\ufeffid,first_name,last_name,email\r\nada,Ada,Lovelace,ada@x.org\r\n\r\n",
    "ID;First Name;Last-Name;E-mail\nada;Ada;Lovelace;ada@x.org\n",
    "email\tgroup\tusername\tsurname\tgiven name\nada@x.org\t3\tada\tLovelace\tAda",
    'id,first_name,last_name,email\n"ada","Ada"," Lovelace ", ada@x.org\n',
])
def test_a_roster_is_read_however_a_spreadsheet_wrote_it(tmp_path, text):
    assert read(tmp_path, text) == [{"id": "ada", "first_name": "Ada", "last_name": "Lovelace", "email": "ada@x.org"}]


def test_only_the_id_is_needed_and_names_may_be_anything(tmp_path):
    assert [s["id"] for s in read(tmp_path, "id\nada\nbob@uni.example\n0042\n")] == ["ada", "bob@uni.example", "0042"]
    assert read(tmp_path, 'id,last_name\nx,"Łukasiewicz, Jr. 北"\n')[0]["last_name"] == "Łukasiewicz, Jr. 北"


@pytest.mark.parametrize(("text", "said"), [
    ("", "row 1: no column `id`; wants a header line such as id,first_name,last_name,email, got nothing"),
    ("name,email\nAda,a@x\n", "row 1: no column `id`"),
    ("ida,email\nAda,a@x\n", r"no column `id` \(is it ida\?\)"),
    ("id,login\na,b\n", "row 1: two columns mean id"),
    ("id,email\n", "no students below the header"),
    ("id\nada\n\nbob\nada\n", "row 5: student ada is already in row 2"),
    ("id\nada\nAda\n", r"row 3: student Ada is already in row 2 \(as ada; capitals do not tell students apart\)"),
    ("id,email\n,x@y\n", "row 2: no id"),
    ("id\na/b\n", "row 2: id 'a/b' wants letters"),
    ("id\n..\n", "row 2: id '..'"),
    ("id\na+b\n", r"row 2: id 'a\+b'"),
    ("id\n*\n", "row 2: id"),
    ("id\n-rf\n", "row 2: id"),
    ("id\n" + "x" * 65 + "\n", "row 2: id"),
    ("id,last_name\nada,Lovelace, Countess\n", "row 2: 3 cells under 2 columns; a value with a comma wants quotes"),
    (b"id,last_name\nada,M\xfcller\n", "row 2: not UTF-8 text; save the table as CSV in UTF-8"),
    (b"PK\x03\x04\x00\x00id", "not a text file|not UTF-8"),
    ('id\n"ada\n', "row 3: not CSV|row 2: not CSV"),
    ("id\n" + "\n".join("a b" for _ in range(9)) + "\n", "row 2: id .*; and 5 more"),
])
def test_a_roster_that_is_wrong_names_the_row(tmp_path, text, said):
    with pytest.raises(ClassError, match=said) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"roster {tmp_path}/students.csv: ") and "\n" not in str(caught.value)


def test_a_roster_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ClassError, match=r"cannot be read \(No such file"):
        roster.read(tmp_path / "none.csv")


def names(classroom):
    with classroom.gradebook() as gb:
        return {s.id: s.last_name for s in gb.students}


def students(*ids, last="Tester"):
    return [{"id": i, "first_name": "", "last_name": last, "email": ""} for i in ids]


def test_applying_twice_changes_nothing_the_second_time(classroom):
    first = roster.apply(classroom, students("ada", "zoe"))
    assert {c.student: c.state for c in first} == {"ada": "same", "zoe": "added", "bob": "kept", "eve": "kept"}
    assert {c.state for c in roster.apply(classroom, students("ada", "zoe"))} == {"same", "kept"}
    assert {c.student: c.state for c in roster.apply(classroom, students("ada", last="New"))}["ada"] == "changed"
    assert names(classroom)["ada"] == "New"


def test_an_empty_cell_does_not_erase_what_is_known(classroom):
    roster.apply(classroom, students("ada", last=""))
    assert names(classroom)["ada"] == "Tester"


def test_a_dry_run_says_what_would_be_and_writes_nothing(classroom):
    before = names(classroom)
    said = {c.student: c.state for c in roster.apply(classroom, students("zoe"), remove=True, dry_run=True)}
    assert said == {"zoe": "added", "ada": "removed", "bob": "removed", "eve": "removed"}
    assert names(classroom) == before


def test_students_leave_only_when_asked_and_only_without_work(released):
    with released.logged(), released.gradebook() as gb:
        gb.add_submission("drills-tiny", "bob")
    before = names(released)
    with pytest.raises(ClassError, match=r"bob has 1 submission\(s\) .* not removed: leave them on the roster"):
        roster.apply(released, students("zoe"), remove=True)
    assert names(released) == before                    # all or nothing
    roster.apply(released, students("bob", "zoe"), remove=True)
    assert set(names(released)) == {"bob", "zoe"}
