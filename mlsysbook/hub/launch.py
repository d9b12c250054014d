"""`mlsys hub`: check, prepare, start, say where it is, wait, stop."""

import fcntl
import http.client
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from ..errors import HubError
from . import accounts, checks, exchange
from .configure import write_server_files
from .settings import Settings, read_class, roster
from .supervise import Supervisor

_CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = _CHECKOUT / "deploy" / "hub"
START_SECONDS = 120


def run(class_dir, *, host="127.0.0.1", port=8000, auth=None, create_users=False, password_file=None, say=None):
    """Serve one class until SIGINT or SIGTERM. -> exit status 0 after a clean stop.

    As root: one Unix user a student, `auth` "pam" (default) or "shared-password". Otherwise the caller alone.
    create_users (root only) makes missing Unix users and gives a class folder of root's to its first instructor.
    password_file holds the students' shared password on line 1 and the instructors' on line 2; without it they are made
    up and printed. Raises HubError, one line, before anything has started.
    """
    say = say or partial(print, flush=True)
    alone = os.geteuid() != 0
    info = read_class(class_dir)
    _check_platform()
    proxy = checks.proxy_command(DEPLOY)
    auth = auth or ("shared-password" if alone else "pam")
    if auth not in ("pam", "shared-password"):
        raise HubError(f"--auth is {auth!r}; wants pam or shared-password")
    passwords = _passwords(auth, password_file, alone)
    if alone:
        caller = pwd.getpwuid(os.getuid()).pw_name
        say(f"not root: {caller} alone, instructor and student in one (as root, every student is a Unix user)")
        owner, instructors, students = caller, (caller,), []
    else:
        _check_places(info)
        checks.interpreter_for_others()
        students = roster(info.db_url)
        owner, instructors = _people(info, students, create_users, say)
    where = _prepare_folders(info, owner, students, alone, say)

    chosen = checks.free_port(host, port)
    if chosen != port:
        say(f"port {port} is in use; using {chosen}")
    internal = []
    while len(internal) < 3:
        free = checks.free_port("127.0.0.1")
        if free not in (*internal, chosen):
            internal.append(free)
    state = _state_dir(info.folder, alone)
    with _only_one(state), _runtime_dir(state, alone) as runtime:
        _forget(state)
        settings = Settings(
            course=info.course, class_dir=str(info.folder), exchange=str(where), state_dir=str(state),
            runtime_dir=str(runtime), owner=owner, instructors=instructors, db_url=info.db_url, alone=alone,
            work_dir=str(_work_dir(info.folder)) if alone else "~", auth=auth, host=host, port=chosen,
            hub_port=internal[0], proxy_port=internal[1], service_port=internal[2], proxy=proxy,
            bin_dir=str(Path(sys.executable).parent), mathjax=find_spec("jupyter_server_mathjax") is not None,
            student_password=passwords[0], instructor_password=passwords[1])
        write_server_files(settings)
        return _serve(settings, students, say)


def _check_platform():
    try:
        import jupyterhub
    except ImportError:
        raise HubError("JupyterHub is not installed: pip install 'mlsys-course[hub]' (make hub does it)") from None
    if int(jupyterhub.__version__.split(".")[0]) < 5:
        raise HubError(f"JupyterHub is {jupyterhub.__version__}; wants 6: pip install 'mlsys-course[hub]'")


def _check_places(info):
    """The class folder will be closed to students, so nothing that they need may lie in it."""
    for what, path in (("environment", sys.prefix), ("course", _CHECKOUT)):
        if checks.inside(path, info.folder):
            raise HubError(f"class folder {info.folder} holds the {what} that students run ({path}), so it cannot be closed to "
                           "them: make the class elsewhere, with: mlsys class new FOLDER")
    if checks.inside(info.exchange, info.folder):
        raise HubError(f"exchange {info.exchange} lies in the class folder, which is closed to students: set `exchange:` in "
                       f"class.yml to a folder outside, such as {exchange.SHARED}")


