"""A class folder: made, opened, wrong in every way that one line must explain."""

import contextlib
import os
import re
import shutil
import sqlite3
import stat

import pytest
import yaml

from mlsysbook.errors import ClassError
from mlsysbook.grading.classroom import Classroom
from mlsysbook.grading.deadlines import LatePolicy, due, duration


@pytest.fixture(autouse=True)
def quick(tmp_path, empty_gradebook, request):
    """Give the class a gradebook, except where one is to be made."""
    if "classroom" not in request.fixturenames and "closed" not in request.node.name:
        (tmp_path / "class").mkdir(mode=0o700)
        shutil.copy(empty_gradebook, tmp_path / "class")


def new(tmp_path, **options):
    return Classroom.new(tmp_path / "class", **{"course_id": "tiny", "exchange": tmp_path / "exchange"} | options)


def test_a_new_class_opens_again_with_what_it_was_given(tmp_path):
    made = new(tmp_path, instructors=["prof"], late={"grace_minutes": 15, "percent_per_day": 10, "max_percent": 50}, check_owner=False)
    again = Classroom.open(made.root)
    assert again == made
    assert again.late == LatePolicy(15, 10, 50) and again.instructors == ("prof",) and not again.check_owner


def test_a_class_is_found_from_a_folder_below_it(tmp_path):
    made = new(tmp_path)
    (made.root / "source" / "x").mkdir(parents=True)
    assert Classroom.open(made.root / "source" / "x").root == made.root


def test_a_new_class_is_closed_to_others(tmp_path):
    made = new(tmp_path)
    closed = [made.root, made.root / ".mlsys", made.root / "submitted", made.root / "autograded", made.root / "feedback"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in closed} == {0o700}
    assert {stat.S_IMODE(p.stat().st_mode) for p in (made.secret_path, made.root / "gradebook.db")} == {0o600}


def test_a_class_in_an_existing_folder_leaves_what_is_there(tmp_path):
    root = tmp_path / "class"
    (root / "source" / "old").mkdir(parents=True)
    (root / "nbgrader_config.py").write_text("from mlsysbook.grading.config import configure\nconfigure(get_config(), __file__)\n# mine\n")
    new(tmp_path)
    assert (root / "source" / "old").is_dir() and "# mine" in (root / "nbgrader_config.py").read_text()


def test_a_configuration_that_would_grade_unboxed_is_refused(tmp_path):
    (tmp_path / "class" / "nbgrader_config.py").write_text("c = get_config()\n")
    with pytest.raises(ClassError, match="outside the box; add"):
        new(tmp_path)
    assert not (tmp_path / "class" / "class.yml").exists()


def test_a_gradebook_is_closed_and_knows_its_version(tmp_path):
    made = new(tmp_path)
    db = made.root / "gradebook.db"
    assert stat.S_IMODE(db.stat().st_mode) == 0o600
    with contextlib.closing(sqlite3.connect(db)) as connection:
        assert connection.execute("select count(*) from alembic_version").fetchone() == (1,)


def test_a_class_killed_while_it_was_made_can_be_made_again_with_the_same_secret(tmp_path):
    made = new(tmp_path)
    secret = made.secret()
    (made.root / "class.yml").unlink()
    assert new(tmp_path).secret() == secret


def test_no_two_classes_share_a_secret(tmp_path, empty_gradebook):
    (tmp_path / "other" / "class").mkdir(parents=True)
    shutil.copy(empty_gradebook, tmp_path / "other" / "class")
    assert new(tmp_path).secret() != new(tmp_path / "other").secret()


def damage(mode=None, data=None, gone=False, link=False):
    def apply(path):
        if gone or link:
            path.unlink()
        if link:
            path.symlink_to("/etc/hostname")
        if data is not None:
            path.write_bytes(data)
        if mode:
            path.chmod(mode)

    return apply


@pytest.mark.parametrize(("hurt", "said"), [
    (damage(gone=True), r"secret .* is missing: restore it from a backup, or make a new one with `mlsys class secret --new`"),
    (damage(mode=0o644), r"can be read by other users \(mode 0644\): chmod 600"),
    (damage(mode=0o640), r"mode 0640"),
    (damage(data=b"short"), r"is 5 bytes long, wants 32"),
    (damage(link=True), r"is not a plain file"),
])
def test_a_secret_that_is_no_secret_is_an_error_that_says_what_to_do(tmp_path, hurt, said):
    made = new(tmp_path)
    hurt(made.secret_path)
    with pytest.raises(ClassError, match=said) as caught:
        made.secret()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "said"), [
    ("course: [", r"class.yml:\d+: not YAML"),
    ("- a", "wants keys and values"),
    ("exchange: x", "course is ''; wants a short name"),
    ("course: a/b", "course is 'a/b'"),
    ("course: a\nextentions: {}", "unknown key 'extentions'; did you mean extensions"),
    ("course: a\ninstructors: {a: 1}", "instructors is .*; wants a list"),
    ("course: a\ncheck_owner: maybe", "check_owner is 'maybe'"),
    ("course: a\nlate: {percent: 5}", "late is .*; wants {grace_minutes: ..., percent_per_day: ..., max_percent: ...}"),
    ("course: a\nlate: {percent_per_day: -5}", "percent_per_day is -5; wants a number, 0 or more"),
    ("course: a\nlate: {max_percent: 500}", "and at most 100"),
    ("course: a\ndue: tomorrow", "due is 'tomorrow'; wants names and values"),
    ("course: a\ndue: {drills/tiny: tomorrow}", "due date 'tomorrow': wants a day, a time and a zone"),
    ("course: a\ndue: {drills/tiny: 2026-02-30}", "class.yml: day is out of range"),
    ("course: a\nextensions: {drills/tiny: {ada: soon}}", "extension 'soon': wants weeks, days"),
])
def test_a_class_file_that_is_wrong_says_where(tmp_path, text, said):
    (tmp_path / "class.yml").write_text(text)
    with pytest.raises(ClassError, match=said) as caught:
        Classroom.open(tmp_path)
    assert "\n" not in str(caught.value) and "class.yml" in str(caught.value)


