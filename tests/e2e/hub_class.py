"""A class of the course, real Unix users and a running hub, for the tests of the hub.

Everything is done by the commands that a person types, as the Unix user who would type them.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from mlsysbook import catalogue
from mlsysbook.hub.supervise import descendants

REPO = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COURSE = catalogue.load().id
LAB = catalogue.load().find("labs/v1_02_physics")
ASSIGNMENT, NOTEBOOK = LAB.id, LAB.notebook
ROOT = os.geteuid() == 0


@dataclass
class TestClass:
    """A class on disk and the people in it. When not root, one user plays all parts."""

    __test__ = False

    folder: Path
    exchange: Path
    instructor: str
    students: tuple[str, ...]
    passwords: dict = field(default_factory=dict)

    def mlsys(self, *args):
        """Run `mlsys class ...` as the instructor in the class folder."""
        return run_as(self.instructor, [BIN / "mlsys", "class", *args], cwd=self.folder)

    def nbgrader(self, *args, user=None, cwd=None):
        """Run a stock nbgrader command as `user` (default: the instructor) in the class folder."""
        return run_as(user or self.instructor, [BIN / "nbgrader", *args], cwd=cwd or self.folder)


def run_as(user, command, *, cwd, check=True):
    """Run a command as a Unix user, with that user's groups and home, and nothing of ours in the environment but PATH."""
    account = pwd.getpwnam(user)
    env = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": account.pw_dir, "USER": user, "LANG": "C.UTF-8",
           **{k: os.environ[k] for k in ("PYTHONPATH",) if k in os.environ}}
    become = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": os.getgrouplist(user, account.pw_gid)}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True,
                          **(become if ROOT else {}))
    if check and done.returncode:
        raise AssertionError(f"{command} as {user} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


@contextmanager
def people(*names):
    """Unix users for a test, with passwords; removed at the end whatever happens. When not root: the caller, thrice."""
    if not ROOT:
        yield {pwd.getpwuid(os.getuid()).pw_name: None}
        return
    passwords = {name: secrets.token_urlsafe(9) for name in names}
    try:
        for name in names:
            remove_user(name)           # left by a test that was killed
            subprocess.run(["useradd", "-m", "-K", "HOME_MODE=0700", "-s", "/bin/bash", name], check=True)
        subprocess.run(["chpasswd"], input="".join(f"{n}:{p}\n" for n, p in passwords.items()), text=True, check=True)
        yield passwords
    finally:
        for name in names:
            remove_user(name)


def remove_user(name):
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        return
    wait_for(lambda: not _kill_all_of(uid), 30)         # userdel refuses while one of them is still ending
    subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


def _kill_all_of(uid):
    """-> whether there were any processes of this user"""
    found = False
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):       # it has ended meanwhile
            if entry.stat().st_uid == uid and ") Z " not in (entry / "stat").read_text():
                found = True
                os.kill(int(entry.name), signal.SIGKILL)
    return found


@contextmanager
def folder():
    """A temporary folder that every user can enter (pytest's own is private)."""
    path = Path(tempfile.mkdtemp(prefix="mlsys-hub-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def make_class(tmp, passwords, formgraders=()):
    """A class: the first of `passwords` makes it, the others are on its roster. formgraders: who may grade, if not the first."""
    names = list(passwords)
    instructor, students = names[0], tuple(names[1:] or names)
    made = TestClass(tmp / "class", tmp / "exchange", instructor, students, passwords)
    made.folder.mkdir(0o700)
    (made.folder / "students.csv").write_text("id,first_name,last_name,email\n" + "".join(f"{s},,,\n" for s in students))
    if ROOT:
        account = pwd.getpwnam(instructor)
        for path in (made.folder, made.folder / "students.csv"):
            os.chown(path, account.pw_uid, account.pw_gid)
    who = [word for name in formgraders or [instructor] for word in ("--instructor", name)]
    made.mlsys("new", ".", "--exchange", made.exchange, *who)
    said = made.mlsys("roster", "students.csv").stdout
    assert f"{len(students)} student{'s' * (len(students) != 1)} on the roster" in said
    return made


def release(made):
    """After the hub has made the exchange."""
    made.mlsys("release", LAB.name, "--due", "2030-12-01 23:59 UTC")


@dataclass
class Hub:
    """A running `mlsys hub`."""

    process: subprocess.Popen
    url: str
    lines: list

    @property
    def formgrader(self):
        return next(line.split()[-1] for line in self.lines if line.startswith("formgrader for "))

    @property
    def password(self):
        """The shared password that a hub of one user prints."""
        return next(line.split()[-1] for line in self.lines if line.startswith("log in as "))

    def stop(self, number=signal.SIGTERM, timeout=20):
        """-> seconds it took to end."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout)
        return time.monotonic() - started


@contextmanager
def running_hub(made, *options, port=18400):
    """Start `mlsys hub` and wait until it says where it is."""
    process = subprocess.Popen([BIN / "mlsys", "hub", made.folder, "--port", str(port), *options], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, cwd="/", start_new_session=True)
    lines, url = [], None
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("JupyterHub of "):
                url = line.split()[-1]
            if line.startswith("Ctrl-C "):
                break
        else:
            raise AssertionError("the hub did not start:\n" + "\n".join(lines) + log_of(made))
        yield Hub(process, url, lines)
    except Exception as error:
        error.add_note("the hub's log ends:" + log_of(made))
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()


def log_of(made):
    path = made.folder / ".mlsys" / "hub" / "hub.log"
    return "\n" + path.read_text()[-4000:] if path.exists() else ""


def token(hub, name, password):
    """Log in by the form and get an API token, as a person's own browser could. -> headers, or the status that refused it"""
    with requests.Session() as browser:
        browser.get(f"{hub.url}/hub/login", timeout=30)
        form = {"username": name, "password": password, "_xsrf": browser.cookies.get("_xsrf", path="/hub/")}
        answer = browser.post(f"{hub.url}/hub/login?next=/hub/home", data=form, timeout=30)
        if not answer.ok:
            return answer.status_code
        head = {"X-XSRFToken": browser.cookies.get("_xsrf", path="/hub/"), "Referer": f"{hub.url}/hub/home"}
        answer = browser.post(f"{hub.url}/hub/api/users/{name}/tokens", json={}, headers=head, timeout=30)
        assert answer.ok, answer.text
        return {"Authorization": f"token {answer.json()['token']}"}


def start_server(hub, name, head):
    requests.post(f"{hub.url}/hub/api/users/{name}/server", headers=head, timeout=60)
    wait_for(lambda: requests.get(f"{hub.url}/user/{name}/api", headers=head, timeout=10).status_code == 200, 60)


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def tree(pid):
    """A process and all below it."""
    return [pid, *descendants(pid)]


def find(*marks):
    """Command lines of all processes of this machine that hold one of `marks`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(m in text for m in marks):
            found.append(text)
    return found