def _people(info, students, create_users, say):
    """Settle on real Unix users -> (owner of the class, instructors)."""
    uid = info.folder.stat().st_uid
    try:
        owner = pwd.getpwuid(uid).pw_name
    except KeyError:
        raise HubError(f"{info.folder} belongs to uid {uid}, a user that this machine does not have: chown -R it to an "
                       "instructor") from None
    hand_over = owner == "root"
    instructors = info.instructors or (() if hand_over else (owner,))
    if hand_over:
        checks.reachable(info.folder.parent, "nobody", "class folder", "an instructor")
    if not instructors:
        raise HubError(f"{info.folder} belongs to root and its class.yml names no instructor, so nobody could grade: add "
                       "`instructors: [NAME]` to class.yml")
    if set(instructors) & set(students):
        both = ", ".join(sorted(set(instructors) & set(students)))
        raise HubError(f"{both} is both instructor and student: take the name out of the roster or of class.yml")
    for name in instructors:
        why = accounts.problem(name)
        if why and not (why == accounts.ABSENT and create_users):
            hint = "useradd -m NAME, or --create-users" if why == accounts.ABSENT else "mend `instructors:` in class.yml"
            raise HubError(f"instructor {name} {why}: {hint}")
    trouble = {name: why for name in [*instructors, *students] if (why := accounts.problem(name))}
    absent = [name for name, why in trouble.items() if why == accounts.ABSENT]
    if absent and create_users:
        say(f"making {len(absent)} Unix users: {_some(absent)}")
        accounts.create(absent)
        trouble = {name: why for name, why in trouble.items() if why != accounts.ABSENT}
    for why in sorted(set(trouble.values())):
        names = [name for name in trouble if trouble[name] == why]
        say(f"cannot log in: {_some(names)} ({why}){'; --create-users makes them' * (why == accounts.ABSENT)}")
    if hand_over:
        owner = instructors[0]
        if not create_users:
            raise HubError(f"{info.folder} belongs to root, and the formgrader must not run as root: chown -R {owner} "
                           f"{info.folder}, or --create-users")
        say(f"giving {info.folder} to {owner}, who owns the class from now on")
        subprocess.run(["chown", "-R", "--no-dereference", f"{owner}:", str(info.folder)], check=True)
        exchange.hand_over(info.exchange, info.course, owner)
    elif accounts.problem(owner):
        raise HubError(f"{info.folder} belongs to {owner}, which {accounts.problem(owner)}: chown -R {instructors[0]} "
                       f"{info.folder}")
    open_homes = accounts.open_homes(students)
    if open_homes:
        say(f"homes that other students can read: {_some(open_homes)}; chmod 700 them")
    return owner, instructors


def _some(names, most=8):
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _prepare_folders(info, owner, students, alone, say):
    """Close the class folder, open the exchange. -> path of the exchange"""
    where = info.exchange
    if not alone:
        checks.reachable(info.folder, owner, "class folder")
        for name in ("modules", "source"):
            path = _CHECKOUT / name
            if path.is_dir() and os.stat(path).st_mode & 0o005:
                say(f"note: students can read the solutions in {path}; chgrp them to your instructors and chmod o-rx")
    if checks.close_to_students(info.folder, students):
        say(f"closed {info.folder} to other users: it holds solutions and grades")
    exchange.prepare(where, info.course, owner)
    if not alone:
        checks.reachable(where, "nobody", "exchange")
    return where


def _passwords(auth, password_file, alone):
    """-> (students' password, instructors' password) of shared-password, or (None, None)."""
    if auth == "pam":
        if password_file:
            raise HubError("--password-file goes with --auth shared-password; with pam everyone has a password of their own")
        return None, None
    if password_file is None:
        return secrets.token_urlsafe(9), secrets.token_urlsafe(12)
    path = Path(password_file).expanduser()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HubError(f"password file {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    if path.stat().st_mode & 0o077:
        raise HubError(f"password file {path} can be read by other users: chmod 600 {path}")
    wanted = 1 if alone else 2
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) < wanted or any(len(line) < 8 for line in lines[:2]) or len(set(lines[:2])) < min(2, len(lines)):
        raise HubError(f"password file {path} wants {wanted} line{'s' * (wanted > 1)} of 8 characters or more"
                       f"{', the students’ and the instructors’, different' * (wanted > 1)}")
    return lines[0], lines[wanted - 1]


def _work_dir(folder):
    path = folder / "student"
    path.mkdir(exist_ok=True)
    return path


def _state_dir(folder, alone):
    """<class>/.mlsys/hub, private. As root it must be root's own: the folder above belongs to the instructor."""
    path = folder
    for part in (".mlsys", "hub"):
        path = path / part
        if path.is_symlink():
            raise HubError(f"{path} is a link; the hub keeps its cookie secret there: remove the link")
        if not path.exists():
            path.mkdir(mode=0o700)
            if part == ".mlsys" and not alone:
                above = folder.stat()
                os.chown(path, above.st_uid, above.st_gid)
    owner = path.stat().st_uid
    if owner != os.geteuid():
        raise HubError(f"{path} belongs to {pwd.getpwuid(owner).pw_name}, left by a hub of theirs: remove it")
    path.chmod(0o700)
    return path


