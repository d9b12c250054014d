"""What must hold before a hub starts. Each check raises HubError: one line with what is wrong and what to do."""

import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

from ..errors import HubError

_PROBE = "import jupyterhub, jupyterlab, mlsysbook, mlsysim, nbgrader, tinytorch"


def proxy_command(deploy):
    """Command of the proxy: deploy/hub/node_modules after `npm ci`, or one on PATH."""
    if shutil.which("node") is None:
        raise HubError("the hub's proxy needs Node 18 or later and there is none: install it (Debian: apt-get install "
                       f"nodejs npm), then: npm ci --prefix {deploy}")
    local = deploy / "node_modules" / ".bin" / "configurable-http-proxy"
    found = str(local) if local.exists() else shutil.which("configurable-http-proxy")
    if not found:
        raise HubError(f"the hub's proxy is not installed: npm ci --prefix {deploy}")
    return (found,)


def closed_to(path, uid, gids, want=stat.S_IXOTH):
    """The first folder on the way down to `path` that the user cannot enter, or `path` if it cannot be read; else None.

    Modes only. want: bits of the last part, as for others (S_IROTH, S_IXOTH).
    """
    path = Path(os.path.abspath(path))
    for step in [*reversed(path.parents), path]:
        state = os.stat(step)
        bits = want if step == path else stat.S_IXOTH
        shift = 6 if state.st_uid == uid else 3 if state.st_gid in gids else 0
        if (state.st_mode >> shift) & bits != bits:
            return step
    return None


def _chain(path):
    """`path` and every link it passes through, ending in the real file."""
    seen = [Path(path)]
    while seen[-1].is_symlink() and len(seen) < 40:
        seen.append(Path(os.path.normpath(seen[-1].parent / os.readlink(seen[-1]))))
    return [*seen, seen[-1].resolve()]


def interpreter_for_others(python=None, user="nobody"):
    """Really run the interpreter and import the course as an unprivileged user, as every student's server will.

    Needs root. An interpreter below a private home (pyenv in /root, a checkout in ~) is the usual reason to fail.
    """
    python = python or sys.executable
    account = pwd.getpwnam(user)
    keep = {k: os.environ[k] for k in ("PYTHONPATH", "LD_LIBRARY_PATH") if k in os.environ}
    why = ""
    try:
        done = subprocess.run([python, "-c", _PROBE], user=account.pw_uid, group=account.pw_gid, extra_groups=[], cwd="/",
                              env={"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1", **keep},
                              capture_output=True, text=True, timeout=120)
        if done.returncode == 0:
            return
        why = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
    except PermissionError as error:
        why = error.strerror
    package = Path(__file__).resolve().parent.parent
    read = stat.S_IROTH | stat.S_IXOTH
    for path, want in [*((p, read) for p in _chain(python)), (sys.prefix, read), (sys.base_prefix, read), (package, read)]:
        blocked = closed_to(path, account.pw_uid, {account.pw_gid}, want) if os.path.exists(path) else None
        if blocked:
            raise HubError(f"students cannot run {python}: {blocked} is closed to other users (mode "
                           f"{stat.S_IMODE(os.stat(blocked).st_mode):04o}); make the environment from a system Python in a "
                           f"folder that all may read, such as /opt/mlsys, or: chmod o+rx {blocked}")
    raise HubError(f"students cannot run {python} -c '{_PROBE}': {why}")


def reachable(path, user, what, called=None):
    """HubError unless Unix user `user` can enter `path` and all folders above it. called: what the message calls the user."""
    account = pwd.getpwnam(user)
    blocked = closed_to(path, account.pw_uid, set(os.getgrouplist(user, account.pw_gid)))
    if blocked:
        raise HubError(f"{what} {path} cannot be reached by {called or user}: {blocked} is closed to other users; move the {what}, "
                       f"or: chmod o+x {blocked}")


def close_to_students(folder, students):
    """Take other users' rights off the class folder: it holds solutions, the secret and the grades. -> True if it did."""
    state = os.stat(folder)
    group_reads = state.st_mode & (stat.S_IRGRP | stat.S_IXGRP)
    for name in students if group_reads else ():
        try:
            gid = pwd.getpwnam(name).pw_gid
        except KeyError:
            continue
        if state.st_gid in os.getgrouplist(name, gid):
            raise HubError(f"student {name} is in the group that may read {folder}: chmod g-rwx {folder}")
    if not state.st_mode & 0o007:
        return False
    os.chmod(folder, stat.S_IMODE(state.st_mode) & ~0o007)
    return True


def inside(path, folder):
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def free_port(host, wanted=None):
    """`wanted`, or the next free port above it on `host`; any free one if None."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(wanted, min(wanted + 100, 65536)) if wanted else (0,):
        with socket.socket(family) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
            except PermissionError:
                raise HubError(f"port {port} needs root: choose one above 1023 with --port") from None
            except OSError as error:
                if error.errno == 98:           # EADDRINUSE
                    continue
                raise HubError(f"cannot listen on {host}:{port} ({error.strerror}): choose another --host") from None
            return s.getsockname()[1]
    raise HubError(f"ports {wanted} to {wanted + 99} on {host} are all in use: choose another with --port")
