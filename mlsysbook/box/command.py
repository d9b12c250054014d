"""The bubblewrap command line, and whether it works here.

As root the box runs under an unprivileged uid, so that process limits bind; where that uid cannot read the interpreter it
stays root, mapped to nobody, and needs control groups. An ordinary user needs user namespaces.
"""

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from ..errors import BoxError
from . import cgroup, seccomp
from .library import shadowed
from .limits import Limits

UID_BASE = 61_000                       # as root: one of these per worker process
INSIDE = 65534                          # what the box sees itself as
_ENTER = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo 0 > "$1" || exit 97; shift; n=$((n-1)); done; exec "$@"'


@dataclass(frozen=True)
class Identity:
    """Under which host uid the box runs; None keeps the caller's."""

    uid: int | None

    def prefix(self):
        if self.uid is None:
            return []
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]


def site_packages():
    return sorted({Path(sysconfig.get_path(k)) for k in ("purelib", "platlib")})


def argv(program, *, library, submission, limits, identity, procs=(), filter=None):
    """Command that runs `program` (argv inside) in the box.

    procs: cgroup.procs files that the process enters first. filter: descriptor of the system call filter, to be passed on.
    Every place that can be written is a tmpfs of limited size: /submission, /tmp and /dev/shm.
    """
    box = _closed(identity, environment(library), limits)
    for path in sorted({sys.base_prefix, sys.prefix, *map(str, site_packages())}):
        if not path.startswith("/usr/"):
            box += ["--ro-bind", path, path]
    for path in shadowed(site_packages()):
        box += ["--tmpfs", str(path), "--remount-ro", str(path)]
    box += ["--ro-bind", str(library), "/course/lib", "--ro-bind", str(library / "etc" / "passwd"), "/etc/passwd",
            "--ro-bind", str(library / "etc" / "group"), "/etc/group",
            "--ro-bind", str(submission), "/course/submission", "--size", str(limits.disk_bytes), "--tmpfs", "/submission",
            "--remount-ro", "/", "--chdir", "/submission", *(["--seccomp", str(filter)] if filter is not None else []), *program]
    return _entering(procs, box)


def tool(program, *, readable, writable=(), identity, limits, env=(), procs=(), filter=None):
    """Command that runs a compiler or an emulator, argv `program`, in a box with the system and the paths of `readable` only.

    No Python environment, course or home folder is in it. writable: folders that stay, such as a build's. Times are the caller's.
    """
    box = _closed(identity, {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LC_ALL": "C", "TZ": "UTC"} | dict(env), limits)
    box += ["--tmpfs", "/usr/local", "--remount-ro", "/usr/local"]
    for how, paths in (("--ro-bind", readable), ("--bind", writable)):
        for path in sorted(map(str, paths)):
            if not path.startswith("/usr/") or path.startswith("/usr/local/"):
                box += [how, path, path]
    inner = ["prlimit", f"--as={limits.memory}", f"--cpu={limits.cpu_seconds}", f"--fsize={limits.file_bytes}",
             f"--nproc={limits.processes}", f"--nofile={limits.open_files}", "--core=0", "--", *program]
    return _entering(procs, [*box, "--remount-ro", "/", "--chdir", "/tmp", *(["--seccomp", str(filter)] if filter is not None else []),
                             *inner])


def _entering(procs, command):
    """The command, after its process has entered the groups of these cgroup.procs files."""
    return ["sh", "-c", _ENTER, "box", str(len(procs)), *procs, *command] if procs else command


def _closed(identity, env, limits):
    """The start of every box: no network, no capability, nothing of the caller's; the system read-only, /tmp small and its own."""
    box = [*identity.prefix(), "bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--clearenv",
           "--uid", str(INSIDE), "--gid", str(INSIDE), "--hostname", "box", "--cap-drop", "ALL"]
    for name, value in env.items():
        box += ["--setenv", name, value]
    box += ["--ro-bind", "/usr", "/usr"]
    for name in ("lib", "lib64", "lib32", "bin", "sbin"):
        path = Path("/", name)
        if path.is_symlink():
            box += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            box += ["--ro-bind", str(path), str(path)]
    box += ["--dir", "/etc", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache",
            "--ro-bind-try", "/etc/alternatives", "/etc/alternatives", "--ro-bind-try", "/etc/fonts", "/etc/fonts",
            "--proc", "/proc", "--dev", "/dev", "--size", str(limits.disk_bytes), "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
            "--size", str(limits.disk_bytes), "--tmpfs", "/tmp"]
    return box


def environment(library):
    """The whole environment inside: nothing of the caller's passes."""
    return {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "USER": "student", "LANG": "C.UTF-8", "TZ": "UTC", "MPLBACKEND": "Agg",
            "MPLCONFIGDIR": "/tmp/matplotlib", "PYTHONPATH": ":".join(["/course/lib", *map(str, site_packages())]),
            "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "NBGRADER_EXECUTION": "autograde"}


def interpreter():
    return sys.executable if Path(sys.executable).exists() else shutil.which("python3")


@functools.cache
def probe():
    """The Identity under which a box works here. Raises BoxError with what to install or change."""
    if not sys.platform.startswith("linux"):
        raise BoxError("the box needs Linux and bubblewrap; on this system grade on a Linux machine, or type --unsafe to grade without it")
    if shutil.which("bwrap") is None:
        raise BoxError("no bubblewrap: install it (apt install bubblewrap), or type --unsafe to grade without a box")
    said = ""
    choices = [Identity(UID_BASE + os.getpid() % 500), Identity(None)] if os.geteuid() == 0 else [Identity(None)]
    for identity in choices:
        if identity.uid is not None and shutil.which("setpriv") is None:
            continue
        works, said = _works(identity)
        if not works:
            continue
        if identity.uid is None:
            group = cgroup.create(Limits())
            limited(identity, group)
            if group is not None:
                group.remove()
        return identity
    raise BoxError(f"bubblewrap does not work here ({said}): allow unprivileged user namespaces, or type --unsafe to grade without a box")


def limited(identity, group):
    """Refuse a box whose processes nothing would limit: those of root itself only a control group does. Raises BoxError."""
    if os.geteuid() == 0 and identity.uid is None and group is None:
        raise BoxError(f"{interpreter()} cannot be read by other users and there is no control group, so a box run by root cannot "
                       "limit processes: make the environment from a Python that all can read, or type --unsafe")


def _works(identity):
    import tempfile

    with tempfile.TemporaryDirectory(prefix="mlsys-probe-") as folder:
        library = Path(folder)
        library.chmod(0o755)
        (library / "etc").mkdir()
        for name in ("passwd", "group"):
            (library / "etc" / name).write_text("")
        filter = seccomp.descriptor()
        command = argv([interpreter(), "-S", "-c", "print('in')"], library=library, submission=library, limits=Limits(), identity=identity,
                       filter=filter)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
                                  pass_fds=[filter] if filter is not None else [])
        except (OSError, subprocess.TimeoutExpired) as error:
            return False, str(error)
        finally:
            if filter is not None:
                os.close(filter)
    lines = done.stderr.strip().splitlines()
    return done.stdout.strip() == "in", lines[-1][:200] if lines else f"exit status {done.returncode}"
