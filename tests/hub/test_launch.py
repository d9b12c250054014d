"""Everything that can be wrong before a hub starts ends in one line that says what to do."""

import fcntl
import os
import pwd
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mlsysbook.errors import CourseError, HubError
from mlsysbook.grading.classroom import Classroom
from mlsysbook.hub import accounts, checks, launch
from mlsysbook.hub.settings import read_class, roster

ROOT = os.geteuid() == 0


def refused(*args, match, **kwargs):
    """run() raises one line that matches; nothing has been started."""
    said = []
    with pytest.raises(CourseError, match=match) as caught:
        launch.run(*args, say=said.append, **kwargs)
    assert "\n" not in str(caught.value)
    return said


@pytest.fixture(scope="module")
def empty_gradebook(tmp_path_factory):
    """nbgrader takes a second to make one."""
    return Classroom.new(tmp_path_factory.mktemp("made") / "class", course_id="mlsys").root / "gradebook.db"


@pytest.fixture
def new_class(open_tmp, empty_gradebook):
    """Makes a class, as `mlsys class new` does but faster."""
    def new(*, exchange, instructors=()):
        root = open_tmp / "class"
        root.mkdir(mode=0o700)
        (root / ".mlsys").mkdir(mode=0o700)
        (root / "source").mkdir()
        shutil.copy(empty_gradebook, root)
        (root / "class.yml").write_text(f"course: mlsys\nexchange: {exchange}\ninstructors: [{', '.join(instructors)}]\n")
        return Classroom.open(root)

    return new


@pytest.fixture
def made(new_class, open_tmp, me):
    """A class of the caller's with its exchange beside it."""
    return new_class(exchange=open_tmp / "exchange", instructors=[me])


@pytest.fixture
def ready(monkeypatch):
    """Passes the checks that need a proxy and, as root, several seconds of importing as another user."""
    monkeypatch.setattr(checks, "proxy_command", lambda deploy: ("proxy",))
    monkeypatch.setattr(checks, "interpreter_for_others", lambda: None)


def write_roster(made, *names):
    with sqlite3.connect(made.root / "gradebook.db") as db:
        db.executemany("insert into student (id) values (?)", [(n,) for n in names])
    db.close()


# -- the class folder -----------------------------------------------------------------------------------------------------

def test_a_class_that_does_not_exist(tmp_path):
    refused(tmp_path / "nowhere", match=r"nowhere does not exist: make one with `mlsys class new .*nowhere`")


def test_a_folder_that_is_no_class(tmp_path):
    refused(tmp_path, match="holds no class.yml, so it is no class: make one with `mlsys class new")


def test_a_class_inside_which_one_stands_is_not_taken_for_it(made):
    (made.root / "source" / "ps1").mkdir()
    refused(made.root / "source" / "ps1", match="holds no class.yml")


@pytest.mark.parametrize("text, match", [
    ("course: [", r"class.yml:1: not YAML"), ("course: 'a b'", "course is 'a b'; wants a short name"),
    ("course: mlsys\ninstructors: {a: b}", "instructors is .*; wants a list of Unix user names")])
def test_a_class_yml_that_makes_no_sense(tmp_path, text, match):
    (tmp_path / "class.yml").write_text(text)
    refused(tmp_path, match=match)


def test_the_roster_is_read_without_touching_the_gradebook(made):
    write_roster(made, "ada", "ben")
    path = made.root / "gradebook.db"
    before = path.stat()
    assert roster(read_class(made.root).db_url) == ["ada", "ben"]
    assert path.stat().st_mtime_ns == before.st_mtime_ns and sorted(p.name for p in made.root.glob("gradebook*")) == ["gradebook.db"]


def test_a_gradebook_that_is_none(made):
    (made.root / "gradebook.db").write_text("no database")
    with pytest.raises(HubError, match=r"gradebook.db: not a gradebook \(file is not a database\)"):
        roster(made.db_url)


# -- Node and the proxy ---------------------------------------------------------------------------------------------------