def test_no_class_at_all_says_how_to_make_one(tmp_path):
    with pytest.raises(ClassError, match="make a class with `mlsys class new FOLDER`"):
        Classroom.open(tmp_path)


def test_dates_are_written_beside_what_an_instructor_wrote(tmp_path):
    made = new(tmp_path)
    path = made.root / "class.yml"
    dates = "due:\n  # a comment inside the entry goes\n  drills-old: 2026-01-01 10:00 UTC\n\n  drills-b: 2026-01-02\n"
    path.write_text(path.read_text().replace("due: {}", dates) + "# the end\n")
    made = Classroom.open(made.root)
    made.set_dates({"drills-tiny": due("2026-12-01 23:59 Europe/Berlin")}, {"drills-tiny": {"ada": duration("2d")}})
    text = path.read_text()
    assert text.startswith("# One class") and text.rstrip().endswith("# the end")
    assert yaml.safe_load(text)["due"]["drills-tiny"] == "2026-12-01 23:59 Europe/Berlin"
    again = Classroom.open(made.root)
    assert set(again.due) == {"drills-old", "drills-b", "drills-tiny"}
    assert again.extensions == {"drills-tiny": {"ada": duration("48h")}}
    made.set_dates(None, {"drills-tiny": {"ada": duration("0")}})
    assert Classroom.open(made.root).extensions.get("drills-tiny", {}) == {}


def test_an_assignment_may_be_named_as_in_the_catalogue(tmp_path):
    (tmp_path / "class.yml").write_text("course: a\ndue: {tinytorch/01_tensor: 2026-12-01 23:59:00}\n")
    assert Classroom.open(tmp_path).due["tinytorch-01_tensor"].naive.isoformat() == "2026-12-01T23:59:00"


@pytest.mark.parametrize(("url", "said"), [
    ("nonsense", "is not a database URL"),
    ("postgresql+psycopg2://prof:hunter2@127.0.0.1:1/x", "cannot be opened|needs the Python package"),
    ("sqlite:////nowhere/at/all.db", "cannot be opened"),
])
def test_a_gradebook_that_cannot_be_opened_is_one_line_without_the_password(tmp_path, url, said):
    room = Classroom(tmp_path, "tiny", tmp_path, db_url=url)
    with pytest.raises(ClassError, match=said) as caught:
        room.gradebook()
    assert "hunter2" not in str(caught.value) and "\n" not in str(caught.value)


def test_two_commands_do_not_work_at_once(tmp_path):
    made = new(tmp_path)
    with made.at_work(), pytest.raises(ClassError, match="another `mlsys class` command is at work"), made.at_work():
        pass
    with made.at_work():
        pass


@pytest.mark.root
def test_root_does_not_work_in_the_class_of_another(tmp_path):
    made = new(tmp_path)
    os.chown(made.root, 65534, 65534)
    with pytest.raises(ClassError, match="belongs to nobody and you are root: work as nobody"), made.at_work():
        pass


def test_nbgrader_and_sqlalchemy_talk_to_the_log_alone(released, capfd):
    text = (released.root / ".mlsys" / "log" / "nbgrader.log").read_text()
    assert re.search(r"INFO .*tiny", text)
    assert capfd.readouterr().err == ""


def test_the_configuration_is_that_of_stock_commands(released):
    from traitlets.config import Config

    from mlsysbook.grading.config import configure

    c = Config()
    configure(c, released.root / "nbgrader_config.py")
    assert c == released.nbgrader_config()
    assert c.CourseDirectory.db_url == f"sqlite:///{released.root}/gradebook.db"


def test_a_broken_class_file_makes_stock_nbgrader_refuse_to_grade(released):
    from traitlets.config import Config

    from mlsysbook.grading.config import configure

    (released.root / "class.yml").write_text("course: [")
    c = Config()
    configure(c, released.root)
    refuse = c.Autograde.autograde_preprocessors[0]
    with pytest.raises(Exception, match="not graded: .*class.yml:1: not YAML"):
        refuse().preprocess(None, {})