def _forget(state):
    """Clear what an earlier run left, its log apart: rights come from class.yml and the roster of today."""
    for name in ("jupyterhub.sqlite", "jupyterhub.sqlite-journal", "proxy.pid"):
        (state / name).unlink(missing_ok=True)
    log = state / "hub.log"
    if log.exists():
        log.replace(state / "hub.log.1")


class _only_one:
    """A lock on the class: it ends with this process, however that happens."""

    def __init__(self, state):
        self.path = state / "hub.pid"

    def __enter__(self):
        self.file = open(self.path, "a+")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.file.seek(0)
            raise HubError(f"a hub of this class is already running (process {self.file.read().strip()}): stop it with "
                           "Ctrl-C or kill") from None
        self.file.truncate(0)
        self.file.write(f"{os.getpid()}\n")
        self.file.flush()

    def __exit__(self, *exc):
        self.path.unlink(missing_ok=True)
        self.file.close()


class _runtime_dir:
    """Folder of the configuration that every student's server reads; one left by a killed hub is removed first."""

    def __init__(self, state, alone):
        self.note = state / "runtime"
        self.base = None if alone else next((d for d in ("/run",) if os.access(d, os.W_OK)), None)

    def __enter__(self):
        if self.note.exists():
            stale = Path(self.note.read_text().strip())
            if stale.name.startswith("mlsys-hub-"):
                shutil.rmtree(stale, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(prefix="mlsys-hub-", dir=self.base))
        self.path.chmod(0o755)
        self.note.write_text(f"{self.path}\n")
        return self.path

    def __exit__(self, *exc):
        shutil.rmtree(self.path)
        self.note.unlink(missing_ok=True)


def _serve(settings, students, say):
    log_path = Path(settings.state_dir, "hub.log")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "CONFIGPROXY"))}
    with tempfile.TemporaryFile() as notes, open(log_path, "ab", opener=_private) as log:
        notes.write(settings.dumps().encode())          # holds passwords: by descriptor, not by name, argument or variable
        notes.flush()
        os.set_inheritable(notes.fileno(), True)
        command = [f"{settings.bin_dir}/jupyterhub", "-f", str(DEPLOY / "jupyterhub_config.py")]
        supervisor = Supervisor(command, env=env | {"MLSYS_HUB_SETTINGS_FD": str(notes.fileno())}, cwd=settings.state_dir,
                                log=log, pass_fds=(notes.fileno(),))
        with supervisor:
            started = time.monotonic()
            while supervisor.wait(0.25) and not _answers(settings):
                if time.monotonic() - started > START_SECONDS:
                    raise HubError(f"the hub did not answer within {START_SECONDS} s: see {log_path}")
            if supervisor.running and supervisor.stopped_by is None:
                _announce(settings, students, log_path, say)
                supervisor.wait()
            if supervisor.stopped_by is None:
                raise HubError(f"the hub ended by itself ({supervisor.status}): {_last_error(log_path)}; see {log_path}")
            say(f"{supervisor.stopped_by.name}: stopping")
    return 0


def _private(path, flags):
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _answers(settings):
    """Whether the formgrader answers, and the hub through its proxy."""
    host = settings.url.removeprefix("http://").rpartition(":")[0].strip("[]")
    return (_status("127.0.0.1", settings.service_port, f"/services/{settings.service_name}/") == 302
            and _status(host, settings.port, "/hub/health") == 200)


def _status(host, port, path):
    connection = http.client.HTTPConnection(host, port, timeout=3)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _announce(settings, students, log_path, say):
    say(f"JupyterHub of {settings.course}: {settings.url}")
    if settings.auth == "pam":
        say("log in with the password of your Unix user")
    elif settings.alone:
        say(f"log in as {settings.owner} with the password {settings.instructor_password}")
    else:
        say(f"password of all students: {settings.student_password}   of instructors: {settings.instructor_password}   "
            "(for trying out: anyone who knows it can log in as any student)")
    who = "you" if settings.alone else ", ".join(settings.instructors)
    say(f"formgrader for {who}: {settings.formgrader_url}")
    if not settings.alone:
        say(f"{len(students)} student{'s' * (len(students) != 1)} on the roster; exchange {settings.exchange}")
    if settings.host not in ("127.0.0.1", "localhost", "::1"):
        say("passwords cross the network unencrypted: put a TLS proxy in front and listen on 127.0.0.1 (deploy/hub/README.md)")
    say(f"Ctrl-C stops hub, proxy and all servers; log: {log_path}")


def _last_error(path):
    """The most telling line of a log: the last that is no part of a traceback's frames."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "its log is empty"
