"""Run a compiler or an emulator: a list of arguments and never a shell, time and output limited, in the box where that is asked."""

import contextlib
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass

from .errors import TimeLimit, ToolMissing

StillRunning = subprocess.TimeoutExpired
MAX_OUTPUT = 1 << 20                    # bytes of each stream that are kept
LIMITS = {"memory": 3 << 30, "cpu_seconds": 120, "file_bytes": 64 << 20, "disk_bytes": 256 << 20, "processes": 64, "open_files": 256}
INSTALL = {
    "arduino-builder": "apt install arduino-builder arduino-core-avr gcc-avr avr-libc, or run `make kits` in the course",
    "arduino-cli": "see arduino.github.io/arduino-cli, or set ARDUINO_CLI to where it is",
    "avr-gcc": "apt install gcc-avr avr-libc, or run `make kits` in the course",
    "arm-none-eabi-gcc": "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi, or run `make kits` in the course",
    "aarch64-linux-gnu-gcc": "apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross, or run `make kits` in the course",
    "qemu-system-arm": "apt install qemu-system-arm, or run `make kits` in the course",
    "qemu-aarch64": "apt install qemu-user, or run `make kits` in the course",
    "simavr": "apt install libsimavr-dev libelf-dev gcc, or run `make kits` in the course",
    "pyserial": "pip install pyserial",
}


def missing(program):
    """The error of a program that is not there, with how to install it."""
    return ToolMissing(f"{program} is not installed: {INSTALL.get(program, 'install it')}")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def run(argv, *, timeout, env=(), cwd=None, boxed=False, readable=(), writable=()):
    """Run argv to its end -> Done. readable, writable: paths that it may see where it is boxed.

    Raises ToolMissing, TimeLimit after `timeout` seconds, BoxError without a working box.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with started(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=cwd, boxed=boxed, readable=readable,
                     writable=writable) as process:
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise TimeLimit(f"{os.path.basename(argv[0])} was stopped after {timeout:g} s") from None
        done = Done(code, *(_text(f) for f in (out, err)))
    if boxed and done.err.startswith("bwrap: "):
        from mlsysbook.errors import BoxError

        raise BoxError(f"no box for {os.path.basename(argv[0])}: {done.err.splitlines()[0]}")
    return done


@contextlib.contextmanager
def started(argv, *, stdin, stdout, stderr, env=(), cwd=None, boxed=False, readable=(), writable=()):
    """A process in a group of its own, ended with all its children when the block is left."""
    with command(argv, boxed=boxed, env=env, readable=readable, writable=writable) as (line, fds, environment):
        try:
            process = subprocess.Popen(line, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, pass_fds=fds, start_new_session=True,
                                       env=environment)
        except FileNotFoundError:
            raise missing(os.path.basename(argv[0])) from None
        try:
            yield process
        finally:
            end(process)


@contextlib.contextmanager
def command(argv, *, boxed, env=(), readable=(), writable=()):
    """(argv, descriptors to pass on, environment) of a program, in the box where that is asked."""
    if not boxed:
        yield list(argv), (), os.environ | {"LC_ALL": "C"} | dict(env)
        return
    from mlsysbook.box import cgroup, seccomp
    from mlsysbook.box import command as box
    from mlsysbook.box.limits import Limits

    limits, identity, filter = Limits(**LIMITS), box.probe(), seccomp.descriptor()
    group = cgroup.create(limits) if identity.uid is None else None
    try:
        box.limited(identity, group)
        for folder in writable:
            _hand_over(folder, identity.uid)
        line = box.tool(argv, readable=readable, writable=writable, identity=identity, limits=limits, env=env, filter=filter,
                        procs=group.procs if group else ())
        yield line, () if filter is None else (filter,), {"PATH": os.environ.get("PATH", os.defpath)}
    finally:
        if filter is not None:
            os.close(filter)
        if group is not None:
            group.remove()


def end(process):
    """End a process that started() or the like made, with everything that it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:                       # Windows
                process.kill()
    process.wait()


def _hand_over(folder, uid):
    """Give a folder to the user as whom the box runs."""
    if uid is None:
        return
    for parent, folders, files in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in (*folders, *files))):
            os.chown(path, uid, uid, follow_symlinks=False)


def _text(file):
    file.seek(0)
    return file.read(MAX_OUTPUT).decode("utf-8", "replace")
