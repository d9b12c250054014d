"""Unix users of a class. On a shared machine nbgrader knows a student by the Unix user, and so does the hub."""

import os
import pwd
import re
import stat
import subprocess

from ..errors import HubError

FIRST_UID = 1000                # below: accounts of the system (login.defs UID_MIN)
_NOBODY = 65534
ABSENT = "has no Unix user"
_UNIX_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def problem(name):
    """Why `name` cannot log in as a Unix user of this machine, or None if it can."""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        if not _UNIX_NAME.fullmatch(name):
            return "cannot be a Unix user; wants lower-case letters, digits, - and _, at most 32"
        return ABSENT
    if user.pw_uid < FIRST_UID or user.pw_uid == _NOBODY:
        return f"is an account of the system, uid {user.pw_uid}"
    return None


def create(names):
    """Make Unix users with private homes. They have no password: `passwd NAME` gives one."""
    for name in names:
        done = subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", "--key", "HOME_MODE=0700", name],
                              capture_output=True, text=True)
        if done.returncode:
            raise HubError(f"useradd {name}: {done.stderr.strip() or f'exit {done.returncode}'}")


def open_homes(names):
    """Those of `names` whose home other users can enter: there lie fetched work and the keys to feedback."""
    found = []
    for name in names:
        try:
            mode = os.stat(pwd.getpwnam(name).pw_dir).st_mode
        except (KeyError, FileNotFoundError):
            continue
        if mode & (stat.S_IROTH | stat.S_IXOTH):
            found.append(name)
    return found
