"""What a running hub with real Unix users must not allow; over HTTP, without a browser."""

import os
import subprocess
from pathlib import Path

import pytest
import requests

from tests.e2e import hub_class as h

pytestmark = [pytest.mark.root, pytest.mark.slow,
              pytest.mark.node]


@pytest.fixture(scope="module")
def made():
    """A class of two students. ada and ben have submitted; eve has an account on the machine but is in no class."""
    with h.people("mlsys-t-prof", "mlsys-t-ada", "mlsys-t-ben", "mlsys-t-eve") as passwords, h.folder() as tmp:
        made = h.make_class(tmp, {n: p for n, p in passwords.items() if n != "mlsys-t-eve"})
        made.passwords["mlsys-t-eve"] = passwords["mlsys-t-eve"]
        yield made


@pytest.fixture(scope="module")
def hub(made):
    with h.running_hub(made) as hub:
        h.release(made)
        for student in made.students:
            as_student = {"user": student, "cwd": h.pwd.getpwnam(student).pw_dir}
            options = [f"--Exchange.root={made.exchange}", "--course", h.COURSE, h.ASSIGNMENT]
            made.nbgrader("fetch_assignment", *options, **as_student)
            made.nbgrader("submit", *options, **as_student)
        yield hub


@pytest.fixture(scope="module")
def ada(made, hub):
    return h.token(hub, "mlsys-t-ada", made.passwords["mlsys-t-ada"])


@pytest.fixture(scope="module")
def prof(made, hub):
    return h.token(hub, "mlsys-t-prof", made.passwords["mlsys-t-prof"])


def shell(user, script):
    return h.run_as(user, ["bash", "-c", script], cwd="/", check=False)


# -- files ----------------------------------------------------------------------------------------------------------------

def submissions(made):
    return sorted((made.exchange / h.COURSE / "inbound").iterdir())


def test_a_student_cannot_list_read_or_remove_the_submission_of_another(made, hub):
    inbound = made.exchange / h.COURSE / "inbound"
    his = next(p for p in submissions(made) if p.name.startswith("mlsys-t-ben+"))
    assert shell("mlsys-t-ada", f"ls {inbound}").returncode != 0
    guess = his.name.rpartition("+")[0]                 # student, assignment and time can be guessed, the rest cannot
    assert shell("mlsys-t-ada", f"cat {inbound}/{guess}*/{h.NOTEBOOK}.ipynb {inbound}/{guess}/{h.NOTEBOOK}.ipynb").returncode != 0
    assert shell("mlsys-t-ada", f"rm -rf {inbound}/*; mv {inbound} {inbound}-gone").returncode != 0
    # even with the name in hand, the folder cannot be taken away or replaced
    assert shell("mlsys-t-ada", f"mv '{his}' '{his}-gone'").returncode != 0
    assert his in submissions(made) and len(submissions(made)) == 2


def test_a_student_cannot_replace_what_the_class_hands_out(made, hub):
    course = made.exchange / h.COURSE
    for attempt in (f"mv {course} {course}-gone", f"rmdir {course}", f"touch {course}/outbound/{h.ASSIGNMENT}/x",
                    f"rm -r {course}/outbound/{h.ASSIGNMENT}", f"mkdir {course}/outbound/ps2", f"ls {course}/feedback",
                    f"touch {course}/feedback/x"):
        assert shell("mlsys-t-ada", attempt).returncode != 0, attempt


def test_a_student_cannot_read_the_class_folder_or_another_home(made, hub):
    for attempt in (f"ls {made.folder}", f"cat {made.folder}/gradebook.db", f"cat {made.folder}/.mlsys/secret",
                    f"cat {made.folder}/source/{h.ASSIGNMENT}/{h.NOTEBOOK}.ipynb", f"ls {made.folder}/.mlsys/hub", "ls ~mlsys-t-ben", "ls ~mlsys-t-prof"):
        assert shell("mlsys-t-ada", attempt).returncode != 0, attempt


def test_nothing_was_written_for_configuration_into_a_home(made, hub, ada):
    h.start_server(hub, "mlsys-t-ada", ada)
    home = Path(h.pwd.getpwnam("mlsys-t-ada").pw_dir)
    assert not list(home.rglob("nbgrader_config*")) and not list(home.rglob("*server_config*")) and not list(home.rglob("page_config*"))


def test_what_students_import_is_there(made, hub):
    """With the environment that the hub gave to a running server."""
    code = "import mlsysbook, mlsysim, tinytorch, nbgrader; print('imported')"
    done = h.run_as("mlsys-t-ada", [h.BIN / "python", "-c", code], cwd="/")
    assert done.stdout == "imported\n"


# -- the hub's doors ------------------------------------------------------------------------------------------------------