def test_no_node(made, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(made.root, match=r"needs Node 18 or later and there is none: install it \(Debian: apt-get install nodejs npm\), "
                             r"then: npm ci --prefix .*deploy/hub$")


@pytest.mark.node
def test_no_proxy(made, monkeypatch, tmp_path):
    node = shutil.which("node")
    (tmp_path / "node").symlink_to(node)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(launch, "DEPLOY", tmp_path)
    refused(made.root, match=f"proxy is not installed: npm ci --prefix {tmp_path}$")


@pytest.mark.node
def test_a_proxy_on_the_path_serves(monkeypatch, tmp_path):
    proxy = tmp_path / "configurable-http-proxy"
    proxy.write_text("#!/bin/sh\n")
    proxy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert checks.proxy_command(tmp_path) == (str(proxy),)


# -- options --------------------------------------------------------------------------------------------------------------

def test_an_unknown_way_to_log_in(made, ready):
    refused(made.root, auth="ldap", match="--auth is 'ldap'; wants pam or shared-password")


@pytest.mark.parametrize("text, mode, match", [
    ("for-students\nfor-staff\n", 0o644, "can be read by other users: chmod 600"),
    ("short\nfor-staff\n", 0o600, "of 8 characters or more"),
    (None, None, "No such file")])
def test_password_files_that_do_not_serve(tmp_path, text, mode, match):
    path = tmp_path / "passwords"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(HubError, match=match):
        launch._passwords("shared-password", path, alone=False)


def test_one_password_for_students_and_instructors_is_refused(tmp_path):
    path = tmp_path / "passwords"
    path.write_text("the-same-one\nthe-same-one\n")
    path.chmod(0o600)
    with pytest.raises(HubError, match="wants 2 lines of 8 characters or more, the students’ and the instructors’, different"):
        launch._passwords("shared-password", path, alone=False)


def test_passwords_come_from_the_file_or_are_made_up(tmp_path):
    path = tmp_path / "passwords"
    path.write_text("for-students\nfor-staff\n")
    path.chmod(0o600)
    assert launch._passwords("shared-password", path, alone=False) == ("for-students", "for-staff")
    first, second = launch._passwords("shared-password", None, alone=False), launch._passwords("shared-password", None, alone=False)
    assert len({*first, *second}) == 4 and min(map(len, first)) >= 12
    assert launch._passwords("pam", None, alone=False) == (None, None)


def test_a_password_file_with_pam_is_a_misunderstanding(made, ready, tmp_path):
    refused(made.root, auth="pam", password_file=tmp_path / "x", match="--password-file goes with --auth shared-password")


def test_a_busy_port_gives_the_next_free_one():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert port < checks.free_port("127.0.0.1", port) < port + 100


def test_an_address_that_is_not_ours():
    with pytest.raises(HubError, match="cannot listen on 192.0.2.1:8000 .*choose another --host"):
        checks.free_port("192.0.2.1", 8000)


def test_a_second_hub_of_one_class_is_refused(made, me):
    state = launch._state_dir(made.root, alone=True)
    with open(state / "hub.pid", "w") as held:
        held.write("4711\n")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(HubError, match=r"already running \(process 4711\)"), launch._only_one(state):
            pass


# -- folders --------------------------------------------------------------------------------------------------------------

@pytest.mark.skipif(ROOT, reason="root can write everywhere")
def test_an_exchange_that_cannot_be_written(made, ready):
    made.exchange.parent.chmod(0o555)
    try:
        refused(made.root, match="exchange .* cannot be made .*set `exchange:` in class.yml to a folder that you can write")
    finally:
        made.exchange.parent.chmod(0o755)


def test_an_exchange_that_is_closed_to_students(made, ready, me):
    made.exchange.mkdir(mode=0o750)
    with pytest.raises(HubError, match=r"is not writable by everyone \(mode 0750\), as nbgrader requires: chmod 1777"):
        launch._prepare_folders(read_class(made.root), me, [], True, print)


def test_the_class_folder_is_closed_to_other_users(made, me):
    made.root.chmod(0o755)
    said = []
    launch._prepare_folders(read_class(made.root), me, [], True, said.append)
    assert stat.S_IMODE(made.root.stat().st_mode) == 0o750
    assert said == [f"closed {made.root} to other users: it holds solutions and grades"]


def test_an_exchange_in_the_closed_class_folder_is_refused(new_class):
    made = new_class(exchange="exchange")
    with pytest.raises(HubError, match="lies in the class folder, which is closed to students: set `exchange:`"):
        launch._check_places(read_class(made.root))


@pytest.mark.root
def test_an_exchange_below_a_private_folder_is_named(open_tmp, new_class):
    (open_tmp / "home").mkdir(mode=0o700)
    made = new_class(exchange=open_tmp / "home" / "deep" / "exchange")
    with pytest.raises(HubError, match=f"cannot be reached by nobody: {open_tmp / 'home'} is closed to other users"):
        launch._prepare_folders(read_class(made.root), "root", [], False, print)


def test_a_class_that_holds_the_environment_is_refused(made, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(made.root / ".venv"))
    with pytest.raises(HubError, match="holds the environment that students run"):
        launch._check_places(read_class(made.root))


@pytest.mark.root
def test_a_class_of_root_in_a_private_folder_is_refused_before_anyone_is_made(open_tmp, new_class, people):
    made = new_class(exchange="/nowhere", instructors=["mlsys-t-none"])
    open_tmp.chmod(0o700)
    with pytest.raises(HubError, match=f"cannot be reached by an instructor: {open_tmp} is closed to other users"):
        launch._people(read_class(made.root), [], True, print)


def test_a_link_in_place_of_the_hubs_state_is_not_followed(made, tmp_path):
    (made.root / ".mlsys" / "hub").symlink_to(tmp_path)
    with pytest.raises(HubError, match="hub is a link; the hub keeps its cookie secret there: remove the link"):
        launch._state_dir(made.root, alone=True)


@pytest.mark.root
def test_state_that_belongs_to_another_user_is_refused(made):
    state = made.root / ".mlsys" / "hub"
    state.mkdir()
    os.chown(state, 65534, 65534)
    with pytest.raises(HubError, match="belongs to nobody, left by a hub of theirs: remove it"):
        launch._state_dir(made.root, alone=False)


def test_rights_of_an_earlier_run_are_forgotten(made):
    state = launch._state_dir(made.root, alone=True)
    (state / "jupyterhub.sqlite").write_text("instructors of last term")
    (state / "cookie_secret").write_text("kept")
    (state / "hub.log").write_text("yesterday")
    launch._forget(launch._state_dir(made.root, alone=True))
    assert sorted(p.name for p in state.iterdir()) == ["cookie_secret", "hub.log.1"]
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


# -- the interpreter ------------------------------------------------------------------------------------------------------

@pytest.mark.root
def test_an_interpreter_in_a_private_folder_is_named(open_tmp):
    private = open_tmp / "private"
    (private / "venv" / "bin").mkdir(parents=True)
    python = private / "venv" / "bin" / "python"
    python.symlink_to(sys.executable)
    private.chmod(0o700)
    with pytest.raises(HubError, match=rf"students cannot run {python}: {private} is closed to other users \(mode 0700\); make the "
                                       rf"environment from a system Python .* or: chmod o\+rx {private}$"):
        checks.interpreter_for_others(str(python))


@pytest.mark.root
def test_a_link_into_a_private_folder_is_followed_to_it(open_tmp):
    private = open_tmp / "private"
    private.mkdir()
    shutil.copy(os.path.realpath(sys.executable), private / "python3")
    private.chmod(0o700)
    (open_tmp / "python").symlink_to(private / "python3")
    with pytest.raises(HubError, match=f"{private} is closed to other users"):
        checks.interpreter_for_others(str(open_tmp / "python"))


@pytest.mark.root
def test_a_course_that_students_cannot_import_is_told_by_really_importing_it(open_tmp):
    nobody = pwd.getpwnam("nobody")
    if closed := checks.closed_to(os.path.realpath(sys.executable), nobody.pw_uid, {nobody.pw_gid}):
        pytest.skip(f"other users cannot run {sys.executable}: {closed} is closed to them")
    bare = open_tmp / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    with pytest.raises(HubError, match="ModuleNotFoundError: No module named 'jupyterhub'"):
        checks.interpreter_for_others(str(bare / "bin" / "python"))


@pytest.mark.root
@pytest.mark.slow
def test_this_very_interpreter_serves_students():
    checks.interpreter_for_others()


# -- people ---------------------------------------------------------------------------------------------------------------

@pytest.fixture
def people(monkeypatch):
    """Some names have a Unix user here, whatever the machine says."""
    real = accounts.problem
    monkeypatch.setattr(accounts, "problem", lambda name: None if name in {"prof", "ada"} else real(name))
    monkeypatch.setattr(accounts, "create", lambda names: pytest.fail(f"made {names} unasked"))


@pytest.mark.root
@pytest.mark.parametrize("instructors, students, match", [
    ((), (), "belongs to root and its class.yml names no instructor, so nobody could grade: add `instructors: "),
    (("mlsys-t-none",), (), "instructor mlsys-t-none has no Unix user: useradd -m NAME, or --create-users"),
    (("daemon",), (), r"instructor daemon is an account of the system, uid \d+: mend `instructors:` in class.yml"),
    (("prof",), ("prof",), "prof is both instructor and student"),
    (("prof",), ("ada",), "the formgrader must not run as root: chown -R prof .*, or --create-users")])
def test_people_who_cannot_run_a_class(open_tmp, new_class, people, instructors, students, match):
    made = new_class(exchange=open_tmp / "exchange", instructors=instructors)
    write_roster(made, *students)
    info = read_class(made.root)
    with pytest.raises(HubError, match=match):
        launch._people(info, list(students), False, print)


@pytest.mark.root
def test_students_without_an_account_are_named_and_not_made(made, people):
    os.chown(made.root, 65534, 0)
    info = replace(read_class(made.root), instructors=("prof",))
    said = []
    with pytest.raises(HubError, match="belongs to nobody, which is an account of the system, uid 65534: chown -R prof"):
        launch._people(info, ["ada", "mlsys-t-none", "root", "Ada L"], False, said.append)
    assert said == ["cannot log in: Ada L (cannot be a Unix user; wants lower-case letters, digits, - and _, at most 32)",
                    "cannot log in: mlsys-t-none (has no Unix user); --create-users makes them",
                    "cannot log in: root (is an account of the system, uid 0)"]


@pytest.mark.root
def test_a_class_of_a_user_who_is_gone(made, people):
    os.chown(made.root, 54321, 54321)
    with pytest.raises(HubError, match=f"{made.root} belongs to uid 54321, a user that this machine does not have: chown -R"):
        launch._people(replace(read_class(made.root), instructors=("prof",)), [], False, print)


def test_a_home_that_others_can_enter_is_noticed(tmp_path, monkeypatch, me):
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    monkeypatch.setattr(accounts.pwd, "getpwnam", lambda name: pwd.struct_passwd((name, "x", 1234, 1234, "", str(home), "")))
    assert accounts.open_homes(["ada"]) == ["ada"]
    home.chmod(0o700)
    assert accounts.open_homes(["ada"]) == []


# -- the command ----------------------------------------------------------------------------------------------------------

def test_the_command_prints_one_line_and_ends_with_2(tmp_path):
    done = subprocess.run([sys.executable, "-c", "from mlsysbook.cli import main; main()", "hub", tmp_path / "nowhere"],
                          capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("mlsys: class folder ") and len(done.stderr.splitlines()) == 1


def test_the_lock_of_the_proxy_names_no_registry():
    lock = (Path(launch.DEPLOY) / "package-lock.json").read_text()
    assert '"resolved"' not in lock and '"configurable-http-proxy": "5.1.0"' in lock
