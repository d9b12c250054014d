"""Runs the hub as a child and stops everything it ever started.

JupyterHub stops its managed service and its servers with SIGINT and waits half a minute for each; the wait for a service
cannot be configured. Started in the background of a shell, where SIGINT is ignored, it hands that on, and a stop takes 35 s.
And a kernel, a terminal or a student's background job outlives its server. So the supervisor (a) catches the signals itself,
which also gives the hub default ones, and no terminal; (b) makes itself the subreaper: on Linux every orphan below becomes
its child; (c) asks the hub first, the rest after a grace, and kills what remains; (d) has the kernel tell the hub should
the supervisor itself be killed.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HUB_GRACE = 7.0                 # s for the hub to stop its servers, service and proxy
TERM_GRACE = 1.5                # s between SIGTERM and SIGKILL for what is left


class Supervisor:
    """One hub process and its descendants. Use as a context manager: leaving it stops them all."""

    def __init__(self, command, *, env, cwd, log, pass_fds=()):
        self.command, self.env, self.cwd, self.log, self.pass_fds = command, env, cwd, log, pass_fds
        self.pid = None
        self.status = None              # exit status of the hub once it has ended
        self.stopped_by = None          # the signal that asked for the end

    def __enter__(self):
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._wake, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Caught here means default in the child after exec, even where our own parent had them ignored.
        self._old = {s: signal.signal(s, self._on_signal) for s in (*_STOP, signal.SIGCHLD)}
        self._old_fd = signal.set_wakeup_fd(write)
        self._write = write
        parent = os.getpid()

        def at_birth():
            if sys.platform == "linux":
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
                if os.getppid() != parent:      # it died before the request took hold
                    os._exit(1)

        hub = subprocess.Popen(self.command, env=self.env, cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=self.log,
                               stderr=self.log, start_new_session=True, preexec_fn=at_birth, pass_fds=self.pass_fds)
        self.pid = hub.pid
        hub.returncode = 0              # reaped here, with all other children, not by Popen
        return self

    def __exit__(self, *exc):
        try:
            self.stop()
        finally:
            signal.set_wakeup_fd(self._old_fd)
            for s, handler in self._old.items():
                signal.signal(s, handler)
            os.close(self._wake)
            os.close(self._write)

    def _on_signal(self, number, _frame):
        if number in _STOP and self.stopped_by is None:
            self.stopped_by = signal.Signals(number)

    def wait(self, seconds=None):
        """Sleep until a stop signal, the end of the hub, or `seconds` have passed. -> whether the hub should go on."""
        end = None if seconds is None else time.monotonic() + seconds
        while self.running and self.stopped_by is None:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            if select.select([self._wake], [], [], left)[0]:
                os.read(self._wake, 4096)
            self._reap()
        return self.running and self.stopped_by is None

    @property
    def running(self):
        return self.status is None

    def _reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status = os.waitstatus_to_exitcode(status)

    def _until(self, done, seconds):
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            if select.select([self._wake], [], [], 0.05)[0]:
                os.read(self._wake, 4096)
            self._reap()

    def stop(self):
        """Ask the hub, then the rest, then insist. Returns when no descendant is left."""
        self._reap()
        if self.running:
            os.kill(self.pid, signal.SIGTERM)
            self._until(lambda: not self.running, HUB_GRACE)
        for number, seconds in ((signal.SIGTERM, TERM_GRACE), (signal.SIGKILL, TERM_GRACE), (signal.SIGKILL, TERM_GRACE)):
            left = descendants(os.getpid())
            if not left:
                return
            for pid in left:
                _kill(pid, number)
            self._until(lambda: not descendants(os.getpid()), seconds)


def _kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass                            # ended in between, as it should


def descendants(root):
    """Processes below `root`, parents first. Zombies count until they are reaped."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found
