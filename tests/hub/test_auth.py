import asyncio
import sqlite3

import pytest
from traitlets.config import Config

from mlsysbook.hub import accounts
from mlsysbook.hub.auth import ClassPAM, ClassPassword


@pytest.fixture
def gradebook(tmp_path):
    path = tmp_path / "gradebook.db"
    with sqlite3.connect(path) as db:
        db.execute("create table student (id text)")
        db.execute("insert into student values ('ada'), ('root'), ('daemon')")
    db.close()
    return path


@pytest.fixture
def unix_users(monkeypatch):
    """Pretends that these, beside the machine's own, have an account."""
    real = accounts.problem
    monkeypatch.setattr(accounts, "problem", lambda name: None if name in {"ada", "ben", "prof"} else real(name))


def make(kind, gradebook, **traits):
    c = Config()
    c[kind.__name__] = Config(db_url=f"sqlite:///{gradebook}", instructors={"prof"}, allowed_users={"prof"}, **traits)
    return kind(config=c)


def test_instructors_and_students_of_the_roster_get_in(gradebook, unix_users):
    auth = make(ClassPAM, gradebook)
    assert auth.check_allowed("prof") and auth.check_allowed("ada")
    assert not auth.check_allowed("ben")


def test_a_student_added_while_the_hub_runs_gets_in(gradebook, unix_users):
    auth = make(ClassPAM, gradebook)
    with sqlite3.connect(gradebook) as db:
        db.execute("insert into student values ('ben')")
    db.close()
    assert auth.check_allowed("ben")


@pytest.mark.parametrize("name", ["root", "daemon"])
def test_an_account_of_the_system_never_gets_in_even_from_the_roster(gradebook, name):
    assert not make(ClassPassword, gradebook, student_password="p" * 8).check_allowed(name)


def test_a_caller_alone_lets_nobody_else_in(gradebook, unix_users):
    auth = make(ClassPassword, gradebook, alone=True)
    assert auth.check_allowed("prof") and not auth.check_allowed("ada")


@pytest.mark.parametrize("name, password, enters", [
    ("ada", "for-students", True), ("prof", "for-instructors", True), ("prof", "for-students", False),
    ("ada", "for-instructors", False), ("ada", "", False), ("ada", "för-students", False)])
def test_the_students_password_does_not_open_the_instructors_account(gradebook, name, password, enters):
    auth = make(ClassPassword, gradebook, student_password="for-students", instructor_password="for-instructors")
    assert asyncio.run(auth.authenticate(None, {"username": name, "password": password})) == (name if enters else None)


def test_without_a_password_set_nobody_gets_in(gradebook):
    assert asyncio.run(make(ClassPassword, gradebook).authenticate(None, {"username": "ada", "password": ""})) is None