def test_only_people_of_the_class_get_in(made, hub):
    assert h.token(hub, "mlsys-t-eve", made.passwords["mlsys-t-eve"]) == 403      # a good password, but not on the roster
    assert h.token(hub, "mlsys-t-ada", made.passwords["mlsys-t-ben"]) == 403
    assert h.token(hub, "root", "no matter") == 403


def test_a_student_has_no_formgrader_anywhere(made, hub, ada):
    h.start_server(hub, "mlsys-t-ada", ada)
    for path in ("formgrader", "formgrader/api/assignments", "api/contents", "lab"):
        path = f"/services/{h.COURSE}/{path}"
        assert requests.get(hub.url + path, headers=ada, timeout=30).status_code == 403, path
    assert requests.get(f"{hub.url}/user/mlsys-t-ada/formgrader", headers=ada, timeout=30).status_code == 404
    assert requests.get(f"{hub.url}/user/mlsys-t-ada/assignments?course_id={h.COURSE}", headers=ada, timeout=30).json()["success"]


def test_a_student_can_do_nothing_to_others_through_the_hub(made, hub, ada):
    api = f"{hub.url}/hub/api"
    assert requests.get(f"{api}/users", headers=ada, timeout=30).status_code == 403
    assert requests.get(f"{api}/users/mlsys-t-ben", headers=ada, timeout=30).status_code in (403, 404)
    assert requests.post(f"{api}/users/mlsys-t-ben/server", headers=ada, timeout=30).status_code in (403, 404)
    join = requests.post(f"{api}/groups/formgrade-{h.COURSE}/users", json={"users": ["mlsys-t-ada"]}, headers=ada, timeout=30)
    assert join.status_code == 403
    assert requests.post(f"{api}/shutdown", headers=ada, timeout=30).status_code == 403


def test_an_instructor_has_the_formgrader_and_is_no_administrator(made, hub, prof, ada):
    listed = requests.get(f"{hub.url}/services/{h.COURSE}/formgrader/api/assignments", headers=prof, timeout=30)
    assert listed.ok and [a["name"] for a in listed.json()] == [h.ASSIGNMENT]
    assert requests.get(f"{hub.url}/hub/api/users", headers=prof, timeout=30).status_code == 403
    h.start_server(hub, "mlsys-t-ada", ada)
    assert requests.get(f"{hub.url}/user/mlsys-t-ada/api/contents", headers=prof, timeout=30).status_code == 403


def test_every_process_runs_as_whom_it_should(made, hub, ada):
    h.start_server(hub, "mlsys-t-ada", ada)
    owners = {}
    for pid in h.tree(hub.process.pid):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if any(w.endswith("jupyterhub-singleuser") for w in words):
            owners.setdefault(h.pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name, []).append(pid)
    assert set(owners) == {"mlsys-t-prof", "mlsys-t-ada"}, "the formgrader as the instructor, the server as the student"


def test_passwords_are_neither_in_arguments_nor_in_the_environment(made, hub):
    for pid in h.tree(hub.process.pid):
        text = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert not any(p.encode() in text for p in made.passwords.values())


def test_a_second_hub_of_the_class_is_refused(made, hub):
    second = subprocess.run([h.BIN / "mlsys", "hub", made.folder], capture_output=True, text=True, timeout=60)
    assert second.returncode == 2
    assert requests.get(f"{hub.url}/hub/login", timeout=10).ok and (made.folder / ".mlsys" / "hub" / "jupyterhub.sqlite").exists()
    assert second.stderr.startswith("mlsys: a hub of this class is already running (process") and len(second.stderr.splitlines()) == 1


def test_a_fresh_class_of_root_is_served_with_one_option():
    """--create-users makes who is missing and hands the folder over; a shared password for students, another for instructors."""
    names = ("mlsys-t-new", "mlsys-t-newprof")
    with h.folder() as tmp:
        try:
            made = h.make_class(tmp, {"root": None, names[0]: None}, formgraders=[names[1]])
            with h.running_hub(made, "--create-users", "--auth", "shared-password", port=18470) as hub:
                assert f"making 2 Unix users: {names[1]}, {names[0]}" in hub.lines
                assert made.folder.stat().st_uid == h.pwd.getpwnam(names[1]).pw_uid
                said = next(line for line in hub.lines if line.startswith("password of all students"))
                student, instructor = said.split()[4], said.split()[7]
                assert isinstance(h.token(hub, names[0], student), dict)
                assert h.token(hub, names[1], student) == 403, "the students' password is not the instructors'"
                head = h.token(hub, names[1], instructor)
                assert requests.get(f"{hub.url}/services/{h.COURSE}/formgrader/api/assignments", headers=head, timeout=30).ok
                home = Path(h.pwd.getpwnam(names[0]).pw_dir)
                assert home.stat().st_mode & 0o077 == 0
        finally:
            for name in names:
                h.remove_user(name)
